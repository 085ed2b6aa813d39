//! Memory of a driver for one idle TLS connection.
//!
//! `cargo run --release -p net --example idle -- [connections]`
//!
//! The clients are a second process, so that only the server's memory is read. Each client exchanges one message and
//! falls silent. Heap is what the allocator handed out (counted here), PSS what the kernel gave the process; neither
//! holds the kernel's own 4 KB for each socket.

#[allow(dead_code, reason = "each example uses a part of what they share")]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use node::Transport;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

struct Counting;

static HEAP: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with its arguments unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(2000);
    if let (Some(port), Some(root)) = (arguments.next(), arguments.next()) {
        return client(count, &port, &root);
    }
    let (tls, root) = common::certificate();
    let bound = common::bind(Transport::Tls, Some(tls));
    let port = bound.listener().address.port().to_string();
    let root_file = std::env::temp_dir().join(format!("net-idle-{}.pem", std::process::id()));
    std::fs::write(&root_file, root).expect("the temporary folder can be written");
    common::run(vec![bound], move |handle| {
        let measure = move || {
            let program = std::env::current_exe().expect("the program has a path");
            let mut clients = Command::new(program)
                .args([&count.to_string(), &port, root_file.to_str().expect("the path is text")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the clients start");
            let mut lines = BufReader::new(clients.stdout.take().expect("it is piped")).lines();
            let mut line = || lines.next().expect("the clients run").expect("they write text");
            // One client has come and gone: what is allocated once is there.
            line();
            let before = (HEAP.load(Ordering::Relaxed), pss());
            clients.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("the clients read");
            line();
            let after = (HEAP.load(Ordering::Relaxed), pss());
            let each = |before: usize, after: usize| after.saturating_sub(before) as f64 / count as f64;
            println!(
                "{count} idle TLS connections: heap {:.0} octets, PSS {:.0} octets each",
                each(before.0, after.0),
                each(before.1, after.1)
            );
            drop(clients.stdin.take());
            clients.wait().expect("the clients end");
            std::fs::remove_file(&root_file).expect("the file is ours");
            net::runtime().expect("a runtime starts").block_on(handle.shutdown());
        };
        std::thread::spawn(measure);
    });
}

/// The memory of this process, in octets.
fn pss() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("/proc is mounted");
    let line = text.lines().find(|l| l.starts_with("Pss:")).expect("the kernel counts it");
    let kilobytes: usize =
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("it is a number");
    kilobytes * 1024
}

fn client(count: usize, port: &str, root: &str) {
    let root = std::fs::read(root).expect("the server wrote it");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&root).expect("it is PEM")).expect("it is a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let connect = || {
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the server listens");
        let name = ServerName::try_from("localhost").expect("it is a name");
        let connection = rustls::ClientConnection::new(Arc::clone(&config), name).expect("TLS begins");
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let message =
            format!("MESSAGE sip:b@example.com SIP/2.0\r\nContent-Length: 600\r\n\r\n{}", "x".repeat(600));
        stream.write_all(message.as_bytes()).expect("the server reads");
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).expect("the server answers");
        stream
    };
    let mut line = String::new();
    let mut say_and_wait = |word: &str| {
        println!("{word}");
        std::io::stdin().read_line(&mut line).expect("the server says when");
    };
    drop(connect());
    say_and_wait("warm");
    let all: Vec<_> = (0..count).map(|_| connect()).collect();
    say_and_wait("idle");
    drop(all);
}
