//! Limits of the HTTPS listeners, each with its reason.

use std::time::Duration;

/// Most octets of a request's first line and header fields; more is answered with 431. A Digest answer and the headers
/// of a browser take 2 KiB. hyper allows 100 fields in them.
pub const HEADER_OCTETS_MAX: usize = 16 * 1024;
/// Most octets of a request's content; more is answered with 413. A contact list of a thousand people takes 200 KiB.
pub const BODY_OCTETS_MAX: usize = 256 * 1024;
/// Most octets of content that are held for all requests together, whole or not: 128 of the largest. Beyond it a
/// request is answered with 503.
pub const BODY_OCTETS_HELD_MAX: usize = 32 * 1024 * 1024;
/// Most connections at once, some 50 KiB each with the buffers of TLS and HTTP: 100 MiB. Clients come, ask and go.
pub const CONNECTIONS_MAX: usize = 2048;
/// Most connections from one source (an IPv4 address or an IPv6 /64): an office behind one address translator fits,
/// and one attacker gets no more than an eighth of [`CONNECTIONS_MAX`].
pub const CONNECTIONS_PER_SOURCE_MAX: u32 = 256;
/// Most requests that wait for the node at once; further ones are answered with 503. A quarter of the places that calls
/// of all kinds have, so that an administrator's call finds one.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// How long the handshake of TLS may take: a mobile client on a bad link needs some seconds.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's content may take behind its header; then 408. The largest at 150 kbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the node may take to answer; then 503. A commit on a slow disk, behind others.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take from the handshake, or from one answer, until that answer has been read and the next
/// header is whole. Not less than [`BODY_TIMEOUT`] and [`ANSWER_TIMEOUT`] together. TLS resumes sessions, so that a
/// client that comes back later pays little.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take when the server stops.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a listener, or a test, may set. [`Limits::standard`] holds the constants of this module.
#[derive(Clone, Debug)]
pub struct Limits {
    /// See [`HEADER_OCTETS_MAX`].
    pub header_octets_max: usize,
    /// See [`BODY_OCTETS_MAX`].
    pub body_octets_max: usize,
    /// See [`BODY_OCTETS_HELD_MAX`].
    pub body_octets_held_max: usize,
    /// See [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// See [`CONNECTIONS_PER_SOURCE_MAX`].
    pub connections_per_source_max: u32,
    /// See [`REQUESTS_IN_FLIGHT_MAX`].
    pub requests_in_flight_max: usize,
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// See [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// See [`ANSWER_TIMEOUT`].
    pub answer_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`LINGER_TIMEOUT`].
    pub linger_timeout: Duration,
}

impl Limits {
    /// The constants of this module.
    pub fn standard() -> Limits {
        Limits {
            header_octets_max: HEADER_OCTETS_MAX,
            body_octets_max: BODY_OCTETS_MAX,
            body_octets_held_max: BODY_OCTETS_HELD_MAX,
            connections_max: CONNECTIONS_MAX,
            connections_per_source_max: CONNECTIONS_PER_SOURCE_MAX,
            requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            linger_timeout: LINGER_TIMEOUT,
        }
    }
}
