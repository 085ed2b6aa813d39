//! The server's side of TLS. Where it asks for a certificate, the handshake proves one thing: the client holds its key.
//! What the certificate is worth is judged afterwards, on resumed sessions too, and decided by the role.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, ServerConfig, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{Credentials, Tls, TlsConfigError};

/// Most octets of a client's chain: leaf and CAs, with the largest RSA keys in use. A connection keeps its peer's chain,
/// and a ticket holds it too.
const CLIENT_CHAIN_OCTETS_MAX: usize = 16 * 1024;

/// Whether a listener asks its clients for a certificate. None is ever required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Browsers would prompt their users: never on port 443, nor for WebSockets.
    #[default]
    Never,
    /// Partners and our own servers have one.
    Ask,
}

/// The server's side: a certificate that can be exchanged while connections live.
#[derive(Debug)]
pub struct TlsServer {
    credentials: Arc<Credentials>,
    /// Each has tickets of its own: a session that was made with a certificate is none of a listener that asks for none.
    silent: Arc<ServerConfig>,
    asking: Arc<ServerConfig>,
}

impl TlsServer {
    /// Shows these credentials.
    pub fn new(credentials: Arc<Credentials>) -> Result<TlsServer, TlsConfigError> {
        Ok(TlsServer {
            silent: Arc::new(server_config(&credentials, ClientCertificates::Never)?),
            asking: Arc::new(server_config(&credentials, ClientCertificates::Ask)?),
            credentials,
        })
    }

    /// From a certificate chain (end entity first) and its key, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<TlsServer, TlsConfigError> {
        TlsServer::new(Arc::new(Credentials::from_pem(chain, key)?))
    }

    /// See [`Credentials::reload`].
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsConfigError> {
        self.credentials.reload(chain, key)
    }

    /// What it shows.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// For HTTP/1.1, with the same certificate. The tickets are its own: a session of SIP is none of HTTP's.
    pub(crate) fn http_config(&self) -> Result<Arc<ServerConfig>, Error> {
        let mut config = server_config(&self.credentials, ClientCertificates::Never)?;
        // Who offers other protocols only is refused in the handshake (RFC 7301 §3.2).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    pub(crate) fn accept(&self, certificates: ClientCertificates) -> Result<Tls, Error> {
        let config = match certificates {
            ClientCertificates::Never => &self.silent,
            ClientCertificates::Ask => &self.asking,
        };
        Ok(Tls::Server(UnbufferedServerConnection::new(Arc::clone(config))?))
    }

    #[cfg(test)]
    pub(super) fn config(&self) -> &ServerConfig {
        &self.silent
    }
}

fn server_config(
    credentials: &Arc<Credentials>,
    certificates: ClientCertificates,
) -> Result<ServerConfig, Error> {
    let verifier = match certificates {
        ClientCertificates::Never => WebPkiClientVerifier::no_client_auth(),
        ClientCertificates::Ask => Arc::new(Possession {
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(credentials) as Arc<dyn ResolvesServerCert>);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // A client keeps one connection: it needs one ticket to come back.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Checks that the client holds the key of whatever certificate it shows, and nothing else: one that is trusted by
/// nobody may still be pinned, or a device's that a role knows.
#[derive(Debug)]
struct Possession {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: partners shall not learn from whom else we take certificates, and none of theirs is held back.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let octets = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if octets > CLIENT_CHAIN_OCTETS_MAX {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
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
