//! One subscription: what it owes, and when to look at it again.

use std::sync::Arc;
use std::time::Duration;

use node::Instant;

use super::envelope::Envelope;
use super::notify::State;
use super::rates::Rates;
use super::{Notify, Policy, Refusal, Standing, Subscribe, Termination};
use crate::timer::TimerId;

/// One subscription. With its envelope, its keys and its places in the tables it takes about 900 octets.
#[derive(Debug)]
pub struct Subscription {
    pub(super) nonce: u64,
    /// Shared with the NOTIFYs that are being written.
    pub(super) envelope: Arc<Envelope>,
    pub(super) resource: Arc<str>,
    pub(super) watcher: Arc<str>,
    /// Its place among the subscriptions to its resource.
    pub(super) resource_place: u32,
    /// The same among those of its watcher.
    pub(super) watcher_place: u32,
    pub(super) policy: &'static Policy,
    /// What the watcher asked for; mostly nothing.
    pub(super) rates: Option<Box<Rates>>,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: u32,
    pub(super) standing: Standing,
    pub(super) expires: Instant,
    pub(super) notifying: Notifying,
    /// A NOTIFY is owed.
    pub(super) owed: Owed,
    /// It stands in the queue of what is due.
    pub(super) queued: bool,
    /// The next NOTIFY has no body: the watcher knows it.
    pub(super) body_is_known: bool,
    /// No NOTIFY about changes before this time.
    pub(super) held_until: Instant,
    /// No NOTIFY before this time about changes that may wait for others.
    pub(super) gathers_until: Instant,
    /// When the last NOTIFY left; before there was one, when it began.
    pub(super) notified_at: Instant,
    /// The next NOTIFY is the last.
    pub(super) termination: Option<Termination>,
    pub(super) failures: u8,
    /// When its timer wakes it; not later than something is to be done.
    pub(super) wake: Instant,
    pub(super) timer: TimerId,
}

/// Whether a NOTIFY is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notifying {
    Idle,
    InFlight { until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    Nothing,
    /// About a change that may wait for others, to be told with them.
    Gathered,
    /// About a change: waits as long as its watcher and its package ask.
    Change,
    /// Because of a SUBSCRIBE or the end: at once.
    AtOnce,
}

impl Subscription {
    /// One that owes nothing, with the keys still to be put in; its timer wakes it at `expires`.
    pub(super) fn new(
        now: Instant,
        nonce: u64,
        envelope: Envelope,
        policy: &'static Policy,
        expires: Instant,
        timer: TimerId,
    ) -> Subscription {
        Subscription {
            nonce,
            envelope: Arc::new(envelope),
            resource: Arc::default(),
            watcher: Arc::default(),
            resource_place: 0,
            watcher_place: 0,
            policy,
            rates: None,
            local_cseq: 0,
            remote_cseq: 0,
            standing: Standing::Active,
            expires,
            notifying: Notifying::Idle,
            owed: Owed::Nothing,
            queued: false,
            body_is_known: false,
            held_until: now,
            gathers_until: now,
            notified_at: now,
            termination: None,
            failures: 0,
            wake: expires,
            timer,
        }
    }

    /// What is watched.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Who watches.
    pub fn watcher(&self) -> &str {
        &self.watcher
    }

    /// The event package.
    pub fn package(&self) -> &str {
        self.envelope.package()
    }

    /// Event's `id`.
    pub fn event_id(&self) -> Option<&str> {
        self.envelope.event_id()
    }

    /// Accept of the SUBSCRIBE that began it.
    pub fn accept(&self) -> Option<&str> {
        self.envelope.accept()
    }

    /// The URI of the watcher's Contact.
    pub fn remote_target(&self) -> &str {
        self.envelope.target()
    }

    /// Whether the watcher may see the resource.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// When it runs out.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// NOTIFYs so far; the first one's CSeq is 1.
    pub fn notified(&self) -> u32 {
        self.local_cseq
    }

    /// Where a SUBSCRIBE says it wants NOTIFYs now, and how often.
    pub(super) fn ask(&mut self, now: Instant, subscribe: &Subscribe<'_>) {
        self.rates = Rates::granted(&subscribe.rates, self.policy, now);
    }

    pub(super) fn retarget(&mut self, target: &str) -> Result<(), Refusal> {
        let too_long = |error: super::DialogError| Refusal::new(400, error.0);
        if self.envelope.target() != target {
            self.envelope = Arc::new(self.envelope.retargeted(target).map_err(too_long)?);
        }
        Ok(())
    }

    /// Time has passed: it may have run out, or owe a NOTIFY although nothing changed.
    pub(super) fn pass(&mut self, now: Instant) {
        if self.termination.is_some() {
            return;
        }
        if self.expires <= now {
            self.termination = Some(Termination::TimedOut);
            self.owed = Owed::AtOnce;
        } else if self.due_unchanged().is_some_and(|at| at <= now) {
            self.owed = self.owed.max(Owed::Change);
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let has_waited = self.waits_until().is_none_or(|until| until <= now);
        self.owed != Owed::Nothing && has_waited && self.notifying == Notifying::Idle
    }

    /// A change may wait so long after the last NOTIFY for others.
    pub(super) fn gather(&mut self, window: Duration) {
        self.gathers_until = self.notified_at + window;
    }

    /// Until when a NOTIFY that is owed about changes waits: the longest of what its watcher, its package and its caller ask.
    fn waits_until(&self) -> Option<Instant> {
        match self.owed {
            Owed::Nothing | Owed::AtOnce => None,
            Owed::Gathered => Some(self.held_until.max(self.gathers_until)),
            Owed::Change => Some(self.held_until),
        }
    }

    /// When time alone changes something: the end of a subscription that has none yet, of a wait, or of a NOTIFY without a result.
    /// `None` for a last NOTIFY that is due: it waits for its caller alone.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let expires = self.termination.is_none().then_some(self.expires);
        let waits = match self.notifying {
            Notifying::InFlight { until } => Some(until),
            Notifying::Idle if self.owed == Owed::Nothing => self.due_unchanged(),
            Notifying::Idle => self.waits_until().filter(|until| *until > now),
        };
        expires.into_iter().chain(waits).min()
    }

    /// A NOTIFY leaves; its result is awaited `until` then.
    pub(super) fn notify(&mut self, now: Instant, until: Instant) -> Notify {
        self.local_cseq += 1;
        self.owed = Owed::Nothing;
        self.notifying = Notifying::InFlight { until };
        let mut interval = self.policy.interval_min;
        if let Some(rates) = &mut self.rates {
            rates.notified(now);
            interval = interval.max(rates.interval_min().unwrap_or_default());
        }
        (self.held_until, self.notified_at) = (now + interval, now);
        Notify {
            envelope: self.envelope.clone(),
            cseq: self.local_cseq,
            state: self.state(now),
            rates: self.rates.as_ref().map(|rates| rates.parameters().into()),
            body_is_known: std::mem::take(&mut self.body_is_known),
        }
    }

    /// A pending watcher is told nothing, so nothing often.
    fn due_unchanged(&self) -> Option<Instant> {
        match self.standing {
            Standing::Active => self.rates.as_ref()?.due_unchanged(),
            Standing::Pending => None,
        }
    }

    /// RFC 6665 §4.1.3, §8.2.3.
    fn state(&self, now: Instant) -> State {
        let left = self.expires.since(now);
        // Rounded up: `expires=0` would be an end without a reason.
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        match (self.termination, self.standing) {
            (Some(termination), _) => State::Terminated(termination),
            (None, Standing::Active) => State::Active { seconds },
            (None, Standing::Pending) => State::Pending { seconds },
        }
    }
}
