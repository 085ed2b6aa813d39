//! A CA's constraints on DNS names (RFC 5280 §4.2.1.10), held against the hosts of `sip:` URI names.
//!
//! webpki holds them against DNS names. A URI name is another kind of name to it, and to OpenSSL: a CA that is constrained
//! to DNS names of `contoso.example` could say `URI:sip:fabrikam.example`, and RFC 5922 would believe the URI. So
//! the domain of such a URI is a DNS name here. Where a CA constrains URIs themselves, webpki refuses every certificate
//! with a URI under it, which is safe.

use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::X509Certificate;

use super::Distrust;

/// What one CA may sign for. The default is everything.
#[derive(Debug, Default)]
pub(super) struct DnsConstraints {
    /// Empty where DNS names are not constrained.
    permitted: Vec<String>,
    excluded: Vec<String>,
}

impl DnsConstraints {
    pub(super) fn of(authority: &X509Certificate<'_>) -> Result<DnsConstraints, Distrust> {
        let unreadable = |_| Distrust::Unfit("a CA's constraints cannot be read".into());
        let Some(extension) = authority.name_constraints().map_err(unreadable)? else {
            return Ok(DnsConstraints::default());
        };
        Ok(DnsConstraints {
            permitted: dns_bases(extension.value.permitted_subtrees.as_deref()),
            excluded: dns_bases(extension.value.excluded_subtrees.as_deref()),
        })
    }

    /// `authority` names the CA for whoever must mend it.
    pub(super) fn check(&self, hosts: &[String], authority: &str) -> Result<(), Distrust> {
        match hosts.iter().find(|host| !self.allow(host)) {
            None => Ok(()),
            Some(host) => Err(Distrust::OutsideConstraints {
                name: Some(format!("sip:{host}")),
                authority: Some(authority.to_owned()),
            }),
        }
    }

    fn allow(&self, host: &str) -> bool {
        let within_one = |bases: &[String]| bases.iter().any(|base| is_within(host, base));
        (self.permitted.is_empty() || within_one(&self.permitted)) && !within_one(&self.excluded)
    }
}

fn dns_bases(subtrees: Option<&[GeneralSubtree<'_>]>) -> Vec<String> {
    let bases = subtrees.unwrap_or_default().iter().filter_map(|subtree| match &subtree.base {
        GeneralName::DNSName(base) => Some(base.strip_suffix('.').unwrap_or(base).to_ascii_lowercase()),
        _ => None,
    });
    bases.collect()
}

/// `host` is in lower case. A base covers itself and what lies below it; one that begins with a dot, which some CAs
/// write, only what lies below it.
fn is_within(host: &str, base: &str) -> bool {
    match host.strip_suffix(base) {
        Some("") => !base.starts_with('.'),
        Some(above) => base.is_empty() || base.starts_with('.') || above.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn a_base_covers_itself_and_what_lies_below() {
        for (host, base, covered) in [
            ("contoso.example", "contoso.example", true),
            ("sip.contoso.example", "contoso.example", true),
            ("evilcontoso.example", "contoso.example", false),
            ("example", "contoso.example", false),
            ("contoso.example", ".contoso.example", false),
            ("sip.contoso.example", ".contoso.example", true),
            ("contoso.example", "", true),
        ] {
            assert_eq!(is_within(host, base), covered, "{host} within {base:?}");
        }
    }
}
