//! A running server, whatever its role: the driver's thread, and the operator's.
//!
//! Two threads: the driver has one to itself, with the node and every SIP connection. The operator's thread has the
//! control socket, metrics, signals, watched files and systemd. They meet in the driver's handle only.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use directory::DomainName;
use net::{
    Bound, ClientCertificates, Driver, Handle, ListenerConfig, Networks, Options, Resolver, ResolverError,
    TlsServer,
};
use node::store::{Store, Submission};
use node::{Node, Side, Transport};
use sd_notify::NotifyState;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backup::Desk;
use crate::config::{Asks, DnsSettings, ListenerSettings, ProcessLimits, Settings};
use crate::control::protocol::{ListenerLine, ServerFacts};
use crate::control::server::{Backend, Clerk, ControlServer};
use crate::directory::Link;
use crate::metrics::ProcessMetrics;
use crate::reload::{self, Mode, ReloadError, Reloaded, Reloader};
use crate::tls::{self, Certificates};

/// Connections that wait to be accepted: monitors are few, and a hundred clients of HTTPS are accepted in a millisecond.
const HTTP_BACKLOG: i32 = 1024;

/// Sockets that are bound already.
pub(crate) struct Sockets {
    pub(crate) sip: Vec<Bound>,
    pub(crate) http: Vec<TcpListener>,
    /// Not empty only where there is a certificate.
    pub(crate) https: Vec<TcpListener>,
    /// Likewise.
    pub(crate) web: Vec<TcpListener>,
}

/// A role as the operator's thread sees it.
pub(crate) trait Operated: Node<Call: Send, Answer: Send> + Sized + 'static {
    /// Waits until it can do what it is there for.
    fn ready(handle: &Handle<Self>) -> impl Future<Output = anyhow::Result<()>>;
    /// A call that changes nothing: a driver that does not answer it hangs.
    fn probe() -> Self::Call;
    /// Who it is on each side, and whom it believes there.
    fn networks(settings: &Settings, certificates: &Certificates) -> anyhow::Result<Networks>;
    /// The call that makes it do what settings say, as far as it can at run time.
    fn configure(settings: &Settings) -> Option<Self::Call>;
    /// Whether [`Operated::configure`]'s call was done.
    fn is_done(answer: &Self::Answer) -> bool;
    /// Who answers administrators. Made on the operator's thread.
    fn clerk(handle: Handle<Self>, facts: Rc<ServerFacts>) -> Rc<dyn Clerk>;
}

/// A server that is ready to run.
pub(crate) struct Server<R: Operated> {
    pub(crate) driver: Driver<R>,
    /// Of metrics and health.
    pub(crate) http: Vec<TcpListener>,
    pub(crate) facts: ServerFacts,
    pub(crate) places: Places,
    /// What `/metrics` shows beside node and driver.
    pub(crate) metrics: ProcessMetrics,
    /// The way to the thread that follows the directory.
    pub(crate) directory: Option<Link>,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// Where the operator's thread works.
pub(crate) struct Places {
    pub(crate) control_socket: PathBuf,
    /// Where the role keeps a database.
    pub(crate) database_dir: Option<PathBuf>,
}

/// What the operator's thread does besides: what a reload means, and what is said when the server is ready.
pub(crate) struct Operator<R> {
    pub(crate) certificates: Certificates,
    /// What else is looked at on disk.
    pub(crate) watched: Vec<Box<dyn Watched<R> + Send>>,
    /// Called when the server does its work.
    pub(crate) on_ready: OnReady,
    /// What SIGHUP and `chancery reload` do; a demo has no configuration.
    pub(crate) reloader: Option<Reloader>,
}

/// Something on disk that is looked at again and again, and taken over when it changed. `settings` are those in force, which a reload
/// may have changed; a demo has none.
pub(crate) trait Watched<R> {
    fn look<'a>(
        &'a mut self,
        handle: &'a Handle<R>,
        certificates: &'a Certificates,
        settings: Option<&'a Settings>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>>
    where
        R: Operated;
}

/// See [`Operator::on_ready`].
pub(crate) type OnReady = Box<dyn FnOnce(&ServerFacts) -> anyhow::Result<()> + Send>;
/// Reloads that wait to be done; administrators are few.
const RELOADS_MAX: usize = 4;

/// The port of HTTPS, where some clients speak SIP over TLS because no firewall is in its way.
const HTTPS_PORT: u16 = 443;

/// Whether a listener asks: where partners or our own servers may come. Over WebSockets and on the port of HTTPS browsers
/// would prompt their users; what else is for users alone, the configuration says.
///
/// COMPAT: linphonec 5 asks for a password when it is asked for a certificate, and takes its next command for the answer.
pub(crate) fn client_certificates(settings: &Settings, listener: &ListenerSettings) -> ClientCertificates {
    let servers_come = listener.side == Side::Outside || !settings.trusted_servers.is_empty();
    match listener.transport {
        Transport::Tls
            if servers_come && listener.asks == Asks::ByPort && listener.address.port() != HTTPS_PORT =>
        {
            ClientCertificates::Ask
        }
        _ => ClientCertificates::Never,
    }
}

/// Binds a configured listener, and says what to do where it cannot.
pub(crate) fn bind(
    listener: &ListenerSettings,
    certificate: Option<&Arc<TlsServer>>,
    client_certificates: ClientCertificates,
) -> Result<Bound, BindError> {
    Bound::bind(&ListenerConfig {
        transport: listener.transport,
        address: listener.address,
        advertised_host: listener.advertised_host.clone(),
        side: listener.side,
        tls: certificate.cloned(),
        client_certificates,
        origins: listener.origins.clone(),
    })
    .map_err(|error| BindError::new(listener.transport.name(), listener.address, error))
}

/// Binds a listener for metrics and health, or for HTTPS. Like those of `net`, an IPv6 one takes IPv6 only.
pub(crate) fn bind_http(name: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(HTTP_BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error| BindError::new(name, address, error))
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {name} {address}: {error}\n  help: {}", self.mend())]
pub(crate) struct BindError {
    name: &'static str,
    address: SocketAddr,
    pub(crate) error: std::io::Error,
}

impl BindError {
    fn new(name: &'static str, address: SocketAddr, error: std::io::Error) -> BindError {
        BindError { name, address, error }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.error.kind() == std::io::ErrorKind::AddrInUse
    }

    /// The machine has no such address, or not this family of addresses.
    pub(crate) fn is_no_address(&self) -> bool {
        self.error.kind() == std::io::ErrorKind::AddrNotAvailable
            || self.error.raw_os_error() == Some(libc::EAFNOSUPPORT)
    }

    pub(crate) fn mend(&self) -> String {
        let port = self.address.port();
        match self.error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(
                    "another program has the port: `ss -lntup 'sport = :{port}'` shows it; stop it, or change the port"
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit"
                    .to_owned()
            }
            _ if self.is_no_address() => {
                format!(
                    "{} is no address of this machine: `ip address` shows those there are",
                    self.address.ip()
                )
            }
            _ => "look at the address and the system's limits".to_owned(),
        }
    }
}

impl<R: Operated> Server<R> {
    /// Runs until a signal ends it.
    pub(crate) fn run(self, operator: Operator<R>) -> anyhow::Result<()> {
        let Server { driver, http, facts, places, metrics, directory, runtime } = self;
        let handle = driver.handle();
        let metrics = Arc::new(metrics);
        let (failed, failure) = std::sync::mpsc::channel();
        let operations = std::thread::Builder::new().name("operator".to_owned()).spawn(move || {
            let ended = operate(&handle, http, &metrics, facts, places, directory, operator);
            // However the operator's side ended, the server does not go on without it.
            if let Err(error) = &ended {
                tracing::error!(event = "operator-failed", "{error:#}");
            }
            // The receiver waits until this thread has ended.
            drop(failed.send(ended));
        });
        let operations = operations.context("no thread can be made")?;
        // Where this fails the operator's thread waits for signals still; the process ends without it.
        runtime.block_on(driver.run()).context("the driver failed")?;
        let ended = failure.recv().unwrap_or_else(|_| Err(anyhow!("the operator's thread panicked")));
        drop(operations.join());
        ended
    }
}

/// The operator's thread.
fn operate<R: Operated>(
    handle: &Handle<R>,
    http: Vec<TcpListener>,
    metrics: &Arc<ProcessMetrics>,
    facts: ServerFacts,
    places: Places,
    directory: Option<Link>,
    operator: Operator<R>,
) -> anyhow::Result<()> {
    let runtime = net::runtime().context("no runtime can be made")?;
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let control = ControlServer::bind(&places.control_socket)?;
        let signals = Signals::new()?;
        for listener in http {
            let listener = tokio::net::TcpListener::from_std(listener).context("the metrics' listener")?;
            let (metrics, alarms) = (Arc::clone(metrics), Arc::clone(metrics));
            let extras = net::http::Extras {
                samples: move |text: &mut net::Exposition| metrics.show(text),
                notes: move || alarms.alarms(),
            };
            tokio::task::spawn_local(net::http::serve_with(listener, handle.clone(), extras));
        }
        let facts = Rc::new(facts);
        let for_control = Rc::clone(&facts);
        let (reload, reloads) = tokio::sync::mpsc::channel(RELOADS_MAX);
        tokio::task::spawn_local({
            let clerk = R::clerk(handle.clone(), for_control);
            let backups = places.database_dir.map(Desk::new);
            let backend = Rc::new(Backend { clerk, reload, backups, directory });
            async move { control.run(backend).await }
        });
        attend(handle, &facts, signals, reloads, operator).await
    });
    // Dropping the tasks removes the control socket before the server stops to answer.
    drop(local);
    notify(&[NotifyState::Stopping]);
    runtime.block_on(handle.shutdown());
    ended
}

/// From readiness to the signal that ends the server.
async fn attend<R: Operated>(
    handle: &Handle<R>,
    facts: &ServerFacts,
    mut signals: Signals,
    mut reloads: tokio::sync::mpsc::Receiver<reload::Request>,
    operator: Operator<R>,
) -> anyhow::Result<()> {
    tokio::select! {
        ready = R::ready(handle) => ready?,
        name = signals.end.received() => {
            tracing::info!(event = "stopping", signal = name, "before it was ready");
            return Ok(());
        }
    }
    let Operator { certificates, watched, on_ready, reloader } = operator;
    on_ready(facts)?;
    let mut files = Files { certificates, reloader, watched };
    notify(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    // Half of what systemd waits, as sd_watchdog_enabled(3) asks.
    let watchdog_interval = watchdog.map_or(Duration::from_secs(3600), |period| period / 2);
    let mut watchdog_ticks = tokio::time::interval(watchdog_interval.max(Duration::from_millis(10)));
    let mut certificate_ticks = tokio::time::interval(tls::POLL_INTERVAL);
    loop {
        tokio::select! {
            name = signals.end.received() => {
                tracing::info!(event = "stopping", signal = name, "in order");
                return Ok(());
            }
            Some(()) = signals.hangup.recv() => {
                // The log says what it came to.
                drop(files.reload(Mode::Apply, handle).await);
                files.look_at_watched(handle).await;
            }
            Some(request) = reloads.recv() => {
                let reloaded = files.reload(request.mode, handle).await;
                if request.mode == Mode::Apply {
                    files.look_at_watched(handle).await;
                }
                // Whoever went away finds it in the log.
                drop(request.answer.send(reloaded));
            }
            _ = certificate_ticks.tick() => {
                files.certificates.poll();
                if let Some(reloader) = &mut files.reloader {
                    reloader.look(&files.certificates, handle).await;
                }
                files.look_at_watched(handle).await;
            }
            _ = watchdog_ticks.tick(), if watchdog.is_some() => {
                // The driver itself must answer, or systemd restarts us.
                if tokio::time::timeout(watchdog_interval, handle.call(R::probe())).await.is_ok_and(|a| a.is_ok()) {
                    notify(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// What can be read again while the server runs.
struct Files<R> {
    certificates: Certificates,
    reloader: Option<Reloader>,
    watched: Vec<Box<dyn Watched<R> + Send>>,
}

impl<R: Operated> Files<R> {
    async fn look_at_watched(&mut self, handle: &Handle<R>) {
        let settings = self.reloader.as_ref().map(Reloader::in_force);
        for watched in &mut self.watched {
            watched.look(handle, &self.certificates, settings).await;
        }
    }

    async fn reload(&mut self, mode: Mode, handle: &Handle<R>) -> Result<Reloaded, ReloadError> {
        let Some(reloader) = &mut self.reloader else {
            if mode == Mode::Apply {
                self.certificates.poll();
            }
            let error = anyhow!("a demo has no configuration; its certificate was looked at");
            return Err(ReloadError::Wrong(error));
        };
        if mode == Mode::DryRun {
            return reloader.reload(mode, &mut self.certificates, handle).await;
        }
        notify(&reloading());
        let reloaded = reloader.reload(mode, &mut self.certificates, handle).await;
        notify(&[NotifyState::Ready]);
        reloaded
    }
}

/// The signals that a server obeys.
struct Signals {
    end: EndSignals,
    hangup: Signal,
}

struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let of = |kind| signal(kind).context("signals cannot be received");
        let end =
            EndSignals { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? };
        Ok(Signals { end, hangup: of(SignalKind::hangup())? })
    }
}

impl EndSignals {
    /// The name of the signal that ends the server.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Ends the server in order, as SIGTERM does, when its standard input ends.
pub(crate) fn stop_when_input_ends() -> anyhow::Result<()> {
    let wait = || {
        // Whatever is read means nothing; that reading ends means all.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        let me = rustix::process::getpid();
        if let Err(error) = rustix::process::kill_process(me, rustix::process::Signal::TERM) {
            tracing::error!(event = "not-stopped", %error, "standard input ended, and the server goes on");
        }
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(wait).context("no thread can be made")?;
    Ok(())
}

/// Lets as many connections be open as the system allows: the soft limit is for programs that use select(2).
pub(crate) fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::warn!(event = "descriptor-limit", %error, "fewer connections can be open than the system allows");
    }
}

pub(crate) fn resolver(dns: &DnsSettings) -> Result<Resolver, ResolverError> {
    let resolver = match dns.servers.as_slice() {
        [] => Resolver::from_system().or_else(|error| {
            tracing::warn!(event = "no-resolver", %error, "names of other domains cannot be resolved");
            Resolver::with_servers(&[])
        }),
        servers => Resolver::with_servers(servers),
    };
    Ok(resolver?.with_hosts(dns.hosts.clone()))
}

pub(crate) fn facts(
    domains: &[DomainName],
    listeners: &[node::Listener],
    sockets: &Sockets,
) -> anyhow::Result<ServerFacts> {
    let line = |role: &str, transport: &str, address: SocketAddr| ListenerLine {
        role: role.to_owned(),
        transport: transport.to_owned(),
        address: address.to_string(),
        port: address.port(),
    };
    let mut lines: Vec<ListenerLine> =
        listeners.iter().map(|l| line("sip", l.transport.name(), l.address)).collect();
    for listener in &sockets.http {
        lines.push(line("metrics", "http", listener.local_addr().context("the metrics' listener")?));
    }
    for listener in &sockets.https {
        lines.push(line("https", "https", listener.local_addr().context("the listener of HTTPS")?));
    }
    for listener in &sockets.web {
        lines.push(line("web", "https", listener.local_addr().context("the listener of the web")?));
    }
    Ok(ServerFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        domains: domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
        listeners: lines,
    })
}

/// Tells systemd; without it nothing happens.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    let abstract_name = std::env::var("NOTIFY_SOCKET").ok().filter(|name| name.starts_with('@'));
    let told = match abstract_name {
        Some(name) => notify_abstract(&name[1..], states),
        None => sd_notify::notify(states),
    };
    if let Err(error) = told {
        tracing::warn!(event = "systemd-not-told", %error, "the service manager was not reached");
    }
}

/// The library connects to paths only; managers in containers, and our demo, name sockets without one (sd_notify(3)).
fn notify_abstract(name: &str, states: &[NotifyState<'_>]) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// `Type=notify-reload` wants the moment of the reload too (sd_notify(3)).
fn reloading() -> Vec<NotifyState<'static>> {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    states
}

/// The driver's bounds, as far as they are configured.
pub(crate) fn options(limits: &ProcessLimits) -> Options {
    Options {
        connections_max: limits.connections_max,
        connections_per_source_max: limits.connections_per_source_max,
        ..Options::standard()
    }
}

/// The store of a role that keeps nothing.
pub(crate) struct NoStore;

impl Store for NoStore {
    type Change = Infallible;
    type Query = Infallible;
    type Rows = Infallible;

    fn submit(&mut self, batch: Vec<Submission<Infallible, Infallible>>) {
        // There is no value of either type to submit.
        assert!(batch.is_empty(), "a role without a store submits nothing");
    }
}

#[cfg(test)]
mod tests;
