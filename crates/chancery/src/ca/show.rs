//! `chancery ca show` and `list`: certificates for people, and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use pki::{CertificateFacts, Fitness, KeyFacts, Usages, Weight};
use serde::Serialize;

use super::arguments::ShowArguments;
use super::folder::Folder;
use super::index::Entry;
use crate::exit::{Exit, Failure};
use crate::{clock, user};

/// One file.
#[derive(Serialize)]
struct Shown {
    file: String,
    certificates: Vec<Certificate>,
    parts: Vec<PartLine>,
}

#[derive(Serialize)]
struct Certificate {
    subject: String,
    issuer: String,
    serial: String,
    sha256: String,
    begins: String,
    ends: String,
    days_left: i64,
    sip_domains: Vec<String>,
    hosts: Vec<String>,
    addresses: Vec<String>,
    persons: Vec<String>,
    usages: Vec<&'static str>,
    key: String,
    is_authority: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_length: Option<u32>,
    /// Of a CA, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_issue_for: Option<String>,
}

#[derive(Serialize)]
struct PartLine {
    part: &'static str,
    fits: bool,
    lacks: Vec<LackLine>,
}

#[derive(Serialize)]
struct LackLine {
    weight: &'static str,
    text: String,
    mend: String,
}

pub(super) fn run(arguments: &ShowArguments) -> Result<(), Failure> {
    let anchors = match &arguments.anchors {
        Some(file) => chain(file)?,
        None => Vec::new(),
    };
    let now = clock::unix_seconds() as i64;
    let mut shown = Vec::new();
    let mut unfit = Vec::new();
    for file in &arguments.files {
        let chain = chain(file)?;
        let judged = pki::fitness(&chain, &anchors, now).with_context(|| format!("in {}", file.display()))?;
        let wanted = arguments.part.and_then(|part| judged.iter().find(|fitness| fitness.part == part));
        if wanted.is_some_and(|fitness| !fitness.fits()) {
            unfit.push(file.display().to_string());
        }
        let certificates = chain.iter().map(|der| CertificateFacts::read(der)).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(anyhow::Error::from)?;
        shown.push(Shown {
            file: file.display().to_string(),
            certificates: certificates.iter().map(|facts| certificate(facts, now)).collect(),
            parts: judged.iter().map(part_line).collect(),
        });
    }
    match arguments.json {
        true => user::print_json(&shown)?,
        false => user::print(&shown.iter().map(text).collect::<Vec<_>>().join("\n"))?,
    }
    match (arguments.part, unfit.is_empty()) {
        (Some(part), false) => Err(Failure::text(
            Exit::Failed,
            format!("{} will not do for {}", unfit.join(" and "), part.name()),
        )),
        (_, _) => Ok(()),
    }
}

fn chain(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    pki::certificates_in_pem(&pem).with_context(|| {
        format!(
            "{} holds no certificate that can be read\n  help: it must be PEM; `openssl x509 -inform der` and `openssl pkcs12` make PEM of DER and PFX files",
            file.display()
        )
    })
}

fn certificate(facts: &CertificateFacts, now: i64) -> Certificate {
    let Usages { server, client, sip_domain } = facts.usages;
    let usages = [(server, "server"), (client, "client"), (sip_domain, "sip-domain")];
    Certificate {
        subject: facts.subject.clone(),
        issuer: facts.issuer.clone(),
        serial: facts.serial.clone(),
        sha256: hex::encode(facts.sha256),
        begins: clock::timestamp(facts.not_before_unix_seconds),
        ends: clock::timestamp(facts.not_after_unix_seconds),
        days_left: facts.days_left(now),
        sip_domains: facts.sip_domains.clone(),
        hosts: facts.dns_names.clone(),
        addresses: facts.ip_addresses.iter().map(ToString::to_string).collect(),
        persons: facts.persons.clone(),
        usages: usages.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect(),
        key: match facts.key {
            KeyFacts::Rsa(bits) => format!("RSA, {bits} bits"),
            KeyFacts::Curve(bits) => format!("elliptic curve, {bits} bits"),
            KeyFacts::Other => "of a kind unknown here".to_owned(),
        },
        is_authority: facts.is_authority,
        path_length: facts.path_length,
        may_issue_for: facts.is_authority.then(|| facts.constraints.to_string()),
    }
}

fn part_line(fitness: &Fitness) -> PartLine {
    let lacks = fitness.lacks.iter().map(|lack| LackLine {
        weight: match lack.weight {
            Weight::Prevents => "prevents",
            Weight::Limits => "limits",
        },
        text: lack.text.clone(),
        mend: lack.mend.clone(),
    });
    PartLine { part: fitness.part.name(), fits: fitness.fits(), lacks: lacks.collect() }
}

fn text(shown: &Shown) -> String {
    let mut text = format!("{}\n", shown.file);
    for (at, certificate) in shown.certificates.iter().enumerate() {
        if at == 0 {
            holder(&mut text, certificate);
        } else {
            let _ = writeln!(text, "  chain         {}", authority(certificate));
        }
    }
    for part in &shown.parts {
        let verdict = match (part.fits, part.lacks.is_empty()) {
            (true, true) => "fits",
            (true, false) => "fits, but",
            (false, _) => "no",
        };
        let _ = writeln!(text, "  {:<12}  {verdict}", part.part);
        // Someone who asks about a server does not want to read of each thing why a CA it is not.
        let told = if part.fits { part.lacks.len() } else { part.lacks.len().min(REASONS_MAX) };
        for lack in &part.lacks[..told] {
            let _ = writeln!(text, "                {}\n                  help: {}", lack.text, lack.mend);
        }
    }
    text
}

/// Reasons that are told of a part that a certificate will not do for. JSON has them all.
const REASONS_MAX: usize = 3;

fn holder(text: &mut String, certificate: &Certificate) {
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<12}  {value}");
        }
    };
    line("subject", &certificate.subject);
    line("issuer", &certificate.issuer);
    line("serial", &certificate.serial);
    line("sha256", &certificate.sha256);
    let days = certificate.days_left;
    let left = if days < 0 { "it has ended".to_owned() } else { format!("{days} days left") };
    line("valid", &format!("{} to {}, {left}", certificate.begins, certificate.ends));
    if let Some(constraints) = &certificate.may_issue_for {
        line("may issue", &format!("for {constraints}{}", path(certificate)));
    } else {
        line("SIP domains", &certificate.sip_domains.join(", "));
        line("hosts", &certificate.hosts.join(", "));
        line("addresses", &certificate.addresses.join(", "));
        line("persons", &certificate.persons.join(", "));
        line("usages", &certificate.usages.join(", "));
    }
    line("key", &certificate.key);
}

fn authority(certificate: &Certificate) -> String {
    let ends = certificate.ends.split('T').next().unwrap_or_default();
    let constraints = certificate.may_issue_for.as_deref().unwrap_or("no CA");
    format!("{}, until {ends}; may issue for {constraints}{}", certificate.subject, path(certificate))
}

fn path(certificate: &Certificate) -> String {
    match certificate.path_length {
        Some(0) => "; no CA below it".to_owned(),
        Some(1) => "; one CA below it".to_owned(),
        Some(count) => format!("; {count} CAs below it"),
        None => String::new(),
    }
}

pub(super) fn index_json(folder: &Folder) -> serde_json::Value {
    let now = clock::timestamp(clock::unix_seconds() as i64);
    let certificates = folder.index.certificates.iter().map(|entry| {
        serde_json::json!({
            "serial": entry.serial, "kind": entry.kind, "state": state(entry, &now), "subject": entry.subject,
            "names": entry.names, "issued": entry.issued, "ends": entry.ends, "sha256": entry.sha256,
            "file": entry.file, "revoked": entry.revoked, "reason": entry.reason,
        })
    });
    let facts = folder.authority.facts();
    serde_json::json!({
        "authority": {
            "subject": facts.subject, "ends": clock::timestamp(facts.not_after_unix_seconds),
            "may_issue_for": facts.constraints.to_string(),
        },
        "crl": { "number": folder.index.crl_number, "next_update": folder.index.crl_next_update },
        "certificates": certificates.collect::<Vec<_>>(),
    })
}

pub(super) fn index_text(folder: &Folder) -> String {
    let now = clock::timestamp(clock::unix_seconds() as i64);
    let facts = folder.authority.facts();
    let mut text = format!(
        "{}, until {}; may issue for {}\nrevocation list {}, next update at {}\n\n",
        facts.subject,
        clock::day(facts.not_after_unix_seconds),
        facts.constraints,
        folder.index.crl_number,
        folder.index.crl_next_update.as_deref().unwrap_or("an unknown time"),
    );
    let _ = writeln!(text, "{:<32}  {:<12}  {:<10}  {:<10}  NAMES", "SERIAL", "KIND", "ENDS", "STATE");
    for entry in &folder.index.certificates {
        let ends = entry.ends.split('T').next().unwrap_or_default();
        let (state, names) = (state(entry, &now), entry.names.join(", "));
        let reason = match entry.reason.as_deref() {
            Some(reason) => format!(" ({reason})"),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "{:<32}  {:<12}  {ends:<10}  {state:<10}  {names}{reason}",
            entry.serial, entry.kind
        );
    }
    text
}

fn state(entry: &Entry, now: &str) -> &'static str {
    // RFC 3339 in UTC sorts by its letters.
    match (&entry.revoked, entry.ends.as_str() < now) {
        (Some(_), _) => "revoked",
        (None, true) => "ended",
        (None, false) => "valid",
    }
}
