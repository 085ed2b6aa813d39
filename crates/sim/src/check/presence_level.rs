//! No watcher is ever shown more of a person, or of a person's calls, than its level allows, and who is blocked cannot tell.
//!
//! Every NOTIFY is looked at when it leaves the server. What a level allows is looked for in the octets (the notes and
//! places of these worlds bear marks) as well as in what a client reads in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::Instant;
use presence::Level;
use sip_message::{HeaderId, Message, Method};

use super::people::People;
use super::{Checker, End, Resident};
use crate::event::{Event, Party, Payload, What};
use crate::notice::{CallsShown, Notice, Shown, address_of};

/// How long after a level was lowered a NOTIFY of the old one may still leave: two coalescing windows of 50 ms. The one of
/// lists is longer, and holds no level back.
const LEVEL_WINDOW: Duration = Duration::from_millis(100);
/// The same for what somebody's home shows of people who are at home elsewhere: until it hears of the decision it may show what it
/// was told before, so it is held only against what the watcher was ever allowed.
const ELSEWHERE_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// What an external watcher may be shown of activities: the coarse state has no other words in RPID.
const COARSE: &[&str] = &["busy", "away"];

/// What a note in these worlds begins with; the person's user name and a number follow.
pub const NOTE_MARK: &str = "note:";
/// What a place in these worlds begins with.
pub const PLACE_MARK: &str = "place:";

/// See the module.
pub struct PresenceLevel {
    residents: Vec<Resident>,
    people: People,
    /// NOTIFYs that were looked at, by branch: others are retransmissions of them.
    looked_at: BTreeSet<String>,
    /// What people look like who are offline and wrote nothing, once it was seen.
    offline: Option<(String, String)>,
    /// Documents that blocked watchers were shown.
    blocked: BTreeMap<String, (Instant, String)>,
    found: Vec<(Instant, String)>,
}

impl PresenceLevel {
    /// For these devices.
    pub fn new(residents: &[Resident]) -> PresenceLevel {
        PresenceLevel {
            residents: residents.to_vec(),
            people: People::default(),
            looked_at: BTreeSet::new(),
            offline: None,
            blocked: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// Looks at a NOTIFY that leaves `machine`, for a device or for another server.
    fn notify(&mut self, at: Instant, machine: usize, device: Option<usize>, message: &Message) {
        // Who watches is in To (RFC 6665 §4.2.1), on every hop and of lists as well.
        let Ok(to) = message.to() else { return };
        let watcher = address_of(to.uri.as_str());
        let name = device.map_or(&watcher, |device| &self.residents[device].name).clone();
        if let Some(calls) = calls_of(message) {
            return self.calls(at, machine, &watcher, &name, calls);
        }
        let notice = match notice_of(message) {
            None => return,
            Some(Err(reason)) => return self.found.push((at, format!("{name} is notified of {reason}"))),
            Some(Ok(notice)) => notice,
        };
        for shown in notice.shown() {
            // What is on its way, or kept for a list elsewhere, may be older than a decision.
            let is_at_home = self.people.home(&shown.entity) == Some(machine);
            let window = if is_at_home { LEVEL_WINDOW } else { ELSEWHERE_WINDOW };
            if !is_at_home && device.is_none() {
                continue;
            }
            let level = self.people.level(&shown.entity, &watcher, at, window);
            if let Some(what) = above(level, shown) {
                let (level, of) = (level.name(), &shown.entity);
                self.found.push((at, format!("{name}, at level {level}, is shown {what} of {of}")));
            }
            if is_at_home {
                self.compare_blocked(at, level, shown);
            }
        }
    }

    /// RFC 4235 §7, and the manual: who has less than team sees no call, who has less than personal not with whom; and what names a
    /// dialog is for the owner alone.
    fn calls(
        &mut self,
        at: Instant,
        machine: usize,
        watcher: &str,
        name: &str,
        calls: Result<CallsShown, String>,
    ) {
        let shown = match calls {
            Ok(shown) => shown,
            Err(reason) => return self.found.push((at, format!("{name} is notified of {reason}"))),
        };
        if self.people.home(&shown.entity) != Some(machine) {
            return;
        }
        let level = self.people.level(&shown.entity, watcher, at, LEVEL_WINDOW);
        let above = if shown.calls > 0 && level < Level::Team {
            "a call"
        } else if shown.tells_parties && level < Level::Personal {
            "the parties of a call"
        } else if shown.tells_dialogs && watcher != shown.entity {
            "a Call-ID"
        } else {
            return;
        };
        let (level, of) = (level.name(), &shown.entity);
        self.found.push((at, format!("{name}, at level {level}, is shown {above} of {of}")));
    }

    /// Whoever is blocked is shown the same octets as are shown of somebody who never was there.
    fn compare_blocked(&mut self, at: Instant, level: Level, shown: &Shown) {
        if level == Level::Blocked {
            self.blocked.entry(shown.anonymous()).or_insert((at, shown.entity.clone()));
        } else if shown.entity.starts_with(NEVER_THERE) {
            let text = shown.anonymous();
            self.offline.get_or_insert((shown.entity.clone(), text));
        }
    }
}

/// The user of whom there is no device and no note in any world: what is shown of that person is "offline" itself.
pub const NEVER_THERE: &str = "nobody@";

/// What a document shows that a level must not see.
fn above(level: Level, shown: &Shown) -> Option<String> {
    let text = String::from_utf8_lossy(&shown.octets);
    let user = shown.entity.split('@').next().unwrap_or_default();
    for mark in [NOTE_MARK, PLACE_MARK] {
        for piece in text.split(mark).skip(1) {
            if !piece.starts_with(&format!("{user}:")) {
                return Some(format!(
                    "{mark}{} of somebody else",
                    piece.chars().take(12).collect::<String>()
                ));
            }
        }
    }
    let needs =
        |least: Level, is_shown: bool, what: &str| (is_shown && level < least).then(|| what.to_owned());
    let finer = shown.activities.iter().find(|a| !COARSE.contains(&a.as_str()));
    needs(Level::Team, text.contains(PLACE_MARK) || shown.place.is_some(), "the place")
        .or_else(|| needs(Level::Company, text.contains(NOTE_MARK) || !shown.notes.is_empty(), "a note"))
        .or_else(|| needs(Level::Company, shown.tells_idle, "the idle time"))
        .or_else(|| finer.and_then(|activity| needs(Level::Company, true, activity)))
        .or_else(|| needs(Level::External, shown.is_open, "that somebody is there"))
        .or_else(|| needs(Level::External, !shown.activities.is_empty(), "an activity"))
}

/// What a NOTIFY of presence says; `None` where it is none or has no body.
pub(super) fn notice_of(message: &Message) -> Option<Result<Notice, String>> {
    let package = message.header(HeaderId::Event)?;
    if !message.is_request() || message.method() != Method::Notify || !package.starts_with(b"presence") {
        return None;
    }
    // `presence.winfo` is about watchers.
    if package.get(8).is_some_and(|b| *b == b'.') || message.body().is_empty() {
        return None;
    }
    let content_type = String::from_utf8_lossy(message.header(HeaderId::ContentType)?).into_owned();
    Some(Notice::read(&content_type, &bytes::Bytes::copy_from_slice(message.body())))
}

/// What a NOTIFY of the dialog package says; `None` where it is none or has no body.
fn calls_of(message: &Message) -> Option<Result<CallsShown, String>> {
    let is_dialog = message.header(HeaderId::Event)?.starts_with(b"dialog");
    let has_body = message.is_request() && message.method() == Method::Notify && !message.body().is_empty();
    (is_dialog && has_body).then(|| CallsShown::read(&bytes::Bytes::copy_from_slice(message.body())))
}

impl Checker for PresenceLevel {
    fn name(&self) -> &'static str {
        "presence level"
    }

    fn observe(&mut self, event: &Event) {
        self.people.observe(event.at, &event.what);
        let What::Sent { from: Party::Machine(machine), to: Some(to), payload, .. } = &event.what else {
            return;
        };
        let Payload::Sip(message) = payload else { return };
        if !message.is_request() || message.method() != Method::Notify {
            return;
        }
        let branch = message.top_via().ok().and_then(|v| v.branch().map(str::to_owned)).unwrap_or_default();
        let device = match to {
            Party::Device(device) => Some(*device),
            Party::Machine(_) => None,
        };
        if self.looked_at.insert(branch) {
            self.notify(event.at, *machine, device, message);
        }
    }

    fn finish(&mut self, _end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = std::mem::take(&mut self.found);
        if let Some((_, offline)) = &self.offline {
            for (text, (at, entity)) in self.blocked.iter().filter(|(text, _)| *text != offline) {
                found.push((
                    *at,
                    format!("who is blocked by {entity} can tell, by {text} instead of {offline}"),
                ));
            }
        }
        found
    }
}
