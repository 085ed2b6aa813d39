//! CPU time of a driver for one whole handshake of TLS, by what is asked and shown.
//!
//! `cargo run --release -p net --example handshake -- [handshakes]`
//!
//! The driver has a thread of its own, whose CPU time is read (user and system): accepting, the handshake, judging the
//! client's chain, closing. No session is resumed. Certificates are ECDSA P-256, one CA, no intermediate.

#[allow(dead_code, reason = "each example uses a part of what they share")]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use net::{ClientCertificates, Network, Networks, TlsServer};
use node::{Anchors, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// Socket reads and writes of the client wait no longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let handshakes = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2000);
    let authority = Authority::new();
    let (chain, key) = authority.issue("localhost");
    let tls = TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).expect("the certificate is good");
    let tls = Arc::new(tls);
    let trust = pki::Trust::builder().anchors(Anchors::Servers, authority.issuer.pem().as_bytes());
    let trust = Arc::new(trust.expect("the root is good").build());
    let asked = [ClientCertificates::Never, ClientCertificates::Ask];
    let bound = asked.map(|asked| common::bind_asking(Transport::Tls, Some(Arc::clone(&tls)), asked));
    let [silent, asking] = bound.each_ref().map(|b| b.listener().address);
    let (sender, started) = mpsc::channel();
    let driver = std::thread::spawn(move || {
        let thread = common::thread_id();
        let networks = Networks::inside_only(Network::new(trust));
        common::run_with(bound.into(), networks, |handle| {
            sender.send((handle, thread)).expect("the measurement waits");
        });
    });
    let (handle, thread) = started.recv().expect("the driver starts");
    let (anonymous, known) = (authority.client(None), authority.client(Some("edge.example")));
    for (name, address, config) in [
        ("the server's certificate alone", silent, &anonymous),
        ("the client is asked, and has none", asking, &anonymous),
        ("both certificates, the client's judged", asking, &known),
    ] {
        (0..handshakes / 10).for_each(|_| shake(address, config));
        let before = common::cpu_time(&thread);
        (0..handshakes).for_each(|_| shake(address, config));
        let spent = common::cpu_time(&thread) - before;
        println!("{name}: {:.0} µs CPU each", spent.as_secs_f64() * 1e6 / f64::from(handshakes));
    }
    let runtime = net::runtime().expect("a runtime starts");
    runtime.block_on(handle.shutdown());
    driver.join().expect("the driver does not panic");
}

/// One connection, a message there and back, and its end.
fn shake(address: SocketAddr, config: &Arc<ClientConfig>) {
    const MESSAGE: &[u8] = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    let stream = TcpStream::connect(address).expect("the driver listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration is given");
    let name = ServerName::try_from("localhost").expect("it is a name");
    let tls = rustls::ClientConnection::new(Arc::clone(config), name).expect("TLS begins");
    let mut stream = rustls::StreamOwned::new(tls, stream);
    stream.write_all(MESSAGE).expect("the driver reads");
    let mut back = [0; MESSAGE.len()];
    stream.read_exact(&mut back).expect("the driver answers");
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("keys are made"));
        Authority { issuer: issuer.expect("an authority is made") }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("keys are made");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("the name is legal");
        (params.signed_by(&key, &self.issuer).expect("it signs").pem(), key.serialize_pem())
    }

    fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("it is a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions exist")
            .with_root_certificates(roots);
        let mut config = match name.map(|name| self.issue(name)) {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).expect("it is PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is PEM");
                config.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}
