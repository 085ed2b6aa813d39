//! `chancery replicate`: what the User Replicator is to do now, and how it does.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replicator::{Round, Stage};

use crate::cli::ReplicateArguments;
use crate::control::protocol::{AnswerLine, CallLine, RefusalKind};
use crate::directory::{ReplicateWord, ReplicationLine};
use crate::exit::{Exit, Failure};
use crate::user;

pub(crate) fn run(arguments: &ReplicateArguments) -> Result<(), Failure> {
    let what = arguments.what();
    let bar = progress_bar(!arguments.server.json);
    let mut client = user::connect(&arguments.server)?;
    let answer = client.ask_long(CallLine::Replicate { what }, |line| {
        if let AnswerLine::Replicating { stage, done, total } = *line {
            show(&bar, stage, done, total);
        }
    })?;
    bar.finish_and_clear();
    let line = match answer {
        AnswerLine::Replication(line) => *line,
        // These say how to mend it.
        AnswerLine::Refused { kind: RefusalKind::Replication, message } => {
            return Err(Failure::text(Exit::Failed, message));
        }
        other => return Err(user::unexpected(&user::answered(other)?)),
    };
    match arguments.server.json {
        true => user::print_json(&line)?,
        false => user::print(&text(what, &line))?,
    }
    match is_held(what, &line) {
        true => Err(Failure::text(
            Exit::Failed,
            "nothing was changed: look at who would be cut off; `chancery replicate --accept` does it all the same",
        )),
        false => Ok(()),
    }
}

fn is_held(what: ReplicateWord, line: &ReplicationLine) -> bool {
    what != ReplicateWord::DryRun && matches!(line, ReplicationLine::Done(Round { held: Some(_), .. }))
}

fn text(what: ReplicateWord, line: &ReplicationLine) -> String {
    match line {
        ReplicationLine::Report(report) => report.to_string(),
        ReplicationLine::Planned(round) => format!("would be done:  {}", round_text(round)),
        ReplicationLine::Done(round) if what == ReplicateWord::Accept => {
            format!("accepted:       {}", round_text(round))
        }
        ReplicationLine::Done(round) => format!("done:           {}", round_text(round)),
    }
}

fn round_text(round: &Round) -> String {
    let mut text = format!("{round}\n");
    if let Some(held) = &round.held {
        text += &format!("HELD            {held}\n");
        return text;
    }
    for name in &round.cut_off_names {
        text += &format!("  cut off       {} ({})\n", name.address, name.standing.name());
    }
    if round.cut_off_names.len() < round.cut_off {
        text += &format!("  and {} more\n", round.cut_off - round.cut_off_names.len());
    }
    text
}

fn show(bar: &ProgressBar, stage: Stage, done: usize, total: Option<usize>) {
    let what = match stage {
        Stage::Reading => "reading the directory",
        Stage::Committing => "storing",
    };
    bar.set_message(what);
    if let Some(total) = total {
        bar.set_length(total as u64);
    }
    bar.set_position(done as u64);
    bar.tick();
}

/// Seen by people only.
fn progress_bar(talkative: bool) -> ProgressBar {
    let bar = ProgressBar::no_length();
    let visible = talkative && std::io::stderr().is_terminal();
    bar.set_draw_target(if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let style = ProgressStyle::with_template("  {spinner} {msg} {human_pos} ({elapsed})");
    bar.with_style(style.expect("the template is right"))
}
