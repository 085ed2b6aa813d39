//! Whether a password may be asked of the organisation's directory: a counter of ours that stops before the directory's does.
//!
//! A directory locks an account after some wrong passwords, wherever they came from. Whoever knows a name could so lock its
//! owner out of everything, through us. The guard sees to it that fewer wrong passwords than that reach the directory:
//!
//! ```text
//!   Guard::begin ──► Ask(Ticket)        the directory is asked; Guard::settle says what came of it
//!                ──► Known wrong        the same password was wrong before: answered without asking, counted once
//!                ──► Wait               as many as may still be wrong are being asked now
//!                ──► Blocked{until}     nothing is asked
//! ```
//!
//! - Wrong passwords of an account are counted across all sources. The count ends as Active Directory's does: when
//!   [`Settings::window`] has passed since the **last** one, or with a right one. It is so never lower than what the
//!   directory counted because of us.
//! - What is being asked counts as wrong until it is settled, so that many at once are no way around.
//! - Some directories lock some accounts earlier than others. Whoever knows where tells ([`Guard::learn`]) before the first wrong password
//!   of an account that follows one ([`Account::Followed`]) is settled; until then one is asked at a time.
//! - A source from which the account has signed in keeps [`Settings::wrong_passwords_of_known`] more: a stranger's guesses do
//!   not lock the owner out of here either.
//! - A wrong password that comes again is known by a keyed hash, and neither asked nor counted: a telephone with an old
//!   password costs its owner one try in a window. While an account is blocked, all passwords are answered alike.
//! - Wrong passwords of a source are counted across all accounts ([`Settings::wrong_passwords_of_source`]): whoever tries one
//!   password on everybody is stopped there.
//! - A name that nobody has is treated like one that somebody has.
//!
//! What it is not: it asks nobody, waits for nobody, and knows no protocol. Digest has a brake of its own ([`crate::Authenticator`]):
//! there a guess locks nothing. Counts do not outlive the process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use directory::UserId;
use hmac::{Hmac, KeyInit, Mac};
use node::Instant;
use sha2::Sha256;
use smallvec::SmallVec;

use crate::throttle::network;

/// Names that nobody has for which wrong passwords are counted. Nothing of theirs reaches the directory: forgetting one costs
/// a guesser's being told sooner that there is more to guess. 100 octets each.
const STRANGERS_MAX: usize = 20_000;
/// Sources whose wrong passwords are counted. When there are more, those with the fewest go.
const SOURCES_MAX: usize = 20_000;
/// Sources that an account is remembered to have signed in from.
const KNOWN_SOURCES_MAX: usize = 8;
/// How long a stranger may wait to be told that the window is over, at most: whoever waits forgets.
const SOURCE_WAIT_MIN: Duration = Duration::from_secs(1);

/// How many wrong passwords may reach the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of one account, from anywhere, in a [`Settings::window`]. Together with [`Settings::wrong_passwords_of_known`] less
    /// than what the directory locks at (`lockoutThreshold`), with some left for what its owner mistypes elsewhere.
    pub wrong_passwords_max: u32,
    /// Of one account beyond those, from sources that it signed in from.
    pub wrong_passwords_of_known: u32,
    /// Of one source, with all accounts, in a window.
    pub wrong_passwords_of_source: u32,
    /// How long after the last wrong password the count ends: at least what the directory's does
    /// (`lockOutObservationWindow`).
    pub window: Duration,
}

impl Settings {
    /// Three and one more, in half an hour: below the five that many organisations lock at, in the window that Active
    /// Directory has by default. A hundred of a source: an office behind one address, after a holiday.
    pub fn standard() -> Settings {
        Settings {
            wrong_passwords_max: 3,
            wrong_passwords_of_known: 1,
            wrong_passwords_of_source: 100,
            window: Duration::from_secs(30 * 60),
        }
    }

    /// The same, but strict enough for a directory that locks an account at so many wrong passwords (0: never). At least one
    /// may be asked; at 2 that is one in all.
    #[must_use]
    pub fn below(mut self, lockout_threshold: u32) -> Settings {
        if lockout_threshold == 0 {
            return self;
        }
        let all = lockout_threshold.saturating_sub(1).max(1);
        self.wrong_passwords_max = self.wrong_passwords_max.min(all);
        self.wrong_passwords_of_known = self.wrong_passwords_of_known.min(all - self.wrong_passwords_max);
        self
    }
}

/// Whose password it is said to be.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// A user, whatever name was given.
    User(UserId),
    /// The same, whom a directory may lock at a number of its own: [`Guard::learn`].
    Followed(UserId),
    /// Nobody: what the name counts as. All forms in which a user may be named count as one, so those of nobody do, too; who knows the
    /// users knows the forms.
    Nobody(&'a str),
}

/// What becomes of a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is asked, and [`Guard::settle`] told what came of it. For a name of nobody there is nothing to ask: it is
    /// settled as wrong.
    Ask(Ticket),
    /// It is wrong, as it was before: answer so.
    KnownWrong,
    /// As many passwords of the account are being asked as may still be wrong. Try again when one is settled.
    Wait,
    /// It is not looked at.
    Blocked {
        /// How long.
        retry_after: Duration,
    },
}

/// A password that is being asked. Each is settled once, whatever happens.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is not settled counts as wrong for good"]
pub struct Ticket {
    key: Key,
    source: IpAddr,
    password: Tag,
    /// [`Tries::settled`] when it began.
    settled: u64,
}

/// What came of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is right, and signs its owner in.
    Right,
    /// It is wrong, and the directory may have counted it.
    Wrong,
    /// The directory did not judge it, or refused the account and not the password: nothing is counted, nothing forgiven.
    Unjudged,
    /// The directory was asked, and did not answer: it may have counted it. What the password is worth is not known.
    Unanswered,
}

/// The counts. Keys that strangers choose are in order or keyed, so that they cannot be made to collide.
pub struct Guard {
    settings: Settings,
    key: [u8; 32],
    users: BTreeMap<UserId, Tries>,
    strangers: BTreeMap<Tag, Tries>,
    sources: BTreeMap<IpAddr, Level>,
    known: BTreeMap<UserId, SmallVec<[IpAddr; 2]>>,
}

/// A keyed hash of what a stranger wrote.
type Tag = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    User(UserId),
    Stranger(Tag),
}

/// The tries of an account.
#[derive(Debug, Default)]
struct Tries {
    /// Wrong passwords that the directory may have counted.
    wrong: u32,
    /// Those that are being asked.
    asked: u32,
    /// When the last one was settled as wrong.
    last: Option<Instant>,
    /// How many were ever settled as wrong, while this is kept.
    settled: u64,
    /// At how many the directory locks this account, where that was learnt; 0: as all others.
    locks_at: Option<u32>,
    /// The different passwords among them, and when each was wrong.
    passwords: SmallVec<[(Tag, Instant); 4]>,
}

/// How full a source's bucket was, when. It leaks.
#[derive(Clone, Copy, Debug)]
struct Level {
    wrong: u32,
    at: Instant,
}

impl Guard {
    /// With nothing counted. The key is drawn anew for each process: what is remembered of passwords is worth nothing
    /// without it.
    pub fn new(settings: Settings, key: [u8; 32]) -> Guard {
        Guard {
            settings,
            key,
            users: BTreeMap::new(),
            strangers: BTreeMap::new(),
            sources: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Other settings from now on; what was counted stays.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What becomes of a password that `source` sends for an account.
    pub fn begin(&mut self, now: Instant, source: IpAddr, account: Account<'_>, password: &str) -> Verdict {
        let source = network(source);
        if let Some(retry_after) = self.source_wait(now, source) {
            return Verdict::Blocked { retry_after };
        }
        let key = self.account(account);
        let password = self.tag(b"password", password.as_bytes());
        let limit = self.limit(key, source);
        let is_followed = matches!(account, Account::Followed(_));
        let window = self.settings.window;
        if matches!(key, Key::Stranger(_)) && self.strangers.len() >= STRANGERS_MAX {
            self.make_room_for_strangers(now);
        }
        let tries = match key {
            Key::User(user) => self.users.entry(user).or_default(),
            Key::Stranger(name) => self.strangers.entry(name).or_default(),
        };
        tries.forget(now, window);
        // First: whoever may not guess any more is not told either what was wrong before, which its owner typed, perhaps by mistake.
        if tries.wrong >= limit {
            let passed = tries.last.map_or(Duration::ZERO, |last| now.since(last));
            return Verdict::Blocked { retry_after: window.saturating_sub(passed) };
        }
        if tries.passwords.iter().any(|(known, _)| *known == password) {
            return Verdict::KnownWrong;
        }
        // One is always allowed, and what comes of it tells how many more are.
        let is_unlearnt = is_followed && tries.locks_at.is_none() && tries.asked > 0;
        if is_unlearnt || tries.wrong + tries.asked >= limit {
            return Verdict::Wait;
        }
        tries.asked += 1;
        Verdict::Ask(Ticket { key, source, password, settled: tries.settled })
    }

    /// What came of it.
    pub fn settle(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) {
        let Ticket { key, source, password, settled } = ticket;
        let tries = match key {
            Key::User(user) => self.users.get_mut(&user),
            Key::Stranger(name) => self.strangers.get_mut(&name),
        };
        // A stranger's may have gone to make room.
        let Some(tries) = tries else { return };
        tries.asked = tries.asked.saturating_sub(1);
        match outcome {
            Outcome::Right => {
                // How many there were is forgiven, but for those that became known while this one was asked: the directory may
                // have counted them behind it. What was wrong stays wrong.
                let since = u32::try_from(tries.settled - settled).unwrap_or(u32::MAX);
                tries.wrong = tries.wrong.min(since);
            }
            Outcome::Wrong | Outcome::Unanswered => {
                tries.wrong = tries.wrong.saturating_add(1);
                tries.settled += 1;
                tries.last = Some(now);
                if outcome == Outcome::Wrong {
                    tries.remember(password, now, &self.settings);
                    self.count_source(now, source);
                }
            }
            Outcome::Unjudged => {}
        }
        self.tidy(key);
        if let (Key::User(user), Outcome::Right) = (key, outcome) {
            self.remember_source(user, source);
        }
    }

    /// At how many wrong passwords the directory locks an account whose password is being asked; 0: as all others. It counts until
    /// nothing of the account is counted any more.
    pub fn learn(&mut self, user: UserId, locks_at: u32) {
        if let Some(tries) = self.users.get_mut(&user) {
            tries.locks_at = Some(locks_at);
        }
    }

    /// The account has another password: nothing that was wrong is known to be wrong any more.
    pub fn password_changed(&mut self, user: UserId) {
        if let Some(tries) = self.users.get_mut(&user) {
            tries.passwords.clear();
            tries.wrong = 0;
        }
        self.tidy(Key::User(user));
    }

    /// Forgets what is over. Called now and then, so that nobody's tries are kept longer than they count.
    pub fn sweep(&mut self, now: Instant) {
        let window = self.settings.window;
        let is_needed = |tries: &mut Tries| {
            tries.forget(now, window);
            !tries.is_empty()
        };
        self.users.retain(|_, tries| is_needed(tries));
        self.strangers.retain(|_, tries| is_needed(tries));
        let leak = self.leak();
        self.sources.retain(|_, level| level.left(now, leak) > 0);
    }

    /// One of two ways for a name of nobody, as good as drawn, and always the same.
    pub fn draw(&self, name: &str) -> bool {
        self.tag(b"draw", name.as_bytes())[0] & 1 == 1
    }

    /// Accounts, names of nobody, and sources that are counted now.
    pub fn counted(&self) -> (usize, usize, usize) {
        (self.users.len(), self.strangers.len(), self.sources.len())
    }

    /// How many may be wrong, from there.
    fn limit(&self, key: Key, source: IpAddr) -> u32 {
        let (is_known, locks_at) = match key {
            Key::User(user) => {
                let is_known = self.known.get(&user).is_some_and(|sources| sources.contains(&source));
                (is_known, self.users.get(&user).and_then(|tries| tries.locks_at))
            }
            Key::Stranger(_) => (false, None),
        };
        let settings = self.settings.clone().below(locks_at.unwrap_or(0));
        let more = if is_known { settings.wrong_passwords_of_known } else { 0 };
        settings.wrong_passwords_max + more
    }

    fn account(&self, account: Account<'_>) -> Key {
        match account {
            Account::User(user) | Account::Followed(user) => Key::User(user),
            Account::Nobody(name) => Key::Stranger(self.tag(b"name", name.as_bytes())),
        }
    }

    fn tag(&self, what: &[u8], text: &[u8]) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(what);
        mac.update(&[0]);
        mac.update(text);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        std::array::from_fn(|at| whole[at])
    }

    fn leak(&self) -> Duration {
        let of = self.settings.wrong_passwords_of_source.max(1);
        (self.settings.window / of).max(Duration::from_millis(1))
    }

    fn source_wait(&self, now: Instant, source: IpAddr) -> Option<Duration> {
        let level = self.sources.get(&source)?;
        let leak = self.leak();
        let (left, most) = (level.left(now, leak), self.settings.wrong_passwords_of_source);
        (left >= most).then(|| (leak * (left - most + 1)).max(SOURCE_WAIT_MIN))
    }

    fn count_source(&mut self, now: Instant, source: IpAddr) {
        let leak = self.leak();
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, level| level.left(now, leak) > 0);
            if self.sources.len() >= SOURCES_MAX {
                let mut fewest: Vec<_> =
                    self.sources.iter().map(|(ip, level)| (level.left(now, leak), *ip)).collect();
                fewest.sort_unstable();
                for (_, ip) in fewest.into_iter().take(SOURCES_MAX / 10) {
                    self.sources.remove(&ip);
                }
            }
        }
        let level = self.sources.entry(source).or_insert(Level { wrong: 0, at: now });
        *level = Level { wrong: level.left(now, leak).saturating_add(1), at: now };
    }

    fn remember_source(&mut self, user: UserId, source: IpAddr) {
        let sources = self.known.entry(user).or_default();
        sources.retain(|known| *known != source);
        sources.truncate(KNOWN_SOURCES_MAX - 1);
        sources.insert(0, source);
    }

    /// Those with the fewest wrong ones go, so that a flood of names does not forgive one that is blocked.
    fn make_room_for_strangers(&mut self, now: Instant) {
        let window = self.settings.window;
        self.strangers.retain(|_, tries| {
            tries.forget(now, window);
            !tries.is_empty()
        });
        if self.strangers.len() >= STRANGERS_MAX {
            let mut fewest: Vec<_> =
                self.strangers.iter().map(|(name, tries)| (tries.wrong, tries.last, *name)).collect();
            fewest.sort_unstable();
            for (_, _, name) in fewest.into_iter().take(STRANGERS_MAX / 10) {
                self.strangers.remove(&name);
            }
        }
    }

    fn tidy(&mut self, key: Key) {
        match key {
            Key::User(user) => {
                if self.users.get(&user).is_some_and(Tries::is_empty) {
                    self.users.remove(&user);
                }
            }
            Key::Stranger(name) => {
                if self.strangers.get(&name).is_some_and(Tries::is_empty) {
                    self.strangers.remove(&name);
                }
            }
        }
    }
}

impl Tries {
    /// The count ends as the directory's does, unless one that goes on with it is being asked; a password is known to be wrong
    /// for a window of its own.
    fn forget(&mut self, now: Instant, window: Duration) {
        if self.asked == 0 && self.last.is_some_and(|last| now.since(last) >= window) {
            self.wrong = 0;
            self.last = None;
        }
        self.passwords.retain(|(_, at)| now.since(*at) < window);
    }

    fn remember(&mut self, password: Tag, now: Instant, settings: &Settings) {
        // After a right one the count begins anew, and what was wrong before is known still: the oldest goes.
        let most = settings.wrong_passwords_max.saturating_add(settings.wrong_passwords_of_known);
        if self.passwords.len() >= usize::try_from(most).unwrap_or(usize::MAX).max(1) {
            self.passwords.remove(0);
        }
        self.passwords.push((password, now));
    }

    fn is_empty(&self) -> bool {
        self.wrong == 0 && self.asked == 0 && self.passwords.is_empty()
    }
}

impl Level {
    /// What has not leaked yet.
    fn left(self, now: Instant, leak: Duration) -> u32 {
        let leaked = now.since(self.at).as_micros() / leak.as_micros().max(1);
        self.wrong.saturating_sub(u32::try_from(leaked).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
