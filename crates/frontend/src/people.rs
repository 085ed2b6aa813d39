//! Who takes part: users of ours, and people of other organisations.
//!
//! A user of ours is known by an id, and everything else is looked up. Of somebody elsewhere nothing is known but the address,
//! whose domain an edge has proved; the address is all that is ever kept of them.

use std::sync::Arc;

use directory::{SipAddress, UserId};

use crate::frontend::FrontEnd;

/// Somebody who writes, calls or watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Someone {
    /// A user of ours.
    Home(UserId),
    /// A person of another organisation.
    Elsewhere(Arc<SipAddress>),
}

impl Someone {
    /// The user of ours.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self {
            Someone::Home(user) => Some(*user),
            Someone::Elsewhere(_) => None,
        }
    }
}

impl From<UserId> for Someone {
    fn from(user: UserId) -> Someone {
        Someone::Home(user)
    }
}

impl PartialEq<UserId> for Someone {
    fn eq(&self, user: &UserId) -> bool {
        self.user() == Some(*user)
    }
}

impl FrontEnd {
    /// The address of somebody; `None` for a user who is gone.
    pub(crate) fn address_of<'a>(&'a self, who: &'a Someone) -> Option<&'a SipAddress> {
        match who {
            Someone::Home(user) => self.users.get(*user).map(|account| &account.user.address),
            Someone::Elsewhere(address) => Some(address),
        }
    }
}
