//! App passwords: made for one device or program of a person whose own password this server does not have.
//!
//! SIP digest cannot be checked against a directory, and a phone should not hold the password that opens everything. An app
//! password is drawn here, shown once, and works under a user name of its own, for one purpose.

use crate::DigestSecrets;

/// App passwords that a user may have at once: one for each phone and program.
pub const APP_PASSWORDS_PER_USER_MAX: usize = 16;
/// Random bits of an app password: nobody guesses it, whatever algorithm a device knows.
pub const APP_PASSWORD_BITS: usize = 128;
/// Longest label, in characters: it is read in a list.
pub const LABEL_CHARACTERS_MAX: usize = 64;

/// An app password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPassword {
    /// The digest user name, of this one alone, in lower case: `alice~k3v9q2`. It is no
    /// user's address and becomes none. The realm is the domain of the user's address.
    pub username: String,
    /// What it opens.
    pub purpose: Purpose,
    /// What its owner calls it: `desk phone`.
    pub label: String,
    /// What Digest is checked against.
    pub secrets: DigestSecrets,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
}

/// What an app password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// SIP, and the documents of SIP clients.
    Sip,
    /// The address book (CardDAV), read only.
    AddressBook,
}

impl Purpose {
    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Sip => "sip",
            Purpose::AddressBook => "address-book",
        }
    }

    /// The purpose of this name.
    pub fn from_name(name: &str) -> Option<Purpose> {
        [Purpose::Sip, Purpose::AddressBook].into_iter().find(|purpose| purpose.name() == name)
    }
}
