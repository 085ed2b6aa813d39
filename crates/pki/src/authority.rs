//! The private certificate authority and its issuing rules.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use crate::PkiError;
use crate::names::is_dns_name;

/// How long a private CA is valid, in days: ten years. Replacing it means visiting every client once.
pub const AUTHORITY_VALID_DAYS: u64 = 3650;
/// How long a server certificate is valid, in days. Apple's systems refuse more than 825 from any CA; some days
/// are left for the backdating.
pub const SERVER_VALID_DAYS: u64 = 820;
/// Most names of one kind in a certificate: an organisation's domains and hosts fit, and the TLS handshake stays in a
/// few packets.
pub const NAMES_MAX: usize = 100;
/// How far validity starts before the moment of issue, in seconds: clients whose clocks are an hour slow (or that
/// confuse a time zone by one) still accept a fresh certificate.
const BACKDATED_SECONDS: u64 = 3600;
/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`), in characters.
const COMMON_NAME_CHARACTERS_MAX: usize = 64;

const SECONDS_PER_DAY: u64 = 24 * 3600;

/// A root CA with its key: it may issue end-entity certificates, and no further CA (path length 0).
///
/// It has no name constraints.
/// COMPAT: Linphone 5 (mbedTLS) refuses every chain with the critical `nameConstraints` extension.
pub struct Authority {
    certificate_pem: String,
    certificate_der: Vec<u8>,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a server certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerNames {
    /// SIP domains: each becomes a `sip:` URI name (RFC 5922 §4) and a DNS name for clients that compare host names.
    pub domains: Vec<String>,
    /// Host names that clients connect to.
    pub hosts: Vec<String>,
    /// Addresses that clients connect to without a name.
    pub addresses: Vec<IpAddr>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone: a root needs not be sent (RFC 8446 §4.4.2).
    pub certificate_pem: String,
    /// Its key, PKCS #8.
    pub key_pem: String,
}

impl Authority {
    /// Makes a new CA with an ECDSA P-256 key. `name` becomes its common name, which people see in trust stores.
    pub fn create(name: &str, now_unix_seconds: u64) -> Result<Authority, PkiError> {
        if name.is_empty() || name.chars().count() > COMMON_NAME_CHARACTERS_MAX {
            return Err(PkiError::refused(name, "a CA's name has 1 to 64 characters"));
        }
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_unix_seconds, AUTHORITY_VALID_DAYS);
        let certificate = params.self_signed(&key).map_err(cryptography)?;
        Ok(Authority {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up a CA that was made before.
    pub fn open(certificate_pem: &str, key_pem: &str) -> Result<Authority, PkiError> {
        let chain = crate::certificates_in_pem(certificate_pem.as_bytes())?;
        let certificate_der = chain.into_iter().next().expect("a PEM file read has a certificate");
        let facts = crate::CertificateFacts::read(&certificate_der)?;
        if !facts.is_authority {
            return Err(PkiError::refused(&facts.subject, "its certificate is not that of a CA"));
        }
        if !crate::key_fits(&certificate_der, key_pem)? {
            return Err(PkiError::refused(&facts.subject, "the CA's key does not belong to its certificate"));
        }
        let key = KeyPair::from_pem(key_pem).map_err(|e| PkiError::malformed("the CA's key", e))?;
        let issuer = Issuer::from_ca_cert_der(&certificate_der.as_slice().into(), key)
            .map_err(|e| PkiError::malformed("the CA's certificate", e))?;
        Ok(Authority {
            certificate_pem: certificate_pem.to_owned(),
            certificate_der,
            key_pem: key_pem.to_owned(),
            issuer,
        })
    }

    /// Issues a certificate for a server, with a new ECDSA P-256 key. It serves both roles of TLS: our servers also
    /// open connections, to other servers.
    pub fn issue_server(&self, names: &ServerNames, now_unix_seconds: u64) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternative_names(names)?;
        params.distinguished_name = common_name(&shown_name(names)?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_unix_seconds, SERVER_VALID_DAYS);
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cryptography)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The certificate that clients must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same as DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// The key, PKCS #8. Whoever holds it can impersonate every server to every client that trusts the CA.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

fn alternative_names(names: &ServerNames) -> Result<Vec<SanType>, PkiError> {
    for count in [names.domains.len(), names.hosts.len(), names.addresses.len()] {
        if count > NAMES_MAX {
            return Err(PkiError::refused("", "more than 100 names of one kind"));
        }
    }
    let mut sans: Vec<SanType> = Vec::new();
    let mut add = |san: SanType| {
        if !sans.contains(&san) {
            sans.push(san);
        }
    };
    let text = |name: &str, text: String| {
        text.try_into().map_err(|_| PkiError::refused(name, "it holds a character outside ASCII"))
    };
    for domain in &names.domains {
        let domain = checked_name(domain)?;
        add(SanType::URI(text(&domain, format!("sip:{domain}"))?));
    }
    for name in names.hosts.iter().chain(&names.domains) {
        let name = checked_name(name)?;
        add(SanType::DnsName(text(&name, name.clone())?));
    }
    for address in &names.addresses {
        add(SanType::IpAddress(*address));
    }
    Ok(sans)
}

/// RFC 5922 §7.2 compares whole names: a wildcard would prove nothing to a SIP server, so none is issued.
fn checked_name(name: &str) -> Result<String, PkiError> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.contains('*') {
        return Err(PkiError::refused(&name, "SIP knows no wildcards in certificates (RFC 5922 §7.2)"));
    }
    if !is_dns_name(&name) {
        return Err(PkiError::refused(&name, "it is no DNS name"));
    }
    Ok(name)
}

fn shown_name(names: &ServerNames) -> Result<String, PkiError> {
    let first = names.hosts.first().or(names.domains.first()).cloned();
    let name = first.or_else(|| names.addresses.first().map(IpAddr::to_string));
    let name = name.ok_or_else(|| PkiError::refused("", "it has no name"))?;
    // A longer name stands among the alternative names, which is where clients look.
    Ok(name.chars().take(COMMON_NAME_CHARACTERS_MAX).collect())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now_unix_seconds: u64, days: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let start = now_unix_seconds.saturating_sub(BACKDATED_SECONDS);
    params.not_before = epoch + Duration::from_secs(start);
    params.not_after = epoch + Duration::from_secs(now_unix_seconds + days * SECONDS_PER_DAY);
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)
}

fn cryptography(error: rcgen::Error) -> PkiError {
    PkiError::Cryptography(error.to_string())
}
