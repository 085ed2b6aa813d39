//! What an administrator can ask of a running front end, and what it answers. The command line and the Console speak
//! JSON to their users; here are the typed calls behind it.

mod accounts;
mod replication;

use std::net::IpAddr;
use std::time::Duration;

use directory::{
    APP_PASSWORDS_PER_USER_MAX, CERTIFICATES_PER_USER_MAX, CertificateDigest, ClientCertificate,
    DirectoryAccount, LABEL_CHARACTERS_MAX, PermissionChange, Permissions, PhotoDigest, Purpose, Role,
    SipAddress, Standing, UserId, UserState,
};
use node::http::{HttpRequest, HttpResponse};
use presence::rules::Subject;
use presence::{DeviceState, Level, Manual, ManualState, Note, State};
use records::{CallSettings, ObjectRow, Revision, StoredCall};

pub use accounts::{
    AppPasswordLine, Holder, IssuedAppPassword, IssuedToken, Renewed, Secret, SignInFacts, TokenHolder, Way,
    Whom,
};
pub use replication::{
    AccountRefusal, Batch, FromDirectory, KNOWN_USERS_MAX, KnownUser, OBJECTS_MAX, OBJECTS_WAIT_SECONDS,
    RefusedAccount, Replicated,
};

use crate::config::Adjustable;
use crate::trace::{TraceId, TracePage, TraceRequest, TraceSubject};

/// A call of an administrator.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    /// Creates an account.
    AddUser {
        /// Its address; the domain must be one of ours.
        address: SipAddress,
        /// May be empty.
        display_name: String,
        /// At least [`PASSWORD_CHARACTERS_MIN`] characters.
        password: String,
        /// Its role.
        role: Role,
    },
    /// Lists accounts in order of their addresses.
    ListUsers {
        /// Only those whose address or name contains this (any case).
        containing: Option<String>,
        /// Only behind this address (for paging).
        after: Option<SipAddress>,
        /// At most this many.
        limit: usize,
    },
    /// Shows one account with its devices.
    ShowUser(SipAddress),
    /// Enables or disables an account. Disabling ends registrations and connections at once.
    SetUserState(SipAddress, UserState),
    /// Grants or takes what a user may do beyond the own organisation and network.
    SetPermissions(SipAddress, PermissionChange),
    /// Sets a new password; registrations made with the old one end.
    SetPassword(SipAddress, String),
    /// Lets a client certificate sign a user in without a password, from outside.
    AddCertificate(SipAddress, ClientCertificate),
    /// Takes that back; what was made with the certificate ends.
    RemoveCertificate(SipAddress, CertificateDigest),
    /// Removes an account with everything that it owns here.
    RemoveUser(SipAddress),
    /// Shows what a person is seen as, and why.
    ShowPresence(SipAddress),
    /// Sets what a person chose to be seen as, the note, or both; what is `None` stays as it is.
    SetPresence {
        /// Whose.
        address: SipAddress,
        /// The choice, and when it ends by itself, in milliseconds since 1970.
        choice: Option<(ManualState, Option<u64>)>,
        /// The note, cut to [`presence::TEXT_OCTETS_MAX`].
        note: Option<Note>,
    },
    /// Back to automatic, without a note.
    ClearPresence(SipAddress),
    /// Shows where a user's calls go.
    ShowCallSettings(SipAddress),
    /// Changes where a user's calls go; the changes apply in order.
    SetCallSettings {
        /// Whose.
        address: SipAddress,
        /// What.
        changes: Vec<CallSettingChange>,
    },
    /// Lists a user's calls that are over, newest first.
    ListCalls {
        /// Whose.
        address: SipAddress,
        /// Only calls older than this place in the log (for paging): when it began in milliseconds since 1970, and
        /// [`StoredCall::id`].
        before: Option<(u64, [u8; 16])>,
        /// Only calls that the user missed.
        missed_only: bool,
        /// At most this many.
        limit: u32,
    },
    /// How the server does.
    Status,
    /// Why one person reaches another, or does not.
    Explain {
        /// Who would ask.
        from: SipAddress,
        /// Whom they mean.
        to: SipAddress,
    },
    /// Begins a trace; see [`crate::trace`].
    TraceStart(Box<TraceRequest>),
    /// What a trace has seen since the last poll.
    TracePoll(TraceId),
    /// Ends a trace.
    TraceStop(TraceId),
    /// Changes what can change while the server runs.
    Configure(Box<Adjustable>),
    /// Shows a user's contacts, group by group.
    ShowContacts(SipAddress),
    /// Changes a user's contacts.
    EditContacts {
        /// Whose.
        user: SipAddress,
        /// How.
        edit: ContactEdit,
    },
    /// Shows who sees how much of a user.
    ShowAccess(SipAddress),
    /// Gives a subject an access level, or takes away what was said of it alone.
    SetAccess {
        /// Whose presence.
        user: SipAddress,
        /// Who watches.
        subject: Subject,
        /// What it may see; `None` leaves it to wider rules and the policy.
        level: Option<Level>,
    },
    /// A step of replication from the organisation's directory. One is under way at a time; another one is refused as
    /// [`Refusal::Busy`].
    Replicate(Box<Batch>),
    /// What the replicator had to remember.
    ReplicationState,
    /// The servers that the directory listed last.
    ListedServers,
    /// Lists all accounts, local and of the directory, in order of their ids.
    KnownUsers {
        /// Only behind this one (for paging).
        after: Option<UserId>,
        /// At most this many, and [`KNOWN_USERS_MAX`].
        limit: usize,
    },
    /// What objects of the directory were and are, in order of their revisions.
    Objects {
        /// The last one already known; 0 is the beginning.
        after: Revision,
        /// At most this many, and [`OBJECTS_MAX`].
        limit: u32,
    },
    /// Is answered as soon as there may be something behind a revision, or when [`OBJECTS_WAIT_SECONDS`] are over.
    WaitForObjects {
        /// The last one already known.
        after: Revision,
    },
    /// A photo, as the directory had it.
    Photo(PhotoDigest),
    /// Drops what objects were before a time; see [`records::Change::PruneObjects`].
    PruneObjects {
        /// In milliseconds since 1970.
        before_unix_ms: u64,
    },
    /// Who signs in by a name: a SIP address, an alias, or a name that the directory has for its owner (`corp\\alice`, `alice@REALM`), in
    /// any case of letters.
    FindForSignIn(String),
    /// Whether this is a local account's password. Wrong ones are counted by who asks.
    CheckPassword {
        /// Whose.
        user: UserId,
        /// As it was typed.
        password: Secret,
        /// Where it came from.
        source: IpAddr,
    },
    /// Makes a token for somebody who has proved who it is.
    IssueToken {
        /// Whom it is to sign in.
        user: UserId,
        /// For how long.
        lifetime: Duration,
        /// The token in whose place it comes; `None` where its owner has just signed in.
        renewed: Option<Renewed>,
    },
    /// Whom a token signs in.
    JudgeToken(Secret),
    /// Tokens that were issued so far sign nobody in; what was made with them ends.
    RevokeTokens(Whom),
    /// Makes an app password, shown once.
    AddAppPassword {
        /// Whom it is to sign in.
        user: Whom,
        /// What its owner calls it.
        label: String,
        /// What it opens.
        purpose: Purpose,
    },
    /// Lists somebody's app passwords, the oldest first.
    ListAppPasswords(Whom),
    /// Takes an app password back; what was made with it ends.
    RemoveAppPassword {
        /// Whose.
        user: Whom,
        /// Its user name.
        username: String,
    },
    /// Whom an app password signs in (Basic authentication, RFC 7617, of what knows no Digest). Wrong ones are counted and slowed.
    CheckAppPassword {
        /// The user name, alone or with `@` and its realm.
        username: String,
        /// As it was sent.
        password: Secret,
        /// What it must open.
        purpose: Purpose,
        /// Where it came from.
        source: IpAddr,
    },
    /// A request of a client over HTTP. Nobody has authorised it: the node does, and answers with [`Answer::Http`].
    Http(Box<HttpRequest>),
}

/// A change of a user's contacts. Groups are called by their names, else by what people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactEdit {
    /// A contact; one that is there already gets the name.
    AddContact {
        /// Where; `None` is the first group, which is made where there is none.
        group: Option<String>,
        /// Who.
        contact: SipAddress,
        /// What people read.
        name: Option<String>,
    },
    /// A contact goes.
    RemoveContact {
        /// From where; `None` is everywhere.
        group: Option<String>,
        /// Who.
        contact: SipAddress,
    },
    /// A group, empty and last.
    AddGroup(String),
    /// A group goes with everybody who is in it.
    RemoveGroup(String),
    /// A group gets another name.
    RenameGroup {
        /// Which.
        group: String,
        /// The new name.
        name: String,
    },
}

/// Why a call goes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All calls do.
    Always,
    /// The user is not to be disturbed.
    DoNotDisturb,
    /// The user is in a call, or a device said busy.
    Busy,
    /// Nobody answered in time.
    NoAnswer,
    /// No device is there.
    Unregistered,
}

/// One change of where a user's calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallSettingChange {
    /// Where they go for this cause; `None` forwards no more.
    Forward(Cause, Option<SipAddress>),
    /// For how many seconds devices ring before [`Cause::NoAnswer`]; 0 is the server's default.
    NoAnswerAfter(u32),
    /// Who rings together with the user's devices, instead of those who did.
    RingAlso(Vec<SipAddress>),
    /// Whether a call that finds the user in a call is busy; `None` is the server's policy.
    BusyOnBusy(Option<bool>),
}

/// Shortest password that is accepted, in characters (NIST SP 800-63B asks for 8).
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, and durable.
    Done,
    /// To `ListUsers`.
    Users(Vec<UserSummary>),
    /// To `ShowUser`.
    User(Box<UserDetails>),
    /// To `ShowPresence`.
    Presence(Box<PresenceDetails>),
    /// To `ShowCallSettings`.
    CallSettings(Box<CallSettings>),
    /// To `ListCalls`.
    CallLog(Vec<StoredCall>),
    /// To `Status`.
    Status(Status),
    /// To `Explain`.
    Explanation(Explanation),
    /// To `ShowContacts`: groups in their order, nested ones behind the one that they are in.
    Contacts(Vec<ContactGroup>),
    /// To `ShowAccess`.
    Access(Access),
    /// To `Http`.
    Http(HttpResponse),
    /// To `TraceStart`: its name, what it follows, and for how long.
    TraceStarted {
        /// Its name.
        id: TraceId,
        /// What it follows.
        subject: TraceSubject,
        /// For how long.
        duration: Duration,
    },
    /// To `TracePoll`.
    Trace(TracePage),
    /// To `Replicate`.
    Replicated(Replicated),
    /// To `ReplicationState`: `None` where nothing was replicated yet.
    ReplicationState(Option<Vec<u8>>),
    /// To `ListedServers`.
    ListedServers(Vec<federation::TrustedServer>),
    /// To `KnownUsers`.
    KnownUsers(Vec<KnownUser>),
    /// To `Objects`.
    Objects(Vec<ObjectRow>),
    /// To `WaitForObjects`: whether there may be something.
    ObjectsBehind(bool),
    /// To `Photo`: `None` where there is no such photo.
    Photo(Option<Vec<u8>>),
    /// To `FindForSignIn`.
    SignInFacts(Box<SignInFacts>),
    /// To `IssueToken`.
    IssuedToken(IssuedToken),
    /// To `JudgeToken`.
    TokenHolder(Box<TokenHolder>),
    /// To `AddAppPassword`.
    IssuedAppPassword(Box<IssuedAppPassword>),
    /// To `ListAppPasswords`.
    AppPasswords(Vec<AppPasswordLine>),
    /// To `CheckAppPassword`.
    Holder(Box<Holder>),
    /// Not done.
    Refused(Refusal),
}

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The account exists already.
    #[error("{0} exists already")]
    Exists(SipAddress),
    /// There is no such account.
    #[error("there is no user {0}")]
    NoSuchUser(SipAddress),
    /// There is no account of that id.
    #[error("there is no such user")]
    NoSuchId,
    /// Nobody signs in by that name; or several would.
    #[error("nobody signs in by that name")]
    NobodyOfThatName {
        /// What wrong passwords are counted under: the same for all forms in which one of our users may be named (`CORP\\alice`,
        /// `alice@corp.example`, `alice`), in lower case.
        counts_as: String,
    },
    /// The account may not be used.
    #[error("the account is disabled")]
    Disabled,
    /// The password is wrong, or there is none.
    #[error("wrong password")]
    WrongPassword,
    /// Too many wrong passwords came before; this one was not looked at.
    #[error("too many wrong passwords; wait {wait_seconds} s")]
    SlowDown {
        /// In whole seconds, at least 1.
        wait_seconds: u64,
    },
    /// The token signs nobody in.
    #[error("{0}")]
    Token(sign_in::token::TokenError),
    /// The user has as many app passwords as may be.
    #[error("{0} has {APP_PASSWORDS_PER_USER_MAX} app passwords already")]
    TooManyAppPasswords(SipAddress),
    /// The user has no such app password.
    #[error("there is no such app password")]
    NoSuchAppPassword,
    /// What an app password is called does not fit into a list.
    #[error("a label has 1 to {LABEL_CHARACTERS_MAX} characters, none of them a control character")]
    BadLabel,
    /// An account of the directory has no password here.
    #[error("{0} follows the organisation's directory: its password is changed there")]
    OfDirectory(SipAddress),
    /// As many calls wait as may.
    #[error("too many calls wait for changes of the directory")]
    TooManyWait,
    /// The domain is not ours.
    #[error("{domain} is not a SIP domain of this server (its domains: {})", ours.join(", "))]
    ForeignDomain {
        /// What was asked for.
        domain: String,
        /// What there is.
        ours: Vec<String>,
    },
    /// The password is too short.
    #[error("a password needs at least {PASSWORD_CHARACTERS_MIN} characters")]
    WeakPassword,
    /// The certificate signs somebody in already.
    #[error("the certificate {digest} is one of {owner} already")]
    CertificateTaken {
        /// Which.
        digest: CertificateDigest,
        /// Whom.
        owner: SipAddress,
    },
    /// The certificate has ended.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The user has as many certificates as may be.
    #[error("{0} has {CERTIFICATES_PER_USER_MAX} certificates already")]
    TooManyCertificates(SipAddress),
    /// The user has no such certificate.
    #[error("{user} has no certificate {digest}")]
    NoSuchCertificate {
        /// Whose.
        user: SipAddress,
        /// As it was asked for.
        digest: CertificateDigest,
    },
    /// The user has no such group.
    #[error("{user} has no group {group:?}")]
    NoSuchGroup {
        /// Whose contacts.
        user: SipAddress,
        /// As it was asked for.
        group: String,
    },
    /// The user has such a group already.
    #[error("{user} has a group {group:?} already")]
    GroupExists {
        /// Whose contacts.
        user: SipAddress,
        /// The name.
        group: String,
    },
    /// The user has no such contact, or not in that group.
    #[error("{contact} is not among those contacts of {user}")]
    NoSuchContact {
        /// Whose contacts.
        user: SipAddress,
        /// Who was asked for.
        contact: SipAddress,
    },
    /// The user's document cannot be what was asked for.
    #[error("the document of {user} cannot be changed: {reason}")]
    Document {
        /// Whose.
        user: SipAddress,
        /// In words.
        reason: String,
    },
    /// Too many changes of the same user wait.
    #[error("too many changes wait to be written; try again")]
    Busy,
    /// Calls cannot go that way.
    #[error("{0}")]
    CallSetting(&'static str),
    /// The account could not be written.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The server is still loading its users.
    #[error("the server is still loading its users")]
    Starting,
    /// As many traces run as may.
    #[error("{} traces run already", crate::trace::TRACES_MAX)]
    TooManyTraces,
    /// It is over, or never was.
    #[error("there is no such trace")]
    NoSuchTrace,
}

/// A line of the list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// The address.
    pub address: SipAddress,
    /// May be empty.
    pub display_name: String,
    /// What an administrator of this server decided.
    pub state: UserState,
    /// What the organisation's directory says; `None` for a local account.
    pub standing: Option<Standing>,
    /// Role: what either says.
    pub role: Role,
    /// Number of bindings in force.
    pub devices: usize,
    /// Messages that no device has taken yet.
    pub waiting_messages: u64,
}

/// One account with its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDetails {
    /// The account.
    pub summary: UserSummary,
    /// Former addresses that lead to it.
    pub aliases: Vec<SipAddress>,
    /// What the organisation's directory says of it; `None` for a local one.
    pub account: Option<Box<DirectoryAccount>>,
    /// What it may do: what both the administrator and the directory allow.
    pub permissions: Permissions,
    /// Its app passwords, the oldest first.
    pub app_passwords: Vec<AppPasswordLine>,
    /// What signs it in without a password, in order of digests.
    pub certificates: Vec<ClientCertificate>,
    /// Its registered devices, in order of registration.
    pub devices: Vec<Device>,
    /// What its owner is seen as.
    pub presence: PresenceDetails,
}

/// What a person is seen as, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceDetails {
    /// Who.
    pub address: SipAddress,
    /// The state that all devices, the choice and calls come to.
    pub state: State,
    /// The choice and the note, those that are over included.
    pub manual: Manual,
    /// In the order that [`presence::Why::Device`] counts.
    pub devices: Vec<DevicePresence>,
    /// Subscriptions to it, those of lists included.
    pub watchers: usize,
}

/// What a device says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePresence {
    /// The contact that it registered last; `None` for a publication of no registered device.
    pub contact: Option<String>,
    /// Whether it published its state; else it stands for being registered.
    pub is_published: bool,
    /// The state.
    pub state: DeviceState,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The contact URI.
    pub contact: String,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: &'static str,
    /// Where it is seen from.
    pub remote: String,
    /// User-Agent; may be empty.
    pub user_agent: String,
    /// `+sip.instance`, where the device has one.
    pub instance: Option<String>,
    /// Seconds until the registration ends.
    pub expires_seconds: u64,
}

/// The way from one person to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who would ask.
    pub from: SipAddress,
    /// Whom they mean.
    pub to: SipAddress,
    /// What was looked at, in the order in which a request meets it.
    pub steps: Vec<Step>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What: `sender`, `recipient`, `device`, `calls` ...
    pub what: &'static str,
    /// Whether it lets a request pass.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// How to mend it; there where it stops.
    pub mend: Option<&'static str>,
}

/// Whether a step lets a request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Passes,
    /// It passes, but not as one might expect.
    Notes,
    /// It ends here.
    Stops,
}

/// Contacts in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactGroup {
    /// What it is called; empty where it has no name.
    pub name: String,
    /// Who is in it.
    pub contacts: Vec<ContactSummary>,
}

/// A contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactSummary {
    /// The address of a SIP contact, the URI of another one.
    pub address: String,
    /// What people read; may be empty.
    pub name: String,
}

/// Who sees how much of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What the user's rules say, in their order.
    pub rules: Vec<AccessRule>,
    /// What users of ours see where no rule is about them.
    pub same_organisation: Level,
    /// What users of partners see where no rule is about them.
    pub federated: Level,
}

/// What a rule says of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Who watches.
    pub subject: Subject,
    /// What it may see.
    pub level: Level,
    /// The rule's identifier in the document.
    pub rule: String,
}

/// How the server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Accounts.
    pub users: usize,
    /// Bindings in force.
    pub bindings: usize,
    /// Connections known to the node.
    pub connections: usize,
    /// Transactions under way.
    pub transactions: usize,
    /// Whether the last write to storage succeeded.
    pub storage_healthy: bool,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords never reach a log.
        match self {
            Call::AddUser { address, .. } => write!(f, "AddUser({address})"),
            Call::ListUsers { .. } => f.write_str("ListUsers"),
            Call::ShowUser(address) => write!(f, "ShowUser({address})"),
            Call::SetUserState(address, state) => write!(f, "SetUserState({address}, {state:?})"),
            Call::SetPermissions(address, change) => write!(f, "SetPermissions({address}, {change:?})"),
            Call::AddCertificate(address, certificate) => {
                write!(f, "AddCertificate({address}, {})", certificate.digest)
            }
            Call::RemoveCertificate(address, digest) => write!(f, "RemoveCertificate({address}, {digest})"),
            Call::SetPassword(address, _) => write!(f, "SetPassword({address})"),
            Call::RemoveUser(address) => write!(f, "RemoveUser({address})"),
            Call::ShowPresence(address) => write!(f, "ShowPresence({address})"),
            // What people write is nobody else's.
            Call::SetPresence { address, choice, note } => {
                let choice = choice.map(|(state, _)| state);
                write!(
                    f,
                    "SetPresence({address}, {choice:?}, {})",
                    if note.is_some() { "a note" } else { "no note" }
                )
            }
            Call::ClearPresence(address) => write!(f, "ClearPresence({address})"),
            Call::ShowCallSettings(address) => write!(f, "ShowCallSettings({address})"),
            Call::SetCallSettings { address, changes } => {
                write!(f, "SetCallSettings({address}, {changes:?})")
            }
            Call::ListCalls { address, .. } => write!(f, "ListCalls({address})"),
            Call::Status => f.write_str("Status"),
            Call::Explain { from, to } => write!(f, "Explain({from}, {to})"),
            Call::TraceStart(request) => write!(f, "TraceStart({})", request.subject),
            Call::TracePoll(id) => write!(f, "TracePoll({})", id.0),
            Call::TraceStop(id) => write!(f, "TraceStop({})", id.0),
            Call::Configure(_) => f.write_str("Configure"),
            Call::ShowContacts(address) => write!(f, "ShowContacts({address})"),
            Call::EditContacts { user, edit } => {
                let what = match edit {
                    ContactEdit::AddContact { .. } => "add a contact",
                    ContactEdit::RemoveContact { .. } => "remove a contact",
                    ContactEdit::AddGroup(_) => "add a group",
                    ContactEdit::RemoveGroup(_) => "remove a group",
                    ContactEdit::RenameGroup { .. } => "rename a group",
                };
                write!(f, "EditContacts({user}, {what})")
            }
            Call::ShowAccess(address) => write!(f, "ShowAccess({address})"),
            Call::SetAccess { user, subject, level } => {
                write!(f, "SetAccess({user}, {subject:?}, {level:?})")
            }
            Call::Replicate(batch) => {
                write!(f, "Replicate({} users, {} objects)", batch.users.len(), batch.objects.len())
            }
            Call::ReplicationState => f.write_str("ReplicationState"),
            Call::ListedServers => f.write_str("ListedServers"),
            Call::KnownUsers { .. } => f.write_str("KnownUsers"),
            Call::Objects { after, .. } => write!(f, "Objects({})", after.0),
            Call::WaitForObjects { after } => write!(f, "WaitForObjects({})", after.0),
            Call::Photo(digest) => write!(f, "Photo({digest})"),
            Call::PruneObjects { before_unix_ms } => write!(f, "PruneObjects({before_unix_ms})"),
            Call::FindForSignIn(_) => f.write_str("FindForSignIn"),
            Call::CheckPassword { user, .. } => write!(f, "CheckPassword({})", user.0),
            Call::IssueToken { user, lifetime, .. } => write!(f, "IssueToken({}, {lifetime:?})", user.0),
            Call::JudgeToken(_) => f.write_str("JudgeToken"),
            Call::RevokeTokens(user) => write!(f, "RevokeTokens({user})"),
            Call::AddAppPassword { user, purpose, .. } => {
                write!(f, "AddAppPassword({user}, {})", purpose.name())
            }
            Call::ListAppPasswords(user) => write!(f, "ListAppPasswords({user})"),
            Call::RemoveAppPassword { user, username } => write!(f, "RemoveAppPassword({user}, {username})"),
            Call::CheckAppPassword { .. } => f.write_str("CheckAppPassword"),
            Call::Http(request) => write!(f, "Http({})", request.method),
        }
    }
}
