//! What happened in a world: the one record that ladders are printed from and checkers are fed with.

use std::rc::Rc;

use frontend::admin::Answer;
use node::{CloseReason, Instant, Outcome, Report, Transport};
use records::Change;
use sip_message::Message;

use crate::device::Posture;

/// One end of whatever happens: a server's machine or a client device, by its place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A machine that runs a node.
    Machine(usize),
    /// A client device.
    Device(usize),
}

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub struct Event {
    /// World time.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What crossed the wire.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A SIP message.
    Sip(Rc<Message>),
    /// A keep-alive or something else that is no message; its length in octets.
    Other(usize),
}

/// What became of a message when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is on its way; once, or several times.
    Underway,
    /// It will not arrive.
    Lost,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// Killed: the kernel closes its connections.
    Killed,
    /// The power went: nobody is told.
    PowerLost,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A message left a party.
    Sent {
        /// Who sent it.
        from: Party,
        /// Whom the address belongs to, if anybody.
        to: Option<Party>,
        /// Over what.
        transport: Transport,
        /// What.
        payload: Payload,
        /// What became of it.
        fate: Fate,
    },
    /// A message came to a party's process.
    Arrived {
        /// Who sent it.
        from: Party,
        /// Whom it reached.
        to: Party,
        /// What.
        payload: Payload,
    },
    /// A connection is up.
    Connected {
        /// Who dialled.
        from: Party,
        /// Who accepted.
        to: Party,
        /// What is spoken.
        transport: Transport,
    },
    /// A connection ended as one end sees it.
    Closed {
        /// Whose end.
        party: Party,
        /// The other end.
        peer: Party,
        /// Why.
        reason: CloseReason,
    },
    /// A node asked for a change to be made durable.
    Submitted {
        /// Whose disk.
        machine: usize,
        /// The change.
        change: Rc<Change>,
    },
    /// A change became durable.
    Durable {
        /// Whose disk.
        machine: usize,
        /// The change.
        change: Rc<Change>,
        /// What it did.
        outcome: Outcome,
    },
    /// A change was refused by the disk.
    Refused {
        /// Whose disk.
        machine: usize,
        /// The change.
        change: Rc<Change>,
    },
    /// A change was lost with its machine.
    LostInCrash {
        /// Whose disk.
        machine: usize,
        /// The change.
        change: Rc<Change>,
    },
    /// A node answered an administrator.
    Answered {
        /// Which machine.
        machine: usize,
        /// The call's token.
        token: u64,
        /// The answer.
        answer: Rc<Answer>,
    },
    /// A node told its operator something.
    Reported {
        /// Which machine.
        machine: usize,
        /// What.
        report: Rc<Report>,
    },
    /// A process ended.
    Stopped {
        /// Whose.
        party: Party,
        /// How.
        crash: Crash,
    },
    /// A process started.
    Started {
        /// Whose.
        party: Party,
    },
    /// A fault of the network or the disk began or ended, in words.
    Fault(String),
    /// A device knows something.
    Fact {
        /// Which device.
        device: usize,
        /// What.
        fact: Fact,
    },
}

/// What a device knows about its own doings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A flow is registered.
    Registered {
        /// Which of its flows.
        flow: usize,
    },
    /// A flow is not registered any more, or could not be.
    Unregistered {
        /// Which of its flows.
        flow: usize,
    },
    /// It asked for a message to be sent.
    Wrote {
        /// Which message.
        mark: Mark,
        /// Whether From was another user's.
        forged: bool,
    },
    /// A message of its own got its final answer.
    Concluded {
        /// Which message.
        mark: Mark,
        /// The answer.
        status: u16,
    },
    /// It received a copy of a message (not a retransmission of one).
    Received {
        /// Which message.
        mark: Mark,
        /// From as the device sees it: `user@domain`.
        from: String,
        /// The copy's branch.
        branch: String,
        /// What it will answer; `None` where it will not.
        status: Option<u16>,
    },
    /// It answered a copy.
    Replied {
        /// Which message.
        mark: Mark,
        /// The copy's branch.
        branch: String,
        /// With what.
        status: u16,
    },
    /// It called somebody.
    Called {
        /// Call-ID.
        call: String,
        /// Whom.
        callee: String,
    },
    /// Its call was answered by a leg.
    LegUp {
        /// Call-ID.
        call: String,
        /// To tag of the leg.
        leg: String,
        /// Whether this is the leg that it talks to; others are ended at once.
        chosen: bool,
    },
    /// A leg of its call ended, or the whole call where `leg` is empty.
    LegDown {
        /// Call-ID.
        call: String,
        /// To tag of the leg.
        leg: String,
        /// The final status where the call was never answered.
        status: Option<u16>,
    },
    /// It rings.
    Ringing {
        /// Call-ID.
        call: String,
        /// To tag that it gave.
        leg: String,
    },
    /// It answered a call with 200.
    PickedUp {
        /// Call-ID.
        call: String,
        /// To tag that it gave.
        leg: String,
    },
    /// Its answer was acknowledged: it talks.
    Talking {
        /// Call-ID.
        call: String,
        /// To tag that it gave.
        leg: String,
    },
    /// It stopped ringing because of CANCEL.
    Cancelled {
        /// Call-ID.
        call: String,
        /// To tag that it gave.
        leg: String,
    },
    /// A transfer that it asked for came to its end.
    Transferred {
        /// Call-ID of the call that was to go elsewhere.
        call: String,
        /// How the new call was answered, or the request for it.
        status: u16,
    },
    /// The server has what it says of its owner, or has it no more.
    Published {
        /// What.
        posture: Option<Posture>,
    },
    /// It could not read what it was notified of.
    Puzzled {
        /// Why.
        reason: String,
    },
    /// Its part in somebody's call is over.
    HungUp {
        /// Call-ID.
        call: String,
        /// To tag that it gave.
        leg: String,
    },
}

/// Who wrote a message to whom: stands in its body, so that every observer can tell which message it looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The user who really sent it.
    pub from: String,
    /// The user it was meant for.
    pub to: String,
    /// Which one, in the world's count.
    pub number: u64,
}

/// What a mark begins with in a body.
const MARK_PREFIX: &[u8] = b"mark:";

impl Mark {
    /// As it stands in a body.
    pub fn text(&self) -> String {
        format!("mark:{}>{}#{}.", self.from, self.to, self.number)
    }

    /// The Message-ID of RFC 5438 §6.3.
    pub fn message_id(&self) -> String {
        format!("{}.{}.{}", self.from, self.to, self.number)
    }

    /// Finds the mark in octets.
    pub fn find(octets: &[u8]) -> Option<Mark> {
        let at = octets.windows(MARK_PREFIX.len()).position(|w| w == MARK_PREFIX)? + MARK_PREFIX.len();
        let text = octets[at..].split(|b| *b == b'.').next()?;
        let text = std::str::from_utf8(text).ok()?;
        let (from, rest) = text.split_once('>')?;
        let (to, number) = rest.split_once('#')?;
        Some(Mark { from: from.into(), to: to.into(), number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} #{}", self.from, self.to, self.number)
    }
}
