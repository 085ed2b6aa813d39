//! A message: one buffer and an index.

use bytes::Bytes;

use crate::values::{CSeq, Contacts, HeaderError, NameAddr, Via};
use crate::{Header, HeaderId, Method, Uri, UriError};

/// A SIP request or response: its octets, and where its headers are. Cheap to move; a clone shares the octets.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
}

/// Octets that are no SIP message. `answerable` holds as much of a request as could be indexed (start line and
/// headers before the fault), so that a request over UDP can still be refused with [`crate::ResponseBuilder`].
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
    pub fn parse(_bytes: Bytes) -> Result<Message, ParseError> {
        todo!()
    }

    /// Checks what every element must be able to rely on before it acts: the headers that RFC 3261 §8.1.1 demands,
    /// once each and well formed (Via, From, To, Call-ID, CSeq, Max-Forwards if there, Contact, Route, Record-Route, Date ...),
    /// CSeq's method equal to the request's, Request-URI well formed. Does not refuse unknown schemes, methods or extensions: that is policy.
    pub fn validate(&self) -> Result<(), Rejection> {
        todo!()
    }

    /// The octets, from the start line to the end of the body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        todo!()
    }

    /// The request's method, or for a response the method of its CSeq.
    pub fn method(&self) -> Method<'_> {
        todo!()
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri_text(&self) -> &str {
        todo!()
    }

    /// The Request-URI; for a response an error.
    pub fn request_uri(&self) -> Result<Uri<'_>, UriError> {
        todo!()
    }

    /// A response's status code; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        todo!()
    }

    /// A response's reason phrase.
    pub fn reason_phrase(&self) -> &[u8] {
        todo!()
    }

    /// The value of the first header of this kind, as written.
    pub fn header(&self, _id: HeaderId) -> Option<&[u8]> {
        todo!()
    }

    /// The value of the first header of this name (long form, any case): for headers that have no [`HeaderId`].
    pub fn header_named(&self, _name: &str) -> Option<&[u8]> {
        todo!()
    }

    /// All header lines, in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        std::iter::empty()
    }

    /// The elements of a comma-separated header, over all its lines, in order; commas in quotes and in `<>` do not
    /// separate. Not for headers whose values hold bare commas (Date, the Authorization family).
    pub fn elements(&self, _id: HeaderId) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    /// The body, exactly Content-Length octets.
    pub fn body(&self) -> &[u8] {
        todo!()
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        todo!()
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        todo!()
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        todo!()
    }

    /// Call-ID.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        todo!()
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        todo!()
    }

    /// Max-Forwards, `None` where there is none. Above 255 is an error.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        todo!()
    }

    /// A header of one decimal number up to 2**32-1 (Expires, Min-Expires, Max-Breadth ...), `None` where there is none.
    pub fn number(&self, _id: HeaderId) -> Result<Option<u32>, HeaderError> {
        todo!()
    }

    /// All Contact values (`*` or a list).
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        todo!()
    }

    /// The elements of Route, Record-Route, Path or Service-Route (name-addr lists), in order.
    pub fn name_addrs(&self, _id: HeaderId) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        std::iter::empty()
    }

    /// Whether an option tag stands in a header such as Supported or Require.
    pub fn has_option(&self, _id: HeaderId, _tag: &str) -> bool {
        todo!()
    }

    /// Content-Type without parameters, as written (`""` where there is none).
    pub fn content_type(&self) -> &str {
        todo!()
    }
}
