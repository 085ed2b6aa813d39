//! Which names a certificate proves.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::PkiError;

/// The SIP domain identities of an end-entity certificate, in lower case, in the order of the certificate
/// (RFC 5922 §7.1): the hosts of its `sip:` URI names, or its DNS names where it has no `sip:` URI.
///
/// - A `sip:` URI with a user part names a person, never a domain. A certificate that holds only such URIs proves no
///   domain at all: its DNS names belong to a person's device, not to a domain's server.
/// - Wildcards are no SIP domain identity (RFC 5922 §7.2) and are left out.
/// - The subject's common name is not looked at: RFC 5922 §7.1 leaves that open, and no CA relies on it any more.
pub fn sip_domains(certificate_der: &[u8]) -> Result<Vec<String>, PkiError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate_der).map_err(|e| PkiError::malformed("the certificate", e))?;
    Ok(sip_domains_of(&certificate))
}

/// Whether one of `identities` (of [`sip_domains`]) is `domain`: the whole name, any case, no wildcard and no suffix
/// (RFC 5922 §7.2).
pub fn proves_domain(identities: &[String], domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    identities.iter().any(|identity| identity.eq_ignore_ascii_case(domain))
}

/// Whether one of `dns_names` covers `host` as HTTPS and SIP clients compare host names (RFC 6125 §6.4): a leftmost
/// `*` label stands for exactly one label.
pub fn covers_host(dns_names: &[String], host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    dns_names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(first, rest)| {
            !first.is_empty() && parent.contains('.') && rest.eq_ignore_ascii_case(parent)
        }),
        None => name.eq_ignore_ascii_case(host),
    })
}

pub(crate) fn sip_domains_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = subject_names(certificate);
    let mut domains: Vec<String> = if sip_uris(names).next().is_none() {
        names.iter().filter_map(dns_name).filter(|name| is_dns_name(name)).collect()
    } else {
        sip_uris(names).filter_map(domain_of_sip_uri).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    domains.retain(|domain| seen.insert(domain.clone()));
    domains
}

/// The domains of the `sip:` URI names alone.
pub(crate) fn sip_uri_domains_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let domains = sip_uris(subject_names(certificate)).filter_map(domain_of_sip_uri);
    domains.filter(|domain| seen.insert(domain.clone())).collect()
}

/// The person that a `sip:` URI name means, as an address with its domain in lower case.
pub(crate) fn person_of(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::URI(uri) = name else { return None };
    let (user, domain) = sip_uri_remainder(uri)?.split_once('@')?;
    let domain = domain_of_sip_uri(domain)?;
    (!user.is_empty()).then(|| format!("{user}@{domain}"))
}

fn sip_uris<'a>(names: &'a [GeneralName<'a>]) -> impl Iterator<Item = &'a str> {
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => sip_uri_remainder(uri),
        _ => None,
    })
}

/// The hosts of all `sip:` URI names, in lower case, those of persons too: whoever may not sign for a domain may not
/// sign for its persons.
pub(crate) fn sip_hosts_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let uris = sip_uris(subject_names(certificate));
    // A password may hold no `@` (RFC 3261 §25.1): the last one ends it.
    uris.filter_map(|uri| domain_of_sip_uri(uri.rsplit_once('@').map_or(uri, |(_, host)| host))).collect()
}

/// The subject alternative names; empty where the extension is absent or cannot be parsed, which proves nothing.
pub(crate) fn subject_names<'a>(certificate: &'a X509Certificate<'_>) -> &'a [GeneralName<'a>] {
    match certificate.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names,
        Ok(None) | Err(_) => &[],
    }
}

pub(crate) fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()),
        _ => None,
    }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63 octets (RFC 1035 §2.3.1, with the underscore of
/// real host names): no wildcard, no NUL, no blank, and no IP address, whose last label has digits only.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label_fits) && !name.rsplit('.').next().is_some_and(numeric)
}

/// What follows `sip:`; scheme tokens have any case (RFC 5922 §7.1). `sips:` is another scheme and no identity.
fn sip_uri_remainder(uri: &str) -> Option<&str> {
    let (scheme, remainder) = uri.split_once(':')?;
    scheme.eq_ignore_ascii_case("sip").then_some(remainder)
}

fn domain_of_sip_uri(remainder: &str) -> Option<String> {
    if remainder.contains('@') {
        return None;
    }
    let host_and_port = remainder.split([';', '?']).next().unwrap_or(remainder);
    let host = host_and_port.split_once(':').map_or(host_and_port, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    is_dns_name(host).then(|| host.to_ascii_lowercase())
}
