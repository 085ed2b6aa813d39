//! Changes of a document.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::address::{address_of_uri, uri_of_address};
use crate::xml::{DECLARATION, Document, Edits, Element, Escaped, Leniency};
use crate::{Level, Relation};

use super::read::identity;
use super::{BOUNDS, COMMON_POLICY, EXTENSION, Identity, PRES_RULES, RULES_MAX, Rules, RulesError, Subject};

/// Why a document was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The document that is there cannot be read, or there would be too many rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// Gives a subject a level, or takes away what was said of it, in a document or in a new one where there is none.
///
/// A rule that was for the subject alone is replaced where it stands; from one that was for others as well, the subject is
/// taken out. What does not name the subject stays as it was, to the octet.
pub fn set_level(
    document: Option<&str>,
    subject: &Subject,
    level: Option<Level>,
) -> Result<String, EditError> {
    let empty = format!("{DECLARATION}<ruleset xmlns=\"{COMMON_POLICY}\"/>\r\n");
    let text = document.unwrap_or(&empty);
    let tree = Document::read(text.as_bytes(), &BOUNDS, Leniency::None).map_err(RulesError::from)?;
    let root = tree.root();
    let rules = Rules::of(root)?;
    let mut edits = Edits::new(root.text());
    let mut new = level.map(|level| (subject, level));
    for element in root.children_of(COMMON_POLICY, "rule") {
        match Named::of(element, subject) {
            Named::Not => {}
            Named::Among(alternatives) => {
                alternatives.into_iter().for_each(|one| edits.remove_with_line(one.span()));
            }
            Named::Alone => match new.take() {
                Some((subject, level)) => {
                    let id = element.attribute("id").expect("every rule has one");
                    edits.replace(element.span(), rule_text(id, subject, level));
                }
                None => edits.remove_with_line(element.span()),
            },
        }
    }
    if let Some((subject, level)) = new {
        let ids: BTreeSet<&str> = rules.rules.iter().map(|rule| &*rule.id).collect();
        let id = (1..=RULES_MAX + 1).map(|n| format!("c{n}")).find(|id| !ids.contains(&**id));
        let id = id.ok_or(RulesError::TooManyRules)?;
        edits.insert(root, root.children().next_back(), &rule_text(&id, subject, level));
    }
    let changed = edits.apply();
    Rules::read(changed.as_bytes())?;
    Ok(changed)
}

/// How a rule names a subject.
enum Named<'d, 'a> {
    Not,
    /// And nobody else.
    Alone,
    /// By these alternatives of its identity, besides others.
    Among(Vec<Element<'d, 'a>>),
}

impl<'d, 'a> Named<'d, 'a> {
    fn of(rule: Element<'d, 'a>, subject: &Subject) -> Named<'d, 'a> {
        let conditions = rule.child_of(COMMON_POLICY, "conditions");
        let relation = conditions.and_then(|conditions| {
            let is = |name| conditions.child_of(EXTENSION, name).is_some();
            let ours = is("same-organisation").then_some(Relation::SameOrganisation);
            ours.or(is("federated").then_some(Relation::Federated))
        });
        let identities: Vec<_> =
            conditions.into_iter().flat_map(|c| c.children_of(COMMON_POLICY, "identity")).collect();
        let names = |element: &Element<'_, '_>| match (identity(*element), subject) {
            (Some(Identity::User(address)), Subject::User(user)) => address == *user,
            (Some(Identity::Domain { domain, .. }), Subject::Domain(name)) => domain == *name,
            (Some(Identity::Everybody { .. }), subject) => is_relation(subject, relation),
            _ => false,
        };
        if identities.is_empty() {
            return if is_relation(subject, relation) { Named::Alone } else { Named::Not };
        }
        let alternatives: Vec<_> = identities.into_iter().flat_map(Element::children).collect();
        let named: Vec<_> = alternatives.iter().filter(|element| names(element)).copied().collect();
        match named.len() {
            0 => Named::Not,
            count if count == alternatives.len() => Named::Alone,
            _ => Named::Among(named),
        }
    }
}

/// Whether a rule for everybody of a relation is for the subject.
fn is_relation(subject: &Subject, relation: Option<Relation>) -> bool {
    match subject {
        Subject::SameOrganisation => relation == Some(Relation::SameOrganisation),
        Subject::Federated => relation == Some(Relation::Federated),
        Subject::Everybody => relation.is_none(),
        Subject::User(_) | Subject::Domain(_) => false,
    }
}

/// A rule with the namespaces that it needs, so that it means the same in every document. Other servers read the same level
/// from its standard elements.
fn rule_text(id: &str, subject: &Subject, level: Level) -> String {
    let mut xml = format!(
        "<rule xmlns=\"{COMMON_POLICY}\" xmlns:pr=\"{PRES_RULES}\" xmlns:c=\"{EXTENSION}\" id=\"{}\"><conditions>",
        Escaped(id)
    );
    let _ = match subject {
        Subject::User(address) => {
            let uri = uri_of_address(address);
            debug_assert_eq!(address_of_uri(&uri).as_ref(), Some(address));
            write!(xml, "<identity><one id=\"{}\"/></identity>", Escaped(&uri))
        }
        Subject::Domain(domain) => {
            write!(xml, "<identity><many domain=\"{}\"/></identity>", Escaped(domain.as_str()))
        }
        Subject::SameOrganisation => write!(xml, "<c:same-organisation/>"),
        Subject::Federated => write!(xml, "<c:federated/>"),
        Subject::Everybody => write!(xml, "<identity><many/></identity>"),
    };
    let handling = if level == Level::Blocked { "polite-block" } else { "allow" };
    let _ = write!(
        xml,
        "</conditions><actions><pr:sub-handling>{handling}</pr:sub-handling></actions><transformations>"
    );
    if level == Level::Personal {
        xml.push_str("<pr:provide-devices><pr:all-devices/></pr:provide-devices>");
    }
    if level >= Level::Company {
        xml.push_str("<pr:provide-persons><pr:all-persons/></pr:provide-persons>");
    }
    if level >= Level::External {
        xml.push_str("<pr:provide-services><pr:all-services/></pr:provide-services>");
    }
    match level {
        Level::Blocked | Level::External => {}
        Level::Company | Level::Team => {
            xml.push_str(
                "<pr:provide-activities>true</pr:provide-activities><pr:provide-note>true</pr:provide-note>\
                 <pr:provide-user-input>full</pr:provide-user-input>",
            );
            if level == Level::Team {
                xml.push_str("<pr:provide-place-type>true</pr:provide-place-type>");
            }
        }
        Level::Personal => xml.push_str("<pr:provide-all-attributes/>"),
    }
    if level != Level::Blocked {
        let _ = write!(xml, "<c:level>{}</c:level>", level.name());
    }
    xml.push_str("</transformations></rule>");
    xml
}
