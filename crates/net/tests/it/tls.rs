//! TLS, accepted and opened.

use std::time::Duration;

use node::{
    CloseReason, ConnectError, ConnectTarget, ConnectToken, Expected, Flow, PeerIdentity, Side, Transport,
};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

#[tokio::test]
async fn messages_go_round_in_both_versions() {
    let authority = Authority::new();
    let tls = authority.server(&["localhost"]);
    let mut server = Setup::listen_tls(Transport::Tls, &tls).start();
    for version in [&TLS12, &TLS13] {
        let mut client = authority.connect(server.addresses[0], &[version]).await;
        let (id, peer) = server.connected().await;
        assert_eq!((peer.transport, peer.identity), (Transport::Tls, PeerIdentity::Anonymous));
        // One message in a record, one in many records, many in one.
        let large = message(&"x".repeat(60_000));
        let small = [message("a"), message("b")].concat();
        for octets in [&message("hello")[..], &large, &small] {
            write(&mut client, octets).await;
            expect(&mut client, octets).await;
        }
        for octet in message("in single records") {
            write(&mut client, &[octet]).await;
        }
        expect(&mut client, &message("in single records")).await;
        for expected in [message("hello"), large, message("a"), message("b"), message("in single records")] {
            assert_eq!(server.received().await, (Flow::Connection(id), expected.into()));
        }
        client.shutdown().await.expect("close_notify is sent");
        assert_eq!(server.closed().await, (id, CloseReason::PeerClosed));
        assert!(read_to_end(&mut client).await.is_empty());
    }
    assert_eq!(server.metric("chancery_net_tls_handshakes_total{result=\"ok\"}").await, 2.0);
    server.stop().await;
}

/// Lets through one octet at a time.
async fn trickle(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).expect("it is a TCP socket");
    let (mut from_read, mut from_write) = from.split();
    let (mut to_read, mut to_write) = to.split();
    let there = async {
        let mut octet = [0];
        while let Ok(1) = tokio::io::AsyncReadExt::read(&mut from_read, &mut octet).await {
            to_write.write_all(&octet).await.expect("the server reads");
        }
        to_write.shutdown().await.expect("it is connected");
    };
    // The test ends when the client has what it wants; nobody waits for this.
    let back = tokio::io::copy(&mut to_read, &mut from_write);
    let _ends = tokio::join!(there, back);
}

#[tokio::test]
async fn records_may_come_octet_by_octet() {
    let authority = Authority::new();
    let mut server = Setup::listen_tls(Transport::Tls, &authority.server(&["localhost"])).start();
    let middle = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = middle.local_addr().expect("it is bound");
    let server_address = server.addresses[0];
    tokio::spawn(async move {
        while let Ok((client, _)) = middle.accept().await {
            let onward = TcpStream::connect(server_address).await.expect("the server listens");
            tokio::spawn(trickle(client, onward));
        }
    });
    for version in [&TLS12, &TLS13] {
        let mut client = authority.connect(address, &[version]).await;
        server.connected().await;
        write(&mut client, &message("slowly")).await;
        assert_eq!(server.received().await.1, message("slowly"));
        expect(&mut client, &message("slowly")).await;
        drop(client);
        server.closed().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let authority = Authority::new();
    let tls = authority.server(&["localhost"]);
    let mut server = Setup::listen_tls(Transport::Tls, &tls).start();
    let mut old = authority.connect(server.addresses[0], &[&TLS13]).await;
    server.connected().await;
    let (chain, key) = authority.issue(&["localhost"]);
    assert!(tls.reload(chain.as_bytes(), b"no key").is_err());
    assert!(
        tls.reload(authority.issue(&["localhost"]).0.as_bytes(), key.as_bytes()).is_err(),
        "key of another"
    );
    tls.reload(chain.as_bytes(), key.as_bytes()).expect("the certificate is good");
    let mut new = authority.connect(server.addresses[0], &[&TLS13]).await;
    server.connected().await;
    let certificate = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("the server has one")[0].clone()
    };
    assert_ne!(certificate(&old), certificate(&new));
    assert_eq!(chain, pem(&certificate(&new)));
    for client in [&mut old, &mut new] {
        write(client, &message("on")).await;
        expect(client, &message("on")).await;
    }
    server.stop().await;
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\r\n{}\r\n-----END CERTIFICATE-----\r\n", lines.join("\r\n"))
        .replace("\r\n", "\n")
}

#[tokio::test]
async fn garbage_is_answered_with_an_alert_and_shown_to_nobody() {
    let authority = Authority::new();
    let mut server = Setup::listen_tls(Transport::Tls, &authority.server(&["localhost"])).start();
    let garbage: [&[u8]; 3] =
        [&message("plain text on the TLS port"), &[0x16, 3, 1, 0xff, 0xff, 1], &[0x16, 3, 1, 0, 2, 0x63, 0]];
    for octets in garbage {
        let mut client = TcpStream::connect(server.addresses[0]).await.expect("the server listens");
        write(&mut client, octets).await;
        client.shutdown().await.expect("it is connected");
        let answer = read_to_end(&mut client).await;
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert or nothing: {answer:?}");
    }
    // Garbage after the handshake ends a connection that the node knows.
    let mut client = authority.connect(server.addresses[0], &[&TLS13]).await;
    let (id, _) = server.connected().await;
    let raw = client.get_mut().0;
    write(raw, &[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .await;
    assert_eq!(server.closed().await, (id, CloseReason::ProtocolError));
    assert_eq!(server.metric("chancery_net_tls_handshakes_total{result=\"failed\"}").await, 3.0);
    assert_eq!(server.metric("chancery_net_connections{transport=\"tls\"}").await, 0.0);
    server.stop().await;
}

#[tokio::test]
async fn an_unfinished_handshake_ends() {
    let authority = Authority::new();
    let short = |o: &mut net::Options| o.first_message_timeout = Duration::from_millis(50);
    let server = Setup::listen_tls(Transport::Tls, &authority.server(&["localhost"])).options(short).start();
    let mut client = TcpStream::connect(server.addresses[0]).await.expect("the server listens");
    write(&mut client, &[0x16, 3, 1, 1, 0, 1]).await;
    assert!(read_to_end(&mut client).await.is_empty());
    assert_eq!(server.metric("chancery_net_refused_total{reason=\"handshake\"}").await, 1.0);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let authority = Authority::new();
    let mut server = Setup::listen_tls(Transport::Tls, &authority.server(&["localhost"])).start();
    let _client = authority.connect(server.addresses[0], &[&TLS13]).await;
    let (id, _) = server.connected().await;
    let large = bytes::Bytes::from(message(&"x".repeat(60_000)));
    for _ in 0..4000 {
        server.command(Command::Send(Flow::Connection(id), large.clone())).await;
        if let Ok(seen) = server.seen.try_recv() {
            assert_eq!(seen, Seen::Closed(id, CloseReason::SlowPeer));
            server.stop().await;
            return;
        }
    }
    panic!("the queue has no bound");
}

#[tokio::test]
async fn an_opened_connection_verifies_the_name() {
    let authority = Authority::new();
    let mut server =
        Setup::listen_tls(Transport::Tls, &authority.server(&["sip.example.com", "127.0.0.1"])).start();
    let mut client = Setup { networks: Some(authority.client()), ..Setup::default() }.start();
    let address = server.addresses[0];
    let target = |name: Option<&str>| ConnectTarget {
        transport: Transport::Tls,
        address,
        side: Side::Inside,
        expected: name.map(Expected::host),
    };
    for (token, name) in [(1, Some("sip.example.com")), (2, None)] {
        client.command(Command::Connect(ConnectToken(token), target(name))).await;
        let Seen::Connected(id, peer, Some(ConnectToken(answered))) = client.next().await else {
            panic!("the name or address is right");
        };
        assert_eq!(answered, token);
        let proved = peer.identity.certificate();
        assert!(proved.is_some_and(|c| c.names_host("sip.example.com") && c.names_host("127.0.0.1")));
        let (server_id, _) = server.connected().await;
        // No MESSAGE: two probes would send it back and forth for ever.
        let options = bytes::Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n");
        client.command(Command::Send(Flow::Connection(id), options.clone())).await;
        assert_eq!(server.received().await, (Flow::Connection(server_id), options.clone()));
        server.command(Command::Send(Flow::Connection(server_id), options.clone())).await;
        assert_eq!(client.received().await, (Flow::Connection(id), options));
        server.command(Command::Close(server_id)).await;
        assert_eq!(server.closed().await, (server_id, CloseReason::Requested));
        assert_eq!(client.closed().await, (id, CloseReason::PeerClosed));
    }
    server.stop().await;
    client.stop().await;
}

#[tokio::test]
async fn a_wrong_name_or_an_unknown_authority_fails() {
    let authority = Authority::new();
    let server = Setup::listen_tls(Transport::Tls, &authority.server(&["sip.example.com"])).start();
    let roots = [authority.client(), Authority::new().client()];
    for (networks, name) in [(&roots[0], "sip.example.org"), (&roots[1], "sip.example.com")] {
        let mut client = Setup { networks: Some(networks.clone()), ..Setup::default() }.start();
        let target = ConnectTarget {
            transport: Transport::Tls,
            address: server.addresses[0],
            side: Side::Inside,
            expected: Some(Expected::host(name)),
        };
        client.command(Command::Connect(ConnectToken(1), target)).await;
        let Seen::ConnectFailed(ConnectToken(1), ConnectError::Tls(why)) = client.next().await else {
            panic!("nobody proved that name");
        };
        assert!(why.contains("certificate"), "{why}");
        client.stop().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_never_answers_the_hello_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = silent.local_addr().expect("it is bound");
    let setup = Setup { networks: Some(Authority::new().client()), ..Setup::default() };
    let mut client = setup.options(|o| o.connect_timeout = Duration::from_millis(50)).start();
    let target = ConnectTarget { transport: Transport::Tls, address, side: Side::Inside, expected: None };
    client.command(Command::Connect(ConnectToken(1), target)).await;
    assert_eq!(client.next().await, Seen::ConnectFailed(ConnectToken(1), ConnectError::TimedOut));
    client.stop().await;
}
