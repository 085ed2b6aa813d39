//! Resource lists (RFC 4826 §3): a person's contacts in groups, and the lists that subscriptions carry (RFC 5367).
//!
//! [`Lists::read`] makes the model, [`edit`] changes a document by an operation of the model and leaves the rest of its text as
//! it was. References to lists elsewhere (`<external>`, `<entry-ref>`) stay in the document and are not followed: they would
//! make a server fetch what a stranger names.

mod edit;
#[cfg(test)]
mod tests;

use directory::SipAddress;

use crate::address::address_of_uri;
use crate::state::cut;
use crate::xml::{Bounds, Document, Element, Leniency, XmlError};

pub use edit::{DEFAULT_GROUP, Edit, EditError, edit};

/// The type of the documents, and of the lists in SUBSCRIBE.
pub const CONTENT_TYPE: &str = "application/resource-lists+xml";

/// Contacts of one person. Office Communications Server allows 250 and its successors 1,000; a list subscription tells the
/// state of all of them at once.
pub const CONTACTS_MAX: usize = 1000;
/// Groups of one person, nested ones included: what a person can still find their way in.
pub const GROUPS_MAX: usize = 100;
/// How large a document may be: 1,000 contacts with a name are 200 KB, 2,100 elements and three levels.
pub const BOUNDS: Bounds = Bounds { octets_max: 256 * 1024, depth_max: 16, elements_max: 8192 };
/// Longest URI of a contact, in octets.
const URI_OCTETS_MAX: usize = 512;

pub(crate) const RESOURCE_LISTS: &str = "urn:ietf:params:xml:ns:resource-lists";

/// Why a document was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListsError {
    /// Too large, or no XML that is taken.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but no resource list.
    #[error("the outermost element is not <resource-lists>")]
    NotResourceLists,
    /// An entry without a URI, or with one that is too long.
    #[error("an entry without a usable URI")]
    BadEntry,
    /// What the schema (RFC 4826 §3.2) does not have.
    #[error("{0}")]
    Schema(&'static str),
    /// More than [`CONTACTS_MAX`].
    #[error("more contacts than a person may have")]
    TooManyContacts,
    /// More than [`GROUPS_MAX`].
    #[error("more groups than a person may have")]
    TooManyGroups,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Lists {
    /// The outermost lists, in their order.
    pub groups: Vec<Group>,
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Group {
    /// What documents and commands call it.
    pub name: Option<Box<str>>,
    /// What people read.
    pub display_name: Option<Box<str>>,
    /// What is in it, in its order.
    pub members: Vec<Member>,
}

/// What is in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// Somebody.
    Contact(Contact),
    /// A list within the list.
    Group(Group),
}

/// Somebody in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// As written.
    pub uri: Box<str>,
    /// Whose presence it means; `None` for a URI that is no address, like `tel:`.
    pub address: Option<SipAddress>,
    /// What people read.
    pub display_name: Option<Box<str>>,
}

impl Lists {
    /// Reads a document that a person keeps.
    pub fn read(text: &[u8]) -> Result<Lists, ListsError> {
        Lists::of_kept(&Document::read(text, &BOUNDS, Leniency::None)?)
    }

    /// Reads the list in the body of a SUBSCRIBE (RFC 5367 §4).
    pub fn read_recipients(body: &[u8]) -> Result<Lists, ListsError> {
        Lists::of(&Document::read(body, &BOUNDS, Leniency::Clients)?)
    }

    /// What the schema does not have is refused.
    fn of_kept(document: &Document<'_>) -> Result<Lists, ListsError> {
        let lists = Lists::of(document)?;
        check_schema(document.root())?;
        Ok(lists)
    }

    fn of(document: &Document<'_>) -> Result<Lists, ListsError> {
        let root = document.root();
        if !root.is(RESOURCE_LISTS, "resource-lists") {
            return Err(ListsError::NotResourceLists);
        }
        let mut count = Count::default();
        let lists = root.children_of(RESOURCE_LISTS, "list");
        let groups = lists.map(|list| count.group(list)).collect::<Result<_, _>>()?;
        Ok(Lists { groups })
    }

    /// All groups, nested ones behind the one that they are in.
    pub fn all_groups(&self) -> impl Iterator<Item = &Group> {
        let mut rest: Vec<&Group> = self.groups.iter().rev().collect();
        std::iter::from_fn(move || {
            let group = rest.pop()?;
            rest.extend(group.groups().rev());
            Some(group)
        })
    }

    /// The first group that is called so: by its name, else by what people read.
    pub fn group(&self, name: &str) -> Option<&Group> {
        let by_name = self.all_groups().find(|group| group.name.as_deref() == Some(name));
        by_name.or_else(|| self.all_groups().find(|group| group.display_name.as_deref() == Some(name)))
    }

    /// Everybody once, in the order of the document: the members of the list as something to watch (RFC 4662 §4.2).
    pub fn entries(&self) -> Vec<&Contact> {
        let mut all = Vec::new();
        self.groups.iter().for_each(|group| group.collect(&mut all));
        once(all)
    }

    /// Whether an address is among the contacts.
    pub fn has(&self, address: &SipAddress) -> bool {
        self.all_groups().flat_map(Group::contacts).any(|contact| contact.address.as_ref() == Some(address))
    }
}

impl Group {
    /// Reads a `<list>` of another kind of document.
    pub(crate) fn of(list: Element<'_, '_>) -> Result<Group, ListsError> {
        Count::default().group(list)
    }

    /// Who is directly in it.
    pub fn contacts(&self) -> impl DoubleEndedIterator<Item = &Contact> {
        self.members.iter().filter_map(|member| match member {
            Member::Contact(contact) => Some(contact),
            Member::Group(_) => None,
        })
    }

    /// The lists directly in it.
    pub fn groups(&self) -> impl DoubleEndedIterator<Item = &Group> {
        self.members.iter().filter_map(|member| match member {
            Member::Group(group) => Some(group),
            Member::Contact(_) => None,
        })
    }

    /// Everybody in it and in the lists within it, once.
    pub fn entries(&self) -> Vec<&Contact> {
        let mut all = Vec::new();
        self.collect(&mut all);
        once(all)
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Contact>) {
        for member in &self.members {
            match member {
                Member::Contact(contact) => all.push(contact),
                Member::Group(group) => group.collect(all),
            }
        }
    }
}

impl Contact {
    /// A contact of this URI.
    pub fn new(uri: &str, display_name: Option<&str>) -> Contact {
        Contact { uri: uri.into(), address: address_of_uri(uri), display_name: display_name.map(Into::into) }
    }

    /// Whether both mean the same: the same address, else the same URI.
    pub fn is_same(&self, other: &Contact) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> (Option<&SipAddress>, &str) {
        match &self.address {
            Some(address) => (Some(address), ""),
            None => (None, &self.uri),
        }
    }
}

/// What the schema has in its own namespace. Elements of other namespaces are taken wherever they stand: clients put them
/// elsewhere than at the end.
fn check_schema(root: Element<'_, '_>) -> Result<(), ListsError> {
    if !root.holds_only(RESOURCE_LISTS, &["list"]) {
        return Err(ListsError::Schema("<resource-lists> hold <list> and nothing else"));
    }
    let mut rest: Vec<_> = root.children_of(RESOURCE_LISTS, "list").collect();
    while let Some(element) = rest.pop() {
        let is_list = element.local() == "list";
        let names: &[&str] = match element.local() {
            "list" => &["display-name", "list", "entry", "entry-ref", "external"],
            "entry" | "entry-ref" | "external" => &["display-name"],
            _ => continue,
        };
        if !element.holds_only(RESOURCE_LISTS, names) {
            return Err(ListsError::Schema(if is_list {
                "a <list> holds something that the schema does not have"
            } else {
                "an entry holds something that the schema does not have"
            }));
        }
        if element.children_of(RESOURCE_LISTS, "display-name").count() > 1 {
            return Err(ListsError::Schema("more than one <display-name>"));
        }
        if element.local() == "entry-ref" && element.attribute("ref").is_none() {
            return Err(ListsError::Schema("an <entry-ref> without ref"));
        }
        rest.extend(element.children().filter(|child| child.namespace() == RESOURCE_LISTS));
    }
    Ok(())
}

/// The first of each, in their order.
fn once(all: Vec<&Contact>) -> Vec<&Contact> {
    let mut seen = std::collections::BTreeSet::new();
    all.into_iter().filter(|contact| seen.insert(contact.key())).collect()
}

/// How much was read so far.
#[derive(Default)]
struct Count {
    contacts: usize,
    groups: usize,
}

impl Count {
    fn group(&mut self, list: Element<'_, '_>) -> Result<Group, ListsError> {
        self.groups += 1;
        if self.groups > GROUPS_MAX {
            return Err(ListsError::TooManyGroups);
        }
        let mut members = Vec::new();
        for child in list.children().filter(|child| child.namespace() == RESOURCE_LISTS) {
            match child.local() {
                "list" => members.push(Member::Group(self.group(child)?)),
                "entry" => members.push(Member::Contact(self.contact(child)?)),
                _ => {}
            }
        }
        let name = list.attribute("name").map(|name| cut(name).into());
        Ok(Group { name, display_name: display_name(list), members })
    }

    fn contact(&mut self, entry: Element<'_, '_>) -> Result<Contact, ListsError> {
        self.contacts += 1;
        if self.contacts > CONTACTS_MAX {
            return Err(ListsError::TooManyContacts);
        }
        let uri = entry.attribute("uri").map(str::trim).unwrap_or_default();
        if uri.is_empty() || uri.len() > URI_OCTETS_MAX {
            return Err(ListsError::BadEntry);
        }
        Ok(Contact { display_name: display_name(entry), ..Contact::new(uri, None) })
    }
}

fn display_name(element: Element<'_, '_>) -> Option<Box<str>> {
    let name = element.child_of(RESOURCE_LISTS, "display-name")?.characters();
    (!name.is_empty()).then(|| cut(name).into())
}
