//! The way to the thread from elsewhere: orders of administrators, and how it does.

use std::sync::{Arc, Mutex, MutexGuard};

use net::Exposition;
use node::{Metric, MetricKind};
use replicator::{Answer, Command, Progress, Replicator, Report};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Followed, Passwords};
use crate::clock;
use crate::server::{Operated, Watched};

/// The way to a running thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    pub(super) orders: mpsc::Sender<Order>,
    pub(crate) meter: Arc<Meter>,
}

/// Something that an administrator wants.
pub(crate) struct Order {
    pub(crate) command: Command,
    /// How far it is; whoever looks sees the latest.
    pub(crate) progress: watch::Sender<Option<Progress>>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Link {
    /// Gives an order; `None` where the thread is gone.
    pub(crate) async fn order(
        &self,
        command: Command,
    ) -> Option<(watch::Receiver<Option<Progress>>, oneshot::Receiver<Answer>)> {
        let (progress, progressed) = watch::channel(None);
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { command, progress, answer }).await.ok()?;
        Some((progressed, answered))
    }
}

/// How the thread does, for metrics, health and status.
#[derive(Default)]
pub(crate) struct Meter(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    report: Report,
    /// Of the replicator.
    samples: Vec<Sample>,
}

struct Sample {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Meter {
    pub(super) fn set(&self, replicator: &Replicator) {
        let mut samples = Vec::new();
        replicator.visit_metrics(&mut |metric| {
            samples.push(Sample {
                name: metric.name,
                help: metric.help,
                kind: metric.kind,
                labels: metric.labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
                value: metric.value,
            });
        });
        *self.lock() = Reading { report: replicator.report(), samples };
    }

    /// How it does.
    pub(crate) fn read(&self) -> Report {
        self.lock().report.clone()
    }

    /// What an administrator must look at, a line for each.
    pub(crate) fn alarms(&self) -> Vec<String> {
        self.lock().report.alarms.iter().map(ToString::to_string).collect()
    }

    /// Adds one sample of each metric.
    pub(crate) fn show(&self, text: &mut Exposition) {
        let reading = self.lock();
        for Sample { name, help, kind, labels, value } in &reading.samples {
            let labels: Vec<(&'static str, &str)> =
                labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            text.add(&Metric { name, help, kind: *kind, labels: &labels, value: *value });
        }
        let mut add = |name, help, value: f64| {
            text.add(&Metric { name, help, kind: MetricKind::Gauge, labels: &[], value });
        };
        let seconds = |unix_ms: Option<u64>| unix_ms.map_or(0.0, |at| at as f64 / 1000.0);
        let in_step = reading.report.in_step_unix_ms;
        add(
            "chancery_directory_in_step_timestamp_seconds",
            "When all that the directory had was last seen to be here, in seconds since 1970; 0 is never",
            seconds(in_step),
        );
        add(
            "chancery_directory_compared_timestamp_seconds",
            "When everything was last read and compared, in seconds since 1970; 0 is never",
            seconds(reading.report.full_read_unix_ms),
        );
        if in_step.is_some() {
            let lag = (clock::unix_seconds() as f64 - seconds(in_step)).max(0.0);
            add("chancery_directory_lag_seconds", "How long ago that was", lag);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().expect("nobody panics with the lock")
    }
}

/// Tells the thread when a reload changed what it follows.
pub(crate) struct Following {
    pub(super) followed: watch::Sender<Followed>,
    /// Asked when people sign in.
    pub(super) passwords: Arc<Passwords>,
}

impl<R> Watched<R> for Following {
    fn look<'a>(
        &'a mut self,
        _: &'a net::Handle<R>,
        _: &'a crate::tls::Certificates,
        settings: Option<&'a crate::config::Settings>,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>
    where
        R: Operated,
    {
        if let Some(new) = settings.and_then(Followed::of) {
            self.passwords.follow(new.clone());
            self.followed.send_if_modified(|followed| {
                let changed = *followed != new;
                if changed {
                    *followed = new;
                }
                changed
            });
        }
        Box::pin(std::future::ready(()))
    }
}
