//! The web: sign-in over HTTPS, and what a signed-in person may do there.
//!
//! ```text
//!   net::https ─► Web ─► axum's router ─► sign_in, app_passwords, certificates ─► Office ─┬─► Accounts (calls of the home)
//!                                                                                         ├─► Guard, Organisation (LDAP)
//!                                                                                         ├─► Tickets (Kerberos)
//!                                                                                         └─► PeopleAuthority
//! ```
//!
//! A person proves who they are, by the password of a local account (asked of the home), by that of the organisation's directory
//! (a bind, behind [`sign_in::guard`]), or by a Kerberos ticket. What they get is a token for an hour, the Bearer of all other
//! requests, here and in SIP (RFC 8898). With it they make what phones need: app passwords and client certificates, and read the
//! address book.
//!
//! It is a listener of its own, with a thread of its own: HTTPS only, HTTP/1.1, whole requests within limits, no cookie, no page
//! of another site (no CORS), nothing for caches. It never asks for client certificates: browsers would prompt their users.
//!
//! # What this is not
//!
//! It keeps no account and decides nothing about one: that is the home's. It speaks no LDAP ([`Organisation`]).
//!
//! # Rules
//!
//! RFC 9110 (HTTP), RFC 9457 (problems), RFC 6750 (Bearer), RFC 4559 (Negotiate), RFC 6585 §4 (429), RFC 6797 (HSTS).

mod accounts;
mod app_passwords;
mod bearer;
mod book;
mod certificates;
mod content;
mod journal;
mod ldap;
mod metrics;
mod negotiate;
mod office;
mod organisation;
mod people;
mod problem;
mod router;
mod server;
mod settings;
mod sign_in;
#[cfg(test)]
mod tests;

pub(crate) use accounts::Accounts;
pub(crate) use book::Wishes;
pub(crate) use ldap::RETRY_AFTER;
pub(crate) use metrics::Meter;
pub(crate) use negotiate::Tickets;
pub(crate) use office::{Office, Parts};
pub(crate) use organisation::{Change, Changed, Colleague, Judged, Judgement, Locks, Organisation};
use server::Peer;
pub(crate) use server::{Follower, WebThread};
pub(crate) use settings::Settings;
