//! Via.

use crate::lex::{TOKEN, decimal, skip_lws, span, visit_params};
use crate::uri::host_at;
use crate::{HeaderError, Host, Params};

/// One Via (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, ... as written; compare without case.
    pub transport: &'a str,
    /// sent-by host.
    pub host: Host<'a>,
    /// sent-by host as written.
    pub host_text: &'a str,
    /// sent-by port.
    pub port: Option<u16>,
    /// branch, received, rport, maddr, ...
    pub params: Params<'a>,
    /// The whole element as written.
    pub text: &'a [u8],
}

impl<'a> Via<'a> {
    /// Parses one element.
    pub fn parse(element: &'a [u8]) -> Result<Via<'a>, HeaderError> {
        Via::parse_with(element, |_, _| {})
    }

    /// [`Via::parse`], showing each parameter's name and value on the way.
    #[inline]
    pub(crate) fn parse_with(
        element: &'a [u8],
        visit: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<Via<'a>, HeaderError> {
        Via::read(element, visit).ok_or(HeaderError::Malformed("Via"))
    }

    /// The branch, `None` where there is none (RFC 2543 clients).
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }

    #[inline]
    fn read(element: &'a [u8], visit: impl FnMut(&'a [u8], &'a [u8])) -> Option<Via<'a>> {
        let text = str::from_utf8(element).ok()?;
        let transport_start = transport_start(element)?;
        let transport_end = token(element, transport_start)?;
        let host_start = skip_lws(element, transport_end);
        if host_start == transport_end {
            return None;
        }
        let (host, host_length) = host_at(&text[host_start..])?;
        let host_end = host_start + host_length;
        let mut at = skip_lws(element, host_end);
        let mut port = None;
        if element.get(at) == Some(&b':') {
            let port_start = skip_lws(element, at + 1);
            let digits = element[port_start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            at = port_start + digits;
            port = Some(u16::try_from(decimal(&element[port_start..at])?).ok()?);
        }
        at = skip_lws(element, at);
        if !visit_params(&element[at..], visit) {
            return None;
        }
        Some(Via {
            transport: &text[transport_start..transport_end],
            host,
            host_text: &text[host_start..host_end],
            port,
            params: Params { text: &text[at..] },
            text: element,
        })
    }
}

/// What follows the protocol's name and version, whichever they are.
fn transport_start(element: &[u8]) -> Option<usize> {
    const USUAL: &[u8] = b"SIP/2.0/";
    if element.starts_with(USUAL) {
        return Some(skip_lws(element, USUAL.len()));
    }
    let name_end = token(element, 0)?;
    let version_end = token(element, slash(element, name_end)?)?;
    slash(element, version_end)
}

/// The end of the token at `start`.
fn token(bytes: &[u8], start: usize) -> Option<usize> {
    let length = span(&bytes[start..], TOKEN);
    (length > 0).then_some(start + length)
}

/// What follows a slash with white space around it.
fn slash(bytes: &[u8], start: usize) -> Option<usize> {
    let at = skip_lws(bytes, start);
    (bytes.get(at) == Some(&b'/')).then(|| skip_lws(bytes, at + 1))
}
