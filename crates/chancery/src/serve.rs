//! `chancery serve`: the configured server.

use crate::cli::ServeArguments;
use crate::config::{Role, Settings};
use crate::control::protocol::ServerFacts;
use crate::directory::Followed;
use crate::exit::Failure;
use crate::reload::Reloader;
use crate::server::{self, Operator, Sockets};
use crate::standard_edition::{self, Plan};
use crate::tls::{Certificate, Certificates};
use crate::{director, locate, logging, perimeter, web};

pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let file = locate::config_file(arguments.config.config.as_deref())?;
    let settings = Settings::load(&file)?;
    let level = logging::start(&settings.log.level, arguments.log_format.unwrap_or(settings.log.format))?;
    server::raise_descriptor_limit();
    if arguments.until_input_ends {
        server::stop_when_input_ends()?;
    }
    let certificates = Certificates::load(settings.tls.as_ref(), settings.tls_outside.as_ref())?;
    let sockets = bind(&settings, &certificates)?;
    let reloader = Reloader::new(file, settings.clone(), level);
    match settings.role {
        Role::StandardEdition => {
            standard_edition::run(plan(&settings), sockets, operator(certificates, reloader))?;
        }
        Role::AccessEdge | Role::Clearinghouse => {
            perimeter::run(&settings, sockets, operator(certificates, reloader))?;
        }
        Role::Director => director::run(&settings, sockets, operator(certificates, reloader))?,
    }
    tracing::info!(event = "stopped", "bye");
    Ok(())
}

fn operator<R>(certificates: Certificates, reloader: Reloader) -> Operator<R> {
    Operator {
        certificates,
        watched: Vec::new(),
        on_ready: Box::new(|facts| {
            announce(facts);
            Ok(())
        }),
        reloader: Some(reloader),
    }
}

fn bind(settings: &Settings, certificates: &Certificates) -> anyhow::Result<Sockets> {
    let sip = settings.listeners.iter().map(|listener| {
        let tls = certificates.of(listener.side).map(Certificate::server);
        Ok(server::bind(listener, tls.as_ref(), server::client_certificates(settings, listener))?)
    });
    let http = settings.http_addresses.iter().map(|address| Ok(server::bind_http("http", *address)?));
    let https = settings.https_addresses.iter().map(|address| Ok(server::bind_http("https", *address)?));
    let web = settings.web.addresses.iter().map(|address| Ok(server::bind_http("web", *address)?));
    Ok(Sockets {
        sip: sip.collect::<anyhow::Result<_>>()?,
        http: http.collect::<anyhow::Result<_>>()?,
        https: https.collect::<anyhow::Result<_>>()?,
        web: web.collect::<anyhow::Result<_>>()?,
    })
}

fn plan(settings: &Settings) -> Plan {
    let mut aliases = settings.aliases.clone();
    aliases.push(settings.host.clone());
    Plan {
        domains: settings.domains.clone(),
        aliases,
        registration: settings.registration.clone(),
        authentication: settings.authentication.clone(),
        messaging: settings.messaging.clone(),
        presence: settings.presence.clone(),
        calls: settings.calls.clone(),
        federation: settings.federation_policy(),
        servers: settings.trusted_servers.clone(),
        remote_access: settings.remote_access.is_enabled,
        limits: settings.limits.clone(),
        dns: settings.dns.clone(),
        data_dir: settings.data_dir.clone(),
        control_socket: settings.control_socket.clone(),
        tls: settings.tls.clone(),
        web: Some((web::Settings::of(settings), web::Wishes::of(settings))),
        directory: Followed::of(settings),
    }
}

fn announce(facts: &ServerFacts) {
    for listener in &facts.listeners {
        let (role, transport, address) = (&listener.role, &listener.transport, &listener.address);
        tracing::info!(event = "listening", role, transport, address, "open");
    }
    tracing::info!(
        event = "ready",
        version = facts.version,
        pid = facts.pid,
        domains = facts.domains.join(","),
        "it serves"
    );
}
