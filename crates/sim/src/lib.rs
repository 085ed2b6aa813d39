//! The simulated world: a virtual clock, links, DNS, disks, crashes and client devices around the real nodes, and the
//! checkers that watch.
//!
//! A [`World`] drives the same node code as `net` does, from one seed: thousands of virtual seconds a second, and
//! every failure replayable by its seed. The pieces:
//!
//! - [`World`]: machines, devices and what lies between them.
//! - [`device`]: a small, honest SIP client.
//! - [`event`]: the record of all that happened.
//! - [`check`]: the checkers, one promise each.
//! - [`random`]: whole worlds from a seed.
//! - [`federated`]: several organisations with edges, and a clearinghouse between them.
//! - [`documents`]: contact lists and access rules, and how a client puts them onto its server.
//! - [`notice`]: what a NOTIFY tells a watcher.
//! - [`ladder`]: that record as text, for scenario tests.
//!
//! What this crate is not: it opens no socket and no file, asks no clock, and knows nothing of `net`.

pub mod check;
pub mod device;
pub mod disk;
mod dns;
pub mod documents;
pub mod event;
pub mod federated;
mod home;
pub mod ladder;
mod link;
mod network;
pub mod notice;
pub mod random;
mod role;
mod world;
mod xml;

pub use dns::Zone;
pub use home::{config, front_ends};
pub use link::Conditions;
pub use network::Network;
pub use random::Report;
pub use role::{Home, Load, Role};
pub use world::{Boot, Factory, Interface, World, app_password_of, certificate, from_directory};

/// Runs the random world of a seed on front ends with default limits.
pub fn run_seed(seed: u64) -> Report {
    random::run_seed_with(seed, front_ends(random::DOMAIN))
}

#[cfg(test)]
mod tests;
