//! A remote user's request: from outside, over a connection that proves nothing, in the name of one of our domains. It passes
//! unchallenged; a Director or Front End asks who it is.
//!
//! Within a dialog the name may be anybody's: who was called by the address of somebody else, perhaps of another organisation, because
//! the call was forwarded, keeps it there (RFC 3261 §12.2.1.1). Our sealed entry holds that address, and the edge says so inside.

use std::sync::Arc;

use federation::origin::{MEMBER_HEADER, ORIGIN_HEADER};
use federation::{FromProof, Modalities, Origin};
use sip_message::{HeaderId, Method};
use sip_stack::stack::{Forwarding, HeaderChange};

use crate::border::{Entries, ToOutside, records};
use crate::edge::AccessEdge;
use crate::pipeline::{Plan, Request, without_identities};
use crate::refused::Refused;
use crate::routes::Leads;
use crate::token::{Party, Purpose, Sealed, TokenError};

impl AccessEdge {
    pub(crate) fn remote(&mut self, request: &Request<'_>) -> Result<Plan, Refused> {
        if !self.config.remote_access {
            return Err(Refused::new(403, "remote-access", "remote access is switched off"));
        }
        self.check_trust_headers(request, &[ORIGIN_HEADER, MEMBER_HEADER])?;
        let user = request.sender();
        let user = user.expect("From is of one of our domains, or an entry's");
        let routes = self.way_of_user(request, &user)?;
        let from = if is_in_dialog_of_sender(request) { FromProof::Dialog } else { FromProof::Domain };
        self.check_no_other_routes(request)?;

        let flow = request.arrival.flow;
        let token = self.stack.routes().tokens().flow_token(flow);
        let certificate =
            self.link(request).peer.identity.certificate().map(|certificate| certificate.sha256);
        let origin = Origin::Remote { flow: token.clone(), from, edge: self.name().to_owned(), certificate };
        let mut changes = without_identities();
        changes.push(HeaderChange::AppendNamed(ORIGIN_HEADER, origin.to_string()));
        let entry = self.entries.facing_inside(&token);
        let is_register = request.method == Method::Register;
        if is_register {
            // RFC 5626 §5.1, RFC 3327 §5.1.
            changes.push(HeaderChange::Prepend(HeaderId::Path, entry.replace(";lr>", ";lr;ob>")));
        }
        let is_recorded = records(request.method);
        if is_recorded {
            changes.push(HeaderChange::Prepend(HeaderId::RecordRoute, entry.clone()));
        }
        let border = ToOutside {
            entries: Arc::clone(&self.entries),
            mark: if is_recorded { entry } else { String::new() },
            party: Party::User(user),
            called: None,
            call_id: request.call_id().to_owned(),
            client: Entries::client_face(&self.stack, flow),
            // Our own users' calls are for their home to judge.
            allowed: Modalities::ALL,
            is_register,
        };
        let within_dialog = !routes.is_empty() && request.message.to_tag().is_some();
        let target = self.target_inside(self.uri_inside(request, within_dialog), routes)?;
        let own_routes = request.own.count;
        let border = Some(Arc::new(border) as _);
        Ok(Plan::new(target, Forwarding { own_routes, changes, border, ..Forwarding::default() }))
    }

    /// The routes that our entry stands for: of a dialog, or of the user's registration. An entry of an earlier connection is as
    /// good, also of another edge with the key: it was made for the user, and who that is will be asked inside.
    fn way_of_user(&self, request: &Request<'_>, user: &str) -> Result<Vec<String>, Refused> {
        let sealed = match &request.own.leads {
            Leads::Nowhere => return Ok(Vec::new()),
            Leads::Flow(_) => return Err(TokenError::WrongSide.into()),
            Leads::Sealed(sealed) => sealed.clone()?,
        };
        sealed.check(&[Purpose::FromOutside, Purpose::Service], request.call_id())?;
        match sealed.party {
            Party::User(made_for) if made_for == user => Ok(sealed.routes),
            _ => Err(TokenError::OtherParty.into()),
        }
    }
}

/// Whether a request comes along an entry that was made for the very address in its From, to go on in a dialog.
pub(crate) fn is_in_dialog_of_sender(request: &Request<'_>) -> bool {
    match &request.own.leads {
        Leads::Sealed(Ok(Sealed { purpose: Purpose::FromOutside, party: Party::User(address), .. })) => {
            request.message.to_tag().is_some() && request.sender().as_deref() == Some(&**address)
        }
        _ => false,
    }
}
