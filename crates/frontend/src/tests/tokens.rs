//! Signing in with a token, with an app password, and by name.

use std::time::Duration;

use directory::{
    APP_PASSWORDS_PER_USER_MAX, CertificateDigest, ClientCertificate, ObjectId, Purpose, Standing, UserId,
    UserState,
};
use node::{CallToken, Flow, Input, ListenerId, Transport};
use sign_in::token::TokenError;
use sip_message::{HeaderId, Message};

use super::directory::{address, person};
use super::world::{PASSWORD, World};
use crate::admin::{Answer, Batch, Call, Refusal, Renewed, Secret, Way};

const ALICE: UserId = UserId(1);
const SERVER: &str = "https://sip.contoso.example";

fn source() -> std::net::IpAddr {
    [192, 0, 2, 99].into()
}

fn world() -> World {
    World::with(|config| config.authentication.token_server = Some(SERVER.to_owned()))
}

fn token(world: &mut World, seconds: u64) -> Secret {
    let lifetime = Duration::from_secs(seconds);
    let call = Call::IssueToken { user: ALICE, lifetime, renewed: None };
    match world.call(call) {
        Answer::IssuedToken(issued) => issued.token,
        other => panic!("{other:?}"),
    }
}

/// A REGISTER with a token; gives the answer.
fn register(world: &mut World, flow: Flow, user: &str, token: &str) -> Message {
    let head = world.head("REGISTER", user, "sip:contoso.example", &format!("sip:{user}@contoso.example"));
    let contact = format!("Contact: <sip:{user}@{user}-pc.invalid;transport=tls>;expires=3600");
    world.receive(flow, &format!("{head}\nAuthorization: Bearer {token}\n{contact}"), "");
    world.sent_to(flow).expect("an answer")
}

fn expires(answer: &Message) -> u64 {
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let contact = String::from_utf8_lossy(answer.header(HeaderId::Contact).expect("a binding")).into_owned();
    contact.rsplit_once("expires=").unwrap().1.parse().unwrap()
}

#[test]
fn a_token_registers_and_the_registration_ends_with_it() {
    let mut world = world();
    let flow = world.connect(Transport::Tls);
    let first = token(&mut world, 600);
    assert_eq!(expires(&register(&mut world, flow, "alice", &first.0)), 600);
    // It is a sign-in: what follows on the flow needs no more.
    world.send_text(flow, "alice", "bob", "hello");
    assert_eq!(world.status_to(flow), 202);
    world.pass(Duration::from_secs(500));
    let second = token(&mut world, 3000);
    assert_eq!(expires(&register(&mut world, flow, "alice", &second.0)), 3000, "renewed in time it goes on");
    world.pass(Duration::from_secs(3001));
    assert!(world.details("alice").devices.is_empty());
    let answer = register(&mut world, flow, "alice", &second.0);
    assert_eq!(answer.status(), Some(401));
    let challenges: Vec<String> = answer
        .values(HeaderId::WwwAuthenticate)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect();
    assert_eq!(challenges.len(), 3, "Digest stays offered, and comes first");
    assert_eq!(
        challenges[2],
        "Bearer realm=\"contoso.example\", scope=\"sip\", authz_server=\"https://sip.contoso.example\", error=\"invalid_token\""
    );
}

#[test]
fn a_token_is_its_owners_alone() {
    let mut world = world();
    let flow = world.connect(Transport::Tls);
    let token = token(&mut world, 600);
    assert_eq!(register(&mut world, flow, "bob", &token.0).status(), Some(403));
    world.call(Call::SetUserState(address("alice"), UserState::Disabled));
    let flow = world.connect(Transport::Tls);
    assert_eq!(register(&mut world, flow, "alice", &token.0).status(), Some(401));
    world.call(Call::RemoveUser(address("alice")));
    assert_eq!(register(&mut world, flow, "alice", &token.0).status(), Some(401));
}

#[test]
fn revoking_tokens_ends_what_was_made_with_them_and_nothing_else() {
    let mut world = world();
    let phone = world.sign_in("alice");
    let flow = world.connect(Transport::Tls);
    let old = token(&mut world, 600);
    let head = world.head("REGISTER", "alice", "sip:contoso.example", "sip:alice@contoso.example");
    world.receive(
        flow,
        &format!("{head}\nAuthorization: bearer {}\nContact: <sip:alice@web.invalid;transport=tls>", old.0),
        "",
    );
    assert_eq!(world.status_to(flow), 200);
    assert_eq!(world.call(Call::RevokeTokens(ALICE.into())), Answer::Done);
    let Flow::Connection(connection) = flow else { panic!() };
    assert_eq!(world.closed, [connection]);
    assert_eq!(world.details("alice").devices.len(), 1);
    world.register_again(phone, "alice");
    let flow = world.connect(Transport::Tls);
    assert_eq!(register(&mut world, flow, "alice", &old.0).status(), Some(401));
    let new = token(&mut world, 600);
    assert_eq!(expires(&register(&mut world, flow, "alice", &new.0)), 600, "one of the same millisecond");
}

/// Who never registers is cut off, too: what it watches, and the connection that it signed in on.
#[test]
fn what_is_watched_with_a_token_ends_with_it() {
    for over in [Transport::Udp, Transport::Tls] {
        let mut world = world();
        let flow = match over {
            Transport::Udp => {
                Flow::Datagram { listener: ListenerId(0), remote: ([198, 51, 100, 1], 5060).into() }
            }
            _ => world.connect(over),
        };
        let bob = world.sign_in("bob");
        let token = token(&mut world, 600);
        let bearer = format!("Expires: 600\nProxy-Authorization: Bearer {}", token.0);
        assert_eq!(world.subscribe(flow, "alice", "bob", &bearer).status(), Some(200), "{over:?}");
        let first = world.sent_to(flow).expect("a NOTIFY");
        world.respond(flow, &first, 200);
        world.pass(Duration::from_secs(10));
        assert_eq!(world.call(Call::RevokeTokens(ALICE.into())), Answer::Done);
        match flow {
            Flow::Connection(connection) => assert_eq!(world.closed, [connection]),
            Flow::Datagram { .. } => {
                let last = world.sent_to(flow).expect("a NOTIFY");
                let state =
                    String::from_utf8_lossy(last.header(HeaderId::SubscriptionState).unwrap()).into_owned();
                assert_eq!(state, "terminated;reason=deactivated");
            }
        }
        world.register_again(bob, "bob");
    }
}

/// What revokes tokens does it from when it is asked for, before it is durable; and for good.
#[test]
fn no_renewal_outruns_a_revocation() {
    let off = || Call::SetUserState(address("alice"), UserState::Disabled);
    let password = || Call::SetPassword(address("alice"), "another password".to_owned());
    let changes: [&dyn Fn() -> Call; 3] = [&|| Call::RevokeTokens(ALICE.into()), &off, &password];
    for change in changes {
        let mut world = world();
        let old = token(&mut world, 3600);
        let Answer::TokenHolder(held) = world.call(Call::JudgeToken(old.clone())) else { panic!() };
        let renewed =
            Some(Renewed { signed_in_unix_ms: held.signed_in_unix_ms, issued_unix_ms: held.issued_unix_ms });
        let renew = Call::IssueToken { user: ALICE, lifetime: Duration::from_secs(3600), renewed };
        world.holds_commits = true;
        world.handle(Input::Called { token: CallToken(2), call: change() });
        let revoked = Answer::Refused(Refusal::Token(TokenError::Revoked));
        assert_eq!(world.call(Call::JudgeToken(old.clone())), revoked, "{:?}", change());
        assert_eq!(world.call(renew.clone()), revoked, "{:?}", change());
        world.commit();
        assert_eq!(world.next_answer(), Some(Answer::Done));
        world.holds_commits = false;
        world.call(Call::SetUserState(address("alice"), UserState::Enabled));
        for mut world in [World::on(world.tables.clone(), 2, |_| ()), world] {
            assert_eq!(world.call(Call::JudgeToken(old.clone())), revoked, "{:?}", change());
            assert_eq!(world.call(renew.clone()), revoked, "{:?}", change());
        }
    }
}

#[test]
fn who_makes_tokens_up_is_slowed_and_who_has_one_is_not() {
    let mut world = world();
    let flow = world.connect(Transport::Tls);
    for _ in 0..10 {
        assert_eq!(register(&mut world, flow, "alice", "made-up").status(), Some(401));
    }
    assert_eq!(register(&mut world, flow, "alice", "made-up").status(), Some(503));
    let token = token(&mut world, 60);
    assert_eq!(register(&mut world, flow, "alice", &token.0).status(), Some(200));
    // Nor is who has one that is over: it hears where the next is to be had.
    world.pass(Duration::from_secs(61));
    for _ in 0..12 {
        register(&mut world, flow, "alice", "made-up");
    }
    assert_eq!(register(&mut world, flow, "alice", "made-up").status(), Some(503));
    assert_eq!(register(&mut world, flow, "alice", &token.0).status(), Some(401));
}

#[test]
fn app_passwords_are_made_shown_once_and_end_what_they_made() {
    let mut world = World::new();
    let phone = world.connect(Transport::Tls);
    let contact = "Contact: <sip:alice@phone.invalid;transport=tls>";
    assert_eq!(world.register(phone, "alice", contact).status(), Some(200));
    let (flow, username) = world.sign_in_from_directory("alice", "alice");
    assert!(username.starts_with("alice~") && username.len() == "alice~".len() + 6, "{username}");
    let Answer::AppPasswords(lines) = world.call(Call::ListAppPasswords(address("alice").into())) else {
        panic!()
    };
    assert_eq!((lines.len(), lines[0].label.as_str(), &lines[0].username), (1, "phone", &username));
    let remove = |user: &str, username: &str| Call::RemoveAppPassword {
        user: address(user).into(),
        username: username.to_owned(),
    };
    assert_eq!(world.call(remove("bob", &username)), Answer::Refused(Refusal::NoSuchAppPassword));
    assert_eq!(world.call(remove("alice", &username)), Answer::Done);
    let Flow::Connection(connection) = flow else { panic!() };
    assert_eq!(world.closed, [connection]);
    assert_eq!(world.register(phone, "alice", contact).status(), Some(200));
    assert_eq!(world.details("alice").devices.len(), 1);
    let add = |label: &str| Call::AddAppPassword {
        user: address("alice").into(),
        label: label.to_owned(),
        purpose: Purpose::Sip,
    };
    for wrong in ["", " ", "a\nb", &"x".repeat(65)] {
        assert_eq!(world.call(add(wrong)), Answer::Refused(Refusal::BadLabel));
    }
    for _ in 0..APP_PASSWORDS_PER_USER_MAX {
        assert!(matches!(world.call(add("phone")), Answer::IssuedAppPassword(_)));
    }
    let full = world.call(add("phone"));
    assert_eq!(full, Answer::Refused(Refusal::TooManyAppPasswords(address("alice"))));
}

/// Somebody leaves while what he asked for is on its way to storage, behind the step that takes everything from him.
#[test]
fn what_is_made_while_its_owner_leaves_ends_at_once() {
    let mut world = World::new();
    let dave = ObjectId([4; 16]);
    world.replicate(vec![person(dave, "dave")]);
    let mut leaver = person(dave, "dave");
    leaver.account.standing = Standing::Disabled;
    let leaves = Batch { users: vec![leaver], ..Batch::default() };
    let certificate =
        ClientCertificate { digest: CertificateDigest([1; 32]), expires_unix_ms: u64::MAX >> 1 };
    world.holds_commits = true;
    for call in [
        Call::Replicate(Box::new(leaves)),
        Call::AddAppPassword {
            user: address("dave").into(),
            label: "phone".to_owned(),
            purpose: Purpose::Sip,
        },
        Call::AddCertificate(address("dave"), certificate),
    ] {
        world.handle(Input::Called { token: CallToken(2), call });
    }
    world.commit();
    world.commit();
    assert!(matches!(world.next_answer(), Some(Answer::Replicated(done)) if done.cut_off == 1));
    for _ in 0..2 {
        assert_eq!(world.next_answer(), Some(Answer::Refused(Refusal::Disabled)));
    }
    let details = world.details("dave");
    assert!(details.app_passwords.is_empty() && details.certificates.is_empty());
    let mut later = World::on(world.tables, 2, |_| ());
    let details = later.details("dave");
    assert!(details.app_passwords.is_empty() && details.certificates.is_empty(), "nor after a restart");
}

#[test]
fn an_app_password_opens_what_it_is_for() {
    let mut world = World::new();
    let purpose = Purpose::AddressBook;
    let call = Call::AddAppPassword { user: ALICE.into(), label: "mail".to_owned(), purpose };
    let Answer::IssuedAppPassword(issued) = world.call(call) else { panic!() };
    let letters = issued.password.0.replace('-', "");
    assert_eq!(letters.len(), 26, "128 bits and a little more");
    let flow = world.connect(Transport::Tls);
    assert_eq!(world.register_by(flow, "alice", &issued.username, &issued.password.0), 401);
    let check = |username: &str, password: &Secret, purpose| Call::CheckAppPassword {
        username: username.to_owned(),
        password: password.clone(),
        purpose,
        source: source(),
    };
    let with_realm = format!("{}@{}", issued.username.to_uppercase(), issued.realm);
    for username in [&issued.username, &with_realm] {
        let answer = world.call(check(username, &issued.password, purpose));
        assert!(matches!(&answer, Answer::Holder(holder) if holder.user == ALICE), "{answer:?}");
    }
    let wrong = Answer::Refused(Refusal::WrongPassword);
    assert_eq!(world.call(check(&issued.username, &issued.password, Purpose::Sip)), wrong);
    assert_eq!(world.call(check(&issued.username, &Secret("x".to_owned()), purpose)), wrong);
    assert_eq!(world.call(check("alice", &Secret(PASSWORD.to_owned()), purpose)), wrong);
    world.call(Call::SetUserState(address("alice"), UserState::Disabled));
    assert_eq!(
        world.call(check(&issued.username, &issued.password, purpose)),
        Answer::Refused(Refusal::Disabled)
    );
}

#[test]
fn people_are_found_by_every_name_that_they_have() {
    let mut world = World::new();
    let dave = ObjectId([4; 16]);
    let mut renamed = person(dave, "dave");
    renamed.aliases = vec![address("dave.old")];
    world.replicate(vec![renamed]);
    let find = |world: &mut World, name: &str| match world.call(Call::FindForSignIn(name.to_owned())) {
        Answer::SignInFacts(facts) => Some(*facts),
        Answer::Refused(Refusal::NobodyOfThatName { .. }) => None,
        other => panic!("{other:?}"),
    };
    for name in [
        "dave@contoso.example",
        "sip:Dave@Contoso.example",
        "dave.old@contoso.example",
        "CORP\\dave",
        "Dave@CORP.EXAMPLE",
        "sam-dave",
        " dave ",
        "sip:dave",
        "SIPS: corp\\dave",
    ] {
        let facts = find(&mut world, name).expect(name);
        assert_eq!(facts.address, address("dave"), "{name}");
        assert!(
            matches!(facts.way, Way::Directory { ref bind_name, .. } if bind_name == "dave@corp.example")
        );
    }
    assert_eq!(find(&mut world, "alice").expect("alice").way, Way::Local);
    for name in ["", "nobody", "nobody@contoso.example", "@", &"x".repeat(300)] {
        assert_eq!(find(&mut world, name), None, "{name}");
    }
    // A name of two people is nobody's.
    let mut other = person(ObjectId([5; 16]), "erin");
    other.account.sign_in_names.push("sam-dave".to_owned());
    world.replicate(vec![other]);
    assert_eq!(find(&mut world, "sam-dave"), None);
    // Who has no password here cannot guess one, either.
    let check = |password: &str, user: UserId| Call::CheckPassword {
        user,
        password: Secret(password.to_owned()),
        source: source(),
    };
    let id = find(&mut world, "dave").unwrap().user;
    assert_eq!(world.call(check("", id)), Answer::Refused(Refusal::WrongPassword));
    assert_eq!(world.call(check(PASSWORD, ALICE)), Answer::Done);
    // The web counts: slowed here too, a name that is somebody's would be told from one that is nobody's.
    for _ in 0..20 {
        assert_eq!(world.call(check("wrong", ALICE)), Answer::Refused(Refusal::WrongPassword));
    }
    assert_eq!(world.call(check(PASSWORD, ALICE)), Answer::Done);
    let flow = world.connect(Transport::Tls);
    assert_eq!(world.register_by(flow, "alice", "alice", PASSWORD), 200, "nor is Digest slowed by it");
    let set = world.call(Call::SetPassword(address("dave"), "another password".to_owned()));
    assert_eq!(set, Answer::Refused(Refusal::OfDirectory(address("dave"))));
}

/// Else who guesses could tell a user by what is blocked along with a name, and what is not.
#[test]
fn names_of_nobody_count_as_those_of_users_do() {
    let mut world = World::new();
    world.replicate(vec![person(ObjectId([4; 16]), "dave")]);
    let counts_as = |world: &mut World, name: &str| match world.call(Call::FindForSignIn(name.to_owned())) {
        Answer::Refused(Refusal::NobodyOfThatName { counts_as }) => counts_as,
        other => panic!("{other:?}"),
    };
    for name in
        ["Mallory", " sip:mallory", "mallory@contoso.example", "CORP\\mallory", "mallory@Corp.Example"]
    {
        assert_eq!(counts_as(&mut world, name), "mallory", "{name}");
    }
    for name in
        ["mallory@fabrikam.example", "other\\mallory", "corp\\other\\mallory\\", "dave@fabrikam.example"]
    {
        let whole = name.strip_prefix("corp\\").unwrap_or(name);
        assert_eq!(counts_as(&mut world, name), whole, "nobody here is found with it");
    }
    world.replicate_batch(Batch { removed: vec![ObjectId([4; 16])], ..Default::default() });
    assert_eq!(counts_as(&mut world, "CORP\\mallory"), "corp\\mallory", "nor is anybody any more");
}
