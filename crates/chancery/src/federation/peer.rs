//! One TLS connection to another organisation's edge, looked at from all sides.
//!
//! The handshake accepts any certificate and notes it: whoever asks wants to know what is wrong with it. That the peer
//! holds its key is proved; what the certificate is worth is judged afterwards, by the rules of the running server.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConnection, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, StreamOwned,
};

/// Longest answer that is read, in octets: an answer to OPTIONS is a hundredth of it.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// A connection whose handshake is done.
pub(super) struct Peer {
    stream: StreamOwned<ClientConnection, Deadline>,
    asked: Arc<OwnCertificate>,
}

/// Opens TCP, from an address of ours where one is given.
pub(super) fn connect(to: SocketAddr, from: Option<IpAddr>, patience: Duration) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect_timeout(&to.into(), patience)?;
    Ok(socket.into())
}

impl Peer {
    /// Shakes hands, with our certificate where the peer asks for one.
    pub(super) fn handshake(
        tcp: TcpStream,
        server_name: &str,
        own: Option<(&[u8], &[u8])>,
        patience: Duration,
    ) -> anyhow::Result<Peer> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let asked = Arc::new(OwnCertificate {
            key: own.map(|(chain, key)| certified_key(&provider, chain, key)).transpose()?,
            was_asked_for: AtomicBool::new(false),
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Noted(provider)))
            .with_client_cert_resolver(Arc::clone(&asked) as Arc<dyn ResolvesClientCert>);
        // A name that is an address goes out without SNI (RFC 6066 §3); rustls decides by the kind of name.
        config.enable_early_data = false;
        let name =
            ServerName::try_from(server_name.to_owned()).context("the server's name is no host name")?;
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let socket = Deadline { socket: tcp, end: Instant::now() + patience };
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Peer { stream, asked })
    }

    /// What the peer showed, its own certificate first.
    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        self.stream.conn.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect()
    }

    /// `TLS 1.3`.
    pub(super) fn version(&self) -> &'static str {
        match self.stream.conn.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS of an unknown version",
        }
    }

    /// Whether the peer wanted to know who we are.
    pub(super) fn asked_for_certificate(&self) -> bool {
        self.asked.was_asked_for.load(Relaxed)
    }

    /// Sends a request and reads the head of the first final answer. With TLS 1.3 a refused certificate of ours shows here.
    pub(super) fn ask(&mut self, request: &str, patience: Duration) -> io::Result<Vec<u8>> {
        self.stream.sock.end = Instant::now() + patience;
        self.stream.write_all(request.as_bytes())?;
        self.stream.flush()?;
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        loop {
            while let Some(end) = head_end(&read) {
                let head: Vec<u8> = read.drain(..end).collect();
                if !head.starts_with(b"SIP/2.0 1") {
                    return Ok(head);
                }
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => read.extend_from_slice(&piece[..count]),
            }
            if read.len() > ANSWER_OCTETS_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
        }
    }
}

fn head_end(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn certified_key(provider: &CryptoProvider, chain: &[u8], key: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .context("our certificate cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("our key cannot be read")?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

/// Our certificate, and whether it was asked for.
#[derive(Debug)]
struct OwnCertificate {
    key: Option<Arc<CertifiedKey>>,
    was_asked_for: AtomicBool,
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked_for.store(true, Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes every certificate whose key the peer holds.
#[derive(Debug)]
struct Noted(Arc<CryptoProvider>);

impl ServerCertVerifier for Noted {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// A socket that ends at a moment, however slowly the peer speaks.
struct Deadline {
    socket: TcpStream,
    end: Instant,
}

impl Deadline {
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Deadline {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        timed(self.socket.read(buffer))
    }
}

impl Write for Deadline {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        timed(self.socket.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// A socket's timeout is told as `WouldBlock` on Linux, which TLS would take for something else.
fn timed(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        other => other,
    }
}
