//! The event package `dialog` (RFC 4235): which calls somebody is in, as far as the watcher may know.
//!
//! Everybody here may subscribe; what is seen is a matter of the access level ([`Sight`]). Below team nobody sees more than an
//! empty document, which is what somebody looks like who is in no call: a watcher cannot tell that something is withheld, and
//! one that may see no more is told that the calls are over. Call-IDs and tags are for the owner's devices alone: whoever
//! has them can take a call over or listen in (RFC 4235 §7; Replaces, Join). So a dialog's `id` is a digest under a key of
//! this start, other for each party: it does not tell who is in a call with whom either.
//!
//! Documents are whole, each time (RFC 4235 §4.3). A call that is over stands in one more document, as terminated. One whose
//! devices are rung is told from the first ring on, at its caller from the INVITE on (RFC 4235 §3.7). Calls that did not go
//! through this server are not known here; nor is a single dialog watched (the parameters of Event, RFC 4235 §3.2): a
//! subscription is to all calls of a user.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use directory::UserId;
use presence::dialog_info::{CONTENT_TYPE, Dialog, DialogInfo, Direction, Event, Participant, State, render};
use presence::{Level, uri_of_address};
use sip_stack::dialog::{Policy, Standing, Subscribe, SubscriptionId};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::log::Ending;
use super::table::{Call, CallId, Phase};
use crate::events::{Body, Package, Permitted, Wanted};
use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::Refusal;
use crate::presence::watch::admits;
use crate::router::Recipient;

/// RFC 4235 §3.4 gives a default of an hour, §3.10 a least interval of a second.
pub(crate) const POLICY: Policy = Policy {
    expires_seconds_default: 3600,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::from_secs(1),
    // A subscriber may use NOTIFYs as a sign of life; more often than this they would be load.
    interval_unchanged_min: Duration::from_secs(10),
};
/// Calls that one document names, the newest first: 50 take some 40 KiB. Only a gateway or a switchboard has more.
const CALLS_SHOWN_MAX: usize = 50;
/// Calls that ended and that a watcher is still to be told of. Of more within the interval between two NOTIFYs the oldest are
/// only missing from the next document, which says the same.
const ENDED_MAX: usize = 16;
/// Tells these digests from others under the same key.
const ID_DOMAIN: u64 = 1;

/// How much a watcher sees of somebody's calls; higher sees more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sight {
    /// None; and cannot tell.
    Nothing,
    /// That they are, who called, and how they stand.
    Calls,
    /// And the other party, how long they last, and the status that ended them.
    Parties,
    /// And what names their dialogs.
    Everything,
}

/// A watcher of somebody's calls.
#[derive(Debug)]
pub(crate) struct DialogWatch {
    watcher: UserId,
    sight: Sight,
    /// What ended since the last NOTIFY, oldest first, and how much is to be seen of it: no more than when it ended, nor than now.
    ended: VecDeque<(Sight, Arc<Leg>)>,
}

/// A call as one of its parties has it.
#[derive(Clone, Debug)]
struct Leg {
    id: String,
    direction: Direction,
    state: State,
    event: Option<Event>,
    code: Option<u16>,
    duration_seconds: u64,
    remote: Option<Remote>,
    call_id: Box<str>,
    local_tag: Option<Box<str>>,
    remote_tag: Option<Box<str>>,
}

/// The other party.
#[derive(Clone, Debug)]
struct Remote {
    uri: String,
    name: String,
}

/// Why a call is over for one of its parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    event: Event,
    code: Option<u16>,
}

impl Sight {
    fn of(level: Level) -> Sight {
        match level {
            Level::Blocked | Level::External | Level::Company => Sight::Nothing,
            Level::Team => Sight::Calls,
            Level::Personal => Sight::Parties,
        }
    }
}

impl DialogWatch {
    /// So much from now on; of what ended before, too, no more is told than that it is over.
    fn sees(&mut self, sight: Sight) {
        self.sight = sight;
        for (seen, _) in &mut self.ended {
            *seen = (*seen).min(sight.max(Sight::Calls));
        }
    }

    fn is_to_be_told(&mut self, sight: Sight, leg: Arc<Leg>) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((sight, leg));
    }
}

impl Leg {
    fn ended(self, end: End) -> Leg {
        Leg { state: State::Terminated, event: Some(end.event), code: end.code, ..self }
    }

    /// As somebody is told who may not see any more how it goes on: as if the other party had ended it.
    fn hidden(&self) -> Leg {
        let event = if self.state == State::Confirmed { Event::RemoteBye } else { Event::Cancelled };
        self.clone().ended(End { event, code: None })
    }

    fn seen<'a>(&'a self, sight: Sight, entity: &'a str) -> Dialog<'a> {
        let owner = sight >= Sight::Everything;
        let knows_parties = sight >= Sight::Parties;
        let remote = self.remote.as_ref().filter(|_| knows_parties).map(|remote| Participant {
            identity: Some(&remote.uri),
            display_name: Some(&*remote.name).filter(|name| !name.is_empty()),
            target: None,
        });
        Dialog {
            id: &self.id,
            call_id: owner.then_some(&self.call_id),
            local_tag: self.local_tag.as_deref().filter(|_| owner),
            remote_tag: self.remote_tag.as_deref().filter(|_| owner),
            direction: Some(self.direction),
            state: self.state,
            event: self.event,
            code: self.code.filter(|_| knows_parties),
            duration_seconds: knows_parties.then_some(self.duration_seconds),
            local: Some(Participant { identity: Some(entity), display_name: None, target: None }),
            remote,
        }
    }
}

impl End {
    /// Of an INVITE that was answered so.
    fn of_status(status: u16) -> End {
        let event = match status {
            487 => Event::Cancelled,
            408 => Event::Timeout,
            _ => Event::Rejected,
        };
        End { event, code: Some(status) }
    }

    /// Devices that need not ring any more: another answered, or it rings elsewhere.
    fn rung_in_vain(status: u16) -> End {
        match status {
            200..=299 | 408 => End { event: Event::Cancelled, code: None },
            _ => End::of_status(status),
        }
    }

    fn of_call(call: &Call, direction: Direction, ending: Ending) -> End {
        match ending {
            Ending::HungUp { .. } if call.is_replaced => End { event: Event::Replaced, code: None },
            Ending::HungUp { by_caller } if by_caller == (direction == Direction::Initiator) => {
                End { event: Event::LocalBye, code: None }
            }
            Ending::HungUp { .. } => End { event: Event::RemoteBye, code: None },
            Ending::Lost => End { event: Event::Error, code: None },
            Ending::Refused { status, .. } => End::of_status(status),
        }
    }
}

// Who watches.
impl FrontEnd {
    /// Everybody here may watch everybody here; what is seen is a matter of the level (RFC 4235 §3.6).
    pub(crate) fn permit_dialogs(
        &self,
        subscribe: &Subscribe<'_>,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        match recipient {
            Recipient::User(watched, _) => {
                if !admits(subscribe.accept.as_deref(), CONTENT_TYPE) {
                    return Err(Refusal::new(406, "Accept does not admit dialog information"));
                }
                let account = self.users.get(*watched).expect("the recipient was just found");
                Ok(Permitted {
                    resource: Package::Dialogs.key(account.user.address.as_str()),
                    wanted: Wanted::Dialogs(*watched),
                    // Nobody is asked for a level on account of calls, and a watcher who waits would know that.
                    standing: Standing::Active,
                })
            }
            Recipient::Nobody => Err(Refusal::new(404, "no such user")),
            Recipient::Server => Err(Refusal::new(404, "the server itself has no calls")),
            Recipient::Foreign => Err(Refusal::new(403, "the domain is not federated with us")),
        }
    }

    pub(crate) fn watch_dialogs(&mut self, id: SubscriptionId, watcher: UserId, of: UserId) {
        let watch = DialogWatch { watcher, sight: self.sight(of, watcher), ended: VecDeque::new() };
        self.dialog_watches.entry(of).or_default().insert(id, watch);
    }

    pub(crate) fn dialogs_unwatched(&mut self, id: SubscriptionId, of: UserId) {
        let Some(watches) = self.dialog_watches.get_mut(&of) else { return };
        watches.remove(&id);
        if watches.is_empty() {
            self.dialog_watches.remove(&of);
        }
    }

    /// What a user grants may have changed: whoever sees a difference is told.
    pub(crate) fn dialog_access_changed(&mut self, of: UserId) {
        let Some(watches) = self.dialog_watches.get(&of) else { return };
        let decided: Vec<(SubscriptionId, Sight)> = watches
            .iter()
            .map(|(id, watch)| (*id, watch.sight, self.sight(of, watch.watcher)))
            .filter(|(_, before, now)| before != now)
            .map(|(id, _, now)| (id, now))
            .collect();
        if decided.is_empty() {
            return;
        }
        let legs = self.legs(of);
        let watches = self.dialog_watches.get_mut(&of).expect("it was just seen");
        for (id, sight) in decided {
            let watch = watches.get_mut(&id).expect("it was just seen");
            watch.sees(sight);
            if sight == Sight::Nothing {
                legs.iter().for_each(|leg| watch.is_to_be_told(Sight::Calls, Arc::new(leg.hidden())));
            }
            // Where there is no call, all see the same.
            if !legs.is_empty() {
                self.subscriptions.changed_for(self.now.monotonic, id);
            }
        }
    }

    fn sight(&self, of: UserId, watcher: UserId) -> Sight {
        if of == watcher {
            return Sight::Everything;
        }
        match (self.users.get(of), self.users.get(watcher)) {
            (Some(of), Some(watcher)) => Sight::of(self.access_of(of, &watcher.user.address).level),
            _ => Sight::Nothing,
        }
    }
}

// What they are told.
impl FrontEnd {
    /// A user's calls are others than before, or stand otherwise.
    pub(super) fn tell_dialog_watchers(&mut self, user: UserId) {
        for (id, watch) in self.dialog_watches.get(&user).into_iter().flatten() {
            if watch.sight > Sight::Nothing {
                self.subscriptions.changed_for(self.now.monotonic, *id);
            }
        }
    }

    /// A call stands otherwise than before, for everybody who takes part now.
    pub(super) fn dialogs_changed(&mut self, id: CallId) {
        if self.dialog_watches.is_empty() {
            return;
        }
        let Some(call) = self.calls.get(id) else { return };
        let mut parties = call.callees();
        parties.push(call.caller.who.clone());
        for user in parties.iter().filter_map(Someone::user) {
            self.tell_dialog_watchers(user);
        }
    }

    /// A call went on, by an answer or a refusal of this status: it is over for those whom it rang at before and who do not take part
    /// any more.
    pub(super) fn dialogs_moved(&mut self, id: CallId, rung: &[Someone], status: u16) {
        let Some(call) = self.calls.get(id).filter(|_| !self.dialog_watches.is_empty()) else { return };
        let callees = call.callees();
        let left = rung.iter().filter(|who| !callees.contains(who)).filter_map(Someone::user);
        let legs: SmallVec<[(UserId, Leg); 2]> = left
            .map(|user| (user, self.leg(call, user, Direction::Recipient)))
            .map(|(user, leg)| (user, leg.ended(End::rung_in_vain(status))))
            .collect();
        for (user, leg) in legs {
            self.tell_ended(user, leg);
        }
        self.dialogs_changed(id);
    }

    /// A call is over for everybody.
    pub(super) fn dialogs_ended(&mut self, call: &Call, ending: Ending) {
        // What this server refused was never on its way, and nobody was told of it.
        let was_told = !matches!(ending, Ending::Refused { by_callee: false, .. });
        if self.dialog_watches.is_empty() || !was_told {
            return;
        }
        let callees = call.callees().into_iter().map(|user| (user, Direction::Recipient));
        for (who, direction) in callees.chain([(call.caller.who.clone(), Direction::Initiator)]) {
            let Some(user) = who.user() else { continue };
            let leg = self.leg(call, user, direction).ended(End::of_call(call, direction, ending));
            self.tell_ended(user, leg);
        }
    }

    fn tell_ended(&mut self, user: UserId, leg: Leg) {
        let Some(watches) = self.dialog_watches.get_mut(&user) else { return };
        let leg = Arc::new(leg);
        for (id, watch) in watches.iter_mut().filter(|(_, watch)| watch.sight > Sight::Nothing) {
            watch.is_to_be_told(watch.sight, leg.clone());
            self.subscriptions.changed_for(self.now.monotonic, *id);
        }
    }

    /// Every call that a watcher may know of, and once those that ended.
    pub(crate) fn dialogs_body(&mut self, id: SubscriptionId, user: UserId, version: u32) -> Option<Body> {
        let entity = uri_of_address(&self.users.get(user)?.user.address);
        let watch = self.dialog_watches.get_mut(&user)?.get_mut(&id)?;
        let (sight, ended) = (watch.sight, std::mem::take(&mut watch.ended));
        let legs = if sight > Sight::Nothing { self.legs(user) } else { Vec::new() };
        // It rings there again, or may be seen again.
        let is_over = |leg: &Leg| legs.iter().all(|other| other.id != leg.id);
        let over = ended.iter().filter(|(_, leg)| is_over(leg)).map(|(sight, leg)| leg.seen(*sight, &entity));
        let dialogs: Vec<Dialog<'_>> = legs.iter().map(|leg| leg.seen(sight, &entity)).chain(over).collect();
        let info = DialogInfo { entity: &entity, version, is_full: true, dialogs: &dialogs };
        Some(Body::new(CONTENT_TYPE, render(&info)))
    }

    /// A user's calls, the newest first. Who calls themselves has two of one.
    fn legs(&self, user: UserId) -> Vec<Leg> {
        let mut calls: Vec<&Call> = self.calls.of(user).map(|(_, call)| call).collect();
        calls.sort_by_key(|call| (Reverse(call.began.monotonic), call.id));
        let sides = |call: &'_ Call| {
            let calls = (call.caller.who == user).then_some(Direction::Initiator);
            let is_called = call.callees().contains(&Someone::Home(user)).then_some(Direction::Recipient);
            calls.into_iter().chain(is_called)
        };
        let legs = calls.iter().flat_map(|call| sides(call).map(|side| self.leg(call, user, side)));
        legs.take(CALLS_SHOWN_MAX).collect()
    }

    fn leg(&self, call: &Call, user: UserId, direction: Direction) -> Leg {
        let is_caller = direction == Direction::Initiator;
        // Whoever was rung besides has nothing of the dialog that another answered.
        let up = call.up().filter(|up| is_caller || up.callee.who == user);
        let state = match &call.phase {
            Phase::Calling { rings: false, .. } => State::Trying,
            Phase::Calling { rings: true, .. } => State::Early,
            Phase::Up(_) => State::Confirmed,
        };
        let (caller_tag, callee_tag) = (Some(call.caller_tag.clone()), up.map(|up| up.callee_tag.clone()));
        let (local_tag, remote_tag) =
            if is_caller { (caller_tag, callee_tag) } else { (callee_tag, caller_tag) };
        let remote = if is_caller { &call.called } else { &call.caller.who };
        let name = remote.user().and_then(|user| self.users.get(user)).map(|a| a.user.display_name.clone());
        Leg {
            id: self.leg_id(call, user, direction),
            direction,
            state,
            event: None,
            code: None,
            duration_seconds: self.now.monotonic.since(call.began.monotonic).as_secs(),
            remote: self
                .address_of(remote)
                .map(|address| Remote { uri: uri_of_address(address), name: name.unwrap_or_default() }),
            call_id: call.call_id.clone(),
            local_tag,
            remote_tag,
        }
    }

    fn leg_id(&self, call: &Call, user: UserId, direction: Direction) -> String {
        let mut hasher = SipHasher13::new_with_keys(self.tag_key, ID_DOMAIN);
        hasher.write(&call.id);
        hasher.write_u64(user.0);
        hasher.write_u8(u8::from(direction == Direction::Initiator));
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_see_what_the_manual_says() {
        let seen = Level::ALL.iter().map(|level| Sight::of(*level));
        let nothing = Sight::Nothing;
        assert_eq!(seen.collect::<Vec<_>>(), [nothing, nothing, nothing, Sight::Calls, Sight::Parties]);
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let mut watch = DialogWatch { watcher: UserId(1), sight: Sight::Calls, ended: VecDeque::new() };
        for n in 0..ENDED_MAX + 3 {
            let leg = Leg {
                id: n.to_string(),
                direction: Direction::Initiator,
                state: State::Terminated,
                event: None,
                code: None,
                duration_seconds: 0,
                remote: None,
                call_id: "c".into(),
                local_tag: None,
                remote_tag: None,
            };
            watch.is_to_be_told(Sight::Calls, Arc::new(leg));
        }
        assert_eq!((watch.ended.len(), &*watch.ended[0].1.id), (ENDED_MAX, "3"));
    }
}
