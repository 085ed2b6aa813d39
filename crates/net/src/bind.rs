//! Sockets to listen on: bound before a node is made, so that it knows its addresses.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use node::{Listener, Side, Transport};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::tls::{ClientCertificates, TlsServer};

/// Connections that the kernel completes before we accept them: a reconnect storm of a second.
const BACKLOG: i32 = 4096;
/// Buffers asked for a datagram socket, in octets: 4,000 messages of 1 KB, half a second of a busy server. The kernel
/// cuts it to `net.core.rmem_max`.
const DATAGRAM_BUFFER_OCTETS: usize = 4 * 1024 * 1024;
/// Silence after which the kernel asks whether the peer still lives. Address translators forget after some minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Time between the kernel's questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Unanswered questions after which a connection is broken.
const KEEPALIVE_RETRIES: u32 = 4;

/// Where to listen, and for what.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// What is spoken.
    pub transport: Transport,
    /// Where. Port 0 lets the kernel choose. An IPv6 socket takes IPv6 only. A host with several addresses binds each
    /// of them for UDP: from a wildcard socket the kernel answers with the address of the route back, which may not
    /// be the one that was asked.
    pub address: SocketAddr,
    /// The host that Via, Record-Route and Path show to peers; IPv6 addresses in brackets.
    pub advertised_host: String,
    /// Which network it faces.
    pub side: Side,
    /// The certificate; needed for TLS and WSS, ignored for others.
    pub tls: Option<Arc<TlsServer>>,
    /// Whether TLS clients are asked for a certificate; not for WebSockets.
    pub client_certificates: ClientCertificates,
    /// Web origins (`https://im.example.com`) that may open WebSockets; empty: any. Clients that are no browsers send
    /// no Origin and are let in (RFC 6455 §10.2): the check protects the users of browsers, it authenticates nobody.
    pub origins: Vec<String>,
}

/// A bound socket.
#[derive(Debug)]
pub struct Bound {
    pub(crate) socket: BoundSocket,
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<TlsServer>>,
    pub(crate) client_certificates: ClientCertificates,
    pub(crate) origins: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum BoundSocket {
    Datagram(UdpSocket),
    Stream(TcpListener),
}

impl Bound {
    /// Binds, and for streams starts to listen. Errors are those of the system; a missing certificate, and asking browsers
    /// for one, is [`io::ErrorKind::InvalidInput`].
    pub fn bind(config: &ListenerConfig) -> io::Result<Bound> {
        if config.transport.is_secure() && config.tls.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a secure listener needs a certificate"));
        }
        if config.transport == Transport::Wss && config.client_certificates == ClientCertificates::Ask {
            let why = "browsers prompt their users where a certificate is asked for";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let socket = match config.transport {
            Transport::Udp => BoundSocket::Datagram(bind_datagram(config.address)?),
            _ => BoundSocket::Stream(bind_stream(config.address)?),
        };
        let address = match &socket {
            BoundSocket::Datagram(s) => s.local_addr()?,
            BoundSocket::Stream(s) => s.local_addr()?,
        };
        Ok(Bound {
            socket,
            listener: Listener {
                transport: config.transport,
                address,
                advertised_host: config.advertised_host.clone(),
                side: config.side,
            },
            tls: config.tls.clone().filter(|_| config.transport.is_secure()),
            client_certificates: config.client_certificates,
            origins: config.origins.clone(),
        })
    }

    /// What the node is told of it, with the real port.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }
}

fn bind_datagram(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_recv_buffer_size(DATAGRAM_BUFFER_OCTETS)?;
    socket.set_send_buffer_size(DATAGRAM_BUFFER_OCTETS)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn bind_stream(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
    // Old connections in TIME_WAIT do not keep a restarted server from its port.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these, which saves system calls for each of them.
    configure_stream(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// No delay: a message is written whole. Keep-alive: a peer that vanished is found within four minutes.
pub(crate) fn configure_stream(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
