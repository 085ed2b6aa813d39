//! What finds a transaction: keys of server transactions, branches of client transactions, methods.

use sip_message::{HeaderId, Message, Method, Via};
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

/// RFC 3261 §8.1.1.7: a branch that begins so is unique by itself.
pub(super) const MAGIC_COOKIE: &str = "z9hG4bK";

/// A keyed digest of what RFC 3261 §17.2.3 compares. With 128 bits and a secret key, equal digests mean equal texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    /// For a hash table.
    pub(super) fn hash(self) -> u64 {
        self.low
    }
}

/// Makes keys. The rounds are those of the standard library's own maps.
pub(super) struct Keys {
    hasher: SipHasher13,
}

impl Keys {
    pub(super) fn new(key0: u64, key1: u64) -> Keys {
        Keys { hasher: SipHasher13::new_with_keys(key0, key1) }
    }

    /// The key of the server transaction that `message` would belong to if its method were `class`: ACK and CANCEL look for `INVITE`.
    pub(super) fn key(&self, message: &Message, via: &Via<'_>, class: Method<'_>) -> Key {
        let mut text = KeyText::default();
        text.push(class.as_str().as_bytes());
        match unique_branch(via) {
            Some(branch) => {
                text.push(branch.as_bytes());
                text.push_lower_case(via.host_text.as_bytes());
                text.push(&via.port.unwrap_or(0).to_be_bytes());
            }
            None => push_rfc2543(&mut text, message, via, class),
        }
        let mut hasher = self.hasher;
        std::hash::Hasher::write(&mut hasher, &text.octets);
        let digest = hasher.finish128();
        Key { high: digest.h1, low: digest.h2 }
    }
}

/// The branch, where it identifies the transaction. The bare cookie identifies nothing (RFC 4475 §3.2.1).
fn unique_branch<'a>(via: &Via<'a>) -> Option<&'a str> {
    via.branch().filter(|branch| branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE))
}

/// Whether a request must be matched by the rules for RFC 2543 clients.
pub(super) fn is_rfc2543(via: &Via<'_>) -> bool {
    unique_branch(via).is_none()
}

/// RFC 3261 §17.2.3, second half. The To tag is left out for INVITE: its ACK bears that of our response, which the caller compares, and two INVITEs
/// that agree in all the rest, CSeq included, are one.
fn push_rfc2543(text: &mut KeyText, message: &Message, via: &Via<'_>, class: Method<'_>) {
    text.push(message.request_uri_text().as_bytes());
    text.push(message.from().ok().and_then(|from| from.tag()).unwrap_or_default().as_bytes());
    if class != Method::Invite {
        text.push(message.to().ok().and_then(|to| to.tag()).unwrap_or_default().as_bytes());
    }
    text.push(message.call_id().unwrap_or_default().as_bytes());
    text.push(&message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
    text.push(via.text);
}

/// Fields one after the other, each behind its length, so that no two lists of fields look alike.
#[derive(Default)]
struct KeyText {
    octets: SmallVec<[u8; 192]>,
}

impl KeyText {
    fn push(&mut self, field: &[u8]) {
        self.octets.extend_from_slice(&(field.len() as u32).to_be_bytes());
        self.octets.extend_from_slice(field);
    }

    fn push_lower_case(&mut self, field: &[u8]) {
        self.push(field);
        let start = self.octets.len() - field.len();
        self.octets[start..].make_ascii_lowercase();
    }
}

/// What our branch says: the cookie, 8 hexadecimal digits of the index, 16 of the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) index: u32,
    pub(super) nonce: u64,
}

impl Branch {
    const DIGITS: usize = 24;

    pub(super) fn write(self) -> String {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let number = u128::from(self.index) << 64 | u128::from(self.nonce);
        let mut text = [0; MAGIC_COOKIE.len() + Branch::DIGITS];
        text[..MAGIC_COOKIE.len()].copy_from_slice(MAGIC_COOKIE.as_bytes());
        for (place, octet) in text[MAGIC_COOKIE.len()..].iter_mut().rev().enumerate() {
            *octet = HEX[(number >> (4 * place)) as usize & 15];
        }
        std::str::from_utf8(&text).expect("hexadecimal digits are ASCII").to_owned()
    }

    /// The branch of a response's topmost Via. Peers return our Via as we wrote it, so that it is looked for as it was written first; what is
    /// found so is still worth nothing without the right nonce.
    pub(super) fn of_response(response: &Message) -> Option<Branch> {
        let value = response.header(HeaderId::Via)?;
        let plain = value.split(|octet| matches!(octet, b',' | b'"')).next().unwrap_or_default();
        let written = plain.split(|&octet| octet == b';').find_map(|param| param.strip_prefix(b"branch="));
        match written.and_then(|branch| std::str::from_utf8(branch).ok()).and_then(Branch::read) {
            Some(branch) => Some(branch),
            None => Branch::read(response.top_via().ok()?.branch()?),
        }
    }

    pub(super) fn read(text: &str) -> Option<Branch> {
        let digits = text.strip_prefix(MAGIC_COOKIE)?.as_bytes();
        if digits.len() != Branch::DIGITS {
            return None;
        }
        let mut number = 0u128;
        for &digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            number = number << 4 | u128::from(value);
        }
        Some(Branch { index: (number >> 64) as u32, nonce: number as u64 })
    }
}

/// A method, small enough to keep when the request is gone: its length and its first 15 octets, more than any method has. Longer
/// ones that agree in both are taken for the same, which the branch has already shown them to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodKey([u8; 16]);

impl MethodKey {
    pub(super) fn new(token: &[u8]) -> MethodKey {
        let mut key = [0; 16];
        let kept = token.len().min(15);
        key[..kept].copy_from_slice(&token[..kept]);
        key[15] = u8::try_from(token.len()).unwrap_or(u8::MAX);
        MethodKey(key)
    }

    /// Of the request that stands in `bytes`.
    pub(super) fn of_request(bytes: &[u8]) -> MethodKey {
        MethodKey::new(bytes.split(|&octet| octet == b' ').next().unwrap_or_default())
    }
}
