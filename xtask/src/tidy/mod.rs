//! `cargo xtask tidy`: what neither rustc nor clippy knows about this repository.
//!
//! Each check is a plain function from the texts of the tree to findings, so that its tests plant a fault in a small
//! tree and see it found. A finding stands at a line and says how to mend it.

mod boundaries;
mod citations;
mod links;
mod purity;
mod rust;
mod words;

use std::{collections::BTreeMap, fmt, process::Command};

use anyhow::{Context, bail};

use crate::{Usage, shell, workspace::Workspace};
use rust::RustSource;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if let Some(extra) = arguments.first() {
        return Err(Usage(format!("it takes no arguments, not `{extra}`")).into());
    }
    let workspace = Workspace::load()?;
    let tree = Tree::load(&workspace)?;
    let findings = check(&workspace, &tree);
    for finding in &findings {
        eprintln!("{finding}");
    }
    let faults = findings.iter().filter(|finding| finding.rule != words::LENGTH).count();
    let warnings = findings.len() - faults;
    if faults > 0 {
        bail!("{faults} finding(s), {warnings} warning(s)");
    }
    eprintln!("tidy: {} files are in order, {warnings} warning(s)", tree.files.len());
    Ok(())
}

fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = boundaries::check(workspace, tree);
    findings.extend(purity::check(tree));
    findings.extend(words::check(tree));
    findings.extend(citations::check(tree));
    findings.extend(links::check(tree));
    let mut findings = excuse(tree, findings);
    findings.sort_by(|a, b| (&a.path, a.line, &a.message).cmp(&(&b.path, b.line, &b.message)));
    findings
}

#[derive(Debug, Clone, PartialEq)]
struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    rule: &'static str,
    message: String,
    mend: String,
}

impl Finding {
    /// `index` is the line counted from 0.
    fn new(
        path: &str,
        index: usize,
        rule: &'static str,
        message: String,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { path: path.to_owned(), line: index + 1, rule, message, mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}\n    mend: {}", self.path, self.line, self.rule, self.message, self.mend)
    }
}

/// The texts of the repository by path, `/` between folders.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, String>,
    /// The Rust files among them, taken apart.
    rust: BTreeMap<String, RustSource>,
}

impl Tree {
    /// What git tracks or would track; files that are not text are left out.
    fn load(workspace: &Workspace) -> anyhow::Result<Tree> {
        // A checkout that another user made (containers do that) is still ours to read.
        let list = shell::output(
            Command::new("git")
                .arg("-C")
                .arg(&workspace.root)
                .args(["-c", "safe.directory=*", "ls-files"])
                .args(["-z", "--cached", "--others", "--exclude-standard"]),
        )
        .context("tidy reads the list of files from git")?;
        let mut files = BTreeMap::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let absolute = workspace.root.join(path);
            // Deleted but not yet committed, or a submodule.
            if !absolute.is_file() {
                continue;
            }
            let bytes = std::fs::read(&absolute).with_context(|| format!("cannot read {path}"))?;
            // Messages and corpora may be any bytes; they are data, and links may still point to them.
            files.insert(path.to_owned(), String::from_utf8(bytes).unwrap_or_default());
        }
        Ok(Tree::new(files))
    }

    fn new(files: BTreeMap<String, String>) -> Tree {
        let mut rust: BTreeMap<String, RustSource> = files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.clone(), RustSource::parse(path, text)))
            .collect();
        // `#[cfg(test)] mod conversation;` makes tests of another file.
        let modules: Vec<String> = rust.iter().flat_map(|(path, source)| source.test_modules(path)).collect();
        for (path, source) in &mut rust {
            let stem = path.trim_end_matches(".rs");
            let inside = |module: &String| stem == module || stem.starts_with(&format!("{module}/"));
            if modules.iter().any(inside) {
                source.mark_all_as_tests();
            }
        }
        Tree { files, rust }
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        Tree::new(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    /// The lines of files that people write by hand: no lock files, no test data, no corpora.
    fn written(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| is_written(path))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The first line with `needle` counted from 0, or the first line at all.
    fn line_of(&self, path: &str, needle: &str) -> usize {
        self.files
            .get(path)
            .and_then(|text| text.lines().position(|line| line.trim_start().starts_with(needle)))
            .unwrap_or(0)
    }
}

fn is_written(path: &str) -> bool {
    const ENDINGS: [&str; 14] = [
        ".rs", ".md", ".toml", ".sh", ".py", ".js", ".mjs", ".ts", ".css", ".html", ".service", ".sql",
        ".yml", ".json",
    ];
    const DATA: [&str; 2] = ["/test_data/", "/corpus/"];
    let name = path.rsplit('/').next().unwrap_or(path);
    !DATA.iter().any(|folder| path.contains(folder))
        && name != "package-lock.json"
        && (ENDINGS.iter().any(|ending| name.ends_with(ending)) || !name.contains('.'))
        && !name.starts_with("LICENSE")
}

/// The crate that a path belongs to, by its folder.
fn crate_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    match parts.next()? {
        "crates" => parts.next(),
        "tests" => Some("system-tests"),
        top @ ("xtask" | "fuzz") => Some(top),
        _ => None,
    }
}

/// Names an excuse: `tidy-allow(RULE): reason`.
const EXCUSE: &str = "tidy-allow(";
/// Fewer words are not a reason.
const REASON_WORDS_MIN: usize = 3;

/// Drops the findings that a line excuses with a reason, and finds excuses that are empty or excuse nothing.
fn excuse(tree: &Tree, findings: Vec<Finding>) -> Vec<Finding> {
    struct Excuse<'a> {
        path: &'a str,
        index: usize,
        rule: &'a str,
        reason: &'a str,
        used: bool,
    }
    let mut excuses = Vec::new();
    for (path, source) in &tree.rust {
        for (index, line) in source.comments.iter().enumerate() {
            let line = line.trim();
            // Only a comment that starts with it: docs may speak about it.
            let Some(rest) = line.trim_start_matches("//").trim_start().strip_prefix(EXCUSE) else {
                continue;
            };
            let (rule, rest) = rest.split_once(')').unwrap_or((rest, ""));
            let reason = rest.strip_prefix(':').unwrap_or("").trim();
            excuses.push(Excuse { path, index, rule, reason, used: false });
        }
    }
    let mut kept = Vec::new();
    for finding in findings {
        let excused = excuses.iter_mut().find(|excuse| {
            excuse.path == finding.path
                && excuse.rule == finding.rule
                && (excuse.index + 1 == finding.line || excuse.index + 2 == finding.line)
        });
        match excused {
            Some(excuse) => excuse.used = true,
            None => kept.push(finding),
        }
    }
    for excuse in excuses {
        let finding = |message: &str, mend: &str| {
            Finding::new(excuse.path, excuse.index, "excuse", format!("`{}` {message}", excuse.rule), mend)
        };
        if !excuse.used {
            kept.push(finding("excuses nothing here", "remove it, or move it to the line above the finding"));
        } else if excuse.reason.split_whitespace().count() < REASON_WORDS_MIN {
            kept.push(finding(
                "is excused without a reason",
                "write `tidy-allow(RULE): why it is right here`",
            ));
        }
    }
    kept
}

/// Whether `text` has `word` at `at` as a whole word: no letter, digit or `_` continues it on either side.
fn is_whole(text: &str, at: usize, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    let before = text[..at].chars().next_back();
    let after = text[at + word.len()..].chars().next();
    let starts = word.chars().next().is_some_and(joins);
    let ends = word.chars().next_back().is_some_and(joins);
    !(starts && before.is_some_and(joins) || ends && after.is_some_and(joins))
}

/// Whether `text` contains `word` as a whole word.
fn contains_whole(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| is_whole(text, at, word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::fake;

    fn excused(text: &str) -> Vec<Finding> {
        let tree = Tree::of(&[("crates/a/src/lib.rs", text)]);
        excuse(&tree, purity::check(&tree))
    }

    #[test]
    fn an_excuse_needs_a_finding_and_a_reason() {
        let call = "//! A.\nfn f() {\n    EXCUSE\n    Instant::now();\n}\n";
        assert_eq!(excused(call).len(), 1, "without an excuse it is a finding");
        let good = call.replace("EXCUSE", "// tidy-allow(pure): the clock of a doc example");
        assert_eq!(excused(&good), []);
        let bare = call.replace("EXCUSE", "// tidy-allow(pure):");
        assert!(excused(&bare)[0].message.contains("without a reason"));
        let wrong_rule = call.replace("EXCUSE", "// tidy-allow(sleep): the clock of a doc example");
        assert_eq!(excused(&wrong_rule).len(), 2, "the finding stays and the excuse excuses nothing");
    }

    #[test]
    fn modules_declared_for_tests_are_tests() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "//! A.\n#[cfg(test)]\nmod talk;\nmod real;\n"),
            ("crates/a/src/talk.rs", "//! T.\nfn f() { Instant::now(); }\n"),
            ("crates/a/src/talk/deep.rs", "//! T.\nfn f() { Instant::now(); }\n"),
            ("crates/a/src/real.rs", "//! R.\nfn f() { Instant::now(); }\n"),
        ]);
        let paths: Vec<String> = purity::check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["crates/a/src/real.rs"]);
    }

    #[test]
    fn findings_are_sorted_and_all_checks_run() {
        let tree = Tree::of(&[
            ("crates/node/src/lib.rs", "fn f() { Instant::now(); } // RFC3261\n"),
            ("docs/rfc.md", "[x](gone.md)\n"),
        ]);
        let found = check(&fake("node: tokio"), &tree);
        let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
        for rule in ["boundary", "pure", "docs", "rfc", "link"] {
            assert!(rules.contains(&rule), "{rule} is missing in {rules:?}");
        }
        assert!(found.is_sorted_by(|a, b| (&a.path, a.line) <= (&b.path, b.line)));
    }
}
