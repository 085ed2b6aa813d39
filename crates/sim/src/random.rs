//! Random worlds: a few users with a few devices each live for some virtual minutes among faults, all from one seed;
//! then the faults end, everything comes to rest, and the checkers look.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use directory::{DomainName, SipAddress};
use frontend::admin::{Answer, Call, Status};
use node::{Instant, Transport};
use presence::rules::Subject;
use presence::{Level, ManualState, Note};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::Change;
use sip_message::digest::Algorithm;

use crate::check::{DeviceEnd, MachineEnd, NOTE_MARK, PLACE_MARK, Violation, WatchEnd, check};
use crate::device::{CallPlan, DeviceConfig, NotifyPlan, Pose, Posture, Reaction, Script, Seen, Watched};
use crate::disk::DiskMode;
use crate::documents::{self, Application, Grantee};
use crate::event::{Crash, Fact, What};
use crate::link::Conditions;
use crate::world::{Factory, World};

/// The domain of all users.
pub const DOMAIN: &str = "contoso.example";
/// How long there are actions and faults.
const TROUBLE: std::ops::Range<u64> = 120..240;
/// How long the world has to come to rest: the longest registration (240 s), the ring of a forgotten call (110 s)
/// and a transaction's end all fit, one behind another where they can follow.
const REST: Duration = Duration::from_secs(420);
/// How long devices are silent before a node must have no transaction left: longer than their last subscription, 64*T1
/// for its last NOTIFY, and timer K.
const SILENCE: Duration = Duration::from_secs(260);
/// A user without any device, see [`crate::check::NEVER_THERE`].
const NOBODY: &str = "nobody";
/// Whom a device watches at most before it ceases to watch somebody.
const WATCHES_MAX: usize = 4;
/// Rows of the ladder that a failure shows.
const TAIL_ROWS: usize = 60;

/// What came of a random world.
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// See [`World::trace`].
    pub trace: u64,
    /// Messages that were accepted.
    pub accepted: usize,
    /// Calls that were answered.
    pub answered_calls: usize,
    /// Crashes of the server.
    pub crashes: usize,
    /// The world, to be looked at.
    pub world: World,
}

/// Something that is mended later.
enum Mend {
    Line(usize),
    Device(usize),
    Server,
    Disk,
    Registration(usize),
    Script(usize),
    Notify(usize),
}

struct Life {
    world: World,
    rng: ChaCha8Rng,
    users: Vec<String>,
    mends: Vec<(Instant, Mend)>,
    /// Counts notes and places, so that each is said once.
    said: u64,
}

/// Runs the world of a seed on nodes that `factory` makes.
pub fn run_seed_with(seed: u64, factory: Factory) -> Report {
    let mut life = Life::begin(seed, factory);
    let trouble = Duration::from_secs(life.rng.random_range(TROUBLE));
    let until = life.world.now() + trouble;
    while life.world.now() < until {
        let pause = Duration::from_millis(life.rng.random_range(20..2_500));
        life.live(pause);
        life.act();
    }
    life.rest()
}

impl Life {
    fn begin(seed: u64, factory: Factory) -> Life {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let conditions = if rng.random_bool(0.3) { Conditions::calm() } else { Conditions::rough() };
        let mut world = World::new(seed, conditions);
        world.add_machine("home", DOMAIN, factory);
        let names = ["alice", "bob", "carol", "dave", "erin"];
        let users: Vec<String> =
            names[..rng.random_range(2..=names.len())].iter().map(|n| (*n).into()).collect();
        for user in &users {
            world.provision_user(0, user, DOMAIN, &password(user));
            for number in 1..=rng.random_range(1..=3) {
                let config = random_device(&mut rng, &world, user, number);
                world.add_device(config);
            }
        }
        world.provision_user(0, NOBODY, DOMAIN, &password(NOBODY));
        for user in &users {
            if rng.random_bool(0.4) {
                world.provision_document(0, user, Application::PresRules, &random_rules(&mut rng, &users));
            }
            if rng.random_bool(0.6) {
                world.provision_document(
                    0,
                    user,
                    Application::ResourceLists,
                    &random_contacts(&mut rng, &users),
                );
            }
        }
        world.start(0);
        let mut life = Life { world, rng, users, mends: Vec::new(), said: 0 };
        for device in 0..life.world.device_count() {
            if life.rng.random_bool(0.8) {
                life.world.register(device);
            }
            if life.rng.random_bool(0.5) {
                life.publish(device);
            }
            for _ in 0..life.rng.random_range(0..3) {
                life.watch(device);
            }
        }
        life
    }

    /// Lets time pass, mending what is due.
    fn live(&mut self, time: Duration) {
        let until = self.world.now() + time;
        loop {
            let due = self.mends.iter().enumerate().filter(|(_, m)| m.0 <= until).min_by_key(|(_, m)| m.0);
            let Some((index, _)) = due else { break };
            let (at, mend) = self.mends.remove(index);
            let pause = at - self.world.now();
            self.world.run_for(pause);
            self.mend(&mend);
        }
        self.world.run_for(until - self.world.now());
    }

    fn mend(&mut self, mend: &Mend) {
        match mend {
            Mend::Line(device) => self.world.set_cut(*device, false),
            Mend::Device(device) => self.world.start_device(*device),
            Mend::Server if !self.world.is_running(0) => self.world.start(0),
            Mend::Server => {}
            Mend::Disk => self.world.set_disk(0, DiskMode::Healthy),
            Mend::Registration(device) => self.world.register(*device),
            Mend::Script(device) => self.world.script(*device).on_message = Reaction::Take,
            Mend::Notify(device) => self.world.script(*device).on_notify = NotifyPlan::Take,
        }
    }

    fn mend_later(&mut self, seconds: std::ops::Range<f64>, mend: Mend) {
        let after = Duration::from_secs_f64(self.rng.random_range(seconds));
        self.mends.push((self.world.now() + after, mend));
    }

    fn act(&mut self) {
        let device = self.rng.random_range(0..self.world.device_count());
        match self.rng.random_range(0..150) {
            100..118 => self.publish(device),
            118..127 => self.watch(device),
            127..130 => self.look_again(device),
            130..133 => {
                self.world.script(device).on_notify =
                    if self.rng.random_bool(0.5) { NotifyPlan::Silent } else { NotifyPlan::Refuse(481) };
                self.mend_later(1.0..50.0, Mend::Notify(device));
            }
            133..137 => self.grant(),
            137..140 => self.collect(),
            140..146 => self.choose_state(),
            146..150 => self.grant_by_operator(),
            0..52 => self.write(device, false),
            52..55 => self.write(device, true),
            55..66 => self.call(device),
            66..71 => {
                self.world.unregister(device);
                self.mend_later(1.0..60.0, Mend::Registration(device));
            }
            71..76 => {
                let crash = self.any_crash();
                self.world.crash_device(device, crash);
                self.mend_later(0.1..40.0, Mend::Device(device));
            }
            76..81 => {
                self.world.set_cut(device, true);
                self.mend_later(0.5..50.0, Mend::Line(device));
            }
            81..85 => self.world.break_streams(device),
            85..90 => self.change_reaction(device),
            90..95 => {
                let crash = self.any_crash();
                self.world.crash(0, crash);
                self.mend_later(0.05..8.0, Mend::Server);
            }
            95..98 => {
                let which: fn(&Change) -> bool = match self.rng.random_range(0..3) {
                    0 => |c| matches!(c, Change::AppendMessage(_)),
                    1 => |c| matches!(c, Change::AdvanceCursor { .. } | Change::AdvanceTaken { .. }),
                    _ => |_| true,
                };
                let count = self.rng.random_range(1..4);
                self.world.set_disk(0, DiskMode::FailNext { count, which });
            }
            98 => {
                self.world.set_disk(0, DiskMode::Full);
                self.mend_later(0.5..10.0, Mend::Disk);
            }
            _ => {
                let hour = 3_600_000;
                let by = self.rng.random_range(-hour..hour);
                self.world.step_clock(0, by);
            }
        }
    }

    fn write(&mut self, device: usize, forged: bool) {
        let me = self.world.device(device).config.user.clone();
        let others: Vec<String> = self.users.iter().filter(|u| **u != me).cloned().collect();
        let (Some(to), Some(other)) = (others.choose(&mut self.rng), others.choose(&mut self.rng)) else {
            return;
        };
        let forged = forged.then(|| format!("{other}@{DOMAIN}"));
        self.world.send_message(device, &format!("{to}@{DOMAIN}"), forged.as_deref());
    }

    fn call(&mut self, device: usize) {
        let me = self.world.device(device).config.user.clone();
        let others: Vec<&String> = self.users.iter().filter(|u| **u != me).collect();
        let Some(callee) = others.choose(&mut self.rng).map(|u| format!("{u}@{DOMAIN}")) else { return };
        for other in 0..self.world.device_count() {
            let plan = match self.rng.random_range(0..10) {
                0..6 => CallPlan::Answer(Duration::from_millis(self.rng.random_range(0..8_000))),
                6..8 => CallPlan::Ring,
                8 => CallPlan::Refuse(486),
                _ => CallPlan::Refuse(480),
            };
            self.world.script(other).on_invite = plan;
        }
        let cancel = self.rng.random_bool(0.4).then(|| self.rng.random_range(0..9_000));
        let talk = Duration::from_millis(self.rng.random_range(100..20_000));
        self.world.call(device, &callee, cancel.map(Duration::from_millis), talk);
    }

    /// Says something new of the device's owner, or nothing any more.
    fn publish(&mut self, device: usize) {
        let user = self.world.device(device).config.user.clone();
        self.said += 1;
        let number = self.said;
        let pose = *[Pose::Available, Pose::Busy, Pose::Away].choose(&mut self.rng).expect("there are three");
        let activity = match pose {
            Pose::Available => "playing",
            Pose::Busy => "meeting",
            Pose::Away => "vacation",
        };
        let posture = Posture {
            pose,
            activity: self.rng.random_bool(0.5).then_some(activity),
            note: self.rng.random_bool(0.6).then(|| format!("{NOTE_MARK}{user}:{number}")),
            place: self.rng.random_bool(0.6).then(|| format!("{PLACE_MARK}{user}:{number}")),
        };
        let posture = Some(posture).filter(|_| self.rng.random_bool(0.85));
        self.world.publish(device, posture);
    }

    /// Watches somebody more, or ceases to.
    fn watch(&mut self, device: usize) {
        let known: Vec<Watched> = self.world.device(device).watches().map(|(w, ..)| w.clone()).collect();
        if let Some(watched) = known.choose(&mut self.rng).filter(|_| known.len() >= WATCHES_MAX) {
            return self.world.unwatch(device, watched);
        }
        let mut people: Vec<String> = self.users.iter().map(|u| format!("{u}@{DOMAIN}")).collect();
        people.push(format!("{NOBODY}@{DOMAIN}"));
        people.shuffle(&mut self.rng);
        let watched = match self.rng.random_range(0..10) {
            0..6 => Watched::Person(people.swap_remove(0)),
            6..8 => Watched::Contacts,
            _ => {
                people.truncate(self.rng.random_range(1..=people.len()));
                Watched::People(people)
            }
        };
        self.world.watch(device, watched);
    }

    fn look_again(&mut self, device: usize) {
        let known: Vec<Watched> = self.world.device(device).watches().map(|(w, ..)| w.clone()).collect();
        if let Some(watched) = known.choose(&mut self.rng) {
            self.world.poll_watch(device, watched);
        }
    }

    /// Somebody decides anew who may see how much.
    fn grant(&mut self) {
        let user = self.users.choose(&mut self.rng).expect("there are some").clone();
        let document = random_rules(&mut self.rng, &self.users);
        let address = format!("{user}@{DOMAIN}");
        self.world.put_document(0, &address, &password(&user), Application::PresRules, &document);
    }

    /// An operator decides it for somebody.
    fn grant_by_operator(&mut self) {
        let user = self.any_address();
        let subject = match self.rng.random_range(0..4) {
            0 => Subject::SameOrganisation,
            1 => Subject::Everybody,
            _ => Subject::User(self.any_address()),
        };
        let level = Level::ALL.choose(&mut self.rng).copied().filter(|_| self.rng.random_bool(0.8));
        self.world.admin(0, Call::SetAccess { user, subject, level });
    }

    /// Somebody chooses how to be seen, or leaves it to devices.
    fn choose_state(&mut self) {
        let address = self.any_address();
        if self.rng.random_bool(0.3) {
            self.world.admin(0, Call::ClearPresence(address));
            return;
        }
        self.said += 1;
        let text = format!("{NOTE_MARK}{}:{}", address.user(), self.said);
        let now = self.world.wall_unix_ms(0);
        let mut ends = || self.rng.random_bool(0.5).then(|| now + self.rng.random_range(1_000..120_000));
        let (choice_ends, note_ends) = (ends(), ends());
        let note = Note { text: text.into(), expires_unix_ms: note_ends };
        let state = *ManualState::ALL.choose(&mut self.rng).expect("there are some");
        let choice = Some((state, choice_ends)).filter(|_| self.rng.random_bool(0.8));
        let note = Some(note).filter(|_| self.rng.random_bool(0.5));
        self.world.admin(0, Call::SetPresence { address, choice, note });
    }

    fn any_address(&mut self) -> SipAddress {
        let user = self.users.choose(&mut self.rng).expect("there are some");
        SipAddress::new(user, &DomainName::parse(DOMAIN).expect("a domain name")).expect("a user name")
    }

    /// Somebody has other contacts from now on.
    fn collect(&mut self) {
        let user = self.users.choose(&mut self.rng).expect("there are some").clone();
        let document = random_contacts(&mut self.rng, &self.users);
        let address = format!("{user}@{DOMAIN}");
        self.world.put_document(0, &address, &password(&user), Application::ResourceLists, &document);
    }

    fn change_reaction(&mut self, device: usize) {
        self.world.script(device).on_message = match self.rng.random_range(0..4) {
            0 => Reaction::Silent,
            1 => Reaction::Refuse(*[415, 486, 500, 603].choose(&mut self.rng).expect("there are some")),
            _ => Reaction::TakeLate(Duration::from_millis(self.rng.random_range(1..15_000))),
        };
        self.mend_later(1.0..40.0, Mend::Script(device));
    }

    fn any_crash(&mut self) -> Crash {
        if self.rng.random_bool(0.5) { Crash::Killed } else { Crash::PowerLost }
    }

    /// Ends all faults, waits, and looks.
    fn rest(mut self) -> Report {
        for (_, mend) in std::mem::take(&mut self.mends) {
            self.mend(&mend);
        }
        self.world.set_disk(0, DiskMode::Healthy);
        self.world.conditions = Conditions::calm();
        for device in 0..self.world.device_count() {
            self.world.register(device);
        }
        self.live(Duration::from_secs(60));
        // A last message of everybody, which nothing disturbs.
        for device in 0..self.world.device_count() {
            self.write(device, false);
        }
        self.live(REST);
        let devices = device_ends(&self.world);
        let wall_unix_ms = self.world.wall_unix_ms(0);
        let busy = status(&mut self.world);
        let streams = self.world.open_streams(0);
        for device in 0..self.world.device_count() {
            self.world.crash_device(device, Crash::Killed);
        }
        self.live(SILENCE);
        let idle = status(&mut self.world);
        let violations = check(&self.world, vec![MachineEnd { wall_unix_ms, busy, streams, idle }], devices);
        Report::new(self.world, violations)
    }
}

/// Each device as it is now, for the checkers.
pub fn device_ends(world: &World) -> Vec<DeviceEnd> {
    let end = |index: usize| {
        let device = world.device(index);
        DeviceEnd {
            resident: world.resident(index),
            should_be_registered: device.wants_registration() && world.is_reachable(index),
            is_registered: device.is_registered(),
            unconcluded: device.unconcluded(),
            calls: device.calls_under_way(),
            published: device.published().cloned(),
            has_published: device.has_published(),
            watches: device.watches().map(watch_end).collect(),
        }
    };
    (0..world.device_count()).map(end).collect()
}

fn watch_end((watched, is_active, seen): (&Watched, bool, &BTreeMap<String, Seen>)) -> WatchEnd {
    let seen = seen.iter().map(|(address, seen)| (address.clone(), seen.shown.clone()));
    WatchEnd { watched: watched.clone(), is_active, seen: seen.collect() }
}

/// What the first machine says of itself.
pub fn status(world: &mut World) -> Option<Status> {
    match world.ask(0, Call::Status) {
        Some(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// The password of a simulated user.
pub fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

fn random_rules(rng: &mut ChaCha8Rng, users: &[String]) -> String {
    let mut grants = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let grantee = match rng.random_range(0..10) {
            0..6 => Grantee::User(format!("{}@{DOMAIN}", users.choose(rng).expect("there are some"))),
            6 => Grantee::Domain(DOMAIN.into()),
            7..9 => Grantee::SameOrganisation,
            _ => Grantee::Everybody,
        };
        grants.push((grantee, *Level::ALL.choose(rng).expect("there are some")));
    }
    documents::rules(&grants)
}

fn random_contacts(rng: &mut ChaCha8Rng, users: &[String]) -> String {
    let mut all: Vec<String> = users.iter().map(|u| format!("{u}@{DOMAIN}")).collect();
    all.push(format!("{NOBODY}@{DOMAIN}"));
    all.shuffle(rng);
    all.truncate(rng.random_range(0..=all.len()));
    documents::contacts(&all)
}

fn random_device(rng: &mut ChaCha8Rng, world: &World, user: &str, number: u32) -> DeviceConfig {
    let transport = *[Transport::Udp, Transport::Tcp, Transport::Tls].choose(rng).expect("there are three");
    let server = world.server_address(0, transport);
    let instance =
        rng.random_bool(0.8).then(|| format!("urn:uuid:00000000-0000-4000-8000-{user:0>8}{number:04}"));
    let flows = if transport.is_reliable() && instance.is_some() && rng.random_bool(0.4) { 2 } else { 1 };
    DeviceConfig {
        name: format!("{user}-{number}"),
        user: user.into(),
        domain: DOMAIN.into(),
        password: password(user),
        transport,
        servers: vec![server; flows],
        instance,
        algorithm: if rng.random_bool(0.5) { Algorithm::Sha256 } else { Algorithm::Md5 },
        expires_seconds: rng.random_range(30..240),
        keep_alive: Duration::from_secs(rng.random_range(10..30)),
        cpim: rng.random_bool(0.8),
        presence_expires_seconds: rng.random_range(60..180),
        script: Script { on_message: Reaction::Take, on_invite: CallPlan::Ring, on_notify: NotifyPlan::Take },
    }
}

impl Report {
    fn new(world: World, violations: Vec<Violation>) -> Report {
        let facts = |which: fn(&Fact) -> bool| {
            world
                .events()
                .iter()
                .filter(|e| matches!(&e.what, What::Fact { fact, .. } if which(fact)))
                .count()
        };
        let accepted = facts(|f| matches!(f, Fact::Concluded { status: 200..=299, .. }));
        let answered_calls = facts(|f| matches!(f, Fact::LegUp { chosen: true, .. }));
        let stopped = |e: &&crate::event::Event| {
            matches!(e.what, What::Stopped { party: crate::event::Party::Machine(_), .. })
        };
        let crashes = world.events().iter().filter(stopped).count();
        let (seed, trace) = (world.seed(), world.trace());
        Report { seed, violations, trace, accepted, answered_calls, crashes, world }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, accepted, answered_calls, crashes, .. } = self;
        writeln!(
            f,
            "seed {seed}: {accepted} messages accepted, {answered_calls} calls answered, {crashes} crashes, \
             trace {:016x}",
            self.trace
        )?;
        if self.violations.is_empty() {
            return Ok(());
        }
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "replay with: cargo run -p sim --example replay -- {seed} --ladder")?;
        let ladder = self.world.ladder_until(self.violations[0].at);
        let rows: Vec<&str> = ladder.lines().collect();
        writeln!(f, "{}", rows.first().unwrap_or(&""))?;
        for row in &rows[rows.len().saturating_sub(TAIL_ROWS).max(1)..] {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}
