//! The database while no server runs: `init` and `demo` create accounts in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, anyhow, bail};
use directory::{Role, SipAddress, User, UserState};
use node::store::{Completion, Outcome, Store, StoreError, Submission, Urgency};
use node::{PersistToken, QueryToken};
use records::{Change, Query, Revision, Rows, UserRecord};
use storage::{OpenError, Sqlite};

use crate::secrets;

/// Changes handed over at once: many to a commit, and far below what the storage's queue takes.
const BATCH: usize = 4096;

/// Rows of the history of objects that are read at once: some megabyte.
const OBJECT_ROWS: u32 = 1_000;

/// An account to be made.
pub(crate) struct NewUser {
    pub(crate) address: SipAddress,
    pub(crate) display_name: String,
    pub(crate) role: Role,
    pub(crate) password: String,
}

/// The database, opened by this process alone.
pub(crate) struct Offline {
    storage: Sqlite,
    completions: Receiver<Vec<Completion<Rows>>>,
}

impl Offline {
    /// Opens or creates it.
    pub(crate) fn open(database: &Path) -> anyhow::Result<Offline> {
        let (sender, completions) = channel();
        // The receiver lives as long as the storage; a completion that nobody waits for needs no one.
        let sink = Box::new(move |batch| drop(sender.send(batch)));
        let storage = Sqlite::open(database, storage::Options::default(), sink)
            .map_err(|error| explain(database, error))?;
        Ok(Offline { storage, completions })
    }

    /// All accounts.
    pub(crate) fn accounts(&mut self) -> anyhow::Result<BTreeMap<SipAddress, User>> {
        let records = self.records()?.into_iter();
        Ok(records.map(|record| (record.user.address.clone(), record.user)).collect())
    }

    /// All that a server loads when it starts.
    pub(crate) fn records(&mut self) -> anyhow::Result<Vec<UserRecord>> {
        let token = QueryToken(0);
        self.storage.submit(vec![Submission::Query { token, query: Query::Load }]);
        match self.next_completions()?.pop() {
            Some(Completion::Rows { rows: Ok(Rows::Loaded(users)), .. }) => Ok(users),
            Some(Completion::Rows { rows: Err(error), .. }) => {
                bail!("cannot read the accounts: {}", words(&error))
            }
            _ => bail!("the database answered another question"),
        }
    }

    /// How many rows of the history of the directory's objects there are; each is read as a server reads it.
    pub(crate) fn object_rows(&mut self) -> anyhow::Result<u64> {
        let (mut after, mut read) = (Revision(0), 0);
        loop {
            let query = Query::Objects { after, limit: OBJECT_ROWS };
            self.storage.submit(vec![Submission::Query { token: QueryToken(0), query }]);
            match self.next_completions()?.pop() {
                Some(Completion::Rows { rows: Ok(Rows::Objects(rows)), .. }) => {
                    let Some(last) = rows.last() else { return Ok(read) };
                    after = last.revision;
                    read += rows.len() as u64;
                }
                Some(Completion::Rows { rows: Err(error), .. }) => {
                    bail!("cannot read the address book: {}", words(&error))
                }
                _ => bail!("the database answered another question"),
            }
        }
    }

    /// Adds accounts; those whose address is taken stay as they are. Returns how many are new. `progress` hears how
    /// many are done.
    pub(crate) fn add(
        &mut self,
        users: &[NewUser],
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<usize> {
        let (mut done, mut added) = (0, 0);
        for batch in users.chunks(BATCH) {
            let changes = batch.iter().enumerate().map(|(at, user)| {
                let change = Change::AddUser { user: account(user)?, at_unix_ms: 0 };
                Ok(Submission::Persist { token: PersistToken(at as u64), change, urgency: Urgency::Now })
            });
            self.storage.submit(changes.collect::<anyhow::Result<_>>()?);
            let mut waiting = batch.len();
            while waiting > 0 {
                for completion in self.next_completions()? {
                    waiting -= 1;
                    match completion {
                        Completion::Persisted { outcome: Outcome::Applied, .. } => added += 1,
                        Completion::Persisted {
                            outcome: Outcome::AlreadyThere | Outcome::AlreadyWithdrawn,
                            ..
                        } => {}
                        Completion::PersistFailed { error, .. } => {
                            bail!("an account could not be written: {}", words(&error))
                        }
                        Completion::Rows { .. } => bail!("the database answered another question"),
                    }
                }
            }
            done += batch.len();
            progress(done);
        }
        Ok(added)
    }

    /// Lets go of the database; everything is on disk.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.storage.close().map_err(|error| anyhow!("closing the database failed: {}", words(&error)))
    }

    fn next_completions(&mut self) -> anyhow::Result<Vec<Completion<Rows>>> {
        self.completions.recv().context("the storage thread ended")
    }
}

/// Says what to do about a database that does not open.
pub(crate) fn explain(database: &Path, error: OpenError) -> anyhow::Error {
    let help = match &error {
        OpenError::InUse => "a server is running on it: stop it, or ask it with `chancery user`",
        OpenError::Newer { .. } => "install the newer version again, or restore a backup of this one's",
        OpenError::Foreign => "name another data folder; this file is left alone",
        OpenError::Corrupt(_) => "restore the latest backup; keep the damaged file for examination",
        OpenError::Migration { .. } => "nothing was changed: keep a copy and report this",
        OpenError::Full => "make room, then start again: nothing is lost",
        OpenError::Io(_) => "look at the folder's owner and mode, and at the system's log",
    };
    anyhow!("the database {} cannot be used: {error}\n  help: {help}", database.display())
}

fn account(user: &NewUser) -> anyhow::Result<User> {
    Ok(User {
        id: secrets::user_id()?,
        address: user.address.clone(),
        display_name: user.display_name.clone(),
        state: UserState::Enabled,
        role: user.role,
        permissions: Default::default(),
        aliases: Vec::new(),
        account: None,
        tokens_since_unix_ms: 0,
        secrets: Some(secrets::digest_secrets(&user.address, &user.password)),
    })
}

fn words(error: &StoreError) -> String {
    match error {
        StoreError::Full => "the disk is full".to_owned(),
        StoreError::Corrupt(reason) => format!("the database is damaged: {reason}"),
        StoreError::Io(reason) => reason.clone(),
    }
}
