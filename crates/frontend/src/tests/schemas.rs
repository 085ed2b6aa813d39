//! Schemas of the RFCs, by which everything is valid that the front end writes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::presence::text;

/// Checks a document against a schema that lies in a crate of ours.
#[track_caller]
pub(super) fn validate(schema: &str, document: &[u8]) {
    validate_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(schema), document);
}

/// The same with a schema of the conformance material, which lies beside the repository on machines that have it.
#[track_caller]
pub(super) fn validate_beside(name: &str, document: &[u8]) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/xml/schemas");
    if !schemas.exists() {
        return println!("skipped: {} (no conformance material)", std::panic::Location::caller());
    }
    validate_by(&schemas.join(name), document);
}

/// A machine without xmllint fails: no test passes that has not looked.
#[track_caller]
fn validate_by(schema: &Path, document: &[u8]) {
    let mut run = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema"])
        .args([schema, Path::new("-")])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xmllint is installed (on Debian in libxml2-utils)");
    run.stdin.take().expect("a pipe").write_all(document).expect("it reads");
    let output = run.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), text(document));
}
