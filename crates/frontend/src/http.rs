//! Requests of clients over HTTP: which service a path leads to, and who asks (RFC 7616). Connections, TLS and framing are
//! the driver's.

use std::net::IpAddr;
use std::time::Duration;

use directory::UserId;
use node::http::{HttpRequest, HttpResponse};
use node::{CallToken, Level};
use sign_in::{Attempt, Authenticator, Proof, credentials_for, token};
use sip_message::digest::Algorithm;

use crate::accounts::BearerFault;
use crate::admin::Answer;
use crate::frontend::{FrontEnd, State};
use crate::pipeline::Asks;

/// Below it are the documents of XCAP (RFC 4825 §6.1).
pub(crate) const XCAP_ROOT: &str = "/xcap/";
/// What is offered, the stronger first (RFC 7616 §3.7).
const ALGORITHMS: &[Algorithm] = &[Algorithm::Sha256, Algorithm::Md5];

impl FrontEnd {
    /// Every request gets exactly one [`Answer::Http`], at once or when what it changed is durable.
    pub(crate) fn http(&mut self, token: CallToken, request: HttpRequest) {
        if self.state == State::Loading {
            return self.answer_http(token, HttpResponse::empty(503).with("retry-after", "1"));
        }
        match request.target.starts_with(XCAP_ROOT) {
            true => self.xcap(token, request),
            false => self.answer_http(token, HttpResponse::empty(404)),
        }
    }

    pub(crate) fn answer_http(&mut self, token: CallToken, response: HttpResponse) {
        self.answer_call(token, Answer::Http(response));
    }

    /// Who asks, or what is answered to somebody who did not prove it. The realm is one of our domains.
    pub(crate) fn authenticate_http(
        &mut self,
        request: &HttpRequest,
        realm: &str,
    ) -> Result<UserId, HttpResponse> {
        // In the clear a challenge would invite somebody to guess the password from what answers it, and documents would go
        // the same way.
        if !request.is_secure && !request.remote.ip().is_loopback() {
            return Err(HttpResponse::empty(403));
        }
        let fields = || {
            let fields = request.headers.iter().filter(|(name, _)| name == "authorization");
            fields.map(|(_, value)| &**value)
        };
        let Some(credentials) = credentials_for(fields(), realm) else {
            return match fields().find_map(token::bearer) {
                Some(token) => self.authenticate_http_by_token(token, request.remote.ip(), realm),
                None => Err(self.challenge_http(realm, request.remote.ip(), Asks::First)),
            };
        };
        // RFC 7616 §3.4.6: what was signed must be what is asked for.
        if !credentials.uri().is_some_and(|uri| is_target(uri, &request.target)) {
            return Err(HttpResponse::empty(400));
        }
        let source = request.remote.ip();
        let id = self.next_request();
        let attempt = Attempt {
            realm,
            method: &request.method,
            credentials,
            body: &request.body,
            source,
            datagram: None,
        };
        match self.auth.judge(self.now.monotonic, &self.users, &attempt) {
            Proof::User(user) | Proof::AppPassword(user) => {
                self.counters.sign_ins += 1;
                Ok(user)
            }
            Proof::Stale => Err(self.challenge_http(realm, source, Asks::Stale)),
            Proof::Wrong(reason) => {
                self.counters.sign_ins_refused += 1;
                let fields = vec![("source", source.to_string()), ("over", "http".to_owned())];
                self.report(Level::Warn, "sign-in-refused", Some(id), reason, fields);
                Err(self.challenge_http(realm, source, Asks::First))
            }
            Proof::Wait(wait) => {
                self.counters.sign_ins_slowed += 1;
                Err(self.slow_down_http(wait, source))
            }
        }
    }

    fn authenticate_http_by_token(
        &mut self,
        text: &str,
        source: IpAddr,
        realm: &str,
    ) -> Result<UserId, HttpResponse> {
        match self.judge_bearer(text, realm, Some(source)) {
            Ok((user, _)) => Ok(user),
            Err(BearerFault::Token(error)) => {
                let fields = vec![("source", source.to_string()), ("over", "http".to_owned())];
                self.report(Level::Warn, "sign-in-refused", None, error.to_string(), fields);
                Err(self.challenge_http(realm, source, Asks::Token))
            }
            Err(BearerFault::Wait(wait)) => Err(self.slow_down_http(wait, source)),
        }
    }

    fn slow_down_http(&mut self, wait: Duration, source: IpAddr) -> HttpResponse {
        let fields = vec![("source", source.to_string()), ("over", "http".to_owned())];
        self.report(Level::Warn, "sign-in-slowed", None, "too many wrong passwords", fields);
        let seconds = Authenticator::retry_after(wait).to_string();
        HttpResponse::empty(503).with("retry-after", seconds)
    }

    fn challenge_http(&mut self, realm: &str, source: IpAddr, asks: Asks) -> HttpResponse {
        self.counters.challenges += 1;
        let now = self.now.monotonic;
        let challenges = self.auth.challenges(now, source, realm, asks == Asks::Stale, ALGORITHMS);
        let answer =
            challenges.fold(HttpResponse::empty(401), |answer, value| answer.with("www-authenticate", value));
        match &self.config.authentication.token_server {
            Some(server) if asks == Asks::Token => {
                answer.with("www-authenticate", token::challenge(realm, server))
            }
            _ => answer,
        }
    }

    /// The domain of ours that a host name is of, else the first: the realm of what has no owner.
    pub(crate) fn domain_of_host(&self, host: &str) -> String {
        let host = host.to_ascii_lowercase();
        let is_of = |domain: &&directory::DomainName| {
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let domain = self.config.domains.iter().find(is_of).unwrap_or(&self.config.domains[0]);
        domain.as_str().to_owned()
    }
}

/// Whether a URI, whole or without scheme and host, is the target.
fn is_target(uri: &str, target: &str) -> bool {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    path == target
}

#[cfg(test)]
mod tests {
    use super::is_target;

    #[test]
    fn what_was_signed_is_what_is_asked_for() {
        assert!(is_target("/xcap/a?b", "/xcap/a?b"));
        assert!(is_target("https://sip.contoso.example:8443/xcap/a", "/xcap/a"));
        assert!(is_target("https://sip.contoso.example", "/"));
        for wrong in
            ["", "/xcap/b", "/xcap/a?b", "xcap/a", "https://contoso.example/xcap/b", "https:///xcap/a/"]
        {
            assert!(!is_target(wrong, "/xcap/a"), "{wrong}");
        }
    }
}
