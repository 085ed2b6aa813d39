//! People's passwords: checked by a bind as them, on a connection of its own that ends with it.
//!
//! An empty password never gets here ([`Password`]); where an account's sign-in is refused, the server says why in a number of its own,
//! which becomes a [`BindRefusal`]. Whoever asks must slow down those who guess: each wrong password counts in the directory, too.

use std::sync::Arc;
use std::time::Duration;

use directory::ObjectId;
use directory_source::ServerKind;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::account::Account;
use crate::connection::Connection;
use crate::error::Error;
use crate::lockout::{self, LockoutPolicy};
use crate::password::Password;
use crate::password_change::{self, ChangeRefusal};
use crate::servers::Locator;
use crate::wire::ber::{Malformed, Reader, Tag};
use crate::wire::{Control, Outcome, ResultCode};

/// Passwords that are checked at the same time: a server of the directory has other work to do.
const AT_ONCE_MAX: usize = 8;
/// Further ones that wait for that.
const WAITING_MAX: usize = 256;
/// How long one waits.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a checker is told once.
#[derive(Clone, Debug)]
pub struct CheckerConfig {
    /// Where the servers are.
    pub locator: Arc<Locator>,
    /// What the servers speak.
    pub kind: ServerKind,
    /// Who changes passwords that have expired: their owners cannot sign in any more. In Active Directory any account may, given the old
    /// password.
    pub account: Account,
}

/// Checks and changes passwords. Shared by everybody who signs people in.
pub struct Checker {
    config: CheckerConfig,
    at_once: Semaphore,
    waiting: Semaphore,
}

/// Whose password it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// What the directory calls them in a bind: a user principal name in Active Directory, a distinguished name elsewhere.
    pub bind_name: String,
    /// Their object.
    pub object: ObjectId,
}

/// Why somebody is not let in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindRefusal {
    /// The password is wrong. Servers that are careful say so, too, where there is nobody of that name.
    #[error("wrong password")]
    WrongPassword,
    /// There is nobody of that name.
    #[error("no such user")]
    NoSuchUser,
    /// An administrator disabled the account.
    #[error("the account is disabled")]
    Disabled,
    /// Too many wrong passwords were tried.
    #[error("the account is locked")]
    LockedOut,
    /// The password is right, and too old.
    #[error("the password has expired")]
    PasswordExpired,
    /// The password is right, and must be changed before anything else.
    #[error("the password must be changed")]
    MustChange,
    /// The account ended at a date.
    #[error("the account has expired")]
    AccountExpired,
    /// The account may not sign in at this time, or from a computer that is not listed.
    #[error("the account may not sign in now or here")]
    NotNow,
    /// The directory cannot be asked, or refuses for a reason of its own; in words for the operator.
    #[error("the directory cannot say: {0}")]
    Unavailable(String),
    /// The directory was asked, and the answer did not come; it may have counted a wrong password. In words for the operator.
    #[error("the directory did not answer: {0}")]
    Unanswered(String),
}

impl Checker {
    /// Connects to nobody yet.
    pub fn new(config: CheckerConfig) -> Checker {
        Checker {
            config,
            at_once: Semaphore::new(AT_ONCE_MAX),
            waiting: Semaphore::new(AT_ONCE_MAX + WAITING_MAX),
        }
    }

    /// Whether this is their password.
    pub async fn check(&self, bind_name: &str, password: &Password) -> Result<(), BindRefusal> {
        let Bound { connection, must_change } = self.in_turn(self.bind(bind_name, password)).await??;
        connection.close().await;
        if must_change { Err(BindRefusal::MustChange) } else { Ok(()) }
    }

    /// Changes their password, also one that has expired or must be changed.
    pub async fn change(&self, person: &Person, old: &Password, new: &Password) -> Result<(), ChangeRefusal> {
        self.in_turn(self.change_now(person, old, new)).await?
    }

    /// What says how many wrong passwords lock somebody, read by the account of the configuration.
    pub async fn lockout_policy(&self, person: ObjectId) -> Result<LockoutPolicy, Error> {
        if self.config.kind != ServerKind::ActiveDirectory {
            return Ok(LockoutPolicy::OfDomain);
        }
        let mut connection = self.config.locator.connect().await?;
        self.config.locator.sign_in(&self.config.account, &mut connection).await?;
        let policy = lockout::read(&mut connection, person).await;
        connection.close().await;
        policy
    }

    async fn change_now(&self, person: &Person, old: &Password, new: &Password) -> Result<(), ChangeRefusal> {
        let mut connection = match self.bind(&person.bind_name, old).await {
            // Also where they must change it: on this connection they may.
            Ok(Bound { connection, .. }) => connection,
            // They cannot sign in, and who can may change it for them with both passwords.
            Err(BindRefusal::PasswordExpired | BindRefusal::MustChange) => {
                let mut connection = self.config.locator.connect().await.map_err(unavailable)?;
                self.config
                    .locator
                    .sign_in(&self.config.account, &mut connection)
                    .await
                    .map_err(unavailable)?;
                connection
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let changed = password_change::change(&mut connection, self.config.kind, person, old, new).await;
        connection.close().await;
        changed
    }

    /// Signs them in on a connection of their own.
    async fn bind(&self, bind_name: &str, password: &Password) -> Result<Bound, BindRefusal> {
        // Without a name a bind is anonymous, whatever the password.
        if bind_name.is_empty() {
            return Err(BindRefusal::NoSuchUser);
        }
        let mut connection = self.config.locator.connect().await.map_err(unavailable)?;
        let controls = match self.config.kind {
            ServerKind::ActiveDirectory => Vec::new(),
            ServerKind::Ldap => vec![password_policy()],
        };
        let bound = connection.bind_simple(bind_name, password, &controls).await;
        let (outcome, controls) = bound.map_err(|error| {
            self.config.locator.blame(connection.host());
            BindRefusal::Unanswered(error.to_string())
        })?;
        match refusal(&outcome, policy_error(&controls)) {
            None => Ok(Bound { connection, must_change: false }),
            Some(BindRefusal::MustChange) if outcome.is_success() => {
                Ok(Bound { connection, must_change: true })
            }
            Some(refusal) => Err(refusal),
        }
    }

    /// Waits until few others are at it.
    async fn in_turn<T>(&self, work: impl Future<Output = T>) -> Result<T, BindRefusal> {
        let too_many = || BindRefusal::Unavailable("too many passwords are being checked".to_owned());
        let _place = self.waiting.try_acquire().map_err(|_| too_many())?;
        let permit = timeout(WAIT_MAX, self.at_once.acquire()).await.map_err(|_| too_many())?;
        let _permit = permit.expect("it is never closed");
        Ok(work.await)
    }
}

/// Somebody who is signed in.
struct Bound {
    connection: Connection,
    /// They may change their password, and nothing else.
    must_change: bool,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("config", &self.config).finish_non_exhaustive()
    }
}

fn unavailable(error: Error) -> BindRefusal {
    BindRefusal::Unavailable(error.to_string())
}

/// Why an outcome is none, in the words of Active Directory ([MS-ADTS] 5.1.1.5), of a password policy, or of the RFC.
pub(crate) fn refusal(outcome: &Outcome, policy: Option<PolicyError>) -> Option<BindRefusal> {
    if outcome.is_success() {
        // What the policy wants first; the bind was right.
        return (policy == Some(PolicyError::ChangeAfterReset)).then_some(BindRefusal::MustChange);
    }
    Some(match outcome.code {
        ResultCode::INVALID_CREDENTIALS => match (data(&outcome.message), policy) {
            (Some(0x525), _) => BindRefusal::NoSuchUser,
            (Some(0x530 | 0x531), _) => BindRefusal::NotNow,
            (Some(0x532), _) | (_, Some(PolicyError::PasswordExpired)) => BindRefusal::PasswordExpired,
            (Some(0x533), _) => BindRefusal::Disabled,
            (Some(0x701), _) => BindRefusal::AccountExpired,
            (Some(0x773), _) => BindRefusal::MustChange,
            (Some(0x775), _) | (_, Some(PolicyError::AccountLocked)) => BindRefusal::LockedOut,
            (Some(0x52e) | None, _) => BindRefusal::WrongPassword,
            (Some(_), _) => BindRefusal::Unavailable(outcome.to_string()),
        },
        // An account without a password has none that is right.
        ResultCode::INAPPROPRIATE_AUTHENTICATION => BindRefusal::WrongPassword,
        ResultCode::NO_SUCH_OBJECT => BindRefusal::NoSuchUser,
        _ => BindRefusal::Unavailable(outcome.to_string()),
    })
}

/// The number in `80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 52e, v4563`.
fn data(message: &str) -> Option<u32> {
    let (_, behind) = message.split_once(" data ")?;
    let digits = behind.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u32::from_str_radix(digits, 16).ok()
}

/// The control by which OpenLDAP and others say more of passwords (draft-behera-ldap-password-policy-10 §6).
const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

fn password_policy() -> Control {
    Control { name: PASSWORD_POLICY.to_owned(), is_critical: false, value: None }
}

/// What such a policy may object to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PolicyError {
    PasswordExpired,
    AccountLocked,
    ChangeAfterReset,
    Other,
}

/// A control that is malformed says nothing; the outcome counts.
fn policy_error(controls: &[Control]) -> Option<PolicyError> {
    let value = controls.iter().find(|control| control.name == PASSWORD_POLICY)?.value.as_deref()?;
    read_policy_error(value).ok().flatten()
}

fn read_policy_error(value: &[u8]) -> Result<Option<PolicyError>, Malformed> {
    let mut body = Reader::new(value).within(Tag::SEQUENCE)?;
    body.optional(Tag::context_constructed(0))?;
    Ok(body.optional(Tag::context(1))?.map(|error| match error {
        [0] => PolicyError::PasswordExpired,
        [1] => PolicyError::AccountLocked,
        [2] => PolicyError::ChangeAfterReset,
        _ => PolicyError::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: ResultCode, message: &str) -> Outcome {
        Outcome { code, matched_dn: String::new(), message: message.to_owned() }
    }

    #[test]
    fn the_numbers_of_active_directory_are_understood() {
        for (number, expected) in [
            ("525", BindRefusal::NoSuchUser),
            ("52e", BindRefusal::WrongPassword),
            ("530", BindRefusal::NotNow),
            ("531", BindRefusal::NotNow),
            ("532", BindRefusal::PasswordExpired),
            ("533", BindRefusal::Disabled),
            ("701", BindRefusal::AccountExpired),
            ("773", BindRefusal::MustChange),
            ("775", BindRefusal::LockedOut),
        ] {
            for message in [
                format!(
                    "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data {number}, v4563"
                ),
                format!(
                    "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {number}, v1db1"
                ),
                format!("simple bind failed, data {}", number.to_uppercase()),
            ] {
                let refusal = refusal(&outcome(ResultCode::INVALID_CREDENTIALS, &message), None);
                assert_eq!(refusal, Some(expected.clone()), "{message}");
            }
        }
    }

    #[test]
    fn other_outcomes_are_understood() {
        assert_eq!(refusal(&outcome(ResultCode::SUCCESS, ""), None), None);
        let of = |code, message| refusal(&outcome(code, message), None).unwrap();
        assert_eq!(of(ResultCode::INVALID_CREDENTIALS, ""), BindRefusal::WrongPassword);
        assert_eq!(of(ResultCode::NO_SUCH_OBJECT, ""), BindRefusal::NoSuchUser);
        for unknown in [
            of(ResultCode::INVALID_CREDENTIALS, "AcceptSecurityContext error, data 999, v4563"),
            of(ResultCode::BUSY, ""),
            of(ResultCode::REFERRAL, ""),
            of(ResultCode(8), "strong auth required"),
        ] {
            assert!(matches!(unknown, BindRefusal::Unavailable(_)), "{unknown:?}");
        }
    }

    #[test]
    fn the_control_of_password_policies_is_understood() {
        let with = |value: &[u8]| {
            policy_error(&[Control {
                name: PASSWORD_POLICY.to_owned(),
                is_critical: false,
                value: Some(value.to_vec()),
            }])
        };
        assert_eq!(with(b"\x30\x00"), None);
        assert_eq!(with(b"\x30\x03\x81\x01\x00"), Some(PolicyError::PasswordExpired));
        assert_eq!(with(b"\x30\x08\xa0\x03\x80\x01\x05\x81\x01\x01"), Some(PolicyError::AccountLocked));
        assert_eq!(with(b"\x30\x03\x81\x01\x07"), Some(PolicyError::Other));
        assert_eq!(with(b"nonsense"), None);
        let denied = outcome(ResultCode::INVALID_CREDENTIALS, "");
        assert_eq!(refusal(&denied, Some(PolicyError::AccountLocked)), Some(BindRefusal::LockedOut));
        assert_eq!(refusal(&denied, Some(PolicyError::PasswordExpired)), Some(BindRefusal::PasswordExpired));
        let allowed = outcome(ResultCode::SUCCESS, "");
        assert_eq!(refusal(&allowed, Some(PolicyError::ChangeAfterReset)), Some(BindRefusal::MustChange));
        assert_eq!(refusal(&allowed, Some(PolicyError::Other)), None);
    }
}
