//! The certificate of the running server: loaded, watched on disk, exchanged without closing a connection.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use net::{Network, Networks, TlsServer};
use node::{Anchors, Side};
use pki::{CertificateFacts, Trust, TrustBuilder};

use crate::clock;
use crate::config::{Settings, TlsSettings};
use crate::metrics::CertificateEnd;

/// How often the files are looked at. Renewed certificates come weeks before the old ones end; seconds are for the
/// person who waits at the terminal.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Days before its end from which a certificate is warned of: a monthly maintenance window fits.
pub(crate) const EXPIRY_WARNING_DAYS: i64 = 30;
/// How often the log repeats that a certificate ends.
const EXPIRY_REMINDER: Duration = Duration::from_secs(24 * 3600);

/// A certificate with its files.
pub(crate) struct Certificate {
    server: Arc<TlsServer>,
    files: TlsSettings,
    stamp: Stamp,
    /// The certificates in force, PEM.
    chain: Vec<u8>,
    reminded: Option<std::time::Instant>,
    end: CertificateEnd,
}

/// A certificate with its key, read and proved to fit.
pub(crate) struct Pair {
    files: TlsSettings,
    stamp: Stamp,
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// What tells that a file was replaced. Contents are read only then.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<(SystemTime, u64, u64)>>);

impl Certificate {
    pub(crate) fn load(files: &TlsSettings) -> anyhow::Result<Certificate> {
        let Pair { stamp, chain, key, .. } = Pair::read(files)?;
        let server = TlsServer::from_pem(&chain, &key).with_context(|| described(files))?;
        let mut certificate = Certificate {
            server: Arc::new(server),
            files: files.clone(),
            stamp,
            chain,
            reminded: None,
            end: CertificateEnd::default(),
        };
        certificate.remind();
        Ok(certificate)
    }

    /// What listeners are bound with.
    pub(crate) fn server(&self) -> Arc<TlsServer> {
        Arc::clone(&self.server)
    }

    /// When it ends, for the metrics.
    pub(crate) fn end(&self) -> CertificateEnd {
        Arc::clone(&self.end)
    }

    /// What the files hold, if it can be taken over; `None` where it is in force already.
    pub(crate) fn prove(&self, files: &TlsSettings) -> anyhow::Result<Option<Pair>> {
        let pair = Pair::read(files)?;
        TlsServer::from_pem(&pair.chain, &pair.key).with_context(|| described(files))?;
        let is_same = |a: &TlsSettings, b: &TlsSettings| {
            (&a.certificate_file, &a.key_file) == (&b.certificate_file, &b.key_file)
        };
        Ok((pair.chain != self.chain || !is_same(files, &self.files)).then_some(pair))
    }

    /// Takes over another pair. On error the certificate in force stays.
    pub(crate) fn take_over(&mut self, pair: Pair) -> anyhow::Result<()> {
        let Pair { files, stamp, chain, key } = pair;
        self.stamp = stamp;
        self.server.reload(&chain, &key).with_context(|| described(&files))?;
        tracing::info!(event = "certificate-reloaded", file = %files.certificate_file.display(), "in force");
        self.files = files;
        self.chain = chain;
        self.reminded = None;
        self.remind();
        Ok(())
    }

    /// Looks at the files, and takes over what changed. A half-written pair is refused and looked at again when it
    /// changes again.
    pub(crate) fn poll(&mut self) {
        let stamp = Stamp::of([&self.files.certificate_file, &self.files.key_file]);
        if stamp != self.stamp {
            self.stamp = stamp;
            if let Err(error) = Pair::read(&self.files).and_then(|pair| self.take_over(pair)) {
                tracing::warn!(
                    event = "certificate-refused",
                    "the changed certificate is not used: {error:#}"
                );
            }
        } else {
            self.remind();
        }
    }

    fn remind(&mut self) {
        if self.reminded.is_some_and(|at| at.elapsed() < EXPIRY_REMINDER) {
            return;
        }
        self.reminded = Some(std::time::Instant::now());
        let file = self.files.certificate_file.display();
        match facts(&self.files.certificate_file) {
            Ok(facts) => {
                self.end.store(facts.not_after_unix_seconds, Relaxed);
                let days = facts.days_left(clock::unix_seconds() as i64);
                if days < EXPIRY_WARNING_DAYS {
                    tracing::warn!(event = "certificate-ends", %file, days, "renew it: it ends in {days} days");
                }
            }
            Err(error) => tracing::warn!(event = "certificate-unreadable", %file, "{error:#}"),
        }
    }
}

/// What a server shows, on each side.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) inside: Option<Certificate>,
    pub(crate) outside: Option<Certificate>,
}

/// What is to be taken over, on each side.
#[derive(Default)]
pub(crate) struct Pairs {
    inside: Option<Pair>,
    outside: Option<Pair>,
}

impl Certificates {
    pub(crate) fn load(
        inside: Option<&TlsSettings>,
        outside: Option<&TlsSettings>,
    ) -> anyhow::Result<Certificates> {
        let load = |files: Option<&TlsSettings>| files.map(Certificate::load).transpose();
        Ok(Certificates { inside: load(inside)?, outside: load(outside)? })
    }

    pub(crate) fn of(&self, side: Side) -> Option<&Certificate> {
        match side {
            Side::Inside => self.inside.as_ref(),
            Side::Outside => self.outside.as_ref(),
        }
    }

    /// See [`Certificate::prove`].
    pub(crate) fn prove(&self, settings: &Settings) -> anyhow::Result<Pairs> {
        let prove =
            |certificate: &Option<Certificate>, files: &Option<TlsSettings>| match (certificate, files) {
                (Some(certificate), Some(files)) => certificate.prove(files),
                _ => Ok(None),
            };
        Ok(Pairs {
            inside: prove(&self.inside, &settings.tls)?,
            outside: prove(&self.outside, &settings.tls_outside)?,
        })
    }

    /// See [`Certificate::take_over`].
    pub(crate) fn take_over(&mut self, pairs: Pairs) -> anyhow::Result<()> {
        for (certificate, pair) in [(&mut self.inside, pairs.inside), (&mut self.outside, pairs.outside)] {
            if let (Some(certificate), Some(pair)) = (certificate, pair) {
                certificate.take_over(pair)?;
            }
        }
        Ok(())
    }

    /// See [`Certificate::poll`].
    pub(crate) fn poll(&mut self) {
        for certificate in self.inside.iter_mut().chain(&mut self.outside) {
            certificate.poll();
        }
    }
}

impl Pairs {
    pub(crate) fn is_empty(&self) -> bool {
        self.inside.is_none() && self.outside.is_none()
    }
}

/// Who a server is on a side, and whom it believes there.
pub(crate) fn network(certificate: Option<&Certificate>, trust: Trust) -> Network {
    let network = Network::new(Arc::new(trust));
    match certificate {
        Some(certificate) => network.with_credentials(Arc::clone(certificate.server.credentials())),
        None => network,
    }
}

/// The networks of a server with one side. Without CAs nobody is believed.
pub(crate) fn inside_only(
    certificate: Option<&Certificate>,
    files: Option<&TlsSettings>,
) -> anyhow::Result<Networks> {
    Ok(Networks::inside_only(network(certificate, trust(Anchors::Servers, files)?.build())))
}

/// The CAs and revocation lists of a section.
pub(crate) fn trust(anchors: Anchors, files: Option<&TlsSettings>) -> anyhow::Result<TrustBuilder> {
    let mut builder = Trust::builder();
    let Some(files) = files else { return Ok(builder) };
    if let Some(file) = &files.authority_file {
        let roots =
            std::fs::read(file).with_context(|| format!("cannot read the CA file {}", file.display()))?;
        builder = builder
            .anchors(anchors, &roots)
            .with_context(|| format!("the CA file {} cannot be used", file.display()))?;
    }
    for file in &files.revocation_files {
        let list = std::fs::read(file)
            .with_context(|| format!("cannot read the revocation list {}", file.display()))?;
        builder = builder
            .crls(&list)
            .with_context(|| format!("the revocation list {} cannot be used", file.display()))?;
    }
    Ok(builder)
}

/// The files that say whom a server believes, on both sides.
pub(crate) fn trust_files(settings: &Settings) -> impl Iterator<Item = &PathBuf> {
    let sections = settings.tls.iter().chain(&settings.tls_outside);
    sections.flat_map(|section| section.authority_file.iter().chain(&section.revocation_files))
}

/// The facts of the first certificate in a file.
pub(crate) fn facts(file: &Path) -> anyhow::Result<CertificateFacts> {
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let chain = pki::certificates_in_pem(&pem).with_context(|| format!("in {}", file.display()))?;
    Ok(CertificateFacts::read(&chain[0])?)
}

impl Stamp {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Stamp {
        // An absent file is a state like others: its return is a change.
        let of = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        Stamp(files.into_iter().map(of).collect())
    }
}

impl Pair {
    fn read(files: &TlsSettings) -> anyhow::Result<Pair> {
        // Before reading: a file that changes meanwhile is seen by the next look.
        let stamp = Stamp::of([&files.certificate_file, &files.key_file]);
        let (chain, key) = read(files)?;
        Ok(Pair { files: files.clone(), stamp, chain, key })
    }
}

fn read(files: &TlsSettings) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| {
            format!(
                "cannot read {}\n  help: `chancery init` makes a certificate; [tls] in the configuration names another",
                path.display()
            )
        })
    };
    Ok((read(&files.certificate_file)?, read(&files.key_file)?))
}

fn described(files: &TlsSettings) -> String {
    format!("{} with {}", files.certificate_file.display(), files.key_file.display())
}
