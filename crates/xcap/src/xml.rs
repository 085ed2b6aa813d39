//! A document as a tree of its elements, each with its exact place in the text.
//!
//! Strict, because what is taken here is later handed to others: well-formed XML 1.0 with namespaces, in UTF-8. Tokens
//! are quick-xml's; the checks that it leaves to its user (names, characters, attributes, prefixes, one root) are here.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::text::{attribute_value, is_char, is_nc_name, is_space, reference};

/// Longest document, in octets: a contact list of 1,000 contacts with 200 octets each and something to spare.
pub const DOCUMENT_OCTETS_MAX: usize = 256 * 1024;
/// Deepest element; the root has depth 1. What the applications say takes less than 10.
pub const DEPTH_MAX: usize = 32;
/// Most elements: [`DOCUMENT_OCTETS_MAX`] in entries with a name.
pub const ELEMENTS_MAX: usize = 16 * 1024;
/// Most attributes of one element. They are compared pairwise.
pub const ATTRIBUTES_MAX: usize = 32;
/// Most namespace declarations in force at one place, and most different namespaces in a document. They are searched one
/// after the other.
pub const NAMESPACES_MAX: usize = 64;

/// The namespace of the prefix `xml`, which is bound everywhere.
pub(crate) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the prefix `xmlns`, which no name may use.
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// A well-formed document within its bounds.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    /// In document order: an element stands before its children.
    elements: Vec<Element>,
    attributes: Vec<Attribute>,
    namespaces: Vec<Cow<'a, str>>,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at octet {at}")]
pub struct XmlError {
    /// What.
    pub fault: XmlFault,
    /// Where, in octets from the start; where a construct is wrong, where it starts.
    pub at: usize,
}

/// What kind of wrong it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// It is no well-formed XML.
    #[error("not well-formed: {0}")]
    Malformed(&'static str),
    /// It says that it is not in UTF-8.
    #[error("the encoding is not UTF-8")]
    Encoding,
    /// It declares a document type: entities could be declared there.
    #[error("a document type declaration is not taken")]
    DocumentType,
    /// It is beyond a bound.
    #[error("beyond what is taken: {0}")]
    Limit(&'static str),
}

/// An element's place in [`Document::elements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ElementId(u32);

#[derive(Debug)]
pub(crate) struct Element {
    parent: Option<ElementId>,
    next_sibling: Option<ElementId>,
    first_child: Option<ElementId>,
    last_child: Option<ElementId>,
    /// From `<` of the start tag to behind `>` of the end tag.
    span: Span,
    /// From `<` to behind `>`.
    start_tag: Span,
    /// Between start and end tag; `None` for a tag that is both.
    content_end: Option<u32>,
    /// As written, with its prefix.
    name: Span,
    local: Span,
    namespace: Option<NamespaceId>,
    attributes: Range<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    /// As written, with its prefix.
    name: Span,
    local: Span,
    namespace: Option<NamespaceId>,
    /// Between the quotes.
    value: Span,
    /// Whether it declares a namespace.
    is_declaration: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamespaceId(u16);

/// Octets of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// A declaration in force: prefix, empty for the default, and namespace, `None` where it is taken back.
type Binding<'a> = (&'a str, Option<NamespaceId>);

impl<'a> Document<'a> {
    /// Reads a whole document.
    pub fn parse(text: &'a str) -> Result<Document<'a>, XmlError> {
        Parser::new(text, &[])?.document()
    }

    /// Reads one element that is to stand where the given prefixes are bound. Nothing but white space may stand around it.
    pub(crate) fn parse_fragment(
        text: &'a str,
        bindings: &[(&'a str, Cow<'a, str>)],
    ) -> Result<Document<'a>, XmlError> {
        Parser::new(text, bindings)?.fragment()
    }

    /// The text that was read.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How many elements there are; at least one.
    pub fn element_count(&self) -> usize {
        self.elements.len()
    }

    pub(crate) fn root(&self) -> ElementId {
        ElementId(0)
    }

    pub(crate) fn children(&self, of: ElementId) -> impl Iterator<Item = ElementId> + use<'_, 'a> {
        std::iter::successors(self.element(of).first_child, |child| self.element(*child).next_sibling)
    }

    pub(crate) fn span(&self, of: ElementId) -> Range<usize> {
        self.element(of).span.range()
    }

    pub(crate) fn start_tag(&self, of: ElementId) -> Range<usize> {
        self.element(of).start_tag.range()
    }

    /// Where the end tag begins; `None` for an element of a single tag.
    pub(crate) fn content_end(&self, of: ElementId) -> Option<usize> {
        self.element(of).content_end.map(|end| end as usize)
    }

    /// The name as written.
    pub(crate) fn name(&self, of: ElementId) -> &'a str {
        self.slice(self.element(of).name)
    }

    /// Namespace (empty for none) and local name.
    pub(crate) fn expanded_name(&self, of: ElementId) -> (&str, &'a str) {
        let element = self.element(of);
        (self.namespace(element.namespace), self.slice(element.local))
    }

    /// Where a new attribute is put: behind the last one.
    pub(crate) fn attributes_end(&self, of: ElementId) -> usize {
        let element = self.element(of);
        // Behind the value stands its quote.
        let last = self.attributes[range(&element.attributes)].last();
        last.map_or(element.name.end, |attribute| attribute.value.end + 1) as usize
    }

    /// The attribute of a name; those that declare namespaces are none.
    pub(crate) fn attribute(&self, of: ElementId, namespace: &str, local: &str) -> Option<&Attribute> {
        self.attributes[range(&self.element(of).attributes)].iter().find(|attribute| {
            !attribute.is_declaration
                && self.slice(attribute.local) == local
                && self.namespace(attribute.namespace) == namespace
        })
    }

    /// What an attribute says, references resolved.
    pub(crate) fn value(&self, of: &Attribute) -> Cow<'a, str> {
        attribute_value(self.slice(of.value)).expect("attributes were checked when they were read")
    }

    /// Prefixes that are bound inside an element, empty for the default, with their namespaces; outer ones first.
    pub(crate) fn bindings(&self, inside: ElementId) -> Vec<(&'a str, Cow<'a, str>)> {
        let mut path: Vec<_> =
            std::iter::successors(Some(inside), |element| self.element(*element).parent).collect();
        path.reverse();
        let mut bindings: Vec<(&str, Cow<'_, str>)> = Vec::new();
        for element in path {
            for attribute in &self.attributes[range(&self.element(element).attributes)] {
                if !attribute.is_declaration {
                    continue;
                }
                let prefix = match self.slice(attribute.name) {
                    "xmlns" => "",
                    _ => self.slice(attribute.local),
                };
                let value = self.value(attribute);
                bindings.retain(|(bound, _)| *bound != prefix);
                if !value.is_empty() {
                    bindings.push((prefix, value));
                }
            }
        }
        bindings
    }

    fn element(&self, id: ElementId) -> &Element {
        &self.elements[id.0 as usize]
    }

    fn namespace(&self, id: Option<NamespaceId>) -> &str {
        id.map_or("", |id| &self.namespaces[usize::from(id.0)])
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.range()]
    }
}

impl Attribute {
    /// The value's place, between the quotes.
    pub(crate) fn value_span(&self) -> Range<usize> {
        self.value.range()
    }

    /// From the name to behind the closing quote.
    pub(crate) fn span(&self) -> Range<usize> {
        self.name.start as usize..self.value.end as usize + 1
    }
}

impl Span {
    fn new(range: Range<usize>) -> Span {
        let fit = |at: usize| u32::try_from(at).expect("documents are bounded");
        Span { start: fit(range.start), end: fit(range.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

fn range(of: &Range<u32>) -> Range<usize> {
    of.start as usize..of.end as usize
}

struct Parser<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// What stands before the reader's first octet.
    base: usize,
    document: Document<'a>,
    /// Open elements, with how many bindings were in force outside.
    open: Vec<(ElementId, usize)>,
    bindings: Vec<Binding<'a>>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, bindings: &[(&'a str, Cow<'a, str>)]) -> Result<Parser<'a>, XmlError> {
        if text.len() > DOCUMENT_OCTETS_MAX {
            return Err(XmlError {
                fault: XmlFault::Limit("the document is too long"),
                at: DOCUMENT_OCTETS_MAX,
            });
        }
        let body = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut reader = Reader::from_str(body);
        reader.config_mut().check_comments = true;
        let mut parser = Parser {
            text,
            reader,
            base: text.len() - body.len(),
            document: Document {
                text,
                elements: Vec::new(),
                attributes: Vec::new(),
                namespaces: vec![Cow::Borrowed(XML_NAMESPACE)],
            },
            open: Vec::new(),
            bindings: vec![("xml", Some(NamespaceId(0)))],
        };
        for (prefix, namespace) in bindings {
            let id = parser.intern(namespace.clone(), 0)?;
            parser.bindings.push((prefix, Some(id)));
        }
        Ok(parser)
    }

    fn document(mut self) -> Result<Document<'a>, XmlError> {
        self.read(false)?;
        Ok(self.document)
    }

    fn fragment(mut self) -> Result<Document<'a>, XmlError> {
        self.read(true)?;
        Ok(self.document)
    }

    fn read(&mut self, is_fragment: bool) -> Result<(), XmlError> {
        loop {
            let start = self.position();
            let wrong = |fault| Err(XmlError { fault, at: start });
            let malformed = |reason| wrong(XmlFault::Malformed(reason));
            let Ok(event) = self.reader.read_event() else {
                return malformed("tags do not fit together, or markup is not closed");
            };
            let token = start..self.position();
            match event {
                Event::Start(_) => self.start(token, true)?,
                Event::Empty(_) => self.start(token, false)?,
                Event::End(_) => self.end(token)?,
                Event::Text(_) => self.text(token)?,
                Event::GeneralRef(_) => {
                    let name = self.text[token].trim_start_matches('&').trim_end_matches(';');
                    if self.open.is_empty() || reference(name).is_none() {
                        return malformed("a reference to what is not declared");
                    }
                }
                Event::CData(_) => {
                    if self.open.is_empty() || !self.text[token].chars().all(is_char) {
                        return malformed("a CDATA section that may not be there");
                    }
                }
                Event::Comment(_) | Event::PI(_) if is_fragment && self.open.is_empty() => {
                    return malformed("something beside the element");
                }
                Event::Comment(_) => {
                    let inner = &self.text[token.start + "<!--".len()..token.end - "-->".len()];
                    // `--->` does not end a comment (XML 1.0 §2.5), though it looks like it.
                    if inner.ends_with('-') || !inner.chars().all(is_char) {
                        return malformed("a comment holds what it may not");
                    }
                }
                Event::PI(_) => self.processing_instruction(token)?,
                Event::Decl(_) => {
                    if start != self.base || is_fragment {
                        return malformed("an XML declaration that is not at the start");
                    }
                    self.declaration(token)?;
                }
                Event::DocType(_) => return wrong(XmlFault::DocumentType),
                Event::Eof => break,
            }
        }
        if !self.open.is_empty() || self.document.elements.is_empty() {
            let reason =
                if self.open.is_empty() { "there is no element" } else { "an element is not closed" };
            return Err(XmlError { fault: XmlFault::Malformed(reason), at: self.text.len() });
        }
        Ok(())
    }

    fn position(&self) -> usize {
        self.base + usize::try_from(self.reader.buffer_position()).expect("documents are bounded")
    }

    fn start(&mut self, token: Range<usize>, is_open: bool) -> Result<(), XmlError> {
        let wrong = |fault| XmlError { fault, at: token.start };
        let malformed = |reason| wrong(XmlFault::Malformed(reason));
        if self.open.is_empty() && !self.document.elements.is_empty() {
            return Err(malformed("more than one element at the top"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(wrong(XmlFault::Limit("elements are nested too deep")));
        }
        if self.document.elements.len() == ELEMENTS_MAX {
            return Err(wrong(XmlFault::Limit("too many elements")));
        }
        let inner = token.start + 1..token.end - if is_open { 1 } else { 2 };
        let (name, raw) = attributes(self.text, inner).map_err(malformed)?;
        if raw.len() > ATTRIBUTES_MAX {
            return Err(wrong(XmlFault::Limit("too many attributes")));
        }
        let outside = self.bindings.len();
        for attribute in &raw {
            self.declare(attribute, token.start)?;
        }
        let (prefix, local) = split_name(self.text, name.clone()).map_err(malformed)?;
        let unbound = "a prefix that is not bound";
        let namespace = self.resolve(prefix).ok_or_else(|| malformed(unbound))?;
        let first = self.document.attributes.len();
        for RawAttribute { name, value } in raw {
            let (prefix, local) = split_name(self.text, name.clone()).map_err(malformed)?;
            let text = &self.text[name.clone()];
            let is_declaration = text == "xmlns" || prefix == "xmlns";
            let namespace = match prefix {
                "" | "xmlns" => None,
                prefix => self.resolve(prefix).ok_or_else(|| malformed(unbound))?,
            };
            let attribute = Attribute {
                name: Span::new(name.clone()),
                local: Span::new(local),
                namespace,
                value: Span::new(value),
                is_declaration,
            };
            let is_same = |other: &Attribute| {
                let names = (self.document.slice(other.name), self.document.slice(other.local));
                names.0 == text
                    || !is_declaration
                        && !other.is_declaration
                        && names.1 == self.document.slice(attribute.local)
                        && other.namespace == namespace
            };
            if self.document.attributes[first..].iter().any(is_same) {
                return Err(malformed("an attribute stands twice"));
            }
            self.document.attributes.push(attribute);
        }
        let fit = |len: usize| u32::try_from(len).expect("documents are bounded");
        let id = ElementId(fit(self.document.elements.len()));
        let parent = self.open.last().map(|(parent, _)| *parent);
        self.document.elements.push(Element {
            parent,
            next_sibling: None,
            first_child: None,
            last_child: None,
            span: Span::new(token.clone()),
            start_tag: Span::new(token),
            content_end: None,
            name: Span::new(name),
            local: Span::new(local),
            namespace,
            attributes: fit(first)..fit(self.document.attributes.len()),
        });
        if let Some(parent) = parent {
            let elder = self.document.elements[parent.0 as usize].last_child.replace(id);
            match elder {
                Some(elder) => self.document.elements[elder.0 as usize].next_sibling = Some(id),
                None => self.document.elements[parent.0 as usize].first_child = Some(id),
            }
        }
        if is_open {
            self.open.push((id, outside));
        } else {
            self.bindings.truncate(outside);
        }
        Ok(())
    }

    fn end(&mut self, token: Range<usize>) -> Result<(), XmlError> {
        let Some((id, outside)) = self.open.pop() else {
            return Err(XmlError {
                fault: XmlFault::Malformed("an end tag without a start"),
                at: token.start,
            });
        };
        self.bindings.truncate(outside);
        let element = &mut self.document.elements[id.0 as usize];
        let tag = Span::new(token);
        element.content_end = Some(tag.start);
        element.span.end = tag.end;
        Ok(())
    }

    fn text(&self, token: Range<usize>) -> Result<(), XmlError> {
        let at = token.start;
        let text = &self.text[token];
        let reason = if self.open.is_empty() && !text.chars().all(is_space) {
            "text outside of the element"
        } else if text.contains("]]>") {
            "the end of a CDATA section that has no start"
        } else if !text.chars().all(is_char) {
            "a character that XML does not have"
        } else {
            return Ok(());
        };
        Err(XmlError { fault: XmlFault::Malformed(reason), at })
    }

    fn processing_instruction(&self, token: Range<usize>) -> Result<(), XmlError> {
        let at = token.start;
        let text = &self.text[token];
        let inner = text.strip_prefix("<?").and_then(|t| t.strip_suffix("?>")).unwrap_or_default();
        let target = inner.split(is_space).next().unwrap_or_default();
        if !is_nc_name(target) || target.eq_ignore_ascii_case("xml") || !inner.chars().all(is_char) {
            return Err(XmlError { fault: XmlFault::Malformed("a processing instruction that is none"), at });
        }
        Ok(())
    }

    /// XML 1.0 production 23.
    fn declaration(&self, token: Range<usize>) -> Result<(), XmlError> {
        let at = token.start;
        let malformed = XmlError { fault: XmlFault::Malformed("the XML declaration is wrong"), at };
        let (_, fields) = attributes(self.text, token.start + 2..token.end - 2).map_err(|_| malformed)?;
        let fields: Vec<_> =
            fields.iter().map(|f| (&self.text[f.name.clone()], &self.text[f.value.clone()])).collect();
        let [("version", version), rest @ ..] = &fields[..] else { return Err(malformed) };
        if !version.strip_prefix("1.").is_some_and(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(malformed);
        }
        let (encoding, rest) = match rest {
            [("encoding", encoding), rest @ ..] => (Some(*encoding), rest),
            rest => (None, rest),
        };
        if !matches!(rest, [] | [("standalone", "yes" | "no")]) {
            return Err(malformed);
        }
        // US-ASCII is UTF-8 too, and what is not ASCII would have to be told.
        let is_utf8 = |e: &str| e.eq_ignore_ascii_case("utf-8") || e.eq_ignore_ascii_case("us-ascii");
        if encoding.is_some_and(|e| !is_utf8(e)) {
            return Err(XmlError { fault: XmlFault::Encoding, at });
        }
        Ok(())
    }

    /// Puts a declaration in force, if the attribute is one.
    fn declare(&mut self, attribute: &RawAttribute, at: usize) -> Result<(), XmlError> {
        let malformed = |reason| Err(XmlError { fault: XmlFault::Malformed(reason), at });
        let prefix = match &self.text[attribute.name.clone()] {
            "xmlns" => "",
            name => match name.strip_prefix("xmlns:") {
                Some(prefix) => prefix,
                None => return Ok(()),
            },
        };
        let value = attribute_value(&self.text[attribute.value.clone()]).expect("it was just checked");
        let is_reserved = value == XMLNS_NAMESPACE || (value == XML_NAMESPACE) != (prefix == "xml");
        if prefix == "xmlns" || is_reserved {
            return malformed("a reserved prefix or namespace is bound anew");
        }
        if value.is_empty() && !prefix.is_empty() {
            return malformed("a prefix is bound to nothing");
        }
        let id = if value.is_empty() { None } else { Some(self.intern(value, at)?) };
        if self.bindings.len() == NAMESPACES_MAX {
            return Err(XmlError { fault: XmlFault::Limit("too many namespace declarations"), at });
        }
        self.bindings.push((prefix, id));
        Ok(())
    }

    fn intern(&mut self, namespace: Cow<'a, str>, at: usize) -> Result<NamespaceId, XmlError> {
        let known = self.document.namespaces.iter().position(|known| *known == namespace);
        let place = known.unwrap_or_else(|| {
            self.document.namespaces.push(namespace);
            self.document.namespaces.len() - 1
        });
        if place >= NAMESPACES_MAX {
            return Err(XmlError { fault: XmlFault::Limit("too many namespaces"), at });
        }
        Ok(NamespaceId(u16::try_from(place).expect("namespaces are bounded")))
    }

    /// `None` where the prefix is not bound; `Some(None)` for no namespace.
    fn resolve(&self, prefix: &str) -> Option<Option<NamespaceId>> {
        let bound = self.bindings.iter().rev().find(|(bound, _)| *bound == prefix);
        match bound {
            Some((_, namespace)) => Some(*namespace),
            None if prefix.is_empty() => Some(None),
            None => None,
        }
    }
}

struct RawAttribute {
    name: Range<usize>,
    value: Range<usize>,
}

/// Name and attributes inside of a tag.
fn attributes(text: &str, inner: Range<usize>) -> Result<(Range<usize>, Vec<RawAttribute>), &'static str> {
    let end = inner.end;
    let skip = |from: usize, while_is: fn(char) -> bool| {
        let rest = &text[from..end];
        from + rest.find(|c| !while_is(c)).unwrap_or(rest.len())
    };
    let is_in_name = |c: char| !is_space(c) && !matches!(c, '=' | '"' | '\'' | '/' | '<' | '>');
    let name = inner.start..skip(inner.start, is_in_name);
    let mut found = Vec::new();
    let mut at = name.end;
    loop {
        let start = skip(at, is_space);
        if start == end {
            return Ok((name, found));
        }
        if start == at {
            return Err("attributes are not apart");
        }
        let name = start..skip(start, is_in_name);
        let equals = skip(name.end, is_space);
        if !text[equals..end].starts_with('=') {
            return Err("an attribute without a value");
        }
        let quoted = skip(equals + 1, is_space);
        let quote = text[quoted..end].chars().next().filter(|c| matches!(c, '"' | '\''));
        let quote = quote.ok_or("a value without quotes")?;
        let length = text[quoted + 1..end].find(quote).ok_or("a value without its end")?;
        let value = quoted + 1..quoted + 1 + length;
        if attribute_value(&text[value.clone()]).is_none() {
            return Err("a value that no attribute can have");
        }
        at = value.end + 1;
        found.push(RawAttribute { name, value });
    }
}

/// Prefix, empty without one, and the local part's place.
fn split_name(text: &str, name: Range<usize>) -> Result<(&str, Range<usize>), &'static str> {
    let (prefix, local) = match text[name.clone()].find(':') {
        Some(colon) => (&text[name.start..name.start + colon], name.start + colon + 1..name.end),
        None => ("", name.clone()),
    };
    let is_good = is_nc_name(&text[local.clone()]) && (prefix.is_empty() || is_nc_name(prefix));
    // A colon at the start gives an empty prefix too.
    if !is_good || (prefix.is_empty() && local != name) {
        return Err("a name that is none");
    }
    Ok((prefix, local))
}
