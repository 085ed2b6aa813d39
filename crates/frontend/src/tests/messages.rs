//! Messages: accepted when durable, delivered once and in order, never swallowed.

use std::time::Duration;

use node::StoreError;
use records::{Query, Rows, Sequence};
use sip_message::{HeaderId, Method};

use super::world::World;

#[test]
fn a_message_is_committed_before_it_is_delivered_and_answered() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.commit();
    world.holds_commits = true;
    world.send_text(alice, "alice", "bob", "hello");
    assert!(world.is_silent(), "nothing is said before it is durable");
    world.commit();
    let delivered = world.sent_to(bob).unwrap();
    assert_eq!((delivered.method(), delivered.body()), (Method::Message, &b"hello"[..]));
    assert_eq!(delivered.header(HeaderId::PAssertedIdentity), Some(&b"<sip:alice@contoso.example>"[..]));
    assert!(world.sent_to(alice).is_none(), "the sender waits for a device");
    world.respond(bob, &delivered, 200);
    assert_eq!(world.status_to(alice), 200);
}

#[test]
fn a_message_to_nobody_at_home_waits_for_the_next_device() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    world.send_text(alice, "alice", "bob", "one");
    world.send_text(alice, "alice", "bob", "two");
    assert_eq!((world.status_to(alice), world.status_to(alice)), (202, 202));
    let bob = world.sign_in("bob");
    let first = world.sent_to(bob).unwrap();
    assert_eq!(first.body(), b"one");
    assert!(world.sent_to(bob).is_none(), "one at a time");
    world.respond(bob, &first, 200);
    let second = world.sent_to(bob).unwrap();
    assert_eq!(second.body(), b"two");
    world.respond(bob, &second, 200);
    world.disconnect(bob);
    world.pass(Duration::from_secs(1));
    world.sign_in("bob");
    assert!(world.is_silent(), "what was taken is not delivered again");
}

#[test]
fn a_resend_changes_nothing_now_later_and_after_a_restart() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    world.commit();
    world.holds_commits = true;
    let head = world.send_text(alice, "alice", "bob", "hello");
    let again = |n: u32| {
        format!(
            "{}\nContent-Type: text/plain",
            head.replace("branch=z9hG4bK", &format!("branch=z9hG4bKagain{n}x"))
        )
    };
    world.receive(alice, &again(1), "hello");
    world.commit();
    world.holds_commits = false;
    assert_eq!((world.status_to(alice), world.status_to(alice)), (202, 202));
    world.receive(alice, &again(2), "hello");
    assert_eq!(world.status_to(alice), 202);
    let mut later = World::on(world.tables, 2, |_| ());
    let alice = later.sign_in("alice");
    later.receive(alice, &again(3), "hello");
    assert_eq!(later.status_to(alice), 202);
    let all = Query::Messages { owner: directory::UserId(2), after: Sequence(0), limit: 10 };
    let Rows::Messages(messages) = later.query(&all) else { panic!("no messages") };
    assert_eq!(messages.len(), 1);
}

#[test]
fn all_devices_get_a_message_and_the_first_answers_for_it() {
    let mut world = World::new();
    let (alice, pc, phone) =
        (world.sign_in("alice"), world.sign_in("bob"), world.connect(node::Transport::Tls));
    world.register(phone, "bob", "Contact: <sip:bob@phone.invalid>");
    world.send_text(alice, "alice", "bob", "hello");
    let (on_pc, on_phone) = (world.sent_to(pc).unwrap(), world.sent_to(phone).unwrap());
    assert_eq!(
        (on_pc.call_id(), on_pc.cseq()),
        (on_phone.call_id(), on_phone.cseq()),
        "one message is one message"
    );
    world.respond(phone, &on_phone, 200);
    assert_eq!(world.status_to(alice), 200);
    world.respond(pc, &on_pc, 200);
    assert!(world.is_silent());
}

#[test]
fn the_senders_other_devices_get_a_copy() {
    let mut world = World::new();
    let (pc, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let phone = world.connect(node::Transport::Tls);
    world.register(phone, "alice", "Contact: <sip:alice@phone.invalid>");
    world.send_text(pc, "alice", "bob", "hello");
    let copy = world.sent_to(phone).unwrap();
    assert_eq!(copy.body(), b"hello");
    let to = copy.to().unwrap().uri.as_str().to_owned();
    assert_eq!(to, "sip:bob@contoso.example", "it says whom it went to");
    assert!(world.sent_to(bob).is_some());
    assert!(world.sent_to(pc).is_none(), "the device that sent it has it");
}

#[test]
fn a_sender_is_not_kept_waiting() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "hello");
    assert!(world.sent_to(bob).is_some());
    world.pass(Duration::from_millis(7900));
    // A 100 may stop the client's retransmissions meanwhile (RFC 4320 §4.1).
    assert!(world.sent_to(alice).is_none_or(|m| m.status() == Some(100)));
    assert!(world.sent_to(alice).is_none());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.status_to(alice), 202);
}

#[test]
fn what_every_device_refuses_is_refused() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "hello");
    let delivered = world.sent_to(bob).unwrap();
    world.respond(bob, &delivered, 415);
    assert_eq!(world.status_to(alice), 415);
    world.disconnect(bob);
    world.sign_in("bob");
    assert!(world.is_silent(), "it does not appear later");
}

#[test]
fn a_resend_of_what_was_refused_is_refused_alike_and_not_delivered() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let head = world.send_text(alice, "alice", "bob", "hello");
    let again = |n: u32| {
        format!(
            "{}\nContent-Type: text/plain",
            head.replace("branch=z9hG4bK", &format!("branch=z9hG4bKagain{n}x"))
        )
    };
    let delivered = world.sent_to(bob).unwrap();
    world.respond(bob, &delivered, 415);
    assert_eq!(world.status_to(alice), 415);
    world.receive(alice, &again(1), "hello");
    assert_eq!(world.status_to(alice), 415);
    assert!(world.is_silent(), "the devices have seen it");
    let mut later = World::on(world.tables, 2, |_| ());
    let (alice, _bob) = (later.sign_in("alice"), later.sign_in("bob"));
    later.receive(alice, &again(2), "hello");
    assert_eq!(later.status_to(alice), 403, "the status is forgotten, the refusal is not");
    assert!(later.is_silent());
}

#[test]
fn a_device_that_is_gone_gets_its_message_when_it_is_back() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "hello");
    assert!(world.sent_to(bob).is_some());
    world.disconnect(bob);
    let bob = world.sign_in("bob");
    let again = world.sent_to(bob).unwrap();
    assert_eq!(again.body(), b"hello");
    world.respond(bob, &again, 200);
    assert_eq!(world.status_to(alice), 200, "still within the sender's patience");
}

#[test]
fn typing_is_carried_and_never_kept() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    let typing = |world: &mut World, to: &str| {
        let to = format!("sip:{to}@contoso.example");
        let head = world.head("MESSAGE", "alice", &to, &to);
        world.receive(alice, &format!("{head}\nContent-Type: application/im-iscomposing+xml"), "<x/>");
    };
    typing(&mut world, "bob");
    let delivered = world.sent_to(bob).unwrap();
    world.respond(bob, &delivered, 200);
    assert_eq!(world.status_to(alice), 200);
    typing(&mut world, "carol");
    assert_eq!(world.status_to(alice), 480);
    let all = Query::Messages { owner: directory::UserId(3), after: Sequence(0), limit: 10 };
    assert_eq!(world.query(&all), Rows::Messages(vec![]));
}

#[test]
fn a_full_disk_is_said_and_nothing_is_accepted() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.disk = Err(StoreError::Full);
    let head = world.send_text(alice, "alice", "bob", "hello");
    assert_eq!(world.status_to(alice), 500);
    assert!(world.sent_to(bob).is_none());
    world.disk = Ok(());
    world.receive(
        alice,
        &format!("{}\nContent-Type: text/plain", head.replace("branch=z9hG4bK", "branch=z9hG4bKx")),
        "hello",
    );
    assert!(world.sent_to(bob).is_some(), "there is space again, and the resend is accepted");
}

#[test]
fn a_full_mailbox_is_said() {
    let mut world = World::with(|config| config.messaging.waiting_per_user_max = 2);
    let alice = world.sign_in("alice");
    let mut statuses = Vec::new();
    for text in ["one", "two", "three"] {
        world.send_text(alice, "alice", "bob", text);
        statuses.push(world.status_to(alice));
    }
    assert_eq!(statuses, [202, 202, 480]);
}

#[test]
fn what_a_full_disk_did_not_take_is_written_when_there_is_space() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "hello");
    let delivered = world.sent_to(bob).unwrap();
    world.disk = Err(StoreError::Full);
    world.respond(bob, &delivered, 200);
    assert_eq!(world.status_to(alice), 200);
    world.pass(Duration::from_secs(1));
    world.disk = Ok(());
    world.pass(Duration::from_secs(2));
    let Rows::LoadedUser(Some(record)) = world.query(&Query::LoadUser(directory::UserId(2))) else {
        panic!("no bob")
    };
    assert_eq!(record.mailbox.taken, Sequence(1));
}

#[test]
fn a_refused_message_is_withdrawn_also_when_the_disk_was_full() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    world.send_text(alice, "alice", "bob", "hello");
    let delivered = world.sent_to(bob).unwrap();
    world.disk = Err(StoreError::Full);
    world.respond(bob, &delivered, 415);
    assert_eq!(world.status_to(alice), 415);
    world.disk = Ok(());
    world.pass(Duration::from_secs(2));
    let all = Query::Messages { owner: directory::UserId(2), after: Sequence(0), limit: 10 };
    assert_eq!(world.query(&all), Rows::Messages(vec![]));
}

#[test]
fn nobody_can_say_what_only_our_own_servers_say() {
    let mut world = World::new();
    let (alice, bob) = (world.sign_in("alice"), world.sign_in("bob"));
    for content_type in ["text/plain", "application/im-iscomposing+xml"] {
        let to = "sip:bob@contoso.example";
        let head = world.head("MESSAGE", "alice", to, to);
        let forged = "chancery-origin: trusted\nChancery-Member: a\nChancery-Origin: b\nX-Other: kept";
        world.receive(alice, &format!("{head}\n{forged}\nContent-Type: {content_type}"), "<x/>");
        let delivered = world.sent_to(bob).unwrap();
        assert_eq!(delivered.header_named("Chancery-Origin"), None, "{content_type}");
        assert_eq!(delivered.header_named("Chancery-Member"), None, "{content_type}");
        assert_eq!(delivered.header_named("X-Other"), Some(&b"kept"[..]), "{content_type}");
        world.respond(bob, &delivered, 200);
        assert_eq!(world.status_to(alice), 200);
    }
}

#[test]
fn a_message_that_just_fits_is_kept_or_refused() {
    let mut world = World::new();
    let alice = world.sign_in("alice");
    let to = "sip:bob@contoso.example";
    let statuses = (32_400..32_700).step_by(7).map(|length| {
        let head = world.head("MESSAGE", "alice", to, to);
        let subject = "x".repeat(length);
        world.receive(alice, &format!("{head}\nSubject: {subject}\nContent-Type: text/plain"), "hi");
        world.status_to(alice)
    });
    let statuses: Vec<u16> = statuses.collect();
    assert!(statuses.is_sorted() && statuses.contains(&202) && statuses.contains(&513), "{statuses:?}");
}
