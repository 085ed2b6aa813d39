//! The table of subscriptions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use node::Instant;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Dialog, Notify, NotifyResult, Refusal, Subscribe, granted};

/// Names a subscription; void once it ended. It is also the dialog's local tag, so it is drawn, not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// The local tag: 64 bits that were drawn (RFC 3261 §19.3 asks for 32).
    pub fn local_tag(self) -> String {
        format!("{:016x}", self.0)
    }

    fn from_local_tag(tag: &str) -> Option<SubscriptionId> {
        let id = SubscriptionId(u64::from_str_radix(tag, 16).ok()?);
        (id.local_tag() == tag).then_some(id)
    }
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions altogether.
    pub subscriptions_max: usize,
    /// Subscriptions of one watcher: their devices times what each watches.
    pub per_watcher_max: usize,
    /// Subscriptions to one resource.
    pub per_resource_max: usize,
}

/// What an event package allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Duration where the SUBSCRIBE names none, in seconds.
    pub expires_seconds_default: u32,
    /// Shortest duration but 0, in seconds; below it 423.
    pub expires_seconds_min: u32,
    /// Longest duration, in seconds; more is cut to it.
    pub expires_seconds_max: u32,
    /// Shortest time between NOTIFYs about changes (RFC 3680 §4.10: 5 s). A NOTIFY that a SUBSCRIBE or an end asks for does not wait.
    pub interval_min: Duration,
}

/// What a subscription is to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch<'a> {
    /// Key of what is watched; [`Subscriptions::changed`] names it.
    pub resource: &'a str,
    /// Key of who watches.
    pub watcher: &'a str,
    /// The value of our Contact.
    pub contact: &'a str,
    /// Whether the watcher may see the resource by now.
    pub standing: Standing,
}

/// RFC 6665 §4.2.2: whether the watcher's right is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not yet.
    Pending,
    /// It may.
    Active,
}

/// Why a subscription ends with a last NOTIFY (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// The watcher should subscribe anew at once: it moved to another home.
    Deactivated,
    /// The same, after a while, in seconds.
    Probation(u32),
    /// The right was refused or taken away.
    Rejected,
    /// It ran out, or the watcher ended it.
    TimedOut,
    /// The right was not decided in time.
    GaveUp,
    /// The resource is gone.
    NoResource,
}

/// What a 200 to a SUBSCRIBE must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which.
    pub id: SubscriptionId,
    /// Expires, in seconds.
    pub expires_seconds: u32,
}

/// A subscription whose NOTIFY is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub id: SubscriptionId,
    /// It is the last one, for this reason.
    pub termination: Option<Termination>,
}

/// A subscription that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which; void by now.
    pub id: SubscriptionId,
    /// What was watched.
    pub resource: Arc<str>,
    /// Who watched.
    pub watcher: Arc<str>,
    /// Why.
    pub reason: EndReason,
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// A last NOTIFY said so.
    Terminated(Termination),
    /// The watcher refused a NOTIFY with this status.
    Refused(u16),
    /// The watcher answered no NOTIFY, or could not be reached.
    Silent,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    dialog: Dialog,
    resource: Arc<str>,
    watcher: Arc<str>,
    event: Box<str>,
    package_length: u16,
    accept: Option<Box<str>>,
    contact: Box<str>,
    policy: Policy,
    standing: Standing,
    expires: Instant,
    notifying: Notifying,
    /// A NOTIFY is owed.
    owed: Owed,
    /// It stands in the queue of what is due.
    queued: bool,
    /// No NOTIFY about changes before this time.
    held_until: Instant,
    /// The next NOTIFY is the last.
    termination: Option<Termination>,
    failures: u8,
    /// What stands in the table of deadlines.
    deadline: Instant,
}

/// Whether a NOTIFY is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notifying {
    Idle,
    InFlight { until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    Nothing,
    /// About a change: may wait.
    Change,
    /// Because of a SUBSCRIBE or the end: at once.
    AtOnce,
}

/// How long a NOTIFY may be without a result before it counts as unanswered: twice timer F, so that it only catches a result that was lost.
const NOTIFY_TIME_MAX: Duration = Duration::from_secs(64);
/// How many NOTIFYs in a row may be refused for a passing reason before the subscription ends.
const FAILURES_MAX: u8 = 3;
/// Longest Retry-After of a watcher's that is heeded.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// What a SUBSCRIBE is told that found the table full: long enough to spread a storm.
const RETRY_AFTER_SECONDS: u32 = 60;
/// Longest Accept, Event and keys that are kept, in octets each.
const TEXT_OCTETS_MAX: usize = 512;

/// The table. See the module's text.
pub struct Subscriptions {
    limits: Limits,
    rng: ChaCha8Rng,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    by_resource: BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>,
    by_watcher: BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>,
    deadlines: BTreeSet<(Instant, SubscriptionId)>,
    /// Subscriptions whose NOTIFY is due, in the order in which it became so.
    due: VecDeque<SubscriptionId>,
    ended: VecDeque<Ended>,
}

impl Subscriptions {
    /// An empty table. `seed` draws local tags.
    pub fn new(seed: [u8; 32], limits: Limits) -> Subscriptions {
        Subscriptions {
            limits,
            rng: ChaCha8Rng::from_seed(seed),
            subscriptions: BTreeMap::new(),
            by_resource: BTreeMap::new(),
            by_watcher: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// Begins a subscription that the caller permits (RFC 6665 §4.2.1). `Expires: 0` is a fetch: its first NOTIFY is its last.
    pub fn accept(
        &mut self,
        now: Instant,
        subscribe: &Subscribe<'_>,
        watch: &Watch<'_>,
        policy: &Policy,
    ) -> Result<Accepted, Refusal> {
        let expires_seconds = policy.expires_seconds(subscribe)?;
        self.room_for(watch)?;
        let texts = [subscribe.package, subscribe.event_id.unwrap_or(""), subscribe.accept.unwrap_or("")];
        if texts.into_iter().any(|text| text.len() > TEXT_OCTETS_MAX) {
            return Err(Refusal::new(400, "Event or Accept is too long"));
        }
        let id = self.draw();
        let dialog =
            Dialog::answering(subscribe.message, &id.local_tag()).map_err(|e| Refusal::new(400, e.0))?;
        let event = match subscribe.event_id {
            Some(event_id) => format!("{};id={event_id}", subscribe.package),
            None => subscribe.package.to_owned(),
        };
        let resource = interned(&self.by_resource, watch.resource);
        let watcher = interned(&self.by_watcher, watch.watcher);
        self.by_resource.entry(resource.clone()).or_default().insert(id);
        self.by_watcher.entry(watcher.clone()).or_default().insert(id);
        let expires = now + Duration::from_secs(u64::from(expires_seconds));
        let subscription = Subscription {
            dialog,
            resource,
            watcher,
            event: event.into(),
            package_length: u16::try_from(subscribe.package.len()).expect("the package's length was bounded"),
            accept: subscribe.accept.map(Box::from),
            contact: watch.contact.into(),
            policy: *policy,
            standing: watch.standing,
            expires,
            notifying: Notifying::Idle,
            owed: Owed::Nothing,
            queued: false,
            held_until: now,
            termination: (expires_seconds == 0).then_some(Termination::TimedOut),
            failures: 0,
            deadline: expires,
        };
        self.subscriptions.insert(id, subscription);
        self.deadlines.insert((expires, id));
        self.owe(now, id, Owed::AtOnce);
        Ok(Accepted { id, expires_seconds })
    }

    /// Feeds a SUBSCRIBE within a dialog: it prolongs the subscription, or ends it with `Expires: 0` (RFC 6665 §4.2.1.4). A NOTIFY
    /// with the whole state is due in either case.
    pub fn handle_subscribe(&mut self, now: Instant, subscribe: &Subscribe<'_>) -> Result<Accepted, Refusal> {
        let unknown = Refusal::new(481, "the subscription does not exist");
        let id = self.lookup(subscribe).ok_or(unknown)?;
        let subscription = self.subscriptions.get_mut(&id).expect("lookup gives names that are not void");
        let cseq = subscribe.message.cseq().map_err(|_| Refusal::new(400, "CSeq is malformed"))?;
        if !subscription.dialog.advance_remote_cseq(cseq.number) {
            return Err(Refusal::new(500, "CSeq is older than the last one"));
        }
        // Its last NOTIFY waits for an earlier one: for the watcher it is over.
        if subscription.termination.is_some() {
            return Err(unknown);
        }
        let expires_seconds = subscription.policy.expires_seconds(subscribe)?;
        // Contact is a target refresh (RFC 6665 §4.1.2.2), and may be left out by clients that did not move.
        let contact = super::contact(subscribe.message).map_err(|e| Refusal::new(400, e.0))?;
        if let Some(target) = contact {
            if target.len() > super::DIALOG_OCTETS_MAX {
                return Err(Refusal::new(400, "Contact is too long"));
            }
            subscription.dialog.remote_target = target;
        }
        subscription.expires = now + Duration::from_secs(u64::from(expires_seconds));
        if expires_seconds == 0 {
            subscription.termination = Some(Termination::TimedOut);
        }
        self.owe(now, id, Owed::AtOnce);
        Ok(Accepted { id, expires_seconds })
    }

    /// Feeds what became of the NOTIFY in flight (RFC 6665 §4.2.2, RFC 5057 §5.1). A void name is harmless.
    pub fn handle_notify_result(&mut self, now: Instant, id: SubscriptionId, result: NotifyResult) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if subscription.notifying == Notifying::Idle {
            return;
        }
        subscription.notifying = Notifying::Idle;
        match result {
            NotifyResult::Response { status: 200..=299, .. } => subscription.failures = 0,
            NotifyResult::Response { status, retry_after_seconds } => {
                subscription.failures += 1;
                let given_up = subscription.failures >= FAILURES_MAX;
                match retry_after_seconds {
                    _ if given_up => return self.remove(id, EndReason::Refused(status)),
                    Some(seconds) => {
                        let wait = Duration::from_secs(u64::from(seconds)).min(RETRY_AFTER_MAX);
                        subscription.held_until = now + wait;
                        subscription.owed = subscription.owed.max(Owed::Change);
                    }
                    None if is_of_one_request_only(status) => {}
                    None => return self.remove(id, EndReason::Refused(status)),
                }
            }
            NotifyResult::TimedOut | NotifyResult::Unreachable => return self.remove(id, EndReason::Silent),
        }
        self.settle(now, id);
    }

    /// Lets time pass: expiries, intervals between NOTIFYs, lost results.
    pub fn handle_timer(&mut self, now: Instant) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            let subscription = self.subscriptions.get_mut(&id).expect("a deadline belongs to a subscription");
            match subscription.notifying {
                Notifying::InFlight { until } if until <= now => {
                    self.remove(id, EndReason::Silent);
                    continue;
                }
                _ => {}
            }
            if subscription.expires <= now && subscription.termination.is_none() {
                subscription.termination = Some(Termination::TimedOut);
                subscription.owed = Owed::AtOnce;
            }
            self.settle(now, id);
        }
    }

    /// A resource has something new: its active subscriptions owe a NOTIFY.
    pub fn changed(&mut self, now: Instant, resource: &str) {
        let ids: Vec<_> = self.by_resource.get(resource).into_iter().flatten().copied().collect();
        for id in ids {
            if self.subscriptions[&id].standing == Standing::Active {
                self.owe(now, id, Owed::Change);
            }
        }
    }

    /// One subscription alone has something new, as [`Subscriptions::changed`] says of all of a resource: for callers who know which
    /// watchers see a difference. A void name is harmless.
    pub fn changed_for(&mut self, now: Instant, id: SubscriptionId) {
        if self.subscriptions.get(&id).is_some_and(|subscription| subscription.standing == Standing::Active) {
            self.owe(now, id, Owed::Change);
        }
    }

    /// Ends a subscription without a last NOTIFY: its watcher's connection is gone, and nothing else leads to the watcher.
    pub fn forget(&mut self, id: SubscriptionId) {
        self.remove(id, EndReason::Silent);
    }

    /// The watcher's right was decided, or is again undecided.
    pub fn set_standing(&mut self, now: Instant, id: SubscriptionId, standing: Standing) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if subscription.standing != standing {
            subscription.standing = standing;
            self.owe(now, id, Owed::AtOnce);
        }
    }

    /// Ends a subscription with a last NOTIFY.
    pub fn terminate(&mut self, now: Instant, id: SubscriptionId, termination: Termination) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.termination.get_or_insert(termination);
        self.owe(now, id, Owed::AtOnce);
    }

    /// Ends all subscriptions to a resource.
    pub fn terminate_resource(&mut self, now: Instant, resource: &str, termination: Termination) {
        let ids: Vec<_> = self.by_resource.get(resource).into_iter().flatten().copied().collect();
        for id in ids {
            self.terminate(now, id, termination);
        }
    }

    /// Ends all subscriptions of a watcher (whose account was disabled).
    pub fn terminate_watcher(&mut self, now: Instant, watcher: &str, termination: Termination) {
        let ids: Vec<_> = self.by_watcher.get(watcher).into_iter().flatten().copied().collect();
        for id in ids {
            self.terminate(now, id, termination);
        }
    }

    /// Takes the envelope of a NOTIFY that is due; it is in flight from now on, so its result must be fed. `None` if none is due:
    /// the name is void, or [`Subscriptions::poll_due`] did not give it.
    ///
    /// After a last NOTIFY the subscription is gone; its result may be fed but says nothing.
    pub fn notify(&mut self, now: Instant, id: SubscriptionId) -> Option<Notify> {
        let subscription = self.subscriptions.get_mut(&id)?;
        if !subscription.is_due(now) {
            return None;
        }
        subscription.dialog.local_cseq += 1;
        let notify = subscription.envelope(now);
        subscription.owed = Owed::Nothing;
        subscription.held_until = now + subscription.policy.interval_min;
        subscription.notifying = Notifying::InFlight { until: now + NOTIFY_TIME_MAX };
        match subscription.termination {
            Some(termination) => self.remove(id, EndReason::Terminated(termination)),
            None => self.settle(now, id),
        }
        Some(notify)
    }

    /// Takes the next subscription whose NOTIFY is due. The caller promises to take it with [`Subscriptions::notify`].
    pub fn poll_due(&mut self, now: Instant) -> Option<Due> {
        while let Some(id) = self.due.pop_front() {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            subscription.queued = false;
            if subscription.is_due(now) {
                return Some(Due { id, termination: subscription.termination });
            }
        }
        None
    }

    /// Takes the next end of a subscription.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// When `handle_timer` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A subscription.
    pub fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(&id)
    }

    /// The subscriptions to a resource, in no order of meaning.
    pub fn of_resource(&self, resource: &str) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        let ids = self.by_resource.get(resource).into_iter().flatten();
        ids.map(|id| (*id, &self.subscriptions[id]))
    }

    /// The subscription whose dialog has this Call-ID and these tags (RFC 3261 §12): for requests of other methods within it.
    pub fn of_dialog(&self, call_id: &str, local_tag: &str, remote_tag: &str) -> Option<SubscriptionId> {
        let id = SubscriptionId::from_local_tag(local_tag)?;
        let dialog = &self.subscriptions.get(&id)?.dialog;
        (&*dialog.call_id == call_id && &*dialog.remote_tag == remote_tag).then_some(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// The subscription of a SUBSCRIBE within a dialog: Call-ID, both tags and the event must be its own. Several subscriptions
    /// in one dialog (RFC 6665 §4.5.1 no longer has them) are not offered.
    fn lookup(&self, subscribe: &Subscribe<'_>) -> Option<SubscriptionId> {
        let from = subscribe.message.from().ok()?;
        let call_id = subscribe.message.call_id().ok()?;
        let id = self.of_dialog(call_id, subscribe.to_tag?, from.tag().unwrap_or_default())?;
        let subscription = &self.subscriptions[&id];
        let same =
            subscription.package() == subscribe.package && subscription.event_id() == subscribe.event_id;
        same.then_some(id)
    }

    fn room_for(&self, watch: &Watch<'_>) -> Result<(), Refusal> {
        let full = |reason| {
            Err(Refusal { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..Refusal::new(503, reason) })
        };
        let of = |table: &BTreeMap<Arc<str>, BTreeSet<_>>, key| table.get(key).map_or(0, BTreeSet::len);
        if self.subscriptions.len() >= self.limits.subscriptions_max {
            full("there are too many subscriptions")
        } else if of(&self.by_resource, watch.resource) >= self.limits.per_resource_max {
            full("the resource has too many watchers")
        } else if of(&self.by_watcher, watch.watcher) >= self.limits.per_watcher_max {
            Err(Refusal::new(403, "the watcher has too many subscriptions"))
        } else {
            Ok(())
        }
    }

    fn draw(&mut self) -> SubscriptionId {
        loop {
            let id = SubscriptionId(self.rng.random());
            if !self.subscriptions.contains_key(&id) {
                return id;
            }
        }
    }

    fn owe(&mut self, now: Instant, id: SubscriptionId, owed: Owed) {
        let subscription = self.subscriptions.get_mut(&id).expect("the caller looked it up");
        subscription.owed = subscription.owed.max(owed);
        self.settle(now, id);
    }

    /// Brings the tables up to date with what a subscription is now.
    fn settle(&mut self, now: Instant, id: SubscriptionId) {
        let subscription = self.subscriptions.get_mut(&id).expect("the caller looked it up");
        self.deadlines.remove(&(subscription.deadline, id));
        if subscription.is_due(now) && !subscription.queued {
            subscription.queued = true;
            self.due.push_back(id);
        }
        subscription.deadline = subscription.next_deadline(now);
        self.deadlines.insert((subscription.deadline, id));
    }

    fn remove(&mut self, id: SubscriptionId, reason: EndReason) {
        let Some(subscription) = self.subscriptions.remove(&id) else { return };
        self.deadlines.remove(&(subscription.deadline, id));
        let Subscription { resource, watcher, .. } = subscription;
        forget(&mut self.by_resource, &resource, id);
        forget(&mut self.by_watcher, &watcher, id);
        self.ended.push_back(Ended { id, resource, watcher, reason });
    }
}

impl Subscription {
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
        &self.event[..usize::from(self.package_length)]
    }

    /// Event's `id`.
    pub fn event_id(&self) -> Option<&str> {
        self.event[usize::from(self.package_length)..].strip_prefix(";id=")
    }

    /// Accept of the SUBSCRIBE that began it.
    pub fn accept(&self) -> Option<&str> {
        self.accept.as_deref()
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
        self.dialog.local_cseq
    }

    /// Its dialog.
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    fn is_due(&self, now: Instant) -> bool {
        let owed = match self.owed {
            Owed::Nothing => false,
            Owed::Change => self.held_until <= now,
            Owed::AtOnce => true,
        };
        owed && self.notifying == Notifying::Idle
    }

    /// When time alone changes something: the end of a subscription that has none yet, of a wait, or of a NOTIFY without a result.
    fn next_deadline(&self, now: Instant) -> Instant {
        let expires = self.termination.is_none().then_some(self.expires);
        let waits = match self.notifying {
            Notifying::InFlight { until } => Some(until),
            Notifying::Idle if self.owed == Owed::Change && self.held_until > now => Some(self.held_until),
            Notifying::Idle => None,
        };
        // A last NOTIFY that is due waits for its caller alone; the time here only keeps it in the table.
        expires.into_iter().chain(waits).min().unwrap_or(now + NOTIFY_TIME_MAX)
    }

    fn envelope(&self, now: Instant) -> Notify {
        let (request_uri, route_set) = self.dialog.request_uri_and_route();
        Notify {
            request_uri: request_uri.to_owned(),
            route_set,
            from: self.dialog.local.to_string(),
            to: self.dialog.remote.to_string(),
            call_id: self.dialog.call_id.to_string(),
            cseq: self.dialog.local_cseq,
            event: self.event.to_string(),
            subscription_state: self.state(now),
            contact: self.contact.to_string(),
        }
    }

    /// RFC 6665 §4.1.3, §8.2.3.
    fn state(&self, now: Instant) -> String {
        let left = self.expires.since(now);
        // Rounded up: `expires=0` would be an end without a reason.
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        match (self.termination, self.standing) {
            (Some(Termination::Deactivated), _) => "terminated;reason=deactivated".to_owned(),
            (Some(Termination::Probation(after)), _) => {
                format!("terminated;reason=probation;retry-after={after}")
            }
            (Some(Termination::Rejected), _) => "terminated;reason=rejected".to_owned(),
            (Some(Termination::TimedOut), _) => "terminated;reason=timeout".to_owned(),
            (Some(Termination::GaveUp), _) => "terminated;reason=giveup".to_owned(),
            (Some(Termination::NoResource), _) => "terminated;reason=noresource".to_owned(),
            (None, Standing::Active) => format!("active;expires={seconds}"),
            (None, Standing::Pending) => format!("pending;expires={seconds}"),
        }
    }
}

impl Policy {
    fn expires_seconds(&self, subscribe: &Subscribe<'_>) -> Result<u32, Refusal> {
        let (default, min) = (self.expires_seconds_default, self.expires_seconds_min);
        granted(subscribe.expires_seconds, default, min, self.expires_seconds_max)
    }
}

/// Whether a refusal of a NOTIFY says nothing about its subscription (RFC 5057 §5.1, Table 1).
fn is_of_one_request_only(status: u16) -> bool {
    matches!(
        status,
        400 | 402 | 403 | 406 | 412..=415 | 420 | 421 | 423 | 429 | 486..=488 | 491 | 493 | 494 | 500 | 503..=505 | 513
            | 580 | 600 | 603 | 606
    )
}

/// The key as it stands in a table already, so that one text serves all.
fn interned(table: &BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>, key: &str) -> Arc<str> {
    table.get_key_value(key).map_or_else(|| Arc::from(key), |(known, _)| known.clone())
}

fn forget(table: &mut BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>, key: &str, id: SubscriptionId) {
    if let Some(ids) = table.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            table.remove(key);
        }
    }
}
