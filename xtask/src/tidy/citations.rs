//! RFC citations have one searchable form, `RFC 1234 §5.6`, and name RFCs that `docs/rfc.md` lists.

use std::collections::BTreeMap;

use super::{Finding, Tree};

const RULE: &str = "rfc";
/// The table of the RFCs that matter.
const TABLE: &str = "docs/rfc.md";
/// What the third column of the table may say.
const STATUSES: [&str; 4] = ["implemented", "partly", "planned", "read"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let (listed, mut findings) = table(tree);
    for (path, text) in tree.written() {
        let lines: Vec<String> = match tree.rust.get(path) {
            Some(source) => source.comments.clone(),
            None if path.ends_with(".md") => without_code(text),
            None => continue,
        };
        for (index, line) in lines.iter().enumerate() {
            for citation in citations(line) {
                if let Some(fault) = citation.fault {
                    findings.push(Finding::new(path, index, RULE, fault, "write `RFC 1234 §5.6`"));
                } else if path != TABLE && !listed.contains_key(&citation.number) {
                    findings.push(Finding::new(
                        path,
                        index,
                        RULE,
                        format!("RFC {} is not listed in {TABLE}", citation.number),
                        format!("add its row to {TABLE}: RFC, title, status, where"),
                    ));
                }
            }
        }
    }
    findings
}

/// The listed numbers with their lines, and the faults of the table itself.
fn table(tree: &Tree) -> (BTreeMap<u32, usize>, Vec<Finding>) {
    let mut listed = BTreeMap::new();
    let mut findings = Vec::new();
    let Some(text) = tree.files.get(TABLE) else { return (listed, findings) };
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let number = cells[0].trim_start_matches('[').strip_prefix("RFC ").and_then(leading_number);
        let Some(number) = number.filter(|_| line.trim_start().starts_with('|')) else { continue };
        let mut fault = |message: String, mend: &str| {
            findings.push(Finding::new(TABLE, index, RULE, message, mend));
        };
        if let Some(first) = listed.insert(number, index + 1) {
            fault(format!("RFC {number} is listed in line {first} already"), "keep one row");
        }
        if cells.len() != 4 || !STATUSES.contains(&cells[2]) {
            fault(
                format!("the row of RFC {number} is not `RFC | title | status | where`"),
                "the status is one of: implemented, partly, planned, read",
            );
        }
    }
    (listed, findings)
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

struct Citation {
    number: u32,
    /// How its form is wrong.
    fault: Option<String>,
}

/// Every mention of an RFC by number in one line of prose.
fn citations(line: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    // ASCII only, so that offsets in both are the same.
    let lower = line.to_ascii_lowercase();
    for (at, _) in lower.match_indices("rfc") {
        let before = line[..at].chars().next_back();
        // Part of an identifier, a path, an address or a code span.
        if before.is_some_and(|c| c.is_alphanumeric() || "_/`#-.".contains(c)) {
            continue;
        }
        let behind = &line[at + 3..];
        let gap = behind.len() - behind.trim_start_matches([' ', '-', '_']).len();
        let Some(number) = leading_number(&behind[gap..]) else { continue };
        let rest = &behind[gap..][number.to_string().len()..];
        let mut after = rest.chars();
        let joined = match after.next() {
            Some('_' | '/' | '-') => true,
            Some('.') => after.next().is_some_and(char::is_alphanumeric),
            _ => false,
        };
        // `rfc3261_branch`, `rfc4475/valid.dat`, `rfc3261.txt`; but `RFC 2543/3261` is prose.
        if joined && gap == 0 {
            continue;
        }
        found.push(Citation { number, fault: fault(&line[..at], &line[at..at + 3 + gap], rest) });
    }
    found
}

fn fault(before: &str, name: &str, rest: &str) -> Option<String> {
    if name != "RFC " {
        return Some("an RFC is not written `RFC 1234`".to_owned());
    }
    let rest_of_sentence = rest.strip_prefix("'s").unwrap_or(rest);
    let words = rest_of_sentence.trim_start_matches([' ', ',', '(']).to_ascii_lowercase();
    if ["section", "sec.", "sect.", "chapter", "paragraph"].iter().any(|word| words.starts_with(word)) {
        return Some("a section is named by a word instead of `§`".to_owned());
    }
    let spaced = rest.starts_with(" §");
    if let Some(section) = rest.trim_start_matches([' ', ',']).strip_prefix('§')
        && (!spaced || !section.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase()))
    {
        return Some("the section does not follow as ` §5.6`".to_owned());
    }
    let mut words = before.split_whitespace().rev();
    if words.next() == Some("of") {
        let section = words.next().unwrap_or_default().trim_start_matches('(');
        let word = words.next().unwrap_or_default().trim_start_matches('(').to_ascii_lowercase();
        let numbered = section.starts_with(|c: char| c.is_ascii_digit());
        if section.starts_with('§') || numbered && word.starts_with("sec") {
            return Some("the section stands before its RFC".to_owned());
        }
    }
    None
}

/// The lines of a Markdown text with fenced code blanked.
fn without_code(text: &str) -> Vec<String> {
    let mut fenced = false;
    text.lines()
        .map(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            if fenced || fence { String::new() } else { line.to_owned() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "| RFC | title | status | where |\n|---|---|---|---|\n\
                        | [RFC 3261](https://www.rfc-editor.org/rfc/rfc3261) | SIP | planned | sip-stack |\n";

    /// The messages for one comment line.
    fn check(comment: &str) -> Vec<String> {
        let text = format!("//! A.\n// {comment}\n");
        let tree = Tree::of(&[("crates/a/src/lib.rs", &text), (TABLE, LIST)]);
        super::check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_one_form() {
        for good in [
            "RFC 3261 §16.6",
            "(RFC 3261 §16.6, §16.7)",
            "RFC 3261 says so.",
            "as in RFC 3261.",
            "one of RFC 3261's rules",
            "RFC 3261 §A",
            "`rfc3261` in backticks, test_data/rfc3261/a.dat, rfc3261_branch and https://x.example/rfc/rfc3261",
        ] {
            assert_eq!(check(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn every_other_form() {
        for bad in [
            "rfc3261",
            "RFC3261",
            "RFC3261.",
            "see RFC-3261",
            "rfc 3261",
            "RFC 3261 section 16.6",
            "RFC 3261, Section 16.6",
            "RFC 3261 (section 16.6)",
            "RFC 3261's section 16.6",
            "RFC 3261 § 16.6",
            "RFC 3261§16.6",
            "RFC 3261, §16.6",
            "Section 16.6 of RFC 3261",
            "§16.6 of RFC 3261",
        ] {
            assert_eq!(check(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn cited_means_listed() {
        assert_eq!(check("RFC 9999 §1"), ["RFC 9999 is not listed in docs/rfc.md"]);
        let tree = Tree::of(&[("README.md", "RFC 9999\n```\nRFC 9998\n```\n")]);
        assert_eq!(super::check(&tree).len(), 1, "documents are read too, but not their code");
    }

    #[test]
    fn the_table_has_one_row_each_with_a_status() {
        let faults = |row: &str| super::check(&Tree::of(&[(TABLE, &format!("{LIST}{row}\n"))])).len();
        assert_eq!(faults("| RFC 3263 | Locating SIP servers | planned | sip-stack |"), 0);
        assert_eq!(faults("| RFC 3261 | SIP again | planned | sip-stack |"), 1);
        assert_eq!(faults("| RFC 3263 | Locating SIP servers | done | sip-stack |"), 1);
        assert_eq!(faults("| RFC 3263 | Locating SIP servers | planned |"), 1);
    }
}
