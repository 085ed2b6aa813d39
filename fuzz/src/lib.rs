//! Fuzz targets, and what drives them without a coverage-guided engine.
//!
//! What this is not: a judge of right answers to right messages; that is what the crates' own tests are for. Here
//! stands what must hold whatever comes in.

pub mod mutate;
pub mod targets;

use std::path::{Path, PathBuf};

/// The folder of this package.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a target's corpus and what broke it before, in the order of their names.
pub fn inputs(target: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder().join("corpus").join(target))? {
        files.push(entry?.path());
    }
    for entry in std::fs::read_dir(folder().join("crashes"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix(target).is_some_and(|rest| rest.starts_with('-')) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
