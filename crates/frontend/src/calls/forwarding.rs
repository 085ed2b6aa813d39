//! Where a call rings: at the callee's devices, at others with them, or somewhere else (design section 7).
//!
//! A call moves in stages. Each stage is one user: their settings say whether it rings there at all, who rings along, how
//! long, and where it goes from there. The first stage is forwarded ([`sip_stack::stack::Stack::forward`]), every further one
//! extends it ([`sip_stack::stack::Stack::extend`]), so that the caller sees one call. Nobody is rung twice, and a call is
//! forwarded no more often than [`FORWARDS_MAX`].
//!
//! What is forwarded says so in History-Info (RFC 7044 §5), with the cause in the URI (RFC 4458 §2). P-Asserted-Identity
//! stays the caller's. A request for one device (a GRUU, a contact, or the dialog that Replaces names) is not forwarded: it
//! means that device.

use std::fmt::Write as _;
use std::time::Duration;

use directory::{SipAddress, UserId};
use records::CallSettings;
use sip_message::{Host, Message};
use sip_stack::stack::{HeaderChange, Target};
use smallvec::{SmallVec, smallvec};

use super::media::asks_for_media;
use super::table::{Other, Role};
use crate::admin::Cause;
use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::Refusal;
use crate::users::{Account, AddressKey};

/// How often one call may be forwarded: more is a chain that nobody meant. What other servers did before counts where
/// History-Info tells of it.
pub(crate) const FORWARDS_MAX: usize = 5;
/// Addresses that ring together with a user's own devices: a team, not a department.
pub(crate) const RING_ALSO_MAX: usize = 10;
/// RFC 7044 §4.1.
const HISTORY_INFO: &str = "History-Info";

/// The way of a call so far.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    /// Who was called, and everybody it was forwarded to.
    users: SmallVec<[UserId; 1]>,
    /// Whether it asks for voice or video, which not everybody may have.
    is_media: bool,
    /// How often it was forwarded before it came here.
    forwards_before: usize,
    /// Entries of History-Info that are ours to add; empty until it is forwarded.
    history: String,
    /// The index of the last entry.
    index: String,
}

/// One user's turn.
pub(crate) struct Stage {
    /// Never empty.
    pub(crate) targets: Vec<Target>,
    /// How long they ring.
    pub(crate) patience: Option<Duration>,
    /// Whether it may go on from there.
    pub(crate) asks_for_more: bool,
    /// Who is rung for the first time, besides the callee.
    pub(crate) others: Vec<Other>,
}

impl Cause {
    /// RFC 4458 §2.
    fn code(self) -> u16 {
        match self {
            Cause::Always => 302,
            Cause::DoNotDisturb => 480,
            Cause::Busy => 486,
            Cause::NoAnswer => 408,
            Cause::Unregistered => 404,
        }
    }

    fn target(self, settings: &CallSettings) -> Option<&SipAddress> {
        match self {
            Cause::Always => settings.forward_always.as_ref(),
            Cause::DoNotDisturb => settings.forward_do_not_disturb.as_ref(),
            Cause::Busy => settings.forward_busy.as_ref(),
            Cause::NoAnswer => settings.forward_no_answer.as_ref(),
            Cause::Unregistered => settings.forward_unregistered.as_ref(),
        }
    }

    /// What the caller is told where it goes nowhere. A stranger learns no more of do-not-disturb than of busy.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Cause::DoNotDisturb => Refusal::new(486, "the user is not to be disturbed"),
            Cause::Busy => Refusal::new(486, "the user is in a call"),
            Cause::Always | Cause::NoAnswer | Cause::Unregistered => {
                Refusal::new(480, "no device of the user is registered")
            }
        }
    }

    /// What a final status of a user's devices is a cause for.
    fn of_status(status: u16, settings: &CallSettings) -> Option<Cause> {
        let causes: &[Cause] = match status {
            486 => &[Cause::Busy],
            408 => &[Cause::NoAnswer],
            // Nobody was there after all.
            410 | 430 | 480 => &[Cause::Unregistered, Cause::NoAnswer],
            _ => &[],
        };
        causes.iter().copied().find(|cause| cause.target(settings).is_some())
    }
}

impl Trail {
    /// Of a call that begins with this INVITE.
    pub(crate) fn new(called: UserId, invite: &Message) -> Trail {
        let entries = || invite.headers().filter(|h| h.name.eq_ignore_ascii_case(HISTORY_INFO.as_bytes()));
        let texts = || entries().filter_map(|h| std::str::from_utf8(h.value).ok());
        let last = texts().last().and_then(|text| text.rsplit_once(";index=")).map(|(_, index)| index);
        let digits = |index: &str| {
            let end = index.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(index.len());
            index[..end].to_owned()
        };
        Trail {
            users: smallvec![called],
            is_media: asks_for_media(invite),
            // RFC 7044 §5.1: an entry with `mp` is of somebody whom the one before did not mean.
            forwards_before: texts().map(|text| text.matches(";mp=").count()).sum(),
            history: String::new(),
            index: last.map(digits).filter(|index| !index.is_empty()).unwrap_or_default(),
        }
    }

    /// Of a call that is only thought of.
    fn imagined(called: UserId) -> Trail {
        let (history, index) = (String::new(), String::new());
        Trail { users: smallvec![called], is_media: true, forwards_before: 0, history, index }
    }

    /// Whose turn it is.
    pub(crate) fn current(&self) -> UserId {
        *self.users.last().expect("somebody was called")
    }

    /// Whether it may go to a user.
    fn may_ring(&self, account: &Account) -> bool {
        !self.is_media || account.user.may().calls
    }

    fn forwards(&self) -> usize {
        self.forwards_before + self.users.len() - 1
    }

    fn goes_on(&mut self, from: &SipAddress, to: &Account, cause: Cause) {
        if self.index.is_empty() {
            self.index.push('1');
            // RFC 7044 §5: the reason stands with the one who is left, where an answer, or none, was the reason.
            let reason = match cause {
                Cause::Busy | Cause::NoAnswer => format!("?Reason=SIP%3Bcause%3D{}", cause.code()),
                Cause::Always | Cause::DoNotDisturb | Cause::Unregistered => String::new(),
            };
            let _ = write!(self.history, "<sip:{from}{reason}>;index=1");
        }
        if !self.history.is_empty() {
            self.history.push_str(", ");
        }
        let (to, code, index) = (&to.user, cause.code(), &self.index);
        let _ = write!(self.history, "<sip:{};cause={code}>;index={index}.1;mp={index}", to.address);
        self.index.push_str(".1");
        self.users.push(to.id);
    }

    /// What is written into the request for a target of the present stage.
    fn changes(&self) -> Vec<HeaderChange> {
        if self.history.is_empty() {
            return Vec::new();
        }
        vec![HeaderChange::AppendNamed(HISTORY_INFO, self.history.clone())]
    }
}

impl FrontEnd {
    /// The first stage of a call, by the settings of who is called.
    pub(super) fn first_stage(&self, trail: &mut Trail, caller: &Someone) -> Result<Stage, Refusal> {
        let mut others = Vec::new();
        self.stage(trail, caller, &mut others)
    }

    /// The stage behind one that failed with this status; `None` where the call ends there.
    pub(super) fn next_stage(&self, trail: &mut Trail, caller: &Someone, status: u16) -> Option<Stage> {
        let account = self.users.get(trail.current())?;
        let settings = account.call_settings.as_deref()?;
        let cause = Cause::of_status(status, settings)?;
        let mut others = Vec::new();
        self.forward_call(trail, account, cause, caller, &mut others).ok()?;
        self.stage(trail, caller, &mut others).ok()
    }

    /// Where a call would go now: whom it is forwarded to, in order, and how many devices ring in the end.
    pub(crate) fn where_a_call_goes(
        &self,
        caller: &Someone,
        called: UserId,
    ) -> Result<(Vec<UserId>, usize), Refusal> {
        let mut trail = Trail::imagined(called);
        let stage = self.first_stage(&mut trail, caller)?;
        Ok((trail.users[1..].to_vec(), stage.targets.len()))
    }

    /// Follows forwardings until devices are there to ring.
    fn stage(&self, trail: &mut Trail, caller: &Someone, others: &mut Vec<Other>) -> Result<Stage, Refusal> {
        loop {
            let Some(account) = self.users.get(trail.current()) else {
                return Err(Refusal::new(404, "no such user"));
            };
            let cause = match self.diversion(account, caller) {
                Some(cause) => cause,
                None => {
                    let (targets, rung) = self.rings_at(account, caller, trail);
                    if !targets.is_empty() {
                        others.extend(rung);
                        return Ok(self.stage_of(account, targets, std::mem::take(others)));
                    }
                    Cause::Unregistered
                }
            };
            self.forward_call(trail, account, cause, caller, others)?;
        }
    }

    fn stage_of(&self, account: &Account, targets: Vec<Target>, others: Vec<Other>) -> Stage {
        let settings = account.call_settings.as_deref();
        let patience = settings.filter(|settings| settings.forward_no_answer.is_some()).map(|settings| {
            match settings.no_answer_seconds {
                0 => self.config.calls.no_answer_after,
                seconds => Duration::from_secs(seconds.into()),
            }
        });
        Stage { targets, patience, asks_for_more: settings.is_some(), others }
    }

    /// Why a user's devices do not ring.
    fn diversion(&self, account: &Account, caller: &Someone) -> Option<Cause> {
        let settings = account.call_settings.as_deref();
        if settings.is_some_and(|settings| settings.forward_always.is_some()) {
            return Some(Cause::Always);
        }
        if self.is_not_to_be_disturbed(account, caller) {
            return Some(Cause::DoNotDisturb);
        }
        let busy_on_busy =
            settings.and_then(|settings| settings.busy_on_busy).unwrap_or(self.config.calls.busy_on_busy);
        (busy_on_busy && self.calls_up(account.user.id) > 0).then_some(Cause::Busy)
    }

    /// Whether a user does not want to hear of somebody now (design section 5).
    pub(crate) fn is_not_to_be_disturbed(&self, account: &Account, by: &Someone) -> bool {
        account.person.state.is_do_not_disturb() && !self.may_interrupt(account, by)
    }

    /// Whether somebody is of a level that may interrupt do-not-disturb.
    pub(crate) fn may_interrupt(&self, account: &Account, who: &Someone) -> bool {
        self.address_of(who).is_some_and(|who| self.access_of(account, who).level.may_interrupt())
    }

    /// A user's devices, and those that ring together with them.
    fn rings_at(&self, account: &Account, caller: &Someone, trail: &Trail) -> (Vec<Target>, Vec<Other>) {
        let mut targets = account.bindings.targets(|_| true);
        let mut others = Vec::new();
        if let Some(settings) = account.call_settings.as_deref() {
            let q = targets.iter().map(|target| target.q).max().unwrap_or(1000);
            for address in &settings.ring_also {
                let Some(other) = self.find_callee(address) else { continue };
                let is_rung = trail.users.contains(&other.user.id) || *caller == other.user.id;
                if is_rung
                    || !trail.may_ring(other)
                    || !may_talk(other, caller)
                    || self.is_not_to_be_disturbed(other, caller)
                {
                    continue;
                }
                let devices = other.bindings.targets(|_| true);
                if !devices.is_empty() {
                    others.push(Other { user: other.user.id, role: Role::RingsAlso });
                    targets.extend(devices.into_iter().map(|target| Target { q, ..target }));
                }
            }
        }
        if !trail.history.is_empty() {
            for target in &mut targets {
                target.changes = trail.changes();
                target.alternatives.iter_mut().for_each(|other| other.changes = trail.changes());
            }
        }
        (targets, others)
    }

    /// Sends a call on from one user to the next.
    fn forward_call(
        &self,
        trail: &mut Trail,
        from: &Account,
        cause: Cause,
        caller: &Someone,
        others: &mut Vec<Other>,
    ) -> Result<(), Refusal> {
        let settings = from.call_settings.as_deref();
        let Some(address) = settings.and_then(|settings| cause.target(settings)) else {
            return Err(cause.refusal());
        };
        if !self.is_our_domain(Host::Name(address.domain())) {
            return Err(Refusal::new(403, "the call is forwarded to a domain that is not federated with us"));
        }
        let Some(to) = self.find_callee(address) else {
            return Err(Refusal::new(404, "the call is forwarded to an address that nobody has"));
        };
        if !may_talk(to, caller) {
            return Err(Refusal::new(
                480,
                "the call is forwarded to who may not talk with other organisations",
            ));
        }
        if !trail.may_ring(to) {
            return Err(Refusal::new(
                480,
                "the call is forwarded to who may not be called with voice or video",
            ));
        }
        if trail.users.contains(&to.user.id) || trail.forwards() >= FORWARDS_MAX {
            return Err(Refusal::new(482, "the call is forwarded in a loop, or too often"));
        }
        trail.goes_on(&from.user.address, to, cause);
        others.push(Other { user: to.user.id, role: Role::ForwardedTo });
        Ok(())
    }

    fn find_callee(&self, address: &SipAddress) -> Option<&Account> {
        self.users.find_enabled(&AddressKey::new(address.user(), address.domain()))
    }
}

/// Whether a user may talk with somebody at all: with people of other organisations not everybody may.
pub(crate) fn may_talk(account: &Account, with: &Someone) -> bool {
    account.user.may().federation || matches!(with, Someone::Home(_))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_others_forwarded_before_counts() {
        let trail = |history: &str| {
            let text = format!("INVITE sip:b@x SIP/2.0\r\n{history}Content-Length: 0\r\n\r\n");
            Trail::new(UserId(1), &Message::parse(Bytes::from(text)).unwrap())
        };
        assert_eq!((trail("").forwards(), trail("").index.as_str()), (0, ""));
        let forwarded =
            trail("History-Info: <sip:a@x>;index=1\r\nhistory-info: <sip:b@x>;index=1.1;mp=1\r\n");
        assert_eq!((forwarded.forwards(), forwarded.index.as_str()), (1, "1.1"));
        let odd = trail("History-Info: <sip:a@x>;index=x\r\n");
        assert_eq!((odd.forwards(), odd.index.as_str()), (0, ""));
    }
}
