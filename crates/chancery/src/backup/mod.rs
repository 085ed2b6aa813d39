//! `chancery backup` and `chancery restore`.
//!
//! A backup is a folder: the database as it stood at one moment ([`storage::copy`]), the server's secret, and a manifest
//! that says what they are. The running server makes it, asked over the control socket; where none runs, the command
//! does it itself. Configuration and certificates are not in it: they are the administrator's own files, and of another
//! folder.

mod job;
mod manifest;
mod restore;
mod take;

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use storage::{Lock, Progress};

pub(crate) use job::Desk;
pub(crate) use restore::run as restore;
pub(crate) use take::Taken;

use crate::cli::BackupArguments;
use crate::control::client::Client;
use crate::control::protocol::{AnswerLine, CallLine, RefusalKind};
use crate::exit::{Exit, Failure};
use crate::locate::{self, DATABASE};
use crate::{files, user};

/// What is looked at while something long is done, and may end it.
type Watch<'w> = &'w mut dyn FnMut(Progress) -> ControlFlow<()>;

pub(crate) fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let socket = locate::control_socket(&arguments.server)?;
    let to = arguments.to.as_deref().map(std::path::absolute).transpose();
    let to = to.context("the folder of the backup has no absolute name")?;
    let bar = progress_bar("copying", !arguments.server.json);
    let taken = match Client::connect(&socket) {
        Ok(mut client) => {
            let call = CallLine::Backup { to: to.as_ref().map(|to| to.display().to_string()) };
            let answer = client.ask_long(call, |line| {
                if let AnswerLine::Progress { done, total } = *line {
                    bar.set_length(total);
                    bar.set_position(done);
                }
            })?;
            match answer {
                AnswerLine::Backup(taken) => *taken,
                // These say how to mend it.
                AnswerLine::Refused { kind: RefusalKind::Backup, message } => {
                    return Err(Failure::text(Exit::Failed, message));
                }
                other => return Err(user::unexpected(&user::answered(other)?)),
            }
        }
        Err(no_server) => match locate::data_dir(&arguments.server)? {
            Some(data_dir) => without_server(&data_dir, to.as_deref(), no_server, &bar)?,
            None => return Err(no_server),
        },
    };
    bar.finish_and_clear();
    match arguments.server.json {
        true => user::print_json(&json!({ "result": "done", "backup": taken })),
        false => user::print(&format!(
            "The backup is in {}\n  {}\nProve it: chancery restore --verify {0}\n",
            taken.folder.display(),
            taken.manifest.in_words()
        )),
    }
}

/// Where the lock is taken, a server runs and did not answer.
fn without_server(
    data_dir: &Path,
    to: Option<&Path>,
    no_server: Failure,
    bar: &ProgressBar,
) -> Result<Taken, Failure> {
    let database = data_dir.join(DATABASE);
    if !database.exists() {
        return Err(no_server);
    }
    let Ok(lock) = Lock::take(&database) else { return Err(no_server) };
    files::give_as(&Lock::file(&database), data_dir)?;
    let taken = take::take(data_dir, to, &mut |progress| show(bar, progress));
    drop(lock);
    Ok(taken?)
}

fn show(bar: &ProgressBar, progress: Progress) -> ControlFlow<()> {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    ControlFlow::Continue(())
}

/// Seen by people only.
fn progress_bar(what: &str, talkative: bool) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let visible = talkative && std::io::stderr().is_terminal();
    bar.set_draw_target(if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let style = ProgressStyle::with_template("  {msg} {bar:40} {bytes} of {total_bytes}");
    bar.with_style(style.expect("the template is right")).with_message(what.to_owned())
}

#[cfg(test)]
mod tests;
