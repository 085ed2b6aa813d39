//! `chancery check` of the directory: each step that the server will take, one after the other, with what to do where it fails.

use std::path::Path;
use std::time::Duration;

use directory_source::{Dn, FailureKind, ServerKind};
use gss::Library;
use ldap::{Error, Examination};

use super::{Followed, source};
use crate::check::Findings;
use crate::config::{DirectoryProof, DirectorySettings, Settings};
use crate::web::{self, Tickets};
use crate::{clock, files};

/// What is looked at.
const SUBJECT: &str = "directory";
/// The same of the sign-in over the web.
const SIGN_IN: &str = "sign-in";
/// How far clocks may be apart before Kerberos refuses tickets, in seconds (RFC 4120 §8.2).
const SKEW_SECONDS_MAX: u64 = 300;
/// From here on somebody should look.
const SKEW_SECONDS_WARN: u64 = 60;
/// The attribute that says whether an account is disabled.
const DISABLED_SHOWS_IN: &str = "userAccountControl";
/// For all of it. A server that does not answer takes a good part.
const TIME: Duration = Duration::from_secs(60);

/// Looks at what the configuration names; unless `offline` also at the directory itself.
pub(crate) fn check(settings: &Settings, offline: bool, findings: &mut Findings) {
    if let Some(file) = &settings.sign_in.keytab_file {
        keytab(file, settings, findings);
    }
    let Some(followed) = Followed::of(settings) else { return };
    if !proof(&followed.directory, findings) || offline {
        return;
    }
    let runtime = match net::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return findings.fail(
                SUBJECT,
                format!("no runtime can be made: {error}"),
                "look at the system's limits",
            );
        }
    };
    // The resolver registers with the runtime that it is made in.
    let _inside = runtime.enter();
    let config = match source::config(&followed) {
        Ok(config) => config,
        Err(error) => {
            let mend = "correct what it names in [directory]";
            return findings.fail(SUBJECT, format!("{error:#}"), mend);
        }
    };
    let looked =
        runtime.block_on(async { tokio::time::timeout(TIME, examine(&config, &followed, findings)).await });
    if looked.is_err() {
        let mend = "look at the network between here and the servers, and at their load";
        findings.fail(SUBJECT, format!("it did not answer within {} s", TIME.as_secs()), mend);
    }
}

/// The password or keys of the reading account.
fn proof(directory: &DirectorySettings, findings: &mut Findings) -> bool {
    let (file, key) = match &directory.account.proof {
        DirectoryProof::PasswordFile(file) => (file, "password_file"),
        DirectoryProof::KeytabFile(file) => (file, "keytab_file"),
    };
    if let Err(error) = std::fs::File::open(file) {
        let mend = format!("name a file that the server's account may read in [directory] {key}");
        findings.fail(SUBJECT, format!("{} cannot be read: {error}", file.display()), mend);
        return false;
    }
    secret(SUBJECT, file, findings);
    if key == "keytab_file"
        && let Err(error) = Library::load()
    {
        findings.fail(
            SUBJECT,
            error.to_string(),
            "install it: apt install libgssapi-krb5-2, or dnf install krb5-libs",
        );
        return false;
    }
    true
}

/// The keys of the service that browsers sign in at.
fn keytab(file: &Path, settings: &Settings, findings: &mut Findings) {
    match Tickets::new(web::Settings::of(settings).tickets, &settings.data_dir).check() {
        Ok(()) => findings.ok(SIGN_IN, format!("{} holds keys of HTTP", file.display())),
        Err(error) => {
            let mend = format!(
                "export the keys of HTTP/{} from the domain into it (docs/sign-in.md), readable for the server's account",
                settings.host
            );
            findings.fail(SIGN_IN, format!("{}: {error:#}", file.display()), mend);
        }
    }
    secret(SIGN_IN, file, findings);
}

fn secret(subject: &'static str, file: &Path, findings: &mut Findings) {
    match files::mode(file) {
        Ok(mode) if mode & 0o037 != 0 => findings.fail(
            subject,
            format!("{} has mode {mode:04o}: others can read or change it", file.display()),
            format!("chmod 0600 {}; if it was exposed, make a new one", file.display()),
        ),
        // What cannot be read is said elsewhere.
        Ok(_) | Err(_) => {}
    }
}

async fn examine(config: &ldap::SourceConfig, followed: &Followed, findings: &mut Findings) {
    let directory = &followed.directory;
    let mut examination = match Examination::begin(config).await {
        Ok(examination) => examination,
        Err(error) => return findings.fail(SUBJECT, error.to_string(), mend(&error, directory)),
    };
    let facts = examination.facts().clone();
    let place = if facts.dns_domain.is_empty() { &facts.base } else { &facts.dns_domain };
    findings.ok(SUBJECT, format!("{} of {place} lets {} in over TLS", facts.host, directory.account.name));
    if let Err(error) = rights(&mut examination, followed, findings).await {
        findings.fail(SUBJECT, error.to_string(), mend(&error, directory));
    }
    examination.end().await;
}

async fn rights(
    examination: &mut Examination,
    followed: &Followed,
    findings: &mut Findings,
) -> Result<(), Error> {
    let directory = &followed.directory;
    let is_active = examination.facts().kind == ServerKind::ActiveDirectory;
    if let Some(base) = &directory.base {
        present(examination, "base", base, findings).await?;
    }
    match examination.way(&followed.replicator().selection()).await?.way() {
        "usn" => findings.warn(
            SUBJECT,
            "the account may not use DirSync: changes are found by their numbers, which costs the server more",
            format!("grant {} \"Replicating Directory Changes\" on the domain (docs/directory.md)", directory.account.name),
        ),
        way => findings.ok(SUBJECT, format!("changes are found ({way})")),
    }
    if is_active {
        match examination.unreadable(DISABLED_SHOWS_IN).await? {
            (0, _) => findings.warn(
                SUBJECT,
                "there are no people below the base that the account may read",
                "look at [directory] base, and at what the account may read",
            ),
            (_, 0) => findings.ok(SUBJECT, "whether accounts are disabled can be read"),
            (seen, unreadable) => findings.fail(
                SUBJECT,
                format!(
                    "whether accounts are disabled ({DISABLED_SHOWS_IN}) cannot be read of {unreadable} of {seen} people: none of \
                     them can sign in"
                ),
                format!("let {} read all properties of people (docs/directory.md)", directory.account.name),
            ),
        }
    }
    match examination.sees_deleted() {
        true => findings.ok(SUBJECT, "deletions are seen at once"),
        false if is_active => findings.warn(
            SUBJECT,
            "the account does not see deleted objects: everybody is counted every 20 s instead, which costs the server more",
            format!(
                "let {} list the container of deleted objects (docs/directory.md)",
                directory.account.name
            ),
        ),
        false => {}
    }
    let groups = &directory.groups;
    let named = [
        ("enabled", &groups.enabled),
        ("federation", &groups.federation),
        ("remote_access", &groups.remote_access),
        ("calls", &groups.calls),
        ("administrators", &groups.administrators),
    ];
    for (key, group) in named {
        if let Some(group) = group {
            present(examination, key, group, findings).await?;
        }
    }
    for (_, group) in &groups.servers {
        present(examination, "servers", group, findings).await?;
    }
    if let Some(theirs) = examination.clock().await? {
        skew(theirs, findings);
    }
    Ok(())
}

async fn present(
    examination: &mut Examination,
    key: &str,
    dn: &Dn,
    findings: &mut Findings,
) -> Result<(), Error> {
    if !examination.has(dn.as_str()).await? {
        let mend = "correct the name, or let the account read it";
        findings.fail(SUBJECT, format!("{key}: there is no {} in the directory", dn.as_str()), mend);
    }
    Ok(())
}

fn skew(theirs: i64, findings: &mut Findings) {
    let ours = i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX);
    let apart = ours.abs_diff(theirs);
    let message = format!("the clocks here and there are {apart} s apart");
    let mend = "let chrony or systemd-timesyncd keep both: Kerberos refuses tickets from five minutes on";
    if apart > SKEW_SECONDS_MAX {
        findings.fail(SUBJECT, message, mend);
    } else if apart > SKEW_SECONDS_WARN {
        findings.warn(SUBJECT, message, mend);
    } else {
        findings.ok(SUBJECT, message);
    }
}

fn mend(error: &Error, directory: &DirectorySettings) -> String {
    match error.kind() {
        FailureKind::Unreachable => {
            "look at [directory] domain or servers, at [dns], and whether a firewall stands between"
                .to_owned()
        }
        FailureKind::Untrusted => format!(
            "{} must hold the CA that issued the server's certificate, which must name the host that is asked for",
            directory.authority_file.display()
        ),
        FailureKind::Denied => {
            "look at [directory] account and its password or keys; too many tries lock it".to_owned()
        }
        FailureKind::WatermarkRefused | FailureKind::Protocol => {
            "look at [directory] kind and base, and whether the server is what they say".to_owned()
        }
    }
}
