//! An Access Edge or a Clearinghouse: the process in the perimeter network. It opens no database and knows no user; what
//! it is told comes from its configuration and from the policy file, which is watched.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use access_edge::admin::{Adjustable, Answer, Call};
use access_edge::{AccessEdge, Config, Limits, Mode};
use anyhow::{Context, bail};
use federation::Policy;
use net::{Adjustment, Driver, Handle, Networks};
use node::store::{Store, Submission};
use node::{Anchors, Side};
use pki::Trust;

use crate::config::{Role, Settings};
use crate::control::protocol::{
    AnswerLine, CallLine, ConnectionLine, PerimeterLine, RefusalKind, ServerFacts, WatchedLine,
};
use crate::control::server::{Clerk, Session};
use crate::metrics::ProcessMetrics;
use crate::server::{self, Operated, Operator, Places, Server, Sockets, Watched, facts, resolver};
use crate::tls::{self, Certificate, Certificates, Stamp};
use crate::{files, secrets};

/// Connections that `chancery status` lists at the most: what a person reads.
const CONNECTIONS_LISTED: usize = 200;
/// Most keys of sealed routes: the one in use, and those whose dialogs are not over yet.
const TOKEN_KEYS_MAX: usize = 4;

/// Puts it together, and runs until a signal ends it.
pub(crate) fn run(
    settings: &Settings,
    sockets: Sockets,
    mut operator: Operator<AccessEdge>,
) -> anyhow::Result<()> {
    files::create_secret_dir(&settings.data_dir)?;
    let listeners: Vec<node::Listener> = sockets.sip.iter().map(|bound| bound.listener().clone()).collect();
    let facts = facts(&settings.domains, &listeners, &sockets)?;
    let policy_file = PolicyFile::new(settings);
    let policy = Arc::new(policy_file.read_at_start());
    let networks = networks(settings, &operator.certificates, &policy)?;
    let node = AccessEdge::new(Config {
        mode: match settings.role {
            Role::Clearinghouse => Mode::Clearinghouse,
            _ => Mode::Edge,
        },
        domains: policy_file.domains.clone(),
        listeners,
        aliases: std::iter::once(settings.host.clone()).chain(settings.aliases.iter().cloned()).collect(),
        next_hops: settings.access_edge.next_hops.clone(),
        servers: settings.trusted_servers.clone(),
        policy,
        remote_access: settings.remote_access.is_enabled,
        token_keys: token_keys(&settings.access_edge.token_key_file)?,
        limits: limits(settings),
        secret: secrets::server_secret(&settings.data_dir)?,
        seed: secrets::random()?,
    });
    let runtime = net::runtime().context("no runtime can be made")?;
    let driver = {
        // Sockets and resolvers register with the runtime that they are made in.
        let _inside = runtime.enter();
        let resolver = resolver(&settings.dns).context("no resolver can be made")?;
        let (_, completions) = net::completion_channel();
        let options = server::options(&settings.limits);
        Driver::new(node, sockets.sip, Box::new(NoStore), completions, resolver, networks, options)
    };
    let metrics = ProcessMetrics {
        storage: None,
        certificate_end: operator.certificates.inside.as_ref().map(Certificate::end).unwrap_or_default(),
        https: None,
    };
    operator.watched.push(Box::new(policy_file));
    let places = Places { control_socket: settings.control_socket.clone(), database_dir: None };
    Server { driver, http: sockets.http, facts, places, metrics, runtime }.run(operator)
}

/// The policy that the settings name, as it stands on disk.
pub(crate) fn policy(settings: &Settings) -> anyhow::Result<Policy> {
    PolicyFile::new(settings).read()
}

fn limits(settings: &Settings) -> Limits {
    Limits { transactions_max: settings.limits.transactions_max, ..Limits::default() }
}

/// The networks of both sides. Connections leave from the addresses of their side's listeners.
fn networks(settings: &Settings, certificates: &Certificates, policy: &Policy) -> anyhow::Result<Networks> {
    let of = |side, trust: Trust| {
        let local =
            settings.listeners.iter().filter(|listener| listener.side == side).map(|l| l.address.ip());
        let local = local.filter(|address| !address.is_unspecified()).collect();
        tls::network(certificates.of(side), trust).leaving_from(local)
    };
    let trust_inside = tls::trust(Anchors::Servers, settings.tls.as_ref())?.build();
    Ok(Networks {
        inside: of(Side::Inside, trust_inside),
        outside: of(Side::Outside, trust_outside(settings, policy)?),
    })
}

/// Partners lead to the CAs of `[tls_outside]`, or to those that the policy names for them alone.
fn trust_outside(settings: &Settings, policy: &Policy) -> anyhow::Result<Trust> {
    let mut trust = tls::trust(Anchors::Partners, settings.tls_outside.as_ref())?;
    let folder = settings.federation.policy_file.parent().unwrap_or(Path::new("/"));
    for (anchors, file) in policy.authority_files() {
        let file = folder.join(file);
        let pem =
            std::fs::read(&file).with_context(|| format!("cannot read the CA file {}", file.display()))?;
        trust = trust
            .anchors(anchors, &pem)
            .with_context(|| format!("the CA file {} cannot be used", file.display()))?;
    }
    Ok(trust.build())
}

/// The keys of sealed routes, one a line in hexadecimal; the first one seals. Made where there is none yet.
fn token_keys(file: &Path) -> anyhow::Result<Vec<[u8; 32]>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = secrets::random()?;
            let text = hex::encode(key) + "\n";
            files::write(file, files::MODE_SECRET, text.as_bytes())?;
            text
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<[u8; 32]> = lines
        .map(|line| {
            let mut key = [0; 32];
            hex::decode_to_slice(line, &mut key).map(|()| key).map_err(|_| {
                anyhow::anyhow!(
                    "{}: a line is no key\n  help: each line is 64 hexadecimal digits; `openssl rand -hex 32` makes one",
                    file.display()
                )
            })
        })
        .collect::<anyhow::Result<_>>()?;
    if keys.is_empty() || keys.len() > TOKEN_KEYS_MAX {
        bail!("{} holds {} keys; it must hold 1 to {TOKEN_KEYS_MAX}", file.display(), keys.len());
    }
    Ok(keys)
}

/// An edge keeps nothing.
struct NoStore;

impl Store for NoStore {
    type Change = Infallible;
    type Query = Infallible;
    type Rows = Infallible;

    fn submit(&mut self, batch: Vec<Submission<Infallible, Infallible>>) {
        // There is no value of either type to submit.
        assert!(batch.is_empty(), "an edge submits nothing");
    }
}

/// The policy file, watched. What cannot be read or is wrong changes nothing, and the log says so; a file that is gone
/// allows nobody.
struct PolicyFile {
    settings: Settings,
    domains: Vec<String>,
    /// Of what was read last.
    stamp: Stamp,
}

impl PolicyFile {
    fn new(settings: &Settings) -> PolicyFile {
        let domains = match settings.role {
            // A clearinghouse has no domain of its own.
            Role::Clearinghouse => Vec::new(),
            _ => settings.domains.iter().map(|domain| domain.as_str().to_ascii_lowercase()).collect(),
        };
        // Before it is read: a file that changes meanwhile is seen by the next look.
        let stamp = Stamp::of([&settings.federation.policy_file]);
        PolicyFile { settings: settings.clone(), domains, stamp }
    }

    fn path(&self) -> &PathBuf {
        &self.settings.federation.policy_file
    }

    /// An absent file is an empty one.
    fn read(&self) -> anyhow::Result<Policy> {
        let text = match std::fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.path().display()));
            }
        };
        let policy = Policy::parse(&text, &self.domains);
        policy.map_err(|error| anyhow::anyhow!("{} is wrong: {error}", self.path().display()))
    }

    /// A server must come up for its remote users even where the policy is wrong: then nobody is allowed.
    fn read_at_start(&self) -> Policy {
        let policy = self.read().unwrap_or_else(|error| {
            tracing::error!(event = "policy-refused", "nobody is talked with: {error:#}");
            Policy::default()
        });
        self.tell(&policy);
        policy
    }

    fn tell(&self, policy: &Policy) {
        let file = self.path().display();
        match policy.allows_nobody() {
            true => tracing::warn!(
                event = "policy-empty",
                %file,
                "no other organisation is talked with: the policy allows nobody"
            ),
            false => tracing::info!(event = "policy", %file, partners = policy.partners().len(), "in force"),
        }
    }
}

impl Watched<AccessEdge> for PolicyFile {
    fn look<'a>(
        &'a mut self,
        handle: &'a Handle<AccessEdge>,
        certificates: &'a Certificates,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            let stamp = Stamp::of([self.path()]);
            if stamp == self.stamp {
                return;
            }
            self.stamp = stamp;
            let read = self.read().and_then(|policy| {
                let networks = networks(&self.settings, certificates, &policy)?;
                Ok((policy, networks))
            });
            let (policy, networks) = match read {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(
                        event = "policy-refused",
                        "the policy before it stays in force: {error:#}"
                    );
                    return;
                }
            };
            let adjustment = Adjustment {
                connections_max: None,
                connections_per_source_max: None,
                resolver: None,
                networks: Some(networks),
            };
            // First the CAs: a new partner must be believed when it is allowed.
            if handle.adjust(adjustment).await.is_err() {
                return;
            }
            self.tell(&policy);
            if let Ok(Answer::Done { closed }) = handle.call(Call::SetPolicy(Arc::new(policy))).await
                && closed > 0
            {
                tracing::info!(
                    event = "policy-closed",
                    closed,
                    "connections of those who are no longer allowed"
                );
            }
        })
    }
}

impl Operated for AccessEdge {
    async fn ready(_handle: &Handle<AccessEdge>) -> anyhow::Result<()> {
        Ok(())
    }

    fn probe() -> Call {
        Call::Connections { limit: 0 }
    }

    fn networks(settings: &Settings, certificates: &Certificates) -> anyhow::Result<Networks> {
        networks(settings, certificates, &PolicyFile::new(settings).read()?)
    }

    fn configure(settings: &Settings) -> Option<Call> {
        Some(Call::Configure(Box::new(Adjustable {
            servers: settings.trusted_servers.clone(),
            next_hops: settings.access_edge.next_hops.clone(),
            remote_access: settings.remote_access.is_enabled,
            limits: limits(settings),
        })))
    }

    fn is_done(answer: &Answer) -> bool {
        matches!(answer, Answer::Done { .. })
    }

    fn clerk(handle: Handle<AccessEdge>, facts: Rc<ServerFacts>) -> Rc<dyn Clerk> {
        Rc::new(PerimeterClerk { handle, facts })
    }
}

struct PerimeterClerk {
    handle: Handle<AccessEdge>,
    facts: Rc<ServerFacts>,
}

impl PerimeterClerk {
    async fn status(&self) -> Option<PerimeterLine> {
        let Ok(Answer::Connections(connections)) =
            self.handle.call(Call::Connections { limit: CONNECTIONS_LISTED }).await
        else {
            return None;
        };
        let Ok(Answer::WatchList(list)) = self.handle.call(Call::WatchList).await else { return None };
        let connection = |c: access_edge::admin::Connection| ConnectionLine {
            kind: c.kind.to_owned(),
            names: c.names.iter().map(ToString::to_string).collect(),
            remote: c.remote.to_string(),
            is_ours: c.is_ours,
        };
        let watched = |w: federation::discovery::WatchEntry| WatchedLine {
            domain: w.domain.to_string(),
            why: w.why.text().to_owned(),
        };
        Some(PerimeterLine {
            connections: connections.into_iter().map(connection).collect(),
            watch_list: list.into_iter().map(watched).collect(),
            server: (*self.facts).clone(),
        })
    }
}

impl Clerk for PerimeterClerk {
    fn answer<'a>(
        &'a self,
        call: CallLine,
        _session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = AnswerLine> + 'a>> {
        Box::pin(async move {
            match call {
                CallLine::Status => match self.status().await {
                    Some(status) => AnswerLine::Perimeter(Box::new(status)),
                    None => AnswerLine::refused(RefusalKind::Unavailable, "the server is stopping"),
                },
                _ => AnswerLine::refused(
                    RefusalKind::BadRequest,
                    "this server has no users: ask the one that they are homed on",
                ),
            }
        })
    }

    fn end(&self, _session: Session) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(std::future::ready(()))
    }
}
