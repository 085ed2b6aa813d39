//! Writing.

use std::fmt::{self, Write as _};

/// What every document begins with.
pub(crate) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n";

/// A text as it stands in an element or in an attribute between double quotes. What XML has no character for
/// becomes U+FFFD.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(
    /// The text.
    pub &'a str,
);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        // Most texts hold nothing to escape, and are written in one go.
        while let Some(at) = rest.bytes().position(may_begin_escape) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let c = from.chars().next().expect("an octet was found there");
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // Attributes and line ends are normalised by readers unless they are references.
                '\t' => f.write_str("&#9;")?,
                '\n' => f.write_str("&#10;")?,
                '\r' => f.write_str("&#13;")?,
                c if is_xml_char(c) => f.write_char(c)?,
                _ => f.write_char(char::REPLACEMENT_CHARACTER)?,
            }
            rest = &from[c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// Writes a text as [`Escaped`] does; without the detour over a formatter where there is nothing to escape.
pub(crate) fn push_escaped(xml: &mut String, text: &str) {
    if text.bytes().any(may_begin_escape) {
        let _ = write!(xml, "{}", Escaped(text));
    } else {
        xml.push_str(text);
    }
}

/// Whether an octet is, or begins, a character that may not stand as it is: beyond ASCII that is U+FFFE and U+FFFF alone, which
/// begin with 0xEF. No octet within a character is one of these.
fn may_begin_escape(octet: u8) -> bool {
    octet < b' ' || matches!(octet, b'<' | b'>' | b'&' | b'"' | 0xEF)
}

/// Whether XML 1.0 has the character.
pub(crate) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
