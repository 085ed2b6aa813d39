//! People's passwords, judged by the directory that is followed now.

use std::sync::{Arc, Mutex, PoisonError};

use ldap::{Checker, CheckerConfig};

use super::{Followed, source};
use crate::web::{Change, Changed, Colleague, Judged, Judgement, Organisation};

/// Asks the directory of the settings in force. What asks is made when it is first needed, by the thread that needs it: its sockets
/// belong to that thread.
pub(crate) struct Passwords(Mutex<State>);

struct State {
    followed: Followed,
    checker: Option<Arc<Checker>>,
}

impl Passwords {
    pub(crate) fn new(followed: Followed) -> Passwords {
        Passwords(Mutex::new(State { followed, checker: None }))
    }

    /// Asks another directory from now on.
    pub(super) fn follow(&self, followed: Followed) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.followed != followed {
            *state = State { followed, checker: None };
        }
    }

    /// The error is for the operator.
    fn checker(&self) -> Result<Arc<Checker>, String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checker) = &state.checker {
            return Ok(Arc::clone(checker));
        }
        let directory = &state.followed.directory;
        let config = source::locator(directory, &state.followed.dns).and_then(|locator| {
            let account = source::account(directory)?;
            Ok(CheckerConfig { locator: Arc::new(locator), kind: source::kind(directory.kind), account })
        });
        let checker = Arc::new(Checker::new(config.map_err(|error| format!("{error:#}"))?));
        state.checker = Some(Arc::clone(&checker));
        Ok(checker)
    }
}

impl Organisation for Passwords {
    fn check<'a>(&'a self, person: &'a Colleague, password: &'a str) -> Judged<'a> {
        Box::pin(async move {
            match self.checker() {
                Ok(checker) => Organisation::check(&*checker, person, password).await,
                Err(reason) => Judgement::Unanswered { reason },
            }
        })
    }

    fn change<'a>(&'a self, person: &'a Colleague, old: &'a str, new: &'a str) -> Changed<'a> {
        Box::pin(async move {
            match self.checker() {
                Ok(checker) => Organisation::change(&*checker, person, old, new).await,
                Err(reason) => Change::Unanswered { reason },
            }
        })
    }
}
