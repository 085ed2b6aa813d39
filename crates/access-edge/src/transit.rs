//! A clearinghouse: from one member to another, and for nobody else.
//!
//! Both ends are outside. The hub says to the receiver which member it speaks for, in a header that it removes from everybody's
//! requests, and stays in a dialog's path by one sealed entry that names both members. Vias stay on: they hide nothing of ours, and show loops.

use federation::origin::{MEMBER_HEADER, ORIGIN_HEADER};
use federation::{Direction, Facts, Modalities, Provenance, Verdict, judge};
use sip_message::HeaderId;
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::border::{records, sealed};
use crate::edge::{AccessEdge, cookie};
use crate::inbound::check_asserted;
use crate::pipeline::{Plan, Request, domain_of, without_identities};
use crate::refused::Refused;
use crate::routes::Leads;
use crate::token::{Party, Purpose, TokenError};

impl AccessEdge {
    pub(crate) fn transit(&mut self, request: &Request<'_>) -> Result<Plan, Refused> {
        self.check_trust_headers(request, &[ORIGIN_HEADER])?;
        let from = request.sender_domain().unwrap_or_default();
        let other = self.other_member(request, &from)?;
        let within_dialog = other.is_some();
        if !within_dialog {
            self.check_no_other_routes(request)?;
        }
        let to = match other {
            Some(member) => member,
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
            let party = Party::Members(from, road.domain.to_string());
            let sealed = sealed(Purpose::FromOutside, party, request.call_id(), Vec::new());
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
        Ok(Plan::new(target, Forwarding { own_routes, changes, ..Forwarding::default() }))
    }

    /// The member at the other end of the dialog that the request belongs to.
    fn other_member(&self, request: &Request<'_>, from: &str) -> Result<Option<String>, Refused> {
        let sealed = match &request.own.leads {
            Leads::Nowhere => return Ok(None),
            Leads::Flow(_) => return Err(TokenError::WrongSide.into()),
            Leads::Sealed(sealed) => sealed.clone()?,
        };
        sealed.check(&[Purpose::FromOutside], request.call_id())?;
        match sealed.party {
            Party::Members(one, other) if one == from => Ok(Some(other)),
            Party::Members(one, other) if other == from => Ok(Some(one)),
            _ => Err(TokenError::OtherParty.into()),
        }
    }
}
