//! The machine.
//!
//! ```text
//!             ┌──── local: a time has come ─────────────────────────────────┐
//!   Idle ──► Loading ──► Connecting ──► Marking ──► ReadingAll ─┐           ▼
//!    ▲          (only when needed)  └─► ReadingChanges ─────────┴─► ReadingEntries ─► plan
//!    │                                                                         │  held, or nothing to do
//!    ├─────────────────────────────────────────────────────────────────────────┤
//!    └──────────────── Committing ◄──► ReadingPhotos ◄─────────────────────────┘
//! ```

mod commit;
mod expiry;
mod lag;
mod reading;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use directory::{ObjectId, SipAddress, Standing};
use directory_source::{Event, FailureKind, Selection, ServerFacts, Task, Watermark};
use federation::TrustedServer;
use node::{Instant, Level, Metric, MetricKind, Now};

use self::lag::Lag;
use crate::alarms::{Alarms, Kind};
use crate::chunk::{Chunk, Photos};
use crate::claims::Blocked;
use crate::io::{
    Account, Answer, COMMANDS_MAX, Command, CommandToken, Input, Loaded, Output, Progress, Stage,
};
use crate::known::{Known, KnownAccount, KnownObject};
use crate::losses::{Allowed, Further, Limits, Stock, WINDOW, is_in_use};
use crate::plan::{Plan, Sight};
use crate::report::{Alarm, FINDINGS_MAX, Finding, FindingKind, Held, Report, Round, ServerReport};
use crate::settings::Settings;
use crate::state::State;
use crate::view::View;

/// Longest time between two tries to reach a directory: an operator who mended it sees so within a minute.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Shortest time between two rounds that a server's notifications may cause. Each costs the server a search; a tenth of what "within
/// seconds" allows.
pub const HINT_GAP: Duration = Duration::from_millis(250);
/// When an address that the home refused is tried again: the local account that had it may be gone.
pub const REFUSED_AGAIN: Duration = Duration::from_secs(600);
/// Shortest time between two comparisons of everything that somebody causes who is whole again while a round is held.
const COMPARED_AGAIN: Duration = Duration::from_secs(60);
/// Rounds that may follow each other without a pause because the home refused something. The second finds another way for those that
/// were refused, the third for those who stood behind them.
const ROUNDS_ON_END_MAX: u32 = 3;

/// The User Replicator.
///
/// It is fed with [`handle`](Replicator::handle) and drained with [`poll_output`](Replicator::poll_output) until that gives `None`; then
/// [`next_deadline`](Replicator::next_deadline) says when [`Input::Timer`] is due. The caller carries the outputs out in their order and
/// answers each [`Output::Load`], [`Output::Task`] and [`Output::Commit`]; at most one of them is under way.
#[derive(Debug)]
pub struct Replicator {
    settings: Settings,
    selection: Selection,
    selection_of_entries: Selection,
    view: View,
    /// Whether the view is the whole directory.
    is_whole: bool,
    /// How far the view is.
    watermark: Option<Watermark>,
    /// The last change that was told: see [`State::change`].
    change: Option<(ObjectId, u64)>,
    known: Known,
    /// Whether the home has told what it has, and nothing went wrong since.
    is_known: bool,
    state: State,
    /// What the server said last.
    facts: Option<ServerFacts>,
    is_connected: bool,
    /// Whether the server may lag behind what was taken over.
    lag: Option<Lag>,
    /// Of whom the home may have something else than it should.
    dirty: BTreeSet<ObjectId>,
    /// Who has an account in use, although the directory told that it was deleted.
    deleted: BTreeSet<ObjectId>,
    /// Whether everything must be compared.
    is_all_dirty: bool,
    /// Whether somebody became dirty since a plan was held.
    is_plan_stale: bool,
    /// While a round is held: whose loss may be a right that is missing, who of them was looked at last, and how many had been cut off
    /// lately.
    suspects: BTreeSet<ObjectId>,
    suspect_last: ObjectId,
    cut_off_before: usize,
    blocked: Blocked,
    blocked_until: BTreeMap<SipAddress, Instant>,
    /// What changes by itself, and when, in milliseconds since 1970.
    due: BTreeSet<(u64, ObjectId)>,
    due_of: BTreeMap<ObjectId, u64>,
    conflicts: BTreeMap<ObjectId, Vec<FindingKind>>,
    /// When locks were seen that were on, in milliseconds since 1970.
    lock_seen: BTreeMap<ObjectId, u64>,
    /// Who must be read again although no change says so.
    reread: BTreeSet<ObjectId>,
    /// Whether the home refused something of this round.
    is_refused: bool,
    photos: Photos,
    /// What the home was told last.
    servers: Vec<TrustedServer>,
    /// Accounts that expire, as long as the directory was not seen: their time comes without it.
    expiring: BTreeMap<ObjectId, Account>,
    alarms: Alarms,
    waiting: VecDeque<(CommandToken, Command)>,
    step: Step,
    job: Job,
    next_poll: Instant,
    /// When everything was read last.
    full_read_end: Option<Instant>,
    last_end: Instant,
    is_hinted: bool,
    failures: u32,
    rounds_on_end: u32,
    in_step_unix_ms: Option<u64>,
    last_round: Option<Round>,
    now: Now,
    outputs: VecDeque<Output>,
}

/// What is waited for.
#[derive(Debug)]
enum Step {
    /// The next deadline.
    Idle,
    /// The home's answer.
    Loading(Box<Gathered>),
    Connecting,
    Marking,
    ReadingAll,
    ReadingChanges,
    ReadingEntries {
        /// Asked for and not seen yet.
        missing: BTreeSet<ObjectId>,
        ahead: Vec<ObjectId>,
    },
    /// Photos for the commit that comes next.
    ReadingPhotos(Box<Chunk>),
    /// The home's answer to this.
    Committing(Box<Chunk>),
}

/// What the home has told so far.
#[derive(Debug, Default)]
struct Gathered {
    known: Known,
    state: Option<Vec<u8>>,
    servers: Vec<TrustedServer>,
    expiring: BTreeMap<ObjectId, Account>,
}

/// A round.
#[derive(Debug, Default)]
struct Job {
    goal: Goal,
    /// Who waits for its end.
    commands: Vec<CommandToken>,
    is_accepted: bool,
    /// Where the directory's changes will be in the view when all is read.
    watermark: Option<Watermark>,
    /// Who is to be read.
    changed: BTreeSet<ObjectId>,
    is_too_large: bool,
    round: Round,
    plan: Plan,
    /// How far the plan is committed.
    done: usize,
}

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Goal {
    /// What follows from the time alone; the directory is not asked.
    #[default]
    Local,
    Poll,
    Full,
    DryRun,
}

impl Replicator {
    /// A replicator that begins with the first [`Input::Timer`].
    pub fn new(settings: Settings) -> Replicator {
        let has_servers = !settings.groups.servers.is_empty();
        let selection = settings.mapping.selection(settings.kind, has_servers);
        Replicator {
            selection_of_entries: settings.mapping.selection_of_entries(&selection, settings.kind),
            selection,
            view: View::new(&settings.groups),
            settings,
            is_whole: false,
            watermark: None,
            change: None,
            known: Known::default(),
            is_known: false,
            state: State::default(),
            facts: None,
            is_connected: false,
            lag: None,
            dirty: BTreeSet::new(),
            deleted: BTreeSet::new(),
            is_all_dirty: true,
            is_plan_stale: true,
            suspects: BTreeSet::new(),
            suspect_last: ObjectId([0; 16]),
            cut_off_before: 0,
            blocked: Blocked::new(),
            blocked_until: BTreeMap::new(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            lock_seen: BTreeMap::new(),
            reread: BTreeSet::new(),
            is_refused: false,
            photos: Photos::default(),
            servers: Vec::new(),
            expiring: BTreeMap::new(),
            alarms: Alarms::default(),
            waiting: VecDeque::new(),
            step: Step::Idle,
            job: Job::default(),
            next_poll: Instant::default(),
            full_read_end: None,
            last_end: Instant::default(),
            is_hinted: false,
            failures: 0,
            rounds_on_end: 0,
            in_step_unix_ms: None,
            last_round: None,
            now: Now { monotonic: Instant::default(), wall: node::UnixMillis::default() },
            outputs: VecDeque::new(),
        }
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Event(Event::Hint) => self.hint(),
            Input::Event(event) => self.event(event),
            Input::Loaded(loaded) => self.loaded(loaded),
            Input::LoadFailed(reason) => {
                if matches!(self.step, Step::Loading(_)) {
                    self.home_failed(reason);
                }
            }
            Input::Committed { refused } => self.committed(refused),
            Input::CommitFailed(reason) => {
                if matches!(self.step, Step::Committing(_)) {
                    self.home_failed(reason);
                }
            }
            Input::Command(token, command) => self.command(token, command),
            Input::Timer => {}
        }
        self.begin_what_is_due();
    }

    /// Takes the next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timer`] is due next; `None` while an answer is waited for.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !matches!(self.step, Step::Idle) {
            return None;
        }
        let local = self.due.first().filter(|_| self.can_look_locally()).map(|(due, _)| *due);
        let due = local.or_else(|| self.next_expiry()).map(|due| {
            let wait = Duration::from_millis(due.saturating_sub(self.now.wall.0));
            self.now.monotonic + wait
        });
        Some(due.map_or(self.next_poll, |due| due.min(self.next_poll)))
    }

    /// Shows every metric.
    pub fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut gauge = |name, help, labels: &[(&'static str, &str)], value: usize| {
            // No figure here comes near 2^52, below which an f64 holds every integer.
            visit(Metric { name, help, kind: MetricKind::Gauge, labels, value: value as f64 });
        };
        let active = self.known.active();
        let all = self.known.accounts().count();
        let accounts = "chancery_directory_accounts";
        let help = "Accounts that follow the organisation's directory.";
        gauge(accounts, help, &[("state", "active")], active);
        gauge(accounts, help, &[("state", "inactive")], all - active);
        gauge(
            "chancery_directory_entries",
            "Entries of the directory that are followed.",
            &[],
            self.view.len(),
        );
        for kind in [
            "unreachable",
            "another-domain",
            "lagging",
            "held",
            "too-many-entries",
            "home-fails",
            "group-missing",
        ] {
            let on = self.alarms.all().filter(|(alarm, _)| alarm.name() == kind).count();
            gauge("chancery_directory_alarms", "What an operator must look at.", &[("alarm", kind)], on);
        }
        let findings = self.findings().count();
        gauge("chancery_directory_findings", "What the directory has that cannot be used.", &[], findings);
    }

    /// How things are.
    pub fn report(&self) -> Report {
        let mut totals = self.view.totals();
        totals.accounts_active = self.known.active();
        totals.accounts_inactive = self.known.accounts().count() - totals.accounts_active;
        let server = self.facts.as_ref().map(|facts| ServerReport {
            host: facts.host.clone(),
            kind: facts.kind,
            domain: facts.domain,
            dns_domain: facts.dns_domain.clone(),
            way: self.watermark.as_ref().map(|watermark| watermark.way().to_owned()),
        });
        let findings: Vec<Finding> = self.findings().take(FINDINGS_MAX).collect();
        Report {
            at_unix_ms: self.now.wall.0,
            server,
            in_step_unix_ms: self.in_step_unix_ms,
            full_read_unix_ms: self.state.full_read_unix_ms,
            totals,
            alarms: self.alarms.all().map(|(_, alarm)| alarm.clone()).collect(),
            last_round: self.last_round.clone(),
            findings_left_off: self.findings().count() - findings.len(),
            findings,
        }
    }

    fn findings(&self) -> impl Iterator<Item = Finding> + '_ {
        let of_entries = self.view.findings.iter().map(|(id, findings)| (*id, &**findings));
        let of_conflicts = self.conflicts.iter().map(|(id, findings)| (*id, findings.as_slice()));
        of_entries.chain(of_conflicts).flat_map(|(object, findings)| {
            let dn = self.view.get(object).map_or_else(String::new, |item| item.dn.to_string());
            findings.iter().map(move |kind| Finding { object, dn: dn.clone(), kind: kind.clone() })
        })
    }

    // Commands and times.

    fn command(&mut self, token: CommandToken, command: Command) {
        if command == Command::Report {
            let report = Box::new(self.report());
            self.outputs.push_back(Output::Answer(token, Answer::Report(report)));
        } else if self.waiting.len() >= COMMANDS_MAX {
            let busy = format!("{COMMANDS_MAX} commands wait already");
            self.outputs.push_back(Output::Answer(token, Answer::Failed(busy)));
        } else {
            self.waiting.push_back((token, command));
        }
    }

    fn hint(&mut self) {
        if matches!(self.step, Step::Idle) {
            self.poll_soon();
        } else {
            self.is_hinted = true;
        }
    }

    fn poll_soon(&mut self) {
        // A notification comes from a server that is there; while none is, the pause between two tries stands.
        if self.is_connected {
            let soon = self.now.monotonic.max(self.last_end + HINT_GAP);
            self.next_poll = self.next_poll.min(soon);
        }
    }

    fn begin_what_is_due(&mut self) {
        if !matches!(self.step, Step::Idle) {
            return;
        }
        if self.next_expiry().is_some_and(|due| due <= self.now.wall.0) {
            self.expire();
        } else if let Some((_, first)) = self.waiting.front() {
            let is_dry = *first == Command::DryRun;
            let (mut taken, mut left) = (Vec::new(), VecDeque::new());
            for (token, command) in self.waiting.drain(..) {
                if (command == Command::DryRun) == is_dry {
                    taken.push((token, command));
                } else {
                    left.push_back((token, command));
                }
            }
            self.waiting = left;
            self.begin_for(taken);
        } else if self.next_poll <= self.now.monotonic {
            // By this process's clock, whether what was read then could be committed or not.
            let is_full_due = self
                .full_read_end
                .is_none_or(|last| self.now.monotonic.since(last) >= self.settings.full_read);
            let goal = if is_full_due || !self.is_whole { Goal::Full } else { Goal::Poll };
            self.rounds_on_end = 0;
            self.begin(Job { goal, ..Job::default() });
        } else if self.can_look_locally() && self.due.first().is_some_and(|(due, _)| *due <= self.now.wall.0)
        {
            self.begin(Job::default());
        }
    }

    fn begin_for(&mut self, commands: Vec<(CommandToken, Command)>) {
        let has = |wanted| commands.iter().any(|(_, command)| *command == wanted);
        let goal = if has(Command::DryRun) {
            Goal::DryRun
        } else if has(Command::Full) || !self.is_whole {
            Goal::Full
        } else {
            Goal::Poll
        };
        let is_accepted = has(Command::Accept);
        let commands = commands.into_iter().map(|(token, _)| token).collect();
        self.rounds_on_end = 0;
        self.begin(Job { goal, is_accepted, commands, ..Job::default() });
    }

    /// Whether there is enough to plan with.
    fn can_look_locally(&self) -> bool {
        self.is_known && self.is_whole && self.facts.is_some()
    }

    // A round.

    fn begin(&mut self, job: Job) {
        self.job = job;
        // The home is asked again before everything is compared: what an operator removed there comes back.
        if self.is_known && !matches!(self.job.goal, Goal::Full | Goal::DryRun) {
            self.connect();
        } else {
            self.step = Step::Loading(Box::default());
            self.outputs.push_back(Output::Load);
        }
    }

    fn loaded(&mut self, loaded: Loaded) {
        let Step::Loading(gathered) = &mut self.step else { return };
        if loaded.state.is_some() {
            gathered.state = loaded.state;
        }
        gathered.servers.extend(loaded.servers);
        for account in &loaded.accounts {
            if is_in_use(account.account.standing) && account.account.expires_unix_ms.is_some() {
                gathered.expiring.insert(account.account.object, account.clone());
            }
            gathered.known.set_account(account.account.object, Some(KnownAccount::new(account)));
        }
        for object in loaded.objects.iter().filter(|object| !object.id.is_local()) {
            gathered.known.set_object(object.id, Some(KnownObject::new(object)));
        }
        if !loaded.is_last {
            return;
        }
        let Gathered { known, state, servers, expiring } = std::mem::take(&mut **gathered);
        self.known = known;
        self.servers = servers;
        self.expiring = if self.is_whole { BTreeMap::new() } else { expiring };
        self.is_known = true;
        self.take_state(state.as_deref());
        self.is_all_dirty = true;
        self.is_plan_stale = true;
        self.clear_alarm(&Kind::HomeFails);
        self.connect();
    }

    fn take_state(&mut self, octets: Option<&[u8]>) {
        let read = octets.map(State::read).transpose().unwrap_or_else(|error| {
            let reason =
                format!("what was remembered of the directory cannot be read, and is forgotten: {error}");
            self.log(Level::Error, "directory-state", reason, Vec::new());
            None
        });
        let before = std::mem::replace(&mut self.state, read.unwrap_or_default());
        // What was seen since the last commit is newer.
        self.state.full_read_unix_ms = before.full_read_unix_ms;
        self.state.invocations.extend(before.invocations);
        for (name, group) in std::mem::take(&mut self.state.groups) {
            self.view.groups.entry(name).or_insert(group);
        }
        let gone: BTreeMap<ObjectId, u64> = self
            .known
            .accounts()
            .filter(|(_, account)| account.standing == Standing::Gone)
            .map(|(id, _)| (id, self.state.gone.get(&id).copied().unwrap_or(self.now.wall.0)))
            .collect();
        self.state.gone = gone;
    }

    /// Goes on when the home is known.
    fn connect(&mut self) {
        if self.job.goal == Goal::Local {
            self.plan();
        } else if self.is_connected && !self.is_lag_due() {
            self.read();
        } else {
            self.forget_tried();
            self.ask_to_connect();
        }
    }

    fn ask_to_connect(&mut self) {
        self.step = Step::Connecting;
        self.task(Task::Connect(self.preference()));
    }

    /// What must be done is what was read less what is known.
    fn plan(&mut self) {
        let touched = self.view.settle();
        self.is_plan_stale |= !touched.is_empty();
        self.dirty.extend(touched);
        if self.is_all_dirty {
            self.dirty.extend(self.view.ids());
            self.dirty.extend(self.known.ids());
            self.is_all_dirty = false;
        }
        self.take_due();
        self.watch_groups();
        self.forget_cut_off();
        let is_cautious = self.is_cautious();
        let is_as_before = !self.is_plan_stale && self.state.cut_off.len() == self.cut_off_before;
        if self.is_held() && is_as_before && !self.job.is_accepted && self.job.goal != Goal::DryRun {
            self.job.round = self.last_round.clone().unwrap_or_default();
            return self.finish();
        }
        self.is_plan_stale = false;
        let plan = Sight { is_cautious, ..self.sight() }.plan(&self.dirty);
        for (id, due) in &plan.due {
            self.set_due(*id, *due);
            self.conflicts.remove(id);
        }
        self.conflicts.extend(plan.assigned.conflicts.iter().map(|(id, found)| (*id, found.clone())));
        // Nobody is dirty any more of whom nothing changes.
        let changing: BTreeSet<ObjectId> = plan.ids.iter().copied().collect();
        self.dirty.retain(|id| changing.contains(id) || plan.doubtful.contains(id));
        self.dirty.extend(&plan.doubtful);
        self.judge(plan);
    }

    fn is_held(&self) -> bool {
        self.alarms.has(&Kind::Held)
    }

    /// Forgets who was cut off long ago, or may use the account again.
    fn forget_cut_off(&mut self) {
        let (now, known) = (self.now.wall.0, &self.known);
        let window = u64::try_from(WINDOW.as_millis()).expect("a day fits");
        self.state.cut_off.retain(|id, at| {
            let is_back = known.account(*id).is_some_and(|account| is_in_use(account.standing));
            at.saturating_add(window) > now && !is_back
        });
    }

    /// Holds what takes away too much.
    fn judge(&mut self, plan: Plan) {
        let servers = self.servers_to_tell(&plan);
        let (mut allowed, mut held) = self.allowed(&plan, servers.as_deref());
        if self.job.is_accepted {
            (allowed, held) = (Allowed::Everything, None);
        } else if self.is_held() && self.is_worth_comparing(&plan, held.is_some()) {
            match self.job.goal {
                // What a hold was about is looked at once more before any of it is believed.
                Goal::Poll => {
                    self.is_plan_stale = true;
                    self.job.goal = Goal::Full;
                    return self.read();
                }
                Goal::Local => {
                    self.is_plan_stale = true;
                    self.job.round = self.last_round.clone().unwrap_or_default();
                    return self.finish();
                }
                Goal::Full | Goal::DryRun => {}
            }
        }
        let round = &mut self.job.round;
        round.at_unix_ms = self.now.wall.0;
        round.is_full = matches!(self.job.goal, Goal::Full | Goal::DryRun);
        round.add(&plan.round);
        round.held.clone_from(&held);
        if self.job.goal == Goal::DryRun {
            // An ordinary round does it.
            self.is_plan_stale = true;
            return self.finish();
        }
        match held {
            None => {
                self.clear_alarm(&Kind::Held);
                self.suspects.clear();
            }
            Some(held) => {
                // Where removals alone are held, everybody else's changes are taken over.
                let are_held = allowed != Allowed::AllButRemovals;
                self.suspects = plan.losses.suspects().filter(|_| are_held).collect();
                self.cut_off_before = self.state.cut_off.len();
                self.raise(Alarm::Held(held));
            }
        }
        self.job.plan = plan;
        match allowed {
            Allowed::Everything => self.take_over(servers),
            Allowed::AllButRemovals => {
                self.job.plan.keep_removed();
                self.take_over(servers);
            }
            Allowed::Only(ids) => {
                self.job.plan.keep_only(&ids, &self.known);
                self.begin_commit(None);
            }
            Allowed::Nothing => self.finish(),
        }
    }

    /// The servers that the directory lists, where they are others than the home was told. Who configures no group for servers says
    /// nothing about them; and nobody looked at, nothing changed.
    fn servers_to_tell(&self, plan: &Plan) -> Option<Vec<TrustedServer>> {
        let has_servers = !self.settings.groups.servers.is_empty();
        let may_differ = has_servers && self.lag.is_none() && !plan.due.is_empty();
        let servers = if may_differ { self.sight().servers() } else { None };
        servers.filter(|servers| self.servers != *servers)
    }

    fn allowed(&self, plan: &Plan, servers: Option<&[TrustedServer]>) -> (Allowed, Option<Held>) {
        let told = self.servers.as_slice();
        let servers = servers.unwrap_or(told);
        let further = Further {
            removed: plan.removed.len(),
            servers_lost: told.iter().filter(|server| !servers.contains(server)).count(),
            servers_left: servers.len(),
        };
        let stock = Stock {
            in_use: self.known.in_use(),
            cut_off_before: self.state.cut_off.keys().filter(|id| !plan.losses.gained.contains(id)).count(),
            objects: self.known.objects(),
        };
        let limits = Limits { percent: self.settings.removal_percent, users: self.settings.removal_users };
        limits.judge(&plan.losses, further, stock, self.now.wall.0, &plan.round.cut_off_names)
    }

    /// While a round is held: whether what is left of the reasons must be looked at once more. It is so when they are too few to hold, or
    /// when somebody is whole again and others may be too.
    fn is_worth_comparing(&self, plan: &Plan, is_held: bool) -> bool {
        let suspects: BTreeSet<ObjectId> = plan.losses.suspects().collect();
        if !is_held {
            return !suspects.is_empty();
        }
        let is_soon = self.full_read_end.is_some_and(|last| self.now.monotonic.since(last) < COMPARED_AGAIN);
        !is_soon && self.suspects.iter().any(|id| !suspects.contains(id))
    }

    /// What was read is how things are.
    fn take_over(&mut self, servers: Option<Vec<TrustedServer>>) {
        if self.job.is_accepted {
            self.state.cut_off.clear();
        }
        let facts = self.facts.as_ref().expect("no plan is made before a server was seen");
        self.state.domain = Some(facts.domain);
        if self.lag.is_none() {
            self.state.watermark.clone_from(&self.watermark);
            self.state.change = self.change.or(self.state.change);
        }
        self.state.groups = self.view.groups.clone();
        if self.job.goal == Goal::Full {
            self.state.full_read_unix_ms = Some(self.now.wall.0);
        }
        self.begin_commit(servers);
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            settings: &self.settings,
            view: &self.view,
            known: &self.known,
            facts: self.facts.as_ref().expect("no plan is made before a server was seen"),
            blocked: &self.blocked,
            gone: &self.state.gone,
            deleted: &self.deleted,
            lock_seen: &self.lock_seen,
            reread: &self.reread,
            is_cautious: self.lag.is_some(),
            at: self.now.wall,
        }
    }

    /// Those whose time has come.
    fn take_due(&mut self) {
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= self.now.wall.0) {
            self.due.remove(&(due, id));
            self.due_of.remove(&id);
            self.dirty.insert(id);
            if self.lock_seen.contains_key(&id) {
                self.reread.insert(id);
            }
            self.is_plan_stale = true;
        }
        let over: Vec<SipAddress> = self
            .blocked_until
            .iter()
            .filter(|(_, until)| **until <= self.now.monotonic)
            .map(|(address, _)| address.clone())
            .collect();
        for address in over {
            self.blocked_until.remove(&address);
            self.blocked.remove(&address);
            self.dirty.extend(self.view.named(crate::view::Key::of_address(&address)));
            self.is_plan_stale = true;
        }
    }

    fn set_due(&mut self, id: ObjectId, due: Option<u64>) {
        if let Some(was) = self.due_of.remove(&id) {
            self.due.remove(&(was, id));
        }
        if let Some(due) = due {
            self.due_of.insert(id, due);
            self.due.insert((due, id));
        }
    }

    fn watch_groups(&mut self) {
        let missing: Vec<Alarm> = self
            .view
            .missing_groups()
            .map(|(setting, dn)| Alarm::GroupMissing { setting, dn: dn.to_string() })
            .collect();
        let is_missing = |kind: &Kind| missing.iter().any(|alarm| Kind::of(alarm) == *kind);
        let over: Vec<Kind> = self
            .alarms
            .all()
            .map(|(kind, _)| kind.clone())
            .filter(|kind| matches!(kind, Kind::GroupMissing(_)) && !is_missing(kind))
            .collect();
        for kind in over {
            self.clear_alarm(&kind);
        }
        for alarm in missing {
            self.raise(alarm);
        }
    }

    /// The round is over, and nothing went wrong.
    fn finish(&mut self) {
        let job = std::mem::take(&mut self.job);
        let is_held = job.round.held.is_some();
        if job.goal != Goal::Local {
            self.failures = 0;
            self.end_round(self.settings.poll);
        }
        self.step = Step::Idle;
        self.photos.clear();
        let Round { added, changed, cut_off, removed, objects, .. } = job.round;
        let is_change = added + changed + cut_off + removed + objects > 0;
        if is_change && !is_held && job.goal != Goal::DryRun {
            let fields = [("added", added), ("changed", changed), ("cut_off", cut_off), ("removed", removed)];
            let fields = fields.into_iter().chain([("objects", objects)]);
            let fields = fields.map(|(name, count)| (name, count.to_string())).collect();
            self.log(Level::Info, "directory-followed", String::new(), fields);
        }
        if self.dirty.is_empty() && matches!(job.goal, Goal::Poll | Goal::Full) && !is_held {
            self.in_step_unix_ms = Some(self.now.wall.0);
        }
        if (is_change || is_held) && job.goal != Goal::DryRun {
            self.last_round = Some(job.round.clone());
        }
        for token in job.commands {
            let round = Box::new(job.round.clone());
            let answer = if job.goal == Goal::DryRun { Answer::Planned(round) } else { Answer::Done(round) };
            self.outputs.push_back(Output::Answer(token, answer));
        }
        if std::mem::take(&mut self.is_hinted) {
            self.poll_soon();
        }
    }

    fn end_round(&mut self, pause: Duration) {
        self.last_end = self.now.monotonic;
        self.next_poll = self.now.monotonic + pause;
    }

    /// The round is over, because something went wrong. What was read stays; what was not committed is still to do.
    fn give_up(&mut self, reason: &str) {
        let job = std::mem::take(&mut self.job);
        self.step = Step::Idle;
        self.photos.clear();
        let pause = self.settings.poll * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.end_round(pause.min(BACKOFF_MAX).max(self.settings.poll));
        for token in job.commands {
            self.outputs.push_back(Output::Answer(token, Answer::Failed(reason.to_owned())));
        }
    }

    fn home_failed(&mut self, reason: String) {
        self.is_known = false;
        self.raise(Alarm::HomeFails { since_unix_ms: self.now.wall.0, reason: reason.clone() });
        self.give_up(&reason);
    }

    // Telling.

    fn task(&mut self, task: Task) {
        self.outputs.push_back(Output::Task(task));
    }

    fn progress(&mut self, stage: Stage, done: usize, total: Option<usize>) {
        self.outputs.push_back(Output::Progress(Progress { stage, done, total }));
    }

    fn log(
        &mut self,
        level: Level,
        event: &'static str,
        reason: String,
        fields: Vec<(&'static str, String)>,
    ) {
        let line = node::Report { level, event, request: None, reason: reason.into(), fields };
        self.outputs.push_back(Output::Log(line));
    }

    fn raise(&mut self, alarm: Alarm) {
        self.outputs.extend(self.alarms.raise(alarm).map(Output::Log));
    }

    fn clear_alarm(&mut self, kind: &Kind) {
        self.outputs.extend(self.alarms.clear(kind).map(Output::Log));
    }
}
