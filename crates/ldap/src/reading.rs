//! Reading entries whole.

use std::collections::BTreeSet;

use directory::ObjectId;
use directory_source::{Entry, Event, Selection, ServerKind};

use crate::error::Error;
use crate::search::{
    Pages, Running, Step, complete, entry, id_attribute, id_filter, id_of, next_range, subtree,
};
use crate::source::{Events, Session, Stopped};
use crate::wire::{Control, Filter, RawEntry, Search};

/// Entries in one event ...
const EVENT_ENTRIES_MAX: usize = 250;
/// ... and octets of their values, unless a single one has more: photos have up to 100 KiB.
const EVENT_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Entries that one filter names.
pub(crate) const IDS_PER_FILTER: usize = 50;

impl Session {
    /// Reads everything of a selection. Gives who was read.
    pub(crate) async fn read_all(
        &mut self,
        selection: &Selection,
        events: Events<'_>,
    ) -> Result<BTreeSet<ObjectId>, Stopped> {
        let search = self.search(class_filter(selection), selection);
        let mut batch = Batch::new(events);
        let mut everybody = BTreeSet::new();
        self.read_pages("reading everything", search, &mut batch, &mut everybody).await?;
        batch.end().await?;
        Ok(everybody)
    }

    /// Reads these entries. Gives who was found.
    pub(crate) async fn read_entries(
        &mut self,
        ids: &[ObjectId],
        selection: &Selection,
        events: Events<'_>,
    ) -> Result<BTreeSet<ObjectId>, Stopped> {
        let mut batch = Batch::new(events);
        let mut found = BTreeSet::new();
        for group in ids.chunks(IDS_PER_FILTER) {
            let filters = group.iter().map(|id| id_filter(self.known.facts.kind, *id)).collect();
            let search = self.search(Filter::Or(filters), selection);
            self.read_pages("reading entries", search, &mut batch, &mut found).await?;
        }
        batch.end().await?;
        Ok(found)
    }

    fn search(&self, filter: Filter, selection: &Selection) -> Search {
        let mut attributes = selection.attributes.clone();
        attributes.push(id_attribute(self.known.facts.kind).to_owned());
        subtree(&self.known.facts.base, filter, attributes)
    }

    /// How names of other objects shall come.
    fn naming(&self) -> Vec<Control> {
        match self.known.facts.kind {
            ServerKind::ActiveDirectory => vec![Control::extended_dn()],
            ServerKind::Ldap => Vec::new(),
        }
    }

    async fn read_pages(
        &mut self,
        operation: &'static str,
        search: Search,
        batch: &mut Batch<'_>,
        found: &mut BTreeSet<ObjectId>,
    ) -> Result<(), Stopped> {
        let kind = self.known.facts.kind;
        let naming = self.naming();
        let mut pages = Pages::new(search, naming.clone());
        while let Some(mut running) = pages.begin(&mut self.connection, operation).await? {
            let mut entries = 0;
            let mut incomplete = Vec::new();
            let controls = loop {
                let raw = match running.next().await? {
                    Step::Entry(raw) => raw,
                    Step::Done(controls) => break controls,
                };
                entries += 1;
                // What does not show its name for good cannot be followed: an entry that we may see and not read.
                let Some(id) = id_of(kind, &raw) else { continue };
                match next_range(&raw) {
                    Some(_) => incomplete.push((id, raw)),
                    None => {
                        found.insert(id);
                        batch.add(entry(id, raw)).await?;
                    }
                }
            };
            pages.turn(&self.connection, &controls, entries)?;
            for (id, mut raw) in incomplete {
                if complete(&mut self.connection, id, &mut raw, &naming).await? {
                    found.insert(id);
                    batch.add(entry(id, raw)).await?;
                }
            }
        }
        Ok(())
    }

    /// Lists everybody of a selection: each with the value of one attribute.
    pub(crate) async fn list(
        &mut self,
        operation: &'static str,
        search: Search,
        controls: Vec<Control>,
        mut each: impl FnMut(RawEntry),
    ) -> Result<(), Error> {
        let mut pages = Pages::new(search, controls);
        while let Some(mut running) = pages.begin(&mut self.connection, operation).await? {
            let (entries, controls) = take(&mut running, &mut each).await?;
            pages.turn(&self.connection, &controls, entries)?;
        }
        Ok(())
    }
}

/// Takes all entries of one search: how many, and what its end carries.
pub(crate) async fn take(
    running: &mut Running<'_>,
    mut each: impl FnMut(RawEntry),
) -> Result<(usize, Vec<Control>), Error> {
    let mut entries = 0;
    loop {
        match running.next().await? {
            Step::Entry(entry) => {
                entries += 1;
                each(entry);
            }
            Step::Done(controls) => return Ok((entries, controls)),
        }
    }
}

/// What finds the entries of a selection.
pub(crate) fn class_filter(selection: &Selection) -> Filter {
    let of_class = |class: &String| Filter::equal("objectClass", class);
    let any = Filter::Or(selection.any_class.iter().map(of_class).collect());
    let none = selection.no_class.iter().map(|class| Filter::Not(Box::new(of_class(class))));
    Filter::And([any].into_iter().chain(none).collect())
}

/// Entries on their way into an event.
struct Batch<'a> {
    events: Events<'a>,
    entries: Vec<Entry>,
    octets: usize,
}

impl<'a> Batch<'a> {
    fn new(events: Events<'a>) -> Batch<'a> {
        Batch { events, entries: Vec::new(), octets: 0 }
    }

    async fn add(&mut self, entry: Entry) -> Result<(), Stopped> {
        self.octets += entry.attributes.values().flatten().map(Vec::len).sum::<usize>();
        self.entries.push(entry);
        if self.entries.len() >= EVENT_ENTRIES_MAX || self.octets >= EVENT_OCTETS_MAX {
            self.octets = 0;
            let entries = std::mem::take(&mut self.entries);
            self.events.send(Event::Entries { entries, is_last: false }).await?;
        }
        Ok(())
    }

    async fn end(self) -> Result<(), Stopped> {
        Ok(self.events.send(Event::Entries { entries: self.entries, is_last: true }).await?)
    }
}
