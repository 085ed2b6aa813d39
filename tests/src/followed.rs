//! A server that follows a directory: configured as an administrator would, with the directory of a test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{ActiveDirectory, Configuration, OpenLdap, PATIENCE, Server};

/// How soon a change of the directory must be live: Samba tells of changes every five seconds, and the server asks every two.
pub const LIVE_WITHIN: Duration = Duration::from_secs(10);
/// Where the server offers the sign-in and the address book.
const WEB_PORT: u16 = 9443;

impl Configuration {
    /// Follows a domain, asked every second. Its users are those of the domain's DNS name.
    pub fn following(domain: &ActiveDirectory) -> Configuration {
        let configuration = Configuration::new(domain.fact("DNS_DOMAIN"));
        let password = configuration.secret("directory.password", domain.fact("SYNC_PASSWORD"));
        let account = format!("{}@{}", domain.fact("SYNC_USER"), domain.fact("DNS_DOMAIN"));
        let host = domain.fact("HOST");
        configuration
            .directory("active-directory", &domain.ca(), &account, &password)
            .set_in("directory", "domain", &format!("{:?}", domain.fact("DNS_DOMAIN")))
            .set_in("directory", "servers", &format!("[{host:?}]"))
            .set_in("dns", "hosts", &format!("[\"{} {host}\"]", domain.ip()))
    }

    /// Follows an OpenLDAP, whose people's addresses of mail are their SIP addresses.
    pub fn following_ldap(slapd: &OpenLdap) -> Configuration {
        let configuration = Configuration::new(OpenLdap::DOMAIN);
        let password = configuration.secret("directory.password", OpenLdap::READER_PASSWORD);
        configuration
            .directory("ldap", &slapd.ca(), OpenLdap::READER, &password)
            .set_in("directory", "servers", &format!("[\"{}\"]", slapd.ldaps()))
            .set_in("directory", "base", &format!("{:?}", OpenLdap::BASE))
            .set_in("directory", "mail_as_sip", "\"yes\"")
    }

    fn directory(self, kind: &str, ca: &Path, account: &str, password: &Path) -> Configuration {
        let listen = format!("[\"{}:{WEB_PORT}\"]", self.address());
        self.set_in("directory", "kind", &format!("{kind:?}"))
            .set_in("directory", "authority_file", &format!("{ca:?}"))
            .set_in("directory", "account", &format!("{account:?}"))
            .set_in("directory", "password_file", &format!("{password:?}"))
            .set_in("directory", "poll_seconds", "1")
            .set_in("web", "listen", &listen)
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder().join(name);
        std::fs::write(&file, format!("{text}\n")).expect("the folder is ours");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
        file
    }
}

impl Server {
    /// Asks for the directory's changes, and waits until they are taken over.
    pub fn replicate(&self) {
        let (code, said) = self.command(&["replicate", "--once"]);
        assert_eq!(code, 0, "{said}\n{}", self.log());
    }

    /// How the directory is followed.
    pub fn replication_report(&self) -> Value {
        self.json(&["replicate", "--report", "--json"]).expect("there is a report")
    }

    /// What the address book has of somebody; `None` where there is nobody.
    pub fn entry(&self, who: &str) -> Option<Value> {
        self.json(&["addressbook", "show", who, "--json"])
    }

    /// An account, as `chancery user show --json` tells it; `None` where there is none.
    pub fn account_of(&self, address: &str) -> Option<Value> {
        self.json(&["user", "show", address, "--json"])
    }

    fn json(&self, words: &[&str]) -> Option<Value> {
        let (code, said) = self.command(words);
        if code != 0 {
            return None;
        }
        Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

/// Waits until something is so. Each look costs the server a command, so that nothing here spins.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, &mut look)
}

/// The same, for what is promised sooner.
pub fn eventually_within<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {within:?}");
    }
}
