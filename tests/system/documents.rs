//! Documents over real HTTPS, and the commands that change the same ones.

use system_tests::{Https, Road, Server, Transport};

const LISTS: &str = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"team\">\
                     <entry uri=\"sip:bob@example.test\"/></list></resource-lists>";
const LISTS_TYPE: (&str, &str) = ("Content-Type", "application/resource-lists+xml");
const ELEMENT_TYPE: (&str, &str) = ("Content-Type", "application/xcap-el+xml");
const MINE: &str = "/xcap/resource-lists/users/sip:alice@example.test/index";

fn connect(server: &Server) -> Https {
    Https::connect(server.https(), &server.ca())
}

#[test]
fn a_contact_list_is_one_for_clients_and_commands_and_outlives_a_kill() {
    let mut server = Server::start();
    let alice = server.account("alice");
    let mut client = connect(&server);
    let created = client.ask_as(&alice, "PUT", MINE, &[LISTS_TYPE, ("If-None-Match", "*")], LISTS);
    assert_eq!(created.status, 201, "{created:?}");
    let tag = created.header("etag").expect("an entity tag").to_owned();

    // An administrator adds to it: the client's next write comes too late, and is told so.
    let words = ["contact", "add", "alice@example.test", "carol@example.test", "--group", "team"];
    let (status, output) = server.command(&words);
    assert_eq!(status, 0, "{output}");
    let entry = format!(
        "{MINE}/~~/resource-lists/list%5B@name=%22team%22%5D/entry%5B@uri=%22sip:dave@example.test%22%5D"
    );
    let dave = "<entry uri=\"sip:dave@example.test\"/>";
    let late = client.ask_as(&alice, "PUT", &entry, &[ELEMENT_TYPE, ("If-Match", &tag)], dave);
    assert_eq!(late.status, 412);
    let read = client.ask_as(&alice, "GET", MINE, &[("If-None-Match", &tag)], "");
    assert_eq!(read.status, 200);
    let tag = read.header("etag").expect("an entity tag").to_owned();
    assert_eq!(client.ask_as(&alice, "PUT", &entry, &[ELEMENT_TYPE, ("If-Match", &tag)], dave).status, 201);

    // What was answered is on disk.
    server.kill();
    server.restart();
    let mut client = connect(&server);
    assert_eq!(client.ask_as(&alice, "GET", &entry, &[], "").body, dave);
    let (status, output) = server.command(&["contact", "list", "alice@example.test", "--json"]);
    assert_eq!(status, 0, "{output}");
    for contact in ["bob@example.test", "carol@example.test", "dave@example.test"] {
        assert!(output.contains(contact), "{output}");
    }
}

#[test]
fn the_owners_devices_are_told_which_documents_changed() {
    let server = Server::start();
    let account = server.account("alice");
    let road = Road::v4(Transport::Tls);
    let (phone, bob) = (server.device("alice", road), server.device("bob", road));
    phone.register("");
    bob.register("");
    let watch = phone.watch_own("xcap-diff");
    let first = watch.until_told("<xcap-diff");
    assert!(first.contains("xcap-root=\"https://") && !first.contains("<document"), "{first}");
    let others = bob.ask(bob.subscribe_draft("xcap-diff", "sip:alice@example.test"));
    assert_eq!(others.status(), Some(403), "documents are their owner's");
    // Written by another device of hers, and by a command.
    let mut client = connect(&server);
    let created = client.ask_as(&account, "PUT", MINE, &[LISTS_TYPE], LISTS);
    let tag = created.header("etag").expect("an entity tag").trim_matches('"').to_owned();
    let told = watch.until_told("<document");
    assert!(told.contains(&format!("new-etag=\"{tag}\"")), "{told}");
    assert!(told.contains("sel=\"resource-lists/users/") && !told.contains("previous-etag"), "{told}");
    let words = ["contact", "add", "alice@example.test", "carol@example.test", "--group", "team"];
    assert_eq!(server.command(&words).0, 0);
    watch.until_told(&format!("previous-etag=\"{tag}\""));
    assert_eq!(client.ask_as(&account, "DELETE", MINE, &[], "").status, 200);
    let gone = watch.until_told("previous-etag");
    assert!(!gone.contains("new-etag"), "{gone}");
    watch.end();
}

#[test]
fn commands_tell_what_is_wrong() {
    let server = Server::start();
    for (words, told) in [
        (&["group", "rename", "alice@example.test", "team", "crew"][..], "has no group \"team\""),
        (&["contact", "remove", "alice@example.test", "bob@example.test"], "is not among those contacts"),
        (&["contact", "add", "nobody@example.test", "bob@example.test"], "there is no user"),
        (&["access", "set", "alice@example.test", "bob@example.test", "boss"], "there are blocked, external"),
        (&["access", "set", "alice@example.test", "a b", "team"], "same-organisation"),
    ] {
        let (status, output) = server.command(words);
        assert_eq!(status, 1, "{words:?} {output}");
        assert!(output.contains(told), "{words:?} {output}");
    }
    let (status, output) =
        server.command(&["access", "set", "alice@example.test", "bob@example.test", "team"]);
    assert_eq!(status, 0, "{output}");
    let (_, output) = server.command(&["access", "show", "alice@example.test"]);
    let first: Vec<_> = output.lines().next().expect("a rule").split_whitespace().take(2).collect();
    assert_eq!(first, ["bob@example.test", "team"], "{output}");
}
