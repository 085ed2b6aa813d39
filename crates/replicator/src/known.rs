//! What the home has, as far as it was told and confirmed.

use std::collections::BTreeMap;

use directory::{Object, ObjectId, Permissions, PhotoDigest, Role, SipAddress, Standing};
use sha2::{Digest, Sha256};

use crate::io::Account;
use crate::losses::is_in_use;
use crate::view::{Index, Key};

/// The first half of the SHA-256 of what is kept elsewhere: enough to tell whether it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Differs from everything that there is.
    pub(crate) const NONE: Fingerprint = Fingerprint([0; 16]);

    pub(crate) fn of_account(account: &Account) -> Fingerprint {
        let Account { address, aliases, display_name, account } = account;
        let aliases: Vec<&str> = aliases.iter().map(SipAddress::as_str).collect();
        Fingerprint::of(&(address.as_str(), aliases, display_name, account))
    }

    pub(crate) fn of_object(object: &Object) -> Fingerprint {
        Fingerprint::of(object)
    }

    fn of(what: &impl serde::Serialize) -> Fingerprint {
        let json = serde_json::to_vec(what).expect("accounts and objects are writable as JSON");
        Fingerprint(*Sha256::digest(json).first_chunk().expect("SHA-256 has 32 octets"))
    }
}

/// An account that the home has.
#[derive(Clone, Debug)]
pub(crate) struct KnownAccount {
    pub(crate) address: SipAddress,
    pub(crate) aliases: Box<[SipAddress]>,
    pub(crate) display_name: Box<str>,
    pub(crate) standing: Standing,
    pub(crate) role: Role,
    pub(crate) permissions: Permissions,
    pub(crate) fingerprint: Fingerprint,
}

impl KnownAccount {
    pub(crate) fn new(account: &Account) -> KnownAccount {
        KnownAccount {
            address: account.address.clone(),
            aliases: account.aliases.as_slice().into(),
            display_name: account.display_name.as_str().into(),
            standing: account.account.standing,
            role: account.account.role,
            permissions: account.account.permissions,
            fingerprint: Fingerprint::of_account(account),
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &SipAddress> {
        std::iter::once(&self.address).chain(&*self.aliases)
    }
}

/// An object that the home has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownObject {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) photo: Option<PhotoDigest>,
}

impl KnownObject {
    pub(crate) fn new(object: &Object) -> KnownObject {
        KnownObject { fingerprint: Fingerprint::of_object(object), photo: object.photo }
    }
}

/// What the home has.
#[derive(Debug, Default)]
pub(crate) struct Known {
    accounts: BTreeMap<ObjectId, KnownAccount>,
    objects: BTreeMap<ObjectId, KnownObject>,
    /// Whose an address or alias is.
    holders: Index,
    /// Photos by the number of objects that show them.
    photos: BTreeMap<PhotoDigest, u32>,
    active: usize,
    in_use: usize,
}

impl Known {
    pub(crate) fn account(&self, id: ObjectId) -> Option<&KnownAccount> {
        self.accounts.get(&id)
    }

    pub(crate) fn object(&self, id: ObjectId) -> Option<KnownObject> {
        self.objects.get(&id).copied()
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (ObjectId, &KnownAccount)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    /// Everything that the home has something of, some of it twice.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.accounts.keys().chain(self.objects.keys()).copied()
    }

    /// Whose account has the address, or had it.
    pub(crate) fn holders(&self, address: &SipAddress) -> impl Iterator<Item = ObjectId> + '_ {
        self.holders.of(Key::of_address(address))
    }

    pub(crate) fn has_photo(&self, photo: PhotoDigest) -> bool {
        self.photos.contains_key(&photo)
    }

    /// Accounts that may be used.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Accounts that may be used, or may when their lock is over.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn set_account(&mut self, id: ObjectId, account: Option<KnownAccount>) {
        if let Some(was) = self.accounts.remove(&id) {
            self.active -= usize::from(was.standing == Standing::Active);
            self.in_use -= usize::from(is_in_use(was.standing));
            for address in was.addresses() {
                self.holders.remove(Key::of_address(address), id);
            }
        }
        let Some(account) = account else { return };
        self.active += usize::from(account.standing == Standing::Active);
        self.in_use += usize::from(is_in_use(account.standing));
        for address in account.addresses() {
            self.holders.insert(Key::of_address(address), id);
        }
        self.accounts.insert(id, account);
    }

    pub(crate) fn set_object(&mut self, id: ObjectId, object: Option<KnownObject>) {
        if let Some(photo) = self.objects.remove(&id).and_then(|was| was.photo) {
            match self.photos.get_mut(&photo) {
                Some(shown @ 2..) => *shown -= 1,
                _ => {
                    self.photos.remove(&photo);
                }
            }
        }
        let Some(object) = object else { return };
        if let Some(photo) = object.photo {
            *self.photos.entry(photo).or_default() += 1;
        }
        self.objects.insert(id, object);
    }
}
