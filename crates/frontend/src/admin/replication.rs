//! What the User Replicator and the Address Book Service ask of a home.

use directory::{DirectoryAccount, ObjectId, PhotoDigest, SipAddress, UserId};
use federation::TrustedServer;
use records::ObjectChange;

/// Most accounts that one answer to [`Call::KnownUsers`](super::Call::KnownUsers) lists.
pub const KNOWN_USERS_MAX: usize = 5_000;
/// Most rows that one answer to [`Call::Objects`](super::Call::Objects) holds.
pub const OBJECTS_MAX: u32 = 5_000;
/// How long [`Call::WaitForObjects`](super::Call::WaitForObjects) waits, in seconds: less than proxies of HTTP wait for an
/// answer (30 s and more).
pub const OBJECTS_WAIT_SECONDS: u64 = 25;

/// A step of replication, as the directory has it. The front end gives ids and looks what can be; what is left is applied whole
/// or not at all. Applying a step again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    /// Accounts as they are now, known ones by their object. An account that is not there is added unless it is
    /// [`Gone`](directory::Standing::Gone).
    pub users: Vec<FromDirectory>,
    /// Accounts to be removed for good, with everything that they own; unknown ones are passed over.
    pub removed: Vec<ObjectId>,
    /// Objects as they are now, or no more.
    pub objects: Vec<ObjectChange>,
    /// Photos that the objects name and that may be new.
    pub photos: Vec<(PhotoDigest, Vec<u8>)>,
    /// All servers that the directory lists, beside those of the configuration; `None` leaves what was.
    pub servers: Option<Vec<TrustedServer>>,
    /// What the replicator must remember; `None` leaves what was.
    pub state: Option<Vec<u8>>,
}

/// An account as the directory has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromDirectory {
    /// The address that others write to.
    pub address: SipAddress,
    /// Former addresses that still lead here.
    pub aliases: Vec<SipAddress>,
    /// The name that people see; may be empty.
    pub display_name: String,
    /// What the directory says; names the object.
    pub account: DirectoryAccount,
}

/// What became of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replicated {
    /// Accounts that are new.
    pub added: usize,
    /// Accounts that were there and are otherwise now.
    pub changed: usize,
    /// Of these: accounts that could be used before and cannot now.
    pub cut_off: usize,
    /// Accounts that are gone for good.
    pub removed: usize,
    /// What could not be, in the order of [`Batch::users`]. An account of which an address was refused keeps the one that it has, and
    /// gets everything else; one that is new is not added.
    pub refused: Vec<RefusedAccount>,
}

/// An account, or an alias of it, that could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAccount {
    /// Which.
    pub object: ObjectId,
    /// The address that was asked for.
    pub address: SipAddress,
    /// Why.
    pub reason: AccountRefusal,
}

/// Why an address cannot be an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// Its domain is none of this server.
    #[error("the domain is not a SIP domain of this server")]
    ForeignDomain,
    /// It is a local account's, which was made here.
    #[error("a local account has this address")]
    LocalAccount,
    /// Another account of the directory has it, or is to have it by the same step.
    #[error("the account of object {0} has this address")]
    OtherAccount(ObjectId),
    /// It is a service's: a user's list service, or the server's own.
    #[error("a service has this address")]
    Service,
    /// The account has a hundred former addresses already.
    #[error("the account has too many former addresses")]
    TooManyAliases,
    /// It is the user name of an app password.
    #[error("an app password has this user name")]
    AppPassword,
}

/// An account that this home knows, for who compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// Names it for good.
    pub user: UserId,
    /// The address that others write to.
    pub address: SipAddress,
    /// Former addresses.
    pub aliases: Vec<SipAddress>,
    /// The name that people see.
    pub display_name: String,
    /// What the directory says; `None` for a local one.
    pub account: Option<Box<DirectoryAccount>>,
}
