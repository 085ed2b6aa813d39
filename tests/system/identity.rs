//! A From is what the sender proved, on every method and every transport.

use system_tests::{Device, Dialog, Draft, on_every_road};

use crate::calls::{established, hang_up};

/// Everything that a device may ask for outside of a dialog, and what nobody knows. (ACK and CANCEL are not answered
/// with a challenge, RFC 3261 §22.1; they have tests of their own.)
const METHODS: [&str; 13] = [
    "REGISTER",
    "INVITE",
    "MESSAGE",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "REFER",
    "INFO",
    "UPDATE",
    "PRACK",
    "BYE",
    "NOSUCHMETHOD",
];

#[test]
fn nothing_passes_from_a_stranger() {
    on_every_road(|scene| {
        let bob = scene.registered("bob");
        let stranger = scene.device("alice");
        for method in METHODS {
            let answer = stranger.ask(outside(&stranger, method, &bob.uri()).unanswering());
            let expected = if method == "REGISTER" { 401 } else { 407 };
            let refused = matches!(answer.status(), Some(status) if status == expected || status == 403 || status == 481);
            assert!(refused, "{method}: {:?}", answer.status());
            bob.expect_none(method);
        }
    });
}

#[test]
fn nothing_passes_under_a_stolen_from() {
    on_every_road(|scene| {
        let bob = scene.registered("bob");
        let thief = scene.registered("carol");
        for method in METHODS {
            // Signed in as carol, and says that it is alice.
            let from = format!("\"Alice\" <{}>;tag={}", scene.uri("alice"), thief.tag());
            let mut draft = outside(&thief, method, &bob.uri()).from(from);
            if method == "REGISTER" {
                draft = draft.to(format!("<{}>", scene.uri("alice")));
            }
            let answer = thief.ask(draft);
            assert_eq!(answer.status(), Some(403), "{method}: {}", thief.ladder());
            bob.expect_none(method);
        }
        // Nor under a name of another organisation, or of none.
        for from in ["sip:alice@elsewhere.example", "tel:+15551234", "sip:example.test"] {
            let answer = thief.ask(thief.message(&bob.uri(), "stolen").from(format!("<{from}>;tag=1")));
            assert!(matches!(answer.status(), Some(400 | 403)), "{from}: {:?}", answer.status());
        }
        bob.expect_none("MESSAGE");
        let alice = scene.device("alice");
        let mine = alice.ask(alice.register_draft(None));
        assert_eq!(mine.contacts().map(|contacts| format!("{contacts:?}")).ok().as_deref(), Some("List([])"));
    });
}

#[test]
fn a_user_cannot_register_another() {
    on_every_road(|scene| {
        let thief = scene.registered("carol");
        let contact = format!("<{}>", thief.contact());
        // From is true, To is not.
        let draft = thief.register_draft(Some(contact)).to(format!("<{}>", scene.uri("alice")));
        assert_eq!(thief.ask(draft).status(), Some(403));
    });
}

#[test]
fn an_asserted_identity_from_outside_is_not_believed() {
    on_every_road(|scene| {
        let (carol, bob) = (scene.registered("carol"), scene.registered("bob"));
        let forged = carol
            .message(&bob.uri(), "believe me")
            .header("P-Asserted-Identity", format!("<{}>", scene.uri("alice")))
            .header("Chancery-Origin", "remote;domain=elsewhere.example")
            .header("Chancery-Member", "elsewhere.example");
        let sent = carol.send(forged);
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        let asserted: Vec<String> = arrived
            .headers()
            .filter(|header| header.name.eq_ignore_ascii_case(b"P-Asserted-Identity"))
            .map(|header| String::from_utf8_lossy(header.value).into_owned())
            .collect();
        assert_eq!(asserted, [format!("<{}>", carol.uri())]);
        assert!(
            arrived.header_named("Chancery-Origin").is_none()
                && arrived.header_named("Chancery-Member").is_none()
        );
        assert_eq!(carol.answer(sent).status(), Some(200));
    });
}

#[test]
fn a_stranger_cannot_end_or_enter_a_call() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let (mut caller, _) = established(&alice, &bob);
        let stranger = scene.device("carol");
        for method in ["BYE", "INVITE", "UPDATE", "INFO", "REFER"] {
            // With everything but the flow: the routes, the tags and the Call-ID, as one who listened would have.
            let stolen = caller.clone().request(method).unanswering();
            let answer = stranger.ask(with_contact(stolen, &stranger));
            assert!(answer.status().is_some_and(|status| status >= 400), "{method}: {:?}", answer.status());
            // With a guessed route.
            let mut guessed = caller.clone();
            for route in &mut guessed.routes {
                *route = forged_route(route);
            }
            let answer = stranger.ask(with_contact(guessed.request(method).unanswering(), &stranger));
            assert!(answer.status().is_some_and(|status| status >= 400), "{method}: {:?}", answer.status());
            // With none.
            let mut direct = Dialog::forged(&alice.uri(), &bob.uri(), &bob.uri());
            direct.call_id.clone_from(&caller.call_id);
            let answer = stranger.ask(with_contact(direct.request(method).unanswering(), &stranger));
            assert!(answer.status().is_some_and(|status| status >= 400), "{method}: {:?}", answer.status());
            bob.expect_none(method);
        }
        // An ACK is never answered, so that only bob can tell.
        stranger.send(caller.ack(77));
        bob.expect_none("ACK");
        hang_up(&alice, &mut caller, &bob);
    });
}

#[test]
fn a_party_cannot_speak_in_the_name_of_the_other() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let (mut caller, _) = established(&alice, &bob);
        let mut lie = caller.clone();
        lie.local = format!("<{}>;tag=1", scene.uri("carol"));
        let answer = alice.ask(lie.request("INFO"));
        assert_eq!(answer.status(), Some(403), "{}", alice.ladder());
        bob.expect_none("INFO");
        hang_up(&alice, &mut caller, &bob);
    });
}

/// A CANCEL is not challenged; it must match a transaction, hop by hop (RFC 3261 §9.2).
#[test]
fn a_stranger_cannot_cancel_a_call() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let call = alice.send(alice.invite(&bob.uri()));
        let invite = bob.expect("INVITE");
        bob.respond(&invite, 180);
        alice.provisional(call, 180);
        let stranger = scene.device("carol");
        let cancel = stranger.draft("CANCEL", &bob.uri()).identity(invite.call_id().expect("Call-ID"), 2);
        let answer =
            stranger.ask(cancel.from(format!("<{}>;tag={}", alice.uri(), alice.tag())).unanswering());
        assert_eq!(answer.status(), Some(481));
        bob.expect_none("CANCEL");
        bob.respond(&invite, 486);
        assert_eq!(alice.answer(call).status(), Some(486));
    });
}

/// A server that routes for whoever asks would hide who attacks others.
#[test]
fn nobody_is_routed_elsewhere() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        for uri in
            ["sip:victim@127.0.0.1:9", "sip:victim@[::1]:9", "sip:victim@elsewhere.example;transport=tcp"]
        {
            let answer = alice.ask(alice.message(uri, "relayed"));
            assert!(matches!(answer.status(), Some(403 | 404)), "{uri}: {:?}", answer.status());
        }
        let routed = alice.message(&scene.uri("bob"), "relayed").header("Route", "<sip:127.0.0.1:9;lr>");
        let status = alice.ask(routed).status();
        assert!(status.is_some_and(|status| status >= 400), "a Route to somebody else: {status:?}");
    });
}

fn outside(device: &Device, method: &str, uri: &str) -> Draft {
    let draft = match method {
        "REGISTER" => device.register_draft(None),
        _ => device.draft(method, uri),
    };
    let draft = with_contact(draft, device);
    match method {
        "SUBSCRIBE" | "NOTIFY" => draft.header("Event", "presence").header("Subscription-State", "active"),
        "PUBLISH" => draft.header("Event", "presence").body("application/pidf+xml", "<presence/>"),
        "REFER" => draft.header("Refer-To", "<sip:carol@example.test>"),
        "PRACK" => draft.header("RAck", "1 1 INVITE"),
        "MESSAGE" => draft.body("text/plain", "hello"),
        _ => draft,
    }
}

fn with_contact(draft: Draft, device: &Device) -> Draft {
    draft.header("Contact", format!("<{}>", device.contact()))
}

/// The route with another token in it.
fn forged_route(route: &str) -> String {
    let (head, tail) = route.split_once("sip:").expect("a SIP URI");
    let user_end = tail.find(['@', ';', '>', ':']).expect("an end");
    let changed: String = tail[..user_end].chars().rev().collect();
    format!("{head}sip:{changed}{}", &tail[user_end..])
}
