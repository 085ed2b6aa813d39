//! name-addr and addr-spec.

use std::ops::Range;

use crate::lex::{self, LWS, TOKEN, is, is_name, quoted, skip_lws, trim, visit_params};
use crate::uri::UriParts;
use crate::{HEADER_BLOCK_OCTETS_MAX, HeaderError, Params, Uri};

/// A name-addr or addr-spec with header parameters (RFC 3261 §20.10): From, To, Route, Contact ...
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes included; empty where there is none.
    pub display: &'a [u8],
    /// The URI. Its scheme may be any.
    pub uri: Uri<'a>,
    /// Header parameters (tag, expires, q, ...). Where the URI stands without `<>`, all parameters are these.
    pub params: Params<'a>,
    /// The whole element as written.
    pub text: &'a [u8],
    tag: Option<&'a str>,
}

/// Where the parts of a name-addr are in its element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameAddrParts {
    display_end: u16,
    uri_start: u16,
    uri_end: u16,
    params_start: u16,
    /// Start and end; both 0 where there is none.
    tag: (u16, u16),
    uri: UriParts,
}

impl<'a> NameAddr<'a> {
    /// Parses one element.
    pub fn parse(element: &'a [u8]) -> Result<NameAddr<'a>, HeaderError> {
        let element = trim(element);
        NameAddrParts::read(element, |_, _| {}).and_then(|parts| parts.name_addr(element)).ok_or(MALFORMED)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }
}

const MALFORMED: HeaderError = HeaderError::Malformed("name-addr");

impl NameAddrParts {
    /// Reads one element without white space around it, showing where each parameter's name and value stand on the way. All of it but a
    /// display name is text then.
    #[inline]
    pub(crate) fn read(
        element: &[u8],
        visit: impl FnMut(Range<usize>, Range<usize>),
    ) -> Option<NameAddrParts> {
        if element.len() > HEADER_BLOCK_OCTETS_MAX {
            return None;
        }
        let display_end = match element.first()? {
            b'<' => 0,
            b'"' => quoted(element)?,
            // Octets beyond ASCII are no token, but a name in another script without quotes is no ambiguity either.
            _ => element.iter().position(|&byte| !is(byte, TOKEN | LWS) && byte.is_ascii())?,
        };
        let bracket = skip_lws(element, display_end);
        if element.get(bracket) != Some(&b'<') {
            return NameAddrParts::read_addr_spec(element, visit);
        }
        let uri_start = bracket + 1;
        let (uri, uri_end) = UriParts::read_bracketed(element, uri_start)?;
        let (params_start, tag) = header_params(element, uri_end + 1, visit)?;
        Some(NameAddrParts {
            display_end: trim(&element[..bracket]).len() as u16,
            uri_start: uri_start as u16,
            uri_end: uri_end as u16,
            params_start,
            tag,
            uri,
        })
    }

    /// Without `<>` a URI holds no `?`, `,` or `;` (RFC 3261 §20.10); what follows a `;` belongs to the header.
    fn read_addr_spec(
        element: &[u8],
        visit: impl FnMut(Range<usize>, Range<usize>),
    ) -> Option<NameAddrParts> {
        let uri_end = element.iter().position(|&byte| byte == b';' || is(byte, LWS)).unwrap_or(element.len());
        let uri = &element[..uri_end];
        if memchr::memchr2(b'?', b',', uri).is_some() {
            return None;
        }
        let uri = UriParts::read(uri).ok()?;
        let (params_start, tag) = header_params(element, uri_end, visit)?;
        Some(NameAddrParts { display_end: 0, uri_start: 0, uri_end: uri_end as u16, params_start, tag, uri })
    }

    /// What was read. `None` would mean that a part is no text, or another element.
    #[inline]
    pub(crate) fn name_addr(self, element: &[u8]) -> Option<NameAddr<'_>> {
        // The display name may be no text.
        let text = lex::text(element.get(usize::from(self.uri_start)..)?)?;
        let part = |start: u16, end: u16| {
            text.get(
                usize::from(start.checked_sub(self.uri_start)?)
                    ..usize::from(end.checked_sub(self.uri_start)?),
            )
        };
        let (tag_start, tag_end) = self.tag;
        Some(NameAddr {
            display: &element[..usize::from(self.display_end)],
            uri: Uri::of_valid(part(self.uri_start, self.uri_end)?, self.uri),
            params: Params { text: text.get(usize::from(self.params_start - self.uri_start)..)? },
            text: element,
            tag: if tag_end > 0 { part(tag_start, tag_end) } else { None },
        })
    }

    /// The tag's octets, which are text.
    #[inline]
    pub(crate) fn tag<'a>(&self, element: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.tag;
        (end > 0).then(|| &element[usize::from(start)..usize::from(end)])
    }
}

/// Where the parameters begin, and where the tag among them is. They are text.
#[inline]
fn header_params(
    element: &[u8],
    at: usize,
    mut visit: impl FnMut(Range<usize>, Range<usize>),
) -> Option<(u16, (u16, u16))> {
    let start = skip_lws(element, at);
    let mut tag = (0, 0);
    let mut has_quotes = false;
    let are_params = visit_params(element, start, |name, value| {
        has_quotes |= element.get(value.start) == Some(&b'"');
        if tag == (0, 0) && is_name(&element[name.clone()], b"tag") {
            tag = (value.start as u16, value.end as u16);
        }
        visit(name, value);
    });
    // Outside of quotes nothing but ASCII was let pass.
    let is_text = are_params && (!has_quotes || lex::text(&element[start..]).is_some());
    is_text.then_some((start as u16, tag))
}
