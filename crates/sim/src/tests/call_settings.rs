//! Where calls go that their callees do not want, as ladders.

use expect_test::expect;
use frontend::admin::{Answer, Call};
use node::Transport;
use presence::{Level, ManualState};
use records::{CallSettings, Change};

use super::support::{address, assert_sound, device, device_with, ms, register};
use crate::device::CallPlan;
use crate::documents::{Application, Grantee, rules};
use crate::event::{Fact, What};
use crate::random::{DOMAIN, password};
use crate::{Conditions, World, front_ends};

/// A home of Alice, Bob and Carol that does not run yet.
fn three() -> World {
    let mut world = World::new(1, Conditions::calm());
    world.add_machine("home", DOMAIN, front_ends(DOMAIN));
    for user in ["alice", "bob", "carol"] {
        world.provision_user(0, user, DOMAIN, &password(user));
    }
    world
}

/// How a caller's calls that nobody answered ended, in order.
fn refusals(world: &World) -> Vec<u16> {
    let end = |what: &What| match what {
        What::Fact { fact: Fact::LegDown { status, .. }, .. } => *status,
        _ => None,
    };
    world.events().iter().filter_map(|e| end(&e.what)).collect()
}

#[test]
fn who_may_interrupt_rings_through_do_not_disturb() {
    let mut world = three();
    let grants = [(Grantee::User(address("carol")), Level::Team)];
    world.provision_document(0, "alice", Application::PresRules, &rules(&grants));
    world.start(0);
    let devices = ["alice", "bob", "carol"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    let choice = Some((ManualState::DoNotDisturb, None));
    let alice = world.address_of("alice", DOMAIN);
    let answer = world.ask(0, Call::SetPresence { address: alice, choice, note: None });
    assert_eq!(answer, Some(Answer::Done));
    let from = world.events().len();
    world.call(devices[1], &address("alice"), None, ms(2_000));
    world.run_for(ms(5_000));
    assert_eq!(refusals(&world), [486]);
    world.call(devices[2], &address("alice"), None, ms(2_000));
    world.run_for(ms(5_000));
    assert_eq!(refusals(&world), [486]);
    expect![[r#"
        ms       alice                     home                      bob                       carol
           1503  |                         |<------INVITE (1)--------|                         |
           1508  |                         |-----486 (1 INVITE)----->|                         |
           1513  |                         |<--------ACK (1)---------|                         |
           6503  |                         |<-------------------INVITE (1)---------------------|
           6508  |<------INVITE (1)--------|                         |                         |
           6513  |-----180 (1 INVITE)----->|                         |                         |
           6518  |                         |------------------180 (1 INVITE)------------------>|
           7513  |-----200 (1 INVITE)----->|                         |                         |
           7518  |                         |------------------200 (1 INVITE)------------------>|
           7523  |                         |<---------------------ACK (1)----------------------|
           7528  |<--------ACK (1)---------|                         |                         |
           9523  |                         |<---------------------BYE (2)----------------------|
           9528  |<--------BYE (2)---------|                         |                         |
           9533  |-------200 (2 BYE)------>|                         |                         |
           9538  |                         |--------------------200 (2 BYE)------------------->|
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn a_call_that_nobody_answers_goes_on_to_another() {
    let mut world = three();
    let settings = CallSettings {
        forward_no_answer: Some(world.address_of("carol", DOMAIN)),
        no_answer_seconds: 5,
        ..CallSettings::default()
    };
    let user = world.user_id("bob");
    world.provision(0, Change::SetCallSettings { user, settings });
    world.start(0);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device_with(&mut world, "bob", Transport::Tcp, |c| c.script.on_invite = CallPlan::Ring);
    let carol = device(&mut world, "carol", Transport::Tcp);
    register(&mut world, &[alice, bob, carol]);
    let from = world.events().len();
    world.call(alice, &address("bob"), None, ms(2_000));
    world.run_for(ms(20_000));
    expect![[r#"
        ms       alice                     home                      bob                       carol
           1500  |-------INVITE (1)------->|                         |                         |
           1505  |                         |-------INVITE (1)------->|                         |
           1510  |                         |<----180 (1 INVITE)------|                         |
           1515  |<----180 (1 INVITE)------|                         |                         |
           6505  |                         |-------CANCEL (1)------->|                         |
           6505  |                         |--------------------INVITE (1)-------------------->|
           6510  |                         |<----200 (1 CANCEL)------|                         |
           6510  |                         |<----487 (1 INVITE)------|                         |
           6510  |                         |<-----------------180 (1 INVITE)-------------------|
           6515  |                         |---------ACK (1)-------->|                         |
           6515  |<----180 (1 INVITE)------|                         |                         |
           7510  |                         |<-----------------200 (1 INVITE)-------------------|
           7515  |<----200 (1 INVITE)------|                         |                         |
           7520  |---------ACK (1)-------->|                         |                         |
           7525  |                         |----------------------ACK (1)--------------------->|
           9520  |---------BYE (2)-------->|                         |                         |
           9525  |                         |----------------------BYE (2)--------------------->|
           9530  |                         |<-------------------200 (2 BYE)--------------------|
           9535  |<------200 (2 BYE)-------|                         |                         |
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}
