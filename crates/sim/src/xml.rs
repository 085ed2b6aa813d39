//! A small reader of well-formed XML, for what the server writes: elements, attributes and text.
//!
//! It shares nothing with the reader and the writer of the server, so that a mistake of theirs is not made twice.
//! Names lose their prefixes. It knows no document types: whoever sends one has made a mistake that a checker tells of.

use std::iter::Peekable;
use std::str::CharIndices;

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// Without its prefix.
    pub(crate) name: String,
    /// Names without their prefixes, and values.
    pub(crate) attributes: Vec<(String, String)>,
    /// In order.
    pub(crate) children: Vec<Element>,
    /// All text directly in it, trimmed.
    pub(crate) text: String,
}

impl Element {
    /// Reads a document's root.
    pub(crate) fn parse(octets: &[u8]) -> Result<Element, String> {
        let text = std::str::from_utf8(octets).map_err(|_| "not UTF-8".to_owned())?;
        Reader { text, rest: text.char_indices().peekable() }.document()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Itself and everything below, outer before inner.
    pub(crate) fn all(&self) -> Vec<&Element> {
        let below = self.children.iter().flat_map(Element::all);
        std::iter::once(self).chain(below).collect()
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Element, String> {
        self.misc()?;
        let root = self.element()?;
        self.misc()?;
        match self.rest.peek() {
            None => Ok(root),
            Some((at, _)) => Err(format!("something behind the root at {at}")),
        }
    }

    fn ahead(&mut self) -> &'a str {
        self.rest.peek().map_or("", |(at, _)| &self.text[*at..])
    }

    /// Goes on behind `end`, which must come; returns what stood before it.
    fn until(&mut self, end: &str) -> Result<&'a str, String> {
        let ahead = self.ahead();
        let length = ahead.find(end).ok_or_else(|| format!("no {end:?} before the end"))?;
        let over = self.text.len() - ahead.len() + length + end.len();
        while self.rest.next_if(|(at, _)| *at < over).is_some() {}
        Ok(&ahead[..length])
    }

    fn space(&mut self) {
        while self.rest.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
    }

    /// Space, comments and processing instructions.
    fn misc(&mut self) -> Result<(), String> {
        loop {
            self.space();
            if self.ahead().starts_with("<!--") {
                self.until("-->")?;
            } else if self.ahead().starts_with("<?") {
                self.until("?>")?;
            } else {
                return Ok(());
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let ahead = self.ahead();
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let length = ahead.find(|c| !is_name(c)).unwrap_or(ahead.len());
        if length == 0 {
            return Err(format!("no name before {:?}", ahead.chars().take(12).collect::<String>()));
        }
        for _ in ahead[..length].chars() {
            self.rest.next();
        }
        Ok(&ahead[..length])
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        match self.rest.next() {
            Some((_, c)) if c == wanted => Ok(()),
            found => Err(format!("{found:?} instead of {wanted:?}")),
        }
    }

    fn element(&mut self) -> Result<Element, String> {
        self.expect('<')?;
        let qualified = self.name()?;
        let mut element = Element { name: local(qualified), ..Element::default() };
        loop {
            self.space();
            let ahead = self.ahead();
            if ahead.starts_with("/>") {
                self.until("/>")?;
                return Ok(element);
            }
            if ahead.starts_with('>') {
                self.rest.next();
                break;
            }
            let name = self.name()?;
            self.expect('=')?;
            let quote = self.rest.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\''));
            let quote = quote.ok_or_else(|| format!("the value of {name} is not quoted"))?;
            let value = self.until(quote.encode_utf8(&mut [0; 4]))?;
            element.attributes.push((local(name), resolved(value)?));
        }
        loop {
            let ahead = self.ahead();
            if ahead.starts_with("</") {
                self.until("</")?;
                if self.name()? != qualified {
                    return Err(format!("{qualified} is not closed"));
                }
                self.space();
                self.expect('>')?;
                element.text = element.text.trim().to_owned();
                return Ok(element);
            } else if ahead.starts_with("<!--") {
                self.until("-->")?;
            } else if ahead.starts_with('<') {
                element.children.push(self.element()?);
            } else {
                let length = ahead.find('<').ok_or_else(|| format!("{qualified} does not end"))?;
                element.text += &resolved(&ahead[..length])?;
                for _ in ahead[..length].chars() {
                    self.rest.next();
                }
            }
        }
    }
}

fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_owned()
}

/// With the predefined entities and character references resolved (XML 1.0 §4.6, §4.1).
fn resolved(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out += &rest[..at];
        let (entity, behind) =
            rest[at + 1..].split_once(';').ok_or_else(|| "an & without its ;".to_owned())?;
        let number = entity.strip_prefix('#').map(|number| match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        });
        out.push(match (entity, number) {
            ("amp", _) => '&',
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            (_, Some(Ok(number))) => {
                char::from_u32(number).ok_or_else(|| format!("&{entity}; is nothing"))?
            }
            _ => return Err(format!("&{entity}; is not predefined")),
        });
        rest = behind;
    }
    Ok(out + rest)
}

/// A text as it stands in XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::Element;

    #[test]
    fn what_the_server_writes_is_read() {
        let text = "<?xml version=\"1.0\"?>\r\n<!-- c --><p:a x='1' p:y=\"&lt;&#x41;\">t<b/><b>u &amp; v</b></p:a>\r\n";
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!((root.name.as_str(), root.text.as_str()), ("a", "t"));
        assert_eq!((root.attribute("x"), root.attribute("y")), (Some("1"), Some("<A")));
        let texts: Vec<&str> = root.all().iter().map(|e| e.text.as_str()).collect();
        assert_eq!(texts, ["t", "", "u & v"]);
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in
            ["", "<a>", "<a></b>", "<a/><b/>", "<a>&x;</a>", "<a x=1/>", "<!DOCTYPE a><a/>", "<a>\u{1}<</a>"]
        {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
