//! What a person chose to be seen as.

use std::time::Duration;

use directory::UserId;
use node::UnixMillis;
use presence::{Manual, ManualState, Note, TEXT_OCTETS_MAX};

use crate::admin::{DevicePresence, PresenceDetails};
use crate::frontend::{Due, FrontEnd};
use crate::users::Account;

/// What a person's choice becomes; what is `None` stays as it is.
pub(crate) fn chosen(
    before: &Manual,
    choice: Option<(ManualState, Option<u64>)>,
    note: Option<&Note>,
) -> Manual {
    let (state, expires_unix_ms) = match choice {
        Some((state, expires_unix_ms)) => (Some(state), expires_unix_ms),
        None => (before.state, before.expires_unix_ms),
    };
    let note = note.map(|note| {
        let end = note.text.floor_char_boundary(TEXT_OCTETS_MAX);
        Note { text: note.text[..end].into(), ..*note }
    });
    Manual { state, expires_unix_ms, note: note.or_else(|| before.note.clone()) }
}

impl FrontEnd {
    /// A choice is durable, or was loaded.
    pub(crate) fn set_manual(&mut self, user: UserId, manual: Manual) {
        let Some(account) = self.users.get_mut(user) else { return };
        account.person.manual = manual;
        self.manual_changed(user);
    }

    /// A choice, or a note, may be over.
    pub(crate) fn manual_changed(&mut self, user: UserId) {
        let now = self.now;
        let Some(account) = self.users.get_mut(user) else { return };
        if let Some(timer) = account.person.manual_timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(at_unix_ms) = account.person.manual.next_change(now.wall.0) {
            let at = now.monotonic + time_left(now.wall, at_unix_ms);
            account.person.manual_timer = Some(self.timers.insert(at, Due::ManualExpires(user)));
        }
        self.presence_changed(user);
    }

    /// For the operator: what a user is seen as, and why.
    pub(crate) fn presence_details(&self, account: &Account) -> PresenceDetails {
        let contact_of = |id| account.bindings.iter().rev().find(|b| Some(b.device) == id);
        let devices = self.devices_at(account).into_iter().map(|device| DevicePresence {
            contact: contact_of(device.id).map(|binding| binding.uri.to_string()),
            is_published: device.publication.is_some(),
            state: device.state.clone(),
        });
        let person = &account.person;
        PresenceDetails {
            address: account.user.address.clone(),
            state: person.state.clone(),
            manual: person.manual.clone(),
            devices: devices.collect(),
            watchers: person.told.as_ref().map_or(0, |told| told.watchers()),
        }
    }
}

impl FrontEnd {
    /// Whether somebody set the wall clock: then ends of choices and times in access rules may have passed, or are to come again.
    pub(crate) fn look_at_clock(&mut self) {
        let ahead_ms = self.now.wall.0.wrapping_sub(self.now.monotonic.0 / 1000);
        if ahead_ms.abs_diff(self.wall_ahead_ms) < CLOCK_STEP_MIN_MS {
            return;
        }
        self.wall_ahead_ms = ahead_ms;
        let depends = |account: &&Account| {
            let (manual, rules) = (&account.person.manual, account.documents.rules());
            manual.next_change(0).is_some() || rules.next_change(0).is_some()
        };
        let mut users: Vec<UserId> =
            self.users.iter().filter(depends).map(|account| account.user.id).collect();
        users.sort_unstable();
        for user in users {
            self.manual_changed(user);
            self.rules_changed(user);
        }
    }
}

/// How long until a time on the wall clock, or until it is to be looked at again.
pub(super) fn time_left(now: UnixMillis, at_unix_ms: u64) -> Duration {
    Duration::from_millis(at_unix_ms.saturating_sub(now.0)).min(LOOK_AGAIN_AFTER_MAX)
}

/// What counts as a step of the wall clock: what it is adjusted by while it runs is less for long, and an end of a choice needs no
/// more accuracy.
const CLOCK_STEP_MIN_MS: u64 = 1000;
/// The wall clock may be set while nothing at all comes in: how far away a choice's end is, is looked at so often.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(3600);
