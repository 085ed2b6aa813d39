//! A request's life, step by step: parse, limits, provenance, loop and hop checks, authenticate, assert identity, and then a service.
//!
//! Each step goes on, answers, or drops. Every refusal says why to the operator, and to the stranger no more than its status.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use directory::UserId;
use federation::{FromProof, ServerRole};
use node::{ConnectionId, Flow, Level, Output, RequestId};
use rand::Rng;
use sign_in::{Attempt, Authenticator, Datagram, Proof, credentials_for, token};
use sip_message::{HeaderId, Host, Message, Method, ParseError, ResponseBuilder, Uri};
pub(crate) use sip_stack::request::Refusal;
use sip_stack::request::{
    RETRY_AFTER_SECONDS, Tag, check_loop, check_max_forwards, check_proxy_require, check_require,
    check_scheme, client_address, to_tag,
};
use sip_stack::route::OwnRoutes;
use sip_stack::stack::ResponseFate;
use sip_stack::transaction::{Arrival, Incoming, ServerId};

use crate::accounts::BearerFault;
use crate::admission::{self, PutOff};
use crate::binding::Means;
use crate::config::Challenge;
use crate::events::ALLOW_EVENTS;
use crate::frontend::{Due, FrontEnd, State};
use crate::people::Someone;
use crate::provenance::Provenance;
use crate::users::AddressKey;

/// What we answer to OPTIONS and 405 (RFC 3261 §20.5): what is taken or passed on here.
pub(crate) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, REGISTER, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH, REFER, INFO, PRACK, UPDATE";
/// Extensions that this server takes part in.
pub(crate) const SUPPORTED: &str = "path, outbound, gruu, eventlist, recipient-list-subscribe";
/// Extensions that a request may demand of a proxy here (Proxy-Require).
const PROXY_SUPPORTED: [&str; 0] = [];

/// A request on its way through the steps.
pub(crate) struct Request<'m> {
    pub(crate) id: RequestId,
    pub(crate) message: &'m Message,
    pub(crate) method: Method<'m>,
    /// Its Request-URI; `None` until the request was found valid.
    pub(crate) uri: Option<Uri<'m>>,
    pub(crate) arrival: Arrival,
    pub(crate) provenance: Provenance,
    /// Its transaction; `None` for those that are answered without one.
    pub(crate) server: Option<ServerId>,
    pub(crate) own_routes: OwnRoutes,
}

impl Request<'_> {
    /// Whom it claims to speak for: To of a REGISTER (RFC 3261 §10.3 step 3), From of any other.
    fn claimed(&self) -> Option<AddressKey> {
        let claimed = match self.method {
            Method::Register => self.message.to(),
            _ => self.message.from(),
        };
        AddressKey::from_uri(&claimed.ok()?.uri)
    }
}

/// Why somebody is asked for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// There were none, or wrong ones.
    First,
    /// The nonce was too old.
    Stale,
    /// The token signs nobody in.
    Token,
}

/// Who sent a request, as far as its flow and its credentials prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A user of ours, signed in on this flow or by this request's credentials.
    User(UserId),
    /// A party of a dialog that runs through us, known by our own Route entry.
    Party,
    /// A person of another organisation, who speaks for the address in From: its domain was proved.
    Partner,
}

// From octets to a request.
impl FrontEnd {
    pub(crate) fn received(&mut self, flow: Flow, bytes: Bytes) {
        if let Flow::Datagram { remote, .. } = flow {
            if turn::is_stun(&bytes) {
                if let Some(answer) = turn::answer_binding(&bytes, remote) {
                    self.stack.send_raw(flow, answer);
                }
                return;
            }
            // Keep-alives of clients that send line ends over UDP.
            if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
                return;
            }
        }
        let Some((transport, remote)) = self.stack.hops().flow_facts(flow) else { return };
        let arrival = Arrival { flow, transport, remote };
        if !self.traces.is_empty() {
            self.trace_received(flow, &bytes);
        }
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request(message, arrival),
            Ok(message) => self.response(message),
            Err(error) => self.malformed(&error, arrival),
        }
    }

    /// A stream that cannot be followed any further: what can be seen of its last message is answered, and the driver closes it.
    pub(crate) fn unframed(
        &mut self,
        connection: ConnectionId,
        bytes: Bytes,
        status: u16,
        reason: &'static str,
    ) {
        let flow = Flow::Connection(connection);
        if let Some((transport, remote)) = self.stack.hops().flow_facts(flow) {
            let arrival = Arrival { flow, transport, remote };
            let answerable = match Message::parse(bytes) {
                Ok(message) => Some(Box::new(message)),
                Err(error) => error.answerable,
            };
            self.malformed(&ParseError { status, reason, answerable }, arrival);
        }
        self.outputs.push_back(Output::Close { connection });
    }

    fn malformed(&mut self, error: &ParseError, arrival: Arrival) {
        self.counters.malformed += 1;
        let fields = vec![("transport", arrival.transport.name().to_owned())];
        self.report(Level::Debug, "malformed", None, error.reason, fields);
        let Some(message) =
            error.answerable.as_deref().filter(|m| m.is_request() && m.method() != Method::Ack)
        else {
            return;
        };
        let mut response = self.response_to(message, error.status);
        self.stack.respond_stateless(None, &mut response, arrival, message);
    }

    fn response(&mut self, message: Message) {
        match self.stack.handle_response(self.now.monotonic, message) {
            ResponseFate::Taken => {}
            ResponseFate::Stray => self.counters.stray_responses += 1,
            ResponseFate::Malformed => self.counters.malformed += 1,
        }
    }

    fn request(&mut self, message: Message, arrival: Arrival) {
        let method = message.method();
        self.counters.request(method);
        let id = self.next_request();
        if !self.traces.is_empty() {
            self.trace_request(id);
        }
        let mut request = Request {
            id,
            message: &message,
            method,
            uri: None,
            arrival,
            provenance: Provenance::Client,
            server: None,
            own_routes: OwnRoutes { count: 0, destination: None, sender_is_party: false },
        };
        if let Err(rejection) = message.validate() {
            return self.refuse(&request, Refusal::new(rejection.status, rejection.reason));
        }
        request.uri = message.request_uri().ok();
        match self.provenance(&message, arrival.flow) {
            Ok(provenance) => request.provenance = provenance,
            Err(refusal) => return self.refuse(&request, refusal),
        }
        request.own_routes = self.stack.own_routes(&message, arrival.flow);
        // A REGISTER changes nothing when it comes twice, so that it needs no transaction.
        if method != Method::Register {
            match self.stack.handle_request(self.now.monotonic, &message, arrival) {
                Incoming::New(server) => request.server = Some(server),
                Incoming::Ack => return self.forward_ack(&request),
                Incoming::Absorbed | Incoming::Cancel { .. } => return,
                Incoming::Overload => {
                    return self.refuse(&request, Refusal::later("the table of transactions is full"));
                }
            }
        }
        if let Err(refusal) = self.steps(&request) {
            self.refuse(&request, refusal);
        }
    }

    fn steps(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        check_scheme(request.uri.as_ref())?;
        self.check_hops(request)?;
        self.check_extensions(request)?;
        self.check_route(request)?;
        if self.state == State::Loading {
            return Err(Refusal::later("the users are not loaded yet"));
        }
        if request.method == Method::Options && self.is_for_this_server(request) {
            self.options(request);
            return Ok(());
        }
        self.check_remote_access(request)?;
        if self.is_for_replica(request) {
            return self.replica_subscribe(request);
        }
        let claimed = request.claimed();
        let (sender, means) = self.authenticate(request, claimed.as_ref())?;
        self.check_remote_user(request, sender)?;
        let sender = self.check_identity(request, sender, claimed.as_ref())?;
        match request.method {
            Method::Register => self.register(request, sender, means, claimed.as_ref()),
            Method::Message if request.own_routes.destination.is_none() => self.message(request, sender),
            _ => self.route(request, sender),
        }
    }
}

// The steps.
impl FrontEnd {
    fn check_hops(&self, request: &Request<'_>) -> Result<(), Refusal> {
        check_max_forwards(request.message, || self.is_for_this_server(request))?;
        // A REGISTER ends here: none that we sent can come back.
        if request.method != Method::Register {
            check_loop(request.message, &self.stack)?;
        }
        Ok(())
    }

    /// Proxy-Require, and Require where we are the end.
    fn check_extensions(&self, request: &Request<'_>) -> Result<(), Refusal> {
        check_proxy_require(request.message, &PROXY_SUPPORTED)?;
        // Events of our users are this server's, whoever is asked for.
        let is_event = matches!(request.method, Method::Subscribe | Method::Publish)
            && request.own_routes.destination.is_none();
        let we_are_the_end =
            || is_event || request.method == Method::Register || self.is_for_this_server(request);
        let known: &[&str] = match request.method {
            Method::Subscribe => &["eventlist", "recipient-list-subscribe", "gruu", "outbound", "path"],
            _ => &["path", "outbound", "gruu"],
        };
        check_require(request.message, known).or_else(|refusal| match we_are_the_end() {
            true => Err(refusal),
            false => Ok(()),
        })
    }

    /// RFC 3261 §16.6 step 6 would relay a request whose Route leads elsewhere. Nobody is relayed but along a route of ours, which leads to
    /// the other party of a dialog.
    fn check_route(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let own = &request.own_routes;
        if own.destination.is_none() && request.message.elements(HeaderId::Route).count() > own.count {
            return Err(Refusal::new(403, "a Route leads to a server that is not ours"));
        }
        Ok(())
    }

    /// Whether anybody may come from outside.
    fn check_remote_access(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if request.provenance.remote().is_some() && !self.config.remote_access {
            return Err(Refusal::new(403, "remote access is switched off"));
        }
        Ok(())
    }

    /// Whether this user may come from outside.
    fn check_remote_user(&self, request: &Request<'_>, sender: Sender) -> Result<(), Refusal> {
        let (Some(_), Sender::User(user)) = (request.provenance.remote(), sender) else { return Ok(()) };
        match self.users.get(user).is_some_and(|account| account.user.may().remote_access) {
            true => Ok(()),
            false => Err(Refusal::new(403, "the user may not sign in from outside")),
        }
    }

    /// Who sent it, and what proved it: our own Route entry, what a server of ours asserts, its certificate, its flow, a token (RFC 8898),
    /// or other credentials (RFC 3261 §22).
    fn authenticate(
        &mut self,
        request: &Request<'_>,
        claimed: Option<&AddressKey>,
    ) -> Result<(Sender, Means), Refusal> {
        let message = request.message;
        let is_register = request.method == Method::Register;
        check_origin(request)?;
        if !is_register && request.own_routes.sender_is_party {
            return Ok((Sender::Party, Means::Unknown));
        }
        match &request.provenance {
            Provenance::Server { asserted: Some(user), .. }
            | Provenance::Remote { asserted: Some(user), .. } => {
                let account = self.users.find_enabled(user);
                let nobody = Refusal::new(403, "a server of ours asserts a user who may not sign in");
                let user = account.ok_or(nobody)?.user.id;
                let means = if is_register { self.means_shown(message, user)? } else { Means::Unknown };
                return Ok((Sender::User(user), means));
            }
            Provenance::Server { asserted: None, .. } => {
                return Err(Refusal::new(403, "a server of ours speaks for nobody"));
            }
            Provenance::Partner(_) if is_register => {
                return Err(Refusal::new(
                    403,
                    "a person of another organisation registers and publishes nothing",
                ));
            }
            Provenance::Partner(_) => return Ok((Sender::Partner, Means::Unknown)),
            Provenance::Client | Provenance::Remote { asserted: None, .. } => {}
        }
        let digest = request.provenance.remote().and_then(|remote| remote.certificate);
        if let Some((user, _)) = digest.and_then(|d| self.users.of_certificate(&d, self.now.wall)) {
            self.counters.sign_ins_by_certificate += u64::from(is_register);
            return Ok((Sender::User(user), Means::Certificate));
        }
        if !is_register && let Some(user) = self.signed_in(request, claimed) {
            return Ok((Sender::User(user), Means::Unknown));
        }
        let realm = self.realm(claimed)?;
        // Outside of REGISTER, Proxy-Authorization first: a client may send along an older answer in Authorization.
        let (first, second) = match is_register {
            true => (HeaderId::Authorization, None),
            false => (HeaderId::ProxyAuthorization, Some(HeaderId::Authorization)),
        };
        let values = || message.values(first).chain(second.into_iter().flat_map(|id| message.values(id)));
        let Some(credentials) = credentials_for(values(), realm) else {
            if let (Some(token), Some(claimed)) = (values().find_map(token::bearer), claimed) {
                return self.authenticate_by_token(request, claimed, token);
            }
            self.admit(request, claimed)?;
            return Err(self.challenge(request, realm, Asks::First, "no credentials yet"));
        };
        let attempt = Attempt {
            realm,
            method: request.method.as_str(),
            credentials,
            body: message.body(),
            source: source_of(request),
            datagram: datagram_of(request),
        };
        match self.auth.judge(self.now.monotonic, &self.users, &attempt) {
            Proof::User(user) => {
                self.counters.sign_ins += 1;
                self.signs_in(request, user);
                Ok((Sender::User(user), Means::Password))
            }
            Proof::AppPassword(user) => {
                self.counters.sign_ins += 1;
                self.counters.sign_ins_by_app_password += 1;
                self.signs_in(request, user);
                let username = attempt.credentials.username().unwrap_or_default().to_lowercase();
                Ok((Sender::User(user), Means::AppPassword(username.into())))
            }
            Proof::Stale => {
                self.admit(request, claimed)?;
                Err(self.challenge(request, realm, Asks::Stale, "the nonce is stale"))
            }
            Proof::Wrong(reason) => {
                self.counters.sign_ins_refused += 1;
                let fields = vec![("source", source_of(request).to_string())];
                self.report(Level::Warn, "sign-in-refused", Some(request.id), reason, fields);
                if message.header(HeaderId::UserAgent).is_some_and(sign_in::is_old_libre) {
                    return Err(Refusal::new(403, reason));
                }
                Err(self.challenge(request, realm, Asks::First, reason))
            }
            Proof::Wait(wait) => {
                self.counters.sign_ins_slowed += 1;
                Err(self.slow_down(wait, source_of(request), request.id))
            }
        }
    }

    /// What a server of ours let somebody register with, as far as it lets us see. It judges a token by a copy of ours, which may not know yet
    /// that the token was revoked.
    fn means_shown(&self, message: &Message, user: UserId) -> Result<Means, Refusal> {
        let Some(token) = message.values(HeaderId::Authorization).find_map(token::bearer) else {
            return Ok(Means::Unknown);
        };
        match self.judge_token(token) {
            Ok((account, claims)) if account.user.id == user => Ok(Means::of_token(&claims)),
            Ok(_) => Err(Refusal::new(403, "a server of ours asserts another user than the token's")),
            Err(error) => {
                // Without Digest: a nonce of ours is worth nothing to the server that asks for credentials.
                let domain = self.users.get(user).map_or("", |account| account.user.address.domain());
                match &self.config.authentication.token_server {
                    Some(server) => Err(Refusal::new(401, error.reason())
                        .with(HeaderId::WwwAuthenticate, token::challenge(domain, server))),
                    None => Err(Refusal::new(403, error.reason())),
                }
            }
        }
    }

    /// A token says who it is (RFC 8898 §2.1). One that was made up counts like a wrong password; one that is over is everyday life.
    fn authenticate_by_token(
        &mut self,
        request: &Request<'_>,
        claimed: &AddressKey,
        text: &str,
    ) -> Result<(Sender, Means), Refusal> {
        let source = source_of(request);
        // In a datagram anybody may write any source: nobody is made to wait for what others make up.
        let counted = matches!(request.arrival.flow, Flow::Connection(_)).then_some(source);
        match self.judge_bearer(text, claimed.as_str(), counted) {
            Ok((user, means)) => {
                self.signs_in(request, user);
                Ok((Sender::User(user), means))
            }
            Err(BearerFault::Wait(wait)) => Err(self.slow_down(wait, source, request.id)),
            Err(BearerFault::Token(error)) => {
                let reason = error.reason();
                let fields = vec![("source", source.to_string())];
                self.report(Level::Warn, "sign-in-refused", Some(request.id), reason, fields);
                let realm = self.realm(Some(claimed))?;
                Err(self.challenge(request, realm, Asks::Token, reason))
            }
        }
    }

    /// Identity is From: what the sender proved must cover it, on every method (design section 3). Gives who speaks, therefore.
    fn check_identity(
        &self,
        request: &Request<'_>,
        sender: Sender,
        claimed: Option<&AddressKey>,
    ) -> Result<Sender, Refusal> {
        let Sender::User(user) = sender else { return Ok(sender) };
        let account = self.users.get(user);
        let covers = |from: &AddressKey| account.is_some_and(|account| account.is_addressed_by(from));
        let is_covered = match request.method {
            // What a REGISTER claims is its To, and From says the same but where somebody registers for another.
            Method::Register => match (request.message.from(), request.message.to()) {
                (Ok(from), Ok(to)) if from.uri.as_str() == to.uri.as_str() => claimed.is_some_and(covers),
                (Ok(from), _) => AddressKey::from_uri(&from.uri).is_some_and(|from| covers(&from)),
                (Err(_), _) => false,
            },
            _ => claimed.is_some_and(covers),
        };
        match is_covered {
            true => Ok(sender),
            false if self.answered_for(request, user, claimed) => Ok(Sender::Party),
            false => Err(Refusal::new(403, "From is not the identity that signed in")),
        }
    }

    /// Whether a user answered, in this dialog, for whom From names: who was called by the address of somebody else keeps it (RFC 3261
    /// §12.2.1.1), also over another flow than that which our Route entry knows, after a connection broke.
    fn answered_for(&self, request: &Request<'_>, user: UserId, claimed: Option<&AddressKey>) -> bool {
        let call = self.calls.of_request(request.message).and_then(|id| self.calls.get(id));
        let Some((call, up)) = call.and_then(|call| Some((call, call.up()?))) else { return false };
        let called = call.called.user().and_then(|called| self.users.get(called));
        matches!(request.own_routes.destination, Some(Ok(_)))
            && up.callee.who == Someone::Home(user)
            && request.message.from_tag() == Some(&*up.callee_tag)
            && claimed.zip(called).is_some_and(|(claimed, called)| called.is_addressed_by(claimed))
    }
}

// What the steps ask.
impl FrontEnd {
    /// Whether the request is for the server itself: its Request-URI has no user and names one of our domains or hosts.
    pub(crate) fn is_for_this_server(&self, request: &Request<'_>) -> bool {
        let Some(uri) = request.uri else { return false };
        uri.user().is_none()
            && request.own_routes.destination.is_none()
            && self.stack.routes().names().is_self(&uri)
    }

    pub(crate) fn is_our_domain(&self, host: Host<'_>) -> bool {
        match host {
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_name = |domain: &str| domain == name || domain.eq_ignore_ascii_case(name);
                self.config.domains.iter().any(|d| is_name(d.as_str()))
            }
            Host::Address(_) => false,
        }
    }

    /// A user who signed in on this flow, has a registration on it, and is who the request claims to come from. With several on one flow the claim
    /// chooses; a claim that is nobody's of them proves nothing about them, and is asked for credentials.
    fn signed_in(&self, request: &Request<'_>, claimed: Option<&AddressKey>) -> Option<UserId> {
        let flow = request.arrival.flow;
        let (policy, users) = match (request.provenance.remote(), flow) {
            (Some(remote), _) => (self.config.authentication.connections, self.remote_users.get(remote)),
            (None, Flow::Connection(connection)) => {
                (self.config.authentication.connections, self.connections.get(&connection).map(|c| &c.users))
            }
            (None, Flow::Datagram { .. }) => {
                (self.config.authentication.datagrams, self.datagram_users.get(&flow))
            }
        };
        if policy == Challenge::EveryRequest {
            return None;
        }
        let users = users?;
        let is_claimed = |id: &UserId| {
            let account = self.users.get(*id);
            claimed.zip(account).is_some_and(|(claimed, account)| account.is_addressed_by(claimed))
        };
        let user = users.iter().copied().find(is_claimed).or_else(|| (users.len() == 1).then(|| users[0]))?;
        // COMPAT: SIPp 3.6.1 sends many requests over one connection without registering on it, and its scenarios wait for each challenge.
        let is_registered = self.users.get(user)?.bindings.iter().any(|binding| binding.is_from(request));
        is_registered.then_some(user)
    }

    /// Remembers who proved who it is, on a flow of its own.
    fn signs_in(&mut self, request: &Request<'_>, user: UserId) {
        if !request.provenance.is_through_server() {
            self.sign_in(request.arrival.flow, user);
        }
    }

    /// Remembers on a connection who signed in on it. Datagrams are remembered with their registration.
    fn sign_in(&mut self, flow: Flow, user: UserId) {
        let Flow::Connection(connection) = flow else { return };
        let Some(open) = self.connections.get_mut(&connection) else { return };
        if let Some(timer) = open.deadline.take() {
            self.timers.cancel(timer);
        }
        if !open.users.contains(&user) {
            open.users.push(user);
        }
    }

    /// The realm is the domain of who the sender claims to be. Nobody here can vouch for other domains.
    fn realm<'c>(&self, claimed: Option<&'c AddressKey>) -> Result<&'c str, Refusal> {
        match claimed.map(AddressKey::domain) {
            Some(domain) if self.is_our_domain(Host::Name(domain)) => Ok(domain),
            _ => Err(Refusal::new(403, "the sender claims an address that is not of our domains")),
        }
    }

    fn challenge(&mut self, request: &Request<'_>, realm: &str, asks: Asks, reason: &'static str) -> Refusal {
        self.counters.challenges += 1;
        let (status, header) = match request.method {
            Method::Register => (401, HeaderId::WwwAuthenticate),
            _ => (407, HeaderId::ProxyAuthenticate),
        };
        let user_agent = request.message.header(HeaderId::UserAgent);
        let offer = sign_in::offer(user_agent);
        let (now, source) = (self.now.monotonic, source_of(request));
        let challenges = self.auth.challenges(now, source, realm, asks == Asks::Stale, offer);
        let mut refusal = Refusal::new(status, reason);
        refusal.headers = challenges.map(|challenge| (header, challenge)).collect();
        // Last: who looks at the first alone knows Digest.
        if let Some(server) = &self.config.authentication.token_server
            && asks == Asks::Token
        {
            refusal.headers.push((header, token::challenge(realm, server)));
        }
        refusal
    }

    /// Puts a REGISTER off that would begin a sign-in, where too many come back at once; see [`crate::admission`].
    fn admit(&mut self, request: &Request<'_>, claimed: Option<&AddressKey>) -> Result<(), Refusal> {
        let is_in = self.signed_in(request, claimed).is_some();
        if is_in || request.method != Method::Register {
            return Ok(());
        }
        if self.admission.probe.is_none() {
            self.probe_backlog();
        }
        self.admission.admit().map_err(|PutOff { spread_seconds }| {
            self.counters.sign_ins_put_off += 1;
            let seconds = RETRY_AFTER_SECONDS + self.rng.random_range(0..=spread_seconds);
            let refusal = Refusal::new(503, "too many sign in at once");
            refusal.with(HeaderId::RetryAfter, seconds.to_string())
        })
    }

    fn probe_backlog(&mut self) {
        let due = self.now.monotonic + admission::PERIOD;
        self.admission.probe = Some(due);
        self.timers.insert(due, Due::ProbeBacklog);
    }

    /// The timer that was to come then has come.
    pub(crate) fn backlog_probed(&mut self) {
        let Some(due) = self.admission.probe.take() else { return };
        if self.admission.probed(self.now.monotonic.since(due)) {
            self.probe_backlog();
        }
    }

    fn slow_down(&mut self, wait: Duration, source: IpAddr, id: RequestId) -> Refusal {
        let reason = "too many wrong passwords";
        self.report(Level::Warn, "sign-in-slowed", Some(id), reason, vec![("source", source.to_string())]);
        Refusal::new(503, reason).with(HeaderId::RetryAfter, Authenticator::retry_after(wait).to_string())
    }

    /// RFC 3261 §11.2.
    fn options(&mut self, request: &Request<'_>) {
        let mut response = self.response_to(request.message, 200);
        response
            .header(HeaderId::Allow, ALLOW)
            .header(HeaderId::Supported, SUPPORTED)
            .header(HeaderId::AllowEvents, ALLOW_EVENTS)
            .header(HeaderId::Accept, "*/*");
        self.answer(request, 200, response);
    }
}

/// What came through an edge speaks for the domain that the edge proved, on every method, within dialogs too.
pub(crate) fn check_origin(request: &Request<'_>) -> Result<(), Refusal> {
    match &request.provenance {
        Provenance::Partner(origin) => {
            // Who was called by an address of others bears it, where our own Route entry says so too.
            let is_party = origin.from == FromProof::Dialog && request.own_routes.sender_is_party;
            match is_party || request.message.from().is_ok_and(|from| origin.is_domain_of(&from.uri)) {
                true => Ok(()),
                false => Err(Refusal::new(403, "From is not of the domain that the partner proved")),
            }
        }
        // An edge asks nothing for itself.
        Provenance::Server { server, .. } if server.role == ServerRole::AccessEdge => {
            Err(Refusal::new(403, "an edge does not say where a request comes from"))
        }
        Provenance::Client | Provenance::Server { .. } | Provenance::Remote { .. } => Ok(()),
    }
}

/// Where the sender of a request is: what a guesser of passwords cannot choose. An edge writes it into the Via of its client
/// (RFC 3581 §4); for all others it is the flow's other end.
fn source_of(request: &Request<'_>) -> IpAddr {
    let behind = request.provenance.remote().and_then(|_| client_address(request.message));
    behind.unwrap_or(request.arrival.remote.ip())
}

/// A REGISTER in a datagram: it comes again until it is answered, and has no transaction. Nothing comes twice over a connection
/// (RFC 3261 §17.1.2.2).
fn datagram_of<'m>(request: &Request<'m>) -> Option<Datagram<'m>> {
    let is_repeated =
        request.method == Method::Register && matches!(request.arrival.flow, Flow::Datagram { .. });
    is_repeated.then(|| Datagram { octets: request.message.bytes(), remote: request.arrival.remote })
}

// Answers.
impl FrontEnd {
    /// A response with our tag in its To.
    pub(crate) fn response_to<'m>(&self, message: &'m Message, status: u16) -> ResponseBuilder<'m> {
        let mut response = ResponseBuilder::new(message, status);
        response.to_tag(self.tag(message).as_str());
        response
    }

    /// Answers for good, in the request's transaction if it has one.
    pub(crate) fn answer(&mut self, request: &Request<'_>, status: u16, mut response: ResponseBuilder<'_>) {
        match request.server {
            Some(server) => {
                self.stack.respond(
                    self.now.monotonic,
                    server,
                    status,
                    &mut response,
                    request.arrival,
                    request.message,
                );
            }
            None => self.stack.respond_stateless(None, &mut response, request.arrival, request.message),
        }
    }

    /// Refuses, mostly without keeping anything: a stranger's requests cost no memory.
    pub(crate) fn refuse(&mut self, request: &Request<'_>, refusal: Refusal) {
        if request.method == Method::Ack {
            return;
        }
        let Refusal { status, reason, is_kept, .. } = refusal;
        self.counters.refused(reason);
        // Challenges are everyday life; the rest is for the operator.
        if !matches!(status, 401 | 407) {
            let fields = vec![
                ("status", status.to_string()),
                ("method", request.method.as_str().to_owned()),
                ("transport", request.arrival.transport.name().to_owned()),
                ("source", source_of(request).to_string()),
            ];
            self.report(Level::Warn, "refused", Some(request.id), reason, fields);
        }
        let mut response = refusal.response(request.message);
        response.to_tag(self.tag(request.message).as_str());
        if status == 405 {
            response.header(HeaderId::Allow, ALLOW);
        }
        if status == 489 {
            response.header(HeaderId::AllowEvents, ALLOW_EVENTS);
        }
        match is_kept {
            true => self.answer(request, status, response),
            false => {
                self.stack.respond_stateless(request.server, &mut response, request.arrival, request.message)
            }
        }
    }

    fn tag(&self, message: &Message) -> Tag {
        let key = self.config.secret[..16].try_into().expect("a secret has 32 octets");
        to_tag(key, message)
    }
}
