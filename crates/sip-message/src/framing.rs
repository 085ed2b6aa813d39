//! Cutting a stream into messages (RFC 3261 §18.3, RFC 5626 §3.5.1). Pure: the driver owns the buffer.
//!
//! The driver keeps received octets in a buffer, calls [`next_frame`] on it until it says `Partial`, and drops `consumed`
//! octets each time. [`Scan`] remembers how far the end of the header block was looked for, so that a slow sender
//! costs linear time; it is empty for an idle connection.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::memmem;

use crate::lex::{self, TOKEN};
use crate::{HEADER_BLOCK_OCTETS_MAX, HeaderId, MESSAGE_OCTETS_MAX};

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
pub fn next_frame(scan: &mut Scan, buffer: &[u8]) -> Frame {
    if scan.total == 0 {
        if let Some(frame) = between_messages(buffer) {
            return frame;
        }
        match header_block(scan, buffer) {
            Ok(total) => scan.total = total,
            Err(frame) => return frame,
        }
    }
    if buffer.len() < scan.total {
        return Frame::Partial { needed: scan.total - buffer.len() };
    }
    let length = scan.total;
    *scan = Scan::default();
    Frame::Message { length }
}

/// Prepared once: that costs as much as finding the end in a message of usual length.
static END_OF_HEADERS: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));

/// What is no message: nothing, keep-alives, padding (RFC 3261 §7.5, RFC 5626 §3.5.1).
fn between_messages(buffer: &[u8]) -> Option<Frame> {
    match buffer {
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => Some(Frame::Partial { needed: 1 }),
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(Frame::Ping { length: 4 }),
        [b'\r', b'\n', ..] => Some(Frame::Padding { length: 2 }),
        _ => None,
    }
}

/// The whole length of the message whose header block ends in the buffer.
fn header_block(scan: &mut Scan, buffer: &[u8]) -> Result<usize, Frame> {
    check_first_octets(buffer)?;
    let window = &buffer[..buffer.len().min(HEADER_BLOCK_OCTETS_MAX)];
    if scan.scanned == 0
        && let Some((header_octets, length)) = usual_block(window)
    {
        return within_limit(header_octets, length);
    }
    // The end may have begun in what was scanned.
    let from = scan.scanned.saturating_sub(3);
    let Some(end) = END_OF_HEADERS.find(&window[from.min(window.len())..]) else {
        if buffer.len() > HEADER_BLOCK_OCTETS_MAX {
            return Err(lost(513, "header block too long", 0));
        }
        if has_lone_line_feed(buffer, from) {
            return Err(lost(400, "LF alone in the headers", 0));
        }
        scan.scanned = buffer.len();
        return Err(Frame::Partial { needed: 1 });
    };
    let header_octets = from + end + 4;
    let length =
        content_length(&buffer[..header_octets]).map_err(|reason| lost(400, reason, header_octets))?;
    within_limit(header_octets, length)
}

/// The whole length of a message.
fn within_limit(header_octets: usize, content_length: u64) -> Result<usize, Frame> {
    let total = content_length.saturating_add(header_octets as u64);
    if total > MESSAGE_OCTETS_MAX as u64 {
        return Err(lost(513, "message too large", header_octets));
    }
    Ok(total as usize)
}

/// The length of the header block and its Content-Length in one walk, where the whole block has come and nothing is wrong with it;
/// the same as to look for its end and then for [`content_length`], which say what is wrong.
fn usual_block(window: &[u8]) -> Option<(usize, u64)> {
    let mut length = None;
    let mut line_start = 0;
    loop {
        let line_end = lex::first_of_far(window, line_start, *b"\n")?;
        if line_end == 0 || window[line_end - 1] != b'\r' {
            return None;
        }
        let line = &window[line_start..];
        if may_be_content_length(line)
            && let Some(value) = content_length_value(line, line_end - line_start)
            && length.replace(value?).is_some()
        {
            return None;
        }
        line_start = line_end + 1;
        if let Some([b'\r', b'\n']) = window.get(line_start..line_start + 2) {
            return Some((line_start + 2, length?));
        }
    }
}

/// `false` where the header at the front is certainly not Content-Length.
#[inline]
fn may_be_content_length(line: &[u8]) -> bool {
    const CASE: u64 = u64::from_le_bytes([b' '; 8]);
    const CONTENT: u64 = u64::from_le_bytes(*b"content-");
    match line.first_chunk() {
        Some(front) => front[0] | b' ' == b'l' || u64::from_le_bytes(*front) | CASE == CONTENT,
        None => true,
    }
}

fn lost(status: u16, reason: &'static str, header_octets: usize) -> Frame {
    Frame::Lost { status, reason, header_octets }
}

/// A message begins with a token and a blank, or with `SIP/` and a version; other protocols are turned away before they
/// have sent a whole header block. Longer tokens than any method's are left to the parser.
fn check_first_octets(buffer: &[u8]) -> Result<(), Frame> {
    const LOOKED_AT: usize = 64;
    let front = &buffer[..buffer.len().min(LOOKED_AT)];
    let token = lex::span(front, TOKEN);
    let is_sip = match front.get(token) {
        None => true,
        Some(b' ') => token > 0,
        Some(b'/') => front[..token].eq_ignore_ascii_case(b"SIP"),
        Some(_) => false,
    };
    if is_sip { Ok(()) } else { Err(lost(400, "no SIP", 0)) }
}

/// Whether an LF without CR stands in the octets from `from` on: who ends lines so will never end the header block.
fn has_lone_line_feed(buffer: &[u8], from: usize) -> bool {
    memchr::memchr_iter(b'\n', &buffer[from..]).any(|found| {
        let at = from + found;
        at == 0 || buffer[at - 1] != b'\r'
    })
}

/// The Content-Length of a header block. Lines are told apart exactly as [`crate::Message::parse`] does, so that both
/// see the same one.
fn content_length(block: &[u8]) -> Result<u64, &'static str> {
    let mut length = None;
    let mut line_start = 0;
    for line_end in memchr::memchr_iter(b'\n', block) {
        if line_end == 0 || block[line_end - 1] != b'\r' {
            return Err("LF alone in the headers");
        }
        if may_be_content_length(&block[line_start..])
            && let Some(value) = content_length_value(&block[line_start..], line_end - line_start)
        {
            if length.is_some() {
                return Err("Content-Length stands more than once");
            }
            length = Some(value.ok_or("malformed Content-Length")?);
        }
        line_start = line_end + 1;
        if line_start == block.len() {
            break;
        }
    }
    length.ok_or("no Content-Length")
}

/// The value of the header line at the front if it is a Content-Length; `Some(None)` where the value is malformed. The first
/// break of the line stands at `first_break` or before: a name is not folded.
fn content_length_value(lines: &[u8], first_break: usize) -> Option<Option<u64>> {
    let colon = lex::first_of(&lines[..first_break], 0, [b':'])?;
    let mut name = &lines[..colon];
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    if HeaderId::at_front(lines, name.len()) != HeaderId::ContentLength {
        return None;
    }
    let value = &lines[colon + 1..];
    let mut end = 0;
    // The value goes on over folds.
    // A few digits: no search is worth its start-up.
    while let Some(found) = value[end..].iter().position(|&byte| byte == b'\r') {
        end += found;
        match value[end..] {
            [b'\r', b'\n', b' ' | b'\t', ..] => end += 2,
            [b'\r', b'\n', ..] => break,
            // Left in the value, which is no number then.
            _ => end += 1,
        }
    }
    Some(lex::decimal(lex::trim(&value[..end])))
}
