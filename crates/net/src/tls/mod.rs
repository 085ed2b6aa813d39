//! TLS on rustls's unbuffered interface: the connection holds keys and counters, the buffers are lent by the driver.
//!
//! TLS 1.2 and 1.3 with aws-lc-rs. No ALPN (none is registered for SIP), no early data. Sessions that clients open resume
//! by stateless tickets, so that an idle connection costs no cache entry; those that we open never resume.
//!
//! Certificates of peers are judged by [`pki::Trust`], and reach the node as facts: of a client after the handshake
//! ([`TlsServer`]), of a server within it, so that a wrong one gets an alert ([`Network`]).

mod credentials;
mod network;
mod server;

use std::io;
use std::sync::Arc;

use node::{PeerCertificate, UnixMillis};
use pki::{DistrustClass, PeerRole};
use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

pub use credentials::Credentials;
pub(crate) use network::ServerJudge;
pub use network::{Network, Networks};
pub use server::{ClientCertificates, TlsServer};

use crate::metrics::TlsRefusal;

/// Room for the largest record that the peer may send, with its header (RFC 8446 §5.2, RFC 5246 §6.2.3).
const RECORD_OCTETS_MAX: usize = 16 * 1024 + 2048 + 5;
/// Most octets of an incomplete flight that are kept for one connection: a handshake message may be 64 KiB
/// (rustls's own limit) in several records.
pub(crate) const SEALED_OCTETS_MAX: usize = 64 * 1024 + 2 * RECORD_OCTETS_MAX;
/// Plain text in one record.
const FRAGMENT_OCTETS_MAX: usize = 16 * 1024;
/// What a record adds to its plain text at most: header 5, explicit nonce 8, content type 1, tag 16, and some room.
const RECORD_OVERHEAD_OCTETS: usize = 48;

/// Why TLS could not be set up from what an operator gave.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate file holds no certificate, or something that is none.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// The key file holds no private key, or something that is none.
    #[error("no usable private key: {0}")]
    Key(String),
    /// Key and certificate do not fit, or the library refuses them.
    #[error("certificate and key are refused: {0}")]
    Refused(#[from] Error),
}

/// One TLS connection, without buffers.
pub(crate) enum Tls {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection, Arc<ServerJudge>),
}

/// What a certificate is worth now, beside what it was worth when its connection came up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// As much, or more.
    Enough,
    /// Something, where nobody believed it.
    Something,
    /// Less, and why.
    Less(String),
}

/// What a step over received octets came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advanced {
    /// Octets of the input that are done with.
    pub(crate) consumed: usize,
    /// The peer sent its close_notify.
    pub(crate) closed: bool,
}

impl Tls {
    /// Takes in `sealed`, appends what it decrypts to `plain` and what is to be sent (handshake, alerts, key updates)
    /// to `out`. After an error only `out` matters: it holds the alert.
    pub(crate) fn advance(
        &mut self,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Advanced, Error> {
        let mut advanced = Advanced::default();
        loop {
            match self.turn(&mut sealed[advanced.consumed..], plain, out, &mut advanced) {
                // Nothing is left to look at, nor to be sent: rustls need not be asked whether that is so.
                Ok(Turn::Read) if advanced.consumed == sealed.len() && !self.wants_write() => {
                    return Ok(advanced);
                }
                Ok(Turn::Again | Turn::Read) => {}
                Ok(Turn::Idle) => return Ok(advanced),
                Err(error) => {
                    // Octets that failed must not be looked at again, so no step beyond the alert.
                    while self.wants_write() {
                        self.turn(&mut [], plain, out, &mut Advanced::default())?;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Appends `plain`, as one or more records, to `out`. Only after the handshake. `kept` is what [`Tls::advance`] left
    /// of the input: rustls remembers places in it when a handshake message is incomplete, and wants to see it again.
    pub(crate) fn seal(&mut self, kept: &mut [u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let overhead = (plain.len() / FRAGMENT_OCTETS_MAX + 1) * RECORD_OVERHEAD_OCTETS;
        self.write(kept, plain.len() + overhead, out, |traffic, room| match traffic {
            Traffic::Server(t) => t.encrypt(plain, room),
            Traffic::Client(t) => t.encrypt(plain, room),
        })
    }

    /// Appends our close_notify to `out`. `kept` as for [`Tls::seal`].
    pub(crate) fn close(&mut self, kept: &mut [u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(kept, 2 * RECORD_OVERHEAD_OCTETS, out, |traffic, room| match traffic {
            Traffic::Server(t) => t.queue_close_notify(room),
            Traffic::Client(t) => t.queue_close_notify(room),
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Tls::Server(tls) => tls.is_handshaking(),
            Tls::Client(tls, _) => tls.is_handshaking(),
        }
    }

    /// The chain that a client showed and holds the key of, now or when the session began that it resumes.
    pub(crate) fn client_chain(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Tls::Server(tls) => tls.peer_certificates(),
            Tls::Client(..) => None,
        }
    }

    /// When the peer's chain, of either part, is to be judged again, for time alone: see [`pki::Trust::first_end`].
    pub(crate) fn first_end(&self, network: &Network, now: UnixMillis) -> Option<UnixMillis> {
        let chain = match self {
            Tls::Server(tls) => tls.peer_certificates()?,
            Tls::Client(tls, _) => tls.peer_certificates()?,
        };
        network.trust().first_end(chain, now)
    }

    /// What the peer's chain, of either part, is worth in a network now, beside what it was worth `before`, when the connection came
    /// up; `None` where there is no chain.
    pub(crate) fn judge_again(
        &self,
        before: &PeerCertificate,
        network: &Network,
        now: UnixMillis,
    ) -> Option<Worth> {
        let (chain, role) = match self {
            Tls::Server(tls) => (tls.peer_certificates()?, PeerRole::Client),
            Tls::Client(tls, _) => (tls.peer_certificates()?, PeerRole::Server),
        };
        let certificate = network.trust().judge(chain, role, now).certificate;
        if let Some(judge) = self.judge()
            && let Err(unmet) = judge.is_still_met_by(&certificate)
        {
            return Some(Worth::Less(unmet.to_string()));
        }
        if before.trusted_by.is_empty() && !certificate.trusted_by.is_empty() {
            return Some(Worth::Something);
        }
        let lost = before.trusted_by.iter().find(|anchors| !certificate.is_trusted_by(anchors));
        Some(match lost {
            Some(_) if !certificate.distrust.is_empty() => Worth::Less(certificate.distrust),
            Some(_) => Worth::Less("other CAs than before vouch for it".to_owned()),
            None => Worth::Enough,
        })
    }

    /// What became of the server's certificate.
    pub(crate) fn judge(&self) -> Option<&ServerJudge> {
        match self {
            Tls::Server(_) => None,
            Tls::Client(_, judge) => Some(judge),
        }
    }

    /// Why a handshake failed, for counting and in words.
    pub(crate) fn refusal(&self, error: &Error) -> (TlsRefusal, String) {
        if let Some((reason, words)) = self.judge().and_then(ServerJudge::refusal) {
            return (*reason, words.clone());
        }
        match error {
            Error::AlertReceived(alert) => (TlsRefusal::Alert, format!("the peer refused: {alert:?}")),
            Error::InvalidCertificate(_) => (TlsRefusal::Distrust(DistrustClass::Unfit), error.to_string()),
            _ => (TlsRefusal::Protocol, error.to_string()),
        }
    }

    fn wants_write(&self) -> bool {
        match self {
            Tls::Server(tls) => tls.wants_write(),
            Tls::Client(tls, _) => tls.wants_write(),
        }
    }

    fn turn(
        &mut self,
        sealed: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        advanced: &mut Advanced,
    ) -> Result<Turn, Error> {
        match self {
            Tls::Server(tls) => turn(tls.process_tls_records(sealed), plain, out, advanced),
            Tls::Client(tls, _) => turn(tls.process_tls_records(sealed), plain, out, advanced),
        }
    }

    fn write(
        &mut self,
        kept: &mut [u8],
        room: usize,
        out: &mut Vec<u8>,
        mut job: impl FnMut(Traffic<'_, '_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        let (mut nothing, mut advanced) = (Vec::new(), Advanced::default());
        loop {
            let start = out.len();
            let turn = match self {
                Tls::Server(tls) => match tls.process_tls_records(kept) {
                    UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut t)), .. } => {
                        let written = fill(out, room, |space| job(Traffic::Server(&mut t), space))?;
                        out.truncate(start + written);
                        return Ok(());
                    }
                    status => turn(status, &mut nothing, out, &mut advanced)?,
                },
                Tls::Client(tls, _) => match tls.process_tls_records(kept) {
                    UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(mut t)), .. } => {
                        let written = fill(out, room, |space| job(Traffic::Client(&mut t), space))?;
                        out.truncate(start + written);
                        return Ok(());
                    }
                    status => turn(status, &mut nothing, out, &mut advanced)?,
                },
            };
            // What `advance` left is incomplete, so nothing of it can be used up here; and without WriteTraffic there
            // is nothing to write with.
            if advanced != Advanced::default() || matches!(turn, Turn::Idle) {
                return Err(Error::HandshakeNotComplete);
            }
        }
    }
}

/// The two sides differ in a type parameter that rustls does not let us name in a trait.
enum Traffic<'a, 'c> {
    Server(&'a mut rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>),
    Client(&'a mut rustls::unbuffered::WriteTraffic<'c, rustls::client::ClientConnectionData>),
}

enum Turn {
    /// All plain text that was decrypted is read.
    Read,
    Again,
    Idle,
}

fn turn<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    advanced: &mut Advanced,
) -> Result<Turn, Error> {
    advanced.consumed += status.discard;
    match status.state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                advanced.consumed += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Ok(Turn::Read)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let start = out.len();
            match data.encode(&mut []) {
                Ok(_) => {}
                Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    out.resize(start + required_size, 0);
                    data.encode(&mut out[start..]).map_err(|e| Error::General(e.to_string()))?;
                }
                Err(e @ EncodeError::AlreadyEncoded) => return Err(Error::General(e.to_string())),
            }
            Ok(Turn::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            // It is in `out`; the driver sends it before anything else.
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::PeerClosed => {
            advanced.closed = true;
            Ok(Turn::Again)
        }
        ConnectionState::Closed => {
            advanced.closed = true;
            Ok(Turn::Idle)
        }
        ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => Ok(Turn::Idle),
        // Early data is switched off; states that a later rustls may add are not ours to guess.
        _ => Err(Error::General("TLS reached a state that was not asked for".into())),
    }
}

/// Calls `job` on `room` octets behind `out`, with more if it asks for more.
fn fill(
    out: &mut Vec<u8>,
    room: usize,
    mut job: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, Error> {
    let start = out.len();
    out.resize(start + room, 0);
    match job(&mut out[start..]) {
        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
            out.resize(start + required_size, 0);
            job(&mut out[start..]).map_err(|e| Error::General(e.to_string()))
        }
        other => other.map_err(|e| Error::General(e.to_string())),
    }
}

impl From<TlsConfigError> for io::Error {
    fn from(error: TlsConfigError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use node::{Anchors, Expected};
    use pki::Trust;
    use rustls::server::ServerConfig;

    use super::*;

    /// A server that cuts its handshake messages into the smallest records, and a client of ours that is up.
    fn pair() -> (rustls::ServerConnection, Tls) {
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate is made");
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let server = TlsServer::from_pem(chain.as_bytes(), key.as_bytes()).expect("the certificate is good");
        let mut config = ServerConfig::clone(server.config());
        config.max_fragment_size = Some(32);
        let mut server = rustls::ServerConnection::new(Arc::new(config)).expect("TLS begins");
        let trust = Trust::builder().anchors(Anchors::Servers, chain.as_bytes()).expect("the root is good");
        let network = Network::new(Arc::new(trust.build()));
        let mut client = network.connect(Expected::host("localhost")).expect("TLS begins");
        let (mut plain, mut received) = (Vec::new(), Vec::new());
        while client.is_handshaking() {
            let mut out = Vec::new();
            let advanced = client.advance(&mut received, &mut plain, &mut out).expect("the server is right");
            received.drain(..advanced.consumed);
            give(&mut server, &out);
            if client.is_handshaking() {
                received.extend(take(&mut server));
            }
        }
        assert!(received.is_empty(), "the last flight of the handshake is ours");
        (server, client)
    }

    fn give(server: &mut rustls::ServerConnection, mut octets: &[u8]) {
        while !octets.is_empty() {
            server.read_tls(&mut octets).expect("a slice can be read");
            server.process_new_packets().expect("the client is right");
        }
    }

    fn take(server: &mut rustls::ServerConnection) -> Vec<u8> {
        let mut octets = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut octets).expect("a vector can be written");
        }
        octets
    }

    #[test]
    fn sending_is_safe_wherever_a_handshake_message_of_the_peer_is_cut() {
        let length = {
            let (mut server, _client) = pair();
            take(&mut server).len()
        };
        assert!(length > 100, "the server sends a ticket in several records");
        for cut in 0..length {
            let (mut server, mut client) = pair();
            let ticket = take(&mut server);
            let (before, after) = ticket.split_at(cut.min(ticket.len()));
            let mut kept = before.to_vec();
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let advanced = client.advance(&mut kept, &mut plain, &mut out).expect("the server is right");
            kept.drain(..advanced.consumed);
            client.seal(&mut kept, b"hello", &mut out).expect("the handshake is over");
            give(&mut server, &out);
            let mut heard = [0; 5];
            std::io::Read::read_exact(&mut server.reader(), &mut heard).expect("it has come");
            assert_eq!(&heard, b"hello");
            kept.extend_from_slice(after);
            std::io::Write::write_all(&mut server.writer(), b"world").expect("a vector takes it");
            kept.extend(take(&mut server));
            client.advance(&mut kept, &mut plain, &mut out).expect("the server is right");
            assert_eq!(plain, b"world");
        }
    }
}
