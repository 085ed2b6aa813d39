//! Contact.

use super::HeaderError;
use crate::NameAddr;
use crate::lex::{decimal, is_name, trim};
use crate::values::name_addr::NameAddrParts;

/// All Contact values of a message.
#[derive(Clone, Debug)]
pub enum Contacts<'a> {
    /// `Contact: *`
    Star,
    /// The list; empty where there is no Contact.
    List(Vec<ContactValue<'a>>),
}

impl<'a> Contacts<'a> {
    /// From the elements of all Contact lines. `*` stands alone or not at all (RFC 3261 §20.10).
    pub(crate) fn from_elements(
        elements: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Contacts<'a>, HeaderError> {
        let mut list = Vec::new();
        let mut star = false;
        for element in elements {
            if star || (element == b"*" && !list.is_empty()) {
                return Err(HeaderError::Malformed("Contact"));
            }
            if element == b"*" {
                star = true;
            } else {
                list.push(ContactValue::parse(element)?);
            }
        }
        Ok(if star { Contacts::Star } else { Contacts::List(list) })
    }
}

/// One Contact value.
#[derive(Clone, Copy, Debug)]
pub struct ContactValue<'a> {
    /// Name, URI and all parameters.
    pub addr: NameAddr<'a>,
    /// `expires`; `None` where there is none or it is no number (RFC 3261 §10.3: then 3600 is meant by malformed ones).
    pub expires: Option<u32>,
    /// `q` in thousandths; `None` where there is none.
    pub q: Option<u16>,
}

impl<'a> ContactValue<'a> {
    /// Parses one element other than `*`. An `expires` beyond 2**32-1 saturates.
    pub fn parse(element: &'a [u8]) -> Result<ContactValue<'a>, HeaderError> {
        let element = trim(element);
        ContactParts::read(element)?.contact(element).ok_or(MALFORMED)
    }
}

/// Where the parts of a Contact's value are in its element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContactParts {
    addr: NameAddrParts,
    expires: Option<u32>,
    q: Option<u16>,
}

const MALFORMED: HeaderError = HeaderError::Malformed("Contact");

impl ContactParts {
    /// Reads an element other than `*` without white space around it.
    pub(crate) fn read(element: &[u8]) -> Result<ContactParts, HeaderError> {
        let mut expires = None;
        let mut first_q = None;
        let addr = NameAddrParts::read(element, |name, value| {
            let (name, value) = (&element[name], &element[value]);
            if expires.is_none() && is_name(name, b"expires") {
                expires = decimal(value);
            } else if first_q.is_none() && is_name(name, b"q") {
                first_q = Some(value);
            }
        });
        let addr = addr.ok_or(MALFORMED)?;
        let q = match first_q {
            Some(value) => Some(thousandths(value).ok_or(MALFORMED)?),
            None => None,
        };
        Ok(ContactParts {
            addr,
            expires: expires.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
            q,
        })
    }

    /// What was read. `None` would mean that a part is no text, or another element.
    pub(crate) fn contact(self, element: &[u8]) -> Option<ContactValue<'_>> {
        let addr = self.addr.name_addr(element)?;
        Some(ContactValue { addr, expires: self.expires, q: self.q })
    }
}

/// `qvalue` of RFC 3261 §25.1: 0 to 1 with up to three digits behind the point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let text = str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", _) => Some(fraction),
        // COMPAT: `q=.5` is no qvalue, yet old clients send it.
        ("", _) if text.len() > 1 => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}
