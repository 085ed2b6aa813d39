//! Which attribute is what, and what an entry says of itself.

mod read;
#[cfg(test)]
mod tests;
mod time;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use directory::ObjectId;
use directory_source::{Entry, NameKind, Named, Selection, ServerKind};

pub use read::PHOTO_OCTETS_MAX;
pub(crate) use read::{Claim, Gates, Mapped, digest, read, read_photo};

/// What can be read of an entry; the configuration names the attributes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The SIP address, with or without `sip:`. Of attributes such as proxyAddresses, which hold addresses of several kinds, only those
    /// with `sip:` count.
    SipAddress,
    /// TRUE or FALSE: whether the SIP address may be used.
    SipEnabled,
    /// What its owner signs in as, without a domain.
    AccountName,
    /// What its owner signs in as, with a domain.
    PrincipalName,
    /// The name that people see.
    DisplayName,
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
    /// Addresses of mail.
    Mail,
    /// A page about it.
    WebPage,
    /// What else is written about it.
    Notes,
    /// Telephone numbers at work.
    WorkPhone,
    /// Numbers of mobile telephones.
    MobilePhone,
    /// Telephone numbers at home.
    HomePhone,
    /// Numbers of telephones over IP.
    IpPhone,
    /// Numbers of facsimile machines.
    Fax,
    /// Numbers of pagers.
    Pager,
    /// Other telephone numbers.
    OtherPhone,
    /// A photo, JPEG or PNG.
    Photo,
    /// The manager, by distinguished name.
    Manager,
    /// A group's members, by distinguished name.
    Members,
    /// A group's members, by account name.
    MemberNames,
    /// TRUE or FALSE: whether it is kept out of address lists.
    Hidden,
    /// What kind of mailbox Exchange keeps for it: 16 is a room, 32 equipment.
    RecipientType,
    /// A computer's host name.
    Host,
}

/// Which attributes are read for which field. Of several, the first that has a value counts, but for telephone numbers, addresses and
/// members, of which all count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    attributes: BTreeMap<Field, Vec<String>>,
}

impl Mapping {
    /// The defaults for a kind of directory.
    pub fn new(kind: ServerKind) -> Mapping {
        let names = |field: &(Field, &str, &str, &str)| {
            let names = match kind {
                ServerKind::ActiveDirectory => field.2,
                ServerKind::Ldap => field.3,
            };
            (field.0, names.split_whitespace().map(str::to_owned).collect())
        };
        Mapping { attributes: FIELDS.iter().map(names).collect() }
    }

    /// Reads these attributes for the field instead of the default ones; none turns the field off. Names are taken in lower case.
    pub fn set(&mut self, field: Field, attributes: &[String]) {
        let attributes = attributes.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        self.attributes.insert(field, attributes);
    }

    /// The attributes of a field, in lower case.
    pub fn attributes(&self, field: Field) -> &[String] {
        self.attributes.get(&field).map_or(&[], Vec::as_slice)
    }

    /// What to ask a directory for. Computers are asked for only where some may be servers of ours: there are as many as people.
    pub(crate) fn selection(&self, kind: ServerKind, has_servers: bool) -> Selection {
        let (control, mut any_class, mut no_class) = match kind {
            ServerKind::ActiveDirectory => {
                (CONTROL_OF_ACTIVE_DIRECTORY, vec!["user", "contact", "group"], vec!["computer"])
            }
            ServerKind::Ldap => {
                let classes =
                    vec!["inetOrgPerson", "posixAccount", "groupOfNames", "groupOfUniqueNames", "posixGroup"];
                (CONTROL_OF_OTHERS, classes, vec![])
            }
        };
        if has_servers && kind == ServerKind::ActiveDirectory {
            any_class.push("computer");
            no_class.clear();
        }
        let mapped = self.attributes.values().flatten().map(String::as_str);
        let attributes: BTreeSet<&str> = mapped.chain(control.iter().copied()).collect();
        let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Selection {
            attributes: attributes.into_iter().map(str::to_owned).collect(),
            any_class: own(any_class),
            no_class: own(no_class),
        }
    }

    /// The same for reading entries by name, who may have come back: with them comes who names them. In Active Directory a group has its
    /// members back when they are restored, and shows no change.
    pub(crate) fn selection_of_entries(&self, all: &Selection, kind: ServerKind) -> Selection {
        let mut selection = all.clone();
        if kind == ServerKind::ActiveDirectory {
            selection.attributes.extend(BACK_LINKS.iter().map(|name| (*name).to_owned()));
            selection.attributes.push(LOCK_STATE.to_owned());
            selection.attributes.sort_unstable();
            selection.attributes.dedup();
        }
        selection
    }

    /// The same for photos alone.
    pub(crate) fn photo_selection(&self) -> Selection {
        Selection {
            attributes: self.attributes(Field::Photo).to_vec(),
            any_class: Vec::new(),
            no_class: Vec::new(),
        }
    }
}

/// What the server computes for each entry that is read: too much for everybody, and nothing that changes could be found by.
const LOCK_STATE: &str = "msds-user-account-control-computed";

/// Who names an entry as member or manager.
const BACK_LINKS: &[&str] = &["directreports", "memberof"];

/// Whom an entry's back links name.
pub(crate) fn back_links(entry: &Entry) -> impl Iterator<Item = ObjectId> + '_ {
    let values = BACK_LINKS.iter().filter_map(|name| entry.attributes.get(*name)).flatten();
    values.filter_map(|value| match Named::parse(std::str::from_utf8(value).ok()?).ok()?.kind {
        NameKind::Id(id) => Some(id),
        NameKind::Place(_) => None,
    })
}

/// What is read of every entry of Active Directory beside the fields. Names and places are among them, so that renames and moves show
/// as changes where only changes of these attributes do (DirSync).
const CONTROL_OF_ACTIVE_DIRECTORY: &[&str] = &[
    "accountexpires",
    "iscriticalsystemobject",
    "isdeleted",
    "lockouttime",
    "name",
    "objectclass",
    "objectsid",
    "primarygroupid",
    "useraccountcontrol",
];

/// The same of other directories: of the password policy of OpenLDAP, of 389 Directory Server, and RFC 2307 §2.2.
const CONTROL_OF_OTHERS: &[&str] = &["nsaccountlock", "objectclass", "pwdaccountlockedtime", "shadowexpire"];

impl Field {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Field> {
        FIELDS.iter().map(|row| row.0)
    }

    /// By its name in the configuration.
    pub fn from_name(name: &str) -> Option<Field> {
        FIELDS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        FIELDS.iter().find(|row| row.0 == self).expect("every field has a row").1
    }
}

/// Fields, their names in the configuration, their attributes in Active Directory and elsewhere.
const FIELDS: &[(Field, &str, &str, &str)] = &[
    (
        Field::SipAddress,
        "sip_address",
        "msrtcsip-primaryuseraddress proxyaddresses",
        "msrtcsip-primaryuseraddress proxyaddresses",
    ),
    (Field::SipEnabled, "sip_enabled", "msrtcsip-userenabled", "msrtcsip-userenabled"),
    (Field::AccountName, "account_name", "samaccountname", "uid"),
    (Field::PrincipalName, "principal_name", "userprincipalname", "krbprincipalname"),
    (Field::DisplayName, "display_name", "displayname cn", "displayname cn"),
    (Field::GivenName, "given_name", "givenname", "givenname"),
    (Field::Surname, "surname", "sn", "sn"),
    (Field::PhoneticName, "phonetic_name", "msds-phoneticdisplayname", ""),
    (Field::Title, "title", "title", "title"),
    (Field::Department, "department", "department", "departmentnumber ou"),
    (Field::Company, "company", "company", "o"),
    (Field::Office, "office", "physicaldeliveryofficename", "physicaldeliveryofficename roomnumber"),
    (Field::Street, "street", "streetaddress", "street"),
    (Field::City, "city", "l", "l"),
    (Field::Region, "region", "st", "st"),
    (Field::PostalCode, "postal_code", "postalcode", "postalcode"),
    (Field::Country, "country", "co c", "co c"),
    (Field::Mail, "mail", "mail", "mail"),
    (Field::WebPage, "web_page", "wwwhomepage", "labeleduri"),
    (Field::Notes, "notes", "info", ""),
    (Field::WorkPhone, "work_phone", "telephonenumber msrtcsip-line othertelephone", "telephonenumber"),
    (Field::MobilePhone, "mobile_phone", "mobile othermobile", "mobile"),
    (Field::HomePhone, "home_phone", "homephone otherhomephone", "homephone"),
    (Field::IpPhone, "ip_phone", "ipphone otheripphone", ""),
    (Field::Fax, "fax", "facsimiletelephonenumber otherfacsimiletelephonenumber", "facsimiletelephonenumber"),
    (Field::Pager, "pager", "pager otherpager", "pager"),
    (Field::OtherPhone, "other_phone", "", ""),
    (Field::Photo, "photo", "thumbnailphoto jpegphoto", "jpegphoto"),
    (Field::Manager, "manager", "manager", "manager"),
    (Field::Members, "members", "member", "member uniquemember"),
    (Field::MemberNames, "member_names", "", "memberuid"),
    (Field::Hidden, "hidden", "msexchhidefromaddresslists", ""),
    (Field::RecipientType, "recipient_type", "msexchrecipienttypedetails", ""),
    (Field::Host, "host", "dnshostname", ""),
];
