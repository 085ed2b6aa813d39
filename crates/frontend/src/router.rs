//! Where a request goes: to the other party of a dialog, to a user's devices, or nowhere (RFC 3261 §16.4, §16.5).

use std::sync::Arc;

use directory::{SipAddress, UserId};
use sip_message::{AuthParams, HeaderError, HeaderId, Host, Message, Method, Uri};
use sip_stack::hop::PeerHop;
use sip_stack::outbound::TokenError;
use sip_stack::route::{Facing, ServerMark};
use sip_stack::stack::{Forwarding, HeaderChange, NextHop, Target};

use crate::calls::Devices;
use crate::elsewhere::{VOUCHED_BY, address_in_from};
use crate::frontend::FrontEnd;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request, Sender, check_origin};
use crate::provenance::{Provenance, faced_as};
use crate::users::AddressKey;

/// Headers with which one of our own servers tells another where a request came from. Nobody else may say them, and nobody outside sees them.
const TRUST_HEADERS: [&str; 3] = ["Chancery-Origin", "Chancery-Member", VOUCHED_BY];

/// The changes that [`FrontEnd::forwarding`] makes at the most: the trust headers and five others.
const CHANGES_MAX: usize = TRUST_HEADERS.len() + 5;

/// Whom a Request-URI means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A user, with all devices or one instance (a GRUU, RFC 5627 §5.1).
    User(UserId, Option<String>),
    /// An address of ours that nobody has.
    Nobody,
    /// The server itself.
    Server,
    /// Another organisation.
    Foreign,
}

/// Those of [`TRUST_HEADERS`] that stand in a message.
pub(crate) fn trust_headers(message: &Message) -> impl Iterator<Item = &'static str> + use<> {
    let mut stands = [false; TRUST_HEADERS.len()];
    for header in message.headers().filter(|header| header.id == HeaderId::Other) {
        for (stands, name) in stands.iter_mut().zip(TRUST_HEADERS) {
            *stands |= header.name.eq_ignore_ascii_case(name.as_bytes());
        }
    }
    TRUST_HEADERS.into_iter().zip(stands).filter_map(|(name, stands)| stands.then_some(name))
}

/// The value of P-Asserted-Identity (RFC 3325 §9.1) for a user of ours.
pub(crate) fn asserted(address: &SipAddress) -> String {
    ["<sip:", address.as_str(), ">"].concat()
}

impl FrontEnd {
    /// Forwards a request, or does for it what only this server can.
    pub(crate) fn route(&mut self, request: &Request<'_>, sender: Sender) -> Result<(), Refusal> {
        if request.own_routes.destination.is_some() && sender == Sender::Partner {
            return Err(Refusal::new(403, "another organisation follows a dialog that it is no party of"));
        }
        if let Some(destination) = &request.own_routes.destination {
            self.check_media_within(request)?;
            self.within_call(request, sender);
            if *destination == Err(TokenError::Forged) {
                return Err(Refusal::new(403, "a Route entry bears no signature of ours"));
            }
            let target = self.dialog_target(request);
            let target = target.ok_or(Refusal::new(430, "the flow of the other party is gone"))?;
            self.forward(request, sender, vec![target]);
            return Ok(());
        }
        let who = self.someone(request, sender)?;
        let method = request.method;
        let recipient = self.recipient(request);
        if sender == Sender::Partner {
            self.check_partner(request, &recipient)?;
        }
        match (&who, &recipient) {
            (Someone::Elsewhere(_), _) if method == Method::Notify => {
                return self.notified_from_abroad(request, &who);
            }
            (Someone::Home(user), Recipient::Foreign) => return self.route_elsewhere(request, *user),
            _ if matches!(method, Method::Subscribe | Method::Publish) => {
                return self.event_request(request, &who, &recipient);
            }
            _ => {}
        }
        match recipient {
            Recipient::User(callee, instance)
                if method == Method::Invite && request.message.to_tag().is_none() =>
            {
                // RFC 3891 §3: it means who has the dialog, also where that was begun with a call to somebody else.
                let holder = self.holder_of_replaced(request.message).and_then(|holder| holder.who.user());
                let may_be_called = |holder: &UserId| sender != Sender::Partner || self.may_federate(*holder);
                if let Some(holder) = holder.filter(|holder| *holder != callee).filter(may_be_called) {
                    return self.call(request, sender, &who, holder, Devices::All);
                }
                let devices = instance.as_deref().map_or(Devices::All, Devices::Instance);
                self.call(request, sender, &who, callee, devices)
            }
            Recipient::User(callee, instance) => {
                let targets = self.devices_of(callee, instance.as_deref());
                if targets.is_empty() {
                    return Err(Refusal::new(480, "no device of the user is registered"));
                }
                self.forward(request, sender, targets);
                Ok(())
            }
            Recipient::Nobody => Err(Refusal::new(404, "no such user")),
            Recipient::Server if matches!(method, Method::Other(_)) => {
                Err(Refusal::new(501, "a method that is not known here"))
            }
            Recipient::Server => Err(Refusal::new(405, "a method that the server itself does not take")),
            Recipient::Foreign => Err(Refusal::new(403, "another organisation asks for transit")),
        }
    }

    /// A request of a user of ours that names nobody of ours: a device by its contact, or somebody of another organisation.
    fn route_elsewhere(&mut self, request: &Request<'_>, user: UserId) -> Result<(), Refusal> {
        let begins = request.message.to_tag().is_none();
        if begins
            && matches!(request.method, Method::Invite | Method::Refer)
            && let Some(done) = self.route_to_device(request, user)
        {
            return done;
        }
        let (address, target) = self.target_elsewhere(request, user)?;
        match request.method {
            Method::Invite if begins => self.call_elsewhere(request, user, address, target),
            _ => {
                self.forward(request, Sender::User(user), vec![target]);
                Ok(())
            }
        }
    }

    /// A transfer may name a device by its contact.
    fn route_to_device(&mut self, request: &Request<'_>, user: UserId) -> Option<Result<(), Refusal>> {
        let is_invite = request.method == Method::Invite;
        let (sender, who) = (Sender::User(user), Someone::Home(user));
        // RFC 3891 §3: it means who has that dialog, and the dialog runs through us.
        let holder = self.holder_of_replaced(request.message).filter(|_| is_invite);
        if let Some(holder) = holder.and_then(|holder| holder.who.user()) {
            return Some(self.call(request, sender, &who, holder, Devices::All));
        }
        let (callee, device) = request.uri.and_then(|uri| self.device_at_contact(&uri))?;
        if is_invite {
            return Some(self.call(request, sender, &who, callee, Devices::One(device)));
        }
        let target = self.users.get(callee).and_then(|account| account.bindings.target_of(device));
        self.forward(request, sender, target.into_iter().collect());
        Some(Ok(()))
    }

    /// Whom the Request-URI means.
    pub(crate) fn recipient(&self, request: &Request<'_>) -> Recipient {
        let Some(uri) = request.uri else { return Recipient::Foreign };
        let host = uri.host();
        let is_our_domain = self.is_our_domain(host);
        if !is_our_domain && !self.stack.routes().names().is_self(&uri) {
            return Recipient::Foreign;
        }
        let Some(name) = uri.user_unescaped() else { return Recipient::Server };
        let gr = uri.params().get_unquoted("gr");
        if gr.as_deref() == Some("") {
            return self.temporary_gruu(&name);
        }
        let key = match host {
            Host::Name(host) if is_our_domain => AddressKey::new(&name, host),
            // A client that knows only our address means our first domain.
            _ => AddressKey::new(&name, self.config.domains[0].as_str()),
        };
        match self.users.find_enabled(&key) {
            Some(account) => Recipient::User(account.user.id, gr.map(std::borrow::Cow::into_owned)),
            None => Recipient::Nobody,
        }
    }

    /// RFC 5627 §5.1: good while the registration lives that it was made in.
    fn temporary_gruu(&self, user: &str) -> Recipient {
        let tokens = self.stack.routes().tokens();
        let Ok(gruu) = tokens.read_temporary_gruu(user) else { return Recipient::Nobody };
        let Some((name, domain)) = gruu.address.rsplit_once('@') else { return Recipient::Nobody };
        let Some(account) = self.users.find_enabled(&AddressKey::new(name, domain)) else {
            return Recipient::Nobody;
        };
        let is_of_this_registration = |call_id: &str| tokens.call_id_digest(call_id) == gruu.call_id_digest;
        let instance = Some(gruu.instance.as_str());
        let is_valid = account
            .bindings
            .iter()
            .any(|b| b.instance.as_deref() == instance && is_of_this_registration(&b.call_id));
        if is_valid { Recipient::User(account.user.id, Some(gruu.instance)) } else { Recipient::Nobody }
    }

    pub(crate) fn devices_of(&self, user: UserId, instance: Option<&str>) -> Vec<Target> {
        let Some(account) = self.users.get(user) else { return Vec::new() };
        account.bindings.targets(|b| instance.is_none() || b.instance.as_deref() == instance)
    }

    /// The other party of a dialog: on its flow or behind the server that stands in Route, or where its device is registered now
    /// if that flow is gone. A server that cannot be reached is gone around.
    fn dialog_target(&mut self, request: &Request<'_>) -> Option<Target> {
        let message = request.message;
        let target = |hop, routes| Target {
            uri: message.request_uri_text().to_owned(),
            routes,
            hop,
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        match request.own_routes.destination {
            Some(Ok(Facing::Flow(flow))) if self.stack.hops().flow_facts(flow).is_some() => {
                return Some(target(NextHop::Flow(flow), Vec::new()));
            }
            Some(Ok(Facing::Server(mark))) => {
                if let Some((server, others)) = self.next_server(request, mark) {
                    let registered = self.way_of_registration(request);
                    let around = match registered {
                        Some(way) => vec![way],
                        None => others.into_iter().map(|edge| (NextHop::Peer(edge), Vec::new())).collect(),
                    };
                    let alternatives = around.into_iter().map(|(hop, routes)| target(hop, routes)).collect();
                    return Some(Target { alternatives, ..target(NextHop::Peer(server), Vec::new()) });
                }
            }
            _ => {}
        }
        let (hop, routes) = self.way_of_registration(request)?;
        Some(target(hop, routes))
    }

    /// The way to the device of ours that a request within a dialog means, as it is registered now.
    fn way_of_registration(&self, request: &Request<'_>) -> Option<(NextHop, Vec<String>)> {
        let to = request.message.to().ok()?;
        let account = self.users.find_enabled(&AddressKey::from_uri(&to.uri)?)?;
        let uri = request.message.request_uri().ok()?;
        let binding = account.bindings.by_contact(&uri).or_else(|| self.by_gruu(account, &uri))?;
        let now = binding.target();
        Some((now.hop, now.routes))
    }

    /// The way to the server that our own Route entry faces: the next entry is its own. And the ways to the edges that could take its
    /// place.
    fn next_server(
        &mut self,
        request: &Request<'_>,
        mark: ServerMark,
    ) -> Option<(Arc<PeerHop>, Vec<Arc<PeerHop>>)> {
        let next = request.message.name_addrs(HeaderId::Route).nth(request.own_routes.count)?.ok()?;
        let server = self.servers.named(next.uri.host_text())?;
        let is_the_same = self.stack.routes().server_mark(faced_as(server)) == mark;
        let hop = self.servers.hop(&next.uri).filter(|_| is_the_same)?;
        let others = self.servers.edges_around(&hop, self.federation_hop.as_ref());
        Some((hop, others))
    }

    fn by_gruu<'a>(
        &self,
        account: &'a crate::users::Account,
        uri: &Uri<'_>,
    ) -> Option<&'a crate::binding::Binding> {
        let gr = uri.params().get_unquoted("gr")?;
        let instance = match gr.as_ref() {
            "" => self.stack.routes().tokens().read_temporary_gruu(uri.user()?).ok()?.instance,
            public => public.to_owned(),
        };
        account.bindings.iter().rev().find(|b| b.instance.as_deref() == Some(&*instance))
    }

    pub(crate) fn forward(&mut self, request: &Request<'_>, sender: Sender, targets: Vec<Target>) {
        let server = request.server.expect("what is forwarded has a transaction");
        let forwarding = self.forwarding(request, sender);
        self.stack.forward(self.now.monotonic, server, request.message, targets, forwarding);
    }

    /// What is changed on the way: our credentials and routes go, identity is asserted (RFC 3325 §5).
    pub(crate) fn forwarding(&self, request: &Request<'_>, sender: Sender) -> Forwarding {
        let mut changes = Vec::with_capacity(CHANGES_MAX);
        changes.push(HeaderChange::Remove(HeaderId::ProxyAuthorization));
        changes.push(HeaderChange::Remove(HeaderId::PPreferredIdentity));
        changes.extend(trust_headers(request.message).map(HeaderChange::RemoveNamed));
        // Who gets an answer to a challenge of ours could guess the password at leisure (RFC 3261 §22.3).
        if request.message.credentials(HeaderId::Authorization).any(|c| self.is_of_our_realm(&c)) {
            changes.push(HeaderChange::Remove(HeaderId::Authorization));
        }
        let identity = match sender {
            Sender::User(user) => self.users.get(user).map(|a| asserted(&a.user.address)),
            Sender::Partner => address_in_from(request).map(|address| asserted(&address)),
            // A server of ours at the other side of the dialog is told, too; the Route entry has proved From.
            // Somebody elsewhere who was called by an address of ours is not that user.
            Sender::Party if matches!(request.provenance, Provenance::Partner(_)) => None,
            Sender::Party if matches!(request.own_routes.destination, Some(Ok(Facing::Server(_)))) => {
                let from = address_in_from(request).filter(|from| self.users.find_address(from).is_some());
                from.map(|address| asserted(&address))
            }
            Sender::Party => None,
        };
        if let Some(hub) = request.provenance.hub() {
            changes.push(HeaderChange::AppendNamed(VOUCHED_BY, hub.to_owned()));
        }
        changes.push(match identity {
            Some(value) => HeaderChange::Set(HeaderId::PAssertedIdentity, value),
            None => HeaderChange::Remove(HeaderId::PAssertedIdentity),
        });
        // RFC 6665 §4.3: NOTIFY too, since it may make the subscriber's dialog, with its route set.
        let record_route =
            matches!(request.method, Method::Invite | Method::Subscribe | Method::Notify | Method::Refer);
        Forwarding { own_routes: request.own_routes.count, record_route, changes, ..Forwarding::default() }
    }

    fn is_of_our_realm(&self, credentials: &Result<AuthParams<'_>, HeaderError>) -> bool {
        let realm = credentials.as_ref().ok().and_then(|c| c.get("realm"));
        realm.is_some_and(|realm| self.is_our_domain(Host::Name(&realm)))
    }

    /// An ACK of a 2xx follows its dialog; any other belongs to a refusal that nobody remembers (RFC 3261 §16.11).
    pub(crate) fn forward_ack(&mut self, request: &Request<'_>) {
        if !request.own_routes.sender_is_party || check_origin(request).is_err() {
            return;
        }
        if !matches!(request.own_routes.destination, Some(Ok(_))) {
            return;
        }
        let Some(target) = self.dialog_target(request) else { return };
        let forwarding = self.forwarding(request, Sender::Party);
        self.stack.forward_ack(self.now.monotonic, request.message, target, forwarding);
    }
}
