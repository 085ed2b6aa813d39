//! The organisation's directory over LDAP.

use std::time::Duration;

use ldap::{BindRefusal, ChangeRefusal, Checker, LockoutPolicy, Password};

use super::organisation::{Change, Changed, Colleague, Judged, Judgement, Locks, Organisation};

/// When a person should try again whose directory cannot be asked: servers that failed are tried again after some seconds.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10);

/// For what locks a person: who mistyped waits for it.
const POLICY_TIME: Duration = Duration::from_secs(5);
/// What a password policy is taken for that may not be read: the strictest under which a password can be wrong without harm.
const HIDDEN_POLICY_LOCKS_AT: u32 = 2;

impl Organisation for Checker {
    fn check<'a>(&'a self, person: &'a Colleague, password: &'a str) -> Judged<'a> {
        Box::pin(async move {
            let Ok(password) = Password::new(password) else { return Judgement::Wrong };
            match Checker::check(self, &person.bind_name, &password).await {
                Ok(()) => Judgement::Right,
                Err(refusal) => judgement(refusal),
            }
        })
    }

    fn locks_person_at<'a>(&'a self, person: &'a Colleague) -> Locks<'a> {
        Box::pin(async move {
            let policy = tokio::time::timeout(POLICY_TIME, self.lockout_policy(person.object)).await;
            let reason = match policy {
                Ok(Ok(LockoutPolicy::OfDomain)) => return Some(0),
                Ok(Ok(LockoutPolicy::Own { threshold })) => return Some(threshold),
                Ok(Ok(LockoutPolicy::Hidden { name })) => {
                    tracing::warn!(
                        event = "password-policy-hidden",
                        policy = name,
                        "a password policy may not be read: whom it counts for gets one wrong password"
                    );
                    return Some(HIDDEN_POLICY_LOCKS_AT);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it took more than {} s", POLICY_TIME.as_secs()),
            };
            tracing::warn!(
                event = "password-policy",
                reason,
                "what locks a person cannot be read: the domain's counts"
            );
            None
        })
    }

    fn change<'a>(&'a self, person: &'a Colleague, old: &'a str, new: &'a str) -> Changed<'a> {
        Box::pin(async move {
            let Ok(old) = Password::new(old) else { return Change::WrongOld };
            let Ok(new) = Password::new(new) else {
                return Change::NewRefused("it is empty, too long, or holds a NUL".to_owned());
            };
            let person = ldap::Person { bind_name: person.bind_name.clone(), object: person.object };
            match Checker::change(self, &person, &old, &new).await {
                Ok(()) => Change::Done,
                Err(ChangeRefusal::Rules) => Change::NewRefused(ChangeRefusal::Rules.to_string()),
                Err(refusal @ ChangeRefusal::NotAllowed) => Change::Forbidden(refusal.to_string()),
                Err(ChangeRefusal::Old(refusal)) => changed(judgement(refusal)),
            }
        })
    }
}

fn judgement(refusal: BindRefusal) -> Judgement {
    match refusal {
        BindRefusal::WrongPassword | BindRefusal::NoSuchUser => Judgement::Wrong,
        BindRefusal::Disabled => Judgement::Disabled,
        BindRefusal::LockedOut => Judgement::Locked,
        BindRefusal::PasswordExpired => Judgement::PasswordExpired,
        BindRefusal::MustChange => Judgement::MustChange,
        BindRefusal::AccountExpired => Judgement::AccountExpired,
        BindRefusal::NotNow => Judgement::Restricted,
        BindRefusal::Unavailable(reason) => Judgement::Unreachable { reason, retry_after: RETRY_AFTER },
        BindRefusal::Unanswered(reason) => Judgement::Unanswered { reason },
    }
}

/// What stands in the way of a change before the new password is looked at.
fn changed(judgement: Judgement) -> Change {
    match judgement {
        Judgement::Wrong => Change::WrongOld,
        Judgement::Unreachable { reason, retry_after } => Change::Unreachable { reason, retry_after },
        Judgement::Unanswered { reason } => Change::Unanswered { reason },
        // The service's account changes passwords that their owners cannot sign in with; where it could not, the state is
        // the account's.
        other => Change::Forbidden(format!("{other:?}")),
    }
}
