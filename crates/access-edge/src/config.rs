//! What an edge is told when it is made.

use std::sync::Arc;
use std::time::Duration;

use federation::rate::{self, Allowance};
use federation::{HostPort, Policy, TrustedServer};
use node::Listener;

/// Whether there is an inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Between an organisation and everybody else.
    Edge,
    /// Between the members of a community; no domain is its own, and both ends of every request are outside.
    Clearinghouse,
}

/// Everything that an edge must know to start.
///
/// With [`Mode::Edge`] there is a TLS listener on each side, a domain, and an inside next hop; with [`Mode::Clearinghouse`]
/// every listener is outside, and there is neither.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether there is an inside.
    pub mode: Mode,
    /// Our SIP domains, in lower case; the same that `policy` was read with.
    pub domains: Vec<String>,
    /// The bound sockets, TLS and secure WebSocket; [`node::ListenerId`] counts them from 0.
    pub listeners: Vec<Listener>,
    /// Names under which requests address the edge itself, besides the listeners' advertised hosts.
    pub aliases: Vec<String>,
    /// Where requests from outside go: Directors or Front Ends, in the order in which they are tried.
    pub next_hops: Vec<HostPort>,
    /// Our servers: nobody else is listened to from inside.
    pub servers: Vec<TrustedServer>,
    /// Whom we talk with.
    pub policy: Arc<Policy>,
    /// Whether our users may come from outside.
    pub remote_access: bool,
    /// Keys of sealed routes, the same at all edges of one name; the one in use first, see [`crate::token::Sealer::new`].
    pub token_keys: Vec<[u8; 32]>,
    /// Bounds.
    pub limits: Limits,
    /// Key of flow tokens and tags, of this edge alone. Kept over restarts.
    pub secret: [u8; 32],
    /// Fresh randomness of this start: branches, hash seeds, and what must not survive a restart.
    pub seed: [u8; 32],
}

/// Bounds of what strangers may ask for. Partners have their budgets in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait for an answer at once, theirs to us and ours to others. They take some 1 KiB each way.
    pub transactions_max: usize,
    /// Requests on one connection from outside.
    pub requests_per_connection: Allowance,
    /// Requests from one address (IPv6: one /64), over all of its connections without a partner's certificate.
    pub requests_per_source: Allowance,
    /// Connections from one address at once, whoever they are.
    pub connections_per_source_max: usize,
    /// How long a connection without a partner's certificate may stay before a request on it succeeds.
    pub sign_in_within: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            transactions_max: 131_072,
            requests_per_connection: rate::PER_CONNECTION,
            requests_per_source: rate::PER_SOURCE,
            // An office of remote users behind one address.
            connections_per_source_max: 4_096,
            // Somebody may have to type a password first.
            sign_in_within: Duration::from_secs(60),
        }
    }
}
