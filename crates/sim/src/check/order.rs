//! Each device gets messages in the order of its user's mailbox (design section 6: one order for all of an owner's
//! devices).

use std::collections::{BTreeMap, BTreeSet};

use directory::UserId;
use node::{Instant, Outcome};
use records::{Change, Sequence};

use super::{Checker, End, Resident};
use crate::event::{Event, Fact, Mark, What};

/// See the module.
pub struct MailboxOrder {
    residents: Vec<Resident>,
    ids: BTreeMap<String, UserId>,
    sequences: BTreeMap<(UserId, Mark), Sequence>,
    firsts: Vec<(Instant, usize, Mark)>,
    seen: BTreeSet<(usize, Mark)>,
}

impl MailboxOrder {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> MailboxOrder {
        MailboxOrder {
            residents: residents.to_vec(),
            ids: BTreeMap::new(),
            sequences: BTreeMap::new(),
            firsts: Vec::new(),
            seen: BTreeSet::new(),
        }
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
            // A device needs no copy of what it sent itself; where it gets one after a crash, it is not in order.
            What::Fact { device, fact: Fact::Wrote { mark, .. } } => {
                self.seen.insert((*device, mark.clone()));
            }
            What::Fact { device, fact: Fact::Received { mark, .. } }
                if self.seen.insert((*device, mark.clone())) =>
            {
                self.firsts.push((event.at, *device, mark.clone()));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = Vec::new();
        let mut last: BTreeMap<usize, (Sequence, &Mark)> = BTreeMap::new();
        for (at, device, mark) in &self.firsts {
            let resident = &self.residents[*device];
            let owner = self.ids.get(&resident.user);
            let sequence = owner.and_then(|o| self.sequences.get(&(*o, mark.clone())));
            let Some(sequence) = sequence else {
                // Whether somebody else's message came here is for another checker to say.
                continue;
            };
            if let Some((before, other)) = last.get(device).filter(|(before, _)| before > sequence) {
                let name = &resident.name;
                let (b, s) = (before.0, sequence.0);
                found.push((*at, format!("{name} got {mark} (sequence {s}) behind {other} (sequence {b})")));
            } else {
                last.insert(*device, (*sequence, mark));
            }
        }
        found
    }
}
