//! Signing requests (PKCS #10, RFC 2986): somebody's public key, with the proof that they hold the private one.
//!
//! Only the key is taken from one. The names and usages that it asks for are not looked at: what stands in a certificate is
//! decided by who issues it.

use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::facts::{RSA_BITS_MIN, key_of};
use crate::{KeyFacts, PkiError};

/// Largest RSA key of a client that is taken, in bits: each sign-in with it is paid for here.
const RSA_BITS_MAX: usize = 8192;
/// The curves that TLS takes everywhere, by their size in bits: P-256 (and Ed25519), P-384, P-521.
const CURVE_BITS: [usize; 3] = [256, 384, 521];
/// The label that Windows (certreq) and old OpenSSL write.
const LABEL_OF_OLD: &str = "NEW CERTIFICATE REQUEST";
const LABEL: &str = "CERTIFICATE REQUEST";

/// A request whose sender has proved to hold its key, and whose key TLS takes.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    pub(crate) key: SubjectPublicKeyInfo,
    facts: KeyFacts,
}

impl SigningRequest {
    /// Reads PEM or DER. Malformed is what cannot be read; refused is a wrong proof, and a key that nobody should use.
    pub fn read(octets: &[u8]) -> Result<SigningRequest, PkiError> {
        let der = der(octets)?;
        let malformed = |reason: String| PkiError::malformed("the signing request", reason);
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("something stands behind it".to_owned()));
        }
        let key = &request.certification_request_info.subject_pki;
        let facts = key_of(key);
        let refused = |reason: String| Err(PkiError::refused("the signing request", reason));
        match facts {
            KeyFacts::Rsa(bits) if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) => {
                return refused(format!(
                    "RSA keys have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, this one has {bits}"
                ));
            }
            KeyFacts::Curve(bits) if !CURVE_BITS.contains(&bits) => {
                return refused(format!("a curve of {bits} bits is none of TLS: take P-256"));
            }
            KeyFacts::Other => {
                return refused("its key is of a kind that TLS does not take: take P-256".to_owned());
            }
            KeyFacts::Rsa(_) | KeyFacts::Curve(_) => {}
        }
        if request.verify_signature().is_err() {
            return refused(
                "its signature is not of its own key: it does not prove who holds the key".to_owned(),
            );
        }
        let key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|error| malformed(error.to_string()))?;
        Ok(SigningRequest { key, facts })
    }

    /// The key.
    pub fn key(&self) -> KeyFacts {
        self.facts
    }

    /// The key as certificates hold it (SubjectPublicKeyInfo, DER).
    pub fn public_key_der(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }
}

fn der(octets: &[u8]) -> Result<Vec<u8>, PkiError> {
    // DER begins with a sequence; PEM with a dash, or with text before it.
    if octets.first() == Some(&0x30) {
        return Ok(octets.to_vec());
    }
    let malformed = |reason: String| PkiError::malformed("the signing request", reason);
    let text = std::str::from_utf8(octets).map_err(|_| malformed("it is neither PEM nor DER".to_owned()))?;
    let text = text.replace(LABEL_OF_OLD, LABEL);
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
    der.map(|der| der.to_vec()).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
    };

    use super::*;

    fn asked_by(key: &KeyPair) -> rcgen::CertificateSigningRequest {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName("www.fabrikam.example".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 2, 3])];
        params.serialize_request(key).unwrap()
    }

    #[test]
    fn pem_and_der_say_the_same_and_strange_wishes_do_not_matter() {
        let key = KeyPair::generate().unwrap();
        let asked = asked_by(&key);
        let from_der = SigningRequest::read(asked.der()).unwrap();
        let from_pem = SigningRequest::read(asked.pem().unwrap().as_bytes()).unwrap();
        let old = asked.pem().unwrap().replace(LABEL, LABEL_OF_OLD);
        let from_old = SigningRequest::read(format!("Made here\n{old}").as_bytes()).unwrap();
        for read in [from_der, from_pem, from_old] {
            assert_eq!(read.key(), KeyFacts::Curve(256));
            assert_eq!(read.public_key_der(), key.subject_public_key_info());
        }
    }

    #[test]
    fn curves_of_tls_are_taken() {
        for (algorithm, bits) in [(&PKCS_ECDSA_P384_SHA384, 384), (&PKCS_ED25519, 256)] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let read = SigningRequest::read(asked_by(&key).der()).unwrap();
            assert_eq!(read.key(), KeyFacts::Curve(bits));
        }
    }

    /// Whoever copies another's public key cannot have it certified.
    #[test]
    fn a_key_of_somebody_else_is_not_certified() {
        let key = KeyPair::generate().unwrap();
        let mut der = asked_by(&key).der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let error = SigningRequest::read(&der).unwrap_err();
        assert!(error.to_string().contains("does not prove"), "{error}");
        // The key of another request in the place of its own.
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut der = asked_by(&own).der().to_vec();
        let (from, to) = (own.subject_public_key_info(), other.subject_public_key_info());
        let at = der.windows(from.len()).position(|window| window == from).unwrap();
        der[at..at + to.len()].copy_from_slice(&to);
        let error = SigningRequest::read(&der).unwrap_err();
        assert!(error.to_string().contains("does not prove"), "{error}");
    }

    #[test]
    fn weak_keys_are_refused() {
        // openssl req -new -newkey rsa:1024 -nodes -subj /CN=x
        let error = SigningRequest::read(include_bytes!("../test_data/rsa-1024.csr")).unwrap_err();
        assert!(error.to_string().contains("2048 to 8192 bits, this one has 1024"), "{error}");
        // openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:secp224r1 -nodes -subj /CN=x
        let error = SigningRequest::read(include_bytes!("../test_data/p-224.csr")).unwrap_err();
        assert!(matches!(error, PkiError::Refused { .. }), "{error}");
    }

    #[test]
    fn what_is_none_is_malformed() {
        let key = KeyPair::generate().unwrap();
        let der = asked_by(&key).der().to_vec();
        let behind = [der.as_slice(), b"x"].concat();
        for octets in
            [&b""[..], b"\x30", b"\x30\x03abc", &der[..der.len() - 1], &behind, b"-----BEGIN X-----", &[0xff]]
        {
            let error = SigningRequest::read(octets).unwrap_err();
            assert!(matches!(error, PkiError::Malformed { .. }), "{error}");
        }
    }
}
