//! RFC 3263: a name leads to several servers, and where the first fails the next is asked. The resolver is the
//! configured one.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use sip_message::HeaderId;
use system_tests::{Configuration, Device, Dns, Record, Road, Server, Transport};

const ROAD: Road = Road::v4(Transport::Tcp);

#[test]
fn when_the_first_server_takes_no_connection_the_second_is_asked() {
    let (refusing, second) = (RefusingPort::new(), listener());
    let dns = edge(refusing.port(), port(&second));
    let server = server(&dns);
    let alice = server.device("alice", ROAD);
    alice.register("");
    register_behind_edge(&server);

    let call = alice.send(alice.invite("sip:bob@example.test"));
    let edge = Device::accept(server.account("bob"), &second);
    let invite = edge.expect_and_answer("INVITE", 486);
    let route = String::from_utf8_lossy(invite.header(HeaderId::Route).expect("the path")).into_owned();
    assert_eq!(route, "<sip:edge.test;lr>", "RFC 3327 §5.2");
    assert_eq!(alice.answer(call).status(), Some(486), "{}", alice.ladder());

    // What follows takes the connection that is there (RFC 5923).
    let message = alice.send(alice.message("sip:bob@example.test", "over the second"));
    assert_eq!(edge.expect_and_answer("MESSAGE", 200).body(), b"over the second");
    assert_eq!(alice.answer(message).status(), Some(200));
    for question in ["NAPTR edge.test", "SRV _sip._tcp.edge.test", "A one.edge.test", "A two.edge.test"] {
        assert!(dns.was_asked(question), "{question}");
    }
}

/// RFC 3263 §4.3: 503 is a failure of that server, not an answer.
#[test]
fn when_the_first_server_answers_503_the_second_is_asked() {
    let (first, second) = (listener(), listener());
    let dns = edge(port(&first), port(&second));
    let server = server(&dns);
    let alice = server.device("alice", ROAD);
    alice.register("");
    register_behind_edge(&server);

    let call = alice.send(alice.invite("sip:bob@example.test"));
    let overloaded = Device::accept(server.account("bob"), &first);
    overloaded.expect_and_answer("INVITE", 503);
    let edge = Device::accept(server.account("bob"), &second);
    let invite = edge.expect("INVITE");
    edge.respond(&invite, 180);
    alice.provisional(call, 180);
    edge.respond(&invite, 486);
    assert_eq!(alice.answer(call).status(), Some(486), "the caller sees no 503:\n{}", alice.ladder());
    overloaded.expect("ACK");

    // The first has leave to recover: it is not the first to be asked for a while.
    let message = alice.send(alice.message("sip:bob@example.test", "once"));
    edge.expect_and_answer("MESSAGE", 200);
    assert_eq!(alice.answer(message).status(), Some(200));
    assert!(overloaded.arrived("MESSAGE").is_none());
}

/// A contact may name a domain. While its connection stands that is used; afterwards its SRV records are.
#[test]
fn a_device_whose_connection_is_gone_is_found_by_its_name() {
    let (refusing, second) = (RefusingPort::new(), listener());
    let dns = Dns::start(vec![
        ("_sip._tcp.device.test", Record::Srv { priority: 10, port: refusing.port(), target: "one.test" }),
        ("_sip._tcp.device.test", Record::Srv { priority: 20, port: port(&second), target: "two.test" }),
        ("one.test", Record::A(Ipv4Addr::LOCALHOST)),
        ("two.test", Record::A(Ipv4Addr::LOCALHOST)),
    ]);
    let server = server(&dns);
    let alice = server.device("alice", ROAD);
    alice.register("");
    let mut bob = server.device("bob", ROAD);
    let contact = "<sip:bob@device.test;transport=tcp>".to_owned();
    assert_eq!(bob.ask(bob.register_draft(Some(contact))).status(), Some(200));
    bob.crash();

    let call = alice.send(alice.invite("sip:bob@example.test"));
    let bob = Device::accept(server.account("bob"), &second);
    let invite = bob.expect_and_answer("INVITE", 486);
    assert_eq!(invite.request_uri().expect("a URI").as_str(), "sip:bob@device.test;transport=tcp");
    assert_eq!(alice.answer(call).status(), Some(486), "{}", alice.ladder());
    assert!(dns.was_asked("SRV _sip._tcp.device.test"));
    assert!(!dns.was_asked("NAPTR device.test"), "RFC 3263 §4.1: the URI says the transport");
}

#[test]
fn a_name_that_nobody_has_is_told_at_once() {
    let dns = Dns::start(Vec::new());
    let server = server(&dns);
    let alice = server.device("alice", ROAD);
    alice.register("");
    register_behind_edge(&server);
    let answer = alice.ask(alice.invite("sip:bob@example.test"));
    assert_eq!(answer.status(), Some(480), "{}", alice.ladder());
    assert!(dns.was_asked("NAPTR edge.test"));
}

fn server(dns: &Dns) -> Server {
    let server = Configuration::new("example.test")
        .set_in("dns", "servers", &format!("[\"{}\"]", dns.address()))
        .serve();
    server.add_user("alice@example.test");
    server.add_user("bob@example.test");
    server
}

/// `edge.test`, which has two servers that speak TCP.
fn edge(first: u16, second: u16) -> Dns {
    let service = Record::Naptr { order: 10, service: "SIP+D2T", replacement: "_sip._tcp.edge.test" };
    Dns::start(vec![
        ("edge.test", service),
        ("_sip._tcp.edge.test", Record::Srv { priority: 20, port: second, target: "two.edge.test" }),
        ("_sip._tcp.edge.test", Record::Srv { priority: 10, port: first, target: "one.edge.test" }),
        ("one.edge.test", Record::A(Ipv4Addr::LOCALHOST)),
        ("two.edge.test", Record::A(Ipv4Addr::LOCALHOST)),
    ])
}

/// Registers bob as the edge would (RFC 3327): requests for him go by `edge.test`.
fn register_behind_edge(server: &Server) {
    let bob = server.device("bob", ROAD);
    let draft = bob.register_draft(Some("<sip:bob@192.0.2.1>".to_owned()));
    let draft = draft.header("Supported", "path").header("Path", "<sip:edge.test;lr>");
    assert_eq!(bob.ask(draft).status(), Some(200), "{}", bob.ladder());
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
}

/// A port that refuses connections for as long as this lives: the near end of a connection has it.
struct RefusingPort {
    near_end: TcpStream,
    _far_end: TcpListener,
}

impl RefusingPort {
    fn new() -> RefusingPort {
        let far_end = listener();
        let near_end = TcpStream::connect(far_end.local_addr().expect("it is bound")).expect("it listens");
        RefusingPort { near_end, _far_end: far_end }
    }

    fn port(&self) -> u16 {
        self.near_end.local_addr().expect("it is connected").port()
    }
}
