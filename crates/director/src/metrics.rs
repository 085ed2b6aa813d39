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
    pub(crate) sign_ins_by_token: u64,
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
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            visit(Metric { name, help, kind, labels, value: value as f64 });
        };
        for (name, help, value) in [
            ("chancery_director_requests_total", "Requests", counters.requests),
            ("chancery_director_malformed_total", "Messages that are no SIP", counters.malformed),
            (
                "chancery_director_stray_responses_total",
                "Responses that answer nothing",
                counters.stray_responses,
            ),
            (
                "chancery_director_challenges_total",
                "Requests that were asked for credentials",
                counters.challenges,
            ),
            ("chancery_director_sign_ins_total", "Right passwords", counters.sign_ins),
            (
                "chancery_director_sign_ins_by_certificate_total",
                "Registrations with a user's certificate",
                counters.sign_ins_by_certificate,
            ),
            (
                "chancery_director_sign_ins_by_token_total",
                "Requests with a token that was good",
                counters.sign_ins_by_token,
            ),
            ("chancery_director_sign_ins_refused_total", "Wrong passwords", counters.sign_ins_refused),
            (
                "chancery_director_sign_ins_slowed_total",
                "Passwords that were not looked at",
                counters.sign_ins_slowed,
            ),
            (
                "chancery_director_unreachable_total",
                "Servers that could not be reached",
                counters.unreachable,
            ),
        ] {
            show(name, help, MetricKind::Counter, &[], value);
        }
        for (reason, count) in &counters.refused {
            show(
                "chancery_director_refused_total",
                "Refusals by reason",
                MetricKind::Counter,
                &[("reason", reason)],
                *count,
            );
        }
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, help, value) in [
            ("chancery_director_users", "Accounts in the copy", number(self.homes.len())),
            (
                "chancery_director_copy_complete",
                "Whether every home's accounts are known",
                u64::from(self.homes.is_complete()),
            ),
            ("chancery_director_signed_in", "Sign-ins that are remembered", number(self.sign_ins.len())),
            ("chancery_director_transactions", "Requests under way", number(self.stack.pending())),
        ] {
            show(name, help, MetricKind::Gauge, &[], value);
        }
    }
}
