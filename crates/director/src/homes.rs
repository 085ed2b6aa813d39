//! Copies of the homes' accounts: who there is, what proves it, and whose home is where.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use directory::UserId;
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use sign_in::replica::{Copied, Entry, Part};
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
}

impl Homes {
    /// Copies of so many homes, all empty. The seed keeps strangers from choosing colliding addresses.
    pub(crate) fn new(count: usize, seed: u64) -> Homes {
        let hasher = FixedState::with_seed(seed);
        Homes {
            accounts: HashMap::with_hasher(hasher.clone()),
            addresses: HashMap::with_hasher(hasher),
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
        self.everybody.retain(|other| *other != id);
    }
}

impl Accounts for Homes {
    fn account(&self, key: &AddressKey) -> Option<Account<'_>> {
        self.find(key).map(Known::for_sign_in)
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
        }
    }
}

#[cfg(test)]
mod tests {
    use directory::{Permissions, SipAddress};

    use super::*;

    const HOME: HomeId = HomeId(0);

    fn is(user: u64, name: &str) -> Entry {
        Entry::Is(Copied {
            user: UserId(user),
            addresses: vec![SipAddress::parse(&format!("{name}@contoso.example")).unwrap()],
            is_enabled: true,
            permissions: Permissions::default(),
            secrets: None,
        })
    }

    fn part(from: u64, to: u64, is_last: bool, entries: Vec<Entry>) -> Part {
        Part { from, to, is_last, entries }
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
