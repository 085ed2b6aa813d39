//! Tokens: what a signed-in person's client shows instead of a password (RFC 6750, and RFC 8898 in SIP), for a short time.
//!
//! A token says whom it signs in, since when and until when, and bears a keyed digest (HMAC-SHA256, RFC 2104). Nothing is kept
//! for it: who judges one needs the key, and of the account whether it may be used and since when its tokens count
//! ([`directory::User::tokens_since_unix_ms`]), so that all tokens of an account are revoked at once and survive no revocation.
//!
//! What this module is not: it does not say who may have a token, nor for how long.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use directory::UserId;
use hmac::{Hmac, KeyInit, Mac};
use node::UnixMillis;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a token is for; no other token of the same key is one. The first octet.
const SIGN_IN: u8 = 1;
/// Purpose, user, first sign-in, issue, end.
const PAYLOAD_OCTETS: usize = 1 + 8 + 3 * 8;
/// SHA-256.
const DIGEST_OCTETS: usize = 32;
const TOKEN_OCTETS: usize = PAYLOAD_OCTETS + DIGEST_OCTETS;
/// Characters of a token: base64url without padding (RFC 4648 §5).
const TOKEN_CHARACTERS: usize = TOKEN_OCTETS.div_ceil(3) * 4 - (3 - TOKEN_OCTETS % 3) % 3;

/// Makes and reads the tokens of one home.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey(Zeroizing<[u8; 32]>);

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whom it signs in.
    pub user: UserId,
    /// When its owner signed in: a token that renews another keeps it. In milliseconds since 1970, as the others.
    pub signed_in_unix_ms: u64,
    /// When it was issued.
    pub issued_unix_ms: u64,
    /// When it ends.
    pub expires_unix_ms: u64,
}

/// Why a token signs nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was not made with this key, or not for signing in.
    #[error("{}", self.reason())]
    Forged,
    /// Its time is over.
    #[error("{}", self.reason())]
    Expired,
    /// Tokens of that time were revoked.
    #[error("{}", self.reason())]
    Revoked,
    /// The account may not be used, or is no more.
    #[error("{}", self.reason())]
    Disabled,
}

impl TokenError {
    /// Why a request is refused for it.
    pub fn reason(self) -> &'static str {
        match self {
            TokenError::Forged => "the token is not ours",
            TokenError::Expired => "the token has expired",
            TokenError::Revoked => "the token was revoked",
            TokenError::Disabled => "the account of the token may not be used",
        }
    }
}

impl TokenKey {
    /// Derived from what a home keeps over restarts.
    pub fn new(secret: &[u8; 32]) -> TokenKey {
        let key = Sha256::new().chain_update(secret).chain_update(b"sign-in tokens").finalize();
        TokenKey(Zeroizing::new(key.into()))
    }

    /// A key as [`TokenKey::octets`] gave it.
    pub fn from_octets(octets: [u8; 32]) -> TokenKey {
        TokenKey(Zeroizing::new(octets))
    }

    /// For a Director, which judges tokens of its homes; for nobody else.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Writes a token.
    pub fn issue(&self, claims: &Claims) -> String {
        self.write(SIGN_IN, claims)
    }

    /// What a token says, if it is ours and not over. Whether its account still honours it is [`Claims::check`]'s.
    pub fn read(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        if token.len() != TOKEN_CHARACTERS {
            return Err(TokenError::Forged);
        }
        let mut octets = [0; TOKEN_OCTETS];
        match URL_SAFE_NO_PAD.decode_slice_unchecked(token, &mut octets) {
            Ok(TOKEN_OCTETS) => {}
            Ok(_) | Err(_) => return Err(TokenError::Forged),
        }
        let (payload, digest) = octets.split_at(PAYLOAD_OCTETS);
        // In constant time.
        self.mac(payload).verify_slice(digest).map_err(|_| TokenError::Forged)?;
        let number = |at: usize| {
            u64::from_be_bytes(payload[at..at + 8].try_into().expect("eight octets of the payload"))
        };
        if payload[0] != SIGN_IN {
            return Err(TokenError::Forged);
        }
        let claims = Claims {
            user: UserId(number(1)),
            signed_in_unix_ms: number(9),
            issued_unix_ms: number(17),
            expires_unix_ms: number(25),
        };
        claims.remaining(now).map(|_| claims).ok_or(TokenError::Expired)
    }

    fn write(&self, purpose: u8, claims: &Claims) -> String {
        let mut octets = Vec::with_capacity(TOKEN_OCTETS);
        octets.push(purpose);
        let Claims { user, signed_in_unix_ms, issued_unix_ms, expires_unix_ms } = claims;
        for number in [user.0, *signed_in_unix_ms, *issued_unix_ms, *expires_unix_ms] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        let digest = self.mac(&octets).finalize().into_bytes();
        octets.extend_from_slice(&digest);
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        mac.chain_update(payload)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl Claims {
    /// Whether the account honours it: one that may be used, whose tokens count since `since_unix_ms`.
    pub fn check(&self, is_enabled: bool, since_unix_ms: u64) -> Result<(), TokenError> {
        match (is_enabled, self.issued_unix_ms >= since_unix_ms) {
            (true, true) => Ok(()),
            (false, _) => Err(TokenError::Disabled),
            (true, false) => Err(TokenError::Revoked),
        }
    }

    /// How long it is still good; `None` if it is over.
    pub fn remaining(&self, now: UnixMillis) -> Option<Duration> {
        self.expires_unix_ms.checked_sub(now.0).filter(|left| *left > 0).map(Duration::from_millis)
    }
}

/// The token of a header's value that says `Bearer` (RFC 6750 §2.1, RFC 8898 §4).
pub fn bearer(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The value of WWW-Authenticate or Proxy-Authenticate for somebody whose token signs nobody in (RFC 8898 §4, RFC 6750 §3): another
/// one is to be had from `server`, an HTTPS URI.
///
/// COMPAT: nobody else is offered this scheme. Linphone 5.1, JsSIP or SIP.js do not sign in where it stands behind Digest's.
pub fn challenge(realm: &str, server: &str) -> String {
    ["Bearer realm=\"", realm, "\", scope=\"sip\", authz_server=\"", server, "\", error=\"invalid_token\""]
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn claims() -> Claims {
        Claims {
            user: UserId(7),
            signed_in_unix_ms: NOW.0 - 5_000,
            issued_unix_ms: NOW.0,
            expires_unix_ms: NOW.0 + 60_000,
        }
    }

    fn key() -> TokenKey {
        TokenKey::new(&[1; 32])
    }

    #[test]
    fn what_was_issued_is_read_until_it_ends() {
        let token = key().issue(&claims());
        assert_eq!(token.len(), TOKEN_CHARACTERS);
        assert_eq!(key().read(&token, NOW), Ok(claims()));
        assert_eq!(TokenKey::from_octets(*key().octets()).read(&token, NOW), Ok(claims()));
        assert_eq!(key().read(&token, UnixMillis(NOW.0 + 59_999)), Ok(claims()));
        assert_eq!(key().read(&token, UnixMillis(NOW.0 + 60_000)), Err(TokenError::Expired));
        assert_eq!(claims().remaining(UnixMillis(NOW.0 + 59_000)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_token_that_was_touched_in_any_place_is_forged() {
        let token = key().issue(&claims());
        for at in 0..token.len() {
            for other in [b'A', b'B', b'_', b'=', b' '] {
                let mut touched = token.clone().into_bytes();
                if std::mem::replace(&mut touched[at], other) == other {
                    continue;
                }
                let touched = String::from_utf8(touched).unwrap();
                assert_eq!(key().read(&touched, NOW), Err(TokenError::Forged), "{touched}");
            }
        }
        for text in ["", "A", &token[1..], &format!("{token}A"), &"ü".repeat(TOKEN_CHARACTERS / 2)] {
            assert_eq!(key().read(text, NOW), Err(TokenError::Forged), "{text}");
        }
    }

    #[test]
    fn another_servers_token_and_one_for_something_else_are_forged() {
        let other = TokenKey::new(&[2; 32]).issue(&claims());
        assert_eq!(key().read(&other, NOW), Err(TokenError::Forged));
        let other = key().write(SIGN_IN + 1, &claims());
        assert_eq!(key().read(&other, NOW), Err(TokenError::Forged));
    }

    #[test]
    fn a_revoked_token_and_a_disabled_account_sign_nobody_in() {
        assert_eq!(claims().check(true, 0), Ok(()));
        assert_eq!(claims().check(true, NOW.0), Ok(()));
        assert_eq!(claims().check(true, NOW.0 + 1), Err(TokenError::Revoked));
        assert_eq!(claims().check(false, 0), Err(TokenError::Disabled));
    }

    #[test]
    fn bearer_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(bearer(b"Bearer abc.def"), Some("abc.def"));
        assert_eq!(bearer(b" bearer  abc "), Some("abc"));
        for value in [&b"Digest username=\"a\""[..], b"Bearer", b"Bearerabc", b"\xff"] {
            assert_eq!(bearer(value), None);
        }
    }

    #[test]
    fn a_challenge_says_where_tokens_are_given() {
        let server = "https://sip.contoso.example";
        assert_eq!(
            challenge("contoso.example", server),
            "Bearer realm=\"contoso.example\", scope=\"sip\", authz_server=\"https://sip.contoso.example\", error=\"invalid_token\""
        );
    }
}
