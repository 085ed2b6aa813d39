//! The node: its state, its inputs, its outputs, its timers.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use federation::ServerRole;
use hashbrown::HashMap;
use node::{
    CallToken, CloseReason, ConnectionId, Flow, Input, Instant, Level, Metric, Node, Now, Outcome, Output,
    Peer, PersistToken, QueryToken, Report, RequestId, StoreError, Transport, UnixMillis, Urgency,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use records::{Change, Query, Rows, StoredCall};
use sign_in::Authenticator;
use sign_in::token::TokenKey;
use sip_stack::dialog::{self, SubscriptionId, Subscriptions};
use sip_stack::hop::PeerHop;
use sip_stack::publication::Publications;
use sip_stack::stack::{Event, Stack, StackConfig, StackOutput};
use sip_stack::timer::{TimerId, Timers};
use sip_stack::transaction::{Limits, ServerId, TimerValues};
use slab::Slab;
use smallvec::SmallVec;

use crate::admin::{Answer, Call};
use crate::admission::Admission;
use crate::app_passwords::Issuing;
use crate::binding::BindingId;
use crate::calls::dialog_event::DialogWatch;
use crate::calls::table::Calls;
use crate::config::Config;
use crate::contacts::Contacts;
use crate::documents::diff::DocumentWatch;
use crate::documents::write::{Queues, Writing};
use crate::elsewhere::hop_to;
use crate::events::Watcher;
use crate::feed::{WaiterId, Waiters};
use crate::messaging::mailbox::DeviceId;
use crate::messaging::refusals::Refusals;
use crate::messaging::{AcceptId, Accepting, MessageOut, Own, SentCopy};
use crate::metrics::Counters;
use crate::presence::abroad::{Abroad, AbroadId};
use crate::presence::lists::Lists;
use crate::presence::publish::{self, Publication};
use crate::provenance::{RemoteFlow, Servers, faced_as};
use crate::registration::http_date;
use crate::replica::Replica;
use crate::replication::Replicating;
use crate::trace::{TraceId, Traces};
use crate::users::Users;

/// How long a connection may stay without anybody having signed in on it (design section 11).
const SIGN_IN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a binding that outlives its connection may stay unwritten.
const WRITE_BINDINGS_AFTER: Duration = Duration::from_secs(1);
/// How long a cursor may stay unwritten: a crash repeats what was delivered in this time. Cursors stand at random places of
/// their tables; in so long one write stands for several deliveries, and several writes share a page.
const WRITE_MARKS_AFTER: Duration = Duration::from_millis(200);
/// How often old messages are dropped from storage.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How long a device that does not come back is remembered: then it gets only what nobody has taken.
const DEVICE_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long after a failed write of a binding, a cursor or a withdrawal it is tried again.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long after a failed read the users are asked for again.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// RFC 3261 Table 4.
const TIMERS: TimerValues =
    TimerValues { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };
/// Ended transactions that are remembered. They take some half KiB each and are remembered for 32 s up to 1,000 requests
/// a second; beyond, for as long as the table reaches, and a resend that comes later is known by its message
/// (`docs/deviations.md`).
const TRANSACTIONS_ENDED_MAX: usize = 32_768;

/// A subscription takes some 1.5 KiB: 300 MiB at the most. A client without lists watches each contact by itself, from each of its user's devices; and whoever leads
/// an organisation is watched by most of it.
const SUBSCRIPTION_LIMITS: dialog::Limits =
    dialog::Limits { subscriptions_max: 200_000, per_watcher_max: 2_000, per_resource_max: 20_000 };

/// The Front End. Make it with [`FrontEnd::new`], then drive it as [`node::Node`] says; its first output asks storage for its users.
pub struct FrontEnd {
    pub(crate) config: Config,
    pub(crate) stack: Stack,
    pub(crate) users: Users,
    pub(crate) auth: Authenticator,
    pub(crate) token_key: TokenKey,
    /// The time at which the newest token was issued that is known, in milliseconds since 1970: the clock may have been set back since.
    pub(crate) tokens_issued_until: u64,
    pub(crate) counters: Counters,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) state: State,
    /// By numbers of our driver's.
    pub(crate) connections: HashMap<ConnectionId, Connection, foldhash::fast::FixedState>,
    /// The way to other organisations.
    pub(crate) federation_hop: Option<Arc<PeerHop>>,
    /// Messages of our users that are on their way to other organisations.
    pub(crate) messages_out: HashMap<ServerId, Box<MessageOut>, foldhash::fast::FixedState>,
    pub(crate) servers: Servers,
    /// Those of them that the directory lists.
    pub(crate) listed_servers: Vec<federation::TrustedServer>,
    pub(crate) replica: Replica,
    /// Users who registered through an edge, by the flow there, while they are registered over it.
    pub(crate) remote_users: BTreeMap<Arc<RemoteFlow>, SmallVec<[UserId; 1]>>,
    /// Users who registered from a datagram's source, while they are registered from there.
    pub(crate) datagram_users: HashMap<Flow, SmallVec<[UserId; 1]>, foldhash::quality::FixedState>,
    pub(crate) binding_owners: HashMap<BindingId, UserId, foldhash::fast::FixedState>,
    /// Where the bindings' devices are, by contact.
    pub(crate) contacts: Contacts,
    pub(crate) unwritten_bindings: Vec<(UserId, BindingId)>,
    pub(crate) unwritten_marks: Vec<UserId>,
    pub(crate) accepting: Slab<Accepting>,
    pub(crate) accepting_by_identity: HashMap<(UserId, [u8; 16]), AcceptId, foldhash::quality::FixedState>,
    pub(crate) accepting_by_place: HashMap<(UserId, records::Sequence), AcceptId, foldhash::fast::FixedState>,
    pub(crate) refusals: Refusals,
    pub(crate) own_requests: Slab<Own>,
    pub(crate) calls: Calls,
    /// Whether [`Due::SweepCalls`] is to come.
    pub(crate) sweeps_calls: bool,
    /// Entries of call logs that wait for [`Due::LogAgain`].
    pub(crate) log_waiting: usize,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) publications: Publications<Publication>,
    pub(crate) lists: Lists,
    pub(crate) abroad: Abroad,
    /// The key of the tags of what is told.
    pub(crate) tag_key: u64,
    /// What the subscriptions are about.
    pub(crate) watchers: HashMap<SubscriptionId, Watcher, foldhash::fast::FixedState>,
    /// How many of them people of each other organisation have, by domain.
    pub(crate) watchers_from: BTreeMap<Box<str>, usize>,
    /// The same by the flow that leads to the watcher.
    pub(crate) watchers_on: HashMap<Flow, SmallVec<[SubscriptionId; 1]>, foldhash::quality::FixedState>,
    pub(crate) document_queues: Queues,
    /// Who watches a user's documents.
    pub(crate) document_watches: BTreeMap<UserId, Vec<DocumentWatch>>,
    /// Who watches a user's calls.
    pub(crate) dialog_watches: BTreeMap<UserId, BTreeMap<SubscriptionId, DialogWatch>>,
    /// The list services of all users.
    pub(crate) service_addresses: BTreeMap<SipAddress, UserId>,
    pub(crate) persisting: HashMap<PersistToken, Persisting, foldhash::fast::FixedState>,
    /// The step of the directory that is under way.
    pub(crate) replicating: Option<Box<Replicating>>,
    pub(crate) waiters: Waiters,
    pub(crate) querying: BTreeMap<QueryToken, Querying>,
    pub(crate) timers: Timers<Due>,
    pub(crate) outputs: VecDeque<Output<FrontEnd>>,
    pub(crate) traces: Traces,
    pub(crate) admission: Admission,
    pub(crate) storage_healthy: bool,
    pub(crate) started: Option<Instant>,
    pub(crate) now: Now,
    /// The second that was written last as a date, and how.
    date: (u64, String),
    /// How far the wall clock was ahead of the monotonic one when what depends on it was looked at last, in milliseconds.
    pub(crate) wall_ahead_ms: u64,
    write_bindings: Option<TimerId>,
    write_marks: Option<TimerId>,
    next_id: u64,
    next_request: u64,
}

/// Whether the users are known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Loading,
    Running,
}

/// A stream connection.
pub(crate) struct Connection {
    /// Who has signed in on it.
    pub(crate) users: SmallVec<[UserId; 1]>,
    pub(crate) deadline: Option<TimerId>,
}

/// What a change that somebody waits for was about.
pub(crate) enum Persisting {
    Message(AcceptId),
    /// A copy for the sender's other devices.
    Copy(Box<SentCopy>),
    Call(CallToken, Box<Call>, Change),
    /// An app password, which is shown when it is durable.
    AppPassword(Box<Issuing>),
    /// A user whom the directory has no more.
    Removal(UserId),
    /// A step of the directory.
    Step,
    /// A user's document, and its new entity tag; empty where it is removed.
    Document(Box<Writing>, String),
    /// A binding that outlives its connection.
    Binding(UserId, BindingId),
    /// How far a user's devices have got.
    Marks(UserId),
    /// A message that every device refused.
    Withdrawal(UserId, records::Sequence),
    /// An entry of a call log.
    LoggedCall(Box<StoredCall>),
}

/// What a query was about.
pub(crate) enum Querying {
    Users,
    Servers,
    /// A page of a call log, for an administrator.
    CallLog(CallToken),
    Objects(CallToken),
    /// Whether there is something for a call that waits.
    ObjectsBehind(WaiterId),
    Photo(CallToken),
    ReplicationState(CallToken),
    Page {
        owner: UserId,
        device: DeviceId,
    },
}

/// Timers of the front end itself.
pub(crate) enum Due {
    SignIn(ConnectionId),
    BindingExpires(UserId, BindingId),
    AnswerSender(AcceptId),
    RetryDevice(UserId, DeviceId),
    Withdraw(UserId, records::Sequence),
    WriteBindings,
    WriteMarks,
    SweepCalls,
    LogAgain(Box<StoredCall>),
    Prune,
    LoadAgain,
    LoadServersAgain,
    TraceEnds(TraceId),
    /// Tells by its lateness how much stands before us.
    ProbeBacklog,
    PresenceWindow(UserId),
    ManualExpires(UserId),
    /// A subscription abroad is to be refreshed, asked for anew, or waited for no longer.
    Abroad(AbroadId),
    /// No row has named somebody abroad for a while.
    AbroadIdle(AbroadId),
    RulesChange(UserId),
    /// A call has waited long enough.
    ObjectsWaited(WaiterId),
}

impl FrontEnd {
    /// A front end that knows nobody yet.
    pub fn new(config: Config) -> FrontEnd {
        assert!(
            !config.domains.is_empty() && !config.listeners.is_empty(),
            "a front end has a domain and a listener"
        );
        let mut names: Vec<String> = config.domains.iter().map(|d| d.as_str().to_owned()).collect();
        names.extend(config.aliases.iter().cloned());
        let stack = Stack::new(StackConfig {
            listeners: config.listeners.clone(),
            names,
            timers: TIMERS,
            limits: Limits {
                server_pending_max: config.transactions_max,
                client_pending_max: config.transactions_max,
                ended_max: TRANSACTIONS_ENDED_MAX,
            },
            secret: config.secret,
            seed: config.seed,
        });
        let seed = u64::from_le_bytes(config.seed[..8].try_into().expect("a seed has 32 octets"));
        let fast = foldhash::fast::FixedState::with_seed(seed);
        let now = Now { monotonic: Instant(0), wall: UnixMillis(0) };
        let has_director = config.servers.iter().any(|server| server.role == ServerRole::Director);
        let mut front_end = FrontEnd {
            stack,
            users: Users::new(seed),
            auth: Authenticator::new(&config.secret, &config.seed, config.authentication.nonce_lifetime),
            token_key: TokenKey::new(&config.secret),
            tokens_issued_until: 0,
            counters: Counters::default(),
            rng: ChaCha20Rng::from_seed(config.seed),
            state: State::Loading,
            connections: HashMap::with_hasher(fast.clone()),
            federation_hop: config.federation.route.as_ref().map(hop_to),
            messages_out: HashMap::with_hasher(fast.clone()),
            servers: Servers::new(&config.servers),
            listed_servers: Vec::new(),
            replica: Replica::new(has_director, derived_seed(&config.seed, b"replica")),
            remote_users: BTreeMap::new(),
            datagram_users: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(seed)),
            binding_owners: HashMap::with_hasher(fast.clone()),
            contacts: Contacts::new(seed),
            unwritten_bindings: Vec::new(),
            unwritten_marks: Vec::new(),
            accepting: Slab::new(),
            accepting_by_identity: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(seed)),
            accepting_by_place: HashMap::with_hasher(fast.clone()),
            refusals: Refusals::default(),
            own_requests: Slab::new(),
            subscriptions: Subscriptions::new(
                derived_seed(&config.seed, b"subscriptions"),
                SUBSCRIPTION_LIMITS,
            ),
            lists: Lists::new(seed),
            abroad: Abroad::default(),
            tag_key: seed,
            publications: Publications::new(derived_seed(&config.seed, b"publications"), publish::LIMITS),
            calls: Calls::new(seed),
            sweeps_calls: false,
            log_waiting: 0,
            watchers: HashMap::with_hasher(fast.clone()),
            watchers_from: BTreeMap::new(),
            watchers_on: HashMap::with_hasher(foldhash::quality::FixedState::with_seed(seed)),
            document_queues: Queues::default(),
            document_watches: BTreeMap::new(),
            dialog_watches: BTreeMap::new(),
            service_addresses: BTreeMap::new(),
            persisting: HashMap::with_hasher(fast),
            replicating: None,
            waiters: Waiters::default(),
            querying: BTreeMap::new(),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            traces: Traces::default(),
            admission: Admission::default(),
            storage_healthy: true,
            started: None,
            now,
            date: (u64::MAX, String::new()),
            wall_ahead_ms: 0,
            write_bindings: None,
            write_marks: None,
            next_id: 1,
            next_request: 1,
            config,
        };
        front_end.query(Query::ListedServers, Querying::Servers);
        front_end.query(Query::Load, Querying::Users);
        front_end
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// The time as a Date header says it.
    pub(crate) fn date(&self) -> &str {
        &self.date.1
    }

    /// The time goes on. The date is written once a second.
    fn advance(&mut self, now: Now) {
        self.now = now;
        let second = now.wall.0 / 1000;
        if self.date.0 != second {
            self.date = (second, http_date(now.wall));
        }
    }

    /// Persists a change that nobody waits for, and that is tried again if it fails.
    pub(crate) fn persist_soon_as(&mut self, change: Change, what: Persisting) {
        let token = PersistToken(self.next_id());
        self.persisting.insert(token, what);
        self.outputs.push_back(Output::Persist { token, change, urgency: Urgency::Soon });
    }

    /// Persists a change that nobody waits for.
    pub(crate) fn persist_soon(&mut self, change: Change) {
        let token = PersistToken(self.next_id());
        self.outputs.push_back(Output::Persist { token, change, urgency: Urgency::Soon });
    }

    pub(crate) fn persist(&mut self, change: Change, what: Persisting) {
        let token = PersistToken(self.next_id());
        self.persisting.insert(token, what);
        self.outputs.push_back(Output::Persist { token, change, urgency: Urgency::Now });
    }

    pub(crate) fn query(&mut self, query: Query, what: Querying) {
        let token = QueryToken(self.next_id());
        self.querying.insert(token, what);
        self.outputs.push_back(Output::Query { token, query });
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
        if let (false, Some(id)) = (self.traces.is_empty(), request) {
            self.trace_report(id, event, &reason);
        }
        self.outputs.push_back(Output::Report(Report { level, event, request, reason, fields }));
    }

    /// Asks that a binding be written within a second.
    pub(crate) fn write_binding_soon(&mut self, user: UserId, binding: BindingId) {
        self.unwritten_bindings.push((user, binding));
        if self.write_bindings.is_none() {
            self.write_bindings =
                Some(self.timers.insert(self.now.monotonic + WRITE_BINDINGS_AFTER, Due::WriteBindings));
        }
    }

    /// Asks that cursors of a user be written soon.
    pub(crate) fn write_marks_soon(&mut self, user: UserId) {
        self.write_marks_after(user, WRITE_MARKS_AFTER);
    }

    fn write_marks_after(&mut self, user: UserId, delay: Duration) {
        self.unwritten_marks.push(user);
        if self.write_marks.is_none() {
            self.write_marks = Some(self.timers.insert(self.now.monotonic + delay, Due::WriteMarks));
        }
    }

    fn write_marks(&mut self) {
        self.write_marks = None;
        let mut users = std::mem::take(&mut self.unwritten_marks);
        users.sort_unstable();
        users.dedup();
        let seen_unix_ms = self.now.wall.0;
        for owner in users {
            let Some(account) = self.users.get_mut(owner) else { continue };
            let marks = account.mailbox.take_marks();
            if let Some(through) = marks.taken {
                self.persist_soon_as(Change::AdvanceTaken { owner, through }, Persisting::Marks(owner));
            }
            for (device, through) in marks.cursors {
                let change = Change::AdvanceCursor { owner, device, through, seen_unix_ms };
                self.persist_soon_as(change, Persisting::Marks(owner));
            }
        }
    }

    fn connected(&mut self, connection: ConnectionId, peer: &Peer, token: Option<node::ConnectToken>) {
        let server = self.servers.connected(connection, peer);
        let is_server = server.is_some();
        if let Some(server) = server {
            self.stack.name_server(connection, faced_as(server));
        }
        // What waits for the connection leaves at once, and says whom it faces.
        self.stack.handle_connected(self.now.monotonic, connection, peer, token);
        let must_sign_in = token.is_none() && !is_server;
        let deadline = must_sign_in
            .then(|| self.timers.insert(self.now.monotonic + SIGN_IN_DEADLINE, Due::SignIn(connection)));
        self.connections.insert(connection, Connection { users: SmallVec::new(), deadline });
    }

    fn closed(&mut self, connection: ConnectionId, reason: CloseReason) {
        let flow = Flow::Connection(connection);
        let transport = self.stack.hops().flow_facts(flow).map_or(Transport::Tcp, |(transport, _)| transport);
        self.stack.handle_closed(self.now.monotonic, connection);
        self.servers.closed(connection);
        self.replica.closed(flow);
        let Some(gone) = self.connections.remove(&connection) else { return };
        if let Some(timer) = gone.deadline {
            self.timers.cancel(timer);
        }
        for user in gone.users {
            self.drop_bindings_of_flow(user, flow, reason);
            self.drop_publications(user, |publication| publication.flow == flow);
            self.presence_changed(user);
        }
        self.watchers_gone(flow, transport);
    }

    fn persisted(&mut self, token: PersistToken, outcome: Outcome) {
        self.storage_healthy = true;
        match self.persisting.remove(&token) {
            Some(Persisting::Message(accept)) => self.message_persisted(accept, outcome),
            // The sender's other devices have it already.
            Some(Persisting::Copy(_)) if outcome != Outcome::Applied => {}
            Some(Persisting::Copy(copy)) => self.copy_persisted(*copy),
            Some(Persisting::Call(call_token, call, change)) => {
                self.call_persisted(call_token, *call, change, outcome)
            }
            Some(Persisting::AppPassword(issuing)) => self.app_password_persisted(*issuing, outcome),
            Some(Persisting::Removal(user)) => self.removal_done(user, Ok(())),
            Some(Persisting::Step) => self.step_persisted(),
            Some(Persisting::Document(writing, tag)) => self.document_persisted(*writing, tag),
            Some(
                Persisting::Binding(..)
                | Persisting::Marks(_)
                | Persisting::Withdrawal(..)
                | Persisting::LoggedCall(_),
            )
            | None => {}
        }
    }

    fn persist_failed(&mut self, token: PersistToken, error: &StoreError) {
        // The first failure calls the operator; the following ones are cut when they become a flood.
        let level =
            if std::mem::replace(&mut self.storage_healthy, false) { Level::Error } else { Level::Warn };
        self.report(level, "storage-failed", None, describe(error), Vec::new());
        match self.persisting.remove(&token) {
            Some(Persisting::Message(accept)) => self.message_not_persisted(accept, error),
            Some(Persisting::Call(call_token, ..)) => {
                let answer = Answer::Refused(crate::admin::Refusal::Storage(describe(error)));
                self.outputs.push_back(Output::Answer { token: call_token, answer });
            }
            Some(Persisting::AppPassword(issuing)) => {
                let answer = Answer::Refused(crate::admin::Refusal::Storage(describe(error)));
                self.answer_call(issuing.token, answer);
            }
            Some(Persisting::Removal(user)) => self.removal_done(user, Err(describe(error))),
            Some(Persisting::Step) => self.step_failed(describe(error)),
            Some(Persisting::Document(writing, _)) => self.document_not_persisted(*writing, describe(error)),
            Some(Persisting::Binding(user, binding)) => self.binding_not_written(user, binding),
            Some(Persisting::Marks(user)) => {
                if let Some(account) = self.users.get_mut(user) {
                    account.mailbox.marks_not_written();
                    self.write_marks_after(user, WRITE_AGAIN_AFTER);
                }
            }
            Some(Persisting::LoggedCall(entry)) => self.call_not_logged(entry),
            Some(Persisting::Withdrawal(owner, sequence)) => {
                self.timers.insert(self.now.monotonic + WRITE_AGAIN_AFTER, Due::Withdraw(owner, sequence));
            }
            Some(Persisting::Copy(_)) | None => {}
        }
    }

    fn rows(&mut self, token: QueryToken, rows: Result<Rows, StoreError>) {
        let Some(what) = self.querying.remove(&token) else { return };
        match (what, rows) {
            (Querying::Users, Ok(Rows::Loaded(users))) => self.load(users),
            (Querying::Servers, Ok(Rows::ListedServers(servers))) => self.servers_loaded(servers),
            (Querying::Page { owner, device }, Ok(Rows::Messages(messages))) => {
                self.page_read(owner, device, Some(messages))
            }
            (Querying::CallLog(token), Ok(Rows::Calls(calls))) => self.call_log_read(token, calls),
            (Querying::Objects(token), Ok(Rows::Objects(rows))) => {
                self.answer_call(token, Answer::Objects(rows))
            }
            (Querying::ObjectsBehind(id), Ok(Rows::Objects(rows))) => self.looked_behind(id, &rows),
            (Querying::Photo(token), Ok(Rows::Photo(photo))) => self.answer_call(token, Answer::Photo(photo)),
            (Querying::ReplicationState(token), Ok(Rows::ReplicationState(state))) => {
                self.answer_call(token, Answer::ReplicationState(state))
            }
            (what, Ok(_)) => unreachable!("storage answers the question that was asked: {}", what.name()),
            (what, Err(error)) => {
                self.storage_healthy = false;
                self.report(
                    Level::Error,
                    "storage-failed",
                    None,
                    describe(&error),
                    vec![("query", what.name().to_owned())],
                );
                match what {
                    Querying::Users => {
                        self.timers.insert(self.now.monotonic + LOAD_AGAIN_AFTER, Due::LoadAgain);
                    }
                    Querying::Servers => {
                        self.timers.insert(self.now.monotonic + LOAD_AGAIN_AFTER, Due::LoadServersAgain);
                    }
                    Querying::CallLog(token)
                    | Querying::Objects(token)
                    | Querying::Photo(token)
                    | Querying::ReplicationState(token) => {
                        let refusal = crate::admin::Refusal::Storage(describe(&error));
                        self.answer_call(token, Answer::Refused(refusal));
                    }
                    Querying::ObjectsBehind(id) => {
                        let refusal = crate::admin::Refusal::Storage(describe(&error));
                        self.end_wait(id, Answer::Refused(refusal));
                    }
                    Querying::Page { owner, device } => self.page_read(owner, device, None),
                }
            }
        }
    }

    fn load(&mut self, users: Vec<records::UserRecord>) {
        for record in users {
            self.load_user(record);
        }
        self.state = State::Running;
        self.timers.insert(self.now.monotonic + PRUNE_EVERY, Due::Prune);
        self.report(
            Level::Info,
            "running",
            None,
            "users are loaded",
            vec![("users", self.users.len().to_string())],
        );
    }

    fn timer(&mut self) {
        self.stack.handle_timer(self.now.monotonic);
        self.subscriptions.handle_timer(self.now.monotonic);
        self.replica.handle_timer(self.now.monotonic);
        self.publications.handle_timer(self.now.monotonic);
        self.end_publications();
        while let Some(due) = self.timers.pop(self.now.monotonic) {
            match due {
                Due::SignIn(connection) => self.sign_in_missed(connection),
                Due::BindingExpires(user, binding) => self.binding_expired(user, binding),
                Due::AnswerSender(accept) => self.answer_sender_in_time(accept),
                Due::RetryDevice(user, device) => self.retry_device(user, device),
                Due::Withdraw(owner, sequence) => self.withdraw(owner, sequence),
                Due::WriteBindings => {
                    self.write_bindings = None;
                    self.write_bindings();
                }
                Due::WriteMarks => self.write_marks(),
                Due::SweepCalls => self.sweep_calls(),
                Due::LogAgain(entry) => self.log_again(*entry),
                Due::Prune => self.prune(),
                Due::ProbeBacklog => self.backlog_probed(),
                Due::TraceEnds(trace) => self.trace_due(trace),
                Due::LoadAgain => self.query(Query::Load, Querying::Users),
                Due::LoadServersAgain => self.query(Query::ListedServers, Querying::Servers),
                Due::PresenceWindow(user) => self.presence_window_passed(user),
                Due::ManualExpires(user) => self.manual_changed(user),
                Due::Abroad(id) => self.abroad_due(id),
                Due::AbroadIdle(id) => self.abroad_idle(id),
                Due::RulesChange(user) => self.rules_changed(user),
                Due::ObjectsWaited(id) => self.end_wait(id, Answer::ObjectsBehind(false)),
            }
        }
    }

    fn sign_in_missed(&mut self, connection: ConnectionId) {
        let Some(open) = self.connections.get_mut(&connection) else { return };
        open.deadline = None;
        if open.users.is_empty() {
            self.counters.sign_in_missed += 1;
            self.outputs.push_back(Output::Close { connection });
        }
    }

    fn prune(&mut self) {
        let before = |age: Duration| {
            self.now.wall.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        };
        let change = Change::Prune {
            messages_before_unix_ms: before(self.config.messaging.retention),
            devices_before_unix_ms: before(DEVICE_RETENTION),
        };
        let calls = Change::PruneCalls { before_unix_ms: before(self.config.calls.log_retention) };
        self.persist_soon(change);
        self.persist_soon(calls);
        self.timers.insert(self.now.monotonic + PRUNE_EVERY, Due::Prune);
    }

    /// Works off what the stack has to tell.
    fn settle(&mut self) {
        // What an event changes may owe NOTIFYs, and a NOTIFY that cannot be sent is an event.
        self.send_notifies();
        self.send_replica();
        while let Some(event) = self.stack.poll_event() {
            self.happened(event);
            self.send_notifies();
            self.send_replica();
        }
        while let Some(output) = self.stack.poll_output() {
            let output = match output {
                StackOutput::Send(flow, bytes) => {
                    if !self.traces.is_empty() {
                        self.trace_sent(flow, &bytes);
                    }
                    Output::Send { flow, bytes }
                }
                StackOutput::Resolve(token, question) => Output::Resolve { token, question },
                StackOutput::Connect(token, target) => Output::Connect { token, target },
            };
            self.outputs.push_back(output);
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Responded { server, cookie, response } => self.call_responded(server, cookie, &response),
            Event::Exhausted { server, status } => self.call_exhausted(server, status),
            Event::Completed { server, status } => {
                self.counters.forwarded(status);
                self.call_completed(server, status);
                self.message_passed(server, status);
            }
            Event::TargetFailed { cookie, reason } => self.target_failed(BindingId(cookie), reason),
            Event::OwnCompleted { own, outcome } => self.own_completed(own, outcome),
        }
    }
}

impl Node for FrontEnd {
    type Change = Change;
    type Query = Query;
    type Rows = Rows;
    type Call = Call;
    type Answer = Answer;

    fn handle(&mut self, now: Now, input: Input<FrontEnd>) {
        self.advance(now);
        self.look_at_clock();
        if self.started.is_none() {
            self.started = Some(now.monotonic);
        }
        match input {
            Input::Connected { connection, peer, token } => self.connected(connection, &peer, token),
            Input::ConnectFailed { token, error } => {
                self.stack.handle_connect_failed(now.monotonic, token, &error)
            }
            Input::Closed { connection, reason } => self.closed(connection, reason),
            Input::Received { flow, bytes } => self.received(flow, bytes),
            Input::Unframed { connection, bytes, status, reason } => {
                self.unframed(connection, bytes, status, reason)
            }
            Input::Ping { connection } => {
                self.stack.send_raw(Flow::Connection(connection), Bytes::from_static(b"\r\n"));
            }
            Input::Resolved { token, answer } => self.stack.handle_resolved(now.monotonic, token, answer),
            Input::Persisted { token, outcome } => self.persisted(token, outcome),
            Input::PersistFailed { token, error } => self.persist_failed(token, &error),
            Input::Rows { token, rows } => self.rows(token, rows),
            Input::Called { token, call } => self.called(token, call),
            Input::Timer => self.timer(),
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output<FrontEnd>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let tables = [
            self.stack.next_deadline(),
            self.timers.next_deadline(),
            self.subscriptions.next_deadline(),
            self.publications.next_deadline(),
            self.replica.next_deadline(),
        ];
        tables.into_iter().flatten().min()
    }

    fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        self.counters.visit(visit);
        self.visit_gauges(visit);
    }
}

impl Querying {
    fn name(&self) -> &'static str {
        match self {
            Querying::Users => "users",
            Querying::Servers => "servers",
            Querying::CallLog(_) => "calls",
            Querying::Objects(_) | Querying::ObjectsBehind(_) => "objects",
            Querying::Photo(_) => "photo",
            Querying::ReplicationState(_) => "replication state",
            Querying::Page { .. } => "messages",
        }
    }
}

/// A seed for what a table draws, apart from the one that the node itself draws from.
fn derived_seed(seed: &[u8; 32], table: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::new().chain_update(seed).chain_update(table).finalize().into()
}

pub(crate) fn describe(error: &StoreError) -> String {
    match error {
        StoreError::Full => "the disk is full".to_owned(),
        StoreError::Corrupt(detail) => format!("the database is damaged: {detail}"),
        StoreError::Io(detail) => detail.clone(),
    }
}
