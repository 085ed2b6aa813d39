//! DNS, storage, timers, calls, metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use net::Resolver;
use node::{Answers, Naptr, Question, ResolveError, ResolveToken, Srv, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::support::*;

/// A DNS server (RFC 1035 §4) that knows one domain, and does not answer at all for `silent.example`.
async fn dns_server() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    let address = socket.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = dns_answer(&buffer[..length]) {
                socket.send_to(&answer, client).await.expect("loopback takes it");
            }
        }
    });
    address
}

fn dns_answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels: Vec<String> = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..at + 1 + length]).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let name = labels.join(".");
    const A: u16 = 1;
    const SOA: u16 = 6;
    const SRV: u16 = 33;
    const NAPTR: u16 = 35;
    let text = |t: &str| [&[t.len() as u8][..], t.as_bytes()].concat();
    let srv = |priority: u16, port: u16, host: &str| {
        [&priority.to_be_bytes()[..], &7u16.to_be_bytes(), &port.to_be_bytes(), &wire_name(host)].concat()
    };
    let records: Vec<Vec<u8>> = match (name.as_str(), kind) {
        ("silent.example", _) => return None,
        ("a.example", A) => vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]],
        ("_sip._tcp.a.example", SRV) => vec![srv(10, 5060, "one.a.example"), srv(20, 5070, "two.a.example")],
        ("a.example", NAPTR) => {
            let strings = [text("s"), text("SIP+D2T"), text("")].concat();
            vec![[&[0, 50, 0, 60][..], &strings, &wire_name("_sip._tcp.a.example")].concat()]
        }
        _ => Vec::new(),
    };
    let known = name.ends_with("a.example");
    let mut answer = query[..2].to_vec();
    let code = if known { 0x80 } else { 0x83 };
    answer.extend_from_slice(&[
        0x85,
        code,
        0,
        1,
        0,
        records.len() as u8,
        0,
        u8::from(records.is_empty()),
        0,
        0,
    ]);
    answer.extend_from_slice(question);
    let mut record = |kind: u16, data: &[u8]| {
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(data);
    };
    for data in &records {
        record(kind, data);
    }
    if records.is_empty() {
        record(SOA, &[&wire_name("ns.example")[..], &wire_name("root.example"), &[0; 20]].concat());
    }
    Some(answer)
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

async fn ask(server: &mut Server, question: Question) -> Result<Answers, ResolveError> {
    server.command(Command::Resolve(ResolveToken(9), question)).await;
    match server.next().await {
        Seen::Resolved(ResolveToken(9), answer) => answer,
        other => panic!("no answer but {other:?}"),
    }
}

#[tokio::test]
async fn dns_answers_and_says_what_does_not_exist() {
    let mut server = Setup { dns: vec![dns_server().await], ..Setup::default() }.start();
    let two = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
    let mut addresses = match ask(&mut server, Question::Addresses("a.example".into())).await {
        Ok(Answers::Addresses(addresses)) => addresses,
        other => panic!("no addresses but {other:?}"),
    };
    addresses.sort();
    assert_eq!(addresses, two);
    let srv = |priority, port, target: &str| Srv { priority, weight: 7, port, target: target.to_owned() };
    let mut answer = ask(&mut server, Question::Srv("_sip._tcp.a.example".into())).await;
    if let Ok(Answers::Srv(records)) = &mut answer {
        records.sort_by_key(|record| record.priority);
    }
    let expected = vec![srv(10, 5060, "one.a.example"), srv(20, 5070, "two.a.example")];
    assert_eq!(answer, Ok(Answers::Srv(expected)));
    let naptr = Naptr {
        order: 50,
        preference: 60,
        flags: "s".into(),
        service: "SIP+D2T".into(),
        replacement: "_sip._tcp.a.example".into(),
    };
    assert_eq!(ask(&mut server, Question::Naptr("a.example".into())).await, Ok(Answers::Naptr(vec![naptr])));
    let none = [
        Question::Addresses("nowhere.example".into()),
        Question::Srv("_sips._tcp.a.example".into()),
        Question::Naptr("nowhere.example".into()),
    ];
    for question in none {
        assert_eq!(ask(&mut server, question).await, Err(ResolveError::NotFound));
    }
    assert_eq!(ask(&mut server, Question::Addresses("..".into())).await, Err(ResolveError::Failed));
    server.stop().await;
}

#[tokio::test]
async fn the_hosts_file_and_literal_addresses_need_no_server() {
    // No server at all: whatever is answered stands in the file or in the question.
    let mut server = Setup::default().start();
    for (question, expected) in
        [("localhost", "127.0.0.1"), ("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7")]
    {
        let Ok(Answers::Addresses(addresses)) = ask(&mut server, Question::Addresses(question.into())).await
        else {
            panic!("{question} has an address");
        };
        assert!(
            addresses.contains(&expected.parse().expect("it is an address")),
            "{question}: {addresses:?}"
        );
    }
    assert_eq!(ask(&mut server, Question::Addresses("a.example".into())).await, Err(ResolveError::Failed));
    server.stop().await;
}

#[test]
fn the_system_has_a_resolver() {
    let runtime = net::runtime().expect("a runtime starts");
    let _guard = runtime.enter();
    // With or without a resolv.conf this returns, and says which file is at fault.
    if let Err(error) = Resolver::from_system() {
        assert!(error.to_string().starts_with("DNS is not configured"), "{error}");
    }
}

#[tokio::test]
async fn changes_of_one_turn_are_one_batch_and_answers_come_back() {
    let mut server = Setup::default().start();
    server.command(Command::Persist((1..=50).collect())).await;
    assert_eq!(patient(server.batches.recv()).await, Some(50));
    for token in 1..=50 {
        assert_eq!(server.next().await, Seen::Persisted(node::PersistToken(token)));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_timer_comes_at_its_time_and_an_earlier_one_overtakes() {
    let mut server = Setup::default().start();
    let started = std::time::Instant::now();
    server.command(Command::Timer(600_000)).await;
    // The probe asserts that it is not early.
    server.command(Command::Timer(30)).await;
    assert!(matches!(server.next().await, Seen::Timer(_)));
    assert!(started.elapsed() < PATIENCE);
    server.command(Command::Timer(0)).await;
    assert!(matches!(server.next().await, Seen::Timer(_)));
    server.stop().await;
}

#[tokio::test]
async fn a_broken_invariant_ends_the_driver_and_not_only_a_task() {
    let server = Setup::listen(Transport::Udp).start();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    client.send_to(b"BREAK", server.addresses[0]).await.expect("loopback takes it");
    assert!(server.end().await.is_err());
}

#[tokio::test]
async fn the_monitor_sees_metrics_and_health() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let _client = TcpStream::connect(server.addresses[0]).await.expect("the server listens");
    server.connected().await;
    let listener = TcpListener::bind(net::http::default_address(0)).await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    assert!(address.ip().is_loopback());
    let handle = server.handle.clone();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(net::http::serve(listener, handle));
    local
        .run_until(async {
            let metrics = get(address, "GET /metrics").await;
            assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
            assert!(
                metrics.contains("\n# TYPE chancery_probe gauge\nchancery_probe{kind=\"test\"} 7\n"),
                "{metrics}"
            );
            assert!(metrics.contains("\nchancery_net_connections{transport=\"tcp\"} 1\n"), "{metrics}");
            assert!(get(address, "GET /health").await.ends_with("\r\n\r\nok\n"));
            assert!(get(address, "GET /other").await.starts_with("HTTP/1.1 404 "));
            assert!(get(address, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
            server.stop().await;
            assert!(get(address, "GET /health").await.starts_with("HTTP/1.1 503 "));
        })
        .await;
}

async fn get(address: SocketAddr, line: &str) -> String {
    let mut stream = patient(TcpStream::connect(address)).await.expect("the monitor's port listens");
    write(&mut stream, format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await;
    let mut answer = String::new();
    patient(stream.read_to_string(&mut answer)).await.expect("it answers in text");
    answer
}
