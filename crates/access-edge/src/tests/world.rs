//! Edges, and hands in place of everybody else: servers inside, partners, clients. Hands speak lines of text; wires, names
//! and certificates are facts, and what passes is told as a ladder.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use federation::{Policy, ServerRole, TrustedServer};
use node::{
    Anchors, Answers, CallToken, CloseReason, ConnectError, ConnectionId, Flow, Input, Instant, Listener,
    ListenerId, Node, Now, Output, Peer, PeerCertificate, PeerIdentity, Question, Report, ResolveError, Side,
    Srv, Transport, UnixMillis,
};
use sip_message::{HeaderId, Message, ResponseBuilder};

use crate::admin::{Answer, Call};
use crate::{AccessEdge, Config, Limits, Mode};

/// Names a host of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Host(usize);

/// A hand's end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wire(u64);

struct Machine {
    name: &'static str,
    /// `None` where a hand does it.
    edge: Option<AccessEdge>,
    addresses: BTreeMap<Side, IpAddr>,
    certificates: BTreeMap<Side, Arc<PeerCertificate>>,
    inbox: VecDeque<(Wire, Message)>,
}

pub(super) struct World {
    machines: Vec<Machine>,
    /// Who holds which end; the other end of `id` is `id ^ 1`.
    ends: BTreeMap<u64, Host>,
    next_wire: u64,
    now: u64,
    addresses: BTreeMap<String, IpAddr>,
    services: BTreeMap<String, Srv>,
    pending: VecDeque<(Host, Input<AccessEdge>)>,
    pub(super) ladder: String,
    /// Whether what passes is told.
    pub(super) tells: bool,
    pub(super) reports: Vec<Report>,
    pub(super) answers: Vec<Answer>,
    next_number: u64,
}

/// The facts of a certificate for these host names and SIP domains.
pub(super) fn certificate(hosts: &[&str], domains: &[&str], trusted_by: Anchors) -> PeerCertificate {
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut sha256 = [0; 32];
    let name = hosts.first().or(domains.first()).expect("a certificate names somebody").as_bytes();
    sha256[..name.len().min(32)].copy_from_slice(&name[..name.len().min(32)]);
    PeerCertificate {
        sip_domains: text(if domains.is_empty() { hosts } else { domains }),
        dns_names: text(hosts),
        ip_addresses: Vec::new(),
        sha256,
        not_after: UnixMillis(u64::MAX),
        trusted_by: vec![trusted_by],
        distrust: String::new(),
    }
}

/// The key that all edges of an organisation share.
pub(super) fn token_key(domain: &str) -> [u8; 32] {
    [domain.as_bytes()[0]; 32]
}

/// A policy with these lines, at an edge of contoso.example unless it is a clearinghouse's.
pub(super) fn policy(text: &str, local: &[&str]) -> Arc<Policy> {
    Arc::new(Policy::parse(text, local).unwrap_or_else(|error| panic!("{error}")))
}

impl World {
    pub(super) fn empty() -> World {
        World {
            machines: Vec::new(),
            ends: BTreeMap::new(),
            next_wire: 2,
            now: 1_000_000,
            addresses: BTreeMap::new(),
            services: BTreeMap::new(),
            pending: VecDeque::new(),
            ladder: String::new(),
            tells: true,
            reports: Vec::new(),
            answers: Vec::new(),
            next_number: 0,
        }
    }

    fn add(&mut self, machine: Machine) -> Host {
        self.machines.push(machine);
        Host(self.machines.len() - 1)
    }

    /// Somebody whom the test plays.
    pub(super) fn hand(
        &mut self,
        name: &'static str,
        host: &str,
        side: Side,
        certificate: Option<PeerCertificate>,
    ) -> Host {
        let number = u8::try_from(self.machines.len()).unwrap() + 100;
        let address = match side {
            Side::Inside => IpAddr::from([10, 0, 0, number]),
            Side::Outside => IpAddr::from([198, 51, 100, number]),
        };
        self.addresses.insert(host.to_owned(), address);
        self.add(Machine {
            name,
            edge: None,
            addresses: BTreeMap::from([(side, address)]),
            certificates: certificate.map(|certificate| (side, Arc::new(certificate))).into_iter().collect(),
            inbox: VecDeque::new(),
        })
    }

    /// An edge of `domain`: `edge.DOMAIN` outside, `edge-in.DOMAIN` inside; its next hop is `dir.DOMAIN`.
    pub(super) fn edge(
        &mut self,
        name: &'static str,
        domain: &str,
        policy: Arc<Policy>,
        change: impl FnOnce(&mut Config),
    ) -> Host {
        let number = u8::try_from(self.machines.len()).unwrap() + 100;
        let (inside, outside) = (IpAddr::from([10, 0, 0, number]), IpAddr::from([203, 0, 113, number]));
        let (inside_name, outside_name) = (format!("edge-in.{domain}"), format!("edge.{domain}"));
        let listener = |transport, ip, port, host: &str, side| Listener {
            transport,
            address: SocketAddr::new(ip, port),
            advertised_host: host.to_owned(),
            side,
        };
        let mut config = Config {
            mode: Mode::Edge,
            domains: vec![domain.to_owned()],
            listeners: vec![
                listener(Transport::Tls, inside, 5061, &inside_name, Side::Inside),
                listener(Transport::Tls, outside, 5061, &outside_name, Side::Outside),
                listener(Transport::Wss, outside, 443, &outside_name, Side::Outside),
            ],
            aliases: Vec::new(),
            next_hops: vec![format!("dir.{domain}:5061").parse().unwrap()],
            servers: vec![TrustedServer { host: format!("dir.{domain}"), role: ServerRole::Director }],
            policy,
            remote_access: true,
            token_keys: vec![token_key(domain)],
            limits: Limits::default(),
            secret: [number; 32],
            seed: [number ^ 1; 32],
        };
        change(&mut config);
        if config.mode == Mode::Clearinghouse {
            config.listeners.retain(|listener| listener.side == Side::Outside);
            (config.domains, config.next_hops, config.servers) = Default::default();
        }
        self.addresses.insert(inside_name.clone(), inside);
        self.addresses.insert(outside_name.clone(), outside);
        let host = self.add(Machine {
            name,
            edge: Some(AccessEdge::new(config)),
            addresses: BTreeMap::from([(Side::Inside, inside), (Side::Outside, outside)]),
            certificates: BTreeMap::from([
                (Side::Inside, Arc::new(certificate(&[&inside_name], &[], Anchors::Servers))),
                (Side::Outside, Arc::new(certificate(&[&outside_name], &[domain], Anchors::Partners))),
            ]),
            inbox: VecDeque::new(),
        });
        self.feed(host, Input::Timer);
        host
    }

    /// The certificate that somebody shows from now on.
    pub(super) fn show(&mut self, host: Host, side: Side, certificate: PeerCertificate) {
        self.machines[host.0].certificates.insert(side, Arc::new(certificate));
    }

    pub(super) fn service(&mut self, name: &str, target: &str, port: u16) {
        let srv = Srv { priority: 0, weight: 0, port, target: target.to_owned() };
        self.services.insert(name.to_owned(), srv);
    }

    pub(super) fn clock(&self) -> Now {
        Now { monotonic: Instant(self.now), wall: UnixMillis(1_700_000_000_000 + self.now / 1000) }
    }

    pub(super) fn feed(&mut self, host: Host, input: Input<AccessEdge>) {
        self.pending.push_back((host, input));
        while let Some((host, input)) = self.pending.pop_front() {
            let now = self.clock();
            let edge = self.machines[host.0].edge.as_mut().expect("an edge is fed");
            edge.handle(now, input);
            while let Some(output) = self.machines[host.0].edge.as_mut().and_then(AccessEdge::poll_output) {
                self.carry_out(host, output);
            }
        }
    }

    fn carry_out(&mut self, host: Host, output: Output<AccessEdge>) {
        match output {
            Output::Send { flow, bytes } => {
                let Flow::Connection(ConnectionId(id)) = flow else { panic!("an edge sends on connections") };
                self.pass(id, bytes);
            }
            Output::Connect { token, target } => {
                let side = target.side;
                let found =
                    self.machines.iter().position(|m| m.addresses.get(&side) == Some(&target.address.ip()));
                let there = found.map(Host);
                let certificate =
                    there.and_then(|there| self.machines[there.0].certificates.get(&side)).cloned();
                let expected = target.expected.expect("an edge expects something of everybody");
                let result = match there {
                    None => Err(ConnectError::Unreachable("nobody is there".to_owned())),
                    Some(there) => expected
                        .is_met_by(certificate.as_deref())
                        .map(|()| there)
                        .map_err(|unmet| ConnectError::Tls(unmet.to_string())),
                };
                match result {
                    Err(error) => self.pending.push_back((host, Input::ConnectFailed { token, error })),
                    Ok(there) => {
                        let (id, peer) = self.wire(host, there, side, Transport::Tls, true);
                        self.pending.push_back((
                            host,
                            Input::Connected { connection: ConnectionId(id), peer, token: Some(token) },
                        ));
                    }
                }
            }
            Output::Close { connection } => {
                self.unplug(connection.0, CloseReason::PeerClosed);
                if self.tells {
                    writeln!(self.ladder, "{} closes a connection", self.machines[host.0].name).unwrap();
                }
            }
            Output::Resolve { token, question } => {
                let answer = match &question {
                    Question::Addresses(name) => {
                        self.addresses.get(name).map(|ip| Answers::Addresses(vec![*ip]))
                    }
                    Question::Srv(name) => self.services.get(name).map(|srv| Answers::Srv(vec![srv.clone()])),
                    Question::Naptr(_) => None,
                };
                let answer = answer.ok_or(ResolveError::NotFound);
                self.pending.push_back((host, Input::Resolved { token, answer }));
            }
            Output::Report(report) => self.reports.push(report),
            Output::Answer { answer, .. } => self.answers.push(answer),
            Output::Persist { .. } | Output::Query { .. } => unreachable!("an edge has no store"),
        }
    }

    /// A wire from one host to another; gives the opener's end, and what the opener sees. The accepting edge is told.
    fn wire(
        &mut self,
        from: Host,
        to: Host,
        side: Side,
        transport: Transport,
        shows_certificate: bool,
    ) -> (u64, Peer) {
        let id = self.next_wire;
        self.next_wire += 2;
        self.ends.insert(id, from);
        self.ends.insert(id + 1, to);
        let address = |host: Host| self.machines[host.0].addresses[&side];
        let identity = |host: Host| match self.machines[host.0].certificates.get(&side) {
            Some(certificate) => PeerIdentity::Certificate(certificate.clone()),
            None => PeerIdentity::Anonymous,
        };
        let port = if transport == Transport::Wss { 443 } else { 5061 };
        let opener = SocketAddr::new(address(from), 40_000 + u16::try_from(id).unwrap());
        let accepter = SocketAddr::new(address(to), port);
        let seen_by_opener =
            Peer { transport, listener: None, local: opener, remote: accepter, side, identity: identity(to) };
        let listener = match (side, transport) {
            (Side::Inside, _) => 0,
            (Side::Outside, Transport::Tls) => 1,
            (Side::Outside, _) => 2,
        };
        let seen_by_accepter = Peer {
            transport,
            listener: Some(ListenerId(listener)),
            local: accepter,
            remote: opener,
            side,
            identity: if shows_certificate { identity(from) } else { PeerIdentity::Anonymous },
        };
        if self.machines[to.0].edge.is_some() {
            let connection = ConnectionId(id + 1);
            self.pending
                .push_back((to, Input::Connected { connection, peer: seen_by_accepter, token: None }));
        }
        (id, seen_by_opener)
    }

    /// A hand connects to an edge.
    pub(super) fn connect(&mut self, hand: Host, edge: Host, side: Side) -> Wire {
        self.connect_over(hand, edge, side, Transport::Tls)
    }

    pub(super) fn connect_over(&mut self, hand: Host, edge: Host, side: Side, transport: Transport) -> Wire {
        // 443 never asks for a certificate.
        let (id, _) = self.wire(hand, edge, side, transport, transport == Transport::Tls);
        self.work();
        Wire(id)
    }

    fn work(&mut self) {
        if let Some((host, input)) = self.pending.pop_front() {
            self.feed(host, input);
        }
    }

    fn unplug(&mut self, id: u64, reason: CloseReason) {
        self.ends.remove(&id);
        if let Some(far) = self.ends.remove(&(id ^ 1))
            && self.machines[far.0].edge.is_some()
        {
            self.pending.push_back((far, Input::Closed { connection: ConnectionId(id ^ 1), reason }));
        }
    }

    /// A hand hangs up.
    pub(super) fn close(&mut self, wire: Wire) {
        self.unplug(wire.0, CloseReason::PeerClosed);
        self.work();
    }

    /// Whether a wire is still up.
    pub(super) fn is_up(&self, wire: Wire) -> bool {
        self.ends.contains_key(&wire.0)
    }

    /// Octets go over a wire.
    fn pass(&mut self, id: u64, bytes: Bytes) {
        let (Some(from), Some(to)) = (self.ends.get(&id).copied(), self.ends.get(&(id ^ 1)).copied()) else {
            return;
        };
        if self.tells {
            let told = told(&bytes);
            writeln!(self.ladder, "{} > {}: {told}", self.machines[from.0].name, self.machines[to.0].name)
                .unwrap();
        }
        match self.machines[to.0].edge.is_some() {
            true => {
                let flow = Flow::Connection(ConnectionId(id ^ 1));
                self.pending.push_back((to, Input::Received { flow, bytes }));
            }
            false => {
                if bytes.as_ref() == b"\r\n" {
                    return;
                }
                let message = Message::parse(bytes).expect("what is sent is SIP");
                message.validate().unwrap_or_else(|e| panic!("what is sent keeps the rules: {e}"));
                self.machines[to.0].inbox.push_back((Wire(id ^ 1), message));
            }
        }
    }

    /// A hand sends octets.
    pub(super) fn send_octets(&mut self, wire: Wire, octets: impl Into<Bytes>) {
        self.pass(wire.0, octets.into());
        self.work();
    }

    /// A hand sends a message: lines, with `Content-Length` added.
    pub(super) fn send(&mut self, wire: Wire, head: &str, body: &str) {
        let head = head.trim().replace('\n', "\r\n");
        self.send_octets(wire, format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// A hand answers a request that it got.
    pub(super) fn answer(&mut self, got: &(Wire, Message), status: u16, lines: &[(HeaderId, &str)]) {
        let mut response = ResponseBuilder::new(&got.1, status);
        response.to_tag("there").copy_record_route();
        for (id, value) in lines {
            response.header(*id, value);
        }
        self.send_octets(got.0, response.build());
    }

    /// The next message that a hand got.
    pub(super) fn next(&mut self, hand: Host) -> Option<(Wire, Message)> {
        self.machines[hand.0].inbox.pop_front()
    }

    /// The same, which must be there.
    pub(super) fn got(&mut self, hand: Host) -> (Wire, Message) {
        let name = self.machines[hand.0].name;
        self.next(hand).unwrap_or_else(|| panic!("{name} got something; {:#?}", self.reports))
    }

    /// The status of the next message that a hand got, a response.
    pub(super) fn status(&mut self, hand: Host) -> u16 {
        self.got(hand).1.status().expect("a response")
    }

    /// The code of the last refusal.
    pub(super) fn refusal(&self) -> &str {
        let refusal = self.reports.iter().rev().find(|report| report.event == "refused").expect("a refusal");
        refusal.fields.iter().find(|(name, _)| *name == "code").map(|(_, code)| code.as_str()).unwrap()
    }

    pub(super) fn call(&mut self, edge: Host, call: Call) -> Answer {
        self.feed(edge, Input::Called { token: CallToken(1), call });
        self.answers.pop().expect("an answer")
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass_time(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        loop {
            let due =
                self.machines.iter().enumerate().filter_map(|(index, machine)| {
                    Some((machine.edge.as_ref()?.next_deadline()?, Host(index)))
                });
            let Some((at, host)) = due.min().filter(|(at, _)| at.0 <= end) else { break };
            self.now = self.now.max(at.0);
            self.feed(host, Input::Timer);
        }
        self.now = end;
    }

    /// A request with fresh numbers: no body, so far.
    pub(super) fn head(&mut self, method: &str, uri: &str, from: &str, to: &str) -> String {
        self.next_number += 1;
        let n = self.next_number;
        format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/TLS sender.invalid;branch=z9hG4bK{n}\nMax-Forwards: 70\n\
             From: <{from}>;tag=f{n}\nTo: <{to}>\nCall-ID: call-{n}\nCSeq: {n} {method}"
        )
    }
}

/// A message in a ladder: what it is, and what tells its way. Tokens have names, and branches are left out.
fn told(bytes: &Bytes) -> String {
    let Ok(message) = Message::parse(bytes.clone()) else { return "(octets)".to_owned() };
    let mut text = match message.status() {
        Some(status) => format!("{status} ({})", message.method().as_str()),
        None => format!("{} {}", message.method().as_str(), message.request_uri_text()),
    };
    for header in message.headers() {
        let is_told = matches!(
            header.id,
            HeaderId::Via
                | HeaderId::RecordRoute
                | HeaderId::Route
                | HeaderId::Path
                | HeaderId::ServiceRoute
                | HeaderId::PAssertedIdentity
                | HeaderId::Warning
        ) || header.name.starts_with(b"Chancery");
        if is_told {
            let value = String::from_utf8_lossy(header.value);
            let value = if header.id == HeaderId::Via { value.split(';').next().unwrap() } else { &value };
            let value = named_tokens(value);
            write!(text, "\n    {}: {value}", String::from_utf8_lossy(header.name)).unwrap();
        }
    }
    text
}

/// Tokens are long and say nothing to a reader.
fn named_tokens(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("sip:r.").map(|at| (at, "sip:SEALED")).or_else(|| flow_token(rest)) {
        out.push_str(&rest[..at.0]);
        out.push_str(at.1);
        let user = &rest[at.0..];
        rest = &user[user.find(['@', ';']).unwrap_or(user.len())..];
    }
    out.push_str(rest);
    out
}

fn flow_token(text: &str) -> Option<(usize, &'static str)> {
    if let Some(at) = text.find("flow=") {
        return Some((at, "flow=FLOW"));
    }
    let at = text.find("sip:")?;
    let user = text[at + 4..].split('@').next().filter(|user| user.len() == 34 && !user.contains('.'))?;
    (user.len() == 34).then_some((at, "sip:FLOW"))
}
