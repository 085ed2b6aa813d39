//! People's passwords, judged by the directory that is followed now.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ldap::{Checker, CheckerConfig};

use super::{Followed, source};
use crate::web::{Change, Changed, Colleague, Judged, Judgement, Locks, Organisation, RETRY_AFTER};

/// Asks the directory of the settings in force. What asks is made when it is first needed, by the thread that needs it: its sockets
/// belong to that thread.
pub(crate) struct Passwords {
    state: Mutex<State>,
    /// See [`Organisation::locks_at`]; 0 where it never does, or is not known yet.
    locks_at: AtomicU32,
}

struct State {
    followed: Followed,
    checker: Option<Arc<Checker>>,
}

impl Passwords {
    pub(crate) fn new(followed: Followed) -> Passwords {
        Passwords { state: Mutex::new(State { followed, checker: None }), locks_at: AtomicU32::new(0) }
    }

    /// Asks another directory from now on.
    pub(super) fn follow(&self, followed: Followed) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.followed != followed {
            *state = State { followed, checker: None };
        }
    }

    /// What the domain said when it was connected to.
    pub(super) fn lock_at(&self, wrong_passwords: Option<u32>) {
        self.locks_at.store(wrong_passwords.unwrap_or(0), Relaxed);
    }

    /// The error is for the operator: nobody was asked then, and no try is counted.
    fn checker(&self) -> Result<Arc<Checker>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn locks_at(&self) -> u32 {
        self.locks_at.load(Relaxed)
    }

    fn check<'a>(&'a self, person: &'a Colleague, password: &'a str) -> Judged<'a> {
        Box::pin(async move {
            match self.checker() {
                Ok(checker) => Organisation::check(&*checker, person, password).await,
                Err(reason) => Judgement::Unreachable { reason, retry_after: RETRY_AFTER },
            }
        })
    }

    fn locks_person_at<'a>(&'a self, person: &'a Colleague) -> Locks<'a> {
        Box::pin(async move { Organisation::locks_person_at(&*self.checker().ok()?, person).await })
    }

    fn change<'a>(&'a self, person: &'a Colleague, old: &'a str, new: &'a str) -> Changed<'a> {
        Box::pin(async move {
            match self.checker() {
                Ok(checker) => Organisation::change(&*checker, person, old, new).await,
                Err(reason) => Change::Unreachable { reason, retry_after: RETRY_AFTER },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use directory::ObjectId;

    use super::*;
    use crate::config::Settings;

    /// A file that cannot be read is the operator's fault: nobody was asked, so that nobody's try is counted for it.
    #[test]
    fn a_fault_of_the_configuration_is_no_try_of_anybody() {
        let dir = tempfile::tempdir().unwrap();
        let text = "domains = [\"corp.example\"]\n[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5060\"\n\
            [directory]\nkind = \"active-directory\"\ndomain = \"corp.example\"\nservers = [\"dc1.corp.example\"]\n\
            authority_file = \"gone.pem\"\naccount = \"svc@corp.example\"\npassword_file = \"svc.password\"\n";
        let settings = Settings::parse(text, "chancery.toml".as_ref(), dir.path()).unwrap();
        let passwords = Passwords::new(Followed::of(&settings).expect("a directory is followed"));
        let alice = Colleague { bind_name: "alice@corp.example".to_owned(), object: ObjectId([7; 16]) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let judged = runtime.block_on(passwords.check(&alice, "a password"));
        assert!(
            matches!(&judged, Judgement::Unreachable { reason, .. } if reason.contains("gone.pem")),
            "{judged:?}"
        );
        let changed = runtime.block_on(passwords.change(&alice, "a password", "another"));
        assert!(
            matches!(&changed, Change::Unreachable { reason, .. } if reason.contains("gone.pem")),
            "{changed:?}"
        );
    }
}
