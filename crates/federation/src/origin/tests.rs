//! The headers of provenance.

use std::sync::Arc;

use bytes::Bytes;
use node::{PeerCertificate, PeerIdentity, UnixMillis};
use proptest::prelude::*;

use super::*;

fn reads(value: &str) {
    assert_eq!(Origin::parse(value).map(|origin| origin.to_string()), Ok(value.to_owned()));
}

#[test]
fn each_kind_is_read_and_written() {
    reads("remote;flow=aB3-_.!~;edge=edge.contoso.example");
    reads("remote;flow=t;from=dialog;edge=edge.contoso.example");
    reads(&format!("remote;flow=t;edge=192.0.2.1;cert={}", "0f".repeat(32)));
    reads("partner;domain=fabrikam.example;mode=direct;edge=[2001:db8::1]");
    reads(
        "partner;domain=northwind.example;mode=clearinghouse;hub=hub.trade.example;edge=edge.contoso.example",
    );
    reads("partner;domain=litware.example;mode=discovered;edge=edge.contoso.example");
    reads("partner;domain=litware.example;mode=direct;from=dialog;edge=edge.contoso.example");
    let origin =
        Origin::parse("partner;domain=n.example;mode=clearinghouse;hub=h.example;edge=e.example").unwrap();
    assert_eq!(origin.assertion(), Assertion::PartnerOrigin);
    assert_eq!(origin.edge(), "e.example");
}

#[test]
fn every_other_spelling_is_refused() {
    let wrong = [
        "",
        "remote",
        "remote;",
        "user;flow=t;edge=e.example",
        "Remote;flow=t;edge=e.example",
        "remote;flow=;edge=e.example",
        "remote;flow=a b;edge=e.example",
        "remote;flow=\"t\";edge=e.example",
        "remote;flow=[t];edge=e.example",
        "remote;flow=t;edge=[e.example]",
        "remote;flow=t;edge=2001:db8::1",
        "remote;flow=t;edge=E.example",
        "remote;flow=t;edge=e.example.",
        "remote;edge=e.example;flow=t",
        "remote; flow=t;edge=e.example",
        " remote;flow=t;edge=e.example",
        "remote;flow=t;edge=e.example;",
        "remote;flow=t;edge=e.example;edge=f.example",
        "remote;flow=t;edge=e.example;x=y",
        "remote;flow=t;edge=e.example,remote;flow=u;edge=e.example",
        "remote;flow=t;edge=e.example\r\n Evil: x",
        "remote;flow=t;edge=e.example;cert=00",
        "remote;flow=t;edge=e.example;cert=0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F",
        "remote;flow=t;from=domain;edge=e.example",
        "remote;flow=t;edge=e.example;from=dialog",
        "partner;domain=*.example;mode=direct;edge=e.example",
        "partner;domain=192.0.2.1;mode=direct;edge=e.example",
        "partner;domain=p.example;mode=blocked;edge=e.example",
        "partner;domain=p.example;mode=direct;from=domain;edge=e.example",
        "partner;domain=p.example;mode=direct;edge=e.example;from=dialog",
        "partner;domain=p.example;mode=direct;hub=h.example;edge=e.example",
        "partner;domain=p.example;mode=clearinghouse;edge=e.example",
    ];
    for value in wrong {
        assert_eq!(Origin::parse(value), Err(OriginError::Malformed(ORIGIN_HEADER)), "{value:?}");
    }
    assert!(Origin::parse(&format!("remote;flow={};edge=e.example", "t".repeat(257))).is_err());
}

#[test]
#[should_panic(expected = "checked names")]
fn a_header_is_never_written_from_what_nobody_checked() {
    let flow = "t\r\nRoute: <sip:evil>".to_owned();
    let origin =
        Origin::Remote { flow, from: FromProof::Domain, edge: "e.example".into(), certificate: None };
    let _ = origin.to_string();
}

fn message(headers: &str) -> Message {
    let text = format!("OPTIONS sip:b.example SIP/2.0\r\n{headers}Content-Length: 0\r\n\r\n");
    Message::parse(Bytes::from(text)).unwrap()
}

#[test]
fn a_header_stands_once_or_not_at_all() {
    let partner = "partner;domain=p.example;mode=direct;edge=e.example";
    assert_eq!(Origin::in_message(&message("")), Ok(None));
    let once = message(&format!("chancery-origin: {partner}\r\n"));
    assert_eq!(Origin::in_message(&once).unwrap().unwrap().to_string(), partner);
    let twice = message(&format!("Chancery-Origin: {partner}\r\nCHANCERY-ORIGIN: {partner}\r\n"));
    assert_eq!(Origin::in_message(&twice), Err(OriginError::Repeated(ORIGIN_HEADER)));
    let folded = message("Chancery-Origin: partner;domain=p.example\r\n ;mode=direct;edge=e.example\r\n");
    assert!(Origin::in_message(&folded).is_err());
    let member = message("Chancery-Member: northwind.example\r\n");
    assert_eq!(Member::in_message(&member).unwrap().unwrap().domain(), "northwind.example");
    for wrong in ["", "a.example, b.example", "*.example", "N.example", "<sip:n.example>"] {
        assert!(Member::in_message(&message(&format!("Chancery-Member: {wrong}\r\n"))).is_err(), "{wrong:?}");
    }
}

fn servers() -> Vec<TrustedServer> {
    let server = |host: &str, role| TrustedServer { host: host.into(), role };
    vec![
        server("edge.contoso.example", ServerRole::AccessEdge),
        server("dir.contoso.example", ServerRole::Director),
        server("fe.contoso.example", ServerRole::FrontEnd),
    ]
}

fn peer(host: &str, anchors: Anchors) -> Peer {
    let certificate = PeerCertificate {
        sip_domains: vec![],
        dns_names: vec![host.into()],
        ip_addresses: vec![],
        sha256: [0; 32],
        not_after: UnixMillis(0),
        trusted_by: vec![anchors],
        distrust: String::new(),
    };
    Peer {
        transport: Transport::Tls,
        listener: None,
        local: "10.0.0.1:5061".parse().unwrap(),
        remote: "10.0.0.2:5061".parse().unwrap(),
        side: Side::Inside,
        identity: PeerIdentity::Certificate(Arc::new(certificate)),
    }
}

#[test]
fn a_flow_is_a_listed_servers_by_its_certificate_from_inside_over_tls() {
    let servers = servers();
    let role = |peer: &Peer| server_of(&servers, peer).map(|server| server.role);
    let good = peer("dir.contoso.example", Anchors::Servers);
    assert_eq!(role(&good), Some(ServerRole::Director));
    assert_eq!(role(&Peer { side: Side::Outside, ..good.clone() }), None);
    assert_eq!(role(&Peer { transport: Transport::Tcp, ..good.clone() }), None);
    assert_eq!(role(&Peer { identity: PeerIdentity::Anonymous, ..good }), None);
    assert_eq!(role(&peer("dir.contoso.example", Anchors::Partners)), None, "another purpose's anchors");
    assert_eq!(role(&peer("other.contoso.example", Anchors::Servers)), None, "not listed");
}

#[test]
fn a_server_may_be_listed_under_two_names() {
    let edge = |host: &str| TrustedServer { host: host.to_owned(), role: ServerRole::AccessEdge };
    let servers =
        [edge("edges.contoso.example"), edge("edge-1.contoso.example"), edge("edge-2.contoso.example")];
    let mut peer = peer("edges.contoso.example", Anchors::Servers);
    let PeerIdentity::Certificate(shown) = &mut peer.identity else { unreachable!() };
    Arc::make_mut(shown).dns_names = vec!["edges.contoso.example".into(), "edge-1.contoso.example".into()];
    let is_listed = |peer: &Peer, host: &str, role| is_listed_as(&servers, peer, host, role);
    assert!(is_listed(&peer, "Edge-1.contoso.example", ServerRole::AccessEdge));
    assert!(is_listed(&peer, "edges.contoso.example", ServerRole::AccessEdge));
    assert!(!is_listed(&peer, "edge-2.contoso.example", ServerRole::AccessEdge), "another edge's own name");
    assert!(!is_listed(&peer, "edge-1.contoso.example", ServerRole::Director), "another role");
    let outside = Peer { side: Side::Outside, ..peer };
    assert!(!is_listed(&outside, "edge-1.contoso.example", ServerRole::AccessEdge));
}

#[test]
fn who_may_assert_what() {
    let table = ServerRole::ALL.map(|role| {
        [Assertion::RemoteOrigin, Assertion::PartnerOrigin, Assertion::OurUser].map(|a| role.may_assert(a))
    });
    assert_eq!(table, [[false, false, true], [true, true, true], [true, true, false]]);
    for role in ServerRole::ALL {
        assert_eq!(ServerRole::from_name(role.name()), Some(role));
    }
    assert_eq!(ServerRole::from_name("Director"), None);
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?"
}

fn domain() -> impl Strategy<Value = String> {
    (label(), "[a-z]{1,8}").prop_map(|(first, last)| format!("{first}.{last}"))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        domain(),
        any::<std::net::Ipv4Addr>().prop_map(|a| a.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|a| a.to_string()),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    let from = prop_oneof![Just(FromProof::Domain), Just(FromProof::Dialog)];
    let remote =
        ("[-.!%*_+`'~a-zA-Z0-9]{1,64}", from.clone(), host(), proptest::option::of(any::<[u8; 32]>()))
            .prop_map(|(flow, from, edge, certificate)| Origin::Remote { flow, from, edge, certificate });
    let partner = (domain(), proptest::option::of(host()), any::<bool>(), from, host()).prop_map(
        |(domain, hub, is_direct, from, edge)| {
            let mode = match (&hub, is_direct) {
                (Some(_), _) => Mode::Clearinghouse,
                (None, true) => Mode::Direct,
                (None, false) => Mode::Discovered,
            };
            Origin::Partner { domain, mode, hub, from, edge }
        },
    );
    prop_oneof![remote, partner]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(origin in origin()) {
        prop_assert_eq!(Origin::parse(&origin.to_string()), Ok(origin));
    }

    #[test]
    fn what_is_read_is_written_again(value in "(remote|partner);[ -~]{0,80}") {
        if let Ok(origin) = Origin::parse(&value) {
            prop_assert_eq!(origin.to_string(), value);
        }
    }

    #[test]
    fn a_changed_octet_never_gives_the_same_origin(origin in origin(), at in any::<prop::sample::Index>(), octet in 0x20u8..0x7f) {
        let text = origin.to_string();
        let mut changed = text.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = octet;
        let changed = String::from_utf8(changed).unwrap();
        if changed != text {
            prop_assert_ne!(Origin::parse(&changed), Ok(origin));
        }
    }
}
