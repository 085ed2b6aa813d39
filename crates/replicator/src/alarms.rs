//! Alarms that are on. One of each kind at a time, told to the log when it comes and when it goes.

use std::collections::BTreeMap;

use node::Level;

use crate::report::Alarm;

/// What kind an alarm is; in the order of reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Unreachable,
    AnotherDomain,
    Lagging,
    Held,
    TooManyEntries,
    HomeFails,
    NotFollowed,
    GroupMissing(String),
}

impl Kind {
    pub(crate) fn of(alarm: &Alarm) -> Kind {
        match alarm {
            Alarm::Unreachable { .. } => Kind::Unreachable,
            Alarm::AnotherDomain { .. } => Kind::AnotherDomain,
            Alarm::Lagging { .. } => Kind::Lagging,
            Alarm::Held(_) => Kind::Held,
            Alarm::TooManyEntries { .. } => Kind::TooManyEntries,
            Alarm::HomeFails { .. } => Kind::HomeFails,
            Alarm::NotFollowed { .. } => Kind::NotFollowed,
            Alarm::GroupMissing { setting, .. } => Kind::GroupMissing(setting.clone()),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Unreachable => "unreachable",
            Kind::AnotherDomain => "another-domain",
            Kind::Lagging => "lagging",
            Kind::Held => "held",
            Kind::TooManyEntries => "too-many-entries",
            Kind::HomeFails => "home-fails",
            Kind::NotFollowed => "not-followed",
            Kind::GroupMissing(_) => "group-missing",
        }
    }
}

/// Alarms that are on.
#[derive(Debug, Default)]
pub(crate) struct Alarms(BTreeMap<Kind, Alarm>);

impl Alarms {
    /// It is on, since its first time. Gives a line for the log when it was not.
    pub(crate) fn raise(&mut self, mut alarm: Alarm) -> Option<node::Report> {
        let kind = Kind::of(&alarm);
        let was = self.0.get(&kind);
        if let Some(since) = was.and_then(since) {
            set_since(&mut alarm, since);
        }
        let is_new = was.is_none();
        let line = is_new.then(|| line(Level::Error, "directory-alarm", alarm.to_string(), kind.name()));
        self.0.insert(kind, alarm);
        line
    }

    /// It is over. Gives a line for the log when it was on.
    pub(crate) fn clear(&mut self, kind: &Kind) -> Option<node::Report> {
        self.0.remove(kind)?;
        Some(line(Level::Info, "directory-alarm-over", String::new(), kind.name()))
    }

    pub(crate) fn has(&self, kind: &Kind) -> bool {
        self.0.contains_key(kind)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Kind, &Alarm)> {
        self.0.iter()
    }
}

fn line(level: Level, event: &'static str, reason: String, kind: &'static str) -> node::Report {
    node::Report {
        level,
        event,
        request: None,
        reason: reason.into(),
        fields: vec![("alarm", kind.to_owned())],
    }
}

fn since(alarm: &Alarm) -> Option<u64> {
    match alarm {
        Alarm::Unreachable { since_unix_ms, .. }
        | Alarm::HomeFails { since_unix_ms, .. }
        | Alarm::Lagging { since_unix_ms, .. }
        | Alarm::NotFollowed { since_unix_ms, .. } => Some(*since_unix_ms),
        Alarm::Held(held) => Some(held.since_unix_ms),
        Alarm::AnotherDomain { .. } | Alarm::GroupMissing { .. } | Alarm::TooManyEntries { .. } => None,
    }
}

fn set_since(alarm: &mut Alarm, since: u64) {
    match alarm {
        Alarm::Unreachable { since_unix_ms, .. }
        | Alarm::HomeFails { since_unix_ms, .. }
        | Alarm::Lagging { since_unix_ms, .. }
        | Alarm::NotFollowed { since_unix_ms, .. } => *since_unix_ms = since,
        Alarm::Held(held) => held.since_unix_ms = since,
        Alarm::AnotherDomain { .. } | Alarm::GroupMissing { .. } | Alarm::TooManyEntries { .. } => {}
    }
}
