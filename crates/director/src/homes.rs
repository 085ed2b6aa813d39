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
    names: Names,
    /// Everybody, in order of arrival: who stands in for those who do not exist.
    everybody: Vec<(HomeId, UserId)>,
    progress: Vec<Progress>,
    versions: u64,
}

/// Whom each name means.
struct Names {
    addresses: HashMap<Box<[u8]>, Owner, FixedState>,
    /// Strangers only ask.
    certificates: BTreeMap<CertificateDigest, Owner>,
    /// By the user name.
    app_passwords: BTreeMap<Box<str>, Owner>,
    /// Who claims a name that means somebody else, and has it when that one lets it go.
    waiting: BTreeSet<(Name, Owner)>,
}

/// Who has a name.
type Owner = (HomeId, UserId);

/// What means one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Address(Box<[u8]>),
    Certificate(CertificateDigest),
    AppPassword(Box<str>),
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
            names: Names {
                addresses: HashMap::with_hasher(hasher),
                certificates: BTreeMap::new(),
                app_passwords: BTreeMap::new(),
                waiting: BTreeSet::new(),
            },
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
        self.names.addresses.get(key.as_bytes()).and_then(|id| self.accounts.get(id))
    }

    /// Somebody's account.
    pub(crate) fn account(&self, who: (HomeId, UserId)) -> Option<&Known> {
        self.accounts.get(&who)
    }

    /// Whom a client certificate signs in without a password, and for how long still: somebody who is enabled, while the
    /// certificate lasts.
    pub(crate) fn of_certificate(
        &self,
        digest: &CertificateDigest,
        now: UnixMillis,
    ) -> Option<(&Known, Duration)> {
        let known = self
            .accounts
            .get(self.names.certificates.get(digest)?)
            .filter(|known| known.copied.is_enabled)?;
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
        let before = self.accounts.get(&id);
        if before.is_some_and(|known| known.copied == copied) {
            return;
        }
        let names = names_of(&copied);
        match before {
            Some(before) => {
                // What stays is not let go, not even for a moment: another home's account may wait for it.
                let lost: Vec<Name> = names_of(&before.copied).difference(&names).cloned().collect();
                lost.into_iter().for_each(|name| self.names.release(name, id));
            }
            None => self.everybody.push(id),
        }
        names.into_iter().for_each(|name| self.names.claim(name, id));
        self.versions += 1;
        self.accounts.insert(id, Known { home, copied, version: self.versions });
    }

    fn remove(&mut self, home: HomeId, user: UserId) {
        let id = (home, user);
        let Some(gone) = self.accounts.remove(&id) else { return };
        names_of(&gone.copied).into_iter().for_each(|name| self.names.release(name, id));
        self.everybody.retain(|other| *other != id);
    }
}

/// What an account is found by.
fn names_of(copied: &Copied) -> BTreeSet<Name> {
    let addresses = copied.addresses.iter().map(|address| Name::Address(address.as_str().as_bytes().into()));
    let certificates = copied.certificates.iter().map(|certificate| Name::Certificate(certificate.digest));
    let passwords =
        copied.app_passwords.iter().map(|password| Name::AppPassword(password.username.as_str().into()));
    addresses.chain(certificates).chain(passwords).collect()
}

impl Names {
    /// Within a home the last to claim a name has it: it may be told of the new owner before it is told that the old one has it no more.
    /// Between homes the first has it.
    fn claim(&mut self, name: Name, id: Owner) {
        let later = match self.owner(&name) {
            Some(owner) if owner == id => return,
            Some(owner) if owner.0 != id.0 => id,
            Some(owner) => {
                self.give(&name, id);
                owner
            }
            None => return self.give(&name, id),
        };
        self.waiting.remove(&(name.clone(), id));
        self.waiting.insert((name, later));
    }

    /// Somebody has a name no more: of those who wait for it the first home's has it, and of these the one who waits.
    fn release(&mut self, name: Name, id: Owner) {
        if self.owner(&name) != Some(id) {
            self.waiting.remove(&(name, id));
            return;
        }
        let nobody = (name.clone(), (HomeId(0), UserId(0)));
        match self.waiting.range(nobody..).next().filter(|(other, _)| *other == name).cloned() {
            Some(next) => {
                self.give(&name, next.1);
                self.waiting.remove(&next);
            }
            None => match &name {
                Name::Address(address) => {
                    self.addresses.remove(&**address);
                }
                Name::Certificate(digest) => {
                    self.certificates.remove(digest);
                }
                Name::AppPassword(username) => {
                    self.app_passwords.remove(&**username);
                }
            },
        }
    }

    fn give(&mut self, name: &Name, id: Owner) {
        match name {
            Name::Address(address) => {
                self.addresses.insert(address.clone(), id);
            }
            Name::Certificate(digest) => {
                self.certificates.insert(*digest, id);
            }
            Name::AppPassword(username) => {
                self.app_passwords.insert(username.clone(), id);
            }
        }
    }

    fn owner(&self, name: &Name) -> Option<Owner> {
        match name {
            Name::Address(address) => self.addresses.get(&**address),
            Name::Certificate(digest) => self.certificates.get(digest),
            Name::AppPassword(username) => self.app_passwords.get(&**username),
        }
        .copied()
    }
}

impl Accounts for Homes {
    fn account(&self, key: &AddressKey) -> Option<Account<'_>> {
        if let Some(known) = self.find(key) {
            return Some(known.for_sign_in());
        }
        // Users' names seldom hold the sign that is in every app password's.
        let username = Some(key.user()).filter(|username| username.contains('~'))?;
        let known = self.accounts.get(self.names.app_passwords.get(username)?)?;
        let mut passwords = known.copied.app_passwords.iter();
        let password = passwords.find(|password| password.username == username)?;
        Some(Account { secrets: Some(&password.secrets), is_app_password: true, ..known.for_sign_in() })
    }

    fn stand_in(&self, key: &AddressKey) -> Option<Account<'_>> {
        let hash = self.names.addresses.hasher().hash_one(key.as_bytes());
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
        assert_eq!(owner(&homes), Some((OTHER_HOME, 1)), "the other home has it still");
        assert!(homes.take(OTHER_HOME, part(1, 2, true, vec![Entry::Gone(UserId(1))])));
        assert_eq!(owner(&homes), None);
    }

    /// As people change their addresses, in one home and from one to another.
    #[test]
    fn an_address_that_changes_hands_is_found_in_whatever_order_it_is_told() {
        const OTHER_HOME: HomeId = HomeId(1);
        let mut homes = Homes::new(2, 1);
        let owner = |homes: &Homes, name: &str| {
            let known = homes.find(&AddressKey::new(name, "contoso.example"))?;
            Some((known.home, known.copied.user.0))
        };
        assert!(homes.take(HOME, part(0, 2, true, vec![is(1, "alice"), is(2, "bob")])));
        // Bob becomes alice before alice becomes carol.
        assert!(homes.take(HOME, part(2, 3, true, vec![is(2, "alice")])));
        assert_eq!((owner(&homes, "alice"), owner(&homes, "bob")), (Some((HOME, 2)), None));
        assert!(homes.take(HOME, part(3, 4, true, vec![is(1, "carol")])));
        assert_eq!((owner(&homes, "alice"), owner(&homes, "carol")), (Some((HOME, 2)), Some((HOME, 1))));
        // What the last one lets go is the one's who has it still.
        assert!(homes.take(HOME, part(4, 5, true, vec![is(1, "alice")])));
        assert!(homes.take(HOME, part(5, 6, true, vec![is(1, "carol")])));
        assert_eq!(owner(&homes, "alice"), Some((HOME, 2)));
        // Alice's account moves to the other home, which tells of it first.
        assert!(homes.take(OTHER_HOME, part(0, 1, true, vec![is(9, "alice")])));
        assert_eq!(owner(&homes, "alice"), Some((HOME, 2)), "the first home has it");
        let Entry::Is(mut disabled) = is(2, "alice") else { unreachable!() };
        disabled.is_enabled = false;
        assert!(homes.take(HOME, part(6, 7, true, vec![Entry::Is(disabled)])));
        assert_eq!(owner(&homes, "alice"), Some((HOME, 2)), "and loses it by no other change");
        assert!(homes.take(HOME, part(7, 8, true, vec![Entry::Gone(UserId(2))])));
        assert_eq!(owner(&homes, "alice"), Some((OTHER_HOME, 9)));
        assert!(homes.take(OTHER_HOME, part(1, 2, true, vec![Entry::Gone(UserId(9))])));
        assert!(homes.take(HOME, part(8, 9, true, vec![Entry::Gone(UserId(1))])));
        assert!(homes.names.waiting.is_empty() && homes.names.addresses.is_empty());
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
