//! Running other programs: what was run is in the error, and nothing passes through a shell.

use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The cargo that runs us, so that `cargo +toolchain xtask` stays on its toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs with our own input and output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs and returns what it printed; its complaints stay on our stderr.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` did not print UTF-8"))
}

/// The first line of `program ARGUMENTS`, or `None` where it is missing or fails: for probing what is installed.
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

/// As a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        text.push(' ');
        if argument.is_empty() || argument.contains(char::is_whitespace) {
            text.push_str(&format!("'{argument}'"));
        } else {
            text.push_str(&argument);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).expect_err("exit 3 is a failure");
        assert!(error.to_string().starts_with("`sh -c 'exit 3'` ended with"), "{error}");
    }

    #[test]
    fn a_missing_program_is_an_error_or_none() {
        let name = "chancery-no-such-program";
        assert!(run(&mut Command::new(name)).is_err());
        assert!(output(&mut Command::new(name)).is_err());
        assert_eq!(probe(&mut Command::new(name)), None);
        assert_eq!(probe(Command::new("sh").args(["-c", "echo one; exit 1"])), None);
        assert_eq!(probe(Command::new("sh").args(["-c", "echo one; echo two"])).as_deref(), Some("one"));
    }
}
