//! Resource list meta-information (RFC 4662): the state of a whole list in one body.
//!
//! A [`Notification`] takes members one after the other, as long as they fit, and becomes a `multipart/related` (RFC 2387): the
//! list first, then the documents that it points to. Documents are shared with everybody who watches the same person and
//! are copied once, into the body. Which members are due is for the caller, and so is what did not fit: a list whose members
//! come in several notifications is full in the first and partial in the others (RFC 4662 §5.2).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

use crate::xml::{DECLARATION, push_escaped};

/// The type of the list.
pub const CONTENT_TYPE: &str = "application/rlmi+xml";
/// What a subscriber must accept besides the package's own type (RFC 4662 §4.3).
pub const MULTIPART: &str = "multipart/related";

const RLMI: &str = "urn:ietf:params:xml:ns:rlmi";
const LIST_END: &str = "</list>\r\n";
/// COMPAT: belle-sip 5.1 takes the quotes around a boundary for a part of it, finds no part, and ends the program. It has
/// only characters of tokens, which need none (RFC 2045 §5.1).
/// What boundaries begin with; digits follow, more than a body can hold boundaries.
const BOUNDARY: &str = "chancery-";
const BOUNDARY_DIGITS: usize = 8;
/// The one that nearly every body has.
const FIRST_BOUNDARY: &str = "chancery-00000000";
static BOUNDARY_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(BOUNDARY));
/// Octets of a list of some twenty members.
const LIST_OCTETS: usize = 4096;
/// Octets that belong to no member: the lines around the list, its content identifier, the last boundary.
const FRAME_OCTETS: usize = 512;
/// Octets of a part besides its document, its content type and its content identifier: field names, line ends and a boundary.
const PART_OCTETS: usize = 192;

/// A list as a notification begins.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// The URI that was subscribed to.
    pub uri: &'a str,
    /// One more with every notification of the subscription, from 0.
    pub version: u32,
    /// Whether every member is told.
    pub is_full: bool,
    /// What people read.
    pub name: Option<&'a str>,
    /// Text that no other subscription has, of letters and digits: makes content identifiers unique.
    pub token: &'a str,
    /// The domain that content identifiers are of.
    pub domain: &'a str,
    /// How parts bear them.
    pub content_ids: ContentIds,
}

/// How a part bears its content identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentIds {
    /// In brackets (RFC 2045 §7).
    Bracketed,
    /// COMPAT: liblinphone up to 5.2 finds the part of a `cid` only where the field holds the same octets, and shows nobody online
    /// where it has the brackets. Later ones overlook them.
    Bare,
}

/// A member of the list.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// Whom the list names.
    pub uri: &'a str,
    /// What people read.
    pub name: Option<&'a str>,
    /// What is known; `None` while nothing is.
    pub instance: Option<Instance<'a>>,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    /// The same for the same source of state as long as the subscription lasts (RFC 4662 §5.5).
    pub id: &'a str,
    /// How the subscription to the member stands.
    pub state: InstanceState<'a>,
    /// The document with its type; there may be none where the subscription is not active.
    pub document: Option<(&'static str, &'a Bytes)>,
}

/// How the subscription to a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState<'a> {
    /// It delivers.
    Active,
    /// Somebody has to allow it.
    Pending,
    /// It is over, for one of the reasons of RFC 6665 §4.1.3.
    Terminated(&'a str),
}

/// A body that is being made.
#[derive(Debug)]
pub struct Notification<'a> {
    list: List<'a>,
    /// What follows the number in each content identifier.
    identifier: String,
    xml: String,
    parts: Vec<Part>,
    octets: usize,
    octets_max: usize,
}

/// A document in a body.
#[derive(Debug)]
struct Part {
    /// Where its content identifier stands in the list, which has nothing in it that XML escapes.
    identifier: Range<usize>,
    content_type: &'static str,
    document: Bytes,
}

/// A body that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The value of Content-Type.
    pub content_type: String,
    /// The body.
    pub octets: Bytes,
}

impl<'a> Notification<'a> {
    /// Begins a body of at most `octets_max` octets, of which a few hundred are its frame.
    pub fn new(list: List<'a>, octets_max: usize) -> Notification<'a> {
        let List { uri, version, is_full, name, token, domain, .. } = list;
        let version = version.to_string();
        let identifier = [".", &version, ".", token, "@", domain].concat();
        let mut xml = String::with_capacity(LIST_OCTETS);
        for piece in [DECLARATION, "<list xmlns=\"", RLMI, "\" uri=\""] {
            xml.push_str(piece);
        }
        push_escaped(&mut xml, uri);
        let full_state = if is_full { "true" } else { "false" };
        for piece in ["\" version=\"", &version, "\" fullState=\"", full_state, "\">\r\n"] {
            xml.push_str(piece);
        }
        if let Some(name) = name {
            xml.push_str("<name>");
            push_escaped(&mut xml, name);
            xml.push_str("</name>\r\n");
        }
        let octets = xml.len() + LIST_END.len() + FRAME_OCTETS;
        Notification { list, identifier, xml, parts: Vec::new(), octets, octets_max }
    }

    /// Takes a member, if it fits; says whether it did.
    pub fn push(&mut self, resource: &Resource<'_>) -> bool {
        let start = self.xml.len();
        let identifier = self.write(resource);
        let document = resource.instance.and_then(|instance| instance.document);
        let part_octets = document.map_or(0, |(content_type, document)| {
            document.len() + content_type.len() + identifier.len() + PART_OCTETS
        });
        let octets = self.octets + (self.xml.len() - start) + part_octets;
        if octets > self.octets_max {
            self.xml.truncate(start);
            return false;
        }
        self.octets = octets;
        if let Some((content_type, document)) = document {
            self.parts.push(Part { identifier, content_type, document: document.clone() });
        }
        true
    }

    /// Writes a member; gives where the identifier of its document stands.
    fn write(&mut self, resource: &Resource<'_>) -> Range<usize> {
        let number = self.parts.len() + 1;
        let xml = &mut self.xml;
        let Resource { uri, name, instance } = resource;
        let mut identifier = 0..0;
        xml.push_str("<resource uri=\"");
        push_escaped(xml, uri);
        if name.is_none() && instance.is_none() {
            xml.push_str("\"/>\r\n");
            return identifier;
        }
        xml.push_str("\">");
        if let Some(name) = name {
            xml.push_str("<name>");
            push_escaped(xml, name);
            xml.push_str("</name>");
        }
        if let Some(Instance { id, state, document }) = instance {
            let (state, reason) = match state {
                InstanceState::Active => ("active", None),
                InstanceState::Pending => ("pending", None),
                InstanceState::Terminated(reason) => ("terminated", Some(reason)),
            };
            xml.push_str("<instance id=\"");
            push_escaped(xml, id);
            xml.push_str("\" state=\"");
            xml.push_str(state);
            if let Some(reason) = reason {
                xml.push_str("\" reason=\"");
                push_escaped(xml, reason);
            }
            if document.is_some() {
                xml.push_str("\" cid=\"");
                let start = xml.len();
                let _ = write!(xml, "{number}");
                xml.push_str(&self.identifier);
                identifier = start..xml.len();
            }
            xml.push_str("\"/>");
        }
        xml.push_str("</resource>\r\n");
        identifier
    }

    /// Whether no document is in it.
    pub fn has_no_document(&self) -> bool {
        self.parts.is_empty()
    }

    /// The body.
    pub fn finish(mut self) -> Body {
        self.xml.push_str(LIST_END);
        let boundary = self.boundary();
        let root = ["0", &self.identifier].concat();
        let (open, close) = match self.list.content_ids {
            ContentIds::Bracketed => ("<", ">\r\n"),
            ContentIds::Bare => ("", "\r\n"),
        };
        let mut octets = BytesMut::with_capacity(self.octets);
        let mut part = |identifier: &str, content_type: &str, body: &[u8]| {
            // COMPAT: liblinphone looks for Content-Id in this case.
            for piece in [
                "--",
                &boundary,
                "\r\nContent-Transfer-Encoding: binary\r\nContent-Id: ",
                open,
                identifier,
                close,
                "Content-Type: ",
                content_type,
                "\r\n\r\n",
            ] {
                octets.put_slice(piece.as_bytes());
            }
            octets.put_slice(body);
            octets.put_slice(b"\r\n");
        };
        part(&root, "application/rlmi+xml;charset=\"UTF-8\"", self.xml.as_bytes());
        for Part { identifier, content_type, document } in &self.parts {
            part(&self.xml[identifier.clone()], content_type, document);
        }
        for piece in ["--", &boundary, "--\r\n"] {
            octets.put_slice(piece.as_bytes());
        }
        let content_type =
            [MULTIPART, ";type=\"", CONTENT_TYPE, "\";start=\"<", &root, ">\";boundary=", &boundary].concat();
        Body { content_type, octets: octets.freeze() }
    }

    /// A boundary that is in no part (RFC 2046 §5.1.1): the first of a row. All candidates have the same length, so that none
    /// begins with another, and one pass finds all that are taken.
    fn boundary(&self) -> Cow<'static, str> {
        let documents = self.parts.iter().map(|part| &*part.document);
        let mut taken = BTreeSet::<u32>::new();
        for octets in std::iter::once(self.xml.as_bytes()).chain(documents) {
            for at in BOUNDARY_FINDER.find_iter(octets) {
                let digits = octets[at + BOUNDARY.len()..].get(..BOUNDARY_DIGITS);
                let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
                let number = digits.and_then(|digits| digits.parse::<u32>().ok());
                taken.extend(number);
            }
        }
        match (0u32..).find(|number| !taken.contains(number)).expect("a body is finite") {
            0 => Cow::Borrowed(FIRST_BOUNDARY),
            free => Cow::Owned(format!("{BOUNDARY}{free:0BOUNDARY_DIGITS$}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Body, ContentIds, Instance, InstanceState, List, Notification, Resource};
    use crate::testing::validate;

    const LIST: List<'static> = List {
        uri: "sip:rls@contoso.example",
        version: 7,
        is_full: true,
        name: Some("Friends & co"),
        token: "a1b2",
        domain: "contoso.example",
        content_ids: ContentIds::Bracketed,
    };

    fn resource<'a>(uri: &'a str, instance: Option<Instance<'a>>) -> Resource<'a> {
        Resource { uri, name: None, instance }
    }

    fn active(document: &Bytes) -> Option<Instance<'_>> {
        let document = Some(("application/pidf+xml", document));
        Some(Instance { id: "1", state: InstanceState::Active, document })
    }

    /// The heads and bodies of the parts, as the Content-Type says to take them apart.
    fn parts(body: &Body) -> Vec<(String, Vec<u8>)> {
        let (_, boundary) = body.content_type.rsplit_once("boundary=").expect("a boundary");
        let delimiter = format!("--{}", boundary.trim_end_matches('"'));
        let mut rest = body.octets.strip_prefix(delimiter.as_bytes()).expect("it begins with a part");
        let delimiter = format!("\r\n{delimiter}");
        let mut parts = Vec::new();
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let end = part.windows(delimiter.len()).position(|w| w == delimiter.as_bytes()).expect("an end");
            let head = part.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
            parts.push((
                String::from_utf8(part[..head].to_vec()).expect("a head"),
                part[head + 4..end].to_vec(),
            ));
            rest = &part[end + delimiter.len()..];
        }
        assert_eq!(rest, b"--\r\n");
        parts
    }

    #[test]
    fn a_list_is_written() {
        let (alice, bob) = (Bytes::from_static(b"<alice/>"), Bytes::from_static(b"<bob/>"));
        let mut notification = Notification::new(LIST, 10_000);
        let gone = Instance { id: "1", state: InstanceState::Terminated("noresource"), document: None };
        let asked = Instance { id: "1", state: InstanceState::Pending, document: Some(("text/plain", &bob)) };
        for resource in [
            Resource { name: Some("Alice"), ..resource("sip:alice@contoso.example", active(&alice)) },
            resource("sip:bob@contoso.example", Some(asked)),
            resource("sip:eve@elsewhere.example", Some(gone)),
            resource("sip:zoe@elsewhere.example", None),
        ] {
            assert!(notification.push(&resource));
        }
        let body = notification.finish();
        let written = String::from_utf8(body.octets.to_vec()).expect("text");
        expect_test::expect![[r#"
            multipart/related;type="application/rlmi+xml";start="<0.7.a1b2@contoso.example>";boundary=chancery-00000000

            --chancery-00000000
            Content-Transfer-Encoding: binary
            Content-Id: <0.7.a1b2@contoso.example>
            Content-Type: application/rlmi+xml;charset="UTF-8"

            <?xml version="1.0" encoding="UTF-8"?>
            <list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:rls@contoso.example" version="7" fullState="true">
            <name>Friends &amp; co</name>
            <resource uri="sip:alice@contoso.example"><name>Alice</name><instance id="1" state="active" cid="1.7.a1b2@contoso.example"/></resource>
            <resource uri="sip:bob@contoso.example"><instance id="1" state="pending" cid="2.7.a1b2@contoso.example"/></resource>
            <resource uri="sip:eve@elsewhere.example"><instance id="1" state="terminated" reason="noresource"/></resource>
            <resource uri="sip:zoe@elsewhere.example"/>
            </list>

            --chancery-00000000
            Content-Transfer-Encoding: binary
            Content-Id: <1.7.a1b2@contoso.example>
            Content-Type: application/pidf+xml

            <alice/>
            --chancery-00000000
            Content-Transfer-Encoding: binary
            Content-Id: <2.7.a1b2@contoso.example>
            Content-Type: text/plain

            <bob/>
            --chancery-00000000--
        "#]]
        .assert_eq(&format!("{}\n\n{}", body.content_type, written.replace("\r\n", "\n")));
        validate("rlmi.xsd", &[parts(&body).swap_remove(0).1]);
    }

    #[test]
    fn liblinphone_finds_parts_by_bare_identifiers() {
        let alice = Bytes::from_static(b"<alice/>");
        let mut notification = Notification::new(List { content_ids: ContentIds::Bare, ..LIST }, 10_000);
        assert!(notification.push(&resource("sip:alice@contoso.example", active(&alice))));
        let parts = parts(&notification.finish());
        assert!(String::from_utf8_lossy(&parts[0].1).contains(" cid=\"1.7.a1b2@contoso.example\""));
        assert!(parts[1].0.contains("\r\nContent-Id: 1.7.a1b2@contoso.example\r\n"));
    }

    #[test]
    fn no_part_holds_the_boundary() {
        let nasty = Bytes::from_static(
            b"\r\n--chancery-00000000\r\n--chancery-00000001--chancery-00000003 chancery-x chancery-",
        );
        let mut notification = Notification::new(LIST, 10_000);
        assert!(notification.push(&resource("sip:chancery-00000002@contoso.example", active(&nasty))));
        let body = notification.finish();
        assert!(body.content_type.ends_with("boundary=chancery-00000004"));
        assert_eq!(parts(&body)[1].1, nasty);
    }

    proptest! {
        #[test]
        fn what_fits_is_in_it_and_what_is_in_it_fits(
            sizes in prop::collection::vec(prop::option::of(0usize..600), 0..30),
            octets_max in 800usize..8000,
        ) {
            let documents: Vec<_> =
                sizes.iter().enumerate().map(|(n, size)| size.map(|size| Bytes::from(format!("{n}:{}", "x".repeat(size))))).collect();
            let mut notification = Notification::new(LIST, octets_max);
            let mut taken = Vec::new();
            let mut told = 0;
            for document in &documents {
                if notification.push(&resource("sip:a@contoso.example", document.as_ref().and_then(active))) {
                    told += 1;
                    taken.extend(document.clone());
                }
            }
            let body = notification.finish();
            prop_assert!(body.octets.len() <= octets_max);
            let parts = parts(&body);
            let list = String::from_utf8(parts[0].1.clone()).expect("text");
            prop_assert_eq!(list.matches("<resource ").count(), told);
            let bodies: Vec<Bytes> = parts[1..].iter().map(|(_, body)| Bytes::from(body.clone())).collect();
            prop_assert_eq!(bodies, taken);
            for (head, _) in &parts[1..] {
                let cid = head.split("Content-Id: <").nth(1).and_then(|rest| rest.split('>').next()).expect("a cid");
                let attribute = format!("cid=\"{cid}\"");
                prop_assert!(list.contains(&attribute));
            }
        }
    }
}
