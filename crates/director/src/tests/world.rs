//! A Director, a home, and hands in place of edges and clients. Hands speak lines of text; names and certificates are facts; what
//! passes is told as a ladder.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use directory::{DomainName, Permissions, Role, SipAddress, User, UserId, UserState};
use federation::{ServerRole, TrustedServer};
use frontend::FrontEnd;
use node::{
    Anchors, Answers, CallToken, CloseReason, ConnectTarget, ConnectToken, ConnectionId, Flow, Input,
    Instant, Listener, ListenerId, Node, Now, Output, Peer, PeerCertificate, PeerIdentity, Question, Report,
    ResolveError, ResolveToken, Side, Transport, UnixMillis,
};
use records::Change;
use records::memory::Tables;
use sip_message::digest::{Algorithm, ResponseInput, ha1, response};
use sip_message::{AuthParams, HeaderId, Message, ResponseBuilder};

use crate::{Config, Director, Mode};

pub(super) const PASSWORD: &str = "a password";
pub(super) const EDGE: &str = "edge.contoso.example";
pub(super) const BESIDE: &str = "edge-2.contoso.example";
/// What all edges are called too.
pub(super) const EDGES: &str = "edges.contoso.example";
const DIRECTOR: &str = "director.contoso.example";
const HOME: &str = "home.contoso.example";

/// Who stands in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A hand.
    Edge,
    /// Another edge, a hand.
    Beside,
    Director,
    Home,
    /// Bob's phone inside, a hand.
    Bob,
    /// Somebody inside who is no server of ours.
    Stranger,
}

impl Who {
    const ALL: [Who; 6] = [Who::Edge, Who::Director, Who::Home, Who::Bob, Who::Stranger, Who::Beside];

    fn name(self) -> &'static str {
        match self {
            Who::Edge => "edge",
            Who::Beside => "beside",
            Who::Director => "director",
            Who::Home => "home",
            Who::Bob => "bob",
            Who::Stranger => "stranger",
        }
    }

    fn host(self) -> &'static str {
        match self {
            Who::Edge => EDGE,
            Who::Beside => BESIDE,
            Who::Director => DIRECTOR,
            Who::Home => HOME,
            Who::Bob => "bob-pc.contoso.example",
            Who::Stranger => "printer.contoso.example",
        }
    }

    fn address(self) -> IpAddr {
        let at = Who::ALL.iter().position(|who| *who == self).expect("it is one of them");
        IpAddr::from([10, 0, 0, u8::try_from(at).expect("a few") + 1])
    }

    fn identity(self) -> PeerIdentity {
        if self == Who::Bob {
            return PeerIdentity::Anonymous;
        }
        PeerIdentity::Certificate(Arc::new(PeerCertificate {
            sip_domains: vec![self.host().to_owned()],
            dns_names: match self {
                Who::Edge | Who::Beside => vec![self.host().to_owned(), EDGES.to_owned()],
                _ => vec![self.host().to_owned()],
            },
            ip_addresses: Vec::new(),
            sha256: [7; 32],
            not_after: UnixMillis(u64::MAX),
            trusted_by: vec![Anchors::Servers],
            distrust: String::new(),
        }))
    }
}

/// One end of a wire; the other end is the number with its last bit turned.
type End = u64;

pub(super) struct World {
    director: Director,
    pub(super) home: FrontEnd,
    tables: Tables,
    now: u64,
    ends: BTreeMap<End, Who>,
    next_wire: u64,
    inboxes: BTreeMap<Who, VecDeque<(End, Message)>>,
    acts: VecDeque<(Who, Act)>,
    change: fn(&mut Config),
    pub(super) is_home_up: bool,
    pub(super) is_edge_up: bool,
    pub(super) ladder: String,
    pub(super) answers: Vec<frontend::admin::Answer>,
    pub(super) reports: Vec<Report>,
    next_number: u32,
}

/// What a node wants of the world.
enum Act {
    Send(Flow, Bytes),
    Connect(ConnectToken, ConnectTarget),
    Close(ConnectionId),
    Resolve(ResolveToken, Question),
    Report(Report),
    Home(Output<FrontEnd>),
}

fn listener(who: Who) -> Listener {
    Listener {
        transport: Transport::Tls,
        address: SocketAddr::new(who.address(), 5061),
        advertised_host: who.host().to_owned(),
        side: Side::Inside,
    }
}

fn servers() -> Vec<TrustedServer> {
    let server = |who: Who, role| TrustedServer { host: who.host().to_owned(), role };
    vec![
        server(Who::Edge, ServerRole::AccessEdge),
        server(Who::Beside, ServerRole::AccessEdge),
        server(Who::Director, ServerRole::Director),
        server(Who::Home, ServerRole::FrontEnd),
    ]
}

fn director(boot: u8, change: fn(&mut Config)) -> Director {
    let mut config = Config {
        domains: vec![DomainName::parse("contoso.example").unwrap()],
        listeners: vec![listener(Who::Director)],
        aliases: Vec::new(),
        mode: Mode::Authenticate,
        servers: servers(),
        front_ends: vec![HOME.parse().unwrap()],
        route: Some(EDGE.parse().unwrap()),
        remote_access: true,
        nonce_lifetime: Duration::from_secs(300),
        transactions_max: 1_000,
        secret: [4; 32],
        seed: [boot; 32],
    };
    change(&mut config);
    Director::new(config)
}

/// Where the home gives out tokens.
pub(super) const TOKEN_SERVER: &str = "https://sign-in.contoso.example";

fn home(boot: u8) -> FrontEnd {
    FrontEnd::new(frontend::Config {
        domains: vec![DomainName::parse("contoso.example").unwrap()],
        listeners: vec![listener(Who::Home)],
        aliases: Vec::new(),
        xcap_root: "https://home.contoso.example/xcap/".to_owned(),
        registration: Default::default(),
        authentication: frontend::AuthenticationPolicy {
            token_server: Some(TOKEN_SERVER.to_owned()),
            ..Default::default()
        },
        messaging: Default::default(),
        presence: Default::default(),
        calls: Default::default(),
        federation: Default::default(),
        servers: servers(),
        remote_access: true,
        transactions_max: 1_000,
        secret: [3; 32],
        seed: [boot; 32],
    })
}

impl World {
    /// Users alice and bob, both with [`PASSWORD`]; the Director has its copy.
    pub(super) fn new() -> World {
        World::with(|_| ())
    }

    pub(super) fn with(change: fn(&mut Config)) -> World {
        let mut world = World::without_copy(change);
        world.pass(Duration::from_secs(5));
        world.ladder.clear();
        world
    }

    /// The Director has not begun.
    pub(super) fn without_copy(change: fn(&mut Config)) -> World {
        let mut tables = Tables::default();
        for (id, name) in [(1, "alice"), (2, "bob")] {
            let address = SipAddress::parse(&format!("{name}@contoso.example")).unwrap();
            tables.apply(&Change::AddUser {
                user: User {
                    id: UserId(id),
                    secrets: Some(frontend::secrets(&address, PASSWORD)),
                    address,
                    display_name: String::new(),
                    state: UserState::Enabled,
                    role: Role::Person,
                    permissions: Permissions::default(),
                    aliases: Vec::new(),
                    account: None,
                    tokens_since_unix_ms: 0,
                },
                at_unix_ms: 0,
            });
        }
        World {
            director: director(1, change),
            home: home(1),
            tables,
            now: 1_000_000,
            ends: BTreeMap::new(),
            next_wire: 2,
            inboxes: BTreeMap::new(),
            acts: VecDeque::new(),
            change,
            is_home_up: true,
            is_edge_up: true,
            ladder: String::new(),
            answers: Vec::new(),
            reports: Vec::new(),
            next_number: 0,
        }
    }

    fn clock(&self) -> Now {
        Now { monotonic: Instant(self.now), wall: UnixMillis(1_700_000_000_000 + self.now / 1000) }
    }

    fn feed_director(&mut self, input: Input<Director>) {
        self.director.handle(self.clock(), input);
        while let Some(output) = self.director.poll_output() {
            let act = match output {
                Output::Send { flow, bytes } => Act::Send(flow, bytes),
                Output::Connect { token, target } => Act::Connect(token, target),
                Output::Close { connection } => Act::Close(connection),
                Output::Resolve { token, question } => Act::Resolve(token, question),
                Output::Report(report) => Act::Report(report),
                Output::Persist { change, .. } => match change {},
                Output::Query { query, .. } => match query {},
                Output::Answer { .. } => continue,
            };
            self.acts.push_back((Who::Director, act));
        }
    }

    fn feed_home(&mut self, input: Input<FrontEnd>) {
        self.home.handle(self.clock(), input);
        while let Some(output) = self.home.poll_output() {
            let act = match output {
                Output::Send { flow, bytes } => Act::Send(flow, bytes),
                Output::Connect { token, target } => Act::Connect(token, target),
                Output::Close { connection } => Act::Close(connection),
                Output::Resolve { token, question } => Act::Resolve(token, question),
                Output::Report(report) => Act::Report(report),
                other => Act::Home(other),
            };
            self.acts.push_back((Who::Home, act));
        }
    }

    /// Carries out what the nodes want, until they want nothing.
    fn settle(&mut self) {
        while let Some((who, act)) = self.acts.pop_front() {
            match act {
                Act::Send(Flow::Connection(connection), bytes) => self.carry(who, connection.0, bytes),
                Act::Send(Flow::Datagram { .. }, _) => panic!("nobody here has datagrams"),
                Act::Connect(token, target) => self.open(who, Some((token, &target)), target.address.ip()),
                Act::Close(connection) => self.cut(connection.0),
                Act::Resolve(token, question) => self.resolve(who, token, &question),
                Act::Report(report) => self.reports.push(report),
                Act::Home(Output::Persist { token, change, .. }) => {
                    let outcome = self.tables.try_apply(&change).expect("a place is given once");
                    self.feed_home(Input::Persisted { token, outcome });
                }
                Act::Home(Output::Query { token, query }) => {
                    let rows = Ok(self.tables.query(&query));
                    self.feed_home(Input::Rows { token, rows });
                }
                Act::Home(Output::Answer { answer, .. }) => self.answers.push(answer),
                Act::Home(_) => {}
            }
        }
    }

    fn resolve(&mut self, who: Who, token: ResolveToken, question: &Question) {
        let host = match question {
            Question::Addresses(host) => Who::ALL.iter().find(|who| who.host() == host),
            Question::Naptr(_) | Question::Srv(_) => None,
        };
        let answer = match host {
            Some(host) => Ok(Answers::Addresses(vec![host.address()])),
            None => Err(ResolveError::NotFound),
        };
        match who {
            Who::Director => self.feed_director(Input::Resolved { token, answer }),
            _ => self.feed_home(Input::Resolved { token, answer }),
        }
    }

    /// A wire from somebody to an address.
    fn open(&mut self, from: Who, asked: Option<(ConnectToken, &ConnectTarget)>, to: IpAddr) {
        let to = *Who::ALL.iter().find(|who| who.address() == to).expect("somebody is there");
        let is_up = match to {
            Who::Home => self.is_home_up,
            Who::Edge => self.is_edge_up,
            _ => true,
        };
        if let (false, Some((token, _))) = (is_up, asked) {
            let error = node::ConnectError::Unreachable("nobody listens".to_owned());
            return self.feed_director(Input::ConnectFailed { token, error });
        }
        if let Some((_, target)) = asked {
            let expected = target.expected.as_ref().expect("our servers are asked for their names");
            assert_eq!(expected.is_met_by(to.identity().certificate()), Ok(()));
        }
        let wire = self.wire();
        self.ends.insert(wire, from);
        self.ends.insert(wire ^ 1, to);
        let port = 40_000 + u16::try_from(wire % 20_000).expect("a port");
        let (near, far) = (SocketAddr::new(from.address(), port), SocketAddr::new(to.address(), 5061));
        self.tell_connected(from, wire, to, (near, far), asked.map(|(token, _)| token));
        self.tell_connected(to, wire ^ 1, from, (far, near), None);
    }

    fn wire(&mut self) -> End {
        self.next_wire += 2;
        self.next_wire
    }

    fn tell_connected(
        &mut self,
        whom: Who,
        end: End,
        other: Who,
        (local, remote): (SocketAddr, SocketAddr),
        token: Option<ConnectToken>,
    ) {
        let peer = Peer {
            transport: Transport::Tls,
            listener: token.is_none().then_some(ListenerId(0)),
            local,
            remote,
            side: Side::Inside,
            identity: other.identity(),
        };
        let connection = ConnectionId(end);
        match whom {
            Who::Director => self.feed_director(Input::Connected { connection, peer, token }),
            Who::Home => self.feed_home(Input::Connected { connection, peer, token }),
            Who::Edge | Who::Beside | Who::Bob | Who::Stranger => {}
        }
    }

    fn carry(&mut self, from: Who, end: End, bytes: Bytes) {
        let Some(to) = self.ends.get(&(end ^ 1)).copied() else { return };
        let message = Message::parse(bytes.clone()).expect("what is sent is SIP");
        message.validate().expect("what is sent keeps the rules");
        let what = match message.status() {
            Some(status) => {
                let method = message.cseq().map(|cseq| cseq.method.as_str().to_owned()).unwrap_or_default();
                format!("{status} {method}")
            }
            None => message.method().as_str().to_owned(),
        };
        let _ = writeln!(self.ladder, "{:>8} -> {:<8} {what}", from.name(), to.name());
        let flow = Flow::Connection(ConnectionId(end ^ 1));
        match to {
            Who::Director => self.feed_director(Input::Received { flow, bytes }),
            Who::Home => self.feed_home(Input::Received { flow, bytes }),
            Who::Edge | Who::Beside | Who::Bob | Who::Stranger => {
                self.inboxes.entry(to).or_default().push_back((end ^ 1, message));
            }
        }
    }

    fn cut(&mut self, end: End) {
        for end in [end, end ^ 1] {
            let Some(who) = self.ends.remove(&end) else { continue };
            let (connection, reason) = (ConnectionId(end), CloseReason::PeerClosed);
            match who {
                Who::Director => self.feed_director(Input::Closed { connection, reason }),
                Who::Home => self.feed_home(Input::Closed { connection, reason }),
                Who::Edge | Who::Beside | Who::Bob | Who::Stranger => {}
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_micros()).unwrap();
        self.feed_home(Input::Timer);
        self.feed_director(Input::Timer);
        self.settle();
        loop {
            let next = [self.director.next_deadline(), self.home.next_deadline()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| at.0 <= end) else { break };
            self.now = self.now.max(at.0);
            self.feed_home(Input::Timer);
            self.feed_director(Input::Timer);
            self.settle();
        }
        self.now = end;
    }

    /// A hand connects.
    pub(super) fn connect(&mut self, from: Who, to: Who) -> End {
        self.open(from, None, to.address());
        self.settle();
        self.next_wire
    }

    /// All wires of somebody break.
    pub(super) fn disconnect(&mut self, who: Who) {
        let ends: Vec<End> = self.ends.iter().filter(|(_, w)| **w == who).map(|(end, _)| *end).collect();
        for end in ends {
            self.cut(end);
        }
        self.settle();
    }

    /// The Director is gone and comes back with nothing but its secret.
    pub(super) fn restart_director(&mut self) {
        self.disconnect(Who::Director);
        self.director = director(2, self.change);
        self.pass(Duration::from_secs(1));
    }

    /// The home is gone and comes back with what was stored.
    pub(super) fn restart_home(&mut self) {
        self.home = home(2);
        self.disconnect(Who::Home);
        self.pass(Duration::from_secs(1));
    }

    /// A hand sends lines, with `Content-Length` added.
    pub(super) fn send(&mut self, end: End, head: &str, body: &str) {
        let text =
            format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.trim().replace('\n', "\r\n"), body.len());
        let from = self.ends[&end];
        self.carry(from, end, Bytes::from(text));
        self.settle();
    }

    /// The next message that a hand got, and where.
    pub(super) fn got(&mut self, who: Who) -> (End, Message) {
        let inbox = self.inboxes.entry(who).or_default();
        let next = inbox.pop_front();
        next.unwrap_or_else(|| panic!("{} gets nothing:\n{}", who.name(), self.ladder))
    }

    pub(super) fn gets_nothing(&self, who: Who) -> bool {
        self.inboxes.get(&who).is_none_or(VecDeque::is_empty)
    }

    /// Status of the next message that a hand got.
    pub(super) fn status(&mut self, who: Who) -> u16 {
        self.got(who).1.status().expect("a response")
    }

    /// A hand answers.
    pub(super) fn respond(&mut self, end: End, request: &Message, status: u16) {
        let mut response = ResponseBuilder::new(request, status);
        response
            .to_tag("device")
            .copy_record_route()
            .header(HeaderId::Contact, "<sip:device@somewhere.invalid;transport=tls>");
        let from = self.ends[&end];
        self.carry(from, end, response.build());
        self.settle();
    }

    /// Headers of a request, with fresh numbers.
    pub(super) fn head(&mut self, method: &str, from: &str, uri: &str, to: &str) -> String {
        self.next_number += 1;
        let n = self.next_number;
        format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/TLS {EDGE}:5061;branch=z9hG4bK{n}\n\
             Via: SIP/2.0/TLS client.invalid;branch=z9hG4bKc{n};received=198.51.100.7\nMax-Forwards: 70\n\
             From: <sip:{from}@contoso.example>;tag=f{from}\nTo: <{to}>\nCall-ID: call-{from}-{n}\nCSeq: {n} {method}\n\
             User-Agent: test"
        )
    }

    /// A request of a remote client, as the edge passes it on.
    pub(super) fn remote(&mut self, edge: End, method: &str, from: &str, to: &str, lines: &str) {
        let to = format!("sip:{to}@contoso.example");
        let uri = if method == "REGISTER" { "sip:contoso.example" } else { &to };
        let head = self.head(method, from, uri, &to);
        self.send(edge, &format!("{head}\n{}\n{lines}", origin(from)), "");
    }

    /// A REGISTER of a remote client that answers its challenge; gives the last answer.
    pub(super) fn register(&mut self, edge: End, user: &str, password: &str) -> Message {
        let lines = format!(
            "Path: <sip:f{user}@{EDGE}:5061;transport=tls;lr;ob>\n\
             Contact: <sip:device@f{user}.invalid;transport=tls>;reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"\n\
             Supported: outbound"
        );
        self.remote(edge, "REGISTER", user, user, &lines);
        let (_, challenge) = self.got(Who::Edge);
        if challenge.status() != Some(401) {
            return challenge;
        }
        let credentials = credentials(&challenge, user, "REGISTER", "sip:contoso.example", password);
        self.remote(edge, "REGISTER", user, user, &format!("Authorization: {credentials}\n{lines}"));
        self.got(Who::Edge).1
    }

    /// Bob signs in inside.
    pub(super) fn bob_signs_in(&mut self) -> End {
        let wire = self.connect(Who::Bob, Who::Home);
        let contact = "Contact: <sip:bob@bob-pc.invalid;transport=tls>";
        let head = self.head("REGISTER", "bob", "sip:contoso.example", "sip:bob@contoso.example");
        self.send(wire, &format!("{head}\n{contact}"), "");
        let (_, challenge) = self.got(Who::Bob);
        let credentials = credentials(&challenge, "bob", "REGISTER", "sip:contoso.example", PASSWORD);
        let head = self.head("REGISTER", "bob", "sip:contoso.example", "sip:bob@contoso.example");
        self.send(wire, &format!("{head}\nAuthorization: {credentials}\n{contact}"), "");
        assert_eq!(self.status(Who::Bob), 200);
        wire
    }

    pub(super) fn call_home(&mut self, call: frontend::admin::Call) {
        self.feed_home(Input::Called { token: CallToken(1), call });
        self.settle();
        self.pass(Duration::from_secs(1));
    }

    /// The same, for what it is answered.
    pub(super) fn ask_home(&mut self, call: frontend::admin::Call) -> frontend::admin::Answer {
        self.answers.clear();
        self.call_home(call);
        self.answers.pop().expect("an answer")
    }
}

/// What the edge says of a remote client, whose flow has its name.
pub(super) fn origin(user: &str) -> String {
    format!("Chancery-Origin: remote;flow=f{user};edge={EDGE}")
}

/// What a client answers to a challenge: MD5.
pub(super) fn credentials(
    challenge: &Message,
    user: &str,
    method: &str,
    uri: &str,
    password: &str,
) -> String {
    let is_challenge = |id| matches!(id, HeaderId::WwwAuthenticate | HeaderId::ProxyAuthenticate);
    let values = challenge.headers().filter(|h| is_challenge(h.id));
    let md5 = values
        .map(|h| AuthParams::parse(h.value).unwrap())
        .find(|v| v.get("algorithm").as_deref() == Some("MD5"));
    let md5 = md5.expect("MD5 is offered");
    let (realm, nonce) = (md5.get("realm").unwrap(), md5.get("nonce").unwrap());
    let input = ResponseInput {
        method,
        uri,
        nonce: &nonce,
        qop: Some("auth"),
        nc: "00000001",
        cnonce: "c",
        body: b"",
    };
    let answer = response(&ha1(Algorithm::Md5, user, &realm, password), &input);
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{answer}\", algorithm=MD5, \
         qop=auth, nc=00000001, cnonce=\"c\""
    )
}
