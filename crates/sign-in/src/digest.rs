//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): challenges, and what an answer to one proves.
//!
//! A stranger cannot tell a known account from an unknown one: both cost the same arithmetic on secrets from the same
//! memory, and get the same answer.

use std::borrow::Cow;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use directory::{DigestSecrets, UserId};
use node::Instant;
use sip_message::AuthParams;
use sip_message::digest::{Algorithm, Ha1, ResponseInput, verify};
use siphasher::sip::SipHasher13;

use crate::nonce::{Nonces, Used, Worth};
use crate::throttle::Throttle;
use crate::{Accounts, AddressKey};

/// Challenges, and judges what answers them.
pub struct Authenticator {
    nonces: Nonces,
    throttle: Throttle,
    /// Stands in for the secrets of accounts that have none.
    nobody: DigestSecrets,
    fingerprint_key: [u8; 16],
}

/// A request that carries credentials.
pub struct Attempt<'a> {
    /// The realm that was asked for: one of our domains.
    pub realm: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The credentials.
    pub credentials: Credentials<'a>,
    /// The request's body, for `auth-int`.
    pub body: &'a [u8],
    /// Where it came from.
    pub source: IpAddr,
    /// The datagram that it came in, where no transaction absorbs what comes twice.
    pub datagram: Option<Datagram<'a>>,
}

/// What a client sends again, octet for octet and from the same place, until it is answered (RFC 3261 §17.1.2.2).
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    /// All of it: an answer to a challenge covers neither Contact nor, with `auth`, the body.
    pub octets: &'a [u8],
    /// Where it came from.
    pub remote: SocketAddr,
}

/// What credentials prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The sender is this user.
    User(UserId),
    /// The sender is this user, by the app password of the user name in the credentials.
    AppPassword(UserId),
    /// Nothing, but only because the nonce is too old, of another network, or used: ask again with `stale`.
    Stale,
    /// Nothing.
    Wrong(&'static str),
    /// Too many wrong passwords came before; this one was not looked at.
    Wait(Duration),
}

impl Authenticator {
    /// `secret` is kept over restarts, `boot` is fresh.
    pub fn new(secret: &[u8; 32], boot: &[u8; 32], nonce_lifetime: Duration) -> Authenticator {
        let derive = |purpose: u8| -> [u8; 32] {
            use sha2::{Digest, Sha256};
            Sha256::new().chain_update(secret).chain_update([purpose]).finalize().into()
        };
        let half = |key: [u8; 32]| -> [u8; 16] { key[..16].try_into().expect("32 octets have 16") };
        Authenticator {
            nonces: Nonces::new(
                half(derive(b'n')),
                boot[28..].try_into().expect("32 octets end in 4"),
                nonce_lifetime,
            ),
            throttle: Throttle::new(half(derive(b't'))),
            nobody: DigestSecrets { md5: half(derive(b'm')), sha256: derive(b's') },
            fingerprint_key: half(derive(b'f')),
        }
    }

    /// From now on nonces are good for so long, also those that were made before.
    pub fn live_for(&mut self, nonce_lifetime: Duration) {
        self.nonces.live_for(nonce_lifetime);
    }

    /// The values of WWW-Authenticate or Proxy-Authenticate, in the order of `offer`, for whoever asks from `source`.
    pub fn challenges<'a>(
        &mut self,
        now: Instant,
        source: IpAddr,
        realm: &'a str,
        stale: bool,
        offer: &'a [Algorithm],
    ) -> impl Iterator<Item = String> + use<'a> {
        let nonce = self.nonces.make(now, source);
        let stale = if stale { ", stale=true" } else { "" };
        offer.iter().map(move |algorithm| {
            let (nonce, algorithm) = (nonce.as_str(), algorithm.name());
            [
                "Digest realm=\"",
                realm,
                "\", nonce=\"",
                nonce,
                "\", algorithm=",
                algorithm,
                ", qop=\"auth\"",
                stale,
            ]
            .concat()
        })
    }

    /// Judges an attempt.
    pub fn judge(&mut self, now: Instant, accounts: &impl Accounts, attempt: &Attempt<'_>) -> Proof {
        let Credentials { username, nonce, uri, response, algorithm, qop, nc, cnonce, .. } =
            &attempt.credentials;
        let (Some(username), Some(nonce), Some(uri), Some(response)) = (username, nonce, uri, response)
        else {
            return Proof::Wrong("credentials lack username, nonce, uri or response");
        };
        let key = AddressKey::new(username, attempt.realm);
        let found = accounts.account(&key);
        let account = found.filter(|account| account.is_enabled);
        let user = account.map(|account| account.user);
        if let Some(wait) = self.throttle.wait(now, attempt.source, key.user(), user) {
            return Proof::Wait(wait);
        }
        let algorithm = match algorithm.as_deref() {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return Proof::Wrong("an algorithm that was not offered"),
        };
        let worth = self.nonces.judge(now, attempt.source, nonce);
        match worth {
            Worth::Forged => return Proof::Wrong("the nonce is not ours"),
            // Unseen, so that it is no way to guess: wrong passwords count where they come from, or not at all.
            Worth::Elsewhere => return Proof::Stale,
            Worth::Good(_) | Worth::Stale => {}
        }
        let secrets = account.and_then(|account| account.secrets);
        let looked_at = found.or_else(|| accounts.stand_in(&key)).and_then(|account| account.secrets);
        let known = looked_at.unwrap_or(&self.nobody);
        let ha1 = match algorithm {
            Algorithm::Md5 => Ha1::Md5(known.md5),
            _ => Ha1::Sha256(known.sha256),
        };
        let input = ResponseInput {
            method: attempt.method,
            uri,
            nonce,
            qop: qop.as_deref(),
            nc: nc.as_deref().unwrap_or(""),
            cnonce: cnonce.as_deref().unwrap_or(""),
            body: attempt.body,
        };
        let is_right = verify(&ha1, &input, response);
        let (true, Some(account), Some(_)) = (is_right, account, secrets) else {
            self.throttle.failed(now, attempt.source, key.user());
            return Proof::Wrong("wrong password, or no such account");
        };
        let Worth::Good(nonce) = worth else { return Proof::Stale };
        let count = match (qop, nc) {
            (None, _) => 1,
            (Some(_), Some(nc)) => match u32::from_str_radix(nc, 16) {
                Ok(count) if nc.len() == 8 => count,
                _ => return Proof::Wrong("the nonce count is no number of 8 digits"),
            },
            (Some(_), None) => return Proof::Wrong("qop without a nonce count"),
        };
        let datagram = attempt.datagram.map(|datagram| self.fingerprint(&datagram));
        match self.nonces.spend(now, nonce, count, datagram) {
            Used::Fresh => {
                self.throttle.succeeded(now, attempt.source, key.user(), account.user);
                account.proof()
            }
            Used::Again => account.proof(),
            Used::Replayed => Proof::Stale,
        }
    }

    /// How long `source` must wait before something that proves to be `name` (`user`, if it is somebody's) is looked at; `None` if it need
    /// not: for what is no Digest. [`Authenticator::failed`] and [`Authenticator::succeeded`] tell what came of it.
    pub fn wait(&self, now: Instant, source: IpAddr, name: &str, user: Option<UserId>) -> Option<Duration> {
        self.throttle.wait(now, source, name, user)
    }

    /// It proved nothing: it counts like a wrong password.
    pub fn failed(&mut self, now: Instant, source: IpAddr, name: &str) {
        self.throttle.failed(now, source, name);
    }

    /// It proved who it is.
    pub fn succeeded(&mut self, now: Instant, source: IpAddr, name: &str, user: UserId) {
        self.throttle.succeeded(now, source, name, user);
    }

    fn fingerprint(&self, datagram: &Datagram<'_>) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.fingerprint_key);
        match datagram.remote.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(datagram.remote.port());
        hasher.write(datagram.octets);
        hasher.finish()
    }

    /// When a client that must wait may try again, in whole seconds.
    pub fn retry_after(wait: Duration) -> u64 {
        wait.as_secs().max(1)
    }
}

impl crate::Account<'_> {
    fn proof(&self) -> Proof {
        match self.is_app_password {
            true => Proof::AppPassword(self.user),
            false => Proof::User(self.user),
        }
    }
}

/// What a client is offered: the stronger first (RFC 8760 §2.3), but for clients that fail on it. They are weaker by their own choice: MD5 is
/// offered to everybody.
pub fn offer(user_agent: Option<&[u8]>) -> &'static [Algorithm] {
    match user_agent {
        // COMPAT: SIPp 3.6.1 looks at the first challenge alone and knows MD5 only. It is the one client without a name.
        None => &[Algorithm::Md5, Algorithm::Sha256],
        Some(name) if is_old_libre(name) => &[Algorithm::Md5],
        Some(_) => &[Algorithm::Sha256, Algorithm::Md5],
    }
}

/// COMPAT: baresip before 2.9 (Debian 12 has 1.0.0) gives up at a challenge with another algorithm than MD5, wherever it stands; and while it is
/// challenged after a wrong password it repeats that at once, without end, until the guesser that it looks like is slowed down and its owner with it.
pub fn is_old_libre(user_agent: &[u8]) -> bool {
    let Some(version) = user_agent.strip_prefix(b"baresip v") else { return false };
    let mut numbers = version.split(|octet| !octet.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| std::str::from_utf8(n).ok()?.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => (major, minor) < (2, 9),
        _ => false,
    }
}

/// The parameters of credentials that are looked at, found in one pass.
#[derive(Default)]
pub struct Credentials<'a> {
    realm: Option<Cow<'a, str>>,
    username: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    response: Option<Cow<'a, str>>,
    algorithm: Option<Cow<'a, str>>,
    qop: Option<Cow<'a, str>>,
    nc: Option<Cow<'a, str>>,
    cnonce: Option<Cow<'a, str>>,
}

/// Where a parameter's value is kept.
type Field<'a> = for<'c> fn(&'c mut Credentials<'a>) -> &'c mut Option<Cow<'a, str>>;

impl<'a> Credentials<'a> {
    /// Those of a value, where they are for Digest.
    fn read(value: &'a [u8]) -> Option<Credentials<'a>> {
        let mut given = Credentials::default();
        let has_escapes = value.contains(&b'\\');
        let params = AuthParams::parse_and_show(value, |name, value| {
            // Nearly all clients write the names as the RFC does.
            let field = Credentials::field(name).or_else(|| Credentials::field(&name.to_ascii_lowercase()));
            if let Some(field) = field {
                field(&mut given).get_or_insert_with(|| unquoted(value, has_escapes));
            }
        });
        params.ok()?.scheme.eq_ignore_ascii_case("Digest").then_some(given)
    }

    /// The user name, as it was given.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The `uri` that was signed.
    pub fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    fn field(lower_name: &str) -> Option<Field<'a>> {
        Some(match lower_name {
            "realm" => |c| &mut c.realm,
            "username" => |c| &mut c.username,
            "nonce" => |c| &mut c.nonce,
            "uri" => |c| &mut c.uri,
            "response" => |c| &mut c.response,
            "algorithm" => |c| &mut c.algorithm,
            "qop" => |c| &mut c.qop,
            "nc" => |c| &mut c.nc,
            "cnonce" => |c| &mut c.cnonce,
            _ => return None,
        })
    }
}

/// A parameter's value without its quotes (RFC 3261 §25.1, quoted-string).
fn unquoted(value: &str, has_escapes: bool) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !has_escapes {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    Cow::Owned(plain)
}

/// The first Digest credentials for a realm among several values (RFC 3261 §22.3: a request may carry some for other proxies too).
pub fn credentials_for<'a>(values: impl Iterator<Item = &'a [u8]>, realm: &str) -> Option<Credentials<'a>> {
    values
        .filter_map(Credentials::read)
        .find(|given| given.realm.as_deref().is_some_and(|r| r.eq_ignore_ascii_case(realm)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn username(value: &str) -> Option<String> {
        let credentials = credentials_for([value.as_bytes()].into_iter(), "contoso.example")?;
        Some(credentials.username?.into_owned())
    }

    #[test]
    fn credentials_are_read_in_any_case_and_with_escapes() {
        for value in [
            r#"Digest username="al\"ice", realm="contoso.example""#,
            r#"digest Realm="contoso.example",opaque="",USERNAME="al\"ice",username="mallory""#,
        ] {
            assert_eq!(username(value).as_deref(), Some("al\"ice"), "{value}");
        }
        assert_eq!(username(r#"Digest username=alice, realm="CONTOSO.example""#).as_deref(), Some("alice"));
        assert_eq!(username(r#"Digest username="alice", realm="other.example""#), None);
    }

    #[test]
    fn old_libre_is_offered_md5_alone() {
        let offers = |name: &str| offer(Some(name.as_bytes()));
        assert_eq!(offers("baresip v1.0.0 (x86_64/linux)"), [Algorithm::Md5]);
        assert_eq!(offers("baresip v2.8.2"), [Algorithm::Md5]);
        for name in ["baresip v2.9.0", "baresip v3.17.0", "baresip v", "baresip", "Linphone v1.0.0", ""] {
            assert_eq!(offers(name), [Algorithm::Sha256, Algorithm::Md5], "{name}");
        }
        assert_eq!(offer(None), [Algorithm::Md5, Algorithm::Sha256]);
    }
}
