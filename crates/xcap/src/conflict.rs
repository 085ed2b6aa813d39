//! Why a document may not become what was asked for, and how the client is told (RFC 4825 §11).

use std::fmt::Write;

use crate::text::escape;
use crate::xml::{XmlError, XmlFault};

/// A conflict: the answer is 409 with the body of [`Conflict::body`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The document is no well-formed XML.
    #[error("{0}")]
    NotWellFormed(String),
    /// The body is no single element.
    #[error("{0}")]
    NotXmlFragment(String),
    /// The element or document that it should stand in does not exist.
    #[error("the parent does not exist")]
    NoParent {
        /// The URI of the closest ancestor that exists.
        ancestor: String,
    },
    /// The application's schema does not allow it.
    #[error("{0}")]
    Schema(String),
    /// The body is no value of an attribute.
    #[error("the body is no value of an attribute")]
    NotAttributeValue,
    /// What was put would not be what the same URI gives back.
    #[error("{0}")]
    CannotInsert(&'static str),
    /// The same URI would still give something back.
    #[error("{0}")]
    CannotDelete(&'static str),
    /// What must be unique is not.
    #[error("something else has this already")]
    Uniqueness(Vec<Taken>),
    /// The application's constraints do not allow it.
    #[error("{0}")]
    Constraint(String),
    /// The body is no UTF-8.
    #[error("the body is not in UTF-8")]
    NotUtf8,
}

/// A value that something else has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where it stands in the document: a node selector.
    pub field: String,
    /// A value that could be used instead.
    pub alternatives: Vec<String>,
}

impl Conflict {
    /// The type of the body.
    pub const MEDIA_TYPE: &str = "application/xcap-error+xml";

    /// The body (RFC 4825 §11.2).
    pub fn body(&self) -> String {
        let phrase = format!(" phrase=\"{}\"", escape(&self.to_string()));
        let content = match self {
            Conflict::NotWellFormed(_) => format!("<not-well-formed{phrase}/>"),
            Conflict::NotXmlFragment(_) => format!("<not-xml-frag{phrase}/>"),
            Conflict::NoParent { ancestor } => {
                format!("<no-parent{phrase}><ancestor>{}</ancestor></no-parent>", escape(ancestor))
            }
            Conflict::Schema(_) => format!("<schema-validation-error{phrase}/>"),
            Conflict::NotAttributeValue => format!("<not-xml-att-value{phrase}/>"),
            Conflict::CannotInsert(_) => format!("<cannot-insert{phrase}/>"),
            Conflict::CannotDelete(_) => format!("<cannot-delete{phrase}/>"),
            Conflict::Uniqueness(taken) => {
                let mut text = format!("<uniqueness-failure{phrase}>");
                for Taken { field, alternatives } in taken {
                    write!(text, "<exists field=\"{}\">", escape(field)).expect("a text takes everything");
                    for alternative in alternatives {
                        write!(text, "<alt-value>{}</alt-value>", escape(alternative))
                            .expect("a text takes everything");
                    }
                    text.push_str("</exists>");
                }
                text.push_str("</uniqueness-failure>");
                text
            }
            Conflict::Constraint(_) => format!("<constraint-failure{phrase}/>"),
            Conflict::NotUtf8 => format!("<not-utf-8{phrase}/>"),
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xcap-error xmlns=\"urn:ietf:params:xml:ns:xcap-error\">{content}</xcap-error>\n"
        )
    }
}

impl From<XmlError> for Conflict {
    fn from(error: XmlError) -> Conflict {
        match error.fault {
            XmlFault::Malformed(_) => Conflict::NotWellFormed(error.to_string()),
            XmlFault::Encoding => Conflict::NotUtf8,
            XmlFault::DocumentType | XmlFault::Limit(_) => Conflict::Constraint(error.to_string()),
        }
    }
}
