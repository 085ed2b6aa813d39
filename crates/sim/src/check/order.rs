//! Each device gets messages in the order of its user's mailbox (design section 6: one order for all of an owner's
//! devices).
//!
//! A device that cannot be recognised is a new one at each registration; what was sent to it before it went away may
//! still arrive among what it gets as the new one. A device that is recognised begins, when it comes for the first time,
//! where the others have got; until that is written a crash makes it begin further back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::UserId;
use node::{Instant, Outcome};
use records::{Change, Sequence};

use super::{Checker, End, Resident, message_branch};
use crate::event::{Event, Fact, Mark, Party, Payload, What};

/// How long before or after a crash a device may have got what was forgotten: a message is on its way for a while, and a
/// cursor stays unwritten for the front end's 200 ms and what the disk takes.
const CURSOR_UNWRITTEN_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub struct MailboxOrder {
    residents: Vec<Resident>,
    ids: BTreeMap<String, UserId>,
    sequences: BTreeMap<(UserId, Mark), Sequence>,
    firsts: Vec<First>,
    /// When machines crashed.
    crashes: Vec<Instant>,
    /// When a copy was first sent, in copies sent.
    sent: BTreeMap<String, usize>,
    seen: BTreeSet<(usize, Mark)>,
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
            sequences: BTreeMap::new(),
            firsts: Vec::new(),
            crashes: Vec::new(),
            sent: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }
}

impl MailboxOrder {
    /// Whether a crash may have taken away that a device got as far as this.
    fn was_forgotten(&self, got: &First) -> bool {
        self.crashes.iter().any(|at| at.since(got.at).max(got.at.since(*at)) <= CURSOR_UNWRITTEN_MAX)
    }
}

impl Checker for MailboxOrder {
    fn name(&self) -> &'static str {
        "mailbox order"
    }

    fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Durable { change, outcome: Outcome::Applied, .. } => match &**change {
                Change::AddUser(user) => {
                    self.ids.insert(user.address.user().to_owned(), user.id);
                }
                Change::AppendMessage(message) => {
                    if let Some(mark) = Mark::find(&message.request) {
                        self.sequences.insert((message.owner, mark), message.sequence);
                    }
                }
                _ => {}
            },
            What::Sent { from: Party::Machine(_), payload: Payload::Sip(message), .. } => {
                if let Some(branch) = message_branch(message) {
                    let place = self.sent.len();
                    self.sent.entry(branch).or_insert(place);
                }
            }
            What::Stopped { party: Party::Machine(_), .. } => self.crashes.push(event.at),
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
                Some((_, other)) if self.was_forgotten(other) => {}
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
