//! Authorization and its kin.

use std::borrow::Cow;

use super::HeaderError;
use super::params::unquote;
use crate::lex::{self, AUTH_VALUE, TOKEN, quoted, skip_lws, span, trim};

/// Scheme and comma-separated parameters of an Authorization, Proxy-Authorization, WWW-Authenticate,
/// Proxy-Authenticate or Authentication-Info value (RFC 3261 §20.7, RFC 7616 §3.3, §3.4).
#[derive(Clone, Copy, Debug)]
pub struct AuthParams<'a> {
    /// `Digest`, `Bearer`, ...; empty for Authentication-Info.
    pub scheme: &'a str,
    /// Everything behind the scheme, as written.
    pub text: &'a str,
}

impl<'a> AuthParams<'a> {
    /// Parses a value that begins with a scheme. What follows must be a list of parameters for `Digest` and `NTLM`;
    /// other schemes may have any text there (`Bearer`, RFC 8898).
    pub fn parse(value: &'a [u8]) -> Result<AuthParams<'a>, HeaderError> {
        AuthParams::parse_and_show(value, |_, _| {})
    }

    /// [`AuthParams::parse`], which walks over the parameters of `Digest` and `NTLM` anyway and shows each on the way, as
    /// [`AuthParams::iter`] would. Where it fails, it may have shown some.
    #[inline]
    pub fn parse_and_show(
        value: &'a [u8],
        mut show: impl FnMut(&'a str, &'a str),
    ) -> Result<AuthParams<'a>, HeaderError> {
        let malformed = HeaderError::Malformed("Authorization");
        let text = lex::text(trim(value)).ok_or(malformed)?;
        let scheme_end = span(text.as_bytes(), TOKEN);
        let start = skip_lws(text.as_bytes(), scheme_end);
        if scheme_end == 0 || (start == scheme_end && start < text.len()) {
            return Err(malformed);
        }
        let params = AuthParams { scheme: &text[..scheme_end], text: &text[start..] };
        let has_params = ["Digest", "NTLM"].iter().any(|scheme| params.scheme.eq_ignore_ascii_case(scheme));
        if has_params && !params.show_list(&mut show) { Err(malformed) } else { Ok(params) }
    }

    /// Parses a value without a scheme (Authentication-Info).
    pub fn parse_info(value: &'a [u8]) -> Result<AuthParams<'a>, HeaderError> {
        let malformed = HeaderError::Malformed("Authentication-Info");
        let text = lex::text(trim(value)).ok_or(malformed)?;
        let params = AuthParams { scheme: "", text };
        if params.show_list(&mut |_, _| {}) { Ok(params) } else { Err(malformed) }
    }

    /// A parameter's value, quotes and escapes undone; names compare without case.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| unquote(value))
    }

    /// All parameters in order, values as written (quotes included).
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Iter { rest: self.text }
    }

    /// Whether nothing but parameters stands there.
    fn show_list(&self, show: &mut impl FnMut(&'a str, &'a str)) -> bool {
        let mut iter = Iter { rest: self.text };
        for (name, value) in &mut iter {
            show(name, value);
        }
        iter.rest.is_empty()
    }
}

/// Stops, with `rest` left, at the first thing that is no parameter.
struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let (text, bytes) = (self.rest, self.rest.as_bytes());
        let name_start = skip_lws(bytes, 0);
        let name_end = name_start + span(&bytes[name_start..], TOKEN);
        let equals = skip_lws(bytes, name_end);
        if name_end == name_start || bytes.get(equals) != Some(&b'=') {
            return None;
        }
        let value_start = skip_lws(bytes, equals + 1);
        let value_end = match bytes.get(value_start) {
            Some(b'"') => value_start + quoted(&bytes[value_start..])?,
            _ => value_start + span(&bytes[value_start..], AUTH_VALUE),
        };
        let next = skip_lws(bytes, value_end);
        self.rest = match bytes.get(next) {
            None => "",
            // A comma behind the last parameter is tolerated: HTTP's lists allow it (RFC 9110 §5.6.1).
            Some(b',') => &text[skip_lws(bytes, next + 1)..],
            Some(_) => return None,
        };
        Some((&text[name_start..name_end], &text[value_start..value_end]))
    }
}
