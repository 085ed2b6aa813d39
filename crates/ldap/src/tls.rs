//! TLS towards directory servers: the organisation's own authority, names always checked, and the token that binds Kerberos to the
//! connection (RFC 5929).

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whom we trust.
#[derive(Clone)]
pub struct Authority {
    config: Arc<ClientConfig>,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file cannot be read, or is no PEM.
    #[error("{0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// It holds no certificate.
    #[error("there is no certificate in it")]
    Empty,
    /// The library refuses one.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

impl Authority {
    /// The certificates of a PEM file.
    pub fn from_file(path: &Path) -> Result<Authority, AuthorityError> {
        Authority::new(CertificateDer::pem_file_iter(path)?)
    }

    /// The certificates of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Authority, AuthorityError> {
        Authority::new(CertificateDer::pem_slice_iter(pem))
    }

    fn new(
        certificates: impl Iterator<Item = Result<CertificateDer<'static>, rustls::pki_types::pem::Error>>,
    ) -> Result<Authority, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err(AuthorityError::Empty);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Each connection judges the certificate of its own server anew.
        config.resumption = Resumption::disabled();
        Ok(Authority { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What binds an authentication to the server's end of the connection (RFC 5929 §4.1, `tls-server-end-point`): the digest of the
/// certificate by the algorithm of its signature, SHA-256 in place of older ones. `None` where the RFC defines none.
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // With MD5 or SHA-1 (RSA, DSA, ECDSA), and with SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10040.4.3"
        | "2.16.840.1.101.3.4.3.2"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        // RSASSA-PSS names its digest in its parameters.
        "1.2.840.113549.1.1.10" => {
            let parameters = parsed.signature_algorithm.parameters.as_ref()?;
            let parameters = x509_parser::signature_algorithm::RsaSsaPssParams::try_from(parameters).ok()?;
            match parameters.hash_algorithm_oid().to_id_string().as_str() {
                "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Sha256::digest(certificate).to_vec(),
                "2.16.840.1.101.3.4.2.2" => Sha384::digest(certificate).to_vec(),
                "2.16.840.1.101.3.4.2.3" => Sha512::digest(certificate).to_vec(),
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        rcgen::CertificateParams::new(vec!["dc1.corp.example".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_digest_is_the_one_of_the_signature() {
        for (algorithm, length) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let token = server_end_point(&certificate(algorithm));
            assert_eq!(token.as_ref().map(Vec::len), length);
        }
        let certificate = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let token = server_end_point(&certificate).unwrap();
        assert_eq!(token, Sha256::digest(&certificate)[..]);
        assert_eq!(server_end_point(b"no certificate"), None);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(Authority::from_pem(b""), Err(AuthorityError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Authority::from_pem(broken), Err(AuthorityError::Refused(_))));
        assert!(Authority::from_file(Path::new("/nowhere/at-all")).is_err());
    }
}
