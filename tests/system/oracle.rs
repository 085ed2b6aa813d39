//! What a stranger learns of who has an account: nothing, octet for octet. (How long the answers take is measured by
//! `tests/examples/oracle.rs`.)

use sip_message::Message;
use system_tests::{Account, Device, Draft, Road, Server, Transport, in_parallel};

const METHODS: [&str; 5] = ["REGISTER", "MESSAGE", "INVITE", "SUBSCRIBE", "OPTIONS"];
/// Nobody has this name.
const UNKNOWN: &str = "nobdy";
/// These have accounts, which are disabled but for the first. All names have one length.
const USERS: [&str; 4] = ["known", "gone1", "gone2", "calle"];

#[test]
fn known_unknown_and_disabled_users_get_the_same_octets() {
    let roads = [Road::v4(Transport::Udp), Road::v4(Transport::Tls)];
    in_parallel(&roads, |road| {
        // A server for each road: wrong passwords on both would be slowed together.
        let mut builder = Server::with_users();
        for user in USERS {
            builder = builder.user(user);
        }
        let server = builder.start();
        for gone in ["gone1", "gone2"] {
            let disabled = server.user_command(&["disable", &format!("{gone}@example.test")], None);
            assert!(disabled.status.success());
        }
        let connect = |user: &str, password: &str| {
            let account =
                Account { user: user.to_owned(), password: password.to_owned(), ..server.account("known") };
            Device::connect(account, road.transport, server.address(*road), &server.ca())
        };
        for method in METHODS {
            // Whoever it says it is, without credentials.
            let without = |user| {
                let device = connect(user, "none");
                shown(&device, &device.ask(draft(&device, method, "calle").unanswering()), user)
            };
            let expected = without(UNKNOWN);
            assert!(expected.contains(" 401 ") || expected.contains(" 407 "), "{method}: {expected}");
            for user in ["known", "gone1"] {
                assert_eq!(without(user), expected, "{method} from {user}");
            }
            // With a wrong password; of a disabled account, also with the right one.
            let with = |user, password| {
                let device = connect(user, password);
                shown(&device, &device.ask(draft(&device, method, "calle")), user)
            };
            let expected = with(UNKNOWN, "guessed");
            assert!(expected.contains(" 401 ") || expected.contains(" 407 "), "{method}: {expected}");
            for (user, password) in [("known", "guessed"), ("gone1", "guessed"), ("gone2", "gone2-secret")] {
                assert_eq!(with(user, password), expected, "{method} from {user} with {password}");
            }
            // And whomever it asks for.
            let about = |user: &str| {
                let device = connect("calle", "none");
                shown(&device, &device.ask(draft(&device, method, user).unanswering()), user)
            };
            for user in ["known", "gone1"] {
                assert_eq!(about(user), about(UNKNOWN), "{method} to {user}");
            }
        }
    });
}

fn draft(device: &Device, method: &str, to: &str) -> Draft {
    let contact = format!("<{}>", device.contact());
    let uri = format!("sip:{to}@example.test");
    match method {
        "REGISTER" => device.register_draft(Some(contact)),
        "MESSAGE" => device.message(&uri, "hello"),
        "INVITE" => device.invite(&uri),
        "SUBSCRIBE" => device.draft(method, &uri).header("Event", "reg").header("Contact", contact),
        _ => device.draft(method, &uri),
    }
}

/// The answer without what the stranger wrote itself, and with the length of what is made up anew each time.
fn shown(device: &Device, answer: &Message, user: &str) -> String {
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    let own = ["Via:", "From:", "Call-ID:", "CSeq:"];
    let lines = text.split("\r\n").filter(|line| !own.iter().any(|name| line.starts_with(name)));
    let lines: Vec<String> = lines
        .map(|line| {
            let line = line.replace(device.tag(), "TAG").replace(user, "USER");
            let line = lengths(&line, ";tag=", &[';', '>']);
            lengths(&line, "nonce=\"", &['"'])
        })
        .collect();
    lines.join("\n")
}

/// The text with the length of what stands behind `before` instead of it.
fn lengths(text: &str, before: &str, ends: &[char]) -> String {
    let Some((head, tail)) = text.split_once(before) else { return text.to_owned() };
    let end = tail.find(ends).unwrap_or(tail.len());
    format!("{head}{before}({end} octets){}", &tail[end..])
}
