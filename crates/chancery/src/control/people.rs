//! Contacts and access levels in the lines of the control socket.

use directory::DomainName;
use frontend::admin::{Access, AccessRule, ContactGroup, ContactSummary};
use presence::Level;
use presence::rules::Subject;
use serde::{Deserialize, Serialize};

use super::protocol::parse_address;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupLine {
    /// Empty where it has none.
    pub(crate) name: String,
    pub(crate) contacts: Vec<ContactLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContactLine {
    pub(crate) address: String,
    pub(crate) name: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessLine {
    /// In the order of the user's rules.
    pub(crate) rules: Vec<AccessRuleLine>,
    /// Where no rule says otherwise.
    pub(crate) same_organisation: String,
    /// Where no rule says otherwise.
    pub(crate) federated: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessRuleLine {
    /// As [`parse_subject`] takes it.
    pub(crate) subject: String,
    pub(crate) level: String,
    /// The rule's identifier in the document.
    pub(crate) rule: String,
}

const SAME_ORGANISATION: &str = "same-organisation";
const FEDERATED: &str = "federated";
const EVERYBODY: &str = "everybody";

/// `user@domain`, `domain`, `same-organisation`, `federated` or `everybody`.
pub(crate) fn parse_subject(text: &str) -> Result<Subject, String> {
    Ok(match text {
        SAME_ORGANISATION => Subject::SameOrganisation,
        FEDERATED => Subject::Federated,
        EVERYBODY => Subject::Everybody,
        address if address.contains('@') => Subject::User(parse_address(address)?),
        domain => Subject::Domain(DomainName::parse(domain).map_err(|_| {
            format!("{text:?} is nobody: write user@domain, a domain, {SAME_ORGANISATION}, {FEDERATED} or {EVERYBODY}")
        })?),
    })
}

pub(crate) fn parse_level(text: &str) -> Result<Level, String> {
    Level::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Level::ALL.iter().map(|level| level.name()).collect();
        format!("{text:?} is no access level; there are {}", names.join(", "))
    })
}

fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::User(address) => address.to_string(),
        Subject::Domain(domain) => domain.to_string(),
        Subject::SameOrganisation => SAME_ORGANISATION.to_owned(),
        Subject::Federated => FEDERATED.to_owned(),
        Subject::Everybody => EVERYBODY.to_owned(),
    }
}

impl From<ContactGroup> for GroupLine {
    fn from(group: ContactGroup) -> GroupLine {
        let line = |ContactSummary { address, name }| ContactLine { address, name };
        GroupLine { name: group.name, contacts: group.contacts.into_iter().map(line).collect() }
    }
}

impl From<Access> for AccessLine {
    fn from(access: Access) -> AccessLine {
        let line = |AccessRule { subject, level, rule }| AccessRuleLine {
            subject: subject_text(&subject),
            level: level.name().to_owned(),
            rule,
        };
        AccessLine {
            rules: access.rules.into_iter().map(line).collect(),
            same_organisation: access.same_organisation.name().to_owned(),
            federated: access.federated.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_as_they_are_read() {
        for text in ["bob@contoso.example", "fabrikam.example", SAME_ORGANISATION, FEDERATED, EVERYBODY] {
            assert_eq!(subject_text(&parse_subject(text).unwrap()), text);
        }
        assert!(parse_subject("").unwrap_err().contains("same-organisation"));
        assert!(parse_subject("a b@contoso.example").is_err());
        assert!(parse_level("boss").unwrap_err().contains("blocked, external, company, team, personal"));
    }
}
