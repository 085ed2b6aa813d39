//! Words and places that must not stand in the tree: forgotten work, one machine's paths, sleeping tests, strange
//! registries, modules that do not say what they are.

use super::{Finding, Tree, contains_whole, is_whole, rust::RustSource};

/// Files longer than this are worth a thought: one idea is usually a few hundred lines.
const FILE_LINES_MAX: usize = 1_500;
/// A `FIXME` says what would be right; fewer words cannot.
const FIXME_WORDS_MIN: usize = 3;

/// The one rule that only warns.
pub(super) const LENGTH: &str = "length";

/// Folders that exist on somebody's machine only. Written in halves, because this file is checked too.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tm", "p/t/")];

/// Where what is shipped may lift the lint against `unsafe`.
const UNSAFE_PLACE: &str = "crates/gss/src/sys/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &tree.rust {
        findings.extend(module_docs(path, &tree.files[path]));
        findings.extend(rust_words(path, source));
    }
    for (path, text) in tree.written() {
        if !path.ends_with(".rs") {
            findings.extend(forgotten(path, text.lines().map(|line| (line, false))));
        }
        findings.extend(machine_paths(path, text));
        findings.extend(length(path, text));
    }
    for (path, text) in &tree.files {
        findings.extend(registries(path, text));
    }
    findings
}

fn module_docs(path: &str, text: &str) -> Option<Finding> {
    // A crate attribute may stand above the docs.
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    // These two say it by their names.
    let named = path.ends_with("/tests.rs") || path.ends_with("/build.rs");
    if named || first.is_some_and(|line| line.starts_with("//!")) {
        return None;
    }
    Some(Finding::new(
        path,
        0,
        "docs",
        "the module does not say what it is".to_owned(),
        "start the file with `//!`: what it is, what it is not, where its rules come from",
    ))
}

fn rust_words(path: &str, source: &RustSource) -> Vec<Finding> {
    let lines = source.comments.iter().map(String::as_str).zip(source.tests.iter().copied());
    let mut findings = forgotten(path, lines);
    for (index, line) in source.code.iter().enumerate() {
        let mut find = |rule, what: &str, mend: &str| {
            if contains_whole(line, what) {
                findings.push(Finding::new(path, index, rule, format!("`{what}`"), mend));
            }
        };
        for word in ["dbg!", "todo!", "unimplemented!"] {
            find("word", word, "finish it, or refuse the case with an error that says what is not offered");
        }
        find("ignored", "#[ignore", "make the test run everywhere, or delete it");
        let mend = "wait for the event itself with a deadline, or use the virtual clock of `sim`";
        find("sleep", "thread::sleep", mend);
        if source.tests[index] {
            find("sleep", "time::sleep", mend);
        }
        let is_shipped = path.starts_with("crates/") && path.contains("/src/") && !source.tests[index];
        if is_shipped && !path.starts_with(UNSAFE_PLACE) {
            find("unsafe", "unsafe_code", "say it in safe Rust; the C interface of GSSAPI alone cannot");
        }
    }
    findings
}

/// Marks of unfinished work; each line comes with whether it belongs to tests.
fn forgotten<'a>(path: &str, lines: impl Iterator<Item = (&'a str, bool)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (line, tests)) in lines.enumerate() {
        // In backticks it is a word that somebody writes about.
        let named = |at: usize| line[..at].ends_with('`');
        for word in ["TODO", "XXX", "HACK"] {
            if line.match_indices(word).any(|(at, _)| is_whole(line, at, word) && !named(at)) {
                findings.push(Finding::new(
                    path,
                    index,
                    "word",
                    format!("`{word}` is unfinished work"),
                    "finish it, or open an issue and delete the line",
                ));
            }
        }
        for (at, word) in line.match_indices("FIXME") {
            if !is_whole(line, at, word) || named(at) {
                continue;
            }
            let reason = line[at + word.len()..].strip_prefix(':').unwrap_or("");
            let explained = reason.split_whitespace().count() >= FIXME_WORDS_MIN;
            if !tests || !explained {
                findings.push(Finding::new(
                    path,
                    index,
                    "word",
                    "a FIXME stands only beside a test that asserts a known wrong behaviour".to_owned(),
                    "write `FIXME: what would be right` in that test, or mend the code",
                ));
            }
        }
    }
    findings
}

fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for machine in MACHINE_PATHS {
            // A path starts there: `bench/work/x` is one of ours.
            let starts = |at: usize| {
                !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-.}~*)".contains(c))
            };
            if line.match_indices(machine).any(|(at, _)| starts(at)) {
                findings.push(Finding::new(
                    path,
                    index,
                    "path",
                    format!("`{machine}` is a folder of one machine"),
                    "use a path relative to the repository, a temporary folder, or an argument",
                ));
            }
        }
    }
    findings
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX && path.ends_with(".rs")).then(|| {
        Finding::new(
            path,
            FILE_LINES_MAX,
            LENGTH,
            format!("warning: {lines} lines, more than {FILE_LINES_MAX}"),
            "see whether the file holds two ideas",
        )
    })
}

/// Lock files name the public registries only: another host builds on one machine only.
fn registries(path: &str, text: &str) -> Vec<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (key, public) = match name {
        "Cargo.lock" => ("source = \"", "registry+https://github.com/rust-lang/crates.io-index\""),
        "package-lock.json" => ("\"resolved\": \"", "https://registry.npmjs.org/"),
        _ => return configured_registries(path, name, text),
    };
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(source) = line.trim_start().strip_prefix(key)
            && !source.starts_with(public)
        {
            findings.push(Finding::new(
                path,
                index,
                "registry",
                "a package comes from another place than the public registry".to_owned(),
                format!("write the lock file again, so that its sources start with `{public}`"),
            ));
        }
    }
    findings
}

/// Configuration of a registry belongs to the machine that needs it.
fn configured_registries(path: &str, name: &str, text: &str) -> Vec<Finding> {
    let words: &[&str] = match (path, name) {
        (".cargo/config.toml" | ".cargo/config", _) => {
            &["[source", "[registries", "[registry", "replace-with"]
        }
        (_, ".npmrc") => &["registry"],
        (_, "pip.conf") => &["index-url"],
        _ => return Vec::new(),
    };
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if words.iter().any(|word| line.contains(word)) {
            findings.push(Finding::new(
                path,
                index,
                "registry",
                "a registry is configured in the repository".to_owned(),
                "put it into the configuration of the user or the machine",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RULE LINE` of each finding.
    fn check(path: &str, text: &str) -> Vec<String> {
        super::check(&Tree::of(&[(path, text)]))
            .into_iter()
            .map(|finding| format!("{} {}", finding.rule, finding.line))
            .collect()
    }

    fn rust(text: &str) -> Vec<String> {
        check("crates/a/src/lib.rs", &format!("//! A.\n{text}\n"))
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn modules_say_what_they_are() {
        assert_eq!(check("crates/a/src/b.rs", "use x;\n//! Late.\n"), ["docs 1"]);
        assert_eq!(check("crates/a/src/b.rs", ""), ["docs 1"]);
        assert_eq!(check("crates/a/src/b/tests.rs", "use x;\n"), NONE);
        assert_eq!(check("crates/a/src/b.rs", "\n#![allow(dead_code)]\n//! Fine.\n"), NONE);
    }

    #[test]
    fn unsafe_has_one_place() {
        let text = "//! A.\n#![allow(unsafe_code)]\n";
        assert_eq!(check("crates/a/src/b.rs", text), ["unsafe 2"]);
        assert_eq!(check("crates/gss/src/lib.rs", text), ["unsafe 2"]);
        assert_eq!(check("crates/gss/src/sys/mod.rs", text), NONE);
    }

    #[test]
    fn unfinished_work() {
        assert_eq!(rust("// TODO later"), ["word 2"]);
        assert_eq!(rust("fn f() { dbg!(1); }"), ["word 2"]);
        assert_eq!(rust("fn f() { todo!() }"), ["word 2"]);
        assert_eq!(rust("fn f() { std::unimplemented!() }"), ["word 2"]);
        assert_eq!(rust("fn f() { a(\"TODO dbg!\"); } // `TODO` and METODOS"), NONE);
        assert_eq!(check("docs/a.md", "one\nTODO: two\n"), ["word 2"]);
        assert_eq!(check("packaging/a.service", "# XXX\n"), ["word 1"]);
    }

    #[test]
    fn fixme_only_in_tests_and_with_what_is_right() {
        assert_eq!(rust("// FIXME: the answer should be 481"), ["word 2"]);
        let test = "#[test]\nfn f() {\n    // FIXME\n}";
        assert_eq!(rust(test), ["word 4"]);
        assert_eq!(rust(&test.replace("FIXME", "FIXME: the answer should be 481")), NONE);
    }

    #[test]
    fn paths_of_one_machine() {
        for machine in MACHINE_PATHS {
            assert_eq!(rust(&format!("fn f() {{ a(\"{machine}x\"); }}")), ["path 2"], "{machine}");
            assert_eq!(check("docs/a.md", &format!("see {machine}x\n")), ["path 1"], "{machine}");
            assert_eq!(check("docs/a.md", &format!("see bench{machine}x\n")), NONE, "{machine}");
        }
    }

    #[test]
    fn sleeping_and_ignored_tests() {
        assert_eq!(rust("fn f() { std::thread::sleep(d); }"), ["sleep 2"]);
        assert_eq!(rust("async fn f() { tokio::time::sleep(d).await; }"), NONE);
        assert_eq!(rust("#[cfg(test)]\nmod tests { fn f() { tokio::time::sleep(d); } }"), ["sleep 3"]);
        assert_eq!(rust("#[test]\n#[ignore]\nfn f() {}"), ["ignored 3"]);
        assert_eq!(rust("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), ["ignored 3"]);
    }

    #[test]
    fn long_files_warn() {
        let lines = |count: usize| "//! A.\n".repeat(count);
        assert_eq!(check("crates/a/src/b.rs", &lines(FILE_LINES_MAX)), NONE);
        assert_eq!(check("crates/a/src/b.rs", &lines(FILE_LINES_MAX + 1)), ["length 1501"]);
    }

    #[test]
    fn strange_registries() {
        let lock = |source: &str| format!("[[package]]\nname = \"a\"\nsource = \"{source}\"\n");
        assert_eq!(check("Cargo.lock", &lock("registry+https://github.com/rust-lang/crates.io-index")), NONE);
        assert_eq!(check("Cargo.lock", &lock("registry+https://mirror.example/index")), ["registry 3"]);
        assert_eq!(
            check("tests/c/package-lock.json", "\"resolved\": \"https://mirror.example/x.tgz\"\n"),
            ["registry 1"]
        );
        assert_eq!(
            check("tests/c/package-lock.json", "\"resolved\": \"https://registry.npmjs.org/x.tgz\"\n"),
            NONE
        );
        assert_eq!(check(".cargo/config.toml", "[alias]\nx = \"run\"\n[source.crates-io]\n"), ["registry 3"]);
        assert_eq!(check("tests/c/.npmrc", "registry=https://mirror.example/\n"), ["registry 1"]);
    }
}
