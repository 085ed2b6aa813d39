//! Registering, over every transport and both versions of IP.

use sip_message::{HeaderId, Message};
use system_tests::{Device, contacts, on_every_road};

#[test]
fn a_device_registers_is_listed_and_unregisters() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let answer = alice.register(";expires=600");
        assert_eq!(expires(&answer, &alice), Some(600));
        let listed = alice.ask(alice.register_draft(None));
        assert_eq!(contacts(&listed).len(), 1);
        assert!(expires(&listed, &alice).is_some_and(|seconds| seconds > 590));
        assert_eq!(contacts(&alice.unregister()), [] as [String; 0]);
        assert_eq!(contacts(&alice.ask(alice.register_draft(None))), [] as [String; 0]);
    });
}

#[test]
fn two_devices_stand_beside_each_other_with_their_q_values() {
    on_every_road(|scene| {
        let (first, second) = (scene.device("alice"), scene.device("alice"));
        first.register(";q=0.9");
        let both = contacts(&second.register(";q=0.25"));
        assert_eq!(both.len(), 2, "{both:?}");
        let of = |device: &Device| {
            both.iter().find(|contact| contact.contains(device.contact())).expect("it is listed").as_str()
        };
        assert!(of(&first).contains("q=0.9") && of(&second).contains("q=0.25"), "{both:?}");
        // One goes; the other stays.
        first.unregister();
        let left = contacts(&second.ask(second.register_draft(None)));
        assert!(left.len() == 1 && left[0].contains(second.contact()), "{left:?}");
    });
}

#[test]
fn all_devices_are_unregistered_at_once() {
    on_every_road(|scene| {
        let (first, second) = (scene.registered("alice"), scene.registered("alice"));
        let wildcard = |expires: &str| first.register_draft(Some("*".to_owned())).header("Expires", expires);
        assert_eq!(
            first.ask(wildcard("3600")).status(),
            Some(400),
            "RFC 3261 §10.2.2 wants Expires: 0 with *"
        );
        assert_eq!(first.ask(wildcard("0")).status(), Some(200));
        assert_eq!(contacts(&second.ask(second.register_draft(None))), [] as [String; 0]);
    });
}

#[test]
fn too_brief_an_interval_is_refused_with_the_least() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let brief = alice.register_draft(Some(format!("<{}>;expires=5", alice.contact())));
        let answer = alice.ask(brief);
        assert_eq!(answer.status(), Some(423));
        let least = answer.number(HeaderId::MinExpires).expect("a number").expect("Min-Expires");
        let again = alice.register(&format!(";expires={least}"));
        assert_eq!(expires(&again, &alice), Some(least));
        // Too much is cut, not refused.
        let much = alice.register(";expires=4294967295");
        assert!(expires(&much, &alice).is_some_and(|seconds| seconds < 1_000_000));
    });
}

#[test]
fn an_older_cseq_of_the_same_call_changes_nothing() {
    on_every_road(|scene| {
        let alice = scene.device("alice");
        let register = |cseq, expires| {
            let contact = format!("<{}>;expires={expires}", alice.contact());
            alice.ask(alice.register_draft(Some(contact)).identity(&format!("of-{}", alice.tag()), cseq))
        };
        assert_eq!(register(10, 600).status(), Some(200));
        // RFC 3261 §10.3 step 7: it was overtaken, and fails. 500 lets the client try again with a higher one.
        let overtaken = register(1, 0);
        assert_eq!(overtaken.status(), Some(500), "{}", alice.ladder());
        assert_eq!(contacts(&alice.ask(alice.register_draft(None))).len(), 1);
    });
}

#[test]
fn the_answer_has_a_service_route_that_works() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.device("alice"), scene.registered("bob"));
        let answer = alice.register("");
        let routes: Vec<String> = answer.elements(HeaderId::ServiceRoute).map(text).collect();
        assert!(!routes.is_empty(), "RFC 3608: {}", alice.ladder());
        let mut message = alice.message(&bob.uri(), "by the service route");
        for route in routes {
            message = message.header("Route", route);
        }
        let sent = alice.send(message);
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), b"by the service route");
        assert_eq!(arrived.header(HeaderId::Route), None, "a route of the server's is not for the device");
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_gruu_reaches_its_device_and_no_other() {
    on_every_road(|scene| {
        let (one, other, bob) = (scene.device("alice"), scene.device("alice"), scene.registered("bob"));
        other.register("");
        let answer = one.register(&format!(";+sip.instance=\"<{}>\"", one.instance()));
        let own =
            contacts(&answer).into_iter().find(|contact| contact.contains(one.contact())).expect("its own");
        for kind in ["pub-gruu=\"", "temp-gruu=\""] {
            let from = own.find(kind).unwrap_or_else(|| panic!("no {kind} in {own}")) + kind.len();
            let gruu = &own[from..from + own[from..].find('"').expect("quoted")];
            let call = bob.send(bob.draft("INFO", gruu));
            let arrived = one.expect_and_answer("INFO", 200);
            // RFC 5627 §5.1: the device can tell which of its URIs was called by its contact.
            assert!(arrived.request_uri_text().contains(one.contact()), "{}", arrived.request_uri_text());
            assert_eq!(bob.answer(call).status(), Some(200));
            other.expect_none("INFO");
        }
    });
}

#[test]
fn watchers_of_registrations_are_told_of_each_change() {
    on_every_road(|scene| {
        let watcher = scene.registered("alice");
        let subscribe = watcher
            .draft("SUBSCRIBE", &watcher.uri())
            .header("Event", "reg")
            .header("Accept", "application/reginfo+xml")
            .header("Contact", format!("<{}>", watcher.contact()))
            .header("Expires", "600");
        let answer = watcher.ask(subscribe);
        assert_eq!(answer.status(), Some(200), "{}", watcher.ladder());
        let first = text(watcher.expect_and_answer("NOTIFY", 200).body());
        assert!(first.contains("reginfo") && first.contains(watcher.contact()), "{first}");
        let device = scene.registered("alice");
        let second = text(watcher.expect_and_answer("NOTIFY", 200).body());
        assert!(second.contains(device.contact()), "{second}");
        device.unregister();
        let third = text(watcher.expect_and_answer("NOTIFY", 200).body());
        assert!(third.contains("state=\"full\"") && !third.contains(device.contact()), "{third}");
        // Nobody else may watch: registrations say where somebody is.
        let bob = scene.registered("bob");
        let spy = bob
            .draft("SUBSCRIBE", &watcher.uri())
            .header("Event", "reg")
            .header("Contact", format!("<{}>", bob.contact()));
        assert_eq!(bob.ask(spy).status(), Some(403));
        let unknown = bob.draft("SUBSCRIBE", &bob.uri()).header("Event", "no-such-package");
        assert_eq!(bob.ask(unknown.header("Contact", format!("<{}>", bob.contact()))).status(), Some(489));
    });
}

fn expires(answer: &Message, device: &Device) -> Option<u32> {
    let listed = contacts(answer).into_iter().find(|contact| contact.contains(device.contact()))?;
    listed.split(';').find_map(|parameter| parameter.strip_prefix("expires="))?.parse().ok()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
