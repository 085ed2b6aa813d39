//! The servers as processes: started, waited for, stopped together.

use std::fs::File;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::plan::Plan;
use crate::config::FILE_NAME;

/// How long a server may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a server that says nothing still lives.
const START_POLL: Duration = Duration::from_millis(200);
/// Octets of a notification of readiness: a few short lines (sd_notify(3)).
const NOTIFICATION_OCTETS_MAX: usize = 4096;
/// How long a server may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Running servers; stopped when dropped.
pub(super) struct Servers(Vec<Running>);

/// One of them.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) log: PathBuf,
    child: Child,
    /// Where it says that it is ready, as it does to systemd.
    notifications: UnixDatagram,
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
                let notify = format!("chancery-{}-{}", std::process::id(), servers.0.len());
                let address = SocketAddr::from_abstract_name(&notify).context("a name for a socket")?;
                let notifications =
                    UnixDatagram::bind_addr(&address).context("a socket for notifications")?;
                notifications.set_read_timeout(Some(START_POLL)).context("a socket for notifications")?;
                // Its end of standard input tells it when we are gone, however we went.
                let child = Command::new(&program)
                    .args(["serve", "--until-input-ends", "--config"])
                    .arg(folder.join(FILE_NAME))
                    .env("NOTIFY_SOCKET", format!("@{notify}"))
                    .stdin(Stdio::piped())
                    .stdout(output.try_clone().context("a descriptor")?)
                    .stderr(output)
                    .spawn()
                    .context("a server cannot be started")?;
                let name = format!("{}/{}", organisation.name, server.name);
                servers.0.push(Running { name, log, child, notifications });
            }
        }
        let until = Instant::now() + START_PATIENCE;
        for server in &mut servers.0 {
            server.await_readiness(until)?;
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
            let mut child = signal(SignalKind::child())?;
            loop {
                for server in &mut self.0 {
                    if server.child.try_wait()?.is_some() {
                        return Ok(Some(server.ended()));
                    }
                }
                tokio::select! {
                    _ = terminate.recv() => return Ok(None),
                    _ = interrupt.recv() => return Ok(None),
                    _ = child.recv() => {}
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
    fn await_readiness(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut octets = [0; NOTIFICATION_OCTETS_MAX];
        loop {
            match self.notifications.recv(&mut octets) {
                Ok(length) if octets[..length].split(|b| *b == b'\n').any(|line| line == b"READY=1") => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("no notification can be received"),
            }
            if self.child.try_wait().context("a server cannot be watched")?.is_some() {
                bail!("{}", self.ended());
            }
            if Instant::now() > until {
                bail!("{} is not ready in time; its log is {}", self.name, self.log.display());
            }
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
        let (ended, all_ended) = channel();
        let mut running = Vec::new();
        for mut server in self.0.drain(..) {
            // The end of its standard input stops it.
            drop(server.child.stdin.take());
            let ended = ended.clone();
            running.push((server.child.id(), server.name));
            std::thread::spawn(move || {
                // Whatever became of it, it is not there any more; and whoever asked may be gone.
                drop(server.child.wait());
                let _gone = ended.send(server.child.id());
            });
        }
        let until = Instant::now() + STOP_PATIENCE;
        while !running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(pid) = all_ended.recv_timeout(left) else { break };
            running.retain(|(running, _)| *running != pid);
        }
        for (pid, name) in running {
            tracing::warn!(event = "killed", server = name, "it did not end in time");
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended this moment.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
