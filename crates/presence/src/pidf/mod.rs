//! PIDF (RFC 3863) with its relatives: the data model (RFC 4479), RPID (RFC 4480), CIPID (RFC 4482) and capabilities
//! (RFC 5196).
//!
//! [`read`] takes what a device publishes, and is liberal: the state of a person is worth more than the letter of a schema,
//! and clients put known elements in unknown places, leave end tags off, and have conventions of their own. [`render`]
//! writes what a watcher gets, and is strict. Not here: XPIDF and the other formats from before PIDF.

mod read;
mod render;
#[cfg(test)]
mod tests;

pub use read::{BOUNDS, PidfError, Published, read};
pub use render::render;

/// The type of the documents.
pub const CONTENT_TYPE: &str = "application/pidf+xml";

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
const CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
/// COMPAT: liblinphone marks somebody as online with an element of this namespace.
const LINPHONE_ONLINE: &str = "http://www.linphone.org/xsds/pidfonline.xsd";

/// RPID has no element for do-not-disturb; this is what we write into `<other>`.
const DO_NOT_DISTURB: &str = "Do not disturb";
/// The same for a person who is back in a moment.
const BE_RIGHT_BACK: &str = "Be right back";
