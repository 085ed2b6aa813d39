//! What an operator wants to know about a certificate.

use std::net::IpAddr;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::PkiError;
use crate::names::{dns_name, sip_domains_of, subject_names};

const SECONDS_PER_DAY: i64 = 24 * 3600;

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The SIP domain identities (RFC 5922 §7.1).
    pub sip_domains: Vec<String>,
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
    /// Whether its own key signed it.
    pub is_self_signed: bool,
    /// Whether it may serve TLS: no extended key usage, or one of `serverAuth` and any.
    pub may_serve: bool,
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
            sip_domains: sip_domains_of(&certificate),
            dns_names: names.iter().filter_map(dns_name).collect(),
            ip_addresses: names.iter().filter_map(ip_address).collect(),
            not_before_unix_seconds: validity.not_before.timestamp(),
            not_after_unix_seconds: validity.not_after.timestamp(),
            is_authority: certificate.is_ca(),
            is_self_signed: certificate.subject() == certificate.issuer()
                && certificate.verify_signature(None).is_ok(),
            may_serve: may_serve(&certificate),
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

fn parse(certificate_der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let parsed = X509Certificate::from_der(certificate_der);
    parsed.map(|(_, certificate)| certificate).map_err(|e| PkiError::malformed("the certificate", e))
}

fn ip_address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(octets) = name else { return None };
    if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from)
}

fn may_serve(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.any || usage.value.server_auth,
        Err(_) => false,
    }
}
