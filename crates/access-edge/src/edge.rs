//! The node: its state, its inputs, its outputs, its timers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use federation::policy::Standing;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use node::{
    CallToken, ConnectToken, ConnectionId, Flow, Input, Instant, Level, Metric, Node, Now, Output, Peer,
    Report, RequestId, Side, Transport, UnixMillis,
};
use sip_message::Message;
use sip_stack::stack::{Event, Stack, StackConfig, StackOutput, TargetFailure};
use sip_stack::timer::Timers;
use sip_stack::transaction::{Limits as TransactionLimits, ServerId, TimerValues};

use crate::admin::{Answer, Call, Connection};
use crate::border::Entries;
use crate::budgets::Budgets;
use crate::config::{Config, Mode};
use crate::links::{Kind, Link, Links, Who, rate_of};
use crate::metrics::Counters;
use crate::pipeline::domain_of;

/// Ended transactions that are remembered, some half KiB each: for 32 s up to 1,000 requests a second, as at a Front End.
const TRANSACTIONS_ENDED_MAX: usize = 32_768;

/// How long after a change of the policy answers to what was asked before it may still come: an INVITE rings for three minutes
/// (timer C, RFC 3261 §16.6), and its last answer takes 64*T1.
const AFTERMATH: Duration = Duration::from_secs(240);

/// The Access Edge, or a clearinghouse. Make it with [`AccessEdge::new`], then drive it as [`node::Node`] says.
pub struct AccessEdge {
    pub(crate) config: Config,
    pub(crate) stack: Stack,
    pub(crate) entries: Arc<Entries>,
    pub(crate) links: Links,
    pub(crate) budgets: Budgets,
    pub(crate) counters: Counters,
    pub(crate) now: Now,
    /// Requests whose answer says something about their sender.
    pub(crate) telling: HashMap<ServerId, Telling, FixedState>,
    timers: Timers<Due>,
    outputs: VecDeque<Output<AccessEdge>>,
    next_request: u64,
    /// Until when answers are looked at that go outside: they may be to somebody whom a changed policy does not let in.
    aftermath_until: Option<Instant>,
}

/// What the answer to a request will say something about.
pub(crate) enum Telling {
    /// Whether anybody is signed in on a client's connection.
    Client(ConnectionId),
    /// Whether a discovered partner asks for people who exist.
    Discovered(Arc<str>),
}

/// Timers of the edge itself.
enum Due {
    /// A client's connection has had its time.
    SignIn(ConnectionId),
}

/// Whom a target is, by [`sip_stack::stack::Target::cookie`].
pub(crate) mod cookie {
    pub(crate) const INSIDE: u64 = 0;
    pub(crate) const PARTNER: u64 = 1;
    pub(crate) const CLIENT: u64 = 2;
}

impl AccessEdge {
    /// An edge that knows its policy.
    pub fn new(config: Config) -> AccessEdge {
        let has =
            |side, transport| config.listeners.iter().any(|l| l.side == side && l.transport == transport);
        assert!(has(Side::Outside, Transport::Tls), "an edge has a TLS listener outside");
        match config.mode {
            Mode::Edge => assert!(
                has(Side::Inside, Transport::Tls)
                    && !config.domains.is_empty()
                    && !config.next_hops.is_empty(),
                "an edge has a TLS listener inside, a domain, and somewhere to go"
            ),
            Mode::Clearinghouse => assert!(
                config.listeners.iter().all(|l| l.side == Side::Outside) && config.domains.is_empty(),
                "a clearinghouse has no inside and no domain"
            ),
        }
        let seed = u64::from_le_bytes(config.seed[..8].try_into().expect("a seed has 32 octets"));
        let stack = Stack::new(StackConfig {
            listeners: config.listeners.clone(),
            names: config.aliases.clone(),
            timers: TimerValues::STANDARD,
            limits: TransactionLimits {
                server_pending_max: config.limits.transactions_max,
                client_pending_max: config.limits.transactions_max,
                ended_max: TRANSACTIONS_ENDED_MAX,
            },
            secret: config.secret,
            seed: config.seed,
        });
        let mut edge = AccessEdge {
            stack,
            entries: Arc::new(Entries::new(&config)),
            links: Links::new(seed),
            budgets: Budgets::new(FixedState::with_seed(seed).hash_one(b"budgets")),
            counters: Counters::default(),
            now: Now { monotonic: Instant(0), wall: UnixMillis(0) },
            telling: HashMap::with_hasher(FixedState::with_seed(seed)),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            next_request: 0,
            aftermath_until: None,
            config,
        };
        edge.say_who_is_allowed();
        edge
    }

    /// The name that our own servers know this edge by; of a clearinghouse, that of its listener.
    pub(crate) fn name(&self) -> &str {
        let inside = self.config.listeners.iter().find(|listener| listener.side == Side::Inside);
        &inside.or(self.config.listeners.first()).expect("an edge listens").advertised_host
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(crate) fn report(
        &mut self,
        level: Level,
        event: &'static str,
        request: Option<RequestId>,
        reason: impl Into<std::borrow::Cow<'static, str>>,
        fields: Vec<(&'static str, String)>,
    ) {
        self.outputs.push_back(Output::Report(Report {
            level,
            event,
            request,
            reason: reason.into(),
            fields,
        }));
    }

    /// Closes a connection, of which nothing more is taken and on which nothing more is sent, whatever is under way.
    pub(crate) fn cut(&mut self, connection: ConnectionId, why: &'static str) {
        self.cut_as(connection, "connection-closed", why);
    }

    fn cut_as(&mut self, connection: ConnectionId, event: &'static str, why: &'static str) {
        let Some(link) = self.links.remove(connection) else { return };
        if let Some(timer) = link.deadline {
            self.timers.cancel(timer);
        }
        let names = match &link.who {
            Who::Partner(names) => names.iter().map(|name| &**name).collect::<Vec<_>>().join(" "),
            Who::Server(host) => host.to_string(),
            Who::StrangerInside | Who::Client => String::new(),
        };
        let fields = vec![("peer", names), ("source", link.peer.remote.ip().to_string())];
        self.report(Level::Info, event, None, why, fields);
        self.budgets.forget_connection(connection);
        self.stack.handle_closed(self.now.monotonic, connection);
        self.outputs.push_back(Output::Close { connection });
    }

    fn connected(&mut self, connection: ConnectionId, peer: &Peer, token: Option<ConnectToken>) {
        let now = self.now.monotonic;
        let who = Who::of(peer, self.config.mode, &self.config.servers, &self.config.policy);
        self.counters.connected(&who);
        self.stack.handle_connected(now, connection, peer, token);
        let is_accepted = token.is_none();
        let crowd = self.links.count_from(peer.remote.ip());
        let must_sign_in = is_accepted && who == Who::Client;
        let deadline = must_sign_in
            .then(|| self.timers.insert(now + self.config.limits.sign_in_within, Due::SignIn(connection)));
        let rate = rate_of(peer, &self.config.policy);
        let link = Link { peer: peer.clone(), who, rate, deadline };
        self.links.insert(connection, link);
        if is_accepted && crowd >= self.config.limits.connections_per_source_max {
            self.counters.crowded += 1;
            self.cut(connection, "there are too many connections from its address");
        }
    }

    fn closed(&mut self, connection: ConnectionId) {
        let Some(gone) = self.links.remove(connection) else { return };
        if let Some(timer) = gone.deadline {
            self.timers.cancel(timer);
        }
        self.budgets.forget_connection(connection);
        self.stack.handle_closed(self.now.monotonic, connection);
    }

    fn timer(&mut self) {
        self.stack.handle_timer(self.now.monotonic);
        while let Some(due) = self.timers.pop(self.now.monotonic) {
            match due {
                Due::SignIn(connection) => {
                    if let Some(link) = self.links.get_mut(connection) {
                        link.deadline = None;
                        self.counters.sign_in_missed += 1;
                        self.cut(connection, "nobody signed in on it");
                    }
                }
            }
        }
    }

    fn called(&mut self, token: CallToken, call: Call) {
        let answer = match call {
            Call::SetPolicy(policy) => {
                self.config.policy = policy;
                self.aftermath_until = Some(self.now.monotonic + AFTERMATH);
                // What was judged by the old policy and waits for a connection must not leave under the new one.
                self.stack.give_up_ways(self.now.monotonic, Side::Outside);
                self.say_who_is_allowed();
                Answer::Done { closed: self.judge_links() }
            }
            Call::Configure(adjustable) => {
                self.config.servers = adjustable.servers;
                self.config.next_hops = adjustable.next_hops;
                self.config.remote_access = adjustable.remote_access;
                self.config.limits = adjustable.limits;
                self.entries = Arc::new(Entries::new(&self.config));
                self.stack.limit_pending(self.config.limits.transactions_max);
                Answer::Done { closed: self.judge_links() }
            }
            Call::Connections { limit } => Answer::Connections(
                self.links.iter().take(limit).map(|(_, link)| Connection::of(link)).collect(),
            ),
            Call::WatchList => Answer::WatchList(self.budgets.discovered.watch_list().collect()),
            Call::ClearWatched { domain } => {
                Answer::Cleared { was_known: self.budgets.discovered.clear(&domain) }
            }
        };
        self.outputs.push_back(Output::Answer { token, answer });
    }

    /// Asks of every connection again who it is, and closes those that have lost their standing. So it does with those that bear a name in
    /// the policy and do not prove it: certificates are judged when connections come up, and a CA that others shared may have come to
    /// vouch for this one too. An impostor comes again as what it was.
    fn judge_links(&mut self) -> usize {
        let (mut lost, mut unjudged, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for (connection, link) in self.links.iter_mut() {
            let who = Who::of(&link.peer, self.config.mode, &self.config.servers, &self.config.policy);
            let has_lost = matches!(
                (&link.who, &who),
                (Who::Partner(_), Who::Client) | (Who::Server(_), Who::StrangerInside)
            );
            // Whoever is of another name now, or of fewer, is judged by the next request.
            link.who = who;
            link.rate = rate_of(&link.peer, &self.config.policy);
            if link.who.kind() == Kind::Partner {
                settled.extend(link.deadline.take());
            }
            if has_lost {
                lost.push(connection);
            } else if link.claims_more(&self.config.policy) {
                unjudged.push(connection);
            }
        }
        for timer in settled {
            self.timers.cancel(timer);
        }
        for connection in &lost {
            self.cut(*connection, "it proves nobody any more whom the policy lets in");
        }
        for connection in unjudged {
            self.cut_as(
                connection,
                "trust-gained",
                "a connection ends, its certificate may be believed only now: who comes again is judged anew",
            );
        }
        lost.len()
    }

    /// An empty policy is legal, and easily taken for a fault elsewhere.
    fn say_who_is_allowed(&mut self) {
        if self.config.policy.allows_nobody() {
            self.report(
                Level::Warn,
                "policy-empty",
                None,
                "the policy allows no partner: nobody outside is talked with but our own users",
                Vec::new(),
            );
        }
    }

    /// A discovered partner that comes on the watch list calls the operator, once.
    pub(crate) fn say_who_is_watched(&mut self, domain: &str, was_watched: bool) {
        if was_watched || !self.budgets.discovered.is_watched(domain) {
            return;
        }
        self.report(
            Level::Warn,
            "partner-watched",
            None,
            "a discovered partner asks for addresses as if it were collecting them",
            vec![("domain", domain.to_owned())],
        );
    }

    /// Works off what the stack has to tell.
    fn settle(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            self.happened(event);
        }
        while let Some(output) = self.stack.poll_output() {
            let output = match output {
                StackOutput::Send(flow, bytes) => {
                    // To a connection that was cut nothing more goes.
                    let is_up = matches!(flow, Flow::Connection(id) if self.links.get(id).is_some());
                    if !is_up || self.is_answer_to_blocked(flow, &bytes) {
                        continue;
                    }
                    Output::Send { flow, bytes }
                }
                StackOutput::Resolve(token, question) => Output::Resolve { token, question },
                StackOutput::Connect(token, target) => Output::Connect { token, target },
            };
            self.outputs.push_back(output);
        }
    }

    /// Whether somebody whom the policy has come to block asked before, through a hub whose connection stays for the others. Our own
    /// refusals still go.
    fn is_answer_to_blocked(&mut self, flow: Flow, bytes: &Bytes) -> bool {
        let Some(until) = self.aftermath_until else { return false };
        if self.now.monotonic > until {
            self.aftermath_until = None;
            return false;
        }
        let Flow::Connection(connection) = flow else { return false };
        let is_partner = self.links.get(connection).is_some_and(|link| link.who.kind() == Kind::Partner);
        if self.config.mode != Mode::Edge || !is_partner {
            return false;
        }
        let Ok(message) = Message::parse(bytes.clone()) else { return false };
        let is_ours_to_say = |status| matches!(status, 100 | 403);
        if message.status().is_none_or(is_ours_to_say) {
            return false;
        }
        let asker = message.from().ok().and_then(|from| domain_of(&from.uri)).unwrap_or_default();
        let policy = &self.config.policy;
        match policy.standing(&asker) {
            Standing::Blocked(_) => true,
            Standing::Unlisted => !policy.discovery().enabled,
            Standing::Ours | Standing::Own(..) | Standing::Through(..) => false,
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Completed { server, status } => {
                self.counters.forwarded(status);
                match self.telling.remove(&server) {
                    Some(Telling::Client(connection)) if (200..300).contains(&status) => {
                        self.signed_in(connection);
                    }
                    Some(Telling::Discovered(domain)) => {
                        let was_watched = self.budgets.discovered.is_watched(&domain);
                        self.budgets.discovered.answered(self.now, &domain, status);
                        self.say_who_is_watched(&domain, was_watched);
                    }
                    Some(Telling::Client(_)) | None => {}
                }
            }
            Event::TargetFailed { cookie, reason } => {
                let who = match cookie {
                    cookie::PARTNER => "a partner's server",
                    cookie::CLIENT => "a remote user's connection",
                    _ => "a server inside",
                };
                self.counters.unreachable += 1;
                let how = match reason {
                    TargetFailure::FlowFailed => "its connection is gone",
                    TargetFailure::TimedOut => "it did not answer in time",
                    TargetFailure::Unreachable => "it cannot be reached, or does not prove who it is",
                };
                let level = if cookie == cookie::CLIENT { Level::Debug } else { Level::Warn };
                self.report(level, "unreachable", None, how, vec![("target", who.to_owned())]);
            }
            Event::Responded { .. } | Event::Exhausted { .. } | Event::OwnCompleted { .. } => {}
        }
    }

    /// Somebody inside accepted a request of this client.
    fn signed_in(&mut self, connection: ConnectionId) {
        if let Some(timer) = self.links.get_mut(connection).and_then(|link| link.deadline.take()) {
            self.timers.cancel(timer);
        }
    }

    pub(crate) fn close_after(&mut self, connection: ConnectionId) {
        self.outputs.push_back(Output::Close { connection });
    }
}

impl Connection {
    fn of(link: &Link) -> Connection {
        Connection {
            kind: link.who.kind().name(),
            names: match &link.who {
                Who::Server(host) => vec![host.clone()],
                Who::Partner(names) => names.clone(),
                Who::StrangerInside | Who::Client => Vec::new(),
            },
            remote: link.peer.remote,
            is_ours: link.peer.listener.is_none(),
        }
    }
}

impl Node for AccessEdge {
    type Change = Infallible;
    type Query = Infallible;
    type Rows = Infallible;
    type Call = Call;
    type Answer = Answer;

    fn handle(&mut self, now: Now, input: Input<AccessEdge>) {
        self.now = now;
        match input {
            Input::Connected { connection, peer, token } => self.connected(connection, &peer, token),
            Input::ConnectFailed { token, error } => {
                self.report(Level::Warn, "connect-failed", None, format!("{error:?}"), Vec::new());
                self.stack.handle_connect_failed(now.monotonic, token, &error);
            }
            Input::Closed { connection, .. } => self.closed(connection),
            Input::Received { flow, bytes } => self.received(flow, bytes),
            Input::Unframed { connection, bytes, status, reason } => {
                self.unframed(connection, bytes, status, reason)
            }
            Input::Ping { connection } => {
                // RFC 5626 §3.5.1.
                self.stack.send_raw(Flow::Connection(connection), Bytes::from_static(b"\r\n"));
            }
            Input::Resolved { token, answer } => self.stack.handle_resolved(now.monotonic, token, answer),
            Input::Called { token, call } => self.called(token, call),
            Input::Timer => self.timer(),
            Input::Persisted { .. } | Input::PersistFailed { .. } | Input::Rows { .. } => {
                unreachable!("an edge has no store")
            }
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output<AccessEdge>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.stack.next_deadline(), self.timers.next_deadline()].into_iter().flatten().min()
    }

    fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        self.counters.visit(visit);
        self.visit_gauges(visit);
    }
}
