//! The organisation's directory, as far as sign-in asks it: whether a password is right, and for another one.

use std::pin::Pin;
use std::time::Duration;

use directory::ObjectId;

/// The directory. A trait, because its driver holds connections that tests have none of.
pub(crate) trait Organisation: Send + Sync + 'static {
    /// Whether the password is right, by a bind of its owner. The password is never empty.
    fn check<'a>(&'a self, person: &'a Colleague, password: &'a str) -> Judged<'a>;

    /// How many wrong passwords it locks an account at; 0 where it never does, or where that is not known.
    fn locks_at(&self) -> u32 {
        0
    }

    /// The same for one person, asked where a password of theirs was wrong: 0 where it is as for everybody, `None` where nobody knows.
    fn locks_person_at<'a>(&'a self, person: &'a Colleague) -> Locks<'a>;

    /// Sets another password, with the old one as proof. Also where the old one has expired.
    fn change<'a>(&'a self, person: &'a Colleague, old: &'a str, new: &'a str) -> Changed<'a>;
}

/// Somebody whom the directory knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Colleague {
    /// What a password is checked with.
    pub(crate) bind_name: String,
    /// The object there.
    pub(crate) object: ObjectId,
}

pub(crate) type Judged<'a> = Pin<Box<dyn Future<Output = Judgement> + Send + 'a>>;
pub(crate) type Locks<'a> = Pin<Box<dyn Future<Output = Option<u32>> + Send + 'a>>;
pub(crate) type Changed<'a> = Pin<Box<dyn Future<Output = Change> + Send + 'a>>;

/// What the directory says of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is right.
    Right,
    /// It is wrong, or there is no such account.
    Wrong,
    /// The account is locked; the password was not looked at.
    Locked,
    /// It is right, but the account is disabled.
    Disabled,
    /// It is right, but the account's time is over.
    AccountExpired,
    /// It is right, but has expired.
    PasswordExpired,
    /// It is right, but must be changed first.
    MustChange,
    /// It is right, but the account may not sign in now, or here.
    Restricted,
    /// Nobody was asked. The text is for the operator.
    Unreachable {
        /// Why.
        reason: String,
        /// When somebody is asked again.
        retry_after: Duration,
    },
    /// The directory was asked, and did not say. The text is for the operator.
    Unanswered {
        /// Why.
        reason: String,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The new password holds.
    Done,
    /// The old one is wrong.
    WrongOld,
    /// The new one does not meet the directory's rules. The text is for the person.
    NewRefused(String),
    /// This server, or the person, may not. The text is for the operator.
    Forbidden(String),
    /// As [`Judgement::Unreachable`].
    Unreachable {
        /// Why.
        reason: String,
        /// When somebody is asked again.
        retry_after: Duration,
    },
    /// As [`Judgement::Unanswered`]: the new password may hold.
    Unanswered {
        /// Why.
        reason: String,
    },
}
