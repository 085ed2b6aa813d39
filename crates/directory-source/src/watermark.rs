//! How far the changes of a directory were read.

use directory::ObjectId;
use serde::{Deserialize, Serialize};

/// How far the changes of a directory were read. Opaque to the replicator but for [`Watermark::fits`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case")]
pub enum Watermark {
    /// By DirSync (1.2.840.113556.1.4.841).
    DirSync {
        /// The server's cookie.
        #[serde(with = "digits")]
        cookie: Vec<u8>,
        /// invocationId of the server that gave it.
        invocation: ObjectId,
        /// The server that gave it.
        host: String,
        /// The number of that server's last change when something showed last, where it is known.
        #[serde(default)]
        usn: Option<u64>,
    },
    /// By uSNChanged: everything up to this was seen.
    Usn {
        /// The last.
        usn: u64,
        /// invocationId of the server that counts so.
        invocation: ObjectId,
    },
    /// By the text of an operational attribute that only grows: everything up to this was seen, and what is equal may show again.
    Stamp {
        /// `entrycsn` or `modifytimestamp`.
        attribute: String,
        /// The greatest that was seen, as the server writes it.
        text: String,
        /// The server that says so.
        host: String,
    },
}

impl Watermark {
    /// Whether changes can be read on from here at that server: a cookie at every server of the domain, unless the one that gave it was
    /// restored from a backup; a number only where it was counted, as long as that server has not fallen behind it; a stamp only at the
    /// server that wrote it, because another one may lag behind.
    pub fn fits(&self, facts: &crate::ServerFacts) -> bool {
        match self {
            Watermark::DirSync { invocation, host, .. } => {
                *host != facts.host || facts.invocation == Some(*invocation)
            }
            Watermark::Usn { usn, invocation } => {
                facts.invocation == Some(*invocation)
                    && facts.highest_usn.is_some_and(|highest| *usn <= highest)
            }
            Watermark::Stamp { host, .. } => *host == facts.host,
        }
    }

    /// Which change of which server (its invocationId) is the last that is in this, where that is known.
    pub fn change(&self) -> Option<(ObjectId, u64)> {
        match self {
            Watermark::DirSync { invocation, usn, .. } => usn.map(|usn| (*invocation, usn)),
            Watermark::Usn { usn, invocation } => Some((*invocation, *usn)),
            Watermark::Stamp { .. } => None,
        }
    }

    /// The name in reports.
    pub fn way(&self) -> &'static str {
        match self {
            Watermark::DirSync { .. } => "dirsync",
            Watermark::Usn { .. } => "usn",
            Watermark::Stamp { .. } => "stamp",
        }
    }
}

/// Octets as hexadecimal digits.
mod digits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(std::borrow::Cow::<'de, str>::deserialize(deserializer)?.as_ref())
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServerFacts, ServerKind};

    const FIRST: ObjectId = ObjectId([1; 16]);
    const SECOND: ObjectId = ObjectId([2; 16]);

    fn facts(host: &str, invocation: ObjectId, usn: u64) -> ServerFacts {
        ServerFacts {
            host: host.to_owned(),
            kind: ServerKind::ActiveDirectory,
            domain: ObjectId([9; 16]),
            invocation: Some(invocation),
            highest_usn: Some(usn),
            cursors: None,
            lockout_duration: None,
            lockout_threshold: None,
            base: "DC=x".to_owned(),
            dns_domain: "x".to_owned(),
            realm: "X".to_owned(),
            netbios: None,
        }
    }

    #[test]
    fn a_cookie_goes_to_other_servers_but_not_to_a_restored_one() {
        let cookie = Watermark::DirSync {
            cookie: vec![1, 2],
            invocation: FIRST,
            host: "dc1".to_owned(),
            usn: Some(7),
        };
        assert!(cookie.fits(&facts("dc1", FIRST, 0)));
        assert!(cookie.fits(&facts("dc2", SECOND, 0)));
        assert!(!cookie.fits(&facts("dc1", SECOND, 0)));
    }

    #[test]
    fn a_number_stays_where_it_was_counted() {
        let number = Watermark::Usn { usn: 100, invocation: FIRST };
        assert!(number.fits(&facts("dc1", FIRST, 100)));
        assert!(!number.fits(&facts("dc1", FIRST, 99)), "a snapshot came back");
        assert!(!number.fits(&facts("dc1", SECOND, 200)));
    }

    #[test]
    fn what_is_kept_is_read_again() {
        for watermark in [
            Watermark::DirSync {
                cookie: vec![0, 0xff],
                invocation: FIRST,
                host: "dc1".to_owned(),
                usn: Some(7),
            },
            Watermark::Usn { usn: u64::MAX, invocation: SECOND },
            Watermark::Stamp {
                attribute: "entrycsn".to_owned(),
                text: "2026".to_owned(),
                host: "a".to_owned(),
            },
        ] {
            let text = serde_json::to_string(&watermark).unwrap();
            assert_eq!(serde_json::from_str::<Watermark>(&text).unwrap(), watermark, "{text}");
        }
        // As it was written before the number was.
        let text = format!(r#"{{"way":"dir-sync","cookie":"00","invocation":"{FIRST}","host":"dc1"}}"#);
        assert_eq!(serde_json::from_str::<Watermark>(&text).unwrap().change(), None);
    }
}
