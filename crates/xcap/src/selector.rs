//! Node selectors (RFC 4825 §6.3): a walk from the root of a document to one element, and perhaps to its attribute.

use crate::text::{attribute_value, is_name_char, is_nc_name, percent_decode, percent_encode};
use crate::xml::{DEPTH_MAX, XML_NAMESPACE};

/// Most steps: no document is deeper.
pub const STEPS_MAX: usize = DEPTH_MAX;
/// Most bindings in a query. They are searched one after the other.
const BINDINGS_MAX: usize = 32;

/// A walk to one node of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSelector {
    /// From the root on; at least one.
    pub steps: Vec<Step>,
    /// What of the last step's element is meant.
    pub terminal: Terminal,
    /// The selector and where in it each step ends, and the query, all percent-decoded.
    text: String,
    ends: Vec<usize>,
    query: String,
}

/// A step to one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which children.
    pub name: NameTest,
    /// Which of them, counted from 1.
    pub position: Option<u32>,
    /// What an attribute of it must say.
    pub attribute: Option<(Name, String)>,
}

/// Which elements a step looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTest {
    /// All of them: `*`.
    Any,
    /// Those of a name.
    Named(Name),
}

/// An expanded name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `None` where the selector gave no prefix: for an element the namespace of the application, for an attribute none.
    pub namespace: Option<String>,
    /// The local name.
    pub local: String,
}

/// What of an element is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The element.
    Element,
    /// One of its attributes: `@name`.
    Attribute(Name),
    /// Its namespace bindings: `namespace::*`.
    Namespaces,
}

/// Why a text is no node selector. The request is to be answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Percent-encoding that is none, or no UTF-8 in it.
    #[error("percent-encoding that is none")]
    Encoding,
    /// Something else than the grammar asks for.
    #[error("{0} was expected")]
    Expected(&'static str),
    /// A prefix that the query does not bind (RFC 4825 §6.4).
    #[error("a prefix that the query does not bind")]
    UnboundPrefix,
    /// More steps than any document has.
    #[error("too many steps")]
    TooManySteps,
    /// More bindings than anybody needs.
    #[error("too many namespace bindings")]
    TooManyBindings,
}

impl NodeSelector {
    /// Reads a selector and the query beside it, both still percent-encoded.
    pub fn parse(selector: &str, query: &str) -> Result<NodeSelector, SelectorError> {
        // Decoded as a whole: an encoded `/` within a value is part of the value, as the plain one there.
        let text = percent_decode(selector).ok_or(SelectorError::Encoding)?;
        let query = percent_decode(query).ok_or(SelectorError::Encoding)?;
        let bindings = Bindings::parse(&query)?;
        let mut cursor = Cursor { rest: &text, bindings: &bindings };
        let (mut steps, mut ends) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::Element;
        loop {
            match cursor.terminal()? {
                Some(found) if !steps.is_empty() => terminal = found,
                Some(_) => return Err(SelectorError::Expected("the root element")),
                None if steps.len() == STEPS_MAX => return Err(SelectorError::TooManySteps),
                None => {
                    steps.push(cursor.step()?);
                    ends.push(text.len() - cursor.rest.len());
                    if cursor.take("/") {
                        continue;
                    }
                }
            }
            break;
        }
        if !cursor.rest.is_empty() {
            return Err(SelectorError::Expected("the end of the selector"));
        }
        Ok(NodeSelector { steps, terminal, text, ends, query })
    }

    /// The selector of the first steps alone, with the query, percent-encoded. At least one step.
    pub(crate) fn of_first(&self, steps: usize) -> String {
        let mut encoded = percent_encode(&self.text[..self.ends[steps - 1]]);
        if !self.query.is_empty() {
            encoded.push('?');
            encoded.push_str(&percent_encode(&self.query));
        }
        encoded
    }
}

/// The namespaces that a query binds, `xmlns(prefix=namespace)` (RFC 4825 §6.4).
struct Bindings(Vec<(String, String)>);

impl Bindings {
    fn parse(query: &str) -> Result<Bindings, SelectorError> {
        let mut bindings = Vec::new();
        let mut rest = query;
        loop {
            rest = rest.trim_start_matches(' ');
            if rest.is_empty() {
                return Ok(Bindings(bindings));
            }
            let expected = SelectorError::Expected("xmlns(prefix=namespace)");
            let data = rest.strip_prefix("xmlns(").ok_or(expected)?;
            let (prefix, data) = data.split_once('=').ok_or(expected)?;
            let prefix = prefix.trim_matches(' ');
            let (namespace, tail) = scheme_data(data).ok_or(expected)?;
            if !is_nc_name(prefix) || namespace.is_empty() {
                return Err(expected);
            }
            if bindings.len() == BINDINGS_MAX {
                return Err(SelectorError::TooManyBindings);
            }
            bindings.push((prefix.to_owned(), namespace));
            rest = tail;
        }
    }

    fn resolve(&self, prefix: &str) -> Result<String, SelectorError> {
        if prefix == "xml" {
            return Ok(XML_NAMESPACE.to_owned());
        }
        // The last one counts, as in XPointer's xmlns scheme.
        let bound = self.0.iter().rev().find(|(bound, _)| bound == prefix);
        bound.map(|(_, namespace)| namespace.clone()).ok_or(SelectorError::UnboundPrefix)
    }
}

/// Reads up to the parenthesis that closes: within, others are in pairs or behind `^` (XPointer Framework §3.1). Gives what
/// was read and what stands behind.
fn scheme_data(text: &str) -> Option<(String, &str)> {
    let mut data = String::new();
    let mut depth = 0;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '^' => data.push(characters.next().map(|(_, c)| c).filter(|c| matches!(c, '^' | '(' | ')'))?),
            ')' if depth == 0 => return Some((data, &text[at + 1..])),
            _ => {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                data.push(c);
            }
        }
    }
    None
}

struct Cursor<'t> {
    rest: &'t str,
    bindings: &'t Bindings,
}

impl<'t> Cursor<'t> {
    fn terminal(&mut self) -> Result<Option<Terminal>, SelectorError> {
        if self.take("namespace::*") {
            return Ok(Some(Terminal::Namespaces));
        }
        if self.take("@") {
            return Ok(Some(Terminal::Attribute(self.name()?)));
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Step, SelectorError> {
        let name = if self.take("*") { NameTest::Any } else { NameTest::Named(self.name()?) };
        let mut step = Step { name, position: None, attribute: None };
        if self.rest.starts_with('[') && !self.rest.starts_with("[@") {
            self.take("[");
            step.position = Some(self.position()?);
            self.expect("]", "]")?;
        }
        if self.take("[@") {
            let name = self.name()?;
            self.expect("=", "= and a value")?;
            step.attribute = Some((name, self.quoted()?));
            self.expect("]", "]")?;
        }
        Ok(step)
    }

    fn position(&mut self) -> Result<u32, SelectorError> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.is_empty() {
            return Err(SelectorError::Expected("a position, or @ and a name"));
        }
        self.rest = rest;
        // No document has so many elements: it stands for none.
        Ok(digits.parse().unwrap_or(u32::MAX))
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let expected = SelectorError::Expected("a quoted value");
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(expected)?;
        let (value, rest) = self.rest[1..].split_once(quote).ok_or(expected)?;
        self.rest = rest;
        Ok(attribute_value(value).ok_or(expected)?.into_owned())
    }

    fn name(&mut self) -> Result<Name, SelectorError> {
        let first = self.nc_name()?;
        if self.rest.starts_with("::") || !self.take(":") {
            return Ok(Name { namespace: None, local: first.to_owned() });
        }
        let local = self.nc_name()?;
        Ok(Name { namespace: Some(self.bindings.resolve(first)?), local: local.to_owned() })
    }

    fn nc_name(&mut self) -> Result<&'t str, SelectorError> {
        let end = self.rest.find(|c| !is_name_char(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if !is_nc_name(name) {
            return Err(SelectorError::Expected("a name"));
        }
        self.rest = rest;
        Ok(name)
    }

    fn expect(&mut self, token: &str, what: &'static str) -> Result<(), SelectorError> {
        if self.take(token) { Ok(()) } else { Err(SelectorError::Expected(what)) }
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}
