//! The thread of the web: listener, limits, and what every answer bears.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Request, Response};
use frontend::FrontEnd;
use net::https::{self, Answering, Limits, Unanswered, WholeRequest};
use net::{Handle, TlsServer};
use node::{Instant, RequestId};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::book::Wishes;
use super::journal::Refusals;
use super::office::Office;
use super::problem::Told;
use super::router::router;
use super::settings::Settings;
use crate::config;
use crate::server::Watched;
use crate::tls::Certificates;

/// How much less urgent this thread is than that of SIP, in steps of nice(2); as the other thread of HTTPS.
const NICENESS: i32 = 5;
/// Most octets of a request's header: a Kerberos ticket of somebody in very many groups takes 64,000 characters.
const HEADER_OCTETS_MAX: usize = 80 * 1024;
/// How long an answer may take: a password whose turn comes late, at a directory that answers late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a connection may be idle, or take over a request: not less than all of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Most requests at once. They wait for others more than they work: refused passwords for their moment, questions for the
/// directory.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// What every answer bears, unless it says otherwise itself.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // There is nothing here to be shown, run or framed.
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // RFC 6797 §6.1: a year. Nothing of this host is served in clear to people.
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
];
/// Names a request, in the answer as in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Limits of the listener.
pub(super) fn limits() -> Limits {
    Limits {
        header_octets_max: HEADER_OCTETS_MAX,
        answer_timeout: ANSWER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        ..Limits::standard()
    }
}

/// Who sent a request, and its name.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) id: RequestId,
    pub(super) remote: SocketAddr,
    /// The host that it asks.
    pub(super) host: String,
    end_point: Option<Arc<[u8]>>,
}

impl Peer {
    pub(super) fn source(&self) -> IpAddr {
        self.remote.ip()
    }

    /// The channel binding of its connection; see [`net::https::Peer::end_point`].
    pub(super) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }
}

/// A running thread.
pub(crate) struct WebThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl WebThread {
    /// Serves on these sockets until it is stopped. Should it fail, SIP goes on, and the log says so.
    pub(crate) fn start(
        office: Arc<Office>,
        sockets: Vec<TcpListener>,
        tls: Arc<TlsServer>,
    ) -> anyhow::Result<WebThread> {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
            // Whether it was told to stop or who could tell it is gone is all the same.
            let stop = async { drop(stopped.await) };
            if let Err(error) = run(office, sockets, &tls, stop) {
                tracing::error!(event = "web-failed", "nobody signs in over the web: {error:#}");
            }
        });
        Ok(WebThread { stop, thread: thread.context("no thread can be made")? })
    }

    /// Takes nothing new, lets what is under way end, and returns.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!(event = "web-failed", "the thread of the web panicked");
        }
    }
}

fn run(
    office: Arc<Office>,
    sockets: Vec<TcpListener>,
    tls: &TlsServer,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(event = "web-priority", %error, "the web is as urgent as SIP");
    }
    let runtime = net::runtime().context("no runtime can be made")?;
    let meter = Arc::clone(&office.meter.connections);
    let serving = https::serve(sockets, tls, Web::new(Arc::clone(&office)), limits(), meter, stop);
    let following = {
        let office = Arc::clone(&office);
        async move { office.shelf.follow(&office.accounts, || office.wall_unix_ms()).await }
    };
    let both = async {
        tokio::select! {
            served = serving => served,
            () = following => unreachable!("it ends never"),
        }
    };
    Ok(tokio::task::LocalSet::new().block_on(&runtime, both)?)
}

/// Brings what a reload changed of `[sign_in]` to the office.
pub(crate) struct Follower(pub(crate) Arc<Office>);

impl Watched<FrontEnd> for Follower {
    fn look<'a>(
        &'a mut self,
        _: &'a Handle<FrontEnd>,
        _: &'a Certificates,
        settings: Option<&'a config::Settings>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        if let Some(settings) = settings {
            self.0.configure(Settings::of(settings), Wishes::of(settings));
        }
        Box::pin(std::future::ready(()))
    }
}

/// Who answers the listener.
pub(super) struct Web {
    router: Router,
    office: Arc<Office>,
    refusals: Refusals,
    requests: AtomicU64,
    started: tokio::time::Instant,
}

impl Web {
    pub(super) fn new(office: Arc<Office>) -> Web {
        let (router, _) = router(&office);
        Web {
            router,
            office,
            refusals: Refusals::default(),
            requests: AtomicU64::new(0),
            started: tokio::time::Instant::now(),
        }
    }
}

impl Answering for Web {
    async fn answer(&self, request: WholeRequest) -> Result<Response<Bytes>, Unanswered> {
        let WholeRequest { parts, host, body, peer } = request;
        let id = RequestId(self.requests.fetch_add(1, Relaxed) + 1);
        let peer = Peer { id, remote: peer.remote, host, end_point: peer.end_point };
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(peer.clone());
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (mut parts, body) = response.into_parts();
        if let Some(told) = parts.extensions.get::<Told>() {
            self.office.meter.problem(told.kind);
            let now = Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
            self.refusals.told(now, &peer, &method, &path, told);
        }
        self.office.meter.guarded(self.office.counted());
        complete(&mut parts.headers, id);
        // All content is in memory already: this only takes it out.
        let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| {
            tracing::error!(event = "web-failed", %error, "an answer broke off");
            Unanswered
        })?;
        Ok(Response::from_parts(parts, body))
    }
}

fn complete(headers: &mut HeaderMap, id: RequestId) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    let id = HeaderValue::try_from(id.to_string()).expect("an id is a word");
    headers.insert(REQUEST_ID, id);
}
