//! Filters of addressbook-query (RFC 6352 §10.5).

use directory::ObjectKind;

use super::xml::{CARDDAV, Element};
use crate::entry::Entry;

/// Most conditions of a filter: no search field has as many.
const CONDITIONS_MAX: usize = 64;

/// Which entries are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    joined: Joined,
    properties: Vec<PropertyFilter>,
}

/// Why a filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterError {
    /// It is none.
    Malformed,
    /// It asks for what we do not look at: parameters.
    Unsupported,
    /// Another collation than those of RFC 6352 §8.3.
    Collation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joined {
    Any,
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PropertyFilter {
    name: String,
    joined: Joined,
    /// Only where the property is not there.
    is_absent: bool,
    texts: Vec<TextMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TextMatch {
    text: String,
    place: Place,
    collation: Collation,
    is_negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Whole,
    Anywhere,
    Beginning,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collation {
    Ascii,
    Unicode,
}

impl Filter {
    /// Lets everything through.
    pub(super) fn everything() -> Filter {
        Filter { joined: Joined::All, properties: Vec::new() }
    }

    pub(super) fn of(filter: &Element) -> Result<Filter, FilterError> {
        let mut conditions = 0;
        let mut properties = Vec::new();
        for element in filter.children.iter().filter(|child| child.is(CARDDAV, "prop-filter")) {
            let mut texts = Vec::new();
            for child in &element.children {
                conditions += 1;
                match child.name.as_str() {
                    "text-match" => texts.push(TextMatch::of(child)?),
                    "param-filter" => return Err(FilterError::Unsupported),
                    _ => {}
                }
            }
            conditions += 1;
            if conditions > CONDITIONS_MAX {
                return Err(FilterError::Unsupported);
            }
            properties.push(PropertyFilter {
                name: element.attribute("name").ok_or(FilterError::Malformed)?.to_ascii_uppercase(),
                joined: Joined::of(element)?,
                is_absent: element.child(CARDDAV, "is-not-defined").is_some(),
                texts,
            });
        }
        Ok(Filter { joined: Joined::of(filter)?, properties })
    }

    pub(super) fn takes(&self, entry: &Entry) -> bool {
        // RFC 6352 §10.5: without a condition all match.
        self.properties.is_empty() || self.joined.over(&self.properties, |property| property.takes(entry))
    }
}

impl Joined {
    fn of(element: &Element) -> Result<Joined, FilterError> {
        match element.attribute("test") {
            None | Some("anyof") => Ok(Joined::Any),
            Some("allof") => Ok(Joined::All),
            Some(_) => Err(FilterError::Malformed),
        }
    }

    fn over<T>(self, conditions: &[T], holds: impl FnMut(&T) -> bool) -> bool {
        match self {
            Joined::Any => conditions.iter().any(holds),
            Joined::All => conditions.iter().all(holds),
        }
    }
}

impl PropertyFilter {
    fn takes(&self, entry: &Entry) -> bool {
        let values = values(entry, &self.name);
        if self.is_absent {
            return values.is_empty();
        }
        if self.texts.is_empty() {
            return !values.is_empty();
        }
        !values.is_empty() && self.joined.over(&self.texts, |text| text.takes(&values))
    }
}

impl TextMatch {
    fn of(element: &Element) -> Result<TextMatch, FilterError> {
        let collation = match element.attribute("collation") {
            None | Some("i;unicode-casemap" | "default") => Collation::Unicode,
            Some("i;ascii-casemap") => Collation::Ascii,
            Some(_) => return Err(FilterError::Collation),
        };
        let place = match element.attribute("match-type") {
            None | Some("contains") => Place::Anywhere,
            Some("equals") => Place::Whole,
            Some("starts-with") => Place::Beginning,
            Some("ends-with") => Place::End,
            Some(_) => return Err(FilterError::Malformed),
        };
        let is_negated = element.attribute("negate-condition") == Some("yes");
        Ok(TextMatch { text: collation.folded(&element.text), place, collation, is_negated })
    }

    fn takes(&self, values: &[String]) -> bool {
        let is_match = |value: &String| {
            let value = self.collation.folded(value);
            match self.place {
                Place::Whole => value == self.text,
                Place::Anywhere => value.contains(&self.text),
                Place::Beginning => value.starts_with(&self.text),
                Place::End => value.ends_with(&self.text),
            }
        };
        values.iter().any(is_match) != self.is_negated
    }
}

impl Collation {
    fn folded(self, text: &str) -> String {
        match self {
            Collation::Ascii => text.to_ascii_lowercase(),
            Collation::Unicode => text.to_lowercase(),
        }
    }
}

/// The values of a vCard's property, as texts without escapes.
fn values(entry: &Entry, name: &str) -> Vec<String> {
    let card = &entry.card;
    let texts = |texts: &[&str], between: &str| {
        let is_there = texts.iter().any(|text| !text.is_empty());
        is_there.then(|| texts.join(between)).into_iter().collect::<Vec<_>>()
    };
    match name {
        "FN" => texts(&[entry.name()], ""),
        "N" => texts(&[&card.surname, &card.given_name], ";"),
        "SORT-STRING" => texts(&[&card.phonetic_name], ""),
        "ORG" => texts(&[&card.company, &card.department], ";"),
        "TITLE" => texts(&[&card.title], ""),
        "EMAIL" => card.mail.clone(),
        "TEL" => card
            .phones
            .iter()
            .flat_map(|phone| [phone.e164.clone(), Some(phone.written.clone())].into_iter().flatten())
            .collect(),
        "ADR" => texts(
            &[&card.office, &card.street, &card.city, &card.region, &card.postal_code, &card.country],
            ";",
        ),
        "URL" => texts(&[&card.web_page], ""),
        "NOTE" => texts(&[&card.notes], ""),
        "IMPP" | "X-SIP" => entry.address.iter().map(|address| format!("sip:{address}")).collect(),
        "UID" => vec![entry.id.0.to_string()],
        "PHOTO" => entry.photo.iter().map(ToString::to_string).collect(),
        "KIND" | "X-ADDRESSBOOKSERVER-KIND" => match entry.kind {
            ObjectKind::Group => vec!["group".to_owned()],
            _ => Vec::new(),
        },
        "VERSION" => vec!["3.0".to_owned()],
        _ => Vec::new(),
    }
}
