//! Changes of a text, by place.

use std::ops::Range;

/// Replacements of parts of one text. They do not overlap; what they do not name stays as it is, to the octet.
pub(crate) struct Edits<'a> {
    text: &'a str,
    replacements: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(crate) fn new(text: &'a str) -> Edits<'a> {
        Edits { text, replacements: Vec::new() }
    }

    /// Puts `new` where `range` was. Insertions at the same place come in the order in which they were asked for.
    pub(crate) fn replace(&mut self, range: Range<usize>, new: impl Into<String>) {
        self.replacements.push((range, new.into()));
    }

    /// Takes a whole element away, and the blanks before it where it stands alone on its lines.
    pub(crate) fn remove_with_line(&mut self, range: Range<usize>) {
        let before = &self.text[..range.start];
        let indent = before.len() - before.trim_end_matches([' ', '\t']).len();
        let line_start = &before[..before.len() - indent];
        let after = &self.text[range.end..];
        let starts_line = line_start.ends_with('\n');
        let ends_line = after.trim_start_matches([' ', '\t']).starts_with(['\r', '\n']);
        let start = if starts_line && ends_line {
            let line_start = line_start.strip_suffix('\n').unwrap_or(line_start);
            line_start.strip_suffix('\r').unwrap_or(line_start).len()
        } else {
            range.start
        };
        self.replace(start..range.end, "");
    }

    /// The text with all of them.
    pub(crate) fn apply(mut self) -> String {
        self.replacements.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut at = 0;
        for (range, new) in &self.replacements {
            assert!(at <= range.start, "replacements do not overlap");
            out.push_str(&self.text[at..range.start]);
            out.push_str(new);
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}
