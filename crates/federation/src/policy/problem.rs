//! What is wrong with a policy, where, and how to mend it.

use std::fmt;

/// One fault of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// With its section, such as `partner.next_hop`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// How to mend it; empty where the reason says it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)?;
        match self.mend.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  help: {}", self.mend),
        }
    }
}

/// Why a text is no policy: the operator's fault. Never empty; in the order of lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PolicyError(pub Vec<Problem>);
