//! Forwarding: a message written anew from slices of the received one, with a few changes.
//!
//! Everything that is not named in an edit leaves as it came: order, spelling, folding, unknown headers, body.
//! Inserted headers stand before all others of the same message (a proxy's Via and Record-Route go on top) or behind the last header.

use bytes::Bytes;

use crate::{HeaderId, Message};

/// Changes to a message, applied in one pass by [`Edit::write`]. Each command may be given once per header; commands on
/// different headers are independent.
pub struct Edit<'m> {
    message: &'m Message,
}

impl<'m> Edit<'m> {
    /// No change yet.
    pub fn new(message: &'m Message) -> Edit<'m> {
        Edit { message }
    }

    /// Another Request-URI.
    pub fn request_uri(&mut self, _uri: &'m str) -> &mut Self {
        todo!()
    }

    /// A header line at the top, without CRLF in `value`. Lines given first stand first.
    pub fn insert_first(&mut self, _id: HeaderId, _value: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// A header line behind the last one.
    pub fn append(&mut self, _id: HeaderId, _value: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// The same for a header without an id.
    pub fn append_named(&mut self, _name: &'static str, _value: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// All lines of a header are left out.
    pub fn remove(&mut self, _id: HeaderId) -> &mut Self {
        todo!()
    }

    /// All lines of a header whose name (any case) is this are left out.
    pub fn remove_named(&mut self, _name: &'static str) -> &mut Self {
        todo!()
    }

    /// The first `count` elements of a comma-separated header (Via, Route) are left out; the rest stays as written.
    pub fn remove_elements(&mut self, _id: HeaderId, _count: usize) -> &mut Self {
        todo!()
    }

    /// The first element of a comma-separated header (the topmost Via) is replaced.
    pub fn replace_first_element(&mut self, _id: HeaderId, _element: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// The header gets this one value: the first line is rewritten, further ones go; appended if there was none.
    pub fn set(&mut self, _id: HeaderId, _value: impl Into<String>) -> &mut Self {
        todo!()
    }

    /// Another body; sets Content-Length, and Content-Type if given.
    pub fn body(&mut self, _content_type: Option<&str>, _body: Bytes) -> &mut Self {
        todo!()
    }

    /// The edited message. Content-Length is there and right afterwards, also where the received message had none.
    pub fn write(&self) -> Bytes {
        let _ = self.message;
        todo!()
    }
}
