//! What people of different organisations live through, and what the checkers between organisations find.

use std::collections::VecDeque;
use std::sync::Arc;

use expect_test::{Expect, expect};
use federation::Policy;
use node::{Input, Instant, Now, Output};
use records::{CallSettings, Change};
use sip_message::{Edit, HeaderId, Message, Method, ResponseBuilder};

use super::dishonest;
use super::support::{MINUTE, SILENCE, ms};
use crate::device::{Pose, Posture, Reaction, Watched};
use crate::event::{Crash, Fact, What};
use crate::federated::random::run_seed;
use crate::federated::{Behind, Federated, HubMake, Road, Wrap, honest};
use crate::{Conditions, Factory, Home, Load, Role};

const ALICE: &str = "alice@contoso.example";
const BOB: &str = "bob@fabrikam.example";
const CAROL: &str = "carol@northwind.example";

/// Alice at Contoso, Bob at Fabrikam, Carol at Northwind, each with one device, signed in; a hub between them. Contoso and
/// Fabrikam know each other by `road`, Northwind is reached through the hub.
fn world(road: Road, wrap: Wrap) -> Federated {
    let mut world = Federated::new(1, Conditions::calm(), wrap);
    let contoso = world.found("contoso.example", 1, Behind::Home, &["alice"]);
    let fabrikam = world.found("fabrikam.example", 1, Behind::Home, &["bob"]);
    let northwind = world.found("northwind.example", 1, Behind::Home, &["carol"]);
    world.found_hub(HubMake::Ours);
    world.agree(contoso, fabrikam, road);
    world.agree(contoso, northwind, Road::Hub);
    world.agree(fabrikam, northwind, Road::Hub);
    world.start();
    for (organisation, name) in [(contoso, "alice"), (fabrikam, "bob"), (northwind, "carol")] {
        let device = world.device(organisation, name);
        world.world.register(device);
        world.world.run_for(ms(500));
        assert!(world.world.device(device).is_registered(), "{}", world.world.ladder(0));
    }
    world
}

/// The final answers that senders got, in order.
fn answers(world: &Federated) -> Vec<u16> {
    let answer = |what: &What| match what {
        What::Fact { fact: Fact::Concluded { status, .. }, .. } => Some(*status),
        _ => None,
    };
    world.world.events().iter().filter_map(|event| answer(&event.what)).collect()
}

fn assert_sound(world: &mut Federated) {
    world.world.run_for(MINUTE * 2);
    let violations: Vec<String> = world.violations(SILENCE).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), world.world.ladder(0));
}

/// The ladder of what happened since `from` among Alice, Bob and the machines between them.
fn check(world: &mut Federated, from: usize, ladder: &Expect) {
    let parties = ["contoso-home", "contoso-edge", "hub", "fabrikam-edge", "fabrikam-home"];
    ladder.assert_eq(&world.world.ladder_between(from, &[&["alice"], &parties[..], &["bob"]].concat()));
    assert_sound(world);
}

#[test]
fn messages_cross_and_come_back() {
    let mut world = world(Road::Direct, honest);
    let from = world.world.events().len();
    world.world.send_message(0, BOB, None);
    world.world.run_for(ms(2_000));
    world.world.send_message(1, ALICE, None);
    world.world.run_for(ms(2_000));
    assert_eq!(answers(&world), [200, 200], "{}", world.world.ladder(from));
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     contoso-home              contoso-edge              hub                       fabrikam-edge             fabrikam-home             bob
               1500  |-------MESSAGE (1)------>|                         |                         |                         |                         |                         |
               1523   * contoso-home connects
               1528  |                         |-------MESSAGE (1)------>|                         |                         |                         |                         |
               1551   * contoso-edge connects
               1556  |                         |                         |--------------------MESSAGE (1)------------------->|                         |                         |
               1579   * fabrikam-edge connects
               1584  |                         |                         |                         |                         |-------MESSAGE (1)------>|                         |
               1594  |                         |                         |                         |                         |                         |-------MESSAGE (1)------>|
               1599  |                         |                         |                         |                         |                         |<----200 (1 MESSAGE)-----|
               1604  |                         |                         |                         |                         |<----200 (1 MESSAGE)-----|                         |
               1609  |                         |                         |<-----------------200 (1 MESSAGE)------------------|                         |                         |
               1614  |                         |<----200 (1 MESSAGE)-----|                         |                         |                         |                         |
               1619  |<----200 (1 MESSAGE)-----|                         |                         |                         |                         |                         |
               3500  |                         |                         |                         |                         |                         |<------MESSAGE (1)-------|
               3523   * fabrikam-home connects
               3528  |                         |                         |                         |                         |<------MESSAGE (1)-------|                         |
               3551   * fabrikam-edge connects
               3556  |                         |                         |<-------------------MESSAGE (1)--------------------|                         |                         |
               3579   * contoso-edge connects
               3584  |                         |<------MESSAGE (1)-------|                         |                         |                         |                         |
               3590  |<------MESSAGE (1)-------|                         |                         |                         |                         |                         |
               3595  |-----200 (1 MESSAGE)---->|                         |                         |                         |                         |                         |
               3600  |                         |-----200 (1 MESSAGE)---->|                         |                         |                         |                         |
               3605  |                         |                         |------------------200 (1 MESSAGE)----------------->|                         |                         |
               3610  |                         |                         |                         |                         |-----200 (1 MESSAGE)---->|                         |
               3615  |                         |                         |                         |                         |                         |-----200 (1 MESSAGE)---->|
        "#]],
    );
}

#[test]
fn a_message_through_the_hub() {
    let mut world = world(Road::Hub, honest);
    let from = world.world.events().len();
    world.world.send_message(0, BOB, None);
    world.world.run_for(ms(2_000));
    world.world.send_message(2, ALICE, None);
    world.world.run_for(ms(2_000));
    assert_eq!(answers(&world), [200, 200], "{}", world.world.ladder(from));
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     contoso-home              contoso-edge              hub                       fabrikam-edge             fabrikam-home             bob
               1500  |-------MESSAGE (1)------>|                         |                         |                         |                         |                         |
               1523   * contoso-home connects
               1528  |                         |-------MESSAGE (1)------>|                         |                         |                         |                         |
               1551   * contoso-edge connects
               1556  |                         |                         |-------MESSAGE (1)------>|                         |                         |                         |
               1579   * hub connects
               1584  |                         |                         |                         |-------MESSAGE (1)------>|                         |                         |
               1607   * fabrikam-edge connects
               1612  |                         |                         |                         |                         |-------MESSAGE (1)------>|                         |
               1622  |                         |                         |                         |                         |                         |-------MESSAGE (1)------>|
               1627  |                         |                         |                         |                         |                         |<----200 (1 MESSAGE)-----|
               1632  |                         |                         |                         |                         |<----200 (1 MESSAGE)-----|                         |
               1637  |                         |                         |                         |<----200 (1 MESSAGE)-----|                         |                         |
               1642  |                         |                         |<----200 (1 MESSAGE)-----|                         |                         |                         |
               1647  |                         |<----200 (1 MESSAGE)-----|                         |                         |                         |                         |
               1652  |<----200 (1 MESSAGE)-----|                         |                         |                         |                         |                         |
               3579   * hub connects
               3584  |                         |                         |<------MESSAGE (1)-------|                         |                         |                         |
               3607   * contoso-edge connects
               3612  |                         |<------MESSAGE (1)-------|                         |                         |                         |                         |
               3618  |<------MESSAGE (1)-------|                         |                         |                         |                         |                         |
               3623  |-----200 (1 MESSAGE)---->|                         |                         |                         |                         |                         |
               3628  |                         |-----200 (1 MESSAGE)---->|                         |                         |                         |                         |
               3633  |                         |                         |-----200 (1 MESSAGE)---->|                         |                         |                         |
        "#]],
    );
}

#[test]
fn a_call_crosses() {
    let mut world = world(Road::Direct, honest);
    let from = world.world.events().len();
    world.world.call(0, BOB, None, ms(3_000));
    world.world.run_for(ms(8_000));
    check(
        &mut world,
        from,
        &expect![[r#"
            ms       alice                     contoso-home              contoso-edge              hub                       fabrikam-edge             fabrikam-home             bob
               1500  |-------INVITE (1)------->|                         |                         |                         |                         |                         |
               1523   * contoso-home connects
               1528  |                         |-------INVITE (1)------->|                         |                         |                         |                         |
               1551   * contoso-edge connects
               1556  |                         |                         |--------------------INVITE (1)-------------------->|                         |                         |
               1579   * fabrikam-edge connects
               1584  |                         |                         |                         |                         |-------INVITE (1)------->|                         |
               1589  |                         |                         |                         |                         |                         |-------INVITE (1)------->|
               1594  |                         |                         |                         |                         |                         |<----180 (1 INVITE)------|
               1599  |                         |                         |                         |                         |<----180 (1 INVITE)------|                         |
               1604  |                         |                         |<-----------------180 (1 INVITE)-------------------|                         |                         |
               1609  |                         |<----180 (1 INVITE)------|                         |                         |                         |                         |
               1614  |<----180 (1 INVITE)------|                         |                         |                         |                         |                         |
               2594  |                         |                         |                         |                         |                         |<----200 (1 INVITE)------|
               2599  |                         |                         |                         |                         |<----200 (1 INVITE)------|                         |
               2604  |                         |                         |<-----------------200 (1 INVITE)-------------------|                         |                         |
               2609  |                         |<----200 (1 INVITE)------|                         |                         |                         |                         |
               2614  |<----200 (1 INVITE)------|                         |                         |                         |                         |                         |
               2619  |---------ACK (1)-------->|                         |                         |                         |                         |                         |
               2627  |                         |---------ACK (1)-------->|                         |                         |                         |                         |
               2632  |                         |                         |----------------------ACK (1)--------------------->|                         |                         |
               2637  |                         |                         |                         |                         |---------ACK (1)-------->|                         |
               2642  |                         |                         |                         |                         |                         |---------ACK (1)-------->|
               5619  |---------BYE (2)-------->|                         |                         |                         |                         |                         |
               5624  |                         |---------BYE (2)-------->|                         |                         |                         |                         |
               5629  |                         |                         |----------------------BYE (2)--------------------->|                         |                         |
               5634  |                         |                         |                         |                         |---------BYE (2)-------->|                         |
               5639  |                         |                         |                         |                         |                         |---------BYE (2)-------->|
               5644  |                         |                         |                         |                         |                         |<------200 (2 BYE)-------|
               5649  |                         |                         |                         |                         |<------200 (2 BYE)-------|                         |
               5654  |                         |                         |<-------------------200 (2 BYE)--------------------|                         |                         |
               5659  |                         |<------200 (2 BYE)-------|                         |                         |                         |                         |
               5664  |<------200 (2 BYE)-------|                         |                         |                         |                         |                         |
        "#]],
    );
}

#[test]
fn presence_crosses() {
    let mut world = world(Road::Direct, honest);
    let from = world.world.events().len();
    world.world.watch(0, Watched::Person(BOB.to_owned()));
    world.world.run_for(ms(3_000));
    check(
        &mut world,
        from,
        &expect![[r#"
        ms       alice                     contoso-home              contoso-edge              hub                       fabrikam-edge             fabrikam-home             bob
           1500  |------SUBSCRIBE (1)----->|                         |                         |                         |                         |                         |
           1523   * contoso-home connects
           1528  |                         |------SUBSCRIBE (1)----->|                         |                         |                         |                         |
           1551   * contoso-edge connects
           1556  |                         |                         |-------------------SUBSCRIBE (1)------------------>|                         |                         |
           1579   * fabrikam-edge connects
           1584  |                         |                         |                         |                         |------SUBSCRIBE (1)----->|                         |
           1589  |                         |                         |                         |                         |<---200 (1 SUBSCRIBE)----|                         |
           1589  |                         |                         |                         |                         |<------NOTIFY (1)--------|                         |
           1594  |                         |                         |<----------------200 (1 SUBSCRIBE)-----------------|                         |                         |
           1599  |                         |<---200 (1 SUBSCRIBE)----|                         |                         |                         |                         |
           1604  |<---200 (1 SUBSCRIBE)----|                         |                         |                         |                         |                         |
           1612   * fabrikam-edge connects
           1617  |                         |                         |<-------------------NOTIFY (1)---------------------|                         |                         |
           1640   * contoso-edge connects
           1645  |                         |<------NOTIFY (1)--------|                         |                         |                         |                         |
           1650  |<------NOTIFY (1)--------|                         |                         |                         |                         |                         |
           1655  |-----200 (1 NOTIFY)----->|                         |                         |                         |                         |                         |
           1660  |                         |-----200 (1 NOTIFY)----->|                         |                         |                         |                         |
           1665  |                         |                         |------------------200 (1 NOTIFY)------------------>|                         |                         |
           1670  |                         |                         |                         |                         |-----200 (1 NOTIFY)----->|                         |
    "#]],
    );
}

/// Somebody of ours on the internet signs in through the edge, and is reached by colleagues and partners.
#[test]
fn a_remote_user_writes_and_is_written_to() {
    let mut world = world(Road::Direct, honest);
    let from = world.world.events().len();
    let remote = world.remote_device(0, "alice-2");
    world.world.register(remote);
    world.world.run_for(ms(1_000));
    assert!(world.world.device(remote).is_registered(), "{}", world.world.ladder(from));
    world.world.send_message(remote, BOB, None);
    world.world.run_for(ms(2_000));
    world.world.send_message(1, ALICE, None);
    world.world.run_for(ms(2_000));
    assert_eq!(answers(&world), [200, 200], "{}", world.world.ladder(from));
    let parties = ["alice-2", "contoso-edge", "contoso-home", "alice"];
    expect![[r#"
        ms       alice-2                   contoso-edge              contoso-home              alice
           1515   * alice-2 connects
           1520  |------REGISTER (1)------>|                         |                         |
           1543   * contoso-edge connects
           1548  |                         |------REGISTER (1)------>|                         |
           1553  |                         |<---401 (1 REGISTER)-----|                         |
           1558  |<---401 (1 REGISTER)-----|                         |                         |
           1563  |---REGISTER (2) signed-->|                         |                         |
           1568  |                         |---REGISTER (2) signed-->|                         |
           1573  |                         |<---200 (2 REGISTER)-----|                         |
           1578  |<---200 (2 REGISTER)-----|                         |                         |
           2500  |-------MESSAGE (1)------>|                         |                         |
           2505  |                         |-------MESSAGE (1)------>|                         |
           2528   * contoso-home connects
           2533  |                         |<------MESSAGE (1)-------|                         |
           2556   * contoso-edge connects
           2619  |                         |-----200 (1 MESSAGE)---->|                         |
           2624  |                         |<----200 (1 MESSAGE)-----|                         |
           2629  |<----200 (1 MESSAGE)-----|                         |                         |
           2631  |                         |                         |-------MESSAGE (1)------>|
           2636  |                         |                         |<----200 (1 MESSAGE)-----|
           4561  |                         |-------MESSAGE (1)------>|                         |
           4571  |                         |                         |-------MESSAGE (1)------>|
           4574  |                         |<------MESSAGE (1)-------|                         |
           4576  |                         |                         |<----200 (1 MESSAGE)-----|
           4579  |<------MESSAGE (1)-------|                         |                         |
           4581  |                         |<----200 (1 MESSAGE)-----|                         |
           4584  |-----200 (1 MESSAGE)---->|                         |                         |
           4589  |                         |-----200 (1 MESSAGE)---->|                         |
    "#]]
    .assert_eq(&world.world.ladder_between(from, &parties));
    assert_sound(&mut world);
}

/// The same with a Director: it asks for the password, and the home is told who it is. Partners come through it too.
#[test]
fn a_director_signs_a_remote_user_in() {
    let mut world = Federated::new(1, Conditions::calm(), honest);
    let contoso = world.found("contoso.example", 1, Behind::Director, &["alice"]);
    let fabrikam = world.found("fabrikam.example", 1, Behind::Director, &["bob"]);
    world.agree(contoso, fabrikam, Road::Direct);
    world.start();
    let (alice, bob) = (world.remote_device(contoso, "alice"), world.remote_device(fabrikam, "bob"));
    // The Director needs the home's accounts first.
    world.world.run_for(ms(2_000));
    let from = world.world.events().len();
    for device in [alice, bob] {
        world.world.register(device);
        world.world.run_for(ms(1_000));
        assert!(world.world.device(device).is_registered(), "{}", world.world.ladder(from));
    }
    world.world.send_message(alice, BOB, None);
    world.world.run_for(ms(2_000));
    world.world.send_message(bob, ALICE, None);
    world.world.run_for(ms(2_000));
    assert_eq!(answers(&world), [200, 200], "{}", world.world.ladder(from));
    let parties = ["alice", "contoso-edge", "contoso-director", "contoso-home", "fabrikam-edge"];
    expect![[r#"
        ms       alice                     contoso-edge              contoso-director          contoso-home              fabrikam-edge
           2015   * alice connects
           2020  |------REGISTER (1)------>|                         |                         |                         |
           2043   * contoso-edge connects
           2048  |                         |------REGISTER (1)------>|                         |                         |
           2053  |                         |<---401 (1 REGISTER)-----|                         |                         |
           2058  |<---401 (1 REGISTER)-----|                         |                         |                         |
           2063  |---REGISTER (2) signed-->|                         |                         |                         |
           2068  |                         |---REGISTER (2) signed-->|                         |                         |
           2073  |                         |                         |------REGISTER (2)------>|                         |
           2078  |                         |                         |<---200 (2 REGISTER)-----|                         |
           2083  |                         |<---200 (2 REGISTER)-----|                         |                         |
           2088  |<---200 (2 REGISTER)-----|                         |                         |                         |
           3043   * fabrikam-edge connects
           4000  |-------MESSAGE (1)------>|                         |                         |                         |
           4005  |                         |-------MESSAGE (1)------>|                         |                         |
           4010  |                         |                         |-------MESSAGE (1)------>|                         |
           4033   * contoso-home connects
           4038  |                         |<-------------------MESSAGE (1)--------------------|                         |
           4061   * contoso-edge connects
           4066  |                         |---------------------------------MESSAGE (1)-------------------------------->|
           4172  |                         |<------------------------------200 (1 MESSAGE)-------------------------------|
           4177  |                         |------------------200 (1 MESSAGE)----------------->|                         |
           4182  |                         |                         |<----200 (1 MESSAGE)-----|                         |
           4187  |                         |<----200 (1 MESSAGE)-----|                         |                         |
           4192  |<----200 (1 MESSAGE)-----|                         |                         |                         |
           6061   * fabrikam-edge connects
           6066  |                         |<--------------------------------MESSAGE (1)---------------------------------|
           6071  |                         |-------MESSAGE (1)------>|                         |                         |
           6076  |                         |                         |-------MESSAGE (1)------>|                         |
           6104   * contoso-home connects
           6109  |                         |                         |<------MESSAGE (1)-------|                         |
           6132   * contoso-director connects
           6137  |                         |<------MESSAGE (1)-------|                         |                         |
           6142  |<------MESSAGE (1)-------|                         |                         |                         |
           6147  |-----200 (1 MESSAGE)---->|                         |                         |                         |
           6152  |                         |-----200 (1 MESSAGE)---->|                         |                         |
           6157  |                         |                         |-----200 (1 MESSAGE)---->|                         |
           6162  |                         |                         |<----200 (1 MESSAGE)-----|                         |
           6167  |                         |<----200 (1 MESSAGE)-----|                         |                         |
           6172  |                         |-------------------------------200 (1 MESSAGE)------------------------------>|
    "#]].assert_eq(&world.world.ladder_between(from, &parties));
    assert_sound(&mut world);
}

#[test]
fn a_policy_holds_from_the_next_request_on() {
    let mut world = world(Road::Direct, honest);
    for (ours, theirs) in [
        (Road::Direct, Road::Direct),
        (Road::Hub, Road::Hub),
        // While one side has moved and the other has not, nothing passes.
        (Road::Direct, Road::Hub),
        (Road::Direct, Road::Direct),
        (Road::Blocked, Road::Direct),
        (Road::Direct, Road::Blocked),
        (Road::Direct, Road::Direct),
    ] {
        world.decide(0, 1, ours);
        world.decide(1, 0, theirs);
        world.world.send_message(0, BOB, None);
        world.world.run_for(ms(5_000));
        world.world.send_message(1, ALICE, None);
        world.world.run_for(ms(5_000));
    }
    let expected = [200, 200, 200, 200, 403, 403, 200, 200, 403, 403, 403, 403, 200, 200];
    assert_eq!(answers(&world), expected, "{}", world.world.ladder(0));
    assert_sound(&mut world);
}

/// Once found by a random world: the edge had judged the message and waited for its connection when the policy changed.
#[test]
fn what_waits_for_a_connection_does_not_leave_under_the_new_policy() {
    let mut world = world(Road::Direct, honest);
    let from = world.world.events().len();
    world.world.send_message(0, BOB, None);
    world.world.run_for(ms(45));
    world.decide(0, 1, Road::Blocked);
    world.world.run_for(ms(90_000));
    let got = |event: &crate::event::Event| {
        matches!(&event.what, What::Fact { device: 1, fact: Fact::Received { .. } })
    };
    assert!(!world.world.events().iter().any(got), "{}", world.world.ladder(from));
    check(
        &mut world,
        from,
        &expect![[r#"
        ms       alice                     contoso-home              contoso-edge              hub                       fabrikam-edge             fabrikam-home             bob
           1500  |-------MESSAGE (1)------>|                         |                         |                         |                         |                         |
           1523   * contoso-home connects
           1528  |                         |-------MESSAGE (1)------>|                         |                         |                         |                         |
           1545   * the policy of contoso-edge changes
           1545  |                         |<----480 (1 MESSAGE)-----|                         |                         |                         |                         |
           1550  |<----480 (1 MESSAGE)-----|                         |                         |                         |                         |                         |
           1551   * contoso-edge connects
    "#]],
    );
}

/// Once found by random worlds: edges of one name are reached by whichever address a partner likes, and a dialog that had left
/// through one of them was refused when it came back through the other.
#[test]
fn a_dialog_goes_on_through_the_other_edge() {
    for edge in 0..2 {
        let mut world = Federated::new(1, Conditions::calm(), honest);
        let contoso = world.found("contoso.example", 2, Behind::Home, &["alice"]);
        let fabrikam = world.found("fabrikam.example", 1, Behind::Home, &["bob"]);
        world.agree(contoso, fabrikam, Road::Direct);
        world.start();
        let (alice, bob) = (world.device(contoso, "alice"), world.device(fabrikam, "bob"));
        world.world.register(alice);
        world.world.register(bob);
        world.world.run_for(ms(500));
        let call = world.world.call(alice, BOB, None, ms(60_000)).expect("Alice is registered");
        world.world.watch(alice, Watched::Person(BOB.into()));
        world.world.run_for(ms(5_000));
        let [one, other] = [contoso, fabrikam].map(|of| world.layout.organisations[of].edges.clone());
        world.world.crash(one[edge], Crash::Killed);
        world.world.set_link_cut(one[edge], other[0], true);
        world.world.start(one[edge]);
        let posture = Posture { pose: Pose::Busy, activity: None, note: None, place: None };
        world.world.publish(bob, Some(posture));
        world.world.hang_up(bob, &call);
        world.world.run_for(ms(45_000));
        assert_eq!(world.world.device(alice).calls_under_way(), 0, "{}", world.world.ladder(0));
        world.world.set_link_cut(one[edge], other[0], false);
        world.world.run_for(MINUTE * 3);
        assert_sound(&mut world);
    }
}

/// The edge that a call runs through dies and stays dead: whoever is left takes over what comes from inside, which names the dead
/// one in its Route. With a Director between as without.
#[test]
fn a_dialog_of_a_dead_edge_goes_on_from_inside() {
    for (behind, edge) in [(Behind::Home, 0), (Behind::Home, 1), (Behind::Director, 0), (Behind::Director, 1)]
    {
        let mut world = Federated::new(1, Conditions::calm(), honest);
        let contoso = world.found("contoso.example", 2, behind, &["alice"]);
        let fabrikam = world.found("fabrikam.example", 1, Behind::Home, &["bob"]);
        world.agree(contoso, fabrikam, Road::Direct);
        world.start();
        let (alice, bob) = (world.device(contoso, "alice"), world.device(fabrikam, "bob"));
        world.world.register(alice);
        world.world.register(bob);
        world.world.run_for(ms(500));
        let edges = world.layout.organisations[contoso].edges.clone();
        // The call is set up through the one that is to die.
        world.world.crash(edges[1 - edge], Crash::Killed);
        let call = world.world.call(alice, BOB, None, ms(600_000)).expect("Alice is registered");
        world.world.watch(bob, Watched::Person(ALICE.into()));
        world.world.run_for(ms(10_000));
        assert_eq!(world.world.device(bob).calls_under_way(), 1, "{}", world.world.ladder(0));
        world.world.start(edges[1 - edge]);
        world.world.crash(edges[edge], Crash::Killed);
        let from = world.world.events().len();
        let seen = |world: &Federated| {
            let device = world.world.device(bob);
            device.watches().map(|(_, is_active, seen)| format!("{is_active} {seen:?}")).collect::<String>()
        };
        let before = seen(&world);
        let posture = Posture { pose: Pose::Away, activity: None, note: None, place: None };
        world.world.publish(alice, Some(posture));
        world.world.hang_up(alice, &call);
        world.world.run_for(ms(20_000));
        assert_eq!(world.world.device(bob).calls_under_way(), 0, "{}", world.world.ladder(from));
        let after = seen(&world);
        assert!(
            after.starts_with("true") && after != before,
            "{before}\n{after}\n{}",
            world.world.ladder(from)
        );
        world.world.start(edges[edge]);
        assert_sound(&mut world);
    }
}

/// A call from elsewhere goes on to a colleague of who was called, Alice, who is outside. She ends it by the address that was called.
#[test]
fn whom_a_call_was_forwarded_to_hangs_up_outside() {
    for behind in [Behind::Home, Behind::Director] {
        let mut world = Federated::new(1, Conditions::calm(), honest);
        let contoso = world.found("contoso.example", 1, behind, &["alice", "dana"]);
        let fabrikam = world.found("fabrikam.example", 1, Behind::Home, &["bob"]);
        world.agree(contoso, fabrikam, Road::Direct);
        let user = world.world.user_id("dana");
        let forward_always = Some(world.world.address_of("alice", "contoso.example"));
        let settings = CallSettings { forward_always, ..CallSettings::default() };
        let home = world.layout.organisations[contoso].home;
        world.world.provision(home, Change::SetCallSettings { user, settings });
        world.start();
        world.world.run_for(ms(2_000));
        let (alice, bob) = (world.remote_device(contoso, "alice"), world.device(fabrikam, "bob"));
        world.world.register(alice);
        world.world.register(bob);
        world.world.run_for(ms(2_000));
        let from = world.world.events().len();
        let call =
            world.world.call(bob, "dana@contoso.example", None, ms(600_000)).expect("Bob is registered");
        world.world.run_for(ms(5_000));
        let calls = [alice, bob].map(|device| world.world.device(device).calls_under_way());
        assert_eq!(calls, [1, 1], "{}", world.world.ladder(from));
        world.world.hang_up(alice, &call);
        world.world.run_for(ms(5_000));
        let calls = [alice, bob].map(|device| world.world.device(device).calls_under_way());
        assert_eq!(calls, [0, 0], "{}", world.world.ladder(from));
        assert_sound(&mut world);
    }
}

#[test]
fn the_community_talks_through_the_hub() {
    let mut world = world(Road::Direct, honest);
    for (device, to) in [(0, CAROL), (1, CAROL), (2, ALICE), (2, BOB), (0, BOB)] {
        world.world.send_message(device, to, None);
        world.world.run_for(ms(2_000));
    }
    assert_eq!(answers(&world), [200; 5], "{}", world.world.ladder(0));
    assert_sound(&mut world);
}

#[test]
fn a_partner_that_speaks_for_another_is_refused() {
    let mut world = world(Road::Direct, |name, factory| match name {
        "fabrikam-edge" => planted(factory, Plant::SpeaksForOthers),
        _ => factory,
    });
    world.world.send_message(1, ALICE, None);
    world.world.run_for(ms(2_000));
    assert_eq!(answers(&world), [403], "{}", world.world.ladder(0));
    let got = world
        .world
        .events()
        .iter()
        .any(|event| matches!(&event.what, What::Fact { device: 0, fact: Fact::Received { .. } }));
    assert!(!got, "{}", world.world.ladder(0));
    assert_sound(&mut world);
}

/// Worlds of one test.
const WORLDS: u64 = 10;

fn run(part: u64) {
    for seed in part * WORLDS..(part + 1) * WORLDS {
        let outcome = run_seed(seed, honest);
        assert!(outcome.violations.is_empty(), "{outcome}");
    }
}

#[test]
fn seeds_0_to_9() {
    run(0);
}

#[test]
fn seeds_10_to_19() {
    run(1);
}

#[test]
fn seeds_20_to_29() {
    run(2);
}

#[test]
fn seeds_30_to_39() {
    run(3);
}

#[test]
fn a_seed_is_one_world_and_much_happens_in_it() {
    let worlds = [run_seed(1_000, honest), run_seed(1_000, honest), run_seed(1_001, honest)];
    let traces = worlds.each_ref().map(|world| world.federated.world.trace());
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
    let sum =
        |count: fn(&crate::federated::random::Outcome) -> usize| worlds.iter().map(count).sum::<usize>();
    assert!(sum(|w| w.accepted) > 60, "{} messages", sum(|w| w.accepted));
    assert!(sum(|w| w.refused) > 20, "{} refusals", sum(|w| w.refused));
    assert!(sum(|w| w.calls) > 6, "{} calls", sum(|w| w.calls));
}

/// Runs `story` between honest machines, where nothing may be found, and with a plant, where `checker` must say something
/// that contains `words`.
fn plant(wrap: Wrap, checker: &str, words: &str, story: fn(Wrap) -> Federated) {
    let mut honest_world = story(honest);
    assert_sound(&mut honest_world);
    let mut world = story(wrap);
    world.world.run_for(MINUTE);
    let found = world.violations(SILENCE);
    let is_named = found.iter().any(|v| v.checker == checker && v.what.contains(words));
    assert!(is_named, "{checker} did not say {words:?}: {found:?}\n{}", world.world.ladder(0));
}

fn two_messages(wrap: Wrap) -> Federated {
    let mut world = world(Road::Direct, wrap);
    for (device, to) in [(0, BOB), (1, ALICE)] {
        world.world.send_message(device, to, None);
        world.world.run_for(ms(2_000));
    }
    world
}

fn two_messages_after(road: Road, wrap: Wrap) -> Federated {
    let mut world = world(Road::Direct, wrap);
    world.decide(0, 1, road);
    for (device, to) in [(0, BOB), (1, ALICE)] {
        world.world.send_message(device, to, None);
        world.world.run_for(ms(2_000));
    }
    world
}

#[test]
fn a_sender_whom_nobody_proved_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "contoso-edge" => planted(factory, Plant::SpeaksForOthers),
        _ => factory,
    };
    plant(wrap, "proved", "a MESSAGE of northwind.example", two_messages);
}

#[test]
fn a_server_inside_that_is_shown_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "contoso-edge" => planted(factory, Plant::ShowsTheInside),
        _ => factory,
    };
    plant(wrap, "hidden", "contoso.example shows a server inside", two_messages);
}

#[test]
fn a_message_that_is_swallowed_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "fabrikam-edge" => planted(factory, Plant::AcceptsAndForgets),
        _ => factory,
    };
    plant(wrap, "answered", "was accepted and is nowhere", two_messages);
}

#[test]
fn a_message_to_whom_is_blocked_is_found() {
    plant(stubborn, "blocked", "fabrikam.example got a MESSAGE", |wrap| {
        two_messages_after(Road::Blocked, wrap)
    });
}

#[test]
fn a_domain_by_the_other_road_is_found() {
    plant(stubborn, "one road", "came [Direct], decided is Hub", |wrap| two_messages_after(Road::Hub, wrap));
}

/// Bob asks Alice, whose device takes its time; meanwhile Contoso blocks Fabrikam, which it reaches through the hub.
#[test]
fn an_answer_to_whom_is_blocked_is_found() {
    plant(stubborn, "blocked", "fabrikam.example got 200 to MESSAGE", |wrap| {
        let mut world = world(Road::Hub, wrap);
        world.world.script(0).on_message = Reaction::TakeLate(ms(500));
        world.world.send_message(1, ALICE, None);
        world.world.run_for(ms(300));
        world.decide(0, 1, Road::Blocked);
        world.world.run_for(ms(60_000));
        // Bob's device asks until it is told something.
        world.decide(0, 1, Road::Hub);
        world.world.run_for(ms(10_000));
        world
    });
}

#[test]
fn a_home_that_shows_partners_too_much_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "contoso-home" => dishonest::planted(factory, dishonest::Plant::ShowsAll),
        _ => factory,
    };
    plant(wrap, "presence level", "at level external, is shown a note", |wrap| {
        let mut world = world(Road::Direct, wrap);
        let note = Some("note:alice:1".into());
        world.world.publish(0, Some(Posture { pose: Pose::Busy, activity: None, note, place: None }));
        world.world.run_for(ms(1_000));
        world.world.watch(0, Watched::Person(ALICE.into()));
        world.world.run_for(ms(1_000));
        world.world.watch(1, Watched::Person(ALICE.into()));
        world.world.run_for(ms(1_000));
        world
    });
}

#[test]
fn a_remote_device_that_cannot_register_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "contoso-edge" => dishonest::planted(factory, dishonest::Plant::IgnoresRegistrations),
        _ => factory,
    };
    plant(wrap, "settled", "alice-2 is not registered", |wrap| {
        let mut world = world(Road::Direct, wrap);
        let remote = world.remote_device(0, "alice-2");
        world.world.register(remote);
        world.world.run_for(ms(5_000));
        world
    });
}

#[test]
fn a_request_that_goes_round_is_found() {
    let wrap: Wrap = |name, factory| match name {
        "contoso-edge" | "fabrikam-edge" => planted(factory, Plant::Bounces),
        _ => factory,
    };
    plant(wrap, "loops", "a MESSAGE of contoso.example goes round", two_messages);
}

fn stubborn(name: &str, factory: Factory) -> Factory {
    match name {
        "contoso-edge" => planted(factory, Plant::KeepsItsPolicy),
        _ => factory,
    }
}

/// What an edge does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// Writes another organisation into From of what Fabrikam's people say.
    SpeaksForOthers,
    /// Says outside which server inside it speaks for.
    ShowsTheInside,
    /// Answers messages instead of passing them on.
    AcceptsAndForgets,
    /// Takes over no policy while it runs.
    KeepsItsPolicy,
    /// Sends what comes from outside back where it came from.
    Bounces,
}

struct Dishonest {
    honest: Box<dyn Role>,
    plant: Plant,
    ready: VecDeque<Output<Home>>,
}

fn planted(factory: Factory, plant: Plant) -> Factory {
    Box::new(move |boot| Box::new(Dishonest { honest: factory(boot), plant, ready: VecDeque::new() }))
}

impl Role for Dishonest {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        if let Input::Received { flow, bytes } = &input
            && let Ok(message) = Message::parse(bytes.clone())
            && message.is_request()
            && message.method() == Method::Message
        {
            match self.plant {
                Plant::AcceptsAndForgets => {
                    let bytes = ResponseBuilder::new(&message, 200).to_tag("t").build();
                    return self.ready.push_back(Output::Send { flow: *flow, bytes });
                }
                // What comes from a home still goes out.
                Plant::Bounces if message.header_named("P-Asserted-Identity").is_none() => {
                    return self.ready.push_back(Output::Send { flow: *flow, bytes: bytes.clone() });
                }
                _ => {}
            }
        }
        self.honest.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        match self.honest.poll_output()? {
            Output::Send { flow, bytes } if self.plant == Plant::SpeaksForOthers => {
                Some(Output::Send { flow, bytes: for_another(&bytes).unwrap_or(bytes) })
            }
            Output::Send { flow, bytes } if self.plant == Plant::ShowsTheInside => {
                let message = Message::parse(bytes.clone());
                let bytes = message.map_or(bytes, |message| {
                    Edit::new(&message).append_named("X-Home", "fe.contoso.example".to_owned()).write()
                });
                Some(Output::Send { flow, bytes })
            }
            output => Some(output),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.honest.next_deadline()
    }

    fn set_policy(&mut self, now: Now, policy: Arc<Policy>) {
        if self.plant != Plant::KeepsItsPolicy {
            self.honest.set_policy(now, policy);
        }
    }

    fn load(&self) -> Option<Load> {
        self.honest.load()
    }
}

fn for_another(bytes: &bytes::Bytes) -> Option<bytes::Bytes> {
    let message = Message::parse(bytes.clone()).ok().filter(Message::is_request)?;
    let from = String::from_utf8(message.header(HeaderId::From)?.to_vec()).ok()?;
    let other = from.replace("@fabrikam.example", "@northwind.example");
    (other != from).then(|| Edit::new(&message).set(HeaderId::From, other).write())
}
