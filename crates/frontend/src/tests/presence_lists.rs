//! Subscriptions to lists: many people in one dialog.

use std::collections::BTreeMap;
use std::time::Duration;

use ::presence::Level;
use directory::{Role, SipAddress};
use node::{Flow, Transport};
use sip_message::{HeaderId, Message};

use super::presence::{Watch, activity, pidf, text};
use super::world::{PASSWORD, World};
use crate::admin::{Answer, Call};

const EVENTLIST: &str =
    "Supported: eventlist\nAccept: multipart/related, application/rlmi+xml, application/pidf+xml";

fn recipients(uris: &[&str]) -> String {
    let entries: String = uris.iter().map(|uri| format!("<entry uri=\"{uri}\"/>")).collect();
    format!(
        "<?xml version=\"1.0\"?><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
    )
}

impl World {
    /// A SUBSCRIBE to the list service, with a list.
    fn subscribe_list(
        &mut self,
        flow: Flow,
        from: &str,
        headers: &str,
        content_type: &str,
        body: &str,
    ) -> Message {
        let uri = "sip:rls@contoso.example";
        let head = self.head("SUBSCRIBE", from, uri, uri);
        let contact = format!("Contact: <sip:{from}@{from}-pc.invalid;transport=tls>");
        let content_type =
            if body.is_empty() { String::new() } else { format!("\nContent-Type: {content_type}") };
        self.receive(flow, &format!("{head}\nEvent: presence\n{contact}\n{headers}{content_type}"), body);
        self.sent_to(flow).expect("an answer to SUBSCRIBE")
    }

    pub(super) fn watch_list(&mut self, flow: Flow, from: &str, uris: &[&str]) -> Listed {
        let headers = format!("{EVENTLIST}\nRequire: recipient-list-subscribe\nExpires: 600");
        let body = recipients(uris);
        let answer = self.subscribe_list(flow, from, &headers, "application/resource-lists+xml", &body);
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        assert_eq!(answer.header(HeaderId::Require), Some(&b"eventlist"[..]));
        listed(&self.notified(flow).expect("a first NOTIFY"))
    }
}

/// What a NOTIFY of a list says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) version: u32,
    pub(super) is_full: bool,
    /// By URI: the instance's state and its document's basic status with activities; `-` without an instance.
    pub(super) members: BTreeMap<String, String>,
}

pub(super) fn listed(notify: &Message) -> Listed {
    assert_eq!(notify.header(HeaderId::Require), Some(&b"eventlist"[..]), "{notify:?}");
    let content_type = notify.content_type();
    assert!(content_type.starts_with("multipart/related"), "{content_type}");
    let body = text(notify.body());
    let content_type = text(notify.header(HeaderId::ContentType).unwrap());
    let boundary = content_type.split("boundary=").nth(1).unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    let attribute = |element: &str, name: &str| {
        let at = element.find(&format!(" {name}=\""))? + name.len() + 3;
        Some(element[at..].split('"').next().unwrap().to_owned())
    };
    let rlmi = parts[1];
    let list = &rlmi[rlmi.find("<list").unwrap()..];
    let mut members = BTreeMap::new();
    for resource in rlmi.split("<resource").skip(1) {
        let uri = attribute(resource, "uri").unwrap();
        let instance = resource.split("<instance").nth(1);
        let mut seen = instance.map_or("-".to_owned(), |instance| attribute(instance, "state").unwrap());
        if let Some(cid) = instance.and_then(|instance| attribute(instance, "cid")) {
            let part =
                parts.iter().find(|part| part.contains(&format!("Content-Id: <{cid}>"))).expect("a part");
            let between = |from: &str, to: &str| {
                part.split(from).nth(1).map(|rest| rest.split(to).next().unwrap().to_owned())
            };
            seen += &format!(" {}", between("<basic>", "<").unwrap());
            assert!(part.contains(&format!("entity=\"{uri}\"")), "{part}");
            if let Some(activities) = between("<rpid:activities>", "</rpid:activities>") {
                seen += &activities.replace("<rpid:", " ").replace("/>", "");
            }
        }
        members.insert(uri, seen);
    }
    Listed {
        version: attribute(list, "version").unwrap().parse().unwrap(),
        is_full: attribute(list, "fullState").unwrap() == "true",
        members,
    }
}

fn members(members: &[(&str, &str)]) -> BTreeMap<String, String> {
    members.iter().map(|(name, seen)| (format!("sip:{name}"), (*seen).to_owned())).collect()
}

#[test]
fn liblinphone_is_told_a_list_in_its_own_way() {
    let mut world = World::new();
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let uri = "sip:rls@contoso.example";
    let head =
        world.head("SUBSCRIBE", "bob", uri, uri).replace("User-Agent: test", "User-Agent: Linphonec/5.1.65");
    let more =
        "Require: recipient-list-subscribe\nExpires: 600\nContact: <sip:bob@bob-pc.invalid;transport=tls>";
    let content_type = "Content-Type: application/resource-lists+xml";
    let list = recipients(&["sip:alice@contoso.example"]);
    world.receive(bob, &format!("{head}\nEvent: presence\n{EVENTLIST}\n{more}\n{content_type}"), &list);
    let answer = world.sent_to(bob).expect("an answer to SUBSCRIBE");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let is_its_way = |notify: &Message| {
        assert_eq!(notify.header(HeaderId::Event), Some(&b"Presence"[..]), "{notify:?}");
        let body = text(notify.body());
        let (_, cid) = body.split_once(" cid=\"").expect("a document");
        let (cid, _) = cid.split_once('"').expect("its end");
        assert!(body.contains(&format!("\r\nContent-Id: {cid}\r\n")), "{body}");
    };
    is_its_way(&world.notified(bob).expect("the list"));
    world.pass(Duration::from_secs(1));
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    is_its_way(&world.notified(bob).expect("the change"));
    // It goes on to subscribe to `presence`.
    world.pass(Duration::from_secs(1));
    let watch = Watch {
        flow: bob,
        from: "bob",
        package: "presence",
        call_id: answer.call_id().unwrap().to_owned(),
        to: text(answer.header(HeaderId::To).unwrap()),
        contact: text(answer.header(HeaderId::Contact).unwrap()).trim_matches(['<', '>']).to_owned(),
    };
    assert_eq!(world.resubscribe(&watch, &format!("{EVENTLIST}\nExpires: 600")), 200);
    is_its_way(&world.notified(bob).expect("the whole list"));
    // Whoever goes is not told everything once more.
    world.pass(Duration::from_secs(1));
    assert_eq!(world.resubscribe(&watch, &format!("{EVENTLIST}\nExpires: 0")), 200);
    let last = world.notified(bob).expect("the end");
    assert!(text(last.header(HeaderId::SubscriptionState).unwrap()).starts_with("terminated"), "{last:?}");
    assert!(last.body().is_empty(), "{last:?}");
}

#[test]
fn a_list_is_told_whole_and_then_what_changed() {
    let mut world = World::new();
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let uris = [
        "sip:alice@contoso.example",
        "sip:Carol@CONTOSO.example",
        "sip:nobody@contoso.example",
        "sip:x@fabrikam.example",
    ];
    let first = world.watch_list(bob, "bob", &uris);
    assert_eq!(
        first,
        Listed {
            version: 0,
            is_full: true,
            members: members(&[
                ("alice@contoso.example", "active open"),
                ("carol@contoso.example", "active closed"),
                ("nobody@contoso.example", "terminated"),
                ("x@fabrikam.example", "terminated"),
            ])
        }
    );
    world.pass(Duration::from_secs(1));
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    let second = listed(&world.notified(bob).unwrap());
    assert_eq!((second.version, second.is_full), (1, false));
    assert_eq!(second.members, members(&[("alice@contoso.example", "active open busy meeting")]));
    // Two who change together are told together.
    world.pass(Duration::from_millis(20));
    world.disconnect(alice);
    world.sign_in("carol");
    assert!(world.notified(bob).is_none());
    world.pass(Duration::from_secs(1));
    let third = listed(&world.notified(bob).unwrap());
    assert_eq!(
        third.members,
        members(&[("alice@contoso.example", "active closed"), ("carol@contoso.example", "active open")])
    );
    assert!(world.is_silent());
}

#[test]
fn a_list_ends_with_its_dialog_and_leaves_nothing() {
    let mut world = World::new();
    let (bob, carol) = (world.sign_in("bob"), world.sign_in("carol"));
    world.watch_list(bob, "bob", &["sip:alice@contoso.example", "sip:carol@contoso.example"]);
    world.watch_list(
        carol,
        "carol",
        &["sip:alice@contoso.example", "sip:carol@contoso.example", "sip:y@x.example"],
    );
    assert_eq!(world.node.lists.len(), (2, 5));
    world.disconnect(bob);
    assert_eq!(world.node.lists.len(), (1, 3));
    world.sign_in("alice");
    world.pass(Duration::from_secs(1));
    let told = listed(&world.notified(carol).unwrap());
    assert_eq!(told.members, members(&[("alice@contoso.example", "active open")]));
    world.disconnect(carol);
    assert_eq!(world.node.lists.len(), (0, 0));
    assert!(world.node.users.iter().all(|account| account.person.told.is_none()));
}

#[test]
fn lists_that_are_not_taken() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    let list = recipients(&["sip:alice@contoso.example"]);
    let long: Vec<String> = (0..1200).map(|n| format!("sip:u{n}@contoso.example")).collect();
    let long = recipients(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let resource_lists = "application/resource-lists+xml";
    for (headers, content_type, body, status) in [
        ("Expires: 600", resource_lists, &*list, 421),
        ("Supported: eventlist\nAccept: application/pidf+xml", resource_lists, &list, 406),
        (EVENTLIST, "text/plain", "alice", 415),
        (EVENTLIST, resource_lists, "<resource-lists", 400),
        (EVENTLIST, resource_lists, "<x/>", 400),
        ("Supported: eventlist\nContent-Encoding: gzip", resource_lists, &list, 415),
        ("Supported: eventlist\nRequire: recipient-list-subscribe", "", "", 400),
        ("Supported: eventlist\nRequire: anything-else", resource_lists, &list, 420),
        (EVENTLIST, resource_lists, &long, 413),
    ] {
        let answer = world.subscribe_list(bob, "bob", headers, content_type, body);
        assert_eq!(answer.status(), Some(status), "{headers} {content_type}");
        if status == 421 {
            assert_eq!(answer.header(HeaderId::Require), Some(&b"eventlist"[..]));
        }
    }
    assert_eq!(world.node.lists.len(), (0, 0));
    assert!(world.is_silent());
    // As liblinphone sends it.
    let compressed = miniz_oxide::deflate::compress_to_vec_zlib(list.as_bytes(), 6);
    for (body, status) in [(&compressed[..], 200), (&compressed[..20], 400)] {
        let uri = "sip:rls@contoso.example";
        let head = world.head("SUBSCRIBE", "bob", uri, uri).replace('\n', "\r\n");
        let mut octets = format!(
            "{head}\r\nEvent: presence\r\nContact: <sip:bob@bob-pc.invalid;transport=tls>\r\nSupported: eventlist\r\nExpires: 600\r\n\
             Require: recipient-list-subscribe\r\nContent-Encoding: deflate\r\nContent-Type: {resource_lists}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        octets.extend_from_slice(body);
        world.handle(node::Input::Received { flow: bob, bytes: octets.into() });
        assert_eq!(world.status_to(bob), status);
        let told = world.notified(bob).map(|notify| listed(&notify).members.len());
        assert_eq!(told, (status == 200).then_some(1));
    }
    // As one part among others.
    let wrapped = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: {resource_lists}\r\nContent-Disposition: recipient-list\r\n\r\n{list}\r\n--b--\r\n"
    );
    let answer = world.subscribe_list(bob, "bob", EVENTLIST, "multipart/mixed;boundary=b", &wrapped);
    assert_eq!(answer.status(), Some(200));
    assert_eq!(listed(&world.notified(bob).unwrap()).members.len(), 1);
}

#[test]
fn a_user_has_so_many_lists_and_no_more() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    let list = recipients(&["sip:alice@contoso.example"]);
    let statuses: Vec<_> = (0..33)
        .map(|_| {
            let answer = world.subscribe_list(bob, "bob", EVENTLIST, "application/resource-lists+xml", &list);
            let _ = world.notified(bob);
            answer.status().unwrap()
        })
        .collect();
    assert_eq!(statuses[..32], [200; 32]);
    assert_eq!(statuses[32], 403);
}

#[test]
fn a_long_list_comes_in_several_notifies() {
    let mut world = World::new();
    let mut names = Vec::new();
    for n in 0..150 {
        let address = SipAddress::parse(&format!("user{n}@contoso.example")).unwrap();
        names.push(format!("sip:{address}"));
        let add = Call::AddUser {
            address,
            display_name: format!("User Number {n}"),
            password: PASSWORD.to_owned(),
            role: Role::Person,
        };
        assert_eq!(world.call(add), Answer::Done);
    }
    for transport in [Transport::Tls, Transport::Tcp] {
        let bob = world.connect(transport);
        world.register(
            bob,
            "bob",
            &format!("Contact: <sip:bob@bob-pc.invalid;transport={}>", transport.name()),
        );
        let uris: Vec<&str> = names.iter().map(String::as_str).collect();
        let first = world.watch_list(bob, "bob", &uris);
        assert!(first.is_full && first.members.len() == 150, "{first:?}");
        let mut seen = first.members;
        let mut version = 0;
        while seen.values().any(|seen| seen == "-") {
            // As soon as one is answered, whatever the window is.
            let next = listed(&world.notified(bob).expect("the rest"));
            version += 1;
            assert_eq!((next.version, next.is_full), (version, false));
            seen.extend(next.members);
        }
        assert!(seen.values().all(|seen| seen == "active closed") && version < 5, "{version}");
        world.pass(Duration::from_secs(1));
        assert!(world.is_silent());
        world.disconnect(bob);
    }
}

#[test]
fn users_who_come_and_go_are_rows_that_move() {
    let mut world = World::new();
    let bob = world.sign_in("bob");
    let first = world.watch_list(bob, "bob", &["sip:erin@contoso.example", "sip:alice@contoso.example"]);
    assert_eq!(first.members["sip:erin@contoso.example"], "terminated");
    let erin = SipAddress::parse("erin@contoso.example").unwrap();
    let add = Call::AddUser {
        address: erin.clone(),
        display_name: String::new(),
        password: PASSWORD.to_owned(),
        role: Role::Person,
    };
    assert_eq!(world.call(add), Answer::Done);
    world.pass(Duration::from_secs(1));
    let come = listed(&world.notified(bob).unwrap());
    assert_eq!(come.members, members(&[("erin@contoso.example", "active closed")]));
    assert_eq!(world.call(Call::RemoveUser(erin)), Answer::Done);
    world.pass(Duration::from_secs(1));
    let gone = listed(&world.notified(bob).unwrap());
    assert_eq!(gone.members, members(&[("erin@contoso.example", "terminated")]));
    world.disconnect(bob);
    assert_eq!(world.node.lists.len(), (0, 0));
}

#[test]
fn a_list_shows_no_more_than_its_owners_level() {
    let mut world = World::with(|config| config.presence.levels.same_organisation = Level::Blocked);
    let (bob, alice) = (world.sign_in("bob"), world.sign_in("alice"));
    let first = world.watch_list(bob, "bob", &["sip:alice@contoso.example", "sip:bob@contoso.example"]);
    assert_eq!(
        first.members,
        members(&[("alice@contoso.example", "active closed"), ("bob@contoso.example", "active open")])
    );
    world.publishes(alice, "alice", &pidf("open", &activity("meeting")));
    world.pass(Duration::from_secs(1));
    assert!(world.is_silent());
}

/// A world with people of these numbers, who are signed in, all of them in a list that Bob watches, quietly.
fn world_with_people<const N: usize>(
    configure: impl FnOnce(&mut crate::Config),
    rates: &str,
) -> (World, Flow, [Flow; N], Watch) {
    let mut world = World::with(configure);
    let people = std::array::from_fn(|n| {
        let add = Call::AddUser {
            address: person(n),
            display_name: String::new(),
            password: PASSWORD.to_owned(),
            role: Role::Person,
        };
        assert_eq!(world.call(add), Answer::Done);
        world.sign_in(&format!("user{n}"))
    });
    let bob = world.sign_in("bob");
    let uri = "sip:rls@contoso.example";
    let uris: Vec<String> = (0..N).map(|n| format!("sip:{}", person(n))).collect();
    let list = recipients(&uris.iter().map(String::as_str).collect::<Vec<_>>());
    let head = world.head("SUBSCRIBE", "bob", uri, uri);
    let more =
        "Require: recipient-list-subscribe\nExpires: 600\nContact: <sip:bob@bob-pc.invalid;transport=tls>";
    let content_type = "Content-Type: application/resource-lists+xml";
    world.receive(
        bob,
        &format!("{head}\nEvent: presence{rates}\n{EVENTLIST}\n{more}\n{content_type}"),
        &list,
    );
    let answer = world.sent_to(bob).expect("an answer to SUBSCRIBE");
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let watch = Watch {
        flow: bob,
        from: "bob",
        package: "presence",
        call_id: answer.call_id().unwrap().to_owned(),
        to: text(answer.header(HeaderId::To).unwrap()),
        contact: text(answer.header(HeaderId::Contact).unwrap()).trim_matches(['<', '>']).to_owned(),
    };
    assert_eq!(listed(&world.notified(bob).expect("a first NOTIFY")).members.len(), N);
    world.pass(Duration::from_secs(10));
    (world, bob, people, watch)
}

fn person(n: usize) -> SipAddress {
    SipAddress::parse(&format!("user{n}@contoso.example")).unwrap()
}

/// Somebody of the list publishes an activity.
fn is(world: &mut World, people: &[Flow], n: usize, what: &str) {
    world.publishes(people[n], &format!("user{n}"), &pidf("open", &activity(what)));
}

/// What the next NOTIFY of the list says of whom, by their numbers.
fn told(world: &mut World, bob: Flow) -> Vec<(usize, String)> {
    let notify = world.notified(bob).expect("a NOTIFY");
    let number = |uri: &str| uri["sip:user".len()..].split('@').next().unwrap().parse().unwrap();
    let mut told: Vec<_> =
        listed(&notify).members.into_iter().map(|(uri, seen)| (number(&uri), seen)).collect();
    told.sort();
    told
}

fn meeting(n: usize) -> (usize, String) {
    (n, "active open busy meeting".to_owned())
}

fn closed(n: usize) -> (usize, String) {
    (n, "active closed".to_owned())
}

fn block(world: &mut World, n: usize, level: Option<Level>) {
    let subject = ::presence::rules::Subject::User(SipAddress::parse("bob@contoso.example").unwrap());
    assert_eq!(world.call(Call::SetAccess { user: person(n), subject, level }), Answer::Done);
}

#[test]
fn the_first_of_a_list_is_told_at_once_and_the_next_together() {
    let (mut world, bob, people, _) = world_with_people::<11>(|_| (), "");
    is(&mut world, &people, 0, "meeting");
    assert_eq!(told(&mut world, bob), [meeting(0)], "after a quiet time nothing waits");
    for n in 1..=10 {
        world.pass(Duration::from_millis(20));
        is(&mut world, &people, n, "meeting");
    }
    // 200 ms have passed of 500.
    world.pass(Duration::from_millis(299));
    world.expects_nothing(bob);
    world.pass(Duration::from_millis(1));
    assert_eq!(told(&mut world, bob), (1..=10).map(meeting).collect::<Vec<_>>());
    // Who changes twice within the window is told as last seen, and the others wait in their turn.
    is(&mut world, &people, 1, "on-the-phone");
    is(&mut world, &people, 2, "on-the-phone");
    world.pass(Duration::from_millis(100));
    is(&mut world, &people, 1, "away");
    world.pass(Duration::from_millis(399));
    world.expects_nothing(bob);
    world.pass(Duration::from_millis(1));
    let phone = "active open busy on-the-phone".to_owned();
    assert_eq!(told(&mut world, bob), [(1, "active open away".to_owned()), (2, phone)]);
    world.pass(Duration::from_secs(60));
    world.expects_nothing(bob);
}

#[test]
fn a_list_whose_window_is_closed_tells_each_change_by_itself() {
    let (mut world, bob, people, _) =
        world_with_people::<3>(|config| config.presence.list_window = Duration::ZERO, "");
    for n in 0..3 {
        is(&mut world, &people, n, "meeting");
        assert_eq!(told(&mut world, bob), [meeting(n)]);
    }
}

#[test]
fn who_is_blocked_within_the_window_of_a_list_sees_no_more_from_then_on() {
    let (mut world, bob, people, _) = world_with_people::<4>(|_| (), "");
    is(&mut world, &people, 0, "meeting");
    assert_eq!(told(&mut world, bob), [meeting(0)]);
    world.pass(Duration::from_millis(20));
    is(&mut world, &people, 1, "meeting");
    is(&mut world, &people, 2, "meeting");
    world.expects_nothing(bob);
    block(&mut world, 0, Some(Level::Blocked));
    assert_eq!(told(&mut world, bob), [closed(0), meeting(1), meeting(2)], "at once, with what was gathered");
    // What waits is told at the level of the time when it is told.
    world.pass(Duration::from_millis(100));
    is(&mut world, &people, 3, "meeting");
    is(&mut world, &people, 0, "away");
    block(&mut world, 3, Some(Level::Blocked));
    assert_eq!(told(&mut world, bob), [closed(3)]);
    // Who is offline already, but not yet for the watcher, is so at once.
    world.disconnect(people[1]);
    world.expects_nothing(bob);
    block(&mut world, 1, Some(Level::Blocked));
    assert_eq!(told(&mut world, bob), [closed(1)]);
    block(&mut world, 0, None);
    assert_eq!(told(&mut world, bob), [(0, "active open away".to_owned())], "nor does more wait");
    world.pass(Duration::from_secs(60));
    world.expects_nothing(bob);
}

#[test]
fn a_refresh_and_an_end_do_not_wait_for_the_window_of_a_list() {
    let (mut world, bob, people, watch) = world_with_people::<3>(|_| (), "");
    is(&mut world, &people, 0, "meeting");
    assert_eq!(told(&mut world, bob), [meeting(0)]);
    is(&mut world, &people, 1, "meeting");
    world.expects_nothing(bob);
    assert_eq!(world.resubscribe(&watch, &format!("{EVENTLIST}\nExpires: 600")), 200);
    assert_eq!(told(&mut world, bob), [meeting(0), meeting(1), (2, "active open".to_owned())]);
    // What was told so is not told again; a window begins with every NOTIFY.
    world.pass(Duration::from_millis(499));
    is(&mut world, &people, 2, "meeting");
    world.expects_nothing(bob);
    world.pass(Duration::from_millis(1));
    assert_eq!(told(&mut world, bob), [meeting(2)]);
    is(&mut world, &people, 0, "away");
    assert_eq!(world.resubscribe(&watch, &format!("{EVENTLIST}\nExpires: 0")), 200);
    let last = world.notified(bob).expect("the end");
    assert!(text(last.header(HeaderId::SubscriptionState).unwrap()).starts_with("terminated"), "{last:?}");
    assert_eq!(listed(&last).members.len(), 1, "what waited is told with the end");
    world.pass(Duration::from_secs(60));
    world.expects_nothing(bob);
}

#[test]
fn a_list_is_told_no_more_often_than_its_watcher_asks() {
    let (mut world, bob, people, _) = world_with_people::<3>(|_| (), ";max-rate=0.5");
    is(&mut world, &people, 0, "meeting");
    assert_eq!(told(&mut world, bob), [meeting(0)]);
    world.pass(Duration::from_millis(600));
    is(&mut world, &people, 1, "meeting");
    // Longer than the window; and its watcher asked for that, whatever there is to tell.
    block(&mut world, 0, Some(Level::Blocked));
    world.pass(Duration::from_millis(1399));
    world.expects_nothing(bob);
    world.pass(Duration::from_millis(1));
    assert_eq!(told(&mut world, bob), [closed(0), meeting(1)]);
    // A watcher who would take more than the window gives.
    let (mut world, bob, people, _) = world_with_people::<3>(|_| (), ";max-rate=10");
    is(&mut world, &people, 0, "meeting");
    assert_eq!(told(&mut world, bob), [meeting(0)]);
    world.pass(Duration::from_millis(101));
    is(&mut world, &people, 1, "meeting");
    world.pass(Duration::from_millis(398));
    world.expects_nothing(bob);
    world.pass(Duration::from_millis(1));
    assert_eq!(told(&mut world, bob), [meeting(1)]);
}

#[test]
fn a_watcher_that_takes_long_to_answer_is_told_what_was_gathered_then() {
    let (mut world, bob, people, _) = world_with_people::<4>(|_| (), "");
    is(&mut world, &people, 0, "meeting");
    let unanswered = world.sent_to(bob).expect("a NOTIFY");
    for n in 1..4 {
        world.pass(Duration::from_secs(1));
        is(&mut world, &people, n, "meeting");
        world.expects_nothing(bob);
    }
    world.respond(bob, &unanswered, 200);
    assert_eq!(told(&mut world, bob), [meeting(1), meeting(2), meeting(3)]);
}
