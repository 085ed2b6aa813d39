//! What every role checks of a request, whoever sent it: scheme, hops, extensions (RFC 3261 §16.3); and how it refuses.
//!
//! A role's own steps stand before, between and behind these. Each check goes on or gives a [`Refusal`]: it tells the operator
//! why, and the stranger no more than its status.

use std::hash::Hasher;
use std::net::IpAddr;

use sip_message::{HeaderId, Host, Message, ResponseBuilder, Scheme, Uri, Via};
use siphasher::sip::SipHasher13;

use crate::dialog;
use crate::digits::{Hex, hex};
use crate::stack::Stack;

/// Retry-After where something is not ready yet or a table is full: a role starts and tables drain within a second or two.
pub const RETRY_AFTER_SECONDS: u64 = 2;

/// How a request is answered when a step does not let it pass.
#[derive(Debug)]
pub struct Refusal {
    /// The status, 400 or more.
    pub status: u16,
    /// For the operator; a constant, so that it can be counted.
    pub reason: &'static str,
    /// Further headers of the answer.
    pub headers: Vec<(HeaderId, String)>,
    /// Whether it is answered in its transaction: what the request did already must not be done again when it is resent.
    pub is_kept: bool,
}

impl Refusal {
    /// Answered without keeping anything.
    pub fn new(status: u16, reason: &'static str) -> Refusal {
        Refusal { status, reason, headers: Vec::new(), is_kept: false }
    }

    /// 503 with [`RETRY_AFTER_SECONDS`].
    pub fn later(reason: &'static str) -> Refusal {
        Refusal::new(503, reason).with(HeaderId::RetryAfter, RETRY_AFTER_SECONDS.to_string())
    }

    /// With one more header.
    pub fn with(mut self, id: HeaderId, value: impl Into<String>) -> Refusal {
        self.headers.push((id, value.into()));
        self
    }

    /// Answered in the request's transaction.
    pub fn kept(mut self) -> Refusal {
        self.is_kept = true;
        self
    }

    /// The answer, but for the tag of its To.
    pub fn response<'m>(&self, request: &'m Message) -> ResponseBuilder<'m> {
        let mut response = ResponseBuilder::new(request, self.status);
        for (id, value) in &self.headers {
            response.header(*id, value);
        }
        response
    }
}

/// But for Allow-Events of a 489, which only the role knows.
impl From<dialog::Refusal> for Refusal {
    fn from(refusal: dialog::Refusal) -> Refusal {
        let mut refused = Refusal::new(refusal.status, refusal.reason);
        if let Some(seconds) = refusal.min_expires_seconds {
            refused = refused.with(HeaderId::MinExpires, seconds.to_string());
        }
        if let Some(seconds) = refusal.retry_after_seconds {
            refused = refused.with(HeaderId::RetryAfter, seconds.to_string());
        }
        refused
    }
}

/// RFC 3261 §16.3 step 2: what is no SIP is not routed.
pub fn check_scheme(uri: Option<&Uri<'_>>) -> Result<(), Refusal> {
    match uri.map(Uri::scheme) {
        Some(Scheme::Sip | Scheme::Sips) => Ok(()),
        _ => Err(Refusal::new(416, "the scheme of the Request-URI is not known here")),
    }
}

/// RFC 3261 §16.3 step 3. `ends_here` says whether the request goes no further.
pub fn check_max_forwards(request: &Message, ends_here: impl FnOnce() -> bool) -> Result<(), Refusal> {
    if request.max_forwards() == Ok(Some(0)) && !ends_here() {
        return Err(Refusal::new(483, "Max-Forwards is used up"));
    }
    Ok(())
}

/// RFC 3261 §16.3 step 4, RFC 5393 §4.2.
pub fn check_loop(request: &Message, stack: &Stack) -> Result<(), Refusal> {
    if stack.is_loop(request) {
        return Err(Refusal::new(482, "the request was here before"));
    }
    Ok(())
}

/// RFC 3261 §16.3 step 5: `known` are the extensions that a proxy here may be asked for.
pub fn check_proxy_require(request: &Message, known: &[&str]) -> Result<(), Refusal> {
    let reason = "Proxy-Require demands an extension that is not known here";
    check_tags(request, HeaderId::ProxyRequire, known, reason)
}

/// RFC 3261 §8.2.2.3, for the end of a request: `known` are the extensions that the end may be asked for.
pub fn check_require(request: &Message, known: &[&str]) -> Result<(), Refusal> {
    check_tags(request, HeaderId::Require, known, "Require demands an extension that is not known here")
}

fn check_tags(request: &Message, id: HeaderId, known: &[&str], reason: &'static str) -> Result<(), Refusal> {
    if request.header(id).is_none() {
        return Ok(());
    }
    let tags = request.elements(id).filter_map(|tag| std::str::from_utf8(tag).ok());
    let unknown: Vec<&str> = tags.filter(|tag| !known.iter().any(|k| k.eq_ignore_ascii_case(tag))).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(420, reason).with(HeaderId::Unsupported, unknown.join(", ")))
}

/// The address of the client whose request another server passed on: that server saw it and wrote it into the client's Via
/// (RFC 3261 §18.2.1, RFC 3581 §4). To be asked where that server is believed.
pub fn client_address(request: &Message) -> Option<IpAddr> {
    let via = Via::parse(request.elements(HeaderId::Via).nth(1)?).ok()?;
    match via.params.get("received") {
        Some(received) => received.trim_matches(['[', ']']).parse().ok(),
        None => match via.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        },
    }
}

/// A tag for To that is the same each time the same request is answered (RFC 3261 §8.2.7).
pub fn to_tag(key: &[u8; 16], request: &Message) -> Tag {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(request.header(HeaderId::CallId).unwrap_or(b""));
    hasher.write(request.header(HeaderId::From).unwrap_or(b""));
    Tag(hex(hasher.finish()))
}

/// A tag of ours, in hexadecimal.
pub struct Tag(Hex);

impl Tag {
    /// Its sixteen digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
