//! Retry-After.

use super::HeaderError;
use crate::lex::decimal;

/// `Retry-After` (RFC 3261 §20.33): only the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// How long to wait.
    pub seconds: u32,
}

impl RetryAfter {
    /// Parses a value; comment and parameters are passed over. More than 2**32-1 seconds saturate.
    pub fn parse(value: &[u8]) -> Result<RetryAfter, HeaderError> {
        let malformed = HeaderError::Malformed("Retry-After");
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !matches!(value.get(digits), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | b';')) {
            return Err(malformed);
        }
        let seconds = decimal(&value[..digits]).ok_or(malformed)?;
        Ok(RetryAfter { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) })
    }
}
