//! Taking over a changed configuration while the server runs: SIGHUP, and `chancery reload`.
//!
//! First everything is proved, then everything is applied: the file as a whole, the certificate with its key, the CAs,
//! the DNS servers, the log's filter. What fails in the first half changes nothing. What can change keeps every
//! connection, registration and call; what cannot is named ([`Settings::restart_needed_for`]) and stays as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use net::{Adjustment, CallError, Handle};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::cli::ReloadArguments;
use crate::config::Settings;
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::Failure;
use crate::logging::{self, LevelHandle};
use crate::server::{self, Operated};
use crate::tls::{self, Certificates, Pairs, Stamp};
use crate::user;

/// What a reload is made of, and what it came to.
pub(crate) struct Reloader {
    file: PathBuf,
    /// What the server does; sections that need a restart are as it was started with.
    in_force: Settings,
    level: LevelHandle,
    /// Of the CAs and revocation lists, when they were last looked at.
    trust: Stamp,
}

/// Whether a reload changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Apply,
    /// Only says what it would do.
    DryRun,
}

/// What a reload came to, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    pub(crate) file: PathBuf,
    pub(crate) dry_run: bool,
    /// Sections that changed and are in force now.
    pub(crate) applied: Vec<String>,
    /// Sections that changed and need a restart.
    pub(crate) restart_needed: Vec<String>,
}

/// Why nothing was changed, or not all of it.
#[derive(Debug)]
pub(crate) enum ReloadError {
    /// The file, or what it names, is wrong: nothing was changed.
    Wrong(anyhow::Error),
    /// The server stops, or broke a promise: some of it may be in force.
    Stopped(anyhow::Error),
}

impl Reloader {
    pub(crate) fn new(file: PathBuf, started_with: Settings, level: LevelHandle) -> Reloader {
        let trust = Stamp::of(tls::trust_files(&started_with));
        Reloader { file, in_force: started_with, level, trust }
    }

    /// Looks at the CAs and revocation lists, and takes over what changed. What is wrong changes nothing, and is looked at
    /// again when it changes again.
    pub(crate) async fn look<R: Operated>(&mut self, certificates: &Certificates, handle: &Handle<R>) {
        let stamp = Stamp::of(tls::trust_files(&self.in_force));
        if stamp == self.trust {
            return;
        }
        self.trust = stamp;
        match R::networks(&self.in_force, certificates) {
            Ok(networks) => {
                let adjustment = Adjustment { networks: Some(networks), ..Adjustment::default() };
                if matches!(handle.adjust(adjustment).await, Ok(Ok(()))) {
                    tracing::info!(event = "trust-reloaded", "changed CAs or revocation lists are in force");
                }
            }
            Err(error) => tracing::warn!(
                event = "trust-refused",
                "the changed CAs or revocation lists are not used: {error:#}"
            ),
        }
    }

    /// What the server does.
    pub(crate) fn in_force(&self) -> &Settings {
        &self.in_force
    }

    /// Reads the file and takes it over. Every way it ends is in the log, unless it is a dry run.
    pub(crate) async fn reload<R: Operated>(
        &mut self,
        mode: Mode,
        certificates: &mut Certificates,
        handle: &Handle<R>,
    ) -> Result<Reloaded, ReloadError> {
        let reloaded = self.try_reload(mode, certificates, handle).await;
        if mode == Mode::Apply {
            report(&reloaded);
        }
        reloaded
    }

    async fn try_reload<R: Operated>(
        &mut self,
        mode: Mode,
        certificates: &mut Certificates,
        handle: &Handle<R>,
    ) -> Result<Reloaded, ReloadError> {
        let new = Settings::load(&self.file).map_err(|error| ReloadError::Wrong(error.into()))?;
        let proved = self.prove::<R>(&new, certificates).map_err(ReloadError::Wrong)?;
        let reloaded = Reloaded {
            file: self.file.clone(),
            dry_run: mode == Mode::DryRun,
            applied: proved.changed.iter().map(|section| (*section).to_owned()).collect(),
            restart_needed: self.in_force.restart_needed_for(&new).into_iter().map(str::to_owned).collect(),
        };
        if mode == Mode::Apply {
            self.apply(new, proved, certificates, handle).await?;
        }
        Ok(reloaded)
    }

    /// Everything that can be wrong with what the file names.
    fn prove<R: Operated>(&self, new: &Settings, certificates: &Certificates) -> anyhow::Result<Proved> {
        let mut changed = self.in_force.changed_at_run_time(new);
        let pairs = certificates.prove(new)?;
        if !pairs.is_empty() {
            changed.insert(0, "certificate");
        }
        let resolver = (self.in_force.dns != new.dns).then(|| {
            let dns = new.dns.clone();
            Box::new(move || server::resolver(&dns)) as _
        });
        logging::check(&new.log.level)?;
        let adjustment = Adjustment {
            connections_max: Some(new.limits.connections_max),
            connections_per_source_max: Some(new.limits.connections_per_source_max),
            resolver,
            networks: Some(R::networks(new, certificates)?),
        };
        Ok(Proved { changed, pairs, adjustment })
    }

    async fn apply<R: Operated>(
        &mut self,
        new: Settings,
        proved: Proved,
        certificates: &mut Certificates,
        handle: &Handle<R>,
    ) -> Result<(), ReloadError> {
        let stopped = |error: CallError| ReloadError::Stopped(error.into());
        // First what can still fail: a resolver of the system is made on the driver's own thread.
        let adjusted = handle.adjust(proved.adjustment).await.map_err(stopped)?;
        adjusted.context("no resolver can be made").map_err(ReloadError::Wrong)?;
        if let Some(call) = R::configure(&new) {
            let answer = handle.call(call).await.map_err(stopped)?;
            if !R::is_done(&answer) {
                return Err(ReloadError::Stopped(anyhow!("the server did not take it over")));
            }
        }
        certificates.take_over(proved.pairs).map_err(ReloadError::Stopped)?;
        self.level.set(&new.log.level).map_err(ReloadError::Stopped)?;
        self.in_force.take_over(new);
        Ok(())
    }
}

/// A reload that was asked for from elsewhere.
pub(crate) struct Request {
    pub(crate) mode: Mode,
    pub(crate) answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// `chancery reload`.
pub(crate) fn run(arguments: &ReloadArguments) -> Result<(), Failure> {
    match user::ask(&arguments.server, CallLine::Reload { dry_run: arguments.dry_run })? {
        AnswerLine::Reloaded(reloaded) if arguments.server.json => user::print_json(&reloaded),
        AnswerLine::Reloaded(reloaded) => user::print(&reloaded.text()),
        other => Err(user::unexpected(&other)),
    }
}

/// What is sure to be right.
struct Proved {
    changed: Vec<&'static str>,
    pairs: Pairs,
    adjustment: Adjustment,
}

fn report(reloaded: &Result<Reloaded, ReloadError>) {
    match reloaded {
        Ok(Reloaded { file, applied, restart_needed, .. }) => {
            if !restart_needed.is_empty() {
                let sections = restart_needed.join(", ");
                tracing::warn!(event = "restart-needed", sections, "changes in {sections} need a restart");
            }
            let (file, sections) = (file.display(), applied.join(", "));
            tracing::info!(event = "reloaded", %file, sections, "what could change is that of the file");
        }
        Err(ReloadError::Wrong(error)) => {
            tracing::error!(event = "reload-refused", "nothing was changed: {error:#}");
        }
        Err(ReloadError::Stopped(error)) => {
            tracing::error!(event = "reload-failed", "not everything was taken over: {error:#}");
        }
    }
}

impl Reloaded {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let file: &Path = &self.file;
        let mut text = match (self.dry_run, self.applied.is_empty()) {
            (false, false) => format!("{} is applied: {}\n", file.display(), self.applied.join(", ")),
            (true, false) => format!("{} would apply: {}\n", file.display(), self.applied.join(", ")),
            (_, true) => format!("{}: nothing that can change at run time has changed\n", file.display()),
        };
        if !self.restart_needed.is_empty() {
            text += &format!("needs a restart: {}\n", self.restart_needed.join(", "));
        }
        text
    }
}
