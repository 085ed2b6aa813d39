//! The end of a world: what its devices and machines say when all has come to rest, and when all is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use node::Instant;
use records::memory::Tables;

use super::{Resident, Violation, check};
use crate::device::{Device, Posture, Seen, Watched};
use crate::event::Crash;
use crate::notice::{CallsShown, Shown};
use crate::role::Load;
use crate::world::World;

/// The state of a world when all is over.
pub struct End<'w> {
    /// World time.
    pub now: Instant,
    /// What is durable on each machine.
    pub tables: Vec<&'w Tables>,
    /// Each device.
    pub devices: Vec<DeviceEnd>,
    /// Each machine of which anything is expected.
    pub machines: Vec<MachineEnd>,
    /// Organisations between which nothing passes any more, by their domains, each pair both ways.
    pub apart: BTreeSet<(String, String)>,
}

impl End<'_> {
    /// The first machine's wall clock while its devices were still there.
    pub(super) fn wall_unix_ms(&self) -> u64 {
        self.machines.first().map_or(0, |machine| machine.wall_unix_ms)
    }

    /// Whether something passes between two domains.
    pub(super) fn may_talk(&self, one: &str, other: &str) -> bool {
        !self.apart.contains(&(one.to_owned(), other.to_owned()))
    }
}

/// A device, when all is over.
#[derive(Clone, Debug)]
pub struct DeviceEnd {
    /// See [`Resident`].
    pub resident: Resident,
    /// Whether it runs, wants to be registered, and nothing stands between it and its server.
    pub should_be_registered: bool,
    /// Whether it believes that it is registered.
    pub is_registered: bool,
    /// Messages that have no final answer.
    pub unconcluded: usize,
    /// Calls that are not over.
    pub calls: usize,
    /// What it says of its owner, as far as the server has confirmed it.
    pub published: Option<Posture>,
    /// Whether the server has confirmed what it wants to say.
    pub has_published: bool,
    /// Whom it watches.
    pub watches: Vec<WatchEnd>,
}

/// What a device watches, when all is over.
#[derive(Clone, Debug)]
pub struct WatchEnd {
    /// Whom.
    pub watched: Watched,
    /// Whether its subscription is active as far as it knows.
    pub is_active: bool,
    /// What it was shown last, by address; `None` where a list has the person without state.
    pub seen: BTreeMap<String, Option<Rc<Shown>>>,
    /// What it was shown last of the calls that it watches.
    pub calls: Option<CallsShown>,
}

/// A machine, when all is over.
#[derive(Clone, Debug)]
pub struct MachineEnd {
    /// Its name.
    pub name: String,
    /// Its wall clock while its devices were still there, in milliseconds since 1970.
    pub wall_unix_ms: u64,
    /// What it said of itself at that time.
    pub busy: Option<Load>,
    /// Streams that were open at its end at the same time.
    pub streams: usize,
    /// What it said after all devices had been silent for longer than any transaction lives.
    pub idle: Option<Load>,
}

/// Looks at a world that has come to rest, silences its devices for `silence` (longer than their last subscription, 64*T1 for its
/// last NOTIFY, and timer K), looks again, and shows all to the checkers. `machines` are those of which anything is expected.
pub fn conclude(
    world: &mut World,
    machines: &[usize],
    apart: BTreeSet<(String, String)>,
    silence: Duration,
) -> Vec<Violation> {
    let devices = (0..world.device_count()).map(|device| device_end(world, device)).collect();
    let mut ends: Vec<MachineEnd> = machines.iter().map(|machine| machine_end(world, *machine)).collect();
    for device in 0..world.device_count() {
        world.crash_device(device, Crash::Killed);
    }
    world.run_for(silence);
    for (machine, end) in machines.iter().zip(&mut ends) {
        end.idle = world.load(*machine);
    }
    let tables = (0..world.machine_count()).map(|m| world.tables(m)).collect();
    let end = End { now: world.now(), tables, devices, machines: ends, apart };
    check(world, &end)
}

fn machine_end(world: &mut World, machine: usize) -> MachineEnd {
    MachineEnd {
        name: world.machine_name(machine).to_owned(),
        wall_unix_ms: world.wall_unix_ms(machine),
        busy: world.load(machine),
        streams: world.open_streams(machine),
        idle: None,
    }
}

fn device_end(world: &World, index: usize) -> DeviceEnd {
    let device = world.device(index);
    DeviceEnd {
        resident: world.resident(index),
        should_be_registered: device.wants_registration()
            && device.config.may_sign_in
            && world.is_reachable(index),
        is_registered: device.is_registered(),
        unconcluded: device.unconcluded(),
        calls: device.calls_under_way(),
        published: device.published().cloned(),
        has_published: device.has_published(),
        watches: device.watches().map(|watch| watch_end(device, watch)).collect(),
    }
}

fn watch_end(
    device: &Device,
    (watched, is_active, seen): (&Watched, bool, &BTreeMap<String, Seen>),
) -> WatchEnd {
    let seen = seen.iter().map(|(address, seen)| (address.clone(), seen.shown.clone()));
    let calls = device.calls_seen(watched).cloned();
    WatchEnd { watched: watched.clone(), is_active, seen: seen.collect(), calls }
}
