//! What strangers try with transactions.

use expect_test::expect;
use node::Transport;

use super::super::matching::{Branch, Keys};
use super::{Incoming, Limits, World, modern, parse, request};

#[test]
fn response_with_our_branch_but_another_method_finds_nothing() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    world.send("INVITE");
    for method in ["INVITE", "CANCEL", "MESSAG", "MESSAGES", "message", "ACK"] {
        assert!(!world.answer_as(0, method, 200), "{method}");
    }
    for method in ["MESSAGE", "CANCEL", "ACK", "invite", "INVITE2"] {
        assert!(!world.answer_as(1, method, 200), "{method}");
    }
    assert_eq!(world.layer.pending(), 2);
    assert!(world.answer(0, 200));
    assert!(world.answer(1, 200));
}

#[test]
fn response_to_a_void_client_finds_nothing_even_where_its_place_is_taken_again() {
    let mut world = World::new(Transport::Udp);
    world.send("MESSAGE");
    world.answer(0, 200);
    world.send("MESSAGE");
    let [first, second] = [0, 1].map(|client: usize| world.clients[client].branch.clone());
    assert_eq!(first[..15], second[..15], "the second has the place of the first");
    assert!(!world.answer(0, 200));
    assert!(world.answer(1, 200));
}

#[test]
fn response_to_a_request_that_was_only_reserved_finds_nothing() {
    let mut world = World::new(Transport::Udp);
    let (_, branch) = world.layer.reserve();
    assert!(!world.answer_to(&branch, "INVITE", 200));
}

#[test]
fn forged_branches_find_nothing() {
    let mut world = World::new(Transport::Udp);
    world.send("INVITE");
    let branch = world.clients[0].branch.clone();
    let last = if branch.ends_with('0') { "1" } else { "0" };
    let forged = [
        "z9hG4bK".to_owned(),
        "z9hG4bK00000000".to_owned(),
        "z9hG4bKffffffffffffffffffffffff".to_owned(),
        format!("{branch}0"),
        branch.to_uppercase(),
        branch[..branch.len() - 1].to_owned(),
        branch[..branch.len() - 1].to_owned() + last,
    ];
    for branch in forged {
        assert!(!world.answer_to(&branch, "INVITE", 486), "{branch}");
    }
    assert!(world.answer(0, 486));
}

#[test]
fn branches_are_read_as_they_were_written() {
    for branch in [Branch { index: 0, nonce: 0 }, Branch { index: 0x89ab_cdef, nonce: 0x0123_4567_89ab_cdef }]
    {
        assert_eq!(Branch::read(branch.write().as_bytes()), Some(branch));
    }
    assert_eq!(&*Branch { index: 1, nonce: 2 }.write(), "z9hG4bK000000010000000000000002");
}

#[test]
fn our_branch_is_found_however_the_peer_writes_our_via() {
    let ours = Branch { index: 1, nonce: 2 }.write();
    let spellings = [
        format!("SIP/2.0/UDP us.example;branch={ours}"),
        format!("SIP/2.0/UDP us.example;branch={ours};received=192.0.2.1"),
        format!("SIP/2.0/UDP us.example;rport=5;branch={ours}, SIP/2.0/UDP b.example;branch=z9hG4bK1"),
        format!("SIP / 2.0 / UDP us.example ; BRANCH = {ours} ;x"),
        format!("SIP/2.0/UDP us.example;x=\"a;b,c\";branch={ours}"),
    ];
    for via in spellings {
        let response = parse(&request("MESSAGE", &via, ""));
        assert_eq!(Branch::of_response(&response), Some(Branch { index: 1, nonce: 2 }), "{via}");
    }
    let strange = [
        format!("SIP/2.0/UDP b.example;branch=z9hG4bK1, SIP/2.0/UDP us.example;branch={ours}"),
        format!("SIP/2.0/UDP b.example, SIP/2.0/UDP us.example;branch={ours}"),
        format!("SIP/2.0/UDP b.example;x=\";branch={ours};\""),
        format!("SIP/2.0/UDP b.example;xbranch={ours}"),
    ];
    for via in strange {
        assert_eq!(Branch::of_response(&parse(&request("MESSAGE", &via, ""))), None, "{via}");
    }
}

#[test]
fn chosen_keys_depend_on_the_seed() {
    let message = parse(&modern("MESSAGE", "1"));
    let via = message.top_via().expect("a Via");
    let [one, two] = [1, 2].map(|seed| Keys::new(seed, 0).key(&message, &via, message.method()));
    assert_ne!(one, two);
    assert_ne!(one.hash(), two.hash());
}

#[test]
fn chosen_key_flood_stays_within_the_limits_and_separate() {
    let limits = Limits { server_pending_max: 1_000, client_pending_max: 1, ended_max: 50 };
    let mut world = World::with_limits(Transport::Udp, limits);
    // Where one field ends and the next begins is the stranger's choice; the key must not confuse them.
    let vias = [
        "SIP/2.0/UDP a;branch=z9hG4bKxa",
        "SIP/2.0/UDP xaa;branch=z9hG4bKx",
        "SIP/2.0/UDP aa;branch=z9hG4bKxa",
    ];
    for via in vias {
        assert!(matches!(world.receive(&request("MESSAGE", via, "")), Incoming::New(_)), "{via}");
    }
    for number in 0..5_000 {
        let incoming = world.receive(&modern("MESSAGE", &format!("{number}")));
        assert_eq!(matches!(incoming, Incoming::New(_)), number < 997);
        assert_eq!(matches!(incoming, Incoming::Overload), number >= 997);
    }
    assert_eq!(world.layer.pending(), 1_000);
    for server in 0..world.servers.len() {
        world.respond(server, 200);
    }
    assert_eq!((world.layer.pending(), world.layer.ended(), world.layer.forgotten_early()), (0, 50, 950));
    world.pass(32_000);
    super::assert_nothing_left(&world.layer);
}

#[test]
fn void_names_are_harmless_everywhere() {
    let mut world = World::new(Transport::Udp);
    world.receive(&modern("MESSAGE", "1"));
    world.send("INVITE");
    world.layer.forget(world.servers[0]);
    world.answer(0, 180);
    world.layer.abandon(world.clients[0].id);
    world.pass(40_000);
    world.ladder.clear();
    world.respond(0, 200);
    world.layer.forget(world.servers[0]);
    world.layer.abandon(world.clients[0].id);
    world.cancel(0, None);
    world.answer(0, 200);
    world.close(17);
    world.check(&expect![[r#"
        40000  s0: respond 200
        40000  c0: cancel
        40000  <- 200 (INVITE): absorbed
        40000  connection 17 closed
    "#]]);
}
