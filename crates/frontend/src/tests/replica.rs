//! What a Director is told of our accounts: everybody in parts, one at a time, and then what changes.

use directory::{Permissions, Role, SipAddress, User, UserId, UserState};
use federation::{ServerRole, TrustedServer};
use node::Flow;
use records::Change;
use records::memory::Tables;
use sign_in::replica::{Entry, PART_OCTETS_MAX, Part};
use sip_message::Message;

use super::world::{PASSWORD, World};
use crate::admin::{Answer, Call};

const DIRECTOR: &str = "director.contoso.example";
/// Enough for several parts.
const USERS: u64 = 500;

fn address(n: u64) -> SipAddress {
    SipAddress::parse(&format!("user{n}@contoso.example")).unwrap()
}

fn world() -> World {
    let mut tables = Tables::default();
    for n in 1..=USERS {
        tables.apply(&Change::AddUser {
            user: User {
                id: UserId(n),
                secrets: Some(crate::secrets(&address(n), PASSWORD)),
                address: address(n),
                display_name: String::new(),
                state: UserState::Enabled,
                role: Role::Person,
                permissions: Permissions::default(),
                aliases: Vec::new(),
                account: None,
                tokens_since_unix_ms: 0,
            },
            at_unix_ms: 0,
        });
    }
    World::on(tables, 1, |config| {
        config.servers = vec![TrustedServer { host: DIRECTOR.to_owned(), role: ServerRole::Director }];
    })
}

fn subscribe(world: &mut World, director: Flow) {
    let head = world.head("SUBSCRIBE", "director", "sip:sip.contoso.example", "sip:sip.contoso.example");
    let lines =
        "Event: chancery-users\nContact: <sip:director.contoso.example:5061;transport=tls>\nExpires: 600";
    world.receive(director, &format!("{head}\n{lines}"), "");
    assert_eq!(world.status_to(director), 200);
}

/// The next NOTIFY.
fn part(world: &mut World, director: Flow) -> (Message, Part) {
    let notify = world.sent_to(director).expect("a NOTIFY");
    assert_eq!(notify.method().as_str(), "NOTIFY");
    assert!(notify.body().len() <= PART_OCTETS_MAX, "{}", notify.body().len());
    let part = Part::parse(notify.body()).expect("a part");
    (notify, part)
}

/// Takes parts until nothing more comes; gives how many, and their entries.
fn take_all(world: &mut World, director: Flow) -> (usize, Vec<Entry>) {
    let (mut count, mut entries, mut place) = (0, Vec::new(), 0);
    loop {
        let (notify, part) = part(world, director);
        assert!(world.is_silent(), "one is under way at a time");
        assert_eq!(part.from, place, "parts follow each other");
        (count, place) = (count + 1, part.to);
        let is_last = part.is_last;
        entries.extend(part.entries);
        world.respond(director, &notify, 200);
        world.pass(std::time::Duration::from_millis(50));
        if is_last {
            return (count, entries);
        }
    }
}

#[test]
fn everybody_comes_in_parts_and_then_what_changes() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    subscribe(&mut world, director);
    let (count, entries) = take_all(&mut world, director);
    assert!(count > 1, "{count}");
    let mut ids: Vec<u64> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Is(copied) => copied.user.0,
            Entry::Gone(user) => panic!("{user:?} is gone"),
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=USERS).collect::<Vec<_>>(), "each once");

    // While a NOTIFY is under way, changes wait, and become one.
    let disable = |world: &mut World, n| {
        let call = Call::SetUserState(address(n), UserState::Disabled);
        assert_eq!(world.call(call), Answer::Done);
    };
    disable(&mut world, 1);
    world.pass(std::time::Duration::from_millis(50));
    let (notify, first) = part(&mut world, director);
    assert!(matches!(&first.entries[..], [Entry::Is(one)] if one.user == UserId(1) && !one.is_enabled));
    disable(&mut world, 2);
    assert_eq!(world.call(Call::RemoveUser(address(3))), Answer::Done);
    disable(&mut world, 2);
    world.pass(std::time::Duration::from_millis(50));
    assert!(world.is_silent());
    world.respond(director, &notify, 200);
    world.pass(std::time::Duration::from_millis(50));
    let (_, second) = part(&mut world, director);
    assert_eq!((second.from, second.is_last), (first.to, true));
    assert!(
        matches!(&second.entries[..], [Entry::Gone(UserId(3)), Entry::Is(two)] if two.user == UserId(2)),
        "{:?}",
        second.entries
    );
}

#[test]
fn who_comes_back_begins_anew() {
    let mut world = world();
    let director = world.connect_server(DIRECTOR);
    subscribe(&mut world, director);
    part(&mut world, director);
    world.disconnect(director);
    assert_eq!(world.call(Call::RemoveUser(address(3))), Answer::Done);
    let director = world.connect_server(DIRECTOR);
    subscribe(&mut world, director);
    let (_, entries) = take_all(&mut world, director);
    assert_eq!(entries.len(), usize::try_from(USERS).unwrap() - 1);
    assert!(entries.iter().all(|entry| matches!(entry, Entry::Is(copied) if copied.user != UserId(3))));
}
