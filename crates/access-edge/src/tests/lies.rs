//! Whoever says what its connection does not prove, and what it gets: one test for each kind of lie.

use node::{Anchors, PeerCertificate, Side};
use sip_message::{HeaderId, Message};

use super::partners::{Direct, FABRIKAM};
use super::world::{Host, Wire, World, certificate, policy};

const METHODS: [&str; 13] = [
    "INVITE",
    "BYE",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "INFO",
    "OPTIONS",
    "UPDATE",
    "PRACK",
    "PUBLISH",
    "REGISTER",
    "WINK",
];

impl Direct {
    /// Sends a request, which must be refused with this status and code, and reach nobody.
    fn refuses(&mut self, from: Host, wire: Wire, head: &str, status: u16, code: &str) {
        self.w.send(wire, head, "");
        let answer = self.w.got(from).1;
        assert_eq!((answer.status(), self.w.refusal()), (Some(status), code), "{head}");
        assert!(
            answer.header(HeaderId::Warning).is_none() || from == self.director,
            "outside nobody hears why"
        );
        let other = if from == self.director { self.fabrikam } else { self.director };
        assert!(self.w.next(other).is_none(), "it reached nobody: {head}");
    }

    fn head(&mut self, method: &str, from: &str) -> String {
        self.w.head(method, "sip:alice@contoso.example", from, "sip:alice@contoso.example")
    }

    /// A call from contoso to fabrikam that is up: the entry of the edge that fabrikam saw.
    fn call(&mut self) -> (String, Wire) {
        let inside = self.wire_of_director();
        let to = "sip:bob@fabrikam.example";
        let head = self.w.head("INVITE", to, "sip:alice@contoso.example", to);
        let head = format!("{head}\nRecord-Route: <sip:dir.contoso.example;transport=tls;lr>");
        self.w.send(inside, &head, "");
        let invite = self.w.got(self.fabrikam);
        let entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
        self.w.answer(&invite, 200, &[(HeaderId::Contact, "<sip:evil@10.0.0.1>")]);
        assert_eq!(self.w.status(self.director), 200);
        (entry, inside)
    }
}

/// A BYE of fabrikam's in a call that [`Direct::call`] made first.
fn bye(route: &str, call_id: &str, number: u32) -> String {
    format!(
        "BYE sip:alice@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS f.invalid;branch=z9hG4bKb{number}\nMax-Forwards: 70\n\
         From: <sip:bob@fabrikam.example>;tag=there\nTo: <sip:alice@contoso.example>;tag=f1\nCall-ID: {call_id}\n\
         CSeq: {number} BYE\nRoute: {route}"
    )
}

#[test]
fn from_of_a_domain_that_the_connection_does_not_prove_is_refused_on_every_method() {
    let mut d = Direct::with(&format!(
        "{FABRIKAM}[[partner]]\ndomain = \"northwind.example\"\nmode = \"direct\"\nnext_hop = \"edge.northwind.example\"\n"
    ));
    let wire = d.wire_of_fabrikam();
    for method in METHODS {
        let head = d.head(method, "sip:eve@northwind.example");
        d.refuses(d.fabrikam, wire, &head, 403, "not-proved");
        let head = d.head(method, "sip:eve@nobody.example");
        d.refuses(d.fabrikam, wire, &head, 403, "unlisted");
        let head = d.head(method, "sip:alice@contoso.example");
        d.refuses(d.fabrikam, wire, &head, 403, "speaks-for-us");
        let head = d.head(method, "tel:+15551234567");
        d.refuses(d.fabrikam, wire, &head, 403, "no-domain");
    }
}

#[test]
fn from_is_asked_again_on_a_connection_that_was_good_and_on_one_that_we_opened() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("MESSAGE", to, "sip:alice@contoso.example", to);
    d.w.send(inside, &head, "");
    let (opened_by_us, _) = d.w.got(d.fabrikam);
    for wire in [opened_by_us, d.wire_of_fabrikam()] {
        let head = d.head("MESSAGE", to);
        d.w.send(wire, &head, "");
        assert_eq!(d.w.got(d.director).1.method().as_str(), "MESSAGE");
        let head = d.head("MESSAGE", "sip:eve@nobody.example");
        d.refuses(d.fabrikam, wire, &head, 403, "unlisted");
    }
}

#[test]
fn an_asserted_identity_of_another_domain_is_refused() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    for lie in [
        "<sip:alice@contoso.example>",
        "<sip:bob@fabrikam.example>, <sip:eve@northwind.example>",
        "<sips:x@contoso.example>",
    ] {
        let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
        d.refuses(d.fabrikam, wire, &format!("{head}\nP-Asserted-Identity: {lie}"), 403, "asserted-identity");
    }
}

#[test]
fn provenance_is_said_by_nobody_outside() {
    let mut d = Direct::new();
    let partner = d.wire_of_fabrikam();
    let client = d.w.hand("client", "client.invalid", Side::Outside, None);
    let anonymous = d.w.connect(client, d.edge, Side::Outside);
    let origin = "Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge-in.contoso.example";
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
    d.refuses(d.fabrikam, partner, &format!("{head}\n{origin}"), 403, "trust-header");
    for lie in [origin, "chancery-origin: remote;flow=x;edge=y", "Chancery-Member: fabrikam.example"] {
        let head = d.head("MESSAGE", "sip:alice@contoso.example");
        d.refuses(client, anonymous, &format!("{head}\n{lie}"), 403, "trust-header");
    }
    // A member's name on a partner's own connection is nothing, and goes no further.
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
    d.w.send(partner, &format!("{head}\nChancery-Member: northwind.example"), "");
    let got = d.w.got(d.director).1;
    assert_eq!(got.header_named("Chancery-Member"), None);
    assert!(
        got.header_named("Chancery-Origin")
            .unwrap()
            .starts_with(b"partner;domain=fabrikam.example;mode=direct")
    );
}

#[test]
fn provenance_and_identities_do_not_leave() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("MESSAGE", to, "sip:alice@contoso.example", to);
    let more = "Chancery-Origin: remote;flow=x;edge=y\nChancery-Member: a.example\nP-Asserted-Identity: <sip:alice@contoso.example>\n\
                P-Preferred-Identity: <sip:alice@contoso.example>\nP-Access-Network-Info: secret\nPath: <sip:dir.contoso.example;lr>";
    d.w.send(inside, &format!("{head}\n{more}"), "");
    let got = d.w.got(d.fabrikam);
    let text = String::from_utf8(got.1.bytes().to_vec()).unwrap();
    for never in ["Chancery", "P-", "Path", "dir.contoso", "secret", "edge-in", "sender.invalid"] {
        assert!(!text.contains(never), "{never} in {text}");
    }
    d.w.answer(&got, 200, &[(HeaderId::PAssertedIdentity, "<sip:alice@contoso.example>")]);
    let back = d.w.got(d.director).1;
    assert_eq!(back.header(HeaderId::PAssertedIdentity), None, "also not in an answer");
}

#[test]
fn a_certificate_that_proves_nobody_is_nobodys() {
    let own = || Anchors::Partner("northwind.example".into());
    let good = || certificate(&["edge.fabrikam.example"], &["fabrikam.example"], Anchors::Partners);
    let lies: [(&str, PeerCertificate); 6] = [
        (
            "expired, revoked, of the wrong usage or outside of its CA's constraints",
            PeerCertificate { trusted_by: Vec::new(), distrust: "expired".into(), ..good() },
        ),
        (
            "of another name",
            certificate(&["edge.northwind.example"], &["fabrikam.example"], Anchors::Partners),
        ),
        ("a wildcard", PeerCertificate { dns_names: Vec::new(), sip_domains: Vec::new(), ..good() }),
        (
            "the right name from another partner's private CA",
            PeerCertificate { trusted_by: vec![own()], ..good() },
        ),
        ("of our own CA", PeerCertificate { trusted_by: vec![Anchors::Servers], ..good() }),
        (
            "a SIP domain where a host is asked for",
            certificate(&["fabrikam.example"], &["fabrikam.example"], Anchors::Partners),
        ),
    ];
    for (what, lie) in lies {
        let mut d = Direct::new();
        let eve = d.w.hand("eve", "eve.invalid", Side::Outside, Some(lie));
        let wire = d.w.connect(eve, d.edge, Side::Outside);
        let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
        println!("{what}");
        d.refuses(eve, wire, &head, 403, "not-proved");
    }
}

#[test]
fn a_partner_whose_server_proves_something_else_gets_nothing() {
    let mut w = World::empty();
    let edge = w.edge("edge", "contoso.example", policy(FABRIKAM, &["contoso.example"]), |_| ());
    let director_certificate = certificate(&["dir.contoso.example"], &[], Anchors::Servers);
    let director = w.hand("director", "dir.contoso.example", Side::Inside, Some(director_certificate));
    let wrong = certificate(&["edge.northwind.example"], &[], Anchors::Partners);
    let impostor = w.hand("impostor", "edge.fabrikam.example", Side::Outside, Some(wrong));
    let wire = w.connect(director, edge, Side::Inside);
    let to = "sip:bob@fabrikam.example";
    let head = w.head("MESSAGE", to, "sip:alice@contoso.example", to);
    w.send(wire, &head, "secret");
    let answer = w.got(director).1;
    assert_eq!(answer.status(), Some(480));
    let warning = answer.header(HeaderId::Warning).expect("the caller is told why");
    assert_eq!(
        str::from_utf8(warning).unwrap(),
        "399 edge-in.contoso.example \"The server of fabrikam.example cannot be reached or does not prove who it is\""
    );
    assert!(w.next(impostor).is_none());
    assert!(
        w.reports.iter().any(|r| r.event == "connect-failed" && r.reason.contains("does not bear")),
        "{:?}",
        w.reports
    );
}

#[test]
fn inside_only_listed_servers_are_heard() {
    let mut d = Direct::new();
    let certificates = [
        None,
        Some(certificate(&["printer.contoso.example"], &[], Anchors::Servers)),
        Some(certificate(&["dir.contoso.example"], &[], Anchors::Partners)),
    ];
    for certificate in certificates {
        let stranger = d.w.hand("stranger", "stranger.contoso.example", Side::Inside, certificate);
        let wire = d.w.connect(stranger, d.edge, Side::Inside);
        let to = "sip:bob@fabrikam.example";
        let head = d.w.head("MESSAGE", to, "sip:alice@contoso.example", to);
        d.refuses(stranger, wire, &head, 403, "stranger");
    }
}

#[test]
fn our_servers_speak_for_our_domains_alone() {
    let mut d = Direct::new();
    let wire = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("MESSAGE", to, "sip:eve@northwind.example", to);
    d.refuses(d.director, wire, &head, 403, "relay");
    let head = d.w.head(
        "MESSAGE",
        "sip:alice@contoso.example",
        "sip:alice@contoso.example",
        "sip:alice@contoso.example",
    );
    d.refuses(d.director, wire, &head, 403, "stays-inside");
}

#[test]
fn a_partner_is_not_relayed() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    for uri in ["sip:carol@northwind.example", "sip:carol@10.0.0.1", "sip:carol@dir.contoso.example"] {
        let head = d.w.head("MESSAGE", uri, "sip:bob@fabrikam.example", uri);
        d.refuses(d.fabrikam, wire, &head, 403, "relay");
    }
    let head = d.w.head("MESSAGE", "tel:+1", "sip:bob@fabrikam.example", "tel:+1");
    d.refuses(d.fabrikam, wire, &head, 416, "scheme");
}

#[test]
fn a_route_that_points_inward_is_refused() {
    let mut d = Direct::new();
    let (entry, _) = d.call();
    let wire = d.wire_of_fabrikam();
    for route in [
        "<sip:dir.contoso.example;lr>",
        "<sip:10.0.0.101;lr>",
        "<sip:edge.contoso.example;lr>, <sip:fe.contoso.example;lr>",
    ] {
        let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
        d.refuses(d.fabrikam, wire, &format!("{head}\nRoute: {route}"), 403, "route");
    }
    d.refuses(
        d.fabrikam,
        wire,
        &bye(&format!("{entry}, <sip:fe.contoso.example;lr>"), "call-1", 5),
        403,
        "route",
    );
    // Our name alone is no way to anywhere, and harmless.
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
    d.w.send(wire, &format!("{head}\nRoute: <sip:edge.contoso.example;lr>"), "");
    assert_eq!(d.w.got(d.director).1.header(HeaderId::Route), None);
}

#[test]
fn a_forged_replayed_foreign_or_misplaced_token_is_refused() {
    let mut d = Direct::with(&format!(
        "{FABRIKAM}[[partner]]\ndomain = \"northwind.example\"\nmode = \"direct\"\nnext_hop = \"edge.northwind.example\"\n"
    ));
    let (entry, inside) = d.call();
    let wire = d.wire_of_fabrikam();
    let forged = entry.replace("sip:r.", "sip:r.A");
    d.refuses(d.fabrikam, wire, &bye(&forged, "call-1", 3), 403, "token-forged");
    d.refuses(d.fabrikam, wire, &bye(&entry, "another-call", 4), 403, "token-replayed");
    let certificate = certificate(&["edge.northwind.example"], &["northwind.example"], Anchors::Partners);
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(certificate));
    let theirs = d.w.connect(northwind, d.edge, Side::Outside);
    let foreign = bye(&entry, "call-1", 5).replace("bob@fabrikam", "bob@northwind");
    d.refuses(northwind, theirs, &foreign, 403, "token-foreign");
    // From says fabrikam, on northwind's connection.
    d.refuses(northwind, theirs, &bye(&entry, "call-1", 6), 403, "not-proved");
    let outside_in = entry.replace("edge.contoso", "edge-in.contoso");
    d.refuses(d.director, inside, &bye(&outside_in, "call-1", 7), 403, "token-misplaced");
    let flow = "<sip:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@edge.contoso.example;lr>";
    d.refuses(d.fabrikam, wire, &bye(flow, "call-1", 8), 403, "token-misplaced");
    d.w.send(wire, &bye(&entry, "call-1", 9), "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "BYE", "and the honest one passes");
}

#[test]
fn a_contact_or_record_route_of_a_partner_never_chooses_our_next_hop() {
    let mut d = Direct::new();
    let trap = d.w.hand("trap", "trap.example", Side::Outside, None);
    let inside = d.wire_of_director();
    let to = "sip:bob@fabrikam.example";
    let head = d.w.head("INVITE", to, "sip:alice@contoso.example", to);
    d.w.send(inside, &head, "");
    let invite = d.w.got(d.fabrikam);
    let entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    let mut answer = sip_message::ResponseBuilder::new(&invite.1, 200);
    answer.to_tag("there").header(HeaderId::Contact, "<sip:x@trap.example>");
    answer.header(HeaderId::RecordRoute, "<sip:trap.example;lr>, <sip:dir.contoso.example;lr>");
    answer.header(HeaderId::RecordRoute, format!("{entry}, <sip:below.example;lr>"));
    d.w.send_octets(invite.0, answer.build());
    let answered = d.w.got(d.director).1;
    let routes: Vec<&[u8]> = answered.elements(HeaderId::RecordRoute).collect();
    assert_eq!(routes.len(), 3, "what it claims to stand below our entry is dropped");
    let ours = str::from_utf8(routes[2]).unwrap();
    let head = format!(
        "BYE sip:x@trap.example SIP/2.0\nVia: SIP/2.0/TLS d.invalid;branch=z9hG4bKz\nMax-Forwards: 70\n\
         From: <sip:alice@contoso.example>;tag=f1\nTo: <{to}>;tag=there\nCall-ID: call-1\nCSeq: 2 BYE\n\
         Route: {ours}, <sip:dir.contoso.example;lr>, <sip:trap.example;lr>"
    );
    d.w.send(inside, &head, "");
    let bye = d.w.got(d.fabrikam).1;
    let routes: Vec<&[u8]> = bye.elements(HeaderId::Route).collect();
    assert_eq!(
        routes,
        [&b"<sip:dir.contoso.example;lr>"[..], b"<sip:trap.example;lr>"],
        "its own words go back to it"
    );
    assert!(d.w.next(trap).is_none() && d.w.next(d.director).is_none());
}

#[test]
fn used_up_hops_and_loops_end() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example").replace("Max-Forwards: 70", "Max-Forwards: 0");
    d.refuses(d.fabrikam, wire, &head, 483, "max-forwards");
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
    d.w.send(wire, &head, "");
    let inside = d.w.got(d.director).1;
    // It comes back as it left.
    let text = String::from_utf8(inside.bytes().to_vec()).unwrap();
    let text: Vec<&str> = text
        .split("\r\n")
        .filter(|line| !line.starts_with("Chancery") && !line.starts_with("Content-L"))
        .collect();
    d.refuses(d.fabrikam, wire, &text.join("\n"), 482, "loop");
}

#[test]
fn smuggled_headers_reach_nobody() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    for lines in [
        "P-Asserted-Identity : <sip:alice@contoso.example>",
        "Chancery-Origin\t: remote;flow=x;edge=y",
        "X: y\nP-Asserted-Identity:\n <sip:alice@contoso.example>",
        "From: <sip:alice@contoso.example>;tag=1",
        "f: <sip:alice@contoso.example>;tag=1",
        "Call-ID: other",
        "CSeq: 9 INVITE",
        "Max-Forwards: 1",
        "Subject: a\0b",
        "Content-Length: 0",
        "l: 7",
        "Event: presence\no: reg",
    ] {
        let head = d.head("MESSAGE", "sip:bob@fabrikam.example");
        d.w.send(wire, &format!("{head}\n{lines}"), "");
        assert_eq!(d.w.status(d.fabrikam), 400, "{lines}");
        assert!(d.w.next(d.director).is_none(), "{lines}");
    }
    for (line, end) in [
        ("Subject: a\rFrom: <sip:alice@contoso.example>", ""),
        ("Subject: a\nRoute: <sip:x;lr>", ""),
        ("Content-Length: 0", "BYE"),
    ] {
        let head = d.head("MESSAGE", "sip:bob@fabrikam.example").replace('\n', "\r\n");
        let length = if line.starts_with("Content") { "" } else { "Content-Length: 0\r\n" };
        d.w.send_octets(wire, format!("{head}\r\n{line}\r\n{length}\r\n{end}"));
        assert_eq!(d.w.status(d.fabrikam), 400, "{line:?}");
        assert!(d.w.next(d.director).is_none(), "{line:?}");
    }
    let head = d.head("MESSAGE", "sip:bob@fabrikam.example").replace('\n', "\r\n");
    d.w.send_octets(wire, format!("{head}\r\nContent-Length: 9\r\n\r\nshort"));
    assert_eq!(d.w.status(d.fabrikam), 400);
}

#[test]
fn an_answer_that_says_too_much_is_cut_down() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    let head = d.w.head(
        "INVITE",
        "sip:alice@contoso.example",
        "sip:bob@fabrikam.example",
        "sip:alice@contoso.example",
    );
    d.w.send(wire, &format!("{head}\nRecord-Route: <sip:proxy.fabrikam.example;lr>"), "");
    let invite = d.w.got(d.director);
    let recorded: Vec<String> =
        invite.1.values(HeaderId::RecordRoute).map(|v| String::from_utf8(v.to_vec()).unwrap()).collect();
    assert_eq!(recorded.len(), 2);
    let mut answer = sip_message::ResponseBuilder::new(&invite.1, 200);
    answer
        .to_tag("there")
        .header(HeaderId::RecordRoute, "<sip:fe.contoso.example;lr>, <sip:dir.contoso.example;lr>");
    for route in &recorded {
        answer.header(HeaderId::RecordRoute, route);
    }
    answer.header_named("Chancery-Origin", "x").header(HeaderId::ServiceRoute, "<sip:fe.contoso.example;lr>");
    answer
        .header(HeaderId::Warning, "399 fe.contoso.example \"x\"")
        .header(HeaderId::Contact, "<sip:a@pc.invalid>");
    d.w.send_octets(invite.0, answer.build());
    let got: Message = d.w.got(d.fabrikam).1;
    let text = String::from_utf8(got.bytes().to_vec()).unwrap();
    for never in ["fe.contoso", "dir.contoso", "edge-in", "Chancery", "Service-Route", "Warning"] {
        assert!(!text.contains(never), "{never} in {text}");
    }
    let routes: Vec<&[u8]> = got.elements(HeaderId::RecordRoute).collect();
    assert_eq!(routes[1..], [&b"<sip:proxy.fabrikam.example;lr>"[..]]);
    // Their ACK follows our entry to the Director first, then to the Front End.
    let entry = str::from_utf8(routes[0]).unwrap();
    let ack = format!(
        "ACK sip:a@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS f.invalid;branch=z9hG4bKack\nMax-Forwards: 70\n\
         From: <sip:bob@fabrikam.example>;tag=f1\nTo: <sip:alice@contoso.example>;tag=there\nCall-ID: call-1\nCSeq: 1 ACK\nRoute: {entry}"
    );
    d.w.send(wire, &ack, "");
    let ack = d.w.got(d.director).1;
    let routes: Vec<&[u8]> = ack.elements(HeaderId::Route).collect();
    assert_eq!(routes, [&b"<sip:dir.contoso.example;lr>"[..], b"<sip:fe.contoso.example;lr>"]);
}
