//! Copies of a database in use, and what proves them.

use std::ops::ControlFlow::{Break, Continue};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use records::{Query, Sequence};
use rusqlite::Connection;
use storage::{Contents, CopyError, OpenError, copy, prove};

use crate::support::*;

/// Enough for several steps of a copy.
const OCTETS: usize = 200_000;

fn target(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("copy.db")
}

/// A home with Alice, 100 large messages, a document and two calls.
fn furnished(path: &Path) -> Home {
    let mut home = Home::eager(path);
    home.persist_all(vec![add_alice(), document(1, 3_000), call(1), call(2)]);
    home.persist_all((1..=100).map(|n| message(n, OCTETS)).collect());
    home
}

fn furnishings() -> Contents {
    Contents { schema: 12, users: 1, messages: 100, documents: 1, calls: 2 }
}

#[test]
fn a_copy_is_the_moment_at_which_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = furnished(&file(&folder));
    let rows = |home: &mut Home| {
        let messages = Query::Messages { owner: ALICE, after: Sequence(0), limit: u32::MAX };
        [home.query(Query::Load).unwrap(), home.query(messages).unwrap()]
    };
    let before = rows(&mut home);
    let (mut steps, mut done) = (0, 0);
    let copied = copy(&file(&folder), &target(&folder), |progress| {
        // Each step is followed by more changes than it has copied: a copy that began again would never end.
        steps += 1;
        home.persist_all((0..30).map(|n| message(100 + 30 * steps + n, OCTETS)).collect());
        assert!(done < progress.done && progress.done <= progress.total, "{progress:?}");
        done = progress.done;
        Continue(())
    });
    assert_eq!(copied, Ok(furnishings()));
    assert!((4..=8).contains(&steps), "{steps} steps of 4 MiB");
    assert_eq!(done, std::fs::metadata(target(&folder)).unwrap().len());
    assert_eq!(home.sequences(ALICE).len() as u64, 100 + 30 * steps, "the writer went on");

    assert_eq!(std::fs::metadata(target(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
    let names = || std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
    assert!(!names().any(|name| name.to_string_lossy().starts_with("copy.db-")), "it is one file");
    assert_eq!(prove(&target(&folder)), Ok(furnishings()));
    assert_eq!(rows(&mut Home::eager(&target(&folder))), before);
}

#[test]
fn what_was_just_acknowledged_is_in_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home::eager(&file(&folder));
    home.persist_all(vec![add_alice()]);
    for n in 1..=20 {
        home.persist_all(vec![message(n, 10)]);
        let target = folder.path().join(format!("{n}.db"));
        let copied = copy(&file(&folder), &target, |_| Continue(())).unwrap();
        assert_eq!(copied.messages, n);
    }
}

#[test]
fn a_copy_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = furnished(&file(&folder));
    let copied = copy(&file(&folder), &target(&folder), |_| Break(()));
    assert_eq!(copied, Err(CopyError::GivenUp));
    home.persist_all(vec![message(101, 10)]);
}

#[test]
fn a_copy_overwrites_nothing_and_needs_something_to_copy() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::eager(&file(&folder));
    std::fs::write(target(&folder), "precious").unwrap();
    let copied = copy(&file(&folder), &target(&folder), |_| Continue(()));
    assert!(matches!(copied, Err(CopyError::Target(OpenError::Io(_)))), "{copied:?}");
    assert_eq!(std::fs::read(target(&folder)).unwrap(), b"precious");
    drop(home);

    let absent = folder.path().join("absent.db");
    let copied = copy(&absent, &folder.path().join("b.db"), |_| Continue(()));
    assert!(matches!(copied, Err(CopyError::Source(OpenError::Io(_)))), "{copied:?}");
    assert!(!absent.exists(), "looking for it does not make it");
}

#[test]
fn an_older_database_is_copied_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(file(&folder)).unwrap();
    old.execute_batch(include_str!("../../migrations/0001_home.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x4348_4e43).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute_batch("INSERT INTO users VALUES (1, 'a@x.example', '', 'enabled', 'person', NULL, NULL)")
        .unwrap();
    let contents = Contents { schema: 1, users: 1, messages: 0, documents: 0, calls: 0 };
    let copied = copy(&file(&folder), &target(&folder), |_| Continue(()));
    assert_eq!(copied, Ok(contents));
    assert_eq!(prove(&target(&folder)), Ok(contents));
    old.pragma_update(None, "user_version", 99).unwrap();
    let copied = copy(&file(&folder), &folder.path().join("b.db"), |_| Continue(()));
    assert!(matches!(copied, Err(CopyError::Source(OpenError::Newer { found: 99, .. }))), "{copied:?}");
}

#[test]
fn damage_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    furnished(&file(&folder)).store.close().unwrap();
    let damaged = |name: &str, damage: &dyn Fn(&Path)| {
        let path = folder.path().join(name);
        std::fs::copy(file(&folder), &path).unwrap();
        damage(&path);
        match prove(&path) {
            Err(OpenError::Corrupt(reason)) => reason,
            other => panic!("{name}: {other:?}"),
        }
    };
    damaged("page", &|path| {
        // The last page of an index; a start would not look there.
        let shell = Connection::open(path).unwrap();
        let root: u32 = shell
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'message_runs'", [], |row| row.get(0))
            .unwrap();
        drop(shell);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xee; 64], u64::from(root - 1) * 4096).unwrap();
    });
    damaged("cut", &|path| {
        std::fs::File::options().write(true).open(path).unwrap().set_len(40 * 4096).unwrap();
    });
    let shell = |sql: &'static str| {
        move |path: &Path| {
            let shell = Connection::open(path).unwrap();
            shell.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
        }
    };
    let reason = damaged("stray", &shell("DELETE FROM users"));
    assert!(reason.contains("belong to nothing"), "{reason}");
    // A message received by the user 7, with sequence 3, at 3, without peer and request; and no message at all.
    let reason = damaged(
        "orphan",
        &shell(
            "UPDATE message_groups SET content = x'00140000000703030000000000000000000000000000000000' WHERE id = 3",
        ),
    );
    assert!(reason.contains("the user 7"), "{reason}");
    let reason = damaged("group", &shell("UPDATE message_groups SET content = x'ff' WHERE id = 3"));
    assert!(reason.contains("the group of messages 3"), "{reason}");
    // A call to the user 8 that began at 3, without peer; and no call at all.
    let reason = damaged(
        "orphan",
        &shell("UPDATE call_groups SET content = x'4014000000080300000000000000000000000000000000000000'"),
    );
    assert!(reason.contains("calls of the user 8"), "{reason}");
    let reason = damaged("calls", &shell("UPDATE call_groups SET content = x'00'"));
    assert!(reason.contains("the group of calls"), "{reason}");
    damaged("none", &|path| std::fs::write(path, "this is no database at all").unwrap());
}
