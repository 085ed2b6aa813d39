//! A partner's request, to us.

use std::sync::Arc;

use federation::origin::ORIGIN_HEADER;
use federation::{Direction, Facts, FromProof, HostPort, Member, Modalities, Provenance, Verdict, judge};
use node::{Expected, PeerHop, Place, Side};
use sip_message::{HeaderId, Method, NameAddr, Uri};
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::border::{ToOutside, called, records, sealed};
use crate::edge::{AccessEdge, cookie};
use crate::pipeline::{Plan, Request, domain_of, without_identities};
use crate::refused::Refused;
use crate::routes::Leads;
use crate::token::{Party, Purpose, Sealed, TokenError};

impl AccessEdge {
    pub(crate) fn inbound(&mut self, request: &Request<'_>) -> Result<Plan, Refused> {
        self.check_trust_headers(request, &[ORIGIN_HEADER])?;
        let mut domain = request.sender_domain().unwrap_or_default();
        let way = self.way_from_partner(request, &domain)?;
        let mut from = FromProof::Domain;
        if let Some(Sealed { party: Party::Partner(partner), .. }) = &way
            && *partner != domain
        {
            // The connection must prove whom the dialog is with, whatever it was called by.
            (domain, from) = (partner.clone(), FromProof::Dialog);
        }
        self.check_no_other_routes(request)?;
        let member = said_member(request)?;
        let asked = request.uri.and_then(|uri| domain_of(&uri)).unwrap_or_default();
        let facts = Facts {
            direction: Direction::Inbound,
            // Within a dialog the Request-URI is a contact, and our own entry proves that the dialog is one of ours.
            local: if way.is_some() { &self.config.domains[0] } else { &asked },
            remote: &domain,
            modalities: Modalities::of(request.message),
            method: request.method,
            within_dialog: way.is_some(),
        };
        let certificate = self.link(request).peer.identity.certificate();
        let provenance = Provenance::Outside { certificate, member: member.as_ref() };
        let road = match judge(&self.config.policy, &provenance, &facts, self.now.wall) {
            Verdict::Allow(road) => road,
            Verdict::Refuse(refusal) => return Err(refusal.reason.into()),
        };
        check_asserted(request, &domain)?;
        let discovered = if way.is_none() { self.spend(request, &road)? } else { None };

        let party = Party::Partner(road.domain.to_string());
        let mut changes = without_identities();
        changes.push(HeaderChange::AppendNamed(ORIGIN_HEADER, road.origin(self.name(), from).to_string()));
        let mark = self.record_inside(request, &party, &mut changes);
        let border = ToOutside {
            entries: Arc::clone(&self.entries),
            mark,
            party,
            called: way.as_ref().and_then(|way| way.called.clone()),
            call_id: request.call_id().to_owned(),
            client: None,
            allowed: road.modalities,
            is_register: false,
        };
        changes.extend(self.transfer_to_person(request));
        let person = request.message.from().ok().map(|from| from.uri);
        let contact = self.entries.their_contact(request.message, &road.domain, person);
        changes.extend(contact.map(|contact| HeaderChange::Set(HeaderId::Contact, contact)));
        let uri = self.uri_inside(request, way.is_some());
        let target = self.target_inside(uri, way.map(|way| way.routes).unwrap_or_default())?;
        let own_routes = request.own.count;
        let border = Some(Arc::new(border) as _);
        let forwarding = Forwarding { own_routes, changes, border, ..Forwarding::default() };
        Ok(Plan { discovered, ..Plan::new(target, forwarding) })
    }

    /// The sealed way of a dialog, if the request comes along one, for this very partner: of the domain that it was made for, or
    /// called by the address that stands in From.
    fn way_from_partner(&self, request: &Request<'_>, domain: &str) -> Result<Option<Sealed>, Refused> {
        let sealed = match &request.own.leads {
            Leads::Nowhere => return Ok(None),
            Leads::Flow(_) => return Err(TokenError::WrongSide.into()),
            Leads::Sealed(sealed) => sealed.clone()?,
        };
        sealed.check(&[Purpose::FromOutside], request.call_id())?;
        match &sealed.party {
            Party::Partner(made_for) if made_for == domain => Ok(Some(sealed)),
            Party::Partner(_) if request.sender().is_some_and(|sender| sealed.was_called(&sender)) => {
                Ok(Some(sealed))
            }
            _ => Err(TokenError::OtherParty.into()),
        }
    }

    /// Puts our entry that faces inside, sealed for the peer, above those of the peer; gives it.
    fn record_inside(&self, request: &Request<'_>, party: &Party, changes: &mut Vec<HeaderChange>) -> String {
        if !records(request.method) {
            return String::new();
        }
        let end = (party.clone(), called(request.message, |domain| self.is_our_domain(domain)));
        let sealed = sealed(Purpose::FromInside, end, request.call_id(), Vec::new());
        let entry = self.entries.facing_inside(&self.entries.sealer.seal(&sealed));
        changes.push(HeaderChange::Prepend(HeaderId::RecordRoute, entry.clone()));
        entry
    }

    /// The Request-URI as the inside knows it: what we have shown of a Contact is that Contact within its dialog, and to
    /// begin something the person whose it is.
    pub(crate) fn uri_inside(&self, request: &Request<'_>, within_dialog: bool) -> String {
        let behind = request.uri.and_then(|uri| {
            let contact = within_dialog.then(|| self.entries.contact_behind(&uri)).flatten();
            contact.or_else(|| self.entries.person_behind(&uri))
        });
        behind.unwrap_or_else(|| request.message.request_uri_text().to_owned())
    }

    /// Who is sent by somebody elsewhere to a Contact that we have shown there is sent to the person.
    fn transfer_to_person(&self, request: &Request<'_>) -> Option<HeaderChange> {
        let is_refer = request.method == Method::Refer;
        let person = is_refer.then(|| self.entries.refer_to_person(request.message)).flatten();
        person.map(|person| HeaderChange::Set(HeaderId::ReferTo, person))
    }

    /// The way inside: along the routes of a token, else to the configured next hops, one after the other.
    pub(crate) fn target_inside(&self, uri: String, routes: Vec<String>) -> Result<Target, Refused> {
        if let Some(first) = routes.first() {
            let server = self.listed_server(first).ok_or(TokenError::Forged)?;
            return Ok(target(uri, routes, inside_hop(&server)));
        }
        let mut hops =
            self.config.next_hops.iter().map(|hop| target(uri.clone(), Vec::new(), inside_hop(hop)));
        let first = hops.next().ok_or(Refused::later("no-next-hop", "no server inside is configured"))?;
        Ok(Target { alternatives: hops.collect(), ..first })
    }

    /// The server of ours that a route names, if it is one.
    fn listed_server(&self, route: &str) -> Option<HostPort> {
        let route = NameAddr::parse(route.as_bytes()).ok()?;
        let hop = host_and_port(&route.uri)?;
        let is_listed = self.config.servers.iter().any(|server| server.host.eq_ignore_ascii_case(&hop.host));
        // The way may lead through this edge again, where both ends are outside.
        (is_listed || self.stack.routes().names().is_self(&route.uri)).then_some(hop)
    }
}

fn host_and_port(uri: &Uri<'_>) -> Option<HostPort> {
    let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}{port}", uri.host_text()).parse().ok()
}

fn inside_hop(hop: &HostPort) -> PeerHop {
    PeerHop {
        side: Side::Inside,
        place: Place::Host { name: hop.host.clone(), port: hop.port },
        expected: Expected::host(hop.host.clone()),
    }
}

fn target(uri: String, routes: Vec<String>, hop: PeerHop) -> Target {
    Target {
        uri,
        routes,
        hop: NextHop::Peer(Arc::new(hop)),
        q: 1000,
        cookie: cookie::INSIDE,
        alternatives: Vec::new(),
        changes: Vec::new(),
    }
}

/// What [`federation::origin::MEMBER_HEADER`] says; whether it is worth something, the verdict sees.
pub(crate) fn said_member(request: &Request<'_>) -> Result<Option<Member>, Refused> {
    Member::in_message(request.message).map_err(|_| {
        Refused::new(403, "trust-header", "Chancery-Member is malformed or stands more than once")
    })
}

/// RFC 3325 §5: what a partner asserts is nothing to us, but to assert somebody of another domain is a lie.
pub(crate) fn check_asserted(request: &Request<'_>, domain: &str) -> Result<(), Refused> {
    let refused =
        || Refused::new(403, "asserted-identity", "P-Asserted-Identity is of a domain that is not proved");
    for identity in request.message.name_addrs(HeaderId::PAssertedIdentity) {
        let identity = identity.map_err(|_| refused())?;
        if identity.uri.is_sip() && domain_of(&identity.uri).as_deref() != Some(domain) {
            return Err(refused());
        }
    }
    Ok(())
}
