//! What can go wrong between us and a directory server.

use std::time::Duration;

use directory_source::FailureKind;

use crate::password::PasswordError;
use crate::wire::ber::Malformed;
use crate::wire::{Outcome, ResultCode};

/// Why something did not work. [`Error::is_of_the_server`] says whether another server may do better.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The world failed: nothing answers there, or the connection broke.
    #[error("{host}: {error}")]
    Unreachable {
        /// The server.
        host: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The world is too slow.
    #[error("{host}: no answer within {} s ({what})", .after.as_secs())]
    TimedOut {
        /// The server.
        host: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// TLS does not come about: mostly a certificate of another name or authority.
    #[error("{host}: TLS fails: {error}")]
    Tls {
        /// The server.
        host: String,
        /// What the library says.
        error: std::io::Error,
    },
    /// The server sent what is no LDAP, or too much of it.
    #[error("{host}: {error}")]
    Malformed {
        /// The server.
        host: String,
        /// What is wrong.
        error: Malformed,
    },
    /// A message is longer than [`crate::connection::MESSAGE_OCTETS_MAX`].
    #[error("{host}: a message of {octets} octets is too long")]
    TooLong {
        /// The server.
        host: String,
        /// Its length.
        octets: usize,
    },
    /// The server broke the rules of the protocol.
    #[error("{host}: {what}")]
    Broken {
        /// The server.
        host: String,
        /// Which.
        what: &'static str,
    },
    /// The server ended the connection, with or without a word.
    #[error("{host}: the server closed the connection{}", .notice.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Closed {
        /// The server.
        host: String,
        /// Its word (RFC 4511 §4.4.1).
        notice: Option<Outcome>,
    },
    /// The server refuses the bind.
    #[error("{host}: sign-in of {account} is refused: {outcome}")]
    BindRefused {
        /// The server.
        host: String,
        /// Who.
        account: String,
        /// In the server's words.
        outcome: Outcome,
    },
    /// The server refuses the operation.
    #[error("{host}: {operation} is refused: {outcome}")]
    Refused {
        /// The server.
        host: String,
        /// What was asked.
        operation: &'static str,
        /// In the server's words.
        outcome: Outcome,
    },
    /// The server does not go on from where the changes were read to.
    #[error("{host}: changes cannot be read on from there: {why}")]
    WatermarkRefused {
        /// The server.
        host: String,
        /// Why.
        why: String,
    },
    /// The server lacks something that we need.
    #[error("{host}: {what}")]
    Unsuitable {
        /// The server.
        host: String,
        /// What.
        what: String,
    },
    /// Kerberos failed on our side: the keytab, the key servers, or a server that is not who it should be.
    #[error("Kerberos: {0}")]
    Kerberos(#[from] gss::Error),
    /// There is no server to ask.
    #[error("no directory server is known: {0}")]
    NoServers(String),
    /// No server could be used; the last reason.
    #[error("none of {tried} directory servers can be used; the last: {last}")]
    AllFailed {
        /// How many were tried.
        tried: usize,
        /// What became of the last.
        last: Box<Error>,
    },
    /// The account's password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

impl Error {
    /// Whether the server's certificate is not right.
    pub fn is_distrust(&self) -> bool {
        match self {
            Error::Tls { error, .. } => {
                let library = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                matches!(library, Some(rustls::Error::InvalidCertificate(_)))
            }
            Error::AllFailed { last, .. } => last.is_distrust(),
            _ => false,
        }
    }

    /// Whose fault it is, in the terms of the replicator.
    pub fn kind(&self) -> FailureKind {
        match self {
            _ if self.is_distrust() => FailureKind::Untrusted,
            Error::Unreachable { .. }
            | Error::TimedOut { .. }
            | Error::Tls { .. }
            | Error::Closed { .. }
            | Error::NoServers(_) => FailureKind::Unreachable,
            Error::Kerberos(error) if error.fault == gss::Fault::Unreachable => FailureKind::Unreachable,
            Error::AllFailed { last, .. } => last.kind(),
            Error::BindRefused { outcome, .. } | Error::Refused { outcome, .. }
                if matches!(outcome.code, ResultCode::BUSY | ResultCode::UNAVAILABLE) =>
            {
                FailureKind::Unreachable
            }
            Error::BindRefused { .. } | Error::Password(_) | Error::Kerberos(_) => FailureKind::Denied,
            Error::Refused { outcome, .. } if outcome.code == ResultCode::INSUFFICIENT_ACCESS => {
                FailureKind::Denied
            }
            Error::WatermarkRefused { .. } => FailureKind::WatermarkRefused,
            Error::Malformed { .. }
            | Error::TooLong { .. }
            | Error::Broken { .. }
            | Error::Refused { .. }
            | Error::Unsuitable { .. } => FailureKind::Protocol,
        }
    }

    /// Whether another server may do better. A refused account is refused everywhere, and tried nowhere else: each try counts as a wrong
    /// password.
    pub fn is_of_the_server(&self) -> bool {
        !matches!(
            self,
            Error::BindRefused { .. }
                | Error::Refused { .. }
                | Error::WatermarkRefused { .. }
                | Error::Password(_)
                | Error::Kerberos(_)
                | Error::NoServers(_)
                | Error::AllFailed { .. }
        )
    }
}
