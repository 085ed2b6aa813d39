//! Who watches somebody's presence (RFC 3857): for the watched, who may have to decide.

use std::time::Duration;

use directory::{Role, UserId};
use presence::winfo::{self, Event, Status, Watcher, WatcherInfo};
use sip_stack::dialog::{Policy, Standing, Subscribe, SubscriptionId};

use super::watch::admits;
use crate::events::{Body, Package, Permitted, Wanted};
use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::Refusal;
use crate::router::Recipient;

/// RFC 3857 §4.4 gives a default of an hour, §4.10 a least interval of 5 seconds.
pub(crate) const POLICY: Policy = Policy {
    expires_seconds_default: 3600,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::from_secs(5),
    interval_unchanged_min: Duration::from_secs(5),
};

/// Watchers that one document names: 200 take some 40 KiB. Those who wait for a decision come first.
const WATCHERS_SHOWN_MAX: usize = 200;

/// A watcher as it is shown.
struct Shown {
    id: String,
    uri: String,
    name: String,
    status: Status,
    expiration_seconds: Option<u64>,
}

impl FrontEnd {
    /// People see who watches them, administrators who watches anybody (RFC 3857 §4.6).
    pub(crate) fn permit_watchers(
        &self,
        subscribe: &Subscribe<'_>,
        user: UserId,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        if !admits(subscribe.accept.as_deref(), winfo::CONTENT_TYPE) {
            return Err(Refusal::new(406, "Accept does not admit watcher information"));
        }
        let is_administrator = self.users.get(user).is_some_and(|a| a.user.role() == Role::Administrator);
        match recipient {
            Recipient::User(watched, _) if *watched == user || is_administrator => {
                let account = self.users.get(*watched).expect("the recipient was just found");
                Ok(Permitted {
                    resource: Package::PresenceWatchers.key(account.user.address.as_str()),
                    wanted: Wanted::Watchers(*watched),
                    standing: Standing::Active,
                })
            }
            _ => Err(Refusal::new(403, "who watches is seen by the watched alone")),
        }
    }

    /// Everybody who watches, each time (RFC 3858 §4.1).
    pub(crate) fn watchers_body(&self, user: UserId, version: u32) -> Body {
        let mut shown = Vec::new();
        let resource = self.users.get(user).map(|account| presence::uri_of_address(&account.user.address));
        let told = self.users.get(user).and_then(|account| account.person.told.as_ref());
        for watching in told.into_iter().flat_map(|told| &told.watching) {
            let standing = self.subscriptions.get(watching.id).map(|subscription| subscription.standing());
            let is_pending = standing == Some(Standing::Pending);
            shown.extend(self.shown(watching.id.local_tag(), watching.id, &watching.watcher, is_pending));
        }
        for of in told.into_iter().flat_map(|told| &told.rows) {
            let (id, owner, row, is_pending) = self.lists.watcher(*of);
            let owner = Someone::Home(owner);
            shown.extend(self.shown(format!("{}-{row}", id.local_tag()), id, &owner, is_pending));
        }
        shown.sort_by(|a, b| {
            let waits = |shown: &Shown| shown.status == Status::Pending;
            waits(b).cmp(&waits(a)).then_with(|| a.uri.cmp(&b.uri)).then_with(|| a.id.cmp(&b.id))
        });
        let watchers: Vec<Watcher<'_>> = shown
            .iter()
            .take(WATCHERS_SHOWN_MAX)
            .map(|shown| Watcher {
                id: &shown.id,
                uri: &shown.uri,
                display_name: Some(&*shown.name).filter(|name| !name.is_empty()),
                status: shown.status,
                event: Event::Subscribe,
                expiration_seconds: shown.expiration_seconds,
                duration_seconds: None,
            })
            .collect();
        let info = WatcherInfo {
            resource: resource.as_deref().unwrap_or_default(),
            package: Package::Presence.name(),
            version,
            is_full: true,
            watchers: &watchers,
        };
        Body::new(winfo::CONTENT_TYPE, winfo::render(&info))
    }

    fn shown(&self, id: String, of: SubscriptionId, watcher: &Someone, is_pending: bool) -> Option<Shown> {
        let address = self.address_of(watcher)?;
        let account = watcher.user().and_then(|user| self.users.get(user));
        let expires = self.subscriptions.get(of).map(|s| s.expires().since(self.now.monotonic).as_secs());
        Some(Shown {
            id,
            uri: presence::uri_of_address(address),
            name: account.map_or_else(String::new, |account| account.user.display_name.clone()),
            // Whoever is blocked is shown as active: that is what it sees.
            status: if is_pending { Status::Pending } else { Status::Active },
            expiration_seconds: expires,
        })
    }
}
