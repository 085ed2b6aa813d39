//! Messages of our own.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::edit::{blank_line_ends, write_content_length, write_line, write_uri, write_value};
use crate::message::Slot;
use crate::{HeaderId, Message, Method, NameAddr, Via};

/// A response to a request (RFC 3261 §8.2.6): copies Via, From, To, Call-ID and CSeq as they stand, Record-Route where
/// asked, and Timestamp into a 100. Works also on a request that failed `validate`: it copies what is there (the first
/// line only of those that must not stand twice).
///
/// A CR or LF in a given value leaves as a blank.
pub struct ResponseBuilder<'m> {
    request: &'m Message,
    status: u16,
    status_line: Cow<'static, str>,
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
            status_line: match known_line(status) {
                Some(line) => line.into(),
                None => status_line(status, reason_phrase(status)).into(),
            },
            to_tag: None,
            copies_record_route: false,
            extra: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Another reason phrase.
    pub fn reason(&mut self, phrase: &str) -> &mut Self {
        if known_phrase(self.status) != Some(phrase) {
            self.status_line = status_line(self.status, phrase).into();
        }
        self
    }

    /// The tag to add to To where it has none.
    pub fn to_tag(&mut self, tag: &str) -> &mut Self {
        let mut tag = SmallVec::from_slice(tag.as_bytes());
        blank_line_ends(&mut tag);
        self.to_tag = Some(tag);
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
            self.extra = Vec::with_capacity(EXTRA_OCTETS);
        }
        write_line(&mut self.extra, name, value.as_ref());
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
        self.write(None)
    }

    /// The response with another topmost Via than that of the request, e.g. with `received` and `rport` filled in
    /// (RFC 3261 §18.2.1, RFC 3581 §4). `replaced` is the request's own.
    pub fn build_with_top_via(&self, replaced: &Via<'_>, element: &[u8]) -> Bytes {
        self.write(Some(TopVia { replaced: replaced.text.len(), element }))
    }

    fn write(&self, top_via: Option<TopVia<'_>>) -> Bytes {
        let copied = Copied::of(self.request);
        let to_tag = self.to_tag.as_deref().filter(|_| !self.has_to_tag(&copied));
        // Told twice: what is as long as it was allotted needs no record of its room.
        let mut length = 0;
        self.tell(&copied, top_via, to_tag, |part| length += part.octets().len());
        let mut out = Vec::with_capacity(length);
        self.tell(&copied, top_via, to_tag, |part| part.write(&mut out));
        debug_assert_eq!(out.len(), length);
        Bytes::from(out)
    }

    /// All parts of the response, in order.
    #[inline(always)]
    fn tell(
        &self,
        copied: &Copied<'m>,
        mut top_via: Option<TopVia<'_>>,
        to_tag: Option<&[u8]>,
        mut part: impl FnMut(Part<'_>),
    ) {
        part(Part::Octets(self.status_line.as_bytes()));
        for slot in copied.vias.iter().filter(|slot| slot.id == HeaderId::Via) {
            // A line without a value holds no element.
            match top_via.take_if(|_| slot.value_start < slot.value_end) {
                Some(top) => {
                    part(Part::Octets(b"Via: "));
                    part(Part::Value(top.element));
                    let rest = &self.request.value(slot)[top.replaced..];
                    if !rest.is_empty() {
                        part(Part::Value(rest));
                    }
                    part(Part::Octets(b"\r\n"));
                }
                None => self.tell_line(Some(slot), &mut part),
            }
        }
        if self.copies_record_route {
            let routes = self.request.parsed.slots.iter().filter(|slot| slot.id == HeaderId::RecordRoute);
            routes.for_each(|slot| self.tell_line(Some(slot), &mut part));
        }
        self.tell_line(copied.first(Line::From), &mut part);
        match (copied.first(Line::To), to_tag) {
            (Some(slot), Some(tag)) => {
                part(Part::Octets(b"To: "));
                part(Part::Value(self.request.value(slot)));
                part(Part::Octets(b";tag="));
                part(Part::Octets(tag));
                part(Part::Octets(b"\r\n"));
            }
            _ => self.tell_line(copied.first(Line::To), &mut part),
        }
        self.tell_line(copied.first(Line::CallId), &mut part);
        self.tell_line(copied.first(Line::CSeq), &mut part);
        if self.status == 100 {
            self.tell_line(copied.first(Line::Timestamp), &mut part);
        }
        part(Part::Octets(&self.extra));
        if self.body.is_empty() {
            return part(Part::Octets(b"Content-Length: 0\r\n\r\n"));
        }
        part(Part::Octets(b"Content-Length: "));
        part(Part::Octets(itoa::Buffer::new().format(self.body.len()).as_bytes()));
        part(Part::Octets(b"\r\n\r\n"));
        part(Part::Octets(&self.body));
    }

    /// A line as it stands, name and folds included, without blanks at its end.
    #[inline]
    fn tell_line(&self, slot: Option<&Slot>, part: &mut impl FnMut(Part<'_>)) {
        let Some(slot) = slot else { return };
        let bytes = &self.request.parsed.bytes[usize::from(slot.start)..];
        let length = usize::from(slot.value_end - slot.start);
        if bytes[length..].starts_with(b"\r\n") {
            return part(Part::Octets(&bytes[..length + 2]));
        }
        part(Part::Octets(&bytes[..length]));
        part(Part::Octets(b"\r\n"));
    }

    /// Of a request that is not valid, a To that cannot be read has no tag.
    fn has_to_tag(&self, copied: &Copied<'_>) -> bool {
        match (self.request.known_to_tag(), copied.first(Line::To)) {
            (Some(tag), _) => tag.is_some(),
            (None, Some(to)) => NameAddr::parse(self.request.value(to)).is_ok_and(|to| to.tag().is_some()),
            (None, None) => false,
        }
    }
}

/// The lines that a response has of its request: the first of each header, but all of Via.
struct Copied<'m> {
    firsts: [Option<&'m Slot>; Line::COUNT],
    /// From the first Via to the last; other lines may stand between them.
    vias: &'m [Slot],
}

/// A header that a response copies.
#[derive(Clone, Copy)]
enum Line {
    From,
    To,
    CallId,
    CSeq,
    Timestamp,
    /// None of them.
    Other,
}

impl Line {
    const COUNT: usize = Line::Other as usize + 1;

    fn of(id: HeaderId) -> Line {
        match id {
            HeaderId::From => Line::From,
            HeaderId::To => Line::To,
            HeaderId::CallId => Line::CallId,
            HeaderId::CSeq => Line::CSeq,
            HeaderId::Timestamp => Line::Timestamp,
            _ => Line::Other,
        }
    }
}

impl<'m> Copied<'m> {
    fn of(request: &'m Message) -> Copied<'m> {
        let slots = &request.parsed.slots[..];
        let mut firsts = [None; Line::COUNT];
        let (mut via_start, mut via_end) = (usize::MAX, 0);
        for (place, slot) in slots.iter().enumerate() {
            firsts[Line::of(slot.id) as usize].get_or_insert(slot);
            if slot.id == HeaderId::Via {
                (via_start, via_end) = (via_start.min(place), place + 1);
            }
        }
        Copied { firsts, vias: slots.get(via_start..via_end).unwrap_or_default() }
    }

    fn first(&self, line: Line) -> Option<&'m Slot> {
        self.firsts[line as usize]
    }
}

fn status_line(status: u16, phrase: &str) -> String {
    format!("SIP/2.0 {status} {}\r\n", phrase.replace(['\r', '\n'], " "))
}

/// What stands in place of the topmost Via.
#[derive(Clone, Copy)]
struct TopVia<'a> {
    /// How many octets of the first line's value go.
    replaced: usize,
    element: &'a [u8],
}

/// A part of a message.
enum Part<'a> {
    /// Octets as they are.
    Octets(&'a [u8]),
    /// What must be in one line.
    Value(&'a [u8]),
}

impl<'a> Part<'a> {
    fn octets(&self) -> &'a [u8] {
        match self {
            Part::Octets(octets) | Part::Value(octets) => octets,
        }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Part::Octets(octets) => out.extend_from_slice(octets),
            Part::Value(value) => write_value(out, value),
        }
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
        write_value(&mut head, method.as_str().as_bytes());
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
        write_line(&mut self.head, name, value.as_ref());
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
        // Content-Length, its number, and the empty line.
        let mut out = Vec::with_capacity(self.head.len() + 40 + self.body.len());
        out.extend_from_slice(&self.head);
        write_body(&mut out, &self.body);
        Bytes::from(out)
    }
}

fn write_body(out: &mut Vec<u8>, body: &[u8]) {
    write_content_length(out, body.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Makes the table of phrases, and that of the status lines that show them, from one list.
macro_rules! statuses {
    ($($status:literal $phrase:literal,)*) => {
        fn known_phrase(status: u16) -> Option<&'static str> {
            match status {
                $($status => Some($phrase),)*
                _ => None,
            }
        }

        /// The status line with the default phrase.
        fn known_line(status: u16) -> Option<&'static str> {
            match status {
                $($status => Some(concat!("SIP/2.0 ", $status, " ", $phrase, "\r\n")),)*
                _ => None,
            }
        }
    };
}

statuses! {
    100 "Trying",
    180 "Ringing",
    181 "Call Is Being Forwarded",
    182 "Queued",
    183 "Session Progress",
    199 "Early Dialog Terminated",
    200 "OK",
    202 "Accepted",
    204 "No Notification",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Moved Temporarily",
    305 "Use Proxy",
    380 "Alternative Service",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    410 "Gone",
    412 "Conditional Request Failed",
    413 "Request Entity Too Large",
    414 "Request-URI Too Long",
    415 "Unsupported Media Type",
    416 "Unsupported URI Scheme",
    417 "Unknown Resource-Priority",
    420 "Bad Extension",
    421 "Extension Required",
    422 "Session Interval Too Small",
    423 "Interval Too Brief",
    424 "Bad Location Information",
    425 "Bad Alert Message",
    428 "Use Identity Header",
    429 "Provide Referrer Identity",
    430 "Flow Failed",
    433 "Anonymity Disallowed",
    436 "Bad Identity Info",
    437 "Unsupported Credential",
    438 "Invalid Identity Header",
    439 "First Hop Lacks Outbound Support",
    440 "Max-Breadth Exceeded",
    469 "Bad Info Package",
    470 "Consent Needed",
    480 "Temporarily Unavailable",
    481 "Call/Transaction Does Not Exist",
    482 "Loop Detected",
    483 "Too Many Hops",
    484 "Address Incomplete",
    485 "Ambiguous",
    486 "Busy Here",
    487 "Request Terminated",
    488 "Not Acceptable Here",
    489 "Bad Event",
    491 "Request Pending",
    493 "Undecipherable",
    494 "Security Agreement Required",
    500 "Server Internal Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Server Time-out",
    505 "Version Not Supported",
    513 "Message Too Large",
    555 "Push Notification Service Not Supported",
    580 "Precondition Failure",
    600 "Busy Everywhere",
    603 "Decline",
    604 "Does Not Exist Anywhere",
    606 "Not Acceptable",
    607 "Unwanted",
    608 "Rejected",
}

/// The default reason phrase of a status (RFC 3261 §21 and the IANA registry). A status that has none gets that of its
/// class (RFC 3261 §8.1.3.2).
pub fn reason_phrase(status: u16) -> &'static str {
    known_phrase(status).unwrap_or(match status / 100 {
        0 | 1 => "Session Progress",
        2 => "OK",
        3 => "Multiple Choices",
        4 => "Bad Request",
        5 => "Server Internal Error",
        _ => "Busy Everywhere",
    })
}
