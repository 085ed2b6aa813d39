//! Pure crates name no socket, file, clock, thread or source of randomness in what they ship.

use super::{Finding, Tree, boundaries::WORLDLY, contains_whole, crate_of};

const RULE: &str = "pure";

/// Names of the standard library and of libraries that a pure crate may hold, each with what it does there.
const NAMES: &[(&str, &str)] = &[
    ("TcpStream", "opens a socket"),
    ("TcpListener", "opens a socket"),
    ("UdpSocket", "opens a socket"),
    ("UnixStream", "opens a socket"),
    ("UnixListener", "opens a socket"),
    ("UnixDatagram", "opens a socket"),
    ("ToSocketAddrs", "asks the resolver of the system"),
    ("std::fs", "touches files"),
    ("std::thread", "starts or parks a thread"),
    ("thread::spawn", "starts a thread"),
    ("thread::sleep", "waits"),
    ("std::process", "ends or starts a process"),
    ("std::env", "reads the environment"),
    ("io::stdin", "reads from the terminal"),
    ("Instant::now", "asks the clock"),
    ("SystemTime::now", "asks the clock"),
    ("println!", "writes to the terminal"),
    ("eprintln!", "writes to the terminal"),
    ("thread_rng", "draws randomness"),
    ("rand::rng", "draws randomness"),
    ("rand::random", "draws randomness"),
    ("OsRng", "draws randomness"),
    ("from_os_rng", "draws randomness"),
    ("from_entropy", "draws randomness"),
    ("RandomState", "draws randomness"),
    ("HashMap::new", "draws a random seed or hashes without one"),
    ("HashMap::with_capacity", "draws a random seed or hashes without one"),
    ("HashSet::new", "draws a random seed or hashes without one"),
    ("HashSet::with_capacity", "draws a random seed or hashes without one"),
];

/// Modules of `std` that hide in `use std::{fs, thread}`.
const MODULES: &[&str] = &["env", "fs", "process", "thread"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &tree.rust {
        let Some(name) = crate_of(path) else { continue };
        if WORLDLY.contains(&name) {
            continue;
        }
        let mut finding = |index: usize, what: &str, does: &str| {
            findings.push(Finding::new(
                path,
                index,
                RULE,
                format!("`{what}` {does}, but {name} is pure"),
                "take the time, the seed or the bytes as an argument, or move this into a driver",
            ));
        };
        for (index, line) in source.shipped_code() {
            for (what, does) in NAMES {
                if contains_whole(line, what) {
                    finding(index, what, does);
                }
            }
        }
        for (index, module) in grouped_imports(source.shipped_code()) {
            finding(index, &format!("std::{{{module}}}"), "leads to the world");
        }
    }
    findings
}

/// The forbidden modules in `use std::{...}`, with their lines; the braces may span lines.
fn grouped_imports<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    // How deep we are inside of the braces behind `std::`; 0 is outside.
    let mut depth = 0usize;
    for (index, line) in lines {
        let mut rest = line;
        if depth == 0 {
            let Some((_, behind)) = line.split_once("use std::{") else { continue };
            depth = 1;
            rest = behind;
        }
        let mut word = String::new();
        for c in rest.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if depth == 1
                && let Some(module) = MODULES.iter().find(|module| **module == word)
            {
                found.push((index, *module));
            }
            word.clear();
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the findings.
    fn check(path: &str, text: &str) -> Vec<usize> {
        super::check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn every_name_is_found_in_shipped_code_of_a_pure_crate() {
        for (name, _) in NAMES {
            let text = format!("fn f() {{\n    {name}(x);\n}}\n");
            assert_eq!(check("crates/frontend/src/a.rs", &text).first(), Some(&2), "{name}");
            assert_eq!(check("crates/net/src/a.rs", &text), [0usize; 0], "{name} is the business of net");
            let test = format!("#[cfg(test)]\nmod tests {{\n    {name}(x);\n}}\n");
            assert_eq!(check("crates/frontend/src/a.rs", &test), [0usize; 0], "{name} in tests");
        }
    }

    #[test]
    fn words_in_strings_comments_and_longer_names_are_nothing() {
        let text =
            "// SystemTime::now\nfn f() { g(\"Instant::now\"); MyInstant::nowhere(); FlowTcpStreams; }\n";
        assert_eq!(check("crates/frontend/src/a.rs", text), [0usize; 0]);
    }

    #[test]
    fn grouped_imports_do_not_hide() {
        assert_eq!(check("crates/node/src/a.rs", "use std::{fmt, fs};\n"), [1]);
        assert_eq!(
            check("crates/node/src/a.rs", "use std::{\n    fmt,\n    thread::{self},\n};\nuse x;\n"),
            [3]
        );
        assert_eq!(check("crates/node/src/a.rs", "use std::{fmt, x::{fs}};\nfn process() {}\n"), [0usize; 0]);
    }
}
