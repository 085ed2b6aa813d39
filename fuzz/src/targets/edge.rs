//! An Access Edge between a partner, a remote user and a Director: whatever comes from outside, what goes inside is honest.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use access_edge::{AccessEdge, Config, Limits, Mode};
use bytes::Bytes;
use federation::origin::TRUST_HEADERS;
use federation::{FromProof, Origin, Policy, ServerRole, TrustedServer};
use node::{
    Anchors, Answers, ConnectionId, Flow, Input, Instant, Listener, ListenerId, Node, Now, Output, Peer,
    PeerCertificate, PeerIdentity, Side, Transport, UnixMillis,
};
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{HeaderId, Message};

const PARTNER: ConnectionId = ConnectionId(1);
const CLIENT: ConnectionId = ConnectionId(2);
const POLICY: &str =
    "[[partner]]\ndomain = \"fabrikam.example\"\nnext_hop = \"edge.fabrikam.example:5061\"\n";
const OURS: &str = "contoso.example";

thread_local! {
    /// Making one costs far more than a message; it is made anew when it has seen many.
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// Messages from a partner and from a client, as a stream.
pub(super) fn edge(octets: &[u8]) {
    WORLD.with_borrow_mut(|world| world.take(octets));
}

struct World {
    edge: AccessEdge,
    now: u64,
    last_connection: u64,
    inside: Vec<ConnectionId>,
    seen: usize,
}

fn certificate(host: &str, trusted_by: Anchors) -> PeerIdentity {
    PeerIdentity::Certificate(Arc::new(PeerCertificate {
        sip_domains: vec![host.to_owned()],
        dns_names: vec![host.to_owned()],
        ip_addresses: Vec::new(),
        sha256: [1; 32],
        not_after: UnixMillis(u64::MAX),
        trusted_by: vec![trusted_by],
        distrust: String::new(),
    }))
}

fn peer(side: Side, listener: Option<u16>, identity: PeerIdentity) -> Peer {
    let address = |last| SocketAddr::new(IpAddr::from([192, 0, 2, last]), 5061);
    Peer {
        transport: Transport::Tls,
        listener: listener.map(ListenerId),
        local: address(1),
        remote: address(2),
        side,
        identity,
    }
}

impl World {
    /// Requests after which a new edge is made, so that tables stay small and budgets fresh.
    const SEEN_MAX: usize = 300;

    fn new() -> World {
        let listener = |side, host: &str| Listener {
            transport: Transport::Tls,
            address: SocketAddr::from(([192, 0, 2, 1], 5061)),
            advertised_host: host.to_owned(),
            side,
        };
        let config = Config {
            mode: Mode::Edge,
            domains: vec![OURS.to_owned()],
            listeners: vec![
                listener(Side::Inside, "edge-in.contoso.example"),
                listener(Side::Outside, "edge.contoso.example"),
            ],
            aliases: Vec::new(),
            next_hops: vec!["dir.contoso.example:5061".parse().expect("a host")],
            servers: vec![TrustedServer {
                host: "dir.contoso.example".to_owned(),
                role: ServerRole::Director,
            }],
            policy: Arc::new(Policy::parse(POLICY, &[OURS]).expect("a policy")),
            remote_access: true,
            token_keys: vec![[1; 32]],
            limits: Limits::default(),
            secret: [2; 32],
            seed: [3; 32],
        };
        let mut world = World {
            edge: AccessEdge::new(config),
            now: 1_000_000,
            last_connection: 100,
            inside: Vec::new(),
            seen: 0,
        };
        let partner = certificate("edge.fabrikam.example", Anchors::Partners);
        let partner = peer(Side::Outside, Some(1), partner);
        world.feed(Input::Connected { connection: PARTNER, peer: partner, token: None });
        let client = peer(Side::Outside, Some(1), PeerIdentity::Anonymous);
        world.feed(Input::Connected { connection: CLIENT, peer: client, token: None });
        world
    }

    fn take(&mut self, octets: &[u8]) {
        self.seen += 1;
        if self.seen > World::SEEN_MAX {
            *self = World::new();
        }
        for connection in [PARTNER, CLIENT] {
            let mut rest = octets;
            let mut scan = Scan::default();
            loop {
                match next_frame(&mut scan, rest) {
                    Frame::Message { length } => {
                        let bytes = Bytes::copy_from_slice(&rest[..length]);
                        self.feed(Input::Received { flow: Flow::Connection(connection), bytes });
                        rest = &rest[length..];
                    }
                    Frame::Ping { length } | Frame::Padding { length } => rest = &rest[length..],
                    Frame::Partial { .. } | Frame::Lost { .. } => break,
                }
            }
        }
    }

    fn feed(&mut self, input: Input<AccessEdge>) {
        self.now += 100_000;
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now = Now { monotonic: Instant(self.now), wall: UnixMillis(1_700_000_000_000) };
            self.edge.handle(now, input);
            while let Some(output) = self.edge.poll_output() {
                match output {
                    Output::Send { flow: Flow::Connection(connection), bytes } => {
                        self.sent(connection, bytes)
                    }
                    Output::Send { .. } => panic!("an edge has no datagrams"),
                    Output::Resolve { token, .. } => {
                        let answer = Ok(Answers::Addresses(vec![IpAddr::from([10, 0, 0, 1])]));
                        inputs.push(Input::Resolved { token, answer });
                    }
                    Output::Connect { token, target } => {
                        // Nothing that comes from outside makes an edge connect to the outside.
                        assert_eq!(target.side, Side::Inside);
                        self.last_connection += 1;
                        let connection = ConnectionId(self.last_connection);
                        self.inside.push(connection);
                        let director = certificate("dir.contoso.example", Anchors::Servers);
                        let peer = peer(Side::Inside, None, director);
                        inputs.push(Input::Connected { connection, peer, token: Some(token) });
                    }
                    Output::Close { .. } | Output::Report(_) | Output::Answer { .. } => {}
                    Output::Persist { .. } | Output::Query { .. } => panic!("an edge has no store"),
                }
            }
        }
    }

    /// What leaves is valid; outside are answers alone, and inside every request says where it came from, and no more than
    /// its connection proved.
    fn sent(&self, connection: ConnectionId, bytes: Bytes) {
        let message = Message::parse(bytes).expect("what an edge sends is SIP");
        if !self.inside.contains(&connection) {
            assert!(!message.is_request(), "nobody outside was asked for");
            assert!(TRUST_HEADERS.iter().all(|name| message.header_named(name).is_none()));
            return;
        }
        message.validate().expect("what goes inside keeps the rules");
        let domain =
            message.from().expect("it is valid").uri.host_text().trim_end_matches('.').to_ascii_lowercase();
        match Origin::in_message(&message).expect("it is well-formed and stands once").expect("it is there") {
            Origin::Remote { from, .. } => assert_eq!((domain.as_str(), from), (OURS, FromProof::Domain)),
            Origin::Partner { domain: proved, .. } => {
                assert_eq!((domain.as_str(), proved.as_str()), ("fabrikam.example", "fabrikam.example"));
            }
        }
        for id in [HeaderId::PAssertedIdentity, HeaderId::PPreferredIdentity] {
            assert_eq!(message.header(id), None);
        }
        assert_eq!(message.header_named("Chancery-Member"), None);
        assert_eq!(
            message.header(HeaderId::Route),
            None,
            "no way was sealed here, so that none can be followed"
        );
    }
}
