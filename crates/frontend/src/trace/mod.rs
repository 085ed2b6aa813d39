//! Live traces: the SIP of one user or one Call-ID as it passes, for an administrator who watches.
//!
//! A trace is taken here, behind TLS, where messages come in and where they leave. It holds them redacted
//! ([`redact`]) in a ring of bounded size until it is polled, and ends by itself: when its time is over, or when nobody
//! polls any more. It is told in the log when it begins and when it ends, with who asked. While none runs the path of a
//! message knows of it by one comparison for each direction.
//!
//! A message belongs to a user's trace if From, To, Request-URI or P-Asserted-Identity is the user's address, or if its
//! flow is one that the user has registered on; to a call's trace if it bears its Call-ID.

mod redact;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use node::{Flow, Instant, Level, RequestId, UnixMillis};
use sip_message::{HeaderId, Message, NameAddr};
use sip_stack::timer::TimerId;
use smallvec::SmallVec;

use crate::admin::Refusal;
use crate::frontend::{Due, FrontEnd};
use crate::users::{AddressKey, Users};

/// Traces at one time: each looks at every message.
pub const TRACES_MAX: usize = 4;
/// Longest trace. What takes longer to show itself is for the log and the metrics.
pub const DURATION_MAX: Duration = Duration::from_secs(600);
/// Most events that wait to be polled: some seconds of one user's worst day. The oldest go first, and are counted.
pub const EVENTS_MAX: usize = 1024;
/// Most octets of text that wait to be polled, of one trace: some hundred messages with their session descriptions.
pub const EVENT_OCTETS_MAX: usize = 1024 * 1024;
/// Most octets of text in one answer, unless a single event is longer.
const PAGE_OCTETS_MAX: usize = 256 * 1024;
/// A trace that was not polled for so long has nobody who watches.
const POLL_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests whose reports are still looked for: those under way, and a second's of those that ended.
const REQUESTS_MAX: usize = 1024;

/// Names a trace within this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub u64);

/// What a trace is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRequest {
    /// A user's address, else a Call-ID.
    pub subject: String,
    /// How long; cut to [`DURATION_MAX`].
    pub duration: Duration,
    /// Whether bodies are shown.
    pub bodies: Bodies,
    /// Who asks, for the log.
    pub asked_by: String,
}

/// Whether a trace shows what people write and what calls negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// Only type and length.
    Hidden,
    /// Whole.
    Shown,
}

/// What a trace follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceSubject {
    /// A user of ours.
    User(SipAddress),
    /// Whatever bears this Call-ID.
    CallId(String),
}

/// What has happened since the last poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePage {
    /// In the order of their happening.
    pub events: Vec<TraceEvent>,
    /// Events that were dropped since the last poll, because more came than there is room for.
    pub lost: u64,
    /// More waits to be polled.
    pub more: bool,
    /// The trace is over and gone; nothing more comes.
    pub is_over: bool,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When.
    pub at: UnixMillis,
    /// The request that it is about, as the log names it.
    pub request: Option<RequestId>,
    /// What.
    pub what: TraceWhat,
}

/// See [`TraceEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceWhat {
    /// A message came in or left.
    Message {
        /// Which way.
        direction: Direction,
        /// Who is at the other end.
        party: TraceParty,
        /// The message, redacted.
        text: String,
    },
    /// Something came in that is no SIP.
    Unreadable {
        /// Who sent it.
        party: TraceParty,
        /// Its length; its content could not be redacted.
        octets: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What the server had to say about a request of this trace.
    Report {
        /// The event's name in the log.
        event: &'static str,
        /// Why.
        reason: String,
    },
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    In,
    /// From the server.
    Out,
}

/// The other end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParty {
    /// Who has signed in there, if anybody; several are separated by blanks.
    pub user: String,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: &'static str,
    /// Its address.
    pub remote: SocketAddr,
}

/// The traces that run.
#[derive(Default)]
pub(crate) struct Traces {
    running: SmallVec<[Box<Trace>; 1]>,
    /// Those that the message belongs to which is being worked on.
    current: SmallVec<[TraceId; TRACES_MAX]>,
    serial: u64,
}

struct Trace {
    id: TraceId,
    subject: Subject,
    bodies: Bodies,
    asked_by: String,
    ends_at: Instant,
    polled_at: Instant,
    timer: TimerId,
    events: VecDeque<TraceEvent>,
    octets: usize,
    lost: u64,
    seen: u64,
    requests: BTreeSet<RequestId>,
    is_over: bool,
}

enum Subject {
    User(UserId, SipAddress),
    CallId(String),
}

impl Traces {
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn find(&mut self, id: TraceId) -> Option<&mut Trace> {
        self.running.iter_mut().find(|trace| trace.id == id).map(|trace| &mut **trace)
    }
}

// Commands.
impl FrontEnd {
    pub(crate) fn trace_start(
        &mut self,
        request: &TraceRequest,
    ) -> Result<(TraceId, TraceSubject, Duration), Refusal> {
        if self.traces.running.len() >= TRACES_MAX {
            return Err(Refusal::TooManyTraces);
        }
        let address = SipAddress::parse(&request.subject).ok();
        let user = address.and_then(|address| Some((self.users.find_address(&address)?, address)));
        let (subject, named) = match user {
            Some((id, address)) => (Subject::User(id, address.clone()), TraceSubject::User(address)),
            None => (Subject::CallId(request.subject.clone()), TraceSubject::CallId(request.subject.clone())),
        };
        let duration = request.duration.min(DURATION_MAX);
        let (now, id) = (self.now.monotonic, TraceId(self.traces.serial));
        self.traces.serial += 1;
        let trace = Trace {
            id,
            subject,
            bodies: request.bodies,
            asked_by: request.asked_by.clone(),
            ends_at: now + duration,
            polled_at: now,
            timer: self.timers.insert(now + duration.min(POLL_TIMEOUT), Due::TraceEnds(id)),
            events: VecDeque::new(),
            octets: 0,
            lost: 0,
            seen: 0,
            requests: BTreeSet::new(),
            is_over: false,
        };
        self.audit(&trace, "a trace began", ("seconds", duration.as_secs().to_string()));
        self.traces.running.push(Box::new(trace));
        Ok((id, named, duration))
    }

    pub(crate) fn trace_poll(&mut self, id: TraceId) -> Result<TracePage, Refusal> {
        let now = self.now.monotonic;
        let trace = self.traces.find(id).ok_or(Refusal::NoSuchTrace)?;
        trace.polled_at = now;
        let (mut events, mut octets) = (Vec::new(), 0);
        while let Some(event) = trace.events.front() {
            if octets > 0 && octets + event.octets() > PAGE_OCTETS_MAX {
                break;
            }
            octets += event.octets();
            events.extend(trace.events.pop_front());
        }
        trace.octets -= octets;
        let (lost, more) = (std::mem::take(&mut trace.lost), !trace.events.is_empty());
        let is_over = trace.is_over && !more;
        if is_over {
            self.trace_gone(id);
        }
        Ok(TracePage { events, lost, more, is_over })
    }

    pub(crate) fn trace_stop(&mut self, id: TraceId) -> Result<(), Refusal> {
        let trace = self.traces.find(id).ok_or(Refusal::NoSuchTrace)?;
        let was_over = std::mem::replace(&mut trace.is_over, true);
        if !was_over {
            self.trace_ended(id, "a trace was stopped");
        }
        self.trace_gone(id);
        Ok(())
    }

    /// Its time is over, or nobody has polled for too long; or neither yet.
    pub(crate) fn trace_due(&mut self, id: TraceId) {
        let now = self.now.monotonic;
        let Some(trace) = self.traces.find(id) else { return };
        let abandoned_at = trace.polled_at + POLL_TIMEOUT;
        if now >= abandoned_at {
            if !std::mem::replace(&mut trace.is_over, true) {
                self.trace_ended(id, "a trace ended because nobody watches it");
            }
            return self.traces.running.retain(|trace| trace.id != id);
        }
        let ends_now = now >= trace.ends_at && !trace.is_over;
        trace.is_over |= ends_now;
        let next = if trace.is_over { abandoned_at } else { abandoned_at.min(trace.ends_at) };
        trace.timer = self.timers.insert(next, Due::TraceEnds(id));
        if ends_now {
            self.trace_ended(id, "a trace's time is over");
        }
    }

    fn trace_gone(&mut self, id: TraceId) {
        if let Some(trace) = self.traces.find(id) {
            let timer = trace.timer;
            self.timers.cancel(timer);
        }
        self.traces.running.retain(|trace| trace.id != id);
    }

    fn trace_ended(&mut self, id: TraceId, reason: &'static str) {
        let Some(at) = self.traces.running.iter().position(|trace| trace.id == id) else { return };
        let trace = self.traces.running.swap_remove(at);
        self.audit(&trace, reason, ("events", trace.seen.to_string()));
        self.traces.running.push(trace);
    }

    fn audit(&mut self, trace: &Trace, reason: &'static str, more: (&'static str, String)) {
        let subject = match &trace.subject {
            Subject::User(_, address) => address.as_str().to_owned(),
            Subject::CallId(call_id) => call_id.clone(),
        };
        let bodies = match trace.bodies {
            Bodies::Hidden => "hidden",
            Bodies::Shown => "shown",
        };
        let fields = vec![
            ("trace", trace.id.0.to_string()),
            ("subject", subject),
            ("asked_by", trace.asked_by.clone()),
            ("bodies", bodies.to_owned()),
            more,
        ];
        self.report(Level::Info, "administered", None, reason, fields);
    }
}

// What is fed while a trace runs.
impl FrontEnd {
    /// A message came in.
    pub(crate) fn trace_received(&mut self, flow: Flow, bytes: &Bytes) {
        self.trace_message(Direction::In, flow, bytes);
    }

    /// A message leaves.
    pub(crate) fn trace_sent(&mut self, flow: Flow, bytes: &Bytes) {
        self.trace_message(Direction::Out, flow, bytes);
    }

    /// What came in last is a request of this name.
    pub(crate) fn trace_request(&mut self, id: RequestId) {
        for trace in &mut self.traces.running {
            if self.traces.current.contains(&trace.id) {
                if let Some(event) = trace.events.back_mut() {
                    event.request = Some(id);
                }
                trace.requests.insert(id);
                if trace.requests.len() > REQUESTS_MAX {
                    trace.requests.pop_first();
                }
            }
        }
    }

    /// The node has something to say about a request.
    pub(crate) fn trace_report(&mut self, id: RequestId, event: &'static str, reason: &str) {
        let at = self.now.wall;
        for trace in self.traces.running.iter_mut().filter(|trace| trace.requests.contains(&id)) {
            let what = TraceWhat::Report { event, reason: reason.to_owned() };
            trace.record(TraceEvent { at, request: Some(id), what });
        }
    }

    fn trace_message(&mut self, direction: Direction, flow: Flow, bytes: &Bytes) {
        self.traces.current.clear();
        // What has no facts is on its way to a connection that is gone.
        let Some((transport, remote)) = self.stack.hops().flow_facts(flow) else { return };
        let message = Message::parse(bytes.clone());
        let party = TraceParty { user: self.signed_in_there(flow), transport: transport.name(), remote };
        let at = self.now.wall;
        for trace in &mut self.traces.running {
            let what = match &message {
                Ok(message) if trace.subject.covers(message, flow, &self.users) => TraceWhat::Message {
                    direction,
                    party: party.clone(),
                    text: redact::shown(message, trace.bodies),
                },
                // A keep-alive of ours, or what a peer broke; whose it is only its flow can tell.
                Err(error) if direction == Direction::In && trace.subject.is_on(flow, &self.users) => {
                    TraceWhat::Unreadable { party: party.clone(), octets: bytes.len(), reason: error.reason }
                }
                Ok(_) | Err(_) => continue,
            };
            if trace.record(TraceEvent { at, request: None, what }) {
                self.traces.current.push(trace.id);
            }
        }
    }

    fn signed_in_there(&self, flow: Flow) -> String {
        let users = match flow {
            Flow::Connection(connection) => self.connections.get(&connection).map(|c| &c.users),
            Flow::Datagram { .. } => self.datagram_users.get(&flow),
        };
        let accounts = users.into_iter().flatten().filter_map(|id| self.users.get(*id));
        let names: Vec<&str> = accounts.map(|account| account.user.address.as_str()).collect();
        names.join(" ")
    }
}

impl Trace {
    /// Gives whether it was taken; a trace that is over takes nothing.
    fn record(&mut self, event: TraceEvent) -> bool {
        if self.is_over {
            return false;
        }
        self.seen += 1;
        self.octets += event.octets();
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || (self.octets > EVENT_OCTETS_MAX && self.events.len() > 1) {
            let dropped = self.events.pop_front().expect("there is more than one");
            self.octets -= dropped.octets();
            self.lost += 1;
        }
        true
    }
}

impl TraceEvent {
    fn octets(&self) -> usize {
        match &self.what {
            TraceWhat::Message { text, .. } => text.len(),
            TraceWhat::Unreadable { .. } => 0,
            TraceWhat::Report { reason, .. } => reason.len(),
        }
    }
}

impl Subject {
    fn covers(&self, message: &Message, flow: Flow, users: &Users) -> bool {
        match self {
            Subject::CallId(call_id) => message.call_id().is_ok_and(|id| id == call_id),
            Subject::User(_, address) => self.is_on(flow, users) || concerns(message, address),
        }
    }

    /// Whether the user has registered on the flow.
    fn is_on(&self, flow: Flow, users: &Users) -> bool {
        match self {
            Subject::CallId(_) => false,
            Subject::User(id, _) => users
                .get(*id)
                .is_some_and(|account| account.bindings.iter().any(|binding| binding.flow == flow)),
        }
    }
}

fn concerns(message: &Message, address: &SipAddress) -> bool {
    let is_it = |uri: &sip_message::Uri<'_>| AddressKey::from_uri(uri).is_some_and(|key| key.is(address));
    let names_it = |value: NameAddr<'_>| is_it(&value.uri);
    message.from().is_ok_and(names_it)
        || message.to().is_ok_and(names_it)
        || (message.is_request() && message.request_uri().is_ok_and(|uri| is_it(&uri)))
        || message.name_addrs(HeaderId::PAssertedIdentity).flatten().any(names_it)
}
