//! What keeps a flow open: STUN on datagrams, CRLF on streams (RFC 5626 §3.5).

use std::net::UdpSocket;

use system_tests::{Family, PATIENCE, Road, Server, Transport, in_parallel, on_each};

/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

#[test]
fn a_double_crlf_is_answered_by_one() {
    let connections: Vec<Road> =
        Road::ALL.into_iter().filter(|road| road.transport != Transport::Udp).collect();
    on_each(&connections, |scene| {
        let alice = scene.device("alice");
        alice.ping();
        alice.register("");
        alice.ping();
        alice.ping();
        alice.settle();
    });
}

#[test]
fn a_stun_binding_request_is_answered_with_the_address_that_it_came_from() {
    let server = Server::start();
    in_parallel(&[Family::V4, Family::V6].map(|family| Road { transport: Transport::Udp, family }), |road| {
        let address = server.address(*road);
        let socket = UdpSocket::bind((address.ip(), 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.connect(address).expect("an address");
        let transaction = *b"0123456789ab";
        let request = [&[0, 1, 0, 0], &MAGIC_COOKIE[..], &transaction].concat();
        socket.send(&request).expect("it is sent");
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).expect("an answer");
        let answer = &answer[..length];
        assert_eq!(&answer[..2], [1, 1], "a Binding success response");
        assert_eq!(&answer[4..8], MAGIC_COOKIE);
        assert_eq!(&answer[8..20], transaction);
        let own = socket.local_addr().expect("an address");
        assert_eq!(mapped_port(&answer[20..]), Some(own.port()));
    });
}

/// On the port that devices register on, between their requests, the answer shows that the binding of the NAT is the same.
#[test]
fn stun_and_sip_share_a_socket() {
    on_each(&[Road::v4(Transport::Udp)], |scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let request = [&[0, 1, 0, 0], &MAGIC_COOKIE[..], b"0123456789ab"].concat();
        alice.send_octets(&request);
        assert_eq!(mapped_port(&alice.other()[20..]), Some(alice.local().port()));
        let sent = bob.send(bob.message(&alice.uri(), "still there?"));
        alice.expect_and_answer("MESSAGE", 200);
        assert_eq!(bob.answer(sent).status(), Some(200));
    });
}

/// Octets that are neither are dropped: an answer would make the server a reflector.
#[test]
fn noise_on_datagrams_is_not_answered() {
    on_each(&[Road::v4(Transport::Udp)], |scene| {
        let alice = scene.device("alice");
        let broken_stun = [&[0, 1, 0, 40], &MAGIC_COOKIE[..], b"0123456789ab"].concat();
        for noise in [&b"\0"[..], b"\r\n\r\n", &[0xff; 1200], &broken_stun, b"GET / HTTP/1.1\r\n\r\n", b""] {
            alice.send_octets(noise);
        }
        alice.settle();
        assert!(alice.is_open());
    });
}

/// The port of XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn mapped_port(mut attributes: &[u8]) -> Option<u16> {
    while let [kind_high, kind_low, length_high, length_low, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = rest.get(..length)?;
        if (*kind_high, *kind_low) == (0x00, 0x20) {
            let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]);
            return Some(port ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]));
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}
