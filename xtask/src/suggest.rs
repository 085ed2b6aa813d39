//! The nearest right name for a mistyped one.

/// More edits than this and a suggestion is a guess, not a help.
const EDITS_MAX: usize = 2;

/// The candidate with the fewest edits from `given`, if it is near enough.
pub(crate) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(given, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= EDITS_MAX && *edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and replacements of one character.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["demo", "test", "ci", "tidy", "deny"];

    #[test]
    fn a_slip_finds_its_command() {
        assert_eq!(nearest("tets", NAMES.into_iter()), Some("test"));
        assert_eq!(nearest("tiddy", NAMES.into_iter()), Some("tidy"));
        assert_eq!(nearest("c", NAMES.into_iter()), Some("ci"));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(nearest("benchmark", NAMES.into_iter()), None);
        assert_eq!(nearest("xy", ["ci"].into_iter()), None);
    }
}
