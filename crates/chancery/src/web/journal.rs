//! What the log says of people who sign in: who, from where, under which request. No password, no token; and no name that nobody
//! has, which may be a password in the wrong field.

use std::sync::{Mutex, PoisonError};

use axum::http::Method;
use directory::SipAddress;
use net::Log;
use node::{Instant, Level, Report};

use super::Peer;
use super::metrics::By;
use super::problem::{Kind, Told};

/// Somebody got a token.
pub(super) fn signed_in(peer: &Peer, address: &SipAddress, by: By) {
    happened(peer, "sign-in", address, by.name());
}

/// Something happened to somebody's account.
pub(super) fn happened(peer: &Peer, event: &'static str, address: &SipAddress, what: &str) {
    tracing::info!(event, request = %peer.id, source = %peer.remote.ip(), user = %address, what);
}

/// Refusals, of which a flood cannot fill a disk.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Log>);

impl Refusals {
    /// A request was answered with a problem.
    pub(super) fn told(&self, now: Instant, peer: &Peer, method: &Method, path: &str, told: &Told) {
        let event = if path.starts_with("/v1/sign-in") || path == "/v1/password" {
            "sign-in-refused"
        } else {
            "web-refused"
        };
        let level = match told.kind {
            // Every sign-in by ticket begins so.
            Kind::NoTicket => Level::Debug,
            _ => Level::Warn,
        };
        let report = Report {
            level,
            event,
            request: Some(peer.id),
            reason: told.kind.entry().name.into(),
            fields: [
                Some(("source", peer.remote.ip().to_string())),
                Some(("method", method.to_string())),
                told.about.as_ref().map(|address| ("user", address.to_string())),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.tick(now);
        log.write(now, &report);
    }
}
