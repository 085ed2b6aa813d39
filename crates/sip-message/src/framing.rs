//! Cutting a stream into messages (RFC 3261 §18.3, RFC 5626 §3.5.1). Pure: the driver owns the buffer.
//!
//! The driver keeps received octets in a buffer, calls [`next_frame`] on it until it says `Partial`, and drops `consumed`
//! octets each time. [`Scan`] remembers how far the end of the header block was looked for, so that a slow sender
//! costs linear time; it is empty for an idle connection.

/// Progress of a scan; `Default` at the start of a stream and after each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Octets that were looked at and hold no end of header block.
    pub scanned: usize,
    /// Whole length of the message that has begun, once its header block was seen; 0 before.
    pub total: usize,
}

/// What stands at the front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not enough octets yet; `needed` more at least (1 where unknown).
    Partial {
        /// At least this many octets more.
        needed: usize,
    },
    /// One whole message of `length` octets at the front.
    Message {
        /// Its length; consume as many.
        length: usize,
    },
    /// `CRLF CRLF` between messages: a keep-alive that wants a CRLF back. Consume `length`.
    Ping {
        /// 4.
        length: usize,
    },
    /// Octets between messages that mean nothing (a single CRLF: a pong, or padding). Consume `length`.
    Padding {
        /// How many.
        length: usize,
    },
    /// Framing is lost: no Content-Length on a stream, a bad, repeated or too large one, a header block that is too long,
    /// octets that are no SIP at all. `header_octets` are those of the header block if its end was found, else 0.
    Lost {
        /// The status that answers it.
        status: u16,
        /// In words.
        reason: &'static str,
        /// Length of the header block, or 0.
        header_octets: usize,
    },
}

/// Looks at the front of `buffer`. A single CRLF at the end of the buffer is `Partial`: it may become a ping.
pub fn next_frame(_scan: &mut Scan, _buffer: &[u8]) -> Frame {
    todo!()
}
