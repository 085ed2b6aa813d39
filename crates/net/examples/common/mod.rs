//! What both measurements share: a node that answers, a store that is never asked, a certificate.

use std::collections::VecDeque;
use std::sync::Arc;

use net::{
    Bound, Driver, Handle, ListenerConfig, Network, Networks, Options, Resolver, TlsServer,
    completion_channel,
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
    let address = ([127, 0, 0, 1], 0).into();
    let config = ListenerConfig {
        transport,
        address,
        advertised_host: "localhost".to_owned(),
        side: node::Side::Inside,
        tls,
        client_certificates: net::ClientCertificates::Never,
        origins: Vec::new(),
    };
    Bound::bind(&config).expect("loopback has free ports")
}

/// Runs a driver on this thread until it is stopped. `started` gets the handle.
pub(crate) fn run(listeners: Vec<Bound>, started: impl FnOnce(Handle<Echo>)) {
    let runtime = net::runtime().expect("a runtime starts");
    let (_, completions) = completion_channel();
    let resolver = Resolver::with_servers(&[]).expect("a resolver is made");
    let node = Echo::default();
    let networks = Networks::inside_only(Network::of_strangers());
    let driver =
        Driver::new(node, listeners, Box::new(NoStore), completions, resolver, networks, Options::standard());
    started(driver.handle());
    runtime.block_on(driver.run()).expect("the driver runs");
}
