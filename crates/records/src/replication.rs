//! What the User Replicator hands to a home.

use directory::{DirectoryAccount, Object, ObjectId, PhotoDigest, SipAddress, UserId};

/// Place of a change among all changes of objects. The first is 1; 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A step of replication: applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replication {
    /// Accounts as they are now, each once (or the whole fails). One that cannot be (an address of it is another user's) fails the whole; who makes the change has
    /// looked before.
    pub users: Vec<DirectoryUser>,
    /// Objects as they are now, or no more.
    pub objects: Vec<ObjectChange>,
    /// Photos that objects of this step name and that storage may not have.
    pub photos: Vec<(PhotoDigest, Vec<u8>)>,
    /// All servers of ours that the directory lists; `None` leaves what was.
    pub servers: Option<Vec<ListedServer>>,
    /// How far the directory was read, and what the replicator must remember; `None` leaves what was.
    pub state: Option<Vec<u8>>,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// A user as the directory has it. What an administrator decided here (state, role, permissions), secrets and everything that the user
/// owns stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUser {
    /// The user. One whose id is not there is added: enabled, a person, allowed everything, as far as the directory does.
    pub id: UserId,
    /// The address that others write to.
    pub address: SipAddress,
    /// All former addresses that still lead here, in order. One that stands twice, or is the address, is kept once.
    pub aliases: Vec<SipAddress>,
    /// The name that people see.
    pub display_name: String,
    /// What the directory says. A standing other than active removes the user's bindings and ends the tokens issued so far; one that
    /// [ends credentials](directory::Standing::ends_credentials) removes app passwords and certificates too.
    pub account: DirectoryAccount,
}

/// A server of ours that the directory lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedServer {
    /// The host name that its certificate bears.
    pub host: String,
    /// What it does, as configuration writes it.
    pub role: String,
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// It is like this now.
    Put(Box<Object>),
    /// It is no more.
    Remove(ObjectId),
}

/// What an object became with one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// The change.
    pub revision: Revision,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Which object.
    pub id: ObjectId,
    /// What it became; `None`: it is no more.
    pub object: Option<Box<Object>>,
}
