//! When faults are over, every watcher has the last state of everybody whom it watches, at its level, sees nobody in a call that is
//! over, and nobody is told again what is known.
//!
//! What the last state is follows from what devices say of themselves and from what became durable; the composition
//! (design section 5) is written down here once more, in its own few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::Instant;
use presence::{Level, ManualState};
use sip_message::{HeaderId, Message, Method};

use super::people::People;
use super::presence_level::notice_of;
use super::{Checker, DeviceEnd, End, Resident, WatchEnd, domain_of};
use crate::device::{Pose, Watched};
use crate::event::{Event, Fact, Party, Payload, What};
use crate::notice::{Notice, Shown, address_of};

/// So long changes of the people in a list may be gathered.
const LIST_WINDOW: Duration = Duration::from_millis(500);

/// See the module.
pub struct PresenceConverges {
    residents: Vec<Resident>,
    people: People,
    /// NOTIFYs that were seen leaving, by branch: of which subscription, and what they show until they are confirmed.
    sent: BTreeMap<String, (String, Vec<Shown>)>,
    /// Who called, by Call-ID.
    callers: BTreeMap<String, String>,
    told: BTreeMap<String, Told>,
    /// Calls that were answered and of which the server never got a BYE, with who is in them.
    unended: BTreeMap<String, BTreeSet<String>>,
    found: Vec<(Instant, String)>,
}

/// What a subscription was told, by its Call-ID.
#[derive(Default)]
struct Told {
    /// Confirmed by the watcher's 200.
    last: BTreeMap<String, Shown>,
    /// Its watcher has asked since the last NOTIFY left.
    is_asked: bool,
    /// When its watcher last confirmed one.
    confirmed_at: Instant,
}

/// How a person should be seen, where all of several states may be meant the first found is.
#[derive(Debug)]
struct Expected {
    is_open: bool,
    /// Any of these.
    looks: Vec<Look>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    pose: Pose,
    activity: Option<&'static str>,
    note: Option<String>,
    place: Option<String>,
}

impl PresenceConverges {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> PresenceConverges {
        PresenceConverges {
            residents: residents.to_vec(),
            people: People::default(),
            sent: BTreeMap::new(),
            callers: BTreeMap::new(),
            told: BTreeMap::new(),
            unended: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn notify(&mut self, at: Instant, machine: usize, device: usize, message: &Message) {
        let Some(branch) = branch_of(message) else { return };
        let (Some(Ok(notice)), Ok(call)) = (notice_of(message), message.call_id()) else { return };
        if self.sent.contains_key(&branch) {
            return;
        }
        let told = self.told.entry(call.to_owned()).or_default();
        // The last NOTIFY of a subscription has its own news.
        let is_last =
            message.header(HeaderId::SubscriptionState).is_some_and(|s| s.starts_with(b"terminated"));
        // What changed and changed back while a NOTIFY was under way is owed, and told as soon as it is confirmed.
        let has_waited = told.confirmed_at == at;
        let repeats = std::mem::take(&mut told.is_asked) || is_last || has_waited;
        // A row of a list whose person changed and changed back within the window is told with the others; but who is blocked would
        // learn from it that there was something.
        let is_list = matches!(notice, Notice::List { .. });
        let me = self.residents[device].address();
        let may_know = |s: &Shown| self.people.level(&s.entity, &me, at, LIST_WINDOW) > Level::Blocked;
        let is_full = matches!(notice, Notice::List { is_full: true, .. });
        // Where servers stand between, a confirmation may be lost behind the last of them.
        let is_told_by_home = |s: &&Shown| self.people.home(&s.entity) == Some(machine);
        let told_here: Vec<&Shown> = notice.shown().into_iter().filter(is_told_by_home).collect();
        for shown in told_here.into_iter().filter(|s| !(repeats || is_full || is_list && may_know(s))) {
            if told.last.get(&shown.entity).is_some_and(|known| known.octets == shown.octets) {
                let name = &self.residents[device].name;
                self.found.push((at, format!("{name} is told again what it knows of {}", shown.entity)));
            }
        }
        let shown = notice.shown().into_iter().cloned().collect();
        self.sent.insert(branch, (call.to_owned(), shown));
    }

    /// What is wrong with what a watcher has of somebody's calls: all of them are over by now, unless nobody can know it.
    fn wrong_calls(&self, person: &str, watch: &WatchEnd) -> Option<String> {
        let Some(shown) = &watch.calls else { return Some(format!("was never shown calls of {person}")) };
        let may_be_in_call = self.unended.values().any(|parties| parties.contains(person));
        if shown.entity != *person {
            Some(format!("is shown calls of {} as those of {person}", shown.entity))
        } else if shown.calls > 0 && !may_be_in_call {
            Some(format!("sees {person} in {} calls that are over", shown.calls))
        } else {
            None
        }
    }

    fn expected(&self, person: &str, end: &End<'_>) -> Expected {
        let manual = self.people.manual(person);
        let note = manual.note_at(end.wall_unix_ms()).map(str::to_owned);
        let there: Vec<&DeviceEnd> =
            end.devices.iter().filter(|d| d.is_registered && d.resident.address() == person).collect();
        let offline = || Expected {
            is_open: false,
            looks: vec![Look { pose: Pose::Away, activity: None, note: note.clone(), place: None }],
        };
        let choice = manual.state_at(end.wall_unix_ms());
        let chosen = match choice {
            _ if there.is_empty() => return offline(),
            Some(ManualState::AppearOffline) => return offline(),
            Some(ManualState::Busy | ManualState::DoNotDisturb) => Some(Pose::Busy),
            Some(ManualState::Away | ManualState::BeRightBack) => Some(Pose::Away),
            Some(ManualState::Available) | None => None,
        };
        let pose_of = |d: &DeviceEnd| d.published.as_ref().map_or(Pose::Available, |p| p.pose);
        let best = there.iter().map(|d| pose_of(d)).min().unwrap_or(Pose::Available);
        let looks = there.iter().filter(|d| pose_of(d) == best).map(|d| {
            let posture = d.published.as_ref();
            Look {
                pose: chosen.unwrap_or(best),
                activity: posture.and_then(|p| p.activity).filter(|_| chosen.is_none()),
                note: note.clone().or_else(|| posture.and_then(|p| p.note.clone())),
                place: posture.and_then(|p| p.place.clone()),
            }
        });
        let mut looks: Vec<Look> = looks.collect();
        if chosen.is_none() && self.unended.values().any(|parties| parties.contains(person)) {
            // Both ends died without a word: nobody can know that this call is over.
            let talks =
                |look: &Look| Look { pose: Pose::Busy, activity: Some("on-the-phone"), ..look.clone() };
            let talking: Vec<Look> = looks.iter().map(talks).collect();
            looks.extend(talking);
        }
        Expected { is_open: true, looks }
    }
}

impl Expected {
    /// What is wrong with what a watcher of this level has.
    fn differs(&self, level: Level, shown: &Shown) -> Option<String> {
        if shown.is_open != (self.is_open && level > Level::Blocked) {
            return Some(if shown.is_open { "there".into() } else { "not there".into() });
        }
        if level == Level::Blocked {
            return None;
        }
        let fits = |look: &&Look| {
            let pose = if !self.is_open {
                true
            } else {
                let says = |activity: &str| shown.activities.contains(activity);
                match look.pose {
                    Pose::Available => !says("busy") && !says("away"),
                    Pose::Busy => says("busy") && !says("away"),
                    Pose::Away => says("away") && !says("busy"),
                }
            };
            let note: BTreeSet<String> =
                look.note.iter().filter(|_| level >= Level::Company).cloned().collect();
            let place = look.place.as_ref().filter(|_| level >= Level::Team);
            let activity =
                look.activity.is_none_or(|a| level < Level::Company || shown.activities.contains(a));
            pose && note == shown.notes && place == shown.place.as_ref() && activity
        };
        let seen = || format!("{:?} {:?} {:?}", shown.activities, shown.notes, shown.place);
        self.looks.iter().find(fits).is_none().then(seen)
    }
}

fn branch_of(message: &Message) -> Option<String> {
    message.top_via().ok()?.branch().map(str::to_owned)
}

impl Checker for PresenceConverges {
    fn name(&self) -> &'static str {
        "presence converges"
    }

    fn observe(&mut self, event: &Event) {
        self.people.observe(event.at, &event.what);
        match &event.what {
            What::Sent {
                from: Party::Machine(machine), to: Some(Party::Device(device)), payload, ..
            } => {
                let Payload::Sip(message) = payload else { return };
                if message.is_request() && message.method() == Method::Notify {
                    self.notify(event.at, *machine, *device, message);
                }
            }
            What::Arrived { to: Party::Machine(machine), payload: Payload::Sip(message), .. } => {
                let Ok(call) = message.call_id() else { return };
                if message.is_request() && message.method() == Method::Bye {
                    // Each party's home must hear of it.
                    if let Some(parties) = self.unended.get_mut(call) {
                        parties.retain(|party| self.people.home(party) != Some(*machine));
                    }
                }
                if message.is_request() && message.method() == Method::Subscribe {
                    self.told.entry(call.to_owned()).or_default().is_asked = true;
                }
                let confirmed = message.status().is_some_and(|s| (200..300).contains(&s));
                if confirmed
                    && message.method() == Method::Notify
                    && let Some((call, shown)) = branch_of(message).and_then(|b| self.sent.get_mut(&b))
                {
                    let told = self.told.entry(call.clone()).or_default();
                    told.confirmed_at = event.at;
                    // A confirmation that comes again, late, says nothing new.
                    let shown = std::mem::take(shown);
                    told.last.extend(shown.into_iter().map(|s| (s.entity.clone(), s)));
                }
                if message.is_request()
                    && message.method() == Method::Invite
                    && let Ok(from) = message.from()
                {
                    self.callers.entry(call.to_owned()).or_insert_with(|| address_of(&from.uri.to_string()));
                }
            }
            What::Fact { device, fact: Fact::LegUp { call, .. } | Fact::PickedUp { call, .. } } => {
                let parties = self.unended.entry(call.clone()).or_default();
                parties.insert(self.residents[*device].address());
                // The server takes the caller for connected, too, though it may have died while it rang.
                parties.extend(self.callers.get(call).cloned());
            }
            What::Stopped { party: Party::Machine(machine), .. } => {
                self.told.clear();
                for parties in self.unended.values_mut() {
                    parties.retain(|party| self.people.home(party) != Some(*machine));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = std::mem::take(&mut self.found);
        let mut agreed: BTreeMap<(String, Level), (String, Shown)> = BTreeMap::new();
        for device in end.devices.iter().filter(|d| d.should_be_registered) {
            let (name, me) = (&device.resident.name, device.resident.address());
            for watch in &device.watches {
                let people = match &watch.watched {
                    Watched::Person(person) => vec![person.clone()],
                    Watched::People(people) => people.clone(),
                    Watched::Contacts => self.people.contacts(&me).to_vec(),
                    Watched::Calls(_) => Vec::new(),
                };
                // Nobody can be watched whose organisation does not let it, or who is no user any more.
                let is_far = |person: &str| {
                    !end.may_talk(domain_of(person), &device.resident.domain) || self.people.has_ended(person)
                };
                if matches!(&watch.watched, Watched::Person(person) | Watched::Calls(person) if is_far(person))
                {
                    continue;
                }
                if !watch.is_active {
                    found.push((end.now, format!("{name} has lost its subscription to {:?}", watch.watched)));
                    continue;
                }
                if let Watched::Calls(person) = &watch.watched {
                    found.extend(
                        self.wrong_calls(person, watch).map(|what| (end.now, format!("{name} {what}"))),
                    );
                }
                let people: BTreeSet<String> = people.into_iter().collect();
                for stranger in watch.seen.keys().filter(|p| !people.contains(*p)) {
                    found.push((end.now, format!("{name} is shown {stranger}, whom it does not watch")));
                }
                for person in people.into_iter().filter(|person| !is_far(person)) {
                    let Some(shown) = watch.seen.get(&person).and_then(Option::as_ref) else {
                        found.push((end.now, format!("{name} was never shown {person}")));
                        continue;
                    };
                    let level = self.people.level(&person, &me, end.now, Duration::ZERO);
                    let expected = self.expected(&person, end);
                    if let Some(what) = expected.differs(level, shown) {
                        let level = level.name();
                        let text =
                            format!("{name}, at level {level}, sees {person} as {what}, not as {expected:?}");
                        found.push((end.now, text));
                    }
                    match agreed.get(&(person.clone(), level)) {
                        Some((other, seen)) if !seen.says_what(shown) => {
                            found.push((
                                end.now,
                                format!("{name} and {other} do not see the same of {person}"),
                            ));
                        }
                        Some(_) => {}
                        None => {
                            agreed.insert((person, level), (name.clone(), (**shown).clone()));
                        }
                    }
                }
            }
        }
        found
    }
}
