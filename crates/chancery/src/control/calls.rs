//! Calls in the lines of the control socket: where they go, and those that are over.

use directory::SipAddress;
use frontend::admin::{CallSettingChange, Cause};
use records::{CallEnd, CallSettings, Direction, StoredCall};
use serde::{Deserialize, Serialize};

use super::protocol::parse_address;

/// One change of where a user's calls go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub(crate) enum CallSettingLine {
    /// `to` missing: no more.
    Forward {
        cause: CauseWord,
        to: Option<String>,
    },
    /// 0: the server's default.
    NoAnswerAfter {
        seconds: u32,
    },
    RingAlso {
        addresses: Vec<String>,
    },
    /// `busy` missing: the server's policy.
    BusyOnBusy {
        busy: Option<bool>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CauseWord {
    Always,
    DoNotDisturb,
    Busy,
    NoAnswer,
    Unregistered,
}

/// Where a user's calls go; what is missing goes to the user's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallSettingsLine {
    pub(crate) always: Option<String>,
    pub(crate) do_not_disturb: Option<String>,
    pub(crate) busy: Option<String>,
    pub(crate) no_answer: Option<String>,
    /// 0: the server's default.
    pub(crate) no_answer_seconds: u32,
    pub(crate) unregistered: Option<String>,
    pub(crate) ring_also: Vec<String>,
    /// Missing: the server's policy.
    pub(crate) busy_on_busy: Option<bool>,
}

/// A call that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallEntryLine {
    /// Its place in the log, for the page behind it.
    pub(crate) place: String,
    pub(crate) direction: DirectionWord,
    pub(crate) peer: String,
    pub(crate) began_unix_ms: u64,
    pub(crate) lasted_ms: u64,
    pub(crate) end: EndWord,
    /// Empty where it was not answered.
    pub(crate) answered_at: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectionWord {
    Received,
    Made,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndWord {
    Answered,
    Forwarded,
    Missed,
    Refused,
    Cancelled,
    Failed,
}

impl EndWord {
    /// As it stands in JSON.
    pub(crate) fn text(self) -> &'static str {
        match self {
            EndWord::Answered => "answered",
            EndWord::Forwarded => "forwarded",
            EndWord::Missed => "missed",
            EndWord::Refused => "refused",
            EndWord::Cancelled => "cancelled",
            EndWord::Failed => "failed",
        }
    }
}

impl CallSettingLine {
    pub(crate) fn into_change(self) -> Result<CallSettingChange, String> {
        Ok(match self {
            CallSettingLine::Forward { cause, to } => {
                CallSettingChange::Forward(cause.into(), to.as_deref().map(parse_address).transpose()?)
            }
            CallSettingLine::NoAnswerAfter { seconds } => CallSettingChange::NoAnswerAfter(seconds),
            CallSettingLine::RingAlso { addresses } => {
                let addresses: Result<_, _> = addresses.iter().map(|a| parse_address(a)).collect();
                CallSettingChange::RingAlso(addresses?)
            }
            CallSettingLine::BusyOnBusy { busy } => CallSettingChange::BusyOnBusy(busy),
        })
    }
}

/// A place in a call log: when the call began, and its id.
pub(crate) fn parse_place(text: &str) -> Result<(u64, [u8; 16]), String> {
    let wrong = || format!("{text:?} is no place in a call log");
    let (began, id) = text.split_once('-').ok_or_else(wrong)?;
    let mut place = (began.parse().map_err(|_| wrong())?, [0; 16]);
    hex::decode_to_slice(id, &mut place.1).map_err(|_| wrong())?;
    Ok(place)
}

pub(crate) fn place_text(began_unix_ms: u64, id: &[u8; 16]) -> String {
    format!("{began_unix_ms}-{}", hex::encode(id))
}

impl From<CauseWord> for Cause {
    fn from(word: CauseWord) -> Cause {
        match word {
            CauseWord::Always => Cause::Always,
            CauseWord::DoNotDisturb => Cause::DoNotDisturb,
            CauseWord::Busy => Cause::Busy,
            CauseWord::NoAnswer => Cause::NoAnswer,
            CauseWord::Unregistered => Cause::Unregistered,
        }
    }
}

impl From<CallSettings> for CallSettingsLine {
    fn from(settings: CallSettings) -> CallSettingsLine {
        let text = |address: Option<SipAddress>| address.map(|address| address.to_string());
        CallSettingsLine {
            always: text(settings.forward_always),
            do_not_disturb: text(settings.forward_do_not_disturb),
            busy: text(settings.forward_busy),
            no_answer: text(settings.forward_no_answer),
            no_answer_seconds: settings.no_answer_seconds,
            unregistered: text(settings.forward_unregistered),
            ring_also: settings.ring_also.iter().map(ToString::to_string).collect(),
            busy_on_busy: settings.busy_on_busy,
        }
    }
}

impl From<StoredCall> for CallEntryLine {
    fn from(call: StoredCall) -> CallEntryLine {
        CallEntryLine {
            place: place_text(call.began_unix_ms, &call.id),
            direction: match call.direction {
                Direction::Received => DirectionWord::Received,
                Direction::Sent => DirectionWord::Made,
            },
            peer: call.peer.to_string(),
            began_unix_ms: call.began_unix_ms,
            lasted_ms: call.lasted_ms,
            end: match call.end {
                CallEnd::Answered => EndWord::Answered,
                CallEnd::Forwarded => EndWord::Forwarded,
                CallEnd::Missed => EndWord::Missed,
                CallEnd::Refused => EndWord::Refused,
                CallEnd::Cancelled => EndWord::Cancelled,
                CallEnd::Failed => EndWord::Failed,
            },
            answered_at: call.answered_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let id = *b"0123456789abcdef";
        let text = place_text(1_700_000_000_000, &id);
        assert_eq!(text, "1700000000000-30313233343536373839616263646566");
        assert_eq!(parse_place(&text), Ok((1_700_000_000_000, id)));
        for wrong in ["", "1", "x-30", "1700000000000-3031"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }
}
