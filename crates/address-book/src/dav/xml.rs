//! Requests' XML as a tree, within limits; and texts escaped for answers.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

pub(super) const DAV: &str = "DAV:";
pub(super) const CARDDAV: &str = "urn:ietf:params:xml:ns:carddav";
/// Apple's, for getctag.
pub(super) const CALENDAR_SERVER: &str = "http://calendarserver.org/ns/";

/// Largest content of a request, in octets: a multiget of [`super::report::MULTIGET_MAX`] entries takes half of it.
const OCTETS_MAX: usize = 1 << 20;
/// Deepest nesting: the deepest request that RFC 6352 knows has seven levels.
const DEPTH_MAX: usize = 16;
/// Most elements, attributes and texts.
const PARTS_MAX: usize = 50_000;

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Element {
    /// Empty: it is in none.
    pub(super) namespace: String,
    pub(super) name: String,
    /// By local name.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// All text directly below.
    pub(super) text: String,
}

/// Why a content cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum XmlError {
    #[error("the content is larger or deeper than any request needs to be")]
    TooLarge,
    #[error("the content is not well-formed XML, or declares a document type")]
    Malformed,
}

impl Element {
    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    pub(super) fn child(&self, namespace: &str, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a document.
pub(super) fn read(octets: &[u8]) -> Result<Element, XmlError> {
    if octets.len() > OCTETS_MAX {
        return Err(XmlError::TooLarge);
    }
    let text = std::str::from_utf8(octets).map_err(|_| XmlError::Malformed)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    // Elements whose end has not come, the root first.
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut parts = 0;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|_| XmlError::Malformed)?;
        parts += 1;
        if parts > PARTS_MAX {
            return Err(XmlError::TooLarge);
        }
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err(XmlError::Malformed);
                }
                if open.len() == DEPTH_MAX {
                    return Err(XmlError::TooLarge);
                }
                let element = element(&namespace, &start, &mut parts)?;
                open.push(element);
            }
            Event::Empty(start) => {
                let element = element(&namespace, &start, &mut parts)?;
                close(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or(XmlError::Malformed)?;
                close(element, &mut open, &mut root)?;
            }
            Event::Text(text) => {
                let text = text.xml_content(XmlVersion::Implicit1_0);
                add_text(&text, &mut open)?;
            }
            Event::CData(text) => {
                let text = text.xml_content(XmlVersion::Implicit1_0);
                add_text(&text, &mut open)?;
            }
            Event::GeneralRef(name) => {
                let character = name.resolve_char_ref().map_err(|_| XmlError::Malformed)?;
                let predefined = || {
                    let name = name.xml_content(XmlVersion::Implicit1_0);
                    quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned)
                };
                let text = character.map(String::from).or_else(predefined).ok_or(XmlError::Malformed)?;
                add_text(&text, &mut open)?;
            }
            // Entities are declared there, and clients have no business with them.
            Event::DocType(_) => return Err(XmlError::Malformed),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(XmlError::Malformed);
    }
    root.ok_or(XmlError::Malformed)
}

fn element(
    namespace: &ResolveResult<'_>,
    start: &BytesStart<'_>,
    parts: &mut usize,
) -> Result<Element, XmlError> {
    let namespace = match namespace {
        ResolveResult::Bound(Namespace(uri)) => uri,
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(XmlError::Malformed),
    };
    // Names come back in answers, and the reader takes them as they are.
    let local_name = start.local_name().into_inner();
    if !is_name(local_name) {
        return Err(XmlError::Malformed);
    }
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| XmlError::Malformed)?;
        *parts += 1;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| XmlError::Malformed)?;
        attributes.push((attribute.key.local_name().into_inner().to_owned(), value.into_owned()));
    }
    Ok(Element {
        namespace: namespace.to_owned(),
        name: local_name.to_owned(),
        attributes,
        ..Element::default()
    })
}

/// Whether a text is a name without colon (NCName of Namespaces in XML 1.0, §3).
fn is_name(text: &str) -> bool {
    let begins = |c: char| {
        c.is_ascii_alphabetic()
            || matches!(c, '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
                | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
                | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
                | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
    };
    let goes_on = |c: char| {
        begins(c)
            || c.is_ascii_digit()
            || matches!(c, '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    text.starts_with(begins) && text.chars().all(goes_on)
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn add_text(text: &str, open: &mut [Element]) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

/// A text as content or as an attribute's value; what XML cannot hold is left out.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A reader would make LF of it, and vCards have both.
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_by_namespaces() {
        let root = read(
            br#"<?xml version="1.0"?><a:x xmlns:a="DAV:" xmlns="n"><y b="1 &lt;"/>t<![CDATA[&]]>&amp;&#x41;<a:z/></a:x>"#,
        )
        .expect("it is well formed");
        assert!(root.is(DAV, "x"));
        assert_eq!((root.text.as_str(), root.children.len()), ("t&&A", 2));
        assert_eq!(root.child("n", "y").and_then(|y| y.attribute("b")), Some("1 <"));
        assert!(root.child(DAV, "z").is_some() && root.child("n", "z").is_none());
    }

    #[test]
    fn limits_hold() {
        for malformed in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<p:a/>",
            "<a>&unknown;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a b='1' b='2'/>",
            "<a=b/>",
            "<1/>",
            "<a:b:c xmlns:a='x'/>",
            "<a/>text",
        ] {
            assert_eq!(read(malformed.as_bytes()), Err(XmlError::Malformed), "{malformed}");
        }
        assert_eq!(read(b"<a>\xff</a>"), Err(XmlError::Malformed));
        let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(read(deep(16).as_bytes()).is_ok());
        assert_eq!(read(deep(17).as_bytes()), Err(XmlError::TooLarge));
        assert_eq!(read(format!("<a>{}</a>", "<b/>".repeat(50_000)).as_bytes()), Err(XmlError::TooLarge));
        assert_eq!(read(&vec![b' '; OCTETS_MAX + 1]), Err(XmlError::TooLarge));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = "a & b < c > \"d\"\r\nÄ\u{0}\u{b}";
        let mut written = "<a>".to_owned();
        escape(text, &mut written);
        written.push_str("</a>");
        assert_eq!(read(written.as_bytes()).expect("it is well formed").text, "a & b < c > \"d\"\r\nÄ");
    }
}
