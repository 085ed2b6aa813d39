//! What the HTTPS listeners count. Their thread counts, the monitors' thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use node::{Metric, MetricKind};

use crate::Exposition;

/// Why a connection or a request was refused here, before or instead of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Connections,
    ConnectionsOfSource,
    Handshake,
    HandshakeTime,
    /// Neither a header came nor was the answer read.
    Idle,
    BadRequest,
    BodyOctets,
    BodyTime,
    BodyBroken,
    BodiesHeld,
    InFlight,
    /// The node did not answer in time, or stops.
    Busy,
}

const REFUSED: [(Refused, &str); 12] = [
    (Refused::Connections, "too many connections"),
    (Refused::ConnectionsOfSource, "too many connections of one source"),
    (Refused::Handshake, "no agreement on TLS"),
    (Refused::HandshakeTime, "the TLS handshake took too long"),
    (Refused::Idle, "idle, or too slow"),
    (Refused::BadRequest, "bad request"),
    (Refused::BodyOctets, "the content is too long"),
    (Refused::BodyTime, "the content took too long"),
    (Refused::BodyBroken, "the content broke off"),
    (Refused::BodiesHeld, "too much content at once"),
    (Refused::InFlight, "too many requests at once"),
    (Refused::Busy, "the server is busy"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters of the HTTPS listeners.
#[derive(Debug, Default)]
pub struct Meter {
    connections: AtomicU64,
    accepted: AtomicU64,
    answered: [AtomicU64; CLASSES.len()],
    refused: [AtomicU64; REFUSED.len()],
}

impl Refused {
    /// In words, for the operator and the client.
    pub(super) fn reason(self) -> &'static str {
        REFUSED[self as usize].1
    }
}

impl Meter {
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.answered[class].fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Relaxed);
    }

    /// Adds one sample of each.
    pub fn show(&self, text: &mut Exposition) {
        let mut add = |name, help, kind, labels: &[(&'static str, &str)], value: &AtomicU64| {
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            text.add(&Metric { name, help, kind, labels, value: value.load(Relaxed) as f64 });
        };
        let (gauge, counter) = (MetricKind::Gauge, MetricKind::Counter);
        add("chancery_https_connections", "HTTPS connections that are open", gauge, &[], &self.connections);
        let help = "HTTPS connections accepted";
        add("chancery_https_connections_total", help, counter, &[], &self.accepted);
        for (class, value) in CLASSES.iter().zip(&self.answered) {
            let help = "HTTPS requests answered, by class of status";
            add("chancery_https_requests_total", help, counter, &[("status", class)], value);
        }
        for ((_, reason), value) in REFUSED.iter().zip(&self.refused) {
            let help = "HTTPS connections and requests refused by the listener, by reason";
            add("chancery_https_refused_total", help, counter, &[("reason", reason)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_in_its_own_place() {
        for (at, (refused, reason)) in REFUSED.iter().enumerate() {
            assert_eq!(*refused as usize, at);
            assert_eq!(refused.reason(), *reason);
        }
    }
}
