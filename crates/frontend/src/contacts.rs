//! Which registered device a URI means: phones put their contact where an address belongs, above all into Refer-To
//! (RFC 5589 §7.5 asks for a GRUU, which not every phone has).
//!
//! What this is not: a way out. Only what is registered here is found, and it is reached as its registration says. A name
//! that might be another organisation's is no device, whoever registered it.

use std::hash::{BuildHasher, Hasher};

use directory::UserId;
use hashbrown::HashTable;
use sip_message::{Host, Uri};

use crate::binding::BindingId;
use crate::frontend::FrontEnd;
use crate::messaging::mailbox::DeviceId;

/// What hosts without a name call themselves (RFC 7118 §5).
const NAMELESS: &str = ".invalid";

/// Bindings by user, host and port of their contacts.
pub(crate) struct Contacts {
    entries: HashTable<Entry>,
    /// With a seed: the keys are strangers' choice.
    hasher: foldhash::quality::FixedState,
}

/// The contact itself stands in the binding.
struct Entry {
    hash: u64,
    user: UserId,
    binding: BindingId,
}

impl Contacts {
    pub(crate) fn new(seed: u64) -> Contacts {
        Contacts { entries: HashTable::new(), hasher: foldhash::quality::FixedState::with_seed(seed) }
    }

    /// A binding has this contact from now on.
    pub(crate) fn insert(&mut self, contact: &str, user: UserId, binding: BindingId) {
        let Some(hash) = self.hash_of_text(contact) else { return };
        self.entries.insert_unique(hash, Entry { hash, user, binding }, |entry| entry.hash);
    }

    /// The binding that had this contact has it no more.
    pub(crate) fn remove(&mut self, contact: &str, binding: BindingId) {
        let Some(hash) = self.hash_of_text(contact) else { return };
        if let Ok(entry) = self.entries.find_entry(hash, |entry| entry.binding == binding) {
            entry.remove();
        }
    }

    /// Bindings whose contact may be this one, in no order that may be shown.
    fn candidates(&self, uri: &Uri<'_>) -> impl Iterator<Item = (UserId, BindingId)> {
        let hash = self.hash(uri);
        let entries = hash.into_iter().flat_map(|hash| self.entries.iter_hash(hash));
        entries.filter(move |entry| Some(entry.hash) == hash).map(|entry| (entry.user, entry.binding))
    }

    fn hash_of_text(&self, contact: &str) -> Option<u64> {
        self.hash(&Uri::parse(contact).ok()?)
    }

    /// The same for URIs that are equivalent; `None` where the host may be somebody else's.
    fn hash(&self, uri: &Uri<'_>) -> Option<u64> {
        if !uri.is_sip() {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(uri.user_unescaped().unwrap_or_default().as_bytes());
        hasher.write_u8(b'@');
        match uri.host() {
            Host::Address(std::net::IpAddr::V4(address)) => hasher.write(&address.octets()),
            Host::Address(std::net::IpAddr::V6(address)) => hasher.write(&address.octets()),
            Host::Name(name) => {
                let suffix = name.len().checked_sub(NAMELESS.len()).and_then(|at| name.get(at..))?;
                if !suffix.eq_ignore_ascii_case(NAMELESS) {
                    return None;
                }
                name.bytes().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
            }
        }
        hasher.write_u16(uri.port().unwrap_or(0));
        Some(hasher.finish())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl FrontEnd {
    /// The device whose contact this is. `None` also where several users registered it: private addresses are not unique, and
    /// nobody comes into another's calls by registering the other's.
    pub(crate) fn device_at_contact(&self, uri: &Uri<'_>) -> Option<(UserId, DeviceId)> {
        let mut found: Option<(UserId, BindingId, DeviceId)> = None;
        for (user, binding) in self.contacts.candidates(uri) {
            let account = self.users.get(user).expect("who has bindings exists");
            let binding =
                account.bindings.iter().find(|b| b.id == binding).expect("what is found is in force");
            if !Uri::parse(&binding.uri).is_ok_and(|contact| contact.is_equivalent(uri)) {
                continue;
            }
            match found {
                Some((other, ..)) if other != user => return None,
                // Of one user's the one made last.
                Some((_, id, _)) if id > binding.id => {}
                _ => found = Some((user, binding.id, binding.device)),
            }
        }
        found.map(|(user, _, device)| (user, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(contacts: &Contacts, uri: &str) -> Vec<u64> {
        let mut found: Vec<u64> =
            contacts.candidates(&Uri::parse(uri).unwrap()).map(|(_, binding)| binding.0).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn contacts_are_found_as_they_may_be_written() {
        let mut contacts = Contacts::new(1);
        for (id, uri) in [
            (1, "sip:bob@192.0.2.7:5066;transport=tcp"),
            (2, "sip:bob@192.0.2.7:5066"),
            (3, "sip:bob@192.0.2.7"),
            (4, "sip:b%6fb@X.Invalid;transport=ws"),
            (5, "sip:bob@[2001:db8::7]:5060"),
            (6, "sip:192.0.2.7:5066"),
            (7, "sip:bob@fabrikam.example"),
            (8, "sip:bob@invalid"),
            (9, "tel:+15551234"),
        ] {
            contacts.insert(uri, UserId(1), BindingId(id));
        }
        assert_eq!(contacts.len(), 6, "a name that may be somebody else's is no device");
        assert_eq!(found(&contacts, "sip:bob@192.0.2.7:5066;transport=tcp"), [1, 2]);
        assert_eq!(found(&contacts, "sip:b%6Fb@192.0.2.7;x"), [3]);
        assert_eq!(found(&contacts, "sip:bob@x.INVALID"), [4]);
        assert_eq!(found(&contacts, "sip:bob@[2001:0db8:0::7]:5060"), [5]);
        assert_eq!(found(&contacts, "sip:192.0.2.7:5066"), [6]);
        for uri in ["sip:Bob@192.0.2.7", "sip:bob@fabrikam.example", "tel:+15551234", "sip:bob@192.0.2.8"] {
            assert!(found(&contacts, uri).is_empty(), "{uri}");
        }
        contacts.remove("sip:bob@192.0.2.7:5066", BindingId(2));
        assert_eq!(found(&contacts, "sip:bob@192.0.2.7:5066"), [1]);
    }
}
