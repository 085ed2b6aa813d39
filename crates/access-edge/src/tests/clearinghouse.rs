//! A hub between the edges of its members, all of them real; and who is no member.

use expect_test::expect;
use node::{Anchors, Side};
use sip_message::HeaderId;

use super::world::{Host, World, certificate, policy};
use crate::Mode;

const MEMBERS: &str = "[[partner]]\ndomain = \"contoso.example\"\nmode = \"member\"\nnext_hop = \"edge.contoso.example\"\n\
                       [[partner]]\ndomain = \"northwind.example\"\nmode = \"member\"\nnext_hop = \"edge.northwind.example\"\n";

fn through_hub(member: &str) -> String {
    format!(
        "[[clearinghouse]]\nname = \"edge.trade.example\"\nnext_hop = \"edge.trade.example\"\nmembers = [\"{member}\"]\n"
    )
}

struct Trade {
    w: World,
    hub: Host,
    contoso: Host,
    northwind: Host,
    contoso_director: Host,
    northwind_director: Host,
}

impl Trade {
    fn new() -> Trade {
        let mut w = World::empty();
        let hub = w.edge("hub", "trade.example", policy(MEMBERS, &[] as &[&str]), |config| {
            config.mode = Mode::Clearinghouse;
        });
        let contoso = w.edge(
            "contoso",
            "contoso.example",
            policy(&through_hub("northwind.example"), &["contoso.example"]),
            |_| (),
        );
        let northwind = w.edge(
            "northwind",
            "northwind.example",
            policy(&through_hub("contoso.example"), &["northwind.example"]),
            |_| (),
        );
        let mut director = |name, host: &str| {
            w.hand(name, host, Side::Inside, Some(certificate(&[host], &[], Anchors::Servers)))
        };
        let contoso_director = director("dir.contoso", "dir.contoso.example");
        let northwind_director = director("dir.northwind", "dir.northwind.example");
        Trade { w, hub, contoso, northwind, contoso_director, northwind_director }
    }
}

#[test]
fn a_message_crosses_a_hub_with_its_member_named() {
    let mut t = Trade::new();
    let wire = t.w.connect(t.contoso_director, t.contoso, Side::Inside);
    let to = "sip:nora@northwind.example";
    let head = t.w.head("MESSAGE", to, "sip:alice@contoso.example", to);
    t.w.send(wire, &head, "hi");
    let got = t.w.got(t.northwind_director);
    t.w.answer(&got, 200, &[]);
    assert_eq!(t.w.status(t.contoso_director), 200);
    expect![[r#"
        dir.contoso > contoso: MESSAGE sip:nora@northwind.example
            Via: SIP/2.0/TLS sender.invalid
        contoso > hub: MESSAGE sip:nora@northwind.example
            Via: SIP/2.0/TLS edge.contoso.example:5061
        hub > northwind: MESSAGE sip:nora@northwind.example
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Chancery-Member: contoso.example
        northwind > dir.northwind: MESSAGE sip:nora@northwind.example
            Via: SIP/2.0/TLS edge-in.northwind.example:5061
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.contoso.example:5061
            Chancery-Origin: partner;domain=contoso.example;mode=clearinghouse;hub=edge.trade.example;edge=edge-in.northwind.example
        dir.northwind > northwind: 200 (MESSAGE)
            Via: SIP/2.0/TLS edge-in.northwind.example:5061
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.contoso.example:5061
        northwind > hub: 200 (MESSAGE)
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.contoso.example:5061
        hub > contoso: 200 (MESSAGE)
            Via: SIP/2.0/TLS edge.contoso.example:5061
        contoso > dir.contoso: 200 (MESSAGE)
            Via: SIP/2.0/TLS sender.invalid
    "#]].assert_eq(&t.w.ladder);
}

#[test]
fn a_call_crosses_a_hub_and_ends_from_the_other_side() {
    let mut t = Trade::new();
    let wire = t.w.connect(t.contoso_director, t.contoso, Side::Inside);
    let to = "sip:nora@northwind.example";
    let head = t.w.head("INVITE", to, "sip:alice@contoso.example", to);
    t.w.send(wire, &format!("{head}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = t.w.got(t.northwind_director);
    let recorded: Vec<String> = invite
        .1
        .elements(HeaderId::RecordRoute)
        .map(|route| String::from_utf8(route.to_vec()).unwrap())
        .collect();
    assert_eq!(recorded.len(), 3, "northwind's edge, the hub, contoso's edge: {recorded:?}");
    t.w.answer(&invite, 200, &[(HeaderId::Contact, "<sip:nora@pc.invalid>")]);
    assert_eq!(t.w.status(t.contoso_director), 200);
    t.w.ladder.clear();
    let bye = format!(
        "BYE sip:alice@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS n.invalid;branch=z9hG4bKbye\nMax-Forwards: 70\n\
         From: <{to}>;tag=there\nTo: <sip:alice@contoso.example>;tag=f1\nCall-ID: call-1\nCSeq: 1 BYE\nRoute: {}",
        recorded.join(", ")
    );
    let back = t.w.connect(t.northwind_director, t.northwind, Side::Inside);
    t.w.send(back, &bye, "");
    let bye = t.w.got(t.contoso_director);
    t.w.answer(&bye, 200, &[]);
    assert_eq!(t.w.status(t.northwind_director), 200);
    expect![[r#"
        dir.northwind > northwind: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS n.invalid
            Route: <sip:SEALED@edge-in.northwind.example:5061;transport=tls;lr>, <sip:SEALED@edge.trade.example:5061;transport=tls;lr>, <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        northwind > hub: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS edge.northwind.example:5061
            Route: <sip:SEALED@edge.trade.example:5061;transport=tls;lr>, <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
        hub > contoso: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.northwind.example:5061
            Route: <sip:SEALED@edge.contoso.example:5061;transport=tls;lr>
            Chancery-Member: northwind.example
        contoso > dir.contoso: BYE sip:alice@pc.invalid
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Route: <sip:dir.contoso.example;lr>
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.northwind.example:5061
            Chancery-Origin: partner;domain=northwind.example;mode=clearinghouse;hub=edge.trade.example;edge=edge-in.contoso.example
        dir.contoso > contoso: 200 (BYE)
            Via: SIP/2.0/TLS edge-in.contoso.example:5061
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.northwind.example:5061
        contoso > hub: 200 (BYE)
            Via: SIP/2.0/TLS edge.trade.example:5061
            Via: SIP/2.0/TLS edge.northwind.example:5061
        hub > northwind: 200 (BYE)
            Via: SIP/2.0/TLS edge.northwind.example:5061
        northwind > dir.northwind: 200 (BYE)
            Via: SIP/2.0/TLS n.invalid
    "#]].assert_eq(&t.w.ladder);
}

#[test]
fn a_hub_carries_for_its_members_alone() {
    let mut t = Trade::new();
    let member = certificate(&["edge.contoso.example"], &["contoso.example"], Anchors::Partners);
    let contoso = t.w.hand("contoso by hand", "hand.contoso.example", Side::Outside, Some(member));
    let eve = t.w.hand("eve", "eve.invalid", Side::Outside, None);
    let (theirs, hers) = (t.w.connect(contoso, t.hub, Side::Outside), t.w.connect(eve, t.hub, Side::Outside));
    let nora = "sip:nora@northwind.example";
    for (who, wire, from, to, status, code) in [
        (contoso, theirs, "sip:x@northwind.example", nora, 403, "not-proved"),
        (contoso, theirs, "sip:x@elsewhere.example", nora, 403, "not-member"),
        (contoso, theirs, "sip:alice@contoso.example", "sip:x@elsewhere.example", 403, "not-member"),
        (contoso, theirs, "sip:alice@contoso.example", "sip:bob@contoso.example", 482, "back-to-sender"),
        (eve, hers, "sip:alice@contoso.example", nora, 403, "not-proved"),
    ] {
        let head = t.w.head("MESSAGE", to, from, to);
        t.w.send(wire, &head, "");
        assert_eq!((t.w.status(who), t.w.refusal()), (status, code), "{from} to {to}");
    }
    // What a member says of members is removed; the hub says it.
    let head = t.w.head("MESSAGE", nora, "sip:alice@contoso.example", nora);
    t.w.send(theirs, &format!("{head}\nChancery-Member: litware.example"), "");
    let got = t.w.got(t.northwind_director).1;
    assert!(
        got.header_named("Chancery-Origin")
            .unwrap()
            .starts_with(b"partner;domain=contoso.example;mode=clearinghouse;hub=edge.trade.example")
    );
    let head = t.w.head("MESSAGE", nora, "sip:alice@contoso.example", nora);
    t.w.send(theirs, &format!("{head}\nChancery-Origin: remote;flow=x;edge=y"), "");
    assert_eq!((t.w.status(contoso), t.w.refusal()), (403, "trust-header"));
    assert!(t.w.next(t.northwind_director).is_none());
}

#[test]
fn a_loop_through_two_edges_and_a_hub_ends() {
    let mut t = Trade::new();
    let wire = t.w.connect(t.contoso_director, t.contoso, Side::Inside);
    let nora = "sip:nora@northwind.example";
    let head = t.w.head("MESSAGE", nora, "sip:alice@contoso.example", nora);
    t.w.send(wire, &head, "");
    // Northwind sends it back where it came from, as a forwarding server would.
    let got = t.w.got(t.northwind_director).1;
    let back = t.w.connect(t.northwind_director, t.northwind, Side::Inside);
    let text = String::from_utf8(got.bytes().to_vec())
        .unwrap()
        .replace("MESSAGE sip:nora@northwind.example", "MESSAGE sip:alice@contoso.example");
    let via = "Via: SIP/2.0/TLS dir.northwind.example;branch=z9hG4bKloop\r\nVia: ";
    t.w.send_octets(back, text.replacen("Via: ", via, 1));
    assert_eq!((t.w.status(t.northwind_director), t.w.refusal()), (403, "relay"));
    // And one that was sent on unchanged meets its own trace.
    let text = String::from_utf8(got.bytes().to_vec()).unwrap();
    let hop = certificate(&["edge.contoso.example"], &["contoso.example"], Anchors::Partners);
    let contoso = t.w.hand("contoso by hand", "hand.contoso.example", Side::Outside, Some(hop));
    let theirs = t.w.connect(contoso, t.hub, Side::Outside);
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("Chancery")).collect();
    t.w.send_octets(theirs, lines.join("\r\n"));
    assert_eq!((t.w.status(contoso), t.w.refusal()), (482, "loop"));
}

/// The same over three borders: each has sealed what the callee was called by.
#[test]
fn whom_a_call_was_forwarded_to_through_a_hub_hangs_up() {
    let mut t = Trade::new();
    let wire = t.w.connect(t.contoso_director, t.contoso, Side::Inside);
    let (alice, carol) = ("sip:alice@contoso.example", "sip:carol@contoso.example");
    let head = t.w.head("INVITE", "sip:nora@northwind.example", carol, alice);
    t.w.send(wire, &format!("{head}\nRecord-Route: <sip:dir.contoso.example;lr>"), "");
    let invite = t.w.got(t.northwind_director);
    let recorded: Vec<String> = invite
        .1
        .elements(HeaderId::RecordRoute)
        .map(|route| String::from_utf8(route.to_vec()).unwrap())
        .collect();
    t.w.answer(&invite, 200, &[(HeaderId::Contact, "<sip:nora@pc.invalid>")]);
    let answered = t.w.got(t.contoso_director).1;
    let back = t.w.connect(t.northwind_director, t.northwind, Side::Inside);
    let mut number = 0;
    let mut request = |method: &str, from: &str, to: &str, route: &str| {
        number += 1;
        format!(
            "{method} sip:x@pc.invalid SIP/2.0\nVia: SIP/2.0/TLS n.invalid;branch=z9hG4bKn{number}\nMax-Forwards: 70\n\
             From: <{from}>;tag=a\nTo: <{to}>;tag=b\nCall-ID: call-1\nCSeq: {number} {method}\nRoute: {route}"
        )
    };
    let way = recorded.join(", ");
    // Another address of the same domain is nobody's in this call.
    t.w.send(back, &request("INFO", "sip:boss@contoso.example", carol, &way), "");
    assert_eq!((t.w.status(t.northwind_director), t.w.refusal()), (403, "relay"));
    t.w.send(back, &request("INFO", alice, carol, &way), "");
    let info = t.w.got(t.contoso_director);
    assert_eq!(info.1.method().as_str(), "INFO");
    t.w.answer(&info, 200, &[]);
    assert_eq!(t.w.status(t.northwind_director), 200);
    // And the caller's way.
    let mut routes: Vec<String> = answered
        .elements(HeaderId::RecordRoute)
        .map(|route| String::from_utf8(route.to_vec()).unwrap())
        .collect();
    routes.retain(|route| !route.contains("dir.contoso"));
    routes.reverse();
    t.w.send(wire, &request("BYE", carol, alice, &routes.join(", ")), "");
    let bye = t.w.got(t.northwind_director);
    assert_eq!(bye.1.method().as_str(), "BYE");
    t.w.answer(&bye, 200, &[]);
    assert_eq!(t.w.status(t.contoso_director), 200);
}
