//! What the sign-in over the web asks of a home: who somebody is, tokens, and app passwords.

use std::fmt;

use directory::{ObjectId, Purpose, Role, SipAddress, Standing, UserId, UserState};
use zeroize::Zeroize;

/// Whom a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// For good.
    Id(UserId),
    /// By address or alias.
    Address(SipAddress),
}

impl From<UserId> for Whom {
    fn from(user: UserId) -> Whom {
        Whom::Id(user)
    }
}

impl From<SipAddress> for Whom {
    fn from(address: SipAddress) -> Whom {
        Whom::Address(address)
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Id(id) => write!(f, "user {}", id.0),
            Whom::Address(address) => address.fmt(f),
        }
    }
}

/// A password or a token: never written into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Who signs in by a name, and with what that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInFacts {
    /// Who it is.
    pub user: UserId,
    /// The SIP address.
    pub address: SipAddress,
    /// The name that people see; may be empty.
    pub display_name: String,
    /// Whether the account may be used: both the administrator and the directory say so.
    pub is_enabled: bool,
    /// What an administrator of this server decided.
    pub state: UserState,
    /// What the directory says; active for a local account.
    pub standing: Standing,
    /// What the user may do to the server.
    pub role: Role,
    /// What a password is checked with.
    pub way: Way,
}

/// What a password is checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Here: [`Call::CheckPassword`](super::Call::CheckPassword).
    Local,
    /// At the directory.
    Directory {
        /// The name to bind with.
        bind_name: String,
        /// The account's object there.
        object: ObjectId,
        /// What its owner may sign in as; see [`directory::DirectoryAccount::sign_in_names`].
        sign_in_names: Vec<String>,
    },
}

/// A token in whose place another one comes. Its times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// When its owner signed in: the new one keeps it.
    pub signed_in_unix_ms: u64,
    /// When it was issued: one that was revoked meanwhile is not renewed.
    pub issued_unix_ms: u64,
}

/// A token, made just now; shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// What is sent behind `Bearer`.
    pub token: Secret,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// Whom a token or an app password signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who it is.
    pub user: UserId,
    /// The SIP address.
    pub address: SipAddress,
    /// The name that people see; may be empty.
    pub display_name: String,
    /// What the user may do to the server.
    pub role: Role,
}

/// Whom a token signs in, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHolder {
    /// Who it is.
    pub holder: Holder,
    /// When it was issued, in milliseconds since 1970.
    pub issued_unix_ms: u64,
    /// When its owner signed in first: a renewed token keeps it. In milliseconds since 1970.
    pub signed_in_unix_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// An app password, made just now; shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedAppPassword {
    /// Its user name.
    pub username: String,
    /// The realm of Digest: the domain of the owner's address.
    pub realm: String,
    /// The password, in groups of letters and digits with hyphens between them, which belong to it.
    pub password: Secret,
}

/// An app password, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPasswordLine {
    /// Its user name.
    pub username: String,
    /// What it opens.
    pub purpose: Purpose,
    /// What its owner calls it.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
}
