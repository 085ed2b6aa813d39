//! A certificate with its key, exchangeable while connections live.

use std::sync::{Arc, PoisonError, RwLock};

use node::UnixMillis;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsConfigError;

/// Who we are to a peer. Listeners and opened connections that share it change together.
#[derive(Debug)]
pub struct Credentials(RwLock<Arc<InForce>>);

#[derive(Debug)]
struct InForce {
    key: Arc<CertifiedKey>,
    ends: UnixMillis,
    end_point: Option<Arc<[u8]>>,
}

impl Credentials {
    /// From a certificate chain (end entity first) and its key, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Credentials, TlsConfigError> {
        Ok(Credentials(RwLock::new(Arc::new(InForce::read(chain, key)?))))
    }

    /// Exchanges them for all handshakes from now on. Connections stay. On error the old ones stay too.
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsConfigError> {
        let next = Arc::new(InForce::read(chain, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// When the certificate in force ends.
    pub fn ends(&self) -> UnixMillis {
        self.in_force().ends
    }

    /// What binds credentials to a connection that shows this certificate: its hash, as `tls-server-end-point` wants it
    /// (RFC 5929 §4.1). `None` where the algorithm of its signature has no hash of its own.
    pub(crate) fn end_point(&self) -> Option<Arc<[u8]>> {
        self.in_force().end_point.clone()
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InForce {
    fn read(chain: &[u8], key: &[u8]) -> Result<InForce, TlsConfigError> {
        let unusable = |reason: String| TlsConfigError::Certificate(reason);
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unusable(e.to_string()))?;
        let Some(own) = chain.first() else {
            return Err(unusable("the file holds none".into()));
        };
        let facts = pki::CertificateFacts::read(own).map_err(|e| unusable(e.to_string()))?;
        let ends = u64::try_from(facts.not_after_unix_seconds).unwrap_or(0).saturating_mul(1000);
        let end_point = pki::end_point(own).map_err(|e| unusable(e.to_string()))?.map(Arc::from);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| TlsConfigError::Key(e.to_string()))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        Ok(InForce { key: Arc::new(key), ends: UnixMillis(ends), end_point })
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.in_force().key))
    }
}

impl ResolvesClientCert for Credentials {
    /// We have one certificate, and show it whatever CAs the server hints at: partners know ours by its name.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.in_force().key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
