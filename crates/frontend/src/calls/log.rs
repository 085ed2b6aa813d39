//! The call log: what the parties of a call find of it when it is over, each in their own (design section 7).
//!
//! A call that one of the callee's devices answered is missed by none of the others, and the log says where it was
//! answered: to the one who answered, which device; to everybody else, who. What devices somebody has is nobody else's business.
//! A request that is only to be sent again in another way (RFC 3261 §8.1.3.5) leaves nothing.

use std::time::Duration;

use directory::{SipAddress, UserId};
use records::{CallEnd, Change, Direction, StoredCall};

use super::table::{Call, Other, Role};
use crate::frontend::{Due, FrontEnd, Persisting};
use crate::people::Someone;

/// How long after a failed write an entry is written again.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Entries that wait for storage to recover: some 2 MiB. Further ones are lost, and counted.
const LOG_WAITING_MAX: usize = 8192;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// One of the parties hung up.
    HungUp { by_caller: bool },
    /// It ended without a word: its session was not refreshed, its devices are gone, or it was never to be up so long.
    Lost,
    /// It was not set up.
    Refused {
        /// What the caller was answered.
        status: u16,
        /// Whether a device of the callee said so; else this server did.
        by_callee: bool,
    },
}

impl FrontEnd {
    /// Writes a call that is over into the logs of its parties.
    pub(super) fn log_call(&mut self, call: &Call, ending: Ending) {
        let is_kept = !self.config.calls.log_retention.is_zero();
        if !is_kept || matches!(ending, Ending::Refused { status, .. } if is_to_be_tried_again(status)) {
            return;
        }
        let Some(called) = self.address_of(&call.called).cloned() else { return };
        let Some(caller) = self.address_of(&call.caller.who).cloned() else { return };
        let mut entry = self.entry(call, caller);
        for (owner, end) in ends_of_callees(call, ending) {
            entry.owner = owner;
            entry.end = end;
            entry.answered_at = self.answered_at(call, owner);
            // Who calls themselves has two entries.
            let is_own = call.caller.who == owner;
            entry.id[15] = call.id[15] ^ u8::from(is_own);
            self.append_call(entry.clone());
        }
        let Someone::Home(owner) = call.caller.who else { return };
        entry.owner = owner;
        entry.id = call.id;
        entry.direction = Direction::Sent;
        entry.peer = called;
        entry.end = end_of_caller(call, ending);
        entry.answered_at = self.answered_at(call, owner);
        self.append_call(entry);
    }

    fn entry(&self, call: &Call, caller: SipAddress) -> StoredCall {
        let up = call.up();
        let lasted = up.map_or(Duration::ZERO, |up| self.now.monotonic.since(up.since));
        StoredCall {
            // Whose it is is said for each.
            owner: UserId(0),
            id: call.id,
            direction: Direction::Received,
            peer: caller,
            began_unix_ms: call.began.wall.0,
            lasted_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
            end: CallEnd::Failed,
            answered_at: String::new(),
        }
    }

    /// Where a call was answered, as its owner's log says it.
    fn answered_at(&self, call: &Call, owner: UserId) -> String {
        match call.up() {
            Some(up) if up.callee.who == owner => up.answered_at.to_string(),
            Some(up) => self.address_of(&up.callee.who).map_or_else(String::new, ToString::to_string),
            None => String::new(),
        }
    }

    pub(crate) fn append_call(&mut self, entry: StoredCall) {
        let kept = Box::new(entry.clone());
        self.persist_soon_as(Change::AppendCall(entry), Persisting::LoggedCall(kept));
    }

    /// An entry was not written: it is tried again while there is room to wait.
    pub(crate) fn call_not_logged(&mut self, entry: Box<StoredCall>) {
        if self.log_waiting >= LOG_WAITING_MAX {
            self.counters.calls_not_logged += 1;
            return;
        }
        self.log_waiting += 1;
        self.timers.insert(self.now.monotonic + LOG_AGAIN_AFTER, Due::LogAgain(entry));
    }

    pub(crate) fn log_again(&mut self, entry: StoredCall) {
        self.log_waiting -= 1;
        // The owner may be gone by now, and the log with it.
        if self.users.get(entry.owner).is_some() {
            self.append_call(entry);
        }
    }
}

/// What everybody who was called finds.
fn ends_of_callees(call: &Call, ending: Ending) -> Vec<(UserId, CallEnd)> {
    let answerer = call.up().map(|up| up.callee.who.clone());
    // What was called elsewhere is in nobody's log here but the caller's.
    let Someone::Home(called) = call.called else { return Vec::new() };
    let is_forward = |other: &&Other| other.role == Role::ForwardedTo;
    let last = call.others.iter().rfind(is_forward).map_or(called, |other| other.user);
    let end = |user: UserId| match &answerer {
        Some(answerer) if *answerer == user => CallEnd::Answered,
        _ if user == last && answerer.is_none() => not_answered(ending),
        _ => CallEnd::Forwarded,
    };
    let mut ends = vec![(called, end(called))];
    for other in &call.others {
        let took_part = match other.role {
            // Rung in vain while somebody before them answered: nothing that they should know.
            Role::ForwardedTo => answerer.as_ref().is_none_or(|who| *who != called) || other.user == called,
            // The call was another's.
            Role::RingsAlso => answerer.as_ref().is_some_and(|who| *who == other.user),
        };
        if took_part && ends.iter().all(|(user, _)| *user != other.user) {
            ends.push((other.user, end(other.user)));
        }
    }
    ends
}

/// What the callee finds of a call that nobody answered.
fn not_answered(ending: Ending) -> CallEnd {
    match ending {
        Ending::Refused { status, by_callee: true } if is_word_of_callee(status) => CallEnd::Refused,
        // Whoever was away, busy by our own word, or not to be disturbed should know who called.
        Ending::Refused { .. } | Ending::HungUp { .. } | Ending::Lost => CallEnd::Missed,
    }
}

fn end_of_caller(call: &Call, ending: Ending) -> CallEnd {
    match ending {
        _ if call.up().is_some() => CallEnd::Answered,
        Ending::Refused { status: 487, .. } => CallEnd::Cancelled,
        Ending::Refused { status: 486 | 600 | 603 | 606, .. } => CallEnd::Refused,
        Ending::Refused { .. } | Ending::HungUp { .. } | Ending::Lost => CallEnd::Failed,
    }
}

/// Whether a device that answers so speaks for its user; else nobody was there.
fn is_word_of_callee(status: u16) -> bool {
    !matches!(status, 404 | 408 | 410 | 430 | 480 | 481 | 487 | 500..600)
}

/// RFC 3261 §8.1.3.5, RFC 4028 §7.3: the client sends it again, changed.
fn is_to_be_tried_again(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 407 | 413 | 415 | 416 | 420 | 421 | 422 | 494)
}
