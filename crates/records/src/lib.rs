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

pub mod memory;

use directory::{DigestSecrets, SipAddress, User, UserId, UserState};

/// Place of a message in its owner's mailbox. The first is 1; 0 stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// A device that can be recognised when it comes back: its `+sip.instance` (RFC 5626 §4.1), without `<` and `>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(pub String);

/// One durable change. Within a submission changes apply in order; a change is applied whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new user. Fails with `AlreadyThere` where the id or the address is taken.
    AddUser(User),
    /// Enables or disables a user. Disabling removes the user's bindings.
    SetUserState {
        /// Whom.
        user: UserId,
        /// To what.
        state: UserState,
    },
    /// Sets a user's digest secrets (a new password).
    SetUserSecrets {
        /// Whose.
        user: UserId,
        /// The new ones.
        secrets: DigestSecrets,
    },
    /// Removes a user with bindings, mailbox and cursors.
    RemoveUser(UserId),
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
}

/// The answer to a [`Query`]; the variant fits the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Users in order of their ids.
    Loaded(Vec<UserRecord>),
    /// `None` where the user does not exist (any more).
    LoadedUser(Option<UserRecord>),
    /// In order of their sequences.
    Messages(Vec<StoredMessage>),
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
