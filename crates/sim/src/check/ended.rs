//! Who may not sign in any more keeps nothing: whose account ended (at the directory, or by an administrator), and whoever signed in
//! with a token that was taken back.
//!
//! From the moment at which the decision is durable: connections that they were signed in on are closed within a moment, nothing new
//! is sent to their devices, no registration of theirs is accepted, and none is left on disk when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::{Standing, UserId, UserState};
use node::{Instant, Outcome, Transport};
use records::{Change, Query, Rows};
use sip_message::{Message, Method};

use super::{Checker, End, Resident, accounts, granted};
use crate::event::{Event, Party, Payload, What};

/// How long a connection may outlive the decision: it is closed in the turn that hears of it.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Ended {
    residents: Vec<Resident>,
    users: BTreeMap<String, UserId>,
    /// Why each account cannot be used that cannot.
    by_directory: BTreeSet<UserId>,
    by_administrator: BTreeSet<UserId>,
    /// Devices with a connection on which a registration was accepted, and until when that lasts.
    signed_in: BTreeMap<usize, Instant>,
    /// Devices whose connection is to be closed, since when.
    closing: BTreeMap<usize, Instant>,
    /// Requests that were on their way to a device, by branch.
    branches: BTreeSet<String>,
    found: Vec<(Instant, String)>,
}

impl Ended {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> Ended {
        Ended {
            residents: residents.to_vec(),
            users: BTreeMap::new(),
            by_directory: BTreeSet::new(),
            by_administrator: BTreeSet::new(),
            signed_in: BTreeMap::new(),
            closing: BTreeMap::new(),
            branches: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    fn owner(&self, device: usize) -> Option<UserId> {
        self.users.get(&self.residents[device].address()).copied()
    }

    /// Devices that are registered over a connection.
    fn there(&self, at: Instant) -> impl Iterator<Item = usize> {
        self.signed_in.iter().filter(move |(_, until)| **until > at).map(|(device, _)| *device)
    }

    fn has_ended(&self, device: usize) -> bool {
        let ended = |user| self.by_directory.contains(&user) || self.by_administrator.contains(&user);
        self.owner(device).is_some_and(ended)
    }

    fn decided(&mut self, at: Instant, change: &Change) {
        for (id, address) in accounts(change) {
            self.users.insert(address.to_string(), id);
        }
        match change {
            Change::Replicate(step) => {
                for user in &step.users {
                    match user.account.standing {
                        Standing::Active => self.by_directory.remove(&user.id),
                        _ => self.by_directory.insert(user.id),
                    };
                }
            }
            Change::SetUserState { user, state, .. } => {
                match state {
                    UserState::Enabled => self.by_administrator.remove(user),
                    UserState::Disabled => self.by_administrator.insert(*user),
                };
            }
            Change::RevokeTokens { user, .. } => {
                let theirs = |device: &usize| self.owner(*device) == Some(*user);
                let by_token = |device: &usize| self.residents[*device].by_token;
                let cut: Vec<usize> = self.there(at).filter(theirs).filter(by_token).collect();
                self.closing.extend(cut.into_iter().map(|device| (device, at)));
            }
            _ => return,
        }
        let cut: Vec<usize> = self.there(at).filter(|device| self.has_ended(*device)).collect();
        for device in cut {
            self.closing.entry(device).or_insert(at);
        }
    }

    fn sent(&mut self, at: Instant, transport: Transport, device: usize, message: &Message) {
        let method = message.method();
        let is_register = method == Method::Register;
        if is_register && message.status().is_some_and(|status| (200..300).contains(&status)) {
            let granted = granted(message, &self.residents[device]);
            if granted > 0 && self.has_ended(device) {
                let name = &self.residents[device].name;
                self.found.push((at, format!("{name} may register although its account has ended")));
            }
            if transport.is_reliable() {
                self.signed_in.insert(device, at + Duration::from_secs(granted.into()));
            }
        }
        let is_new = message.is_request()
            && matches!(method, Method::Message | Method::Invite)
            && message.to().is_ok_and(|to| to.tag().is_none());
        if is_new && self.branches.insert(branch_of(message)) && self.has_ended(device) {
            let (name, method) = (&self.residents[device].name, method.as_str());
            self.found.push((at, format!("{name} gets a {method} although its account has ended")));
        }
    }

    fn look_at_clock(&mut self, now: Instant) {
        let late = |(device, since): (&usize, &Instant)| (now > *since + CLOSED_WITHIN).then_some(*device);
        let late: Vec<usize> = self.closing.iter().filter_map(late).collect();
        for device in late {
            self.closing.remove(&device);
            let name = &self.residents[device].name;
            self.found
                .push((now, format!("{name} keeps its connection although it may not sign in any more")));
        }
    }
}

fn branch_of(message: &Message) -> String {
    message.top_via().ok().and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default()
}

impl Checker for Ended {
    fn name(&self) -> &'static str {
        "ended"
    }

    fn observe(&mut self, event: &Event) {
        self.look_at_clock(event.at);
        match &event.what {
            What::Durable { change, outcome: Outcome::Applied, .. } => self.decided(event.at, change),
            What::Sent {
                from: Party::Machine(_),
                to: Some(Party::Device(device)),
                transport,
                payload: Payload::Sip(message),
                ..
            } => self.sent(event.at, *transport, *device, message),
            What::Closed { party: Party::Machine(_), peer: Party::Device(device), .. } => {
                self.signed_in.remove(device);
                self.closing.remove(device);
            }
            // With the process go its connections and what it was to do.
            What::Stopped { party: Party::Machine(_), .. } => {
                self.signed_in.clear();
                self.closing.clear();
            }
            _ => {}
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = std::mem::take(&mut self.found);
        for (device, there) in end.devices.iter().enumerate().filter(|(device, _)| self.has_ended(*device)) {
            let name = &self.residents[device].name;
            if there.is_registered {
                found.push((end.now, format!("{name} is registered although its account has ended")));
            }
        }
        for user in self.by_directory.iter().chain(&self.by_administrator) {
            for tables in &end.tables {
                if let Rows::LoadedUser(Some(record)) = tables.query(&Query::LoadUser(*user))
                    && !record.bindings.is_empty()
                {
                    let address = &record.user.address;
                    found.push((
                        end.now,
                        format!("{address} has bindings on disk although the account has ended"),
                    ));
                }
            }
        }
        found
    }
}
