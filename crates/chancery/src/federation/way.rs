//! `chancery federation test`: policy, DNS, TCP, TLS, certificates, an answer, clocks; each step with its mend.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use federation::policy::{DISCOVERY_SERVICE, PartnerMode};
use federation::{Direction, Facts, Member, Modality, Policy, Provenance, Road, Verdict, judge};
use node::{
    Anchors, Answers, PeerCertificate, PeerHop, Place, Proof, Question, ResolveError, Side, Srv, UnixMillis,
    Unmet,
};
use pki::{CertificateFacts, PeerRole, Trust};
use sip_message::{HeaderId, Message, Method};

use super::arguments::TestArguments;
use super::peer::{Peer, connect};
use crate::check::Findings;
use crate::config::{Role, Settings, TlsSettings};
use crate::exit::{Exit, Failure};
use crate::{clock, secrets, server, user};

/// How long each step may take: who waits at the terminal wants to know which one hangs.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of the other side that are tried.
const ADDRESSES_MAX: usize = 4;
/// Difference of clocks from which on nonces and certificates go wrong, in seconds.
const CLOCK_DIFFERENCE_MAX: i64 = 300;
/// Difference from which on it is told, in seconds.
const CLOCK_DIFFERENCE_WARN: i64 = 30;
/// Difference that may be the answer's own way, in seconds: a Date counts in whole ones.
const CLOCK_DIFFERENCE_NONE: i64 = 5;

pub(super) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    let settings = super::settings(&arguments.config)?;
    let policy = super::policy(&settings)?;
    let domain = federation::domain_name(&arguments.domain).ok_or_else(|| {
        let domain = &arguments.domain;
        Failure::text(
            Exit::Failed,
            format!("{domain:?} is no domain name\n  help: write it as fabrikam.example"),
        )
    })?;
    let mut findings = Findings::default();
    let now = UnixMillis(clock::unix_seconds() * 1000);
    let road = verdicts(&settings, &policy, &domain, now, &mut findings);
    if let (Some(road), false) = (&road, arguments.offline) {
        live(&settings, &policy, &domain, road, now, &mut findings)?;
    }
    match arguments.json {
        true => user::print_json(&findings.json("domain", &domain))?,
        false => user::print(&findings.lines())?,
    }
    match findings.failed() {
        0 => Ok(()),
        1 => Err(Failure::text(Exit::Failed, "1 step failed")),
        failed => Err(Failure::text(Exit::Failed, format!("{failed} steps failed"))),
    }
}

/// What the policy says of each modality, both ways; the road, where there is one.
fn verdicts(
    settings: &Settings,
    policy: &Policy,
    domain: &str,
    now: UnixMillis,
    findings: &mut Findings,
) -> Option<Road> {
    let is_hub = settings.role == Role::Clearinghouse;
    let (local, ways) = match is_hub {
        false => {
            let ways = [(Direction::Outbound, "to"), (Direction::Inbound, "from")];
            (settings.domains[0].as_str().to_owned(), ways)
        }
        true => match other_member(policy, domain) {
            Some(other) => (other, [(Direction::Transit, "to"), (Direction::Transit, "from")]),
            None => {
                let mend = "chancery federation allow DOMAIN --member --next-hop HOST:5061";
                findings.fail("policy", format!("there is no member but {domain}"), mend);
                return None;
            }
        },
    };
    let mut road = None;
    let mut refusals: Vec<(String, String, String)> = Vec::new();
    for (direction, word) in ways {
        let mut allowed: Vec<&str> = Vec::new();
        for modality in Modality::ALL {
            let judged = asked(policy, direction, word, &local, domain, modality, now);
            match judged {
                Verdict::Allow(found) => {
                    allowed.push(modality.title());
                    // In transit from it, the road leads to the other member.
                    if found.domain.as_ref() == domain {
                        road = Some(found);
                    }
                }
                Verdict::Refuse(refusal) => {
                    let what = format!("{} {word} {domain}", modality.title());
                    let (reason, mend) = (refusal.reason.to_string(), refusal.reason.mend());
                    refusals.push((what, format!("{} {reason}", refusal.status), mend));
                }
            }
        }
        if !allowed.is_empty() {
            findings.ok("policy", format!("{word} {domain} may pass: {}", allowed.join(", ")));
        }
    }
    match &road {
        Some(road) => {
            for (what, reason, mend) in refusals {
                findings.warn("policy", format!("{what}: {reason}"), mend);
            }
            let via = road.hub.as_ref().map_or(String::new(), |hub| format!(", vouched for by {hub}"));
            findings.ok("policy", format!("the road is {}{via}", road.mode.name()));
        }
        None => {
            // One reason for all, as a rule: the first says it.
            let first = refusals.into_iter().next();
            let (_, reason, mend) = first.expect("without a road something was refused");
            findings.fail("policy", reason, mend);
        }
    }
    road
}

/// The verdict on one modality, as if the other side proved who it is.
fn asked(
    policy: &Policy,
    direction: Direction,
    word: &str,
    local: &str,
    domain: &str,
    modality: Modality,
    now: UnixMillis,
) -> Verdict {
    let method = match modality {
        Modality::Presence => Method::Subscribe,
        Modality::Im => Method::Message,
        Modality::Audio | Modality::Video => Method::Invite,
    };
    // In transit `local` is where it goes.
    let (local, remote) = match (direction, word) {
        (Direction::Transit, "to") => (domain, local),
        (Direction::Transit | Direction::Inbound | Direction::Outbound, _) => (local, domain),
    };
    let facts = Facts { direction, local, remote, modalities: modality.into(), method, within_dialog: false };
    if direction == Direction::Outbound {
        return judge(policy, &Provenance::Inside, &facts, now);
    }
    let certificate = proving(policy, remote);
    let member = Member::new(remote);
    let provenance = Provenance::Outside { certificate: certificate.as_ref(), member: member.as_ref() };
    judge(policy, &provenance, &facts, now)
}

/// A certificate that is all that the policy expects of whoever speaks for the domain.
fn proving(policy: &Policy, domain: &str) -> Option<PeerCertificate> {
    use federation::policy::Standing;
    let hop = match policy.standing(domain) {
        Standing::Own(_, server) => server.hop.clone(),
        Standing::Through(hub, _) => hub.server.hop.clone(),
        Standing::Ours | Standing::Blocked(_) => return None,
        Standing::Unlisted => {
            return Some(certificate(&[domain], &[domain], [0; 32], Anchors::Partners));
        }
    };
    let expected = &hop.expected;
    let pin = if let Proof::Pin(sha256) = expected.proof { sha256 } else { [0; 32] };
    Some(certificate(&[domain], &[&expected.server_name], pin, expected.anchors.clone()))
}

fn certificate(domains: &[&str], hosts: &[&str], sha256: [u8; 32], anchors: Anchors) -> PeerCertificate {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    PeerCertificate {
        sip_domains: owned(domains),
        dns_names: owned(hosts),
        ip_addresses: hosts.iter().filter_map(|host| host.parse().ok()).collect(),
        sha256,
        not_after: UnixMillis(u64::MAX),
        trusted_by: vec![anchors],
        distrust: String::new(),
    }
}

fn other_member(policy: &Policy, domain: &str) -> Option<String> {
    let members = policy.partners().iter().filter(|partner| partner.mode == PartnerMode::Member);
    members.map(|partner| partner.domain.to_string()).find(|member| member != domain)
}

/// From this machine.
fn live(
    settings: &Settings,
    policy: &Policy,
    domain: &str,
    road: &Road,
    now: UnixMillis,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let own = settings.tls_outside.as_ref().or(settings.tls.as_ref());
    let own = match own.map(read_pair).transpose() {
        Ok(own) => own,
        Err(error) => {
            let mend = "chancery ca issue --kind edge-outside makes one; [tls_outside] names it";
            findings.fail("ours", format!("{error:#}"), mend);
            None
        }
    };
    if let Some((chain, _)) = &own {
        own_certificate(settings, chain, now, findings);
    }
    let places = places(settings, &road.hop, domain, findings)?;
    let Some(tcp) = reach(settings, &places, findings) else { return Ok(()) };
    let expected = &road.hop.expected;
    let pair = own.as_ref().map(|(chain, key)| (chain.as_slice(), key.as_slice()));
    let mut peer = match Peer::handshake(tcp, &expected.server_name, pair, STEP_TIMEOUT) {
        Ok(peer) => peer,
        Err(error) => {
            let mend = "the other side must speak TLS 1.2 or 1.3 there, and take our certificate: ask its operator what its \
                        log says";
            findings.fail(
                "tls",
                format!("the handshake with {} failed: {error:#}", expected.server_name),
                mend,
            );
            return Ok(());
        }
    };
    match peer.asked_for_certificate() {
        true => findings.ok("tls", format!("{}, and it asked for our certificate", peer.version())),
        false => findings.fail(
            "tls",
            format!("{}, but it did not ask for our certificate", peer.version()),
            "it cannot know who we are: the other side must ask for certificates at this port (mutual TLS)",
        ),
    }
    let is_proved = their_certificate(settings, policy, road, &peer, now, findings);
    // Whoever did not prove itself is asked nothing.
    if is_proved {
        // As far as the other side's edge, and one hop further: its policy decides, and nothing goes round.
        let hops = if road.hub.is_some() { 2 } else { 1 };
        answer(settings, domain, hops, &mut peer, findings)?;
    }
    Ok(())
}

fn read_pair(files: &TlsSettings) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok((read(&files.certificate_file)?, read(&files.key_file)?))
}

/// What others will see in us.
fn own_certificate(settings: &Settings, chain: &[u8], now: UnixMillis, findings: &mut Findings) {
    let chain = match pki::certificates_in_pem(chain) {
        Ok(chain) => chain,
        Err(error) => return findings.fail("ours", error.to_string(), "name a PEM file in [tls_outside]"),
    };
    let seconds = (now.0 / 1000) as i64;
    let judged = match pki::fitness(&chain, &[], seconds) {
        Ok(judged) => judged,
        Err(error) => return findings.fail("ours", error.to_string(), "chancery ca show FILE"),
    };
    let outside = judged.into_iter().find(|fitness| fitness.part == pki::Part::EdgeOutside);
    let lacks = outside.map(|fitness| fitness.lacks).unwrap_or_default();
    let facts = CertificateFacts::read(&chain[0]).ok();
    let names = facts.as_ref().map(|facts| facts.dns_names.join(", ")).unwrap_or_default();
    let is_edge = settings.role != Role::Clearinghouse;
    let unproved = settings.domains.iter().find(|domain| {
        is_edge
            && !facts.as_ref().is_some_and(|facts| pki::proves_domain(&facts.sip_domains, domain.as_str()))
    });
    for lack in lacks.iter().filter(|lack| lack.weight == pki::Weight::Prevents) {
        findings.fail("ours", format!("our certificate: {}", lack.text), lack.mend.clone());
    }
    match unproved {
        Some(domain) => findings.warn(
            "ours",
            format!("our certificate ({names}) does not prove {domain}"),
            "partners with the rule `fqdn` or a pin take it; for the rule `domain` have sip: URI names added",
        ),
        None => findings.ok("ours", format!("our certificate bears {names}")),
    }
}

/// Host, addresses and port of the other side.
struct Target {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

fn places(
    settings: &Settings,
    hop: &PeerHop,
    domain: &str,
    findings: &mut Findings,
) -> Result<Vec<Target>, Failure> {
    let runtime = net::runtime().map_err(anyhow::Error::from)?;
    let resolver = {
        let _context = runtime.enter();
        server::resolver(&settings.dns).map_err(anyhow::Error::from)?
    };
    let ask = |question: Question| {
        runtime.block_on(async {
            match tokio::time::timeout(STEP_TIMEOUT, resolver.resolve(&question)).await {
                Ok(Ok(answers)) => Ok(answers),
                Ok(Err(ResolveError::NotFound)) => Err("there is no such record"),
                Ok(Err(ResolveError::Failed)) => Err("no DNS server answered"),
                Err(_) => Err("no answer in time"),
            }
        })
    };
    let service = match &hop.place {
        Place::Service(service) => service.clone(),
        Place::Host { .. } => format!("{DISCOVERY_SERVICE}.{domain}"),
    };
    let mut records: Vec<Srv> = match ask(Question::Srv(service.clone())) {
        Ok(Answers::Srv(records)) => records,
        Ok(_) => Vec::new(),
        Err(why) => {
            let text = format!("{service}: {why}");
            match &hop.place {
                Place::Service(_) => findings.fail(
                    "dns",
                    text,
                    "the other side publishes the record, or the policy says where its edge is: --next-hop HOST:5061",
                ),
                // Nobody needs it where the policy says the place.
                Place::Host { .. } => findings.ok("dns", format!("{text}; the policy says where it is")),
            }
            Vec::new()
        }
    };
    records.sort_by_key(|record| (record.priority, std::cmp::Reverse(record.weight)));
    let hosts: Vec<(String, u16)> = match &hop.place {
        Place::Host { name, port } => {
            let published = records.iter().map(|record| record.target.trim_end_matches('.'));
            if !records.is_empty() && !published.clone().any(|target| target.eq_ignore_ascii_case(name)) {
                let published: Vec<&str> = published.collect();
                findings.warn(
                    "dns",
                    format!("{service} leads to {}, the policy to {name}", published.join(", ")),
                    "ask the other side which one is right; the policy's is used",
                );
            }
            vec![(name.clone(), *port)]
        }
        Place::Service(_) => records
            .iter()
            .map(|record| (record.target.trim_end_matches('.').to_owned(), record.port))
            .collect(),
    };
    let mut targets = Vec::new();
    for (host, port) in hosts {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => ask(Question::Addresses(host.clone())).map(|answers| match answers {
                Answers::Addresses(addresses) => addresses,
                Answers::Srv(_) | Answers::Naptr(_) => Vec::new(),
            }),
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                findings.ok("dns", format!("{host} is {}", shown.join(", ")));
                targets.push(Target { host, port, addresses });
            }
            Ok(_) | Err(_) => {
                let why = found.err().unwrap_or("it has no address");
                let mend = "look at the name in the policy and at [dns] servers and hosts; the other side publishes A or \
                            AAAA records";
                findings.fail("dns", format!("{host}: {why}"), mend);
            }
        }
    }
    Ok(targets)
}

/// The first address that answers.
fn reach(settings: &Settings, targets: &[Target], findings: &mut Findings) -> Option<std::net::TcpStream> {
    let addresses = targets.iter().flat_map(|target| {
        target.addresses.iter().map(move |address| (target, SocketAddr::new(*address, target.port)))
    });
    let mut failed = Vec::new();
    for (target, to) in addresses.take(ADDRESSES_MAX) {
        let from = source(settings, to.ip());
        match connect(to, from, STEP_TIMEOUT) {
            Ok(tcp) => {
                let from = from.map_or(String::new(), |from| format!(" from {from}"));
                for text in failed {
                    findings.warn("tcp", text, UNREACHED_MEND);
                }
                findings.ok("tcp", format!("{} answers at {to}{from}", target.host));
                return Some(tcp);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable && from.is_some() => {
                let from = from.expect("it was just seen");
                let mend = "run this on the access edge, whose outside listener has that address";
                findings.fail("tcp", format!("{from} is no address of this machine"), mend);
                return None;
            }
            Err(error) => failed.push(format!("{} at {to}: {error}", target.host)),
        }
    }
    for text in failed {
        findings.fail("tcp", text, UNREACHED_MEND);
    }
    None
}

const UNREACHED_MEND: &str =
    "open the firewall for TCP from our edge to that port, and ask the other side whether its edge runs";

/// Where the server's own connections to the outside leave from.
fn source(settings: &Settings, to: IpAddr) -> Option<IpAddr> {
    let outside = settings.listeners.iter().filter(|listener| listener.side == Side::Outside);
    let of_family = outside.map(|listener| listener.address.ip()).find(|ip| ip.is_ipv4() == to.is_ipv4());
    of_family.filter(|ip| !ip.is_unspecified())
}

/// Whether it is what the policy expects.
fn their_certificate(
    settings: &Settings,
    policy: &Policy,
    road: &Road,
    peer: &Peer,
    now: UnixMillis,
    findings: &mut Findings,
) -> bool {
    let chain = peer.chain();
    let trust = match trust(settings, policy) {
        Ok(trust) => trust,
        Err(error) => {
            let mend =
                "name PEM files with CA certificates in [tls_outside] authority_file and in the policy";
            findings.fail("trust", format!("{error:#}"), mend);
            return false;
        }
    };
    let judged = trust.judge(&chain, PeerRole::Server, now);
    let certificate = &judged.certificate;
    let Ok(facts) =
        chain.first().map_or_else(|| CertificateFacts::read(&[]), |der| CertificateFacts::read(der))
    else {
        findings.fail("certificate", "it cannot be read", "the other side must show an X.509 certificate");
        return false;
    };
    let days = facts.days_left((now.0 / 1000) as i64);
    findings.ok(
        "certificate",
        format!(
            "it shows {}, of {}, {days} days left; hosts {}; SIP domains {}",
            facts.subject,
            facts.issuer,
            listed(&certificate.dns_names),
            listed(&certificate.sip_domains)
        ),
    );
    if !facts.usages.client {
        // No fault: public CAs issue no others any more.
        findings.ok("certificate", "it is for servers only; it is taken where the other side connects, too");
    }
    let name = road.hub.as_ref().unwrap_or(&road.domain);
    let pin = format!("sha256:{}", hex::encode(certificate.sha256));
    match road.hop.expected.is_met_by(Some(certificate)) {
        Ok(()) => {
            let rule = match &road.hop.expected.proof {
                Proof::Host => format!("bears {}", road.hop.expected.server_name),
                Proof::Domain(domain) => format!("proves {domain}"),
                Proof::Pin(_) => "is the pinned one".to_owned(),
            };
            findings.ok("rule", format!("the certificate {rule}"));
            true
        }
        Err(unmet) => {
            let mend = match &unmet {
                Unmet::Untrusted(_) => format!(
                    "trust the CA that issued it ([tls_outside] authority_file, or the partner's own authority_file), or, \
                     having compared it with the other side, pin it: --certificate {pin}"
                ),
                Unmet::WrongHost(_) | Unmet::WrongDomain(_) => format!(
                    "agree with the other side on a name that it bears (next_hop, rule fqdn or domain), or pin it: \
                     --certificate {pin}"
                ),
                Unmet::WrongPin => {
                    format!("if {name} has renewed it, and tells you the same digits: --certificate {pin}")
                }
                Unmet::NoCertificate => "the other side must show its certificate".to_owned(),
            };
            findings.fail("rule", unmet.to_string(), mend);
            false
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whom the running edge believes on its outside. A server with one side alone is asked as if that were it.
fn trust(settings: &Settings, policy: &Policy) -> anyhow::Result<Trust> {
    crate::perimeter::trust_outside(settings.tls_outside.as_ref().or(settings.tls.as_ref()), settings, policy)
}

/// An OPTIONS request, and what its answer says of the clocks.
fn answer(
    settings: &Settings,
    domain: &str,
    hops: u32,
    peer: &mut Peer,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let local = settings.domains[0].as_str();
    let token = hex::encode(secrets::random::<12>()?);
    let host = &settings.host;
    // No Record-Route and no body: nothing is kept of it at either end.
    let request = format!(
        "OPTIONS sip:{domain} SIP/2.0\r\nVia: SIP/2.0/TLS {host};branch=z9hG4bK{token};alias\r\nMax-Forwards: {hops}\r\n\
         From: <sip:{local}>;tag={token}\r\nTo: <sip:{domain}>\r\nCall-ID: {token}@{host}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:{host};transport=tls>\r\nUser-Agent: chancery/{}\r\nContent-Length: 0\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let sent_at = clock::unix_seconds() as i64;
    let head = match peer.ask(&request, STEP_TIMEOUT) {
        Ok(head) => head,
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::TimedOut => "no answer in time".to_owned(),
                std::io::ErrorKind::UnexpectedEof => "the other side closed the connection".to_owned(),
                _ => error.to_string(),
            };
            findings.fail(
                "sip",
                format!("OPTIONS: {why}"),
                "as a rule the other side does not take our certificate, or its policy does not know us: ask its operator",
            );
            return Ok(());
        }
    };
    let Ok(message) = Message::parse(head.into()) else {
        findings.fail("sip", "the answer to OPTIONS is no SIP", "is there another service at that port?");
        return Ok(());
    };
    match message.status() {
        // A member talks with members, not with the hub itself.
        Some(403) if settings.role == Role::Clearinghouse => {
            findings.ok("sip", "OPTIONS is answered 403, as it should be: the hub is no member");
        }
        Some(403) => findings.warn(
            "sip",
            "OPTIONS is answered 403: the other side knows who we are, and does not talk with us",
            "ask its operator to allow our domain",
        ),
        // Told by whatever is behind the edge, which is reached.
        Some(status @ 500..) => findings.warn(
            "sip",
            format!(
                "OPTIONS is answered {status}: the other side's edge is reached, what is behind it is not"
            ),
            "ask its operator whether the servers behind the edge run",
        ),
        Some(483) => findings.ok("sip", "OPTIONS is answered 483, behind the other side's edge"),
        Some(status) => findings.ok("sip", format!("OPTIONS is answered {status}")),
        None => findings.fail("sip", "OPTIONS is answered by a request", "the other side is no SIP server"),
    }
    let date = message.header(HeaderId::Date).and_then(|date| std::str::from_utf8(date).ok());
    clocks(date, sent_at, findings);
    Ok(())
}

/// RFC 3261 §20.17.
fn clocks(date: Option<&str>, sent_at: i64, findings: &mut Findings) {
    let theirs = date.and_then(|date| {
        let moment = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", date.trim()).ok()?;
        moment.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()
    });
    let Some(theirs) = theirs else {
        return findings
            .ok("clock", "the answer has no Date; the dates of the certificates agree with our clock");
    };
    let ahead = theirs.timestamp().as_second() - sent_at;
    let mend = "let both sides keep their clocks by NTP; `chancery check` looks at ours";
    let text = match ahead.abs() <= CLOCK_DIFFERENCE_NONE {
        true => "the clocks agree".to_owned(),
        false if ahead > 0 => format!("the other side's clock is {ahead} s ahead"),
        false => format!("the other side's clock is {} s behind", -ahead),
    };
    match ahead.abs() {
        CLOCK_DIFFERENCE_MAX.. => findings.fail("clock", text, mend),
        CLOCK_DIFFERENCE_WARN.. => findings.warn("clock", text, mend),
        _ => findings.ok("clock", text),
    }
}
