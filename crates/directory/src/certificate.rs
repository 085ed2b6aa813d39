//! Client certificates that sign a user in. What counts is the certificate itself, by its digest, and not who issued it: an
//! administrator gave it to the user.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Certificates that a user may have at once: one for each device, and one more for each while they are replaced.
pub const CERTIFICATES_PER_USER_MAX: usize = 16;

/// SHA-256 of a whole certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateDigest(pub [u8; 32]);

/// A certificate that signs its user in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientCertificate {
    /// Which.
    pub digest: CertificateDigest,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// The text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest has 64 hexadecimal digits")]
pub struct DigestError;

impl ClientCertificate {
    /// How long it is good still; `None` once it has ended.
    pub fn remaining(&self, now_unix_ms: u64) -> Option<Duration> {
        let left = self.expires_unix_ms.checked_sub(now_unix_ms)?;
        (left > 0).then(|| Duration::from_millis(left))
    }
}

impl fmt::Display for CertificateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for CertificateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digits in any case; a colon may stand between octets, as other programs write fingerprints.
impl FromStr for CertificateDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<CertificateDigest, DigestError> {
        let has_colons = text.contains(':');
        let mut digest = [0; 32];
        let mut rest = text.as_bytes();
        for (place, octet) in digest.iter_mut().enumerate() {
            if has_colons && place > 0 {
                rest = rest.strip_prefix(b":").ok_or(DigestError)?;
            }
            let (digits, behind) = rest.split_at_checked(2).ok_or(DigestError)?;
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or(DigestError);
            let (high, low) = (value(digits[0])?, value(digits[1])?);
            *octet = u8::try_from(high * 16 + low).expect("two digits fit");
            rest = behind;
        }
        if rest.is_empty() { Ok(CertificateDigest(digest)) } else { Err(DigestError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_here_and_elsewhere() {
        let digest = CertificateDigest(std::array::from_fn(|n| u8::try_from(n * 8).unwrap()));
        let text = digest.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(digest));
        let fingerprint: Vec<String> = digest.0.iter().map(|octet| format!("{octet:02X}")).collect();
        assert_eq!(fingerprint.join(":").parse(), Ok(digest));
        for wrong in ["", "00", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..])] {
            assert_eq!(wrong.parse::<CertificateDigest>(), Err(DigestError), "{wrong}");
        }
        assert_eq!(format!("{}:{}", &text[..4], &text[4..]).parse::<CertificateDigest>(), Err(DigestError));
    }

    #[test]
    fn a_certificate_ends_with_its_last_millisecond() {
        let certificate = ClientCertificate { digest: CertificateDigest([1; 32]), expires_unix_ms: 10 };
        assert_eq!(certificate.remaining(9), Some(Duration::from_millis(1)));
        assert_eq!(certificate.remaining(10), None);
        assert_eq!(certificate.remaining(11), None);
    }
}
