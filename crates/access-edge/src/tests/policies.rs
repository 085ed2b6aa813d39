//! What the policy forbids, how much it allows, and what happens when it changes.

use std::time::Duration;

use federation::discovery::{ADDRESSES_MAX, ALLOWANCE};
use node::{Anchors, Side};
use sip_message::HeaderId;

use super::partners::{Direct, FABRIKAM};
use super::world::{World, certificate, policy};
use crate::Limits;
use crate::admin::{Answer, Call};

const TO: &str = "sip:bob@fabrikam.example";
const ALICE: &str = "sip:alice@contoso.example";

fn set_policy(d: &mut Direct, text: &str) -> usize {
    match d.w.call(d.edge, Call::SetPolicy(policy(text, &["contoso.example"]))) {
        Answer::Done { closed } => closed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_policy_allows_nobody_and_says_so() {
    let mut d = Direct::with("");
    assert!(d.w.reports.iter().any(|report| report.event == "policy-empty"), "{:?}", d.w.reports);
    let wire = d.wire_of_fabrikam();
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "unlisted"));
    let inside = d.wire_of_director();
    let head = d.w.head("MESSAGE", TO, ALICE, TO);
    d.w.send(inside, &head, "");
    let answer = d.w.got(d.director).1;
    let warning = answer.header(HeaderId::Warning).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(
        (answer.status(), warning.as_deref()),
        (
            Some(403),
            Some("399 edge-in.contoso.example \"Your organisation is not federated with fabrikam.example\"")
        )
    );
}

#[test]
fn what_is_not_allowed_is_refused_both_ways_and_explained_inside() {
    let mut d = Direct::with(&format!("{FABRIKAM}modalities = [\"im\", \"audio\"]\n"));
    let (inside, outside) = (d.wire_of_director(), d.wire_of_fabrikam());
    let head = d.w.head("SUBSCRIBE", ALICE, TO, ALICE);
    d.w.send(outside, &format!("{head}\nEvent: presence"), "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "modality"));
    let head = d.w.head("INVITE", TO, ALICE, TO);
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    d.w.send(inside, &format!("{head}\nContent-Type: application/sdp"), sdp);
    let answer = d.w.got(d.director).1;
    assert_eq!(answer.status(), Some(488));
    assert!(answer.header(HeaderId::Warning).is_some(), "the caller is told why");
    assert!(d.w.next(d.fabrikam).is_none() && d.w.next(d.director).is_none());
}

/// Who refuses tells strangers no reason: our own users are told at least who it was.
#[test]
fn who_refuses_without_a_reason_is_named_inside() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let ours =
        "399 edge-in.contoso.example \"The other organisation (fabrikam.example) does not allow this\"";
    let theirs = "399 edge.fabrikam.example \"office hours are over\"";
    for (method, status, said, told) in [
        ("MESSAGE", 403, None, Some(ours)),
        ("SUBSCRIBE", 405, None, Some(ours)),
        ("INVITE", 488, None, Some(ours)),
        ("INVITE", 403, Some(theirs), Some(theirs)),
        ("MESSAGE", 404, None, None),
        ("INVITE", 486, None, None),
        ("MESSAGE", 200, None, None),
    ] {
        let head = d.w.head(method, TO, ALICE, TO);
        d.w.send(inside, &head, "");
        let asked = d.w.got(d.fabrikam);
        let said: Vec<_> = said.map(|said| (HeaderId::Warning, said)).into_iter().collect();
        d.w.answer(&asked, status, &said);
        // The ACK of a refusal goes hop by hop.
        while d.w.next(d.fabrikam).is_some() {}
        let answer = d.w.got(d.director).1;
        let warnings: Vec<_> = answer.values(HeaderId::Warning).map(String::from_utf8_lossy).collect();
        assert_eq!(answer.status(), Some(status));
        assert_eq!(warnings, told.into_iter().collect::<Vec<_>>(), "{method} {status}");
    }
}

const SOUND: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// An INVITE without an offer is a call, and it is the answer that offers (RFC 3264 §5): what is not allowed is refused in it, both sides
/// agree on that, and the call goes on.
#[test]
fn a_response_offers_no_more_than_is_allowed() {
    let mut d = Direct::with(&format!("{FABRIKAM}modalities = [\"im\", \"audio\"]\n"));
    let (inside, outside) = (d.wire_of_director(), d.wire_of_fabrikam());
    let offer = format!("{SOUND}m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    let passed = format!("{SOUND}m=video 0 RTP/AVP 96\r\n");
    for (caller, wire, callee, from, to) in
        [(d.director, inside, d.fabrikam, ALICE, TO), (d.fabrikam, outside, d.director, TO, ALICE)]
    {
        for (status, content_type, body, arrives) in [
            (183, "application/sdp", offer.as_str(), passed.as_str()),
            (200, "application/sdp", offer.as_str(), passed.as_str()),
            (200, "application/sdp", SOUND, SOUND),
            (200, "multipart/mixed;boundary=x", "--x\r\n\r\nhidden\r\n--x--\r\n", ""),
        ] {
            let head = d.w.head("INVITE", to, from, to);
            d.w.send(wire, &head, "");
            let invite = d.w.got(callee);
            let mut answer = sip_message::ResponseBuilder::new(&invite.1, status);
            answer.to_tag("there").copy_record_route().body(content_type, body.as_bytes());
            d.w.send_octets(invite.0, answer.build());
            let got = d.w.got(caller).1;
            assert_eq!((got.status(), String::from_utf8_lossy(got.body()).as_ref()), (Some(status), arrives));
            assert_eq!(got.header(HeaderId::ContentType).is_some(), !arrives.is_empty());
        }
    }
}

#[test]
fn registrations_and_publications_stay_within_an_organisation() {
    let mut d = Direct::new();
    let (inside, outside) = (d.wire_of_director(), d.wire_of_fabrikam());
    for method in ["REGISTER", "PUBLISH"] {
        let head = d.w.head(method, ALICE, TO, ALICE);
        d.w.send(outside, &head, "");
        let answer = d.w.got(d.fabrikam).1;
        assert_eq!((answer.status(), d.w.refusal()), (Some(405), "method"));
        assert!(answer.header(HeaderId::Allow).is_some());
        let head = d.w.head(method, TO, ALICE, TO);
        d.w.send(inside, &head, "");
        assert_eq!((d.w.status(d.director), d.w.refusal()), (405, "method"));
    }
}

#[test]
fn whoever_becomes_a_partner_need_not_sign_in() {
    let mut d = Direct::with("");
    let wire = d.wire_of_fabrikam();
    assert_eq!(set_policy(&mut d, FABRIKAM), 0);
    d.w.pass_time(Duration::from_secs(120));
    assert!(d.w.is_up(wire));
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "MESSAGE");
}

/// A newcomer's CA is believed already, for another partner: its connection was judged before it was meant, and is not kept until the
/// time for signing in is over.
#[test]
fn a_newcomer_whose_ca_others_share_is_judged_at_once() {
    let of = |names: &str, trusted: &[&str]| {
        let mut certificate =
            certificate(&[&format!("edge.{names}")], &[names], Anchors::Partner(trusted[0].into()));
        certificate.trusted_by = trusted.iter().map(|name| Anchors::Partner((*name).into())).collect();
        certificate
    };
    let entry = |domain: &str| {
        format!(
            "[[partner]]\ndomain = \"{domain}\"\nmode = \"direct\"\nnext_hop = \"edge.{domain}\"\nauthority_file = \"ca.pem\"\n"
        )
    };
    let mut d = Direct::with(&entry("tailspin.example"));
    d.w.show(d.fabrikam, Side::Outside, of("fabrikam.example", &["tailspin.example"]));
    let newcomer = d.wire_of_fabrikam();
    let theirs = of("tailspin.example", &["tailspin.example"]);
    let tailspin = d.w.hand("tailspin", "edge.tailspin.example", Side::Outside, Some(theirs));
    let partner = d.w.connect(tailspin, d.edge, Side::Outside);
    let mut northwind = of("northwind.example", &["x.example"]);
    northwind.trusted_by.clear();
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(northwind));
    let stranger = d.w.connect(northwind, d.edge, Side::Outside);
    let client = d.w.hand("client", "pc.example", Side::Outside, None);
    let client = d.w.connect(client, d.edge, Side::Outside);
    let inside = d.wire_of_director();
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(newcomer, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "unlisted"));
    let both = entry("tailspin.example") + &entry("fabrikam.example");
    assert_eq!(set_policy(&mut d, &both), 0, "nobody loses anything");
    let up = [newcomer, partner, stranger, client, inside].map(|wire| d.w.is_up(wire));
    assert_eq!(up, [false, true, true, true, true]);
    assert!(d.w.reports.iter().any(|report| report.event == "trust-gained"), "{:?}", d.w.reports);
    d.w.show(d.fabrikam, Side::Outside, of("fabrikam.example", &["fabrikam.example", "tailspin.example"]));
    let newcomer = d.wire_of_fabrikam();
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(newcomer, &head, "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "MESSAGE");
    assert_eq!(set_policy(&mut d, &both), 0);
    assert!(d.w.is_up(newcomer) && d.w.is_up(partner), "who is known stays");
}

#[test]
fn a_partner_that_may_not_begin_may_go_on() {
    let mut d = Direct::with(&format!("{FABRIKAM}direction = \"out\"\n"));
    let (inside, outside) = (d.wire_of_director(), d.wire_of_fabrikam());
    let head = d.w.head("INVITE", ALICE, TO, ALICE);
    d.w.send(outside, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "one-way"));
    // A tag in To proves no dialog.
    let head =
        d.w.head("BYE", ALICE, TO, ALICE)
            .replace("To: <sip:alice@contoso.example>", "To: <sip:alice@contoso.example>;tag=x");
    d.w.send(outside, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "one-way"));
    let head = d.w.head("INVITE", TO, ALICE, TO);
    d.w.send(inside, &head, "");
    let invite = d.w.got(d.fabrikam);
    let entry = String::from_utf8(invite.1.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    let call_id = invite.1.call_id().unwrap().to_owned();
    d.w.answer(&invite, 200, &[]);
    assert_eq!(d.w.status(d.director), 200);
    let bye = d.w.head("BYE", "sip:a@pc.invalid", TO, ALICE);
    let own = bye.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
    d.w.send(outside, &format!("{}\nRoute: {entry}", bye.replace(&own, &format!("Call-ID: {call_id}"))), "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "BYE");
}

#[test]
fn a_blocked_partner_gets_nothing_after_the_change_and_its_connection_ends() {
    let mut d = Direct::new();
    let wire = d.wire_of_fabrikam();
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    let message = d.w.got(d.director);
    assert_eq!(set_policy(&mut d, "[block]\ndomains = [\"fabrikam.example\"]\n"), 1);
    assert!(!d.w.is_up(wire));
    d.w.answer(&message, 200, &[]);
    assert!(d.w.next(d.fabrikam).is_none(), "not even the answer to what it asked before");
    let wire = d.wire_of_fabrikam();
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "blocked"));
    let inside = d.wire_of_director();
    let head = d.w.head("MESSAGE", TO, ALICE, TO);
    d.w.send(inside, &head, "");
    assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "blocked"));
    assert!(d.w.next(d.fabrikam).is_none());
}

/// Once found by the simulator: the connection with a hub stays for the other members.
#[test]
fn a_blocked_member_gets_nothing_through_the_hub_either() {
    let hub = "[[clearinghouse]]\nname = \"hub.trade.example\"\nnext_hop = \"hub.trade.example:5061\"\n\
               members = [\"northwind.example\", \"litware.example\"]\n";
    let mut d = Direct::with(hub);
    let hub_certificate = certificate(&["hub.trade.example"], &[], Anchors::Partners);
    let trade = d.w.hand("hub", "hub.trade.example", Side::Outside, Some(hub_certificate));
    let wire = d.w.connect(trade, d.edge, Side::Outside);
    let mut asked = Vec::new();
    for member in ["northwind.example", "litware.example"] {
        let head = d.w.head("MESSAGE", ALICE, &format!("sip:eve@{member}"), ALICE);
        d.w.send(wire, &format!("{head}\nChancery-Member: {member}"), "");
        asked.push(d.w.got(d.director));
    }
    let blocked = format!("{hub}[block]\ndomains = [\"northwind.example\"]\n");
    assert_eq!(set_policy(&mut d, &blocked), 0);
    d.w.answer(&asked[0], 200, &[]);
    assert!(d.w.next(trade).is_none(), "not even the answer to what it asked before");
    d.w.answer(&asked[1], 200, &[]);
    assert_eq!(d.w.status(trade), 200, "the others do");
}

#[test]
fn a_connection_that_we_opened_ends_with_the_relationship_too() {
    let mut d = Direct::new();
    let inside = d.wire_of_director();
    let head = d.w.head("MESSAGE", TO, ALICE, TO);
    d.w.send(inside, &head, "");
    let message = d.w.got(d.fabrikam);
    assert_eq!(set_policy(&mut d, ""), 1);
    d.w.answer(&message, 200, &[]);
    assert_eq!(d.w.status(d.director), 480, "the answer came too late");
    let Answer::Connections(up) = d.w.call(d.edge, Call::Connections { limit: 10 }) else { panic!("a list") };
    assert_eq!(up.iter().map(|c| c.kind).collect::<Vec<_>>(), ["server"]);
}

#[test]
fn a_road_moves_with_one_line_of_policy() {
    let hub = "[[clearinghouse]]\nname = \"hub.trade.example\"\nnext_hop = \"hub.trade.example:5061\"\nmembers = [\"fabrikam.example\"]\n";
    let mut d = Direct::with(&format!("{hub}{FABRIKAM}"));
    let hub_certificate = certificate(&["hub.trade.example"], &[], Anchors::Partners);
    let trade = d.w.hand("hub", "hub.trade.example", Side::Outside, Some(hub_certificate));
    let (inside, direct) = (d.wire_of_director(), d.wire_of_fabrikam());
    let through = d.w.connect(trade, d.edge, Side::Outside);
    let head = |d: &mut Direct, member| {
        format!("{}\nChancery-Member: {member}", d.w.head("MESSAGE", ALICE, TO, ALICE))
    };
    let message = head(&mut d, "fabrikam.example");
    d.w.send(through, &message, "");
    assert_eq!((d.w.status(trade), d.w.refusal()), (403, "wrong-road"));

    let mode = "mode = \"clearinghouse\"\nvia = \"hub.trade.example\"";
    let moved = format!("{hub}{}", FABRIKAM.replace("mode = \"direct\"", mode));
    assert_eq!(set_policy(&mut d, &moved), 1, "its own connection");
    assert!(!d.w.is_up(direct));
    let message = head(&mut d, "fabrikam.example");
    d.w.send(through, &message, "");
    let origin = d.w.got(d.director).1;
    let origin = String::from_utf8(origin.header_named("Chancery-Origin").unwrap().to_vec()).unwrap();
    assert_eq!(
        origin,
        "partner;domain=fabrikam.example;mode=clearinghouse;hub=hub.trade.example;edge=edge-in.contoso.example"
    );
    let direct = d.wire_of_fabrikam();
    let message = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(direct, &message, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (403, "wrong-road"));
    let message = d.w.head("MESSAGE", TO, ALICE, TO);
    d.w.send(inside, &message, "");
    assert_eq!(d.w.got(trade).1.method().as_str(), "MESSAGE", "and out over the same road");
}

#[test]
fn a_hub_speaks_for_its_listed_members_alone() {
    let text = format!(
        "{FABRIKAM}[[clearinghouse]]\nname = \"hub.trade.example\"\nnext_hop = \"hub.trade.example:5061\"\nmembers = [\"northwind.example\", \"litware.example\", \"bad.example\"]\n\
         [block]\ndomains = [\"bad.example\"]\n"
    );
    let mut d = Direct::with(&text);
    let hub_certificate = certificate(&["hub.trade.example"], &[], Anchors::Partners);
    let hub = d.w.hand("hub", "hub.trade.example", Side::Outside, Some(hub_certificate));
    let wire = d.w.connect(hub, d.edge, Side::Outside);
    for (from, member, code) in [
        ("northwind.example", Some("litware.example"), "other-member"),
        ("northwind.example", None, "no-member"),
        ("contoso.example", Some("contoso.example"), "speaks-for-us"),
        ("fabrikam.example", Some("fabrikam.example"), "wrong-road"),
        ("bad.example", Some("bad.example"), "blocked"),
        ("elsewhere.example", Some("elsewhere.example"), "unlisted"),
    ] {
        let head = d.w.head("MESSAGE", ALICE, &format!("sip:eve@{from}"), ALICE);
        let member = member.map(|member| format!("\nChancery-Member: {member}")).unwrap_or_default();
        d.w.send(wire, &format!("{head}{member}"), "");
        assert_eq!((d.w.status(hub), d.w.refusal()), (403, code), "{from}");
    }
    let twice = "\nChancery-Member: northwind.example\nChancery-Member: litware.example";
    let head = d.w.head("MESSAGE", ALICE, "sip:eve@northwind.example", ALICE);
    d.w.send(wire, &format!("{head}{twice}"), "");
    assert_eq!((d.w.status(hub), d.w.refusal()), (403, "trust-header"));
    assert!(d.w.next(d.director).is_none());
}

/// An edge sends all that its users say over one connection: that connection is no narrower than the policy.
#[test]
fn a_partner_may_begin_on_one_connection_what_the_policy_allows() {
    let mut d = Direct::with(&format!("{FABRIKAM}rate = 1000\n"));
    d.w.tells = false;
    let wire = d.wire_of_fabrikam();
    for n in 0..2000 {
        let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
        d.w.send(wire, &head, "");
        assert!(d.w.next(d.director).is_some(), "{n}");
    }
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    assert_eq!((d.w.status(d.fabrikam), d.w.refusal()), (503, "too-fast"));
    // A policy that was made narrower holds on the connection too.
    d.w.pass_time(Duration::from_secs(10));
    set_policy(&mut d, &format!("{FABRIKAM}rate = 5\n"));
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..600 {
        let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
        d.w.send(wire, &head, "");
        if d.w.next(d.director).is_none() {
            d.w.status(d.fabrikam);
            *codes.entry(d.w.refusal().to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(codes, [("connection-budget".to_owned(), 200), ("too-fast".to_owned(), 390)].into());
}

#[test]
fn a_partner_that_floods_is_slowed_and_harms_only_itself() {
    let mut d = Direct::with(&format!("{FABRIKAM}rate = 5\n"));
    d.w.tells = false;
    let wire = d.wire_of_fabrikam();
    let (mut passed, mut slowed) = (0, 0);
    for _ in 0..100 {
        let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
        d.w.send(wire, &head, "");
        match d.w.next(d.director) {
            Some(_) => passed += 1,
            None => {
                let answer = d.w.got(d.fabrikam).1;
                assert_eq!((answer.status(), d.w.refusal()), (Some(503), "too-fast"));
                assert!(answer.header(HeaderId::RetryAfter).is_some());
                slowed += 1;
            }
        }
    }
    assert_eq!((passed, slowed), (10, 90), "two seconds' worth");
    d.w.pass_time(Duration::from_secs(1));
    let head = d.w.head("MESSAGE", ALICE, TO, ALICE);
    d.w.send(wire, &head, "");
    assert!(d.w.next(d.director).is_some());
}

#[test]
fn thousands_of_connections_from_one_address_are_too_many() {
    let mut w = World::empty();
    let edge = w.edge("edge", "contoso.example", policy("", &["contoso.example"]), |config| {
        config.limits.connections_per_source_max = 3;
    });
    let eve = w.hand("eve", "eve.invalid", Side::Outside, None);
    let wires: Vec<_> = (0..5).map(|_| w.connect(eve, edge, Side::Outside)).collect();
    assert_eq!(wires.iter().filter(|wire| w.is_up(**wire)).count(), 3);
    w.close(wires[0]);
    let again = w.connect(eve, edge, Side::Outside);
    assert!(w.is_up(again));
}

/// Each connection stays within its own budget; together they are too much of one address.
#[test]
fn many_connections_from_one_address_share_its_budget() {
    let mut d = Direct::with("");
    d.w.tells = false;
    let eve = d.w.hand("eve", "eve.invalid", Side::Outside, None);
    let other = d.w.hand("other", "other.invalid", Side::Outside, None);
    let per_source = Limits::default().requests_per_source;
    let per_connection = Limits::default().requests_per_connection;
    let each = per_connection.burst / 2;
    let wires = (0..2 * per_source.burst / each).map(|_| d.w.connect(eve, d.edge, Side::Outside));
    let wires: Vec<_> = wires.collect();
    let (mut passed, mut refused) = (0, 0);
    for wire in &wires {
        for _ in 0..each {
            let head = d.w.head("OPTIONS", "sip:bob@contoso.example", ALICE, ALICE);
            d.w.send(*wire, &head, "");
            match d.w.next(d.director) {
                Some(_) => passed += 1,
                None => {
                    let answer = d.w.got(eve).1;
                    assert_eq!((answer.status(), d.w.refusal()), (Some(503), "source-budget"));
                    assert!(answer.header(HeaderId::RetryAfter).is_some());
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((passed, refused), (per_source.burst, per_source.burst), "half of them");
    // A new connection of the same address changes nothing; somebody else is not harmed.
    for (who, passes) in [(eve, false), (other, true)] {
        let wire = d.w.connect(who, d.edge, Side::Outside);
        let head = d.w.head("OPTIONS", "sip:bob@contoso.example", ALICE, ALICE);
        d.w.send(wire, &head, "");
        assert_eq!(d.w.next(d.director).is_some(), passes);
    }
    d.w.pass_time(Duration::from_secs(1));
    for n in 0..per_source.per_second + 1 {
        let head = d.w.head("OPTIONS", "sip:bob@contoso.example", ALICE, ALICE);
        d.w.send(wires[0], &head, "");
        assert_eq!(d.w.next(d.director).is_some(), n < per_source.per_second, "{n}");
    }
}

/// A hub of another make names no member: its list alone says for whom it may speak, and where their requests go.
#[test]
fn a_hub_of_another_make_speaks_for_its_list() {
    let hub_entry = "[[clearinghouse]]\nname = \"hub.trade.example\"\nnext_hop = \"hub.trade.example:5061\"\n\
                     vouches = \"member-list\"\nmembers = [\"northwind.example\", \"litware.example\"]\n";
    let mut d = Direct::with(&format!("{FABRIKAM}{hub_entry}"));
    let hub_certificate = certificate(&["hub.trade.example"], &[], Anchors::Partners);
    let hub = d.w.hand("hub", "hub.trade.example", Side::Outside, Some(hub_certificate));
    let (inside, wire) = (d.wire_of_director(), d.w.connect(hub, d.edge, Side::Outside));
    let nora = "sip:nora@northwind.example";
    // In: a call, and what follows in it.
    let head = d.w.head("INVITE", ALICE, nora, ALICE);
    d.w.send(wire, &head, "");
    let invite = d.w.got(d.director);
    let origin = invite.1.header_named("Chancery-Origin").map(String::from_utf8_lossy).unwrap();
    let vouched = "partner;domain=northwind.example;mode=clearinghouse;hub=hub.trade.example;edge=edge-in.contoso.example";
    assert_eq!(origin, vouched);
    d.w.answer(&invite, 200, &[]);
    let answered = d.w.got(hub).1;
    let entry = String::from_utf8(answered.header(HeaderId::RecordRoute).unwrap().to_vec()).unwrap();
    let call_id = answered.call_id().unwrap().to_owned();
    let bye = d.w.head("BYE", ALICE, nora, ALICE);
    let own = bye.lines().find(|line| line.starts_with("Call-ID")).unwrap().to_owned();
    d.w.send(wire, &format!("{}\nRoute: {entry}", bye.replace(&own, &format!("Call-ID: {call_id}"))), "");
    assert_eq!(d.w.got(d.director).1.method().as_str(), "BYE");
    // Whoever is not on the list, or has another road, or is us.
    for (from, code) in [
        ("sip:x@elsewhere.example", "unlisted"),
        ("sip:bob@fabrikam.example", "wrong-road"),
        (ALICE, "speaks-for-us"),
        ("sip:x@hub.trade.example", "unlisted"),
    ] {
        // What it says of members is nothing.
        let head = d.w.head("MESSAGE", ALICE, from, ALICE);
        d.w.send(wire, &format!("{head}\nChancery-Member: northwind.example"), "");
        assert_eq!((d.w.status(hub), d.w.refusal()), (403, code), "{from}");
        assert!(d.w.next(d.director).is_none());
    }
    // Nobody else speaks for a member, not even itself.
    let own = certificate(&["edge.northwind.example"], &["northwind.example"], Anchors::Partners);
    let northwind = d.w.hand("northwind", "edge.northwind.example", Side::Outside, Some(own));
    let direct = d.w.connect(northwind, d.edge, Side::Outside);
    let head = d.w.head("MESSAGE", ALICE, nora, ALICE);
    d.w.send(direct, &head, "");
    assert_eq!(d.w.status(northwind), 403);
    // Out: by the hub, to which we name no member either; who refuses is told to be one of the two.
    for (to, goes) in [(nora, true), ("sip:lee@litware.example", true), ("sip:x@elsewhere.example", false)] {
        let head = d.w.head("MESSAGE", to, ALICE, to);
        d.w.send(inside, &head, "");
        let Some(message) = d.w.next(hub) else {
            assert!(!goes, "{to}");
            assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "unlisted"));
            continue;
        };
        assert_eq!(message.1.header_named("Chancery-Member"), None);
        d.w.answer(&message, 403, &[]);
        let answer = d.w.got(d.director).1;
        let told = answer.header(HeaderId::Warning).map(String::from_utf8_lossy).unwrap();
        assert!(told.contains("The clearinghouse hub.trade.example or "), "{told}");
    }
}

/// The whole life of a discovered partner that looks people up: 20 a second, 1,000 addresses, one a second, and the end.
#[test]
fn a_discovered_partner_that_collects_addresses_is_slowed_watched_and_blocked() {
    let discovery = "[discovery]\nenabled = true\n";
    let mut d = Direct::with(discovery);
    d.w.tells = false;
    let own = certificate(&["sip.litware.example"], &["litware.example"], Anchors::Partners);
    let litware = d.w.hand("litware", "sip.litware.example", Side::Outside, Some(own));
    let wire = d.w.connect(litware, d.edge, Side::Outside);
    let mut asked = 0;
    // Everybody exists, so that it is the number of them that tells.
    let ask = |d: &mut Direct, address: usize| {
        let somebody = format!("sip:user{address}@contoso.example");
        let head = d.w.head("MESSAGE", &somebody, "sip:lee@litware.example", &somebody);
        d.w.send(wire, &head, "");
        match d.w.next(d.director) {
            Some(message) => {
                d.w.answer(&message, 200, &[]);
                assert_eq!(d.w.status(litware), 200);
                true
            }
            None => {
                let answer = d.w.got(litware).1;
                assert_eq!((answer.status(), d.w.refusal()), (Some(503), "discovered-budget"));
                assert!(answer.header(HeaderId::RetryAfter).is_some());
                false
            }
        }
    };
    // Two seconds' worth at once, then as many a second as it may.
    let burst = (0..100).filter(|_| ask(&mut d, 0)).count();
    assert_eq!(burst, usize::try_from(ALLOWANCE.burst).unwrap());
    d.w.pass_time(Duration::from_secs(1));
    let second = (0..100).filter(|_| ask(&mut d, 0)).count();
    assert_eq!(second, usize::try_from(ALLOWANCE.per_second).unwrap());
    let is_watched = |d: &mut Direct| match d.w.call(d.edge, Call::WatchList) {
        Answer::WatchList(list) => list.iter().any(|entry| &*entry.domain == "litware.example"),
        other => panic!("{other:?}"),
    };
    while !is_watched(&mut d) {
        d.w.pass_time(Duration::from_secs(1) / ALLOWANCE.per_second);
        assert!(ask(&mut d, asked), "{asked}");
        asked += 1;
    }
    assert_eq!(asked, ADDRESSES_MAX + 1);
    let told: Vec<_> = d.w.reports.iter().filter(|report| report.event == "partner-watched").collect();
    assert_eq!(told.len(), 1);
    // From now on one a second, also for those whom it knows; what it sent at once before is waited for.
    d.w.pass_time(Duration::from_secs(3));
    assert_eq!((0..20).filter(|_| ask(&mut d, 0)).count(), 1);
    d.w.pass_time(Duration::from_secs(1));
    assert_eq!((0..20).filter(|_| ask(&mut d, 0)).count(), 1);
    // The block list wins, over discovery and over an entry.
    for policy in [discovery.to_owned(), FABRIKAM.replace("fabrikam", "litware")] {
        set_policy(&mut d, &format!("{policy}[block]\ndomains = [\"litware.example\"]\n"));
        d.w.pass_time(Duration::from_secs(5));
        let wire = d.w.connect(litware, d.edge, Side::Outside);
        let head = d.w.head("MESSAGE", ALICE, "sip:lee@litware.example", ALICE);
        d.w.send(wire, &head, "");
        assert_eq!((d.w.status(litware), d.w.refusal()), (403, "blocked"));
        let inside = d.wire_of_director();
        let head = d.w.head("MESSAGE", "sip:lee@litware.example", ALICE, "sip:lee@litware.example");
        d.w.send(inside, &head, "");
        assert_eq!((d.w.status(d.director), d.w.refusal()), (403, "blocked"));
    }
    assert!(!d.w.is_up(wire));
}

#[test]
fn a_discovered_partner_is_found_by_dns_and_watched_when_it_collects_addresses() {
    let mut d = Direct::with("[discovery]\nenabled = true\n");
    d.w.tells = false;
    let litware_certificate = certificate(&["sip.litware.example"], &["litware.example"], Anchors::Partners);
    let litware = d.w.hand("litware", "sip.litware.example", Side::Outside, Some(litware_certificate));
    d.w.service("_sipfederationtls._tcp.litware.example", "sip.litware.example", 5061);
    let inside = d.wire_of_director();
    let to = "sip:lee@litware.example";
    let head = d.w.head("MESSAGE", to, ALICE, to);
    d.w.send(inside, &head, "");
    let message = d.w.got(litware);
    d.w.answer(&message, 200, &[]);
    assert_eq!(d.w.status(d.director), 200);

    let wire = d.w.connect(litware, d.edge, Side::Outside);
    for n in 0..40 {
        let somebody = format!("sip:guess{n}@contoso.example");
        let head = d.w.head("MESSAGE", &somebody, to, &somebody);
        d.w.send(wire, &head, "");
        let Some(guess) = d.w.next(d.director) else { break };
        if n == 0 {
            let origin =
                String::from_utf8(guess.1.header_named("Chancery-Origin").unwrap().to_vec()).unwrap();
            assert_eq!(origin, "partner;domain=litware.example;mode=discovered;edge=edge-in.contoso.example");
        }
        d.w.answer(&guess, 404, &[]);
        assert_eq!(d.w.status(litware), 404);
    }
    assert_eq!(d.w.reports.iter().filter(|report| report.event == "partner-watched").count(), 1);
    let Answer::WatchList(watched) = d.w.call(d.edge, Call::WatchList) else { panic!("a list") };
    assert_eq!(watched.iter().map(|entry| &*entry.domain).collect::<Vec<_>>(), ["litware.example"]);
    let domain = "litware.example".to_owned();
    assert_eq!(d.w.call(d.edge, Call::ClearWatched { domain }), Answer::Cleared { was_known: true });
}

#[test]
fn hostile_dns_leads_nowhere() {
    let mut d = Direct::with("[discovery]\nenabled = true\n");
    let impostor_certificate = certificate(&["sip.evil.example"], &["evil.example"], Anchors::Partners);
    let impostor = d.w.hand("impostor", "sip.evil.example", Side::Outside, Some(impostor_certificate));
    d.w.service("_sipfederationtls._tcp.litware.example", "sip.evil.example", 5061);
    d.w.service("_sipfederationtls._tcp.inward.example", "dir.contoso.example", 5061);
    let inside = d.wire_of_director();
    for to in ["sip:lee@litware.example", "sip:lee@inward.example", "sip:lee@missing.example"] {
        let head = d.w.head("MESSAGE", to, ALICE, to);
        d.w.send(inside, &head, "secret");
        let status = d.w.status(d.director);
        assert!(matches!(status, 404 | 480), "{to}: {status}");
    }
    assert!(d.w.next(impostor).is_none() && d.w.next(d.director).is_none());
}
