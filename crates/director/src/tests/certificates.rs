//! Users who show a certificate of theirs, and others who show it.

use std::time::Duration;

use directory::{CertificateDigest, ClientCertificate, PermissionChange, SipAddress, UserState};
use expect_test::expect;
use frontend::admin::Call;
use sip_message::{HeaderId, Message};

use super::world::{EDGE, PASSWORD, Who, World, credentials};
use crate::Mode;

const LAPTOP: CertificateDigest = CertificateDigest([0xa1; 32]);
const OTHER: CertificateDigest = CertificateDigest([0xb2; 32]);
/// What the wall clock shows as a world begins, in milliseconds since 1970.
const BEGINNING_UNIX_MS: u64 = 1_700_000_000_000;

fn address(user: &str) -> SipAddress {
    SipAddress::parse(&format!("{user}@contoso.example")).unwrap()
}

/// Alice has a certificate that lasts ten minutes.
fn world(change: fn(&mut crate::Config)) -> World {
    let mut world = World::with(change);
    let certificate = ClientCertificate { digest: LAPTOP, expires_unix_ms: BEGINNING_UNIX_MS + 600_000 };
    world.call_home(Call::AddCertificate(address("alice"), certificate));
    world.ladder.clear();
    world
}

/// What the edge says of a flow, and of the certificate on it.
fn origin(flow: &str, certificate: Option<CertificateDigest>) -> String {
    let certificate = certificate.map(|digest| format!(";cert={digest}")).unwrap_or_default();
    format!("Chancery-Origin: remote;flow=f{flow};edge={EDGE}{certificate}")
}

/// A REGISTER without credentials, or with.
fn register(
    world: &mut World,
    edge: u64,
    user: &str,
    certificate: Option<CertificateDigest>,
    lines: &str,
) -> Message {
    let head = world.head("REGISTER", user, "sip:contoso.example", &format!("sip:{user}@contoso.example"));
    let lines = format!(
        "{head}\n{}\nPath: <sip:f{user}@{EDGE}:5061;transport=tls;lr;ob>\n\
         Contact: <sip:device@f{user}.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"\n\
         Supported: outbound\n{lines}",
        origin(user, certificate)
    );
    world.send(edge, &lines, "");
    world.got(Who::Edge).1
}

/// Status of a request to Bob, who has no device.
fn ask(world: &mut World, edge: u64, from: &str, flow: &str, certificate: Option<CertificateDigest>) -> u16 {
    let to = "sip:bob@contoso.example";
    let head = world.head("OPTIONS", from, to, to);
    world.send(edge, &format!("{head}\n{}", origin(flow, certificate)), "");
    world.status(Who::Edge)
}

fn touches_home(world: &World) -> bool {
    world.ladder.lines().any(|line| line.contains("home"))
}

fn expires(answer: &Message) -> u64 {
    let contact = answer.values(HeaderId::Contact).next().expect("a binding");
    let text = String::from_utf8_lossy(contact).into_owned();
    text.rsplit_once(";expires=").expect("it ends").1.parse().expect("a number")
}

#[test]
fn a_certificate_signs_its_user_in_without_a_challenge() {
    let mut world = world(|_| ());
    let edge = world.connect(Who::Edge, Who::Director);
    let answer = register(&mut world, edge, "alice", Some(LAPTOP), "");
    assert_eq!(answer.status(), Some(200));
    assert!((500..=600).contains(&expires(&answer)), "no longer than the certificate: {}", expires(&answer));
    assert_eq!(ask(&mut world, edge, "alice", "alice", Some(LAPTOP)), 480, "bob has no device");
    expect![[r#"
            edge -> director REGISTER
        director -> home     REGISTER
            home -> director 200 REGISTER
        director -> edge     200 REGISTER
            edge -> director OPTIONS
        director -> home     OPTIONS
            home -> director 480 OPTIONS
        director -> edge     480 OPTIONS
    "#]]
    .assert_eq(&world.ladder);
    assert_eq!(ask(&mut world, edge, "alice", "alice", None), 480, "the flow is remembered");
    assert_eq!(ask(&mut world, edge, "alice", "other", Some(LAPTOP)), 480, "each request shows it");
    assert_eq!(ask(&mut world, edge, "alice", "other", None), 407);
}

#[test]
fn who_shows_a_certificate_is_its_user_and_nobody_else() {
    let mut world = world(|_| ());
    let edge = world.connect(Who::Edge, Who::Director);
    assert_eq!(register(&mut world, edge, "bob", Some(LAPTOP), "").status(), Some(403));
    assert_eq!(ask(&mut world, edge, "bob", "bob", Some(LAPTOP)), 403);
    assert_eq!(ask(&mut world, edge, "nobody", "bob", Some(LAPTOP)), 403);
    assert!(!touches_home(&world), "{}", world.ladder);
    assert!(world.reports.iter().any(|r| r.reason == "From is not the identity of the certificate"));
}

#[test]
fn a_certificate_that_nobody_gave_to_a_user_proves_nothing() {
    let mut world = world(|_| ());
    let edge = world.connect(Who::Edge, Who::Director);
    let challenge = register(&mut world, edge, "alice", Some(OTHER), "");
    assert_eq!(challenge.status(), Some(401));
    assert_eq!(ask(&mut world, edge, "alice", "alice", Some(OTHER)), 407);
    assert!(!touches_home(&world), "{}", world.ladder);
    let credentials = credentials(&challenge, "alice", "REGISTER", "sip:contoso.example", PASSWORD);
    let answer = register(&mut world, edge, "alice", Some(OTHER), &format!("Authorization: {credentials}"));
    assert_eq!(answer.status(), Some(200), "a password does still");
    assert!(expires(&answer) > 600, "{}", expires(&answer));
}

#[test]
fn a_removed_certificate_is_worth_nothing_at_once() {
    for mode in [Mode::Authenticate, Mode::Route] {
        let mut world = world(match mode {
            Mode::Authenticate => |_| (),
            Mode::Route => |config| config.mode = Mode::Route,
        });
        let edge = world.connect(Who::Edge, Who::Director);
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(200));
        world.call_home(Call::RemoveCertificate(address("alice"), LAPTOP));
        for certificate in [Some(LAPTOP), None] {
            assert_eq!(ask(&mut world, edge, "alice", "alice", certificate), 407, "{mode:?}");
            assert_eq!(register(&mut world, edge, "alice", certificate, "").status(), Some(401), "{mode:?}");
        }
        let bob = world.bob_signs_in();
        let head = world.head("OPTIONS", "bob", "sip:alice@contoso.example", "sip:alice@contoso.example");
        world.send(bob, &head, "");
        assert_eq!(world.status(Who::Bob), 480, "the device that signed in with it is gone");
    }
}

#[test]
fn a_certificate_ends_and_what_was_made_with_it() {
    for mode in [Mode::Authenticate, Mode::Route] {
        let mut world = world(match mode {
            Mode::Authenticate => |_| (),
            Mode::Route => |config| config.mode = Mode::Route,
        });
        let edge = world.connect(Who::Edge, Who::Director);
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(200));
        world.pass(Duration::from_secs(580));
        assert_eq!(ask(&mut world, edge, "alice", "alice", Some(LAPTOP)), 480, "{mode:?}");
        world.pass(Duration::from_secs(20));
        for certificate in [Some(LAPTOP), None] {
            assert_eq!(ask(&mut world, edge, "alice", "alice", certificate), 407, "{mode:?}");
            assert_eq!(register(&mut world, edge, "alice", certificate, "").status(), Some(401), "{mode:?}");
        }
    }
}

#[test]
fn a_disabled_users_certificate_does_not_count() {
    for mode in [Mode::Authenticate, Mode::Route] {
        let mut world = world(match mode {
            Mode::Authenticate => |_| (),
            Mode::Route => |config| config.mode = Mode::Route,
        });
        let edge = world.connect(Who::Edge, Who::Director);
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(200));
        world.call_home(Call::SetUserState(address("alice"), UserState::Disabled));
        assert_eq!(ask(&mut world, edge, "alice", "alice", Some(LAPTOP)), 407, "{mode:?}");
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(401), "{mode:?}");
        world.call_home(Call::SetUserState(address("alice"), UserState::Enabled));
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(200), "{mode:?}");
        let change = PermissionChange { remote_access: Some(false), ..Default::default() };
        world.call_home(Call::SetPermissions(address("alice"), change));
        assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(403), "{mode:?}");
    }
}

#[test]
fn a_removed_user_leaves_the_certificate_to_others() {
    let mut world = world(|_| ());
    let edge = world.connect(Who::Edge, Who::Director);
    world.call_home(Call::RemoveUser(address("alice")));
    assert_eq!(register(&mut world, edge, "alice", Some(LAPTOP), "").status(), Some(401));
    let certificate = ClientCertificate { digest: LAPTOP, expires_unix_ms: BEGINNING_UNIX_MS + 600_000 };
    world.call_home(Call::AddCertificate(address("bob"), certificate));
    assert_eq!(register(&mut world, edge, "bob", Some(LAPTOP), "").status(), Some(200));
}

#[test]
fn in_the_mode_route_the_home_takes_the_certificate() {
    let mut world = world(|config| config.mode = Mode::Route);
    let edge = world.connect(Who::Edge, Who::Director);
    let answer = register(&mut world, edge, "alice", Some(LAPTOP), "");
    assert_eq!(answer.status(), Some(200));
    assert!((500..=600).contains(&expires(&answer)), "{}", expires(&answer));
    assert_eq!(register(&mut world, edge, "bob", Some(LAPTOP), "").status(), Some(403));
    assert_eq!(ask(&mut world, edge, "bob", "alice", Some(LAPTOP)), 403);
    assert_eq!(register(&mut world, edge, "alice", Some(OTHER), "").status(), Some(401));
    assert_eq!(ask(&mut world, edge, "alice", "elsewhere", Some(OTHER)), 407);
}
