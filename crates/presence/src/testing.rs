//! What several tests of this crate use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Activities, Availability, Capabilities, View};

/// A folder of the conformance material that lies beside the repository on machines that have it; a line says where a
/// test does without.
#[track_caller]
pub(crate) fn conformance(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(folder);
    if !path.exists() {
        println!("skipped: {} (no conformance material)", std::panic::Location::caller());
        return None;
    }
    Some(path)
}

/// The files of a folder whose names hold a text, by name.
pub(crate) fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.to_string_lossy().contains(part));
    files.sort();
    files
}

/// Checks documents against a schema of the conformance material, with xmllint where it is installed.
#[track_caller]
pub(crate) fn validate(schema: &str, documents: &[Vec<u8>]) {
    let Some(schemas) = conformance("xml/schemas") else { return };
    validate_by(&schemas.join(schema), documents);
}

/// A schema of this crate's own.
pub(crate) fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/schemas").join(name)
}

/// Checks documents against a schema.
#[track_caller]
pub(crate) fn validate_by(schema: &Path, documents: &[Vec<u8>]) {
    if Command::new("xmllint").arg("--version").stderr(Stdio::null()).status().is_err() {
        println!("skipped: {} (no xmllint)", std::panic::Location::caller());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<_> = (0..documents.len()).map(|at| folder.path().join(format!("{at}.xml"))).collect();
    for (file, document) in files.iter().zip(documents) {
        std::fs::write(file, document).expect("written");
    }
    let run = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema"])
        .arg(schema)
        .args(&files)
        .output()
        .expect("xmllint runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// A view with something in every field.
pub(crate) fn view() -> View {
    View {
        availability: Availability::AVAILABLE,
        activities: Activities::default(),
        idle_since_unix_ms: None,
        note: Some("a note".into()),
        place: Some("Room 5".into()),
        capabilities: Some(Capabilities { audio: true, video: false, message: true, application: false }),
        display_name: "Alice".into(),
        card: Some("https://a.example/card".into()),
        homepage: Some("https://a.example/".into()),
        icon: Some("https://a.example/icon.png".into()),
    }
}
