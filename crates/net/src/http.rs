//! A small HTTP/1.1 listener for monitors: `/metrics` (Prometheus) and `/health`.
//!
//! It asks for no password: bind it to loopback ([`default_address`]) or to a management network.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use node::Node;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::{Exposition, Handle};

/// Connections at one time; monitors keep one each.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's header may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the driver may take to answer before it counts as unhealthy: a turn takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest request header; hyper takes no less.
const HEADER_OCTETS_MAX: usize = 8192;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Loopback, where only this machine's monitor reaches it.
pub fn default_address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Serves until it is dropped. Runs within a [`tokio::task::LocalSet`], on the driver's thread or another.
pub async fn serve<N: Node + 'static>(listener: TcpListener, handle: Handle<N>) -> io::Result<Infallible> {
    serve_with(listener, handle, Extras { samples: |_: &mut Exposition| {}, notes: Vec::new }).await
}

/// What the process adds to the answers.
pub struct Extras<S, H> {
    /// Further samples (of the process, of storage) for `/metrics`. Their names are not those of the node or of the driver.
    pub samples: S,
    /// What somebody should look at although the server does its work, for `/health`: a line each.
    pub notes: H,
}

/// Like [`serve`], with more in each answer.
pub async fn serve_with<N: Node + 'static>(
    listener: TcpListener,
    handle: Handle<N>,
    extras: Extras<impl Fn(&mut Exposition) + 'static, impl Fn() -> Vec<String> + 'static>,
) -> io::Result<Infallible> {
    let handle = Rc::new(handle);
    let more: Rc<AnyExtras> =
        Rc::new(Extras { samples: Box::new(extras.samples), notes: Box::new(extras.notes) });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "monitors cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (handle, more) = (Rc::clone(&handle), Rc::clone(&more));
        tokio::task::spawn_local(async move {
            let _place = place;
            let service = service_fn(|request| answer(Rc::clone(&handle), Rc::clone(&more), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEADER_OCTETS_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a monitor's connection failed");
            }
        });
    }
}

type AnyExtras = Extras<Box<dyn Fn(&mut Exposition)>, Box<dyn Fn() -> Vec<String>>>;

async fn answer<N: Node>(
    handle: Rc<Handle<N>>,
    more: Rc<AnyExtras>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    let path = request.uri().path();
    if path != "/metrics" && path != "/health" {
        return Ok(plain(StatusCode::NOT_FOUND, "there are /metrics and /health\n".into()));
    }
    let metrics = tokio::time::timeout(ANSWER_TIMEOUT, handle.metrics()).await;
    Ok(match metrics {
        Ok(Ok(text)) if path == "/metrics" => {
            let mut others = Exposition::default();
            (more.samples)(&mut others);
            plain(StatusCode::OK, text + &others.finish())
        }
        Ok(Ok(_)) => {
            let notes = (more.notes)().into_iter().map(|note| format!("alarm: {note}\n"));
            plain(StatusCode::OK, ["ok\n".to_owned()].into_iter().chain(notes).collect())
        }
        Ok(Err(error)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the server does not answer\n".into()),
    })
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
