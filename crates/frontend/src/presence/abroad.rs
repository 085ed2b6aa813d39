//! What lists learn of people of other organisations: a subscription for each list owner and person (RFC 4662 §6).
//!
//! Within the organisation a list's member is a row. Of somebody elsewhere nothing is known here, so the server subscribes on
//! its user's behalf: From is the list's owner, who is the one that the other side decides about. One subscription serves all
//! lists and devices of that owner; two owners have two, since they may see different things. What a NOTIFY says is the member's
//! state in the list as it came: the other organisation has already shown no more than its rules allow.
//!
//! A subscription begins with the first row that names the person and ends some seconds after the last, so that a client that
//! comes back finds it. It is refreshed before it ends, and asked for anew when it failed. Where nobody may be asked (no route,
//! no permission, no such kind of URI, a bound) the row is told as RFC 4662 §5.5 tells a resource without a subscription.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use node::{Side, Transport};
use presence::{address_of_uri, pidf, uri_of_address};
use rand::Rng;
use sip_message::{Host, Message};
use sip_stack::dialog::{Ask, ToldState, Watching};
use sip_stack::stack::{Forwarding, OwnOutcome, Target};
use sip_stack::timer::TimerId;
use slab::Slab;

use crate::events::Package;
use crate::frontend::{Due, FrontEnd};
use crate::messaging::Own;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request};
use crate::router::asserted;

/// Subscriptions at once, some 2 KiB each: 100 MiB at the most. 15,000 people have three contacts elsewhere each.
const ABROAD_MAX: usize = 50_000;
/// The same for one list owner: nobody takes them all.
const ABROAD_OF_ONE_MAX: usize = 200;
/// SUBSCRIBEs that wait for an answer at once. After a restart thousands are due; the other side's budgets are for people.
const IN_FLIGHT_MAX: usize = 32;
/// What is asked for, in seconds (RFC 3856 §6.4).
const EXPIRES_SECONDS: u32 = 3600;
/// A shorter grant is refreshed no sooner, so that nobody makes us busy.
const REFRESH_SECONDS_MIN: u64 = 30;
/// How long a subscription outlives the last row: a client that lost its connection is back by then.
const LINGER: Duration = Duration::from_secs(10);
/// How long after a 2xx the first NOTIFY is awaited: Timer N, 64 × T1 (RFC 6665 §4.1.2.4).
const NOTIFY_WITHIN: Duration = Duration::from_secs(32);
/// How long after a failure the same is asked again, at first; it doubles with each failure.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Octets of a document that is passed on.
const DOCUMENT_OCTETS_MAX: usize = pidf::BOUNDS.octets_max;
/// The longest wait, also where the other side names one; and the wait where another try would bring the same.
const ASK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Names a subscription while it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AbroadId {
    place: usize,
    /// Tells it from the earlier tenants of its place.
    birth: u64,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Abroad {
    watches: Slab<Watch>,
    births: u64,
    by_pair: BTreeMap<(UserId, Box<str>), AbroadId>,
    by_call_id: BTreeMap<Box<str>, AbroadId>,
    /// SUBSCRIBEs that are due, in order.
    due: VecDeque<AbroadId>,
    in_flight: usize,
}

/// What the server watches for one of its users.
struct Watch {
    birth: u64,
    owner: UserId,
    /// As the lists name the person.
    uri: Box<str>,
    address: SipAddress,
    watching: Watching,
    /// How many rows name it.
    rows: u32,
    phase: Phase,
    /// For how long the last NOTIFY of this dialog said that it lasts, in seconds; `None` before the first.
    lasts_seconds: Option<u32>,
    /// How often in a row it failed.
    failures: u32,
    state: MemberState,
    document: Option<Bytes>,
    /// See [`Due::Abroad`].
    timer: Option<TimerId>,
    /// See [`Due::AbroadIdle`].
    idle_timer: Option<TimerId>,
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A SUBSCRIBE is due, or waits for its answer.
    Asking,
    /// It was accepted, and the first NOTIFY is awaited.
    Accepted,
    /// It delivers, and is refreshed in time.
    Held,
    /// It failed, and is asked for anew in time.
    Failed,
    /// Nobody needs it any more, and the other side is told so.
    Leaving,
}

/// How a member elsewhere stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// Nothing is known yet.
    Unknown,
    Active,
    Pending,
    /// With the reason as RFC 6665 §4.1.3 has it.
    Terminated(&'static str),
}

/// RFC 6665 §4.1.3; what is not among them is as good as giving up.
const REASONS: [&str; 7] =
    ["deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"];

impl Abroad {
    fn get(&self, id: AbroadId) -> Option<&Watch> {
        self.watches.get(id.place).filter(|watch| watch.birth == id.birth)
    }

    fn get_mut(&mut self, id: AbroadId) -> Option<&mut Watch> {
        self.watches.get_mut(id.place).filter(|watch| watch.birth == id.birth)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.watches.len()
    }

    /// What is known of a person for a list's owner; `None` where nobody may be asked.
    pub(crate) fn known(&self, owner: UserId, uri: &str) -> Option<(MemberState, Option<Bytes>)> {
        let id = self.by_pair.get(&(owner, uri.into()))?;
        let watch = self.get(*id)?;
        Some((watch.state, watch.document.clone()))
    }
}

// Rows.
impl FrontEnd {
    /// A row of a list names somebody who is not here.
    pub(crate) fn watch_abroad(&mut self, owner: UserId, uri: &str) {
        if let Some(id) = self.abroad.by_pair.get(&(owner, uri.into())).copied()
            && let Some(watch) = self.abroad.get_mut(id)
        {
            watch.rows += 1;
            if let Some(timer) = watch.idle_timer.take() {
                self.timers.cancel(timer);
            }
            return;
        }
        let Some(watch) = self.new_abroad(owner, uri) else { return };
        let birth = watch.birth;
        let call_id = Box::from(watch.watching.call_id());
        let id = AbroadId { place: self.abroad.watches.insert(watch), birth };
        self.abroad.by_pair.insert((owner, uri.into()), id);
        self.abroad.by_call_id.insert(call_id, id);
        self.abroad.due.push_back(id);
        self.ask_abroad();
    }

    /// A row that named somebody who is not here is gone.
    pub(crate) fn unwatch_abroad(&mut self, owner: UserId, uri: &str) {
        let Some(id) = self.abroad.by_pair.get(&(owner, uri.into())).copied() else { return };
        let Some(watch) = self.abroad.get_mut(id) else { return };
        watch.rows = watch.rows.saturating_sub(1);
        if watch.rows == 0 && watch.idle_timer.is_none() {
            let at = self.now.monotonic + LINGER;
            watch.idle_timer = Some(self.timers.insert(at, Due::AbroadIdle(id)));
        }
    }

    fn new_abroad(&mut self, owner: UserId, uri: &str) -> Option<Watch> {
        let address = address_of_uri(uri)?;
        let of_owner =
            self.abroad.by_pair.range((owner, Box::from(""))..).take_while(|((of, _), _)| *of == owner);
        let is_possible = !self.is_our_domain(Host::Name(address.domain()))
            && self.may_federate(owner)
            && self.federation_hop.is_some()
            && self.abroad.len() < ABROAD_MAX
            && of_owner.count() < ABROAD_OF_ONE_MAX;
        if !is_possible {
            return None;
        }
        let watching = self.new_watching(owner, &address)?;
        self.abroad.births += 1;
        Some(Watch {
            birth: self.abroad.births,
            owner,
            uri: uri.into(),
            address,
            watching,
            rows: 1,
            phase: Phase::Asking,
            lasts_seconds: None,
            failures: 0,
            state: MemberState::Unknown,
            document: None,
            timer: None,
            idle_timer: None,
        })
    }

    fn new_watching(&mut self, owner: UserId, address: &SipAddress) -> Option<Watching> {
        let watcher = uri_of_address(&self.users.get(owner)?.user.address);
        let inside = |l: &&node::Listener| l.transport == Transport::Tls && l.side == Side::Inside;
        let listener = self.config.listeners.iter().find(inside)?;
        let contact = format!("<sip:{}:{};transport=tls>", listener.advertised_host, listener.address.port());
        let (call_id, tag) = (self.rng.random::<u128>(), self.rng.random::<u64>());
        let ask = Ask {
            resource: &uri_of_address(address),
            watcher: &watcher,
            package: Package::Presence.name(),
            accept: pidf::CONTENT_TYPE,
            contact: &contact,
        };
        Some(Watching::new(&ask, &format!("{call_id:032x}"), &format!("{tag:016x}")))
    }

    /// A user may, or may not any more, talk with other organisations: the lists' rows are told anew.
    pub(crate) fn abroad_changed(&mut self, owner: UserId) {
        let of_owner =
            self.abroad.by_pair.range((owner, Box::from(""))..).take_while(|((of, _), _)| *of == owner);
        let ids: Vec<AbroadId> = of_owner.map(|(_, id)| *id).collect();
        if !self.may_federate(owner) {
            ids.into_iter().for_each(|id| self.leave_abroad(id));
        }
        self.rows_abroad_changed(owner);
    }
}

// SUBSCRIBE.
impl FrontEnd {
    /// Sends what is due, as far as the other side has answered.
    fn ask_abroad(&mut self) {
        while self.abroad.in_flight < IN_FLIGHT_MAX
            && let Some(id) = self.abroad.due.pop_front()
        {
            self.subscribe_abroad(id);
        }
    }

    fn subscribe_abroad(&mut self, id: AbroadId) {
        let hop = self.hop_elsewhere();
        let Some(watch) = self.abroad.get(id) else { return };
        let from = self.users.get(watch.owner).map(|account| asserted(&account.user.address));
        let (Some(hop), Some(from)) = (hop, from) else { return self.abroad_failed(id, "giveup", None) };
        let watch = self.abroad.get_mut(id).expect("it was just found");
        let expires_seconds = if watch.phase == Phase::Leaving { 0 } else { EXPIRES_SECONDS };
        let Ok(message) = Message::parse(watch.watching.subscribe(expires_seconds, &from)) else {
            return self.abroad_failed(id, "giveup", Some(ASK_AGAIN_AFTER_MAX));
        };
        let target = Target {
            uri: message.request_uri_text().to_owned(),
            routes: Vec::new(),
            hop,
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let alternatives = match message.to_tag() {
            Some(_) => self.ways_around_elsewhere(&target),
            None => Vec::new(),
        };
        let target = Target { alternatives, ..target };
        self.abroad.in_flight += 1;
        let own = u64::try_from(self.own_requests.insert(Own::Abroad(id))).expect("an index fits");
        self.stack.send_own(self.now.monotonic, own, &message, target, Forwarding::default());
    }

    /// What became of a SUBSCRIBE.
    pub(crate) fn abroad_completed(&mut self, id: AbroadId, outcome: OwnOutcome) {
        self.abroad.in_flight -= 1;
        let retry_after = outcome.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        match self.abroad.get(id).map(|watch| (watch.phase, outcome.status)) {
            Some((Phase::Leaving, _)) => self.forget_abroad(id),
            Some((Phase::Asking, 200..=299)) => self.abroad_accepted(id),
            // RFC 6665 §4.1.2.2: the other side has forgotten it. Or the way of the dialog is refused, since the other organisation is
            // reached by another one now: whether its people may still be watched is told to who asks anew.
            Some((Phase::Asking, 403 | 481 | 603))
                if self.abroad.get(id).is_some_and(|w| w.lasts_seconds.is_some()) =>
            {
                self.abroad_anew(id);
            }
            Some((Phase::Asking, 403 | 603)) => {
                self.abroad_failed(id, "rejected", Some(ASK_AGAIN_AFTER_MAX));
            }
            Some((Phase::Asking, 404 | 410 | 484 | 489 | 604)) => {
                self.abroad_failed(id, "noresource", Some(ASK_AGAIN_AFTER_MAX));
            }
            Some((Phase::Asking, _)) => self.abroad_failed(id, "giveup", retry_after),
            // A NOTIFY has ended it meanwhile, or nobody needs it any more.
            Some(_) | None => {}
        }
        self.ask_abroad();
    }

    fn abroad_accepted(&mut self, id: AbroadId) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        let (phase, wait) = match watch.lasts_seconds {
            // The NOTIFY came before the answer.
            Some(seconds) => (Phase::Held, refresh_after(seconds)),
            None => (Phase::Accepted, NOTIFY_WITHIN),
        };
        watch.phase = phase;
        self.abroad_due_in(id, wait);
    }

    /// It is time: for a refresh, for another try, or to wait no longer.
    pub(crate) fn abroad_due(&mut self, id: AbroadId) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        watch.timer = None;
        match watch.phase {
            Phase::Accepted => self.abroad_failed(id, "giveup", None),
            Phase::Failed => self.abroad_anew(id),
            Phase::Held => {
                watch.phase = Phase::Asking;
                self.abroad.due.push_back(id);
                self.ask_abroad();
            }
            Phase::Asking | Phase::Leaving => {}
        }
    }

    /// Asks again as if for the first time.
    fn abroad_anew(&mut self, id: AbroadId) {
        let Some(watch) = self.abroad.get(id) else { return };
        let (owner, address, call_id) =
            (watch.owner, watch.address.clone(), Box::<str>::from(watch.watching.call_id()));
        let Some(watching) = self.new_watching(owner, &address) else { return };
        self.abroad.by_call_id.remove(&call_id);
        self.abroad.by_call_id.insert(watching.call_id().into(), id);
        let watch = self.abroad.get_mut(id).expect("it was just found");
        (watch.watching, watch.lasts_seconds, watch.phase) = (watching, None, Phase::Asking);
        self.abroad.due.push_back(id);
        self.ask_abroad();
    }

    fn abroad_failed(&mut self, id: AbroadId, reason: &'static str, again_after: Option<Duration>) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        if watch.phase == Phase::Leaving {
            return self.forget_abroad(id);
        }
        let doubled = ASK_AGAIN_AFTER.saturating_mul(1 << watch.failures.min(7));
        watch.failures += 1;
        watch.phase = Phase::Failed;
        let wait = again_after.unwrap_or(doubled).clamp(ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_MAX);
        self.abroad_stands(id, MemberState::Terminated(reason), None);
        // What failed together need not come back together.
        let wait = wait + wait.mul_f64(self.rng.random_range(0.0..0.25));
        self.abroad_due_in(id, wait);
    }

    /// Nobody names the person any more.
    pub(crate) fn abroad_idle(&mut self, id: AbroadId) {
        if let Some(watch) = self.abroad.get_mut(id) {
            watch.idle_timer = None;
            if watch.rows == 0 {
                self.leave_abroad(id);
            }
        }
    }

    /// Ends a subscription, and tells the other side if it knows of it.
    fn leave_abroad(&mut self, id: AbroadId) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        let key = (watch.owner, watch.uri.clone());
        let is_known = watch.watching.is_confirmed() && watch.phase == Phase::Held;
        watch.phase = Phase::Leaving;
        for timer in [watch.timer.take(), watch.idle_timer.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        self.abroad.by_pair.remove(&key);
        if is_known {
            self.abroad.due.push_back(id);
            self.ask_abroad();
        } else {
            // A NOTIFY that comes all the same is answered 481, which ends it there.
            self.forget_abroad(id);
        }
    }

    fn forget_abroad(&mut self, id: AbroadId) {
        let Some(watch) = self.abroad.get(id) else { return };
        let call_id = Box::<str>::from(watch.watching.call_id());
        let key = (watch.owner, watch.uri.clone());
        self.abroad.by_call_id.remove(&call_id);
        if self.abroad.by_pair.get(&key) == Some(&id) {
            self.abroad.by_pair.remove(&key);
        }
        let gone = self.abroad.watches.remove(id.place);
        for timer in [gone.timer, gone.idle_timer].into_iter().flatten() {
            self.timers.cancel(timer);
        }
    }

    fn abroad_due_in(&mut self, id: AbroadId, wait: Duration) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        if let Some(timer) = watch.timer.take() {
            self.timers.cancel(timer);
        }
        watch.timer = Some(self.timers.insert(self.now.monotonic + wait, Due::Abroad(id)));
    }
}

// NOTIFY.
impl FrontEnd {
    /// A NOTIFY from another organisation that follows no route of ours: of a subscription of the server's own.
    pub(crate) fn notified_from_abroad(
        &mut self,
        request: &Request<'_>,
        from: &Someone,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::new(481, "the subscription does not exist");
        let call_id = request.message.call_id().unwrap_or_default();
        let id = self.abroad.by_call_id.get(call_id).copied().ok_or_else(unknown)?;
        if self.abroad_is_not_from(id, from) {
            return Err(Refusal::new(403, "a NOTIFY from somebody who is not watched"));
        }
        let watch = match self.abroad.get_mut(id) {
            Some(watch) => watch,
            None => return Err(unknown()),
        };
        let told = watch.watching.handle_notify(request.message)?;
        let response = self.response_to(request.message, 200);
        self.answer(request, 200, response);
        let document = told.body.and_then(|(content_type, body)| document_of(&content_type, body));
        match told.state {
            ToldState::Active { expires_seconds } => {
                self.abroad_told(id, MemberState::Active, document, expires_seconds);
            }
            ToldState::Pending { expires_seconds } => {
                self.abroad_told(id, MemberState::Pending, document, expires_seconds);
            }
            ToldState::Terminated { reason, retry_after_seconds } => {
                self.abroad_terminated(id, reason.as_deref(), retry_after_seconds);
            }
        }
        Ok(())
    }

    /// Whoever is watched speaks for themselves alone.
    fn abroad_is_not_from(&self, id: AbroadId, from: &Someone) -> bool {
        match (self.abroad.get(id), from) {
            (Some(watch), Someone::Elsewhere(address)) => watch.address != **address,
            _ => true,
        }
    }

    fn abroad_told(
        &mut self,
        id: AbroadId,
        state: MemberState,
        document: Option<Bytes>,
        expires_seconds: Option<u32>,
    ) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        let seconds = expires_seconds.unwrap_or(EXPIRES_SECONDS).min(EXPIRES_SECONDS);
        watch.lasts_seconds = Some(seconds);
        watch.failures = 0;
        // One without a body says that nothing has changed.
        let document = document.or_else(|| watch.document.clone());
        if matches!(watch.phase, Phase::Accepted | Phase::Held) {
            watch.phase = Phase::Held;
            self.abroad_due_in(id, refresh_after(seconds));
        }
        self.abroad_stands(id, state, document);
    }

    fn abroad_terminated(&mut self, id: AbroadId, reason: Option<&str>, retry_after_seconds: Option<u32>) {
        let reason = REASONS.into_iter().find(|known| Some(*known) == reason).unwrap_or("giveup");
        let retry_after = retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let again_after = match reason {
            "rejected" | "noresource" | "invariant" => Some(ASK_AGAIN_AFTER_MAX),
            _ => retry_after,
        };
        self.abroad_failed(id, reason, again_after);
    }

    /// A member stands otherwise than before: the owner's rows are told.
    fn abroad_stands(&mut self, id: AbroadId, state: MemberState, document: Option<Bytes>) {
        let Some(watch) = self.abroad.get_mut(id) else { return };
        if watch.state == state && watch.document == document {
            return;
        }
        (watch.state, watch.document) = (state, document);
        let (owner, uri) = (watch.owner, watch.uri.clone());
        self.row_elsewhere_changed(owner, &uri);
    }
}

/// A document that is passed on: PIDF that can be read, and no larger than one of ours may be.
fn document_of(content_type: &str, body: Bytes) -> Option<Bytes> {
    let is_pidf = content_type.eq_ignore_ascii_case(pidf::CONTENT_TYPE) && body.len() <= DOCUMENT_OCTETS_MAX;
    let is_readable = || match pidf::read(&body) {
        Ok(_) | Err(pidf::PidfError::Empty) => true,
        Err(_) => false,
    };
    (is_pidf && is_readable()).then_some(body)
}

/// A subscription is refreshed when nine tenths of it are over.
fn refresh_after(seconds: u32) -> Duration {
    Duration::from_secs((u64::from(seconds) * 9 / 10).max(REFRESH_SECONDS_MIN))
}
