//! The thread that follows the organisation's directory: it runs the role User Replicator (crate `replicator`) between the driver
//! that speaks LDAP (crate `ldap`) and the node.
//!
//! ```text
//!   directory servers ◄── TLS ──► source.rs ──Task, Event──┐
//!                                                          ├── thread.rs: replicator::Replicator, clock, deadline
//!   node (Call::Replicate ...) ◄── home.rs ──Load, Commit──┤
//!                                                          │
//!   operator: `chancery replicate`, /metrics, /health ◄── link.rs
//! ```
//!
//! A thread of its own, less urgent than SIP: a full read decodes tens of megabytes. It decides nothing; what may be done to
//! accounts is the replicator's, and what an account is, the node's. Should the directory be away, or this thread fail, SIP goes on
//! with what is known.

mod check;
mod home;
mod line;
mod link;
mod passwords;
mod settings;
mod source;
mod thread;

pub(crate) use check::check;
pub(crate) use line::{FollowedLine, ReplicateWord, ReplicationLine, answer_line, progress_line};
pub(crate) use link::{Following, Link, Meter};
pub(crate) use passwords::Passwords;
pub(crate) use settings::Followed;
pub(crate) use thread::DirectoryThread;

#[cfg(test)]
mod tests;
