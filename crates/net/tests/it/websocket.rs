//! SIP over WebSocket, plain and over TLS.

use std::time::Duration;

use node::{CloseReason, Flow, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::support::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn handshake(extra: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n{extra}\r\n"
    )
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [0xa5, 0x00, 0xff, 0x3c];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m));
    out
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    patient(async {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.expect("a frame comes");
        assert_eq!(head[1] & 0x80, 0, "servers do not mask (RFC 6455 §5.1)");
        let length = match head[1] {
            126 => usize::from(stream.read_u16().await.expect("a length comes")),
            127 => stream.read_u64().await.expect("a length comes") as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a payload comes");
        (head[0], payload)
    })
    .await
}

async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), extra: &str) {
    write(stream, handshake(extra).as_bytes()).await;
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
    expect(stream, expected.as_bytes()).await;
}

async fn connect(server: &Server) -> TcpStream {
    patient(TcpStream::connect(server.addresses[0])).await.expect("the server listens")
}

async fn round_trips(server: &mut Server, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let (id, _) = server.connected().await;
    let flow = Flow::Connection(id);
    for body in ["", "small", &"medium".repeat(100), &"large ".repeat(10_000)] {
        write(stream, &frame(TEXT, &message(body))).await;
        assert_eq!(read_frame(stream).await, (TEXT, message(body)));
        assert_eq!(server.received().await, (flow, message(body).into()));
    }
    let not_utf8 = [&message("x")[..], &[0xff]].concat();
    write(stream, &frame(BINARY, &not_utf8)).await;
    assert_eq!(read_frame(stream).await, (BINARY, not_utf8.clone()));
    assert_eq!(server.received().await, (flow, not_utf8.into()));
    // A message in fragments, with a ping between them, in single octets.
    let pieces = [
        frame(0x01, b"MESSAGE sip:"),
        frame(PING, b"?"),
        frame(0x00, b"a SIP"),
        frame(0x80, b"/2.0\r\n\r\n"),
    ];
    for octet in pieces.concat() {
        write(stream, &[octet]).await;
    }
    assert_eq!(read_frame(stream).await, (PONG, b"?".into()));
    assert_eq!(read_frame(stream).await, (TEXT, b"MESSAGE sip:a SIP/2.0\r\n\r\n".into()));
    assert_eq!(server.received().await, (flow, "MESSAGE sip:a SIP/2.0\r\n\r\n".into()));
    write(stream, &frame(TEXT, b"\r\n\r\n")).await;
    assert_eq!(server.next().await, Seen::Ping(id));
    assert_eq!(read_frame(stream).await, (TEXT, b"\r\n".into()));
    write(stream, &frame(CLOSE, &1001u16.to_be_bytes())).await;
    assert_eq!(read_frame(stream).await, (CLOSE, 1001u16.to_be_bytes().into()));
    assert_eq!(server.closed().await, (id, CloseReason::PeerClosed));
    assert!(read_to_end(stream).await.is_empty());
}

#[tokio::test]
async fn messages_go_round() {
    let mut server = Setup::listen(Transport::Ws).start();
    let mut client = connect(&server).await;
    client.set_nodelay(true).expect("it is a TCP socket");
    upgrade(&mut client, "").await;
    round_trips(&mut server, &mut client).await;
    server.stop().await;
}

#[tokio::test]
async fn messages_go_round_over_tls() {
    let authority = Authority::new();
    let mut server = Setup::listen_tls(Transport::Wss, &authority.server(&["localhost"])).start();
    let mut client = authority.connect(server.addresses[0], &[&rustls::version::TLS13]).await;
    upgrade(&mut client, "").await;
    round_trips(&mut server, &mut client).await;
    assert_eq!(server.metric("chancery_net_tls_handshakes_total{result=\"ok\"}").await, 1.0);
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_may_come_in_single_octets_with_a_frame_behind_it() {
    let mut server = Setup::listen(Transport::Ws).start();
    let mut client = connect(&server).await;
    client.set_nodelay(true).expect("it is a TCP socket");
    for octet in [handshake("").as_bytes(), &frame(TEXT, &message("at once"))].concat() {
        write(&mut client, &[octet]).await;
    }
    server.connected().await;
    assert_eq!(server.received().await.1, message("at once"));
    server.stop().await;
}

#[tokio::test]
async fn handshakes_are_refused_and_never_shown() {
    let mut setup = Setup::listen(Transport::Ws);
    setup.listeners[0].origins = vec!["https://im.example".to_owned()];
    let mut server = setup.start();
    let cases = [
        (handshake("Origin: https://evil.example\r\n"), "403"),
        (handshake("").replace("Protocol: sip", "Protocol: xmpp"), "400"),
        (handshake("").replace("Version: 13", "Version: 8"), "426"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "426"),
        ("REGISTER sip:a SIP/2.0\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(20_000)), "431"),
    ];
    for (request, status) in &cases {
        let mut client = connect(&server).await;
        write(&mut client, request.as_bytes()).await;
        let answer = read_to_end(&mut client).await;
        assert_eq!(String::from_utf8_lossy(&answer[..13]), format!("HTTP/1.1 {status} "));
    }
    assert_eq!(server.metric("chancery_net_refused_total{reason=\"handshake\"}").await, cases.len() as f64);
    let mut client = connect(&server).await;
    upgrade(&mut client, "Origin: https://im.example\r\n").await;
    server.connected().await;
    server.stop().await;
}

#[tokio::test]
async fn violations_are_told_by_code_and_end_the_connection() {
    let mut server = Setup::listen(Transport::Ws).start();
    let mut unmasked = frame(TEXT, b"");
    unmasked[1] = 0;
    let too_big = [&[TEXT, 0xff][..], &(65_537u64).to_be_bytes(), &[0; 4]].concat();
    let endless = frame(0x01, &vec![b'x'; 65_536]);
    let cases = [
        (unmasked, 1002),
        (frame(0x83, b""), 1002),
        (frame(0xc1, b""), 1002),
        (frame(0x80, b""), 1002),
        (frame(TEXT, &[0xc3, 0x28]), 1007),
        (too_big, 1009),
        ([endless, frame(0x00, b"x")].concat(), 1009),
    ];
    for (octets, code) in cases {
        let mut client = connect(&server).await;
        upgrade(&mut client, "").await;
        let (id, _) = server.connected().await;
        write(&mut client, &octets).await;
        assert_eq!(read_frame(&mut client).await, (CLOSE, (code as u16).to_be_bytes().into()));
        assert_eq!(server.closed().await, (id, CloseReason::ProtocolError));
        assert!(read_to_end(&mut client).await.is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn an_unfinished_handshake_and_an_unfinished_message_end() {
    let short = |o: &mut net::Options| {
        o.first_message_timeout = Duration::from_millis(50);
        o.incomplete_message_timeout = Duration::from_millis(50);
    };
    let mut server = Setup::listen(Transport::Ws).options(short).start();
    let mut client = connect(&server).await;
    write(&mut client, &handshake("").as_bytes()[..50]).await;
    assert!(read_to_end(&mut client).await.is_empty());
    for unfinished in [frame(0x01, b"MESSAGE"), frame(TEXT, b"MESSAGE")[..5].to_vec()] {
        let mut client = connect(&server).await;
        upgrade(&mut client, "").await;
        let (id, _) = server.connected().await;
        write(&mut client, &frame(TEXT, &message("whole"))).await;
        server.received().await;
        write(&mut client, &unfinished).await;
        assert_eq!(server.closed().await, (id, CloseReason::Broken));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_requested_close_says_so() {
    let mut server = Setup::listen(Transport::Ws).start();
    let mut client = connect(&server).await;
    upgrade(&mut client, "").await;
    let (id, _) = server.connected().await;
    server.command(Command::Send(Flow::Connection(id), message("last").into())).await;
    server.command(Command::Close(id)).await;
    assert_eq!(read_frame(&mut client).await, (TEXT, message("last")));
    assert_eq!(read_frame(&mut client).await, (CLOSE, 1000u16.to_be_bytes().into()));
    assert_eq!(server.closed().await, (id, CloseReason::Requested));
    server.stop().await;
}
