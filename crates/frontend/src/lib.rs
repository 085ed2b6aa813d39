//! The Front End: registers users, proxies for them, and keeps their messages.
//!
//! A [`FrontEnd`] is a pure [`node::Node`]. A request's life in it is the list of steps in `pipeline`; what a step decides about
//! stands in the module of that name.
//!
//! What this crate is not: it opens nothing and knows no socket, no database, no other role.

pub mod admin;
mod config;

pub use config::{AuthenticationPolicy, Challenge, Config, MessagingLimits, RegistrationLimits};
