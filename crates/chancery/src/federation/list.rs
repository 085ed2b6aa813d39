//! `chancery federation list`.

use std::fmt::Write as _;

use federation::Policy;
use federation::policy::{Allows, PartnerMode, Server, Terms, Vouches};
use node::{Place, Proof, UnixMillis};
use serde::Serialize;

use super::arguments::ListArguments;
use crate::exit::Failure;
use crate::{clock, user};

#[derive(Serialize)]
struct Listing {
    file: String,
    partners: Vec<PartnerLine>,
    clearinghouses: Vec<HubLine>,
    discovery: bool,
    blocked: Vec<String>,
}

#[derive(Serialize)]
struct PartnerLine {
    domain: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
    #[serde(flatten)]
    server: Option<ServerLine>,
    #[serde(flatten)]
    terms: TermsLine,
}

#[derive(Serialize)]
struct HubLine {
    name: String,
    vouches: &'static str,
    members: Vec<String>,
    #[serde(flatten)]
    server: ServerLine,
    #[serde(flatten)]
    terms: TermsLine,
}

#[derive(Serialize)]
struct ServerLine {
    next_hop: String,
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority_file: Option<String>,
}

#[derive(Serialize)]
struct TermsLine {
    /// `in-force`, `blocked` or `expired`.
    state: &'static str,
    modalities: Vec<&'static str>,
    direction: &'static str,
    rate: u32,
    owner: String,
    reason: String,
    expires: Option<String>,
}

pub(super) fn run(arguments: &ListArguments) -> Result<(), Failure> {
    let settings = super::settings(&arguments.config)?;
    let policy = super::policy(&settings)?;
    let file = settings.federation.policy_file.display().to_string();
    let now = UnixMillis(clock::unix_seconds() * 1000);
    let listing = listing(&policy, file, now);
    match arguments.json {
        true => user::print_json(&listing),
        false => user::print(&text(&listing, policy.allows_nobody())),
    }
}

fn listing(policy: &Policy, file: String, now: UnixMillis) -> Listing {
    let is_blocked = |domain: &str| policy.blocked().iter().any(|blocked| blocked == domain);
    let partners = policy.partners().iter().map(|partner| {
        let (mode, via) = match &partner.mode {
            PartnerMode::Direct => ("direct", None),
            PartnerMode::Clearinghouse(hub) => ("clearinghouse", Some(hub.to_string())),
            PartnerMode::Member => ("member", None),
            PartnerMode::Blocked => ("blocked", None),
        };
        let blocked = partner.mode == PartnerMode::Blocked || is_blocked(&partner.domain);
        PartnerLine {
            domain: partner.domain.to_string(),
            mode,
            // An own server may stand in the file beside another mode, for later.
            server: partner.server.as_ref().filter(|_| via.is_none()).map(server),
            via,
            terms: terms(&partner.terms, blocked, now),
        }
    });
    let hubs = policy.clearinghouses().iter().map(|hub| HubLine {
        name: hub.name.to_string(),
        vouches: match hub.vouches {
            Vouches::MemberHeader => "member-header",
            Vouches::MemberList => "member-list",
        },
        members: hub.members.iter().map(ToString::to_string).collect(),
        server: server(&hub.server),
        terms: terms(&hub.terms, false, now),
    });
    Listing {
        file,
        partners: partners.collect(),
        clearinghouses: hubs.collect(),
        discovery: policy.discovery().enabled,
        blocked: policy.blocked().to_vec(),
    }
}

fn server(server: &Server) -> ServerLine {
    let next_hop = match &server.hop.place {
        Place::Host { name, port } if name.contains(':') => format!("[{name}]:{port}"),
        Place::Host { name, port } => format!("{name}:{port}"),
        Place::Service(_) => "by DNS".to_owned(),
    };
    let certificate = match &server.hop.expected.proof {
        Proof::Host => "fqdn".to_owned(),
        Proof::Domain(_) => "domain".to_owned(),
        Proof::Pin(sha256) => format!("sha256:{}", hex::encode(sha256)),
    };
    ServerLine { next_hop, certificate, authority_file: server.authority_file.clone() }
}

fn terms(terms: &Terms, is_blocked: bool, now: UnixMillis) -> TermsLine {
    TermsLine {
        state: match (is_blocked, terms.has_expired(now)) {
            (true, _) => "blocked",
            (false, true) => "expired",
            (false, false) => "in-force",
        },
        modalities: terms.modalities.iter().map(|modality| modality.name()).collect(),
        direction: match terms.allows {
            Allows::Both => "both",
            Allows::Inbound => "in",
            Allows::Outbound => "out",
        },
        rate: terms.rate_per_second,
        owner: terms.owner.clone(),
        reason: terms.reason.clone(),
        expires: terms.expires.map(|date| date.to_string()),
    }
}

/// Digits of a pin that the table shows: enough to tell two apart; JSON has all.
const PIN_DIGITS: usize = 12;

fn text(listing: &Listing, allows_nobody: bool) -> String {
    let mut rows = vec![
        ["DOMAIN", "ROAD", "SERVER", "PROOF", "MAY PASS", "BEGINS", "RATE", "STATE", "OWNER"]
            .map(str::to_owned),
    ];
    let proof = |certificate: &str| match certificate.strip_prefix("sha256:") {
        Some(pin) => format!("sha256:{}…", &pin[..PIN_DIGITS.min(pin.len())]),
        None => certificate.to_owned(),
    };
    let row = |domain: &str, road: &str, server: Option<&ServerLine>, terms: &TermsLine| {
        let server = server.map_or((String::new(), String::new()), |server| {
            (server.next_hop.clone(), proof(&server.certificate))
        });
        let passes = if terms.modalities.len() == 4 { "all".to_owned() } else { terms.modalities.join(",") };
        let state = match (&terms.expires, terms.state) {
            (Some(date), "in-force") => format!("until {date}"),
            (_, state) => state.to_owned(),
        };
        [
            domain.to_owned(),
            road.to_owned(),
            server.0,
            server.1,
            passes,
            terms.direction.to_owned(),
            format!("{}/s", terms.rate),
            state,
            terms.owner.clone(),
        ]
    };
    for partner in &listing.partners {
        let road = partner.via.as_ref().map_or(partner.mode.to_owned(), |hub| format!("via {hub}"));
        rows.push(row(&partner.domain, &road, partner.server.as_ref(), &partner.terms));
    }
    for hub in &listing.clearinghouses {
        rows.push(row(&hub.name, "clearinghouse", Some(&hub.server), &hub.terms));
        for member in
            hub.members.iter().filter(|member| !listing.partners.iter().any(|p| p.domain == **member))
        {
            let mut cells = row(member, &format!("via {}", hub.name), None, &hub.terms);
            if listing.blocked.contains(member) {
                cells[7] = "blocked".to_owned();
            }
            rows.push(cells);
        }
    }
    let mut text = String::new();
    if rows.len() > 1 {
        text.push_str(&table(&rows));
    }
    if !listing.blocked.is_empty() {
        let _ = writeln!(text, "blocked: {}", listing.blocked.join(", "));
    }
    if listing.discovery {
        text.push_str(
            "domains that nobody listed are talked with as far as DNS and certificates prove them\n",
        );
    }
    if allows_nobody {
        let _ = writeln!(
            text,
            "nobody is talked with\n  help: chancery federation allow DOMAIN --next-hop HOST:5061 writes {}",
            listing.file
        );
    }
    text
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
