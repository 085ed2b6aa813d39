//! CSeq.

use super::HeaderError;
use crate::Method;
use crate::lex::{TOKEN, decimal, skip_lws, span};

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number, below 2**32 as read (RFC 3261 §8.1.1.5 asks senders for below 2**31).
    pub number: u32,
    /// The method.
    pub method: crate::Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Parses a whole value.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, HeaderError> {
        CSeq::read(value).ok_or(HeaderError::Malformed("CSeq"))
    }

    fn read(value: &'a [u8]) -> Option<CSeq<'a>> {
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = u32::try_from(decimal(&value[..digits])?).ok()?;
        let method_start = skip_lws(value, digits);
        let method = &value[method_start..];
        if method_start == digits || method.is_empty() || span(method, TOKEN) != method.len() {
            return None;
        }
        Some(CSeq { number, method: Method::from_octets(method)? })
    }
}
