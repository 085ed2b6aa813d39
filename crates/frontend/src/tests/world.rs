//! A front end with a store in memory, clients that are lines of text, and a clock that moves when told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use directory::{DomainName, Role, SipAddress, User, UserId, UserState};
use node::{
    Anchors, Answers, CallToken, CloseReason, ConnectTarget, ConnectToken, ConnectionId, Flow, Input,
    Instant, Listener, ListenerId, Node, Now, Outcome, Output, Peer, PeerCertificate, PeerIdentity,
    PersistToken, Question, ResolveError, Side, StoreError, Transport, UnixMillis,
};
use records::memory::Tables;
use records::{Change, Query};
use sip_message::digest::{Algorithm, ResponseInput, ha1, response};
use sip_message::{AuthParams, HeaderId, Message};

use crate::admin::{Answer, Call};
use crate::{Config, FrontEnd};

pub(super) const PASSWORD: &str = "a password";

/// A front end and what surrounds it.
pub(super) struct World {
    pub(super) node: FrontEnd,
    pub(super) tables: Tables,
    now: u64,
    /// What the wall clock is ahead by.
    wall_ahead_ms: i64,
    sent: VecDeque<(Flow, Message)>,
    pub(super) closed: Vec<ConnectionId>,
    answers: VecDeque<Answer>,
    /// Connections that the node wants opened.
    pub(super) connects: VecDeque<(ConnectToken, ConnectTarget)>,
    pub(super) reports: Vec<node::Report>,
    /// Changes are held back until [`World::commit`].
    pub(super) holds_commits: bool,
    held: VecDeque<PersistToken>,
    outcomes: VecDeque<(PersistToken, Outcome)>,
    /// Every change fails with this.
    pub(super) disk: Result<(), StoreError>,
    next_connection: u64,
    next_cseq: u32,
}

impl World {
    /// Users alice, bob and carol of contoso.example, all with [`PASSWORD`].
    pub(super) fn new() -> World {
        World::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> World {
        let mut tables = Tables::default();
        for (id, name) in [(1, "alice"), (2, "bob"), (3, "carol")] {
            let address = SipAddress::parse(&format!("{name}@contoso.example")).unwrap();
            tables.apply(&Change::AddUser {
                user: User {
                    id: UserId(id),
                    secrets: Some(crate::secrets(&address, PASSWORD)),
                    address,
                    display_name: String::new(),
                    state: UserState::Enabled,
                    role: Role::Person,
                    permissions: Default::default(),
                    aliases: Vec::new(),
                    account: None,
                    tokens_since_unix_ms: 0,
                },
                at_unix_ms: 0,
            });
        }
        World::on(tables, 1, change)
    }

    /// On what an earlier start left in storage.
    pub(super) fn on(tables: Tables, boot: u8, change: impl FnOnce(&mut Config)) -> World {
        let listen = |transport, port| Listener {
            transport,
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            advertised_host: "sip.contoso.example".to_owned(),
            side: Side::Inside,
        };
        let mut config = Config {
            domains: vec![DomainName::parse("contoso.example").unwrap()],
            listeners: vec![
                listen(Transport::Udp, 5060),
                listen(Transport::Tcp, 5060),
                listen(Transport::Tls, 5061),
                listen(Transport::Wss, 443),
            ],
            aliases: Vec::new(),
            xcap_root: "https://sip.contoso.example/xcap/".to_owned(),
            registration: Default::default(),
            authentication: Default::default(),
            messaging: Default::default(),
            presence: Default::default(),
            calls: Default::default(),
            federation: Default::default(),
            servers: Vec::new(),
            remote_access: true,
            transactions_max: crate::TRANSACTIONS_MAX,
            secret: [3; 32],
            seed: [boot; 32],
        };
        change(&mut config);
        let mut world = World {
            node: FrontEnd::new(config),
            tables,
            now: u64::from(boot) * 1_000_000_000,
            wall_ahead_ms: 0,
            sent: VecDeque::new(),
            closed: Vec::new(),
            answers: VecDeque::new(),
            connects: VecDeque::new(),
            reports: Vec::new(),
            holds_commits: false,
            held: VecDeque::new(),
            outcomes: VecDeque::new(),
            disk: Ok(()),
            next_connection: u64::from(boot) << 32,
            next_cseq: 1,
        };
        world.handle(Input::Timer);
        world
    }

    fn clock(&self) -> Now {
        let wall = (1_700_000_000_000 + self.now / 1000).checked_add_signed(self.wall_ahead_ms);
        Now { monotonic: Instant(self.now), wall: UnixMillis(wall.expect("a time after 1970")) }
    }

    /// Somebody sets the wall clock.
    pub(super) fn set_clock(&mut self, by_ms: i64) {
        self.wall_ahead_ms += by_ms;
        self.handle(Input::Timer);
    }

    pub(super) fn wall_unix_ms(&self) -> u64 {
        self.clock().wall.0
    }

    pub(super) fn handle(&mut self, input: Input<FrontEnd>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(self.clock(), input);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Send { flow, bytes } => {
                        let message = Message::parse(bytes).expect("what is sent is SIP");
                        message.validate().expect("what is sent keeps the rules");
                        self.sent.push_back((flow, message));
                    }
                    Output::Persist { token, change, .. } => match &self.disk {
                        Err(error) => inputs.push_back(Input::PersistFailed { token, error: error.clone() }),
                        Ok(()) => {
                            let outcome = self.tables.try_apply(&change).expect("a place is given once");
                            if self.holds_commits {
                                self.held.push_back(token);
                                self.outcomes.push_back((token, outcome));
                            } else {
                                inputs.push_back(Input::Persisted { token, outcome });
                            }
                        }
                    },
                    Output::Query { token, query } => {
                        inputs.push_back(Input::Rows { token, rows: Ok(self.tables.query(&query)) });
                    }
                    Output::Close { connection } => {
                        self.closed.push(connection);
                        inputs.push_back(Input::Closed { connection, reason: CloseReason::Requested });
                    }
                    Output::Answer { answer, .. } => self.answers.push_back(answer),
                    Output::Report(report) => self.reports.push(report),
                    Output::Connect { token, target } => self.connects.push_back((token, target)),
                    Output::Resolve { token, question } => {
                        // Every host is known to DNS.
                        let answer = match question {
                            Question::Addresses(_) => Ok(Answers::Addresses(vec![[203, 0, 113, 9].into()])),
                            Question::Naptr(_) | Question::Srv(_) => Err(ResolveError::NotFound),
                        };
                        inputs.push_back(Input::Resolved { token, answer });
                    }
                }
            }
        }
    }

    /// What was held back is durable now.
    pub(super) fn commit(&mut self) {
        self.held.clear();
        for (token, outcome) in std::mem::take(&mut self.outcomes) {
            self.handle(Input::Persisted { token, outcome });
        }
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        while let Some(at) = self.node.next_deadline().filter(|at| at.0 <= end) {
            self.now = self.now.max(at.0);
            self.handle(Input::Timer);
        }
        self.now = end;
    }

    /// Time goes on while the thread is busy with something else: what was due comes late.
    pub(super) fn stall(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_micros()).unwrap();
        self.handle(Input::Timer);
    }

    /// A connection is accepted.
    pub(super) fn connect(&mut self, transport: Transport) -> Flow {
        self.connect_with(transport, PeerIdentity::Anonymous)
    }

    /// Another server connects and shows a certificate of ours with this name.
    pub(super) fn connect_server(&mut self, host: &str) -> Flow {
        self.connect_with(Transport::Tls, certificate(host, vec![Anchors::Servers]))
    }

    /// A connection is accepted whose peer has proved something.
    pub(super) fn connect_with(&mut self, transport: Transport, identity: PeerIdentity) -> Flow {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let listener = match transport {
            Transport::Udp => unreachable!("datagrams have no connection"),
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Ws | Transport::Wss => 3,
        };
        let port = 40_000 + u16::try_from(self.next_connection & 0xfff).unwrap();
        let peer = Peer {
            transport,
            listener: Some(ListenerId(listener)),
            local: SocketAddr::from(([192, 0, 2, 1], 5061)),
            remote: SocketAddr::from(([198, 51, 100, 7], port)),
            side: Side::Inside,
            identity,
        };
        self.handle(Input::Connected { connection, peer, token: None });
        Flow::Connection(connection)
    }

    /// A connection that the node wanted is up.
    pub(super) fn connected_to(
        &mut self,
        token: ConnectToken,
        target: &ConnectTarget,
        identity: PeerIdentity,
    ) -> Flow {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let peer = Peer {
            transport: target.transport,
            listener: None,
            local: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            remote: target.address,
            side: target.side,
            identity,
        };
        self.handle(Input::Connected { connection, peer, token: Some(token) });
        Flow::Connection(connection)
    }

    pub(super) fn disconnect(&mut self, flow: Flow) {
        let Flow::Connection(connection) = flow else { panic!("not a connection") };
        self.handle(Input::Closed { connection, reason: CloseReason::PeerClosed });
    }

    /// A message arrives: lines, with `Content-Length` added.
    pub(super) fn receive(&mut self, flow: Flow, head: &str, body: &str) {
        let text =
            format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.trim().replace('\n', "\r\n"), body.len());
        self.handle(Input::Received { flow, bytes: Bytes::from(text) });
    }

    /// The next message that was sent to a flow.
    pub(super) fn sent_to(&mut self, flow: Flow) -> Option<Message> {
        let at = self.sent.iter().position(|(f, _)| *f == flow)?;
        self.sent.remove(at).map(|(_, m)| m)
    }

    /// Status of the next message to a flow, which must be a response.
    pub(super) fn status_to(&mut self, flow: Flow) -> u16 {
        self.sent_to(flow).expect("an answer").status().expect("a response")
    }

    /// Whether anything else was sent.
    pub(super) fn is_silent(&self) -> bool {
        self.sent.is_empty()
    }

    /// Headers of a request from a user, with a fresh branch.
    pub(super) fn head(&mut self, method: &str, from: &str, uri: &str, to: &str) -> String {
        self.next_cseq += 1;
        let n = self.next_cseq;
        format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/TLS c.invalid;branch=z9hG4bK{n};rport\nMax-Forwards: 70\n\
             From: <sip:{from}@contoso.example>;tag=f{from}\nTo: <{to}>\nCall-ID: call-{from}-{n}\nCSeq: {n} {method}\n\
             User-Agent: test"
        )
    }

    /// A REGISTER that answers its challenge; gives the final response.
    pub(super) fn register(&mut self, flow: Flow, user: &str, contact: &str) -> Message {
        self.register_with(flow, user, "test", contact)
    }

    /// The same with a program of this name.
    pub(super) fn register_with(&mut self, flow: Flow, user: &str, program: &str, contact: &str) -> Message {
        let address = format!("sip:{user}@contoso.example");
        let mut head = || {
            let head = self.head("REGISTER", user, "sip:contoso.example", &address);
            head.replace("User-Agent: test", &format!("User-Agent: {program}"))
        };
        let (first, head) = (head(), head());
        self.receive(flow, &format!("{first}\n{contact}"), "");
        let challenge = self.sent_to(flow).expect("a challenge");
        assert_eq!(challenge.status(), Some(401));
        let credentials = credentials(&challenge, user, "REGISTER", "sip:contoso.example", PASSWORD, 1);
        self.receive(flow, &format!("{head}\nAuthorization: {credentials}\n{contact}"), "");
        self.sent_to(flow).expect("an answer")
    }

    /// Connects over TLS and registers with that connection's contact.
    pub(super) fn sign_in(&mut self, user: &str) -> Flow {
        let flow = self.connect(Transport::Tls);
        let answer =
            self.register(flow, user, &format!("Contact: <sip:{user}@{user}-pc.invalid;transport=tls>"));
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        flow
    }

    /// Refreshes what [`World::sign_in`] made.
    pub(super) fn register_again(&mut self, flow: Flow, user: &str) {
        let contact = format!("Contact: <sip:{user}@{user}-pc.invalid;transport=tls>");
        assert_eq!(self.register(flow, user, &contact).status(), Some(200));
    }

    /// A client's answer to a request that it got.
    pub(super) fn respond(&mut self, flow: Flow, request: &Message, status: u16) {
        self.respond_with(flow, request, status, &[]);
    }

    /// The same with further headers.
    pub(super) fn respond_with(
        &mut self,
        flow: Flow,
        request: &Message,
        status: u16,
        headers: &[(HeaderId, &str)],
    ) {
        let mut response = sip_message::ResponseBuilder::new(request, status);
        response
            .to_tag("callee")
            .copy_record_route()
            .header(HeaderId::Contact, "<sip:callee@bob-pc.invalid;transport=tls>");
        for (id, value) in headers {
            response.header(*id, value);
        }
        let bytes = response.build();
        self.handle(Input::Received { flow, bytes });
    }

    /// A MESSAGE from a user who is signed in on a flow.
    pub(super) fn send_text(&mut self, flow: Flow, from: &str, to: &str, text: &str) -> String {
        let to = format!("sip:{to}@contoso.example");
        let head = self.head("MESSAGE", from, &to, &to);
        self.receive(flow, &format!("{head}\nContent-Type: text/plain"), text);
        head
    }

    pub(super) fn call(&mut self, call: Call) -> Answer {
        self.handle(Input::Called { token: CallToken(1), call });
        self.answers.pop_front().expect("an answer")
    }

    /// How many calls were answered that nobody has looked at.
    pub(super) fn answers_left(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// What was held back is durable now, and is told in the wrong order.
    pub(super) fn commit_newest_first(&mut self) {
        self.held.clear();
        for (token, outcome) in std::mem::take(&mut self.outcomes).into_iter().rev() {
            self.handle(Input::Persisted { token, outcome });
        }
    }

    pub(super) fn query(&self, query: &Query) -> records::Rows {
        self.tables.query(query)
    }
}

/// A certificate with one name.
pub(super) fn certificate(host: &str, trusted_by: Vec<Anchors>) -> PeerIdentity {
    PeerIdentity::Certificate(Arc::new(PeerCertificate {
        sip_domains: vec![host.to_owned()],
        dns_names: vec![host.to_owned()],
        ip_addresses: Vec::new(),
        sha256: [7; 32],
        not_after: UnixMillis(u64::MAX),
        trusted_by,
        distrust: String::new(),
    }))
}

/// What a client answers to a challenge: MD5, with a count.
pub(super) fn credentials(
    challenge: &Message,
    user: &str,
    method: &str,
    uri: &str,
    password: &str,
    count: u32,
) -> String {
    let is_challenge = |id| matches!(id, HeaderId::WwwAuthenticate | HeaderId::ProxyAuthenticate);
    let values: Vec<AuthParams<'_>> = challenge
        .headers()
        .filter(|h| is_challenge(h.id))
        .map(|h| AuthParams::parse(h.value).unwrap())
        .filter(|value| value.scheme.eq_ignore_ascii_case("Digest"))
        .collect();
    let algorithms: Vec<_> = values.iter().map(|v| v.get("algorithm").unwrap().into_owned()).collect();
    assert_eq!(algorithms, ["SHA-256", "MD5"], "the stronger is offered first");
    let md5 = values[1];
    let (realm, nonce) = (md5.get("realm").unwrap(), md5.get("nonce").unwrap());
    let nc = format!("{count:08x}");
    let input =
        ResponseInput { method, uri, nonce: &nonce, qop: Some("auth"), nc: &nc, cnonce: "c", body: b"" };
    let answer = response(&ha1(Algorithm::Md5, user, &realm, password), &input);
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{answer}\", algorithm=MD5, \
         qop=auth, nc={nc}, cnonce=\"c\""
    )
}
