//! The table of calls: every INVITE dialog that is set up through this server, from its first request to its last.
//!
//! A call is one INVITE without a tag in To, known by its Call-ID and the caller's tag; what becomes of its branches is the
//! response context's business, here it either is answered once or not at all. A second device that answers at the same
//! moment is hung up by the caller (RFC 3261 §13.2.2.4), and its BYE ends nothing here. What this is not: nobody needs the
//! table to reach the other party, since the dialog's Route entries prove themselves. A restart forgets it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use directory::UserId;
use hashbrown::{HashMap, HashTable};
use node::{Instant, Now};
use sip_message::Message;
use sip_stack::transaction::ServerId;
use slab::Slab;
use smallvec::SmallVec;

use super::forwarding::Trail;
use crate::messaging::mailbox::DeviceId;
use crate::people::Someone;

/// Calls at once, ringing and up. They take some half KiB each: 64 MiB at the most, and as many as transactions may wait.
pub(crate) const CALLS_MAX: usize = 131_072;
/// Calls that one user may have made and that are not over: a switchboard's gateway stays below, and nobody can fill the
/// table alone.
pub(crate) const CALLS_MADE_MAX: u32 = 1024;
/// Calls that people of one other organisation may have made and that are not over: an eighth of the table.
pub(crate) const CALLS_OF_DOMAIN_MAX: u32 = 16_384;
/// How long a call may be up without a sign of life. A conference may last a day; a call whose BYE was lost, and whose
/// devices are both still there, is seen no longer than that.
pub(crate) const CALL_LASTS_MAX: Duration = Duration::from_secs(24 * 3600);
/// RFC 4028 §4: no session is refreshed more often.
const SESSION_EXPIRES_MIN: Duration = Duration::from_secs(90);

/// Names a call while it is in the table; names nothing afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId {
    /// Tells it from the earlier tenants of its place.
    birth: u32,
    place: u32,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    birth: u32,
    /// Its name in the logs of those who took part.
    pub(crate) id: [u8; 16],
    pub(crate) call_id: Box<str>,
    pub(crate) caller_tag: Box<str>,
    pub(crate) caller: Party,
    /// Who was called first, wherever the call went from there.
    pub(crate) called: Someone,
    /// Where else it rang, in order.
    pub(crate) others: Vec<Other>,
    /// How it came there; `None` where it may not be forwarded.
    pub(crate) trail: Option<Box<Trail>>,
    /// The call that it replaces once it is answered (RFC 3891).
    pub(crate) replaces: Option<CallId>,
    /// Whether another took its place; its parties end it then.
    pub(crate) is_replaced: bool,
    pub(crate) began: Now,
    pub(crate) phase: Phase,
    /// What the parties negotiated (RFC 4028): without a refresh in this time the call is over.
    session: Option<Duration>,
    ends_at: Instant,
    /// Since when both devices are known to be gone.
    pub(crate) abandoned_since: Option<Instant>,
}

/// One end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) who: Someone,
    /// `None` where it is not known which of the user's devices it is.
    pub(crate) device: Option<DeviceId>,
}

/// A user to whom a call was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) user: UserId,
    pub(crate) role: Role,
}

/// Why somebody else's devices ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The call was forwarded to them.
    ForwardedTo,
    /// They ring together with the callee's.
    RingsAlso,
}

/// How far a call has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The INVITE waits for its final answer.
    Calling {
        server: ServerId,
        rings: bool,
    },
    Up(Up),
}

/// A confirmed call.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) callee_tag: Box<str>,
    pub(crate) callee: Party,
    /// The device, as it is named to its owner.
    pub(crate) answered_at: Box<str>,
    pub(crate) since: Instant,
}

/// What a transaction means to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// It sets the call up.
    SetUp(CallId),
    /// It keeps the call alive, or changes it.
    Refresh(CallId),
}

/// What a new call is made of.
pub(crate) struct NewCall {
    pub(crate) caller: Party,
    pub(crate) called: Someone,
    pub(crate) server: ServerId,
}

/// Why a call cannot be put into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeginError {
    /// [`CALLS_MAX`].
    Full,
    /// [`CALLS_MADE_MAX`], or [`CALLS_OF_DOMAIN_MAX`].
    TooManyOfOne,
    /// Call-ID and tag are those of a call that is not over.
    AlreadyThere,
}

/// The table.
pub(crate) struct Calls {
    calls: Slab<Call>,
    births: u32,
    /// By Call-ID and the caller's tag.
    dialogs: HashTable<u32>,
    /// With a seed: the keys are strangers' choice.
    hasher: foldhash::quality::FixedState,
    pending: HashMap<ServerId, Pending, foldhash::fast::FixedState>,
    /// With a seed: some of the keys are strangers' choice.
    people: HashMap<Someone, CallsOf, foldhash::quality::FixedState>,
    /// How many calls the people of each other organisation made, by domain.
    made_from: BTreeMap<Box<str>, u32>,
    /// Where the next look begins.
    sweep_from: usize,
}

/// The calls of one person.
#[derive(Default)]
struct CallsOf {
    calls: SmallVec<[CallId; 2]>,
    /// How many of them the person made.
    made: u32,
}

impl Calls {
    pub(crate) fn new(seed: u64) -> Calls {
        Calls {
            calls: Slab::new(),
            births: 0,
            dialogs: HashTable::new(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            pending: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            people: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(seed)),
            made_from: BTreeMap::new(),
            sweep_from: 0,
        }
    }

    /// A call begins with this INVITE.
    pub(crate) fn begin(&mut self, now: Now, invite: &Message, new: NewCall) -> Result<CallId, BeginError> {
        if self.calls.len() >= CALLS_MAX {
            return Err(BeginError::Full);
        }
        if self.people.get(&new.caller.who).is_some_and(|of| of.made >= CALLS_MADE_MAX) {
            return Err(BeginError::TooManyOfOne);
        }
        let from = new.caller.domain_elsewhere();
        if from.is_some_and(|from| self.made_from.get(from).is_some_and(|made| *made >= CALLS_OF_DOMAIN_MAX))
        {
            return Err(BeginError::TooManyOfOne);
        }
        let (call_id, caller_tag) = (invite.call_id().unwrap_or(""), invite.from_tag().unwrap_or(""));
        let hash = self.hash(call_id, caller_tag);
        if self.at(hash, call_id, caller_tag).is_some() {
            return Err(BeginError::AlreadyThere);
        }
        self.births = self.births.wrapping_add(1);
        let birth = self.births;
        let place = self.calls.insert(Call {
            birth,
            id: log_id(now, hash),
            call_id: call_id.into(),
            caller_tag: caller_tag.into(),
            caller: new.caller.clone(),
            called: new.called.clone(),
            others: Vec::new(),
            trail: None,
            replaces: None,
            is_replaced: false,
            began: now,
            phase: Phase::Calling { server: new.server, rings: false },
            session: None,
            ends_at: now.monotonic + CALL_LASTS_MAX,
            abandoned_since: None,
        });
        let id = CallId { birth, place: u32::try_from(place).expect("below CALLS_MAX") };
        let (calls, hasher) = (&self.calls, &self.hasher);
        self.dialogs.insert_unique(hash, id.place, |place| {
            let call = &calls[*place as usize];
            dialog_hash(hasher, &call.call_id, &call.caller_tag)
        });
        self.pending.insert(new.server, Pending::SetUp(id));
        if let Some(from) = new.caller.domain_elsewhere() {
            *self.made_from.entry(from.into()).or_default() += 1;
        }
        let of_caller = self.people.entry(new.caller.who).or_default();
        of_caller.calls.push(id);
        of_caller.made += 1;
        self.join(id, new.called);
        Ok(id)
    }

    /// The call rings at another user, too.
    pub(crate) fn ring_at(&mut self, id: CallId, other: Other) {
        let Some(call) = self.get_mut(id) else { return };
        // Who is rung again is rung with the present stage.
        call.others.retain(|listed| *listed != other);
        call.others.push(other);
        self.join(id, Someone::Home(other.user));
    }

    /// A device rings. Whether that is news.
    pub(crate) fn rings(&mut self, id: CallId) -> bool {
        match self.get_mut(id).map(|call| &mut call.phase) {
            Some(Phase::Calling { rings, .. }) => !std::mem::replace(rings, true),
            _ => false,
        }
    }

    /// The call is answered.
    pub(crate) fn answered(&mut self, now: Instant, id: CallId, up: Up, session: Option<Duration>) {
        self.join(id, up.callee.who.clone());
        let Some(call) = self.get_mut(id) else { return };
        let replaced = call.replaces;
        let before = std::mem::replace(&mut call.phase, Phase::Up(up));
        call.keep_alive(now, session);
        if let Phase::Calling { server, .. } = before {
            self.pending.remove(&server);
        }
        if let Some(replaced) = replaced.and_then(|replaced| self.get_mut(replaced)) {
            replaced.is_replaced = true;
        }
    }

    /// A request within the call passes that keeps it alive; `session` is what it, or its answer, says.
    pub(crate) fn refreshed(&mut self, now: Instant, id: CallId, session: Option<Duration>) {
        if let Some(call) = self.get_mut(id) {
            call.keep_alive(now, session);
        }
    }

    /// A request within the call waits for its answer.
    pub(crate) fn await_answer(&mut self, server: ServerId, id: CallId) {
        self.pending.insert(server, Pending::Refresh(id));
    }

    /// What a transaction that has its final answer meant.
    pub(crate) fn take_pending(&mut self, server: ServerId) -> Option<Pending> {
        self.pending.remove(&server)
    }

    /// Takes a call out of the table.
    pub(crate) fn end(&mut self, id: CallId) -> Option<Call> {
        self.get(id)?;
        let call = self.calls.remove(id.place as usize);
        let hash = dialog_hash(&self.hasher, &call.call_id, &call.caller_tag);
        if let Ok(entry) = self.dialogs.find_entry(hash, |place| *place == id.place) {
            entry.remove();
        }
        if let Phase::Calling { server, .. } = call.phase {
            self.pending.remove(&server);
        }
        if let Some(of_caller) = self.people.get_mut(&call.caller.who) {
            of_caller.made -= 1;
        }
        if let Some(from) = call.caller.domain_elsewhere()
            && let Some(made) = self.made_from.get_mut(from)
        {
            *made -= 1;
            if *made == 0 {
                self.made_from.remove(from);
            }
        }
        for who in call.people() {
            self.leave(id, &who);
        }
        Some(call)
    }

    /// The calls in the next part of the table, when it is gone through in so many parts.
    pub(crate) fn sweep(&mut self, parts: usize) -> Vec<CallId> {
        let places = self.calls.capacity();
        let from = if self.sweep_from < places { self.sweep_from } else { 0 };
        self.sweep_from = (from + places.div_ceil(parts)).min(places);
        (from..self.sweep_from).filter_map(|place| Some(self.calls.get(place)?.name(place))).collect()
    }

    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(id.place as usize).filter(|call| call.birth == id.birth)
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(id.place as usize).filter(|call| call.birth == id.birth)
    }

    /// What a transaction that has no final answer yet means.
    pub(crate) fn pending(&self, server: ServerId) -> Option<Pending> {
        self.pending.get(&server).copied()
    }

    /// The call that a request within a dialog belongs to, by the tags of both parties.
    pub(crate) fn of_request(&self, request: &Message) -> Option<CallId> {
        let call_id = request.call_id().ok()?;
        let (from, to) = (request.from_tag()?, request.to_tag()?);
        self.of_dialog(call_id, from, to).or_else(|| self.of_dialog(call_id, to, from))
    }

    /// The call of this Call-ID and these tags, if it is up.
    pub(crate) fn of_dialog(&self, call_id: &str, caller_tag: &str, callee_tag: &str) -> Option<CallId> {
        let id = self.at(self.hash(call_id, caller_tag), call_id, caller_tag)?;
        self.get(id)?.up().filter(|up| *up.callee_tag == *callee_tag).map(|_| id)
    }

    /// How many calls of a user are up: ringing is not being in a call.
    pub(crate) fn up(&self, user: UserId) -> usize {
        self.of(user).filter(|(_, call)| call.is_up_for(user)).count()
    }

    /// A user's calls, in no order that lasts.
    pub(crate) fn of(&self, user: UserId) -> impl Iterator<Item = (CallId, &Call)> {
        let ids = self.people.get(&Someone::Home(user)).map_or(&[][..], |of| &of.calls);
        ids.iter().map(|id| (*id, &self.calls[id.place as usize]))
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    fn join(&mut self, id: CallId, who: Someone) {
        let of = self.people.entry(who).or_default();
        if !of.calls.contains(&id) {
            of.calls.push(id);
        }
    }

    fn leave(&mut self, id: CallId, who: &Someone) {
        let Some(of) = self.people.get_mut(who) else { return };
        of.calls.retain(|call| *call != id);
        if of.calls.is_empty() {
            self.people.remove(who);
        }
    }

    fn at(&self, hash: u64, call_id: &str, caller_tag: &str) -> Option<CallId> {
        let is_it = |place: &u32| {
            let call = &self.calls[*place as usize];
            *call.call_id == *call_id && *call.caller_tag == *caller_tag
        };
        let place = *self.dialogs.find(hash, is_it)? as usize;
        Some(self.calls[place].name(place))
    }

    fn hash(&self, call_id: &str, caller_tag: &str) -> u64 {
        dialog_hash(&self.hasher, call_id, caller_tag)
    }
}

impl Party {
    /// The domain of somebody of another organisation.
    fn domain_elsewhere(&self) -> Option<&str> {
        match &self.who {
            Someone::Home(_) => None,
            Someone::Elsewhere(address) => Some(address.domain()),
        }
    }
}

impl Call {
    fn name(&self, place: usize) -> CallId {
        CallId { birth: self.birth, place: u32::try_from(place).expect("below CALLS_MAX") }
    }

    fn keep_alive(&mut self, now: Instant, session: Option<Duration>) {
        if let Some(session) = session {
            self.session = Some(session.clamp(SESSION_EXPIRES_MIN, CALL_LASTS_MAX));
        }
        self.ends_at = now + self.session.unwrap_or(CALL_LASTS_MAX);
    }

    /// Everybody who has it in their list; somebody may stand there twice.
    fn people(&self) -> impl Iterator<Item = Someone> {
        let answered = self.up().map(|up| up.callee.who.clone());
        let others = self.others.iter().map(|other| Someone::Home(other.user));
        [self.caller.who.clone(), self.called.clone()].into_iter().chain(answered).chain(others)
    }

    pub(crate) fn up(&self) -> Option<&Up> {
        match &self.phase {
            Phase::Up(up) => Some(up),
            Phase::Calling { .. } => None,
        }
    }

    /// Who answered, or else whose devices it rings at now.
    pub(crate) fn callees(&self) -> SmallVec<[Someone; 2]> {
        if let Some(up) = self.up() {
            return std::iter::once(up.callee.who.clone()).collect();
        }
        let last = self.others.iter().rposition(|other| other.role == Role::ForwardedTo);
        let (current, along) = match last {
            Some(at) => (Someone::Home(self.others[at].user), &self.others[at + 1..]),
            None => (self.called.clone(), &*self.others),
        };
        std::iter::once(current).chain(along.iter().map(|other| Someone::Home(other.user))).collect()
    }

    pub(crate) fn is_up_for(&self, user: UserId) -> bool {
        self.up().is_some_and(|up| self.caller.who == user || up.callee.who == user)
    }

    /// Whether its session was not refreshed, or it lasts longer than any call may.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ends_at <= now
    }
}

/// When it began, and who it is: no two calls of one owner have both in common.
fn log_id(now: Now, hash: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&now.wall.0.to_be_bytes());
    id[8..].copy_from_slice(&hash.to_be_bytes());
    id
}

fn dialog_hash(hasher: &foldhash::quality::FixedState, call_id: &str, caller_tag: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(call_id.as_bytes());
    hasher.write_u8(0);
    hasher.write(caller_tag.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use node::UnixMillis;

    use super::*;

    const NOW: Now = Now { monotonic: Instant(0), wall: UnixMillis(0) };

    fn invite(call_id: &str) -> Message {
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nFrom: <sip:a@x>;tag=a\r\nTo: <sip:b@x>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 INVITE\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    /// As many transactions as are asked for: the stack alone names them.
    fn servers(count: u8) -> Vec<ServerId> {
        use sip_stack::transaction::{Arrival, Incoming, Limits, TimerValues, Transactions};
        let limits = Limits { server_pending_max: 9999, client_pending_max: 9999, ended_max: 9 };
        let mut transactions = Transactions::new([0; 32], TimerValues::STANDARD, limits);
        let flow = node::Flow::Connection(node::ConnectionId(1));
        let remote = std::net::SocketAddr::from(([192, 0, 2, 1], 5060));
        let arrival = Arrival { flow, transport: node::Transport::Tcp, remote };
        let server = |n| match transactions.handle_request(NOW.monotonic, &invite_with_branch(n), arrival) {
            Incoming::New(server) => server,
            other => panic!("{other:?}"),
        };
        (0..count).map(server).collect()
    }

    fn invite_with_branch(n: u8) -> Message {
        let text = String::from_utf8(invite("c").bytes().to_vec()).unwrap();
        Message::parse(Bytes::from(text.replace("z9hG4bK1", &format!("z9hG4bK{n}x")))).unwrap()
    }

    fn new_call(server: ServerId) -> NewCall {
        let caller = Party { who: Someone::Home(UserId(1)), device: None };
        NewCall { caller, called: Someone::Home(UserId(2)), server }
    }

    #[test]
    fn nothing_is_left_of_a_call_that_ended() {
        let servers = servers(2);
        let mut calls = Calls::new(1);
        let id = calls.begin(NOW, &invite("c1"), new_call(servers[0])).unwrap();
        calls.ring_at(id, Other { user: UserId(3), role: Role::RingsAlso });
        assert_eq!(calls.begin(NOW, &invite("c1"), new_call(servers[1])), Err(BeginError::AlreadyThere));
        assert_eq!(calls.pending(servers[0]), Some(Pending::SetUp(id)));
        assert_eq!((1..=3).map(|user| calls.of(UserId(user)).count()).sum::<usize>(), 3);
        assert!(calls.end(id).is_some() && calls.end(id).is_none());
        assert_eq!((calls.len(), calls.people.len(), calls.pending.len(), calls.dialogs.len()), (0, 0, 0, 0));
        let again = calls.begin(NOW, &invite("c1"), new_call(servers[1])).unwrap();
        assert!(calls.get(id).is_none() && id != again, "an old name names nothing");
    }

    #[test]
    fn nobody_fills_the_table_alone() {
        let server = servers(1)[0];
        let mut calls = Calls::new(1);
        for n in 0..CALLS_MADE_MAX {
            calls.begin(NOW, &invite(&format!("c{n}")), new_call(server)).unwrap();
        }
        assert_eq!(calls.begin(NOW, &invite("more"), new_call(server)), Err(BeginError::TooManyOfOne));
        let caller = Party { who: Someone::Home(UserId(2)), device: None };
        let of_another = NewCall { caller, ..new_call(server) };
        assert!(calls.begin(NOW, &invite("more"), of_another).is_ok(), "who is called may still call");
    }

    #[test]
    fn every_call_is_looked_at_in_a_round() {
        let server = servers(1)[0];
        let mut calls = Calls::new(1);
        let ids: std::collections::BTreeSet<CallId> = (0..100)
            .map(|n| calls.begin(NOW, &invite(&format!("c{n}")), new_call(server)).unwrap())
            .collect();
        let seen: std::collections::BTreeSet<CallId> = (0..7).flat_map(|_| calls.sweep(7)).collect();
        assert_eq!(seen, ids);
    }
}
