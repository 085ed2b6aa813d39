//! Proving a backup, and putting it in the place of a database.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use indicatif::ProgressBar;
use serde_json::json;
use storage::{Contents, Lock};

use super::manifest::{Counts, Manifest, Part, megabytes};
use super::take::{beside, create, not_written};
use super::{progress_bar, show};
use crate::cli::RestoreArguments;
use crate::exit::{Exit, Failure};
use crate::locate::{self, DATABASE};
use crate::offline::{self, Offline};
use crate::secrets::SERVER_SECRET_FILE;
use crate::{files, secrets, user};

/// What is restored stands there, in the data folder, until it is complete.
const PARTIAL: &str = "restore.partial";

pub(crate) fn run(arguments: &RestoreArguments) -> Result<(), Failure> {
    let bar = progress_bar("reading", !arguments.json);
    let done = match arguments.verify {
        true => verify(&arguments.backup, &bar),
        false => restore(arguments, &bar),
    };
    bar.finish_and_clear();
    match (done, arguments.json) {
        (Ok(Done { mut text, value: _ }), false) => {
            text.push('\n');
            user::print(&text)
        }
        (Ok(Done { text: _, value }), true) => user::print_json(&value),
        (Err(failure), true) => {
            user::print_json(&json!({ "result": "failed", "error": failure.to_string() }))?;
            Err(failure)
        }
        (Err(failure), false) => Err(failure),
    }
}

/// What is told, to people and to programs.
struct Done {
    text: String,
    value: serde_json::Value,
}

/// Restores into a folder that is removed again, and loads it as a server does.
fn verify(backup: &Path, bar: &ProgressBar) -> Result<Done, Failure> {
    let manifest = Manifest::read(backup)?;
    let scratch = Scratch::new()?;
    room(&scratch.0, manifest.octets(), "TMPDIR names another folder")?;
    let contents = copy_parts(backup, &manifest, &scratch.0, bar)?;
    let database = scratch.0.join(DATABASE);
    let migrated = Offline::open(&database)?;
    let Loaded { users, object_rows } = loaded(migrated, &manifest.counts)?;
    // The migration has changed what was proved.
    let after = storage::prove(&database).map_err(|error| offline::explain(&database, error))?;
    compare(&manifest, &after)?;
    let value = json!({
        "result": "good",
        "backup": backup,
        "manifest": manifest,
        "schema_after_migration": after.schema,
        "users_loaded": users,
        "object_rows_loaded": object_rows,
    });
    let migrated = match after.schema {
        schema if schema == contents.schema => "tables of this version".to_owned(),
        schema => format!("tables of version {}, migrated to {schema}", contents.schema),
    };
    let text = format!(
        "The backup is good: {}\n  {}\n  files as in the manifest; no damage; {migrated}; {} loaded, and the address book",
        backup.display(),
        manifest.in_words(),
        user::counted(users, "user")
    );
    Ok(Done { text, value })
}

/// What a server would hold.
struct Loaded {
    users: u64,
    object_rows: u64,
}

/// All users and the address book, through the same code as a server's start.
fn loaded(mut database: Offline, counts: &Counts) -> anyhow::Result<Loaded> {
    let records = database.records()?;
    let object_rows = database.object_rows()?;
    database.close()?;
    let documents: usize = records.iter().map(|record| record.documents.len()).sum();
    if (records.len() as u64, documents as u64) != (counts.users, counts.documents) {
        bail!(
            "{} users with {documents} documents load, and the manifest says {} with {}\n  help: take another backup",
            records.len(),
            counts.users,
            counts.documents
        );
    }
    Ok(Loaded { users: records.len() as u64, object_rows })
}

/// Puts a backup in the place of a stopped server's database.
fn restore(arguments: &RestoreArguments, bar: &ProgressBar) -> Result<Done, Failure> {
    let backup = &arguments.backup;
    let manifest = Manifest::read(backup)?;
    let data_dir = locate::restored_data_dir(arguments)?;
    files::create_secret_dir(&data_dir)?;
    let database = data_dir.join(DATABASE);
    // Until the end no server starts here.
    let _lock = Lock::take(&database).map_err(|error| offline::explain(&database, error))?;
    files::give_as(&Lock::file(&database), &data_dir)?;
    let old = there_already(&data_dir);
    if !old.is_empty() && !arguments.force {
        let message = format!(
            "there is something in {} already: {}\n  help: --force puts the backup in its place, and keeps what is there in \
             a folder beside it",
            data_dir.display(),
            old.join(", ")
        );
        return Err(Failure::text(Exit::Failed, message));
    }
    room(&data_dir, manifest.octets(), "make room on that disk")?;
    let partial = data_dir.join(PARTIAL);
    let restored = fresh_folder(&partial).and_then(|()| {
        copy_parts(backup, &manifest, &partial, bar)?;
        let kept = replace(&data_dir, &partial, &manifest, &old)?;
        Ok(kept)
    });
    if partial.exists()
        && let Err(error) = std::fs::remove_dir_all(&partial)
    {
        eprintln!("chancery: {} could not be removed: {error}", partial.display());
    }
    let kept = restored?;
    let mut text = format!("Restored to {}\n  {}\n", data_dir.display(), manifest.in_words());
    if let Some(kept) = &kept {
        text += &format!("What was there is kept in {}\n", kept.display());
    }
    text += "Start the server: chancery serve";
    let value = json!({ "result": "done", "data_dir": data_dir, "manifest": manifest, "kept": kept });
    Ok(Done { text, value })
}

/// Files of a data folder that a restore would replace.
fn there_already(data_dir: &Path) -> Vec<String> {
    let names = [DATABASE, "chancery.db-wal", "chancery.db-shm", SERVER_SECRET_FILE];
    let there = |name: &&str| data_dir.join(name).symlink_metadata().is_ok();
    names.iter().filter(|name| there(name)).map(|name| (*name).to_owned()).collect()
}

/// The old files get names in a folder of their own, then the new ones take their places. One that is killed on the way
/// has lost nothing: either the old or the new database stands there, or none; and doing it again ends well.
fn replace(
    data_dir: &Path,
    partial: &Path,
    manifest: &Manifest,
    old: &[String],
) -> anyhow::Result<Option<PathBuf>> {
    let kept = match old.is_empty() {
        true => None,
        false => {
            let name = jiff::Timestamp::now().strftime("replaced-%Y%m%dT%H%M%SZ").to_string();
            let kept = data_dir.join(name);
            let made = DirBuilder::new().mode(files::MODE_SECRET_DIR).create(&kept);
            made.with_context(|| format!("cannot create the folder {}", kept.display()))?;
            files::give_as(&kept, data_dir)?;
            // The database goes first: without it, a server that starts would take nothing for something.
            for name in old {
                files::rename(&data_dir.join(name), &kept.join(name))?;
            }
            Some(kept)
        }
    };
    // The database comes last, for the same reason.
    for part in manifest.known_parts()?.iter().rev() {
        let file = partial.join(&part.name);
        files::give_as(&file, data_dir)?;
        files::rename(&file, &data_dir.join(&part.name))?;
    }
    Ok(kept)
}

/// Copies the parts of a backup, holds them against the manifest, and looks for damage.
fn copy_parts(
    backup: &Path,
    manifest: &Manifest,
    folder: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Contents> {
    let (total, mut before) = (manifest.octets(), 0);
    for part in manifest.known_parts()? {
        let (source, target) = (backup.join(&part.name), folder.join(&part.name));
        let opened = File::open(&source).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("{} is missing\n  help: take another backup", source.display()),
            _ => anyhow::Error::new(error).context(format!("cannot read {}", source.display())),
        })?;
        let mut file = create(&target).map_err(|error| not_written(&target, error))?;
        let copied = Part::of(&part.name, opened, Some(&mut file), |done| {
            // Nobody gives this up but by ending the process.
            let _ = show(bar, storage::Progress { done: before + done, total });
            Ok(())
        });
        let copied = copied.map_err(|error| not_written(&target, error))?;
        before += copied.octets;
        if copied != *part {
            bail!(
                "{} is not what was backed up: {} octets with SHA-256 {}, and the manifest says {} with {}\n  help: it is \
                 damaged; take another backup",
                source.display(),
                copied.octets,
                copied.sha256,
                part.octets,
                part.sha256
            );
        }
    }
    let secret = folder.join(SERVER_SECRET_FILE);
    if secret.exists() {
        secrets::server_secret(folder)?;
    }
    let database = folder.join(DATABASE);
    let contents =
        storage::prove(&database).map_err(|error| offline::explain(&backup.join(DATABASE), error))?;
    compare(manifest, &contents)?;
    Ok(contents)
}

fn compare(manifest: &Manifest, contents: &Contents) -> anyhow::Result<()> {
    let found = Counts::from(*contents);
    if found != manifest.counts {
        bail!(
            "the database holds {found:?}, and the manifest says {:?}\n  help: take another backup",
            manifest.counts
        );
    }
    Ok(())
}

/// Twice the octets: a migration may write everything anew.
fn room(folder: &Path, octets: u64, help: &str) -> anyhow::Result<()> {
    let space =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let (free, needed) = (space.f_bavail * space.f_frsize, 2 * octets);
    if free < needed {
        bail!(
            "there is too little room in {}: {} are free, {} are needed\n  help: {help}",
            folder.display(),
            megabytes(free),
            megabytes(needed)
        );
    }
    Ok(())
}

/// One that was cut off left its folder behind; nobody else works there, because the database is locked.
fn fresh_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the left-over {}", folder.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let made = DirBuilder::new().mode(files::MODE_SECRET_DIR).create(folder);
    made.with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// A folder for trying something; it is removed with what is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Scratch> {
        let number = u64::from_le_bytes(secrets::random()?);
        let folder = beside(&std::env::temp_dir(), &format!("/chancery-verify-{number:016x}"));
        let made = DirBuilder::new().mode(files::MODE_SECRET_DIR).create(&folder);
        made.with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("chancery: {} could not be removed, and holds secrets: {error}", self.0.display());
        }
    }
}
