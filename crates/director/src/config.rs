//! What a Director is told when it is made.

use std::time::Duration;

use directory::DomainName;
use federation::{HostPort, TrustedServer};
use node::Listener;

/// Who asks remote users for their passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The Director, by its copies of the homes' accounts.
    Authenticate,
    /// The user's home. The Director only finds it.
    Route,
}

/// Everything that a Director must know to start. There is a domain, a Front End, and a TLS listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our SIP domains.
    pub domains: Vec<DomainName>,
    /// The bound sockets, all inside; [`node::ListenerId`] counts them from 0.
    pub listeners: Vec<Listener>,
    /// Names under which requests address the Director itself, besides the listeners' advertised hosts.
    pub aliases: Vec<String>,
    /// Who asks for passwords.
    pub mode: Mode,
    /// Our other servers: nobody else is listened to.
    pub servers: Vec<TrustedServer>,
    /// The homes. Whose copy names an account is that account's home.
    pub front_ends: Vec<HostPort>,
    /// The edge through which Front Ends reach other organisations, where they send what leaves through us.
    pub route: Option<HostPort>,
    /// Whether users may come from outside.
    pub remote_access: bool,
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
    /// Requests that may wait for an answer at once, theirs to us and ours to others.
    pub transactions_max: usize,
    /// Key of nonces and tags. Kept over restarts.
    pub secret: [u8; 32],
    /// Fresh randomness of this start.
    pub seed: [u8; 32],
}

/// What of a [`Config`] can change while the Director runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustable {
    /// See [`Config::remote_access`].
    pub remote_access: bool,
    /// See [`Config::nonce_lifetime`].
    pub nonce_lifetime: Duration,
    /// See [`Config::transactions_max`].
    pub transactions_max: usize,
}
