//! A changed configuration under a running server: what can change does, whoever is connected stays, and a wrong file
//! changes nothing.

use system_tests::{Configuration, Device, Https, Road, Server, Transport, contacts, note};

use crate::calls::{established, hang_up};

/// The seconds that a registration without a wish of its own is granted.
fn granted(device: &Device) -> u32 {
    let draft = device.register_draft(Some(format!("<{}>", device.contact())));
    let answer = device.ask(draft);
    assert_eq!(answer.status(), Some(200));
    let listed = contacts(&answer);
    let own = listed.iter().find(|contact| contact.contains(device.contact())).expect("it is listed");
    let expires = own.split(";expires=").nth(1).expect("it expires");
    expires.split(';').next().and_then(|seconds| seconds.parse().ok()).expect("a number")
}

fn with_users() -> Server {
    let server = Configuration::new("example.test").serve();
    for name in ["alice", "bob"] {
        server.add_user(&format!("{name}@example.test"));
    }
    server
}

#[test]
fn connections_registrations_and_calls_survive_a_reload() {
    let server = with_users();
    let device = |name: &str, transport| {
        let device = server.device(name, Road::v4(transport));
        device.register("");
        device
    };
    let (alice, bob) = (device("alice", Transport::Tls), device("bob", Transport::Tcp));
    let phone = device("alice", Transport::Udp);
    assert_eq!(granted(&alice), 3600);
    let tag = alice.publish(None, &note("before"));
    let watch = bob.watch(&alice.uri());
    watch.until("open \"before\"");
    let (mut call, _) = established(&alice, &bob);
    let mut https = Https::connect(server.https(), &server.ca());
    let asked = https.ask("GET", "/", &[], "").status;

    server.edit_configuration(|text| {
        text.replace("# expires_default_seconds = 3600", "expires_default_seconds = 600")
            .replace("# connections_per_source_max = 16384", "connections_per_source_max = 2")
    });
    let (code, said) = server.command(&["reload"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("is applied: [registration], [limits]"), "{said}");

    assert_eq!((granted(&alice), granted(&phone)), (600, 600));
    let sent = bob.send(bob.message(&alice.uri(), "still there?"));
    for device in [&alice, &phone] {
        device.expect_and_answer("MESSAGE", 200);
    }
    assert_eq!(bob.answer(sent).status(), Some(200));
    hang_up(&alice, &mut call, &bob);
    // What was published is known by its tag, and who watched goes on watching.
    alice.publish(Some(&tag), &note("after"));
    watch.until("open \"after\"");
    assert!(alice.is_open() && bob.is_open());
    assert_eq!(https.ask("GET", "/", &[], "").status, asked);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let server = with_users();
    let alice = server.device("alice", Road::v4(Transport::Tls));
    alice.register("");
    server.edit_configuration(|text| {
        text.replace("# expires_default_seconds = 3600", "expires_default_seconds = 600")
            .replace("# retention_days = 7", "retention_days = 0")
    });
    // The command reads the file to find the server, and says so itself; the signal goes past it.
    let (code, said) = server.command(&["reload"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("messaging.retention_days"), "{said}");
    server.hang_up_signal();
    server.expect_log("reload-refused");
    assert_eq!(granted(&alice), 3600);

    server.edit_configuration(|text| text.replace("retention_days = 0", "retention_days = 1"));
    server.hang_up_signal();
    server.expect_log("\"event\":\"reloaded\"");
    assert_eq!(granted(&alice), 600);
}
