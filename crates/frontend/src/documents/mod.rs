//! The documents that users keep here: contact lists, access rules, list services (RFC 4825, RFC 4826, RFC 5025).
//!
//! The document is the truth; what it says is read once, when it is accepted or loaded, and kept beside it. A document
//! changes by XCAP or by a command of an administrator, and both go the same way:
//!
//! - `application`: which applications there are, and what their documents must be;
//! - `xcap`: XCAP over HTTP;
//! - `commands`: contacts, groups and access levels as calls of administrators;
//! - `write`: one change of a user's documents after the other, each durable before it is in force and answered;
//! - `diff`: devices of a person hear of the changes (RFC 5875);
//! - `services`: the addresses of list services, which nobody else may have.
//!
//! What this module is not: what the documents mean is the crate `presence`, how they are addressed and edited is `xcap`.

pub(crate) mod application;
mod commands;
pub(crate) mod diff;
pub(crate) mod services;
pub(crate) mod write;
mod xcap;

use bytes::Bytes;
use directory::UserId;
use presence::lists::Lists;
use presence::rls_services::Service;
use presence::rules::Rules;

use self::application::{Application, INDEX, Meaning};
use crate::frontend::FrontEnd;

/// Most documents of one user: one for each application, and contact lists by other names.
pub(crate) const DOCUMENTS_PER_USER_MAX: usize = 16;
/// Most octets of one user's documents together: four of the longest.
pub(crate) const OCTETS_PER_USER_MAX: usize = 4 * ::xcap::DOCUMENT_OCTETS_MAX;

/// One user's documents, with what they say.
#[derive(Default)]
pub(crate) struct Documents {
    /// In order of application and name.
    files: Vec<File>,
    lists: Lists,
    rules: Rules,
    services: Vec<Service>,
}

/// A document.
pub(crate) struct File {
    pub(crate) application: Application,
    pub(crate) name: Box<str>,
    /// Without quotes.
    pub(crate) tag: Box<str>,
    /// UTF-8.
    pub(crate) body: Bytes,
}

impl File {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("documents were checked when they were taken")
    }
}

impl Documents {
    /// The contact list, `resource-lists/index`; empty without one.
    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The access rules, `pres-rules/index`; none without them.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The list services, `rls-services/index`.
    pub(crate) fn services(&self) -> &[Service] {
        &self.services
    }

    pub(crate) fn find(&self, application: Application, name: &str) -> Option<&File> {
        self.place(application, name).ok().map(|at| &self.files[at])
    }

    /// In order of application and name.
    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Whether a document of so many octets can be put among the others, or why not.
    fn has_room(&self, application: Application, name: &str, octets: usize) -> Result<(), &'static str> {
        let others =
            || self.files.iter().filter(|file| (file.application, &*file.name) != (application, name));
        if others().count() >= DOCUMENTS_PER_USER_MAX {
            return Err("no more documents are kept for one user");
        }
        if others().map(|file| file.body.len()).sum::<usize>() + octets > OCTETS_PER_USER_MAX {
            return Err("the user's documents together would be too long");
        }
        Ok(())
    }

    fn put(&mut self, file: File, meaning: Meaning) {
        self.set(meaning);
        match self.place(file.application, &file.name) {
            Ok(at) => self.files[at] = file,
            Err(at) => self.files.insert(at, file),
        }
    }

    fn remove(&mut self, application: Application, name: &str) {
        if let Ok(at) = self.place(application, name) {
            self.files.remove(at);
        }
        if name == INDEX {
            self.set(application.nothing());
        }
    }

    fn set(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Lists(lists) => self.lists = lists,
            Meaning::Rules(rules) => self.rules = rules,
            Meaning::Services(services) => self.services = services,
            Meaning::None => {}
        }
    }

    fn place(&self, application: Application, name: &str) -> Result<usize, usize> {
        self.files.binary_search_by(|file| (file.application, &*file.name).cmp(&(application, name)))
    }
}

impl FrontEnd {
    /// Takes a user's documents from storage.
    pub(crate) fn load_documents(&mut self, user: UserId, stored: Vec<records::Document>) {
        let mut documents = Documents::default();
        for records::Document { application: auid, name, etag, body, .. } in stored {
            let text = String::from_utf8(body).ok();
            let Some((application, text)) = Application::from_auid(&auid).zip(text) else {
                self.report_unreadable(user, auid, "no application of this server, or no UTF-8");
                continue;
            };
            let meaning = match application::read(application, &name, &text) {
                Ok(meaning) => meaning,
                Err(conflict) => {
                    self.report_unreadable(user, auid, &conflict.to_string());
                    application.unreadable(&name)
                }
            };
            let file = File { application, name: name.into(), tag: etag.into(), body: text.into() };
            documents.put(file, meaning);
        }
        self.hold_services(user, documents.services());
        if let Some(account) = self.users.get_mut(user) {
            account.documents = documents;
        }
    }

    fn report_unreadable(&mut self, user: UserId, auid: String, reason: &str) {
        let address = self.users.get(user).map(|account| account.user.address.to_string());
        let fields = vec![("user", address.unwrap_or_default()), ("application", auid)];
        let level = node::Level::Error;
        self.report(level, "document-unreadable", None, reason.to_owned(), fields);
    }

    /// A document is in force that was not before: put, changed or removed. Whoever depends on one is told here.
    pub(crate) fn document_changed(&mut self, user: UserId, application: Application) {
        self.tell_document_watchers(user, application);
        match application {
            Application::PresRules => self.rules_changed(user),
            Application::ResourceLists | Application::RlsServices => self.contacts_changed(user),
        }
    }
}
