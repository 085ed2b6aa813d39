//! XCAP (RFC 4825): documents of users, read, written and edited in parts by HTTP requests.
//!
//! - [`Resource`]: what the path of a request names: an application, a user's or the global tree, a document, a node;
//! - [`NodeSelector`] and [`Document`]: one element or attribute of a document, with its exact place in the text, so that
//!   an edit leaves every other octet as it was;
//! - [`get`], [`put`], [`delete`]: the operations with the rules of RFC 4825 §8. What was put is what a GET gives back, or
//!   nothing is changed;
//! - [`Conflict`]: why a document may not become what was asked for, and its body `application/xcap-error+xml`;
//! - [`conditions`]: If-Match and If-None-Match;
//! - [`caps`] and [`diff`]: the documents that say what a server knows (RFC 4825 §12) and what has changed (RFC 5874).
//!
//! Everything is text in, text out. Documents are bounded ([`DOCUMENT_OCTETS_MAX`], [`DEPTH_MAX`] and their kin) and may not
//! declare types or entities. What this crate is not: it knows no user, no SIP, no storage, no HTTP library and no
//! application; what makes a document valid is told by [`Application::validate`].

pub mod caps;
pub mod conditions;
mod conflict;
pub mod diff;
mod edit;
mod path;
mod select;
mod selector;
mod text;
mod xml;

pub use conflict::{Conflict, Taken};
pub use edit::{
    ATTRIBUTE_TYPE, Application, Body, ELEMENT_TYPE, Edited, Failure, Found, NAMESPACES_TYPE, delete, get,
    put,
};
pub use path::{PathError, Resource, TARGET_OCTETS_MAX, Tree};
pub use select::Selected;
pub use selector::{Name, NameTest, NodeSelector, STEPS_MAX, SelectorError, Step, Terminal};
pub use text::escape;
pub use xml::{
    ATTRIBUTES_MAX, DEPTH_MAX, DOCUMENT_OCTETS_MAX, Document, ELEMENTS_MAX, NAMESPACES_MAX, XmlError,
    XmlFault,
};

#[cfg(test)]
mod tests;
