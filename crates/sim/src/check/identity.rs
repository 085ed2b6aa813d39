//! Nobody receives a message that is not theirs, nor another's credentials, and From is who really wrote it.

use std::collections::BTreeSet;

use node::Instant;
use sip_message::HeaderId;

use super::{Checker, End, Resident};
use crate::event::{Event, Fact, Mark, Party, Payload, What};

/// See the module.
pub struct Identity {
    residents: Vec<Resident>,
    forged: BTreeSet<Mark>,
    found: Vec<(Instant, String)>,
}

impl Identity {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> Identity {
        Identity { residents: residents.to_vec(), forged: BTreeSet::new(), found: Vec::new() }
    }
}

impl Checker for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn observe(&mut self, event: &Event) {
        if let What::Arrived { to: Party::Device(device), payload: Payload::Sip(message), .. } = &event.what {
            let signed = |id| message.is_request() && message.header(id).is_some();
            if signed(HeaderId::Authorization) || signed(HeaderId::ProxyAuthorization) {
                let (name, method) = (&self.residents[*device].name, message.method().as_str());
                self.found.push((event.at, format!("{name} got a {method} with somebody's credentials")));
            }
        }
        let What::Fact { device, fact } = &event.what else { return };
        let resident = &self.residents[*device];
        let name = &resident.name;
        match fact {
            Fact::Wrote { mark, forged: true } => {
                self.forged.insert(mark.clone());
            }
            // 408 and 503 are also what a device says when there was no answer at all; 407 is for one that cannot sign in.
            Fact::Concluded { mark, status }
                if self.forged.contains(mark) && !matches!(status, 403 | 407 | 408 | 500 | 503) =>
            {
                self.found.push((event.at, format!("{mark} with a stolen From was answered {status}")));
            }
            Fact::Received { mark, from, .. } => {
                if mark.to != resident.user && mark.from != resident.user {
                    self.found.push((event.at, format!("{name} got {mark}")));
                }
                // The names of a world's users are all different.
                let writer = self.residents.iter().find(|writer| writer.user == mark.from);
                if writer.map(Resident::address).as_ref() != Some(from) {
                    self.found.push((event.at, format!("{name} got {mark} with From {from}")));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.found)
    }
}
