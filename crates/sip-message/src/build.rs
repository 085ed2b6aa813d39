//! Messages of our own.

use bytes::Bytes;

use crate::{HeaderId, Message, Method};

/// A response to a request (RFC 3261 §8.2.6): copies Via, From, To, Call-ID and CSeq as they stand, Record-Route where
/// asked, and Timestamp into a 100. Works also on a request that failed `validate`: it copies what is there.
pub struct ResponseBuilder<'m> {
    request: &'m Message,
}

impl<'m> ResponseBuilder<'m> {
    /// A response with the default phrase of its status.
    pub fn new(_request: &'m Message, _status: u16) -> ResponseBuilder<'m> {
        todo!()
    }

    /// Another reason phrase.
    pub fn reason(&mut self, _phrase: &str) -> &mut Self {
        todo!()
    }

    /// Replaces the topmost Via, e.g. with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn top_via(&mut self, _element: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// The tag to add to To where it has none.
    pub fn to_tag(&mut self, _tag: &str) -> &mut Self {
        todo!()
    }

    /// Copies Record-Route (responses that make a dialog, RFC 3261 §12.1.1).
    pub fn copy_record_route(&mut self) -> &mut Self {
        todo!()
    }

    /// A further header.
    pub fn header(&mut self, _id: HeaderId, _value: impl AsRef<[u8]>) -> &mut Self {
        todo!()
    }

    /// A further header without an id.
    pub fn header_named(&mut self, _name: &str, _value: impl AsRef<[u8]>) -> &mut Self {
        todo!()
    }

    /// A body.
    pub fn body(&mut self, _content_type: &str, _body: &[u8]) -> &mut Self {
        todo!()
    }

    /// The response.
    pub fn build(&self) -> Bytes {
        let _ = self.request;
        todo!()
    }
}

/// A request of our own. Headers are written in the order given; Content-Length is added.
pub struct RequestBuilder {
    _head: Vec<u8>,
}

impl RequestBuilder {
    /// A request line.
    pub fn new(_method: Method<'_>, _uri: &str) -> RequestBuilder {
        todo!()
    }

    /// A header.
    pub fn header(&mut self, _id: HeaderId, _value: impl AsRef<[u8]>) -> &mut Self {
        todo!()
    }

    /// A header without an id.
    pub fn header_named(&mut self, _name: &str, _value: impl AsRef<[u8]>) -> &mut Self {
        todo!()
    }

    /// A body.
    pub fn body(&mut self, _content_type: &str, _body: &[u8]) -> &mut Self {
        todo!()
    }

    /// The request.
    pub fn build(&self) -> Bytes {
        todo!()
    }
}

/// The default reason phrase of a status (RFC 3261 §21 and the IANA registry).
pub fn reason_phrase(_status: u16) -> &'static str {
    todo!()
}
