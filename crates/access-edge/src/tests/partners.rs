//! Direct federation: contoso.example's edge between its Director and fabrikam.example's edge, both played by hand.

use expect_test::{Expect, expect};
use node::{Anchors, Side};
use sip_message::HeaderId;

use super::world::{Host, Wire, World, certificate, policy};

pub(super) const FABRIKAM: &str = "[[partner]]\ndomain = \"fabrikam.example\"\nmode = \"direct\"\n\
                                   next_hop = \"edge.fabrikam.example:5061\"\n";

/// Contoso's edge, its Director, and fabrikam's edge.
pub(super) struct Direct {
    pub(super) w: World,
    pub(super) edge: Host,
    pub(super) director: Host,
    pub(super) fabrikam: Host,
}

impl Direct {
    pub(super) fn new() -> Direct {
        Direct::with(FABRIKAM)
    }

    pub(super) fn with(text: &str) -> Direct {
        let mut w = World::empty();
        let edge = w.edge("edge", "contoso.example", policy(text, &["contoso.example"]), |_| ());
        let director_certificate = certificate(&["dir.contoso.example"], &[], Anchors::Servers);
        let director = w.hand("director", "dir.contoso.example", Side::Inside, Some(director_certificate));
        let certificate = certificate(&["edge.fabrikam.example"], &["fabrikam.example"], Anchors::Partners);
        let fabrikam = w.hand("fabrikam", "edge.fabrikam.example", Side::Outside, Some(certificate));
        Direct { w, edge, director, fabrikam }
    }

    pub(super) fn wire_of_fabrikam(&mut self) -> Wire {
        self.w.connect(self.fabrikam, self.edge, Side::Outside)
    }

    pub(super) fn wire_of_director(&mut self) -> Wire {
        self.w.connect(self.director, self.edge, Side::Inside)
    }

    pub(super) fn check(&self, expected: Expect) {
        expected.assert_eq(&self.w.ladder);
    }
}

#[test]
fn a_partners_message_comes_in_with_its_provenance() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    let head = d.w.head(
        "MESSAGE",
        "sip:alice@contoso.example",
        "sip:bob@fabrikam.example",
        "sip:alice@contoso.example",
    );
    let head =
        format!("{head}\nP-Asserted-Identity: <sip:bob@fabrikam.example>\nChancery-Member: fabrikam.example");
    d.w.send(wire, &head, "hi");
    let got = d.w.got(d.director);
    d.w.answer(&got, 200, &[(HeaderId::Warning, "399 fe.contoso.example \"secret\"")]);
    assert_eq!(d.w.status(d.fabrikam), 200);
    d.check(expect![[r#"
        fabrikam > edge: MESSAGE sip:alice@contoso.example
            Via: SIP/2.0/TLS sender.invalid
            P-Asserted-Identity: <sip:bob@fabrikam.example>
            Chancery-Member: fabrikam.example
        edge > director: MESSAGE sip:alice@contoso.example
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS sender.invalid
            Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge-in.contoso.example
        director > edge: 200 (MESSAGE)
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS sender.invalid
            Warning: 399 fe.contoso.example "secret"
        edge > fabrikam: 200 (MESSAGE)
            Via: SIP/2.0/TLS sender.invalid
    "#]]);
}

#[test]
fn a_message_to_a_partner_shows_nothing_of_the_inside() {
    let mut d = Direct::new();
    let wire = d.wire_of_director();
    let head = d.w.head(
        "MESSAGE",
        "sip:bob@fabrikam.example",
        "sip:alice@contoso.example",
        "sip:bob@fabrikam.example",
    );
    let head = format!(
        "{head}\nP-Asserted-Identity: <sip:alice@contoso.example>\nVia: SIP/2.0/TLS fe.contoso.example;branch=z9hG4bKx"
    );
    d.w.send(wire, &head, "hi");
    let got = d.w.got(d.fabrikam);
    d.w.answer(&got, 202, &[]);
    assert_eq!(d.w.status(d.director), 202);
    d.check(expect![[r#"
        director > edge: MESSAGE sip:bob@fabrikam.example
            Via: SIP/2.0/TLS sender.invalid
            P-Asserted-Identity: <sip:alice@contoso.example>
            Via: SIP/2.0/TLS fe.contoso.example
        edge > fabrikam: MESSAGE sip:bob@fabrikam.example
            Via: SIP/2.0/TLS edge.contoso.example:5061
        fabrikam > edge: 202 (MESSAGE)
            Via: SIP/2.0/TLS edge.contoso.example:5061
        edge > director: 202 (MESSAGE)
            Via: SIP/2.0/TLS sender.invalid
            Via: SIP/2.0/TLS fe.contoso.example
    "#]]);
}

#[test]
fn a_call_to_a_partner_and_back_within_it() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let head = d.w.head(
        "INVITE",
        "sip:bob@fabrikam.example",
        "sip:alice@contoso.example",
        "sip:bob@fabrikam.example",
    );
    let head = format!(
        "{head}\nRecord-Route: <sip:dir.contoso.example:5061;transport=tls;lr>\nRecord-Route: <sip:x@fe.contoso.example;lr>\n\
         Contact: <sip:alice@pc.invalid>"
    );
    d.w.send(inside, &head, "");
    let invite = d.w.got(d.fabrikam);
    // Their own proxy stays in the path too.
    let recorded = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    let mut answer = sip_message::ResponseBuilder::new(&invite.1, 200);
    answer.to_tag("there").header(HeaderId::RecordRoute, "<sip:proxy.fabrikam.example;lr>");
    answer
        .header(HeaderId::RecordRoute, &recorded)
        .header(HeaderId::Contact, "<sip:bob@dev.fabrikam.example>");
    d.w.send_octets(invite.0, answer.build());
    let answered = d.w.got(d.director).1;
    assert_eq!(answered.status(), Some(200));
    // The caller's ACK follows the routes, the Director has taken its own off.
    let routes: Vec<String> = answered
        .elements(HeaderId::RecordRoute)
        .map(|route| String::from_utf8(route.to_vec()).unwrap())
        .collect();
    let line = |method: &str, number: u32, from: &str, to: &str, uri: &str, route: &str| {
        format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/TLS dir.contoso.example;branch=z9hG4bKd{number}\nMax-Forwards: 70\n\
             From: {from}\nTo: {to}\nCall-ID: call-1\nCSeq: {number} {method}\nRoute: {route}"
        )
    };
    let alice = "<sip:alice@contoso.example>;tag=f1";
    let bob = "<sip:bob@fabrikam.example>;tag=there";
    let way = format!("{}, {}", routes[1], routes[0]);
    d.w.send(inside, &line("ACK", 1, alice, bob, "sip:bob@dev.fabrikam.example", &way), "");
    assert_eq!(d.w.got(d.fabrikam).1.method().as_str(), "ACK");
    // Bob hangs up.
    let wire = d.wire_of_fabrikam();
    d.w.send(wire, &line("BYE", 9, bob, alice, "sip:alice@pc.invalid", &recorded), "");
    let bye = d.w.got(d.director);
    d.w.answer(&bye, 200, &[]);
    assert_eq!(d.w.status(d.fabrikam), 200);
    d.check(expect![[r#"
        director > edge: INVITE sip:bob@fabrikam.example
            Via: SIP/2.0/TLS sender.invalid
            Record-Route: <sip:dir.contoso.example:5061;transport=tls;lr>
            Record-Route: <sip:x@fe.contoso.example;lr>
        edge > fabrikam: INVITE sip:bob@fabrikam.example
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Record-Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        fabrikam > edge: 200 (INVITE)
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Record-Route: <sip:proxy.fabrikam.example;lr>
            Record-Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        edge > director: 200 (INVITE)
            Via: SIP/2.0/TLS sender.invalid
            Record-Route: <sip:proxy.fabrikam.example;lr>
            Record-Route: <sip:SEALED@edge-in.contoso.example:5061;transport=tls;lr>
            Record-Route: <sip:dir.contoso.example:5061;transport=tls;lr>
            Record-Route: <sip:x@fe.contoso.example;lr>
        director > edge: ACK sip:bob@dev.fabrikam.example
            Via: SIP/2.0/TLS dir.contoso.example
            Route: <sip:SEALED@edge-in.contoso.example:5061;transport=tls;lr>, <sip:proxy.fabrikam.example;lr>
        edge > fabrikam: ACK sip:bob@dev.fabrikam.example
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Route: <sip:proxy.fabrikam.example;lr>
        fabrikam > edge: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS dir.contoso.example
            Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        edge > director: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Route: <sip:dir.contoso.example:5061;transport=tls;lr>
            Route: <sip:x@fe.contoso.example;lr>
            Via: SIP/2.0/TLS dir.contoso.example
            Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge-in.contoso.example
        director > edge: 200 (BYE)
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS dir.contoso.example
        edge > fabrikam: 200 (BYE)
            Via: SIP/2.0/TLS dir.contoso.example
    "#]]);
}

/// Edges of one name share the key of sealed routes and nothing else; a restart is another edge.
#[test]
fn a_dialog_goes_on_through_another_edge_of_the_name() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("INVITE", to, "sip:alice@contoso.example", to);
    d.w.send(inside, &format!("{head}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = d.w.got(d.fabrikam);
    let outside_entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    d.w.answer(&invite, 200, &[]);
    let answered = d.w.got(d.director).1;
    let inside_entry = String::from_utf8(answered.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();

    let other = |key: [u8; 32], name: &'static str, d: &mut Direct| {
        d.w.edge(name, "contoso.example", policy(FABRIKAM, &["contoso.example"]), |config| {
            config.token_keys = vec![[1; 32], key];
        })
    };
    let sibling = other([9; 32], "sibling", &mut d);
    let stranger = other([8; 32], "stranger", &mut d);
    let request = |method: &str, from: &str, to: &str, route: &str, number: u32| {
        format!(
            "{method} sip:x@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS x.invalid;branch=z9hG4bKx{number}\nMax-Forwards: 70\n\
             From: {from}\nTo: {to}\nCall-ID: call-1\nCSeq: {number} {method}\nRoute: {route}"
        )
    };
    let (alice, bob) = ("<sip:alice@contoso.example>;tag=f1", "<sip:bob@fabrikam.example>;tag=there");
    let theirs = d.w.connect(d.fabrikam, stranger, Side::Outside);
    d.w.send(theirs, &request("INFO", bob, alice, &outside_entry, 1), "");
    assert_eq!(
        (d.w.status(d.fabrikam), d.w.refusal()),
        (403, "token-forged"),
        "without the key nothing can be read"
    );
    let theirs = d.w.connect(d.fabrikam, sibling, Side::Outside);
    d.w.send(theirs, &request("INFO", bob, alice, &outside_entry, 2), "");
    assert_eq!(d.w.got(d.director).1.header(HeaderId::Route), Some(&b"<sip:dir.contoso.example;lr>"[..]));
    let ours = d.w.connect(d.director, sibling, Side::Inside);
    d.w.send(ours, &request("BYE", alice, bob, &inside_entry, 3), "");
    assert_eq!(d.w.got(d.fabrikam).1.method().as_str(), "BYE");
}

/// What comes in goes to the first server inside that takes it.
#[test]
fn a_server_inside_that_is_down_is_stepped_over() {
    let mut w = World::empty();
    let edge = w.edge("edge", "contoso.example", policy(FABRIKAM, &["contoso.example"]), |config| {
        config.next_hops.insert(0, "gone.contoso.example".parse().unwrap());
        config.next_hops.insert(1, "impostor.contoso.example".parse().unwrap());
    });
    let certificate_of = |host: &str| certificate(&[host], &[], Anchors::Servers);
    let director =
        w.hand("director", "dir.contoso.example", Side::Inside, Some(certificate_of("dir.contoso.example")));
    let wrong = certificate_of("printer.contoso.example");
    let impostor = w.hand("impostor", "impostor.contoso.example", Side::Inside, Some(wrong));
    let theirs = certificate(&["edge.fabrikam.example"], &["fabrikam.example"], Anchors::Partners);
    let fabrikam = w.hand("fabrikam", "edge.fabrikam.example", Side::Outside, Some(theirs));
    let wire = w.connect(fabrikam, edge, Side::Outside);
    let to = "sip:alice@contoso.example";
    let head = w.head("MESSAGE", to, "sip:bob@fabrikam.example", to);
    w.send(wire, &head, "hi");
    let got = w.got(director);
    w.answer(&got, 200, &[]);
    assert_eq!(w.status(fabrikam), 200);
    assert!(w.next(impostor).is_none());
}
