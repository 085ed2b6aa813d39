//! Flows: where a message came from and where one can be sent (RFC 5626 §1).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::PeerCertificate;

/// A transport of SIP, as Via names it (RFC 3261 §7.1, RFC 7118 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams, RFC 3261 §18.
    Udp,
    /// Plain streams.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over HTTP, RFC 7118.
    Ws,
    /// WebSocket over HTTPS, RFC 7118.
    Wss,
}

impl Transport {
    /// Whether delivery and order are the transport's business, so that nothing is retransmitted over it.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Whether the peer cannot be impersonated or overheard on the wire.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// The token of the Via header.
    pub fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The value of the `transport` URI parameter. A secure WebSocket is `ws` in a URI (RFC 7118 §5.2.4).
    pub fn uri_parameter(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws | Transport::Wss => "ws",
        }
    }

    /// The lower-case name used in metrics, logs and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }
}

/// A connection of the driver's: accepted or opened, never used again after it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One of the sockets that a node listens on, by its place in the list given to its constructor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// Where a message can be sent so that it reaches the same peer again.
///
/// A datagram flow is the pair of our socket and the peer's address; the driver keeps nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// A stream connection (TCP, TLS, WebSocket).
    Connection(ConnectionId),
    /// A peer's address, seen from one of our datagram sockets.
    Datagram {
        /// Our socket.
        listener: ListenerId,
        /// The peer.
        remote: SocketAddr,
    },
}

/// Which network a socket or a connection belongs to. A server of the perimeter has two, with addresses and certificates of
/// their own; every other server has one, which counts as inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The organisation's own network.
    Inside,
    /// The internet, or whatever is not ours.
    Outside,
}

/// A socket that the node listens on. Listeners are bound before a node is made, so that it knows its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken on it.
    pub transport: Transport,
    /// Where it is bound.
    pub address: SocketAddr,
    /// The host (name or address, IPv6 in brackets) that Via, Record-Route and Path show to peers.
    pub advertised_host: String,
    /// Which network it faces.
    pub side: Side,
}

/// What is known of the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What is spoken.
    pub transport: Transport,
    /// The listener that accepted the connection; `None` for connections that we opened.
    pub listener: Option<ListenerId>,
    /// Our end.
    pub local: SocketAddr,
    /// Their end.
    pub remote: SocketAddr,
    /// Which network it belongs to.
    pub side: Side,
    /// What TLS proved.
    pub identity: PeerIdentity,
}

/// What a connection proved about its peer. TLS objects never reach a role, only these facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// Nothing: plain transport, or a TLS client without a certificate.
    Anonymous,
    /// The peer holds the key of this certificate. What the certificate is worth, its facts say.
    Certificate(Arc<PeerCertificate>),
}

impl PeerIdentity {
    /// The certificate, if there is one.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        match self {
            PeerIdentity::Anonymous => None,
            PeerIdentity::Certificate(certificate) => Some(certificate),
        }
    }

    /// The same, to be kept.
    pub fn shared_certificate(&self) -> Option<&Arc<PeerCertificate>> {
        match self {
            PeerIdentity::Anonymous => None,
            PeerIdentity::Certificate(certificate) => Some(certificate),
        }
    }
}
