//! URIs (RFC 3261 §19.1, RFC 3986, RFC 5954).

mod compare;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::HEADER_BLOCK_OCTETS_MAX;
use crate::lex::{HOST, PASSWORD, URI_HEADER, URI_PARAM, USER, decimal, is, span, span_escaped};
use crate::values::Params;

/// A parsed URI, borrowed from its text.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a str,
    host: Host<'a>,
    kind: Kind,
    port: Option<u16>,
    scheme_end: u16,
    /// End of the user or number; 0 where there is none.
    user_end: u16,
    host_start: u16,
    host_end: u16,
    params_start: u16,
    params_end: u16,
}

/// What a URI begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966); [`Uri::user`] is the number with its parameters cut off.
    Tel,
    /// Anything else, syntactically a scheme; nothing behind it is parsed.
    Other(&'a str),
}

/// A host: a name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A DNS name as written.
    Name(&'a str),
    /// An address; IPv6 without its brackets.
    Address(IpAddr),
}

/// Why a text is no URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(pub &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sip,
    Sips,
    Tel,
    Other,
}

// A URI stands in a header block, and offsets are kept as u16.
const _: () = assert!(HEADER_BLOCK_OCTETS_MAX <= u16::MAX as usize);

impl<'a> Uri<'a> {
    /// Parses the whole text; blanks, `<>` or anything behind the URI are errors. Strict for sip, sips and tel.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, UriError> {
        if text.len() > HEADER_BLOCK_OCTETS_MAX {
            return Err(UriError("URI too long"));
        }
        let bytes = text.as_bytes();
        let scheme_end = memchr::memchr(b':', bytes).ok_or(UriError("URI without scheme"))?;
        let scheme = &bytes[..scheme_end];
        if scheme.eq_ignore_ascii_case(b"sip") {
            Uri::parse_sip(text, scheme_end, Kind::Sip)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            Uri::parse_sip(text, scheme_end, Kind::Sips)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            Uri::parse_tel(text, scheme_end)
        } else {
            Uri::parse_other(text, scheme_end)
        }
    }

    fn parse_sip(text: &'a str, scheme_end: usize, kind: Kind) -> Result<Uri<'a>, UriError> {
        let bytes = text.as_bytes();
        let mut user_end = 0;
        let mut host_start = scheme_end + 1;
        if let Some(at) = memchr::memchr(b'@', &bytes[host_start..]) {
            let user_start = host_start;
            let userinfo = &bytes[user_start..user_start + at];
            let user = span_escaped(userinfo, USER);
            let rest = &userinfo[user..];
            let password_fits = match rest {
                [] => true,
                [b':', password @ ..] => span_escaped(password, PASSWORD) == password.len(),
                _ => false,
            };
            if user == 0 || !password_fits {
                return Err(UriError("malformed user in URI"));
            }
            user_end = user_start + user;
            host_start = user_start + at + 1;
        }
        let (host, host_length) = host_at(&text[host_start..]).ok_or(UriError("malformed host in URI"))?;
        let host_end = host_start + host_length;
        let mut at = host_end;
        let mut port = None;
        if bytes.get(at) == Some(&b':') {
            let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = decimal(&bytes[at + 1..at + 1 + digits]).and_then(|port| u16::try_from(port).ok());
            port = Some(number.ok_or(UriError("malformed port in URI"))?);
            at += 1 + digits;
        }
        let params_start = at;
        let params_end = params_end(bytes, at)?;
        if let Some((mark, headers)) = bytes[params_end..].split_first() {
            if *mark != b'?' || headers.is_empty() || span_escaped(headers, URI_HEADER) != headers.len() {
                return Err(UriError("malformed end of URI"));
            }
        }
        Ok(Uri {
            text,
            host,
            kind,
            port,
            scheme_end: scheme_end as u16,
            user_end: user_end as u16,
            host_start: host_start as u16,
            host_end: host_end as u16,
            params_start: params_start as u16,
            params_end: params_end as u16,
        })
    }

    fn parse_tel(text: &'a str, scheme_end: usize) -> Result<Uri<'a>, UriError> {
        let bytes = text.as_bytes();
        let number_end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let number = &bytes[scheme_end + 1..number_end];
        let is_visual = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')');
        let fits = match number {
            [b'+', digits @ ..] => {
                digits.iter().all(|byte| byte.is_ascii_digit() || is_visual(byte))
                    && digits.iter().any(u8::is_ascii_digit)
            }
            // RFC 3966 §5.1.5 asks for a phone-context here. COMPAT: dialled numbers come without one from many
            // phones, and whoever routes them knows what they mean.
            digits => {
                let is_digit = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#');
                digits.iter().all(|byte| is_digit(byte) || is_visual(byte)) && digits.iter().any(is_digit)
            }
        };
        if !fits {
            return Err(UriError("malformed number in URI"));
        }
        if params_end(bytes, number_end)? != bytes.len() {
            return Err(UriError("malformed end of URI"));
        }
        let end = number_end as u16;
        Ok(Uri {
            text,
            host: Host::Name(""),
            kind: Kind::Tel,
            port: None,
            scheme_end: scheme_end as u16,
            user_end: end,
            host_start: end,
            host_end: end,
            params_start: end,
            params_end: text.len() as u16,
        })
    }

    fn parse_other(text: &'a str, scheme_end: usize) -> Result<Uri<'a>, UriError> {
        let (scheme, rest) = (&text.as_bytes()[..scheme_end], &text.as_bytes()[scheme_end + 1..]);
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(UriError("malformed scheme in URI"));
        }
        let is_uric = |&byte: &u8| byte.is_ascii_graphic() && !b"<>\"".contains(&byte);
        if rest.is_empty() || !rest.iter().all(is_uric) {
            return Err(UriError("malformed URI"));
        }
        let end = text.len() as u16;
        Ok(Uri {
            text,
            host: Host::Name(""),
            kind: Kind::Other,
            port: None,
            scheme_end: scheme_end as u16,
            user_end: 0,
            host_start: end,
            host_end: end,
            params_start: end,
            params_end: end,
        })
    }

    /// The text as written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme<'a> {
        match self.kind {
            Kind::Sip => Scheme::Sip,
            Kind::Sips => Scheme::Sips,
            Kind::Tel => Scheme::Tel,
            Kind::Other => Scheme::Other(&self.text[..usize::from(self.scheme_end)]),
        }
    }

    /// `sip:` or `sips:`.
    pub fn is_sip(&self) -> bool {
        matches!(self.kind, Kind::Sip | Kind::Sips)
    }

    /// The user part as written, without password; `None` where there is none.
    pub fn user(&self) -> Option<&'a str> {
        (self.user_end > 0).then(|| self.slice(self.scheme_end + 1, self.user_end))
    }

    /// The user part with escapes undone once; escapes that are not UTF-8 stay as they are.
    pub fn user_unescaped(&self) -> Option<Cow<'a, str>> {
        self.user().map(unescape)
    }

    /// The host; for other schemes than sip and sips an empty name.
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// The host as written (IPv6 with brackets).
    pub fn host_text(&self) -> &'a str {
        self.slice(self.host_start, self.host_end)
    }

    /// The port, `None` where none is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters.
    pub fn params(&self) -> Params<'a> {
        Params { text: self.slice(self.params_start, self.params_end) }
    }

    /// The headers behind `?` as written, without it; empty where there are none.
    pub fn headers_text(&self) -> &'a str {
        self.text[usize::from(self.params_end)..].trim_start_matches('?')
    }

    /// The URI up to its host and port: without parameters and headers (for a binding's key or a Route).
    pub fn without_params(&self) -> &'a str {
        &self.text[..usize::from(self.params_start)]
    }

    /// Whether two URIs are equal by RFC 3261 §19.1.4; tel URIs by RFC 3966 §4.
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        compare::are_equivalent(self, other)
    }

    fn password(&self) -> &'a str {
        // `:password` stands between the user and the `@` before the host.
        match self.kind {
            Kind::Sip | Kind::Sips if self.user_end > 0 => self.slice(self.user_end, self.host_start - 1),
            _ => "",
        }
    }

    fn slice(&self, start: u16, end: u16) -> &'a str {
        &self.text[usize::from(start)..usize::from(end)]
    }
}

impl std::fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

/// The host at the front of a text and its length (brackets of an IPv6 reference included).
pub(crate) fn host_at(text: &str) -> Option<(Host<'_>, usize)> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'[') {
        let end = memchr::memchr(b']', bytes)?;
        let address: Ipv6Addr = text[1..end].parse().ok()?;
        return Some((Host::Address(address.into()), end + 1));
    }
    let length = span(bytes, HOST);
    let name = &text[..length];
    if bytes.get(..length)?.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.') {
        let address: Ipv4Addr = name.parse().ok()?;
        return Some((Host::Address(address.into()), length));
    }
    is_host_name(name.as_bytes()).then_some((Host::Name(name), length))
}

/// Dot-separated labels without a hyphen at either end, and perhaps a dot behind the last.
fn is_host_name(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.split(|&byte| byte == b'.').all(|label| {
        let at_edge = |byte: Option<&u8>| byte.is_some_and(|&byte| byte != b'-' && is(byte, HOST));
        at_edge(label.first()) && at_edge(label.last())
    })
}

/// Where `*( ";" uri-parameter )` that begins at `at` ends.
fn params_end(bytes: &[u8], mut at: usize) -> Result<usize, UriError> {
    const MALFORMED: UriError = UriError("malformed parameter in URI");
    while bytes.get(at) == Some(&b';') {
        at += 1;
        let name = span_escaped(&bytes[at..], URI_PARAM);
        if name == 0 {
            return Err(MALFORMED);
        }
        at += name;
        if bytes.get(at) == Some(&b'=') {
            let value = span_escaped(&bytes[at + 1..], URI_PARAM);
            if value == 0 {
                return Err(MALFORMED);
            }
            at += 1 + value;
        }
    }
    Ok(at)
}

/// Undoes `%HH` once.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let plain = compare::octets(text).map(|octet| octet.value).collect();
    String::from_utf8(plain).map_or(Cow::Borrowed(text), Cow::Owned)
}
