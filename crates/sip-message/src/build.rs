//! Messages of our own.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::edit::{write_content_length, write_decimal, write_uri, write_value};
use crate::lex::Elements;
use crate::message::Slot;
use crate::{HeaderId, Message, Method, NameAddr};

/// A response to a request (RFC 3261 §8.2.6): copies Via, From, To, Call-ID and CSeq as they stand, Record-Route where
/// asked, and Timestamp into a 100. Works also on a request that failed `validate`: it copies what is there (the first
/// line only of those that must not stand twice).
///
/// A CR or LF in a given value leaves as a blank.
pub struct ResponseBuilder<'m> {
    request: &'m Message,
    status: u16,
    reason: Cow<'static, str>,
    top_via: Option<String>,
    to_tag: Option<SmallVec<[u8; TAG_INLINE]>>,
    copies_record_route: bool,
    extra: Vec<u8>,
    body: Vec<u8>,
}

/// Tags that are kept without an allocation; ours have 16 characters.
const TAG_INLINE: usize = 32;
/// Room for further headers, so that it need not grow: the challenges of a 401 take 500 octets.
const EXTRA_OCTETS: usize = 768;

impl<'m> ResponseBuilder<'m> {
    /// A response with the default phrase of its status.
    pub fn new(request: &'m Message, status: u16) -> ResponseBuilder<'m> {
        ResponseBuilder {
            request,
            status,
            reason: reason_phrase(status).into(),
            top_via: None,
            to_tag: None,
            copies_record_route: false,
            extra: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Another reason phrase.
    pub fn reason(&mut self, phrase: &str) -> &mut Self {
        if phrase != self.reason {
            self.reason = phrase.to_owned().into();
        }
        self
    }

    /// Replaces the topmost Via, e.g. with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn top_via(&mut self, element: impl Into<String>) -> &mut Self {
        self.top_via = Some(element.into());
        self
    }

    /// The tag to add to To where it has none.
    pub fn to_tag(&mut self, tag: &str) -> &mut Self {
        self.to_tag = Some(SmallVec::from_slice(tag.as_bytes()));
        self
    }

    /// Copies Record-Route (responses that make a dialog, RFC 3261 §12.1.1).
    pub fn copy_record_route(&mut self) -> &mut Self {
        self.copies_record_route = true;
        self
    }

    /// A further header.
    pub fn header(&mut self, id: HeaderId, value: impl AsRef<[u8]>) -> &mut Self {
        self.header_named(id.name(), value)
    }

    /// A further header without an id.
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if self.extra.capacity() == 0 {
            self.extra.reserve(EXTRA_OCTETS);
        }
        write_header(&mut self.extra, name, value);
        self
    }

    /// A body.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> &mut Self {
        self.header(HeaderId::ContentType, content_type);
        body.clone_into(&mut self.body);
        self
    }

    /// The response.
    pub fn build(&self) -> Bytes {
        let headers = usize::from(self.request.parsed.headers_end);
        let mut out = Vec::with_capacity(headers + self.extra.len() + self.body.len() + 128);
        out.extend_from_slice(b"SIP/2.0 ");
        write_decimal(&mut out, self.status.into());
        out.push(b' ');
        write_value(&mut out, self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.write_vias(&mut out);
        if self.copies_record_route {
            self.copy_lines(&mut out, HeaderId::RecordRoute);
        }
        self.copy_first_line(&mut out, HeaderId::From);
        self.write_to(&mut out);
        self.copy_first_line(&mut out, HeaderId::CallId);
        self.copy_first_line(&mut out, HeaderId::CSeq);
        if self.status == 100 {
            self.copy_first_line(&mut out, HeaderId::Timestamp);
        }
        out.extend_from_slice(&self.extra);
        write_body(&mut out, &self.body);
        Bytes::from(out)
    }

    fn write_vias(&self, out: &mut Vec<u8>) {
        let mut replacement = self.top_via.as_deref();
        for slot in self.slots(HeaderId::Via) {
            let value = self.request.value(slot);
            let first = replacement.and_then(|top| Some((top, Elements::of(value).next()?)));
            match first {
                Some((top, element)) => {
                    out.extend_from_slice(b"Via: ");
                    write_value(out, top);
                    write_value(out, &value[element.len()..]);
                    out.extend_from_slice(b"\r\n");
                    replacement = None;
                }
                None => self.copy(out, slot),
            }
        }
    }

    /// Of a request that is not valid, a To that cannot be read has no tag.
    fn has_to_tag(&self, to: &[u8]) -> bool {
        match self.request.known_to_tag() {
            Some(tag) => tag.is_some(),
            None => NameAddr::parse(to).is_ok_and(|to| to.tag().is_some()),
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        let Some(slot) = self.slots(HeaderId::To).next() else { return };
        let value = self.request.value(slot);
        match &self.to_tag {
            Some(tag) if !self.has_to_tag(value) => {
                out.extend_from_slice(b"To: ");
                write_value(out, value);
                out.extend_from_slice(b";tag=");
                write_value(out, tag);
                out.extend_from_slice(b"\r\n");
            }
            _ => self.copy(out, slot),
        }
    }

    fn copy_lines(&self, out: &mut Vec<u8>, id: HeaderId) {
        for slot in self.slots(id) {
            self.copy(out, slot);
        }
    }

    fn copy_first_line(&self, out: &mut Vec<u8>, id: HeaderId) {
        if let Some(slot) = self.slots(id).next() {
            self.copy(out, slot);
        }
    }

    fn slots(&self, id: HeaderId) -> impl Iterator<Item = &'m Slot> + use<'m> {
        self.request.parsed.slots.iter().filter(move |slot| slot.id == id)
    }

    /// A line as it stands, name and folds included.
    fn copy(&self, out: &mut Vec<u8>, slot: &Slot) {
        let line = &self.request.parsed.bytes[usize::from(slot.start)..usize::from(slot.value_end)];
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
}

/// A request of our own. Headers are written in the order given; Content-Length is added. A CR or LF in a value leaves
/// as a blank.
pub struct RequestBuilder {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl RequestBuilder {
    /// A request line.
    pub fn new(method: Method<'_>, uri: &str) -> RequestBuilder {
        let mut head = Vec::with_capacity(1024);
        write_value(&mut head, method.as_str());
        head.push(b' ');
        write_uri(&mut head, uri);
        head.extend_from_slice(b" SIP/2.0\r\n");
        RequestBuilder { head, body: Vec::new() }
    }

    /// A header.
    pub fn header(&mut self, id: HeaderId, value: impl AsRef<[u8]>) -> &mut Self {
        self.header_named(id.name(), value)
    }

    /// A header without an id.
    pub fn header_named(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        write_header(&mut self.head, name, value);
        self
    }

    /// A body.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> &mut Self {
        self.header(HeaderId::ContentType, content_type);
        body.clone_into(&mut self.body);
        self
    }

    /// The request.
    pub fn build(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.head.len() + self.body.len() + 32);
        out.extend_from_slice(&self.head);
        write_body(&mut out, &self.body);
        Bytes::from(out)
    }
}

fn write_header(out: &mut Vec<u8>, name: &str, value: impl AsRef<[u8]>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    write_value(out, value);
    out.extend_from_slice(b"\r\n");
}

fn write_body(out: &mut Vec<u8>, body: &[u8]) {
    write_content_length(out, body.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// The default reason phrase of a status (RFC 3261 §21 and the IANA registry). A status that has none gets that of its
/// class (RFC 3261 §8.1.3.2).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        425 => "Bad Alert Message",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match status / 100 {
            0 | 1 => "Session Progress",
            2 => "OK",
            3 => "Multiple Choices",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Busy Everywhere",
        },
    }
}
