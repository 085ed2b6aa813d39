//! `chancery demo`: a server with sample users that needs no configuration.

mod page;
mod ports;
mod users;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use directory::DomainName;
use frontend::{AuthenticationPolicy, Challenge, FederationPolicy, MessagingLimits, RegistrationLimits};
use pki::ServerNames;

use crate::cli::DemoArguments;
use crate::config::{CONTROL_SOCKET, DnsSettings, ProcessLimits, TlsSettings};
use crate::exit::{Exit, Failure};
use crate::init::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, authority_name, certificate_for};
use crate::locate::{DATA_DIR, DATABASE};
use crate::offline::Offline;
use crate::server::{self, Operator};
use crate::standard_edition::{self, Plan};
use crate::tls::{Certificate, Certificates};
use crate::{clock, files, logging, tls, user};

/// How much the demo logs beside its page: what somebody must act on. `RUST_LOG` overrides it.
const LOG_LEVEL: &str = "warn";

pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    logging::start(LOG_LEVEL, arguments.log_format)?;
    server::raise_descriptor_limit();
    let domain = DomainName::parse(&arguments.domain).map_err(|error| {
        let domain = &arguments.domain;
        Failure::text(
            Exit::Failed,
            format!("--domain {domain:?}: {error}\n  help: write it as contoso.example"),
        )
    })?;
    let dir = std::path::absolute(&arguments.dir).context("the folder cannot be named")?;
    let data_dir = dir.join(DATA_DIR);
    files::create_secret_dir(&data_dir)?;

    let accounts = users::Accounts::of(arguments, &domain)?;
    let total = store(&data_dir, &accounts, !arguments.json)?;

    let addresses = listen_addresses(arguments);
    let files = certificate_files(arguments, &dir, &domain, &addresses)?;
    let certificate = Certificate::load(&files)?;
    let bound = ports::bind(arguments, &addresses, &certificate.server())?;

    let plan = Plan {
        domains: vec![domain.clone()],
        aliases: vec!["localhost".to_owned()],
        registration: RegistrationLimits::default(),
        authentication: authentication(arguments),
        messaging: MessagingLimits::default(),
        presence: frontend::PresencePolicy::default(),
        calls: frontend::CallPolicy::default(),
        federation: FederationPolicy::default(),
        servers: Vec::new(),
        remote_access: true,
        // Load generators, too, come from one address.
        dns: DnsSettings::default(),
        limits: ProcessLimits {
            connections_per_source_max: u32::try_from(net::CONNECTIONS_MAX).unwrap_or(u32::MAX),
            ..ProcessLimits::default()
        },
        control_socket: data_dir.join(CONTROL_SOCKET),
        web: None,
        data_dir,
        tls: Some(TlsSettings {
            authority_file: Some(
                files.authority_file.clone().unwrap_or_else(|| files.certificate_file.clone()),
            ),
            ..files.clone()
        }),
        directory: None,
    };
    let sockets = bound.sockets;
    let page = page::Page {
        ports: bound.ports,
        host: bound.host,
        notes: bound.notes,
        authority: files.authority_file.unwrap_or(files.certificate_file),
        domain: domain.as_str().to_owned(),
        dir,
        shown: accounts.shown(),
        total,
    };
    let json = arguments.json;
    let operator = Operator {
        certificates: Certificates { inside: Some(certificate), outside: None },
        watched: Vec::new(),
        on_ready: Box::new(move |facts| {
            let text = if json { page.json(facts) } else { page.text(facts) };
            user::print(&text).map_err(|failure| anyhow!("{failure}"))
        }),
        reloader: None,
    };
    Ok(standard_edition::run(plan, sockets, operator)?)
}

/// Creates the accounts that are not there yet. Returns how many there are.
fn store(data_dir: &Path, accounts: &users::Accounts, talkative: bool) -> anyhow::Result<usize> {
    let mut offline = Offline::open(&data_dir.join(DATABASE))?;
    let stored = offline.accounts()?;
    for address in accounts.with_another_password(&stored) {
        eprintln!(
            "chancery demo: {address} is stored with another password, which stays \
             (`chancery user set-password {address} --dir DIR` changes it)"
        );
    }
    let new = accounts.missing_from(&stored);
    let progress = users::progress_bar(new.len(), talkative);
    let added = offline.add(&new, |done| progress.set_position(done as u64))?;
    progress.finish_and_clear();
    offline.close()?;
    Ok(stored.len() + added)
}

fn authentication(arguments: &DemoArguments) -> AuthenticationPolicy {
    let default = AuthenticationPolicy::default();
    match (arguments.challenge_all, arguments.trust_flows) {
        (true, _) => AuthenticationPolicy {
            connections: Challenge::EveryRequest,
            datagrams: Challenge::EveryRequest,
            ..default
        },
        (false, true) => AuthenticationPolicy { datagrams: Challenge::OncePerFlow, ..default },
        (false, false) => default,
    }
}

fn listen_addresses(arguments: &DemoArguments) -> Vec<IpAddr> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut addresses = arguments.listen.clone();
    if addresses.is_empty() {
        addresses.extend(loopback);
    }
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| seen.insert(*address));
    addresses
}

/// The given certificate, or the demo's own: kept while it names everything that it must.
fn certificate_files(
    arguments: &DemoArguments,
    dir: &Path,
    domain: &DomainName,
    addresses: &[IpAddr],
) -> anyhow::Result<TlsSettings> {
    if let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).with_context(|| format!("{} cannot be named", path.display()))
        };
        return Ok(TlsSettings {
            certificate_file: absolute(certificate)?,
            key_file: absolute(key)?,
            authority_file: None,
            revocation_files: Vec::new(),
        });
    }
    let mut names = ServerNames {
        domains: vec![domain.as_str().to_owned()],
        hosts: vec!["localhost".to_owned()],
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
    };
    names.addresses.extend(addresses.iter().filter(|address| !address.is_unspecified()));
    let files = TlsSettings {
        certificate_file: dir.join(CERTIFICATE_FILE),
        key_file: dir.join(KEY_FILE),
        authority_file: Some(dir.join(AUTHORITY_FILE)),
        revocation_files: Vec::new(),
    };
    if !is_good_for(&files.certificate_file, &names) {
        certificate_for(dir, &authority_name(domain.as_str()), &names, true)?;
    }
    Ok(files)
}

fn is_good_for(certificate: &Path, names: &ServerNames) -> bool {
    // Whatever is wrong with a certificate of the demo's own, a new one mends it.
    let Ok(facts) = tls::facts(certificate) else { return false };
    let now = clock::unix_seconds() as i64;
    facts.is_valid_at(now)
        && facts.days_left(now) >= tls::EXPIRY_WARNING_DAYS
        && names.domains.iter().all(|domain| pki::proves_domain(&facts.sip_domains, domain))
        && names.hosts.iter().all(|host| facts.covers_host(host))
        && names.addresses.iter().all(|address| facts.ip_addresses.contains(address))
}
