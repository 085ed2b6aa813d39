//! Calls through the proxy, over every transport and between them.

use sip_message::{HeaderId, Message};
use system_tests::{
    Answer, Device, Dialog, Incoming, Link, PATIENCE, Road, Scene, Transport, challenges, on_each,
    on_every_road, sdp, unique,
};

#[test]
fn a_call_from_invite_to_bye_of_the_caller() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let (mut caller, _) = established(&alice, &bob);
        hang_up(&alice, &mut caller, &bob);
    });
}

#[test]
fn a_call_that_the_callee_ends() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let (_, mut callee) = established(&alice, &bob);
        hang_up(&bob, &mut callee, &alice);
    });
}

#[test]
fn every_transport_calls_every_other() {
    on_each(&[Road::v4(Transport::Tcp)], |scene| {
        for from in Transport::ALL {
            for (to, family) in
                [(Transport::Udp, 0), (Transport::Tcp, 1), (Transport::Tls, 0), (Transport::Wss, 1)]
            {
                // From IPv4 to both.
                let to = Road::ALL.into_iter().filter(|road| road.transport == to).nth(family).expect("two");
                let alice = registered_on(scene, "alice", Road::v4(from));
                let bob = registered_on(scene, "bob", to);
                let (mut caller, mut callee) = established(&alice, &bob);
                // Both ends speak within the dialog before it ends.
                let info = bob.send(callee.request("INFO"));
                alice.expect_and_answer("INFO", 200);
                assert_eq!(bob.answer(info).status(), Some(200), "{} to {to}", from.name());
                hang_up(&alice, &mut caller, &bob);
                alice.unregister();
                bob.unregister();
            }
        }
    });
}

#[test]
fn the_first_device_to_answer_wins_and_the_others_are_cancelled() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let phones = [scene.registered("bob"), scene.registered("bob"), scene.registered("bob")];
        let call = alice.send(alice.invite(&scene.uri("bob")));
        let invites: Vec<_> = phones.iter().map(|phone| phone.expect("INVITE")).collect();
        for (phone, invite) in phones.iter().zip(&invites) {
            phone.respond(invite, 180);
        }
        alice.provisional(call, 180);
        phones[1].respond_with(&invites[1], 200, |answer| {
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let mut dialog = alice.confirm(&alice.answer(call));
        phones[1].expect("ACK");
        for loser in [0, 2] {
            let cancel = phones[loser].expect_and_answer("CANCEL", 200);
            let reason =
                String::from_utf8_lossy(cancel.header(HeaderId::Reason).expect("RFC 3326")).into_owned();
            assert!(reason.contains("cause=200"), "{reason}");
            phones[loser].respond(&invites[loser], 487);
            phones[loser].expect("ACK");
        }
        hang_up(&alice, &mut dialog, &phones[1]);
    });
}

#[test]
fn devices_are_called_in_the_order_of_their_q_values() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let (desk, mobile) = (scene.device("bob"), scene.device("bob"));
        desk.register(";q=1.0");
        mobile.register(";q=0.5");
        let call = alice.send(alice.invite(&scene.uri("bob")));
        let invite = desk.expect("INVITE");
        mobile.expect_none("INVITE");
        desk.respond(&invite, 480);
        let invite = mobile.expect("INVITE");
        mobile.respond_with(&invite, 200, |answer| {
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let mut dialog = alice.confirm(&alice.answer(call));
        mobile.expect("ACK");
        hang_up(&alice, &mut dialog, &mobile);
    });
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing_everywhere() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let phones = [scene.registered("bob"), scene.registered("bob")];
        let call = alice.send(alice.invite(&scene.uri("bob")));
        let invites: Vec<_> = phones.iter().map(|phone| phone.expect("INVITE")).collect();
        for (phone, invite) in phones.iter().zip(&invites) {
            phone.respond(invite, 180);
        }
        alice.provisional(call, 180);
        assert_eq!(alice.cancel(call).status(), Some(200));
        for (phone, invite) in phones.iter().zip(&invites) {
            phone.expect_and_answer("CANCEL", 200);
            phone.respond(invite, 487);
        }
        assert_eq!(alice.answer(call).status(), Some(487));
    });
}

#[test]
fn the_best_refusal_of_all_devices_reaches_the_caller() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let phones = [scene.registered("bob"), scene.registered("bob")];
        let call = alice.send(alice.invite(&scene.uri("bob")));
        for (phone, status) in phones.iter().zip([486, 404]) {
            phone.expect_and_answer("INVITE", status);
        }
        let status = alice.answer(call).status();
        assert!(matches!(status, Some(404 | 486)), "{status:?}");
        // RFC 3261 §16.7 step 5: 6xx ends the search at once.
        let call = alice.send(alice.invite(&scene.uri("bob")));
        let ringing = phones[1].expect("INVITE");
        phones[1].respond(&ringing, 180);
        alice.provisional(call, 180);
        phones[0].expect_and_answer("INVITE", 603);
        phones[1].expect_and_answer("CANCEL", 200);
        phones[1].respond(&ringing, 487);
        assert_eq!(alice.answer(call).status(), Some(603));
    });
}

#[test]
fn nobody_at_home_and_nobody_of_that_name() {
    on_every_road(|scene| {
        let alice = scene.registered("alice");
        let status = |uri: &str| alice.ask(alice.invite(uri)).status();
        assert_eq!(status(&scene.uri("bob")), Some(480));
        assert_eq!(status("sip:nobody@example.test"), Some(404));
        assert_eq!(status("sip:bob@elsewhere.example"), Some(403));
    });
}

#[test]
fn early_media_reliable_responses_updates_and_hold_pass() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let timer = "1800;refresher=uac";
        let invite = alice.invite(&bob.uri()).header("Session-Expires", timer).header("Min-SE", "90");
        let call = alice.send(invite);
        let invite = bob.expect("INVITE");
        assert_eq!(invite.header(HeaderId::SessionExpires), Some(timer.as_bytes()), "RFC 4028");
        assert_eq!(invite.header(HeaderId::MinSe), Some(&b"90"[..]));
        bob.respond_with(&invite, 183, |answer| {
            answer.header(HeaderId::Require, "100rel").header(HeaderId::RSeq, "17");
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let early = alice.provisional(call, 183);
        assert_eq!(early.header(HeaderId::RSeq), Some(&b"17"[..]), "RFC 3262");
        assert!(!early.body().is_empty());

        let mut caller = Dialog::of_caller(&early);
        let invite_cseq = caller.cseq;
        let prack = alice.send(caller.request("PRACK").header("RAck", format!("17 {invite_cseq} INVITE")));
        bob.expect_and_answer("PRACK", 200);
        assert_eq!(alice.answer(prack).status(), Some(200));
        // Within the early dialog (RFC 3311).
        let update = alice.send(caller.request("UPDATE").header("Contact", format!("<{}>", alice.contact())));
        bob.expect_and_answer("UPDATE", 200);
        assert_eq!(alice.answer(update).status(), Some(200));

        bob.respond_with(&invite, 200, |answer| {
            answer.header(HeaderId::SessionExpires, timer).header(HeaderId::Require, "timer");
        });
        let answer = alice.answer(call);
        assert_eq!(answer.header(HeaderId::SessionExpires), Some(timer.as_bytes()));
        alice.confirm(&answer);
        bob.expect("ACK");

        // Each side puts the other on hold.
        let mut callee = bob.dialog(&invite);
        for (holder, dialog, other) in [(&alice, &mut caller, &bob), (&bob, &mut callee, &alice)] {
            let hold = dialog.request("INVITE").header("Contact", format!("<{}>", holder.contact()));
            let hold = holder.send(hold.body("application/sdp", sdp("sendonly")));
            let arrived = other.expect("INVITE");
            assert!(String::from_utf8_lossy(arrived.body()).contains("sendonly"));
            other.respond_with(&arrived, 200, |answer| {
                answer.body("application/sdp", sdp("recvonly").as_bytes());
            });
            let answer = holder.answer(hold);
            assert_eq!(answer.status(), Some(200), "{}", holder.ladder());
            holder.send(dialog.ack(answer.cseq().expect("CSeq").number));
            other.expect("ACK");
        }
        hang_up(&alice, &mut caller, &bob);
    });
}

#[test]
fn a_call_survives_the_end_of_the_registration() {
    on_every_road(|scene| {
        let (alice, bob) = (scene.registered("alice"), scene.registered("bob"));
        let (mut caller, _) = established(&alice, &bob);
        bob.unregister();
        hang_up(&alice, &mut caller, &bob);
    });
}

/// RFC 3261 §17.2.3: a client of RFC 2543's time has no branch of ours, and its transactions are told apart by other headers.
#[test]
fn a_client_older_than_the_branch_rule_can_call() {
    on_each(&[Road::v4(Transport::Udp), Road::v4(Transport::Tcp)], |scene| {
        let (alice, bob) = (scene.account("alice"), scene.registered("bob"));
        let address = scene.server.address(scene.road);
        let (link, mut reader) =
            Link::open(scene.road.transport, address, &scene.server.ca()).expect("the server accepts");
        let mut receive = || loop {
            match reader.receive_within(PATIENCE).expect("SIP") {
                Some(Incoming::Message(octets)) => {
                    let message = Message::parse(octets).expect("it parses");
                    if message.status() != Some(100) {
                        return message;
                    }
                }
                other => panic!("no answer but {other:?}"),
            }
        };
        let via = format!("SIP/2.0/{} {};rport", scene.road.transport.via(), link.local());
        let call_id = unique();
        let request = |method: &str, cseq: u32, to: &str, credentials: Option<&str>| {
            let credentials =
                credentials.map_or(String::new(), |value| format!("Proxy-Authorization: {value}\r\n"));
            let (from, bob, contact) = (alice.uri(), bob.uri(), link.local());
            let text = format!(
                "{method} {bob} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <{from}>;tag=old\r\nTo: {to}\r\n\
                 Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@{contact}>\r\n{credentials}\
                 Content-Length: 0\r\n\r\n"
            );
            link.send(text.as_bytes()).expect("it is sent");
        };
        let to = format!("<{}>", bob.uri());
        let to_of = |message: &Message| {
            String::from_utf8_lossy(message.header(HeaderId::To).expect("To")).into_owned()
        };
        request("INVITE", 1, &to, None);
        let refusal = receive();
        assert_eq!(refusal.status(), Some(407));
        request("ACK", 1, &to_of(&refusal), None);
        let offered = challenges(&refusal);
        let answer = Answer {
            challenge: &offered[0],
            user: &alice.user,
            password: &alice.password,
            method: "INVITE",
            uri: &bob.uri(),
            nc: 1,
        };
        let credentials = answer.value();
        request("INVITE", 2, &to, Some(&credentials));
        let invite = bob.expect("INVITE");
        // Sent again, as over UDP: it is the same transaction.
        request("INVITE", 2, &to, Some(&credentials));
        bob.respond(&invite, 180);
        assert_eq!(receive().status(), Some(180));
        request("CANCEL", 2, &to, None);
        bob.expect_and_answer("CANCEL", 200);
        bob.respond(&invite, 487);
        let mut statuses = [receive(), receive()].map(|message| message.status());
        statuses.sort();
        assert_eq!(statuses, [Some(200), Some(487)]);
        bob.expect_none("INVITE");
    });
}

/// Alice calls, bob rings and answers, the ACK arrives.
pub(crate) fn established(alice: &Device, bob: &Device) -> (Dialog, Dialog) {
    let call = alice.send(alice.invite(&bob.uri()));
    let invite = bob.expect("INVITE");
    assert_eq!(invite.from().expect("From").uri.as_str(), alice.uri());
    assert!(invite.header(HeaderId::RecordRoute).is_some(), "what follows must come by us");
    bob.respond(&invite, 180);
    alice.provisional(call, 180);
    bob.respond_with(&invite, 200, |answer| {
        answer.body("application/sdp", sdp("sendrecv").as_bytes());
    });
    let answer = alice.answer(call);
    assert_eq!(answer.body(), sdp("sendrecv").as_bytes());
    let dialog = alice.confirm(&answer);
    bob.expect("ACK");
    (dialog, bob.dialog(&invite))
}

pub(crate) fn hang_up(device: &Device, dialog: &mut Dialog, other: &Device) {
    let bye = device.send(dialog.request("BYE"));
    other.expect_and_answer("BYE", 200);
    assert_eq!(device.answer(bye).status(), Some(200));
}

fn registered_on(scene: &Scene<'_>, name: &str, road: Road) -> Device {
    let device = scene.device_on(name, road);
    device.register("");
    device
}
