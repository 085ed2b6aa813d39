//! Transactions (RFC 3261 §17, RFC 6026, RFC 4320, RFC 2543 matching by RFC 3261 §17.2.3).
//!
//! The layer absorbs and sends retransmissions, matches responses and ACK/CANCEL to what they belong to, ACKs failed INVITEs hop by hop, and
//! tells its user of what is new. It does not choose destinations and does not look into bodies.
//!
//! # Order of calls
//!
//! Feed with `handle_*`, command with `respond`, `send`, `cancel`; after each call drain [`Transactions::poll_send`] and
//! [`Transactions::poll_event`]; call [`Transactions::handle_timer`] at [`Transactions::next_deadline`].

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use node::{ConnectionId, Flow, Instant, Transport};
use sip_message::Message;

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

/// Bounds of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Server transactions that wait for an answer of ours.
    pub server_pending_max: usize,
    /// Client transactions that wait for an answer of theirs.
    pub client_pending_max: usize,
    /// Ended transactions that are remembered for retransmissions (timers D, I, J, L, M); beyond it the oldest is forgotten early.
    pub ended_max: usize,
}

/// The layer. See the module's text.
pub struct Transactions {
    _timers: TimerValues,
}

impl Transactions {
    /// An empty layer. `seed` makes branches unguessable and tables safe from chosen keys.
    pub fn new(_seed: [u8; 32], _timers: TimerValues, _limits: Limits) -> Transactions {
        todo!()
    }

    /// Feeds a request that passed `validate`. The layer keeps a clone of `message` (shared octets) as long as it waits for an answer.
    pub fn handle_request(&mut self, _now: Instant, _message: &Message, _arrival: Arrival) -> Incoming {
        todo!()
    }

    /// Feeds a response. Gives the client transaction that it belongs to if the user must see it; retransmissions, strays, and late provisional responses give
    /// `None`. 2xx responses to an INVITE are given every time (RFC 6026 §7.2: the proxy forwards each). ACKs to 3xx-6xx leave by themselves.
    pub fn handle_response(&mut self, _now: Instant, _message: &Message) -> Option<(ClientId, Owner)> {
        todo!()
    }

    /// A connection is gone: its client transactions without final response fail; server transactions stay (their answer goes nowhere).
    pub fn handle_closed(&mut self, _now: Instant, _connection: ConnectionId) {
        todo!()
    }

    /// Lets time pass.
    pub fn handle_timer(&mut self, _now: Instant) {
        todo!()
    }

    /// Sends a response in a server transaction, and keeps it for retransmissions. Responses after a final one are ignored, but for 2xx to INVITE (RFC 6026 §7.1).
    pub fn respond(&mut self, _now: Instant, _server: ServerId, _status: u16, _response: Bytes) {
        todo!()
    }

    /// The request of a server transaction that has no final response yet.
    pub fn request(&self, _server: ServerId) -> Option<&Message> {
        todo!()
    }

    /// How the request of a server transaction came in.
    pub fn arrival(&self, _server: ServerId) -> Option<Arrival> {
        todo!()
    }

    /// The topmost Via element for responses: as received, with `received` and `rport` filled in where they must be (RFC 3261 §18.2.1, RFC 3581 §4). Static so that stateless answers can use it too;
    /// `None` where the Via needs no change.
    pub fn response_via(_message: &Message, _remote: SocketAddr) -> Option<String> {
        todo!()
    }

    /// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4): the flow itself; over UDP without `rport` the port of sent-by. `maddr` is not followed: a stranger could aim us with it.
    pub fn response_flow(_message: &Message, _arrival: &Arrival) -> Flow {
        todo!()
    }

    /// Allots a client transaction and its branch (`z9hG4bK...`), so that the request can be written.
    pub fn reserve(&mut self) -> (ClientId, String) {
        todo!()
    }

    /// Sends the request of a reserved client transaction.
    pub fn send(&mut self, _now: Instant, _client: ClientId, _outgoing: Outgoing) {
        todo!()
    }

    /// Gives up a reserved client transaction that was not sent, or forgets one whose responses nobody wants any more.
    pub fn abandon(&mut self, _client: ClientId) {
        todo!()
    }

    /// Cancels an INVITE client transaction (RFC 3261 §9.1): once a provisional response was seen, a CANCEL leaves (made from the request's own headers); before, it
    /// waits for one. After a final response nothing happens. If no final response follows within 64*T1 the transaction fails with `TimedOut`.
    /// `reason` is a Reason header value to carry (RFC 3326).
    pub fn cancel(&mut self, _now: Instant, _client: ClientId, _reason: Option<&str>) {
        todo!()
    }

    /// Takes the next message to send.
    pub fn poll_send(&mut self) -> Option<(Flow, Bytes)> {
        todo!()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// When `handle_timer` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// Transactions that wait for an answer of ours or theirs.
    pub fn pending(&self) -> usize {
        todo!()
    }
}
