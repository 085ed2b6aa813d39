//! Presence: what a person's devices and choices add up to, and who may see how much of it.
//!
//! - [`Availability`], [`Activities`], [`DeviceState`], [`Manual`]: the inputs, on one scale;
//! - [`compose`]: one [`State`] per person, with [`Why`] it is so (design: an unexpired manual choice other than available
//!   wins, else a call, else the most available device);
//! - [`Level`] and [`View`]: what a watcher may see, and nothing else that a body can be made of;
//! - [`pidf`]: what devices publish, and what watchers get.
//!
//! Times are milliseconds since 1970 that are given. What this crate is not: it knows no SIP message, no transport, no
//! subscription, no storage, no clock.

mod compose;
mod level;
pub mod pidf;
mod state;
#[cfg(test)]
mod testing;
mod time;
pub mod xml;

pub use compose::{Inputs, State, Why, compose};
pub use level::{Level, Relation, View};
pub use state::{
    Activities, Activity, Availability, Capabilities, Class, ContactCard, DeviceState, Manual, ManualState,
    Note, TEXT_OCTETS_MAX,
};
