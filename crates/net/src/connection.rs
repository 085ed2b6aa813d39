//! One stream connection: what is kept for it between two events.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf, Bytes};
use node::{ConnectToken, ConnectionId, Instant, ListenerId, PeerCertificate, Side, Transport, UnixMillis};
use sip_message::framing::Scan;
use tokio::net::TcpStream;

use crate::metrics::End;
use crate::socket::send;
use crate::tls::Tls;
use crate::websocket;

/// What an entry of a send queue costs beside its octets: many tiny messages must not slip under the limit.
const QUEUE_ENTRY_OCTETS: usize = 64;
/// Pieces written in one system call. Linux takes 1,024; more than this many seldom wait.
const SLICES_MAX: usize = 64;

pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) stream: TcpStream,
    pub(crate) transport: Transport,
    pub(crate) side: Side,
    pub(crate) listener: Option<ListenerId>,
    pub(crate) remote: SocketAddr,
    pub(crate) phase: Phase,
    /// Boxed, so that plain connections do not pay for it.
    pub(crate) tls: Option<Box<Tls>>,
    /// What the peer's certificate was worth when the connection came up, as the node was told.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// When it is judged again: the entry in the driver's set.
    pub(crate) certificate_end: Option<UnixMillis>,
    pub(crate) framing: Framing,
    /// An incomplete TLS record or flight.
    pub(crate) sealed: Vec<u8>,
    /// An incomplete message, frame or handshake request, decrypted.
    pub(crate) partial: Vec<u8>,
    /// Octets of `sealed`, `partial` and fragments, as the driver has added them to its sum.
    pub(crate) held: usize,
    pub(crate) queue: Queue,
    /// Whether a whole message has come.
    pub(crate) heard: bool,
    pub(crate) deadline: Option<Instant>,
    /// The entry in the driver's set of deadlines; it may lie before `deadline`, and is moved when it comes up.
    pub(crate) watched: Option<Instant>,
    /// Wakes the connection's task.
    pub(crate) waker: Option<Waker>,
}

/// How far a connection's life has come.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// TLS or WebSocket handshake; the node does not know of it yet. Has the token of who asked for it.
    Opening(Option<ConnectToken>),
    /// The node knows of it.
    Open,
    /// Nothing more is read; what was sent leaves, then the end is said.
    Closing(Farewell),
    /// The end was said, the node was told; what the peer still sends is thrown away until its end comes. A socket
    /// closed with unread octets would reset the connection, and the peer might never see our last message.
    Lingering,
}

/// How a closing connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    pub(crate) end: End,
    /// What a WebSocket close frame says.
    pub(crate) code: Option<u16>,
    /// Whether the node knows of the connection.
    pub(crate) known: bool,
    /// Whether close frame and close_notify are in the queue or beyond.
    pub(crate) said: bool,
}

/// How the decrypted stream is cut.
pub(crate) enum Framing {
    Sip(Scan),
    Upgrade,
    WebSocket(websocket::Reader),
}

impl Connection {
    /// Writes at once what the socket takes, and keeps the rest. Order is kept: nothing overtakes the queue.
    /// Returns whether the queue began to fill, so that somebody must wait for the socket.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<bool> {
        let was_empty = self.queue.is_empty();
        let written = if was_empty { send(&self.stream, &[IoSlice::new(octets)])? } else { 0 };
        if written < octets.len() {
            self.queue.push(Bytes::copy_from_slice(&octets[written..]));
        }
        Ok(was_empty && !self.queue.is_empty())
    }

    /// Like [`Connection::write`] for messages that are sent as they are, without a copy.
    pub(crate) fn write_shared(&mut self, messages: &[impl AsRef<Bytes>]) -> io::Result<bool> {
        let was_empty = self.queue.is_empty();
        let mut written = 0;
        if was_empty {
            written = match messages {
                // Nearly always: the list of slices need not be made.
                [one] => send(&self.stream, &[IoSlice::new(one.as_ref())])?,
                many => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    for (slice, message) in slices.iter_mut().zip(many) {
                        *slice = IoSlice::new(message.as_ref());
                    }
                    send(&self.stream, &slices[..many.len().min(SLICES_MAX)])?
                }
            };
        }
        for message in messages.iter().map(AsRef::as_ref) {
            let skipped = written.min(message.len());
            written -= skipped;
            if skipped < message.len() {
                self.queue.push(message.slice(skipped..));
            }
        }
        Ok(was_empty && !self.queue.is_empty())
    }

    /// Whether what the peer sends is still of interest to the node.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.phase, Phase::Opening(_) | Phase::Open)
    }

    /// Whether the peer owes us the rest of something. Line ends between messages are nothing to wait for.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.sealed.is_empty()
            || self.partial.iter().any(|octet| !matches!(octet, b'\r' | b'\n'))
            || matches!(&self.framing, Framing::WebSocket(reader) if reader.is_open())
    }

    /// Octets of what is incomplete.
    pub(crate) fn incomplete_octets(&self) -> usize {
        let fragments = match &self.framing {
            Framing::WebSocket(reader) => reader.held(),
            _ => 0,
        };
        self.sealed.len() + self.partial.len() + fragments
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Octets that the socket did not take.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Bytes>,
    octets: usize,
}

impl Queue {
    fn push(&mut self, piece: Bytes) {
        self.octets += piece.len() + QUEUE_ENTRY_OCTETS;
        self.pieces.push_back(piece);
    }

    /// Writes what the socket takes; `WouldBlock` when it takes nothing.
    pub(crate) fn write_to(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let mut written = stream.try_write_vectored(&slices[..count])?;
        while let Some(front) = self.pieces.front_mut() {
            if written < front.len() {
                front.advance(written);
                self.octets -= written;
                return Ok(());
            }
            written -= front.len();
            self.octets -= front.len() + QUEUE_ENTRY_OCTETS;
            self.pieces.pop_front();
        }
        // An idle connection holds no memory for what it once had to say.
        *self = Queue::default();
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// With what the entries themselves cost.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }
}

/// What connections are counted by: an address, or the /64 that one IPv6 subscriber is given.
pub(crate) fn source(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
