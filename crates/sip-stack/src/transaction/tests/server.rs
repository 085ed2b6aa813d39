//! The server transactions of RFC 3261 §17.2 as conversations.

use expect_test::expect;
use node::Transport;

use super::{Incoming, Limits, World, modern, parse, request};

#[test]
fn invite_gets_a_100_after_200_ms_and_again_when_it_is_retransmitted() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.pass(150);
    world.receive(&modern("INVITE", "1"));
    world.pass(850);
    world.receive(&modern("INVITE", "1"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        150    <- INVITE: absorbed
        200    -> 100 to 192.0.2.1:5060
        1000   <- INVITE: absorbed
        1000   -> 100 to 192.0.2.1:5060
    "#]]);
}

#[test]
fn invite_that_was_answered_soon_gets_no_100() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.pass(100);
    world.respond(0, 180);
    world.pass(1_000);
    world.receive(&modern("INVITE", "1"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        100    s0: respond 180
        100    -> 180 to 192.0.2.1:5060
        1100   <- INVITE: absorbed
        1100   -> 180 to 192.0.2.1:5060
    "#]]);
}

#[test]
fn rejected_invite_is_repeated_over_udp_until_its_ack() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 486);
    world.respond(0, 600);
    world.pass(2_000);
    world.receive(&modern("INVITE", "1"));
    world.receive(&modern("ACK", "1"));
    world.receive(&modern("ACK", "1"));
    world.receive(&modern("INVITE", "1"));
    world.pass(4_999);
    world.receive(&modern("ACK", "1"));
    world.pass(1);
    world.receive(&modern("ACK", "1"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 486
        0      -> 486 to 192.0.2.1:5060
        0      s0: respond 600
        500    -> 486 to 192.0.2.1:5060
        1500   -> 486 to 192.0.2.1:5060
        2000   <- INVITE: absorbed
        2000   -> 486 to 192.0.2.1:5060
        2000   <- ACK: absorbed
        2000   <- ACK: absorbed
        2000   <- INVITE: absorbed
        6999   <- ACK: absorbed
        7000   <- ACK: to be passed on
    "#]]);
}

#[test]
fn rejected_invite_without_ack_is_reported() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 486);
    world.pass(40_000);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 486
        0      -> 486 to 192.0.2.1:5060
        500    -> 486 to 192.0.2.1:5060
        1500   -> 486 to 192.0.2.1:5060
        3500   -> 486 to 192.0.2.1:5060
        7500   -> 486 to 192.0.2.1:5060
        11500  -> 486 to 192.0.2.1:5060
        15500  -> 486 to 192.0.2.1:5060
        19500  -> 486 to 192.0.2.1:5060
        23500  -> 486 to 192.0.2.1:5060
        27500  -> 486 to 192.0.2.1:5060
        31500  -> 486 to 192.0.2.1:5060
        32000  !! s0 saw no ACK
    "#]]);
}

#[test]
fn rejected_invite_over_tcp_is_sent_once() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 486);
    world.pass(10_000);
    world.receive(&modern("ACK", "1"));
    world.receive(&modern("ACK", "1"));
    world.pass(30_000);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 486
        0      -> 486
        10000  <- ACK: absorbed
        10000  <- ACK: to be passed on
    "#]]);

    let mut world = World::new(Transport::Tls);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 486);
    world.pass(40_000);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 486
        0      -> 486
        32000  !! s0 saw no ACK
    "#]]);
}

#[test]
fn accepted_invite_passes_further_2xx_and_absorbs_invites_until_timer_l() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 200);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 200);
    world.respond(0, 486);
    world.respond(0, 183);
    world.receive(&modern("ACK", "1"));
    world.receive(&modern("ACK", "2"));
    world.pass(31_999);
    world.receive(&modern("INVITE", "1"));
    world.pass(1);
    world.respond(0, 200);
    world.receive(&modern("INVITE", "1"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- INVITE: absorbed
        0      s0: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      s0: respond 486
        0      s0: respond 183
        0      <- ACK: to be passed on
        0      <- ACK: to be passed on
        31999  <- INVITE: absorbed
        32000  s0: respond 200
        32000  <- INVITE: new s1
    "#]]);
}

#[test]
fn accepted_invite_is_remembered_over_tcp_too() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 200);
    world.pass(31_999);
    world.respond(0, 200);
    world.pass(1);
    world.respond(0, 200);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 200
        0      -> 200
        31999  s0: respond 200
        31999  -> 200
        32000  s0: respond 200
    "#]]);
}

#[test]
fn other_request_is_answered_again_over_udp_until_timer_j() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("MESSAGE", "1"));
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 200);
    world.respond(0, 500);
    world.pass(31_999);
    world.receive(&modern("MESSAGE", "1"));
    world.pass(1);
    world.receive(&modern("MESSAGE", "1"));
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      <- MESSAGE: absorbed
        0      s0: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      s0: respond 500
        31999  <- MESSAGE: absorbed
        31999  -> 200 to 192.0.2.1:5060
        32000  <- MESSAGE: new s1
    "#]]);
}

#[test]
fn other_request_over_tcp_leaves_nothing_behind() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 200);
    assert_eq!((world.layer.pending(), world.layer.ended()), (0, 0));
    super::assert_nothing_left(&world.layer);
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      s0: respond 200
        0      -> 200
    "#]]);
}

#[test]
fn other_request_gets_a_100_only_when_its_client_has_slowed_down() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 100);
    world.respond(0, 183);
    world.pass(3_499);
    world.receive(&modern("MESSAGE", "1"));
    world.pass(1);
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 200);
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      s0: respond 100
        0      s0: respond 183
        3499   <- MESSAGE: absorbed
        3500   -> 100 to 192.0.2.1:5060
        3500   <- MESSAGE: absorbed
        3500   -> 100 to 192.0.2.1:5060
        3500   s0: respond 200
        3500   -> 200 to 192.0.2.1:5060
    "#]]);
}

#[test]
fn other_request_over_tcp_may_get_a_100_at_once() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 100);
    world.pass(10_000);
    world.respond(0, 200);
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      s0: respond 100
        0      -> 100
        10000  s0: respond 200
        10000  -> 200
    "#]]);
}

#[test]
fn other_request_is_never_answered_408() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("MESSAGE", "1"));
    world.respond(0, 408);
    world.receive(&modern("MESSAGE", "1"));
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      s0: respond 408
        0      <- MESSAGE: absorbed
    "#]]);
}

#[test]
fn other_request_is_not_answered_when_nobody_waits_any_more() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("MESSAGE", "1"));
    world.pass(32_000);
    assert!(world.layer.request(world.servers[0]).is_none());
    assert_eq!(world.layer.pending(), 0);
    world.respond(0, 200);
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        3500   -> 100
        32000  s0: respond 200
    "#]]);
}

#[test]
fn cancel_finds_its_invite() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.receive(&modern("CANCEL", "1"));
    world.respond(1, 200);
    world.respond(0, 487);
    world.receive(&modern("CANCEL", "1"));
    world.receive(&modern("ACK", "1"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      <- CANCEL: s1 cancels s0
        0      s1: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      s0: respond 487
        0      -> 487 to 192.0.2.1:5060
        0      <- CANCEL: absorbed
        0      -> 200 to 192.0.2.1:5060
        0      <- ACK: absorbed
    "#]]);
}

#[test]
fn cancel_that_comes_late_or_means_something_else() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 200);
    world.receive(&modern("CANCEL", "1"));
    world.receive(&modern("MESSAGE", "2"));
    world.receive(&modern("CANCEL", "2"));
    world.respond(3, 481);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- CANCEL: s1 cancels s0
        0      <- MESSAGE: new s2
        0      <- CANCEL: s3 cancels nothing
        0      s3: respond 481
        0      -> 481 to 192.0.2.1:5060
    "#]]);
}

#[test]
fn same_branch_of_another_sent_by_or_method_is_another_transaction() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("MESSAGE", "1"));
    world.receive(&modern("OPTIONS", "1"));
    world.receive(&request("MESSAGE", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1", ""));
    world.receive(&request("MESSAGE", "SIP/2.0/UDP Host.Example;branch=z9hG4bK1", ""));
    world.receive(&request("MESSAGE", "SIP/2.0/UDP hOST.eXAMPLE;branch=z9hG4bK1", ""));
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      <- OPTIONS: new s1
        0      <- MESSAGE: new s2
        0      <- MESSAGE: new s3
        0      <- MESSAGE: absorbed
    "#]]);
}

#[test]
fn rfc2543_client_is_matched_by_what_it_wrote() {
    let via = "SIP/2.0/UDP old.example";
    let mut world = World::new(Transport::Udp);
    world.receive(&request("INVITE", via, ""));
    world.receive(&request("INVITE", via, ""));
    world.receive(&request("INVITE", "SIP/2.0/UDP old.example;branch=2", ""));
    world.receive(&request("CANCEL", via, ""));
    world.respond(0, 486);
    // The ACK of another response does not end it, its own does.
    world.receive(&request("ACK", via, ";tag=other"));
    world.receive(&request("ACK", via, ";tag=b"));
    world.receive(&request("ACK", via, ";tag=b"));
    world.receive(&request("INVITE", via, ""));
    // A branch without the cookie may be the same for all that the client sends.
    world.receive(&request("MESSAGE", "SIP/2.0/UDP old.example;branch=1", ""));
    world.receive(&request("MESSAGE", "SIP/2.0/UDP old.example;branch=1", ";tag=other"));
    world.receive(&request("MESSAGE", "SIP/2.0/UDP old.example;branch=1", ""));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      <- INVITE: absorbed
        0      <- INVITE: new s1
        0      <- CANCEL: s2 cancels s0
        0      s0: respond 486
        0      -> 486 to 192.0.2.1:5060
        0      <- ACK: to be passed on
        0      <- ACK: absorbed
        0      <- ACK: absorbed
        0      <- INVITE: absorbed
        0      <- MESSAGE: new s3
        0      <- MESSAGE: new s4
        0      <- MESSAGE: absorbed
    "#]]);
}

#[test]
fn ringing_calls_leave_room_for_what_ends_soon() {
    let limits = Limits { server_pending_max: 8, client_pending_max: 8, ended_max: 10 };
    let mut world = World::with_limits(Transport::Udp, limits);
    for number in 0..8 {
        let incoming = world.receive(&modern("INVITE", &format!("{number}")));
        assert_eq!(matches!(incoming, Incoming::New(_)), number < 6);
        assert_eq!(matches!(incoming, Incoming::Overload), number >= 6);
    }
    assert!(matches!(world.receive(&modern("MESSAGE", "a")), Incoming::New(_)));
    assert!(matches!(world.receive(&modern("BYE", "b")), Incoming::New(_)));
    assert_eq!(world.receive(&modern("MESSAGE", "c")), Incoming::Overload, "the rest is bounded too");
}

#[test]
fn full_table_takes_no_new_request_but_a_cancel_that_makes_room() {
    let limits = Limits { server_pending_max: 1, client_pending_max: 1, ended_max: 10 };
    let mut world = World::with_limits(Transport::Udp, limits);
    world.receive(&modern("INVITE", "1"));
    world.receive(&modern("INVITE", "2"));
    world.receive(&modern("CANCEL", "2"));
    world.receive(&modern("ACK", "2"));
    world.receive(&modern("CANCEL", "1"));
    world.receive(&modern("CANCEL", "1"));
    world.respond(0, 487);
    world.respond(1, 200);
    world.receive(&modern("INVITE", "2"));
    world.respond(2, 486);
    world.send("MESSAGE");
    world.receive(&modern("INVITE", "3"));
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      <- INVITE: overload
        0      <- CANCEL: overload
        0      <- ACK: to be passed on
        0      <- CANCEL: s1 cancels s0
        0      <- CANCEL: absorbed
        0      s0: respond 487
        0      -> 487 to 192.0.2.1:5060
        0      s1: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- INVITE: new s2
        0      s2: respond 486
        0      -> 486 to 192.0.2.1:5060
        0      c0: send
        0      -> MESSAGE to 192.0.2.1:5060
        0      <- INVITE: overload
    "#]]);
}

#[test]
fn oldest_memory_goes_first_when_there_are_too_many() {
    let limits = Limits { ended_max: 2, ..super::LIMITS };
    let mut world = World::with_limits(Transport::Udp, limits);
    for (server, branch) in ["1", "2", "3"].into_iter().enumerate() {
        world.receive(&modern("MESSAGE", branch));
        world.respond(server, 200);
    }
    assert_eq!((world.layer.ended(), world.layer.forgotten_early()), (2, 1));
    world.receive(&modern("MESSAGE", "3"));
    world.receive(&modern("MESSAGE", "2"));
    world.receive(&modern("MESSAGE", "1"));
    world.check(&expect![[r#"
        0      <- MESSAGE: new s0
        0      s0: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- MESSAGE: new s1
        0      s1: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- MESSAGE: new s2
        0      s2: respond 200
        0      -> 200 to 192.0.2.1:5060
        0      <- MESSAGE: absorbed
        0      -> 200 to 192.0.2.1:5060
        0      <- MESSAGE: absorbed
        0      -> 200 to 192.0.2.1:5060
        0      <- MESSAGE: new s3
    "#]]);
}

#[test]
fn without_room_for_memories_all_is_forgotten_at_once() {
    let limits = Limits { ended_max: 0, ..super::LIMITS };
    let mut world = World::with_limits(Transport::Udp, limits);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 486);
    world.receive(&modern("ACK", "1"));
    world.send("INVITE");
    world.answer(0, 200);
    world.answer(0, 200);
    super::assert_nothing_left(&world.layer);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      s0: respond 486
        0      -> 486 to 192.0.2.1:5060
        0      <- ACK: to be passed on
        0      c0: send
        0      -> INVITE to 192.0.2.1:5060
        0      <- 200 (INVITE): for c0
        0      <- 200 (INVITE): absorbed
    "#]]);
}

#[test]
fn request_and_arrival_are_there_until_the_final_response() {
    let mut world = World::new(Transport::Udp);
    let Incoming::New(server) = world.receive(&modern("INVITE", "1")) else { panic!("it is new") };
    world.respond(0, 180);
    assert_eq!(
        world.layer.request(server).map(|request| request.bytes()),
        Some(parse(&modern("INVITE", "1")).bytes())
    );
    assert_eq!(world.layer.arrival(server), Some(world.arrival()));
    world.respond(0, 486);
    assert!(world.layer.request(server).is_none());
    assert_eq!(world.layer.arrival(server), None);
}

#[test]
fn forgotten_request_is_new_again() {
    let mut world = World::new(Transport::Udp);
    let Incoming::New(server) = world.receive(&modern("INVITE", "1")) else { panic!("it is new") };
    world.layer.forget(server);
    super::assert_nothing_left(&world.layer);
    world.receive(&modern("INVITE", "1"));
    world.respond(0, 200);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      <- INVITE: new s1
        0      s0: respond 200
    "#]]);
}

#[test]
fn answer_of_a_request_whose_connection_closed_goes_where_it_came_from() {
    let mut world = World::new(Transport::Tcp);
    world.receive(&modern("INVITE", "1"));
    world.close(1);
    world.respond(0, 486);
    world.check(&expect![[r#"
        0      <- INVITE: new s0
        0      connection 1 closed
        0      s0: respond 486
        0      -> 486
    "#]]);
}
