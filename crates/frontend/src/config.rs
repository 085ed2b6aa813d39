//! What a front end is told when it is made.

use std::time::Duration;

use directory::{DomainName, Permissions};
use federation::{HostPort, TrustedServer};
use node::Listener;
use presence::rules::Defaults;

/// Requests that wait for an answer at once, unless configured otherwise. They take some 1 KiB each way: 256 MiB at the
/// most, and far more than a server answers within a client's patience.
pub const TRANSACTIONS_MAX: usize = 131_072;

/// Everything that a front end must know to start. All fields are legal in any value that their types allow, but for
/// `domains` and `listeners`, which must not be empty.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our SIP domains; the first is the one shown where one is needed.
    pub domains: Vec<DomainName>,
    /// The bound sockets; [`node::ListenerId`] counts them from 0.
    pub listeners: Vec<Listener>,
    /// Names under which requests address this server itself (in Route and Request-URI), besides the domains and the
    /// advertised hosts.
    pub aliases: Vec<String>,
    /// The URI below which clients reach the documents that they keep here (RFC 4825 §6.1); ends with `/xcap/`.
    pub xcap_root: String,
    /// Bounds of registrations.
    pub registration: RegistrationLimits,
    /// Who is challenged when.
    pub authentication: AuthenticationPolicy,
    /// Bounds of messaging.
    pub messaging: MessagingLimits,
    /// Who sees how much of whom, and how soon.
    pub presence: PresencePolicy,
    /// Calls: policy and what is kept of them.
    pub calls: CallPolicy,
    /// How other organisations are reached.
    pub federation: FederationPolicy,
    /// Our other servers, each by the name that its certificate bears.
    pub servers: Vec<TrustedServer>,
    /// Whether our users may sign in from outside, through an Access Edge. Each may be forbidden it besides.
    pub remote_access: bool,
    /// Requests that may wait for an answer at once, theirs to us and ours to others; see [`TRANSACTIONS_MAX`].
    pub transactions_max: usize,
    /// Key of nonces, GRUUs and flow tokens. Kept over restarts.
    pub secret: [u8; 32],
    /// Fresh randomness of this start: branches, tags, and what must not survive a restart.
    pub seed: [u8; 32],
}

/// What of a [`Config`] can change while the front end runs, with [`crate::admin::Call::Configure`]. It holds for what
/// comes: registrations, nonces and messages that were accepted stay as they are. Levels of access hold at once: who
/// watches is told what they see now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustable {
    /// See [`Config::registration`].
    pub registration: RegistrationLimits,
    /// See [`Config::authentication`].
    pub authentication: AuthenticationPolicy,
    /// See [`Config::messaging`].
    pub messaging: MessagingLimits,
    /// See [`Config::presence`].
    pub presence: PresencePolicy,
    /// See [`Config::calls`].
    pub calls: CallPolicy,
    /// See [`Config::federation`].
    pub federation: FederationPolicy,
    /// See [`Config::remote_access`].
    pub remote_access: bool,
    /// See [`Config::transactions_max`].
    pub transactions_max: usize,
}

/// Bounds of registrations (RFC 3261 §10.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationLimits {
    /// Granted where a client asks for none.
    pub expires_default: Duration,
    /// Less is answered with 423.
    pub expires_min: Duration,
    /// More is cut to this.
    pub expires_max: Duration,
    /// Bindings a user may have at once; more are refused with 403.
    pub bindings_per_user_max: usize,
}

/// Who is challenged when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationPolicy {
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
    /// On connections: TCP, TLS, WebSocket.
    pub connections: Challenge,
    /// On datagrams, whose source address can be forged.
    pub datagrams: Challenge,
    /// The HTTPS URI of the sign-in over the web, which gives out tokens: a client whose token signs nobody in any more is told of it
    /// (RFC 8898 §4). Tokens are taken without it, too.
    pub token_server: Option<String>,
}

/// When a user's requests are challenged. REGISTER always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Every request outside of a dialog.
    EveryRequest,
    /// None on a flow on which the same user has signed in before, while a registration of that flow is in force.
    OncePerFlow,
}

/// Bounds of messaging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagingLimits {
    /// How long the sender waits for a device to take a message before it gets 202.
    pub answer_within: Duration,
    /// How long a message is kept, and a resend recognised.
    pub retention: Duration,
    /// Messages that may wait for one user; more are refused with 480.
    pub waiting_per_user_max: u64,
}

/// Who sees how much of whom where nobody said otherwise, and how soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresencePolicy {
    /// What people see of somebody whose rules do not speak of them.
    pub levels: Defaults,
    /// Changes of a person within this time after one that was told are told together.
    pub window: Duration,
    /// Changes of the members of a list within this time after a NOTIFY of it are told together.
    pub list_window: Duration,
}

impl Default for PresencePolicy {
    fn default() -> Self {
        PresencePolicy {
            levels: Defaults::default(),
            window: Duration::from_millis(50),
            // In a list of many people nobody misses half a second, and it is told no more than twice a second, however many they are.
            list_window: Duration::from_millis(500),
        }
    }
}

/// Calls: policy and what is kept of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPolicy {
    /// Whether a call that finds the callee in a call is refused as busy; users may choose otherwise.
    pub busy_on_busy: bool,
    /// How long devices ring before a call that nobody answers goes elsewhere; users may choose otherwise.
    pub no_answer_after: Duration,
    /// How long the call log reaches back; zero keeps none.
    pub log_retention: Duration,
}

/// How other organisations are reached. Which of them we talk with is our Access Edge's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationPolicy {
    /// The inside of the Access Edge; without one nobody here talks with other organisations.
    pub route: Option<HostPort>,
    /// What accounts may do that are made from now on.
    pub new_users: Permissions,
    /// Subscriptions that people of one other organisation may have at once.
    pub watchers_of_domain_max: usize,
}

impl Default for FederationPolicy {
    fn default() -> Self {
        FederationPolicy {
            route: None,
            new_users: Permissions::default(),
            // A quarter of the table, so that nobody fills it alone.
            watchers_of_domain_max: 50_000,
        }
    }
}

impl Default for RegistrationLimits {
    fn default() -> Self {
        RegistrationLimits {
            expires_default: Duration::from_secs(3600),
            expires_min: Duration::from_secs(60),
            expires_max: Duration::from_secs(7200),
            bindings_per_user_max: 16,
        }
    }
}

impl Default for AuthenticationPolicy {
    fn default() -> Self {
        AuthenticationPolicy {
            nonce_lifetime: Duration::from_secs(300),
            connections: Challenge::OncePerFlow,
            datagrams: Challenge::EveryRequest,
            token_server: None,
        }
    }
}

impl Default for CallPolicy {
    fn default() -> Self {
        CallPolicy {
            busy_on_busy: false,
            no_answer_after: Duration::from_secs(20),
            log_retention: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Default for MessagingLimits {
    fn default() -> Self {
        MessagingLimits {
            answer_within: Duration::from_secs(8),
            retention: Duration::from_secs(7 * 24 * 3600),
            waiting_per_user_max: 10_000,
        }
    }
}
