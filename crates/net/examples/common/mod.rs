//! What the measurements share: a node that answers, a store that is never asked, a certificate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use net::{
    Bound, ClientCertificates, Driver, Handle, ListenerConfig, Network, Networks, Options, Resolver,
    TlsServer, completion_channel,
};
use node::store::{Store, Submission};
use node::{Input, Instant, Metric, Node, Now, Output, Transport};

/// Sends every message back.
#[derive(Default)]
pub(crate) struct Echo(VecDeque<Output<Echo>>);

impl Node for Echo {
    type Change = ();
    type Query = ();
    type Rows = ();
    type Call = ();
    type Answer = ();

    fn handle(&mut self, _now: Now, input: Input<Echo>) {
        if let Input::Received { flow, bytes } = input {
            self.0.push_back(Output::Send { flow, bytes });
        }
    }

    fn poll_output(&mut self) -> Option<Output<Echo>> {
        self.0.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn visit_metrics(&self, _visit: &mut dyn FnMut(Metric<'_>)) {}
}

struct NoStore;

impl Store for NoStore {
    type Change = ();
    type Query = ();
    type Rows = ();

    fn submit(&mut self, _batch: Vec<Submission<(), ()>>) {
        unreachable!("the node persists nothing");
    }
}

/// A certificate for `localhost` (ECDSA P-256), signed by itself.
pub(crate) fn certificate() -> (Arc<TlsServer>, String) {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate is made");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    (Arc::new(TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).expect("the certificate is good")), chain)
}

/// A listener on a free port of loopback.
pub(crate) fn bind(transport: Transport, tls: Option<Arc<TlsServer>>) -> Bound {
    bind_asking(transport, tls, ClientCertificates::Never)
}

/// One that may ask for certificates.
pub(crate) fn bind_asking(
    transport: Transport,
    tls: Option<Arc<TlsServer>>,
    client_certificates: ClientCertificates,
) -> Bound {
    let address = ([127, 0, 0, 1], 0).into();
    let config = ListenerConfig {
        transport,
        address,
        advertised_host: "localhost".to_owned(),
        side: node::Side::Inside,
        tls,
        client_certificates,
        origins: Vec::new(),
    };
    Bound::bind(&config).expect("loopback has free ports")
}

/// Runs a driver on this thread until it is stopped. `started` gets the handle.
pub(crate) fn run(listeners: Vec<Bound>, started: impl FnOnce(Handle<Echo>)) {
    run_with(listeners, Networks::inside_only(Network::of_strangers()), started);
}

/// Like [`run`], with somebody to believe.
pub(crate) fn run_with(listeners: Vec<Bound>, networks: Networks, started: impl FnOnce(Handle<Echo>)) {
    let runtime = net::runtime().expect("a runtime starts");
    let (_, completions) = completion_channel();
    let resolver = Resolver::with_servers(&[]).expect("a resolver is made");
    let node = Echo::default();
    let driver =
        Driver::new(node, listeners, Box::new(NoStore), completions, resolver, networks, Options::standard());
    started(driver.handle());
    runtime.block_on(driver.run()).expect("the driver runs");
}

/// Of the calling thread, as `/proc` names it.
pub(crate) fn thread_id() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
    format!("/proc/{}", link.display())
}

/// User and system time of a thread: the kernel's scheduler counts it in nanoseconds.
pub(crate) fn cpu_time(thread: &str) -> Duration {
    let text = std::fs::read_to_string(format!("{thread}/schedstat")).expect("/proc is mounted");
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok()).expect("it begins with a number");
    Duration::from_nanos(nanoseconds)
}
