//! An organisation that is a partner and means ill: its certificate is good, and what it says is mostly forged.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use node::{ConnectTarget, ConnectToken, ConnectionId, Flow, Input, Instant, Now, Output, Side, Transport};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sip_message::{HeaderId, Message};

use crate::{Boot, Home, Role};

/// How often it says something, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 50..2_000;
/// Most entries of routes that it keeps to use them again.
const STOLEN_MAX: usize = 64;

const METHODS: [&str; 12] = [
    "MESSAGE",
    "INVITE",
    "SUBSCRIBE",
    "NOTIFY",
    "BYE",
    "OPTIONS",
    "REFER",
    "INFO",
    "UPDATE",
    "PUBLISH",
    "REGISTER",
    "PRACK",
];
const PEOPLE: [&str; 6] = [
    "alice@contoso.example",
    "bob@fabrikam.example",
    "carol@northwind.example",
    "mallory@litware.example",
    "x@unknown.example",
    "x@fe.contoso.example",
];

/// Its server.
pub(super) struct Mallory {
    targets: Vec<SocketAddr>,
    rng: ChaCha8Rng,
    next: Instant,
    dialling: BTreeMap<ConnectToken, SocketAddr>,
    connections: BTreeMap<ConnectionId, SocketAddr>,
    /// Record-Route, Route and Contact values that it was shown.
    stolen: Vec<String>,
    outputs: VecDeque<Output<Home>>,
    count: u64,
}

impl Mallory {
    /// Talks to servers at these addresses.
    pub(super) fn new(targets: Vec<SocketAddr>, boot: &Boot) -> Mallory {
        Mallory {
            targets,
            rng: ChaCha8Rng::from_seed(boot.seed),
            next: Instant(0),
            dialling: BTreeMap::new(),
            connections: BTreeMap::new(),
            stolen: Vec::new(),
            outputs: VecDeque::new(),
            count: 0,
        }
    }

    fn act(&mut self) {
        let target = *self.targets.choose(&mut self.rng).expect("there are targets");
        let open: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, address)| **address == target).map(|(id, _)| *id).collect();
        self.count += 1;
        match open.choose(&mut self.rng) {
            Some(connection) => {
                let (flow, bytes) = (Flow::Connection(*connection), self.forge());
                self.outputs.push_back(Output::Send { flow, bytes });
            }
            None => {
                let token = ConnectToken(self.count);
                self.dialling.insert(token, target);
                let target = ConnectTarget {
                    transport: Transport::Tls,
                    address: target,
                    side: Side::Outside,
                    expected: None,
                };
                self.outputs.push_back(Output::Connect { token, target });
            }
        }
    }

    /// A request in somebody's name, with whatever might help it on.
    fn forge(&mut self) -> Bytes {
        let rng = &mut self.rng;
        let number = self.count;
        let method = *METHODS.choose(rng).expect("there are methods");
        let (from, to) = (PEOPLE.choose(rng).expect("people"), PEOPLE.choose(rng).expect("people"));
        let mut text = format!(
            "{method} sip:{to} SIP/2.0\r\n\
             Via: SIP/2.0/TLS edge.litware.example;branch=z9hG4bKm{number}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{from}>;tag=m{number}\r\n\
             Call-ID: forged-{number}@litware.example\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:mallory@fe.contoso.example;transport=tls>\r\n"
        );
        let tag = if rng.random_bool(0.3) { ";tag=x" } else { "" };
        text += &format!("To: <sip:{to}>{tag}\r\n");
        if rng.random_bool(0.5) {
            text += "Chancery-Origin: partner;domain=northwind.example;mode=direct;edge=edge-in.contoso.example\r\n";
        }
        if rng.random_bool(0.3) {
            text += "Chancery-Member: northwind.example\r\n";
        }
        if rng.random_bool(0.5) {
            text += &format!("P-Asserted-Identity: <sip:{}>\r\n", PEOPLE.choose(rng).expect("people"));
        }
        if rng.random_bool(0.3) {
            let inside = ["fe.contoso.example:5061", "edge-in.fabrikam.example:5061", "10.0.1.1:5060"];
            let host = inside.choose(rng).expect("hosts");
            text += &format!("Route: <sip:{host};transport=tls;lr>\r\n");
        }
        if let Some(stolen) = self.stolen.choose(rng).filter(|_| rng.random_bool(0.5)) {
            text += &format!("Route: {stolen}\r\n");
        }
        match method {
            "SUBSCRIBE" | "NOTIFY" | "PUBLISH" => text += "Event: presence\r\nSubscription-State: active\r\n",
            "REFER" => text += "Refer-To: <sip:x@fe.contoso.example>\r\n",
            _ => {}
        }
        Bytes::from(text + "Content-Length: 0\r\n\r\n")
    }

    fn steal(&mut self, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else { return };
        for id in [HeaderId::RecordRoute, HeaderId::Route] {
            for entry in message.elements(id) {
                if self.stolen.len() < STOLEN_MAX {
                    self.stolen.push(String::from_utf8_lossy(entry).into_owned());
                }
            }
        }
    }
}

impl Role for Mallory {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        match input {
            Input::Connected { connection, token: Some(token), .. } => {
                if let Some(address) = self.dialling.remove(&token) {
                    self.connections.insert(connection, address);
                }
            }
            Input::ConnectFailed { token, .. } => {
                self.dialling.remove(&token);
            }
            Input::Closed { connection, .. } => {
                self.connections.remove(&connection);
            }
            Input::Received { bytes, .. } => self.steal(&bytes),
            _ => {}
        }
        if now.monotonic >= self.next {
            self.next = now.monotonic + Duration::from_millis(self.rng.random_range(PAUSE_MS));
            self.act();
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.next)
    }
}
