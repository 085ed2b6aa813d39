//! Parameters of headers and URIs.

use std::borrow::Cow;
use std::ops::Range;

use crate::lex::{PARAM_NAME, PARAM_VALUE, quoted, skip_lws, span};

/// `;name=value` parameters, in order, names compared without case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    /// As written, from the first `;` on; empty where there are none.
    pub text: &'a str,
}

impl<'a> Params<'a> {
    /// The value of a parameter as written (quotes included); `Some("")` where it stands without a value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        loop {
            let param = Param::at(bytes, at)?;
            if bytes[param.name].eq_ignore_ascii_case(name.as_bytes()) {
                return Some(&self.text[param.value]);
            }
            at = param.value.end;
        }
    }

    /// The value with quotes and their escapes undone.
    pub fn get_unquoted(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).map(unquote)
    }

    /// Whether it stands there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Iter { rest: self.text }
    }
}

/// Undoes quotes and their escapes; anything else is returned as it is.
pub(super) fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Cow::Owned(plain)
}

struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let text = self.rest;
        let param = Param::at(text.as_bytes(), 0)?;
        self.rest = &text[param.value.end..];
        Some((&text[param.name], &text[param.value]))
    }
}

/// Where one parameter stands.
struct Param {
    name: Range<usize>,
    /// Empty where there is none; the next parameter is looked for behind it.
    value: Range<usize>,
}

impl Param {
    /// The parameter whose `;` stands at `at` or behind white space there. `None` at the first thing that is no
    /// parameter; whoever parsed the value has refused it there.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Option<Param> {
        let semicolon = skip_lws(bytes, at);
        if bytes.get(semicolon) != Some(&b';') {
            return None;
        }
        let name_start = skip_lws(bytes, semicolon + 1);
        let name_end = name_start + span(&bytes[name_start..], PARAM_NAME);
        let equals = skip_lws(bytes, name_end);
        if bytes.get(equals) != Some(&b'=') {
            return Some(Param { name: name_start..name_end, value: equals..equals });
        }
        let value_start = skip_lws(bytes, equals + 1);
        let value_end = match bytes.get(value_start) {
            Some(b'"') => quoted(&bytes[value_start..]).map_or(bytes.len(), |length| value_start + length),
            _ => value_start + span(&bytes[value_start..], PARAM_VALUE),
        };
        Some(Param { name: name_start..name_end, value: value_start..value_end })
    }
}
