//! The servers as processes: started, waited for, stopped together.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::plan::Plan;
use crate::config::{CONTROL_SOCKET, FILE_NAME};
use crate::control::client::Client;
use crate::control::protocol::CallLine;
use crate::locate::DATA_DIR;

/// How long a server may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const START_POLL: Duration = Duration::from_millis(50);
/// How long a server may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often the servers are looked at while they run.
const WATCH_POLL: Duration = Duration::from_millis(500);

/// Running servers; stopped when dropped.
pub(super) struct Servers(Vec<Running>);

/// One of them.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) log: PathBuf,
    child: Child,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Servers {
    /// Starts them all and waits until each answers.
    pub(super) fn start(plan: &Plan) -> anyhow::Result<Servers> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let mut servers = Servers(Vec::new());
        for organisation in &plan.organisations {
            for server in &organisation.servers {
                let folder = plan.server_folder(organisation, server);
                let log = folder.join("log");
                let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
                // Its end of standard input tells it when we are gone, however we went.
                let child = Command::new(&program)
                    .args(["serve", "--until-input-ends", "--config"])
                    .arg(folder.join(FILE_NAME))
                    .stdin(Stdio::piped())
                    .stdout(output.try_clone().context("a descriptor")?)
                    .stderr(output)
                    .spawn()
                    .context("a server cannot be started")?;
                servers.0.push(Running {
                    name: format!("{}/{}", organisation.name, server.name),
                    log,
                    child,
                });
            }
        }
        let until = Instant::now() + START_PATIENCE;
        let folders = plan.organisations.iter().flat_map(|organisation| {
            organisation.servers.iter().map(|server| plan.server_folder(organisation, server))
        });
        for (server, folder) in servers.0.iter_mut().zip(folders) {
            server.await_answer(&folder.join(DATA_DIR).join(CONTROL_SOCKET), until)?;
        }
        Ok(servers)
    }

    pub(super) fn all(&self) -> &[Running] {
        &self.0
    }

    /// Until SIGINT or SIGTERM, or until one of them ends by itself, which is an error.
    pub(super) fn run_until_signal(&mut self) -> anyhow::Result<()> {
        let runtime = net::runtime().context("no runtime can be made")?;
        let ended = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(None),
                    _ = interrupt.recv() => return Ok(None),
                    () = tokio::time::sleep(WATCH_POLL) => {
                        for server in &mut self.0 {
                            if server.child.try_wait()?.is_some() {
                                return Ok(Some(server.ended()));
                            }
                        }
                    }
                }
            }
        });
        let ended: std::io::Result<Option<String>> = ended;
        match ended.context("signals cannot be received")? {
            None => Ok(()),
            Some(text) => bail!("{text}"),
        }
    }
}

impl Running {
    fn await_answer(&mut self, socket: &std::path::Path, until: Instant) -> anyhow::Result<()> {
        loop {
            if self.child.try_wait().context("a server cannot be watched")?.is_some() {
                bail!("{}", self.ended());
            }
            if Client::connect(socket).is_ok_and(|mut client| client.ask(CallLine::Status).is_ok()) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{} does not answer; its log is {}", self.name, self.log.display());
            }
            std::thread::sleep(START_POLL);
        }
    }

    fn ended(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("it said nothing");
        format!("{} ended: {last}\n  help: its log is {}", self.name, self.log.display())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            // The end of its standard input stops it.
            drop(server.child.stdin.take());
        }
        let until = Instant::now() + STOP_PATIENCE;
        for server in &mut self.0 {
            while matches!(server.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(START_POLL);
            }
            if matches!(server.child.try_wait(), Ok(None)) {
                tracing::warn!(event = "killed", server = server.name, "it did not end in time");
                // Whatever fails here, there is nothing left to do.
                drop(server.child.kill());
                drop(server.child.wait());
            }
        }
    }
}
