//! What can go wrong, by who is at fault.

use std::fmt;

use crate::sys;

/// The library is not on this machine, or is not what we know under its name. The text is the loader's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Kerberos needs the library {file}, which could not be loaded: {0}. Debian and Ubuntu: apt install libgssapi-krb5-2; \
     Red Hat: dnf install krb5-libs",
    file = sys::FILE
)]
pub struct NotInstalled(pub(crate) String);

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Who has to do something about it.
    pub fault: Fault,
    /// The GSSAPI call.
    pub call: &'static str,
    /// The library's words, for the operator.
    pub text: String,
}

/// Who is at fault, and so what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The peer's token is malformed, or was changed on its way.
    Token,
    /// The peer wants another mechanism than Kerberos first, usually NTLM.
    Mechanism,
    /// The peer wants another round, which is not offered.
    Rounds,
    /// The peer's channel binding is that of another connection: somebody may stand in the middle.
    Binding,
    /// This very token was used before.
    Replay,
    /// The ticket is over, or not yet good.
    Expired,
    /// The clocks of the two sides differ by more than the allowed skew, five minutes unless configured.
    Clock,
    /// A key does not fit. Of an acceptor: the ticket is for a key that the keytab does not have (an old keytab, another
    /// service, another account). Of an initiator: its own key is not the one that the key server has.
    Key,
    /// The peer did not prove who it is, though it had to, or does not say who it is, or under which account.
    Identity,
    /// Our keytab or cache of tickets cannot be read, or has nothing that fits.
    Credentials,
    /// The key server refuses us or does not know the target; its reason is in the text.
    Refused,
    /// No key server of the realm could be found or reached.
    Unreachable,
    /// What none of the others says.
    Other,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.text)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn new(call: &'static str, major: u32, minor: u32, texts: Vec<String>) -> Error {
        let text = if texts.is_empty() {
            format!("status {major:#x}, {}", minor.cast_signed())
        } else {
            texts.join(": ")
        };
        Error { fault: fault(major, minor), call, text }
    }

    /// A failure that we found, not the library.
    pub(crate) fn of_ours(call: &'static str, text: &str) -> Error {
        Error { fault: Fault::Other, call, text: text.to_owned() }
    }

    pub(crate) fn because(self, fault: Fault) -> Error {
        Error { fault, ..self }
    }
}

/// Kerberos' own reason first; the general status says less.
fn fault(major: u32, minor: u32) -> Fault {
    /// Where MIT's numbers begin. The first 128 are the error codes of the protocol (RFC 4120 §7.5.9).
    const KERBEROS: i32 = -1_765_328_384;
    match minor.cast_signed().wrapping_sub(KERBEROS) {
        // KDC_ERR_NEVER_VALID: it found our clock wrong before it looked at anything else.
        11 | 37 => return Fault::Clock,
        1..=30 | 60..=76 => return Fault::Refused,
        // AP_ERR_BAD_INTEGRITY, AP_ERR_MODIFIED, BADKEYVER, NOKEY, NOT_US; AP_WRONG_PRINC, KT_NOTFOUND, KT_KVNONOTFOUND.
        31 | 35 | 41 | 44 | 45 | 144 | 181 | 230 => return Fault::Key,
        32 | 33 => return Fault::Expired,
        34 => return Fault::Replay,
        36 | 39 | 40 | 42 | 43 | 46..=50 => return Fault::Token,
        // REALM_UNKNOWN, KDC_UNREACH, REALM_CANT_RESOLVE.
        154 | 156 | 220 => return Fault::Unreachable,
        // PREAUTH_FAILED: it refuses every way that we could prove ourselves in.
        210 => return Fault::Refused,
        _ => {}
    }
    /// Routine errors stand in the third octet (RFC 2744 §3.9.1).
    const ROUTINE: u32 = 16;
    match major >> ROUTINE & 0xff {
        1 => Fault::Mechanism,
        4 => Fault::Binding,
        6 | 9 => Fault::Token,
        7 | 10 => Fault::Credentials,
        11 | 12 => Fault::Expired,
        _ => Fault::Other,
    }
}
