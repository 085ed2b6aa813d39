//! The account that reads the directory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::checker::{BindRefusal, refusal};
use crate::connection::Connection;
use crate::error::Error;
use crate::password::Password;
use crate::sasl::Kerberos;
use crate::wire::Outcome;

/// How long a password that was wrong is not sent again. Domains lock accounts after some five wrong ones within half an hour: a password
/// that was changed in the directory and not here must not lock the account that others may use, too.
const REFUSED_PAUSE: Duration = Duration::from_mins(15);

/// Who we are.
#[derive(Clone, Debug)]
pub enum Account {
    /// A name with a password.
    Simple {
        /// A DN, or a user principal name of Active Directory.
        name: String,
        /// The file with its password, read anew for each sign-in, so that a new password needs no restart.
        password_file: PathBuf,
    },
    /// A principal with a keytab.
    Kerberos(Arc<Kerberos>),
}

impl Account {
    /// Signs in.
    pub(crate) async fn sign_in(&self, connection: &mut Connection, refused: &Refused) -> Result<(), Error> {
        let (name, password_file) = match self {
            Account::Simple { name, password_file } => (name, password_file),
            Account::Kerberos(kerberos) => return kerberos.sign_in(connection).await,
        };
        let password = Password::from_file(password_file)?;
        let outcome = match refused.lately(name, &password) {
            Some(outcome) => outcome,
            None => connection.bind_simple(name, &password, &[]).await?.0,
        };
        if outcome.is_success() {
            return Ok(());
        }
        refused.remember(name, &password, &outcome);
        let host = connection.host().to_owned();
        Err(Error::BindRefused { host, account: name.clone(), outcome })
    }
}

/// The last password that was wrong.
#[derive(Default)]
pub(crate) struct Refused(Mutex<Option<Wrong>>);

struct Wrong {
    name: String,
    password: Password,
    outcome: Outcome,
    since: Instant,
}

impl Refused {
    /// What became of this password, if that is not long ago.
    fn lately(&self, name: &str, password: &Password) -> Option<Outcome> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |wrong: &&Wrong| {
            wrong.name == name && wrong.password == *password && wrong.since.elapsed() < REFUSED_PAUSE
        };
        wrong.as_ref().filter(is_same).map(|wrong| wrong.outcome.clone())
    }

    /// Only a wrong password counts: what else is refused may be right the next time.
    fn remember(&self, name: &str, password: &Password, outcome: &Outcome) {
        if refusal(outcome, None) != Some(BindRefusal::WrongPassword) || self.lately(name, password).is_some()
        {
            return;
        }
        let wrong = Wrong {
            name: name.to_owned(),
            password: password.clone(),
            outcome: outcome.clone(),
            since: Instant::now(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wrong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ResultCode;

    fn outcome(data: &str) -> Outcome {
        let message = format!(
            "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data {data}, v4563"
        );
        Outcome { code: ResultCode::INVALID_CREDENTIALS, matched_dn: String::new(), message }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_not_sent_again_for_a_while() {
        let refused = Refused::default();
        let [first, second] = ["first", "second"].map(|text| Password::new(text).unwrap());
        refused.remember("svc", &first, &outcome("52e"));
        assert_eq!(refused.lately("svc", &first), Some(outcome("52e")));
        assert_eq!(refused.lately("svc", &second), None, "a new one is tried at once");
        assert_eq!(refused.lately("other", &first), None);
        tokio::time::advance(REFUSED_PAUSE / 2).await;
        refused.remember("svc", &first, &outcome("52e"));
        tokio::time::advance(REFUSED_PAUSE / 2).await;
        assert_eq!(refused.lately("svc", &first), None, "it was not sent meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_locked_is_tried_again() {
        let refused = Refused::default();
        let password = Password::new("right").unwrap();
        refused.remember("svc", &password, &outcome("775"));
        assert_eq!(refused.lately("svc", &password), None);
    }
}
