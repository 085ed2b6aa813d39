//! The answering side.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use frontend::admin::{Answer, Call};
use frontend::trace::TraceId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::protocol::{AnswerLine, CallLine, REQUEST_OCTETS_MAX, RefusalKind, Request, ServerFacts, VERSION};
use super::socket::ShortPath;
use crate::backup::Desk;
use crate::directory::{FollowedLine, Link, ReplicateWord, answer_line, progress_line};
use crate::files;
use crate::reload::{self, Mode, ReloadError};

/// Connections served at once; more wait. Administrators are few, and each connection may hold a page of accounts.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may be silent before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the node may take to answer a call, in seconds: a commit on a slow disk.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an empty page of a trace waits for something to happen: soon enough to seem live, and who polls need not
/// wait.
const TRACE_WAIT: Duration = Duration::from_millis(250);
/// How long accepting pauses after it failed, so that a lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often something long says how far it is. A client gives up after 30 seconds of silence.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Brings a call to the node and its answer back; `None` where the node is gone.
pub(crate) type Caller = Rc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Option<Answer>>>>>;

/// Who answers what is asked over the socket.
pub(crate) struct Backend {
    pub(crate) clerk: Rc<dyn Clerk>,
    /// What the operator's thread does itself.
    pub(crate) reload: mpsc::Sender<reload::Request>,
    /// Where there is a database.
    pub(crate) backups: Option<Desk>,
    /// Where a directory is followed.
    pub(crate) directory: Option<Link>,
}

/// Who answers calls for a role.
pub(crate) trait Clerk {
    /// Answers one call.
    fn answer<'a>(
        &'a self,
        call: CallLine,
        session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = AnswerLine> + 'a>>;
    /// The other side of the connection is gone.
    fn end(&self, session: Session) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

/// The clerk of a front end.
pub(crate) struct HomeClerk {
    pub(crate) node: Caller,
    pub(crate) facts: Rc<ServerFacts>,
}

impl Clerk for HomeClerk {
    fn answer<'a>(
        &'a self,
        call: CallLine,
        session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = AnswerLine> + 'a>> {
        Box::pin(answer(call, self, session))
    }

    fn end(&self, session: Session) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            // Whoever watched is gone. One that is over already is no trace any more.
            for trace in session.traces {
                drop((self.node)(Call::TraceStop(trace)).await);
            }
        })
    }
}

/// A bound control socket; its file goes when it is dropped.
pub(crate) struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlServer {
    /// Binds the socket, for its owner only. A file that a killed server left behind is replaced; one that answers
    /// belongs to a running server.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<ControlServer> {
        if let Some(folder) = path.parent() {
            files::create_secret_dir(folder)?;
        }
        let short = ShortPath::of(path).with_context(|| format!("cannot reach {}", path.display()))?;
        if std::os::unix::net::UnixStream::connect(short.as_path()).is_ok() {
            bail!(
                "another server answers at {}\n  help: stop it first; `chancery status --socket {0}` shows it",
                path.display()
            );
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove the left-over {}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(short.as_path())
            .with_context(|| format!("cannot listen on the control socket {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(files::MODE_SECRET))
            .with_context(|| format!("cannot protect {}", path.display()))?;
        Ok(ControlServer { listener, path: path.to_owned() })
    }

    /// Serves until it is dropped. Runs on a local task set.
    pub(crate) async fn run(&self, backend: Rc<Backend>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let backend = Rc::clone(&backend);
                    tokio::task::spawn_local(async move {
                        if let Err(error) = serve(stream, &backend).await {
                            tracing::debug!(event = "control-closed", %error, "a control connection broke");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(event = "control-accept-failed", %error, "no control connection for a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(event = "control-socket-left", path = %self.path.display(), %error, "it could not be removed");
        }
    }
}

async fn serve(stream: UnixStream, backend: &Backend) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let process = credentials.pid().map_or_else(String::new, |pid| format!(", process {pid}"));
    let mut session = Session { peer: format!("uid {}{process}", credentials.uid()), traces: Vec::new() };
    let served = converse(stream, backend, &mut session).await;
    backend.clerk.end(session).await;
    served
}

/// What is known of the other side of a connection.
pub(crate) struct Session {
    pub(crate) peer: String,
    /// Begun over this connection, and ended with it.
    traces: Vec<TraceId>,
}

async fn converse(stream: UnixStream, backend: &Backend, session: &mut Session) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut stream).take(REQUEST_OCTETS_MAX as u64);
        match tokio::time::timeout(IDLE_TIMEOUT, bounded.read_until(b'\n', &mut line)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        let complete = line.last() == Some(&b'\n');
        if line.is_empty() {
            return Ok(());
        }
        let answer = match complete {
            true => match parse(&line) {
                Ok(CallLine::Backup { to }) => match &backend.backups {
                    Some(backups) => back_up(stream.get_mut(), to, backups).await?,
                    None => AnswerLine::refused(RefusalKind::BadRequest, "this server has no database"),
                },
                Ok(CallLine::Reload { dry_run }) => reload(dry_run, backend).await,
                Ok(CallLine::Replicate { what }) => match &backend.directory {
                    Some(link) => replicate(stream.get_mut(), what, link).await?,
                    None => AnswerLine::refused(
                        RefusalKind::Replication,
                        "this server follows no directory: [directory] kind of its configuration names one",
                    ),
                },
                Ok(call) => with_directory(backend.clerk.answer(call, session).await, backend),
                Err(refused) => refused,
            },
            false => AnswerLine::refused(RefusalKind::BadRequest, "the request is no line, or too long"),
        };
        say(stream.get_mut(), &answer).await?;
        if !complete {
            return Ok(());
        }
    }
}

async fn say(stream: &mut UnixStream, answer: &AnswerLine) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

fn parse(line: &[u8]) -> Result<CallLine, AnswerLine> {
    let request: Request = serde_json::from_slice(line).map_err(|error| unreadable(line, &error))?;
    match request.version {
        VERSION => Ok(request.call),
        other => Err(other_version(other.into())),
    }
}

async fn answer(call: CallLine, clerk: &HomeClerk, session: &mut Session) -> AnswerLine {
    let mut call = match call.into_call() {
        Ok(call) => call,
        Err(reason) => return AnswerLine::refused(RefusalKind::BadRequest, reason),
    };
    if let Call::TraceStart(request) = &mut call {
        request.asked_by.clone_from(&session.peer);
    }
    let only_looks = matches!(
        call,
        Call::ListUsers { .. }
            | Call::ShowUser(_)
            | Call::Status
            | Call::Explain { .. }
            | Call::ShowContacts(_)
            | Call::Objects { .. }
            | Call::ShowAccess(_)
            | Call::TracePoll(_)
    );
    if !only_looks {
        tracing::info!(event = "administration", call = ?call, "asked over the control socket");
    }
    let limit = match call {
        Call::ListUsers { limit, .. } => Some(limit),
        Call::ListCalls { limit, .. } | Call::Objects { limit, .. } => usize::try_from(limit).ok(),
        _ => None,
    };
    let mut asked = tokio::time::timeout(CALL_TIMEOUT, (clerk.node)(call.clone())).await;
    if let Ok(Some(Answer::Trace(page))) = &asked
        && page.events.is_empty()
        && !page.is_over
    {
        tokio::time::sleep(TRACE_WAIT).await;
        asked = tokio::time::timeout(CALL_TIMEOUT, (clerk.node)(call)).await;
    }
    match asked {
        Ok(Some(answer)) => {
            if let Answer::TraceStarted { id, .. } = answer {
                session.traces.push(id);
            }
            AnswerLine::new(answer, limit, &clerk.facts)
        }
        Ok(None) => AnswerLine::refused(RefusalKind::Unavailable, "the server is stopping"),
        Err(_) => AnswerLine::refused(
            RefusalKind::Unavailable,
            format!("the server did not finish within {} seconds", CALL_TIMEOUT.as_secs()),
        ),
    }
}

async fn reload(dry_run: bool, backend: &Backend) -> AnswerLine {
    let mode = if dry_run { Mode::DryRun } else { Mode::Apply };
    if mode == Mode::Apply {
        tracing::info!(event = "administration", call = "Reload", "asked over the control socket");
    }
    let (answer, answered) = oneshot::channel();
    let stopping = || AnswerLine::refused(RefusalKind::Unavailable, "the server is stopping");
    if backend.reload.send(reload::Request { mode, answer }).await.is_err() {
        return stopping();
    }
    match answered.await {
        Ok(Ok(reloaded)) => AnswerLine::Reloaded(reloaded),
        Ok(Err(ReloadError::Wrong(error))) => {
            AnswerLine::refused(RefusalKind::Configuration, format!("nothing was changed: {error:#}"))
        }
        Ok(Err(ReloadError::Stopped(error))) => {
            AnswerLine::refused(RefusalKind::Unavailable, format!("not everything was taken over: {error:#}"))
        }
        Err(_) => stopping(),
    }
}

/// Says how far it is until it is done. Where nobody hears it any more, it is given up.
async fn back_up(stream: &mut UnixStream, to: Option<String>, backups: &Desk) -> io::Result<AnswerLine> {
    let refused = |error: anyhow::Error| {
        tracing::warn!(event = "backup-failed", "{error:#}");
        AnswerLine::refused(RefusalKind::Backup, format!("{error:#}"))
    };
    let mut job = match backups.begin(to.map(PathBuf::from)) {
        Ok(job) => job,
        Err(error) => return Ok(refused(error)),
    };
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            taken = job.taken() => return Ok(match taken {
                Ok(taken) => {
                    tracing::info!(event = "backed-up", folder = %taken.folder.display(), "a backup is complete");
                    AnswerLine::Backup(Box::new(taken))
                }
                Err(error) => refused(error),
            }),
            _ = ticks.tick() => {
                let (done, total) = job.progress();
                say(stream, &AnswerLine::Progress { done, total }).await?;
            }
        }
    }
}

/// The status tells how the directory is followed, too.
fn with_directory(mut answer: AnswerLine, backend: &Backend) -> AnswerLine {
    if let AnswerLine::Status(status) = &mut answer {
        status.directory = backend.directory.as_ref().map(|link| FollowedLine::of(&link.meter));
    }
    answer
}

/// Says how far it is until it is done. It goes on where nobody hears it any more.
async fn replicate(stream: &mut UnixStream, what: ReplicateWord, link: &Link) -> io::Result<AnswerLine> {
    let gone = || AnswerLine::refused(RefusalKind::Unavailable, "the directory's thread has ended");
    let Some((progress, mut answered)) = link.order(what.into()).await else { return Ok(gone()) };
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    // The first tick comes at once, and most answers do soon after.
    ticks.tick().await;
    loop {
        tokio::select! {
            answer = &mut answered => return Ok(answer.map_or_else(|_| gone(), answer_line)),
            _ = ticks.tick() => {
                let latest = *progress.borrow();
                say(stream, &progress_line(latest)).await?;
            }
        }
    }
}

/// A later version may have calls that cannot be read here: then the version is the better answer.
fn unreadable(line: &[u8], error: &serde_json::Error) -> AnswerLine {
    let version = serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|v| v["version"].as_u64());
    match version {
        Some(version) if version != u64::from(VERSION) => other_version(version),
        // The parser's own words may repeat a password.
        _ => AnswerLine::refused(
            RefusalKind::BadRequest,
            format!("the request is not understood (column {})", error.column()),
        ),
    }
}

fn other_version(version: u64) -> AnswerLine {
    let message = format!("the server speaks version {VERSION} of the control protocol, not {version}");
    AnswerLine::refused(RefusalKind::Version, message)
}
