//! The same conversation on every road.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Account, Device, Road, Server};

/// Users that each road has for itself, so that the roads of one server do not meet.
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// One road to a server, with an alice, a bob and a carol of its own.
pub struct Scene<'a> {
    /// The server.
    pub server: &'a Server,
    /// The road.
    pub road: Road,
}

impl Scene<'_> {
    /// The account of this road's alice, bob or carol.
    pub fn account(&self, name: &str) -> Account {
        assert!(NAMES.contains(&name), "{name}");
        self.server.account(&format!("{name}-{}", self.road))
    }

    /// Her address.
    pub fn uri(&self, name: &str) -> String {
        self.account(name).uri()
    }

    /// A device of hers, connected on this road.
    pub fn device(&self, name: &str) -> Device {
        self.device_on(name, self.road)
    }

    /// A device of hers, connected on another road.
    pub fn device_on(&self, name: &str, road: Road) -> Device {
        self.connect(self.account(name), road)
    }

    /// A device of hers that has registered.
    pub fn registered(&self, name: &str) -> Device {
        let device = self.device(name);
        device.register("");
        device
    }

    /// A device with another account than those of the scene.
    pub fn connect(&self, account: Account, road: Road) -> Device {
        Device::connect(account, road.transport, self.server.address(road), &self.server.ca())
    }
}

/// Plays a conversation on every road at once, on one server, and names the roads on which it failed.
pub fn on_every_road(conversation: impl Fn(&Scene<'_>) + Sync) {
    on_each(&Road::ALL, conversation);
}

/// Plays a conversation on some roads.
pub fn on_each(roads: &[Road], conversation: impl Fn(&Scene<'_>) + Sync) {
    let mut builder = Server::with_users();
    for road in roads {
        for name in NAMES {
            builder = builder.user(&format!("{name}-{road}"));
        }
    }
    let server = builder.start();
    in_parallel(roads, |road| conversation(&Scene { server: &server, road: *road }));
}

/// Does something for all at once, and names those for which it failed.
pub fn in_parallel<T: Sync + std::fmt::Display>(all: &[T], act: impl Fn(&T) + Sync) {
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .iter()
            .map(|one| (one, scope.spawn(|| catch_unwind(AssertUnwindSafe(|| act(one))).is_err())))
            .collect();
        threads
            .into_iter()
            .filter_map(|(one, thread)| thread.join().unwrap_or(true).then(|| one.to_string()))
            .collect()
    });
    assert!(failed.is_empty(), "failed: {}; what failed stands above", failed.join(", "));
}
