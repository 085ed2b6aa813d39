//! The reference implementation: what each change means, in ordered maps.

use std::collections::BTreeMap;

use directory::{CertificateDigest, ClientCertificate, SipAddress, User, UserId, UserState};
use node::Outcome;

use presence::Manual;

use crate::{
    Binding, CallEnd, CallSettings, Change, DeviceKey, Direction, Document, MailboxRecord, Query, Rows,
    Sequence, StoredCall, StoredMessage, UserRecord,
};

/// A whole store in memory. `apply` either changes everything that the change says, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    users: BTreeMap<UserId, User>,
    addresses: BTreeMap<SipAddress, UserId>,
    /// Whom each signs in, and until when.
    certificates: BTreeMap<CertificateDigest, (UserId, u64)>,
    bindings: BTreeMap<(UserId, String), Binding>,
    mailboxes: BTreeMap<UserId, Mailbox>,
    manual: BTreeMap<UserId, Manual>,
    call_settings: BTreeMap<UserId, CallSettings>,
    /// By owner, application and name.
    documents: BTreeMap<(UserId, String, String), Document>,
    /// By owner, time and id: a log in order.
    calls: BTreeMap<(UserId, u64, [u8; 16]), StoredCall>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mailbox {
    last: Sequence,
    taken: Sequence,
    cursors: BTreeMap<DeviceKey, Cursor>,
    messages: BTreeMap<Sequence, Kept>,
    identities: BTreeMap<(Direction, [u8; 16]), Sequence>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    through: Sequence,
    seen_unix_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    message: StoredMessage,
    withdrawn: bool,
}

/// A change that cannot be applied because its author broke a rule: nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The mailbox holds another message at this sequence.
    #[error("the mailbox holds another message at this sequence")]
    SequenceTaken,
}

impl Tables {
    /// [`Tables::try_apply`] for callers that only ask whether it was applied.
    pub fn apply(&mut self, change: &Change) -> bool {
        self.try_apply(change) == Ok(Outcome::Applied)
    }

    /// Applies one change. Changes to users that do not exist change nothing and are no error: a removal may
    /// overtake them.
    pub fn try_apply(&mut self, change: &Change) -> Result<Outcome, Refused> {
        match change {
            Change::AddUser(user) => return Ok(self.add_user(user)),
            Change::SetUserState { user, state } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.state = *state;
                    if *state == UserState::Disabled {
                        self.bindings.retain(|(owner, _), _| owner != user);
                    }
                }
            }
            Change::SetUserPermissions { user, permissions } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.permissions = permissions.apply(u.permissions);
                }
            }
            Change::SetUserSecrets { user, secrets } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.secrets = Some(secrets.clone());
                }
            }
            Change::AddCertificate { user, certificate } => {
                let ClientCertificate { digest, expires_unix_ms } = *certificate;
                if self.certificates.contains_key(&digest) {
                    return Ok(Outcome::AlreadyThere);
                }
                if self.users.contains_key(user) {
                    self.certificates.insert(digest, (*user, expires_unix_ms));
                }
            }
            Change::RemoveCertificate { user, digest } => {
                if self.certificates.get(digest).is_some_and(|(owner, _)| owner == user) {
                    self.certificates.remove(digest);
                }
            }
            Change::RemoveUser(user) => {
                if let Some(u) = self.users.remove(user) {
                    self.addresses.remove(&u.address);
                }
                self.certificates.retain(|_, (owner, _)| owner != user);
                self.bindings.retain(|(owner, _), _| owner != user);
                self.mailboxes.remove(user);
                self.manual.remove(user);
                self.call_settings.remove(user);
                self.documents.retain(|(owner, ..), _| owner != user);
                self.calls.retain(|(owner, ..), _| owner != user);
            }
            Change::PutBinding(binding) => {
                if self.users.contains_key(&binding.user) {
                    self.bindings.insert((binding.user, binding.key.clone()), binding.clone());
                }
            }
            Change::RemoveBinding { user, key } => {
                self.bindings.remove(&(*user, key.clone()));
            }
            Change::AppendMessage(message) => return self.append(message),
            Change::WithdrawMessage { owner, sequence } => {
                if let Some(kept) = self.mailbox(*owner).and_then(|m| m.messages.get_mut(sequence)) {
                    kept.withdrawn = true;
                }
            }
            Change::AdvanceTaken { owner, through } => {
                if let Some(mailbox) = self.mailbox(*owner) {
                    mailbox.taken = mailbox.taken.max(*through);
                }
            }
            Change::AdvanceCursor { owner, device, through, seen_unix_ms } => {
                if let Some(mailbox) = self.mailbox(*owner) {
                    let new = Cursor { through: *through, seen_unix_ms: *seen_unix_ms };
                    let cursor = mailbox.cursors.entry(device.clone()).or_insert_with(|| new.clone());
                    cursor.through = cursor.through.max(new.through);
                    cursor.seen_unix_ms = cursor.seen_unix_ms.max(new.seen_unix_ms);
                }
            }
            Change::SetManual { user, manual } => {
                if self.users.contains_key(user) {
                    self.manual.insert(*user, manual.clone());
                }
            }
            Change::SetCallSettings { user, settings } => {
                if self.users.contains_key(user) {
                    self.call_settings.insert(*user, settings.clone());
                }
            }
            Change::PutDocument(document) => {
                if self.users.contains_key(&document.owner) {
                    let key = (document.owner, document.application.clone(), document.name.clone());
                    self.documents.insert(key, document.clone());
                }
            }
            Change::RemoveDocument { owner, application, name } => {
                self.documents.remove(&(*owner, application.clone(), name.clone()));
            }
            Change::AppendCall(call) => {
                if self.users.contains_key(&call.owner) {
                    let place = (call.owner, call.began_unix_ms, call.id);
                    if self.calls.contains_key(&place) {
                        return Ok(Outcome::AlreadyThere);
                    }
                    self.calls.insert(place, call.clone());
                }
            }
            Change::PruneCalls { before_unix_ms } => {
                self.calls.retain(|(_, began, _), _| began >= before_unix_ms);
            }
            Change::Prune { messages_before_unix_ms, devices_before_unix_ms } => {
                for mailbox in self.mailboxes.values_mut() {
                    mailbox.messages.retain(|_, k| k.message.received_unix_ms >= *messages_before_unix_ms);
                    mailbox.identities.retain(|_, s| mailbox.messages.contains_key(s));
                    mailbox.cursors.retain(|_, c| c.seen_unix_ms >= *devices_before_unix_ms);
                }
            }
        }
        Ok(Outcome::Applied)
    }

    /// Answers one query.
    pub fn query(&self, query: &Query) -> Rows {
        match query {
            Query::Load => Rows::Loaded(self.users.keys().filter_map(|id| self.record(*id)).collect()),
            Query::LoadUser(id) => Rows::LoadedUser(self.record(*id).map(Box::new)),
            Query::Messages { owner, after, limit } => {
                let behind = (std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded);
                let messages = self.mailboxes.get(owner).into_iter().flat_map(|m| m.messages.range(behind));
                let live = messages.filter(|(_, k)| !k.withdrawn).map(|(_, k)| k.message.clone());
                Rows::Messages(live.take(*limit as usize).collect())
            }
            Query::Calls { owner, before, missed_only, limit } => {
                let (began, id) = before.unwrap_or((u64::MAX, [u8::MAX; 16]));
                let end = match before {
                    Some(_) => std::ops::Bound::Excluded((*owner, began, id)),
                    None => std::ops::Bound::Included((*owner, began, id)),
                };
                let calls = self.calls.range((std::ops::Bound::Included((*owner, 0, [0; 16])), end)).rev();
                let wanted = calls.filter(|(_, call)| !missed_only || call.end == CallEnd::Missed);
                Rows::Calls(wanted.take(*limit as usize).map(|(_, call)| call.clone()).collect())
            }
        }
    }

    fn add_user(&mut self, user: &User) -> Outcome {
        if self.users.contains_key(&user.id) || self.addresses.contains_key(&user.address) {
            return Outcome::AlreadyThere;
        }
        self.addresses.insert(user.address.clone(), user.id);
        self.mailboxes.insert(user.id, Mailbox::default());
        self.users.insert(user.id, user.clone());
        Outcome::Applied
    }

    fn append(&mut self, message: &StoredMessage) -> Result<Outcome, Refused> {
        let Some(mailbox) = self.mailbox(message.owner) else { return Ok(Outcome::Applied) };
        let identity = (message.direction, message.identity);
        if let Some(sequence) = mailbox.identities.get(&identity) {
            let is_withdrawn = mailbox.messages[sequence].withdrawn;
            return Ok(if is_withdrawn { Outcome::AlreadyWithdrawn } else { Outcome::AlreadyThere });
        }
        if mailbox.messages.contains_key(&message.sequence) {
            return Err(Refused::SequenceTaken);
        }
        mailbox.identities.insert(identity, message.sequence);
        mailbox.last = mailbox.last.max(message.sequence);
        mailbox.messages.insert(message.sequence, Kept { message: message.clone(), withdrawn: false });
        Ok(Outcome::Applied)
    }

    fn mailbox(&mut self, owner: UserId) -> Option<&mut Mailbox> {
        self.mailboxes.get_mut(&owner)
    }

    fn record(&self, id: UserId) -> Option<UserRecord> {
        let user = self.users.get(&id)?.clone();
        let onwards = self.bindings.range((id, String::new())..);
        let bindings = onwards.take_while(|((owner, _), _)| *owner == id).map(|(_, b)| b.clone()).collect();
        let mailbox = self.mailboxes.get(&id);
        let mailbox = mailbox.map_or_else(MailboxRecord::default, |m| MailboxRecord {
            last: m.last,
            taken: m.taken,
            cursors: m.cursors.iter().map(|(d, c)| (d.clone(), c.through)).collect(),
        });
        let onwards = self.documents.range((id, String::new(), String::new())..);
        let documents = onwards.take_while(|((owner, ..), _)| *owner == id).map(|(_, d)| d.clone()).collect();
        let manual = self.manual.get(&id).cloned().unwrap_or_default();
        let calls = self.call_settings.get(&id).cloned().unwrap_or_default();
        let own = self.certificates.iter().filter(|(_, (owner, _))| *owner == id);
        let certificate = |(digest, (_, expires_unix_ms)): (&CertificateDigest, &(UserId, u64))| {
            ClientCertificate { digest: *digest, expires_unix_ms: *expires_unix_ms }
        };
        let certificates = own.map(certificate).collect();
        Some(UserRecord { user, bindings, mailbox, manual, calls, documents, certificates })
    }
}

#[cfg(test)]
mod tests;
