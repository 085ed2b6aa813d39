//! Worlds for tests: one home, a calm network, and people with one line each.

use std::collections::BTreeSet;
use std::time::Duration;

use node::Transport;
use sip_message::digest::Algorithm;

use crate::check::{Violation, conclude};
use crate::device::{CallPlan, DeviceConfig, NotifyPlan, Reaction, Script, SignIn};
use crate::random::{DOMAIN, password};
use crate::{Conditions, Factory, World};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Longer than the last subscription and its last NOTIFY.
pub(super) const SILENCE: Duration = Duration::from_secs(675);

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn address(user: &str) -> String {
    format!("{user}@{DOMAIN}")
}

/// A running home and its users, on a calm network.
pub(super) fn world(factory: Factory, users: &[&str]) -> World {
    let mut world = World::new(1, Conditions::calm());
    world.add_machine("home", DOMAIN, factory);
    for user in users {
        world.provision_user(0, user, DOMAIN, &password(user));
    }
    world.start(0);
    world
}

/// A device of a user, not registered yet. Its name is `user`, or `user-2` ...
pub(super) fn device(world: &mut World, name: &str, transport: Transport) -> usize {
    device_with(world, name, transport, |_| {})
}

pub(super) fn device_with(
    world: &mut World,
    name: &str,
    transport: Transport,
    change: impl FnOnce(&mut DeviceConfig),
) -> usize {
    let user = name.split('-').next().unwrap_or(name);
    let mut config = DeviceConfig {
        name: name.into(),
        user: user.into(),
        domain: DOMAIN.into(),
        sign_in: SignIn::Password(password(user)),
        may_sign_in: true,
        transport,
        servers: vec![world.server_address(0, transport)],
        instance: Some(format!("urn:uuid:00000000-0000-4000-8000-{name:0>12}")),
        algorithm: Algorithm::Sha256,
        expires_seconds: 600,
        keep_alive: Duration::from_secs(120),
        cpim: true,
        presence_expires_seconds: 600,
        script: Script {
            on_message: Reaction::Take,
            on_invite: CallPlan::Answer(ms(1_000)),
            on_notify: NotifyPlan::Take,
        },
    };
    change(&mut config);
    world.add_device(config)
}

/// Registers devices and lets that come to an end.
pub(super) fn register(world: &mut World, devices: &[usize]) {
    for device in devices {
        world.register(*device);
        world.run_for(ms(500));
        assert!(world.device(*device).is_registered(), "{}", world.ladder(0));
    }
}

/// Lets everything come to rest and shows it to the checkers.
pub(super) fn violations(world: &mut World) -> Vec<Violation> {
    world.run_for(MINUTE * 5);
    conclude(world, &[0], BTreeSet::new(), SILENCE)
}

/// Nothing was wrong.
pub(super) fn assert_sound(world: &mut World) {
    let violations = violations(world);
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{}\n{}", list.join("\n"), world.ladder(0));
}
