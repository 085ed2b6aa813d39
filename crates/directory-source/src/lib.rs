//! The waist between the User Replicator (crate `replicator`, a role) and the driver that speaks LDAP (crate `ldap`).
//!
//! What this crate is: plain data. The replicator asks with a [`Task`], one at a time; the driver answers with [`Event`]s. Both know
//! this crate and neither knows the other, so that the role is tested without a directory and the driver carries no policy. Beside it
//! stand the two forms of names that both must read alike: [`Dn`] (RFC 4514) and [`guid`] (objectGUID).
//!
//! What this crate is not: it opens no connection, writes no filter, maps no attribute.
//!
//! # Who promises what
//!
//! - One task at a time. The driver ends each with its last event ([`Event::Connected`], [`Event::Marked`], `is_last`) or with
//!   [`Event::Failed`], in bounded time, and says nothing more about it. [`Event::Hint`] may come at any time.
//! - After a `Failed` the next task is [`Task::Connect`]: the driver drops its connection and may take another server.
//! - Changes only tell *which* objects changed; the replicator then reads those whole ([`Task::ReadEntries`]). So what DirSync leaves out
//!   of an answer never matters, reading again changes nothing, and any order of portions, retries and crashes ends in the same place.
//! - Reading whole means whole: values that come in ranges (`member;range=0-1499`) are completed by the driver, before the event.

mod dn;
pub mod guid;
mod watermark;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::ObjectId;

pub use dn::{DN_OCTETS_MAX, Dn, DnError, NameKind, Named};
pub use watermark::Watermark;

/// Most entries that the replicator asks for with one [`Task::ReadEntries`]. The driver divides them as its filters demand; the bound
/// keeps what is in memory at once small, since an entry may carry a photo.
pub const ENTRIES_PER_TASK_MAX: usize = 500;

/// One object of the directory, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// objectGUID or entryUUID.
    pub id: ObjectId,
    /// Its distinguished name, plain, as the server wrote it.
    pub dn: String,
    /// Values by attribute name: the name in lower case and without options, the values as octets. Values that name objects (`member`,
    /// `manager`) are distinguished names; of Active Directory in the extended form, `<GUID=...>;<SID=...>;CN=...` (control
    /// 1.2.840.113556.1.4.529), so that they name the same object whatever becomes of its name. [`Named::parse`] reads both.
    pub attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

/// What a server says of itself and of its domain when it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// The server that the driver is connected to, as configuration or DNS names it.
    pub host: String,
    /// What it speaks.
    pub kind: ServerKind,
    /// objectGUID of the domain's head, or entryUUID of the base entry: another one is another domain.
    pub domain: ObjectId,
    /// invocationId of the server's database: a new one after it was restored from a backup. `None` where there is none.
    pub invocation: Option<ObjectId>,
    /// highestCommittedUSN of the rootDSE.
    pub highest_usn: Option<u64>,
    /// Up to which number this server has the changes of others, by their invocationIds, where it says so: who comes from another server
    /// sees whether this one lags behind it.
    pub cursors: Option<BTreeMap<ObjectId, u64>>,
    /// How long the domain locks accounts after wrong passwords; `None`: until an administrator unlocks them.
    pub lockout_duration: Option<Duration>,
    /// How many wrong passwords the domain locks an account at; `None` where it never does, or does not say.
    pub lockout_threshold: Option<u32>,
    /// Where reading begins, as the server writes it.
    pub base: String,
    /// The DNS name of the domain, in lower case; empty where there is none.
    pub dns_domain: String,
    /// The Kerberos realm, as written there; empty where there is none.
    pub realm: String,
    /// The domain's NetBIOS name, as in `CORP\alice`.
    pub netbios: Option<String>,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// Active Directory, Microsoft's or Samba's.
    ActiveDirectory,
    /// Another LDAP server with entryUUID (RFC 4530) and entryCSN or modifyTimestamp.
    Ldap,
}

/// What of the directory matters.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selection {
    /// Attributes to read, in lower case and in order. An empty list never occurs.
    pub attributes: Vec<String>,
    /// Entries with one of these object classes ...
    pub any_class: Vec<String>,
    /// ... and with none of these.
    pub no_class: Vec<String>,
}

/// What the replicator asks of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Connect to a server and sign in. Ends with [`Event::Connected`].
    Connect(Preference),
    /// Tell the present end of the changes, before everything is read: what changes from then on must show in
    /// [`Task::ReadChanges`] from there. Ends with [`Event::Marked`]. The driver chooses the way by what the account may.
    Mark(Selection),
    /// Read every entry of the selection. Ends with [`Event::Entries`] of which one `is_last`.
    ReadAll(Selection),
    /// Tell what changed. Ends with [`Event::Changes`] of which one `is_last`.
    ReadChanges {
        /// Since when.
        since: Watermark,
        /// Of what.
        selection: Selection,
    },
    /// Read these entries, where they are (still) there, whatever their class. Ends with [`Event::Entries`] of which one `is_last`; who
    /// is in none of them is not there.
    ReadEntries {
        /// Which: at most [`ENTRIES_PER_TASK_MAX`], in order, none twice.
        ids: Vec<ObjectId>,
        /// Of what; only the attributes matter.
        selection: Selection,
    },
}

/// Which server is rather connected to, by their hosts. Those that cannot be reached stand behind all that can.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Preference {
    /// This one before all others.
    pub first: Option<String>,
    /// These after all others.
    pub last: BTreeSet<String>,
}

/// What the driver tells the replicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server was found and let us in.
    Connected(Box<ServerFacts>),
    /// The changes end here at present.
    Marked(Watermark),
    /// Entries that were read. The same may come twice; the later is right.
    Entries {
        /// They.
        entries: Vec<Entry>,
        /// Whether the task is done.
        is_last: bool,
    },
    /// What changed since the watermark of the task.
    Changes {
        /// Objects that were added, changed, moved or renamed, or that came back; and whoever merely is not found any more.
        changed: Vec<ObjectId>,
        /// Objects of which the directory itself says that they were deleted.
        deleted: Vec<ObjectId>,
        /// Where the changes end with these.
        watermark: Watermark,
        /// Whether the task is done.
        is_last: bool,
    },
    /// The task failed, and the connection is given up.
    Failed(Failure),
    /// Something may have changed: a notification came (1.2.840.113556.1.4.528). It is no promise; the replicator looks.
    Hint,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What happened, in words for the operator, with the server's name; no credential.
    pub text: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// No server answered, or the connection broke.
    Unreachable,
    /// No server's certificate was right.
    Untrusted,
    /// The server does not let the account in, or does not let it read.
    Denied,
    /// The server does not take the watermark: it must be read from the start.
    WatermarkRefused,
    /// The server answered what it may not.
    Protocol,
}
