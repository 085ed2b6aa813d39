//! The users of this home, with all their live state: account, bindings, mailbox. Plain owned data; one writer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::time::Duration;

use directory::{
    AppPassword, CertificateDigest, ClientCertificate, DirectoryAccount, ObjectId, Purpose, SipAddress, User,
    UserId,
};
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
    /// In order of their user names; [`Users`] finds the user by them.
    pub(crate) app_passwords: Vec<AppPassword>,
}

/// All users, found by id and by everything else that names one.
pub(crate) struct Users {
    accounts: HashMap<UserId, Place, foldhash::quality::FixedState>,
    /// By address and by alias.
    addresses: HashMap<Box<[u8]>, UserId, foldhash::quality::FixedState>,
    /// Whose each is; strangers only ask.
    certificates: BTreeMap<CertificateDigest, UserId>,
    /// By the user name.
    app_passwords: BTreeMap<Box<str>, UserId>,
    /// By the object in the organisation's directory.
    objects: BTreeMap<ObjectId, UserId>,
    /// What people of the directory may sign in as. A name may be several people's.
    sign_in_names: BTreeSet<(Box<str>, UserId)>,
    /// What stands around the name in them, `corp\` or `@corp.example`, and in how many.
    sign_in_places: BTreeMap<Box<str>, usize>,
    /// Everybody, in no order: who stands in for those who do not exist, see [`Users::stand_in`].
    everybody: Vec<UserId>,
}

struct Place {
    account: Box<Account>,
    /// In [`Users::everybody`].
    at: usize,
}

/// What is said of an account by its directory.
pub(crate) struct Said {
    pub(crate) address: SipAddress,
    pub(crate) aliases: Vec<SipAddress>,
    pub(crate) display_name: String,
    pub(crate) account: Box<DirectoryAccount>,
}

impl Users {
    /// Nobody. The seed keeps strangers from choosing colliding addresses.
    pub(crate) fn new(seed: u64) -> Users {
        let hasher = foldhash::quality::FixedState::with_seed(seed);
        Users {
            accounts: HashMap::with_hasher(hasher.clone()),
            addresses: HashMap::with_hasher(hasher),
            certificates: BTreeMap::new(),
            app_passwords: BTreeMap::new(),
            objects: BTreeMap::new(),
            sign_in_names: BTreeSet::new(),
            sign_in_places: BTreeMap::new(),
            everybody: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, account: Account) {
        let id = account.user.id;
        self.remove(id);
        self.certificates.extend(account.certificates.iter().map(|certificate| (certificate.digest, id)));
        self.app_passwords.extend(account.app_passwords.iter().map(|p| (p.username.as_str().into(), id)));
        let at = self.everybody.len();
        self.everybody.push(id);
        self.accounts.insert(id, Place { account: Box::new(account), at });
        self.index(id);
    }

    pub(crate) fn remove(&mut self, id: UserId) -> Option<Box<Account>> {
        self.unindex(id);
        let Place { account, at } = self.accounts.remove(&id)?;
        for certificate in &account.certificates {
            self.certificates.remove(&certificate.digest);
        }
        for password in &account.app_passwords {
            self.app_passwords.remove(password.username.as_str());
        }
        self.everybody.swap_remove(at);
        if let Some(moved) = self.everybody.get(at) {
            self.accounts.get_mut(moved).expect("everybody has an account").at = at;
        }
        Some(account)
    }

    /// Accounts are as their directory says now. Addresses may go round among them.
    pub(crate) fn say(&mut self, all: Vec<(UserId, Said)>) {
        all.iter().for_each(|(id, _)| self.unindex(*id));
        for (id, Said { address, aliases, display_name, account }) in all {
            if let Some(known) = self.get_mut(id) {
                known.user.address = address;
                known.user.aliases = aliases;
                known.user.display_name = display_name;
                known.user.account = Some(account);
            }
            self.index(id);
        }
    }

    /// Lets an account be found by what names it.
    fn index(&mut self, id: UserId) {
        let Some(place) = self.accounts.get(&id) else { return };
        let user = &place.account.user;
        for address in user.aliases.iter().chain([&user.address]) {
            self.addresses.insert(address.as_str().as_bytes().into(), id);
        }
        if let Some(account) = &user.account {
            self.objects.insert(account.object, id);
            for name in &account.sign_in_names {
                if self.sign_in_names.insert((name.as_str().into(), id))
                    && let Some(place) = sign_in_place(name)
                {
                    *self.sign_in_places.entry(place.into()).or_default() += 1;
                }
            }
        }
    }

    fn unindex(&mut self, id: UserId) {
        let Some(place) = self.accounts.get(&id) else { return };
        let user = &place.account.user;
        for address in user.aliases.iter().chain([&user.address]) {
            let key = address.as_str().as_bytes();
            if self.addresses.get(key) == Some(&id) {
                self.addresses.remove(key);
            }
        }
        if let Some(account) = &user.account {
            self.objects.remove(&account.object);
            for name in &account.sign_in_names {
                if self.sign_in_names.remove(&(name.as_str().into(), id))
                    && let Some(place) = sign_in_place(name)
                    && let Some(count) = self.sign_in_places.get_mut(place)
                {
                    *count -= 1;
                    if *count == 0 {
                        self.sign_in_places.remove(place);
                    }
                }
            }
        }
    }

    /// An app password that is nobody's is a user's; whether there is such a user.
    pub(crate) fn add_app_password(&mut self, id: UserId, password: AppPassword) -> bool {
        let Some(account) = self.get_mut(id) else { return false };
        let username = password.username.as_str().into();
        let at = account.app_passwords.partition_point(|other| other.username < password.username);
        account.app_passwords.insert(at, password);
        self.app_passwords.insert(username, id);
        true
    }

    /// An app password is a user's no more; whether it was.
    pub(crate) fn remove_app_password(&mut self, id: UserId, username: &str) -> bool {
        if self.app_passwords.get(username) != Some(&id) {
            return false;
        }
        self.app_passwords.remove(username);
        let account = self.get_mut(id).expect("who has an app password exists");
        account.app_passwords.retain(|password| password.username != username);
        true
    }

    /// What signs a user in elsewhere than at the directory is gone.
    pub(crate) fn end_credentials(&mut self, id: UserId) {
        let Some(account) = self.get_mut(id) else { return };
        let (certificates, passwords) =
            (std::mem::take(&mut account.certificates), std::mem::take(&mut account.app_passwords));
        for certificate in certificates {
            self.certificates.remove(&certificate.digest);
        }
        for password in passwords {
            self.app_passwords.remove(password.username.as_str());
        }
    }

    /// A certificate that is nobody's signs a user in; whether there is such a user.
    pub(crate) fn add_certificate(&mut self, id: UserId, certificate: ClientCertificate) -> bool {
        let Some(account) = self.get_mut(id) else { return false };
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
        let account = self.get_mut(id).expect("who owns a certificate exists");
        account.certificates.retain(|certificate| certificate.digest != *digest);
        true
    }

    pub(crate) fn get_mut(&mut self, id: UserId) -> Option<&mut Account> {
        self.accounts.get_mut(&id).map(|place| &mut *place.account)
    }

    pub(crate) fn get(&self, id: UserId) -> Option<&Account> {
        self.accounts.get(&id).map(|place| &*place.account)
    }

    pub(crate) fn find(&self, key: &AddressKey) -> Option<UserId> {
        self.addresses.get(key.as_bytes()).copied()
    }

    /// A user who may be called and may sign in.
    pub(crate) fn find_enabled(&self, key: &AddressKey) -> Option<&Account> {
        self.find(key).and_then(|id| self.get(id)).filter(|a| a.user.is_enabled())
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
        let owner = self.owner_of_certificate(digest).filter(|a| a.user.is_enabled())?;
        let certificate = owner.certificates.iter().find(|certificate| certificate.digest == *digest)?;
        Some((owner.user.id, certificate.remaining(now.0)?))
    }

    pub(crate) fn find_address(&self, address: &SipAddress) -> Option<UserId> {
        self.addresses.get(address.as_str().as_bytes()).copied()
    }

    /// The account that follows an object of the directory.
    pub(crate) fn of_object(&self, object: ObjectId) -> Option<UserId> {
        self.objects.get(&object).copied()
    }

    /// Whose app password has this user name.
    pub(crate) fn of_app_password(&self, username: &str) -> Option<(&Account, &AppPassword)> {
        let account = self.get(*self.app_passwords.get(username)?)?;
        let password = account.app_passwords.iter().find(|password| password.username == username)?;
        Some((account, password))
    }

    /// The one whom the directory lets sign in by a name in lower case; `None` where that is nobody, or more than one.
    pub(crate) fn of_sign_in_name(&self, name: &str) -> Option<&Account> {
        let mut named = self.sign_in_names.range((Box::from(name), UserId(0))..);
        let mut next = || named.next().filter(|(other, _)| **other == *name);
        match (next(), next()) {
            (Some((_, id)), None) => self.get(*id),
            _ => None,
        }
    }

    /// Whether anybody signs in by a name with this around it: `corp\` or `@corp.example`, in parts.
    pub(crate) fn has_sign_in_place(&self, parts: &[&str]) -> bool {
        self.sign_in_places.contains_key(parts.concat().as_str())
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
        self.accounts.values().map(|place| &*place.account)
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }
}

/// What stands around the name in a sign-in name.
fn sign_in_place(name: &str) -> Option<&str> {
    let before = name.find('\\').map(|at| &name[..=at]);
    before.or_else(|| name.rfind('@').map(|at| &name[at..]))
}

impl Accounts for Users {
    fn account(&self, key: &AddressKey) -> Option<sign_in::Account<'_>> {
        if let Some(account) = self.find(key).and_then(|id| self.get(id)) {
            return Some(account.for_sign_in());
        }
        // Users' names seldom hold the sign that is in every app password's.
        let username = Some(key.user()).filter(|username| username.contains('~'))?;
        let (account, password) = self.of_app_password(username)?;
        (password.purpose == Purpose::Sip).then(|| account.for_sign_in_by(password))
    }

    fn stand_in(&self, key: &AddressKey) -> Option<sign_in::Account<'_>> {
        self.stand_in(key).map(Account::for_sign_in)
    }
}

impl Account {
    /// Whether an address is the user's, or was.
    pub(crate) fn is_addressed_by(&self, key: &AddressKey) -> bool {
        key.is(&self.user.address) || self.user.aliases.iter().any(|alias| key.is(alias))
    }

    fn for_sign_in(&self) -> sign_in::Account<'_> {
        sign_in::Account {
            user: self.user.id,
            is_enabled: self.user.is_enabled(),
            secrets: self.user.secrets.as_ref(),
            is_app_password: false,
        }
    }

    fn for_sign_in_by<'a>(&self, password: &'a AppPassword) -> sign_in::Account<'a> {
        sign_in::Account {
            user: self.user.id,
            is_enabled: self.user.is_enabled(),
            secrets: Some(&password.secrets),
            is_app_password: true,
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
            let address = SipAddress::parse(&format!("user{id}@contoso.example")).unwrap();
            let user = User::local(UserId(id), address);
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
                    app_passwords: Vec::new(),
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
            for (id, place) in &users.accounts {
                assert_eq!(users.everybody[place.at], *id);
            }
        }
        users.remove(stand_in(&users)).unwrap();
        assert!(users.stand_in(&nobody).is_none());
    }
}
