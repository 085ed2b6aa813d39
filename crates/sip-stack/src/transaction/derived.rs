//! Requests that the layer makes from an INVITE of its user: ACK (RFC 3261 §17.1.1.3) and CANCEL (RFC 3261 §9.1).

use bytes::Bytes;
use sip_message::{HeaderId, Message, Method};

/// RFC 3261 §8.1.1.6.
const MAX_FORWARDS: &[u8] = b"70";

/// The ACK of a 3xx-6xx response. `None` where the INVITE cannot be read (its user made it too large for any peer).
pub(super) fn ack(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    write(&invite, Method::Ack, response.header(HeaderId::To)?, None)
}

/// The CANCEL of an INVITE. `None` as for [`ack`].
pub(super) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    let invite = Message::parse(invite.clone()).ok()?;
    write(&invite, Method::Cancel, invite.header(HeaderId::To)?, reason)
}

fn write(invite: &Message, method: Method<'_>, to: &[u8], reason: Option<&str>) -> Option<Bytes> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(method.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(invite.request_uri_text().as_bytes());
    text.extend_from_slice(b" SIP/2.0\r\n");
    push(&mut text, b"Via", invite.top_via().ok()?.text);
    push(&mut text, b"Max-Forwards", MAX_FORWARDS);
    for route in invite.headers().filter(|header| header.id == HeaderId::Route) {
        push(&mut text, b"Route", route.value);
    }
    push(&mut text, b"From", invite.header(HeaderId::From)?);
    push(&mut text, b"To", to);
    push(&mut text, b"Call-ID", invite.header(HeaderId::CallId)?);
    let cseq = format!("{} {}", invite.cseq().ok()?.number, method.as_str());
    push(&mut text, b"CSeq", cseq.as_bytes());
    if let Some(reason) = reason {
        // The value came from a stranger's message, perhaps folded.
        push(&mut text, b"Reason", reason.replace(['\r', '\n'], " ").as_bytes());
    }
    push(&mut text, b"Content-Length", b"0");
    text.extend_from_slice(b"\r\n");
    Some(Bytes::from(text))
}

fn push(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
