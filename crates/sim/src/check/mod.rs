//! Checkers: independent observers of a world, each with one promise to hold it to.
//!
//! A checker is fed with every event in order and gives its verdict at the end. It knows nothing of how nodes or
//! devices work inside; what it believes, it saw on the wire, on a disk, or heard from a device about itself.
//! Each has a test that plants a fault which it finds.

mod call_log;
mod calls;
mod delivery;
mod durability;
mod identity;
mod order;
mod people;
mod presence_converges;
mod presence_level;
mod settled;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use frontend::admin::Status;
use node::Instant;
use records::memory::Tables;
use sip_message::{HeaderId, Message, Method};

use crate::device::{Posture, Watched};
use crate::event::Event;
use crate::notice::Shown;
use crate::world::World;

pub use call_log::CallLog;
pub use calls::CallsAgree;
pub use delivery::Delivery;
pub use durability::Durability;
pub use identity::Identity;
pub use order::MailboxOrder;
pub use presence_converges::PresenceConverges;
pub use presence_level::{NEVER_THERE, NOTE_MARK, PLACE_MARK, PresenceLevel};
pub use settled::Settled;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// When it was seen.
    pub at: Instant,
    /// What was wrong.
    pub what: String,
}

/// An observer with a promise.
pub trait Checker {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Looks at the next event.
    fn observe(&mut self, event: &Event);
    /// What was wrong, now that all is over.
    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)>;
}

/// The state of a world when all is over.
pub struct End<'w> {
    /// World time.
    pub now: Instant,
    /// What is durable on each machine.
    pub tables: Vec<&'w Tables>,
    /// Each device.
    pub devices: Vec<DeviceEnd>,
    /// Each machine, as far as it could be asked.
    pub machines: Vec<MachineEnd>,
}

impl End<'_> {
    /// The first machine's wall clock while its devices were still there.
    fn wall_unix_ms(&self) -> u64 {
        self.machines.first().map_or(0, |machine| machine.wall_unix_ms)
    }
}

/// A device, when all is over.
#[derive(Clone, Debug)]
pub struct DeviceEnd {
    /// See [`Resident`].
    pub resident: Resident,
    /// Whether it runs, wants to be registered, and nothing stands between it and its server.
    pub should_be_registered: bool,
    /// Whether it believes that it is registered.
    pub is_registered: bool,
    /// Messages that have no final answer.
    pub unconcluded: usize,
    /// Calls that are not over.
    pub calls: usize,
    /// What it says of its owner, as far as the server has confirmed it.
    pub published: Option<Posture>,
    /// Whether the server has confirmed what it wants to say.
    pub has_published: bool,
    /// Whom it watches.
    pub watches: Vec<WatchEnd>,
}

/// What a device watches, when all is over.
#[derive(Clone, Debug)]
pub struct WatchEnd {
    /// Whom.
    pub watched: Watched,
    /// Whether its subscription is active as far as it knows.
    pub is_active: bool,
    /// What it was shown last, by address; `None` where a list has the person without state.
    pub seen: BTreeMap<String, Option<Rc<Shown>>>,
}

/// A machine, when all is over.
#[derive(Clone, Debug)]
pub struct MachineEnd {
    /// Its wall clock while its devices were still there, in milliseconds since 1970.
    pub wall_unix_ms: u64,
    /// Its answer at that time.
    pub busy: Option<Status>,
    /// Streams that were open at its end at the same time.
    pub streams: usize,
    /// Its answer after all devices had been silent for longer than any transaction lives.
    pub idle: Option<Status>,
}

/// Whose device a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its name.
    pub name: String,
    /// Its user.
    pub user: String,
    /// The user's domain.
    pub domain: String,
    /// Its `+sip.instance`.
    pub instance: Option<String>,
}

impl Resident {
    /// The user's address: `user@domain`.
    pub fn address(&self) -> String {
        format!("{}@{}", self.user, self.domain)
    }
}

/// All checkers.
pub fn all(residents: &[Resident]) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(Delivery::new(residents)),
        Box::new(MailboxOrder::new(residents)),
        Box::new(CallsAgree::new(residents)),
        Box::new(CallLog::new(residents)),
        Box::new(Identity::new(residents)),
        Box::new(PresenceLevel::new(residents)),
        Box::new(PresenceConverges::new(residents)),
        Box::new(Settled),
        Box::new(Durability::default()),
    ]
}

/// Shows a world's events and end to all checkers.
pub fn check(world: &World, machines: Vec<MachineEnd>, devices: Vec<DeviceEnd>) -> Vec<Violation> {
    let tables = (0..world.machine_count()).map(|m| world.tables(m)).collect();
    let residents: Vec<Resident> = devices.iter().map(|d| d.resident.clone()).collect();
    let end = End { now: world.now(), tables, devices, machines };
    let mut violations = Vec::new();
    for mut checker in all(&residents) {
        for event in world.events() {
            checker.observe(event);
        }
        let name = checker.name();
        violations.extend(checker.finish(&end).into_iter().map(|(at, what)| Violation {
            checker: name,
            at,
            what,
        }));
    }
    violations
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.checker, self.at.0 / 1000, self.what)
    }
}

/// Branch of the topmost Via of a MESSAGE or of its answer.
fn message_branch(message: &Message) -> Option<String> {
    if message.header(HeaderId::CSeq).is_none() || message.method() != Method::Message {
        return None;
    }
    message.top_via().ok()?.branch().map(str::to_owned)
}
