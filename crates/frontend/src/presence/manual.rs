//! What a person chose to be seen as.

use std::time::Duration;

use directory::UserId;
use presence::Manual;

use crate::frontend::{Due, FrontEnd};

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
            let left = Duration::from_millis(at_unix_ms.saturating_sub(now.wall.0)).min(LOOK_AGAIN_AFTER_MAX);
            account.person.manual_timer =
                Some(self.timers.insert(now.monotonic + left, Due::ManualExpires(user)));
        }
        self.presence_changed(user);
    }
}

/// The wall clock may be set: how far away a choice's end is, is looked at so often.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(3600);
