use bytes::Bytes;

use crate::*;

/// A request with these lines behind its start line, well formed if they are.
fn request(lines: &str) -> String {
    format!(
        "OPTIONS sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
         From: <sip:a@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n{lines}\r\n"
    )
}

fn parse(octets: impl AsRef<[u8]>) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(octets.as_ref()))
}

fn status(octets: impl AsRef<[u8]>) -> u16 {
    match parse(octets) {
        Ok(message) => message.validate().map_or_else(|rejection| rejection.status, |()| 200),
        Err(error) => error.status,
    }
}

#[test]
fn a_request() {
    let message = parse(
        request("X-Y: z\r\nx-y: w\r\nk: a, B\r\nSubject:\r\nc : text/plain ;charset=x\r\nl: 2\r\n") + "hi",
    )
    .unwrap();
    message.validate().unwrap();
    assert!(message.is_request());
    assert_eq!(message.method(), Method::Options);
    assert_eq!(message.request_uri_text(), "sip:bob@b.example");
    assert_eq!((message.status(), message.reason_phrase()), (None, &b""[..]));
    assert_eq!(message.header_named("X-y"), Some(&b"z"[..]));
    assert_eq!(message.header_named("supported"), Some(&b"a, B"[..]));
    assert_eq!(message.header(HeaderId::Subject), Some(&b""[..]));
    assert_eq!(message.header(HeaderId::Expires), None);
    assert!(message.has_option(HeaderId::Supported, "b"));
    assert!(!message.has_option(HeaderId::Supported, "c"));
    assert_eq!(message.content_type(), "text/plain");
    assert_eq!(message.body(), b"hi");
    assert_eq!(message.call_id(), Ok("c"));
    assert_eq!(message.max_forwards(), Ok(None));
    assert_eq!(message.headers().count(), 11);
}

#[test]
fn a_response() {
    let text = request("").replacen("OPTIONS sip:bob@b.example SIP/2.0", "sip/2.0 486 Besch\u{e4}ftigt", 1);
    let message = parse(&text).unwrap();
    message.validate().unwrap();
    assert_eq!(message.status(), Some(486));
    assert_eq!(message.reason_phrase(), "Besch\u{e4}ftigt".as_bytes());
    assert_eq!(message.method(), Method::Options);
    assert_eq!(message.request_uri_text(), "");
    assert!(message.request_uri().is_err());
}

#[test]
fn start_lines() {
    for (line, wanted) in [
        ("OPTIONS sip:b@b.example SIP/2.0", 200),
        ("OPTIONS sip:b@b.example sip/2.0", 200),
        ("OPTIONS  sip:b@b.example SIP/2.0", 400),
        ("OPTIONS sip:b@b.example  SIP/2.0", 400),
        ("OPTIONS sip:b@b.example SIP/2.0 ", 400),
        (" OPTIONS sip:b@b.example SIP/2.0", 400),
        ("OPTIONS <sip:b@b.example> SIP/2.0", 400),
        ("OPTIONS sip:b@b.example; lr SIP/2.0", 400),
        ("OPTIONS sip:b@b.example", 400),
        ("OPTIONS sip:b@b.example HTTP/1.1", 400),
        ("OPTIONS sip:b@b.example SIP/7.0", 505),
        ("OPTIONS sip:b@b.example SIP/2.00", 505),
        ("OPTIONS sip:b@b.example SIP/2.", 400),
        ("OPTIONS sip:b@b.example?Route=x SIP/2.0", 400),
        ("OPTIONS sip:b\u{f6}@b.example SIP/2.0", 400),
        ("OPTIONS x:y SIP/2.0", 200),
        ("OPTI(ONS sip:b@b.example SIP/2.0", 400),
        ("options sip:b@b.example SIP/2.0", 501),
        ("INVITE sip:b@b.example SIP/2.0", 400),
        ("SIP/2.0 200 OK", 200),
        ("SIP/2.0 200 ", 200),
        ("SIP/2.0 200", 400),
        ("SIP/2.0 99 x", 400),
        ("SIP/2.0 099 x", 400),
        ("SIP/2.0 700 x", 400),
        ("SIP/2.0 2000 x", 400),
        ("SIP/2.0  200 x", 400),
        ("SIP/3.0 200 x", 505),
        ("SIP/x 200 x", 400),
        ("", 400),
    ] {
        let text = request("").replacen("OPTIONS sip:bob@b.example SIP/2.0", line, 1);
        let text = if line.is_empty() { text.trim_start().to_owned() } else { text };
        assert_eq!(status(&text), wanted, "{line:?}");
    }
}

#[test]
fn header_lines() {
    for (lines, wanted) in [
        ("", 200),
        ("X:\r\n", 200),
        ("X \t: y\r\n", 200),
        ("X: y\r\n\tz\r\n \r\n  u\r\n", 200),
        ("X%20: y\r\n", 200),
        ("X\r\n : y\r\n", 400),
        ("X y: z\r\n", 400),
        (": y\r\n", 400),
        ("X\r\n", 400),
        ("X: y\n", 400),
        ("X: y\rz\r\n", 400),
        ("X: \u{0}\u{7f}\u{e4}\r\n", 200),
        ("Max-Forwards: 255\r\n", 200),
        ("Max-Forwards: 256\r\n", 400),
        ("Max-Forwards: -1\r\n", 400),
        ("Max-Forwards: 1\r\nmax-forwards: 1\r\n", 400),
        ("Max-Forwards:\r\n", 400),
        ("f: <sip:a@a.example>\r\n", 400),
        ("CSeq: 1 OPTIONS\r\n", 400),
        ("i: d\r\n", 400),
        ("Contact: *\r\n", 200),
        ("Contact: *\r\nm: <sip:a@a.example>\r\n", 400),
        ("Contact: <sip:a@a.example>\r\nm: *\r\n", 400),
        ("Contact: <sip:a@a.example>,\r\n", 400),
        ("Contact: sip:user@example.com?Route=x\r\n", 400),
        ("Route: <sip:a@a.example;lr>, <sip:b.example>\r\n", 200),
        ("Route: <sip:a@a.example;lr>,, <sip:b.example>\r\n", 400),
        ("Record-Route: <sip:[::1>\r\n", 400),
        ("Date: Fri, 01 Jan 2010 16:00:00 EST\r\n", 400),
        ("Via: SIP/2.0/UDP b.example;branch=z9hG4bK\r\n", 400),
        ("Via: SIP/2.0/UDP b.example\r\n", 200),
        ("Via: SIP/2.0/UDP b.example,\r\n", 400),
        ("Content-Length: 0\r\n", 200),
        ("Content-Length:\r\n\t 00\r\n", 200),
        ("Content-Length: 1\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +0\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 0, 0\r\n", 400),
        ("Content-Length: 0\r\nl: 0\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 400),
    ] {
        assert_eq!(status(request(lines)), wanted, "{lines:?}");
    }
}

#[test]
fn what_every_request_needs() {
    for (name, reason) in [
        ("Via", "Via is missing"),
        ("From", "From is missing"),
        ("To", "To is missing"),
        ("Call-ID", "Call-ID is missing"),
        ("CSeq", "CSeq is missing"),
    ] {
        let text = request("").replacen(&format!("\r\n{name}:"), "\r\nX:", 1);
        let rejection = parse(&text).unwrap().validate().unwrap_err();
        assert_eq!(rejection, Rejection { status: 400, reason });
    }
}

#[test]
fn octets_behind_the_body_are_dropped() {
    let message = parse(request("Content-Length: 2\r\n") + "hithere").unwrap();
    assert_eq!(message.body(), b"hi");
    assert!(message.bytes().ends_with(b"\r\n\r\nhi"));
    assert_eq!(parse(request("") + "hithere").unwrap().body(), b"hithere");
}

#[test]
fn leading_empty_lines_are_skipped() {
    let message = parse(format!("\r\n\r\n{}", request(""))).unwrap();
    assert!(message.bytes().starts_with(b"OPTIONS"));
    assert_eq!(message.call_id(), Ok("c"));
}

#[test]
fn a_fault_leaves_what_can_be_answered() {
    let text = request("bad line\r\nTimestamp: 1\r\n");
    let error = parse(&text).unwrap_err();
    let request = error.answerable.expect("a request with a Via");
    assert_eq!(request.method(), Method::Options);
    assert_eq!(request.call_id(), Ok("c"));
    assert_eq!(request.header(HeaderId::Timestamp), Some(&b"1"[..]));

    let torn = text.replacen("Call-ID: c", "Call-ID: c\nX-Evil: 1", 1);
    let request = parse(&torn).unwrap_err().answerable.expect("a request with a Via");
    assert_eq!(request.header(HeaderId::CallId), None, "nothing that would tear the answer");

    let version = text.replacen("SIP/2.0\r\n", "SIP/3.0\r\n", 1);
    let error = parse(&version).unwrap_err();
    assert_eq!((error.status, error.answerable.is_some()), (505, true));
    assert!(parse("OPTIONS sip:b@b.example SIP/2.0\r\nFrom\r\n\r\n").unwrap_err().answerable.is_none());
    assert!(
        parse("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a.example\r\nx\r\n\r\n").unwrap_err().answerable.is_none()
    );
    for text in ["", "\r\n\r\n", "\0", "OPTIONS", "OPTIONS sip:b@b.example SIP/2.0\r\n"] {
        assert!(parse(text).unwrap_err().answerable.is_none(), "{text:?}");
    }
}

#[test]
fn limits() {
    let lines = |count: usize| request(&"X: y\r\n".repeat(count - 5));
    assert_eq!(status(lines(HEADER_LINES_MAX)), 200);
    let error = parse(lines(HEADER_LINES_MAX + 1)).unwrap_err();
    assert_eq!((error.status, error.answerable.is_some()), (513, true));

    let block = |octets: usize| {
        let rest = octets - request("X: \r\n").len();
        request(&format!("X: {}\r\n", "y".repeat(rest)))
    };
    assert_eq!(block(HEADER_BLOCK_OCTETS_MAX).len(), HEADER_BLOCK_OCTETS_MAX);
    assert_eq!(status(block(HEADER_BLOCK_OCTETS_MAX)), 200);
    assert_eq!(status(block(HEADER_BLOCK_OCTETS_MAX + 1)), 513);

    let body = |octets: usize| request("") + &"z".repeat(octets - request("").len());
    assert_eq!(status(body(MESSAGE_OCTETS_MAX)), 200);
    assert_eq!(status(body(MESSAGE_OCTETS_MAX + 1)), 513);
}

#[test]
fn values_that_are_no_text_stay_octets() {
    let mut octets = request("Subject: X\r\n").into_bytes();
    let x = octets.iter().rposition(|&octet| octet == b'X').unwrap();
    octets[x] = 0xe4;
    let message = parse(&octets).unwrap();
    message.validate().unwrap();
    assert_eq!(message.header(HeaderId::Subject), Some(&b"\xe4"[..]));
    let call_id = memchr::memmem::find(&octets, b": c\r\n").unwrap();
    octets[call_id + 2] = 0xe4;
    assert_eq!(parse(&octets).unwrap().call_id(), Err(HeaderError::Malformed("Call-ID")));
}

#[test]
fn numbers() {
    let number =
        |value: &str| parse(request(&format!("Expires: {value}\r\n"))).unwrap().number(HeaderId::Expires);
    assert_eq!(number("0003600"), Ok(Some(3600)));
    assert_eq!(number("4294967295"), Ok(Some(u32::MAX)));
    assert_eq!(number("4294967296"), Err(HeaderError::Malformed("Expires")));
    assert_eq!(number("x"), Err(HeaderError::Malformed("Expires")));
    assert_eq!(number("1\r\nExpires: 1"), Err(HeaderError::Repeated("Expires")));
    assert_eq!(parse(request("")).unwrap().number(HeaderId::Expires), Ok(None));
}

#[test]
fn what_validate_remembers_is_what_parsing_gives() {
    let values = |message: &Message| {
        let start = (message.method(), message.request_uri(), message.max_forwards());
        let transaction = (message.top_via(), message.call_id(), message.cseq());
        format!("{start:?}\n{transaction:?}\n{:?}\n{:?}", message.from(), message.to())
    };
    for (from, to) in [
        ("OPTIONS sip:bob@b.example SIP/2.0", "OPTIONS sips:bob:secret@[2001:db8::1]:5061;a=b;lr SIP/2.0"),
        ("OPTIONS sip:bob@b.example SIP/2.0", "OPTIONS tel:+1-201;isub=1 SIP/2.0"),
        ("OPTIONS sip:bob@b.example SIP/2.0", "OPTIONS urn:service:sos SIP/2.0"),
        ("OPTIONS sip:bob@b.example SIP/2.0", "SIP/2.0 200 OK"),
        ("Via: SIP/2.0/UDP a.example", "Via:\r\nv: SIP / 2.0 /\r\n TCP\t192.0.2.1 : 5060"),
        ("z9hG4bK1\r\n", "z9hG4bK1 ; rport , SIP/2.0/UDP [::1]:5062;branch=2\r\nMax-Forwards: 007\r\n"),
        ("From: <sip:a@a.example>;tag=1", "f: \"A, \\\"<b>\" \r\n <tel:911>\t; x=\"\u{e4};\" ;tag = 1"),
        ("From: <sip:a@a.example>;tag=1", "From: \u{e4} <http://a.example/?q>;tag=1"),
        ("To: <sip:bob@b.example>", "To: sip:bob@192.0.2.7:5060;tag=2 "),
        ("CSeq: 1 OPTIONS", "CSeq: 4294967295\r\n OPTIONS"),
    ] {
        let text = request("").replacen(from, to, 1);
        assert!(text.contains(to), "{to:?} stands there");
        let message = parse(&text).unwrap();
        let parsed = values(&message);
        message.validate().unwrap_or_else(|rejection| panic!("{to:?}: {rejection}"));
        assert_eq!(values(&message), parsed);
        assert_eq!(values(&message.clone()), parsed);
        assert_eq!(message.validate(), Ok(()));
    }
}

/// Messages are moved into transactions and queues: a copy of some cache lines, not more.
#[test]
fn a_message_is_small() {
    assert!(size_of::<Message>() <= 6 * 64, "{}", size_of::<Message>());
}
