//! Arithmetic of NTLM ([MS-NLMP] §3.3, §3.4), and of the message signatures that SIP makes of it ([MS-SIPAE] §3).
//!
//! The server's way through it: [`nt_hash`] is what a domain keeps of a password; [`ntlmv2_key`] binds it to user and domain;
//! [`check_ntlmv2`] judges a client's response and gives the session base key; [`exported_session_key`] opens the key
//! that the client chose; [`Side`] derives from it what signs and seals; [`signature_extended`] signs a stream's messages,
//! [`sip_signature`] SIP messages one by one.
//!
//! What this crate is not: it parses no NTLM message, speaks to no domain, and negotiates nothing. It checks no NTLMv1 and no
//! LM response of that age: a server must not accept them. The signatures of the NTLMv1 age are here because
//! clients that answer with NTLMv2 may still negotiate them.
//!
//! MD4, MD5 and RC4 are broken for other uses; here they are the protocol.
//!
//! [MS-NLMP]: https://learn.microsoft.com/openspecs/windows_protocols/ms-nlmp
//! [MS-SIPAE]: https://learn.microsoft.com/openspecs/office_protocols/ms-sipae

#[cfg(test)]
mod tests;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};
use rc4::{Rc4, StreamCipher as _};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of every hash and key.
pub const KEY_OCTETS: usize = 16;
/// Octets of a challenge.
pub const CHALLENGE_OCTETS: usize = 8;
/// Octets of an LMv2 response: a proof and the client's challenge.
pub const LM_RESPONSE_OCTETS: usize = KEY_OCTETS + CHALLENGE_OCTETS;
/// Octets of a signature.
pub const SIGNATURE_OCTETS: usize = 16;

/// A hash or key: wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY_OCTETS]);

/// What a challenge message and its answer carry.
pub type Challenge = [u8; CHALLENGE_OCTETS];
/// A message's signature: version 1, checksum, sequence number ([MS-NLMP] §2.2.2.9).
///
/// [MS-NLMP]: https://learn.microsoft.com/openspecs/windows_protocols/ms-nlmp
pub type Signature = [u8; SIGNATURE_OCTETS];

/// Whose messages a key signs or seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From client to server.
    Client,
    /// From server to client.
    Server,
}

/// How much of a session key seals, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strength {
    /// `NTLMSSP_NEGOTIATE_128`.
    Bits128,
    /// `NTLMSSP_NEGOTIATE_56`.
    Bits56,
    /// Neither.
    Bits40,
}

/// A running RC4 state: of one side of a stream, or of one message.
pub struct Sealing(Rc4);

impl Key {
    /// A key from its octets.
    pub fn new(octets: [u8; KEY_OCTETS]) -> Key {
        Key(octets)
    }

    /// Its octets, for storing or deriving.
    pub fn octets(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(..)")
    }
}

/// `NTOWFv1`: what a domain keeps of a password.
pub fn nt_hash(password: &str) -> Key {
    let mut octets = utf16(password.encode_utf16());
    let hash = Key(Md4::digest(&octets).into());
    octets.zeroize();
    hash
}

/// `NTOWFv2`: the key of NTLMv2 responses. The domain is as the client wrote it; the user's name counts in capitals.
pub fn ntlmv2_key(nt_hash: &Key, user: &str, domain: &str) -> Key {
    let mut name = String::with_capacity(user.len());
    name.extend(user.chars().map(capital));
    hmac_md5(nt_hash, &[&utf16(name.encode_utf16()), &utf16(domain.encode_utf16())])
}

/// `NTProofStr`: the proof over a server's challenge and the rest of an NTLMv2 response.
pub fn nt_proof(ntlmv2_key: &Key, server_challenge: &Challenge, rest: &[u8]) -> [u8; KEY_OCTETS] {
    *hmac_md5(ntlmv2_key, &[server_challenge, rest]).octets()
}

/// Judges an `NtChallengeResponse`; gives the session base key if it is right. What the response says of time, target and
/// client challenge is signed by the proof, and is the caller's to judge.
pub fn check_ntlmv2(ntlmv2_key: &Key, server_challenge: &Challenge, response: &[u8]) -> Option<Key> {
    let (proof, rest) = response.split_first_chunk::<KEY_OCTETS>()?;
    // Without its fixed fields it is an NTLMv1 response: 24 octets, never accepted.
    if rest.len() < NTLMV2_FIXED_OCTETS || rest[..2] != [1, 1] {
        return None;
    }
    let expected = nt_proof(ntlmv2_key, server_challenge, rest);
    bool::from(expected.ct_eq(proof)).then(|| hmac_md5(ntlmv2_key, &[&expected]))
}

/// Octets of an NTLMv2 client challenge before its list of attributes ([MS-NLMP] §2.2.2.7), and of the list's end.
///
/// [MS-NLMP]: https://learn.microsoft.com/openspecs/windows_protocols/ms-nlmp
const NTLMV2_FIXED_OCTETS: usize = 28 + 4;

/// The `LmChallengeResponse` of NTLMv2.
pub fn lmv2_response(
    ntlmv2_key: &Key,
    server_challenge: &Challenge,
    client_challenge: &Challenge,
) -> [u8; LM_RESPONSE_OCTETS] {
    let proof = hmac_md5(ntlmv2_key, &[server_challenge, client_challenge]);
    let mut response = [0; LM_RESPONSE_OCTETS];
    response[..KEY_OCTETS].copy_from_slice(proof.octets());
    response[KEY_OCTETS..].copy_from_slice(client_challenge);
    response
}

/// Judges an `LmChallengeResponse` of NTLMv2.
pub fn check_lmv2(ntlmv2_key: &Key, server_challenge: &Challenge, response: &[u8]) -> bool {
    let Ok(response) = <&[u8; LM_RESPONSE_OCTETS]>::try_from(response) else { return false };
    let client_challenge = response.last_chunk().expect("a response ends with the client's challenge");
    lmv2_response(ntlmv2_key, server_challenge, client_challenge).ct_eq(response).into()
}

/// The session base key of NTLMv1.
pub fn session_base_key_v1(nt_hash: &Key) -> Key {
    Key(Md4::digest(nt_hash.octets()).into())
}

/// `KXKEY` of NTLMv1 with extended session security; with NTLMv2 the session base key itself is the key exchange key.
pub fn key_exchange_key_extended(
    session_base_key: &Key,
    server_challenge: &Challenge,
    client_challenge: &Challenge,
) -> Key {
    hmac_md5(session_base_key, &[server_challenge, client_challenge])
}

/// Opens (or makes) the `EncryptedRandomSessionKey`: RC4 undoes itself. Without `NTLMSSP_NEGOTIATE_KEY_EXCH` the key
/// exchange key is the exported session key.
pub fn exported_session_key(key_exchange_key: &Key, encrypted: &[u8; KEY_OCTETS]) -> Key {
    let mut octets = *encrypted;
    Sealing::new(key_exchange_key).apply(&mut octets);
    Key(octets)
}

impl Side {
    /// `SIGNKEY`, with extended session security.
    pub fn sign_key(self, exported: &Key) -> Key {
        self.derive(exported.octets(), "signing")
    }

    /// `SEALKEY`, with extended session security.
    pub fn seal_key(self, exported: &Key, strength: Strength) -> Key {
        let octets = match strength {
            Strength::Bits128 => KEY_OCTETS,
            Strength::Bits56 => 7,
            Strength::Bits40 => 5,
        };
        self.derive(&exported.octets()[..octets], "sealing")
    }

    fn derive(self, key: &[u8], what: &str) -> Key {
        let way = match self {
            Side::Client => "client-to-server",
            Side::Server => "server-to-client",
        };
        let magic = format!("session key to {way} {what} key magic constant\0");
        Key(Md5::new().chain_update(key).chain_update(magic).finalize().into())
    }
}

impl Sealing {
    /// A state at its beginning.
    pub fn new(key: &Key) -> Sealing {
        Sealing(Rc4::new_from_slice(key.octets()).expect("RC4 takes keys of 16 octets"))
    }

    /// Seals or opens octets in place.
    pub fn apply(&mut self, octets: &mut [u8]) {
        self.0.apply_keystream(octets);
    }
}

/// `MAC` with extended session security. `sealing` is there if a key exchange was negotiated, and goes on.
pub fn signature_extended(
    sign_key: &Key,
    sealing: Option<&mut Sealing>,
    sequence: u32,
    message: &[u8],
) -> Signature {
    let sequence = sequence.to_le_bytes();
    let digest = hmac_md5(sign_key, &[&sequence, message]);
    let mut checksum = *digest.octets().first_chunk::<8>().expect("a digest has sixteen octets");
    if let Some(sealing) = sealing {
        sealing.apply(&mut checksum);
    }
    let [a, b] =
        [checksum[..4].try_into(), checksum[4..].try_into()].map(|half| half.expect("half of eight octets"));
    signature([a, b, sequence])
}

/// `MAC` without extended session security. The random pad, which the algorithm says is zero, is zero as everybody sends it.
pub fn signature_plain(sealing: &mut Sealing, sequence: u32, message: &[u8]) -> Signature {
    let mut pad = [0; 4];
    sealing.apply(&mut pad);
    let mut checksum = crc32(message).to_le_bytes();
    sealing.apply(&mut checksum);
    let mut sealed_sequence = sequence.to_le_bytes();
    sealing.apply(&mut sealed_sequence);
    signature([[0; 4], checksum, sealed_sequence])
}

/// The signature of a SIP message's signature string, version 3 and 4 of [MS-SIPAE]: connectionless, so the RC4 state is set
/// anew for each message from the seal key and the sequence number.
///
/// [MS-SIPAE]: https://learn.microsoft.com/openspecs/office_protocols/ms-sipae
pub fn sip_signature(
    exported: &Key,
    side: Side,
    strength: Strength,
    sequence: u32,
    text: &[u8],
) -> Signature {
    let seal_key = side.seal_key(exported, strength);
    let seed = Md5::new().chain_update(seal_key.octets()).chain_update(sequence.to_le_bytes());
    let mut sealing = Sealing::new(&Key(seed.finalize().into()));
    signature_extended(&side.sign_key(exported), Some(&mut sealing), sequence, text)
}

/// The same of version 2, without extended session security: the state begins with the session key for each message.
pub fn sip_signature_plain(exported: &Key, sequence: u32, text: &[u8]) -> Signature {
    signature_plain(&mut Sealing::new(exported), sequence, text)
}

/// Whether a received signature is the expected one, in constant time.
pub fn is_same_signature(expected: &Signature, received: &[u8]) -> bool {
    expected.as_slice().ct_eq(received).into()
}

/// Version 1 and three words.
fn signature(words: [[u8; 4]; 3]) -> Signature {
    let mut signature = [0; SIGNATURE_OCTETS];
    signature[0] = 1;
    signature[4..].copy_from_slice(words.as_flattened());
    signature
}

fn hmac_md5(key: &Key, parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Md5>::new_from_slice(key.octets()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Key(mac.finalize().into_bytes().into())
}

fn utf16(units: impl Iterator<Item = u16>) -> Vec<u8> {
    units.flat_map(u16::to_le_bytes).collect()
}

/// One character to one: Windows does not write `ß` as `SS` in names.
fn capital(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => c,
    }
}

/// CRC-32 of IEEE 802.3, bit by bit: messages are short and clients of that age few.
fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(!0u32, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
