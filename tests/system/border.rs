//! The edge under partners that behave badly, and over its own restart: what one does is bounded, and the others go on.

use std::time::{Duration, Instant};

use sip_message::{HeaderId, Message};
use system_tests::{
    Border, CONNECTIONS_PER_SOURCE_MAX, CrowdDoing, CrowdFrom, Device, Draft, Link, Own, PrivateCa,
    descriptors_max, have, skip, unique,
};

const ALICE: &str = "sip:alice@contoso.example";
/// What fabrikam may begin in a second.
const RATE: usize = 20;
/// What it may begin at once.
const BURST: usize = 2 * RATE;
/// What it tries.
const FLOOD: usize = 300;
/// Memory that the edge may have at most, whatever one partner does: a debug build of it, with much air.
const RESIDENT_OCTETS_MAX: u64 = 256 << 20;

/// An edge with two partners: fabrikam, who misbehaves, and northwind.
struct World {
    border: Border,
    fabrikam: Own,
    northwind: Own,
}

impl World {
    fn new() -> World {
        let (fabrikam, northwind) = (PrivateCa::new("CA of fabrikam"), PrivateCa::new("CA of northwind"));
        let border = Border::with_partners()
            .partner("fabrikam.example", &fabrikam, &format!("rate = {RATE}"))
            .partner("northwind.example", &northwind, "")
            .start();
        let folder = border.server().folder();
        let fabrikam = fabrikam.issue(folder, "fabrikam", &["edge.fabrikam.example"]);
        let northwind = northwind.issue(folder, "northwind", &["edge.northwind.example"]);
        World { border, fabrikam, northwind }
    }

    fn bob(&self) -> Device {
        self.border.from_outside(Some(&self.fabrikam), "bob", "fabrikam.example")
    }

    /// A partner who may send, and the server inside: it has taken one message.
    fn nina(&self) -> (Device, Device) {
        let nina = self.border.from_outside(Some(&self.northwind), "nina", "northwind.example");
        let sent = nina.send(nina.message(ALICE, "good morning"));
        let inside = self.border.inside();
        inside.expect_and_answer("MESSAGE", 200);
        assert_eq!(nina.answer(sent).status(), Some(200), "{}", nina.ladder());
        (nina, inside)
    }

    fn is_small(&self) {
        let octets = self.border.server().resident_octets();
        assert!(octets < RESIDENT_OCTETS_MAX, "{octets} octets");
    }
}

/// `nina` still gets through.
fn goes_on(nina: &Device, inside: &Device) {
    let text = unique();
    let sent = nina.send(nina.message(ALICE, &text));
    let arrived = loop {
        let arrived = inside.expect("MESSAGE");
        if arrived.body() == text.as_bytes() {
            break arrived;
        }
    };
    inside.respond(&arrived, 200);
    assert_eq!(nina.answer(sent).status(), Some(200), "{}", nina.ladder());
}

/// Sends many. What comes through, which is answered with `passes`, is what the policy allows; the others are told to
/// come later.
fn flood(bob: &Device, meanwhile: impl FnOnce(), draft: impl Fn(usize) -> Draft, passes: u16) {
    let start = Instant::now();
    let sent: Vec<_> = (0..FLOOD).map(|number| bob.send(draft(number))).collect();
    meanwhile();
    let answers: Vec<Message> = sent.into_iter().map(|transaction| bob.answer(transaction)).collect();
    let seconds = start.elapsed().as_secs() as usize + 1;
    let (passed, refused): (Vec<&Message>, Vec<&Message>) =
        answers.iter().partition(|answer| answer.status() == Some(passes));
    for answer in &refused {
        assert_eq!(answer.status(), Some(503), "{}", bob.ladder());
        assert!(answer.header(HeaderId::RetryAfter).is_some(), "it is told when to come again");
    }
    assert!(!refused.is_empty(), "{FLOOD} within {seconds} s are too many");
    assert!(passed.len() >= BURST / 2, "a burst is no flood: {} passed", passed.len());
    let most = BURST + RATE * seconds;
    assert!(passed.len() <= most, "{} passed in {seconds} s, more than {most}", passed.len());
}

#[test]
fn a_flooding_partner_gets_its_share_and_no_more() {
    let world = World::new();
    let (nina, inside) = world.nina();
    let bob = world.bob();
    inside.answer_every("OPTIONS", 200);
    flood(&bob, || goes_on(&nina, &inside), |_| bob.draft("OPTIONS", ALICE), 200);
    goes_on(&nina, &inside);
    world.is_small();
}

#[test]
fn a_partner_that_watches_a_whole_directory_gets_its_share_and_no_more() {
    let world = World::new();
    let (nina, inside) = world.nina();
    let bob = world.bob();
    inside.answer_every("SUBSCRIBE", 404);
    let watch = |number| bob.watch_draft(&format!("sip:user{number}@contoso.example")).unanswering();
    flood(&bob, || goes_on(&nina, &inside), watch, 404);
    goes_on(&nina, &inside);
    world.is_small();
}

#[test]
fn half_a_message_holds_up_its_own_connection_alone() {
    let world = World::new();
    let (nina, inside) = world.nina();
    let (bob, other) = (world.bob(), world.bob());
    let whole = bob
        .message(ALICE, "the whole of it")
        .build(&format!("SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK{}", unique()));
    let (head, rest) = whole.split_at(whole.len() - 5);
    bob.send_octets(head);
    other.send_octets(head);
    goes_on(&nina, &inside);
    // The rest comes, and it is a message. Where it never comes, it is none.
    bob.send_octets(rest);
    assert_eq!(inside.expect_and_answer("MESSAGE", 200).body(), b"the whole of it");
    drop(other);
    goes_on(&nina, &inside);
    assert!(inside.arrived("MESSAGE").is_none());
}

#[test]
fn a_partner_that_does_not_read_is_not_waited_for() {
    /// More answers than buffers of sockets hold.
    const REQUESTS: usize = 20_000;
    /// How long it is watched: it stalls within a fraction of a second.
    const STALLED: Duration = Duration::from_secs(5);
    let world = World::new();
    let (nina, inside) = world.nina();
    let bob = world.bob();
    let (border, own) = (&world.border, &world.fabrikam);
    let host = border.outside_host();
    // Without its reader nothing is read.
    let (link, _) = Link::open_tls(border.outside(), &border.ca(), host, Some(own)).expect("it is let in");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..REQUESTS {
                let via = format!("SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK{number}");
                if link.send(&bob.draft("OPTIONS", "sip:nobody@litware.example").build(&via)).is_err() {
                    return;
                }
            }
        });
        while !writer.is_finished() {
            goes_on(&nina, &inside);
            world.is_small();
            // The edge reads no more from who does not read: that bounds it, and is the end of the test.
            if start.elapsed() > STALLED {
                break;
            }
        }
        link.close();
    });
    goes_on(&nina, &inside);
}

/// Those of a crowd.
const CROWD: usize = 3000;
/// The first octets of a handshake that does not go on.
const HALF_HELLO: &str = "\x16\x03\x01\x02";

/// Whether a crowd can be made here; what cannot is named.
fn may_crowd(what: &str) -> bool {
    /// What a program has open besides.
    const OTHERS: usize = 200;
    let why = match () {
        () if !have("python3") => "python3 is not installed",
        () if descriptors_max() < CROWD + OTHERS => "too few files may be open (ulimit -Hn)",
        () => return true,
    };
    skip(what, why);
    false
}

/// The others go on, also who comes new, while a crowd is held and when it is gone; gives how many of it were sent away.
fn goes_on_beside(world: &World, from: CrowdFrom, doing: CrowdDoing<'_>) -> usize {
    let (nina, inside) = world.nina();
    let crowd = world.border.crowd(from, CROWD, &doing);
    goes_on(&nina, &inside);
    let late = world.bob();
    assert!(late.ask(late.draft("OPTIONS", "sip:nobody@litware.example")).status().is_some());
    world.is_small();
    let closed = crowd.end();
    goes_on(&nina, &inside);
    closed
}

#[test]
fn thousands_of_connections_of_a_stranger_are_counted() {
    if !may_crowd("a stranger's thousands of connections") {
        return;
    }
    let closed = goes_on_beside(&World::new(), CrowdFrom::OneAddress, CrowdDoing::Saying(HALF_HELLO));
    assert!(closed >= CROWD - CONNECTIONS_PER_SOURCE_MAX, "{closed} of them were not kept");
}

#[test]
fn thousands_of_connections_of_a_partner_are_counted() {
    if !may_crowd("a partner's thousands of connections") {
        return;
    }
    let world = World::new();
    let closed = goes_on_beside(&world, CrowdFrom::OneAddress, CrowdDoing::Proving(&world.fabrikam));
    assert!(closed >= CROWD - CONNECTIONS_PER_SOURCE_MAX, "{closed} of them were not kept");
    assert!(closed < CROWD, "a few are");
}

/// Each from another address, so that no count of one address helps.
#[test]
fn thousands_of_half_handshakes_hold_nobody_up() {
    if !may_crowd("thousands of half handshakes") {
        return;
    }
    goes_on_beside(&World::new(), CrowdFrom::ManyAddresses, CrowdDoing::Saying(HALF_HELLO));
}

/// Registers a client outside; gives the Path that the server inside saw.
fn register(anna: &Device, inside: impl FnOnce() -> Device) -> (Device, String) {
    let contact = format!("<{}>;reg-id=1;+sip.instance=\"<{}>\"", anna.contact(), anna.instance());
    let sent =
        anna.send(anna.register_draft(Some(contact.clone())).header("Supported", "path, outbound, gruu"));
    let inside = inside();
    let register = inside.expect("REGISTER");
    let path = String::from_utf8_lossy(register.header(HeaderId::Path).expect("a Path")).into_owned();
    assert!(String::from_utf8_lossy(register.bytes()).contains("Chancery-Origin: remote;flow="));
    let service = path.replace(";ob", "");
    inside.respond_with(&register, 200, |answer| {
        answer
            .header(HeaderId::Path, &path)
            .header(HeaderId::Contact, &contact)
            .header(HeaderId::Require, "outbound")
            .header(HeaderId::ServiceRoute, &service);
    });
    assert_eq!(anna.answer(sent).status(), Some(200), "{}", anna.ladder());
    (inside, path)
}

#[test]
fn a_remote_user_comes_back_to_an_edge_that_was_started_again() {
    let mut world = World::new();
    let anna = world.border.from_outside(None, "anna", "contoso.example");
    let (_home, path) = register(&anna, || world.border.inside());
    let to_anna = |alice: &Device, anna: &Device, path: &str, text: &str| {
        let message = alice.message(&anna.uri(), text).header("Route", path);
        alice.send(Draft { uri: anna.contact().to_owned(), ..message })
    };
    let alice = world.border.from_inside("alice");
    let sent = to_anna(&alice, &anna, &path, "over the first flow");
    assert_eq!(anna.expect_and_answer("MESSAGE", 200).body(), b"over the first flow");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
    world.border.restart();
    // Her client sees it at once, and nobody is told that she got what she did not get (RFC 5626 §5.3).
    anna.closed();
    let alice = world.border.from_inside("alice");
    let sent = to_anna(&alice, &anna, &path, "into the void");
    assert_eq!(alice.answer(sent).status(), Some(430), "{}", alice.ladder());
    let back = world.border.from_outside(None, "anna", "contoso.example");
    back.be(&anna.instance());
    let (_home, path) = register(&back, || world.border.inside());
    let sent = to_anna(&alice, &back, &path, "over the second flow");
    assert_eq!(back.expect_and_answer("MESSAGE", 200).body(), b"over the second flow");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
}

/// A policy that is not there is one that names nobody: the edge comes up for its remote users, and says what it does.
#[test]
fn without_a_policy_file_the_edge_starts_and_allows_nobody() {
    let fabrikam = PrivateCa::new("CA of fabrikam");
    let mut border = Border::with_partners().partner("fabrikam.example", &fabrikam, "").start();
    let own = fabrikam.issue(border.server().folder(), "fabrikam", &["edge.fabrikam.example"]);
    border.stop();
    std::fs::remove_file(border.server().folder().join("federation.toml")).expect("it was there");
    border.restart();
    border.server().expect_log("\"event\":\"policy-empty\"");
    let bob = border.from_outside(Some(&own), "bob", "fabrikam.example");
    let answer = bob.ask(bob.message(ALICE, "hello"));
    assert_eq!(answer.status(), Some(403), "{}", bob.ladder());
    assert!(answer.header(HeaderId::Warning).is_none(), "strangers hear no reason");
    // Our own users outside are passed on as ever.
    let carol = border.from_outside(None, "carol", "contoso.example");
    let sent = carol.send(carol.message(ALICE, "it is me"));
    border.inside().expect_and_answer("MESSAGE", 200);
    assert_eq!(carol.answer(sent).status(), Some(200), "{}", carol.ladder());
}
