//! Globally routable user agent URIs (RFC 5627).
//!
//! A temporary GRUU's user part is `tgruu.` and the base64url text of a nonce and of AES-256-GCM-SIV over: the keyed digest
//! of the Call-ID, the counter, the length of the address, the address, the instance, and zeros up to a multiple of 32
//! octets, so that its length tells next to nothing. The nonce is a keyed digest of the same content: distinct contents have
//! distinct nonces, and if they had not, GCM-SIV (RFC 8452) would still hide both.

use aes_gcm_siv::Nonce;
use aes_gcm_siv::aead::Aead as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use sip_message::Uri;

use super::{TokenError, Tokens, take};

/// What a temporary GRUU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporaryGruu {
    /// `user@domain`.
    pub address: String,
    /// The instance.
    pub instance: String,
    /// First octets of a keyed digest of the Call-ID; compare with [`Tokens::call_id_digest`].
    pub call_id_digest: u64,
}

/// What a public GRUU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicGruu {
    /// `user@domain`, as written.
    pub address: String,
    /// The instance, escapes undone: `urn:uuid:...`.
    pub instance: String,
}

/// Begins every temporary GRUU, so that no user's name is taken for one by accident.
const TEMPORARY_PREFIX: &str = "tgruu.";
/// Octets of the nonce of AES-GCM-SIV (RFC 8452 §4).
const NONCE_OCTETS: usize = 12;
/// Contents are padded to a multiple of this many octets.
const PADDING_OCTETS: usize = 32;
/// Longest temporary GRUU that is read, in characters: an address and an instance of 512 octets each.
const TEMPORARY_CHARACTERS_MAX: usize = 1500;

pub(super) fn write(tokens: &Tokens, address: &str, instance: &str, call_id: &str, counter: u64) -> String {
    let mut content = Vec::with_capacity(2 * PADDING_OCTETS + address.len() + instance.len());
    content.extend_from_slice(&tokens.call_id_digest(call_id).to_be_bytes());
    content.extend_from_slice(&counter.to_be_bytes());
    for text in [address, instance] {
        // What is longer than 65,535 octets came in no message of ours; its GRUU would be refused when read.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(text.as_bytes());
    }
    content.resize(content.len().next_multiple_of(PADDING_OCTETS), 0);

    let mut mac = tokens.nonce.clone();
    mac.update(&content);
    let digest = <[u8; 32]>::from(mac.finalize().into_bytes());
    let nonce = *digest.first_chunk::<NONCE_OCTETS>().expect("a digest is longer than a nonce");
    let nonce = Nonce::from(nonce);
    let sealed =
        tokens.gruu.encrypt(&nonce, content.as_slice()).expect("the content is far below 2^36 octets");
    let mut octets = nonce.to_vec();
    octets.extend_from_slice(&sealed);
    format!("{TEMPORARY_PREFIX}{}", URL_SAFE_NO_PAD.encode(octets))
}

pub(super) fn read(tokens: &Tokens, user: &str) -> Result<TemporaryGruu, TokenError> {
    if user.len() > TEMPORARY_CHARACTERS_MAX {
        return Err(TokenError::Forged);
    }
    let text = user.strip_prefix(TEMPORARY_PREFIX).ok_or(TokenError::Forged)?;
    let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Forged)?;
    let (nonce, sealed) = octets.split_first_chunk::<NONCE_OCTETS>().ok_or(TokenError::Forged)?;
    let content = tokens.gruu.decrypt(&Nonce::from(*nonce), sealed).map_err(|_| TokenError::Forged)?;

    let mut rest = content.as_slice();
    let call_id_digest = u64::from_be_bytes(take(&mut rest)?);
    let _counter = take::<8>(&mut rest)?;
    let address = text_of(&mut rest)?;
    let instance = text_of(&mut rest)?;
    Ok(TemporaryGruu { address, instance, call_id_digest })
}

fn text_of(rest: &mut &[u8]) -> Result<String, TokenError> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (text, behind) = rest.split_at_checked(length).ok_or(TokenError::Forged)?;
    *rest = behind;
    String::from_utf8(text.to_vec()).map_err(|_| TokenError::Forged)
}

/// The public GRUU of an address (`user@domain`, as it stands in a URI) and an instance (RFC 5627 §3.1.1).
pub fn public_gruu(address: &str, instance: &str) -> String {
    let mut uri = format!("sip:{address};gr=");
    for byte in instance.bytes() {
        // RFC 3261 §25.1: paramchar is param-unreserved, unreserved or escaped.
        if byte.is_ascii_alphanumeric() || b"[]/:&+$-_.!~*'()".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// What a URI says that is a public GRUU; `None` for any other: no `gr`, or one without a value (a temporary GRUU).
pub fn read_public_gruu(uri: &Uri<'_>) -> Option<PublicGruu> {
    let instance = uri.params().get("gr").filter(|value| !value.is_empty())?;
    let user = uri.user()?;
    Some(PublicGruu { address: format!("{user}@{}", uri.host_text()), instance: unescape(instance)? })
}

fn unescape(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = str::from_utf8(behind.get(..2)?).ok()?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            octets.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(octets).ok()
}
