//! Digest arithmetic (RFC 7616 §3.4, RFC 8760). Pure functions of strings and hashes; nonces and their life are the
//! business of whoever challenges.

#[cfg(test)]
mod tests;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use subtle::{Choice, ConstantTimeEq};

/// A digest algorithm. We offer the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 7616, the stronger one, offered first.
    Sha256,
    /// RFC 2617, for clients that know no other.
    Md5,
    /// RFC 7616, for servers that challenge us with it; not offered.
    Sha512_256,
}

impl Algorithm {
    /// From the value of `algorithm`; session variants (`-sess`) are no value here, see [`ha1_session`].
    pub fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::Sha256, Algorithm::Md5, Algorithm::Sha512_256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The value of `algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Md5 => "MD5",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }
}

/// HA1 for an algorithm. It is as good as a password: it has no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ha1 {
    /// For MD5.
    Md5([u8; 16]),
    /// For SHA-256.
    Sha256([u8; 32]),
    /// For SHA-512-256.
    Sha512_256([u8; 32]),
}

impl Ha1 {
    /// What it was made with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Ha1::Md5(_) => Algorithm::Md5,
            Ha1::Sha256(_) => Algorithm::Sha256,
            Ha1::Sha512_256(_) => Algorithm::Sha512_256,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Ha1::Md5(hash) => hash,
            Ha1::Sha256(hash) | Ha1::Sha512_256(hash) => hash,
        }
    }

    /// As it enters another hash, and as a response.
    fn hex(&self) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let octets = self.as_bytes();
        let mut hex = Hex { digits: [0; 2 * HASH_OCTETS_MAX], length: 2 * octets.len() };
        for (pair, octet) in hex.digits.as_chunks_mut().0.iter_mut().zip(octets) {
            *pair = [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 0xf)]];
        }
        hex
    }
}

/// A hash in digits. As good as a password too, if it is HA1.
struct Hex {
    digits: [u8; 2 * HASH_OCTETS_MAX],
    length: usize,
}

impl Hex {
    fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

/// Octets of SHA-256 and SHA-512/256.
const HASH_OCTETS_MAX: usize = 32;

/// The parameters of an Authorization that enter the response.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are the parameters of RFC 7616 §3.4")]
pub struct ResponseInput<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    pub nonce: &'a str,
    /// `None` for RFC 2069 clients: then `cnonce` and `nc` do not enter. (`auth` or `auth-int`.)
    pub qop: Option<&'a str>,
    pub nc: &'a str,
    pub cnonce: &'a str,
    /// Enters with `auth-int` only.
    pub body: &'a [u8],
}

/// `H(user ":" realm ":" password)`.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Ha1 {
    hash(algorithm, &[user.as_bytes(), realm.as_bytes(), password.as_bytes()])
}

/// HA1 of the `-sess` variants, made from the plain one (RFC 7616 §3.4.2).
pub fn ha1_session(ha1: &Ha1, nonce: &str, cnonce: &str) -> Ha1 {
    hash(ha1.algorithm(), &[ha1.hex().as_bytes(), nonce.as_bytes(), cnonce.as_bytes()])
}

/// Whether `response` (hex) is right; compares in constant time.
pub fn verify(ha1: &Ha1, input: &ResponseInput<'_>, response: &str) -> bool {
    let expected = expected(ha1, input).hex();
    let expected = expected.as_bytes();
    let mut given = [0; 2 * HASH_OCTETS_MAX];
    let given = &mut given[..expected.len()];
    if response.len() != given.len() {
        return false;
    }
    given.copy_from_slice(response.as_bytes());
    given.make_ascii_lowercase();
    words(expected).zip(words(given)).fold(Choice::from(1), |same, (a, b)| same & a.ct_eq(&b)).into()
}

/// The digits of a hash, eight at a time: it is made of as many.
fn words(digits: &[u8]) -> impl Iterator<Item = u64> {
    digits.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// The response in hex, as a client computes it (used by tests and by our own outgoing requests).
pub fn response(ha1: &Ha1, input: &ResponseInput<'_>) -> String {
    hex::encode(expected(ha1, input).as_bytes())
}

fn expected(ha1: &Ha1, input: &ResponseInput<'_>) -> Ha1 {
    let algorithm = ha1.algorithm();
    let ha1 = ha1.hex();
    let (method, uri) = (input.method.as_bytes(), input.uri.as_bytes());
    let ha2 = if input.qop.is_some_and(|qop| qop.eq_ignore_ascii_case("auth-int")) {
        let body = hash(algorithm, &[input.body]).hex();
        hash(algorithm, &[method, uri, body.as_bytes()])
    } else {
        hash(algorithm, &[method, uri])
    };
    let ha2 = ha2.hex();
    let (ha1, ha2, nonce) = (ha1.as_bytes(), ha2.as_bytes(), input.nonce.as_bytes());
    match input.qop {
        Some(qop) => {
            let (nc, cnonce) = (input.nc.as_bytes(), input.cnonce.as_bytes());
            hash(algorithm, &[ha1, nonce, nc, cnonce, qop.as_bytes(), ha2])
        }
        None => hash(algorithm, &[ha1, nonce, ha2]),
    }
}

/// The hash of the parts with colons between them.
fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> Ha1 {
    match algorithm {
        Algorithm::Md5 => Ha1::Md5(joined::<Md5>(parts).finalize().into()),
        Algorithm::Sha256 => Ha1::Sha256(joined::<Sha256>(parts).finalize().into()),
        Algorithm::Sha512_256 => Ha1::Sha512_256(joined::<Sha512_256>(parts).finalize().into()),
    }
}

fn joined<D: Digest>(parts: &[&[u8]]) -> D {
    let mut digest = D::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest
}
