//! Metrics of the process, beside those of the node and of the driver: storage and the certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use net::Exposition;
use node::{Metric, MetricKind};
use storage::Meter;

use crate::web;

/// When the certificate in force ends, in seconds since 1970; 0 where there is none. Shared with who reloads it.
pub(crate) type CertificateEnd = Arc<AtomicI64>;

/// What `/metrics` shows besides.
pub(crate) struct ProcessMetrics {
    /// Where the role has a database.
    pub(crate) storage: Option<Meter>,
    pub(crate) certificate_end: CertificateEnd,
    /// Where a directory is followed.
    pub(crate) directory: Option<Arc<crate::directory::Meter>>,
    /// Where HTTPS is served.
    pub(crate) https: Option<Arc<net::https::Meter>>,
    /// Where the web is served.
    pub(crate) web: Option<Arc<web::Meter>>,
}

impl ProcessMetrics {
    /// What somebody should look at, a line for each.
    pub(crate) fn alarms(&self) -> Vec<String> {
        self.directory.as_ref().map(|directory| directory.alarms()).unwrap_or_default()
    }

    /// Adds one sample of each.
    pub(crate) fn show(&self, text: &mut Exposition) {
        let mut add = |name, help, kind, labels: &[(&'static str, &str)], value: f64| {
            text.add(&Metric { name, help, kind, labels, value });
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        add("chancery_info", "The program; always 1", MetricKind::Gauge, &version, 1.0);
        let end = self.certificate_end.load(Relaxed);
        if end > 0 {
            let help = "When the certificate in force ends, in seconds since 1970";
            add("chancery_certificate_end_timestamp_seconds", help, MetricKind::Gauge, &[], end as f64);
        }
        if let Some(https) = &self.https {
            https.show(text);
        }
        if let Some(web) = &self.web {
            web.show(text);
        }
        if let Some(directory) = &self.directory {
            directory.show(text);
        }
        let Some(storage) = self.storage.as_ref().map(Meter::read) else { return };
        let mut add = |name, help, kind, labels: &[(&'static str, &str)], value: f64| {
            text.add(&Metric { name, help, kind, labels, value });
        };
        let counters = [
            ("chancery_storage_commits_total", "Transactions committed", storage.commits),
            ("chancery_storage_changes_total", "Changes made durable", storage.changes),
            ("chancery_storage_failures_total", "Changes and queries that failed", storage.failures),
        ];
        for (name, help, value) in counters {
            add(name, help, MetricKind::Counter, &[], value as f64);
        }
        let gauges = [
            ("chancery_storage_queue_length", "Changes and queries that wait", storage.queue_length as f64),
            (
                "chancery_storage_disk_bytes",
                "Size of the database with its log",
                storage.bytes_on_disk as f64,
            ),
            (
                "chancery_storage_commit_seconds",
                "Duration of the last commit",
                storage.commit_micros_last as f64 / 1e6,
            ),
        ];
        for (name, help, value) in gauges {
            add(name, help, MetricKind::Gauge, &[], value);
        }
    }
}
