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

/// Counters of HTTPS listeners.
#[derive(Debug)]
pub struct Meter {
    names: &'static Names,
    connections: AtomicU64,
    accepted: AtomicU64,
    answered: [AtomicU64; CLASSES.len()],
    refused: [AtomicU64; REFUSED.len()],
}

/// What the metrics of a kind of listeners are called.
#[derive(Debug)]
struct Names {
    connections: &'static str,
    accepted: &'static str,
    requests: &'static str,
    refused: &'static str,
}

const DOCUMENTS: Names = Names {
    connections: "chancery_https_connections",
    accepted: "chancery_https_connections_total",
    requests: "chancery_https_requests_total",
    refused: "chancery_https_refused_total",
};
const WEB: Names = Names {
    connections: "chancery_web_connections",
    accepted: "chancery_web_connections_total",
    requests: "chancery_web_requests_total",
    refused: "chancery_web_refused_total",
};

impl Refused {
    /// In words, for the operator and the client.
    pub(super) fn reason(self) -> &'static str {
        REFUSED[self as usize].1
    }
}

impl Default for Meter {
    /// Of the listeners for documents.
    fn default() -> Meter {
        Meter::called(&DOCUMENTS)
    }
}

impl Meter {
    /// Of the listeners for the web.
    pub fn web() -> Meter {
        Meter::called(&WEB)
    }

    fn called(names: &'static Names) -> Meter {
        Meter {
            names,
            connections: AtomicU64::default(),
            accepted: AtomicU64::default(),
            answered: Default::default(),
            refused: Default::default(),
        }
    }

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
        let names = self.names;
        add(names.connections, "HTTPS connections that are open", gauge, &[], &self.connections);
        let help = "HTTPS connections accepted";
        add(names.accepted, help, counter, &[], &self.accepted);
        for (class, value) in CLASSES.iter().zip(&self.answered) {
            let help = "HTTPS requests answered, by class of status";
            add(names.requests, help, counter, &[("status", class)], value);
        }
        for ((_, reason), value) in REFUSED.iter().zip(&self.refused) {
            let help = "HTTPS connections and requests refused by the listener, by reason";
            add(names.refused, help, counter, &[("reason", reason)], value);
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
