//! SIP messages: parse and print.
//!
//! A [`Message`] is one buffer plus an index of header positions; header values are parsed only when asked for, those
//! that every element reads once for all by [`Message::validate`]. A message that is forwarded is written from slices
//! of the received one ([`Edit`]), so that unknown headers leave byte for byte as they came. Nothing here repairs what it reads: what is wrong is refused with the status that
//! RFC 4475 asks for.
//!
//! What this crate is not: it knows no time, no state, no I/O, and none of our other crates.
//!
//! Rules: RFC 3261 §7, §19, §20, §25; RFC 4475 and RFC 5118 for what to refuse; RFC 3986 and RFC 5954 for URIs with
//! IPv6; RFC 4566 for SDP; RFC 7616 and RFC 8760 for Digest; RFC 3261 §18.3 and RFC 5626 §3.5.1 for streams.

pub mod build;
pub mod digest;
pub mod edit;
pub mod framing;
mod header;
mod lex;
mod limits;
mod message;
mod method;
pub mod sdp;
pub mod uri;
pub mod values;

pub use build::{RequestBuilder, ResponseBuilder};
pub use edit::{Edit, Value};
pub use header::{Header, HeaderId};
pub use limits::*;
pub use message::{Message, ParseError, Rejection};
pub use method::Method;
pub use uri::{Host, Scheme, Uri, UriError};
pub use values::{AuthParams, CSeq, ContactValue, Contacts, HeaderError, NameAddr, Params, RetryAfter, Via};
