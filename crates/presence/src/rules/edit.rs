//! Changes of a document.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::address::{address_of_uri, uri_of_address};
use crate::xml::{DECLARATION, Document, Edits, Element, Escaped, Leniency};
use crate::{Level, Relation};

use super::read::{self, identity};
use super::{
    BOUNDS, COMMON_POLICY, EXTENSION, Handling, Identity, PRES_RULES, RULES_MAX, Rules, RulesError, Subject,
};

/// Why a document was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The document that is there cannot be read, or there would be too many rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// Gives a subject a level, or takes away what was said of it, in a document or in a new one where there is none.
///
/// A rule that is for the subject alone goes, and from one that is for others as well the subject is taken out. Users and
/// domains of one level share a rule. What does not name the subject stays as it was, to the octet.
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
    let mut shared = None;
    for element in root.children_of(COMMON_POLICY, "rule") {
        let is_shared =
            shared.is_none() && level.is_some_and(|level| is_shared_rule(element, subject, level));
        match Named::of(element, subject) {
            // It says already what is to be said, and no other rule may say more.
            Named::Alone | Named::Among(_) if is_shared => shared = Some(None),
            Named::Not if is_shared => shared = Some(Some(element)),
            Named::Not => {}
            Named::Among(alternatives) => {
                alternatives.into_iter().for_each(|one| edits.remove_with_line(one.span()));
            }
            Named::Alone => edits.remove_with_line(element.span()),
        }
    }
    match (level, shared) {
        (None, _) | (_, Some(None)) => {}
        (Some(_), Some(Some(rule))) => {
            let identity = rule.child_of(COMMON_POLICY, "conditions").expect("it has an identity");
            let identity = identity.child_of(COMMON_POLICY, "identity").expect("it has an identity");
            let one = identity_text(subject, identity.prefix()).expect("only users and domains share");
            edits.insert(identity, identity.children().next_back(), &one);
        }
        (Some(level), None) => {
            let id = free_id(&rules, subject, level)?;
            edits.insert(root, root.children().next_back(), &rule_text(&id, subject, level));
        }
    }
    let changed = edits.apply();
    Rules::read(changed.as_bytes())?;
    Ok(changed)
}

/// Whether a rule is one that was made here for users and domains of the level: it names nothing else, under no other
/// condition, and says the level in our words.
fn is_shared_rule(rule: Element<'_, '_>, subject: &Subject, level: Level) -> bool {
    let model = read::rule(rule, "");
    let by_name = |identity: &Identity| match identity {
        Identity::User(_) => true,
        Identity::Domain { except, .. } => except.is_empty(),
        Identity::Everybody { .. } => false,
    };
    let words = rule
        .child_of(COMMON_POLICY, "transformations")
        .and_then(|transformations| transformations.child_of(EXTENSION, "level"))
        .map(Element::characters);
    matches!(subject, Subject::User(_) | Subject::Domain(_))
        && words == Some(level.name())
        && model.handling == Some(handling(level))
        && model.relation.is_none()
        && model.validity.is_none()
        && !model.is_never
        && !model.identities.is_empty()
        && model.identities.iter().all(by_name)
}

fn handling(level: Level) -> Handling {
    if level == Level::Blocked { Handling::PoliteBlock } else { Handling::Allow(level) }
}

/// An identifier that says what the rule is for, where it is free.
fn free_id(rules: &Rules, subject: &Subject, level: Level) -> Result<String, EditError> {
    let ids: BTreeSet<&str> = rules.rules.iter().map(|rule| &*rule.id).collect();
    let word = match subject {
        Subject::User(_) | Subject::Domain(_) => level.name(),
        Subject::SameOrganisation => "same-organisation",
        Subject::Federated => "federated",
        Subject::Everybody => "everybody",
    };
    let numbered = (2..=RULES_MAX + 2).map(|number| format!("{word}-{number}"));
    let free = std::iter::once(word.to_owned()).chain(numbered).find(|id| !ids.contains(&**id));
    free.ok_or(EditError::Rules(RulesError::TooManyRules))
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
    let condition = match subject {
        Subject::User(_) | Subject::Domain(_) => identity_text(subject, "").expect("it has a name"),
        Subject::SameOrganisation => "<c:same-organisation/>".to_owned(),
        Subject::Federated => "<c:federated/>".to_owned(),
        Subject::Everybody => "<many/>".to_owned(),
    };
    let _ = match subject {
        Subject::SameOrganisation | Subject::Federated => write!(xml, "{condition}"),
        _ => write!(xml, "<identity>{condition}</identity>"),
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
    let _ = write!(xml, "<c:level>{}</c:level></transformations></rule>", level.name());
    xml
}

/// The alternative of an identity that names a user or a domain.
fn identity_text(subject: &Subject, prefix: &str) -> Option<String> {
    match subject {
        Subject::User(address) => {
            let uri = uri_of_address(address);
            debug_assert_eq!(address_of_uri(&uri).as_ref(), Some(address));
            Some(format!("<{prefix}one id=\"{}\"/>", Escaped(&uri)))
        }
        Subject::Domain(domain) => Some(format!("<{prefix}many domain=\"{}\"/>", Escaped(domain.as_str()))),
        Subject::SameOrganisation | Subject::Federated | Subject::Everybody => None,
    }
}
