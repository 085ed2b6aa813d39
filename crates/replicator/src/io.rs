//! What goes in and comes out of the [`Replicator`](crate::Replicator).

use directory::{DirectoryAccount, Object, ObjectId, PhotoDigest, SipAddress};
use directory_source::{Event, Task};
use federation::TrustedServer;
use records::ObjectChange;

use crate::report::{Report, Round};

/// Users in one commit. A chunk is one transaction of storage: 500 take some ten milliseconds there, during which nothing else is
/// written. More than that go together only where they hand addresses to each other.
pub const CHUNK_USERS_MAX: usize = 500;
/// Commands that wait at one time. Operators are few; more than these is a script that runs wild.
pub const COMMANDS_MAX: usize = 16;

/// What the replicator is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The driver's.
    Event(Event),
    /// What the home has, asked for by [`Output::Load`].
    Loaded(Loaded),
    /// The home could not say what it has; the replicator asks again.
    LoadFailed(String),
    /// The commit was applied but for what is named here.
    Committed {
        /// Addresses that could not be. An account of which an address was refused keeps the one that it had and gets everything else;
        /// one that is new was not added.
        refused: Vec<Refused>,
    },
    /// Whether the commit was applied is not known, or it was not.
    CommitFailed(String),
    /// An operator's.
    Command(CommandToken, Command),
    /// The deadline has come.
    Timer,
}

/// A part of what the home has.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Loaded {
    /// What the replicator made the home remember, in any part.
    pub state: Option<Vec<u8>>,
    /// Accounts that follow the directory.
    pub accounts: Vec<Account>,
    /// The newest state of objects that are there. Those of local accounts are passed over.
    pub objects: Vec<Object>,
    /// Servers that the directory lists, as the home was told; in any part.
    pub servers: Vec<TrustedServer>,
    /// Whether this is all.
    pub is_last: bool,
}

/// An account as the directory has it; its object is in `account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The address that others write to.
    pub address: SipAddress,
    /// Former and further addresses that lead here, in order.
    pub aliases: Vec<SipAddress>,
    /// The name that people see; may be empty.
    pub display_name: String,
    /// What the directory says.
    pub account: DirectoryAccount,
}

/// An address that could not be an account's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose it was to be.
    pub object: ObjectId,
    /// It.
    pub address: SipAddress,
    /// Why, in words for the operator.
    pub reason: String,
}

/// What the replicator wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the home what it has; answered by [`Input::Loaded`] in parts, or [`Input::LoadFailed`].
    Load,
    /// For the driver. One at a time.
    Task(Task),
    /// Hand this to the home; answered by [`Input::Committed`] or [`Input::CommitFailed`]. One at a time.
    Commit(Box<Batch>),
    /// A line for the log.
    Log(node::Report),
    /// How far a round is.
    Progress(Progress),
    /// The answer to a command.
    Answer(CommandToken, Answer),
}

/// A step of replication.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    /// Accounts as they are now. One that is not there is added.
    pub users: Vec<Account>,
    /// Accounts to be removed for good, with everything that they own.
    pub removed: Vec<ObjectId>,
    /// Objects as they are now, or no more.
    pub objects: Vec<ObjectChange>,
    /// Photos that objects of this step name and that the home may not have.
    pub photos: Vec<(PhotoDigest, Vec<u8>)>,
    /// All servers that the directory lists, beside those of the configuration; `None` leaves what was.
    pub servers: Option<Vec<TrustedServer>>,
    /// What must be remembered; `None` leaves what was.
    pub state: Option<Vec<u8>>,
}

/// Names a command, for its answer. The caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandToken(pub u64);

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Look for changes now. Answered with [`Answer::Done`] when they are committed or held.
    Once,
    /// Read and compare everything now. Answered with [`Answer::Done`].
    Full,
    /// Read and compare everything now, and say what would be done. Answered with [`Answer::Planned`]; ordinary rounds go on
    /// afterwards.
    DryRun,
    /// How things are. Answered at once with [`Answer::Report`].
    Report,
    /// Commit the next round whatever it cuts off, and take the domain that is there for ours. Answered with [`Answer::Done`].
    Accept,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The round is over.
    Done(Box<Round>),
    /// This is what a round would do.
    Planned(Box<Round>),
    /// How things are.
    Report(Box<Report>),
    /// It could not be done; in words for the operator.
    Failed(String),
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done: entries or users.
    pub done: usize,
    /// How much there is, where that is known.
    pub total: Option<usize>,
}

/// What a round is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Reading entries.
    Reading,
    /// Handing changes to the home.
    Committing,
}
