//! Registrations expire: a device that has not been heard of for longer than it was granted is sent nothing new.
//!
//! What it was granted stands in the answers to its REGISTERs. A device that comes back registers first, and is asked for nothing before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::Instant;
use sip_message::{Message, Method};

use super::{Checker, End, Resident, granted};
use crate::event::{Event, Party, Payload, What};

/// How long after its end a registration may still be believed in: servers look for ended ones from time to time.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
pub struct Expired {
    residents: Vec<Resident>,
    /// Until when each device is registered with anybody.
    until: BTreeMap<usize, Instant>,
    /// Requests that were sent to a device, by branch.
    branches: BTreeSet<String>,
    found: Vec<(Instant, String)>,
}

impl Expired {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> Expired {
        Expired {
            residents: residents.to_vec(),
            until: BTreeMap::new(),
            branches: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    fn sent(&mut self, at: Instant, device: usize, message: &Message) {
        if message.status().is_some_and(|status| (200..300).contains(&status))
            && message.method() == Method::Register
        {
            // Of several flows the longest counts.
            let granted = granted(message, &self.residents[device]);
            let until = at + Duration::from_secs(granted.into());
            let known = self.until.entry(device).or_insert(until);
            *known = (*known).max(until);
        }
        let is_new = message.is_request()
            && matches!(message.method(), Method::Message | Method::Invite)
            && message.to().is_ok_and(|to| to.tag().is_none());
        let branch = message.top_via().ok().and_then(|via| via.branch().map(str::to_owned));
        if !is_new || !self.branches.insert(branch.unwrap_or_default()) {
            return;
        }
        let until = self.until.get(&device).copied().unwrap_or_default();
        if at > until + NOTICED_WITHIN {
            let (name, method) = (&self.residents[device].name, message.method().as_str().to_owned());
            let late = at.since(until).as_secs();
            self.found.push((at, format!("{name} gets a {method} {late} s after its registration expired")));
        }
    }
}

impl Checker for Expired {
    fn name(&self) -> &'static str {
        "expired"
    }

    fn observe(&mut self, event: &Event) {
        let What::Sent { from: Party::Machine(_), to: Some(Party::Device(device)), payload, .. } =
            &event.what
        else {
            return;
        };
        if let Payload::Sip(message) = payload {
            self.sent(event.at, *device, message);
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.found)
    }
}
