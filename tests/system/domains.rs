//! One organisation, two SIP domains, on the server that an administrator configures and runs.

use sip_message::Message;
use system_tests::{
    Account, Configuration, Device, Road, Server, Transport, challenges, in_parallel, unique,
};

use crate::calls::{established, hang_up};

const DOMAINS: [&str; 2] = ["contoso.test", "fabrikam.test"];

#[test]
fn users_of_both_domains_sign_in_write_and_call_each_other() {
    let roads = [Transport::Udp, Transport::Tcp, Transport::Tls].map(Road::v4);
    let mut server = server();
    for domain in DOMAINS {
        for road in roads {
            server.add_user(&format!("{road}@{domain}"));
        }
    }
    let converse = |server: &Server| {
        in_parallel(&roads, |road| {
            let [one, other] = DOMAINS.map(|domain| {
                let device = registered(server, &format!("{road}@{domain}"), *road);
                device.answer_every("MESSAGE", 200);
                device
            });
            for (from, to) in [(&one, &other), (&other, &one)] {
                let text = unique();
                let sent = from.send(from.message(&to.uri(), &text));
                let arrived = arrival(to, &text);
                assert_eq!(arrived.from().expect("From").uri.as_str(), from.uri());
                let asserted = arrived.header_named("P-Asserted-Identity").expect("RFC 3325");
                assert_eq!(asserted, format!("<{}>", from.uri()).as_bytes());
                assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
                let (mut dialog, _) = established(from, to);
                hang_up(from, &mut dialog, to);
            }
            // The next run is not to look for the devices of this one.
            one.unregister();
            other.unregister();
        });
    };
    converse(&server);
    // The accounts are those of the file, not of this run.
    server.restart();
    for domain in DOMAINS {
        registered(&server, &format!("tcp4@{domain}"), roads[1]);
    }
}

#[test]
fn each_domain_is_a_realm_of_its_own() {
    let server = server();
    let road = Road::v4(Transport::Tls);
    for (domain, other) in [(DOMAINS[0], DOMAINS[1]), (DOMAINS[1], DOMAINS[0])] {
        let add = server.user_command(&["add", &format!("alice@{domain}")], Some(&format!("of-{domain}")));
        assert!(add.status.success(), "{}", String::from_utf8_lossy(&add.stderr));
        let alice = device(&server, domain, domain, road);
        let realms = |answer: &Message| {
            let offered = challenges(answer);
            assert!(!offered.is_empty(), "{}", alice.ladder());
            offered.into_iter().map(|challenge| challenge.realm).collect::<Vec<_>>()
        };
        let register = alice.ask(alice.register_draft(None).unanswering());
        assert!(realms(&register).iter().all(|realm| realm == domain), "{register:?}");
        // To whomever it goes, a request is challenged in the realm of its sender.
        let message = alice.message(&format!("sip:alice@{other}"), "hello").unanswering();
        assert!(realms(&alice.ask(message)).iter().all(|realm| realm == domain));
    }
    // Two people with one name are two: neither has the other's password.
    for (domain, other) in [(DOMAINS[0], DOMAINS[1]), (DOMAINS[1], DOMAINS[0])] {
        let mine = device(&server, domain, domain, road);
        mine.register("");
        let thief = device(&server, other, domain, road);
        assert_eq!(thief.ask(thief.register_draft(None)).status(), Some(401));
        // Who has signed in here has not signed in there.
        let draft = mine.message(&mine.uri(), "stolen").from(format!("<sip:alice@{other}>;tag=1"));
        assert_eq!(mine.ask(draft).status(), Some(403));
    }
}

#[test]
fn a_third_domain_is_nobodys() {
    let server = server();
    server.add_user("alice@fabrikam.test");
    let refused = server.user_command(&["add", "mallory@elsewhere.test"], Some("mallory-secret"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("elsewhere.test"), "{said}");
    in_parallel(&[Transport::Udp, Transport::Tcp, Transport::Tls].map(Road::v4), |road| {
        let alice = registered(&server, "alice@fabrikam.test", *road);
        let stranger = server.device("mallory@elsewhere.test", *road);
        let contact = format!("<{}>", stranger.contact());
        assert_eq!(stranger.ask(stranger.register_draft(Some(contact))).status(), Some(403));
        assert_eq!(stranger.ask(stranger.message(&alice.uri(), "hello")).status(), Some(403));
        assert_eq!(alice.ask(alice.message("sip:mallory@elsewhere.test", "hello")).status(), Some(403));
        assert_eq!(alice.ask(alice.invite("sip:mallory@elsewhere.test")).status(), Some(403));
        alice.expect_none("MESSAGE");
    });
}

fn server() -> Server {
    Configuration::new(DOMAINS[0]).set("domains", &format!("{DOMAINS:?}")).serve()
}

/// The message with this text. Others may come before it: after the kill, one whose arrival was not yet on disk.
fn arrival(device: &Device, text: &str) -> Message {
    loop {
        let message = device.expect("MESSAGE");
        if message.body() == text.as_bytes() {
            return message;
        }
    }
}

fn registered(server: &Server, address: &str, road: Road) -> Device {
    let device = server.device(address, road);
    device.register("");
    device
}

/// A device of alice at `domain`, with the password of her of `whose`.
fn device(server: &Server, whose: &str, domain: &str, road: Road) -> Device {
    let account =
        Account { user: "alice".to_owned(), password: format!("of-{whose}"), domain: domain.to_owned() };
    Device::connect(account, road.transport, server.address(road), &server.ca())
}
