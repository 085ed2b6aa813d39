//! URIs (RFC 3261 §19.1, RFC 3986, RFC 5954).

mod compare;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::HEADER_BLOCK_OCTETS_MAX;
use crate::lex::{
    self, HOST, IPV4, LABEL, PASSWORD, URI_HEADER, URI_PARAM, USER, is, leading_number, span, span_escaped,
};
use crate::values::Params;

/// A parsed URI, borrowed from its text.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a str,
    parts: UriParts,
}

/// Where the parts of a URI are in its text, all of which is ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UriParts {
    kind: Kind,
    port: Option<u16>,
    /// Where the host is one.
    address: Option<IpAddr>,
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

/// Most parameters, and most headers, of a URI. To compare two URIs costs the product of theirs; real ones have up to ten.
const COMPONENTS_MAX: usize = 64;

// A URI stands in a header block, and offsets are kept as u16.
const _: () = assert!(HEADER_BLOCK_OCTETS_MAX <= u16::MAX as usize);

impl<'a> Uri<'a> {
    /// Parses the whole text; blanks, `<>` or anything behind the URI are errors. Strict for sip, sips and tel.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, UriError> {
        Ok(Uri { text, parts: UriParts::read(text.as_bytes())? })
    }

    /// What [`Uri::parse`] gave for the same text before.
    #[inline]
    pub(crate) fn of_valid(text: &'a str, parts: UriParts) -> Uri<'a> {
        Uri { text, parts }
    }

    pub(crate) fn parts(&self) -> UriParts {
        self.parts
    }

    /// The text as written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme<'a> {
        match self.parts.kind {
            Kind::Sip => Scheme::Sip,
            Kind::Sips => Scheme::Sips,
            Kind::Tel => Scheme::Tel,
            Kind::Other => Scheme::Other(&self.text[..usize::from(self.parts.scheme_end)]),
        }
    }

    /// `sip:` or `sips:`.
    pub fn is_sip(&self) -> bool {
        matches!(self.parts.kind, Kind::Sip | Kind::Sips)
    }

    /// The user part as written, without password; `None` where there is none.
    pub fn user(&self) -> Option<&'a str> {
        (self.parts.user_end > 0).then(|| self.slice(self.parts.scheme_end + 1, self.parts.user_end))
    }

    /// The user part with escapes undone once; escapes that are not UTF-8 stay as they are.
    pub fn user_unescaped(&self) -> Option<Cow<'a, str>> {
        self.user().map(unescape)
    }

    /// The host; for other schemes than sip and sips an empty name.
    pub fn host(&self) -> Host<'a> {
        match self.parts.address {
            Some(address) => Host::Address(address),
            None => Host::Name(self.host_text()),
        }
    }

    /// The host as written (IPv6 with brackets).
    pub fn host_text(&self) -> &'a str {
        self.slice(self.parts.host_start, self.parts.host_end)
    }

    /// The port, `None` where none is written.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The URI parameters.
    pub fn params(&self) -> Params<'a> {
        Params { text: self.slice(self.parts.params_start, self.parts.params_end) }
    }

    /// The headers behind `?` as written, without it; empty where there are none.
    pub fn headers_text(&self) -> &'a str {
        self.text[usize::from(self.parts.params_end)..].trim_start_matches('?')
    }

    /// The URI up to its host and port: without parameters and headers (for a binding's key or a Route).
    pub fn without_params(&self) -> &'a str {
        &self.text[..usize::from(self.parts.params_start)]
    }

    /// Whether two URIs are equal by RFC 3261 §19.1.4; tel URIs by RFC 3966 §4.
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        compare::are_equivalent(self, other)
    }

    fn password(&self) -> &'a str {
        // `:password` stands between the user and the `@` before the host.
        match self.parts.kind {
            Kind::Sip | Kind::Sips if self.parts.user_end > 0 => {
                self.slice(self.parts.user_end, self.parts.host_start - 1).trim_start_matches(':')
            }
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

impl UriParts {
    /// See [`Uri::parse`].
    pub(crate) fn read(bytes: &[u8]) -> Result<UriParts, UriError> {
        if bytes.len() > HEADER_BLOCK_OCTETS_MAX {
            return Err(UriError("URI too long"));
        }
        // The common case first, which needs no search.
        if let [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', ..] = bytes {
            return UriParts::read_sip(bytes, 3, Kind::Sip);
        }
        let scheme_end = memchr::memchr(b':', bytes).ok_or(UriError("URI without scheme"))?;
        let scheme = &bytes[..scheme_end];
        if scheme.eq_ignore_ascii_case(b"sips") {
            UriParts::read_sip(bytes, scheme_end, Kind::Sips)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            UriParts::read_tel(bytes, scheme_end)
        } else {
            UriParts::read_other(bytes, scheme_end)
        }
    }

    /// The URI that begins at `start` and ends before a `>`, and where that stands.
    #[inline]
    pub(crate) fn read_bracketed(bytes: &[u8], start: usize) -> Option<(UriParts, usize)> {
        let rest = &bytes[start..];
        // A sip URI without headers ends by itself at what is no part of it.
        if let [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', ..] = rest
            && let Ok(parts) = UriParts::read_sip_front(rest, 3, Kind::Sip)
            && rest.get(usize::from(parts.params_end)) == Some(&b'>')
        {
            return Some((parts, start + usize::from(parts.params_end)));
        }
        let length = memchr::memchr(b'>', rest)?;
        Some((UriParts::read(&rest[..length]).ok()?, start + length))
    }

    fn read_sip(bytes: &[u8], scheme_end: usize, kind: Kind) -> Result<UriParts, UriError> {
        let parts = UriParts::read_sip_front(bytes, scheme_end, kind)?;
        if let Some((mark, headers)) = bytes[usize::from(parts.params_end)..].split_first() {
            if memchr::memchr_iter(b'&', headers).count() >= COMPONENTS_MAX {
                return Err(UriError("URI of too many headers"));
            }
            if *mark != b'?' || headers.is_empty() || span_escaped(headers, URI_HEADER) != headers.len() {
                return Err(UriError("malformed end of URI"));
            }
        }
        Ok(parts)
    }

    /// A sip or sips URI up to the end of its parameters; what follows is not looked at. `bytes` are part of one header block.
    fn read_sip_front(bytes: &[u8], scheme_end: usize, kind: Kind) -> Result<UriParts, UriError> {
        let start = scheme_end + 1;
        let (user_end, host_start) = match userinfo(&bytes[start..]) {
            Some((0, _)) => return Err(UriError("malformed user in URI")),
            Some((user, userinfo)) => (start + user, start + userinfo + 1),
            None => (0, start),
        };
        let (host_length, address) =
            host_at(&bytes[host_start..]).ok_or(UriError("malformed host in URI"))?;
        let host_end = host_start + host_length;
        let mut at = host_end;
        let mut port = None;
        if bytes.get(at) == Some(&b':') {
            let (number, end) = leading_number(bytes, at + 1);
            let number = u16::try_from(number).ok().filter(|_| end > at + 1);
            port = Some(number.ok_or(UriError("malformed port in URI"))?);
            at = end;
        }
        Ok(UriParts {
            kind,
            port,
            address,
            scheme_end: scheme_end as u16,
            user_end: user_end as u16,
            host_start: host_start as u16,
            host_end: host_end as u16,
            params_start: at as u16,
            params_end: params_end(bytes, at)? as u16,
        })
    }

    fn read_tel(bytes: &[u8], scheme_end: usize) -> Result<UriParts, UriError> {
        let number_end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let number = &bytes[scheme_end + 1..number_end];
        let is_visual = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')');
        let fits = match number {
            [b'+', digits @ ..] => {
                digits.iter().all(|byte| byte.is_ascii_digit() || is_visual(byte))
                    && digits.iter().any(u8::is_ascii_digit)
            }
            // RFC 3966 §5.1.5 asks for a phone-context here. Without one it is a dialled number, and whether that means
            // anything is for whoever routes it to say.
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
        Ok(UriParts {
            kind: Kind::Tel,
            port: None,
            address: None,
            scheme_end: scheme_end as u16,
            user_end: end,
            host_start: end,
            host_end: end,
            params_start: end,
            params_end: bytes.len() as u16,
        })
    }

    fn read_other(bytes: &[u8], scheme_end: usize) -> Result<UriParts, UriError> {
        let (scheme, rest) = (&bytes[..scheme_end], &bytes[scheme_end + 1..]);
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(UriError("malformed scheme in URI"));
        }
        let is_uric = |&byte: &u8| byte.is_ascii_graphic() && !b"<>\"".contains(&byte);
        if rest.is_empty() || !rest.iter().all(is_uric) {
            return Err(UriError("malformed URI"));
        }
        let end = bytes.len() as u16;
        Ok(UriParts {
            kind: Kind::Other,
            port: None,
            address: None,
            scheme_end: scheme_end as u16,
            user_end: 0,
            host_start: end,
            host_end: end,
            params_start: end,
            params_end: end,
        })
    }
}

/// The lengths of the user and of the whole userinfo at the front, where an `@` ends it. An `@` elsewhere is left for
/// the host to stumble over.
fn userinfo(bytes: &[u8]) -> Option<(usize, usize)> {
    let user = span_escaped(bytes, USER);
    match bytes.get(user)? {
        b'@' => Some((user, user)),
        b':' => {
            let end = user + 1 + span_escaped(&bytes[user + 1..], PASSWORD);
            (bytes.get(end) == Some(&b'@')).then_some((user, end))
        }
        _ => None,
    }
}

/// The length of the host at the front (brackets of an IPv6 reference included), and the address that it is, if it is one.
pub(crate) fn host_at(bytes: &[u8]) -> Option<(usize, Option<IpAddr>)> {
    match bytes.first()? {
        b'[' => return ipv6_reference(bytes),
        b'0'..=b'9' => {
            if let Some((length, address)) = ipv4_at(bytes) {
                return Some((length, Some(address.into())));
            }
            // Nothing but digits and dots is an address or nothing at all.
            if bytes.get(span(bytes, IPV4)).is_none_or(|&next| !is(next, LABEL)) {
                return None;
            }
        }
        _ => {}
    }
    let length = span(bytes, HOST);
    are_labels(&bytes[..length]).then_some((length, None))
}

/// An IPv6 address in brackets.
#[inline(never)]
fn ipv6_reference(bytes: &[u8]) -> Option<(usize, Option<IpAddr>)> {
    let end = memchr::memchr(b']', bytes)?;
    let address: Ipv6Addr = lex::text(&bytes[1..end])?.parse().ok()?;
    Some((end + 1, Some(address.into())))
}

/// Labels between dots, perhaps a dot behind the last; none empty, and none with a hyphen at either end. All octets are of [`HOST`].
fn are_labels(name: &[u8]) -> bool {
    // Of a host's characters only `-` and `.` are below the digits. Where no two of them meet, and none stands at an end, all is well.
    if let ([b'0'..=u8::MAX, ..], [.., b'0'..=u8::MAX]) = (name, name)
        && !lex::any_two_meet(name, b'0')
    {
        return true;
    }
    are_unusual_labels(name)
}

#[cold]
fn are_unusual_labels(name: &[u8]) -> bool {
    let mut labels = name.strip_suffix(b".").unwrap_or(name).split(|&byte| byte == b'.');
    labels.all(|label| !matches!(label, [] | [b'-', ..] | [.., b'-']))
}

/// Four numbers with dots between them and nothing behind them that would belong to a host.
fn ipv4_at(bytes: &[u8]) -> Option<(usize, Ipv4Addr)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            (bytes.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
        let digits;
        (*octet, digits) = leading_octet(&bytes[at..])?;
        at += digits;
    }
    bytes.get(at).is_none_or(|&next| !is(next, HOST)).then(|| (at, octets.into()))
}

/// A number up to 255 of up to three digits and how many they are; without leading zeros, as they mean octal to some.
#[inline]
fn leading_octet(bytes: &[u8]) -> Option<(u8, usize)> {
    let digit =
        |place: usize| bytes.get(place).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10);
    let first = digit(0)?;
    let Some(second) = digit(1) else { return Some((first, 1)) };
    if first == 0 {
        return None;
    }
    let two = first * 10 + second;
    match digit(2) {
        Some(third) => Some((two.checked_mul(10)?.checked_add(third)?, 3)),
        None => Some((two, 2)),
    }
}

/// Where `*( ";" uri-parameter )` that begins at `at` ends.
fn params_end(bytes: &[u8], mut at: usize) -> Result<usize, UriError> {
    const MALFORMED: UriError = UriError("malformed parameter in URI");
    let mut count = 0;
    while bytes.get(at) == Some(&b';') {
        count += 1;
        if count > COMPONENTS_MAX {
            return Err(UriError("URI of too many parameters"));
        }
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
