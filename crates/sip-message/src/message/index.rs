//! Finding the lines of a message.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memchr::memchr;

use super::{HeaderFilter, Message, ParseError, Parsed, Slot, Slots, StartLine};
use crate::edit::Written;
use crate::lex::{self, TOKEN};
use crate::{HEADER_BLOCK_OCTETS_MAX, HEADER_LINES_MAX, HeaderId, MESSAGE_OCTETS_MAX, Method};

/// What is wrong with a message; the first fault decides.
#[derive(Clone, Copy, Debug)]
struct Fault {
    status: u16,
    reason: &'static str,
}

const fn bad(reason: &'static str) -> Fault {
    Fault { status: 400, reason }
}

const TOO_LARGE: u16 = 513;

// Slots keep offsets as u16.
const _: () = assert!(HEADER_BLOCK_OCTETS_MAX < u16::MAX as usize);

pub(super) fn index(mut bytes: Bytes) -> Result<Message, ParseError> {
    let mut leading = 0;
    while bytes[leading..].starts_with(b"\r\n") {
        leading += 2;
    }
    if leading > 0 {
        bytes = bytes.slice(leading..);
    }
    let mut fault = (bytes.len() > MESSAGE_OCTETS_MAX)
        .then_some(Fault { status: TOO_LARGE, reason: "message too large" });

    let block = &bytes[..bytes.len().min(HEADER_BLOCK_OCTETS_MAX)];
    let mut lines = Lines { block, at: 0, is_torn: false };
    let Some(first_line) = lines.next_line() else {
        return Err(ParseError { status: 400, reason: "no SIP message", answerable: None });
    };
    let start = match start_line(first_line) {
        Ok(start) => start,
        Err((start_fault, start)) => {
            fault = fault.or(Some(start_fault));
            match start {
                Some(start) => start,
                None => {
                    return Err(ParseError {
                        status: start_fault.status,
                        reason: start_fault.reason,
                        answerable: None,
                    });
                }
            }
        }
    };
    let headers_start = lines.at as u16;

    let mut slots = Slots::new();
    let mut content_length: Option<u64> = None;
    let (headers_end, body_start) = loop {
        let line_start = lines.at;
        if let Some(b"\r\n") = block.get(line_start..line_start + 2) {
            break (line_start, line_start + 2);
        }
        let Some(line) = lines.next_line() else {
            let end_fault = if bytes.len() > block.len() {
                Fault { status: TOO_LARGE, reason: "header block too long" }
            } else {
                bad("no empty line behind the headers")
            };
            fault = fault.or(Some(end_fault));
            break (line_start, line_start);
        };
        if lines.is_torn {
            // Not indexed, lest it tear the answer as well.
            fault = fault.or(Some(bad("CR or LF alone in the headers")));
            continue;
        }
        let Some(slot) = header_line(line, line_start) else {
            fault = fault.or(Some(bad("malformed header line")));
            continue;
        };
        if slots.len() == HEADER_LINES_MAX {
            fault = fault.or(Some(Fault { status: TOO_LARGE, reason: "too many header lines" }));
            break (line_start, line_start);
        }
        if slot.id == HeaderId::ContentLength {
            let value = &block[usize::from(slot.value_start)..usize::from(slot.value_end)];
            match (lex::decimal(value), content_length) {
                (Some(length), None) => content_length = Some(length),
                (None, _) => fault = fault.or(Some(bad("malformed Content-Length"))),
                (_, Some(_)) => fault = fault.or(Some(bad("Content-Length stands more than once"))),
            }
        }
        slots.push(slot);
    };

    let body_available = bytes.len() - body_start;
    match content_length {
        Some(length) if length > body_available as u64 => {
            fault = fault.or(Some(bad("Content-Length larger than the message")));
        }
        Some(length) => bytes.truncate(body_start + length as usize),
        None => {}
    }
    let message =
        Message::of_parts(bytes, start, [headers_start, headers_end as u16, body_start as u16], slots);
    match fault {
        None => Ok(message),
        Some(Fault { status, reason }) => {
            let is_answerable = message.is_request() && message.header(HeaderId::Via).is_some();
            Err(ParseError { status, reason, answerable: is_answerable.then(|| Box::new(message)) })
        }
    }
}

impl Message {
    /// From the start of the first header line, that of the empty line, and that of the body.
    fn of_parts(bytes: Bytes, start: StartLine, places: [u16; 3], slots: Slots) -> Message {
        let method = match start {
            StartLine::Request { method_end, .. } => Method::known(&bytes[..usize::from(method_end)]),
            StartLine::Response { .. } => None,
        };
        let [headers_start, headers_end, body_start] = places;
        let mut filter = HeaderFilter::default();
        slots.iter().for_each(|slot| filter.insert(slot.id));
        let found = OnceLock::new();
        let parsed =
            Parsed { bytes, start, method, headers_start, headers_end, body_start, slots, filter, found };
        Message { parsed: Arc::new(parsed) }
    }
}

/// See [`Message::of_lines`].
pub(super) fn of_lines(
    bytes: &Bytes,
    received: &Message,
    body_length: usize,
    lines: &[Written],
) -> Option<Message> {
    let body_start = bytes.len() - body_length;
    let headers_end = body_start - 2;
    if bytes.len() > MESSAGE_OCTETS_MAX || body_start > HEADER_BLOCK_OCTETS_MAX {
        return None;
    }
    let first = lines.first().map_or(headers_end, |line| match line {
        Written::Line { at } | Written::Kept { at, .. } => *at,
    });
    let start = start_line(&bytes[..first - 2]).ok()?;
    let mut slots = Slots::new();
    for line in lines {
        match line {
            Written::Line { at } => {
                let mut rest = Lines { block: &bytes[..body_start], at: *at, is_torn: false };
                slots.push(header_line(rest.next_line()?, *at)?);
            }
            Written::Kept { slots: kept, from, at } => {
                // No place grows beyond the header block's end, which was found to fit.
                let moved = |place: u16| (usize::from(place) + at - usize::from(*from)) as u16;
                slots.extend(received.parsed.slots[kept.clone()].iter().map(|slot| Slot {
                    start: moved(slot.start),
                    name_end: moved(slot.name_end),
                    value_start: moved(slot.value_start),
                    value_end: moved(slot.value_end),
                    id: slot.id,
                }));
            }
        }
    }
    let places = [first as u16, headers_end as u16, body_start as u16];
    (slots.len() <= HEADER_LINES_MAX).then(|| Message::of_parts(bytes.clone(), start, places, slots))
}

/// Logical lines: a CRLF before a blank does not end one (RFC 3261 §7.3.1).
struct Lines<'a> {
    block: &'a [u8],
    at: usize,
    /// Whether the line read last holds a CR or LF that ends nothing.
    is_torn: bool,
}

const LINE_BREAKS: [u8; 2] = *b"\r\n";

impl<'a> Lines<'a> {
    /// The next line without its CRLF; `None` where no CRLF is left.
    #[inline]
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        // Nearly all lines end at the first line break.
        let end = lex::first_of_far(self.block, start, LINE_BREAKS)?;
        if let Some([b'\r', b'\n', next, ..]) = self.block.get(end..)
            && !matches!(next, b' ' | b'\t')
        {
            self.at = end + 2;
            self.is_torn = false;
            return Some(&self.block[start..end]);
        }
        self.next_unusual_line()
    }

    #[cold]
    fn next_unusual_line(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.is_torn = false;
        let mut search = start;
        loop {
            let end = lex::first_of_far(self.block, search, LINE_BREAKS)?;
            if let Some(b"\r\n") = self.block.get(end..end + 2) {
                match self.block.get(end + 2) {
                    // The start line is never folded; a blank behind it is a header line without a name.
                    Some(b' ' | b'\t') if start > 0 => search = end + 3,
                    _ => {
                        self.at = end + 2;
                        return Some(&self.block[start..end]);
                    }
                }
            } else if end + 1 == self.block.len() && self.block[end] == b'\r' {
                return None;
            } else {
                self.is_torn = true;
                search = end + 1;
            }
        }
    }
}

/// A header line (`name HCOLON value`) that begins at `start` of the message. Blanks may stand before the colon,
/// folds not (RFC 3261 §25.1).
#[inline]
fn header_line(line: &[u8], start: usize) -> Option<Slot> {
    let colon = lex::first_of(line, 0, *b":")?;
    let mut name = &line[..colon];
    let mut id = HeaderId::at_front(line, colon);
    // A name that somebody cares about is a token.
    if id == HeaderId::Other && lex::span(name, TOKEN) != colon {
        while let [rest @ .., b' ' | b'\t'] = name {
            name = rest;
        }
        if lex::span(name, TOKEN) != name.len() {
            return None;
        }
        id = HeaderId::from_name(name);
    }
    if name.is_empty() {
        return None;
    }
    let (value_start, value_end) = match line[colon + 1..] {
        // As nearly everybody writes it.
        [b' ', b'!'..=u8::MAX, .., b'!'..=u8::MAX] => (colon + 2, line.len()),
        ref value => {
            let start = colon + 1 + lex::skip_lws(value, 0);
            (start, start + lex::trim(&line[start..]).len())
        }
    };
    Some(Slot {
        start: start as u16,
        name_end: (start + name.len()) as u16,
        value_start: (start + value_start) as u16,
        value_end: (start + value_end) as u16,
        id,
    })
}

/// Reads a start line. With a fault comes what can still be told of a request.
fn start_line(line: &[u8]) -> Result<StartLine, (Fault, Option<StartLine>)> {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line).map_err(|fault| (fault, None));
    }
    let method_end = lex::span(line, TOKEN);
    if method_end == 0 || line.get(method_end) != Some(&b' ') {
        return Err((bad("malformed request line"), None));
    }
    let uri_start = method_end + 1;
    let uri_end = uri_start + memchr(b' ', &line[uri_start..]).unwrap_or(line.len() - uri_start);
    let version = line.get(uri_end + 1..).unwrap_or(b"");
    let uri = &line[uri_start..uri_end];
    let is_uri = !uri.is_empty() && uri[0] != b'<' && lex::are_graphic(uri);
    let request = StartLine::Request {
        method_end: method_end as u16,
        uri_start: uri_start as u16,
        uri_end: if is_uri { uri_end } else { uri_start } as u16,
    };
    if is_uri && version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(request);
    }
    // Whatever ends in a version is a request that can be answered.
    let last = lex::trim(line);
    let last = &last[memchr::memrchr(b' ', last).map_or(0, |blank| blank + 1)..];
    if !is_version(last) {
        return Err((bad("malformed request line"), None));
    }
    let fault = if last.eq_ignore_ascii_case(b"SIP/2.0") {
        bad("malformed request line")
    } else {
        Fault { status: 505, reason: "another SIP version" }
    };
    Err((fault, Some(request)))
}

/// `SIP/2.0 SP 3DIGIT SP reason`; the reason may be empty (RFC 4475 §3.1.1.13).
fn status_line(line: &[u8]) -> Result<StartLine, Fault> {
    const MALFORMED: Fault = bad("malformed status line");
    let version_end = memchr(b' ', line).ok_or(MALFORMED)?;
    let version = &line[..version_end];
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(match is_version(version) {
            true => Fault { status: 505, reason: "another SIP version" },
            false => MALFORMED,
        });
    }
    let rest = &line[version_end + 1..];
    let [a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..] = rest else {
        return Err(MALFORMED);
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok(StartLine::Response {
        status: digit(a) * 100 + digit(b) * 10 + digit(c),
        reason_start: (version_end + 5) as u16,
        reason_end: line.len() as u16,
    })
}

/// `SIP/1*DIGIT.1*DIGIT`, in any case (RFC 3261 §7.1).
fn is_version(text: &[u8]) -> bool {
    let Some((b"SIP/" | b"sip/" | b"Sip/", numbers)) = text.split_at_checked(4) else { return false };
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    match memchr(b'.', numbers) {
        Some(point) => is_number(&numbers[..point]) && is_number(&numbers[point + 1..]),
        None => false,
    }
}
