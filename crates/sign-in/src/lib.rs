//! Digest sign-in, as every role does it that asks who somebody is: challenges, nonces, what an answer proves (RFC 3261 §22,
//! RFC 7616, RFC 8760), and slowing those who guess.
//!
//! - [`Authenticator`]: challenges, and judges what answers them, over the [`Accounts`] of its caller;
//! - [`credentials_for`], [`offer`]: what a request brings, and what its client can do;
//! - [`guard`]: whether a password may be asked of the organisation's directory, so that it locks nobody out;
//! - [`token`]: what a signed-in person's client shows instead of a password;
//! - [`replica`]: what a home lets a Director know of its accounts, as text;
//! - [`AddressKey`]: an address as a request writes it, for a lookup.
//!
//! What this crate is not: it keeps no accounts and no sessions. Who has signed in where, and for how long that is worth
//! something, is the role's.

mod address;
mod digest;
pub mod guard;
mod nonce;
pub mod replica;
mod throttle;
pub mod token;

use directory::{DigestSecrets, UserId};

pub use address::AddressKey;
pub use digest::{
    Attempt, Authenticator, Credentials, Datagram, Proof, credentials_for, is_old_libre, offer,
};

/// The accounts that sign in.
pub trait Accounts {
    /// The account of an address, or the holder of an app password by its user name: enabled or not.
    fn account(&self, key: &AddressKey) -> Option<Account<'_>>;

    /// An account to look at in the place of one that does not exist, always the same for the same key: memory that is
    /// read takes time too, and tells who is there. `None` while there is nobody.
    fn stand_in(&self, key: &AddressKey) -> Option<Account<'_>>;
}

/// What is asked of an account.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Who it is.
    pub user: UserId,
    /// Whether it may sign in.
    pub is_enabled: bool,
    /// What Digest is checked against; `None` for an account without a password.
    pub secrets: Option<&'a DigestSecrets>,
    /// Whether these are the secrets of an app password, which has a user name of its own.
    pub is_app_password: bool,
}
