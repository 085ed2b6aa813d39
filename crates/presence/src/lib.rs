//! Presence: what a person's devices and choices add up to, and who may see how much of it.
//!
//! - [`Availability`], [`Activities`], [`DeviceState`], [`Manual`]: the inputs, on one scale;
//! - [`compose`]: one [`State`] per person, with [`Why`] it is so (design: an unexpired manual choice other than available
//!   wins, else a call, else the most available device);
//! - [`Level`] and [`View`]: what a watcher may see, and nothing else that a body can be made of;
//! - [`pidf`]: what devices publish, and what watchers get;
//! - [`lists`], [`rls_services`]: whom a person knows, in groups, and which lists can be watched as one;
//! - [`rules`]: who sees how much of a person;
//! - [`rlmi`], [`winfo`], [`dialog_info`]: what is told of a list, of watchers and of calls.
//!
//! Times are milliseconds since 1970 that are given. What this crate is not: it knows no SIP message, no transport, no
//! subscription, no storage, no clock.

mod address;
mod compose;
pub mod dialog_info;
mod level;
pub mod lists;
pub mod pidf;
pub mod rlmi;
pub mod rls_services;
pub mod rules;
mod state;
#[cfg(test)]
mod testing;
mod time;
pub mod winfo;
pub mod xml;

pub use address::{address_of_uri, uri_of_address};
pub use compose::{Inputs, State, Why, compose};
pub use level::{Level, Relation, View};
pub use state::{
    Activities, Activity, Availability, Capabilities, Class, ContactCard, DeviceState, Manual, ManualState,
    Note, TEXT_OCTETS_MAX,
};
