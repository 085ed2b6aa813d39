//! One connection to one server: TCP, TLS, one operation at a time.
//!
//! TLS is not optional: there is no way to send a bind in clear. Referrals are never followed (RFC 4511 §4.1.10): a server that refers
//! would decide whom we tell our passwords.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;
use crate::password::Password;
use crate::tls::{Authority, server_end_point};
use crate::wire::ber::frame_octets;
use crate::wire::{
    Control, MessageId, Modification, Outcome, Request, Response, ResponseOperation, ResultCode,
};

/// The longest message that is taken in. An entry with a photo of 100 KiB and 1,500 members has some 400 kB; a group of OpenLDAP has all
/// its members in one message, 100,000 in some 8 MB.
pub const MESSAGE_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// Octets of a message that come before the session is authenticated: certificates are not among them.
const EARLY_MESSAGE_OCTETS_MAX: usize = 64 * 1024;
/// Octets that are read at once.
const READ_OCTETS: usize = 64 * 1024;

/// StartTLS (RFC 4511 §4.14.1).
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

/// How TLS begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// At once, on port 636.
    Ldaps,
    /// Asked for on port 389 (RFC 4513 §3).
    StartTls,
}

impl Security {
    /// Where servers listen that name no port.
    pub fn default_port(self) -> u16 {
        match self {
            Security::Ldaps => 636,
            Security::StartTls => 389,
        }
    }
}

/// How long we wait for a server, at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// For TCP to one address.
    pub connect: Duration,
    /// For the TLS handshake, and for the StartTLS operation before it.
    pub handshake: Duration,
    /// For the answer to a bind: the server may have to ask another one about the password.
    pub bind: Duration,
    /// Between a request and its answer, and between one entry of an answer and the next.
    pub answer: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(5),
            bind: Duration::from_secs(15),
            answer: Duration::from_secs(30),
        }
    }
}

/// An open connection. Dropping it closes it; a future of it that was dropped half way leaves it in an unknown state, except
/// [`Connection::receive`]'s, which loses nothing.
pub struct Connection {
    stream: Stream,
    host: String,
    input: Vec<u8>,
    /// Octets of `input` that are done with.
    consumed: usize,
    times: Times,
    last_id: i32,
    message_octets_max: usize,
    certificate_digest: Option<Vec<u8>>,
}

impl Connection {
    /// Connects to this address of this host, whose certificate must be of this name.
    pub async fn open(
        host: &str,
        address: SocketAddr,
        security: Security,
        authority: &Authority,
        times: Times,
    ) -> Result<Connection, Error> {
        let unreachable = |error| Error::Unreachable { host: host.to_owned(), error };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Unsuitable {
            host: host.to_owned(),
            what: "no certificate can have that name".to_owned(),
        })?;
        let connecting = within(host, "connecting", times.connect, TcpStream::connect(address)).await?;
        let tcp = connecting.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let mut connection = Connection {
            stream: Stream::Plain(tcp),
            host: host.to_owned(),
            input: Vec::new(),
            consumed: 0,
            times,
            last_id: 0,
            message_octets_max: EARLY_MESSAGE_OCTETS_MAX,
            certificate_digest: None,
        };
        if security == Security::StartTls {
            within(host, "StartTLS", times.handshake, connection.start_tls()).await??;
        }
        connection.secure(name, authority).await?;
        Ok(connection)
    }

    /// Simple bind. The outcome may be a refusal; with it come the controls of the answer.
    pub async fn bind_simple(
        &mut self,
        name: &str,
        password: &Password,
        controls: &[Control],
    ) -> Result<(Outcome, Vec<Control>), Error> {
        let request = Request::SimpleBind { name, password: password.octets() };
        let (outcome, _, controls) = self.bind(&request, controls).await?;
        Ok((outcome, controls))
    }

    /// One step of a SASL bind (RFC 4513 §5.2.1): goes on as long as the outcome is [`ResultCode::SASL_BIND_IN_PROGRESS`]. With the outcome
    /// comes what the server says in the mechanism's terms. A security layer cannot be had: TLS is the layer.
    pub async fn bind_sasl(
        &mut self,
        mechanism: &str,
        credentials: Option<&[u8]>,
    ) -> Result<(Outcome, Option<Vec<u8>>), Error> {
        let (outcome, server_credentials, _) =
            self.bind(&Request::SaslBind { mechanism, credentials }, &[]).await?;
        Ok((outcome, server_credentials))
    }

    async fn bind(
        &mut self,
        request: &Request<'_>,
        controls: &[Control],
    ) -> Result<(Outcome, Option<Vec<u8>>, Vec<Control>), Error> {
        let id = self.send(request, controls).await?;
        let host = self.host.clone();
        let response = within(&host, "sign-in", self.times.bind, self.receive(id)).await??;
        let ResponseOperation::Bind { result, server_credentials } = response.operation else {
            return Err(self.broken("a bind was answered with something else"));
        };
        if result.is_success() {
            self.message_octets_max = MESSAGE_OCTETS_MAX;
        }
        Ok((result, server_credentials, response.controls))
    }

    /// Changes an entry. The outcome may be a refusal.
    pub async fn modify(&mut self, dn: &str, modifications: &[Modification]) -> Result<Outcome, Error> {
        let id = self.send(&Request::Modify { dn, modifications }, &[]).await?;
        match self.answer(id).await?.operation {
            ResponseOperation::Modify(outcome) => Ok(outcome),
            _ => Err(self.broken("a modification was answered with something else")),
        }
    }

    /// An extended operation. The outcome may be a refusal.
    pub async fn extended(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(Outcome, Option<Vec<u8>>), Error> {
        let id = self.send(&Request::Extended { name, value }, &[]).await?;
        match self.answer(id).await?.operation {
            ResponseOperation::Extended { result, value, .. } => Ok((result, value)),
            _ => Err(self.broken("an extended operation was answered with something else")),
        }
    }

    /// Sends a request; its answers come from [`Connection::answer`].
    pub async fn send(&mut self, request: &Request<'_>, controls: &[Control]) -> Result<MessageId, Error> {
        self.last_id = if self.last_id == i32::MAX { 1 } else { self.last_id + 1 };
        let id = MessageId(self.last_id);
        let octets = request.write(id, controls);
        let sending = async {
            self.stream.write_all(&octets).await?;
            self.stream.flush().await
        };
        let sent = within(&self.host, "sending", self.times.answer, sending).await?;
        sent.map_err(|error| Error::Unreachable { host: self.host.clone(), error })?;
        Ok(id)
    }

    /// The next answer to this request, which must not take longer than is reasonable.
    pub async fn answer(&mut self, id: MessageId) -> Result<Response, Error> {
        let host = self.host.clone();
        within(&host, "an answer", self.times.answer, self.receive(id)).await?
    }

    /// The next answer to this request, whenever it comes. Answers to earlier requests are read over.
    pub async fn receive(&mut self, id: MessageId) -> Result<Response, Error> {
        loop {
            let response = self.message().await?;
            if response.id == id {
                return Ok(response);
            }
            if response.id == MessageId::UNSOLICITED {
                let ResponseOperation::Extended { result, .. } = response.operation else {
                    return Err(self.broken("a message that answers nothing"));
                };
                // The only one that is defined says that the connection ends (RFC 4511 §4.4.1).
                return Err(Error::Closed { host: self.host.clone(), notice: Some(result) });
            }
            if response.id > id {
                return Err(self.broken("an answer to a request that was never sent"));
            }
        }
    }

    /// Says that this is the end, as far as that is possible. The server learns it by the end of the connection, too.
    pub async fn close(mut self) {
        let patience = self.times.handshake;
        let ending = async {
            if self.send(&Request::Unbind, &[]).await.is_ok() {
                // What is lost here, nobody waits for.
                let _ = self.stream.shutdown().await;
            }
        };
        let _ = timeout(patience, ending).await;
    }

    /// The host that its certificate names.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What a SASL mechanism must bind itself to (RFC 5929 §4.1): the digest of the server's certificate.
    pub fn certificate_digest(&self) -> Option<&[u8]> {
        self.certificate_digest.as_deref()
    }

    pub(crate) fn broken(&self, what: &'static str) -> Error {
        Error::Broken { host: self.host.clone(), what }
    }

    pub(crate) fn refused(&self, operation: &'static str, outcome: Outcome) -> Error {
        Error::Refused { host: self.host.clone(), operation, outcome }
    }

    /// Asks for TLS. Whatever stands behind the answer was said by nobody who has proved anything.
    async fn start_tls(&mut self) -> Result<(), Error> {
        let (outcome, _) = self.extended(START_TLS, None).await?;
        if outcome.code != ResultCode::SUCCESS {
            return Err(self.refused("StartTLS", outcome));
        }
        if self.consumed < self.input.len() {
            return Err(self.broken("octets in clear behind the answer to StartTLS"));
        }
        Ok(())
    }

    async fn secure(&mut self, name: ServerName<'static>, authority: &Authority) -> Result<(), Error> {
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            unreachable!("TLS begins once");
        };
        let handshake = TlsConnector::from(authority.config()).connect(name, tcp);
        let secured = within(&self.host, "TLS", self.times.handshake, handshake).await?;
        let tls = secured.map_err(|error| Error::Tls { host: self.host.clone(), error })?;
        let certificates = tls.get_ref().1.peer_certificates();
        self.certificate_digest =
            certificates.and_then(|list| list.first()).and_then(|one| server_end_point(one));
        self.stream = Stream::Tls(Box::new(tls));
        Ok(())
    }

    /// The next message, whatever it answers. Loses nothing when it is dropped.
    async fn message(&mut self) -> Result<Response, Error> {
        loop {
            let waiting = &self.input[self.consumed..];
            let malformed = |error| Error::Malformed { host: self.host.clone(), error };
            if let Some(octets) = frame_octets(waiting).map_err(malformed)? {
                if octets > self.message_octets_max {
                    return Err(Error::TooLong { host: self.host.clone(), octets });
                }
                if let Some(message) = waiting.get(..octets) {
                    let response = Response::parse(message).map_err(malformed);
                    self.consumed += octets;
                    return response;
                }
            }
            self.input.drain(..self.consumed);
            self.consumed = 0;
            if self.input.is_empty() {
                // One long message must not hold its room for good.
                self.input.shrink_to(READ_OCTETS);
            }
            self.input.reserve(READ_OCTETS);
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(Error::Closed { host: self.host.clone(), notice: None }),
                Ok(_) => {}
                Err(error) => return Err(Error::Unreachable { host: self.host.clone(), error }),
            }
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Bounds how long something takes.
pub(crate) async fn within<T>(
    host: &str,
    what: &'static str,
    after: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    let timed_out = |_| Error::TimedOut { host: host.to_owned(), what, after };
    timeout(after, future).await.map_err(timed_out)
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// While TLS takes the place of TCP, and after that has failed.
    Gone,
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Stream::Gone => gone(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, octets),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, octets),
            Stream::Gone => gone(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Stream::Gone => gone(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Stream::Gone => gone(),
        }
    }
}
