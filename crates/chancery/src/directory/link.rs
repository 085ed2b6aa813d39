//! The way to the thread from elsewhere: orders of administrators, and how it does.

use std::sync::{Arc, Mutex, MutexGuard};

use net::Exposition;
use node::{Metric, MetricKind};
use replicator::{Alarm, Answer, Command, Progress, Replicator, Report};
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
    /// Why nobody follows, or not as configured.
    trouble: Option<Alarm>,
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
        let mut reading = self.lock();
        (reading.report, reading.samples) = (replicator.report(), samples);
    }

    /// The directory is not followed, or not as configured, since now or longer.
    pub(super) fn fail(&self, reason: &str) {
        let mut reading = self.lock();
        let since_unix_ms = match &reading.trouble {
            Some(Alarm::NotFollowed { since_unix_ms, .. }) => *since_unix_ms,
            _ => clock::unix_seconds() * 1000,
        };
        reading.trouble = Some(Alarm::NotFollowed { since_unix_ms, reason: reason.to_owned() });
    }

    /// It is followed as configured.
    pub(super) fn recover(&self) {
        self.lock().trouble = None;
    }

    /// Why it is not followed as configured.
    pub(super) fn trouble(&self) -> Option<Alarm> {
        self.lock().trouble.clone()
    }

    /// How it does.
    pub(crate) fn read(&self) -> Report {
        let reading = self.lock();
        let mut report = reading.report.clone();
        report.alarms.extend(reading.trouble.clone());
        report
    }

    /// What an administrator must look at, a line for each.
    pub(crate) fn alarms(&self) -> Vec<String> {
        self.read().alarms.iter().map(ToString::to_string).collect()
    }

    /// Adds one sample of each metric.
    pub(crate) fn show(&self, text: &mut Exposition) {
        let reading = self.lock();
        for Sample { name, help, kind, labels, value } in &reading.samples {
            let labels: Vec<(&'static str, &str)> =
                labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            text.add(&Metric { name, help, kind: *kind, labels: &labels, value: *value });
        }
        text.add(&Metric {
            name: "chancery_directory_alarms",
            help: "What an operator must look at.",
            kind: MetricKind::Gauge,
            labels: &[("alarm", "not-followed")],
            value: if reading.trouble.is_some() { 1.0 } else { 0.0 },
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_fails_is_an_alarm_until_it_follows_again() {
        let meter = Meter::default();
        let shown = || {
            let mut text = Exposition::default();
            meter.show(&mut text);
            text.finish()
        };
        meter.fail("there is no CA");
        meter.fail("there is still no CA");
        // What the replicator before it said last does not hide it.
        let domains = vec![directory::DomainName::parse("corp.example").unwrap()];
        let settings = replicator::Settings::new(directory_source::ServerKind::ActiveDirectory, domains);
        meter.set(&Replicator::new(settings));
        assert_eq!(
            meter.alarms(),
            ["the directory is not followed as it is configured: there is still no CA"]
        );
        assert!(shown().contains("chancery_directory_alarms{alarm=\"not-followed\"} 1\n"));
        meter.recover();
        assert!(meter.alarms().is_empty());
        assert!(shown().contains("chancery_directory_alarms{alarm=\"not-followed\"} 0\n"));
    }
}
