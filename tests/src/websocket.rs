//! The client's side of a WebSocket (RFC 6455), as far as the tests of SIP over it (RFC 7118) need it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// RFC 6455 §1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of RFC 6455 §5.2")]
pub enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn code(self) -> u8 {
        match self {
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }
}

/// How the server broke RFC 6455.
#[derive(Debug)]
pub struct WebSocketError(pub &'static str);

/// A masked frame (RFC 6455 §5.3); `is_last` is FIN.
pub fn client_frame(opcode: Opcode, is_last: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![opcode.code() | if is_last { 0x80 } else { 0 }];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    frame
}

/// The request that opens a WebSocket, and the Sec-WebSocket-Accept that must answer it.
pub fn upgrade_request(host: &str) -> (String, String) {
    let key = STANDARD.encode(&crate::unique().as_bytes()[..16]);
    let accept = STANDARD.encode(Sha1::digest(format!("{key}{ACCEPT_SUFFIX}")));
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    );
    (request, accept)
}

/// Whether `answer` opens the WebSocket, with the subprotocol `sip` (RFC 7118 §4.1).
pub(crate) fn check_upgrade(answer: &[u8], accept: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer).into_owned();
    let header = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let is_open = text.starts_with("HTTP/1.1 101 ")
        && header("sec-websocket-accept").as_deref() == Some(accept)
        && header("sec-websocket-protocol").as_deref() == Some("sip");
    if is_open { Ok(()) } else { Err(text) }
}

/// Takes a server's frames apart.
#[derive(Default)]
pub(crate) struct Decoder {
    fragments: Option<(Opcode, Vec<u8>)>,
}

impl Decoder {
    /// The next whole message or control frame at the front of `buffer`.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Option<(Opcode, Vec<u8>)>, WebSocketError> {
        loop {
            let Some((first, payload)) = take_frame(buffer)? else { return Ok(None) };
            let is_last = first & 0x80 != 0;
            let opcode = match first & 0x0f {
                0 => {
                    let (opcode, mut whole) =
                        self.fragments.take().ok_or(WebSocketError("continuation of nothing"))?;
                    whole.extend_from_slice(&payload);
                    if is_last {
                        return Ok(Some((opcode, whole)));
                    }
                    self.fragments = Some((opcode, whole));
                    continue;
                }
                1 => Opcode::Text,
                2 => Opcode::Binary,
                8 => Opcode::Close,
                9 => Opcode::Ping,
                10 => Opcode::Pong,
                _ => return Err(WebSocketError("reserved opcode")),
            };
            if is_last {
                return Ok(Some((opcode, payload)));
            }
            self.fragments = Some((opcode, payload));
        }
    }
}

fn take_frame(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, WebSocketError> {
    let [first, second, rest @ ..] = buffer.as_slice() else { return Ok(None) };
    let first = *first;
    if second & 0x80 != 0 {
        return Err(WebSocketError("a server must not mask"));
    }
    let (length, head) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(octets) => (u64::from(u16::from_be_bytes(*octets)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(octets) => (u64::from_be_bytes(*octets), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let end = head + usize::try_from(length).map_err(|_| WebSocketError("a frame beyond memory"))?;
    if buffer.len() < end {
        return Ok(None);
    }
    let payload = buffer[head..end].to_vec();
    buffer.drain(..end);
    Ok(Some((first, payload)))
}
