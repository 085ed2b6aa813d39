//! CSeq.

use super::HeaderError;
use crate::lex::{TOKEN, leading_number, skip_lws, span, text};
use crate::{HEADER_BLOCK_OCTETS_MAX, Method};

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
        let parts = CSeqParts::read(value)?;
        Some(CSeq { number: parts.number, method: parts.method(value)? })
    }
}

/// What a CSeq says, and where its method begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CSeqParts {
    pub(crate) number: u32,
    method_start: u16,
    known: Option<Method<'static>>,
}

impl CSeqParts {
    pub(crate) fn read(value: &[u8]) -> Option<CSeqParts> {
        if value.len() > HEADER_BLOCK_OCTETS_MAX {
            return None;
        }
        let (number, digits) = leading_number(value, 0);
        let number = u32::try_from(number).ok().filter(|_| digits > 0)?;
        let method_start = skip_lws(value, digits);
        let method = &value[method_start..];
        if method_start == digits || method.is_empty() {
            return None;
        }
        let known = Method::known(method);
        if known.is_none() && span(method, TOKEN) != method.len() {
            return None;
        }
        Some(CSeqParts { number, method_start: method_start as u16, known })
    }

    /// The method, in the value that was read.
    #[inline]
    pub(crate) fn method<'a>(&self, value: &'a [u8]) -> Option<Method<'a>> {
        match self.known {
            Some(method) => Some(method),
            None => text(&value[usize::from(self.method_start)..]).map(Method::Other),
        }
    }
}
