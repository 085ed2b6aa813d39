//! The world, tested with a toy home: what these tests show does not depend on the front end.

use std::time::Duration;

use expect_test::expect;
use node::Transport;
use sip_message::digest::Algorithm;

use super::toy::Toy;
use crate::device::{CallPlan, DeviceConfig, NotifyPlan, Reaction, Script, SignIn};
use crate::event::Crash;
use crate::{Conditions, World};

fn device(world: &World, user: &str) -> DeviceConfig {
    DeviceConfig {
        name: user.into(),
        user: user.into(),
        domain: "contoso.example".into(),
        sign_in: SignIn::Password("secret-of-them".into()),
        may_sign_in: true,
        transport: Transport::Tcp,
        servers: vec![world.server_address(0, Transport::Tcp)],
        instance: Some(format!("urn:uuid:{user}")),
        algorithm: Algorithm::Sha256,
        expires_seconds: 600,
        keep_alive: Duration::from_secs(25),
        cpim: true,
        presence_expires_seconds: 600,
        script: Script { on_message: Reaction::Take, on_invite: CallPlan::Ring, on_notify: NotifyPlan::Take },
    }
}

fn toy_world(seed: u64, conditions: Conditions) -> World {
    let mut world = World::new(seed, conditions);
    world.add_machine("home", "contoso.example", Box::new(|_| Box::<Toy>::default()));
    for user in ["alice", "bob"] {
        world.provision_user(0, user, "contoso.example", "secret-of-them");
        let config = device(&world, user);
        world.add_device(config);
    }
    world.start(0);
    world
}

#[test]
fn a_message_across_a_crash() {
    let mut world = toy_world(1, Conditions::calm());
    world.register(0);
    world.run_for(Duration::from_secs(1));
    world.send_message(0, "bob@contoso.example", None);
    world.run_for(Duration::from_secs(1));
    world.crash(0, Crash::Killed);
    world.run_for(Duration::from_millis(200));
    world.start(0);
    world.register(1);
    world.run_for(Duration::from_secs(5));
    expect![[r#"
        ms       alice                     home                      bob
              0   * home starts
              5   * alice connects
             10  |------REGISTER (1)------>|                         |
             15  |<---200 (1 REGISTER)-----|                         |
           1000  |-------MESSAGE (1)------>|                         |
           1007  |<----202 (1 MESSAGE)-----|                         |
           2000   * home crashes
           2005   * alice loses a connection: Broken
           2200   * home starts
           2205   * bob connects
           2210  |                         |<-----REGISTER (1)-------|
           2215  |                         |----200 (1 REGISTER)---->|
           2216  |                         |-------MESSAGE (1)------>|
           2221  |                         |<----200 (1 MESSAGE)-----|
           3039   * alice connects
           3044  |------REGISTER (2)------>|                         |
           3049  |<---200 (2 REGISTER)-----|                         |
    "#]]
    .assert_eq(&world.ladder(0));
}

#[test]
fn the_same_seed_is_the_same_world_and_another_is_not() {
    let run = |seed| {
        let mut world = toy_world(seed, Conditions::rough());
        world.register(0);
        world.register(1);
        for _ in 0..20 {
            world.run_for(Duration::from_millis(700));
            world.send_message(0, "bob@contoso.example", None);
        }
        world.break_streams(1);
        world.run_for(Duration::from_secs(60));
        (world.trace(), world.device(0).unconcluded())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
    assert_eq!(run(7).1, 0);
}
