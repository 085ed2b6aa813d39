//! What has changed, as xcap-diff documents say it (RFC 5874): whole documents, by their entity tags.

use std::fmt::Write;

use crate::text::escape;

/// The type of a document.
pub const MEDIA_TYPE: &str = "application/xcap-diff+xml";
/// The namespace of a document.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:xcap-diff";

/// One document that was created (no previous tag), changed, or removed (no new tag). With the same tag twice it stands as
/// it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The document's path below the XCAP root, percent-encoded; see [`crate::Resource::document_path`].
    pub path: String,
    /// Its entity tag before, without quotes.
    pub previous_tag: Option<String>,
    /// Its entity tag now, without quotes.
    pub new_tag: Option<String>,
}

/// The document. `root` is the URI of the XCAP root and ends with `/`.
pub fn document(root: &str, changes: &[Changed]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xcap-diff xmlns=\"{NAMESPACE}\" xcap-root=\"{}\">\n",
        escape(root)
    );
    for Changed { path, previous_tag, new_tag } in changes {
        write!(text, "  <document").expect("a text takes everything");
        let attributes = [
            ("new-etag", new_tag.as_deref()),
            ("sel", Some(path)),
            ("previous-etag", previous_tag.as_deref()),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                write!(text, " {name}=\"{}\"", escape(value)).expect("a text takes everything");
            }
        }
        text.push_str("/>\n");
    }
    text.push_str("</xcap-diff>\n");
    text
}
