//! The listener itself, over TLS: what a hostile client may do to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::web::WebThread;

/// Nothing here takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    site: Site,
    address: SocketAddr,
    client: Arc<rustls::ClientConfig>,
    thread: Option<WebThread>,
}

type Stream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

impl Served {
    fn start() -> Served {
        let site = Site::new();
        let authority = pki::Authority::create("Test", crate::clock::unix_seconds()).unwrap();
        let names = pki::ServerNames { hosts: vec!["localhost".to_owned()], ..pki::ServerNames::default() };
        let issued = authority.issue_server(&names, crate::clock::unix_seconds()).unwrap();
        let tls =
            net::TlsServer::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes());
        roots.add(root.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let thread = WebThread::start(Arc::clone(&site.office), vec![socket], Arc::new(tls)).unwrap();
        Served { site, address, client: Arc::new(client), thread: Some(thread) }
    }

    fn connect(&self) -> Stream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        rustls::StreamOwned::new(connection, stream)
    }

    /// All that comes back for these octets on a connection of their own, up to its end or a whole answer.
    fn exchange(&self, octets: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(octets).unwrap();
        answer(&mut stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.stop();
        }
    }
}

/// One answer: the header, and as much content as it says. Less where the server ends the connection.
fn answer(stream: &mut Stream) -> String {
    let mut text = Vec::new();
    let mut octet = [0];
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => text.push(octet[0]),
            Ok(_) | Err(_) => return String::from_utf8(text).unwrap(),
        }
    }
    let head = String::from_utf8(text).unwrap().to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    head + &String::from_utf8(content).unwrap()
}

fn sign_in(password: &str) -> String {
    let content = json!({ "name": "alice", "password": password }).to_string();
    format!(
        "POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

#[test]
fn a_person_signs_in_over_tls() {
    let served = Served::start();
    let mut stream = served.connect();
    for _ in 0..2 {
        stream.write_all(sign_in(RIGHT).as_bytes()).unwrap();
        let answer = answer(&mut stream);
        assert!(answer.starts_with("http/1.1 200 ") && answer.contains("\"token\""), "{answer}");
    }
}

#[test]
fn there_is_no_answer_in_clear() {
    let served = Served::start();
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(sign_in(RIGHT).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // An alert of TLS, and the end.
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(served.site.asked(), 0);
}

#[test]
fn what_is_too_long_or_ambiguous_is_refused_before_anybody_is_asked() {
    let served = Served::start();
    let content = "{\"name\":\"alice\",\"password\":\"x\"}";
    let post = "POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let cases = [
        (format!("{post}Content-Length: 999999999\r\n\r\n"), "413"),
        (format!("{post}X: {}\r\n\r\n", "x".repeat(400_000)), "431"),
        (format!("{post}{}\r\n", "X: y\r\n".repeat(300)), "431"),
        (format!("{post}Content-Length: 5\r\nContent-Length: 32\r\n\r\n{content}"), "400"),
        (format!("{post}Content-Length: 32\r\nContent-Length: 31\r\n\r\n{content}"), "400"),
        (format!("{post}Content-Length: +31\r\n\r\n{content}"), "400"),
        (format!("{post}Host: other\r\nContent-Length: 31\r\n\r\n{content}"), "400"),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n{content}"), "400"),
        (format!("{post} folded: x\r\nContent-Length: 31\r\n\r\n{content}"), "400"),
        ("POST /v1/sign-in HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(), "400"),
        ("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n".to_owned(), "400"),
        ("GARBAGE\r\n\r\n".to_owned(), "400"),
    ];
    for (octets, status) in cases {
        let answer = served.exchange(octets.as_bytes());
        assert!(answer.to_lowercase().starts_with(&format!("http/1.1 {status} ")), "{octets:.200}\n{answer}");
    }
    assert_eq!(served.site.asked(), 0);
}

/// A second request hidden in the content of a first one is content.
#[test]
fn nothing_is_smuggled_in_content() {
    let served = Served::start();
    let hidden = "GET /v1/problems/busy HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = format!(
        "POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let mut stream = served.connect();
    stream.write_all(both.as_bytes()).unwrap();
    let first = answer(&mut stream);
    assert!(first.starts_with("http/1.1 400 "), "{first}");
    let mut rest = String::new();
    drop(stream.read_to_string(&mut rest));
    assert!(!rest.to_lowercase().contains("http/1.1 200"), "{rest}");
}

#[test]
fn a_ticket_of_somebody_in_many_groups_fits() {
    let served = Served::start();
    let ticket = "A".repeat(64_000);
    let octets = format!(
        "POST /v1/sign-in/negotiate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Negotiate {ticket}\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = served.exchange(octets.as_bytes());
    assert!(answer.starts_with("http/1.1 501 "), "{answer}");
}

/// Many who connect and say nothing do not keep a person out.
#[test]
fn silent_connections_keep_nobody_out() {
    let served = Served::start();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    let mut half: Vec<Stream> = (0..20).map(|_| served.connect()).collect();
    for stream in &mut half {
        stream
            .write_all(b"POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            .unwrap();
    }
    let answer = served.exchange(sign_in(RIGHT).as_bytes());
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    drop((silent, half));
}
