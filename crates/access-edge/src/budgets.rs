//! How much somebody outside may ask for in a time: connections, sources, partners and hubs, discovered partners.
//!
//! The buckets are [`federation::rate`]'s; here is which of them a request is taken from, and what its sender is told.

use std::net::IpAddr;
use std::sync::Arc;

use federation::origin::Mode;
use federation::rate::{self, Allowance, Buckets, Exhausted};
use federation::{Reason, Road, discovery};
use node::{ConnectionId, Instant, Now};
use sip_message::HeaderId;

use crate::refused::Refused;

/// All buckets of an edge.
pub(crate) struct Budgets {
    connections: Buckets<ConnectionId>,
    sources: Buckets<IpAddr>,
    peers: Buckets<Arc<str>>,
    pub(crate) discovered: discovery::Budgets,
}

impl Budgets {
    pub(crate) fn new(seed: u64) -> Budgets {
        Budgets {
            connections: Buckets::new(rate::CONNECTIONS_MAX, seed),
            sources: Buckets::new(rate::SOURCES_MAX, seed),
            peers: Buckets::new(rate::PARTNERS_MAX, seed),
            discovered: discovery::Budgets::new(seed),
        }
    }

    /// A request on a connection from outside, whoever is there.
    pub(crate) fn take_of_connection(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        allowance: Allowance,
    ) -> Result<(), Refused> {
        let refused =
            Refused::new(503, "connection-budget", "a connection outside sent more than its budget");
        self.connections.take(now, connection, allowance).map_err(|exhausted| later(refused, exhausted))
    }

    /// A request from somebody of whom nothing is proved.
    pub(crate) fn take_of_source(
        &mut self,
        now: Instant,
        address: IpAddr,
        allowance: Allowance,
    ) -> Result<(), Refused> {
        let refused = Refused::new(503, "source-budget", "an address outside sent more than its budget");
        self.sources
            .take(now, rate::source(address), allowance)
            .map_err(|exhausted| later(refused, exhausted))
    }

    /// A request that begins something on a road from outside, for an address of ours.
    pub(crate) fn take_of_road(&mut self, now: Now, road: &Road, address: &str) -> Result<(), Refused> {
        for budget in &road.budgets {
            let allowance = Allowance::per_second(budget.per_second);
            let taken = self.peers.take(now.monotonic, budget.name.clone(), allowance);
            taken.map_err(|exhausted| {
                let name = budget.name.clone();
                later(Reason::TooFast { name, per_second: budget.per_second }.into(), exhausted)
            })?;
        }
        if road.mode != Mode::Discovered {
            return Ok(());
        }
        self.discovered.admit(now, &road.domain, address).map_err(|slowed| {
            let domain = road.domain.clone();
            later(Reason::Discovered { domain, is_watched: slowed.is_watched }.into(), slowed.exhausted)
        })
    }

    pub(crate) fn forget_connection(&mut self, connection: ConnectionId) {
        self.connections.forget(&connection);
    }
}

fn later(refused: Refused, exhausted: Exhausted) -> Refused {
    let seconds = exhausted.retry_after_seconds().to_string();
    Refused { headers: vec![(HeaderId::RetryAfter, seconds)], ..refused }
}
