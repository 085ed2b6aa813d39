//! The driver: all tasks of one node, and the handle to it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use node::store::Store;
use node::{CloseReason, ConnectionId, ListenerId, Node};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{sleep, timeout};

use crate::bind::BoundSocket;
use crate::metrics::{End, render};
use crate::world::{Listening, Shared, World, spawn, turns};
use crate::{Bound, CompletionReceiver, Networks, Options, Resolver, ResolverError};

/// Requests that wait for the driver's thread.
const REQUESTS_MAX: usize = 256;
/// Pause after the system had no descriptor or memory for a connection: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the runtime for a driver: one thread, with sockets and timers.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs one node. Made on, and bound to, the thread that calls [`Driver::run`].
pub struct Driver<N: Node> {
    world: World<N>,
    sockets: Vec<BoundSocket>,
    completions: CompletionReceiver<N::Rows>,
    requests: mpsc::Receiver<Request<N>>,
    handle: Handle<N>,
}

impl<N: Node + 'static> Driver<N> {
    /// `listeners` are those whose [`Bound::listener`] the node was made with, in the same order; `completions` is the
    /// other end of the sink that `store` was opened with. `networks` says by side whom to believe and who we are.
    pub fn new(
        node: N,
        listeners: Vec<Bound>,
        mut store: Box<dyn Store<Change = N::Change, Query = N::Query, Rows = N::Rows>>,
        completions: CompletionReceiver<N::Rows>,
        resolver: Resolver,
        networks: Networks,
        options: Options,
    ) -> Driver<N>
    where
        N::Change: Send,
        N::Query: Send,
        N::Rows: Send,
    {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (mut sockets, mut listening) = (Vec::new(), Vec::new());
        for bound in listeners {
            sockets.push(bound.socket);
            listening.push(Listening {
                transport: bound.listener.transport,
                socket: None,
                side: bound.listener.side,
                tls: bound.tls,
                client_certificates: bound.client_certificates,
                origins: bound.origins,
            });
        }
        let submit = Box::new(move |batch| store.submit(batch));
        let world = World::new(node, listening, submit, resolver, networks, options);
        Driver { world, sockets, completions, requests, handle: Handle { requests: sender } }
    }

    /// A handle to call, watch and stop it with, from any thread.
    pub fn handle(&self) -> Handle<N> {
        self.handle.clone()
    }

    /// Runs until [`Handle::shutdown`], on a current-thread runtime such as [`runtime`] makes. Then stops to read,
    /// waits for storage, lets what was sent leave, closes every connection, and returns. Errors are those of
    /// sockets that cannot be registered with the runtime.
    ///
    /// # Panics
    ///
    /// When the node or the driver breaks an invariant of its own, in whatever task.
    pub async fn run(self) -> io::Result<()> {
        let broken = Rc::clone(&self.world.broken);
        LocalSet::new()
            .run_until(async move {
                tokio::select! {
                    biased;
                    () = broken.notified() => panic!("a task of the driver panicked"),
                    result = self.run_local() => result,
                }
            })
            .await
    }

    async fn run_local(self) -> io::Result<()> {
        let Driver { world, sockets, completions, mut requests, handle: _handle } = self;
        let world = Rc::new(RefCell::new(world));
        world.borrow_mut().me = Rc::downgrade(&world);
        let listeners = listen(&world, sockets)?;
        let broken = Rc::clone(&world.borrow().broken);
        spawn(&broken, run_timer(Rc::clone(&world)));
        spawn(&broken, run_settle(Rc::clone(&world)));
        spawn(&broken, run_completions(Rc::clone(&world), completions));
        {
            // What the node wanted from the start.
            let mut world = world.borrow_mut();
            world.begin();
            world.drain();
            world.settle();
        }
        let stopped = loop {
            match requests.recv().await {
                Some(Request::Call(call, caller)) => world.borrow_mut().called(call, caller),
                Some(Request::Metrics(asker)) => {
                    let world = world.borrow();
                    // Whoever went away wants no answer.
                    drop(asker.send(render(&*world)));
                }
                Some(Request::Adjust(adjustment, asker)) => {
                    let adjusted = world.borrow_mut().adjust(*adjustment);
                    // Whoever went away wants no answer.
                    drop(asker.send(adjusted));
                }
                Some(Request::Shutdown(asker)) => break Some(asker),
                None => break None,
            }
        };
        // No new call is taken; those who wait are told so by the channel's end.
        drop(requests);
        for listener in listeners {
            listener.abort();
        }
        stop(&world).await;
        if let Some(asker) = stopped {
            // An asker that went away wants no answer.
            let _gone = asker.send(());
        }
        Ok(())
    }
}

fn listen<N: Node + 'static>(
    world: &Shared<N>,
    sockets: Vec<BoundSocket>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::new();
    let broken = Rc::clone(&world.borrow().broken);
    for (index, socket) in sockets.into_iter().enumerate() {
        let index = u16::try_from(index).map_err(|_| io::Error::other("more than 65,535 listeners"))?;
        let (listener, shared) = (ListenerId(index), Rc::clone(world));
        tasks.push(match socket {
            BoundSocket::Datagram(socket) => {
                let socket = UdpSocket::from_std(socket)?;
                world.borrow_mut().listeners[usize::from(index)].socket = Some(Rc::new(socket));
                spawn(&broken, turns(shared, move |world, cx| world.poll_datagrams(listener, cx)))
            }
            BoundSocket::Stream(socket) => {
                let socket = TcpListener::from_std(socket)?;
                spawn(&broken, run_accept(shared, listener, socket))
            }
        });
    }
    Ok(tasks)
}

async fn run_accept<N: Node + 'static>(world: Shared<N>, listener: ListenerId, socket: TcpListener) {
    loop {
        let error = poll_fn(|cx| world.borrow_mut().poll_accept(listener, &socket, cx)).await;
        tracing::error!(%error, "connections cannot be accepted");
        sleep(ACCEPT_PAUSE).await;
    }
}

async fn run_timer<N: Node + 'static>(world: Shared<N>) {
    let mut timer = std::pin::pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        world.borrow_mut().poll_timer(timer.as_mut(), cx);
        Poll::<()>::Pending
    })
    .await;
}

async fn run_settle<N: Node + 'static>(world: Shared<N>) {
    poll_fn(|cx| {
        world.borrow_mut().poll_settle(cx);
        Poll::<()>::Pending
    })
    .await;
}

async fn run_completions<N: Node + 'static>(world: Shared<N>, mut completions: CompletionReceiver<N::Rows>) {
    while let Some(mut batch) = completions.batches.recv().await {
        // Batches that came while others ran are one turn.
        while let Ok(more) = completions.batches.try_recv() {
            batch.extend(more);
        }
        world.borrow_mut().completed(batch);
    }
}

/// Brings everything to its end, within two times the shutdown timeout.
async fn stop<N: Node + 'static>(world: &Shared<N>) {
    let limit = world.borrow().options.shutdown_timeout;
    world.borrow_mut().stopping = true;
    if timeout(limit, until(world, |world| world.submitted == 0)).await.is_err() {
        tracing::warn!(submitted = world.borrow().submitted, "storage did not finish in time");
    }
    {
        let mut world = world.borrow_mut();
        world.begin();
        let all: Vec<ConnectionId> = world.connections.iter().map(|(_, c)| c.id).collect();
        for id in all {
            world.start_close(id, End::Reason(CloseReason::Shutdown), None);
        }
        world.settle();
    }
    // What is still open then has peers that do not read, and their end is not waited for.
    drop(timeout(limit, until(world, |world| world.connections.is_empty())).await);
    let mut world = world.borrow_mut();
    world.begin();
    let all: Vec<ConnectionId> = world.connections.iter().map(|(_, c)| c.id).collect();
    for id in all {
        world.end(id, End::Reason(CloseReason::Shutdown), "the server stops");
    }
    world.settle();
    world.log.finish();
}

async fn until<N: Node + 'static>(world: &Shared<N>, done: impl Fn(&World<N>) -> bool) {
    poll_fn(|cx| {
        let mut world = world.borrow_mut();
        world.stop_waker = Some(cx.waker().clone());
        if done(&world) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What is asked of a driver from elsewhere.
enum Request<N: Node> {
    Call(N::Call, oneshot::Sender<Result<N::Answer, CallError>>),
    Metrics(oneshot::Sender<String>),
    Adjust(Box<Adjustment>, oneshot::Sender<Result<(), ResolverError>>),
    Shutdown(oneshot::Sender<()>),
}

/// What of a running driver can change; `None` keeps what is there. Connections that are open stay, unless the new networks
/// believe their peers' certificates no more, or only now.
#[derive(Default)]
pub struct Adjustment {
    /// See [`Options::connections_max`].
    pub connections_max: Option<usize>,
    /// See [`Options::connections_per_source_max`].
    pub connections_per_source_max: Option<u32>,
    /// Makes another resolver, on the driver's thread. It remembers nothing.
    pub resolver: Option<ResolverMaker>,
    /// For connections that are opened, and peers that are judged, from now on. Open connections are judged again.
    pub networks: Option<Networks>,
}

/// See [`Adjustment::resolver`].
pub type ResolverMaker = Box<dyn FnOnce() -> Result<Resolver, ResolverError> + Send>;

/// A way to a running driver, from any thread.
pub struct Handle<N: Node> {
    requests: mpsc::Sender<Request<N>>,
}

impl<N: Node> Clone for Handle<N> {
    fn clone(&self) -> Handle<N> {
        Handle { requests: self.requests.clone() }
    }
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The driver has stopped, or stopped before the answer.
    #[error("the server has stopped")]
    Stopped,
    /// Too many calls wait already.
    #[error("too many calls wait already")]
    Overloaded,
}

impl<N: Node> Handle<N> {
    /// Makes a call and waits for the node's answer.
    pub async fn call(&self, call: N::Call) -> Result<N::Answer, CallError> {
        self.ask(|caller| Request::Call(call, caller)).await?
    }

    /// The metrics of node and driver, as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String, CallError> {
        self.ask(Request::Metrics).await
    }

    /// Changes what can change. Where the resolver cannot be made, nothing changes.
    pub async fn adjust(&self, adjustment: Adjustment) -> Result<Result<(), ResolverError>, CallError> {
        self.ask(|asker| Request::Adjust(Box::new(adjustment), asker)).await
    }

    /// Stops the driver and waits until it has stopped.
    pub async fn shutdown(&self) {
        // An error means that it has stopped already.
        let _stopped: Result<(), CallError> = self.ask(Request::Shutdown).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request<N>) -> Result<T, CallError> {
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).await.map_err(|_| CallError::Stopped)?;
        answer.await.map_err(|_| CallError::Stopped)
    }
}
