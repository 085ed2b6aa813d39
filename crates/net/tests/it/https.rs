//! HTTPS: what a client sees, and what a slow or hostile one meets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::https::{Limits, Meter, Service, serve};
use net::{Exposition, TlsServer};
use node::http::HttpResponse;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

use crate::support::*;

/// A listener on a thread of its own, before a probe on another.
struct Https {
    probe: Server,
    authority: Authority,
    tls: Arc<TlsServer>,
    address: SocketAddr,
    meter: Arc<Meter>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Https {
    fn start(change: impl FnOnce(&mut Limits)) -> Https {
        let probe = Setup::default().start();
        let authority = Authority::new();
        let tls = authority.server(&["localhost"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        listener.set_nonblocking(true).expect("it can");
        let address = listener.local_addr().expect("it is bound");
        let (meter, (stop, stopped)) = (Arc::new(Meter::default()), oneshot::channel::<()>());
        let mut limits = Limits::standard();
        change(&mut limits);
        let service = Service {
            handle: probe.handle.clone(),
            call: Command::Http,
            answer: |answer| answer.unwrap_or_else(|| HttpResponse::empty(500)),
        };
        let thread = std::thread::spawn({
            let (tls, meter) = (Arc::clone(&tls), Arc::clone(&meter));
            move || {
                let runtime = net::runtime().expect("a runtime starts");
                let stop = async { drop(stopped.await) };
                let served = serve(vec![listener], &tls, service, limits, meter, stop);
                tokio::task::LocalSet::new().block_on(&runtime, served).expect("it serves");
            }
        });
        Https { probe, authority, tls, address, meter, stop: Some(stop), thread: Some(thread) }
    }

    async fn connect(&self) -> Client {
        Client(self.authority.connect(self.address, &[&TLS13, &TLS12]).await)
    }

    fn metric(&self, line_start: &str) -> u64 {
        let mut text = Exposition::default();
        self.meter.show(&mut text);
        let text = text.finish();
        let line = text.lines().find(|l| l.starts_with(line_start)).unwrap_or_else(|| panic!("{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!("chancery_https_refused_total{{reason=\"{reason}\"}}"))
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("stopped once");
        patient(tokio::task::spawn_blocking(|| thread.join())).await.expect("it joins").expect("no panic");
        self.probe.stop().await;
    }
}

struct Client(TlsStream<TcpStream>);

impl Client {
    async fn send(&mut self, text: &str) {
        write(&mut self.0, text.as_bytes()).await;
    }

    /// Status, header block and content of the next answer.
    async fn answer(&mut self) -> (u16, String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patient(self.0.read_u8()).await.expect("the server answers"));
        }
        let head = String::from_utf8(head).expect("a header is a text").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        let mut content = vec![0; length.map_or(0, |l| l.parse().expect("a number"))];
        patient(self.0.read_exact(&mut content)).await.expect("the server answers");
        (status, head, String::from_utf8(content).expect("a text"))
    }

    async fn ask(&mut self, text: &str) -> (u16, String, String) {
        self.send(text).await;
        self.answer().await
    }

    /// Whether the server ends the connection, without another octet.
    async fn is_closed(&mut self) -> bool {
        read_to_end(&mut self.0).await.is_empty()
    }
}

const GET: &str = "GET /a%20b?c=d HTTP/1.1\r\nHost: localhost:8443\r\n\r\n";
const GOT: &str = "GET /a%20b?c=d at localhost, 0 octets, secure: true";

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let https = Https::start(|_| {});
    let mut client = https.connect().await;
    let (status, head, content) = client.ask(GET).await;
    assert_eq!((status, content.as_str()), (200, GOT));
    assert!(head.contains("\r\netag: \"1\"\r\n") && head.contains("\r\ndate: "), "{head}");
    let put = "PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
               3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let (status, _, content) = client.ask(put).await;
    assert_eq!((status, content.as_str()), (200, "PUT /x at localhost, 7 octets, secure: true"));
    client.send(&format!("{GET}{GET}")).await;
    assert_eq!((client.answer().await.2, client.answer().await.2), (GOT.into(), GOT.into()));
    assert_eq!(https.metric("chancery_https_requests_total{status=\"2xx\"}"), 4);
    assert_eq!(https.metric("chancery_https_connections "), 1);
    https.stop().await;
}

#[tokio::test]
async fn an_expectant_client_is_told_to_continue() {
    let https = Https::start(|_| {});
    let mut client = https.connect().await;
    client.send("PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(client.answer().await.0, 100);
    assert_eq!(client.ask("abc").await.2, "PUT /x at h, 3 octets, secure: true");
    https.stop().await;
}

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused() {
    let https = Https::start(|_| {});
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("no HTTP at all\r\n\r\n", 400),
        ("GET /wrong HTTP/1.1\r\nHost: a\r\n\r\n", 500),
    ] {
        let mut client = https.connect().await;
        assert_eq!(client.ask(request).await.0, status, "{request}");
    }
    let mut client = https.connect().await;
    let absolute = "GET https://other.example:1/y HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(client.ask(absolute).await.2, "GET /y at other.example, 0 octets, secure: true");
    https.stop().await;
}

#[tokio::test]
async fn headers_and_content_have_their_bounds() {
    let https = Https::start(|limits| limits.body_octets_max = 1000);
    let mut client = https.connect().await;
    let long = "a".repeat(net::https::HEADER_OCTETS_MAX);
    let (status, ..) = client.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(status, 431);
    assert!(client.is_closed().await);
    let fits = "b".repeat(1000);
    let put = |length: usize, content: &str| {
        format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{content}")
    };
    let mut client = https.connect().await;
    assert_eq!(client.ask(&put(1000, &fits)).await.0, 200);
    // What is announced too long is not waited for.
    assert_eq!(client.ask(&put(1001, "")).await.0, 413);
    assert!(client.is_closed().await);
    let mut client = https.connect().await;
    let chunked = format!(
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{fits}\r\n1\r\nb\r\n0\r\n\r\n"
    );
    assert_eq!(client.ask(&chunked).await.0, 413);
    assert_eq!(https.refused("the content is too long"), 2);
    https.stop().await;
}

#[tokio::test]
async fn content_of_all_together_has_its_bound() {
    let https = Https::start(|limits| limits.body_octets_held_max = 1500);
    let mut waiting = https.connect().await;
    let held = "c".repeat(1000);
    waiting.send(&format!("PUT /silent HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{held}")).await;
    let mut other = https.connect().await;
    // Until the first has come in.
    let put = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{held}");
    while other.ask(&put).await.0 == 200 {}
    assert_eq!(https.refused("too much content at once"), 1);
    assert_eq!(https.connect().await.ask(GET).await.0, 200);
    drop(waiting);
    while https.connect().await.ask(&put).await.0 == 503 {}
    https.stop().await;
}

#[tokio::test]
async fn a_slow_client_harms_only_itself() {
    let https = Https::start(|limits| {
        limits.handshake_timeout = Duration::from_millis(300);
        limits.body_timeout = Duration::from_millis(300);
        limits.idle_timeout = Duration::from_millis(900);
    });
    let mut silent = TcpStream::connect(https.address).await.expect("it listens");
    let mut slow_header = https.connect().await;
    slow_header.send("GET / HTTP/1.1\r\nHost: h\r\n").await;
    let mut slow_content = https.connect().await;
    slow_content.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc").await;
    assert_eq!(https.connect().await.ask(GET).await.0, 200);
    assert_eq!(slow_content.answer().await.0, 408);
    assert!(slow_content.is_closed().await);
    assert!(read_to_end(&mut silent).await.is_empty());
    // Octets do not prolong it.
    let drip = async {
        while tokio::time::timeout(Duration::from_millis(20), slow_header.0.read_u8()).await.is_err() {
            // That it is closed is seen when it is read.
            drop(slow_header.0.write_all(b"X: y\r\n").await);
            drop(slow_header.0.flush().await);
        }
    };
    patient(drip).await;
    assert_eq!(https.refused("the TLS handshake took too long"), 1);
    assert!(https.refused("idle, or too slow") >= 1);
    https.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let https = Https::start(|limits| limits.idle_timeout = Duration::from_millis(500));
    let mut deaf = https.connect().await;
    let asking =
        async { while deaf.0.write_all(GET.as_bytes()).await.is_ok() && deaf.0.flush().await.is_ok() {} };
    patient(asking).await;
    assert_eq!(https.refused("idle, or too slow"), 1);
    https.stop().await;
}

#[tokio::test]
async fn a_busy_node_is_said_to_be_busy() {
    let https = Https::start(|limits| {
        limits.requests_in_flight_max = 1;
        limits.answer_timeout = Duration::from_millis(500);
    });
    let mut waiting = https.connect().await;
    waiting.send("GET /silent HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut refused = loop {
        let mut other = https.connect().await;
        let answer = other.ask(GET).await;
        if answer.0 != 200 {
            break answer;
        }
    };
    assert_eq!((refused.0, refused.2.as_str()), (503, "too many requests at once\n"));
    assert!(refused.1.contains("\r\nretry-after: 2\r\n"), "{}", refused.1);
    refused = waiting.answer().await;
    assert_eq!((refused.0, refused.2.as_str()), (503, "the server is busy\n"));
    assert_eq!(https.connect().await.ask(GET).await.0, 200);
    https.stop().await;
}

#[tokio::test]
async fn one_source_does_not_take_all_places() {
    let https = Https::start(|limits| limits.connections_per_source_max = 2);
    let first = https.connect().await;
    let _second = https.connect().await;
    let mut third = TcpStream::connect(https.address).await.expect("the kernel takes it");
    assert!(read_to_end(&mut third).await.is_empty());
    assert_eq!(https.refused("too many connections of one source"), 1);
    drop(first);
    while https.metric("chancery_https_connections ") == 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(https.connect().await.ask(GET).await.0, 200);
    https.stop().await;
}

#[tokio::test]
async fn a_new_certificate_leaves_connections() {
    let https = Https::start(|_| {});
    let certificate = |client: &Client| {
        let (_, tls) = client.0.get_ref();
        tls.peer_certificates().expect("the server has one")[0].clone()
    };
    let mut old = https.connect().await;
    let (chain, key) = https.authority.issue(&["localhost"]);
    https.tls.reload(chain.as_bytes(), key.as_bytes()).expect("it is good");
    let mut new = https.connect().await;
    assert_ne!(certificate(&old), certificate(&new));
    assert_eq!((old.ask(GET).await.0, new.ask(GET).await.0), (200, 200));
    https.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_asked() {
    let https = Https::start(|limits| limits.answer_timeout = Duration::from_millis(300));
    let mut idle = https.connect().await;
    assert_eq!(idle.ask(GET).await.0, 200);
    let mut waiting = https.connect().await;
    waiting.send("GET /silent HTTP/1.1\r\nHost: h\r\n\r\n").await;
    // Both are served by one thread: when this is answered, that has come in.
    assert_eq!(https.connect().await.ask(GET).await.0, 200);
    https.stop().await;
    assert_eq!(waiting.answer().await.0, 503);
    assert!(idle.is_closed().await);
}
