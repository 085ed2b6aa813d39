//! What an operator wants to know about a certificate.

use std::net::IpAddr;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::names::{dns_name, person_of, sip_domains_of, sip_uri_domains_of, subject_names};
use crate::request::{SIP_DOMAIN_USAGE, Usages};
use crate::{Constraints, PkiError};

const SECONDS_PER_DAY: i64 = 24 * 3600;

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// Its number at its issuer: hexadecimal digits in lower case, whole octets.
    pub serial: String,
    /// SHA-256 of the whole certificate, which pins compare.
    pub sha256: [u8; 32],
    /// The SIP domain identities (RFC 5922 §7.1).
    pub sip_domains: Vec<String>,
    /// Those of them that stand in `sip:` URI names.
    pub sip_uri_domains: Vec<String>,
    /// The persons in `sip:` URI names, as addresses.
    pub persons: Vec<String>,
    /// All DNS names, in lower case, wildcards included.
    pub dns_names: Vec<String>,
    /// All IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// First second of validity, since 1970.
    pub not_before_unix_seconds: i64,
    /// Last second of validity, since 1970.
    pub not_after_unix_seconds: i64,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// How many further CAs may stand below it; `None` is any number, and where it is no CA.
    pub path_length: Option<u32>,
    /// What it may issue for.
    pub constraints: Constraints,
    /// Whether its own key signed it.
    pub is_self_signed: bool,
    /// Whether it may serve TLS: no extended key usage, or one of `serverAuth` and any.
    pub may_serve: bool,
    /// What it may be used for. A certificate without extended key usages, or with `anyExtendedKeyUsage`, may be used
    /// for everything.
    pub usages: Usages,
    /// Whether its key may sign handshakes: no key usage, or one with `digitalSignature` (RFC 8446 §4.4.2.2).
    pub may_sign: bool,
    /// Its key.
    pub key: KeyFacts,
    /// Whether its signature rests on MD5 or SHA-1, which nobody believes any more.
    pub has_weak_signature: bool,
}

/// A public key, as far as an operator minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFacts {
    /// RSA, with its size in bits.
    Rsa(usize),
    /// An elliptic curve, with its size in bits.
    Curve(usize),
    /// Anything else: no TLS library that matters takes it.
    Other,
}

impl CertificateFacts {
    /// Reads them from DER.
    pub fn read(certificate_der: &[u8]) -> Result<CertificateFacts, PkiError> {
        let certificate = parse(certificate_der)?;
        let names = subject_names(&certificate);
        let validity = certificate.validity();
        Ok(CertificateFacts {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: serial(&certificate),
            sha256: Sha256::digest(certificate_der).into(),
            sip_domains: sip_domains_of(&certificate),
            sip_uri_domains: sip_uri_domains_of(&certificate),
            persons: names.iter().filter_map(person_of).collect(),
            dns_names: names.iter().filter_map(dns_name).collect(),
            ip_addresses: names.iter().filter_map(ip_address).collect(),
            not_before_unix_seconds: validity.not_before.timestamp(),
            not_after_unix_seconds: validity.not_after.timestamp(),
            is_authority: certificate.is_ca(),
            path_length: path_length(&certificate),
            constraints: Constraints::of(&certificate),
            is_self_signed: certificate.subject() == certificate.issuer()
                && certificate.verify_signature(None).is_ok(),
            may_serve: usages(&certificate).server,
            usages: usages(&certificate),
            may_sign: may_sign(&certificate),
            key: key(&certificate),
            has_weak_signature: has_weak_signature(&certificate),
        })
    }

    /// Whole days until it ends; negative once it has.
    pub fn days_left(&self, now_unix_seconds: i64) -> i64 {
        (self.not_after_unix_seconds - now_unix_seconds).div_euclid(SECONDS_PER_DAY)
    }

    /// Whether it has begun and not ended.
    pub fn is_valid_at(&self, now_unix_seconds: i64) -> bool {
        (self.not_before_unix_seconds..=self.not_after_unix_seconds).contains(&now_unix_seconds)
    }

    /// Whether a client that connects to `host` (a name or an address) finds it here.
    pub fn covers_host(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(address) => self.ip_addresses.contains(&address),
            Err(_) => crate::covers_host(&self.dns_names, host),
        }
    }
}

/// The certificates of a PEM file, in its order; what else stands there is skipped. At least one.
pub fn certificates_in_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|c| c.map(|c| c.to_vec())).collect();
    let chain = chain.map_err(|e| PkiError::malformed("the PEM file", e))?;
    if chain.is_empty() {
        return Err(PkiError::malformed("the PEM file", "it holds no certificate"));
    }
    Ok(chain)
}

/// Whether a private key (PEM) belongs to a certificate.
pub fn key_fits(certificate_der: &[u8], key_pem: &str) -> Result<bool, PkiError> {
    let certificate = parse(certificate_der)?;
    let key = KeyPair::from_pem(key_pem).map_err(|e| PkiError::malformed("the private key", e))?;
    Ok(key.subject_public_key_info() == certificate.public_key().raw)
}

/// Whether `issuer_der` is a CA that issued `certificate_der`: names chain and the signature is right.
pub fn is_issued_by(certificate_der: &[u8], issuer_der: &[u8]) -> Result<bool, PkiError> {
    let certificate = parse(certificate_der)?;
    let issuer = parse(issuer_der)?;
    Ok(issuer.is_ca()
        && certificate.issuer() == issuer.subject()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok())
}

/// The hash of a server's certificate that binds what is said within TLS to its connection (`tls-server-end-point`, RFC 5929
/// §4.1): by the hash of its signature, but never MD5 or SHA-1. `None` where the algorithm of the signature has no hash
/// of its own.
pub fn end_point(certificate_der: &[u8]) -> Result<Option<Vec<u8>>, PkiError> {
    let certificate = parse(certificate_der)?;
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    Ok(match algorithm.as_str() {
        // sha256WithRSAEncryption, ecdsa-with-SHA256.
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Some(Sha256::digest(certificate_der).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Sha384::digest(certificate_der).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Sha512::digest(certificate_der).to_vec()),
        weak if WEAK_SIGNATURES.contains(&weak) => Some(Sha256::digest(certificate_der).to_vec()),
        _ => None,
    })
}

fn parse(certificate_der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let parsed = X509Certificate::from_der(certificate_der);
    parsed.map(|(_, certificate)| certificate).map_err(|e| PkiError::malformed("the certificate", e))
}

pub(crate) fn ip_address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(octets) = name else { return None };
    if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from)
}

/// RFC 5280 §4.1.2.2 wants positive numbers: a leading zero octet says just that, and is not told.
fn serial(certificate: &X509Certificate<'_>) -> String {
    let octets = certificate.raw_serial();
    let octets = octets.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(octets);
    hex(octets)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn path_length(certificate: &X509Certificate<'_>) -> Option<u32> {
    certificate.basic_constraints().ok().flatten().and_then(|extension| extension.value.path_len_constraint)
}

fn usages(certificate: &X509Certificate<'_>) -> Usages {
    match certificate.extended_key_usage() {
        Ok(None) => Usages { server: true, client: true, sip_domain: true },
        Ok(Some(extension)) => {
            let usage = extension.value;
            let is_sip_domain = |oid: &x509_parser::der_parser::Oid<'_>| {
                oid.iter().is_some_and(|arcs| arcs.eq(SIP_DOMAIN_USAGE))
            };
            Usages {
                server: usage.any || usage.server_auth,
                client: usage.any || usage.client_auth,
                sip_domain: usage.any || usage.other.iter().any(is_sip_domain),
            }
        }
        Err(_) => Usages::default(),
    }
}

fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.digital_signature()),
        Err(_) => false,
    }
}

/// Smallest RSA key that TLS libraries take, in bits.
pub(crate) const RSA_BITS_MIN: usize = 2048;

fn key(certificate: &X509Certificate<'_>) -> KeyFacts {
    key_of(certificate.public_key())
}

pub(crate) fn key_of(key: &SubjectPublicKeyInfo<'_>) -> KeyFacts {
    match key.parsed() {
        Ok(PublicKey::RSA(key)) => KeyFacts::Rsa(key.key_size()),
        Ok(PublicKey::EC(point)) => KeyFacts::Curve(point.key_size()),
        // Ed25519 is not among the kinds that the parser tells apart.
        Ok(PublicKey::Unknown(octets)) if octets.len() == ED25519_OCTETS => KeyFacts::Curve(256),
        Ok(_) | Err(_) => KeyFacts::Other,
    }
}

/// A public Ed25519 key in octets.
const ED25519_OCTETS: usize = 32;

fn has_weak_signature(certificate: &X509Certificate<'_>) -> bool {
    WEAK_SIGNATURES.contains(&certificate.signature_algorithm.algorithm.to_id_string().as_str())
}

/// md5WithRSAEncryption, sha1WithRSAEncryption (both PKCS #1), ecdsa-with-SHA1 (X9.62).
const WEAK_SIGNATURES: [&str; 3] = ["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];
