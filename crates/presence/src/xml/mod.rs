//! XML as far as presence documents need it: reading within bounds, writing, and changing a text in place.
//!
//! [`Document`] is a tree over a text that stays as it is: every element knows where it stands, so that an edit replaces
//! what it means and nothing else. Read are well-formed documents with namespaces. Refused are document type
//! declarations and with them every entity that a document could define; what remains are the five entities of XML and
//! character references. What this is not: a validator, an XPath engine (the XCAP server has node selectors of its own).

mod edit;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use edit::Edits;
pub use read::{Bounds, XmlError};
pub(crate) use read::{Document, Element, Leniency};
pub use write::Escaped;
pub(crate) use write::{DECLARATION, is_xml_char, push_escaped};
