//! A success answer that promises durability leaves only after the disk has it (design invariant 5).

use std::collections::{BTreeMap, BTreeSet};

use directory::UserId;
use node::Instant;
use records::{Change, Direction};

use super::{Checker, End, accounts, message_branch};
use crate::event::{Event, Mark, Party, Payload, What};

/// See the module.
#[derive(Default)]
pub struct Durability {
    users: BTreeMap<UserId, String>,
    /// Which message came with which branch.
    asked: BTreeMap<(usize, String), Mark>,
    /// On any disk: what passes through a machine is durable where it goes.
    durable: BTreeSet<Mark>,
    found: Vec<(Instant, String)>,
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Durable { change, .. } => match &**change {
                change @ (Change::AddUser { .. } | Change::Replicate(_)) => {
                    let known = accounts(change).into_iter();
                    self.users.extend(known.map(|(id, address)| (id, address.user().to_owned())));
                }
                Change::AppendMessage(m) if m.direction == Direction::Received => {
                    let mark = Mark::find(&m.request);
                    let to_owner = |mark: &Mark| self.users.get(&m.owner) == Some(&mark.to);
                    self.durable.extend(mark.filter(to_owner));
                }
                _ => {}
            },
            What::Arrived { to: Party::Machine(m), payload: Payload::Sip(message), .. } => {
                if message.is_request()
                    && let (Some(branch), Some(mark)) = (message_branch(message), Mark::find(message.body()))
                {
                    self.asked.insert((*m, branch), mark);
                }
            }
            What::Sent { from: Party::Machine(m), payload: Payload::Sip(message), .. } => {
                let success = message.status().is_some_and(|s| (200..300).contains(&s));
                let Some(branch) = message_branch(message).filter(|_| success) else { return };
                let Some(mark) = self.asked.get(&(*m, branch)) else { return };
                if !self.durable.contains(mark) {
                    self.found.push((event.at, format!("{mark} was accepted before it was durable")));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.found)
    }
}
