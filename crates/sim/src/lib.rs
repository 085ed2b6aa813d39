//! The simulated world: a virtual clock, links, DNS, disks, crashes and client devices around the real nodes, and the
//! checkers that watch.
//!
//! A [`World`] drives the same node code as `net` does, from one seed: thousands of virtual seconds a second, and
//! every failure replayable by its seed. The pieces:
//!
//! - [`World`]: machines, devices and what lies between them.
//! - [`device`]: a small, honest SIP client.
//! - [`event`]: the record of all that happened.
//! - [`ladder`]: that record as text, for scenario tests.
//!
//! What this crate is not: it opens no socket and no file, asks no clock, and knows nothing of `net`.

pub mod device;
pub mod disk;
mod dns;
pub mod event;
pub mod ladder;
mod link;
mod role;
mod world;

pub use dns::Zone;
pub use link::Conditions;
pub use role::{Home, Role};
pub use world::{Boot, Factory, World};

#[cfg(test)]
mod tests;
