//! A connection to a server: TCP or TLS, blocking, one message at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sip_message::Message;
use sip_message::framing::{Frame, Scan, next_frame};

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Read at once.
const READ_OCTETS: usize = 16 * 1024;
/// How often a waiting reader looks at the clock.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(100);

/// Where a server is, as the command line says it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    /// `tls:host:port` or `tcp:host:port`; TLS where nothing is said, and the ports of RFC 3261 §19.1.2.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Place> {
        let (is_tls, rest) = match text.split_once(':') {
            Some(("tls", rest)) => (true, rest),
            Some(("tcp", rest)) => (false, rest),
            _ => (true, text),
        };
        let default = if is_tls { 5061 } else { 5060 };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
            _ => (rest, Some(default)),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        match port.filter(|port| *port != 0) {
            Some(port) if !host.is_empty() => Ok(Place { is_tls, host, port }),
            _ => bail!(
                "{text:?} is no server\n  help: write tls:sip.contoso.example:5061 or tcp:192.0.2.1:5060"
            ),
        }
    }

    fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses: Vec<_> = found.with_context(|| format!("{} cannot be found", self.host))?.collect();
        if addresses.is_empty() {
            bail!("{} has no address", self.host);
        }
        Ok(addresses)
    }
}

/// An open connection.
pub(crate) struct Link {
    stream: Stream,
    local: SocketAddr,
    is_tls: bool,
    received: Vec<u8>,
    scan: Scan,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Connects. `own` is a certificate chain with its key, PEM.
    pub(crate) fn open(
        place: &Place,
        server_name: Option<&str>,
        authority: Option<&[u8]>,
        own: Option<(Vec<u8>, Vec<u8>)>,
    ) -> anyhow::Result<Link> {
        let mut last = anyhow!("{} has no address", place.host);
        let mut connected = None;
        for address in place.addresses()? {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = anyhow!("no connection to {address}: {error}"),
            }
        }
        let Some(tcp) = connected else { return Err(last) };
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(CONNECT_PATIENCE))?;
        let local = tcp.local_addr()?;
        let stream = match place.is_tls {
            false => Stream::Plain(tcp),
            true => {
                let Some(authority) = authority else {
                    bail!("TLS needs --ca FILE: the CA that the server's certificate must lead to");
                };
                let name = server_name.unwrap_or(&place.host).to_owned();
                let name =
                    ServerName::try_from(name.clone()).map_err(|_| anyhow!("{name:?} is no host name"))?;
                let mut session = ClientConnection::new(Arc::new(config(authority, own)?), name)?;
                let mut tcp = tcp;
                while session.is_handshaking() {
                    session.complete_io(&mut tcp).context("TLS failed")?;
                }
                Stream::Tls(Box::new(StreamOwned::new(session, tcp)))
            }
        };
        let link = Link { stream, local, is_tls: place.is_tls, received: Vec::new(), scan: Scan::default() };
        link.tcp().set_read_timeout(Some(LOOK_AT_CLOCK))?;
        Ok(link)
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// `TLS` or `TCP`, as Via names it.
    pub(crate) fn via_token(&self) -> &'static str {
        if self.is_tls { "TLS" } else { "TCP" }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    pub(crate) fn send(&mut self, octets: &[u8]) -> anyhow::Result<()> {
        let sent = match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(octets),
            Stream::Tls(tls) => tls.write_all(octets).and_then(|()| tls.flush()),
        };
        sent.context("the server closed the connection")
    }

    /// The next message, or `None` when the time is up.
    pub(crate) fn receive(&mut self, until: Instant) -> anyhow::Result<Option<Message>> {
        loop {
            match next_frame(&mut self.scan, &self.received) {
                Frame::Message { length } => {
                    let octets: Vec<u8> = self.received.drain(..length).collect();
                    self.scan = Scan::default();
                    let message = Message::parse(octets.into());
                    return message.map(Some).map_err(|e| anyhow!("the server sent no SIP: {}", e.reason));
                }
                Frame::Ping { length } | Frame::Padding { length } => {
                    self.received.drain(..length);
                    self.scan = Scan::default();
                    continue;
                }
                Frame::Lost { reason, .. } => bail!("the server's stream cannot be followed: {reason}"),
                Frame::Partial { .. } => {}
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            let mut buffer = [0; READ_OCTETS];
            let read = match &mut self.stream {
                Stream::Plain(tcp) => tcp.read(&mut buffer),
                Stream::Tls(tls) => tls.read(&mut buffer),
            };
            match read {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("the server closed the connection"),
            }
        }
    }
}

fn config(authority: &[u8], own: Option<(Vec<u8>, Vec<u8>)>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate.context("the CA file holds no certificate")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(&key).context("the key file holds no private key")?;
            builder.with_client_auth_cert(chain.context("the certificate file holds no certificate")?, key)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_people_write_it() {
        let place = |text| Place::parse(text).map(|p| (p.is_tls, p.host, p.port)).ok();
        assert_eq!(place("sip.contoso.example"), Some((true, "sip.contoso.example".into(), 5061)));
        assert_eq!(place("tcp:192.0.2.1"), Some((false, "192.0.2.1".into(), 5060)));
        assert_eq!(place("tls:[2001:db8::1]:443"), Some((true, "2001:db8::1".into(), 443)));
        assert_eq!(place("tls:host:0"), None);
        assert_eq!(place("tls::5061"), None);
    }
}
