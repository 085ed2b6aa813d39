//! Accounts.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{ObjectId, SipAddress};

/// Names a user for good. Addresses change, this does not; it is never given to another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// For good.
    pub id: UserId,
    /// The address that others write to.
    pub address: SipAddress,
    /// Former addresses, in order: whoever writes to one of them reaches the user.
    pub aliases: Vec<SipAddress>,
    /// The name that people see; may be empty.
    pub display_name: String,
    /// What an administrator of this server decided; see [`User::is_enabled`].
    pub state: UserState,
    /// What an administrator of this server made of the user; see [`User::role`].
    pub role: Role,
    /// What an administrator of this server left to the user; see [`User::may`].
    pub permissions: Permissions,
    /// What Digest is checked against; `None` for an account without a password of its own here.
    pub secrets: Option<DigestSecrets>,
    /// What the organisation's directory says of the account; `None` for a local one.
    pub account: Option<Box<DirectoryAccount>>,
    /// Tokens that were issued earlier sign nobody in, in milliseconds since 1970.
    pub tokens_since_unix_ms: u64,
}

impl User {
    /// A local account without a password: enabled, a person, allowed everything.
    pub fn local(id: UserId, address: SipAddress) -> User {
        User {
            id,
            address,
            aliases: Vec::new(),
            display_name: String::new(),
            state: UserState::Enabled,
            role: Role::Person,
            permissions: Permissions::default(),
            secrets: None,
            account: None,
            tokens_since_unix_ms: 0,
        }
    }

    /// Whether the user may sign in and is found by others: both the administrator and the directory must say so.
    pub fn is_enabled(&self) -> bool {
        let standing = self.account.as_ref().map_or(Standing::Active, |account| account.standing);
        self.state == UserState::Enabled && standing == Standing::Active
    }

    /// What the user may do to the server: what either says.
    pub fn role(&self) -> Role {
        self.account.as_ref().map_or(self.role, |account| account.role.max(self.role))
    }

    /// What the user may do: only what both allow.
    pub fn may(&self) -> Permissions {
        self.account.as_ref().map_or(self.permissions, |account| account.permissions.and(self.permissions))
    }
}

/// What the organisation's directory says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryAccount {
    /// The object there, for good: names and places change, this does not.
    pub object: ObjectId,
    /// Whether it may be used.
    pub standing: Standing,
    /// What a password is checked with at the directory: a principal name (`alice@corp.example`), `CORP\\alice`, or a
    /// distinguished name.
    pub bind_name: String,
    /// What its owner may sign in as beside the SIP address, in lower case and in order: principal name, account name,
    /// `corp\\alice`, `alice@REALM`.
    pub sign_in_names: Vec<String>,
    /// What its groups make of it.
    pub role: Role,
    /// What its groups allow.
    pub permissions: Permissions,
    /// From when on it may not be used, in milliseconds since 1970, whether the directory can be asked then or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
}

/// Whether an account of the directory may be used, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It may be used.
    Active,
    /// It was disabled there.
    Disabled,
    /// Its time is over.
    Expired,
    /// Too many wrong passwords locked it there.
    LockedOut,
    /// It is not (any more) among those whom the policy enables here: not in the group, or switched off by its attribute.
    NotEnabled,
    /// It was deleted there.
    Gone,
}

impl Standing {
    /// All of them.
    pub const ALL: &[Standing] = &[
        Standing::Active,
        Standing::Disabled,
        Standing::Expired,
        Standing::LockedOut,
        Standing::NotEnabled,
        Standing::Gone,
    ];

    /// Whether what its owner signs in with elsewhere than at the directory (app passwords, certificates) is taken away for good. A
    /// lock is not: anybody who guesses at the directory can lock an account, and it opens again by itself.
    pub fn ends_credentials(self) -> bool {
        !matches!(self, Standing::Active | Standing::LockedOut)
    }

    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Disabled => "disabled",
            Standing::Expired => "expired",
            Standing::LockedOut => "locked-out",
            Standing::NotEnabled => "not-enabled",
            Standing::Gone => "gone",
        }
    }

    /// The standing of this name.
    pub fn from_name(name: &str) -> Option<Standing> {
        Standing::ALL.iter().copied().find(|standing| standing.name() == name)
    }
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserState {
    /// May sign in.
    Enabled,
    /// May not sign in, is not found by others, and has no registrations.
    Disabled,
}

/// What a user may do to the server; the greater includes the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nothing.
    Person,
    /// Everything, in the Console.
    Administrator,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Permissions {
    /// To talk with people of other organisations, and to be found by them.
    pub federation: bool,
    /// To sign in from outside of the own network, through an Access Edge.
    pub remote_access: bool,
    /// To call and to be called, with voice and video.
    pub calls: bool,
}

impl Permissions {
    /// What both allow.
    pub fn and(self, other: Permissions) -> Permissions {
        Permissions {
            federation: self.federation && other.federation,
            remote_access: self.remote_access && other.remote_access,
            calls: self.calls && other.calls,
        }
    }
}

impl Default for Permissions {
    /// Everything: what the organisation allows is decided at its edge.
    fn default() -> Self {
        Permissions { federation: true, remote_access: true, calls: true }
    }
}

/// A change of [`Permissions`]; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PermissionChange {
    /// See [`Permissions::federation`].
    pub federation: Option<bool>,
    /// See [`Permissions::remote_access`].
    pub remote_access: Option<bool>,
    /// See [`Permissions::calls`].
    pub calls: Option<bool>,
}

impl PermissionChange {
    /// What it makes of what was.
    pub fn apply(self, to: Permissions) -> Permissions {
        Permissions {
            federation: self.federation.unwrap_or(to.federation),
            remote_access: self.remote_access.unwrap_or(to.remote_access),
            calls: self.calls.unwrap_or(to.calls),
        }
    }
}

/// HA1 of RFC 7616 §3.4.2 (`H(username ":" realm ":" password)`) for the algorithms that we offer. The user name
/// is the user part of the address, the realm its domain. Passwords themselves are never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestSecrets {
    /// For algorithm MD5.
    pub md5: [u8; 16],
    /// For algorithm SHA-256.
    pub sha256: [u8; 32],
}

impl fmt::Debug for DigestSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestSecrets(..)")
    }
}

impl Drop for DigestSecrets {
    fn drop(&mut self) {
        self.md5.zeroize();
        self.sha256.zeroize();
    }
}
