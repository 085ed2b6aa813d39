//! Conversations with the layer under a virtual clock, printed as ladders.

mod client;
mod hostile;
mod random;
mod server;
mod via;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use expect_test::Expect;
use node::{ConnectionId, Flow, Instant, ListenerId, Transport};
use sip_message::{Message, ResponseBuilder};

use super::{
    Arrival, ClientId, Event, Failure, Incoming, Limits, Outgoing, Owner, ServerId, TimerValues, Transactions,
};

const LIMITS: Limits = Limits { server_pending_max: 100, client_pending_max: 100, ended_max: 100 };

/// A layer, its clock, and the ladder of what happened: `<-` received, `->` sent, `!!` an event.
struct World {
    layer: Transactions,
    now: Instant,
    ladder: String,
    transport: Transport,
    servers: Vec<ServerId>,
    clients: Vec<Sent>,
}

struct Sent {
    id: ClientId,
    branch: String,
    method: &'static str,
}

impl World {
    fn new(transport: Transport) -> World {
        World::with_limits(transport, LIMITS)
    }

    fn with_limits(transport: Transport, limits: Limits) -> World {
        World {
            layer: Transactions::new([7; 32], TimerValues::STANDARD, limits),
            now: Instant(0),
            ladder: String::new(),
            transport,
            servers: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// Everything here comes and goes over one connection, or to one address.
    fn flow(&self) -> Flow {
        match self.transport {
            Transport::Udp => Flow::Datagram { listener: ListenerId(0), remote: peer() },
            _ => Flow::Connection(ConnectionId(1)),
        }
    }

    fn arrival(&self) -> Arrival {
        Arrival { flow: self.flow(), transport: self.transport, remote: peer() }
    }

    fn receive(&mut self, text: &str) -> Incoming {
        let message = parse(text);
        message.validate().expect("tests send valid requests");
        let incoming = self.layer.handle_request(self.now, &message, self.arrival());
        let verdict = match incoming {
            Incoming::New(server) => format!("new {}", self.server_name(server)),
            Incoming::Cancel { cancel, invite } => {
                let cancel = self.server_name(cancel);
                match invite {
                    Some(invite) => format!("{cancel} cancels {}", self.server_name(invite)),
                    None => format!("{cancel} cancels nothing"),
                }
            }
            Incoming::Ack => "to be passed on".to_owned(),
            Incoming::Absorbed => "absorbed".to_owned(),
            Incoming::Overload => "overload".to_owned(),
        };
        self.line(&format!("<- {}: {verdict}", first_words(text)));
        self.drain();
        incoming
    }

    fn server_name(&mut self, server: ServerId) -> String {
        let place = self.servers.iter().position(|&known| known == server).unwrap_or_else(|| {
            self.servers.push(server);
            self.servers.len() - 1
        });
        format!("s{place}")
    }

    fn respond(&mut self, server: usize, status: u16) {
        let id = self.servers[server];
        let response = match self.layer.request(id) {
            Some(request) => ResponseBuilder::new(request, status).to_tag("b").build(),
            None => Bytes::from(format!("SIP/2.0 {status} Again\r\n\r\n")),
        };
        self.line(&format!("s{server}: respond {status}"));
        self.layer.respond(self.now, id, status, response);
        self.drain();
    }

    fn send(&mut self, method: &'static str) -> usize {
        self.send_on(method, self.flow())
    }

    fn send_on(&mut self, method: &'static str, flow: Flow) -> usize {
        let (id, branch) = self.layer.reserve();
        let place = self.clients.len();
        let bytes = request(method, &format!("SIP/2.0/UDP us.example;branch={branch}"), "");
        let (transport, owner) = (self.transport, Owner(place as u64));
        let outgoing = Outgoing { flow, transport, bytes: bytes.into(), invite: method == "INVITE", owner };
        self.clients.push(Sent { id, branch: branch.to_string(), method });
        self.line(&format!("c{place}: send"));
        self.layer.send(self.now, id, outgoing);
        self.drain();
        place
    }

    fn answer(&mut self, client: usize, status: u16) -> bool {
        self.answer_as(client, self.clients[client].method, status)
    }

    fn answer_as(&mut self, client: usize, method: &str, status: u16) -> bool {
        let branch = self.clients[client].branch.clone();
        self.answer_to(&branch, method, status)
    }

    fn answer_to(&mut self, branch: &str, method: &str, status: u16) -> bool {
        let response = parse(&response(branch, method, status));
        let seen = self.layer.handle_response(self.now, &response);
        let verdict = match seen {
            Some((id, owner)) => {
                let client = &self.clients[owner.0 as usize];
                assert_eq!(client.id, id, "an owner gets the responses of its own client transaction");
                format!("for c{}", owner.0)
            }
            None => "absorbed".to_owned(),
        };
        self.line(&format!("<- {status} ({method}): {verdict}"));
        self.drain();
        seen.is_some()
    }

    fn cancel(&mut self, client: usize, reason: Option<&str>) {
        self.line(&format!("c{client}: cancel"));
        self.layer.cancel(self.now, self.clients[client].id, reason);
        self.drain();
    }

    fn close(&mut self, connection: u64) {
        self.line(&format!("connection {connection} closed"));
        self.layer.handle_closed(self.now, ConnectionId(connection));
        self.drain();
    }

    /// Lets time pass, waking the layer whenever it asks for it.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(deadline) = self.layer.next_deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.layer.handle_timer(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some((flow, bytes)) = self.layer.poll_send() {
            let to = match flow {
                Flow::Datagram { remote, .. } => format!(" to {remote}"),
                Flow::Connection(_) => String::new(),
            };
            let text = std::str::from_utf8(&bytes).expect("tests send UTF-8").to_owned();
            self.line(&format!("-> {}{to}", first_words(&text)));
        }
        while let Some(event) = self.layer.poll_event() {
            let text = match event {
                Event::Failed { owner, client, failure } => {
                    assert_eq!(self.clients[owner.0 as usize].id, client);
                    let why = match failure {
                        Failure::TimedOut => "timed out",
                        Failure::FlowFailed => "lost its flow",
                    };
                    format!("c{} {why}", owner.0)
                }
                Event::Unacknowledged { server } => {
                    format!("{} saw no ACK", self.server_name(server))
                }
            };
            self.line(&format!("!! {text}"));
        }
    }

    fn line(&mut self, text: &str) {
        writeln!(self.ladder, "{:<6} {text}", self.now.0 / 1000).expect("a String takes everything");
    }

    /// Compares the ladder, then lets everything run out and checks that nothing stays behind.
    fn check(mut self, expect: &Expect) {
        expect.assert_eq(&self.ladder);
        for place in 0..self.servers.len() {
            self.layer.forget(self.servers[place]);
        }
        for place in 0..self.clients.len() {
            self.layer.abandon(self.clients[place].id);
        }
        self.pass(200_000);
        assert_nothing_left(&self.layer);
    }
}

fn assert_nothing_left(layer: &Transactions) {
    assert_eq!((layer.pending(), layer.ended()), (0, 0));
    assert_eq!(layer.next_deadline(), None);
    assert!(layer.servers.is_empty() && layer.server_index.is_empty() && layer.waiting.is_empty());
    assert!(layer.clients.is_empty() && layer.connections.is_empty() && layer.timers.is_empty());
}

fn peer() -> SocketAddr {
    "192.0.2.1:5060".parse().expect("an address")
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("tests send whole messages")
}

fn request(method: &str, via: &str, to_params: &str) -> String {
    format!(
        "{method} sip:bob@b.example SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@a.example>;tag=a\r\n\
         To: <sip:bob@b.example>{to_params}\r\nCall-ID: 1@a.example\r\nCSeq: 1 {method}\r\nContact: <sip:alice@192.0.2.1>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A request of an RFC 3261 client.
fn modern(method: &str, branch: &str) -> String {
    request(method, &format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}"), "")
}

fn response(branch: &str, method: &str, status: u16) -> String {
    format!(
        "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP us.example;branch={branch}\r\nFrom: <sip:alice@a.example>;tag=a\r\n\
         To: <sip:bob@b.example>;tag=b\r\nCall-ID: 1@a.example\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The method, or the status with the method of its CSeq where it has one.
fn first_words(text: &str) -> String {
    let mut words = text.split_ascii_whitespace();
    match words.next() {
        Some("SIP/2.0") => words.next().unwrap_or_default().to_owned(),
        method => method.unwrap_or_default().to_owned(),
    }
}
