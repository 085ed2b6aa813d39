//! `cargo xtask test` and `cargo xtask ci`: every check and test, one after the other, each with its time.
//!
//! nextest runs last, so that its summary is the last thing in the log.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{Usage, deny, machine, shell, suggest, tidy, workspace::Workspace};

pub(crate) fn test(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::parse(arguments)?;
    let workspace = Workspace::load()?;
    if options.install {
        machine::set_up(&workspace.root)?;
    }
    run(&workspace, &options)
}

pub(crate) fn ci(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::parse(arguments)?;
    if let Some(filter) = options.filters.first() {
        return Err(Usage(format!("`{filter}`: ci runs everything; `cargo xtask test` takes filters")).into());
    }
    let workspace = Workspace::load()?;
    if options.install {
        machine::set_up(&workspace.root)?;
    }
    eprintln!("xtask: the machine\n{}", machine::facts(&workspace.root));
    run(&workspace, &options)
}

#[derive(Debug, PartialEq)]
struct Options {
    install: bool,
    keep_going: bool,
    filters: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, Usage> {
        const FLAGS: [&str; 2] = ["--no-install", "--keep-going"];
        let mut options = Options { install: true, keep_going: false, filters: Vec::new() };
        for argument in arguments {
            match argument.as_str() {
                "--no-install" => options.install = false,
                "--keep-going" => options.keep_going = true,
                flag if flag.starts_with('-') => {
                    let near = suggest::nearest(flag, FLAGS.into_iter())
                        .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    return Err(Usage(format!("there is no option `{flag}`{near}")));
                }
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }
}

type Step<'a> = (&'static str, Box<dyn FnOnce() -> anyhow::Result<()> + 'a>);

fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    run_steps(steps(workspace, options), options.keep_going)
}

fn steps<'a>(workspace: &'a Workspace, options: &'a Options) -> Vec<Step<'a>> {
    let root = &workspace.root;
    let cargo = move |arguments: &'static [&'static str]| -> Box<dyn FnOnce() -> anyhow::Result<()> + 'a> {
        Box::new(move || shell::run(shell::cargo().current_dir(root).args(arguments)))
    };
    let mut steps: Vec<Step<'a>> = Vec::new();
    if options.filters.is_empty() {
        steps.push(("fmt", cargo(&["fmt", "--all", "--check"])));
        steps.push(("tidy", Box::new(|| tidy::run(&[]))));
        steps.push(("deny", Box::new(|| deny::run(&[]))));
        steps.push(("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])));
    }
    // The system tests start the real program, and building tests alone would not make it. Shares everything with
    // the build of the tests but the linking.
    steps.push(("build", cargo(&["build", "--workspace", "--bins"])));
    if options.filters.is_empty() {
        let packages = packages_with_doctests(workspace);
        if !packages.is_empty() {
            steps.push((
                "doctests",
                Box::new(move || {
                    let mut command = shell::cargo();
                    command.current_dir(root).args(["test", "--doc"]);
                    for package in &packages {
                        command.args(["--package", package]);
                    }
                    shell::run(&mut command)
                }),
            ));
        }
    }
    steps.push(("tests", Box::new(move || tests(root, options))));
    steps
}

fn tests(root: &Path, options: &Options) -> anyhow::Result<()> {
    let mut command = shell::cargo();
    command.current_dir(root);
    if machine::has_nextest() {
        // One failure must not hide the others: a log of CI is read once.
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--"]);
        command.args(&options.filters);
    } else {
        // `cargo test` takes one filter only; several are run as all.
        command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests", "--"]);
        if let [filter] = options.filters.as_slice() {
            command.arg(filter);
        }
    }
    shell::run(&mut command)
}

/// Runs the steps in order; nothing is printed behind the last one unless something failed.
fn run_steps(steps: Vec<Step<'_>>, keep_going: bool) -> anyhow::Result<()> {
    let count = steps.len();
    let mut failed = Vec::new();
    for (index, (name, step)) in steps.into_iter().enumerate() {
        eprintln!("xtask: [{}/{count}] {name}", index + 1);
        let start = Instant::now();
        let result = step();
        let took = seconds(start.elapsed());
        match result {
            Ok(()) if index + 1 == count => {}
            Ok(()) => eprintln!("xtask: [{}/{count}] {name} passed in {took}", index + 1),
            Err(error) => {
                eprintln!("xtask: [{}/{count}] {name} FAILED in {took}: {error:#}", index + 1);
                failed.push(name);
                if !keep_going {
                    break;
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The libraries with code in their docs that rustdoc would run. Asking rustdoc itself costs a build for each.
fn packages_with_doctests(workspace: &Workspace) -> Vec<String> {
    let mut packages = Vec::new();
    for package in workspace.members().map(|index| &workspace.packages[index]) {
        let Some(source) = package.manifest.parent().map(|folder| folder.join("src")) else { continue };
        if source.join("lib.rs").is_file() && folder_has_doctests(&source) {
            packages.push(package.name.clone());
        }
    }
    packages
}

fn folder_has_doctests(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return folder_has_doctests(&path);
        }
        path.extension().is_some_and(|extension| extension == "rs")
            && std::fs::read_to_string(&path).is_ok_and(|text| has_doctests(&text))
    })
}

fn has_doctests(text: &str) -> bool {
    let mut fenced = false;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else { continue };
        let Some(language) = doc.trim_start().strip_prefix("```") else { continue };
        if !fenced && language.split([',', ' ']).all(|word| is_doctest_word(word.trim())) {
            return true;
        }
        fenced = !fenced;
    }
    false
}

/// The words behind a fence that leave it a Rust test; `ignore` and every other language do not.
fn is_doctest_word(word: &str) -> bool {
    matches!(word, "" | "rust" | "no_run" | "should_panic" | "compile_fail")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn options(arguments: &str) -> Result<Options, String> {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments).map_err(|error| error.0)
    }

    #[test]
    fn options_and_filters() {
        let parsed = options("--no-install one --keep-going two").expect("well formed");
        assert_eq!(
            parsed,
            Options { install: false, keep_going: true, filters: vec!["one".into(), "two".into()] }
        );
        assert_eq!(
            options("--keepgoing").expect_err("misspelt"),
            "there is no option `--keepgoing`; did you mean `--keep-going`?"
        );
    }

    /// Runs three steps of which the second fails; which ran, and the error.
    fn three(keep_going: bool) -> (Vec<u8>, String) {
        let ran = RefCell::new(Vec::new());
        let step = |number: u8| {
            let ran = &ran;
            move || {
                ran.borrow_mut().push(number);
                if number == 2 { Err(anyhow::anyhow!("broken")) } else { Ok(()) }
            }
        };
        let steps: Vec<Step<'_>> =
            vec![("one", Box::new(step(1))), ("two", Box::new(step(2))), ("three", Box::new(step(3)))];
        let error = run_steps(steps, keep_going).expect_err("two fails").to_string();
        (ran.into_inner(), error)
    }

    #[test]
    fn a_failure_stops_unless_told_to_keep_going() {
        assert_eq!(three(false), (vec![1, 2], "failed: two".to_owned()));
        assert_eq!(three(true), (vec![1, 2, 3], "failed: two".to_owned()));
    }

    #[test]
    fn doctests_are_rust_in_docs() {
        assert!(has_doctests("/// ```\n/// f();\n/// ```\n"));
        assert!(has_doctests("//! ```no_run\n"));
        assert!(!has_doctests("/// ```text\n/// x\n/// ```\nfn f() {}\n"));
        assert!(!has_doctests("/// ```ignore\n/// ```\n// ```\n"));
        assert!(has_doctests("/// ```text\n/// ```\n/// ```rust\n"));
    }
}
