//! Users and their SIP addresses, and the objects of the organisation's directory.
//!
//! What this crate is: the vocabulary of accounts and of what the address book shows. An account is local, or follows an account of the
//! organisation's directory ([`DirectoryAccount`]); what an administrator decides here and what the directory says stand side by side,
//! so that neither undoes the other ([`User::is_enabled`]). [`numbers`] makes
//! telephone numbers comparable. Normalisation happens once, in [`SipAddress::parse`], and a
//! [`SipAddress`] can then be compared as it is. What it is not: it knows no SIP message, no SQL, no LDAP.

mod address;
mod app_password;
mod certificate;
pub mod numbers;
mod object;
mod user;

pub use address::{AddressError, DomainName, SipAddress};
pub use app_password::{
    APP_PASSWORD_BITS, APP_PASSWORDS_PER_USER_MAX, AppPassword, LABEL_CHARACTERS_MAX, Purpose,
};
pub use certificate::{CERTIFICATES_PER_USER_MAX, CertificateDigest, ClientCertificate, DigestError};
pub use object::{Card, Object, ObjectId, ObjectIdError, ObjectKind, Phone, PhoneKind, PhotoDigest};
pub use user::{
    DigestSecrets, DirectoryAccount, PermissionChange, Permissions, Role, Standing, User, UserId, UserState,
};
