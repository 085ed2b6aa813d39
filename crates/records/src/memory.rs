//! The reference implementation: what each change means, in ordered maps.

use std::collections::{BTreeMap, BTreeSet};

use directory::{
    AppPassword, CertificateDigest, ClientCertificate, Object, ObjectId, PhotoDigest, SipAddress, Standing,
    User, UserId, UserState,
};
use node::Outcome;

use presence::Manual;

use crate::{
    Binding, CallEnd, CallSettings, Change, DeviceKey, Direction, DirectoryUser, Document, ListedServer,
    MailboxRecord, ObjectChange, ObjectRow, Query, Replication, Revision, Rows, Sequence, StoredCall,
    StoredMessage, UserRecord,
};

/// A whole store in memory. `apply` either changes everything that the change says, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    users: BTreeMap<UserId, User>,
    /// Aliases too.
    addresses: BTreeMap<SipAddress, UserId>,
    /// By user name.
    app_passwords: BTreeMap<String, (UserId, AppPassword)>,
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
    /// What objects were and are.
    objects: BTreeMap<Revision, ObjectRow>,
    /// The newest row of each.
    newest: BTreeMap<ObjectId, Revision>,
    last_revision: Revision,
    photos: BTreeMap<PhotoDigest, Vec<u8>>,
    replication_state: Option<Vec<u8>>,
    listed_servers: BTreeSet<ListedServer>,
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
    /// An address of a replicated account is another user's.
    #[error("an address of a replicated account is another user's")]
    AddressTaken,
    /// A user stands twice in a step of replication.
    #[error("a user stands twice in a step of replication")]
    UserTwice,
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
            Change::AddUser { user, at_unix_ms } => return Ok(self.add_user(user, *at_unix_ms)),
            Change::SetUserState { user, state, at_unix_ms, tokens_since_unix_ms } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.state = *state;
                    u.tokens_since_unix_ms = u.tokens_since_unix_ms.max(*tokens_since_unix_ms);
                    if *state == UserState::Disabled {
                        self.bindings.retain(|(owner, _), _| owner != user);
                    }
                    self.local_object(*user, *at_unix_ms);
                }
            }
            Change::SetUserPermissions { user, permissions } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.permissions = permissions.apply(u.permissions);
                }
            }
            Change::SetUserSecrets { user, secrets, tokens_since_unix_ms } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.secrets = Some(secrets.clone());
                    u.tokens_since_unix_ms = u.tokens_since_unix_ms.max(*tokens_since_unix_ms);
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
            Change::AddAppPassword { user, password } => {
                if self.app_passwords.contains_key(&password.username) {
                    return Ok(Outcome::AlreadyThere);
                }
                if self.users.contains_key(user) {
                    self.app_passwords.insert(password.username.clone(), (*user, password.clone()));
                }
            }
            Change::RemoveAppPassword { user, username } => {
                if self.app_passwords.get(username).is_some_and(|(owner, _)| owner == user) {
                    self.app_passwords.remove(username);
                }
            }
            Change::RevokeTokens { user, since_unix_ms } => {
                if let Some(u) = self.users.get_mut(user) {
                    u.tokens_since_unix_ms = u.tokens_since_unix_ms.max(*since_unix_ms);
                }
            }
            Change::Replicate(replication) => return self.replicate(replication),
            Change::PruneObjects { before_unix_ms } => self.prune_objects(*before_unix_ms),
            Change::RemoveUser { user, at_unix_ms } => {
                self.remove_object(ObjectId::of_local(*user), *at_unix_ms);
                self.users.remove(user);
                self.addresses.retain(|_, owner| owner != user);
                self.app_passwords.retain(|_, (owner, _)| owner != user);
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
            Query::Objects { after, limit } => {
                let behind = (std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded);
                Rows::Objects(
                    self.objects.range(behind).take(*limit as usize).map(|(_, r)| r.clone()).collect(),
                )
            }
            Query::Photo(digest) => Rows::Photo(self.photos.get(digest).cloned()),
            Query::ReplicationState => Rows::ReplicationState(self.replication_state.clone()),
            Query::ListedServers => Rows::ListedServers(self.listed_servers.iter().cloned().collect()),
        }
    }

    fn add_user(&mut self, user: &User, at_unix_ms: u64) -> Outcome {
        let mut addresses = user.aliases.iter().chain([&user.address]);
        if self.users.contains_key(&user.id) || addresses.any(|a| self.addresses.contains_key(a)) {
            return Outcome::AlreadyThere;
        }
        self.insert_user(user.clone());
        self.local_object(user.id, at_unix_ms);
        Outcome::Applied
    }

    fn insert_user(&mut self, mut user: User) {
        let id = user.id;
        let mut own = BTreeSet::from([user.address.clone()]);
        user.aliases.retain(|alias| own.insert(alias.clone()));
        self.addresses.retain(|_, owner| *owner != id);
        self.addresses.extend(own.into_iter().map(|address| (address, id)));
        self.mailboxes.entry(id).or_default();
        self.users.insert(id, user);
    }

    fn replicate(&mut self, replication: &Replication) -> Result<Outcome, Refused> {
        let Replication { users, objects, photos, servers, state, at_unix_ms } = replication;
        let ids: BTreeSet<UserId> = users.iter().map(|user| user.id).collect();
        if ids.len() < users.len() {
            return Err(Refused::UserTwice);
        }
        let before = self.clone();
        // Addresses may go round among the accounts of one step, so that all are taken away before any is given.
        self.addresses.retain(|_, owner| !ids.contains(owner));
        for user in users {
            let mut addresses = user.aliases.iter().chain([&user.address]);
            if addresses.any(|a| self.addresses.get(a).is_some_and(|owner| *owner != user.id)) {
                *self = before;
                return Err(Refused::AddressTaken);
            }
            self.replicate_user(user, *at_unix_ms);
        }
        for (digest, octets) in photos {
            self.photos.entry(*digest).or_insert_with(|| octets.clone());
        }
        for object in objects {
            match object {
                ObjectChange::Put(object) => self.put_object(object, *at_unix_ms),
                ObjectChange::Remove(id) => self.remove_object(*id, *at_unix_ms),
            }
        }
        if let Some(servers) = servers {
            self.listed_servers = servers.iter().cloned().collect();
        }
        if let Some(state) = state {
            self.replication_state = Some(state.clone());
        }
        Ok(Outcome::Applied)
    }

    fn replicate_user(&mut self, user: &DirectoryUser, at_unix_ms: u64) {
        let DirectoryUser { id, address, aliases, display_name, account } = user;
        let was = self.users.get(id).cloned();
        self.insert_user(User {
            address: address.clone(),
            aliases: aliases.clone(),
            display_name: display_name.clone(),
            account: Some(Box::new(account.clone())),
            ..was.unwrap_or_else(|| User::local(*id, address.clone()))
        });
        // A local account that the directory took over has one object, the directory's.
        self.remove_object(ObjectId::of_local(*id), at_unix_ms);
        if account.standing != Standing::Active {
            self.bindings.retain(|(owner, _), _| owner != id);
            if let Some(user) = self.users.get_mut(id) {
                user.tokens_since_unix_ms = user.tokens_since_unix_ms.max(at_unix_ms);
            }
        }
        if account.standing.ends_credentials() {
            self.app_passwords.retain(|_, (owner, _)| owner != id);
            self.certificates.retain(|_, (owner, _)| owner != id);
        }
    }

    /// A local account that is enabled has an object.
    fn local_object(&mut self, id: UserId, at_unix_ms: u64) {
        match self.users.get(&id).filter(|user| user.account.is_none()) {
            Some(user) if user.is_enabled() => self.put_object(&Object::of_local(user), at_unix_ms),
            _ => self.remove_object(ObjectId::of_local(id), at_unix_ms),
        }
    }

    fn put_object(&mut self, object: &Object, at_unix_ms: u64) {
        if self.object(object.id) != Some(object) {
            self.note_object(object.id, Some(Box::new(object.clone())), at_unix_ms);
        }
    }

    fn remove_object(&mut self, id: ObjectId, at_unix_ms: u64) {
        if self.object(id).is_some() {
            self.note_object(id, None, at_unix_ms);
        }
    }

    fn object(&self, id: ObjectId) -> Option<&Object> {
        self.newest.get(&id).and_then(|revision| self.objects[revision].object.as_deref())
    }

    fn note_object(&mut self, id: ObjectId, object: Option<Box<Object>>, at_unix_ms: u64) {
        let revision = Revision(self.last_revision.0 + 1);
        self.last_revision = revision;
        self.newest.insert(id, revision);
        self.objects.insert(revision, ObjectRow { revision, at_unix_ms, id, object });
    }

    fn prune_objects(&mut self, before_unix_ms: u64) {
        // Rows of the same object, newest first: when an older row was followed. The earliest time counts, so that no row outlives
        // one behind it where the clock was set back.
        let mut followed: BTreeMap<ObjectId, u64> = BTreeMap::new();
        let mut dropped = Vec::new();
        let last = self.objects.keys().next_back().copied().unwrap_or_default();
        for row in self.objects.values().rev() {
            let is_past = followed.get(&row.id).is_some_and(|at| *at < before_unix_ms);
            let is_over = is_past || (row.object.is_none() && row.at_unix_ms < before_unix_ms);
            if is_over && row.revision != last {
                dropped.push(row.revision);
            }
            let at = followed.entry(row.id).or_insert(row.at_unix_ms);
            *at = row.at_unix_ms.min(*at);
        }
        for revision in dropped {
            self.objects.remove(&revision);
        }
        self.newest.retain(|_, revision| self.objects.contains_key(revision));
        let shown = |digest: &PhotoDigest| {
            let objects = self.objects.values().filter_map(|row| row.object.as_deref());
            objects.filter_map(|object| object.photo).any(|photo| photo == *digest)
        };
        let gone: Vec<PhotoDigest> = self.photos.keys().filter(|digest| !shown(digest)).copied().collect();
        for digest in gone {
            self.photos.remove(&digest);
        }
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
        let own = self.app_passwords.values().filter(|(owner, _)| *owner == id);
        let app_passwords = own.map(|(_, password)| password.clone()).collect();
        Some(UserRecord { user, bindings, mailbox, manual, calls, documents, certificates, app_passwords })
    }
}

#[cfg(test)]
mod tests;
