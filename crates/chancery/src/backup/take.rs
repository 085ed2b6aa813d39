//! Making a backup.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use storage::{CopyError, OpenError, Progress};

use super::Watch;
use super::manifest::{MANIFEST_FILE, Manifest, Part, megabytes};
use crate::locate::{BACKUPS, DATABASE};
use crate::secrets::SERVER_SECRET_FILE;
use crate::{files, offline};

/// What stays free on the disk of a backup, in octets: it may be the server's own, which must go on storing messages.
const SPARE_OCTETS: u64 = 64 << 20;

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) folder: PathBuf,
    #[serde(flatten)]
    pub(crate) manifest: Manifest,
}

/// Makes a backup of a data folder: in `to`, which a folder that is there receives with a name of its own; else in the
/// data folder's `backups`. It appears under its name when it is complete and on the disk.
pub(super) fn take(data_dir: &Path, to: Option<&Path>, watch: Watch<'_>) -> anyhow::Result<Taken> {
    let now = jiff::Timestamp::now();
    let folder = place(data_dir, to, now)?;
    let database = data_dir.join(DATABASE);
    room(&folder, &database)?;
    let partial = beside(&folder, ".partial");
    DirBuilder::new()
        .mode(files::MODE_SECRET_DIR)
        .create(&partial)
        .map_err(|error| not_made(&partial, error))?;
    let made_at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let taken = fill(&partial, data_dir, made_at, watch).and_then(|manifest| {
        files::rename(&partial, &folder)?;
        Ok(Taken { folder, manifest })
    });
    if taken.is_err()
        && let Err(error) = std::fs::remove_dir_all(&partial)
    {
        tracing::warn!(event = "backup-left", folder = %partial.display(), %error, "a failed backup could not be removed");
    }
    taken
}

fn place(data_dir: &Path, to: Option<&Path>, now: jiff::Timestamp) -> anyhow::Result<PathBuf> {
    let name = now.strftime("chancery-%Y%m%dT%H%M%SZ").to_string();
    let folder = match to {
        None => {
            let backups = data_dir.join(BACKUPS);
            files::create_secret_dir(&backups)?;
            files::give_as(&backups, data_dir)?;
            backups.join(name)
        }
        Some(to) if to.join(MANIFEST_FILE).exists() => {
            bail!("{} is a backup already\n  help: name another folder; nothing is overwritten", to.display())
        }
        Some(to) if to.is_dir() => to.join(name),
        Some(to) => to.to_owned(),
    };
    if folder.symlink_metadata().is_ok() {
        bail!("{} is there already\n  help: name another folder; nothing is overwritten", folder.display());
    }
    Ok(folder)
}

fn room(folder: &Path, database: &Path) -> anyhow::Result<()> {
    let octets = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let needed = octets(database) + octets(&beside(database, "-wal")) + SPARE_OCTETS;
    let parent = folder.parent().unwrap_or(folder);
    let space = rustix::fs::statvfs(parent).map_err(|error| not_made(folder, error.into()))?;
    let free = space.f_bavail * space.f_frsize;
    if free < needed {
        bail!(
            "there is too little room for a backup in {}: {} are free, {} are needed\n  help: make room, or name a folder \
             on another disk with --to",
            parent.display(),
            megabytes(free),
            megabytes(needed)
        );
    }
    Ok(())
}

fn fill(partial: &Path, data_dir: &Path, made_at: String, watch: Watch<'_>) -> anyhow::Result<Manifest> {
    let source = data_dir.join(DATABASE);
    let target = partial.join(DATABASE);
    let contents = storage::copy(&source, &target, &mut *watch).map_err(|error| match error {
        CopyError::Source(error) => offline::explain(&source, error),
        CopyError::Target(OpenError::Full) => full(partial),
        CopyError::Target(error) => {
            anyhow!(
                "the backup in {} cannot be written: {error}\n  help: look at that disk",
                partial.display()
            )
        }
        CopyError::GivenUp => anyhow!("the backup was given up; nothing is left of it"),
    })?;
    // What is hashed is what the disk got: it is read again.
    let copied = File::open(&target).context("the copy of the database cannot be read")?;
    let total = copied.metadata().context("the copy of the database cannot be read")?.len();
    let database = Part::of(DATABASE, copied, None, |done| match watch(Progress { done, total }) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(ErrorKind::Interrupted.into()),
    });
    let mut parts = vec![database.context("the backup was given up, or cannot be read again")?];
    let secret = data_dir.join(SERVER_SECRET_FILE);
    match File::open(&secret) {
        Ok(source) => {
            let target = partial.join(SERVER_SECRET_FILE);
            let written = create(&target)
                .and_then(|mut target| Part::of(SERVER_SECRET_FILE, source, Some(&mut target), |_| Ok(())));
            parts.push(written.map_err(|error| not_written(&target, error))?);
        }
        // It is made by the first start.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", secret.display())),
    }
    let manifest = Manifest::new(made_at, contents, parts);
    let mut text = serde_json::to_vec_pretty(&manifest).context("the manifest cannot be written")?;
    text.push(b'\n');
    files::write(&partial.join(MANIFEST_FILE), files::MODE_SECRET, &text)?;
    Ok(manifest)
}

pub(super) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(files::MODE_SECRET).open(path)
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn not_written(path: &Path, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::StorageFull => full(path),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    }
}

fn full(path: &Path) -> anyhow::Error {
    anyhow!("the disk of {} is full\n  help: make room, or name a folder on another disk", path.display())
}

fn not_made(folder: &Path, error: std::io::Error) -> anyhow::Error {
    let help = match error.kind() {
        ErrorKind::AlreadyExists => "another backup is under way there, or one was cut off: then remove it",
        ErrorKind::NotFound => "the folder above it must be there",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the running server writes it: its account needs the right to, and under systemd a ReadWritePaths= line"
        }
        _ => "look at the folder above it",
    };
    anyhow!("cannot create {}: {error}\n  help: {help}", folder.display())
}
