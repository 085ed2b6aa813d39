//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4).

use super::{Host, Kind, Uri};
use crate::values::Params;

pub(super) fn are_equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if a.parts.kind != b.parts.kind {
        return false;
    }
    match a.parts.kind {
        Kind::Sip | Kind::Sips => are_sip_equivalent(a, b),
        Kind::Tel => are_tel_equivalent(a, b),
        Kind::Other => {
            let (a_scheme, a_rest) = a.text.split_at(usize::from(a.parts.scheme_end));
            let (b_scheme, b_rest) = b.text.split_at(usize::from(b.parts.scheme_end));
            a_scheme.eq_ignore_ascii_case(b_scheme) && a_rest == b_rest
        }
    }
}

fn are_sip_equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let same_user = match (a.user(), b.user()) {
        (Some(a), Some(b)) => octets(a).eq(octets(b)),
        (None, None) => true,
        _ => false,
    };
    same_user
        && octets(a.password()).eq(octets(b.password()))
        && are_hosts_equivalent(a.host(), b.host())
        && a.port() == b.port()
        && covers(a.params(), b.params())
        && covers(b.params(), a.params())
        && are_headers_equivalent(a.headers_text(), b.headers_text())
}

fn are_hosts_equivalent(a: Host<'_>, b: Host<'_>) -> bool {
    match (a, b) {
        (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
        (a, b) => a == b,
    }
}

/// Whether every parameter of `a` agrees with `b`: those of the list below must stand in both, others count only
/// where they do. (`transport` is in the list by the RFC's example of `sip:bob@biloxi.com;transport=udp`.)
fn covers(a: Params<'_>, b: Params<'_>) -> bool {
    const IN_BOTH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
    a.iter().all(|(name, value)| {
        let mut same_name = b.iter().filter(|(other, _)| is_same_name(name, other)).peekable();
        if same_name.peek().is_none() {
            return !IN_BOTH.iter().any(|required| is_same_name(name, required));
        }
        same_name.any(|(_, other)| octets(value).eq_by_case(octets(other)))
    })
}

/// Header components count always, in any order. Their values are compared octet by octet: what is equivalent beyond
/// that depends on each header, and to find two URIs different is the safe error.
fn are_headers_equivalent(a: &str, b: &str) -> bool {
    let covers = |a: &str, b: &str| {
        a.split('&').all(|header| {
            let (name, value) = header.split_once('=').unwrap_or((header, ""));
            b.split('&').any(|other| {
                let (other_name, other_value) = other.split_once('=').unwrap_or((other, ""));
                is_same_name(name, other_name) && octets(value).eq(octets(other_value))
            })
        })
    };
    a.split('&').count() == b.split('&').count() && covers(a, b) && covers(b, a)
}

fn are_tel_equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let digits = |uri: &Uri<'_>| {
        let number = uri.user().unwrap_or("").bytes();
        number
            .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'))
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<u8>>()
    };
    let covers = |a: Params<'_>, b: Params<'_>| {
        a.iter().all(|(name, value)| {
            b.iter().any(|(other_name, other)| is_same_name(name, other_name) && is_same_name(value, other))
        })
    };
    digits(a) == digits(b) && covers(a.params(), b.params()) && covers(b.params(), a.params())
}

fn is_same_name(a: &str, b: &str) -> bool {
    octets(a).eq_by_case(octets(b))
}

/// One octet of a URI. An escaped reserved character is something else than the character itself (RFC 3986 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Octet {
    pub(super) value: u8,
    is_escaped_reserved: bool,
}

/// A text with `%HH` undone once.
pub(super) fn octets(text: &str) -> Octets<'_> {
    Octets { rest: text.as_bytes() }
}

pub(super) struct Octets<'a> {
    rest: &'a [u8],
}

impl Octets<'_> {
    fn eq_by_case(self, other: Octets<'_>) -> bool {
        let fold = |octet: Octet| Octet { value: octet.value.to_ascii_lowercase(), ..octet };
        self.map(fold).eq(other.map(fold))
    }
}

impl Iterator for Octets<'_> {
    type Item = Octet;

    fn next(&mut self) -> Option<Octet> {
        if let [b'%', high, low, rest @ ..] = self.rest
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            let value = high * 16 + low;
            self.rest = rest;
            return Some(Octet { value, is_escaped_reserved: b";/?:@&=+$,".contains(&value) });
        }
        let (&value, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(Octet { value, is_escaped_reserved: false })
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
