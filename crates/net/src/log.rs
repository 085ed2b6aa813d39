//! A node's reports as structured log lines, with a limit so that a flood of refusals cannot fill a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use node::{Instant, Level, Report};

/// Length of the window in which lines of one event are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one event at `Warn` in one window: enough to see who, not enough to hurt (170 KB an hour and event).
const WARNINGS_PER_WINDOW: u32 = 20;

/// Writes reports to `tracing`. Events come from a closed set, so the table is bounded.
#[derive(Debug, Default)]
pub struct Log {
    windows: BTreeMap<&'static str, Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    written: u32,
    suppressed: u64,
}

impl Log {
    /// Writes it, or counts it. Returns whether it was written.
    pub fn write(&mut self, now: Instant, report: &Report) -> bool {
        if report.level == Level::Warn && !self.admit(now, report.event) {
            return false;
        }
        emit(report);
        true
    }

    /// Ends the windows that are over, and tells what was left out in them.
    pub fn tick(&mut self, now: Instant) {
        self.windows.retain(|event, window| {
            let over = now.since(window.start) >= WINDOW;
            if over {
                window.tell(event);
            }
            !over
        });
    }

    /// Tells what was left out so far, when no more is to come.
    pub fn finish(&mut self) {
        for (event, window) in std::mem::take(&mut self.windows) {
            window.tell(event);
        }
    }

    /// When [`Log::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.windows.values().filter(|w| w.suppressed > 0).map(|w| w.start + WINDOW).min()
    }

    fn admit(&mut self, now: Instant, event: &'static str) -> bool {
        let fresh = Window { start: now, written: 0, suppressed: 0 };
        let window = self.windows.entry(event).or_insert(fresh);
        if now.since(window.start) >= WINDOW {
            window.tell(event);
            *window = Window { start: now, written: 0, suppressed: 0 };
        }
        let admitted = window.written < WARNINGS_PER_WINDOW;
        if admitted {
            window.written += 1;
        } else {
            window.suppressed += 1;
        }
        admitted
    }
}

impl Window {
    fn tell(&self, event: &'static str) {
        if self.suppressed > 0 {
            tracing::warn!(event, suppressed = self.suppressed, "further lines of this event were left out");
        }
    }
}

fn emit(report: &Report) {
    let request = report.request.map(tracing::field::display);
    let details = (!report.fields.is_empty()).then(|| tracing::field::display(Details(&report.fields)));
    let (event, reason) = (report.event, report.reason.as_ref());
    match report.level {
        Level::Debug => tracing::debug!(event, request, details, "{reason}"),
        Level::Info => tracing::info!(event, request, details, "{reason}"),
        Level::Warn => tracing::warn!(event, request, details, "{reason}"),
        Level::Error => tracing::error!(event, request, details, "{reason}"),
    }
}

/// `name="value" name="value"`, with control characters escaped: values hold what strangers sent.
struct Details<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{name}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(event: &'static str, level: Level) -> Report {
        Report { level, event, request: None, reason: "because".into(), fields: Vec::new() }
    }

    #[test]
    fn a_flood_of_one_event_is_cut_and_others_are_not() {
        let mut log = Log::default();
        let now = Instant(1_000_000);
        let written = (0..1000).filter(|_| log.write(now, &report("refused", Level::Warn))).count();
        assert_eq!(written, 20);
        assert!(log.write(now, &report("other", Level::Warn)));
        assert!(log.write(now, &report("refused", Level::Error)));
        assert_eq!(log.next_deadline(), Some(now + WINDOW));
        log.tick(now + WINDOW);
        assert_eq!(log.next_deadline(), None);
        assert!(log.write(now + WINDOW, &report("refused", Level::Warn)));
    }

    #[test]
    fn details_show_control_characters_escaped() {
        let fields = [("from", "a\r\nfake line".to_owned()), ("code", "403".to_owned())];
        assert_eq!(Details(&fields).to_string(), r#"from="a\r\nfake line" code="403""#);
    }
}
