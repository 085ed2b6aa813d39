//! The Director: homes nobody, signs users in who come from outside, and passes them on to their home.
//!
//! It stands between the Access Edges and the Front Ends, and listens inside alone. Whoever attacks a password, asks for
//! names that do not exist, or floods, meets it and not a home.
//!
//! - `pipeline`: from octets to one of three ways, step by step, and every refusal;
//! - `remote`: a remote user's request: who it is ([`Mode::Authenticate`]), and then to the user's home with what was proved;
//! - `passing`: a partner's request to its recipient's home, and what Front Ends send out; Routes, Path, Record-Route;
//! - `sign_ins`: who has signed in over which flow at which edge: never by connection, which is the edge's;
//! - `feed`, `homes`: copies of the homes' accounts, by the event package `chancery-users` ([`sign_in::replica`]).
//!
//! A Director keeps no dialog and no registration. Its Record-Route and Path entries name the Director alone; what is behind
//! them stands in the entries of edge and home. It believes servers that the configuration lists, and nobody else: a
//! connection that proves no listed server is answered 403, whatever it says.
//!
//! What this crate is not: it stores nothing, so that it may stand where a disk may be lost; it knows no other role.

mod config;
mod director;
mod feed;
mod homes;
mod metrics;
mod passing;
mod pipeline;
mod remote;
mod sign_ins;
#[cfg(test)]
mod tests;

pub use config::{Adjustable, Config, Mode};
pub use director::{Answer, Call, Director, Status};
