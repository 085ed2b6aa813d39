//! The applications (RFC 4825 §5) that documents are kept for, and what their documents must be.

use presence::lists::{self, Group, Lists};
use presence::rls_services::{self, Service};
use presence::rules::{self, Rules};
use xcap::{Conflict, Document, Taken};

/// The name of the document that counts (RFC 4826 §3.4.6, RFC 5025 §9.7).
pub(crate) const INDEX: &str = "index";
/// Longest name of a document, in octets.
const NAME_OCTETS_MAX: usize = 128;

/// An application. The order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Application {
    /// Access rules (RFC 5025 §9).
    PresRules,
    /// Contact lists (RFC 4826 §3.4).
    ResourceLists,
    /// List services (RFC 4826 §4.4).
    RlsServices,
}

/// What a document says.
#[derive(Debug)]
pub(crate) enum Meaning {
    Lists(Lists),
    Rules(Rules),
    Services(Vec<Service>),
    /// It is not the one that counts.
    None,
}

impl Application {
    pub(crate) const ALL: [Application; 3] =
        [Application::PresRules, Application::ResourceLists, Application::RlsServices];

    /// The name in paths.
    pub(crate) fn auid(self) -> &'static str {
        match self {
            Application::PresRules => "pres-rules",
            Application::ResourceLists => "resource-lists",
            Application::RlsServices => "rls-services",
        }
    }

    pub(crate) fn from_auid(auid: &str) -> Option<Application> {
        Application::ALL.into_iter().find(|application| application.auid() == auid)
    }

    /// The type of its documents.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Application::PresRules => rules::CONTENT_TYPE,
            Application::ResourceLists => lists::CONTENT_TYPE,
            Application::RlsServices => rls_services::CONTENT_TYPE,
        }
    }

    /// The namespace of names without a prefix in node selectors.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Application::PresRules => "urn:ietf:params:xml:ns:pres-rules",
            Application::ResourceLists => "urn:ietf:params:xml:ns:resource-lists",
            Application::RlsServices => "urn:ietf:params:xml:ns:rls-services",
        }
    }

    /// What holds without a document.
    pub(crate) fn nothing(self) -> Meaning {
        match self {
            Application::PresRules => Meaning::Rules(Rules::default()),
            Application::ResourceLists => Meaning::Lists(Lists::default()),
            Application::RlsServices => Meaning::Services(Vec::new()),
        }
    }

    /// What holds where the document in storage cannot be read. Rules that nobody understands allow nobody anything.
    pub(crate) fn unreadable(self, name: &str) -> Meaning {
        match (self, name) {
            (Application::PresRules, INDEX) => {
                Meaning::Rules(Rules::read(BLOCK_ALL.as_bytes()).expect("it is ours"))
            }
            _ => Meaning::None,
        }
    }
}

/// Rules that block everybody.
const BLOCK_ALL: &str = "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\"><rule id=\"unreadable\"><actions>\
    <sub-handling xmlns=\"urn:ietf:params:xml:ns:pres-rules\">block</sub-handling></actions></rule></ruleset>";

/// Judges a document by itself, and says what it says.
pub(crate) fn read(application: Application, name: &str, text: &str) -> Result<Meaning, Conflict> {
    Document::parse(text)?;
    read_well_formed(application, name, text)
}

/// The same for one that is known to be well-formed and within the bounds.
pub(crate) fn read_well_formed(
    application: Application,
    name: &str,
    text: &str,
) -> Result<Meaning, Conflict> {
    let is_index = name == INDEX;
    if !is_index && application != Application::ResourceLists {
        return Err(Conflict::Constraint(format!("the one document of {} is index", application.auid())));
    }
    if name.len() > NAME_OCTETS_MAX || name.contains('/') {
        return Err(Conflict::Constraint("a document is named by one word".to_owned()));
    }
    let text = text.as_bytes();
    Ok(match application {
        Application::PresRules => Meaning::Rules(Rules::read(text).map_err(|e| refused(&e))?),
        Application::ResourceLists => {
            let lists = Lists::read(text).map_err(|e| refused(&e))?;
            check_unique(&lists)?;
            if is_index { Meaning::Lists(lists) } else { Meaning::None }
        }
        Application::RlsServices => Meaning::Services(rls_services::read(text).map_err(|e| refused(&e))?),
    })
}

/// What the reader of an application says against a document. Whether it is the schema or a bound, its words tell.
fn refused(error: &dyn std::error::Error) -> Conflict {
    Conflict::Schema(error.to_string())
}

/// RFC 4826 §3.4.5: within one list, lists differ by their names and entries by their URIs.
fn check_unique(lists: &Lists) -> Result<(), Conflict> {
    let mut taken = Vec::new();
    let top: Vec<&Group> = lists.groups.iter().collect();
    duplicates(&top, "resource-lists", &mut taken);
    if taken.is_empty() { Ok(()) } else { Err(Conflict::Uniqueness(taken)) }
}

/// Most duplicates that one answer names.
const TAKEN_MAX: usize = 16;

fn duplicates(groups: &[&Group], path: &str, taken: &mut Vec<Taken>) {
    let mut tell = |field: String| {
        if taken.len() < TAKEN_MAX {
            taken.push(Taken { field, alternatives: Vec::new() });
        }
    };
    let mut names = std::collections::BTreeSet::new();
    for (at, group) in groups.iter().enumerate() {
        if group.name.as_ref().is_some_and(|name| !names.insert(name)) {
            tell(format!("{path}/list[{}]/@name", at + 1));
        }
        let mut uris = std::collections::BTreeSet::new();
        for (place, contact) in group.contacts().enumerate() {
            if !uris.insert(&contact.uri) {
                tell(format!("{path}/list[{}]/entry[{}]/@uri", at + 1, place + 1));
            }
        }
    }
    for (at, group) in groups.iter().enumerate() {
        let inner: Vec<&Group> = group.groups().collect();
        duplicates(&inner, &format!("{path}/list[{}]", at + 1), taken);
    }
}
