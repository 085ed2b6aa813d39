//! What the directory says of accounts, and app passwords, in the lines of the control socket.

use directory::DirectoryAccount;
use frontend::admin::{AppPasswordLine as ListedPassword, IssuedAppPassword};
use serde::{Deserialize, Serialize};

/// An account of the organisation's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryLine {
    /// The object there, as a UUID.
    pub(crate) object: String,
    /// `active`, `disabled`, `locked-out` ...
    pub(crate) standing: String,
    pub(crate) bind_name: String,
    pub(crate) sign_in_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppPasswordLine {
    pub(crate) username: String,
    /// `sip` or `address-book`.
    pub(crate) purpose: String,
    pub(crate) label: String,
    pub(crate) created_unix_ms: u64,
}

/// Shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IssuedLine {
    pub(crate) username: String,
    pub(crate) realm: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for IssuedLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuedLine({})", self.username)
    }
}

impl From<DirectoryAccount> for DirectoryLine {
    fn from(account: DirectoryAccount) -> DirectoryLine {
        DirectoryLine {
            object: account.object.to_string(),
            standing: account.standing.name().to_owned(),
            bind_name: account.bind_name,
            sign_in_names: account.sign_in_names,
        }
    }
}

impl From<ListedPassword> for AppPasswordLine {
    fn from(password: ListedPassword) -> AppPasswordLine {
        let ListedPassword { username, purpose, label, created_unix_ms } = password;
        AppPasswordLine { username, purpose: purpose.name().to_owned(), label, created_unix_ms }
    }
}

impl From<IssuedAppPassword> for IssuedLine {
    fn from(issued: IssuedAppPassword) -> IssuedLine {
        let IssuedAppPassword { username, realm, password } = issued;
        IssuedLine { username, realm, password: password.0.clone() }
    }
}
