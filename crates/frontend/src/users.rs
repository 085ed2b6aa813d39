//! The users of this home, with all their live state: account, bindings, mailbox. Plain owned data; one writer.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::time::Duration;

use directory::{CertificateDigest, ClientCertificate, SipAddress, User, UserId, UserState};
use hashbrown::HashMap;
use node::UnixMillis;
use records::CallSettings;
use sign_in::Accounts;
pub(crate) use sign_in::AddressKey;

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
    /// What signs the user in without a password, in order of digests; [`Users`] finds the user by them.
    pub(crate) certificates: Vec<ClientCertificate>,
}

/// All users, found by address and by id.
pub(crate) struct Users {
    accounts: HashMap<UserId, Box<Account>, foldhash::quality::FixedState>,
    addresses: HashMap<Box<[u8]>, Place, foldhash::quality::FixedState>,
    /// Whose each is; strangers only ask.
    certificates: BTreeMap<CertificateDigest, UserId>,
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

impl Users {
    /// Nobody. The seed keeps strangers from choosing colliding addresses.
    pub(crate) fn new(seed: u64) -> Users {
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        Users {
            accounts: HashMap::with_hasher(hasher.clone()),
            addresses: HashMap::with_hasher(hasher),
            certificates: BTreeMap::new(),
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
        self.certificates.extend(account.certificates.iter().map(|certificate| (certificate.digest, id)));
        self.accounts.insert(id, Box::new(account));
    }

    pub(crate) fn remove(&mut self, id: UserId) -> Option<Box<Account>> {
        let account = self.accounts.remove(&id)?;
        for certificate in &account.certificates {
            self.certificates.remove(&certificate.digest);
        }
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

    /// A certificate that is nobody's signs a user in; whether there is such a user.
    pub(crate) fn add_certificate(&mut self, id: UserId, certificate: ClientCertificate) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        account.certificates.push(certificate);
        account.certificates.sort_unstable();
        self.certificates.insert(certificate.digest, id);
        true
    }

    /// A certificate of a user signs nobody in any more; whether it did.
    pub(crate) fn remove_certificate(&mut self, id: UserId, digest: &CertificateDigest) -> bool {
        if self.certificates.get(digest) != Some(&id) {
            return false;
        }
        self.certificates.remove(digest);
        let account = self.accounts.get_mut(&id).expect("who owns a certificate exists");
        account.certificates.retain(|certificate| certificate.digest != *digest);
        true
    }

    pub(crate) fn get_mut(&mut self, id: UserId) -> Option<&mut Account> {
        self.accounts.get_mut(&id).map(|account| &mut **account)
    }

    pub(crate) fn get(&self, id: UserId) -> Option<&Account> {
        self.accounts.get(&id).map(|account| &**account)
    }

    pub(crate) fn find(&self, key: &AddressKey) -> Option<UserId> {
        self.addresses.get(key.as_bytes()).map(|place| place.id)
    }

    /// A user who may be called and may sign in.
    pub(crate) fn find_enabled(&self, key: &AddressKey) -> Option<&Account> {
        self.find(key).and_then(|id| self.get(id)).filter(|a| a.user.state == UserState::Enabled)
    }

    /// Whose a certificate is, whether it counts or not.
    pub(crate) fn owner_of_certificate(&self, digest: &CertificateDigest) -> Option<&Account> {
        self.certificates.get(digest).and_then(|id| self.get(*id))
    }

    /// Whom a client certificate signs in without a password, and for how long still: somebody who is enabled, while the
    /// certificate lasts.
    pub(crate) fn of_certificate(
        &self,
        digest: &CertificateDigest,
        now: UnixMillis,
    ) -> Option<(UserId, Duration)> {
        let owner = self.owner_of_certificate(digest).filter(|a| a.user.state == UserState::Enabled)?;
        let certificate = owner.certificates.iter().find(|certificate| certificate.digest == *digest)?;
        Some((owner.user.id, certificate.remaining(now.0)?))
    }

    pub(crate) fn find_address(&self, address: &SipAddress) -> Option<UserId> {
        self.addresses.get(address.as_str().as_bytes()).map(|place| place.id)
    }

    /// An account to look at in the place of one that does not exist, always the same for the same key: memory that is
    /// read takes time too, and tells who is there. `None` while there is nobody.
    fn stand_in(&self, key: &AddressKey) -> Option<&Account> {
        let hash = self.addresses.hasher().hash_one(key.as_bytes());
        // Below the number of users, which fits.
        let at = hash.checked_rem(self.everybody.len() as u64)? as usize;
        self.get(self.everybody[at])
    }

    /// In no order that may be shown.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|account| &**account)
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }
}

impl Accounts for Users {
    fn account(&self, key: &AddressKey) -> Option<sign_in::Account<'_>> {
        self.find(key).and_then(|id| self.get(id)).map(Account::for_sign_in)
    }

    fn stand_in(&self, key: &AddressKey) -> Option<sign_in::Account<'_>> {
        self.stand_in(key).map(Account::for_sign_in)
    }
}

impl Account {
    fn for_sign_in(&self) -> sign_in::Account<'_> {
        sign_in::Account {
            user: self.user.id,
            is_enabled: self.user.state == UserState::Enabled,
            secrets: self.user.secrets.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                permissions: Default::default(),
                aliases: Vec::new(),
                account: None,
                tokens_since_unix_ms: 0,
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
                    certificates: Vec::new(),
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
