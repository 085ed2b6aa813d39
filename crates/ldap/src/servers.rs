//! Which server is asked: those of a list, or those that DNS knows (RFC 2782), and what is remembered of them.
//!
//! Who worked last is asked first, so that what a server counts for itself (USNs, stamps) stays of use. Who failed is asked last for a
//! while, which doubles with each failure; when nobody else is left it is asked all the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use directory_source::{Preference, ServerKind};
use net::Resolver;
use node::{Answers, Question, Srv};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::account::{Account, Refused};
use crate::connection::{Connection, Security, Times, within};
use crate::error::Error;
use crate::tls::Authority;

/// For one question to DNS.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// For finding a server that can be used, all in all.
const LOCATE_TIME: Duration = Duration::from_secs(45);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Servers that are remembered or tried. A domain of a thousand controllers is asked by sites.
const SERVERS_MAX: usize = 64;
/// How long a server that failed once is asked last.
const PENALTY: Duration = Duration::from_secs(30);
/// Doublings of [`PENALTY`]: 30 s become 16 min.
const PENALTY_DOUBLINGS_MAX: u32 = 5;

/// Where servers are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Servers {
    /// These, in this order.
    Listed(Vec<Server>),
    /// Those that DNS knows of a domain: `_ldap._tcp.dc._msdcs.DOMAIN` of Active Directory, else `_ldap._tcp.DOMAIN`.
    OfDomain {
        /// The domain's DNS name.
        domain: String,
        /// Whether it is one of Active Directory.
        kind: ServerKind,
        /// The site of Active Directory whose servers are asked before those of others.
        site: Option<String>,
    },
}

/// A server by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Server {
    /// Its host name, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Server {
    /// Reads `host`, `host:port` or `[2001:db8::1]:port`.
    pub fn parse(text: &str, security: Security) -> Option<Server> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
            _ => (text, security.default_port()),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty() && port != 0).then(|| Server { host: host.to_ascii_lowercase(), port })
    }
}

/// Finds servers and connects to them. Shared by everybody who asks the same directory.
pub struct Locator {
    servers: Servers,
    security: Security,
    authority: Authority,
    resolver: Resolver,
    times: Times,
    memory: Mutex<Memory>,
    refused: Refused,
}

#[derive(Default)]
struct Memory {
    /// Who worked last.
    favourite: Option<Server>,
    failed: BTreeMap<Server, Penalty>,
}

#[derive(Clone, Copy)]
struct Penalty {
    until: Instant,
    failures: u32,
}

impl Locator {
    /// Asks nobody yet.
    pub fn new(servers: Servers, security: Security, authority: Authority, resolver: Resolver) -> Locator {
        Locator {
            servers,
            security,
            authority,
            resolver,
            times: Times::default(),
            memory: Mutex::default(),
            refused: Refused::default(),
        }
    }

    /// With another patience than the default.
    pub fn with_times(self, times: Times) -> Locator {
        Locator { times, ..self }
    }

    /// An open connection to the first server that can be used; nobody is signed in on it.
    pub async fn connect(&self) -> Result<Connection, Error> {
        self.connect_to_one_of(&Preference::default()).await
    }

    /// The same, with some rather than others.
    pub async fn connect_to_one_of(&self, preference: &Preference) -> Result<Connection, Error> {
        let what = "finding a server that can be used";
        within("directory", what, LOCATE_TIME, self.connect_to_any(preference)).await?
    }

    async fn connect_to_any(&self, preference: &Preference) -> Result<Connection, Error> {
        let servers = self.candidates(preference).await?;
        let tried = servers.len();
        let mut worst = None;
        for server in servers {
            match self.connect_to(&server).await {
                Ok(connection) => {
                    let mut memory = self.memory();
                    memory.favourite = Some(server);
                    return Ok(connection);
                }
                Err(error) => {
                    warn!(server = server.host, %error, "a directory server cannot be used");
                    self.penalise(&server);
                    // That all of them are untrusted is worth more to know than that the last one is.
                    if worst.is_none() || !error.is_distrust() {
                        worst = Some(error);
                    }
                }
            }
        }
        let last = worst.unwrap_or_else(|| Error::NoServers("the list is empty".to_owned()));
        Err(Error::AllFailed { tried, last: Box::new(last) })
    }

    /// Signs in on a connection. Everybody who uses the same account does so here: a password that was wrong is not sent again for a while.
    pub async fn sign_in(&self, account: &Account, connection: &mut Connection) -> Result<(), Error> {
        account.sign_in(connection, &self.refused).await
    }

    /// Forgets that a server failed: it let us in and answered.
    pub fn praise(&self, host: &str) {
        self.memory().failed.retain(|server, _| server.host != host);
    }

    /// Remembers that a server failed later on.
    pub fn blame(&self, host: &str) {
        let favourite = self.memory().favourite.clone();
        if let Some(server) = favourite.filter(|server| server.host == host) {
            self.penalise(&server);
        }
    }

    fn penalise(&self, server: &Server) {
        let mut memory = self.memory();
        if memory.favourite.as_ref() == Some(server) {
            memory.favourite = None;
        }
        let failures = memory.failed.get(server).map_or(0, |penalty| penalty.failures);
        let doublings = failures.min(PENALTY_DOUBLINGS_MAX);
        let penalty =
            Penalty { until: Instant::now() + PENALTY * 2_u32.pow(doublings), failures: failures + 1 };
        memory.failed.insert(server.clone(), penalty);
        // Names that DNS no longer knows must not pile up.
        if memory.failed.len() > SERVERS_MAX {
            let now = Instant::now();
            memory.failed.retain(|_, penalty| penalty.until > now);
        }
    }

    async fn connect_to(&self, server: &Server) -> Result<Connection, Error> {
        let addresses = self.addresses(&server.host).await?;
        let mut last = None;
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(address, server.port);
            match Connection::open(&server.host, address, self.security, &self.authority, self.times).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    debug!(%address, %error, "an address of a directory server fails");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::NoServers(format!("{} has no address", server.host))))
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let question = Question::Addresses(host.to_owned());
        match within(host, "DNS", RESOLVE_TIME, self.resolver.resolve(&question)).await? {
            Ok(Answers::Addresses(addresses)) => Ok(addresses),
            Ok(_) | Err(_) => Err(Error::NoServers(format!("DNS knows no address of {host}"))),
        }
    }

    /// All servers in the order in which they are tried.
    async fn candidates(&self, preference: &Preference) -> Result<Vec<Server>, Error> {
        let mut servers = match &self.servers {
            Servers::Listed(servers) => servers.clone(),
            Servers::OfDomain { domain, kind, site } => {
                self.of_domain(domain, *kind, site.as_deref()).await?
            }
        };
        servers.truncate(SERVERS_MAX);
        let memory = self.memory();
        let now = Instant::now();
        // The sort is stable: beside these two, the order stays.
        servers.sort_by_key(|server| {
            let penalty = memory.failed.get(server).filter(|penalty| penalty.until > now);
            let is_first = preference.first.as_ref() == Some(&server.host);
            let is_favourite = preference.first.is_none() && memory.favourite.as_ref() == Some(server);
            let is_last = preference.last.contains(&server.host);
            (penalty.map(|penalty| penalty.until), is_last, !is_first, !is_favourite)
        });
        Ok(servers)
    }

    async fn of_domain(
        &self,
        domain: &str,
        kind: ServerKind,
        site: Option<&str>,
    ) -> Result<Vec<Server>, Error> {
        let names = names_in_dns(domain, kind, site);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::NoServers(format!("no randomness: {error}")))?;
        let mut random = StdRng::from_seed(seed);
        let mut answers = Vec::new();
        let mut silence = None;
        for name in &names {
            let question = Question::Srv(name.clone());
            match within(domain, "DNS", RESOLVE_TIME, self.resolver.resolve(&question)).await {
                Ok(Ok(Answers::Srv(records))) => answers.push(records),
                Ok(_) => debug!(name, "DNS knows no directory servers by that name"),
                Err(error) => silence = Some(error),
            }
        }
        let servers: Vec<Server> =
            nearest_first(answers, &mut random).iter().map(|record| self.server(record)).collect();
        if servers.is_empty() {
            let none = || Error::NoServers(format!("DNS has no SRV records of {}", names.join(" or ")));
            return Err(silence.unwrap_or_else(none));
        }
        Ok(servers)
    }

    /// The records of directory servers name the port of LDAP without TLS.
    fn server(&self, record: &Srv) -> Server {
        let port = match self.security {
            Security::Ldaps => self.security.default_port(),
            Security::StartTls => record.port,
        };
        Server { host: record.target.to_ascii_lowercase(), port }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        // Nothing in there can be half done.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locator").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// The names of SRV records, the nearest first: a site that has no servers, or that DNS does not know, is no reason to find none.
fn names_in_dns(domain: &str, kind: ServerKind, site: Option<&str>) -> Vec<String> {
    let mut names = Vec::new();
    match kind {
        ServerKind::ActiveDirectory => {
            names.extend(site.map(|site| format!("_ldap._tcp.{site}._sites.dc._msdcs.{domain}")));
            names.push(format!("_ldap._tcp.dc._msdcs.{domain}"));
        }
        ServerKind::Ldap => names.push(format!("_ldap._tcp.{domain}")),
    }
    names
}

/// Each server once, those of earlier answers before those of later ones, whatever their priorities.
fn nearest_first(answers: Vec<Vec<Srv>>, random: &mut impl Rng) -> Vec<Srv> {
    let mut servers: Vec<Srv> = Vec::new();
    for record in answers.into_iter().flat_map(|records| in_order(records, random)) {
        let is_same = |other: &Srv| other.target.eq_ignore_ascii_case(&record.target);
        if !servers.iter().any(is_same) {
            servers.push(record);
        }
    }
    servers
}

/// The order of RFC 2782: by priority, and among equals by chance in proportion to the weights.
fn in_order(mut records: Vec<Srv>, random: &mut impl Rng) -> Vec<Srv> {
    // A single record with the root as its target says that there is no such service.
    records.retain(|record| !record.target.is_empty() && record.target != ".");
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let equals = records.iter().take_while(|record| record.priority == first.priority).count();
        let sum: u32 = records[..equals].iter().map(|record| u32::from(record.weight)).sum();
        let mut chance = random.random_range(0..=sum);
        let chosen = records[..equals].iter().position(|record| {
            let is_it = chance <= u32::from(record.weight);
            chance = chance.saturating_sub(u32::from(record.weight));
            is_it
        });
        ordered.push(records.remove(chosen.expect("chance is at most the sum")));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 389, target: target.to_owned() }
    }

    #[test]
    fn priorities_come_first_and_weights_by_chance() {
        let records = [srv(1, 0, "last"), srv(0, 90, "often"), srv(0, 10, "seldom"), srv(0, 0, "never")];
        let mut firsts = BTreeMap::<String, usize>::new();
        for seed in 0..1000 {
            let ordered = in_order(records.to_vec(), &mut StdRng::seed_from_u64(seed));
            assert_eq!((ordered.len(), ordered[3].target.as_str()), (4, "last"));
            *firsts.entry(ordered[0].target.clone()).or_default() += 1;
        }
        assert!((800..980).contains(&firsts["often"]), "{firsts:?}");
        assert!(firsts.get("never").is_none_or(|times| *times < 40), "{firsts:?}");
        assert_eq!(in_order(vec![srv(0, 0, "")], &mut StdRng::seed_from_u64(1)), []);
    }

    #[test]
    fn servers_of_the_site_come_before_those_of_the_domain() {
        let names = |kind, site| names_in_dns("corp.example", kind, site);
        let everybody = "_ldap._tcp.dc._msdcs.corp.example";
        assert_eq!(
            names(ServerKind::ActiveDirectory, Some("Berlin")),
            ["_ldap._tcp.Berlin._sites.dc._msdcs.corp.example", everybody]
        );
        assert_eq!(names(ServerKind::ActiveDirectory, None), [everybody]);
        assert_eq!(names(ServerKind::Ldap, Some("Berlin")), ["_ldap._tcp.corp.example"]);

        let order = |answers: Vec<Vec<Srv>>| {
            let ordered = nearest_first(answers, &mut StdRng::seed_from_u64(1));
            ordered.into_iter().map(|record| record.target).collect::<Vec<_>>()
        };
        let domain = [srv(0, 0, "dc1"), srv(0, 0, "DC2"), srv(5, 0, "dc3"), srv(9, 0, "dc4")];
        let site = [srv(9, 0, "dc4"), srv(7, 0, "dc2")];
        assert_eq!(order(vec![site.to_vec(), domain.to_vec()]), ["dc2", "dc4", "dc1", "dc3"]);
        assert_eq!(order(vec![Vec::new(), domain[2..].to_vec()]), ["dc3", "dc4"], "nobody is in the site");
        // `.`: there is no such service in the site.
        assert_eq!(order(vec![vec![srv(0, 0, ".")], domain[2..].to_vec()]), ["dc3", "dc4"]);
    }

    #[test]
    fn servers_are_read_with_and_without_port() {
        let server = |text| Server::parse(text, Security::Ldaps).map(|server| (server.host, server.port));
        assert_eq!(server("DC1.corp.example"), Some(("dc1.corp.example".into(), 636)));
        assert_eq!(server("dc1:3269"), Some(("dc1".into(), 3269)));
        assert_eq!(server("[2001:db8::1]:636"), Some(("2001:db8::1".into(), 636)));
        assert_eq!(server("2001:db8::1"), Some(("2001:db8::1".into(), 636)));
        for wrong in ["", "dc1:", "dc1:x", ":636", "dc1:0", "dc1:70000"] {
            assert_eq!(server(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_is_asked_last_for_a_while_and_who_worked_first() {
        let names = ["a", "b", "c"];
        let servers = names.map(|host| Server { host: host.into(), port: 636 });
        let authority = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap();
        let locator = Locator::new(
            Servers::Listed(servers.to_vec()),
            Security::Ldaps,
            Authority::from_pem(authority.cert.pem().as_bytes()).unwrap(),
            Resolver::with_servers(&[]).unwrap(),
        );
        let order = async || {
            let candidates = locator.candidates(&Preference::default()).await.unwrap();
            candidates.into_iter().map(|server| server.host).collect::<String>()
        };
        assert_eq!(order().await, "abc");
        let preferred = async |first: Option<&str>, last: &[&str]| {
            let last = last.iter().map(|host| (*host).to_owned()).collect();
            let preference = Preference { first: first.map(str::to_owned), last };
            let candidates = locator.candidates(&preference).await.unwrap();
            candidates.into_iter().map(|server| server.host).collect::<String>()
        };
        assert_eq!(preferred(Some("c"), &[]).await, "cab");
        assert_eq!(preferred(None, &["a"]).await, "bca");
        assert_eq!(preferred(Some("a"), &["a", "b"]).await, "cab");
        locator.memory().favourite = Some(servers[1].clone());
        assert_eq!(order().await, "bac");
        locator.blame("b");
        assert_eq!(order().await, "acb");
        locator.penalise(&servers[0]);
        assert_eq!(order().await, "cab");
        tokio::time::advance(PENALTY).await;
        assert_eq!(order().await, "abc");
        locator.penalise(&servers[0]);
        tokio::time::advance(PENALTY).await;
        assert_eq!(order().await, "bca", "the second time it is longer");
        locator.praise("a");
        assert_eq!(order().await, "abc");
    }
}
