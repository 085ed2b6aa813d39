//! A CA of a test, which issues whatever it is told: also what no honest CA would.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams, SanType,
    SerialNumber,
};

use crate::Own;

/// A CA with its key.
pub struct PrivateCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl PrivateCa {
    /// One that may sign any name.
    pub fn new(name: &str) -> PrivateCa {
        PrivateCa::with(name, None)
    }

    /// One that may sign names of this domain alone (RFC 5280 §4.2.1.10).
    pub fn of_domain(name: &str, domain: &str) -> PrivateCa {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(domain.to_owned())];
        PrivateCa::with(name, Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }))
    }

    fn with(name: &str, constraints: Option<NameConstraints>) -> PrivateCa {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are legal names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = constraints;
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("keys are made"));
        PrivateCa { issuer: issuer.expect("a CA is made") }
    }

    /// What others must trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with these names, written to `stem.pem` and `stem.key`; names with a colon are URIs.
    pub fn issue(&self, folder: &Path, stem: &str, names: &[&str]) -> Own {
        self.issue_with(folder, stem, names, |_| {})
    }

    /// Like [`PrivateCa::issue`], with more said of it.
    pub fn issue_with(
        &self,
        folder: &Path,
        stem: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Own {
        let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("the names are legal");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("it is ASCII")));
        params.subject_alt_names.extend(uris);
        change(&mut params);
        let key = KeyPair::generate().expect("keys are made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let own =
            Own { certificate: folder.join(format!("{stem}.pem")), key: folder.join(format!("{stem}.key")) };
        std::fs::write(&own.certificate, certificate.pem()).expect("the folder is ours");
        std::fs::write(&own.key, key.serialize_pem()).expect("the folder is ours");
        own
    }

    /// A list that revokes the certificate of this number.
    pub fn revocation_list(&self, serial: u64) -> String {
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2400, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it signs").pem().expect("it is written")
    }
}
