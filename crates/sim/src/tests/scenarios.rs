//! What users live through, as ladders.

use expect_test::{Expect, expect};
use node::Transport;
use records::Change;

use super::support::{address, assert_sound, device, device_with, ms, register, world};
use crate::device::CallPlan;
use crate::disk::DiskMode;
use crate::event::{Crash, Fact, What};
use crate::random::DOMAIN;
use crate::{World, front_ends};

fn home(users: &[&str]) -> World {
    world(front_ends(DOMAIN), users)
}

/// Compares the ladder of what happened since `from`, and lets the checkers look.
fn check(world: &mut World, from: usize, ladder: &Expect) {
    ladder.assert_eq(&world.ladder(from));
    assert_sound(world);
}

/// How often a device took any message.
fn taken(world: &World, device: usize) -> usize {
    let took = |what: &What| matches!(what, What::Fact { device: d, fact: Fact::Replied { status: 200, .. } } if *d == device);
    world.events().iter().filter(|e| took(&e.what)).count()
}

/// The final answers that senders got, in order.
fn answers(world: &World) -> Vec<u16> {
    let answer = |what: &What| match what {
        What::Fact { fact: Fact::Concluded { status, .. }, .. } => Some(*status),
        _ => None,
    };
    world.events().iter().filter_map(|e| answer(&e.what)).collect()
}

#[test]
fn a_second_flow_takes_over() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device_with(&mut world, "bob", Transport::Tcp, |c| c.servers = vec![c.servers[0]; 2]);
    register(&mut world, &[alice, bob]);
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(500));
    world.break_flow(bob, 1);
    world.run_for(ms(50));
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(5_000));
    assert_eq!(taken(&world, bob), 2);
    check(&mut world, 0, &expect![[r#""#]]);
}

#[test]
fn a_message_waits_for_its_recipient() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Udp);
    register(&mut world, &[alice]);
    let from = world.events().len();
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(10_000));
    assert_eq!(answers(&world), [202]);
    register(&mut world, &[bob]);
    world.run_for(ms(1_000));
    assert_eq!(taken(&world, bob), 1);
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn a_message_survives_the_server() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice]);
    let from = world.events().len();
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(10_000));
    world.crash(0, Crash::Killed);
    world.run_for(ms(100));
    world.start(0);
    world.run_for(ms(100));
    register(&mut world, &[bob]);
    world.run_for(ms(2_000));
    assert_eq!(taken(&world, bob), 1);
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn a_resend_across_a_restart_changes_nothing() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Udp);
    register(&mut world, &[alice, bob]);
    let from = world.events().len();
    world.send_message(alice, &address("bob"), None);
    // The server dies when Bob's 200 is on its way: Bob has the message, Alice has no answer.
    world.run_for(ms(19));
    world.crash(0, Crash::Killed);
    world.run_for(ms(1_000));
    world.start(0);
    world.run_for(ms(20_000));
    assert_eq!(answers(&world).len(), 1);
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn bindings_of_datagrams_survive_a_restart() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Udp);
    let bob = device(&mut world, "bob", Transport::Udp);
    register(&mut world, &[alice, bob]);
    world.run_for(ms(2_000));
    world.crash(0, Crash::PowerLost);
    world.run_for(ms(100));
    let from = world.events().len();
    world.start(0);
    world.run_for(ms(100));
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(2_000));
    assert_eq!(taken(&world, bob), 1);
    assert_eq!(answers(&world), [200]);
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice, bob]);
    let from = world.events().len();
    let which = |c: &Change| matches!(c, Change::AppendMessage(_));
    world.set_disk(0, DiskMode::FailNext { count: 1, which });
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(10_000));
    assert_eq!((answers(&world), taken(&world, bob)), (vec![200], 1));
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice]);
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(10_000));
    world.set_disk(0, DiskMode::Full);
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(60_000));
    assert_eq!(answers(&world), [202, 500]);
    world.set_disk(0, DiskMode::Healthy);
    register(&mut world, &[bob]);
    world.run_for(ms(2_000));
    assert_eq!(taken(&world, bob), 1);
    world.send_message(bob, &address("alice"), None);
    assert_sound(&mut world);
}

#[test]
fn a_device_that_dies_before_its_answer_gets_the_message_again() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device_with(&mut world, "bob", Transport::Tcp, |c| {
        c.script.on_message = crate::device::Reaction::TakeLate(ms(500));
    });
    register(&mut world, &[alice, bob]);
    let from = world.events().len();
    world.send_message(alice, &address("bob"), None);
    world.run_for(ms(300));
    world.crash_device(bob, Crash::Killed);
    world.run_for(ms(500));
    world.start_device(bob);
    world.run_for(ms(15_000));
    assert_eq!(taken(&world, bob), 1);
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn the_first_answer_wins_and_the_others_are_cancelled() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let devices = ["bob-1", "bob-2"].map(|name| device(&mut world, name, Transport::Tcp));
    register(&mut world, &[alice, devices[0], devices[1]]);
    world.script(devices[1]).on_invite = CallPlan::Ring;
    let from = world.events().len();
    world.call(alice, &address("bob"), None, ms(3_000));
    world.run_for(ms(10_000));
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn a_late_cancel_stops_all_who_ring() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let devices = ["bob-1", "bob-2"].map(|name| device(&mut world, name, Transport::Udp));
    register(&mut world, &[alice, devices[0], devices[1]]);
    for device in devices {
        world.script(device).on_invite = CallPlan::Ring;
    }
    let from = world.events().len();
    world.call(alice, &address("bob"), Some(ms(8_000)), ms(1_000));
    world.run_for(ms(20_000));
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn an_answer_that_crosses_cancel_is_ended_by_the_caller() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice, bob]);
    world.script(bob).on_invite = CallPlan::Answer(ms(2_000));
    let from = world.events().len();
    // INVITE reaches Bob after 10 ms; he answers at 2,010 ms, and Alice's CANCEL reaches him at 2,013 ms.
    world.call(alice, &address("bob"), Some(ms(2_003)), ms(1_000));
    world.run_for(ms(10_000));
    check(&mut world, from, &expect![[r#""#]]);
}

#[test]
fn a_stolen_from_is_refused() {
    let mut world = home(&["alice", "bob", "carol"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice, bob]);
    let from = world.events().len();
    world.send_message(alice, &address("bob"), Some(&address("carol")));
    world.run_for(ms(5_000));
    assert_eq!((answers(&world), taken(&world, bob)), (vec![403], 0));
    check(&mut world, from, &expect![[r#""#]]);
}
