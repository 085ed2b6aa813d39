//! Presence in the lines of the control socket.

use frontend::admin::{DevicePresence, PresenceDetails};
use presence::{Availability, Class, DeviceState, ManualState, Note, State, Why};
use serde::{Deserialize, Serialize};

/// A choice: the state's name, and when it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChoiceLine {
    /// [`ManualState::name`].
    pub(crate) state: String,
    pub(crate) until_unix_ms: Option<u64>,
}

/// A note, and when it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NoteLine {
    pub(crate) text: String,
    pub(crate) until_unix_ms: Option<u64>,
}

/// What a person is seen as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PresenceLine {
    pub(crate) address: String,
    #[serde(flatten)]
    pub(crate) seen: SeenLine,
    pub(crate) why: WhyLine,
    /// Calls that are up, where they are the reason.
    pub(crate) calls: usize,
    /// The choice that is kept, also where it is over.
    pub(crate) chosen: Option<ChoiceLine>,
    /// The person's own note that is kept, also where it is over.
    pub(crate) own_note: Option<NoteLine>,
    pub(crate) devices: Vec<DevicePresenceLine>,
    /// Subscriptions to it.
    pub(crate) watchers: usize,
}

/// A state, of a device or of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenLine {
    /// The step of the scale in a word.
    pub(crate) presence: String,
    /// The number on the scale: 3000 is available, 18000 offline.
    pub(crate) availability: u16,
    pub(crate) activities: Vec<String>,
    pub(crate) idle_since_unix_ms: Option<u64>,
    pub(crate) note: Option<String>,
    pub(crate) place: Option<String>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevicePresenceLine {
    /// Of a publication that belongs to no registered device there is none.
    pub(crate) contact: Option<String>,
    pub(crate) is_published: bool,
    /// Whether it decides what the person is seen as.
    pub(crate) decides: bool,
    #[serde(flatten)]
    pub(crate) seen: SeenLine,
}

/// Why a person is seen so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhyLine {
    Chosen,
    InCall,
    Device,
    NoDevice,
}

impl ChoiceLine {
    pub(crate) fn into_choice(self) -> Result<(ManualState, Option<u64>), String> {
        let state = ManualState::from_name(&self.state).ok_or_else(|| {
            let names: Vec<&str> = ManualState::ALL.iter().map(|state| state.name()).collect();
            format!("{:?} is none of {}", self.state, names.join(", "))
        })?;
        Ok((state, self.until_unix_ms))
    }
}

impl NoteLine {
    pub(crate) fn into_note(self) -> Result<Note, String> {
        if self.text.len() > presence::TEXT_OCTETS_MAX {
            return Err(format!("the note is longer than {} octets", presence::TEXT_OCTETS_MAX));
        }
        if self.text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err("the note holds a control character".to_owned());
        }
        Ok(Note { text: self.text.into(), expires_unix_ms: self.until_unix_ms })
    }
}

impl From<PresenceDetails> for PresenceLine {
    fn from(details: PresenceDetails) -> PresenceLine {
        let PresenceDetails { address, state, manual, devices, watchers } = details;
        let (why, calls, decides) = match state.why {
            Why::Manual(_) => (WhyLine::Chosen, 0, None),
            Why::InCall(calls) => (WhyLine::InCall, calls, None),
            Why::Device(at) => (WhyLine::Device, 0, Some(at)),
            Why::NoDevice => (WhyLine::NoDevice, 0, None),
        };
        let devices = devices.into_iter().enumerate().map(|(at, device)| {
            let DevicePresence { contact, is_published, state } = device;
            let seen = SeenLine::from(state);
            DevicePresenceLine { contact, is_published, decides: decides == Some(at), seen }
        });
        PresenceLine {
            address: address.as_str().to_owned(),
            devices: devices.collect(),
            seen: SeenLine::from(state),
            why,
            calls,
            chosen: manual.state.map(|state| ChoiceLine {
                state: state.name().to_owned(),
                until_unix_ms: manual.expires_unix_ms,
            }),
            own_note: manual
                .note
                .map(|note| NoteLine { text: note.text.into(), until_unix_ms: note.expires_unix_ms }),
            watchers,
        }
    }
}

impl From<State> for SeenLine {
    fn from(state: State) -> SeenLine {
        let State { availability, activities, idle_since_unix_ms, note, place, .. } = state;
        SeenLine {
            presence: word(availability).to_owned(),
            availability: availability.number(),
            activities: activities.iter().map(|activity| activity.element().to_owned()).collect(),
            idle_since_unix_ms,
            note: note.map(String::from),
            place: place.map(String::from),
        }
    }
}

impl From<DeviceState> for SeenLine {
    fn from(state: DeviceState) -> SeenLine {
        let DeviceState { availability, activities, idle_since_unix_ms, note, place, capabilities } = state;
        let why = Why::Device(0);
        SeenLine::from(State { availability, activities, idle_since_unix_ms, note, place, capabilities, why })
    }
}

fn word(availability: Availability) -> &'static str {
    match availability.class() {
        Class::Available => "available",
        Class::AvailableIdle => "available-idle",
        Class::Busy => "busy",
        Class::BusyIdle => "busy-idle",
        Class::DoNotDisturb => "do-not-disturb",
        Class::BeRightBack => "be-right-back",
        Class::Away => "away",
        Class::Offline => "offline",
    }
}
