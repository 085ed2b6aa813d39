//! Both ends of a call agree: every leg ends, one answer wins, and whoever else rings is told to stop. Nobody rings for
//! whom neither the caller nor the callee's settings have meant the call.

use std::collections::BTreeMap;
use std::time::Duration;

use node::Instant;

use super::people::People;
use super::{Checker, End, Resident};
use crate::event::{Event, Fact, Party, What};

/// How long a loser may ring after the call was decided: the 64*T1 in which a CANCEL gets through or fails, and a
/// little more.
const RINGING_AFTER_DECISION_MAX: Duration = Duration::from_secs(40);
/// How long one end may believe in a call that the other has ended: a BYE's transaction and a little more.
const DISAGREEMENT_MAX: Duration = Duration::from_secs(40);

/// See the module.
pub struct CallsAgree {
    residents: Vec<Resident>,
    people: People,
    calls: BTreeMap<String, CallSeen>,
    faults: Vec<(Instant, Option<usize>)>,
}

struct CallSeen {
    caller: usize,
    callee: String,
    began: Instant,
    decided: Option<Instant>,
    caller_gone: bool,
    chosen: Vec<String>,
    /// Legs that the caller knows, and when it saw their end.
    up: BTreeMap<String, Option<Instant>>,
    legs: BTreeMap<String, LegSeen>,
}

struct LegSeen {
    device: usize,
    picked_up: bool,
    talked: bool,
    ended: Option<Instant>,
    /// Its device crashed before it ended.
    gone: bool,
}

impl CallsAgree {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> CallsAgree {
        CallsAgree {
            residents: residents.to_vec(),
            people: People::default(),
            calls: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    fn fact(&mut self, at: Instant, device: usize, fact: &Fact) {
        match fact {
            Fact::Called { call, callee } => {
                let seen = CallSeen {
                    caller: device,
                    callee: callee.clone(),
                    began: at,
                    decided: None,
                    caller_gone: false,
                    chosen: Vec::new(),
                    up: BTreeMap::new(),
                    legs: BTreeMap::new(),
                };
                self.calls.insert(call.clone(), seen);
            }
            Fact::LegUp { call, leg, chosen } => self.on(call, |c| {
                c.decided.get_or_insert(at);
                c.up.insert(leg.clone(), None);
                c.chosen.extend(chosen.then(|| leg.clone()));
            }),
            Fact::LegDown { call, leg, .. } => self.on(call, |c| {
                c.decided.get_or_insert(at);
                c.up.insert(leg.clone(), Some(at));
            }),
            Fact::Ringing { call, leg } => self.on(call, |c| {
                let seen = LegSeen { device, picked_up: false, talked: false, ended: None, gone: false };
                c.legs.insert(leg.clone(), seen);
            }),
            Fact::PickedUp { call, leg } => self.on_leg(call, leg, |l| l.picked_up = true),
            Fact::Talking { call, leg } => self.on_leg(call, leg, |l| l.talked = true),
            Fact::Cancelled { call, leg } | Fact::HungUp { call, leg } => {
                self.on_leg(call, leg, |l| l.ended = Some(at));
            }
            _ => {}
        }
    }

    fn on(&mut self, call: &str, act: impl FnOnce(&mut CallSeen)) {
        if let Some(seen) = self.calls.get_mut(call) {
            act(seen);
        }
    }

    fn on_leg(&mut self, call: &str, leg: &str, act: impl FnOnce(&mut LegSeen)) {
        self.on(call, |c| {
            if let Some(seen) = c.legs.get_mut(leg) {
                act(seen);
            }
        });
    }

    fn device_gone(&mut self, device: usize) {
        for call in self.calls.values_mut() {
            call.caller_gone |= call.caller == device;
            for leg in call.legs.values_mut().filter(|l| l.device == device && l.ended.is_none()) {
                leg.gone = true;
            }
        }
    }
}

impl Checker for CallsAgree {
    fn name(&self) -> &'static str {
        "calls"
    }

    fn observe(&mut self, event: &Event) {
        self.people.observe(event.at, &event.what);
        match &event.what {
            What::Fact { device, fact } => self.fact(event.at, *device, fact),
            What::Stopped { party: Party::Device(device), .. } => {
                self.device_gone(*device);
                self.faults.push((event.at, Some(*device)));
            }
            What::Stopped { party: Party::Machine(_), .. } | What::Fault(_) => {
                self.faults.push((event.at, None))
            }
            What::Closed { party: Party::Device(device), .. } => self.faults.push((event.at, Some(*device))),
            _ => {}
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = Vec::new();
        for (id, call) in &self.calls {
            let mut say = |what: String| found.push((call.began, format!("call {id}: {what}")));
            let caller = &self.residents[call.caller].name;
            if !call.caller_gone {
                if call.up.is_empty() {
                    say(format!("{caller} never learned how it ended"));
                }
                for leg in call.up.iter().filter(|(_, down)| down.is_none()).map(|(leg, _)| leg) {
                    say(format!("{caller} is still in leg {leg}"));
                }
            }
            if call.chosen.len() > 1 {
                say(format!("{caller} talks to {} legs", call.chosen.len()));
            }
            for leg in call.up.keys().filter(|leg| !leg.is_empty()) {
                if !call.legs.get(leg).is_some_and(|l| l.picked_up) {
                    say(format!("{caller} was answered by leg {leg}, where nobody picked up"));
                }
            }
            for (leg, seen) in &call.legs {
                let resident = &self.residents[seen.device];
                let name = &resident.name;
                if !self.people.may_ring(&call.callee).contains(&resident.address()) {
                    say(format!("{name} rang for {}", call.callee));
                }
                if seen.talked && !call.up.contains_key(leg) && !call.caller_gone {
                    say(format!("{name} talks in leg {leg}, and {caller} does not know of it"));
                }
                if seen.ended.is_none() && !seen.gone {
                    say(format!("leg {leg} of {name} does not end"));
                }
                let (Some(decided), Some(ended)) = (call.decided, seen.ended) else { continue };
                let caller_down = call.up.get(leg).copied().flatten();
                let disturbed = self.faults.iter().any(|(at, whose)| {
                    let concerned = whose.is_none_or(|d| d == call.caller || d == seen.device);
                    concerned && (call.began..=ended).contains(at)
                });
                let apart = caller_down.map(|down| down.since(ended).max(ended.since(down)));
                if !disturbed && apart.is_some_and(|apart| apart > DISAGREEMENT_MAX) {
                    say(format!("{caller} and {name} disagree for long on when it ended"));
                }
                if !seen.picked_up && !disturbed && ended.since(decided) > RINGING_AFTER_DECISION_MAX {
                    let late = ended.since(decided).as_secs();
                    say(format!("{name} rang for {late} s after the call was decided"));
                }
            }
        }
        found
    }
}
