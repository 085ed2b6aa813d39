//! A node that shows what it is told, a store that answers at once, and a driver for both on a thread of its own.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use net::{
    Bound, ClientCertificates, CompletionReceiver, Driver, Handle, ListenerConfig, Network, Networks,
    Options, Resolver, TlsServer, completion_channel,
};
use node::http::{HttpRequest, HttpResponse};
use node::store::{Completion, CompletionSink, Outcome, PersistToken, Store, Submission, Urgency};
use node::{
    Anchors, Answers, CloseReason, ConnectError, ConnectTarget, ConnectToken, ConnectionId, Flow, Input,
    Instant, Metric, MetricKind, Node, Now, Output, Peer, Question, ResolveError, ResolveToken, Side,
    Transport,
};
use pki::Trust;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing here takes as long, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connected(ConnectionId, Peer, Option<ConnectToken>),
    ConnectFailed(ConnectToken, ConnectError),
    Closed(ConnectionId, CloseReason),
    Received(Flow, Bytes),
    Unframed(ConnectionId, Bytes, u16),
    Ping(ConnectionId),
    Resolved(ResolveToken, Result<Answers, ResolveError>),
    Persisted(PersistToken),
    Timer(Now),
}

/// What a test has the node do.
#[derive(Debug)]
pub(crate) enum Command {
    Send(Flow, Bytes),
    Connect(ConnectToken, ConnectTarget),
    Close(ConnectionId),
    Resolve(ResolveToken, Question),
    Persist(Vec<u64>),
    /// A timer in so many milliseconds.
    Timer(u64),
    /// Holds up the driver's thread, once it has said so, until the other end is dropped: much is ready when it goes on.
    Hold(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>),
    /// Answered with what was asked; `/silent` is never answered, and the answer to `/wrong` is no HTTP.
    Http(HttpRequest),
    /// Never answered.
    Ignore,
}

/// Sends every MESSAGE back, answers pings, and answers what cannot be framed with its status.
pub(crate) struct Probe {
    seen: mpsc::UnboundedSender<Seen>,
    outputs: VecDeque<Output<Probe>>,
    deadline: Option<Instant>,
}

impl Node for Probe {
    type Change = u64;
    type Query = ();
    type Rows = ();
    type Call = Command;
    type Answer = Option<HttpResponse>;

    fn handle(&mut self, now: Now, input: Input<Probe>) {
        let seen = match input {
            Input::Connected { connection, peer, token } => Seen::Connected(connection, peer, token),
            Input::ConnectFailed { token, error } => Seen::ConnectFailed(token, error),
            Input::Closed { connection, reason } => Seen::Closed(connection, reason),
            Input::Received { flow, bytes } => {
                assert!(!bytes.starts_with(b"BREAK"), "an invariant is broken, as the test asked");
                if bytes.starts_with(b"MESSAGE") {
                    self.outputs.push_back(Output::Send { flow, bytes: bytes.clone() });
                }
                Seen::Received(flow, bytes)
            }
            Input::Unframed { connection, bytes, status, .. } => {
                let answer = format!("SIP/2.0 {status} No\r\nContent-Length: 0\r\n\r\n");
                self.outputs
                    .push_back(Output::Send { flow: Flow::Connection(connection), bytes: answer.into() });
                Seen::Unframed(connection, bytes, status)
            }
            Input::Ping { connection } => {
                let bytes = Bytes::from_static(b"\r\n");
                self.outputs.push_back(Output::Send { flow: Flow::Connection(connection), bytes });
                Seen::Ping(connection)
            }
            Input::Resolved { token, answer } => Seen::Resolved(token, answer),
            Input::Persisted { token, .. } => Seen::Persisted(token),
            Input::PersistFailed { .. } | Input::Rows { .. } => unreachable!("the test's store does not"),
            Input::Called { token, call } => {
                match call {
                    Command::Send(flow, bytes) => self.outputs.push_back(Output::Send { flow, bytes }),
                    Command::Connect(token, target) => {
                        self.outputs.push_back(Output::Connect { token, target })
                    }
                    Command::Close(connection) => self.outputs.push_back(Output::Close { connection }),
                    Command::Resolve(token, question) => {
                        self.outputs.push_back(Output::Resolve { token, question })
                    }
                    Command::Persist(changes) => {
                        self.outputs.extend(changes.into_iter().map(|change| Output::Persist {
                            token: PersistToken(change),
                            change,
                            urgency: Urgency::Now,
                        }));
                    }
                    Command::Timer(ms) => self.deadline = Some(now.monotonic + Duration::from_millis(ms)),
                    Command::Hold(held, release) => {
                        held.send(()).expect("the test waits for it");
                        assert!(release.recv().is_err(), "nothing is sent");
                    }
                    Command::Http(request) if request.path() == "/silent" => return,
                    Command::Http(request) => {
                        let answer = Some(echo(&request));
                        return self.outputs.push_back(Output::Answer { token, answer });
                    }
                    Command::Ignore => return,
                }
                return self.outputs.push_back(Output::Answer { token, answer: None });
            }
            Input::Timer => {
                assert!(
                    self.deadline.take().is_some_and(|at| at <= now.monotonic),
                    "a timer before its time"
                );
                Seen::Timer(now)
            }
        };
        // A test that has seen enough does not listen any more.
        drop(self.seen.send(seen));
    }

    fn poll_output(&mut self) -> Option<Output<Probe>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn visit_metrics(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let labels = [("kind", "test")];
        let kind = MetricKind::Gauge;
        visit(Metric { name: "chancery_probe", help: "A sample", kind, labels: &labels, value: 7.0 });
    }
}

fn echo(request: &HttpRequest) -> HttpResponse {
    let HttpRequest { method, target, host, body, is_secure, .. } = request;
    let text = format!("{method} {target} at {host}, {} octets, secure: {is_secure}", body.len());
    match request.path() {
        "/wrong" => HttpResponse::new(200, "text/plain", text).with("bad name", "a\r\nb"),
        _ => HttpResponse::new(200, "text/plain", text).with("etag", "\"1\""),
    }
}

/// Completes at once, and shows the size of each batch.
pub(crate) struct InstantStore {
    sink: CompletionSink<()>,
    batches: mpsc::UnboundedSender<usize>,
}

impl Store for InstantStore {
    type Change = u64;
    type Query = ();
    type Rows = ();

    fn submit(&mut self, batch: Vec<Submission<u64, ()>>) {
        // A test that has seen enough does not listen any more.
        let _gone = self.batches.send(batch.len());
        (self.sink)(
            batch
                .into_iter()
                .map(|submission| match submission {
                    Submission::Persist { token, .. } => {
                        Completion::Persisted { token, outcome: Outcome::Applied }
                    }
                    Submission::Query { token, .. } => Completion::Rows { token, rows: Ok(()) },
                })
                .collect(),
        );
    }
}

pub(crate) struct Server {
    pub(crate) handle: Handle<Probe>,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    pub(crate) batches: mpsc::UnboundedReceiver<usize>,
    pub(crate) addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) listeners: Vec<ListenerConfig>,
    pub(crate) options: Option<Options>,
    pub(crate) dns: Vec<SocketAddr>,
    pub(crate) networks: Option<Networks>,
}

impl Setup {
    pub(crate) fn listen(transport: Transport) -> Setup {
        Setup { listeners: vec![listener(transport, Ipv4Addr::LOCALHOST.into())], ..Setup::default() }
    }

    pub(crate) fn listen_tls(transport: Transport, tls: &Arc<TlsServer>) -> Setup {
        let mut setup = Setup::listen(transport);
        setup.listeners[0].tls = Some(Arc::clone(tls));
        setup
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Setup {
        change(self.options.get_or_insert_with(Options::standard));
        self
    }

    pub(crate) fn start(self) -> Server {
        let bound: Vec<Bound> =
            self.listeners.iter().map(|l| Bound::bind(l).expect("loopback has free ports")).collect();
        let addresses = bound.iter().map(|b| b.listener().address).collect();
        let (sender, seen) = mpsc::unbounded_channel();
        let (batch_sender, batches) = mpsc::unbounded_channel();
        let (handle_sender, handle) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = net::runtime().expect("a runtime starts");
            let (sink, completions): (_, CompletionReceiver<()>) = completion_channel();
            let store = Box::new(InstantStore { sink, batches: batch_sender });
            let probe = Probe { seen: sender, outputs: VecDeque::new(), deadline: None };
            let resolver = Resolver::with_servers(&self.dns).expect("a resolver is made");
            let options = self.options.unwrap_or_else(Options::standard);
            let strangers = || Networks::inside_only(Network::of_strangers());
            let networks = self.networks.unwrap_or_else(strangers);
            let driver = Driver::new(probe, bound, store, completions, resolver, networks, options);
            handle_sender.send(driver.handle()).expect("the test waits for it");
            runtime.block_on(driver.run()).expect("the driver runs");
        });
        let handle = handle.recv().expect("the driver is made");
        Server { handle, seen, batches, addresses, thread: Some(thread) }
    }
}

pub(crate) fn listener(transport: Transport, ip: IpAddr) -> ListenerConfig {
    let advertised_host = "localhost".to_owned();
    ListenerConfig {
        transport,
        address: (ip, 0).into(),
        advertised_host,
        side: Side::Inside,
        tls: None,
        client_certificates: ClientCertificates::Never,
        origins: Vec::new(),
    }
}

impl Server {
    pub(crate) async fn next(&mut self) -> Seen {
        patient(self.seen.recv()).await.expect("the driver runs")
    }

    pub(crate) async fn connected(&mut self) -> (ConnectionId, Peer) {
        match self.next().await {
            Seen::Connected(id, peer, _) => (id, peer),
            other => panic!("no connection but {other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) -> (ConnectionId, CloseReason) {
        match self.next().await {
            Seen::Closed(id, reason) => (id, reason),
            other => panic!("not closed but {other:?}"),
        }
    }

    pub(crate) async fn received(&mut self) -> (Flow, Bytes) {
        match self.next().await {
            Seen::Received(flow, bytes) => (flow, bytes),
            other => panic!("no message but {other:?}"),
        }
    }

    pub(crate) async fn command(&self, command: Command) {
        patient(self.handle.call(command)).await.expect("the driver runs");
    }

    pub(crate) async fn metric(&self, line_start: &str) -> f64 {
        let text = patient(self.handle.metrics()).await.expect("the driver runs");
        let line = text
            .lines()
            .find(|l| l.starts_with(line_start))
            .unwrap_or_else(|| panic!("no {line_start}: {text}"));
        line.rsplit(' ').next().expect("a line has a value").parse().expect("a value is a number")
    }

    /// How the driver's thread ended, by itself.
    pub(crate) async fn end(mut self) -> std::thread::Result<()> {
        let thread = self.thread.take().expect("stopped once");
        patient(tokio::task::spawn_blocking(|| thread.join())).await.expect("joining does not panic")
    }

    pub(crate) async fn stop(mut self) -> mpsc::UnboundedReceiver<Seen> {
        patient(self.handle.shutdown()).await;
        self.thread.take().expect("stopped once").join().expect("the driver does not panic");
        std::mem::replace(&mut self.seen, mpsc::unbounded_channel().1)
    }
}

pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it does not hang")
}

/// A message of the given body.
pub(crate) fn message(body: &str) -> Vec<u8> {
    format!("MESSAGE sip:bob@example.com SIP/2.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(crate) async fn write(stream: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) {
    patient(stream.write_all(octets)).await.expect("the server reads");
    patient(stream.flush()).await.expect("the server reads");
}

pub(crate) async fn expect(stream: &mut (impl AsyncReadExt + Unpin), octets: &[u8]) {
    let mut buffer = vec![0; octets.len()];
    patient(stream.read_exact(&mut buffer)).await.expect("the server answers");
    assert_eq!(String::from_utf8_lossy(&buffer), String::from_utf8_lossy(octets));
}

/// Reads until the server's end, which may be a reset.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = patient(stream.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..length]);
    }
    all
}

/// A certificate authority of the test's own.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are legal names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("keys are made"));
        Authority { issuer: issuer.expect("an authority is made") }
    }

    pub(crate) fn roots(&self) -> String {
        self.issuer.pem()
    }

    /// Chain and key, PEM.
    pub(crate) fn issue(&self, names: &[&str]) -> (String, String) {
        self.issue_with(names, |_| {})
    }

    /// Like [`Authority::issue`]; names with a colon are URIs.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let key = KeyPair::generate().expect("keys are made");
        let mut params = CertificateParams::new(names).expect("the names are legal");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("it is ASCII")));
        params.subject_alt_names.extend(uris);
        change(&mut params);
        (params.signed_by(&key, &self.issuer).expect("it signs").pem(), key.serialize_pem())
    }

    /// A list that revokes a serial number.
    pub(crate) fn crl(&self, serial: u64) -> String {
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2400, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it signs").pem().expect("it is written")
    }

    pub(crate) fn server(&self, names: &[&str]) -> Arc<TlsServer> {
        let (chain, key) = self.issue(names);
        Arc::new(TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).expect("the certificate is good"))
    }

    /// Believes this authority's servers.
    pub(crate) fn client(&self) -> Networks {
        let trust = Trust::builder().anchors(Anchors::Servers, self.roots().as_bytes());
        Networks::inside_only(Network::new(Arc::new(trust.expect("the roots are good").build())))
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.roots().as_bytes()).expect("it is PEM");
        roots.add(root).expect("it is a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the versions exist")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = patient(TcpStream::connect(address)).await.expect("the server listens");
        let name = ServerName::try_from("localhost").expect("it is a name");
        patient(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("TLS comes up")
    }
}
