//! Streams and the conditions of lines.
//!
//! A stream is two lanes of octets. What is sent is cut at seeded places and arrives in order; the receiver frames
//! it again with `sip_message::framing`, as a real driver does. A line that is cut lets pieces pile up; when it is
//! mended in time they arrive, else the sending end breaks, while the other end notices nothing until it sends
//! something itself: the half-open connection of real networks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use node::{Expected, Instant, Transport};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sip_message::framing::Scan;

use crate::event::Party;

/// How long a stream's octets may stall before their sender's end breaks: a TCP user timeout as servers set it.
pub(crate) const STALL_LONGEST: Duration = Duration::from_secs(20);
/// How long dialling into a cut line takes to fail.
pub(crate) const DIAL_LONGEST: Duration = Duration::from_secs(10);
/// Most pieces that one message is cut into.
const PIECES_MAX: usize = 4;

/// What a network does to what crosses it.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// One-way latency in microseconds, drawn for each datagram and each piece of a stream.
    pub latency_micros: Range<u64>,
    /// Share of datagrams that are lost.
    pub loss: f64,
    /// Share of datagrams that arrive twice.
    pub duplication: f64,
    /// Share of stream writes that are cut into pieces.
    pub fragmentation: f64,
}

impl Conditions {
    /// A local network: nothing is lost, and everything takes exactly 5 ms.
    pub fn calm() -> Conditions {
        Conditions { latency_micros: 5_000..5_001, loss: 0.0, duplication: 0.0, fragmentation: 0.0 }
    }

    /// A mobile network on a bad day; datagrams overtake each other.
    pub fn rough() -> Conditions {
        Conditions { latency_micros: 5_000..120_000, loss: 0.05, duplication: 0.02, fragmentation: 0.5 }
    }

    pub(crate) fn latency(&self, rng: &mut ChaCha8Rng) -> Duration {
        Duration::from_micros(rng.random_range(self.latency_micros.clone()))
    }

    /// Cuts a write into pieces, sometimes.
    pub(crate) fn cut(&self, rng: &mut ChaCha8Rng, mut octets: Bytes) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        if self.fragmentation > 0.0 && rng.random_bool(self.fragmentation) {
            while octets.len() > 1 && pieces.len() + 1 < PIECES_MAX {
                pieces.push(octets.split_to(rng.random_range(1..octets.len())));
            }
        }
        pieces.push(octets);
        pieces
    }
}

/// A stream between two parties; end 0 dialled, end 1 accepted.
pub(crate) struct Stream {
    pub(crate) transport: Transport,
    pub(crate) ends: [End; 2],
    /// Lane `i` carries what end `i` sends.
    pub(crate) lanes: [Lane; 2],
    /// What the accepting end must prove.
    pub(crate) expected: Option<Expected>,
}

/// One end of a stream.
pub(crate) struct End {
    pub(crate) party: Party,
    pub(crate) address: SocketAddr,
    pub(crate) state: EndState,
    /// The device's flow, the node's connect token, or nothing for an accepted end.
    pub(crate) handle: u64,
    pub(crate) buffer: BytesMut,
    pub(crate) scan: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// Not up yet.
    Opening,
    /// Up.
    Open,
    /// Up, but nothing more is read: framing was lost.
    Deaf,
    /// Over, for good.
    Closed,
}

#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) pieces: VecDeque<Piece>,
    /// Pieces that would have arrived while the line was cut.
    pub(crate) owed: usize,
    /// Nothing sent later arrives before this.
    pub(crate) clear_at: Instant,
    /// Counts stalls, so that the timeout of an ended one is known to be old.
    pub(crate) stall: u32,
}

pub(crate) enum Piece {
    Octets(Bytes),
    Fin,
    Reset,
}

impl End {
    pub(crate) fn new(party: Party, address: SocketAddr, handle: u64) -> End {
        End {
            party,
            address,
            state: EndState::Opening,
            handle,
            buffer: BytesMut::new(),
            scan: Scan::default(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, EndState::Open | EndState::Deaf)
    }
}
