//! Changing somebody's password: as Active Directory does it ([MS-ADTS] 3.1.1.3.1.5), or by the extended operation of RFC 3062.
//!
//! Both give the old password together with the new one: this is a change, which the owner's knowledge of the old one justifies, and no
//! reset, for which an account would need a right.

use directory_source::ServerKind;

use crate::checker::{BindRefusal, Person};
use crate::connection::Connection;
use crate::error::Error;
use crate::password::Password;
use crate::wire::ber::{Tag, Writer};
use crate::wire::{Modification, ModifyOperation, Outcome, ResultCode};

/// The Password Modify operation (RFC 3062 §2).
const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";

/// Why a password was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeRefusal {
    /// Its owner is not let in with the old one.
    #[error(transparent)]
    Old(#[from] BindRefusal),
    /// The directory's rules do not take the new one: too short, too simple, used before, or changed too recently.
    #[error("the directory's rules do not take this password")]
    Rules,
    /// The directory does not let them change it themselves.
    #[error("the password may not be changed by its owner")]
    NotAllowed,
}

pub(crate) async fn change(
    connection: &mut Connection,
    kind: ServerKind,
    person: &Person,
    old: &Password,
    new: &Password,
) -> Result<(), ChangeRefusal> {
    let outcome = match kind {
        ServerKind::ActiveDirectory => {
            let value = |operation, password: &Password| Modification {
                operation,
                attribute: "unicodePwd".to_owned(),
                values: vec![password.quoted_utf16()],
            };
            let modifications = [value(ModifyOperation::Delete, old), value(ModifyOperation::Add, new)];
            connection.modify(&format!("<GUID={}>", person.object), &modifications).await
        }
        ServerKind::Ldap => {
            let value = password_modify(&person.bind_name, old, new);
            connection.extended(PASSWORD_MODIFY, Some(value.as_slice())).await.map(|(outcome, _)| outcome)
        }
    };
    let unanswered = |error: Error| BindRefusal::Unanswered(error.to_string());
    refusal(&outcome.map_err(unanswered)?).map_or(Ok(()), Err)
}

fn password_modify(dn: &str, old: &Password, new: &Password) -> zeroize::Zeroizing<Vec<u8>> {
    let mut writer = Writer::new();
    writer.sequence(|body| {
        body.element(Tag::context(0), dn.as_bytes());
        body.element(Tag::context(1), old.octets()).element(Tag::context(2), new.octets());
    });
    zeroize::Zeroizing::new(writer.finish())
}

/// What an outcome means; Active Directory begins its messages with a number of Windows ([MS-ERREF] 2.2).
fn refusal(outcome: &Outcome) -> Option<ChangeRefusal> {
    /// `ERROR_INVALID_PASSWORD`.
    const INVALID_PASSWORD: u32 = 0x56;
    /// `ERROR_PASSWORD_RESTRICTION`.
    const PASSWORD_RESTRICTION: u32 = 0x52d;
    /// `ERROR_ACCOUNT_LOCKED_OUT`.
    const ACCOUNT_LOCKED_OUT: u32 = 0x775;
    if outcome.is_success() {
        return None;
    }
    let number =
        outcome.message.split(':').next().and_then(|digits| u32::from_str_radix(digits.trim(), 16).ok());
    Some(match (outcome.code, number) {
        (_, Some(INVALID_PASSWORD)) => BindRefusal::WrongPassword.into(),
        (_, Some(PASSWORD_RESTRICTION)) => ChangeRefusal::Rules,
        (_, Some(ACCOUNT_LOCKED_OUT)) => BindRefusal::LockedOut.into(),
        (ResultCode::INVALID_CREDENTIALS, _) => BindRefusal::WrongPassword.into(),
        (ResultCode::CONSTRAINT_VIOLATION, _) => ChangeRefusal::Rules,
        (ResultCode::INSUFFICIENT_ACCESS, _) => ChangeRefusal::NotAllowed,
        _ => BindRefusal::Unavailable(outcome.to_string()).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_understood() {
        let of = |code, message: &str| {
            refusal(&Outcome { code, matched_dn: String::new(), message: message.to_owned() })
        };
        assert_eq!(of(ResultCode::SUCCESS, ""), None);
        let wrong = Some(ChangeRefusal::Old(BindRefusal::WrongPassword));
        assert_eq!(
            of(
                ResultCode::CONSTRAINT_VIOLATION,
                "00000056: AtrErr: DSID-03190FD6, #1:\n\t0: 00000056: DSID-03190FD6"
            ),
            wrong
        );
        assert_eq!(of(ResultCode::INVALID_CREDENTIALS, ""), wrong);
        for (code, message) in [
            (
                ResultCode::CONSTRAINT_VIOLATION,
                "0000052D: Constraint violation - check_password_restrictions",
            ),
            (ResultCode::UNWILLING_TO_PERFORM, "0000052D: SvcErr: DSID-031A12D2, problem 5003"),
            (ResultCode::CONSTRAINT_VIOLATION, "Password fails quality checking policy"),
        ] {
            assert_eq!(of(code, message), Some(ChangeRefusal::Rules), "{message}");
        }
        assert_eq!(of(ResultCode::INSUFFICIENT_ACCESS, "00002098: SecErr"), Some(ChangeRefusal::NotAllowed));
        assert!(matches!(
            of(ResultCode::UNWILLING_TO_PERFORM, "0000001F: SvcErr"),
            Some(ChangeRefusal::Old(BindRefusal::Unavailable(_)))
        ));
    }
}
