//! Transactions (RFC 3261 §17, RFC 6026, RFC 4320, RFC 2543 matching by RFC 3261 §17.2.3).
//!
//! The layer absorbs and sends retransmissions, matches responses and ACK/CANCEL to what they belong to, ACKs failed INVITEs hop by hop, and
//! tells its user of what is new. It does not choose destinations and does not look into bodies.
//!
//! # Order of calls
//!
//! Feed with `handle_*`, command with `respond`, `send`, `cancel`; after each call drain [`Transactions::poll_send`] and
//! [`Transactions::poll_event`]; call [`Transactions::handle_timer`] at [`Transactions::next_deadline`].

//!
//! # What is remembered
//!
//! A transaction that waits for an answer keeps its request; afterwards it keeps only what retransmissions need: an answered
//! non-INVITE its response, over reliable transports nothing at all; a failed INVITE its response or its ACK; an accepted INVITE its
//! name. [`Limits::ended_max`] bounds these memories, and the oldest go first.
//!
//! # Matching
//!
//! A branch of ours carries the transaction's place in the table and a random number that only the next hop learns: a response
//! finds its transaction without a search, and a forged one finds nothing. Requests are found by a keyed digest (SipHash, 128 bits) of
//! what RFC 3261 §17.2.3 compares, so that no stranger can choose colliding keys.

mod chain;
mod client;
mod derived;
mod matching;
mod server;
mod via;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use node::{ConnectionId, Flow, Instant, Transport};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use slab::Slab;

use self::chain::{Chain, Links};
use self::client::Client;
use self::matching::Keys;
use self::server::{Server, Waiting};
use crate::timer::{TimerId, Timers};

pub(crate) use self::via::{build_response, push_response_via, response_flow};

pub use self::client::Matched;
pub use self::matching::BranchText;

/// Names a server transaction; void once it ended (a void name is harmless everywhere).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(crate) u64);

/// Names a client transaction; void once it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

/// What a transaction user calls a client transaction of its own; comes back with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// RFC 3261 §17.1.1.1 and Table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerValues {
    /// Estimate of the round-trip time; 500 ms.
    pub t1: Duration,
    /// Longest interval of retransmission; 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network; 5 s.
    pub t4: Duration,
}

impl TimerValues {
    /// The values of RFC 3261 Table 4.
    pub const STANDARD: TimerValues = TimerValues {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
    };

    /// How long a request or response is repeated before its sender gives up: timers B, F, H, and those that outlast them (D, J, L, M).
    fn patience(&self) -> Duration {
        64 * self.t1
    }

    /// How long a client's timer E takes to reach T2 (3.5 s): only then may, and must, a non-INVITE be answered 100 (RFC 4320 §4.1).
    fn until_t2(&self) -> Duration {
        let mut interval = self.t1;
        let mut passed = Duration::ZERO;
        while interval < self.t2 && !interval.is_zero() {
            passed += interval;
            interval *= 2;
        }
        passed
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The flow.
    pub flow: Flow,
    /// Its transport.
    pub transport: Transport,
    /// The peer's address, as seen.
    pub remote: SocketAddr,
}

/// What a received request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// New: the user must `respond` to it. (For an INVITE the layer sends 100 itself if the user has not responded within 200 ms, RFC 3261 §17.2.1.)
    New(ServerId),
    /// New, and a CANCEL: the user answers it 200 where `invite` is there (and ends the INVITE with 487), else 481 (RFC 3261 §9.2).
    Cancel {
        /// The CANCEL's own transaction.
        cancel: ServerId,
        /// The INVITE that it means, if that is known and has no final response yet or is still remembered.
        invite: Option<ServerId>,
    },
    /// An ACK that belongs to no failed INVITE of ours: of a 2xx, to be forwarded, never answered.
    Ack,
    /// A retransmission or an ACK of a failed INVITE: the layer has done all that is to be done.
    Absorbed,
    /// The table is full (see [`Limits`]): answer 503 without a transaction.
    Overload,
}

/// A client transaction's request.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub flow: Flow,
    /// What is spoken there.
    pub transport: Transport,
    /// The request, its topmost Via ours with the branch of [`Transactions::reserve`].
    pub bytes: Bytes,
    /// Whether it is an INVITE.
    pub invite: bool,
    /// The user's name for it.
    pub owner: Owner,
}

/// What the user must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client transaction ended without a final response.
    Failed {
        /// The user's name.
        owner: Owner,
        /// The transaction, void by now.
        client: ClientId,
        /// Why.
        failure: Failure,
    },
    /// An INVITE server transaction with a 3xx-6xx final response saw no ACK (RFC 3261 §17.2.1, timer H).
    Unacknowledged {
        /// The transaction, void by now.
        server: ServerId,
    },
}

/// Why a client transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No answer in time (timers B and F): counts as 408.
    TimedOut,
    /// The flow broke or was closed: counts as 503 (RFC 3261 §16.9), and 430 for a flow of outbound (RFC 5626 §5.3).
    FlowFailed,
}

/// One place in so many is not for INVITEs. They ring for minutes; what ends within seconds (messages, and the BYEs that
/// make room) goes on while more calls ring than the tables hold.
const NOT_FOR_INVITES: usize = 4;

/// Bounds of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Server transactions that wait for an answer of ours; INVITEs are refused when three quarters are taken, by whatever.
    pub server_pending_max: usize,
    /// Client transactions that wait for an answer of theirs. Checked where new work comes in, at [`Transactions::handle_request`]; what
    /// the user sends is never refused, since failing it would look like the peer's fault.
    pub client_pending_max: usize,
    /// Ended transactions that are remembered for retransmissions (timers D, G, H, I, J, L, M); beyond it the oldest is forgotten early.
    pub ended_max: usize,
}

/// After so long without a response of the user's, an INVITE is answered 100 by the layer (RFC 3261 §17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);

/// The layer. See the module's text.
pub struct Transactions {
    values: TimerValues,
    limits: Limits,
    timers: Timers<Side>,
    /// The time of the latest call that told it.
    latest: Instant,

    keys: Keys,
    servers: Slab<Server>,
    server_index: HashTable<u32>,
    /// Requests of server transactions without final response: as many as there are of those.
    waiting: Slab<Waiting>,

    nonces: ChaCha12Rng,
    clients: Slab<Client>,
    clients_pending: usize,
    /// Client transactions without final response, by the connection they were sent on. Never iterated.
    connections: HashMap<ConnectionId, Chain, FixedState>,

    /// One pool of list nodes: an entry stands in at most one list, its connection's or that of the ended.
    links: Links<Side>,
    ended: Chain,
    forgotten_early: u64,

    /// Numbers the entries of both tables, so that an index that is used again gives another name.
    births: u32,
    sends: VecDeque<(Flow, Bytes)>,
    events: VecDeque<Event>,
}

/// An entry of one of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server(u32),
    Client(u32),
}

impl Transactions {
    /// An empty layer. `seed` makes branches unguessable and tables safe from chosen keys.
    pub fn new(seed: [u8; 32], timers: TimerValues, limits: Limits) -> Transactions {
        let mut random = ChaCha12Rng::from_seed(seed);
        Transactions {
            values: timers,
            limits,
            timers: Timers::new(),
            latest: Instant(0),
            keys: Keys::new(random.next_u64(), random.next_u64()),
            servers: Slab::new(),
            server_index: HashTable::new(),
            waiting: Slab::new(),
            connections: HashMap::with_hasher(FixedState::with_seed(random.next_u64())),
            nonces: random,
            clients: Slab::new(),
            clients_pending: 0,
            links: Links::default(),
            ended: Chain::default(),
            forgotten_early: 0,
            births: 0,
            sends: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets how many may wait for an answer, on either side; those that wait stay.
    pub fn limit_pending(&mut self, pending_max: usize) {
        self.limits.server_pending_max = pending_max;
        self.limits.client_pending_max = pending_max;
    }

    /// Lets time pass.
    pub fn handle_timer(&mut self, now: Instant) {
        self.latest = now;
        while let Some(side) = self.timers.pop(now) {
            match side {
                Side::Server(index) => self.server_timer(now, index),
                Side::Client(index) => self.client_timer(now, index),
            }
        }
    }

    /// Takes the next message to send.
    pub fn poll_send(&mut self) -> Option<(Flow, Bytes)> {
        self.sends.pop_front()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timer` is due. May be earlier than anything happens (see [`Timers::next_deadline`]).
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Transactions that wait for an answer of ours or theirs.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.clients_pending
    }

    /// Ended transactions that are remembered for retransmissions.
    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    /// How many ended transactions were forgotten before their time because of [`Limits::ended_max`].
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    /// Remembers an entry that has just ended, and forgets the oldest if there are too many; that may be the same.
    fn remember(&mut self, side: Side) {
        let link = self.links.push(&mut self.ended, side);
        match side {
            Side::Server(index) => self.servers[index as usize].link = Some(link),
            Side::Client(index) => self.clients[index as usize].link = Some(link),
        }
        if self.ended.len() > self.limits.ended_max {
            self.forgotten_early += 1;
            match self.links.first(&self.ended).expect("something was just pushed") {
                Side::Server(index) => self.remove_server(index),
                Side::Client(index) => {
                    self.remove_client(index);
                }
            }
        }
    }

    fn stop(&mut self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
    }

    fn next_birth(&mut self) -> u32 {
        self.births = self.births.wrapping_add(1);
        self.births
    }

    fn push_send(&mut self, flow: Flow, bytes: Bytes) {
        self.sends.push_back((flow, bytes));
    }
}

/// The public name of an entry: its birth above, its index below.
fn name(birth: u32, index: u32) -> u64 {
    u64::from(birth) << 32 | u64::from(index)
}

fn split_name(name: u64) -> (u32, u32) {
    ((name >> 32) as u32, name as u32)
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before 2^32 transactions do")
}
