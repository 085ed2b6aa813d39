//! SIP addresses and domain names, normalised.

use std::fmt;

/// Longest domain name (RFC 1035 §3.1), in octets.
const DOMAIN_OCTETS_MAX: usize = 253;
/// Longest user part that an account may have, in octets. RFC 5321 §4.5.3.1.1 gives mail addresses 64; SIP sets no
/// bound, and 128 leaves room for escaped names while a table row stays small.
const USER_OCTETS_MAX: usize = 128;

/// A DNS domain in lower case, without a dot at its end, at most 253 octets of labels of 1 to 63 letters, digits
/// and hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

/// An address of record: `user@domain`, without scheme, port, parameters or escapes.
///
/// Two addresses are the same exactly when they are equal. The domain is in lower case; so is the user part, against
/// the letter of RFC 3261 §19.1.4, because people and directories write mail-like addresses in any case
/// (`docs/deviations.md`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SipAddress {
    text: Box<str>,
    at: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing before it.
    #[error("an address is written user@domain")]
    NoUser,
    /// The domain is no DNS name.
    #[error("the part behind @ is not a domain name")]
    BadDomain,
    /// The user part holds a blank, a control character or one of `@ < > " , ; ? : \ /`.
    #[error("the part before @ holds a character that an address may not have")]
    BadUser,
    /// Longer than an account's address may be.
    #[error("the address is too long")]
    TooLong,
}

impl DomainName {
    /// Checks and normalises.
    pub fn parse(text: &str) -> Result<DomainName, AddressError> {
        Ok(DomainName(checked_domain(text)?.to_ascii_lowercase().into()))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A DNS domain without the dot at its end, in any case.
fn checked_domain(text: &str) -> Result<&str, AddressError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.len() > DOMAIN_OCTETS_MAX {
        return Err(AddressError::TooLong);
    }
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !text.split('.').all(label_fits) {
        return Err(AddressError::BadDomain);
    }
    Ok(text)
}

impl SipAddress {
    /// Reads `user@domain` or `sip:user@domain`, already unescaped, and normalises it.
    pub fn parse(text: &str) -> Result<SipAddress, AddressError> {
        let text = text.strip_prefix("sip:").unwrap_or(text);
        let (user, domain) = text.rsplit_once('@').ok_or(AddressError::NoUser)?;
        SipAddress::from_parts(user, domain)
    }

    /// Makes an address of its parts; `user` is unescaped.
    pub fn new(user: &str, domain: &DomainName) -> Result<SipAddress, AddressError> {
        SipAddress::of(user, domain.as_str())
    }

    /// The same with a domain that has yet to be checked and normalised.
    pub fn from_parts(user: &str, domain: &str) -> Result<SipAddress, AddressError> {
        SipAddress::of(user, checked_domain(domain)?)
    }

    /// `domain` is one, in any case.
    fn of(user: &str, domain: &str) -> Result<SipAddress, AddressError> {
        if user.is_empty() {
            return Err(AddressError::NoUser);
        }
        if user.len() > USER_OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        let forbidden = |c: char| {
            c.is_control()
                || c.is_whitespace()
                || matches!(c, '@' | '<' | '>' | '"' | ',' | ';' | '?' | ':' | '\\' | '/')
        };
        if user.chars().any(forbidden) {
            return Err(AddressError::BadUser);
        }
        let mut text = String::with_capacity(user.len() + 1 + domain.len());
        if user.is_ascii() {
            text.push_str(user);
        } else {
            text.push_str(&user.to_lowercase());
        }
        let at = u16::try_from(text.len()).map_err(|_| AddressError::TooLong)?;
        text.push('@');
        text.push_str(domain);
        text.make_ascii_lowercase();
        Ok(SipAddress { text: text.into(), at })
    }

    /// The part before `@`, in lower case, unescaped.
    pub fn user(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The part behind `@`, in lower case.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// `user@domain`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for SipAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for SipAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<SipAddress, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        SipAddress::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SipAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_once() {
        let a = SipAddress::parse("sip:Alice@Contoso.EXAMPLE.").unwrap();
        assert_eq!((a.as_str(), a.user(), a.domain()), ("alice@contoso.example", "alice", "contoso.example"));
        assert_eq!(a, SipAddress::parse("alice@contoso.example").unwrap());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("alice", AddressError::NoUser),
            ("@contoso.example", AddressError::NoUser),
            ("al ice@contoso.example", AddressError::BadUser),
            ("al;ice@contoso.example", AddressError::BadUser),
            ("alice@contoso..example", AddressError::BadDomain),
            ("alice@-contoso.example", AddressError::BadDomain),
            ("alice@[::1]", AddressError::BadDomain),
        ] {
            assert_eq!(SipAddress::parse(text), Err(error), "{text}");
        }
        let long = format!("{}@contoso.example", "a".repeat(USER_OCTETS_MAX + 1));
        assert_eq!(SipAddress::parse(&long), Err(AddressError::TooLong));
    }
}
