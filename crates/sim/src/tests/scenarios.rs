//! What users live through, as ladders.

use expect_test::{Expect, expect};
use node::{Outcome, Transport};
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
    for flow in [1, 0] {
        world.break_flow(bob, flow);
        world.run_for(ms(50));
        world.send_message(alice, &address("bob"), None);
        world.run_for(ms(5_000));
    }
    assert_eq!(taken(&world, bob), 3);
    check(
        &mut world,
        0,
        &expect![[r#"
            ms       alice                     home                      bob
                  0   * home starts
                  5   * alice connects
                 10  |------REGISTER (1)------>|                         |
                 15  |<---401 (1 REGISTER)-----|                         |
                 20  |---REGISTER (2) signed-->|                         |
                 25  |<---200 (2 REGISTER)-----|                         |
                505   * bob connects
                505   * bob connects
                510  |                         |<-----REGISTER (1)-------|
                510  |                         |<-----REGISTER (1)-------|
                515  |                         |----401 (1 REGISTER)---->|
                515  |                         |----401 (1 REGISTER)---->|
                520  |                         |<--REGISTER (2) signed---|
                520  |                         |<--REGISTER (2) signed---|
                525  |                         |----200 (2 REGISTER)---->|
                525  |                         |----200 (2 REGISTER)---->|
               1000  |-------MESSAGE (1)------>|                         |
               1010  |                         |-------MESSAGE (1)------>|
               1015  |                         |<----200 (1 MESSAGE)-----|
               1020  |<----200 (1 MESSAGE)-----|                         |
               1500   * flow 1 of bob breaks
               1500   * bob loses a connection: Broken
               1500   * home loses a connection: Broken
               1550  |-------MESSAGE (1)------>|                         |
               1555  |                         |-------MESSAGE (1)------>|
               1560  |                         |<----200 (1 MESSAGE)-----|
               1565  |<----200 (1 MESSAGE)-----|                         |
               2509   * bob connects
               2514  |                         |<--REGISTER (3) signed---|
               2519  |                         |----200 (3 REGISTER)---->|
               6550   * flow 0 of bob breaks
               6550   * bob loses a connection: Broken
               6550   * home loses a connection: Broken
               6600  |-------MESSAGE (1)------>|                         |
               6610  |                         |-------MESSAGE (1)------>|
               6615  |                         |<----200 (1 MESSAGE)-----|
               6620  |<----200 (1 MESSAGE)-----|                         |
               7548   * bob connects
               7553  |                         |<--REGISTER (3) signed---|
               7558  |                         |----200 (3 REGISTER)---->|
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
                500  |-------MESSAGE (1)------>|                         |
                506  |<----202 (1 MESSAGE)-----|                         |
              10500  |                         |<-----REGISTER (1)-------|
              10505  |                         |----401 (1 REGISTER)---->|
              10510  |                         |<--REGISTER (2) signed---|
              10515  |                         |----200 (2 REGISTER)---->|
              10516  |                         |-------MESSAGE (1)------>|
              10521  |                         |<----200 (1 MESSAGE)-----|
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
                500  |-------MESSAGE (1)------>|                         |
                506  |<----202 (1 MESSAGE)-----|                         |
              10500   * home crashes
              10505   * alice loses a connection: Broken
              10600   * home starts
              10705   * bob connects
              10710  |                         |<-----REGISTER (1)-------|
              10715  |                         |----401 (1 REGISTER)---->|
              10720  |                         |<--REGISTER (2) signed---|
              10725  |                         |----200 (2 REGISTER)---->|
              10725  |                         |-------MESSAGE (1)------>|
              10730  |                         |<----200 (1 MESSAGE)-----|
              11223   * alice connects
              11228  |---REGISTER (3) signed-->|                         |
              11233  |<---401 (3 REGISTER)-----|                         |
              11238  |---REGISTER (4) signed-->|                         |
              11243  |<---200 (4 REGISTER)-----|                         |
        "#]],
    );
}

#[test]
fn a_resend_across_a_restart_changes_nothing() {
    let mut world = home(&["alice", "bob"]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Udp);
    register(&mut world, &[alice, bob]);
    // Bob's binding outlives the server once it is written, within a second.
    world.run_for(ms(1_000));
    let from = world.events().len();
    world.send_message(alice, &address("bob"), None);
    // The server dies when Bob's 200 is on its way: Bob has the message, Alice has no answer.
    world.run_for(ms(13));
    world.crash(0, Crash::Killed);
    world.run_for(ms(1_000));
    world.start(0);
    world.run_for(ms(20_000));
    assert_eq!(answers(&world).len(), 1);
    let stored = world.events().iter().filter(|e| match &e.what {
        What::Durable { change, outcome: Outcome::Applied, .. } => {
            matches!(&**change, Change::AppendMessage(_))
        }
        _ => false,
    });
    assert_eq!(stored.count(), 1, "the resend is known");
    assert_eq!(taken(&world, bob), 2, "{}", world.ladder(from));
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               2000  |-------MESSAGE (1)------>|                         |
               2008  |                         |-------MESSAGE (1)------>|
               2013   * home crashes
               2013  |                         |<----200 (1 MESSAGE)-----|
               2018   * alice loses a connection: Broken
               3013   * home starts
               3017  |                         |-------MESSAGE (1)------>|
               3022  |                         |<----200 (1 MESSAGE)-----|
               5505   * alice connects
               5510  |---REGISTER (3) signed-->|                         |
               5515  |<---401 (3 REGISTER)-----|                         |
               5520  |---REGISTER (4) signed-->|                         |
               5525  |<---200 (4 REGISTER)-----|                         |
               5530  |-------MESSAGE (1)------>|                         |
               5540  |<----202 (1 MESSAGE)-----|                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               3100   * home starts
               3200  |-------MESSAGE (1)------>|                         |
               3205  |<----407 (1 MESSAGE)-----|                         |
               3210  |---MESSAGE (2) signed--->|                         |
               3220  |                         |-------MESSAGE (2)------>|
               3225  |                         |<----200 (2 MESSAGE)-----|
               3230  |<----200 (2 MESSAGE)-----|                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               1000   * the disk of home will fail
               1000  |-------MESSAGE (1)------>|                         |
               1010  |<----500 (1 MESSAGE)-----|                         |
               2059  |-------MESSAGE (1)------>|                         |
               2067  |                         |-------MESSAGE (1)------>|
               2072  |                         |<----200 (1 MESSAGE)-----|
               2077  |<----200 (1 MESSAGE)-----|                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               1000  |-------MESSAGE (1)------>|                         |
               1010  |                         |-------MESSAGE (1)------>|
               1300   * bob crashes
               1305   * home loses a connection: Broken
               1800   * bob starts
               1805   * bob connects
               1810  |                         |<-----REGISTER (1)-------|
               1815  |                         |----401 (1 REGISTER)---->|
               1820  |                         |<--REGISTER (2) signed---|
               1825  |                         |----200 (2 REGISTER)---->|
               1825  |                         |-------MESSAGE (1)------>|
               2330  |                         |<----200 (1 MESSAGE)-----|
               2335  |<----200 (1 MESSAGE)-----|                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob-1                     bob-2
               1500  |-------INVITE (1)------->|                         |                         |
               1505  |                         |--------------------INVITE (1)-------------------->|
               1505  |                         |-------INVITE (1)------->|                         |
               1510  |                         |<-----------------180 (1 INVITE)-------------------|
               1510  |                         |<----180 (1 INVITE)------|                         |
               1515  |<----180 (1 INVITE)------|                         |                         |
               1515  |<----180 (1 INVITE)------|                         |                         |
               2510  |                         |<----200 (1 INVITE)------|                         |
               2515  |<----200 (1 INVITE)------|                         |                         |
               2515  |                         |--------------------CANCEL (1)-------------------->|
               2520  |---------ACK (1)-------->|                         |                         |
               2520  |                         |<-----------------200 (1 CANCEL)-------------------|
               2520  |                         |<-----------------487 (1 INVITE)-------------------|
               2525  |                         |---------ACK (1)-------->|                         |
               2525  |                         |----------------------ACK (1)--------------------->|
               5520  |---------BYE (2)-------->|                         |                         |
               5525  |                         |---------BYE (2)-------->|                         |
               5530  |                         |<------200 (2 BYE)-------|                         |
               5535  |<------200 (2 BYE)-------|                         |                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob-1                     bob-2
               1500  |-------INVITE (1)------->|                         |                         |
               1505  |                         |--------------------INVITE (1)-------------------->|
               1505  |                         |-------INVITE (1)------->|                         |
               1510  |                         |<-----------------180 (1 INVITE)-------------------|
               1510  |                         |<----180 (1 INVITE)------|                         |
               1515  |<----180 (1 INVITE)------|                         |                         |
               1515  |<----180 (1 INVITE)------|                         |                         |
               9500  |-------CANCEL (1)------->|                         |                         |
               9505  |<----200 (1 CANCEL)------|                         |                         |
               9505  |                         |--------------------CANCEL (1)-------------------->|
               9505  |                         |-------CANCEL (1)------->|                         |
               9510  |                         |<-----------------200 (1 CANCEL)-------------------|
               9510  |                         |<-----------------487 (1 INVITE)-------------------|
               9510  |                         |<----200 (1 CANCEL)------|                         |
               9510  |                         |<----487 (1 INVITE)------|                         |
               9515  |                         |----------------------ACK (1)--------------------->|
               9515  |                         |---------ACK (1)-------->|                         |
               9515  |<----487 (1 INVITE)------|                         |                         |
               9520  |---------ACK (1)-------->|                         |                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               1000  |-------INVITE (1)------->|                         |
               1005  |                         |-------INVITE (1)------->|
               1010  |                         |<----180 (1 INVITE)------|
               1015  |<----180 (1 INVITE)------|                         |
               3003  |-------CANCEL (1)------->|                         |
               3008  |<----200 (1 CANCEL)------|                         |
               3008  |                         |-------CANCEL (1)------->|
               3010  |                         |<----200 (1 INVITE)------|
               3013  |                         |<----200 (1 CANCEL)------|
               3015  |<----200 (1 INVITE)------|                         |
               3020  |---------ACK (1)-------->|                         |
               3020  |---------BYE (2)-------->|                         |
               3025  |                         |---------ACK (1)-------->|
               3025  |                         |---------BYE (2)-------->|
               3030  |                         |<------200 (2 BYE)-------|
               3035  |<------200 (2 BYE)-------|                         |
        "#]],
    );
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
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     home                      bob
               1000  |-------MESSAGE (1)------>|                         |
               1005  |<----403 (1 MESSAGE)-----|                         |
        "#]],
    );
}
