//! Header values that somebody here acts on, parsed when asked for and borrowed from the message.

use std::borrow::Cow;

use crate::{Host, Uri};

/// Why a header value could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is malformed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// It must stand once and stands several times.
    #[error("{0} stands more than once")]
    Repeated(&'static str),
}

/// `;name=value` parameters, in order, names compared without case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    /// As written, from the first `;` on; empty where there are none.
    pub text: &'a str,
}

impl<'a> Params<'a> {
    /// The value of a parameter as written (quotes included); `Some("")` where it stands without a value.
    pub fn get(&self, _name: &str) -> Option<&'a str> {
        todo!()
    }

    /// The value with quotes and their escapes undone.
    pub fn get_unquoted(&self, _name: &str) -> Option<Cow<'a, str>> {
        todo!()
    }

    /// Whether it stands there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        std::iter::empty()
    }
}

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
    /// The branch, `None` where there is none (RFC 2543 clients).
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }
}

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
    pub fn parse(_element: &'a [u8]) -> Result<NameAddr<'a>, HeaderError> {
        todo!()
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number, below 2**32 as read (RFC 3261 §8.1.1.5 asks senders for below 2**31).
    pub number: u32,
    /// The method.
    pub method: crate::Method<'a>,
}

/// All Contact values of a message.
#[derive(Clone, Debug)]
pub enum Contacts<'a> {
    /// `Contact: *`
    Star,
    /// The list; empty where there is no Contact.
    List(Vec<ContactValue<'a>>),
}

/// One Contact value.
#[derive(Clone, Copy, Debug)]
pub struct ContactValue<'a> {
    /// Name, URI and all parameters.
    pub addr: NameAddr<'a>,
    /// `expires`; `None` where there is none or it is no number (RFC 3261 §10.3: then 3600 is meant by malformed ones).
    pub expires: Option<u32>,
    /// `q` in thousandths; `None` where there is none.
    pub q: Option<u16>,
}

/// `Retry-After` (RFC 3261 §20.33): only the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// How long to wait.
    pub seconds: u32,
}

/// Scheme and comma-separated parameters of an Authorization, Proxy-Authorization, WWW-Authenticate,
/// Proxy-Authenticate or Authentication-Info value (RFC 3261 §20.7, RFC 7616 §3.3, §3.4).
#[derive(Clone, Copy, Debug)]
pub struct AuthParams<'a> {
    /// `Digest`, `Bearer`, ...; empty for Authentication-Info.
    pub scheme: &'a str,
    /// Everything behind the scheme, as written.
    pub text: &'a str,
}

impl<'a> AuthParams<'a> {
    /// Parses a value that begins with a scheme.
    pub fn parse(_value: &'a [u8]) -> Result<AuthParams<'a>, HeaderError> {
        todo!()
    }

    /// A parameter's value, quotes and escapes undone; names compare without case.
    pub fn get(&self, _name: &str) -> Option<Cow<'a, str>> {
        todo!()
    }
}
