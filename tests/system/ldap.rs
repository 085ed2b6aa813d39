//! The driver to directories (crate `ldap`) against real ones: Samba's Active Directory, OpenLDAP, and both behind a proxy that goes wrong.

mod active_directory;
mod faults;
mod openldap;
mod passwords;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use directory::ObjectId;
use directory_source::{
    Entry, Event, Failure, Preference, Selection, ServerFacts, ServerKind, Task, Watermark,
};
use ldap::{Account, Authority, Locator, Security, Server, Servers, Source, SourceConfig, Times};
use net::Resolver;
use system_tests::{ActiveDirectory, OpenLdap, PATIENCE};
use tempfile::TempDir;

/// Runs one test on a runtime of its own.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime is made").block_on(test)
}

/// What a driver is started with.
struct Plan {
    servers: Servers,
    security: Security,
    ca: PathBuf,
    resolver: Resolver,
    account: Account,
    kind: ServerKind,
    base: Option<String>,
    times: Times,
    /// Where its password is.
    folder: Arc<TempDir>,
    _ca: Option<TempDir>,
}

impl Plan {
    fn new(servers: Servers, ca: &Path, name: &str, password: &str, kind: ServerKind) -> Plan {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, format!("{password}\n")).expect("the folder is ours");
        Plan {
            servers,
            security: Security::Ldaps,
            ca: ca.to_owned(),
            resolver: Resolver::with_servers(&[]).expect("a resolver"),
            account: Account::Simple { name: name.to_owned(), password_file },
            kind,
            base: None,
            times: Times::default(),
            folder: Arc::new(folder),
            _ca: None,
        }
    }

    /// The account that may use DirSync, at the servers that DNS knows of the domain.
    fn of_domain(domain: &ActiveDirectory) -> Plan {
        let name = format!("{}@{}", domain.fact("SYNC_USER"), domain.fact("DNS_DOMAIN"));
        Plan::of_somebody(domain, &name, domain.fact("SYNC_PASSWORD"))
    }

    fn of_somebody(domain: &ActiveDirectory, name: &str, password: &str) -> Plan {
        let servers = Servers::OfDomain {
            domain: domain.fact("DNS_DOMAIN").to_owned(),
            kind: ServerKind::ActiveDirectory,
            site: Some("Default-First-Site-Name".to_owned()),
        };
        let plan = Plan::new(servers, &domain.ca(), name, password, ServerKind::ActiveDirectory);
        let dns: SocketAddr = domain.fact("DNS_SERVER").parse().expect("an address");
        Plan { resolver: Resolver::with_servers(&[dns]).expect("a resolver"), ..plan }
    }

    fn of_openldap(slapd: &OpenLdap) -> Plan {
        let servers = Servers::Listed(vec![server("ldap.ldap.example", slapd.ldaps().port())]);
        let plan =
            Plan::new(servers, &slapd.ca(), OpenLdap::READER, OpenLdap::READER_PASSWORD, ServerKind::Ldap);
        plan.at("ldap.ldap.example", slapd.ldaps().ip())
    }

    /// With a host whose address is known.
    fn at(self, host: &str, address: IpAddr) -> Plan {
        let hosts = BTreeMap::from([(host.to_owned(), vec![address])]);
        Plan { resolver: self.resolver.with_hosts(hosts), ..self }
    }

    fn locator(&self) -> Arc<Locator> {
        let authority = Authority::from_file(&self.ca).expect("a CA file");
        let locator = Locator::new(self.servers.clone(), self.security, authority, self.resolver.clone());
        Arc::new(locator.with_times(self.times))
    }

    fn start(&self) -> Driver {
        let config = SourceConfig {
            locator: self.locator(),
            account: self.account.clone(),
            kind: self.kind,
            base: self.base.clone(),
        };
        Driver { source: Source::start(config), _folder: self.folder.clone() }
    }
}

fn server(host: &str, port: u16) -> Server {
    Server { host: host.to_owned(), port }
}

/// Everything that the tests look at.
fn selection(kind: ServerKind) -> Selection {
    let (attributes, any_class, no_class): (&[&str], &[&str], &[&str]) = match kind {
        ServerKind::ActiveDirectory => (
            &[
                "cn",
                "department",
                "mail",
                "manager",
                "member",
                "samaccountname",
                "telephonenumber",
                "thumbnailphoto",
            ],
            &["user", "contact", "group"],
            &["computer"],
        ),
        ServerKind::Ldap => {
            (&["cn", "mail", "member", "title", "uid"], &["inetOrgPerson", "groupOfNames"], &[])
        }
    };
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Selection { attributes: texts(attributes), any_class: texts(any_class), no_class: texts(no_class) }
}

/// A source that is asked and waited for.
struct Driver {
    source: Source,
    _folder: Arc<TempDir>,
}

/// What a look for changes told.
#[derive(Debug, Default)]
struct Changes {
    changed: BTreeSet<ObjectId>,
    deleted: BTreeSet<ObjectId>,
}

impl Driver {
    /// The next event that is no hint.
    async fn event(&mut self) -> Event {
        loop {
            let event = tokio::time::timeout(3 * PATIENCE, self.source.next()).await;
            match event.expect("something comes") {
                Event::Hint => {}
                event => return event,
            }
        }
    }

    async fn connect(&mut self) -> Result<ServerFacts, Failure> {
        self.source.submit(Task::Connect(Preference::default())).expect("nothing else is asked");
        match self.event().await {
            Event::Connected(facts) => Ok(*facts),
            Event::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    async fn mark(&mut self, selection: &Selection) -> Watermark {
        self.source.submit(Task::Mark(selection.clone())).expect("nothing else is asked");
        match self.event().await {
            Event::Marked(watermark) => watermark,
            other => panic!("{other:?}"),
        }
    }

    async fn read_all(&mut self, selection: &Selection) -> Result<BTreeMap<ObjectId, Entry>, Failure> {
        self.source.submit(Task::ReadAll(selection.clone())).expect("nothing else is asked");
        self.entries().await
    }

    async fn read(&mut self, ids: &BTreeSet<ObjectId>, selection: &Selection) -> BTreeMap<ObjectId, Entry> {
        let task = Task::ReadEntries { ids: ids.iter().copied().collect(), selection: selection.clone() };
        self.source.submit(task).expect("nothing else is asked");
        self.entries().await.expect("reading works")
    }

    async fn entries(&mut self) -> Result<BTreeMap<ObjectId, Entry>, Failure> {
        let mut all = BTreeMap::new();
        loop {
            match self.event().await {
                Event::Entries { entries, is_last } => {
                    all.extend(entries.into_iter().map(|entry| (entry.id, entry)));
                    if is_last {
                        return Ok(all);
                    }
                }
                Event::Failed(failure) => return Err(failure),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn try_changes(
        &mut self,
        since: &mut Watermark,
        selection: &Selection,
    ) -> Result<Changes, Failure> {
        let task = Task::ReadChanges { since: since.clone(), selection: selection.clone() };
        self.source.submit(task).expect("nothing else is asked");
        let mut all = Changes::default();
        loop {
            match self.event().await {
                Event::Changes { changed, deleted, watermark, is_last } => {
                    all.changed.extend(changed);
                    all.deleted.extend(deleted);
                    *since = watermark;
                    if is_last {
                        return Ok(all);
                    }
                }
                Event::Failed(failure) => return Err(failure),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn changes(&mut self, since: &mut Watermark, selection: &Selection) -> Changes {
        self.try_changes(since, selection).await.expect("reading changes works")
    }
}

/// The entry with this value.
fn find<'e>(entries: &'e BTreeMap<ObjectId, Entry>, attribute: &str, value: &str) -> Option<&'e Entry> {
    entries.values().find(|entry| texts(entry, attribute).iter().any(|text| text == value))
}

fn texts(entry: &Entry, attribute: &str) -> Vec<String> {
    let values = entry.attributes.get(attribute).into_iter().flatten();
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// A patience that a test can wait for.
fn impatient() -> Times {
    Times {
        connect: Duration::from_secs(2),
        handshake: Duration::from_secs(2),
        bind: Duration::from_secs(5),
        answer: Duration::from_secs(2),
    }
}
