//! Connections, and what each proved: the one thing that is known of a peer before it says anything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use federation::rate::{Allowance, source};
use federation::{Policy, TrustedServer, claims_more, identify, server_of};
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::{ConnectionId, Peer, Side, Transport};
use sip_stack::timer::TimerId;

use crate::config::Mode;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A listed server of ours, by its host name.
    Server(Arc<str>),
    /// Somebody inside who is no listed server.
    StrangerInside,
    /// Another organisation's server: the partners and hubs that its certificate proves, by name. What is worth what is judged with
    /// each request anew.
    Partner(Vec<Arc<str>>),
    /// Somebody outside: perhaps a user of ours.
    Client,
}

impl Who {
    /// Of a connection, by what it proved and what the policy says now.
    pub(crate) fn of(peer: &Peer, mode: Mode, servers: &[TrustedServer], policy: &Policy) -> Who {
        if peer.side == Side::Inside && mode == Mode::Edge {
            return match server_of(servers, peer) {
                Some(server) => Who::Server(server.host.as_str().into()),
                None => Who::StrangerInside,
            };
        }
        let certificate = peer.identity.certificate().filter(|_| peer.transport == Transport::Tls);
        let Some(proved) = certificate.map(|certificate| identify(policy, certificate)) else {
            return Who::Client;
        };
        let partners = proved.partners.iter().map(|partner| partner.domain.clone());
        let hubs = proved.hubs.iter().map(|hub| hub.name.clone());
        let discovered = proved.discovered.iter().map(|domain| domain.as_str().into());
        let names: Vec<Arc<str>> = partners.chain(hubs).chain(discovered).collect();
        if names.is_empty() { Who::Client } else { Who::Partner(names) }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Who::Server(_) => Kind::Server,
            Who::StrangerInside => Kind::Stranger,
            Who::Partner(_) => Kind::Partner,
            Who::Client => Kind::Client,
        }
    }
}

/// [`Who`] without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Stranger,
    Partner,
    Client,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Server, Kind::Stranger, Kind::Partner, Kind::Client];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Stranger => "stranger",
            Kind::Partner => "partner",
            Kind::Client => "client",
        }
    }
}

/// A connection that is up.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) who: Who,
    /// Of another organisation: the requests a second that the policy lets those begin whom the connection proves.
    pub(crate) rate: u32,
    /// Until a request of a client succeeds.
    pub(crate) deadline: Option<TimerId>,
}

impl Link {
    /// What may come on the connection: `least`, or what the policy allows its peers, and as much again in their dialogs.
    pub(crate) fn allowance(&self, least: Allowance) -> Allowance {
        let of_peers = Allowance::per_second(self.rate.saturating_mul(2));
        if of_peers.per_second > least.per_second { of_peers } else { least }
    }

    /// See [`federation::claims_more`].
    pub(crate) fn claims_more(&self, policy: &Policy) -> bool {
        let is_outside = matches!(self.who.kind(), Kind::Partner | Kind::Client);
        let is_asked = is_outside && self.peer.transport == Transport::Tls;
        let certificate = self.peer.identity.certificate().filter(|_| is_asked);
        certificate.is_some_and(|certificate| claims_more(policy, certificate))
    }
}

/// See [`Link::rate`].
pub(crate) fn rate_of(peer: &Peer, policy: &Policy) -> u32 {
    let certificate = peer.identity.certificate().filter(|_| peer.transport == Transport::Tls);
    let Some(proved) = certificate.map(|certificate| identify(policy, certificate)) else { return 0 };
    let partners = proved.partners.iter().map(|partner| partner.terms.rate_per_second);
    let hubs = proved.hubs.iter().map(|hub| hub.terms.rate_per_second);
    partners.chain(hubs).fold(0, u32::saturating_add)
}

/// All connections that are up.
pub(crate) struct Links {
    by_id: BTreeMap<ConnectionId, Link>,
    sources: HashMap<IpAddr, usize, FixedState>,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Links {
        Links { by_id: BTreeMap::new(), sources: HashMap::with_hasher(FixedState::with_seed(seed)) }
    }

    /// How many connections there are from a source.
    pub(crate) fn count_from(&self, ip: IpAddr) -> usize {
        self.sources.get(&source(ip)).copied().unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, connection: ConnectionId, link: Link) {
        *self.sources.entry(source(link.peer.remote.ip())).or_default() += 1;
        self.by_id.insert(connection, link);
    }

    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Link> {
        let link = self.by_id.remove(&connection)?;
        let source = source(link.peer.remote.ip());
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        Some(link)
    }

    pub(crate) fn get(&self, connection: ConnectionId) -> Option<&Link> {
        self.by_id.get(&connection)
    }

    pub(crate) fn get_mut(&mut self, connection: ConnectionId) -> Option<&mut Link> {
        self.by_id.get_mut(&connection)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Link)> {
        self.by_id.iter().map(|(id, link)| (*id, link))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Link)> {
        self.by_id.iter_mut().map(|(id, link)| (*id, link))
    }
}
