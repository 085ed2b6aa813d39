//! Accounts whose time is over while the directory cannot be asked, because it was not seen since the start: the home knows when that is.
//! Once the directory was seen, its view says so.

use super::{Chunk, Job, Level, Output, Replicator, Standing, Step};
use crate::known::KnownAccount;
use crate::losses::{Allowed, Further, Limits, Losses, Stock};
use crate::report::{CutOff, NAMES_LISTED_MAX};

impl Replicator {
    /// When the next account expires; `None` where that follows from the view.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        let may = self.is_known && !self.is_whole;
        self.expiring.values().filter(|_| may).filter_map(|account| account.account.expires_unix_ms).min()
    }

    /// Cuts off those whose time is over. A clock that jumped would cut off many: then it waits for the directory.
    pub(super) fn expire(&mut self) {
        let now = self.now.wall.0;
        let is_over = |due: Option<u64>| due.is_some_and(|due| due <= now);
        let over = self.expiring.extract_if(.., |_, account| is_over(account.account.expires_unix_ms));
        let over: Vec<_> = over.collect();
        let mut losses = Losses::default();
        losses.cut_off.extend(over.iter().map(|(id, _)| (*id, Standing::Expired)));
        let limits = Limits { percent: self.settings.removal_percent, users: self.settings.removal_users };
        let further = Further { removed: 0, servers_lost: 0, servers_left: 0 };
        let stock = Stock {
            in_use: self.known.in_use(),
            cut_off_before: self.state.cut_off.len(),
            objects: self.known.objects(),
        };
        let (allowed, _) = limits.judge(&losses, further, stock, now, &[]);
        if allowed != Allowed::Everything {
            let reason = format!("{} accounts expired; that waits until the directory is seen", over.len());
            return self.log(Level::Warn, "directory-expired", reason, Vec::new());
        }
        let mut job = Job::default();
        job.round.at_unix_ms = now;
        let mut chunk = Chunk::default();
        for (id, mut account) in over {
            job.round.cut_off += 1;
            if job.round.cut_off_names.len() < NAMES_LISTED_MAX {
                let address = account.address.to_string();
                job.round.cut_off_names.push(CutOff { object: id, address, standing: Standing::Expired });
            }
            account.account.standing = Standing::Expired;
            self.state.cut_off.insert(id, now);
            job.plan.ids.push(id);
            chunk.ids.push(id);
            chunk.accounts.push((id, Some(KnownAccount::new(&account))));
            chunk.batch.users.push(account);
        }
        chunk.batch.state = Some(self.state.write());
        self.job = job;
        let batch = std::mem::take(&mut chunk.batch);
        self.outputs.push_back(Output::Commit(Box::new(batch)));
        self.step = Step::Committing(Box::new(chunk));
    }
}
