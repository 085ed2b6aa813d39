//! Why one person reaches another, or does not: the way of a request, walked without sending one.
//!
//! Each step looks at one thing that a request of `from` to `to` meets here, in the order in which it meets them, and says what
//! it found. The first step that stops is the answer; its mend says what an administrator can do about it.

use std::sync::Arc;

use directory::{SipAddress, Standing as AccountStanding, UserId, UserState};
use federation::HostPort;
use node::Flow;
use presence::{Level, View, Why};
use sip_stack::dialog::Standing;

use crate::admin::{Explanation, Step, Verdict};
use crate::calls::forwarding::may_talk;
use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::users::Account;

impl FrontEnd {
    /// What `from` meets on the way to `to`.
    pub(crate) fn explain(&self, from: &SipAddress, to: &SipAddress) -> Explanation {
        let mut walk = Walk { steps: Vec::new() };
        let sender = self.explain_sender(&mut walk, from);
        if self.is_domain_of_ours(from) && !self.is_domain_of_ours(to) {
            if let Some(Someone::Home(user)) = sender {
                self.explain_elsewhere(&mut walk, user, to);
            }
            return Explanation { from: from.clone(), to: to.clone(), steps: walk.steps };
        }
        let recipient = self.explain_recipient(&mut walk, to);
        if let (Some(sender), Some(recipient)) = (sender, recipient) {
            if !may_talk(recipient, &sender) {
                walk.stops("permission", no_permission(to), PERMISSION_MEND);
            } else {
                self.explain_devices(&mut walk, recipient);
                self.explain_presence(&mut walk, from, recipient);
                self.explain_messages(&mut walk, &sender, recipient);
                self.explain_call(&mut walk, &sender, recipient);
            }
        }
        Explanation { from: from.clone(), to: to.clone(), steps: walk.steps }
    }

    fn explain_sender(&self, walk: &mut Walk, from: &SipAddress) -> Option<Someone> {
        if !self.is_domain_of_ours(from) {
            let finding =
                format!("{from} is of another organisation; our Access Edge decides whether it is heard");
            walk.notes("sender", finding);
            self.explain_route(walk)?;
            return Some(Someone::Elsewhere(Arc::new(from.clone())));
        }
        let account = self.explain_account(walk, "sender", from)?;
        match account.bindings.iter().count() {
            0 => walk.notes("sender's devices", "none is registered: nothing comes from them now".to_owned()),
            count => walk.passes("sender's devices", devices(count)),
        }
        Some(Someone::Home(account.user.id))
    }

    /// The way to other organisations.
    fn explain_route(&self, walk: &mut Walk) -> Option<()> {
        match &self.config.federation.route {
            Some(HostPort { host, port }) => {
                walk.passes("route", format!("other organisations are reached through {host}:{port}"));
                Some(())
            }
            None => {
                walk.stops(
                    "route",
                    "this server has no way to other organisations: requests to them are answered 403"
                        .to_owned(),
                    "name the Access Edge in [federation] route of the configuration",
                );
                None
            }
        }
    }

    /// What a user meets on the way to somebody of another organisation, as far as this server decides.
    fn explain_elsewhere(&self, walk: &mut Walk, user: UserId, to: &SipAddress) {
        let Some(account) = self.users.get(user) else { return };
        if !account.user.may().federation {
            return walk.stops("permission", no_permission(&account.user.address), PERMISSION_MEND);
        }
        walk.passes("permission", format!("{} may talk with other organisations", account.user.address));
        if self.explain_route(walk).is_some() {
            let finding = format!(
                "{} is of another organisation: the Access Edge decides by its policy, and {} answers",
                to,
                to.domain()
            );
            walk.notes("recipient", finding);
        }
    }

    fn explain_recipient(&self, walk: &mut Walk, to: &SipAddress) -> Option<&Account> {
        if !self.is_domain_of_ours(to) {
            walk.stops(
                "recipient",
                format!("neither is of a domain of this server, and {} is not passed on to", to.domain()),
                "other organisations reach people of this server's domains, and nobody else through it",
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
        let unusable =
            |why: String| format!("{address} {why}: it cannot sign in, and others find nobody there (404)");
        let standing =
            account.user.account.as_ref().map_or(AccountStanding::Active, |account| account.standing);
        if account.user.state == UserState::Disabled {
            let mend = "chancery user enable lets it in again";
            walk.stops(what, unusable("is disabled".to_owned()), mend);
            return None;
        }
        if let Some((why, mend)) = unusable_in_directory(standing) {
            walk.stops(what, unusable(format!("{why} in the organisation's directory")), mend);
            return None;
        }
        match account.user.address == *address {
            true => walk.passes(what, format!("{address} exists and is enabled")),
            false => walk.passes(what, format!("{address} is now {}, and is enabled", account.user.address)),
        }
        Some(account)
    }

    /// Whether both may have voice and video at all.
    fn explain_media(&self, walk: &mut Walk, sender: &Someone, recipient: &Account) -> bool {
        let sender = sender.user().and_then(|user| self.users.get(user));
        let barred =
            [sender, Some(recipient)].into_iter().flatten().find(|account| !account.user.may().calls);
        if let Some(account) = barred {
            let finding =
                format!("{} may neither call nor be called with voice or video (403)", account.user.address);
            let mend = "chancery user set-permission ADDRESS --calls on lets it, where the directory's groups do too";
            walk.stops("calls", finding, mend);
        }
        barred.is_none()
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
        if count == 0 {
            walk.notes("device", "none of the recipient's is registered".to_owned());
        }
    }

    /// What the sender sees, and what it is behind that.
    fn explain_presence(&self, walk: &mut Walk, from: &SipAddress, recipient: &Account) {
        let access = self.access_of(recipient, from);
        let level = access.level.name();
        match (access.level, access.standing) {
            (_, Standing::Pending) => {
                walk.notes("access level", format!("{level}, until the recipient has decided"))
            }
            (Level::Blocked, Standing::Active) => {
                let finding = format!("{level}: the sender sees the recipient offline; access show says why");
                walk.notes("access level", finding);
            }
            _ => walk.passes("access level", level.to_owned()),
        }
        let state = &recipient.person.state;
        let seen = View::of(state, &self.card_of(recipient), access.level).availability;
        let finding = match seen == state.availability {
            true => format!("seen as {seen:?}, because: {}", because(state.why)),
            false => format!("{:?}, because: {}; seen as {seen:?}", state.availability, because(state.why)),
        };
        walk.passes("presence", finding);
        if state.is_do_not_disturb() {
            match access.level.may_interrupt() {
                true => walk.passes("do-not-disturb", format!("level {level} may interrupt it")),
                false => walk
                    .notes("do-not-disturb", format!("is in force, and level {level} may not interrupt it")),
            }
        }
    }

    fn explain_messages(&self, walk: &mut Walk, sender: &Someone, recipient: &Account) {
        let waiting = recipient.mailbox.waiting();
        let is_away = recipient.bindings.iter().next().is_none();
        match (is_away, waiting) {
            (false, waiting) if self.is_not_to_be_disturbed(recipient, sender) => walk.notes(
                "messages",
                format!("are kept (202) until do-not-disturb ends, or somebody writes who may interrupt it; {waiting} are waiting"),
            ),
            (true, waiting) => walk
                .notes("messages", format!("are kept (202) until a device registers; {waiting} are waiting")),
            (false, 0) => walk.passes("messages", "are delivered at once".to_owned()),
            (false, waiting) => walk.notes("messages", format!("{waiting} wait for a device to take them")),
        }
    }

    fn explain_call(&self, walk: &mut Walk, sender: &Someone, recipient: &Account) {
        if !self.explain_media(walk, sender, recipient) {
            return;
        }
        match self.where_a_call_goes(sender, recipient.user.id) {
            Ok((forwarded, rings)) if forwarded.is_empty() => {
                walk.passes("calls", format!("ring on {}", devices(rings)))
            }
            Ok((forwarded, rings)) => {
                let accounts = forwarded.into_iter().filter_map(|id| self.users.get(id));
                let way: Vec<&str> = accounts.map(|a| a.user.address.as_str()).collect();
                let finding =
                    format!("are forwarded to {}, and ring on {}", way.join(", then "), devices(rings));
                walk.notes("calls", finding);
            }
            Err(refusal) => {
                let mend = match refusal.status {
                    486 => {
                        "wait, or ask the recipient for level team; chancery forward sends such calls elsewhere"
                    }
                    480 => "sign a device in; chancery forward sends calls elsewhere meanwhile",
                    _ => "chancery forward show tells where the recipient's calls are sent",
                };
                walk.stops("calls", format!("are answered {}: {}", refusal.status, refusal.reason), mend);
            }
        }
    }

    fn is_domain_of_ours(&self, address: &SipAddress) -> bool {
        self.config.domains.iter().any(|domain| domain.as_str() == address.domain())
    }
}

const PERMISSION_MEND: &str = "chancery user set-permission ADDRESS --federation on lets it";

fn no_permission(address: &SipAddress) -> String {
    format!("{address} may not talk with other organisations: for them there is no such account (404)")
}

/// What the directory says of an account that may not be used, and what helps.
fn unusable_in_directory(standing: AccountStanding) -> Option<(&'static str, &'static str)> {
    Some(match standing {
        AccountStanding::Active => return None,
        AccountStanding::Disabled => {
            ("is disabled", "enable the account there; it is live here within seconds")
        }
        AccountStanding::Expired => ("has expired", "set a later end of the account there"),
        AccountStanding::LockedOut => {
            ("is locked after wrong passwords", "unlock the account there, or wait until it opens by itself")
        }
        AccountStanding::NotEnabled => (
            "is not enabled for this server",
            "put it into the group that is, or give it a SIP address there",
        ),
        AccountStanding::Gone => {
            ("was deleted", "restore the account there within the time that deleted ones are kept")
        }
    })
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

fn because(why: Why) -> String {
    match why {
        Why::Manual(state) => format!("it was chosen ({})", state.name()),
        Why::InCall(1) => "of a call".to_owned(),
        Why::InCall(calls) => format!("of {calls} calls"),
        Why::Device(_) => "a device says so".to_owned(),
        Why::NoDevice => "no device is there".to_owned(),
    }
}

fn devices(count: usize) -> String {
    if count == 1 { "one device".to_owned() } else { format!("{count} devices") }
}
