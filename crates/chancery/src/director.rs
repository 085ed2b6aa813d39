//! A Director: the process between the perimeter and the homes. It keeps nothing on disk but the key of its tokens: the
//! accounts that it knows are copies, which the homes give it anew when it starts.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ::director::{Adjustable, Answer, Call, Config, Director, Mode};
use anyhow::{Context, bail};
use federation::ServerRole;
use net::{Driver, Handle, Networks};

use crate::config::Settings;
use crate::control::protocol::{AnswerLine, CallLine, DirectorLine, RefusalKind, ServerFacts};
use crate::control::server::{Clerk, Session};
use crate::metrics::ProcessMetrics;
use crate::server::{self, Operated, Operator, Places, Server, Sockets, facts, resolver};
use crate::tls::{self, Certificate, Certificates};
use crate::{files, secrets};

/// How often a starting Director is asked whether it knows the homes' accounts.
const READY_POLL: Duration = Duration::from_millis(20);
/// How long that is waited for: a Director whose home is down comes up all the same, and answers 503 until it is there.
const READY_PATIENCE: Duration = Duration::from_secs(5);

/// Puts it together, and runs until a signal ends it.
pub(crate) fn run(settings: &Settings, sockets: Sockets, operator: Operator<Director>) -> anyhow::Result<()> {
    files::create_secret_dir(&settings.data_dir)?;
    let listeners: Vec<node::Listener> = sockets.sip.iter().map(|bound| bound.listener().clone()).collect();
    if !listeners.iter().any(|listener| listener.transport == node::Transport::Tls) {
        bail!(
            "a director needs a [[listener]] with transport = \"tls\": servers prove who they are by certificates"
        );
    }
    let facts = facts(&settings.domains, &listeners, &sockets)?;
    let networks = tls::inside_only(operator.certificates.inside.as_ref(), settings.tls.as_ref())?;
    let adjustable = adjustable(settings);
    let node = Director::new(Config {
        domains: settings.domains.clone(),
        listeners,
        aliases: std::iter::once(settings.host.clone()).chain(settings.aliases.iter().cloned()).collect(),
        mode: if settings.director.authenticates { Mode::Authenticate } else { Mode::Route },
        servers: settings.trusted_servers.clone(),
        front_ends: settings.director.front_ends.clone(),
        route: settings.federation.route.clone(),
        remote_access: adjustable.remote_access,
        nonce_lifetime: adjustable.nonce_lifetime,
        transactions_max: adjustable.transactions_max,
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
    let certificate_end = operator.certificates.inside.as_ref().map(Certificate::end).unwrap_or_default();
    let metrics = ProcessMetrics { storage: None, certificate_end, directory: None, https: None, web: None };
    let places = Places { control_socket: settings.control_socket.clone(), database_dir: None };
    Server { driver, http: sockets.http, facts, places, metrics, directory: None, runtime }.run(operator)
}

fn adjustable(settings: &Settings) -> Adjustable {
    Adjustable {
        remote_access: settings.remote_access.is_enabled,
        nonce_lifetime: settings.authentication.nonce_lifetime,
        transactions_max: settings.limits.transactions_max,
    }
}

impl Operated for Director {
    async fn ready(handle: &Handle<Director>) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + READY_PATIENCE;
        loop {
            match handle.call(Call::Status).await.context("the server stopped while it started")? {
                Answer::Status(status) if status.is_complete => return Ok(()),
                _ if tokio::time::Instant::now() > until => {
                    tracing::warn!(
                        event = "no-accounts",
                        "no home has told its accounts yet: nobody is signed in"
                    );
                    return Ok(());
                }
                _ => tokio::time::sleep(READY_POLL).await,
            }
        }
    }

    fn probe() -> Call {
        Call::Status
    }

    fn networks(settings: &Settings, certificates: &Certificates) -> anyhow::Result<Networks> {
        tls::inside_only(certificates.inside.as_ref(), settings.tls.as_ref())
    }

    fn configure(settings: &Settings) -> Option<Call> {
        Some(Call::Configure(Box::new(adjustable(settings))))
    }

    fn is_done(answer: &Answer) -> bool {
        matches!(answer, Answer::Done)
    }

    fn clerk(handle: Handle<Director>, facts: Rc<ServerFacts>) -> Rc<dyn Clerk> {
        Rc::new(DirectorClerk { handle, facts })
    }
}

struct DirectorClerk {
    handle: Handle<Director>,
    facts: Rc<ServerFacts>,
}

impl Clerk for DirectorClerk {
    fn answer<'a>(
        &'a self,
        call: CallLine,
        _session: &'a mut Session,
    ) -> Pin<Box<dyn Future<Output = AnswerLine> + 'a>> {
        Box::pin(async move {
            if !matches!(call, CallLine::Status) {
                let reason = "this server has no users of its own: ask the one that they are homed on";
                return AnswerLine::refused(RefusalKind::BadRequest, reason);
            }
            let Ok(Answer::Status(status)) = self.handle.call(Call::Status).await else {
                return AnswerLine::refused(RefusalKind::Unavailable, "the server is stopping");
            };
            let role = |role| match role {
                ServerRole::FrontEnd => "front-end",
                ServerRole::Director => "director",
                ServerRole::AccessEdge => "access-edge",
            };
            AnswerLine::Director(Box::new(DirectorLine {
                is_complete: status.is_complete,
                users: status.users,
                signed_in: status.signed_in,
                transactions: status.transactions,
                servers: status.servers.iter().map(|s| format!("{} ({})", s.host, role(s.role))).collect(),
                server: (*self.facts).clone(),
            }))
        })
    }

    fn end(&self, _session: Session) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(std::future::ready(()))
    }
}
