//! Tokens and app passwords of people outside, whom the Director signs in with what the home tells it.

use std::time::Duration;

use directory::{
    DirectoryAccount, ObjectId, Permissions, Purpose, Role, SipAddress, Standing, UserId, UserState,
};
use expect_test::expect;
use frontend::admin::{Answer, Batch, Call, FromDirectory, IssuedAppPassword};
use sip_message::{HeaderId, Message};

use super::world::{EDGE, TOKEN_SERVER, Who, World, credentials};
use crate::Mode;

const ALICE: UserId = UserId(1);

fn address(user: &str) -> SipAddress {
    SipAddress::parse(&format!("{user}@contoso.example")).unwrap()
}

fn token(world: &mut World, seconds: u64) -> String {
    let lifetime = Duration::from_secs(seconds);
    match world.ask_home(Call::IssueToken { user: ALICE, lifetime, renewed: None }) {
        Answer::IssuedToken(issued) => issued.token.0.clone(),
        other => panic!("{other:?}"),
    }
}

fn app_password(world: &mut World, user: &str) -> Box<IssuedAppPassword> {
    let call =
        Call::AddAppPassword { user: address(user).into(), label: "phone".to_owned(), purpose: Purpose::Sip };
    match world.ask_home(call) {
        Answer::IssuedAppPassword(issued) => issued,
        other => panic!("{other:?}"),
    }
}

/// A REGISTER with this Authorization, or none.
fn register(world: &mut World, edge: u64, user: &str, authorization: Option<&str>) -> Message {
    let authorization = authorization.map(|value| format!("\nAuthorization: {value}")).unwrap_or_default();
    let lines = format!(
        "Path: <sip:f{user}@{EDGE}:5061;transport=tls;lr;ob>\n\
         Contact: <sip:device@f{user}.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"\n\
         Supported: outbound{authorization}"
    );
    world.remote(edge, "REGISTER", user, user, &lines);
    world.got(Who::Edge).1
}

fn register_by(world: &mut World, edge: u64, user: &str, issued: &IssuedAppPassword) -> u16 {
    let challenge = register(world, edge, user, None);
    assert_eq!(challenge.status(), Some(401));
    let answer =
        credentials(&challenge, &issued.username, "REGISTER", "sip:contoso.example", &issued.password.0);
    register(world, edge, user, Some(&answer)).status().unwrap()
}

/// Status of a request on the flow of who has registered.
fn ask(world: &mut World, edge: u64, user: &str) -> u16 {
    world.remote(edge, "OPTIONS", user, "bob", "");
    world.status(Who::Edge)
}

fn expires(answer: &Message) -> u64 {
    let contact = answer.values(HeaderId::Contact).next().expect("a binding");
    let text = String::from_utf8_lossy(contact).into_owned();
    text.rsplit_once(";expires=").expect("it ends").1.parse().expect("a number")
}

#[test]
fn a_token_signs_in_outside_and_ends_with_its_time() {
    for mode in [Mode::Authenticate, Mode::Route] {
        let mut world = World::with(match mode {
            Mode::Authenticate => |_| (),
            Mode::Route => |config| config.mode = Mode::Route,
        });
        let edge = world.connect(Who::Edge, Who::Director);
        let challenge = register(&mut world, edge, "alice", None);
        assert!(
            challenge.values(HeaderId::WwwAuthenticate).all(|value| value.starts_with(b"Digest ")),
            "a token is offered to nobody who came without: {mode:?}"
        );
        let token = token(&mut world, 600);
        world.ladder.clear();
        let answer = register(&mut world, edge, "alice", Some(&format!("Bearer {token}")));
        assert_eq!(answer.status(), Some(200), "{mode:?}");
        assert!((500..=600).contains(&expires(&answer)), "no longer than the token: {}", expires(&answer));
        if mode == Mode::Authenticate {
            expect![[r#"
                    edge -> director REGISTER
                director -> home     REGISTER
                    home -> director 200 REGISTER
                director -> edge     200 REGISTER
            "#]]
            .assert_eq(&world.ladder);
        }
        assert_eq!(ask(&mut world, edge, "alice"), 480, "bob has no device");
        let other = register(&mut world, edge, "bob", Some(&format!("Bearer {token}")));
        assert_eq!(other.status(), Some(403), "it is hers: {mode:?}");
        world.pass(Duration::from_secs(601));
        let over = register(&mut world, edge, "alice", Some(&format!("Bearer {token}")));
        assert_eq!(over.status(), Some(401), "{mode:?}");
        let last = over.values(HeaderId::WwwAuthenticate).last().expect("challenges");
        let offered = format!(
            "Bearer realm=\"contoso.example\", scope=\"sip\", authz_server=\"{TOKEN_SERVER}\", error=\"invalid_token\""
        );
        assert_eq!(String::from_utf8_lossy(last), offered, "{mode:?}");
        assert_eq!(ask(&mut world, edge, "alice"), 407, "{mode:?}");
    }
}

#[test]
fn a_revoked_token_and_a_made_up_one_get_no_further_than_the_director() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let token = token(&mut world, 600);
    assert_eq!(register(&mut world, edge, "alice", Some(&format!("Bearer {token}"))).status(), Some(200));
    assert_eq!(world.ask_home(Call::RevokeTokens(ALICE.into())), Answer::Done);
    world.ladder.clear();
    assert_eq!(ask(&mut world, edge, "alice"), 407, "the flow is worth nothing");
    assert_eq!(register(&mut world, edge, "alice", Some(&format!("Bearer {token}"))).status(), Some(401));
    for _ in 0..10 {
        assert_eq!(register(&mut world, edge, "alice", Some("Bearer made-up")).status(), Some(401));
    }
    let slowed = register(&mut world, edge, "alice", Some("Bearer made-up"));
    assert_eq!(slowed.status(), Some(503));
    assert!(slowed.header(HeaderId::RetryAfter).is_some());
    let revoked = register(&mut world, edge, "alice", Some(&format!("Bearer {token}")));
    assert_eq!(revoked.status(), Some(401), "nobody is kept from hearing it");
    assert!(!world.ladder.contains("home"), "{}", world.ladder);
}

#[test]
fn an_app_password_signs_in_outside_until_it_is_taken_back() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let issued = app_password(&mut world, "alice");
    assert_eq!(register_by(&mut world, edge, "alice", &issued), 200);
    assert_eq!(ask(&mut world, edge, "alice"), 480);
    // It is nobody else's.
    assert_eq!(register_by(&mut world, edge, "bob", &issued), 403);
    let remove = Call::RemoveAppPassword { user: ALICE.into(), username: issued.username.clone() };
    assert_eq!(world.ask_home(remove), Answer::Done);
    assert_eq!(ask(&mut world, edge, "alice"), 407);
    assert_eq!(register_by(&mut world, edge, "alice", &issued), 401);
}

#[test]
fn who_is_of_the_directory_is_signed_in_under_a_former_address_and_cut_off_within_a_second() {
    let mut world = World::new();
    let edge = world.connect(Who::Edge, Who::Director);
    let person = |user: &str, former: &[&str], standing| FromDirectory {
        address: address(user),
        aliases: former.iter().map(|user| address(user)).collect(),
        display_name: String::new(),
        account: DirectoryAccount {
            object: ObjectId([4; 16]),
            standing,
            bind_name: "dave@corp.example".to_owned(),
            sign_in_names: Vec::new(),
            role: Role::Person,
            permissions: Permissions::default(),
            expires_unix_ms: None,
        },
    };
    let replicate = |world: &mut World, person: FromDirectory| {
        let batch = Batch { users: vec![person], ..Batch::default() };
        let answer = world.ask_home(Call::Replicate(Box::new(batch)));
        assert!(matches!(&answer, Answer::Replicated(done) if done.refused.is_empty()), "{answer:?}");
    };
    replicate(&mut world, person("dave", &[], Standing::Active));
    let issued = app_password(&mut world, "dave");
    replicate(&mut world, person("david", &["dave"], Standing::Active));
    assert_eq!(register_by(&mut world, edge, "dave", &issued), 200);
    assert_eq!(ask(&mut world, edge, "dave"), 480);
    replicate(&mut world, person("david", &["dave"], Standing::LockedOut));
    assert_eq!(ask(&mut world, edge, "dave"), 407);
    assert_eq!(register_by(&mut world, edge, "dave", &issued), 401);
    replicate(&mut world, person("david", &["dave"], Standing::Active));
    assert_eq!(register_by(&mut world, edge, "dave", &issued), 200);
    world.call_home(Call::SetUserState(address("david"), UserState::Disabled));
    assert_eq!(ask(&mut world, edge, "dave"), 407);
}
