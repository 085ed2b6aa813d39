//! Calls whose devices go away: the others go on, and nobody waits for who is not there any more.

use std::time::{Duration, Instant};

use system_tests::{Device, Road, Server, Transport, eventually};

use crate::calls::{established, hang_up};
use crate::calls_features::{
    call, device, done, line, page, rung, rung_beside, server, stopped, taken, until_log,
};

/// Far below the three minutes of a call that rings and rings (RFC 3261 §16.6, timer C).
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

fn on(server: &Server, name: &str, transport: Transport) -> Device {
    let device = server.device(name, Road::v4(transport));
    device.register("");
    device
}

#[test]
fn who_goes_while_it_rings_leaves_the_call_to_the_others() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Wss] {
        let server = server();
        let alice = device(&server, "alice");
        let (mut going, staying) = (on(&server, "bob", transport), on(&server, "bob", transport));
        let ringing = alice.send(alice.invite(&staying.uri()));
        let (_, at_staying) = (rung_beside(&going), rung_beside(&staying));
        alice.provisional(ringing, 180);
        going.crash();
        let (mut dialog, _) = taken(&alice, ringing, &staying, &at_staying);
        hang_up(&alice, &mut dialog, &staying);
        // Whether the other one, which is alike, is registered still when this one answers, decides if the port is told: a contact
        // that can be connected to outlives its connection, until a connection to it fails.
        let port = format!(" port {}", staying.local().port());
        let calls = eventually("a call in the log", || {
            let (calls, _) = page(&server, "bob@example.test");
            (!calls.is_empty()).then(|| calls.iter().map(line).collect::<Vec<_>>())
        });
        assert_eq!(calls.len(), 1, "{calls:?}");
        let shown = calls[0].strip_suffix(&port).unwrap_or(&calls[0]);
        assert_eq!(shown, "received alice answered system-tests (127.0.0.1)");
    }
}

#[test]
fn a_call_ends_or_goes_on_when_the_last_device_that_rings_is_gone() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Wss] {
        let server = server();
        let [alice, dave] = ["alice", "dave"].map(|name| device(&server, name));
        let mut bob = on(&server, "bob", transport);
        let ringing = alice.send(alice.invite(&bob.uri()));
        rung(&alice, ringing, &bob);
        let began = Instant::now();
        bob.crash();
        let status = alice.answer(ringing).status();
        assert!(matches!(status, Some(408 | 410 | 430 | 480 | 500 | 503)), "{transport:?}: {status:?}");
        assert!(began.elapsed() < NOTICED_WITHIN, "{transport:?}: after {:?}", began.elapsed());
        until_log(&server, "bob", &["received alice missed"]);

        // Where calls go that find nobody, this one goes too.
        done(&server, "forward set bob@example.test --unregistered dave@example.test");
        let mut bob = on(&server, "bob", transport);
        let ringing = alice.send(alice.invite(&bob.uri()));
        rung(&alice, ringing, &bob);
        bob.crash();
        let invite = rung(&alice, ringing, &dave);
        let (mut dialog, _) = taken(&alice, ringing, &dave, &invite);
        hang_up(&alice, &mut dialog, &dave);
        until_log(&server, "bob", &["received alice forwarded dave", "received alice missed"]);
    }
}

#[test]
fn who_unregisters_or_is_disabled_while_it_rings_does_not_hold_the_call_up() {
    let server = server();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| device(&server, name));
    // A device may answer what it was asked before it left.
    let ringing = alice.send(alice.invite(&bob.uri()));
    let invite = rung(&alice, ringing, &bob);
    bob.unregister();
    let (mut dialog, _) = taken(&alice, ringing, &bob, &invite);
    hang_up(&alice, &mut dialog, &bob);
    until_log(&server, "alice", &["made bob answered bob"]);

    // Who is disabled loses the connection with everything on it.
    let ringing = carol.send(carol.invite(&alice.uri()));
    rung(&carol, ringing, &alice);
    done(&server, "user disable alice@example.test");
    alice.closed();
    let status = carol.answer(ringing).status();
    assert!(status.is_some_and(|status| status >= 400), "{status:?}");
    // And nobody is forwarded there.
    bob.register("");
    done(&server, "forward set bob@example.test --always carol@example.test");
    done(&server, "user disable carol@example.test");
    carol.closed();
    let dave = device(&server, "dave");
    assert_eq!(dave.ask(dave.invite(&bob.uri())).status(), Some(404));
    bob.expect_none("INVITE");
}

/// The one who called: the other end of an established call is told by nobody, and hangs up.
#[test]
fn a_call_outlives_the_connection_of_one_end() {
    let server = server();
    let (mut alice, bob) = (device(&server, "alice"), device(&server, "bob"));
    let (_, mut callee) = established(&alice, &bob);
    alice.crash();
    let bye = bob.send(callee.request("BYE"));
    let status = bob.answer(bye).status();
    assert!(status.is_some_and(|status| status >= 400), "nobody is there: {status:?}");
    until_log(&server, "bob", &["received alice answered system-tests (127.0.0.1)"]);
    // Both are free.
    let alice = device(&server, "alice");
    done(&server, "forward set bob@example.test --busy-on-busy yes");
    let (mut dialog, _) = call(&alice, &bob.uri(), &bob);
    hang_up(&alice, &mut dialog, &bob);
}

#[test]
fn a_caller_who_gives_up_stops_those_it_was_forwarded_to() {
    let server = server();
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| device(&server, name));
    done(&server, "forward set bob@example.test --busy carol@example.test --ring-also dave@example.test");
    let ringing = alice.send(alice.invite(&bob.uri()));
    let at_dave = rung_beside(&dave);
    // One of them is busy; the other still rings.
    bob.expect_and_answer("INVITE", 486);
    carol.expect_none("INVITE");
    dave.respond(&at_dave, 486);
    let at_carol = rung(&alice, ringing, &carol);
    assert_eq!(alice.cancel(ringing).status(), Some(200));
    stopped(&carol, &at_carol);
    assert_eq!(alice.answer(ringing).status(), Some(487));
    until_log(&server, "carol", &["received alice missed"]);
    until_log(&server, "bob", &["received alice forwarded"]);
}
