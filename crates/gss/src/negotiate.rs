//! The acceptor behind HTTP's `Negotiate` (RFC 4559): one header in, one answer out.
//!
//! What this module is not: it knows no HTTP types and keeps nothing between two requests. Kerberos needs one round, and
//! one request proves one person; a client that wants more rounds is refused. So no connection is ever "signed in", and a
//! proxy that shares connections between people mixes nobody up.
//!
//!     client                                     server
//!       │ GET /                                    │  accept(None)                 Outcome::Challenge
//!       │ ◄─────── 401  WWW-Authenticate: Negotiate │
//!       │ GET /  Authorization: Negotiate YII...   │  accept(Some("Negotiate ..")) Outcome::SignedIn
//!       │ ◄─────── 200  WWW-Authenticate: Negotiate oYG... (the server proves itself)
//!
//! NTLM, which browsers fall back to when they have no ticket, is recognised and refused by name.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;

use crate::{Accepted, Acceptor, ChannelBinding, Error, Fault};

/// What stands in `WWW-Authenticate` of a challenge.
pub const CHALLENGE: &str = "Negotiate";

/// Longest token in octets: Windows makes none above 48,000 (`MaxTokenSize`), and a person in very many groups comes near.
/// As base64 it is a header of 64,000 characters, which the HTTP server must allow.
pub const TOKEN_BYTES_MAX: usize = 48_000;

/// Tokens judged at once. It is arithmetic and one small write; more at once than there are processors only wait.
const ACCEPTS_AT_ONCE_MAX: usize = 4;

/// What a client without a channel binding is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbound {
    /// It signs in: browsers other than those on Windows send no binding.
    Taken,
    /// It is refused.
    Refused,
}

/// Judges `Authorization: Negotiate`. Shared by connections.
pub struct Negotiate {
    acceptor: Arc<Acceptor>,
    unbound: Unbound,
    room: Semaphore,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 401 with [`CHALLENGE`] in `WWW-Authenticate`.
    Challenge,
    /// Whatever the request asked for, with `answer` in `WWW-Authenticate`, if there is one.
    SignedIn(SignedIn),
    /// 401 without a token, which would invite the client to go on.
    Refused(Refusal),
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// `sAMAccountName@REALM` where the key server says it, else the Kerberos principal
    /// ([`Accepted::account_principal`]). The realm is part of who it is: another domain has an alice, too.
    pub principal: String,
    /// What Active Directory says of the account.
    pub account: Option<crate::Account>,
    /// The value of `WWW-Authenticate` that proves the server to the client; `None` for a client that does not ask for it.
    pub answer: Option<String>,
    /// Whether nobody stands between client and server.
    pub is_bound: bool,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is; its text is fit for the person who signs in.
    pub reason: Reason,
    /// The library's words, for the operator.
    pub detail: String,
}

/// What was wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not base64, or longer than [`TOKEN_BYTES_MAX`].
    Malformed,
    /// No channel binding, and [`Unbound::Refused`].
    Unbound,
    /// What the library found.
    Kerberos(Fault),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Malformed => "the sign-in token is malformed",
            Reason::Unbound => "the browser does not bind its sign-in to this connection, which is required here",
            Reason::Kerberos(Fault::Binding) => "the sign-in was made for another connection",
            Reason::Kerberos(Fault::Clock) => "the clocks of this computer and the server differ too much",
            Reason::Kerberos(Fault::Expired) => "the Kerberos ticket has expired",
            Reason::Kerberos(Fault::Replay) => "the sign-in token was used before",
            Reason::Kerberos(Fault::Key | Fault::Credentials) => {
                "the server's keytab does not fit the ticket; its administrator has to renew it"
            }
            Reason::Kerberos(Fault::Mechanism) => {
                "the browser offered NTLM instead of a Kerberos ticket: it has no ticket, or does not trust this address"
            }
            Reason::Kerberos(Fault::Rounds) => "the browser did not send its Kerberos ticket at once",
            Reason::Kerberos(Fault::Token) => "the sign-in token is malformed or was changed on its way",
            Reason::Kerberos(Fault::Identity) => "the Kerberos ticket does not say whose account it is",
            Reason::Kerberos(_) => "the Kerberos ticket was not accepted",
        })
    }
}

impl Negotiate {
    /// Over an acceptor, usually of the service `HTTP`.
    pub fn new(acceptor: Acceptor, unbound: Unbound) -> Negotiate {
        Negotiate { acceptor: Arc::new(acceptor), unbound, room: Semaphore::new(ACCEPTS_AT_ONCE_MAX) }
    }

    /// Judges the value of `Authorization`; other schemes are as good as none. `binding` is that of the connection where
    /// the server ends TLS itself, else `None`.
    ///
    /// The work is done on a thread that may wait (`spawn_blocking`); the runtime must be tokio's.
    pub async fn accept(&self, authorization: Option<&str>, binding: Option<ChannelBinding>) -> Outcome {
        let Some(encoded) = authorization.and_then(credentials) else { return Outcome::Challenge };
        let token = match decode(encoded) {
            Ok(token) => token,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let _place = self.room.acquire().await.expect("it is never closed");
        let acceptor = Arc::clone(&self.acceptor);
        let judged = tokio::task::spawn_blocking(move || acceptor.accept(&token, binding.as_ref())).await;
        match judged.expect("the acceptor does not panic, and the runtime outlives its requests") {
            Ok(accepted) if self.unbound == Unbound::Refused && !accepted.is_bound => {
                Outcome::Refused(Refusal { reason: Reason::Unbound, detail: accepted.account_principal() })
            }
            Ok(accepted) => Outcome::SignedIn(accepted.into()),
            Err(error) => Outcome::Refused(error.into()),
        }
    }
}

impl From<Accepted> for SignedIn {
    fn from(accepted: Accepted) -> SignedIn {
        SignedIn {
            principal: accepted.account_principal(),
            answer: (!accepted.token.is_empty())
                .then(|| format!("{CHALLENGE} {}", STANDARD.encode(&accepted.token))),
            account: accepted.account,
            is_bound: accepted.is_bound,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { reason: Reason::Kerberos(error.fault), detail: error.to_string() }
    }
}

/// What stands behind the scheme (RFC 9110 §11.4); `None` for another scheme.
fn credentials(authorization: &str) -> Option<&str> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(CHALLENGE).then(|| rest.trim())
}

fn decode(encoded: &str) -> Result<Vec<u8>, Refusal> {
    let refusal = |detail: &str| Refusal { reason: Reason::Malformed, detail: detail.to_owned() };
    if encoded.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
        return Err(refusal("the token is too long"));
    }
    STANDARD.decode(encoded).map_err(|_| refusal("the token is no base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_http_says() {
        assert_eq!(credentials("Negotiate YII="), Some("YII="));
        assert_eq!(credentials("  negotiate   YII=  "), Some("YII="));
        assert_eq!(credentials("Basic YWxpY2U6"), None);
        assert_eq!(credentials("Negotiate"), None);
        assert_eq!(credentials("Negotiateur YII="), None);
    }

    #[test]
    fn a_token_is_base64_of_bounded_length() {
        let reason = |encoded: &str| decode(encoded).map_err(|refusal| refusal.reason);
        assert_eq!(reason("%%%"), Err(Reason::Malformed));
        assert_eq!(reason(&STANDARD.encode(vec![0; TOKEN_BYTES_MAX + 3])), Err(Reason::Malformed));
        assert_eq!(reason(&STANDARD.encode(vec![0; TOKEN_BYTES_MAX])), Ok(vec![0; TOKEN_BYTES_MAX]));
    }
}
