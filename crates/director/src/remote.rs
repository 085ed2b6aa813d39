//! A remote user's request: who sent it, and then on to the user's home with what was proved.
//!
//! A REGISTER is always asked for credentials. Every other request passes on the flow (as its edge names it) of a REGISTER
//! whose sender proved who it is, as long as that registration was to last and the account is as it was; without that it is
//! asked too. Who shows a certificate that is a user's is that user and is not asked. Every request's From must be who signed in, within dialogs too,
//! but for one who was called by the address of somebody else: the call was forwarded to a user of ours, who bears that address as long
//! as it lasts. The edge has it sealed and says so, somebody must be signed in on the flow, and the home, which knows its dialogs, judges the
//! rest; nobody is asserted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use directory::CertificateDigest;
use federation::{FromProof, Origin, ServerRole};
use node::{Level, PeerHop};
use sign_in::token::TokenError;
use sign_in::{AddressKey, Attempt, Authenticator, Proof, credentials_for, is_old_libre, offer, token};
use sip_message::{Contacts, HeaderId, Host, Method};
use sip_stack::request::{Refusal, client_address};
use sip_stack::stack::HeaderChange;

use crate::config::Mode;
use crate::director::Director;
use crate::homes::{HomeId, Known};
use crate::pipeline::{Plan, Request};
use crate::sign_ins::RemoteFlow;

/// Registered for so long where nobody says for how long (RFC 3261 §10.2.1.1 leaves it to the registrar; ours grant this).
const EXPIRES_SECONDS_DEFAULT: u32 = 3600;
/// A refresh may be on its way when the registration ends.
const SLACK: Duration = Duration::from_secs(60);

/// What an edge says of a remote client: see [`Origin::Remote`].
pub(crate) struct Client {
    pub(crate) flow: String,
    pub(crate) from: FromProof,
    pub(crate) edge: String,
    pub(crate) certificate: Option<[u8; 32]>,
}

impl Director {
    pub(crate) fn remote(&mut self, request: &Request<'_>, client: Client) -> Result<Plan, Refusal> {
        if !self.config.remote_access {
            return Err(Refusal::new(403, "remote access is switched off"));
        }
        if let Some(hop) = self.home_of_called(request, &client)? {
            let Client { flow, from, edge, certificate } = client;
            let origin = Origin::Remote { flow, from, edge, certificate };
            let identity = HeaderChange::Remove(HeaderId::PAssertedIdentity);
            let mut plan = self.plan(request, hop, Some(&origin), identity);
            for credentials in [HeaderId::Authorization, HeaderId::ProxyAuthorization] {
                plan.forwarding.changes.push(HeaderChange::Remove(credentials));
            }
            return Ok(plan);
        }
        let Client { flow, from: proof, edge, certificate } = client;
        let from = request.message.from().ok().and_then(|from| AddressKey::from_uri(&from.uri));
        let claimed = match request.method {
            Method::Register => request.message.to().ok().and_then(|to| AddressKey::from_uri(&to.uri)),
            _ => from.clone(),
        };
        let claimed = claimed.filter(|claimed| self.is_our_domain(Host::Name(claimed.domain())));
        let claimed =
            claimed.ok_or(Refusal::new(403, "the sender claims an address that is not of our domains"))?;
        if from.as_ref() != Some(&claimed) {
            return Err(Refusal::new(403, "From and To of a REGISTER are not the same"));
        }
        let remote = RemoteFlow { edge: edge.to_ascii_lowercase().into(), token: flow.clone().into() };
        let (home, identity) = match self.config.mode {
            Mode::Authenticate => {
                let (home, address) = self.authenticate(request, &claimed, &remote, certificate)?;
                (home, HeaderChange::Set(HeaderId::PAssertedIdentity, format!("<sip:{address}>")))
            }
            // The home asks; a user whom no copy names is one that the home will not know either.
            Mode::Route => {
                let home = self.homes.find(&claimed).map_or(HomeId(0), |known| known.home);
                (home, HeaderChange::Remove(HeaderId::PAssertedIdentity))
            }
        };
        let hop = match self.next_server(request, ServerRole::FrontEnd)? {
            Some(hop) => hop,
            None => self.hop_to_home(home),
        };
        let origin = Origin::Remote { flow, from: proof, edge, certificate };
        let mut plan = self.plan(request, hop, Some(&origin), identity);
        if self.config.mode == Mode::Authenticate {
            // What answered our challenge is nobody else's business (RFC 3261 §22.3). A token is its home's, which ends the registration
            // with it.
            plan.forwarding.changes.push(HeaderChange::Remove(HeaderId::ProxyAuthorization));
            let mut values = request.message.values(HeaderId::Authorization);
            let is_token = request.method == Method::Register && values.all(|v| token::bearer(v).is_some());
            if !is_token {
                plan.forwarding.changes.push(HeaderChange::Remove(HeaderId::Authorization));
            }
        }
        Ok(plan)
    }

    /// The home that a request of a forwarded call goes on to, whose From is the address that was called and nobody's who has signed in
    /// on its flow; `None` where From is to be held against who signed in.
    fn home_of_called(
        &self,
        request: &Request<'_>,
        client: &Client,
    ) -> Result<Option<Arc<PeerHop>>, Refusal> {
        let goes_on = request.message.to_tag().is_some() && request.method != Method::Register;
        if client.from != FromProof::Dialog || !goes_on {
            return Ok(None);
        }
        let from = request.message.from().ok().and_then(|from| AddressKey::from_uri(&from.uri));
        let ours = from.filter(|from| self.is_our_domain(Host::Name(from.domain())));
        if self.config.mode == Mode::Route {
            // Whom its own Route entry does not show, the home asks.
            return match ours {
                Some(_) => Ok(None),
                None => self.home_of_dialog(request).map(Some),
            };
        }
        let claimed = ours.as_ref().and_then(|from| self.homes.find(from)).map(|known| known.version);
        let present = self.present(client);
        if present.iter().any(|known| Some(known.version) == claimed) || present.is_empty() && ours.is_some()
        {
            return Ok(None);
        }
        let nobody = Refusal::new(403, "nobody who may has signed in on the flow of a party of a dialog");
        present.into_iter().map(admitted).find(Result::is_ok).ok_or(nobody)??;
        self.home_of_dialog(request).map(Some)
    }

    /// The home behind our own Route entry.
    fn home_of_dialog(&self, request: &Request<'_>) -> Result<Arc<PeerHop>, Refusal> {
        let hop = self.next_server(request, ServerRole::FrontEnd)?;
        hop.ok_or(Refusal::new(403, "From is of a dialog, and no Route leads to its home"))
    }

    /// Who is signed in on a client's flow, by a password, a token or a certificate.
    fn present(&self, client: &Client) -> Vec<&Known> {
        let digest = client.certificate.map(CertificateDigest);
        if let Some((known, _)) = digest.and_then(|digest| self.homes.of_certificate(&digest, self.now.wall))
        {
            return vec![known];
        }
        let flow =
            RemoteFlow { edge: client.edge.to_ascii_lowercase().into(), token: client.flow.as_str().into() };
        let signed_in = self.sign_ins.on(self.now.monotonic, &flow);
        let known = signed_in.filter_map(|(who, version)| Some((self.homes.account(who)?, version)));
        known.filter(|(known, version)| known.version == *version).map(|(known, _)| known).collect()
    }

    /// Who sent it: the home, and the address to assert.
    fn authenticate(
        &mut self,
        request: &Request<'_>,
        claimed: &AddressKey,
        flow: &RemoteFlow,
        certificate: Option<[u8; 32]>,
    ) -> Result<(HomeId, String), Refusal> {
        if !self.homes.is_complete() {
            return Err(Refusal::later("the homes' accounts are not known yet"));
        }
        let now = self.now.monotonic;
        let digest = certificate.map(CertificateDigest);
        if let Some((known, left)) = digest.and_then(|d| self.homes.of_certificate(&d, self.now.wall)) {
            let is_claimed = self.homes.find(claimed).is_some_and(|other| other.version == known.version);
            if !is_claimed {
                return Err(Refusal::new(403, "From is not the identity of the certificate"));
            }
            let admitted = admitted(known)?;
            let (who, version) = ((known.home, known.copied.user), known.version);
            if request.method == Method::Register {
                self.counters.sign_ins_by_certificate += 1;
                self.sign_ins.insert(now, flow.clone(), who, version, lifetime(request).min(left));
            }
            return Ok(admitted);
        }
        if request.method != Method::Register
            && let Some(known) = self.homes.find(claimed)
            && self.sign_ins.has(now, flow, (known.home, known.copied.user), known.version)
        {
            return admitted(known);
        }
        // Nobody can answer a challenge of an ACK (RFC 3261 §22.1).
        if request.method == Method::Ack {
            return Err(Refusal::new(403, "an ACK of somebody who has not signed in"));
        }
        let left = self.check_credentials(request, claimed)?;
        let known = self.homes.find(claimed).expect("who signed in exists");
        let admitted = admitted(known)?;
        let (who, version) = ((known.home, known.copied.user), known.version);
        if request.method == Method::Register {
            let lifetime = left.map_or(lifetime(request), |left| lifetime(request).min(left));
            self.sign_ins.insert(now, flow.clone(), who, version, lifetime);
        }
        Ok(admitted)
    }

    /// Digest (RFC 3261 §22), or a token (RFC 8898), with the copies of the accounts. Gives how long what was shown is still good, where it
    /// ends by itself.
    fn check_credentials(
        &mut self,
        request: &Request<'_>,
        claimed: &AddressKey,
    ) -> Result<Option<Duration>, Refusal> {
        let message = request.message;
        let realm = claimed.domain();
        let is_register = request.method == Method::Register;
        // Outside of REGISTER, Proxy-Authorization first: a client may send along an older answer in Authorization.
        let (first, second) = match is_register {
            true => (HeaderId::Authorization, None),
            false => (HeaderId::ProxyAuthorization, Some(HeaderId::Authorization)),
        };
        let values = || message.values(first).chain(second.into_iter().flat_map(|id| message.values(id)));
        let Some(credentials) = credentials_for(values(), realm) else {
            return match values().find_map(token::bearer) {
                Some(token) => self.check_token(request, claimed, token).map(Some),
                None => Err(self.challenge(request, claimed, Asks::First, "no credentials yet")),
            };
        };
        let source = source_of(request);
        let attempt = Attempt {
            realm,
            method: request.method.as_str(),
            credentials,
            body: message.body(),
            source,
            // A transaction absorbs what comes twice.
            datagram: None,
        };
        match self.auth.judge(self.now.monotonic, &self.homes, &attempt) {
            Proof::User(user) | Proof::AppPassword(user) => {
                self.counters.sign_ins += 1;
                let is_claimed = self.homes.find(claimed).is_some_and(|known| known.copied.user == user);
                match is_claimed {
                    true => Ok(None),
                    false => Err(Refusal::new(403, "From is not the identity that signed in")),
                }
            }
            Proof::Stale => Err(self.challenge(request, claimed, Asks::Stale, "the nonce is stale")),
            Proof::Wrong(reason) => {
                self.counters.sign_ins_refused += 1;
                let fields = vec![("source", source.to_string())];
                self.report(Level::Warn, "sign-in-refused", Some(request.id), reason, fields);
                match message.header(HeaderId::UserAgent).is_some_and(is_old_libre) {
                    true => Err(Refusal::new(403, reason)),
                    false => Err(self.challenge(request, claimed, Asks::First, reason)),
                }
            }
            Proof::Wait(wait) => Err(self.slow_down(request, wait, source)),
        }
    }

    /// A token says who it is; gives how long it is still good.
    fn check_token(
        &mut self,
        request: &Request<'_>,
        claimed: &AddressKey,
        text: &str,
    ) -> Result<Duration, Refusal> {
        let now = self.now;
        let source = source_of(request);
        let judged = self.homes.of_token(text, now.wall).map(|(known, claims)| (known.version, claims));
        match judged {
            Ok((version, claims)) => {
                self.counters.sign_ins_by_token += 1;
                let is_claimed = self.homes.find(claimed).is_some_and(|known| known.version == version);
                match claims.remaining(now.wall).filter(|_| is_claimed) {
                    Some(left) => Ok(left),
                    None => Err(Refusal::new(403, "From is not the identity that signed in")),
                }
            }
            Err(error) => {
                // Neither a good token nor news of one that was good is held up by what others made up.
                if error == TokenError::Forged {
                    if let Some(wait) = self.auth.wait(now.monotonic, source, claimed.as_str(), None) {
                        return Err(self.slow_down(request, wait, source));
                    }
                    self.auth.failed(now.monotonic, source, claimed.as_str());
                }
                let reason = error.reason();
                self.counters.sign_ins_refused += 1;
                let fields = vec![("source", source.to_string())];
                self.report(Level::Warn, "sign-in-refused", Some(request.id), reason, fields);
                Err(self.challenge(request, claimed, Asks::Token, reason))
            }
        }
    }

    fn slow_down(&mut self, request: &Request<'_>, wait: Duration, source: IpAddr) -> Refusal {
        self.counters.sign_ins_slowed += 1;
        let reason = "too many wrong passwords";
        let fields = vec![("source", source.to_string())];
        self.report(Level::Warn, "sign-in-slowed", Some(request.id), reason, fields);
        let seconds = Authenticator::retry_after(wait).to_string();
        Refusal::new(503, reason).with(HeaderId::RetryAfter, seconds)
    }

    fn challenge(
        &mut self,
        request: &Request<'_>,
        claimed: &AddressKey,
        asks: Asks,
        reason: &'static str,
    ) -> Refusal {
        let realm = claimed.domain();
        self.counters.challenges += 1;
        let (status, header) = match request.method {
            Method::Register => (401, HeaderId::WwwAuthenticate),
            _ => (407, HeaderId::ProxyAuthenticate),
        };
        let user_agent = request.message.header(HeaderId::UserAgent);
        let (now, source) = (self.now.monotonic, source_of(request));
        let challenges = self.auth.challenges(now, source, realm, asks == Asks::Stale, offer(user_agent));
        let refusal =
            challenges.fold(Refusal::new(status, reason), |refusal, value| refusal.with(header, value));
        // Last: who looks at the first alone knows Digest.
        match self.homes.token_server(claimed) {
            Some(server) if asks == Asks::Token => refusal.with(header, token::challenge(realm, server)),
            _ => refusal,
        }
    }
}

/// Why somebody is asked for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// There were none, or wrong ones.
    First,
    /// The nonce was too old.
    Stale,
    /// The token signs nobody in.
    Token,
}

/// Whether somebody who is proved may come from outside.
fn admitted(known: &Known) -> Result<(HomeId, String), Refusal> {
    if !known.copied.permissions.remote_access {
        return Err(Refusal::new(403, "the user may not sign in from outside"));
    }
    Ok((known.home, known.copied.addresses[0].to_string()))
}

/// How long a REGISTER wants its sign-in to be good: as long as the longest of its registrations; nothing where all end.
fn lifetime(request: &Request<'_>) -> Duration {
    let asked = request.message.number(HeaderId::Expires).ok().flatten();
    let longest = match request.message.contacts() {
        Ok(Contacts::List(list)) => {
            let each =
                list.iter().map(|contact| contact.expires.or(asked).unwrap_or(EXPIRES_SECONDS_DEFAULT));
            // Without a Contact it only asks what is registered.
            each.max().unwrap_or(EXPIRES_SECONDS_DEFAULT)
        }
        Ok(Contacts::Star) | Err(_) => 0,
    };
    match longest {
        0 => Duration::ZERO,
        seconds => Duration::from_secs(seconds.into()) + SLACK,
    }
}

/// Where the client is, whom the edge wrote into its Via: what a guesser of passwords cannot choose.
fn source_of(request: &Request<'_>) -> IpAddr {
    client_address(request.message).unwrap_or(request.arrival.remote.ip())
}
