//! LDAP as octets (RFC 4511): pure, without sockets and clocks.
//!
//! Why our own: what a server sends is a stranger's octets until TLS and a bind have proved who it is, and StartTLS answers come before
//! TLS. So nothing here panics, recurses with the depth of the input, or keeps more than a named limit.

pub mod ber;
mod control;
mod filter;
mod message;

pub use control::{COOKIE_OCTETS_MAX, Control, DirSyncFlags, Page, Synced};
pub use filter::Filter;
pub use message::{
    ATTRIBUTES_PER_ENTRY_MAX, MessageId, Modification, ModifyOperation, Outcome, RawEntry, Request, Response,
    ResponseOperation, ResultCode, Scope, Search, VALUES_PER_ATTRIBUTE_MAX, base_name,
};

#[cfg(test)]
mod tests;
