//! The server's side of WebSocket for SIP: pure functions over the driver's buffers.
//!
//! RFC 6455 (§4.2 handshake, §5 frames, §7 closing) and RFC 7118 (§4 subprotocol `sip`, §5.1 one SIP message in one
//! WebSocket message). No extensions: a frame with a reserved bit is a violation. What this is not: a client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sip_message::MESSAGE_OCTETS_MAX;

/// Most octets of a handshake request: browsers send about 1 KB, of which cookies may be a few more.
pub(crate) const HANDSHAKE_OCTETS_MAX: usize = 8 * 1024;
/// Most header lines in a handshake request; browsers send about 20.
const HANDSHAKE_LINES_MAX: usize = 64;
/// Longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_OCTETS_MAX: usize = 125;
/// Longest header of a frame: two octets, a 64-bit length, a mask.
pub(crate) const FRAME_HEADER_OCTETS_MAX: usize = 14;
/// What RFC 6455 §1.3 has hashed with the client's key.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// RFC 6455 §7.4.1.
pub(crate) const CLOSE_NORMAL: u16 = 1000;
/// RFC 6455 §7.4.1.
pub(crate) const CLOSE_GOING_AWAY: u16 = 1001;
const CLOSE_PROTOCOL_ERROR: u16 = 1002;
const CLOSE_NOT_UTF8: u16 = 1007;
const CLOSE_TOO_BIG: u16 = 1009;

/// What a client's opening request came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Not all of it has come.
    Partial,
    /// Answer with `response` and speak WebSocket after `consumed` octets.
    Accepted { consumed: usize, response: String },
    /// Answer with `response` and close.
    Refused { response: String, why: &'static str },
}

/// Reads an opening request. `origins` is the allow-list; empty allows all.
pub(crate) fn upgrade(buffer: &[u8], origins: &[String]) -> Upgrade {
    let mut headers = [httparse::EMPTY_HEADER; HANDSHAKE_LINES_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let consumed = match request.parse(buffer) {
        Ok(httparse::Status::Complete(consumed)) if consumed <= HANDSHAKE_OCTETS_MAX => consumed,
        Ok(httparse::Status::Partial) if buffer.len() <= HANDSHAKE_OCTETS_MAX => return Upgrade::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return refuse("431 Request Header Fields Too Large", "", "the handshake is too long");
        }
        Err(_) => return refuse("400 Bad Request", "", "the handshake is not HTTP"),
    };
    match check_request(&request, origins) {
        Ok(key) => {
            let accept = accept_key(key);
            let response = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
            );
            Upgrade::Accepted { consumed, response }
        }
        Err(refused) => refused,
    }
}

/// RFC 6455 §4.2.1, RFC 7118 §4.1. Returns the client's key.
fn check_request<'h>(request: &httparse::Request<'h, 'h>, origins: &[String]) -> Result<&'h str, Upgrade> {
    const BAD: &str = "400 Bad Request";
    let bad = |why| Err(refuse(BAD, "", why));
    let header = |name| value(request.headers, name);
    if request.method != Some("GET") || request.version != Some(1) {
        return bad("the handshake is no HTTP/1.1 GET");
    }
    if header("Host").is_none() {
        return bad("the handshake has no Host");
    }
    if !has_token(request.headers, "Upgrade", "websocket")
        || !has_token(request.headers, "Connection", "upgrade")
    {
        return Err(refuse(
            "426 Upgrade Required",
            "Upgrade: websocket\r\n",
            "the request asks for no upgrade",
        ));
    }
    if header("Sec-WebSocket-Version") != Some("13") {
        let hint = "Sec-WebSocket-Version: 13\r\n";
        return Err(refuse("426 Upgrade Required", hint, "the WebSocket version is not 13"));
    }
    let Some(key) =
        header("Sec-WebSocket-Key").filter(|key| STANDARD.decode(key).is_ok_and(|k| k.len() == 16))
    else {
        return bad("Sec-WebSocket-Key is no 16 octets in base 64");
    };
    if !has_token(request.headers, "Sec-WebSocket-Protocol", "sip") {
        return bad("the subprotocol sip is not offered");
    }
    let allowed = |origin: &str| origins.is_empty() || origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
    let count = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("Origin")).count();
    if count > 1 || (count == 1 && !header("Origin").is_some_and(allowed)) {
        return Err(refuse("403 Forbidden", "", "the origin is not allowed"));
    }
    Ok(key)
}

fn refuse(status: &str, extra: &str, why: &'static str) -> Upgrade {
    let response = format!("HTTP/1.1 {status}\r\n{extra}Connection: close\r\nContent-Length: 0\r\n\r\n");
    Upgrade::Refused { response, why }
}

fn value<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h str> {
    let header = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    let lines = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
    let values = lines.filter_map(|h| std::str::from_utf8(h.value).ok());
    values.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// RFC 6455 §4.2.2, item 5.4.
fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize())
}

/// What is remembered between frames: a message that comes in fragments.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    fragments: Vec<u8>,
    /// Whether a fragmented message is open, and whether it is text.
    open: Option<bool>,
}

/// What stands at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'b> {
    /// Not all of a frame has come.
    Partial,
    /// A fragment was put aside.
    Fragment,
    /// A whole message in one frame.
    Message(&'b [u8]),
    /// A whole message of several fragments.
    Assembled(Vec<u8>),
    /// Answer with a pong that holds the same.
    Ping(&'b [u8]),
    /// Answers nothing of ours.
    Pong,
    /// The peer closes, with this code where it gave one.
    Close(Option<u16>),
    /// Close with this code.
    Violation(u16, &'static str),
}

impl Reader {
    /// Reads one frame from the front of `buffer` and unmasks it there. Returns how much of the buffer it took.
    pub(crate) fn next<'b>(&mut self, buffer: &'b mut [u8]) -> (usize, Event<'b>) {
        let header = match Header::read(buffer) {
            Ok(Some(header)) => header,
            Ok(None) => return (0, Event::Partial),
            Err((code, why)) => return (0, Event::Violation(code, why)),
        };
        if let Err((code, why)) = self.check(&header) {
            return (0, Event::Violation(code, why));
        }
        let end = header.octets + header.length;
        let Some(payload) = buffer.get_mut(header.octets..end) else {
            return (0, Event::Partial);
        };
        unmask(payload, header.mask);
        (end, self.event(&header, payload))
    }

    /// Whether a fragmented message waits for its end.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Octets of a fragmented message that wait for its end.
    pub(crate) fn held(&self) -> usize {
        self.fragments.len()
    }

    /// What can be refused before the payload has come.
    fn check(&self, header: &Header) -> Result<(), (u16, &'static str)> {
        match header.opcode {
            Opcode::Continuation if self.open.is_none() => {
                Err((CLOSE_PROTOCOL_ERROR, "a continuation continues nothing"))
            }
            Opcode::Text | Opcode::Binary if self.open.is_some() => {
                Err((CLOSE_PROTOCOL_ERROR, "a message starts within another"))
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            _ if self.fragments.len() + header.length > MESSAGE_OCTETS_MAX => {
                Err((CLOSE_TOO_BIG, "the message is too big"))
            }
            _ => Ok(()),
        }
    }

    fn event<'b>(&mut self, header: &Header, payload: &'b [u8]) -> Event<'b> {
        const NOT_UTF8: Event<'_> = Event::Violation(CLOSE_NOT_UTF8, "text that is no UTF-8");
        match header.opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong,
            Opcode::Close => close_event(payload),
            Opcode::Text if header.last && std::str::from_utf8(payload).is_err() => NOT_UTF8,
            Opcode::Text | Opcode::Binary if header.last => Event::Message(payload),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let text = *self.open.get_or_insert(header.opcode == Opcode::Text);
                self.fragments.extend_from_slice(payload);
                if !header.last {
                    return Event::Fragment;
                }
                self.open = None;
                let message = std::mem::take(&mut self.fragments);
                if text && std::str::from_utf8(&message).is_err() {
                    NOT_UTF8
                } else {
                    Event::Assembled(message)
                }
            }
        }
    }
}

/// RFC 6455 §5.5.1 and §7.4.
fn close_event(payload: &[u8]) -> Event<'static> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload.is_empty() {
            true => Event::Close(None),
            false => Event::Violation(CLOSE_PROTOCOL_ERROR, "a close code of one octet"),
        };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        _ if std::str::from_utf8(reason).is_err() => {
            Event::Violation(CLOSE_NOT_UTF8, "text that is no UTF-8")
        }
        1000..=1003 | 1007..=1014 | 3000..=4999 => Event::Close(Some(code)),
        _ => Event::Violation(CLOSE_PROTOCOL_ERROR, "a close code that nobody may send"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

#[derive(Debug)]
struct Header {
    last: bool,
    opcode: Opcode,
    length: usize,
    mask: [u8; 4],
    /// Length of the header itself.
    octets: usize,
}

impl Header {
    /// RFC 6455 §5.2.
    fn read(buffer: &[u8]) -> Result<Option<Header>, (u16, &'static str)> {
        let violation = |why| Err((CLOSE_PROTOCOL_ERROR, why));
        let [first, second, rest @ ..] = buffer else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return violation("a reserved bit is set");
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return violation("an unknown kind of frame"),
        };
        if second & 0x80 == 0 {
            return violation("a frame without a mask");
        }
        let last = first & 0x80 != 0;
        let short = usize::from(second & 0x7f);
        if opcode as u8 >= 8 && (!last || short > CONTROL_OCTETS_MAX) {
            return violation("a control frame that is too long or in fragments");
        }
        let (length, taken) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(octets) => (u64::from(u16::from_be_bytes(*octets)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(octets) => (u64::from_be_bytes(*octets), 8),
                None => return Ok(None),
            },
            short => (short as u64, 0),
        };
        let shortest = match length {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        if taken != shortest {
            return violation("a length that is not in its shortest form");
        }
        let Ok(length) = usize::try_from(length)
            .map_err(drop)
            .and_then(|l| if l > MESSAGE_OCTETS_MAX { Err(()) } else { Ok(l) })
        else {
            return Err((CLOSE_TOO_BIG, "the message is too big"));
        };
        let Some(mask) = rest.get(taken..).and_then(|r| r.first_chunk::<4>()) else {
            return Ok(None);
        };
        Ok(Some(Header { last, opcode, length, mask: *mask, octets: 2 + taken + 4 }))
    }
}

/// RFC 6455 §5.3, eight octets at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= mask;
    }
}

/// Appends a SIP message as one frame: text where it is UTF-8, which browsers hand to scripts as a string
/// (RFC 7118 §5.1 allows both).
pub(crate) fn write_message(message: &[u8], out: &mut Vec<u8>) {
    let opcode = if std::str::from_utf8(message).is_ok() { Opcode::Text } else { Opcode::Binary };
    write_frame(opcode, message, out);
}

/// Appends the answer to a ping.
pub(crate) fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    write_frame(Opcode::Pong, payload, out);
}

/// Appends a close frame.
pub(crate) fn write_close(code: Option<u16>, out: &mut Vec<u8>) {
    match code {
        Some(code) => write_frame(Opcode::Close, &code.to_be_bytes(), out),
        None => write_frame(Opcode::Close, &[], out),
    }
}

fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(Opcode::Text, payload, &mut out);
        out[0] = first;
        out[1] |= 0x80;
        let header = out.len() - payload.len();
        let mask = [0x11, 0x22, 0x33, 0x44];
        let masked: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m).collect();
        out.truncate(header);
        out.extend_from_slice(&mask);
        out.extend_from_slice(&masked);
        out
    }

    fn check(frames: &[Vec<u8>], expected: Event<'_>) {
        let mut reader = Reader::default();
        let (last, before) = frames.split_last().expect("a test has frames");
        for frame in before {
            let mut octets = frame.clone();
            let (taken, event) = reader.next(&mut octets);
            assert_eq!((taken, format!("{event:?}")), (frame.len(), "Fragment".to_owned()));
        }
        let mut last = last.clone();
        let length = last.len();
        let (taken, event) = reader.next(&mut last);
        assert_eq!(event, expected);
        let violation = matches!(event, Event::Violation(..) | Event::Partial);
        assert!(taken == length || violation);
    }

    #[test]
    fn the_key_of_the_rfc_is_accepted() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_of_every_length_form_come_out_unmasked() {
        for length in [1, 7, 8, 125, 126, 0xffff, MESSAGE_OCTETS_MAX] {
            let payload: Vec<u8> = (0..length).map(|i| b'a' + (i % 26) as u8).collect();
            check(&[frame(0x81, &payload)], Event::Message(&payload));
            check(&[frame(0x82, &payload)], Event::Message(&payload));
        }
    }

    #[test]
    fn fragments_are_joined_and_control_frames_may_stand_between() {
        check(
            &[frame(0x01, b"ab"), frame(0x00, b"cd"), frame(0x80, b"ef")],
            Event::Assembled(b"abcdef".into()),
        );
        let mut reader = Reader::default();
        assert_eq!(reader.next(&mut frame(0x01, b"a")).1, Event::Fragment);
        assert_eq!(reader.next(&mut frame(0x89, b"p")).1, Event::Ping(b"p"));
        assert_eq!(reader.next(&mut frame(0x8a, b"p")).1, Event::Pong);
        assert_eq!(reader.next(&mut frame(0x80, b"b")).1, Event::Assembled(b"ab".into()));
        assert!(!reader.is_open());
    }

    #[test]
    fn every_proper_prefix_is_partial() {
        let payload = vec![b'x'; 300];
        let whole = frame(0x81, &payload);
        for end in 0..whole.len() {
            let mut reader = Reader::default();
            assert_eq!(reader.next(&mut whole[..end].to_vec()), (0, Event::Partial));
        }
    }

    #[test]
    fn violations_have_their_codes() {
        let too_big = vec![b'x'; MESSAGE_OCTETS_MAX + 1];
        let half = vec![b'x'; MESSAGE_OCTETS_MAX / 2 + 1];
        let mut unmasked = frame(0x81, b"hello");
        unmasked[1] &= 0x7f;
        let long_form = vec![0x81, 0xfe, 0, 5, 1, 2, 3, 4];
        let table: [(&[Vec<u8>], u16); 13] = [
            (&[unmasked], 1002),
            (&[long_form], 1002),
            (&[frame(0xc1, b"reserved")], 1002),
            (&[frame(0x83, b"opcode")], 1002),
            (&[frame(0x80, b"continues nothing")], 1002),
            (&[frame(0x01, b"a"), frame(0x81, b"b")], 1002),
            (&[frame(0x09, b"ping in fragments")], 1002),
            (&[frame(0x89, &[0; 126])], 1002),
            (&[frame(0x88, &[3])], 1002),
            (&[frame(0x88, &1005u16.to_be_bytes())], 1002),
            (&[frame(0x81, &[0xff, 0xfe])], 1007),
            (&[frame(0x81, &too_big)], 1009),
            (&[frame(0x02, &half), frame(0x80, &half)], 1009),
        ];
        for (frames, expected) in table {
            let mut reader = Reader::default();
            let mut seen = None;
            for frame in frames {
                if let (_, Event::Violation(code, _)) = reader.next(&mut frame.clone()) {
                    seen = Some(code);
                }
            }
            assert_eq!(seen, Some(expected), "{:?}", &frames[0][..2]);
        }
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: xmpp, sip\r\nOrigin: https://im.example\r\n\r\n";

    fn status(request: &str, origins: &[&str]) -> String {
        let origins: Vec<String> = origins.iter().map(|o| (*o).to_owned()).collect();
        match upgrade(request.as_bytes(), &origins) {
            Upgrade::Partial => "partial".to_owned(),
            Upgrade::Accepted { response, .. } | Upgrade::Refused { response, .. } => {
                response[9..12].to_owned()
            }
        }
    }

    #[test]
    fn handshakes_get_their_status() {
        assert_eq!(status(REQUEST, &[]), "101");
        assert_eq!(status(REQUEST, &["https://im.example"]), "101");
        assert_eq!(status(REQUEST, &["https://other.example"]), "403");
        assert_eq!(
            status(&REQUEST.replace("Origin: https://im.example\r\n", ""), &["https://other.example"]),
            "101"
        );
        assert_eq!(status(&REQUEST.replace("xmpp, sip", "xmpp"), &[]), "400");
        assert_eq!(status(&REQUEST.replace("Version: 13", "Version: 8"), &[]), "426");
        assert_eq!(status(&REQUEST.replace("Upgrade: websocket\r\n", ""), &[]), "426");
        assert_eq!(status(&REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), &[]), "400");
        assert_eq!(status(&REQUEST.replace("GET", "POST"), &[]), "400");
        assert_eq!(status("REGISTER sip:a SIP/2.0\r\n\r\n", &[]), "400");
        assert_eq!(status(&REQUEST[..REQUEST.len() - 2], &[]), "partial");
        let long = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(HANDSHAKE_OCTETS_MAX));
        assert_eq!(status(&long, &[]), "431");
    }
}
