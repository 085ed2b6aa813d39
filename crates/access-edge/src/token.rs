//! Sealed routes: what a Route entry of ours says when it comes back, readable for edges of our name alone.
//!
//! An entry that we put into Record-Route or Service-Route names no inside server. It bears a token in its user part:
//! the routes that it stands for, whom it was made for, and in which dialog, encrypted and authenticated (RFC 8452). Nothing is kept here:
//! every edge that has the key can read it, also after a restart. A token that was changed, comes from somebody else, or is
//! used in another dialog says so, each with its own reason.
//!
//! The nonce is made of the content, so that nothing need be random: the same content gives the same token, which tells an
//! observer no more than that two dialogs of one peer took the same way.

use std::fmt;

use aes_gcm_siv::aead::Aead;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What a sealed token begins with. No flow token does: base64url has no dot.
const PREFIX: &str = "r.";
/// Longest token that is opened, in characters: half a header block, far more than any way inside needs. What is longer was
/// not made here.
const TOKEN_CHARACTERS_MAX: usize = 16 * 1024;
/// Octets of a nonce (RFC 8452 §4).
const NONCE_OCTETS: usize = 12;
/// Octets that tell one dialog from another: nobody finds a second Call-ID for them.
const DIALOG_OCTETS: usize = 16;

/// Seals and opens. The first key seals, all open: a new key stands first, the old one behind it until its dialogs are over.
pub struct Sealer {
    keys: Vec<Key>,
}

struct Key {
    cipher: Aes256GcmSiv,
    nonce: Hmac<Sha256>,
}

/// Whom an entry was made for, and who alone may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A partner's SIP domain, in lower case.
    Partner(String),
    /// One of our users outside, by address: whichever connection it has now.
    User(String),
    /// Two members of a clearinghouse.
    Members(String, String),
}

/// From which side an entry comes back, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// From outside, in a dialog.
    FromOutside,
    /// From inside, in a dialog.
    FromInside,
    /// From outside, in any request of a registered user (RFC 3608).
    Service,
    /// A Contact of the inside, as others see it; no route, and of no dialog.
    Contact,
    /// A Contact of another organisation, as the inside sees it; no route, and of no dialog.
    TheirContact,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What it is for.
    pub purpose: Purpose,
    /// For whom.
    pub party: Party,
    /// The digest of its dialog's Call-ID; zeros where it belongs to none.
    pub dialog: [u8; DIALOG_OCTETS],
    /// The address by which the end of the dialog that the entry faces was called, where that is of another domain than the end
    /// itself: the call was forwarded to it. It keeps that address in From (RFC 3261 §12.2.1.1).
    pub called: Option<String>,
    /// The routes that it stands for, in the order in which they are to be followed; values with their `<>`.
    pub routes: Vec<String>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not ours, changed, or sealed with a key that is no longer in use.
    Forged,
    /// Ours, in a dialog that it was not made for.
    OtherDialog,
    /// Ours, from somebody whom it was not made for.
    OtherParty,
    /// Ours, from the other side or for another purpose.
    WrongSide,
}

impl TokenError {
    /// For the operator.
    pub fn reason(self) -> &'static str {
        match self {
            TokenError::Forged => {
                "a Route entry of ours bears a token that is forged or of a key that is gone"
            }
            TokenError::OtherDialog => "a Route entry of ours was replayed in another dialog",
            TokenError::OtherParty => "a Route entry of ours was used by somebody whom it was not made for",
            TokenError::WrongSide => "a Route entry of ours came back on the wrong side",
        }
    }
}

/// Keys are not shown.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("keys", &self.keys.len()).finish()
    }
}

impl Sealer {
    /// From keys of 32 octets, the one in use first; at least one.
    pub fn new(keys: &[[u8; 32]]) -> Sealer {
        assert!(!keys.is_empty(), "an edge has a token key");
        Sealer { keys: keys.iter().map(Key::new).collect() }
    }

    /// The token: characters of a SIP user part.
    pub fn seal(&self, sealed: &Sealed) -> String {
        let key = &self.keys[0];
        let content = sealed.write();
        let mut mac = key.nonce.clone();
        mac.update(&content);
        let nonce =
            Nonce::try_from(&mac.finalize().into_bytes()[..NONCE_OCTETS]).expect("a digest is longer");
        let text = key.cipher.encrypt(&nonce, &content[..]).expect("AES-GCM-SIV takes texts of this length");
        let octets = [&nonce[..], &text].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets))
    }

    /// Whether a user part looks like a token of this kind.
    pub fn is_token(user: &str) -> bool {
        user.starts_with(PREFIX)
    }

    /// What a token says, before anybody has asked whether it may be said here: see [`Sealed::check`].
    pub fn open(&self, user: &str) -> Result<Sealed, TokenError> {
        let text = user.strip_prefix(PREFIX).filter(|text| text.len() <= TOKEN_CHARACTERS_MAX);
        let octets = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(TokenError::Forged)?;
        let (nonce, text) = octets.split_at_checked(NONCE_OCTETS).ok_or(TokenError::Forged)?;
        let nonce = Nonce::try_from(nonce).expect("it has the length of a nonce");
        let content = self.keys.iter().find_map(|key| key.cipher.decrypt(&nonce, text).ok());
        content.and_then(|content| Sealed::read(&content)).ok_or(TokenError::Forged)
    }
}

impl Key {
    fn new(secret: &[u8; 32]) -> Key {
        let derive = |label: &str| -> [u8; 32] {
            let mut mac = hmac(secret);
            mac.update(label.as_bytes());
            mac.finalize().into_bytes().into()
        };
        Key {
            cipher: Aes256GcmSiv::new(&derive("chancery edge route").into()),
            nonce: hmac(&derive("chancery edge route nonce")),
        }
    }
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// What tells the dialog of this Call-ID from all others.
pub fn dialog_of(call_id: &str) -> [u8; DIALOG_OCTETS] {
    let digest: [u8; 32] = Sha256::digest(call_id.as_bytes()).into();
    digest[..DIALOG_OCTETS].try_into().expect("a digest is longer")
}

impl Sealed {
    /// Whether it may be used for this purpose, and in this dialog unless it belongs to none. Who uses it is for the caller
    /// to compare.
    pub fn check(&self, purposes: &[Purpose], call_id: &str) -> Result<(), TokenError> {
        if !purposes.contains(&self.purpose) {
            return Err(TokenError::WrongSide);
        }
        if self.purpose != Purpose::Service && self.dialog != dialog_of(call_id) {
            return Err(TokenError::OtherDialog);
        }
        Ok(())
    }

    /// Whether the end that the entry faces was called by this address, which is not of its own domain.
    pub fn was_called(&self, address: &str) -> bool {
        self.called.as_deref() == Some(address)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(match self.purpose {
            Purpose::FromOutside => b'o',
            Purpose::FromInside => b'i',
            Purpose::Service => b's',
            Purpose::Contact => b'c',
            Purpose::TheirContact => b't',
        });
        out.extend_from_slice(&self.dialog);
        let (party, names): (u8, [&str; 2]) = match &self.party {
            Party::Partner(domain) => (b'p', [domain, ""]),
            Party::User(address) => (b'u', [address, ""]),
            Party::Members(one, other) => (b'm', [one, other]),
        };
        // A capital says that one more text follows the names.
        out.push(if self.called.is_some() { party.to_ascii_uppercase() } else { party });
        let texts = names.into_iter().chain(self.called.as_deref());
        for text in texts.chain(self.routes.iter().map(String::as_str)) {
            let length = u16::try_from(text.len()).expect("names and routes are shorter than a header block");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    fn read(content: &[u8]) -> Option<Sealed> {
        let (purpose, rest) = content.split_first()?;
        let purpose = match purpose {
            b'o' => Purpose::FromOutside,
            b'i' => Purpose::FromInside,
            b's' => Purpose::Service,
            b'c' => Purpose::Contact,
            b't' => Purpose::TheirContact,
            _ => return None,
        };
        let (dialog, rest) = rest.split_first_chunk::<DIALOG_OCTETS>()?;
        let (party, mut rest) = rest.split_first()?;
        let mut texts = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (text, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            texts.push(str::from_utf8(text).ok()?.to_owned());
            rest = behind;
        }
        let has_called = party.is_ascii_uppercase();
        let mut routes = texts.split_off(texts.len().min(2));
        let called = if has_called { (!routes.is_empty()).then(|| Some(routes.remove(0)))? } else { None };
        let [one, other] = <[String; 2]>::try_from(texts).ok()?;
        let party = match party.to_ascii_lowercase() {
            b'p' => Party::Partner(one),
            b'u' => Party::User(one),
            b'm' => Party::Members(one, other),
            _ => return None,
        };
        (rest.is_empty()).then_some(Sealed { purpose, party, dialog: *dialog, called, routes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        Sealed {
            purpose: Purpose::FromOutside,
            party: Party::Partner("fabrikam.example".to_owned()),
            dialog: dialog_of("a call"),
            called: None,
            routes: vec!["<sip:dir.contoso.example:5061;transport=tls;lr>".to_owned(); 2],
        }
    }

    #[test]
    fn what_was_sealed_is_read_by_every_edge_with_the_key() {
        let (old, new) = ([1; 32], [2; 32]);
        let before = Sealer::new(&[old]);
        let token = before.seal(&sealed());
        assert!(
            Sealer::is_token(&token)
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        );
        assert_eq!(Sealer::new(&[new, old]).open(&token), Ok(sealed()), "while the key is being changed");
        assert_eq!(Sealer::new(&[new]).open(&token), Err(TokenError::Forged), "afterwards");
        assert_eq!(before.seal(&sealed()), token, "it depends on nothing else");
    }

    #[test]
    fn no_inside_name_can_be_seen() {
        let token = Sealer::new(&[[1; 32]]).seal(&sealed());
        let octets = URL_SAFE_NO_PAD.decode(&token[PREFIX.len()..]).unwrap();
        for name in [&b"contoso"[..], b"fabrikam"] {
            assert!(!octets.windows(name.len()).any(|window| window == name));
        }
    }

    #[test]
    fn every_changed_octet_is_noticed() {
        let sealer = Sealer::new(&[[1; 32]]);
        let token = sealer.seal(&sealed());
        for place in PREFIX.len()..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(sealer.open(&forged), Err(TokenError::Forged), "{place}");
        }
        let long = "A".repeat(TOKEN_CHARACTERS_MAX + 1);
        for forged in ["", "r.", "r.AAAA", "AAAA", &token[2..], &format!("{PREFIX}{long}")] {
            assert_eq!(sealer.open(forged), Err(TokenError::Forged), "{forged:.20}");
        }
    }

    #[test]
    fn a_token_is_good_in_its_dialog_and_on_its_side_alone() {
        let token = sealed();
        assert_eq!(token.check(&[Purpose::FromOutside], "a call"), Ok(()));
        assert_eq!(token.check(&[Purpose::FromOutside], "another"), Err(TokenError::OtherDialog));
        assert_eq!(token.check(&[Purpose::FromInside], "a call"), Err(TokenError::WrongSide));
        let service = Sealed { purpose: Purpose::Service, dialog: [0; 16], ..token };
        assert_eq!(service.check(&[Purpose::FromOutside, Purpose::Service], "any"), Ok(()));
    }

    #[test]
    fn all_parties_come_back() {
        let sealer = Sealer::new(&[[1; 32]]);
        for party in [
            Party::User("alice@contoso.example".into()),
            Party::Members("a.example".into(), "b.example".into()),
        ] {
            let token = Sealed { party, routes: Vec::new(), ..sealed() };
            assert_eq!(sealer.open(&sealer.seal(&token)), Ok(token.clone()));
            let called = Some("bob@contoso.example".to_owned());
            let forwarded = Sealed { called, routes: vec!["<sip:x;lr>".to_owned()], ..token };
            assert_eq!(sealer.open(&sealer.seal(&forwarded)), Ok(forwarded));
        }
    }
}
