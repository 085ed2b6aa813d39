//! A request of our own servers: to a remote user's connection, or to another organisation.

use std::sync::Arc;

use federation::{Direction, Facts, Modalities, Provenance, Verdict, judge};
use node::Flow;
use sip_message::{HeaderId, Method};
use sip_stack::outbound::TokenError as FlowError;
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::border::{Entries, ToInside, called, records, routes_of, sealed};
use crate::contact::Audience;
use crate::edge::{AccessEdge, cookie};
use crate::links::Who;
use crate::pipeline::{Plan, Request, address_of, domain_of, without_identities};
use crate::refused::Refused;
use crate::routes::Leads;
use crate::token::{Party, Purpose, Sealed, TokenError};

impl AccessEdge {
    pub(crate) fn outbound(&mut self, request: &Request<'_>) -> Result<Plan, Refused> {
        match &request.own.leads {
            Leads::Flow(Ok(flow)) => self.go_to_client(request, *flow),
            // RFC 5626 §5.3: the binding is worth nothing any more, and the client comes back by itself.
            Leads::Flow(Err(FlowError::Stale)) => {
                Err(Refused::new(430, "flow-gone", "the flow is of an earlier start"))
            }
            // Edges share no flows: of one that shares a name with us, its own may still be there.
            Leads::Flow(Err(FlowError::Forged)) => {
                Err(Refused::new(430, "flow-foreign", "the flow is of another edge, or of none"))
            }
            Leads::Sealed(sealed) => {
                let sealed = sealed.clone()?;
                sealed.check(&[Purpose::FromInside], request.call_id())?;
                match sealed.party {
                    Party::Partner(ref domain) => self.go_to_partner(request, domain, Some(&sealed)),
                    Party::User(_) | Party::Members(..) => Err(TokenError::OtherParty.into()),
                }
            }
            Leads::Nowhere => {
                self.check_no_other_routes(request)?;
                let domain = request.uri.and_then(|uri| domain_of(&uri)).unwrap_or_default();
                self.go_to_partner(request, &domain, None)
            }
        }
    }

    /// To the one server that the policy names for the domain, whatever else the request says.
    fn go_to_partner(
        &mut self,
        request: &Request<'_>,
        domain: &str,
        way: Option<&Sealed>,
    ) -> Result<Plan, Refused> {
        let mut from = request.sender_domain().unwrap_or_default();
        // Who was called by an address of others keeps it; that the end is ours, our entry says.
        if way.is_some_and(|way| request.sender().is_some_and(|sender| way.was_called(&sender))) {
            from.clone_from(&self.config.domains[0]);
        }
        let facts = Facts {
            direction: Direction::Outbound,
            local: &from,
            remote: domain,
            modalities: Modalities::of(request.message),
            method: request.method,
            within_dialog: way.is_some(),
        };
        let road = match judge(&self.config.policy, &Provenance::Inside, &facts, self.now.wall) {
            Verdict::Allow(road) => road,
            Verdict::Refuse(refusal) => return Err(refusal.reason.into()),
        };
        let party = Party::Partner(road.domain.to_string());
        let sealer = &self.entries.sealer;
        let outside = |routes| {
            let end = (party.clone(), called(request.message, |domain| domain == &*road.domain));
            let sealed = sealed(Purpose::FromOutside, end, request.call_id(), routes);
            self.entries.facing_partner(&sealer.seal(&sealed))
        };
        let inside = || {
            let end = (party.clone(), way.and_then(|way| way.called.clone()));
            let sealed = sealed(Purpose::FromInside, end, request.call_id(), Vec::new());
            self.entries.facing_inside(&sealer.seal(&sealed))
        };
        let within = way.map(|_| &*road.domain);
        let uri = request.uri.and_then(|uri| self.entries.their_uri(&uri, within));
        let target = Target {
            uri: uri.unwrap_or_else(|| request.message.request_uri_text().to_owned()),
            // What follows our entry in a dialog is the partner's own way, and data.
            routes: Vec::new(),
            hop: NextHop::Peer(Arc::clone(&road.hop)),
            q: 1000,
            cookie: cookie::PARTNER,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let what = match &road.hub {
            Some(hub) => format!("The clearinghouse {hub}, through which {} is reached,", road.domain),
            None => format!("The server of {}", road.domain),
        };
        let unreachable = self.warning(&format!("{what} cannot be reached or does not prove who it is"));
        let who = match &road.hub {
            Some(hub) => format!("The clearinghouse {hub} or {}", road.domain),
            None => format!("The other organisation ({})", road.domain),
        };
        let refused = Some(self.warning(&format!("{who} does not allow this")));
        let theirs = Some((Arc::clone(&self.entries), road.domain.to_string()));
        let mut forwarding =
            forwarding_out(request, (road.modalities, theirs), (unreachable, refused), outside, inside);
        if request.method == Method::Refer {
            let refer_to = self.entries.refer_to_them(request.message, &road.domain);
            forwarding.changes.extend(refer_to.map(|value| HeaderChange::Set(HeaderId::ReferTo, value)));
        }
        self.hide_contacts(request, &party, &mut forwarding);
        forwarding.own_routes = request.own.count;
        Ok(Plan::new(target, forwarding))
    }

    /// To the connection that a remote user registered on (RFC 5626 §5.3), and to no other.
    fn go_to_client(&mut self, request: &Request<'_>, flow: Flow) -> Result<Plan, Refused> {
        let gone = || Refused::new(430, "flow-gone", "the remote user's connection is gone");
        let Flow::Connection(connection) = flow else { return Err(TokenError::Forged.into()) };
        let link = self.links.get(connection).ok_or_else(gone)?;
        if link.who != Who::Client {
            return Err(gone());
        }
        if !self.config.remote_access {
            return Err(Refused::new(403, "remote-access", "remote access is switched off"));
        }
        let (sent_by, transport) = Entries::client_face(&self.stack, flow).ok_or_else(gone)?;
        let user = request.message.to().ok().and_then(|to| address_of(&to.uri));
        let user = user.ok_or(Refused::new(400, "no-user", "To names no user of a domain"))?;
        let outside = |routes| {
            let end = (Party::User(user.clone()), None);
            let sealed = sealed(Purpose::FromOutside, end, request.call_id(), routes);
            self.entries.facing_client(&self.entries.sealer.seal(&sealed), (&sent_by, transport))
        };
        let inside = || self.entries.facing_inside(&self.stack.routes().tokens().flow_token(flow));
        let target = Target {
            uri: request.message.request_uri_text().to_owned(),
            routes: Vec::new(),
            hop: NextHop::Flow(flow),
            q: 1000,
            cookie: cookie::CLIENT,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let unreachable = self.warning("The remote user's connection is gone");
        let mut forwarding =
            forwarding_out(request, (Modalities::ALL, None), (unreachable, None), outside, inside);
        self.hide_contacts(request, &Party::User(user.clone()), &mut forwarding);
        // Behind a client stands nobody: further routes are what is left of an older way, and inside.
        forwarding.changes.push(HeaderChange::Remove(HeaderId::Route));
        Ok(Plan::new(target, forwarding))
    }

    fn hide_contacts(&self, request: &Request<'_>, party: &Party, forwarding: &mut Forwarding) {
        let person = request.message.from().ok().map(|from| from.uri);
        let shown = self.entries.shown_contacts(request.message, &Audience { party, person });
        forwarding.changes.extend(shown.map(|contacts| HeaderChange::Set(HeaderId::Contact, contacts)));
    }
}

/// What leaves: nothing of the way that it came, but one entry of ours for all of it.
fn forwarding_out(
    request: &Request<'_>,
    (allowed, theirs): (Modalities, Option<(Arc<Entries>, String)>),
    (unreachable, refused): (String, Option<String>),
    outside: impl FnOnce(Vec<String>) -> String,
    inside: impl FnOnce() -> String,
) -> Forwarding {
    let mut changes = without_identities();
    changes.push(HeaderChange::Remove(HeaderId::RecordRoute));
    let mut border =
        ToInside { mark: String::new(), ours: Vec::new(), allowed, unreachable, theirs, refused };
    if records(request.method) {
        let recorded = routes_of(request.message, HeaderId::RecordRoute);
        border.mark = outside(recorded.clone());
        border.ours.push(inside());
        border.ours.extend(recorded);
        changes.push(HeaderChange::Prepend(HeaderId::RecordRoute, border.mark.clone()));
    }
    Forwarding { hides_vias: true, changes, border: Some(Arc::new(border)), ..Forwarding::default() }
}
