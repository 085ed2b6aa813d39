//! SIP behaviour that every role shares: transactions, next hops, the proxy core, outbound flows, dialogs of event
//! subscriptions.
//!
//! Everything here is pure: fed messages, facts and the time, drained of messages to send and events. The pieces, from the wire
//! upwards:
//!
//! - [`timer`]: the one timer queue of a node.
//! - [`transaction`]: RFC 3261 §17 with RFC 6026 and RFC 4320: retransmission, matching, timeouts.
//! - [`hop`]: where a request goes next: RFC 3263 selection with failover, and reuse of connections (RFC 5923).
//! - [`outbound`]: flow tokens and GRUUs (RFC 5626, RFC 5627).
//! - [`dialog`]: the notifier's side of dialogs and subscriptions (RFC 6665).
//! - [`publication`]: the compositor's table of published event state (RFC 3903).
//! - [`request`]: what every role checks of a request, and how it refuses.
//! - [`route`]: our own Route and Record-Route entries.
//! - [`proxy`]: what a proxy decides about responses (RFC 3261 §16.7).
//! - [`stack`]: all of it together: response contexts, forking, CANCEL, requests of our own (RFC 3261 §16).
//!
//! What this crate is not: it knows no socket, no user, and no policy.

pub mod dialog;
mod digits;

pub mod hop;
pub mod outbound;
pub mod proxy;
pub mod publication;
pub mod request;
pub mod route;
pub mod stack;
pub mod timer;
pub mod transaction;
