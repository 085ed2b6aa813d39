//! What the server knows, as the document `xcap-caps` says it (RFC 4825 §12).

use std::fmt::Write;

use crate::text::escape;

/// The application's name.
pub const AUID: &str = "xcap-caps";
/// The one document, in the global tree.
pub const DOCUMENT: &str = "index";
/// The type of the document.
pub const MEDIA_TYPE: &str = "application/xcap-caps+xml";
/// The namespace of the document.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:xcap-caps";

/// The document: applications, and the namespaces that a server takes in their documents.
pub fn document(auids: &[&str], namespaces: &[&str]) -> String {
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xcap-caps xmlns=\"{NAMESPACE}\">\n");
    list(&mut text, "auids", "auid", auids);
    // No extension of RFC 4825 is known here, and the element may be left out.
    list(&mut text, "namespaces", "namespace", namespaces);
    text.push_str("</xcap-caps>\n");
    text
}

fn list(text: &mut String, outer: &str, inner: &str, values: &[&str]) {
    writeln!(text, "  <{outer}>").expect("a text takes everything");
    for value in values {
        writeln!(text, "    <{inner}>{}</{inner}>", escape(value)).expect("a text takes everything");
    }
    writeln!(text, "  </{outer}>").expect("a text takes everything");
}
