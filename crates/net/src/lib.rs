//! The real world around a node: sockets, TLS, WebSocket, DNS, HTTP, timers.
//!
//! A [`Driver`] runs one [`node::Node`] on one thread. Whatever task sees an event (octets on a socket, an answer of
//! storage or DNS, a deadline) calls the node directly: there is no channel, no task per message and no lock between a
//! socket and the node. More cores are more drivers.
//!
//! ```text
//!   accept, read, recv ─┐                       ┌─ send, write (what does not fit waits in a bounded queue)
//!   deadline ───────────┼─► handle ► outputs ───┼─ connect, resolve (their own tasks)
//!   storage, DNS, call ─┘   (one turn)          └─ one batch to storage
//! ```
//!
//! Within a turn outputs are collected, and carried out at its end in one system call for each socket where the
//! kernel allows. Connections that are ready together end their turns together: what they send leaves in one go when
//! they have been read, and storage is called once. A connection that is ready alone waits for nobody. What is born of
//! that (a connection that breaks while it is written to) becomes an input of the same turn, so a node is never called
//! from within itself.
//!
//! # What a connection costs
//!
//! An idle connection holds no buffer: all read into the driver's one buffer, and only an incomplete record, message
//! or frame is copied out of it. What stays is the TLS state, a task of one pointer and one number, and a
//! `Connection` of less than 400 octets. `examples/idle.rs` measures it.
//!
//! # What this crate is not
//!
//! It knows no role and no SIP header: it cuts streams into messages with `sip_message::framing` and hands them on.
//! It decides nothing about who may do what, except for the budgets of [`Options`] that protect the process itself. A
//! certificate becomes facts ([`pki::Trust`]); what they are worth is the node's to say, in [`node::Expected`] or later.
//!
//! # Rules
//!
//! RFC 3261 §18 (transports, without the sent-by rules, which are the node's), RFC 5626 §3.5.1 (keep-alive: seen here,
//! answered by the node), RFC 7118 and RFC 6455 (WebSocket), RFC 5922 §7 and RFC 5923 §5 as far as a
//! peer's certificate is judged alike whoever opened the connection, RFC 6066 §3 (the name that a server is asked for),
//! RFC 3263 §4 as far as questions are asked. A peer that ends its half of a stream (FIN) has closed it: RFC 3261 knows
//! no half-closed connections, and what storage answers later finds nobody.

mod bind;
mod completion;
mod connection;
mod datagrams;
mod dns;
mod driver;
pub mod http;
pub mod https;
mod log;
mod metrics;
mod options;
mod socket;
mod streams;
mod tls;
mod websocket;
mod world;

pub use bind::{Bound, ListenerConfig};
pub use completion::{CompletionReceiver, completion_channel};
pub use dns::{Hosts, Resolver, ResolverError};
pub use driver::{Adjustment, CallError, Driver, Handle, ResolverMaker, runtime};
pub use log::Log;
pub use metrics::Exposition;
pub use options::*;
pub use tls::{ClientCertificates, Credentials, Network, Networks, TlsConfigError, TlsServer};
