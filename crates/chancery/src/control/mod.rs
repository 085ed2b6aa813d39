//! The control socket: how `chancery user` and `chancery status` speak with the running server.
//!
//! A Unix socket that only the server's account (and root) can open: who can open it is an administrator. One JSON
//! line asks, one JSON line answers (after lines of progress, where it takes long); [`protocol`] says what stands in them. A connection carries any number of such
//! pairs.

pub(crate) mod accounts;
pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod people;
pub(crate) mod presence;
pub(crate) mod protocol;
pub(crate) mod server;
mod socket;

#[cfg(test)]
mod tests;
