//! The thread itself: the replicator, its clock and its deadline.

use std::collections::BTreeMap;
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

/// A running thread.
pub(crate) struct DirectoryThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl DirectoryThread {
    /// Follows a directory until it is stopped. Should it fail, SIP goes on, and the log says so.
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
        let asked = Arc::clone(&passwords);
        let thread = std::thread::Builder::new().name("directory".to_owned()).spawn(move || {
            if let Err(error) = run(handle, changed, ordered, &asked, &meter, stopped) {
                tracing::error!(
                    event = "directory-failed",
                    "the directory is not followed any more: {error:#}"
                );
            }
        });
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

fn run(
    handle: Handle<FrontEnd>,
    mut changed: watch::Receiver<Followed>,
    mut orders: mpsc::Receiver<Order>,
    passwords: &Passwords,
    meter: &Meter,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(event = "directory-priority", %error, "the directory is as urgent as SIP");
    }
    let runtime = net::runtime().context("no runtime can be made")?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let clock = Clock(Instant::now());
        loop {
            let followed = changed.borrow_and_update().clone();
            let mut round = Round::begin(&handle, &followed, clock)?;
            tokio::select! {
                // Whether it was told to stop or who could tell it is gone is all the same.
                _ = &mut stopped => return Ok(()),
                // The sender goes with the operator's thread, just before this one.
                Ok(()) = changed.changed() => {
                    tracing::info!(event = "directory-settings", "other settings: everything is compared anew");
                }
                () = round.follow(&mut orders, passwords, meter) => return Ok(()),
            }
            round.end("the settings changed; say it again");
        }
    })
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
            self.carry_out();
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
    fn carry_out(&mut self) {
        while let Some(output) = self.replicator.poll_output() {
            match output {
                Output::Load => self.want(Want::Load),
                Output::Commit(batch) => self.want(Want::Commit(batch)),
                Output::Task(task) => {
                    self.tasks.try_send(task).expect("the replicator asks for one task at a time");
                }
                Output::Log(report) => drop(self.log.write(self.clock.now().monotonic, &report)),
                Output::Progress(progress) => self.tell(progress),
                Output::Answer(token, answer) => {
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
