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

/// What happened, down to its cause, then what mends it. Of several mends the one that is nearest to what was asked for counts.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nearest = String::new();
        for (depth, cause) in self.error.chain().enumerate() {
            let cause = cause.to_string();
            let (what, mend) = cause.split_at(cause.find(HELP).unwrap_or(cause.len()));
            write!(f, "{}{what}", if depth > 0 { ": " } else { "" })?;
            if nearest.is_empty() {
                nearest.push_str(mend);
            }
        }
        f.write_str(&nearest)
    }
}

/// What stands before a mend in the text of an error.
const HELP: &str = "\n  help: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mends_stand_behind_causes() {
        let error = anyhow::anyhow!("no such file\n  help: look")
            .context("cannot read it\n  help: make it")
            .context("at the start");
        assert_eq!(
            Failure::from(error).to_string(),
            "at the start: cannot read it: no such file\n  help: make it"
        );
        let plain = Failure::text(Exit::Failed, "refused\n  help: ask\n        again");
        assert_eq!(plain.to_string(), "refused\n  help: ask\n        again");
    }
}
