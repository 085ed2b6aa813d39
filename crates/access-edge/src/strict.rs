//! The strict reading: what two parsers could read differently does not pass.
//!
//! Whoever stands behind an edge acts on what the edge believed to have checked. So every message that an honest reader might
//! cut, join or choose differently is refused here, though RFC 3261 allows some of it: blanks before a colon, folded lines of
//! headers that say who sends, where to or how long, or that look like headers themselves; a header twice that stands once;
//! octets that end a text elsewhere. COMPAT: other headers may be folded, as Cisco and Cirpack do with theirs.
//! `Message::parse` and `Message::validate` have refused before what no reader may accept: a CR or LF alone, two
//! Content-Lengths, a body that is shorter than stated, doubled From, To, Call-ID, CSeq and Max-Forwards.

use sip_message::{Header, HeaderId, Message};

/// Headers that stand once, besides those that `validate` counts: a second one would be for the reader who looks at the last.
const ONCE: [HeaderId; 16] = [
    HeaderId::ContentType,
    HeaderId::ContentDisposition,
    HeaderId::Date,
    HeaderId::Event,
    HeaderId::Expires,
    HeaderId::MaxBreadth,
    HeaderId::MimeVersion,
    HeaderId::MinExpires,
    HeaderId::RAck,
    HeaderId::RSeq,
    HeaderId::ReferTo,
    HeaderId::ReferredBy,
    HeaderId::Replaces,
    HeaderId::SessionExpires,
    HeaderId::SipIfMatch,
    HeaderId::SubscriptionState,
];

/// Headers that are not folded: who sends, where to, which dialog, how long.
const UNFOLDED: [HeaderId; 20] = [
    HeaderId::CSeq,
    HeaderId::CallId,
    HeaderId::Contact,
    HeaderId::ContentLength,
    HeaderId::ContentType,
    HeaderId::Event,
    HeaderId::From,
    HeaderId::Identity,
    HeaderId::MaxForwards,
    HeaderId::PAssertedIdentity,
    HeaderId::PPreferredIdentity,
    HeaderId::Path,
    HeaderId::RecordRoute,
    HeaderId::ReferTo,
    HeaderId::ReferredBy,
    HeaderId::Replaces,
    HeaderId::Route,
    HeaderId::ServiceRoute,
    HeaderId::To,
    HeaderId::Via,
];

/// Looks at a message and at the octets that it was parsed from; says what could be read in two ways.
pub(crate) fn check(octets: &[u8], message: &Message) -> Result<(), &'static str> {
    let leading = octets.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2;
    if octets.len() - leading != message.bytes().len() {
        return Err("there are octets behind the body");
    }
    let (mut once, mut seen_once) = (0u128, 0u128);
    for id in ONCE {
        once |= 1 << id as u8;
    }
    for header in message.headers() {
        check_line(message.bytes(), &header)?;
        if header.id == HeaderId::Other {
            continue;
        }
        let bit = 1u128 << header.id as u8;
        if once & seen_once & bit != 0 {
            return Err("a header stands more than once that stands once");
        }
        seen_once |= bit;
    }
    let head = &message.bytes()[..message.bytes().len() - message.body().len()];
    if holds_control(head) {
        return Err("a header holds a control character");
    }
    Ok(())
}

fn check_line(bytes: &[u8], header: &Header<'_>) -> Result<(), &'static str> {
    let behind = header.name.as_ptr().addr() - bytes.as_ptr().addr() + header.name.len();
    if bytes.get(behind) != Some(&b':') {
        return Err("a blank stands before the colon of a header");
    }
    // A fold may stand before the value too.
    let end = header.value.as_ptr().addr() - bytes.as_ptr().addr() + header.value.len();
    let value = &bytes[behind + 1..end];
    let mut continuations = value.split(|byte| matches!(byte, b'\r' | b'\n')).skip(1).peekable();
    if continuations.peek().is_none() {
        return Ok(());
    }
    let is_ours = || header.name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"Chancery-"));
    if UNFOLDED.contains(&header.id) || is_ours() {
        return Err("a header is folded that says who, where to or how long");
    }
    if continuations.any(looks_like_header) {
        return Err("the continuation of a folded header could be taken for a header");
    }
    Ok(())
}

/// Whether a reader that does not join lines would find a header here.
fn looks_like_header(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = line[..colon].trim_ascii();
    // RFC 3261 §25.1, `token`.
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte))
}

/// Whether there is a control character among the octets. Many are looked at together: without a way out between them the
/// compiler compares them at once.
fn holds_control(octets: &[u8]) -> bool {
    octets.chunks(64).any(|chunk| chunk.iter().fold(false, |found, byte| found | is_control(*byte)))
}

/// What no text holds: everything below the blank but tabs and line ends (RFC 3261 §25.1 lets them be quoted).
fn is_control(byte: u8) -> bool {
    (byte < b' ') & (byte != b'\t') & (byte != b'\r') & (byte != b'\n') | (byte == 0x7f)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// What is said of a MESSAGE with these further lines, `\n` for line ends.
    fn reading(lines: &str, behind: &str) -> Result<(), &'static str> {
        let text = format!(
            "MESSAGE sip:a@a.example SIP/2.0\nVia: SIP/2.0/TLS b.example;branch=z9hG4bK1\nFrom: <sip:b@b.example>;tag=1\n\
             To: <sip:a@a.example>\nCall-ID: 1\nCSeq: 1 MESSAGE\n{lines}Content-Length: 2\n\nhi{behind}"
        );
        let octets = Bytes::from(text.replace('\n', "\r\n"));
        match Message::parse(octets.clone()) {
            Err(error) => Err(error.reason),
            Ok(message) => match message.validate() {
                Err(rejection) => Err(rejection.reason),
                Ok(()) => check(&octets, &message),
            },
        }
    }

    #[test]
    fn an_honest_message_passes() {
        assert_eq!(reading("", ""), Ok(()));
        assert_eq!(
            reading("Subject: a\n b\nX-Thing:\n a=\"sip:x\",\n\tc d: e\n", ""),
            Ok(()),
            "folds of others"
        );
        assert_eq!(
            reading("P-Asserted-Identity: <sip:b@b.example>\nP-Asserted-Identity: <tel:+1>\n", ""),
            Ok(())
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_does_not_pass() {
        let blank = Err("a blank stands before the colon of a header");
        assert_eq!(reading("P-Asserted-Identity : <sip:x@x.example>\n", ""), blank);
        assert_eq!(reading("Subject\t: x\n", ""), blank);
        let folded = Err("a header is folded that says who, where to or how long");
        let hidden = Err("the continuation of a folded header could be taken for a header");
        assert_eq!(reading("X-Thing: a\n From: <sip:x@x.example>\n", ""), hidden);
        assert_eq!(reading("Subject: a\n b\n\tRoute : <sip:x;lr>\n", ""), hidden);
        assert_eq!(reading("P-Asserted-Identity:\n <sip:x@x.example>\n", ""), folded);
        assert_eq!(reading("Route: <sip:x.example;lr>,\n <sip:y.example;lr>\n", ""), folded);
        assert_eq!(reading("Chancery-origin: partner;\n domain=x\n", ""), folded);
        let twice = Err("a header stands more than once that stands once");
        assert_eq!(reading("Expires: 1\nExpires: 2\n", ""), twice);
        assert_eq!(reading("o: presence\nEvent: reg\n", ""), twice);
        let control = Err("a header holds a control character");
        assert_eq!(reading("Subject: a\0b\n", ""), control);
        assert_eq!(reading("Subject: a\u{b}b\n", ""), control);
        assert_eq!(reading("", "more"), Err("there are octets behind the body"));
    }

    #[test]
    fn what_no_reader_may_accept_was_refused_before() {
        assert_eq!(reading("Content-Length: 1\n", ""), Err("Content-Length stands more than once"));
        assert_eq!(reading("l: 1\n", ""), Err("Content-Length stands more than once"));
        assert_eq!(reading("From: <sip:c@c.example>;tag=2\n", ""), Err("From stands more than once"));
        assert_eq!(reading("Subject: a\rb\n", ""), Err("CR or LF alone in the headers"));
    }
}
