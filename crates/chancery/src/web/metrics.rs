//! What sign-in over the web counts. Its thread counts, the monitors' thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::Exposition;
use node::{Metric, MetricKind};

use super::problem::{Kind, TABLE};

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Password,
    Ticket,
    Renewal,
}

const WAYS: [(By, &str); 3] = [(By::Password, "password"), (By::Ticket, "ticket"), (By::Renewal, "renewal")];

/// Counters.
pub(crate) struct Meter {
    pub(crate) connections: std::sync::Arc<net::https::Meter>,
    signed_in: [AtomicU64; WAYS.len()],
    problems: [AtomicU64; TABLE.len()],
    guarded: [AtomicU64; 3],
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            connections: std::sync::Arc::new(net::https::Meter::web()),
            signed_in: Default::default(),
            problems: std::array::from_fn(|_| AtomicU64::new(0)),
            guarded: Default::default(),
        }
    }
}

impl By {
    pub(super) fn name(self) -> &'static str {
        WAYS[self as usize].1
    }
}

impl Meter {
    pub(super) fn signed_in(&self, by: By) {
        self.signed_in[by as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn problem(&self, kind: Kind) {
        self.problems[kind as usize].fetch_add(1, Relaxed);
    }

    /// See [`sign_in::guard::Guard::counted`].
    pub(super) fn guarded(&self, (users, strangers, sources): (usize, usize, usize)) {
        for (counted, cell) in [users, strangers, sources].into_iter().zip(&self.guarded) {
            cell.store(counted as u64, Relaxed);
        }
    }

    /// Adds one sample of each.
    pub(crate) fn show(&self, text: &mut Exposition) {
        self.connections.show(text);
        let mut add = |name, help, kind, labels: &[(&'static str, &str)], value: &AtomicU64| {
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            text.add(&Metric { name, help, kind, labels, value: value.load(Relaxed) as f64 });
        };
        for ((_, by), value) in WAYS.iter().zip(&self.signed_in) {
            let help = "Tokens given over the web, by what proved who it is";
            add("chancery_web_sign_ins_total", help, MetricKind::Counter, &[("by", by)], value);
        }
        for (entry, value) in TABLE.iter().zip(&self.problems) {
            let help = "Problems answered over the web, by type";
            add("chancery_web_problems_total", help, MetricKind::Counter, &[("type", entry.name)], value);
        }
        for (whose, value) in ["account", "nobody", "source"].iter().zip(&self.guarded) {
            let help = "Accounts, names that nobody has, and sources with wrong passwords that count still";
            add("chancery_web_guarded", help, MetricKind::Gauge, &[("whose", whose)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_way_is_counted_in_its_own_place() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.kind as usize, at, "{}", entry.name);
        }
        for (at, (by, _)) in WAYS.iter().enumerate() {
            assert_eq!(*by as usize, at);
        }
    }
}
