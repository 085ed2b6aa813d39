//! What a backup says of itself.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::Contents;

use crate::locate::DATABASE;
use crate::secrets::SERVER_SECRET_FILE;
use crate::user::counted;

/// Its name in the folder.
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// Changes when an older program could no longer restore what a newer one has written.
const FORMAT: u32 = 1;
/// Longest manifest, in octets: forty times what we write.
const MANIFEST_OCTETS_MAX: u64 = 64 * 1024;
/// What is read at once, in octets.
const BLOCK_OCTETS: usize = 1 << 20;

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`FORMAT`].
    pub(super) format: u32,
    /// The moment at which the database stood as it is here, or a little before.
    pub(super) made_at: String,
    /// The version of the program that made it.
    pub(super) program: String,
    /// The version of the database's tables.
    pub(super) schema: usize,
    pub(super) counts: Counts,
    pub(super) parts: Vec<Part>,
}

/// What is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(super) users: u64,
    pub(super) messages: u64,
    pub(super) documents: u64,
    pub(super) calls: u64,
}

/// A file of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(super) name: String,
    pub(super) octets: u64,
    /// In hexadecimal digits.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(made_at: String, contents: Contents, parts: Vec<Part>) -> Manifest {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Manifest { format: FORMAT, made_at, program, schema: contents.schema, counts: contents.into(), parts }
    }

    /// Reads that of a backup, and says of what is none why it is none.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Manifest> {
        let shown = folder.display();
        let mut text = Vec::new();
        let read = File::open(folder.join(MANIFEST_FILE))
            .and_then(|file| file.take(MANIFEST_OCTETS_MAX).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => bail!(
                "{shown} is no backup: it has no {MANIFEST_FILE}\n  help: name the folder that `chancery backup` told; one \
                 that ends with .partial was cut off"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read the manifest in {shown}")),
        }
        let damaged = |error: serde_json::Error| {
            anyhow!("the manifest in {shown} is damaged, or not ours: {error}\n  help: take another backup")
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        if let Some(format) = value["format"].as_u64().filter(|format| *format > u64::from(FORMAT)) {
            bail!(
                "{shown} has format {format}, and this program knows formats up to {FORMAT}\n  help: restore it with the \
                 program that made it, or a newer one"
            );
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// The parts that a restore knows; a manifest that lacks the database, or names anything else, is not ours.
    pub(super) fn known_parts(&self) -> anyhow::Result<&[Part]> {
        let names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        match names[..] {
            [DATABASE] | [DATABASE, SERVER_SECRET_FILE] => Ok(&self.parts),
            _ => bail!(
                "the manifest names the files {names:?}, which is no backup of ours\n  help: take another backup"
            ),
        }
    }

    pub(super) fn octets(&self) -> u64 {
        self.parts.iter().map(|part| part.octets).sum()
    }

    pub(super) fn in_words(&self) -> String {
        let Counts { users, messages, documents, calls } = self.counts;
        format!(
            "made {}, {}: {}, {}, {}, {}",
            self.made_at,
            megabytes(self.octets()),
            counted(users, "user"),
            counted(messages, "message"),
            counted(documents, "document"),
            counted(calls, "call")
        )
    }
}

impl From<Contents> for Counts {
    fn from(contents: Contents) -> Counts {
        let Contents { schema: _, users, messages, documents, calls } = contents;
        Counts { users, messages, documents, calls }
    }
}

impl Part {
    /// Copies a file, to nowhere where there is no target, and gives what it was.
    pub(super) fn of(
        name: &str,
        mut source: impl Read,
        mut target: Option<&mut File>,
        mut watch: impl FnMut(u64) -> std::io::Result<()>,
    ) -> std::io::Result<Part> {
        let mut block = vec![0; BLOCK_OCTETS];
        let (mut hash, mut octets) = (Sha256::new(), 0);
        loop {
            let length = match source.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hash.update(&block[..length]);
            if let Some(target) = &mut target {
                target.write_all(&block[..length])?;
            }
            octets += length as u64;
            watch(octets)?;
        }
        if let Some(target) = target {
            target.sync_all()?;
        }
        Ok(Part { name: name.to_owned(), octets, sha256: hex::encode(hash.finalize()) })
    }
}

pub(super) fn megabytes(octets: u64) -> String {
    format!("{:.1} MB", octets as f64 / 1e6)
}
