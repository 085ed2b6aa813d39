//! Other organisations: what passes between their people and ours, and which way it goes.
//!
//! Between the two organisations stands our Access Edge. What comes from there has an origin that says which domain was proved
//! ([`crate::provenance`]); what goes there goes to the configured edge and nowhere else, whatever a Request-URI, a Contact or
//! a Route of the other side says. The edge knows which organisations we talk with. Here is decided what is each user's: who may
//! talk with other organisations at all, and what somebody elsewhere may ask of whom.
//!
//! - Somebody elsewhere speaks for an address of the proved domain, on every method, within a dialog or not.
//! - They reach people of ours, and nobody else: no transit. They call, write and watch presence; they register and publish
//!   nothing, and watch nothing else.
//! - A user without the permission is for them nobody: 404.
//! - A REFER that begins a dialog does not cross. Within a call it does: whoever is transferred calls by their own means, and
//!   is judged as any caller. So nothing ever runs through us from one foreign party to another. Where the transfer names a device
//!   elsewhere by its contact, and a dialog to replace, it goes to the person who has that dialog.

use std::sync::Arc;

use directory::{SipAddress, UserId};
use federation::HostPort;
use node::{Expected, Side};
use presence::{address_of_uri, uri_of_address};
use sip_message::{HeaderId, Host, Method, Uri};
use sip_stack::hop::{PeerHop, Place};
use sip_stack::stack::{NextHop, Target};

use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request, Sender};

use crate::router::Recipient;

/// Tells a user of ours that somebody vouches for who writes or calls: the clearinghouse that the other organisation is a member
/// of. Our own servers alone say it.
pub(crate) const VOUCHED_BY: &str = "Chancery-Vouched-By";

/// Why a user's request goes no further. The user is told, in a Warning (RFC 3261 §20.43).
struct Barred {
    reason: &'static str,
    told: &'static str,
}

const NO_PERMISSION: Barred = Barred {
    reason: "the user may not talk with other organisations",
    told: "Your account may not talk with people of other organisations",
};
const NO_ROUTE: Barred = Barred {
    reason: "the domain is not federated with us",
    told: "This organisation is not connected with others",
};
const NOT_PASSED_ON: Barred = Barred {
    reason: "a method that is not passed on to other organisations",
    told: "This kind of request does not reach other organisations",
};

/// Warn-code of warnings in words of our own (RFC 3261 §20.43).
const WARNING_MISCELLANEOUS: u16 = 399;

/// The way to a server of ours, which must prove its name.
pub(crate) fn hop_to(server: &HostPort) -> Arc<PeerHop> {
    Arc::new(PeerHop {
        side: Side::Inside,
        place: Place::Host { name: server.host.clone(), port: server.port },
        expected: Expected::host(server.host.clone()),
    })
}

impl FrontEnd {
    /// Who asks. A party of a dialog is nobody else's correspondent.
    pub(crate) fn someone(&self, request: &Request<'_>, sender: Sender) -> Result<Someone, Refusal> {
        match sender {
            Sender::User(user) => Ok(Someone::Home(user)),
            Sender::Partner => match address_in_from(request) {
                Some(address) => Ok(Someone::Elsewhere(Arc::new(address))),
                None => Err(Refusal::new(403, "From is no address of a person")),
            },
            Sender::Party => Err(Refusal::new(403, "a party of a dialog may not leave it")),
        }
    }

    /// What somebody elsewhere may ask of whom, outside of calls that are up.
    pub(crate) fn check_partner(&self, request: &Request<'_>, recipient: &Recipient) -> Result<(), Refusal> {
        let begins = request.message.to_tag().is_none();
        match request.method {
            Method::Invite | Method::Message | Method::Subscribe => {}
            // Of a subscription of our own.
            Method::Notify if !begins => {}
            Method::Register | Method::Publish => {
                return Err(Refusal::new(
                    403,
                    "a person of another organisation registers and publishes nothing",
                ));
            }
            _ => return Err(Refusal::new(403, "another organisation may not ask for this")),
        }
        match recipient {
            Recipient::Foreign => Err(Refusal::new(403, "another organisation asks for transit")),
            Recipient::User(user, _) if !self.may_federate(*user) => {
                Err(Refusal::new(404, "the user may not talk with other organisations"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a user may talk with other organisations.
    pub(crate) fn may_federate(&self, user: UserId) -> bool {
        self.users.get(user).is_some_and(|account| account.user.may().federation)
    }

    /// The way to other organisations, if there is one.
    pub(crate) fn hop_elsewhere(&self) -> Option<NextHop> {
        self.federation_hop.clone().map(NextHop::Peer)
    }

    /// The ways that are left for a request of a dialog with another organisation when the edge on the first one cannot be reached.
    pub(crate) fn ways_around_elsewhere(&mut self, target: &Target) -> Vec<Target> {
        let NextHop::Peer(first) = &target.hop else { return Vec::new() };
        let around = self.servers.edges_around(first, None);
        around.into_iter().map(|edge| Target { hop: NextHop::Peer(edge), ..target.clone() }).collect()
    }

    /// Where a request of a user of ours for somebody of another organisation goes, and whom it means.
    pub(crate) fn target_elsewhere(
        &self,
        request: &Request<'_>,
        user: UserId,
    ) -> Result<(SipAddress, Target), Refusal> {
        let mut uri = request.message.request_uri_text().to_owned();
        // An IP address, or a name that no domain can have (RFC 6761 §6.4), is a device's and no person's.
        let address = match request.uri.filter(names_a_domain).and_then(|_| address_of_uri(&uri)) {
            Some(address) => address,
            // A transfer to a device elsewhere means who has the dialog that it names: there they know which device that is.
            None => {
                let holder = self.holder_elsewhere(request).ok_or(Refusal::new(403, NO_ROUTE.reason))?;
                uri = uri_of_address(&holder);
                (*holder).clone()
            }
        };
        if !self.may_federate(user) {
            return Err(self.barred(&NO_PERMISSION));
        }
        let Some(hop) = self.hop_elsewhere() else { return Err(self.barred(&NO_ROUTE)) };
        let is_passed_on = match request.method {
            Method::Invite | Method::Message => true,
            Method::Subscribe => is_presence(request),
            _ => false,
        };
        if !is_passed_on {
            return Err(self.barred(&NOT_PASSED_ON));
        }
        let target = Target {
            uri,
            routes: Vec::new(),
            hop,
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        Ok((address, target))
    }

    /// Somebody of another organisation who has the dialog that an INVITE is to replace (RFC 3891).
    fn holder_elsewhere(&self, request: &Request<'_>) -> Option<Arc<SipAddress>> {
        let holder = self.holder_of_replaced(request.message).filter(|_| request.method == Method::Invite)?;
        match holder.who {
            Someone::Elsewhere(address) => Some(address),
            Someone::Home(_) => None,
        }
    }

    /// Whether people of an organisation have as many subscriptions as they may.
    pub(crate) fn check_watchers_from(&self, who: &Someone) -> Result<(), Refusal> {
        let Someone::Elsewhere(address) = who else { return Ok(()) };
        match self.watchers_from.get(address.domain()) {
            Some(count) if *count >= self.config.federation.watchers_of_domain_max => {
                Err(Refusal::later("people of one other organisation have too many subscriptions"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn watcher_begins(&mut self, who: &Someone) {
        if let Someone::Elsewhere(address) = who {
            *self.watchers_from.entry(address.domain().into()).or_default() += 1;
        }
    }

    pub(crate) fn watcher_ends(&mut self, who: &Someone) {
        if let Someone::Elsewhere(address) = who
            && let Some(count) = self.watchers_from.get_mut(address.domain())
        {
            *count -= 1;
            if *count == 0 {
                self.watchers_from.remove(address.domain());
            }
        }
    }

    fn barred(&self, why: &Barred) -> Refusal {
        let host = &self.config.listeners[0].advertised_host;
        let warning = format!("{WARNING_MISCELLANEOUS} {host} \"{}\"", why.told);
        Refusal::new(403, why.reason).with(HeaderId::Warning, warning)
    }
}

/// The address in From.
pub(crate) fn address_in_from(request: &Request<'_>) -> Option<SipAddress> {
    address_of_uri(request.message.from().ok()?.uri.as_str())
}

fn names_a_domain(uri: &Uri<'_>) -> bool {
    matches!(uri.host(), Host::Name(name) if !name.to_ascii_lowercase().ends_with(".invalid"))
}

/// Whether a SUBSCRIBE is to presence: nothing else is watched across organisations.
fn is_presence(request: &Request<'_>) -> bool {
    let event = request.message.header(HeaderId::Event).and_then(|event| str::from_utf8(event).ok());
    event.is_some_and(|event| event.split(';').next().is_some_and(|package| package.trim() == "presence"))
}
