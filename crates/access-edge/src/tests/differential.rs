//! Readers that know less of SIP than we do, and choose differently: of every message that passes the strict reading they must
//! find the same sender, the same way and the same length as we do.
//!
//! The messages are those of RFC 4475 and RFC 5118 and a corpus of others, from the folder `shared/conformance` beside the repository. Where it
//! is absent, the test says so and ends; the messages made here are read everywhere.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sip_message::{HeaderId, Message};

use crate::strict;

/// The headers that somebody behind an edge acts on.
const ACTED_ON: [(HeaderId, &str, &str); 12] = [
    (HeaderId::From, "from", "f"),
    (HeaderId::To, "to", "t"),
    (HeaderId::CallId, "call-id", "i"),
    (HeaderId::CSeq, "cseq", ""),
    (HeaderId::MaxForwards, "max-forwards", ""),
    (HeaderId::Route, "route", ""),
    (HeaderId::RecordRoute, "record-route", ""),
    (HeaderId::PAssertedIdentity, "p-asserted-identity", ""),
    (HeaderId::PPreferredIdentity, "p-preferred-identity", ""),
    (HeaderId::ContentLength, "content-length", "l"),
    (HeaderId::Contact, "contact", "m"),
    (HeaderId::Via, "via", "v"),
];

/// How a careless reader cuts a message.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// A CR or LF alone ends a line too.
    breaks_at_any: bool,
    /// A line that begins with a blank goes on the one before; else it is a line of its own.
    joins_folds: bool,
    /// A NUL ends the head.
    ends_at_nul: bool,
}

const READERS: [Reader; 5] = [
    Reader { breaks_at_any: false, joins_folds: true, ends_at_nul: false },
    Reader { breaks_at_any: false, joins_folds: false, ends_at_nul: false },
    Reader { breaks_at_any: true, joins_folds: true, ends_at_nul: false },
    Reader { breaks_at_any: true, joins_folds: false, ends_at_nul: false },
    Reader { breaks_at_any: true, joins_folds: true, ends_at_nul: true },
];

impl Reader {
    /// Names in lower case without blanks, values without blanks around them; and the body, if the head has an end.
    fn read(self, octets: &[u8]) -> (Vec<(String, String)>, Option<Vec<u8>>) {
        let head_end = octets.windows(4).position(|four| four == b"\r\n\r\n");
        let head = &octets[..head_end.unwrap_or(octets.len())];
        let nul = head.iter().position(|byte| *byte == 0).filter(|_| self.ends_at_nul);
        let head = String::from_utf8_lossy(&head[..nul.unwrap_or(head.len())]).into_owned();
        let lines: Vec<&str> = match self.breaks_at_any {
            true => head.split(['\r', '\n']).filter(|line| !line.is_empty()).collect(),
            false => head.split("\r\n").collect(),
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.into_iter().skip(1) {
            if self.joins_folds && line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                continue;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        (headers, head_end.map(|end| octets[end + 4..].to_vec()))
    }
}

/// What passes is the same to every reader; gives whether it passed.
fn check(name: &str, octets: Bytes) -> bool {
    let Ok(message) = Message::parse(octets.clone()) else { return false };
    if message.validate().is_err() || strict::check(&octets, &message).is_err() {
        return false;
    }
    for reader in READERS {
        let (headers, body) = reader.read(message.bytes());
        assert_eq!(body.as_deref(), Some(message.body()), "{name}: the body, by {reader:?}");
        for (id, long, compact) in ACTED_ON {
            let theirs: Vec<&str> = headers
                .iter()
                .filter(|(name, _)| name == long || !compact.is_empty() && name == compact)
                .map(|(_, value)| value.as_str())
                .collect();
            let ours: Vec<String> =
                message.values(id).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            assert_eq!(theirs, ours, "{name}: {long}, by {reader:?}");
        }
        assert!(
            !headers.iter().any(|(name, _)| name.starts_with("chancery"))
                || message.header_named("Chancery-Origin").is_some()
                || message.header_named("Chancery-Member").is_some(),
            "{name}: {reader:?}"
        );
    }
    // What stands once stands once for all: the first and the last are the same.
    for id in [
        HeaderId::From,
        HeaderId::To,
        HeaderId::CallId,
        HeaderId::CSeq,
        HeaderId::ContentLength,
        HeaderId::MaxForwards,
    ] {
        assert!(message.values(id).count() <= 1, "{name}: {id}");
    }
    true
}

fn conformance(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {folder} (no conformance material)");
    None
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = folder
        .read_dir()
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_reader_agrees_on_whatever_passes() {
    for folder in ["sip-torture", "sip-corpus"] {
        let Some(path) = conformance(folder) else { continue };
        let mut found = Vec::new();
        files(&path, &mut found);
        let (mut passed, mut refused) = (0, 0);
        for file in found {
            let octets = Bytes::from(std::fs::read(&file).expect("it can be read"));
            match check(&file.display().to_string(), octets) {
                true => passed += 1,
                false => refused += 1,
            }
        }
        println!("{folder}: {passed} passed, {refused} refused");
        assert!(passed > 0 && refused > 0, "{folder}: {passed} passed, {refused} refused");
    }
}

#[test]
fn every_reader_agrees_on_what_is_made_to_be_read_in_two_ways() {
    let head = "MESSAGE sip:a@a.example SIP/2.0\r\nVia: SIP/2.0/TLS b.example;branch=z9hG4bK1\r\nFrom: <sip:b@b.example>;tag=1\r\n\
                To: <sip:a@a.example>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n";
    let lie = "From: <sip:x@x.example>;tag=2";
    let mut passed = 0;
    for before in ["", "Subject: a", "X: \"", "X: <", "Subject: a\\", "X:", "X: a;b=\"\r\n c"] {
        for between in [
            "\r\n", "\n", "\r", "\r\n ", "\r\n\t", "\0", "\0\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}",
            " ", "\r\n\r", "\r\r\n",
        ] {
            for lie in [
                lie,
                "Route: <sip:x;lr>",
                "P-Asserted-Identity : <sip:x@x.example>",
                "l: 0",
                "Chancery-Origin: x",
                "\r\nBYE",
            ] {
                let text = format!("{head}{before}{between}{lie}\r\nContent-Length: 2\r\n\r\nhi");
                passed += usize::from(check(&format!("{before:?} {between:?} {lie:?}"), Bytes::from(text)));
            }
        }
    }
    assert!(passed > 0, "what is only odd passes");
}
