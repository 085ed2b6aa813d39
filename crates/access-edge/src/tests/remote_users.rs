//! Users of ours outside: alice's client, contoso's edge and its Director, which answers as if it had asked who she is.

use std::time::Duration;

use expect_test::expect;
use node::{Anchors, Side, Transport};
use sip_message::{HeaderId, Message};

use super::partners::{Direct, FABRIKAM};
use super::world::{Host, Wire, certificate};
use crate::Limits;
use crate::admin::{Adjustable, Call};

const ALICE: &str = "sip:alice@contoso.example";

fn client(d: &mut Direct, transport: Transport) -> (Host, Wire) {
    let client = d.w.hand("client", "client.invalid", Side::Outside, None);
    let wire = d.w.connect_over(client, d.edge, Side::Outside, transport);
    (client, wire)
}

fn text(message: &Message, id: HeaderId) -> String {
    String::from_utf8(message.header(id).expect("it is there").to_vec()).unwrap()
}

/// Registers; gives the Path that the Director saw and the Service-Route that the client got.
fn register(d: &mut Direct, client: Host, wire: Wire, user: &str) -> (String, String) {
    let address = format!("sip:{user}@contoso.example");
    let head = d.w.head("REGISTER", "sip:contoso.example", &address, &address);
    d.w.send(
        wire,
        &format!("{head}\nContact: <sip:{user}@client.invalid;ob>\nSupported: path, outbound"),
        "",
    );
    let got = d.w.got(d.director);
    let path = text(&got.1, HeaderId::Path);
    let service = format!("{}, <sip:dir.contoso.example:5061;transport=tls;lr>", path.replace(";ob", ""));
    d.w.answer(&got, 200, &[(HeaderId::Path, &path), (HeaderId::ServiceRoute, &service)]);
    let answer = d.w.got(client).1;
    assert_eq!(answer.header(HeaderId::Path), None);
    (path, text(&answer, HeaderId::ServiceRoute))
}

#[test]
fn a_user_outside_registers_and_is_reached_over_that_connection() {
    let mut d = Direct::new();
    let (client, wire) = client(&mut d, Transport::Tls);
    let (path, service) = register(&mut d, client, wire, "alice");
    let head = d.w.head("MESSAGE", "sip:bob@contoso.example", ALICE, "sip:bob@contoso.example");
    d.w.send(
        wire,
        &format!("{head}\nRoute: {service}\nP-Asserted-Identity: <sip:root@contoso.example>"),
        "hi",
    );
    let message = d.w.got(d.director);
    d.w.answer(&message, 407, &[(HeaderId::Warning, "399 fe.contoso.example \"x\"")]);
    assert_eq!(d.w.status(client), 407);
    // And somebody calls her.
    let inside = d.wire_of_director();
    let head = d.w.head("INVITE", "sip:alice@client.invalid;ob", "sip:bob@contoso.example", ALICE);
    let head =
        format!("{head}\nRoute: {path}\nRecord-Route: <sip:dir.contoso.example:5061;transport=tls;lr>");
    d.w.send(inside, &head, "");
    let invite = d.w.got(client);
    let entry = text(&invite.1, HeaderId::RecordRoute);
    d.w.answer(&invite, 200, &[(HeaderId::Contact, "<sip:alice@client.invalid;ob>")]);
    assert_eq!(d.w.status(d.director), 200);
    // She hangs up.
    let call_id = invite.1.call_id().unwrap();
    let bye = format!(
        "BYE sip:bob@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS c.invalid;branch=z9hG4bKbye\nMax-Forwards: 70\nFrom: <{ALICE}>;tag=there\n\
         To: <sip:bob@contoso.example>;tag=f\nCall-ID: {call_id}\nCSeq: 1 BYE\nRoute: {entry}"
    );
    d.w.send(wire, &bye, "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "BYE");
    d.check(expect![[r#"
        client > edge: REGISTER sip:contoso.example
            Via: SIP/2.0/TLS sender.invalid
        edge > director: REGISTER sip:contoso.example
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Path: <sip:FLOW@edge-in.contoso.example:5061;transport=tls;lr;ob>
            Via: SIP/2.0/TLS sender.invalid
            Chancery-Origin: remote;flow=FLOW;edge=edge-in.contoso.example
        director > edge: 200 (REGISTER)
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS sender.invalid
            Path: <sip:FLOW@edge-in.contoso.example:5061;transport=tls;lr;ob>
            Service-Route: <sip:FLOW@edge-in.contoso.example:5061;transport=tls;lr>, <sip:dir.contoso.example:5061;transport=tls;lr>
        edge > client: 200 (REGISTER)
            Service-Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
            Via: SIP/2.0/TLS sender.invalid
        client > edge: MESSAGE sip:bob@contoso.example
            Via: SIP/2.0/TLS sender.invalid
            Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
            P-Asserted-Identity: <sip:root@contoso.example>
        edge > director: MESSAGE sip:bob@contoso.example
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Route: <sip:dir.contoso.example:5061;transport=tls;lr>
            Via: SIP/2.0/TLS sender.invalid
            Chancery-Origin: remote;flow=FLOW;edge=edge-in.contoso.example
        director > edge: 407 (MESSAGE)
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS sender.invalid
            Warning: 399 fe.contoso.example "x"
        edge > client: 407 (MESSAGE)
            Via: SIP/2.0/TLS sender.invalid
        director > edge: INVITE sip:alice@client.invalid;ob
            Via: SIP/2.0/TLS sender.invalid
            Route: <sip:FLOW@edge-in.contoso.example:5061;transport=tls;lr;ob>
            Record-Route: <sip:dir.contoso.example:5061;transport=tls;lr>
        edge > client: INVITE sip:alice@client.invalid;ob
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Record-Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        client > edge: 200 (INVITE)
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Record-Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        edge > director: 200 (INVITE)
            Via: SIP/2.0/TLS sender.invalid
            Record-Route: <sip:FLOW@edge-in.contoso.example:5061;transport=tls;lr>
            Record-Route: <sip:dir.contoso.example:5061;transport=tls;lr>
        client > edge: BYE sip:bob@pc.invalid
            Via: SIP/2.0/TLS c.invalid
            Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        edge > director: BYE sip:bob@pc.invalid
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Route: <sip:dir.contoso.example:5061;transport=tls;lr>
            Via: SIP/2.0/TLS c.invalid
            Chancery-Origin: remote;flow=FLOW;from=dialog;edge=edge-in.contoso.example
    "#]]);
}

#[test]
fn over_a_websocket_the_entries_say_so() {
    let mut d = Direct::new();
    let (client, wire) = client(&mut d, Transport::Wss);
    let (path, service) = register(&mut d, client, wire, "alice");
    assert!(path.contains("@edge-in.contoso.example:5061;transport=tls;lr;ob>"), "{path}");
    assert!(service.contains("@edge.contoso.example:443;transport=ws;lr>"), "{service}");
}

#[test]
fn a_flow_that_is_gone_is_answered_430_inside() {
    let mut d = Direct::new();
    let (client, wire) = client(&mut d, Transport::Tls);
    let (path, _) = register(&mut d, client, wire, "alice");
    let inside = d.wire_of_director();
    d.w.close(wire);
    let mut calls = |route: &str| {
        let head = d.w.head("MESSAGE", "sip:alice@client.invalid", "sip:bob@contoso.example", ALICE);
        d.w.send(inside, &format!("{head}\nRoute: {route}"), "");
        let status = d.w.status(d.director);
        (status, d.w.refusal().to_owned())
    };
    assert_eq!(calls(&path), (430, "flow-gone".to_owned()));
    assert_eq!(
        calls("<sip:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@edge-in.contoso.example;lr>"),
        (430, "flow-foreign".to_owned()),
        "of another edge, perhaps, which may still have it"
    );
    // Of another start of the same edge.
    let mut before = Direct::new();
    let mut after = Direct::new();
    let (there, wire) = self::client(&mut before, Transport::Tls);
    let (path, _) = register(&mut before, there, wire, "alice");
    after.edge =
        after.w.edge("edge", "contoso.example", super::world::policy("", &["contoso.example"]), |config| {
            config.secret = [100; 32];
        });
    let inside = after.wire_of_director();
    let head = after.w.head("MESSAGE", "sip:alice@client.invalid", "sip:bob@contoso.example", ALICE);
    after.w.send(inside, &format!("{head}\nRoute: {path}"), "");
    assert_eq!((after.w.status(after.director), after.w.refusal()), (430, "flow-gone"));
}

#[test]
fn a_service_route_outlives_its_connection_but_not_its_user() {
    let mut d = Direct::new();
    let (hand, wire) = client(&mut d, Transport::Tls);
    let (_, service) = register(&mut d, hand, wire, "alice");
    d.w.close(wire);
    let wire = d.w.connect(hand, d.edge, Side::Outside);
    let head = d.w.head("MESSAGE", "sip:bob@contoso.example", ALICE, "sip:bob@contoso.example");
    d.w.send(wire, &format!("{head}\nRoute: {service}"), "");
    let got = d.w.got(d.director).1;
    assert_eq!(text(&got, HeaderId::Route), "<sip:dir.contoso.example:5061;transport=tls;lr>");
    let eve = "sip:eve@contoso.example";
    for (from, route, code) in [
        (eve, service.clone(), "token-foreign"),
        (ALICE, service.replace("sip:r.", "sip:r.A"), "token-forged"),
        (ALICE, format!("{service}, <sip:fe.contoso.example;lr>"), "route"),
        (ALICE, "<sip:fe.contoso.example;lr>".to_owned(), "route"),
    ] {
        let head = d.w.head("MESSAGE", "sip:bob@contoso.example", from, "sip:bob@contoso.example");
        d.w.send(wire, &format!("{head}\nRoute: {route}"), "");
        assert_eq!((d.w.status(hand), d.w.refusal()), (403, code), "{route}");
    }
}

#[test]
fn a_users_certificate_is_passed_on_as_its_digest() {
    let mut d = Direct::new();
    let shown = certificate(&["alice.devices"], &["contoso.example"], Anchors::Servers);
    let digest = shown.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hand = d.w.hand("client", "client.invalid", Side::Outside, Some(shown));
    let wire = d.w.connect(hand, d.edge, Side::Outside);
    let head = d.w.head("MESSAGE", "sip:bob@contoso.example", ALICE, "sip:bob@contoso.example");
    d.w.send(wire, &head, "");
    let got = d.w.got(d.director).1;
    let origin = String::from_utf8(got.header_named("Chancery-Origin").unwrap().to_vec()).unwrap();
    assert!(origin.starts_with("remote;flow=") && origin.ends_with(&format!(";cert={digest}")), "{origin}");
}

#[test]
fn remote_access_can_be_switched_off() {
    let mut d = Direct::new();
    let (hand, wire) = client(&mut d, Transport::Tls);
    let (path, _) = register(&mut d, hand, wire, "alice");
    let adjustable = Adjustable {
        servers: vec![federation::TrustedServer {
            host: "dir.contoso.example".to_owned(),
            role: federation::ServerRole::Director,
        }],
        next_hops: vec!["dir.contoso.example".parse().unwrap()],
        remote_access: false,
        limits: Limits::default(),
    };
    d.w.call(d.edge, Call::Configure(Box::new(adjustable)));
    let head = d.w.head("REGISTER", "sip:contoso.example", ALICE, ALICE);
    d.w.send(wire, &head, "");
    assert_eq!((d.w.status(hand), d.w.refusal()), (403, "remote-access"));
    let inside = d.wire_of_director();
    let head = d.w.head("MESSAGE", "sip:alice@client.invalid", "sip:bob@contoso.example", ALICE);
    d.w.send(inside, &format!("{head}\nRoute: {path}"), "");
    assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "remote-access"));
}

#[test]
fn who_does_not_sign_in_is_hung_up_on() {
    let mut d = Direct::new();
    let (hand, idle) = client(&mut d, Transport::Tls);
    let refused = d.w.connect(hand, d.edge, Side::Outside);
    let signed_in = d.w.connect(hand, d.edge, Side::Outside);
    register(&mut d, hand, signed_in, "alice");
    let head = d.w.head("REGISTER", "sip:contoso.example", ALICE, ALICE);
    d.w.send(refused, &head, "");
    let got = d.w.got(d.director);
    d.w.answer(&got, 401, &[]);
    assert_eq!(d.w.status(hand), 401);
    d.w.pass_time(Duration::from_secs(59));
    assert!(d.w.is_up(idle) && d.w.is_up(refused));
    d.w.pass_time(Duration::from_secs(2));
    assert!(!d.w.is_up(idle) && !d.w.is_up(refused) && d.w.is_up(signed_in));
}

#[test]
fn a_remote_client_speaks_for_our_domains_alone() {
    let mut d = Direct::new();
    let (hand, wire) = client(&mut d, Transport::Tls);
    for (from, code) in [
        ("sip:bob@fabrikam.example", "not-proved"),
        ("sip:x@elsewhere.example", "unlisted"),
        ("tel:+1", "no-domain"),
    ] {
        let head = d.w.head("MESSAGE", ALICE, from, ALICE);
        d.w.send(wire, &head, "");
        assert_eq!((d.w.status(hand), d.w.refusal()), (403, code), "{from}");
    }
}

#[test]
fn a_client_that_floods_is_slowed() {
    let mut d = Direct::new();
    d.w.tells = false;
    let (hand, wire) = client(&mut d, Transport::Tls);
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..600 {
        let head = d.w.head("OPTIONS", "sip:edge.contoso.example", ALICE, "sip:edge.contoso.example");
        d.w.send(wire, &head, "");
        *codes.entry(d.w.status(hand)).or_insert(0) += 1;
    }
    assert_eq!(codes, [(200, 400), (503, 200)].into());
    assert_eq!(d.w.refusal(), "connection-budget");
}

/// In through the edge, to be asked who she is, and out through the same edge: no loop.
#[test]
fn a_user_outside_reaches_a_partner_through_the_inside() {
    let mut d = Direct::new();
    let (hand, wire) = client(&mut d, Transport::Tls);
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("INVITE", to, ALICE, to);
    d.w.send(wire, &head, "");
    let (came_on, invite) = d.w.got(d.director);
    // The Director passes it on as a proxy does.
    let text_of = |message: &Message| String::from_utf8(message.bytes().to_vec()).unwrap();
    let lines = "Via: SIP/2.0/TLS dir.contoso.example;branch=z9hG4bKdir\r\nRecord-Route: <sip:dir.contoso.example;lr>\r\nVia: ";
    let inside = d.wire_of_director();
    d.w.send_octets(inside, text_of(&invite).replacen("Via: ", lines, 1));
    let received = d.w.got(d.fabrikam);
    let shown = text_of(&received.1);
    for never in ["dir.contoso", "edge-in", "client.invalid", "Chancery"] {
        assert!(!shown.contains(never), "{never} in {shown}");
    }
    d.w.answer(&received, 200, &[(HeaderId::Contact, "<sip:bob@dev.fabrikam.example>")]);
    let answered = text_of(&d.w.got(d.director).1);
    let back: Vec<&str> = answered
        .split("\r\n")
        .filter(|line| !line.starts_with("Via: SIP/2.0/TLS dir.contoso.example"))
        .collect();
    d.w.send_octets(came_on, back.join("\r\n"));
    let answered = d.w.got(hand).1;
    assert_eq!(answered.status(), Some(200));
    // Both ends go on along one entry of the edge, through the Director.
    let entry = text(&answered, HeaderId::RecordRoute);
    assert_eq!(answered.elements(HeaderId::RecordRoute).count(), 1);
    let ack = format!(
        "ACK sip:bob@dev.fabrikam.example SIP/2.0\nVia: SIP/2.0/TLS c.invalid;branch=z9hG4bKack\nMax-Forwards: 70\n\
         From: <{ALICE}>;tag=f1\nTo: <{to}>;tag=there\nCall-ID: call-1\nCSeq: 1 ACK\nRoute: {entry}"
    );
    d.w.send(wire, &ack, "");
    let ack = d.w.got(d.director).1;
    let routes: Vec<String> =
        ack.elements(HeaderId::Route).map(|route| String::from_utf8(route.to_vec()).unwrap()).collect();
    assert_eq!((routes.len(), routes[0].as_str()), (2, "<sip:dir.contoso.example;lr>"));
    d.w.send_octets(inside, text_of(&ack).replacen("Route: <sip:dir.contoso.example;lr>\r\n", "", 1));
    assert_eq!(d.w.got(d.fabrikam).1.method().as_str(), "ACK");
}

/// Dana of fabrikam sends Bob's call on to Alice (RFC 3261 §8.1.3.4: To stays), who answers outside: in this call she is called Dana,
/// and says so in what she says (§12.2.1.1). Nobody else does, and she nowhere else.
#[test]
fn whom_a_call_was_forwarded_to_hangs_up_outside_by_the_address_that_was_called() {
    let mut d = Direct::with(&format!(
        "{FABRIKAM}[[partner]]\ndomain = \"northwind.example\"\nmode = \"direct\"\nnext_hop = \"edge.northwind.example\"\n"
    ));
    let (alices, wire) = client(&mut d, Transport::Tls);
    let (path, _) = register(&mut d, alices, wire, "alice");
    let (bob, dana) = ("sip:bob@fabrikam.example", "sip:dana@fabrikam.example");
    let inside = d.wire_of_director();
    let head = d.w.head("INVITE", "sip:alice@client.invalid;ob", bob, dana);
    d.w.send(inside, &format!("{head}\nRoute: {path}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = d.w.got(alices);
    let entry = text(&invite.1, HeaderId::RecordRoute);
    let call = invite.1.call_id().unwrap().to_owned();
    d.w.answer(&invite, 200, &[]);
    assert_eq!(d.w.status(d.director), 200);
    let mut number = 0;
    let mut request = |method: &str, from: &str, tag: &str, call_id: &str, route: &str| {
        number += 1;
        format!(
            "{method} sip:bob@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS c.invalid;branch=z9hG4bKd{number}\nMax-Forwards: 70\n\
             From: <{from}>;tag=there\nTo: <{bob}>{tag}\nCall-ID: {call_id}\nCSeq: {number} {method}{route}"
        )
    };
    let route = format!("\nRoute: {entry}");
    let shown = certificate(&["edge.northwind.example"], &["northwind.example"], Anchors::Partners);
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(shown));
    let theirs = d.w.connect(northwind, d.edge, Side::Outside);
    let fabrikam = d.wire_of_fabrikam();
    let other = d.w.hand("other", "other.invalid", Side::Outside, None);
    let others = d.w.connect(other, d.edge, Side::Outside);
    let (boss, tagged) = ("sip:boss@contoso.example", ";tag=f1");
    for (who, wire, spoof, code) in [
        (alices, wire, request("BYE", dana, tagged, &call, ""), "not-proved"),
        (alices, wire, request("BYE", "sip:erin@fabrikam.example", tagged, &call, &route), "token-foreign"),
        (alices, wire, request("BYE", bob, tagged, &call, &route), "token-foreign"),
        (alices, wire, request("BYE", boss, tagged, &call, &route), "token-foreign"),
        (alices, wire, request("BYE", dana, tagged, "another-call", &route), "token-replayed"),
        (alices, wire, request("INVITE", dana, "", &call, &route), "token-foreign"),
        (other, others, request("MESSAGE", dana, "", "new", ""), "not-proved"),
        (northwind, theirs, request("BYE", dana, tagged, &call, &route), "token-foreign"),
        (d.fabrikam, fabrikam, request("BYE", dana, tagged, &call, &route), "token-foreign"),
    ] {
        d.w.send(wire, &spoof, "");
        assert_eq!((d.w.status(who), d.w.refusal()), (403, code), "{spoof}");
        assert!(d.w.next(d.director).is_none(), "{spoof}");
    }
    d.w.send(wire, &request("BYE", dana, tagged, &call, &route), "");
    let got = d.w.got(d.director);
    let origin = got.1.header_named("Chancery-Origin").map(String::from_utf8_lossy).unwrap().into_owned();
    let (flow, rest) = origin.split_once(";from").unwrap();
    assert!(flow.starts_with("remote;flow="), "{origin}");
    assert_eq!(rest, "=dialog;edge=edge-in.contoso.example");
    d.w.answer(&got, 200, &[]);
    assert_eq!(d.w.status(alices), 200);
}
