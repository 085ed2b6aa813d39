//! What of the directory the address book shows, and to whom.

use std::collections::BTreeMap;

use directory::{ObjectKind, PhoneKind};
use serde::{Deserialize, Serialize};

/// Days for which a version can be named, where nothing else is configured: a client that was away for a month's holiday still gets
/// a delta.
pub const KEEP_DAYS_DEFAULT: u16 = 30;

/// The section `[address_book]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookSettings {
    /// For how long a version can be named after another followed it. Storage must keep what objects were for at least as long.
    pub keep_days: u16,
    /// Which kinds of objects are listed.
    pub kinds: Vec<ObjectKind>,
    /// Who sees an attribute. Those that are not named stay as [`Attribute::visibility_default`] says.
    pub visible: BTreeMap<Attribute, Visibility>,
    /// Largest group whose members are told; those of larger groups are counted.
    pub members_max: usize,
    /// Where clients reach this server (`https://sip.corp.example:8443`), for addresses of photos in vCards. Without: the host that the
    /// request named.
    pub public_url: Option<String>,
    /// Whether CardDAV is offered.
    pub carddav: bool,
}

impl Default for BookSettings {
    fn default() -> BookSettings {
        use ObjectKind::{Contact, Equipment, Group, Person, Room};
        BookSettings {
            keep_days: KEEP_DAYS_DEFAULT,
            kinds: vec![Person, Contact, Group, Room, Equipment],
            visible: BTreeMap::new(),
            members_max: 5000,
            public_url: None,
            carddav: true,
        }
    }
}

impl BookSettings {
    /// Who sees an attribute.
    pub fn visibility(&self, attribute: Attribute) -> Visibility {
        self.visible.get(&attribute).copied().unwrap_or(attribute.visibility_default())
    }
}

/// Who sees an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Everybody who may sign in.
    Everyone,
    /// Administrators alone.
    Administrators,
    /// Nobody: the address book does without it.
    Nobody,
}

/// For whom the book is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Everybody who may sign in.
    Everyone,
    /// Administrators.
    Administrators,
}

impl Audience {
    pub(crate) const ALL: [Audience; 2] = [Audience::Everyone, Audience::Administrators];

    /// Whether this audience sees what has this visibility.
    pub(crate) fn sees(self, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Everyone => true,
            Visibility::Administrators => self == Audience::Administrators,
            Visibility::Nobody => false,
        }
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self == Audience::Administrators)
    }
}

/// What can be shown or kept back. The display name, the kind and the id always belong to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// SIP address.
    #[serde(rename = "sip_address")]
    Address,
    /// Given name.
    GivenName,
    /// Family name.
    Surname,
    /// The name as it is spoken.
    PhoneticName,
    /// What the person does.
    Title,
    /// Department.
    Department,
    /// Company.
    Company,
    /// Room or desk.
    Office,
    /// Street and number.
    Street,
    /// City.
    City,
    /// State or province.
    Region,
    /// Postal code.
    PostalCode,
    /// Country.
    Country,
    /// Addresses of electronic mail.
    Mail,
    /// Numbers at work.
    WorkPhone,
    /// Numbers that are carried along.
    MobilePhone,
    /// Numbers at home.
    HomePhone,
    /// Numbers of telephones over IP.
    IpPhone,
    /// Numbers of facsimile.
    Fax,
    /// Numbers of pagers.
    Pager,
    /// Other numbers.
    OtherPhone,
    /// A page about it.
    WebPage,
    /// What else is written about it.
    Notes,
    /// A server's host name.
    Host,
    /// The photo.
    Photo,
    /// The manager, and with it who reports to whom.
    Manager,
    /// Who is in a group, and in which groups somebody is.
    Members,
}

impl Attribute {
    /// What is private, or written for those who keep the directory, is not for everyone unless somebody says so.
    pub fn visibility_default(self) -> Visibility {
        match self {
            Attribute::HomePhone | Attribute::Notes | Attribute::Host => Visibility::Administrators,
            _ => Visibility::Everyone,
        }
    }

    /// The attribute of a name as in `[directory.attributes]` of the configuration; `None`: nothing of this name is shown.
    pub fn of_key(name: &str) -> Option<Attribute> {
        let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
        Attribute::deserialize(name).ok()
    }

    pub(crate) fn of_phone(kind: PhoneKind) -> Attribute {
        match kind {
            PhoneKind::Work => Attribute::WorkPhone,
            PhoneKind::Mobile => Attribute::MobilePhone,
            PhoneKind::Home => Attribute::HomePhone,
            PhoneKind::Ip => Attribute::IpPhone,
            PhoneKind::Fax => Attribute::Fax,
            PhoneKind::Pager => Attribute::Pager,
            PhoneKind::Other => Attribute::OtherPhone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_names_of_the_configuration() {
        assert_eq!(Attribute::of_key("sip_address"), Some(Attribute::Address));
        assert_eq!(Attribute::of_key("home_phone"), Some(Attribute::HomePhone));
        assert_eq!(Attribute::of_key("account_name"), None);
    }

    #[test]
    fn what_is_private_is_not_for_everyone_unless_somebody_says_so() {
        let mut settings = BookSettings::default();
        assert_eq!(settings.visibility(Attribute::HomePhone), Visibility::Administrators);
        assert_eq!(settings.visibility(Attribute::WorkPhone), Visibility::Everyone);
        settings.visible.insert(Attribute::HomePhone, Visibility::Everyone);
        assert_eq!(settings.visibility(Attribute::HomePhone), Visibility::Everyone);
    }
}
