//! Where [`Message::validate`](super::Message::validate) found what every element asks for, so that nobody has to look
//! for it again.
//!
//! Plain offsets: no text is copied, and what is read through them is what the strict parsers gave. They exist only
//! for a message that passed as a whole, whose octets never change after that.

use crate::lex::text;
use crate::uri::UriParts;
use crate::values::{CSeq, CSeqParts, ContactParts, ContactValue, NameAddr, NameAddrParts, Via, ViaParts};

/// The parts of a valid message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// `None` for a response.
    pub(super) request_uri: Option<UriParts>,
    pub(super) via: (Range, ViaParts),
    pub(super) from: (Range, NameAddrParts),
    pub(super) to: (Range, NameAddrParts),
    pub(super) call_id: Range,
    pub(super) cseq: (Range, CSeqParts),
    pub(super) max_forwards: Option<u8>,
    /// Of a message that has just one, which is not `*`.
    pub(super) contact: Option<(Range, ContactParts)>,
}

/// Octets of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    start: u16,
    end: u16,
}

const TEXT: &str = "a strict parser took it for text";

impl Found {
    pub(super) fn via<'m>(&self, message: &'m [u8]) -> Via<'m> {
        let (element, parts) = self.via;
        parts.via(element.slice(message)).expect(TEXT)
    }

    pub(super) fn from<'m>(&self, message: &'m [u8]) -> NameAddr<'m> {
        let (element, parts) = self.from;
        parts.name_addr(element.slice(message)).expect(TEXT)
    }

    pub(super) fn to<'m>(&self, message: &'m [u8]) -> NameAddr<'m> {
        let (element, parts) = self.to;
        parts.name_addr(element.slice(message)).expect(TEXT)
    }

    pub(super) fn contact<'m>(&self, message: &'m [u8]) -> Option<ContactValue<'m>> {
        let (element, parts) = self.contact?;
        Some(parts.contact(element.slice(message)).expect(TEXT))
    }

    pub(super) fn branch<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let (element, parts) = &self.via;
        parts.branch(element.slice(message)).map(|branch| text(branch).expect(TEXT))
    }

    pub(super) fn tag_of_from<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let (element, parts) = &self.from;
        parts.tag(element.slice(message)).map(|tag| text(tag).expect(TEXT))
    }

    pub(super) fn tag_of_to<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let (element, parts) = &self.to;
        parts.tag(element.slice(message)).map(|tag| text(tag).expect(TEXT))
    }

    pub(super) fn cseq<'m>(&self, message: &'m [u8]) -> CSeq<'m> {
        let (value, parts) = self.cseq;
        CSeq { number: parts.number, method: parts.method(value.slice(message)).expect(TEXT) }
    }
}

impl Range {
    /// Of a slice of a message's header block.
    #[inline]
    pub(super) fn of(message: &[u8], slice: &[u8]) -> Range {
        let start = slice.as_ptr().addr() - message.as_ptr().addr();
        debug_assert!(start + slice.len() <= usize::from(u16::MAX));
        Range { start: start as u16, end: (start + slice.len()) as u16 }
    }

    #[inline]
    pub(super) fn slice(self, message: &[u8]) -> &[u8] {
        &message[usize::from(self.start)..usize::from(self.end)]
    }

    pub(super) fn text(self, message: &[u8]) -> &str {
        text(self.slice(message)).expect(TEXT)
    }
}
