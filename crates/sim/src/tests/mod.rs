//! The simulation shows what it can see: scenarios, planted faults, random worlds.

mod call_settings;
mod differential;
mod dishonest;
mod federated;
mod federated_transfers;
mod framework;
mod manual;
mod planted;
mod presence;
mod random_worlds;
mod scenarios;
mod support;
mod toy;
mod transfers;
