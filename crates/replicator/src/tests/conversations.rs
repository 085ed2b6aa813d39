//! What happens, from the directory's change to the home's.

use std::time::Duration;

use directory::{ObjectId, ObjectKind, Role, Standing};
use directory_source::{Dn, ServerKind};
use expect_test::{Expect, expect};
use federation::ServerRole;

use super::world::*;
use crate::{Answer, Command, FindingKind, HINT_GAP, Input, REFUSED_AGAIN, Settings};

const POLL: Duration = Duration::from_secs(2);

/// What is said until the next poll is over.
fn check(world: &mut World, expected: &Expect) {
    world.advance(POLL);
    expected.assert_eq(&world.said());
}

/// A world in step, with users of these names and the ids 1, 2, 3.
fn world(names: &[&str]) -> World {
    world_with(settings(), names)
}

fn world_with(settings: Settings, names: &[&str]) -> World {
    let mut server = Server::new(Way::DirSync);
    for (number, name) in (1..).zip(names) {
        server.user(number, name);
    }
    let mut world = World::new(settings, server);
    world.settle();
    world.said();
    world
}

fn alarms(world: &World) -> Vec<String> {
    world.replicator.report().alarms.iter().map(ToString::to_string).collect()
}

fn findings(world: &World) -> Vec<(u8, FindingKind)> {
    world.replicator.report().findings.into_iter().map(|found| (found.object.0[15], found.kind)).collect()
}

fn standing(world: &World, number: u8) -> Standing {
    world.home.account(number).account.standing
}

fn group(text: &str) -> Option<Dn> {
    Some(Dn::parse(&format!("CN={text},OU=Staff,{BASE}")).unwrap())
}

#[test]
fn everybody_comes_and_a_change_follows() {
    let mut server = Server::new(Way::Usn);
    server.user(1, "alice");
    server.user(2, "bob");
    let mut world = World::new(settings(), server);
    world.settle();
    expect![[r#"
        log directory-connected host=dc1 domain=corp.example
        reads everything
        commits
          +account alice@corp.example active
          +account bob@corp.example active
          object person "alice"
          object person "bob"
        log directory-followed added=2 changed=0 cut_off=0 removed=0 objects=2
    "#]]
    .assert_eq(&world.said());
    let account = &world.home.account(1).account;
    assert_eq!(account.bind_name, "alice@corp.example");
    assert_eq!(account.sign_in_names, ["alice", "alice@corp.example", "corp\\alice"]);
    check(&mut world, &expect![[""]]);
    world.server.set(id(1), "title", "Director");
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              object person "alice"
            log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=1
        "#]],
    );
    assert_eq!(world.home.objects[&id(1)].card.title, "Director");
    // What changes nothing here is read and committed to nobody.
    world.server.set(id(1), "lastlogontimestamp", "1");
    check(
        &mut world,
        &expect![[r#"
        reads 1
    "#]],
    );
}

#[test]
fn a_notification_is_a_poll_and_many_are_one() {
    let mut world = world(&["alice"]);
    world.advance(HINT_GAP);
    world.server.set(id(1), "title", "Director");
    for _ in 0..3 {
        world.input(Input::Event(directory_source::Event::Hint));
    }
    world.settle();
    assert_eq!(world.home.objects[&id(1)].card.title, "Director");
    world.server.set(id(1), "title", "President");
    world.input(Input::Event(directory_source::Event::Hint));
    world.settle();
    assert_eq!(world.home.objects[&id(1)].card.title, "Director", "not yet");
    world.advance(HINT_GAP);
    assert_eq!(world.home.objects[&id(1)].card.title, "President");
}

#[test]
fn leavers_are_cut_off_and_come_back() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    world.server.set(id(1), "useraccountcontrol", "514");
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              account alice@corp.example disabled
              object person "alice" hidden
            log directory-followed added=0 changed=0 cut_off=1 removed=0 objects=1
        "#]],
    );
    world.server.delete(id(2));
    check(
        &mut world,
        &expect![[r#"
            reads 2
            commits
              account bob@corp.example gone
              -object 00000000-0000-0000-0000-000000000002
            log directory-followed added=0 changed=0 cut_off=1 removed=0 objects=1
        "#]],
    );
    assert_eq!(standing(&world, 2), Standing::Gone);
    assert!(world.home.account(2).account.sign_in_names.is_empty());
    world.server.set(id(1), "useraccountcontrol", "512");
    world.server.restore(id(2));
    check(
        &mut world,
        &expect![[r#"
            reads 1 2
            commits
              account alice@corp.example active
              account bob@corp.example active
              object person "alice"
              object person "bob"
            log directory-followed added=0 changed=2 cut_off=0 removed=0 objects=2
        "#]],
    );
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Active, Standing::Active));
}

#[test]
fn the_deleted_are_kept_for_a_while() {
    // Seldom, because a month of looking every two seconds takes its time.
    let mut world = world_with(Settings { poll: Duration::from_hours(1), ..settings() }, &["alice", "bob"]);
    world.server.delete(id(2));
    world.advance(Duration::from_hours(29 * 24));
    assert_eq!(standing(&world, 2), Standing::Gone);
    // The time goes on over a restart.
    world.crash();
    world.advance(Duration::from_hours(20));
    assert!(world.home.accounts.contains_key(&id(2)));
    world.advance(Duration::from_hours(5));
    assert!(!world.home.accounts.contains_key(&id(2)));
    assert_eq!(world.home.accounts.len(), 1);
}

#[test]
fn times_come_without_a_change() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    let now = world.now.wall.0;
    world.server.set(id(1), "accountexpires", &filetime(now + 10_000));
    world.server.set(id(2), "lockouttime", &filetime(now - 1_000_000));
    world.server.set(id(3), "accountexpires", &filetime(now - 1));
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3
            commits
              account alice@corp.example active
              account bob@corp.example locked-out
              account carol@corp.example expired
              object person "carol" hidden
            log directory-followed added=0 changed=1 cut_off=2 removed=0 objects=1
        "#]],
    );
    world.server.is_up = false;
    world.advance(Duration::from_secs(6));
    world.said();
    check(
        &mut world,
        &expect![[r#"
            commits
              account alice@corp.example expired
              object person "alice" hidden
            log directory-followed added=0 changed=0 cut_off=1 removed=0 objects=1
        "#]],
    );
    world.advance(Duration::from_secs(800));
    assert_eq!(standing(&world, 2), Standing::Active, "the lock is over, whether the server is there or not");
}

#[test]
fn accounts_expire_also_when_the_directory_is_away_since_the_start() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    let now = world.now.wall.0;
    world.server.set(id(1), "accountexpires", &filetime(now + 60_000));
    world.server.set(id(2), "accountexpires", &filetime(now + 90_000));
    world.advance(POLL);
    world.server.is_up = false;
    world.crash();
    world.advance(Duration::from_secs(50));
    assert!(world.home.cut_off.is_empty());
    world.said();
    world.advance(Duration::from_secs(10));
    expect![[r#"
        commits
          account alice@corp.example expired
        log directory-followed added=0 changed=0 cut_off=1 removed=0 objects=0
    "#]]
    .assert_eq(&world.said());
    world.advance(Duration::from_secs(600));
    assert_eq!(world.home.cut_off, [id(1), id(2)]);
    // Who has longer there has longer here, as soon as it is seen.
    world.server.set(id(1), "accountexpires", "0");
    world.server.is_up = true;
    world.advance(crate::BACKOFF_MAX);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Active, Standing::Expired));
}

#[test]
fn a_clock_that_jumps_at_the_start_expires_few() {
    let names: Vec<String> = (1..=25).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = world_with(Settings { removal_users: 5, ..settings() }, &names);
    let now = world.now.wall.0;
    for number in 1..=20 {
        world.server.set(id(number), "accountexpires", &filetime(now + 100_000_000_000));
    }
    world.advance(POLL);
    world.server.is_up = false;
    world.crash();
    world.now.wall.0 += 200_000_000_000;
    world.advance(Duration::from_secs(60));
    assert!(world.home.cut_off.is_empty());
}

#[test]
fn a_lock_lasts_as_long_as_the_server_says_and_not_the_domain() {
    let mut world = world(&["alice", "bob", "carol"]);
    let now = world.now.wall.0;
    let compute = |world: &mut World, number: u8, flags: &str| {
        // No change shows it.
        let (thing, _) = world.server.things.get_mut(&id(number)).unwrap();
        thing.attributes.insert(LOCK_STATE.to_owned(), vec![flags.as_bytes().to_vec()]);
    };
    for number in [1, 2] {
        world.server.set(id(number), "lockouttime", &filetime(now));
        compute(&mut world, number, "16");
    }
    world.advance(POLL);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::LockedOut, Standing::LockedOut));
    // The lock of one is shorter than the domain's half hour, ...
    compute(&mut world, 1, "0");
    world.advance(Duration::from_secs(180));
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Active, Standing::LockedOut));
    // ... that of the other is longer, over a restart too.
    world.advance(Duration::from_secs(3600));
    assert_eq!(standing(&world, 2), Standing::LockedOut);
    world.said();
    world.crash();
    world.advance(Duration::from_secs(600));
    assert_eq!(standing(&world, 2), Standing::LockedOut);
    assert_eq!(world.said().matches("bob@corp.example").count(), 0, "it does not open in between");
    compute(&mut world, 2, "0");
    world.advance(Duration::from_secs(180));
    assert_eq!(standing(&world, 2), Standing::Active);
}

#[test]
fn a_lock_that_an_administrator_must_open_lasts() {
    let mut world = world(&["alice"]);
    let now = world.now.wall.0;
    world.server.lockout = None;
    world.server.host = "dc2".to_owned();
    world.server.is_up = false;
    world.advance(POLL);
    world.server.is_up = true;
    world.server.set(id(1), "lockouttime", &filetime(now));
    world.advance(Duration::from_hours(1));
    assert_eq!(standing(&world, 1), Standing::LockedOut);
    assert!(!world.home.objects[&id(1)].is_hidden, "it is still somebody");
    world.server.set(id(1), "lockouttime", "0");
    world.advance(POLL);
    assert_eq!(standing(&world, 1), Standing::Active);
}

#[test]
fn a_rename_keeps_who_it_is() {
    let mut world = world(&["alice"]);
    world.server.change(id(1), |thing| thing.dn = format!("CN=Alice Ada,OU=Elsewhere,{BASE}"));
    world.server.set(id(1), "msrtcsip-primaryuseraddress", "sip:ada@corp.example");
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              account ada@corp.example active (also alice@corp.example)
              object person "alice"
            log directory-followed added=0 changed=1 cut_off=0 removed=0 objects=1
        "#]],
    );
    // The former address goes to whoever says that it is theirs.
    world.server.user(2, "alice");
    world.server.set(id(2), "samaccountname", "alice2");
    world.server.set(id(2), "userprincipalname", "");
    check(
        &mut world,
        &expect![[r#"
            reads 2
            commits
              account ada@corp.example active
              +account alice@corp.example active
              object person "alice"
            log directory-followed added=1 changed=1 cut_off=0 removed=0 objects=1
        "#]],
    );
}

#[test]
fn old_addresses_may_be_given_up() {
    let mut world = world_with(Settings { keep_old_addresses: false, ..settings() }, &["alice"]);
    world.server.set(id(1), "msrtcsip-primaryuseraddress", "sip:ada@corp.example");
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              account ada@corp.example active
              object person "alice"
            log directory-followed added=0 changed=1 cut_off=0 removed=0 objects=1
        "#]],
    );
}

#[test]
fn addresses_that_go_round_go_together() {
    let mut world = world(&["alice", "bob", "carol"]);
    for (number, name) in [(1, "bob"), (2, "carol"), (3, "alice")] {
        world.server.set(id(number), "msrtcsip-primaryuseraddress", &format!("sip:{name}@corp.example"));
    }
    let batches = world.home.batches;
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3
            commits
              account bob@corp.example active
              account carol@corp.example active
              account alice@corp.example active
              object person "alice"
              object person "bob"
              object person "carol"
            log directory-followed added=0 changed=3 cut_off=0 removed=0 objects=3
        "#]],
    );
    assert_eq!(world.home.batches, batches + 1);
}

#[test]
fn of_rivals_one_wins_and_the_others_are_told() {
    let mut world = world(&["alice", "bob"]);
    world.server.set(id(2), "msrtcsip-primaryuseraddress", "sip:alice@corp.example");
    check(
        &mut world,
        &expect![[r#"
        reads 2
    "#]],
    );
    let taken = FindingKind::AddressTaken {
        address: "alice@corp.example".to_owned(),
        by: Some(id(1)),
        reason: String::new(),
    };
    assert_eq!(findings(&world), [(2, taken)]);
    // Who was second gets it when the first goes.
    world.server.set(id(1), "msrtcsip-primaryuseraddress", "");
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              account former-account-00000000-0000-0000-0000-000000000001@corp.example not-enabled
              account alice@corp.example active (also bob@corp.example)
              object person "alice" hidden
              object person "bob"
            log directory-followed added=0 changed=1 cut_off=1 removed=0 objects=2
        "#]],
    );
    assert_eq!(findings(&world), []);
}

#[test]
fn whoever_falls_back_holds_what_it_had() {
    let mut world = world(&["alice", "bob"]);
    // Bob wants Alice's address, which she keeps; the new one wants Bob's, which he therefore keeps.
    world.server.set(id(2), "msrtcsip-primaryuseraddress", "sip:alice@corp.example");
    world.server.user(3, "bob");
    world.server.set(id(3), "samaccountname", "bob3");
    world.server.set(id(3), "userprincipalname", "bob3@corp.example");
    check(
        &mut world,
        &expect![[r#"
            reads 2 3
            commits
              object person "bob"
            log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=1
        "#]],
    );
    assert!(!world.home.accounts.contains_key(&id(3)));
    assert_eq!(findings(&world).len(), 2);
}

#[test]
fn a_local_account_always_wins() {
    let mut world = world(&["alice"]);
    world.home.local.insert(address("bob@corp.example"));
    world.server.user(2, "bob");
    world.server.set(id(1), "msrtcsip-primaryuseraddress", "sip:bob@corp.example");
    world.server.set(id(1), "useraccountcontrol", "514");
    check(
        &mut world,
        &expect![[r#"
            reads 1 2
            commits
              account bob@corp.example disabled (also alice@corp.example)
              object person "alice" hidden
              object person "bob"
              refused bob@corp.example
            commits
              account alice@corp.example disabled
            log directory-followed added=0 changed=1 cut_off=1 removed=0 objects=2
        "#]],
    );
    assert!(!world.home.accounts.contains_key(&id(2)));
    assert_eq!(standing(&world, 1), Standing::Disabled, "the rest of what was refused came through");
    let reasons = findings(&world);
    assert!(reasons.iter().all(|(_, kind)| kind.to_string().contains("a local account has this address")));
    assert_eq!(reasons.len(), 2);
    check(&mut world, &expect![[""]]);
    world.home.local.clear();
    world.advance(REFUSED_AGAIN);
    assert_eq!(
        world.home.account(1).address,
        address("bob@corp.example"),
        "the first of the two who want it"
    );
    assert_eq!(findings(&world).iter().map(|found| found.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn nobody_signs_in_by_the_name_of_another() {
    let mut world = world(&["alice", "mallory"]);
    world.server.set(id(2), "userprincipalname", "ALICE@corp.example");
    world.advance(POLL);
    let names = |number| world.home.account(number).account.sign_in_names.clone();
    assert_eq!(names(1), ["alice", "alice@corp.example", "corp\\alice"]);
    assert_eq!(names(2), ["corp\\mallory", "mallory", "mallory@corp.example"]);
    assert_eq!(world.home.account(2).account.bind_name, "CORP\\mallory");
    assert!(
        findings(&world).contains(&(2, FindingKind::NameTaken { name: "ALICE@corp.example".to_owned() }))
    );
    // Also when the one who is meant comes later.
    world.server.delete(id(1));
    world.advance(POLL);
    assert!(world.home.account(2).account.sign_in_names.contains(&"alice@corp.example".to_owned()));
    world.server.restore(id(1));
    world.advance(POLL);
    assert!(!world.home.account(2).account.sign_in_names.contains(&"alice@corp.example".to_owned()));
}

#[test]
fn groups_decide_however_they_are_nested() {
    let mut settings = settings();
    settings.groups.enabled = group("Enabled");
    settings.groups.federation = group("Partners");
    settings.groups.administrators = group("Admins");
    let mut server = Server::new(Way::DirSync);
    for (number, name) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        server.user(number, name);
    }
    for (number, name) in [(10, "Enabled"), (11, "Inner"), (12, "Partners"), (13, "Admins")] {
        server.add(id(number), "group", name, &[]);
    }
    server.link(id(10), "member", &[id(1), id(11)]);
    server.link(id(11), "member", &[id(2), id(10)]);
    server.link(id(12), "member", &[id(2)]);
    server.link(id(13), "member", &[id(1)]);
    let mut world = World::new(settings, server);
    world.settle();
    expect![[r#"
        log directory-connected host=dc1 domain=corp.example
        reads everything
        commits
          +account alice@corp.example active
          +account bob@corp.example active
          object person "alice"
          object person "bob"
          object person "carol" hidden
          object group "Enabled"
          object group "Inner"
          object group "Partners"
          object group "Admins"
        log directory-followed added=2 changed=0 cut_off=0 removed=0 objects=7
    "#]]
    .assert_eq(&world.said());
    assert!(!world.home.accounts.contains_key(&id(3)), "who was never enabled has no account");
    assert_eq!(world.home.account(1).account.role, Role::Administrator);
    assert!(world.home.account(2).account.permissions.federation);
    assert!(!world.home.account(1).account.permissions.federation);
    assert!(world.home.account(1).account.permissions.calls, "no group is configured for calls");
    // A change of the inner group changes its members alone.
    world.server.link(id(11), "member", &[id(3)]);
    check(
        &mut world,
        &expect![[r#"
            reads 11
            commits
              account bob@corp.example not-enabled
              +account carol@corp.example active
              object person "bob" hidden
              object person "carol"
              object group "Inner"
            log directory-followed added=1 changed=0 cut_off=1 removed=0 objects=3
        "#]],
    );
}

#[test]
fn a_group_that_is_not_there_decides_nothing() {
    let mut settings = settings();
    settings.groups.enabled = group("Enabled");
    let mut world = world_with(settings, &["alice", "bob"]);
    assert_eq!(alarms(&world).len(), 1);
    assert_eq!(world.home.accounts.len(), 0);
    world.server.add(id(10), "group", "Enabled", &[]);
    world.server.link(id(10), "member", &[id(1), id(2)]);
    world.advance(POLL);
    assert_eq!((alarms(&world).len(), world.home.accounts.len()), (0, 2));
    // A new name is followed, also after a restart.
    world.server.change(id(10), |thing| thing.dn = format!("CN=Everybody,OU=Staff,{BASE}"));
    world.server.link(id(10), "member", &[id(1)]);
    world.advance(POLL);
    world.crash();
    world.advance(POLL);
    assert_eq!(alarms(&world), [""; 0]);
    assert_eq!(standing(&world, 2), Standing::NotEnabled);
    // When it is gone, everybody stays as they are, also after a restart.
    world.server.delete(id(10));
    world.advance(POLL);
    assert_eq!(alarms(&world).len(), 1);
    world.crash();
    world.advance(POLL);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Active, Standing::NotEnabled));
}

#[test]
fn names_are_places_in_other_directories() {
    let mut settings = Settings::new(ServerKind::Ldap, settings().domains);
    settings.mail_as_sip = true;
    settings.groups.enabled = group("Enabled");
    settings.groups.calls = group("Callers");
    let mut server = Server::new(Way::Usn);
    let attributes = [("uid", "alice"), ("mail", "alice@corp.example")];
    server.add(id(1), "inetOrgPerson", "alice", &attributes);
    server.add(id(3), "inetOrgPerson", "carol", &[("uid", "carol"), ("mail", "carol@corp.example")]);
    let members = ["cn=ALICE, ou=staff, dc=corp,dc=example", "cn=carol,ou=staff,dc=corp,dc=example"];
    server.add(id(10), "groupOfNames", "Enabled", &members.map(|member| ("member", member)));
    server.add(id(11), "posixGroup", "Callers", &[("memberuid", "Alice")]);
    let mut world = World::new(settings, server);
    world.settle();
    assert_eq!(standing(&world, 1), Standing::Active);
    assert!(world.home.account(1).account.permissions.calls);
    assert_eq!(world.home.account(1).account.bind_name, format!("CN=alice,OU=Staff,{BASE}"));
    // Who moves away is not meant any more, and whoever comes to the place is.
    world.server.change(id(1), |thing| thing.dn = format!("CN=alice,OU=Elsewhere,{BASE}"));
    world.advance(POLL);
    assert_eq!(standing(&world, 1), Standing::NotEnabled);
    world.server.add(id(2), "inetOrgPerson", "alice", &[("uid", "alice2"), ("mail", "alice2@corp.example")]);
    world.advance(POLL);
    assert_eq!(standing(&world, 2), Standing::Active);
    assert!(!world.home.account(2).account.permissions.calls);
    world.server.change(id(1), |thing| thing.dn = format!("CN=alice,OU=Staff,{BASE}"));
    world.server.delete(id(2));
    world.advance(POLL);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Active, Standing::Gone));
}

#[test]
fn the_primary_group_counts() {
    let mut settings = settings();
    settings.groups.enabled = group("Domain Users");
    let mut server = Server::new(Way::DirSync);
    server.user(1, "alice");
    server.user(2, "bob");
    server.set(id(1), "primarygroupid", "513");
    server.set(id(2), "primarygroupid", "514");
    server.add(id(10), "group", "Domain Users", &[]);
    server.change(id(10), |thing| {
        thing
            .attributes
            .insert("objectsid".to_owned(), vec![[[1, 5, 0, 0].as_slice(), &513u32.to_le_bytes()].concat()]);
    });
    let mut world = World::new(settings, server);
    world.settle();
    assert_eq!(world.home.accounts.keys().copied().collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn trusted_computers_are_servers() {
    let mut settings = settings();
    settings.groups.servers.insert(ServerRole::Director, group("Directors").unwrap());
    let mut server = Server::new(Way::DirSync);
    server.add(id(1), "computer", "DIR1", &[("dnshostname", "Dir1.corp.example")]);
    server.add(id(2), "computer", "PC2", &[("dnshostname", "pc2.corp.example")]);
    server.add(id(10), "group", "Directors", &[]);
    server.link(id(10), "member", &[id(1)]);
    let mut world = World::new(settings, server);
    world.settle();
    assert_eq!(world.home.servers, ["director dir1.corp.example"]);
    assert_eq!(world.names(ObjectKind::Server), ["DIR1"]);
    world.crash();
    world.server.link(id(10), "member", &[]);
    world.settle();
    assert_eq!(world.home.servers, ["director dir1.corp.example"], "a restart forgets none");
    assert_eq!(alarms(&world).len(), 1);
    world.server.link(id(10), "member", &[id(1)]);
    world.advance(POLL);
    assert_eq!(alarms(&world).len(), 0);
    world.server.link(id(10), "member", &[]);
    world.advance(POLL);
    expect!["1 servers would be trusted no more, and none would be left; nothing of it is done until they are back or `chancery replicate --accept`"]
        .assert_eq(&alarms(&world).join("\n"));
    assert_eq!(world.home.servers.len(), 1, "that may be a right that was lost");
    world.ask(Command::Accept);
    assert_eq!((world.home.servers.len(), world.names(ObjectKind::Server).len()), (0, 0));
}

#[test]
fn managers_and_members_follow_who_they_name() {
    let mut server = Server::new(Way::DirSync);
    for (number, name) in [(1, "alice"), (2, "bob")] {
        server.user(number, name);
    }
    server.add(id(10), "group", "Staff", &[]);
    server.link(id(10), "member", &[id(1), id(2)]);
    server.link(id(2), "manager", &[id(1)]);
    let mut world = World::new(settings(), server);
    world.settle();
    assert_eq!(world.home.objects[&id(2)].manager, Some(id(1)));
    assert_eq!(world.home.objects[&id(10)].members, [id(1), id(2)]);
    world.said();
    // No change of theirs shows that somebody is gone.
    world.server.delete(id(1));
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              account alice@corp.example gone
              -object 00000000-0000-0000-0000-000000000001
              object person "bob"
              object group "Staff"
            log directory-followed added=0 changed=0 cut_off=1 removed=0 objects=3
        "#]],
    );
    assert_eq!(world.home.objects[&id(2)].manager, None);
    assert_eq!(world.home.objects[&id(10)].members, [id(2)]);
}

/// Twenty-five users, of whom five may go at once.
fn crowd() -> World {
    let names: Vec<String> = (1..=25).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world_with(Settings { removal_users: 5, ..settings() }, &names)
}

#[test]
fn too_many_are_held_until_they_are_back() {
    let mut world = crowd();
    let batches = world.home.batches;
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    world.server.set(id(20), "title", "Director");
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3 4 5 6 20
            log directory-alarm 6 accounts would be cut off, more than 5; nothing of it is done until they are back or `chancery replicate --accept`: user1@corp.example (gone), user2@corp.example (gone), user3@corp.example (gone), user4@corp.example (gone), user5@corp.example (gone), user6@corp.example (gone) alarm=held
        "#]],
    );
    assert_eq!(world.home.batches, batches, "nothing of the round is committed");
    check(&mut world, &expect![[""]]);
    for number in 1..=6 {
        world.server.restore(id(number));
    }
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3 4 5 6
            log directory-alarm-over alarm=held
            commits
              object person "user20"
            log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=1
        "#]],
    );
    assert_eq!(alarms(&world), [""; 0]);
    assert!(world.home.cut_off.is_empty());
}

#[test]
fn what_is_accepted_is_done_once() {
    let mut world = crowd();
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    world.advance(POLL);
    world.crash();
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (0, 1), "a restart accepts nothing");
    let Answer::Done(round) = world.ask(Command::Accept) else { panic!("it is done") };
    assert_eq!((round.cut_off, world.home.cut_off.len(), alarms(&world).len()), (6, 6, 0));
    for number in 7..=12 {
        world.server.delete(id(number));
    }
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (6, 1), "the next round is held again");
}

#[test]
fn who_may_not_be_read_any_more_is_not_deleted_in_masses() {
    let mut world = crowd();
    world.server.unreadable = (1..=10).map(id).collect();
    assert!(matches!(world.ask(Command::Full), Answer::Done(round) if round.held.is_some()));
    world.advance(Duration::from_secs(60));
    assert!(world.home.cut_off.is_empty());
    // The right comes back: no entry changes, and yet it is seen.
    world.server.unreadable.clear();
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (0, 0));
}

#[test]
fn an_empty_directory_is_no_reason_to_cut_anybody_off() {
    let mut world = world(&["alice", "bob"]);
    world.server.unreadable = (1..=2).map(id).collect();
    world.ask(Command::Full);
    assert!(world.home.cut_off.is_empty());
    expect!["the directory shows nobody any more who may use an account; 2 accounts would be cut off; nothing of it is done until they are back or `chancery replicate --accept`: alice@corp.example (gone), bob@corp.example (gone)"].assert_eq(&alarms(&world).join("\n"));
}

/// How somebody leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Disabled,
    Deleted,
    OutOfTheGroup,
    Unreadable,
}

/// Whether so many of so many who leave at once are cut off by the next poll; else nobody is, and an alarm says so.
fn may_leave(leaving: Leaving, count: u16, of: u16) -> bool {
    let user = |number: u16| ObjectId(u128::from(number).to_be_bytes());
    let everybody: Vec<ObjectId> = (1..=of).map(user).collect();
    let (leavers, others) = everybody.split_at(count.into());
    let staff = user(1000);
    let mut server = Server::new(Way::DirSync);
    server.page = 500;
    for number in 1..=of {
        let sip = format!("sip:user{number}@corp.example");
        server.add(
            user(number),
            "user",
            &format!("user{number}"),
            &[("msrtcsip-primaryuseraddress", sip.as_str())],
        );
    }
    server.add(staff, "group", "staff", &[]);
    server.link(staff, "member", &everybody);
    let mut settings = settings();
    settings.groups.enabled = group("staff");
    let mut world = World::new(settings, server);
    world.settle();
    match leaving {
        Leaving::Disabled => leavers.iter().for_each(|id| world.server.set(*id, "useraccountcontrol", "514")),
        Leaving::Deleted => leavers.iter().for_each(|id| world.server.delete(*id)),
        Leaving::OutOfTheGroup => world.server.link(staff, "member", others),
        Leaving::Unreadable => {
            world.server.unreadable = leavers.iter().copied().collect();
            world.ask(Command::Full);
        }
    }
    world.advance(POLL);
    let found = (world.home.cut_off.len(), alarms(&world).len());
    assert!(
        found == (count.into(), 0) || found == (0, 1),
        "{leaving:?}, {count} of {of}: {found:?} {:?}",
        alarms(&world)
    );
    found.1 == 0
}

/// The table of docs/directory.md.
#[test]
fn one_may_always_leave_and_how_many_follows_from_the_size() {
    for (of, by_act, missing) in [(1, 1, 0), (2, 2, 1), (5, 5, 2), (25, 20, 12), (300, 30, 30)] {
        for (leaving, most) in [
            (Leaving::Disabled, by_act),
            (Leaving::Deleted, by_act),
            (Leaving::OutOfTheGroup, missing),
            (Leaving::Unreadable, missing),
        ] {
            assert!(most == 0 || may_leave(leaving, most, of), "{leaving:?}: {most} of {of} may leave");
            assert!(most == of || !may_leave(leaving, most + 1, of), "{leaving:?}: not {} of {of}", most + 1);
        }
    }
}

#[test]
fn a_small_organisation_is_not_lost_by_half() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    world.server.unreadable = (1..=2).map(id).collect();
    world.ask(Command::Full);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (2, 0), "half may go");
    world.server.unreadable.insert(id(3));
    world.ask(Command::Full);
    expect!["1 accounts would be cut off, after 2 in the last 24 hours, more than 2; nothing of it is done until they are back or `chancery replicate --accept`: carol@corp.example (gone)"].assert_eq(&alarms(&world).join("\n"));
    // That one is deleted is said in so many words.
    world.server.delete(id(3));
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (3, 0));
    world.server.unreadable.insert(id(4));
    world.ask(Command::Full);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (3, 1), "the last one");
    world.server.unreadable.remove(&id(4));
    world.advance(POLL);
    world.server.delete(id(4));
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (4, 0));
}

#[test]
fn who_was_deleted_and_restored_is_missing_when_it_is_missing() {
    let mut world = world(&["alice"]);
    // The home cannot be told before it is restored.
    world.commit = Commit::Fails;
    world.server.delete(id(1));
    world.advance(Duration::from_millis(2500));
    world.server.restore(id(1));
    world.advance(Duration::from_secs(120));
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::Active, 0));
    world.server.unreadable.insert(id(1));
    world.ask(Command::Full);
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::Active, 1));
}

#[test]
fn small_steps_count_together() {
    let mut world = crowd();
    for number in 1..=5 {
        world.server.delete(id(number));
        world.advance(POLL);
    }
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (5, 0));
    world.server.delete(id(6));
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (5, 1));
    // Who comes back does not count any more, and a restart forgets nobody.
    world.crash();
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (5, 1));
    world.server.restore(id(1));
    world.advance(POLL);
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (6, 0));
}

#[test]
fn who_is_disabled_is_cut_off_while_others_are_held() {
    let mut world = crowd();
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    world.server.set(id(7), "useraccountcontrol", "514");
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3 4 5 6 7
            log directory-alarm 7 accounts would be cut off, more than 5; nothing of it is done until they are back or `chancery replicate --accept`: user1@corp.example (gone), user2@corp.example (gone), user3@corp.example (gone), user4@corp.example (gone), user5@corp.example (gone), user6@corp.example (gone), user7@corp.example (disabled) alarm=held
            commits
              account user7@corp.example disabled
              object person "user7" hidden
        "#]],
    );
    assert_eq!(standing(&world, 7), Standing::Disabled);
    assert_eq!(world.home.cut_off, [id(7)]);
    // And so is who is disabled later, up to the threshold.
    for number in 8..=12 {
        world.server.set(id(number), "useraccountcontrol", "514");
        world.advance(POLL);
    }
    assert_eq!(world.home.cut_off.len(), 5);
    assert_eq!(standing(&world, 12), Standing::Active);
}

#[test]
fn strangers_who_lock_accounts_hold_nothing() {
    let mut world = crowd();
    let now = world.now.wall.0;
    for number in 1..=15 {
        world.server.set(id(number), "lockouttime", &filetime(now));
    }
    world.server.delete(id(20));
    world.advance(POLL);
    assert_eq!((standing(&world, 1), standing(&world, 20)), (Standing::LockedOut, Standing::Gone));
    assert_eq!(alarms(&world), [""; 0]);
    // Whom a lock is on is still somebody who can be cut off.
    for number in 1..=15 {
        world.server.delete(id(number));
    }
    world.advance(POLL);
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::LockedOut, 1));
}

#[test]
fn a_right_that_is_lost_enables_nobody_and_ends_the_hold_when_it_is_back() {
    let mut world = crowd();
    for number in 1..=25 {
        world.server.set(id(number), "useraccountcontrol", "");
    }
    world.advance(POLL);
    assert!(world.home.cut_off.is_empty());
    assert_eq!(alarms(&world).len(), 1);
    assert!(matches!(findings(&world)[0].1, FindingKind::Unreadable { .. }));
    world.advance(Duration::from_secs(600));
    world.said();
    // It comes back; the server tells of no change.
    for (thing, _) in world.server.things.values_mut() {
        thing.attributes.insert("useraccountcontrol".to_owned(), vec![b"512".to_vec()]);
    }
    check(
        &mut world,
        &expect![[r#"
            reads 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25
            log directory-alarm-over alarm=held
        "#]],
    );
    assert_eq!((world.home.cut_off.len(), alarms(&world).len()), (0, 0));
}

#[test]
fn who_was_disabled_stays_so_when_that_cannot_be_read_any_more() {
    let mut world = crowd();
    world.server.set(id(1), "useraccountcontrol", "514");
    world.advance(POLL);
    world.server.set(id(1), "useraccountcontrol", "");
    world.advance(POLL);
    assert_eq!(standing(&world, 1), Standing::NotEnabled);
}

#[test]
fn what_is_left_of_a_hold_is_compared_before_it_is_believed() {
    let mut world = crowd();
    world.server.unreadable = (1..=8).map(id).collect();
    world.ask(Command::Full);
    // Most come back, and the threshold holds nobody any more: whether the others are really gone is looked at.
    for number in 1..=6 {
        world.server.unreadable.remove(&id(number));
        world.server.set(id(number), "title", "Back");
    }
    world.said();
    world.advance(POLL);
    assert!(world.said().contains("reads everything"));
    assert_eq!(world.home.cut_off, [id(7), id(8)]);
}

#[test]
fn other_losses_are_held_as_well() {
    let mut settings = Settings { removal_users: 5, ..settings() };
    settings.groups.federation = group("Partners");
    let names: Vec<String> = (1..=25).map(|number| format!("user{number}")).collect();
    let mut server = Server::new(Way::DirSync);
    for (number, name) in (1..).zip(&names) {
        server.user(number, name);
    }
    server.add(id(100), "group", "Partners", &[]);
    server.link(id(100), "member", &(1..=20).map(id).collect::<Vec<_>>());
    for number in 101..=110 {
        server.add(id(number), "contact", &format!("contact{number}"), &[]);
    }
    let mut world = World::new(settings, server);
    world.settle();
    let check = |world: &mut World, expected: &str| {
        let before = world.home.batches;
        world.advance(POLL);
        assert_eq!(world.home.batches, before);
        assert_eq!(alarms(world).len(), 1);
        assert!(alarms(world)[0].starts_with(expected), "{:?}", alarms(world));
    };
    world.server.link(id(100), "member", &[]);
    check(&mut world, "20 accounts would lose permissions, more than 5; nothing");
    world.server.link(id(100), "member", &(1..=20).map(id).collect::<Vec<_>>());
    world.advance(POLL);
    assert_eq!(alarms(&world), [""; 0]);
    for number in 1..=6 {
        let sip = format!("sip:other{number}@corp.example");
        world.server.set(id(number), "msrtcsip-primaryuseraddress", &sip);
    }
    check(&mut world, "6 accounts would go by other addresses, more than 5; nothing");
    world.ask(Command::Accept);
    world.server.unreadable = (101..=110).map(id).collect();
    world.command(Command::Full);
    check(&mut world, "10 objects would leave the address book, more than 5; nothing");
    world.server.unreadable.clear();
    world.advance(POLL);
    assert_eq!(alarms(&world), [""; 0]);
}

#[test]
fn a_group_of_servers_that_is_not_there_empties_no_list() {
    let mut settings = settings();
    settings.groups.servers.insert(ServerRole::Director, group("Directors").unwrap());
    let mut server = Server::new(Way::DirSync);
    server.add(id(1), "computer", "DIR1", &[("dnshostname", "dir1.corp.example")]);
    server.add(id(10), "group", "Directors", &[]);
    server.link(id(10), "member", &[id(1)]);
    let mut world = World::new(settings.clone(), server);
    world.settle();
    // Other settings, with a slip in the name.
    settings.groups.servers.insert(ServerRole::Director, group("Direktors").unwrap());
    world.settings = settings;
    world.crash();
    world.settle();
    assert_eq!(world.home.servers, ["director dir1.corp.example"]);
    assert_eq!(alarms(&world).len(), 1);
}

#[test]
fn a_hold_costs_no_full_read_after_the_other() {
    let mut world = crowd();
    // The first read of a process finds it, so that nothing was ever committed by it.
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    world.crash();
    world.advance(POLL);
    assert_eq!(alarms(&world).len(), 1);
    world.said();
    world.advance(Duration::from_secs(600));
    assert_eq!(world.said().matches("reads everything").count(), 0);
    world.advance(Duration::from_hours(24));
    assert_eq!(world.said().matches("reads everything").count(), 1);
}

#[test]
fn a_hold_with_somebody_whose_time_is_over_does_not_run_in_circles() {
    let names: Vec<String> = (1..=25).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let keep_deleted = Duration::from_secs(60);
    let mut world = world_with(Settings { removal_users: 5, keep_deleted, ..settings() }, &names);
    world.server.delete(id(25));
    world.advance(POLL);
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    // It settles, which it checks itself.
    world.advance(Duration::from_secs(120));
    assert_eq!(alarms(&world).len(), 1);
    assert!(world.home.accounts.contains_key(&id(25)), "a hold removes nobody");
    world.ask(Command::Accept);
    assert!(!world.home.accounts.contains_key(&id(25)));
}

#[test]
fn a_clock_that_jumps_removes_few_for_good() {
    let mut world = crowd();
    for number in 1..=6 {
        world.server.delete(id(number));
    }
    world.advance(POLL);
    world.ask(Command::Accept);
    assert_eq!(world.home.cut_off.len(), 6);
    // To 2036, and nobody is there to be asked whether that is so.
    world.now.wall.0 += 10 * 365 * 24 * 3_600_000;
    world.server.set(id(20), "title", "Director");
    world.advance(POLL);
    assert_eq!(world.home.accounts.len(), 25);
    expect!["6 accounts would be removed for good, more than 5; nothing of it is done until they are back or `chancery replicate --accept`"].assert_eq(&alarms(&world).join("\n"));
    assert_eq!(world.home.objects[&id(20)].card.title, "Director", "all else goes on");
    world.ask(Command::Accept);
    assert_eq!((world.home.accounts.len(), alarms(&world).len()), (19, 0));
}

#[test]
fn many_who_do_not_show_are_asked_for_by_name() {
    let mut server = Server::new(Way::DirSync);
    server.page = 1000;
    let many = |number: u16| {
        let mut octets = [0; 16];
        octets[14..].copy_from_slice(&number.to_be_bytes());
        directory::ObjectId(octets)
    };
    for number in 0..5_100u16 {
        let name = format!("user{number}");
        let sip = format!("sip:{name}@corp.example");
        let attributes = [("samaccountname", name.as_str()), ("msrtcsip-primaryuseraddress", sip.as_str())];
        server.add(many(number), "user", &name, &attributes);
    }
    let mut world = World::new(Settings { removal_percent: 100, ..settings() }, server);
    world.settle();
    world.home.cut_off.clear();
    // The search passes over them, and they are there.
    world.server.overlooked = (0..5_050).map(many).collect();
    world.ask(Command::Full);
    assert!(world.home.cut_off.is_empty(), "{} were cut off", world.home.cut_off.len());
}

#[test]
fn an_unreachable_server_is_an_alarm_and_nothing_else() {
    let mut world = world(&["alice"]);
    world.server.is_up = false;
    check(
        &mut world,
        &expect![[r#"
                log directory-alarm the directory cannot be read: dc1 does not answer alarm=unreachable
        "#]],
    );
    world.advance(Duration::from_secs(3600));
    expect![[""]].assert_eq(&world.said());
    assert!(matches!(world.ask(Command::Once), Answer::Failed(reason) if reason == "dc1 does not answer"));
    assert_eq!(standing(&world, 1), Standing::Active);
    world.server.is_up = true;
    world.server.set(id(1), "title", "Director");
    world.advance(crate::BACKOFF_MAX);
    expect![[r#"
        reads 1
        log directory-alarm-over alarm=unreachable
        commits
          object person "alice"
        log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=1
    "#]]
    .assert_eq(&world.said());
}

#[test]
fn another_domain_is_refused_until_it_is_accepted() {
    let mut world = world(&["alice"]);
    let mut other = Server::new(Way::DirSync);
    other.domain = id(0xd9);
    other.host = "dc.other.example".to_owned();
    other.user(50, "zoe");
    world.server.is_up = false;
    world.advance(POLL);
    world.server = other;
    world.said();
    world.advance(Duration::from_secs(60));
    expect![[r#"
            log directory-alarm the server is of another domain (corp.example, 00000000-0000-0000-0000-0000000000d9) than the one followed so far (00000000-0000-0000-0000-0000000000d0); nothing is read until `chancery replicate --accept` alarm=another-domain
    "#]].assert_eq(&world.said());
    world.crash();
    world.advance(Duration::from_secs(60));
    assert_eq!(world.home.accounts.len(), 1, "a restart accepts nothing");
    assert!(matches!(world.ask(Command::Accept), Answer::Done(_)));
    assert_eq!((standing(&world, 1), standing(&world, 50)), (Standing::Gone, Standing::Active));
    world.crash();
    world.advance(POLL);
    assert_eq!(alarms(&world), [""; 0]);
}

#[test]
fn a_restored_server_is_compared_whole() {
    let mut world = world(&["alice", "bob"]);
    world.server.user(3, "carol");
    let backup = world.server.clone();
    world.server.set(id(1), "title", "Director");
    world.server.delete(id(2));
    world.advance(POLL);
    world.server = Server { invocation: id(0xe2), ..backup };
    world.server.set(id(3), "title", "Clerk");
    world.cut();
    world.said();
    // What it says that it has not is not believed: that bob is there again may be old.
    check(
        &mut world,
        &expect![[r#"
            log directory-alarm dc1 lags behind what was taken over from another server; nobody is removed, and nobody comes back into use, until it has caught up or `chancery replicate --accept` alarm=lagging
            log directory-compared the changes cannot be read on at this server: it was restored, or counts otherwise; everything is compared host=dc1 domain=corp.example
            reads everything
            commits
              object person "alice"
              object person "carol"
            log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=2
        "#]],
    );
    assert_eq!(world.home.objects[&id(1)].card.title, "");
    assert_eq!(
        (standing(&world, 2), world.home.objects[&id(3)].card.title.as_str()),
        (Standing::Gone, "Clerk")
    );
    // It was restored on purpose.
    world.ask(Command::Accept);
    assert_eq!((standing(&world, 2), alarms(&world).len()), (Standing::Active, 0));
}

/// Two domain controllers: what was taken over from the first, and the second as it was before that.
fn two_servers() -> (World, Server) {
    let mut world = world(&["alice", "bob", "carol", "dave", "erin", "frank"]);
    let mut second = world.server.clone();
    second.become_another("dc2", id(0xe2));
    world.server.set(id(1), "useraccountcontrol", "514");
    world.server.user(7, "grace");
    world.server.delete(id(2));
    world.advance(POLL);
    assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Disabled, Standing::Gone));
    assert_eq!(standing(&world, 7), Standing::Active);
    (world, second)
}

fn fail_over(world: &mut World, mut server: Server) -> Server {
    // A cookie of the first leads on at the second from where the second counts now.
    server.usn = server.usn.max(world.server.usn);
    let before = std::mem::replace(&mut world.server, server);
    world.cut();
    world.said();
    before
}

#[test]
fn a_server_that_lags_behind_brings_nobody_back_and_removes_nobody() {
    for restarts in [false, true] {
        let (mut world, second) = two_servers();
        let first = fail_over(&mut world, second);
        if restarts {
            world.crash();
        }
        world.server.set(id(3), "useraccountcontrol", "514");
        world.server.set(id(4), "title", "Director");
        world.advance(POLL);
        expect!["dc2 lags behind what was taken over from another server; nobody is removed, and nobody comes back into use, until it has caught up or `chancery replicate --accept`"].assert_eq(&alarms(&world).join("\n"));
        assert_eq!((standing(&world, 1), standing(&world, 2)), (Standing::Disabled, Standing::Gone));
        assert_eq!(standing(&world, 7), Standing::Active, "who is new stays");
        assert!(world.home.objects.contains_key(&id(7)));
        // Leavers that it knows of go, and all else is followed.
        assert_eq!(standing(&world, 3), Standing::Disabled);
        assert_eq!(world.home.objects[&id(4)].card.title, "Director");
        // It catches up: what the first had comes, and so does who was enabled since.
        world.server.set(id(1), "useraccountcontrol", "514");
        world.server.user(7, "grace");
        world.server.delete(id(2));
        world.server.set(id(3), "useraccountcontrol", "512");
        world.server.cursors.as_mut().unwrap().insert(first.invocation, first.usn);
        world.advance(Duration::from_secs(70));
        assert_eq!(alarms(&world), [""; 0]);
        let found = [1, 2, 3, 7].map(|number| standing(&world, number));
        assert_eq!(found, [Standing::Disabled, Standing::Gone, Standing::Active, Standing::Active]);
        world.said();
        world.advance(Duration::from_secs(600));
        assert_eq!(world.said(), "", "it is believed now");
    }
}

#[test]
fn a_server_that_does_not_say_how_far_it_is_is_believed_after_a_while() {
    let (mut world, mut second) = two_servers();
    second.cursors = None;
    fail_over(&mut world, second);
    world.crash();
    world.advance(Duration::from_secs(10 * 60));
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::Disabled, 1));
    world.advance(Duration::from_secs(10 * 60));
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::Active, 0));
}

#[test]
fn a_server_that_is_gone_for_good_leaves_no_alarm_where_nothing_is_missing() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    let mut second = world.server.clone();
    second.become_another("dc2", id(0xe2));
    // Everything was compared at the first at a number that no change of theirs has.
    world.server.usn += 50;
    world.ask(Command::Full);
    fail_over(&mut world, second);
    world.crash();
    world.advance(POLL);
    assert_eq!(alarms(&world), [""; 0]);
    world.server.set(id(1), "useraccountcontrol", "514");
    world.advance(POLL);
    assert_eq!(standing(&world, 1), Standing::Disabled);
}

#[test]
fn an_old_copy_of_a_server_is_one_that_lags() {
    let mut world = world(&["alice", "bob", "carol", "dave"]);
    // A snapshot of a virtual machine that keeps its invocationId.
    let snapshot = world.server.clone();
    world.server.set(id(1), "useraccountcontrol", "514");
    world.advance(POLL);
    world.server = snapshot;
    world.crash();
    world.advance(POLL);
    assert_eq!((standing(&world, 1), alarms(&world).len()), (Standing::Disabled, 1));
}

#[test]
fn a_home_that_fails_is_asked_what_it_has() {
    let mut world = world(&["alice"]);
    world.server.set(id(1), "title", "Director");
    world.commit = Commit::WorksAndFails;
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              object person "alice"
            log directory-alarm changes could not be stored: the answer was lost alarm=home-fails
        "#]],
    );
    check(
        &mut world,
        &expect![[r#"
                log directory-alarm-over alarm=home-fails
        "#]],
    );
    world.server.set(id(1), "title", "Clerk");
    world.commit = Commit::Fails;
    check(
        &mut world,
        &expect![[r#"
            reads 1
            commits
              object person "alice"
            log directory-alarm changes could not be stored: the disk is full alarm=home-fails
        "#]],
    );
    check(
        &mut world,
        &expect![[r#"
            log directory-alarm-over alarm=home-fails
            commits
              object person "alice"
            log directory-followed added=0 changed=0 cut_off=0 removed=0 objects=1
        "#]],
    );
}

#[test]
fn what_an_operator_removed_here_comes_back_with_a_full_read() {
    let mut world = world(&["alice", "bob"]);
    world.home.accounts.remove(&id(1));
    world.home.objects.remove(&id(2));
    let Answer::Done(round) = world.ask(Command::Full) else { panic!("it is done") };
    assert_eq!((round.added, round.changed, round.objects), (1, 0, 1));
    assert_eq!(round.to_string(), "1 added, 0 changed, 0 cut off, 0 removed; 1 objects of the address book");
}

#[test]
fn a_dry_run_does_nothing() {
    let mut server = Server::new(Way::DirSync);
    server.user(1, "alice");
    let mut world = World::new(settings(), server);
    world.settle();
    world.server.user(2, "bob");
    world.server.set(id(1), "useraccountcontrol", "2");
    let batches = world.home.batches;
    let Answer::Planned(round) = world.ask(Command::DryRun) else { panic!("it is planned") };
    assert_eq!((round.added, round.cut_off, round.held.is_some()), (1, 1, false));
    assert_eq!(world.home.batches, batches);
    world.advance(POLL);
    assert_eq!(world.home.accounts.len(), 2, "an ordinary round does it");
}

#[test]
fn photos_are_read_again_where_there_is_no_room() {
    let mut server = Server::new(Way::DirSync);
    let photo = |number: u8| [&[0xff, 0xd8, 0xff, number], vec![number; 400 * 1024].as_slice()].concat();
    for number in 1..=60 {
        server.user(number, &format!("user{number}"));
        server.change(id(number), |thing| {
            thing.attributes.insert("thumbnailphoto".to_owned(), vec![photo(number)]);
        });
    }
    let mut world = World::new(settings(), server);
    world.settle();
    assert_eq!(world.home.photos.len(), 60);
    assert!(world.home.batches > 1, "in several commits, of some photos each");
    // The same photo again is not sent again; the home would say so (its check), and nothing changes.
    let batches = world.home.batches;
    world.ask(Command::Full);
    assert_eq!(world.home.batches, batches + 1, "the state alone");
}

#[test]
fn a_connection_that_breaks_while_photos_are_read_keeps_no_leaver() {
    let mut server = Server::new(Way::DirSync);
    for number in 1..=60 {
        server.user(number, &format!("user{number}"));
    }
    let mut world = World::new(settings(), server);
    world.settle();
    // More photos than are kept, and a leaver.
    for number in 1..=60 {
        let photo = [&[0xff, 0xd8, 0xff, number], vec![number; 400 * 1024].as_slice()].concat();
        world.server.change(id(number), |thing| {
            thing.attributes.insert("thumbnailphoto".to_owned(), vec![photo]);
        });
    }
    world.server.set(id(60), "useraccountcontrol", "514");
    world.said();
    world.to(world.now.monotonic + POLL);
    let mut reads = 0;
    while reads < 2 || !world.ladder.contains("commits") {
        assert!(world.step(), "photos are read again");
        reads = world.ladder.lines().filter(|line| line.starts_with("reads ")).count();
    }
    assert_eq!(standing(&world, 60), Standing::Active, "it is in the part that waits for photos");
    world.server.is_up = false;
    world.cut();
    world.settle();
    assert_eq!(standing(&world, 60), Standing::Disabled);
    assert!(world.home.photos.len() < 60);
    world.server.is_up = true;
    world.advance(crate::BACKOFF_MAX);
    assert_eq!((world.home.photos.len(), alarms(&world).len()), (60, 0));
}

#[test]
fn a_large_directory_comes_in_chunks() {
    let mut server = Server::new(Way::DirSync);
    server.page = 1000;
    for number in 0..1200u16 {
        let mut octets = [0; 16];
        octets[14..].copy_from_slice(&number.to_be_bytes());
        let name = format!("user{number}");
        let sip = format!("sip:{name}@corp.example");
        let attributes = [("samaccountname", name.as_str()), ("msrtcsip-primaryuseraddress", sip.as_str())];
        server.add(directory::ObjectId(octets), "user", &name, &attributes);
    }
    let mut world = World::new(settings(), server);
    world.settle();
    assert_eq!((world.home.accounts.len(), world.home.batches), (1200, 3));
}

#[test]
fn the_report_says_how_things_are() {
    let mut world = world(&["alice", "bob"]);
    world.server.set(id(2), "msrtcsip-primaryuseraddress", "sip:bob the builder@corp.example");
    world.server.set(id(2), "telephonenumber", "extension 12 or so");
    world.advance(Duration::from_secs(10));
    let Answer::Report(report) = world.ask(Command::Report) else { panic!("a report") };
    expect![[r#"
        directory     corp.example at dc1 (dirsync)
        in step       0 s ago
        compared      10 s ago
        accounts      1 active, 1 inactive
        entries       2 people, 0 contacts, 0 groups, 0 rooms, 0 equipment, 0 servers
        last change   8 s ago: 0 added, 0 changed, 1 cut off, 0 removed; 1 objects of the address book

        findings (2)
          CN=bob,OU=Staff,DC=corp,DC=example
              msrtcsip-primaryuseraddress: "bob the builder@corp.example" is no SIP address: the part before @ holds a character that an address may not have
          CN=bob,OU=Staff,DC=corp,DC=example
              telephonenumber: "extension 12 or so" cannot be written as an international number: it holds letters, and no rule takes it
    "#]].assert_eq(&report.to_string());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<crate::Report>(&json).unwrap(), *report);
}
