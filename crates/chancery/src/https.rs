//! The thread of HTTPS: requests of clients, on their way to the node.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use frontend::FrontEnd;
use frontend::admin::{Answer, Call};
use net::https::{self, Limits, Meter, Service};
use net::{Handle, TlsServer};
use node::http::HttpResponse;
use tokio::sync::oneshot;

/// How much less urgent this thread is than that of SIP, in steps of nice(2): where both want a core, SIP gets three
/// times as much of it.
const NICENESS: i32 = 5;

/// A running thread.
pub(crate) struct HttpsThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl HttpsThread {
    /// Serves on these sockets until it is stopped. Should it fail, SIP goes on, and the log says so.
    pub(crate) fn start(
        handle: Handle<FrontEnd>,
        sockets: Vec<TcpListener>,
        tls: Arc<TlsServer>,
        meter: Arc<Meter>,
    ) -> anyhow::Result<HttpsThread> {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("https".to_owned()).spawn(move || {
            let service = Service { handle, call: |request| Call::Http(Box::new(request)), answer: response };
            // Whether it was told to stop or who could tell it is gone is all the same.
            let stop = async { drop(stopped.await) };
            if let Err(error) = run(https::serve(sockets, &tls, service, Limits::standard(), meter, stop)) {
                tracing::error!(event = "https-failed", "clients get nothing over HTTPS: {error:#}");
            }
        });
        Ok(HttpsThread { stop, thread: thread.context("no thread can be made")? })
    }

    /// Takes nothing new, lets what is under way end, and returns.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!(event = "https-failed", "the thread of HTTPS panicked");
        }
    }
}

fn run(serve: impl Future<Output = std::io::Result<()>>) -> anyhow::Result<()> {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(event = "https-priority", %error, "HTTPS is as urgent as SIP");
    }
    let runtime = net::runtime().context("no runtime can be made")?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, serve)?)
}

fn response(answer: Answer) -> HttpResponse {
    match answer {
        Answer::Http(response) => response,
        other => {
            tracing::error!(event = "https-answer", answer = ?other, "the node answered something else");
            HttpResponse::empty(500)
        }
    }
}
