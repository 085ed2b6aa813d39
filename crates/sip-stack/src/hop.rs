//! Where a request goes next: RFC 3263 selection with failover, and the table of connections (RFC 5923 reuse).
//!
//! A search begins with [`Hops::find`], asks DNS and opens connections through [`Hops::poll_output`], and ends in a
//! [`HopEvent`]. When the request then fails on that hop, [`Hops::find_next`] goes on to the next candidate.

use std::net::SocketAddr;

use node::{Answers, ConnectError, ConnectTarget, ConnectToken, ConnectionId, Flow, Instant, Listener, Peer, Question, ResolveError, ResolveToken, Transport};
use sip_message::Uri;

/// Names a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(pub u64);

/// A hop that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where to send.
    pub flow: Flow,
    /// What is spoken there.
    pub transport: Transport,
}

/// Why no hop was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// DNS knows no such host: 404 or 480 for the target, never retried.
    #[error("{0} does not exist")]
    NotFound(String),
    /// DNS failed, or every candidate was tried in vain.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// The URI asks for a transport that we do not open (sctp, ws), or for a family that we do not listen on.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// The end of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopEvent {
    /// Which.
    pub search: SearchId,
    /// How it ended.
    pub result: Result<Reached, HopError>,
}

/// What the table wants of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopOutput {
    /// See [`node::Output::Resolve`].
    Resolve(ResolveToken, Question),
    /// See [`node::Output::Connect`].
    Connect(ConnectToken, ConnectTarget),
}

/// Searches and connections. See the module's text.
pub struct Hops {
    _listeners: Vec<Listener>,
}

impl Hops {
    /// An empty table. `seed` draws SRV weights and keys tables.
    pub fn new(_listeners: &[Listener], _seed: [u8; 32]) -> Hops {
        todo!()
    }
    /// A connection is up, accepted or ours.
    pub fn handle_connected(&mut self, _now: Instant, _connection: ConnectionId, _peer: &Peer, _token: Option<ConnectToken>) {
        todo!()
    }
    /// A connection of ours did not come up: its searches go on to their next candidates.
    pub fn handle_connect_failed(&mut self, _now: Instant, _token: ConnectToken, _error: &ConnectError) {
        todo!()
    }
    /// A connection is gone.
    pub fn handle_closed(&mut self, _connection: ConnectionId) {
        todo!()
    }
    /// DNS answered.
    pub fn handle_resolved(&mut self, _now: Instant, _token: ResolveToken, _answer: Result<Answers, ResolveError>) {
        todo!()
    }
    /// Begins a search for the next hop of a URI (RFC 3263 §4). `sips` asks for TLS all the way.
    pub fn find(&mut self, _now: Instant, _search: SearchId, _uri: &Uri<'_>) {
        todo!()
    }
    /// The hop that `search` gave failed: marks it (RFC 3263 §4.3: not tried again for a while) and gives the next candidate.
    pub fn find_next(&mut self, _now: Instant, _search: SearchId) {
        todo!()
    }
    /// Ends a search; its candidates are forgotten.
    pub fn end(&mut self, _search: SearchId) {
        todo!()
    }
    /// Takes the next ended search.
    pub fn poll_event(&mut self) -> Option<HopEvent> {
        todo!()
    }
    /// Takes the next wish.
    pub fn poll_output(&mut self) -> Option<HopOutput> {
        todo!()
    }
    /// Lets time pass (marks of failed candidates, stuck searches).
    pub fn handle_timer(&mut self, _now: Instant) {
        todo!()
    }
    /// When `handle_timer` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// What is known of a connection that is up.
    pub fn peer(&self, _connection: ConnectionId) -> Option<&Peer> {
        todo!()
    }
    /// Transport and remote address of a flow; `None` for a connection that is gone or a listener that does not exist.
    pub fn flow_facts(&self, _flow: Flow) -> Option<(Transport, SocketAddr)> {
        todo!()
    }
    /// What Via and Record-Route must say when sending on a flow: the listener whose transport and family fit (`advertised_host:port`).
    pub fn sent_by(&self, _flow: Flow) -> Option<&str> {
        todo!()
    }
    /// Connections that are up.
    pub fn connections(&self) -> usize {
        todo!()
    }
}
