//! Copies of the homes' accounts: who there is, what proves it, and whose home is where.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::time::Duration;

use directory::{CertificateDigest, UserId};
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::UnixMillis;
use sign_in::replica::{Copied, Entry, Part, Tokens};
use sign_in::token::{Claims, TokenError};
use sign_in::{Account, Accounts, AddressKey};

/// Names a home by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HomeId(pub(crate) usize);

/// An account of one home.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) home: HomeId,
    pub(crate) copied: Copied,
    /// Another number with each change: who signed in before one has to do it again.
    pub(crate) version: u64,
}

/// The copies.
pub(crate) struct Homes {
    accounts: HashMap<(HomeId, UserId), Known, FixedState>,
    addresses: HashMap<Box<[u8]>, (HomeId, UserId), FixedState>,
    /// Whose each is; strangers only ask.
    certificates: BTreeMap<CertificateDigest, (HomeId, UserId)>,
    /// By the user name.
    app_passwords: BTreeMap<Box<str>, (HomeId, UserId)>,
    /// Everybody, in order of arrival: who stands in for those who do not exist.
    everybody: Vec<(HomeId, UserId)>,
    progress: Vec<Progress>,
    versions: u64,
}

/// How far a home's copy is.
#[derive(Debug, Default)]
struct Progress {
    /// Where the next part goes on.
    place: u64,
    /// Whether everybody was told once; a copy stays good while it is made anew.
    is_complete: bool,
    /// While everybody is told: who was not named yet.
    unnamed: BTreeSet<UserId>,
    is_telling_everybody: bool,
    /// What its tokens are judged by.
    tokens: Option<Tokens>,
}

impl Homes {
    /// Copies of so many homes, all empty. The seed keeps strangers from choosing colliding addresses.
    pub(crate) fn new(count: usize, seed: u64) -> Homes {
        let hasher = FixedState::with_seed(seed);
        Homes {
            accounts: HashMap::with_hasher(hasher.clone()),
            addresses: HashMap::with_hasher(hasher),
            certificates: BTreeMap::new(),
            app_passwords: BTreeMap::new(),
            everybody: Vec::new(),
            progress: (0..count).map(|_| Progress::default()).collect(),
            versions: 0,
        }
    }

    /// Whether every home's accounts are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.progress.iter().all(|progress| progress.is_complete)
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    pub(crate) fn find(&self, key: &AddressKey) -> Option<&Known> {
        self.addresses.get(key.as_bytes()).and_then(|id| self.accounts.get(id))
    }

    /// Whom a client certificate signs in without a password, and for how long still: somebody who is enabled, while the
    /// certificate lasts.
    pub(crate) fn of_certificate(
        &self,
        digest: &CertificateDigest,
        now: UnixMillis,
    ) -> Option<(&Known, Duration)> {
        let known =
            self.accounts.get(self.certificates.get(digest)?).filter(|known| known.copied.is_enabled)?;
        let certificate =
            known.copied.certificates.iter().find(|certificate| certificate.digest == *digest)?;
        Some((known, certificate.remaining(now.0)?))
    }

    /// Whom a token signs in, whichever home gave it out.
    pub(crate) fn of_token(&self, token: &str, now: UnixMillis) -> Result<(&Known, Claims), TokenError> {
        let mut error = TokenError::Forged;
        for (home, progress) in self.progress.iter().enumerate() {
            let Some(tokens) = &progress.tokens else { continue };
            match tokens.key.read(token, now) {
                Ok(claims) => {
                    let known =
                        self.accounts.get(&(HomeId(home), claims.user)).ok_or(TokenError::Disabled)?;
                    claims.check(known.copied.is_enabled, known.copied.tokens_since_unix_ms)?;
                    return Ok((known, claims));
                }
                // Of no other home, then.
                Err(TokenError::Forged) => {}
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// Who gives out tokens of the home of an address; of the first home where nobody has the address, so that it does not tell.
    pub(crate) fn token_server(&self, address: &AddressKey) -> Option<&str> {
        let home = self.find(address).map_or(0, |known| known.home.0);
        self.progress.get(home)?.tokens.as_ref()?.server.as_deref()
    }

    /// Takes a part; whether it follows what was taken before. One that begins at the beginning tells everybody.
    #[must_use]
    pub(crate) fn take(&mut self, home: HomeId, part: Part) -> bool {
        if part.from == 0 {
            let unnamed = self.accounts.keys().filter(|(of, _)| *of == home).map(|(_, user)| *user).collect();
            let progress = &mut self.progress[home.0];
            (progress.place, progress.unnamed, progress.is_telling_everybody) = (0, unnamed, true);
        }
        if self.progress[home.0].place != part.from {
            return false;
        }
        self.progress[home.0].tokens = Some(part.tokens);
        for entry in part.entries {
            match entry {
                Entry::Is(copied) => {
                    self.progress[home.0].unnamed.remove(&copied.user);
                    self.put(home, copied);
                }
                Entry::Gone(user) => self.remove(home, user),
            }
        }
        let progress = &mut self.progress[home.0];
        progress.place = part.to;
        if part.is_last && std::mem::take(&mut progress.is_telling_everybody) {
            progress.is_complete = true;
            for user in std::mem::take(&mut progress.unnamed) {
                self.remove(home, user);
            }
        }
        true
    }

    fn put(&mut self, home: HomeId, copied: Copied) {
        let id = (home, copied.user);
        if self.accounts.get(&id).is_some_and(|known| known.copied == copied) {
            return;
        }
        self.remove(home, copied.user);
        self.versions += 1;
        for address in &copied.addresses {
            // Two homes that claim one address: the first one has it.
            self.addresses.entry(address.as_str().as_bytes().into()).or_insert(id);
        }
        for certificate in &copied.certificates {
            // Within a home it may be told of the new owner before it is told that the old one has it no more; between homes
            // the first one has it.
            let owner = self.certificates.entry(certificate.digest).or_insert(id);
            if owner.0 == home {
                *owner = id;
            }
        }
        for password in &copied.app_passwords {
            self.app_passwords.entry(password.username.as_str().into()).or_insert(id);
        }
        self.everybody.push(id);
        self.accounts.insert(id, Known { home, copied, version: self.versions });
    }

    fn remove(&mut self, home: HomeId, user: UserId) {
        let id = (home, user);
        let Some(gone) = self.accounts.remove(&id) else { return };
        for address in &gone.copied.addresses {
            let key = address.as_str().as_bytes();
            if self.addresses.get(key) == Some(&id) {
                self.addresses.remove(key);
            }
        }
        for certificate in &gone.copied.certificates {
            if self.certificates.get(&certificate.digest) == Some(&id) {
                self.certificates.remove(&certificate.digest);
            }
        }
        for password in &gone.copied.app_passwords {
            if self.app_passwords.get(password.username.as_str()) == Some(&id) {
                self.app_passwords.remove(password.username.as_str());
            }
        }
        self.everybody.retain(|other| *other != id);
    }
}

impl Accounts for Homes {
    fn account(&self, key: &AddressKey) -> Option<Account<'_>> {
        if let Some(known) = self.find(key) {
            return Some(known.for_sign_in());
        }
        // Users' names seldom hold the sign that is in every app password's.
        let username = Some(key.user()).filter(|username| username.contains('~'))?;
        let known = self.accounts.get(self.app_passwords.get(username)?)?;
        let mut passwords = known.copied.app_passwords.iter();
        let password = passwords.find(|password| password.username == username)?;
        Some(Account { secrets: Some(&password.secrets), is_app_password: true, ..known.for_sign_in() })
    }

    fn stand_in(&self, key: &AddressKey) -> Option<Account<'_>> {
        let hash = self.addresses.hasher().hash_one(key.as_bytes());
        let at = hash.checked_rem(self.everybody.len() as u64)?;
        let id = self.everybody[usize::try_from(at).expect("it is below the number of accounts")];
        self.accounts.get(&id).map(Known::for_sign_in)
    }
}

impl Known {
    fn for_sign_in(&self) -> Account<'_> {
        Account {
            user: self.copied.user,
            is_enabled: self.copied.is_enabled,
            secrets: self.copied.secrets.as_ref(),
            is_app_password: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use directory::{ClientCertificate, Permissions, SipAddress};
    use sign_in::token::TokenKey;

    use super::*;

    const HOME: HomeId = HomeId(0);

    fn is(user: u64, name: &str) -> Entry {
        Entry::Is(Copied {
            user: UserId(user),
            addresses: vec![SipAddress::parse(&format!("{name}@contoso.example")).unwrap()],
            is_enabled: true,
            permissions: Permissions::default(),
            secrets: None,
            certificates: Vec::new(),
            app_passwords: Vec::new(),
            tokens_since_unix_ms: 0,
        })
    }

    fn with_certificate(entry: Entry, octet: u8) -> Entry {
        let Entry::Is(mut copied) = entry else { unreachable!() };
        let digest = CertificateDigest([octet; 32]);
        copied.certificates.push(ClientCertificate { digest, expires_unix_ms: 10 });
        Entry::Is(copied)
    }

    fn part(from: u64, to: u64, is_last: bool, entries: Vec<Entry>) -> Part {
        let tokens = Tokens { key: TokenKey::new(&[1; 32]), server: None };
        Part { from, to, is_last, tokens, entries }
    }

    fn names(homes: &Homes) -> Vec<String> {
        let mut names: Vec<String> = ["alice", "bob", "carol"]
            .iter()
            .filter(|name| homes.find(&AddressKey::new(name, "contoso.example")).is_some())
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), homes.len());
        names
    }

    #[test]
    fn parts_are_taken_in_order_and_a_new_beginning_drops_who_is_not_named() {
        let mut homes = Homes::new(1, 1);
        assert!(homes.take(HOME, part(0, 1, false, vec![is(1, "alice")])));
        assert!(!homes.is_complete());
        assert!(!homes.take(HOME, part(2, 3, true, vec![is(3, "carol")])), "something is missing");
        assert!(homes.take(HOME, part(1, 2, true, vec![is(2, "bob")])));
        assert!(homes.is_complete());
        assert_eq!(names(&homes), ["alice", "bob"]);
        assert!(homes.take(HOME, part(2, 3, true, vec![Entry::Gone(UserId(1)), is(3, "carol")])));
        assert_eq!(names(&homes), ["bob", "carol"]);
        assert!(homes.take(HOME, part(0, 1, false, vec![is(1, "alice")])));
        assert_eq!(
            names(&homes),
            ["alice", "bob", "carol"],
            "the old copy is good until the new one is whole"
        );
        assert!(homes.take(HOME, part(1, 2, true, vec![is(3, "carol")])));
        assert_eq!(names(&homes), ["alice", "carol"]);
    }

    #[test]
    fn a_certificate_is_its_last_owners_in_whatever_order_it_is_told() {
        const OTHER_HOME: HomeId = HomeId(1);
        let mut homes = Homes::new(2, 1);
        let owner = |homes: &Homes| {
            let (known, left) = homes.of_certificate(&CertificateDigest([1; 32]), UnixMillis(9))?;
            assert_eq!(left, Duration::from_millis(1));
            Some((known.home, known.copied.user.0))
        };
        assert!(homes.take(HOME, part(0, 1, true, vec![with_certificate(is(1, "alice"), 1)])));
        assert_eq!(owner(&homes), Some((HOME, 1)));
        assert!(homes.of_certificate(&CertificateDigest([1; 32]), UnixMillis(10)).is_none(), "it is over");
        assert!(homes.of_certificate(&CertificateDigest([2; 32]), UnixMillis(9)).is_none());
        let other = with_certificate(is(1, "carol"), 1);
        assert!(homes.take(OTHER_HOME, part(0, 1, true, vec![other])));
        assert_eq!(owner(&homes), Some((HOME, 1)), "the first home has it");
        assert!(homes.take(HOME, part(1, 2, true, vec![with_certificate(is(2, "bob"), 1)])));
        assert_eq!(owner(&homes), Some((HOME, 2)));
        assert!(homes.take(HOME, part(2, 3, true, vec![is(1, "alice")])));
        assert_eq!(owner(&homes), Some((HOME, 2)), "alice's loss is told late");
        assert!(homes.take(HOME, part(3, 4, true, vec![Entry::Gone(UserId(2))])));
        assert_eq!(owner(&homes), None);
    }

    #[test]
    fn a_change_makes_another_version_and_a_repetition_does_not() {
        let mut homes = Homes::new(1, 1);
        let key = AddressKey::new("alice", "contoso.example");
        assert!(homes.take(HOME, part(0, 1, true, vec![is(1, "alice")])));
        let first = homes.find(&key).unwrap().version;
        assert!(homes.take(HOME, part(0, 1, true, vec![is(1, "alice")])));
        assert_eq!(homes.find(&key).unwrap().version, first);
        let Entry::Is(mut disabled) = is(1, "alice") else { unreachable!() };
        disabled.is_enabled = false;
        assert!(homes.take(HOME, part(1, 2, true, vec![Entry::Is(disabled)])));
        assert_ne!(homes.find(&key).unwrap().version, first);
    }
}
