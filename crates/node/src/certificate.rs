//! What a certificate proved, as facts, and what a peer is expected to prove. No TLS object ever reaches a role.

use std::fmt;
use std::net::IpAddr;

use crate::{Side, UnixMillis};

/// A purpose that certificates are believed for. Trust anchors are kept by purpose and partner: the private CA of one
/// partner vouches for nobody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anchors {
    /// Our own servers, and the hosts that our users' devices name.
    Servers,
    /// Partners without anchors of their own.
    Partners,
    /// One partner or clearinghouse, by the name under which the policy lists it, in lower case.
    Partner(String),
}

/// The facts of a peer's certificate. That the peer holds its key is proved by the handshake; everything else is said
/// by the certificate, and worth something only as far as [`PeerCertificate::is_trusted_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The SIP domain identities, in lower case (RFC 5922 §7.1): the hosts of `sip:` URI names, or the DNS names where
    /// there is no such URI. No wildcards.
    pub sip_domains: Vec<String>,
    /// The DNS names, in lower case, wildcards left out.
    pub dns_names: Vec<String>,
    /// The IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// SHA-256 of the certificate.
    pub sha256: [u8; 32],
    /// When it ends.
    pub not_after: UnixMillis,
    /// The anchors that its chain leads to, validated for now: dates, constraints, usages, revocation. Sorted.
    pub trusted_by: Vec<Anchors>,
    /// Why it is trusted by nobody, for the operator; empty where it is trusted by somebody.
    pub distrust: String,
}

impl PeerCertificate {
    /// Whether its chain leads to anchors of this purpose.
    pub fn is_trusted_by(&self, anchors: &Anchors) -> bool {
        self.trusted_by.contains(anchors)
    }

    /// Whether it bears the host name or address (RFC 5922 §7.2: the whole name, any case, no wildcard).
    pub fn names_host(&self, host: &str) -> bool {
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.ip_addresses.contains(&address),
            Err(_) => contains(&self.dns_names, host),
        }
    }

    /// Whether it bears the SIP domain (RFC 5922 §7.2).
    pub fn proves_domain(&self, domain: &str) -> bool {
        contains(&self.sip_domains, domain)
    }
}

fn contains(names: &[String], name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    names.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// What the peer of a TLS connection that we open must prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expected {
    /// The host name or address that it is asked for (RFC 6066 §3).
    pub server_name: String,
    /// Who must vouch for it.
    pub anchors: Anchors,
    /// What must stand in its certificate.
    pub proof: Proof,
}

/// See [`Expected::proof`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// The name that it is asked for.
    Host,
    /// This SIP domain (RFC 5922 §7.3).
    Domain(String),
    /// Nothing but to be this certificate, by its SHA-256; anchors are not asked.
    Pin([u8; 32]),
}

/// A server that is reached over TLS and must prove who it is, wherever DNS leads: one of ours, or a partner's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerHop {
    /// The network that it is reached through.
    pub side: Side,
    /// Where it is looked for.
    pub place: Place,
    /// What it must prove. Never taken from what DNS said (RFC 5922 §7.3).
    pub expected: Expected,
}

/// See [`PeerHop::place`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A host name or address, and a port.
    Host {
        /// IPv6 addresses without brackets.
        name: String,
        /// Never 0.
        port: u16,
    },
    /// The SRV records of this name, such as `_sipfederationtls._tcp.fabrikam.example`.
    Service(String),
}

/// Why a certificate is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The peer has none.
    NoCertificate,
    /// Its chain leads to no anchor for the purpose; says why.
    Untrusted(String),
    /// It does not bear the host name.
    WrongHost(String),
    /// It does not bear the SIP domain.
    WrongDomain(String),
    /// It is another certificate than the pinned one.
    WrongPin,
}

impl Expected {
    /// One of our servers, or a host that a URI names.
    pub fn host(name: impl Into<String>) -> Expected {
        Expected { server_name: name.into(), anchors: Anchors::Servers, proof: Proof::Host }
    }

    /// Whether a certificate is what is expected. The same rule holds for connections that the peer opened (RFC 5923 §5).
    pub fn is_met_by(&self, certificate: Option<&PeerCertificate>) -> Result<(), Unmet> {
        let certificate = certificate.ok_or(Unmet::NoCertificate)?;
        if let Proof::Pin(sha256) = &self.proof {
            return if certificate.sha256 == *sha256 { Ok(()) } else { Err(Unmet::WrongPin) };
        }
        if !certificate.is_trusted_by(&self.anchors) {
            return Err(Unmet::Untrusted(certificate.distrust.clone()));
        }
        match (&self.proof, self.is_named_by(certificate)) {
            (_, true) => Ok(()),
            (Proof::Domain(domain), false) => Err(Unmet::WrongDomain(domain.clone())),
            (Proof::Host | Proof::Pin(_), false) => Err(Unmet::WrongHost(self.server_name.clone())),
        }
    }

    /// Whether a certificate bears the name that is expected (or is the one that is), whoever vouches for it. This proves nothing.
    pub fn is_named_by(&self, certificate: &PeerCertificate) -> bool {
        match &self.proof {
            Proof::Host => certificate.names_host(&self.server_name),
            Proof::Domain(domain) => certificate.proves_domain(domain),
            Proof::Pin(sha256) => certificate.sha256 == *sha256,
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmet::NoCertificate => f.write_str("the peer has no certificate"),
            Unmet::Untrusted(why) if why.is_empty() => {
                f.write_str("the certificate leads to no CA that is believed for this peer")
            }
            Unmet::Untrusted(why) => write!(f, "the certificate is not trusted: {why}"),
            Unmet::WrongHost(name) => write!(f, "the certificate does not bear the host name {name}"),
            Unmet::WrongDomain(name) => write!(f, "the certificate does not bear the SIP domain {name}"),
            Unmet::WrongPin => f.write_str("the certificate is not the pinned one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> PeerCertificate {
        PeerCertificate {
            sip_domains: vec!["fabrikam.example".into()],
            dns_names: vec!["edge.fabrikam.example".into()],
            ip_addresses: vec!["192.0.2.7".parse().unwrap()],
            sha256: [7; 32],
            not_after: UnixMillis(0),
            trusted_by: vec![Anchors::Partner("fabrikam.example".into())],
            distrust: String::new(),
        }
    }

    fn expected(anchors: Anchors, proof: Proof) -> Expected {
        Expected { server_name: "EDGE.fabrikam.example".into(), anchors, proof }
    }

    #[test]
    fn each_rule_asks_for_its_own_proof() {
        let theirs = || Anchors::Partner("fabrikam.example".into());
        let good = certificate();
        let meets = |anchors, proof| expected(anchors, proof).is_met_by(Some(&good));
        assert_eq!(meets(theirs(), Proof::Host), Ok(()));
        assert_eq!(meets(theirs(), Proof::Domain("Fabrikam.example".into())), Ok(()));
        assert_eq!(
            meets(theirs(), Proof::Domain("edge.fabrikam.example".into())),
            Err(Unmet::WrongDomain("edge.fabrikam.example".into())),
            "a host is no domain where the certificate names domains"
        );
        assert_eq!(meets(Anchors::Partners, Proof::Host), Err(Unmet::Untrusted(String::new())));
        assert_eq!(meets(Anchors::Partners, Proof::Pin([7; 32])), Ok(()), "a pin asks no anchor");
        assert_eq!(meets(theirs(), Proof::Pin([8; 32])), Err(Unmet::WrongPin));
        assert_eq!(Expected::host("x").is_met_by(None), Err(Unmet::NoCertificate));
    }

    #[test]
    fn addresses_and_names_are_not_mixed_up() {
        let good = certificate();
        assert!(good.names_host("192.0.2.7"));
        assert!(!good.names_host("192.0.2.8"));
        assert!(!good.names_host("*.fabrikam.example"));
        assert!(!good.names_host("fabrikam.example"));
    }
}
