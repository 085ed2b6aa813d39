//! The waist of Chancery: what a role may ask of the world, and what the world may tell a role.
//!
//! A role (front end, director, edge) is a [`Node`]: a pure state machine. It is fed [`Input`]s together with the
//! time, and drained of [`Output`]s. It opens nothing, waits for nothing, spawns nothing, asks no clock and draws no
//! randomness that it was not given in its constructor. Two worlds drive the same code: `net` with sockets and
//! clocks, `sim` with virtual ones.
//!
//! # Order of calls
//!
//! A driver calls [`Node::handle`] with one input, then [`Node::poll_output`] until it returns `None`, then reads
//! [`Node::next_deadline`] and promises to call `handle` with [`Input::Timer`] at or soon after that time. Outputs
//! are carried out in the order in which they were polled.
//!
//! What this crate is not: it knows no role, no SIP message, no user and no TLS library.

mod certificate;
mod flow;
pub mod http;
mod io;
mod report;
pub mod store;
mod time;

pub use certificate::{Anchors, Expected, PeerCertificate, PeerHop, Place, Proof, Unmet};
pub use flow::{ConnectionId, Flow, Listener, ListenerId, Peer, PeerIdentity, Side, Transport};
pub use io::{
    Answers, CallToken, CloseReason, ConnectError, ConnectTarget, ConnectToken, Input, Naptr, Output,
    QueryToken, Question, ResolveError, ResolveToken, Srv,
};
pub use report::{Level, Metric, MetricKind, Report, RequestId};
pub use store::{Outcome, PersistToken, StoreError, Urgency};
pub use time::{Instant, Now, UnixMillis};

/// A role: a pure state machine between the world's inputs and its own outputs.
///
/// The associated types are the role's vocabulary towards storage and towards administrators. An edge has no user
/// store: it sets `Change`, `Query` and `Rows` to [`std::convert::Infallible`], and so cannot even name one.
pub trait Node {
    /// What the role asks storage to write.
    type Change;
    /// What the role asks storage to read.
    type Query;
    /// What storage answers to a query.
    type Rows;
    /// A call of an administrator or of a client's HTTP request, already parsed and authorised by its listener.
    type Call;
    /// The answer to a call.
    type Answer;

    /// Feeds one input. Never blocks, never panics on what a stranger sent.
    fn handle(&mut self, now: Now, input: Input<Self>);

    /// Takes the next output, in order; `None` when there is nothing more to do until the next input.
    fn poll_output(&mut self) -> Option<Output<Self>>;

    /// When [`Input::Timer`] is due next; `None` when no timer runs.
    fn next_deadline(&self) -> Option<Instant>;

    /// Shows every metric to `visit`. Label values come from closed sets, so that the number of series is bounded.
    fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>));
}
