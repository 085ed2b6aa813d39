//! Random interleavings keep the layer's promises.

use node::{ConnectionId, Flow, ListenerId, Transport};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Request { invite: bool, transport: bool },
    Repeat(Index),
    Ack(Index),
    Cancel(Index),
    Respond(Index, u16),
    Send { invite: bool, connection: Option<u64> },
    Answer { client: Index, status: u16, to_cancel: bool },
    CancelOurs(Index),
    Abandon(Index),
    Close(u64),
    Pass(u64),
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![Just(100), Just(180), Just(200), Just(202), Just(302), Just(408), Just(486), Just(603)]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(invite, transport)| Step::Request { invite, transport }),
        1 => index().prop_map(Step::Repeat),
        1 => index().prop_map(Step::Ack),
        1 => index().prop_map(Step::Cancel),
        2 => (index(), status()).prop_map(|(server, status)| Step::Respond(server, status)),
        2 => (any::<bool>(), prop::option::of(1u64..4)).prop_map(|(invite, connection)| Step::Send { invite, connection }),
        4 => (index(), status(), prop::bool::weighted(0.2))
            .prop_map(|(client, status, to_cancel)| Step::Answer { client, status, to_cancel }),
        1 => index().prop_map(Step::CancelOurs),
        1 => index().prop_map(Step::Abandon),
        1 => (1u64..4).prop_map(Step::Close),
        2 => prop_oneof![0u64..1_000, 0u64..40_000].prop_map(Step::Pass),
    ]
}

/// What an owner has seen of its client transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    invite: bool,
    abandoned: bool,
    accepted: bool,
    ends: usize,
}

struct Crowd {
    layer: Transactions,
    now: Instant,
    servers: Vec<ServerId>,
    requests: Vec<(String, Transport)>,
    clients: Vec<(ClientId, String)>,
    seen: Vec<Seen>,
    /// Everything that came out, to compare two runs.
    out: Vec<String>,
}

impl Crowd {
    fn new(limits: Limits) -> Crowd {
        Crowd {
            layer: Transactions::new([9; 32], TimerValues::STANDARD, limits),
            now: Instant(0),
            servers: Vec::new(),
            requests: Vec::new(),
            clients: Vec::new(),
            seen: Vec::new(),
            out: Vec::new(),
        }
    }

    fn arrive(&mut self, text: &str, transport: Transport) {
        let flow = match transport {
            Transport::Udp => Flow::Datagram { listener: ListenerId(0), remote: peer() },
            _ => Flow::Connection(ConnectionId(1)),
        };
        match self.layer.handle_request(self.now, &parse(text), Arrival { flow, transport, remote: peer() }) {
            Incoming::New(server) => self.servers.push(server),
            Incoming::Cancel { cancel, .. } => self.servers.push(cancel),
            Incoming::Ack | Incoming::Absorbed | Incoming::Overload => {}
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            &Step::Request { invite, transport } => {
                let method = if invite { "INVITE" } else { "MESSAGE" };
                let transport = if transport { Transport::Tcp } else { Transport::Udp };
                let branch = self.requests.len().to_string();
                self.requests.push((modern(method, &branch), transport));
                self.arrive(&modern(method, &branch), transport);
            }
            Step::Repeat(which) | Step::Ack(which) | Step::Cancel(which) => {
                if self.requests.is_empty() {
                    return;
                }
                let place = which.index(self.requests.len());
                let (text, transport) = self.requests[place].clone();
                match step {
                    Step::Ack(_) => self.arrive(&modern("ACK", &place.to_string()), transport),
                    Step::Cancel(_) => self.arrive(&modern("CANCEL", &place.to_string()), transport),
                    _ => self.arrive(&text, transport),
                }
            }
            Step::Respond(which, status) if !self.servers.is_empty() => {
                let server = self.servers[which.index(self.servers.len())];
                let response = format!("SIP/2.0 {status} X\r\n\r\n");
                self.layer.respond(self.now, server, *status, response.into());
            }
            &Step::Send { invite, connection } => self.send(invite, connection),
            Step::Answer { client, status, to_cancel } if !self.clients.is_empty() => {
                let client = client.index(self.clients.len());
                let method = match (to_cancel, self.seen[client].invite) {
                    (true, _) => "CANCEL",
                    (false, true) => "INVITE",
                    (false, false) => "MESSAGE",
                };
                self.answer(&response(&self.clients[client].1.clone(), method, *status), *status);
            }
            Step::CancelOurs(which) if !self.clients.is_empty() => {
                let (client, _) = self.clients[which.index(self.clients.len())];
                self.layer.cancel(self.now, client, None);
            }
            Step::Abandon(which) if !self.clients.is_empty() => {
                let client = which.index(self.clients.len());
                self.layer.abandon(self.clients[client].0);
                self.seen[client].abandoned = true;
            }
            &Step::Close(connection) => self.layer.handle_closed(self.now, ConnectionId(connection)),
            &Step::Pass(milliseconds) => self.pass(milliseconds),
            Step::Respond(..) | Step::Answer { .. } | Step::CancelOurs(_) | Step::Abandon(_) => {}
        }
        self.drain();
    }

    fn send(&mut self, invite: bool, connection: Option<u64>) {
        let (client, branch) = self.layer.reserve();
        let method = if invite { "INVITE" } else { "MESSAGE" };
        let bytes = request(method, &format!("SIP/2.0/UDP us.example;branch={branch}"), "").into();
        let owner = Owner(self.clients.len() as u64);
        let (flow, transport) = match connection {
            Some(connection) => (Flow::Connection(ConnectionId(connection)), Transport::Tcp),
            None => (Flow::Datagram { listener: ListenerId(0), remote: peer() }, Transport::Udp),
        };
        self.clients.push((client, branch.to_string()));
        self.seen.push(Seen { invite, ..Seen::default() });
        self.layer.send(self.now, client, Outgoing { flow, transport, bytes, invite, owner });
    }

    fn answer(&mut self, text: &str, status: u16) {
        let Some((client, owner)) = self.layer.handle_response(self.now, &parse(text)) else { return };
        let seen = &mut self.seen[owner.0 as usize];
        assert_eq!(self.clients[owner.0 as usize].0, client);
        assert!(!seen.abandoned, "nobody wants it any more");
        if status >= 200 {
            // Of an accepted INVITE, further 2xx come and nothing else.
            let again = seen.accepted && status < 300;
            seen.accepted |= seen.invite && status < 300;
            seen.ends += usize::from(!again);
        } else {
            assert_eq!(seen.ends, 0, "no provisional response comes after the end");
        }
    }

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
            self.out.push(format!("{:?} {flow:?} {bytes:?}", self.now));
        }
        while let Some(event) = self.layer.poll_event() {
            self.out.push(format!("{:?} {event:?}", self.now));
            if let Event::Failed { owner, .. } = event {
                let seen = &mut self.seen[owner.0 as usize];
                assert!(!seen.abandoned, "nobody wants it any more");
                seen.ends += 1;
            }
        }
    }

    /// Answers and cancels whatever still waits, and lets all timers run.
    fn finish(&mut self) {
        for &server in &self.servers {
            self.layer.respond(self.now, server, 486, "SIP/2.0 486 X\r\n\r\n".into());
        }
        for &(client, _) in &self.clients {
            self.layer.cancel(self.now, client, None);
        }
        self.pass(200_000);
    }
}

fn run(steps: &[Step], limits: Limits) -> Crowd {
    let mut crowd = Crowd::new(limits);
    for step in steps {
        crowd.step(step);
        assert!(crowd.layer.ended() <= limits.ended_max);
    }
    crowd.finish();
    crowd
}

proptest! {
    #[test]
    fn whatever_happens_all_ends_once_and_leaves_nothing(
        steps in prop::collection::vec(step(), 1..120),
        ended_max in 0usize..20,
        pending_max in 1usize..20,
    ) {
        let limits = Limits { server_pending_max: pending_max, client_pending_max: pending_max, ended_max };
        let crowd = run(&steps, limits);
        assert_nothing_left(&crowd.layer);
        for (client, seen) in crowd.seen.iter().enumerate() {
            let ends = if seen.abandoned { seen.ends.min(1) } else { 1 };
            prop_assert_eq!(seen.ends, ends, "c{}: {:?}", client, seen);
        }
        prop_assert_eq!(crowd.out, run(&steps, limits).out, "the same calls give the same outputs");
    }
}
