//! Whom we talk with, over which road, and who a request that crossed the perimeter comes from.
//!
//! - [`policy`] is `federation.toml` as a model: partners, clearinghouses, discovery, the block list. Nobody who is not
//!   named in it is talked with.
//! - [`verdict`] decides on one request: [`judge`] takes what a flow proved and what the request says, and answers with
//!   the road or with the reason of a refusal. For each domain one road is valid, both ways.
//! - [`origin`] is what servers of ours tell each other about a request's origin: `Chancery-Origin`, `Chancery-Member`,
//!   and who may say what.
//! - [`modality`] reads from a message what it needs to be allowed: presence, messages, audio, video.
//! - [`rate`] and [`discovery`] are the budgets of partners, sources, connections and discovered partners.
//!
//! What this crate is not: it opens no file and no connection, asks no clock, knows no user of ours, and judges no
//! certificate chain. A certificate comes in as [`node::PeerCertificate`], the policy as text, the time as an argument.
//!
//! Rules: RFC 5922 §7 and RFC 5923 for what a certificate proves, in both directions of a connection; RFC 3263 is not
//! followed to a partner further than the policy says, since identity never comes from what DNS answers.

pub mod discovery;
pub mod modality;
mod name;
pub mod origin;
pub mod policy;
pub mod rate;
pub mod verdict;

pub use modality::{Modalities, Modality, with_streams_refused};
pub use name::{HostPort, NoHost, domain_name, host_name};
pub use origin::{FromProof, Member, Mode, Origin, ServerRole, TrustedServer, is_listed_as, server_of};
pub use policy::{Policy, Problem};
pub use verdict::{
    Direction, Facts, Proved, Provenance, Reason, Refusal, Road, Verdict, claims_more, identify, judge,
};
