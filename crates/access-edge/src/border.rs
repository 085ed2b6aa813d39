//! What the two sides see of each other in Record-Route, Service-Route and in responses.
//!
//! A dialog that crosses an edge gets one entry of ours on each side (RFC 5658, each side sees its own). The one that faces inside
//! names the peer: a sealed partner, or the flow of a remote user. The one that faces outside stands for all routes of the inside.
//! A response carries the entries of the other side back, and is translated on its way: [`ToInside`] and [`ToOutside`].

use std::sync::Arc;

use federation::origin::{MEMBER_HEADER, ORIGIN_HEADER};
use federation::{Modalities, with_streams_refused};
use node::{Flow, Listener, Side, Transport};
use sip_message::{Edit, HeaderId, Message, Method, NameAddr, ResponseBuilder};
use sip_stack::route::Names;
use sip_stack::stack::{Border, Stack};

use crate::config::Config;
use crate::contact::Audience;
use crate::pipeline::{address_of, domain_of};
use crate::token::{Party, Purpose, Sealed, Sealer, dialog_of};

/// How entries of ours look.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) sealer: Sealer,
    names: Names,
    /// Our domains, in lower case.
    pub(crate) domains: Vec<String>,
    /// The hosts of our servers.
    pub(crate) servers: Vec<String>,
    /// `host:port` of the first TLS listener on each side.
    inside: Option<String>,
    outside: Option<String>,
}

impl Entries {
    pub(crate) fn new(config: &Config) -> Entries {
        let Config { listeners, aliases, .. } = config;
        let first = |side| {
            let is_it = |listener: &&Listener| listener.side == side && listener.transport == Transport::Tls;
            let listener = listeners.iter().find(is_it)?;
            Some(format!("{}:{}", listener.advertised_host, listener.address.port()))
        };
        Entries {
            names: Names::new(listeners, aliases.iter().map(String::as_str)),
            sealer: Sealer::new(&config.token_keys),
            domains: config.domains.clone(),
            servers: config.servers.iter().map(|server| server.host.clone()).collect(),
            inside: first(Side::Inside),
            outside: first(Side::Outside),
        }
    }

    /// An entry that faces inside.
    pub(crate) fn facing_inside(&self, user: &str) -> String {
        let sent_by = self.inside.as_deref().expect("an edge has a TLS listener inside");
        format!("<sip:{user}@{sent_by};transport=tls;lr>")
    }

    /// An entry that faces a partner.
    pub(crate) fn facing_partner(&self, user: &str) -> String {
        let sent_by = self.outside.as_deref().expect("an edge has a TLS listener outside");
        format!("<sip:{user}@{sent_by};transport=tls;lr>")
    }

    /// An entry that faces the client on a flow: by the listener that it came to.
    pub(crate) fn facing_client(&self, user: &str, (sent_by, transport): (&str, Transport)) -> String {
        format!("<sip:{user}@{sent_by};transport={};lr>", transport.uri_parameter())
    }

    /// What an entry for the client on a flow shows; `None` where the flow is gone.
    pub(crate) fn client_face(stack: &Stack, flow: Flow) -> Option<(String, Transport)> {
        let (transport, _) = stack.hops().flow_facts(flow)?;
        Some((stack.hops().sent_by(flow)?.to_owned(), transport))
    }
}

/// Whether a request may begin a dialog, or belongs to one whose routes are to be repaired: we stay in its path. RFC 6665 §4.3 asks for
/// NOTIFY too.
pub(crate) fn records(method: Method<'_>) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
}

/// The routes of a header, as text.
pub(crate) fn routes_of(message: &Message, id: HeaderId) -> Vec<String> {
    message.elements(id).filter_map(|route| str::from_utf8(route).ok()).map(str::to_owned).collect()
}

/// Headers of a message that never cross, whoever wrote them: identities and provenance are said by us or by nobody
/// (RFC 3325 §5), and nobody needs the other side's path.
pub(crate) const NEVER_CROSS: [HeaderId; 4] =
    [HeaderId::PAssertedIdentity, HeaderId::PPreferredIdentity, HeaderId::PAccessNetworkInfo, HeaderId::Path];
/// The same without an id.
pub(crate) const NEVER_CROSS_NAMED: [&str; 2] = [ORIGIN_HEADER, MEMBER_HEADER];

fn remove_never_cross(edit: &mut Edit<'_>) {
    for id in NEVER_CROSS {
        edit.remove(id);
    }
    for name in NEVER_CROSS_NAMED {
        edit.remove_named(name);
    }
}

/// Refuses the streams in a response that the relationship does not allow: see [`with_streams_refused`].
fn refuse_streams<'m>(response: &'m Message, allowed: Modalities, edit: &mut Edit<'m>) {
    let Some(body) = with_streams_refused(response, allowed) else { return };
    if body.is_empty() {
        edit.remove(HeaderId::ContentType);
    }
    edit.body(None, body.into());
}

/// Responses from one member of a clearinghouse to another.
#[derive(Debug)]
pub(crate) struct Between {
    /// What may pass.
    pub(crate) allowed: Modalities,
}

impl Border for Between {
    fn response<'m>(&'m self, response: &'m Message, edit: &mut Edit<'m>) {
        refuse_streams(response, self.allowed, edit);
    }
}

/// Responses from inside, to whoever asked from outside.
#[derive(Debug)]
pub(crate) struct ToOutside {
    pub(crate) entries: Arc<Entries>,
    /// Our entry on the inside, as the request carried it; empty where it carried none.
    pub(crate) mark: String,
    pub(crate) party: Party,
    /// See [`Sealed::called`].
    pub(crate) called: Option<String>,
    /// What tells the dialog: a digest of it is made where an entry is.
    pub(crate) call_id: String,
    /// What entries for this peer show; a partner's where there is none.
    pub(crate) client: Option<(String, Transport)>,
    /// What may pass.
    pub(crate) allowed: Modalities,
    /// Whether the request was a REGISTER: its answer says how to come back (RFC 3608).
    pub(crate) is_register: bool,
}

impl ToOutside {
    fn entry(&self, purpose: Purpose, routes: Vec<String>) -> String {
        let dialog = if purpose == Purpose::Service { [0; 16] } else { dialog_of(&self.call_id) };
        let sealed =
            Sealed { purpose, party: self.party.clone(), dialog, called: self.called.clone(), routes };
        let token = self.entries.sealer.seal(&sealed);
        match &self.client {
            Some((sent_by, transport)) => self.entries.facing_client(&token, (sent_by, *transport)),
            None => self.entries.facing_partner(&token),
        }
    }
}

impl Border for ToOutside {
    fn response<'m>(&'m self, response: &'m Message, edit: &mut Edit<'m>) {
        remove_never_cross(edit);
        refuse_streams(response, self.allowed, edit);
        // What is said for us names our servers.
        edit.remove(HeaderId::Warning);
        let person = response.to().ok().map(|to| to.uri);
        let audience = Audience { party: &self.party, person };
        // What a client registered is its own.
        let shown = if self.is_register { None } else { self.entries.shown_contacts(response, &audience) };
        if let Some(contacts) = shown {
            edit.set(HeaderId::Contact, contacts);
        }
        let mut recorded = routes_of(response, HeaderId::RecordRoute);
        if !recorded.is_empty() {
            edit.remove(HeaderId::RecordRoute);
            // Above our entry stands the inside, the nearest to us last; below it what the peer sent.
            if let Some(place) = recorded.iter().position(|route| *route == self.mark) {
                let theirs = recorded.split_off(place + 1);
                recorded.pop();
                recorded.reverse();
                edit.insert_first(HeaderId::RecordRoute, self.entry(Purpose::FromOutside, recorded));
                for route in theirs {
                    edit.insert_first(HeaderId::RecordRoute, route);
                }
            }
        }
        if response.header(HeaderId::ServiceRoute).is_some() {
            edit.remove(HeaderId::ServiceRoute);
            let is_ours = |route: &String| {
                let route = NameAddr::parse(route.as_bytes());
                route.is_ok_and(|route| self.entries.names.is_self(&route.uri))
            };
            let mut routes = routes_of(response, HeaderId::ServiceRoute);
            routes.retain(|route| !is_ours(route));
            if self.is_register {
                edit.insert_first(HeaderId::ServiceRoute, self.entry(Purpose::Service, routes));
            }
        }
    }
}

/// Responses from outside, to whichever server of ours asked.
#[derive(Debug)]
pub(crate) struct ToInside {
    /// Our entry on the outside, as the request carried it.
    pub(crate) mark: String,
    /// Our entry on the inside, and below it what the request came with.
    pub(crate) ours: Vec<String>,
    /// What may pass.
    pub(crate) allowed: Modalities,
    /// What is said inside where nobody outside could be reached.
    pub(crate) unreachable: String,
    /// Whose Contacts are shown inside as addresses of that domain; `None` where a user of ours is at the other end.
    pub(crate) theirs: Option<(Arc<Entries>, String)>,
    /// What is said inside where another organisation refuses and does not say why: mostly it will not tell strangers. `None` where a
    /// user of ours is at the other end.
    pub(crate) refused: Option<String>,
}

/// Final responses by which an organisation says that it does not allow something: its policy, its methods, its media.
const STATUSES_OF_POLICY: [u16; 3] = [403, 405, 488];

impl Border for ToInside {
    fn response<'m>(&'m self, response: &'m Message, edit: &mut Edit<'m>) {
        remove_never_cross(edit);
        refuse_streams(response, self.allowed, edit);
        edit.remove(HeaderId::ServiceRoute);
        edit.remove(HeaderId::RecordRoute);
        if let Some(refused) = &self.refused
            && response.status().is_some_and(|status| STATUSES_OF_POLICY.contains(&status))
            && response.header(HeaderId::Warning).is_none()
        {
            edit.insert_first(HeaderId::Warning, refused.as_str());
        }
        let makes_dialog = response.status().is_some_and(|status| (101..300).contains(&status));
        // A redirection names others.
        if let Some((entries, domain)) = self.theirs.as_ref().filter(|_| makes_dialog) {
            let person = response.to().ok().map(|to| to.uri);
            if let Some(contact) = entries.their_contact(response, domain, person) {
                edit.set(HeaderId::Contact, contact);
            }
        }
        if self.ours.is_empty() || !makes_dialog {
            return;
        }
        // What a peer put above our entry is its own way, data for us; what it claims to stand below is ours to know.
        let theirs = response.elements(HeaderId::RecordRoute);
        let theirs = theirs.filter_map(|route| str::from_utf8(route).ok());
        for route in theirs.take_while(|route| *route != self.mark) {
            edit.insert_first(HeaderId::RecordRoute, route);
        }
        for route in &self.ours {
            edit.insert_first(HeaderId::RecordRoute, route.as_str());
        }
    }

    fn own_answer(&self, response: &mut ResponseBuilder<'_>) {
        response.header(HeaderId::Warning, &self.unreachable);
    }
}

/// What is sealed into the entry for one end of a dialog.
pub(crate) fn sealed(purpose: Purpose, (party, called): End, call_id: &str, routes: Vec<String>) -> Sealed {
    Sealed { purpose, party, dialog: dialog_of(call_id), called, routes }
}

/// Whom an entry is made for, and what it was called by: see [`Sealed::called`].
pub(crate) type End = (Party, Option<String>);

/// The address that a request calls its receiver by, where `is_of_receiver` says that it is not of the receiver's domain.
pub(crate) fn called(message: &Message, is_of_receiver: impl FnOnce(&str) -> bool) -> Option<String> {
    let to = message.to().ok()?.uri;
    let domain = domain_of(&to).unwrap_or_default();
    if is_of_receiver(&domain) { None } else { address_of(&to) }
}
