//! The table of subscriptions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use node::Instant;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slab::Slab;

use super::envelope::{Envelope, Facts};
use super::subscription::{Notifying, Owed};
use super::{Dialog, Notify, NotifyResult, Refusal, Subscribe, Subscription};
use crate::digits::hex;
use crate::timer::Timers;

/// Names a subscription; void once it ended. It is also the dialog's local tag: its place in the table, and a number that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId {
    nonce: u64,
    index: u32,
}

impl SubscriptionId {
    /// The local tag: 64 bits of it were drawn (RFC 3261 §19.3 asks for 32).
    pub fn local_tag(self) -> String {
        [&*hex(self.nonce), &hex(self.index.into())[8..]].concat()
    }

    fn from_local_tag(tag: &str) -> Option<SubscriptionId> {
        let (nonce, index) = tag.split_at_checked(16)?;
        let id = SubscriptionId {
            nonce: u64::from_str_radix(nonce, 16).ok()?,
            index: u32::from_str_radix(index, 16).ok()?,
        };
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
    /// Shortest time between NOTIFYs although nothing changed, which a watcher may ask for (RFC 6446 §6.2).
    pub interval_unchanged_min: Duration,
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
    /// The entity tag of what the watcher would be told now (RFC 5839 §6.1); `None` where the package has none.
    pub entity_tag: Option<&'a str>,
    /// Require of its NOTIFYs (RFC 4662 §5.2: `eventlist`).
    pub require: Option<&'a str>,
    /// How its NOTIFYs spell the event package, where that is not as the SUBSCRIBE does (RFC 6665 §8.2.1).
    pub package: Option<&'a str>,
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

/// What a 200 or 204 to a SUBSCRIBE must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which.
    pub id: SubscriptionId,
    /// The status: 200, or 204 where no NOTIFY follows because the watcher knows what it would be told (RFC 5839 §7.1).
    pub status: u16,
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
    subscriptions: Slab<Subscription>,
    by_resource: Groups,
    by_watcher: Groups,
    /// When to look at a subscription again; of each there is one timer, by its place.
    timers: Timers<u32>,
    /// Subscriptions whose NOTIFY is due, in the order in which it became so. A place whose subscription is gone or not
    /// `queued` means nothing.
    due: VecDeque<u32>,
    ended: VecDeque<Ended>,
}

/// The places of the subscriptions with a common key.
type Groups = HashMap<Arc<str>, Vec<u32>, FixedState>;

impl Subscriptions {
    /// An empty table. `seed` draws local tags.
    pub fn new(seed: [u8; 32], limits: Limits) -> Subscriptions {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let hasher = FixedState::with_seed(rng.random());
        Subscriptions {
            limits,
            rng,
            subscriptions: Slab::new(),
            by_resource: HashMap::with_hasher(hasher.clone()),
            by_watcher: HashMap::with_hasher(hasher),
            timers: Timers::new(),
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
        policy: &'static Policy,
    ) -> Result<Accepted, Refusal> {
        let expires_seconds = policy.expires_seconds(subscribe)?;
        self.room_for(watch)?;
        let texts =
            [subscribe.package, subscribe.event_id.unwrap_or(""), subscribe.accept.as_deref().unwrap_or("")];
        if texts.into_iter().any(|text| text.len() > TEXT_OCTETS_MAX) {
            return Err(Refusal::new(400, "Event or Accept is too long"));
        }
        let place = self.subscriptions.vacant_key();
        let index = u32::try_from(place).expect("memory ends before 2^32 subscriptions do");
        let id = SubscriptionId { nonce: self.rng.random(), index };
        let malformed = |error: super::DialogError| Refusal::new(400, error.0);
        let dialog = Dialog::answering(subscribe.message, &id.local_tag()).map_err(malformed)?;
        let facts = Facts {
            contact: watch.contact,
            require: watch.require,
            package: watch.package.unwrap_or(subscribe.package),
            event_id: subscribe.event_id,
            accept: subscribe.accept.as_deref(),
        };
        let envelope = Envelope::new(&dialog, &facts).map_err(malformed)?;
        let (resource, resource_place) = join(&mut self.by_resource, watch.resource, index);
        let (watcher, watcher_place) = join(&mut self.by_watcher, watch.watcher, index);
        let expires = now + Duration::from_secs(u64::from(expires_seconds));
        let mut subscription =
            Subscription::new(now, id.nonce, envelope, policy, expires, self.timers.insert(expires, index));
        subscription.remote_cseq = dialog.remote_cseq.unwrap_or(0);
        (subscription.resource, subscription.resource_place) = (resource, resource_place);
        (subscription.watcher, subscription.watcher_place) = (watcher, watcher_place);
        subscription.standing = watch.standing;
        subscription.termination = (expires_seconds == 0).then_some(Termination::TimedOut);
        subscription.ask(now, subscribe);
        // A first NOTIFY is never left out: it makes the dialog (RFC 6665 §4.1.3). Its body may be.
        subscription.body_is_known = subscribe.is_known(watch.entity_tag);
        self.subscriptions.insert(subscription);
        self.owe(now, index, Owed::AtOnce);
        Ok(Accepted { id, status: 200, expires_seconds })
    }

    /// Feeds a SUBSCRIBE within a dialog: it prolongs the subscription, or ends it with `Expires: 0` (RFC 6665 §4.2.1.4). A NOTIFY
    /// with the whole state is due in either case, unless the watcher knows it: `entity_tag` is that of what it would be told.
    pub fn handle_subscribe(
        &mut self,
        now: Instant,
        subscribe: &Subscribe<'_>,
        entity_tag: Option<&str>,
    ) -> Result<Accepted, Refusal> {
        let unknown = Refusal::new(481, "the subscription does not exist");
        let id = self.lookup(subscribe).ok_or(unknown)?;
        let subscription = self.at(id.index);
        let cseq = subscribe.message.cseq().map_err(|_| Refusal::new(400, "CSeq is malformed"))?;
        if cseq.number < subscription.remote_cseq {
            return Err(Refusal::new(500, "CSeq is older than the last one"));
        }
        subscription.remote_cseq = cseq.number;
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
            subscription.retarget(&target)?;
        }
        subscription.expires = now + Duration::from_secs(u64::from(expires_seconds));
        subscription.ask(now, subscribe);
        if subscribe.is_known(entity_tag) {
            if expires_seconds == 0 {
                self.remove(id.index, EndReason::Terminated(Termination::TimedOut));
            } else {
                self.settle(now, id.index);
            }
            return Ok(Accepted { id, status: 204, expires_seconds });
        }
        if expires_seconds == 0 {
            subscription.termination = Some(Termination::TimedOut);
        }
        self.owe(now, id.index, Owed::AtOnce);
        Ok(Accepted { id, status: 200, expires_seconds })
    }

    /// Feeds what became of the NOTIFY in flight (RFC 6665 §4.2.2, RFC 5057 §5.1). A void name is harmless.
    pub fn handle_notify_result(&mut self, now: Instant, id: SubscriptionId, result: NotifyResult) {
        let Some(subscription) = self.find(id) else { return };
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
                    _ if given_up => return self.remove(id.index, EndReason::Refused(status)),
                    Some(seconds) => {
                        let wait = Duration::from_secs(u64::from(seconds)).min(RETRY_AFTER_MAX);
                        subscription.held_until = now + wait;
                        subscription.owed = subscription.owed.max(Owed::Change);
                    }
                    None if is_of_one_request_only(status) => {}
                    None => return self.remove(id.index, EndReason::Refused(status)),
                }
            }
            NotifyResult::TimedOut | NotifyResult::Unreachable => {
                return self.remove(id.index, EndReason::Silent);
            }
        }
        self.settle(now, id.index);
    }

    /// Lets time pass: expiries, intervals between NOTIFYs, lost results.
    pub fn handle_timer(&mut self, now: Instant) {
        while let Some(index) = self.timers.pop(now) {
            let subscription = self.at(index);
            subscription.wake = Instant(u64::MAX);
            match subscription.notifying {
                Notifying::InFlight { until } if until <= now => {
                    self.remove(index, EndReason::Silent);
                    continue;
                }
                _ => subscription.pass(now),
            }
            self.settle(now, index);
        }
    }

    /// A resource has something new: its active subscriptions owe a NOTIFY.
    pub fn changed(&mut self, now: Instant, resource: &str) {
        let group = self.by_resource.remove_entry(resource);
        let Some((key, group)) = group else { return };
        for index in &group {
            self.change(now, *index, Owed::Change);
        }
        self.by_resource.insert(key, group);
    }

    /// One subscription alone has something new, as [`Subscriptions::changed`] says of all of a resource: for callers who know which
    /// watchers see a difference. A void name is harmless.
    pub fn changed_for(&mut self, now: Instant, id: SubscriptionId) {
        if self.find(id).is_some() {
            self.change(now, id.index, Owed::Change);
        }
    }

    /// The same of what may wait to be told together with more: until `window` after the last NOTIFY, or until another is sent
    /// earlier for a reason of its own. After a quiet time nothing waits. What the watcher asked for (RFC 6446) holds besides. A void
    /// name is harmless.
    pub fn gather_for(&mut self, now: Instant, id: SubscriptionId, window: Duration) {
        if let Some(subscription) = self.find(id) {
            subscription.gather(window);
            self.change(now, id.index, Owed::Gathered);
        }
    }

    /// Ends a subscription without a last NOTIFY: its watcher's connection is gone, and nothing else leads to the watcher. A void
    /// name is harmless.
    pub fn forget(&mut self, id: SubscriptionId) {
        if self.find(id).is_some() {
            self.remove(id.index, EndReason::Silent);
        }
    }

    /// The watcher's right was decided, or is again undecided.
    pub fn set_standing(&mut self, now: Instant, id: SubscriptionId, standing: Standing) {
        let Some(subscription) = self.find(id) else { return };
        if subscription.standing != standing {
            subscription.standing = standing;
            subscription.body_is_known = false;
            self.owe(now, id.index, Owed::AtOnce);
        }
    }

    /// Ends a subscription with a last NOTIFY.
    pub fn terminate(&mut self, now: Instant, id: SubscriptionId, termination: Termination) {
        if self.find(id).is_some() {
            self.end(now, id.index, termination);
        }
    }

    /// Ends all subscriptions to a resource.
    pub fn terminate_resource(&mut self, now: Instant, resource: &str, termination: Termination) {
        for index in self.by_resource.get(resource).cloned().unwrap_or_default() {
            self.end(now, index, termination);
        }
    }

    /// Ends all subscriptions of a watcher (whose account was disabled).
    pub fn terminate_watcher(&mut self, now: Instant, watcher: &str, termination: Termination) {
        for index in self.by_watcher.get(watcher).cloned().unwrap_or_default() {
            self.end(now, index, termination);
        }
    }

    /// A resource goes by another key from now on; its subscriptions go on.
    pub fn rename_resource(&mut self, from: &str, to: &str) {
        for index in self.by_resource.remove(from).unwrap_or_default() {
            let (key, place) = join(&mut self.by_resource, to, index);
            let subscription = self.at(index);
            (subscription.resource, subscription.resource_place) = (key, place);
        }
    }

    /// A watcher goes by another key from now on; its subscriptions go on.
    pub fn rename_watcher(&mut self, from: &str, to: &str) {
        for index in self.by_watcher.remove(from).unwrap_or_default() {
            let (key, place) = join(&mut self.by_watcher, to, index);
            let subscription = self.at(index);
            (subscription.watcher, subscription.watcher_place) = (key, place);
        }
    }

    /// Takes the envelope of a NOTIFY that is due; it is in flight from now on, so its result must be fed. `None` if none is due:
    /// the name is void, or [`Subscriptions::poll_due`] did not give it.
    ///
    /// After a last NOTIFY the subscription is gone; its result may be fed but says nothing.
    pub fn notify(&mut self, now: Instant, id: SubscriptionId) -> Option<Notify> {
        let subscription = self.find(id).filter(|subscription| subscription.is_due(now))?;
        let notify = subscription.notify(now, now + NOTIFY_TIME_MAX);
        match subscription.termination {
            Some(termination) => self.remove(id.index, EndReason::Terminated(termination)),
            None => self.settle(now, id.index),
        }
        Some(notify)
    }

    /// Takes the next subscription whose NOTIFY is due. The caller promises to take it with [`Subscriptions::notify`].
    pub fn poll_due(&mut self, now: Instant) -> Option<Due> {
        while let Some(index) = self.due.pop_front() {
            let Some(subscription) = self.subscriptions.get_mut(index as usize) else { continue };
            if std::mem::replace(&mut subscription.queued, false) && subscription.is_due(now) {
                let id = SubscriptionId { nonce: subscription.nonce, index };
                return Some(Due { id, termination: subscription.termination });
            }
        }
        None
    }

    /// Takes the next end of a subscription.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// When `handle_timer` is due. May be earlier than anything happens: a subscription is looked at again when it might have
    /// something to do, since looking costs less than keeping the queue exact with every NOTIFY.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// A subscription.
    pub fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(id.index as usize).filter(|subscription| subscription.nonce == id.nonce)
    }

    /// The subscriptions to a resource, in no order of meaning.
    pub fn of_resource(&self, resource: &str) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        self.by_resource.get(resource).into_iter().flatten().map(|index| {
            let subscription = &self.subscriptions[*index as usize];
            (SubscriptionId { nonce: subscription.nonce, index: *index }, subscription)
        })
    }

    /// The subscription whose dialog has this Call-ID and these tags (RFC 3261 §12): for requests of other methods within it.
    pub fn of_dialog(&self, call_id: &str, local_tag: &str, remote_tag: &str) -> Option<SubscriptionId> {
        let id = SubscriptionId::from_local_tag(local_tag)?;
        let envelope = &self.get(id)?.envelope;
        (envelope.call_id() == call_id && envelope.remote_tag() == remote_tag).then_some(id)
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
        let subscription = &self.subscriptions[id.index as usize];
        let same = subscription.package().eq_ignore_ascii_case(subscribe.package)
            && subscription.event_id() == subscribe.event_id;
        same.then_some(id)
    }

    fn room_for(&self, watch: &Watch<'_>) -> Result<(), Refusal> {
        let full = |reason| {
            Err(Refusal { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..Refusal::new(503, reason) })
        };
        let of = |groups: &Groups, key| groups.get(key).map_or(0, Vec::len);
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

    fn find(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(id.index as usize).filter(|subscription| subscription.nonce == id.nonce)
    }

    fn at(&mut self, index: u32) -> &mut Subscription {
        self.subscriptions.get_mut(index as usize).expect("what is listed is in the table")
    }

    fn change(&mut self, now: Instant, index: u32, owed: Owed) {
        let subscription = self.at(index);
        subscription.body_is_known = false;
        if subscription.standing == Standing::Active {
            self.owe(now, index, owed);
        }
    }

    fn end(&mut self, now: Instant, index: u32, termination: Termination) {
        self.at(index).termination.get_or_insert(termination);
        self.owe(now, index, Owed::AtOnce);
    }

    fn owe(&mut self, now: Instant, index: u32, owed: Owed) {
        let subscription = self.at(index);
        subscription.owed = subscription.owed.max(owed);
        self.settle(now, index);
    }

    /// Brings queue and timers up to date with what a subscription is now. A timer that would wake it too early is left alone.
    fn settle(&mut self, now: Instant, index: u32) {
        let subscription = self.subscriptions.get_mut(index as usize).expect("the caller looked it up");
        if !subscription.queued && subscription.is_due(now) {
            subscription.queued = true;
            self.due.push_back(index);
        }
        let wake = subscription.next_wake(now).unwrap_or(now + NOTIFY_TIME_MAX);
        if wake < subscription.wake {
            self.timers.cancel(subscription.timer);
            subscription.timer = self.timers.insert(wake, index);
            subscription.wake = wake;
        }
    }

    fn remove(&mut self, index: u32, reason: EndReason) {
        let subscription = self.subscriptions.remove(index as usize);
        self.timers.cancel(subscription.timer);
        let Subscription { nonce, resource, resource_place, watcher, watcher_place, .. } = subscription;
        if let Some(moved) = leave(&mut self.by_resource, &resource, resource_place) {
            self.at(moved).resource_place = resource_place;
        }
        if let Some(moved) = leave(&mut self.by_watcher, &watcher, watcher_place) {
            self.at(moved).watcher_place = watcher_place;
        }
        self.ended.push_back(Ended { id: SubscriptionId { nonce, index }, resource, watcher, reason });
    }
}

impl Policy {
    fn expires_seconds(&self, subscribe: &Subscribe<'_>) -> Result<u32, Refusal> {
        let (default, min) = (self.expires_seconds_default, self.expires_seconds_min);
        super::granted(subscribe.expires_seconds, default, min, self.expires_seconds_max)
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

/// Adds to a group, and gives its key, of which there is one text for all, and the place in it.
fn join(groups: &mut Groups, key: &str, index: u32) -> (Arc<str>, u32) {
    let known = groups.get_key_value(key).map(|(known, _)| known.clone());
    let key = known.unwrap_or_else(|| Arc::from(key));
    let group = groups.entry(key.clone()).or_default();
    group.push(index);
    (key, u32::try_from(group.len() - 1).expect("a group is no longer than the table"))
}

/// Takes out of a group; gives whoever has the place now.
fn leave(groups: &mut Groups, key: &str, place: u32) -> Option<u32> {
    let group = groups.get_mut(key).expect("a subscription is in the groups of its keys");
    group.swap_remove(place as usize);
    let moved = group.get(place as usize).copied();
    if group.is_empty() {
        groups.remove(key);
    }
    moved
}
