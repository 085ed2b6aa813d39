//! Checkers: independent observers of a world, each with one promise to hold it to.
//!
//! A checker is fed with every event in order and gives its verdict at the end. It knows nothing of how nodes or
//! devices work inside; what it believes, it saw on the wire, on a disk, or heard from a device about itself.
//! Each has a test that plants a fault which it finds.

mod call_log;
mod calls;
mod delivery;
mod durability;
mod end;
mod ended;
mod expired;
mod identity;
mod order;
mod people;
mod presence_converges;
mod presence_level;
mod settled;

use std::fmt;

use directory::{SipAddress, UserId};
use node::Instant;
use records::Change;
use sip_message::{ContactValue, Contacts, HeaderId, Message, Method};

use crate::event::Event;
use crate::world::World;

pub use call_log::CallLog;
pub use calls::CallsAgree;
pub use delivery::Delivery;
pub use durability::Durability;
pub use end::{DeviceEnd, End, MachineEnd, WatchEnd, conclude};
pub use ended::Ended;
pub use expired::Expired;
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
    /// Whether it signs in by a token.
    pub by_token: bool,
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
        Box::new(Ended::new(residents)),
        Box::new(Expired::new(residents)),
    ]
}

/// Shows a world's events and end to all checkers.
fn check(world: &World, end: &End<'_>) -> Vec<Violation> {
    let residents: Vec<Resident> = end.devices.iter().map(|d| d.resident.clone()).collect();
    let mut violations = Vec::new();
    for mut checker in all(&residents) {
        for event in world.events() {
            checker.observe(event);
        }
        let name = checker.name();
        violations.extend(checker.finish(end).into_iter().map(|(at, what)| Violation {
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

/// The accounts that a change says something of.
fn accounts(change: &Change) -> Vec<(UserId, &SipAddress)> {
    match change {
        Change::AddUser { user, .. } => vec![(user.id, &user.address)],
        Change::Replicate(step) => step.users.iter().map(|user| (user.id, &user.address)).collect(),
        _ => Vec::new(),
    }
}

/// How many seconds an answer to REGISTER grants a device; 0 where nothing of it is left.
fn granted(message: &Message, resident: &Resident) -> u32 {
    let Ok(Contacts::List(list)) = message.contacts() else { return 0 };
    let instance = resident.instance.as_ref().map(|instance| format!("<{instance}>"));
    let is_own = |contact: &&ContactValue<'_>| {
        contact.addr.params.get_unquoted("+sip.instance").as_deref() == instance.as_deref()
    };
    let header = message.number(HeaderId::Expires).ok().flatten().unwrap_or(0);
    list.iter().filter(is_own).map(|contact| contact.expires.unwrap_or(header)).max().unwrap_or(0)
}

/// The domain of an address.
fn domain_of(address: &str) -> &str {
    address.split_once('@').map_or("", |(_, domain)| domain)
}
