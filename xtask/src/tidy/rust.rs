//! A Rust file taken apart into code and comments, line by line, with the lines of tests marked.
//!
//! Not a parser: it knows strings, characters, comments and brackets, which is enough to keep a word in a string
//! from being taken for code. Columns are kept, so that both views line up with the file.

pub(super) struct RustSource {
    /// The code with comments and the insides of strings blanked.
    pub(super) code: Vec<String>,
    /// The comments alone, with their slashes.
    pub(super) comments: Vec<String>,
    /// Whether a line belongs to tests.
    pub(super) tests: Vec<bool>,
}

impl RustSource {
    pub(super) fn parse(path: &str, text: &str) -> RustSource {
        let (code, comments) = split(text);
        let mut tests = vec![is_test_file(path) || code.contains("#![cfg(test)]"); text.lines().count()];
        for (first, last) in test_items(&code) {
            let last = last.min(tests.len().saturating_sub(1));
            tests[first..=last].fill(true);
        }
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        RustSource { code: lines(&code), comments: lines(&comments), tests }
    }

    pub(super) fn mark_all_as_tests(&mut self) {
        self.tests.fill(true);
    }

    /// The lines of code outside of tests, counted from 0.
    pub(super) fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().map(String::as_str).enumerate().filter(|(index, _)| !self.tests[*index])
    }

    /// The modules in other files that this file declares for tests only, as paths without `.rs`.
    pub(super) fn test_modules(&self, path: &str) -> Vec<String> {
        let stem = path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "lib" | "main" | "mod")) => folder,
            _ => stem,
        };
        let mut modules = Vec::new();
        for (line, _) in self.code.iter().zip(&self.tests).filter(|(_, test)| **test) {
            let declaration = line.split("mod ").nth(1).and_then(|rest| rest.trim().strip_suffix(';'));
            if let Some(name) = declaration {
                modules.push(format!("{folder}/{name}"));
            }
        }
        modules
    }
}

/// Folders of a package that do not become part of its library or program.
const UNSHIPPED: [&str; 3] = ["tests/", "benches/", "examples/"];

fn is_test_file(path: &str) -> bool {
    let in_package = path.strip_prefix("crates/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    path.starts_with("tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/src/tests/")
        || in_package.is_some_and(|rest| UNSHIPPED.iter().any(|folder| rest.starts_with(folder)))
}

/// Code and comments as two texts of the same shape.
fn split(text: &str) -> (String, String) {
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let (kind, length) = token(&characters[at..], at.checked_sub(1).map(|before| characters[before]));
        for (offset, c) in characters[at..at + length].iter().enumerate() {
            let blank = if *c == '\n' { '\n' } else { ' ' };
            let edge = offset == 0 || offset + 1 == length;
            code.push(match kind {
                Kind::Code => *c,
                // The quotes stay, so that what is left is still shaped like code.
                Kind::Text if edge => *c,
                Kind::Text | Kind::Comment => blank,
            });
            comments.push(if kind == Kind::Comment { *c } else { blank });
        }
        at += length;
    }
    (code, comments)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Text,
    Comment,
}

/// The kind and the length of what `rest` starts with; `before` is the character in front of it.
fn token(rest: &[char], before: Option<char>) -> (Kind, usize) {
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => (Kind::Comment, rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => (Kind::Comment, block_comment(rest)),
        ['"', ..] => (Kind::Text, quoted(rest)),
        ['r', '"' | '#', ..] if !inside_word => match raw_string(&rest[1..]) {
            Some(length) => (Kind::Text, 1 + length),
            None => (Kind::Code, 1),
        },
        ['b' | 'c', 'r', '"' | '#', ..] if !inside_word => match raw_string(&rest[2..]) {
            Some(length) => (Kind::Text, 2 + length),
            None => (Kind::Code, 1),
        },
        ['\'', '\\', _, more @ ..] => {
            // An escaped character: up to its closing quote.
            (Kind::Text, 3 + more.iter().position(|c| *c == '\'').map_or(0, |end| end + 1))
        }
        ['\'', _, '\'', ..] => (Kind::Text, 3),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `rest` starts behind the `r`; `None` is a raw identifier.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 1;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// First and last lines (from 0) of the items behind a test attribute.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    const ATTRIBUTES: [&str; 4] = ["#[cfg(test)]", "#[cfg(all(test", "#[cfg(any(test", "#[test]"];
    let line_at = |at: usize| code[..at].matches('\n').count();
    let mut items = Vec::new();
    for attribute in ATTRIBUTES {
        for (start, _) in code.match_indices(attribute) {
            items.push((line_at(start), line_at(item_end(code, start))));
        }
    }
    items
}

/// Where the item ends whose attributes start at `start`: its last `}` or its `;`.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return start + at;
                }
            }
            ';' if depth == 0 => return start + at,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        split(text).0
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(code("a(\"dbg!\"); // dbg!"), "a(\"    \");        ");
        assert_eq!(code("a(\"\\\"x\"); b"), "a(\"   \"); b");
        assert_eq!(code("r#\"a\"b\"#; c"), "r      #; c");
        assert_eq!(code("br\"x\"; c"), "b   \"; c");
        assert_eq!(code("/* a /* b */ c */ d"), "                  d");
        assert_eq!(code("'\"' x '\\'' y &'a z"), "' ' x '  ' y &'a z");
        assert_eq!(code("r#type x"), "r#type x");
    }

    #[test]
    fn both_views_have_the_lines_of_the_file() {
        let (code, comments) = split("a // one\n\"x\ny\" /* two\nthree */ b\n");
        assert_eq!(code, "a       \n\" \n \"       \n         b\n");
        assert_eq!(comments, "  // one\n  \n   /* two\nthree */  \n");
    }

    #[test]
    fn test_items_end_where_they_end() {
        let source = RustSource::parse(
            "crates/a/src/lib.rs",
            "fn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n  fn b() { \"}\"; }\n}\nfn c() {}\n\
             #[cfg(test)]\nuse x;\nfn d() {}\n",
        );
        let shipped: Vec<usize> = source.shipped_code().map(|(index, _)| index).collect();
        assert_eq!(shipped, [0, 6, 9]);
    }

    #[test]
    fn whole_files_of_tests() {
        for path in
            ["tests/src/main.rs", "crates/a/tests/b.rs", "crates/a/src/c/tests.rs", "crates/a/src/tests/d.rs"]
        {
            assert_eq!(RustSource::parse(path, "fn a() {}\n").shipped_code().count(), 0, "{path}");
        }
        assert_eq!(RustSource::parse("crates/a/src/attests.rs", "fn a() {}\n").shipped_code().count(), 1);
    }
}
