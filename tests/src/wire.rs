//! One connection (or datagram socket) to a SIP server, over each transport that the server speaks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, mem};

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sip_message::framing::{self, Frame, Scan};

use crate::PATIENCE;
use crate::websocket::{self, Decoder, Opcode, WebSocketError};

/// A transport of SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// A secured stream.
    Tls,
    /// RFC 7118.
    Ws,
    /// RFC 7118 over TLS.
    Wss,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// 127.0.0.1.
    V4,
    /// `[::1]`.
    V6,
}

/// A way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Road {
    /// The transport.
    pub transport: Transport,
    /// The version of IP.
    pub family: Family,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    /// As the server and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// As it stands in Via.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// Whether TLS is under it.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// Whether it is a WebSocket.
    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

impl Road {
    /// Every transport over both versions of IP.
    pub const ALL: [Road; 10] = {
        let mut all = [Road::v4(Transport::Udp); 10];
        let mut at = 0;
        while at < 10 {
            all[at].transport = Transport::ALL[at / 2];
            all[at].family = if at % 2 == 0 { Family::V4 } else { Family::V6 };
            at += 1;
        }
        all
    };

    /// Over IPv4.
    pub const fn v4(transport: Transport) -> Road {
        Road { transport, family: Family::V4 }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.family == Family::V4 { 4 } else { 6 };
        write!(f, "{}{version}", self.transport.name())
    }
}

/// The sending half. Clones of the `Arc` around it may send from several threads; one [`LinkReader`] receives.
pub struct Link {
    transport: Transport,
    socket: Socket,
    tls: Option<Mutex<Connection>>,
    local: SocketAddr,
}

/// A certificate to show, with its key: PEM files.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Own {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

enum Socket {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// The receiving half.
pub struct LinkReader {
    link: Arc<Link>,
    plain: Vec<u8>,
    scan: Scan,
    frames: Decoder,
}

/// What arrives.
#[derive(Debug)]
pub enum Incoming {
    /// A whole SIP message.
    Message(Bytes),
    /// CRLF: the answer to a keep-alive (RFC 5626 §3.5.1).
    Pong,
    /// A datagram that is no SIP, such as a STUN message.
    Other(Bytes),
    /// The server closed the WebSocket with this code.
    WebSocketClosed(u16),
    /// The connection ended.
    Closed,
    /// Nothing, for as long as was waited; see [`LinkReader::receive_within`].
    TimedOut,
}

impl Own {
    fn read(&self) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(io::Error::other)?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        Ok((chain, PrivateKeyDer::from_pem_file(&self.key).map_err(io::Error::other)?))
    }
}

impl Link {
    /// Connects over TLS to a server that must bear `name`, and shows it a certificate where there is one.
    pub fn open_tls(
        server: SocketAddr,
        ca: &Path,
        name: &str,
        own: Option<&Own>,
    ) -> io::Result<(Arc<Link>, LinkReader)> {
        let stream = connected(server)?;
        let tls = handshake_as(&stream, ca, name, own)?;
        Link::secured(Transport::Tls, stream, tls.into())
    }

    /// The same with a WebSocket over it, as a browser opens one.
    pub fn open_wss(
        server: SocketAddr,
        ca: &Path,
        name: &str,
        own: Option<&Own>,
    ) -> io::Result<(Arc<Link>, LinkReader)> {
        let stream = connected(server)?;
        let tls = handshake_as(&stream, ca, name, own)?;
        let (link, mut reader) = Link::secured(Transport::Wss, stream, tls.into())?;
        link.set_read_timeout(Some(PATIENCE));
        reader.upgrade(&format!("{name}:{}", server.port()))?;
        link.set_read_timeout(None);
        Ok((link, reader))
    }

    /// A server's connection to us, as to the server that `own` proves.
    pub fn accepted_tls(stream: TcpStream, own: &Own) -> io::Result<(Arc<Link>, LinkReader)> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (chain, key) = own.read()?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let config = Arc::new(config.map_err(io::Error::other)?);
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut &stream)?;
        }
        Link::secured(Transport::Tls, stream, tls.into())
    }

    fn secured(
        transport: Transport,
        stream: TcpStream,
        mut tls: Connection,
    ) -> io::Result<(Arc<Link>, LinkReader)> {
        let local = stream.local_addr()?;
        // What came with the last octets of the handshake.
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut plain)?;
        let (socket, tls) = (Socket::Stream(stream), Some(Mutex::new(tls)));
        let link = Arc::new(Link { transport, socket, tls, local });
        let reader =
            LinkReader { link: link.clone(), plain, scan: Scan::default(), frames: Decoder::default() };
        link.set_read_timeout(None);
        Ok((link, reader))
    }

    /// Connects. `ca` is the PEM file of the CA that must have signed the server's certificate.
    pub fn open(transport: Transport, server: SocketAddr, ca: &Path) -> io::Result<(Arc<Link>, LinkReader)> {
        let socket = if transport == Transport::Udp {
            let any: IpAddr = server.ip();
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(server)?;
            Socket::Datagrams(socket)
        } else {
            Socket::Stream(connected(server)?)
        };
        let tls = match &socket {
            Socket::Stream(stream) if transport.is_secure() => {
                Some(Mutex::new(handshake(stream, ca)?.into()))
            }
            _ => None,
        };
        let local = match &socket {
            Socket::Datagrams(socket) => socket.local_addr()?,
            Socket::Stream(stream) => stream.local_addr()?,
        };
        let link = Arc::new(Link { transport, socket, tls, local });
        let mut reader = LinkReader {
            link: link.clone(),
            plain: Vec::new(),
            scan: Scan::default(),
            frames: Decoder::default(),
        };
        if transport.is_websocket() {
            reader.upgrade(&server.to_string())?;
        }
        // From here on reading waits for as long as the test does.
        link.set_read_timeout(None);
        Ok((link, reader))
    }

    /// The server's connection to us.
    pub fn accepted(stream: TcpStream) -> io::Result<(Arc<Link>, LinkReader)> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let local = stream.local_addr()?;
        let link = Link { transport: Transport::Tcp, socket: Socket::Stream(stream), tls: None, local };
        let link = Arc::new(link);
        let reader = LinkReader {
            link: link.clone(),
            plain: Vec::new(),
            scan: Scan::default(),
            frames: Decoder::default(),
        };
        Ok((link, reader))
    }

    /// Sends one SIP message, or whatever is to be one message.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        if self.transport.is_websocket() {
            self.send_octets(&websocket::client_frame(Opcode::Text, true, message))
        } else {
            self.send_octets(message)
        }
    }

    /// Sends octets as they are: below the WebSocket's framing, above TLS.
    pub fn send_octets(&self, octets: &[u8]) -> io::Result<()> {
        match (&self.socket, &self.tls) {
            (Socket::Datagrams(socket), _) => socket.send(octets).map(|_| ()),
            (Socket::Stream(stream), None) => {
                let mut stream = stream;
                stream.write_all(octets)
            }
            (Socket::Stream(stream), Some(tls)) => {
                let mut tls = tls.lock().expect("no thread panics while it holds the connection");
                for part in octets.chunks(16 * 1024) {
                    tls.writer().write_all(part)?;
                    flush(&mut tls, stream)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the connection; for datagrams, ends reading.
    pub fn close(&self) {
        match &self.socket {
            // A connected UDP socket is woken by its shutdown too, though the call says that it is not connected.
            Socket::Datagrams(socket) => {
                use std::os::fd::AsRawFd;
                shut_down(socket.as_raw_fd());
            }
            // It may be closed already.
            Socket::Stream(stream) => drop(stream.shutdown(std::net::Shutdown::Both)),
        }
    }

    fn set_read_timeout(&self, time: Option<Duration>) {
        let set = match &self.socket {
            Socket::Datagrams(socket) => socket.set_read_timeout(time),
            Socket::Stream(stream) => stream.set_read_timeout(time),
        };
        set.expect("no timeout here is zero");
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other end's address.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Datagrams(socket) => socket.peer_addr(),
            Socket::Stream(stream) => stream.peer_addr(),
        }
    }

    /// The transport.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The server's certificate, over TLS.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let tls = self.tls.as_ref()?.lock().expect("no thread panics while it holds the connection");
        tls.peer_certificates()?.first().map(|certificate| certificate.clone().into_owned())
    }

    /// Appends what arrives next; 0 at the end of the stream.
    fn read(&self, plain: &mut Vec<u8>) -> io::Result<usize> {
        let mut octets = vec![0; 64 * 1024];
        let read = match &self.socket {
            Socket::Datagrams(socket) => socket.recv(&mut octets)?,
            Socket::Stream(stream) => {
                let mut stream = stream;
                stream.read(&mut octets)?
            }
        };
        let Some(tls) = &self.tls else {
            plain.extend_from_slice(&octets[..read]);
            return Ok(read);
        };
        let mut tls = tls.lock().expect("no thread panics while it holds the connection");
        let mut input = &octets[..read];
        let mut decrypted = 0;
        while !input.is_empty() {
            tls.read_tls(&mut input)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let before = plain.len();
            plain.resize(before + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plain[before..])?;
            decrypted += plain.len() - before;
            // What came before the farewell counts.
            if state.peer_has_closed() {
                return Ok(decrypted);
            }
        }
        if let Socket::Stream(stream) = &self.socket {
            flush(&mut tls, stream)?;
        }
        Ok(read)
    }
}

impl LinkReader {
    /// Waits for what arrives next. `Err` only where the server broke the rules of a layer below SIP.
    pub fn receive(&mut self) -> Result<Incoming, WebSocketError> {
        loop {
            if let Some(incoming) = self.buffered()? {
                return Ok(incoming);
            }
            match self.link.read(&mut self.plain) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(Incoming::TimedOut);
                }
                Ok(0) | Err(_) => return Ok(Incoming::Closed),
                Ok(_) if self.link.transport == Transport::Udp => {
                    let datagram = Bytes::from(mem::take(&mut self.plain));
                    let is_text = datagram.first().is_some_and(u8::is_ascii_uppercase);
                    return Ok(if is_text { Incoming::Message(datagram) } else { Incoming::Other(datagram) });
                }
                Ok(_) => {}
            }
        }
    }

    /// Like [`LinkReader::receive`], but `None` where nothing comes in time.
    pub fn receive_within(&mut self, time: Duration) -> Result<Option<Incoming>, WebSocketError> {
        self.link.set_read_timeout(Some(time));
        let incoming = self.receive();
        self.link.set_read_timeout(None);
        match incoming? {
            Incoming::TimedOut => Ok(None),
            incoming => Ok(Some(incoming)),
        }
    }

    fn buffered(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        if self.link.transport.is_websocket() {
            return self.buffered_frame();
        }
        if self.plain == b"\r\n" {
            self.plain.clear();
            return Ok(Some(Incoming::Pong));
        }
        match framing::next_frame(&mut self.scan, &self.plain) {
            Frame::Partial { .. } => Ok(None),
            Frame::Message { length } => {
                Ok(Some(Incoming::Message(self.plain.drain(..length).collect::<Vec<u8>>().into())))
            }
            Frame::Ping { length } | Frame::Padding { length } => {
                self.plain.drain(..length);
                Ok(Some(Incoming::Pong))
            }
            Frame::Lost { reason, .. } => panic!("the server's stream is no SIP: {reason}"),
        }
    }

    fn buffered_frame(&mut self) -> Result<Option<Incoming>, WebSocketError> {
        while let Some((opcode, payload)) = self.frames.next(&mut self.plain)? {
            match opcode {
                Opcode::Text | Opcode::Binary if payload == b"\r\n" => return Ok(Some(Incoming::Pong)),
                Opcode::Text | Opcode::Binary => return Ok(Some(Incoming::Message(payload.into()))),
                Opcode::Close => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    return Ok(Some(Incoming::WebSocketClosed(code)));
                }
                Opcode::Pong => return Ok(Some(Incoming::Pong)),
                Opcode::Ping => {
                    let pong = websocket::client_frame(Opcode::Pong, true, &payload);
                    if self.link.send_octets(&pong).is_err() {
                        return Ok(Some(Incoming::Closed));
                    }
                }
            }
        }
        Ok(None)
    }

    fn upgrade(&mut self, host: &str) -> io::Result<()> {
        let (request, accept) = websocket::upgrade_request(host);
        self.link.send_octets(request.as_bytes())?;
        let end = loop {
            if let Some(end) = self.plain.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if self.link.read(&mut self.plain)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let answer: Vec<u8> = self.plain.drain(..end).collect();
        websocket::check_upgrade(&answer, &accept).map_err(io::Error::other)
    }
}

fn connected(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn handshake(stream: &TcpStream, ca: &Path) -> io::Result<ClientConnection> {
    handshake_as(stream, ca, "localhost", None)
}

fn handshake_as(
    stream: &TcpStream,
    ca: &Path,
    name: &str,
    own: Option<&Own>,
) -> io::Result<ClientConnection> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = own.read()?;
            config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
        }
    };
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = stream;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(tls)
}

fn flush(tls: &mut Connection, stream: &TcpStream) -> io::Result<()> {
    let mut stream = stream;
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    Ok(())
}

#[allow(unsafe_code, reason = "std has no shutdown for datagram sockets")]
fn shut_down(descriptor: std::os::fd::RawFd) {
    // SAFETY: shutdown takes any descriptor and touches no memory of ours.
    unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
}
