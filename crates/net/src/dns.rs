//! DNS for a node's questions (RFC 3263 §4): hickory-resolver, with its cache and `/etc/hosts`, and hosts of our own
//! ahead of both: a machine in the perimeter network often reaches no DNS server that knows the inner names.
//!
//! What this is not: the order in which servers are tried (RFC 3263 §4.3, RFC 2782) is the node's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use node::{Answers, Naptr, Question, ResolveError, Srv};

/// Answers kept in the cache: the servers of some thousand partner domains, three questions each.
const CACHE_ENTRIES: u64 = 8192;
/// Records taken from one answer: more servers than anybody would be tried on within a transaction's life.
const RECORDS_MAX: usize = 64;

/// A resolver. Cloning it shares its cache.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    hosts: Arc<Hosts>,
}

/// Addresses of hosts by name, in lower case, which are not asked of DNS.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

impl Resolver {
    /// With the servers and search rules of `/etc/resolv.conf`.
    pub fn from_system() -> Result<Resolver, ResolverError> {
        let mut builder = TokioResolver::builder_tokio()?;
        configure(builder.options_mut());
        Ok(Resolver { inner: builder.build()?, hosts: Arc::default() })
    }

    /// With these servers only, over UDP and TCP.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Resolver, ResolverError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        configure(builder.options_mut());
        Ok(Resolver { inner: builder.build()?, hosts: Arc::default() })
    }

    /// Answers for these hosts itself, ahead of DNS.
    pub fn with_hosts(mut self, hosts: Hosts) -> Resolver {
        self.hosts = Arc::new(hosts);
        self
    }

    /// Asks. The answer's variant fits the question.
    pub async fn resolve(&self, question: &Question) -> Result<Answers, ResolveError> {
        match question {
            Question::Addresses(host) => {
                if let Some(addresses) = self.known(host) {
                    return Ok(Answers::Addresses(addresses.clone()));
                }
                let answer = self.inner.lookup_ip(absolute(host).as_str()).await.map_err(|e| failure(&e))?;
                let addresses: Vec<_> = answer.iter().take(RECORDS_MAX).collect();
                non_empty(addresses).map(Answers::Addresses)
            }
            Question::Srv(name) => {
                let answer = self.inner.srv_lookup(absolute(name).as_str()).await.map_err(|e| failure(&e))?;
                let records = answer.answers().iter().filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: host(&srv.target),
                    }),
                    _ => None,
                });
                non_empty(records.take(RECORDS_MAX).collect()).map(Answers::Srv)
            }
            Question::Naptr(domain) => {
                use hickory_resolver::proto::rr::RecordType;
                let answer = self.inner.lookup(absolute(domain).as_str(), RecordType::NAPTR).await;
                let answer = answer.map_err(|e| failure(&e))?;
                let records = answer.answers().iter().filter_map(|record| match &record.data {
                    RData::NAPTR(naptr) => Some(Naptr {
                        order: naptr.order,
                        preference: naptr.preference,
                        flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                        service: String::from_utf8_lossy(&naptr.services).into_owned(),
                        replacement: host(&naptr.replacement),
                    }),
                    _ => None,
                });
                non_empty(records.take(RECORDS_MAX).collect()).map(Answers::Naptr)
            }
        }
    }

    fn known(&self, host: &str) -> Option<&Vec<IpAddr>> {
        if self.hosts.is_empty() {
            return None;
        }
        self.hosts.get(&host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Why a resolver could not be made: the system's configuration cannot be read or is wrong.
#[derive(Debug, thiserror::Error)]
#[error("DNS is not configured: {0}")]
pub struct ResolverError(#[from] NetError);

fn configure(options: &mut ResolverOpts) {
    options.cache_size = CACHE_ENTRIES;
}

/// Names in SIP are absolute: without the final dot a resolver would try its search list too. Names of one label
/// (`localhost`, a host of a small site) keep it.
fn absolute(name: &str) -> String {
    match name.contains('.') && !name.ends_with('.') && name.parse::<std::net::IpAddr>().is_err() {
        true => format!("{name}."),
        false => name.to_owned(),
    }
}

fn host(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').filter(|t| !t.is_empty()).map(str::to_owned).unwrap_or(text)
}

fn non_empty<T>(records: Vec<T>) -> Result<Vec<T>, ResolveError> {
    if records.is_empty() { Err(ResolveError::NotFound) } else { Ok(records) }
}

fn failure(error: &NetError) -> ResolveError {
    if error.is_no_records_found() || error.is_nx_domain() {
        ResolveError::NotFound
    } else {
        ResolveError::Failed
    }
}
