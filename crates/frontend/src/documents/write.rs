//! Changes of documents: a user's one after the other.
//!
//! A request that may change a document waits until the change before it is durable, so that conditions are judged against what
//! is in force and nothing has to be taken back. What waits is bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use directory::UserId;
use node::CallToken;
use node::http::{HttpRequest, HttpResponse};
use rand::Rng;
use records::Change;
use xcap::{Conflict, Resource};

use super::File;
use super::application::{Application, Meaning};
use crate::admin::{Answer, Call, Refusal};
use crate::frontend::{FrontEnd, Persisting};

/// Requests that may wait behind one user's change. A client has one under way, a person a few clients.
const WAITING_PER_USER_MAX: usize = 8;
/// Requests that may wait in all, with [`xcap::DOCUMENT_OCTETS_MAX`] each: 64 MiB at the most.
const WAITING_MAX: usize = 256;

/// What waits, for each user who has a change on its way to storage.
#[derive(Default)]
pub(crate) struct Queues {
    by_user: std::collections::BTreeMap<UserId, VecDeque<Waiting>>,
    waiting: usize,
}

/// A request that may change a document.
pub(crate) enum Waiting {
    /// Its sender is the owner of the documents.
    Http(CallToken, Box<HttpRequest>, Box<Resource>, Application),
    /// From an administrator.
    Call(CallToken, Box<Call>),
}

/// A change on its way to storage.
pub(crate) struct Writing {
    pub(crate) user: UserId,
    pub(crate) write: Write,
    pub(crate) reply: Reply,
}

/// A change of one document.
pub(crate) struct Write {
    pub(crate) application: Application,
    pub(crate) name: String,
    pub(crate) what: What,
}

pub(crate) enum What {
    Put { body: String, meaning: Meaning },
    Remove,
}

/// How whoever asked is told that it is done.
pub(crate) enum Reply {
    Http { token: CallToken, status: u16 },
    Call(CallToken, Box<Call>),
}

impl FrontEnd {
    /// Does what is asked for, or keeps it until the user's change before it is durable.
    pub(crate) fn change_documents(&mut self, user: UserId, request: Waiting) {
        let Some(queue) = self.document_queues.by_user.get_mut(&user) else {
            return self.change_now(user, request);
        };
        if queue.len() >= WAITING_PER_USER_MAX || self.document_queues.waiting >= WAITING_MAX {
            return match request {
                Waiting::Http(token, ..) => {
                    self.answer_http(token, HttpResponse::empty(503).with("retry-after", "1"));
                }
                Waiting::Call(token, _) => self.answer_call(token, Answer::Refused(Refusal::Busy)),
            };
        }
        queue.push_back(request);
        self.document_queues.waiting += 1;
    }

    fn change_now(&mut self, user: UserId, request: Waiting) {
        if self.users.get(user).is_none() {
            return match request {
                Waiting::Http(token, ..) => self.answer_http(token, HttpResponse::empty(404)),
                Waiting::Call(token, call) => {
                    let (Call::EditContacts { user, .. } | Call::SetAccess { user, .. }) = *call else {
                        unreachable!("no other call changes documents")
                    };
                    self.answer_call(token, Answer::Refused(Refusal::NoSuchUser(user)));
                }
            };
        }
        match request {
            Waiting::Http(token, request, resource, application) => {
                self.xcap_change(token, user, &request, &resource, application);
            }
            Waiting::Call(token, call) => self.document_call(token, user, call),
        }
    }

    /// Whether a document may be so beside all that the server has, and what it says.
    pub(crate) fn judge_document(
        &self,
        user: UserId,
        application: Application,
        name: &str,
        text: &str,
    ) -> Result<Meaning, Conflict> {
        let meaning = super::application::read_well_formed(application, name, text)?;
        if let Meaning::Services(services) = &meaning {
            self.check_services(user, services)?;
        }
        let documents = self.users.get(user).map(|account| &account.documents);
        let room = documents.map_or(Ok(()), |d| d.has_room(application, name, text.len()));
        room.map_err(|reason| Conflict::Constraint(reason.to_owned()))?;
        Ok(meaning)
    }

    /// Sends a change to storage. It has been judged.
    pub(crate) fn write_document(&mut self, user: UserId, write: Write, reply: Reply) {
        let change = match &write.what {
            What::Put { body, meaning } => {
                if let Meaning::Services(services) = meaning {
                    self.hold_services(user, services);
                }
                // Drawn, not counted or made of the body: a document that comes back is another one.
                let etag = format!("{:016x}", self.rng.random::<u64>());
                Change::PutDocument(records::Document {
                    owner: user,
                    application: write.application.auid().to_owned(),
                    name: write.name.clone(),
                    etag,
                    body: body.clone().into_bytes(),
                })
            }
            What::Remove => Change::RemoveDocument {
                owner: user,
                application: write.application.auid().to_owned(),
                name: write.name.clone(),
            },
        };
        let tag = match &change {
            Change::PutDocument(document) => document.etag.clone(),
            _ => String::new(),
        };
        self.document_queues.by_user.entry(user).or_default();
        self.persist(change, Persisting::Document(Box::new(Writing { user, write, reply }), tag));
    }

    /// The change is durable: it is in force now, and whoever asked is told.
    pub(crate) fn document_persisted(&mut self, writing: Writing, tag: String) {
        let Writing { user, write: Write { application, name, what }, reply } = writing;
        if let Some(account) = self.users.get_mut(user) {
            let before = match application {
                Application::RlsServices => account.documents.services().to_vec(),
                _ => Vec::new(),
            };
            match what {
                What::Put { body, meaning } => {
                    let file = File {
                        application,
                        name: name.into(),
                        tag: tag.as_str().into(),
                        body: Bytes::from(body),
                    };
                    account.documents.put(file, meaning);
                }
                What::Remove => account.documents.remove(application, &name),
            }
            self.release_services(user, &before);
            self.document_changed(user, application);
            match reply {
                Reply::Http { token, status } => {
                    let answer = HttpResponse::empty(status);
                    let answer = if tag.is_empty() { answer } else { answer.with("etag", quoted(&tag)) };
                    self.answer_http(token, answer);
                }
                Reply::Call(token, call) => self.administered(token, &call),
            }
        } else {
            // The user was removed meanwhile, with every document.
            if let What::Put { meaning: Meaning::Services(services), .. } = what {
                self.release_services(user, &services);
            }
            match reply {
                Reply::Http { token, .. } => self.answer_http(token, HttpResponse::empty(404)),
                Reply::Call(token, _) => self.answer_call(token, Answer::Done),
            }
        }
        self.change_next(user);
    }

    /// The change could not be written: nothing has changed.
    pub(crate) fn document_not_persisted(&mut self, writing: Writing, reason: String) {
        let Writing { user, write, reply } = writing;
        if let What::Put { meaning: Meaning::Services(services), .. } = &write.what {
            self.release_services(user, services);
        }
        match reply {
            Reply::Http { token, .. } => self.answer_http(token, HttpResponse::empty(500)),
            Reply::Call(token, _) => self.answer_call(token, Answer::Refused(Refusal::Storage(reason))),
        }
        self.change_next(user);
    }

    /// Takes up what waited, until a change is on its way again.
    fn change_next(&mut self, user: UserId) {
        let Some(mut queue) = self.document_queues.by_user.remove(&user) else { return };
        while let Some(request) = queue.pop_front() {
            self.document_queues.waiting -= 1;
            self.change_now(user, request);
            if let Some(new) = self.document_queues.by_user.get_mut(&user) {
                assert!(new.is_empty(), "nothing is taken in between");
                *new = queue;
                return;
            }
        }
    }
}

/// An entity tag as header fields have it.
pub(super) fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}
