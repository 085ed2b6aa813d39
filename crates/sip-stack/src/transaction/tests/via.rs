//! Where responses go.

use std::net::{IpAddr, SocketAddr};

use node::{ConnectionId, Flow, ListenerId, Transport};
use proptest::prelude::*;
use sip_message::{Host, Via};

use super::super::{Arrival, Transactions};
use super::{parse, request};

fn check(via: &str, remote: &str, expected: Option<&str>) {
    let message = parse(&request("OPTIONS", via, ""));
    let remote = remote.parse().expect("an address");
    assert_eq!(Transactions::response_via(&message, remote).as_deref(), expected, "{via}");
}

#[test]
fn via_of_a_client_that_tells_its_address_stays() {
    check("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1", "192.0.2.1:9", None);
    check("SIP/2.0/TLS [2001:db8::1];branch=z9hG4bK1", "[2001:db8::1]:9", None);
    check("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "[::ffff:192.0.2.1]:9", None);
}

#[test]
fn received_is_added_where_sent_by_says_something_else() {
    let expected = Some("SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;received=192.0.2.1");
    check("SIP/2.0/UDP a.example:5070;branch=z9hG4bK1", "192.0.2.1:9", expected);
    let expected = Some("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.1");
    check("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1", "192.0.2.1:9", expected);
    let expected = Some("SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK1;received=192.0.2.1");
    check("SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK1", "192.0.2.1:9", expected);
}

#[test]
fn received_of_ipv6_stands_without_brackets() {
    let expected = Some("SIP/2.0/UDP [2001:db8::9];branch=z9hG4bK1;received=2001:db8::1");
    check("SIP/2.0/UDP [2001:db8::9];branch=z9hG4bK1", "[2001:db8::1]:9", expected);
}

#[test]
fn rport_is_filled_in_where_it_stands_and_brings_received() {
    let expected = Some("SIP/2.0/UDP 192.0.2.1;rport=9;branch=z9hG4bK1;received=192.0.2.1");
    check("SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bK1", "192.0.2.1:9", expected);
    check("SIP/2.0/UDP 192.0.2.1;rport=1;branch=z9hG4bK1", "192.0.2.1:9", expected);
}

#[test]
fn received_of_the_client_is_replaced() {
    let expected = Some("SIP/2.0/UDP a.example;branch=z9hG4bK1;x=\"1;2\";y;received=192.0.2.1");
    check("SIP/2.0/UDP a.example;received=203.0.113.5;branch=z9hG4bK1;x=\"1;2\";y", "192.0.2.1:9", expected);
    let expected = Some("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1");
    check("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;Received=203.0.113.5", "192.0.2.1:9", expected);
}

fn check_flow(via: &str, port: u16) {
    let message = parse(&request("OPTIONS", via, ""));
    let flow = |port| Flow::Datagram { listener: ListenerId(3), remote: ([192, 0, 2, 1], port).into() };
    let arrival = Arrival { flow: flow(9), transport: Transport::Udp, remote: ([192, 0, 2, 1], 9).into() };
    assert_eq!(Transactions::response_flow(&message, &arrival), flow(port), "{via}");
}

#[test]
fn response_over_udp_goes_to_the_port_of_sent_by_or_of_rport() {
    check_flow("SIP/2.0/UDP a.example;branch=z9hG4bK1", 5060);
    check_flow("SIP/2.0/UDP a.example:5070;branch=z9hG4bK1", 5070);
    check_flow("SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;rport", 9);
    check_flow("SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;maddr=203.0.113.5", 5070);
}

#[test]
fn response_over_a_stream_goes_back_on_it() {
    let message = parse(&request("OPTIONS", "SIP/2.0/TCP a.example:5070;branch=z9hG4bK1", ""));
    let flow = Flow::Connection(ConnectionId(4));
    let arrival = Arrival { flow, transport: Transport::Tcp, remote: ([192, 0, 2, 1], 9).into() };
    assert_eq!(Transactions::response_flow(&message, &arrival), flow);
}

/// [`Transactions::response_via`], parameter by parameter.
fn simple_response_via(via: &Via<'_>, remote: SocketAddr) -> Option<String> {
    let seen = remote.ip().to_canonical();
    let tells = matches!(via.host, Host::Address(address) if address.to_canonical() == seen);
    if tells && !via.params.has("rport") && !via.params.has("received") {
        return None;
    }
    let port = via.port.map_or(String::new(), |port| format!(":{port}"));
    let params = via.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("received"));
    let params = params.map(|(name, value)| match (name, value) {
        (name, _) if name.eq_ignore_ascii_case("rport") => format!(";rport={}", remote.port()),
        (name, "") => format!(";{name}"),
        (name, value) => format!(";{name}={value}"),
    });
    let params: String = params.collect();
    Some(format!("SIP/2.0/{} {}{port}{params};received={seen}", via.transport, via.host_text))
}

proptest! {
    #[test]
    fn via_of_responses_is_that_of_a_simple_reading(
        front in prop_oneof![
            Just("SIP/2.0/UDP "), Just("SIP/2.0/UDP "), Just("SIP/2.0/TCP  "), Just("SIP / 2.0 / UDP "), Just("X/9/UDP "), Just("SIP/2.0/UDP\t"),
        ],
        host in prop_oneof![Just("a.example"), Just("192.0.2.1"), Just("[2001:db8::1]"), Just("a.example ")],
        port in prop_oneof![Just(""), Just(":5060"), Just(":0"), Just(":05070"), Just(": 7"), Just(":9 ")],
        params in proptest::collection::vec(
            prop_oneof![
                Just(";rport"), Just(";rport"), Just(";RPort=5"), Just("; rport"), Just(";rport "), Just(";rport = 1"),
                Just(";received=192.0.2.9"), Just(";branch=z9hG4bK1"), Just(";branch =x"), Just(";a=\"b; rport\""), Just(" ;y"),
            ],
            0..4,
        ),
        ip in prop_oneof![Just("192.0.2.1"), Just("::ffff:192.0.2.1"), Just("2001:db8::1"), Just("10.200.30.4")],
        remote_port in any::<u16>(),
    ) {
        let via = format!("{front}{host}{port}{}", params.concat());
        let remote = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), remote_port);
        let message = parse(&request("OPTIONS", &via, ""));
        let wanted = simple_response_via(&message.top_via().unwrap(), remote);
        prop_assert_eq!(Transactions::response_via(&message, remote), wanted, "{}", via);
    }
}
