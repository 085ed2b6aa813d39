//! Addresses as requests write them.

use directory::SipAddress;
use sip_message::{Host, Scheme, Uri};
use smallvec::SmallVec;

/// An address as it stands in a URI, normalised for a lookup without an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressKey {
    /// `user@domain` in lower case.
    text: SmallVec<[u8; 64]>,
    /// Where the domain begins.
    domain: usize,
}

impl AddressKey {
    /// The address of a sip or sips URI with a user part; `None` for any other. Parameters, port and password do not belong to an address.
    pub fn from_uri(uri: &Uri<'_>) -> Option<AddressKey> {
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) {
            return None;
        }
        let user = uri.user_unescaped()?;
        let Host::Name(host) = uri.host() else { return None };
        Some(AddressKey::new(&user, host))
    }

    /// From a user part, unescaped, and a host.
    pub fn new(user: &str, host: &str) -> AddressKey {
        let mut text = SmallVec::new();
        if user.is_ascii() {
            text.extend_from_slice(user.as_bytes());
        } else {
            text.extend_from_slice(user.to_lowercase().as_bytes());
        }
        text.push(b'@');
        let domain = text.len();
        let mut host = host.as_bytes();
        while let [rest @ .., b'.'] = host {
            host = rest;
        }
        text.extend_from_slice(host);
        text.make_ascii_lowercase();
        AddressKey { text, domain }
    }

    /// Whether it is the key of an address.
    pub fn is(&self, address: &SipAddress) -> bool {
        *self.text == *address.as_str().as_bytes()
    }

    /// `user@domain` in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// `user@domain` in lower case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).expect("a key is made of texts")
    }

    /// The user part in lower case.
    pub fn user(&self) -> &str {
        std::str::from_utf8(&self.text[..self.domain - 1]).expect("a key is made of texts")
    }

    /// The domain in lower case.
    pub fn domain(&self) -> &str {
        std::str::from_utf8(&self.text[self.domain..]).expect("a key is made of texts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> Option<String> {
        let key = AddressKey::from_uri(&Uri::parse(uri).unwrap())?;
        assert!(key.text.ends_with(key.domain().as_bytes()));
        Some(key.as_str().to_owned())
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
}
