//! Direct federation: contoso.example's edge between its Director and fabrikam.example's edge, both played by hand.

use expect_test::{Expect, expect};
use node::{Anchors, Side};
use sip_message::HeaderId;

use super::world::{Host, Wire, World, certificate, policy, token_key};

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
    let sibling = other(token_key("contoso.example"), "sibling", &mut d);
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

/// An edge that is gone is named by its own host inside: whoever shares its key goes on with its dialogs, and nobody else.
#[test]
fn a_dialog_goes_on_through_an_edge_of_another_name() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("INVITE", to, "sip:alice@contoso.example", to);
    d.w.send(inside, &format!("{head}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = d.w.got(d.fabrikam);
    d.w.answer(&invite, 200, &[(HeaderId::RecordRoute, "<sip:proxy.fabrikam.example;lr>")]);
    let answered = d.w.got(d.director).1;
    let entries: Vec<String> = answered
        .elements(HeaderId::RecordRoute)
        .map(|entry| String::from_utf8(entry.to_vec()).unwrap())
        .collect();
    let entry = entries.iter().find(|entry| entry.contains("@edge-in.contoso.example:")).unwrap().clone();
    let other = |key: [u8; 32], name: &'static str, d: &mut Direct| {
        d.w.edge(name, "contoso.example", policy(FABRIKAM, &["contoso.example"]), |config| {
            config.token_keys = vec![key];
            config.listeners[0].advertised_host = "edge-in-2.contoso.example".to_owned();
        })
    };
    let (beside, stranger) =
        (other(token_key("contoso.example"), "beside", &mut d), other([8; 32], "stranger", &mut d));
    let bye = |route: &str, call_id: &str, number: u32| {
        format!(
            "BYE sip:bob@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS x.invalid;branch=z9hG4bKx{number}\nMax-Forwards: 70\n\
             From: <sip:alice@contoso.example>;tag=f1\nTo: <sip:bob@fabrikam.example>;tag=there\nCall-ID: {call_id}\n\
             CSeq: {number} BYE\nRoute: {route}, <sip:proxy.fabrikam.example;lr>"
        )
    };
    let theirs = d.w.connect(d.director, stranger, Side::Inside);
    d.w.send(theirs, &bye(&entry, "call-1", 2), "");
    assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "route"), "without the key it is anybody's");
    let ours = d.w.connect(d.director, beside, Side::Inside);
    d.w.send(ours, &bye(&entry, "another", 3), "");
    assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "token-replayed"));
    d.w.send(ours, &bye(&entry, "call-1", 4), "");
    let got = d.w.got(d.fabrikam);
    assert_eq!(got.1.header(HeaderId::Route), Some(&b"<sip:proxy.fabrikam.example;lr>"[..]));
    d.w.answer(&got, 200, &[]);
    assert_eq!(d.w.status(d.director), 200);
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

/// Carol calls Alice, whose device sends her on to Bob of fabrikam (RFC 3261 §8.1.3.4: To stays): Bob is called by Alice's address, and
/// bears it in what he says in this call (§12.2.1.1).
#[test]
fn whom_a_call_was_forwarded_to_hangs_up_by_the_address_that_was_called() {
    let mut d = Direct::with(&format!(
        "{FABRIKAM}[[partner]]\ndomain = \"northwind.example\"\nmode = \"direct\"\nnext_hop = \"edge.northwind.example\"\n"
    ));
    let (alice, carol) = ("sip:alice@contoso.example", "sip:carol@contoso.example");
    let inside = d.wire_of_director();
    let head = d.w.head("INVITE", "sip:bob@fabrikam.example", carol, alice);
    d.w.send(inside, &format!("{head}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = d.w.got(d.fabrikam);
    let entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    d.w.answer(&invite, 200, &[]);
    assert_eq!(d.w.status(d.director), 200);
    let mut number = 0;
    let mut bye = |from: &str, call_id: &str, route: &str| {
        number += 1;
        format!(
            "BYE sip:carol@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS f.invalid;branch=z9hG4bKb{number}\nMax-Forwards: 70\n\
             From: <{from}>;tag=there\nTo: <{carol}>;tag=f1\nCall-ID: {call_id}\nCSeq: {number} BYE{route}"
        )
    };
    let route = format!("\nRoute: {entry}");
    let wire = d.wire_of_fabrikam();
    let certificate = certificate(&["edge.northwind.example"], &["northwind.example"], Anchors::Partners);
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(certificate));
    let theirs = d.w.connect(northwind, d.edge, Side::Outside);
    for (who, wire, bye, code) in [
        (d.fabrikam, wire, bye(alice, "call-1", ""), "speaks-for-us"),
        (d.fabrikam, wire, bye("sip:boss@contoso.example", "call-1", &route), "token-foreign"),
        (d.fabrikam, wire, bye(carol, "call-1", &route), "token-foreign"),
        (d.fabrikam, wire, bye(alice, "another-call", &route), "token-replayed"),
        (northwind, theirs, bye(alice, "call-1", &route), "not-proved"),
        (northwind, theirs, bye("sip:bob@fabrikam.example", "call-1", &route), "not-proved"),
    ] {
        d.w.send(wire, &bye, "");
        assert_eq!((d.w.status(who), d.w.refusal()), (403, code), "{bye}");
        assert!(d.w.next(d.director).is_none(), "{bye}");
    }
    d.w.send(wire, &bye("sip:Alice@contoso.example", "call-1", &route), "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "token-foreign"), "users differ by case");
    let honest = bye(alice, "call-1", &route);
    d.w.send(wire, &honest, "");
    let got = d.w.got(d.director);
    let origin = got.1.header_named("Chancery-Origin").map(String::from_utf8_lossy).unwrap();
    assert_eq!(
        origin,
        "partner;domain=fabrikam.example;mode=direct;from=dialog;edge=edge-in.contoso.example"
    );
    d.w.answer(&got, 200, &[]);
    assert_eq!(d.w.status(d.fabrikam), 200);
}

fn contact(message: &sip_message::Message) -> String {
    String::from_utf8(message.header(HeaderId::Contact).unwrap().to_vec()).unwrap()
}

/// What stands within `<>`.
fn uri_of(contact: &str) -> &str {
    let start = contact.find("<sip:").unwrap() + 1;
    &contact[start..start + contact[start..].find('>').unwrap()]
}

/// Hosts of the inside, servers and devices alike, are an address of the organisation outside, and themselves again within the dialog.
#[test]
fn a_contact_shows_the_organisation_and_leads_back() {
    let mut d = Direct::new();
    let (alice, bob) = ("sip:alice@contoso.example", "sip:bob@fabrikam.example");
    let (inside, wire) = (d.wire_of_director(), d.wire_of_fabrikam());
    for (inner, before, after) in [
        ("sip:fe.contoso.example:5061;transport=tls", "<", ">"),
        (
            "sip:alice@10.0.0.7:5062;transport=tcp;ob",
            "\"Alice at <work>\" <",
            ">;+sip.instance=\"<urn:uuid:1>\"",
        ),
        ("sip:alice@pc.invalid", "", ""),
    ] {
        // In a request of ours.
        let head = d.w.head("SUBSCRIBE", bob, alice, bob);
        d.w.send(inside, &format!("{head}\nContact: {before}{inner}{after}"), "");
        let asked = d.w.got(d.fabrikam);
        let shown = contact(&asked.1);
        assert!(
            shown.starts_with(&format!("{}<sip:alice@contoso.example;gr=r.", before.trim_end_matches('<')))
        );
        assert!(shown.ends_with(&format!(">{}", after.trim_start_matches('>'))), "{shown}");
        for never in ["fe.contoso", "10.0.0", "invalid", "transport"] {
            assert!(!shown.contains(never), "{shown}");
        }
        let entry = String::from_utf8(asked.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
        d.w.answer(&asked, 200, &[(HeaderId::Contact, "<sip:bob@192.0.2.9>")]);
        let theirs = contact(&d.w.got(d.director).1);
        assert!(theirs.starts_with("<sip:bob@fabrikam.example;gr=r."), "{theirs}");
        // It comes back in the dialog.
        let call_id = asked.1.call_id().unwrap();
        let within = |d: &mut Direct, uri: &str, more: &str| {
            let head = d.w.head("NOTIFY", uri, bob, alice);
            let own = head.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
            let head = head.replace(&own, &format!("Call-ID: {call_id}"));
            d.w.send(wire, &format!("{head}{more}"), "");
            d.w.got(d.director).1
        };
        let notify = within(&mut d, uri_of(&shown), &format!("\nRoute: {entry}"));
        assert_eq!(notify.request_uri_text(), inner);
        // Outside of it, and where somebody changed it, it is the person.
        let notify = within(&mut d, uri_of(&shown), "");
        assert_eq!(notify.request_uri_text(), alice);
        let forged = uri_of(&shown).replace("gr=r.", "gr=r.A");
        let notify = within(&mut d, &forged, &format!("\nRoute: {entry}"));
        assert_eq!(notify.request_uri_text(), alice);
    }
    // In an answer of ours.
    let head = d.w.head("SUBSCRIBE", alice, bob, alice);
    d.w.send(wire, &format!("{head}\nContact: <sip:bob@192.0.2.9>"), "");
    let asked = d.w.got(d.director);
    assert!(contact(&asked.1).starts_with("<sip:bob@fabrikam.example;gr=r."), "{}", contact(&asked.1));
    d.w.answer(&asked, 200, &[(HeaderId::Contact, "<sip:fe.contoso.example:5061;transport=tls>")]);
    let shown = contact(&d.w.got(d.fabrikam).1);
    assert!(shown.starts_with("<sip:alice@contoso.example;gr=r."), "{shown}");
    // What is an address of the organisation already stays.
    let gruu = "<sip:alice@contoso.example;gr=urn:uuid:1>";
    let head = d.w.head("INVITE", bob, alice, bob);
    d.w.send(inside, &format!("{head}\nContact: {gruu}"), "");
    assert_eq!(contact(&d.w.got(d.fabrikam).1), gruu);
}

/// The server of a partner shows its own address, or its device's: inside it is an address of the partner, within the dialog that Contact again, and
/// anywhere else the person, at this partner.
#[test]
fn a_contact_of_another_make_is_an_address_of_the_partner_inside() {
    let mut d = Direct::with(&format!(
        "{FABRIKAM}[[partner]]\ndomain = \"northwind.example\"\nmode = \"direct\"\nnext_hop = \"edge.northwind.example\"\n"
    ));
    let shown = certificate(&["edge.northwind.example"], &["northwind.example"], Anchors::Partners);
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(shown));
    let (alice, bob) = ("sip:alice@contoso.example", "sip:bob@fabrikam.example");
    let inside = d.wire_of_director();
    for theirs in ["sip:bob@192.0.2.7", "sip:pbx.fabrikam.example:5070;transport=tls", "sip:x@10.0.0.1;ob"] {
        let head = d.w.head("INVITE", bob, alice, bob);
        let call = head.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
        d.w.send(inside, &head, "");
        let invite = d.w.got(d.fabrikam);
        d.w.answer(&invite, 200, &[(HeaderId::Contact, &format!("\"B\" <{theirs}>;+sip.x=\"1\""))]);
        let answer = d.w.got(d.director).1;
        let contact = contact(&answer);
        assert!(contact.starts_with("\"B\" <sip:bob@fabrikam.example;gr=r."), "{contact}");
        assert!(contact.ends_with(">;+sip.x=\"1\""), "{contact}");
        let uri = uri_of(&contact).to_owned();
        let route = String::from_utf8(answer.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
        let within = |d: &mut Direct, method: &str, uri: &str, more: &str| {
            let head = d.w.head(method, uri, alice, bob);
            let own = head.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
            let head =
                head.replace(&own, &call).replace(&format!("To: <{bob}>"), &format!("To: <{bob}>;tag=there"));
            d.w.send(inside, &format!("{head}\nRoute: {route}{more}"), "");
            d.w.got(d.fabrikam).1
        };
        assert_eq!(within(&mut d, "ACK", &uri, "").request_uri_text(), theirs);
        assert_eq!(within(&mut d, "BYE", &uri, "").request_uri_text(), theirs);
        let refer = within(&mut d, "REFER", &uri, &format!("\nRefer-To: <{uri}?Replaces=1%3Bto-tag%3D2>"));
        let refer_to = String::from_utf8_lossy(refer.header(HeaderId::ReferTo).unwrap()).into_owned();
        assert_eq!(refer_to, format!("<{theirs}?Replaces=1%3Bto-tag%3D2>"), "it knows its own");
        // Who was sent there asks the person.
        let head = d.w.head("INVITE", &uri, "sip:carol@contoso.example", &uri);
        d.w.send(inside, &head, "");
        assert_eq!(d.w.got(d.fabrikam).1.request_uri_text(), bob);
        // Of another partner's it means the person too, and a changed one means nothing here.
        let elsewhere = uri.replace("fabrikam.example", "northwind.example");
        let head = d.w.head("MESSAGE", &elsewhere, alice, &elsewhere);
        d.w.send(inside, &head, "");
        assert_eq!(d.w.got(northwind).1.request_uri_text(), "sip:bob@northwind.example");
        let forged = uri.replace("gr=r.", "gr=r.A");
        assert_eq!(within(&mut d, "INFO", &forged, "").request_uri_text(), forged);
    }
    // It is worth nothing to whom it was not shown: a partner that shows the inside's, or its own, gets neither back.
    let head = d.w.head("INVITE", bob, alice, bob);
    d.w.send(inside, &format!("{head}\nContact: <sip:alice@10.0.0.7>"), "");
    let invite = d.w.got(d.fabrikam);
    let ours = uri_of(&contact(&invite.1)).replace("alice@contoso.example", "bob@fabrikam.example");
    d.w.answer(&invite, 200, &[(HeaderId::Contact, &format!("<{ours}>"))]);
    let answer = d.w.got(d.director).1;
    let route = String::from_utf8(answer.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    assert_eq!(uri_of(&contact(&answer)), ours, "an address of its domain stays");
    let call = invite.1.call_id().unwrap();
    let bye = format!(
        "BYE {ours} SIP/2.0\nVia: SIP/2.0/TLS x.invalid;branch=z9hG4bKlast\nMax-Forwards: 70\nFrom: <{alice}>;tag=f1\n\
         To: <{bob}>;tag=there\nCall-ID: {call}\nCSeq: 99 BYE\nRoute: {route}"
    );
    d.w.send(inside, &bye, "");
    let got = d.w.got(d.fabrikam).1;
    assert_eq!(got.request_uri_text(), ours, "no device of ours is named");
    // A redirection names others.
    let head = d.w.head("INVITE", bob, alice, bob);
    d.w.send(inside, &head, "");
    let invite = d.w.got(d.fabrikam);
    d.w.answer(&invite, 302, &[(HeaderId::Contact, "<sip:erin@192.0.2.8>")]);
    assert_eq!(contact(&d.w.got(d.director).1), "<sip:erin@192.0.2.8>");
}

/// Bob of fabrikam talks with Alice and with Carol, and connects the two (RFC 5589 §7): Refer-To is the Contact that he was shown.
#[test]
fn a_transfer_to_a_contact_that_was_shown_reaches_the_person() {
    let mut d = Direct::new();
    let (alice, carol, bob) =
        ("sip:alice@contoso.example", "sip:carol@contoso.example", "sip:bob@fabrikam.example");
    let (inside, wire) = (d.wire_of_director(), d.wire_of_fabrikam());
    let mut dialogs = Vec::new();
    for (who, device) in [(alice, "sip:alice@10.0.0.7"), (carol, "sip:carol@10.0.0.8")] {
        let head = d.w.head("INVITE", bob, who, bob);
        d.w.send(inside, &format!("{head}\nContact: <{device}>"), "");
        let invite = d.w.got(d.fabrikam);
        let entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
        d.w.answer(&invite, 200, &[(HeaderId::Contact, "<sip:bob@192.0.2.9>")]);
        assert_eq!(d.w.status(d.director), 200);
        dialogs.push((uri_of(&contact(&invite.1)).to_owned(), entry, invite.1.call_id().unwrap().to_owned()));
    }
    let (to_alice, entry, call_id) = &dialogs[0];
    let to_carol = &dialogs[1].0;
    let replaces = "Replaces=call-2%3Bto-tag%3Df2%3Bfrom-tag%3Dthere";
    for (refer_to, meant) in [
        (format!("<{to_carol}>"), format!("<{carol}>")),
        (format!("Carol <{to_carol}?{replaces}>;x=y"), format!("Carol <{carol}?{replaces}>;x=y")),
        ("<sip:frank@fabrikam.example>".to_owned(), "<sip:frank@fabrikam.example>".to_owned()),
    ] {
        let head = d.w.head("REFER", to_alice, bob, alice);
        let own = head.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
        let head = head.replace(&own, &format!("Call-ID: {call_id}"));
        d.w.send(wire, &format!("{head}\nRoute: {entry}\nRefer-To: {refer_to}"), "");
        let refer = d.w.got(d.director);
        assert_eq!(refer.1.request_uri_text(), "sip:alice@10.0.0.7");
        assert_eq!(refer.1.header(HeaderId::ReferTo).map(String::from_utf8_lossy).unwrap(), meant);
        d.w.answer(&refer, 202, &[]);
        assert_eq!(d.w.status(d.fabrikam), 202);
    }
    // Frank of fabrikam, whom Bob sends to Alice, asks like anybody, for whom he means.
    let head = d.w.head("INVITE", to_alice, "sip:frank@fabrikam.example", to_alice);
    d.w.send(wire, &format!("{head}\nReplaces: call-1;to-tag=f1;from-tag=there"), "");
    let invite = d.w.got(d.director).1;
    assert_eq!(invite.request_uri_text(), alice);
    assert!(invite.header(HeaderId::Replaces).is_some());
    // And where the policy lets nobody begin, the Contact opens no way.
    let one_way = policy(&format!("{FABRIKAM}direction = \"out\"\n"), &["contoso.example"]);
    d.w.call(d.edge, crate::admin::Call::SetPolicy(one_way));
    let head = d.w.head("INVITE", to_alice, "sip:frank@fabrikam.example", to_alice);
    d.w.send(wire, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "one-way"));
}
