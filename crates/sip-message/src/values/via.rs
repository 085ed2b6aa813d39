//! Via.

use std::net::IpAddr;

use crate::lex::{self, TOKEN, is_name, leading_number, skip_lws, span, visit_params};
use crate::uri::host_at;
use crate::{HEADER_BLOCK_OCTETS_MAX, HeaderError, Host, Params};

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
    branch: Option<&'a str>,
    has_rport: bool,
    has_received: bool,
    rport: Option<(u16, u16)>,
}

/// Where the parts of a Via are in its element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViaParts {
    transport: (u16, u16),
    host: (u16, u16),
    address: Option<IpAddr>,
    port: Option<u16>,
    params_start: u16,
    branch: Option<(u16, u16)>,
    has_rport: bool,
    has_received: bool,
    /// See [`Via::around_rport`].
    rport: Option<(u16, u16)>,
}

impl<'a> Via<'a> {
    /// Parses one element.
    pub fn parse(element: &'a [u8]) -> Result<Via<'a>, HeaderError> {
        ViaParts::read(element).and_then(|parts| parts.via(element)).ok_or(HeaderError::Malformed("Via"))
    }

    /// The branch, `None` where there is none (RFC 2543 clients).
    pub fn branch(&self) -> Option<&'a str> {
        self.branch
    }

    /// Whether the sender asks for the port that it is seen with (RFC 3581 §3).
    pub fn has_rport(&self) -> bool {
        self.has_rport
    }

    /// What stands before `rport` and behind it with its value, where that is all that is to be changed for the way back: it stands
    /// there once, `received` does not, and there is no white space but the one blank that must be.
    pub fn around_rport(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (start, end) = self.rport?;
        Some((&self.text[..usize::from(start)], &self.text[usize::from(end)..]))
    }

    /// Whether it says where it was received from.
    pub fn has_received(&self) -> bool {
        self.has_received
    }
}

impl ViaParts {
    /// Reads one element, all of which is text then.
    pub(crate) fn read(element: &[u8]) -> Option<ViaParts> {
        if element.len() > HEADER_BLOCK_OCTETS_MAX {
            return None;
        }
        let transport_start = transport_start(element)?;
        let transport_end = token(element, transport_start)?;
        let host_start = skip_lws(element, transport_end);
        if host_start == transport_end {
            return None;
        }
        let (host_length, address) = host_at(&element[host_start..])?;
        let host_end = host_start + host_length;
        let mut at = skip_lws(element, host_end);
        let mut port = None;
        if element.get(at) == Some(&b':') {
            let port_start = skip_lws(element, at + 1);
            let (number, end) = leading_number(element, port_start);
            at = end;
            port = Some(u16::try_from(number).ok().filter(|_| end > port_start)?);
        }
        at = skip_lws(element, at);
        let mut parts = ViaParts {
            transport: (transport_start as u16, transport_end as u16),
            host: (host_start as u16, host_end as u16),
            address,
            port,
            params_start: at as u16,
            branch: None,
            has_rport: false,
            has_received: false,
            rport: None,
        };
        let mut has_quotes = false;
        let mut is_plain = is_plain_front(element, &parts);
        let mut plain_end = at;
        let are_params = visit_params(element, at, |name, value| {
            has_quotes |= element.get(value.start) == Some(&b'"');
            // `;` and perhaps `=`, and nothing else.
            is_plain &= name.start == plain_end + 1 && value.start <= name.end + 1;
            plain_end = value.end;
            let place = (name.start as u16, value.end as u16);
            let name = &element[name];
            match name.len() {
                5 if is_name(name, b"rport") => {
                    is_plain &= !parts.has_rport;
                    parts.has_rport = true;
                    parts.rport = Some(place);
                }
                6 if parts.branch.is_none() && is_name(name, b"branch") => {
                    parts.branch = Some((value.start as u16, value.end as u16));
                }
                8 => parts.has_received |= is_name(name, b"received"),
                _ => {}
            }
        });
        is_plain &= !parts.has_received && plain_end == element.len();
        parts.rport = parts.rport.filter(|_| is_plain);
        // Outside of quotes nothing but ASCII was let pass.
        let is_text = are_params && (!has_quotes || lex::text(element).is_some());
        is_text.then_some(parts)
    }

    /// What was read. `None` would mean that the element is no text, or another one.
    #[inline]
    pub(crate) fn via(self, element: &[u8]) -> Option<Via<'_>> {
        let text = lex::text(element)?;
        let part = |(start, end): (u16, u16)| text.get(usize::from(start)..usize::from(end));
        let host_text = part(self.host)?;
        Some(Via {
            transport: part(self.transport)?,
            host: self.address.map_or(Host::Name(host_text), Host::Address),
            host_text,
            port: self.port,
            params: Params { text: text.get(usize::from(self.params_start)..)? },
            text: element,
            branch: self.branch.and_then(part),
            has_rport: self.has_rport,
            has_received: self.has_received,
            rport: self.rport,
        })
    }

    /// The branch's octets.
    pub(crate) fn branch<'a>(&self, element: &'a [u8]) -> Option<&'a [u8]> {
        self.branch.map(|(start, end)| &element[usize::from(start)..usize::from(end)])
    }
}

/// Whether what stands before the parameters is written as `SIP/2.0/UDP host:port`, the port without leading zeros.
fn is_plain_front(element: &[u8], parts: &ViaParts) -> bool {
    let (transport_start, transport_end) = parts.transport;
    let port_digits = parts.port.map_or(0, |port| 2 + port.checked_ilog10().unwrap_or(0) as u16);
    transport_start == 8
        && element.starts_with(b"SIP/2.0/")
        && element[usize::from(transport_end)] == b' '
        && parts.host.0 == transport_end + 1
        && parts.params_start == parts.host.1 + port_digits
}

/// What follows the protocol's name and version, whichever they are.
fn transport_start(element: &[u8]) -> Option<usize> {
    const USUAL: &[u8; 8] = b"SIP/2.0/";
    if element.first_chunk() == Some(USUAL) {
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
