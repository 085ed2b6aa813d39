//! Our own entries at the top of Route: what they say, whoever sends them.
//!
//! Ours is what names this edge, and what another edge sealed with a key that we share: when that edge is gone, its dialogs come to
//! whoever is left.

use node::Flow;
use sip_message::{HeaderId, Message, Uri};
use sip_stack::outbound;
use sip_stack::stack::Stack;

use crate::token::{Sealed, Sealer, TokenError};

/// Most entries of ours that are looked at: one of a registration's way and two of a dialog's, which a home may put together.
const OWN_ROUTES_MAX: usize = 4;

/// What the entries of ours at the top of Route say.
#[derive(Debug)]
pub(crate) struct OwnRoutes {
    /// How many there are.
    pub(crate) count: usize,
    /// Whether others follow.
    pub(crate) others_follow: bool,
    /// What the first of them says that says anything.
    pub(crate) leads: Leads,
}

/// Where a request is to go.
#[derive(Debug)]
pub(crate) enum Leads {
    /// Nothing is said.
    Nowhere,
    /// Over a flow (RFC 5626 §5.3).
    Flow(Result<Flow, outbound::TokenError>),
    /// Along a sealed way.
    Sealed(Result<Sealed, TokenError>),
}

impl OwnRoutes {
    pub(crate) fn none() -> OwnRoutes {
        OwnRoutes { count: 0, others_follow: false, leads: Leads::Nowhere }
    }

    pub(crate) fn read(message: &Message, stack: &Stack, sealer: &Sealer) -> OwnRoutes {
        let mut own = OwnRoutes::none();
        for route in message.name_addrs(HeaderId::Route) {
            let is_ours = route.as_ref().is_ok_and(|route| {
                stack.routes().names().is_self(&route.uri) || is_of_sibling(&route.uri, sealer)
            });
            let (true, Ok(route), true) = (is_ours, route, own.count < OWN_ROUTES_MAX) else {
                own.others_follow = true;
                return own;
            };
            own.count += 1;
            // A later one is of an older way: the newest stands on top.
            if let (Leads::Nowhere, Some(user)) = (&own.leads, route.uri.user()) {
                own.leads = match Sealer::is_token(user) {
                    true => Leads::Sealed(sealer.open(user)),
                    false => Leads::Flow(stack.routes().tokens().read_flow_token(user)),
                };
            }
        }
        own
    }
}

/// Whether an entry that names another host is of an edge with our key.
fn is_of_sibling(uri: &Uri<'_>, sealer: &Sealer) -> bool {
    uri.is_sip() && uri.user().is_some_and(|user| sealer.open(user).is_ok())
}
