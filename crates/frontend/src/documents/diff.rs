//! The event package `xcap-diff` (RFC 5875): a person's devices hear what others of them change in the person's documents.
//!
//! Whole documents are told, by their entity tags (RFC 5874); which element changed is not. Each subscription remembers what
//! it was told last, so that a NOTIFY says exactly what has become different since, however many changes that were.

use std::time::Duration;

use directory::{SipAddress, UserId};
use sip_message::Message;
use sip_stack::dialog::{Policy, Standing, SubscriptionId};
use xcap::diff::{self, Changed};
use xcap::{Resource, Tree};

use super::Documents;
use super::application::Application;
use crate::events::{Body, Package, Permitted, Wanted};
use crate::frontend::FrontEnd;
use crate::http::XCAP_ROOT;
use crate::pipeline::Refusal;
use crate::presence::recipients::given_list;
use crate::router::Recipient;

/// RFC 5875 §4.2 and §4.12 leave the times to the server, but for 5 seconds between two NOTIFYs.
pub(crate) const POLICY: Policy = Policy {
    expires_seconds_default: 3600,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::from_secs(5),
    interval_unchanged_min: Duration::from_secs(60),
};
/// Most documents and collections that one SUBSCRIBE names.
const SELECTIONS_MAX: usize = 64;

/// What a watcher of documents was told.
#[derive(Debug)]
pub(crate) struct DocumentWatch {
    id: SubscriptionId,
    selections: Selections,
    told: Vec<Told>,
}

/// Which documents are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selections {
    /// All of the user's.
    All,
    /// Those of an application, or of a name in it.
    Of(Vec<(Application, Option<Box<str>>)>),
}

/// A document as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    application: Application,
    name: Box<str>,
    tag: Box<str>,
}

impl FrontEnd {
    /// People watch their own documents alone (RFC 5875 §4.6).
    pub(crate) fn permit_documents(
        &self,
        message: &Message,
        user: UserId,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        let owner = match recipient {
            Recipient::User(watched, _) if *watched == user => self.users.get(user),
            _ => None,
        };
        let owner = owner.ok_or(Refusal::new(403, "documents are watched by their owner alone"))?;
        let selections = match given_list(message)? {
            None => Selections::All,
            Some(members) if members.len() > SELECTIONS_MAX => {
                return Err(Refusal::new(413, "a list that is too long"));
            }
            // What is not the owner's is as if it were not there (RFC 5875 §4.6).
            Some(members) => Selections::Of(
                members.iter().filter_map(|member| selection(&member.uri, &owner.user.address)).collect(),
            ),
        };
        Ok(Permitted {
            resource: Package::Documents.key(owner.user.address.as_str()),
            wanted: Wanted::Documents(user, selections),
            standing: Standing::Active,
        })
    }

    pub(crate) fn watch_documents(&mut self, id: SubscriptionId, user: UserId, selections: Selections) {
        let watch = DocumentWatch { id, selections, told: Vec::new() };
        self.document_watches.entry(user).or_default().push(watch);
    }

    pub(crate) fn documents_unwatched(&mut self, id: SubscriptionId, user: UserId) {
        let Some(watches) = self.document_watches.get_mut(&user) else { return };
        watches.retain(|watch| watch.id != id);
        if watches.is_empty() {
            self.document_watches.remove(&user);
        }
    }

    /// A NOTIFY did not arrive: the next one begins anew.
    pub(crate) fn documents_untold(&mut self, id: SubscriptionId, user: UserId) {
        let watches = self.document_watches.get_mut(&user);
        if let Some(watch) = watches.and_then(|watches| watches.iter_mut().find(|watch| watch.id == id)) {
            watch.told.clear();
        }
    }

    /// Whoever watches a document of this application has something to be told.
    pub(super) fn tell_document_watchers(&mut self, user: UserId, application: Application) {
        let watching = self.document_watches.get(&user).into_iter().flatten();
        let concerned: Vec<SubscriptionId> = watching
            .filter(|watch| match &watch.selections {
                Selections::All => true,
                Selections::Of(some) => some.iter().any(|(watched, _)| *watched == application),
            })
            .map(|watch| watch.id)
            .collect();
        for id in concerned {
            self.subscriptions.changed_for(self.now.monotonic, id);
        }
    }

    /// What has become different since the last NOTIFY; at first, everything that is there (RFC 5875 §4.7).
    pub(crate) fn documents_body(&mut self, id: SubscriptionId, user: UserId) -> Option<Body> {
        let account = self.users.get(user)?;
        let watch = self.document_watches.get_mut(&user)?.iter_mut().find(|watch| watch.id == id)?;
        let now = watch.selections.of(&account.documents);
        let before = std::mem::replace(&mut watch.told, now);
        let changes = changes(&before, &watch.told, &account.user.address);
        Some(Body::new(diff::MEDIA_TYPE, diff::document(&self.config.xcap_root, &changes)))
    }
}

impl Selections {
    /// The documents, as they are told; in order of application and name.
    fn of(&self, documents: &Documents) -> Vec<Told> {
        let selected = documents.files().iter().filter(|file| match self {
            Selections::All => true,
            Selections::Of(some) => some.iter().any(|(application, name)| {
                *application == file.application && name.as_ref().is_none_or(|name| *name == file.name)
            }),
        });
        let told = selected.map(|file| Told {
            application: file.application,
            name: file.name.clone(),
            tag: file.tag.clone(),
        });
        told.collect()
    }
}

fn changes(before: &[Told], now: &[Told], owner: &SipAddress) -> Vec<Changed> {
    let find = |among: &[Told], one: &Told| {
        let found = among.iter().find(|t| (t.application, &t.name) == (one.application, &one.name));
        found.map(|found| found.tag.to_string())
    };
    let gone = before.iter().filter(|told| find(now, told).is_none());
    let mut all: Vec<&Told> = now.iter().chain(gone).collect();
    all.sort_by_key(|told| (told.application, &told.name));
    all.into_iter()
        .map(|told| Changed {
            path: path(told.application, &told.name, owner),
            previous_tag: find(before, told),
            new_tag: find(now, told),
        })
        .filter(|changed| changed.previous_tag != changed.new_tag)
        .collect()
}

/// A document's place below the XCAP root.
fn path(application: Application, name: &str, owner: &SipAddress) -> String {
    let resource = Resource {
        auid: application.auid().to_owned(),
        tree: Tree::User(presence::uri_of_address(owner)),
        document: name.to_owned(),
        node: None,
    };
    resource.document_path()
}

/// What an entry of the list names: a document, a node of one, or with a `/` at its end the collection of an application;
/// below the XCAP root, or as a whole URI (RFC 5875 §4.4). `None` for what is not the owner's.
fn selection(uri: &str, owner: &SipAddress) -> Option<(Application, Option<Box<str>>)> {
    let below = uri
        .split_once("://")
        .map_or(uri, |(_, rest)| rest.split_once(XCAP_ROOT).map_or("", |(_, below)| below));
    if let Some((application, "")) = below.split_once('/') {
        return Some((Application::from_auid(application)?, None));
    }
    // A collection becomes a path to a document by any name.
    let (target, is_collection) = match below.strip_suffix('/') {
        Some(folder) => (format!("{folder}/any"), true),
        None => (below.to_owned(), false),
    };
    let resource = Resource::parse(&target).ok()?;
    let Tree::User(xui) = &resource.tree else { return None };
    if super::xcap::owner(xui).as_ref() != Some(owner) {
        return None;
    }
    let name = (!is_collection).then(|| resource.document.into_boxed_str());
    Some((Application::from_auid(&resource.auid)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_documents_and_collections() {
        let alice = SipAddress::parse("alice@contoso.example").unwrap();
        let select = |uri: &str| selection(uri, &alice);
        let lists = |name: Option<&str>| Some((Application::ResourceLists, name.map(Into::into)));
        let mine = "resource-lists/users/sip:alice@contoso.example/";
        assert_eq!(select("resource-lists/"), lists(None));
        assert_eq!(select(mine), lists(None));
        assert_eq!(select(&format!("{mine}index")), lists(Some("index")));
        assert_eq!(select(&format!("{mine}index/~~/resource-lists/list%5b1%5d")), lists(Some("index")));
        assert_eq!(select(&format!("https://sip.contoso.example:8443/xcap/{mine}a%20b")), lists(Some("a b")));
        for nothing in [
            "",
            "/",
            "unknown/",
            "resource-lists",
            "https://sip.contoso.example/",
            "resource-lists/global/index",
            "resource-lists/users/sip:bob@contoso.example/index",
            "resource-lists/users/sip:bob@contoso.example/",
            "unknown/users/sip:alice@contoso.example/index",
        ] {
            assert_eq!(select(nothing), None, "{nothing}");
        }
    }
}
