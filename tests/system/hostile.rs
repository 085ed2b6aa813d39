//! Peers that are slow, endless, half there, or many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use system_tests::{Device, Incoming, Link, PATIENCE, Road, Server, Transport, in_parallel, on_each};

use crate::torture::probe;

/// Above the 30 seconds that a connection has for its first message, and the 32 for one that it began.
const SILENCE_ENDS_WITHIN: Duration = Duration::from_secs(60);

const STREAMS: [Road; 2] = [Road::v4(Transport::Tcp), Road::v4(Transport::Tls)];

#[test]
fn a_message_may_come_octet_by_octet() {
    let server = Server::start();
    in_parallel(&STREAMS, |road| {
        let (link, mut reader) = open(&server, *road);
        for octet in probe(&link).as_bytes() {
            link.send_octets(&[*octet]).expect("it is sent");
        }
        assert_eq!(status(reader.receive_within(PATIENCE).expect("SIP")), 200);
    });
}

#[test]
fn a_message_may_be_cut_anywhere_and_others_may_follow_at_once() {
    let server = Server::start();
    in_parallel(&STREAMS, |road| {
        let (link, mut reader) = open(&server, *road);
        let length = probe(&link).len();
        for cut in (1..length).step_by(7) {
            let three = probe(&link) + &probe(&link) + &probe(&link);
            link.send_octets(&three.as_bytes()[..cut]).expect("it is sent");
            link.send_octets(&three.as_bytes()[cut..]).expect("it is sent");
            for _ in 0..3 {
                assert_eq!(status(reader.receive_within(PATIENCE).expect("SIP")), 200);
            }
        }
    });
}

#[test]
fn lost_framing_ends_the_stream() {
    let server = Server::start();
    in_parallel(&STREAMS, |road| {
        let request = |link: &Link| probe(link);
        let lost: [fn(String) -> String; 7] = [
            |probe| probe.replace("Content-Length: 0\r\n", ""),
            |probe| probe.replace("Content-Length: 0", "Content-Length: -1"),
            |probe| probe.replace("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 5"),
            |probe| probe.replace("Content-Length: 0", "Content-Length: 100000000"),
            |probe| probe.replace("\r\n", "\n"),
            |_| "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            |_| "\u{1}\u{2}\u{3}\u{4}no SIP at all".to_owned(),
        ];
        for spoil in lost {
            let (link, mut reader) = open(&server, *road);
            // What stood before it is answered; what stands behind it is not taken for a message.
            link.send_octets(request(&link).as_bytes()).expect("it is sent");
            assert_eq!(status(reader.receive_within(PATIENCE).expect("SIP")), 200);
            let spoiled = spoil(request(&link)) + &request(&link);
            drop(link.send_octets(spoiled.as_bytes()));
            let mut answers = Vec::new();
            loop {
                match reader.receive_within(PATIENCE).expect("SIP") {
                    Some(Incoming::Closed) => break,
                    None => panic!("the stream stands after:\n{spoiled}"),
                    incoming => answers.push(status(incoming)),
                }
            }
            assert!(answers.iter().all(|status| *status >= 400), "{answers:?} to:\n{spoiled}");
        }
    });
}

#[test]
fn endless_headers_end_the_stream_before_memory_does() {
    const SENT_MAX: usize = 16 * 1024 * 1024;
    let server = Server::start();
    let before = server.resident_octets();
    in_parallel(&STREAMS, |road| {
        let (link, mut reader) = open(&server, *road);
        let mut head = probe(&link);
        head.truncate(head.len() - 2);
        let mut sent = head.len();
        let mut is_open = link.send_octets(head.as_bytes()).is_ok();
        let lines = "X-Endless: and endless\r\n".repeat(100);
        while is_open && sent < SENT_MAX {
            is_open = link.send_octets(lines.as_bytes()).is_ok();
            sent += lines.len();
        }
        loop {
            match reader.receive_within(PATIENCE).expect("SIP") {
                Some(Incoming::Closed) => break,
                None => panic!("the stream stands"),
                answer => assert!(status(answer) >= 400),
            }
        }
    });
    let grown = server.resident_octets().saturating_sub(before);
    assert!(grown < SENT_MAX as u64, "{grown} octets more");
}

#[test]
fn an_endless_body_is_refused_by_its_length() {
    let server = Server::start();
    in_parallel(&STREAMS, |road| {
        let (link, mut reader) = open(&server, *road);
        let head = probe(&link).replace("Content-Length: 0", "Content-Length: 10000000");
        link.send_octets(head.as_bytes()).expect("it is sent");
        let answer = reader.receive_within(PATIENCE).expect("SIP");
        assert!(matches!(status(answer), 400 | 413 | 513));
        assert!(matches!(reader.receive_within(PATIENCE), Ok(Some(Incoming::Closed))));
    });
}

/// Who says nothing, or does not finish, is let go; who has signed in may be silent.
#[test]
fn silent_connections_end_and_those_of_users_do_not() {
    let server = Server::start();
    let alice = server.device("alice", Road::v4(Transport::Tcp));
    alice.register("");
    #[derive(Clone, Copy, Debug)]
    enum Silence {
        Tcp,
        TlsWithoutHandshake,
        TlsAfterHandshake,
        WebSocketWithoutRequest,
        WebSocketAfterUpgrade,
        HalfAMessage,
        StrangerAfterARequest,
    }
    impl std::fmt::Display for Silence {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{self:?}")
        }
    }
    let all = [
        Silence::Tcp,
        Silence::TlsWithoutHandshake,
        Silence::TlsAfterHandshake,
        Silence::WebSocketWithoutRequest,
        Silence::WebSocketAfterUpgrade,
        Silence::HalfAMessage,
        Silence::StrangerAfterARequest,
    ];
    in_parallel(&all, |silence| {
        let raw = |transport, octets: &[u8]| {
            let mut stream = TcpStream::connect(server.address(Road::v4(transport))).expect("it accepts");
            stream.set_read_timeout(Some(SILENCE_ENDS_WITHIN)).expect("a timeout");
            stream.write_all(octets).expect("it is sent");
            let mut rest = Vec::new();
            // A reset is an end too.
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(error) => panic!("{silence:?}: the connection stands: {error}"),
            }
        };
        let opened = |transport, octets: fn(&Link) -> String| {
            let (link, mut reader) = open(&server, Road::v4(transport));
            link.send_octets(octets(&link).as_bytes()).expect("it is sent");
            loop {
                match reader.receive_within(SILENCE_ENDS_WITHIN).expect("SIP") {
                    Some(Incoming::Closed | Incoming::WebSocketClosed(_)) => return,
                    Some(_) => {}
                    None => panic!("{silence:?}: the connection stands"),
                }
            }
        };
        match silence {
            Silence::Tcp => raw(Transport::Tcp, b""),
            Silence::TlsWithoutHandshake => raw(Transport::Tls, b"\x16\x03\x01"),
            Silence::TlsAfterHandshake => opened(Transport::Tls, |_| String::new()),
            Silence::WebSocketWithoutRequest => raw(Transport::Ws, b"GET / HTTP/1.1\r\n"),
            Silence::WebSocketAfterUpgrade => opened(Transport::Wss, |_| String::new()),
            Silence::HalfAMessage => opened(Transport::Tcp, |link| probe(link)[..50].to_owned()),
            Silence::StrangerAfterARequest => opened(Transport::Tcp, probe),
        }
    });
    alice.settle();
    assert!(alice.is_open());
}

#[test]
fn a_flood_of_connections_neither_fills_memory_nor_keeps_users_out() {
    const CONNECTIONS: usize = 600;
    const OCTETS_EACH_MAX: u64 = 64 * 1024;
    let server = Server::start();
    let before = server.resident_octets();
    let mut flood = Vec::new();
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws] {
        for _ in 0..CONNECTIONS / 3 {
            let mut stream = TcpStream::connect(server.address(Road::v4(transport))).expect("it accepts");
            // The beginning of something that each of them would wait for.
            stream
                .write_all(if transport == Transport::Tls { b"\x16\x03" } else { b"GET " })
                .expect("it is sent");
            flood.push(stream);
        }
    }
    let (alice, bob) = (server.device("alice", STREAMS[0]), server.device("bob", STREAMS[1]));
    alice.register("");
    bob.register("");
    let sent = alice.send(alice.message(&bob.uri(), "in spite of it"));
    bob.expect_and_answer("MESSAGE", 200);
    assert_eq!(alice.answer(sent).status(), Some(200));
    let grown = server.resident_octets().saturating_sub(before);
    assert!(grown < CONNECTIONS as u64 * OCTETS_EACH_MAX, "{grown} octets for {CONNECTIONS} connections");
    drop(flood);
    alice.settle();
}

/// A device that does not read harms itself alone.
#[test]
fn a_device_that_does_not_read_does_not_stop_the_others() {
    const MESSAGES: usize = 200;
    on_each(&[Road::v4(Transport::Tcp)], |scene| {
        let alice = scene.registered("alice");
        let carol = scene.registered("carol");
        // Bob's device signs in and is never heard of again: it leaves everything unanswered.
        let deaf = scene.registered("bob");
        let text = "x".repeat(8 * 1024);
        let to_deaf: Vec<_> = (0..MESSAGES).map(|_| alice.send(alice.message(&deaf.uri(), &text))).collect();
        let sent = alice.send(alice.message(&carol.uri(), "past it"));
        carol.expect_and_answer("MESSAGE", 200);
        assert_eq!(alice.answer(sent).status(), Some(200));
        // What it did not take is kept for it.
        assert_eq!(alice.answer(to_deaf[MESSAGES - 1]).status(), Some(202));
    });
}

#[test]
fn a_stranger_who_repeats_a_request_gets_no_more_out_than_goes_in() {
    // An amplifier is worth attacking with: the answer to a request must not be a multiple of it.
    on_each(&[Road::v4(Transport::Udp)], |scene| {
        let stranger: Device = scene.device("alice");
        let draft = stranger.draft("OPTIONS", "sip:example.test");
        let asked = draft.build("SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKx").len();
        let answered = stranger.ask(draft).bytes().len();
        assert!(answered < 2 * asked, "{answered} octets for {asked}");
        let register = stranger.register_draft(Some(format!("<{}>", stranger.contact()))).unanswering();
        let asked = register.build("SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKx").len();
        let answered = stranger.ask(register).bytes().len();
        assert!(answered < 3 * asked, "{answered} octets for {asked}");
    });
}

fn open(server: &Server, road: Road) -> (std::sync::Arc<Link>, system_tests::LinkReader) {
    Link::open(road.transport, server.address(road), &server.ca()).expect("the server accepts")
}

fn status(incoming: Option<Incoming>) -> u16 {
    let Some(Incoming::Message(octets)) = incoming else { panic!("no answer but {incoming:?}") };
    let text = String::from_utf8_lossy(&octets).into_owned();
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {text}"))
}
