//! What the User Replicator and the Address Book Service read: accounts, objects of the directory and how they change, photos.
//!
//! Objects and photos stay in storage, and are read there when they are asked for. Who follows the changes asks for what
//! is behind the last revision that it has, and waits ([`Waiters`]) where there is nothing yet.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::UserId;
use node::CallToken;
use records::{ObjectRow, Query, Revision};
use sip_stack::timer::TimerId;

use crate::admin::{Answer, KNOWN_USERS_MAX, KnownUser, OBJECTS_MAX, OBJECTS_WAIT_SECONDS, Refusal};
use crate::frontend::{Due, FrontEnd, Querying};
use crate::users::Account;

/// Calls that wait for changes of objects at once: the address book and the replicator have one each, and each connection of
/// an administrator may have one.
const WAITERS_MAX: usize = 64;

/// Names a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterId(u64);

/// Calls that wait for changes of objects.
#[derive(Default)]
pub(crate) struct Waiters {
    parked: BTreeMap<WaiterId, (CallToken, TimerId)>,
}

impl FrontEnd {
    pub(crate) fn read_objects(&mut self, token: CallToken, after: Revision, limit: u32) {
        let limit = limit.min(OBJECTS_MAX);
        self.query(Query::Objects { after, limit }, Querying::Objects(token));
    }

    /// Parks the call; a look into storage finds what is there already.
    pub(crate) fn wait_for_objects(&mut self, token: CallToken, after: Revision) -> Result<(), Refusal> {
        if self.waiters.parked.len() >= WAITERS_MAX {
            return Err(Refusal::TooManyWait);
        }
        let id = WaiterId(self.next_id());
        let end = self.now.monotonic + Duration::from_secs(OBJECTS_WAIT_SECONDS);
        let timer = self.timers.insert(end, Due::ObjectsWaited(id));
        self.waiters.parked.insert(id, (token, timer));
        self.query(Query::Objects { after, limit: 1 }, Querying::ObjectsBehind(id));
        Ok(())
    }

    /// The look into storage is done. What changes after it wakes the call by itself.
    pub(crate) fn looked_behind(&mut self, id: WaiterId, rows: &[ObjectRow]) {
        if !rows.is_empty() {
            self.end_wait(id, Answer::ObjectsBehind(true));
        }
    }

    /// Ends a wait that still is one.
    pub(crate) fn end_wait(&mut self, id: WaiterId, answer: Answer) {
        if let Some((token, timer)) = self.waiters.parked.remove(&id) {
            self.timers.cancel(timer);
            self.answer_call(token, answer);
        }
    }

    /// A change that may be one of objects is durable.
    pub(crate) fn objects_changed(&mut self) {
        let parked: Vec<WaiterId> = self.waiters.parked.keys().copied().collect();
        for id in parked {
            self.end_wait(id, Answer::ObjectsBehind(true));
        }
    }

    pub(crate) fn known_users(&self, after: Option<UserId>, limit: usize) -> Vec<KnownUser> {
        let is_behind = |account: &&Account| after.is_none_or(|after| account.user.id > after);
        let mut accounts: Vec<&Account> = self.users.iter().filter(is_behind).collect();
        accounts.sort_unstable_by_key(|account| account.user.id);
        accounts.truncate(limit.min(KNOWN_USERS_MAX));
        let known = |account: &Account| KnownUser {
            user: account.user.id,
            address: account.user.address.clone(),
            aliases: account.user.aliases.clone(),
            display_name: account.user.display_name.clone(),
            account: account.user.account.clone(),
        };
        accounts.into_iter().map(known).collect()
    }
}
