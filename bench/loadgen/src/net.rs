//! Non-blocking UDP, TCP and TLS sockets on one epoll instance; TLS ones are opened, or accepted where another server calls.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proto {
    Udp,
    Tcp,
    Tls,
}

impl Proto {
    pub fn parse(s: &str) -> Option<Proto> {
        match s {
            "udp" => Some(Proto::Udp),
            "tcp" => Some(Proto::Tcp),
            "tls" => Some(Proto::Tls),
            _ => None,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
            Proto::Tls => "tls",
        }
    }
    pub fn via(self) -> &'static str {
        match self {
            Proto::Udp => "UDP",
            Proto::Tcp => "TCP",
            Proto::Tls => "TLS",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No connection: others are accepted on it.
    Listening,
    Connecting,
    Handshaking,
    Up,
    Closed,
}

pub struct Conn {
    fd: i32,
    pub proto: Proto,
    pub state: State,
    pub local: SocketAddrV4,
    tls: Option<Box<Connection>>,
    /// Of a listening socket: how it shakes hands.
    accepts: Option<Arc<ServerConfig>>,
    /// The listening socket that it was accepted on.
    pub listener: Option<usize>,
    /// Bytes received and not yet framed (stream transports).
    pub inbuf: Vec<u8>,
    outbuf: Vec<u8>,
    polling_out: bool,
}

impl Conn {
    fn new(fd: i32, proto: Proto, state: State, local: SocketAddrV4, tls: Option<Box<Connection>>) -> Conn {
        Conn {
            fd,
            proto,
            state,
            local,
            tls,
            accepts: None,
            listener: None,
            inbuf: Vec::new(),
            outbuf: Vec::new(),
            polling_out: false,
        }
    }
}

pub struct Net {
    ep: i32,
    pub conns: Vec<Conn>,
    tls_config: Option<Arc<ClientConfig>>,
    tls_name: ServerName<'static>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub send_drops: u64,
    pub resumed: u64,
}

/// Accepts any server certificate: this is a load generator on loopback.
#[derive(Debug)]
struct AcceptAny(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &CertificateDer,
        d: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &CertificateDer,
        d: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub struct TlsOptions {
    pub resume: bool,
    pub tls12: bool,
    pub cert: Option<String>,
    pub key: Option<String>,
}

pub fn tls_config(o: &TlsOptions) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = if o.tls12 {
        &[&rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    };
    let b = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("tls versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)));
    let mut c = match (&o.cert, &o.key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(cert)
                .expect("read --cert")
                .map(|c| c.expect("--cert"))
                .collect();
            let key = PrivateKeyDer::from_pem_file(key).expect("read --key");
            b.with_client_auth_cert(chain, key).expect("client certificate")
        }
        _ => b.with_no_client_auth(),
    };
    if !o.resume {
        c.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(c)
}

/// A server that asks for a certificate under these CAs, and takes nobody without one.
pub fn tls_server_config(cert: &str, key: &str, authorities: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(authorities).expect("read the CAs") {
        roots.add(authority.expect("a CA")).expect("a CA");
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = CertificateDer::pem_file_iter(cert).expect("read a chain").map(|c| c.expect("a chain"));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("tls versions")
        .with_client_cert_verifier(clients.build().expect("CAs"))
        .with_single_cert(chain.collect(), PrivateKeyDer::from_pem_file(key).expect("read a key"))
        .expect("a certificate with its key");
    Arc::new(config)
}

fn last_err() -> io::Error {
    io::Error::last_os_error()
}

fn sockaddr(a: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: a.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
        sin_zero: [0; 8],
    }
}

struct Fd(i32);

impl Read for Fd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = unsafe { libc::recv(self.0, buf.as_mut_ptr().cast(), buf.len(), 0) };
        if n < 0 { Err(last_err()) } else { Ok(n as usize) }
    }
}

impl Write for Fd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = unsafe { libc::send(self.0, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL) };
        if n < 0 { Err(last_err()) } else { Ok(n as usize) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub enum Event {
    /// The connection is ready for use (TLS: the handshake is done).
    Up,
    /// Bytes are there to read: call `read`.
    Readable,
    Closed,
}

impl Net {
    pub fn new(tls: Option<Arc<ClientConfig>>, name: &str) -> Net {
        let ep = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(ep >= 0, "epoll_create1: {}", last_err());
        Net {
            ep,
            conns: Vec::new(),
            tls_config: tls,
            tls_name: ServerName::try_from(name.to_string()).expect("tls server name"),
            bytes_in: 0,
            bytes_out: 0,
            send_drops: 0,
            resumed: 0,
        }
    }

    /// Opens a socket from `src` to `dst`. UDP is up at once; others report `Event::Up`.
    pub fn open(&mut self, proto: Proto, src: Ipv4Addr, dst: SocketAddrV4) -> io::Result<usize> {
        let tls = (proto == Proto::Tls).then(|| self.tls_config.clone().expect("tls config"));
        self.open_as(proto, src, dst, tls)
    }

    /// Opens a connection with a TLS configuration of its own.
    pub fn open_as(
        &mut self,
        proto: Proto,
        src: Ipv4Addr,
        dst: SocketAddrV4,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<usize> {
        let ty = if proto == Proto::Udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
        let fd = unsafe { libc::socket(libc::AF_INET, ty | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(last_err());
        }
        let set = |level, opt, v: i32| unsafe {
            libc::setsockopt(fd, level, opt, (&v as *const i32).cast(), 4);
        };
        if proto == Proto::Udp {
            set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20);
        } else {
            set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
            // Lets the kernel choose the source port at connect time (4-tuple unique).
            set(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
        }
        let len = std::mem::size_of::<libc::sockaddr_in>() as u32;
        let a = sockaddr(SocketAddrV4::new(src, 0));
        let d = sockaddr(dst);
        unsafe {
            if libc::bind(fd, (&a as *const libc::sockaddr_in).cast(), len) < 0 {
                let e = last_err();
                libc::close(fd);
                return Err(e);
            }
            if libc::connect(fd, (&d as *const libc::sockaddr_in).cast(), len) < 0 {
                let e = last_err();
                if e.raw_os_error() != Some(libc::EINPROGRESS) {
                    libc::close(fd);
                    return Err(e);
                }
            }
        }
        let local = unsafe {
            let mut s: libc::sockaddr_in = std::mem::zeroed();
            let mut l = len;
            libc::getsockname(fd, (&mut s as *mut libc::sockaddr_in).cast(), &mut l);
            SocketAddrV4::new(Ipv4Addr::from(s.sin_addr.s_addr.to_ne_bytes()), u16::from_be(s.sin_port))
        };
        let tls = tls.map(|config| {
            let client = ClientConnection::new(config, self.tls_name.clone()).expect("tls client");
            Box::new(Connection::from(client))
        });
        let up = proto == Proto::Udp;
        let state = if up { State::Up } else { State::Connecting };
        Ok(self.add(Conn { polling_out: !up, ..Conn::new(fd, proto, state, local, tls) }))
    }

    /// Listens for TLS connections. They come up as connections of their own, which say where they were accepted.
    pub fn listen(&mut self, at: SocketAddrV4, tls: Arc<ServerConfig>) -> io::Result<usize> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let conn = Conn::new(listener.into_raw_fd(), Proto::Tls, State::Listening, at, None);
        Ok(self.add(Conn { accepts: Some(tls), ..conn }))
    }

    /// Accepts one connection of those that wait; the others are told of anew.
    fn accept(&mut self, id: usize) {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd =
            unsafe { libc::accept4(self.conns[id].fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd < 0 {
            // Gone again, or taken in an earlier round.
            return;
        }
        unsafe {
            let on = 1i32;
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&on as *const i32).cast(), 4);
        }
        let config = self.conns[id].accepts.clone().expect("a listening socket shakes hands");
        let tls = Box::new(Connection::from(ServerConnection::new(config).expect("tls server")));
        let conn = Conn::new(fd, Proto::Tls, State::Handshaking, self.conns[id].local, Some(tls));
        self.add(Conn { listener: Some(id), ..conn });
    }

    fn add(&mut self, conn: Conn) -> usize {
        let id = self.conns.len();
        self.conns.push(conn);
        self.ctl(id, libc::EPOLL_CTL_ADD);
        id
    }

    fn ctl(&self, id: usize, op: i32) {
        let c = &self.conns[id];
        let mut ev = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLRDHUP | if c.polling_out { libc::EPOLLOUT } else { 0 })
                as u32,
            u64: id as u64,
        };
        let r = unsafe { libc::epoll_ctl(self.ep, op, c.fd, &mut ev) };
        assert!(r == 0, "epoll_ctl: {}", last_err());
    }

    fn poll_out(&mut self, id: usize, on: bool) {
        if self.conns[id].polling_out != on {
            self.conns[id].polling_out = on;
            self.ctl(id, libc::EPOLL_CTL_MOD);
        }
    }

    pub fn wait(&self, evs: &mut [libc::epoll_event], timeout: Duration) -> usize {
        let ts = libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos() as i64 };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.ep,
                evs.as_mut_ptr(),
                evs.len() as i32,
                &ts as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        n.max(0) as usize
    }

    pub fn close(&mut self, id: usize) {
        let c = &mut self.conns[id];
        if c.state != State::Closed {
            c.state = State::Closed;
            c.tls = None;
            c.inbuf = Vec::new();
            c.outbuf = Vec::new();
            unsafe { libc::close(c.fd) };
        }
    }

    /// Handles one epoll event; what the owner must do about it comes back.
    pub fn handle(&mut self, ev: &libc::epoll_event) -> Option<(usize, Event)> {
        let id = ev.u64 as usize;
        let flags = ev.events as i32;
        match self.conns[id].state {
            State::Closed => None,
            State::Listening => {
                self.accept(id);
                None
            }
            State::Connecting => {
                let mut err: i32 = 0;
                let mut l = 4u32;
                unsafe {
                    libc::getsockopt(
                        self.conns[id].fd,
                        libc::SOL_SOCKET,
                        libc::SO_ERROR,
                        (&mut err as *mut i32).cast(),
                        &mut l,
                    )
                };
                if err != 0 || flags & (libc::EPOLLERR | libc::EPOLLHUP) != 0 {
                    self.close(id);
                    return Some((id, Event::Closed));
                }
                if flags & libc::EPOLLOUT == 0 {
                    return None;
                }
                unsafe {
                    let mut s: libc::sockaddr_in = std::mem::zeroed();
                    let mut l = std::mem::size_of::<libc::sockaddr_in>() as u32;
                    libc::getsockname(self.conns[id].fd, (&mut s as *mut libc::sockaddr_in).cast(), &mut l);
                    self.conns[id].local = SocketAddrV4::new(
                        Ipv4Addr::from(s.sin_addr.s_addr.to_ne_bytes()),
                        u16::from_be(s.sin_port),
                    );
                }
                if self.conns[id].proto == Proto::Tcp {
                    self.conns[id].state = State::Up;
                    self.poll_out(id, false);
                    return Some((id, Event::Up));
                }
                self.conns[id].state = State::Handshaking;
                self.tls_progress(id)
            }
            State::Handshaking => self.tls_progress(id),
            State::Up => {
                if flags & libc::EPOLLOUT != 0 && self.flush(id).is_err() {
                    self.close(id);
                    return Some((id, Event::Closed));
                }
                if flags & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) != 0 {
                    return Some((id, Event::Readable));
                }
                None
            }
        }
    }

    fn tls_progress(&mut self, id: usize) -> Option<(usize, Event)> {
        let c = &mut self.conns[id];
        let tls = c.tls.as_mut().expect("tls");
        let mut fd = Fd(c.fd);
        let mut dead = false;
        loop {
            let mut did = false;
            while tls.wants_write() {
                match tls.write_tls(&mut fd) {
                    Ok(n) => {
                        self.bytes_out += n as u64;
                        did = true
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        dead = true;
                        break;
                    }
                }
            }
            if !tls.is_handshaking() || dead {
                break;
            }
            match tls.read_tls(&mut fd) {
                Ok(0) => dead = true,
                Ok(n) => {
                    self.bytes_in += n as u64;
                    did = true;
                    if tls.process_new_packets().is_err() {
                        dead = true;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => dead = true,
            }
            if dead || !did {
                break;
            }
        }
        if dead {
            self.close(id);
            return Some((id, Event::Closed));
        }
        let (hs, ww) = (tls.is_handshaking(), tls.wants_write());
        self.poll_out(id, ww);
        if hs {
            return None;
        }
        if matches!(
            self.conns[id].tls.as_ref().and_then(|t| t.handshake_kind()),
            Some(rustls::HandshakeKind::Resumed)
        ) {
            self.resumed += 1;
        }
        self.conns[id].state = State::Up;
        Some((id, Event::Up))
    }

    /// Reads once into `scratch`. `Ok(0)`: nothing there now. `Err`: closed.
    pub fn read(&mut self, id: usize, scratch: &mut [u8]) -> Result<usize, ()> {
        let c = &mut self.conns[id];
        let mut fd = Fd(c.fd);
        if let Some(tls) = c.tls.as_mut() {
            loop {
                match tls.reader().read(scratch) {
                    Ok(0) => return Err(()),
                    Ok(n) => return Ok(n),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(()),
                }
                match tls.read_tls(&mut fd) {
                    Ok(0) => return Err(()),
                    Ok(n) => {
                        self.bytes_in += n as u64;
                        if tls.process_new_packets().is_err() {
                            return Err(());
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    Err(_) => return Err(()),
                }
            }
        }
        match fd.read(scratch) {
            Ok(0) if c.proto == Proto::Tcp => Err(()),
            Ok(n) => {
                self.bytes_in += n as u64;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            // A UDP socket reports ICMP port unreachable here; it stays usable.
            Err(_) if c.proto == Proto::Udp => Ok(0),
            Err(_) => Err(()),
        }
    }

    pub fn send(&mut self, id: usize, data: &[u8]) {
        let c = &mut self.conns[id];
        if c.state != State::Up {
            self.send_drops += 1;
            return;
        }
        self.bytes_out += data.len() as u64;
        let mut fd = Fd(c.fd);
        match c.proto {
            Proto::Udp => {
                if fd.write(data).is_err() {
                    self.send_drops += 1;
                }
            }
            Proto::Tcp => {
                let mut rest = data;
                if c.outbuf.is_empty()
                    && let Ok(n) = fd.write(data)
                {
                    rest = &data[n..];
                }
                if !rest.is_empty() {
                    c.outbuf.extend_from_slice(rest);
                    self.poll_out(id, true);
                }
            }
            Proto::Tls => {
                let _ = c.tls.as_mut().expect("tls").writer().write_all(data);
                if self.flush(id).is_err() {
                    self.close(id);
                }
            }
        }
    }

    fn flush(&mut self, id: usize) -> io::Result<()> {
        let c = &mut self.conns[id];
        let mut fd = Fd(c.fd);
        let mut pending = false;
        if let Some(tls) = c.tls.as_mut() {
            while tls.wants_write() {
                match tls.write_tls(&mut fd) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        pending = true;
                        break;
                    }
                    Err(e) => return Err(e),
                }
            }
        } else {
            while !c.outbuf.is_empty() {
                match fd.write(&c.outbuf) {
                    Ok(n) => {
                        c.outbuf.drain(..n);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        pending = true;
                        break;
                    }
                    Err(e) => return Err(e),
                }
            }
        }
        self.poll_out(id, pending);
        Ok(())
    }
}
