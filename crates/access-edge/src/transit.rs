//! A clearinghouse: from one member to another, and for nobody else.
//!
//! Both ends are outside. The hub says to the receiver which member it speaks for, in a header that it removes from everybody's
//! requests, and stays in a dialog's path by one sealed entry that names both members. Vias stay on: they hide nothing of ours, and show loops.

use std::sync::Arc;

use federation::origin::{MEMBER_HEADER, ORIGIN_HEADER};
use federation::{Direction, Facts, Modalities, Provenance, Verdict, judge};
use sip_message::HeaderId;
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::border::{Between, End, called, records, sealed};
use crate::edge::{AccessEdge, cookie};
use crate::inbound::check_asserted;
use crate::links::Who;
use crate::pipeline::{Plan, Request, domain_of, without_identities};
use crate::refused::Refused;
use crate::routes::Leads;
use crate::token::{Party, Purpose, TokenError};

impl AccessEdge {
    pub(crate) fn transit(&mut self, request: &Request<'_>) -> Result<Plan, Refused> {
        self.check_trust_headers(request, &[ORIGIN_HEADER])?;
        let way = self.way_of_members(request)?;
        let within_dialog = way.is_some();
        let from = match &way {
            Some(way) => way.from.clone(),
            None => request.sender_domain().unwrap_or_default(),
        };
        if !within_dialog {
            self.check_no_other_routes(request)?;
        }
        let to = match &way {
            Some(way) => way.to.clone(),
            None => request.uri.and_then(|uri| domain_of(&uri)).unwrap_or_default(),
        };
        let facts = Facts {
            direction: Direction::Transit,
            local: &to,
            remote: &from,
            modalities: Modalities::of(request.message),
            method: request.method,
            within_dialog,
        };
        // A member speaks for itself, whatever it says of others.
        let certificate = self.link(request).peer.identity.certificate();
        let provenance = Provenance::Outside { certificate, member: None };
        let road = match judge(&self.config.policy, &provenance, &facts, self.now.wall) {
            Verdict::Allow(road) => road,
            Verdict::Refuse(refusal) => return Err(refusal.reason.into()),
        };
        check_asserted(request, &from)?;
        if !within_dialog {
            self.spend(request, &road)?;
        }
        let mut changes = without_identities();
        if let Some(member) = &road.member {
            changes.push(HeaderChange::AppendNamed(MEMBER_HEADER, member.to_string()));
        }
        if records(request.method) {
            let called = called(request.message, |domain| domain == &*road.domain);
            let end = way.map_or((Party::Members(from, road.domain.to_string()), called), |way| way.end);
            let sealed = sealed(Purpose::FromOutside, end, request.call_id(), Vec::new());
            let entry = self.entries.facing_partner(&self.entries.sealer.seal(&sealed));
            changes.push(HeaderChange::Prepend(HeaderId::RecordRoute, entry));
        }
        let target = Target {
            uri: request.message.request_uri_text().to_owned(),
            routes: Vec::new(),
            hop: NextHop::Peer(road.hop),
            q: 1000,
            cookie: cookie::PARTNER,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let own_routes = request.own.count;
        let border = Some(Arc::new(Between { allowed: road.modalities }) as _);
        Ok(Plan::new(target, Forwarding { own_routes, changes, border, ..Forwarding::default() }))
    }

    /// Between whom the dialog is that the request belongs to: who sent it, and the other one.
    fn way_of_members(&self, request: &Request<'_>) -> Result<Option<Way>, Refused> {
        let sealed = match &request.own.leads {
            Leads::Nowhere => return Ok(None),
            Leads::Flow(_) => return Err(TokenError::WrongSide.into()),
            Leads::Sealed(sealed) => sealed.clone()?,
        };
        sealed.check(&[Purpose::FromOutside], request.call_id())?;
        let Party::Members(caller, callee) = &sealed.party else { return Err(TokenError::OtherParty.into()) };
        let domain = request.sender_domain().unwrap_or_default();
        let was_called = request.sender().is_some_and(|sender| sealed.was_called(&sender));
        // Who was called by an address of others, perhaps of the caller's own domain, is told by the connection: the verdict asks
        // whether it proves the callee.
        let is_callee = domain == *callee || was_called && self.proves(request, callee);
        let (from, to) = match is_callee {
            true => (callee, caller),
            false if domain == *caller => (caller, callee),
            false => return Err(TokenError::OtherParty.into()),
        };
        Ok(Some(Way { from: from.clone(), to: to.clone(), end: (sealed.party.clone(), sealed.called) }))
    }

    /// Whether the connection proves a member now.
    fn proves(&self, request: &Request<'_>, member: &str) -> bool {
        matches!(&self.link(request).who, Who::Partner(names) if names.iter().any(|name| **name == *member))
    }
}

/// The way of a dialog between two members.
struct Way {
    from: String,
    to: String,
    /// What its entry says, again.
    end: End,
}
