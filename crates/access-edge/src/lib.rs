//! The Access Edge: the SIP border between an organisation and everybody else. And the Clearinghouse, which is the same
//! without an inside: it routes between its members and for nobody else.
//!
//! It decides who may say what to whom before anything reaches a server that has something to lose:
//!
//! - What comes from outside is partner's or remote user's. A partner's connection proves a SIP domain (RFC 5922), and each
//!   request is judged anew by [`federation::judge`]: its From must be of a domain that this very connection proves, on the
//!   one road that is valid for it. A remote user's connection proves nothing; the request must claim one of our domains,
//!   and passes unchallenged to a Director or Front End, which authenticates.
//! - What comes from inside comes from one of our listed servers, and goes to a remote user's connection or to the one server
//!   that the policy names for a domain. Nothing that a stranger wrote chooses where a request goes: not a Contact, not a
//!   Record-Route, not DNS.
//! - What one side must not know of the other stays here. Inside Vias wait in the transaction; inside Record-Route and
//!   Service-Route entries become one entry of ours with a sealed token ([`token`]), worth something to its peer and in its
//!   dialog alone.
//!
//! # A request's life
//!
//! `pipeline` tells it from top to bottom: octets, message, strict reading, provenance, our own Route entries, the generic
//! checks, and then one of four ways: `inbound` (a partner's), `remote` (a remote user's), `outbound` (our servers'), `transit` (a
//! clearinghouse's). Each way ends in a plan, a target with the changes to be made, or in a refusal with a reason for the operator.
//! Towards inside the reason is said in a Warning (RFC 3261 §20.43), towards outside never.
//!
//! # What this crate is not
//!
//! It authenticates nobody, knows no user, and cannot name a user store: `tidy` sees to it that it depends on none. It
//! holds no state that another edge of the same name would need: edges share keys, and nothing else. It opens no socket and draws no
//! randomness ([`node::Node`]).

pub mod admin;
mod border;
mod budgets;
mod config;
mod contact;
mod edge;
mod inbound;
mod links;
mod metrics;
mod outbound;
mod pipeline;
mod refused;
mod remote;
mod routes;
mod strict;
#[cfg(test)]
mod tests;
pub mod token;
mod transit;

pub use config::{Config, Limits, Mode};
pub use edge::AccessEdge;
