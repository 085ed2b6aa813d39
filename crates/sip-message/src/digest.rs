//! Digest arithmetic (RFC 7616 §3.4, RFC 8760). Pure functions of strings and hashes; nonces and their life are the
//! business of whoever challenges.

/// A digest algorithm that we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 7616, the stronger one, offered first.
    Sha256,
    /// RFC 2617, for clients that know no other.
    Md5,
}

/// HA1 for an algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ha1 {
    /// For MD5.
    Md5([u8; 16]),
    /// For SHA-256.
    Sha256([u8; 32]),
}

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
pub fn ha1(_algorithm: Algorithm, _user: &str, _realm: &str, _password: &str) -> Ha1 {
    todo!()
}

/// Whether `response` (hex) is right; compares in constant time.
pub fn verify(_ha1: &Ha1, _input: &ResponseInput<'_>, _response: &str) -> bool {
    todo!()
}

/// The response in hex, as a client computes it (used by tests and by our own outgoing requests).
pub fn response(_ha1: &Ha1, _input: &ResponseInput<'_>) -> String {
    todo!()
}
