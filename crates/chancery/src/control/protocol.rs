//! What stands in the lines of the control socket. The Rust names of calls and answers may change; these words may
//! not, but by a new [`VERSION`].

use std::time::Duration;

use directory::{
    CertificateDigest, ClientCertificate, PermissionChange, Permissions, Purpose, Role, SipAddress, UserState,
};
use frontend::admin::{
    Answer, Call, ContactEdit, Device, Explanation, Refusal, Step, UserDetails, UserSummary, Verdict, Whom,
};
use frontend::trace::{Bodies, TraceId, TraceRequest};
use records::{ObjectRow, Revision};
use serde::{Deserialize, Serialize};

use super::accounts::{AppPasswordLine, DirectoryLine, IssuedLine};
use super::calls::{CallEntryLine, CallSettingLine, CallSettingsLine, parse_place};
use super::people::{AccessLine, GroupLine, parse_level, parse_subject};
use super::presence::{ChoiceLine, NoteLine, PresenceLine};
use crate::backup::Taken;
use crate::directory::{FollowedLine, ReplicateWord, ReplicationLine};
use crate::reload::Reloaded;
use crate::trace::lines::{TraceFollows, TracePageLine};

/// Both sides state it; a server refuses another one.
pub(crate) const VERSION: u32 = 1;
/// Longest request, in octets, its line end included: an address, a name and a password fit twenty times.
pub(crate) const REQUEST_OCTETS_MAX: usize = 16 * 1024;
/// Longest answer, in octets: a page of objects fits in which one is a group of a hundred thousand members.
pub(crate) const ANSWER_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// A page of objects ends behind the one that makes it longer than this, in octets.
const OBJECTS_OCTETS: usize = 4 * 1024 * 1024;
/// Most objects in one answer.
pub(crate) const OBJECTS_PER_PAGE_MAX: u32 = 1000;
/// Most accounts in one answer. A client asks for the next page behind the last address.
pub(crate) const USERS_PER_PAGE_MAX: usize = 1000;
/// Longest name and password, in octets.
const TEXT_OCTETS_MAX: usize = 1024;

/// A request line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`VERSION`].
    pub(crate) version: u32,
    #[serde(flatten)]
    pub(crate) call: CallLine,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub(crate) enum CallLine {
    UserAdd {
        address: String,
        name: String,
        role: RoleWord,
        password: String,
    },
    UserList {
        containing: Option<String>,
        after: Option<String>,
        limit: usize,
    },
    UserShow {
        address: String,
    },
    UserEnable {
        address: String,
    },
    UserDisable {
        address: String,
    },
    UserSetPermission {
        address: String,
        federation: Option<bool>,
        remote_access: Option<bool>,
        calls: Option<bool>,
    },
    UserAddCertificate {
        address: String,
        sha256: String,
        expires_unix_ms: u64,
    },
    UserRemoveCertificate {
        address: String,
        sha256: String,
    },
    UserRevokeTokens {
        address: String,
    },
    AppPasswordAdd {
        address: String,
        label: String,
        /// `sip` or `address-book`.
        purpose: String,
    },
    AppPasswordList {
        address: String,
    },
    AppPasswordRemove {
        address: String,
        username: String,
    },
    UserSetPassword {
        address: String,
        password: String,
    },
    UserRemove {
        address: String,
    },
    PresenceShow {
        address: String,
    },
    PresenceSet {
        address: String,
        choice: Option<ChoiceLine>,
        note: Option<NoteLine>,
    },
    PresenceClear {
        address: String,
    },
    ForwardShow {
        address: String,
    },
    ForwardSet {
        address: String,
        changes: Vec<CallSettingLine>,
    },
    CallList {
        address: String,
        before: Option<String>,
        missed: bool,
        limit: u32,
    },
    Status,
    Explain {
        from: String,
        to: String,
    },
    Reload {
        dry_run: bool,
    },
    Backup {
        to: Option<String>,
    },
    Replicate {
        what: ReplicateWord,
    },
    /// What objects of the address book were and are, from their history.
    Objects {
        after: u64,
        limit: u32,
    },
    ContactList {
        address: String,
    },
    ContactAdd {
        address: String,
        contact: String,
        group: Option<String>,
        name: Option<String>,
    },
    ContactRemove {
        address: String,
        contact: String,
        group: Option<String>,
    },
    GroupAdd {
        address: String,
        group: String,
    },
    GroupRemove {
        address: String,
        group: String,
    },
    GroupRename {
        address: String,
        group: String,
        name: String,
    },
    AccessShow {
        address: String,
    },
    AccessSet {
        address: String,
        subject: String,
        level: String,
    },
    AccessUnset {
        address: String,
        subject: String,
    },
    TraceStart {
        subject: String,
        seconds: u64,
        bodies: bool,
    },
    TracePoll {
        trace: u64,
    },
    TraceStop {
        trace: u64,
    },
}

/// An answer line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum AnswerLine {
    Done,
    /// `more`: the page is full, and there may be accounts behind it.
    Users {
        users: Vec<UserLine>,
        more: bool,
    },
    User(Box<UserDetailsLine>),
    AppPassword(Box<IssuedLine>),
    /// The oldest first.
    AppPasswords {
        app_passwords: Vec<AppPasswordLine>,
    },
    Presence(Box<PresenceLine>),
    CallSettings(Box<CallSettingsLine>),
    /// `more`: the page is full, and there may be older calls.
    Calls {
        calls: Vec<CallEntryLine>,
        more: bool,
    },
    Status(Box<StatusLine>),
    /// Answer to the same call, of a server in the perimeter.
    Perimeter(Box<PerimeterLine>),
    /// Answer to the same call, of a director.
    Director(Box<DirectorLine>),
    Contacts {
        groups: Vec<GroupLine>,
    },
    Access(AccessLine),
    Explanation(ExplanationLine),
    Reloaded(Reloaded),
    /// Of a backup, in octets. More lines follow.
    Progress {
        done: u64,
        total: u64,
    },
    Backup(Box<Taken>),
    /// Of a replication. More lines follow.
    Replicating {
        stage: replicator::Stage,
        done: usize,
        total: Option<usize>,
    },
    Replication(Box<ReplicationLine>),
    /// `more`: the page is full, and there may be rows behind it.
    Objects {
        rows: Vec<ObjectLine>,
        more: bool,
    },
    TraceStarted {
        trace: u64,
        follows: TraceFollows,
        seconds: u64,
    },
    Trace(TracePageLine),
    Refused {
        kind: RefusalKind,
        message: String,
    },
}

/// Why a call was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RefusalKind {
    Exists,
    NoSuchUser,
    ForeignDomain,
    WeakPassword,
    /// The certificate is somebody's already, has ended, is one too many, or is not there.
    Certificate,
    /// The name, the password or the token signs nobody in.
    SignIn,
    /// The app password is one too many, or is not there, or its label cannot be.
    AppPassword,
    /// Calls cannot go that way.
    CallSetting,
    Storage,
    /// The directory is not followed, or it could not be done; the message says why.
    Replication,
    /// No backup was made; the message says how to mend it.
    Backup,
    Starting,
    NoSuchGroup,
    GroupExists,
    NoSuchContact,
    /// The user's document cannot be so.
    Document,
    /// Too many changes wait; try again.
    Busy,
    /// The request is not understood, or holds what cannot be an address.
    BadRequest,
    /// The other side speaks another version.
    Version,
    TooManyTraces,
    NoSuchTrace,
    /// The configuration is wrong, or there is none.
    Configuration,
    /// The server stops, or is overloaded.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserLine {
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) state: StateWord,
    /// What the organisation's directory says of the account; missing for a local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standing: Option<String>,
    pub(crate) role: RoleWord,
    /// Registered now.
    pub(crate) devices: usize,
    /// Taken by no device yet.
    pub(crate) waiting_messages: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserDetailsLine {
    #[serde(flatten)]
    pub(crate) summary: UserLine,
    /// Former addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) aliases: Vec<String>,
    /// Missing for a local account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<DirectoryLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) app_passwords: Vec<AppPasswordLine>,
    /// Missing in the answer of a server that is older.
    pub(crate) permissions: Option<PermissionsLine>,
    /// Missing in the answer of a server that is older.
    pub(crate) certificates: Option<Vec<CertificateLine>>,
    pub(crate) registrations: Vec<DeviceLine>,
    /// Missing in the answer of a server that is older.
    pub(crate) presence: Option<PresenceLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PermissionsLine {
    pub(crate) federation: bool,
    pub(crate) remote_access: bool,
    pub(crate) calls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateLine {
    /// In hexadecimal digits.
    pub(crate) sha256: String,
    pub(crate) expires_unix_ms: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceLine {
    pub(crate) contact: String,
    pub(crate) transport: String,
    pub(crate) remote: String,
    pub(crate) user_agent: String,
    pub(crate) instance: Option<String>,
    pub(crate) expires_seconds: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExplanationLine {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Whether nothing stops.
    pub(crate) passes: bool,
    pub(crate) steps: Vec<StepLine>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepLine {
    pub(crate) what: String,
    pub(crate) verdict: VerdictWord,
    pub(crate) finding: String,
    pub(crate) mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VerdictWord {
    Passes,
    Notes,
    Stops,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusLine {
    pub(crate) users: usize,
    pub(crate) bindings: usize,
    pub(crate) connections: usize,
    pub(crate) transactions: usize,
    pub(crate) storage_healthy: bool,
    pub(crate) uptime_seconds: u64,
    /// Missing where all accounts are local ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<FollowedLine>,
    pub(crate) server: ServerFacts,
}

/// What an object became with one change.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectLine {
    pub(crate) revision: u64,
    pub(crate) id: directory::ObjectId,
    /// Missing: it is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<Box<directory::Object>>,
}

/// How a director does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectorLine {
    /// Whether every home has told its accounts.
    pub(crate) is_complete: bool,
    pub(crate) users: usize,
    pub(crate) signed_in: usize,
    pub(crate) transactions: usize,
    /// Our servers that are connected.
    pub(crate) servers: Vec<String>,
    pub(crate) server: ServerFacts,
}

/// How a server in the perimeter does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PerimeterLine {
    /// By age; the oldest ones where there are many.
    pub(crate) connections: Vec<ConnectionLine>,
    /// Discovered partners that behaved as nobody does who means well.
    pub(crate) watch_list: Vec<WatchedLine>,
    pub(crate) server: ServerFacts,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionLine {
    /// `server`, `partner`, `client` or `stranger`.
    pub(crate) kind: String,
    /// Of a server its host, of a partner what it proves.
    pub(crate) names: Vec<String>,
    pub(crate) remote: String,
    /// Whether we opened it.
    pub(crate) is_ours: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WatchedLine {
    pub(crate) domain: String,
    pub(crate) why: String,
}

/// What the process adds to the node's own status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFacts {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) domains: Vec<String>,
    pub(crate) listeners: Vec<ListenerLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerLine {
    /// `sip`, `metrics` or `https`.
    pub(crate) role: String,
    pub(crate) transport: String,
    pub(crate) address: String,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RoleWord {
    Person,
    Administrator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateWord {
    Enabled,
    Disabled,
}

impl Request {
    pub(crate) fn new(call: CallLine) -> Request {
        Request { version: VERSION, call }
    }
}

impl CallLine {
    /// The typed call, or why it is none.
    pub(crate) fn into_call(self) -> Result<Call, String> {
        Ok(match self {
            CallLine::UserAdd { address, name, role, password } => Call::AddUser {
                address: parse_address(&address)?,
                display_name: bounded("the name", name)?,
                password: bounded("the password", password)?,
                role: role.into(),
            },
            CallLine::UserList { containing, after, limit } => Call::ListUsers {
                containing,
                after: after.as_deref().map(parse_address).transpose()?,
                limit: limit.clamp(1, USERS_PER_PAGE_MAX),
            },
            CallLine::UserShow { address } => Call::ShowUser(parse_address(&address)?),
            CallLine::UserEnable { address } => {
                Call::SetUserState(parse_address(&address)?, UserState::Enabled)
            }
            CallLine::UserDisable { address } => {
                Call::SetUserState(parse_address(&address)?, UserState::Disabled)
            }
            CallLine::UserSetPermission { address, federation, remote_access, calls } => {
                Call::SetPermissions(
                    parse_address(&address)?,
                    PermissionChange { federation, remote_access, calls },
                )
            }
            CallLine::UserAddCertificate { address, sha256, expires_unix_ms } => Call::AddCertificate(
                parse_address(&address)?,
                ClientCertificate { digest: parse_digest(&sha256)?, expires_unix_ms },
            ),
            CallLine::UserRevokeTokens { address } => {
                Call::RevokeTokens(Whom::Address(parse_address(&address)?))
            }
            CallLine::AppPasswordAdd { address, label, purpose } => Call::AddAppPassword {
                user: Whom::Address(parse_address(&address)?),
                label: bounded("the label", label)?,
                purpose: Purpose::from_name(&purpose).ok_or("an app password is for sip or address-book")?,
            },
            CallLine::AppPasswordList { address } => {
                Call::ListAppPasswords(Whom::Address(parse_address(&address)?))
            }
            CallLine::AppPasswordRemove { address, username } => Call::RemoveAppPassword {
                user: Whom::Address(parse_address(&address)?),
                username: bounded("the user name", username)?,
            },
            CallLine::UserRemoveCertificate { address, sha256 } => {
                Call::RemoveCertificate(parse_address(&address)?, parse_digest(&sha256)?)
            }
            CallLine::UserSetPassword { address, password } => {
                Call::SetPassword(parse_address(&address)?, bounded("the password", password)?)
            }
            CallLine::UserRemove { address } => Call::RemoveUser(parse_address(&address)?),
            CallLine::PresenceShow { address } => Call::ShowPresence(parse_address(&address)?),
            CallLine::PresenceSet { address, choice, note } => Call::SetPresence {
                address: parse_address(&address)?,
                choice: choice.map(ChoiceLine::into_choice).transpose()?,
                note: note.map(NoteLine::into_note).transpose()?,
            },
            CallLine::PresenceClear { address } => Call::ClearPresence(parse_address(&address)?),
            CallLine::ForwardShow { address } => Call::ShowCallSettings(parse_address(&address)?),
            CallLine::ForwardSet { address, changes } => {
                let changes: Result<_, _> = changes.into_iter().map(CallSettingLine::into_change).collect();
                Call::SetCallSettings { address: parse_address(&address)?, changes: changes? }
            }
            CallLine::CallList { address, before, missed, limit } => Call::ListCalls {
                address: parse_address(&address)?,
                before: before.as_deref().map(parse_place).transpose()?,
                missed_only: missed,
                limit,
            },
            CallLine::Status => Call::Status,
            CallLine::Backup { .. } => return Err("the node makes no backup".to_owned()),
            CallLine::Replicate { .. } => return Err("the node does not replicate by itself".to_owned()),
            CallLine::Objects { after, limit } => {
                Call::Objects { after: Revision(after), limit: limit.clamp(1, OBJECTS_PER_PAGE_MAX) }
            }
            CallLine::Explain { from, to } => {
                Call::Explain { from: parse_address(&from)?, to: parse_address(&to)? }
            }
            CallLine::TraceStart { subject, seconds, bodies } => Call::TraceStart(Box::new(TraceRequest {
                subject: bounded("the address or Call-ID", subject)?,
                duration: Duration::from_secs(seconds),
                bodies: if bodies { Bodies::Shown } else { Bodies::Hidden },
                // The server knows who is at the other end of the socket.
                asked_by: String::new(),
            })),
            CallLine::TracePoll { trace } => Call::TracePoll(TraceId(trace)),
            CallLine::TraceStop { trace } => Call::TraceStop(TraceId(trace)),
            CallLine::Reload { .. } => return Err("a reload is no call of the node".to_owned()),
            CallLine::ContactList { address } => Call::ShowContacts(parse_address(&address)?),
            CallLine::ContactAdd { address, contact, group, name } => edit(
                &address,
                ContactEdit::AddContact {
                    group: group.map(|group| bounded("the group", group)).transpose()?,
                    contact: parse_address(&contact)?,
                    name: name.map(|name| bounded("the name", name)).transpose()?,
                },
            )?,
            CallLine::ContactRemove { address, contact, group } => edit(
                &address,
                ContactEdit::RemoveContact {
                    group: group.map(|group| bounded("the group", group)).transpose()?,
                    contact: parse_address(&contact)?,
                },
            )?,
            CallLine::GroupAdd { address, group } => {
                edit(&address, ContactEdit::AddGroup(bounded("the group", group)?))?
            }
            CallLine::GroupRemove { address, group } => {
                edit(&address, ContactEdit::RemoveGroup(bounded("the group", group)?))?
            }
            CallLine::GroupRename { address, group, name } => edit(
                &address,
                ContactEdit::RenameGroup {
                    group: bounded("the group", group)?,
                    name: bounded("the name", name)?,
                },
            )?,
            CallLine::AccessShow { address } => Call::ShowAccess(parse_address(&address)?),
            CallLine::AccessSet { address, subject, level } => Call::SetAccess {
                user: parse_address(&address)?,
                subject: parse_subject(&subject)?,
                level: Some(parse_level(&level)?),
            },
            CallLine::AccessUnset { address, subject } => Call::SetAccess {
                user: parse_address(&address)?,
                subject: parse_subject(&subject)?,
                level: None,
            },
        })
    }
}

impl AnswerLine {
    pub(crate) fn refused(kind: RefusalKind, message: impl Into<String>) -> AnswerLine {
        AnswerLine::Refused { kind, message: message.into() }
    }

    /// `limit` is that of the call, for pages.
    pub(crate) fn new(answer: Answer, limit: Option<usize>, server: &ServerFacts) -> AnswerLine {
        match answer {
            Answer::Done => AnswerLine::Done,
            Answer::Users(users) => {
                let more = limit.is_some_and(|limit| users.len() >= limit);
                AnswerLine::Users { users: users.into_iter().map(UserLine::from).collect(), more }
            }
            Answer::User(details) => AnswerLine::User(Box::new(UserDetailsLine::from(*details))),
            Answer::IssuedAppPassword(issued) => AnswerLine::AppPassword(Box::new(IssuedLine::from(*issued))),
            Answer::AppPasswords(lines) => AnswerLine::AppPasswords {
                app_passwords: lines.into_iter().map(AppPasswordLine::from).collect(),
            },
            Answer::Presence(details) => AnswerLine::Presence(Box::new(PresenceLine::from(*details))),
            Answer::CallSettings(settings) => {
                AnswerLine::CallSettings(Box::new(CallSettingsLine::from(*settings)))
            }
            Answer::CallLog(calls) => {
                let more = limit.is_some_and(|limit| calls.len() >= limit);
                AnswerLine::Calls { calls: calls.into_iter().map(CallEntryLine::from).collect(), more }
            }
            Answer::Status(status) => AnswerLine::Status(Box::new(StatusLine {
                users: status.users,
                bindings: status.bindings,
                connections: status.connections,
                transactions: status.transactions,
                storage_healthy: status.storage_healthy,
                uptime_seconds: status.uptime_seconds,
                directory: None,
                server: server.clone(),
            })),
            Answer::Objects(rows) => objects(rows, limit),
            Answer::Contacts(groups) => {
                AnswerLine::Contacts { groups: groups.into_iter().map(GroupLine::from).collect() }
            }
            Answer::Access(access) => AnswerLine::Access(AccessLine::from(access)),
            Answer::Http(_)
            | Answer::Replicated(_)
            | Answer::ReplicationState(_)
            | Answer::ListedServers(_)
            | Answer::KnownUsers(_)
            | Answer::ObjectsBehind(_)
            | Answer::Photo(_)
            | Answer::SignInFacts(_)
            | Answer::IssuedToken(_)
            | Answer::TokenHolder(_)
            | Answer::Holder(_) => unreachable!("the control socket makes no such call"),
            Answer::Explanation(explanation) => AnswerLine::Explanation(ExplanationLine::from(explanation)),
            Answer::TraceStarted { id, subject, duration } => {
                AnswerLine::TraceStarted { trace: id.0, follows: subject.into(), seconds: duration.as_secs() }
            }
            Answer::Trace(page) => AnswerLine::Trace(page.into()),
            Answer::Refused(refusal) => AnswerLine::refused(refusal_kind(&refusal), refusal.to_string()),
        }
    }
}

fn objects(all: Vec<ObjectRow>, limit: Option<usize>) -> AnswerLine {
    let count = all.len();
    let mut octets = 0;
    let mut rows = Vec::new();
    for row in all {
        let line = ObjectLine { revision: row.revision.0, id: row.id, object: row.object };
        octets += serde_json::to_vec(&line).map_or(OBJECTS_OCTETS, |text| text.len());
        rows.push(line);
        if octets >= OBJECTS_OCTETS {
            break;
        }
    }
    let more = rows.len() < count || limit.is_some_and(|limit| count >= limit);
    AnswerLine::Objects { rows, more }
}

/// Checked here, so that a wrong address is told in words before a server is asked.
pub(crate) fn parse_address(text: &str) -> Result<SipAddress, String> {
    SipAddress::parse(text).map_err(|error| format!("{text:?} is no SIP address: {error}"))
}

fn parse_digest(text: &str) -> Result<CertificateDigest, String> {
    text.parse().map_err(|error| format!("{text:?} is no certificate: {error}"))
}

fn edit(address: &str, edit: ContactEdit) -> Result<Call, String> {
    Ok(Call::EditContacts { user: parse_address(address)?, edit })
}

fn bounded(what: &str, text: String) -> Result<String, String> {
    if text.len() > TEXT_OCTETS_MAX {
        return Err(format!("{what} is longer than {TEXT_OCTETS_MAX} octets"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} holds a control character"));
    }
    Ok(text)
}

fn refusal_kind(refusal: &Refusal) -> RefusalKind {
    match refusal {
        Refusal::Exists(_) => RefusalKind::Exists,
        Refusal::NoSuchUser(_) => RefusalKind::NoSuchUser,
        Refusal::ForeignDomain { .. } => RefusalKind::ForeignDomain,
        Refusal::WeakPassword => RefusalKind::WeakPassword,
        Refusal::CertificateTaken { .. }
        | Refusal::CertificateExpired
        | Refusal::TooManyCertificates(_)
        | Refusal::NoSuchCertificate { .. } => RefusalKind::Certificate,
        Refusal::CallSetting(_) => RefusalKind::CallSetting,
        Refusal::Storage(_) => RefusalKind::Storage,
        Refusal::Starting => RefusalKind::Starting,
        Refusal::NoSuchGroup { .. } => RefusalKind::NoSuchGroup,
        Refusal::GroupExists { .. } => RefusalKind::GroupExists,
        Refusal::NoSuchContact { .. } => RefusalKind::NoSuchContact,
        Refusal::Document { .. } => RefusalKind::Document,
        Refusal::Busy => RefusalKind::Busy,
        Refusal::NoSuchId | Refusal::NobodyOfThatName { .. } => RefusalKind::NoSuchUser,
        Refusal::Disabled
        | Refusal::WrongPassword
        | Refusal::SlowDown { .. }
        | Refusal::Token(_)
        | Refusal::OfDirectory(_) => RefusalKind::SignIn,
        Refusal::TooManyAppPasswords(_) | Refusal::NoSuchAppPassword | Refusal::BadLabel => {
            RefusalKind::AppPassword
        }
        Refusal::TooManyWait => RefusalKind::Busy,
        Refusal::TooManyTraces => RefusalKind::TooManyTraces,
        Refusal::NoSuchTrace => RefusalKind::NoSuchTrace,
    }
}

impl From<UserSummary> for UserLine {
    fn from(summary: UserSummary) -> UserLine {
        UserLine {
            address: summary.address.as_str().to_owned(),
            name: summary.display_name,
            standing: summary.standing.map(|standing| standing.name().to_owned()),
            state: match summary.state {
                UserState::Enabled => StateWord::Enabled,
                UserState::Disabled => StateWord::Disabled,
            },
            role: match summary.role {
                Role::Person => RoleWord::Person,
                Role::Administrator => RoleWord::Administrator,
            },
            devices: summary.devices,
            waiting_messages: summary.waiting_messages,
        }
    }
}

impl From<UserDetails> for UserDetailsLine {
    fn from(details: UserDetails) -> UserDetailsLine {
        UserDetailsLine {
            summary: UserLine::from(details.summary),
            aliases: details.aliases.iter().map(ToString::to_string).collect(),
            directory: details.account.map(|account| DirectoryLine::from(*account)),
            app_passwords: details.app_passwords.into_iter().map(AppPasswordLine::from).collect(),
            permissions: Some(PermissionsLine::from(details.permissions)),
            certificates: Some(details.certificates.into_iter().map(CertificateLine::from).collect()),
            registrations: details.devices.into_iter().map(DeviceLine::from).collect(),
            presence: Some(PresenceLine::from(details.presence)),
        }
    }
}

impl From<ClientCertificate> for CertificateLine {
    fn from(certificate: ClientCertificate) -> CertificateLine {
        let ClientCertificate { digest, expires_unix_ms } = certificate;
        CertificateLine { sha256: digest.to_string(), expires_unix_ms }
    }
}

impl From<Permissions> for PermissionsLine {
    fn from(permissions: Permissions) -> PermissionsLine {
        let Permissions { federation, remote_access, calls } = permissions;
        PermissionsLine { federation, remote_access, calls }
    }
}

impl From<Explanation> for ExplanationLine {
    fn from(explanation: Explanation) -> ExplanationLine {
        let steps: Vec<StepLine> = explanation.steps.into_iter().map(StepLine::from).collect();
        ExplanationLine {
            from: explanation.from.as_str().to_owned(),
            to: explanation.to.as_str().to_owned(),
            passes: steps.iter().all(|step| step.verdict != VerdictWord::Stops),
            steps,
        }
    }
}

impl From<Step> for StepLine {
    fn from(step: Step) -> StepLine {
        StepLine {
            what: step.what.to_owned(),
            verdict: match step.verdict {
                Verdict::Passes => VerdictWord::Passes,
                Verdict::Notes => VerdictWord::Notes,
                Verdict::Stops => VerdictWord::Stops,
            },
            finding: step.finding,
            mend: step.mend.map(str::to_owned),
        }
    }
}

impl From<Device> for DeviceLine {
    fn from(device: Device) -> DeviceLine {
        DeviceLine {
            contact: device.contact,
            transport: device.transport.to_owned(),
            remote: device.remote,
            user_agent: device.user_agent,
            instance: device.instance,
            expires_seconds: device.expires_seconds,
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Role {
        match word {
            RoleWord::Person => Role::Person,
            RoleWord::Administrator => Role::Administrator,
        }
    }
}
