//! From text to [`Policy`], with every fault on the way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use toml_edit::{Document, Item, Table, TableLike, Value};

use super::{
    Allows, Clearinghouse, Date, Discovery, ENTRIES_MAX, Partner, PartnerMode, Policy, PolicyError, Problem,
    RATE_MAX, Rule, Server, Terms, Vouches, server,
};
use crate::modality::{Modalities, Modality};
use crate::name::{HostPort, TLS_PORT, domain_name, host_name, nearest};

/// Every section of the file with its keys; the top of the file has none.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "partner",
        &[
            "domain",
            "mode",
            "next_hop",
            "via",
            "certificate",
            "authority_file",
            "modalities",
            "direction",
            "rate",
            "owner",
            "reason",
            "expires",
        ],
    ),
    (
        "clearinghouse",
        &[
            "name",
            "next_hop",
            "certificate",
            "authority_file",
            "vouches",
            "members",
            "modalities",
            "direction",
            "rate",
            "owner",
            "reason",
            "expires",
        ],
    ),
    ("discovery", &["enabled", "modalities", "direction"]),
    ("block", &["domains"]),
];
/// The sections that are written `[[name]]` and may stand several times.
const REPEATED: [&str; 2] = ["partner", "clearinghouse"];
/// Longest text about a relationship, in octets: a line or two.
const TEXT_OCTETS_MAX: usize = 1024;

pub(super) fn policy(text: &str, local: HashSet<String, FixedState>) -> Result<Policy, PolicyError> {
    let line_ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect();
    let reader = Reader { line_ends, problems: RefCell::default() };
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            reader.problem(at, "", error.message(), "the file must be TOML 1.0");
            return Err(reader.wrong());
        }
    };
    reader.unknown_sections(document.as_table());
    let mut policy = Policy { local, ..Policy::default() };
    let hubs = reader.sections(document.as_table(), "clearinghouse");
    policy.hubs = hubs.iter().filter_map(clearinghouse).collect();
    let partners = reader.sections(document.as_table(), "partner");
    policy.partners = partners.iter().filter_map(|section| partner(section, &policy.hubs)).collect();
    if let Some(section) = reader.section(document.as_table(), "discovery") {
        policy.discovery = discovery(&section);
    }
    if let Some(section) = reader.section(document.as_table(), "block") {
        policy.blocked = section.domains("domains").into_iter().map(|(domain, _)| domain).collect();
    }
    if reader.problems.borrow().is_empty() {
        one_place_each(&policy, &partners, &hubs);
    }
    if !reader.problems.borrow().is_empty() {
        return Err(reader.wrong());
    }
    policy.index();
    Ok(policy)
}

fn partner(section: &Section<'_>, hubs: &[Clearinghouse]) -> Option<Partner> {
    section.unknown_keys();
    let domain = section.required("domain").then(|| section.domain("domain")).flatten();
    let terms = terms(section);
    let modes = [
        ("direct", "direct"),
        ("clearinghouse", "clearinghouse"),
        ("member", "member"),
        ("blocked", "blocked"),
    ];
    let mode = section.choice("mode", &modes).unwrap_or("direct");
    let next_hop = section.next_hop("next_hop");
    let rule = section.rule("certificate");
    let authority_file = section.text("authority_file").filter(|file| !file.is_empty());
    let via = section.text("via").and_then(|name| section.hub("via", &name, hubs));
    let domain = domain?;
    let mode = match mode {
        "direct" => PartnerMode::Direct,
        "member" => PartnerMode::Member,
        "blocked" => PartnerMode::Blocked,
        _ => PartnerMode::Clearinghouse(match via {
            Some(via) => via,
            None => section.only_hub(&domain, hubs)?,
        }),
    };
    let needs_server = matches!(mode, PartnerMode::Direct | PartnerMode::Member);
    if needs_server && next_hop.is_none() && !section.has("next_hop") && rule == Rule::Fqdn {
        section.problem::<()>(
            section.key_at("mode"),
            "next_hop",
            format!("is missing: the rule \"fqdn\" asks for the name of the server of {domain}"),
            "name the partner's edge and port, such as \"edge.fabrikam.example:5061\", or write certificate = \"domain\"",
        );
    }
    let has_server = needs_server || next_hop.is_some();
    let server_name = next_hop.as_ref().map_or(domain.as_str(), |hop| &hop.host);
    let server = has_server.then(|| server(&domain, server_name, next_hop.as_ref(), rule, authority_file));
    Some(Partner { domain: domain.into(), mode, server, terms, line: section.line() })
}

fn clearinghouse(section: &Section<'_>) -> Option<Clearinghouse> {
    section.unknown_keys();
    let name = section.required("name").then(|| section.domain("name")).flatten();
    let members = section.domains("members").into_iter().map(|(domain, _)| Arc::from(domain)).collect();
    let vouches = [("member-header", Vouches::MemberHeader), ("member-list", Vouches::MemberList)];
    let vouches = section.choice("vouches", &vouches).unwrap_or(Vouches::MemberHeader);
    let (next_hop, rule) = (section.next_hop("next_hop"), section.rule("certificate"));
    let authority_file = section.text("authority_file").filter(|file| !file.is_empty());
    let terms = terms(section);
    let name = name?;
    let next_hop = next_hop.unwrap_or(HostPort { host: name.clone(), port: TLS_PORT });
    let server: Server = server(&name, &name, Some(&next_hop), rule, authority_file);
    Some(Clearinghouse { name: name.into(), server, vouches, members, terms, line: section.line() })
}

fn terms(section: &Section<'_>) -> Terms {
    let default = Terms::default();
    Terms {
        modalities: section.modalities().unwrap_or(default.modalities),
        allows: section.direction().unwrap_or(default.allows),
        rate_per_second: section.rate().unwrap_or(default.rate_per_second),
        owner: section.text("owner").unwrap_or_default(),
        reason: section.text("reason").unwrap_or_default(),
        expires: section.date("expires"),
    }
}

fn discovery(section: &Section<'_>) -> Discovery {
    section.unknown_keys();
    let default = Discovery::default();
    Discovery {
        enabled: section.bool("enabled").unwrap_or(default.enabled),
        modalities: section.modalities().unwrap_or(default.modalities),
        allows: section.direction().unwrap_or(default.allows),
    }
}

/// One domain, one road: two entries that both seem to decide are the operator's mistake, and are not guessed at.
fn one_place_each(policy: &Policy, partners: &[Section<'_>], hubs: &[Section<'_>]) {
    let mut own: BTreeMap<&str, usize> = BTreeMap::new();
    for (partner, section) in policy.partners.iter().zip(partners) {
        section.not_ours("domain", section.key_at("domain"), &partner.domain, policy);
        if let Some(line) = own.insert(&partner.domain, partner.line) {
            let reason = format!("{} stands in line {line} already", partner.domain);
            section.problem::<()>(
                section.key_at("domain"),
                "domain",
                reason,
                "keep one [[partner]] for each domain",
            );
        }
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut spoken_for: BTreeMap<&str, &str> = BTreeMap::new();
    for (hub, section) in policy.hubs.iter().zip(hubs) {
        if let Some(line) = names.insert(&hub.name, hub.line) {
            let reason = format!("{} stands in line {line} already", hub.name);
            section.problem::<()>(
                section.key_at("name"),
                "name",
                reason,
                "keep one [[clearinghouse]] for each hub",
            );
        }
        for (member, (_, at)) in hub.members.iter().zip(section.strings("members")) {
            section.not_ours("members", at.clone(), member, policy);
            let other = spoken_for.insert(member, &hub.name);
            if let Some(other) = other.filter(|_| !own.contains_key(&**member)) {
                section.problem::<()>(
                    at,
                    "members",
                    format!("{other} speaks for {member} too"),
                    "list it with one hub, or add a [[partner]] that says which: mode = \"clearinghouse\", via = \"…\"",
                );
            }
        }
        // Anchors are kept by name: those of a partner and of a hub of the same name would be one.
        let partner = policy.partners.iter().find(|partner| partner.domain == hub.name);
        let files =
            (partner.and_then(|p| p.server.as_ref()?.authority_file.as_ref()), &hub.server.authority_file);
        if let (Some(one), Some(other)) = files
            && one != other
        {
            let reason = format!("the partner {} has other anchors, {one:?}", hub.name);
            let mend = "name the same file in both, or put both CAs into it";
            section.problem::<()>(section.key_at("authority_file"), "authority_file", reason, mend);
        }
    }
}

struct Reader {
    line_ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl Reader {
    fn problem(&self, at: Range<usize>, key: &str, reason: impl Into<String>, mend: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            line: self.line(at.start),
            key: key.to_owned(),
            reason: reason.into(),
            mend: mend.into(),
        });
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    fn wrong(&self) -> PolicyError {
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| problem.line);
        PolicyError(problems)
    }

    fn unknown_sections(&self, root: &Table) {
        for (name, item) in root.iter() {
            if KEYS.iter().any(|(section, _)| *section == name) {
                continue;
            }
            let at = root.key(name).and_then(|key| key.span()).or(item.span()).unwrap_or(0..0);
            let home =
                KEYS.iter().find(|(_, keys)| keys.contains(&name)).map(|(section, _)| bracketed(section));
            let sections = KEYS.iter().map(|(section, _)| *section);
            let mend = match (nearest(name, sections), home) {
                (Some(near), _) => format!("did you mean {}?", bracketed(near)),
                (None, Some(home)) => format!("`{name}` belongs in {home}"),
                (None, None) => {
                    "the sections are [[partner]], [[clearinghouse]], [discovery] and [block]".to_owned()
                }
            };
            self.problem(at, name, "there is no such section", mend);
        }
    }

    fn section<'r>(&'r self, root: &'r Table, name: &'static str) -> Option<Section<'r>> {
        let item = root.get(name)?;
        match item.as_table_like() {
            Some(table) => Some(Section { reader: self, name, table, at: item.span().unwrap_or(0..0) }),
            None => {
                let mend = format!("write a line [{name}] and its keys below it");
                self.problem(item.span().unwrap_or(0..0), name, "must be a section, once", mend);
                None
            }
        }
    }

    fn sections<'r>(&'r self, root: &'r Table, name: &'static str) -> Vec<Section<'r>> {
        let Some(item) = root.get(name) else { return Vec::new() };
        let at = item.span().unwrap_or(0..0);
        let tables: Option<Vec<(&dyn TableLike, Range<usize>)>> = match item {
            Item::ArrayOfTables(tables) => {
                Some(tables.iter().map(|t| (t as &dyn TableLike, t.span().unwrap_or(at.clone()))).collect())
            }
            Item::Value(Value::Array(array)) => array
                .iter()
                .map(|value| {
                    let table = value.as_inline_table()?;
                    Some((table as &dyn TableLike, table.span().unwrap_or(at.clone())))
                })
                .collect(),
            Item::None | Item::Value(_) | Item::Table(_) => None,
        };
        match tables {
            Some(tables) if tables.len() <= ENTRIES_MAX => {
                tables.into_iter().map(|(table, at)| Section { reader: self, name, table, at }).collect()
            }
            Some(tables) => {
                let reason = format!("{} are more than {ENTRIES_MAX}", tables.len());
                self.problem(at, name, reason, "divide them among several edges");
                Vec::new()
            }
            None => {
                let mend = format!("write [[{name}]], with two brackets, before each one");
                self.problem(at, name, "must be a list of sections", mend);
                Vec::new()
            }
        }
    }
}

fn bracketed(section: &str) -> String {
    match REPEATED.contains(&section) {
        true => format!("[[{section}]]"),
        false => format!("[{section}]"),
    }
}

/// One section of the file.
struct Section<'a> {
    reader: &'a Reader,
    name: &'static str,
    table: &'a dyn TableLike,
    at: Range<usize>,
}

impl<'a> Section<'a> {
    /// Notes a problem; always `None`, for use at the end of a chain.
    fn problem<T>(
        &self,
        at: Range<usize>,
        key: &str,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) -> Option<T> {
        self.reader.problem(at, &format!("{}.{key}", self.name), reason, mend);
        None
    }

    fn unknown_keys(&self) {
        let (_, known) =
            KEYS.iter().find(|(section, _)| *section == self.name).expect("a section of the table");
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(key)) {
            let elsewhere =
                KEYS.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| bracketed(section));
            let mend = match (nearest(key, known.iter().copied()), elsewhere) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(section)) => format!("`{key}` belongs in {section}"),
                (None, None) => format!("known here: {}", known.join(", ")),
            };
            self.problem::<()>(self.key_at(key), key, "there is no such key", mend);
        }
    }

    fn line(&self) -> usize {
        self.reader.line(self.at.start)
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key's value stands, or the section.
    fn key_at(&self, key: &str) -> Range<usize> {
        self.table.get(key).and_then(Item::span).unwrap_or(self.at.clone())
    }

    fn required(&self, key: &str) -> bool {
        if !self.has(key) {
            let example = if key == "name" { "hub.trade.example" } else { "fabrikam.example" };
            self.problem::<()>(self.at.clone(), key, "is missing", format!("add {key} = \"{example}\""));
        }
        self.has(key)
    }

    fn wrong_type<T>(&self, key: &str, item: &str, at: Range<usize>, wanted: &str) -> Option<T> {
        self.problem(at, key, format!("must be {wanted}, not a value of type {item}"), "")
    }

    fn string(&self, key: &str) -> Option<(&'a str, Range<usize>)> {
        let item = self.table.get(key)?;
        match item.as_str() {
            Some(text) => Some((text, self.key_at(key))),
            None => self.wrong_type(key, item.type_name(), self.key_at(key), "a string in quotes"),
        }
    }

    fn strings(&self, key: &str) -> Vec<(&'a str, Range<usize>)> {
        let Some(item) = self.table.get(key) else { return Vec::new() };
        let wanted = "a list of strings, such as [\"a\", \"b\"]";
        let Some(array) = item.as_array() else {
            self.wrong_type::<()>(key, item.type_name(), self.key_at(key), wanted);
            return Vec::new();
        };
        if array.len() > ENTRIES_MAX {
            let reason = format!("{} are more than {ENTRIES_MAX}", array.len());
            self.problem::<()>(self.key_at(key), key, reason, "");
            return Vec::new();
        }
        let strings = array.iter().filter_map(|value| {
            let at = value.span().unwrap_or(self.key_at(key));
            match value.as_str() {
                Some(text) => Some((text, at)),
                None => self.wrong_type(key, value.type_name(), at, wanted),
            }
        });
        strings.collect()
    }

    fn text(&self, key: &str) -> Option<String> {
        let (text, at) = self.string(key)?;
        if text.len() > TEXT_OCTETS_MAX || text.chars().any(char::is_control) {
            let reason = format!("must be one line of at most {TEXT_OCTETS_MAX} octets");
            return self.problem(at, key, reason, "");
        }
        Some(text.to_owned())
    }

    fn as_domain(&self, key: &str, text: &str, at: Range<usize>) -> Option<String> {
        let mend = match text {
            _ if text.contains('*') => "there are no wildcards: name each domain",
            _ if text.contains('@') => "write the part behind @ alone",
            _ => "write a name such as \"fabrikam.example\", in ASCII",
        };
        match domain_name(text) {
            Some(domain) => Some(domain),
            None => self.problem(at, key, format!("{text:?} is no domain name"), mend),
        }
    }

    fn domain(&self, key: &str) -> Option<String> {
        let (text, at) = self.string(key)?;
        self.as_domain(key, text, at)
    }

    /// Domains of a list, each once.
    fn domains(&self, key: &str) -> Vec<(String, Range<usize>)> {
        let mut seen: HashSet<String, FixedState> = HashSet::default();
        let domains = self.strings(key).into_iter().filter_map(|(text, at)| {
            let domain = self.as_domain(key, text, at.clone())?;
            match seen.insert(domain.clone()) {
                true => Some((domain, at)),
                false => {
                    self.problem(at, key, format!("{domain} stands here twice"), "name each domain once")
                }
            }
        });
        domains.collect()
    }

    fn not_ours(&self, key: &str, at: Range<usize>, domain: &str, policy: &Policy) {
        if policy.is_local(domain) {
            let reason = format!("{domain} is a domain of this organisation");
            self.problem::<()>(at, key, reason, "nobody else can speak for it: remove it");
        }
    }

    fn next_hop(&self, key: &str) -> Option<HostPort> {
        let (text, at) = self.string(key)?;
        let mend = match host_name(text) {
            Some(_) if text.contains(':') => {
                "write an IPv6 address in brackets, then the port: \"[2001:db8::1]:5061\""
            }
            _ => "write a host and a port, such as \"edge.fabrikam.example:5061\"",
        };
        match text.parse() {
            Ok(next_hop) => Some(next_hop),
            Err(_) => self.problem(at, key, format!("{text:?} is no host with a port"), mend),
        }
    }

    fn rule(&self, key: &str) -> Rule {
        let Some((text, at)) = self.string(key) else { return Rule::Fqdn };
        if let Some(digits) = text.strip_prefix("sha256:") {
            // As programs print it: with colons, in either case.
            let digits: String = digits.chars().filter(|c| *c != ':').collect();
            let mut sha256 = [0; 32];
            return match hex::decode_to_slice(&digits, &mut sha256) {
                Ok(()) => Rule::Pin(sha256),
                Err(_) => {
                    let reason = "the pin is not 64 hexadecimal digits";
                    let mend = "`chancery ca show FILE` and `openssl x509 -fingerprint -sha256` print it";
                    self.problem(at, key, reason, mend).unwrap_or(Rule::Fqdn)
                }
            };
        }
        match text {
            "fqdn" => Rule::Fqdn,
            "domain" => Rule::Domain,
            _ => {
                let mend = match nearest(text, ["fqdn", "domain"]) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => {
                        "\"fqdn\": the certificate names the next hop; \"domain\": it names the SIP domain"
                            .to_owned()
                    }
                };
                let reason = format!("{text:?} is none of \"fqdn\", \"domain\", \"sha256:<64 hex digits>\"");
                self.problem(at, key, reason, mend).unwrap_or(Rule::Fqdn)
            }
        }
    }

    fn choice<T: Copy>(&self, key: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let (text, at) = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        self.none_of(key, text, at, choices.iter().map(|(name, _)| *name))
    }

    fn none_of<T>(
        &self,
        key: &str,
        text: &str,
        at: Range<usize>,
        choices: impl Iterator<Item = &'static str> + Clone,
    ) -> Option<T> {
        let names: Vec<String> = choices.clone().map(|name| format!("{name:?}")).collect();
        let mend = match nearest(text, choices) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("choose {}", names.join(", ")),
        };
        self.problem(at, key, format!("{text:?} is none of {}", names.join(", ")), mend)
    }

    fn modalities(&self) -> Option<Modalities> {
        if !self.has("modalities") {
            return None;
        }
        let strings = self.strings("modalities");
        let known = strings.into_iter().filter_map(|(text, at)| match Modality::from_name(text) {
            Some(modality) => Some(modality),
            None => self.none_of("modalities", text, at, Modality::ALL.into_iter().map(Modality::name)),
        });
        Some(known.collect())
    }

    fn direction(&self) -> Option<Allows> {
        self.choice(
            "direction",
            &[("both", Allows::Both), ("in", Allows::Inbound), ("out", Allows::Outbound)],
        )
    }

    fn rate(&self) -> Option<u32> {
        let item = self.table.get("rate")?;
        let at = self.key_at("rate");
        let Some(number) = item.as_integer() else {
            return self.wrong_type("rate", item.type_name(), at, "a whole number without quotes");
        };
        match u32::try_from(number) {
            Ok(rate) if (1..=RATE_MAX).contains(&rate) => Some(rate),
            Ok(_) | Err(_) => {
                let mend = "requests a second; to stop a partner altogether write mode = \"blocked\"";
                self.problem(at, "rate", format!("{number} is not from 1 to {RATE_MAX}"), mend)
            }
        }
    }

    fn bool(&self, key: &str) -> Option<bool> {
        let item = self.table.get(key)?;
        match item.as_bool() {
            Some(value) => Some(value),
            None => self.wrong_type(key, item.type_name(), self.key_at(key), "true or false, without quotes"),
        }
    }

    fn date(&self, key: &str) -> Option<Date> {
        let item = self.table.get(key)?;
        let mend = "the last day, in UTC, without quotes and without a time: 2027-01-31";
        let date = item.as_datetime().filter(|d| d.time.is_none()).and_then(|d| d.date);
        match date.and_then(|date| Date::new(date.year, date.month, date.day)) {
            Some(date) => Some(date),
            None => self.problem(self.key_at(key), key, "is no date from 1970 to 9999", mend),
        }
    }

    /// The hub of this name.
    fn hub(&self, key: &str, name: &str, hubs: &[Clearinghouse]) -> Option<Arc<str>> {
        if let Some(hub) = host_name(name).and_then(|name| hubs.iter().find(|hub| *hub.name == *name)) {
            return Some(hub.name.clone());
        }
        let names = || hubs.iter().map(|hub| &*hub.name);
        let mend = match (nearest(name, names()), hubs.is_empty()) {
            (Some(near), _) => format!("did you mean {near:?}?"),
            (None, true) => "add a section [[clearinghouse]] of that name".to_owned(),
            (None, false) => format!("choose one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.problem(self.key_at(key), key, format!("there is no clearinghouse {name:?}"), mend)
    }

    /// The hub that is meant where none is named: the one that lists the domain, or the only one there is.
    fn only_hub(&self, domain: &str, hubs: &[Clearinghouse]) -> Option<Arc<str>> {
        let mut lists = hubs.iter().filter(|hub| hub.members.iter().any(|member| **member == *domain));
        match (lists.next(), lists.next(), hubs) {
            (Some(hub), None, _) => Some(hub.name.clone()),
            (None, _, [hub]) => Some(hub.name.clone()),
            // A wrong `via` was reported where it stands.
            _ if self.has("via") => None,
            _ => {
                let mend = "name a [[clearinghouse]]: via = \"hub.trade.example\"";
                self.problem(
                    self.key_at("mode"),
                    "via",
                    format!("through which hub {domain} is reached is not said"),
                    mend,
                )
            }
        }
    }
}
