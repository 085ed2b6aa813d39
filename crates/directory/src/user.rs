//! Accounts.

use std::fmt;

use zeroize::Zeroize;

use crate::SipAddress;

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
    /// The name that people see; may be empty.
    pub display_name: String,
    /// Whether the user may sign in.
    pub state: UserState,
    /// What the user may do to the server.
    pub role: Role,
    /// What the user may do beyond the own organisation and network.
    pub permissions: Permissions,
    /// What Digest is checked against; `None` for an account without a password.
    pub secrets: Option<DigestSecrets>,
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserState {
    /// May sign in.
    Enabled,
    /// May not sign in, is not found by others, and has no registrations.
    Disabled,
}

/// What a user may do to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing.
    Person,
    /// Everything, in the Console.
    Administrator,
}

/// What a user may do beyond the own organisation and network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permissions {
    /// To talk with people of other organisations, and to be found by them.
    pub federation: bool,
    /// To sign in from outside of the own network, through an Access Edge.
    pub remote_access: bool,
}

impl Default for Permissions {
    /// Everything: what the organisation allows is decided at its edge.
    fn default() -> Self {
        Permissions { federation: true, remote_access: true }
    }
}

/// A change of [`Permissions`]; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PermissionChange {
    /// See [`Permissions::federation`].
    pub federation: Option<bool>,
    /// See [`Permissions::remote_access`].
    pub remote_access: Option<bool>,
}

impl PermissionChange {
    /// What it makes of what was.
    pub fn apply(self, to: Permissions) -> Permissions {
        Permissions {
            federation: self.federation.unwrap_or(to.federation),
            remote_access: self.remote_access.unwrap_or(to.remote_access),
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
