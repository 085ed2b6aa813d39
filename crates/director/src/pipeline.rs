//! A request's life, step by step: whose connection, parse, hops, provenance, and then one of three ways. Every refusal says why to the
//! operator, and to the sender no more than its status.

use std::sync::Arc;

use bytes::Bytes;
use federation::{Origin, ServerRole, TrustedServer, is_listed_as};
use node::{ConnectionId, Flow, Level, RequestId};
use sip_message::{HeaderId, Host, Message, Method, ParseError, ResponseBuilder, Uri};
use sip_stack::request::{
    Refusal, check_loop, check_max_forwards, check_proxy_require, check_scheme, to_tag,
};
use sip_stack::stack::{Forwarding, ResponseFate, Target};
use sip_stack::transaction::{Arrival, Incoming, ServerId};

use crate::director::Director;
use crate::remote::Client;

/// Extensions that a Director takes part in.
const SUPPORTED: &str = "path";

/// A request on its way through the steps.
pub(crate) struct Request<'m> {
    pub(crate) id: RequestId,
    pub(crate) message: &'m Message,
    pub(crate) method: Method<'m>,
    pub(crate) uri: Option<Uri<'m>>,
    pub(crate) arrival: Arrival,
    /// Who passed it on.
    pub(crate) server: Arc<TrustedServer>,
    /// `None` for an ACK.
    pub(crate) transaction: Option<ServerId>,
    /// Topmost Route entries that are ours.
    pub(crate) own_routes: usize,
}

impl<'m> Request<'m> {
    /// The Route entry behind our own.
    pub(crate) fn next_route(&self) -> Option<Result<Uri<'m>, Refusal>> {
        let next = self.message.name_addrs(HeaderId::Route).nth(self.own_routes)?;
        Some(next.map(|next| next.uri).map_err(|_| Refusal::new(400, "Route is malformed")))
    }
}

/// Where a request goes, and what is changed on the way.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) forwarding: Forwarding,
}

// From octets to a request.
impl Director {
    pub(crate) fn received(&mut self, flow: Flow, bytes: Bytes) {
        let Some((transport, remote)) = self.stack.hops().flow_facts(flow) else { return };
        let arrival = Arrival { flow, transport, remote };
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request(&message, arrival),
            Ok(message) => match self.stack.handle_response(self.now.monotonic, message) {
                ResponseFate::Taken => {}
                ResponseFate::Stray => self.counters.stray_responses += 1,
                ResponseFate::Malformed => self.counters.malformed += 1,
            },
            Err(error) => self.malformed(&error, arrival),
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
        let flow = Flow::Connection(connection);
        if let Some((transport, remote)) = self.stack.hops().flow_facts(flow) {
            let arrival = Arrival { flow, transport, remote };
            let answerable = match Message::parse(bytes) {
                Ok(message) => Some(Box::new(message)),
                Err(error) => error.answerable,
            };
            self.malformed(&ParseError { status, reason, answerable }, arrival);
        }
        self.close(connection);
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

    fn request(&mut self, message: &Message, arrival: Arrival) {
        self.counters.requests += 1;
        let id = self.next_request();
        let method = message.method();
        let server = match arrival.flow {
            Flow::Connection(connection) => self.servers.get(&connection).cloned(),
            Flow::Datagram { .. } => None,
        };
        let Some(server) = server else {
            let refusal = Refusal::new(403, "the sender is no listed server of ours");
            return self.refuse(id, message, arrival, None, &refusal);
        };
        if let Err(rejection) = message.validate() {
            let refusal = Refusal::new(rejection.status, rejection.reason);
            return self.refuse(id, message, arrival, None, &refusal);
        }
        let transaction = match self.stack.handle_request(self.now.monotonic, message, arrival) {
            Incoming::New(transaction) => Some(transaction),
            Incoming::Ack => None,
            Incoming::Absorbed | Incoming::Cancel { .. } => return,
            Incoming::Overload => {
                let refusal = Refusal::later("the table of transactions is full");
                return self.refuse(id, message, arrival, None, &refusal);
            }
        };
        let request = Request {
            id,
            message,
            method,
            uri: message.request_uri().ok(),
            arrival,
            server,
            transaction,
            own_routes: self.stack.own_routes(message, arrival.flow).count,
        };
        match self.steps(&request) {
            Ok(Some(plan)) => self.carry_out(&request, plan),
            Ok(None) => {}
            Err(refusal) => self.refuse(id, message, arrival, transaction, &refusal),
        }
    }

    fn steps(&mut self, request: &Request<'_>) -> Result<Option<Plan>, Refusal> {
        check_scheme(request.uri.as_ref())?;
        check_max_forwards(request.message, || self.is_for_this_server(request))?;
        check_loop(request.message, &self.stack)?;
        check_proxy_require(request.message, &[])?;
        if let Some(home) = self.feed_of(request) {
            self.notified(home, request)?;
            return Ok(None);
        }
        if self.is_for_this_server(request) {
            return match request.method {
                Method::Options => {
                    self.answer_ok(request);
                    Ok(None)
                }
                _ => Err(Refusal::new(405, "a method that the Director itself does not take")),
            };
        }
        match request.server.role {
            ServerRole::AccessEdge => match self.origin(request)? {
                Origin::Remote { flow, from, edge, certificate } => {
                    self.remote(request, Client { flow, from, edge, certificate })
                }
                Origin::Partner { .. } => self.partner(request),
            },
            ServerRole::FrontEnd => self.outward(request),
            ServerRole::Director => Err(Refusal::new(403, "a Director sends nothing to another one")),
        }
        .map(Some)
    }
}

// What the steps ask.
impl Director {
    /// Where an edge says that the request came from.
    pub(crate) fn origin(&self, request: &Request<'_>) -> Result<Origin, Refusal> {
        let origin = Origin::in_message(request.message)
            .map_err(|_| Refusal::new(400, "an edge says an origin that cannot be read"))?;
        let origin = origin.filter(|origin| request.server.role.may_assert(origin.assertion()));
        let origin = origin.ok_or(Refusal::new(403, "an edge does not say where a request came from"))?;
        let is_its_own = request.server.host.eq_ignore_ascii_case(origin.edge())
            || self.is_edge_called(request.arrival.flow, origin.edge());
        match is_its_own {
            true => Ok(origin),
            false => Err(Refusal::new(403, "an edge speaks for another one")),
        }
    }

    /// Whether the edge on a flow is listed under this name too.
    fn is_edge_called(&self, flow: Flow, host: &str) -> bool {
        let Flow::Connection(connection) = flow else { return false };
        let peer = self.stack.hops().peer(connection);
        peer.is_some_and(|peer| is_listed_as(&self.config.servers, peer, host, ServerRole::AccessEdge))
    }

    /// Its Request-URI has no user and names this host, and no Route leads further.
    fn is_for_this_server(&self, request: &Request<'_>) -> bool {
        let Some(uri) = &request.uri else { return false };
        uri.user().is_none() && self.stack.routes().names().is_self(uri) && request.next_route().is_none()
    }

    pub(crate) fn is_our_domain(&self, host: Host<'_>) -> bool {
        let Host::Name(name) = host else { return false };
        let name = name.strip_suffix('.').unwrap_or(name);
        self.config.domains.iter().any(|domain| domain.as_str().eq_ignore_ascii_case(name))
    }
}

// What becomes of it.
impl Director {
    fn carry_out(&mut self, request: &Request<'_>, plan: Plan) {
        let now = self.now.monotonic;
        match request.transaction {
            Some(server) => {
                self.stack.forward(now, server, request.message, vec![plan.target], plan.forwarding)
            }
            None => self.stack.forward_ack(now, request.message, plan.target, plan.forwarding),
        }
    }

    /// A response with our tag in its To.
    fn response_to<'m>(&self, message: &'m Message, status: u16) -> ResponseBuilder<'m> {
        let mut response = ResponseBuilder::new(message, status);
        response.to_tag(to_tag(self.tag_key(), message).as_str());
        response
    }

    fn tag_key(&self) -> &[u8; 16] {
        self.config.secret[..16].try_into().expect("a secret has 32 octets")
    }

    /// 200 to what ends here.
    pub(crate) fn answer_ok(&mut self, request: &Request<'_>) {
        let Some(server) = request.transaction else { return };
        let mut response = self.response_to(request.message, 200);
        response.header(HeaderId::Supported, SUPPORTED);
        let now = self.now.monotonic;
        self.stack.respond(now, server, 200, &mut response, request.arrival, request.message);
    }

    /// Answers without keeping anything.
    fn refuse(
        &mut self,
        id: RequestId,
        message: &Message,
        arrival: Arrival,
        transaction: Option<ServerId>,
        refusal: &Refusal,
    ) {
        self.counters.refused(refusal.reason);
        // Challenges are everyday life; the rest is for the operator.
        if !matches!(refusal.status, 401 | 407) {
            let fields = vec![
                ("status", refusal.status.to_string()),
                ("method", message.method().as_str().to_owned()),
                ("source", arrival.remote.ip().to_string()),
            ];
            self.report(Level::Warn, "refused", Some(id), refusal.reason, fields);
        }
        if message.method() == Method::Ack {
            return;
        }
        let mut response = refusal.response(message);
        response.to_tag(to_tag(self.tag_key(), message).as_str());
        self.stack.respond_stateless(transaction, &mut response, arrival, message);
    }
}
