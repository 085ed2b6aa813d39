//! An accepted MESSAGE reaches its recipient's devices, or is still stored; no device gets it twice without need.
//!
//! Whoever is not to be disturbed when all is over need not have it yet, but it must be stored.
//!
//! "Without need" is design section 6: a second copy exists only where a crash (or a failed write) fell between a
//! device's 200 and its cursor's commit. A copy whose 200 never reached the process that had sent it, or came after
//! its transaction had timed out, was not taken as far as anybody could know, and is sent again.

use std::collections::{BTreeMap, BTreeSet};

use directory::UserId;
use node::{Instant, Outcome};
use presence::ManualState;
use records::{Change, Direction, Query, Rows, Sequence};
use sip_message::Message;

use super::people::People;
use super::{Checker, End, Resident, accounts, message_branch};
use crate::device::TRANSACTION_TIMEOUT;
use crate::event::{Event, Fact, Mark, Party, Payload, What};

/// See the module.
pub struct Delivery {
    residents: Vec<Resident>,
    people: People,
    ids: BTreeMap<String, UserId>,
    /// Machines that keep mailboxes; the others pass copies on.
    homes: BTreeSet<usize>,
    /// Which copy came to a machine that passes it on, by what it is a copy of.
    passing: BTreeMap<(usize, CopyName), String>,
    /// When a device's first cursor was durable: from then on it is known.
    known: BTreeMap<(UserId, String), Instant>,
    wrote: BTreeMap<Mark, Instant>,
    accepted: BTreeMap<Mark, u16>,
    sequences: BTreeMap<(UserId, Mark), Sequence>,
    taken: BTreeMap<UserId, Sequence>,
    cursors: BTreeMap<(UserId, String), Sequence>,
    copies: BTreeMap<(usize, Mark), Copies>,
    sent: BTreeMap<String, SentCopy>,
    /// Of copies that were passed on: the branch that the home gave.
    origins: BTreeMap<String, String>,
    seen: u64,
    boots: BTreeMap<usize, u32>,
    found: Vec<(Instant, String)>,
}

/// A copy on its way to a device.
struct SentCopy {
    /// In events seen.
    place: u64,
    at: Instant,
    /// Which start of its machine sent it.
    boot: u32,
}

/// What tells copies apart that pass through one machine: Call-ID, CSeq, and the device's contact as Request-URI.
type CopyName = (String, u32, String);

/// What is known of a message at one device.
#[derive(Default)]
struct Copies {
    branches: BTreeSet<String>,
    /// It gave a final answer to a copy.
    handled: bool,
    /// When (in events seen) a 200 reached the process that had sent the copy.
    told_at: Option<u64>,
    /// Something fell between that and the cursor's commit.
    excused: bool,
}

impl Delivery {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> Delivery {
        Delivery {
            residents: residents.to_vec(),
            people: People::default(),
            ids: BTreeMap::new(),
            homes: BTreeSet::new(),
            passing: BTreeMap::new(),
            origins: BTreeMap::new(),
            known: BTreeMap::new(),
            wrote: BTreeMap::new(),
            accepted: BTreeMap::new(),
            sequences: BTreeMap::new(),
            taken: BTreeMap::new(),
            cursors: BTreeMap::new(),
            copies: BTreeMap::new(),
            sent: BTreeMap::new(),
            seen: 0,
            boots: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn owner(&self, device: usize) -> Option<UserId> {
        self.ids.get(&self.residents[device].user).copied()
    }

    /// Whether the disk knows that this device has the message.
    fn is_committed(&self, device: usize, mark: &Mark) -> bool {
        let Some(owner) = self.owner(device) else { return false };
        let Some(sequence) = self.sequences.get(&(owner, mark.clone())) else { return false };
        let through = match &self.residents[device].instance {
            Some(instance) => self.cursors.get(&(owner, instance.clone())),
            None => self.taken.get(&owner),
        };
        through.is_some_and(|through| through >= sequence)
    }

    /// What a device took and the disk does not know may be sent again.
    fn excuse(&mut self, whose: Option<UserId>) {
        let keys: Vec<(usize, Mark)> = self.copies.keys().cloned().collect();
        for key in keys {
            let concerned = whose.is_none() || self.owner(key.0) == whose;
            if concerned && !self.is_committed(key.0, &key.1) {
                self.copies.get_mut(&key).expect("its own key").excused = true;
            }
        }
    }

    fn durable(&mut self, at: Instant, change: &Change, outcome: Outcome) {
        for (id, address) in accounts(change) {
            self.ids.insert(address.user().to_owned(), id);
        }
        match change {
            Change::AppendMessage(message) if outcome == Outcome::Applied => {
                if let Some(mark) = Mark::find(&message.request) {
                    self.sequences.insert((message.owner, mark), message.sequence);
                }
            }
            Change::AdvanceTaken { owner, through } => {
                let taken = self.taken.entry(*owner).or_default();
                *taken = (*taken).max(*through);
            }
            Change::AdvanceCursor { owner, device, through, .. } => {
                self.known.entry((*owner, device.0.clone())).or_insert(at);
                let cursor = self.cursors.entry((*owner, device.0.clone())).or_default();
                *cursor = (*cursor).max(*through);
            }
            _ => {}
        }
    }

    /// A machine that keeps no mailboxes sends a copy on.
    fn passed_on(&mut self, machine: usize, message: &Message, branch: &str) {
        let Some(name) = copy_name(message).filter(|_| !self.homes.contains(&machine)) else { return };
        if let Some(came) = self.passing.get(&(machine, name)) {
            let origin = self.origins.get(came).unwrap_or(came).clone();
            self.origins.entry(branch.to_owned()).or_insert(origin);
        }
    }

    fn received(&mut self, at: Instant, device: usize, mark: &Mark, branch: &str) {
        let branch = self.origins.get(branch).map_or(branch, String::as_str);
        let sent_at = self.sent.get(branch).map_or(self.seen, |sent| sent.place);
        let copies = self.copies.entry((device, mark.clone())).or_default();
        let known = copies.told_at.filter(|told| *told < sent_at);
        if copies.branches.insert(branch.to_owned()) && known.is_some() {
            if !copies.excused {
                let name = &self.residents[device].name;
                self.found.push((at, format!("{name} got {mark} again although its 200 had been received")));
            }
            copies.told_at = None;
            copies.excused = false;
        }
    }

    /// A device's 200 reached a machine.
    fn told(&mut self, at: Instant, machine: usize, branch: &str) {
        let boot = self.boots.get(&machine).copied().unwrap_or_default();
        let waits = |sent: &&SentCopy| sent.boot == boot && at.since(sent.at) < TRANSACTION_TIMEOUT;
        if self.sent.get(branch).filter(waits).is_none() {
            return;
        }
        if let Some(copies) = self.copies.values_mut().find(|c| c.branches.contains(branch)) {
            copies.told_at.get_or_insert(self.seen);
        }
    }

    fn holds(end: &End<'_>, owner: UserId, mark: &Mark) -> bool {
        let query = Query::Messages { owner, after: Sequence(0), limit: u32::MAX };
        end.tables.iter().any(|tables| match tables.query(&query) {
            Rows::Messages(messages) => messages
                .iter()
                .any(|m| m.direction == Direction::Received && Mark::find(&m.request).as_ref() == Some(mark)),
            _ => false,
        })
    }
}

fn copy_name(message: &Message) -> Option<CopyName> {
    let number = message.cseq().ok()?.number;
    Some((message.call_id().ok()?.to_owned(), number, message.request_uri_text().to_owned()))
}

impl Checker for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn observe(&mut self, event: &Event) {
        self.seen += 1;
        self.people.observe(event.at, &event.what);
        match &event.what {
            What::Started { party: Party::Machine(m) } => *self.boots.entry(*m).or_default() += 1,
            What::Stopped { party: Party::Machine(machine), .. } if self.homes.contains(machine) => {
                self.excuse(None);
            }
            What::Durable { machine, change, outcome } => {
                if !accounts(change).is_empty() {
                    self.homes.insert(*machine);
                }
                self.durable(event.at, change, *outcome);
            }
            What::Refused { change, .. } => {
                if let Change::AdvanceCursor { owner, .. }
                | Change::AdvanceTaken { owner, .. }
                | Change::WithdrawMessage { owner, .. } = &**change
                {
                    self.excuse(Some(*owner));
                } else if let Change::AppendMessage(message) = &**change {
                    self.excuse(Some(message.owner));
                } else if let Change::PutBinding(binding) = &**change {
                    self.excuse(Some(binding.user));
                }
            }
            What::Sent { from: Party::Machine(m), payload: Payload::Sip(message), .. }
                if message.is_request() =>
            {
                if let Some(branch) = message_branch(message) {
                    self.passed_on(*m, message, &branch);
                    let boot = self.boots.get(m).copied().unwrap_or_default();
                    let sent = SentCopy { place: self.seen, at: event.at, boot };
                    self.sent.entry(branch).or_insert(sent);
                }
            }
            What::Arrived { to: Party::Machine(m), payload: Payload::Sip(message), .. }
                if message.is_request() && !self.homes.contains(m) =>
            {
                if let Some((branch, name)) = message_branch(message).zip(copy_name(message)) {
                    self.passing.insert((*m, name), branch);
                }
            }
            What::Arrived { to: Party::Machine(m), payload: Payload::Sip(message), .. }
                if self.homes.contains(m) && message.status().is_some_and(|s| (200..300).contains(&s)) =>
            {
                if let Some(branch) = message_branch(message) {
                    self.told(event.at, *m, &branch);
                }
            }
            What::Fact { device, fact } => match fact {
                Fact::Wrote { mark, .. } => {
                    self.wrote.insert(mark.clone(), event.at);
                }
                Fact::Concluded { mark, status } if (200..300).contains(status) => {
                    self.accepted.insert(mark.clone(), *status);
                }
                Fact::Received { mark, branch, .. } => self.received(event.at, *device, mark, branch),
                Fact::Replied { mark, .. } => {
                    self.copies.entry((*device, mark.clone())).or_default().handled = true;
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = std::mem::take(&mut self.found);
        for mark in self.accepted.keys() {
            let handled = |d: usize| self.copies.get(&(d, mark.clone())).is_some_and(|c| c.handled);
            let mine: Vec<usize> =
                (0..end.devices.len()).filter(|d| end.devices[*d].resident.user == mark.to).collect();
            let address = self.ids.get(&mark.to).and_then(|id| self.people.address(*id));
            let choice = address.and_then(|user| self.people.manual(user).state_at(end.wall_unix_ms()));
            let is_quiet = choice == Some(ManualState::DoNotDisturb);
            let stored = self.ids.get(&mark.to).is_some_and(|owner| Self::holds(end, *owner, mark));
            if !mine.iter().any(|d| handled(*d)) {
                if !stored {
                    found
                        .push((end.now, format!("{mark} was accepted, and is neither delivered nor stored")));
                } else if !is_quiet && mine.iter().any(|d| end.devices[*d].is_registered) {
                    found.push((end.now, format!("{mark} was accepted, and no registered device has it")));
                }
                continue;
            }
            for device in mine {
                let there = &end.devices[device];
                let key = self.ids.get(&mark.to).copied().zip(there.resident.instance.clone());
                let known_at = key.and_then(|key| self.known.get(&key));
                let known = known_at.is_some_and(|at| Some(at) < self.wrote.get(mark));
                if known && there.is_registered && !handled(device) && !(is_quiet && stored) {
                    let name = &there.resident.name;
                    found.push((end.now, format!("{mark} was accepted, and {name} never got it")));
                }
            }
        }
        found
    }
}
