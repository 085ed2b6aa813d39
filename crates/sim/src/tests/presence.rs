//! What watchers live through, as ladders, and what they see at their level.

use expect_test::expect;
use node::Transport;
use presence::Level;

use super::support::{MINUTE, address, assert_sound, device, device_with, ms, register};
use crate::device::{NotifyPlan, Pose, Posture, Watched};
use crate::documents::{Application, Grantee, rules};
use crate::event::Crash;
use crate::random::{DOMAIN, password};
use crate::{Conditions, World, front_ends};

/// A home where `alice` has granted levels: a machine that runs, and nobody there yet.
fn home(users: &[&str], grants: &[(&str, Level)]) -> World {
    let mut world = World::new(1, Conditions::calm());
    world.add_machine("home", DOMAIN, front_ends(DOMAIN));
    for user in users {
        world.provision_user(0, user, DOMAIN, &password(user));
    }
    let grants: Vec<_> = grants.iter().map(|(user, level)| (Grantee::User(address(user)), *level)).collect();
    if !grants.is_empty() {
        world.provision_document(0, "alice", Application::PresRules, &rules(&grants));
    }
    world.start(0);
    world
}

fn busy() -> Posture {
    Posture {
        pose: Pose::Busy,
        activity: Some("meeting"),
        note: Some("note:alice:1".into()),
        place: Some("place:alice:1".into()),
    }
}

/// What a device has of a person, in a line.
fn sees(world: &World, device: usize, person: &str) -> String {
    let seen = world.device(device).watches().find_map(|(_, _, seen)| seen.get(&address(person)));
    let Some(shown) = seen.and_then(|s| s.shown.as_ref()) else { return "nothing".into() };
    shown.to_string()
}

fn watch(world: &mut World, device: usize, person: &str) {
    world.watch(device, Watched::Person(address(person)));
    world.run_for(ms(200));
}

#[test]
fn who_loses_the_last_device_is_offline() {
    let mut world = home(&["alice", "bob"], &[]);
    let [alice, bob] = ["alice", "bob"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob]);
    watch(&mut world, bob, "alice");
    assert_eq!(sees(&world, bob, "alice"), "open");
    let from = world.events().len();
    world.crash_device(alice, Crash::Killed);
    world.run_for(ms(500));
    assert_eq!(sees(&world, bob, "alice"), "closed");
    world.start_device(alice);
    world.run_for(ms(500));
    assert_eq!(sees(&world, bob, "alice"), "open");
    expect![[r#"
        ms       alice                     home                      bob
           1200   * alice crashes
           1205   * home loses a connection: Broken
           1205  |                         |-------NOTIFY (2)------->|
           1210  |                         |<----200 (2 NOTIFY)------|
           1700   * alice starts
           1705   * alice connects
           1710  |------REGISTER (1)------>|                         |
           1715  |<---401 (1 REGISTER)-----|                         |
           1720  |---REGISTER (2) signed-->|                         |
           1725  |<---200 (2 REGISTER)-----|                         |
           1725  |                         |-------NOTIFY (3)------->|
           1730  |                         |<----200 (3 NOTIFY)------|
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn watchers_come_back_after_the_server_crashed() {
    let mut world = home(&["alice", "bob", "carol"], &[("carol", Level::Team)]);
    let alice = device(&mut world, "alice", Transport::Tcp);
    let bob = device(&mut world, "bob", Transport::Tcp);
    let carol = device_with(&mut world, "carol", Transport::Udp, |c| c.presence_expires_seconds = 60);
    register(&mut world, &[alice, bob, carol]);
    watch(&mut world, bob, "alice");
    watch(&mut world, carol, "alice");
    world.publish(alice, Some(busy()));
    world.run_for(ms(1_000));
    world.crash(0, Crash::PowerLost);
    world.start(0);
    world.publish(alice, Some(Posture { pose: Pose::Away, activity: None, note: None, place: None }));
    world.run_for(MINUTE * 4);
    assert_eq!(sees(&world, bob, "alice"), "open away");
    assert_eq!(sees(&world, carol, "alice"), "open away");
    assert_sound(&mut world);
}

#[test]
fn a_watcher_that_answers_nothing_is_given_up_and_comes_back() {
    let mut world = home(&["alice", "bob"], &[]);
    let [alice, bob] = ["alice", "bob"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob]);
    watch(&mut world, bob, "alice");
    world.script(bob).on_notify = NotifyPlan::Silent;
    world.publish(alice, Some(busy()));
    world.run_for(MINUTE * 2);
    assert_eq!(sees(&world, bob, "alice"), "open");
    world.script(bob).on_notify = NotifyPlan::Take;
    world.run_for(MINUTE * 10);
    assert_eq!(sees(&world, bob, "alice"), "open busy meeting note:alice:1");
    assert_sound(&mut world);
}

#[test]
fn a_watcher_that_forgot_its_subscription_makes_a_new_one() {
    let mut world = home(&["alice", "bob"], &[]);
    let [alice, bob] = ["alice", "bob"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob]);
    watch(&mut world, bob, "alice");
    let from = world.events().len();
    world.script(bob).on_notify = NotifyPlan::Refuse(481);
    world.publish(alice, Some(busy()));
    world.run_for(ms(1_000));
    world.script(bob).on_notify = NotifyPlan::Take;
    world.run_for(ms(5_000));
    assert_eq!(sees(&world, bob, "alice"), "open busy meeting note:alice:1");
    expect![[r#"
        ms       alice                     home                      bob
           1200  |-------PUBLISH (1)------>|                         |
           1205  |<----200 (1 PUBLISH)-----|                         |
           1205  |                         |-------NOTIFY (2)------->|
           1210  |                         |<----481 (2 NOTIFY)------|
           4405  |                         |<-----SUBSCRIBE (1)------|
           4410  |                         |----200 (1 SUBSCRIBE)--->|
           4410  |                         |-------NOTIFY (1)------->|
           4415  |                         |<----200 (1 NOTIFY)------|
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn a_publication_that_nobody_refreshes_ends() {
    let mut world = home(&["alice", "bob"], &[]);
    let alice = device_with(&mut world, "alice", Transport::Udp, |c| c.presence_expires_seconds = 60);
    let bob = device(&mut world, "bob", Transport::Tcp);
    register(&mut world, &[alice, bob]);
    watch(&mut world, bob, "alice");
    world.publish(alice, Some(busy()));
    world.run_for(ms(1_000));
    world.set_cut(alice, true);
    world.run_for(ms(70_000));
    // The registration lives on, what was said does not.
    assert_eq!(sees(&world, bob, "alice"), "open");
    world.set_cut(alice, false);
    world.run_for(MINUTE * 2);
    assert_eq!(sees(&world, bob, "alice"), "open busy meeting note:alice:1");
    assert_sound(&mut world);
}

#[test]
fn devices_that_were_off_for_days_come_back_to_the_last_state() {
    let mut world = home(&["alice", "bob"], &[]);
    let [alice, bob] = ["alice", "bob"].map(|n| {
        device_with(&mut world, n, Transport::Tcp, |c| {
            c.expires_seconds = 3_600;
            c.keep_alive = MINUTE * 15;
        })
    });
    register(&mut world, &[alice, bob]);
    watch(&mut world, bob, "alice");
    world.crash_device(bob, Crash::PowerLost);
    world.run_for(MINUTE * 60 * 24);
    world.publish(alice, Some(busy()));
    world.run_for(MINUTE * 60 * 24);
    world.start_device(bob);
    world.run_for(ms(1_000));
    assert_eq!(sees(&world, bob, "alice"), "open busy meeting note:alice:1");
    assert_sound(&mut world);
}

#[test]
fn what_changes_while_a_notify_is_under_way_is_told_when_it_is_answered() {
    let mut world = home(&["alice", "bob"], &[]);
    let devices = ["alice-1", "alice-2", "bob"].map(|n| device(&mut world, n, Transport::Tcp));
    let [first, second, bob] = devices;
    register(&mut world, &devices);
    watch(&mut world, bob, "alice");
    let posture = |pose| Some(Posture { pose, activity: None, note: None, place: None });
    world.publish(first, posture(Pose::Busy));
    world.publish(second, posture(Pose::Away));
    world.run_for(ms(1_000));
    // Slow enough for the window of 50 ms to pass before the NOTIFY is answered.
    world.conditions.latency_micros = 80_000..80_001;
    let from = world.events().len();
    world.publish(first, posture(Pose::Away));
    world.run_for(ms(100));
    world.publish(second, posture(Pose::Available));
    world.run_for(ms(1_000));
    assert_eq!(sees(&world, bob, "alice"), "open");
    expect![[r#"
        ms       alice-1                   home                      alice-2                   bob
           2700  |-------PUBLISH (1)------>|                         |                         |
           2780  |<----200 (1 PUBLISH)-----|                         |                         |
           2780  |                         |--------------------NOTIFY (3)-------------------->|
           2800  |                         |<------PUBLISH (1)-------|                         |
           2860  |                         |<-----------------200 (3 NOTIFY)-------------------|
           2880  |                         |-----200 (1 PUBLISH)---->|                         |
           2940  |                         |--------------------NOTIFY (4)-------------------->|
           3020  |                         |<-----------------200 (4 NOTIFY)-------------------|
    "#]]
    .assert_eq(&world.ladder(from));
    world.conditions = Conditions::calm();
    assert_sound(&mut world);
}

#[test]
fn two_watchers_see_what_their_levels_allow() {
    let mut world = home(&["alice", "bob", "carol"], &[("bob", Level::External), ("carol", Level::Team)]);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob, carol]);
    watch(&mut world, bob, "alice");
    watch(&mut world, carol, "alice");
    let from = world.events().len();
    world.publish(alice, Some(busy()));
    world.run_for(ms(500));
    world.publish(alice, Some(Posture { place: Some("place:alice:2".into()), ..busy() }));
    world.run_for(ms(500));
    assert_eq!(sees(&world, bob, "alice"), "open busy");
    assert_eq!(sees(&world, carol, "alice"), "open busy meeting note:alice:1 place:alice:2");
    expect![[r#"
        ms       alice                     home                      bob                       carol
           1900  |-------PUBLISH (1)------>|                         |                         |
           1905  |<----200 (1 PUBLISH)-----|                         |                         |
           1905  |                         |-------NOTIFY (2)------->|                         |
           1905  |                         |--------------------NOTIFY (2)-------------------->|
           1910  |                         |<----200 (2 NOTIFY)------|                         |
           1910  |                         |<-----------------200 (2 NOTIFY)-------------------|
           2400  |-------PUBLISH (1)------>|                         |                         |
           2405  |<----200 (1 PUBLISH)-----|                         |                         |
           2405  |                         |--------------------NOTIFY (3)-------------------->|
           2410  |                         |<-----------------200 (3 NOTIFY)-------------------|
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn who_is_blocked_cannot_tell() {
    let mut world = home(&["alice", "bob", "nobody"], &[("bob", Level::Blocked)]);
    let [alice, bob] = ["alice", "bob"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob]);
    world.watch(bob, Watched::Person(address("nobody")));
    watch(&mut world, bob, "alice");
    let from = world.events().len();
    world.publish(alice, Some(busy()));
    world.run_for(ms(500));
    world.crash_device(alice, Crash::Killed);
    world.run_for(ms(500));
    world.start_device(alice);
    world.run_for(ms(500));
    assert_eq!(sees(&world, bob, "alice"), "closed");
    expect![[r#"
        ms       alice                     home                      bob
           1200  |-------PUBLISH (1)------>|                         |
           1205  |<----200 (1 PUBLISH)-----|                         |
           1700   * alice crashes
           1705   * home loses a connection: Broken
           2200   * alice starts
           2205   * alice connects
           2210  |------REGISTER (1)------>|                         |
           2215  |<---401 (1 REGISTER)-----|                         |
           2220  |---REGISTER (2) signed-->|                         |
           2225  |<---200 (2 REGISTER)-----|                         |
           2230  |-------PUBLISH (1)------>|                         |
           2235  |<----200 (1 PUBLISH)-----|                         |
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}

#[test]
fn one_subscription_shows_a_list_and_then_what_changes() {
    let mut world = home(&["alice", "bob", "carol"], &[("bob", Level::External)]);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|n| device(&mut world, n, Transport::Tcp));
    register(&mut world, &[alice, bob]);
    world.watch(bob, Watched::People(vec![address("alice"), address("carol")]));
    world.run_for(ms(200));
    assert_eq!([sees(&world, bob, "alice"), sees(&world, bob, "carol")], ["open", "closed"]);
    let from = world.events().len();
    world.publish(alice, Some(busy()));
    world.run_for(ms(500));
    register(&mut world, &[carol]);
    assert_eq!([sees(&world, bob, "alice"), sees(&world, bob, "carol")], ["open busy", "open"]);
    expect![[r#"
        ms
           1005 sub-1c1e7b298c63 1 NOTIFY active;expires=600
                list 0 full
                alice@contoso.example: open
                carol@contoso.example: closed
           1505 sub-1c1e7b298c63 2 NOTIFY active;expires=600
                list 1 partial
                alice@contoso.example: open busy
           2005 sub-1c1e7b298c63 3 NOTIFY active;expires=599
                list 2 partial
                carol@contoso.example: open
    "#]]
    .assert_eq(&world.notices_to("bob"));
    expect![[r#"
        ms       alice                     home                      bob                       carol
           1200  |-------PUBLISH (1)------>|                         |                         |
           1205  |<----200 (1 PUBLISH)-----|                         |                         |
           1505  |                         |-------NOTIFY (2)------->|                         |
           1510  |                         |<----200 (2 NOTIFY)------|                         |
           1705   * carol connects
           1710  |                         |<------------------REGISTER (1)--------------------|
           1715  |                         |-----------------401 (1 REGISTER)----------------->|
           1720  |                         |<---------------REGISTER (2) signed----------------|
           1725  |                         |-----------------200 (2 REGISTER)----------------->|
           2005  |                         |-------NOTIFY (3)------->|                         |
           2010  |                         |<----200 (3 NOTIFY)------|                         |
    "#]]
    .assert_eq(&world.ladder(from));
    assert_sound(&mut world);
}
