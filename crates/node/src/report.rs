//! What a node tells the operator: reports for the log, metrics for the monitor.

use std::borrow::Cow;
use std::fmt;

/// Names one request in the log, in reports and in traces. Unique within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{:x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers.
    Debug,
    /// Normal operation that an operator may want to see.
    Info,
    /// Somebody was refused, or something was retried.
    Warn,
    /// An operator must act.
    Error,
}

/// One line of the structured log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How much it matters.
    pub level: Level,
    /// What happened, from a closed set: `refused`, `registered`, `storage-failed` ...
    pub event: &'static str,
    /// The request that it is about.
    pub request: Option<RequestId>,
    /// Why, in words for the operator. Holds no message body and no credential.
    pub reason: Cow<'static, str>,
    /// Further facts, by name.
    pub fields: Vec<(&'static str, String)>,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// One sample of one metric.
#[derive(Clone, Debug)]
pub struct Metric<'a> {
    /// Name with unit, `chancery_` first.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Labels; values come from closed sets.
    pub labels: &'a [(&'static str, &'a str)],
    /// The value.
    pub value: f64,
}
