//! A proxy in front of a real directory that does what networks, overloaded servers and attackers do: it cuts, stalls, refers elsewhere,
//! sends too much, forgets cookies and changes its certificate. It ends TLS with a certificate of a test's CA, understands no more of
//! LDAP than where a message ends and what kind it is, and passes on the rest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Own, PrivateCa};

/// The host that the proxy's certificate names.
const HOST: &str = "dc1.corp.example";

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection breaks within the message after so many entries.
    CutAfter(usize),
    /// Nothing comes any more after so many entries, and the connection stays.
    StallAfter(usize),
    /// Each message comes in pieces of so many octets.
    Pieces(usize),
    /// In place of its first entry, each search has one that claims so many octets.
    Oversized(u32),
    /// Searches are answered by referring to this server.
    Refer(SocketAddr),
    /// Before its end each search also names this server as the place of more.
    Mention(SocketAddr),
    /// The cookies of pages and of DirSync come back to the client with their last octets turned over.
    WrongCookies,
    /// Requests with this control are refused with this result code.
    RefuseControl(&'static str, u8),
    /// In place of its first entry, each search has octets that are no LDAP.
    Nonsense,
}

/// The proxy. It ends with this.
pub struct LdapProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    fault: Mutex<Fault>,
    config: Mutex<Arc<ServerConfig>>,
    upstream: SocketAddr,
    upstream_name: ServerName<'static>,
    trust: Arc<ClientConfig>,
    connections: AtomicUsize,
    faults: AtomicUsize,
}

impl LdapProxy {
    /// In front of a directory that speaks LDAP over TLS here, with a certificate of this CA and name. The proxy's own is of `ca`, for
    /// `dc1.corp.example` and the loopback address.
    pub fn start(upstream: SocketAddr, upstream_ca: &Path, upstream_name: &str, ca: &PrivateCa) -> LdapProxy {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(upstream_ca).expect("a CA file") {
            roots.add(certificate.expect("a certificate")).expect("a usable certificate");
        }
        let trust = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the versions are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            config: Mutex::new(server_config(ca, &[HOST])),
            upstream,
            upstream_name: ServerName::try_from(upstream_name.to_owned()).expect("a name"),
            trust: Arc::new(trust),
            connections: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async move {
                    let listener = TcpListener::from_std(listener).expect("a listening socket");
                    tokio::select! {
                        () = serve(listener, shared) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        LdapProxy { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this goes wrong, also on connections that are open.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("nobody panicked") = fault;
    }

    /// From now on the certificate is of this CA, for these names.
    pub fn set_certificate(&self, ca: &PrivateCa, names: &[&str]) {
        *self.shared.config.lock().expect("nobody panicked") = server_config(ca, names);
    }

    /// Connections that came so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How often something went wrong as it should.
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }
}

impl Drop for LdapProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been shown.
            drop(thread.join());
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_config(ca: &PrivateCa, names: &[&str]) -> Arc<ServerConfig> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Own { certificate, key } = ca.issue_with(folder.path(), "proxy", names, |params| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    });
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).expect("a certificate file").collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("a key file");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_no_client_auth()
        .with_single_cert(certificates.expect("a certificate"), key);
    Arc::new(config.expect("certificate and key fit"))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        tokio::spawn(async move {
            // What fails here, the test's client sees.
            drop(pass(client, shared).await);
        });
    }
}

async fn pass(client: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let config = shared.config.lock().expect("nobody panicked").clone();
    let client = TlsAcceptor::from(config).accept(client).await?;
    let upstream = TcpStream::connect(shared.upstream).await?;
    let connector = TlsConnector::from(shared.trust.clone());
    let upstream = connector.connect(shared.upstream_name.clone(), upstream).await?;
    let (mut from_client, to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let requests = async {
        while let Some(message) = message(&mut from_client).await? {
            let fault = shared.fault.lock().expect("nobody panicked").clone();
            match answer_to(&message, &fault) {
                Some(answer) => {
                    shared.faults.fetch_add(1, Ordering::SeqCst);
                    to_client.lock().await.write_all(&answer).await?;
                }
                None => to_upstream.write_all(&message).await?,
            }
        }
        to_upstream.shutdown().await
    };
    let responses = async {
        let mut entries = 0;
        while let Some(message) = message(&mut from_upstream).await? {
            let fault = shared.fault.lock().expect("nobody panicked").clone();
            if !respond(message, &fault, &mut entries, &shared, &mut *to_client.lock().await).await? {
                return Ok(());
            }
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        done = requests => done,
        done = responses => done,
    }
}

/// Passes an answer on, or what is sent in its place. `false`: the connection ends.
async fn respond(
    mut message: Vec<u8>,
    fault: &Fault,
    entries: &mut usize,
    shared: &Shared,
    client: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<bool> {
    let kind = operation(&message);
    let is_first = *entries == 0;
    match kind {
        Some(ENTRY) => *entries += 1,
        Some(DONE) => *entries = 0,
        _ => {}
    }
    let happened = || shared.faults.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::CutAfter(limit) if kind == Some(ENTRY) && *entries > *limit => {
            happened();
            client.write_all(&message[..message.len() / 2]).await?;
            client.flush().await?;
            return Ok(false);
        }
        Fault::StallAfter(limit) if kind == Some(ENTRY) && *entries > *limit => {
            happened();
            client.write_all(&message[..message.len() / 2]).await?;
            client.flush().await?;
            return std::future::pending().await;
        }
        Fault::Pieces(octets) => {
            happened();
            for piece in message.chunks(*octets) {
                client.write_all(piece).await?;
                client.flush().await?;
            }
            return Ok(true);
        }
        Fault::Oversized(octets) if kind == Some(ENTRY) && is_first => {
            happened();
            let [a, b, c, d] = octets.to_be_bytes();
            client.write_all(&[SEQUENCE, 0x84, a, b, c, d]).await?;
        }
        Fault::Nonsense if kind == Some(ENTRY) && is_first => {
            happened();
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        }
        Fault::Mention(elsewhere) if kind == Some(DONE) => {
            happened();
            let id = id(&message);
            let uri = format!("ldap://{elsewhere}/");
            client
                .write_all(&element(
                    SEQUENCE,
                    &[&id, &element(REFERENCE, &[&element(OCTETS, &[uri.as_bytes()])])],
                ))
                .await?;
        }
        Fault::WrongCookies if kind == Some(DONE) && has_control(&message) => {
            happened();
            // The cookie is what stands last in the control, and the control in the message.
            message.iter_mut().rev().take(4).for_each(|octet| *octet ^= 0x5a);
        }
        _ => {}
    }
    client.write_all(&message).await?;
    client.flush().await?;
    Ok(true)
}

/// What a request is answered with, if it does not reach the directory.
fn answer_to(message: &[u8], fault: &Fault) -> Option<Vec<u8>> {
    let is_search = operation(message) == Some(SEARCH);
    let done = |code: u8, more: &[u8]| {
        let result =
            [element(ENUMERATED, &[&[code]]), element(OCTETS, &[]), element(OCTETS, &[b"as the test wants"])];
        let result = element(DONE, &[&result.concat(), more]);
        Some(element(SEQUENCE, &[&id(message), &result]))
    };
    match fault {
        Fault::Refer(elsewhere) if is_search => {
            /// `referral` (RFC 4511 §4.1.9).
            const REFERRAL: u8 = 10;
            let uri = format!("ldap://{elsewhere}/");
            done(REFERRAL, &element(0xa3, &[&element(OCTETS, &[uri.as_bytes()])]))
        }
        Fault::RefuseControl(name, code)
            if is_search && message.windows(name.len()).any(|part| part == name.as_bytes()) =>
        {
            done(*code, &[])
        }
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const CONTROLS: u8 = 0xa0;

/// Reads one message; `None`: the other side is done.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; 2];
    if stream.read_exact(&mut message).await.is_err() {
        return Ok(None);
    }
    let mut rest = usize::from(message[1]);
    if rest > 0x80 {
        let mut length = vec![0; rest & 0x7f];
        stream.read_exact(&mut length).await?;
        rest = length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        message.extend(length);
    }
    let start = message.len();
    message.resize(start + rest, 0);
    stream.read_exact(&mut message[start..]).await?;
    Ok(Some(message))
}

/// An element and what is behind it.
fn split(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first > 0x80 {
        let count = usize::from(first & 0x7f);
        length = rest.get(..count)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        rest = &rest[count..];
    }
    Some((tag, rest.get(..length)?, &rest[length..]))
}

fn operation(message: &[u8]) -> Option<u8> {
    let (_, body, _) = split(message)?;
    let (_, _, behind) = split(body)?;
    behind.first().copied()
}

fn has_control(message: &[u8]) -> bool {
    let controls = || {
        let (_, body, _) = split(message)?;
        let (_, _, behind) = split(body)?;
        let (_, _, controls) = split(behind)?;
        controls.first().copied()
    };
    controls() == Some(CONTROLS)
}

/// The message's id, as an element.
fn id(message: &[u8]) -> Vec<u8> {
    let (_, body, _) = split(message).expect("a message");
    let (tag, id, _) = split(body).expect("an id");
    element(tag, &[id])
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).expect("tests send little").to_be_bytes();
    [&[tag, 0x84], length.as_slice(), &content].concat()
}
