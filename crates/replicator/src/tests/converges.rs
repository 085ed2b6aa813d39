//! Whatever happens in whatever order, in the end the home has what the directory has; and nobody is cut off in masses on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use directory::{ObjectId, SipAddress, Standing};
use directory_source::{Dn, Event};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use super::world::*;
use crate::{BACKOFF_MAX, Command, Input, REFUSED_AGAIN, Settings};

const USERS: u8 = 12;
const GROUPS: std::ops::Range<u8> = 20..23;
/// Who is in it may sign in; who is in the next may talk with partners; the third only is a member.
const ENABLED: u8 = 20;
const PARTNERS: u8 = 21;
/// So few that users quarrel about them.
const ADDRESSES: u8 = 7;
const LOCK: Duration = Duration::from_secs(300);
/// What may be cut off at once.
const PERCENT: u8 = 25;
const AT_ONCE: usize = 2;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8, u8),
    Address(u8, Option<u8>),
    Further(u8, u8),
    Title(u8, u8),
    Disable(u8, bool),
    Expire(u8, Option<u8>),
    Lock(u8),
    Delete(u8),
    Restore(u8),
    Move(u8, u8),
    Manager(u8, u8),
    Member(u8, u8),
    DeleteMany,
    Local(u8),
    // What goes wrong, and how far all goes on in between.
    Events(u8),
    Pass(u8),
    /// Nothing is looked at for so long.
    Day,
    Cut,
    Down(bool),
    Crash,
    Fails,
    AnswerLost,
    OtherServer,
    Backup,
    RestoreServer,
    Hint,
    Full,
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 1..=USERS;
    let name = || 0..ADDRESSES;
    prop_oneof![
        4 => (user(), name()).prop_map(|(user, name)| Step::Add(user, name)),
        4 => (user(), prop::option::of(name())).prop_map(|(user, name)| Step::Address(user, name)),
        1 => (user(), name()).prop_map(|(user, name)| Step::Further(user, name)),
        2 => (user(), 0..3u8).prop_map(|(user, title)| Step::Title(user, title)),
        3 => (user(), any::<bool>()).prop_map(|(user, is)| Step::Disable(user, is)),
        2 => (user(), prop::option::of(0..200u8)).prop_map(|(user, time)| Step::Expire(user, time)),
        1 => user().prop_map(Step::Lock),
        3 => user().prop_map(Step::Delete),
        3 => user().prop_map(Step::Restore),
        1 => (user(), 0..3u8).prop_map(|(user, place)| Step::Move(user, place)),
        2 => (user(), user()).prop_map(|(user, manager)| Step::Manager(user, manager)),
        6 => (GROUPS, prop_oneof![4 => 1..=USERS, 1 => GROUPS]).prop_map(|(group, who)| Step::Member(group, who)),
        1 => Just(Step::DeleteMany),
        1 => name().prop_map(Step::Local),
        10 => (1..6u8).prop_map(Step::Events),
        4 => (1..60u8).prop_map(Step::Pass),
        1 => Just(Step::Day),
        2 => Just(Step::Cut),
        1 => any::<bool>().prop_map(Step::Down),
        2 => Just(Step::Crash),
        1 => Just(Step::Fails),
        1 => Just(Step::AnswerLost),
        1 => Just(Step::OtherServer),
        1 => Just(Step::Backup),
        1 => Just(Step::RestoreServer),
        2 => Just(Step::Hint),
        1 => Just(Step::Full),
    ]
}

fn sip(name: u8) -> String {
    format!("sip:name{name}@corp.example")
}

fn test_settings(removal_users: usize) -> Settings {
    let mut settings = settings();
    settings.removal_percent = PERCENT;
    settings.removal_users = removal_users;
    settings.poll = Duration::from_secs(5);
    // Nothing here may hide behind a comparison of everything.
    settings.full_read = Duration::from_hours(1000);
    let group = |number: u8| Some(Dn::parse(&format!("CN=group{number},OU=Staff,{BASE}")).unwrap());
    settings.groups.enabled = group(ENABLED);
    settings.groups.federation = group(PARTNERS);
    settings
}

fn begin(way: Way, fault: Fault, removal_users: usize) -> World {
    let mut server = Server::new(way);
    server.fault = fault;
    server.lockout = Some(LOCK);
    for group in GROUPS {
        server.add(id(group), "group", &format!("group{group}"), &[]);
    }
    for user in 1..=6 {
        add(&mut server, user, user - 1);
    }
    server.link(id(ENABLED), "member", &[1, 2, 3, 4, 5, 6].map(id));
    let mut world = World::new(test_settings(removal_users), server);
    world.home.limit = Some((usize::from(PERCENT), AT_ONCE));
    world
}

fn add(server: &mut Server, user: u8, name: u8) {
    if server.things.contains_key(&id(user)) || server.deleted.contains_key(&id(user)) {
        return;
    }
    let account = format!("user{user}");
    let sip = sip(name);
    server.add(
        id(user),
        "user",
        &account,
        &[("samaccountname", account.as_str()), ("msrtcsip-primaryuseraddress", sip.as_str())],
    );
}

/// Each server has its own, and another one after all were restored.
fn invocation_of(host: &str, generation: u8) -> ObjectId {
    let mut octets = id(if host == "dc1" { 0xe1 } else { 0xe2 }).0;
    octets[0] = generation;
    ObjectId(octets)
}

fn happen(world: &mut World, backup: &mut Option<Server>, step: Step) {
    let now = world.now.wall.0;
    let server = &mut world.server;
    match step {
        Step::Add(user, name) => add(server, user, name),
        Step::Address(user, name) => {
            server.set(id(user), "msrtcsip-primaryuseraddress", &name.map(sip).unwrap_or_default());
        }
        Step::Further(user, name) => server.set(id(user), "proxyaddresses", &sip(name)),
        Step::Title(user, title) => server.set(id(user), "title", &format!("title{title}")),
        Step::Disable(user, is) => server.set(id(user), "useraccountcontrol", if is { "514" } else { "512" }),
        Step::Expire(user, time) => {
            let expires = time.map_or_else(|| "0".to_owned(), |time| filetime(now + u64::from(time) * 1000));
            server.set(id(user), "accountexpires", &expires);
        }
        Step::Lock(user) => server.set(id(user), "lockouttime", &filetime(now)),
        Step::Delete(user) => server.delete(id(user)),
        Step::Restore(user) => server.restore(id(user)),
        Step::Move(user, place) => {
            server.change(id(user), |thing| thing.dn = format!("CN=user{user},OU=place{place},{BASE}"));
        }
        Step::Manager(user, manager) => server.link(id(user), "manager", &[id(manager)]),
        Step::Member(group, who) => server.change(id(group), |thing| {
            let members = thing.links.entry("member".to_owned()).or_default();
            if !members.remove(&id(who)) {
                members.insert(id(who));
            }
        }),
        Step::DeleteMany => (1..=USERS).step_by(2).for_each(|user| server.delete(id(user))),
        Step::Local(name) => {
            // An administrator here makes an account where nobody has the address.
            let address = address(&sip(name));
            let mut taken = world
                .home
                .accounts
                .values()
                .flat_map(|account| account.aliases.iter().chain([&account.address]));
            if !taken.any(|other| *other == address) {
                world.home.local.insert(address);
            }
        }
        Step::Events(count) => {
            for _ in 0..count {
                world.step();
            }
        }
        Step::Pass(seconds) => world.advance(Duration::from_secs(seconds.into())),
        Step::Day => {
            world.to(world.now.monotonic + Duration::from_hours(25));
            world.settle();
        }
        Step::Cut => world.cut(),
        Step::Down(is) => world.server.is_up = !is,
        Step::Crash => world.crash(),
        Step::Fails => world.commit = Commit::Fails,
        Step::AnswerLost => world.commit = Commit::WorksAndFails,
        Step::OtherServer => {
            let other = if server.host == "dc1" { "dc2" } else { "dc1" };
            // A server that was never seen cannot be known to have been restored: the next comparison of everything finds that.
            if server.generation == 0 || server.visited.contains(other) {
                let invocation = invocation_of(other, server.generation);
                server.become_another(other, invocation);
                world.cut();
            }
        }
        Step::Backup => *backup = Some(server.clone()),
        Step::RestoreServer => {
            if let Some(backup) = backup.clone().filter(|_| server.visited.contains(&server.host)) {
                let generation = server.generation + 1;
                let (host, visited) = (server.host.clone(), server.visited.clone());
                *server = Server { generation, visited, ..backup };
                let invocation = invocation_of(&host, generation);
                server.become_another(&host, invocation);
                world.cut();
            }
        }
        Step::Hint => world.input(Input::Event(Event::Hint)),
        Step::Full => {
            world.command(Command::Full);
        }
    }
}

/// Everything works again, operators look after what is held, and time passes.
fn come_to_rest(world: &mut World) {
    world.commit = Commit::Works;
    world.server.is_up = true;
    world.home.local.clear();
    for _ in 0..8 {
        world.advance(BACKOFF_MAX + LOCK + REFUSED_AGAIN);
        if world.replicator.report().alarms.is_empty() {
            break;
        }
        let limit = world.home.limit.take();
        world.ask(Command::Accept);
        world.home.limit = limit;
    }
    let report = world.replicator.report();
    assert!(report.alarms.is_empty(), "no alarm is left: {report}");
}

fn members(server: &Server, group: u8, looked: &mut BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
    let mut all = BTreeSet::new();
    if !looked.insert(id(group)) {
        return all;
    }
    for member in server.things[&id(group)].0.links.get("member").into_iter().flatten() {
        if GROUPS.contains(&member.0[15]) {
            all.extend(members(server, member.0[15], looked));
        } else {
            all.insert(*member);
        }
    }
    all
}

fn value(thing: &Thing, attribute: &str) -> Option<String> {
    thing.attributes.get(attribute).map(|values| String::from_utf8(values[0].clone()).unwrap())
}

/// What the directory says, worked out as simply as can be.
fn standing_of(world: &World, user: ObjectId, thing: &Thing) -> Standing {
    let now = world.now.wall.0;
    let past = |attribute: &str, more: u64| {
        let time =
            value(thing, attribute).filter(|time| time != "0").map(|time| time.parse::<u64>().unwrap());
        time.map(|time| time / 10_000 - 11_644_473_600_000 + more <= now)
    };
    let claim = value(thing, "msrtcsip-primaryuseraddress").or_else(|| value(thing, "proxyaddresses"));
    let is_enabled = members(&world.server, ENABLED, &mut BTreeSet::new()).contains(&user);
    if value(thing, "useraccountcontrol").as_deref() == Some("514") {
        Standing::Disabled
    } else if past("accountexpires", 0) == Some(true) {
        Standing::Expired
    } else if claim.is_none() || !is_enabled {
        Standing::NotEnabled
    } else if past("lockouttime", u64::try_from(LOCK.as_millis()).unwrap()) == Some(false) {
        Standing::LockedOut
    } else {
        Standing::Active
    }
}

fn claim_of(thing: &Thing) -> Option<SipAddress> {
    let claim = value(thing, "msrtcsip-primaryuseraddress").or_else(|| value(thing, "proxyaddresses"));
    claim.map(|claim| address(&claim))
}

fn compare(world: &World) {
    let partners = members(&world.server, PARTNERS, &mut BTreeSet::new());
    let things: BTreeMap<ObjectId, &Thing> =
        world.server.things.iter().map(|(id, (thing, _))| (*id, thing)).collect();
    let claim = |user: &ObjectId| things.get(user).and_then(|thing| claim_of(thing));
    let holder: BTreeMap<&SipAddress, ObjectId> =
        world.home.accounts.iter().map(|(user, account)| (&account.address, *user)).collect();
    // Everybody who may sign in has an account, unless another one has the address; and then that one either says that it is its own, or
    // could not get what it says and holds on to what it had.
    for (user, thing) in &things {
        if GROUPS.contains(&user.0[15]) || standing_of(world, *user, thing) != Standing::Active {
            continue;
        }
        let claimed = claim_of(thing).unwrap();
        let holder = holder.get(&claimed).unwrap_or_else(|| panic!("nobody has {claimed}, not even {user}"));
        if holder != user {
            let other = claim(holder).unwrap_or_else(|| panic!("{holder} has {claimed} and does not say so"));
            let fell_back =
                other != claimed && world.home.accounts.values().any(|account| account.address == other);
            assert!(other == claimed || fell_back, "{holder} has {claimed} without reason, {user} wants it");
        }
    }
    for (user, account) in &world.home.accounts {
        let Some(thing) = things.get(user) else {
            assert_eq!(account.account.standing, Standing::Gone, "{user}");
            continue;
        };
        assert_eq!(account.account.standing, standing_of(world, *user, thing), "{user}");
        assert_eq!(account.account.permissions.federation, partners.contains(user), "{user}");
        if let Some(claimed) = claim_of(thing).filter(|claimed| *claimed != account.address) {
            assert!(holder.contains_key(&claimed), "nobody has {claimed}, and {user} did not get it");
        }
    }
    let shown: BTreeSet<ObjectId> = world.home.objects.keys().copied().collect();
    assert_eq!(shown, things.keys().copied().collect(), "the objects are those of the directory");
    for (user, object) in &world.home.objects {
        let thing = things[user];
        assert_eq!(object.card.title, value(thing, "title").unwrap_or_default(), "{user}");
        let linked = |attribute: &str| -> Vec<ObjectId> {
            let links = thing.links.get(attribute).into_iter().flatten();
            links.filter(|link| things.contains_key(link)).copied().collect()
        };
        assert_eq!(object.manager.into_iter().collect::<Vec<_>>(), linked("manager"), "{user}");
        assert_eq!(object.members, linked("member"), "{user}");
        if let Some(account) = world.home.accounts.get(user) {
            let is_shown = matches!(account.account.standing, Standing::Active | Standing::LockedOut);
            assert_eq!(object.is_hidden, !is_shown, "{user}");
            assert_eq!(object.address.as_ref(), Some(&account.address).filter(|_| is_shown), "{user}");
        }
    }
}

fn run(way: Way, fault: Fault, removal_users: usize, steps: &[Step]) {
    let mut world = begin(way, fault, removal_users);
    let mut backup = None;
    for step in steps {
        happen(&mut world, &mut backup, *step);
    }
    come_to_rest(&mut world);
    compare(&world);
    // Who begins anew finds nothing to do.
    world.said();
    world.crash();
    world.settle();
    let said = world.said();
    let is_change = |line: &&str| line.contains("account") || line.contains("object");
    assert_eq!(said.lines().find(is_change), None, "{said}");
}

/// Whether no run of steps from this seed finds a fault.
fn holds(way: Way, fault: Fault, removal_users: usize, cases: u32) -> Result<(), TestError<Vec<Step>>> {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(5),
        failure_persistence: None,
        max_shrink_iters: if fault == Fault::None { 2_000 } else { 0 },
        ..Config::default()
    };
    TestRunner::new(config).run(&prop::collection::vec(step(), 1..60), |steps| {
        run(way, fault, removal_users, &steps);
        Ok(())
    })
}

const CASES: u32 = 60;

#[test]
fn by_dirsync() {
    holds(Way::DirSync, Fault::None, AT_ONCE, CASES).unwrap();
}

#[test]
fn by_numbers() {
    holds(Way::Usn, Fault::None, AT_ONCE, CASES).unwrap();
}

#[test]
fn a_driver_that_loses_changes_is_found() {
    holds(Way::DirSync, Fault::LosesChanges, AT_ONCE, CASES).unwrap_err();
}

#[test]
fn a_driver_that_marks_late_is_found() {
    holds(Way::Usn, Fault::MarksLate, AT_ONCE, CASES).unwrap_err();
}

#[test]
fn a_higher_threshold_is_found() {
    holds(Way::Usn, Fault::None, AT_ONCE + 1, CASES).unwrap_err();
}
