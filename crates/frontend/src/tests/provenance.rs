//! What servers of ours say, who else says it, and the remote users behind them.

use std::sync::Arc;
use std::time::Duration;

use directory::{PermissionChange, UserId};
use federation::{ServerRole, TrustedServer};
use node::{
    Anchors, ConnectError, ConnectTarget, Expected, Flow, Input, PeerCertificate, PeerIdentity, Side,
    Transport,
};
use sip_message::{HeaderId, Message};

use super::world::{PASSWORD, World, certificate, credentials};
use crate::admin::{Answer, Call};

const DIRECTOR: &str = "director.contoso.example";
const EDGE: &str = "edge.contoso.example";
const BESIDE: &str = "edge-2.contoso.example";
const REMOTE: &str = "Chancery-Origin: remote;flow=f1;edge=edge.contoso.example";

fn world() -> World {
    World::with(|config| {
        config.authentication.token_server = Some("https://sip.contoso.example".to_owned());
        config.servers = [
            (DIRECTOR, ServerRole::Director),
            (EDGE, ServerRole::AccessEdge),
            (BESIDE, ServerRole::AccessEdge),
            ("pool.contoso.example", ServerRole::FrontEnd),
        ]
        .map(|(host, role)| TrustedServer { host: host.to_owned(), role })
        .to_vec();
    })
}

fn asserted(user: &str) -> String {
    format!("P-Asserted-Identity: <sip:{user}@contoso.example>")
}

/// A request with further header lines; gives the answer.
fn ask(world: &mut World, flow: Flow, method: &str, from: &str, to: &str, lines: &[&str]) -> Message {
    let to = format!("sip:{to}@contoso.example");
    let head = world.head(method, from, &to, &to);
    world.receive(flow, &format!("{head}\n{}", lines.join("\n")), "");
    world.sent_to(flow).expect("an answer")
}

fn status(answer: &Message) -> u16 {
    answer.status().expect("a response")
}

/// The path of a REGISTER that came through the Director and the edge.
fn path(flow: &str) -> String {
    format!(
        "Path: <sip:{DIRECTOR}:5061;transport=tls;lr>, <sip:{flow}@{EDGE}:5062;transport=tls;lr;ob>\n\
         Contact: <sip:device@{flow}.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{flow}>\"\n\
         Supported: outbound"
    )
}

/// A REGISTER that a Director has authenticated.
fn register(world: &mut World, director: Flow, user: &str, flow: &str) -> Message {
    let origin = format!("Chancery-Origin: remote;flow={flow};edge={EDGE}");
    let head = world.head("REGISTER", user, "sip:contoso.example", &format!("sip:{user}@contoso.example"));
    world.receive(director, &format!("{head}\n{origin}\n{}\n{}", asserted(user), path(flow)), "");
    world.sent_to(director).expect("an answer")
}

fn values(message: &Message, id: HeaderId) -> Vec<String> {
    message.values(id).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn a_director_is_believed_whom_it_authenticated() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    let answer = register(&mut world, director, "alice", "f1");
    assert_eq!(status(&answer), 200);
    assert_eq!(
        values(&answer, HeaderId::ServiceRoute),
        [
            "<sip:f1@edge.contoso.example:5062;transport=tls;lr;ob>",
            "<sip:director.contoso.example:5061;transport=tls;lr>"
        ],
        "the way back in, edge first"
    );
    assert!(answer.has_option(HeaderId::Require, "outbound"));
    let lines = [REMOTE, &asserted("alice")];
    assert_eq!(status(&ask(&mut world, director, "OPTIONS", "alice", "bob", &lines)), 480);
    assert_eq!(
        status(&ask(&mut world, director, "OPTIONS", "alice", "bob", &[REMOTE, &asserted("carol")])),
        403,
        "From is not who was asserted"
    );
    let stranger = [REMOTE, "P-Asserted-Identity: <sip:mallory@contoso.example>"];
    assert_eq!(status(&ask(&mut world, director, "OPTIONS", "mallory", "bob", &stranger)), 403);
    assert_eq!(
        status(&ask(&mut world, director, "OPTIONS", "alice", "bob", &[&asserted("alice")])),
        403,
        "a Director speaks for nobody who did not come through an edge"
    );
}

/// A Director's copy may be behind: it lets pass what was revoked here a moment ago.
#[test]
fn a_token_that_a_director_passed_is_judged_again() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    let (user, lifetime) = (UserId(1), Duration::from_secs(600));
    let issue = Call::IssueToken { user, lifetime, renewed: None };
    let Answer::IssuedToken(issued) = world.call(issue) else { panic!("no token") };
    let register = |world: &mut World, user: &str| {
        let to = format!("sip:{user}@contoso.example");
        let head = world.head("REGISTER", user, "sip:contoso.example", &to);
        let bearer = format!("Authorization: Bearer {}", issued.token.0);
        world.receive(
            director,
            &format!("{head}\n{REMOTE}\n{}\n{bearer}\n{}", asserted(user), path("f1")),
            "",
        );
        world.sent_to(director).expect("an answer")
    };
    assert_eq!(status(&register(&mut world, "alice")), 200);
    assert_eq!(status(&register(&mut world, "bob")), 403, "it is not his");
    assert_eq!(world.call(Call::RevokeTokens(user.into())), Answer::Done);
    let answer = register(&mut world, "alice");
    assert_eq!(status(&answer), 401);
    let challenges = values(&answer, HeaderId::WwwAuthenticate);
    assert!(matches!(&challenges[..], [only] if only.starts_with("Bearer ")), "{challenges:?}");
    assert!(world.details("alice").devices.is_empty());
}

#[test]
fn trust_headers_of_those_who_are_no_server_of_ours_prove_nothing() {
    let mut world = world();
    let of = certificate;
    let forgers = [
        ("a client", Transport::Tls, PeerIdentity::Anonymous),
        ("a client in the clear", Transport::Tcp, of(DIRECTOR, vec![Anchors::Servers])),
        ("a device with a certificate", Transport::Tls, of("phone.contoso.example", vec![Anchors::Servers])),
        ("a partner with our server's name", Transport::Tls, of(DIRECTOR, vec![Anchors::Partners])),
    ];
    for (who, transport, identity) in forgers {
        let flow = world.connect_with(transport, identity);
        let partner =
            "Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example";
        for lines in [vec![REMOTE.to_owned(), asserted("alice")], vec![partner.to_owned(), asserted("alice")]]
        {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(status(&ask(&mut world, flow, "MESSAGE", "alice", "bob", &lines)), 407, "{who}");
            assert_eq!(status(&ask(&mut world, flow, "BYE", "alice", "bob", &lines)), 407, "{who}");
        }
    }
}

#[test]
fn an_edge_that_says_what_only_a_director_may_say_is_not_believed() {
    let mut world = world();
    let edge = world.connect_server(EDGE);
    let answer = ask(&mut world, edge, "MESSAGE", "alice", "bob", &[REMOTE, &asserted("alice")]);
    assert_eq!(status(&answer), 407, "an edge authenticates nobody");
    let elsewhere = "Chancery-Origin: remote;flow=f1;edge=other.contoso.example";
    assert_eq!(status(&ask(&mut world, edge, "MESSAGE", "alice", "bob", &[elsewhere])), 403);
    assert_eq!(status(&ask(&mut world, edge, "MESSAGE", "alice", "bob", &[])), 403, "it speaks for nobody");
    for lines in [[REMOTE, REMOTE], ["Chancery-Origin: remote", "Subject: x"]] {
        assert_eq!(status(&ask(&mut world, edge, "MESSAGE", "alice", "bob", &lines)), 400);
    }
}

/// Several edges share a name inside, each has one of its own, and the list holds both, the shared one first.
#[test]
fn an_edge_may_be_listed_by_its_own_name_and_by_one_that_others_share() {
    const SHARED: &str = "edges.contoso.example";
    let mut world = World::with(|config| {
        config.servers = [SHARED, EDGE, BESIDE]
            .map(|host| TrustedServer { host: host.to_owned(), role: ServerRole::AccessEdge })
            .to_vec();
    });
    let PeerIdentity::Certificate(shown) = certificate(SHARED, vec![Anchors::Servers]) else {
        unreachable!()
    };
    let names = vec![SHARED.to_owned(), EDGE.to_owned()];
    let shown = PeerIdentity::Certificate(Arc::new(PeerCertificate { dns_names: names, ..(*shown).clone() }));
    let edge = world.connect_with(Transport::Tls, shown);
    for (name, expected) in [(SHARED, 407), (EDGE, 407), (BESIDE, 403), ("other.contoso.example", 403)] {
        let origin = format!("Chancery-Origin: remote;flow=f1;edge={name}");
        assert_eq!(status(&ask(&mut world, edge, "MESSAGE", "alice", "bob", &[&origin])), expected, "{name}");
    }
}

#[test]
fn trust_headers_do_not_go_on() {
    let mut world = world();
    let bob = world.sign_in("bob");
    let director = world.connect_server(DIRECTOR);
    register(&mut world, director, "alice", "f1");
    let to = "sip:bob@contoso.example";
    let head = world.head("OPTIONS", "alice", to, to);
    let lines = [REMOTE, &asserted("alice"), "Chancery-Member: northwind.example"].join("\n");
    world.receive(director, &format!("{head}\n{lines}"), "");
    let forwarded = world.sent_to(bob).expect("it is forwarded");
    let text = String::from_utf8_lossy(forwarded.bytes()).into_owned();
    assert!(!text.contains("Chancery-"), "{text}");
    assert_eq!(values(&forwarded, HeaderId::PAssertedIdentity), ["<sip:alice@contoso.example>"]);
}

#[test]
fn a_remote_sign_in_belongs_to_its_flow_at_the_edge() {
    let mut world = world();
    let edge = world.connect_server(EDGE);
    let register_by_digest = |world: &mut World, user: &str, flow: &str, address: &str| {
        let origin = format!("Chancery-Origin: remote;flow={flow};edge={EDGE}");
        let lines = format!(
            "Via: SIP/2.0/TLS client.invalid;branch=z9hG4bKc;received={address}\n{origin}\n{}",
            path(flow)
        );
        let uri = "sip:contoso.example";
        let to = format!("sip:{user}@contoso.example");
        let head = world.head("REGISTER", user, uri, &to);
        world.receive(edge, &format!("{head}\n{lines}"), "");
        let challenge = world.sent_to(edge).expect("a challenge");
        assert_eq!(status(&challenge), 401);
        let head = world.head("REGISTER", user, uri, &to);
        let credentials = credentials(&challenge, user, "REGISTER", uri, PASSWORD, 1);
        world.receive(edge, &format!("{head}\nAuthorization: {credentials}\n{lines}"), "");
        assert_eq!(status(&world.sent_to(edge).expect("an answer")), 200);
    };
    register_by_digest(&mut world, "alice", "f1", "198.51.100.1");
    register_by_digest(&mut world, "bob", "f2", "198.51.100.2");
    let mut options = |from: &str, flow: &str| {
        let origin = format!("Chancery-Origin: remote;flow={flow};edge={EDGE}");
        status(&ask(&mut world, edge, "OPTIONS", from, "carol", &[&origin]))
    };
    assert_eq!(options("alice", "f1"), 480, "no challenge on the flow that alice signed in on");
    assert_eq!(options("bob", "f2"), 480);
    assert_eq!(options("bob", "f1"), 403, "the same connection, another flow");
    assert_eq!(options("alice", "f3"), 407);
    let other_edge = world.connect_server(EDGE);
    assert_eq!(
        status(&ask(&mut world, other_edge, "OPTIONS", "alice", "carol", &[REMOTE])),
        480,
        "the edge's connection says nothing about its clients"
    );
    let alice = directory::SipAddress::parse("alice@contoso.example").unwrap();
    assert_eq!(world.call(Call::SetUserState(alice, directory::UserState::Disabled)), Answer::Done);
    assert_eq!(status(&ask(&mut world, edge, "OPTIONS", "alice", "carol", &[REMOTE])), 407);
    assert_eq!(
        status(&ask(
            &mut world,
            edge,
            "OPTIONS",
            "bob",
            "carol",
            &["Chancery-Origin: remote;flow=f2;edge=edge.contoso.example"]
        )),
        480,
        "the edge's connection stays open for the others"
    );
}

#[test]
fn a_partner_speaks_for_the_domain_that_it_proved_alone() {
    let mut world = world();
    let edge = world.connect_server(EDGE);
    let origin = "Chancery-Origin: partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example";
    for method in ["MESSAGE", "INVITE", "SUBSCRIBE", "BYE", "OPTIONS", "REGISTER"] {
        assert_eq!(status(&ask(&mut world, edge, method, "alice", "bob", &[origin])), 403, "{method}");
    }
    let head = world
        .head("MESSAGE", "dana", "sip:bob@contoso.example", "sip:bob@contoso.example")
        .replace("dana@contoso.example", "dana@fabrikam.example");
    world.receive(edge, &format!("{head}\n{origin}\nContent-Type: text/plain"), "Hello");
    assert_eq!(world.status_to(edge), 202);
}

#[test]
fn remote_access_can_be_forbidden() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    let alice = directory::SipAddress::parse("alice@contoso.example").unwrap();
    let change = PermissionChange { remote_access: Some(false), ..PermissionChange::default() };
    assert_eq!(world.call(Call::SetPermissions(alice, change)), Answer::Done);
    assert_eq!(status(&register(&mut world, director, "alice", "f1")), 403);
    assert_eq!(status(&register(&mut world, director, "bob", "f2")), 200);
    assert!(world.reports.iter().any(|r| r.reason == "the user may not sign in from outside"));
    let mut off = World::with(|config| {
        config.servers = vec![
            TrustedServer { host: DIRECTOR.to_owned(), role: ServerRole::Director },
            TrustedServer { host: EDGE.to_owned(), role: ServerRole::AccessEdge },
        ];
        config.remote_access = false;
    });
    let director = off.connect_server(DIRECTOR);
    assert_eq!(status(&register(&mut off, director, "bob", "f2")), 403);
}

#[test]
fn an_edge_that_keeps_no_flows_does_no_outbound() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    let without = path("f1").replace(";ob", "");
    world.receive(director, &format!("{head}\n{REMOTE}\n{}\n{without}", asserted("alice")), "");
    assert_eq!(world.status_to(director), 439);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    let contact = "Contact: <sip:device@f1.invalid;transport=tls>";
    world.receive(director, &format!("{head}\n{REMOTE}\n{}\n{contact}", asserted("alice")), "");
    assert_eq!(world.status_to(director), 400, "without a Path the device could not be reached");
}

/// The Director that the node connects to.
fn accept_connection(world: &mut World, host: &str) -> Flow {
    let (token, target) = world.connects.pop_front().expect("a connection is wanted");
    let expected = ConnectTarget {
        transport: Transport::Tls,
        address: "203.0.113.9:5061".parse().unwrap(),
        side: Side::Inside,
        expected: Some(Expected::host(host)),
    };
    assert_eq!(target, expected);
    world.connected_to(token, &target, certificate(host, vec![Anchors::Servers]))
}

#[test]
fn a_remote_device_is_reached_through_its_path_and_a_dead_flow_is_forgotten() {
    let mut world = world();
    let bob = world.sign_in("bob");
    let director = world.connect_server(DIRECTOR);
    assert_eq!(status(&register(&mut world, director, "alice", "f1")), 200);
    let to = "sip:alice@contoso.example";
    let head = world.head("OPTIONS", "bob", to, to);
    world.receive(bob, &head, "");
    let ours = accept_connection(&mut world, DIRECTOR);
    let forwarded = world.sent_to(ours).expect("it goes to the Director");
    assert_eq!(forwarded.request_uri_text(), "sip:device@f1.invalid;transport=tls");
    assert_eq!(
        values(&forwarded, HeaderId::Route),
        [
            "<sip:director.contoso.example:5061;transport=tls;lr>",
            "<sip:f1@edge.contoso.example:5062;transport=tls;lr;ob>"
        ]
    );
    world.respond(ours, &forwarded, 430);
    assert_eq!(world.status_to(bob), 480);
    let head = world.head("OPTIONS", "bob", to, to);
    world.receive(bob, &head, "");
    assert_eq!(world.status_to(bob), 480);
    assert!(world.is_silent(), "the binding is gone");
}

#[test]
fn a_dialog_outlives_the_connection_with_the_server() {
    let mut world = world();
    let bob = world.sign_in("bob");
    let director = world.connect_server(DIRECTOR);
    assert_eq!(status(&register(&mut world, director, "alice", "f1")), 200);
    let routes = format!(
        "Record-Route: <sip:{DIRECTOR}:5061;transport=tls;lr>\nRecord-Route: <sip:f1@{EDGE}:5062;transport=tls;lr>"
    );
    let to = "sip:bob@contoso.example";
    let invite = world.head("INVITE", "alice", to, to);
    let contact = "Contact: <sip:device@f1.invalid;transport=tls>";
    world.receive(director, &format!("{invite}\n{REMOTE}\n{}\n{contact}\n{routes}", asserted("alice")), "");
    let ringing = world.sent_to(bob).expect("bob rings");
    world.respond(bob, &ringing, 200);
    let answer = world.sent_to(director).expect("an answer");
    assert_eq!(status(&answer), 200);
    let recorded = values(&answer, HeaderId::RecordRoute).join(", ");
    let entries: Vec<String> = recorded.split(", ").map(str::to_owned).collect();
    assert_eq!(entries.len(), 4, "two of ours, the Director's, the edge's: {entries:?}");
    world.disconnect(director);
    // Bob hangs up: his routes stand as recorded.
    let bye = |from: &str, tags: &str, routes: &[String], uri: &str| {
        format!(
            "BYE {uri} SIP/2.0\nVia: SIP/2.0/TLS c.invalid;branch=z9hG4bKbye{from};rport\nMax-Forwards: 70\n{tags}\n\
             Call-ID: {}\nCSeq: 9 BYE\nRoute: {}",
            answer.call_id().unwrap(),
            routes.join(", ")
        )
    };
    let tags = "From: <sip:bob@contoso.example>;tag=callee\nTo: <sip:alice@contoso.example>;tag=falice";
    world.receive(bob, &bye("bob", tags, &entries, "sip:device@f1.invalid;transport=tls"), "");
    let ours = accept_connection(&mut world, DIRECTOR);
    let forwarded = world.sent_to(ours).expect("it finds the Director over a new connection");
    assert_eq!(values(&forwarded, HeaderId::Route).join(", "), entries[2..].join(", "));
    world.respond(ours, &forwarded, 200);
    assert_eq!(world.status_to(bob), 200);
    // And a request of alice comes in over whatever connection the Director has, but over no other server's.
    let mut routes = entries[..2].to_vec();
    routes.reverse();
    let tags = "From: <sip:alice@contoso.example>;tag=falice\nTo: <sip:bob@contoso.example>;tag=callee";
    let request = bye("alice", tags, &routes, "sip:callee@bob-pc.invalid;transport=tls");
    let pool = world.connect_server("pool.contoso.example");
    world.receive(pool, &request.replace("byealice", "byepool"), "");
    assert_eq!(world.status_to(pool), 403);
    world.receive(ours, &format!("{request}\n{REMOTE}"), "");
    assert_eq!(world.sent_to(bob).expect("bob gets it").method().as_str(), "BYE");
}

/// The edge of a remote user's call is dead, and she is registered through the one beside it: there she is reached.
#[test]
fn a_remote_device_is_followed_to_another_edge_within_a_dialog() {
    let mut world = world();
    let bob = world.sign_in("bob");
    let sign_in = |world: &mut World, host: &str, flow: &str| {
        let edge = world.connect_server(host);
        let origin = format!("Chancery-Origin: remote;flow={flow};edge={host}");
        let contact =
            "Contact: <sip:callee@bob-pc.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"";
        let lines = format!(
            "{origin}\nPath: <sip:{flow}@{host}:5061;transport=tls;lr;ob>\n{contact}\nSupported: outbound"
        );
        let to = "sip:alice@contoso.example";
        let head = world.head("REGISTER", "alice", "sip:contoso.example", to);
        world.receive(edge, &format!("{head}\n{lines}"), "");
        let challenge = world.sent_to(edge).unwrap();
        let answer = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", PASSWORD, 1);
        let head = world.head("REGISTER", "alice", "sip:contoso.example", to);
        world.receive(edge, &format!("{head}\n{lines}\nAuthorization: {answer}"), "");
        assert_eq!(world.status_to(edge), 200);
        edge
    };
    let edge = sign_in(&mut world, EDGE, "f1");
    let to = "sip:alice@contoso.example";
    let invite = world.head("INVITE", "bob", to, to);
    world.receive(bob, &format!("{invite}\nContact: <sip:bob@bob-pc.invalid;transport=tls>"), "");
    let ours = accept_connection(&mut world, EDGE);
    let rings = world.sent_to(ours).expect("it rings");
    world.sent_to(bob);
    let entry = format!("<sip:f1@{EDGE}:5061;transport=tls;lr>");
    world.respond_with(ours, &rings, 200, &[(HeaderId::RecordRoute, &entry)]);
    let ok = world.sent_to(bob).expect("the answer");
    let mut routes = super::calls::lines(&rings, HeaderId::RecordRoute);
    routes.reverse();
    routes.push(entry);
    world.disconnect(edge);
    world.disconnect(ours);
    let beside = sign_in(&mut world, BESIDE, "f2");
    let bye = super::calls::within(&mut world, "BYE", &ok, &routes, false);
    world.receive(bob, &bye, "");
    let (token, target) = world.connects.pop_front().expect("it looks for the edge of the dialog");
    assert_eq!(target.expected.map(|expected| expected.server_name).as_deref(), Some(EDGE));
    world.handle(Input::ConnectFailed { token, error: ConnectError::TimedOut });
    let ours = match world.connects.pop_front() {
        Some((token, target)) => {
            assert_eq!(target.expected.clone().map(|expected| expected.server_name).as_deref(), Some(BESIDE));
            world.connected_to(token, &target, certificate(BESIDE, vec![Anchors::Servers]))
        }
        None => beside,
    };
    let bye = world.sent_to(ours).expect("it goes where she is registered");
    let first = values(&bye, HeaderId::Route).remove(0);
    assert!(first.contains(&format!("<sip:f2@{BESIDE}:5061;transport=tls;lr;ob>")), "{first}");
    world.respond(ours, &bye, 200);
    assert_eq!(world.status_to(bob), 200);
}
