//! The model of a document.

use std::collections::BTreeSet;

use directory::DomainName;

use crate::address::address_of_uri;
use crate::xml::{Document, Element, Leniency};
use crate::{Level, Relation, time};

use super::{
    BOUNDS, COMMON_POLICY, EXTENSION, Except, Handling, Identity, PRES_RULES, RULES_MAX, Rule, Rules,
    RulesError,
};

/// RFC 5025 §3.2.1.
const SUB_HANDLINGS: [&str; 4] = ["block", "polite-block", "confirm", "allow"];
/// COMPAT: clients of OMA's presence (XDM) write their default rule with this condition: whoever no other rule names.
const OMA_COMMON_POLICY: &str = "urn:oma:xml:xdm:common-policy";

impl Rules {
    /// Reads a document.
    pub fn read(text: &[u8]) -> Result<Rules, RulesError> {
        let document = Document::read(text, &BOUNDS, Leniency::None)?;
        Rules::of(document.root())
    }

    pub(super) fn of(root: Element<'_, '_>) -> Result<Rules, RulesError> {
        if !root.is(COMMON_POLICY, "ruleset") {
            return Err(RulesError::NotRuleset);
        }
        if !root.holds_only(COMMON_POLICY, &["rule"]) {
            return Err(RulesError::Schema("a <ruleset> holds <rule> and nothing else"));
        }
        let mut ids = BTreeSet::new();
        let mut rules = Vec::new();
        for element in root.children_of(COMMON_POLICY, "rule") {
            let id = element.attribute("id").unwrap_or_default();
            if id.is_empty() || !ids.insert(id) {
                return Err(RulesError::BadId);
            }
            if rules.len() == RULES_MAX {
                return Err(RulesError::TooManyRules);
            }
            check_schema(element)?;
            rules.push(rule(element, id));
        }
        Ok(Rules { rules })
    }
}

fn check_schema(rule: Element<'_, '_>) -> Result<(), RulesError> {
    let parts: Vec<_> = rule.children().map(Element::local).collect();
    let all = ["conditions", "actions", "transformations"];
    let known = all.into_iter().filter(|name| parts.contains(name));
    let is_known = rule.holds_only(COMMON_POLICY, &all)
        && rule.children().all(|part| part.namespace() == COMMON_POLICY)
        && known.eq(parts.iter().copied());
    if !is_known {
        return Err(RulesError::Schema(
            "a <rule> holds <conditions>, <actions> and <transformations>, in this order",
        ));
    }
    let mut conditions = rule.children_of(COMMON_POLICY, "conditions");
    if !conditions.all(|c| c.holds_only(COMMON_POLICY, &["identity", "sphere", "validity"])) {
        return Err(RulesError::Schema("<conditions> hold something unknown of common policy"));
    }
    let actions = rule.child_of(COMMON_POLICY, "actions").into_iter();
    let mut handlings = actions.flat_map(|actions| actions.children_of(PRES_RULES, "sub-handling"));
    if !handlings.all(|handling| SUB_HANDLINGS.contains(&handling.characters())) {
        return Err(RulesError::Schema(
            "a <sub-handling> that is none of block, polite-block, confirm and allow",
        ));
    }
    Ok(())
}

pub(super) fn rule(element: Element<'_, '_>, id: &str) -> Rule {
    let mut rule = Rule {
        id: id.into(),
        identities: vec![Identity::Everybody { except: Vec::new() }],
        relation: None,
        is_never: false,
        validity: None,
        handling: handling(element),
    };
    let mut has_identity = false;
    for condition in element.child_of(COMMON_POLICY, "conditions").into_iter().flat_map(Element::children) {
        match (condition.namespace(), condition.local()) {
            (COMMON_POLICY, "identity") => {
                // Both of two would have to hold, and nothing writes two.
                rule.is_never |= std::mem::replace(&mut has_identity, true);
                rule.identities = condition.children().filter_map(identity).collect();
            }

            (COMMON_POLICY, "validity") => rule.validity = Some(validity(condition)),
            (EXTENSION, "same-organisation") => rule.and_relation(Relation::SameOrganisation),
            (EXTENSION, "federated") => rule.and_relation(Relation::Federated),
            (OMA_COMMON_POLICY, "other-identity") => {}
            _ => rule.is_never = true,
        }
    }
    rule
}

impl Rule {
    /// Nobody is both.
    fn and_relation(&mut self, relation: Relation) {
        self.is_never |= self.relation.is_some_and(|known| known != relation);
        self.relation = Some(relation);
    }
}

pub(super) fn identity(element: Element<'_, '_>) -> Option<Identity> {
    if element.namespace() != COMMON_POLICY {
        return None;
    }
    match element.local() {
        "one" => address_of_uri(element.attribute("id")?).map(Identity::User),
        "many" => {
            let excepts: Option<Vec<_>> = element.children_of(COMMON_POLICY, "except").map(except).collect();
            // An exception that is not understood could be anybody: then the rule is for nobody.
            let except = excepts?;
            match element.attribute("domain") {
                Some(domain) => Some(Identity::Domain { domain: DomainName::parse(domain).ok()?, except }),
                None => Some(Identity::Everybody { except }),
            }
        }
        _ => None,
    }
}

fn except(element: Element<'_, '_>) -> Option<Except> {
    match (element.attribute("id"), element.attribute("domain")) {
        (Some(id), _) => address_of_uri(id).map(Except::User),
        (None, Some(domain)) => DomainName::parse(domain).ok().map(Except::Domain),
        (None, None) => None,
    }
}

/// RFC 4745 §7.3: pairs of `<from>` and `<until>`; a pair that cannot be read never holds.
fn validity(element: Element<'_, '_>) -> Vec<(u64, u64)> {
    let mut pairs = Vec::new();
    let mut from = None;
    for bound in element.children().filter(|bound| bound.namespace() == COMMON_POLICY) {
        let at = time::parse(bound.characters());
        match bound.local() {
            "from" => from = at,
            "until" => pairs.extend(from.take().zip(at)),
            _ => {}
        }
    }
    pairs
}

fn handling(rule: Element<'_, '_>) -> Option<Handling> {
    let actions = rule.child_of(COMMON_POLICY, "actions");
    let handling = actions.and_then(|actions| actions.child_of(PRES_RULES, "sub-handling"));
    let transformations = rule.child_of(COMMON_POLICY, "transformations");
    let level = transformations
        .and_then(|transformations| transformations.child_of(EXTENSION, "level"))
        .and_then(|level| Level::from_name(level.characters()));
    match (handling.map(Element::characters), level) {
        // A client that knows nothing of our element changes the action, and that must count.
        (Some("block"), _) => Some(Handling::Block),
        (Some("polite-block"), _) => Some(Handling::PoliteBlock),
        (Some("confirm"), _) => Some(Handling::Confirm),
        (Some("allow") | None, Some(level)) => Some(Handling::Allow(level)),
        (Some("allow"), None) => Some(Handling::Allow(transformations.map_or(Level::External, provided))),
        // The schema has no other; what is not understood is the least.
        (Some(_), _) => Some(Handling::Block),
        (None, None) => None,
    }
}

/// The highest level of which the transformations provide everything (RFC 5025 §3.3).
fn provided(transformations: Element<'_, '_>) -> Level {
    let all_of = |provide: &'static str, all: &'static str| {
        let provide = transformations.child_of(PRES_RULES, provide);
        provide.is_some_and(|provide| provide.child_of(PRES_RULES, all).is_some())
    };
    let all_attributes = transformations.child_of(PRES_RULES, "provide-all-attributes").is_some();
    let attribute = |name: &'static str| {
        let value = transformations.child_of(PRES_RULES, name).map(Element::characters);
        all_attributes || value.is_some_and(|value| !matches!(value, "" | "false" | "0"))
    };
    let is_company = all_of("provide-persons", "all-persons")
        && all_of("provide-services", "all-services")
        && ["provide-activities", "provide-note", "provide-user-input"].into_iter().all(attribute);
    if !is_company {
        return Level::External;
    }
    if !attribute("provide-place-type") {
        return Level::Company;
    }
    if all_attributes && all_of("provide-devices", "all-devices") { Level::Personal } else { Level::Team }
}
