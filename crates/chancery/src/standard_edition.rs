//! A Standard Edition: the front end with its database, HTTPS for clients, and everybody's commands.

use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use directory::DomainName;
use federation::TrustedServer;
use frontend::admin::{Answer, Call, Refusal};
use frontend::{
    Adjustable, AuthenticationPolicy, Config, FederationPolicy, FrontEnd, MessagingLimits, RegistrationLimits,
};
use net::{Driver, Handle, Networks};
use sd_notify::NotifyState;
use storage::Sqlite;

use crate::config::{DnsSettings, ProcessLimits, Settings, TlsSettings};
use crate::control::protocol::ServerFacts;
use crate::control::server::{Caller, Clerk, HomeClerk};
use crate::directory::{DirectoryThread, Followed, Passwords};
use crate::https::HttpsThread;
use crate::locate::DATABASE;
use crate::metrics::ProcessMetrics;
use crate::server::{self, Operated, Operator, Places, Server, Sockets, facts, notify, resolver};
use crate::tls::{self, Certificate, Certificates};
use crate::web::{self, WebThread};
use crate::{files, offline, secrets};

/// How often a starting server is asked whether it has loaded its users.
const READY_POLL: Duration = Duration::from_millis(5);
/// How often systemd is told how long loading still takes, and for how long at most that is believed.
const START_EXTENSION: Duration = Duration::from_secs(30);

/// What a server is made of.
pub(crate) struct Plan {
    pub(crate) domains: Vec<DomainName>,
    pub(crate) aliases: Vec<String>,
    pub(crate) registration: RegistrationLimits,
    pub(crate) authentication: AuthenticationPolicy,
    pub(crate) messaging: MessagingLimits,
    pub(crate) presence: frontend::PresencePolicy,
    pub(crate) calls: frontend::CallPolicy,
    pub(crate) federation: FederationPolicy,
    pub(crate) servers: Vec<TrustedServer>,
    pub(crate) remote_access: bool,
    pub(crate) limits: ProcessLimits,
    pub(crate) dns: DnsSettings,
    pub(crate) data_dir: PathBuf,
    pub(crate) control_socket: PathBuf,
    /// What other servers are believed by.
    pub(crate) tls: Option<TlsSettings>,
    /// Where there is a listener for the web.
    pub(crate) web: Option<(web::Settings, web::Wishes)>,
    /// The organisation's directory, where accounts follow one.
    pub(crate) directory: Option<Followed>,
}

/// Opens storage, puts everything together, and runs until a signal ends it. Sockets are open already, so connections
/// wait from now on.
pub(crate) fn run(plan: Plan, sockets: Sockets, mut operator: Operator<FrontEnd>) -> anyhow::Result<()> {
    files::create_secret_dir(&plan.data_dir)?;
    let secret = secrets::server_secret(&plan.data_dir)?;
    let (sink, completions) = net::completion_channel();
    let database = plan.data_dir.join(DATABASE);
    let storage = Sqlite::open(&database, storage::Options::default(), sink)
        .map_err(|error| offline::explain(&database, error))?;
    let meter = storage.meter();
    let listeners: Vec<node::Listener> = sockets.sip.iter().map(|bound| bound.listener().clone()).collect();
    let facts = facts(&plan.domains, &listeners, &sockets)?;
    let xcap_root = xcap_root(&listeners, &sockets)?;
    let node = FrontEnd::new(Config {
        domains: plan.domains,
        listeners,
        aliases: plan.aliases,
        xcap_root,
        registration: plan.registration,
        authentication: plan.authentication,
        messaging: plan.messaging,
        presence: plan.presence,
        calls: plan.calls,
        federation: plan.federation,
        servers: plan.servers,
        remote_access: plan.remote_access,
        transactions_max: plan.limits.transactions_max,
        secret,
        seed: secrets::random()?,
    });
    let networks = tls::inside_only(operator.certificates.inside.as_ref(), plan.tls.as_ref())?;
    let runtime = net::runtime().context("no runtime can be made")?;
    let driver = {
        // Sockets and resolvers register with the runtime that they are made in.
        let _inside = runtime.enter();
        let resolver = resolver(&plan.dns).context("no resolver can be made")?;
        let options = server::options(&plan.limits);
        Driver::new(node, sockets.sip, Box::new(storage), completions, resolver, networks, options)
    };
    let handle = driver.handle();
    let https_meter = (!sockets.https.is_empty()).then(Arc::<net::https::Meter>::default);
    let https = match (&operator.certificates.inside, &https_meter) {
        (Some(certificate), Some(meter)) => {
            let (tls, meter) = (certificate.server(), Arc::clone(meter));
            Some(HttpsThread::start(handle.clone(), sockets.https, tls, meter)?)
        }
        _ => None,
    };
    let passwords = plan.directory.clone().map(|followed| Arc::new(Passwords::new(followed)));
    let mut web_meter = None;
    let web = match (&operator.certificates.inside, plan.web) {
        (Some(certificate), Some((settings, wishes))) if !sockets.web.is_empty() => {
            let meter = Arc::clone(web_meter.insert(Arc::<web::Meter>::default()));
            let office = Arc::new(web::Office::new(web::Parts {
                settings,
                wishes,
                accounts: web::Accounts::of(handle.clone()),
                organisation: passwords.clone().map(|passwords| passwords as _),
                data_dir: plan.data_dir.clone(),
                seed: secrets::random()?,
                meter,
            }));
            operator.watched.push(Box::new(web::Follower(Arc::clone(&office))));
            Some(WebThread::start(office, sockets.web, certificate.server())?)
        }
        _ => None,
    };
    let (follower, link) = match (plan.directory, passwords) {
        (Some(followed), Some(passwords)) => {
            let (follower, link, following) = DirectoryThread::start(handle, followed, passwords)?;
            operator.watched.push(Box::new(following));
            (Some(follower), Some(link))
        }
        _ => (None, None),
    };
    let certificate_end = operator.certificates.inside.as_ref().map(Certificate::end).unwrap_or_default();
    let server = Server {
        driver,
        http: sockets.http,
        facts,
        places: Places { control_socket: plan.control_socket, database_dir: Some(plan.data_dir) },
        metrics: ProcessMetrics {
            storage: Some(meter),
            certificate_end,
            directory: link.as_ref().map(|link| Arc::clone(&link.meter)),
            https: https_meter,
            web: web_meter,
        },
        directory: link,
        runtime,
    };
    let ended = server.run(operator);
    if let Some(follower) = follower {
        follower.stop();
    }
    if let Some(https) = https {
        https.stop();
    }
    if let Some(web) = web {
        web.stop();
    }
    ended
}

/// The name that SIP listeners advertise, and the port of HTTPS: where clients reach their documents.
fn xcap_root(listeners: &[node::Listener], sockets: &Sockets) -> anyhow::Result<String> {
    let host = listeners.first().map_or("localhost", |listener| &listener.advertised_host);
    let address = sockets.https.first().map(TcpListener::local_addr).transpose();
    let address = address.context("a socket does not know its address")?;
    Ok(match address.map(|address| address.port()) {
        None | Some(443) => format!("https://{host}/xcap/"),
        Some(port) => format!("https://{host}:{port}/xcap/"),
    })
}

impl Operated for FrontEnd {
    async fn ready(handle: &Handle<FrontEnd>) -> anyhow::Result<()> {
        loaded(handle).await
    }

    fn probe() -> Call {
        Call::Status
    }

    fn networks(settings: &Settings, certificates: &Certificates) -> anyhow::Result<Networks> {
        tls::inside_only(certificates.inside.as_ref(), settings.tls.as_ref())
    }

    fn configure(settings: &Settings) -> Option<Call> {
        Some(Call::Configure(Box::new(Adjustable {
            registration: settings.registration.clone(),
            authentication: settings.authentication.clone(),
            messaging: settings.messaging.clone(),
            presence: settings.presence.clone(),
            calls: settings.calls.clone(),
            federation: settings.federation_policy(),
            remote_access: settings.remote_access.is_enabled,
            transactions_max: settings.limits.transactions_max,
        })))
    }

    fn is_done(answer: &Answer) -> bool {
        matches!(answer, Answer::Done)
    }

    fn clerk(handle: Handle<FrontEnd>, facts: Rc<ServerFacts>) -> Rc<dyn Clerk> {
        Rc::new(HomeClerk { node: caller(handle), facts })
    }
}

/// Waits until the node has loaded its users.
async fn loaded(handle: &Handle<FrontEnd>) -> anyhow::Result<()> {
    let mut extended = tokio::time::Instant::now();
    loop {
        let probe = Call::ListUsers { containing: None, after: None, limit: 1 };
        match handle.call(probe).await.context("the server stopped while it started")? {
            Answer::Refused(Refusal::Starting) => {
                if extended.elapsed() > START_EXTENSION / 2 {
                    extended = tokio::time::Instant::now();
                    let micros = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
                    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
                }
                tokio::time::sleep(READY_POLL).await;
            }
            _ => return Ok(()),
        }
    }
}

fn caller(handle: Handle<FrontEnd>) -> Caller {
    Rc::new(move |call| {
        let handle = handle.clone();
        Box::pin(async move { handle.call(call).await.ok() })
    })
}
