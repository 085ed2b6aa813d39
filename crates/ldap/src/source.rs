//! Carries out the replicator's tasks, on one connection, in a task of its own: whoever waits for an event may stop waiting at any time,
//! and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use directory_source::{Event, Failure, Preference, ServerFacts, ServerKind, Task};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, info};

use crate::account::Account;
use crate::changes::Following;
use crate::connection::{Connection, within};
use crate::error::Error;
use crate::facts::{self, Known};
use crate::notification;
use crate::servers::Locator;

/// Events that wait to be taken; while they do, nothing is read.
const EVENTS_WAITING_MAX: usize = 4;
/// Servers that let us connect but not sign in or read, and that are left for the next one, in one go.
const SERVERS_TRIED_MAX: usize = 4;
/// For a task, all in all. Reading 100,000 entries takes minutes; beyond this something goes round in circles.
const TASK_TIME: Duration = Duration::from_hours(1);

/// What a source is told once.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Where the servers are.
    pub locator: Arc<Locator>,
    /// Who reads.
    pub account: Account,
    /// What the servers speak.
    pub kind: ServerKind,
    /// Where reading begins; without it at the head of the server's naming context.
    pub base: Option<String>,
}

/// The directory as the replicator sees it. Dropping it ends its connections.
pub struct Source {
    tasks: mpsc::Sender<Task>,
    events: mpsc::Receiver<Event>,
    /// A task was given, and its last event was not taken.
    is_busy: bool,
    worker: AbortHandle,
}

/// A task was given before the last event of the one before it was taken; it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task before is not over")]
pub struct Busy;

impl Source {
    /// Starts; nothing is connected to before the first task. Must be called in a tokio runtime.
    pub fn start(config: SourceConfig) -> Source {
        let (tasks, tasks_in) = mpsc::channel(1);
        let (events_out, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let worker = Worker {
            config,
            events: events_out,
            session: None,
            following: Following::default(),
            notifications: None,
        };
        Source { tasks, events, is_busy: false, worker: tokio::spawn(worker.run(tasks_in)).abort_handle() }
    }

    /// Gives a task. Its events come from [`Source::next`].
    pub fn submit(&mut self, task: Task) -> Result<(), Busy> {
        if std::mem::replace(&mut self.is_busy, true) {
            return Err(Busy);
        }
        self.tasks.try_send(task).expect("the worker lives as long as this handle, and has nothing to do");
        Ok(())
    }

    /// The next event. Loses nothing when it is dropped.
    pub async fn next(&mut self) -> Event {
        let event = self.events.recv().await.expect("the worker lives as long as this handle");
        self.is_busy &= !ends_a_task(&event);
        event
    }
}

fn ends_a_task(event: &Event) -> bool {
    match event {
        Event::Connected(_) | Event::Marked(_) | Event::Failed(_) => true,
        Event::Entries { is_last, .. } | Event::Changes { is_last, .. } => *is_last,
        Event::Hint => false,
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// A connection that is signed in, and what is known of its server.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) known: Known,
}

struct Worker {
    config: SourceConfig,
    events: mpsc::Sender<Event>,
    session: Option<Session>,
    following: Following,
    notifications: Option<notification::Listening>,
}

/// Nobody takes events any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Why a task ended early.
pub(crate) enum Stopped {
    /// It failed.
    Failed(Error),
    /// Nobody is interested.
    Gone,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Failed(error)
    }
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Stopped {
        Stopped::Gone
    }
}

/// Where events go.
#[derive(Clone, Copy)]
pub(crate) struct Events<'a>(&'a mpsc::Sender<Event>);

impl Events<'_> {
    pub(crate) async fn send(self, event: Event) -> Result<(), Gone> {
        self.0.send(event).await.map_err(|_| Gone)
    }
}

impl Worker {
    async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        while let Some(task) = tasks.recv().await {
            let host =
                self.session.as_ref().map_or("directory", |session| session.connection.host()).to_owned();
            let done = within(&host, "the task", TASK_TIME, self.carry_out(task)).await;
            match done.map_err(Stopped::Failed).flatten() {
                Ok(()) => {}
                Err(Stopped::Gone) => return,
                Err(Stopped::Failed(error)) => {
                    if self.fail(error).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, task: Task) -> Result<(), Stopped> {
        let events = Events(&self.events);
        if let Task::Connect(preference) = &task {
            // The old one is given up whatever becomes of the new one.
            self.session = None;
            let session = connect(&self.config, preference).await?;
            info!(server = session.connection.host(), "connected to the directory");
            let facts: ServerFacts = session.known.facts.clone();
            if session.known.has_notification && self.notifications.is_none() {
                let listening = notification::Listening::start(self.config.clone(), self.events.clone());
                self.notifications = Some(listening);
            }
            self.session = Some(session);
            return Ok(events.send(Event::Connected(Box::new(facts))).await?);
        }
        let session = self
            .session
            .as_mut()
            .ok_or_else(|| Error::Closed { host: "directory".to_owned(), notice: None })?;
        match task {
            Task::Connect(_) => unreachable!("it was carried out"),
            Task::Mark(selection) => {
                let watermark = self.following.mark(session, &selection).await?;
                events.send(Event::Marked(watermark)).await?;
            }
            Task::ReadAll(selection) => {
                let everybody = session.read_all(&selection, events).await?;
                self.following.count(session, everybody);
            }
            Task::ReadEntries { ids, selection } => {
                for id in session.read_entries(&ids, &selection, events).await? {
                    self.following.add(id);
                }
            }
            Task::ReadChanges { since, selection } => {
                self.following.read_changes(session, since, &selection, events).await?;
            }
        }
        Ok(())
    }

    async fn fail(&mut self, error: Error) -> Result<(), Gone> {
        debug!(%error, "a task of the directory failed");
        if let Some(session) = self.session.take()
            && error.is_of_the_server()
        {
            self.config.locator.blame(session.connection.host());
        }
        self.following.forget_session();
        let failure = Failure { kind: error.kind(), text: error.to_string() };
        Events(&self.events).send(Event::Failed(failure)).await
    }
}

/// Connects and signs in at the first server where that works.
async fn connect(config: &SourceConfig, preference: &Preference) -> Result<Session, Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        let mut connection = config.locator.connect_to_one_of(preference).await?;
        match introduce(config, &mut connection).await {
            Ok(known) => {
                config.locator.praise(connection.host());
                return Ok(Session { connection, known });
            }
            Err(error) => {
                if !error.is_of_the_server() {
                    return Err(error);
                }
                config.locator.blame(connection.host());
                if tried == SERVERS_TRIED_MAX {
                    return Err(error);
                }
                debug!(%error, "a directory server lets us connect and no more");
            }
        }
    }
}

pub(crate) async fn introduce(config: &SourceConfig, connection: &mut Connection) -> Result<Known, Error> {
    config.locator.sign_in(&config.account, connection).await?;
    facts::known(connection, config.kind, config.base.as_deref()).await
}
