//! What a NOTIFY tells a watcher: one person's presence (RFC 3863, RFC 4480) or a list of them (RFC 4662).
//!
//! Read as a plain client reads it, and shared by the devices and the checkers.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

use crate::xml::Element;

/// What a watcher is shown of a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shown {
    /// Whose presence it is: `user@domain`.
    pub entity: String,
    /// Whether any tuple is open.
    pub is_open: bool,
    /// Names of RPID's activities.
    pub activities: BTreeSet<String>,
    /// All notes, whosever.
    pub notes: BTreeSet<String>,
    /// Whether it is told since when the person is idle.
    pub tells_idle: bool,
    /// Where, in words.
    pub place: Option<String>,
    /// The document as it came.
    pub octets: Bytes,
}

/// A row of a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// `user@domain`.
    pub address: String,
    /// Whether the instance is over (`terminated`); `None` where the resource has no instance.
    pub is_over: Option<bool>,
    /// What the instance's part shows.
    pub shown: Option<Shown>,
}

/// What a watcher is shown of somebody's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallsShown {
    /// Whose calls: `user@domain`.
    pub entity: String,
    /// How many that are not over: who may see no more is told that they are.
    pub calls: usize,
    /// Whether anything says with whom, or for how long.
    pub tells_parties: bool,
    /// Whether anything names a dialog so that it can be taken over.
    pub tells_dialogs: bool,
}

impl CallsShown {
    /// Reads a dialog-info document.
    pub fn read(octets: &Bytes) -> Result<CallsShown, String> {
        let root = Element::parse(octets)?;
        if root.name != "dialog-info" {
            return Err(format!("{} instead of dialog-info", root.name));
        }
        let entity = root.attribute("entity").ok_or("no entity")?;
        let all = root.all();
        let has = |name: &str| all.iter().any(|element| element.name == name);
        let dialogs: Vec<_> = all.iter().filter(|element| element.name == "dialog").collect();
        let names = ["call-id", "local-tag", "remote-tag"];
        Ok(CallsShown {
            entity: address_of(entity),
            calls: dialogs
                .iter()
                .filter(|dialog| dialog.child("state").is_none_or(|state| state.text != "terminated"))
                .count(),
            tells_parties: has("remote") || has("duration"),
            tells_dialogs: dialogs.iter().any(|d| names.iter().any(|name| d.attribute(name).is_some())),
        })
    }
}

/// The content of a NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// One person.
    Person(Shown),
    /// Somebody's calls (RFC 4235).
    Calls(CallsShown),
    /// A list.
    List {
        /// Counts this list's notices.
        version: u32,
        /// Whether it names all members.
        is_full: bool,
        /// What it says.
        rows: Vec<Row>,
    },
}

impl Shown {
    /// Reads a PIDF document.
    pub fn read(octets: &Bytes) -> Result<Shown, String> {
        let root = Element::parse(octets)?;
        if root.name != "presence" {
            return Err(format!("{} instead of presence", root.name));
        }
        let entity = root.attribute("entity").ok_or("no entity")?;
        let all = root.all();
        let named = |name: &'static str| all.iter().filter(move |e| e.name == name);
        let place = named("place-type")
            .next()
            .and_then(|p| p.all().into_iter().map(|e| &e.text).find(|t| !t.is_empty()));
        Ok(Shown {
            entity: address_of(entity),
            is_open: named("basic").any(|b| b.text == "open"),
            activities: named("activities").flat_map(|a| &a.children).map(|a| a.name.clone()).collect(),
            notes: named("note").map(|n| n.text.clone()).filter(|n| !n.is_empty()).collect(),
            tells_idle: named("user-input").next().is_some(),
            place: place.cloned(),
            octets: octets.clone(),
        })
    }

    /// Whether it shows the same, in other octets or not.
    pub fn says_what(&self, other: &Shown) -> bool {
        let same = |shown: &Shown| Shown { octets: Bytes::new(), ..shown.clone() };
        same(self) == same(other)
    }

    /// The document with the person's address taken out: what may be compared between persons.
    pub fn anonymous(&self) -> String {
        let user = self.entity.split('@').next().unwrap_or_default();
        String::from_utf8_lossy(&self.octets).replace(&self.entity, "NOBODY").replace(user, "NAME")
    }
}

impl Notice {
    /// Reads a body of this Content-Type.
    pub fn read(content_type: &str, body: &Bytes) -> Result<Notice, String> {
        let (media, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        match media.trim().to_ascii_lowercase().as_str() {
            "application/pidf+xml" => Ok(Notice::Person(Shown::read(body)?)),
            "application/dialog-info+xml" => Ok(Notice::Calls(CallsShown::read(body)?)),
            "multipart/related" => list(parameters, body),
            other => Err(format!("a body of type {other}")),
        }
    }

    /// Everybody whom it shows.
    pub fn shown(&self) -> Vec<&Shown> {
        match self {
            Notice::Person(shown) => vec![shown],
            Notice::Calls(_) => Vec::new(),
            Notice::List { rows, .. } => rows.iter().filter_map(|r| r.shown.as_ref()).collect(),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open { "open" } else { "closed" })?;
        let words = self.activities.iter().chain(&self.notes).chain(&self.place);
        words.map(String::as_str).try_for_each(|word| write!(f, " {word}"))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Person(shown) => writeln!(f, "        {}: {shown}", shown.entity),
            Notice::Calls(shown) => writeln!(f, "        {}: {} calls", shown.entity, shown.calls),
            Notice::List { version, is_full, rows } => {
                writeln!(f, "        list {version} {}", if *is_full { "full" } else { "partial" })?;
                rows.iter().try_for_each(|row| match &row.shown {
                    Some(shown) => writeln!(f, "        {}: {shown}", row.address),
                    None => writeln!(f, "        {}: no state", row.address),
                })
            }
        }
    }
}

/// One part of a multipart body (RFC 2046 §5.1).
struct Part {
    id: String,
    content_type: String,
    body: Bytes,
}

fn list(parameters: &str, body: &Bytes) -> Result<Notice, String> {
    let boundary = parameter(parameters, "boundary").ok_or("a multipart body without boundary")?;
    let parts = parts(&boundary, body)?;
    let start = parameter(parameters, "start").map(|id| bare(&id).to_owned());
    let root = match &start {
        Some(id) => parts.iter().find(|p| p.id == *id).ok_or("the start is no part")?,
        None => parts.first().ok_or("a multipart body without parts")?,
    };
    if !root.content_type.starts_with("application/rlmi+xml") {
        return Err(format!("the root is of type {}", root.content_type));
    }
    let root = Element::parse(&root.body)?;
    let number = |name: &str| root.attribute(name).and_then(|v| v.parse().ok());
    let version = number("version").ok_or("a list without version")?;
    let is_full = match root.attribute("fullState") {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        other => return Err(format!("fullState is {other:?}")),
    };
    let mut rows = Vec::new();
    for resource in root.children.iter().filter(|c| c.name == "resource") {
        let address = address_of(resource.attribute("uri").ok_or("a resource without uri")?);
        let instance = resource.child("instance");
        let shown = match instance.and_then(|i| i.attribute("cid")) {
            Some(cid) => {
                let part = parts.iter().find(|p| p.id == cid).ok_or_else(|| format!("no part {cid}"))?;
                Some(Shown::read(&part.body)?)
            }
            None => None,
        };
        if let Some(shown) = shown.as_ref().filter(|shown| shown.entity != address) {
            return Err(format!("the part of {address} is about {}", shown.entity));
        }
        let is_over = instance.map(|i| i.attribute("state") == Some("terminated"));
        rows.push(Row { address, is_over, shown });
    }
    Ok(Notice::List { version, is_full, rows })
}

fn parts(boundary: &str, body: &Bytes) -> Result<Vec<Part>, String> {
    let delimiter = format!("--{boundary}");
    let text = std::str::from_utf8(body).map_err(|_| "a multipart body that is not UTF-8".to_owned())?;
    let mut pieces = text.split(&delimiter).skip(1);
    let mut parts = Vec::new();
    loop {
        let piece = pieces.next().ok_or("the last part is not closed")?;
        if piece.starts_with("--") {
            return Ok(parts);
        }
        let piece = piece.strip_prefix("\r\n").ok_or("a delimiter without end of line")?;
        let (head, content) = piece.split_once("\r\n\r\n").ok_or("a part without headers")?;
        let content = content.strip_suffix("\r\n").ok_or("a part without end of line")?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|l| l.split_once(':'));
            lines.find(|(n, _)| n.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        parts.push(Part {
            id: field("content-id").map(|id| bare(&id).to_owned()).unwrap_or_default(),
            content_type: field("content-type").unwrap_or_default(),
            body: Bytes::copy_from_slice(content.as_bytes()),
        });
    }
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    let pairs = parameters.split(';').filter_map(|p| p.split_once('='));
    let found = pairs.into_iter().find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

/// A Content-ID without its angle brackets.
fn bare(id: &str) -> &str {
    id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// `user@domain` of a SIP or presence URI.
pub fn address_of(uri: &str) -> String {
    let bare = bare(uri);
    let rest = bare.split_once(':').map_or(bare, |(_, rest)| rest);
    rest.split([';', '?']).next().unwrap_or_default().to_owned()
}
