//! Why one person reaches another, or does not: the way of a request, walked without sending one.
//!
//! Each step looks at one thing that a request of `from` to `to` meets here, in the order in which it meets them, and says what
//! it found. The first step that stops is the answer; its mend says what an administrator can do about it.

use directory::{SipAddress, UserState};
use node::Flow;

use crate::admin::{Explanation, Step, Verdict};
use crate::frontend::FrontEnd;
use crate::users::Account;

impl FrontEnd {
    /// What `from` meets on the way to `to`.
    pub(crate) fn explain(&self, from: &SipAddress, to: &SipAddress) -> Explanation {
        let mut walk = Walk { steps: Vec::new() };
        let sender = self.explain_sender(&mut walk, from);
        let recipient = self.explain_recipient(&mut walk, to);
        if let (Some(_), Some(recipient)) = (sender, recipient) {
            self.explain_devices(&mut walk, recipient);
        }
        Explanation { from: from.clone(), to: to.clone(), steps: walk.steps }
    }

    fn explain_sender(&self, walk: &mut Walk, from: &SipAddress) -> Option<&Account> {
        if !self.is_domain_of_ours(from) {
            walk.stops(
                "sender",
                format!("{} is not a domain of this server", from.domain()),
                "there is no federation yet: only people of this server's domains are heard",
            );
            return None;
        }
        let account = self.explain_account(walk, "sender", from)?;
        match account.bindings.iter().count() {
            0 => walk.notes("sender's devices", "none is registered: nothing comes from them now".to_owned()),
            count => walk.passes("sender's devices", devices(count)),
        }
        Some(account)
    }

    fn explain_recipient(&self, walk: &mut Walk, to: &SipAddress) -> Option<&Account> {
        if !self.is_domain_of_ours(to) {
            walk.stops(
                "policy",
                format!("{} is not a domain of this server, and no partner", to.domain()),
                "there is no federation yet: requests to other domains are answered 403",
            );
            return None;
        }
        self.explain_account(walk, "recipient", to)
    }

    fn explain_account(&self, walk: &mut Walk, what: &'static str, address: &SipAddress) -> Option<&Account> {
        let account = self.users.find_address(address).and_then(|id| self.users.get(id));
        let Some(account) = account else {
            walk.stops(
                what,
                format!("there is no account {address}; requests to it are answered 404"),
                "chancery user add creates it; chancery user list --containing TEXT finds how it is written",
            );
            return None;
        };
        match account.user.state {
            UserState::Enabled => walk.passes(what, format!("{address} exists and is enabled")),
            UserState::Disabled => {
                walk.stops(
                    what,
                    format!("{address} is disabled: it cannot sign in, and others find nobody there (404)"),
                    "chancery user enable lets it in again",
                );
                return None;
            }
        }
        Some(account)
    }

    fn explain_devices(&self, walk: &mut Walk, recipient: &Account) {
        let mut count = 0;
        for binding in recipient.bindings.iter() {
            count += 1;
            let is_gone = match binding.flow {
                Flow::Connection(connection) => !self.connections.contains_key(&connection),
                Flow::Datagram { .. } => false,
            };
            let way = match (is_gone, binding.path.is_empty()) {
                (_, false) => "along its Path",
                (true, true) => "at its contact: its connection is gone",
                (false, true) => "over its connection",
            };
            let finding = format!(
                "{} over {} from {}, reached {way}, for {} more seconds",
                binding.uri,
                binding.transport.name(),
                binding.remote,
                binding.expires_at.since(self.now.monotonic).as_secs()
            );
            walk.passes("device", finding);
        }
        let waiting = recipient.mailbox.waiting();
        if count == 0 {
            walk.notes(
                "messages",
                format!("no device is registered: a message is kept (202), {waiting} are waiting"),
            );
            walk.stops(
                "calls",
                "no device is registered: a call is answered 480".to_owned(),
                "sign a device in; chancery user show lists those that are",
            );
            return;
        }
        match waiting {
            0 => walk.passes("messages", "are delivered at once".to_owned()),
            waiting => walk.notes("messages", format!("{waiting} wait for a device to take them")),
        }
        walk.passes("calls", format!("ring on {}", devices(count)));
    }

    fn is_domain_of_ours(&self, address: &SipAddress) -> bool {
        self.config.domains.iter().any(|domain| domain.as_str() == address.domain())
    }
}

struct Walk {
    steps: Vec<Step>,
}

impl Walk {
    fn passes(&mut self, what: &'static str, finding: String) {
        self.steps.push(Step { what, verdict: Verdict::Passes, finding, mend: None });
    }

    fn notes(&mut self, what: &'static str, finding: String) {
        self.steps.push(Step { what, verdict: Verdict::Notes, finding, mend: None });
    }

    fn stops(&mut self, what: &'static str, finding: String, mend: &'static str) {
        self.steps.push(Step { what, verdict: Verdict::Stops, finding, mend: Some(mend) });
    }
}

fn devices(count: usize) -> String {
    if count == 1 { "one device".to_owned() } else { format!("{count} devices") }
}
