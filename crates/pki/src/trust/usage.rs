//! What a certificate may be used for: key usage (RFC 5280 §4.2.1.3) and extended key usage (§4.2.1.12, RFC 5924).

use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::prelude::X509Certificate;

use super::{Distrust, PeerRole};

/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1.
const SERVER: &[usize] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT: &[usize] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];
/// id-kp-sipDomain (RFC 5924 §3), 1.3.6.1.5.5.7.3.20.
const SIP_DOMAIN: &[usize] = &[1, 3, 6, 1, 5, 5, 7, 3, 20];
/// anyExtendedKeyUsage, 2.5.29.37.0.
const ANY: &[usize] = &[2, 5, 29, 37, 0];

/// A usage that all certificates of a path must agree with. Those that say nothing agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose(&'static [usize]);

/// The usages that are good enough, in the order in which they are likely.
pub(super) fn purposes(role: PeerRole) -> &'static [Purpose] {
    const PURPOSES: [Purpose; 3] = [Purpose(SERVER), Purpose(SIP_DOMAIN), Purpose(CLIENT)];
    match role {
        PeerRole::Client => &PURPOSES,
        PeerRole::Server => &PURPOSES[..2],
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut is_silent = true;
        for usage in usages {
            let usage = usage?.to_decoded_oid();
            if usage == self.0 || usage == ANY {
                return Ok(());
            }
            is_silent = false;
        }
        // The library's error carries a usage of the library's own; ours is in words, see `describe`.
        if is_silent { Ok(()) } else { Err(webpki::Error::EmptyEkuExtension) }
    }
}

/// A peer signs its handshake, so its key must be one for signatures.
pub(super) fn check_signs(certificate: &X509Certificate<'_>) -> Result<(), Distrust> {
    match certificate.key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.digital_signature() => Ok(()),
        Ok(Some(_)) => Err(Distrust::Unfit("its key is not one for digital signatures".into())),
        Err(_) => Err(Distrust::Unfit("its key usage cannot be read".into())),
    }
}

/// The keyCertSign bit, where there are such bits.
pub(super) fn check_may_issue(authority: &X509Certificate<'_>) -> Result<(), Distrust> {
    let is_allowed = match authority.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => false,
    };
    let name = authority.subject();
    if is_allowed {
        Ok(())
    } else {
        Err(Distrust::Unfit(format!("the key of {name} may not sign certificates")))
    }
}

/// The extended usages in words.
pub(super) fn describe(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(extension)) = certificate.extended_key_usage() else {
        return "a CA of its chain may not be used for TLS".to_owned();
    };
    let usage = &extension.value;
    let mut names: Vec<String> = [
        (usage.server_auth, "TLS servers"),
        (usage.client_auth, "TLS clients"),
        (usage.code_signing, "signed code"),
        (usage.email_protection, "mail"),
        (usage.time_stamping, "time stamps"),
        (usage.ocsp_signing, "OCSP"),
    ]
    .into_iter()
    .filter(|(is_set, _)| *is_set)
    .map(|(_, name)| name.to_owned())
    .collect();
    names.extend(usage.other.iter().map(|oid| oid.to_id_string()));
    format!("it is for {} only", names.join(", "))
}
