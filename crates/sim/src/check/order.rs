//! Each device gets messages in the order of its user's mailbox (design section 6: one order for all of an owner's
//! devices).
//!
//! A device that cannot be recognised is a new one at each registration; what was sent to it before it went away may
//! still arrive among what it gets as the new one. A device that is recognised begins, when it comes for the first time,
//! where the others have got; a crash before that is written makes it begin further back, where storage says. So a message
//! may come late only if a crash fell between the one that was ahead of it and this one, and storage did not know then that
//! the device had either.

use std::collections::{BTreeMap, BTreeSet};

use directory::UserId;
use node::{Instant, Outcome};
use records::{Change, Sequence};

use super::{Checker, End, Resident, accounts, message_branch};
use crate::event::{Event, Fact, Mark, Party, Payload, What};

/// See the module.
pub struct MailboxOrder {
    residents: Vec<Resident>,
    ids: BTreeMap<String, UserId>,
    /// Machines that keep accounts: only they know how far a device has got.
    homes: BTreeSet<usize>,
    sequences: BTreeMap<(UserId, Mark), Sequence>,
    firsts: Vec<First>,
    taken: BTreeMap<UserId, Sequence>,
    cursors: BTreeMap<(UserId, String), Sequence>,
    /// Crashes of machines, in order.
    crashes: Vec<Crash>,
    /// When a copy was first sent, in copies sent.
    sent: BTreeMap<String, usize>,
    seen: BTreeSet<(usize, Mark)>,
}

/// A crash of a machine.
struct Crash {
    /// How many copies were sent before it.
    sent: usize,
    /// Where each device begins after it, as storage knew.
    begins: Vec<Sequence>,
}

/// The first copy of a message that a device got.
struct First {
    at: Instant,
    device: usize,
    mark: Mark,
    sent: Option<usize>,
}

impl MailboxOrder {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> MailboxOrder {
        MailboxOrder {
            residents: residents.to_vec(),
            ids: BTreeMap::new(),
            homes: BTreeSet::new(),
            sequences: BTreeMap::new(),
            firsts: Vec::new(),
            taken: BTreeMap::new(),
            cursors: BTreeMap::new(),
            crashes: Vec::new(),
            sent: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }
}

impl MailboxOrder {
    /// Whether a crash took away that a device had got as far as `ahead`, and put it back before `sequence`.
    fn was_forgotten(&self, ahead: &First, behind: &First, sequence: Sequence) -> bool {
        let fell_between = |crash: &&Crash| {
            ahead.sent.is_some_and(|sent| sent < crash.sent)
                && behind.sent.is_some_and(|sent| sent >= crash.sent)
        };
        self.crashes.iter().filter(fell_between).any(|crash| crash.begins[ahead.device] < sequence)
    }

    /// Where a device would begin if all but storage were forgotten now.
    fn begins(&self, device: &Resident) -> Sequence {
        let Some(owner) = self.ids.get(&device.user) else { return Sequence(0) };
        let key = device.instance.as_ref().map(|instance| (*owner, instance.clone()));
        let through = key.and_then(|key| self.cursors.get(&key)).or_else(|| self.taken.get(owner));
        through.copied().unwrap_or_default()
    }
}

impl Checker for MailboxOrder {
    fn name(&self) -> &'static str {
        "mailbox order"
    }

    fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Durable { machine, change, outcome: Outcome::Applied } => match &**change {
                change @ (Change::AddUser { .. } | Change::Replicate(_)) => {
                    self.homes.insert(*machine);
                    let known = accounts(change).into_iter();
                    self.ids.extend(known.map(|(id, address)| (address.user().to_owned(), id)));
                }
                Change::AppendMessage(message) => {
                    if let Some(mark) = Mark::find(&message.request) {
                        self.sequences.insert((message.owner, mark), message.sequence);
                    }
                }
                Change::AdvanceTaken { owner, through } => {
                    let taken = self.taken.entry(*owner).or_default();
                    *taken = (*taken).max(*through);
                }
                Change::AdvanceCursor { owner, device, through, .. } => {
                    let cursor = self.cursors.entry((*owner, device.0.clone())).or_default();
                    *cursor = (*cursor).max(*through);
                }
                _ => {}
            },
            What::Sent { from: Party::Machine(_), payload: Payload::Sip(message), .. } => {
                if let Some(branch) = message_branch(message) {
                    let place = self.sent.len();
                    self.sent.entry(branch).or_insert(place);
                }
            }
            What::Stopped { party: Party::Machine(machine), .. } if self.homes.contains(machine) => {
                let begins = self.residents.iter().map(|device| self.begins(device)).collect();
                self.crashes.push(Crash { sent: self.sent.len(), begins });
            }
            // A device needs no copy of what it sent itself; where it gets one after a crash, it is not in order.
            What::Fact { device, fact: Fact::Wrote { mark, .. } } => {
                self.seen.insert((*device, mark.clone()));
            }
            What::Fact { device, fact: Fact::Received { mark, branch, .. } }
                if self.seen.insert((*device, mark.clone())) =>
            {
                let sent = self.sent.get(branch).copied();
                self.firsts.push(First { at: event.at, device: *device, mark: mark.clone(), sent });
            }
            _ => {}
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = Vec::new();
        let mut last: BTreeMap<usize, (Sequence, &First)> = BTreeMap::new();
        for first in &self.firsts {
            let resident = &self.residents[first.device];
            let owner = self.ids.get(&resident.user);
            let sequence = owner.and_then(|o| self.sequences.get(&(*o, first.mark.clone())));
            let Some(sequence) = sequence else {
                // Whether somebody else's message came here is for another checker to say.
                continue;
            };
            match last.get(&first.device).filter(|(before, _)| before > sequence) {
                Some((_, other)) if resident.instance.is_none() && first.sent < other.sent => {}
                Some((_, other)) if self.was_forgotten(other, first, *sequence) => {}
                Some((before, other)) => {
                    let (name, mark, other) = (&resident.name, &first.mark, &other.mark);
                    let (b, s) = (before.0, sequence.0);
                    let what = format!("{name} got {mark} (sequence {s}) behind {other} (sequence {b})");
                    found.push((first.at, what));
                }
                None => {
                    last.insert(first.device, (*sequence, first));
                }
            }
        }
        found
    }
}
