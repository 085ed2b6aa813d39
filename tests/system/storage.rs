//! A disk that is full, or holds what it should not.

use std::path::{Path, PathBuf};
use std::process::Command;

use system_tests::{Road, Server, Transport, skip};

/// What is left on the disk: room for some messages.
const ROOM_OCTETS: u64 = 512 * 1024;

/// A small file system of memory; root alone may mount one.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "chancery-test"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still runs on it lets go of it when it ends.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_that_was_accepted() {
    const TRIES: usize = 2_000;
    let folder = tempfile::TempDir::with_prefix("chancery-full-").expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        return skip("a full disk", "mounting a tmpfs needs root");
    };
    let mut server = Server::with_users().user("alice").user("bob").folder(&disk.0.join("demo")).start();
    let road = Road::v4(Transport::Tcp);
    let alice = server.device("alice", road);
    alice.register("");
    let ballast = disk.0.join("ballast");
    fill(&ballast);
    let mut accepted = 0;
    let text = "x".repeat(4_000);
    let refusal = (0..TRIES).find_map(|number| {
        let status = alice.ask(alice.message("sip:bob@example.test", &format!("{number} {text}"))).status();
        match status {
            Some(202) => {
                accepted = number + 1;
                None
            }
            other => Some(other),
        }
    });
    let refusal = refusal.expect("the disk never was full");
    assert!(matches!(refusal, Some(500 | 503)), "{refusal:?}");
    assert!(accepted > 0, "nothing was accepted that could be lost");
    server.expect_log("disk is full");
    let metrics = server.get("/metrics");
    assert!(metrics.contains("\nchancery_storage_healthy 0\n"), "{metrics}");
    // Who is there is still served with what needs no disk.
    alice.settle();

    std::fs::remove_file(&ballast).expect("it is removed");
    assert_eq!(alice.ask(alice.message("sip:bob@example.test", "after it")).status(), Some(202));
    assert!(server.get("/metrics").contains("\nchancery_storage_healthy 1\n"));
    server.kill();
    server.restart();
    let bob = server.device("bob", road);
    bob.register("");
    for number in 0..accepted {
        let arrived = bob.expect_and_answer("MESSAGE", 200);
        assert!(arrived.body().starts_with(format!("{number} x").as_bytes()), "in order and whole");
    }
    assert_eq!(bob.expect_and_answer("MESSAGE", 200).body(), b"after it");
    drop(server);
}

/// Takes nearly all room that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("it is created");
    let block = [0; 4096];
    while file.write_all(&block).is_ok() {}
    let length = file.metadata().expect("it is open").len();
    file.set_len(length.saturating_sub(ROOM_OCTETS)).expect("it is cut");
}

#[test]
fn a_database_that_is_none_is_named_and_left_alone() {
    let folder = tempfile::TempDir::with_prefix("chancery-corrupt-").expect("a folder");
    drop(Server::with_users().user("alice").folder(folder.path()).start());
    let database = find(folder.path(), "db").expect("a database");
    let garbage = b"this is no database, whatever its name says ".repeat(200);
    for suffix in ["-wal", "-shm"] {
        // They need not be there.
        drop(std::fs::remove_file(format!("{}{suffix}", database.display())));
    }
    std::fs::write(&database, &garbage).expect("it is written");
    let output = Command::new(system_tests::chancery())
        .args([
            "demo",
            "--json",
            "--port-base",
            "0",
            "--domain",
            "example.test",
            "--user",
            "alice:alice-secret",
            "--dir",
        ])
        .arg(folder.path())
        .output()
        .expect("chancery runs");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    let name = database.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(errors.contains(&name), "it does not say which file:\n{errors}");
    assert_eq!(
        std::fs::read(&database).expect("it is there"),
        garbage,
        "what somebody may want to mend is gone"
    );
}

/// The first file below a folder with this at the end of its name.
fn find(folder: &Path, end: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() { find(&path, end) } else { path.to_string_lossy().ends_with(end).then_some(path) }
    })
}
