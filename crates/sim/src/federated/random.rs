//! Random federated worlds: two organisations with two edges each and a third that only the hub reaches, people who write,
//! call and watch across, from inside and from the internet, and everything that can go wrong between them.

use std::fmt;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Behind, Federated, Road, Wrap};
use crate::Conditions;
use crate::check::Violation;
use crate::device::Watched;
use crate::event::{Crash, Fact, What};

/// How long each world is disturbed.
const LIFE: Duration = Duration::from_secs(300);
/// How long it then has to come to rest: longer than any transaction and any repeated attempt.
const REST: Duration = Duration::from_secs(300);

/// What became of a world.
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Messages that were accepted across.
    pub accepted: usize,
    /// Messages that were refused.
    pub refused: usize,
    /// Calls that came up.
    pub calls: usize,
    /// The world, with all that happened in it.
    pub federated: Federated,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "federated seed {}", self.seed)?;
        writeln!(f, "{} accepted, {} refused, {} calls", self.accepted, self.refused, self.calls)?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        writeln!(f, "replay: cargo run -p sim --example replay -- {} --federated --ladder", self.seed)
    }
}

/// What is to be put right, and when.
enum Mend {
    Machine(usize),
    Link(usize, usize),
    Line(usize),
}

struct Life {
    world: Federated,
    rng: ChaCha8Rng,
    mends: Vec<(node::Instant, Mend)>,
}

/// Runs the world of a seed.
pub fn run_seed(seed: u64, wrap: Wrap) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let conditions = if rng.random_bool(0.5) { Conditions::calm() } else { Conditions::rough() };
    let mut world = Federated::new(seed, conditions, wrap);
    let behind = if rng.random_bool(0.7) { Behind::Director } else { Behind::Home };
    let organisations = [
        world.found("contoso.example", 2, behind, &["alice", "anna"]),
        world.found("fabrikam.example", 2, Behind::Director, &["bob", "ben"]),
        world.found("northwind.example", 1, Behind::Home, &["carol"]),
    ];
    world.found_hub();
    let roads = [Road::Direct, Road::Hub, Road::Blocked];
    for one in organisations {
        for other in organisations.into_iter().filter(|other| *other > one) {
            let weights = if other == 2 { [Road::Hub; 3] } else { [Road::Direct, Road::Hub, Road::Direct] };
            world.agree(one, other, *weights.choose(&mut rng).unwrap_or(&Road::Hub));
        }
    }
    if rng.random_bool(0.5) {
        world.found_dishonest("litware.example");
    }
    world.start();
    for (organisation, name) in [(0, "alice"), (0, "anna-1"), (1, "bob-1"), (1, "bob-2"), (2, "carol")] {
        let device = world.device(organisation, name);
        world.world.register(device);
    }
    for (organisation, name) in [(0, "anna-2"), (1, "ben")] {
        let device = world.remote_device(organisation, name);
        world.world.register(device);
    }
    let mut life = Life { world, rng, mends: Vec::new() };
    life.live(Duration::from_secs(2));
    let end = life.world.world.now() + LIFE;
    while life.world.world.now() < end {
        life.act(&roads);
        let pause = Duration::from_millis(life.rng.random_range(0..4_000));
        life.live(pause);
    }
    life.rest()
}

impl Life {
    fn live(&mut self, time: Duration) {
        let until = self.world.world.now() + time;
        loop {
            let due = self.mends.iter().enumerate().filter(|(_, m)| m.0 <= until).min_by_key(|(_, m)| m.0);
            let Some((index, _)) = due else { break };
            let (at, mend) = self.mends.remove(index);
            let pause = at - self.world.world.now();
            self.world.world.run_for(pause);
            self.mend(&mend);
        }
        let pause = until - self.world.world.now();
        self.world.world.run_for(pause);
    }

    fn mend(&mut self, mend: &Mend) {
        match mend {
            Mend::Machine(machine) if !self.world.world.is_running(*machine) => {
                self.world.world.start(*machine);
            }
            Mend::Machine(_) => {}
            Mend::Link(one, other) => self.world.world.set_link_cut(*one, *other, false),
            Mend::Line(device) => self.world.world.set_cut(*device, false),
        }
    }

    fn mend_later(&mut self, seconds: std::ops::Range<f64>, mend: Mend) {
        let after = Duration::from_secs_f64(self.rng.random_range(seconds));
        self.mends.push((self.world.world.now() + after, mend));
    }

    fn act(&mut self, roads: &[Road]) {
        let device = self.rng.random_range(0..self.world.world.device_count());
        let machine = self.rng.random_range(0..self.world.world.machine_count());
        match self.rng.random_range(0..100) {
            0..50 => {
                let to = self.somebody(device);
                self.world.world.send_message(device, &to, None);
            }
            50..62 => {
                let to = self.somebody(device);
                let cancel =
                    self.rng.random_bool(0.3).then(|| Duration::from_millis(self.rng.random_range(0..3_000)));
                let talk = Duration::from_millis(self.rng.random_range(100..20_000));
                self.world.world.call(device, &to, cancel, talk);
            }
            62..70 => {
                let watched = Watched::Person(self.somebody(device));
                let known = self.world.world.device(device).watches().any(|(w, ..)| *w == watched);
                match known {
                    true => self.world.world.unwatch(device, &watched),
                    false => self.world.world.watch(device, watched),
                }
            }
            70..78 => {
                let crash = if self.rng.random_bool(0.5) { Crash::Killed } else { Crash::PowerLost };
                self.world.world.crash(machine, crash);
                self.mend_later(0.05..8.0, Mend::Machine(machine));
            }
            78..86 => {
                let other = self.rng.random_range(0..self.world.world.machine_count());
                if other != machine {
                    self.world.world.set_link_cut(machine, other, true);
                    self.mend_later(0.5..40.0, Mend::Link(machine, other));
                }
            }
            86..90 => {
                self.world.world.set_cut(device, true);
                self.mend_later(0.5..30.0, Mend::Line(device));
            }
            _ => {
                // Decisions about whom to trust; who means ill decides nothing.
                let organisations = self.world.layout.organisations.iter().filter(|o| o.is_honest).count();
                let one = self.rng.random_range(0..organisations);
                let other = (one + self.rng.random_range(1..organisations)) % organisations;
                let road = *roads.choose(&mut self.rng).expect("there are three");
                match self.rng.random_bool(0.6) {
                    true => self.world.agree(one, other, road),
                    false => self.world.decide(one, other, road),
                }
            }
        }
    }

    /// Somebody else's address, mostly of another organisation.
    fn somebody(&mut self, device: usize) -> String {
        let people = [
            "alice@contoso.example",
            "anna@contoso.example",
            "bob@fabrikam.example",
            "ben@fabrikam.example",
            "carol@northwind.example",
            "nobody@fabrikam.example",
        ];
        let config = &self.world.world.device(device).config;
        let me = format!("{}@{}", config.user, config.domain);
        let others: Vec<&str> = people.into_iter().filter(|person| *person != me).collect();
        (*others.choose(&mut self.rng).expect("there are others")).to_owned()
    }

    fn rest(mut self) -> Outcome {
        for (_, mend) in std::mem::take(&mut self.mends) {
            self.mend(&mend);
        }
        self.world.world.conditions = Conditions::calm();
        for device in 0..self.world.world.device_count() {
            self.world.world.register(device);
        }
        self.live(REST);
        let concluded = |range: std::ops::Range<u16>| {
            let is_it = |what: &What| matches!(what, What::Fact { fact: Fact::Concluded { status, .. }, .. } if range.contains(status));
            self.world.world.events().iter().filter(|event| is_it(&event.what)).count()
        };
        let up = |what: &What| matches!(what, What::Fact { fact: Fact::LegUp { chosen: true, .. }, .. });
        let calls = self.world.world.events().iter().filter(|event| up(&event.what)).count();
        Outcome {
            seed: self.world.world.seed(),
            accepted: concluded(200..300),
            refused: concluded(300..700),
            calls,
            violations: self.world.violations(),
            federated: self.world,
        }
    }
}
