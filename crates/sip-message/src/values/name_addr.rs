//! name-addr and addr-spec.

use crate::lex::{LWS, TOKEN, is, quoted, skip_lws, trim, visit_params};
use crate::{HeaderError, Params, Uri};

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
}

impl<'a> NameAddr<'a> {
    /// Parses one element.
    pub fn parse(element: &'a [u8]) -> Result<NameAddr<'a>, HeaderError> {
        NameAddr::parse_with(element, |_, _| {})
    }

    /// [`NameAddr::parse`], showing each parameter's name and value on the way.
    #[inline]
    pub(super) fn parse_with(
        element: &'a [u8],
        visit: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<NameAddr<'a>, HeaderError> {
        NameAddr::read(trim(element), visit).ok_or(HeaderError::Malformed("name-addr"))
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }

    #[inline]
    fn read(element: &'a [u8], visit: impl FnMut(&'a [u8], &'a [u8])) -> Option<NameAddr<'a>> {
        let display_end = match element.first()? {
            b'"' => quoted(element)?,
            // Octets beyond ASCII are no token, but a name in another script without quotes is no ambiguity either.
            _ => element.iter().position(|&byte| !is(byte, TOKEN | LWS) && byte.is_ascii())?,
        };
        let bracket = skip_lws(element, display_end);
        if element.get(bracket) != Some(&b'<') {
            return NameAddr::read_addr_spec(element, visit);
        }
        // The display name may be no text.
        let rest = str::from_utf8(&element[bracket + 1..]).ok()?;
        let uri_end = memchr::memchr(b'>', rest.as_bytes())?;
        let uri = Uri::parse(&rest[..uri_end]).ok()?;
        let params = header_params(&rest[uri_end + 1..], visit)?;
        Some(NameAddr { display: trim(&element[..bracket]), uri, params, text: element })
    }

    /// Without `<>` a URI holds no `?`, `,` or `;` (RFC 3261 §20.10); what follows a `;` belongs to the header.
    fn read_addr_spec(element: &'a [u8], visit: impl FnMut(&'a [u8], &'a [u8])) -> Option<NameAddr<'a>> {
        let uri_end = element.iter().position(|&byte| byte == b';' || is(byte, LWS)).unwrap_or(element.len());
        let (uri, params) = str::from_utf8(element).ok()?.split_at(uri_end);
        if memchr::memchr2(b'?', b',', uri.as_bytes()).is_some() {
            return None;
        }
        let uri = Uri::parse(uri).ok()?;
        let params = header_params(params, visit)?;
        Some(NameAddr { display: b"", uri, params, text: element })
    }
}

#[inline]
fn header_params<'a>(text: &'a str, visit: impl FnMut(&'a [u8], &'a [u8])) -> Option<Params<'a>> {
    let text = &text[skip_lws(text.as_bytes(), 0)..];
    visit_params(text.as_bytes(), visit).then_some(Params { text })
}
