//! The role User Replicator: keeps the accounts of a home and the objects of its address book in step with the organisation's directory.
//!
//! ```text
//!    ldap (driver)                    Replicator                                  home (Front End, storage)
//!   ───────────────                  ────────────                                ────────────────────────
//!   Connected, Entries ──► Mapping: attributes ─► what an object says of itself
//!   Changes, Hint          Directory: who is where, in which groups, manages whom
//!                          Claims: which address is whose ─► conflicts
//!            ◄── Task      Plan: what the home should have − what it has (Known)
//!                          Threshold: too many cut-offs are held, and tell the operator
//!                                    Commit(Batch), in chunks, the watermark with the last ──►
//!                                    ◄────────────────────── Loaded, Committed(refused), CommitFailed
//! ```
//!
//! # What holds
//!
//! - **The directory is read, never guessed.** Changes only say which objects to read again, whole. Everything else is computed from what
//!   was read, so that the order of pages, retries and crashes do not matter: two replicators that read the same directory want the same,
//!   except who of several rivals has an address, which is who had it first.
//! - **The home is the truth about itself.** What it has is asked at the start and whenever a commit failed; what is committed is the
//!   difference. Nothing is committed twice for good, and half a round is finished by the next.
//! - **Nobody is cut off by an accident.** An unreachable server is an alarm. Another domain, a directory that shows nobody, and a round
//!   that takes away more than [`Settings::removal_percent`] and [`Settings::removal_users`] allow in a day (`losses`) are held until
//!   the directory is as it was or an operator says [`Command::Accept`]. Who is disabled there in so many words is cut off meanwhile.
//! - **A bad entry harms nobody else.** What cannot be used of it is left out and told in the [`Report`].
//!
//! The view of the directory is in memory alone: it is read at the start, then kept by polls, and compared whole every
//! [`Settings::full_read`].
//!
//! What this crate is not: it speaks no LDAP, opens no connection, asks no clock, and stores nothing. The driver and it meet in
//! `directory-source`, here [`source`]. A pool runs exactly one; who that is, is not decided here.

mod alarms;
mod chunk;
mod claims;
mod io;
mod known;
mod losses;
mod mapping;
mod plan;
mod replicator;
mod report;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use directory_source as source;
pub use io::{
    Account, Answer, Batch, CHUNK_USERS_MAX, COMMANDS_MAX, Command, CommandToken, Input, Loaded, Output,
    Progress, Refused, Stage,
};
pub use mapping::{Field, Mapping, PHOTO_OCTETS_MAX};
pub use replicator::{BACKOFF_MAX, HINT_GAP, REFUSED_AGAIN, Replicator};
pub use report::{
    Alarm, CutOff, FINDINGS_MAX, FINDINGS_PER_ENTRY_MAX, Finding, FindingKind, Held, Loss, LossKind,
    NAMES_LISTED_MAX, Report, Round, ServerReport, Totals,
};
pub use settings::{PolicyGroups, Settings};
pub use view::ENTRIES_MAX;
