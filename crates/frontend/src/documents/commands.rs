//! Contacts, groups and access levels as calls of administrators: typed edits of the user's documents, which leave everything
//! else in them as it was.

use directory::UserId;
use node::CallToken;
use presence::lists::{self, Contact, Edit, EditError};
use presence::rules::{self, Defaults};
use presence::uri_of_address;

use super::File;
use super::application::{Application, INDEX};
use super::write::{Reply, What, Write};
use crate::admin::{Access, AccessRule, Answer, Call, ContactEdit, ContactGroup, ContactSummary, Refusal};
use crate::frontend::FrontEnd;

impl FrontEnd {
    /// A call that changes a document, when it is its turn.
    pub(super) fn document_call(&mut self, token: CallToken, user: UserId, call: Box<Call>) {
        let edited = self.edited(user, &call).and_then(|(application, body)| {
            let meaning = ::xcap::Document::parse(&body)
                .map_err(::xcap::Conflict::from)
                .and_then(|_| self.judge_document(user, application, INDEX, &body))
                .map_err(|conflict| self.no_document(user, &conflict))?;
            Ok(Write { application, name: INDEX.to_owned(), what: What::Put { body, meaning } })
        });
        match edited {
            Ok(write) => self.write_document(user, write, Reply::Call(token, call)),
            Err(refusal) => self.answer_call(token, Answer::Refused(refusal)),
        }
    }

    /// The document as the call wants it.
    fn edited(&self, user: UserId, call: &Call) -> Result<(Application, String), Refusal> {
        let documents = &self.users.get(user).expect("it was looked for").documents;
        let current = |application| documents.find(application, INDEX).map(File::text);
        match call {
            Call::EditContacts { edit, .. } => {
                let text = current(Application::ResourceLists);
                let edited = apply(text, edit).map_err(|error| self.no_edit(user, edit, error))?;
                Ok((Application::ResourceLists, edited))
            }
            Call::SetAccess { subject, level, .. } => {
                let edited = rules::set_level(current(Application::PresRules), subject, *level)
                    .map_err(|error| self.no_document(user, &error))?;
                Ok((Application::PresRules, edited))
            }
            _ => unreachable!("no other call changes documents"),
        }
    }

    fn no_edit(&self, user: UserId, edit: &ContactEdit, error: EditError) -> Refusal {
        let address = self.users.get(user).expect("it was looked for").user.address.clone();
        let group = match edit {
            ContactEdit::AddContact { group, .. } | ContactEdit::RemoveContact { group, .. } => {
                group.clone().unwrap_or_default()
            }
            ContactEdit::AddGroup(group) | ContactEdit::RemoveGroup(group) => group.clone(),
            ContactEdit::RenameGroup { group, name } => match error {
                EditError::GroupExists => name.clone(),
                _ => group.clone(),
            },
        };
        match (error, edit) {
            (EditError::NoSuchGroup, _) => Refusal::NoSuchGroup { user: address, group },
            (EditError::GroupExists, _) => Refusal::GroupExists { user: address, group },
            (EditError::NoSuchContact, ContactEdit::RemoveContact { contact, .. }) => {
                Refusal::NoSuchContact { user: address, contact: contact.clone() }
            }
            (error, _) => Refusal::Document { user: address, reason: error.to_string() },
        }
    }

    fn no_document(&self, user: UserId, error: &dyn std::error::Error) -> Refusal {
        let address = self.users.get(user).expect("it was looked for").user.address.clone();
        Refusal::Document { user: address, reason: error.to_string() }
    }

    pub(crate) fn contacts(&self, user: UserId) -> Answer {
        let lists = self.users.get(user).expect("it was looked for").documents.lists();
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
        let contact = |contact: &Contact| ContactSummary {
            address: match &contact.address {
                Some(address) => address.to_string(),
                None => contact.uri.to_string(),
            },
            name: text(&contact.display_name),
        };
        let groups = lists.all_groups().map(|group| ContactGroup {
            name: text(if group.name.is_some() { &group.name } else { &group.display_name }),
            contacts: group.contacts().map(contact).collect(),
        });
        Answer::Contacts(groups.collect())
    }

    pub(crate) fn access(&self, user: UserId) -> Answer {
        let rules = self.users.get(user).expect("it was looked for").documents.rules();
        let rules = rules.subjects().map(|(subject, level, rule)| AccessRule {
            subject,
            level,
            rule: rule.to_owned(),
        });
        let Defaults { same_organisation, federated } = self.config.presence.levels;
        Answer::Access(Access { rules: rules.collect(), same_organisation, federated })
    }
}

fn apply(text: Option<&str>, edit: &ContactEdit) -> Result<String, EditError> {
    let contact = |address, name: Option<&str>| Contact::new(&uri_of_address(address), name);
    let with = |edit: &Edit<'_>| lists::edit(text, edit);
    match edit {
        ContactEdit::AddContact { group, contact: address, name } => {
            let contact = contact(address, name.as_deref());
            with(&Edit::AddContact { group: group.as_deref(), contact: &contact })
        }
        ContactEdit::RemoveContact { group, contact: address } => {
            with(&Edit::RemoveContact { group: group.as_deref(), contact: &contact(address, None) })
        }
        ContactEdit::AddGroup(group) => with(&Edit::AddGroup { group }),
        ContactEdit::RemoveGroup(group) => with(&Edit::RemoveGroup { group }),
        ContactEdit::RenameGroup { group, name } => with(&Edit::RenameGroup { group, name }),
    }
}
