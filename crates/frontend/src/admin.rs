//! What an administrator can ask of a running front end, and what it answers. The command line and the Console speak
//! JSON to their users; here are the typed calls behind it.

use directory::{Role, SipAddress, UserState};
use node::http::{HttpRequest, HttpResponse};

use crate::config::Adjustable;

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
    /// Sets a new password; registrations made with the old one end.
    SetPassword(SipAddress, String),
    /// Removes an account with everything that it owns here.
    RemoveUser(SipAddress),
    /// How the server does.
    Status,
    /// Why one person reaches another, or does not.
    Explain {
        /// Who would ask.
        from: SipAddress,
        /// Whom they mean.
        to: SipAddress,
    },
    /// Changes what can change while the server runs.
    Configure(Box<Adjustable>),
    /// A request of a client over HTTP. Nobody has authorised it: the node does, and answers with [`Answer::Http`].
    Http(Box<HttpRequest>),
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
    /// To `Status`.
    Status(Status),
    /// To `Explain`.
    Explanation(Explanation),
    /// To `Http`.
    Http(HttpResponse),
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
    /// The account could not be written.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The server is still loading its users.
    #[error("the server is still loading its users")]
    Starting,
}

/// A line of the list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// The address.
    pub address: SipAddress,
    /// May be empty.
    pub display_name: String,
    /// Enabled or not.
    pub state: UserState,
    /// Role.
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
    /// Its registered devices, in order of registration.
    pub devices: Vec<Device>,
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
            Call::SetPassword(address, _) => write!(f, "SetPassword({address})"),
            Call::RemoveUser(address) => write!(f, "RemoveUser({address})"),
            Call::Status => f.write_str("Status"),
            Call::Explain { from, to } => write!(f, "Explain({from}, {to})"),
            Call::Configure(_) => f.write_str("Configure"),
            Call::Http(request) => write!(f, "Http({})", request.method),
        }
    }
}
