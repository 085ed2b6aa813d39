//! What is wrong with a configuration file, where, and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// One fault of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// With its section, such as `registration.expires_min_seconds`; empty where the file is no TOML.
    pub(crate) key: String,
    pub(crate) reason: String,
    /// How to mend it.
    pub(crate) suggestion: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error(
        "the configuration {} cannot be read: {error}\n  help: `chancery init` writes one; `--config FILE` names another",
        file.display()
    )]
    Unreadable { file: PathBuf, error: std::io::Error },
    /// The file says something wrong. Never empty; in order of lines.
    #[error("{}", list(.0))]
    Wrong(Vec<Problem>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n  help: {suggestion}"),
            None => Ok(()),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
