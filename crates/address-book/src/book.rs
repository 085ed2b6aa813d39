//! The book: what every object is and was, as each audience sees it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use directory::numbers::NumberSettings;
use directory::{Object, ObjectId, ObjectKind, PhotoDigest};
use records::{ObjectRow, Revision};

use crate::edition::{Delta, Edition};
use crate::entry::{Entry, Line, PhotoName};
use crate::index::{Document, Index};
use crate::search::{self, Scratch};
use crate::settings::{Attribute, Audience, BookSettings};

/// Editions that are kept ready, compressed: those of both audiences, and of the version before.
const EDITIONS_MAX: usize = 4;
/// For how long an answer to who wants the whole book may be an edition that was made already, though something has changed since, in
/// milliseconds. A thousand clients that start in the morning, while the directory changes every two seconds, would each have the
/// book compressed anew; what they miss comes with their first delta.
const EDITION_AGE_MS_MAX: u64 = 60_000;
const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// A version of what an audience sees: the revision of its last change. 0: nothing was there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// The address book of an organisation, in memory.
///
/// Feed it with [`Book::apply`], every page of `Query::Objects` behind [`Book::revision`], and tell it the time now and then with
/// [`Book::prune`]. Ask it with [`Book::handle`] and the methods that look.
pub struct Book {
    pub(crate) settings: BookSettings,
    pub(crate) numbers: NumberSettings,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: BTreeMap<ObjectId, u32>,
    /// Direct members of groups.
    members: BTreeMap<ObjectId, Box<[ObjectId]>>,
    photos: BTreeMap<PhotoName, Photo>,
    log: VecDeque<Change>,
    /// The oldest version that can be named.
    floor: Version,
    newest: Revision,
    latest: [Stamp; 2],
    pub(crate) index: Index,
    pub(crate) scratch: Scratch,
    editions: Vec<Arc<Edition>>,
}

/// Why a version cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Older than what is kept, or from a future that was taken back; the whole book is to be read.
    #[error("this version is not kept; take the whole book")]
    Gone,
    /// The second version of a delta is older than the first.
    #[error("a delta leads from an older version to a newer one")]
    Backwards,
}

/// What is kept of an object.
struct Slot {
    id: ObjectId,
    kind: ObjectKind,
    manager: Option<ObjectId>,
    /// Where it stands in the index, while an audience sees it.
    document: Option<Document>,
    now: State,
    /// What it was, oldest first.
    past: Vec<State>,
}

/// What audiences saw from a revision on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct State {
    since: Version,
    /// By [`Audience::index`]; one line for both where they see the same.
    lines: [Option<Line>; 2],
}

/// A change that an audience sees.
#[derive(Clone, Copy, Debug)]
struct Change {
    version: Version,
    at_unix_ms: u64,
    slot: u32,
    /// By [`Audience::index`].
    is_seen: [bool; 2],
}

/// A photo that is shown.
#[derive(Clone, Copy, Debug)]
struct Photo {
    digest: PhotoDigest,
    /// How many entries show it, by [`Audience::index`].
    entries: [u32; 2],
}

/// A version and when it came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) version: Version,
    pub(crate) at_unix_ms: u64,
}

impl Book {
    /// An empty book. `numbers` is how local numbers are searched for.
    pub fn new(settings: BookSettings, numbers: NumberSettings) -> Book {
        Book {
            settings,
            numbers,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            members: BTreeMap::new(),
            photos: BTreeMap::new(),
            log: VecDeque::new(),
            floor: Version(0),
            newest: Revision(0),
            latest: [Stamp::default(); 2],
            index: Index::default(),
            scratch: Scratch::default(),
            editions: Vec::new(),
        }
    }

    /// Takes what objects became, in order of revisions. Rows that it has seen already change nothing.
    ///
    /// Revisions have no gaps: one that is missing was let go as history, maybe with an object that it took away. No version before it
    /// can be named.
    pub fn apply(&mut self, rows: &[ObjectRow]) {
        for row in rows {
            if row.revision <= self.newest {
                continue;
            }
            if row.revision.0 > self.newest.0 + 1 {
                self.raise_floor(Version(row.revision.0 - 1));
            }
            self.newest = row.revision;
            self.apply_row(row);
        }
        let slots = &mut self.slots;
        self.index.settle(|slot, document| slots[slot as usize].document = Some(document));
    }

    /// Lets go of versions that another followed longer ago than they are kept.
    pub fn prune(&mut self, now_unix_ms: u64) {
        let before = now_unix_ms.saturating_sub(u64::from(self.settings.keep_days) * MS_PER_DAY);
        while let Some(change) = self.log.front().copied().filter(|change| change.at_unix_ms < before) {
            self.log.pop_front();
            self.raise_floor(change.version);
            let slot = &mut self.slots[change.slot as usize];
            // The state that the floor shows stays, and what follows.
            let states = slot.past.iter().map(|state| state.since).chain([slot.now.since]);
            let needless = states.skip(1).take_while(|since| *since <= change.version).count();
            slot.past.drain(..needless);
            let is_gone = slot.now.lines == [None, None] && slot.now.since <= change.version;
            // A slot may be free already where a later object took its place; then it is not this object's.
            if is_gone && slot.past.is_empty() && self.by_id.get(&slot.id) == Some(&change.slot) {
                self.by_id.remove(&slot.id);
                slot.manager = None;
                slot.now = State::default();
                self.free.push(change.slot);
            }
        }
        let floor = self.floor;
        self.editions.retain(|edition| edition.version >= floor);
    }

    /// What an audience sees is named by a version that is kept, also where its last change is not.
    fn raise_floor(&mut self, floor: Version) {
        self.floor = floor.max(self.floor);
        for latest in &mut self.latest {
            latest.version = latest.version.max(self.floor);
        }
    }

    /// The edition of a version; `None`: of the latest, or one that is hardly older.
    pub(crate) fn edition(
        &mut self,
        audience: Audience,
        version: Option<Version>,
        now_unix_ms: u64,
    ) -> Result<Arc<Edition>, VersionError> {
        let latest = self.latest[audience.index()];
        let is_wanted = |edition: &Edition| match version {
            Some(version) => edition.version == version,
            None => {
                edition.version == latest.version
                    || now_unix_ms.saturating_sub(edition.made_unix_ms) < EDITION_AGE_MS_MAX
            }
        };
        let known = self.editions.iter().rposition(|e| e.audience == audience && is_wanted(e));
        if let Some(place) = known {
            // Used last, dropped last.
            let edition = self.editions.remove(place);
            self.editions.push(edition.clone());
            return Ok(edition);
        }
        let version = version.unwrap_or(latest.version);
        self.is_kept(version)?;
        let lines = self.by_id.iter().filter_map(|(id, slot)| {
            Some((*id, self.slots[*slot as usize].line_at(audience, version)?.clone()))
        });
        let at_unix_ms = self.stamp_of(audience, version).at_unix_ms;
        let edition = Arc::new(Edition::new(audience, version, at_unix_ms, now_unix_ms, lines.collect()));
        if self.editions.len() == EDITIONS_MAX {
            self.editions.remove(0);
        }
        self.editions.push(edition.clone());
        Ok(edition)
    }

    /// The revision behind which the book wants rows.
    pub fn revision(&self) -> Revision {
        self.newest
    }

    /// The latest version that an audience sees.
    pub fn version(&self, audience: Audience) -> Version {
        self.latest[audience.index()].version
    }

    /// How many entries an audience sees.
    pub fn count(&self, audience: Audience) -> usize {
        self.slots.iter().filter(|slot| slot.now.lines[audience.index()].is_some()).count()
    }

    /// An entry as it is now.
    pub fn entry(&self, audience: Audience, id: ObjectId) -> Option<Entry> {
        self.line(audience, id).map(|line| Entry::of_line(line))
    }

    /// What changed from one version to another: for each object that differs, in order of ids, its line, or `None` where it is no more.
    pub(crate) fn delta(
        &self,
        audience: Audience,
        from: Version,
        to: Version,
    ) -> Result<Delta, VersionError> {
        if from > to {
            return Err(if self.is_kept(from).is_ok() {
                VersionError::Backwards
            } else {
                VersionError::Gone
            });
        }
        self.is_kept(from)?;
        self.is_kept(to)?;
        let begin = self.log.partition_point(|change| change.version <= from);
        let end = self.log.partition_point(|change| change.version <= to);
        let changes = self.log.range(begin..end).filter(|change| change.is_seen[audience.index()]);
        let mut slots: Vec<u32> = changes.map(|change| change.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let mut lines: Vec<(ObjectId, Option<Line>)> = slots
            .into_iter()
            .filter_map(|slot| {
                let slot = &self.slots[slot as usize];
                let (before, after) = (slot.line_at(audience, from), slot.line_at(audience, to));
                (before != after).then(|| (slot.id, after.cloned()))
            })
            .collect();
        lines.sort_unstable_by_key(|(id, _)| *id);
        Ok(Delta { from, to, lines })
    }

    /// Whether a version can be named.
    pub(crate) fn is_kept(&self, version: Version) -> Result<(), VersionError> {
        let is_kept = self.floor <= version && version.0 <= self.newest.0;
        is_kept.then_some(()).ok_or(VersionError::Gone)
    }

    pub(crate) fn line(&self, audience: Audience, id: ObjectId) -> Option<&Line> {
        self.slot(id)?.now.lines[audience.index()].as_ref()
    }

    pub(crate) fn line_of_slot(&self, audience: Audience, slot: u32) -> Option<&Line> {
        self.slots[slot as usize].now.lines[audience.index()].as_ref()
    }

    pub(crate) fn id_of_slot(&self, slot: u32) -> ObjectId {
        self.slots[slot as usize].id
    }

    pub(crate) fn kind_of_slot(&self, slot: u32) -> ObjectKind {
        self.slots[slot as usize].kind
    }

    /// The photo of a name, if an entry that the audience sees shows it.
    pub(crate) fn photo(&self, audience: Audience, name: PhotoName) -> Option<PhotoDigest> {
        let photo = self.photos.get(&name)?;
        (photo.entries[audience.index()] > 0).then_some(photo.digest)
    }

    /// A group's direct members, shown or not.
    pub(crate) fn members_of(&self, group: ObjectId) -> &[ObjectId] {
        self.members.get(&group).map_or(&[], |members| members)
    }

    /// The groups that have a direct member, shown or not.
    pub(crate) fn groups_of(&self, member: ObjectId) -> impl Iterator<Item = ObjectId> {
        self.members.iter().filter(move |(_, members)| members.contains(&member)).map(|(group, _)| *group)
    }

    /// Those whose manager somebody is, shown or not.
    pub(crate) fn reports_of(&self, manager: ObjectId) -> impl Iterator<Item = ObjectId> {
        self.slots.iter().filter(move |slot| slot.manager == Some(manager)).map(|slot| slot.id)
    }

    pub(crate) fn manager_of(&self, id: ObjectId) -> Option<ObjectId> {
        self.slot(id)?.manager
    }

    /// What the book takes in memory, in octets: texts, history and index, without what a moment's work needs.
    pub fn octets(&self) -> usize {
        let mut octets = self.index.octets()
            + self.slots.capacity() * size_of::<Slot>()
            + self.log.capacity() * size_of::<Change>()
            // A B-tree's nodes are two thirds full.
            + self.by_id.len() * (size_of::<ObjectId>() + size_of::<u32>()) * 3 / 2
            + self.photos.len() * (size_of::<PhotoName>() + size_of::<Photo>()) * 3 / 2;
        for slot in &self.slots {
            octets += slot.past.capacity() * size_of::<State>();
            for state in slot.past.iter().chain([&slot.now]) {
                octets += state.octets();
            }
        }
        for members in self.members.values() {
            octets += size_of_val(&**members) + 3 * size_of::<ObjectId>();
        }
        octets
    }

    fn apply_row(&mut self, row: &ObjectRow) {
        let object = row.object.as_deref();
        let slot = match self.by_id.get(&row.id) {
            Some(slot) => *slot,
            None if object.is_none() => return,
            None => self.new_slot(row.id),
        };
        self.take_members(row.id, object);
        let lines = self.lines(object);
        let held = &mut self.slots[slot as usize];
        if let Some(object) = object {
            held.kind = object.kind;
        }
        // Who sees no manager is told of no reports: an entry that nobody sees reports to nobody.
        held.manager = object.and_then(|object| object.manager);
        let is_seen = [0, 1].map(|audience| held.now.lines[audience] != lines[audience]);
        if is_seen == [false, false] {
            // No audience ever saw it, as far as versions can be named: no change in the log is of this slot.
            if object.is_none() && held.past.is_empty() && held.now.since <= self.floor {
                held.now = State::default();
                self.by_id.remove(&row.id);
                self.free.push(slot);
            }
            return;
        }
        let version = Version(row.revision.0);
        let before = std::mem::replace(&mut held.now, State { since: version, lines });
        if let Some(document) = held.document.take() {
            self.index.remove(document);
        }
        let now = held.now.clone();
        for (audience, was_seen) in is_seen.iter().enumerate() {
            if *was_seen {
                self.latest[audience] = Stamp { version, at_unix_ms: row.at_unix_ms };
                self.hide_photo(audience, before.lines[audience].as_deref());
                if let Some(digest) = object.and_then(|object| object.photo) {
                    self.show_photo(audience, now.lines[audience].as_deref(), digest);
                }
            }
        }
        self.log.push_back(Change { version, at_unix_ms: row.at_unix_ms, slot, is_seen });
        let held = &mut self.slots[slot as usize];
        if before.since > Version(0) {
            held.past.push(before);
        }
        let [everyone, administrators] = &now.lines;
        if let Some(for_administrators) = administrators {
            let entry = Entry::of_line(for_administrators);
            let public = match everyone {
                Some(line) if !Arc::ptr_eq(line, for_administrators) => Some(Entry::of_line(line)),
                Some(_) => Some(entry.clone()),
                None => None,
            };
            let words = search::words_of(public.as_ref(), &entry, &self.numbers);
            held.document = Some(self.index.add(slot, search::sort_key(entry.name()), words));
        }
    }

    fn new_slot(&mut self, id: ObjectId) -> u32 {
        let empty = Slot {
            id,
            kind: ObjectKind::Person,
            manager: None,
            document: None,
            now: State::default(),
            past: Vec::new(),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = empty;
                slot
            }
            None => {
                self.slots.push(empty);
                u32::try_from(self.slots.len() - 1).expect("an address book has fewer than 2^32 entries")
            }
        };
        self.by_id.insert(id, slot);
        slot
    }

    fn take_members(&mut self, id: ObjectId, object: Option<&Object>) {
        let shown = object.filter(|object| {
            !object.members.is_empty()
                && Audience::Administrators.sees(self.settings.visibility(Attribute::Members))
        });
        match shown {
            Some(object) => {
                self.members.insert(id, object.members.clone().into());
            }
            None => {
                self.members.remove(&id);
            }
        }
    }

    fn lines(&self, object: Option<&Object>) -> [Option<Line>; 2] {
        let Some(object) = object else { return [None, None] };
        let [everyone, administrators] =
            Audience::ALL.map(|audience| Entry::of(object, audience, &self.settings));
        let for_administrators = administrators.as_ref().map(Entry::line);
        let for_everyone = if everyone == administrators {
            for_administrators.clone()
        } else {
            everyone.as_ref().map(Entry::line)
        };
        [for_everyone, for_administrators]
    }

    fn show_photo(&mut self, audience: usize, line: Option<&str>, digest: PhotoDigest) {
        let Some(name) = line.and_then(|line| Entry::of_line(line).photo) else { return };
        self.photos.entry(name).or_insert(Photo { digest, entries: [0; 2] }).entries[audience] += 1;
    }

    fn hide_photo(&mut self, audience: usize, line: Option<&str>) {
        let Some(name) = line.and_then(|line| Entry::of_line(line).photo) else { return };
        let photo = self.photos.get_mut(&name).expect("a photo that a line shows is counted");
        photo.entries[audience] -= 1;
        if photo.entries == [0, 0] {
            self.photos.remove(&name);
        }
    }

    fn slot(&self, id: ObjectId) -> Option<&Slot> {
        self.by_id.get(&id).map(|slot| &self.slots[*slot as usize])
    }

    /// When what a version shows came to be, as far as that is remembered.
    fn stamp_of(&self, audience: Audience, version: Version) -> Stamp {
        if version >= self.latest[audience.index()].version {
            return self.latest[audience.index()];
        }
        let behind = self.log.partition_point(|change| change.version <= version);
        let mut changes = self.log.range(..behind).rev();
        let last = changes.find(|change| change.is_seen[audience.index()]);
        last.map_or(Stamp { version, at_unix_ms: 0 }, |change| Stamp {
            version: change.version,
            at_unix_ms: change.at_unix_ms,
        })
    }
}

impl Slot {
    fn line_at(&self, audience: Audience, version: Version) -> Option<&Line> {
        let state = if self.now.since <= version {
            &self.now
        } else {
            self.past.iter().rev().find(|state| state.since <= version)?
        };
        state.lines[audience.index()].as_ref()
    }
}

impl State {
    fn octets(&self) -> usize {
        // Each line has two counters before it.
        let octets = |line: &Option<Line>| line.as_ref().map_or(0, |line| line.len() + 16);
        let [everyone, administrators] = &self.lines;
        match (everyone, administrators) {
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => octets(everyone),
            _ => octets(everyone) + octets(administrators),
        }
    }
}
