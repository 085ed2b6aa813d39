//! Changes of a text, by place.

use std::ops::Range;

use super::Element;

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

    /// Puts a new element into `parent`: behind its child `anchor`, or first where there is none, on a line of its own where
    /// that child has one.
    pub(crate) fn insert(&mut self, parent: Element<'_, '_>, anchor: Option<Element<'_, '_>>, new: &str) {
        if let Some(anchor) = anchor {
            let end = anchor.span().end;
            return self.replace(end..end, format!("{}{new}", self.blanks_before(anchor.span().start)));
        }
        if !parent.is_single_tag() {
            let start = parent.content().start;
            return self.replace(start..start, new);
        }
        let end = parent.span().end;
        let slash = self.text[..end].rfind('/').expect("a single tag ends with />");
        self.replace(slash..end, format!(">{new}</{}>", parent.name()));
    }

    /// The line end and the blanks between what comes before and a place.
    fn blanks_before(&self, at: usize) -> &'a str {
        let before = &self.text[..at];
        let kept = before.trim_end_matches([' ', '\t', '\r', '\n']).len();
        let blanks = &before[kept..];
        // Of empty lines one is enough.
        let line_start = blanks.rfind('\n').map(|at| if blanks[..at].ends_with('\r') { at - 1 } else { at });
        line_start.map_or("", |start| &blanks[start..])
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
