//! The users of this home, with all their live state: account, bindings, mailbox. Plain owned data; one writer.

use std::hash::BuildHasher;

use directory::{SipAddress, User, UserId, UserState};
use hashbrown::HashMap;
use records::CallSettings;
use sip_message::{Host, Scheme, Uri};
use smallvec::SmallVec;

use crate::binding::Bindings;
use crate::documents::Documents;
use crate::messaging::mailbox::Mailbox;
use crate::presence::Person;

/// One user.
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) bindings: Bindings,
    pub(crate) mailbox: Mailbox,
    pub(crate) person: Person,
    pub(crate) documents: Documents,
    /// Where calls go; `None` is to the user's devices.
    pub(crate) call_settings: Option<Box<CallSettings>>,
}

/// An address as it stands in a URI, normalised for a lookup without an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressKey {
    /// `user@domain` in lower case.
    text: SmallVec<[u8; 64]>,
    /// Where the domain begins.
    domain: usize,
}

/// All users, found by address and by id.
pub(crate) struct Users {
    accounts: HashMap<UserId, Box<Account>, foldhash::quality::FixedState>,
    addresses: HashMap<Box<[u8]>, Place, foldhash::quality::FixedState>,
    /// Everybody, in no order: who stands in for those who do not exist, see [`Users::stand_in`].
    everybody: Vec<UserId>,
}

/// What an address leads to.
#[derive(Clone, Copy)]
struct Place {
    id: UserId,
    /// In [`Users::everybody`].
    at: usize,
}

impl AddressKey {
    /// The address of a sip or sips URI with a user part; `None` for any other. Parameters, port and password do not belong to an address.
    pub(crate) fn from_uri(uri: &Uri<'_>) -> Option<AddressKey> {
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) {
            return None;
        }
        let user = uri.user_unescaped()?;
        let Host::Name(host) = uri.host() else { return None };
        Some(AddressKey::new(&user, host))
    }

    /// From a user part, unescaped, and a host.
    pub(crate) fn new(user: &str, host: &str) -> AddressKey {
        let mut text = SmallVec::new();
        if user.is_ascii() {
            text.extend_from_slice(user.as_bytes());
        } else {
            text.extend_from_slice(user.to_lowercase().as_bytes());
        }
        text.push(b'@');
        let domain = text.len();
        text.extend_from_slice(host.trim_end_matches('.').as_bytes());
        text.make_ascii_lowercase();
        AddressKey { text, domain }
    }

    /// Whether it is the key of an address.
    pub(crate) fn is(&self, address: &SipAddress) -> bool {
        *self.text == *address.as_str().as_bytes()
    }

    /// The domain in lower case.
    pub(crate) fn domain(&self) -> &str {
        std::str::from_utf8(&self.text[self.domain..]).expect("a key is made of texts")
    }
}

impl Users {
    /// Nobody. The seed keeps strangers from choosing colliding addresses.
    pub(crate) fn new(seed: u64) -> Users {
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        Users {
            accounts: HashMap::with_hasher(hasher.clone()),
            addresses: HashMap::with_hasher(hasher),
            everybody: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, account: Account) {
        let id = account.user.id;
        let new = Place { id, at: self.everybody.len() };
        let place = self.addresses.entry(account.user.address.as_str().as_bytes().into()).or_insert(new);
        if place.at == new.at {
            self.everybody.push(id);
        }
        place.id = id;
        self.everybody[place.at] = id;
        self.accounts.insert(id, Box::new(account));
    }

    pub(crate) fn remove(&mut self, id: UserId) -> Option<Box<Account>> {
        let account = self.accounts.remove(&id)?;
        if let Some(gone) = self.addresses.remove(account.user.address.as_str().as_bytes()) {
            self.everybody.swap_remove(gone.at);
            let moved = self.everybody.get(gone.at).and_then(|id| self.accounts.get(id));
            if let Some(moved) =
                moved.and_then(|a| self.addresses.get_mut(a.user.address.as_str().as_bytes()))
            {
                moved.at = gone.at;
            }
        }
        Some(account)
    }

    pub(crate) fn get_mut(&mut self, id: UserId) -> Option<&mut Account> {
        self.accounts.get_mut(&id).map(|account| &mut **account)
    }

    pub(crate) fn get(&self, id: UserId) -> Option<&Account> {
        self.accounts.get(&id).map(|account| &**account)
    }

    pub(crate) fn find(&self, key: &AddressKey) -> Option<UserId> {
        self.addresses.get(&*key.text).map(|place| place.id)
    }

    /// A user who may be called and may sign in.
    pub(crate) fn find_enabled(&self, key: &AddressKey) -> Option<&Account> {
        self.find(key).and_then(|id| self.get(id)).filter(|a| a.user.state == UserState::Enabled)
    }

    /// An account to look at in the place of one that does not exist, always the same for the same key: memory that is
    /// read takes time too, and tells who is there. `None` while there is nobody.
    pub(crate) fn stand_in(&self, key: &AddressKey) -> Option<&Account> {
        let hash = self.addresses.hasher().hash_one(&*key.text);
        // Below the number of users, which fits.
        let at = hash.checked_rem(self.everybody.len() as u64)? as usize;
        self.get(self.everybody[at])
    }

    pub(crate) fn find_address(&self, address: &SipAddress) -> Option<UserId> {
        self.addresses.get(address.as_str().as_bytes()).map(|place| place.id)
    }

    /// In no order that may be shown.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|account| &**account)
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> Option<String> {
        let key = AddressKey::from_uri(&Uri::parse(uri).unwrap())?;
        assert!(key.text.ends_with(key.domain().as_bytes()));
        Some(String::from_utf8(key.text.to_vec()).unwrap())
    }

    #[test]
    fn a_uri_gives_the_same_key_as_its_address() {
        assert_eq!(key("sip:Alice@Contoso.Example").as_deref(), Some("alice@contoso.example"));
        assert_eq!(
            key("sips:al%69ce@contoso.example.:5061;transport=tcp?x=y").as_deref(),
            Some("alice@contoso.example")
        );
        assert_eq!(key("sip:contoso.example"), None);
        assert_eq!(key("sip:alice@192.0.2.1"), None);
        assert_eq!(key("tel:+15551234"), None);
    }

    #[test]
    fn somebody_who_is_there_stands_in_for_who_is_not() {
        let mut users = Users::new(1);
        let nobody = AddressKey::new("nobody", "contoso.example");
        assert!(users.stand_in(&nobody).is_none());
        for id in 0..8 {
            let user = User {
                id: UserId(id),
                address: SipAddress::parse(&format!("user{id}@contoso.example")).unwrap(),
                display_name: String::new(),
                state: UserState::Enabled,
                role: directory::Role::Person,
                secrets: None,
            };
            // A change of an account inserts it again.
            for user in [user.clone(), user] {
                users.insert(Account {
                    user,
                    bindings: Bindings::default(),
                    mailbox: Mailbox::default(),
                    person: Person::new(presence::Manual::default()),
                    documents: Documents::default(),
                    call_settings: None,
                });
            }
        }
        let stand_in = |users: &Users| users.stand_in(&nobody).unwrap().user.id;
        assert_eq!(stand_in(&users), stand_in(&users));
        while users.len() > 1 {
            let gone = stand_in(&users);
            users.remove(gone).unwrap();
            assert_ne!(stand_in(&users), gone);
            assert_eq!(users.everybody.len(), users.len());
            for place in users.addresses.values() {
                assert_eq!(users.everybody[place.at], place.id);
            }
        }
        users.remove(stand_in(&users)).unwrap();
        assert!(users.stand_in(&nobody).is_none());
    }
}
