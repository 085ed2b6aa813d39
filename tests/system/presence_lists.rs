//! Lists of people in one dialog (RFC 4662), brought along or kept on the server, and changed by XCAP and by commands.

use system_tests::{Https, Road, Server, Transport, activity, note, on_each};

const LIST_TYPE: (&str, &str) = ("Content-Type", "application/resource-lists+xml");
const ELEMENT_TYPE: (&str, &str) = ("Content-Type", "application/xcap-el+xml");
const INDEX: &str = "/xcap/resource-lists/users/sip:alice@example.test/index";
const OF_BOB: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
    <entry uri=\"sip:bob@example.test\"/></list></resource-lists>";

/// Where an entry of the list of friends is (RFC 4825 §6.3).
fn entry(uri: &str) -> String {
    format!("{INDEX}/~~/resource-lists/list%5B@name=%22friends%22%5D/entry%5B@uri=%22{uri}%22%5D")
}

#[test]
fn a_list_that_is_brought_along_is_told_whole_and_then_what_changes() {
    on_each(&[Transport::Tcp, Transport::Tls, Transport::Wss].map(Road::v4), |scene| {
        let alice = scene.registered("alice");
        let (bob, carol) = (scene.uri("bob"), scene.uri("carol"));
        let elsewhere = "sip:x@elsewhere.example";
        let mut watch = alice.watch_list(Some(&[bob.clone(), carol.clone(), elsewhere.to_owned()]));
        watch.until_members(&[
            (&*bob, "active closed"),
            (&carol, "active closed"),
            (elsewhere, "terminated"),
        ]);
        let mut device = scene.device("bob");
        device.register_flow(1);
        device.publish(None, &activity("meeting"));
        let other = scene.registered("carol");
        other.publish(None, &note("hello"));
        watch.until_members(&[
            (&*bob, "active open busy meeting"),
            (&carol, "active open \"hello\""),
            (elsewhere, "terminated"),
        ]);
        device.crash();
        watch.until_members(&[
            (&*bob, "active closed"),
            (&carol, "active open \"hello\""),
            (elsewhere, "terminated"),
        ]);
        watch.end();
        other.publish(None, &note("again"));
        alice.expect_none("NOTIFY");
    });
}

#[test]
fn ones_own_contacts_are_followed_by_a_list_while_they_change() {
    let server = Server::start();
    let road = Road::v4(Transport::Tls);
    let account = server.account("alice");
    let mut xcap = Https::connect(server.https(), &server.ca());
    let put = xcap.ask_as(&account, "PUT", INDEX, &[LIST_TYPE], OF_BOB);
    assert_eq!(put.status, 201, "{put:?}");
    let tag = put.header("etag").expect("a tag").to_owned();

    let (alice, bob) = (server.device("alice", road), server.device("bob", road));
    alice.register("");
    bob.register("");
    let mut watch = alice.watch_list(None);
    watch.until_members(&[("sip:bob@example.test", "active open")]);

    // One entry, on condition of the whole as it was seen.
    let carol = entry("sip:carol@example.test");
    let element = "<entry uri=\"sip:carol@example.test\"/>";
    let stale = [ELEMENT_TYPE, ("If-Match", "\"another\"")];
    assert_eq!(xcap.ask_as(&account, "PUT", &carol, &stale, element).status, 412);
    let fresh = [ELEMENT_TYPE, ("If-Match", &tag)];
    let put = xcap.ask_as(&account, "PUT", &carol, &fresh, element);
    assert_eq!(put.status, 201, "{put:?}");
    assert_ne!(put.header("etag"), Some(&*tag), "what changes has another tag");
    assert_eq!(xcap.ask_as(&account, "PUT", &carol, &fresh, element).status, 412, "that was before");
    watch.until_members(&[
        ("sip:bob@example.test", "active open"),
        ("sip:carol@example.test", "active closed"),
    ]);
    let got = xcap.ask_as(&account, "GET", &carol, &[], "");
    assert_eq!((got.status, got.header("content-type")), (200, Some(ELEMENT_TYPE.1)));
    assert_eq!(got.body, element);

    let device = server.device("carol", road);
    device.register("");
    watch
        .until_members(&[("sip:bob@example.test", "active open"), ("sip:carol@example.test", "active open")]);
    assert_eq!(xcap.ask_as(&account, "DELETE", &entry("sip:bob@example.test"), &[], "").status, 200);
    watch.until_members(&[("sip:carol@example.test", "active open")]);
    // Commands change the same list.
    let (code, said) = server.command(&["contact", "add", "alice@example.test", "bob@example.test"]);
    assert_eq!(code, 0, "{said}");
    watch
        .until_members(&[("sip:bob@example.test", "active open"), ("sip:carol@example.test", "active open")]);
    let got = xcap.ask_as(&account, "GET", &entry("sip:bob@example.test"), &[], "");
    assert_eq!(got.status, 200, "{got:?}");
    // What is no list is refused, and the list is as it was.
    assert_eq!(xcap.ask_as(&account, "PUT", INDEX, &[LIST_TYPE], "<x/>").status, 409);
    assert_eq!(xcap.ask_as(&account, "DELETE", INDEX, &[], "").status, 200);
    watch.until_members(&[]);
    watch.end();
}

#[test]
fn whoever_blocks_the_owner_of_a_list_is_not_there_in_it() {
    let server = Server::start();
    let road = Road::v4(Transport::Tcp);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| {
        let device = server.device(name, road);
        device.register("");
        device
    });
    let mut watch = alice.watch_list(Some(&[bob.uri(), carol.uri()]));
    watch
        .until_members(&[("sip:bob@example.test", "active open"), ("sip:carol@example.test", "active open")]);
    let set = ["access", "set", "bob@example.test", "alice@example.test", "blocked"];
    assert_eq!(server.command(&set).0, 0);
    watch.until_members(&[
        ("sip:bob@example.test", "active closed"),
        ("sip:carol@example.test", "active open"),
    ]);
    bob.publish(None, &activity("meeting"));
    alice.expect_none("NOTIFY");
}

#[test]
fn a_long_list_comes_whole_over_every_road() {
    /// More than one datagram holds, and more than one NOTIFY over a connection.
    const MEMBERS: usize = 150;
    on_each(&[Transport::Udp, Transport::Tcp].map(Road::v4), |scene| {
        let alice = scene.registered("alice");
        let bob = scene.registered("bob");
        bob.publish(None, &activity("meeting"));
        let mut uris: Vec<String> = (0..MEMBERS).map(|n| format!("sip:nobody-{n}@example.test")).collect();
        uris.push(bob.uri());
        let mut watch = alice.watch_list(Some(&uris));
        let mut wanted: Vec<_> = uris.iter().map(|uri| (uri.as_str(), "terminated")).collect();
        wanted[MEMBERS].1 = "active open busy meeting";
        watch.until_members(&wanted);
        watch.end();
    });
}
