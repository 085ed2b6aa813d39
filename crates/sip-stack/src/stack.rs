//! The whole stack of a node: transactions, next hops and response contexts behind one face (RFC 3261 §16).
//!
//! A [`Stack`] takes messages and facts of flows, hands new requests to its user, forwards what the user wants forwarded to a set of
//! targets, and sends requests of the user's own. Forking, CANCEL of the losers, failover between flows and between DNS candidates, and the choice of
//! the best response happen here.
//!
//! # Order of calls
//!
//! Feed with `handle_*`; command with [`Stack::forward`], [`Stack::respond`], [`Stack::send_own`]; after each call drain [`Stack::poll_event`] and
//! [`Stack::poll_output`]; call [`Stack::handle_timer`] at [`Stack::next_deadline`]. An [`Event::Exhausted`] is answered at once, by
//! [`Stack::extend`] or [`Stack::conclude`].

mod fate;
mod launch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use node::{
    Answers, ConnectError, ConnectTarget, ConnectToken, ConnectionId, Flow, Instant, Listener, Peer,
    Question, ResolveError, ResolveToken, Side, Transport,
};
use sip_message::{Edit, HeaderId, Message, Method, ResponseBuilder};
use slab::Slab;
use smallvec::SmallVec;

use crate::hop::{HopOutput, Hops, PeerHop, SearchId};
use crate::proxy::Verdict;
use crate::route::{Facing, Names, OwnRoutes, Routes, ServerMark};
use crate::timer::{TimerId, Timers};
use crate::transaction::{
    Arrival, BranchText, ClientId, Failure, Incoming, Limits, Outgoing, Owner, ServerId, TimerValues,
    Transactions, build_response, response_flow,
};

/// How long an INVITE may ring without a further sign of life (timer C, RFC 3261 §16.6 step 11: more than 3 minutes).
const TIMER_C: Duration = Duration::from_secs(181);
/// Max-Breadth where a request has none (RFC 5393 §5.3.3).
const BREADTH_DEFAULT: u32 = 60;
/// Max-Forwards where a request has none (RFC 3261 §16.6 step 3).
const MAX_FORWARDS_DEFAULT: u8 = 70;
/// The Reason of a CANCEL to devices that rang in vain (RFC 3326 §2).
const COMPLETED_ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// The Via parameter that holds our digest for loop detection (RFC 5393 §4.2.2).
const LOOP_PARAMETER: &str = ";lp=";

/// What a stack is made of.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// The bound sockets.
    pub listeners: Vec<Listener>,
    /// Further names of this server.
    pub names: Vec<String>,
    /// RFC 3261 Table 4.
    pub timers: TimerValues,
    /// Bounds of the transaction tables.
    pub limits: Limits,
    /// Key of what we hand out, kept over restarts.
    pub secret: [u8; 32],
    /// Fresh randomness of this start.
    pub seed: [u8; 32],
}

/// One place that a request is forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The Request-URI there.
    pub uri: String,
    /// Route values to put before those of the request (the Path of a registration).
    pub routes: Vec<String>,
    /// How to get there.
    pub hop: NextHop,
    /// Targets of equal q are tried at once, higher before lower; in thousandths.
    pub q: u16,
    /// The user's name for it; comes back when it fails.
    pub cookie: u64,
    /// The device's other flows, to be tried in turn when this one fails (RFC 5626 §7).
    pub alternatives: Vec<Target>,
    /// Changes for this target alone, behind those of [`Forwarding`].
    pub changes: Vec<HeaderChange>,
}

/// How to get to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// To this server, which must prove who it is; Request-URI and routes are not asked for the way.
    Peer(Arc<PeerHop>),
    /// Over this flow and no other.
    Flow(Flow),
    /// Over this flow while it lives, else to where the URI says.
    FlowElseUri(Flow),
    /// To where the first of `routes`, or else the URI, says (RFC 3263).
    Uri,
}

/// How a request is forwarded.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// Topmost Route entries that are ours and go.
    pub own_routes: usize,
    /// Whether we stay in the dialog's path.
    pub record_route: bool,
    /// Further changes.
    pub changes: Vec<HeaderChange>,
    /// Of an INVITE: whether the user may know further targets once these have failed (RFC 3261 §16.5 lets the target set
    /// grow): it is asked by [`Event::Exhausted`].
    pub asks_for_more: bool,
    /// Of an INVITE: how long these targets ring, all groups together; then they are given up, which counts as 408.
    pub patience: Option<Duration>,
    /// Whether the Vias that the request came with stay here: they are put back into its responses, in place of whatever stands
    /// there below our own. Who receives the request learns nothing of the way that it came.
    pub hides_vias: bool,
    /// What happens to the responses on their way back; nothing where there is none.
    pub border: Option<Arc<dyn Border>>,
}

/// What stands between two networks and changes the responses that pass from one to the other.
pub trait Border: fmt::Debug + Send + Sync {
    /// Changes a response that is about to go upstream, our Via still on it. Via is left to the stack.
    fn response<'m>(&'m self, response: &'m Message, edit: &mut Edit<'m>);

    /// Adds to an answer that is made here because nobody could be reached, or what was said is not for upstream.
    fn own_answer(&self, _response: &mut ResponseBuilder<'_>) {}
}

/// A change to a header on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// All lines of it go.
    Remove(HeaderId),
    /// All lines of this name go.
    RemoveNamed(&'static str),
    /// It has this one value.
    Set(HeaderId, String),
    /// One more line of it stands above all that the request came with; below those of [`Forwarding::record_route`].
    Prepend(HeaderId, String),
    /// One more line of this name stands behind all others.
    AppendNamed(&'static str, String),
}

/// What the user of the stack must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A forwarded INVITE got a provisional response other than 100, or a 2xx, and it went upstream.
    Responded {
        /// Which.
        server: ServerId,
        /// [`Target::cookie`] of who responded.
        cookie: u64,
        /// As it came, our Via still on it.
        response: Message,
    },
    /// All targets of a forwarded INVITE failed, or nobody answered for as long as [`Forwarding::patience`] allows. Nothing
    /// went upstream: answer with [`Stack::extend`] or [`Stack::conclude`].
    Exhausted {
        /// Which.
        server: ServerId,
        /// The best final status so far; 408 where patience ran out, whatever others said.
        status: u16,
    },
    /// A forwarded request is answered for good.
    Completed {
        /// Which.
        server: ServerId,
        /// The final status that went upstream.
        status: u16,
    },
    /// A target could not be reached, whatever became of the request.
    TargetFailed {
        /// [`Target::cookie`].
        cookie: u64,
        /// How.
        reason: TargetFailure,
    },
    /// A request of our own is answered for good.
    OwnCompleted {
        /// The user's name for it.
        own: u64,
        /// How.
        outcome: OwnOutcome,
    },
}

/// What a received response was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFate {
    /// An answer to something that was sent.
    Taken,
    /// It belongs to nothing, or says nothing new, and is dropped.
    Stray,
    /// It belongs to a transaction, but is no valid response, and is dropped.
    Malformed,
}

/// Names a request of our own within the stack, also when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRequest(ContextId);

/// What became of a request of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnOutcome {
    /// The final status, or the one that its failure counts as.
    pub status: u16,
    /// Whether it was answered; else it timed out (408) or could not be sent.
    pub is_answered: bool,
    /// Retry-After of the answer, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// Why a target could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFailure {
    /// Its connection is gone, or an edge answered 430.
    FlowFailed,
    /// It did not answer in time.
    TimedOut,
    /// Its host does not exist or refuses connections.
    Unreachable,
}

/// What the stack wants of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackOutput {
    /// See [`node::Output::Send`].
    Send(Flow, Bytes),
    /// See [`node::Output::Resolve`].
    Resolve(ResolveToken, Question),
    /// See [`node::Output::Connect`].
    Connect(ConnectToken, ConnectTarget),
}

/// The stack. See the module's text.
pub struct Stack {
    transactions: Transactions,
    hops: Hops,
    routes: Routes,
    /// Connections with servers of ours.
    servers: BTreeMap<ConnectionId, ServerMark>,
    timers: Timers<Due>,
    contexts: Slab<Slot>,
    generation: u32,
    /// Response contexts of INVITEs that can still be cancelled.
    cancellable: HashMap<ServerId, ContextId, foldhash::fast::FixedState>,
    searches: HashMap<SearchId, BranchId, foldhash::fast::FixedState>,
    next_search: u64,
    events: VecDeque<Event>,
    outputs: VecDeque<StackOutput>,
    /// Branches that failed without a message and wait to be looked at; keeps failures from recursing.
    failed: VecDeque<(BranchId, BranchFailure)>,
    /// Room for the values that a message which is being written gets.
    texts: Vec<u8>,
    loop_key: [u8; 16],
    retire_after: Duration,
}

/// A response context: its place in the slab, and which of its tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ContextId {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BranchId {
    context: ContextId,
    branch: u8,
}

/// Who sent the request of a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A branch of a response context.
    Branch(BranchId),
    /// The user itself, over one flow ([`Stack::send_own_over`]).
    Own(u64),
}

/// Most branches of one response context. A user's devices times their flows stay below it.
const BRANCHES_MAX: usize = 128;
/// Bits of a generation that fit into an [`Owner`] beside index and branch.
const GENERATION_BITS: u32 = 24;

struct Slot {
    generation: u32,
    state: SlotState,
}

enum SlotState {
    Live(Box<Context>),
    /// An answered INVITE: only later 2xx are passed on (RFC 6026 §7.2).
    Answered(ServerId, Option<Arc<Back>>),
}

/// What a response meets on its way upstream, where that is more than the loss of our Via.
struct Back {
    /// The Vias that stayed here, as the response must show them; none where they went along.
    vias: Vec<String>,
    border: Option<Arc<dyn Border>>,
}

struct Context {
    upstream: Upstream,
    request: Message,
    back: Option<Arc<Back>>,
    forwarding: Forwarding,
    invite: bool,
    breadth: u32,
    /// Most targets of one group (RFC 5393 §5.3.3).
    width: usize,
    branches: SmallVec<[Branch; 1]>,
    /// Targets that were not tried yet, by rising q: the next one stands last.
    waiting: Vec<Target>,
    best: Option<Final>,
    /// Challenges of branches other than the best (RFC 3261 §16.7 step 7).
    challenges: Vec<(HeaderId, String)>,
    cancelled: bool,
    /// Ends [`Forwarding::patience`].
    patience: Option<TimerId>,
    /// Whether an [`Event::Exhausted`] waits for the user's answer.
    asked: bool,
}

#[derive(Clone, Copy)]
enum Upstream {
    Server(ServerId),
    Own(u64),
    /// An ACK: nobody waits for anything.
    Nobody,
}

struct Branch {
    target: Target,
    state: BranchState,
    /// The search that found the hop and knows further candidates.
    search: Option<SearchId>,
}

enum BranchState {
    Searching,
    Sent {
        client: ClientId,
        timer_c: Option<TimerId>,
    },
    /// Rang for too long and was cancelled. It may still have been answered; its 487 counts as 408 (RFC 3261 §16.8).
    GivenUp {
        client: ClientId,
    },
    Ended,
}

struct Final {
    verdict: Verdict,
    response: Option<Message>,
}

#[derive(Clone, Copy, Debug)]
enum BranchFailure {
    FlowFailed,
    TimedOut,
    NotFound,
    Unreachable,
}

enum Due {
    TimerC(BranchId),
    Patience(ContextId),
    Retire(ContextId),
}

impl Stack {
    /// An idle stack.
    pub fn new(config: StackConfig) -> Stack {
        let names = Names::new(&config.listeners, config.names.iter().map(String::as_str));
        let hasher = foldhash::fast::FixedState::with_seed(u64::from_le_bytes(part(&config.seed, 1)));
        let mut loop_key = [0; 16];
        loop_key.copy_from_slice(&config.secret[16..]);
        Stack {
            retire_after: config.timers.t1 * 64,
            transactions: Transactions::new(derive(&config.seed, b't'), config.timers, config.limits),
            hops: Hops::new(&config.listeners, derive(&config.seed, b'h')),
            routes: Routes::new(names, config.secret, config.seed),
            servers: BTreeMap::new(),
            timers: Timers::new(),
            contexts: Slab::new(),
            generation: 0,
            cancellable: HashMap::with_hasher(hasher.clone()),
            searches: HashMap::with_hasher(hasher),
            next_search: 0,
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            failed: VecDeque::new(),
            texts: Vec::new(),
            loop_key,
        }
    }

    /// Feeds a request that passed `validate`. A CANCEL is answered here: [`Incoming::Absorbed`].
    pub fn handle_request(&mut self, now: Instant, message: &Message, arrival: Arrival) -> Incoming {
        let incoming = self.transactions.handle_request(now, message, arrival);
        let Incoming::Cancel { cancel, invite } = incoming else {
            return incoming;
        };
        let status = if invite.is_some() { 200 } else { 481 };
        self.respond(
            now,
            cancel,
            status,
            ResponseBuilder::new(message, status).to_tag(&self.local_tag(message)),
            arrival,
            message,
        );
        if let Some(invite) = invite {
            self.cancel(now, invite, message.header(HeaderId::Reason));
        }
        self.settle(now);
        Incoming::Absorbed
    }

    /// Feeds a response. One to a request of our own needs no more than what names its transaction, which only the next hop
    /// can know; all others must pass `validate` before anything of them is acted on or forwarded.
    pub fn handle_response(&mut self, now: Instant, message: Message) -> ResponseFate {
        let Some(matched) = self.transactions.match_response(&message) else { return ResponseFate::Stray };
        let is_to_own = matched.request_owner().is_some_and(|owner| self.is_own(owner));
        if !is_to_own && message.validate().is_err() {
            return ResponseFate::Malformed;
        }
        let Some((client, owner)) = self.transactions.handle_matched(now, matched, &message) else {
            return ResponseFate::Stray;
        };
        match Origin::from_owner(owner) {
            Origin::Branch(branch) => self.branch_response(now, branch, client, message),
            Origin::Own(own) => self.own_response(own, &message),
        }
        self.settle(now);
        ResponseFate::Taken
    }

    /// A connection is up.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        peer: &Peer,
        token: Option<ConnectToken>,
    ) {
        self.hops.handle_connected(now, connection, peer, token);
        self.settle(now);
    }

    /// A connection that is up proved to be with this server of ours: dialogs over it outlive it.
    pub fn name_server(&mut self, connection: ConnectionId, host: &str) {
        self.servers.insert(connection, self.routes.server_mark(host));
    }

    /// A connection of ours did not come up.
    pub fn handle_connect_failed(&mut self, now: Instant, token: ConnectToken, error: &ConnectError) {
        self.hops.handle_connect_failed(now, token, error);
        self.settle(now);
    }

    /// A connection is gone.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.hops.handle_closed(connection);
        self.servers.remove(&connection);
        self.transactions.handle_closed(now, connection);
        self.settle(now);
    }

    /// Gives up every way to servers of a network that is still being looked for: what waits for one fails as if nobody could be
    /// reached. What has been sent stays as it is, but is not tried elsewhere any more. For callers whose rules have changed, so that
    /// what they decided before may not be sent after.
    pub fn give_up_ways(&mut self, now: Instant, side: Side) {
        for (search, is_reached) in self.hops.searches_in(side) {
            let Some(branch) = self.searches.get(&search).copied() else { continue };
            self.end_search(branch);
            if !is_reached {
                self.branch_failed(now, branch, BranchFailure::Unreachable, None);
            }
        }
        self.settle(now);
    }

    /// DNS answered.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        token: ResolveToken,
        answer: Result<Answers, ResolveError>,
    ) {
        self.hops.handle_resolved(now, token, answer);
        self.settle(now);
    }

    /// Lets time pass.
    pub fn handle_timer(&mut self, now: Instant) {
        self.transactions.handle_timer(now);
        self.hops.handle_timer(now);
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::TimerC(branch) => self.timer_c(now, branch),
                Due::Patience(context) => self.patience_over(now, context),
                Due::Retire(context) => {
                    if self.slot(context).is_some() {
                        self.contexts.remove(context.index as usize);
                    }
                }
            }
        }
        self.settle(now);
    }

    /// Forwards a request to a set of targets, which must not be empty, and its answers back.
    pub fn forward(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
        targets: Vec<Target>,
        forwarding: Forwarding,
    ) {
        let patience = forwarding.patience;
        let context = self.open(Upstream::Server(server), request, targets, forwarding);
        if request.method() == Method::Invite {
            self.cancellable.insert(server, context);
            self.set_patience(now, context, patience);
        }
        self.start_next_group(now, context);
        self.settle(now);
    }

    /// Answers an [`Event::Exhausted`] with further targets, which must not be empty, and how long they may ring.
    pub fn extend(
        &mut self,
        now: Instant,
        server: ServerId,
        targets: Vec<Target>,
        patience: Option<Duration>,
    ) {
        let Some(id) = self.cancellable.get(&server).copied() else { return };
        let Some(context) = self.live(id).filter(|context| context.asked) else { return };
        context.asked = false;
        // Every branch has a name of its own for as long as the context lives.
        let room = BRANCHES_MAX - context.branches.len();
        context.waiting = in_order(targets, room);
        if context.waiting.is_empty() {
            return self.conclude_context(now, id);
        }
        self.set_patience(now, id, patience);
        self.start_next_group(now, id);
        self.settle(now);
    }

    /// Answers an [`Event::Exhausted`]: there are no further targets, and the best response goes upstream once the last
    /// target has ended.
    pub fn conclude(&mut self, now: Instant, server: ServerId) {
        let Some(id) = self.cancellable.get(&server).copied() else { return };
        self.conclude_context(now, id);
    }

    /// Forwards an ACK, which has no answer.
    pub fn forward_ack(&mut self, now: Instant, request: &Message, target: Target, forwarding: Forwarding) {
        let context = self.open(Upstream::Nobody, request, vec![target], forwarding);
        self.start_next_group(now, context);
        self.settle(now);
    }

    /// Sends a request of our own; `own` names it in [`Event::OwnCompleted`]. The request has no Via yet, and is no INVITE.
    pub fn send_own(
        &mut self,
        now: Instant,
        own: u64,
        request: &Message,
        target: Target,
        forwarding: Forwarding,
    ) -> OwnRequest {
        let context = self.open(Upstream::Own(own), request, vec![target], forwarding);
        self.start_next_group(now, context);
        self.settle(now);
        OwnRequest(context)
    }

    /// Leaves a request of our own with what was sent of it: its answer is still awaited, but where it fails no
    /// alternative is tried.
    pub fn try_no_further(&mut self, request: OwnRequest) {
        let Some(context) = self.live(request.0) else { return };
        context.waiting.clear();
        for branch in &mut context.branches {
            branch.target.alternatives.clear();
        }
    }

    /// Forgets a request of our own: nothing more is sent of it, and nothing is told. Gives the user's name for it
    /// unless it has ended before; then its end was told, or will be.
    pub fn abandon_own(&mut self, request: OwnRequest) -> Option<u64> {
        let context = self.live(request.0)?;
        let Upstream::Own(own) = context.upstream else { return None };
        let sent = |branch: &Branch| match branch.state {
            BranchState::Sent { client, .. } | BranchState::GivenUp { client } => Some(client),
            BranchState::Searching | BranchState::Ended => None,
        };
        let clients: SmallVec<[ClientId; 4]> = context.branches.iter().filter_map(sent).collect();
        for client in clients {
            self.transactions.abandon(client);
        }
        self.close(request.0);
        Some(own)
    }

    /// Sends a request of our own over one flow and no other, which costs a fraction of [`Stack::send_own`]: `write` is given the
    /// value of the topmost Via and gives the request, which is no INVITE. `own` is less than 2^56.
    pub fn send_own_over(&mut self, now: Instant, own: u64, flow: Flow, write: impl FnOnce(&str) -> Bytes) {
        let facts = self.hops.flow_facts(flow).zip(self.hops.sent_by(flow));
        let Some(((transport, _), sent_by)) = facts else {
            return self.own_unanswered(own, Failure::FlowFailed);
        };
        let (client, branch) = self.transactions.reserve();
        self.texts.clear();
        push_via(&mut self.texts, transport, sent_by, &branch);
        let bytes = write(str::from_utf8(&self.texts).expect("a Via of ours is ASCII"));
        let owner = Origin::Own(own).to_owner();
        self.transactions.send(now, client, Outgoing { flow, transport, bytes, invite: false, owner });
    }

    /// Answers a request in its transaction.
    pub fn respond(
        &mut self,
        now: Instant,
        server: ServerId,
        status: u16,
        response: &mut ResponseBuilder<'_>,
        arrival: Arrival,
        request: &Message,
    ) {
        let via = request.top_via().ok();
        let response = build_response(&mut self.texts, response, via.as_ref(), arrival.remote);
        self.transactions.respond(now, server, status, response);
    }

    /// Answers a request without keeping anything of it: its transaction, if there is one, is forgotten.
    pub fn respond_stateless(
        &mut self,
        server: Option<ServerId>,
        response: &mut ResponseBuilder<'_>,
        arrival: Arrival,
        request: &Message,
    ) {
        if let Some(server) = server {
            self.transactions.forget(server);
        }
        let via = request.top_via().ok();
        let response = build_response(&mut self.texts, response, via.as_ref(), arrival.remote);
        let flow = via.map_or(arrival.flow, |via| response_flow(&via, &arrival));
        self.outputs.push_back(StackOutput::Send(flow, response));
    }

    /// Sends octets as they are (an answer to a keep-alive).
    pub fn send_raw(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(StackOutput::Send(flow, bytes));
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes the next output.
    pub fn poll_output(&mut self) -> Option<StackOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some((flow, bytes)) = self.transactions.poll_send() {
            return Some(StackOutput::Send(flow, bytes));
        }
        self.hops.poll_output().map(|output| match output {
            HopOutput::Resolve(token, question) => StackOutput::Resolve(token, question),
            HopOutput::Connect(token, target) => StackOutput::Connect(token, target),
        })
    }

    /// When `handle_timer` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.transactions.next_deadline(), self.hops.next_deadline(), self.timers.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Connections and flows.
    pub fn hops(&self) -> &Hops {
        &self.hops
    }

    /// Our own Route entries.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What the topmost Route entries of a request that came in on `flow` say, as far as they are ours.
    pub fn own_routes(&self, message: &Message, flow: Flow) -> OwnRoutes {
        self.routes.own_routes(message, self.facing(flow))
    }

    /// What an entry of ours says that faces who is on `flow`.
    fn facing(&self, flow: Flow) -> Facing {
        match flow {
            Flow::Connection(connection) => {
                self.servers.get(&connection).map_or(Facing::Flow(flow), |mark| Facing::Server(*mark))
            }
            Flow::Datagram { .. } => Facing::Flow(flow),
        }
    }

    /// From now on so many requests may wait for an answer, theirs and ours each; those that wait stay.
    pub fn limit_pending(&mut self, pending_max: usize) {
        self.transactions.limit_pending(pending_max);
    }

    /// Transactions under way.
    pub fn pending(&self) -> usize {
        self.transactions.pending()
    }

    /// Response contexts that wait for an answer or remember one.
    pub fn contexts(&self) -> usize {
        self.contexts.len()
    }

    /// Whether this request has been here before in the same state: a loop, to be ended with 482 (RFC 5393 §4.2).
    pub fn is_loop(&self, message: &Message) -> bool {
        let mut digest = None;
        message.values(HeaderId::Via).any(|vias| {
            // Cheap first: hardly any Via of others has such a parameter.
            let mut found =
                semicolons(vias).filter_map(|params| params.strip_prefix(LOOP_PARAMETER.as_bytes()));
            found.any(|params| {
                let end = params.iter().position(|byte| matches!(byte, b';' | b',' | b' '));
                let hex = std::str::from_utf8(&params[..end.unwrap_or(params.len())]);
                let digest = *digest.get_or_insert_with(|| self.loop_digest(message, &mut Vec::new()));
                hex.is_ok_and(|hex| u64::from_str_radix(hex, 16) == Ok(digest))
            })
        })
    }
}

// What becomes of requests of our own.
impl Stack {
    fn is_own(&self, owner: Owner) -> bool {
        match Origin::from_owner(owner) {
            Origin::Own(_) => true,
            Origin::Branch(branch) => self.slot(branch.context).is_some_and(|slot| {
                matches!(&slot.state, SlotState::Live(context) if matches!(context.upstream, Upstream::Own(_)))
            }),
        }
    }

    fn own_response(&mut self, own: u64, response: &Message) {
        match response.status() {
            Some(100..200) | None => {}
            Some(430) => self.own_unanswered(own, Failure::FlowFailed),
            Some(_) => {
                self.events.push_back(Event::OwnCompleted { own, outcome: OwnOutcome::answered(response) });
            }
        }
    }

    fn own_unanswered(&mut self, own: u64, failure: Failure) {
        let outcome = OwnOutcome::unanswered(BranchFailure::from(failure).status());
        self.events.push_back(Event::OwnCompleted { own, outcome });
    }
}

impl OwnOutcome {
    fn unanswered(status: u16) -> OwnOutcome {
        OwnOutcome { status, is_answered: false, retry_after_seconds: None }
    }

    fn answered(response: &Message) -> OwnOutcome {
        OwnOutcome {
            status: response.status().unwrap_or(500),
            is_answered: true,
            retry_after_seconds: response.number(HeaderId::RetryAfter).ok().flatten(),
        }
    }
}

impl Context {
    fn cookie(&self, id: BranchId) -> u64 {
        self.branches.get(usize::from(id.branch)).map_or(0, |branch| branch.target.cookie)
    }

    /// Whether the user may add targets: not to what was cancelled, and not behind a 6xx, which speaks for all
    /// (RFC 3261 §16.7 step 5).
    fn may_ask(&self) -> bool {
        let is_refused_by_all = self.best.as_ref().is_some_and(|best| best.verdict.status >= 600);
        self.invite && self.forwarding.asks_for_more && !self.cancelled && !is_refused_by_all
    }

    /// Makes branches of the waiting targets of highest q, of as many as may be tried at once (RFC 5393 §5.3.3).
    fn start_group(&mut self) {
        let Some(q) = self.waiting.last().map(|target| target.q) else { return };
        for _ in 0..self.width {
            let Some(target) = self.waiting.pop_if(|target| target.q == q) else { return };
            self.branches.push(Branch { target, state: BranchState::Searching, search: None });
        }
    }

    fn keep_challenges(&mut self, response: &Message) {
        for id in [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate] {
            let lines = response.headers().filter(|h| h.id == id);
            let texts = lines.filter_map(|h| std::str::from_utf8(h.value).ok());
            self.challenges.extend(texts.map(|t| (id, t.to_owned())));
        }
    }
}

impl BranchFailure {
    /// What counts as the answer.
    fn status(self) -> u16 {
        match self {
            BranchFailure::TimedOut => 408,
            BranchFailure::FlowFailed | BranchFailure::NotFound | BranchFailure::Unreachable => 480,
        }
    }
}

impl From<Failure> for BranchFailure {
    fn from(failure: Failure) -> BranchFailure {
        match failure {
            Failure::TimedOut => BranchFailure::TimedOut,
            Failure::FlowFailed => BranchFailure::FlowFailed,
        }
    }
}

impl Origin {
    /// Stands where a branch's number would.
    const OWN: u64 = 0xff;

    fn to_owner(self) -> Owner {
        match self {
            Origin::Branch(BranchId { context: ContextId { index, generation }, branch }) => {
                Owner(u64::from(index) << 32 | u64::from(generation) << 8 | u64::from(branch))
            }
            Origin::Own(own) => {
                assert!(own >> 56 == 0, "the user's name for a request of our own is less than 2^56");
                Owner(own << 8 | Origin::OWN)
            }
        }
    }

    /// The name of a branch that is gone names nothing: its generation is over.
    fn from_owner(owner: Owner) -> Origin {
        if owner.0 & 0xff == Origin::OWN {
            return Origin::Own(owner.0 >> 8);
        }
        let generation =
            u32::try_from(owner.0 >> 8 & ((1 << GENERATION_BITS) - 1)).expect("masked to 24 bits");
        let index = u32::try_from(owner.0 >> 32).expect("shifted to 32 bits");
        let branch = u8::try_from(owner.0 & 0xff).expect("masked to 8 bits");
        Origin::Branch(BranchId { context: ContextId { index, generation }, branch })
    }
}

fn push_via(via: &mut Vec<u8>, transport: Transport, sent_by: &str, branch: &BranchText) {
    for part in ["SIP/2.0/", transport.via_token(), " ", sent_by, ";branch="] {
        via.extend_from_slice(part.as_bytes());
    }
    via.extend_from_slice(branch.as_bytes());
    if transport == Transport::Udp {
        via.extend_from_slice(b";rport");
    }
}

/// Targets as a context keeps them: by rising q, and no more than there is room for.
fn in_order(mut targets: Vec<Target>, room: usize) -> Vec<Target> {
    if targets.len() > 1 {
        targets.sort_by_key(|t| std::cmp::Reverse(t.q));
    }
    targets.truncate(room);
    targets.reverse();
    targets
}

/// What stands from each `;` on.
fn semicolons(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b';', value).map(|place| &value[place..])
}

fn part(seed: &[u8; 32], index: usize) -> [u8; 8] {
    seed[index * 8..index * 8 + 8].try_into().expect("a seed has four parts of 8 octets")
}

/// A seed of a part of the stack, from the stack's own.
fn derive(seed: &[u8; 32], purpose: u8) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(seed);
    hasher.update([purpose]);
    hasher.finalize().into()
}
