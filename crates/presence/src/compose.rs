//! Many devices, one person.

#[cfg(test)]
mod tests;

use crate::{Activities, Activity, Availability, Capabilities, Class, DeviceState, Manual, ManualState};

/// What is known of a person at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The devices that are there, in an order that does not change by itself.
    pub devices: &'a [&'a DeviceState],
    /// What the person chose.
    pub manual: &'a Manual,
    /// Calls that are up through this server.
    pub calls: usize,
    /// Now, in milliseconds since 1970.
    pub now_unix_ms: u64,
}

/// A person's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How available.
    pub availability: Availability,
    /// Doing what.
    pub activities: Activities,
    /// Since when no device was touched, in milliseconds since 1970.
    pub idle_since_unix_ms: Option<u64>,
    /// What the person wrote.
    pub note: Option<Box<str>>,
    /// Where, in words.
    pub place: Option<Box<str>>,
    /// What all devices together can do.
    pub capabilities: Capabilities,
    /// Why it is so; nobody but the operator sees it.
    pub why: Why,
}

/// Why a state is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The person chose it.
    Manual(ManualState),
    /// The person is in so many calls.
    InCall(usize),
    /// It is that of a device, by its place in [`Inputs::devices`].
    Device(usize),
    /// There is no device.
    NoDevice,
}

/// Composes a person's state: an unexpired choice other than available wins; else a call; else the most available device; else
/// offline.
///
/// Somebody who is not there at all is offline, whatever was chosen: a choice says how a person who is there wants to be
/// seen. Of somebody who is offline nothing else is told but a note. Between devices that are equally available the
/// first one counts.
pub fn compose(inputs: &Inputs<'_>) -> State {
    let Inputs { devices, manual, calls, now_unix_ms } = *inputs;
    let note = manual.note_at(now_unix_ms).map(Box::from);
    let Some((at, best)) = devices.iter().enumerate().min_by_key(|(at, device)| (device.availability, *at))
    else {
        return State { note, ..offline(Why::NoDevice) };
    };
    let choice = manual.state_at(now_unix_ms).filter(|choice| *choice != ManualState::Available);
    if choice == Some(ManualState::AppearOffline) {
        return State { note, ..offline(Why::Manual(ManualState::AppearOffline)) };
    }
    let (availability, activities, why) = match choice {
        Some(choice) => (choice.availability(), activities_of(choice), Why::Manual(choice)),
        // A call takes nobody's wish away not to be disturbed.
        None if calls > 0 && best.availability.class() != Class::DoNotDisturb => {
            (Availability::BUSY, Activities::default(), Why::InCall(calls))
        }
        None => (best.availability, best.activities, Why::Device(at)),
    };
    if availability.class() == Class::Offline {
        return State { note: note.or_else(|| best.note.clone()), ..offline(why) };
    }
    let activities = if calls > 0 { activities.with(Activity::OnThePhone) } else { activities };
    // Idle as long as the device that was touched last.
    let idle = devices.iter().map(|device| device.idle_since_unix_ms);
    let idle_since_unix_ms =
        idle.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten().filter(|_| calls == 0);
    let capabilities =
        devices.iter().fold(Capabilities::default(), |all, device| all.union(device.capabilities));
    State {
        availability,
        activities,
        idle_since_unix_ms,
        note: note.or_else(|| best.note.clone()),
        place: best.place.clone(),
        capabilities,
        why,
    }
}

fn offline(why: Why) -> State {
    State {
        availability: Availability::OFFLINE,
        activities: Activities::default(),
        idle_since_unix_ms: None,
        note: None,
        place: None,
        capabilities: Capabilities::default(),
        why,
    }
}

fn activities_of(choice: ManualState) -> Activities {
    let activity = match choice {
        ManualState::Available | ManualState::AppearOffline => return Activities::default(),
        ManualState::Busy | ManualState::DoNotDisturb => Activity::Busy,
        ManualState::BeRightBack | ManualState::Away => Activity::Away,
    };
    Activities::default().with(activity)
}

impl State {
    /// Whether the person can be reached at all, as watchers may know it.
    pub fn is_open(&self) -> bool {
        self.availability.class() != Class::Offline
    }

    /// Whether calls and messages must not disturb.
    pub fn is_do_not_disturb(&self) -> bool {
        self.availability.class() == Class::DoNotDisturb
    }
}
