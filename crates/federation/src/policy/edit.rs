//! Changes to the policy's text that keep its comments, its order, and everything that the change is not about.
//!
//! A change is made to the text, and the text that comes out is read as a whole: what is not a policy is never handed
//! out. Writing it to a file is for the caller.

use node::UnixMillis;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value};

use super::{Date, Policy, PolicyError};
use crate::modality::{Modalities, Modality};
use crate::name::domain_name;

/// What is to be changed. Domains are compared in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes a partner's entry, or changes what is given of the one that is there; takes the domain off the block list.
    Allow {
        /// Whose.
        domain: String,
        /// What the entry says from now on; what is not given stays as it is.
        entry: EntryChange,
    },
    /// Puts a domain on the block list. Its entry stays, for when the block is lifted.
    Block {
        /// Whose.
        domain: String,
        /// A comment beside it, such as who blocked it and why; one line.
        comment: String,
    },
    /// Takes a domain off the block list; an entry with mode `blocked` is none any more: see [`Change::Allow`].
    Unblock {
        /// Whose.
        domain: String,
    },
    /// Removes a partner's entry, so that the domain is where a hub's list or discovery puts it.
    Remove {
        /// Whose.
        domain: String,
    },
    /// Writes a hub's entry, or changes what is given of the one that is there.
    AllowHub {
        /// The hub's name.
        hub: String,
        /// What the entry says from now on; `mode` and `via` are not for hubs.
        entry: EntryChange,
        /// Whom it may speak for besides those that it may already.
        members: Vec<String>,
    },
    /// Removes a hub's entry with its members.
    RemoveHub {
        /// The hub's name.
        hub: String,
    },
    /// Lets a hub speak for a domain.
    AddMember {
        /// The hub's name.
        hub: String,
        /// Whom it may speak for.
        domain: String,
    },
    /// Does not let a hub speak for a domain any more.
    RemoveMember {
        /// The hub's name.
        hub: String,
        /// Whom it may not speak for.
        domain: String,
    },
    /// Switches discovery on or off.
    Discovery {
        /// Whether unlisted domains are talked with.
        enabled: bool,
    },
}

/// The keys of a partner's or a hub's entry; see the manual for what each means. `None` leaves a key as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryChange {
    /// `direct`, `clearinghouse` or `member`.
    pub mode: Option<String>,
    /// Host and port.
    pub next_hop: Option<String>,
    /// Name of a hub.
    pub via: Option<String>,
    /// Of a hub: `member-header` or `member-list`.
    pub vouches: Option<String>,
    /// `fqdn`, `domain` or a pin.
    pub certificate: Option<String>,
    /// A file of anchors.
    pub authority_file: Option<String>,
    /// What may pass.
    pub modalities: Option<Modalities>,
    /// `both`, `in` or `out`.
    pub direction: Option<String>,
    /// Requests a second.
    pub rate: Option<u32>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Why it exists.
    pub reason: Option<String>,
    /// The last day.
    pub expires: Option<Date>,
}

/// Why a change is not made; all of it is the operator's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// What is to be changed is no policy as it stands.
    #[error("the policy is wrong as it stands, so that nothing was changed:\n{0}")]
    WrongBefore(PolicyError),
    /// What would come out is no policy.
    #[error("this would make the policy wrong, so that nothing was changed:\n{0}")]
    WrongAfter(PolicyError),
    /// The word is no domain name.
    #[error("{0:?} is no domain name")]
    NoDomain(String),
    /// What is to be removed is not there.
    #[error("{domain} does not stand in {place}")]
    NotThere {
        /// The domain.
        domain: String,
        /// Where it was looked for.
        place: String,
    },
}

/// What a change gives.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Its meaning.
    pub policy: Policy,
}

/// Makes a change. One that changes nothing gives the same text.
pub fn edit(text: &str, change: &Change, local: &[impl AsRef<str>]) -> Result<Edited, EditError> {
    Policy::parse(text, local).map_err(EditError::WrongBefore)?;
    let mut document: DocumentMut = text.parse().expect("what was read as a policy is TOML");
    // A file of comments alone: they are its head, and stay in front of what comes.
    let mut head = String::new();
    if document.is_empty() {
        head.push_str(text);
        document = DocumentMut::new();
    }
    match change {
        Change::Allow { domain, entry } => {
            let domain = checked(domain)?;
            unblock(&mut document, &domain);
            write_entry(entry_of(&mut document, PARTNER, &domain), entry);
        }
        Change::Block { domain, comment } => {
            let domain = checked(domain)?;
            add_to(block_list(&mut document), &domain, comment);
        }
        Change::Unblock { domain } => {
            let domain = checked(domain)?;
            if !unblock(&mut document, &domain) {
                return Err(EditError::NotThere { domain, place: "[block] domains".to_owned() });
            }
        }
        Change::Remove { domain } => {
            let domain = checked(domain)?;
            head = keep_above(text, &mut document, PARTNER, domain)?;
        }
        Change::AllowHub { hub, entry, members } => {
            let hub = checked(hub)?;
            write_entry(entry_of(&mut document, HUB, &hub), entry);
            for domain in members {
                add_to(self::members(&mut document, &hub)?, &checked(domain)?, "");
            }
        }
        Change::RemoveHub { hub } => head = keep_above(text, &mut document, HUB, checked(hub)?)?,
        Change::AddMember { hub, domain } => {
            let domain = checked(domain)?;
            add_to(members(&mut document, hub)?, &domain, "");
        }
        Change::RemoveMember { hub, domain } => {
            let domain = checked(domain)?;
            if !remove_from(members(&mut document, hub)?, &domain) {
                return Err(EditError::NotThere { domain, place: format!("the members of {hub}") });
            }
        }
        Change::Discovery { enabled } => set(section(&mut document, "discovery"), "enabled", *enabled),
    }
    let text = match head.trim_end() {
        "" => document.to_string(),
        head => format!("{head}\n\n{}", document.to_string().trim_start_matches('\n')),
    };
    let policy = Policy::parse(&text, local).map_err(EditError::WrongAfter)?;
    Ok(Edited { text, policy })
}

/// Whether an entry's time is over, for those who list the policy.
pub fn expired(policy: &Policy, now: UnixMillis) -> impl Iterator<Item = &str> {
    let partners = policy.partners().iter().map(|partner| (&*partner.domain, &partner.terms));
    let hubs = policy.clearinghouses().iter().map(|hub| (&*hub.name, &hub.terms));
    partners.chain(hubs).filter(move |(_, terms)| terms.has_expired(now)).map(|(name, _)| name)
}

fn checked(domain: &str) -> Result<String, EditError> {
    domain_name(domain).ok_or_else(|| EditError::NoDomain(domain.to_owned()))
}

fn is_named(table: &dyn TableLike, key: &str, name: &str) -> bool {
    table.get(key).and_then(Item::as_str).and_then(domain_name).is_some_and(|found| found == name)
}

/// A list of sections, and the key that names each.
#[derive(Clone, Copy)]
struct Kind {
    list: &'static str,
    key: &'static str,
}

const PARTNER: Kind = Kind { list: "partner", key: "domain" };
const HUB: Kind = Kind { list: "clearinghouse", key: "name" };

/// The table of this name; a new one at the end of its kind where there is none.
fn entry_of<'d>(document: &'d mut DocumentMut, kind: Kind, name: &str) -> &'d mut dyn TableLike {
    let Kind { list, key } = kind;
    let item = document.entry(list).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    match item {
        Item::ArrayOfTables(tables) => {
            let found = tables.iter().position(|table| is_named(table, key, name));
            let at = found.unwrap_or_else(|| {
                let mut table = Table::new();
                table.insert(key, toml_edit::value(name));
                tables.push(table);
                tables.len() - 1
            });
            tables.get_mut(at).expect("found or pushed")
        }
        Item::Value(Value::Array(array)) => {
            let is_it = |value: &Value| value.as_inline_table().is_some_and(|t| is_named(t, key, name));
            let found = array.iter().position(is_it);
            let at = found.unwrap_or_else(|| {
                let mut table = toml_edit::InlineTable::new();
                table.insert(key, name.into());
                array.push(table);
                array.len() - 1
            });
            array.get_mut(at).and_then(Value::as_inline_table_mut).expect("found or pushed")
        }
        Item::None | Item::Value(_) | Item::Table(_) => unreachable!("read as a list of sections before"),
    }
}

/// Removes an entry. Gives what stood above it and becomes the head of the text; elsewhere it stays where it was.
fn keep_above(text: &str, document: &mut DocumentMut, kind: Kind, name: String) -> Result<String, EditError> {
    let Some(above) = remove_entry(document, kind, &name) else {
        return Err(EditError::NotThere { domain: name, place: format!("any [[{}]]", kind.list) });
    };
    if text.starts_with(&above) {
        return Ok(above);
    }
    let trailing = document.trailing().as_str().unwrap_or("");
    document.set_trailing(format!("{trailing}{above}"));
    Ok(String::new())
}

/// Gives the comments above the last entry that are not about it and have no entry behind them to stand above; `None`
/// where there is no such entry.
fn remove_entry(document: &mut DocumentMut, Kind { list, key }: Kind, name: &str) -> Option<String> {
    match document.get_mut(list) {
        Some(Item::ArrayOfTables(tables)) => {
            let at = tables.iter().position(|table| is_named(table, key, name))?;
            let removed = tables.remove(at);
            // What stands above it with a blank line between is not about it, such as the head of the file.
            let above = removed.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("");
            let kept = above.rfind("\n\n").map_or("", |end| &above[..=end]).to_owned();
            match tables.get_mut(at) {
                Some(next) => {
                    let prefix = next.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("");
                    let prefix = format!("{kept}{prefix}");
                    next.decor_mut().set_prefix(prefix);
                    Some(String::new())
                }
                None => Some(kept),
            }
        }
        Some(Item::Value(Value::Array(array))) => {
            let before = array.len();
            array.retain(|value| !value.as_inline_table().is_some_and(|t| is_named(t, key, name)));
            (array.len() < before).then(String::new)
        }
        Some(Item::None | Item::Value(_) | Item::Table(_)) | None => None,
    }
}

fn write_entry(table: &mut dyn TableLike, entry: &EntryChange) {
    let texts = [
        ("mode", &entry.mode),
        ("next_hop", &entry.next_hop),
        ("via", &entry.via),
        ("vouches", &entry.vouches),
        ("certificate", &entry.certificate),
        ("authority_file", &entry.authority_file),
        ("direction", &entry.direction),
        ("owner", &entry.owner),
        ("reason", &entry.reason),
    ];
    // Who allows a domain does not mean it to stay blocked.
    if entry.mode.is_none() && table.get("mode").and_then(Item::as_str) == Some("blocked") {
        table.remove("mode");
    }
    for (key, text) in texts {
        if let Some(text) = text {
            set(table, key, text.as_str());
        }
    }
    if let Some(modalities) = entry.modalities {
        set(table, "modalities", Value::Array(modalities.iter().map(Modality::name).collect()));
    }
    if let Some(rate) = entry.rate {
        set(table, "rate", i64::from(rate));
    }
    if let Some(expires) = entry.expires {
        let date: toml_edit::Datetime = expires.to_string().parse().expect("a date is a date");
        set(table, "expires", date);
    }
}

/// Sets a key; the blanks and the comment around an old value stay.
fn set(table: &mut dyn TableLike, key: &str, value: impl Into<Value>) {
    let mut value = value.into();
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        if same(old, &value) {
            return;
        }
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(value));
}

fn same(old: &Value, new: &Value) -> bool {
    let text = |value: &Value| value.clone().decorated("", "").to_string();
    match (old.as_str(), new.as_str()) {
        (Some(old), Some(new)) => old == new,
        _ => text(old) == text(new),
    }
}

fn section<'d>(document: &'d mut DocumentMut, name: &str) -> &'d mut dyn TableLike {
    let item = document.entry(name).or_insert(Item::Table(Table::new()));
    item.as_table_like_mut().expect("read as a section before")
}

fn block_list(document: &mut DocumentMut) -> &mut Array {
    let item = section(document, "block").entry("domains").or_insert(Item::Value(Value::Array(Array::new())));
    item.as_array_mut().expect("read as a list before")
}

fn unblock(document: &mut DocumentMut, domain: &str) -> bool {
    let list = document.get_mut("block").and_then(Item::as_table_like_mut);
    let list = list.and_then(|block| block.get_mut("domains")).and_then(Item::as_array_mut);
    list.is_some_and(|list| remove_from(list, domain))
}

fn members<'d>(document: &'d mut DocumentMut, hub: &str) -> Result<&'d mut Array, EditError> {
    let name = checked(hub)?;
    let none = || EditError::NotThere { domain: name.clone(), place: "any [[clearinghouse]]".to_owned() };
    let table: &mut dyn TableLike = match document.get_mut("clearinghouse") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter_mut().find(|table| is_named(*table, "name", &name)).ok_or_else(none)?
        }
        Some(Item::Value(Value::Array(array))) => {
            let mut tables = array.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.find(|table| is_named(*table, "name", &name)).ok_or_else(none)?
        }
        Some(Item::None | Item::Value(_) | Item::Table(_)) | None => return Err(none()),
    };
    let item = table.entry("members").or_insert(Item::Value(Value::Array(Array::new())));
    Ok(item.as_array_mut().expect("read as a list before"))
}

fn is_domain(value: &Value, domain: &str) -> bool {
    value.as_str().and_then(domain_name).is_some_and(|found| found == domain)
}

/// Adds a domain to a list, in a line of its own where there is a comment or the list has lines already.
fn add_to(list: &mut Array, domain: &str, comment: &str) {
    if list.iter().any(|value| is_domain(value, domain)) {
        return;
    }
    let decor =
        |value: &Value| value.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("").to_owned();
    let has_lines = list.iter().any(|value| decor(value).contains('\n'));
    if !has_lines && comment.is_empty() {
        list.push(domain);
        return;
    }
    if !has_lines {
        for value in list.iter_mut() {
            value.decor_mut().set_prefix("\n    ");
        }
        list.set_trailing("\n");
    }
    let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let prefix = match comment.is_empty() {
        true => "\n    ".to_owned(),
        false => format!("\n    # {comment}\n    "),
    };
    // A comment behind the last element stands in what trails the list: it stays with its element.
    let trailing = list.trailing().as_str().unwrap_or("").trim_end().to_owned();
    let prefix = if trailing.trim().is_empty() { prefix } else { format!("{trailing}{prefix}") };
    list.push_formatted(Value::from(domain).decorated(prefix, ""));
    list.set_trailing_comma(true);
    list.set_trailing("\n");
}

fn remove_from(list: &mut Array, domain: &str) -> bool {
    let before = list.len();
    list.retain(|value| !is_domain(value, domain));
    list.len() < before
}

#[cfg(test)]
mod tests;
