//! The facts of a SUBSCRIBE (RFC 6665 §8.1).

use std::borrow::Cow;

use sip_message::{HeaderId, Message, Params};

use super::AskedRates;

/// What a SUBSCRIBE says, borrowed from it.
#[derive(Clone, Debug)]
pub struct Subscribe<'m> {
    /// The request, which passed `validate`.
    pub message: &'m Message,
    /// The event package with its templates, as written.
    pub package: &'m str,
    /// Event's `id`.
    pub event_id: Option<&'m str>,
    /// To's tag: there, the request belongs to a dialog.
    pub to_tag: Option<&'m str>,
    /// Expires, in seconds.
    pub expires_seconds: Option<u32>,
    /// How often it wants to be notified (RFC 6446).
    pub rates: AskedRates,
    /// Suppress-If-Match: the state that it knows, or `*` (RFC 5839 §7.2).
    pub suppress_if_match: Option<&'m str>,
    /// Accept, as written, its lines as one; where it is missing, the package's default is meant.
    pub accept: Option<Cow<'m, str>>,
}

/// Why a SUBSCRIBE is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// In words, for the operator and the reason phrase.
    pub reason: &'static str,
    /// With 423: the value of Min-Expires, in seconds.
    pub min_expires_seconds: Option<u32>,
    /// With 500 and 503: the value of Retry-After, in seconds.
    pub retry_after_seconds: Option<u32>,
}

impl Refusal {
    /// One that says no more than that.
    pub fn new(status: u16, reason: &'static str) -> Refusal {
        Refusal { status, reason, min_expires_seconds: None, retry_after_seconds: None }
    }
}

impl<'m> Subscribe<'m> {
    /// Reads a SUBSCRIBE. One without Event asks for the package of RFC 2543's day, which nobody has: 489 (RFC 6665 §4.2.1.1).
    pub fn read(message: &'m Message) -> Result<Subscribe<'m>, Refusal> {
        let malformed = |reason| move |_| Refusal::new(400, reason);
        let (package, params) = event_of(message)?;
        let event_id = params.get("id");
        if event_id.is_some_and(|id| id.is_empty() || !id.bytes().all(is_token)) {
            return Err(Refusal::new(400, "Event is malformed"));
        }
        let to = message.to().map_err(|_| Refusal::new(400, "To is malformed"))?;
        let expires_seconds = message.number(HeaderId::Expires).map_err(malformed("Expires is malformed"))?;
        let accept = accept_of(message)?;
        let rates = AskedRates::read(&params);
        let suppress_if_match = message.header(HeaderId::SuppressIfMatch).map(str::from_utf8).transpose();
        let suppress_if_match =
            suppress_if_match.map_err(|_| Refusal::new(400, "Suppress-If-Match is malformed"))?;
        let to_tag = to.tag();
        Ok(Subscribe {
            message,
            package,
            event_id,
            to_tag,
            expires_seconds,
            rates,
            suppress_if_match,
            accept,
        })
    }

    /// Whether the watcher knows what it would be told, whose entity tag is `current` (RFC 5839 §6.3). `*` stands for whatever
    /// there is.
    pub(super) fn is_known(&self, current: Option<&str>) -> bool {
        self.suppress_if_match.is_some_and(|known| known == "*" || Some(known) == current)
    }
}

/// The event package that a request names, as written, and the parameters behind it.
pub(crate) fn event_of(message: &Message) -> Result<(&str, Params<'_>), Refusal> {
    let event = message.header(HeaderId::Event).ok_or(Refusal::new(489, "Event is missing"))?;
    let event = str::from_utf8(event).map_err(|_| Refusal::new(400, "Event is malformed"))?;
    let (package, params) = event.split_at(event.find(';').unwrap_or(event.len()));
    let package = package.trim();
    if package.is_empty() || !package.bytes().all(is_token) {
        return Err(Refusal::new(400, "Event is malformed"));
    }
    Ok((package, Params { text: params }))
}

/// All lines of Accept as one (RFC 3261 §7.3.1). COMPAT: linphonec 5.1.65 writes a line for each type.
fn accept_of(message: &Message) -> Result<Option<Cow<'_, str>>, Refusal> {
    let malformed = |_| Refusal::new(400, "Accept is malformed");
    let mut lines = message.values(HeaderId::Accept).map(|line| str::from_utf8(line).map_err(malformed));
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut accept = Cow::Borrowed(first);
    for line in lines {
        let accept = accept.to_mut();
        accept.push_str(", ");
        accept.push_str(line?);
    }
    Ok(Some(accept))
}

/// The duration that is granted, in seconds: none wanted is the default, too short is refused (RFC 6665 §4.2.1.1, RFC 3903 §6
/// step 5), too long is cut; 0 is an end.
pub(crate) fn granted(wanted: Option<u32>, default: u32, min: u32, max: u32) -> Result<u32, Refusal> {
    let wanted = wanted.unwrap_or(default);
    if (1..min).contains(&wanted) {
        let too_brief = Refusal::new(423, "the interval is too brief");
        return Err(Refusal { min_expires_seconds: Some(min), ..too_brief });
    }
    Ok(wanted.min(max))
}

/// RFC 3261 §25.1.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}
