//! A message: one buffer and an index.

mod found;
mod index;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use self::found::Found;
use crate::edit::Written;
use crate::lex::{self, Elements};
use crate::values::{AuthParams, CSeq, Contacts, HeaderError, NameAddr, RetryAfter, Via};
use crate::{Header, HeaderId, Method, Uri, UriError};

/// A SIP request or response: its octets, and where its headers are. It is one pointer: cheap to move, and a clone shares
/// everything, what [`Message::validate`] found included.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) parsed: Arc<Parsed>,
}

/// What a [`Message`] points at.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) bytes: Bytes,
    pub(crate) start: StartLine,
    /// Of a request, where it is one that has a name here.
    method: Option<Method<'static>>,
    /// Where the first header line begins.
    pub(crate) headers_start: u16,
    /// Where the empty line behind the headers begins.
    pub(crate) headers_end: u16,
    /// Where the body begins.
    pub(crate) body_start: u16,
    pub(crate) slots: Slots,
    /// Of the headers in the slots: most of what is asked for is not there.
    filter: HeaderFilter,
    /// Empty until [`Message::validate`] has let the message pass.
    found: OnceLock<Found>,
}

type Slots = SmallVec<[Slot; SLOTS_INLINE]>;

/// Header lines that are indexed without a heap allocation: three Vias, three Record-Routes and what a request has besides.
const SLOTS_INLINE: usize = 20;

/// Where one header line is; it ends where the next begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) start: u16,
    pub(crate) name_end: u16,
    pub(crate) value_start: u16,
    pub(crate) value_end: u16,
    pub(crate) id: HeaderId,
}

/// Tells for most headers that are not there that they are not. A few share a bit.
#[derive(Clone, Copy, Debug, Default)]
struct HeaderFilter(u64);

impl HeaderFilter {
    #[inline]
    fn insert(&mut self, id: HeaderId) {
        self.0 |= 1 << (id as u8 % 64);
    }

    /// `false` is certain.
    #[inline]
    fn may_have(self, id: HeaderId) -> bool {
        self.0 & 1 << (id as u8 % 64) != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StartLine {
    Request { method_end: u16, uri_start: u16, uri_end: u16 },
    Response { status: u16, reason_start: u16, reason_end: u16 },
}

/// Octets that are no SIP message. `answerable` holds as much of a request as could be indexed (start line and
/// the headers that are lines of a header at all), so that a request over UDP can still be refused with
/// [`crate::ResponseBuilder`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ParseError {
    /// The status that refuses it: 400, 413, 505, 513.
    pub status: u16,
    /// In words, for the operator.
    pub reason: &'static str,
    /// What can be answered: a request with at least one Via.
    pub answerable: Option<Box<Message>>,
}

/// A message whose structure is whole but whose content breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The status that refuses it: 400, 416, 501, 505.
    pub status: u16,
    /// In words, for the operator and the reason phrase.
    pub reason: &'static str,
}

impl Message {
    /// Indexes one whole message: a datagram, or what `framing` cut out of a stream. Octets beyond Content-Length are
    /// dropped (RFC 3261 §18.3); fewer are an error. Leading CRLFs are skipped (RFC 3261 §7.5). Values are not looked at, except Content-Length.
    pub fn parse(bytes: Bytes) -> Result<Message, ParseError> {
        index::index(bytes)
    }

    /// What `parse` gives for `bytes`, which an edit of `received` wrote with these lines. `None` where it does not fit into the limits, or
    /// where the edit brought a line that is none.
    pub(crate) fn of_lines(
        bytes: &Bytes,
        received: &Message,
        body_length: usize,
        lines: &[Written],
    ) -> Option<Message> {
        index::of_lines(bytes, received, body_length, lines)
    }

    /// Checks what every element must be able to rely on before it acts: the headers that RFC 3261 §8.1.1 demands,
    /// once each and well formed (Via, From, To, Call-ID, CSeq, Max-Forwards if there, Contact, Route, Record-Route, Date ...),
    /// CSeq's method equal to the request's, Request-URI well formed. Does not refuse unknown schemes, methods or extensions: that is policy.
    ///
    /// Once it has let the message pass, what it found is remembered: to ask again costs nothing, and `request_uri`,
    /// `top_via`, `from`, `to`, `call_id`, `cseq`, `max_forwards` and, of a message with one Contact, `contacts` no longer parse.
    pub fn validate(&self) -> Result<(), Rejection> {
        if self.parsed.found.get().is_none() {
            let found = validate::validate(self)?;
            self.parsed.found.get_or_init(|| found);
        }
        Ok(())
    }

    /// The octets, from the start line to the end of the body.
    pub fn bytes(&self) -> &Bytes {
        &self.parsed.bytes
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.parsed.start, StartLine::Request { .. })
    }

    /// The request's method, or for a response the method of its CSeq (`Other("")` where that is malformed).
    pub fn method(&self) -> Method<'_> {
        if let Some(method) = self.parsed.method {
            return method;
        }
        match self.parsed.start {
            StartLine::Request { method_end, .. } => Method::Other(self.text(0, method_end)),
            StartLine::Response { .. } => self.cseq().map_or(Method::Other(""), |cseq| cseq.method),
        }
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri_text(&self) -> &str {
        match self.parsed.start {
            StartLine::Request { uri_start, uri_end, .. } => self.text(uri_start, uri_end),
            StartLine::Response { .. } => "",
        }
    }

    /// The Request-URI; for a response an error.
    pub fn request_uri(&self) -> Result<Uri<'_>, UriError> {
        match self.parsed.start {
            StartLine::Request { .. } => match self.parsed.found.get().and_then(|found| found.request_uri) {
                Some(parts) => Ok(Uri::of_valid(self.request_uri_text(), parts)),
                None => Uri::parse(self.request_uri_text()),
            },
            StartLine::Response { .. } => Err(UriError("a response has no Request-URI")),
        }
    }

    /// A response's status code; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.parsed.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// A response's reason phrase.
    pub fn reason_phrase(&self) -> &[u8] {
        match self.parsed.start {
            StartLine::Request { .. } => b"",
            StartLine::Response { reason_start, reason_end, .. } => self.slice(reason_start, reason_end),
        }
    }

    /// The value of the first header of this kind, as written.
    pub fn header(&self, id: HeaderId) -> Option<&[u8]> {
        self.values(id).next()
    }

    /// The value of the first header of this name (long form, any case): for headers that have no [`HeaderId`].
    pub fn header_named(&self, name: &str) -> Option<&[u8]> {
        match HeaderId::from_name(name.as_bytes()) {
            HeaderId::Other => self
                .headers()
                .find(|header| header.name.eq_ignore_ascii_case(name.as_bytes()))
                .map(|h| h.value),
            id => self.header(id),
        }
    }

    /// All header lines, in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.parsed.slots.iter().map(|slot| Header {
            id: slot.id,
            name: self.slice(slot.start, slot.name_end),
            value: self.value(slot),
        })
    }

    /// The elements of a comma-separated header, over all its lines, in order; commas in quotes and in `<>` do not
    /// separate. Not for headers whose values hold bare commas (Date, the Authorization family).
    ///
    /// An element between two commas with nothing in it is there as an empty one; a line without a value has none.
    pub fn elements(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        self.values(id).flat_map(Elements::of)
    }

    /// The values of all lines of a header, in order (the Authorization family, Warning ...).
    pub fn values(&self, id: HeaderId) -> impl Iterator<Item = &[u8]> {
        let slots = if self.parsed.filter.may_have(id) { &self.parsed.slots[..] } else { &[] };
        slots.iter().filter(move |slot| slot.id == id).map(|slot| self.value(slot))
    }

    /// The body, exactly Content-Length octets.
    pub fn body(&self) -> &[u8] {
        &self.parsed.bytes[usize::from(self.parsed.body_start)..]
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.via(&self.parsed.bytes));
        }
        Via::parse(self.elements(HeaderId::Via).next().ok_or(HeaderError::Missing("Via"))?)
    }

    /// The branch of the topmost Via, `None` where there is none; the same as [`Message::top_via`] and [`Via::branch`] for less.
    pub fn top_branch(&self) -> Option<&str> {
        match self.parsed.found.get() {
            Some(found) => found.branch(&self.parsed.bytes),
            None => self.top_via().ok()?.branch(),
        }
    }

    /// The tag of From, `None` where there is none; the same as [`Message::from`] and [`NameAddr::tag`] for less.
    pub fn from_tag(&self) -> Option<&str> {
        match self.parsed.found.get() {
            Some(found) => found.tag_of_from(&self.parsed.bytes),
            None => self.from().ok()?.tag(),
        }
    }

    /// The tag of To, `None` where there is none; the same as [`Message::to`] and [`NameAddr::tag`] for less.
    pub fn to_tag(&self) -> Option<&str> {
        match self.known_to_tag() {
            Some(tag) => tag,
            None => self.to().ok()?.tag(),
        }
    }

    /// The tag of To as `validate` found it; `None` before.
    pub(crate) fn known_to_tag(&self) -> Option<Option<&str>> {
        self.parsed.found.get().map(|found| found.tag_of_to(&self.parsed.bytes))
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.from(&self.parsed.bytes));
        }
        NameAddr::parse(self.single(HeaderId::From)?).map_err(|error| error.of("From"))
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.to(&self.parsed.bytes));
        }
        NameAddr::parse(self.single(HeaderId::To)?).map_err(|error| error.of("To"))
    }

    /// Call-ID.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.call_id.text(&self.parsed.bytes));
        }
        let value = self.single(HeaderId::CallId)?;
        if !is_call_id(value) {
            return Err(HeaderError::Malformed("Call-ID"));
        }
        lex::text(value).ok_or(HeaderError::Malformed("Call-ID"))
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.cseq(&self.parsed.bytes));
        }
        CSeq::parse(self.single(HeaderId::CSeq)?)
    }

    /// Max-Forwards, `None` where there is none. Above 255 is an error.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        if let Some(found) = self.parsed.found.get() {
            return Ok(found.max_forwards);
        }
        match self.number(HeaderId::MaxForwards)?.map(u8::try_from) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(HeaderError::Malformed("Max-Forwards")),
        }
    }

    /// A header of one decimal number up to 2**32-1 (Expires, Min-Expires, Max-Breadth ...), `None` where there is none.
    pub fn number(&self, id: HeaderId) -> Result<Option<u32>, HeaderError> {
        match self.single(id) {
            Ok(value) => lex::decimal(value)
                .and_then(|number| u32::try_from(number).ok())
                .map(Some)
                .ok_or(HeaderError::Malformed(id.name())),
            Err(HeaderError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All Contact values (`*` or a list).
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        if let Some(only) = self.parsed.found.get().and_then(|found| found.contact(&self.parsed.bytes)) {
            return Ok(Contacts::List(vec![only]));
        }
        Contacts::from_elements(self.elements(HeaderId::Contact))
    }

    /// The elements of Route, Record-Route, Path or Service-Route (name-addr lists), in order.
    pub fn name_addrs(&self, id: HeaderId) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.elements(id).map(move |element| NameAddr::parse(element).map_err(|error| error.of(id.name())))
    }

    /// All values of a header of the Authorization family (not Authentication-Info), one per line.
    pub fn credentials(&self, id: HeaderId) -> impl Iterator<Item = Result<AuthParams<'_>, HeaderError>> {
        self.values(id).map(move |value| AuthParams::parse(value).map_err(|error| error.of(id.name())))
    }

    /// Retry-After, `None` where there is none.
    pub fn retry_after(&self) -> Result<Option<RetryAfter>, HeaderError> {
        self.header(HeaderId::RetryAfter).map(RetryAfter::parse).transpose()
    }

    /// Whether an option tag stands in a header such as Supported or Require.
    pub fn has_option(&self, id: HeaderId, tag: &str) -> bool {
        self.elements(id).any(|element| element.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// Content-Type without parameters, as written (`""` where there is none).
    pub fn content_type(&self) -> &str {
        let value = self.header(HeaderId::ContentType).unwrap_or(b"");
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        lex::text(lex::trim(&value[..end])).unwrap_or("")
    }

    /// The one value of a header that must not stand twice.
    fn single(&self, id: HeaderId) -> Result<&[u8], HeaderError> {
        let mut values = self.values(id);
        let value = values.next().ok_or(HeaderError::Missing(id.name()))?;
        if values.next().is_some() {
            return Err(HeaderError::Repeated(id.name()));
        }
        Ok(value)
    }

    pub(crate) fn value(&self, slot: &Slot) -> &[u8] {
        self.slice(slot.value_start, slot.value_end)
    }

    fn slice(&self, start: u16, end: u16) -> &[u8] {
        &self.parsed.bytes[usize::from(start)..usize::from(end)]
    }

    /// Parts of the start line, which `parse` found to be ASCII.
    fn text(&self, start: u16, end: u16) -> &str {
        lex::text(self.slice(start, end)).expect(START_LINE)
    }
}

const START_LINE: &str = "parsed start lines are ASCII";

/// COMPAT: RFC 3261 §25.1 knows fewer characters and one `@` only; clients put base64 there.
fn is_call_id(value: &[u8]) -> bool {
    !value.is_empty() && lex::are_graphic(value)
}
