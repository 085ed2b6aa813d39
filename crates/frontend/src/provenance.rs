//! Where a request came from: computed from the flow that it came on, and from what a server of ours says that has proved
//! itself on that flow; from nothing else.
//!
//! Headers that only our servers may say (`Chancery-Origin`, `Chancery-Member`, P-Asserted-Identity) are read here, where the
//! flow proves a listed server whose role may say them. From everybody else they prove nothing, and none of them goes on
//! ([`crate::router`]).
//!
//! What this is not: it does not decide what somebody may do. That is for the steps behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use directory::CertificateDigest;
use federation::origin::{Assertion, Origin, OriginError};
use federation::{FromProof, Mode, ServerRole, TrustedServer, is_listed_as, server_of};
use node::{ConnectionId, Expected, Flow, Peer, Side};
use sip_message::{HeaderId, Host, Message, Uri};
use sip_stack::hop::{PeerHop, Place};
use sip_stack::request::Refusal;

use crate::frontend::FrontEnd;
use crate::users::AddressKey;

/// Port of SIP over TLS where a URI names none (RFC 3261 §19.1.2).
const TLS_PORT: u16 = 5061;
/// Next hops that are kept. An organisation has a handful of servers with a port each; more are made anew each time.
const HOPS_KEPT_MAX: usize = 64;
/// Edges that are tried in place of one that cannot be reached: with 5 s for each, what the sender's patience holds (timer F, 32 s).
const EDGES_TRIED_MAX: usize = 4;

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// Somebody on a flow of their own, who is known by nothing yet.
    Client,
    /// A server of ours, for itself or for somebody inside.
    Server {
        server: Arc<TrustedServer>,
        /// The user of ours that it speaks for.
        asserted: Option<AddressKey>,
    },
    /// Somebody outside who came through an edge and has shown no partner's certificate.
    Remote {
        /// Names the flow at its edge.
        flow: Arc<RemoteFlow>,
        /// Who it is, where a Director has authenticated it.
        asserted: Option<AddressKey>,
    },
    /// Another organisation, through an edge.
    Partner(Arc<PartnerOrigin>),
}

/// A remote client's flow. Sign-ins are remembered by it, never by the connection, which is its server's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RemoteFlow {
    /// The edge, in lower case.
    pub(crate) edge: Box<str>,
    /// The edge's name for the flow.
    pub(crate) token: Box<str>,
    /// What the client showed and holds the key of; one flow has one.
    pub(crate) certificate: Option<CertificateDigest>,
}

/// What an edge proved about another organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartnerOrigin {
    /// The SIP domain that was proved, in lower case.
    pub(crate) domain: String,
    /// What proves From.
    pub(crate) from: FromProof,
    /// By which kind of relationship.
    pub(crate) mode: Mode,
    /// The clearinghouse that vouches for the domain.
    pub(crate) hub: Option<String>,
    /// The edge.
    pub(crate) edge: String,
}

impl PartnerOrigin {
    /// Whether an address is of the domain that was proved.
    pub(crate) fn is_domain_of(&self, uri: &Uri<'_>) -> bool {
        AddressKey::from_uri(uri).is_some_and(|address| address.domain() == self.domain)
    }
}

impl Provenance {
    /// The clearinghouse that vouches for the other organisation.
    pub(crate) fn hub(&self) -> Option<&str> {
        match self {
            Provenance::Partner(origin) => origin.hub.as_deref(),
            Provenance::Client | Provenance::Server { .. } | Provenance::Remote { .. } => None,
        }
    }

    /// The remote client's flow.
    pub(crate) fn remote(&self) -> Option<&Arc<RemoteFlow>> {
        match self {
            Provenance::Remote { flow, .. } => Some(flow),
            Provenance::Client | Provenance::Server { .. } | Provenance::Partner(_) => None,
        }
    }

    /// Whether it came over a connection with a server of ours.
    pub(crate) fn is_through_server(&self) -> bool {
        *self != Provenance::Client
    }
}

/// As what Route entries of ours face a server. All edges are one: they keep no dialogs, and a partner or hub reaches whichever it
/// likes of those that share a name outside. So are all Directors, each of which may be listed under two names. No host is called so.
pub(crate) fn faced_as(server: &TrustedServer) -> &str {
    match server.role {
        ServerRole::AccessEdge => "access edges",
        ServerRole::Director => "directors",
        ServerRole::FrontEnd => &server.host,
    }
}

/// Our other servers, and the ways to them.
pub(crate) struct Servers {
    list: Vec<Arc<TrustedServer>>,
    /// The connections with them.
    connections: BTreeMap<ConnectionId, Arc<TrustedServer>>,
    hops: BTreeMap<(String, u16), Arc<PeerHop>>,
}

impl Servers {
    pub(crate) fn new(list: &[TrustedServer]) -> Servers {
        Servers {
            list: list.iter().cloned().map(Arc::new).collect(),
            connections: BTreeMap::new(),
            hops: BTreeMap::new(),
        }
    }

    /// These are our servers from now on; gives the connections with those that are it no more.
    pub(crate) fn list(&mut self, list: Vec<TrustedServer>) -> Vec<ConnectionId> {
        if self.list.iter().map(|server| &**server).eq(&list) {
            return Vec::new();
        }
        self.list = list.into_iter().map(Arc::new).collect();
        let known = &self.list;
        self.hops.retain(|(host, _), _| known.iter().any(|server| server.host.eq_ignore_ascii_case(host)));
        let is_gone = |server: &Arc<TrustedServer>| !known.contains(server);
        let gone = self.connections.iter().filter(|(_, server)| is_gone(server)).map(|(id, _)| *id);
        let gone: Vec<ConnectionId> = gone.collect();
        self.connections.retain(|_, server| !is_gone(server));
        gone
    }

    /// A connection is up; gives the server of ours that it is with.
    pub(crate) fn connected(&mut self, connection: ConnectionId, peer: &Peer) -> Option<&TrustedServer> {
        let server = server_of(&self.list, peer)?;
        self.connections.insert(connection, Arc::clone(server));
        Some(server)
    }

    pub(crate) fn closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    /// The server on a flow.
    pub(crate) fn on(&self, flow: Flow) -> Option<&Arc<TrustedServer>> {
        match flow {
            Flow::Connection(connection) => self.connections.get(&connection),
            Flow::Datagram { .. } => None,
        }
    }

    /// The server of ours that has this host name.
    pub(crate) fn named(&self, host: &str) -> Option<&Arc<TrustedServer>> {
        self.list.iter().find(|server| server.host.eq_ignore_ascii_case(host))
    }

    fn is_listed(&self, host: &str, role: Option<ServerRole>) -> bool {
        self.list.iter().any(|s| s.host.eq_ignore_ascii_case(host) && role.is_none_or(|role| s.role == role))
    }

    /// The way to the server that a route names; `None` where it is none of ours. However the URI speaks of transports, it
    /// is reached over TLS and must prove its name.
    pub(crate) fn hop(&mut self, uri: &Uri<'_>) -> Option<Arc<PeerHop>> {
        let Host::Name(host) = uri.host() else { return None };
        if !uri.is_sip() || !self.is_listed(host, None) {
            return None;
        }
        let key = (host.to_ascii_lowercase(), uri.port().unwrap_or(TLS_PORT));
        Some(self.hop_to(key))
    }

    fn hop_to(&mut self, key: (String, u16)) -> Arc<PeerHop> {
        if let Some(hop) = self.hops.get(&key) {
            return Arc::clone(hop);
        }
        let hop = Arc::new(PeerHop {
            side: Side::Inside,
            place: Place::Host { name: key.0.clone(), port: key.1 },
            expected: Expected::host(key.0.clone()),
        });
        if self.hops.len() < HOPS_KEPT_MAX {
            self.hops.insert(key, Arc::clone(&hop));
        }
        hop
    }

    /// The ways to the edges that may stand in for one that cannot be reached, best first (RFC 3263 §4.3): the one that requests to other
    /// organisations go to, then all that are listed, at the same port. What one has sealed into a dialog, each that has its key reads.
    /// None where the server is no edge.
    pub(crate) fn edges_around(
        &mut self,
        gone: &PeerHop,
        elsewhere: Option<&Arc<PeerHop>>,
    ) -> Vec<Arc<PeerHop>> {
        let Place::Host { name, port } = &gone.place else { return Vec::new() };
        if !self.is_listed(name, Some(ServerRole::AccessEdge)) {
            return Vec::new();
        }
        let edges = self.list.iter().filter(|server| server.role == ServerRole::AccessEdge);
        let listed: Vec<_> = edges.map(|edge| (edge.host.to_ascii_lowercase(), *port)).collect();
        let listed = listed.into_iter().map(|key| self.hop_to(key));
        let mut around: Vec<Arc<PeerHop>> = Vec::new();
        for hop in elsewhere.cloned().into_iter().chain(listed) {
            if *hop != *gone && !around.contains(&hop) {
                around.push(hop);
            }
        }
        around.truncate(EDGES_TRIED_MAX);
        around
    }

    /// The way to the server of a route as it stands in a header or a registration's path.
    pub(crate) fn hop_of_route(&mut self, route: &str) -> Option<Arc<PeerHop>> {
        let uri = route.trim_start_matches('<').split('>').next()?;
        self.hop(&Uri::parse(uri).ok()?)
    }
}

impl FrontEnd {
    /// Where a request that came on `flow` came from.
    pub(crate) fn provenance(&self, message: &Message, flow: Flow) -> Result<Provenance, Refusal> {
        let Some(server) = self.servers.on(flow) else { return Ok(Provenance::Client) };
        let may_say = |assertion| server.role.may_assert(assertion);
        let origin = Origin::in_message(message).map_err(unreadable)?;
        let origin = origin.filter(|origin| may_say(origin.assertion()));
        let asserted = || match may_say(Assertion::OurUser) {
            true => asserted_user(message),
            false => Ok(None),
        };
        let Some(origin) = origin else {
            // Who stands at the perimeter speaks for people outside, and says so.
            let asserted = if server.role == ServerRole::FrontEnd { asserted()? } else { None };
            return Ok(Provenance::Server { server: Arc::clone(server), asserted });
        };
        let is_its_own = match server.role {
            ServerRole::AccessEdge => {
                server.host.eq_ignore_ascii_case(origin.edge()) || self.is_edge_called(flow, origin.edge())
            }
            ServerRole::Director | ServerRole::FrontEnd => {
                self.servers.is_listed(origin.edge(), Some(ServerRole::AccessEdge))
            }
        };
        if !is_its_own {
            return Err(Refusal::new(403, "a server of ours tells of an edge that is not listed"));
        }
        Ok(match origin {
            // From is held against the account, or against our own Route entry, here.
            Origin::Remote { flow, from: _, edge, certificate } => {
                let certificate = certificate.map(CertificateDigest);
                let flow = RemoteFlow { edge: edge.into(), token: flow.into(), certificate };
                Provenance::Remote { flow: Arc::new(flow), asserted: asserted()? }
            }
            Origin::Partner { domain, mode, hub, from, edge } => {
                Provenance::Partner(Arc::new(PartnerOrigin { domain, from, mode, hub, edge }))
            }
        })
    }
}

impl FrontEnd {
    /// Whether the edge on a flow is listed under this name too.
    fn is_edge_called(&self, flow: Flow, host: &str) -> bool {
        let Flow::Connection(connection) = flow else { return false };
        let peer = self.stack.hops().peer(connection);
        peer.is_some_and(|peer| is_listed_as(&self.servers.list, peer, host, ServerRole::AccessEdge))
    }
}

/// Whom P-Asserted-Identity names (RFC 3325 §9.1): our servers write one `sip:` URI.
fn asserted_user(message: &Message) -> Result<Option<AddressKey>, Refusal> {
    let malformed = || Refusal::new(400, "a server of ours asserts an identity that cannot be read");
    let mut values = message.name_addrs(HeaderId::PAssertedIdentity);
    let Some(first) = values.next() else { return Ok(None) };
    let key = first.ok().and_then(|address| AddressKey::from_uri(&address.uri));
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        _ => Err(malformed()),
    }
}

fn unreadable(error: OriginError) -> Refusal {
    match error {
        OriginError::Repeated(_) => Refusal::new(400, "a server of ours says a trust header twice"),
        OriginError::Malformed(_) => Refusal::new(400, "a server of ours says a malformed trust header"),
    }
}
