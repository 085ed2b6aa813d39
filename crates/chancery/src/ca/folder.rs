//! A CA on disk.
//!
//! ```text
//! DIR/issuing.pem issuing.key   the issuing CA
//! DIR/index.toml                what it issued
//! DIR/crl.pem                   its revocation list, and behind it the root's
//! DIR/root.pem                  the root's certificate: what others trust
//! DIR/root/root.pem root.key    the root; this folder can be kept elsewhere
//! DIR/root/index.toml crl.pem   the issuing CAs below it
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pki::{
    Authority, CertificateFacts, Constraints, ISSUING_VALID_DAYS, Issued, Key, ListFacts, Request,
    RevocationReason, Serial,
};

use super::index::{Entry, INDEX_FILE, Index};
use crate::{clock, files, secrets};

/// The root's certificate, in its own folder and in those of the CAs below it.
pub(crate) const ROOT_FILE: &str = "root.pem";
const ROOT_KEY_FILE: &str = "root.key";
pub(super) const ISSUING_FILE: &str = "issuing.pem";
const ISSUING_KEY_FILE: &str = "issuing.key";
/// The revocation lists, one after the other.
pub(super) const LIST_FILE: &str = "crl.pem";
/// The root's folder in that of its issuing CA, unless it is elsewhere.
const ROOT_DIR: &str = "root";
const LOCK_FILE: &str = ".lock";
/// What the root's index calls an issuing CA.
const ISSUING_KIND: &str = "issuing-ca";
const SECONDS_PER_DAY: u64 = 24 * 3600;

/// An opened CA: no other command changes it meanwhile.
pub(crate) struct Folder {
    dir: PathBuf,
    pub(super) authority: Authority,
    pub(super) index: Index,
    _lock: File,
}

impl Folder {
    /// Makes an issuing CA in `dir`, below the root in `root_dir`. Where there is no root it is made, with these
    /// constraints; where there is one, its own hold.
    pub(crate) fn create(
        dir: &Path,
        root_dir: Option<&Path>,
        name: &str,
        constraints: Option<&Constraints>,
    ) -> anyhow::Result<Folder> {
        for file in [ISSUING_FILE, ISSUING_KEY_FILE, ROOT_FILE, INDEX_FILE] {
            if dir.join(file).exists() {
                bail!(
                    "{} exists already, nothing was written\n  help: choose another --dir, or go on with the CA that is there: \
                     chancery ca issue --dir {}",
                    dir.join(file).display(),
                    dir.display()
                );
            }
        }
        files::create_secret_dir(dir)?;
        let lock = lock(dir)?;
        let root_dir = root_dir.map_or_else(|| dir.join(ROOT_DIR), Path::to_owned);
        let mut root = match (root_dir.join(ROOT_FILE).exists(), constraints) {
            (true, None) => Folder::open_root_at(&root_dir)?,
            (true, Some(_)) => bail!(
                "there is a root in {} already, and its constraints hold\n  help: leave --domain and --addresses away, or \
                 choose another --root-dir",
                root_dir.display()
            ),
            (false, Some(constraints)) => Folder::create_root(&root_dir, name, constraints)?,
            (false, None) => {
                bail!("there is no root in {}\n  help: give --domain to make one", root_dir.display())
            }
        };
        let now = clock::unix_seconds();
        let common_name = cut(&format!("{name} issuing"));
        let authority = root.authority.create_issuing(&common_name, Key::New, serial()?, now)?;
        files::write(&dir.join(ISSUING_KEY_FILE), files::MODE_SECRET, authority.key_pem().as_bytes())?;
        root.record_issuing(&authority, &dir.join(ISSUING_FILE), now)?;
        let mut folder = Folder { dir: dir.to_owned(), authority, index: Index::default(), _lock: lock };
        files::write(&dir.join(ROOT_FILE), files::MODE_PUBLIC, root.authority.certificate_pem().as_bytes())?;
        folder.index.write(&dir.join(INDEX_FILE))?;
        folder.write_list(super::FIRST_LIST_DAYS)?;
        folder.take_list_of(&root)?;
        // Last: a folder with this file is whole.
        files::write(
            &dir.join(ISSUING_FILE),
            files::MODE_PUBLIC,
            folder.authority.certificate_pem().as_bytes(),
        )?;
        Ok(folder)
    }

    /// Opens the issuing CA in `dir`.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Folder> {
        Folder::open_files(dir, ISSUING_FILE, ISSUING_KEY_FILE)
    }

    /// Opens the root above the issuing CA in this folder.
    pub(super) fn open_root(&self) -> anyhow::Result<Folder> {
        Folder::open_root_at(&self.dir.join(ROOT_DIR))
    }

    pub(super) fn open_root_at(root_dir: &Path) -> anyhow::Result<Folder> {
        Folder::open_files(root_dir, ROOT_FILE, ROOT_KEY_FILE).with_context(|| {
            format!(
                "this needs the root's key\n  help: bring the root's folder back to {} for the command",
                root_dir.display()
            )
        })
    }

    fn create_root(root_dir: &Path, name: &str, constraints: &Constraints) -> anyhow::Result<Folder> {
        files::create_secret_dir(root_dir)?;
        let lock = lock(root_dir)?;
        let authority = Authority::create_root(&cut(name), constraints, clock::unix_seconds())?;
        files::write(&root_dir.join(ROOT_KEY_FILE), files::MODE_SECRET, authority.key_pem().as_bytes())?;
        let mut folder = Folder { dir: root_dir.to_owned(), authority, index: Index::default(), _lock: lock };
        folder.index.write(&root_dir.join(INDEX_FILE))?;
        folder.write_list_of_root()?;
        files::write(
            &root_dir.join(ROOT_FILE),
            files::MODE_PUBLIC,
            folder.authority.certificate_pem().as_bytes(),
        )?;
        Ok(folder)
    }

    fn open_files(dir: &Path, certificate: &str, key: &str) -> anyhow::Result<Folder> {
        let read = |file: &str| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "cannot read {}\n  help: `chancery ca init` makes a CA; --dir names its folder",
                    path.display()
                )
            })
        };
        let certificate_pem = read(certificate)?;
        let lock = lock(dir)?;
        let authority = Authority::open(&certificate_pem, &read(key)?)
            .with_context(|| format!("the CA in {} cannot be used", dir.display()))?;
        let index = Index::read(&dir.join(INDEX_FILE))?;
        Ok(Folder { dir: dir.to_owned(), authority, index, _lock: lock })
    }

    /// Issues a certificate, and notes it before it leaves. Returns the chain to be written to `file`, and the key.
    pub(crate) fn issue(
        &mut self,
        request: &Request,
        kind: &str,
        key: Key<'_>,
        file: &Path,
    ) -> anyhow::Result<Issued> {
        let issued = self.authority.issue(request, key, serial()?, clock::unix_seconds())?;
        let chain = self.note(&issued.certificate_pem, kind, file)?;
        Ok(Issued { certificate_pem: chain, ..issued })
    }

    /// The same for the key of a signing request. Returns the chain.
    pub(super) fn issue_to(
        &mut self,
        request: &Request,
        kind: &str,
        signing_request_pem: &str,
        file: &Path,
    ) -> anyhow::Result<String> {
        let now = clock::unix_seconds();
        let certificate = self.authority.issue_to(request, signing_request_pem, serial()?, now)?;
        self.note(&certificate, kind, file)
    }

    /// Signs the issuing CA in this folder once more, with its key.
    pub(super) fn renew_itself(&mut self) -> anyhow::Result<()> {
        let mut root = self.open_root()?;
        let now = clock::unix_seconds();
        let name = self.authority.facts().subject.strip_prefix("CN=").context("the CA has no common name")?;
        let key = Key::Kept(self.authority.key_pem());
        let authority = root.authority.create_issuing(name, key, serial()?, now)?;
        let file = self.dir.join(ISSUING_FILE);
        root.record_issuing(&authority, &file, now)?;
        files::write(&file, files::MODE_PUBLIC, authority.certificate_pem().as_bytes())?;
        self.authority = authority;
        Ok(())
    }

    /// Revokes a certificate that is in the index. `false` where it was revoked before.
    pub(super) fn revoke(&mut self, serial: &str, reason: RevocationReason) -> anyhow::Result<bool> {
        let now = clock::timestamp(clock::unix_seconds() as i64);
        let entry = self.index.find_mut(serial).with_context(|| {
            format!(
                "no certificate with the serial number {serial} was issued here\n  help: chancery ca list"
            )
        })?;
        if entry.revoked.is_some() {
            return Ok(false);
        }
        entry.revoked = Some(now);
        entry.reason = Some(reason.name().to_owned());
        self.index.write(&self.dir.join(INDEX_FILE))?;
        Ok(true)
    }

    /// Takes a certificate into the index that is missing there, as after an index was restored from an old backup.
    pub(super) fn adopt(&mut self, facts: &CertificateFacts, kind: &str, file: &Path) -> anyhow::Result<()> {
        if self.index.find(&facts.serial).is_none() {
            let begun = u64::try_from(facts.not_before_unix_seconds).unwrap_or(0);
            self.index.certificates.push(Entry::of(facts, kind, file, begun));
            self.index.write(&self.dir.join(INDEX_FILE))?;
        }
        Ok(())
    }

    /// Writes the revocation list anew; the root's stays behind it.
    pub(super) fn write_list(&mut self, days: u64) -> anyhow::Result<()> {
        let list = self.sign_list(days)?;
        let path = self.dir.join(LIST_FILE);
        let root_list = match std::fs::read_to_string(&path) {
            Ok(text) => second_block(&text).to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        files::write(&path, files::MODE_PUBLIC, format!("{list}{root_list}").as_bytes())
    }

    /// The root is offline, so that its list holds as long as the root: who revokes an issuing CA brings a new list
    /// to everybody.
    pub(super) fn write_list_of_root(&mut self) -> anyhow::Result<()> {
        let days = self.authority.days_left(clock::unix_seconds()).max(1);
        let list = self.sign_list(days)?;
        files::write(&self.dir.join(LIST_FILE), files::MODE_PUBLIC, list.as_bytes())
    }

    /// Puts the root's list behind our own.
    pub(super) fn take_list_of(&self, root: &Folder) -> anyhow::Result<()> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let path = self.dir.join(LIST_FILE);
        let (own, roots) = (read(&path)?, read(&root.dir.join(LIST_FILE))?);
        let own = &own[..own.len() - second_block(&own).len()];
        files::write(&path, files::MODE_PUBLIC, format!("{own}{roots}").as_bytes())
    }

    /// The root's certificate.
    pub(crate) fn root_pem(&self) -> anyhow::Result<String> {
        let path = self.dir.join(ROOT_FILE);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    pub(super) fn list_file(&self) -> PathBuf {
        self.dir.join(LIST_FILE)
    }

    /// Days of a certificate of `kind_days` that the CA can promise.
    pub(crate) fn days_within(&self, kind_days: u64) -> u64 {
        kind_days.min(self.authority.days_left(clock::unix_seconds()))
    }

    fn note(&mut self, certificate_pem: &str, kind: &str, file: &Path) -> anyhow::Result<String> {
        let der = pki::certificates_in_pem(certificate_pem.as_bytes())?.remove(0);
        let facts = CertificateFacts::read(&der)?;
        self.index.certificates.push(Entry::of(&facts, kind, file, clock::unix_seconds()));
        self.index.write(&self.dir.join(INDEX_FILE))?;
        Ok(self.authority.with_chain(certificate_pem))
    }

    fn record_issuing(&mut self, authority: &Authority, file: &Path, now: u64) -> anyhow::Result<()> {
        self.index.certificates.push(Entry::of(authority.facts(), ISSUING_KIND, file, now));
        self.index.write(&self.dir.join(INDEX_FILE))
    }

    fn sign_list(&mut self, days: u64) -> anyhow::Result<String> {
        let now = clock::unix_seconds();
        let facts = ListFacts {
            number: self.index.crl_number + 1,
            this_update_unix_seconds: now,
            next_update_unix_seconds: now + days * SECONDS_PER_DAY,
        };
        let list = self.authority.revocation_list(facts, &self.index.revoked()?)?;
        // The number is spent before anybody sees the list.
        self.index.crl_number = facts.number;
        self.index.crl_next_update = Some(clock::timestamp(facts.next_update_unix_seconds as i64));
        self.index.write(&self.dir.join(INDEX_FILE))?;
        Ok(list)
    }
}

/// How an issuing CA's life is told.
pub(super) fn issuing_years() -> u64 {
    ISSUING_VALID_DAYS / 365
}

/// What stands behind the first PEM block.
fn second_block(text: &str) -> &str {
    const BEGIN: &str = "-----BEGIN";
    let second = text.match_indices(BEGIN).nth(1);
    second.map_or("", |(at, _)| &text[at..])
}

/// A common name has 64 characters at most (RFC 5280 appendix A.1).
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

fn serial() -> anyhow::Result<Serial> {
    Ok(Serial::from_random(secrets::random()?))
}

/// Waits while another command holds the folder; the lock ends with the file.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK_FILE);
    let open =
        OpenOptions::new().create(true).truncate(false).write(true).mode(files::MODE_SECRET).open(&path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
