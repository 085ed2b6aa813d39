//! What all requests share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use directory::{SipAddress, Standing, UserState};
use frontend::admin::{SignInFacts, Way};
use node::Instant;
use sign_in::guard::{Account, Guard, Outcome, Verdict};
use tokio::sync::{Notify, Semaphore};

use super::accounts::{Accounts, LocalPassword, Nobody};
use super::book::{Shelf, Wishes};
use super::metrics::Meter;
use super::negotiate::Tickets;
use super::organisation::{Change, Colleague, Judgement, Organisation};
use super::people::PeopleAuthority;
use super::problem::{Kind, Problem};
use super::settings::Settings;

/// Passwords that the directory judges at once. Each holds a connection; more would slow all of them.
const CHECKS_AT_ONCE_MAX: usize = 32;
/// How long a password waits for others of its account that are being judged, and for its turn. A person waits as long, and the
/// directory's own limits are shorter.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Refusals that speak of passwords leave at whole multiples of this after the request came: what takes a look into
/// memory and what takes a question to the directory end alike. Longer than a bind in a healthy network.
const REFUSAL_STEP: Duration = Duration::from_millis(250);
/// How long a directory that could not be asked is taken to be so where nobody of it asks again. In a longer outage whoever looks for names learns of
/// one in this time.
const SILENCE_REMEMBERED: Duration = Duration::from_secs(600);
/// How often counts that are over are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What requests are answered with.
pub(crate) struct Office {
    pub(super) accounts: Accounts,
    pub(super) people: PeopleAuthority,
    settings: RwLock<Arc<Settings>>,
    tickets: RwLock<Arc<Tickets>>,
    data_dir: PathBuf,
    pub(super) meter: Arc<Meter>,
    pub(super) shelf: Shelf,
    organisation: Option<Arc<dyn Organisation>>,
    guard: Mutex<Guard>,
    /// A password was judged.
    settled: Notify,
    checks: Semaphore,
    started: tokio::time::Instant,
    swept: AtomicU64,
    /// What the directory's last answer was, if it was none.
    silence: Mutex<Option<Silence>>,
    /// What [`Organisation::locks_at`] said when the guard was told.
    locks_at: AtomicU32,
}

/// What an office is made of.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) wishes: Wishes,
    pub(crate) accounts: Accounts,
    /// `None` where the organisation has none that we know.
    pub(crate) organisation: Option<Arc<dyn Organisation>>,
    /// Where the users' CA and the replay cache are kept.
    pub(crate) data_dir: PathBuf,
    /// Fresh at each start.
    pub(crate) seed: [u8; 32],
    pub(crate) meter: Arc<Meter>,
}

/// The directory could not be asked.
#[derive(Clone)]
struct Silence {
    /// What its people are told.
    judgement: Judgement,
    until: Instant,
}

/// Who proved to be somebody, and may sign in.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) facts: SignInFacts,
}

/// What a password was worth.
enum Worth {
    /// It is right.
    Right,
    /// It is right, but has to be changed before it signs in.
    MustChange(Kind),
    Refused(Problem),
}

impl Office {
    pub(crate) fn new(parts: Parts) -> Office {
        let Parts { settings, wishes, accounts, organisation, data_dir, seed, meter } = parts;
        Office {
            people: PeopleAuthority::new(&data_dir, settings.domains.clone()),
            tickets: RwLock::new(Arc::new(Tickets::new(settings.tickets.clone(), &data_dir))),
            data_dir,
            guard: Mutex::new(Guard::new(settings.guard.clone(), seed)),
            settings: RwLock::new(Arc::new(settings)),
            accounts,
            meter,
            shelf: Shelf::new(wishes),
            organisation,
            settled: Notify::new(),
            checks: Semaphore::new(CHECKS_AT_ONCE_MAX),
            started: tokio::time::Instant::now(),
            swept: AtomicU64::new(0),
            silence: Mutex::new(None),
            locks_at: AtomicU32::new(0),
        }
    }

    /// Does what other settings say, from the next request on. The domains stay those of the start.
    pub(crate) fn configure(&self, settings: Settings, wishes: Wishes) {
        self.shelf.configure(wishes);
        let before = self.settings();
        if *before == settings {
            return;
        }
        let locks_at = self.locks_at.load(Relaxed);
        self.guard().configure(settings.guard.clone().below(locks_at));
        if before.tickets != settings.tickets {
            let tickets = Arc::new(Tickets::new(settings.tickets.clone(), &self.data_dir));
            *self.tickets.write().unwrap_or_else(PoisonError::into_inner) = tickets;
        }
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn tickets(&self) -> Arc<Tickets> {
        Arc::clone(&self.tickets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whose name and password these are. An error that tells something about them takes its time.
    pub(super) async fn prove(
        self: &Arc<Self>,
        source: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<Person, Problem> {
        let facts = self.judged(source, name, password).await;
        match facts {
            Ok((facts, None)) => admitted(facts),
            Ok((facts, Some(kind))) => Err(Problem::new(kind).about(facts.address)),
            Err(problem) => Err(problem),
        }
    }

    /// The same for somebody who changes the password: one that has expired will do.
    pub(super) async fn prove_to_change(
        self: &Arc<Self>,
        source: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<Person, Problem> {
        let (facts, _) = self.judged(source, name, password).await?;
        Ok(Person { facts })
    }

    /// Sets another password for somebody who has just proved the old one.
    pub(super) async fn change(
        self: &Arc<Self>,
        person: &Person,
        old: &str,
        new: &str,
    ) -> Result<(), Problem> {
        let refused = |reason: String| Problem::new(Kind::NewPasswordRefused).saying(reason);
        match (&person.facts.way, &self.organisation) {
            (Way::Local, _) => {
                let address = person.facts.address.clone();
                self.accounts.set_password(address, new).await?.map_err(refused)?;
            }
            (Way::Directory { .. }, None) => return Err(Kind::CannotChangePassword.into()),
            (Way::Directory { bind_name, object, .. }, Some(organisation)) => {
                let colleague = Colleague { bind_name: bind_name.clone(), object: *object };
                match organisation.change(&colleague, old, new).await {
                    Change::Done => {}
                    Change::WrongOld => return Err(Kind::WrongNameOrPassword.into()),
                    Change::NewRefused(reason) => return Err(refused(reason)),
                    Change::Forbidden(reason) => {
                        tracing::warn!(
                            event = "password-not-changed",
                            reason,
                            "the directory does not let it be changed"
                        );
                        return Err(Kind::CannotChangePassword.into());
                    }
                    Change::Unreachable { reason, retry_after } => {
                        return Err(unreachable(&reason, retry_after));
                    }
                    Change::Unanswered { reason } => return Err(unanswered(&reason)),
                }
            }
        }
        self.guard().password_changed(person.facts.user);
        // What was signed in with the old one ends.
        self.accounts.revoke_tokens(person.facts.user).await
    }

    pub(super) fn wall_unix_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Accounts, names of nobody, and sources with wrong passwords.
    pub(crate) fn counted(&self) -> (usize, usize, usize) {
        self.guard().counted()
    }

    async fn judged(
        self: &Arc<Self>,
        source: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<(SignInFacts, Option<Kind>), Problem> {
        let came = tokio::time::Instant::now();
        let judged = self.judged_at_once(source, name, password).await;
        if judged.as_ref().is_err_and(|problem| problem.kind.is_refused_sign_in()) {
            let steps = came.elapsed().as_millis() / REFUSAL_STEP.as_millis() + 1;
            tokio::time::sleep_until(came + REFUSAL_STEP * u32::try_from(steps).unwrap_or(u32::MAX)).await;
        }
        judged
    }

    async fn judged_at_once(
        self: &Arc<Self>,
        source: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<(SignInFacts, Option<Kind>), Problem> {
        if password.is_empty() {
            return Err(Kind::EmptyPassword.into());
        }
        let found = self.accounts.find(name.to_owned()).await?;
        let account = match &found {
            Ok(facts) => match facts.way {
                Way::Local => Account::User(facts.user),
                Way::Directory { .. } => Account::Followed(facts.user),
            },
            Err(nobody) => Account::Nobody(&nobody.counts_as),
        };
        let about = |problem: Problem| match &found {
            Ok(facts) => problem.about(facts.address.clone()),
            Err(_) => problem,
        };
        let ticket = self.turn(source, account, password).await.map_err(about)?;
        // Whoever hangs up does not take back what the directory was asked: its answer is counted either way.
        let office = Arc::clone(self);
        let (asked, password) = (found.clone(), zeroize::Zeroizing::new(password.to_owned()));
        let judging = tokio::spawn(async move {
            let (outcome, worth) = match &asked {
                Ok(facts) => office.worth(facts, &password, source).await,
                Err(nobody) => office.worth_nowhere(nobody),
            };
            let locks_at = match &asked {
                Ok(facts) if outcome == Outcome::Wrong => office.locks_person_at(facts).await,
                _ => None,
            };
            {
                let mut guard = office.guard();
                if let (Ok(facts), Some(locks_at)) = (&asked, locks_at) {
                    guard.learn(facts.user, locks_at);
                }
                guard.settle(office.now(), ticket, outcome);
            }
            office.settled.notify_waiters();
            worth
        });
        let worth = judging.await.map_err(|error| {
            tracing::error!(event = "web-failed", %error, "a password was not judged");
            Problem::new(Kind::Fault)
        })?;
        match (worth, found) {
            (Worth::Refused(problem), Ok(facts)) => Err(problem.about(facts.address)),
            (Worth::Refused(problem), Err(_)) => Err(problem),
            (Worth::Right, Ok(facts)) => Ok((facts, None)),
            (Worth::MustChange(kind), Ok(facts)) => Ok((facts, Some(kind))),
            (Worth::Right | Worth::MustChange(_), Err(_)) => unreachable!("nobody has no right password"),
        }
    }

    /// Waits until the password may be asked, or is known to be wrong, or will not be looked at.
    async fn turn(
        &self,
        source: IpAddr,
        account: Account<'_>,
        password: &str,
    ) -> Result<sign_in::guard::Ticket, Problem> {
        let until = tokio::time::Instant::now() + TURN_WAIT;
        loop {
            // Before the question: what is settled between it and the wait is not missed.
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            match self.guard().begin(self.now(), source, account, password) {
                Verdict::Ask(ticket) => return Ok(ticket),
                Verdict::KnownWrong => return Err(Kind::WrongNameOrPassword.into()),
                Verdict::Blocked { retry_after } => {
                    return Err(Problem::new(Kind::TooManyWrongPasswords).retry_after(retry_after));
                }
                Verdict::Wait => {}
            }
            if tokio::time::timeout_at(until, settled).await.is_err() {
                return Err(Problem::new(Kind::TooManyWrongPasswords).retry_after(TURN_WAIT));
            }
        }
    }

    async fn worth(&self, facts: &SignInFacts, password: &str, source: IpAddr) -> (Outcome, Worth) {
        match (&facts.way, &self.organisation) {
            (Way::Local, _) => self.worth_here(facts, password, source).await,
            (Way::Directory { bind_name, object, .. }, Some(organisation)) => {
                let colleague = Colleague { bind_name: bind_name.clone(), object: *object };
                let turn = tokio::time::timeout(TURN_WAIT, self.checks.acquire()).await;
                let Ok(Ok(_place)) = turn else {
                    return (
                        Outcome::Unjudged,
                        Worth::Refused(Problem::new(Kind::Busy).retry_after(TURN_WAIT)),
                    );
                };
                let judgement = organisation.check(&colleague, password).await;
                self.heard(&judgement);
                worth_there(judgement)
            }
            (Way::Directory { .. }, None) => {
                let retry_after = TURN_WAIT;
                let judgement =
                    Judgement::Unreachable { reason: "no [directory] is configured".into(), retry_after };
                self.heard(&judgement);
                worth_there(judgement)
            }
        }
    }

    /// At how many wrong passwords the directory locks somebody, where it is to be learnt.
    async fn locks_person_at(&self, facts: &SignInFacts) -> Option<u32> {
        match (&facts.way, &self.organisation) {
            (Way::Directory { bind_name, object, .. }, Some(organisation)) => {
                let colleague = Colleague { bind_name: bind_name.clone(), object: *object };
                organisation.locks_person_at(&colleague).await
            }
            _ => None,
        }
    }

    /// Remembers whether the directory can be asked.
    fn heard(&self, judgement: &Judgement) {
        let silence = match judgement {
            Judgement::Unreachable { .. } | Judgement::Unanswered { .. } => {
                Some(Silence { judgement: judgement.clone(), until: self.now() + SILENCE_REMEMBERED })
            }
            _ => None,
        };
        *self.silence.lock().unwrap_or_else(PoisonError::into_inner) = silence;
    }

    /// What a password of nobody is worth. While the directory cannot be asked its people are told so, and local people are told whether theirs is
    /// right: names of nobody are answered like the ones or the others, each always alike, so that no answer tells who is there.
    fn worth_nowhere(&self, nobody: &Nobody) -> (Outcome, Worth) {
        let silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match silence.filter(|silence| self.now() < silence.until) {
            Some(silence) if self.guard().draw(&nobody.counts_as) => worth_there(silence.judgement),
            _ => (Outcome::Wrong, Worth::Refused(Kind::WrongNameOrPassword.into())),
        }
    }

    async fn worth_here(&self, facts: &SignInFacts, password: &str, source: IpAddr) -> (Outcome, Worth) {
        match self.accounts.check_password(facts.user, password, source).await {
            Ok(LocalPassword::Right) => (Outcome::Right, Worth::Right),
            Ok(LocalPassword::Wrong) => (Outcome::Wrong, Worth::Refused(Kind::WrongNameOrPassword.into())),
            Ok(LocalPassword::Disabled) => (Outcome::Unjudged, Worth::Refused(Kind::AccountDisabled.into())),
            Err(problem) => (Outcome::Unjudged, Worth::Refused(problem)),
        }
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let due = Instant(self.swept.load(Relaxed)) + SWEEP_INTERVAL;
        if now >= due {
            self.swept.store(now.0, Relaxed);
            guard.sweep(now);
        }
        let locks_at = self.organisation.as_ref().map_or(0, |organisation| organisation.locks_at());
        if self.locks_at.swap(locks_at, Relaxed) != locks_at {
            guard.configure(self.settings().guard.clone().below(locks_at));
        }
        guard
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Person {
    pub(super) fn address(&self) -> &SipAddress {
        &self.facts.address
    }
}

/// Whether somebody with the right password, or a ticket, may sign in. Disabled accounts are told so: whoever comes here has
/// proved to own them.
pub(super) fn admitted(facts: SignInFacts) -> Result<Person, Problem> {
    let kind = match facts.standing {
        Standing::NotEnabled => Kind::NotEnabledHere,
        Standing::Expired => Kind::AccountExpired,
        Standing::LockedOut => Kind::AccountLocked,
        Standing::Disabled | Standing::Gone => Kind::AccountDisabled,
        Standing::Active if facts.state == UserState::Disabled => Kind::AccountDisabled,
        Standing::Active => return Ok(Person { facts }),
    };
    Err(Problem::new(kind).about(facts.address))
}

fn worth_there(judgement: Judgement) -> (Outcome, Worth) {
    let refused = |kind: Kind| Worth::Refused(kind.into());
    match judgement {
        Judgement::Right => (Outcome::Right, Worth::Right),
        Judgement::Wrong => (Outcome::Wrong, refused(Kind::WrongNameOrPassword)),
        Judgement::Locked => (Outcome::Unjudged, refused(Kind::AccountLocked)),
        Judgement::Disabled => (Outcome::Unjudged, refused(Kind::AccountDisabled)),
        Judgement::AccountExpired => (Outcome::Unjudged, refused(Kind::AccountExpired)),
        Judgement::PasswordExpired => (Outcome::Unjudged, Worth::MustChange(Kind::PasswordExpired)),
        Judgement::MustChange => (Outcome::Unjudged, Worth::MustChange(Kind::PasswordMustChange)),
        Judgement::Restricted => (Outcome::Unjudged, refused(Kind::SignInRestricted)),
        Judgement::Unreachable { reason, retry_after } => {
            (Outcome::Unjudged, Worth::Refused(unreachable(&reason, retry_after)))
        }
        Judgement::Unanswered { reason } => (Outcome::Unanswered, Worth::Refused(unanswered(&reason))),
    }
}

fn unreachable(reason: &str, retry_after: Duration) -> Problem {
    tracing::warn!(event = "directory-unreachable", reason, "nobody can be asked about a password");
    Problem::new(Kind::DirectoryUnreachable).retry_after(retry_after)
}

fn unanswered(reason: &str) -> Problem {
    unreachable(reason, TURN_WAIT)
}
