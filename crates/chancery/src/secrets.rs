//! Randomness from the system: passwords, identifiers, keys.

use std::path::Path;

use anyhow::{Context, bail};
use directory::{DigestSecrets, SipAddress, UserId};
use sip_message::digest::{Algorithm, Ha1, ha1};

use crate::files;

/// 32 letters and digits that nobody confuses when reading them aloud: five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 25 characters of five bits: 125 bits, beyond guessing even against a stolen HA1.
const PASSWORD_GROUPS: usize = 5;
const PASSWORD_GROUP_CHARACTERS: usize = 5;

/// Name of the file, in the data folder, of the key behind nonces, GRUUs and flow tokens.
pub(crate) const SERVER_SECRET_FILE: &str = "secret.key";

/// A password such as `k7f2a-9xmqe-...`, for a person to type once.
pub(crate) fn password() -> anyhow::Result<String> {
    let bytes: [u8; PASSWORD_GROUPS * PASSWORD_GROUP_CHARACTERS] = random()?;
    let characters: Vec<char> = bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect();
    Ok(characters.chunks(PASSWORD_GROUP_CHARACTERS).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

/// 63 random bits: fits a signed column, and two of a million accounts meet with a chance of 1 in 18 million.
pub(crate) fn user_id() -> anyhow::Result<UserId> {
    Ok(UserId(u64::from_le_bytes(random()?) >> 1))
}

pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}

/// What is stored of a password: HA1 with the address's user part and domain (RFC 7616 §3.4.2).
pub(crate) fn digest_secrets(address: &SipAddress, password: &str) -> DigestSecrets {
    let of = |algorithm| ha1(algorithm, address.user(), address.domain(), password);
    match (of(Algorithm::Md5), of(Algorithm::Sha256)) {
        (Ha1::Md5(md5), Ha1::Sha256(sha256)) => DigestSecrets { md5, sha256 },
        _ => unreachable!("HA1 is of the algorithm that was asked for"),
    }
}

/// The key that must survive a restart, made on the first start.
pub(crate) fn server_secret(data_dir: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_dir.join(SERVER_SECRET_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(secret) => Ok(secret),
            Err(_) => bail!(
                "{} holds {} octets instead of 32\n  help: restore it from a backup, or remove it: clients then sign in \
                 anew and get new GRUUs",
                path.display(),
                bytes.len()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = random()?;
            files::write(&path, files::MODE_SECRET, &secret)?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_readable_and_different() {
        let (a, b) = (password().unwrap(), password().unwrap());
        assert_eq!(a.len(), 29);
        assert!(a.split('-').all(|g| g.len() == 5 && g.bytes().all(|c| ALPHABET.contains(&c))), "{a}");
        assert_ne!(a, b);
    }

    #[test]
    fn ids_fit_a_signed_column() {
        assert!((0..1000).all(|_| user_id().unwrap().0 <= i64::MAX as u64));
    }

    #[test]
    fn the_server_secret_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = server_secret(dir.path()).unwrap();
        assert_eq!(server_secret(dir.path()).unwrap(), first);
        assert_eq!(files::mode(&dir.path().join(SERVER_SECRET_FILE)).unwrap(), 0o600);
        std::fs::write(dir.path().join(SERVER_SECRET_FILE), "short").unwrap();
        assert!(server_secret(dir.path()).unwrap_err().to_string().contains("help:"));
    }

    #[test]
    fn digest_secrets_are_those_of_the_rfc_form() {
        let address = SipAddress::parse("Mufasa@example.org").unwrap();
        let secrets = digest_secrets(&address, "Circle of Life");
        // echo -n 'mufasa:example.org:Circle of Life' | md5sum; the same with sha256sum
        assert_eq!(secrets.md5[..4], [0xae, 0x07, 0xe4, 0x03]);
        assert_eq!(secrets.sha256[..4], [0x21, 0x69, 0x81, 0x9f]);
    }
}
