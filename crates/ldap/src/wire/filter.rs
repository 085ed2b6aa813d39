//! Filters of searches (RFC 4511 §4.5.1.7). They go out as octets with their lengths, so that no value can change what is asked; as text
//! (RFC 4515) they are only shown.

use std::fmt;

use super::ber::{Tag, Writer};

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
    /// The attribute has a value that is not less.
    AtLeast(String, Vec<u8>),
    /// The attribute is there.
    Present(String),
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
            Filter::AtLeast(attribute, value) => comparison(body, 5, attribute, value),
            Filter::Present(attribute) => {
                body.element(Tag::context(7), attribute.as_bytes());
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
            Filter::AtLeast(attribute, value) => write!(f, "({attribute}>={})", Escaped(value)),
            Filter::Present(attribute) => write!(f, "({attribute}=*)"),
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
