//! What an administrator may ask of a running edge.

use std::net::SocketAddr;
use std::sync::Arc;

use federation::discovery::WatchEntry;
use federation::{Policy, TrustedServer};

use crate::config::Limits;

/// A call of an administrator, already authorised.
#[derive(Clone, Debug)]
pub enum Call {
    /// Another policy, in force with the next request. Connections of whoever lost their standing are closed at once.
    SetPolicy(Arc<Policy>),
    /// Other settings; see [`Adjustable`].
    Configure(Box<Adjustable>),
    /// The connections that are up, at most so many.
    Connections {
        /// How many to list.
        limit: usize,
    },
    /// The discovered partners that behaved as nobody does who means well.
    WatchList,
    /// Takes a discovered partner off the watch list.
    ClearWatched {
        /// Its domain.
        domain: String,
    },
}

/// What of a [`crate::Config`] can change while the edge runs.
#[derive(Clone, Debug)]
pub struct Adjustable {
    /// See [`crate::Config::servers`]. Connections of servers that are no longer listed are closed.
    pub servers: Vec<TrustedServer>,
    /// See [`crate::Config::next_hops`].
    pub next_hops: Vec<federation::HostPort>,
    /// See [`crate::Config::remote_access`].
    pub remote_access: bool,
    /// See [`crate::Config::limits`].
    pub limits: Limits,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in force; so many connections were closed for it.
    Done {
        /// How many.
        closed: usize,
    },
    /// Answer to [`Call::Connections`], by age.
    Connections(Vec<Connection>),
    /// Answer to [`Call::WatchList`], by name.
    WatchList(Vec<WatchEntry>),
    /// Answer to [`Call::ClearWatched`].
    Cleared {
        /// Whether it stood there.
        was_known: bool,
    },
}

/// A connection that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `server`, `partner`, `client` or `stranger`.
    pub kind: &'static str,
    /// Of a server its host, of a partner the domains and hubs that it proves.
    pub names: Vec<Arc<str>>,
    /// Their end.
    pub remote: SocketAddr,
    /// Whether we opened it.
    pub is_ours: bool,
}
