//! Inputs and outputs of a node.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::store::{Outcome, PersistToken, StoreError, Urgency};
use crate::{ConnectionId, Expected, Flow, Node, Peer, Report, Side, Transport};

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}

token! {
    /// Names an [`Output::Connect`]; its answer repeats it.
    ConnectToken
}
token! {
    /// Names an [`Output::Resolve`]; its answer repeats it.
    ResolveToken
}
token! {
    /// Names an [`Output::Query`]; its answer repeats it.
    QueryToken
}
token! {
    /// Names an [`Input::Called`]; the node's [`Output::Answer`] repeats it.
    CallToken
}

/// What the world tells a node.
pub enum Input<N: Node + ?Sized> {
    /// A connection is up: accepted (`token` is `None`) or opened for us.
    Connected {
        /// Its name from now on.
        connection: ConnectionId,
        /// Who is there.
        peer: Peer,
        /// The [`Output::Connect`] that asked for it.
        token: Option<ConnectToken>,
    },
    /// A connection that we asked for did not come up.
    ConnectFailed {
        /// The [`Output::Connect`].
        token: ConnectToken,
        /// Why not.
        error: ConnectError,
    },
    /// A connection ended. Nothing more comes from it, and nothing can be sent on it.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// One whole message (a datagram, or a framed piece of a stream).
    Received {
        /// Where it came from.
        flow: Flow,
        /// The message, with nothing before or behind it.
        bytes: Bytes,
    },
    /// The stream's framing is lost: `bytes` is what can still be seen of the message that lost it, so that it may
    /// be answered. The driver reads no more from the connection and closes it when what is sent now has left.
    Unframed {
        /// Where it came from.
        connection: ConnectionId,
        /// The header block that could not be framed, if one was complete; else empty.
        bytes: Bytes,
        /// The status that answers it (400, 413, 513 ...).
        status: u16,
        /// In words, for the operator.
        reason: &'static str,
    },
    /// A double CRLF on a stream, between messages (RFC 5626 §3.5.1): the peer wants a CRLF back.
    Ping {
        /// The stream.
        connection: ConnectionId,
    },
    /// Answer to [`Output::Resolve`].
    Resolved {
        /// The question's token.
        token: crate::ResolveToken,
        /// What DNS said.
        answer: Result<Answers, ResolveError>,
    },
    /// Answer to [`Output::Persist`]: the change is durable.
    Persisted {
        /// The change's token.
        token: PersistToken,
        /// Whether it changed anything.
        outcome: Outcome,
    },
    /// Answer to [`Output::Persist`]: the change is not durable and never will be.
    PersistFailed {
        /// The change's token.
        token: PersistToken,
        /// Why.
        error: StoreError,
    },
    /// Answer to [`Output::Query`].
    Rows {
        /// The query's token.
        token: QueryToken,
        /// What was read.
        rows: Result<N::Rows, StoreError>,
    },
    /// An administrator's or client's call.
    Called {
        /// To be repeated in [`Output::Answer`].
        token: CallToken,
        /// The call.
        call: N::Call,
    },
    /// The deadline given by [`Node::next_deadline`] has come.
    Timer,
}

/// What a node wants of the world.
pub enum Output<N: Node + ?Sized> {
    /// Send one message. What a stream cannot take at once waits in a bounded queue; when that is full the
    /// connection is closed with [`CloseReason::SlowPeer`].
    Send {
        /// Where to.
        flow: Flow,
        /// The whole message.
        bytes: Bytes,
    },
    /// Open a connection.
    Connect {
        /// Repeated in the answer.
        token: ConnectToken,
        /// Where to.
        target: ConnectTarget,
    },
    /// Close a connection after what was sent on it has left. [`Input::Closed`] follows.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Ask DNS.
    Resolve {
        /// Repeated in the answer.
        token: crate::ResolveToken,
        /// What to ask.
        question: Question,
    },
    /// Make a change durable.
    Persist {
        /// Repeated in the answer.
        token: PersistToken,
        /// The change.
        change: N::Change,
        /// How soon.
        urgency: Urgency,
    },
    /// Read from storage. Sees every change that was persisted before it.
    Query {
        /// Repeated in the answer.
        token: QueryToken,
        /// What to read.
        query: N::Query,
    },
    /// Answer a call.
    Answer {
        /// The call's token.
        token: CallToken,
        /// The answer.
        answer: N::Answer,
    },
    /// Tell the operator.
    Report(Report),
}

/// Where to open a connection to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectTarget {
    /// TCP or TLS (WebSocket connections are only accepted).
    pub transport: Transport,
    /// The peer's address.
    pub address: SocketAddr,
    /// The network that it is opened from: its local address and, for TLS, its certificate are of this side.
    pub side: Side,
    /// For TLS: what the peer must prove, else the connection does not come up.
    pub expected: Option<Expected>,
}

/// Why a connection did not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The peer refused, or no route.
    Unreachable(String),
    /// No answer in time.
    TimedOut,
    /// TLS: chain, name or protocol.
    Tls(String),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed it in order.
    PeerClosed,
    /// The peer, or the network, broke it off.
    Broken,
    /// The TLS or WebSocket layer found a violation.
    ProtocolError,
    /// The peer read too slowly and its queue was full.
    SlowPeer,
    /// The node asked for it.
    Requested,
    /// The server stops.
    Shutdown,
    /// Whom we believe has changed, and what the peer's certificate proved when the connection came up it proves no more.
    Distrusted,
}

/// A DNS question (RFC 3263 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records of a service name such as `_sip._tcp.example.com`.
    Srv(String),
    /// A and AAAA records of a host.
    Addresses(String),
}

/// A DNS answer; the variant fits the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// `(order, preference, flags, service, replacement)`.
    Naptr(Vec<Naptr>),
    /// SRV records, unordered.
    Srv(Vec<Srv>),
    /// Addresses, in the order of the resolver.
    Addresses(Vec<IpAddr>),
}

/// A NAPTR record (RFC 3403 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first within an order.
    pub preference: u16,
    /// `s` for an SRV lookup.
    pub flags: String,
    /// Such as `SIP+D2T`.
    pub service: String,
    /// The next name.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share within a priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: String,
}

/// Why DNS gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The name does not exist, or has no such record.
    NotFound,
    /// No server answered, or all failed.
    Failed,
}
