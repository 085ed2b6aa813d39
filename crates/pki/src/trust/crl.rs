//! Certificate revocation lists (RFC 5280 §5), from files.
//!
//! A certificate is revoked if a list that names its issuer, and is signed with its issuer's key, names its serial number.
//! So neither the scope of a partial list matters nor which of several is newest, and a list that nobody's CA signed
//! does nothing. Delta lists and lists of other CAs' certificates (indirect ones) are refused when they are read, since
//! they would be misunderstood.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{Distrust, ExpiredCrls};
use crate::PkiError;

/// What a PEM file holds somewhere; DER never does.
const PEM_MARK: &[u8] = b"-----BEGIN";

/// One list.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) issuer: Vec<u8>,
    /// When it wants to be replaced, in seconds since 1970.
    pub(super) next_update: Option<i64>,
    serials: BTreeSet<Vec<u8>>,
    der: Vec<u8>,
}

impl Crl {
    /// The lists of a file, PEM or DER, at least one.
    pub(super) fn read_file(file: &[u8]) -> Result<Vec<Crl>, PkiError> {
        if !file.windows(PEM_MARK.len()).any(|window| window == PEM_MARK) {
            return Ok(vec![Crl::read(file.to_vec())?]);
        }
        let mut crls = Vec::new();
        for crl in CertificateRevocationListDer::pem_slice_iter(file) {
            crls.push(Crl::read(crl.map_err(malformed)?.to_vec())?);
        }
        if crls.is_empty() {
            return Err(malformed("the file holds none"));
        }
        Ok(crls)
    }

    fn read(der: Vec<u8>) -> Result<Crl, PkiError> {
        let (_, parsed) = CertificateRevocationList::from_der(&der).map_err(malformed)?;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::IssuingDistributionPoint(point) if !point.indirect_crl => {}
                ParsedExtension::IssuingDistributionPoint(_) => {
                    return Err(malformed("it is an indirect list, which is not understood"));
                }
                _ if !extension.critical => {}
                // Delta lists among them.
                _ => return Err(malformed(format!("its extension {} is not understood", extension.oid))),
            }
        }
        Ok(Crl {
            issuer: parsed.issuer().as_raw().to_vec(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
            serials: parsed.iter_revoked_certificates().map(|one| one.raw_serial().to_vec()).collect(),
            der,
        })
    }

    fn is_overdue(&self, now: i64) -> bool {
        self.next_update.is_some_and(|at| at < now)
    }

    /// Looked at only where it matters, since a list may be long.
    fn is_signed_by(&self, issuer: &X509Certificate<'_>) -> bool {
        let (_, parsed) = CertificateRevocationList::from_der(&self.der).expect("a list was read before");
        parsed.verify_signature(issuer.public_key()).is_ok()
    }
}

/// Whether a certificate is in good standing, by the lists that name its issuer.
pub(super) fn check(
    crls: &[Crl],
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    expired: ExpiredCrls,
    now: i64,
) -> Result<(), Distrust> {
    let serial = certificate.raw_serial();
    if crls.iter().any(|crl| crl.serials.contains(serial) && crl.is_signed_by(issuer)) {
        let authority = certificate.is_ca().then(|| certificate.subject().to_string());
        return Err(Distrust::Revoked { by: issuer.subject().to_string(), authority });
    }
    let mut overdue = crls.iter().filter(|crl| crl.is_overdue(now) && crl.is_signed_by(issuer));
    if expired == ExpiredCrls::Refuse
        && !crls.iter().any(|crl| !crl.is_overdue(now) && crl.is_signed_by(issuer))
        && let Some(crl) = overdue.next()
    {
        let since = crl.next_update.expect("what is overdue was due");
        return Err(Distrust::CrlExpired { of: issuer.subject().to_string(), since });
    }
    Ok(())
}

fn malformed(reason: impl ToString) -> PkiError {
    PkiError::malformed("the revocation list", reason)
}
