//! Each checker finds the fault that it is there for, and finds nothing in the same world without it.

use directory::{Standing, UserState};
use frontend::admin::{Answer, Batch, Call};
use node::Transport;
use presence::Level;

use super::dishonest::{Plant, planted};
use super::support::{MINUTE, address, device, device_with, ms, register, violations, world};
use crate::device::{CallPlan, Pose, Posture, Reaction, SignIn, Watched};
use crate::disk::DiskMode;
use crate::documents::{Application, Grantee, rules};
use crate::event::Crash;
use crate::random::{DOMAIN, Mix, password, run_mix};
use crate::{Conditions, Factory, World, from_directory, front_ends};

/// Random worlds in which a fault must be found.
const RANDOM_WORLDS: u64 = 4;

/// Runs `story` on an honest home, where nothing may be found, and on one with `plant`, where `checker` must say
/// something that contains `words`.
fn check(plant: Plant, checker: &str, words: &str, story: fn(Factory) -> World) {
    let honest = violations(&mut story(front_ends(DOMAIN)));
    assert!(honest.is_empty(), "the honest home: {honest:?}");
    expect_violation(&mut story(planted(front_ends(DOMAIN), plant)), checker, words);
}

fn expect_violation(world: &mut World, checker: &str, words: &str) {
    let found = violations(world);
    let named = found.iter().any(|v| v.checker == checker && v.what.contains(words));
    assert!(named, "{checker} did not say {words:?}: {found:?}\n{}", world.ladder(0));
}

/// Alice writes three messages to Bob; Carol is there as well.
fn three_messages(factory: Factory) -> World {
    let mut world = world(factory, &["alice", "bob", "carol"]);
    let devices = ["alice", "bob", "carol"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    for _ in 0..3 {
        world.send_message(0, &address("bob"), None);
    }
    world.run_for(MINUTE);
    world
}

/// Alice calls Bob, who answers on one of his two devices and hangs up on nobody.
fn forked_call(factory: Factory) -> World {
    let mut world = world(factory, &["alice", "bob"]);
    let devices = ["alice", "bob-1", "bob-2"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    world.script(2).on_invite = CallPlan::Ring;
    world.call(0, &address("bob"), None, ms(2_000));
    world.run_for(MINUTE * 3);
    world
}

#[test]
fn a_lost_delivery_is_found() {
    check(Plant::LosesDeliveries, "delivery", "no", three_messages);
}

#[test]
fn a_second_copy_is_found() {
    check(Plant::DeliversTwice, "delivery", "again although its 200 had been received", three_messages);
}

#[test]
fn a_wrong_order_is_found() {
    check(Plant::Reorders, "mailbox order", "behind", three_messages);
}

#[test]
fn a_leak_is_found() {
    check(Plant::Leaks, "identity", "carol got alice to bob", three_messages);
}

#[test]
fn a_wrong_sender_is_found() {
    check(Plant::Impersonates, "identity", "with From mallory", three_messages);
}

#[test]
fn credentials_that_are_passed_on_are_found() {
    check(Plant::ShowsCredentials, "identity", "with somebody's credentials", three_messages);
}

#[test]
fn a_loser_that_rings_on_is_found() {
    check(Plant::SwallowsCancel, "calls", "after the call was decided", forked_call);
}

#[test]
fn a_call_that_ends_on_one_side_is_found() {
    check(Plant::SwallowsBye, "calls", "disagree", forked_call);
}

#[test]
fn clients_that_cannot_register_are_found() {
    let story = |factory: Factory| {
        let mut world = world(factory, &["alice"]);
        device(&mut world, "alice", Transport::Tcp);
        world.register(0);
        world.run_for(MINUTE);
        world
    };
    check(Plant::IgnoresRegistrations, "settled", "alice is not registered", story);
}

#[test]
fn messages_without_an_answer_are_found() {
    check(Plant::IgnoresSenders, "settled", "without a final answer", three_messages);
}

#[test]
fn transactions_that_do_not_end_are_found() {
    let story = |factory: Factory| {
        let mut world = world(factory, &["alice", "bob"]);
        let alice = device(&mut world, "alice", Transport::Tcp);
        let silent =
            device_with(&mut world, "bob", Transport::Udp, |c| c.script.on_message = Reaction::Silent);
        register(&mut world, &[alice, silent]);
        world.send_message(0, &address("bob"), None);
        world.run_for(ms(20_000));
        world.script(silent).on_message = Reaction::Take;
        world.run_for(MINUTE);
        world
    };
    check(Plant::Oversleeps, "settled", "transactions that do not end", story);
}

#[test]
fn a_promise_before_its_time_is_found() {
    let mut world = world(front_ends(DOMAIN), &["alice", "bob"]);
    let devices = ["alice", "bob"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    world.set_disk(0, DiskMode::Lying);
    world.send_message(0, &address("bob"), None);
    world.run_for(MINUTE);
    expect_violation(&mut world, "durability", "before it was durable");
}

#[test]
fn what_a_lying_disk_loses_is_found() {
    let mut world = world(front_ends(DOMAIN), &["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice]);
    world.set_disk(0, DiskMode::Lying);
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(200));
    world.crash(0, Crash::PowerLost);
    world.set_disk(0, DiskMode::Healthy);
    world.start(0);
    world.run_for(MINUTE);
    expect_violation(&mut world, "delivery", "neither delivered nor stored");
}

/// Bob sees little of Alice, Carol is blocked, and Alice's state changes.
fn three_watchers(factory: Factory) -> World {
    let mut world = World::new(1, Conditions::calm());
    world.add_machine("home", DOMAIN, factory);
    for user in ["alice", "bob", "carol", "dave", "nobody"] {
        world.provision_user(0, user, DOMAIN, &password(user));
    }
    let grant = |user, level| (Grantee::User(address(user)), level);
    let grants = [grant("bob", Level::External), grant("carol", Level::Blocked)];
    world.provision_document(0, "alice", Application::PresRules, &rules(&grants));
    world.start(0);
    let devices = ["alice", "bob", "carol", "dave"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    for watcher in [3, 1, 2] {
        world.watch(devices[watcher], Watched::Person(address("alice")));
        world.run_for(ms(200));
    }
    world.watch(devices[2], Watched::Person(address("nobody")));
    let posture = Posture {
        pose: Pose::Busy,
        activity: Some("meeting"),
        note: Some("note:alice:1".into()),
        place: None,
    };
    world.publish(devices[0], Some(posture));
    world.run_for(MINUTE);
    world
}

#[test]
fn a_watcher_that_sees_too_much_is_found() {
    check(Plant::ShowsAll, "presence level", "at level external, is shown a note", three_watchers);
}

/// Bob's calls are watched by himself and by Carol, and Alice calls him.
fn watched_calls(factory: Factory) -> World {
    let mut world = world(factory, &["alice", "bob", "carol"]);
    let devices = ["alice", "bob", "carol"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    world.watch(devices[2], Watched::Calls(address("bob")));
    world.watch(devices[1], Watched::Calls(address("bob")));
    world.call(devices[0], &address("bob"), None, ms(5_000));
    world.run_for(MINUTE);
    world
}

#[test]
fn a_watcher_of_calls_that_sees_too_much_is_found() {
    check(
        Plant::ShowsCalls,
        "presence level",
        "carol, at level company, is shown a call of bob",
        watched_calls,
    );
}

#[test]
fn a_call_that_seems_not_to_end_is_found() {
    check(Plant::ShowsCalls, "presence converges", "bob sees bob@contoso.example in 1 calls", watched_calls);
}

/// The same in random worlds, where somebody watches calls at a level that shows none, and at one that does.
#[test]
fn random_worlds_find_what_watchers_of_calls_may_not_see() {
    let found = (0..RANDOM_WORLDS).flat_map(|seed| {
        let factory = planted(front_ends(DOMAIN), Plant::ShowsCalls);
        run_mix(seed, factory, Mix { calls: true, ..Mix::PLAIN }).violations
    });
    let found: Vec<_> = found.map(|violation| (violation.checker, violation.what)).collect();
    let named =
        |checker: &str, words: &str| found.iter().any(|(by, what)| *by == checker && what.contains(words));
    assert!(named("presence level", "is shown a call of"), "{found:?}");
    assert!(named("presence converges", "calls that are over"), "{found:?}");
}

#[test]
fn a_blocked_watcher_that_can_tell_is_found() {
    check(Plant::MarksBlocked, "presence level", "can tell", three_watchers);
}

#[test]
fn news_that_do_not_reach_a_watcher_are_found() {
    check(Plant::HidesNews, "presence converges", "sees alice@contoso.example as", three_watchers);
}

#[test]
fn a_call_that_is_not_logged_is_found() {
    check(Plant::ForgetsCalls, "call log", "has 0 calls", forked_call);
}

#[test]
fn a_call_that_is_logged_wrongly_is_found() {
    check(Plant::LogsMissed, "call log", "that were answered, and there were 1", forked_call);
}

/// Bob's account is disabled while his device is there.
fn a_leaver(factory: Factory) -> World {
    let mut world = world(factory, &["alice", "bob"]);
    let devices = ["alice", "bob"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    world.set_sign_in(devices[1], None);
    let bob = world.address_of("bob", DOMAIN);
    world.admin(0, Call::SetUserState(bob, UserState::Disabled));
    world.run_for(MINUTE);
    world
}

#[test]
fn a_leaver_who_keeps_the_connection_is_found() {
    check(Plant::HoldsOn, "ended", "bob keeps its connection", a_leaver);
}

#[test]
fn a_leaver_who_comes_back_is_found() {
    check(Plant::LetsEverybodyIn, "ended", "bob may register although its account has ended", a_leaver);
}

#[test]
fn a_leaver_of_the_directory_who_keeps_a_token_is_found() {
    let story = |factory: Factory| {
        let mut world = World::new(1, Conditions::calm());
        world.add_machine("home", DOMAIN, factory);
        world.provision_directory_user(0, "dora", DOMAIN, "not-used");
        world.start(0);
        world.run_for(ms(10));
        let dora = world.user_id("dora");
        let call = Call::IssueToken { user: dora, lifetime: MINUTE * 600, renewed: None };
        let Some(Answer::IssuedToken(issued)) = world.ask(0, call) else { panic!("a token") };
        let token = SignIn::Token(issued.token.0.clone());
        let device = device_with(&mut world, "dora", Transport::Tls, |config| config.sign_in = token);
        register(&mut world, &[device]);
        world.set_sign_in(device, None);
        let address = world.address_of("dora", DOMAIN);
        world.admin(0, Call::RevokeTokens(address.into()));
        world.run_for(MINUTE);
        let users = vec![from_directory("dora", DOMAIN, Standing::Disabled)];
        world.admin(0, Call::Replicate(Box::new(Batch { users, ..Batch::default() })));
        world.run_for(MINUTE);
        world
    };
    check(Plant::HoldsOn, "ended", "dora keeps its connection", story);
}

#[test]
fn a_registration_that_does_not_expire_is_found() {
    let story = |factory: Factory| {
        let mut world = world(factory, &["alice", "bob"]);
        let alice = device(&mut world, "alice", Transport::Tcp);
        let bob = device_with(&mut world, "bob", Transport::Udp, |config| config.expires_seconds = 120);
        register(&mut world, &[alice, bob]);
        world.crash_device(bob, Crash::PowerLost);
        world.run_for(MINUTE * 10);
        world.send_message(alice, &address("bob"), None);
        world.run_for(MINUTE);
        world
    };
    check(Plant::ForgetsExpiry, "expired", "after its registration expired", story);
}
