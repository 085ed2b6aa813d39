//! What a server says of itself and of its domain.

use std::time::Duration;

use directory::ObjectId;
use directory_source::{ServerFacts, ServerKind, guid};

use crate::connection::Connection;
use crate::cursors;
use crate::error::Error;
use crate::search::{Pages, Running, Step, base, id_of, read_one, subtree};
use crate::wire::{Control, Filter, RawEntry, ResultCode, Scope, Search};

/// Which capability makes a server one of Active Directory ([MS-ADTS] 3.1.1.3.4.3).
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// Where deleted objects are kept, by the well-known name of the container.
const DELETED_OBJECTS: &str = "18E2EA80684F11D2B9AA00C04F79F805";

/// What is known of the server that a connection leads to.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// For the replicator.
    pub(crate) facts: ServerFacts,
    /// The head of the naming context: where the whole domain begins, wherever reading begins.
    pub(crate) root: String,
    pub(crate) has_dirsync: bool,
    pub(crate) has_notification: bool,
    /// Whether this account finds deleted objects.
    pub(crate) sees_deleted: bool,
    /// Which operational attribute tells of changes, where the server is no Active Directory.
    pub(crate) stamp: Stamp,
}

/// An operational attribute that grows with each change of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stamp {
    /// Of OpenLDAP: `20261122143312.123456Z#000000#000#000000`.
    EntryCsn,
    /// Of everybody: `20261122143312Z` (RFC 4512 §3.4).
    ModifyTimestamp,
}

impl Stamp {
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Stamp::EntryCsn => "entryCSN",
            Stamp::ModifyTimestamp => "modifyTimestamp",
        }
    }
}

/// The attributes of the root DSE (RFC 4512 §5.1) that are looked at.
const ROOT: &[&str] = &[
    "namingContexts",
    "defaultNamingContext",
    "configurationNamingContext",
    "dsServiceName",
    "highestCommittedUSN",
    "ldapServiceName",
    "supportedCapabilities",
    "supportedControl",
];

/// Asks. `wanted` is where reading shall begin; without it at the head of the server's naming context.
pub(crate) async fn known(
    connection: &mut Connection,
    kind: ServerKind,
    wanted: Option<&str>,
) -> Result<Known, Error> {
    let root = root_dse(connection, ROOT).await?;
    let supports =
        |control: &str| root.values("supportedControl").iter().any(|found| found == control.as_bytes());
    if !supports(Control::PAGED) {
        return Err(unsuitable(connection, "the server cannot answer by pages"));
    }
    let is_active_directory =
        root.values("supportedCapabilities").iter().any(|found| found == ACTIVE_DIRECTORY.as_bytes());
    match kind {
        ServerKind::ActiveDirectory if is_active_directory => {
            active_directory(connection, &root, wanted).await
        }
        ServerKind::ActiveDirectory => {
            Err(unsuitable(connection, "this is no domain controller of Active Directory"))
        }
        ServerKind::Ldap => plain(connection, &root, wanted).await,
    }
}

/// The number of the last change that this server knows.
pub(crate) async fn highest_usn(connection: &mut Connection) -> Result<u64, Error> {
    let root = root_dse(connection, &["highestCommittedUSN"]).await?;
    root.number("highestCommittedUSN")
        .ok_or_else(|| unsuitable(connection, "the server does not number changes"))
}

async fn root_dse(connection: &mut Connection, attributes: &[&str]) -> Result<RawEntry, Error> {
    let found = read_one(connection, "reading the root DSE", &base("", attributes), &[]).await?;
    found.ok_or_else(|| unsuitable(connection, "the server does not show its root DSE"))
}

async fn active_directory(
    connection: &mut Connection,
    root: &RawEntry,
    wanted: Option<&str>,
) -> Result<Known, Error> {
    let missing = |what: &str| unsuitable(connection, &format!("the root DSE has no {what}"));
    let domain_dn =
        root.text("defaultNamingContext").ok_or_else(|| missing("defaultNamingContext"))?.to_owned();
    let service = root.text("dsServiceName").ok_or_else(|| missing("dsServiceName"))?.to_owned();
    let highest_usn = root.number("highestCommittedUSN").ok_or_else(|| missing("highestCommittedUSN"))?;

    let search = base(&service, &["invocationId"]);
    let service = read_one(connection, "reading the server's own object", &search, &[]).await?;
    let invocation = service.and_then(|entry| entry.first("invocationId").and_then(guid::read));
    let invocation = invocation
        .ok_or_else(|| unsuitable(connection, "the account cannot read the server's invocationId"))?;

    let attributes = ["objectGUID", "lockoutDuration", "lockoutThreshold", cursors::BINARY, cursors::VECTOR];
    let search = base(&domain_dn, &attributes);
    let domain = read_one(connection, "reading the domain", &search, &[]).await?;
    let domain = domain.ok_or_else(|| unsuitable(connection, "the account cannot read the domain's head"))?;
    let id = id_of(ServerKind::ActiveDirectory, &domain)
        .ok_or_else(|| unsuitable(connection, "the domain's head has no objectGUID"))?;

    let netbios = match root.text("configurationNamingContext") {
        Some(configuration) => netbios(connection, configuration, &domain_dn).await?,
        None => None,
    };
    let sees_deleted = sees_deleted(connection, &domain_dn).await?;
    let supports =
        |control: &str| root.values("supportedControl").iter().any(|found| found == control.as_bytes());
    let facts = ServerFacts {
        host: connection.host().to_owned(),
        kind: ServerKind::ActiveDirectory,
        domain: id,
        invocation: Some(invocation),
        highest_usn: Some(highest_usn),
        cursors: cursors::read(&domain),
        lockout_duration: domain.number("lockoutDuration").and_then(interval),
        // 0 is never.
        lockout_threshold: domain.number("lockoutThreshold").filter(|most: &u32| *most > 0),
        base: wanted.unwrap_or(&domain_dn).to_owned(),
        dns_domain: dns_domain(&domain_dn),
        realm: root
            .text("ldapServiceName")
            .and_then(|name| name.split_once('@'))
            .map_or("", |(_, realm)| realm)
            .to_owned(),
        netbios,
    };
    Ok(Known {
        facts,
        root: domain_dn,
        has_dirsync: supports(Control::DIRSYNC),
        has_notification: supports(Control::NOTIFICATION),
        sees_deleted,
        stamp: Stamp::ModifyTimestamp,
    })
}

async fn plain(connection: &mut Connection, root: &RawEntry, wanted: Option<&str>) -> Result<Known, Error> {
    let contexts = root.values("namingContexts");
    let context = match (wanted, contexts) {
        (Some(wanted), _) => wanted.to_owned(),
        (None, [only]) => String::from_utf8_lossy(only).into_owned(),
        (None, _) => {
            return Err(unsuitable(connection, "the server has no naming context or several: name the base"));
        }
    };
    let search = base(&context, &["entryUUID", "entryCSN", "modifyTimestamp"]);
    let head = read_one(connection, "reading the base entry", &search, &[]).await?;
    let head =
        head.ok_or_else(|| unsuitable(connection, &format!("there is no entry {context} that we may read")))?;
    let id = id_of(ServerKind::Ldap, &head);
    let id: ObjectId =
        id.ok_or_else(|| unsuitable(connection, "entries have no entryUUID that we may read"))?;
    let stamp = match (head.text("entryCSN"), head.text("modifyTimestamp")) {
        (Some(_), _) => Stamp::EntryCsn,
        (None, Some(_)) => Stamp::ModifyTimestamp,
        (None, None) => {
            return Err(unsuitable(
                connection,
                "entries have neither entryCSN nor modifyTimestamp that we may read",
            ));
        }
    };
    let facts = ServerFacts {
        host: connection.host().to_owned(),
        kind: ServerKind::Ldap,
        domain: id,
        invocation: None,
        highest_usn: None,
        cursors: None,
        lockout_duration: None,
        lockout_threshold: None,
        base: context.clone(),
        dns_domain: dns_domain(&context),
        realm: String::new(),
        netbios: None,
    };
    Ok(Known {
        facts,
        root: context,
        has_dirsync: false,
        has_notification: false,
        sees_deleted: false,
        stamp,
    })
}

/// The domain's name before the backslash in `CORP\alice`.
async fn netbios(
    connection: &mut Connection,
    configuration: &str,
    domain: &str,
) -> Result<Option<String>, Error> {
    let filter = Filter::And(vec![Filter::equal("objectClass", "crossRef"), Filter::equal("nCName", domain)]);
    let search = subtree(configuration, filter, vec!["nETBIOSName".to_owned()]);
    let mut pages = Pages::new(search, Vec::new());
    let mut name = None;
    while let Some(mut running) = pages.begin(connection, "reading the domain's NetBIOS name").await? {
        let mut entries = 0;
        let controls = loop {
            match running.next().await? {
                Step::Entry(entry) => {
                    entries += 1;
                    name = entry.text("nETBIOSName").map(str::to_owned).or(name);
                }
                Step::Done(controls) => break controls,
            }
        };
        pages.turn(connection, &controls, entries)?;
    }
    Ok(name)
}

/// Whether the account may list the container of deleted objects: only then does what was deleted show in changes.
pub(crate) async fn sees_deleted(connection: &mut Connection, domain: &str) -> Result<bool, Error> {
    let search = Search {
        scope: Scope::Base,
        ..base(&format!("<WKGUID={DELETED_OBJECTS},{domain}>"), &["objectGUID"])
    };
    let mut running =
        Running::begin(connection, "looking for deleted objects", &search, &[Control::show_deleted()])
            .await?;
    let mut is_there = false;
    loop {
        match running.next().await {
            // COMPAT: Samba names the container to everybody, and shows nothing of it.
            Ok(Step::Entry(entry)) => is_there |= id_of(ServerKind::ActiveDirectory, &entry).is_some(),
            Ok(Step::Done(_)) => return Ok(is_there),
            Err(Error::Refused { outcome, .. })
                if matches!(outcome.code, ResultCode::NO_SUCH_OBJECT | ResultCode::INSUFFICIENT_ACCESS) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A duration as Active Directory writes it: negative, in units of 100 ns. Nothing, and the least number, say "for ever".
fn interval(value: i64) -> Option<Duration> {
    const PER_MICROSECOND: u64 = 10;
    (value < 0 && value > i64::MIN).then(|| Duration::from_micros(value.unsigned_abs() / PER_MICROSECOND))
}

/// `corp.example` of `DC=corp,DC=example`; empty where a part is of another kind.
fn dns_domain(dn: &str) -> String {
    let parts = dn.split(',').map(|part| {
        let (kind, value) = part.split_once('=')?;
        kind.trim().eq_ignore_ascii_case("dc").then(|| value.trim().to_ascii_lowercase())
    });
    let labels: Option<Vec<String>> = parts.collect();
    labels.map(|labels| labels.join(".")).unwrap_or_default()
}

fn unsuitable(connection: &Connection, what: &str) -> Error {
    Error::Unsuitable { host: connection.host().to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_off_names() {
        assert_eq!(dns_domain("DC=corp,DC=Example"), "corp.example");
        assert_eq!(dns_domain("o=corp"), "");
        assert_eq!(dns_domain("OU=Staff,DC=corp,DC=example"), "");
    }

    #[test]
    fn intervals_are_negative_and_may_have_no_end() {
        assert_eq!(interval(-18_000_000_000), Some(Duration::from_mins(30)));
        assert_eq!((interval(i64::MIN), interval(0)), (None, None));
    }
}
