//! From text to [`Settings`], with every fault on the way.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use directory::DomainName;
use federation::{HostPort, NoHost, ServerRole, TrustedServer};
use frontend::{
    AuthenticationPolicy, CallPolicy, Challenge, MessagingLimits, PresencePolicy, RegistrationLimits,
};
use node::{Side, Transport};
use presence::Level;
use presence::rules::Defaults;
use toml::de::{DeTable, DeValue};

use super::keys::{self, SECTIONS};
use super::{
    AccessEdgeSettings, Asks, CONTROL_SOCKET, ConfigError, DirectorSettings, DnsSettings, FederationSettings,
    ListenerSettings, LogFormat, LogSettings, Problem, ProcessLimits, RemoteAccess, Role, Settings,
    TlsSettings,
};

/// Most listeners: `node::ListenerId` has 16 bits, and no machine needs more sockets than this.
const LISTENERS_MAX: usize = 64;
/// Most domains: they stand in one certificate.
const DOMAINS_MAX: usize = pki::NAMES_MAX;
/// Most servers of ours that are listed: a large organisation has some dozens.
const TRUSTED_SERVERS_MAX: usize = 256;
/// Most DNS servers: resolv.conf has room for 3, and each is waited for in turn.
const DNS_SERVERS_MAX: usize = 8;
/// Where DNS servers listen (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// Longest registration, in seconds: a day. Longer ones would keep a lost phone ringing.
const EXPIRES_SECONDS_MAX: u64 = 86_400;
/// Shortest registration, in seconds; less is a denial of service by configuration.
const EXPIRES_SECONDS_MIN: u64 = 10;
/// How alike a misspelt word and the one that is suggested must be at least (Jaro-Winkler, 1 is the same).
const SIMILARITY_MIN: f64 = 0.85;
/// One wrong, missing or swapped letter is forgiven for each so many.
const LETTERS_PER_SLIP: usize = 3;

pub(super) const SECONDS_PER_DAY: u64 = 24 * 3600;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

pub(super) fn settings(text: &str, file: &Path, folder: &Path) -> Result<Settings, ConfigError> {
    let document = Document { text, file, problems: RefCell::default(), asked: RefCell::default() };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            document.problem(at, "", error.message(), Some("the file must be TOML 1.0"));
            return Err(document.wrong());
        }
    };
    let root = Table { document: &document, section: "", table: Some(root.get_ref()), at: 0..0 };
    document.report_unknown(&root);
    let settings = read(&document, &root, folder);
    if document.problems.borrow().is_empty() {
        Ok(settings.expect("a file without problems has all settings"))
    } else {
        Err(document.wrong())
    }
}

/// The keys that reading a file with every section asks for.
#[cfg(test)]
pub(super) fn keys_asked_for(text: &str) -> BTreeSet<String> {
    let document =
        Document { text, file: Path::new(""), problems: RefCell::default(), asked: RefCell::default() };
    let root = DeTable::parse(text).expect("a test's text is TOML");
    let root = Table { document: &document, section: "", table: Some(root.get_ref()), at: 0..0 };
    read(&document, &root, Path::new("/"));
    document.asked.take()
}

/// `None` only where a problem was noted.
fn read(document: &Document<'_>, root: &Table<'_>, folder: &Path) -> Option<Settings> {
    let domains = domains(root);
    let server = root.table("server");
    let first_domain = domains.first().map_or("", DomainName::as_str);
    let host = server.host("host", first_domain);
    let data_dir = server.path("data_dir", folder).unwrap_or_else(|| folder.join("data"));
    let control_socket =
        server.path("control_socket", folder).unwrap_or_else(|| data_dir.join(CONTROL_SOCKET));
    let aliases = server.strings("aliases").into_iter().filter_map(|(name, at)| {
        is_host(&name).then(|| name.to_ascii_lowercase()).or_else(|| {
            server.problem(at, "aliases", format!("{name:?} is neither a host name nor an address"), None)
        })
    });
    let aliases = aliases.collect();
    let role = role(root);
    let listeners = listeners(document, root, &host, role);
    let http = root.table("http");
    let http_addresses = match http.has("addresses") {
        true => http.strings("addresses").iter().filter_map(|v| http.address("addresses", v)).collect(),
        false => vec![SocketAddr::from(([127, 0, 0, 1], 5090))],
    };
    let https = root.table("https");
    let https_addresses: Vec<SocketAddr> =
        https.strings("listen").iter().filter_map(|v| https.address("listen", v)).collect();
    let web = super::directory::web(&root.table("web"), &host);
    let token_server = (!web.addresses.is_empty()).then(|| web.url.clone());
    let is_secure_on = |side| listeners.iter().any(|l| l.side == side && l.transport.is_secure());
    let serves_https = !https_addresses.is_empty() || !web.addresses.is_empty();
    let tls = tls_files(root, "tls", "server", folder, serves_https || is_secure_on(Side::Inside));
    let tls_outside = tls_files(root, "tls_outside", "outside", folder, true);
    let tls_outside = tls_outside.filter(|_| is_secure_on(Side::Outside));
    let director = director(&root.table("director"), role);
    let access_edge = access_edge(&root.table("access_edge"), folder, &data_dir, role);
    Some(Settings {
        role,
        domains: (!domains.is_empty()).then_some(domains)?,
        host,
        aliases,
        data_dir,
        control_socket,
        listeners: (!listeners.is_empty()).then_some(listeners)?,
        tls,
        tls_outside,
        trusted_servers: trusted_servers(root),
        federation: federation(&root.table("federation"), folder),
        remote_access: remote_access(&root.table("remote_access")),
        director,
        access_edge,
        http_addresses,
        https_addresses,
        address_book: super::directory::address_book(&root.table("address_book"), &web),
        web,
        sign_in: super::directory::sign_in(&root.table("sign_in"), folder),
        directory: super::directory::directory(root, folder, role).map(Box::new),
        numbers: super::directory::numbers(&root.table("numbers")),
        registration: registration(&root.table("registration")),
        authentication: authentication(&root.table("authentication"), token_server),
        messaging: messaging(&root.table("messaging")),
        presence: presence(&root.table("presence")),
        calls: calls(&root.table("calls")),
        limits: limits(&root.table("limits")),
        dns: dns(&root.table("dns")),
        log: log(&root.table("log")),
    })
}

fn domains(root: &Table<'_>) -> Vec<DomainName> {
    let values = root.strings("domains");
    let mut domains: Vec<DomainName> = Vec::new();
    for (text, at) in &values {
        match DomainName::parse(text) {
            Ok(_) if text.parse::<IpAddr>().is_ok() => {
                let mend = "a SIP domain is a name, such as \"contoso.example\"";
                root.problem::<()>(at.clone(), "domains", format!("{text:?} is an IP address"), Some(mend));
            }
            Ok(domain) if domains.contains(&domain) => {
                let mend = "name each domain once";
                root.problem::<()>(at.clone(), "domains", format!("{domain} stands here twice"), Some(mend));
            }
            Ok(domain) => domains.push(domain),
            Err(_) => {
                let mend = "write the part behind @ of the users' addresses, such as \"contoso.example\"";
                root.problem::<()>(at.clone(), "domains", format!("{text:?} is no domain name"), Some(mend));
            }
        }
    }
    if values.is_empty() && !root.has_other_type("domains") {
        let mend = "domains = [\"contoso.example\"], above the first section";
        root.problem::<()>(root.key_at("domains"), "domains", "no SIP domain is given", Some(mend));
    }
    if domains.len() > DOMAINS_MAX {
        let reason = format!("{} domains are more than {DOMAINS_MAX}", domains.len());
        root.problem::<()>(root.key_at("domains"), "domains", reason, None);
    }
    domains
}

fn role(root: &Table<'_>) -> Role {
    let roles = [Role::StandardEdition, Role::Director, Role::AccessEdge, Role::Clearinghouse];
    root.choice("role", &roles.map(|role| (role.name(), role))).unwrap_or(Role::StandardEdition)
}

fn trusted_servers(root: &Table<'_>) -> Vec<TrustedServer> {
    let choices = [
        ("front-end", ServerRole::FrontEnd),
        ("director", ServerRole::Director),
        ("access-edge", ServerRole::AccessEdge),
    ];
    let tables = root.tables("trusted_server");
    if tables.len() > TRUSTED_SERVERS_MAX {
        let reason = format!("{} servers are more than {TRUSTED_SERVERS_MAX}", tables.len());
        root.problem::<()>(root.key_at("trusted_server"), "trusted_server", reason, None);
    }
    let server = |table: &Table<'_>| {
        let host = table.required("host").then(|| table.host("host", "")).filter(|host| !host.is_empty());
        let role = table.required("role").then(|| table.choice("role", &choices)).flatten();
        Some(TrustedServer { host: host?, role: role? })
    };
    tables.iter().filter_map(server).collect()
}

fn federation(table: &Table<'_>, folder: &Path) -> FederationSettings {
    FederationSettings {
        policy_file: table.path("policy_file", folder).unwrap_or_else(|| folder.join("federation.toml")),
        route: table
            .string("route")
            .filter(|(text, _)| !text.is_empty())
            .and_then(|v| table.host_port("route", v)),
        new_users: table.yes_or_no("new_users"),
    }
}

fn remote_access(table: &Table<'_>) -> RemoteAccess {
    RemoteAccess { is_enabled: table.yes_or_no("enabled"), new_users: table.yes_or_no("new_users") }
}

fn director(table: &Table<'_>, role: Role) -> DirectorSettings {
    let modes = [("authenticate", true), ("route", false)];
    let authenticates = table.choice("mode", &modes).unwrap_or(true);
    let front_ends = table.host_ports("front_ends");
    if role == Role::Director && front_ends.is_empty() && !table.has("front_ends") {
        let mend = "front_ends = [\"sip.contoso.example:5061\"] in [director]";
        table.problem::<()>(table.at.clone(), "front_ends", "a director needs a front end", Some(mend));
    }
    DirectorSettings { authenticates, front_ends }
}

fn access_edge(table: &Table<'_>, folder: &Path, data_dir: &Path, role: Role) -> AccessEdgeSettings {
    let next_hops = table.host_ports("next_hops");
    if role == Role::AccessEdge && next_hops.is_empty() && !table.has("next_hops") {
        let mend = "next_hops = [\"director.contoso.example:5061\"] in [access_edge]";
        table.problem::<()>(
            table.at.clone(),
            "next_hops",
            "an access-edge needs a server inside",
            Some(mend),
        );
    }
    let token_key_file = table.path("token_key_file", folder).unwrap_or_else(|| data_dir.join("edge.key"));
    AccessEdgeSettings { next_hops, token_key_file }
}

fn listeners(document: &Document<'_>, root: &Table<'_>, host: &str, role: Role) -> Vec<ListenerSettings> {
    let tables = root.tables("listener");
    if tables.is_empty() && !root.has_other_type("listener") {
        let mend = "add a section: [[listener]] with transport = \"udp\" and address = \"0.0.0.0:5060\"";
        document.problem(root.key_at("listener"), "listener", "there is no listener", Some(mend));
    }
    if tables.len() > LISTENERS_MAX {
        let reason = format!("{} listeners are more than {LISTENERS_MAX}", tables.len());
        document.problem(root.key_at("listener"), "listener", reason, None);
    }
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    // UDP and stream transports have separate ports; among themselves all streams are TCP.
    let mut taken: BTreeMap<(bool, SocketAddr), usize> = BTreeMap::new();
    for table in &tables {
        let choices = [
            ("udp", Transport::Udp),
            ("tcp", Transport::Tcp),
            ("tls", Transport::Tls),
            ("ws", Transport::Ws),
            ("wss", Transport::Wss),
        ];
        let transport = table.required("transport").then(|| table.choice("transport", &choices)).flatten();
        let address = table.required("address").then(|| table.string("address")).flatten();
        let at = address.as_ref().map(|(_, at)| at.clone());
        let address = address.and_then(|value| table.address("address", &value));
        let side = side(table, role);
        let advertised_host = table.host("advertised_host", host);
        let origins = origins(table);
        let asks = [("by-port", Asks::ByPort), ("never", Asks::Never)];
        let asks = table.choice("client_certificates", &asks).unwrap_or_default();
        let (Some(transport), Some(address), Some(at)) = (transport, address, at) else { continue };
        if let Some(line) = taken.insert((transport == Transport::Udp, address), document.line(at.start)) {
            let reason = format!("{address} is taken by the listener of line {line}");
            table.problem::<()>(at, "address", reason, Some("give each listener a port of its own"));
        }
        listeners.push(ListenerSettings { transport, address, side, advertised_host, origins, asks });
    }
    listeners
}

/// A perimeter's listener says which network it faces: a guess would be wrong on the wrong side. A clearinghouse has no
/// inside.
fn side(table: &Table<'_>, role: Role) -> Side {
    let sides = [("inside", Side::Inside), ("outside", Side::Outside)];
    let said = table.choice("side", &sides);
    match (role, said) {
        (Role::AccessEdge, None) if !table.has("side") => {
            let mend = "write side = \"inside\" or side = \"outside\"";
            table.problem::<()>(
                table.at.clone(),
                "side",
                "an access-edge must be told which network it faces",
                Some(mend),
            );
        }
        (Role::Clearinghouse, Some(Side::Inside)) => {
            let mend = "a clearinghouse is reached by its members only, from outside";
            table.problem::<()>(table.key_at("side"), "side", "a clearinghouse has no inside", Some(mend));
        }
        (Role::StandardEdition | Role::Director, Some(Side::Outside)) => {
            let mend = "an access-edge stands between it and the outside";
            let reason = format!("a {} has no outside", role.name());
            table.problem::<()>(table.key_at("side"), "side", reason, Some(mend));
        }
        _ => {}
    }
    said.unwrap_or(if role == Role::Clearinghouse { Side::Outside } else { Side::Inside })
}

/// An origin is scheme, host and port, as browsers send it (RFC 6455 §10.2): a path would never match.
fn origins(table: &Table<'_>) -> Vec<String> {
    let is_origin = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
        })
    };
    let origins = table.strings("origins").into_iter().filter_map(|(text, at)| {
        let mend = "write https:// and the host, without a path: \"https://im.contoso.example\"";
        match is_origin(&text) {
            true => Some(text.to_ascii_lowercase()),
            false => table.problem(at, "origins", format!("{text:?} is no web origin"), Some(mend)),
        }
    });
    origins.collect()
}

/// `stem` names the files where the section does not.
fn tls_files(
    root: &Table<'_>,
    section: &'static str,
    stem: &str,
    folder: &Path,
    is_needed: bool,
) -> Option<TlsSettings> {
    let table = root.table(section);
    let file =
        |key, ending| table.path(key, folder).unwrap_or_else(|| folder.join(format!("{stem}.{ending}")));
    let files = TlsSettings {
        certificate_file: file("certificate_file", "pem"),
        key_file: file("key_file", "key"),
        authority_file: table.path("authority_file", folder),
        revocation_files: table
            .strings("revocation_files")
            .iter()
            .map(|(text, _)| folder.join(text))
            .collect(),
    };
    (table.table.is_some() || is_needed).then_some(files)
}

fn registration(table: &Table<'_>) -> RegistrationLimits {
    let default = RegistrationLimits::default();
    let range = EXPIRES_SECONDS_MIN..=EXPIRES_SECONDS_MAX;
    let seconds = |key, default| table.seconds(key, range.clone(), default);
    let limits = RegistrationLimits {
        expires_default: seconds("expires_default_seconds", default.expires_default),
        expires_min: seconds("expires_min_seconds", default.expires_min),
        expires_max: seconds("expires_max_seconds", default.expires_max),
        bindings_per_user_max: usize::try_from(table.integer(
            "bindings_per_user_max",
            1..=1000,
            default.bindings_per_user_max as u64,
        ))
        .unwrap_or(usize::MAX),
    };
    let order = [
        ("expires_min_seconds", limits.expires_min, "expires_max_seconds", limits.expires_max),
        ("expires_min_seconds", limits.expires_min, "expires_default_seconds", limits.expires_default),
        ("expires_default_seconds", limits.expires_default, "expires_max_seconds", limits.expires_max),
    ];
    for (lower, lower_value, upper, upper_value) in order {
        if lower_value > upper_value {
            // The fault is shown at the key that the file sets; the other may be a default.
            let key = if table.has(lower) { lower } else { upper };
            let reason = format!(
                "{lower} ({}) is more than {upper} ({})",
                lower_value.as_secs(),
                upper_value.as_secs()
            );
            let mend = "they must rise: expires_min_seconds, expires_default_seconds, expires_max_seconds";
            table.problem::<()>(table.key_at(key), key, reason, Some(mend));
            break;
        }
    }
    limits
}

fn authentication(table: &Table<'_>, token_server: Option<String>) -> AuthenticationPolicy {
    let default = AuthenticationPolicy::default();
    let choices = [("every-request", Challenge::EveryRequest), ("once-per-flow", Challenge::OncePerFlow)];
    AuthenticationPolicy {
        nonce_lifetime: table.seconds("nonce_lifetime_seconds", 10..=SECONDS_PER_DAY, default.nonce_lifetime),
        connections: table.choice("connections", &choices).unwrap_or(default.connections),
        datagrams: table.choice("datagrams", &choices).unwrap_or(default.datagrams),
        token_server,
    }
}

fn messaging(table: &Table<'_>) -> MessagingLimits {
    let default = MessagingLimits::default();
    let days = table.integer("retention_days", 1..=365, default.retention.as_secs() / SECONDS_PER_DAY);
    MessagingLimits {
        // RFC 3261 §17.1.2.2: a client gives a request up after 32 seconds.
        answer_within: table.seconds("answer_within_seconds", 1..=30, default.answer_within),
        retention: Duration::from_secs(days * SECONDS_PER_DAY),
        waiting_per_user_max: table.integer(
            "waiting_per_user_max",
            1..=1_000_000,
            default.waiting_per_user_max,
        ),
    }
}

fn presence(table: &Table<'_>) -> PresencePolicy {
    let default = PresencePolicy::default();
    let levels: Vec<(&str, Level)> = Level::ALL.iter().map(|level| (level.name(), *level)).collect();
    let level = |key, default: Level| table.choice(key, &levels).unwrap_or(default);
    // More is no coalescing but lateness.
    let window = |key, default: Duration| {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(table.integer(key, 0..=5000, default))
    };
    PresencePolicy {
        levels: Defaults {
            same_organisation: level("same_organisation_level", default.levels.same_organisation),
            federated: level("federated_level", default.levels.federated),
        },
        window: window("coalesce_milliseconds", default.window),
        list_window: window("list_coalesce_milliseconds", default.list_window),
    }
}

fn calls(table: &Table<'_>) -> CallPolicy {
    let default = CallPolicy::default();
    let days =
        table.integer("log_retention_days", 0..=3650, default.log_retention.as_secs() / SECONDS_PER_DAY);
    CallPolicy {
        busy_on_busy: table
            .choice("busy_on_busy", &[("yes", true), ("no", false)])
            .unwrap_or(default.busy_on_busy),
        no_answer_after: table.seconds("no_answer_after_seconds", 5..=180, default.no_answer_after),
        log_retention: Duration::from_secs(days * SECONDS_PER_DAY),
    }
}

fn dns(table: &Table<'_>) -> DnsSettings {
    let mut hosts = net::Hosts::new();
    for (text, at) in table.strings("hosts") {
        let mut words = text.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let names: Vec<&str> = words.collect();
        match address {
            Some(address)
                if !names.is_empty() && names.iter().all(|name| DomainName::parse(name).is_ok()) =>
            {
                for name in names {
                    hosts.entry(name.to_ascii_lowercase()).or_default().push(address);
                }
            }
            _ => {
                let mend = "write an address and then names: \"10.0.0.5 sip.contoso.example\"";
                table.problem::<()>(at, "hosts", format!("{text:?} is no line of hosts"), Some(mend));
            }
        }
    }
    DnsSettings { servers: dns_servers(table), hosts }
}

fn dns_servers(table: &Table<'_>) -> Vec<SocketAddr> {
    let servers = table.strings("servers");
    if servers.len() > DNS_SERVERS_MAX {
        let reason = format!("{} servers are more than {DNS_SERVERS_MAX}", servers.len());
        table.problem::<()>(table.key_at("servers"), "servers", reason, None);
    }
    let address = |(text, at): (String, Range<usize>)| {
        let with_port = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        with_port.or_else(|_| text.parse()).ok().filter(|address| address.port() != 0).or_else(|| {
            let mend = "write \"10.0.0.53\", or with its port \"10.0.0.53:5353\"";
            table.problem(at, "servers", format!("{text:?} is no address"), Some(mend))
        })
    };
    servers.into_iter().filter_map(address).collect()
}

fn limits(table: &Table<'_>) -> ProcessLimits {
    let default = ProcessLimits::default();
    let connections_max = table.integer("connections_max", 16..=1_000_000, default.connections_max as u64);
    let per_source = u64::from(default.connections_per_source_max);
    let per_source = table.integer("connections_per_source_max", 1..=1_000_000, per_source);
    let transactions_max = table.integer("transactions_max", 16..=1_000_000, default.transactions_max as u64);
    ProcessLimits {
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        connections_per_source_max: u32::try_from(per_source).unwrap_or(u32::MAX),
        transactions_max: usize::try_from(transactions_max).unwrap_or(usize::MAX),
    }
}

fn log(table: &Table<'_>) -> LogSettings {
    let mut level = "info".to_owned();
    if let Some((text, at)) = table.string("level") {
        if text.split(',').all(is_level_directive) {
            level = text;
        } else {
            let mend = match nearest(&text, LEVELS) {
                Some(level) => format!("did you mean {level:?}?"),
                None => format!("one of {}, or a filter such as \"info,net=debug\"", LEVELS.join(", ")),
            };
            table.problem::<()>(at, "level", format!("{text:?} is no log level"), Some(&mend));
        }
    }
    let choices = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    LogSettings { level, format: table.choice("format", &choices).unwrap_or(LogFormat::Text) }
}

/// `level` or `crate=level`. A bare word that is no level would be a crate's name to tracing, and silence the rest.
fn is_level_directive(directive: &str) -> bool {
    let (target, level) = directive.split_once('=').unwrap_or(("all", directive));
    let is_path = target.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
    !target.is_empty() && is_path && LEVELS.contains(&level)
}

/// A host for Via: a DNS name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => DomainName::parse(text).is_ok(),
    }
}

/// The candidate that `word` was probably meant to be: some letters wrong, by their number, or the same beginning.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = |candidate: &str| {
        let slips = strsim::damerau_levenshtein(&word, candidate);
        slips <= candidate.len() / LETTERS_PER_SLIP
            || strsim::jaro_winkler(&word, candidate) >= SIMILARITY_MIN
    };
    let near = candidates.into_iter().filter(|candidate| near(candidate));
    near.min_by_key(|candidate| strsim::damerau_levenshtein(&word, candidate))
}

struct Document<'a> {
    text: &'a str,
    file: &'a Path,
    problems: RefCell<Vec<Problem>>,
    /// Every key that was looked for: the test's view.
    asked: RefCell<BTreeSet<String>>,
}

impl Document<'_> {
    fn problem(&self, at: Range<usize>, key: &str, reason: impl Into<String>, suggestion: Option<&str>) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: self.line(at.start),
            key: key.to_owned(),
            reason: reason.into(),
            suggestion: suggestion.map(str::to_owned),
        });
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
    }

    fn wrong(&self) -> ConfigError {
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| problem.line);
        // A section of the wrong type is met twice: when its keys are listed, and when they are read.
        problems.dedup();
        ConfigError::Wrong(problems)
    }

    fn report_unknown(&self, root: &Table<'_>) {
        root.report_unknown_keys(subsections(""));
        for section in SECTIONS.iter().filter(|s| !s.name.is_empty()) {
            let tables = match section.repeats {
                true => root.tables(section.name),
                false => vec![root.table(section.name)],
            };
            for table in tables {
                table.report_unknown_keys(subsections(section.name));
            }
        }
    }
}

/// The sections within one, by the last part of their names; the whole file has those without a dot.
fn subsections(outer: &'static str) -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().filter_map(move |section| match outer {
        "" => Some(section.name).filter(|name| !name.is_empty() && !name.contains('.')),
        _ => section.name.strip_prefix(outer)?.strip_prefix('.'),
    })
}

/// A section of the file; every look at an absent one finds nothing.
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    section: &'static str,
    table: Option<&'a DeTable<'a>>,
    at: Range<usize>,
}

impl<'a> Table<'a> {
    fn report_unknown_keys(&self, subsections: impl IntoIterator<Item = &'static str>) {
        let own = SECTIONS.iter().filter(|s| s.name == self.section).flat_map(|s| s.keys).map(|k| k.name);
        let known: Vec<&str> = own.chain(subsections).collect();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let elsewhere = SECTIONS.iter().find(|s| s.keys.iter().any(|k| k.name == name));
            let near = nearest(name, known.iter().copied());
            let mend = match (near, elsewhere) {
                // One letter less is a slip, and no section that was forgotten.
                (Some(near), Some(_)) if strsim::damerau_levenshtein(name, near) == 1 => {
                    format!("did you mean `{near}`?")
                }
                (_, Some(section)) if section.name.is_empty() => {
                    format!("`{name}` belongs above the first section")
                }
                (_, Some(section)) if section.repeats => format!("`{name}` belongs in [[{}]]", section.name),
                (_, Some(section)) => format!("`{name}` belongs in [{}]", section.name),
                (Some(near), None) => format!("did you mean `{near}`?"),
                (None, None) => format!("known here: {}", known.join(", ")),
            };
            self.document.problem(
                key.span(),
                &keys::full_name(self.section, name),
                "there is no such key",
                Some(&mend),
            );
        }
    }

    /// Notes a problem; always `None`, for use at the end of a chain.
    pub(super) fn problem<T>(
        &self,
        at: Range<usize>,
        key: &str,
        reason: impl Into<String>,
        suggestion: Option<&str>,
    ) -> Option<T> {
        self.document.problem(at, &keys::full_name(self.section, key), reason, suggestion);
        None
    }

    fn get(&self, key: &str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        self.document.asked.borrow_mut().insert(keys::full_name(self.section, key));
        let value = self.table?.get(key)?;
        Some((value.get_ref(), value.span()))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    /// Whether the key is there with a type that was reported already.
    fn has_other_type(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| !value.get_ref().is_array())
    }

    /// Where the key stands, or its section.
    pub(super) fn key_at(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get_key_value(key)).map_or(self.at.clone(), |(key, _)| key.span())
    }

    fn wrong_type<T>(&self, key: &str, value: &DeValue<'_>, at: Range<usize>, wanted: &str) -> Option<T> {
        self.problem(at, key, format!("must be {wanted}, not a value of type {}", value.type_str()), None)
    }

    fn required(&self, key: &str) -> bool {
        if !self.has(key) {
            self.problem::<()>(self.at.clone(), key, "is missing", None);
        }
        self.has(key)
    }

    pub(super) fn table(&self, section: &'static str) -> Table<'a> {
        let none = || Table { document: self.document, section, table: None, at: 0..0 };
        let (outer, name) = match section.rsplit_once('.') {
            Some((outer, name)) if self.section.is_empty() => (&self.table(outer), name),
            _ => (self, section),
        };
        let Some(value) = outer.table.and_then(|table| table.get(name)) else { return none() };
        match value.get_ref().as_table() {
            Some(table) => Table { table: Some(table), at: value.span(), ..none() },
            None => {
                let mend = format!("write a line [{section}] and the section's keys below it");
                outer.problem::<()>(value.span(), name, "must be a section", Some(&mend));
                none()
            }
        }
    }

    fn tables(&self, section: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.table.and_then(|table| table.get(section)) else { return Vec::new() };
        let mend = format!("write [[{section}]], with two brackets, before each one");
        let Some(array) = value.get_ref().as_array() else {
            self.problem::<()>(value.span(), section, "must be a list of sections", Some(&mend));
            return Vec::new();
        };
        let tables = array.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => {
                Some(Table { document: self.document, section, table: Some(table), at: item.span() })
            }
            None => self.problem(item.span(), section, "must be a list of sections", Some(&mend)),
        });
        tables.collect()
    }

    pub(super) fn string(&self, key: &str) -> Option<(String, Range<usize>)> {
        let (value, at) = self.get(key)?;
        match value.as_str() {
            Some(text) => Some((text.to_owned(), at)),
            None => self.wrong_type(key, value, at, "a string in quotes"),
        }
    }

    pub(super) fn strings(&self, key: &str) -> Vec<(String, Range<usize>)> {
        let Some((value, at)) = self.get(key) else { return Vec::new() };
        let wanted = "a list of strings, such as [\"a\", \"b\"]";
        let Some(array) = value.as_array() else {
            self.wrong_type::<()>(key, value, at, wanted);
            return Vec::new();
        };
        let strings = array.iter().filter_map(|item| match item.get_ref().as_str() {
            Some(text) => Some((text.to_owned(), item.span())),
            None => self.wrong_type(key, item.get_ref(), item.span(), wanted),
        });
        strings.collect()
    }

    /// A list, or one string as a list of one.
    pub(super) fn string_or_strings(&self, key: &str) -> Vec<(String, Range<usize>)> {
        match self.get(key) {
            Some((value, at)) if value.is_str() => {
                value.as_str().map(|text| (text.to_owned(), at)).into_iter().collect()
            }
            _ => self.strings(key),
        }
    }

    /// A list of tables in braces.
    pub(super) fn inline_tables(&self, key: &str) -> Vec<Table<'a>> {
        let Some((value, at)) = self.get(key) else { return Vec::new() };
        let wanted = "a list of tables in braces";
        let Some(array) = value.as_array() else {
            self.wrong_type::<()>(key, value, at, wanted);
            return Vec::new();
        };
        let tables = array.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => Some(Table {
                document: self.document,
                section: self.section,
                table: Some(table),
                at: item.span(),
            }),
            None => self.wrong_type(key, item.get_ref(), item.span(), wanted),
        });
        tables.collect()
    }

    /// A string of a table in braces, which has no keys of the file.
    pub(super) fn plain(&self, key: &str) -> Option<(String, Range<usize>)> {
        let value = self.table?.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some((text.to_owned(), value.span())),
            None => self.wrong_type(key, value.get_ref(), value.span(), "a string in quotes"),
        }
    }

    /// The names of its keys.
    pub(super) fn names(&self) -> Vec<(String, Range<usize>)> {
        let names = self.table.into_iter().flatten();
        names.map(|(key, _)| (key.get_ref().to_string(), key.span())).collect()
    }

    /// Where it stands.
    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// What to write instead of a word that is none of these.
    pub(super) fn nearest_of(&self, word: &str, known: &[&str]) -> String {
        match nearest(word, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known here: {}", known.join(", ")),
        }
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some((value, at)) = self.get(key) else { return default };
        let Some(integer) = value.as_integer() else {
            return self.wrong_type(key, value, at, "a whole number without quotes").unwrap_or(default);
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                let reason = format!("{} is not from {} to {}", integer.as_str(), range.start(), range.end());
                let mend = format!("the default is {default}");
                self.problem(at, key, reason, Some(&mend)).unwrap_or(default)
            }
        }
    }

    pub(super) fn seconds(&self, key: &str, range: RangeInclusive<u64>, default: Duration) -> Duration {
        Duration::from_secs(self.integer(key, range, default.as_secs()))
    }

    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let (text, at) = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let mend = match nearest(&text, choices.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("choose {}", names.join(", ")),
        };
        self.problem(at, key, format!("{text:?} is none of {}", names.join(", ")), Some(&mend))
    }

    /// A path, absolute or counted from `folder`; `None` where it is absent or empty.
    pub(super) fn path(&self, key: &str, folder: &Path) -> Option<PathBuf> {
        let (text, _) = self.string(key)?;
        (!text.is_empty()).then(|| folder.join(text))
    }

    /// `"yes"`, which is the default, or `"no"`.
    pub(super) fn yes_or_no(&self, key: &str) -> bool {
        self.choice(key, &[("yes", true), ("no", false)]).unwrap_or(true)
    }

    fn host_ports(&self, key: &str) -> Vec<HostPort> {
        self.strings(key).into_iter().filter_map(|value| self.host_port(key, value)).collect()
    }

    fn host_port(&self, key: &str, (text, at): (String, Range<usize>)) -> Option<HostPort> {
        match text.parse() {
            Ok(server) => Some(server),
            Err(NoHost) => {
                let mend = "write its host name and port, such as \"edge.contoso.example:5061\"";
                self.problem(at, key, format!("{text:?} is no server"), Some(mend))
            }
        }
    }

    fn host(&self, key: &str, default: &str) -> String {
        match self.string(key) {
            Some((text, at)) if !text.is_empty() && !is_host(&text) => {
                let mend = match text.parse::<std::net::Ipv6Addr>() {
                    Ok(address) => format!("write an IPv6 address in brackets: \"[{address}]\""),
                    Err(_) => "write a name such as \"sip.contoso.example\", without port".to_owned(),
                };
                let reason = format!("{text:?} is neither a host name nor an address");
                self.problem(at, key, reason, Some(&mend)).unwrap_or_default()
            }
            Some((text, _)) if !text.is_empty() => text.to_ascii_lowercase(),
            Some(_) | None => default.to_owned(),
        }
    }

    pub(super) fn address(&self, key: &str, (text, at): &(String, Range<usize>)) -> Option<SocketAddr> {
        let example = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => format!("add the port: \"{ip}:5060\""),
            Ok(IpAddr::V6(ip)) => format!("add brackets and the port: \"[{ip}]:5060\""),
            Err(_) => "write address and port, such as \"0.0.0.0:5060\" or \"[::]:5060\"".to_owned(),
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                let reason = format!("{text:?} has no port that clients could find");
                self.problem(at.clone(), key, reason, Some("write the port, such as 5060"))
            }
            Ok(address) => Some(address),
            Err(_) => {
                self.problem(at.clone(), key, format!("{text:?} is no address with a port"), Some(&example))
            }
        }
    }
}
