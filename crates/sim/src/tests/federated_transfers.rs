//! Calls between organisations that are transferred, by the Contact that the other side was shown: with Directors, directly and
//! through the hub.

use super::support::{SILENCE, ms};
use crate::Conditions;
use crate::device::TransferTo;
use crate::event::{Fact, What};
use crate::federated::{Behind, Federated, HubMake, Road, honest};

/// Alice and Dana at Contoso, Bob and Erin at Fabrikam, one device each, signed in.
fn world(road: Road) -> (Federated, [usize; 4]) {
    let mut world = Federated::new(1, Conditions::calm(), honest);
    let contoso = world.found("contoso.example", 1, Behind::Director, &["alice", "dana"]);
    let fabrikam = world.found("fabrikam.example", 1, Behind::Director, &["bob", "erin"]);
    world.found_hub(HubMake::Ours);
    world.agree(contoso, fabrikam, road);
    world.start();
    world.world.run_for(ms(2_000));
    let people = [(contoso, "alice"), (contoso, "dana"), (fabrikam, "bob"), (fabrikam, "erin")];
    let devices = people.map(|(organisation, name)| {
        let device = world.device(organisation, name);
        world.world.register(device);
        world.world.run_for(ms(500));
        assert!(world.world.device(device).is_registered(), "{}", world.world.ladder(0));
        device
    });
    (world, devices)
}

fn call(world: &mut Federated, from: usize, to: &str) -> String {
    let call = world.world.call(from, to, None, ms(60_000)).expect("the caller is registered");
    world.world.run_for(ms(4_000));
    call
}

/// Connects who talks in `first` with who talks in `second`, both with `by`; each of the other two has one call then.
fn check(world: &mut Federated, by: usize, [first, second]: [&str; 2], others: [usize; 2]) {
    let from = world.world.events().len();
    world.world.transfer(by, first, &TransferTo::Contact(second.to_owned()));
    world.world.run_for(ms(3_000));
    let ended = world.world.events()[from..].iter().filter_map(|event| match &event.what {
        What::Fact { fact: Fact::Transferred { status, .. }, .. } => Some(*status),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [200], "{}", world.world.ladder(from));
    let calls = [others[0], others[1], by].map(|device| world.world.device(device).calls_under_way());
    assert_eq!(calls, [1, 1, 0], "{}", world.world.ladder(from));
    world.world.run_for(ms(120_000));
    let violations: Vec<String> = world.violations(SILENCE).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), world.world.ladder(from));
}

#[test]
fn somebody_elsewhere_connects_two_of_ours() {
    for road in [Road::Direct, Road::Hub] {
        let (mut world, [alice, dana, bob, _]) = world(road);
        let first = call(&mut world, alice, "bob@fabrikam.example");
        let second = call(&mut world, bob, "dana@contoso.example");
        check(&mut world, bob, [&first, &second], [alice, dana]);
    }
}

#[test]
fn somebody_elsewhere_connects_a_colleague_with_one_of_ours() {
    for road in [Road::Direct, Road::Hub] {
        let (mut world, [alice, _, bob, erin]) = world(road);
        let first = call(&mut world, bob, "alice@contoso.example");
        let second = call(&mut world, erin, "bob@fabrikam.example");
        check(&mut world, bob, [&second, &first], [erin, alice]);
    }
}

#[test]
fn one_of_ours_connects_a_colleague_with_somebody_elsewhere() {
    for road in [Road::Direct, Road::Hub] {
        let (mut world, [alice, dana, bob, _]) = world(road);
        let first = call(&mut world, bob, "alice@contoso.example");
        let second = call(&mut world, alice, "dana@contoso.example");
        check(&mut world, alice, [&second, &first], [dana, bob]);
    }
}
