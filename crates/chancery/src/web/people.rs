//! The users' CA: makes the client certificates that people ask for.
//!
//! Nobody has to believe it. A certificate signs its owner in because it is registered with the account, by its digest; that it
//! is issued by a CA is for programs that want a chain, and for administrators who look at one. It is made at its first use,
//! may issue for our domains only, and stays in the data folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use pki::{
    Addresses, Authority, CertificateFacts, Constraints, Kind, PkiError, Request, Serial, SigningRequest,
};

use crate::{clock, files, secrets};

/// The folder of the CA, in the data folder.
pub(crate) const PEOPLE_DIR: &str = "users-ca";
const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
/// Longest name of a CA, less what is put behind the domain, in characters.
const DOMAIN_CHARACTERS_MAX: usize = 56;

/// The CA, where it is needed.
pub(crate) struct PeopleAuthority {
    dir: PathBuf,
    domains: Vec<String>,
    opened: Mutex<Option<Authority>>,
}

/// A certificate for a person.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// The certificate, and the CA's behind it.
    pub(super) chain_pem: String,
    pub(super) facts: CertificateFacts,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotIssued {
    /// The request's fault; the text is for whoever sent it.
    #[error("{0}")]
    Refused(PkiError),
    /// Ours.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl PeopleAuthority {
    pub(crate) fn new(data_dir: &Path, domains: Vec<String>) -> PeopleAuthority {
        PeopleAuthority { dir: data_dir.join(PEOPLE_DIR), domains, opened: Mutex::new(None) }
    }

    /// Makes a certificate for `address`, whose key is that of the signing request.
    pub(super) fn issue(&self, address: &str, asked: &[u8], days: u64) -> Result<Issued, NotIssued> {
        let asked = SigningRequest::read(asked).map_err(NotIssued::Refused)?;
        let request =
            Request::new(Kind::Client, address, &[], &[], Some(days)).map_err(NotIssued::Refused)?;
        let serial = Serial::from_random(secrets::random().map_err(NotIssued::Failed)?);
        let now = clock::unix_seconds();
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = match opened.take() {
            Some(authority) if authority.days_left(now) > days => authority,
            _ => self.open(now, days).map_err(NotIssued::Failed)?,
        };
        let authority = opened.insert(authority);
        let certificate = authority.issue_for(&request, &asked, serial, now).map_err(NotIssued::Refused)?;
        let chain_pem = format!("{certificate}{}", authority.certificate_pem());
        let facts = pki::certificates_in_pem(certificate.as_bytes())
            .and_then(|chain| CertificateFacts::read(&chain[0]))
            .map_err(|error| NotIssued::Failed(error.into()))?;
        Ok(Issued { chain_pem, facts })
    }

    /// Opens it, or makes it. One that ends too soon, or may not issue for all of our domains any more, is replaced: what it issued
    /// goes on, since nothing hangs on it.
    fn open(&self, now: u64, days: u64) -> anyhow::Result<Authority> {
        let (certificate_file, key_file) = (self.dir.join(CERTIFICATE_FILE), self.dir.join(KEY_FILE));
        if certificate_file.exists() {
            let read = |file: &Path| {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
            };
            let authority = Authority::open(&read(&certificate_file)?, &read(&key_file)?)
                .with_context(|| format!("the users' CA in {}", self.dir.display()))?;
            let is_for_all =
                self.domains.iter().all(|domain| authority.facts().constraints.permit_domain(domain));
            if is_for_all && authority.days_left(now) > days {
                return Ok(authority);
            }
        }
        files::create_secret_dir(&self.dir)?;
        let first = self.domains.first().map_or("", String::as_str);
        let name: String = first.chars().take(DOMAIN_CHARACTERS_MAX).chain(" users".chars()).collect();
        let constraints = Constraints::to(&self.domains, Addresses::Within(Vec::new()));
        let authority = Authority::create_for_holders(&name, &constraints, now)?;
        // The key first: a certificate without its key would be taken for a whole CA.
        files::write(&key_file, files::MODE_SECRET, authority.key_pem().as_bytes())?;
        files::write(&certificate_file, files::MODE_PUBLIC, authority.certificate_pem().as_bytes())?;
        tracing::info!(event = "users-ca-made", folder = %self.dir.display(), "it issues what people ask for");
        Ok(authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    }

    fn people(dir: &Path, domains: &[&str]) -> PeopleAuthority {
        PeopleAuthority::new(dir, domains.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn it_is_made_once_and_taken_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let issue = |domains: &[&str]| {
            let issued = people(dir.path(), domains).issue("alice@contoso.example", &asked(), 30).unwrap();
            pki::certificates_in_pem(issued.chain_pem.as_bytes()).unwrap()
        };
        let (first, second) = (issue(&["contoso.example"]), issue(&["contoso.example"]));
        assert_eq!(first[1], second[1], "the same CA");
        assert!(pki::is_issued_by(&second[0], &second[1]).unwrap());
        assert_eq!(files::mode(&dir.path().join(PEOPLE_DIR).join(KEY_FILE)).unwrap(), files::MODE_SECRET);
        let third = issue(&["contoso.example", "fabrikam.example"]);
        assert_ne!(first[1], third[1], "it must issue for the new domain too");
    }

    #[test]
    fn the_certificate_is_the_persons_whatever_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let people = people(dir.path(), &["contoso.example"]);
        let issued = people.issue("alice@contoso.example", &asked(), 30).unwrap();
        assert_eq!(issued.facts.persons, ["alice@contoso.example"]);
        assert!(issued.facts.usages.client && !issued.facts.usages.server && !issued.facts.is_authority);
        let days = issued.facts.days_left(i64::try_from(clock::unix_seconds()).unwrap());
        assert!((29..=30).contains(&days), "{days}");
        let elsewhere = people.issue("alice@fabrikam.example", &asked(), 30);
        assert!(matches!(elsewhere, Err(NotIssued::Refused(_))));
    }

    #[test]
    fn a_broken_ca_is_the_operators_business() {
        let dir = tempfile::tempdir().unwrap();
        people(dir.path(), &["contoso.example"]).issue("alice@contoso.example", &asked(), 30).unwrap();
        std::fs::write(dir.path().join(PEOPLE_DIR).join(KEY_FILE), "none").unwrap();
        let error = people(dir.path(), &["contoso.example"]).issue("alice@contoso.example", &asked(), 30);
        assert!(matches!(error, Err(NotIssued::Failed(_))));
    }
}
