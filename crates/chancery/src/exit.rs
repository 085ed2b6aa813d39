//! How the program ends: exit codes that scripts can rely on, and the errors behind them.

use std::fmt;
use std::process::ExitCode;

/// Documented in `chancery --help`; clap itself ends with 2 on a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work failed or was refused.
    Failed = 1,
    /// The configuration is wrong.
    Configuration = 3,
    /// No running server answered.
    NoServer = 4,
}

/// The help text's list.
pub(crate) const EXIT_CODES: &str = "Exit codes:\n  \
    0  done\n  \
    1  failed or refused; the message says why and how to mend it\n  \
    2  the command line is wrong\n  \
    3  the configuration is wrong\n  \
    4  no running server answered";

/// An error with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }

    /// A failure that needs no cause.
    pub(crate) fn text(exit: Exit, text: impl fmt::Display) -> Failure {
        Failure { exit, error: anyhow::anyhow!("{text}") }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure { exit: Exit::Failed, error }
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Failure {
        Failure::new(Exit::Configuration, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}
