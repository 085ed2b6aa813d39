//! Reading, writing and removing a resource (RFC 4825 §7 and §8).
//!
//! An edit is a splice of the document's text, and the text that comes out is read anew and judged whole: it must be
//! well-formed and within the bounds, the same selector must lead to what was put (or to nothing, after a removal), and
//! the application must take it.

use std::borrow::Cow;
use std::ops::Range;

use crate::conflict::Conflict;
use crate::path::Resource;
use crate::select::Selected;
use crate::selector::{Name, NodeSelector, Step, Terminal};
use crate::text::{attribute_value, escape, is_space};
use crate::xml::{DOCUMENT_OCTETS_MAX, Document, ElementId, XML_NAMESPACE, XmlFault};

/// The type of an element alone (RFC 4825 §15.2.1).
pub const ELEMENT_TYPE: &str = "application/xcap-el+xml";
/// The type of an attribute's value (RFC 4825 §15.2.2).
pub const ATTRIBUTE_TYPE: &str = "application/xcap-att+xml";
/// The type of an element's namespace bindings (RFC 4825 §15.2.3).
pub const NAMESPACES_TYPE: &str = "application/xcap-ns+xml";

/// What an application says about its documents (RFC 4825 §5).
pub struct Application<'a> {
    /// The namespace of names without a prefix in node selectors (RFC 4825 §5.2).
    pub namespace: &'a str,
    /// The type of a whole document.
    pub media_type: &'a str,
    /// Judges a document that is well-formed: its schema and the constraints beyond.
    pub validate: &'a dyn Fn(&Document<'_>) -> Result<(), Conflict>,
}

/// The content of a request.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Content-Type as it was given, with parameters; empty without one.
    pub media_type: &'a str,
    /// The content.
    pub octets: &'a [u8],
}

/// What a resource holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'d> {
    /// Its type; `None` for that of the application's documents.
    pub media_type: Option<&'static str>,
    /// The content.
    pub body: Cow<'d, str>,
}

/// A document after an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole document.
    pub document: String,
    /// Whether the resource is new: the answer is 201, else 200.
    pub is_new: bool,
}

/// Why an edit was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is nothing to remove: 404.
    #[error("there is no such resource")]
    NotFound,
    /// Namespace bindings are only read: 405, Allow: GET.
    #[error("namespace bindings can only be read")]
    ReadOnly,
    /// The content is of another type than the resource: 415.
    #[error("the resource is of the type {0}")]
    MediaType(String),
    /// The document would be longer than [`DOCUMENT_OCTETS_MAX`]: 413.
    #[error("the document would be longer than {DOCUMENT_OCTETS_MAX} octets")]
    TooLarge,
    /// 409 with [`Conflict::body`].
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

impl Failure {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Failure::NotFound => 404,
            Failure::ReadOnly => 405,
            Failure::Conflict(_) => 409,
            Failure::TooLarge => 413,
            Failure::MediaType(_) => 415,
        }
    }
}

/// What a document, or a node in it, holds; `None` where there is no such node.
pub fn get<'d>(document: &'d str, node: Option<&NodeSelector>, namespace: &str) -> Option<Found<'d>> {
    let Some(node) = node else {
        return Some(Found { media_type: None, body: Cow::Borrowed(document) });
    };
    let document = Document::parse(document).ok()?;
    let text = document.text();
    Some(match document.select(node, namespace)? {
        Selected::Element(span) => Found { media_type: Some(ELEMENT_TYPE), body: Cow::Borrowed(&text[span]) },
        Selected::Attribute(span) => {
            Found { media_type: Some(ATTRIBUTE_TYPE), body: Cow::Borrowed(&text[span]) }
        }
        Selected::Namespaces(_) => {
            let element = document.walk(&node.steps, namespace)?;
            Found { media_type: Some(NAMESPACES_TYPE), body: Cow::Owned(bindings(&document, element)) }
        }
    })
}

/// Writes a resource. `root` is the URI of the XCAP root and ends with `/`; `current` is the document as it is now, if it is
/// there.
pub fn put(
    root: &str,
    resource: &Resource,
    current: Option<&str>,
    body: Body<'_>,
    application: &Application<'_>,
) -> Result<Edited, Failure> {
    let edit = Edit { root, resource, application };
    let Some(node) = &resource.node else {
        expect_type(body.media_type, application.media_type)?;
        if body.octets.len() > DOCUMENT_OCTETS_MAX {
            return Err(Failure::TooLarge);
        }
        let text = utf8(body.octets)?;
        edit.judge(text)?;
        return Ok(Edited { document: text.to_owned(), is_new: current.is_none() });
    };
    match &node.terminal {
        Terminal::Namespaces => return Err(Failure::ReadOnly),
        Terminal::Element => expect_type(body.media_type, ELEMENT_TYPE)?,
        Terminal::Attribute(_) => expect_type(body.media_type, ATTRIBUTE_TYPE)?,
    }
    if body.octets.len() > DOCUMENT_OCTETS_MAX {
        return Err(Failure::TooLarge);
    }
    let Some(current) = current else {
        return Err(Conflict::NoParent { ancestor: format!("{root}{}", resource.tree_path()) }.into());
    };
    let document = Document::parse(current).map_err(Conflict::from)?;
    let text = utf8(body.octets)?;
    match &node.terminal {
        Terminal::Attribute(name) => edit.put_attribute(&document, node, name, text),
        _ => edit.put_element(&document, node, text.trim_matches(is_space)),
    }
}

/// Removes a resource; `None` where the whole document goes.
pub fn delete(
    resource: &Resource,
    current: Option<&str>,
    application: &Application<'_>,
) -> Result<Option<String>, Failure> {
    let current = current.ok_or(Failure::NotFound)?;
    let Some(node) = &resource.node else { return Ok(None) };
    if node.terminal == Terminal::Namespaces {
        return Err(Failure::ReadOnly);
    }
    let edit = Edit { root: "", resource, application };
    edit.delete_node(&Document::parse(current).map_err(Conflict::from)?, node).map(Some)
}

struct Edit<'e> {
    root: &'e str,
    resource: &'e Resource,
    application: &'e Application<'e>,
}

impl Edit<'_> {
    /// RFC 4825 §8.2.3 and §8.2.4.
    fn put_element(
        &self,
        document: &Document<'_>,
        node: &NodeSelector,
        body: &str,
    ) -> Result<Edited, Failure> {
        let (last, before) = node.steps.split_last().expect("a selector has a step");
        let parent = match before {
            [] => None,
            before => Some(self.parent(document, node, before)?),
        };
        let bindings = parent.map(|parent| document.bindings(parent)).unwrap_or_default();
        Document::parse_fragment(body, &bindings).map_err(|error| match error.fault {
            XmlFault::Malformed(_) => Conflict::NotXmlFragment(error.to_string()),
            _ => error.into(),
        })?;
        let there = document.step(parent, last, self.application.namespace);
        let (edited, place) = match (there, parent) {
            (Some(element), _) => splice(document.text(), document.span(element), ["", body, ""]),
            (None, Some(parent)) => self.insert(document, parent, last, body)?,
            (None, None) => return Err(Conflict::CannotInsert("the document has another root").into()),
        };
        let edited_document = self.judge(&edited)?;
        if edited_document.select(node, self.application.namespace) != Some(Selected::Element(place)) {
            let reason = "the same URI would not lead to the element that was put";
            return Err(Conflict::CannotInsert(reason).into());
        }
        self.validate(&edited_document)?;
        Ok(Edited { document: edited, is_new: there.is_none() })
    }

    /// Puts an element where the selector says: at its position, else behind the last one of its name, else behind all
    /// children (RFC 4825 §8.2.3).
    fn insert(
        &self,
        document: &Document<'_>,
        parent: ElementId,
        step: &Step,
        body: &str,
    ) -> Result<(String, Range<usize>), Failure> {
        let siblings = document.named(Some(parent), &step.name, self.application.namespace);
        let before = match step.position {
            None => None,
            Some(position) => {
                let at = usize::try_from(position).ok().and_then(|at| at.checked_sub(1));
                let Some(at) = at.filter(|at| *at <= siblings.len()) else {
                    return Err(Conflict::CannotInsert("too few elements stand before the position").into());
                };
                siblings.get(at)
            }
        };
        let text = document.text();
        let at = match (before, siblings.last()) {
            (Some(next), _) => document.span(*next).start,
            (None, Some(last)) => document.span(*last).end,
            (None, None) => match document.content_end(parent) {
                Some(end) => end,
                None => {
                    let end = document.start_tag(parent).end;
                    let closing = format!("</{}>", document.name(parent));
                    return Ok(splice(text, end - "/>".len()..end, [">", body, &closing]));
                }
            },
        };
        Ok(splice(text, at..at, ["", body, ""]))
    }

    /// RFC 4825 §8.2.3 and §8.2.4.
    fn put_attribute(
        &self,
        document: &Document<'_>,
        node: &NodeSelector,
        name: &Name,
        body: &str,
    ) -> Result<Edited, Failure> {
        let value = attribute_value(body).ok_or(Conflict::NotAttributeValue)?;
        let element = self.parent(document, node, &node.steps)?;
        let there = document.named_attribute(element, name);
        let (edited, _) = match there {
            Some(attribute) => {
                let span = attribute.value_span();
                splice(document.text(), span.start - 1..span.end + 1, ["", &quoted(body), ""])
            }
            None => {
                let end = document.attributes_end(element);
                let written = written_name(document, element, name)?;
                splice(document.text(), end..end, [" ", &written, &format!("={}", quoted(body))])
            }
        };
        let edited_document = self.judge(&edited)?;
        let place = edited_document.walk(&node.steps, self.application.namespace);
        // An element that was behind the right one does not come before it.
        let place = place.filter(|p| edited_document.span(*p).start == document.span(element).start);
        let found = place.and_then(|p| edited_document.named_attribute(p, name));
        if found.map(|found| edited_document.value(found)) != Some(value) {
            let reason = "the same URI would not lead to the attribute that was put";
            return Err(Conflict::CannotInsert(reason).into());
        }
        self.validate(&edited_document)?;
        Ok(Edited { document: edited, is_new: there.is_none() })
    }

    /// RFC 4825 §8.2.6 (DELETE).
    fn delete_node(&self, document: &Document<'_>, node: &NodeSelector) -> Result<String, Failure> {
        let element = document.walk(&node.steps, self.application.namespace).ok_or(Failure::NotFound)?;
        let gone = match &node.terminal {
            Terminal::Attribute(name) => {
                let span = document.named_attribute(element, name).ok_or(Failure::NotFound)?.span();
                let before = document.text()[..span.start].trim_end_matches(is_space).len();
                before..span.end
            }
            _ if element == document.root() => {
                return Err(Conflict::CannotDelete("a document has a root").into());
            }
            _ => document.span(element),
        };
        let (edited, _) = splice(document.text(), gone, ["", "", ""]);
        let edited_document = self.judge(&edited)?;
        if edited_document.select(node, self.application.namespace).is_some() {
            return Err(Conflict::CannotDelete("the same URI would lead to another node").into());
        }
        self.validate(&edited_document)?;
        Ok(edited)
    }

    /// The element that all these steps lead to, or how far they lead.
    fn parent(
        &self,
        document: &Document<'_>,
        node: &NodeSelector,
        steps: &[Step],
    ) -> Result<ElementId, Failure> {
        let lead = |count: usize| document.walk(&node.steps[..count], self.application.namespace);
        lead(steps.len()).ok_or_else(|| {
            let exist = (1..steps.len()).rev().find(|count| lead(*count).is_some()).unwrap_or(0);
            let ancestor = format!("{}{}", self.root, self.resource.ancestor(exist));
            Conflict::NoParent { ancestor }.into()
        })
    }

    fn judge<'d>(&self, edited: &'d str) -> Result<Document<'d>, Failure> {
        if edited.len() > DOCUMENT_OCTETS_MAX {
            return Err(Failure::TooLarge);
        }
        let document = Document::parse(edited).map_err(Conflict::from)?;
        if self.resource.node.is_none() {
            self.validate(&document)?;
        }
        Ok(document)
    }

    fn validate(&self, document: &Document<'_>) -> Result<(), Failure> {
        Ok((self.application.validate)(document)?)
    }
}

/// Puts three texts in the place of a range; gives the place of the middle one too.
fn splice(text: &str, gone: Range<usize>, [before, middle, after]: [&str; 3]) -> (String, Range<usize>) {
    let start = gone.start + before.len();
    let edited = [&text[..gone.start], before, middle, after, &text[gone.end..]].concat();
    (edited, start..start + middle.len())
}

/// A value in quotes that it does not hold.
fn quoted(value: &str) -> String {
    match (value.contains('"'), value.contains('\'')) {
        (false, _) => format!("\"{value}\""),
        (true, false) => format!("'{value}'"),
        (true, true) => format!("\"{}\"", value.replace('"', "&quot;")),
    }
}

/// An attribute's name with a prefix that the document has for its namespace there.
fn written_name(document: &Document<'_>, element: ElementId, name: &Name) -> Result<String, Failure> {
    let local = &name.local;
    match name.namespace.as_deref() {
        None if local == "xmlns" => {
            Err(Conflict::CannotInsert("a namespace declaration is no attribute").into())
        }
        None => Ok(local.clone()),
        Some(XML_NAMESPACE) => Ok(format!("xml:{local}")),
        Some(namespace) => {
            let bindings = document.bindings(element);
            let bound = bindings.iter().find(|(prefix, bound)| !prefix.is_empty() && bound == namespace);
            let reason = "the document binds no prefix to the attribute's namespace there";
            let (prefix, _) = bound.ok_or(Conflict::CannotInsert(reason))?;
            Ok(format!("{prefix}:{local}"))
        }
    }
}

/// An element without content that bears the bindings in force (RFC 4825 §7.10).
fn bindings(document: &Document<'_>, element: ElementId) -> String {
    let name = document.name(element);
    let mut text = format!("<{name}");
    for (prefix, namespace) in document.bindings(element) {
        let colon = if prefix.is_empty() { "" } else { ":" };
        text.push_str(&format!(" xmlns{colon}{prefix}=\"{}\"", escape(&namespace)));
    }
    text.push_str("/>");
    text
}

fn expect_type(given: &str, wanted: &str) -> Result<(), Failure> {
    let given = given.split(';').next().unwrap_or_default().trim();
    if given.eq_ignore_ascii_case(wanted) { Ok(()) } else { Err(Failure::MediaType(wanted.to_owned())) }
}

fn utf8(octets: &[u8]) -> Result<&str, Conflict> {
    std::str::from_utf8(octets).map_err(|_| Conflict::NotUtf8)
}
