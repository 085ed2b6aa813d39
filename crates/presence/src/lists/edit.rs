//! Changes of a document.

use std::fmt::Write as _;

use crate::xml::{DECLARATION, Document, Edits, Element, Escaped, Leniency};

use super::{BOUNDS, Contact, Lists, ListsError, RESOURCE_LISTS, URI_OCTETS_MAX, display_name};

/// The group that contacts without one come into where there is no group at all.
pub const DEFAULT_GROUP: &str = "contacts";

/// A change. Groups are called as [`Lists::group`] finds them; contacts are the same as [`Contact::is_same`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// A group, empty and last.
    AddGroup {
        /// Its name, which people read too.
        group: &'a str,
    },
    /// A group goes with everything that is in it.
    RemoveGroup {
        /// Which.
        group: &'a str,
    },
    /// A group gets another name.
    RenameGroup {
        /// Which.
        group: &'a str,
        /// The new name.
        name: &'a str,
    },
    /// A contact, last in its group; one that is there already gets the display name.
    AddContact {
        /// Where; `None` is the first group, which is made where there is none.
        group: Option<&'a str>,
        /// Who.
        contact: &'a Contact,
    },
    /// A contact goes from wherever it is to the end of another group.
    MoveContact {
        /// Who.
        contact: &'a Contact,
        /// Where to.
        group: &'a str,
    },
    /// A contact goes.
    RemoveContact {
        /// From where; `None` is everywhere.
        group: Option<&'a str>,
        /// Who.
        contact: &'a Contact,
    },
}

/// Why a document was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The document that is there cannot be read, or what would come of the change is too much.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// There is no such group.
    #[error("there is no such group")]
    NoSuchGroup,
    /// There is such a group already.
    #[error("there is such a group already")]
    GroupExists,
    /// Nobody of this address is in the list, or not in that group.
    #[error("there is no such contact")]
    NoSuchContact,
    /// A name that is empty or longer than [`crate::TEXT_OCTETS_MAX`], or a URI that is not usable.
    #[error("a name or an address that a contact list cannot hold")]
    BadName,
}

/// Makes the change in a document, or in a new one where there is none. What the change does not concern stays as it was, to
/// the octet. The result is a document that [`Lists::read`] takes.
pub fn edit(document: Option<&str>, edit: &Edit<'_>) -> Result<String, EditError> {
    let empty = format!("{DECLARATION}<resource-lists xmlns=\"{RESOURCE_LISTS}\"/>\r\n");
    let text = document.unwrap_or(&empty);
    let tree = Document::read(text.as_bytes(), &BOUNDS, Leniency::None).map_err(ListsError::from)?;
    Lists::of_kept(&tree)?;
    let mut edits = Edits::new(tree.root().text());
    Editing { root: tree.root(), edits: &mut edits }.make(edit)?;
    let changed = edits.apply();
    Lists::read(changed.as_bytes())?;
    Ok(changed)
}

struct Editing<'e, 'd, 'a> {
    root: Element<'d, 'a>,
    edits: &'e mut Edits<'a>,
}

impl<'d, 'a> Editing<'_, 'd, 'a> {
    fn make(&mut self, edit: &Edit<'_>) -> Result<(), EditError> {
        match edit {
            Edit::AddGroup { group } => self.add_group(group),
            Edit::RemoveGroup { group } => {
                let list = self.group(group)?;
                self.edits.remove_with_line(list.span());
                Ok(())
            }
            Edit::RenameGroup { group, name } => self.rename_group(group, name),
            Edit::AddContact { group, contact } => self.add_contact(*group, contact),
            Edit::MoveContact { contact, group } => self.move_contact(contact, group),
            Edit::RemoveContact { group, contact } => {
                let within = group.map_or(Ok(self.root), |group| self.group(group))?;
                self.remove_contact(within, contact)
            }
        }
    }

    fn add_group(&mut self, group: &str) -> Result<(), EditError> {
        check_name(group)?;
        if self.group(group).is_ok() {
            return Err(EditError::GroupExists);
        }
        let list = list_text(self.root, group, "");
        self.edits.insert(self.root, self.root.children().next_back(), &list);
        Ok(())
    }

    fn rename_group(&mut self, group: &str, name: &str) -> Result<(), EditError> {
        check_name(name)?;
        let list = self.group(group)?;
        if self.group(name).is_ok_and(|other| other.id != list.id) {
            return Err(EditError::GroupExists);
        }
        let escaped = Escaped(name).to_string();
        match list.attribute_span("name") {
            Some(value) => self.edits.replace(value, escaped.clone()),
            None => {
                let at = list.span().start + 1 + list.name().len();
                self.edits.replace(at..at, format!(" name=\"{escaped}\""));
            }
        }
        if let Some(shown) = list.child_of(RESOURCE_LISTS, "display-name") {
            self.replace_content(shown, &escaped);
        }
        Ok(())
    }

    fn add_contact(&mut self, group: Option<&str>, contact: &Contact) -> Result<(), EditError> {
        check_contact(contact)?;
        let list = match group {
            Some(group) => self.group(group)?,
            None => match self.root.child_of(RESOURCE_LISTS, "list") {
                Some(list) => list,
                None => {
                    let entry = entry_text(self.root, contact);
                    let list = list_text(self.root, DEFAULT_GROUP, &entry);
                    self.edits.insert(self.root, self.root.children().next_back(), &list);
                    return Ok(());
                }
            },
        };
        match entries(list).find(|entry| is(*entry, contact)) {
            Some(entry) => self.set_display_name(entry, contact),
            None => self.append(list, &entry_text(list, contact)),
        }
        Ok(())
    }

    fn move_contact(&mut self, contact: &Contact, group: &str) -> Result<(), EditError> {
        let target = self.group(group)?;
        let everywhere = within(self.root, "entry");
        let first = everywhere.iter().find(|entry| is(**entry, contact)).ok_or(EditError::NoSuchContact)?;
        let is_there = |entry: &Element<'_, '_>| entry.parent().is_some_and(|parent| parent.id == target.id);
        let stays = everywhere.iter().find(|entry| is(**entry, contact) && is_there(entry));
        for entry in everywhere.iter().filter(|entry| is(**entry, contact)) {
            if stays.is_none_or(|stays| stays.id != entry.id) {
                self.edits.remove_with_line(entry.span());
            }
        }
        if stays.is_none() {
            // As it is, with what else it says, where its prefixes mean the same: those of the root.
            let moved = if has_names_of_root(target) && has_names_of_root(*first) {
                first.text()[first.span()].to_owned()
            } else {
                let shown = display_name(*first).or_else(|| contact.display_name.clone());
                entry_text(target, &Contact { display_name: shown, ..contact.clone() })
            };
            self.append(target, &moved);
        }
        Ok(())
    }

    fn remove_contact(&mut self, place: Element<'d, 'a>, contact: &Contact) -> Result<(), EditError> {
        let mut is_found = false;
        for entry in within(place, "entry").into_iter().filter(|entry| is(*entry, contact)) {
            self.edits.remove_with_line(entry.span());
            is_found = true;
        }
        if is_found { Ok(()) } else { Err(EditError::NoSuchContact) }
    }

    fn set_display_name(&mut self, entry: Element<'d, 'a>, contact: &Contact) {
        let Some(name) = contact.display_name.as_deref() else { return };
        match entry.child_of(RESOURCE_LISTS, "display-name") {
            Some(shown) => self.replace_content(shown, &Escaped(name).to_string()),
            None => {
                let prefix = entry.prefix();
                let shown = format!("<{prefix}display-name>{}</{prefix}display-name>", Escaped(name));
                self.edits.insert(entry, None, &shown);
            }
        }
    }

    /// Puts an entry behind the last that the schema has in its place: elements of other namespaces come last.
    fn append(&mut self, list: Element<'d, 'a>, entry: &str) {
        let last = list.children().rfind(|child| child.namespace() == RESOURCE_LISTS);
        self.edits.insert(list, last, entry);
    }

    fn replace_content(&mut self, element: Element<'d, 'a>, content: &str) {
        if element.is_single_tag() {
            self.edits.insert(element, None, content);
        } else {
            self.edits.replace(element.content(), content);
        }
    }

    fn group(&self, name: &str) -> Result<Element<'d, 'a>, EditError> {
        let lists = within(self.root, "list");
        let by_name = lists.iter().find(|list| list.attribute("name") == Some(name));
        let by_shown = || lists.iter().find(|list| display_name(**list).as_deref() == Some(name));
        by_name.or_else(by_shown).copied().ok_or(EditError::NoSuchGroup)
    }
}

/// All elements of this name in an element and the lists in it, in their order.
fn within<'d, 'a>(element: Element<'d, 'a>, local: &'static str) -> Vec<Element<'d, 'a>> {
    let mut found = Vec::new();
    let mut rest: Vec<_> = element.children().rev().collect();
    while let Some(element) = rest.pop() {
        if element.namespace() != RESOURCE_LISTS {
            continue;
        }
        if element.local() == local {
            found.push(element);
        }
        if element.local() == "list" {
            rest.extend(element.children().rev());
        }
    }
    found
}

fn entries<'d, 'a>(list: Element<'d, 'a>) -> impl Iterator<Item = Element<'d, 'a>> {
    list.children_of(RESOURCE_LISTS, "entry")
}

/// Whether nothing around it but the root declares a namespace, and it is written as the root is.
fn has_names_of_root(element: Element<'_, '_>) -> bool {
    let parents = std::iter::successors(Some(element), |element| element.parent());
    let mut inner = parents.take_while(|element| element.parent().is_some());
    let root = std::iter::successors(Some(element), |element| element.parent()).last();
    root.is_some_and(|root| root.prefix() == element.prefix()) && !inner.any(Element::declares_namespace)
}

fn is(entry: Element<'_, '_>, contact: &Contact) -> bool {
    let uri = entry.attribute("uri").map(str::trim);
    uri.is_some_and(|uri| Contact::new(uri, None).is_same(contact))
}

fn check_name(name: &str) -> Result<(), EditError> {
    let fits = !name.trim().is_empty() && name.trim() == name && name.len() <= crate::TEXT_OCTETS_MAX;
    if fits && !name.chars().any(char::is_control) { Ok(()) } else { Err(EditError::BadName) }
}

fn check_contact(contact: &Contact) -> Result<(), EditError> {
    let uri = &contact.uri;
    let is_uri = uri.len() <= URI_OCTETS_MAX
        && uri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
        && !uri.chars().any(|c| c.is_whitespace() || c.is_control());
    if !is_uri {
        return Err(EditError::BadName);
    }
    contact.display_name.as_deref().map_or(Ok(()), check_name)
}

fn list_text(parent: Element<'_, '_>, name: &str, content: &str) -> String {
    let prefix = parent.prefix();
    let name = Escaped(name);
    format!(
        "<{prefix}list name=\"{name}\"><{prefix}display-name>{name}</{prefix}display-name>{content}</{prefix}list>"
    )
}

fn entry_text(parent: Element<'_, '_>, contact: &Contact) -> String {
    let prefix = parent.prefix();
    let mut text = format!("<{prefix}entry uri=\"{}\"", Escaped(&contact.uri));
    match &contact.display_name {
        Some(name) => {
            let name = Escaped(name);
            let _ = write!(text, "><{prefix}display-name>{name}</{prefix}display-name></{prefix}entry>");
        }
        None => text.push_str("/>"),
    }
    text
}
