//! The private certificate authority.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SerialNumber,
};

use crate::request::SERVER_VALID_DAYS;
use crate::{CertificateFacts, Constraints, PkiError, Request, SigningRequest};

/// How long a root CA is valid, in days: ten years. Replacing it means visiting every client once.
pub const AUTHORITY_VALID_DAYS: u64 = 3650;
/// How long an issuing CA is valid, in days: five years. It is renewed once or twice in the root's life, which
/// nobody but the CA's keeper notices.
pub const ISSUING_VALID_DAYS: u64 = 1825;
/// How far validity starts before the moment of issue, in seconds: clients whose clocks are an hour slow (or that
/// confuse a time zone by one) still accept a fresh certificate.
const BACKDATED_SECONDS: u64 = 3600;
/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`), in characters.
const COMMON_NAME_CHARACTERS_MAX: usize = 64;
/// `id-ce-nameConstraints`.
const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];

const SECONDS_PER_DAY: u64 = 24 * 3600;

/// A CA with its key: a root, or an issuing CA below one.
pub struct Authority {
    certificate_pem: String,
    certificate_der: Vec<u8>,
    facts: CertificateFacts,
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
    /// The certificate alone: a root needs not be sent (RFC 8446 §4.4.2). [`Authority::with_chain`] puts an issuing CA
    /// behind it.
    pub certificate_pem: String,
    /// Its key, PKCS #8.
    pub key_pem: String,
}

/// Whose public key a certificate gets.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// A new ECDSA P-256 one.
    New,
    /// That of this private key, PEM (PKCS #8).
    Kept(&'a str),
}

/// The number of a certificate, unique for its CA: 128 bits that nobody guesses (RFC 5280 §4.1.2.2 wants a positive
/// number of at most 20 octets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Of random octets; the first bits are set so that it is positive and always as long.
    pub fn from_random(mut octets: [u8; 16]) -> Serial {
        octets[0] = octets[0] & 0x7f | 0x40;
        Serial(octets)
    }
}

/// A certificate that is believed no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// As [`CertificateFacts::serial`] tells it.
    pub serial: String,
    /// When, in seconds since 1970.
    pub at_unix_seconds: u64,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a certificate is believed no more (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevocationReason {
    /// Nobody said.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Somebody else may have the key of this CA.
    AuthorityCompromise,
    /// Its holder belongs elsewhere now.
    AffiliationChanged,
    /// Another one took its place.
    Superseded,
    /// What it was for is no more.
    Cessation,
    /// Its holder may not use it any more.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [RevocationReason; 7] = [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::AuthorityCompromise,
        RevocationReason::AffiliationChanged,
        RevocationReason::Superseded,
        RevocationReason::Cessation,
        RevocationReason::PrivilegeWithdrawn,
    ];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            RevocationReason::Unspecified => "unspecified",
            RevocationReason::KeyCompromise => "key-compromise",
            RevocationReason::AuthorityCompromise => "ca-compromise",
            RevocationReason::AffiliationChanged => "affiliation-changed",
            RevocationReason::Superseded => "superseded",
            RevocationReason::Cessation => "cessation",
            RevocationReason::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    fn code(self) -> Option<rcgen::RevocationReason> {
        match self {
            // RFC 5280 §5.3.1: absence says it.
            RevocationReason::Unspecified => None,
            RevocationReason::KeyCompromise => Some(rcgen::RevocationReason::KeyCompromise),
            RevocationReason::AuthorityCompromise => Some(rcgen::RevocationReason::CaCompromise),
            RevocationReason::AffiliationChanged => Some(rcgen::RevocationReason::AffiliationChanged),
            RevocationReason::Superseded => Some(rcgen::RevocationReason::Superseded),
            RevocationReason::Cessation => Some(rcgen::RevocationReason::CessationOfOperation),
            RevocationReason::PrivilegeWithdrawn => Some(rcgen::RevocationReason::PrivilegeWithdrawn),
        }
    }
}

/// What a revocation list says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListFacts {
    /// Higher than that of every list before (RFC 5280 §5.2.3).
    pub number: u64,
    /// From when on it holds, in seconds since 1970.
    pub this_update_unix_seconds: u64,
    /// When the next one is there at the latest.
    pub next_update_unix_seconds: u64,
}

impl Authority {
    /// Makes a CA without constraints that issues for servers itself. `name` becomes its common name, which people
    /// see in trust stores. For tests and throw-away worlds: an organisation makes a root that can be taken offline,
    /// and an issuing CA ([`Authority::create_root`], [`Authority::create_issuing`]).
    pub fn create(name: &str, now_unix_seconds: u64) -> Result<Authority, PkiError> {
        let params = authority_params(name, 0, &Constraints::default())?;
        Authority::self_signed(params, now_unix_seconds)
    }

    /// Makes a root CA, for issuing CAs only: path length 1.
    pub fn create_root(
        name: &str,
        constraints: &Constraints,
        now_unix_seconds: u64,
    ) -> Result<Authority, PkiError> {
        Authority::self_signed(authority_params(name, 1, constraints)?, now_unix_seconds)
    }

    /// Makes a CA that issues for holders itself, and for no further CA: path length 0. For certificates that a server issues
    /// on its own, where no chain has to be believed.
    pub fn create_for_holders(
        name: &str,
        constraints: &Constraints,
        now_unix_seconds: u64,
    ) -> Result<Authority, PkiError> {
        Authority::self_signed(authority_params(name, 0, constraints)?, now_unix_seconds)
    }

    /// Takes up a CA that was made before.
    pub fn open(certificate_pem: &str, key_pem: &str) -> Result<Authority, PkiError> {
        let chain = crate::certificates_in_pem(certificate_pem.as_bytes())?;
        let certificate_der = chain.into_iter().next().expect("a PEM file read has a certificate");
        let facts = CertificateFacts::read(&certificate_der)?;
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
            facts,
            key_pem: key_pem.to_owned(),
            issuer,
        })
    }

    fn self_signed(mut params: CertificateParams, now_unix_seconds: u64) -> Result<Authority, PkiError> {
        let key = new_key()?;
        set_validity(&mut params, now_unix_seconds, AUTHORITY_VALID_DAYS);
        let certificate = params.self_signed(&key).map_err(cryptography)?;
        Ok(Authority {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            facts: CertificateFacts::read(certificate.der())?,
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Makes or renews an issuing CA below this root: for servers, partners and clients, for no further CA (path
    /// length 0), with the root's constraints. Renewed with its name and key, it stands behind every certificate that
    /// it issued before.
    pub fn create_issuing(
        &self,
        name: &str,
        key: Key<'_>,
        serial: Serial,
        now_unix_seconds: u64,
    ) -> Result<Authority, PkiError> {
        if self.facts.path_length == Some(0) {
            return Err(PkiError::refused(name, "the CA may not issue for further CAs"));
        }
        let mut params = authority_params(name, 0, &self.facts.constraints)?;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial.0));
        let days = ISSUING_VALID_DAYS.min(self.days_left(now_unix_seconds));
        self.set_validity_within(&mut params, now_unix_seconds, days)?;
        let key = key.pair()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cryptography)?;
        Ok(Authority {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            facts: CertificateFacts::read(certificate.der())?,
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Issues a certificate. Refused are names outside the CA's constraints, and an end behind the CA's own.
    pub fn issue(
        &self,
        request: &Request,
        key: Key<'_>,
        serial: Serial,
        now_unix_seconds: u64,
    ) -> Result<Issued, PkiError> {
        self.issue_with(request, key, Some(SerialNumber::from_slice(&serial.0)), now_unix_seconds)
    }

    /// The same for somebody who made the key, and sends a signing request (PKCS #10, PEM) that proves it. Only the
    /// public key is taken from it; names and usages are `request`'s.
    pub fn issue_to(
        &self,
        request: &Request,
        signing_request_pem: &str,
        serial: Serial,
        now_unix_seconds: u64,
    ) -> Result<String, PkiError> {
        let asked = SigningRequest::read(signing_request_pem.as_bytes())?;
        self.issue_for(request, &asked, serial, now_unix_seconds)
    }

    /// The same for a signing request that was read already.
    pub fn issue_for(
        &self,
        request: &Request,
        asked: &SigningRequest,
        serial: Serial,
        now_unix_seconds: u64,
    ) -> Result<String, PkiError> {
        let serial = Some(SerialNumber::from_slice(&serial.0));
        let params = self.leaf_params(request, serial, now_unix_seconds)?;
        Ok(params.signed_by(&asked.key, &self.issuer).map_err(cryptography)?.pem())
    }

    /// Issues a certificate for a server, with a new ECDSA P-256 key. It serves both roles of TLS: our servers also
    /// open connections, to other servers.
    pub fn issue_server(&self, names: &ServerNames, now_unix_seconds: u64) -> Result<Issued, PkiError> {
        let days = SERVER_VALID_DAYS.min(self.days_left(now_unix_seconds));
        let request = Request::for_server(names, days)?;
        // Without a serial of the caller's it is drawn from the new key.
        self.issue_with(&request, Key::New, None, now_unix_seconds)
    }

    /// The list of what this CA revoked, as PEM (RFC 5280 §5).
    pub fn revocation_list(&self, facts: ListFacts, revoked: &[Revoked]) -> Result<String, PkiError> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let mut revoked_certs = Vec::with_capacity(revoked.len());
        for certificate in revoked {
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial_octets(&certificate.serial)?),
                revocation_time: epoch + Duration::from_secs(certificate.at_unix_seconds),
                reason_code: certificate.reason.code(),
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: epoch + Duration::from_secs(facts.this_update_unix_seconds),
            next_update: epoch + Duration::from_secs(facts.next_update_unix_seconds),
            crl_number: SerialNumber::from(facts.number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(cryptography)
    }

    /// The certificate that clients must trust, or that stands behind those that an issuing CA issued.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same as DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// What its certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The key, PKCS #8. Whoever holds it can impersonate every server to every client that trusts the CA, within its
    /// constraints.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// What a server sends: its certificate and, unless this CA is a root, the CA's.
    pub fn with_chain(&self, certificate_pem: &str) -> String {
        match self.facts.is_self_signed {
            true => certificate_pem.to_owned(),
            false => format!("{certificate_pem}{}", self.certificate_pem),
        }
    }

    /// Whole days until it ends; 0 once it has.
    pub fn days_left(&self, now_unix_seconds: u64) -> u64 {
        let now = i64::try_from(now_unix_seconds).unwrap_or(i64::MAX);
        u64::try_from(self.facts.days_left(now)).unwrap_or(0)
    }

    fn issue_with(
        &self,
        request: &Request,
        key: Key<'_>,
        serial: Option<SerialNumber>,
        now_unix_seconds: u64,
    ) -> Result<Issued, PkiError> {
        let params = self.leaf_params(request, serial, now_unix_seconds)?;
        let key = key.pair()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cryptography)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    fn leaf_params(
        &self,
        request: &Request,
        serial: Option<SerialNumber>,
        now_unix_seconds: u64,
    ) -> Result<CertificateParams, PkiError> {
        request.hold_against(&self.facts.constraints)?;
        let mut params = CertificateParams::default();
        params.serial_number = serial;
        params.subject_alt_names = request.alternative_names()?;
        let name = request.shown_name().expect("a checked request has a name");
        // A longer name stands among the alternative names, which is where clients look.
        params.distinguished_name =
            common_name(&name.chars().take(COMMON_NAME_CHARACTERS_MAX).collect::<String>());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = request.extended_key_usages();
        params.use_authority_key_identifier_extension = true;
        self.set_validity_within(&mut params, now_unix_seconds, request.days)?;
        Ok(params)
    }

    fn set_validity_within(
        &self,
        params: &mut CertificateParams,
        now_unix_seconds: u64,
        days: u64,
    ) -> Result<(), PkiError> {
        let left = self.days_left(now_unix_seconds);
        if days == 0 || days > left {
            let reason =
                format!("the CA itself is valid for {left} more days: renew the CA, or ask for fewer days");
            return Err(PkiError::refused(&self.facts.subject, reason));
        }
        set_validity(params, now_unix_seconds, days);
        Ok(())
    }
}

impl Key<'_> {
    fn pair(self) -> Result<KeyPair, PkiError> {
        match self {
            Key::New => new_key(),
            Key::Kept(pem) => KeyPair::from_pem(pem).map_err(|e| PkiError::malformed("the private key", e)),
        }
    }
}

fn authority_params(
    name: &str,
    path_length: u8,
    constraints: &Constraints,
) -> Result<CertificateParams, PkiError> {
    if name.is_empty() || name.chars().count() > COMMON_NAME_CHARACTERS_MAX {
        return Err(PkiError::refused(name, "a CA's name has 1 to 64 characters"));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !constraints.is_empty() {
        // COMPAT: not critical, against RFC 5280 §4.2.1.10. Linphone 5 (mbedTLS) knows no name constraints, and
        // refuses a chain with a critical extension that it does not know. OpenSSL, GnuTLS, NSS, webpki and Windows
        // hold to them either way.
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&NAME_CONSTRAINTS, constraints.to_der())];
    }
    Ok(params)
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

/// The octets of a serial number in hexadecimal digits; an odd one lacks its first zero.
fn serial_octets(serial: &str) -> Result<Vec<u8>, PkiError> {
    let wrong = || PkiError::refused(serial, "it is no serial number: write its hexadecimal digits");
    if serial.is_empty() || !serial.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let even = if serial.len().is_multiple_of(2) { serial.to_owned() } else { format!("0{serial}") };
    let octet = |at: usize| u8::from_str_radix(&even[at..at + 2], 16).expect("these are hexadecimal digits");
    Ok((0..even.len()).step_by(2).map(octet).collect())
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)
}

fn cryptography(error: rcgen::Error) -> PkiError {
    PkiError::Cryptography(error.to_string())
}
