//! Putting a server together: sockets, storage, the node, its driver; and the operator's side of it.
//!
//! Two threads: the driver has one to itself, with the node and every SIP connection. The operator's thread has the
//! control socket, metrics, signals, the certificate's files and systemd. They meet in the driver's handle only.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use directory::DomainName;
use frontend::admin::{Answer, Call, Refusal};
use frontend::{AuthenticationPolicy, Config, FrontEnd, MessagingLimits, RegistrationLimits};
use net::{Bound, Driver, Handle, ListenerConfig, Options, Resolver, ResolverError, TlsServer};
use node::Side;
use sd_notify::NotifyState;
use socket2::{Domain, Protocol, Socket, Type};
use storage::{Meter, Sqlite};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backup::Desk;
use crate::config::{ListenerSettings, ProcessLimits, TlsSettings};
use crate::control::protocol::{ListenerLine, ServerFacts};
use crate::control::server::{Backend, Caller, ControlServer};
use crate::https::HttpsThread;
use crate::locate::DATABASE;
use crate::metrics::ProcessMetrics;
use crate::reload::{self, Mode, ReloadError, Reloaded, Reloader};
use crate::tls::{self, Certificate};
use crate::{files, offline, secrets};

/// How often a starting server is asked whether it has loaded its users.
const READY_POLL: Duration = Duration::from_millis(5);
/// How often systemd is told how long loading still takes, and for how long at most that is believed.
const START_EXTENSION: Duration = Duration::from_secs(30);

/// Connections that wait to be accepted: monitors are few, and a hundred clients of HTTPS are accepted in a millisecond.
const HTTP_BACKLOG: i32 = 1024;

/// What a server is made of.
pub(crate) struct Plan {
    pub(crate) domains: Vec<DomainName>,
    pub(crate) aliases: Vec<String>,
    pub(crate) registration: RegistrationLimits,
    pub(crate) authentication: AuthenticationPolicy,
    pub(crate) messaging: MessagingLimits,
    pub(crate) calls: frontend::CallPolicy,
    pub(crate) limits: ProcessLimits,
    /// Empty for those of the system.
    pub(crate) dns_servers: Vec<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) control_socket: PathBuf,
    pub(crate) authority_file: Option<PathBuf>,
}

/// Sockets that are bound already.
pub(crate) struct Sockets {
    pub(crate) sip: Vec<Bound>,
    pub(crate) http: Vec<TcpListener>,
    /// Not empty only where there is a certificate.
    pub(crate) https: Vec<TcpListener>,
}

/// A server that is ready to run.
pub(crate) struct Server {
    driver: Driver<FrontEnd>,
    sockets: Vec<TcpListener>,
    https: Vec<TcpListener>,
    facts: ServerFacts,
    places: Places,
    storage: Meter,
    runtime: tokio::runtime::Runtime,
}

/// Where the operator's thread works.
struct Places {
    control_socket: PathBuf,
    data_dir: PathBuf,
}

/// What the operator's thread does besides: what a reload means, and what is said when the server is ready.
pub(crate) struct Operator {
    pub(crate) certificate: Option<Certificate>,
    /// Called when the users are loaded.
    pub(crate) on_ready: OnReady,
    /// What SIGHUP and `chancery reload` do; a demo has no configuration.
    pub(crate) reloader: Option<Reloader>,
}

/// See [`Operator::on_ready`].
pub(crate) type OnReady = Box<dyn FnOnce(&ServerFacts) -> anyhow::Result<()> + Send>;
/// Reloads that wait to be done; administrators are few.
const RELOADS_MAX: usize = 4;

/// Binds a configured listener, and says what to do where it cannot.
pub(crate) fn bind(
    listener: &ListenerSettings,
    certificate: Option<&Arc<TlsServer>>,
) -> Result<Bound, BindError> {
    Bound::bind(&ListenerConfig {
        transport: listener.transport,
        address: listener.address,
        advertised_host: listener.advertised_host.clone(),
        side: Side::Inside,
        tls: certificate.cloned(),
        origins: listener.origins.clone(),
    })
    .map_err(|error| BindError::new(listener.transport.name(), listener.address, error))
}

/// The name that SIP listeners advertise, and the port of HTTPS: where clients reach their documents.
fn xcap_root(listeners: &[node::Listener], sockets: &Sockets) -> anyhow::Result<String> {
    let host = listeners.first().map_or("localhost", |listener| &listener.advertised_host);
    let address = sockets.https.first().map(TcpListener::local_addr).transpose();
    let address = address.context("a socket does not know its address")?;
    Ok(match address.map(|address| address.port()) {
        None | Some(443) => format!("https://{host}/xcap/"),
        Some(port) => format!("https://{host}:{port}/xcap/"),
    })
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

impl Server {
    /// Opens storage and puts everything together. Sockets are open already, so connections wait from now on.
    pub(crate) fn assemble(plan: Plan, sockets: Sockets) -> anyhow::Result<Server> {
        files::create_secret_dir(&plan.data_dir)?;
        let secret = secrets::server_secret(&plan.data_dir)?;
        let (sink, completions) = net::completion_channel();
        let database = plan.data_dir.join(DATABASE);
        let storage = Sqlite::open(&database, storage::Options::default(), sink)
            .map_err(|error| offline::explain(&database, error))?;
        let meter = storage.meter();
        let listeners: Vec<node::Listener> =
            sockets.sip.iter().map(|bound| bound.listener().clone()).collect();
        let facts = facts(&plan.domains, &listeners, &sockets)?;
        let xcap_root = xcap_root(&listeners, &sockets)?;
        let node = FrontEnd::new(Config {
            domains: plan.domains,
            listeners,
            aliases: plan.aliases,
            xcap_root,
            registration: plan.registration,
            authentication: plan.authentication,
            messaging: plan.messaging,
            presence: frontend::PresencePolicy::default(),
            calls: plan.calls,
            transactions_max: plan.limits.transactions_max,
            secret,
            seed: secrets::random()?,
        });
        let client = tls::client(plan.authority_file.as_deref())?;
        let runtime = net::runtime().context("no runtime can be made")?;
        let driver = {
            // Sockets and resolvers register with the runtime that they are made in.
            let _inside = runtime.enter();
            let resolver = resolver(&plan.dns_servers).context("no resolver can be made")?;
            let options = Options {
                connections_max: plan.limits.connections_max,
                connections_per_source_max: plan.limits.connections_per_source_max,
                ..Options::standard()
            };
            Driver::new(node, sockets.sip, Box::new(storage), completions, resolver, client, options)
        };
        Ok(Server {
            driver,
            sockets: sockets.http,
            https: sockets.https,
            facts,
            places: Places { control_socket: plan.control_socket, data_dir: plan.data_dir },
            storage: meter,
            runtime,
        })
    }

    /// Runs until a signal ends it.
    pub(crate) fn run(self, operator: Operator) -> anyhow::Result<()> {
        let Server { driver, sockets, https, facts, places, storage, runtime } = self;
        let handle = driver.handle();
        let certificate_end = operator.certificate.as_ref().map(Certificate::end).unwrap_or_default();
        let https_meter = (!https.is_empty()).then(Arc::<net::https::Meter>::default);
        let https = match (&operator.certificate, &https_meter) {
            (Some(certificate), Some(meter)) => {
                let (tls, meter) = (certificate.server(), Arc::clone(meter));
                Some(HttpsThread::start(handle.clone(), https, tls, meter)?)
            }
            _ => None,
        };
        let metrics = Arc::new(ProcessMetrics { storage, certificate_end, https: https_meter });
        let (failed, failure) = std::sync::mpsc::channel();
        let operations = std::thread::Builder::new().name("operator".to_owned()).spawn(move || {
            let ended = operate(&handle, sockets, &metrics, facts, places, operator);
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
        if let Some(https) = https {
            https.stop();
        }
        ended
    }
}

/// The operator's thread.
fn operate(
    handle: &Handle<FrontEnd>,
    http: Vec<TcpListener>,
    metrics: &Arc<ProcessMetrics>,
    facts: ServerFacts,
    places: Places,
    operator: Operator,
) -> anyhow::Result<()> {
    let runtime = net::runtime().context("no runtime can be made")?;
    let local = tokio::task::LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let control = ControlServer::bind(&places.control_socket)?;
        let signals = Signals::new()?;
        for listener in http {
            let listener = tokio::net::TcpListener::from_std(listener).context("the metrics' listener")?;
            let metrics = Arc::clone(metrics);
            let more = move |text: &mut net::Exposition| metrics.show(text);
            tokio::task::spawn_local(net::http::serve_with(listener, handle.clone(), more));
        }
        let facts = Rc::new(facts);
        let for_control = Rc::clone(&facts);
        let (reload, reloads) = tokio::sync::mpsc::channel(RELOADS_MAX);
        tokio::task::spawn_local({
            let (node, backups) = (caller(handle.clone()), Desk::new(places.data_dir));
            let backend = Rc::new(Backend { node, reload, facts: for_control, backups });
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
async fn attend(
    handle: &Handle<FrontEnd>,
    facts: &ServerFacts,
    mut signals: Signals,
    mut reloads: tokio::sync::mpsc::Receiver<reload::Request>,
    operator: Operator,
) -> anyhow::Result<()> {
    tokio::select! {
        loaded = loaded(handle) => loaded?,
        name = signals.end.received() => {
            tracing::info!(event = "stopping", signal = name, "before the users were loaded");
            return Ok(());
        }
    }
    let Operator { certificate, on_ready, reloader } = operator;
    on_ready(facts)?;
    let mut files = Files { certificate, reloader };
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
            }
            Some(request) = reloads.recv() => {
                let reloaded = files.reload(request.mode, handle).await;
                // Whoever went away finds it in the log.
                drop(request.answer.send(reloaded));
            }
            _ = certificate_ticks.tick() => {
                if let Some(certificate) = &mut files.certificate {
                    certificate.poll();
                }
            }
            _ = watchdog_ticks.tick(), if watchdog.is_some() => {
                // The driver itself must answer, or systemd restarts us.
                if tokio::time::timeout(watchdog_interval, handle.call(Call::Status)).await.is_ok_and(|a| a.is_ok()) {
                    notify(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// What can be read again while the server runs.
struct Files {
    certificate: Option<Certificate>,
    reloader: Option<Reloader>,
}

impl Files {
    async fn reload(&mut self, mode: Mode, handle: &Handle<FrontEnd>) -> Result<Reloaded, ReloadError> {
        let Some(reloader) = &mut self.reloader else {
            if let (Mode::Apply, Some(certificate)) = (mode, &mut self.certificate) {
                certificate.poll();
            }
            let error = anyhow!("a demo has no configuration; its certificate was looked at");
            return Err(ReloadError::Wrong(error));
        };
        if mode == Mode::DryRun {
            return reloader.reload(mode, self.certificate.as_mut(), handle).await;
        }
        notify(&reloading());
        let reloaded = reloader.reload(mode, self.certificate.as_mut(), handle).await;
        notify(&[NotifyState::Ready]);
        reloaded
    }
}

/// Waits until the node has loaded its users.
async fn loaded(handle: &Handle<FrontEnd>) -> anyhow::Result<()> {
    let mut extended = tokio::time::Instant::now();
    loop {
        let probe = Call::ListUsers { containing: None, after: None, limit: 1 };
        match handle.call(probe).await.context("the server stopped while it started")? {
            Answer::Refused(Refusal::Starting) => {
                if extended.elapsed() > START_EXTENSION / 2 {
                    extended = tokio::time::Instant::now();
                    let micros = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
                    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
                }
                tokio::time::sleep(READY_POLL).await;
            }
            _ => return Ok(()),
        }
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

/// Lets as many connections be open as the system allows: the soft limit is for programs that use select(2).
pub(crate) fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::warn!(event = "descriptor-limit", %error, "fewer connections can be open than the system allows");
    }
}

pub(crate) fn resolver(servers: &[SocketAddr]) -> Result<Resolver, ResolverError> {
    if !servers.is_empty() {
        return Resolver::with_servers(servers);
    }
    Resolver::from_system().or_else(|error| {
        tracing::warn!(event = "no-resolver", %error, "names of other domains cannot be resolved");
        Resolver::with_servers(&[])
    })
}

fn caller(handle: Handle<FrontEnd>) -> Caller {
    Rc::new(move |call| {
        let handle = handle.clone();
        Box::pin(async move { handle.call(call).await.ok() })
    })
}

fn facts(
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
    Ok(ServerFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        domains: domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
        listeners: lines,
    })
}

/// Tells systemd; without it nothing happens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "systemd-not-told", %error, "the service manager was not reached");
    }
}

/// `Type=notify-reload` wants the moment of the reload too (sd_notify(3)).
fn reloading() -> Vec<NotifyState<'static>> {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    states
}

/// What was bound of the settings' files.
pub(crate) fn load_certificate(files: Option<&TlsSettings>) -> anyhow::Result<Option<Certificate>> {
    files.map(Certificate::load).transpose()
}
