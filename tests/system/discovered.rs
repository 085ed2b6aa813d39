//! Partners whom nobody listed, found by DNS (`_sipfederationtls._tcp`), with a DNS server of the test: one that is honest,
//! and one that is not. What DNS says proves nothing.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use sip_message::HeaderId;
use system_tests::{
    Account, Border, BorderBuilder, Device, Dns, Link, Own, PATIENCE, PrivateCa, Record, Transaction,
};

const TLS_PORT: u16 = 5061;
const ALICE: &str = "sip:alice@contoso.example";

fn srv(priority: u16, target: &'static str) -> Record {
    Record::Srv { priority, port: TLS_PORT, target }
}

/// An edge that talks with whoever proves a domain by a certificate of this CA, and the partners' address.
struct World {
    border: Border,
    ca: PrivateCa,
    dns: Dns,
    partner: Ipv4Addr,
}

impl World {
    /// `zone` gets the address of the partner's server.
    fn new(zone: impl FnOnce(&BorderBuilder) -> Vec<(&'static str, Record)>) -> World {
        let ca = PrivateCa::new("CA of the community");
        let builder = Border::with_partners();
        let dns = Dns::start(zone(&builder));
        let builder = builder.believing(&ca).partner_of_all("fabrikam.example").discovering(dns.address());
        let partner = builder.partner_address();
        World { border: builder.start(), ca, dns, partner }
    }

    fn issue(&self, stem: &str, names: &[&str]) -> Own {
        self.ca.issue(self.border.server().folder(), stem, names)
    }

    /// Waits for the edge at the partners' address, with this certificate; `None` where the handshake does not come to its
    /// end.
    fn serve(&self, own: Own) -> std::thread::JoinHandle<Option<Device>> {
        let listener = TcpListener::bind((self.partner, TLS_PORT)).expect("the address is ours");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the edge connects");
            let account = Account {
                user: "lee".to_owned(),
                password: "never-asked".to_owned(),
                domain: "litware.example".to_owned(),
            };
            Link::accepted_tls(stream, &own).ok().map(|link| Device::over(account, link))
        })
    }

    /// A message to somebody at the domain is on its way.
    fn ask(&self, domain: &'static str) -> Asked {
        let alice = self.border.from_inside("alice");
        let sent = alice.send(alice.message(&format!("sip:lee@{domain}"), "for lee alone"));
        Asked { domain, alice, sent }
    }
}

/// A message that must not arrive.
struct Asked {
    domain: &'static str,
    alice: Device,
    sent: Transaction,
}

impl Asked {
    /// It fails within the time that a caller waits, and she is told so.
    fn fails(self) {
        let Asked { domain, alice, sent } = self;
        let answer = alice.answer(sent);
        assert!(matches!(answer.status(), Some(404 | 480)), "{domain}: {}", alice.ladder());
        let warning = String::from_utf8_lossy(answer.header(HeaderId::Warning).expect("a Warning"));
        assert!(warning.contains(&format!("The server of {domain} cannot be reached")), "{warning}");
    }
}

#[test]
fn a_discovered_partner_is_found_and_proves_its_domain() {
    let world = World::new(|builder| {
        vec![
            ("_sipfederationtls._tcp.litware.example", srv(1, "gone.litware.example")),
            ("_sipfederationtls._tcp.litware.example", srv(2, "sip.litware.example")),
            ("sip.litware.example", Record::A(builder.partner_address())),
        ]
    });
    // The domain is what counts: the host that DNS leads to need not stand there.
    let own = world.issue("litware", &["sip:litware.example", "any.litware.example"]);
    let server = world.serve(own.clone());
    let alice = world.border.from_inside("alice");
    let sent = alice.send(alice.message("sip:lee@litware.example", "nice to find you"));
    let server = server.join().expect("it serves").expect("the edge goes on");
    assert_eq!(server.expect_and_answer("MESSAGE", 200).body(), b"nice to find you");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    assert!(world.dns.was_asked("SRV _sipfederationtls._tcp.litware.example"));
    // And back: a stranger who proves a domain is its voice, and no other's.
    let lee = world.border.from_outside(Some(&own), "lee", "litware.example");
    let sent = lee.send(lee.message(ALICE, "nice to be found"));
    let inside = world.border.inside();
    let arrived = inside.expect_and_answer("MESSAGE", 200);
    let text = String::from_utf8_lossy(arrived.bytes());
    assert!(text.contains("Chancery-Origin: partner;domain=litware.example;mode=discovered"), "{text}");
    assert_eq!(lee.answer(sent).status(), Some(200), "{}", lee.ladder());
    let liar = world.border.from_outside(Some(&own), "bob", "fabrikam.example");
    assert_eq!(liar.ask(liar.message(ALICE, "believe me").unanswering()).status(), Some(403));
}

/// Somebody who collects addresses is slowed down and told to the operator.
#[test]
fn a_discovered_partner_that_collects_addresses_is_watched() {
    /// It is slowed before all of them have passed.
    const GUESSES: usize = 60;
    let world = World::new(|_| Vec::new());
    let own = world.issue("litware", &["sip:litware.example"]);
    let lee = world.border.from_outside(Some(&own), "lee", "litware.example");
    let first = lee.send(lee.message("sip:guess@contoso.example", "anybody?"));
    let inside = world.border.inside();
    inside.expect_and_answer("MESSAGE", 404);
    assert_eq!(lee.answer(first).status(), Some(404));
    inside.answer_every("MESSAGE", 404);
    let slowed = (0..GUESSES).any(|number| {
        let guess = lee.ask(lee.message(&format!("sip:guess{number}@contoso.example"), "anybody?"));
        guess.status() == Some(503)
    });
    assert!(slowed, "{}", lee.ladder());
    world.border.server().expect_log("partner-watched");
    let (_, status) = world.border.server().command(&["status"]);
    assert!(status.contains("litware.example"), "{status}");
}

#[test]
fn dns_that_leads_to_somebody_else_leads_nowhere() {
    let world = World::new(|builder| {
        vec![
            ("_sipfederationtls._tcp.litware.example", srv(1, "sip.evil.example")),
            ("sip.evil.example", Record::A(builder.partner_address())),
        ]
    });
    // It is what it says, and it is not litware; and its name in a SAN is not the domain's.
    let own = world.issue("evil", &["sip.evil.example", "sip:evil.example", "sip.litware.example"]);
    let server = world.serve(own);
    world.ask("litware.example").fails();
    if let Some(server) = server.join().expect("it serves") {
        server.closed();
        assert!(server.arrived("MESSAGE").is_none(), "{}", server.ladder());
    }
    world.border.server().expect_log("connect-failed");
}

#[test]
fn dns_that_leads_inside_reaches_nobody_there() {
    let world = World::new(|builder| {
        let [home, edge] = builder.inside_addresses();
        vec![
            // By names that only we know, by names of its own, and to the edge itself.
            ("_sipfederationtls._tcp.inward.example", srv(1, "sip.contoso.example")),
            ("_sipfederationtls._tcp.private.example", srv(1, "home.private.example")),
            ("home.private.example", Record::A(home)),
            ("_sipfederationtls._tcp.mirror.example", srv(1, "edge.mirror.example")),
            ("edge.mirror.example", Record::A(edge)),
        ]
    });
    for domain in ["inward.example", "private.example", "mirror.example"] {
        world.ask(domain).fails();
    }
    // A server inside may have seen a handshake that was broken off, and nothing of what was to be said.
    assert!(world.border.inside_is_quiet());
    let bob = world.issue("fabrikam", &["edge.fabrikam.example"]);
    let bob = world.border.from_outside(Some(&bob), "bob", "fabrikam.example");
    let sent = bob.send(bob.message(ALICE, "the first that comes in"));
    assert_eq!(world.border.inside().expect_and_answer("MESSAGE", 200).body(), b"the first that comes in");
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
}

/// A service that is no SIP server learns no more than that somebody says hello in TLS.
#[test]
fn dns_that_leads_to_another_service_tells_it_nothing() {
    let world = World::new(|builder| {
        vec![
            ("_sipfederationtls._tcp.victim.example", srv(1, "host.victim.example")),
            ("host.victim.example", Record::A(builder.partner_address())),
        ]
    });
    let listener = TcpListener::bind((world.partner, TLS_PORT)).expect("the address is ours");
    let victim = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the edge connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("the edge ends it");
        heard
    });
    world.ask("victim.example").fails();
    let heard = victim.join().expect("it listens");
    assert_eq!(heard.first(), Some(&0x16), "a handshake, and nothing before it");
    for secret in ["MESSAGE", "alice", "lee", "contoso", "sip:"] {
        let found = heard.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} was said in the clear");
    }
}

#[test]
fn dns_without_end_or_sense_holds_nobody_up() {
    /// More than anybody would try within a transaction.
    const SERVERS: u16 = 60;
    let world = World::new(|builder| {
        let mut zone = vec![
            ("_sipfederationtls._tcp.loop.example", Record::Cname("one.loop.example")),
            ("one.loop.example", Record::Cname("two.loop.example")),
            ("two.loop.example", Record::Cname("one.loop.example")),
            ("_sipfederationtls._tcp.self.example", Record::Cname("_sipfederationtls._tcp.self.example")),
            ("_sipfederationtls._tcp.circle.example", srv(1, "circle.circle.example")),
            ("circle.circle.example", Record::Cname("circle.circle.example")),
            ("_sipfederationtls._tcp.no.example", srv(1, "")),
            ("_sipfederationtls._tcp.nonsense.example", Record::Nonsense),
            ("_sipfederationtls._tcp.silent.example", Record::Silence),
            ("many.example", Record::A(Ipv4Addr::new(127, 0, 0, 1))),
        ];
        for priority in 0..SERVERS {
            // Nobody listens there, in a way that costs a round trip each.
            zone.push(("_sipfederationtls._tcp.many.example", srv(priority, "host.many.example")));
            zone.push(("host.many.example", Record::A(builder.partner_address())));
        }
        zone
    });
    // While all of that is being looked for, others go on.
    let own = world.issue("fabrikam", &["edge.fabrikam.example"]);
    let bob = world.border.from_outside(Some(&own), "bob", "fabrikam.example");
    let domains = [
        "loop.example",
        "self.example",
        "circle.example",
        "no.example",
        "nonsense.example",
        "many.example",
        "silent.example",
    ];
    let asked = domains.map(|domain| world.ask(domain));
    let sent = bob.send(bob.message(ALICE, "meanwhile"));
    let inside = world.border.inside();
    inside.expect_and_answer("MESSAGE", 200);
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    for one in asked {
        one.fails();
    }
}
