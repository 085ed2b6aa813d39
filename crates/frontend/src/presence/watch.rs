//! SUBSCRIBE to presence (RFC 3856): who may see how much, and what they get.

use std::time::Duration;

use directory::{SipAddress, UserId};
use presence::{Level, Relation, pidf, rules};
use sip_message::Host;
use sip_stack::dialog::{Policy, Standing, Subscribe, SubscriptionId};

use super::manual::time_left;
use super::person::{Tag, Watching};
use crate::events::{Body, Package, Permitted, Wanted, Watched};
use crate::frontend::{Due, FrontEnd};
use crate::people::Someone;
use crate::pipeline::Refusal;
use crate::router::Recipient;
use crate::users::Account;

/// RFC 3856 §6.4 gives a default of an hour. Changes are gathered once for all of a person's watchers, before the table of
/// subscriptions, and shorter than §6.10 says (`docs/deviations.md`).
pub(crate) const POLICY: Policy = Policy {
    expires_seconds_default: 3600,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::ZERO,
    // A subscriber may use NOTIFYs as a sign of life; more often than this they would be load.
    interval_unchanged_min: Duration::from_secs(10),
};

/// How much a watcher sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) level: Level,
    pub(crate) standing: Standing,
}

impl FrontEnd {
    /// Everybody here may watch everybody here; what is seen is a matter of the level.
    pub(crate) fn permit_presence(
        &self,
        subscribe: &Subscribe<'_>,
        watcher: &Someone,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        match recipient {
            Recipient::User(watched, _) => {
                if !admits(subscribe.accept.as_deref(), pidf::CONTENT_TYPE) {
                    return Err(Refusal::new(406, "Accept does not admit PIDF"));
                }
                let account = self.users.get(*watched).expect("the recipient was just found");
                let watcher = self.address_of(watcher).expect("who signed in exists");
                let access = self.access_of(account, watcher);
                Ok(Permitted {
                    resource: Package::Presence.key(account.user.address.as_str()),
                    wanted: Wanted::Presence(*watched, access.level),
                    standing: access.standing,
                })
            }
            Recipient::Nobody => Err(Refusal::new(404, "no such user")),
            Recipient::Server => Err(Refusal::new(404, "the server itself has no presence")),
            Recipient::Foreign => Err(Refusal::new(403, "the domain is not federated with us")),
        }
    }

    /// How much `watcher` sees of `watched`.
    pub(crate) fn access_of(&self, watched: &Account, watcher: &SipAddress) -> Access {
        if watched.user.address == *watcher || watched.user.aliases.contains(watcher) {
            return Access { level: Level::Personal, standing: Standing::Active };
        }
        let relation = match self.is_our_domain(Host::Name(watcher.domain())) {
            true => Relation::SameOrganisation,
            false => Relation::Federated,
        };
        if relation == Relation::Federated && !watched.user.may().federation {
            return Access { level: Level::Blocked, standing: Standing::Active };
        }
        let rules = watched.documents.rules();
        // What was said of somebody holds whatever the name is now.
        let known = || self.users.find_address(watcher).and_then(|id| self.users.get(id));
        let known = if rules.is_empty() { None } else { known() };
        let aliases = known.map_or(&[][..], |account| account.user.aliases.as_slice());
        let watcher = rules::Watcher { address: watcher, aliases, relation };
        let decision = rules.level(&watcher, &self.config.presence.levels, self.now.wall.0);
        let standing = if decision.is_pending { Standing::Pending } else { Standing::Active };
        Access { level: decision.level, standing }
    }

    /// A subscription to a user's presence begins.
    pub(crate) fn watch_presence(
        &mut self,
        id: SubscriptionId,
        watcher: Someone,
        user: UserId,
        level: Level,
    ) -> Watched {
        let told = self.told_mut(user);
        let at = told.watching.len();
        told.watching.push(Watching { id, watcher, level });
        self.event_changed(Package::PresenceWatchers, user);
        Watched::Presence { user, at: u32::try_from(at).expect("subscriptions are bounded") }
    }

    /// A subscription to a user's presence ended.
    pub(crate) fn presence_unwatched(&mut self, user: UserId, at: u32) {
        let Some(account) = self.users.get_mut(user) else { return };
        let Some(told) = &mut account.person.told else { return };
        told.watching.swap_remove(at as usize);
        if let Some(moved) = told.watching.get(at as usize)
            && let Some(watcher) = self.watchers.get_mut(&moved.id)
        {
            watcher.watched = Watched::Presence { user, at };
        }
        self.forget_told_if_idle(user);
        self.event_changed(Package::PresenceWatchers, user);
    }

    /// Nobody watches any more: what was told costs nothing either.
    pub(crate) fn forget_told_if_idle(&mut self, user: UserId) {
        let Some(account) = self.users.get_mut(user) else { return };
        if let Some(told) = account.person.told.take_if(|told| told.watchers() == 0)
            && let Some(window) = told.window
        {
            self.timers.cancel(window);
        }
    }

    /// What a watcher sees of a user.
    pub(crate) fn presence_body(&mut self, user: UserId, at: u32) -> Option<Body> {
        let key = self.tag_key;
        let account = self.users.get_mut(user)?;
        let told = account.person.told.as_mut()?;
        let level = told.watching.get(at as usize)?.level;
        let face = told.face(level, &account.user.address, key);
        Some(Body { tag: Some(face.tag), ..Body::new(pidf::CONTENT_TYPE, face.body.clone()) })
    }

    /// The tag of what a level would be told of a user.
    pub(crate) fn presence_tag(&mut self, user: UserId, level: Level) -> Option<Tag> {
        let key = self.tag_key;
        let address = self.users.get(user)?.user.address.clone();
        let tag = self.told_mut(user).face(level, &address, key).tag;
        self.forget_told_if_idle(user);
        Some(tag)
    }

    /// A user's access rules changed, or time changed what they say.
    pub(crate) fn rules_changed(&mut self, user: UserId) {
        let now = self.now;
        let Some(account) = self.users.get_mut(user) else { return };
        if let Some(timer) = account.person.rules_timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(at_unix_ms) = account.documents.rules().next_change(now.wall.0) {
            let at = now.monotonic + time_left(now.wall, at_unix_ms);
            account.person.rules_timer = Some(self.timers.insert(at, Due::RulesChange(user)));
        }
        self.access_changed(user);
        self.dialog_access_changed(user);
    }

    /// What a user grants may have changed: whoever sees a difference is told at once.
    pub(crate) fn access_changed(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let Some(told) = &account.person.told else { return };
        let decided: Vec<Access> = told
            .watching
            .iter()
            .map(|watching| match self.address_of(&watching.watcher) {
                Some(watcher) => self.access_of(account, watcher),
                None => Access { level: Level::Blocked, standing: Standing::Active },
            })
            .collect();
        let account = self.users.get_mut(user).expect("it was just found");
        let told = account.person.told.as_mut().expect("it was just seen");
        for (at, access) in decided.into_iter().enumerate() {
            let Watching { id, level, .. } = &told.watching[at];
            let (id, level) = (*id, *level);
            told.watching[at].level = access.level;
            if !told.looks_alike(level, access.level) {
                self.subscriptions.changed_for(self.now.monotonic, id);
            }
            self.subscriptions.set_standing(self.now.monotonic, id, access.standing);
        }
        self.row_access_changed(user);
        self.event_changed(Package::PresenceWatchers, user);
    }
}

/// Whether an Accept admits a type (RFC 3261 §20.1). Without the header the package's own type is meant (RFC 6665 §3.1.3).
pub(crate) fn admits(accept: Option<&str>, content_type: &str) -> bool {
    let Some(accept) = accept else { return true };
    let family = content_type.split('/').next().unwrap_or_default();
    accept.split(',').any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range == "*/*"
            || range.eq_ignore_ascii_case(content_type)
            || range.strip_suffix("/*").is_some_and(|wide| wide.eq_ignore_ascii_case(family))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_admits_types_and_families() {
        for (accept, is_admitted) in [
            (None, true),
            (Some("application/pidf+xml"), true),
            (Some("Application/PIDF+xml;q=0.5"), true),
            (Some("text/plain, application/*"), true),
            (Some("*/*"), true),
            (Some("application/xpidf+xml, text/*"), false),
            (Some(""), false),
        ] {
            assert_eq!(admits(accept, pidf::CONTENT_TYPE), is_admitted, "{accept:?}");
        }
    }
}
