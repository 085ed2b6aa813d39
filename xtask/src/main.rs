//! Every chore of the project, as `cargo xtask COMMAND`.
//!
//! One small program instead of shell scripts: it runs wherever Rust does, says what it is about to do and how long
//! it took, and its checks are themselves tested. It knows nothing about SIP and links none of our crates, so that
//! it builds in seconds and still works while the tree does not compile.

mod demo;
mod deny;
mod directory_scale;
mod dist;
mod fuzz;
mod machine;
mod shell;
mod spdx;
mod steps;
mod suggest;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// The command ran and found a fault, or could not do its work.
const EXIT_FAILED: u8 = 1;
/// The command line itself was wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", overview());
        return ExitCode::from(EXIT_USAGE);
    };
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        return help(rest.first().map(String::as_str));
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return unknown(name);
    };
    // Behind a `--` or for `demo`, whose flags belong to the server, only a first `--help` is ours.
    if rest.first().is_some_and(|first| matches!(first.as_str(), "--help" | "-h")) {
        return help(Some(name));
    }
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::from(if error.is::<Usage>() { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

/// A fault in the arguments of a command.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        summary: "build and start three organisations that federate, or one server",
        help: "\
cargo xtask demo [ARGUMENTS...]
cargo xtask demo single [ARGUMENTS...]

Builds the server (release) and becomes `chancery demo-federation ARGUMENTS...`: contoso.example,
fabrikam.example and northwind.example, each with servers of its own, and a clearinghouse. With `single`, or with an
option that only one server has, it becomes `chancery demo --domain contoso.example ARGUMENTS...`.
Every argument goes to the server; `cargo xtask demo -- --help` lists them. Ctrl-C stops it.
",
        run: demo::run,
    },
    Command {
        name: "test",
        summary: "install what the tests need, then run every check and test",
        help: "\
cargo xtask test [--no-install] [--keep-going] [FILTER...]

Installs what is missing (Debian packages, npm packages of the WebSocket clients, cargo-nextest), then runs
fmt, tidy, deny, clippy, build, doctests where there are any, and nextest last.

  --no-install   install nothing; take the machine as it is
  --keep-going   run the remaining steps after one failed
  FILTER...      run only the tests whose name contains a FILTER, and no other check
",
        run: steps::test,
    },
    Command {
        name: "ci",
        summary: "what runs everywhere: `test` with the facts of the machine",
        help: "\
cargo xtask ci [--no-install] [--keep-going]

Prints the facts of the machine, then does what `cargo xtask test` does. The summary of nextest comes last.
",
        run: steps::ci,
    },
    Command {
        name: "tidy",
        summary: "check crate boundaries, citations, links and words",
        help: "\
cargo xtask tidy

Checks what neither rustc nor clippy knows: which crate may depend on which, that cores stay pure, module docs,
RFC citations, links between documents, forbidden words and paths. Each finding says how to mend it.
A line is excused by `// tidy-allow(RULE): reason` on it or above it; an excuse that excuses nothing is a finding.
",
        run: tidy::run,
    },
    Command {
        name: "deny",
        summary: "check licences, sources and banned crates of the dependencies",
        help: "\
cargo xtask deny

Every dependency must have a licence from the list in xtask/src/deny.rs, come from the public registry or from
this repository, and not be one of the crates banned there.
",
        run: deny::run,
    },
    Command {
        name: "dist",
        summary: "build the server as it is installed: optimised for the work it does",
        help: "\
cargo xtask dist [--cpu NAME] [--no-install]

Builds the server so that it counts what it runs, puts it under the loads of bench/, builds it again, as a whole, with
what was counted (profile-guided optimisation), and lays it out anew (BOLT): target/dist/chancery. Takes some 20 minutes
on two cores, Python, OpenSSL, llvm-profdata of the compiler's LLVM, and llvm-bolt; without that the last step is left out.

  --cpu NAME     the processors it shall run on, as `rustc --print target-cpus` lists them; without it x86-64-v3
                 (AVX2 and BMI2: Intel since Haswell, AMD since Excavator) where the machine is an x86-64
  --no-install   install neither llvm-profdata nor llvm-bolt; take the machine as it is
",
        run: dist::run,
    },
    Command {
        name: "directory-scale",
        summary: "measure the server on a directory of 20,000 users",
        help: "\
cargo xtask directory-scale [USERS]

Builds the server (release), makes an Active Directory domain with USERS (20,000) users, and prints what it costs the
server to read it whole, to ask for changes, and to take one over. Takes minutes, 2 GiB of disk, and root.
",
        run: directory_scale::run,
    },
    Command {
        name: "fuzz",
        summary: "run the fuzz targets",
        help: "\
cargo xtask fuzz [TARGET] [--seconds N]

Builds fuzz/ (release, with overflow checks and debug assertions) and hands it the arguments; what it does
without a TARGET is said in fuzz/README.md. The corpora are replayed by the ordinary tests too.
",
        run: fuzz::run,
    },
];

fn overview() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND [ARGUMENTS...]\n\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<15} {}\n", command.name, command.summary));
    }
    text.push_str("\n`cargo xtask COMMAND --help` says more.\n");
    text
}

fn help(topic: Option<&str>) -> ExitCode {
    let Some(name) = topic else {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    };
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => {
            print!("{}", command.help);
            ExitCode::SUCCESS
        }
        None => unknown(name),
    }
}

fn unknown(name: &str) -> ExitCode {
    eprintln!("xtask: there is no command `{name}`");
    if let Some(near) = suggest::nearest(name, COMMANDS.iter().map(|command| command.name)) {
        eprintln!("       did you mean `cargo xtask {near}`?");
    }
    eprintln!();
    eprint!("{}", overview());
    ExitCode::from(EXIT_USAGE)
}
