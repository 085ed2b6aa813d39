//! Plain streams: framing, slow and hostile peers, limits, ends.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use net::Adjustment;
use node::{
    CloseReason, ConnectError, ConnectTarget, ConnectToken, Flow, ListenerId, PeerIdentity, Transport,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

async fn connect(server: &Server) -> TcpStream {
    patient(TcpStream::connect(server.addresses[0])).await.expect("the server listens")
}

#[tokio::test]
async fn a_message_goes_round_on_both_families() {
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let mut server = Setup { listeners: vec![listener(Transport::Tcp, ip)], ..Setup::default() }.start();
        let mut client = connect(&server).await;
        let (id, peer) = server.connected().await;
        assert_eq!(peer.remote, client.local_addr().expect("it is connected"));
        assert_eq!(peer.local, server.addresses[0]);
        assert_eq!((peer.listener, peer.identity), (Some(ListenerId(0)), PeerIdentity::Anonymous));
        write(&mut client, &message("hello")).await;
        assert_eq!(server.received().await, (Flow::Connection(id), message("hello").into()));
        expect(&mut client, &message("hello")).await;
        drop(client);
        assert_eq!(server.closed().await, (id, CloseReason::PeerClosed));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stream_in_single_octets_and_one_in_a_lump_give_the_same_messages() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let bodies = ["", "a", "two words", &"long ".repeat(200)];
    let stream: Vec<u8> = bodies.iter().flat_map(|body| message(body)).collect();
    for size in [1, 7, stream.len()] {
        let mut client = connect(&server).await;
        client.set_nodelay(true).expect("it is a TCP socket");
        let (id, _) = server.connected().await;
        for piece in stream.chunks(size) {
            write(&mut client, piece).await;
        }
        for body in bodies {
            assert_eq!(server.received().await, (Flow::Connection(id), message(body).into()));
        }
        expect(&mut client, &stream).await;
        drop(client);
        server.closed().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_larger_than_one_read_comes_whole() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    server.connected().await;
    let large = message(&"x".repeat(60_000));
    let lump: Vec<u8> = (0..8).flat_map(|_| large.clone()).collect();
    let (mut reader, mut writer) = client.split();
    tokio::join!(write(&mut writer, &lump), expect(&mut reader, &lump));
    for _ in 0..8 {
        assert_eq!(server.received().await.1, large);
    }
    server.stop().await;
}

#[tokio::test]
async fn many_that_are_ready_together_are_all_answered_in_order() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut clients = Vec::new();
    // More than end their turns together.
    for _ in 0..150 {
        clients.push(connect(&server).await);
        server.connected().await;
    }
    let (held, holding) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    tokio::join!(server.command(Command::Hold(held, released)), async {
        holding.recv_timeout(PATIENCE).expect("the driver takes the command");
        for (at, client) in clients.iter_mut().enumerate() {
            for body in ["first", "second", "third"] {
                write(client, &message(&format!("{body} of {at}"))).await;
            }
            if at % 2 == 0 {
                client.shutdown().await.expect("it is connected");
            }
        }
        drop(release);
    });
    for (at, client) in clients.iter_mut().enumerate() {
        for body in ["first", "second", "third"] {
            expect(client, &message(&format!("{body} of {at}"))).await;
        }
        if at % 2 == 0 {
            assert!(read_to_end(client).await.is_empty(), "the end comes after the answers");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn pings_are_answered_between_messages() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    write(&mut client, &[b"\r\n\r\n", &message("x")[..], b"\r\n\r\n"].concat()).await;
    assert_eq!(server.next().await, Seen::Ping(id));
    assert_eq!(server.received().await.1, message("x"));
    assert_eq!(server.next().await, Seen::Ping(id));
    expect(&mut client, &[b"\r\n", &message("x")[..], b"\r\n"].concat()).await;
    server.stop().await;
}

#[tokio::test]
async fn lost_framing_is_answered_and_ends_the_connection() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    let bad = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n";
    // What comes behind is never looked at, and does not keep the answer from arriving.
    write(&mut client, &[&message("good")[..], bad, &message("smuggled")].concat()).await;
    assert_eq!(server.received().await.1, message("good"));
    let Seen::Unframed(unframed, bytes, status) = server.next().await else {
        panic!("the framing is lost");
    };
    assert_eq!((unframed, &bytes[..], status), (id, &bad[..], 400));
    assert_eq!(server.closed().await, (id, CloseReason::ProtocolError));
    let rest = read_to_end(&mut client).await;
    let expected = [&message("good")[..], b"SIP/2.0 400 No\r\nContent-Length: 0\r\n\r\n"].concat();
    assert_eq!(String::from_utf8_lossy(&rest), String::from_utf8_lossy(&expected));
    server.stop().await;
}

#[tokio::test]
async fn a_requested_close_comes_after_what_was_sent() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    // More than the kernel takes at once, less than the queue.
    server.command(Command::Send(Flow::Connection(id), message("last").into())).await;
    server.command(Command::Close(id)).await;
    assert_eq!(server.closed().await, (id, CloseReason::Requested));
    assert_eq!(read_to_end(&mut client).await, message("last"));
    drop(client);
    server.command(Command::Send(Flow::Connection(id), message("too late").into())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let _client = connect(&server).await;
    let (id, _) = server.connected().await;
    let large = bytes::Bytes::from(message(&"x".repeat(60_000)));
    // The kernel's buffers grow to some megabytes; beyond 4,000 messages of 60 KB nobody bounded anything.
    for _ in 0..4000 {
        server.command(Command::Send(Flow::Connection(id), large.clone())).await;
        if let Ok(seen) = server.seen.try_recv() {
            assert_eq!(seen, Seen::Closed(id, CloseReason::SlowPeer));
            assert_eq!(server.metric("chancery_net_queue_overflows_total").await, 1.0);
            server.stop().await;
            return;
        }
    }
    panic!("the queue has no bound");
}

#[tokio::test]
async fn what_waits_for_a_slow_peer_arrives_in_order_when_it_reads() {
    let mut server = Setup::listen(Transport::Tcp).options(|o| o.send_queue_octets_max = 64 << 20).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    // Far more than the kernel holds.
    let all: Vec<Vec<u8>> = (0..400).map(|n| message(&format!("{n:06}").repeat(10_000))).collect();
    for one in &all {
        server.command(Command::Send(Flow::Connection(id), one.clone().into())).await;
    }
    server.command(Command::Close(id)).await;
    for one in &all {
        expect(&mut client, one).await;
    }
    assert_eq!(server.closed().await, (id, CloseReason::Requested));
    server.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_whole_message_ends() {
    let short = |o: &mut net::Options| o.first_message_timeout = Duration::from_millis(50);
    let mut server = Setup::listen(Transport::Tcp).options(short).start();
    let beginnings: [&[u8]; 3] = [b"", b"\r\n\r\n", b"MESSAGE sip:a SIP/2.0\r\nContent-"];
    for beginning in beginnings {
        let mut client = connect(&server).await;
        let (id, _) = server.connected().await;
        write(&mut client, beginning).await;
        let mut seen = server.next().await;
        if seen == Seen::Ping(id) {
            seen = server.next().await;
        }
        assert_eq!(seen, Seen::Closed(id, CloseReason::Broken));
        read_to_end(&mut client).await;
    }
    assert_eq!(server.metric("chancery_net_closed_total{reason=\"timed-out\"}").await, 3.0);
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_stays_incomplete_ends_its_connection_and_idleness_does_not() {
    let short = |o: &mut net::Options| {
        o.first_message_timeout = Duration::from_millis(50);
        o.incomplete_message_timeout = Duration::from_millis(50);
    };
    let mut server = Setup::listen(Transport::Tcp).options(short).start();
    let mut idle = connect(&server).await;
    let (idle_id, _) = server.connected().await;
    // A line end is no beginning of anything.
    write(&mut idle, &[&message("idle")[..], b"\r\n"].concat()).await;
    server.received().await;
    let mut stuck = connect(&server).await;
    let (stuck_id, _) = server.connected().await;
    write(&mut stuck, &[&message("x")[..], &message("y")[..20]].concat()).await;
    server.received().await;
    assert_eq!(server.closed().await, (stuck_id, CloseReason::Broken));
    // Both deadlines lie behind the idle one as well, for it came first.
    write(&mut idle, &message("still here")).await;
    assert_eq!(server.received().await, (Flow::Connection(idle_id), message("still here").into()));
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections_of_one_source_are_refused() {
    let mut server = Setup::listen(Transport::Tcp).options(|o| o.connections_per_source_max = 2).start();
    let first = connect(&server).await;
    let (first_id, _) = server.connected().await;
    let _second = connect(&server).await;
    server.connected().await;
    let mut third = connect(&server).await;
    assert!(read_to_end(&mut third).await.is_empty());
    assert_eq!(server.metric("chancery_net_refused_total{reason=\"source\"}").await, 1.0);
    drop(first);
    assert_eq!(server.closed().await.0, first_id);
    // Its place is free as soon as the server has seen it go, which its own end shows.
    let _fourth = connect(&server).await;
    server.connected().await;
    server.stop().await;
}

#[tokio::test]
async fn a_limit_that_is_lowered_leaves_what_is_there() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut first = connect(&server).await;
    let (first_id, _) = server.connected().await;
    let _second = connect(&server).await;
    server.connected().await;
    let adjustment = |connections_per_source_max| Adjustment {
        connections_per_source_max: Some(connections_per_source_max),
        ..Adjustment::default()
    };
    patient(server.handle.adjust(adjustment(1))).await.expect("it runs").expect("a resolver is made");
    let mut third = connect(&server).await;
    assert!(read_to_end(&mut third).await.is_empty());
    write(&mut first, &message("still here")).await;
    assert_eq!(server.received().await, (Flow::Connection(first_id), message("still here").into()));
    patient(server.handle.adjust(adjustment(3))).await.expect("it runs").expect("a resolver is made");
    let _fourth = connect(&server).await;
    server.connected().await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections_in_all_are_refused() {
    let mut server = Setup::listen(Transport::Tcp).options(|o| o.connections_max = 1).start();
    let _first = connect(&server).await;
    server.connected().await;
    assert!(read_to_end(&mut connect(&server).await).await.is_empty());
    assert_eq!(server.metric("chancery_net_refused_total{reason=\"total\"}").await, 1.0);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_opened_and_a_refused_one_fails() {
    let mut server = Setup::default().start();
    let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    let address = listening.local_addr().expect("it is bound");
    let target =
        ConnectTarget { transport: Transport::Tcp, address, side: node::Side::Inside, expected: None };
    server.command(Command::Connect(ConnectToken(5), target.clone())).await;
    let (mut accepted, _) = patient(listening.accept()).await.expect("somebody connects");
    let Seen::Connected(id, peer, token) = server.next().await else {
        panic!("it is connected");
    };
    assert_eq!((peer.listener, peer.remote, token), (None, address, Some(ConnectToken(5))));
    server.command(Command::Send(Flow::Connection(id), message("out").into())).await;
    expect(&mut accepted, &message("out")).await;
    write(&mut accepted, &message("back")).await;
    assert_eq!(server.received().await.1, message("back"));
    drop((accepted, listening));
    assert_eq!(server.closed().await.0, id);
    server.command(Command::Connect(ConnectToken(6), target)).await;
    let Seen::ConnectFailed(ConnectToken(6), ConnectError::Unreachable(_)) = server.next().await else {
        panic!("nobody listens there");
    };
    let target =
        ConnectTarget { transport: Transport::Ws, address, side: node::Side::Inside, expected: None };
    server.command(Command::Connect(ConnectToken(7), target)).await;
    assert!(matches!(
        server.next().await,
        Seen::ConnectFailed(ConnectToken(7), ConnectError::Unreachable(_))
    ));
    server.stop().await;
}

#[tokio::test]
async fn a_half_closed_peer_still_reads_its_answer() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    write(&mut client, &message("bye")).await;
    client.shutdown().await.expect("it is connected");
    assert_eq!(server.received().await.1, message("bye"));
    assert_eq!(server.closed().await, (id, CloseReason::PeerClosed));
    assert_eq!(read_to_end(&mut client).await, message("bye"));
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_closes_its_connections_in_order() {
    let mut server = Setup::listen(Transport::Tcp).start();
    let mut client = connect(&server).await;
    let (id, _) = server.connected().await;
    server.command(Command::Send(Flow::Connection(id), message("last").into())).await;
    let handle = server.handle.clone();
    let waiting = tokio::spawn(async move { handle.call(Command::Ignore).await });
    let reading = tokio::spawn(async move { read_to_end(&mut client).await });
    let handle = server.handle.clone();
    let mut seen = server.stop().await;
    assert_eq!(patient(seen.recv()).await, Some(Seen::Closed(id, CloseReason::Shutdown)));
    assert_eq!(patient(reading).await.expect("it does not panic"), message("last"));
    assert_eq!(patient(waiting).await.expect("it does not panic"), Err(net::CallError::Stopped));
    assert_eq!(handle.call(Command::Ignore).await, Err(net::CallError::Stopped));
}

#[tokio::test]
async fn beginnings_on_many_connections_have_one_limit_and_whole_messages_pass() {
    let mut server = Setup::listen(Transport::Tcp).options(|o| o.incomplete_octets_max = 100_000).start();
    let beginning = &message(&"x".repeat(40_000))[..40_000];
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&server).await;
        let (id, _) = server.connected().await;
        write(&mut client, &[&message("first")[..], beginning].concat()).await;
        server.received().await;
        clients.push((client, id));
    }
    // Whoever comes last over the limit goes, whichever of the three it is.
    let (gone, reason) = server.closed().await;
    assert_eq!(reason, CloseReason::ProtocolError);
    assert_eq!(server.metric("chancery_net_incomplete_overflows_total").await, 1.0);
    // The others hold 80,000 octets, and a small message in one piece needs nothing of the rest.
    let mut other = connect(&server).await;
    server.connected().await;
    write(&mut other, &message("whole")).await;
    assert_eq!(server.received().await.1, message("whole"));
    // An end gives back what was held.
    clients.retain(|(_, id)| *id != gone);
    drop(clients);
    server.closed().await;
    server.closed().await;
    write(&mut other, beginning).await;
    write(&mut other, &message(&"x".repeat(40_000))[40_000..]).await;
    assert_eq!(server.received().await.1, message(&"x".repeat(40_000)));
    server.stop().await;
}
