//! The Front End: registers users, proxies for them, and keeps their messages.
//!
//! A [`FrontEnd`] is a pure [`node::Node`]: fed messages, facts and the time, drained of what to send, store and tell. A request's life in
//! it is the list of steps in `pipeline`; what a step decides stands in the module of its name:
//!
//! - `pipeline`: from octets to a service, step by step, and every refusal;
//! - `provenance`: which of our servers a request came through, and what that proves;
//! - `users`, `binding`: live state of the users of this home;
//! - `registrar`, `registration`: what a REGISTER asks for, and doing it;
//! - `router`: where a request goes, calls and everything else that is forwarded;
//! - `people`, `elsewhere`: who takes part, and what passes between people of other organisations and ours;
//! - `messaging`: MESSAGE, committed before it is accepted, and its delivery;
//! - `events`: SUBSCRIBE, PUBLISH and NOTIFY (RFC 6665), by package: `presence` (RFC 3856), `reg_event` (RFC 3680);
//! - `accounts`: names, passwords and tokens for the sign-in over the web; `feed`: what the replicator and the address book read;
//! - `replica`: what Directors may know of our accounts;
//! - `replication`: following the organisation's directory; `app_passwords`: what signs in devices of people whose password is there;
//! - `http`: requests of clients over HTTP; `documents`: contact lists and rules that users keep here, XCAP;
//! - `explain`: why one person reaches another; `operator`: calls of administrators; `metrics`: what is counted.
//!
//! What this crate is not: it opens nothing and knows no socket, no database, no other role.

mod accounts;
pub mod admin;
mod admission;
mod app_passwords;
mod binding;
mod calls;
mod config;
mod contacts;
mod documents;
mod elsewhere;
mod events;
mod explain;
mod feed;
mod frontend;
mod http;
mod messaging;
mod metrics;
mod operator;
mod people;
mod pipeline;
mod presence;
mod provenance;
mod reg_event;
mod registrar;
mod registration;
mod replica;
mod replication;
mod router;
pub mod trace;
mod users;

pub use config::{
    Adjustable, AuthenticationPolicy, CallPolicy, Challenge, Config, FederationPolicy, MessagingLimits,
    PresencePolicy, RegistrationLimits, TRANSACTIONS_MAX,
};
pub use frontend::FrontEnd;
pub use operator::secrets;

#[cfg(test)]
mod tests;
