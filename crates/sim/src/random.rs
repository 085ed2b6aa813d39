//! Random worlds: a few users with a few devices each live for some virtual minutes among faults, all from one seed;
//! then the faults end, everything comes to rest, and the checkers look.
//!
//! Some worlds have more in them ([`Mix`]): calls that are transferred, forwarded and fended off; people of a directory, who leave and
//! come back, and tokens that are taken back. And there are slow ones ([`run_slow_seed`]): little happens in them for days, and
//! devices are away for hours and days.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use directory::{DomainName, Purpose, SipAddress, Standing, UserState};
use frontend::admin::{Answer, Batch, Call, CallSettingChange, Cause};
use node::{Instant, Transport};
use presence::rules::Subject;
use presence::{Level, ManualState, Note};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::Change;
use sip_message::digest::Algorithm;

use crate::check::{NOTE_MARK, PLACE_MARK, Violation, conclude};
use crate::device::{
    CallPlan, DeviceConfig, NotifyPlan, Pose, Posture, Reaction, Script, SignIn, TransferTo, Watched,
};
use crate::disk::DiskMode;
use crate::documents::{self, Application, Grantee};
use crate::event::{Crash, Fact, What};
use crate::link::Conditions;
use crate::world::{Factory, World, app_password_of, from_directory};

/// The domain of all users.
pub const DOMAIN: &str = "contoso.example";
/// How long there are actions and faults.
const TROUBLE: std::ops::Range<u64> = 120..240;
/// The same in a slow world, in seconds, and the pause between two actions there, in milliseconds.
const TROUBLE_SLOW: std::ops::Range<u64> = 3 * 86_400..6 * 86_400;
const PAUSE_SLOW_MS: std::ops::Range<u64> = 60_000..3_600_000;
/// How long devices are away in a slow world, in seconds.
const AWAY_SLOW: std::ops::Range<f64> = 3_600.0..72.0 * 3_600.0;
/// Longest registration, publication and subscription in a slow world, in seconds.
const EXPIRES_SLOW_SECONDS: std::ops::Range<u32> = 120..1_800;
/// How long a slow world has to come to rest and to fall silent: as others, with those times.
const REST_SLOW: Duration = Duration::from_secs(2_400);
const SILENCE_SLOW: Duration = Duration::from_secs(1_900);
/// How long the world has to come to rest: the longest registration (240 s), the ring of a forgotten call (110 s)
/// and a transaction's end all fit, one behind another where they can follow.
const REST: Duration = Duration::from_secs(420);
/// How long devices are silent before a node must have no transaction left: longer than their last subscription, 64*T1
/// for its last NOTIFY, and timer K.
const SILENCE: Duration = Duration::from_secs(260);
/// Users who come from a directory, where there is one.
const FROM_DIRECTORY: &[&str] = &["dora", "dirk"];
/// How long tokens are good: longer than any world lasts.
const TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// A user without any device, see [`crate::check::NEVER_THERE`].
const NOBODY: &str = "nobody";
/// Whom a device watches at most before it ceases to watch somebody.
const WATCHES_MAX: usize = 4;
/// Of those who watch one person, so many watch that person's calls where there are more of them.
const CALLS_WATCHED: f64 = 0.35;
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

/// What else a world has, beside messages, presence and calls between people whose accounts stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Calls are transferred, forwarded, fended off by settings, and watched.
    pub calls: bool,
    /// Some people come from a directory; accounts end and come back, tokens are taken back.
    pub directory: bool,
    /// Whether trouble lasts for days, with devices away for up to three of them, instead of minutes.
    pub slow: bool,
}

impl Mix {
    /// Nothing else.
    pub const PLAIN: Mix = Mix { calls: false, directory: false, slow: false };

    /// That of a seed.
    pub fn of(seed: u64) -> Mix {
        let mut rng = extra_of(seed);
        Mix { calls: rng.random_bool(0.6), directory: rng.random_bool(0.5), slow: false }
    }
}

/// The randomness of what a mix adds: a stream of its own, so that the rest of a world stays as it is without it.
fn extra_of(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(!seed)
}

/// The same of which calls are watched.
fn lamps_of(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed.reverse_bits())
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
    /// An account may be used again, or its devices get a new token.
    Account(String),
}

struct Life {
    world: World,
    rng: ChaCha8Rng,
    users: Vec<String>,
    mends: Vec<(Instant, Mend)>,
    /// Counts notes and places, so that each is said once.
    said: u64,
    mix: Mix,
    extra: ChaCha8Rng,
    lamps: ChaCha8Rng,
    /// Accounts that may not be used now.
    ended: BTreeSet<String>,
}

/// Runs the world of a seed on nodes that `factory` makes.
pub fn run_seed_with(seed: u64, factory: Factory) -> Report {
    run_mix(seed, factory, Mix::of(seed))
}

/// Runs the slow world of a seed.
pub fn run_slow_seed(seed: u64, factory: Factory) -> Report {
    run_mix(seed, factory, Mix { slow: true, ..Mix::of(seed) })
}

/// Runs the world of a seed with this and no more in it.
pub fn run_mix(seed: u64, factory: Factory, mix: Mix) -> Report {
    let mut life = Life::begin(seed, factory, mix);
    let trouble = if mix.slow { TROUBLE_SLOW } else { TROUBLE };
    let trouble = Duration::from_secs(life.rng.random_range(trouble));
    let until = life.world.now() + trouble;
    while life.world.now() < until {
        let pause = if mix.slow { PAUSE_SLOW_MS } else { 20..2_500 };
        let pause = Duration::from_millis(life.rng.random_range(pause));
        life.live(pause);
        life.act();
        life.act_more();
    }
    life.rest()
}

impl Life {
    fn begin(seed: u64, factory: Factory, mix: Mix) -> Life {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let conditions = if rng.random_bool(0.3) { Conditions::calm() } else { Conditions::rough() };
        let mut world = World::new(seed, conditions);
        world.add_machine("home", DOMAIN, factory);
        let names = ["alice", "bob", "carol", "dave", "erin"];
        let mut users: Vec<String> =
            names[..rng.random_range(2..=names.len())].iter().map(|n| (*n).into()).collect();
        for user in &users {
            world.provision_user(0, user, DOMAIN, &password(user));
            for number in 1..=rng.random_range(1..=3) {
                let config = random_device(&mut rng, &world, user, number);
                world.add_device(config);
            }
        }
        let mut extra = extra_of(seed);
        if mix.directory {
            for user in FROM_DIRECTORY {
                world.provision_directory_user(0, user, DOMAIN, &password(user));
                for number in 1..=extra.random_range(1..=2) {
                    let config = random_device(&mut extra, &world, user, number);
                    world.add_device(of_directory(config, &world, extra.random_bool(0.5)));
                }
                users.push((*user).into());
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
        let ended = BTreeSet::new();
        let mut life =
            Life { world, rng, users, mends: Vec::new(), said: 0, mix, extra, lamps: lamps_of(seed), ended };
        life.live(Duration::from_millis(if mix.directory { 10 } else { 0 }));
        for user in FROM_DIRECTORY.iter().filter(|_| mix.directory) {
            life.give_tokens(user);
        }
        if mix.slow {
            life.slow_down();
        }
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

    /// Devices that ask for longer times.
    fn slow_down(&mut self) {
        for device in 0..self.world.device_count() {
            let (registration, presence) = (
                self.extra.random_range(EXPIRES_SLOW_SECONDS),
                self.extra.random_range(EXPIRES_SLOW_SECONDS),
            );
            self.world.set_expires(device, registration, presence);
        }
    }

    /// Lets time pass, mending what is due.
    fn live(&mut self, time: Duration) {
        let until = self.world.now() + time;
        loop {
            let due = self.mends.iter().enumerate().filter(|(_, m)| m.0 <= until).min_by_key(|(_, m)| m.0);
            let Some((index, _)) = due else { break };
            let (at, mend) = self.mends.remove(index);
            let pause = at.since(self.world.now());
            self.world.run_for(pause);
            self.mend(&mend);
        }
        let pause = until.since(self.world.now());
        self.world.run_for(pause);
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
            Mend::Account(user) => self.let_in(user),
        }
    }

    fn mend_later(&mut self, seconds: std::ops::Range<f64>, mend: Mend) {
        let after = Duration::from_secs_f64(self.rng.random_range(seconds));
        let is_away = matches!(mend, Mend::Line(_) | Mend::Device(_) | Mend::Registration(_));
        let after = match self.mix.slow && is_away && self.extra.random_bool(0.6) {
            true => Duration::from_secs_f64(self.extra.random_range(AWAY_SLOW)),
            false => after,
        };
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

    /// What the mix adds.
    fn act_more(&mut self) {
        if self.mix.calls && self.extra.random_bool(0.3) {
            match self.extra.random_range(0..10) {
                0..3 => self.set_calls(),
                3..6 => self.consult(),
                _ => self.transfer(),
            }
        }
        if self.mix.directory && self.extra.random_bool(0.08) {
            match self.extra.random_range(0..10) {
                0..5 => self.end_account(),
                5..8 => self.take_tokens_back(),
                // What the directory says again changes nothing.
                _ => self.tell_standing(FROM_DIRECTORY[0]),
            }
        }
    }

    /// Somebody decides where calls go.
    fn set_calls(&mut self) {
        let address = self.extra_address();
        let cause = *[Cause::Always, Cause::DoNotDisturb, Cause::Busy, Cause::NoAnswer, Cause::Unregistered]
            .choose(&mut self.extra)
            .expect("there are some");
        let other = self.extra_address();
        let target = Some(other.clone()).filter(|other| *other != address);
        let change = match self.extra.random_range(0..10) {
            0..5 => CallSettingChange::Forward(cause, target.filter(|_| self.extra.random_bool(0.6))),
            5 => CallSettingChange::NoAnswerAfter(self.extra.random_range(3..12)),
            6..8 => CallSettingChange::RingAlso(target.into_iter().collect()),
            _ => CallSettingChange::BusyOnBusy(
                *[Some(true), Some(false), None].choose(&mut self.extra).expect("some"),
            ),
        };
        self.world.admin(0, Call::SetCallSettings { address, changes: vec![change] });
    }

    /// A device that is in a call, and its calls.
    fn in_call(&mut self) -> Option<(usize, Vec<(String, String)>)> {
        let calls = |device: usize| (device, self.world.device(device).calls_up());
        let talking: Vec<_> =
            (0..self.world.device_count()).map(calls).filter(|(_, calls)| !calls.is_empty()).collect();
        talking.choose(&mut self.extra).cloned()
    }

    /// Somebody who is in a call calls a third person.
    fn consult(&mut self) {
        let Some((device, calls)) = self.in_call() else { return };
        let Some(third) = self.third(device, &calls) else { return };
        let talk = Duration::from_millis(self.extra.random_range(5_000..20_000));
        self.world.call(device, &third, None, talk);
    }

    /// Somebody asks the other side of a call to call a third person instead: one whom the device talks to as well, or anybody.
    fn transfer(&mut self) {
        let Some((device, calls)) = self.in_call() else { return };
        let (call, peer) = calls.choose(&mut self.extra).expect("it is in a call").clone();
        let other = calls.iter().find(|(id, party)| *id != call && *party != peer);
        let to = match (other, self.third(device, &calls)) {
            (Some((other, _)), _) => TransferTo::Call(other.clone()),
            (None, Some(third)) => TransferTo::Address(third),
            (None, None) => return,
        };
        self.world.transfer(device, &call, &to);
    }

    /// Somebody who is neither a device's owner nor in any of its calls.
    fn third(&mut self, device: usize, calls: &[(String, String)]) -> Option<String> {
        let me = self.world.device(device).address_of_record();
        let is_third = |address: &String| *address != me && calls.iter().all(|(_, peer)| peer != address);
        let others: Vec<String> =
            self.users.iter().map(|user| format!("{user}@{DOMAIN}")).filter(is_third).collect();
        others.choose(&mut self.extra).cloned()
    }

    fn extra_address(&mut self) -> SipAddress {
        let user = self.users.choose(&mut self.extra).expect("there are some");
        SipAddress::new(user, &DomainName::parse(DOMAIN).expect("a domain name")).expect("a user name")
    }

    fn devices_of(&self, user: &str) -> Vec<usize> {
        (0..self.world.device_count()).filter(|d| self.world.device(*d).config.user == user).collect()
    }

    /// Somebody's account ends, with devices that are there.
    fn end_account(&mut self) {
        let user = self.users.choose(&mut self.extra).expect("there are some").clone();
        if !self.ended.insert(user.clone()) {
            return;
        }
        for device in self.devices_of(&user) {
            self.world.set_sign_in(device, None);
        }
        self.tell_standing(&user);
        let after = Duration::from_secs_f64(self.extra.random_range(1.0..90.0));
        self.mends.push((self.world.now() + after, Mend::Account(user)));
    }

    /// The directory, or an administrator, says how an account stands.
    fn tell_standing(&mut self, user: &str) {
        let has_ended = self.ended.contains(user);
        let call = if FROM_DIRECTORY.contains(&user) {
            let ends = [Standing::Disabled, Standing::LockedOut, Standing::NotEnabled, Standing::Gone];
            let end = *ends.choose(&mut self.extra).expect("there are some");
            let standing = if has_ended { end } else { Standing::Active };
            let users = vec![from_directory(user, DOMAIN, standing)];
            Call::Replicate(Box::new(Batch { users, state: Some(vec![1]), ..Batch::default() }))
        } else {
            let state = if has_ended { UserState::Disabled } else { UserState::Enabled };
            Call::SetUserState(self.world.address_of(user, DOMAIN), state)
        };
        self.world.admin(0, call);
    }

    /// The tokens of somebody are taken back.
    fn take_tokens_back(&mut self) {
        let user = *FROM_DIRECTORY.choose(&mut self.extra).expect("there are some");
        for device in self.devices_of(user) {
            if matches!(self.world.device(device).config.sign_in, SignIn::Token(_)) {
                self.world.set_sign_in(device, None);
            }
        }
        self.world.admin(0, Call::RevokeTokens(self.world.address_of(user, DOMAIN).into()));
        let after = Duration::from_secs_f64(self.extra.random_range(1.0..60.0));
        self.mends.push((self.world.now() + after, Mend::Account(user.into())));
    }

    /// An account may be used again; its devices get what they need for it.
    fn let_in(&mut self, user: &str) {
        self.ended.remove(user);
        self.tell_standing(user);
        self.world.run_for(Duration::from_millis(100));
        self.give_tokens(user);
    }

    /// Devices get new tokens and app passwords, if their server gives them any.
    fn give_tokens(&mut self, user: &str) {
        let address = self.world.address_of(user, DOMAIN);
        for device in self.devices_of(user) {
            let config = &self.world.device(device).config;
            let sign_in = match config.sign_in.clone() {
                SignIn::Token(_) => {
                    let (user, lifetime) = (self.world.user_id(user), TOKEN_LIFETIME);
                    let call = Call::IssueToken { user, lifetime, renewed: None };
                    match self.world.ask(0, call) {
                        Some(Answer::IssuedToken(issued)) => Some(SignIn::Token(issued.token.0.clone())),
                        _ => None,
                    }
                }
                SignIn::AppPassword { .. } if !config.may_sign_in => {
                    let call = Call::AddAppPassword {
                        user: address.clone().into(),
                        label: "device".into(),
                        purpose: Purpose::Sip,
                    };
                    match self.world.ask(0, call) {
                        Some(Answer::IssuedAppPassword(issued)) => Some(SignIn::AppPassword {
                            username: issued.username.clone(),
                            password: issued.password.0.clone(),
                        }),
                        _ => None,
                    }
                }
                other => Some(other),
            };
            self.world.set_sign_in(device, sign_in);
            if self.world.device(device).wants_registration() {
                self.world.register(device);
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
        let posture = random_posture(&mut self.rng, &user, self.said);
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
            0..6 if self.mix.calls && self.lamps.random_bool(CALLS_WATCHED) => {
                Watched::Calls(people.swap_remove(0))
            }
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

    /// Whatever was decided of accounts may have been lost with a disk or a process: it is said once more, of one that has ended for
    /// good too.
    fn decide_again(&mut self) {
        // The server must have started.
        self.live(Duration::from_secs(1));
        for user in self.users.clone() {
            self.ended.remove(&user);
        }
        let leaves = self.users.choose(&mut self.extra).expect("there are some").clone();
        if self.extra.random_bool(0.5) {
            self.ended.insert(leaves);
        }
        for user in self.users.clone() {
            self.tell_standing(&user);
            self.live(Duration::from_millis(100));
            if self.ended.contains(&user) {
                for device in self.devices_of(&user) {
                    self.world.set_sign_in(device, None);
                }
            } else {
                self.give_tokens(&user);
            }
        }
    }

    /// Ends all faults, waits, and looks.
    fn rest(mut self) -> Report {
        for (_, mend) in std::mem::take(&mut self.mends) {
            self.mend(&mend);
        }
        self.world.set_disk(0, DiskMode::Healthy);
        self.world.conditions = Conditions::calm();
        if self.mix.directory {
            self.decide_again();
        }
        for device in 0..self.world.device_count() {
            self.world.register(device);
        }
        self.live(Duration::from_secs(60));
        // A last message of everybody, which nothing disturbs.
        for device in 0..self.world.device_count() {
            self.write(device, false);
        }
        self.live(if self.mix.slow { REST_SLOW } else { REST });
        let silence = if self.mix.slow { SILENCE_SLOW } else { SILENCE };
        let violations = conclude(&mut self.world, &[0], BTreeSet::new(), silence);
        Report::new(self.world, violations)
    }
}

/// The device of somebody from the directory.
fn of_directory(config: DeviceConfig, world: &World, by_token: bool) -> DeviceConfig {
    let name = &config.user;
    let (transport, sign_in) = match by_token {
        // Tokens are for who cannot be listened to. The first one is given when the server runs.
        true => (Transport::Tls, SignIn::Token(String::new())),
        false => {
            let (username, password) = (app_password_of(name), password(name));
            (config.transport, SignIn::AppPassword { username, password })
        }
    };
    // One flow: which of several ended cannot be told from outside.
    DeviceConfig { transport, sign_in, servers: vec![world.server_address(0, transport)], ..config }
}

/// The password of a simulated user.
pub fn password(user: &str) -> String {
    format!("secret-of-{user}")
}

/// Something to be said of a user, for the `number`th time in a world; mostly.
pub(crate) fn random_posture(rng: &mut ChaCha8Rng, user: &str, number: u64) -> Option<Posture> {
    let pose = *[Pose::Available, Pose::Busy, Pose::Away].choose(rng).expect("there are three");
    let activity = match pose {
        Pose::Available => "playing",
        Pose::Busy => "meeting",
        Pose::Away => "vacation",
    };
    let posture = Posture {
        pose,
        activity: rng.random_bool(0.5).then_some(activity),
        note: rng.random_bool(0.6).then(|| format!("{NOTE_MARK}{user}:{number}")),
        place: rng.random_bool(0.6).then(|| format!("{PLACE_MARK}{user}:{number}")),
    };
    Some(posture).filter(|_| rng.random_bool(0.85))
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
        sign_in: SignIn::Password(password(user)),
        may_sign_in: true,
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
