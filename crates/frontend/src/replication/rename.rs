//! A person goes by another address or name: whatever stands under the old one goes on under the new.
//!
//! Subscriptions and publications are kept under addresses, and go along. Members of lists are told under the address that the list
//! names them by, as long as it leads to them. Registrations, mailboxes, calls and documents are the user's whatever the address.

use std::collections::BTreeMap;

use directory::{SipAddress, User, UserId};

use crate::events::Package;
use crate::frontend::FrontEnd;
use crate::presence::lists::lists_key;

impl FrontEnd {
    /// Users go by other addresses, which may have gone round among them.
    pub(super) fn addresses_changed(&mut self, before: &BTreeMap<UserId, User>) {
        let mut renamed = Vec::new();
        for (id, before) in before {
            let Some(account) = self.users.get(*id) else { continue };
            if account.user.address != before.address {
                renamed.push((*id, before.address.clone(), account.user.address.clone()));
            }
        }
        // By way of names that nobody has, since one user's old address may be another's new one.
        for (id, old, _) in &renamed {
            self.rename(old, &passing(*id));
        }
        for (id, _, new) in &renamed {
            self.rename(&passing(*id), new);
        }
        for (id, before) in before {
            let is_same = self.users.get(*id).is_none_or(|account| {
                account.user.address == before.address && account.user.aliases == before.aliases
            });
            if !is_same {
                self.rows_follow_addresses(*id, &before.address);
            }
        }
        for (id, ..) in renamed {
            self.everybody_told_anew(id);
        }
    }

    /// Whoever sees a user's name is told.
    pub(super) fn name_changed(&mut self, id: UserId) {
        self.watchers_owed(id);
        self.rows_told_anew(id);
        self.event_changed(Package::PresenceWatchers, id);
    }

    fn rename(&mut self, old: &SipAddress, new: &SipAddress) {
        for package in Package::ALL {
            self.subscriptions.rename_resource(&package.key(old.as_str()), &package.key(new.as_str()));
        }
        self.subscriptions.rename_resource(&lists_key(old), &lists_key(new));
        self.subscriptions.rename_watcher(old.as_str(), new.as_str());
        self.publications.rename_resource(old.as_str(), new.as_str());
    }

    /// Every document about a user names the address.
    fn everybody_told_anew(&mut self, id: UserId) {
        let Some(account) = self.users.get_mut(id) else { return };
        if let Some(told) = &mut account.person.told {
            told.forget_faces();
            for watching in told.watching.clone() {
                self.subscriptions.changed_for(self.now.monotonic, watching.id);
            }
        }
        self.rows_told_anew(id);
        for package in Package::ALL {
            self.event_changed(package, id);
        }
    }
}

/// A name that no account has while names change hands (RFC 6761 §6.4: no domain is called so).
fn passing(id: UserId) -> SipAddress {
    SipAddress::parse(&format!("{}@passing.invalid", id.0)).expect("it is an address")
}
