//! A request's life: octets, message, strict reading, provenance, our own Route entries, the generic checks, then one of four
//! ways; and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use federation::domain_name;
use federation::origin::Mode as RoadMode;
use node::{ConnectionId, Flow, Level, RequestId, Side};
use sip_message::{HeaderId, Message, Method, ParseError, ResponseBuilder, Uri};
use sip_stack::request::{check_loop, check_max_forwards, check_proxy_require, check_scheme, to_tag};
use sip_stack::stack::{Forwarding, HeaderChange, ResponseFate, Target};
use sip_stack::transaction::{Arrival, Incoming, ServerId};

use crate::border::{NEVER_CROSS, NEVER_CROSS_NAMED};
use crate::config::Mode;
use crate::edge::{AccessEdge, Telling};
use crate::links::{Kind, Link};
use crate::refused::Refused;
use crate::remote::is_in_dialog_of_sender;
use crate::routes::{Leads, OwnRoutes};
use crate::strict;

/// What crosses the border with other organisations (RFC 3261 §21.4.6).
const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY, REFER, INFO, PRACK, UPDATE";
/// What an edge answers to OPTIONS that ask itself.
const SUPPORTED: &str = "path, outbound";

/// A request on its way through the steps.
pub(crate) struct Request<'m> {
    pub(crate) id: RequestId,
    pub(crate) message: &'m Message,
    pub(crate) method: Method<'m>,
    pub(crate) arrival: Arrival,
    pub(crate) connection: ConnectionId,
    /// `None` until it was found valid.
    pub(crate) uri: Option<Uri<'m>>,
    pub(crate) server: Option<ServerId>,
    pub(crate) own: OwnRoutes,
}

impl Request<'_> {
    /// The domain of From, in lower case; `None` where it has none.
    pub(crate) fn sender_domain(&self) -> Option<String> {
        domain_of(&self.message.from().ok()?.uri)
    }

    /// The address in From, in the spelling that is compared.
    pub(crate) fn sender(&self) -> Option<String> {
        address_of(&self.message.from().ok()?.uri)
    }

    pub(crate) fn call_id(&self) -> &str {
        self.message.call_id().unwrap_or_default()
    }
}

/// What is to be done with a request that may pass.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) forwarding: Forwarding,
    /// The discovered partner that begins something by it.
    pub(crate) discovered: Option<Arc<str>>,
}

impl Plan {
    pub(crate) fn new(target: Target, forwarding: Forwarding) -> Plan {
        Plan { target, forwarding, discovered: None }
    }
}

/// The SIP domain of a URI, in the spelling that is compared.
pub(crate) fn domain_of(uri: &Uri<'_>) -> Option<String> {
    if uri.is_sip() { domain_name(uri.host_text()) } else { None }
}

/// The address of a URI, in the spelling that is compared: `user@domain`.
pub(crate) fn address_of(uri: &Uri<'_>) -> Option<String> {
    let domain = domain_of(uri)?;
    Some(format!("{}@{domain}", uri.user_unescaped().unwrap_or_default()))
}

/// The removal of what never crosses, in either direction.
pub(crate) fn without_identities() -> Vec<HeaderChange> {
    let named = NEVER_CROSS_NAMED.into_iter().map(HeaderChange::RemoveNamed);
    NEVER_CROSS.into_iter().map(HeaderChange::Remove).chain(named).collect()
}

// From octets to a request.
impl AccessEdge {
    pub(crate) fn received(&mut self, flow: Flow, bytes: Bytes) {
        // An edge has no datagram sockets, and a connection that was cut has nothing to say any more.
        let Flow::Connection(connection) = flow else { return };
        let Some(link) = self.links.get(connection) else { return };
        let arrival = Arrival { flow, transport: link.peer.transport, remote: link.peer.remote };
        let message = match Message::parse(bytes.clone()) {
            Ok(message) => message,
            Err(error) => return self.malformed(&error, arrival),
        };
        let reading = strict::check(&bytes, &message);
        if message.is_request() {
            self.request(message, arrival, connection, reading);
        } else if reading.is_err() {
            self.counters.malformed += 1;
        } else {
            match self.stack.handle_response(self.now.monotonic, message) {
                ResponseFate::Taken => {}
                ResponseFate::Stray => self.counters.stray_responses += 1,
                ResponseFate::Malformed => self.counters.malformed += 1,
            }
        }
    }

    /// A stream that cannot be followed any further.
    pub(crate) fn unframed(
        &mut self,
        connection: ConnectionId,
        bytes: Bytes,
        status: u16,
        reason: &'static str,
    ) {
        if let Some(link) = self.links.get(connection) {
            let flow = Flow::Connection(connection);
            let arrival = Arrival { flow, transport: link.peer.transport, remote: link.peer.remote };
            let answerable = match Message::parse(bytes) {
                Ok(message) => Some(Box::new(message)),
                Err(error) => error.answerable,
            };
            self.malformed(&ParseError { status, reason, answerable }, arrival);
        }
        self.close_after(connection);
    }

    fn malformed(&mut self, error: &ParseError, arrival: Arrival) {
        self.counters.malformed += 1;
        let fields = vec![("source", arrival.remote.ip().to_string())];
        self.report(Level::Debug, "malformed", None, error.reason, fields);
        let answerable = error.answerable.as_deref().filter(|m| m.is_request() && m.method() != Method::Ack);
        if let Some(message) = answerable {
            let mut response = self.response_to(message, error.status);
            self.stack.respond_stateless(None, &mut response, arrival, message);
        }
    }

    fn request(
        &mut self,
        message: Message,
        arrival: Arrival,
        connection: ConnectionId,
        reading: Result<(), &'static str>,
    ) {
        let method = message.method();
        self.counters.request(method);
        let own = OwnRoutes::none();
        let id = self.next_request();
        let mut request =
            Request { id, message: &message, method, arrival, connection, uri: None, server: None, own };
        if let Err(refused) = self.check_rate(&request) {
            return self.refuse(&request, refused);
        }
        if let Err(rejection) = message.validate() {
            return self.refuse(&request, Refused::new(rejection.status, "invalid", rejection.reason));
        }
        if let Err(reason) = reading {
            return self.refuse(&request, Refused::new(400, "ambiguous", reason));
        }
        request.uri = message.request_uri().ok();
        request.own = OwnRoutes::read(&message, &self.stack, &self.entries.sealer);
        match self.stack.handle_request(self.now.monotonic, &message, arrival) {
            Incoming::New(server) => request.server = Some(server),
            Incoming::Ack => {}
            Incoming::Absorbed | Incoming::Cancel { .. } => return,
            Incoming::Overload => {
                let refused = Refused::later("overload", "the table of transactions is full");
                return self.refuse(&request, refused);
            }
        }
        match self.steps(&request) {
            Ok(Some(plan)) => self.carry_out(&request, plan),
            Ok(None) => {}
            Err(refused) => self.refuse(&request, refused),
        }
    }

    fn steps(&mut self, request: &Request<'_>) -> Result<Option<Plan>, Refused> {
        check_scheme(request.uri.as_ref())?;
        check_max_forwards(request.message, || self.is_for_this_server(request))?;
        check_proxy_require(request.message, &[])?;
        let kind = self.link(request).who.kind();
        if kind != Kind::Server {
            // What comes from inside may have been here before, on its way in.
            check_loop(request.message, &self.stack)?;
        }
        if kind == Kind::Stranger {
            return Err(Refused::new(403, "stranger", "the sender inside is no listed server of ours"));
        }
        if request.method == Method::Options && self.is_for_this_server(request) {
            self.options(request);
            return Ok(None);
        }
        let plan = match (self.config.mode, kind) {
            (Mode::Clearinghouse, _) => self.transit(request),
            (Mode::Edge, Kind::Server) => self.outbound(request),
            // Who claims one of our domains and proves nothing may be a user of ours; everybody else is judged.
            (Mode::Edge, Kind::Client)
                if self.claims_our_domain(request) || is_in_dialog_of_sender(request) =>
            {
                self.remote(request)
            }
            (Mode::Edge, _) => self.inbound(request),
        };
        plan.map(Some)
    }
}

// The steps that all ways share.
impl AccessEdge {
    /// Our own servers have no budget; partners have more of them, see [`AccessEdge::spend`].
    fn check_rate(&mut self, request: &Request<'_>) -> Result<(), Refused> {
        let now = self.now.monotonic;
        let limits = &self.config.limits;
        let link = self.links.get(request.connection).expect("a request came on a connection that is up");
        if link.peer.side == Side::Inside {
            return Ok(());
        }
        let allowance = link.allowance(limits.requests_per_connection);
        self.budgets.take_of_connection(now, request.connection, allowance)?;
        if link.who.kind() == Kind::Client {
            self.budgets.take_of_source(now, request.arrival.remote.ip(), limits.requests_per_source)?;
        }
        Ok(())
    }

    /// Its Request-URI has no user and names this host.
    fn is_for_this_server(&self, request: &Request<'_>) -> bool {
        let Some(uri) = &request.uri else { return false };
        uri.user().is_none()
            && matches!(request.own.leads, Leads::Nowhere)
            && !request.own.others_follow
            && self.stack.routes().names().is_self(uri)
    }

    pub(crate) fn is_our_domain(&self, domain: &str) -> bool {
        self.config.domains.iter().any(|ours| ours == domain)
    }

    pub(crate) fn claims_our_domain(&self, request: &Request<'_>) -> bool {
        request.sender_domain().is_some_and(|domain| self.is_our_domain(&domain))
    }

    pub(crate) fn link(&self, request: &Request<'_>) -> &Link {
        self.links.get(request.connection).expect("a request came on a connection that is up")
    }

    /// Trust headers that this sender may not say: whoever writes them means to be taken for somebody else.
    pub(crate) fn check_trust_headers(&self, request: &Request<'_>, names: &[&str]) -> Result<(), Refused> {
        match names.iter().any(|name| request.message.header_named(name).is_some()) {
            true => Err(Refused::new(
                403,
                "trust-header",
                "a header that only servers of ours may say comes from outside",
            )),
            false => Ok(()),
        }
    }

    /// Nobody is relayed along routes but ours.
    pub(crate) fn check_no_other_routes(&self, request: &Request<'_>) -> Result<(), Refused> {
        match request.own.others_follow {
            true => {
                Err(Refused::new(403, "route", "a Route leads to a server that the sender may not choose"))
            }
            false => Ok(()),
        }
    }

    /// RFC 3261 §11.2.
    fn options(&mut self, request: &Request<'_>) {
        let mut response = self.response_to(request.message, 200);
        response.header(HeaderId::Supported, SUPPORTED).header(HeaderId::Accept, "*/*");
        if let Some(server) = request.server {
            let now = self.now.monotonic;
            self.stack.respond(now, server, 200, &mut response, request.arrival, request.message);
        }
    }
}

// What becomes of it.
impl AccessEdge {
    fn carry_out(&mut self, request: &Request<'_>, plan: Plan) {
        let now = self.now.monotonic;
        let Some(server) = request.server else {
            return self.stack.forward_ack(now, request.message, plan.target, plan.forwarding);
        };
        if self.link(request).deadline.is_some() {
            self.telling.insert(server, Telling::Client(request.connection));
        }
        if let Some(domain) = plan.discovered {
            self.telling.insert(server, Telling::Discovered(domain));
        }
        self.stack.forward(now, server, request.message, vec![plan.target], plan.forwarding);
    }

    /// A response with our tag in its To.
    fn response_to<'m>(&self, message: &'m Message, status: u16) -> ResponseBuilder<'m> {
        let key = self.config.secret[..16].try_into().expect("a secret has 32 octets");
        let mut response = ResponseBuilder::new(message, status);
        response.to_tag(to_tag(&key, message).as_str());
        response
    }

    /// Answers without keeping anything: the reason is for the operator, and for our own servers.
    fn refuse(&mut self, request: &Request<'_>, refused: Refused) {
        self.counters.refused(refused.code);
        let mut fields = vec![
            ("status", refused.status.to_string()),
            ("code", refused.code.to_owned()),
            ("method", request.method.as_str().to_owned()),
            ("source", request.arrival.remote.ip().to_string()),
        ];
        fields.extend(refused.mend.clone().map(|mend| ("mend", mend)));
        self.report(Level::Warn, "refused", Some(request.id), refused.reason.clone(), fields);
        if request.method == Method::Ack {
            return;
        }
        let mut response = self.response_to(request.message, refused.status);
        for (id, value) in &refused.headers {
            response.header(*id, value);
        }
        if refused.status == 405 {
            response.header(HeaderId::Allow, ALLOW);
        }
        if self.links.get(request.connection).is_some_and(|link| link.who.kind() == Kind::Server) {
            response.header(HeaderId::Warning, self.warning(refused.warning()));
        }
        self.stack.respond_stateless(request.server, &mut response, request.arrival, request.message);
    }

    /// A Warning for our own servers and users (RFC 3261 §20.43: 399 is whatever may be shown to a person).
    pub(crate) fn warning(&self, text: &str) -> String {
        format!("399 {} \"{text}\"", self.name())
    }

    /// What is used up when somebody outside begins something; of a discovered partner its name, to see what comes of it.
    pub(crate) fn spend(
        &mut self,
        request: &Request<'_>,
        road: &federation::Road,
    ) -> Result<Option<Arc<str>>, Refused> {
        let user = request.uri.and_then(|uri| uri.user_unescaped()).unwrap_or_default().to_ascii_lowercase();
        let was_watched = self.budgets.discovered.is_watched(&road.domain);
        self.budgets.take_of_road(self.now, road, &user)?;
        if road.mode == RoadMode::Discovered {
            self.say_who_is_watched(&road.domain, was_watched);
        }
        Ok((road.mode == RoadMode::Discovered).then(|| road.domain.clone()))
    }
}
