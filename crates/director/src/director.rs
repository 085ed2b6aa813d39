//! The node: its state, its inputs, its outputs, its timers.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use federation::{ServerRole, TrustedServer, server_of};
use node::{
    CallToken, ConnectToken, ConnectionId, Flow, Input, Instant, Level, Metric, Node, Now, Output, Peer,
    Report, RequestId, Side, Transport, UnixMillis,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sign_in::Authenticator;
use sip_stack::stack::{Event, Stack, StackConfig, StackOutput, TargetFailure};
use sip_stack::timer::Timers;
use sip_stack::transaction::{Limits, TimerValues};

use crate::config::{Adjustable, Config};
use crate::feed::Feed;
use crate::homes::{HomeId, Homes};
use crate::metrics::Counters;
use crate::sign_ins::SignIns;

/// Ended transactions that are remembered, some half KiB each: for 32 s up to 1,000 requests a second, as at a Front End.
const TRANSACTIONS_ENDED_MAX: usize = 32_768;

/// The Director. Make it with [`Director::new`], then drive it as [`node::Node`] says; with its first input it asks the homes
/// for their accounts.
pub struct Director {
    pub(crate) config: Config,
    pub(crate) stack: Stack,
    /// Connections with servers of ours.
    pub(crate) servers: BTreeMap<ConnectionId, Arc<TrustedServer>>,
    pub(crate) homes: Homes,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) auth: Authenticator,
    pub(crate) sign_ins: SignIns,
    pub(crate) counters: Counters,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) timers: Timers<Due>,
    pub(crate) now: Now,
    /// Our entry in Path and Record-Route.
    pub(crate) entry: String,
    outputs: VecDeque<Output<Director>>,
    next_request: u64,
    has_begun: bool,
}

/// Timers of the Director itself.
pub(crate) enum Due {
    /// The next step of a subscription.
    Feed(HomeId),
}

/// A call of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// How it is.
    Status,
    /// Other settings.
    Configure(Box<Adjustable>),
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in force.
    Done,
    /// Answer to [`Call::Status`].
    Status(Status),
}

/// How a Director is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether every home's accounts are known; without them nobody is signed in.
    pub is_complete: bool,
    /// Accounts in the copy.
    pub users: usize,
    /// Sign-ins that are remembered.
    pub signed_in: usize,
    /// The servers of ours that are connected, each once.
    pub servers: Vec<TrustedServer>,
    /// Requests under way.
    pub transactions: usize,
}

impl Director {
    /// A Director that knows no accounts yet.
    pub fn new(config: Config) -> Director {
        let tls = config.listeners.iter().find(|listener| listener.transport == Transport::Tls);
        let entry = tls.map(|listener| {
            format!("<sip:{}:{};transport=tls;lr>", listener.advertised_host, listener.address.port())
        });
        let entry = entry.expect("a Director has a TLS listener");
        assert!(
            !config.domains.is_empty()
                && !config.front_ends.is_empty()
                && config.listeners.iter().all(|listener| listener.side == Side::Inside),
            "a Director has a domain and a Front End, and listens inside alone"
        );
        let stack = Stack::new(StackConfig {
            listeners: config.listeners.clone(),
            names: config.aliases.clone(),
            timers: TimerValues::STANDARD,
            limits: Limits {
                server_pending_max: config.transactions_max,
                client_pending_max: config.transactions_max,
                ended_max: TRANSACTIONS_ENDED_MAX,
            },
            secret: config.secret,
            seed: config.seed,
        });
        let seed = u64::from_le_bytes(config.seed[..8].try_into().expect("a seed has 32 octets"));
        Director {
            stack,
            servers: BTreeMap::new(),
            homes: Homes::new(config.front_ends.len(), seed),
            feeds: config.front_ends.iter().map(Feed::new).collect(),
            auth: Authenticator::new(&config.secret, &config.seed, config.nonce_lifetime),
            sign_ins: SignIns::default(),
            counters: Counters::default(),
            rng: ChaCha20Rng::from_seed(config.seed),
            timers: Timers::new(),
            now: Now { monotonic: Instant(0), wall: UnixMillis(0) },
            entry,
            outputs: VecDeque::new(),
            next_request: 0,
            has_begun: false,
            config,
        }
    }

    /// The name that our other servers know it by.
    pub(crate) fn name(&self) -> &str {
        let tls = self.config.listeners.iter().find(|listener| listener.transport == Transport::Tls);
        &tls.expect("a Director has a TLS listener").advertised_host
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
        reason: impl Into<Cow<'static, str>>,
        fields: Vec<(&'static str, String)>,
    ) {
        let reason = reason.into();
        self.outputs.push_back(Output::Report(Report { level, event, request, reason, fields }));
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.outputs.push_back(Output::Close { connection });
    }

    pub(crate) fn is_listed(&self, host: &str, role: ServerRole) -> bool {
        self.config.servers.iter().any(|server| server.role == role && server.host.eq_ignore_ascii_case(host))
    }

    fn connected(&mut self, connection: ConnectionId, peer: &Peer, token: Option<ConnectToken>) {
        self.stack.handle_connected(self.now.monotonic, connection, peer, token);
        let Some(server) = server_of(&self.config.servers, peer) else {
            let fields = vec![("source", peer.remote.ip().to_string())];
            return self.report(
                Level::Warn,
                "stranger",
                None,
                "a connection proves no listed server",
                fields,
            );
        };
        self.servers.insert(connection, Arc::new(server.clone()));
    }

    fn closed(&mut self, connection: ConnectionId) {
        self.stack.handle_closed(self.now.monotonic, connection);
        self.servers.remove(&connection);
        self.feeds_closed(Flow::Connection(connection));
    }

    fn timer(&mut self) {
        self.stack.handle_timer(self.now.monotonic);
        while let Some(due) = self.timers.pop(self.now.monotonic) {
            match due {
                Due::Feed(home) => self.feed_due(home),
            }
        }
    }

    fn called(&mut self, token: CallToken, call: Call) {
        let answer = match call {
            Call::Status => Answer::Status(self.status()),
            Call::Configure(adjustable) => {
                let Adjustable { remote_access, nonce_lifetime, transactions_max } = *adjustable;
                self.auth.live_for(nonce_lifetime);
                self.stack.limit_pending(transactions_max);
                self.config.remote_access = remote_access;
                self.config.nonce_lifetime = nonce_lifetime;
                self.config.transactions_max = transactions_max;
                Answer::Done
            }
        };
        self.outputs.push_back(Output::Answer { token, answer });
    }

    fn status(&self) -> Status {
        let mut servers: Vec<TrustedServer> =
            self.servers.values().map(|server| (**server).clone()).collect();
        servers.sort_by(|a, b| a.host.cmp(&b.host));
        servers.dedup();
        Status {
            is_complete: self.homes.is_complete(),
            users: self.homes.len(),
            signed_in: self.sign_ins.len(),
            servers,
            transactions: self.stack.pending(),
        }
    }

    /// Works off what the stack has to tell.
    fn settle(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::OwnCompleted { own, outcome } => self.subscribed(own, outcome),
                Event::TargetFailed { reason, .. } => {
                    self.counters.unreachable += 1;
                    let how = match reason {
                        TargetFailure::FlowFailed => "the flow behind it is gone",
                        TargetFailure::TimedOut => "it did not answer in time",
                        TargetFailure::Unreachable => "it cannot be reached, or does not prove who it is",
                    };
                    self.report(Level::Warn, "unreachable", None, how, Vec::new());
                }
                Event::Responded { .. } | Event::Exhausted { .. } | Event::Completed { .. } => {}
            }
        }
        while let Some(output) = self.stack.poll_output() {
            self.outputs.push_back(match output {
                StackOutput::Send(flow, bytes) => Output::Send { flow, bytes },
                StackOutput::Resolve(token, question) => Output::Resolve { token, question },
                StackOutput::Connect(token, target) => Output::Connect { token, target },
            });
        }
    }
}

impl Node for Director {
    type Change = Infallible;
    type Query = Infallible;
    type Rows = Infallible;
    type Call = Call;
    type Answer = Answer;

    fn handle(&mut self, now: Now, input: Input<Director>) {
        self.now = now;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.follow_homes();
        }
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
                unreachable!("a Director has no store")
            }
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output<Director>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.stack.next_deadline(), self.timers.next_deadline()].into_iter().flatten().min()
    }

    fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        self.visit(visit);
    }
}
