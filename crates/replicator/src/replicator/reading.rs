//! Reading the directory into the view.

use super::{
    Alarm, BTreeSet, Bound, Event, FailureKind, Goal, Kind, Level, ObjectId, Replicator, Stage, Standing,
    Step, Task,
};
use directory_source::{ENTRIES_PER_TASK_MAX, Entry, Failure, ServerFacts, ServerKind};

use crate::losses::is_in_use;
use crate::mapping;
use crate::state::INVOCATIONS_MAX;
use crate::view::ENTRIES_MAX;

/// Changes of one round beyond which everything is read instead: reading by name costs the server a search for every fifty.
const CHANGES_READ_ONE_BY_ONE_MAX: usize = 10_000;

impl Replicator {
    pub(super) fn event(&mut self, event: Event) {
        match (&mut self.step, event) {
            // Answered above.
            (_, Event::Hint) => {}
            (Step::Idle | Step::Loading(_) | Step::Committing(_), Event::Failed(failure)) => {
                // The connection broke while nothing was asked: the next round connects.
                self.is_connected = false;
                self.log(Level::Debug, "directory-connection", failure.text, Vec::new());
            }
            (_, Event::Failed(failure)) => self.failed(failure),
            (Step::Connecting, Event::Connected(facts)) => self.connected(*facts),
            (Step::Marking, Event::Marked(watermark)) => {
                self.job.watermark = Some(watermark);
                self.view.begin_full();
                self.step = Step::ReadingAll;
                self.task(Task::ReadAll(self.selection.clone()));
            }
            (Step::ReadingAll, Event::Entries { entries, is_last }) => {
                self.take(&entries);
                self.progress(Stage::Reading, self.job.round.read, None);
                if is_last {
                    self.read_missing();
                }
            }
            (Step::ReadingChanges, Event::Changes { changed, deleted, watermark, is_last }) => {
                // Other numbers are given for much that no other server needs.
                if !changed.is_empty() || !deleted.is_empty() {
                    self.change = watermark.change();
                }
                self.job.changed.extend(changed);
                self.note_deleted(&deleted);
                self.job.changed.extend(deleted);
                self.job.watermark = Some(watermark);
                if is_last {
                    self.read_changed();
                }
            }
            (Step::ReadingEntries { missing, .. }, Event::Entries { entries, is_last }) => {
                for entry in &entries {
                    missing.remove(&entry.id);
                }
                self.read_who_names(&entries);
                self.take(&entries);
                if is_last {
                    self.read_next_entries();
                }
            }
            (Step::ReadingPhotos(_), Event::Entries { entries, is_last }) => {
                self.photos_read(&entries, is_last)
            }
            (_, event) => {
                let reason = format!("the driver told what was not asked: {}", name(&event));
                self.log(Level::Error, "directory-driver", reason, Vec::new());
            }
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.is_connected = false;
        if matches!(self.step, Step::ReadingPhotos(_)) {
            // Leavers wait for no photo: they go without, and those whose photos they are, later. The next round finds the server's fault.
            self.log(Level::Warn, "directory-connection", failure.text, Vec::new());
            return self.photos_read(&[], true);
        }
        let is_first_refusal =
            failure.kind == FailureKind::WatermarkRefused && self.watermark.take().is_some();
        if is_first_refusal {
            // Nothing is wrong with the server: it is asked again at once, from the start.
            self.log(Level::Warn, "directory-watermark", failure.text, Vec::new());
            return self.connect();
        }
        let reason = failure.text.clone();
        self.raise(Alarm::Unreachable { since_unix_ms: self.now.wall.0, reason: failure.text });
        self.give_up(&reason);
    }

    fn connected(&mut self, facts: ServerFacts) {
        self.is_connected = true;
        if let Some(ours) = self.state.domain.filter(|ours| *ours != facts.domain) {
            if !self.job.is_accepted {
                let reason = format!("{} is of another domain", facts.host);
                let theirs = facts.domain;
                self.raise(Alarm::AnotherDomain { ours, theirs, dns_domain: facts.dns_domain });
                // Another server may be of ours.
                self.is_connected = false;
                return self.give_up(&reason);
            }
            self.view.clear(&self.settings.groups);
            self.deleted.clear();
            self.state.domain = Some(facts.domain);
            (self.watermark, self.state.watermark) = (None, None);
            (self.change, self.state.change) = (None, None);
            self.is_whole = false;
            self.is_all_dirty = true;
        }
        self.clear_alarm(&Kind::AnotherDomain);
        // Names and locks follow from these.
        let names = |facts: &ServerFacts| {
            (facts.realm.clone(), facts.dns_domain.clone(), facts.netbios.clone(), facts.lockout_duration)
        };
        if self.facts.as_ref().is_none_or(|before| names(before) != names(&facts)) {
            self.is_all_dirty = true;
            self.is_plan_stale = true;
        }
        if self.note_lag(&facts) {
            // Another one may have everything.
            return self.ask_to_connect();
        }
        let fields = vec![("host", facts.host.clone()), ("domain", facts.dns_domain.clone())];
        if self.facts.as_ref().is_none_or(|before| before.host != facts.host) {
            self.log(Level::Info, "directory-connected", String::new(), fields.clone());
        }
        let is_restored = self.is_restored(&facts);
        let before = self.watermark.as_ref().or(self.state.watermark.as_ref());
        if is_restored || before.is_some_and(|watermark| !watermark.fits(&facts)) {
            let reason = "the changes cannot be read on at this server: it was restored, or counts otherwise; everything is compared";
            self.log(Level::Warn, "directory-compared", reason.to_owned(), fields);
            self.watermark = None;
        }
        self.facts = Some(facts);
        self.read();
    }

    /// Whether the server's database is another one than it was. A cookie does not say so where it came from another server.
    fn is_restored(&mut self, facts: &ServerFacts) -> bool {
        let Some(invocation) = facts.invocation else { return false };
        if self.state.invocations.len() >= INVOCATIONS_MAX
            && !self.state.invocations.contains_key(&facts.host)
        {
            self.state.invocations.pop_first();
        }
        let before = self.state.invocations.insert(facts.host.clone(), invocation);
        before.is_some_and(|before| before != invocation)
    }

    /// Goes on when a server is there.
    pub(super) fn read(&mut self) {
        if let (Goal::Poll, true, Some(since)) = (self.job.goal, self.is_whole, &self.watermark) {
            let (since, selection) = (since.clone(), self.selection.clone());
            self.step = Step::ReadingChanges;
            self.task(Task::ReadChanges { since, selection });
            return;
        }
        if self.job.goal == Goal::Poll {
            self.job.goal = Goal::Full;
        }
        self.step = Step::Marking;
        self.task(Task::Mark(self.selection.clone()));
    }

    fn note_deleted(&mut self, deleted: &[ObjectId]) {
        for id in deleted {
            if self.known.account(*id).is_some_and(|account| is_in_use(account.standing)) {
                self.is_plan_stale |= self.deleted.insert(*id);
            }
        }
    }

    fn take(&mut self, entries: &[Entry]) {
        self.job.round.read += entries.len();
        for entry in entries {
            // Whoever is there was restored since.
            self.deleted.remove(&entry.id);
            if self.view.len() >= ENTRIES_MAX && self.view.get(entry.id).is_none() {
                self.job.is_too_large = true;
                return;
            }
            if let Some((photo, octets)) = self.view.put(&self.settings, entry)
                && !self.known.has_photo(photo)
            {
                self.photos.keep(photo, octets);
            }
            self.note_lock(entry.id);
        }
    }

    /// How long a lock lasts is known for sure only by looking.
    fn note_lock(&mut self, id: ObjectId) {
        let gates = self.view.get(id).map(|item| item.gates).unwrap_or_default();
        let is_asked = self.settings.kind == ServerKind::ActiveDirectory;
        match (gates.locked_unix_ms, gates.is_locked_now) {
            (Some(_), Some(true)) => {
                self.lock_seen.insert(id, self.now.wall.0);
                self.dirty.insert(id);
            }
            (Some(_), None) => {
                self.lock_seen.remove(&id);
                self.dirty.insert(id);
                // Who was read by name showed all that this server says.
                if is_asked && matches!(self.step, Step::ReadingAll) {
                    self.reread.insert(id);
                }
            }
            _ => drop(self.lock_seen.remove(&id)),
        }
    }

    /// Whoever comes back is named again by those who named it, which shows as no change of theirs.
    fn read_who_names(&mut self, entries: &[Entry]) {
        let Step::ReadingEntries { ahead, .. } = &mut self.step else {
            unreachable!("called in this step alone")
        };
        for entry in entries.iter().filter(|entry| self.view.get(entry.id).is_none()) {
            let naming = mapping::back_links(entry);
            let naming = naming.filter(|id| self.view.get(*id).is_some_and(|item| !item.names(entry.id)));
            ahead.extend(naming.collect::<BTreeSet<ObjectId>>());
        }
    }

    /// A page that was lost on the way, or somebody who moved to where the search did not look, is no deletion: all are asked for by
    /// name, however many. That is a search for every fifty, which find nothing, and once in a full read.
    fn read_missing(&mut self) {
        if self.job.is_too_large {
            return self.all_read();
        }
        let mut missing: BTreeSet<ObjectId> = self.view.unseen().into_iter().collect();
        let known = self.known.accounts().filter(|(_, account)| account.standing != Standing::Gone);
        missing.extend(known.map(|(id, _)| id).filter(|id| self.view.get(*id).is_none()));
        self.read_entries(missing);
    }

    fn read_changed(&mut self) {
        let mut changed = std::mem::take(&mut self.job.changed);
        if changed.len() > CHANGES_READ_ONE_BY_ONE_MAX {
            self.job.goal = Goal::Full;
            return self.read();
        }
        if self.alarms.has(&Kind::Held) {
            // What is missing may be back without a change: the account may read it again. As many as one task takes are looked at, each
            // time others; when one is whole again, everything is compared.
            changed
                .extend(self.view.groups.values().copied().filter(|group| self.view.get(*group).is_some()));
            let behind = (Bound::Excluded(self.suspect_last), Bound::Unbounded);
            let mut last = self.suspect_last;
            for id in self.suspects.range(behind).chain(&self.suspects).take(ENTRIES_PER_TASK_MAX) {
                changed.insert(*id);
                last = *id;
            }
            self.suspect_last = last;
        }
        changed.extend(std::mem::take(&mut self.reread));
        self.read_entries(changed);
    }

    fn read_entries(&mut self, ids: BTreeSet<ObjectId>) {
        // They are taken from the end: the first come first.
        let ahead = ids.into_iter().rev().collect();
        self.step = Step::ReadingEntries { missing: BTreeSet::new(), ahead };
        self.read_next_entries();
    }

    fn read_next_entries(&mut self) {
        let Step::ReadingEntries { missing, ahead } = &mut self.step else {
            unreachable!("called in this step alone");
        };
        let missing = std::mem::take(missing);
        let from = ahead.len().saturating_sub(ENTRIES_PER_TASK_MAX);
        let ids: BTreeSet<ObjectId> = ahead.split_off(from).into_iter().collect();
        let ids: Vec<ObjectId> = ids.into_iter().collect();
        if let Step::ReadingEntries { missing, .. } = &mut self.step {
            missing.extend(&ids);
        }
        for id in missing {
            self.view.remove(id);
        }
        if ids.is_empty() {
            self.all_read();
        } else {
            self.task(Task::ReadEntries { ids, selection: self.selection_of_entries.clone() });
        }
    }

    fn all_read(&mut self) {
        if self.job.is_too_large {
            self.raise(Alarm::TooManyEntries { most: ENTRIES_MAX });
            self.is_whole = false;
            return self.give_up("the directory has too many entries");
        }
        self.clear_alarm(&Kind::TooManyEntries);
        self.clear_alarm(&Kind::Unreachable);
        self.watermark = self.job.watermark.take();
        if matches!(self.job.goal, Goal::Full | Goal::DryRun) {
            self.is_whole = true;
            self.full_read_end = Some(self.now.monotonic);
            self.expiring.clear();
        }
        self.plan();
    }

    fn photos_read(&mut self, entries: &[Entry], is_last: bool) {
        let Step::ReadingPhotos(chunk) = &mut self.step else { unreachable!("called in this step alone") };
        let mut others = Vec::new();
        for entry in entries {
            let Some(wanted) = chunk.wanted.remove(&entry.id) else { continue };
            let octets = mapping::read_photo(&self.settings, entry);
            let photo = octets.as_deref().map(mapping::digest);
            match octets.filter(|_| photo == Some(wanted)) {
                Some(octets) => chunk.batch.photos.push((wanted, octets)),
                None => others.push(entry.id),
            }
        }
        if is_last {
            others.extend(chunk.wanted.keys());
        }
        // It has another photo since: the next round reads the entry whole.
        for id in others {
            chunk.leave_out(id);
            self.reread.insert(id);
        }
        if is_last {
            self.send_commit();
        }
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Connected(_) => "connected",
        Event::Marked(_) => "marked",
        Event::Entries { .. } => "entries",
        Event::Changes { .. } => "changes",
        Event::Failed(_) => "failed",
        Event::Hint => "hint",
    }
}
