//! URIs (RFC 3261 §19.1, RFC 3986, RFC 5954).

use std::borrow::Cow;
use std::net::IpAddr;

use crate::values::Params;

/// A parsed URI, borrowed from its text.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a str,
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

impl<'a> Uri<'a> {
    /// Parses the whole text; blanks, `<>` or anything behind the URI are errors. Strict for sip, sips and tel.
    pub fn parse(_text: &'a str) -> Result<Uri<'a>, UriError> {
        todo!()
    }

    /// The text as written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme<'a> {
        todo!()
    }

    /// `sip:` or `sips:`.
    pub fn is_sip(&self) -> bool {
        todo!()
    }

    /// The user part as written, without password; `None` where there is none.
    pub fn user(&self) -> Option<&'a str> {
        todo!()
    }

    /// The user part with escapes undone once; escapes that are not UTF-8 stay as they are.
    pub fn user_unescaped(&self) -> Option<Cow<'a, str>> {
        todo!()
    }

    /// The host; for other schemes than sip and sips an empty name.
    pub fn host(&self) -> Host<'a> {
        todo!()
    }

    /// The host as written (IPv6 with brackets).
    pub fn host_text(&self) -> &'a str {
        todo!()
    }

    /// The port, `None` where none is written.
    pub fn port(&self) -> Option<u16> {
        todo!()
    }

    /// The URI parameters.
    pub fn params(&self) -> Params<'a> {
        todo!()
    }

    /// The headers behind `?` as written, without it; empty where there are none.
    pub fn headers_text(&self) -> &'a str {
        todo!()
    }

    /// The URI up to its host and port: without parameters and headers (for a binding's key or a Route).
    pub fn without_params(&self) -> &'a str {
        todo!()
    }

    /// Whether two URIs are equal by RFC 3261 §19.1.4.
    pub fn is_equivalent(&self, _other: &Uri<'_>) -> bool {
        todo!()
    }
}
