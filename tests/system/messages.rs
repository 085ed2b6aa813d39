//! Instant messages, over every transport.

use sip_message::{HeaderId, Message};
use system_tests::{Device, Draft, Road, Scene, Transport, on_each, on_every_road, unique};

#[test]
fn a_message_arrives_and_its_sender_is_told() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let text = "Grüße aus Zürich, 你好 🙂";
        let sent = alice.send(alice.message(&bob.uri(), text).header("X-Of-The-Sender", "kept"));
        let arrived = bob.expect("MESSAGE");
        assert!(!alice.has_final(sent), "200 means that a device took it");
        assert_eq!(arrived.body(), text.as_bytes());
        assert_eq!(arrived.content_type(), "text/plain");
        assert_eq!(arrived.from().expect("From").uri.as_str(), alice.uri());
        assert_eq!(arrived.header_named("X-Of-The-Sender"), Some(&b"kept"[..]));
        let asserted =
            String::from_utf8_lossy(arrived.header(HeaderId::PAssertedIdentity).expect("RFC 3325"));
        assert!(asserted.contains(&alice.uri()), "{asserted}");
        assert!(arrived.header(HeaderId::ProxyAuthorization).is_none(), "credentials are not for the device");
        bob.respond(&arrived, 200);
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_message_for_nobody_at_home_waits() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let texts = ["first", "second", "third"];
        for text in texts {
            assert_eq!(alice.ask(alice.message(&scene.uri("bob"), text)).status(), Some(202));
        }
        let bob = scene.registered("bob");
        for text in texts {
            let arrived = bob.expect_and_answer("MESSAGE", 200);
            assert_eq!(arrived.body(), text.as_bytes(), "oldest first");
            assert!(arrived.header(HeaderId::Date).is_some(), "a message that waited says since when");
        }
        bob.expect_none("MESSAGE");
        // It does not come again to the device that took it.
        bob.register("");
        bob.expect_none("MESSAGE");
    });
}

#[test]
fn a_message_reaches_every_device() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let phones = [scene.registered("bob"), scene.registered("bob")];
        let sent = alice.send(alice.message(&scene.uri("bob"), "to all"));
        for phone in &phones {
            assert_eq!(phone.expect_and_answer("MESSAGE", 200).body(), b"to all");
        }
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_refusal_of_every_device_reaches_the_sender() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let sent = alice.send(alice.message(&bob.uri(), "unwanted"));
        bob.expect_and_answer("MESSAGE", 415);
        assert_eq!(alice.answer(sent).status(), Some(415));
    });
}

#[test]
fn the_other_devices_of_the_sender_get_a_copy() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let tablet = scene.registered("alice");
        let sent = alice.send(alice.message(&bob.uri(), "from my phone"));
        bob.expect_and_answer("MESSAGE", 200);
        assert_eq!(alice.answer(sent).status(), Some(200));
        let copy = tablet.expect_and_answer("MESSAGE", 200);
        assert_eq!(copy.body(), b"from my phone");
        assert_eq!(copy.from().expect("From").uri.as_str(), alice.uri());
        assert_eq!(copy.to().expect("To").uri.as_str(), bob.uri(), "the copy says whom it was for");
        alice.expect_none("MESSAGE");
    });
}

#[test]
fn a_message_of_one_device_reaches_the_others_of_the_same_user() {
    on_every_road(|scene| {
        let (phone, tablet) = (scene.registered("alice"), scene.registered("alice"));
        let sent = phone.send(phone.message(&phone.uri(), "note to self"));
        assert_eq!(tablet.expect_and_answer("MESSAGE", 200).body(), b"note to self");
        phone.expect_and_answer("MESSAGE", 200);
        assert_eq!(phone.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_resend_is_recognised_by_call_id_and_cseq() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let call_id = unique();
        // A challenge of the first attempt costs a number.
        resent(&alice, &bob, |device| device.message(&bob.uri(), "once").identity(&call_id, 7));
    });
}

#[test]
fn a_resend_is_recognised_by_its_message_id() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let id = unique();
        resent(&alice, &bob, |device| {
            device.draft("MESSAGE", &bob.uri()).body("message/cpim", cpim(&id, "once"))
        });
    });
}

/// Sends the same message twice from one device and once more after it was answered.
fn resent(alice: &Device, bob: &Device, draft: impl Fn(&Device) -> Draft) {
    let first = alice.send(draft(alice));
    bob.expect_and_answer("MESSAGE", 200);
    assert_eq!(alice.answer(first).status(), Some(200));
    for _ in 0..2 {
        let again = alice.ask(draft(alice));
        assert!(matches!(again.status(), Some(200 | 202)), "{}", alice.ladder());
    }
    bob.expect_none("MESSAGE");
}

/// RFC 3261 §17.2.2: the answer that was lost is sent again, and nothing else happens.
#[test]
fn a_retransmission_gets_the_same_answer() {
    on_each(&[Road::v4(Transport::Udp)], |scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let sent = alice.send(alice.message(&bob.uri(), "once"));
        let arrived = bob.expect("MESSAGE");
        alice.send_again(sent);
        bob.respond(&arrived, 200);
        let answer = alice.answer(sent);
        assert_eq!(answer.status(), Some(200));
        alice.send_again(sent);
        assert_eq!(alice.answer(sent).bytes(), answer.bytes());
        bob.expect_none("MESSAGE");
    });
}

#[test]
fn cpim_passes_octet_for_octet() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let mut body = cpim(&unique(), "with a tail of every octet: ").into_bytes();
        body.extend(0..=255);
        // RFC 7118 §4.2: a binary body travels in a binary WebSocket message, which our device does not send.
        if scene.road.transport.is_websocket() {
            body.retain(u8::is_ascii);
        }
        let sent = alice.send(alice.draft("MESSAGE", &bob.uri()).body("message/cpim", &body));
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.content_type(), "message/cpim");
        assert_eq!(arrived.body(), body);
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

/// RFC 5438: a receipt is a message like any other.
#[test]
fn a_receipt_reaches_a_sender_who_was_away() {
    on_every_road(|scene| {
        let bob = scene.registered("bob");
        let receipt = "From: <im:bob@example.test>\r\nTo: <im:alice@example.test>\r\n\r\nContent-Type: message/imdn+xml\r\n\
                       Content-Disposition: notification\r\n\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"/>";
        let draft = bob.draft("MESSAGE", &scene.uri("alice")).body("message/cpim", receipt);
        assert_eq!(bob.ask(draft).status(), Some(202));
        let alice = scene.registered("alice");
        assert_eq!(alice.expect_and_answer("MESSAGE", 200).body(), receipt.as_bytes());
    });
}

/// RFC 3994: that somebody types is old by the time that anybody could read it later.
#[test]
fn typing_is_carried_and_never_kept() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let typing = |to: &str| {
            alice
                .draft("MESSAGE", to)
                .body("application/im-iscomposing+xml", "<isComposing><state>active</state></isComposing>")
        };
        assert_eq!(alice.ask(typing(&scene.uri("bob"))).status(), Some(480));
        let bob = scene.registered("bob");
        bob.expect_none("MESSAGE");
        let sent = alice.send(typing(&bob.uri()));
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.content_type(), "application/im-iscomposing+xml");
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_message_to_an_unknown_user_or_domain_is_answered() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let status = |uri: &str| alice.ask(alice.message(uri, "hello")).status();
        assert_eq!(status("sip:nobody@example.test"), Some(404));
        assert_eq!(status("sip:bob@elsewhere.example"), Some(403));
        assert_eq!(status("mailto:bob@example.test"), Some(416));
    });
}

#[test]
fn a_long_message_arrives_whole() {
    // A datagram of this length is above any path's, but not above loopback's.
    const OCTETS: usize = 40_000;
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let text = "0123456789".repeat(OCTETS / 10);
        let sent = alice.send(alice.message(&bob.uri(), &text));
        assert_eq!(bob.expect_and_answer("MESSAGE", 200).body(), text.as_bytes());
        assert_eq!(alice.answer(sent).status(), Some(200));
    });
}

#[test]
fn messages_cross_between_transports() {
    on_each(&[Road::v4(Transport::Tcp)], |scene| {
        let devices: Vec<Device> = Road::ALL.iter().map(|road| scene.device_on("bob", *road)).collect();
        for device in &devices {
            device.register("");
        }
        for (at, road) in Road::ALL.into_iter().enumerate() {
            let text = format!("over {road}");
            let alice = registered_on(scene, road);
            let sent = alice.send(alice.message(&scene.uri("bob"), &text));
            for device in &devices {
                let arrived = device.expect_and_answer("MESSAGE", 200);
                assert_eq!(arrived.body(), text.as_bytes(), "{road} to {}", Road::ALL[at]);
            }
            assert_eq!(alice.answer(sent).status(), Some(200), "{road}");
            alice.unregister();
        }
    });
}

fn registered_on(scene: &Scene<'_>, road: Road) -> Device {
    let device = scene.device_on("alice", road);
    device.register("");
    device
}

/// Pipelined requests are answered one for one, whatever their number.
#[test]
fn many_messages_at_once_arrive_in_order() {
    const MESSAGES: usize = 60;
    on_each(&[Road::v4(Transport::Tcp), Road::v4(Transport::Wss)], |scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let sent: Vec<_> =
            (0..MESSAGES).map(|number| alice.send(alice.message(&bob.uri(), &number.to_string()))).collect();
        let bodies: Vec<Message> = (0..MESSAGES).map(|_| bob.expect_and_answer("MESSAGE", 200)).collect();
        let numbers: Vec<usize> = bodies
            .iter()
            .map(|message| String::from_utf8_lossy(message.body()).parse().expect("a number"))
            .collect();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
        for transaction in sent {
            assert_eq!(alice.answer(transaction).status(), Some(200));
        }
    });
}

/// A CPIM message (RFC 3862) with an IMDN Message-ID (RFC 5438 §6.3).
pub(crate) fn cpim(id: &str, text: &str) -> String {
    format!(
        "From: <im:alice@example.test>\r\nTo: <im:bob@example.test>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: {id}\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain\r\n\r\n{text}"
    )
}
