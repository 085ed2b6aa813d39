//! The thread itself: the replicator, its clock and its deadline.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use directory_source::Event;
use frontend::FrontEnd;
use net::{Handle, Log};
use node::{Now, UnixMillis};
use replicator::{Answer, COMMANDS_MAX, Command, CommandToken, Input, Output, Progress, Replicator};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::home::{self, Want};
use super::link::Order;
use super::{Followed, Following, Link, Meter, Passwords, source};

/// How much less urgent this thread is than that of SIP, in steps of nice(2): where both want a core, SIP gets ten times as much of
/// it. Reading a large directory takes seconds of work, and nobody waits for it.
const NICENESS: i32 = 10;
/// Inputs that wait. Each may be a page of a thousand entries with photos, so that more would cost memory and gain nothing.
const INPUTS_MAX: usize = 4;
/// Before what failed is begun anew: a file of the configuration may be there by then. Each time costs next to nothing.
const AGAIN: Duration = Duration::from_secs(10);

/// A running thread.
pub(crate) struct DirectoryThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl DirectoryThread {
    /// Follows a directory until it is stopped. Should it fail, SIP goes on, an alarm says so, and it is begun anew.
    pub(crate) fn start(
        handle: Handle<FrontEnd>,
        followed: Followed,
        passwords: Arc<Passwords>,
    ) -> anyhow::Result<(DirectoryThread, Link, Following)> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (orders, ordered) = mpsc::channel(COMMANDS_MAX);
        let (changes, changed) = watch::channel(followed);
        let meter = Arc::<Meter>::default();
        let link = Link { orders, meter: Arc::clone(&meter) };
        let work =
            Work { handle, changed, orders: ordered, passwords: Arc::clone(&passwords), meter, stopped };
        let thread = std::thread::Builder::new().name("directory".to_owned()).spawn(move || work.go_on());
        let thread = DirectoryThread { stop, thread: thread.context("no thread can be made")? };
        Ok((thread, link, Following { followed: changes, passwords }))
    }

    /// Ends it. What was not committed is read again after the next start.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!(event = "directory-failed", "the thread of the directory panicked");
        }
    }
}

/// What the thread does, and who talks to it.
struct Work {
    handle: Handle<FrontEnd>,
    changed: watch::Receiver<Followed>,
    orders: mpsc::Receiver<Order>,
    passwords: Arc<Passwords>,
    meter: Arc<Meter>,
    stopped: oneshot::Receiver<()>,
}

impl Work {
    /// Until it is told to stop. Whatever fails is an alarm, and begun anew: accounts that nobody cuts off any more must not go unseen.
    fn go_on(mut self) {
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(event = "directory-priority", %error, "the directory is as urgent as SIP");
        }
        loop {
            // What a panic left half done is not looked at again: a run makes everything anew.
            let reason = match catch_unwind(AssertUnwindSafe(|| self.run())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "the thread panicked; the log says where".to_owned(),
            };
            tracing::error!(event = "directory-failed", "the directory is not followed: {reason}");
            self.meter.fail(&reason);
            if self.wait(&reason).is_break() {
                return;
            }
        }
    }

    /// Waits until it is worth another try, and refuses meanwhile. Breaks when it is told to stop.
    fn wait(&mut self, reason: &str) -> ControlFlow<()> {
        let Ok(runtime) = net::runtime() else {
            // The system has no room for one, and there is nothing that could be waited with.
            std::thread::park_timeout(AGAIN);
            return ControlFlow::Continue(());
        };
        let Work { changed, orders, stopped, .. } = self;
        runtime.block_on(async {
            let until = Instant::now() + AGAIN;
            loop {
                tokio::select! {
                    _ = &mut *stopped => return ControlFlow::Break(()),
                    // The sender goes with the operator's thread, just before this one.
                    changed = changed.changed() => return match changed {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    },
                    order = orders.recv() => {
                        let Some(order) = order else { return ControlFlow::Break(()) };
                        let failed = Answer::Failed(format!("the directory is not followed: {reason}"));
                        // Whoever gave it may be gone.
                        drop(order.answer.send(failed));
                    }
                    () = tokio::time::sleep_until(until) => return ControlFlow::Continue(()),
                }
            }
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let runtime = net::runtime().context("no runtime can be made")?;
        let Work { handle, changed, orders, passwords, meter, stopped } = self;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let clock = Clock(Instant::now());
            let followed = changed.borrow_and_update().clone();
            let mut round = Round::begin(handle, &followed, clock)?;
            meter.recover();
            loop {
                tokio::select! {
                    // Whether it was told to stop or who could tell it is gone is all the same.
                    _ = &mut *stopped => return Ok(()),
                    // The sender goes with the operator's thread, just before this one.
                    Ok(()) = changed.changed() => {}
                    () = round.follow(orders, passwords, meter) => return Ok(()),
                }
                let followed = changed.borrow_and_update().clone();
                match Round::begin(handle, &followed, clock) {
                    Ok(new) => {
                        tracing::info!(
                            event = "directory-settings",
                            "other settings: everything is compared anew"
                        );
                        round.end("the settings changed; say it again");
                        round = new;
                        meter.recover();
                    }
                    Err(error) => {
                        let reason = format!("{error:#}; it is followed as it was configured before");
                        tracing::error!(event = "directory-failed", "other settings are not taken: {reason}");
                        meter.fail(&reason);
                    }
                }
            }
        })
    }
}

/// Both clocks, of which one begins with the thread.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Now {
        let since = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: node::Instant(since),
            wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn at(self, instant: node::Instant) -> Instant {
        self.0 + Duration::from_micros(instant.0)
    }
}

/// One replicator with its driver and its home, from one change of the settings to the next.
struct Round {
    replicator: Replicator,
    clock: Clock,
    log: Log,
    inputs: mpsc::Receiver<Input>,
    tasks: mpsc::Sender<directory_source::Task>,
    wants: mpsc::Sender<Want>,
    /// Ended with this.
    helpers: [AbortHandle; 2],
    /// Administrators who wait, by the token of their command.
    waiting: BTreeMap<CommandToken, Order>,
    token_last: u64,
}

impl Round {
    fn begin(handle: &Handle<FrontEnd>, followed: &Followed, clock: Clock) -> anyhow::Result<Round> {
        let config = source::config(followed)?;
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let (tasks, wanted_tasks) = mpsc::channel(1);
        let (wants, wanted) = mpsc::channel(1);
        let source = source::serve(config, wanted_tasks, sender.clone());
        let source = tokio::task::spawn_local(source).abort_handle();
        let home = tokio::task::spawn_local(home::serve(handle.clone(), wanted, sender)).abort_handle();
        Ok(Round {
            replicator: Replicator::new(followed.replicator()),
            clock,
            log: Log::default(),
            inputs,
            tasks,
            wants,
            helpers: [source, home],
            waiting: BTreeMap::new(),
            token_last: 0,
        })
    }

    /// Returns when nobody can give orders any more: the process ends.
    async fn follow(&mut self, orders: &mut mpsc::Receiver<Order>, passwords: &Passwords, meter: &Meter) {
        loop {
            self.carry_out(meter);
            let deadline = self.replicator.next_deadline().map(|at| self.clock.at(at));
            // A round is over: before it is, nothing that matters is known, and a report costs a look at everything.
            if deadline.is_some() {
                meter.set(&self.replicator);
            }
            let deadline = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                Some(input) = self.inputs.recv() => input,
                order = orders.recv() => match order {
                    Some(order) => self.ordered(order),
                    None => return,
                },
                () = deadline => Input::Timer,
            };
            if let Input::Event(Event::Connected(facts)) = &input {
                passwords.lock_at(facts.lockout_threshold);
            }
            self.replicator.handle(self.clock.now(), input);
        }
    }

    fn ordered(&mut self, order: Order) -> Input {
        self.token_last += 1;
        let token = CommandToken(self.token_last);
        let command = order.command;
        if command != Command::Report {
            tracing::info!(event = "administration", call = ?command, "asked over the control socket");
        }
        self.waiting.insert(token, order);
        Input::Command(token, command)
    }

    /// Does all that the replicator wants.
    fn carry_out(&mut self, meter: &Meter) {
        while let Some(output) = self.replicator.poll_output() {
            match output {
                Output::Load => self.want(Want::Load),
                Output::Commit(batch) => self.want(Want::Commit(batch)),
                Output::Task(task) => {
                    self.tasks.try_send(task).expect("the replicator asks for one task at a time");
                }
                Output::Log(report) => drop(self.log.write(self.clock.now().monotonic, &report)),
                Output::Progress(progress) => self.tell(progress),
                Output::Answer(token, mut answer) => {
                    if let Answer::Report(report) = &mut answer {
                        report.alarms.extend(meter.trouble());
                    }
                    if let Some(order) = self.waiting.remove(&token) {
                        // Whoever gave it may be gone.
                        drop(order.answer.send(answer));
                    }
                }
            }
        }
        self.log.tick(self.clock.now().monotonic);
    }

    fn want(&mut self, want: Want) {
        self.wants.try_send(want).expect("the replicator wants one thing of the home at a time");
    }

    fn tell(&mut self, progress: Progress) {
        for order in self.waiting.values() {
            order.progress.send_replace(Some(progress));
        }
    }

    /// Answers those who wait.
    fn end(&mut self, why: &str) {
        for (_, order) in std::mem::take(&mut self.waiting) {
            // Whoever gave it may be gone.
            drop(order.answer.send(Answer::Failed(why.to_owned())));
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        for helper in &self.helpers {
            helper.abort();
        }
    }
}
