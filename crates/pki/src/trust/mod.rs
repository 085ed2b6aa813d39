//! Judging the chain that a peer showed: which anchors vouch for it, and in words why none does.
//!
//! [`Trust`] holds anchors by purpose ([`node::Anchors`]) and the CRLs of their CAs. [`Trust::judge`] makes facts of a
//! chain ([`node::PeerCertificate`]); whether they are enough for a peer is said by [`node::Expected`], by policy, or
//! by a role. That the peer holds the key is proved elsewhere, by the handshake of TLS.
//!
//! What is checked (RFC 5280 §6): signatures, dates (the anchor's too), basic constraints, path lengths, key usages,
//! constraints on names, revocation by CRL. rustls-webpki builds the paths; on top of it stand
//! - [`constraints`]: a CA's constraints on DNS names hold for the domain of a `sip:` URI name too. No library does
//!   that: a CA that may sign for `contoso.example` only could else issue `URI:sip:fabrikam.example`;
//! - [`usage`]: which usages a SIP peer's certificate may have, as a client and as a server (RFC 5924);
//! - [`crl`]: revocation, for every certificate of the path;
//! - the keyCertSign bit of CAs and the digitalSignature bit of peers (RFC 5280 §4.2.1.3), and the anchor's dates.
//!
//! What it is not: it fetches no CRL, asks no OCSP responder, and takes no names from a subject's common name.

mod constraints;
mod crl;
mod distrust;
mod usage;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node::{Anchors, PeerCertificate, UnixMillis};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;
use crate::facts::ip_address;
use crate::names::{dns_name, is_dns_name, sip_domains_of, sip_hosts_of, subject_names};
use constraints::DnsConstraints;
use crl::Crl;
pub use distrust::{Distrust, DistrustClass};
use usage::Purpose;

/// Most certificates of a chain that are looked at: the peer's, four CAs, and a root that needs not be there. Paths are
/// tried in every order, so that a few more made by a stranger for that would cost seconds.
pub const CHAIN_CERTIFICATES_MAX: usize = 6;

/// Whom we believe.
#[derive(Debug, Default)]
pub struct Trust {
    anchors: Vec<Anchor>,
    /// Places in `anchors` by the subject, DER.
    by_subject: BTreeMap<Vec<u8>, Vec<usize>>,
    /// By their issuer, DER.
    crls: BTreeMap<Vec<u8>, Vec<Crl>>,
    expired_crls: ExpiredCrls,
}

/// Collects what a [`Trust`] is made of.
#[derive(Debug, Default)]
pub struct TrustBuilder {
    /// By their DER: one CA may be believed for several purposes.
    anchors: BTreeMap<Vec<u8>, Anchor>,
    crls: Vec<Crl>,
    expired_crls: ExpiredCrls,
}

/// What a CRL is worth whose next update is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExpiredCrls {
    /// What it lists stays revoked, everything else stays trusted: a job that fetches CRLs and fails must not cut an
    /// organisation off. Whoever keeps the files watches [`Trust::crls_end`].
    #[default]
    StillCount,
    /// All certificates of its CA are distrusted until a fresh one is there, as OpenSSL does.
    Refuse,
}

/// Which part the peer has in the handshake. A certificate for servers alone is good in both: public CAs have stopped
/// to issue for clients. One for clients alone makes no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// It opened the connection.
    Client,
    /// We opened it.
    Server,
}

/// What a chain is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The facts.
    pub certificate: PeerCertificate,
    /// Why nobody vouches for it; `None` where somebody does.
    pub distrust: Option<Distrust>,
}

#[derive(Debug)]
struct Anchor {
    der: Vec<u8>,
    anchor: TrustAnchor<'static>,
    subject: Vec<u8>,
    name: String,
    /// One that is no CA vouches for itself only.
    is_authority: bool,
    not_before: i64,
    not_after: i64,
    constraints: DnsConstraints,
    scopes: BTreeSet<Anchors>,
}

impl TrustBuilder {
    /// Adds the certificates of a PEM file, at least one, as anchors for a purpose. An anchor that is no CA vouches for
    /// itself only: so a partner's self-signed certificate can be believed.
    pub fn anchors(mut self, scope: Anchors, pem: &[u8]) -> Result<TrustBuilder, PkiError> {
        for der in crate::certificates_in_pem(pem)? {
            match self.anchors.get_mut(&der) {
                Some(anchor) => anchor.scopes.insert(scope.clone()),
                None => {
                    let anchor = Anchor::read(der, scope.clone())?;
                    self.anchors.insert(anchor.der.clone(), anchor).is_none()
                }
            };
        }
        Ok(self)
    }

    /// Adds the CRLs of a file, PEM (one or more) or DER (one).
    pub fn crls(mut self, file: &[u8]) -> Result<TrustBuilder, PkiError> {
        self.crls.extend(Crl::read_file(file)?);
        Ok(self)
    }

    /// Changes what an overdue CRL is worth.
    pub fn expired_crls(mut self, expired_crls: ExpiredCrls) -> TrustBuilder {
        self.expired_crls = expired_crls;
        self
    }

    /// What was collected.
    pub fn build(self) -> Trust {
        let mut trust = Trust { expired_crls: self.expired_crls, ..Trust::default() };
        for anchor in self.anchors.into_values() {
            trust.by_subject.entry(anchor.subject.clone()).or_default().push(trust.anchors.len());
            trust.anchors.push(anchor);
        }
        for crl in self.crls {
            trust.crls.entry(crl.issuer.clone()).or_default().push(crl);
        }
        trust
    }
}

impl Trust {
    /// Begins to collect.
    pub fn builder() -> TrustBuilder {
        TrustBuilder::default()
    }

    /// Believes nobody: chains are read, and none is trusted.
    pub fn nobody() -> Trust {
        Trust::default()
    }

    /// Judges a chain (DER, the peer's own certificate first, the rest in any order) at a moment.
    pub fn judge(&self, chain: &[impl AsRef<[u8]>], role: PeerRole, now: UnixMillis) -> Judgement {
        let leaf = chain.first().map_or(&[][..], AsRef::as_ref);
        let mut certificate = PeerCertificate {
            sip_domains: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            sha256: Sha256::digest(leaf).into(),
            not_after: UnixMillis(0),
            trusted_by: Vec::new(),
            distrust: String::new(),
        };
        let vouched = match X509Certificate::from_der(leaf) {
            Ok((_, parsed)) => {
                fill_names(&mut certificate, &parsed);
                Case { trust: self, chain, leaf: &parsed, role, now }.vouchers()
            }
            Err(error) => Err(Distrust::Unreadable(error.to_string())),
        };
        let distrust = match vouched {
            Ok(scopes) => {
                certificate.trusted_by = scopes.into_iter().collect();
                None
            }
            Err(distrust) => {
                certificate.distrust = distrust.to_string();
                Some(distrust)
            }
        };
        Judgement { certificate, distrust }
    }

    /// When a chain may come to be worth less than at `now` by time alone: the first moment at which one of its certificates, or an
    /// anchor that they name as their issuer, has ended. Whoever holds a connection by it judges again then.
    pub fn first_end(&self, chain: &[impl AsRef<[u8]>], now: UnixMillis) -> Option<UnixMillis> {
        let mut ends = Vec::new();
        for der in chain.iter().take(CHAIN_CERTIFICATES_MAX) {
            let Ok((_, certificate)) = X509Certificate::from_der(der.as_ref()) else { continue };
            ends.push(certificate.validity().not_after.timestamp());
            let issuers = self.by_subject.get(certificate.issuer().as_raw()).into_iter().flatten();
            ends.extend(issuers.map(|place| self.anchors[*place].not_after));
        }
        // The last second is still good (RFC 5280 §4.1.2.5).
        let ends = ends.into_iter().map(|last| unix_millis(last.saturating_add(1)));
        ends.filter(|end| *end > now).min()
    }

    /// When the first of the CRLs wants to be replaced.
    pub fn crls_end(&self) -> Option<UnixMillis> {
        let ends = self.crls.values().flatten().filter_map(|crl| crl.next_update);
        ends.min().map(unix_millis)
    }
}

/// One chain before the judge.
struct Case<'a, C> {
    trust: &'a Trust,
    chain: &'a [C],
    leaf: &'a X509Certificate<'a>,
    role: PeerRole,
    now: UnixMillis,
}

impl<C: AsRef<[u8]>> Case<'_, C> {
    /// The purposes of all anchors that some path leads to.
    fn vouchers(&self) -> Result<BTreeSet<Anchors>, Distrust> {
        if self.chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(Distrust::ChainTooLong(self.chain.len()));
        }
        let ders: Vec<CertificateDer<'_>> =
            self.chain.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
        let leaf = EndEntityCert::try_from(&ders[0]).map_err(|e| Distrust::Unreadable(e.to_string()))?;
        usage::check_signs(self.leaf)?;
        let mut candidates = self.candidates();
        let mut scopes = BTreeSet::new();
        loop {
            match self.best_path(&leaf, &ders[1..], &candidates) {
                Ok(found) => {
                    scopes.extend(candidates.swap_remove(found).scopes.iter().cloned());
                    if candidates.is_empty() {
                        return Ok(scopes);
                    }
                }
                Err(_) if !scopes.is_empty() => return Ok(scopes),
                Err(distrust) => return Err(distrust),
            }
        }
    }

    /// The anchors that something in the chain names as its issuer.
    fn candidates(&self) -> Vec<&Anchor> {
        let mut places = BTreeSet::<usize>::new();
        for der in self.chain {
            if let Ok((_, certificate)) = X509Certificate::from_der(der.as_ref())
                && let Some(found) = self.trust.by_subject.get(certificate.issuer().as_raw())
            {
                places.extend(found.iter().copied());
            }
        }
        places.into_iter().map(|place| &self.trust.anchors[place]).collect()
    }

    /// The place of an anchor that a path leads to for a usage that a peer may have.
    fn best_path(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        candidates: &[&Anchor],
    ) -> Result<usize, Distrust> {
        if candidates.is_empty() {
            return Err(Distrust::unknown_authority(self.leaf));
        }
        let mut result = Err(Distrust::unknown_authority(self.leaf));
        for purpose in usage::purposes(self.role) {
            result = self.path(leaf, intermediates, candidates, *purpose);
            // Where it is not the usage that fails, no other usage helps.
            if !matches!(result, Err(Distrust::WrongUsage(_))) {
                return result;
            }
        }
        result
    }

    fn path(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        candidates: &[&Anchor],
        purpose: Purpose,
    ) -> Result<usize, Distrust> {
        let anchors: Vec<TrustAnchor<'_>> = candidates.iter().map(|a| borrowed(&a.anchor)).collect();
        let place = |anchor: &TrustAnchor<'_>| anchors.iter().position(|one| std::ptr::eq(one, anchor));
        let refused = RefCell::new(None);
        let verify = |path: &VerifiedPath<'_>| {
            let anchor = candidates[place(path.anchor()).expect("a path ends in an anchor of the list")];
            self.check_path(path, anchor).map_err(|distrust| {
                *refused.borrow_mut() = Some(distrust);
                webpki::Error::CertDistrusted
            })
        };
        let found = leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(Duration::from_millis(self.now.0)),
            purpose,
            None,
            Some(&verify),
        );
        match found {
            Ok(path) => Ok(place(path.anchor()).expect("a path ends in an anchor of the list")),
            Err(error) => Err(refused.take().unwrap_or_else(|| Distrust::of(error, self.leaf))),
        }
    }

    /// What webpki leaves out.
    fn check_path(&self, path: &VerifiedPath<'_>, anchor: &Anchor) -> Result<(), Distrust> {
        anchor.check_dates(self.seconds())?;
        if !anchor.is_authority && self.chain[0].as_ref() != anchor.der {
            return Err(Distrust::Unfit(format!("{} is no CA", anchor.name)));
        }
        let ders: Vec<_> = path.intermediate_certificates().map(|certificate| certificate.der()).collect();
        let mut authorities = Vec::with_capacity(ders.len());
        for der in &ders {
            let (_, authority) =
                X509Certificate::from_der(der).map_err(|e| Distrust::Unreadable(e.to_string()))?;
            usage::check_may_issue(&authority)?;
            authorities.push(authority);
        }
        let hosts = sip_hosts_of(self.leaf);
        anchor.constraints.check(&hosts, &anchor.name)?;
        for authority in &authorities {
            let name = authority.subject().to_string();
            DnsConstraints::of(authority)?.check(&hosts, &name)?;
        }
        self.check_revocation(&authorities, anchor)
    }

    fn check_revocation(&self, authorities: &[X509Certificate<'_>], anchor: &Anchor) -> Result<(), Distrust> {
        if self.trust.crls.is_empty() {
            return Ok(());
        }
        let (_, root) = X509Certificate::from_der(&anchor.der).expect("an anchor was read before");
        let issuers = authorities.iter().chain([&root]);
        for (certificate, issuer) in [self.leaf].into_iter().chain(authorities).zip(issuers) {
            let Some(crls) = self.trust.crls.get(certificate.issuer().as_raw()) else { continue };
            crl::check(crls, certificate, issuer, self.trust.expired_crls, self.seconds())?;
        }
        Ok(())
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.now.0 / 1000).unwrap_or(i64::MAX)
    }
}

impl Anchor {
    fn read(der: Vec<u8>, scope: Anchors) -> Result<Anchor, PkiError> {
        let malformed = |reason: String| PkiError::malformed("the CA's certificate", reason);
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|e| malformed(e.to_string()))?;
        let name = parsed.subject().to_string();
        // The first version of X.509 knows no CA bit, and such roots are around still.
        let is_first_version = parsed.version() == x509_parser::x509::X509Version::V1;
        let constraints =
            DnsConstraints::of(&parsed).map_err(|distrust| malformed(format!("{name}: {distrust}")))?;
        let owned = CertificateDer::from(der.as_slice());
        let anchor =
            anchor_from_trusted_cert(&owned).map_err(|e| malformed(format!("{name}: {e}")))?.to_owned();
        Ok(Anchor {
            subject: parsed.subject().as_raw().to_vec(),
            is_authority: is_first_version || parsed.is_ca() && usage::check_may_issue(&parsed).is_ok(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            name,
            anchor,
            constraints,
            scopes: BTreeSet::from([scope]),
            der,
        })
    }

    /// RFC 5280 §6.2 leaves an anchor's dates to us: a CA that has ended vouches for nobody.
    fn check_dates(&self, now: i64) -> Result<(), Distrust> {
        let authority = Some(self.name.clone());
        if now > self.not_after {
            return Err(Distrust::Expired { since: self.not_after, authority });
        }
        if now < self.not_before {
            return Err(Distrust::NotYetValid { until: self.not_before, authority });
        }
        Ok(())
    }
}

fn fill_names(certificate: &mut PeerCertificate, parsed: &X509Certificate<'_>) {
    let names = subject_names(parsed);
    certificate.sip_domains = sip_domains_of(parsed);
    certificate.dns_names = names.iter().filter_map(dns_name).filter(|name| is_dns_name(name)).collect();
    certificate.ip_addresses = names.iter().filter_map(ip_address).collect();
    certificate.not_after = unix_millis(parsed.validity().not_after.timestamp());
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'_>) -> TrustAnchor<'a> {
    TrustAnchor {
        subject: anchor.subject.as_ref().into(),
        subject_public_key_info: anchor.subject_public_key_info.as_ref().into(),
        name_constraints: anchor.name_constraints.as_ref().map(|der| der.as_ref().into()),
    }
}

fn unix_millis(seconds: i64) -> UnixMillis {
    UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests;
