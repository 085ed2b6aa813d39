//! The table of partners: `federation.toml` as a model.
//!
//! A [`Policy`] is read as a whole by [`Policy::parse`]: every fault is found in one go, each with its line, its key, the
//! reason and a mend. What was read is right in itself; whether the world agrees with it (DNS, certificates, files) is
//! for others to find out.
//!
//! Whoever is not named is not talked with. A domain stands in one place: it is blocked, or has a road of its own
//! (`[[partner]]`), or a hub speaks for it (`[[clearinghouse]]`, `members`), in this order. No name is a wildcard.

mod date;
pub mod edit;
mod problem;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use node::{Anchors, Expected, PeerHop, Place, Proof, Side, UnixMillis};

pub use date::Date;
pub use problem::{PolicyError, Problem};
pub use read::KEYS;

use crate::modality::Modalities;
use crate::name::{HostPort, Normal};

/// Name of the policy's file, beside the configuration.
pub const FILE_NAME: &str = "federation.toml";
/// Most `[[partner]]` and `[[clearinghouse]]` sections, and most domains in a list. Ten times the largest community that
/// is planned for; a file with more is a mistake, and would hold up its reader.
pub const ENTRIES_MAX: usize = 100_000;
/// Requests a second that a partner may begin, where its entry does not say: a thousand people at work write and call
/// a tenth of this.
pub const RATE_DEFAULT: u32 = 100;
/// The most that `rate` may say: more than one edge can carry.
pub const RATE_MAX: u32 = 100_000;
/// The name that partners are found by, in front of their domain. COMPAT: Office Communications Server 2007 and its
/// successors register it for open federation.
pub const DISCOVERY_SERVICE: &str = "_sipfederationtls._tcp";

/// Whom we talk with, and how. Made by [`Policy::parse`]; the default is nobody.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    local: HashSet<String, FixedState>,
    partners: Vec<Partner>,
    hubs: Vec<Clearinghouse>,
    discovery: Discovery,
    blocked: Vec<String>,
    /// Keys come from the operator; strangers only look names up, so that a fixed seed does no harm.
    by_domain: HashMap<String, Entry, FixedState>,
    by_host: HashMap<String, Vec<Peering>, FixedState>,
    by_pin: HashMap<[u8; 32], Vec<Peering>, FixedState>,
}

/// One domain that the policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Its SIP domain, in lower case.
    pub domain: Arc<str>,
    /// How it is reached.
    pub mode: PartnerMode,
    /// Its own server: in force with [`PartnerMode::Direct`] and [`PartnerMode::Member`]. It may stand in the file with
    /// the other modes too, so that moving a domain from one road to the other is one line.
    pub server: Option<Server>,
    /// What may pass, and how much.
    pub terms: Terms,
    /// The line of its section in the file, from 1.
    pub line: usize,
}

/// See [`Partner::mode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerMode {
    /// Over connections with the partner's own server.
    Direct,
    /// Through the clearinghouse of this name.
    Clearinghouse(Arc<str>),
    /// As a member of the clearinghouse that we are.
    Member,
    /// Not at all.
    Blocked,
}

/// A hub and the domains that it speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearinghouse {
    /// Its host name, in lower case.
    pub name: Arc<str>,
    /// Its server.
    pub server: Server,
    /// Who says which member a request comes from.
    pub vouches: Vouches,
    /// The domains that it may speak for, in lower case, in the order of the file.
    pub members: Vec<Arc<str>>,
    /// What may pass, and how much.
    pub terms: Terms,
    /// The line of its section in the file, from 1.
    pub line: usize,
}

/// See [`Clearinghouse::vouches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouches {
    /// The hub names the member in each request (`Chancery-Member`); From must agree.
    MemberHeader,
    /// A hub of another make: that From is of a listed member must do.
    MemberList,
}

/// A server of another organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is, and what it must prove, in both directions of a connection (RFC 5923 §5).
    pub hop: Arc<PeerHop>,
    /// The file with its anchors, as the policy names it; `None` for those of all partners.
    pub authority_file: Option<String>,
}

/// What a relationship allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What may pass.
    pub modalities: Modalities,
    /// Who may begin something.
    pub allows: Allows,
    /// Requests a second that the partner may begin, from 1.
    pub rate_per_second: u32,
    /// Who answers for the relationship; empty where nobody is named.
    pub owner: String,
    /// Why it exists; empty where nothing is said.
    pub reason: String,
    /// The last day of the relationship, in UTC.
    pub expires: Option<Date>,
}

/// Who may begin something. What was begun goes on in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// Either side.
    Both,
    /// The partner alone.
    Inbound,
    /// We alone.
    Outbound,
}

/// Partners that nobody listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Whether there are any.
    pub enabled: bool,
    /// What may pass.
    pub modalities: Modalities,
    /// Who may begin something.
    pub allows: Allows,
}

impl Default for Discovery {
    fn default() -> Discovery {
        Discovery { enabled: false, modalities: Modalities::ALL, allows: Allows::Both }
    }
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            modalities: Modalities::ALL,
            allows: Allows::Both,
            rate_per_second: RATE_DEFAULT,
            owner: String::new(),
            reason: String::new(),
            expires: None,
        }
    }
}

impl Terms {
    /// Whether the last day has passed.
    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires.is_some_and(|last| now >= last.end())
    }
}

/// What the policy says about a domain: the one place in which it stands.
#[derive(Clone, Copy, Debug)]
pub enum Standing<'a> {
    /// It is one of our own.
    Ours,
    /// On the block list, or with a blocked entry.
    Blocked(Option<&'a Partner>),
    /// By its own server, as a partner or as a member of ours.
    Own(&'a Partner, &'a Server),
    /// Through a hub; with the domain's own entry, if there is one.
    Through(&'a Clearinghouse, Option<&'a Partner>),
    /// Not named.
    Unlisted,
}

/// Where a domain stands, by index: blocked wins over an own entry, and that over a hub's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    BlockList,
    Partner(usize),
    Through { hub: usize, partner: Option<usize> },
}

/// Somebody with a server, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peering {
    Partner(usize),
    Hub(usize),
}

impl Policy {
    /// Reads a policy. `local` are the SIP domains of our own, which no entry may name: a clearinghouse has none.
    pub fn parse(text: &str, local: &[impl AsRef<str>]) -> Result<Policy, PolicyError> {
        read::policy(text, local.iter().map(|domain| domain.as_ref().to_ascii_lowercase()).collect())
    }

    /// Where the domain stands.
    pub fn standing(&self, domain: &str) -> Standing<'_> {
        match Normal::of(domain) {
            Some(domain) => self.standing_of(&domain),
            None => Standing::Unlisted,
        }
    }

    pub(crate) fn standing_of(&self, domain: &Normal) -> Standing<'_> {
        if self.local.contains(domain.as_str()) {
            return Standing::Ours;
        }
        match self.by_domain.get(domain.as_str()) {
            None => Standing::Unlisted,
            Some(Entry::BlockList) => Standing::Blocked(None),
            Some(Entry::Partner(index)) => {
                let partner = &self.partners[*index];
                match &partner.server {
                    Some(server) if partner.mode != PartnerMode::Blocked => Standing::Own(partner, server),
                    _ => Standing::Blocked(Some(partner)),
                }
            }
            Some(Entry::Through { hub, partner }) => {
                Standing::Through(&self.hubs[*hub], partner.map(|index| &self.partners[index]))
            }
        }
    }

    /// The `[[partner]]` entries, in the order of the file.
    pub fn partners(&self) -> &[Partner] {
        &self.partners
    }

    /// The `[[clearinghouse]]` entries, in the order of the file.
    pub fn clearinghouses(&self) -> &[Clearinghouse] {
        &self.hubs
    }

    /// Whether and how unlisted domains are talked with.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The block list, in the order of the file.
    pub fn blocked(&self) -> &[String] {
        &self.blocked
    }

    /// Whether the domain is one of ours.
    pub fn is_local(&self, domain: &str) -> bool {
        Normal::of(domain).is_some_and(|domain| self.local.contains(domain.as_str()))
    }

    /// Whether nobody at all is talked with: worth a line in the log, since nothing else tells the operator.
    pub fn allows_nobody(&self) -> bool {
        let allows = |entry: &Entry| match entry {
            Entry::BlockList => false,
            Entry::Partner(index) => self.partners[*index].mode != PartnerMode::Blocked,
            Entry::Through { .. } => true,
        };
        !self.discovery.enabled && !self.by_domain.values().any(allows)
    }

    /// The files of anchors that the policy names, each with what its anchors are for. Paths are as written.
    pub fn authority_files(&self) -> impl Iterator<Item = (Anchors, &str)> {
        let servers = self.partners.iter().filter_map(|partner| partner.server.as_ref());
        let servers = servers.chain(self.hubs.iter().map(|hub| &hub.server));
        servers.filter_map(|server| {
            Some((server.hop.expected.anchors.clone(), server.authority_file.as_deref()?))
        })
    }

    /// Those whose servers are known by this host name under rule `fqdn`, or by this domain under rule `domain`.
    fn known_by_name(&self, name: &str) -> &[Peering] {
        self.by_host.get(name).map_or(&[], Vec::as_slice)
    }

    /// What may be proved by a certificate, by its names and its digest; each is still to be asked whether it is.
    pub(crate) fn candidates<'a, 'n>(
        &'a self,
        names: impl Iterator<Item = &'n str>,
        sha256: &[u8; 32],
    ) -> (Vec<&'a Partner>, Vec<&'a Clearinghouse>) {
        let mut found: Vec<Peering> = names.flat_map(|name| self.known_by_name(name)).copied().collect();
        found.extend(self.by_pin.get(sha256).into_iter().flatten());
        found.sort_unstable();
        found.dedup();
        let (mut partners, mut hubs) = (Vec::new(), Vec::new());
        for peering in found {
            match peering {
                Peering::Partner(index) => partners.push(&self.partners[index]),
                Peering::Hub(index) => hubs.push(&self.hubs[index]),
            }
        }
        (partners, hubs)
    }

    /// Sorts the entries in by what they are looked up by. Called once, when everything was read and is right.
    fn index(&mut self) {
        for (index, hub) in self.hubs.iter().enumerate() {
            for member in &hub.members {
                self.by_domain.insert(member.to_string(), Entry::Through { hub: index, partner: None });
            }
            let name = name_asked_for(&hub.server);
            note(&mut self.by_host, &mut self.by_pin, name, &hub.server, Peering::Hub(index));
        }
        for (index, partner) in self.partners.iter().enumerate() {
            let through = |name: &Arc<str>| self.hubs.iter().position(|hub| hub.name == *name);
            let entry = match &partner.mode {
                PartnerMode::Clearinghouse(name) => Entry::Through {
                    hub: through(name).expect("the reader refuses unknown hubs"),
                    partner: Some(index),
                },
                PartnerMode::Direct | PartnerMode::Member | PartnerMode::Blocked => Entry::Partner(index),
            };
            self.by_domain.insert(partner.domain.to_string(), entry);
            if let (Some(server), PartnerMode::Direct | PartnerMode::Member) =
                (&partner.server, &partner.mode)
            {
                let name = name_asked_for(server);
                note(&mut self.by_host, &mut self.by_pin, name, server, Peering::Partner(index));
            }
        }
        for domain in &self.blocked {
            self.by_domain.insert(domain.clone(), Entry::BlockList);
        }
    }
}

fn name_asked_for(server: &Server) -> &str {
    match &server.hop.expected.proof {
        Proof::Domain(domain) => domain,
        Proof::Host | Proof::Pin(_) => &server.hop.expected.server_name,
    }
}

fn note(
    by_host: &mut HashMap<String, Vec<Peering>, FixedState>,
    by_pin: &mut HashMap<[u8; 32], Vec<Peering>, FixedState>,
    name: &str,
    server: &Server,
    peering: Peering,
) {
    match server.hop.expected.proof {
        Proof::Pin(sha256) => by_pin.entry(sha256).or_default().push(peering),
        Proof::Host | Proof::Domain(_) => by_host.entry(name.to_owned()).or_default().push(peering),
    }
}

/// How a certificate proves a partner or hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It names the host that the policy names.
    Fqdn,
    /// It names the SIP domain (RFC 5922 §7.2).
    Domain,
    /// It is this one, by its SHA-256.
    Pin([u8; 32]),
}

/// The server of `name` (a partner's domain or a hub's host), which is asked for as `server_name`: where it is, and what
/// it must prove. Without a next hop it
/// is looked for in DNS, which the rule `fqdn` cannot do: what DNS says proves nothing.
fn server(
    name: &str,
    server_name: &str,
    next_hop: Option<&HostPort>,
    rule: Rule,
    authority_file: Option<String>,
) -> Server {
    let place = match next_hop {
        Some(HostPort { host, port }) => Place::Host { name: host.clone(), port: *port },
        None => Place::Service(format!("{DISCOVERY_SERVICE}.{name}")),
    };
    let anchors = match authority_file {
        Some(_) => Anchors::Partner(name.to_owned()),
        None => Anchors::Partners,
    };
    let proof = match rule {
        Rule::Fqdn => Proof::Host,
        Rule::Domain => Proof::Domain(name.to_owned()),
        Rule::Pin(sha256) => Proof::Pin(sha256),
    };
    let expected = Expected { server_name: server_name.to_owned(), anchors, proof };
    Server { hop: Arc::new(PeerHop { side: Side::Outside, place, expected }), authority_file }
}

/// The way to a domain that nobody listed: by DNS, and under rule `domain` alone (RFC 5922 §7.3).
pub(crate) fn discovered(domain: &str) -> Arc<PeerHop> {
    server(domain, domain, None, Rule::Domain, None).hop
}
