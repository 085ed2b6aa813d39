//! Users and their SIP addresses.
//!
//! What this crate is: the vocabulary of accounts. Normalisation happens once, in [`SipAddress::parse`], and a
//! [`SipAddress`] can then be compared as it is. What it is not: it knows no SIP message, no SQL, no LDAP.

mod address;
mod certificate;
mod user;

pub use address::{AddressError, DomainName, SipAddress};
pub use certificate::{CERTIFICATES_PER_USER_MAX, CertificateDigest, ClientCertificate, DigestError};
pub use user::{DigestSecrets, PermissionChange, Permissions, Role, User, UserId, UserState};
