//! Traces in the words of the control socket, which are those of `chancery trace --json` too.

use frontend::trace::{Direction, TraceEvent, TracePage, TraceParty, TraceSubject, TraceWhat};
use serde::{Deserialize, Serialize};

/// What a trace follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum TraceFollows {
    User { address: String },
    CallId { call_id: String },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TracePageLine {
    pub(crate) events: Vec<TraceEventLine>,
    /// Dropped since the last poll.
    pub(crate) lost: u64,
    /// More waits.
    pub(crate) more: bool,
    /// Nothing more comes.
    pub(crate) is_over: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TraceEventLine {
    pub(crate) at_unix_ms: u64,
    /// As the log names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(flatten)]
    pub(crate) what: TraceWhatLine,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum TraceWhatLine {
    Message { direction: DirectionWord, party: TracePartyLine, text: String },
    Unreadable { party: TracePartyLine, octets: usize, reason: String },
    Report { event: String, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectionWord {
    In,
    Out,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TracePartyLine {
    /// Who has signed in there; empty where nobody has.
    pub(crate) user: String,
    pub(crate) transport: String,
    pub(crate) remote: String,
}

impl From<TraceSubject> for TraceFollows {
    fn from(subject: TraceSubject) -> TraceFollows {
        match subject {
            TraceSubject::User(address) => TraceFollows::User { address: address.as_str().to_owned() },
            TraceSubject::CallId(call_id) => TraceFollows::CallId { call_id },
        }
    }
}

impl From<TracePage> for TracePageLine {
    fn from(page: TracePage) -> TracePageLine {
        let TracePage { events, lost, more, is_over } = page;
        TracePageLine { events: events.into_iter().map(TraceEventLine::from).collect(), lost, more, is_over }
    }
}

impl From<TraceEvent> for TraceEventLine {
    fn from(event: TraceEvent) -> TraceEventLine {
        let what = match event.what {
            TraceWhat::Message { direction, party, text } => TraceWhatLine::Message {
                direction: match direction {
                    Direction::In => DirectionWord::In,
                    Direction::Out => DirectionWord::Out,
                },
                party: party.into(),
                text,
            },
            TraceWhat::Unreadable { party, octets, reason } => {
                TraceWhatLine::Unreadable { party: party.into(), octets, reason: reason.to_owned() }
            }
            TraceWhat::Report { event, reason } => TraceWhatLine::Report { event: event.to_owned(), reason },
        };
        TraceEventLine { at_unix_ms: event.at.0, request: event.request.map(|id| id.to_string()), what }
    }
}

impl From<TraceParty> for TracePartyLine {
    fn from(party: TraceParty) -> TracePartyLine {
        TracePartyLine {
            user: party.user,
            transport: party.transport.to_owned(),
            remote: party.remote.to_string(),
        }
    }
}
