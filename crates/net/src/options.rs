//! Limits and deadlines of a driver, each with its reason.

use std::time::Duration;

/// Most connections of one driver, accepted and opened together. At 5 KiB of memory and one file descriptor each this
/// is half a gigabyte; a larger installation runs more than one driver.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Most connections from one source (an IPv4 address or an IPv6 /64): a large office behind one address translator has
/// a few thousand devices, and one attacker gets no more than a sixth of [`CONNECTIONS_MAX`].
pub const CONNECTIONS_PER_SOURCE_MAX: u32 = 16_384;
/// How long a connection may take from its acceptance to its first whole message, TLS and WebSocket handshakes
/// included. A mobile client on a bad link needs about 10 s.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a message may stay incomplete on a stream: as long as a transaction lives at its sender (timer F,
/// RFC 3261 §17.1.2.2). The rest would answer nobody.
pub const INCOMPLETE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(32);
/// How long opening a connection may take, TLS included: long enough for two lost SYNs (1 s and 2 s), short enough
/// that a request can still fail over to the next server within its 32 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most octets that wait for one peer in our memory, beside what the kernel holds: four of the largest messages.
pub const SEND_QUEUE_OCTETS_MAX: usize = 256 * 1024;
/// Most octets of incomplete records, messages and frames that are held for all connections together: a thousand of
/// the largest messages. Without it one source could fill its share of connections with beginnings. Beyond it a
/// connection that leaves something incomplete is closed; a message that comes in one read needs none of it.
pub const INCOMPLETE_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// How long a closing connection may take to drain what was sent, and then to see the peer's end: one retransmission
/// on a bad link.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a stopping driver waits for storage and for connections to drain.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What an operator, or a test, may set. [`Options::standard`] holds the constants of this module.
#[derive(Clone, Debug)]
pub struct Options {
    /// See [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// See [`CONNECTIONS_PER_SOURCE_MAX`].
    pub connections_per_source_max: u32,
    /// See [`FIRST_MESSAGE_TIMEOUT`].
    pub first_message_timeout: Duration,
    /// See [`INCOMPLETE_MESSAGE_TIMEOUT`].
    pub incomplete_message_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`SEND_QUEUE_OCTETS_MAX`].
    pub send_queue_octets_max: usize,
    /// See [`INCOMPLETE_OCTETS_MAX`].
    pub incomplete_octets_max: usize,
    /// See [`LINGER_TIMEOUT`].
    pub linger_timeout: Duration,
    /// See [`SHUTDOWN_TIMEOUT`].
    pub shutdown_timeout: Duration,
}

impl Options {
    /// The constants of this module.
    pub fn standard() -> Options {
        Options {
            connections_max: CONNECTIONS_MAX,
            connections_per_source_max: CONNECTIONS_PER_SOURCE_MAX,
            first_message_timeout: FIRST_MESSAGE_TIMEOUT,
            incomplete_message_timeout: INCOMPLETE_MESSAGE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            send_queue_octets_max: SEND_QUEUE_OCTETS_MAX,
            incomplete_octets_max: INCOMPLETE_OCTETS_MAX,
            linger_timeout: LINGER_TIMEOUT,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
        }
    }
}
