//! What several tests of this crate use.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use crate::{
    Activities, Activity, Availability, Capabilities, ContactCard, DeviceState, Manual, ManualState, Note,
    View,
};

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

/// Checks documents against a schema of the conformance material.
#[track_caller]
pub(crate) fn validate(schema: &str, documents: &[Vec<u8>]) {
    let Some(schemas) = conformance("xml/schemas") else { return };
    validate_by(&schemas.join(schema), documents);
}

/// A schema of this crate's own.
pub(crate) fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/schemas").join(name)
}

/// Checks documents against a schema. A machine without xmllint fails: no test passes that has not looked.
#[track_caller]
pub(crate) fn validate_by(schema: &Path, documents: &[Vec<u8>]) {
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
        .expect("xmllint is installed (on Debian in libxml2-utils)");
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

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    prop::option::of("[a-z]{1,4}".prop_map(Into::into))
}

pub(crate) fn activities() -> impl Strategy<Value = Activities> {
    prop::collection::vec(prop::sample::select(Activity::ALL), 0..3).prop_map(|all| all.into_iter().collect())
}

pub(crate) fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<[bool; 4]>().prop_map(|[audio, video, message, application]| Capabilities {
        audio,
        video,
        message,
        application,
    })
}

/// Any device, on steps of the scale that meet each other often.
pub(crate) fn device() -> impl Strategy<Value = DeviceState> {
    let availability = prop::sample::select(vec![3500, 5000, 6500, 7500, 9500, 12_500, 15_500, 18_500]);
    (availability, activities(), prop::option::of(0u64..100), text(), text(), capabilities()).prop_map(
        |(availability, activities, idle_since_unix_ms, note, place, capabilities)| DeviceState {
            availability: Availability::new(availability),
            activities,
            idle_since_unix_ms,
            note,
            place,
            capabilities,
        },
    )
}

pub(crate) fn manual() -> impl Strategy<Value = Manual> {
    let state = prop::option::of(prop::sample::select(ManualState::ALL));
    let ends = || prop::option::of(0u64..100);
    (state, ends(), text(), ends()).prop_map(|(state, expires_unix_ms, note, note_ends)| Manual {
        state,
        expires_unix_ms,
        note: note.map(|text| Note { text, expires_unix_ms: note_ends }),
    })
}

pub(crate) fn card() -> impl Strategy<Value = ContactCard> {
    ("[A-Z]{1,3}", text(), text(), text()).prop_map(|(name, card, homepage, icon)| ContactCard {
        display_name: name.into(),
        card,
        homepage,
        icon,
    })
}
