//! Passing on: where a request goes when it is known whose it is, and what is written into it on the way.
//!
//! Only configuration, the copies of the homes' accounts and Route entries of listed servers choose a next hop, and it must
//! always prove its name.

use std::sync::Arc;

use federation::origin::{FromProof, MEMBER_HEADER, ORIGIN_HEADER, Origin};
use federation::{HostPort, ServerRole};
use node::{Expected, Side};
use sign_in::AddressKey;
use sip_message::{HeaderId, Method, Uri};
use sip_stack::hop::{PeerHop, Place};
use sip_stack::request::Refusal;
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::director::Director;
use crate::homes::HomeId;
use crate::pipeline::{Plan, Request};

/// Port of SIP over TLS where a URI names none (RFC 3261 §19.1.2).
const TLS_PORT: u16 = 5061;
/// Edges that are tried in place of one that cannot be reached: with 5 s for each, what the sender's patience holds (timer F, 32 s).
const EDGES_TRIED_MAX: usize = 4;

/// The way to a server of ours.
pub(crate) fn hop_to(server: &HostPort) -> Arc<PeerHop> {
    Arc::new(PeerHop {
        side: Side::Inside,
        place: Place::Host { name: server.host.clone(), port: server.port },
        expected: Expected::host(server.host.clone()),
    })
}

impl Director {
    /// A partner's request: to the home of whom it asks for. Who does not exist is told so here.
    pub(crate) fn partner(&mut self, request: &Request<'_>) -> Result<Plan, Refusal> {
        let origin = self.origin(request)?;
        let Origin::Partner { domain, from: proof, .. } = &origin else { unreachable!("the caller looked") };
        let refused = || Refusal::new(403, "From is not of the domain that the partner proved");
        let from = request.message.from().ok().and_then(|from| AddressKey::from_uri(&from.uri));
        let is_of_domain = from.is_some_and(|from| from.domain() == domain);
        let hop = match self.next_server(request, ServerRole::FrontEnd)? {
            // Of a party of a dialog the home knows what address it bears.
            Some(hop) if is_of_domain || *proof == FromProof::Dialog => hop,
            None if is_of_domain => self.home_of_recipient(request)?,
            Some(_) | None => return Err(refused()),
        };
        let identity = HeaderChange::Remove(HeaderId::PAssertedIdentity);
        Ok(self.plan(request, hop, Some(&origin), identity))
    }

    /// What a Front End sends out: to a device behind an edge, or to another organisation.
    pub(crate) fn outward(&mut self, request: &Request<'_>) -> Result<Plan, Refusal> {
        let within_dialog = request.message.to_tag().is_some();
        let (hop, around) = match self.next_server(request, ServerRole::AccessEdge)? {
            // A registration's flow is at its own edge alone.
            Some(hop) if !within_dialog => (hop, Vec::new()),
            Some(hop) => {
                let around = self.edges_around(&hop);
                (hop, around)
            }
            None => {
                let is_ours = request.uri.is_some_and(|uri| self.is_our_domain(uri.host()));
                let route = self.config.route.as_ref().filter(|_| !is_ours);
                let route =
                    route.ok_or(Refusal::new(404, "a Front End names no edge, and none is configured"))?;
                (hop_to(route), Vec::new())
            }
        };
        let asserted = request.message.header(HeaderId::PAssertedIdentity);
        let identity = match asserted.and_then(|value| std::str::from_utf8(value).ok()) {
            Some(value) => HeaderChange::Set(HeaderId::PAssertedIdentity, value.to_owned()),
            None => HeaderChange::Remove(HeaderId::PAssertedIdentity),
        };
        let mut plan = self.plan(request, hop, None, identity);
        let first = &plan.target;
        let others = around.into_iter().map(|edge| Target { hop: NextHop::Peer(edge), ..first.clone() });
        plan.target.alternatives = others.collect();
        Ok(plan)
    }

    /// The ways to the edges that may stand in for one that cannot be reached, best first (RFC 3263 §4.3): the one that what leaves goes
    /// to, then all that are listed, at the same port. What one has sealed into a dialog, each that has its key reads.
    fn edges_around(&self, gone: &PeerHop) -> Vec<Arc<PeerHop>> {
        let Place::Host { port, .. } = gone.place else { return Vec::new() };
        let edges = self.config.servers.iter().filter(|server| server.role == ServerRole::AccessEdge);
        let listed = edges.map(|edge| HostPort { host: edge.host.to_ascii_lowercase(), port });
        let mut around: Vec<Arc<PeerHop>> = Vec::new();
        for hop in self.config.route.clone().into_iter().chain(listed).map(|edge| hop_to(&edge)) {
            if *hop != *gone && !around.contains(&hop) {
                around.push(hop);
            }
        }
        around.truncate(EDGES_TRIED_MAX);
        around
    }

    /// The server that the Route entry behind ours names, which must be a listed one of the role that comes next.
    pub(crate) fn next_server(
        &self,
        request: &Request<'_>,
        role: ServerRole,
    ) -> Result<Option<Arc<PeerHop>>, Refusal> {
        let Some(next) = request.next_route() else { return Ok(None) };
        let next: Uri<'_> = next?;
        if !next.is_sip() || !self.is_listed(next.host_text(), role) {
            return Err(Refusal::new(403, "a Route leads to a server that is not ours"));
        }
        let host = next.host_text().to_ascii_lowercase();
        Ok(Some(hop_to(&HostPort { host, port: next.port().unwrap_or(TLS_PORT) })))
    }

    pub(crate) fn hop_to_home(&self, home: HomeId) -> Arc<PeerHop> {
        Arc::clone(&self.feeds[home.0].hop)
    }

    fn home_of_recipient(&self, request: &Request<'_>) -> Result<Arc<PeerHop>, Refusal> {
        if !self.homes.is_complete() {
            return Err(Refusal::later("the homes' accounts are not known yet"));
        }
        // Within a dialog with a home itself (a subscription, RFC 6665 §4.4) the Request-URI is the home's Contact.
        if request.message.to_tag().is_some()
            && let Some(uri) = &request.uri
            && let Some(feed) = self.feeds.iter().find(|feed| feed.host.eq_ignore_ascii_case(uri.host_text()))
        {
            return Ok(Arc::clone(&feed.hop));
        }
        let key = request.uri.as_ref().and_then(AddressKey::from_uri);
        let known = key.and_then(|key| self.homes.find(&key)).filter(|known| known.copied.is_enabled);
        match known {
            Some(known) => Ok(self.hop_to_home(known.home)),
            None => Err(Refusal::new(404, "no such user")),
        }
    }

    /// A request on its way: what others may not say goes, what was proved is said, and our entries are made.
    pub(crate) fn plan(
        &self,
        request: &Request<'_>,
        hop: Arc<PeerHop>,
        origin: Option<&Origin>,
        identity: HeaderChange,
    ) -> Plan {
        let mut changes = vec![
            HeaderChange::Remove(HeaderId::PPreferredIdentity),
            HeaderChange::RemoveNamed(ORIGIN_HEADER),
            HeaderChange::RemoveNamed(MEMBER_HEADER),
            identity,
        ];
        changes.extend(origin.map(|origin| HeaderChange::AppendNamed(ORIGIN_HEADER, origin.to_string())));
        match request.method {
            // RFC 3327 §5.2.
            Method::Register => changes.push(HeaderChange::Prepend(HeaderId::Path, self.entry.clone())),
            Method::Invite | Method::Subscribe | Method::Refer => {
                changes.push(HeaderChange::Prepend(HeaderId::RecordRoute, self.entry.clone()));
            }
            _ => {}
        }
        let target = Target {
            uri: request.message.request_uri_text().to_owned(),
            routes: Vec::new(),
            hop: NextHop::Peer(hop),
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        Plan {
            target,
            forwarding: Forwarding { own_routes: request.own_routes, changes, ..Forwarding::default() },
        }
    }
}
