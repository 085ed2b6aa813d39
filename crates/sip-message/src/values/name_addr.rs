//! name-addr and addr-spec.

use crate::lex::{LWS, TOKEN, are_params, is, quoted, skip_lws, span, trim};
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
        NameAddr::read(trim(element)).ok_or(HeaderError::Malformed("name-addr"))
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }

    fn read(element: &'a [u8]) -> Option<NameAddr<'a>> {
        let display_end = match element.first()? {
            b'"' => quoted(element)?,
            // Octets beyond ASCII are no token, but a name in another script without quotes is no ambiguity either.
            _ => element.iter().position(|&byte| !is(byte, TOKEN | LWS) && byte.is_ascii())?,
        };
        let bracket = skip_lws(element, display_end);
        if element.get(bracket) != Some(&b'<') {
            return NameAddr::read_addr_spec(element);
        }
        let uri_end = bracket + memchr::memchr(b'>', &element[bracket..])?;
        let uri = Uri::parse(str::from_utf8(&element[bracket + 1..uri_end]).ok()?).ok()?;
        let params = header_params(&element[uri_end + 1..])?;
        Some(NameAddr { display: trim(&element[..bracket]), uri, params, text: element })
    }

    /// Without `<>` a URI holds no `?`, `,` or `;` (RFC 3261 §20.10); what follows a `;` belongs to the header.
    fn read_addr_spec(element: &'a [u8]) -> Option<NameAddr<'a>> {
        let uri_end = element.iter().position(|&byte| byte == b';' || is(byte, LWS)).unwrap_or(element.len());
        let text = &element[..uri_end];
        if memchr::memchr2(b'?', b',', text).is_some() {
            return None;
        }
        let uri = Uri::parse(str::from_utf8(text).ok()?).ok()?;
        let params = header_params(&element[uri_end..])?;
        Some(NameAddr { display: b"", uri, params, text: element })
    }
}

fn header_params(bytes: &[u8]) -> Option<Params<'_>> {
    let bytes = &bytes[span(bytes, LWS)..];
    if !are_params(bytes) {
        return None;
    }
    Some(Params { text: str::from_utf8(bytes).ok()? })
}
