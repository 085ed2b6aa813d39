//! Why one person reaches another.

use directory::{SipAddress, UserState};
use expect_test::{Expect, expect};
use presence::ManualState;

use super::world::World;
use crate::admin::{Answer, Call, Verdict};

fn address(name: &str) -> SipAddress {
    SipAddress::parse(name).unwrap()
}

fn check(world: &mut World, from: &str, to: &str, expected: Expect) {
    let Answer::Explanation(explanation) = world.call(Call::Explain { from: address(from), to: address(to) })
    else {
        panic!("no explanation")
    };
    let mut text = String::new();
    for step in explanation.steps {
        assert_eq!(step.verdict == Verdict::Stops, step.mend.is_some(), "what stops has a mend");
        text += &format!("{:?} {}: {}\n", step.verdict, step.what, step.finding);
    }
    expected.assert_eq(&text);
}

#[test]
fn a_person_with_a_device_is_reached() {
    let mut world = World::new();
    world.sign_in("alice");
    world.sign_in("bob");
    check(
        &mut world,
        "alice@contoso.example",
        "bob@contoso.example",
        expect![[r#"
            Passes sender: alice@contoso.example exists and is enabled
            Passes sender's devices: one device
            Passes recipient: bob@contoso.example exists and is enabled
            Passes device: sip:bob@bob-pc.invalid;transport=tls over tls from 198.51.100.7:40002, reached over its connection, for 3600 more seconds
            Passes access level: company
            Passes presence: seen as 3500 (Available), because: a device says so
            Passes messages: are delivered at once
            Passes calls: ring on one device
        "#]],
    );
}

#[test]
fn without_a_device_calls_stop_and_messages_wait() {
    let mut world = World::new();
    check(
        &mut world,
        "alice@contoso.example",
        "bob@contoso.example",
        expect![[r#"
            Passes sender: alice@contoso.example exists and is enabled
            Notes sender's devices: none is registered: nothing comes from them now
            Passes recipient: bob@contoso.example exists and is enabled
            Notes device: none of the recipient's is registered
            Passes access level: company
            Passes presence: seen as 18500 (Offline), because: no device is there
            Notes messages: are kept (202) until a device registers; 0 are waiting
            Stops calls: are answered 480: no device of the user is registered
        "#]],
    );
}

#[test]
fn on_do_not_disturb_messages_wait_and_calls_stop() {
    let mut world = World::new();
    world.sign_in("alice");
    world.sign_in("bob");
    let choice = Some((ManualState::DoNotDisturb, None));
    let bob = address("bob@contoso.example");
    assert_eq!(world.call(Call::SetPresence { address: bob, choice, note: None }), Answer::Done);
    check(
        &mut world,
        "alice@contoso.example",
        "bob@contoso.example",
        expect![[r#"
        Passes sender: alice@contoso.example exists and is enabled
        Passes sender's devices: one device
        Passes recipient: bob@contoso.example exists and is enabled
        Passes device: sip:bob@bob-pc.invalid;transport=tls over tls from 198.51.100.7:40002, reached over its connection, for 3600 more seconds
        Passes access level: company
        Passes presence: seen as 9500 (DoNotDisturb), because: it was chosen (do-not-disturb)
        Notes do-not-disturb: is in force, and level company may not interrupt it
        Notes messages: are kept (202) until do-not-disturb ends, or somebody writes who may interrupt it; 0 are waiting
        Stops calls: are answered 486: the user is not to be disturbed
    "#]],
    );
}

#[test]
fn accounts_and_domains_are_looked_at_first() {
    let mut world = World::new();
    world.call(Call::SetUserState(address("bob@contoso.example"), UserState::Disabled));
    check(
        &mut world,
        "alice@contoso.example",
        "bob@contoso.example",
        expect![[r#"
        Passes sender: alice@contoso.example exists and is enabled
        Notes sender's devices: none is registered: nothing comes from them now
        Stops recipient: bob@contoso.example is disabled: it cannot sign in, and others find nobody there (404)
    "#]],
    );
    check(
        &mut world,
        "alice@contoso.example",
        "nobody@contoso.example",
        expect![[r#"
        Passes sender: alice@contoso.example exists and is enabled
        Notes sender's devices: none is registered: nothing comes from them now
        Stops recipient: there is no account nobody@contoso.example; requests to it are answered 404
    "#]],
    );
    check(
        &mut world,
        "alice@contoso.example",
        "erin@fabrikam.example",
        expect![[r#"
        Passes sender: alice@contoso.example exists and is enabled
        Notes sender's devices: none is registered: nothing comes from them now
        Passes permission: alice@contoso.example may talk with other organisations
        Stops route: this server has no way to other organisations: requests to them are answered 403
    "#]],
    );
    check(
        &mut world,
        "erin@fabrikam.example",
        "alice@contoso.example",
        expect![[r#"
        Notes sender: erin@fabrikam.example is of another organisation; our Access Edge decides whether it is heard
        Stops route: this server has no way to other organisations: requests to them are answered 403
        Passes recipient: alice@contoso.example exists and is enabled
    "#]],
    );
}
