//! Backups of a running server, and servers that come out of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use serde_json::Value;
use system_tests::{Road, Server, Transport, chancery, skip};

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
