//! Replication in the lines of the control socket.

use replicator::{Answer, Command, Progress, Report, Round, Stage};
use serde::{Deserialize, Serialize};

use super::Meter;
use crate::control::protocol::{ANSWER_OCTETS_MAX, AnswerLine, RefusalKind};

/// What is wanted of the User Replicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplicateWord {
    Once,
    Full,
    DryRun,
    Report,
    Accept,
}

impl From<ReplicateWord> for Command {
    fn from(word: ReplicateWord) -> Command {
        match word {
            ReplicateWord::Once => Command::Once,
            ReplicateWord::Full => Command::Full,
            ReplicateWord::DryRun => Command::DryRun,
            ReplicateWord::Report => Command::Report,
            ReplicateWord::Accept => Command::Accept,
        }
    }
}

/// What it came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(crate) enum ReplicationLine {
    Done(Round),
    Planned(Round),
    Report(Box<Report>),
}

/// How the directory is followed, as a part of the server's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowedLine {
    /// Empty before the first connection.
    pub(crate) server: String,
    pub(crate) dns_domain: String,
    pub(crate) in_step_unix_ms: Option<u64>,
    pub(crate) accounts_active: usize,
    pub(crate) accounts_inactive: usize,
    pub(crate) findings: usize,
    pub(crate) alarms: Vec<String>,
}

impl FollowedLine {
    pub(crate) fn of(meter: &Meter) -> FollowedLine {
        let report = meter.read();
        let (server, dns_domain) = report.server.map(|s| (s.host, s.dns_domain)).unwrap_or_default();
        FollowedLine {
            server,
            dns_domain,
            in_step_unix_ms: report.in_step_unix_ms,
            accounts_active: report.totals.accounts_active,
            accounts_inactive: report.totals.accounts_inactive,
            findings: report.findings.len() + report.findings_left_off,
            alarms: report.alarms.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The answer to an order.
pub(crate) fn answer_line(answer: Answer) -> AnswerLine {
    match answer {
        Answer::Done(round) => AnswerLine::Replication(Box::new(ReplicationLine::Done(*round))),
        Answer::Planned(round) => AnswerLine::Replication(Box::new(ReplicationLine::Planned(*round))),
        Answer::Report(report) => {
            AnswerLine::Replication(Box::new(ReplicationLine::Report(Box::new(fitting(*report)))))
        }
        Answer::Failed(reason) => AnswerLine::refused(RefusalKind::Replication, reason),
    }
}

/// How far it is.
pub(crate) fn progress_line(progress: Option<Progress>) -> AnswerLine {
    let Progress { stage, done, total } =
        progress.unwrap_or(Progress { stage: Stage::Reading, done: 0, total: None });
    AnswerLine::Replicating { stage, done, total }
}

/// Leaves findings off until the line fits: distinguished names may be long.
fn fitting(mut report: Report) -> Report {
    let octets = |report: &Report| serde_json::to_vec(report).map_or(usize::MAX, |line| line.len());
    while !report.findings.is_empty() && octets(&report) > ANSWER_OCTETS_MAX - ENVELOPE_OCTETS {
        let keep = report.findings.len() / 2;
        report.findings_left_off += report.findings.len() - keep;
        report.findings.truncate(keep);
    }
    report
}

/// What an answer's line holds beside the report, with room to spare.
const ENVELOPE_OCTETS: usize = 4096;
