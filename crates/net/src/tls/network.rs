//! What there is to know of a network that connections belong to: who we are there, whom we believe, where our
//! connections leave from.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use node::{Expected, PeerCertificate, PeerIdentity, Side, UnixMillis, Unmet};
use pki::{Distrust, DistrustClass, PeerRole, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::{Credentials, Tls};
use crate::metrics::TlsRefusal;

/// One side of a server. Exchanged as a whole while connections live, see [`crate::Adjustment`]; its credentials also
/// by themselves.
#[derive(Clone, Debug)]
pub struct Network {
    trust: Arc<Trust>,
    credentials: Option<Arc<Credentials>>,
    local: Vec<IpAddr>,
}

/// The networks of a server, by their side. A server with one network has it as its inside, and nobody outside.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The organisation's own.
    pub inside: Network,
    /// The internet.
    pub outside: Network,
}

impl Network {
    /// Peers are judged by `trust`. Connections show no certificate, and leave from the address that the system chooses.
    pub fn new(trust: Arc<Trust>) -> Network {
        Network { trust, credentials: None, local: Vec::new() }
    }

    /// Nobody is believed.
    pub fn of_strangers() -> Network {
        Network::new(Arc::new(Trust::nobody()))
    }

    /// What connections that we open show, where they are asked.
    pub fn with_credentials(mut self, credentials: Arc<Credentials>) -> Network {
        self.credentials = Some(credentials);
        self
    }

    /// The addresses that connections are opened from, the first of the target's family. Where there is none of that
    /// family, no connection is opened: it must not leave by another network.
    pub fn leaving_from(mut self, local: Vec<IpAddr>) -> Network {
        self.local = local;
        self
    }

    /// Whom it believes.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// What it shows.
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// The address to open a connection from; `None` lets the system choose. An error says what is missing.
    pub(crate) fn local_for(&self, target: SocketAddr) -> Result<Option<IpAddr>, String> {
        if self.local.is_empty() {
            return Ok(None);
        }
        match self.local.iter().find(|address| address.is_ipv4() == target.is_ipv4()) {
            Some(address) => Ok(Some(*address)),
            None => Err(format!("this side has no address to reach {} from", target.ip())),
        }
    }

    /// Facts of a client's chain.
    pub(crate) fn judge_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> (Arc<PeerCertificate>, Option<Distrust>) {
        let judgement = self.trust.judge(chain, PeerRole::Client, now);
        (Arc::new(judgement.certificate), judgement.distrust)
    }

    /// Begins a handshake that fails unless the peer proves what is expected.
    pub(crate) fn connect(&self, expected: Expected) -> Result<Tls, Error> {
        // Brackets are the notation of URIs. A name that is an address is no SNI (RFC 6066 §3); rustls knows.
        let name = expected.server_name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(|_| {
            Error::General(format!("{:?} cannot stand in a certificate", expected.server_name))
        })?;
        let judge = Arc::new(ServerJudge {
            trust: Arc::clone(&self.trust),
            expected,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            verdict: OnceLock::new(),
        });
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&judge) as Arc<dyn ServerCertVerifier>);
        let mut config = match &self.credentials {
            Some(credentials) => {
                config.with_client_cert_resolver(Arc::clone(credentials) as Arc<dyn ResolvesClientCert>)
            }
            None => config.with_no_client_auth(),
        };
        // Connections between servers live long and are few. Without resumption each is judged for what is expected of it
        // now, and shows the certificate that is in force now.
        config.resumption = Resumption::disabled();
        Ok(Tls::Client(UnbufferedClientConnection::new(Arc::new(config), name)?, judge))
    }
}

impl Networks {
    /// For a server with one network.
    pub fn inside_only(inside: Network) -> Networks {
        Networks { inside, outside: Network::of_strangers() }
    }

    /// The network of a side.
    pub fn of(&self, side: Side) -> &Network {
        match side {
            Side::Inside => &self.inside,
            Side::Outside => &self.outside,
        }
    }
}

/// Judges the server of one connection, and remembers what it found.
#[derive(Debug)]
pub(crate) struct ServerJudge {
    trust: Arc<Trust>,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
    verdict: OnceLock<Result<Arc<PeerCertificate>, (TlsRefusal, String)>>,
}

impl ServerJudge {
    /// What the server proved; it has, once the handshake is over.
    pub(crate) fn identity(&self) -> PeerIdentity {
        match self.verdict.get() {
            Some(Ok(certificate)) => PeerIdentity::Certificate(Arc::clone(certificate)),
            Some(Err(_)) | None => PeerIdentity::Anonymous,
        }
    }

    /// Whether it judged by this trust; another may be in force since the handshake began.
    pub(crate) fn is_by(&self, trust: &Arc<Trust>) -> bool {
        Arc::ptr_eq(&self.trust, trust)
    }

    /// Whether a server of this certificate would be connected to now.
    pub(crate) fn is_still_met_by(&self, certificate: &PeerCertificate) -> Result<(), Unmet> {
        self.expected.is_met_by(Some(certificate))
    }

    /// Why the server's certificate was refused, if that is why the handshake failed.
    pub(crate) fn refusal(&self) -> Option<&(TlsRefusal, String)> {
        self.verdict.get()?.as_ref().err()
    }
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> =
            std::iter::once(end_entity).chain(intermediates).map(|der| der.as_ref()).collect();
        let now = UnixMillis(now.as_secs().saturating_mul(1000));
        let judgement = self.trust.judge(&chain, PeerRole::Server, now);
        let distrust = judgement.distrust.map(|distrust| distrust.class());
        let certificate = Arc::new(judgement.certificate);
        let (verdict, result) = match self.expected.is_met_by(Some(&certificate)) {
            Ok(()) => (Ok(certificate), Ok(ServerCertVerified::assertion())),
            Err(unmet) => {
                let (reason, error) = alert(&unmet, distrust);
                (Err((reason, unmet.to_string())), Err(error.into()))
            }
        };
        self.verdict.set(verdict).expect("a handshake has one certificate, and none is resumed");
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// How a refusal is counted, and what the peer is told of it.
fn alert(unmet: &Unmet, distrust: Option<DistrustClass>) -> (TlsRefusal, CertificateError) {
    match (unmet, distrust) {
        (Unmet::WrongHost(_) | Unmet::WrongDomain(_), _) => {
            (TlsRefusal::WrongName, CertificateError::NotValidForName)
        }
        (Unmet::WrongPin, _) => (TlsRefusal::WrongPin, CertificateError::ApplicationVerificationFailure),
        // Somebody else's CA vouches for it.
        (Unmet::NoCertificate | Unmet::Untrusted(_), None) => {
            (TlsRefusal::Distrust(DistrustClass::UnknownAuthority), CertificateError::UnknownIssuer)
        }
        (Unmet::NoCertificate | Unmet::Untrusted(_), Some(class)) => (
            TlsRefusal::Distrust(class),
            match class {
                DistrustClass::Unfit => CertificateError::BadEncoding,
                DistrustClass::UnknownAuthority => CertificateError::UnknownIssuer,
                DistrustClass::Expired => CertificateError::Expired,
                DistrustClass::NotYetValid => CertificateError::NotValidYet,
                DistrustClass::Revoked => CertificateError::Revoked,
                DistrustClass::Constraints => CertificateError::NotValidForName,
                DistrustClass::Usage => CertificateError::InvalidPurpose,
            },
        ),
    }
}
