//! Filters of searches (RFC 4511 §4.5.1.7). They go out as octets with their lengths, so that no value can change what is asked; as text
//! (RFC 4515) they are read from configuration and shown in logs.

use std::fmt;

use super::ber::{Tag, Writer};

/// Filters within filters that are read from text, so that nobody's text exhausts the stack.
const DEPTH_MAX: usize = 32;
/// Octets of a filter as text.
const TEXT_OCTETS_MAX: usize = 8 * 1024;

/// Which entries are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// All of these hold; of none: true.
    And(Vec<Filter>),
    /// One of these holds; of none: false.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
    /// The attribute has this value.
    Equal(String, Vec<u8>),
    /// The attribute has a value with these parts in order.
    Substrings {
        /// Which attribute.
        attribute: String,
        /// How it begins.
        initial: Option<Vec<u8>>,
        /// What comes in between.
        any: Vec<Vec<u8>>,
        /// How it ends.
        last: Option<Vec<u8>>,
    },
    /// The attribute has a value that is not less.
    AtLeast(String, Vec<u8>),
    /// The attribute has a value that is not more.
    AtMost(String, Vec<u8>),
    /// The attribute is there.
    Present(String),
    /// Something like this.
    Approximate(String, Vec<u8>),
    /// By a rule that is named by its object identifier, such as Active Directory's for bits and for chains of groups.
    Matching {
        /// Which attribute.
        attribute: String,
        /// The rule.
        rule: String,
        /// What to compare with.
        value: Vec<u8>,
    },
}

/// A text is no filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no LDAP filter at octet {at}: {what}")]
pub struct FilterError {
    /// Where.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl Filter {
    /// The attribute has this value.
    pub fn equal(attribute: &str, value: impl AsRef<[u8]>) -> Filter {
        Filter::Equal(attribute.to_owned(), value.as_ref().to_vec())
    }

    /// The attribute has a value that is not less.
    pub fn at_least(attribute: &str, value: impl AsRef<[u8]>) -> Filter {
        Filter::AtLeast(attribute.to_owned(), value.as_ref().to_vec())
    }

    /// The attribute is there.
    pub fn present(attribute: &str) -> Filter {
        Filter::Present(attribute.to_owned())
    }

    /// Every entry.
    pub fn everything() -> Filter {
        Filter::present("objectClass")
    }

    /// Reads a filter as text (RFC 4515 §3).
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        if text.len() > TEXT_OCTETS_MAX {
            return Err(parser.error("it is too long"));
        }
        let filter = parser.filter(0)?;
        match parser.at == text.len() {
            true => Ok(filter),
            false => Err(parser.error("something stands behind it")),
        }
    }

    pub(super) fn write(&self, body: &mut Writer) {
        match self {
            Filter::And(filters) => {
                body.constructed(Tag::context_constructed(0), |list| {
                    filters.iter().for_each(|one| one.write(list));
                });
            }
            Filter::Or(filters) => {
                body.constructed(Tag::context_constructed(1), |list| {
                    filters.iter().for_each(|one| one.write(list));
                });
            }
            Filter::Not(filter) => {
                body.constructed(Tag::context_constructed(2), |inside| filter.write(inside));
            }
            Filter::Equal(attribute, value) => comparison(body, 3, attribute, value),
            Filter::Substrings { attribute, initial, any, last } => {
                body.constructed(Tag::context_constructed(4), |inside| {
                    inside.octets(attribute).sequence(|parts| {
                        if let Some(initial) = initial {
                            parts.element(Tag::context(0), initial);
                        }
                        for part in any {
                            parts.element(Tag::context(1), part);
                        }
                        if let Some(last) = last {
                            parts.element(Tag::context(2), last);
                        }
                    });
                });
            }
            Filter::AtLeast(attribute, value) => comparison(body, 5, attribute, value),
            Filter::AtMost(attribute, value) => comparison(body, 6, attribute, value),
            Filter::Present(attribute) => {
                body.element(Tag::context(7), attribute.as_bytes());
            }
            Filter::Approximate(attribute, value) => comparison(body, 8, attribute, value),
            Filter::Matching { attribute, rule, value } => {
                body.constructed(Tag::context_constructed(9), |inside| {
                    inside.element(Tag::context(1), rule.as_bytes());
                    inside.element(Tag::context(2), attribute.as_bytes());
                    inside.element(Tag::context(3), value);
                });
            }
        }
    }
}

fn comparison(body: &mut Writer, number: u8, attribute: &str, value: &[u8]) {
    body.constructed(Tag::context_constructed(number), |inside| {
        inside.octets(attribute).octets(value);
    });
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, sign: char, filters: &[Filter]| {
            write!(f, "({sign}")?;
            filters.iter().try_for_each(|filter| filter.fmt(f))?;
            f.write_str(")")
        };
        match self {
            Filter::And(filters) => list(f, '&', filters),
            Filter::Or(filters) => list(f, '|', filters),
            Filter::Not(filter) => write!(f, "(!{filter})"),
            Filter::Equal(attribute, value) => write!(f, "({attribute}={})", Escaped(value)),
            Filter::Substrings { attribute, initial, any, last } => {
                write!(f, "({attribute}={}*", Escaped(initial.as_deref().unwrap_or_default()))?;
                any.iter().try_for_each(|part| write!(f, "{}*", Escaped(part)))?;
                write!(f, "{})", Escaped(last.as_deref().unwrap_or_default()))
            }
            Filter::AtLeast(attribute, value) => write!(f, "({attribute}>={})", Escaped(value)),
            Filter::AtMost(attribute, value) => write!(f, "({attribute}<={})", Escaped(value)),
            Filter::Present(attribute) => write!(f, "({attribute}=*)"),
            Filter::Approximate(attribute, value) => write!(f, "({attribute}~={})", Escaped(value)),
            Filter::Matching { attribute, rule, value } => {
                write!(f, "({attribute}:{rule}:={})", Escaped(value))
            }
        }
    }
}

/// A value as it stands in a text (RFC 4515 §3): what is not plain is `\xx`.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '(' | ')' | '*' | '\\' => write!(f, "\\{:02x}", u32::from(c))?,
                    c if c.is_control() => {
                        let mut octets = [0; 4];
                        c.encode_utf8(&mut octets)
                            .bytes()
                            .try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
                    }
                    c => write!(f, "{c}")?,
                }
            }
            chunk.invalid().iter().try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn filter(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth == DEPTH_MAX {
            return Err(self.error("too many filters are within each other"));
        }
        self.take(b'(', "a filter begins with (")?;
        let filter = match self.peek() {
            Some(b'&') => Filter::And(self.list(depth)?),
            Some(b'|') => Filter::Or(self.list(depth)?),
            Some(b'!') => {
                self.at += 1;
                Filter::Not(Box::new(self.filter(depth + 1)?))
            }
            _ => self.item()?,
        };
        self.take(b')', "a filter ends with )")?;
        Ok(filter)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Filter>, FilterError> {
        self.at += 1;
        let mut filters = Vec::new();
        while self.peek() == Some(b'(') {
            filters.push(self.filter(depth + 1)?);
        }
        Ok(filters)
    }

    fn item(&mut self) -> Result<Filter, FilterError> {
        let attribute = self.name()?;
        match self.peek() {
            Some(b'=') => {
                self.at += 1;
                self.equality(attribute)
            }
            Some(b'>') => self.compared(2).map(|value| Filter::AtLeast(attribute, value)),
            Some(b'<') => self.compared(2).map(|value| Filter::AtMost(attribute, value)),
            Some(b'~') => self.compared(2).map(|value| Filter::Approximate(attribute, value)),
            Some(b':') => {
                self.at += 1;
                let rule = self.name()?;
                self.compared(2).map(|value| Filter::Matching { attribute, rule, value })
            }
            _ => Err(self.error("a comparison is missing")),
        }
    }

    /// A value behind a sign of so many octets that ends with `=`.
    fn compared(&mut self, sign: usize) -> Result<Vec<u8>, FilterError> {
        self.at += sign - 1;
        self.take(b'=', "a comparison is missing")?;
        let value = self.value()?;
        match self.peek() {
            Some(b'*') => Err(self.error("* stands for itself only as \\2a")),
            _ => Ok(value),
        }
    }

    fn equality(&mut self, attribute: String) -> Result<Filter, FilterError> {
        let mut parts = vec![self.value()?];
        while self.peek() == Some(b'*') {
            self.at += 1;
            parts.push(self.value()?);
        }
        if parts.len() == 1 {
            return Ok(Filter::Equal(attribute, parts.remove(0)));
        }
        let last = Some(parts.pop().expect("there are two at least")).filter(|part| !part.is_empty());
        let initial = Some(parts.remove(0)).filter(|part| !part.is_empty());
        if parts.iter().any(Vec::is_empty) {
            return Err(self.error("two * follow each other"));
        }
        match (&initial, &last, parts.is_empty()) {
            (None, None, true) => Ok(Filter::Present(attribute)),
            _ => Ok(Filter::Substrings { attribute, initial, any: parts, last }),
        }
    }

    /// An attribute description, or a rule: letters, digits, `-`, `.`, `;`.
    fn name(&mut self) -> Result<String, FilterError> {
        let rest = &self.text[self.at..];
        let is_part =
            |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b';' | b'_');
        let length = rest.iter().take_while(|octet| is_part(octet)).count();
        if length == 0 {
            return Err(self.error("an attribute is missing"));
        }
        self.at += length;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn value(&mut self) -> Result<Vec<u8>, FilterError> {
        let mut value = Vec::new();
        loop {
            match self.peek() {
                Some(b'\\') => {
                    let digit = |place: usize| {
                        self.text.get(self.at + place).and_then(|digit| char::from(*digit).to_digit(16))
                    };
                    let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                        return Err(self.error("two hexadecimal digits follow \\"));
                    };
                    value.push(u8::try_from(high << 4 | low).expect("two digits are an octet"));
                    self.at += 3;
                }
                Some(b'(' | b')' | b'*') | None => return Ok(value),
                Some(octet) => {
                    value.push(octet);
                    self.at += 1;
                }
            }
        }
    }

    fn take(&mut self, octet: u8, what: &'static str) -> Result<(), FilterError> {
        match self.peek() == Some(octet) {
            true => {
                self.at += 1;
                Ok(())
            }
            false => Err(self.error(what)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn error(&self, what: &'static str) -> FilterError {
        FilterError { at: self.at, what }
    }
}
