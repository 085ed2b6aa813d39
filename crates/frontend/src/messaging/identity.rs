//! What a message is: whether it is kept, and what its resend is recognised by.

use sha2::{Digest, Sha256};
use sip_message::Message;

/// Longest prefix of a CPIM body that is searched for its headers, in octets: real ones have under 500.
const CPIM_HEADER_OCTETS_MAX: usize = 4096;

/// How a MESSAGE is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, a receipt, anything else: committed before it is accepted.
    Kept(Wrapping),
    /// Typing (RFC 3994): carried to devices that are there, never stored.
    Typing,
}

/// What stands around the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    None,
    /// Headers of its own (RFC 3862).
    Cpim,
}

/// Typing, or something to keep.
pub(crate) fn kind(message: &Message) -> Kind {
    let is_typing = |content_type: &str| content_type.eq_ignore_ascii_case("application/im-iscomposing+xml");
    let content_type = message.content_type();
    if content_type.eq_ignore_ascii_case("message/cpim") {
        let typing = cpim_headers(message.body()).any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && is_typing(before_parameters(value))
        });
        return if typing { Kind::Typing } else { Kind::Kept(Wrapping::Cpim) };
    }
    if is_typing(content_type) { Kind::Typing } else { Kind::Kept(Wrapping::None) }
}

/// A digest of the IMDN Message-ID (RFC 5438 §6.3) with the sender, else of From, Call-ID and CSeq. The same for every resend, also after a restart.
pub(crate) fn identity(message: &Message, wrapping: Wrapping, sender: &str) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(sender.as_bytes());
    let message_id = match wrapping {
        Wrapping::Cpim => cpim_message_id(message.body()),
        Wrapping::None => None,
    };
    match message_id {
        Some(id) => {
            hasher.update(b"\0imdn\0");
            hasher.update(id);
        }
        None => {
            hasher.update(b"\0call\0");
            hasher.update(message.call_id().unwrap_or(""));
            hasher.update(message.cseq().map_or(0, |c| c.number).to_be_bytes());
            hasher.update(message.from_tag().unwrap_or(""));
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..16].try_into().expect("32 octets have 16")
}

/// The value of the header `Message-ID` under the prefix that `NS` gives to IMDN (RFC 5438 §6.1).
fn cpim_message_id(body: &[u8]) -> Option<&str> {
    const IMDN: &str = "urn:ietf:params:imdn";
    let prefix = cpim_headers(body).find_map(|(name, value)| {
        let (prefix, urn) = value.split_once('<')?;
        (name == "NS" && urn.trim_end_matches('>') == IMDN).then(|| prefix.trim())
    })?;
    let mut headers = cpim_headers(body);
    headers.find_map(|(name, value)| {
        let local = name.strip_prefix(prefix)?.strip_prefix('.')?;
        (local == "Message-ID").then_some(value)
    })
}

/// The headers of a CPIM message and of the content in it (RFC 3862 §2), up to the content itself.
fn cpim_headers(body: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let head = &body[..body.len().min(CPIM_HEADER_OCTETS_MAX)];
    let mut blocks_left = 2;
    let lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.take_while(move |line| {
        blocks_left -= usize::from(line.is_empty());
        blocks_left > 0
    });
    lines
        .filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
}

fn before_parameters(value: &str) -> &str {
    value.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(call_id: &str, content_type: &str, body: &str) -> Message {
        let text = format!(
            "MESSAGE sip:bob@contoso.example SIP/2.0\r\nFrom: <sip:alice@contoso.example>;tag=1\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 MESSAGE\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    const CPIM: &str = "From: <sip:alice@contoso.example>\r\nTo: <sip:bob@contoso.example>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
                        imdn.Message-ID: 34jk324j\r\n\r\nContent-Type: text/plain\r\n\r\nimdn.Message-ID: not this";

    #[test]
    fn a_resend_is_known_by_its_message_id() {
        let id = |m: &Message| identity(m, Wrapping::Cpim, "alice@contoso.example");
        let first = message("1", "message/cpim", CPIM);
        assert_eq!(id(&first), id(&message("2", "message/cpim", CPIM)));
        assert_ne!(id(&first), id(&message("1", "message/cpim", &CPIM.replace("34jk324j", "other"))));
        assert_ne!(
            id(&first),
            identity(&first, Wrapping::Cpim, "mallory@contoso.example"),
            "another sender's id is another message"
        );
    }

    #[test]
    fn without_a_message_id_call_id_and_cseq_count() {
        let id = |m: &Message| identity(m, Wrapping::None, "alice@contoso.example");
        assert_eq!(id(&message("1", "text/plain", "hi")), id(&message("1", "text/plain", "hi")));
        assert_ne!(id(&message("1", "text/plain", "hi")), id(&message("2", "text/plain", "hi")));
    }

    #[test]
    fn typing_is_seen_plain_and_wrapped() {
        assert_eq!(kind(&message("1", "application/im-iscomposing+xml", "<x/>")), Kind::Typing);
        let wrapped = CPIM.replace(
            "Content-Type: text/plain",
            "Content-Type: application/im-iscomposing+xml; charset=utf-8",
        );
        assert_eq!(kind(&message("1", "Message/CPIM", &wrapped)), Kind::Typing);
        assert_eq!(kind(&message("1", "message/cpim", CPIM)), Kind::Kept(Wrapping::Cpim));
        assert_eq!(kind(&message("1", "message/imdn+xml", "<imdn/>")), Kind::Kept(Wrapping::None));
    }
}
