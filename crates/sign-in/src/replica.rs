//! What a home lets a Director know of its accounts, and how it is written: the event package `chancery-users`.
//!
//! A Front End keeps its accounts in order of their last change. A [`Part`] holds those that changed behind one place in
//! this order and up to another, so that the first parts hold everybody, and later ones what is new. Who reads them in order
//! has, after a part that says so, what the home has. Places mean nothing beyond one subscription.
//!
//! What this module is not: it sends nothing, and knows neither who may subscribe nor how long a copy is good.

use directory::{CertificateDigest, ClientCertificate, DigestSecrets, Permissions, SipAddress, UserId};
use serde_json::{Map, Value};

use crate::token::TokenKey;

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
    /// Its app passwords for SIP.
    pub app_passwords: Vec<CopiedPassword>,
    /// Tokens that were issued earlier sign nobody in, in milliseconds since 1970.
    pub tokens_since_unix_ms: u64,
}

/// An app password, as far as somebody must know it who checks what answers a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedPassword {
    /// Its user name.
    pub username: String,
    /// What Digest is checked against.
    pub secrets: DigestSecrets,
}

/// What a home's tokens are judged by, and who gives them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The home's key.
    pub key: TokenKey,
    /// The HTTPS URI of the sign-in over the web; `None` where there is none.
    pub server: Option<String>,
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
    /// What the home's tokens are judged by.
    pub tokens: Tokens,
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
    tokens: String,
    text: String,
}

/// Octets of a part beside its entries and what tokens are judged by: names, places, brackets.
const FRAME_OCTETS: usize = 128;

impl PartWriter {
    /// Begins behind a place.
    pub fn new(from: u64, tokens: &Tokens) -> PartWriter {
        PartWriter { from, to: from, tokens: tokens.to_value().to_string(), text: String::new() }
    }

    /// Adds an entry that stands at `place`; whether there was room.
    #[must_use]
    pub fn add(&mut self, place: u64, entry: &Entry) -> bool {
        let entry = entry.to_value().to_string();
        if self.text.len() + entry.len() + 1 + self.tokens.len() + FRAME_OCTETS > PART_OCTETS_MAX {
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
        let PartWriter { from, to, tokens, text } = self;
        let text = format!(
            "{{\"from\":{from},\"to\":{to},\"last\":{is_last},\"tokens\":{tokens},\"users\":[{text}]}}"
        );
        (to, text)
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
        let tokens = value.get("tokens").and_then(Tokens::from_value);
        let tokens = tokens.ok_or(PartError("the part does not say what tokens are judged by"))?;
        let entries =
            value.get("users").and_then(Value::as_array).ok_or(PartError("the part has no users"))?;
        let entries = entries.iter().map(Entry::from_value).collect::<Option<Vec<_>>>();
        let entries = entries.ok_or(PartError("a user of the part cannot be read"))?;
        if to < from {
            return Err(PartError("the part goes backwards"));
        }
        Ok(Part { from, to, is_last, tokens, entries })
    }
}

impl Tokens {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("key".to_owned(), hex::encode(self.key.octets()).into());
        if let Some(server) = &self.server {
            map.insert("server".to_owned(), server.as_str().into());
        }
        Value::Object(map)
    }

    fn from_value(value: &Value) -> Option<Tokens> {
        let mut key = [0; 32];
        hex::decode_to_slice(value.get("key")?.as_str()?, &mut key).ok()?;
        let server = match value.get("server") {
            None => None,
            Some(server) => Some(server.as_str()?.to_owned()),
        };
        Some(Tokens { key: TokenKey::from_octets(key), server })
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
                map.insert("calls".to_owned(), copied.permissions.calls.into());
                map.insert("tokens_since_unix_ms".to_owned(), copied.tokens_since_unix_ms.into());
                if let Some(secrets) = &copied.secrets {
                    put_secrets(&mut map, secrets);
                }
                if !copied.app_passwords.is_empty() {
                    let passwords: Vec<Value> = copied.app_passwords.iter().map(password_value).collect();
                    map.insert("app_passwords".to_owned(), passwords.into());
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
            _ => Some(secrets_from(value)?),
        };
        let app_passwords = match value.get("app_passwords") {
            None => Vec::new(),
            Some(passwords) => passwords.as_array()?.iter().map(password_from).collect::<Option<_>>()?,
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
                calls: flag("calls")?,
            },
            secrets,
            certificates,
            app_passwords,
            tokens_since_unix_ms: value.get("tokens_since_unix_ms")?.as_u64()?,
        }))
    }
}

fn put_secrets(map: &mut Map<String, Value>, secrets: &DigestSecrets) {
    map.insert("md5".to_owned(), hex::encode(secrets.md5).into());
    map.insert("sha256".to_owned(), hex::encode(secrets.sha256).into());
}

fn secrets_from(value: &Value) -> Option<DigestSecrets> {
    let mut secrets = DigestSecrets { md5: [0; 16], sha256: [0; 32] };
    hex::decode_to_slice(value.get("md5")?.as_str()?, &mut secrets.md5).ok()?;
    hex::decode_to_slice(value.get("sha256")?.as_str()?, &mut secrets.sha256).ok()?;
    Some(secrets)
}

fn password_value(password: &CopiedPassword) -> Value {
    let mut map = Map::new();
    map.insert("username".to_owned(), password.username.as_str().into());
    put_secrets(&mut map, &password.secrets);
    Value::Object(map)
}

fn password_from(value: &Value) -> Option<CopiedPassword> {
    let username = value.get("username")?.as_str()?.to_owned();
    Some(CopiedPassword { username, secrets: secrets_from(value)? })
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
            addresses: vec![
                SipAddress::parse("alice@contoso.example").unwrap(),
                SipAddress::parse("alice.smith@contoso.example").unwrap(),
            ],
            is_enabled: true,
            permissions: Permissions { federation: false, remote_access: true, calls: false },
            secrets: Some(DigestSecrets { md5: [1; 16], sha256: [2; 32] }),
            certificates: vec![ClientCertificate {
                digest: CertificateDigest([3; 32]),
                expires_unix_ms: 1_700_000_000_000,
            }],
            app_passwords: vec![CopiedPassword {
                username: "alice~k3v9q2".to_owned(),
                secrets: DigestSecrets { md5: [4; 16], sha256: [5; 32] },
            }],
            tokens_since_unix_ms: 1_600_000_000_000,
        })
    }

    fn tokens(server: Option<&str>) -> Tokens {
        Tokens { key: TokenKey::new(&[6; 32]), server: server.map(str::to_owned) }
    }

    #[test]
    fn what_is_written_is_read() {
        for server in [None, Some("https://sip.contoso.example")] {
            let tokens = tokens(server);
            let mut writer = PartWriter::new(3, &tokens);
            assert!(writer.add(5, &alice()));
            assert!(writer.add(9, &Entry::Gone(UserId(8))));
            let (to, text) = writer.finish(true);
            assert_eq!(to, 9);
            let entries = vec![alice(), Entry::Gone(UserId(8))];
            assert_eq!(
                Part::parse(text.as_bytes()),
                Ok(Part { from: 3, to: 9, is_last: true, tokens, entries })
            );
        }
    }

    #[test]
    fn a_part_is_bounded() {
        let mut writer = PartWriter::new(0, &tokens(None));
        let held = (1..10_000).take_while(|place| writer.add(*place, &alice())).count();
        assert!((50..500).contains(&held), "{held}");
        let (to, text) = writer.finish(false);
        assert_eq!(usize::try_from(to).unwrap(), held);
        assert!(text.len() <= PART_OCTETS_MAX);
    }

    #[test]
    fn what_nobody_wrote_is_refused_whole() {
        let key = "00".repeat(32);
        let whole = |users: &str| {
            format!(
                "{{\"from\":0,\"to\":1,\"last\":true,\"tokens\":{{\"key\":\"{key}\"}},\"users\":[{users}]}}"
            )
        };
        let user = "\"id\":1,\"addresses\":[\"a@b.example\"],\"enabled\":true,\"federation\":true,\"remote\":true,\"calls\":true,\"tokens_since_unix_ms\":0";
        assert!(Part::parse(whole(&format!("{{{user}}}")).as_bytes()).is_ok());
        for (what, more) in [
            ("md5", "\"md5\":\"00\",\"sha256\":\"00\""),
            ("certificates", "\"certificates\":[{\"sha256\":\"00\",\"expires_unix_ms\":1}]"),
            ("app_passwords", "\"app_passwords\":[{\"username\":\"a~b\"}]"),
        ] {
            assert!(Part::parse(whole(&format!("{{{user},{more}}}")).as_bytes()).is_err(), "{what}");
        }
        let none = user.replace("\"a@b.example\"", "");
        assert!(Part::parse(whole(&format!("{{{none}}}")).as_bytes()).is_err());
        for text in [
            "",
            "[]",
            "{\"from\":0,\"to\":1,\"users\":[]}",
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[]}",
            &whole("{\"id\":1}"),
            &whole("").replace("\"from\":0", "\"from\":2"),
            &whole("").replace("\"key\":\"00", "\"key\":\""),
            "{\"from\":0,\"to\":1,\"last\":true,\"users\":[{\"id\":1}]}",
        ] {
            assert!(Part::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
