//! Those who come back all at once are admitted as fast as they can be served, and who is in does not notice.

use std::collections::BTreeSet;
use std::time::Duration;

use node::Transport;
use sip_message::HeaderId;

use super::world::*;

/// A first REGISTER from a new connection: its status and Retry-After.
fn knock(world: &mut World, user: &str) -> (u16, Option<String>) {
    let flow = world.connect(Transport::Tls);
    let address = format!("sip:{user}@contoso.example");
    let head = world.head("REGISTER", user, "sip:contoso.example", &address);
    world.receive(flow, &format!("{head}\nContact: <sip:{user}@pc.invalid>"), "");
    let answer = world.sent_to(flow).expect("an answer");
    let wait = answer.header(HeaderId::RetryAfter).map(|value| String::from_utf8_lossy(value).into_owned());
    (answer.status().expect("a response"), wait)
}

#[test]
fn a_late_thread_puts_new_sign_ins_off_and_nobody_else() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    for _ in 0..100 {
        assert_eq!(knock(&mut world, "carol").0, 401);
    }
    world.stall(Duration::from_millis(500));
    let answers: Vec<(u16, Option<String>)> = (0..100).map(|_| knock(&mut world, "carol")).collect();
    let admitted = answers.iter().filter(|(status, _)| *status == 401).count();
    // Two signed in before the hundred.
    assert_eq!(admitted, 51);
    let waits: BTreeSet<&str> = answers.iter().filter_map(|(_, wait)| wait.as_deref()).collect();
    assert!(waits.len() > 3, "they do not come back together: {waits:?}");
    assert!(waits.iter().all(|wait| wait.parse::<u64>().is_ok_and(|seconds| (2..=62).contains(&seconds))));

    // Who is in goes on, refreshes and writes.
    let contact = "Contact: <sip:alice@alice-pc.invalid;transport=tls>";
    world.send_text(alice, "alice", "bob", "still here");
    let delivered = world.sent_to(bob).expect("a message");
    world.respond(bob, &delivered, 200);
    assert_eq!(world.status_to(alice), 200);
    // In time again, all are let in before long.
    for _ in 0..200 {
        world.pass(Duration::from_millis(100));
        knock(&mut world, "carol");
    }
    assert_eq!(world.register(alice, "alice", contact).status(), Some(200));
    assert!((0..300).all(|_| knock(&mut world, "carol").0 == 401));
}
