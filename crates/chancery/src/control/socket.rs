//! Names of Unix sockets, of any length.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Longest path that fits `sockaddr_un` (unix(7)), its closing NUL left aside.
const PATH_OCTETS_MAX: usize = 107;

/// A path that fits a socket address and leads to `path` for as long as this value lives: deep folders are reached
/// through a descriptor of theirs.
pub(super) struct ShortPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl ShortPath {
    pub(super) fn of(path: &Path) -> io::Result<ShortPath> {
        if path.as_os_str().len() <= PATH_OCTETS_MAX {
            return Ok(ShortPath { path: path.to_owned(), _folder: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(ShortPath { path: short, _folder: Some(folder) })
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}
