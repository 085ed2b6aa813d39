//! A node with all that its driver keeps for it. Every task of the driver borrows the world for one turn.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use node::store::{Completion, Submission};
use node::{
    CallToken, ConnectionId, Flow, Input, Instant, ListenerId, Metric, MetricKind, Node, Now, Output, Side,
    Transport, UnixMillis,
};
use slab::Slab;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::connection::Connection;
use crate::driver::CallError;
use crate::log::Log;
use crate::metrics::{Counters, End, side_name};
use crate::{Adjustment, ClientCertificates, Networks, Options, Resolver, ResolverError, TlsServer};

/// Room for what is read at once: the largest datagram, and four TLS records.
pub(crate) const SCRATCH_OCTETS: usize = 64 * 1024;
/// Messages collected before they are written, if a turn has so many.
const LETTERS_MAX: usize = 1024;
/// Turns of connections that end together. What they send leaves in one go, which keeps the kernel's code and the node's
/// apart in the caches and wakes a peer with many connections once; the clocks are read and storage is called once. At
/// some 10 µs each the first of them waits less than a millisecond for the last.
const TURNS_TOGETHER_MAX: u32 = 64;
/// A turn that begins so long after the one before it is probably alone, and does not wait for company. A turn with a
/// message takes a tenth of that.
const LULL: Duration = Duration::from_micros(100);
/// Questions to DNS at one time; further ones fail. A node asks once for each new destination.
const RESOLVES_MAX: usize = 1024;
/// Calls that wait for their answer; further ones are refused. Calls come from administrators and HTTP.
const CALLS_MAX: usize = 1024;

pub(crate) type Shared<N> = Rc<RefCell<World<N>>>;
/// Hands a batch to storage.
pub(crate) type Submit<N> = Box<dyn FnMut(Vec<Submission<<N as Node>::Change, <N as Node>::Query>>)>;

pub(crate) struct World<N: Node> {
    pub(crate) node: N,
    pub(crate) me: Weak<RefCell<World<N>>>,
    /// Told when a task panicked.
    pub(crate) broken: Rc<Notify>,
    pub(crate) options: Options,
    pub(crate) metrics: Counters,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) connections: Slab<Box<Connection>>,
    pub(crate) serial: u64,
    pub(crate) sources: HashMap<IpAddr, u32>,
    /// Sum of what all connections hold of incomplete messages, in octets.
    pub(crate) held: usize,
    pub(crate) connects: usize,
    pub(crate) networks: Networks,
    /// The moment of this turn.
    pub(crate) now: Now,
    /// Inputs born while outputs are carried out.
    pub(crate) inputs: VecDeque<Input<N>>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) datagrams: Vec<Datagram>,
    /// Connections that wait for their queue to drain before they end.
    pub(crate) closing: Vec<ConnectionId>,
    pub(crate) watch: BTreeSet<(Instant, ConnectionId)>,
    /// When the certificates of open connections end, with their chains.
    pub(crate) certificate_ends: BTreeSet<(UnixMillis, ConnectionId)>,
    /// When the first of them is looked at.
    pub(crate) certificates_due: Option<Instant>,
    pub(crate) scratch: Box<[u8]>,
    pub(crate) plain: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) stopping: bool,
    /// Wakes whoever waits for storage or connections to finish while the driver stops.
    pub(crate) stop_waker: Option<Waker>,
    pub(crate) submitted: usize,
    pub(crate) log: Log,
    submissions: Vec<Submission<N::Change, N::Query>>,
    submit: Submit<N>,
    resolver: Resolver,
    resolves: usize,
    calls: HashMap<CallToken, oneshot::Sender<Result<N::Answer, CallError>>>,
    call_serial: u64,
    started: std::time::Instant,
    armed: Option<Instant>,
    timer_waker: Option<Waker>,
    /// Turns that have begun since the last one ended, see [`World::join`].
    together: u32,
    /// Whether the first of them came after a lull.
    alone: bool,
    settle_waker: Option<Waker>,
}

/// What is kept of a listener while it is in use.
pub(crate) struct Listening {
    pub(crate) transport: Transport,
    pub(crate) side: Side,
    pub(crate) socket: Option<Rc<UdpSocket>>,
    pub(crate) tls: Option<Arc<TlsServer>>,
    pub(crate) client_certificates: ClientCertificates,
    pub(crate) origins: Vec<String>,
}

/// A message for a stream.
pub(crate) struct Letter {
    pub(crate) connection: ConnectionId,
    pub(crate) bytes: Bytes,
}

impl AsRef<Bytes> for Letter {
    fn as_ref(&self) -> &Bytes {
        &self.bytes
    }
}

/// A message for a datagram socket.
pub(crate) struct Datagram {
    pub(crate) listener: ListenerId,
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: Bytes,
}

impl<N: Node + 'static> World<N> {
    pub(crate) fn new(
        node: N,
        listeners: Vec<Listening>,
        submit: Submit<N>,
        resolver: Resolver,
        networks: Networks,
        options: Options,
    ) -> World<N> {
        World {
            node,
            me: Weak::new(),
            broken: Rc::new(Notify::new()),
            options,
            metrics: Counters::default(),
            listeners,
            connections: Slab::new(),
            serial: 0,
            sources: HashMap::new(),
            held: 0,
            connects: 0,
            networks,
            now: Now { monotonic: Instant(0), wall: UnixMillis(0) },
            inputs: VecDeque::new(),
            letters: Vec::new(),
            datagrams: Vec::new(),
            closing: Vec::new(),
            watch: BTreeSet::new(),
            certificate_ends: BTreeSet::new(),
            certificates_due: None,
            scratch: vec![0; SCRATCH_OCTETS].into_boxed_slice(),
            plain: Vec::new(),
            sealed: Vec::new(),
            stopping: false,
            stop_waker: None,
            submitted: 0,
            log: Log::default(),
            submissions: Vec::new(),
            submit,
            resolver,
            resolves: 0,
            calls: HashMap::new(),
            call_serial: 0,
            started: std::time::Instant::now(),
            armed: None,
            timer_waker: None,
            together: 0,
            alone: false,
            settle_waker: None,
        }
    }

    /// Begins a turn that may share clocks and end with those of other tasks that are ready now.
    pub(crate) fn join(&mut self) {
        if self.together == 0 {
            let before = self.now.monotonic;
            self.begin();
            self.alone = self.now.monotonic.since(before) > LULL;
        }
        self.together += 1;
    }

    /// Ends a turn that [`World::join`] began, or leaves its end to the task of [`World::poll_settle`], which runs when
    /// those that were ready before it have had their turns.
    pub(crate) fn leave(&mut self) {
        let first = self.together == 1;
        match &self.settle_waker {
            Some(waker) if first && !self.alone => waker.wake_by_ref(),
            Some(_) if !first && self.together < TURNS_TOGETHER_MAX => {}
            _ => self.settle(),
        }
    }

    /// Ends the turns that were left open.
    pub(crate) fn poll_settle(&mut self, cx: &mut Context<'_>) {
        if self.settle_waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.settle_waker = Some(cx.waker().clone());
        }
        if self.together > 0 {
            self.settle();
        }
    }

    /// Begins a turn: reads the clocks.
    pub(crate) fn begin(&mut self) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.now = Now {
            monotonic: Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)),
            wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        };
    }

    /// Feeds the node, and collects what it wants. What is collected is carried out by [`World::settle`].
    pub(crate) fn feed(&mut self, input: Input<N>) {
        self.node.handle(self.now, input);
        self.drain();
    }

    /// Ends a turn: carries out what was collected.
    pub(crate) fn settle(&mut self) {
        self.together = 0;
        loop {
            while let Some(input) = self.inputs.pop_front() {
                self.feed(input);
            }
            self.flush_datagrams();
            self.flush_letters();
            self.finish_closing();
            if self.inputs.is_empty() && self.letters.is_empty() && self.datagrams.is_empty() {
                break;
            }
        }
        if !self.submissions.is_empty() {
            self.submitted += self.submissions.len();
            (self.submit)(std::mem::take(&mut self.submissions));
        }
        self.arm();
        if self.stopping
            && let Some(waker) = &self.stop_waker
        {
            waker.wake_by_ref();
        }
    }

    /// Takes the node's outputs, in order.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { flow: Flow::Connection(connection), bytes } => {
                    self.letters.push(Letter { connection, bytes });
                    if self.letters.len() >= LETTERS_MAX {
                        self.flush_letters();
                    }
                }
                Output::Send { flow: Flow::Datagram { listener, remote }, bytes } => {
                    self.datagrams.push(Datagram { listener, remote, bytes });
                    if self.datagrams.len() >= LETTERS_MAX {
                        self.flush_datagrams();
                    }
                }
                Output::Connect { token, target } => self.connect(token, target),
                Output::Close { connection } => {
                    self.start_close(connection, End::Reason(node::CloseReason::Requested), None);
                }
                Output::Resolve { token, question } => self.resolve(token, question),
                Output::Persist { token, change, urgency } => {
                    self.submissions.push(Submission::Persist { token, change, urgency });
                }
                Output::Query { token, query } => self.submissions.push(Submission::Query { token, query }),
                Output::Answer { token, answer } => {
                    if let Some(caller) = self.calls.remove(&token) {
                        // A caller that went away wants no answer.
                        drop(caller.send(Ok(answer)));
                    }
                }
                Output::Report(report) => {
                    if !self.log.write(self.now.monotonic, &report) {
                        self.metrics.reports_suppressed += 1;
                    }
                }
            }
        }
    }

    /// One turn for a batch of storage's answers.
    pub(crate) fn completed(&mut self, batch: Vec<Completion<N::Rows>>) {
        self.begin();
        for completion in batch {
            self.submitted = self.submitted.saturating_sub(1);
            self.feed(match completion {
                Completion::Persisted { token, outcome } => Input::Persisted { token, outcome },
                Completion::PersistFailed { token, error } => Input::PersistFailed { token, error },
                Completion::Rows { token, rows } => Input::Rows { token, rows },
            });
        }
        self.settle();
    }

    /// One turn for a call.
    pub(crate) fn called(&mut self, call: N::Call, caller: oneshot::Sender<Result<N::Answer, CallError>>) {
        if self.calls.len() >= CALLS_MAX {
            // A caller that went away wants no answer.
            drop(caller.send(Err(CallError::Overloaded)));
            return;
        }
        self.call_serial += 1;
        let token = CallToken(self.call_serial);
        self.calls.insert(token, caller);
        self.begin();
        self.feed(Input::Called { token, call });
        self.settle();
    }

    /// The one timer of the driver.
    pub(crate) fn poll_timer(&mut self, mut sleep: Pin<&mut Sleep>, cx: &mut Context<'_>) {
        if self.timer_waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.timer_waker = Some(cx.waker().clone());
        }
        self.begin();
        // Nothing is earlier: `settle` shall not wake this task, which looks at the deadline itself.
        self.armed = Some(Instant(0));
        if self.node.next_deadline().is_some_and(|at| at <= self.now.monotonic) {
            self.feed(Input::Timer);
        }
        self.expire();
        self.end_certificates();
        self.log.tick(self.now.monotonic);
        self.settle();
        self.armed = self.next_deadline();
        if let Some(at) = self.armed {
            let at = self.started + Duration::from_micros(at.0);
            sleep.as_mut().reset(at.into());
            if sleep.poll(cx).is_ready() {
                // Due already: another turn, after whoever else is ready.
                cx.waker().wake_by_ref();
            }
        }
    }

    fn arm(&mut self) {
        let Some(next) = self.next_deadline() else {
            return;
        };
        // A later deadline needs no work: the timer comes once in vain, and looks again.
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            if let Some(waker) = &self.timer_waker {
                waker.wake_by_ref();
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let watched = self.watch.first().map(|(at, _)| *at);
        let deadlines = [self.node.next_deadline(), watched, self.certificates_due, self.log.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    pub(crate) fn adjust(&mut self, adjustment: Adjustment) -> Result<(), ResolverError> {
        if let Some(resolver) = adjustment.resolver {
            self.resolver = resolver()?;
        }
        let options = &mut self.options;
        options.connections_max = adjustment.connections_max.unwrap_or(options.connections_max);
        options.connections_per_source_max =
            adjustment.connections_per_source_max.unwrap_or(options.connections_per_source_max);
        if let Some(networks) = adjustment.networks {
            self.networks = networks;
            self.begin();
            self.judge_again();
            self.settle();
        }
        Ok(())
    }

    /// What the driver shows beside its counts: when the certificates in force end, by side.
    pub(crate) fn visit_certificates(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut gauge = |name, help, labels: &[(&'static str, &str)], ends: Option<UnixMillis>| {
            if let Some(UnixMillis(millis)) = ends {
                visit(Metric { name, help, kind: MetricKind::Gauge, labels, value: (millis / 1000) as f64 });
            }
        };
        for side in [Side::Inside, Side::Outside] {
            let network = self.networks.of(side);
            let listeners = self.listeners.iter().filter(|l| l.side == side).filter_map(|l| l.tls.as_ref());
            let help =
                "When the first of the certificates in force ends, in seconds since 1970, by side and use";
            let uses = [
                ("listener", listeners.map(|tls| tls.credentials().ends()).min()),
                ("client", network.credentials().map(|credentials| credentials.ends())),
            ];
            for (name, ends) in uses {
                let labels = [("side", side_name(side)), ("use", name)];
                gauge("chancery_net_certificate_end_timestamp_seconds", help, &labels, ends);
            }
            let help = "When the first of the revocation lists wants to be replaced, in seconds since 1970";
            let labels = [("side", side_name(side))];
            gauge("chancery_net_crl_end_timestamp_seconds", help, &labels, network.trust().crls_end());
        }
    }

    fn resolve(&mut self, token: node::ResolveToken, question: node::Question) {
        if self.resolves >= RESOLVES_MAX {
            self.inputs.push_back(Input::Resolved { token, answer: Err(node::ResolveError::Failed) });
            return;
        }
        self.resolves += 1;
        let (world, resolver) = (self.me.clone(), self.resolver.clone());
        spawn(&self.broken, async move {
            let answer = resolver.resolve(&question).await;
            let Some(world) = world.upgrade() else {
                return;
            };
            let mut world = world.borrow_mut();
            world.resolves -= 1;
            world.begin();
            world.feed(Input::Resolved { token, answer });
            world.settle();
        });
    }
}

/// Runs `turn` on the world whenever the task is woken, until it is ready.
pub(crate) async fn turns<N: Node>(
    world: Shared<N>,
    mut turn: impl FnMut(&mut World<N>, &mut Context<'_>) -> Poll<()>,
) {
    std::future::poll_fn(|cx| turn(&mut world.borrow_mut(), cx)).await;
}

/// Starts a task of the driver. A broken invariant in it ends the whole driver, where tokio alone would end the task
/// and leave a world half-way through a turn to all others.
pub(crate) fn spawn(broken: &Rc<Notify>, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let tell = TellPanic(Rc::clone(broken));
    tokio::task::spawn_local(async move {
        let _tell = tell;
        task.await;
    })
}

struct TellPanic(Rc<Notify>);

impl Drop for TellPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}
