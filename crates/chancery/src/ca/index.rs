//! What a CA issued: `index.toml` in its folder, for people to read and for the program to keep.

use std::path::Path;

use anyhow::Context;
use pki::{CertificateFacts, RevocationReason, Revoked};
use serde::{Deserialize, Serialize};

use crate::{clock, files};

/// The file in the CA's folder.
pub(super) const INDEX_FILE: &str = "index.toml";
const HEADER: &str =
    "# What this CA issued. `chancery ca` keeps it: do not edit it while a command runs.\n\n";

/// The whole file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    /// Of the revocation list written last; each one has a higher number (RFC 5280 §5.2.3).
    pub(super) crl_number: u64,
    /// Of that list, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crl_next_update: Option<String>,
    /// In the order of issue.
    #[serde(default, rename = "certificate")]
    pub(super) certificates: Vec<Entry>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) serial: String,
    /// As on the command line; `issuing-ca` in a root's index.
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    /// RFC 3339, as are the other times.
    pub(super) issued: String,
    pub(super) ends: String,
    pub(super) sha256: String,
    /// Where it was written, on this machine.
    pub(super) file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Index {
    /// Reads it; an absent one is an error, as without it the numbers of revocation lists would start anew.
    pub(super) fn read(path: &Path) -> anyhow::Result<Index> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read {}\n  help: restore it from a backup of the CA's folder", path.display())
        })?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("the index cannot be written as TOML")?;
        files::write(path, files::MODE_SECRET, format!("{HEADER}{text}").as_bytes())
    }

    pub(super) fn find(&self, serial: &str) -> Option<&Entry> {
        self.certificates.iter().find(|entry| entry.serial == serial)
    }

    pub(super) fn find_mut(&mut self, serial: &str) -> Option<&mut Entry> {
        self.certificates.iter_mut().find(|entry| entry.serial == serial)
    }

    /// What a revocation list says. An expired certificate stays on it: whoever has a slow clock might believe it.
    pub(super) fn revoked(&self) -> anyhow::Result<Vec<Revoked>> {
        let revoked = self.certificates.iter().filter_map(|entry| Some((entry, entry.revoked.as_ref()?)));
        revoked
            .map(|(entry, at)| {
                let at: jiff::Timestamp = at.parse().with_context(|| format!("the index says {at:?}"))?;
                let name = entry.reason.as_deref();
                let reason = RevocationReason::ALL.into_iter().find(|reason| Some(reason.name()) == name);
                Ok(Revoked {
                    serial: entry.serial.clone(),
                    at_unix_seconds: u64::try_from(at.as_second()).unwrap_or(0),
                    reason: reason.unwrap_or(RevocationReason::Unspecified),
                })
            })
            .collect()
    }
}

impl Entry {
    pub(super) fn of(facts: &CertificateFacts, kind: &str, file: &Path, now_unix_seconds: u64) -> Entry {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Entry {
            serial: facts.serial.clone(),
            kind: kind.to_owned(),
            subject: facts.subject.clone(),
            names: names(facts),
            issued: clock::timestamp(now_unix_seconds as i64),
            ends: clock::timestamp(facts.not_after_unix_seconds),
            sha256: hex::encode(facts.sha256),
            file: file.display().to_string(),
            revoked: None,
            reason: None,
        }
    }
}

/// All names, as the certificate holds them.
pub(super) fn names(facts: &CertificateFacts) -> Vec<String> {
    let uris = facts.sip_uri_domains.iter().chain(&facts.persons).map(|name| format!("sip:{name}"));
    let addresses = facts.ip_addresses.iter().map(ToString::to_string);
    uris.chain(facts.dns_names.iter().cloned()).chain(addresses).collect()
}
