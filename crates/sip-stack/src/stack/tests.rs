//! Requests of our own, under a virtual clock. Forwarding is shown by the roles' own conversations.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use node::{ConnectionId, Flow, Instant, Listener, ListenerId, Peer, PeerIdentity, Side, Transport};
use sip_message::{Edit, HeaderId, Message};

use super::{
    Border, Event, Forwarding, HeaderChange, NextHop, OwnRequest, ResponseFate, Stack, StackConfig,
    StackOutput, Target,
};
use crate::transaction::{Arrival, Incoming, Limits, TimerValues};

const UDP: Flow = Flow::Datagram {
    listener: ListenerId(0),
    remote: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5060),
};
const TCP: Flow = Flow::Connection(ConnectionId(7));

struct World {
    stack: Stack,
    now: Instant,
    sent: Vec<Bytes>,
    log: String,
}

impl World {
    fn new() -> World {
        let listener = |transport| Listener {
            transport,
            address: SocketAddr::from(([192, 0, 2, 9], 5060)),
            advertised_host: "home.example.com".to_owned(),
            side: Side::Inside,
        };
        let config = StackConfig {
            listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
            names: Vec::new(),
            timers: TimerValues::STANDARD,
            limits: Limits { server_pending_max: 8, client_pending_max: 8, ended_max: 8 },
            secret: [1; 32],
            seed: [2; 32],
        };
        let mut world =
            World { stack: Stack::new(config), now: Instant(0), sent: Vec::new(), log: String::new() };
        let peer = Peer {
            transport: Transport::Tcp,
            remote: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            listener: Some(ListenerId(1)),
            local: SocketAddr::from(([192, 0, 2, 9], 5060)),
            side: Side::Inside,
            identity: PeerIdentity::Anonymous,
        };
        world.stack.handle_connected(world.now, ConnectionId(7), &peer, None);
        world
    }

    fn send(&mut self, own: u64, flow: Flow) -> &mut World {
        self.stack.send_own_over(self.now, own, flow, |via| {
            let text = format!(
                "NOTIFY sip:bob@192.0.2.1 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=a\r\n\
                 To: <sip:b@example.com>;tag=b\r\nCall-ID: call\r\nCSeq: 1 NOTIFY\r\nContent-Length: 0\r\n\r\n"
            );
            Bytes::from(text)
        });
        self.drain()
    }

    /// To one device by TCP, and by UDP where that fails.
    fn send_with_alternative(&mut self, own: u64) -> OwnRequest {
        let request = Message::parse(Bytes::from_static(
            b"NOTIFY sip:bob@192.0.2.1 SIP/2.0\r\nFrom: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag=b\r\n\
              Call-ID: call\r\nCSeq: 1 NOTIFY\r\nContent-Length: 0\r\n\r\n",
        ));
        let target = |flow, alternatives| Target {
            uri: "sip:bob@192.0.2.1".to_owned(),
            routes: Vec::new(),
            hop: NextHop::Flow(flow),
            q: 1000,
            cookie: 0,
            alternatives,
            changes: Vec::new(),
        };
        let target = target(TCP, vec![target(UDP, Vec::new())]);
        let request = self.stack.send_own(self.now, own, &request.unwrap(), target, Forwarding::default());
        self.drain();
        request
    }

    /// The peer's answer to the last request.
    fn answer(&mut self, status: u16, more: &str) -> &mut World {
        let request = Message::parse(self.sent.last().expect("something was sent").clone()).unwrap();
        let mut builder = sip_message::ResponseBuilder::new(&request, status);
        if let Some((name, value)) = more.split_once(": ") {
            builder.header_named(name, value);
        }
        self.receive(status, builder.build())
    }

    fn receive(&mut self, status: u16, response: Bytes) -> &mut World {
        let fate = self.stack.handle_response(self.now, Message::parse(response).unwrap());
        let fate = if fate == ResponseFate::Taken { String::new() } else { format!(" ({fate:?})") };
        writeln!(self.log, "< {status}{fate}").unwrap();
        self.drain()
    }

    fn pass(&mut self, milliseconds: u64) -> &mut World {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(due) = self.stack.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.stack.handle_timer(due);
            self.drain();
        }
        self.now = end;
        self
    }

    fn drain(&mut self) -> &mut World {
        while let Some(output) = self.stack.poll_output() {
            let StackOutput::Send(flow, bytes) = output else { panic!("{output:?}") };
            let flow = if flow == UDP { "udp" } else { "tcp" };
            writeln!(self.log, "at {} ms: {flow} > NOTIFY", self.now.0 / 1000).unwrap();
            self.sent.push(bytes);
        }
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::OwnCompleted { own, outcome } => {
                    writeln!(self.log, "at {} ms: {own} {outcome:?}", self.now.0 / 1000).unwrap();
                }
                Event::TargetFailed { reason, .. } => {
                    writeln!(self.log, "at {} ms: {reason:?}", self.now.0 / 1000).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        self
    }

    fn check(&mut self, expected: Expect) {
        assert_eq!((self.stack.pending(), self.stack.contexts()), (0, 0), "nothing is left behind");
        expected.assert_eq(&self.log);
    }
}

#[test]
fn the_via_is_ours() {
    let mut w = World::new();
    w.send(1, UDP).answer(200, "").send(2, TCP).answer(200, "");
    let vias: Vec<String> = w
        .sent
        .iter()
        .map(|bytes| {
            let message = Message::parse(bytes.clone()).unwrap();
            message.validate().unwrap();
            let via =
                String::from_utf8(message.header(sip_message::HeaderId::Via).unwrap().to_vec()).unwrap();
            let branch = message.top_branch().unwrap().to_owned();
            assert!(branch.starts_with("z9hG4bK"));
            via.replace(&branch, "BRANCH")
        })
        .collect();
    assert_eq!(
        vias,
        [
            "SIP/2.0/UDP home.example.com:5060;branch=BRANCH;rport",
            "SIP/2.0/TCP home.example.com:5060;branch=BRANCH"
        ]
    );
}

#[test]
fn an_answer_completes_once() {
    let mut w = World::new();
    w.send(1, TCP).answer(100, "").answer(200, "").answer(200, "");
    w.send(2, UDP).answer(503, "Retry-After: 7");
    w.send((1 << 56) - 1, UDP).answer(481, "");
    w.check(expect![[r#"
        at 0 ms: tcp > NOTIFY
        < 100
        < 200
        at 0 ms: 1 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
        < 200 (Stray)
        at 0 ms: udp > NOTIFY
        < 503
        at 0 ms: 2 OwnOutcome { status: 503, is_answered: true, retry_after_seconds: Some(7) }
        at 0 ms: udp > NOTIFY
        < 481
        at 0 ms: 72057594037927935 OwnOutcome { status: 481, is_answered: true, retry_after_seconds: None }
    "#]]);
}

#[test]
fn silence_ends_after_timer_f_and_datagrams_are_repeated() {
    let mut w = World::new();
    w.send(1, TCP).pass(40_000);
    w.send(2, UDP).pass(40_000).answer(200, "");
    w.check(expect![[r#"
        at 0 ms: tcp > NOTIFY
        at 32000 ms: 1 OwnOutcome { status: 408, is_answered: false, retry_after_seconds: None }
        at 40000 ms: udp > NOTIFY
        at 40500 ms: udp > NOTIFY
        at 41500 ms: udp > NOTIFY
        at 43500 ms: udp > NOTIFY
        at 47500 ms: udp > NOTIFY
        at 51500 ms: udp > NOTIFY
        at 55500 ms: udp > NOTIFY
        at 59500 ms: udp > NOTIFY
        at 63500 ms: udp > NOTIFY
        at 67500 ms: udp > NOTIFY
        at 71500 ms: udp > NOTIFY
        at 72000 ms: 2 OwnOutcome { status: 408, is_answered: false, retry_after_seconds: None }
        < 200 (Stray)
    "#]]);
}

#[test]
fn what_is_not_to_be_tried_further_is_still_awaited() {
    let mut w = World::new();
    w.send_with_alternative(1);
    w.pass(33_000).answer(200, "");
    let second = w.send_with_alternative(2);
    w.stack.try_no_further(second);
    w.pass(1_000).answer(200, "");
    let third = w.send_with_alternative(3);
    w.stack.try_no_further(third);
    w.pass(33_000);
    w.stack.try_no_further(third);
    w.check(expect![[r#"
        at 0 ms: tcp > NOTIFY
        at 32000 ms: udp > NOTIFY
        at 32000 ms: TimedOut
        at 32500 ms: udp > NOTIFY
        < 200
        at 33000 ms: 1 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
        at 33000 ms: tcp > NOTIFY
        < 200
        at 34000 ms: 2 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
        at 34000 ms: tcp > NOTIFY
        at 66000 ms: TimedOut
        at 66000 ms: 3 OwnOutcome { status: 408, is_answered: false, retry_after_seconds: None }
    "#]]);
}

#[test]
fn what_is_abandoned_is_over() {
    let mut w = World::new();
    let first = w.send_with_alternative(1);
    w.pass(33_000);
    assert_eq!(w.stack.abandon_own(first), Some(1));
    assert_eq!(w.stack.abandon_own(first), None);
    w.answer(200, "").pass(33_000);
    let second = w.send_with_alternative(2);
    w.answer(200, "");
    assert_eq!(w.stack.abandon_own(second), None, "it has ended");
    w.check(expect![[r#"
        at 0 ms: tcp > NOTIFY
        at 32000 ms: udp > NOTIFY
        at 32000 ms: TimedOut
        at 32500 ms: udp > NOTIFY
        < 200 (Stray)
        at 66000 ms: tcp > NOTIFY
        < 200
        at 66000 ms: 2 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
    "#]]);
}

#[test]
fn a_flow_that_is_gone_fails_its_requests_alone() {
    let mut w = World::new();
    w.send(1, TCP).send(2, UDP).answer(200, "").send(3, TCP);
    w.stack.handle_closed(w.now, ConnectionId(7));
    w.drain();
    w.send(4, TCP).send(5, UDP).answer(430, "");
    w.check(expect![[r#"
        at 0 ms: tcp > NOTIFY
        at 0 ms: udp > NOTIFY
        < 200
        at 0 ms: 2 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
        at 0 ms: tcp > NOTIFY
        at 0 ms: 1 OwnOutcome { status: 480, is_answered: false, retry_after_seconds: None }
        at 0 ms: 3 OwnOutcome { status: 480, is_answered: false, retry_after_seconds: None }
        at 0 ms: 4 OwnOutcome { status: 480, is_answered: false, retry_after_seconds: None }
        at 0 ms: udp > NOTIFY
        < 430
        at 0 ms: 5 OwnOutcome { status: 480, is_answered: false, retry_after_seconds: None }
    "#]]);
}

/// Only the next hop knows the branch: what else an answer to us says is its own matter.
#[test]
fn an_answer_to_us_is_known_by_its_branch_alone() {
    let mut w = World::new();
    w.send(1, UDP);
    let sent = String::from_utf8(w.sent[0].to_vec()).unwrap();
    let via = sent.lines().find(|line| line.starts_with("Via: ")).unwrap().to_owned();
    let answer = |via: &str, cseq: &str| {
        Bytes::from(format!("SIP/2.0 200 OK\r\n{via}\r\nFrom: <\r\nCall-ID: other\r\n{cseq}\r\n\r\n"))
    };
    w.receive(200, answer(&via.replace("branch=z9hG4bK", "branch=z9hG4bK0"), "CSeq: 1 NOTIFY"));
    w.receive(200, answer(&via, "CSeq: 1 INVITE"));
    w.receive(200, answer(&via, "CSeq: 1 NOTIFY\r\nCSeq: 2 NOTIFY"));
    w.receive(200, answer(&via, "CSeq: 1 NOTIFY"));
    w.check(expect![[r#"
        at 0 ms: udp > NOTIFY
        < 200 (Stray)
        < 200 (Stray)
        < 200 (Stray)
        < 200
        at 0 ms: 1 OwnOutcome { status: 200, is_answered: true, retry_after_seconds: None }
    "#]]);
}

/// What was received, forwarded over a border, and answered: the request, and what came back upstream of each response.
struct Crossing {
    w: World,
    forwarded: Message,
}

#[derive(Debug)]
struct NoWarnings;

impl Border for NoWarnings {
    fn response<'m>(&'m self, _response: &'m Message, edit: &mut Edit<'m>) {
        edit.remove(HeaderId::Warning).insert_first(HeaderId::RecordRoute, "<sip:border.example;lr>");
    }

    fn own_answer(&self, response: &mut sip_message::ResponseBuilder<'_>) {
        response.header(HeaderId::Warning, "399 border.example \"nobody there\"");
    }
}

impl Crossing {
    fn of(method: &str) -> Crossing {
        let mut w = World::new();
        let text = format!(
            "{method} sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP inner.example;branch=z9hG4bKa;rport, SIP/2.0/TCP \
             first.example;branch=z9hG4bKb\r\nVia: SIP/2.0/TCP phone.invalid;branch=z9hG4bKc\r\nMax-Forwards: 9\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: call\r\nCSeq: 1 {method}\r\n\
             Record-Route: <sip:inner.example;lr>\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text)).unwrap();
        request.validate().unwrap();
        let Flow::Datagram { remote, .. } = UDP else { unreachable!("a datagram flow") };
        let arrival = Arrival { flow: UDP, transport: Transport::Udp, remote };
        let Incoming::New(server) = w.stack.handle_request(w.now, &request, arrival) else {
            panic!("it is new")
        };
        let target = Target {
            uri: "sip:b@there.example".to_owned(),
            routes: Vec::new(),
            hop: NextHop::Flow(TCP),
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: vec![
                HeaderChange::Remove(HeaderId::RecordRoute),
                HeaderChange::Prepend(HeaderId::RecordRoute, "<sip:token@home.example.com;lr>".to_owned()),
            ],
        };
        let forwarding =
            Forwarding { hides_vias: true, border: Some(Arc::new(NoWarnings)), ..Forwarding::default() };
        w.stack.forward(w.now, server, &request, vec![target], forwarding);
        let Some(StackOutput::Send(TCP, bytes)) = w.stack.poll_output() else { panic!("it is forwarded") };
        Crossing { w, forwarded: Message::parse(bytes).unwrap() }
    }

    fn answer(&mut self, status: u16) -> String {
        let mut response = sip_message::ResponseBuilder::new(&self.forwarded, status);
        response.to_tag("b").header(HeaderId::Warning, "399 secret \"x\"");
        // A peer may say more of Via than it was told.
        response.header(HeaderId::Via, "SIP/2.0/TCP forged.example;branch=z9hG4bKx");
        self.w.stack.handle_response(self.w.now, Message::parse(response.build()).unwrap());
        let outputs = std::iter::from_fn(|| self.w.stack.poll_output());
        // A failed INVITE is also acknowledged.
        let back: Vec<Bytes> = outputs
            .filter_map(|output| match output {
                StackOutput::Send(UDP, bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        let [bytes] = &back[..] else { panic!("it goes back, once") };
        String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
    }
}

fn lines<'t>(text: &'t str, names: &[&str]) -> Vec<&'t str> {
    text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn vias_that_stay_here_come_back_with_every_response() {
    let came = [
        "Via: SIP/2.0/UDP inner.example;branch=z9hG4bKa;rport=5060;received=192.0.2.1",
        "Via: SIP/2.0/TCP first.example;branch=z9hG4bKb",
        "Via: SIP/2.0/TCP phone.invalid;branch=z9hG4bKc",
        "Record-Route: <sip:border.example;lr>",
    ];
    for (method, statuses) in
        [("INVITE", &[180, 200, 200][..]), ("MESSAGE", &[200]), ("INVITE", &[486]), ("MESSAGE", &[404])]
    {
        let mut crossing = Crossing::of(method);
        let sent = String::from_utf8(crossing.forwarded.bytes().to_vec()).unwrap();
        let [via, route] = lines(&sent, &["Via", "Record-Route"])[..] else { panic!("one each: {sent}") };
        assert!(via.starts_with("Via: SIP/2.0/TCP home.example.com:5060;branch="), "{via}");
        assert_eq!(route, "Record-Route: <sip:token@home.example.com;lr>");
        for status in statuses {
            let back = crossing.answer(*status);
            assert_eq!(lines(&back, &["Via", "Record-Route", "Warning"]), came, "{method} {status}");
        }
    }
}

#[test]
fn an_answer_made_here_shows_the_vias_that_came() {
    let mut crossing = Crossing::of("INVITE");
    crossing.w.stack.handle_closed(crossing.w.now, ConnectionId(7));
    let Some(StackOutput::Send(UDP, bytes)) = crossing.w.stack.poll_output() else {
        panic!("it is answered")
    };
    let back = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(back.starts_with("SIP/2.0 480"), "{back}");
    assert_eq!(lines(&back, &["Via"]).len(), 2, "{back}");
    assert_eq!(lines(&back, &["Warning"]), ["Warning: 399 border.example \"nobody there\""]);
}

/// A dialog's way may lead through a server twice: a call forwarded from one border to another, say. Whether the rest of
/// the way stands on one line or on several is the same.
#[test]
fn what_comes_back_with_less_of_its_way_left_spirals() {
    let request = |via: &str, routes: &str| {
        let text = format!(
            "BYE sip:b@there.example SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 9\r\nFrom: <sip:a@example.com>;tag=a\r\n\
             To: <sip:b@example.com>;tag=b\r\nCall-ID: call\r\nCSeq: 2 BYE\r\n{routes}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    };
    let ours = "<sip:home.example.com;lr>";
    let whole = format!("Route: {ours}\r\nRoute: <sip:between.example;lr>\r\nRoute: {ours}\r\n");
    let rest = format!("Route: {ours}\r\n");
    let mut w = World::new();
    let came = request("SIP/2.0/UDP inner.example;branch=z9hG4bKa", &whole);
    let Flow::Datagram { remote, .. } = UDP else { unreachable!("a datagram flow") };
    let arrival = Arrival { flow: UDP, transport: Transport::Udp, remote };
    let Incoming::New(server) = w.stack.handle_request(w.now, &came, arrival) else { panic!("it is new") };
    let target = Target {
        uri: "sip:b@there.example".to_owned(),
        routes: Vec::new(),
        hop: NextHop::Flow(TCP),
        q: 1000,
        cookie: 0,
        alternatives: Vec::new(),
        changes: Vec::new(),
    };
    assert!(!w.stack.is_loop(&came));
    w.stack.forward(w.now, server, &came, vec![target], Forwarding::default());
    let Some(StackOutput::Send(TCP, bytes)) = w.stack.poll_output() else { panic!("it is forwarded") };
    let left = Message::parse(bytes).unwrap();
    let via = String::from_utf8(left.header(HeaderId::Via).unwrap().to_vec()).unwrap();
    assert!(w.stack.is_loop(&request(&via, &whole)), "as it was, it loops");
    assert!(!w.stack.is_loop(&request(&via, &rest)), "with the rest of its way, it goes on");
}
