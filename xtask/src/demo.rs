//! `cargo xtask demo`: build the server, then become it: three organisations that federate, or one server alone.

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
    command.args(server_arguments(arguments));
    eprintln!("xtask demo: {}", shell::show(&command));
    // exec, not spawn: Ctrl-C, SIGTERM and the exit code are then the server's own business.
    Err(command.exec()).with_context(|| format!("cannot start {}", server.display()))
}

/// One server, where `single` or an option that only such a demo has is given; else organisations that federate.
fn server_arguments(given: &[String]) -> Vec<String> {
    let given = given.strip_prefix(&["--".to_owned()]).unwrap_or(given);
    let (is_single, given) = match given {
        [first, rest @ ..] if first == "single" => (true, rest),
        _ => (given.iter().any(|argument| is_of_a_single_server(argument)), given),
    };
    let mut arguments = Vec::with_capacity(given.len() + 3);
    if !is_single {
        arguments.push("demo-federation".to_owned());
    } else {
        arguments.push("demo".to_owned());
        if !given.iter().any(|argument| name_of(argument) == "--domain") {
            arguments.extend(["--domain".to_owned(), DOMAIN.to_owned()]);
        }
    }
    arguments.extend_from_slice(given);
    arguments
}

/// Whether `chancery demo` alone has this option.
fn is_of_a_single_server(argument: &str) -> bool {
    let of_both = ["--dir", "--json", "--log-format", "--network", "--help", "-h"];
    argument.starts_with('-') && !of_both.contains(&name_of(argument))
}

fn name_of(argument: &str) -> &str {
    argument.split('=').next().unwrap_or(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        assert_eq!(server_arguments(&given).join(" "), expected);
    }

    #[test]
    fn without_more_it_is_the_federated_demo() {
        check("", "demo-federation");
        check("--json --dir d", "demo-federation --json --dir d");
        check("-- --network=127.30", "demo-federation --network=127.30");
    }

    #[test]
    fn a_single_server_is_asked_for_by_name_or_by_its_options() {
        check("single", "demo --domain contoso.example");
        check("single --json", "demo --domain contoso.example --json");
        check("--domain a.example", "demo --domain a.example");
        check("--port-base 0 --domain=a.example --json", "demo --port-base 0 --domain=a.example --json");
        check("-- --users-file f", "demo --domain contoso.example --users-file f");
    }
}
