//! An Access Edge or a Clearinghouse: the process in the perimeter network. It opens no database and knows no user; what
//! it is told comes from its configuration and from the policy file, which is watched.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use access_edge::admin::{Adjustable, Answer, Call};
use access_edge::{AccessEdge, Config, Limits, Mode};
use anyhow::{Context, bail};
use federation::Policy;
use net::{Adjustment, Driver, Handle, Networks};
use node::{Anchors, Side};
use pki::Trust;

use crate::config::{Role, Settings, TlsSettings};
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
    let mut policy_file = PolicyFile::new(settings);
    let (policy, networks) = policy_file.read_at_start(&operator.certificates)?;
    let policy = Arc::new(policy);
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
        Driver::new(node, sockets.sip, Box::new(server::NoStore), completions, resolver, networks, options)
    };
    let metrics = ProcessMetrics {
        storage: None,
        directory: None,
        certificate_end: operator.certificates.inside.as_ref().map(Certificate::end).unwrap_or_default(),
        https: None,
        web: None,
    };
    operator.watched.push(Box::new(policy_file));
    let places = Places { control_socket: settings.control_socket.clone(), database_dir: None };
    Server { driver, http: sockets.http, facts, places, metrics, directory: None, runtime }.run(operator)
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
        outside: of(Side::Outside, trust_outside(settings.tls_outside.as_ref(), settings, policy)?),
    })
}

/// Partners lead to the CAs of `[tls_outside]`, or to those that the policy names for them alone.
pub(crate) fn trust_outside(
    files: Option<&TlsSettings>,
    settings: &Settings,
    policy: &Policy,
) -> anyhow::Result<Trust> {
    let mut trust = tls::trust(Anchors::Partners, files)?;
    let folder = folder_of(settings);
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

/// What the policy's paths count from.
fn folder_of(settings: &Settings) -> &Path {
    settings.federation.policy_file.parent().unwrap_or(Path::new("/"))
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

/// The policy file, watched. What cannot be read or is wrong changes nothing, and the log says so; a file that is gone
/// allows nobody.
struct PolicyFile {
    settings: Settings,
    domains: Vec<String>,
    /// Of what was read last: the policy, and the CAs that it names.
    stamp: Stamp,
    authority_files: Vec<PathBuf>,
}

impl PolicyFile {
    fn new(settings: &Settings) -> PolicyFile {
        let domains = crate::federation::local_domains(settings);
        let domains = domains.into_iter().map(str::to_ascii_lowercase).collect();
        // Before it is read: a file that changes meanwhile is seen by the next look.
        let stamp = Stamp::of([&settings.federation.policy_file]);
        PolicyFile { settings: settings.clone(), domains, stamp, authority_files: Vec::new() }
    }

    /// What tells whether anything of it was replaced.
    fn stamp(&self) -> Stamp {
        Stamp::of(std::iter::once(self.path()).chain(&self.authority_files))
    }

    /// From now on the CAs of this policy are looked at too.
    fn follow(&mut self, policy: &Policy) {
        let folder = folder_of(&self.settings);
        self.authority_files = policy.authority_files().map(|(_, file)| folder.join(file)).collect();
        self.stamp = self.stamp();
    }

    fn path(&self) -> &PathBuf {
        &self.settings.federation.policy_file
    }

    /// An absent file is an empty one.
    fn read(&self) -> anyhow::Result<Policy> {
        let text = crate::federation::read(self.path())?.unwrap_or_default();
        let policy = Policy::parse(&text, &self.domains);
        policy.map_err(|error| anyhow::anyhow!("{} is wrong: {error}", self.path().display()))
    }

    /// A server must come up for its remote users even where the policy is wrong, or a CA that it names is missing: then
    /// nobody is allowed.
    fn read_at_start(&mut self, certificates: &Certificates) -> anyhow::Result<(Policy, Networks)> {
        let read = self.read().and_then(|policy| {
            let networks = networks(&self.settings, certificates, &policy)?;
            Ok((policy, networks))
        });
        let (policy, networks) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(event = "policy-refused", "nobody is talked with: {error:#}");
                let nobody = Policy::parse("", &self.domains).expect("an empty policy is a policy");
                let networks = networks(&self.settings, certificates, &nobody)?;
                (nobody, networks)
            }
        };
        self.follow(&policy);
        self.tell(&policy);
        Ok((policy, networks))
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
        settings: Option<&'a Settings>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move {
            let stamp = self.stamp();
            if stamp == self.stamp {
                return;
            }
            self.stamp = stamp;
            // A reload may have named other CAs since.
            if let Some(settings) = settings {
                self.settings = settings.clone();
            }
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
            let adjustment = Adjustment { networks: Some(networks), ..Adjustment::default() };
            // First the CAs: a new partner must be believed when it is allowed.
            if handle.adjust(adjustment).await.is_err() {
                return;
            }
            self.follow(&policy);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let text = "domains = [\"contoso.example\"]\nrole = \"access-edge\"\n\
            [[listener]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\nside = \"outside\"\n\
            [access_edge]\nnext_hops = [\"director.contoso.example\"]\n";
        Settings::parse(text, Path::new("chancery.toml"), folder).expect("it is right")
    }

    fn partner(authority_file: &str) -> String {
        format!(
            "[[partner]]\ndomain = \"fabrikam.example\"\nmode = \"direct\"\n\
             next_hop = \"edge.fabrikam.example:5061\"\nauthority_file = \"{authority_file}\"\n"
        )
    }

    /// Allows nobody, and still knows which domains are ours.
    #[test]
    fn what_is_wrong_at_the_start_allows_nobody_and_stops_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path());
        for policy in ["[[partner]\n".to_owned(), partner("missing.pem")] {
            std::fs::write(&settings.federation.policy_file, policy).expect("it is ours");
            let mut file = PolicyFile::new(&settings);
            let (policy, _) = file.read_at_start(&Certificates::default()).expect("the edge comes up");
            assert!(policy.allows_nobody());
            assert!(policy.is_local("contoso.example"));
        }
    }

    #[test]
    fn a_partners_ca_is_looked_at_with_the_policy() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path());
        let ca = folder.path().join("fabrikam-ca.pem");
        let write = |name| {
            let authority = pki::Authority::create(name, 1_800_000_000).expect("a CA");
            std::fs::write(&ca, authority.certificate_pem()).expect("it is ours");
        };
        write("one");
        std::fs::write(&settings.federation.policy_file, partner("fabrikam-ca.pem")).expect("it is ours");
        let mut file = PolicyFile::new(&settings);
        let (policy, _) = file.read_at_start(&Certificates::default()).expect("the edge comes up");
        assert!(!policy.allows_nobody());
        assert!(file.stamp() == file.stamp, "nothing has changed");
        write("another one, with a longer name");
        assert!(file.stamp() != file.stamp, "its CA has");
    }
}
