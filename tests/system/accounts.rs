//! What an administrator's command does to the running server at once.

use system_tests::{Road, Server, Transport, in_parallel};

fn run(server: &Server, words: &[&str], password: Option<&str>) -> String {
    let output = server.user_command(words, password);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "chancery user {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn disabling_an_account_cuts_its_connections_and_registrations() {
    let mut builder = Server::with_users().user("watcher");
    for road in Road::ALL {
        builder = builder.user(&road.to_string());
    }
    let server = builder.start();
    in_parallel(&Road::ALL, |road| {
        let name = road.to_string();
        let device = server.device(&name, *road);
        device.register("");
        let watcher = server.device("watcher", *road);
        watcher.register("");
        let address = format!("{name}@example.test");
        run(&server, &["disable", &address], None);
        if road.transport != Transport::Udp {
            device.closed();
        }
        // To others it is now as if it did not exist.
        assert_eq!(watcher.ask(watcher.invite(&device.uri())).status(), Some(404));
        let back = server.device(&name, *road);
        let refusal = back.ask(back.register_draft(None)).status();
        assert!(matches!(refusal, Some(401 | 403)), "{refusal:?}");
        run(&server, &["enable", &address], None);
        server.device(&name, *road).register("");
    });
}

#[test]
fn a_new_password_ends_what_the_old_one_began() {
    let server = Server::start();
    let road = Road::v4(Transport::Tls);
    let device = server.device("alice", road);
    device.register("");
    run(&server, &["set-password", "alice@example.test"], Some("another-secret"));
    device.closed();
    let old = server.device("alice", road);
    assert_eq!(old.ask(old.register_draft(None)).status(), Some(401));
    let account = system_tests::Account { password: "another-secret".to_owned(), ..server.account("alice") };
    let new = system_tests::Device::connect(account, road.transport, server.address(road), &server.ca());
    new.register("");
}

#[test]
fn a_removed_account_is_gone_with_its_messages() {
    let server = Server::start();
    let road = Road::v4(Transport::Tcp);
    let alice = server.device("alice", road);
    alice.register("");
    let bob = server.device("bob", road);
    bob.register("");
    let carols = alice.ask(alice.message("sip:carol@example.test", "for the old carol")).status();
    assert_eq!(carols, Some(202));
    run(&server, &["remove", "bob@example.test", "--yes"], None);
    bob.closed();
    assert_eq!(alice.ask(alice.message(&bob.uri(), "gone")).status(), Some(404));
    run(&server, &["remove", "carol@example.test", "--yes"], None);
    // Who gets the name later does not get the messages.
    run(&server, &["add", "carol@example.test"], Some("carol-secret"));
    let carol = server.device("carol", road);
    carol.register("");
    carol.expect_none("MESSAGE");
}

#[test]
fn an_account_that_is_added_can_sign_in_at_once() {
    let server = Server::start();
    run(&server, &["add", "erin@example.test", "--name", "Erin"], Some("erin-secret"));
    server.device("erin", Road::v4(Transport::Udp)).register("");
    let listed = run(&server, &["list", "--json"], None);
    assert!(listed.contains("erin@example.test") && !listed.contains("erin-secret"), "{listed}");
    let shown = run(&server, &["show", "erin@example.test", "--json"], None);
    assert!(shown.contains("transport=udp"), "it shows the device: {shown}");
    // What is refused says so with its exit code.
    assert!(!server.user_command(&["add", "erin@example.test"], Some("erin-secret")).status.success());
    assert!(!server.user_command(&["disable", "nobody@example.test"], None).status.success());
    assert!(!server.user_command(&["add", "dan@elsewhere.example"], Some("dans-secret")).status.success());
}
