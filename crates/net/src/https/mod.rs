//! HTTP over TLS: whole requests go to whoever answers them, whole answers go back.
//!
//! ```text
//!   accept ─► TLS ─► hyper (HTTP/1.1) ─► WholeRequest ─► Answering ─► a node ([`Service`]), or a router
//!                                     ◄─ whole answer ◄─────────────┘
//! ```
//!
//! It runs on a thread of its own, away from the driver: handshakes, framing and slow peers cost SIP nothing, and what
//! reaches a node is one call for each whole request. A peer that is slow or hostile meets a limit of [`Limits`] and
//! harms its own connection only: its header must come within [`Limits::idle_timeout`], its content within
//! [`Limits::body_timeout`], it gets [`Limits::connections_per_source_max`] connections, and whatever it sends before
//! it is whole is counted.
//!
//! # What this is not
//!
//! It knows no path, no user and no password: those are the business of who answers. Monitors have a listener of their own,
//! [`crate::http`]. HTTP/2 is not offered: the clients of today ask seldom and for one thing at a time, and Negotiate
//! (RFC 4559) signs in connections, which HTTP/2 shares.
//!
//! # Rules
//!
//! RFC 9110 (statuses, Expect, HEAD), RFC 9112 (framing, which is hyper's, and the Host of §3.2),
//! RFC 5929 §4 (the channel binding `tls-server-end-point`).

mod exchange;
mod limits;
mod meter;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use node::Node;
use node::http::{HttpRequest, HttpResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

pub use limits::*;
pub use meter::Meter;

use crate::connection::source;
use crate::{Credentials, Handle, TlsServer};
use meter::Refused;

/// Pause after the system had no descriptor or memory for a connection: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request that has come in whole, within the limits.
#[derive(Debug)]
pub struct WholeRequest {
    /// Its first line and fields. The target begins with `/`, or is an absolute one with a path.
    pub parts: Parts,
    /// The host that it asks, without its port; empty where a client of HTTP/1.0 names none.
    pub host: String,
    /// Its content.
    pub body: Bytes,
    /// Who sent it.
    pub peer: Peer,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// What binds credentials to this connection of TLS: `tls-server-end-point` (RFC 5929 §4), without the prefix. `None` where
    /// the certificate was exchanged during the handshake, or is signed by an algorithm without a hash of its own.
    pub end_point: Option<Arc<[u8]>>,
}

/// Who answers whole requests. Nothing of it need be `Send`: it lives on one thread.
pub trait Answering: 'static {
    /// The answer; an error becomes a status of 503. The future is dropped when [`Limits::answer_timeout`] has passed, or
    /// the client is gone.
    fn answer(&self, request: WholeRequest) -> impl Future<Output = Result<Response<Bytes>, Unanswered>>;
}

/// There is no answer, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is busy, or stops")]
pub struct Unanswered;

/// A node as who answers: how requests become its calls, and its answers responses.
pub struct Service<N: Node> {
    /// The way to the node.
    pub handle: Handle<N>,
    /// Makes the call.
    pub call: fn(HttpRequest) -> N::Call,
    /// Takes the response out of the answer to such a call; any other answer becomes a status of 500 or 503.
    pub answer: fn(N::Answer) -> HttpResponse,
}

/// Serves on all of `listeners` until `stop` is ready. Then nothing new is taken, requests under way are answered, and
/// after at most [`Limits::linger_timeout`] it returns. Runs within a [`tokio::task::LocalSet`] on any thread but the
/// driver's. Errors are those of sockets that cannot be registered with the runtime, and of TLS that cannot be set up.
///
/// The certificate is that of `tls`, also after [`TlsServer::reload`]; connections stay then.
pub async fn serve<S: Answering>(
    listeners: Vec<std::net::TcpListener>,
    tls: &TlsServer,
    service: S,
    limits: Limits,
    meter: Arc<Meter>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let config = tls.http_config().map_err(io::Error::other)?;
    let (stopping, stopped) = watch::channel(false);
    let shared = Rc::new(Shared {
        acceptor: TlsAcceptor::from(config),
        credentials: Arc::clone(tls.credentials()),
        in_flight: Semaphore::new(limits.requests_in_flight_max),
        service,
        limits,
        meter,
        sources: RefCell::default(),
        connections: Cell::new(0),
        body_octets: Cell::new(0),
        one_ended: Notify::new(),
        stopped,
    });
    let mut tasks = Vec::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        tasks.push(tokio::task::spawn_local(accept(Rc::clone(&shared), listener)));
    }
    stop.await;
    for task in tasks {
        task.abort();
    }
    stopping.send_replace(true);
    let ended = async {
        while shared.connections.get() > 0 {
            shared.one_ended.notified().await;
        }
    };
    if timeout(shared.limits.linger_timeout, ended).await.is_err() {
        tracing::debug!(connections = shared.connections.get(), "HTTPS connections are broken off");
    }
    Ok(())
}

/// What all connections share.
struct Shared<S> {
    acceptor: TlsAcceptor,
    credentials: Arc<Credentials>,
    service: S,
    limits: Limits,
    meter: Arc<Meter>,
    in_flight: Semaphore,
    /// Connections of each source; see [`source`].
    sources: RefCell<BTreeMap<IpAddr, u32>>,
    connections: Cell<usize>,
    /// Content that is held, of all requests together.
    body_octets: Cell<usize>,
    one_ended: Notify,
    stopped: watch::Receiver<bool>,
}

async fn accept<S: Answering>(shared: Rc<Shared<S>>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match Place::take(&shared, remote) {
                Ok(place) => {
                    tokio::task::spawn_local(run(stream, place));
                }
                // Whoever is refused here pays with a handshake of TCP, and we with closing it.
                Err(refused) => shared.meter.refused(refused),
            },
            Err(error) => {
                tracing::error!(%error, "HTTPS connections cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection's place among those that are allowed; given back when it is dropped.
struct Place<S> {
    shared: Rc<Shared<S>>,
    remote: SocketAddr,
}

impl<S> Place<S> {
    fn take(shared: &Rc<Shared<S>>, remote: SocketAddr) -> Result<Place<S>, Refused> {
        if shared.connections.get() >= shared.limits.connections_max {
            return Err(Refused::Connections);
        }
        let mut sources = shared.sources.borrow_mut();
        let count = sources.entry(source(remote)).or_default();
        if *count >= shared.limits.connections_per_source_max {
            return Err(Refused::ConnectionsOfSource);
        }
        *count += 1;
        shared.connections.set(shared.connections.get() + 1);
        shared.meter.opened();
        Ok(Place { shared: Rc::clone(shared), remote })
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let mut sources = self.shared.sources.borrow_mut();
        let key = source(self.remote);
        let count = sources.get_mut(&key).expect("a place is counted while it is held");
        *count -= 1;
        if *count == 0 {
            sources.remove(&key);
        }
        self.shared.connections.set(self.shared.connections.get() - 1);
        self.shared.meter.closed();
        self.shared.one_ended.notify_one();
    }
}

/// A connection that is up.
struct Connection<S> {
    place: Place<S>,
    peer: Peer,
    patience: Patience,
}

/// A connection's life, from TCP to its end.
async fn run<S: Answering>(stream: TcpStream, place: Place<S>) {
    let shared = Rc::clone(&place.shared);
    // Answers are small and leave whole: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "an HTTPS connection ended at once");
        return;
    }
    let before = shared.credentials.end_point();
    let stream = match timeout(shared.limits.handshake_timeout, shared.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.meter.refused(Refused::Handshake);
            tracing::debug!(%error, "an HTTPS client did not agree on TLS");
            return;
        }
        Err(_) => return shared.meter.refused(Refused::HandshakeTime),
    };
    // Which of two certificates the client saw cannot be told.
    let end_point = before.filter(|before| shared.credentials.end_point().as_ref() == Some(before));
    let peer = Peer { remote: place.remote, end_point };
    let connection = Rc::new(Connection { patience: Patience::new(shared.limits.idle_timeout), peer, place });
    let service = {
        let connection = Rc::clone(&connection);
        service_fn(move |request| exchange::exchange(Rc::clone(&connection), request))
    };
    let mut http = std::pin::pin!(
        http1::Builder::new()
            // Our own patience covers more: the answer's way out too.
            .header_read_timeout(None)
            .max_buf_size(shared.limits.header_octets_max)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut stopped = shared.stopped.clone();
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = &mut http => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTPS connection failed");
                }
                return;
            }
            () = connection.patience.run_out() => {
                shared.meter.refused(Refused::Idle);
                return;
            }
            _ = stopped.wait_for(|stopped| *stopped), if !is_stopping => {
                is_stopping = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// How long a connection may go on without a whole request header coming in or an answer being ready. Single octets do
/// not prolong it, and it never ends earlier than it was said to.
struct Patience {
    limit: Duration,
    until: Cell<Instant>,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { limit, until: Cell::new(Instant::now() + limit) }
    }

    fn renew(&self) {
        self.until.set(Instant::now() + self.limit);
    }

    async fn run_out(&self) {
        while Instant::now() < self.until.get() {
            sleep_until(self.until.get()).await;
        }
    }
}
