//! What every element relies on.

use super::found::{Found, Range};
use super::{Message, Rejection, is_call_id};
use crate::lex::{Elements, decimal};
use crate::uri::UriParts;
use crate::values::{CSeqParts, ContactParts, HeaderError, NameAddrParts, ViaParts, is_sip_date};
use crate::{HeaderId, Method};

const fn bad(reason: &'static str) -> Rejection {
    Rejection { status: 400, reason }
}

pub(super) fn validate(message: &Message) -> Result<Found, Rejection> {
    let (request_uri, request_method) = if message.is_request() {
        (Some(check_request_uri(message)?), Some(message.method()))
    } else {
        (None, None)
    };
    let bytes = &message.parsed.bytes[..];
    let (mut via, mut from, mut to, mut call_id, mut cseq, mut max_forwards) =
        (None, None, None, None, None, None);
    let mut contact = None;
    let mut seen = Seen::default();
    for slot in &message.parsed.slots {
        let value = message.value(slot);
        match slot.id {
            HeaderId::Via => {
                let top = check_vias(value)?;
                if via.is_none() {
                    via = top.map(|(element, parts)| (Range::of(bytes, element), parts));
                }
            }
            HeaderId::From => {
                seen.once(slot.id)?;
                let parts = NameAddrParts::read(value, |_, _| {}).ok_or(bad("From is malformed"))?;
                from = Some((Range::of(bytes, value), parts));
            }
            HeaderId::To => {
                seen.once(slot.id)?;
                let parts = NameAddrParts::read(value, |_, _| {}).ok_or(bad("To is malformed"))?;
                to = Some((Range::of(bytes, value), parts));
            }
            HeaderId::CallId => {
                seen.once(slot.id)?;
                if !is_call_id(value) {
                    return Err(bad("Call-ID is malformed"));
                }
                call_id = Some(Range::of(bytes, value));
            }
            HeaderId::CSeq => {
                seen.once(slot.id)?;
                let parts = CSeqParts::read(value).ok_or(bad("CSeq is malformed"))?;
                let method = parts.method(value).ok_or(bad("CSeq is malformed"))?;
                check_cseq(method, request_method)?;
                cseq = Some((Range::of(bytes, value), parts));
            }
            HeaderId::MaxForwards => {
                seen.once(slot.id)?;
                let number = decimal(value).and_then(|number| u8::try_from(number).ok());
                max_forwards = Some(number.ok_or(bad("Max-Forwards is malformed"))?);
            }
            HeaderId::Contact => {
                let is_first = !seen.has(slot.id);
                let only = check_contacts(value, &mut seen)?.filter(|_| is_first);
                contact = only.map(|parts| (Range::of(bytes, value), parts));
            }
            HeaderId::Route | HeaderId::RecordRoute | HeaderId::Path | HeaderId::ServiceRoute
                if !are_name_addrs(value) =>
            {
                return Err(bad("a Route, Record-Route, Path or Service-Route is malformed"));
            }
            HeaderId::Date if !is_sip_date(value) => return Err(bad("Date is malformed")),
            _ => {}
        }
    }
    Ok(Found {
        request_uri,
        via: via.ok_or(bad("Via is missing"))?,
        from: from.ok_or(bad("From is missing"))?,
        to: to.ok_or(bad("To is missing"))?,
        call_id: call_id.ok_or(bad("Call-ID is missing"))?,
        cseq: cseq.ok_or(bad("CSeq is missing"))?,
        max_forwards,
        contact,
    })
}

/// RFC 3261 §19.1.1: no headers in a Request-URI.
fn check_request_uri(message: &Message) -> Result<UriParts, Rejection> {
    let uri = message.request_uri().map_err(|_| bad("Request-URI is malformed"))?;
    if !uri.headers_text().is_empty() {
        return Err(bad("Request-URI holds headers"));
    }
    Ok(uri.parts())
}

/// RFC 3261 §8.1.1.7: a branch that begins with the cookie has something behind it (RFC 4475 §3.2.1). Branches of RFC
/// 2543 clients, and none at all, are fine. Gives the first Via of the line, `None` where it has none.
fn check_vias(value: &[u8]) -> Result<Option<(&[u8], ViaParts)>, Rejection> {
    // A whole value that is one Via holds no comma that separates.
    if let Some(only) = ViaParts::read(value) {
        return check_branch(value, &only).map(|()| Some((value, only)));
    }
    let mut top = None;
    for element in Elements::of(value) {
        let via = ViaParts::read(element).ok_or(bad("Via is malformed"))?;
        check_branch(element, &via)?;
        top = top.or(Some((element, via)));
    }
    Ok(top)
}

fn check_branch(element: &[u8], via: &ViaParts) -> Result<(), Rejection> {
    match via.branch(element) {
        Some(b"z9hG4bK") => Err(bad("the branch of a Via is empty")),
        _ => Ok(()),
    }
}

fn are_name_addrs(value: &[u8]) -> bool {
    let is_one = |element: &[u8]| NameAddrParts::read(element, |_, _| {}).is_some();
    // A whole value that is one name-addr holds no comma that separates.
    is_one(value) || Elements::of(value).all(is_one)
}

/// RFC 3261 §8.1.1.5; the statuses are those of RFC 4475 §3.1.2.17 and §3.1.2.18.
fn check_cseq(method: Method<'_>, request_method: Option<Method<'_>>) -> Result<(), Rejection> {
    const REASON: &str = "the method of CSeq is not that of the request";
    match request_method {
        Some(of_request) if of_request == method => Ok(()),
        Some(Method::Other(_)) => Err(Rejection { status: 501, reason: REASON }),
        Some(_) => Err(bad(REASON)),
        None => Ok(()),
    }
}

/// `*` stands alone or not at all. Gives the Contact of a line that has one, `None` where it has others.
fn check_contacts(value: &[u8], seen: &mut Seen) -> Result<Option<ContactParts>, Rejection> {
    // A whole value that is one name-addr holds no comma that separates.
    if !seen.has_star
        && let Ok(only) = ContactParts::read(value)
    {
        seen.mark(HeaderId::Contact);
        return Ok(Some(only));
    }
    for element in Elements::of(value) {
        if seen.has_star || (element == b"*" && seen.has(HeaderId::Contact)) {
            return Err(bad("Contact is malformed"));
        }
        seen.has_star = element == b"*";
        seen.mark(HeaderId::Contact);
        if !seen.has_star {
            ContactParts::read(element).map_err(rejection)?;
        }
    }
    Ok(None)
}

/// Which headers stood already.
#[derive(Default)]
struct Seen {
    ids: u128,
    has_star: bool,
}

const _: () = assert!((HeaderId::Other as usize) < 128);

impl Seen {
    fn mark(&mut self, id: HeaderId) {
        self.ids |= 1 << id as u8;
    }

    fn once(&mut self, id: HeaderId) -> Result<(), Rejection> {
        if self.has(id) {
            return Err(rejection(HeaderError::Repeated(id.name())));
        }
        self.mark(id);
        Ok(())
    }

    fn has(&self, id: HeaderId) -> bool {
        self.ids & (1 << id as u8) != 0
    }
}

/// Says in one phrase which header is wrong and how.
fn rejection(error: HeaderError) -> Rejection {
    macro_rules! phrases {
        ($($name:literal)*) => {
            match error {
                $(
                    HeaderError::Missing($name) => concat!($name, " is missing"),
                    HeaderError::Malformed($name) => concat!($name, " is malformed"),
                    HeaderError::Repeated($name) => concat!($name, " stands more than once"),
                )*
                HeaderError::Missing(_) => "a header is missing",
                HeaderError::Malformed(_) => "a header is malformed",
                HeaderError::Repeated(_) => "a header stands more than once",
            }
        };
    }
    bad(phrases!("Via" "From" "To" "Call-ID" "CSeq" "Max-Forwards" "Contact"))
}
