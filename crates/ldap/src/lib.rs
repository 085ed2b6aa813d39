//! The driver to Active Directory and other LDAP directories (RFC 4511).
//!
//! What this crate is: connections with TLS, sign-in to them, finding servers and leaving those that fail, reading entries whole, learning
//! what changed, and checking and changing people's passwords. What it is not: it does not know what an attribute means to us; that is
//! the crate `replicator`, whose tasks it carries out.
//!
//! The protocol is spoken by [`wire`], which is pure; the rest moves its octets.

pub mod connection;
mod error;
mod password;
mod sasl;
mod tls;
pub mod wire;

pub use connection::{Connection, Security};
pub use error::Error;
pub use password::{PASSWORD_OCTETS_MAX, Password, PasswordError};
pub use sasl::Kerberos;
pub use tls::{Authority, AuthorityError, server_end_point};
