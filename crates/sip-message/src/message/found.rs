//! Where [`Message::validate`](super::Message::validate) found what every element asks for, so that nobody has to look
//! for it again.
//!
//! Plain offsets: no text is copied, and what is read through them is what the strict parsers gave. They exist only
//! for a message that passed as a whole, whose octets never change after that.

use crate::uri::UriParts;
use crate::values::{CSeq, NameAddr, Via};
use crate::{Host, Method, Params, Uri};

/// The parts of a valid message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// `None` for a response.
    pub(super) request_uri: Option<UriParts>,
    pub(super) via: FoundVia,
    pub(super) from: FoundNameAddr,
    pub(super) to: FoundNameAddr,
    pub(super) call_id: Range,
    pub(super) cseq: FoundCSeq,
    pub(super) max_forwards: Option<u8>,
}

/// Octets of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    start: u16,
    end: u16,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FoundVia {
    element: Range,
    transport: Range,
    host: Range,
    params: Range,
    port: Option<u16>,
    is_address: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FoundNameAddr {
    element: Range,
    /// Begins where the element does.
    display_end: u16,
    uri: Range,
    params_start: u16,
    uri_parts: UriParts,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FoundCSeq {
    number: u32,
    method: Range,
}

const TEXT: &str = "a strict parser took it for text";

impl Range {
    /// Of a slice of a message's header block.
    pub(super) fn of(message: &[u8], slice: &[u8]) -> Range {
        let start = slice.as_ptr().addr() - message.as_ptr().addr();
        debug_assert!(start + slice.len() <= usize::from(u16::MAX));
        Range { start: start as u16, end: (start + slice.len()) as u16 }
    }

    pub(super) fn slice(self, message: &[u8]) -> &[u8] {
        &message[usize::from(self.start)..usize::from(self.end)]
    }

    pub(super) fn text(self, message: &[u8]) -> &str {
        str::from_utf8(self.slice(message)).expect(TEXT)
    }
}

/// What stands in `text`, which begins at `start` of the message.
fn within(text: &str, start: u16, range: Range) -> &str {
    &text[usize::from(range.start - start)..usize::from(range.end - start)]
}

impl FoundVia {
    pub(super) fn of(message: &[u8], via: &Via<'_>) -> FoundVia {
        FoundVia {
            element: Range::of(message, via.text),
            transport: Range::of(message, via.transport.as_bytes()),
            host: Range::of(message, via.host_text.as_bytes()),
            params: Range::of(message, via.params.text.as_bytes()),
            port: via.port,
            is_address: matches!(via.host, Host::Address(_)),
        }
    }

    pub(super) fn via(self, message: &[u8]) -> Via<'_> {
        let text = self.element.text(message);
        let within = |range| within(text, self.element.start, range);
        let host_text = within(self.host);
        Via {
            transport: within(self.transport),
            host: Host::of_valid(host_text, self.is_address),
            host_text,
            port: self.port,
            params: Params { text: within(self.params) },
            text: text.as_bytes(),
        }
    }
}

impl FoundNameAddr {
    pub(super) fn of(message: &[u8], addr: &NameAddr<'_>) -> FoundNameAddr {
        let element = Range::of(message, addr.text);
        FoundNameAddr {
            element,
            display_end: element.start + addr.display.len() as u16,
            uri: Range::of(message, addr.uri.as_str().as_bytes()),
            params_start: Range::of(message, addr.params.text.as_bytes()).start,
            uri_parts: addr.uri.parts(),
        }
    }

    pub(super) fn name_addr(self, message: &[u8]) -> NameAddr<'_> {
        let Range { start, end } = self.element;
        // The display name may be no text.
        let text = Range { start: self.uri.start, end }.text(message);
        NameAddr {
            display: Range { start, end: self.display_end }.slice(message),
            uri: Uri::of_valid(within(text, self.uri.start, self.uri), self.uri_parts),
            params: Params { text: within(text, self.uri.start, Range { start: self.params_start, end }) },
            text: self.element.slice(message),
        }
    }
}

impl FoundCSeq {
    pub(super) fn of(message: &[u8], value: &[u8], cseq: &CSeq<'_>) -> FoundCSeq {
        // The method is what the value ends with.
        let method = &value[value.len() - cseq.method.as_str().len()..];
        FoundCSeq { number: cseq.number, method: Range::of(message, method) }
    }

    pub(super) fn cseq(self, message: &[u8]) -> CSeq<'_> {
        CSeq { number: self.number, method: Method::from_octets(self.method.slice(message)).expect(TEXT) }
    }
}
