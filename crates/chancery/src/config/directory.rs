//! The organisation's directory, the sign-in and the address book in the configuration: types, and how they are read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use address_book::{Attribute, BookSettings, Visibility};
use directory::numbers::{NumberRules, NumberSettings, RuleSettings, SettingsError};
use directory::{DomainName, ObjectKind};
use directory_source::Dn;
use federation::ServerRole;
use serde::de::IntoDeserializer;

use super::Role;
use super::directory_keys::ATTRIBUTES;
use super::read::{SECONDS_PER_DAY, Table, is_host};

/// Reads nothing for what has a default.
const NOTHING: &str = "-";
/// Most servers of the directory that are tried in turn: a large domain lists its nearest.
const SERVERS_MAX: usize = 32;
/// Most octets of a site's name: it is a label of DNS names (RFC 1035 §2.3.4).
const SITE_OCTETS_MAX: usize = 63;
/// Most attributes that may say one thing.
const ALTERNATIVES_MAX: usize = 16;

/// See `[directory]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DirectorySettings {
    pub(crate) kind: DirectoryKind,
    pub(crate) places: DirectoryPlaces,
    pub(crate) security: DirectorySecurity,
    pub(crate) authority_file: PathBuf,
    pub(crate) account: DirectoryAccount,
    pub(crate) base: Option<Dn>,
    pub(crate) rooms: Vec<Dn>,
    pub(crate) equipment: Vec<Dn>,
    pub(crate) poll: Duration,
    pub(crate) full_read: Duration,
    pub(crate) removal_percent: u8,
    pub(crate) removal_users: usize,
    pub(crate) keep_deleted: Duration,
    pub(crate) mail_as_sip: bool,
    pub(crate) keep_old_addresses: bool,
    /// By key of `[directory.attributes]`; what is not there has its default. An empty list reads none.
    pub(crate) attributes: Vec<(&'static str, Vec<String>)>,
    pub(crate) groups: DirectoryGroups,
}

impl DirectorySettings {
    pub(crate) fn is_active_directory(&self) -> bool {
        self.kind == DirectoryKind::ActiveDirectory
    }
}

/// What kind of directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryKind {
    ActiveDirectory,
    Ldap,
}

/// Where its servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryPlaces {
    /// Those of a DNS domain, by SRV records; those of a site of it first.
    Domain(DomainName, Option<String>),
    /// Tried in this order; never empty. The domain is known where it was given too.
    Servers(Vec<DirectoryServer>, Option<DomainName>),
}

/// A server of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryServer {
    /// IPv6 in brackets.
    pub(crate) host: String,
    /// Where it is not 636, or 389 for StartTLS.
    pub(crate) port: Option<u16>,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectorySecurity {
    Ldaps,
    StartTls,
}

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryAccount {
    pub(crate) name: String,
    pub(crate) proof: DirectoryProof,
}

/// How the reader proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryProof {
    PasswordFile(PathBuf),
    KeytabFile(PathBuf),
}

/// See `[directory.groups]`; distinguished names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryGroups {
    pub(crate) enabled: Option<Dn>,
    pub(crate) federation: Option<Dn>,
    pub(crate) remote_access: Option<Dn>,
    pub(crate) calls: Option<Dn>,
    pub(crate) administrators: Option<Dn>,
    pub(crate) servers: Vec<(ServerRole, Dn)>,
}

/// See `[sign_in]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignInSettings {
    pub(crate) token: Duration,
    pub(crate) token_renewable: Duration,
    /// Zero makes none.
    pub(crate) certificate: Duration,
    pub(crate) app_passwords: bool,
    pub(crate) keytab_file: Option<PathBuf>,
    pub(crate) wrong_passwords_max: u32,
    pub(crate) wrong_passwords_window: Duration,
}

/// See `[web]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebSettings {
    /// May be empty.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Without a slash at its end; empty where nothing is served.
    pub(crate) url: String,
}

/// `None` where there is no directory, or a problem was noted.
pub(super) fn directory(root: &Table<'_>, folder: &Path, role: Role) -> Option<DirectorySettings> {
    let table = root.table("directory");
    let kinds = [
        ("none", None),
        ("active-directory", Some(DirectoryKind::ActiveDirectory)),
        ("ldap", Some(DirectoryKind::Ldap)),
    ];
    let kind = table.choice("kind", &kinds).flatten();
    let security = [("ldaps", DirectorySecurity::Ldaps), ("starttls", DirectorySecurity::StartTls)];
    // All keys are read, so that what is wrong is said even where it does not count yet.
    let domain = text(&table, "domain").and_then(|(text, at)| match DomainName::parse(&text) {
        Ok(domain) => Some(domain),
        Err(_) => table.problem(at, "domain", format!("{text:?} is no domain name"), None),
    });
    let servers = servers(&table);
    let site = site(&table, kind, servers.is_empty());
    let account = text(&table, "account").map(|(name, _)| name);
    let password_file = table.path("password_file", folder);
    let keytab_file = table.path("keytab_file", folder);
    let security = table.choice("security", &security).unwrap_or(DirectorySecurity::Ldaps);
    let authority_file = table.path("authority_file", folder);
    let base = text(&table, "base").and_then(|value| name(&table, "base", value));
    let names = |key| table.strings(key).into_iter().filter_map(|value| name(&table, key, value)).collect();
    let (rooms, equipment) = (names("rooms"), names("equipment"));
    let poll = table.seconds("poll_seconds", 1..=3600, Duration::from_secs(2));
    let full_read = Duration::from_secs(3600 * table.integer("full_read_hours", 1..=720, 24));
    let removal_percent = u8::try_from(table.integer("removal_percent", 0..=100, 10)).unwrap_or(u8::MAX);
    let removal_users =
        usize::try_from(table.integer("removal_users", 0..=1_000_000, 20)).unwrap_or(usize::MAX);
    let keep_deleted = days(&table, "keep_deleted_days", 0..=3650, 30);
    let mail_as_sip = table.choice("mail_as_sip", &[("yes", true), ("no", false)]).unwrap_or(false);
    let keep_old_addresses = table.yes_or_no("keep_old_addresses");
    let attributes = attributes(&root.table("directory.attributes"));
    let groups = groups(&root.table("directory.groups"));
    let kind = kind?;
    if role != Role::StandardEdition {
        let mend = "a standard-edition follows the directory, and tells the others";
        let reason = format!("a {} has no users", role.name());
        return table.problem(table.key_at("kind"), "kind", reason, Some(mend));
    }
    let places = match (servers.is_empty(), domain) {
        (false, domain) => Some(DirectoryPlaces::Servers(servers, domain)),
        (true, Some(domain)) => Some(DirectoryPlaces::Domain(domain, site)),
        (true, None) if table.has("domain") || table.has("servers") => None,
        (true, None) => {
            let mend = "domain = \"corp.contoso.example\", or servers = [\"dc1.corp.contoso.example\"]";
            table.problem(table.at(), "domain", "the directory's servers are not told", Some(mend))
        }
    };
    let account = account.or_else(|| {
        let mend = "account = \"svc-chancery@corp.contoso.example\", with password_file or keytab_file";
        table.problem(table.at(), "account", "nobody is named who reads the directory", Some(mend))
    });
    let authority_file = authority_file.or_else(|| {
        let mend = "authority_file = \"directory-ca.pem\": the CA that issued the servers' certificates";
        table.problem(
            table.at(),
            "authority_file",
            "nothing says whose certificates are believed",
            Some(mend),
        )
    });
    let proof = match (password_file, keytab_file) {
        (Some(file), None) => Some(DirectoryProof::PasswordFile(file)),
        (None, Some(file)) => Some(DirectoryProof::KeytabFile(file)),
        (None, None) => {
            let mend = "password_file = \"directory.password\", or keytab_file = \"directory.keytab\"";
            table.problem(table.at(), "password_file", "the account has no password", Some(mend))
        }
        (Some(_), Some(_)) => {
            let mend = "keep one of the two";
            let at = table.key_at("keytab_file");
            table.problem(at, "keytab_file", "the account has a password_file already", Some(mend))
        }
    };
    Some(DirectorySettings {
        kind,
        places: places?,
        security,
        authority_file: authority_file?,
        account: DirectoryAccount { name: account?, proof: proof? },
        base,
        rooms,
        equipment,
        poll,
        full_read,
        removal_percent,
        removal_users,
        keep_deleted,
        mail_as_sip,
        keep_old_addresses,
        attributes,
        groups,
    })
}

/// The rules, and what they were made of: rules cannot be compared.
pub(super) fn numbers(table: &Table<'_>) -> NumberSettings {
    let digits = |key| text(table, key).map(|(digits, _)| digits);
    let trunk_prefix = table.string("trunk_prefix").map(|(text, _)| text).filter(|text| text != "none");
    let prefixes: Vec<String> =
        table.strings("international_prefixes").into_iter().map(|(prefix, _)| prefix).collect();
    let settings = NumberSettings {
        country_code: digits("country_code"),
        area_code: digits("area_code"),
        trunk_prefix,
        international_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        rules: rules(table),
    };
    if let Err(error) = NumberRules::new(&settings) {
        let key = match &error {
            SettingsError::NotDigits { setting, .. } | SettingsError::NeedsCountryCode(setting) => setting,
            SettingsError::NotACountryCode(_) => "country_code",
            SettingsError::TooManyRules(_) | SettingsError::BadPattern { .. } => "rules",
        };
        table.problem::<()>(table.key_at(key), key, error.to_string(), None);
    }
    settings
}

fn rules(table: &Table<'_>) -> Vec<RuleSettings> {
    let rule = |rule: &Table<'_>| {
        for (key, at) in rule.names() {
            if !["match", "to", "name"].contains(&key.as_str()) {
                let mend = "a rule has match, to and name";
                rule.problem::<()>(at, "rules", format!("a rule has no `{key}`"), Some(mend));
            }
        }
        let of = |key: &str| rule.plain(key).map(|(text, _)| text);
        let (Some(pattern), Some(to)) = (of("match"), of("to")) else {
            let mend = "write { match = \"...\", to = \"+49...\" }";
            return rule.problem(rule.at(), "rules", "a rule needs match and to", Some(mend));
        };
        Some(RuleSettings { name: of("name").unwrap_or_default(), pattern, to })
    };
    table.inline_tables("rules").iter().filter_map(rule).collect()
}

pub(super) fn address_book(table: &Table<'_>, web: &WebSettings) -> BookSettings {
    let default = BookSettings::default();
    let kinds: Vec<ObjectKind> = table
        .strings("kinds")
        .into_iter()
        .filter_map(|(word, at)| {
            let mend = "there are person, contact, group, room, equipment and server";
            word_of(&word)
                .or_else(|| table.problem(at, "kinds", format!("{word:?} is no kind of entry"), Some(mend)))
        })
        .collect();
    let mut visible = BTreeMap::new();
    let lists = [
        ("everyone", Visibility::Everyone),
        ("administrators", Visibility::Administrators),
        ("nobody", Visibility::Nobody),
    ];
    for (key, visibility) in lists {
        for (word, at) in table.strings(key) {
            let Some(attribute) = word_of::<Attribute>(&word) else {
                let known: Vec<&str> =
                    ATTRIBUTES.keys.iter().map(|key| key.name).chain(["address"]).collect();
                let mend = table.nearest_of(&word, &known);
                let reason = format!("{word:?} is nothing that the address book shows");
                table.problem::<()>(at, key, reason, Some(&mend));
                continue;
            };
            if visible.insert(attribute, visibility).is_some() {
                table.problem::<()>(at, key, format!("{word} stands here twice"), Some("name it once"));
            }
        }
    }
    let members_max = table.integer("members_max", 0..=1_000_000, default.members_max as u64);
    BookSettings {
        keep_days: u16::try_from(table.integer("keep_days", 1..=365, default.keep_days.into()))
            .unwrap_or(u16::MAX),
        kinds: if table.has("kinds") { kinds } else { default.kinds },
        visible,
        members_max: usize::try_from(members_max).unwrap_or(usize::MAX),
        public_url: (!web.url.is_empty()).then(|| web.url.clone()),
        carddav: table.yes_or_no("carddav"),
    }
}

/// What a word of the configuration names, as its type spells it.
fn word_of<'de, T: serde::Deserialize<'de>>(word: &'de str) -> Option<T> {
    let word: serde::de::value::StrDeserializer<'de, serde::de::value::Error> = word.into_deserializer();
    T::deserialize(word).ok()
}

pub(super) fn sign_in(table: &Table<'_>, folder: &Path) -> SignInSettings {
    let minutes = |key, range, default| Duration::from_secs(60 * table.integer(key, range, default));
    SignInSettings {
        token: minutes("token_minutes", 5..=1440, 60),
        token_renewable: Duration::from_secs(3600 * table.integer("token_renewable_hours", 1..=720, 8)),
        certificate: days(table, "certificate_days", 0..=365, 30),
        app_passwords: table.yes_or_no("app_passwords"),
        keytab_file: table.path("keytab_file", folder),
        wrong_passwords_max: u32::try_from(table.integer("wrong_passwords_max", 1..=100, 3))
            .unwrap_or(u32::MAX),
        wrong_passwords_window: minutes("wrong_passwords_minutes", 1..=1440, 30),
    }
}

pub(super) fn web(table: &Table<'_>, host: &str) -> WebSettings {
    let addresses: Vec<SocketAddr> =
        table.strings("listen").iter().filter_map(|value| table.address("listen", value)).collect();
    let url = text(table, "url").and_then(|(url, at)| {
        let url = url.trim_end_matches('/').to_owned();
        let rest =
            url.strip_prefix("https://").filter(|rest| !rest.is_empty() && !rest.contains(['?', '#', ' ']));
        if rest.is_none() {
            let mend = "write https:// and the host, such as \"https://sip.contoso.example\"";
            return table.problem(at, "url", format!("{url:?} is no address of a web site"), Some(mend));
        }
        Some(url)
    });
    let url = url.unwrap_or_else(|| match addresses.first().map(SocketAddr::port) {
        None => String::new(),
        Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    });
    WebSettings { addresses, url }
}

fn servers(table: &Table<'_>) -> Vec<DirectoryServer> {
    let servers = table.strings("servers");
    if servers.len() > SERVERS_MAX {
        let reason = format!("{} servers are more than {SERVERS_MAX}", servers.len());
        table.problem::<()>(table.key_at("servers"), "servers", reason, None);
    }
    let server = |(text, at): (String, Range<usize>)| {
        let server = parse_server(&text);
        if server.is_none() {
            let mend =
                "write a host, such as \"dc1.corp.contoso.example\", with its port behind a colon if need be";
            table.problem::<()>(at, "servers", format!("{text:?} is no server"), Some(mend));
        }
        server
    };
    servers.into_iter().filter_map(server).collect()
}

/// A site, where it counts.
fn site(table: &Table<'_>, kind: Option<DirectoryKind>, is_by_domain: bool) -> Option<String> {
    let (site, at) = text(table, "site")?;
    let is_label = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if site.len() > SITE_OCTETS_MAX || !site.bytes().all(is_label) {
        let mend = "write its name as Active Directory has it, such as \"Default-First-Site-Name\"";
        return table.problem(at, "site", format!("{site:?} is no site"), Some(mend));
    }
    if !is_by_domain {
        let mend = "leave out servers, or the site: list the nearest server first";
        return table.problem(at, "site", "servers are listed: no others are looked for", Some(mend));
    }
    if kind == Some(DirectoryKind::Ldap) {
        return table.problem(at, "site", "only Active Directory has sites", Some("leave it out"));
    }
    Some(site)
}

fn parse_server(text: &str) -> Option<DirectoryServer> {
    let is_bare_v6 = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => {
            (host.to_owned(), Some(port.parse().ok().filter(|port| *port != 0)?))
        }
        _ if is_bare_v6 => (format!("[{text}]"), None),
        _ => (text.to_owned(), None),
    };
    is_host(&host).then(|| DirectoryServer { host: host.to_ascii_lowercase(), port })
}

fn attributes(table: &Table<'_>) -> Vec<(&'static str, Vec<String>)> {
    let mut attributes = Vec::new();
    for key in ATTRIBUTES.keys {
        let values = table.string_or_strings(key.name);
        if values.len() > ALTERNATIVES_MAX {
            let reason = format!("{} attributes are more than {ALTERNATIVES_MAX}", values.len());
            table.problem::<()>(table.key_at(key.name), key.name, reason, None);
        }
        let mut names = Vec::new();
        let mut is_said = false;
        for (name, at) in values {
            // Names have letters, digits and hyphens; object identifiers have dots.
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            match name.as_str() {
                "" => {}
                NOTHING => is_said = true,
                _ if is_name => names.push(name),
                _ => {
                    let mend = "write the attribute's name, such as \"telephoneNumber\"";
                    table.problem::<()>(at, key.name, format!("{name:?} is no attribute"), Some(mend));
                }
            }
        }
        if is_said || !names.is_empty() {
            attributes.push((key.name, names));
        }
    }
    attributes
}

fn groups(table: &Table<'_>) -> DirectoryGroups {
    let group = |key| text(table, key).and_then(|value| name(table, key, value));
    let servers = [
        ("access_edges", ServerRole::AccessEdge),
        ("directors", ServerRole::Director),
        ("front_ends", ServerRole::FrontEnd),
    ];
    DirectoryGroups {
        enabled: group("enabled"),
        federation: group("federation"),
        remote_access: group("remote_access"),
        calls: group("calls"),
        administrators: group("administrators"),
        servers: servers.into_iter().filter_map(|(key, role)| Some((role, group(key)?))).collect(),
    }
}

/// A distinguished name (RFC 4514).
fn name(table: &Table<'_>, key: &str, (text, at): (String, Range<usize>)) -> Option<Dn> {
    Dn::parse(&text).ok().filter(|name| !name.as_str().is_empty()).or_else(|| {
        let mend = "write it whole, such as \"CN=Chancery,OU=Groups,DC=corp,DC=contoso,DC=example\"";
        table.problem(at, key, format!("{text:?} is no distinguished name"), Some(mend))
    })
}

/// A string that says something.
fn text(table: &Table<'_>, key: &str) -> Option<(String, Range<usize>)> {
    table.string(key).filter(|(text, _)| !text.is_empty())
}

fn days(table: &Table<'_>, key: &str, range: std::ops::RangeInclusive<u64>, default: u64) -> Duration {
    Duration::from_secs(SECONDS_PER_DAY * table.integer(key, range, default))
}
