//! The configuration file: what it may say ([`keys`]), how it is read ([`read`]) and how a new one is written
//! ([`template`]).
//!
//! A file is read as a whole: every fault is found in one go, each with its line, its key, the reason and a mend.
//! Whatever [`Settings::load`] returns is right in itself; whether the world agrees with it (files, ports,
//! certificates) is for `chancery check` and `chancery serve` to find out.

mod directory;
mod directory_keys;
mod keys;
mod problem;
mod read;
mod template;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::address_book::BookSettings;
use ::directory::numbers::NumberSettings;
use ::directory::{DomainName, Permissions};
use federation::{HostPort, TrustedServer};
use frontend::{
    AuthenticationPolicy, CallPolicy, FederationPolicy, MessagingLimits, PresencePolicy, RegistrationLimits,
};
use node::{Side, Transport};

pub(crate) use directory::{
    DirectoryKind, DirectoryPlaces, DirectoryProof, DirectorySecurity, DirectoryServer, DirectorySettings,
    SignInSettings, WebSettings,
};
pub(crate) use problem::{ConfigError, Problem};
pub(crate) use template::{Filling, template};

/// Name of the configuration file in its folder.
pub(crate) const FILE_NAME: &str = "chancery.toml";
/// Where a packaged server has its configuration.
pub(crate) const SYSTEM_FILE: &str = "/etc/chancery/chancery.toml";
/// Name of the control socket in the data folder, unless configured otherwise.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

/// Everything that the configuration file says, checked, with defaults filled in and paths made absolute (relative
/// ones count from the file's folder).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    /// SIP domains; never empty.
    pub(crate) domains: Vec<DomainName>,
    /// The host that peers are shown.
    pub(crate) host: String,
    /// Further names of this server.
    pub(crate) aliases: Vec<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) control_socket: PathBuf,
    /// Never empty.
    pub(crate) listeners: Vec<ListenerSettings>,
    /// Present where a listener speaks TLS, or HTTPS is served.
    pub(crate) tls: Option<TlsSettings>,
    /// Present where a listener faces outside.
    pub(crate) tls_outside: Option<TlsSettings>,
    /// Our other servers.
    pub(crate) trusted_servers: Vec<TrustedServer>,
    pub(crate) federation: FederationSettings,
    pub(crate) remote_access: RemoteAccess,
    pub(crate) director: DirectorSettings,
    pub(crate) access_edge: AccessEdgeSettings,
    /// Where metrics and health are served; may be empty.
    pub(crate) http_addresses: Vec<SocketAddr>,
    /// Where clients are served over HTTPS; may be empty.
    pub(crate) https_addresses: Vec<SocketAddr>,
    /// Sign-in and address book.
    pub(crate) web: WebSettings,
    pub(crate) sign_in: SignInSettings,
    /// Where accounts follow one.
    pub(crate) directory: Option<Box<DirectorySettings>>,
    /// Checked.
    pub(crate) numbers: NumberSettings,
    pub(crate) address_book: BookSettings,
    pub(crate) registration: RegistrationLimits,
    pub(crate) authentication: AuthenticationPolicy,
    pub(crate) messaging: MessagingLimits,
    pub(crate) presence: PresencePolicy,
    pub(crate) calls: CallPolicy,
    pub(crate) limits: ProcessLimits,
    pub(crate) dns: DnsSettings,
    pub(crate) log: LogSettings,
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    StandardEdition,
    Director,
    AccessEdge,
    Clearinghouse,
}

impl Role {
    /// As the configuration writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::StandardEdition => "standard-edition",
            Role::Director => "director",
            Role::AccessEdge => "access-edge",
            Role::Clearinghouse => "clearinghouse",
        }
    }
}

/// Other organisations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FederationSettings {
    pub(crate) policy_file: PathBuf,
    /// The access-edge.
    pub(crate) route: Option<HostPort>,
    /// Whether new users may talk with other organisations.
    pub(crate) new_users: bool,
}

/// Our users outside of our network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteAccess {
    pub(crate) is_enabled: bool,
    /// Whether new users may sign in from outside.
    pub(crate) new_users: bool,
}

/// See the section `[director]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DirectorSettings {
    pub(crate) authenticates: bool,
    pub(crate) front_ends: Vec<HostPort>,
}

/// See the section `[access_edge]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessEdgeSettings {
    pub(crate) next_hops: Vec<HostPort>,
    pub(crate) token_key_file: PathBuf,
}

/// A socket to listen on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSettings {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
    /// IPv6 in brackets.
    pub(crate) advertised_host: String,
    /// Web sites whose pages may open WebSockets; empty for all.
    pub(crate) origins: Vec<String>,
    pub(crate) asks: Asks,
}

/// Whether a listener of TLS asks for a client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Where servers may come, but not on the port of HTTPS.
    #[default]
    ByPort,
    Never,
}

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DnsSettings {
    /// Empty for those of the system.
    pub(crate) servers: Vec<SocketAddr>,
    /// Answered ahead of DNS.
    pub(crate) hosts: net::Hosts,
}

/// Budgets of the process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProcessLimits {
    pub(crate) connections_max: usize,
    pub(crate) connections_per_source_max: u32,
    pub(crate) transactions_max: usize,
}

impl Default for ProcessLimits {
    fn default() -> ProcessLimits {
        ProcessLimits {
            connections_max: net::CONNECTIONS_MAX,
            connections_per_source_max: net::CONNECTIONS_PER_SOURCE_MAX,
            transactions_max: frontend::TRANSACTIONS_MAX,
        }
    }
}

/// Where the certificate stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsSettings {
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
    /// The CAs that other servers' certificates must lead to.
    pub(crate) authority_file: Option<PathBuf>,
    /// Revocation lists of these CAs.
    pub(crate) revocation_files: Vec<PathBuf>,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogSettings {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// The shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// What a front end is told of other organisations, and of new users.
    pub(crate) fn federation_policy(&self) -> FederationPolicy {
        FederationPolicy {
            route: self.federation.route.clone(),
            new_users: Permissions {
                federation: self.federation.new_users,
                remote_access: self.remote_access.new_users,
                calls: true,
            },
            ..FederationPolicy::default()
        }
    }

    /// Reads and checks a file.
    pub(crate) fn load(file: &Path) -> Result<Settings, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })?;
        let absolute = std::path::absolute(file)
            .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        Settings::parse(&text, file, folder)
    }

    /// Reads and checks a text; `file` is what problems name, `folder` what relative paths count from.
    pub(crate) fn parse(text: &str, file: &Path, folder: &Path) -> Result<Settings, ConfigError> {
        read::settings(text, file, folder)
    }

    /// What a running server can take over from `new` and what is not the same there, by section; the certificate's
    /// files stand for themselves.
    pub(crate) fn changed_at_run_time(&self, new: &Settings) -> Vec<&'static str> {
        let authority = |tls: &Option<TlsSettings>| tls.as_ref().map(|tls| tls.authority_file.clone());
        let revocation = |tls: &Option<TlsSettings>| tls.as_ref().map(|tls| tls.revocation_files.clone());
        let (inside, outside) = ((&self.tls, &new.tls), (&self.tls_outside, &new.tls_outside));
        let sections = [
            ("[tls] authority_file", authority(inside.0) == authority(inside.1)),
            ("[tls] revocation_files", revocation(inside.0) == revocation(inside.1)),
            ("[tls_outside] authority_file", authority(outside.0) == authority(outside.1)),
            ("[tls_outside] revocation_files", revocation(outside.0) == revocation(outside.1)),
            ("[registration]", self.registration == new.registration),
            ("[authentication]", self.authentication == new.authentication),
            ("[messaging]", self.messaging == new.messaging),
            ("[presence]", self.presence == new.presence),
            ("[calls]", self.calls == new.calls),
            ("[sign_in]", self.sign_in == new.sign_in),
            ("[directory]", self.directory == new.directory || !self.follows_directory(new)),
            ("[numbers]", self.numbers == new.numbers),
            ("[address_book]", self.address_book == new.address_book),
            ("[remote_access]", self.remote_access == new.remote_access),
            ("[dns]", self.dns == new.dns),
            ("[limits]", self.limits == new.limits),
            ("[log] level", self.log.level == new.log.level),
            ("[federation]", !self.takes_over_federation() || same_route(self, new)),
            ("[[trusted_server]]", !self.takes_over_servers() || self.trusted_servers == new.trusted_servers),
            (
                "[access_edge] next_hops",
                !self.takes_over_servers() || self.access_edge.next_hops == new.access_edge.next_hops,
            ),
        ];
        sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// Takes over from `new` what [`Settings::changed_at_run_time`] names.
    pub(crate) fn take_over(&mut self, new: Settings) {
        let follows = self.follows_directory(&new);
        self.tls = new.tls;
        self.tls_outside = new.tls_outside;
        self.registration = new.registration;
        self.authentication = new.authentication;
        self.messaging = new.messaging;
        self.presence = new.presence;
        self.calls = new.calls;
        self.dns = new.dns;
        self.sign_in = new.sign_in;
        self.directory = if follows { new.directory } else { self.directory.take() };
        self.numbers = new.numbers;
        self.address_book = new.address_book;
        self.limits = new.limits;
        self.log.level = new.log.level;
        self.remote_access = new.remote_access;
        if self.takes_over_federation() {
            self.federation.route = new.federation.route;
            self.federation.new_users = new.federation.new_users;
        }
        if self.takes_over_servers() {
            self.trusted_servers = new.trusted_servers;
            self.access_edge.next_hops = new.access_edge.next_hops;
        }
    }

    /// Whether what a running server follows is another directory, or another part of it, but a directory all the same: its
    /// thread is there.
    fn follows_directory(&self, new: &Settings) -> bool {
        self.directory.is_some() && new.directory.is_some()
    }

    /// A Director is made with its route, and where it is policy that counts there is none.
    fn takes_over_federation(&self) -> bool {
        self.role == Role::StandardEdition
    }

    /// Whether another list of servers can be had without a restart.
    fn takes_over_servers(&self) -> bool {
        matches!(self.role, Role::AccessEdge | Role::Clearinghouse)
    }

    /// What a running server cannot take over from `new`, by section.
    pub(crate) fn restart_needed_for(&self, new: &Settings) -> Vec<&'static str> {
        let mut sections = Vec::new();
        let mut compare = |name, same: bool| {
            if !same {
                sections.push(name);
            }
        };
        compare("domains", self.domains == new.domains);
        compare("role", self.role == new.role);
        let server =
            |s: &Settings| (s.host.clone(), s.aliases.clone(), s.data_dir.clone(), s.control_socket.clone());
        compare("[server]", server(self) == server(new));
        compare("[[listener]]", self.listeners == new.listeners);
        let servers = self.trusted_servers == new.trusted_servers;
        compare("[[trusted_server]]", servers || self.takes_over_servers());
        compare("[federation] route", same_route(self, new) || self.takes_over_federation());
        compare("[federation] policy_file", self.federation.policy_file == new.federation.policy_file);
        compare("[director]", self.director == new.director);
        let keys = |s: &Settings| s.access_edge.token_key_file.clone();
        compare("[access_edge] token_key_file", keys(self) == keys(new));
        compare("[http]", self.http_addresses == new.http_addresses);
        compare("[https]", self.https_addresses == new.https_addresses);
        compare("[web]", self.web == new.web);
        compare("[directory]", self.directory == new.directory || self.follows_directory(new));
        compare("[log] format", self.log.format == new.log.format);
        sections
    }
}

/// Whether other organisations are reached, and reached by new users, as before.
fn same_route(old: &Settings, new: &Settings) -> bool {
    let of = |s: &Settings| (s.federation.route.clone(), s.federation.new_users);
    of(old) == of(new)
}

/// The keys of `[directory.attributes]`, for the test that holds them against who reads them.
#[cfg(test)]
pub(crate) fn directory_attribute_keys() -> impl Iterator<Item = &'static str> {
    directory_keys::ATTRIBUTES.keys.iter().map(|key| key.name)
}

#[cfg(test)]
mod tests;
