//! Datagrams.

use std::net::{Ipv4Addr, Ipv6Addr};

use node::{Flow, ListenerId, Transport};
use tokio::net::UdpSocket;

use crate::support::*;

#[tokio::test]
async fn a_datagram_goes_round_on_both_families() {
    let ips = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut setup = Setup::default();
    setup.listeners.extend(ips.map(|ip| listener(Transport::Udp, ip)));
    let mut server = setup.start();
    for (index, ip) in ips.into_iter().enumerate() {
        let client = UdpSocket::bind((ip, 0)).await.expect("loopback has free ports");
        client.connect(server.addresses[index]).await.expect("loopback routes");
        for body in ["one", "two"] {
            client.send(&message(body)).await.expect("loopback takes it");
            let mut buffer = [0; 2048];
            let length = patient(client.recv(&mut buffer)).await.expect("the server answers");
            assert_eq!(buffer[..length], message(body));
            let (flow, bytes) = server.received().await;
            let remote = client.local_addr().expect("it is bound");
            assert_eq!(flow, Flow::Datagram { listener: ListenerId(index as u16), remote });
            assert_eq!(bytes, message(body));
        }
    }
    assert_eq!(server.metric("chancery_net_messages_total{transport=\"udp\",direction=\"in\"}").await, 4.0);
    server.stop().await;
}

#[tokio::test]
async fn the_largest_datagram_comes_whole_and_a_burst_comes_in_order() {
    let mut server = Setup::listen(Transport::Udp).start();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    // The largest payload of an IPv4 datagram.
    let large = vec![b'x'; 65_507];
    client.send_to(&large, server.addresses[0]).await.expect("loopback takes it");
    assert_eq!(server.received().await.1, large);
    // More than one turn of the socket.
    for n in 0..100 {
        client.send_to(format!("n{n}").as_bytes(), server.addresses[0]).await.expect("loopback takes it");
    }
    for n in 0..100 {
        assert_eq!(server.received().await.1, format!("n{n}"));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_unreachable_peer_harms_nobody() {
    let mut server = Setup::listen(Transport::Udp).start();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    gone.send_to(b"OPTIONS", server.addresses[0]).await.expect("loopback takes it");
    let (flow, _) = server.received().await;
    drop(gone);
    // The first draws an ICMP error, which the second would find on the socket.
    for _ in 0..2 {
        server.command(Command::Send(flow, message("nobody").into())).await;
    }
    client.send_to(&message("somebody"), server.addresses[0]).await.expect("loopback takes it");
    assert_eq!(server.received().await.1, message("somebody"));
    server.stop().await;
}
