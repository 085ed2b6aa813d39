//! Changes and queries as statements.
//!
//! The texts keep to what SQLite and PostgreSQL share: numbered parameters in order of first use, `ON CONFLICT` with
//! its target named, `UPDATE .. FROM`, no `RETURNING`. SQLite's own are only [`BEGIN`], an `INDEXED BY`, and how a missing
//! user shows (a violated foreign key fails the statement here, and the whole transaction there).

mod accounts;
mod addresses;
mod app_passwords;
mod batch;
mod bindings;
mod blocks;
mod call_groups;
mod call_runs;
mod calls;
mod certificates;
mod choices;
mod directory_accounts;
mod documents;
mod groups;
mod in_order;
mod marks;
mod messages;
mod objects;
mod replication;
mod runs;
mod values;

pub(crate) use call_groups::pack_calls;
pub(crate) use groups::pack_rows;

use directory::{ObjectId, User, UserId, UserState};
use node::store::{Outcome, StoreError};
use records::{Change, Query, Rows, UserRecord};
use rusqlite::{Connection, Statement};

use self::accounts::Accounts;
use self::addresses::Addresses;
use self::app_passwords::AppPasswords;
use self::bindings::Bindings;
use self::call_groups::CallDraft;
use self::calls::Calls;
use self::certificates::Certificates;
use self::choices::Choices;
use self::directory_accounts::DirectoryAccounts;
use self::documents::Documents;
use self::groups::Draft;
use self::messages::{Messages, MessagesMark, TAIL_FACTOR_MAX};
use self::objects::Objects;
use self::replication::ReplicationState;
use self::values::integer;
use crate::error::Failure;

/// Rows that one step of pruning drops from each table: some 5 ms of work, so that a message never waits longer.
pub(crate) const PRUNE_ROWS_MAX: usize = 500;

// Takes the write lock at once: a transaction that began as a reader could fail to become a writer halfway.
const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";

/// All statements, compiled once, by the tables that they are about.
pub(crate) struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    accounts: Accounts<'c>,
    addresses: Addresses<'c>,
    directory_accounts: DirectoryAccounts<'c>,
    certificates: Certificates<'c>,
    app_passwords: AppPasswords<'c>,
    bindings: Bindings<'c>,
    messages: Messages<'c>,
    choices: Choices<'c>,
    documents: Documents<'c>,
    calls: Calls<'c>,
    objects: Objects<'c>,
    replication_state: ReplicationState<'c>,
    /// Messages in a tail, or calls that weigh as much, at which it is merged.
    tail_rows: usize,
    /// Whether the merge that is under way, or was last, is that of the calls.
    merges_calls: bool,
}

/// What a group has changed and is not written yet, because it is cheaper together; it is held back until something could
/// see the difference.
#[derive(Default)]
pub(crate) struct Held {
    group: Draft,
    calls: CallDraft,
}

/// Where a savepoint may return to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    messages: MessagesMark,
    calls: usize,
    objects: i64,
}

/// How long the tails are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TailLength {
    Usual,
    /// One is to be merged.
    Due,
    /// One is so long that merging no longer pauses.
    TooLong,
}

/// What pruning drops: what is older, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) messages_before_unix_ms: u64,
    pub(crate) devices_before_unix_ms: u64,
    pub(crate) calls_before_unix_ms: u64,
    /// `None` leaves photos too.
    pub(crate) objects_before_unix_ms: Option<u64>,
}

impl Bounds {
    /// Those of a change that prunes.
    pub(crate) fn of(change: &Change) -> Option<Bounds> {
        match *change {
            Change::Prune { messages_before_unix_ms, devices_before_unix_ms } => {
                Some(Bounds { messages_before_unix_ms, devices_before_unix_ms, ..Bounds::default() })
            }
            Change::PruneCalls { before_unix_ms } => {
                Some(Bounds { calls_before_unix_ms: before_unix_ms, ..Bounds::default() })
            }
            Change::PruneObjects { before_unix_ms } => {
                Some(Bounds { objects_before_unix_ms: Some(before_unix_ms), ..Bounds::default() })
            }
            _ => None,
        }
    }

    /// What either drops.
    #[must_use]
    pub(crate) fn union(self, other: Bounds) -> Bounds {
        Bounds {
            messages_before_unix_ms: self.messages_before_unix_ms.max(other.messages_before_unix_ms),
            devices_before_unix_ms: self.devices_before_unix_ms.max(other.devices_before_unix_ms),
            calls_before_unix_ms: self.calls_before_unix_ms.max(other.calls_before_unix_ms),
            objects_before_unix_ms: self.objects_before_unix_ms.max(other.objects_before_unix_ms),
        }
    }
}

impl<'c> Statements<'c> {
    /// Also reads the tails. They are merged when they hold `tail_rows`.
    pub(crate) fn prepare(connection: &'c Connection, tail_rows: usize) -> rusqlite::Result<Statements<'c>> {
        Ok(Statements {
            begin: connection.prepare(BEGIN)?,
            commit: connection.prepare(COMMIT)?,
            accounts: Accounts::prepare(connection)?,
            addresses: Addresses::prepare(connection)?,
            directory_accounts: DirectoryAccounts::prepare(connection)?,
            certificates: Certificates::prepare(connection)?,
            app_passwords: AppPasswords::prepare(connection)?,
            bindings: Bindings::prepare(connection)?,
            messages: Messages::prepare(connection, tail_rows)?,
            choices: Choices::prepare(connection)?,
            documents: Documents::prepare(connection)?,
            calls: Calls::prepare(connection, tail_rows)?,
            objects: Objects::prepare(connection)?,
            replication_state: ReplicationState::prepare(connection)?,
            tail_rows,
            merges_calls: false,
        })
    }

    pub(crate) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(crate) fn commit(&mut self) -> rusqlite::Result<()> {
        self.commit.execute([])?;
        self.messages.committed();
        self.calls.committed();
        self.objects.committed();
        Ok(())
    }

    /// Where a savepoint may return to.
    pub(crate) fn mark(&self) -> Mark {
        Mark { messages: self.messages.mark(), calls: self.calls.mark(), objects: self.objects.mark() }
    }

    /// What the transaction did since the mark was rolled back; the default is its beginning.
    pub(crate) fn rolled_back_to(&mut self, mark: Mark) {
        self.messages.rolled_back_to(mark.messages);
        self.calls.rolled_back_to(mark.calls);
        self.objects.rolled_back_to(mark.objects);
    }

    /// Applies a change inside the open transaction, or notes it in `held` for [`Statements::flush`]. Pruning is
    /// not done here but in steps ([`Statements::prune_step`]).
    pub(crate) fn apply(&mut self, change: &Change, held: &mut Held) -> Result<Outcome, Failure> {
        match change {
            Change::AppendMessage(message) => return self.messages.append(message, &mut held.group),
            Change::AdvanceTaken { owner, through } => {
                self.messages.take(*owner, *through, &mut held.group)?;
            }
            Change::AdvanceCursor { owner, device, through, seen_unix_ms } => {
                self.messages.advance(*owner, device, *through, *seen_unix_ms, &mut held.group)?;
            }
            Change::AddUser { user, at_unix_ms } => {
                self.flush(held)?;
                return self.add_user(user, *at_unix_ms);
            }
            Change::Replicate(replication) => {
                self.flush(held)?;
                return self.replicate(replication);
            }
            Change::RemoveUser { user, at_unix_ms } => {
                self.flush(held)?;
                self.objects.remove(ObjectId::of_local(*user), *at_unix_ms)?;
                let user = integer(user.0)?;
                self.messages.remove_all(user, &mut held.group)?;
                self.calls.remove_all(user)?;
                self.accounts.remove(user)?;
            }
            Change::SetUserState { user, state, at_unix_ms, tokens_since_unix_ms } => {
                if *state == UserState::Disabled {
                    self.bindings.remove_all(*user)?;
                }
                if self.accounts.set_state(*user, *state)? {
                    self.accounts.revoke_tokens(*user, *tokens_since_unix_ms)?;
                    self.put_local_object(*user, *at_unix_ms)?;
                }
            }
            Change::SetUserPermissions { user, permissions } => {
                self.accounts.set_permissions(*user, *permissions)?;
            }
            Change::SetUserSecrets { user, secrets, tokens_since_unix_ms } => {
                self.accounts.set_secrets(*user, secrets)?;
                self.accounts.revoke_tokens(*user, *tokens_since_unix_ms)?;
            }
            Change::AddCertificate { user, certificate } => return self.certificates.add(*user, certificate),
            Change::RemoveCertificate { user, digest } => self.certificates.remove(*user, digest)?,
            Change::AddAppPassword { user, password } => return self.app_passwords.add(*user, password),
            Change::RemoveAppPassword { user, username } => self.app_passwords.remove(*user, username)?,
            Change::RevokeTokens { user, since_unix_ms } => {
                self.accounts.revoke_tokens(*user, *since_unix_ms)?;
            }
            Change::PutBinding(binding) => self.bindings.put(binding)?,
            Change::RemoveBinding { user, key } => self.bindings.remove(*user, key)?,
            Change::WithdrawMessage { owner, sequence } => {
                self.flush(held)?;
                self.messages.withdraw(*owner, *sequence)?;
            }
            Change::SetManual { user, manual } => self.choices.set_manual(*user, manual)?,
            Change::SetCallSettings { user, settings } => self.choices.set_calls(*user, settings)?,
            Change::PutDocument(document) => self.documents.put(document)?,
            Change::RemoveDocument { owner, application, name } => {
                self.documents.remove(*owner, application, name)?;
            }
            Change::AppendCall(call) => {
                // A removal has overtaken the change otherwise, which then means nothing.
                if self.messages.has_mailbox(integer(call.owner.0)?)? {
                    return self.calls.append(call, &mut held.calls);
                }
            }
            Change::Prune { .. } | Change::PruneCalls { .. } | Change::PruneObjects { .. } => {}
        }
        Ok(Outcome::Applied)
    }

    /// Writes what [`Statements::apply`] has held back.
    pub(crate) fn flush(&mut self, held: &mut Held) -> Result<(), Failure> {
        self.messages.write(&mut held.group)?;
        self.calls.write(&mut held.calls)?;
        Ok(())
    }

    fn add_user(&mut self, user: &User, at_unix_ms: u64) -> Result<Outcome, Failure> {
        for address in user.aliases.iter().chain([&user.address]) {
            if self.addresses.owner(address)?.is_some() {
                return Ok(Outcome::AlreadyThere);
            }
        }
        if self.accounts.add(user)? == Outcome::AlreadyThere {
            return Ok(Outcome::AlreadyThere);
        }
        let key = integer(user.id.0)?;
        self.addresses.add_aliases(key, &user.address, &user.aliases)?;
        if let Some(account) = &user.account {
            self.directory_accounts.put(key, account)?;
        }
        self.put_local_object(user.id, at_unix_ms)?;
        Ok(Outcome::Applied)
    }

    /// A local account that is enabled has an object.
    fn put_local_object(&mut self, user: UserId, at_unix_ms: u64) -> Result<(), Failure> {
        match self.accounts.local_object(user)? {
            Some(object) => self.objects.put(&object, at_unix_ms),
            None => self.objects.remove(ObjectId::of_local(user), at_unix_ms),
        }
    }

    /// Drops at most [`PRUNE_ROWS_MAX`] rows of each table; whether there may be more to drop.
    pub(crate) fn prune_step(&mut self, bounds: Bounds) -> Result<bool, Failure> {
        let messages = self.messages.prune(bounds.messages_before_unix_ms, PRUNE_ROWS_MAX)?;
        let devices = self.messages.prune_devices(bounds.devices_before_unix_ms, PRUNE_ROWS_MAX)?;
        let calls = self.calls.prune(bounds.calls_before_unix_ms, PRUNE_ROWS_MAX)?;
        let more_objects = match bounds.objects_before_unix_ms {
            Some(before_unix_ms) => self.objects.prune(before_unix_ms, PRUNE_ROWS_MAX)?,
            None => false,
        };
        Ok(messages + devices + calls > 0 || more_objects)
    }

    /// Of the longer one.
    pub(crate) fn tail_length(&self) -> TailLength {
        let length = |rows: usize, merge_fails: bool| match rows {
            _ if rows < self.tail_rows => TailLength::Usual,
            // Trying more often would help nobody.
            _ if rows < TAIL_FACTOR_MAX * self.tail_rows || merge_fails => TailLength::Due,
            _ => TailLength::TooLong,
        };
        let messages = length(self.messages.tail_messages(), self.messages.merge_fails());
        messages.max(length(self.calls.tail_messages(), self.calls.merge_fails()))
    }

    /// Moves some rows from a tail to the indices, in the open transaction: first those of one, then those of the other.
    pub(crate) fn merge_step(&mut self) -> Result<(), Failure> {
        self.merges_calls = self.calls.is_merging() || self.messages.tail_messages() < self.tail_rows;
        if self.merges_calls { self.calls.merge_step() } else { self.messages.merge_step() }
    }

    /// Reads some more of the identities that the index held at the start; whether there are more.
    pub(crate) fn read_identities(&mut self) -> Result<bool, Failure> {
        self.messages.read_identities()
    }

    /// Whether the last step of merging failed.
    pub(crate) fn merge_fails(&self) -> bool {
        self.messages.merge_fails() || self.calls.merge_fails()
    }

    /// The step is durable, or why it is not; whether there is no more to do for now.
    pub(crate) fn merged(&mut self, step: Result<(), StoreError>) -> bool {
        if self.merges_calls { self.calls.merged(step) } else { self.messages.merged(step) }
    }

    pub(crate) fn query(&mut self, query: &Query) -> Result<Rows, Failure> {
        match query {
            Query::Load => Ok(Rows::Loaded(self.load([0, i64::MAX])?)),
            Query::LoadUser(id) => {
                let Ok(id) = i64::try_from(id.0) else { return Ok(Rows::LoadedUser(None)) };
                Ok(Rows::LoadedUser(self.load([id, id])?.pop().map(Box::new)))
            }
            Query::Messages { owner, after, limit } => {
                Ok(Rows::Messages(self.messages.page(*owner, *after, *limit)?))
            }
            Query::Calls { owner, before, missed_only, limit } => {
                Ok(Rows::Calls(self.calls.page(*owner, *before, *missed_only, *limit)?))
            }
            Query::Objects { after, limit } => Ok(Rows::Objects(self.objects.page(*after, *limit)?)),
            Query::Photo(digest) => Ok(Rows::Photo(self.objects.photo(*digest)?)),
            Query::ReplicationState => Ok(Rows::ReplicationState(self.replication_state.read()?)),
            Query::ListedServers => Ok(Rows::ListedServers(self.replication_state.servers()?)),
        }
    }

    /// The users with ids from the first to the last of `users`. All tables are read in the order of users, once.
    fn load(&mut self, users: [i64; 2]) -> rusqlite::Result<Vec<UserRecord>> {
        let mut records = self.accounts.load(users)?;
        self.bindings.load(users, &mut records)?;
        self.choices.load(users, &mut records)?;
        self.documents.load(users, &mut records)?;
        self.certificates.load(users, &mut records)?;
        self.addresses.load(users, &mut records)?;
        self.directory_accounts.load(users, &mut records)?;
        self.app_passwords.load(users, &mut records)?;
        self.messages.load(users, &mut records)?;
        Ok(records)
    }
}
