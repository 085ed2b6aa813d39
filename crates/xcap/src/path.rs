//! What the path of a request names, below the XCAP root (RFC 4825 §6).

use crate::selector::{NodeSelector, SelectorError};
use crate::text::{percent_decode, percent_encode};

/// Longest path with its query, in octets. A selector by addresses takes some hundred.
pub const TARGET_OCTETS_MAX: usize = 8 * 1024;
/// Most segments of a document's name.
const SEGMENTS_MAX: usize = 8;
/// Stands between a document and a node in it (RFC 4825 §6.2).
const SEPARATOR: &str = "~~";

/// A resource: a document, or a node in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The application (AUID, RFC 4825 §5.1).
    pub auid: String,
    /// Whose documents.
    pub tree: Tree,
    /// The document's name below the tree, percent-decoded; folders, if any, stand before it with `/`.
    pub document: String,
    /// The node, if not the whole document.
    pub node: Option<NodeSelector>,
}

/// Whose documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Everybody's.
    Global,
    /// A user's: the XCAP user identifier, percent-decoded.
    User(String),
}

/// Why a path names no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing can be there: 404.
    #[error("the path leads to no document")]
    Nowhere,
    /// It cannot be understood: 400.
    #[error("the node selector is wrong: {0}")]
    Selector(#[from] SelectorError),
    /// Percent-encoding that is none: 400.
    #[error("percent-encoding that is none")]
    Encoding,
    /// 414.
    #[error("longer than {TARGET_OCTETS_MAX} octets")]
    TooLong,
}

impl Resource {
    /// Reads what stands behind the XCAP root, `AUID/users/XUI/DOCUMENT/~~/SELECTOR?QUERY`, still percent-encoded.
    pub fn parse(target: &str) -> Result<Resource, PathError> {
        if target.len() > TARGET_OCTETS_MAX {
            return Err(PathError::TooLong);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (document, node) = split_at_separator(path);
        let mut segments = document.trim_start_matches('/').split('/').map(percent_decode);
        let mut next = || segments.next().map(|segment| segment.ok_or(PathError::Encoding)).transpose();
        let auid = next()?.filter(|auid| !auid.is_empty()).ok_or(PathError::Nowhere)?;
        let tree = match next()?.as_deref() {
            Some("global") => Tree::Global,
            Some("users") => Tree::User(next()?.filter(|xui| !xui.is_empty()).ok_or(PathError::Nowhere)?),
            _ => return Err(PathError::Nowhere),
        };
        let mut name = Vec::new();
        while let Some(segment) = next()? {
            // Folders by other names, and a `/` that is none.
            let is_name = !matches!(&*segment, "" | "." | "..") && !segment.contains(['/', '\0']);
            if !is_name || name.len() == SEGMENTS_MAX {
                return Err(PathError::Nowhere);
            }
            name.push(segment);
        }
        if name.is_empty() {
            return Err(PathError::Nowhere);
        }
        let node = node.map(|selector| NodeSelector::parse(selector, query)).transpose()?;
        Ok(Resource { auid, tree, document: name.join("/"), node })
    }
}

impl Resource {
    /// Where the first steps of the node's selector lead, or the document for none, as a path below the XCAP root.
    pub(crate) fn ancestor(&self, steps: usize) -> String {
        let mut path = self.tree_path();
        path.push('/');
        path.push_str(&percent_encode(&self.document));
        if let Some(node) = self.node.as_ref().filter(|_| steps > 0) {
            path.push('/');
            path.push_str(SEPARATOR);
            path.push('/');
            path.push_str(&node.of_first(steps));
        }
        path
    }

    /// The tree of the documents, as a path below the XCAP root.
    pub(crate) fn tree_path(&self) -> String {
        let auid = segment(&self.auid);
        match &self.tree {
            Tree::Global => format!("{auid}/global"),
            Tree::User(xui) => format!("{auid}/users/{}", segment(xui)),
        }
    }

    /// The document, as it stands in `sel` of an xcap-diff document (RFC 5874 §4).
    pub fn document_path(&self) -> String {
        self.ancestor(0)
    }
}

fn segment(text: &str) -> String {
    percent_encode(text).replace('/', "%2F")
}

/// The document's part of a path and the selector, still encoded. `~` may be encoded like any character.
fn split_at_separator(path: &str) -> (&str, Option<&str>) {
    let mut at = 0;
    for segment in path.split('/') {
        let is_separator = segment == SEPARATOR
            || (segment.contains('%') && percent_decode(segment).as_deref() == Some(SEPARATOR));
        if is_separator {
            let end = at + segment.len();
            return (
                path[..at].strip_suffix('/').unwrap_or(""),
                Some(path[end..].strip_prefix('/').unwrap_or("")),
            );
        }
        at += segment.len() + 1;
    }
    (path, None)
}
