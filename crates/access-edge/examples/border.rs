//! What the edge itself costs, without sockets and TLS: CPU nanoseconds for a MESSAGE that leaves, one that a partner sends, and one of
//! a remote user.
//!
//! `cargo run --release -p access-edge --example border -- [out|in|remote] [ROUNDS]`

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant as Clock;

use access_edge::{AccessEdge, Config, Limits, Mode};
use bytes::Bytes;
use federation::rate::Allowance;
use federation::{Policy, ServerRole, TrustedServer};
use node::{
    Anchors, Answers, ConnectionId, Flow, Input, Instant, Listener, ListenerId, Node, Now, Output, Peer,
    PeerCertificate, PeerIdentity, Question, Side, Transport, UnixMillis,
};
use sip_message::{Message, ResponseBuilder};

/// More than is ever reached: budgets are taken from, and never used up.
const PLENTY: Allowance = Allowance { per_second: 1_000_000, burst: 1_000_000 };
/// Virtual time between two inputs. A partner's budget of 100,000 a second lasts.
const STEP_MICROSECONDS: u64 = 20;
const SERVER: ConnectionId = ConnectionId(1);
const PARTNER: ConnectionId = ConnectionId(2);
const CLIENT: ConnectionId = ConnectionId(3);

fn certificate(host: &str, trusted_by: Anchors) -> PeerIdentity {
    PeerIdentity::Certificate(Arc::new(PeerCertificate {
        sip_domains: vec![host.to_owned()],
        dns_names: vec![host.to_owned()],
        ip_addresses: Vec::new(),
        sha256: [0; 32],
        not_after: UnixMillis(u64::MAX),
        trusted_by: vec![trusted_by],
        distrust: String::new(),
    }))
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

fn peer(side: Side, listener: Option<usize>, last: u8, identity: PeerIdentity) -> Peer {
    let (own, transport) = (if side == Side::Inside { 1 } else { 2 }, Transport::Tls);
    let listener = listener.map(|number| ListenerId(u16::try_from(number).expect("two of them")));
    let (local, remote) = (address(own, 5061), address(last, 40_000));
    Peer { transport, listener, local, remote, side, identity }
}

struct World {
    edge: AccessEdge,
    now: u64,
    next_connection: u64,
    sent: VecDeque<(Flow, Bytes)>,
    spent: std::time::Duration,
}

impl World {
    fn new() -> World {
        let listener = |last, side, host: &str| Listener {
            transport: Transport::Tls,
            address: address(last, 5061),
            advertised_host: host.to_owned(),
            side,
        };
        let policy =
            "[[partner]]\ndomain = \"partner.test\"\nnext_hop = \"edge.partner.test:5061\"\nrate = 100000\n";
        let edge = AccessEdge::new(Config {
            mode: Mode::Edge,
            domains: vec!["bench.test".to_owned()],
            listeners: vec![
                listener(1, Side::Inside, "edge.bench.test"),
                listener(2, Side::Outside, "access.bench.test"),
            ],
            aliases: Vec::new(),
            next_hops: vec!["sip.bench.test:5061".parse().expect("a host and a port")],
            servers: vec![TrustedServer { host: "sip.bench.test".to_owned(), role: ServerRole::FrontEnd }],
            policy: Arc::new(Policy::parse(policy, &["bench.test"]).expect("a policy")),
            remote_access: true,
            token_keys: vec![[9; 32]],
            limits: Limits {
                requests_per_connection: PLENTY,
                requests_per_source: PLENTY,
                ..Limits::default()
            },
            secret: [1; 32],
            seed: [2; 32],
        });
        let mut world =
            World { edge, now: 0, next_connection: 10, sent: VecDeque::new(), spent: Default::default() };
        world.handle(Input::Timer);
        let front = certificate("sip.bench.test", Anchors::Servers);
        let partner = certificate("edge.partner.test", Anchors::Partners);
        let ends = [
            (SERVER, peer(Side::Inside, Some(0), 3, front)),
            (PARTNER, peer(Side::Outside, Some(1), 4, partner)),
            (CLIENT, peer(Side::Outside, Some(1), 5, PeerIdentity::Anonymous)),
        ];
        for (connection, peer) in ends {
            world.handle(Input::Connected { connection, peer, token: None });
        }
        world
    }

    fn handle(&mut self, input: Input<AccessEdge>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.now += STEP_MICROSECONDS;
            let now =
                Now { monotonic: Instant(self.now), wall: UnixMillis(1_700_000_000_000 + self.now / 1000) };
            let start = Clock::now();
            self.edge.handle(now, input);
            while let Some(output) = self.edge.poll_output() {
                match output {
                    Output::Send { flow, bytes } => self.sent.push_back((flow, bytes)),
                    Output::Resolve { token, question } => {
                        let last = if matches!(&question, Question::Addresses(name) if name.starts_with("sip"))
                        {
                            3
                        } else {
                            4
                        };
                        let answer = Ok(Answers::Addresses(vec![address(last, 0).ip()]));
                        inputs.push_back(Input::Resolved { token, answer });
                    }
                    Output::Connect { token, target } => {
                        let (host, anchors, last) = match target.side {
                            Side::Inside => ("sip.bench.test", Anchors::Servers, 3),
                            Side::Outside => ("edge.partner.test", Anchors::Partners, 4),
                        };
                        self.next_connection += 1;
                        inputs.push_back(Input::Connected {
                            connection: ConnectionId(self.next_connection),
                            peer: Peer {
                                remote: target.address,
                                ..peer(target.side, None, last, certificate(host, anchors))
                            },
                            token: Some(token),
                        });
                    }
                    Output::Report(report) => assert_ne!(report.event, "refused", "{report:?}"),
                    _ => {}
                }
            }
            if self.edge.next_deadline().is_some_and(|at| at.0 <= self.now) {
                self.edge.handle(now, Input::Timer);
            }
            self.spent += start.elapsed();
        }
    }

    fn next(&mut self) -> (Flow, Bytes) {
        self.sent.pop_front().expect("something was sent")
    }

    /// A MESSAGE across, and its answer back.
    fn message(&mut self, way: Way, n: u64) {
        let (connection, from, to, lines) = match way {
            Way::Out => (
                SERVER,
                "bench.test",
                "partner.test",
                "Via: SIP/2.0/TLS 192.0.2.7:49152;branch=z9hG4bKdevice;rport=49152;received=192.0.2.7\r\n\
                 P-Asserted-Identity: <sip:u1@bench.test>\r\n",
            ),
            Way::In => (PARTNER, "partner.test", "bench.test", ""),
            Way::Remote => (CLIENT, "bench.test", "bench.test", ""),
        };
        let text = format!(
            "MESSAGE sip:u2@{to} SIP/2.0\r\nVia: SIP/2.0/TLS 127.61.0.3:40000;branch=z9hG4bKsl{n};rport\r\nMax-Forwards: 70\r\n{lines}\
             From: <sip:u1@{from}>;tag=r{n}\r\nTo: <sip:u2@{to}>\r\nCall-ID: r-{n}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n\
             Content-Length: 100\r\n\r\n{body:100}",
            body = "x"
        );
        self.handle(Input::Received { flow: Flow::Connection(connection), bytes: text.into() });
        let (flow, passed) = self.next();
        let passed = Message::parse(passed).expect("SIP");
        let answer = ResponseBuilder::new(&passed, 200).to_tag("r").build();
        self.handle(Input::Received { flow, bytes: answer });
        let (flow, answer) = self.next();
        assert_eq!(flow, Flow::Connection(connection), "the answer goes back");
        assert_eq!(Message::parse(answer).expect("SIP").status(), Some(200));
    }
}

#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
    Remote,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "out".to_owned());
    let rounds: u64 = arguments.next().map_or(200_000, |n| n.parse().expect("rounds are a number"));
    let way = match name.as_str() {
        "out" => Way::Out,
        "in" => Way::In,
        "remote" => Way::Remote,
        other => panic!("{other}: out, in or remote"),
    };
    let mut world = World::new();
    // A level of ended transactions first, as in a server that runs.
    for n in 0..rounds {
        world.message(way, n);
    }
    world.spent = Default::default();
    for n in rounds..2 * rounds {
        world.message(way, n);
    }
    let each = world.spent.as_nanos() / u128::from(rounds);
    println!("{name}: {each} ns each, {rounds} rounds");
}
