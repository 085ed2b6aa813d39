//! What finds a transaction: keys of server transactions, branches of client transactions, methods.

use std::fmt;
use std::ops::Deref;

use sip_message::{HeaderId, Message, Method, Via};
use siphasher::sip128::SipHasher13;

use crate::digits::{eight_hex, hex, read_eight_hex};

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
    /// The text that is being digested.
    text: KeyText,
}

impl Keys {
    pub(super) fn new(key0: u64, key1: u64) -> Keys {
        Keys { hasher: SipHasher13::new_with_keys(key0, key1), text: KeyText::default() }
    }

    /// The key of the server transaction that `message` would belong to if its method were `class`: ACK and CANCEL look for `INVITE`.
    pub(super) fn key(&mut self, message: &Message, via: &Via<'_>, class: Method<'_>) -> Key {
        let text = &mut self.text;
        text.octets.clear();
        text.push(class.as_str().as_bytes());
        match unique_branch(via) {
            Some(branch) => {
                text.push(branch.as_bytes());
                text.push(via.host_text.as_bytes());
                let host = text.octets.len() - via.host_text.len();
                text.octets[host..].make_ascii_lowercase();
                text.push(&via.port.unwrap_or(0).to_be_bytes());
            }
            None => push_rfc2543(text, message, via, class),
        }
        let digest = self.hasher.hash(&text.octets);
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

/// Fields one after the other, each behind its length, so that no two lists of fields look alike. They are gathered first: to digest them
/// at once costs half of what it costs one by one.
#[derive(Default)]
struct KeyText {
    octets: Vec<u8>,
}

impl KeyText {
    fn push(&mut self, field: &[u8]) {
        self.octets.extend_from_slice(&(field.len() as u32).to_be_bytes());
        self.octets.extend_from_slice(field);
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

    pub(super) fn write(self) -> BranchText {
        let mut text = [0; BranchText::OCTETS];
        let (cookie, digits) = text.split_at_mut(MAGIC_COOKIE.len());
        cookie.copy_from_slice(MAGIC_COOKIE.as_bytes());
        digits[..8].copy_from_slice(&eight_hex(self.index));
        digits[8..].copy_from_slice(hex(self.nonce).as_bytes());
        BranchText(text)
    }

    /// The branch of a response's topmost Via; what is found so is still worth nothing without the right nonce. Via need not be
    /// well formed: who knows the nonce means the transaction.
    pub(super) fn of_response(response: &Message) -> Option<Branch> {
        // As nearly everybody gives it back.
        let via = response.header(HeaderId::Via)?;
        let first = memchr::memchr2(b';', b',', via).and_then(|place| via[place..].strip_prefix(b";branch="));
        let branch = first.and_then(|text| text.split_at_checked(BranchText::OCTETS));
        match branch {
            Some((branch, b"" | [b';', ..])) => Branch::read(branch),
            _ => Branch::read(response.top_branch()?.as_bytes()),
        }
    }

    pub(super) fn read(text: &[u8]) -> Option<Branch> {
        let digits = text.strip_prefix(MAGIC_COOKIE.as_bytes())?;
        let (&[index, high, low], []) = digits.as_chunks() else { return None };
        let nonce = u64::from(read_eight_hex(high)?) << 32 | u64::from(read_eight_hex(low)?);
        Some(Branch { index: read_eight_hex(index)?, nonce })
    }
}

/// The branch of a client transaction, as Via says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchText([u8; BranchText::OCTETS]);

impl BranchText {
    const OCTETS: usize = MAGIC_COOKIE.len() + Branch::DIGITS;

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for BranchText {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).expect("the cookie and hexadecimal digits are ASCII")
    }
}

impl fmt::Display for BranchText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
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
