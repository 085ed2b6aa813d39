//! Downloads: the whole book of a version, and what changed between two.
//!
//! ```text
//!   {"format":"chancery-address-book/1","version":7,"sha256":"9f…","count":2,"changed_unix_ms":1795…}
//!   {"id":"0a…","kind":"person",…}                    one entry a line, in order of ids, each line ended by one LF
//!   {"id":"0b…","kind":"room",…}
//!
//!   {"format":"chancery-address-book-delta/1","from":5,"to":7,"sha256":"9f…","count":2}
//!   {"id":"0a…","kind":"person",…}                    as it became
//!   {"id":"0c…","removed":true}
//! ```
//!
//! `sha256` is always that of the whole book's entry lines, with their line ends, at the version that the download leads to.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use directory::ObjectId;
use sha2::{Digest, Sha256};

use crate::book::Version;
use crate::entry::{EntryId, Line};
use crate::settings::Audience;

/// Level of zstd. Measured on 100,000 entries, 9 saves a sixteenth of what 6 leaves, for half as much time again; higher levels take twice the
/// time for each twentieth that they save.
const ZSTD_LEVEL: i32 = 9;
/// How far back zstd looks, as a power of two: the 8 MiB that every client has to be able to hold (RFC 9659 §3).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Level of gzip, its usual one. Measured on 100,000 entries, 9 saves 4 % for three times the time, and zopfli 8 %: half of what is left is
/// random names. Who minds the size takes zstd.
const GZIP_LEVEL: u32 = 6;
/// Contents below this are not compressed: the saving would not fill a packet.
const COMPRESSED_OCTETS_MIN: usize = 512;

/// How a content is coded (RFC 9110 §8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// The whole book of a version. What takes long is made once, by whoever asks first.
#[derive(Debug)]
pub(crate) struct Edition {
    pub(crate) audience: Audience,
    pub(crate) version: Version,
    pub(crate) at_unix_ms: u64,
    /// When it was put together.
    pub(crate) made_unix_ms: u64,
    /// In order of ids.
    pub(crate) lines: Vec<(ObjectId, Line)>,
    sha256: OnceLock<[u8; 32]>,
    gzip: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
}

/// What differs between two versions, in order of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) from: Version,
    pub(crate) to: Version,
    pub(crate) lines: Vec<(ObjectId, Option<Line>)>,
}

impl Edition {
    pub(crate) fn new(
        audience: Audience,
        version: Version,
        at_unix_ms: u64,
        made_unix_ms: u64,
        lines: Vec<(ObjectId, Line)>,
    ) -> Edition {
        Edition {
            audience,
            version,
            at_unix_ms,
            made_unix_ms,
            lines,
            sha256: OnceLock::new(),
            gzip: OnceLock::new(),
            zstd: OnceLock::new(),
        }
    }

    /// Of the entry lines.
    pub(crate) fn sha256(&self) -> &[u8; 32] {
        self.sha256.get_or_init(|| {
            let mut hash = Sha256::new();
            for (_, line) in &self.lines {
                hash.update(line.as_bytes());
                hash.update(b"\n");
            }
            hash.finalize().into()
        })
    }

    /// Names this content among all there ever were, also after the database was put back to an older state.
    pub(crate) fn tag(&self) -> String {
        format!("{}-{}", self.version.0, hex::encode(&self.sha256()[..8]))
    }

    pub(crate) fn body(self: &Arc<Self>, coding: Coding) -> Bytes {
        match coding {
            Coding::Identity => {
                let octets = self.lines.iter().map(|(_, line)| line.len() + 1).sum::<usize>();
                let mut body = Vec::with_capacity(octets + 256);
                self.write(&mut body).expect("memory takes all");
                body.into()
            }
            Coding::Gzip => {
                let made = || coded(Coding::Gzip, |writer| self.write(writer));
                self.gzip.get_or_init(made).clone()
            }
            Coding::Zstd => {
                let made = || coded(Coding::Zstd, |writer| self.write(writer));
                self.zstd.get_or_init(made).clone()
            }
        }
    }

    fn write(&self, mut writer: impl Write) -> std::io::Result<()> {
        writeln!(
            writer,
            r#"{{"format":"chancery-address-book/1","version":{},"sha256":"{}","count":{},"changed_unix_ms":{}}}"#,
            self.version.0,
            hex::encode(self.sha256()),
            self.lines.len(),
            self.at_unix_ms,
        )?;
        for (_, line) in &self.lines {
            writer.write_all(line.as_bytes())?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl Delta {
    /// The content, given the hash of the whole book at its second version.
    pub(crate) fn body(&self, sha256: &[u8; 32]) -> Vec<u8> {
        let mut body = Vec::new();
        self.write(&mut body, sha256).expect("memory takes all");
        body
    }

    fn write(&self, mut writer: impl Write, sha256: &[u8; 32]) -> std::io::Result<()> {
        writeln!(
            writer,
            r#"{{"format":"chancery-address-book-delta/1","from":{},"to":{},"sha256":"{}","count":{}}}"#,
            self.from.0,
            self.to.0,
            hex::encode(sha256),
            self.lines.len(),
        )?;
        for (id, line) in &self.lines {
            match line {
                Some(line) => writeln!(writer, "{line}")?,
                None => writeln!(writer, r#"{{"id":"{}","removed":true}}"#, EntryId(*id))?,
            }
        }
        Ok(())
    }
}

impl Coding {
    /// The best that the value of Accept-Encoding allows (RFC 9110 §12.5.3); `None` there: as it is.
    pub(crate) fn accepted(accept: Option<&str>) -> Coding {
        let mut best = (0.0, Coding::Identity);
        for item in accept.unwrap_or_default().split(',') {
            let (name, parameter) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameter.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse().ok());
            // Of two that are as welcome the smaller.
            let (coding, preference) = match name.trim().to_ascii_lowercase().as_str() {
                "zstd" => (Coding::Zstd, 0.0002),
                "gzip" | "x-gzip" => (Coding::Gzip, 0.0001),
                _ => continue,
            };
            let Some(weight) = weight.filter(|weight: &f32| *weight > 0.0) else { continue };
            if weight + preference > best.0 {
                best = (weight + preference, coding);
            }
        }
        best.1
    }

    /// As in Content-Encoding; `None`: there is none.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// Codes a content that is not kept; too small ones stay as they are.
    pub(crate) fn coded(self, body: Vec<u8>) -> (Coding, Bytes) {
        if self == Coding::Identity || body.len() < COMPRESSED_OCTETS_MIN {
            return (Coding::Identity, body.into());
        }
        (self, coded(self, |writer| writer.write_all(&body)))
    }
}

/// Codes what is written.
fn coded(coding: Coding, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Bytes {
    let done = match coding {
        Coding::Identity => {
            let mut plain = Vec::new();
            write(&mut plain).map(|()| plain)
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            write(&mut encoder).and_then(|()| encoder.finish())
        }
        Coding::Zstd => {
            let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL);
            encoder.and_then(|mut encoder| {
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                write(&mut encoder)?;
                encoder.finish()
            })
        }
    };
    done.expect("memory takes all, and the levels exist").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_which_coding_it_takes() {
        for (accept, expected) in [
            (None, Coding::Identity),
            (Some("gzip, deflate, br, zstd"), Coding::Zstd),
            (Some("gzip, deflate"), Coding::Gzip),
            (Some("GZIP;q=1.0, zstd;q=0.5"), Coding::Gzip),
            (Some("zstd;q=0, identity"), Coding::Identity),
            (Some("br"), Coding::Identity),
            (Some("gzip;q=x"), Coding::Identity),
        ] {
            assert_eq!(Coding::accepted(accept), expected, "{accept:?}");
        }
    }
}
