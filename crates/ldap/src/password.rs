//! Passwords: never empty, never shown, wiped when they are dropped.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Octets of a password. Active Directory's longest has 256 characters.
pub const PASSWORD_OCTETS_MAX: usize = 1024;

/// A password that may go into a bind. An empty one would make a simple bind anonymous, which succeeds (RFC 4513 §5.1.2): it cannot be
/// made into this type.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is empty.
    #[error("the password is empty")]
    Empty,
    /// It is longer than [`PASSWORD_OCTETS_MAX`], or has a NUL in it.
    #[error("the password is too long, or has a NUL in it")]
    Unusable,
    /// Its file cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

impl Password {
    /// Refuses what must never be sent.
    pub fn new(text: impl Into<String>) -> Result<Password, PasswordError> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(PasswordError::Empty);
        }
        if text.len() > PASSWORD_OCTETS_MAX || text.contains('\0') {
            return Err(PasswordError::Unusable);
        }
        Ok(Password(text))
    }

    /// The first line of a file.
    pub fn from_file(path: &Path) -> Result<Password, PasswordError> {
        let of_file = |error| PasswordError::File { path: path.to_owned(), error };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(of_file)?);
        Password::new(text.lines().next().unwrap_or_default())
    }

    /// For the bind alone.
    pub(crate) fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// As Active Directory takes it in `unicodePwd`: in quotes, UTF-16, low octet first ([MS-ADTS] 3.1.1.3.1.5).
    pub(crate) fn quoted_utf16(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it at once: a vector that grows leaves copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(2 * self.0.len() + 4));
        let quoted = "\"".encode_utf16().chain(self.0.encode_utf16()).chain("\"".encode_utf16());
        quoted.for_each(|unit| octets.extend(unit.to_le_bytes()));
        octets
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_password_is_none() {
        assert!(matches!(Password::new(""), Err(PasswordError::Empty)));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Password::from_file(file.path()), Err(PasswordError::Empty)));
        std::fs::write(file.path(), "\nsecret\n").unwrap();
        assert!(matches!(Password::from_file(file.path()), Err(PasswordError::Empty)));
    }

    #[test]
    fn a_file_gives_its_first_line_each_time_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for secret in ["one", "two words "] {
            std::fs::write(file.path(), format!("{secret}\r\n")).unwrap();
            assert_eq!(Password::from_file(file.path()).unwrap().octets(), secret.as_bytes());
        }
        assert!(matches!(Password::from_file(Path::new("/nowhere/at-all")), Err(PasswordError::File { .. })));
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_and_none_is_shown() {
        assert!(matches!(Password::new("a\0b"), Err(PasswordError::Unusable)));
        assert!(matches!(Password::new("x".repeat(PASSWORD_OCTETS_MAX + 1)), Err(PasswordError::Unusable)));
        assert_eq!(format!("{:?}", Password::new("secret").unwrap()), "Password(…)");
        assert_eq!(Password::new("aé").unwrap().quoted_utf16().as_slice(), b"\"\0a\0\xe9\0\"\0");
    }
}
