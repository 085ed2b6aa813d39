use std::ops::ControlFlow;
use std::path::PathBuf;

use directory::{Role, SipAddress};

use super::manifest::{MANIFEST_FILE, Manifest, Part};
use super::take::take;
use super::*;
use crate::cli::RestoreArguments;
use crate::offline::{NewUser, Offline};
use crate::secrets::{self, SERVER_SECRET_FILE};

/// A folder with the data of a server, `data`, and where backups are to go.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        files::create_secret_dir(&place.data()).unwrap();
        add(&place.data(), "alice@contoso.example");
        secrets::server_secret(&place.data()).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn backup(&self) -> PathBuf {
        self.0.path().join("backup")
    }

    fn take(&self) -> Manifest {
        take(&self.data(), Some(&self.backup()), &mut |_| ControlFlow::Continue(())).unwrap().manifest
    }

    fn verify(&self) -> Result<(), String> {
        self.run(true, false, "nowhere")
    }

    fn restore_to(&self, folder: &str, force: bool) -> Result<(), String> {
        self.run(false, force, folder)
    }

    fn run(&self, verify: bool, force: bool, folder: &str) -> Result<(), String> {
        let dir = Some(self.0.path().join(folder));
        let arguments =
            RestoreArguments { backup: self.backup(), verify, force, config: None, dir, json: false };
        restore(&arguments).map_err(|failure| failure.to_string())
    }

    /// Changes the manifest, as one who knows how.
    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.backup().join(MANIFEST_FILE);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
    }

    /// Changes octets of the database, and its digest in the manifest.
    fn patch(&self, offset: usize, octets: &[u8]) {
        let path = self.backup().join(DATABASE);
        let mut content = std::fs::read(&path).unwrap();
        content[offset..offset + octets.len()].copy_from_slice(octets);
        std::fs::write(&path, &content).unwrap();
        let part = Part::of(DATABASE, &content[..], None, |_| Ok(())).unwrap();
        self.edit(|manifest| manifest["parts"][0] = serde_json::to_value(part).unwrap());
    }
}

fn add(data: &Path, address: &str) {
    let mut database = Offline::open(&data.join(DATABASE)).unwrap();
    let user = NewUser {
        address: SipAddress::parse(address).unwrap(),
        display_name: String::new(),
        role: Role::Person,
        password: "secret".to_owned(),
    };
    database.add(&[user], |_| ()).unwrap();
    database.close().unwrap();
}

fn users(data: &Path) -> usize {
    let mut database = Offline::open(&data.join(DATABASE)).unwrap();
    database.accounts().unwrap().len()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_complete_private_and_good() {
    let place = Place::new();
    let manifest = place.take();
    assert_eq!(manifest.counts.users, 1);
    assert_eq!(names(&place.backup()), [DATABASE, MANIFEST_FILE, SERVER_SECRET_FILE]);
    assert_eq!(files::mode(&place.backup()).unwrap(), 0o700);
    for name in names(&place.backup()) {
        assert_eq!(files::mode(&place.backup().join(&name)).unwrap(), 0o600, "{name}");
    }
    assert_eq!(place.verify(), Ok(()));
    assert!(!place.0.path().join("nowhere").exists(), "nothing is changed");
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    place.take();
    let take = |to: &Path| take(&place.data(), Some(to), &mut |_| ControlFlow::Continue(()));
    assert!(take(&place.backup()).unwrap_err().to_string().contains("is a backup already"));
    let file = place.0.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(take(&file).unwrap_err().to_string().contains("is there already"));
    // A folder that is there gets a backup with a name of its own.
    let folder = place.0.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(take(&folder).unwrap().folder.parent(), Some(&*folder));
    assert!(take(&folder.join("a/b")).unwrap_err().to_string().contains("the folder above it must be there"));
}

#[test]
fn a_backup_that_was_given_up_leaves_nothing() {
    let place = Place::new();
    let taken = take(&place.data(), Some(&place.backup()), &mut |_| ControlFlow::Break(()));
    assert!(taken.unwrap_err().to_string().contains("given up"));
    assert_eq!(names(place.0.path()), ["data"]);
}

/// What makes a backup a bad one.
type Breakage<'b> = &'b dyn Fn(&Place);

#[test]
fn what_is_no_good_backup_is_told_apart() {
    let fault = |break_it: Breakage<'_>| {
        let place = Place::new();
        place.take();
        break_it(&place);
        let error = place.verify().unwrap_err();
        assert_eq!(place.restore_to("new", false).unwrap_err(), error, "a restore sees the same");
        assert_eq!(names(&place.0.path().join("new/data")), Vec::from_iter(["chancery.db-lock"]), "{error}");
        error
    };
    let cases: [(&str, Breakage<'_>); 8] = [
        ("is not what was backed up", &|place| {
            let path = place.backup().join(DATABASE);
            let mut content = std::fs::read(&path).unwrap();
            content[5000] ^= 1;
            std::fs::write(path, content).unwrap();
        }),
        ("is not what was backed up", &|place| {
            std::fs::write(place.backup().join(SERVER_SECRET_FILE), "short").unwrap();
        }),
        ("is missing", &|place| std::fs::remove_file(place.backup().join(SERVER_SECRET_FILE)).unwrap()),
        ("users: 7", &|place| place.edit(|m| m["counts"]["users"] = 7.into())),
        ("no backup of ours", &|place| place.edit(|m| m["parts"][0]["name"] = "../../etc/passwd".into())),
        // These stand there in SQLite's header: the version of the tables, and whose file it is.
        ("use a newer program", &|place| place.patch(60, &99u32.to_be_bytes())),
        ("database of another program", &|place| place.patch(68, &[0; 4])),
        ("is damaged", &|place| place.patch(4096, &[0xee; 64])),
    ];
    for (expected, break_it) in cases {
        let error = fault(break_it);
        assert!(error.contains(expected) && error.contains("help:"), "{expected}: {error}");
    }
}

/// No index and no checksum knows what stands in a text.
#[test]
fn an_address_book_that_cannot_be_read_is_found() {
    let place = Place::new();
    place.take();
    place.verify().unwrap();
    let content = std::fs::read(place.backup().join(DATABASE)).unwrap();
    let kind = br#""kind":"person""#;
    let mut places = content.windows(kind.len());
    place.patch(places.position(|octets| octets == kind).unwrap(), br#""kind":"persom""#);
    let error = place.verify().unwrap_err();
    assert!(error.contains("cannot read the address book"), "{error}");
}

#[test]
fn what_has_no_manifest_of_ours_is_no_backup() {
    let place = Place::new();
    place.take();
    place.edit(|manifest| manifest["format"] = 2.into());
    assert!(place.verify().unwrap_err().contains("formats up to 1"));
    std::fs::write(place.backup().join(MANIFEST_FILE), "{").unwrap();
    assert!(place.verify().unwrap_err().contains("damaged, or not ours"));
    std::fs::remove_file(place.backup().join(MANIFEST_FILE)).unwrap();
    assert!(place.verify().unwrap_err().contains("is no backup"));
    std::fs::remove_dir_all(place.backup()).unwrap();
    assert!(place.verify().unwrap_err().contains("is no backup"));
}

#[test]
fn a_restore_replaces_nothing_unless_told_and_keeps_it_then() {
    let place = Place::new();
    let secret = secrets::server_secret(&place.data()).unwrap();
    place.take();
    place.restore_to("new", false).unwrap();
    let new = place.0.path().join("new").join("data");
    assert_eq!((users(&new), secrets::server_secret(&new).unwrap()), (1, secret));
    assert_eq!(files::mode(&new.join(DATABASE)).unwrap(), 0o600);

    add(&new, "bob@contoso.example");
    let error = place.restore_to("new", false).unwrap_err();
    assert!(error.contains("chancery.db, secret.key") && error.contains("--force"), "{error}");
    assert_eq!(users(&new), 2);
    place.restore_to("new", true).unwrap();
    assert_eq!(users(&new), 1);
    let kept = names(&new).into_iter().find(|name| name.starts_with("replaced-")).unwrap();
    assert_eq!(users(&new.join(kept)), 2);
    assert!(!new.join("restore.partial").exists());
}

#[test]
fn a_restore_refuses_while_a_server_runs() {
    let place = Place::new();
    place.take();
    let server = Offline::open(&place.data().join(DATABASE)).unwrap();
    // `--dir .` is the folder with `data` in it.
    let error = place.restore_to(".", true).unwrap_err();
    assert!(error.contains("in use by another process"), "{error}");
    server.close().unwrap();
    place.restore_to(".", true).unwrap();
}
