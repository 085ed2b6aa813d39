//! Certificates: checked by clients, and changed under open connections.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pki::{Authority, ServerNames};
use system_tests::{Device, Link, PATIENCE, Road, Server, Transport};

#[test]
fn a_client_that_does_not_trust_the_authority_does_not_connect() {
    let (server, other) = (Server::start(), Server::start());
    for transport in [Transport::Tls, Transport::Wss] {
        let address = server.address(Road::v4(transport));
        assert!(Link::open(transport, address, &other.ca()).is_err(), "{transport:?}");
        assert!(Link::open(transport, address, &server.ca()).is_ok(), "{transport:?}");
    }
}

#[test]
fn plain_sip_on_the_secure_port_gets_nothing() {
    let server = Server::start();
    let address = server.address(Road::v4(Transport::Tls));
    let mut stream = TcpStream::connect(address).expect("TCP connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"OPTIONS sip:example.test SIP/2.0\r\n\r\n").expect("it is sent");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stands: {error}"),
    }
    // At most a TLS alert.
    assert!(answer.len() < 16, "{answer:?}");
}

#[test]
fn a_new_certificate_serves_new_connections_and_leaves_the_old_ones() {
    let server = Server::start();
    let devices: Vec<Device> = [Transport::Tls, Transport::Wss]
        .into_iter()
        .map(|transport| {
            let device = server.device("alice", Road::v4(transport));
            device.register("");
            device
        })
        .collect();
    let old = devices[0].server_certificate().expect("a certificate");
    issue_anew(&server);
    for device in &devices {
        let road =
            Road::v4(if device.contact().contains("transport=ws") { Transport::Wss } else { Transport::Tls });
        let deadline = Instant::now() + PATIENCE;
        // Each try is a handshake; the server looks at its files every few seconds.
        loop {
            let new = server.device("bob", road);
            if new.server_certificate().is_some_and(|certificate| certificate != old) {
                new.register("");
                break;
            }
            assert!(Instant::now() < deadline, "new connections still get the old certificate over {road}");
        }
        device.settle();
        assert!(device.is_open());
        device.register("");
    }
}

/// A pair of files that do not fit changes nothing: a rotation may be seen half done.
#[test]
fn a_certificate_that_does_not_fit_its_key_is_not_taken() {
    let server = Server::start();
    let alice = server.device("alice", Road::v4(Transport::Tls));
    let old = alice.server_certificate();
    let key = server.folder().join("server.key");
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .expect("it is written");
    server.expect_log("certificate");
    assert_eq!(server.device("bob", Road::v4(Transport::Tls)).server_certificate(), old);
}

/// Makes the server another certificate.
pub(crate) fn issue_anew(server: &Server) {
    let read = |name: &str| std::fs::read_to_string(server.folder().join(name)).expect("the demo wrote it");
    let authority =
        Authority::open(&read("ca/issuing.pem"), &read("ca/issuing.key")).expect("the demo's own CA");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    let names = ServerNames {
        domains: vec!["example.test".to_owned()],
        hosts: vec!["localhost".to_owned()],
        addresses: vec![[127, 0, 0, 1].into()],
    };
    let issued = authority.issue_server(&names, now).expect("it is issued");
    // As an administrator's tools do it: beside it, then in its place.
    let chain = authority.with_chain(&issued.certificate_pem);
    for (name, text) in [("server.key", &issued.key_pem), ("server.pem", &chain)] {
        let new = server.folder().join(format!("{name}.new"));
        std::fs::write(&new, text).expect("it is written");
        std::fs::rename(&new, server.folder().join(name)).expect("it is renamed");
    }
}
