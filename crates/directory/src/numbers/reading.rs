//! Reads what people write: one number, its extension, and nothing of how it was laid out.

use super::{COUNTRIES_WITH_ZERO, Rejected, is_digits, is_extension};

/// Longest text that is read as a number, in characters: Active Directory's attributes of numbers hold 64, and a `tel:` URI has
/// parameters.
const WRITTEN_CHARACTERS_MAX: usize = 128;

/// How people say that an extension follows, in lower case; the longer of two that begin alike first.
const EXTENSION_MARKS: [&str; 13] = [
    "extension",
    "extn",
    "ext",
    "nebenstelle",
    "durchwahl",
    "anschluss",
    "interno",
    "poste",
    "доб",
    "вн",
    "dw",
    "x",
    "#",
];

/// A number without its layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Digits, perhaps a `+` before them; other characters where only a rule may take it.
    pub(super) compact: String,
    /// Digits to dial behind it.
    pub(super) extension: Option<String>,
    /// Why only a rule may take it.
    pub(super) needs_rule: Option<Rejected>,
}

impl Reading {
    pub(super) fn of(written: &str, international_prefixes: &[String]) -> Result<Reading, Rejected> {
        if written.chars().nth(WRITTEN_CHARACTERS_MAX).is_some() {
            return Err(Rejected::TooLong);
        }
        let text: String = written.chars().filter_map(folded).flat_map(char::to_lowercase).collect();
        if !text.contains(|c: char| c.is_ascii_digit()) {
            return Err(Rejected::NoDigits);
        }
        let text = text.trim();
        let text = text.strip_prefix("tel:").unwrap_or(text);
        let (number, parameters) = text.split_once(';').unwrap_or((text, ""));
        let parameters = Parameters::of(parameters)?;
        let (number, marked) = split_extension(number)?;
        let extension = match (parameters.extension, marked) {
            (Some(_), Some(_)) => return Err(Rejected::BadExtension),
            (one, other) => one.or(other),
        };

        let compact = without_layout(number, international_prefixes);
        let needs_rule = strange(&compact).or_else(|| {
            // Where a local number is valid is part of it: RFC 3966 §5.1.5 does not let the context be put before it.
            parameters.context.filter(|_| !compact.starts_with('+')).map(Rejected::LocalTo)
        });
        Ok(Reading { compact, extension, needs_rule })
    }
}

/// What stands behind `;` (RFC 3966 §3).
#[derive(Default)]
struct Parameters {
    extension: Option<String>,
    context: Option<String>,
}

impl Parameters {
    fn of(text: &str) -> Result<Parameters, Rejected> {
        let mut found = Parameters::default();
        for parameter in text.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // `030 1234; 030 5678`.
            if name.starts_with(|c: char| !c.is_ascii_alphabetic()) {
                return Err(Rejected::SeveralNumbers);
            }
            match name.trim() {
                "ext" if found.extension.is_none() => found.extension = Some(extension(value)?),
                "ext" => return Err(Rejected::BadExtension),
                "phone-context" => found.context = Some(value.trim().to_owned()),
                // A subaddress and what others may add change nothing in which number it is.
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Cuts `ext. 12` off, however it is written. The mark has to stand between digits, so that `x` in a word is no mark.
fn split_extension(number: &str) -> Result<(&str, Option<String>), Rejected> {
    let is_layout = |c: char| c.is_whitespace() || matches!(c, '.' | ':' | ',' | '(' | '-' | '=');
    let tail = number.trim_end_matches(|c: char| c.is_whitespace() || c == ')');
    let digits_at = tail.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits_at == tail.len() {
        return Ok((number, None));
    }
    let before = tail[..digits_at].trim_end_matches(is_layout);
    for mark in EXTENSION_MARKS {
        let Some(front) = before.strip_suffix(mark) else { continue };
        let front = front.trim_end_matches(is_layout);
        if !front.ends_with(|c: char| c.is_ascii_digit() || c == ')') {
            continue;
        }
        return Ok((front, Some(extension(&tail[digits_at..])?)));
    }
    Ok((number, None))
}

fn extension(text: &str) -> Result<String, Rejected> {
    let digits: String = text.chars().filter(|c| !is_separator(*c)).collect();
    if is_extension(&digits) { Ok(digits) } else { Err(Rejected::BadExtension) }
}

/// Without blanks, separators, and the trunk prefix that people write as (0) behind a country code.
fn without_layout(number: &str, international_prefixes: &[String]) -> String {
    let solid: String = number.chars().filter(|c| !is_separator(*c) || matches!(c, '(' | ')')).collect();
    let bare = |text: &str| text.replace(['(', ')'], "");
    let Some((front, back)) = solid.split_once("(0)") else { return bare(&solid) };
    let front = bare(front);
    let country = match front.strip_prefix('+') {
        Some(country) => Some(country),
        None => international_prefixes.iter().find_map(|prefix| front.strip_prefix(prefix.as_str())),
    };
    let is_dropped = country.is_some_and(|code| is_digits(code) && !COUNTRIES_WITH_ZERO.contains(&code));
    format!("{front}{}{}", if is_dropped { "" } else { "0" }, bare(back))
}

/// What keeps a compact text from being a number, unless a rule takes it.
fn strange(compact: &str) -> Option<Rejected> {
    let digits = compact.strip_prefix('+').unwrap_or(compact);
    let first = digits.chars().find(|c| !c.is_ascii_digit())?;
    Some(match first {
        '+' | ',' | '\n' | '|' | '&' => Rejected::SeveralNumbers,
        letter if letter.is_alphabetic() => Rejected::Letters,
        other => Rejected::Character(other),
    })
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '-' | '.' | '/' | '(' | ')' | '\'' | '~')
}

/// One character as it is read: what other scripts write otherwise becomes what ASCII has for it; `None`: it is not seen.
fn folded(c: char) -> Option<char> {
    let code = u32::from(c);
    let digit = |zero: u32| char::from_digit(code - zero, 10);
    match code {
        // Full-width forms of ASCII, digits and punctuation alike.
        0xff01..=0xff5e => folded(char::from_u32(code - 0xfee0)?),
        // Arabic-Indic, extended Arabic-Indic, and Devanagari digits.
        0x0660..=0x0669 => digit(0x0660),
        0x06f0..=0x06f9 => digit(0x06f0),
        0x0966..=0x096f => digit(0x0966),
        // Marks of direction and joining, which pasted numbers bring along unseen.
        0x00ad | 0x061c | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2064 | 0x2066..=0x2069 | 0xfeff => {
            None
        }
        // Hyphens and dashes, the minus sign, the long vowel mark that Japanese numbers are written with.
        0x2010..=0x2015 | 0x2212 | 0x30fc => Some('-'),
        // Bullets.
        0x00b7 | 0x2022 | 0x30fb => Some('.'),
        _ => Some(match c {
            '[' | '{' => '(',
            ']' | '}' => ')',
            '\r' => '\n',
            c if c.is_whitespace() && c != '\n' => ' ',
            c => c,
        }),
    }
}
