//! What holds for any input.

use bytes::Bytes;
use proptest::prelude::*;
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{
    AuthParams, Edit, HeaderId, Host, Message, Method, NameAddr, RequestBuilder, ResponseBuilder, Uri, Via,
    sdp,
};

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,12}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9-]{0,6}[a-z0-9])?",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ]
}

fn uri() -> impl Strategy<Value = String> {
    let user = proptest::option::of("([a-zA-Z0-9_.!~*'()&=+$,;?/-]|%[0-9A-Fa-f]{2}){1,10}");
    let params = proptest::collection::vec("[a-z]{1,6}(=[a-zA-Z0-9:/+$.-]{1,6})?", 0..3);
    (any::<bool>(), user, host(), proptest::option::of(any::<u16>()), params).prop_map(
        |(is_secure, user, host, port, params)| {
            let scheme = if is_secure { "sips" } else { "sip" };
            let user = user.map_or(String::new(), |user| user + "@");
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let params: String = params.iter().map(|param| format!(";{param}")).collect();
            format!("{scheme}:{user}{host}{port}{params}")
        },
    )
}

fn quoted() -> impl Strategy<Value = String> {
    "[ -~\u{e4}]{0,12}".prop_map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn name_addr() -> impl Strategy<Value = String> {
    (proptest::option::of(quoted()), uri(), proptest::option::of(token()), proptest::option::of(quoted()))
        .prop_map(|(display, uri, tag, parameter)| {
            let tag = tag.map_or(String::new(), |tag| format!(" ;\r\n tag = {tag}"));
            let parameter = parameter.map_or(String::new(), |value| format!(";x={value}"));
            format!("{}<{uri}>{tag}{parameter}", display.unwrap_or_default())
        })
}

/// Well-formed requests.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let other = proptest::collection::vec((token(), "[ -~\u{80}-\u{ff}]{0,20}(\r\n [!-~]{1,9})?"), 0..6)
        .prop_map(|headers| {
            let is_other = |name: &str| HeaderId::from_name(name.as_bytes()) == HeaderId::Other;
            headers.into_iter().filter(|(name, _)| is_other(name)).collect::<Vec<_>>()
        });
    let routes = proptest::collection::vec(name_addr(), 0..4);
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    (token(), uri(), name_addr(), name_addr(), host(), any::<u32>(), routes, other, body).prop_map(
        |(method, uri, from, to, host, number, routes, other, body)| {
            let mut text = format!(
                "{method} {uri} SIP/2.0\r\nv: SIP / 2.0/UDP {host};branch=z9hG4bK1\r\nFrom:{from}\r\nTO : {to}\r\n\
                 Call-ID: c@d\r\nCSeq: {number}\r\n {method}\r\n"
            );
            if !routes.is_empty() {
                text += &format!("Route: {}\r\n", routes.join(" ,"));
            }
            for (name, value) in other {
                text += &format!("{name}: {value}\r\n");
            }
            text += &format!("l: {}\r\n\r\n", body.len());
            [text.as_bytes(), &body].concat()
        },
    )
}

fn parse(octets: &[u8]) -> Message {
    let message = Message::parse(Bytes::copy_from_slice(octets)).expect("a generated request parses");
    message.validate().expect("a generated request is well formed");
    message
}

/// Octets of a request with some of them changed, gone or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..6);
    (request(), edits).prop_map(|(mut octets, edits)| {
        for (at, kind, value) in edits {
            let at = at.index(octets.len());
            match kind {
                0 => octets[at] = value,
                1 => octets[at] = b" \r\n\t;,<>\"\\:@%="[usize::from(value) % 14],
                2 => drop(octets.remove(at)),
                _ => octets.insert(at, octets[at]),
            }
            if octets.is_empty() {
                octets.push(value);
            }
        }
        octets
    })
}

/// What the typed accessors say, in every detail.
fn values(message: &Message) -> String {
    format!(
        "{:?}\n{:?} {:?} {:?}\n{:?}\n{:?}\n{:?}\n{:?} {:?}",
        message.method(),
        message.request_uri(),
        message.top_via(),
        message.max_forwards(),
        message.from(),
        message.to(),
        message.contacts(),
        message.call_id(),
        message.cseq(),
    )
}

/// Reads everything there is, of a message that may be nonsense.
fn read_everything(octets: &[u8]) {
    let message = match Message::parse(Bytes::copy_from_slice(octets)) {
        Ok(message) => message,
        Err(error) => match error.answerable {
            Some(message) => *message,
            None => return,
        },
    };
    let parsed = values(&message);
    let is_valid = message.validate().is_ok();
    assert_eq!(values(&message), parsed, "what validate remembers is what the octets say");
    assert_eq!(values(&message.clone()), parsed, "and so does a clone");
    assert_eq!(message.validate().is_ok(), is_valid, "the verdict stays");
    let readable = [
        message.top_via().is_ok(),
        message.from().is_ok(),
        message.to().is_ok(),
        message.call_id().is_ok(),
        message.cseq().is_ok(),
        message.max_forwards().is_ok(),
        message.contacts().is_ok(),
    ];
    assert!(!is_valid || readable.iter().all(|&is_ok| is_ok), "what validate lets pass can be read");
    for header in message.headers() {
        assert_eq!(HeaderId::from_name(header.name), header.id);
        let _ = AuthParams::parse(header.value).map(|auth| auth.iter().count());
    }
    if message.is_request() {
        let response = ResponseBuilder::new(&message, 400).to_tag("x").build();
        let response = Message::parse(response).expect("a response parses");
        assert!(!is_valid || response.validate().is_ok(), "the response to a valid request is valid");
    }
}

/// A response, put together line by line.
fn simple_response(request: &Message, top_via: Option<&str>, tag: &str) -> Vec<u8> {
    let start_of = |part: &[u8]| part.as_ptr().addr() - request.bytes().as_ptr().addr();
    let line = |header: &sip_message::Header<'_>| {
        let end = start_of(header.value) + header.value.len();
        [&request.bytes()[start_of(header.name)..end], b"\r\n"].concat()
    };
    let one_line = |value: &[u8]| {
        let blank = |octet: &u8| if matches!(octet, b'\r' | b'\n') { b' ' } else { *octet };
        value.iter().map(blank).collect::<Vec<u8>>()
    };
    let mut written = b"SIP/2.0 100 Trying\r\n".to_vec();
    let mut top_via = top_via;
    for header in request.headers().filter(|header| header.id == HeaderId::Via) {
        match top_via.filter(|_| !header.value.is_empty()) {
            Some(element) => {
                let mut elements = request.elements(HeaderId::Via);
                let first = elements.next().expect("a value that is not empty has an element");
                let rest = one_line(&header.value[first.len()..]);
                written.extend([b"Via: ", element.as_bytes(), &rest, b"\r\n"].concat());
                top_via = None;
            }
            None => written.extend(line(&header)),
        }
    }
    written.extend(request.headers().filter(|h| h.id == HeaderId::RecordRoute).flat_map(|h| line(&h)));
    for id in [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq, HeaderId::Timestamp] {
        let Some(header) = request.headers().find(|header| header.id == id) else { continue };
        let has_tag = NameAddr::parse(header.value).is_ok_and(|to| to.tag().is_some());
        if id == HeaderId::To && !has_tag {
            let value = one_line(header.value);
            written.extend([b"To: ", &value[..], b";tag=", tag.as_bytes(), b"\r\n"].concat());
        } else {
            written.extend(line(&header));
        }
    }
    written.extend(b"Subject: x\r\nContent-Length: 0\r\n\r\n");
    written
}

proptest! {
    #[test]
    fn responses_are_those_of_a_simple_reading(
        octets in mutated(),
        top_via in proptest::option::of("[ -~]{0,40}"),
    ) {
        let message = match Message::parse(Bytes::from(octets)) {
            Ok(message) => message,
            Err(error) => match error.answerable {
                Some(message) => *message,
                None => return Ok(()),
            },
        };
        prop_assume!(message.is_request());
        for is_validated in [false, true] {
            if is_validated && message.validate().is_err() {
                break;
            }
            let mut builder = ResponseBuilder::new(&message, 100);
            builder.to_tag("x1").copy_record_route().header(HeaderId::Subject, "x");
            let (response, wanted) = match (&top_via, message.top_via()) {
                (Some(element), Ok(via)) => (
                    builder.build_with_top_via(&via, element.as_bytes()),
                    simple_response(&message, Some(element), "x1"),
                ),
                _ => (builder.build(), simple_response(&message, None, "x1")),
            };
            prop_assert_eq!(String::from_utf8_lossy(&response), String::from_utf8_lossy(&wanted));
        }
    }

    #[test]
    fn printing_keeps_octets_and_meaning(octets in request()) {
        let message = parse(&octets);
        let written = Edit::new(&message).write();
        let indexed = Edit::new(&message).write_message().expect("no larger than it was");
        prop_assert_eq!(format!("{:?}", indexed), format!("{:?}", Message::parse(written.clone()).expect("parses")));
        prop_assert_eq!(&written[..], &octets[..]);
    }

    #[test]
    fn valid_requests_read_the_same_before_and_after(octets in request()) {
        read_everything(&octets);
    }

    #[test]
    fn a_hop_changes_what_it_names(octets in request(), count in 0..5usize) {
        let message = parse(&octets);
        let written = Edit::new(&message)
            .insert_first(HeaderId::Via, "SIP/2.0/TLS p.example;branch=z9hG4bKx")
            .set(HeaderId::MaxForwards, "69")
            .remove_elements(HeaderId::Route, count)
            .body(Some("text/plain"), Bytes::from_static(b"new"))
            .write();
        let edited = parse(&written);
        prop_assert_eq!(edited.top_via().unwrap().branch(), Some("z9hG4bKx"));
        prop_assert_eq!(edited.elements(HeaderId::Via).nth(1), message.elements(HeaderId::Via).next());
        prop_assert_eq!(edited.max_forwards(), Ok(Some(69)));
        let routes: Vec<_> = message.elements(HeaderId::Route).skip(count).collect();
        prop_assert_eq!(edited.elements(HeaderId::Route).collect::<Vec<_>>(), routes);
        prop_assert_eq!(edited.body(), b"new");
        prop_assert_eq!(edited.content_type(), "text/plain");
        let others = |message: &Message| {
            let is_other = |header: &sip_message::Header<'_>| header.id == HeaderId::Other;
            message.headers().filter(is_other).map(|h| (h.name.to_vec(), h.value.to_vec())).collect::<Vec<_>>()
        };
        prop_assert_eq!(others(&edited), others(&message));
    }

    #[test]
    fn uris_come_apart_and_together(text in uri()) {
        let uri = Uri::parse(&text).unwrap();
        let user = uri.user().map_or(String::new(), |user| format!("{user}@"));
        let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
        let scheme = text.split(':').next().unwrap();
        prop_assert_eq!(format!("{scheme}:{user}{}{port}", uri.host_text()), uri.without_params());
        prop_assert_eq!(format!("{}{}", uri.without_params(), uri.params().text), text.clone());
        prop_assert!(uri.is_equivalent(&uri));
        if let Host::Address(address) = uri.host() {
            prop_assert_eq!(uri.host_text().trim_matches(['[', ']']).parse(), Ok(address));
        }
    }

    #[test]
    fn equivalence_is_symmetric(a in uri(), b in uri()) {
        let (a, b) = (Uri::parse(&a).unwrap(), Uri::parse(&b).unwrap());
        prop_assert_eq!(a.is_equivalent(&b), b.is_equivalent(&a));
    }

    #[test]
    fn name_addrs_come_apart(text in name_addr()) {
        let addr = NameAddr::parse(text.as_bytes()).unwrap();
        let bracketed = format!("<{}>", addr.uri);
        prop_assert!(text.contains(&bracketed));
        prop_assert_eq!(addr.tag().is_some(), text.contains("tag = "));
        prop_assert!(text.as_bytes().starts_with(addr.display));
    }

    #[test]
    fn framing_does_not_depend_on_chunks(
        messages in proptest::collection::vec((request(), 0..4usize), 1..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut stream = Vec::new();
        for (message, keep_alives) in &messages {
            stream.extend_from_slice(message);
            stream.extend_from_slice(&b"\r\n".repeat(*keep_alives));
        }
        stream.extend_from_slice(&messages[0].0);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let (mut buffer, mut scan, mut found, mut fed) = (Vec::new(), Scan::default(), Vec::new(), 0);
        for cut in cuts {
            buffer.extend_from_slice(&stream[fed..cut]);
            fed = cut;
            loop {
                let consumed = match next_frame(&mut scan, &buffer) {
                    Frame::Partial { .. } => break,
                    Frame::Message { length } => {
                        found.push(buffer[..length].to_vec());
                        length
                    }
                    Frame::Ping { length } | Frame::Padding { length } => length,
                    lost @ Frame::Lost { .. } => panic!("{lost:?}"),
                };
                buffer.drain(..consumed);
            }
        }
        let mut wanted: Vec<_> = messages.iter().map(|(message, _)| message.clone()).collect();
        wanted.push(messages[0].0.clone());
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_everything(&octets);
        let _ = (NameAddr::parse(&octets).is_ok(), Via::parse(&octets).is_ok());
        let _ = sdp::Session::parse(&octets).is_ok();
        let _ = next_frame(&mut Scan::default(), &octets);
        let _ = Uri::parse(&String::from_utf8_lossy(&octets)).is_ok();
    }

    #[test]
    fn nothing_panics_on_mutated_requests(octets in mutated()) {
        read_everything(&octets);
        let _ = next_frame(&mut Scan::default(), &octets);
    }

    /// Framing and parsing see the same Content-Length: what one cuts out, the other takes whole or refuses.
    #[test]
    fn framing_and_parsing_agree(octets in mutated()) {
        if let Frame::Message { length } = next_frame(&mut Scan::default(), &octets)
            && let Ok(message) = Message::parse(Bytes::copy_from_slice(&octets[..length]))
        {
            prop_assert_eq!(message.bytes().len(), length);
        }
    }

    #[test]
    fn no_value_brings_a_line_of_its_own(value in "[ -~\r\n\u{e4}]{0,30}", uri in "[ -~\r\n]{1,20}") {
        let built = RequestBuilder::new(Method::Info, &uri).header(HeaderId::Subject, &value).build();
        let lines = built.split(|&octet| octet == b'\n').count();
        prop_assert_eq!(lines, 5, "start line, Subject, Content-Length, the empty line and what follows");
    }
}
