//! Files that appear whole or not at all, with the mode they need from their first moment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

/// Readable by all: certificates, configuration.
pub(crate) const MODE_PUBLIC: u32 = 0o644;
/// Readable by the server's account only: keys, secrets, sockets.
pub(crate) const MODE_SECRET: u32 = 0o600;
/// Folders of data and secrets.
pub(crate) const MODE_SECRET_DIR: u32 = 0o700;

/// Writes a file in one step: it is written beside its place, synced, and renamed.
pub(crate) fn write(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the left-over {}", beside.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(beside)
        .with_context(|| format!("cannot create {}", beside.display()))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(beside, path).with_context(|| format!("cannot create {}", path.display()))?;
    sync_folder(path)
}

/// Writes a file in the place of another, for the same readers.
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let before = std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    write(path, before.mode() & 0o7777, content)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(before.uid()), Some(before.gid()))
            .with_context(|| format!("cannot give {} back to its owner", path.display()))?;
    }
    Ok(())
}

/// Makes a folder (and those above it) for the server's account only, where it is not there yet.
pub(crate) fn create_secret_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(MODE_SECRET_DIR)
        .create(path)
        .with_context(|| format!("cannot create the folder {}", path.display()))
}

/// Renames durably, within a file system.
pub(crate) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    sync_folder(to)
}

/// What root makes in the server's folder is to be the server's: gives it to the folder's owner.
pub(crate) fn give_as(path: &Path, folder: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
        .with_context(|| format!("cannot give {} to the owner of {}", path.display(), folder.display()))
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// A rename is durable once its folder is.
fn sync_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
