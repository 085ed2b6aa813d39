//! `chancery check`: what the configuration says, held against the world. Each finding is a line with a mend.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use federation::HostPort;
use net::ClientCertificates;
use node::{Answers, Question, ResolveError, Side};
use pki::CertificateFacts;
use serde::Serialize;

use crate::cli::CheckArguments;
use crate::config::{Asks, ConfigError, ListenerSettings, Role, Settings, TlsSettings};
use crate::control::client::Client;
use crate::control::protocol::{AnswerLine, CallLine, ServerFacts};
use crate::exit::{Exit, Failure};
use crate::{clock, files, locate, perimeter, server, tls, user};

/// Free space below which the check fails, in octets: SQLite needs room for its log to commit at all.
const FREE_OCTETS_MIN: u64 = 64 << 20;
/// Free space below which it warns, in octets: some weeks of messages.
const FREE_OCTETS_WARN: u64 = 1 << 30;
/// No clock is right that stands before this program was written, in seconds since 1970 (September 2026).
const EARLIEST_UNIX_SECONDS: u64 = 1_788_220_800;
/// How far a file of ours may lie in the future: file servers have clocks of their own.
const FUTURE_SLACK: Duration = Duration::from_secs(300);
/// Where partners are listened to.
const FEDERATION_PORT: u16 = 5061;
/// How long DNS may take for all questions together.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Written and removed again in the data folder.
const PROBE_FILE: &str = ".check";

/// What one look found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    result: Verdict,
    /// What was looked at, from a closed set.
    subject: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What was found, in the order of the looks.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn ok(&mut self, subject: &'static str, message: impl Into<String>) {
        self.0.push(Finding { result: Verdict::Ok, subject, message: message.into(), mend: None });
    }

    pub(crate) fn warn(
        &mut self,
        subject: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mend = Some(mend.into());
        self.0.push(Finding { result: Verdict::Warn, subject, message: message.into(), mend });
    }

    pub(crate) fn fail(
        &mut self,
        subject: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mend = Some(mend.into());
        self.0.push(Finding { result: Verdict::Fail, subject, message: message.into(), mend });
    }

    pub(crate) fn failed(&self) -> usize {
        self.0.iter().filter(|finding| finding.result == Verdict::Fail).count()
    }

    /// For people: a line for each, and its mend below.
    pub(crate) fn lines(&self) -> String {
        lines(self)
    }

    /// For scripts; `key` says what was looked at.
    pub(crate) fn json(&self, key: &str, value: impl Serialize) -> serde_json::Value {
        let worst = self.0.iter().map(|finding| finding.result).max().unwrap_or(Verdict::Ok);
        serde_json::json!({ key: value, "result": worst, "checks": self.0 })
    }
}

pub(crate) fn run(arguments: &CheckArguments) -> Result<(), Failure> {
    let file = locate::config_file(arguments.config.config.as_deref())?;
    let mut findings = Findings::default();
    let settings = match Settings::load(&file) {
        Ok(settings) => {
            findings.ok("configuration", format!("{} is valid", file.display()));
            Some(settings)
        }
        Err(ConfigError::Wrong(problems)) => {
            for problem in problems {
                let mend = problem.suggestion.clone().unwrap_or_else(|| "correct the value".to_owned());
                let bare = crate::config::Problem { suggestion: None, ..problem };
                findings.fail("configuration", bare.to_string(), mend);
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(settings) = &settings {
        look(settings, arguments.offline, &mut findings);
    }
    match arguments.json {
        true => user::print_json(&findings.json("config", &file))?,
        false => user::print(&findings.lines())?,
    }
    match (findings.failed(), settings) {
        (0, _) => Ok(()),
        (_, None) => {
            Err(Failure::text(Exit::Configuration, "the configuration is wrong, the rest was not looked at"))
        }
        (1, _) => Err(Failure::text(Exit::Failed, "1 check failed")),
        (failed, _) => Err(Failure::text(Exit::Failed, format!("{failed} checks failed"))),
    }
}

fn look(settings: &Settings, offline: bool, findings: &mut Findings) {
    clock(settings, findings);
    for (side, files) in [(Side::Inside, &settings.tls), (Side::Outside, &settings.tls_outside)] {
        if let Some(files) = files {
            certificate(settings, side, files, findings);
        }
    }
    trusted_servers(settings, findings);
    policy(settings, findings);
    data_dir(&settings.data_dir, findings);
    crate::directory::check(settings, offline, findings);
    let running = running(&settings.control_socket);
    ports(settings, running.as_ref(), findings);
    if !offline {
        dns(settings, findings);
    }
}

fn clock(settings: &Settings, findings: &mut Findings) {
    let now = clock::unix_seconds();
    let mend =
        "set it, and let chrony or systemd-timesyncd keep it: expiry times and certificates depend on it";
    if now < EARLIEST_UNIX_SECONDS {
        findings.fail("clock", format!("it says {}, which is long past", date(now as i64)), mend);
        return;
    }
    let newest = std::fs::read_dir(&settings.data_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
    match newest.max() {
        Some(newest) if newest > SystemTime::now() + FUTURE_SLACK => {
            findings.warn("clock", "files in the data folder were written in its future: it went back", mend);
        }
        Some(_) | None => findings.ok("clock", format!("it says {}", date(now as i64))),
    }
}

/// Whether those whom the role cannot do without are listed as servers of ours.
fn trusted_servers(settings: &Settings, findings: &mut Findings) {
    let is_listed = |host: &str| settings.trusted_servers.iter().any(|s| s.host.eq_ignore_ascii_case(host));
    let needed: Vec<(&str, &HostPort)> = match settings.role {
        Role::StandardEdition => {
            settings.federation.route.iter().map(|hop| ("[federation] route", hop)).collect()
        }
        Role::Director => {
            let homes = settings.director.front_ends.iter().map(|hop| ("[director] front_ends", hop));
            homes.chain(settings.federation.route.iter().map(|hop| ("[federation] route", hop))).collect()
        }
        Role::AccessEdge => {
            settings.access_edge.next_hops.iter().map(|hop| ("[access_edge] next_hops", hop)).collect()
        }
        Role::Clearinghouse => Vec::new(),
    };
    let count = needed.len();
    let missing: Vec<_> = needed.into_iter().filter(|(_, hop)| !is_listed(&hop.host)).collect();
    for (key, hop) in &missing {
        let mend = format!("add a section [[trusted_server]] with host = \"{}\" and its role", hop.host);
        findings.fail(
            "servers",
            format!("{key} names {}, which is no trusted server: it is not believed", hop.host),
            mend,
        );
    }
    if missing.is_empty() && count > 0 {
        findings.ok("servers", "every server that requests go to is a trusted one");
    }
    if settings.role != Role::Clearinghouse
        && !settings.trusted_servers.is_empty()
        && settings.tls.as_ref().is_none_or(|tls| tls.authority_file.is_none())
    {
        let mend = "name the CA of our servers' certificates in [tls] authority_file";
        findings.fail("servers", "there are trusted servers, but no CA that could prove who they are", mend);
    }
}

/// Of a server at the border: whether its policy can be used, and whom it allows.
fn policy(settings: &Settings, findings: &mut Findings) {
    if !matches!(settings.role, Role::AccessEdge | Role::Clearinghouse) {
        return;
    }
    let file = settings.federation.policy_file.display();
    match perimeter::policy(settings) {
        Err(error) => {
            findings.fail("policy", format!("{error:#}"), "correct it; until then nobody is talked with")
        }
        Ok(policy) if policy.allows_nobody() => {
            let mend = "`chancery federation allow DOMAIN --next-hop HOST:PORT` allows somebody";
            findings.warn(
                "policy",
                format!("{file} allows nobody: no other organisation is talked with"),
                mend,
            );
        }
        Ok(policy) => {
            let (partners, hubs) = (policy.partners().len(), policy.clearinghouses().len());
            findings.ok("policy", format!("{file} lists {partners} partners and {hubs} clearinghouses"));
        }
    }
}

fn certificate(settings: &Settings, side: Side, files: &TlsSettings, findings: &mut Findings) {
    let reissue = "`chancery ca issue` makes one, or let your CA issue one with these names";
    let file = files.certificate_file.display().to_string();
    let pem = match std::fs::read(&files.certificate_file) {
        Ok(pem) => pem,
        Err(error) => {
            return findings.fail("certificate", format!("{file} cannot be read: {error}"), reissue);
        }
    };
    let chain = pki::certificates_in_pem(&pem);
    let chain = match chain.and_then(|chain| CertificateFacts::read(&chain[0]).map(|facts| (chain, facts))) {
        Ok(chain) => chain,
        Err(error) => return findings.fail("certificate", format!("{file}: {error}"), reissue),
    };
    let (chain, facts) = chain;
    key(files, &chain[0], findings);
    dates(&file, &facts, findings);
    names(settings, side, &file, &facts, findings);
    issuers(files, &file, &chain, &facts, findings);
}

fn key(files: &TlsSettings, certificate: &[u8], findings: &mut Findings) {
    let file = files.key_file.display();
    let mend = "name the key that the certificate was made with in [tls] key_file";
    match std::fs::read_to_string(&files.key_file) {
        Err(error) => findings.fail("key", format!("{file} cannot be read: {error}"), mend),
        Ok(pem) => match pki::key_fits(certificate, &pem) {
            Ok(true) => findings.ok("key", format!("{file} belongs to the certificate")),
            Ok(false) => findings.fail("key", format!("{file} is not the certificate's key"), mend),
            Err(error) => findings.fail("key", format!("{file}: {error}"), mend),
        },
    }
    // The group may read it (root:chancery 0640 in the packaged installation); nobody may write it but its owner.
    match files::mode(&files.key_file) {
        Ok(mode) if mode & 0o037 != 0 => findings.fail(
            "key",
            format!("{file} has mode {mode:04o}: others can read or change it"),
            format!("chmod 0600 {file}; if it was exposed, make a new one"),
        ),
        // What cannot be read was said above.
        Ok(_) | Err(_) => {}
    }
}

fn dates(file: &str, facts: &CertificateFacts, findings: &mut Findings) {
    let now = clock::unix_seconds() as i64;
    let (days, end) = (facts.days_left(now), date(facts.not_after_unix_seconds));
    let renew = "renew it now: a new file is taken over without a restart";
    if now < facts.not_before_unix_seconds {
        let start = date(facts.not_before_unix_seconds);
        findings.fail("certificate", format!("{file} begins on {start}"), "look at the clock, or wait");
    } else if !facts.is_valid_at(now) {
        findings.fail("certificate", format!("{file} ended on {end}"), renew);
    } else if days < tls::EXPIRY_WARNING_DAYS {
        findings.warn("certificate", format!("{file} ends on {end}, in {days} days"), renew);
    } else {
        findings.ok("certificate", format!("{file} is valid until {end}, {days} more days"));
    }
}

fn names(settings: &Settings, side: Side, file: &str, facts: &CertificateFacts, findings: &mut Findings) {
    let mend = |name: &str| format!("have {name} added to the certificate's subject alternative names");
    let mut missing = false;
    // A server with two sides has a host of each; what it is called otherwise is the outside's.
    let is_of_both = matches!(settings.role, Role::StandardEdition | Role::Director);
    let host = (is_of_both || side == Side::Outside).then_some(settings.host.as_str());
    let advertised = settings.listeners.iter().filter(|l| l.transport.is_secure() && l.side == side);
    let mut hosts: Vec<&str> =
        host.into_iter().chain(advertised.map(|l| l.advertised_host.as_str())).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts.into_iter().filter(|host| !facts.covers_host(host)) {
        missing = true;
        findings.fail("names", format!("{file} does not name the host {host}"), mend(host));
    }
    // The inside of an edge speaks for no domain.
    let domains = settings.domains.iter().filter(|_| is_of_both || side == Side::Outside);
    for domain in domains.filter(|d| !pki::proves_domain(&facts.sip_domains, d.as_str())) {
        missing = true;
        // Clients that connect to the host by name work all the same; other servers refuse.
        findings.warn(
            "names",
            format!("{file} does not prove the SIP domain {domain}"),
            mend(domain.as_str()),
        );
    }
    if !facts.may_serve {
        missing = true;
        let mend = "have it issued with the extended key usage serverAuth";
        findings.fail("names", format!("{file} is not for servers"), mend);
    }
    if !missing {
        let domains = if is_of_both || side == Side::Outside { " and every domain" } else { "" };
        findings.ok("names", format!("the certificate names the host{domains}"));
    }
}

fn issuers(
    files: &TlsSettings,
    file: &str,
    chain: &[Vec<u8>],
    facts: &CertificateFacts,
    findings: &mut Findings,
) {
    if facts.is_self_signed {
        let mend = "use a certificate of a CA: `chancery init` makes one of its own";
        return findings.warn(
            "chain",
            format!("{file} signed itself: each client must be told to trust it"),
            mend,
        );
    }
    let issued = |pair: &[Vec<u8>]| pki::is_issued_by(&pair[0], &pair[1]).unwrap_or(false);
    if let Some(at) = chain.windows(2).position(|pair| !issued(pair)) {
        let mend = "put the server's certificate first, then each issuer behind what it issued";
        let message = format!("{file}: certificate {} is not issued by certificate {}", at + 1, at + 2);
        return findings.fail("chain", message, mend);
    }
    let Some(authority_file) = &files.authority_file else {
        return findings.ok("chain", format!("{} certificates, issued by {}", chain.len(), facts.issuer));
    };
    let authority = authority_file.display();
    let roots = std::fs::read(authority_file)
        .map_err(|error| error.to_string())
        .and_then(|pem| pki::certificates_in_pem(&pem).map_err(|error| error.to_string()));
    match roots {
        Err(error) => {
            let mend = "name a PEM file with CA certificates in [tls] authority_file, or remove the key";
            findings.fail("chain", format!("{authority} cannot be used: {error}"), mend);
        }
        Ok(roots) => {
            let last = chain.last().expect("a PEM file read has a certificate");
            let leads = |root: &Vec<u8>| root == last || pki::is_issued_by(last, root).unwrap_or(false);
            match roots.iter().any(leads) {
                true => findings.ok("chain", format!("it leads to {authority}")),
                // Legal: the server's own certificate may be of a public CA, others' of a private one.
                false => {
                    findings.ok("chain", format!("issued by {}, not by a CA of {authority}", facts.issuer))
                }
            }
        }
    }
}

fn data_dir(dir: &Path, findings: &mut Findings) {
    let shown = dir.display();
    if !dir.exists() {
        let mend = format!("create it: install -d -m 0700 -o chancery -g chancery {shown}");
        return findings.fail("data", format!("the folder {shown} does not exist"), mend);
    }
    let probe = dir.join(PROBE_FILE);
    let written = files::write(&probe, files::MODE_SECRET, b"written by chancery check\n");
    match written.and_then(|()| Ok(std::fs::remove_file(&probe)?)) {
        Ok(()) => findings.ok("data", format!("{shown} can be written")),
        Err(error) => {
            let mend = format!("run this as the server's account, or chown {shown} to it");
            findings.fail("data", format!("{shown} cannot be written: {error:#}"), mend);
        }
    }
    match files::mode(dir) {
        Ok(mode) if mode & 0o007 != 0 => findings.warn(
            "data",
            format!("{shown} has mode {mode:04o}: everybody on this machine can look into it"),
            format!("chmod 0700 {shown}"),
        ),
        Ok(_) | Err(_) => {}
    }
    match rustix::fs::statvfs(dir) {
        Err(error) => findings.warn("space", format!("the free space is unknown: {error}"), "look with df"),
        Ok(space) => {
            let free = space.f_bavail * space.f_frsize;
            let message = format!("{} MiB are free in {shown}", free >> 20);
            let mend = "make room: messages are refused when the disk is full";
            match free {
                free if free < FREE_OCTETS_MIN => findings.fail("space", message, mend),
                free if free < FREE_OCTETS_WARN => findings.warn("space", message, mend),
                _ => findings.ok("space", message),
            }
        }
    }
}

/// The running server that holds the control socket, if there is one.
fn running(socket: &Path) -> Option<ServerFacts> {
    match Client::connect(socket).ok()?.ask(CallLine::Status).ok()? {
        AnswerLine::Status(status) => Some(status.server),
        AnswerLine::Perimeter(status) => Some(status.server),
        AnswerLine::Director(status) => Some(status.server),
        _ => None,
    }
}

fn ports(settings: &Settings, running: Option<&ServerFacts>, findings: &mut Findings) {
    if let Some(server) = running {
        findings.ok("server", format!("version {} is running as process {}", server.version, server.pid));
    }
    let held_by = |transport: &str, address: SocketAddr| {
        let address = address.to_string();
        running.filter(|server| {
            server.listeners.iter().any(|l| l.transport == transport && l.address == address)
        })
    };
    let mut note = |name: &str, address: SocketAddr, bound: Result<(), server::BindError>| match (
        bound,
        held_by(name, address),
    ) {
        (Ok(()), None) => findings.ok("ports", format!("{name} {address} is free")),
        (Err(error), Some(server)) if error.is_in_use() => {
            findings.ok("ports", format!("{name} {address} is held by the running server ({})", server.pid));
        }
        (Err(error), _) => findings.fail("ports", format!("{name} {address}: {}", error.error), error.mend()),
        (Ok(()), Some(_)) => findings.warn(
            "ports",
            format!("{name} {address} is free, although the running server should hold it"),
            "look at the server's log",
        ),
    };
    // Sockets stay open until all are tried, as they would in the server: two listeners may collide.
    let mut open = Vec::new();
    for ListenerSettings { transport, address, advertised_host, .. } in &settings.listeners {
        // The kernel knows two kinds only, and a plain listener needs no certificate.
        let plain = match transport {
            node::Transport::Udp => node::Transport::Udp,
            _ => node::Transport::Tcp,
        };
        let listener = ListenerSettings {
            transport: plain,
            address: *address,
            side: Side::Inside,
            advertised_host: advertised_host.clone(),
            origins: Vec::new(),
            asks: Asks::Never,
        };
        note(
            transport.name(),
            *address,
            server::bind(&listener, None, ClientCertificates::Never).map(|bound| open.push(bound)),
        );
    }
    let mut open_http = Vec::new();
    for address in &settings.http_addresses {
        note("http", *address, server::bind_http("http", *address).map(|bound| open_http.push(bound)));
    }
    for address in &settings.web.addresses {
        note("web", *address, server::bind_http("web", *address).map(|bound| open_http.push(bound)));
    }
    for address in &settings.https_addresses {
        note("https", *address, server::bind_http("https", *address).map(|bound| open_http.push(bound)));
    }
}

/// RFC 3263 §4.2: clients that are told the domain only find the server by its SRV records.
fn dns(settings: &Settings, findings: &mut Findings) {
    let questions: Vec<(String, u16)> = settings
        .domains
        .iter()
        .flat_map(|domain| {
            settings.listeners.iter().filter_map(move |listener| {
                let service = match (settings.role, listener.transport) {
                    // Nobody looks for these but our own servers, which are told where they are.
                    (Role::Director, _) => return None,
                    (Role::AccessEdge | Role::Clearinghouse, _) if listener.side == Side::Inside => {
                        return None;
                    }
                    // Where partners look, and nobody else.
                    (Role::AccessEdge | Role::Clearinghouse, node::Transport::Tls)
                        if listener.address.port() == FEDERATION_PORT =>
                    {
                        "_sipfederationtls._tcp"
                    }
                    (_, node::Transport::Udp) => "_sip._udp",
                    (_, node::Transport::Tcp) => "_sip._tcp",
                    (_, node::Transport::Tls) => "_sips._tcp",
                    // RFC 7118 leaves WebSocket URIs to configuration.
                    (_, node::Transport::Ws | node::Transport::Wss) => return None,
                };
                Some((format!("{service}.{domain}"), listener.address.port()))
            })
        })
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_iter()
        .collect();
    let asked = net::runtime().map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let resolver = server::resolver(&settings.dns)?;
            let mut answers = Vec::new();
            for (name, port) in questions {
                let question = Question::Srv(name.clone());
                let task = {
                    let resolver = resolver.clone();
                    tokio::spawn(async move { resolver.resolve(&question).await })
                };
                answers.push((name, port, task));
            }
            let deadline = tokio::time::Instant::now() + DNS_TIMEOUT;
            let mut found = Vec::new();
            for (name, port, task) in answers {
                let answer = match tokio::time::timeout_at(deadline, task).await {
                    Ok(Ok(Ok(Answers::Srv(records)))) => Ok(records),
                    Ok(Ok(Ok(_))) => Err("an answer to another question".to_owned()),
                    Ok(Ok(Err(ResolveError::NotFound))) => Err("there is no such record".to_owned()),
                    Ok(Ok(Err(ResolveError::Failed))) => Err("no server answered".to_owned()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("no answer in time".to_owned()),
                };
                found.push((name, port, answer));
            }
            Ok(found)
        })
    });
    let found = match asked {
        Ok(found) => found,
        Err(error) => {
            return findings.warn(
                "dns",
                format!("{error:#}"),
                "look at [dns] servers, or at /etc/resolv.conf",
            );
        }
    };
    for (name, port, answer) in found {
        let wanted = format!("{name}. IN SRV 0 0 {port} {}.", settings.host);
        match answer {
            Ok(records) => {
                let shown: Vec<String> =
                    records.iter().map(|srv| format!("{}:{}", srv.target, srv.port)).collect();
                let ours = records.iter().any(|srv| srv.target.eq_ignore_ascii_case(&settings.host));
                match ours {
                    true => findings.ok("dns", format!("{name} leads to {}", shown.join(", "))),
                    false => findings.warn("dns", format!("{name} leads to {}", shown.join(", ")), wanted),
                }
            }
            Err(error) => findings.warn("dns", format!("SRV {name}: {error}"), wanted),
        }
    }
}

fn date(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map_or_else(
        |_| format!("second {unix_seconds}"),
        |timestamp| timestamp.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

fn lines(findings: &Findings) -> String {
    let mut text = String::new();
    for Finding { result, subject, message, mend } in &findings.0 {
        let result = match result {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let _ = writeln!(text, "{result}  {subject:13} {message}");
        if let Some(mend) = mend {
            let _ = writeln!(
                text,
                "                    mend: {}",
                mend.replace('\n', "\n                          ")
            );
        }
    }
    text
}
