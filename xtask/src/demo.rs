//! `cargo xtask demo`: build the server, then become it.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::Context;

use crate::{shell, workspace::Workspace};

const DOMAIN: &str = "contoso.example";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    eprintln!("xtask demo: building the server (release)");
    // Cargo's own progress goes to stderr, so that the JSON line of `chancery demo --json` stays alone on stdout.
    shell::run(shell::cargo().current_dir(&workspace.root).args([
        "build",
        "--release",
        "--package",
        "chancery",
    ]))?;
    let server = workspace.target_directory.join("release").join("chancery");
    let mut command = Command::new(&server);
    command.arg("demo").args(server_arguments(arguments));
    eprintln!("xtask demo: {}", shell::show(&command));
    // exec, not spawn: Ctrl-C, SIGTERM and the exit code are then the server's own business.
    Err(command.exec()).with_context(|| format!("cannot start {}", server.display()))
}

fn server_arguments(given: &[String]) -> Vec<String> {
    let given = given.strip_prefix(&["--".to_owned()]).unwrap_or(given);
    let mut arguments = Vec::with_capacity(given.len() + 2);
    if !given.iter().any(|argument| argument == "--domain" || argument.starts_with("--domain=")) {
        arguments.extend(["--domain".to_owned(), DOMAIN.to_owned()]);
    }
    arguments.extend_from_slice(given);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        assert_eq!(server_arguments(&given).join(" "), expected);
    }

    #[test]
    fn the_domain_is_ours_unless_given() {
        check("", "--domain contoso.example");
        check("--json", "--domain contoso.example --json");
        check("--domain a.example", "--domain a.example");
        check("--domain=a.example --json", "--domain=a.example --json");
    }

    #[test]
    fn a_leading_separator_is_ours() {
        check("-- --help", "--domain contoso.example --help");
    }
}
