//! What is counted. Labels come from closed sets.

use std::collections::BTreeMap;

use node::{Metric, MetricKind};
use sip_message::Method;

use crate::edge::AccessEdge;
use crate::links::{Kind, Who};

/// Statuses of answers are counted by class.
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "6xx"];

/// Counters of an edge.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    forwarded: [u64; CLASSES.len()],
    connected: BTreeMap<&'static str, u64>,
    pub(crate) malformed: u64,
    pub(crate) stray_responses: u64,
    pub(crate) sign_in_missed: u64,
    pub(crate) crowded: u64,
    pub(crate) unreachable: u64,
}

impl Counters {
    pub(crate) fn request(&mut self, method: Method<'_>) {
        let name = match method {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Message => "MESSAGE",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Refer => "REFER",
            Method::Info => "INFO",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Other(_) => "other",
        };
        *self.requests.entry(name).or_default() += 1;
    }

    /// `code` is a constant of the code: the set is closed.
    pub(crate) fn refused(&mut self, code: &'static str) {
        *self.refused.entry(code).or_default() += 1;
    }

    pub(crate) fn forwarded(&mut self, status: u16) {
        self.forwarded[usize::from(status / 100).clamp(2, 6) - 2] += 1;
    }

    pub(crate) fn connected(&mut self, who: &Who) {
        *self.connected.entry(who.kind().name()).or_default() += 1;
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut counter = |name, help, labels: &[(&'static str, &str)], value: u64| {
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            visit(Metric { name, help, kind: MetricKind::Counter, labels, value: value as f64 });
        };
        for (method, value) in &self.requests {
            let help = "SIP requests received, by method";
            counter("chancery_sip_requests_total", help, &[("method", method)], *value);
        }
        for (class, value) in CLASSES.iter().zip(self.forwarded) {
            let help = "Forwarded requests that were answered, by class of status";
            counter("chancery_sip_forwarded_total", help, &[("status", class)], value);
        }
        for (code, value) in &self.refused {
            counter("chancery_sip_refused_total", "Requests refused, by reason", &[("reason", code)], *value);
        }
        for (kind, value) in &self.connected {
            let help = "Connections that came up, by who is there";
            counter("chancery_edge_connections_total", help, &[("peer", kind)], *value);
        }
        for (name, help, value) in [
            (
                "chancery_sip_malformed_total",
                "Messages that were no SIP, or could be read in two ways",
                self.malformed,
            ),
            (
                "chancery_sip_stray_responses_total",
                "Responses that belonged to no request",
                self.stray_responses,
            ),
            (
                "chancery_sign_ins_missed_total",
                "Connections closed because nobody signed in",
                self.sign_in_missed,
            ),
            (
                "chancery_edge_crowded_total",
                "Connections closed because there were too many from their address",
                self.crowded,
            ),
            (
                "chancery_edge_unreachable_total",
                "Requests whose next server or connection could not be reached",
                self.unreachable,
            ),
        ] {
            counter(name, help, &[], value);
        }
    }
}

impl AccessEdge {
    pub(crate) fn visit_gauges(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut gauge = |name, help, labels: &[(&'static str, &str)], value: usize| {
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            visit(Metric { name, help, kind: MetricKind::Gauge, labels, value: value as f64 });
        };
        for kind in Kind::ALL {
            let count = self.links.iter().filter(|(_, link)| link.who.kind() == kind).count();
            let labels = [("peer", kind.name())];
            gauge("chancery_edge_connections", "Connections that are up, by who is there", &labels, count);
        }
        gauge("chancery_sip_transactions", "Transactions under way", &[], self.stack.pending());
        let partners = self.config.policy.partners().len();
        gauge("chancery_edge_partners", "Partners that the policy names", &[], partners);
    }
}
