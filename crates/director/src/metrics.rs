//! What is counted. Labels come from closed sets.

use std::collections::BTreeMap;

use node::{Metric, MetricKind};

use crate::director::Director;

/// Counters of a Director.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    refused: BTreeMap<&'static str, u64>,
    pub(crate) requests: u64,
    pub(crate) malformed: u64,
    pub(crate) stray_responses: u64,
    pub(crate) challenges: u64,
    pub(crate) sign_ins: u64,
    pub(crate) sign_ins_by_certificate: u64,
    pub(crate) sign_ins_refused: u64,
    pub(crate) sign_ins_slowed: u64,
    pub(crate) unreachable: u64,
}

impl Counters {
    /// `reason` is a constant of the code: the set is closed.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

impl Director {
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let counters = &self.counters;
        let mut show = |name, help, kind, labels: &[(&'static str, &str)], value: u64| {
            // Counts stay far below 2^53.
            #[allow(clippy::cast_precision_loss)]
            visit(Metric { name, help, kind, labels, value: value as f64 });
        };
        for (name, help, value) in [
            ("director_requests", "Requests", counters.requests),
            ("director_malformed", "Messages that are no SIP", counters.malformed),
            ("director_stray_responses", "Responses that answer nothing", counters.stray_responses),
            ("director_challenges", "Requests that were asked for credentials", counters.challenges),
            ("director_sign_ins", "Right passwords", counters.sign_ins),
            (
                "director_sign_ins_by_certificate",
                "Registrations with a user's certificate",
                counters.sign_ins_by_certificate,
            ),
            ("director_sign_ins_refused", "Wrong passwords", counters.sign_ins_refused),
            ("director_sign_ins_slowed", "Passwords that were not looked at", counters.sign_ins_slowed),
            ("director_unreachable", "Servers that could not be reached", counters.unreachable),
        ] {
            show(name, help, MetricKind::Counter, &[], value);
        }
        for (reason, count) in &counters.refused {
            show(
                "director_refused",
                "Refusals by reason",
                MetricKind::Counter,
                &[("reason", reason)],
                *count,
            );
        }
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, help, value) in [
            ("director_users", "Accounts in the copy", number(self.homes.len())),
            (
                "director_copy_complete",
                "Whether every home's accounts are known",
                u64::from(self.homes.is_complete()),
            ),
            ("director_signed_in", "Sign-ins that are remembered", number(self.sign_ins.len())),
            ("director_transactions", "Requests under way", number(self.stack.pending())),
        ] {
            show(name, help, MetricKind::Gauge, &[], value);
        }
    }
}
