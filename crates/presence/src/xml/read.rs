//! Reading.

use std::ops::Range;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{QName, ResolveResult};
use quick_xml::reader::NsReader;

use super::is_xml_char;

/// Attributes of one element, namespace declarations included. Presence documents have ten at most; looking for
/// duplicates takes the square of their number.
const ATTRIBUTES_MAX: usize = 64;
/// Namespace declarations in scope, and namespaces in all. Every name is looked up among them.
const NAMESPACES_MAX: usize = 64;

/// How large a document may be. Each kind of document has bounds of its own, with the reason beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of the whole.
    pub octets_max: usize,
    /// Elements inside each other.
    pub depth_max: usize,
    /// Elements in all.
    pub elements_max: usize,
}

/// Why a text was not taken. All of them are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// More octets, depth, elements, attributes or namespaces than the kind of document may have.
    #[error("the document is larger than a document of its kind may be: {0}")]
    TooLarge(&'static str),
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// A document type declaration.
    #[error("a document type declaration is not taken")]
    Dtd,
    /// A reference to an entity that XML itself does not define.
    #[error("a reference to an entity that is not defined")]
    UnknownEntity,
    /// A prefix without a declaration, or one that must not be declared.
    #[error("a namespace prefix that is not declared")]
    UnknownPrefix,
    /// Not well-formed otherwise.
    #[error("the document is not well-formed XML: {0}")]
    NotWellFormed(&'static str),
}

/// How much a text may differ from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leniency {
    /// Not at all.
    None,
    /// As in the bodies of clients. COMPAT: linphonec 5.1.65 counts its line ends as one octet and sends two, so that its
    /// Content-Length cuts the last end tags off; others have blanks before the document, or behind it the zero that
    /// ends a text in C.
    Clients,
}

/// An element by its place in a [`Document`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ElementId(usize);

/// A document.
pub(crate) struct Document<'a> {
    text: &'a str,
    elements: Vec<Node<'a>>,
    /// [`Node::namespace`] is a place in here; the first is none.
    namespaces: Vec<Box<str>>,
}

struct Node<'a> {
    name: &'a str,
    local: &'a str,
    namespace: usize,
    attributes: Vec<Attribute>,
    children: Vec<ElementId>,
    parent: Option<ElementId>,
    characters: String,
    /// From `<` to behind the last `>`.
    span: Range<usize>,
    /// Between the tags; empty and at the end of the tag where there is but one.
    content: Range<usize>,
    is_single_tag: bool,
}

struct Attribute {
    name: Box<str>,
    value: Box<str>,
}

/// An element in its document.
#[derive(Clone, Copy)]
pub(crate) struct Element<'d, 'a> {
    document: &'d Document<'a>,
    pub(crate) id: ElementId,
}

impl<'a> Document<'a> {
    /// Reads octets within bounds.
    pub(crate) fn read(
        octets: &'a [u8],
        bounds: &Bounds,
        leniency: Leniency,
    ) -> Result<Document<'a>, XmlError> {
        if octets.len() > bounds.octets_max {
            return Err(XmlError::TooLarge("octets"));
        }
        let text = str::from_utf8(octets).map_err(|_| XmlError::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = match leniency {
            Leniency::None => text,
            Leniency::Clients => text.trim_start_matches(is_blank_char).trim_end_matches('\0'),
        };
        if !text.chars().all(is_xml_char) {
            return Err(XmlError::NotWellFormed("a character that XML does not have"));
        }
        let mut builder = Builder {
            document: Document { text, elements: Vec::new(), namespaces: vec!["".into()] },
            open: Vec::new(),
            last_is_text: false,
            bounds,
        };
        builder.read_all(leniency)?;
        Ok(builder.document)
    }

    /// The outermost element.
    pub(crate) fn root(&self) -> Element<'_, 'a> {
        self.element(ElementId(0))
    }

    pub(crate) fn element(&self, id: ElementId) -> Element<'_, 'a> {
        Element { document: self, id }
    }
}

struct Builder<'a, 'b> {
    document: Document<'a>,
    open: Vec<ElementId>,
    /// Whether the text ended within characters that are not blank.
    last_is_text: bool,
    bounds: &'b Bounds,
}

impl<'a> Builder<'a, '_> {
    fn read_all(&mut self, leniency: Leniency) -> Result<(), XmlError> {
        let text = self.document.text;
        let mut reader = NsReader::from_str(text);
        reader.config_mut().check_comments = true;
        reader.resolver_mut().set_max_namespace_bindings(NAMESPACES_MAX);
        loop {
            let start = usize::try_from(reader.buffer_position()).expect("within the text");
            let event = match reader.read_event() {
                Ok(event) => event,
                Err(_) if leniency == Leniency::Clients && is_cut_end_tag(&text[start..]) => Event::Eof,
                Err(error) => return Err(refusal(&error)),
            };
            let end = usize::try_from(reader.buffer_position()).expect("within the text");
            let is_text = matches!(event, Event::Text(_) | Event::GeneralRef(_) | Event::CData(_));
            match event {
                Event::Start(tag) => {
                    let id = self.begin(&reader, &tag, start..end)?;
                    self.open.push(id);
                }
                Event::Empty(tag) => {
                    let id = self.begin(&reader, &tag, start..end)?;
                    let node = &mut self.document.elements[id.0];
                    node.content = end..end;
                    node.is_single_tag = true;
                }
                Event::End(_) => {
                    let id = self.open.pop().ok_or(XmlError::NotWellFormed("an end tag too many"))?;
                    let node = &mut self.document.elements[id.0];
                    node.content.end = start;
                    node.span.end = end;
                }
                Event::Text(_) => self.characters(&text[start..end])?,
                Event::CData(data) => self.append(&data.into_inner())?,
                Event::GeneralRef(reference) => {
                    let name = reference.into_inner();
                    let character = resolve(&name)?;
                    self.append(character.encode_utf8(&mut [0; 4]))?;
                }
                Event::DocType(_) => return Err(XmlError::Dtd),
                Event::Decl(_) if start > 0 => {
                    return Err(XmlError::NotWellFormed("an XML declaration that is not at the start"));
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => return self.finish(leniency),
            }
            self.last_is_text = is_text && !is_blank(&text[start..end]);
        }
    }

    fn begin(
        &mut self,
        reader: &NsReader<&'a [u8]>,
        tag: &BytesStart<'a>,
        span: Range<usize>,
    ) -> Result<ElementId, XmlError> {
        let document = &mut self.document;
        if self.open.is_empty() && !document.elements.is_empty() {
            return Err(XmlError::NotWellFormed("a second outermost element"));
        }
        if self.open.len() >= self.bounds.depth_max {
            return Err(XmlError::TooLarge("depth"));
        }
        if document.elements.len() >= self.bounds.elements_max {
            return Err(XmlError::TooLarge("elements"));
        }
        // The name as it stands in the text, which outlives the event.
        let name = &document.text[span.start + 1..][..tag.name().0.len()];
        check_name(name)?;
        let (namespace, local) = reader.resolver().resolve_element(QName(name));
        let local = local.into_inner();
        let namespace = match namespace {
            ResolveResult::Unbound => "",
            ResolveResult::Bound(namespace) => namespace.0,
            ResolveResult::Unknown(_) => return Err(XmlError::UnknownPrefix),
        };
        let namespace = intern(&mut document.namespaces, namespace)?;
        let attributes = attributes(reader, tag)?;
        let id = ElementId(document.elements.len());
        let parent = self.open.last().copied();
        document.elements.push(Node {
            name,
            local,
            namespace,
            attributes,
            children: Vec::new(),
            parent,
            characters: String::new(),
            content: span.end..span.end,
            span,
            is_single_tag: false,
        });
        if let Some(parent) = parent {
            document.elements[parent.0].children.push(id);
        }
        Ok(id)
    }

    fn characters(&mut self, raw: &str) -> Result<(), XmlError> {
        if raw.contains("]]>") {
            return Err(XmlError::NotWellFormed("]]> outside of a CDATA section"));
        }
        // XML §2.11: every line end is read as one line feed.
        if raw.contains('\r') {
            return self.append(&raw.replace("\r\n", "\n").replace('\r', "\n"));
        }
        self.append(raw)
    }

    fn append(&mut self, text: &str) -> Result<(), XmlError> {
        match self.open.last() {
            Some(id) => self.document.elements[id.0].characters.push_str(text),
            None if is_blank(text) => {}
            None => return Err(XmlError::NotWellFormed("text outside of the outermost element")),
        }
        Ok(())
    }

    fn finish(&mut self, leniency: Leniency) -> Result<(), XmlError> {
        if self.document.elements.is_empty() {
            return Err(XmlError::NotWellFormed("no element"));
        }
        if self.open.is_empty() {
            return Ok(());
        }
        if leniency == Leniency::None || self.last_is_text {
            return Err(XmlError::NotWellFormed("an element without an end"));
        }
        let end = self.document.text.len();
        for id in self.open.drain(..) {
            let node = &mut self.document.elements[id.0];
            node.content.end = end;
            node.span.end = end;
        }
        Ok(())
    }
}

fn attributes(reader: &NsReader<&[u8]>, tag: &BytesStart<'_>) -> Result<Vec<Attribute>, XmlError> {
    let mut found: Vec<Attribute> = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|_| XmlError::NotWellFormed("an attribute"))?;
        if found.len() == ATTRIBUTES_MAX {
            return Err(XmlError::TooLarge("attributes"));
        }
        check_name(attribute.key.0)?;
        if matches!(reader.resolver().resolve_attribute(attribute.key).0, ResolveResult::Unknown(_)) {
            return Err(XmlError::UnknownPrefix);
        }
        if attribute.value.contains('<') {
            return Err(XmlError::NotWellFormed("< in an attribute"));
        }
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| XmlError::UnknownEntity)?;
        if !value.chars().all(is_xml_char) {
            return Err(XmlError::NotWellFormed("a character that XML does not have"));
        }
        found.push(Attribute { name: attribute.key.0.into(), value: value.into() });
    }
    Ok(found)
}

/// A name with at most one colon, which has a name on both of its sides.
fn check_name(name: &str) -> Result<(), XmlError> {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c) || !c.is_ascii())
    };
    let (prefix, local) = name.split_once(':').unwrap_or(("x", name));
    if is_part(prefix) && is_part(local) { Ok(()) } else { Err(XmlError::NotWellFormed("a name")) }
}

fn intern(namespaces: &mut Vec<Box<str>>, namespace: &str) -> Result<usize, XmlError> {
    if let Some(known) = namespaces.iter().position(|known| **known == *namespace) {
        return Ok(known);
    }
    if namespaces.len() > NAMESPACES_MAX {
        return Err(XmlError::TooLarge("namespaces"));
    }
    namespaces.push(namespace.into());
    Ok(namespaces.len() - 1)
}

/// What `&name;` stands for.
fn resolve(name: &str) -> Result<char, XmlError> {
    let code = match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#').ok_or(XmlError::UnknownEntity)?,
    };
    let number = match code.strip_prefix('x') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16),
        None if code.bytes().all(|b| b.is_ascii_digit()) => code.parse(),
        _ => return Err(XmlError::NotWellFormed("a character reference")),
    };
    let character = number.ok().and_then(char::from_u32).filter(|c| is_xml_char(*c));
    character.ok_or(XmlError::NotWellFormed("a character that XML does not have"))
}

fn is_blank(text: &str) -> bool {
    text.chars().all(is_blank_char)
}

fn is_blank_char(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether a rest of a text is the beginning of an end tag and no more.
fn is_cut_end_tag(rest: &str) -> bool {
    rest == "<" || (rest.starts_with("</") && !rest.contains('>'))
}

fn refusal(error: &quick_xml::Error) -> XmlError {
    use quick_xml::errors::{IllFormedError, SyntaxError};
    match error {
        quick_xml::Error::Syntax(SyntaxError::UnclosedDoctype) => XmlError::Dtd,
        quick_xml::Error::Syntax(_) => XmlError::NotWellFormed("the markup"),
        quick_xml::Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => {
            XmlError::NotWellFormed("an end tag of another name")
        }
        quick_xml::Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) => {
            XmlError::NotWellFormed("an end tag too many")
        }
        quick_xml::Error::IllFormed(_) => XmlError::NotWellFormed("the structure"),
        quick_xml::Error::InvalidAttr(_) => XmlError::NotWellFormed("an attribute"),
        quick_xml::Error::Namespace(quick_xml::name::NamespaceError::TooManyBindings(_)) => {
            XmlError::TooLarge("namespaces")
        }
        quick_xml::Error::Namespace(_) => XmlError::UnknownPrefix,
        quick_xml::Error::Escape(_) => XmlError::UnknownEntity,
        quick_xml::Error::Encoding(_) | quick_xml::Error::Io(_) => XmlError::NotUtf8,
    }
}

impl<'d, 'a> Element<'d, 'a> {
    fn node(self) -> &'d Node<'a> {
        &self.document.elements[self.id.0]
    }

    /// The name without its prefix.
    pub(crate) fn local(self) -> &'a str {
        self.node().local
    }

    /// The name as written.
    pub(crate) fn name(self) -> &'a str {
        self.node().name
    }

    /// With its colon; empty where there is none.
    pub(crate) fn prefix(self) -> &'a str {
        let node = self.node();
        &node.name[..node.name.len() - node.local.len()]
    }

    /// Empty for none.
    pub(crate) fn namespace(self) -> &'d str {
        &self.document.namespaces[self.node().namespace]
    }

    /// Whether it is this element of this namespace.
    pub(crate) fn is(self, namespace: &str, local: &str) -> bool {
        self.local() == local && self.namespace() == namespace
    }

    pub(crate) fn parent(self) -> Option<Element<'d, 'a>> {
        self.node().parent.map(|id| self.document.element(id))
    }

    pub(crate) fn children(self) -> impl DoubleEndedIterator<Item = Element<'d, 'a>> {
        self.node().children.iter().map(move |id| self.document.element(*id))
    }

    /// The children of this name in this namespace.
    pub(crate) fn children_of(
        self,
        namespace: &'static str,
        local: &'static str,
    ) -> impl DoubleEndedIterator<Item = Element<'d, 'a>> {
        self.children().filter(move |child| child.is(namespace, local))
    }

    pub(crate) fn child_of(self, namespace: &'static str, local: &'static str) -> Option<Element<'d, 'a>> {
        self.children_of(namespace, local).next()
    }

    /// The value of an attribute without prefix.
    pub(crate) fn attribute(self, name: &str) -> Option<&'d str> {
        self.node().attributes.iter().find(|attribute| &*attribute.name == name).map(|a| &*a.value)
    }

    /// Whether of this namespace it holds nothing but children of these names, and no text.
    pub(crate) fn holds_only(self, namespace: &str, names: &[&str]) -> bool {
        let is_known =
            |child: Element<'_, '_>| child.namespace() != namespace || names.contains(&child.local());
        self.characters().is_empty() && self.children().all(is_known)
    }

    /// The characters that stand directly in it, without blanks around them.
    pub(crate) fn characters(self) -> &'d str {
        self.node().characters.trim()
    }

    /// Where it stands in the text, tags included.
    pub(crate) fn span(self) -> Range<usize> {
        self.node().span.clone()
    }

    /// Where what is in it stands.
    pub(crate) fn content(self) -> Range<usize> {
        self.node().content.clone()
    }

    /// Whether it declares a namespace.
    pub(crate) fn declares_namespace(self) -> bool {
        self.node().attributes.iter().any(|a| &*a.name == "xmlns" || a.name.starts_with("xmlns:"))
    }

    /// Whether it is one tag, `<a/>`.
    pub(crate) fn is_single_tag(self) -> bool {
        self.node().is_single_tag
    }

    /// The text of its document.
    pub(crate) fn text(self) -> &'a str {
        self.document.text
    }

    /// Where the value of an attribute stands in the text, without its quotes.
    pub(crate) fn attribute_span(self, name: &str) -> Option<Range<usize>> {
        let node = self.node();
        let text = self.document.text;
        let mut at = node.span.start + 1 + node.name.len();
        for attribute in &node.attributes {
            // Written `name = "value"`, with either quote, in the order in which they were read.
            at += text[at..].find(&*attribute.name)? + attribute.name.len();
            at += text[at..].find(['"', '\''])?;
            let quote = char::from(text.as_bytes()[at]);
            let value = at + 1..at + 1 + text[at + 1..].find(quote)?;
            at = value.end + 1;
            if &*attribute.name == name {
                return Some(value);
            }
        }
        None
    }
}
