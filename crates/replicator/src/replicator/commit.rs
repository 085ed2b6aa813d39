//! Handing a plan to the home, in chunks.

use super::{
    Chunk, FindingKind, Goal, ObjectId, Output, Plan, REFUSED_AGAIN, ROUNDS_ON_END_MAX, Replicator, Sight,
    Stage, Standing, Step, Task, TrustedServer,
};
use crate::io::Refused;
use crate::known::{Fingerprint, KnownAccount};
use crate::losses::is_in_use;

impl Replicator {
    pub(super) fn begin_commit(&mut self, servers: Option<Vec<TrustedServer>>) {
        let is_empty = self.job.plan.ids.is_empty();
        let is_first = self.rounds_on_end == 0;
        if is_empty && servers.is_none() && !(self.job.goal == Goal::Full && is_first) {
            return self.finish();
        }
        self.next_chunk(servers);
    }

    fn next_chunk(&mut self, servers: Option<Vec<TrustedServer>>) {
        // As it was when the plan was judged: what has become due since is another round's.
        let sight = Sight { at: self.job.plan.at, ..self.sight() };
        let mut chunk = Chunk::build(&sight, &self.job.plan, self.job.done, &self.photos);
        chunk.batch.servers = servers;
        let mut is_anybody_cut_off = false;
        for (id, account) in &chunk.accounts {
            let was_in_use = self.known.account(*id).is_some_and(|known| is_in_use(known.standing));
            let is_in_use = account.as_ref().is_some_and(|account| is_in_use(account.standing));
            if is_in_use {
                self.state.cut_off.remove(id);
            } else if was_in_use && !self.job.is_accepted {
                self.state.cut_off.insert(*id, self.now.wall.0);
                is_anybody_cut_off = true;
            }
            match account.as_ref().map(|account| account.standing) {
                Some(Standing::Gone) => {
                    self.state.gone.entry(*id).or_insert(self.now.wall.0);
                }
                _ => {
                    self.state.gone.remove(id);
                }
            }
        }
        // Who was cut off counts for a day, also when the process ends before the rest is done.
        if is_anybody_cut_off || self.job.done + chunk.ids.len() == self.job.plan.ids.len() {
            chunk.batch.state = Some(self.state.write());
        }
        if chunk.wanted.is_empty() || self.is_connected {
            self.read_photos(chunk);
            return;
        }
        // Without a server there are no photos; those whose time has come are cut off all the same.
        let wanted: Vec<ObjectId> = chunk.wanted.keys().copied().collect();
        for id in wanted {
            chunk.leave_out(id);
        }
        self.step = Step::ReadingPhotos(Box::new(chunk));
        self.send_commit();
    }

    fn read_photos(&mut self, chunk: Chunk) {
        let ids: Vec<ObjectId> = chunk.wanted.keys().copied().collect();
        self.step = Step::ReadingPhotos(Box::new(chunk));
        if ids.is_empty() {
            self.send_commit();
        } else {
            let selection = self.settings.mapping.photo_selection();
            self.task(Task::ReadEntries { ids, selection });
        }
    }

    pub(super) fn send_commit(&mut self) {
        let Step::ReadingPhotos(mut chunk) = std::mem::replace(&mut self.step, Step::Idle) else {
            unreachable!("called in this step alone");
        };
        let batch = std::mem::take(&mut chunk.batch);
        let servers = batch.servers.clone();
        self.outputs.push_back(Output::Commit(Box::new(batch)));
        chunk.batch.servers = servers;
        self.step = Step::Committing(chunk);
    }

    pub(super) fn committed(&mut self, refused: Vec<Refused>) {
        let Step::Committing(chunk) = std::mem::replace(&mut self.step, Step::Idle) else { return };
        let Chunk { ids, batch, accounts, objects, unfinished, .. } = *chunk;
        let before: Vec<_> =
            refused.iter().map(|refused| self.known.account(refused.object).cloned()).collect();
        for id in &ids {
            self.dirty.remove(id);
        }
        self.dirty.extend(unfinished);
        for (id, account) in accounts {
            let gone = account.as_ref().is_some_and(|account| account.standing == Standing::Gone);
            if account.as_ref().is_none_or(|account| !is_in_use(account.standing)) {
                self.deleted.remove(&id);
            }
            self.known.set_account(id, account);
            if gone {
                let keep = u64::try_from(self.settings.keep_deleted.as_millis()).unwrap_or(u64::MAX);
                let due = self.state.gone.get(&id).map(|since| since.saturating_add(keep));
                self.set_due(id, due);
            }
        }
        for (id, object) in objects {
            self.known.set_object(id, object);
        }
        if let Some(servers) = batch.servers {
            self.servers = servers;
        }
        for (refused, before) in refused.into_iter().zip(before) {
            self.refused(refused, before);
        }
        self.job.done += ids.len();
        let total = self.job.plan.ids.len();
        if total > ids.len() {
            self.progress(Stage::Committing, self.job.done, Some(total));
        }
        if self.job.done < total {
            self.next_chunk(None);
        } else {
            self.committed_all();
        }
    }

    /// The home keeps the address that the account had, or has no account; what is known says so, and the next plan finds another way.
    fn refused(&mut self, refused: Refused, before: Option<KnownAccount>) {
        let Refused { object, address, reason } = refused;
        let finding =
            FindingKind::AddressTaken { address: address.to_string(), by: None, reason: reason.clone() };
        self.conflicts.entry(object).or_default().push(finding);
        if before.as_ref().is_some_and(|before| before.addresses().any(|had| *had == address)) {
            // It has it and keeps it: nothing can be done about that here.
            return;
        }
        if before.is_none() && self.known.account(object).is_some_and(|account| account.address == address) {
            self.job.round.added -= 1;
        }
        if let Some(mut account) = self.known.account(object).cloned() {
            account.aliases = account.aliases.iter().filter(|alias| **alias != address).cloned().collect();
            account.fingerprint = Fingerprint::NONE;
            let account = match before {
                _ if account.address != address => Some(account),
                Some(before) => {
                    account.aliases =
                        account.aliases.iter().filter(|alias| **alias != before.address).cloned().collect();
                    account.address = before.address;
                    Some(account)
                }
                None => None,
            };
            self.known.set_account(object, account);
        }
        self.blocked.insert(address.clone(), reason);
        self.blocked_until.insert(address, self.now.monotonic + REFUSED_AGAIN);
        self.dirty.insert(object);
        self.is_refused = true;
    }

    fn committed_all(&mut self) {
        let is_again = std::mem::take(&mut self.is_refused) && self.rounds_on_end < ROUNDS_ON_END_MAX;
        if !is_again {
            self.rounds_on_end = 0;
            self.is_plan_stale |= !self.dirty.is_empty();
            return self.finish();
        }
        // Whoever waits for the round waits for its end.
        self.rounds_on_end += 1;
        self.job.plan = Plan::default();
        self.job.done = 0;
        self.is_plan_stale = true;
        self.plan();
    }
}
