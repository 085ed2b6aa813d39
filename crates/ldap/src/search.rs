//! Searches: always by pages (RFC 2696), always within limits of time, values that come in ranges completed.

use std::time::Duration;

use directory::ObjectId;
use directory_source::{Entry, ServerKind, guid};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::Error;
use crate::wire::{
    Control, Filter, MessageId, RawEntry, Request, ResponseOperation, ResultCode, Scope, Search, Synced,
    VALUES_PER_ATTRIBUTE_MAX, base_name,
};

/// Entries that are asked for at once: what Active Directory gives at most (`MaxPageSize`).
pub const PAGE_ENTRIES: u32 = 1_000;
/// For one page, or one portion of DirSync, from the first octet to the last, with what the reader takes to work on it.
const PAGE_TIME: Duration = Duration::from_secs(180);
/// What we allow the server for it. Its own limit is 120 s in Active Directory (`MaxQueryDuration`).
const SERVER_TIME_SECONDS: u32 = 120;
/// Pages in a row that bring nothing. Active Directory gives such while it looks through much that does not match.
const EMPTY_PAGES_MAX: usize = 256;
/// Ranges of one attribute: 1,500 values each in Active Directory, to [`VALUES_PER_ATTRIBUTE_MAX`] in all.
const RANGES_MAX: usize = 1_000;

/// A search for everything that matches, below a base.
pub(crate) fn subtree(base: &str, filter: Filter, attributes: Vec<String>) -> Search {
    Search {
        base: base.to_owned(),
        scope: Scope::Subtree,
        filter,
        attributes,
        size_limit: 0,
        time_limit_seconds: SERVER_TIME_SECONDS,
    }
}

/// A search for one entry.
pub(crate) fn base(base: &str, attributes: &[&str]) -> Search {
    let attributes = attributes.iter().map(|attribute| (*attribute).to_owned()).collect();
    Search { scope: Scope::Base, ..subtree(base, Filter::everything(), attributes) }
}

/// One search as its answers come in.
pub(crate) struct Running<'c> {
    connection: &'c mut Connection,
    id: MessageId,
    operation: &'static str,
    deadline: Instant,
}

/// What comes in.
pub(crate) enum Step {
    /// An entry.
    Entry(RawEntry),
    /// The end, with what it carries.
    Done(Vec<Control>),
}

impl<'c> Running<'c> {
    pub(crate) async fn begin(
        connection: &'c mut Connection,
        operation: &'static str,
        search: &Search,
        controls: &[Control],
    ) -> Result<Running<'c>, Error> {
        tracing::trace!(base = search.base, filter = %search.filter, operation, "a search begins");
        let id = connection.send(&Request::Search(search), controls).await?;
        Ok(Running { connection, id, operation, deadline: Instant::now() + PAGE_TIME })
    }

    pub(crate) async fn next(&mut self) -> Result<Step, Error> {
        loop {
            let answer = tokio::time::timeout_at(self.deadline, self.connection.answer(self.id)).await;
            let response = answer.map_err(|_| Error::TimedOut {
                host: self.connection.host().to_owned(),
                what: self.operation,
                after: PAGE_TIME,
            })??;
            match response.operation {
                ResponseOperation::Entry(entry) => return Ok(Step::Entry(entry)),
                // Where else something might be is nowhere that we go.
                ResponseOperation::Reference => {}
                ResponseOperation::Done(outcome) if outcome.is_success() => {
                    return Ok(Step::Done(response.controls));
                }
                ResponseOperation::Done(outcome) => {
                    return Err(self.connection.refused(self.operation, outcome));
                }
                _ => return Err(self.connection.broken("a search was answered with something else")),
            }
        }
    }
}

/// One entry by its name; `None` where there is none that we may see.
pub(crate) async fn read_one(
    connection: &mut Connection,
    operation: &'static str,
    search: &Search,
    controls: &[Control],
) -> Result<Option<RawEntry>, Error> {
    let mut running = Running::begin(connection, operation, search, controls).await?;
    let mut found = None;
    loop {
        match running.next().await {
            Ok(Step::Entry(entry)) => found = Some(entry),
            Ok(Step::Done(_)) => return Ok(found),
            Err(Error::Refused { outcome, .. }) if outcome.code == ResultCode::NO_SUCH_OBJECT => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A search by pages.
pub(crate) struct Pages {
    search: Search,
    controls: Vec<Control>,
    cookie: Vec<u8>,
    is_done: bool,
    empty_pages: usize,
}

impl Pages {
    pub(crate) fn new(search: Search, controls: Vec<Control>) -> Pages {
        Pages { search, controls, cookie: Vec::new(), is_done: false, empty_pages: 0 }
    }

    /// Begins the next page, if there is one. Its end must be given to [`Pages::turn`].
    pub(crate) async fn begin<'c>(
        &self,
        connection: &'c mut Connection,
        operation: &'static str,
    ) -> Result<Option<Running<'c>>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let mut controls = self.controls.clone();
        controls.push(Control::paged(PAGE_ENTRIES, &self.cookie));
        Running::begin(connection, operation, &self.search, &controls).await.map(Some)
    }

    /// Takes the end of a page with so many entries.
    pub(crate) fn turn(
        &mut self,
        connection: &Connection,
        controls: &[Control],
        entries: usize,
    ) -> Result<(), Error> {
        let page = controls.iter().find_map(Control::as_page).transpose();
        let page = page.map_err(|error| Error::Malformed { host: connection.host().to_owned(), error })?;
        // A server that ignores the control has sent everything, or has cut it off without a word; the control is critical, so
        // that it must not.
        let page = page.ok_or_else(|| connection.broken("a page came without the control of pages"))?;
        self.empty_pages = if entries == 0 { self.empty_pages + 1 } else { 0 };
        if self.empty_pages > EMPTY_PAGES_MAX {
            return Err(connection.broken("pages without end that bring nothing"));
        }
        self.is_done = page.cookie.is_empty();
        self.cookie = page.cookie;
        Ok(())
    }
}

/// What the end of a portion of DirSync says.
pub(crate) fn synced(connection: &Connection, controls: &[Control]) -> Result<Synced, Error> {
    let synced = controls.iter().find_map(Control::as_synced).transpose();
    let synced = synced.map_err(|error| Error::Malformed { host: connection.host().to_owned(), error })?;
    synced.ok_or_else(|| connection.broken("DirSync was answered without its control"))
}

/// The object's name for good, if the entry shows it.
pub(crate) fn id_of(kind: ServerKind, entry: &RawEntry) -> Option<ObjectId> {
    match kind {
        ServerKind::ActiveDirectory => guid::read(entry.first("objectGUID")?),
        ServerKind::Ldap => entry.text("entryUUID")?.parse().ok(),
    }
}

/// The attribute that names objects for good.
pub(crate) fn id_attribute(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::ActiveDirectory => "objectGUID",
        ServerKind::Ldap => "entryUUID",
    }
}

/// What finds this object.
pub(crate) fn id_filter(kind: ServerKind, id: ObjectId) -> Filter {
    match kind {
        ServerKind::ActiveDirectory => Filter::equal("objectGUID", guid::octets(id)),
        ServerKind::Ldap => Filter::equal("entryUUID", id.to_string()),
    }
}

/// An entry in the form that the replicator reads: names in lower case without options. What has options stands behind what has none.
pub(crate) fn entry(id: ObjectId, raw: RawEntry) -> Entry {
    let mut attributes = std::collections::BTreeMap::<String, Vec<Vec<u8>>>::new();
    let (plain, optional): (Vec<_>, Vec<_>) =
        raw.attributes.into_iter().partition(|(name, _)| !name.contains(';'));
    for (name, values) in plain.into_iter().chain(optional) {
        attributes.entry(base_name(&name).to_ascii_lowercase()).or_default().extend(values);
    }
    Entry { id, dn: plain_dn(&raw.dn).to_owned(), attributes }
}

/// A name without what the control of extended names puts before it.
fn plain_dn(dn: &str) -> &str {
    let mut rest = dn;
    while let Some((_, behind)) = rest.strip_prefix('<').and_then(|rest| rest.split_once(">;")) {
        rest = behind;
    }
    rest
}

/// The attribute of which more values are to be had, and where those begin (`member;range=0-1499`; [MS-ADTS] 3.1.1.3.1.3.3).
pub(crate) fn next_range(entry: &RawEntry) -> Option<(String, usize)> {
    entry.attributes.iter().find_map(|(description, _)| {
        let (_, end) = range(description)?;
        Some((base_name(description).to_owned(), end? + 1))
    })
}

/// The range that an attribute's options name: its first and its last place; no last: that was the end.
fn range(description: &str) -> Option<(usize, Option<usize>)> {
    let mut options = description.split(';').skip(1);
    let range = options.find_map(|option| {
        let (name, range) = option.split_once('=')?;
        name.eq_ignore_ascii_case("range").then_some(range)
    })?;
    let (begin, end) = range.split_once('-')?;
    let end = if end == "*" { None } else { Some(end.parse().ok()?) };
    Some((begin.parse().ok()?, end))
}

/// Reads the rest of the values that come in ranges. `false`: the object is not there any more.
pub(crate) async fn complete(
    connection: &mut Connection,
    id: ObjectId,
    entry: &mut RawEntry,
    controls: &[Control],
) -> Result<bool, Error> {
    for _ in 0..RANGES_MAX {
        let Some((name, begin)) = next_range(entry) else { return Ok(true) };
        let wanted = format!("{name};range={begin}-*");
        // By its name for good: it may be renamed while we read.
        let search = base(&format!("<GUID={id}>"), &[&wanted]);
        let Some(more) = read_one(connection, "reading a range of values", &search, controls).await? else {
            return Ok(false);
        };
        if !take_range(entry, &name, begin, more) {
            return Err(connection.broken("a range of values is not the one that was asked for"));
        }
    }
    Err(connection.broken("an attribute of too many ranges"))
}

/// Puts the next range of an attribute behind what was read of it. `false`: it does not fit.
fn take_range(entry: &mut RawEntry, name: &str, begin: usize, more: RawEntry) -> bool {
    let here =
        |description: &str| base_name(description).eq_ignore_ascii_case(name) && range(description).is_some();
    let Some((description, values)) = entry.attributes.iter_mut().find(|(description, _)| here(description))
    else {
        return false;
    };
    let found = more.attributes.into_iter().find(|(description, _)| here(description));
    let Some((next, further)) = found else {
        // Nothing is left: the last value went while we read.
        *description = name.to_owned();
        return true;
    };
    let Some((first, end)) = range(&next) else { return false };
    if first != begin
        || end.is_some_and(|end| end < begin)
        || values.len() + further.len() > VALUES_PER_ATTRIBUTE_MAX
    {
        return false;
    }
    values.extend(further);
    *description = if end.is_some() { next } else { name.to_owned() };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(attributes: &[(&str, &[&str])]) -> RawEntry {
        let values = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        RawEntry {
            dn: "CN=a".to_owned(),
            attributes: attributes.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect(),
        }
    }

    #[test]
    fn ranges_are_put_together() {
        let mut entry = raw(&[("cn", &["a"]), ("member;range=0-1", &["1", "2"])]);
        assert_eq!(next_range(&entry), Some(("member".to_owned(), 2)));
        assert!(take_range(&mut entry, "member", 2, raw(&[("member;range=2-3", &["3", "4"])])));
        assert_eq!(next_range(&entry), Some(("member".to_owned(), 4)));
        assert!(take_range(&mut entry, "member", 4, raw(&[("Member;Range=4-*", &["5"])])));
        assert_eq!(next_range(&entry), None);
        assert_eq!(entry.values("member").len(), 5);
    }

    #[test]
    fn ranges_that_do_not_fit_are_refused() {
        for wrong in ["member;range=3-*", "member;range=0-1", "member;range=2-1"] {
            let mut entry = raw(&[("member;range=0-1", &["1", "2"])]);
            assert!(!take_range(&mut entry, "member", 2, raw(&[(wrong, &["3"])])), "{wrong}");
        }
        let mut entry = raw(&[("member;range=0-1", &["1", "2"])]);
        assert!(take_range(&mut entry, "member", 2, raw(&[])), "the rest went away");
        assert_eq!((next_range(&entry), entry.values("member").len()), (None, 2));
    }

    #[test]
    fn what_ended_needs_no_more() {
        // An empty group shows both forms; so does one that has all its members in one range.
        let entry = raw(&[("member", &[]), ("member;range=0-*", &["1"])]);
        assert_eq!(next_range(&entry), None);
        let entry = self::entry(ObjectId([1; 16]), entry);
        assert_eq!(entry.attributes["member"], [b"1".to_vec()]);
    }

    #[test]
    fn entries_are_given_in_the_form_of_the_replicator() {
        let mut raw = raw(&[("userCertificate;binary", &["c"]), ("CN;lang-de", &["z"]), ("cn", &["a"])]);
        raw.dn = "<GUID=a9d1ca15-7688-11d1-aded-00c04fd8d5cd>;<SID=S-1-5-21-1>;CN=a\\<b,DC=x".to_owned();
        let entry = entry(ObjectId([1; 16]), raw);
        assert_eq!(entry.dn, "CN=a\\<b,DC=x");
        assert_eq!(entry.attributes["cn"], [b"a".to_vec(), b"z".to_vec()]);
        assert_eq!(entry.attributes["usercertificate"], [b"c".to_vec()]);
    }
}
