//! Transfers, as ladders.

use expect_test::expect;
use node::Transport;

use super::support::{address, assert_sound, device, ms, register, world};
use crate::device::TransferTo;
use crate::event::{Fact, What};
use crate::random::DOMAIN;
use crate::{World, front_ends};

/// Alice, Bob and Carol, one line each.
fn three() -> (World, [usize; 3]) {
    let mut world = world(front_ends(DOMAIN), &["alice", "bob", "carol"]);
    let devices = ["alice", "bob", "carol"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &devices);
    (world, devices)
}

/// How transfers ended, in order.
fn transfers(world: &World) -> Vec<u16> {
    let end = |what: &What| match what {
        What::Fact { fact: Fact::Transferred { status, .. }, .. } => Some(*status),
        _ => None,
    };
    world.events().iter().filter_map(|e| end(&e.what)).collect()
}

#[test]
fn a_blind_transfer() {
    let (mut world, [alice, bob, _carol]) = three();
    let from = world.events().len();
    let call = world.call(alice, &address("bob"), None, ms(60_000)).expect("alice is registered");
    world.run_for(ms(3_000));
    world.transfer(bob, &call, &TransferTo::Address(address("carol")));
    world.run_for(ms(10_000));
    assert_eq!(transfers(&world), [200]);
    assert_eq!(world.device(bob).calls_under_way(), 0);
    expect![[r#"
        ms       alice                     home                      bob                       carol
           1500  |-------INVITE (1)------->|                         |                         |
           1505  |                         |-------INVITE (1)------->|                         |
           1510  |                         |<----180 (1 INVITE)------|                         |
           1515  |<----180 (1 INVITE)------|                         |                         |
           2510  |                         |<----200 (1 INVITE)------|                         |
           2515  |<----200 (1 INVITE)------|                         |                         |
           2520  |---------ACK (1)-------->|                         |                         |
           2525  |                         |---------ACK (1)-------->|                         |
           4500  |                         |<-------REFER (1)--------|                         |
           4505  |<-------REFER (1)--------|                         |                         |
           4510  |------202 (1 REFER)----->|                         |                         |
           4510  |-------NOTIFY (2)------->|                         |                         |
           4510  |-------INVITE (1)------->|                         |                         |
           4515  |                         |------202 (1 REFER)----->|                         |
           4515  |                         |-------NOTIFY (2)------->|                         |
           4515  |                         |--------------------INVITE (1)-------------------->|
           4520  |                         |<----200 (2 NOTIFY)------|                         |
           4520  |                         |<-----------------180 (1 INVITE)-------------------|
           4525  |<----200 (2 NOTIFY)------|                         |                         |
           4525  |<----180 (1 INVITE)------|                         |                         |
           5520  |                         |<-----------------200 (1 INVITE)-------------------|
           5525  |<----200 (1 INVITE)------|                         |                         |
           5530  |---------ACK (1)-------->|                         |                         |
           5530  |-------NOTIFY (3)------->|                         |                         |
           5535  |                         |----------------------ACK (1)--------------------->|
           5535  |                         |-------NOTIFY (3)------->|                         |
           5540  |                         |<----200 (3 NOTIFY)------|                         |
           5540  |                         |<--------BYE (2)---------|                         |
           5545  |<----200 (3 NOTIFY)------|                         |                         |
           5545  |<--------BYE (2)---------|                         |                         |
           5550  |-------200 (2 BYE)------>|                         |                         |
           5555  |                         |-------200 (2 BYE)------>|                         |
           9530  |---------BYE (2)-------->|                         |                         |
           9535  |                         |----------------------BYE (2)--------------------->|
           9540  |                         |<-------------------200 (2 BYE)--------------------|
           9545  |<------200 (2 BYE)-------|                         |                         |
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn an_attended_transfer() {
    let (mut world, [alice, bob, carol]) = three();
    let first = world.call(alice, &address("bob"), None, ms(60_000)).expect("alice is registered");
    world.run_for(ms(3_000));
    let second = world.call(bob, &address("carol"), None, ms(60_000)).expect("bob is registered");
    world.run_for(ms(3_000));
    let from = world.events().len();
    world.transfer(bob, &first, &TransferTo::Call(second));
    world.run_for(ms(2_000));
    assert_eq!(transfers(&world), [200]);
    assert_eq!([alice, bob, carol].map(|d| world.device(d).calls_under_way()), [1, 0, 1]);
    expect![[r#"
        ms       alice                     home                      bob                       carol
           7500  |                         |<-------REFER (1)--------|                         |
           7505  |<-------REFER (1)--------|                         |                         |
           7510  |------202 (1 REFER)----->|                         |                         |
           7510  |-------NOTIFY (2)------->|                         |                         |
           7510  |-------INVITE (1)------->|                         |                         |
           7515  |                         |------202 (1 REFER)----->|                         |
           7515  |                         |-------NOTIFY (2)------->|                         |
           7515  |                         |--------------------INVITE (1)-------------------->|
           7520  |                         |<----200 (2 NOTIFY)------|                         |
           7520  |                         |<-----------------200 (1 INVITE)-------------------|
           7520  |                         |<---------------------BYE (1)----------------------|
           7525  |<----200 (2 NOTIFY)------|                         |                         |
           7525  |<----200 (1 INVITE)------|                         |                         |
           7525  |                         |---------BYE (1)-------->|                         |
           7530  |---------ACK (1)-------->|                         |                         |
           7530  |-------NOTIFY (3)------->|                         |                         |
           7530  |                         |<------200 (1 BYE)-------|                         |
           7535  |                         |----------------------ACK (1)--------------------->|
           7535  |                         |-------NOTIFY (3)------->|                         |
           7535  |                         |--------------------200 (1 BYE)------------------->|
           7540  |                         |<----200 (3 NOTIFY)------|                         |
           7540  |                         |<--------BYE (2)---------|                         |
           7545  |<----200 (3 NOTIFY)------|                         |                         |
           7545  |<--------BYE (2)---------|                         |                         |
           7550  |-------200 (2 BYE)------>|                         |                         |
           7555  |                         |-------200 (2 BYE)------>|                         |
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn a_transfer_to_nobody_leaves_the_call_as_it_was() {
    let (mut world, [alice, bob, _carol]) = three();
    let call = world.call(alice, &address("bob"), None, ms(20_000)).expect("alice is registered");
    world.run_for(ms(3_000));
    world.transfer(bob, &call, &TransferTo::Address(address("zoe")));
    world.run_for(ms(5_000));
    assert_eq!(transfers(&world), [404]);
    assert_eq!([alice, bob].map(|d| world.device(d).calls_under_way()), [1, 1]);
    assert_sound(&mut world);
}
