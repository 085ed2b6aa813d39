//! Servers that lag behind: whether one has what was taken over from another, and what is believed of it until it does.
//!
//! Domain controllers tell each other of changes within seconds to hours. Who reads on at another one sees the directory as it was: people
//! who were disabled are enabled there, people who are new are not there. So the number of the last change that was taken over is kept
//! with the server's invocationId, and another server must say that it has that change (`ServerFacts::cursors`). Until then, whom it
//! disables is cut off, and whom it adds comes; but nothing is removed, and nobody comes back into use.

use super::{Alarm, BTreeSet, Duration, Instant, Kind, Replicator};
use directory_source::{Preference, ServerFacts};

/// How long a server is not believed that does not say what it has. Within a site servers have everything within a minute, as a rule
/// ([MS-ADTS] 3.1.1.1.13); between sites a quarter of an hour is the shortest that can be configured.
pub(super) const UNKNOWN_LAG: Duration = Duration::from_secs(15 * 60);
/// How often a server is asked whether it has caught up, and others are looked for.
pub(super) const LAG_LOOK: Duration = Duration::from_secs(60);
/// Servers that are tried for one that does not lag, in one go.
const SERVERS_TRIED_MAX: usize = 4;

/// A server that may lag behind.
#[derive(Clone, Debug)]
pub(super) struct Lag {
    host: String,
    /// Until when it is so, where the server does not say; `None`: it says that it lags.
    until: Option<Instant>,
    look_again: Instant,
    /// Servers of which that was found in a row.
    tried: BTreeSet<String>,
}

impl Replicator {
    /// Which servers are rather asked: the one whose changes were taken over last, and none that was just found to lag.
    pub(super) fn preference(&self) -> Preference {
        let read_to = self.state.watermark.as_ref().and_then(|watermark| watermark.change());
        let of = self.state.change.or(read_to).map(|(invocation, _)| invocation);
        let mut hosts = self.state.invocations.iter().filter(|(_, invocation)| Some(**invocation) == of);
        let first = hosts.next().map(|(host, _)| host.clone());
        let last = self.lag.as_ref().map(|lag| lag.tried.clone()).unwrap_or_default();
        Preference { first, last }
    }

    /// Looks whether a server has what was taken over. Whether another one is worth a try.
    pub(super) fn note_lag(&mut self, facts: &ServerFacts) -> bool {
        let Some(says_so) = self.lags(facts) else {
            self.end_lag();
            return false;
        };
        let before = self.lag.take();
        let mut tried = before.as_ref().map(|lag| lag.tried.clone()).unwrap_or_default();
        let is_new = tried.insert(facts.host.clone());
        let is_first = before.is_none();
        let until = match before.filter(|lag| lag.host == facts.host && lag.until.is_some()) {
            _ if says_so => None,
            Some(lag) => lag.until,
            None => Some(self.now.monotonic + UNKNOWN_LAG),
        };
        let is_worth_it = is_new && says_so && tried.len() < SERVERS_TRIED_MAX;
        let look_again = self.now.monotonic + LAG_LOOK;
        self.lag = Some(Lag { host: facts.host.clone(), until, look_again, tried });
        if is_worth_it {
            return true;
        }
        self.is_plan_stale |= is_first;
        let (since_unix_ms, host) = (self.now.wall.0, facts.host.clone());
        self.raise(Alarm::Lagging { since_unix_ms, host, says_so });
        false
    }

    /// Whether it lags behind what was taken over: that it says so itself, or that it does not say. `None`: it does not.
    fn lags(&self, facts: &ServerFacts) -> Option<bool> {
        let (invocation, usn) = self.state.change?;
        let has = match &facts.cursors {
            // A database that counts less than it did is an old copy.
            _ if facts.invocation == Some(invocation) => facts.highest_usn,
            Some(cursors) => cursors.get(&invocation).copied(),
            None => return Some(false),
        };
        has.is_none_or(|has| has < usn).then_some(true)
    }

    /// Whether nobody is removed and nobody comes back. Ends when the time is over, or when an operator says so.
    pub(super) fn is_cautious(&mut self) -> bool {
        let now = self.now.monotonic;
        let is_over = |lag: &Lag| lag.until.is_some_and(|until| until <= now);
        if self.lag.is_some() && self.job.is_accepted || self.lag.as_ref().is_some_and(is_over) {
            // What it has is what counts from now on.
            (self.change, self.state.change) = (None, None);
            self.end_lag();
        }
        self.lag.is_some()
    }

    fn end_lag(&mut self) {
        if self.lag.take().is_some() {
            self.is_plan_stale = true;
            self.clear_alarm(&Kind::Lagging);
        }
    }

    /// Whether it is time to ask again.
    pub(super) fn is_lag_due(&self) -> bool {
        self.lag.as_ref().is_some_and(|lag| lag.look_again <= self.now.monotonic)
    }

    /// The next look begins with all servers.
    pub(super) fn forget_tried(&mut self) {
        if let Some(lag) = &mut self.lag {
            lag.tried.clear();
        }
    }
}
