//! Presence: many devices, one person, many watchers (RFC 3856, RFC 3903, design section 5).
//!
//! - `person`: what a home keeps of a person, and what that person's watchers were told last;
//! - `publish`: PUBLISH, and which device a publication belongs to;
//! - `watch`: who may see how much, and the body that all watchers of one level share;
//! - `lists`: one dialog for many people, whose members are rows; `recipients`: the list that a client brings along;
//! - `abroad`: what lists learn of people of other organisations;
//! - `winfo`: who watches;
//! - `manual`: what a person chose, and when that ends by itself.
//!
//! Whatever changes an input calls [`FrontEnd::presence_changed`]. It composes the person's state anew and tells the watchers who see a
//! difference: the first time at once, then not before the window has passed ([`crate::PresencePolicy::window`]); whoever watches by a
//! list may have to wait for that list's own window. When do-not-disturb ends, what was kept quietly is delivered.
//! What this module is not: composition, levels and documents are the crate `presence`, dialogs are `sip_stack`.

pub(crate) mod abroad;
pub(crate) mod lists;
pub(crate) mod manual;
pub(crate) mod person;
pub(crate) mod publish;
pub(crate) mod recipients;
pub(crate) mod watch;
pub(crate) mod winfo;

use directory::UserId;
use presence::{DeviceState, Inputs, compose};
use smallvec::SmallVec;

use self::person::DEVICES_INLINE;
pub(crate) use self::person::Person;
use crate::frontend::{Due, FrontEnd};

impl FrontEnd {
    /// Something that a user's state is composed of may have changed: devices, publications, choices, calls.
    pub(crate) fn presence_changed(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let state = {
            let devices: SmallVec<[&DeviceState; DEVICES_INLINE]> =
                self.devices_at(account).iter().map(|device| device.state).collect();
            compose(&Inputs {
                devices: &devices,
                manual: &account.person.manual,
                calls: self.calls_up(user),
                now_unix_ms: self.now.wall.0,
            })
        };
        if account.person.state == state {
            return;
        }
        let quiet_ends = account.person.state.is_do_not_disturb() && !state.is_do_not_disturb();
        self.users.get_mut(user).expect("it was just found").person.state = state;
        self.watchers_owed(user);
        if quiet_ends {
            self.deliver_to_devices(user);
        }
    }

    /// The state, or the card, is not what watchers were told: they are told now, or when the window has passed.
    pub(crate) fn watchers_owed(&mut self, user: UserId) {
        let Some(told) = self.users.get_mut(user).and_then(|account| account.person.told.as_mut()) else {
            return;
        };
        if told.window.is_some() {
            told.is_behind = true;
        } else {
            self.tell_watchers(user);
        }
    }

    /// What changed within the window is told together.
    pub(crate) fn presence_window_passed(&mut self, user: UserId) {
        let Some(told) = self.users.get_mut(user).and_then(|account| account.person.told.as_mut()) else {
            return;
        };
        told.window = None;
        if std::mem::take(&mut told.is_behind) {
            self.tell_watchers(user);
        }
    }

    /// Whoever sees a difference is owed a NOTIFY, and a window begins.
    fn tell_watchers(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let card = self.card_of(account);
        let account = self.users.get_mut(user).expect("it was just found");
        let Person { state, told: Some(told), .. } = &mut account.person else { return };
        let changed = told.tell(state, card);
        if changed.is_empty() {
            return;
        }
        for watching in &told.watching {
            if changed.holds(watching.level) {
                self.subscriptions.changed_for(self.now.monotonic, watching.id);
            }
        }
        for of in &told.rows {
            if changed.holds(self.lists.level(*of))
                && let Some(id) = self.lists.mark(*of)
            {
                self.subscriptions.gather_for(self.now.monotonic, id, self.config.presence.list_window);
            }
        }
        let window = self.now.monotonic + self.config.presence.window;
        told.window = Some(self.timers.insert(window, Due::PresenceWindow(user)));
    }
}
