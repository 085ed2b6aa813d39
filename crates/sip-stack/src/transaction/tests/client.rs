//! The client transactions of RFC 3261 §17.1 as conversations.

use bytes::Bytes;
use expect_test::expect;
use node::{ConnectionId, Flow, Transport};

use super::{Outgoing, Owner, World, parse, response};

#[test]
fn invite_is_repeated_over_udp_until_timer_b() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.pass(40_000);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        500    -> INVITE to 192.0.2.1:5060
        1500   -> INVITE to 192.0.2.1:5060
        3500   -> INVITE to 192.0.2.1:5060
        7500   -> INVITE to 192.0.2.1:5060
        15500  -> INVITE to 192.0.2.1:5060
        31500  -> INVITE to 192.0.2.1:5060
        32000  !! c0 timed out
        40000  <- 200 (INVITE): absorbed
    "#]]);
}

#[test]
fn other_request_is_repeated_over_udp_until_timer_f() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    world.pass(40_000);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        500    -> MESSAGE to 192.0.2.1:5060
        1500   -> MESSAGE to 192.0.2.1:5060
        3500   -> MESSAGE to 192.0.2.1:5060
        7500   -> MESSAGE to 192.0.2.1:5060
        11500  -> MESSAGE to 192.0.2.1:5060
        15500  -> MESSAGE to 192.0.2.1:5060
        19500  -> MESSAGE to 192.0.2.1:5060
        23500  -> MESSAGE to 192.0.2.1:5060
        27500  -> MESSAGE to 192.0.2.1:5060
        31500  -> MESSAGE to 192.0.2.1:5060
        32000  !! c0 timed out
        40000  <- 200 (MESSAGE): absorbed
    "#]]);
}

#[test]
fn nothing_is_repeated_over_tcp() {
    let mut world = World::new(Transport::Tcp);
    world.send("INVITE");
    world.send("MESSAGE");
    world.pass(40_000);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE
        0      c1: send
        0      -> MESSAGE
        32000  !! c0 timed out
        32000  !! c1 timed out
    "#]]);
}

#[test]
fn provisional_response_ends_the_repetition_of_an_invite() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.pass(600);
    world.answer(0, 100);
    world.pass(300_000);
    world.answer(0, 180);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        500    -> INVITE to 192.0.2.1:5060
        600    <- 100 (INVITE): for c0
        300600 <- 180 (INVITE): for c0
        300600 <- 200 (INVITE): for c0
    "#]]);
}

#[test]
fn provisional_response_slows_the_repetition_of_others() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    world.pass(100);
    world.answer(0, 100);
    world.pass(13_000);
    world.answer(0, 200);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        100    <- 100 (MESSAGE): for c0
        500    -> MESSAGE to 192.0.2.1:5060
        4500   -> MESSAGE to 192.0.2.1:5060
        8500   -> MESSAGE to 192.0.2.1:5060
        12500  -> MESSAGE to 192.0.2.1:5060
        13100  <- 200 (MESSAGE): for c0
        13100  <- 200 (MESSAGE): absorbed
    "#]]);
}

#[test]
fn failed_invite_is_acknowledged_as_often_as_it_comes_until_timer_d() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.answer(0, 486);
    world.answer(0, 486);
    world.answer(0, 180);
    world.answer(0, 200);
    world.pass(31_999);
    world.answer(0, 486);
    world.pass(1);
    world.answer(0, 486);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 486 (INVITE): for c0
        0      -> ACK to 192.0.2.1:5060
        0      <- 486 (INVITE): absorbed
        0      -> ACK to 192.0.2.1:5060
        0      <- 180 (INVITE): absorbed
        0      <- 200 (INVITE): absorbed
        31999  <- 486 (INVITE): absorbed
        31999  -> ACK to 192.0.2.1:5060
        32000  <- 486 (INVITE): absorbed
    "#]]);
}

#[test]
fn failed_invite_is_acknowledged_once_over_tcp() {
    let mut world = World::new(Transport::Tcp);
    world.send("INVITE");
    world.answer(0, 486);
    super::assert_nothing_left(&world.layer);
    world.answer(0, 486);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE
        0      <- 486 (INVITE): for c0
        0      -> ACK
        0      <- 486 (INVITE): absorbed
    "#]]);
}

#[test]
fn every_2xx_is_passed_until_timer_m() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::new(transport);
        world.send("INVITE");
        assert!(world.answer(0, 180));
        assert!(world.answer(0, 200));
        assert!(!world.answer(0, 180));
        assert!(!world.answer(0, 486));
        assert_eq!((world.layer.pending(), world.layer.ended()), (0, 1));
        world.pass(31_999);
        assert!(world.answer(0, 202));
        world.pass(1);
        assert!(!world.answer(0, 200));
        super::assert_nothing_left(&world.layer);
    }
}

const ROUTED_INVITE: &str = "INVITE sip:bob@b.example;x=1 SIP/2.0\r
v: SIP/2.0/UDP us.example;branch=BRANCH, SIP/2.0/TCP before.example;branch=z9hG4bKb\r
Via: SIP/2.0/TCP first.example;branch=z9hG4bKf\r
Route: <sip:one.example;lr>,\r
 <sip:two.example;lr>\r
Route: <sip:three.example;lr>\r
Max-Forwards: 9\r
f: \"Alice\" <sip:alice@a.example>;tag=a\r
t: <sip:bob@b.example>\r
i: routed@a.example\r
CSeq: 4711 INVITE\r
Contact: <sip:alice@192.0.2.1>\r
Subject: not to be copied\r
Content-Type: text/plain\r
Content-Length: 5\r
\r
hello";

fn send_routed(world: &mut World) -> String {
    let (id, branch) = world.layer.reserve();
    let bytes = Bytes::from(ROUTED_INVITE.replace("BRANCH", &branch));
    let (flow, transport) = (world.flow(), world.transport);
    let outgoing = Outgoing { flow, transport, bytes, invite: true, owner: Owner(0) };
    world.layer.send(world.now, id, outgoing);
    world.layer.cancel(world.now, id, Some("SIP;cause=200\r\n ;text=\"Call completed elsewhere\""));
    world.layer.poll_send();
    branch.to_string()
}

fn next_sent(world: &mut World, branch: &str) -> String {
    let (_, bytes) = world.layer.poll_send().expect("something leaves");
    parse(std::str::from_utf8(&bytes).expect("UTF-8")).validate().expect("it is valid");
    String::from_utf8(bytes.to_vec()).expect("UTF-8").replace(branch, "BRANCH").replace('\r', "")
}

#[test]
fn cancel_and_ack_are_made_from_the_invite() {
    let mut world = World::new(Transport::Udp);
    let branch = send_routed(&mut world);
    world.layer.handle_response(world.now, &parse(&response(&branch, "INVITE", 100)));
    expect![[r#"
        CANCEL sip:bob@b.example;x=1 SIP/2.0
        Via: SIP/2.0/UDP us.example;branch=BRANCH
        Max-Forwards: 70
        Route: <sip:one.example;lr>,
         <sip:two.example;lr>
        Route: <sip:three.example;lr>
        From: "Alice" <sip:alice@a.example>;tag=a
        To: <sip:bob@b.example>
        Call-ID: routed@a.example
        CSeq: 4711 CANCEL
        Reason: SIP;cause=200   ;text="Call completed elsewhere"
        Content-Length: 0

    "#]]
    .assert_eq(&next_sent(&mut world, &branch));
    world.layer.handle_response(world.now, &parse(&response(&branch, "INVITE", 487)));
    expect![[r#"
        ACK sip:bob@b.example;x=1 SIP/2.0
        Via: SIP/2.0/UDP us.example;branch=BRANCH
        Max-Forwards: 70
        Route: <sip:one.example;lr>,
         <sip:two.example;lr>
        Route: <sip:three.example;lr>
        From: "Alice" <sip:alice@a.example>;tag=a
        To: <sip:bob@b.example>;tag=b
        Call-ID: routed@a.example
        CSeq: 4711 ACK
        Content-Length: 0

    "#]]
    .assert_eq(&next_sent(&mut world, &branch));
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.cancel(0, None);
    world.cancel(0, None);
    world.pass(700);
    world.answer(0, 100);
    world.cancel(0, None);
    world.pass(1_000);
    world.answer_as(0, "CANCEL", 200);
    world.pass(5_000);
    world.answer(0, 487);
    world.answer(0, 487);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        0      c0: cancel
        0      c0: cancel
        500    -> INVITE to 192.0.2.1:5060
        700    <- 100 (INVITE): for c0
        700    -> CANCEL to 192.0.2.1:5060
        700    c0: cancel
        1200   -> CANCEL to 192.0.2.1:5060
        1700   <- 200 (CANCEL): absorbed
        6700   <- 487 (INVITE): for c0
        6700   -> ACK to 192.0.2.1:5060
        6700   <- 487 (INVITE): absorbed
        6700   -> ACK to 192.0.2.1:5060
    "#]]);
}

#[test]
fn cancel_without_any_response_ends_with_timer_b() {
    let mut world = World::new(Transport::Tcp);
    world.send("INVITE");
    world.cancel(0, None);
    world.pass(40_000);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE
        0      c0: cancel
        32000  !! c0 timed out
    "#]]);
}

#[test]
fn cancelled_invite_without_final_response_times_out() {
    let mut world = World::new(Transport::Tcp);
    world.send("INVITE");
    world.answer(0, 180);
    world.pass(100_000);
    world.cancel(0, None);
    world.answer_as(0, "CANCEL", 200);
    world.answer(0, 183);
    world.pass(31_999);
    assert_eq!(world.layer.pending(), 1);
    world.pass(1);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE
        0      <- 180 (INVITE): for c0
        100000 c0: cancel
        100000 -> CANCEL
        100000 <- 200 (CANCEL): absorbed
        100000 <- 183 (INVITE): for c0
        132000 !! c0 timed out
        132000 <- 200 (INVITE): absorbed
    "#]]);
}

#[test]
fn cancel_that_nobody_answers_is_repeated_until_the_invite_times_out() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.answer(0, 180);
    world.cancel(0, None);
    assert_eq!(world.layer.pending(), 2);
    world.pass(1_000);
    world.answer_as(0, "CANCEL", 100);
    world.pass(39_000);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 180 (INVITE): for c0
        0      c0: cancel
        0      -> CANCEL to 192.0.2.1:5060
        500    -> CANCEL to 192.0.2.1:5060
        1000   <- 100 (CANCEL): absorbed
        1500   -> CANCEL to 192.0.2.1:5060
        5500   -> CANCEL to 192.0.2.1:5060
        9500   -> CANCEL to 192.0.2.1:5060
        13500  -> CANCEL to 192.0.2.1:5060
        17500  -> CANCEL to 192.0.2.1:5060
        21500  -> CANCEL to 192.0.2.1:5060
        25500  -> CANCEL to 192.0.2.1:5060
        29500  -> CANCEL to 192.0.2.1:5060
        32000  !! c0 timed out
    "#]]);
}

#[test]
fn cancel_that_crosses_a_2xx_changes_nothing() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    world.answer(0, 180);
    world.cancel(0, None);
    world.answer(0, 200);
    world.answer_as(0, "CANCEL", 200);
    world.cancel(0, None);
    world.pass(2_000);
    world.answer(0, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 180 (INVITE): for c0
        0      c0: cancel
        0      -> CANCEL to 192.0.2.1:5060
        0      <- 200 (INVITE): for c0
        0      <- 200 (CANCEL): absorbed
        0      c0: cancel
        2000   <- 200 (INVITE): for c0
    "#]]);
}

#[test]
fn cancel_means_invites_that_wait_only() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    world.cancel(0, None);
    world.answer(0, 200);
    world.cancel(0, None);
    world.send("INVITE");
    world.answer(1, 486);
    world.cancel(1, None);
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        0      c0: cancel
        0      <- 200 (MESSAGE): for c0
        0      c0: cancel
        0      c1: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 486 (INVITE): for c1
        0      -> ACK to 192.0.2.1:5060
        0      c1: cancel
    "#]]);
}

#[test]
fn closed_connection_fails_what_waits_on_it_in_order() {
    let mut world = World::new(Transport::Tls);
    let other = Flow::Connection(ConnectionId(2));
    world.send("MESSAGE");
    world.send_on("MESSAGE", other);
    world.send("INVITE");
    world.send("INVITE");
    world.send("INVITE");
    world.send("MESSAGE");
    world.answer(2, 180);
    world.cancel(2, None);
    world.answer(3, 200);
    world.answer(5, 200);
    world.close(1);
    world.close(1);
    world.answer(3, 200);
    world.answer(0, 200);
    world.answer(1, 200);
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE
        0      c1: send
        0      -> MESSAGE
        0      c2: send
        0      -> INVITE
        0      c3: send
        0      -> INVITE
        0      c4: send
        0      -> INVITE
        0      c5: send
        0      -> MESSAGE
        0      <- 180 (INVITE): for c2
        0      c2: cancel
        0      -> CANCEL
        0      <- 200 (INVITE): for c3
        0      <- 200 (MESSAGE): for c5
        0      connection 1 closed
        0      !! c0 lost its flow
        0      !! c2 lost its flow
        0      !! c4 lost its flow
        0      connection 1 closed
        0      <- 200 (INVITE): for c3
        0      <- 200 (MESSAGE): absorbed
        0      <- 200 (MESSAGE): for c1
    "#]]);
}

#[test]
fn abandoned_transactions_say_nothing() {
    let mut world = World::new(Transport::Udp);
    for method in ["MESSAGE", "INVITE", "INVITE", "INVITE", "INVITE"] {
        world.send(method);
    }
    world.answer(3, 180);
    world.answer(4, 200);
    for client in 0..5 {
        world.layer.abandon(world.clients[client].id);
    }
    world.answer(0, 200);
    world.answer(1, 486);
    world.answer(2, 180);
    world.answer(2, 200);
    world.answer(4, 200);
    assert_eq!(world.layer.pending(), 1);
    world.pass(32_000);
    assert_eq!(world.layer.pending(), 0);
    let (reserved, _) = world.layer.reserve();
    world.layer.abandon(reserved);
    super::assert_nothing_left(&world.layer);
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        0      c1: send
        0      -> INVITE to 192.0.2.1:5060
        0      c2: send
        0      -> INVITE to 192.0.2.1:5060
        0      c3: send
        0      -> INVITE to 192.0.2.1:5060
        0      c4: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 180 (INVITE): for c3
        0      <- 200 (INVITE): for c4
        0      <- 200 (MESSAGE): absorbed
        0      <- 486 (INVITE): absorbed
        0      -> ACK to 192.0.2.1:5060
        0      <- 180 (INVITE): absorbed
        0      <- 200 (INVITE): absorbed
        0      <- 200 (INVITE): absorbed
    "#]]);
}

#[test]
fn a_client_is_sent_once() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    let id = world.clients[0].id;
    let (flow, transport) = (world.flow(), world.transport);
    let again = Outgoing { flow, transport, bytes: Bytes::from("X"), invite: false, owner: Owner(9) };
    world.layer.send(world.now, id, again.clone());
    world.answer(0, 200);
    world.layer.send(world.now, id, again);
    assert!(world.layer.poll_send().is_none());
    world.check(&expect![[r#"
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        0      <- 200 (MESSAGE): for c0
    "#]]);
}
