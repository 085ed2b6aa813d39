//! The driver to Active Directory and other LDAP directories (RFC 4511).
//!
//! What this crate is: connections with TLS, sign-in to them, finding servers and leaving those that fail, reading entries whole, learning
//! what changed, and checking and changing people's passwords. What it is not: it does not know what an attribute means to us; that is
//! the crate `replicator`, whose tasks it carries out.
//!
//! ```text
//!   Source ── tasks of directory-source ──► reading, changes ──► Connection ──► wire (octets)
//!   Checker ── somebody's password ──► bind, password_change ──┘      ▲
//!   Locator ── list or SRV, who failed, who worked ───────────────────┘
//! ```
//!
//! The protocol is spoken by [`wire`], which is pure; the rest moves its octets.
//!
//! # What is relied on
//!
//! - Pages (RFC 2696) everywhere. Of Active Directory: names for good by objectGUID, extended names, ranges of values, numbers of changes,
//!   DirSync where the account may, notifications as hints. Of others: entryUUID (RFC 4530), and entryCSN or modifyTimestamp.
//! - Deletions show where the account may list `CN=Deleted Objects`; elsewhere all names for good are listed now and then, and compared.
//! - Nothing of a server is believed before its certificate was judged; referrals lead nowhere; no password goes out in clear.

mod account;
mod census;
mod changes;
mod checker;
pub mod connection;
mod cursors;
mod error;
mod examine;
mod facts;
mod lockout;
mod notification;
mod password;
mod password_change;
mod reading;
mod sasl;
mod search;
mod servers;
mod source;
mod stamps;
mod tls;
pub mod wire;

pub use account::Account;
pub use checker::{BindRefusal, Checker, CheckerConfig, Person};
pub use connection::{Connection, Security, Times};
pub use error::Error;
pub use examine::Examination;
pub use lockout::LockoutPolicy;
pub use password::{PASSWORD_OCTETS_MAX, Password, PasswordError};
pub use password_change::ChangeRefusal;
pub use sasl::Kerberos;
pub use search::PAGE_ENTRIES;
pub use servers::{Locator, Server, Servers};
pub use source::{Busy, Source, SourceConfig};
pub use tls::{Authority, AuthorityError, server_end_point};
