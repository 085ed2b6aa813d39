//! HTTPS: the road of contact lists and access rules. What a client meets there, and that SIP goes on beside it.

use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

use system_tests::{Https, PATIENCE, Road, Server, Transport};

use crate::tls::issue_anew;

fn connect(server: &Server) -> Https {
    Https::connect(server.https(), &server.ca())
}

#[test]
fn a_connection_carries_many_requests_and_an_unknown_path_is_404() {
    let server = Server::start();
    let mut client = connect(&server);
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/nothing/here", &[], "").status, 404);
    }
    let metrics = server.get("/metrics");
    assert!(metrics.contains("chancery_https_requests_total{status=\"4xx\"} 3"), "{metrics}");
    assert!(metrics.contains("chancery_https_connections 1"), "{metrics}");
}

#[test]
fn what_is_too_large_is_refused_and_harms_nobody() {
    let server = Server::start();
    let mut other = connect(&server);
    let mut client = connect(&server);
    let long = "a".repeat(300 * 1024);
    assert_eq!(client.ask("GET", "/", &[("X", &long[..20_000])], "").status, 431);
    assert!(client.is_closed());
    // Nothing of it is read, so that the rest may meet a connection that is gone.
    let mut client = connect(&server);
    client.send(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 307200\r\n\r\n").expect("it is sent");
    assert_eq!(client.answer().expect("an answer").status, 413);
    assert!(client.is_closed());
    assert_eq!(other.ask("GET", "/", &[], "").status, 404);
}

/// A hundred clients that say nothing, or a little, are there all the time.
#[test]
fn slow_clients_hold_up_neither_others_nor_sip() {
    let server = Server::start();
    let silent: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(server.https()).expect("it listens")).collect();
    let mut slow: Vec<Https> = (0..50).map(|_| connect(&server)).collect();
    for (at, client) in slow.iter_mut().enumerate() {
        let beginning: &[u8] = match at % 2 {
            0 => b"GET / HTTP/1.1\r\nHost: h\r\nX: ",
            _ => b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
        };
        client.send(beginning).expect("it is sent");
    }
    assert_eq!(connect(&server).ask("GET", "/", &[], "").status, 404);
    let (alice, bob) =
        (server.device("alice", Road::v4(Transport::Tls)), server.device("bob", Road::v4(Transport::Udp)));
    alice.register("");
    bob.register("");
    let message = alice.send(alice.message(&bob.uri(), "hello"));
    let received = bob.expect("MESSAGE");
    bob.respond(&received, 200);
    assert_eq!(alice.answer(message).status(), Some(200));
    assert!(
        server.get("/metrics").contains("chancery_https_connections 10"),
        "the slow ones are there still"
    );
    drop((slow, silent));
}

#[test]
fn plain_http_on_the_secure_port_gets_nothing() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.https()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is sent");
    let mut answer = Vec::new();
    // A reset is an end too; at most a TLS alert comes.
    drop(stream.read_to_end(&mut answer));
    assert!(answer.len() < 16, "{answer:?}");
}

#[test]
fn a_new_certificate_serves_new_connections_and_leaves_the_old_ones() {
    let server = Server::start();
    let mut old = connect(&server);
    assert_eq!(old.ask("GET", "/", &[], "").status, 404);
    issue_anew(&server);
    let deadline = Instant::now() + PATIENCE;
    // Each try is a handshake; the server looks at its files every few seconds.
    loop {
        let mut new = connect(&server);
        if new.server_certificate() != old.server_certificate() {
            assert_eq!(new.ask("GET", "/", &[], "").status, 404);
            break;
        }
        assert!(Instant::now() < deadline, "new connections still get the old certificate");
        // A connection that idles is closed before the patience ends.
        assert_eq!(old.ask("GET", "/", &[], "").status, 404);
    }
    assert_eq!(old.ask("GET", "/", &[], "").status, 404);
}

const LIST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
    <entry uri=\"sip:bob@example.test\"/></list></resource-lists>";
const LIST_TYPE: (&str, &str) = ("Content-Type", "application/resource-lists+xml");

#[test]
fn a_contact_list_is_its_owners_and_outlives_the_server() {
    let mut server = Server::start();
    let (alice, bob) = (server.account("alice"), server.account("bob"));
    let mine = "/xcap/resource-lists/users/sip:alice@example.test/index";
    let mut client = connect(&server);
    assert_eq!(client.ask("GET", mine, &[], "").status, 401);
    let wrong = system_tests::Account { password: "a-wrong-password".to_owned(), ..alice.clone() };
    assert_eq!(client.ask_as(&wrong, "PUT", mine, &[LIST_TYPE], LIST).status, 401);
    assert_eq!(client.ask_as(&alice, "GET", mine, &[], "").status, 404, "nobody has written it");

    let put = client.ask_as(&alice, "PUT", mine, &[LIST_TYPE], LIST);
    assert_eq!(put.status, 201, "{put:?}");
    let got = client.ask_as(&alice, "GET", mine, &[], "");
    assert_eq!((got.status, got.body.as_str()), (200, LIST));
    let tag = got.header("etag").expect("a tag").to_owned();
    assert_eq!(put.header("etag"), Some(&*tag));
    // Another device of hers, by conditions.
    let mut other = connect(&server);
    assert_eq!(other.ask_as(&alice, "GET", mine, &[("If-None-Match", &tag)], "").status, 304);
    let conflict = [LIST_TYPE, ("If-Match", "\"another\"")];
    assert_eq!(other.ask_as(&alice, "PUT", mine, &conflict, LIST).status, 412);

    // To somebody else it is as if it were not there, whether it is or not.
    let nobodys = "/xcap/resource-lists/users/sip:nobody@example.test/index";
    for method in ["GET", "PUT", "DELETE"] {
        let headers: &[(&str, &str)] = if method == "PUT" { &[LIST_TYPE] } else { &[] };
        let body = if method == "PUT" { LIST } else { "" };
        let answers = [mine, nobodys].map(|target| {
            let mut answer = other.ask_as(&bob, method, target, headers, body);
            answer.headers.retain(|(name, _)| name != "date");
            answer
        });
        assert_eq!(answers[0].status, 404, "{method}");
        assert_eq!(answers[0], answers[1], "{method}");
    }
    assert_eq!(client.ask_as(&alice, "GET", mine, &[], "").body, LIST);

    server.restart();
    let again = connect(&server).ask_as(&alice, "GET", mine, &[], "");
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (200, LIST, Some(&*tag)));
}
