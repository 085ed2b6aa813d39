//! `chancery serve`: the configured server.

use crate::cli::ServeArguments;
use crate::config::Settings;
use crate::control::protocol::ServerFacts;
use crate::exit::Failure;
use crate::reload::Reloader;
use crate::server::{self, Operator, Sockets};
use crate::standard_edition::{self, Plan};
use crate::tls::Certificate;
use crate::{locate, logging};

pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let file = locate::config_file(arguments.config.config.as_deref())?;
    let settings = Settings::load(&file)?;
    let level = logging::start(&settings.log.level, arguments.log_format.unwrap_or(settings.log.format))?;
    server::raise_descriptor_limit();
    let certificate = server::load_certificate(settings.tls.as_ref())?;
    let sockets = bind(&settings, certificate.as_ref())?;
    let plan = plan(&settings);
    let operator = Operator {
        certificate,
        on_ready: Box::new(|facts| {
            announce(facts);
            Ok(())
        }),
        reloader: Some(Reloader::new(file, settings, level)),
    };
    standard_edition::run(plan, sockets, operator)?;
    tracing::info!(event = "stopped", "bye");
    Ok(())
}

fn bind(settings: &Settings, certificate: Option<&Certificate>) -> anyhow::Result<Sockets> {
    let tls = certificate.map(Certificate::server);
    let sip = settings.listeners.iter().map(|listener| Ok(server::bind(listener, tls.as_ref())?));
    let http = settings.http_addresses.iter().map(|address| Ok(server::bind_http("http", *address)?));
    let https = settings.https_addresses.iter().map(|address| Ok(server::bind_http("https", *address)?));
    Ok(Sockets {
        sip: sip.collect::<anyhow::Result<_>>()?,
        http: http.collect::<anyhow::Result<_>>()?,
        https: https.collect::<anyhow::Result<_>>()?,
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
        limits: settings.limits.clone(),
        dns: settings.dns.clone(),
        data_dir: settings.data_dir.clone(),
        control_socket: settings.control_socket.clone(),
        authority_file: settings.tls.as_ref().and_then(|tls| tls.authority_file.clone()),
        revocation_files: settings.tls.as_ref().map(|tls| tls.revocation_files.clone()).unwrap_or_default(),
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
        "the users are loaded"
    );
}
