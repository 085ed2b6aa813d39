//! A home as the tests drive it: a storage, the answers it gave, and short words for changes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use directory::{SipAddress, User, UserId};
use node::QueryToken;
use node::store::{Completion, Outcome, PersistToken, Store, StoreError, Submission, Urgency};
use records::{
    CallEnd, Change, Direction, Document, Query, Rows, Sequence, StoredCall, StoredMessage, UserRecord,
};
use storage::{OpenError, Options, Sqlite};

/// Longer than any answer takes on the slowest machine; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What never comes within a test: changes that wait for it are seen to wait.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 3600);

pub(crate) const ALICE: UserId = UserId(1);

/// A storage and the batches that its sink got.
pub(crate) struct Home {
    pub(crate) store: Sqlite,
    pub(crate) batches: Receiver<Vec<Completion<Rows>>>,
    tokens: u64,
}

impl Home {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Home, OpenError> {
        let (sender, batches) = channel();
        // A test that is over no longer listens.
        let store = Sqlite::open(path, options, Box::new(move |batch| drop(sender.send(batch))))?;
        Ok(Home { store, batches, tokens: 0 })
    }

    /// Everything committed at once.
    pub(crate) fn eager(path: &Path) -> Home {
        Home::open(path, eager()).unwrap()
    }

    pub(crate) fn batch(&self) -> Vec<Completion<Rows>> {
        self.batches.recv_timeout(PATIENCE).expect("an answer")
    }

    /// Submits one batch and collects the answer to each change, in the order of the batch.
    pub(crate) fn persist(&mut self, changes: Vec<Change>) -> Vec<Result<Outcome, StoreError>> {
        let first = self.tokens;
        self.tokens += changes.len() as u64;
        let batch: Vec<_> = (first..).zip(changes).map(|(token, change)| now(token, change)).collect();
        let mut answers = vec![None; batch.len()];
        self.store.submit(batch);
        while answers.iter().any(Option::is_none) {
            for completion in self.batch() {
                let (token, answer) = outcome(completion);
                assert_eq!(answers[(token - first) as usize].replace(answer), None, "answered once");
            }
        }
        answers.into_iter().flatten().collect()
    }

    pub(crate) fn persist_all(&mut self, changes: Vec<Change>) {
        for outcome in self.persist(changes) {
            assert_eq!(outcome, Ok(Outcome::Applied));
        }
    }

    pub(crate) fn query(&mut self, query: Query) -> Result<Rows, StoreError> {
        self.store.submit(vec![Submission::Query { token: QueryToken(0), query }]);
        match self.batch().pop() {
            Some(Completion::Rows { rows, .. }) => rows,
            other => panic!("no rows: {other:?}"),
        }
    }

    pub(crate) fn record(&mut self, user: UserId) -> UserRecord {
        match self.query(Query::LoadUser(user)) {
            Ok(Rows::LoadedUser(Some(record))) => *record,
            other => panic!("no record: {other:?}"),
        }
    }

    /// When the calls of a page began.
    pub(crate) fn calls(
        &mut self,
        owner: UserId,
        before: Option<u64>,
        missed_only: bool,
        limit: u32,
    ) -> Vec<u64> {
        let before = before.map(|began| (began, call_id(began)));
        match self.query(Query::Calls { owner, before, missed_only, limit }) {
            Ok(Rows::Calls(calls)) => calls.iter().map(|call| call.began_unix_ms).collect(),
            other => panic!("no calls: {other:?}"),
        }
    }

    pub(crate) fn sequences(&mut self, owner: UserId) -> Vec<u64> {
        match self.query(Query::Messages { owner, after: Sequence(0), limit: u32::MAX }) {
            Ok(Rows::Messages(messages)) => messages.iter().map(|m| m.sequence.0).collect(),
            other => panic!("no messages: {other:?}"),
        }
    }
}

pub(crate) fn eager() -> Options {
    Options { commit_interval: Duration::ZERO, ..Options::default() }
}

pub(crate) fn now(token: u64, change: Change) -> Submission<Change, Query> {
    Submission::Persist { token: PersistToken(token), change, urgency: Urgency::Now }
}

pub(crate) fn soon(token: u64, change: Change) -> Submission<Change, Query> {
    Submission::Persist { token: PersistToken(token), change, urgency: Urgency::Soon }
}

pub(crate) fn outcome(completion: Completion<Rows>) -> (u64, Result<Outcome, StoreError>) {
    match completion {
        Completion::Persisted { token, outcome } => (token.0, Ok(outcome)),
        Completion::PersistFailed { token, error } => (token.0, Err(error)),
        Completion::Rows { .. } => panic!("rows, and no change"),
    }
}

pub(crate) fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("home.db")
}

pub(crate) fn user(id: UserId, address: &str) -> User {
    User { display_name: "A User".to_owned(), ..User::local(id, SipAddress::parse(address).unwrap()) }
}

pub(crate) fn add_alice() -> Change {
    Change::AddUser { user: user(ALICE, "alice@contoso.example"), at_unix_ms: 0 }
}

/// A message to Alice; its identity is its number, and so is when it was received.
pub(crate) fn message(sequence: u64, octets: usize) -> Change {
    message_at(sequence, sequence, octets)
}

/// One that was received then.
pub(crate) fn message_at(sequence: u64, received_unix_ms: u64, octets: usize) -> Change {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&sequence.to_le_bytes());
    Change::AppendMessage(StoredMessage {
        owner: ALICE,
        sequence: Sequence(sequence),
        direction: Direction::Received,
        peer: SipAddress::parse("bob@contoso.example").unwrap(),
        identity,
        received_unix_ms,
        request: vec![b'm'; octets],
    })
}

/// Alice's contact list in a version.
pub(crate) fn document(version: u64, octets: usize) -> Change {
    Change::PutDocument(Document {
        owner: ALICE,
        application: "resource-lists".to_owned(),
        name: "index".to_owned(),
        etag: version.to_string(),
        body: vec![b'd'; octets],
    })
}

/// A call to Alice that began then; every tenth she missed.
pub(crate) fn call(began_unix_ms: u64) -> Change {
    Change::AppendCall(StoredCall {
        owner: ALICE,
        id: call_id(began_unix_ms),
        direction: Direction::Received,
        peer: SipAddress::parse("bob@contoso.example").unwrap(),
        began_unix_ms,
        lasted_ms: 1,
        end: if began_unix_ms.is_multiple_of(10) { CallEnd::Missed } else { CallEnd::Answered },
        answered_at: "desk".to_owned(),
    })
}

fn call_id(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}
