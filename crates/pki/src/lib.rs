//! Names in certificates, issuing rules and the private certificate authority.
//!
//! - [`sip_domains`] reads the SIP domain identities of a certificate (RFC 5922 §7.1), and [`proves_domain`] compares
//!   them (RFC 5922 §7.2).
//! - [`Authority`] is a private CA: a root that can be taken offline, and an issuing CA below it, both held to
//!   [`Constraints`]. It issues for what a [`Request`] asks, by the [`Kind`] of its holder (RFC 5922 §4, RFC 5924),
//!   and lists what it revoked (RFC 5280 §5).
//! - [`Trust`] judges the chain that a peer showed, and makes [`node::PeerCertificate`] of it.
//! - [`CertificateFacts`] is what an operator wants to know about a certificate: names, dates, usages, whether its key
//!   fits.
//! - [`fitness`] tells for which [`Part`] of a deployment a chain will do, and what it lacks for the others.
//!
//! What it is not: it makes no TLS connection (that a peer holds its key is proved in `net`), reads no file and asks no
//! clock. Certificates come and go as DER or PEM octets; no object of a library stands in the
//! interface.

mod authority;
mod constraints;
mod facts;
mod fitness;
mod names;
mod request;
mod signing_request;
mod trust;

pub use authority::{
    AUTHORITY_VALID_DAYS, Authority, ISSUING_VALID_DAYS, Issued, Key, ListFacts, RevocationReason, Revoked,
    Serial, ServerNames,
};
pub use constraints::{AddressRange, Addresses, Constraints};
pub use facts::{CertificateFacts, KeyFacts, certificates_in_pem, end_point, is_issued_by, key_fits};
pub use fitness::{Fitness, Lack, Part, Weight, fitness};
pub use names::{covers_host, proves_domain, sip_domains};
pub use request::{CLIENT_VALID_DAYS, Kind, NAMES_MAX, Request, SERVER_VALID_DAYS, Usages};
pub use signing_request::SigningRequest;
pub use trust::{
    CHAIN_CERTIFICATES_MAX, Distrust, DistrustClass, ExpiredCrls, Judgement, PeerRole, Trust, TrustBuilder,
};

/// What went wrong, by whose fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// The octets are no certificate or key that can be read: the file's fault.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// A certificate was asked for that the issuing rules forbid: the caller's fault.
    #[error("no certificate can be issued for {name:?}: {reason}")]
    Refused {
        /// The name at fault.
        name: String,
        /// The rule.
        reason: String,
    },
    /// The cryptographic library failed: nobody's fault who reads this.
    #[error("making a key or a signature failed: {0}")]
    Cryptography(String),
}

impl PkiError {
    fn malformed(what: &'static str, reason: impl ToString) -> PkiError {
        PkiError::Malformed { what, reason: reason.to_string() }
    }

    fn refused(name: &str, reason: impl Into<String>) -> PkiError {
        PkiError::Refused { name: name.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
