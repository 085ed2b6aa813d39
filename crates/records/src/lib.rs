//! What a home keeps for good: the changes that the front end asks to persist, the queries that it asks, and the
//! rows that come back.
//!
//! What this crate is: the interface of storage in the terms of a home's life (users, bindings, messages), with its
//! meaning given by a reference implementation in memory, [`memory::Tables`]. `storage` translates the same changes
//! to relational tables and is tested against the reference. What it is not: it knows no SQL, no file, no SIP
//! message; contacts and bodies are octets here.
//!
//! # Mailboxes
//!
//! Each user owns one mailbox: messages numbered by the owner's home from 1 upwards ([`Sequence`]; gaps are legal).
//! How far a device has got is its cursor. A device that can be recognised again (it has a `+sip.instance`) has a
//! durable cursor of its own; all other devices share the mailbox's `taken` mark: everything up to it was taken by
//! at least one device.
//!
//! # The directory
//!
//! Objects of the organisation's directory stand beside the users: one for each local account that is enabled
//! ([`directory::Object::of_local`]), and what the replicator put. Each change of one is a row of its own, numbered by storage from 1
//! upwards ([`Revision`]), so that who has read up to one revision reads on from there. A change that leaves an object as it is makes no
//! row.

pub mod memory;

mod replication;

use directory::{
    AppPassword, CertificateDigest, ClientCertificate, DigestSecrets, PermissionChange, PhotoDigest,
    SipAddress, User, UserId, UserState,
};
use presence::Manual;

pub use replication::{DirectoryUser, ListedServer, ObjectChange, ObjectRow, Replication, Revision};

/// Place of a message in its owner's mailbox. The first is 1; 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// A device that can be recognised when it comes back: its `+sip.instance` (RFC 5626 §4.1), without `<` and `>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(pub String);

/// One durable change. Within a submission changes apply in order; a change is applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new user, who gets an object ([`replication`](crate#the-directory)). Fails with `AlreadyThere` where the id or one of the
    /// addresses is taken.
    AddUser {
        /// Whom.
        user: User,
        /// When, in milliseconds since 1970.
        at_unix_ms: u64,
    },
    /// Enables or disables a user. Disabling removes the user's bindings, and a local account's object; enabling puts that back.
    SetUserState {
        /// Whom.
        user: UserId,
        /// To what.
        state: UserState,
        /// When, in milliseconds since 1970.
        at_unix_ms: u64,
        /// As [`Change::RevokeTokens`] says it; 0 revokes none.
        tokens_since_unix_ms: u64,
    },
    /// Grants or takes what a user may do beyond the own organisation and network.
    SetUserPermissions {
        /// Whose.
        user: UserId,
        /// What of them.
        permissions: PermissionChange,
    },
    /// Sets a user's digest secrets (a new password).
    SetUserSecrets {
        /// Whose.
        user: UserId,
        /// The new ones.
        secrets: DigestSecrets,
        /// As [`Change::RevokeTokens`] says it: what was signed in with the old password ends.
        tokens_since_unix_ms: u64,
    },
    /// Lets a client certificate sign a user in. `AlreadyThere` where it signs anybody in, whoever it is: then nothing changes.
    AddCertificate {
        /// Whom.
        user: UserId,
        /// Which, and until when.
        certificate: ClientCertificate,
    },
    /// Takes that back, if it is so.
    RemoveCertificate {
        /// Whose.
        user: UserId,
        /// Which.
        digest: CertificateDigest,
    },
    /// Removes a user with bindings, mailbox and cursors, and a local account's object.
    RemoveUser {
        /// Whom.
        user: UserId,
        /// When, in milliseconds since 1970.
        at_unix_ms: u64,
    },
    /// Gives a user an app password. `AlreadyThere` where anybody has one of that user name: then nothing changes.
    AddAppPassword {
        /// Whom.
        user: UserId,
        /// Which.
        password: AppPassword,
    },
    /// Takes an app password back, if it is there.
    RemoveAppPassword {
        /// Whose.
        user: UserId,
        /// [`AppPassword::username`].
        username: String,
    },
    /// Tokens that were issued to a user before a time sign nobody in ([`User::tokens_since_unix_ms`]; never back).
    RevokeTokens {
        /// Whose.
        user: UserId,
        /// In milliseconds since 1970.
        since_unix_ms: u64,
    },
    /// What was read from the organisation's directory, with how far it was read.
    Replicate(Box<Replication>),
    /// Drops what objects were before a time and are no more: every row of [`Query::Objects`] that another of the same object had
    /// followed by then, and those of objects that were gone by then, without their photos; never the last row of all, so that who
    /// reads them sees by the gaps what is dropped. A store may do it in steps.
    PruneObjects {
        /// Bound, in milliseconds since 1970.
        before_unix_ms: u64,
    },
    /// Writes or overwrites a binding that outlives its connection; its key is `(user, key)`.
    PutBinding(Binding),
    /// Removes a binding, if it is there.
    RemoveBinding {
        /// Whose.
        user: UserId,
        /// [`Binding::key`].
        key: String,
    },
    /// Puts a message into its owner's mailbox. `AlreadyThere` where the mailbox holds a message of the same
    /// [`StoredMessage::identity`] that was not pruned yet, `AlreadyWithdrawn` where that one was withdrawn: then
    /// nothing changes. Refused where another message of the mailbox has the same sequence.
    AppendMessage(StoredMessage),
    /// All devices refused the message: it stays known (a resend is told apart by its outcome) but is delivered no
    /// more.
    WithdrawMessage {
        /// Whose.
        owner: UserId,
        /// Which.
        sequence: Sequence,
    },
    /// Moves the mailbox's `taken` mark forward (never back).
    AdvanceTaken {
        /// Whose.
        owner: UserId,
        /// Everything up to and with it was taken by at least one device.
        through: Sequence,
    },
    /// Moves a device's cursor forward (never back), making the device known.
    AdvanceCursor {
        /// Whose.
        owner: UserId,
        /// Which device.
        device: DeviceKey,
        /// Everything up to and with it was taken by this device.
        through: Sequence,
        /// When the device was seen, in milliseconds since 1970.
        seen_unix_ms: u64,
    },
    /// Sets what a user chose to be seen as.
    SetManual {
        /// Whose.
        user: UserId,
        /// The choice and the note.
        manual: Manual,
    },
    /// Sets where a user's calls go.
    SetCallSettings {
        /// Whose.
        user: UserId,
        /// The settings.
        settings: CallSettings,
    },
    /// Writes or overwrites a user's document; its key is `(owner, application, name)`.
    PutDocument(Document),
    /// Removes a document, if it is there.
    RemoveDocument {
        /// Whose.
        owner: UserId,
        /// [`Document::application`].
        application: String,
        /// [`Document::name`].
        name: String,
    },
    /// Puts a call into its owner's log. `AlreadyThere` where the log holds one that has the same
    /// [`StoredCall::id`] and began at the same time.
    AppendCall(StoredCall),
    /// Drops calls that began before a time. A store may do it in steps, as [`Change::Prune`].
    PruneCalls {
        /// Bound, in milliseconds since 1970.
        before_unix_ms: u64,
    },
    /// Drops messages received before `messages_before_unix_ms` and devices not seen since
    /// `devices_before_unix_ms`. A store may do it in steps: until the change is acknowledged, what follows it may
    /// meet rows that it is about to drop, and a failure leaves some of them dropped.
    Prune {
        /// Bound for messages, in milliseconds since 1970.
        messages_before_unix_ms: u64,
        /// Bound for devices, in milliseconds since 1970.
        devices_before_unix_ms: u64,
    },
}

/// One question to storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Everything that a home holds in memory; asked once, at start.
    Load,
    /// One user's part of `Load`; asked again after a failed change.
    LoadUser(UserId),
    /// Messages of a mailbox behind `after`, oldest first, without those withdrawn, at most `limit`.
    Messages {
        /// Whose.
        owner: UserId,
        /// The last one already known.
        after: Sequence,
        /// At most this many.
        limit: u32,
    },
    /// A user's call log, newest first.
    Calls {
        /// Whose.
        owner: UserId,
        /// Only calls older than this place in the log (for paging): when it began, and [`StoredCall::id`].
        before: Option<(u64, [u8; 16])>,
        /// Only calls that the owner missed.
        missed_only: bool,
        /// At most this many.
        limit: u32,
    },
    /// What objects were and are, in order of their revisions: the history that [`Change::PruneObjects`] left.
    Objects {
        /// The last one already known; 0 is the beginning.
        after: Revision,
        /// At most this many.
        limit: u32,
    },
    /// A photo, as the directory had it.
    Photo(PhotoDigest),
    /// [`Replication::state`], as it was written last.
    ReplicationState,
    /// [`Replication::servers`], as they were written last.
    ListedServers,
}

/// The answer to a [`Query`]; the variant fits the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Users in order of their ids.
    Loaded(Vec<UserRecord>),
    /// `None` where the user does not exist (any more).
    LoadedUser(Option<Box<UserRecord>>),
    /// In order of their sequences.
    Messages(Vec<StoredMessage>),
    /// Newest first: by the time they began, then by id, both descending.
    Calls(Vec<StoredCall>),
    /// In order of their revisions.
    Objects(Vec<ObjectRow>),
    /// `None` where there is no such photo.
    Photo(Option<Vec<u8>>),
    /// `None` where nothing was replicated yet.
    ReplicationState(Option<Vec<u8>>),
    /// In order, each once.
    ListedServers(Vec<ListedServer>),
}

/// A user as a home loads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The account.
    pub user: User,
    /// Bindings that outlived their connections, in order of their keys.
    pub bindings: Vec<Binding>,
    /// The mailbox's state.
    pub mailbox: MailboxRecord,
    /// What the user chose to be seen as.
    pub manual: Manual,
    /// Where the user's calls go.
    pub calls: CallSettings,
    /// The user's documents, in order of application and name.
    pub documents: Vec<Document>,
    /// What signs the user in without a password, in order of digests.
    pub certificates: Vec<ClientCertificate>,
    /// The user's app passwords, in order of user names.
    pub app_passwords: Vec<AppPassword>,
}

impl UserRecord {
    /// A user who has just been added.
    pub fn fresh(user: User) -> UserRecord {
        UserRecord {
            user,
            bindings: Vec::new(),
            mailbox: MailboxRecord::default(),
            manual: Manual::default(),
            calls: CallSettings::default(),
            documents: Vec::new(),
            certificates: Vec::new(),
            app_passwords: Vec::new(),
        }
    }
}

/// A document that a user keeps on the server (RFC 4825): contact lists, rules. What is in it is its application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Whose.
    pub owner: UserId,
    /// The application's name (AUID, RFC 4825 §5): `resource-lists`, `pres-rules` ...
    pub application: String,
    /// The name below the owner's home directory: `index`.
    pub name: String,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The octets, as they were put.
    pub body: Vec<u8>,
}

/// Where a user's calls go. Empty: to the user's devices.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CallSettings {
    /// All calls go there instead.
    pub forward_always: Option<CallTarget>,
    /// Calls that find the user in a call go there.
    pub forward_busy: Option<CallTarget>,
    /// Calls that nobody answered in time go there.
    pub forward_no_answer: Option<CallTarget>,
    /// How long devices ring before [`CallSettings::forward_no_answer`], in seconds; 0 is the server's default.
    pub no_answer_seconds: u32,
    /// Calls that find no device go there.
    pub forward_unregistered: Option<CallTarget>,
    /// Calls that find do-not-disturb go there; `None` refuses them.
    pub forward_do_not_disturb: Option<CallTarget>,
    /// These ring together with the user's devices.
    pub ring_also: Vec<CallTarget>,
    /// Whether a call that finds the user in a call is refused as busy; `None` is the server's policy.
    pub busy_on_busy: Option<bool>,
}

/// Where calls are sent: an address, of ours or elsewhere.
pub type CallTarget = SipAddress;

/// A call in its owner's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// Whose log.
    pub owner: UserId,
    /// Tells it from the owner's other calls that began at the same time.
    pub id: [u8; 16],
    /// Whether the owner was called or called.
    pub direction: Direction,
    /// The other party.
    pub peer: SipAddress,
    /// When it began to ring, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// How long it was up, in milliseconds; 0 where it never was.
    pub lasted_ms: u64,
    /// What became of it.
    pub end: CallEnd,
    /// Where it was answered: one of the owner's own devices in words, or the address of whoever else did; empty where it was not.
    pub answered_at: String,
}

/// What became of a call, seen from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallEnd {
    /// It was answered.
    Answered,
    /// It was sent elsewhere (forwarding) and answered there, or not.
    Forwarded,
    /// The owner's side did not answer, or was not there: the owner should know.
    Missed,
    /// The callee declined, or was busy.
    Refused,
    /// The caller gave up (in the caller's log).
    Cancelled,
    /// It could not be made.
    Failed,
}

impl CallEnd {
    /// All of them.
    pub const ALL: &[CallEnd] = &[
        CallEnd::Answered,
        CallEnd::Forwarded,
        CallEnd::Missed,
        CallEnd::Refused,
        CallEnd::Cancelled,
        CallEnd::Failed,
    ];

    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            CallEnd::Answered => "answered",
            CallEnd::Forwarded => "forwarded",
            CallEnd::Missed => "missed",
            CallEnd::Refused => "refused",
            CallEnd::Cancelled => "cancelled",
            CallEnd::Failed => "failed",
        }
    }

    /// The end of this name.
    pub fn from_name(name: &str) -> Option<CallEnd> {
        CallEnd::ALL.iter().copied().find(|end| end.name() == name)
    }
}

/// How far a mailbox has come.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MailboxRecord {
    /// The highest sequence ever given in this mailbox, also if that message was pruned since.
    pub last: Sequence,
    /// Everything up to and with it was taken by at least one device.
    pub taken: Sequence,
    /// Cursors of known devices, in order of their keys.
    pub cursors: Vec<(DeviceKey, Sequence)>,
}

/// A registration binding (RFC 3261 §10.3) that can be used without the connection that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whose.
    pub user: UserId,
    /// What tells it from the user's other bindings: instance and reg-id (RFC 5626 §6), or the contact's URI.
    pub key: String,
    /// The contact as registered: URI in angle brackets and parameters, without `expires`.
    pub contact: Vec<u8>,
    /// Path values, topmost first (RFC 3327).
    pub path: Vec<Vec<u8>>,
    /// The Call-ID that made it.
    pub call_id: Vec<u8>,
    /// The CSeq that made it.
    pub cseq: u32,
    /// q in thousandths.
    pub q: u16,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
    /// Where its REGISTER came from over UDP: listener and peer, so that answers take the way through its NAT;
    /// `None` for other transports.
    pub datagram_flow: Option<(u16, std::net::SocketAddr)>,
    /// User-Agent of the device; may be empty.
    pub user_agent: Vec<u8>,
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Whose mailbox.
    pub owner: UserId,
    /// Its place.
    pub sequence: Sequence,
    /// Whether the owner received or sent it.
    pub direction: Direction,
    /// The other party.
    pub peer: SipAddress,
    /// What a resend is recognised by: a digest of the IMDN Message-ID with its sender, else of From, Call-ID and
    /// CSeq. Unique within a mailbox and a direction.
    pub identity: [u8; 16],
    /// When it was accepted, in milliseconds since 1970.
    pub received_unix_ms: u64,
    /// The MESSAGE to deliver: what the device sees behind Via and Route, as octets of a SIP request whose
    /// Request-URI is the owner's address.
    pub request: Vec<u8>,
}

/// Which way a message went, seen from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the owner.
    Received,
    /// From the owner, for the owner's other devices.
    Sent,
}
