//! Every call that is over stands once in the logs of its caller and of its callee, and they say what became of it.
//!
//! Told by numbers: of the calls between two people, as many of each end must be in the log as the caller's device saw.
//! What a crash of the server, a caller's death or an answer that nobody gave leaves open may be in the log or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::{Instant, Outcome};
use records::{CallEnd, Change, Direction, StoredCall};
use sip_message::{HeaderId, Method};

use super::people::People;
use super::{Checker, End, Resident, domain_of};
use crate::event::{Event, Fact, Party, Payload, What};

/// How long an entry may wait for a disk that was full, and is lost if the server dies meanwhile.
const LOGGED_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
pub struct CallLog {
    residents: Vec<Resident>,
    people: People,
    calls: BTreeMap<String, Made>,
    /// Of the server, and of what accounts are in calls.
    crashes: Vec<Instant>,
    /// When the disk was full, and when it was not any more: an entry that could not be written waits for that.
    full: Vec<(Instant, Option<Instant>)>,
    /// By caller and callee, as they stand in whose log.
    logged: BTreeMap<(String, String, Side), Vec<StoredCall>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Caller,
    Callee,
}

/// A call as its caller's device saw it.
struct Made {
    device: usize,
    callee: String,
    began: Instant,
    ended: Option<Instant>,
    /// `None` where it cannot be known what the server knows of it.
    end: Option<CallEnd>,
    /// Machines that a BYE reached: they can know that the call is over.
    told: BTreeSet<usize>,
    /// The caller's home had it: what others refused on the way there it knows nothing of.
    came_home: bool,
    /// It takes over another call (RFC 3891): whoever that one was sent on to is who it is with.
    takes_over: bool,
}

impl CallLog {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> CallLog {
        CallLog {
            residents: residents.to_vec(),
            people: People::default(),
            calls: BTreeMap::new(),
            crashes: Vec::new(),
            full: Vec::new(),
            logged: BTreeMap::new(),
        }
    }

    fn fact(&mut self, at: Instant, device: usize, fact: &Fact) {
        match fact {
            Fact::Called { call, callee } => {
                let made = Made {
                    device,
                    callee: callee.clone(),
                    began: at,
                    ended: None,
                    end: None,
                    told: BTreeSet::new(),
                    came_home: false,
                    takes_over: false,
                };
                self.calls.insert(call.clone(), made);
            }
            Fact::LegUp { call, chosen, .. } => {
                if let Some(made) = self.calls.get_mut(call) {
                    // An answer that crossed the caller's CANCEL is both.
                    made.end = chosen.then_some(CallEnd::Answered);
                }
            }
            Fact::LegDown { call, leg, status } => {
                if let Some(made) = self.calls.get_mut(call) {
                    made.ended.get_or_insert(at);
                    if leg.is_empty() {
                        made.end = status.and_then(end_of);
                    }
                }
            }
            // The other end may believe in it for longer.
            Fact::HungUp { call, .. } => {
                if let Some(made) = self.calls.get_mut(call).filter(|made| made.ended.is_some()) {
                    made.ended = Some(at);
                }
            }
            _ => {}
        }
    }

    fn log(&mut self, entry: &StoredCall) {
        let Some(owner) = self.people.address(entry.owner) else { return };
        let (owner, peer) = (owner.to_owned(), entry.peer.to_string());
        let key = match entry.direction {
            Direction::Sent => (owner, peer, Side::Caller),
            Direction::Received => (peer, owner, Side::Callee),
        };
        self.logged.entry(key).or_default().push(entry.clone());
    }
}

/// What an answer to the caller means; `None` where the device may have made it up.
fn end_of(status: u16) -> Option<CallEnd> {
    match status {
        487 => Some(CallEnd::Cancelled),
        486 | 600 | 603 | 606 => Some(CallEnd::Refused),
        480 => Some(CallEnd::Failed),
        _ => None,
    }
}

impl Checker for CallLog {
    fn name(&self) -> &'static str {
        "call log"
    }

    fn observe(&mut self, event: &Event) {
        self.people.observe(event.at, &event.what);
        match &event.what {
            What::Fact { device, fact } => self.fact(event.at, *device, fact),
            What::Stopped { party: Party::Machine(_), .. } => self.crashes.push(event.at),
            What::Fault(text) if text.starts_with("the disk of") => match text.ends_with("is full") {
                true => self.full.push((event.at, None)),
                false => {
                    if let Some((_, until)) = self.full.last_mut() {
                        until.get_or_insert(event.at);
                    }
                }
            },
            What::Stopped { party: Party::Device(device), .. } => {
                for made in self.calls.values_mut().filter(|m| m.device == *device && m.ended.is_none()) {
                    made.end = None;
                }
            }
            What::Arrived { to: Party::Machine(machine), payload: Payload::Sip(message), .. }
                if message.is_request() =>
            {
                if let Some(made) = message.call_id().ok().and_then(|call| self.calls.get_mut(call)) {
                    made.told.extend((message.method() == Method::Bye).then_some(*machine));
                    let home = self.people.home(&self.residents[made.device].address());
                    let is_invite = message.method() == Method::Invite;
                    made.came_home |= is_invite && home == Some(*machine);
                    made.takes_over |= is_invite && message.header(HeaderId::Replaces).is_some();
                }
            }
            What::Durable { change, outcome: Outcome::Applied, .. } => match &**change {
                Change::AppendCall(entry) => self.log(entry),
                // Calls of whoever leaves end for the server, and a device without a connection may not hear of it.
                Change::SetUserState { .. } | Change::Replicate(_) => self.crashes.push(event.at),
                _ => {}
            },
            _ => {}
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = Vec::new();
        let mut pairs: BTreeMap<(String, String), Vec<&Made>> = BTreeMap::new();
        for made in self.calls.values() {
            let caller = self.residents[made.device].address();
            pairs.entry((caller, made.callee.clone())).or_default().push(made);
        }
        // Of calls from elsewhere nobody here can say what they were.
        let is_resident = |caller: &String| self.residents.iter().any(|r| r.address() == *caller);
        for (caller, callee, _) in self.logged.keys().filter(|(caller, ..)| is_resident(caller)) {
            // A call that was sent on stands in the log of whoever it was sent to as well.
            let is_sent_on =
                pairs.keys().any(|(c, to)| c == caller && self.people.may_ring(to).contains(callee));
            if !is_sent_on {
                pairs.entry((caller.clone(), callee.clone())).or_default();
            }
        }
        // Calls to others that may have been sent on to somebody.
        let made: Vec<(String, String, bool)> = self
            .calls
            .values()
            .map(|m| (self.residents[m.device].address(), m.callee.clone(), m.takes_over))
            .collect();
        for ((caller, callee), calls) in pairs {
            let sent_on: Vec<_> = made
                .iter()
                .filter(|(from, to, _)| {
                    *from == caller && *to != callee && self.people.may_ring(to).contains(&callee)
                })
                .collect();
            let taken_over = sent_on.iter().filter(|(.., takes_over)| *takes_over).count();
            let sent_on = sent_on.len();
            let reached = self.people.may_ring(&callee);
            let crashes = |made: &Made| {
                let mut logged = made.ended.unwrap_or(end.now) + LOGGED_WITHIN;
                for (from, until) in &self.full {
                    let until = until.unwrap_or(end.now);
                    if *from <= logged && until >= made.began {
                        logged = logged.max(until + LOGGED_WITHIN);
                    }
                }
                let lived = made.began..=logged;
                self.crashes.iter().filter(|at| lived.contains(at)).count()
            };
            let is_known = |made: &Made| {
                let is_answered = made.end == Some(CallEnd::Answered);
                let is_told =
                    |party: &String| self.people.home(party).is_none_or(|at| made.told.contains(&at));
                let is_over = made.ended.is_some() && (!is_answered || is_told(&caller) && is_told(&callee));
                let may_be_elsewhere = made.takes_over && reached.len() > 1;
                made.end.is_some() && made.came_home && is_over && crashes(made) == 0 && !may_be_elsewhere
            };
            let (known, unknown): (Vec<&Made>, Vec<&Made>) =
                calls.into_iter().partition(|made| is_known(made));
            // An INVITE that outlives a crash is another call for the server that comes after; one that comes again after
            // the answer was lost with its connection, too.
            let open: usize = unknown.iter().map(|made| 1 + crashes(made)).sum();
            let is_elsewhere = domain_of(&caller) != domain_of(&callee);
            // The connection between the organisations broke: the caller's home gave the call up, and the callee could answer it.
            let cut_off = known.iter().filter(|m| is_elsewhere && m.end == Some(CallEnd::Failed)).count();
            let none = Vec::new();
            let log = |side| self.logged.get(&(caller.clone(), callee.clone(), side)).unwrap_or(&none);
            let mut compare = |whose: &str, what: &str, want: usize, have: usize| {
                let open = open + if whose == callee { sent_on + cut_off } else { taken_over };
                if have < want || have > want + open {
                    let text = format!(
                        "{whose} has {have} calls from {caller} to {callee} in the log that {what}, and there were \
                         {want} (and {open} of which nobody knows)"
                    );
                    found.push((end.now, text));
                }
            };
            for wanted in [CallEnd::Answered, CallEnd::Cancelled, CallEnd::Refused, CallEnd::Failed] {
                let want = known.iter().filter(|m| m.end == Some(wanted)).count();
                let have = log(Side::Caller).iter().filter(|e| e.end == wanted).count();
                compare(&caller, &format!("ended as {wanted:?}"), want, have);
            }
            // Where a call may have gone elsewhere, the callee's log says only that there was one.
            let answered = |made: &Made| made.end == Some(CallEnd::Answered);
            if reached.len() == 1 {
                let want = known.iter().filter(|m| answered(m)).count();
                let have = log(Side::Callee).iter().filter(|e| e.end == CallEnd::Answered).count();
                compare(&callee, "were answered", want, have);
            }
            if is_elsewhere {
                // What was not answered may have ended between the organisations: the callee's home never heard of it.
            } else if reached.len() == 1 {
                let want = known.iter().filter(|m| answered(m)).count();
                let have = log(Side::Callee).iter().filter(|e| e.end != CallEnd::Answered).count();
                compare(&callee, "were not answered", known.len() - want, have);
            } else {
                compare(&callee, "came", known.len(), log(Side::Callee).len());
            }
            for entry in log(Side::Caller).iter().chain(log(Side::Callee)) {
                let may_be_elsewhere = entry.end == CallEnd::Forwarded;
                if !may_be_elsewhere && (entry.end == CallEnd::Answered) == entry.answered_at.is_empty() {
                    let (ended, at) = (entry.end, &entry.answered_at);
                    found.push((
                        end.now,
                        format!("a call to {callee} ended as {ended:?} and was answered at {at:?}"),
                    ));
                }
            }
        }
        found
    }
}
