//! CPU time of a driver for one message in and one out, by transport.
//!
//! `cargo run --release -p net --example relay -- [connections] [messages] [udp|tcp|tls]`
//!
//! The driver has a thread of its own, whose CPU time is read (user and system); on loopback that includes the
//! kernel's work to hand a message to the client. Every client has one message in flight.

#[allow(dead_code, reason = "each example uses a part of what they share")]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use node::Transport;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

/// As long as the message of the measurements that the design rests on.
const MESSAGE_OCTETS: usize = 752;
/// Socket reads and writes of the client wait no longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (connections, messages) = (number(100), number(200_000));
    let only = arguments.next();
    let (tls, root) = common::certificate();
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let bound = transports.map(|t| common::bind(t, t.is_secure().then(|| Arc::clone(&tls))));
    let addresses = bound.each_ref().map(|b| b.listener().address);
    let (sender, started) = mpsc::channel();
    let driver = std::thread::spawn(move || {
        let thread = common::thread_id();
        common::run(bound.into(), |handle| sender.send((handle, thread)).expect("the measurement waits"));
    });
    let (handle, thread) = started.recv().expect("the driver starts");
    let wanted = |t: &Transport| only.as_deref().is_none_or(|name| name == t.name());
    for (transport, address) in transports.into_iter().zip(addresses).filter(|(t, _)| wanted(t)) {
        let mut clients: Vec<Client> =
            (0..connections).map(|_| Client::connect(transport, address, &root)).collect();
        let rounds = messages.div_ceil(connections);
        exchange(&mut clients, rounds.min(20));
        let (begun, before) = (Instant::now(), common::cpu_time(&thread));
        exchange(&mut clients, rounds);
        let (spent, count) = (common::cpu_time(&thread) - before, rounds * connections);
        println!(
            "{:>4}: {connections} connections, {count} messages: {:.2} µs CPU each (in and out), {:.0} a second",
            transport.name(),
            spent.as_secs_f64() * 1e6 / count as f64,
            count as f64 / begun.elapsed().as_secs_f64(),
        );
    }
    let runtime = net::runtime().expect("a runtime starts");
    runtime.block_on(handle.shutdown());
    driver.join().expect("the driver does not panic");
}

fn exchange(clients: &mut [Client], rounds: usize) {
    for _ in 0..rounds {
        for client in &mut *clients {
            client.send();
        }
        for client in &mut *clients {
            client.receive();
        }
    }
}

enum Client {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Client {
    fn connect(transport: Transport, address: SocketAddr, root: &str) -> Client {
        if transport == Transport::Udp {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
            socket.connect(address).expect("loopback routes");
            socket.set_read_timeout(Some(PATIENCE)).expect("it is a timeout");
            return Client::Udp(socket);
        }
        let stream = TcpStream::connect(address).expect("the driver listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a timeout");
        if transport == Transport::Tcp {
            return Client::Tcp(stream);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("it is PEM")).expect("it is a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("it is a name");
        let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("TLS begins");
        Client::Tls(Box::new(rustls::StreamOwned::new(connection, stream)))
    }

    fn send(&mut self) {
        let message = message();
        match self {
            Client::Udp(socket) => drop(socket.send(&message).expect("loopback takes it")),
            Client::Tcp(stream) => stream.write_all(&message).expect("the driver reads"),
            Client::Tls(stream) => stream.write_all(&message).expect("the driver reads"),
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; MESSAGE_OCTETS];
        match self {
            Client::Udp(socket) => drop(socket.recv(&mut buffer).expect("the driver answers")),
            Client::Tcp(stream) => stream.read_exact(&mut buffer).expect("the driver answers"),
            Client::Tls(stream) => stream.read_exact(&mut buffer).expect("the driver answers"),
        }
    }
}

fn message() -> Vec<u8> {
    let mut message = b"MESSAGE sip:bob@example.com SIP/2.0\r\nContent-Length: 680\r\n\r\n".to_vec();
    let header = message.len();
    let length = format!("{}", MESSAGE_OCTETS - header);
    message[header - 7..header - 4].copy_from_slice(length.as_bytes());
    message.resize(MESSAGE_OCTETS, b'x');
    message
}
