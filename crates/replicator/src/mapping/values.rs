//! Values of one entry: texts of bounded length, numbers, truths. What cannot be read is found and passed over.

use directory_source::Entry;

use crate::report::{FINDINGS_PER_ENTRY_MAX, FindingKind};

/// Characters of a value that a finding quotes.
const QUOTED_CHARACTERS_MAX: usize = 80;

/// Reads the values of one entry and keeps what was found on the way.
pub(super) struct Values<'a> {
    pub(super) entry: &'a Entry,
    pub(super) findings: Vec<FindingKind>,
}

impl<'a> Values<'a> {
    pub(super) fn new(entry: &'a Entry) -> Values<'a> {
        Values { entry, findings: Vec::new() }
    }

    pub(super) fn found(&mut self, finding: FindingKind) {
        if self.findings.len() < FINDINGS_PER_ENTRY_MAX && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// The octets of all values.
    pub(super) fn octets(&self, attribute: &str) -> &'a [Vec<u8>] {
        self.entry.attributes.get(attribute).map_or(&[], Vec::as_slice)
    }

    /// All values that are texts, without blanks around them; empty ones do not count.
    pub(super) fn texts(&mut self, attribute: &str, most: usize) -> Vec<&'a str> {
        let octets = self.octets(attribute);
        if octets.len() > most {
            self.found(FindingKind::TooMany { attribute: attribute.to_owned(), most });
        }
        let mut texts = Vec::new();
        for value in octets.iter().take(most) {
            match std::str::from_utf8(value) {
                Ok(text) if !text.trim().is_empty() => texts.push(text.trim()),
                Ok(_) => {}
                Err(_) => self.found(FindingKind::NotText { attribute: attribute.to_owned() }),
            }
        }
        texts
    }

    /// The first text that one of the attributes has, of at most `most` characters, each in its line where `is_lines`, else in one.
    pub(super) fn line(&mut self, attributes: &[String], most: usize, is_lines: bool) -> String {
        for attribute in attributes {
            let Some(text) = self.texts(attribute, usize::MAX).first().copied() else { continue };
            let clean: String = text
                .replace("\r\n", "\n")
                .chars()
                .map(|c| if c.is_control() && !(is_lines && c == '\n') { ' ' } else { c })
                .take(most + 1)
                .collect();
            if clean.chars().count() <= most {
                return clean;
            }
            self.found(FindingKind::TooLong { attribute: attribute.clone(), most });
            return clean.chars().take(most).collect();
        }
        String::new()
    }

    /// The first of the attributes that has a number.
    pub(super) fn number(&mut self, attribute: &str) -> Option<i64> {
        let text = self.texts(attribute, 1).first().copied()?;
        match text.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                self.malformed(attribute, text);
                None
            }
        }
    }

    /// Boolean of RFC 4517 §3.3.3, in any case.
    pub(super) fn truth(&mut self, attribute: &str) -> Option<bool> {
        let text = self.texts(attribute, 1).first().copied()?;
        if text.eq_ignore_ascii_case("TRUE") {
            Some(true)
        } else if text.eq_ignore_ascii_case("FALSE") {
            Some(false)
        } else {
            self.malformed(attribute, text);
            None
        }
    }

    pub(super) fn malformed(&mut self, attribute: &str, value: &str) {
        self.found(FindingKind::Malformed { attribute: attribute.to_owned(), value: quoted(value) });
    }
}

/// As much of a value as fits into a line.
pub(super) fn quoted(value: &str) -> String {
    if value.chars().count() <= QUOTED_CHARACTERS_MAX {
        return value.to_owned();
    }
    value.chars().take(QUOTED_CHARACTERS_MAX).chain(['…']).collect()
}
