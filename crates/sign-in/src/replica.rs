//! What a home lets a Director know of its accounts, and how it is written: the event package `chancery-users`.
//!
//! A Front End keeps its accounts in order of their last change. A [`Part`] holds those that changed behind one place in
//! this order and up to another, so that the first parts hold everybody, and later ones what is new. Who reads them in order
//! has, after a part that says so, what the home has. Places mean nothing beyond one subscription.
//!
//! What this module is not: it sends nothing, and knows neither who may subscribe nor how long a copy is good.

use directory::{CertificateDigest, ClientCertificate, DigestSecrets, Permissions, SipAddress, UserId};
use serde_json::{Map, Value};

/// The name of the event package.
pub const PACKAGE: &str = "chancery-users";
/// What a NOTIFY's body is.
pub const CONTENT_TYPE: &str = "application/chancery-users+json";
/// Longest part, in octets: with its headers it stays below the 64 KiB of a message.
pub const PART_OCTETS_MAX: usize = 48 * 1024;

/// An account, as far as somebody must know it who signs its user in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its name for good.
    pub user: UserId,
    /// Its addresses; the first is the one that others write to.
    pub addresses: Vec<SipAddress>,
    /// Whether it may sign in.
    pub is_enabled: bool,
    /// What it may do.
    pub permissions: Permissions,
    /// What Digest is checked against.
    pub secrets: Option<DigestSecrets>,
    /// What signs it in without a password.
    pub certificates: Vec<ClientCertificate>,
}

/// One account's news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It is like this now.
    Is(Copied),
    /// It is no more.
    Gone(UserId),
}

/// News between two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// It holds what changed behind this place; 0 is the beginning, and whoever is not named until [`Part::is_last`] is no more.
    pub from: u64,
    /// And up to this one.
    pub to: u64,
    /// Whether nothing is known behind `to`.
    pub is_last: bool,
    /// In order of change.
    pub entries: Vec<Entry>,
}

/// Why a part cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PartError(&'static str);

/// Writes one part.
pub struct PartWriter {
    from: u64,
    to: u64,
    text: String,
}

/// Octets of a part beside its entries: names, places, brackets.
const FRAME_OCTETS: usize = 128;

impl PartWriter {
    /// Begins behind a place.
    pub fn new(from: u64) -> PartWriter {
        PartWriter { from, to: from, text: String::new() }
    }

    /// Adds an entry that stands at `place`; whether there was room.
    #[must_use]
    pub fn add(&mut self, place: u64, entry: &Entry) -> bool {
        let entry = entry.to_value().to_string();
        if self.text.len() + entry.len() + 1 + FRAME_OCTETS > PART_OCTETS_MAX {
            return false;
        }
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&entry);
        self.to = place;
        true
    }

    /// The place up to which it goes, and its text.
    pub fn finish(self, is_last: bool) -> (u64, String) {
        let PartWriter { from, to, text } = self;
        (to, format!("{{\"from\":{from},\"to\":{to},\"last\":{is_last},\"users\":[{text}]}}"))
    }
}

impl Part {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Part, PartError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| PartError("the part is no JSON"))?;
        let number = |name| value.get(name).and_then(Value::as_u64);
        let (Some(from), Some(to)) = (number("from"), number("to")) else {
            return Err(PartError("the part has no places"));
        };
        let is_last = value.get("last").and_then(Value::as_bool).ok_or(PartError("the part has no end"))?;
        let entries =
            value.get("users").and_then(Value::as_array).ok_or(PartError("the part has no users"))?;
        let entries = entries.iter().map(Entry::from_value).collect::<Option<Vec<_>>>();
        let entries = entries.ok_or(PartError("a user of the part cannot be read"))?;
        if to < from {
            return Err(PartError("the part goes backwards"));
        }
        Ok(Part { from, to, is_last, entries })
    }
}

impl Entry {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        match self {
            Entry::Gone(user) => {
                map.insert("id".to_owned(), user.0.into());
                map.insert("gone".to_owned(), true.into());
            }
            Entry::Is(copied) => {
                let addresses: Vec<&str> = copied.addresses.iter().map(SipAddress::as_str).collect();
                map.insert("id".to_owned(), copied.user.0.into());
                map.insert("addresses".to_owned(), addresses.into());
                map.insert("enabled".to_owned(), copied.is_enabled.into());
                map.insert("federation".to_owned(), copied.permissions.federation.into());
                map.insert("remote".to_owned(), copied.permissions.remote_access.into());
                if let Some(secrets) = &copied.secrets {
                    map.insert("md5".to_owned(), hex::encode(secrets.md5).into());
                    map.insert("sha256".to_owned(), hex::encode(secrets.sha256).into());
                }
                if !copied.certificates.is_empty() {
                    let certificates: Vec<Value> =
                        copied.certificates.iter().map(certificate_value).collect();
                    map.insert("certificates".to_owned(), certificates.into());
                }
            }
        }
        Value::Object(map)
    }

    fn from_value(value: &Value) -> Option<Entry> {
        let user = UserId(value.get("id")?.as_u64()?);
        if value.get("gone").and_then(Value::as_bool) == Some(true) {
            return Some(Entry::Gone(user));
        }
        let addresses = value.get("addresses")?.as_array()?.iter();
        let addresses: Option<Vec<SipAddress>> =
            addresses.map(|address| SipAddress::parse(address.as_str()?).ok()).collect();
        let flag = |name| value.get(name).and_then(Value::as_bool);
        let secrets = match (value.get("md5"), value.get("sha256")) {
            (None, None) => None,
            (md5, sha256) => {
                let mut secrets = DigestSecrets { md5: [0; 16], sha256: [0; 32] };
                hex::decode_to_slice(md5?.as_str()?, &mut secrets.md5).ok()?;
                hex::decode_to_slice(sha256?.as_str()?, &mut secrets.sha256).ok()?;
                Some(secrets)
            }
        };
        let certificates = match value.get("certificates") {
            None => Vec::new(),
            Some(certificates) => {
                certificates.as_array()?.iter().map(certificate_from).collect::<Option<_>>()?
            }
        };
        Some(Entry::Is(Copied {
            user,
            addresses: addresses.filter(|addresses| !addresses.is_empty())?,
            is_enabled: flag("enabled")?,
            permissions: Permissions {
                federation: flag("federation")?,
                remote_access: flag("remote")?,
                calls: true,
            },
            secrets,
            certificates,
        }))
    }
}

fn certificate_value(certificate: &ClientCertificate) -> Value {
    let mut map = Map::new();
    map.insert("sha256".to_owned(), certificate.digest.to_string().into());
    map.insert("expires_unix_ms".to_owned(), certificate.expires_unix_ms.into());
    Value::Object(map)
}

fn certificate_from(value: &Value) -> Option<ClientCertificate> {
    Some(ClientCertificate {
        digest: value.get("sha256")?.as_str()?.parse::<CertificateDigest>().ok()?,
        expires_unix_ms: value.get("expires_unix_ms")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Entry {
        Entry::Is(Copied {
            user: UserId(7),
            addresses: vec![SipAddress::parse("alice@contoso.example").unwrap()],
            is_enabled: true,
            permissions: Permissions { federation: false, remote_access: true, calls: true },
            secrets: Some(DigestSecrets { md5: [1; 16], sha256: [2; 32] }),
            certificates: vec![ClientCertificate {
                digest: CertificateDigest([3; 32]),
                expires_unix_ms: 1_700_000_000_000,
            }],
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = PartWriter::new(3);
        assert!(writer.add(5, &alice()));
        assert!(writer.add(9, &Entry::Gone(UserId(8))));
        let (to, text) = writer.finish(true);
        assert_eq!(to, 9);
        let entries = vec![alice(), Entry::Gone(UserId(8))];
        assert_eq!(Part::parse(text.as_bytes()), Ok(Part { from: 3, to: 9, is_last: true, entries }));
    }

    #[test]
    fn a_part_is_bounded() {
        let mut writer = PartWriter::new(0);
        let held = (1..10_000).take_while(|place| writer.add(*place, &alice())).count();
        assert!((100..1000).contains(&held), "{held}");
        let (to, text) = writer.finish(false);
        assert_eq!(usize::try_from(to).unwrap(), held);
        assert!(text.len() <= PART_OCTETS_MAX);
    }

    #[test]
    fn what_nobody_wrote_is_refused_whole() {
        for text in [
            "",
            "[]",
            "{\"from\":0,\"to\":1,\"users\":[]}",
            "{\"from\":2,\"to\":1,\"last\":true,\"users\":[]}",
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[{\"id\":1}]}",
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[{\"id\":1,\"addresses\":[],\"enabled\":true,\"federation\":true,\"remote\":true}]}",
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[{\"id\":1,\"addresses\":[\"a@b.example\"],\"enabled\":true,\"federation\":true,\"remote\":true,\"md5\":\"00\",\"sha256\":\"00\"}]}",
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[{\"id\":1,\"addresses\":[\"a@b.example\"],\"enabled\":true,\"federation\":true,\"remote\":true,\"certificates\":[{\"sha256\":\"00\",\"expires_unix_ms\":1}]}]}",
        ] {
            assert!(Part::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
