//! Random federated worlds: two organisations with a Director and two edges each and a third that only the hub reaches, people
//! who write, call, publish and watch across, from inside and from the internet, and everything that can go wrong between them.
//!
//! A minority of worlds is otherwise: an organisation without a Director, a hub of another make, organisations that discover each
//! other instead of listing each other, an organisation that means ill, and lists with members elsewhere.

use std::fmt;
use std::time::Duration;

use presence::Level;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Behind, Federated, HubMake, Road, Wrap};
use crate::Conditions;
use crate::check::Violation;
use crate::device::Watched;
use crate::documents::{self, Application, Grantee};
use crate::event::{Crash, Fact, What};
use crate::random::password;

/// How long each world is disturbed.
const LIFE: Duration = Duration::from_secs(300);
/// How long it then has to come to rest: longer than any transaction and any repeated attempt, and than the longest subscription
/// of a device (180 s), the one way to learn that the other side has given it up.
const REST: Duration = Duration::from_secs(420);
/// The last call of whoever means ill rings for 100 s, and is then ended by a BYE that nobody answers.
const AFTER_THE_LAST_LIE: Duration = Duration::from_secs(200);
/// The same where lists have members elsewhere: a home asks a partner who refused again after an hour and a quarter at the latest.
const REST_WITH_LISTS: Duration = Duration::from_secs(5_400);
/// Longer than any transaction and any subscription, see [`crate::check::conclude`].
const SILENCE: Duration = Duration::from_secs(260);
/// Longer than the subscriptions that homes have with each other (3600 s).
const SILENCE_WITH_LISTS: Duration = Duration::from_secs(3_900);
/// Whom a device watches at most before it ceases to watch somebody.
const WATCHES_MAX: usize = 3;
/// Everybody with a device or more, and the one at home with none, see [`crate::check::NEVER_THERE`].
const PEOPLE: [&str; 6] = [
    "alice@contoso.example",
    "anna@contoso.example",
    "bob@fabrikam.example",
    "ben@fabrikam.example",
    "carol@northwind.example",
    "nobody@fabrikam.example",
];
/// Whom nobody knows.
const GHOST: &str = "ghost@fabrikam.example";

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
    /// Whether lists are watched.
    lists: bool,
    /// Counts what is published, so that each is said once.
    said: u64,
}

/// Runs the world of a seed.
pub fn run_seed(seed: u64, wrap: Wrap) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let conditions = if rng.random_bool(0.5) { Conditions::calm() } else { Conditions::rough() };
    let mut world = Federated::new(seed, conditions, wrap);
    let behind = if rng.random_bool(0.85) { Behind::Director } else { Behind::Home };
    let organisations = [
        world.found("contoso.example", 2, behind, &["alice", "anna"]),
        world.found("fabrikam.example", 2, Behind::Director, &["bob", "ben", "nobody"]),
        world.found("northwind.example", 1, Behind::Home, &["carol"]),
    ];
    world.found_hub(if rng.random_bool(0.8) { HubMake::Ours } else { HubMake::Foreign });
    let listed = if rng.random_bool(0.75) { Road::Direct } else { Road::Discovered };
    let roads = [listed, Road::Hub, Road::Blocked];
    for one in organisations {
        for other in organisations.into_iter().filter(|other| *other > one) {
            let weights = if other == 2 { [Road::Hub; 3] } else { [listed, Road::Hub, listed] };
            world.agree(one, other, *weights.choose(&mut rng).unwrap_or(&Road::Hub));
        }
    }
    if rng.random_bool(0.5) {
        world.found_dishonest("litware.example");
    }
    let lists = rng.random_bool(0.25);
    for person in PEOPLE {
        let home = world.home_of(person);
        let user = person.split('@').next().unwrap_or(person);
        if rng.random_bool(0.4) {
            world.world.provision_document(home, user, Application::PresRules, &random_rules(&mut rng));
        }
        if lists {
            world.world.provision_document(
                home,
                user,
                Application::ResourceLists,
                &random_contacts(&mut rng),
            );
        }
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
    let mut life = Life { world, rng, mends: Vec::new(), lists, said: 0 };
    life.live(Duration::from_secs(2));
    for device in 0..life.world.world.device_count() {
        life.publish(device);
        life.watch(device);
    }
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
        match self.rng.random_range(0..125) {
            100..112 => self.publish(device),
            112..116 => self.grant(),
            116..119 => {
                let forged = self.somebody(device);
                let to = self.somebody(device);
                self.world.world.send_message(device, &to, Some(&forged));
            }
            119..125 => self.watch(device),
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
            62..70 => self.watch(device),
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

    /// Says something new of the device's owner, or nothing any more.
    fn publish(&mut self, device: usize) {
        self.said += 1;
        let user = self.world.world.device(device).config.user.clone();
        let posture = crate::random::random_posture(&mut self.rng, &user, self.said);
        self.world.world.publish(device, posture);
    }

    /// Watches somebody more, or ceases to.
    fn watch(&mut self, device: usize) {
        let known: Vec<Watched> =
            self.world.world.device(device).watches().map(|(watched, ..)| watched.clone()).collect();
        if let Some(watched) = known.choose(&mut self.rng).filter(|_| known.len() >= WATCHES_MAX) {
            return self.world.world.unwatch(device, watched);
        }
        let watched = match self.rng.random_range(0..10) {
            0..3 if self.lists => Watched::Contacts,
            3..5 if self.lists => Watched::People(random_people(&mut self.rng)),
            _ => Watched::Person((*PEOPLE.choose(&mut self.rng).expect("there are people")).to_owned()),
        };
        self.world.world.watch(device, watched);
    }

    /// Somebody decides anew who may see how much.
    fn grant(&mut self) {
        let person = *PEOPLE.choose(&mut self.rng).expect("there are people");
        let (document, home) = (random_rules(&mut self.rng), self.world.home_of(person));
        let user = person.split('@').next().unwrap_or(person);
        self.world.world.put_document(home, person, &password(user), Application::PresRules, &document);
    }

    /// Somebody else's address, mostly of another organisation, seldom nobody's.
    fn somebody(&mut self, device: usize) -> String {
        let config = &self.world.world.device(device).config;
        let me = format!("{}@{}", config.user, config.domain);
        let others: Vec<&str> = PEOPLE.into_iter().chain([GHOST]).filter(|person| *person != me).collect();
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
        self.live(if self.lists { REST_WITH_LISTS } else { REST });
        self.world.stop_dishonest();
        self.live(AFTER_THE_LAST_LIE);
        let concluded = |range: std::ops::Range<u16>| {
            let is_it = |what: &What| matches!(what, What::Fact { fact: Fact::Concluded { status, .. }, .. } if range.contains(status));
            self.world.world.events().iter().filter(|event| is_it(&event.what)).count()
        };
        let up = |what: &What| matches!(what, What::Fact { fact: Fact::LegUp { chosen: true, .. }, .. });
        let calls = self.world.world.events().iter().filter(|event| up(&event.what)).count();
        let (accepted, refused) = (concluded(200..300), concluded(300..700));
        let violations = self.world.violations(if self.lists { SILENCE_WITH_LISTS } else { SILENCE });
        let seed = self.world.world.seed();
        Outcome { seed, accepted, refused, calls, violations, federated: self.world }
    }
}

fn random_people(rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut people: Vec<String> = PEOPLE.into_iter().map(str::to_owned).collect();
    people.shuffle(rng);
    people.truncate(rng.random_range(1..=people.len()));
    people
}

fn random_contacts(rng: &mut ChaCha8Rng) -> String {
    documents::contacts(&random_people(rng))
}

fn random_rules(rng: &mut ChaCha8Rng) -> String {
    let mut grants = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let person = *PEOPLE.choose(rng).expect("there are people");
        let domain = person.split('@').nth(1).unwrap_or_default();
        let grantee = match rng.random_range(0..10) {
            0..5 => Grantee::User(person.into()),
            5..7 => Grantee::Domain(domain.into()),
            7 => Grantee::SameOrganisation,
            8 => Grantee::Federated,
            _ => Grantee::Everybody,
        };
        grants.push((grantee, *Level::ALL.choose(rng).expect("there are levels")));
    }
    documents::rules(&grants)
}
