//! Whose certificate is whose, and what ends with one.

use directory::{CERTIFICATES_PER_USER_MAX, CertificateDigest, ClientCertificate, SipAddress, UserId};
use federation::{ServerRole, TrustedServer};
use node::{CallToken, Flow, Input};
use records::{Query, Rows};
use sign_in::replica::{Entry, Part};
use sip_message::{HeaderId, Message};

use super::world::{PASSWORD, World, credentials};
use crate::admin::{Answer, Call, Refusal};

const EDGE: &str = "edge.contoso.example";
const DIRECTOR: &str = "director.contoso.example";
const SOON_UNIX_MS: u64 = 1_700_100_000_000;

fn world() -> World {
    World::with(|config| {
        config.servers = vec![
            TrustedServer { host: EDGE.to_owned(), role: ServerRole::AccessEdge },
            TrustedServer { host: DIRECTOR.to_owned(), role: ServerRole::Director },
        ];
    })
}

fn address(user: &str) -> SipAddress {
    SipAddress::parse(&format!("{user}@contoso.example")).unwrap()
}

fn certificate(octet: u8) -> ClientCertificate {
    ClientCertificate { digest: CertificateDigest([octet; 32]), expires_unix_ms: SOON_UNIX_MS }
}

fn add(user: &str, octet: u8) -> Call {
    Call::AddCertificate(address(user), certificate(octet))
}

fn remove(user: &str, octet: u8) -> Call {
    Call::RemoveCertificate(address(user), certificate(octet).digest)
}

fn certificates(world: &mut World, user: &str) -> Vec<ClientCertificate> {
    match world.call(Call::ShowUser(address(user))) {
        Answer::User(details) => details.certificates,
        other => panic!("{other:?}"),
    }
}

/// A REGISTER of Alice's over a flow of the edge.
fn register(world: &mut World, edge: Flow, flow: &str, certificate: Option<u8>, lines: &str) -> Message {
    let digest = certificate.map(|octet| format!(";cert={}", CertificateDigest([octet; 32])));
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    let text = format!(
        "{head}\nChancery-Origin: remote;flow={flow};edge={EDGE}{}\n\
         Path: <sip:{flow}@{EDGE}:5062;transport=tls;lr;ob>\nSupported: outbound\n\
         Contact: <sip:device@{flow}.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{flow}>\"\n{lines}",
        digest.unwrap_or_default()
    );
    world.receive(edge, &text, "");
    world.sent_to(edge).expect("an answer")
}

fn devices(answer: &Message) -> Vec<String> {
    assert_eq!(answer.status(), Some(200));
    let contacts = answer.values(HeaderId::Contact);
    let host = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        text.split(['@', '.']).nth(1).expect("a host").to_owned()
    };
    contacts.map(host).collect()
}

#[test]
fn a_certificate_is_one_users_and_a_user_has_a_few() {
    let mut world = world();
    assert_eq!(world.call(add("alice", 1)), Answer::Done);
    let taken = |owner| {
        Answer::Refused(Refusal::CertificateTaken { digest: certificate(1).digest, owner: address(owner) })
    };
    assert_eq!(world.call(add("bob", 1)), taken("alice"));
    assert_eq!(world.call(add("alice", 1)), taken("alice"));
    let unknown = Refusal::NoSuchCertificate { user: address("bob"), digest: certificate(1).digest };
    assert_eq!(world.call(remove("bob", 1)), Answer::Refused(unknown));
    assert_eq!(world.call(remove("alice", 1)), Answer::Done);
    assert_eq!(world.call(add("bob", 1)), Answer::Done, "it is free again");
    assert_eq!(certificates(&mut world, "alice"), []);
    assert_eq!(certificates(&mut world, "bob"), [certificate(1)]);
    assert_eq!(world.call(Call::RemoveUser(address("bob"))), Answer::Done);
    assert_eq!(world.call(add("alice", 1)), Answer::Done, "it went with its user");
    let past = ClientCertificate { expires_unix_ms: 1_600_000_000_000, ..certificate(2) };
    let refused = Answer::Refused(Refusal::CertificateExpired);
    assert_eq!(world.call(Call::AddCertificate(address("alice"), past)), refused);
    for octet in 2..=u8::try_from(CERTIFICATES_PER_USER_MAX).unwrap() {
        assert_eq!(world.call(add("alice", octet)), Answer::Done);
    }
    let refused = Answer::Refused(Refusal::TooManyCertificates(address("alice")));
    assert_eq!(world.call(add("alice", 99)), refused);
    assert_eq!(world.call(add("nobody", 99)), Answer::Refused(Refusal::NoSuchUser(address("nobody"))));
    let Rows::LoadedUser(Some(record)) = world.tables.query(&Query::LoadUser(UserId(1))) else { panic!() };
    assert_eq!(record.certificates, certificates(&mut world, "alice"), "in storage, too");
}

#[test]
fn two_who_want_the_same_certificate_at_once_do_not_both_get_it() {
    let mut world = world();
    world.holds_commits = true;
    let ask = |world: &mut World, call| world.handle(Input::Called { token: CallToken(1), call });
    ask(&mut world, add("alice", 1));
    ask(&mut world, add("carol", 1));
    for octet in 2..=u8::try_from(CERTIFICATES_PER_USER_MAX).unwrap() {
        ask(&mut world, add("alice", octet));
    }
    let refused = Answer::Refused(Refusal::TooManyCertificates(address("alice")));
    assert_eq!(world.call(add("alice", 99)), refused, "what is on its way counts");
    world.commit();
    let taken = Refusal::CertificateTaken { digest: certificate(1).digest, owner: address("alice") };
    assert_eq!(world.next_answer(), Some(Answer::Done));
    assert_eq!(world.next_answer(), Some(Answer::Refused(taken)));
    while let Some(answer) = world.next_answer() {
        assert_eq!(answer, Answer::Done);
    }
    assert_eq!(certificates(&mut world, "alice").len(), CERTIFICATES_PER_USER_MAX);
    assert_eq!(certificates(&mut world, "carol"), []);
}

#[test]
fn a_withdrawn_certificate_takes_its_devices_along_and_no_others() {
    let mut world = world();
    let edge = world.connect_server(EDGE);
    assert_eq!(world.call(add("alice", 1)), Answer::Done);
    assert_eq!(world.call(add("alice", 2)), Answer::Done);
    register(&mut world, edge, "laptop", Some(1), "");
    register(&mut world, edge, "tablet", Some(2), "");
    let challenge = register(&mut world, edge, "phone", None, "");
    assert_eq!(challenge.status(), Some(401));
    let by_password = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", PASSWORD, 1);
    let answer = register(&mut world, edge, "phone", None, &format!("Authorization: {by_password}"));
    assert_eq!(devices(&answer), ["laptop", "tablet", "phone"]);

    let to = "sip:bob@contoso.example";
    let head = world.head("SUBSCRIBE", "alice", to, to);
    let digest = certificate(1).digest;
    let lines = format!(
        "Chancery-Origin: remote;flow=laptop;edge={EDGE};cert={digest}\n\
         Record-Route: <sip:laptop@{EDGE}:5062;transport=tls;lr>\nEvent: presence\nExpires: 600\n\
         Contact: <sip:device@laptop.invalid;transport=tls>"
    );
    world.receive(edge, &format!("{head}\n{lines}"), "");
    assert_eq!(world.status_to(edge), 200);
    let active = world.sent_to(edge).expect("a NOTIFY");
    assert!(state(&active).starts_with("active"), "{}", state(&active));
    world.respond(edge, &active, 200);

    assert_eq!(world.call(remove("alice", 1)), Answer::Done);
    world.pass(std::time::Duration::from_secs(10));
    let last = world.sent_to(edge).expect("the last NOTIFY");
    assert_eq!(state(&last), "terminated;reason=deactivated");
    let answer = register(&mut world, edge, "tablet", Some(2), "");
    assert_eq!(devices(&answer), ["tablet", "phone"]);
    assert_eq!(register(&mut world, edge, "laptop", Some(1), "").status(), Some(401));
}

fn state(notify: &Message) -> String {
    let value = notify.header(HeaderId::SubscriptionState).expect("a NOTIFY");
    String::from_utf8_lossy(value).into_owned()
}

#[test]
fn what_a_restart_does_not_know_the_origin_of_ends_with_a_certificate() {
    let mut world = world();
    let edge = world.connect_server(EDGE);
    assert_eq!(world.call(add("alice", 1)), Answer::Done);
    register(&mut world, edge, "laptop", Some(1), "");
    world.pass(std::time::Duration::from_secs(2));
    let mut world = World::on(world.tables, 2, |config| {
        config.servers = vec![TrustedServer { host: EDGE.to_owned(), role: ServerRole::AccessEdge }];
    });
    let edge = world.connect_server(EDGE);
    let Answer::User(details) = world.call(Call::ShowUser(address("alice"))) else { panic!() };
    assert_eq!((details.devices.len(), &details.certificates[..]), (1, &[certificate(1)][..]));
    assert_eq!(world.call(remove("alice", 1)), Answer::Done);
    let Answer::User(details) = world.call(Call::ShowUser(address("alice"))) else { panic!() };
    assert_eq!((details.devices.len(), details.certificates.len()), (0, 0));
    assert_eq!(register(&mut world, edge, "laptop", Some(1), "").status(), Some(401));
}

#[test]
fn a_director_is_told_of_certificates() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    assert_eq!(world.call(add("alice", 1)), Answer::Done);
    let head = world.head("SUBSCRIBE", "director", "sip:sip.contoso.example", "sip:sip.contoso.example");
    let lines =
        "Event: chancery-users\nContact: <sip:director.contoso.example:5061;transport=tls>\nExpires: 600";
    world.receive(director, &format!("{head}\n{lines}"), "");
    assert_eq!(world.status_to(director), 200);
    let mut told = || {
        let notify = world.sent_to(director).expect("a NOTIFY");
        let part = Part::parse(notify.body()).expect("a part");
        let alice = part.entries.into_iter().find_map(|entry| match entry {
            Entry::Is(copied) if copied.user == UserId(1) => Some(copied.certificates),
            Entry::Is(_) | Entry::Gone(_) => None,
        });
        world.respond(director, &notify, 200);
        assert_eq!(world.call(remove("alice", 1)), Answer::Done);
        world.pass(std::time::Duration::from_millis(50));
        alice
    };
    assert_eq!(told(), Some(vec![certificate(1)]));
    let notify = world.sent_to(director).expect("a NOTIFY");
    let part = Part::parse(notify.body()).expect("a part");
    assert!(matches!(&part.entries[..], [Entry::Is(alice)] if alice.certificates.is_empty()), "{part:?}");
}
