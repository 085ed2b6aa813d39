//! Backups of a running server, and servers that come out of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::Value;
use system_tests::{Https, Road, Server, Transport, chancery, eventually, skip};

use crate::storage::SmallDisk;

/// Messages that are accepted before the backup begins.
const BEFORE: usize = 200;

fn run(words: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(chancery());
    command.args(words);
    for (option, path) in paths {
        if !option.is_empty() {
            command.arg(option);
        }
        command.arg(path);
    }
    command.output().expect("chancery runs")
}

fn json(output: &Output) -> Value {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    serde_json::from_str(&out).expect("JSON")
}

/// The exit code and what was told on standard error.
fn refusal(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Backs a running server up into its own folder, and says where it is.
fn back_up(server: &Server) -> PathBuf {
    let told = json(&run(&["backup", "--json"], &[("--dir", server.folder())]));
    told["backup"]["folder"].as_str().expect("a folder").into()
}

#[test]
fn what_was_accepted_before_a_backup_comes_out_of_it() {
    let server = Server::with_users().user("alice").user("bob").start();
    let road = Road::v4(Transport::Tcp);
    let (accepted, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (before, backup) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let alice = server.device("alice", road);
            alice.register("");
            while !enough.load(SeqCst) {
                let number = accepted.load(SeqCst);
                let draft = alice.message("sip:bob@example.test", &format!("message {number}"));
                assert_eq!(alice.ask(draft).status(), Some(202));
                accepted.store(number + 1, SeqCst);
            }
        });
        while accepted.load(SeqCst) < BEFORE {
            std::thread::yield_now();
        }
        let before = accepted.load(SeqCst);
        let backup = back_up(&server);
        enough.store(true, SeqCst);
        (before, backup)
    });

    let proof = json(&run(&["restore", "--verify", "--json"], &[("", &backup)]));
    assert_eq!((&proof["result"], &proof["users_loaded"]), (&"good".into(), &2.into()), "{proof}");
    let counted = proof["manifest"]["counts"]["messages"].as_u64().expect("a number");
    assert!(counted >= before as u64, "{counted} of {before}");

    let folder = tempfile::TempDir::with_prefix("chancery-restored-").expect("a folder");
    let fresh = folder.path().join("fresh");
    json(&run(&["restore", "--json"], &[("", &backup), ("--dir", &fresh)]));
    let key = |folder: &Path| std::fs::read(folder.join("data/secret.key")).expect("a key");
    assert_eq!(key(&fresh), key(server.folder()));
    let restored = Server::with_users().user("alice").user("bob").folder(&fresh).start();
    let bob = restored.device("bob", road);
    bob.register("");
    for number in 0..before {
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), format!("message {number}").as_bytes(), "in order, and none is missing");
    }
}

/// What a command says in JSON.
fn told(server: &Server, words: &str) -> Value {
    let (code, said) = server.command(&words.split(' ').chain(["--json"]).collect::<Vec<_>>());
    assert_eq!(code, 0, "{words}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{words}: no JSON: {said}"))
}

const ALICES_LIST: &str = "/xcap/resource-lists/users/sip:alice@example.test/index";
const ALICES_RULES: &str = "/xcap/pres-rules/users/sip:alice@example.test/index";

/// All that administrators and clients can ask about people, but for what lives in connections.
fn everything(server: &Server) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for name in ["alice", "bob", "carol"] {
        for words in [
            "user show",
            "contact list",
            "access show",
            "presence show",
            "forward show",
            "calls",
            "user app-password list",
        ] {
            let words = format!("{words} {name}@example.test");
            let said = told(server, &words);
            all.push((words, said));
        }
    }
    let mut https = Https::connect(server.https(), &server.ca());
    for path in [ALICES_LIST, ALICES_RULES] {
        let answer = https.ask_as(&server.account("alice"), "GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        // With its entity tag: what a client has read stays current.
        let tag = answer.header("etag").expect("an entity tag").to_owned();
        all.push((path.to_owned(), Value::from(vec![tag, answer.body])));
    }
    all
}

/// Contacts, rules, a chosen state with its note, call log, forwarding, app passwords, permissions, documents as clients wrote them.
#[test]
fn everything_that_people_own_comes_out_of_a_backup() {
    let names = || Server::with_users().user("alice").user("bob").user("carol");
    let mut server = names().start();
    let road = Road::v4(Transport::Tls);
    let rules = "<cr:ruleset xmlns:cr=\"urn:ietf:params:xml:ns:common-policy\"><!-- a client's own word -->\
                 <cr:rule id=\"r1\"><cr:conditions><cr:identity><cr:one id=\"sip:carol@example.test\"/></cr:identity>\
                 </cr:conditions></cr:rule></cr:ruleset>";
    let mut https = Https::connect(server.https(), &server.ca());
    let kind = ("Content-Type", "application/auth-policy+xml");
    let written = https.ask_as(&server.account("alice"), "PUT", ALICES_RULES, &[kind], rules);
    assert_eq!(written.status, 201, "{written:?}");
    for words in [
        "group add alice@example.test team",
        "contact add alice@example.test bob@example.test --group team --name Bob",
        "contact add alice@example.test carol@elsewhere.example",
        "access set alice@example.test bob@example.test personal",
        "access set alice@example.test elsewhere.example blocked",
        "presence set alice@example.test --state do-not-disturb --until 2d",
        "presence set alice@example.test --note away",
        "forward set bob@example.test --busy carol@example.test --no-answer alice@example.test --after 17",
        "forward set bob@example.test --ring-also carol@example.test --busy-on-busy yes",
        "user set-permission bob@example.test --calls off --federation off",
        "user disable carol@example.test",
    ] {
        let (code, said) = server.command(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{words}: {said}");
    }
    let app_password = told(&server, "user app-password add alice@example.test --label phone");
    // A call that bob missed, and that alice made in vain.
    let alice = server.device("alice", road);
    alice.register("");
    let call = alice.invite("sip:bob@example.test");
    assert_eq!(alice.ask(call).status(), Some(403), "bob may not be called");
    let (code, said) = server.command(&["user", "set-permission", "bob@example.test", "--calls", "on"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(alice.ask(alice.invite("sip:bob@example.test")).status(), Some(480));
    drop(alice);
    eventually("the call is logged", || {
        let missed = told(&server, "calls bob@example.test --missed");
        (missed["calls"].as_array().expect("a list").len() == 1).then_some(())
    });
    // Nobody has a device any more, here as there.
    eventually("alice's device is gone", || {
        let shown = told(&server, "user show alice@example.test");
        (shown["devices"] == 0).then_some(())
    });

    let before = everything(&server);
    let backup = back_up(&server);
    let proof = json(&run(&["restore", "--verify", "--json"], &[("", &backup)]));
    assert_eq!((&proof["result"], &proof["users_loaded"]), (&"good".into(), &3.into()), "{proof}");
    let counts = &proof["manifest"]["counts"];
    assert!(counts["documents"].as_u64() >= Some(2) && counts["calls"].as_u64() >= Some(2), "{counts}");

    // What happens afterwards is not in it.
    for words in [
        "contact remove alice@example.test bob@example.test",
        "presence clear alice@example.test",
        "forward clear bob@example.test",
        "user enable carol@example.test",
    ] {
        let (code, said) = server.command(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{words}: {said}");
    }
    assert_ne!(everything(&server), before);
    server.kill();

    let folder = tempfile::TempDir::with_prefix("chancery-restored-").expect("a folder");
    let fresh = folder.path().join("fresh");
    json(&run(&["restore", "--json"], &[("", &backup), ("--dir", &fresh)]));
    let restored = names().folder(&fresh).start();
    for (was, is) in before.iter().zip(everything(&restored)) {
        assert_eq!(*was, is);
    }
    // It is in force, not only shown.
    let phone = restored.device("alice", road);
    let text = |key: &str| app_password[key].as_str().expect("a text").to_owned();
    phone.sign_in_as(&text("username"), &text("password"));
    phone.register("");
    let bob = restored.device("bob", road);
    bob.register("");
    bob.watch(&phone.uri()).until("open busy Do not disturb \"away\"");
    assert_eq!(bob.ask(bob.invite("sip:carol@example.test")).status(), Some(404), "carol is disabled");
}

#[test]
fn a_restore_waits_for_the_server_to_end() {
    let mut server = Server::with_users().user("alice").user("bob").start();
    let backup = back_up(&server);
    let restore =
        |server: &Server| run(&["restore", "--force"], &[("", &backup), ("--dir", server.folder())]);
    let (code, error) = refusal(&restore(&server));
    assert!(
        code == Some(1) && error.contains("in use by another process") && error.contains("stop it"),
        "{error}"
    );

    server.add_user("erin@example.test");
    server.kill();
    assert!(restore(&server).status.success());
    server.restart();
    let accounts = String::from_utf8_lossy(&server.user_command(&["list"], None).stdout).into_owned();
    assert!(accounts.contains("2 accounts") && !accounts.contains("erin"), "{accounts}");
}

#[test]
fn a_server_that_is_down_can_be_backed_up() {
    let mut server = Server::with_users().user("alice").user("bob").start();
    server.kill();
    let backup = back_up(&server);
    let proof = json(&run(&["restore", "--verify", "--json"], &[("", &backup)]));
    assert_eq!(proof["users_loaded"], 2, "{proof}");
    server.restart();
    server.device("alice", Road::v4(Transport::Tcp)).register("");
}

#[test]
fn a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let server = Server::with_users().user("alice").start();
    let folder = tempfile::TempDir::with_prefix("chancery-backup-").expect("a folder");
    let absent = folder.path().join("absent/backup");
    let (code, error) = refusal(&run(&["backup"], &[("--dir", server.folder()), ("--to", &absent)]));
    assert!(code == Some(1) && error.contains("help: the folder above it must be there"), "{error}");
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        return skip("a backup on a full disk", "mounting a tmpfs needs root");
    };
    let (code, error) = refusal(&run(&["backup"], &[("--dir", server.folder()), ("--to", &disk.0)]));
    assert!(code == Some(1) && error.contains("too little room") && error.contains("--to"), "{error}");
    assert_eq!(std::fs::read_dir(&disk.0).expect("it is mounted").count(), 0);
    // And the server goes on.
    server.device("alice", Road::v4(Transport::Tcp)).register("");
}
