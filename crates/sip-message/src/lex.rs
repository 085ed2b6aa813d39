//! Character classes and small scanners that all parsers here share (RFC 3261 §25.1).
//!
//! A header value may hold folds (CRLF and blanks, RFC 3261 §7.3.1); [`crate::Message::parse`] has already refused
//! every CR or LF that is no fold, so the scanners here count both as white space.

mod sixteen;

use std::ops::Range;

use ascii::AsciiStr;

pub(crate) use self::sixteen::{first_of, first_of_far};

/// `token`.
pub(crate) const TOKEN: u16 = 1;
/// `user`, but for escapes.
pub(crate) const USER: u16 = 1 << 1;
/// `password`, but for escapes.
pub(crate) const PASSWORD: u16 = 1 << 2;
/// `paramchar` of URI parameters, but for escapes.
pub(crate) const URI_PARAM: u16 = 1 << 3;
/// `hname` and `hvalue` of URI headers with `=` and `&`, but for escapes.
pub(crate) const URI_HEADER: u16 = 1 << 4;
/// What the labels of host names are made of.
pub(crate) const LABEL: u16 = 1 << 5;
/// `gen-value` without quotes: a token, a host, and what else stands there unquoted in practice.
pub(crate) const VALUE: u16 = 1 << 6;
/// Linear white space, folds included.
pub(crate) const LWS: u16 = 1 << 7;
/// What IPv4 addresses are made of.
pub(crate) const IPV4: u16 = 1 << 8;
/// All but what ends the name of a parameter.
pub(crate) const PARAM_NAME: u16 = 1 << 9;
/// All but what ends the value of a parameter that is not quoted.
pub(crate) const PARAM_VALUE: u16 = 1 << 10;

/// What host names are made of.
pub(crate) const HOST: u16 = 1 << 11;
/// All but what ends the value of a parameter of credentials that is not quoted.
pub(crate) const AUTH_VALUE: u16 = 1 << 12;

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [PARAM_NAME | PARAM_VALUE | AUTH_VALUE; 256];
    table = mark_alphanumeric(table, TOKEN | USER | PASSWORD | URI_PARAM | URI_HEADER | LABEL | HOST | VALUE);
    table = mark(table, b"-.!%*_+`'~", TOKEN | VALUE);
    // `mark` of RFC 3261 §25.1.
    table = mark(table, b"-_.!~*'()", USER | PASSWORD | URI_PARAM | URI_HEADER);
    table = mark(table, b"&=+$,;?/", USER);
    table = mark(table, b"&=+$,", PASSWORD);
    table = mark(table, b"[]/:&+$", URI_PARAM);
    table = mark(table, b"[]/?:+$=&", URI_HEADER);
    // COMPAT: the underscore is no character of host names, yet Windows and container networks have such hosts.
    table = mark(table, b"-_", LABEL | HOST);
    table = mark(table, b".", HOST);
    // IPv6 with and without brackets (RFC 5118 §4.5), and unquoted URIs and base64 in extension parameters.
    table = mark(table, b"[]:/@=&$", VALUE);
    table = mark(table, b".0123456789", IPV4);
    table = unmark(table, b"; \t\r\n", PARAM_NAME | PARAM_VALUE);
    table = unmark(table, b"=", PARAM_NAME);
    table = unmark(table, b",\" \t\r\n", AUTH_VALUE);
    mark(table, b" \t\r\n", LWS)
}

const fn mark(mut table: [u16; 256], members: &[u8], class: u16) -> [u16; 256] {
    let mut i = 0;
    while i < members.len() {
        table[members[i] as usize] |= class;
        i += 1;
    }
    table
}

const fn unmark(mut table: [u16; 256], members: &[u8], class: u16) -> [u16; 256] {
    let mut i = 0;
    while i < members.len() {
        table[members[i] as usize] &= !class;
        i += 1;
    }
    table
}

const fn mark_alphanumeric(mut table: [u16; 256], class: u16) -> [u16; 256] {
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] |= class;
        }
        byte += 1;
    }
    table
}

/// Whether a byte is of one of the classes.
#[inline]
pub(crate) fn is(byte: u8, class: u16) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// How many bytes at the front are of one of the classes.
#[inline]
pub(crate) fn span(bytes: &[u8], class: u16) -> usize {
    // Four at a time, which spares the loop most of its own work.
    let (fours, rest) = bytes.as_chunks();
    let mut at = 0;
    for &[a, b, c, d] in fours {
        if !is(a, class) {
            return at;
        }
        if !is(b, class) {
            return at + 1;
        }
        if !is(c, class) {
            return at + 2;
        }
        if !is(d, class) {
            return at + 3;
        }
        at += 4;
    }
    at + rest.iter().position(|&byte| !is(byte, class)).unwrap_or(rest.len())
}

/// One octet in each of a word's eight.
const fn eight_times(octet: u8) -> u64 {
    u64::from_le_bytes([octet; 8])
}

/// Whether perhaps two octets below `limit` stand side by side; `false` is certain. Limits are up to 0x80.
#[inline]
pub(crate) fn any_two_meet(bytes: &[u8], limit: u8) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut before = 0;
    let mut meet = 0;
    for word in words {
        let below = below(word, limit);
        meet |= below & (below << 8 | before);
        before = below >> 56;
    }
    if rest.is_empty() {
        return meet != 0;
    }
    // The last eight once more, of which the first was looked at, if there are as many.
    if let Some(last) = bytes.last_chunk() {
        let below = below(last, limit);
        return (meet | below & (below << 8)) != 0;
    }
    rest.windows(2).any(|pair| pair[0] < limit && pair[1] < limit)
}

/// Marks the octets of a word that are below `limit`, which is up to 0x80; perhaps others above such a one as well.
#[inline]
fn below(word: &[u8; 8], limit: u8) -> u64 {
    let word = u64::from_le_bytes(*word);
    word.wrapping_sub(eight_times(limit)) & !word & eight_times(0x80)
}

/// Whether all octets are visible ASCII characters.
pub(crate) fn are_graphic(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let others = words.iter().fold(0, |others, word| {
        let word = u64::from_le_bytes(*word);
        // Below 0x21, above 0x7e. Borrows and carries come only from octets that are marked themselves.
        let below = word.wrapping_sub(eight_times(0x21)) & !word;
        let above = word.wrapping_add(eight_times(0x01)) | word;
        others | below | above
    });
    others & eight_times(0x80) == 0 && rest.iter().all(u8::is_ascii_graphic)
}

/// [`span`], where `%` and two hexadecimal digits count as well.
#[inline]
pub(crate) fn span_escaped(bytes: &[u8], class: u16) -> usize {
    let mut at = 0;
    loop {
        at += span(&bytes[at..], class);
        match bytes[at..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => at += 3,
            _ => return at,
        }
    }
}

/// The octets as text, if they are. Most are short and ASCII, which is seen in a third of what a check for UTF-8 takes.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    match AsciiStr::from_ascii(bytes) {
        Ok(text) => Some(text.as_str()),
        Err(_) => str::from_utf8(bytes).ok(),
    }
}

/// How many bytes of white space stand at `at`.
#[inline]
pub(crate) fn skip_lws(bytes: &[u8], mut at: usize) -> usize {
    // Mostly there is none, or one blank; nothing above a blank is any.
    while at < bytes.len() && bytes[at] <= b' ' && is(bytes[at], LWS) {
        at += 1;
    }
    at
}

/// Without white space around it.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    // Nearly always there is nothing to do.
    if let ([first, ..], [.., last]) = (bytes, bytes)
        && !is(*first, LWS)
        && !is(*last, LWS)
    {
        return bytes;
    }
    let start = span(bytes, LWS);
    let end = bytes.iter().rposition(|&byte| !is(byte, LWS)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The length of the quoted string at the front, both quotes included; `None` where it does not end.
pub(crate) fn quoted(bytes: &[u8]) -> Option<usize> {
    debug_assert_eq!(bytes.first(), Some(&b'"'));
    let mut at = 1;
    loop {
        let found = first_of(bytes, at, [b'"', b'\\'])?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// Decimal digits and nothing else; values too large for a `u64` saturate. Leading zeros are fine.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// The number that the digits at `at` make, and where they end; all above `u32::MAX` are one, and none are 0.
#[inline]
pub(crate) fn leading_number(bytes: &[u8], at: usize) -> (u64, usize) {
    let (mut number, mut end) = (0, at);
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        number = (number * 10 + u64::from(digit - b'0')).min(u64::from(u32::MAX) + 1);
        end += 1;
    }
    (number, end)
}

/// Checks `*( SEMI generic-param )` from `at` to the end, with white space anywhere it may stand (RFC 3261 §25.1). Empty
/// parameters and values are refused, see RFC 4475 §3.1.2.1.
///
/// Shows where each name and its value stand (the value as written, empty where there is none) on the way.
#[inline]
pub(crate) fn visit_params(
    bytes: &[u8],
    at: usize,
    mut visit: impl FnMut(Range<usize>, Range<usize>),
) -> bool {
    let mut at = skip_lws(bytes, at);
    while at < bytes.len() {
        if bytes[at] != b';' {
            return false;
        }
        at = skip_lws(bytes, at + 1);
        let name_end = at + span(&bytes[at..], TOKEN);
        if name_end == at {
            return false;
        }
        let name = at..name_end;
        at = skip_lws(bytes, name_end);
        if bytes.get(at) != Some(&b'=') {
            visit(name, name_end..name_end);
            continue;
        }
        at = skip_lws(bytes, at + 1);
        let value = match bytes.get(at) {
            Some(b'"') => quoted(&bytes[at..]).unwrap_or(0),
            _ => span(&bytes[at..], VALUE),
        };
        if value == 0 {
            return false;
        }
        visit(name, at..at + value);
        at = skip_lws(bytes, at + value);
    }
    true
}

/// Whether `bytes` is `name`, which is written in lower case, in any case.
#[inline]
pub(crate) fn is_name(bytes: &[u8], name: &[u8]) -> bool {
    // Nearly always it is written as the RFC does, or begins with another letter.
    bytes == name
        || bytes.len() == name.len() && bytes.iter().zip(name).all(|(a, b)| a.to_ascii_lowercase() == *b)
}

/// The elements of a comma-separated value; commas in quotes and in `<>` do not separate. An element may be empty;
/// a value that is wholly empty has no elements.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Elements<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Elements<'a> {
        let value = trim(value);
        Elements { rest: (!value.is_empty()).then_some(value) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match element_end(rest) {
            Some(comma) => {
                self.rest = Some(&rest[comma + 1..]);
                Some(trim(&rest[..comma]))
            }
            None => {
                self.rest = None;
                Some(trim(rest))
            }
        }
    }
}

/// Where the first separating comma stands.
fn element_end(bytes: &[u8]) -> Option<usize> {
    // Most values hold no comma at all.
    let mut at = 0;
    first_of(bytes, at, *b",")?;
    loop {
        let found = first_of(bytes, at, *b",\"<")?;
        at = match bytes[found] {
            b',' => return Some(found),
            b'"' => found + quoted(&bytes[found..])?,
            _ => first_of(bytes, found + 1, *b">")? + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the length, and whether one class is asked for or several.
    #[test]
    fn spans_end_where_the_class_does() {
        let members = [
            &b"a.b-c d\te;f=g, 0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ/:"[..],
            b"@[`{\x7f\x80\xe1\xff",
        ];
        let members = members.concat();
        for length in 0..=members.len() {
            for start in 0..=length {
                for class in [TOKEN, LABEL, LWS, TOKEN | LWS, HOST, IPV4, PARAM_NAME, PARAM_VALUE] {
                    let bytes = &members[start..length];
                    let wanted = bytes.iter().take_while(|&&byte| is(byte, class)).count();
                    assert_eq!(span(bytes, class), wanted, "{class:#x} of {start} to {length}");
                }
            }
        }
    }

    #[test]
    fn params_are_shown_as_written() {
        let shown = |text: &'static str| {
            let mut params = Vec::new();
            visit_params(text.as_bytes(), 0, |name, value| {
                params.push((&text.as_bytes()[name], &text.as_bytes()[value]))
            })
            .then_some(params)
        };
        assert_eq!(shown(""), Some(vec![]));
        assert_eq!(
            shown(" ;a ; b = c;\r\n d=\"e;f\" "),
            Some(vec![(&b"a"[..], &b""[..]), (b"b", b"c"), (b"d", b"\"e;f\"")])
        );
        for text in ["a", ";", ";a=", ";a=\"b", ";a;;b", ";a b"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn meetings_are_not_overlooked() {
        for length in 0..30 {
            for first in 0..length {
                for second in 0..length {
                    let mut bytes = vec![b'0'; length];
                    bytes[first] = b'.';
                    bytes[second] = b'-';
                    if first.abs_diff(second) == 1 {
                        assert!(any_two_meet(&bytes, b'0'), "{bytes:?}");
                    }
                    bytes.iter_mut().filter(|byte| **byte == b'0').for_each(|byte| *byte = b'a');
                    assert_eq!(any_two_meet(&bytes, b'0'), first.abs_diff(second) == 1, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn visible_octets() {
        for octet in 0..=u8::MAX {
            for length in 1..20 {
                for place in 0..length {
                    let mut bytes = vec![b'!'; length];
                    bytes[place] = octet;
                    assert_eq!(are_graphic(&bytes), octet.is_ascii_graphic(), "{bytes:?}");
                }
            }
        }
    }
}
