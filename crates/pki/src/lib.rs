//! Names in certificates, issuing rules and the private certificate authority.
//!
//! - [`sip_domains`] reads the SIP domain identities of a certificate (RFC 5922 §7.1), and [`proves_domain`] compares
//!   them (RFC 5922 §7.2).
//! - [`Authority`] is the private CA that `chancery init` and `chancery demo` make; it issues server certificates for
//!   SIP domains and the hosts that serve them (RFC 5922 §4).
//! - [`CertificateFacts`] is what an operator wants to know about a certificate: names, dates, whether its key fits.
//!
//! What it is not: it makes no TLS connection, verifies no peer (that is the TLS library's work in `net`), reads no
//! file and asks no clock. Certificates come and go as DER or PEM octets; no object of a library stands in the
//! interface.

mod authority;
mod facts;
mod names;

pub use authority::{AUTHORITY_VALID_DAYS, Authority, Issued, NAMES_MAX, SERVER_VALID_DAYS, ServerNames};
pub use facts::{CertificateFacts, certificates_in_pem, is_issued_by, key_fits};
pub use names::{covers_host, proves_domain, sip_domains};

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
        reason: &'static str,
    },
    /// The cryptographic library failed: nobody's fault who reads this.
    #[error("making a key or a signature failed: {0}")]
    Cryptography(String),
}

impl PkiError {
    fn malformed(what: &'static str, reason: impl ToString) -> PkiError {
        PkiError::Malformed { what, reason: reason.to_string() }
    }

    fn refused(name: &str, reason: &'static str) -> PkiError {
        PkiError::Refused { name: name.to_owned(), reason }
    }
}

#[cfg(test)]
mod tests;
