//! Distinguished names (RFC 4514), and what names an object in another one's attribute.

use std::fmt;

use directory::ObjectId;

use crate::guid;

/// Longest distinguished name that is read, in octets. Active Directory allows 255 characters for a name's part and tens of levels in
/// practice; who writes more is not naming a person.
pub const DN_OCTETS_MAX: usize = 4096;

/// A distinguished name in the form in which two that are the same are equal: types in lower case, values unescaped, in lower case and
/// with blanks pressed together, escaped again in one way, parts of a multi-valued RDN in order. This is caseIgnoreMatch for every
/// type (RFC 4518 §2.6.1 without its tables): the types that occur in the names of people, groups and their containers all
/// match so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dn(Box<str>);

/// Why a text is no distinguished name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnError {
    /// Longer than [`DN_OCTETS_MAX`].
    #[error("the distinguished name is too long")]
    TooLong,
    /// A part is not `type=value`, or an escape is broken.
    #[error("this is no distinguished name")]
    Malformed,
}

impl Dn {
    /// Reads and normalises.
    pub fn parse(text: &str) -> Result<Dn, DnError> {
        if text.len() > DN_OCTETS_MAX {
            return Err(DnError::TooLong);
        }
        let mut normal = String::with_capacity(text.len());
        let mut rest = text.trim();
        while !rest.is_empty() {
            let mut parts = Vec::new();
            let end = loop {
                let (part, end, behind) = attribute(rest)?;
                parts.push(part);
                rest = behind;
                if end != Some('+') {
                    break end;
                }
            };
            parts.sort_unstable();
            if !normal.is_empty() {
                normal.push(',');
            }
            normal.push_str(&parts.join("+"));
            if end.is_some() && rest.trim().is_empty() {
                return Err(DnError::Malformed);
            }
        }
        Ok(Dn(normal.into()))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this lies below `base`, or is it.
    pub fn is_within(&self, base: &Dn) -> bool {
        match self.0.strip_suffix(&*base.0) {
            Some(above) => {
                above.is_empty() || base.0.is_empty() || above.ends_with(',') && !is_escaped(above)
            }
            None => false,
        }
    }
}

/// Whether the comma at the end belongs to a value.
fn is_escaped(above: &str) -> bool {
    let slashes = above[..above.len() - 1].bytes().rev().take_while(|octet| *octet == b'\\').count();
    slashes % 2 == 1
}

/// One `type=value`: its normal form, the character that ends it, what stands behind that.
fn attribute(text: &str) -> Result<(String, Option<char>, &str), DnError> {
    let (kind, value) = text.split_once('=').ok_or(DnError::Malformed)?;
    let kind = kind.trim().to_ascii_lowercase();
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.');
    if kind.is_empty() || !kind.bytes().all(fits) {
        return Err(DnError::Malformed);
    }
    let (octets, end, behind) = value_octets(value.trim_start())?;
    let value = String::from_utf8_lossy(&octets).to_lowercase();
    let mut normal = kind;
    normal.push('=');
    for (place, word) in value.split_whitespace().enumerate() {
        if place > 0 {
            normal.push(' ');
        }
        for character in word.chars() {
            if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
                normal.push('\\');
            }
            normal.push(character);
        }
    }
    Ok((normal, end, behind))
}

/// The octets of a value without its escapes, up to the comma or plus that ends it.
fn value_octets(text: &str) -> Result<(Vec<u8>, Option<char>, &str), DnError> {
    let bytes = text.as_bytes();
    let mut octets = Vec::with_capacity(text.len().min(64));
    let mut place = 0;
    // Quotes are of LDAPv2 (RFC 2253 §4); old data has them.
    let is_quoted = bytes.first() == Some(&b'"');
    if is_quoted {
        place = 1;
    }
    loop {
        match bytes.get(place) {
            None if is_quoted => return Err(DnError::Malformed),
            None => return Ok((octets, None, "")),
            Some(b'\\') => {
                let digits = bytes.get(place + 1..place + 3).and_then(|two| hex::decode(two).ok());
                match digits {
                    Some(octet) => {
                        octets.extend(octet);
                        place += 3;
                    }
                    None => {
                        octets.push(*bytes.get(place + 1).ok_or(DnError::Malformed)?);
                        place += 2;
                    }
                }
            }
            Some(b'"') if is_quoted => {
                let behind = text[place + 1..].trim_start();
                return match behind.chars().next() {
                    None => Ok((octets, None, "")),
                    Some(end @ (',' | '+' | ';')) => Ok((octets, Some(end), &behind[1..])),
                    Some(_) => Err(DnError::Malformed),
                };
            }
            Some(end @ (b',' | b'+' | b';')) if !is_quoted => {
                return Ok((octets, Some(char::from(*end)), &text[place + 1..]));
            }
            Some(octet) => {
                octets.push(*octet);
                place += 1;
            }
        }
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What names an object in a value of another one (`member`, `manager`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// How.
    pub kind: NameKind,
    /// The value's text without what was put before the name, for reports.
    pub text: String,
}

/// How an object is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// For good: it is this one, wherever it is moved.
    Id(ObjectId),
    /// By place: whoever is there.
    Place(Dn),
}

impl Named {
    /// Reads a distinguished name, plain or extended (1.2.840.113556.1.4.529, either format: `<GUID=` with 32 digits as they are
    /// carried, or as a UUID is written).
    pub fn parse(value: &str) -> Result<Named, DnError> {
        let mut rest = value;
        let mut id = None;
        while let Some(extension) = rest.strip_prefix('<') {
            let (inner, behind) = extension.split_once('>').ok_or(DnError::Malformed)?;
            if let Some(text) = inner.strip_prefix("GUID=") {
                let read = match text.parse() {
                    Ok(id) => Some(id),
                    Err(_) => hex::decode(text).ok().and_then(|octets| guid::read(&octets)),
                };
                id = Some(read.ok_or(DnError::Malformed)?);
            }
            rest = behind.strip_prefix(';').unwrap_or(behind);
        }
        let kind = match id {
            Some(id) => NameKind::Id(id),
            None => NameKind::Place(Dn::parse(rest)?),
        };
        Ok(Named { kind, text: rest.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_the_same_are_equal() {
        for (text, normal) in [
            ("CN=Alice Ada,OU=Staff,DC=corp,DC=example", "cn=alice ada,ou=staff,dc=corp,dc=example"),
            ("cn = Alice   Ada , ou=STAFF,dc=corp,dc=example", "cn=alice ada,ou=staff,dc=corp,dc=example"),
            ("CN=\"Ada, Alice\",DC=example", "cn=ada\\, alice,dc=example"),
            ("CN=Ada\\, Alice,DC=example", "cn=ada\\, alice,dc=example"),
            ("CN=Ada\\2C Alice,DC=example", "cn=ada\\, alice,dc=example"),
            ("CN=M\\C3\\BCller,DC=example", "cn=müller,dc=example"),
            ("CN=MÜLLER,DC=example", "cn=müller,dc=example"),
            ("uid=a+cn=b,dc=x", "cn=b+uid=a,dc=x"),
            ("CN=\\#1,DC=x", "cn=#1,dc=x"),
            ("", ""),
        ] {
            assert_eq!(Dn::parse(text).unwrap().as_str(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["alice", "CN=a,", "CN=a,,DC=b", "=a", "CN=a\\", "CN=\"a", "CN=\"a\"b", "C N=a"] {
            assert_eq!(Dn::parse(text), Err(DnError::Malformed), "{text}");
        }
        assert_eq!(Dn::parse(&format!("CN={}", "a".repeat(DN_OCTETS_MAX))), Err(DnError::TooLong));
    }

    #[test]
    fn a_place_lies_within_its_containers() {
        let dn = |text| Dn::parse(text).unwrap();
        assert!(dn("CN=a,OU=Rooms,DC=x").is_within(&dn("ou=rooms,dc=x")));
        assert!(dn("OU=Rooms,DC=x").is_within(&dn("ou=rooms,dc=x")));
        assert!(dn("OU=Rooms,DC=x").is_within(&dn("")));
        assert!(!dn("OU=Bathrooms,DC=x").is_within(&dn("OU=rooms,DC=x")));
        assert!(!dn("CN=a\\,OU\\=Rooms,DC=x").is_within(&dn("OU=Rooms,DC=x")));
    }

    #[test]
    fn an_extended_name_names_for_good() {
        let id: ObjectId = "a9d1ca15-7688-11d1-aded-00c04fd8d5cd".parse().unwrap();
        for text in [
            "<GUID=a9d1ca15-7688-11d1-aded-00c04fd8d5cd>;<SID=S-1-5-21-1>;CN=Alice,DC=x",
            "<GUID=15cad1a98876d111aded00c04fd8d5cd>;<SID=0105>;CN=Alice,DC=x",
        ] {
            let named = Named::parse(text).unwrap();
            assert_eq!((named.kind, named.text.as_str()), (NameKind::Id(id), "CN=Alice,DC=x"));
        }
        let place = NameKind::Place(Dn::parse("cn=alice,dc=x").unwrap());
        assert_eq!(Named::parse("CN=Alice,DC=x").unwrap().kind, place);
        assert_eq!(Named::parse("<SID=0105>;CN=Alice,DC=x").unwrap().kind, place);
        assert_eq!(Named::parse("<GUID=12>;CN=Alice,DC=x"), Err(DnError::Malformed));
        assert_eq!(Named::parse("<GUID=12"), Err(DnError::Malformed));
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics_and_the_normal_form_is_normal(text in "[a-cA-C=,+;\\\\\"<># ü0-9]{0,24}") {
            let _ = Named::parse(&text);
            if let Ok(dn) = Dn::parse(&text) {
                prop_assert_eq!(Dn::parse(dn.as_str()).unwrap(), dn);
            }
        }
    }
}
