//! The addresses of list services (RFC 4826 §4): each belongs to one user, and to no account.
//!
//! An address is taken when a document that names it is on its way to storage, and given back when no document does any
//! more, so that two users who want the same at once cannot both have it.

use directory::{SipAddress, UserId};
use presence::address_of_uri;
use presence::rls_services::Service;
use xcap::{Conflict, Taken};

use crate::frontend::FrontEnd;

/// The user part of the list service that the server itself offers in each domain.
pub(crate) const SERVER_LIST_USER: &str = "rls";

impl FrontEnd {
    /// Whose list service an address is.
    pub(crate) fn service_owner(&self, address: &SipAddress) -> Option<UserId> {
        self.service_addresses.get(address).copied()
    }

    /// Whether a user may have these services (RFC 4826 §4.4.5).
    pub(super) fn check_services(&self, user: UserId, services: &[Service]) -> Result<(), Conflict> {
        let mut taken = Vec::new();
        let mut own = std::collections::BTreeSet::new();
        for (at, service) in services.iter().enumerate() {
            let address = address_of_uri(&service.uri);
            let is_ours =
                |address: &&SipAddress| self.config.domains.iter().any(|d| d.as_str() == address.domain());
            let Some(address) = address.as_ref().filter(is_ours) else {
                let reason = format!("{} is no address of this server", service.uri);
                return Err(Conflict::Constraint(reason));
            };
            let is_free = address.user() != SERVER_LIST_USER
                && self.users.find_address(address).is_none()
                && self.service_owner(address).is_none_or(|owner| owner == user);
            if !is_free || !own.insert(address.clone()) {
                let field = format!("rls-services/service[{}]/@uri", at + 1);
                taken.push(Taken { field, alternatives: Vec::new() });
            }
        }
        if taken.is_empty() { Ok(()) } else { Err(Conflict::Uniqueness(taken)) }
    }

    /// Takes the addresses of services for a user; those that somebody has stay with whom they are.
    pub(super) fn hold_services(&mut self, user: UserId, services: &[Service]) {
        for address in services.iter().filter_map(|service| address_of_uri(&service.uri)) {
            self.service_addresses.entry(address).or_insert(user);
        }
    }

    /// Gives back those addresses of these services that no document of the user names.
    pub(crate) fn release_services(&mut self, user: UserId, services: &[Service]) {
        let held: Vec<SipAddress> = match self.users.get(user) {
            Some(account) => {
                account.documents.services().iter().filter_map(|s| address_of_uri(&s.uri)).collect()
            }
            None => Vec::new(),
        };
        for address in services.iter().filter_map(|service| address_of_uri(&service.uri)) {
            if !held.contains(&address) && self.service_addresses.get(&address) == Some(&user) {
                self.service_addresses.remove(&address);
            }
        }
    }
}
