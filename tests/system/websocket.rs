//! What breaks RFC 6455 or RFC 7118, and what only looks so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use system_tests::{
    Incoming, Link, LinkReader, Opcode, PATIENCE, Road, Server, Transport, client_frame, upgrade_request,
};

use crate::torture::probe;

const ROAD: Road = Road::v4(Transport::Ws);

fn open(server: &Server) -> (Arc<Link>, LinkReader) {
    Link::open(Transport::Ws, server.address(ROAD), &server.ca()).expect("the server accepts")
}

/// A frame whose first two octets are given, with a mask of zeros where the mask bit is set.
fn frame(first: u8, second: u8, payload: &[u8]) -> Vec<u8> {
    let mask: &[u8] = if second & 0x80 != 0 { &[0; 4] } else { &[] };
    [&[first, second], mask, payload].concat()
}

#[test]
fn violations_close_with_their_code() {
    let server = Server::start();
    let too_big = {
        let mut octets = vec![0x81, 0xff];
        octets.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        octets
    };
    let cases: [(&str, Vec<u8>, &[u16]); 11] = [
        ("a frame without a mask", frame(0x81, 4, b"text"), &[1002]),
        ("a reserved bit", frame(0xc1, 0x84, b"text"), &[1002]),
        ("a reserved opcode", frame(0x83, 0x84, b"text"), &[1002]),
        ("a reserved control opcode", frame(0x8b, 0x80, b""), &[1002]),
        ("a continuation of nothing", frame(0x80, 0x84, b"text"), &[1002]),
        ("a control frame in parts", frame(0x09, 0x81, b"x"), &[1002]),
        ("a ping of 126 octets", frame(0x89, 0xfe, &[&[0, 126][..], &[0; 130]].concat()), &[1002]),
        (
            "a new message within a fragmented one",
            [frame(0x01, 0x81, b"a"), frame(0x81, 0x81, b"b")].concat(),
            &[1002],
        ),
        ("a text that is no UTF-8", frame(0x81, 0x82, &[0xc3, 0x28]), &[1007]),
        (
            "a length with its highest bit set",
            frame(0x82, 0xff, &[&[0x80][..], &[0; 7]].concat()),
            &[1002, 1009],
        ),
        ("a message of a terabyte", too_big, &[1009]),
    ];
    for (name, octets, codes) in cases {
        let (link, mut reader) = open(&server);
        link.send_octets(&octets).expect("it is sent");
        match reader.receive_within(PATIENCE) {
            Ok(Some(Incoming::WebSocketClosed(code))) => assert!(codes.contains(&code), "{name}: {code}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(
            matches!(reader.receive_within(PATIENCE), Ok(Some(Incoming::Closed))),
            "{name}: the stream stands"
        );
    }
}

#[test]
fn what_is_allowed_is_answered() {
    let server = Server::start();
    let (link, mut reader) = open(&server);
    let request = probe(&link);
    let (head, tail) = request.as_bytes().split_at(40);
    link.send_octets(&client_frame(Opcode::Text, false, head)).expect("it is sent");
    link.send_octets(&client_frame(Opcode::Ping, true, b"between")).expect("it is sent");
    let mut last = client_frame(Opcode::Text, true, tail);
    last[0] = 0x80;
    link.send_octets(&last).expect("it is sent");
    // The pong overtakes the answer to the message around it.
    match reader.receive_within(PATIENCE) {
        Ok(Some(Incoming::Pong)) => {}
        other => panic!("no pong but {other:?}"),
    }
    let mut answered = |name: &str| match reader.receive_within(PATIENCE) {
        Ok(Some(Incoming::Message(octets))) => assert!(octets.starts_with(b"SIP/2.0 200"), "{name}"),
        other => panic!("{name}: {other:?}"),
    };
    answered("in parts");
    link.send_octets(&client_frame(Opcode::Binary, true, probe(&link).as_bytes())).expect("it is sent");
    answered("binary");
    for octet in client_frame(Opcode::Text, true, probe(&link).as_bytes()) {
        link.send_octets(&[octet]).expect("it is sent");
    }
    answered("octet by octet");
    let two =
        [probe(&link), probe(&link)].map(|probe| client_frame(Opcode::Text, true, probe.as_bytes())).concat();
    link.send_octets(&two).expect("it is sent");
    answered("the first of two");
    answered("the second of two");
    // A farewell is answered by one (RFC 6455 §5.5.1).
    link.send_octets(&client_frame(Opcode::Close, true, &1000_u16.to_be_bytes())).expect("it is sent");
    assert!(matches!(reader.receive_within(PATIENCE), Ok(Some(Incoming::WebSocketClosed(1000)))));
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let server = Server::start();
    let address = server.address(ROAD);
    let (good, _) = upgrade_request(&address.to_string());
    let cases = [
        ("another subprotocol", good.replace("Protocol: sip", "Protocol: xmpp")),
        ("no subprotocol", good.replace("Sec-WebSocket-Protocol: sip\r\n", "")),
        ("no key", good.replace("Sec-WebSocket-Key", "X-Key")),
        ("a key of the wrong length", good.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAA")),
        ("another version", good.replace("Version: 13", "Version: 8")),
        ("another method", good.replace("GET ", "POST ")),
        ("another protocol", good.replace("HTTP/1.1", "HTTP/1.0")),
        ("no upgrade", good.replace("Upgrade: websocket\r\n", "")),
        ("SIP", "OPTIONS sip:example.test SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("endless headers", good.trim_end().to_owned() + "\r\n" + &"X-Endless: header\r\n".repeat(10_000)),
    ];
    for (name, request) in cases {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may be closed before all of it was sent.
        drop(stream.write_all(request.as_bytes()));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{name}: {error}"),
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 101"), "{name}: {text}");
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 4"), "{name}: {text}");
    }
    let (link, mut reader) = open(&server);
    link.send(probe(&link).as_bytes()).expect("it is sent");
    assert!(matches!(reader.receive_within(PATIENCE), Ok(Some(Incoming::Message(_)))));
}
