//! App passwords: what signs in a phone or a program of somebody whose own password this server does not have.
//!
//! Each has a digest user name of its own and is checked as any password is; what was made with it ends with it.

use std::net::IpAddr;

use directory::{
    APP_PASSWORD_BITS, APP_PASSWORDS_PER_USER_MAX, AppPassword, DigestSecrets, LABEL_CHARACTERS_MAX, Purpose,
    UserId,
};
use node::{CallToken, Outcome};
use rand::Rng;
use records::Change;
use sip_message::digest::{Algorithm, Ha1, ha1};
use subtle::ConstantTimeEq;

use crate::accounts::holder;
use crate::admin::{Answer, AppPasswordLine, Call, Holder, IssuedAppPassword, Refusal, Secret, Whom};
use crate::binding::Means;
use crate::frontend::{FrontEnd, Persisting};
use crate::users::{Account, AddressKey};

/// What user names and passwords are written in: letters and digits that nobody takes for one another on a telephone's screen.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Bits of one of its letters.
const BITS_PER_LETTER: usize = 5;
/// Letters of a password.
const PASSWORD_LETTERS: usize = APP_PASSWORD_BITS.div_ceil(BITS_PER_LETTER);
/// Letters between two hyphens of a password.
const GROUP_LETTERS: usize = 5;
/// Letters behind the `~` of a user name: a billion, so that a free one is soon drawn.
const NAME_LETTERS: usize = 6;

/// An app password on its way to storage.
pub(crate) struct Issuing {
    pub(crate) token: CallToken,
    user: UserId,
    password: AppPassword,
    /// What is shown once.
    issued: IssuedAppPassword,
    call: Call,
}

impl FrontEnd {
    pub(crate) fn issue_app_password(
        &mut self,
        token: CallToken,
        whom: &Whom,
        label: &str,
        purpose: Purpose,
    ) -> Result<(), Refusal> {
        let label = label.trim();
        if !(1..=LABEL_CHARACTERS_MAX).contains(&label.chars().count()) || label.contains(char::is_control) {
            return Err(Refusal::BadLabel);
        }
        let account = self.whom(whom)?;
        if !account.user.is_enabled() {
            return Err(Refusal::Disabled);
        }
        let (user, address) = (account.user.id, account.user.address.clone());
        // What is on its way to storage counts.
        let is_on_its_way =
            |what: &&Persisting| matches!(what, Persisting::AppPassword(issuing) if issuing.user == user);
        let count = account.app_passwords.len() + self.persisting.values().filter(is_on_its_way).count();
        if count >= APP_PASSWORDS_PER_USER_MAX {
            return Err(Refusal::TooManyAppPasswords(address));
        }
        let username = self.draw_username(address.user());
        let password = self.draw_password();
        let realm = address.domain().to_owned();
        let stored = AppPassword {
            secrets: secrets_of(&username, &realm, &password.0),
            username: username.clone(),
            purpose,
            label: label.to_owned(),
            created_unix_ms: self.now.wall.0,
        };
        let change = Change::AddAppPassword { user, password: stored.clone() };
        let issued = IssuedAppPassword { username, realm, password };
        let call = Call::AddAppPassword { user: whom.clone(), label: label.to_owned(), purpose };
        let issuing = Issuing { token, user, password: stored, issued, call };
        self.persist(change, Persisting::AppPassword(Box::new(issuing)));
        Ok(())
    }

    /// It is durable, and shown.
    pub(crate) fn app_password_persisted(&mut self, issuing: Issuing, outcome: Outcome) {
        let Issuing { token, user, password, issued, call } = issuing;
        if outcome == Outcome::Applied && self.has_lost_credentials(user) {
            let username = password.username;
            self.persist_soon(Change::RemoveAppPassword { user, username });
            return self.answer_call(token, Answer::Refused(Refusal::Disabled));
        }
        // The name went to somebody else meanwhile, or the user is gone: no other way is worth the code.
        if outcome != Outcome::Applied || !self.users.add_app_password(user, password) {
            return self.answer_call(token, Answer::Refused(Refusal::Busy));
        }
        self.replica.changed(self.now.monotonic, user);
        self.administration_reported(&call);
        self.answer_call(token, Answer::IssuedAppPassword(Box::new(issued)));
    }

    /// Whether the directory took away what a user signs in with elsewhere: also what was on its way to storage then.
    pub(crate) fn has_lost_credentials(&self, user: UserId) -> bool {
        let account = self.users.get(user).and_then(|account| account.user.account.as_ref());
        account.is_some_and(|account| account.standing.ends_credentials())
    }

    pub(crate) fn app_password_removed(&mut self, user: UserId, username: &str) {
        if self.users.remove_app_password(user, username) {
            self.replica.changed(self.now.monotonic, user);
            self.proof_withdrawn(user, |means| matches!(means, Means::AppPassword(of) if **of == *username));
        }
    }

    /// Whom an app password signs in that came as it is.
    pub(crate) fn check_app_password(
        &mut self,
        username: &str,
        password: &str,
        purpose: Purpose,
        source: IpAddr,
    ) -> Result<Holder, Refusal> {
        let username = username.split_once('@').map_or(username, |(name, _)| name).to_lowercase();
        let found = self.users.of_app_password(&username);
        let user = found.map(|(account, _)| account.user.id);
        let now = self.now.monotonic;
        if let Some(wait) = self.auth.wait(now, source, &username, user) {
            self.counters.sign_ins_slowed += 1;
            return Err(Refusal::SlowDown { wait_seconds: sign_in::Authenticator::retry_after(wait) });
        }
        // It was made in the realm that the owner's address had then. A stranger's costs the same arithmetic.
        let realms: Vec<&str> = match found {
            Some((account, _)) => realms(account),
            None => vec![self.config.domains[0].as_str()],
        };
        let mut is_right = subtle::Choice::from(0);
        for realm in realms {
            let given = secrets_of(&username, realm, password);
            let known = found.map_or([0; 32], |(_, known)| known.secrets.sha256);
            is_right |= given.sha256.ct_eq(&known);
        }
        let is_fit = |(_, known): &(&Account, &AppPassword)| bool::from(is_right) && known.purpose == purpose;
        let Some((account, _)) = found.filter(is_fit) else {
            self.counters.sign_ins_refused += 1;
            self.auth.failed(now, source, &username);
            return Err(Refusal::WrongPassword);
        };
        if !account.user.is_enabled() {
            return Err(Refusal::Disabled);
        }
        let holder = holder(account);
        self.counters.sign_ins_by_app_password += 1;
        self.auth.succeeded(now, source, &username, holder.user);
        Ok(holder)
    }

    /// A user name that is nobody's: neither another app password's nor a user's.
    fn draw_username(&mut self, user: &str) -> String {
        loop {
            let username = format!("{user}~{}", self.draw_letters(NAME_LETTERS));
            let is_address = |domain: &directory::DomainName| {
                self.users.find(&AddressKey::new(&username, domain.as_str())).is_some()
            };
            let is_free = self.users.of_app_password(&username).is_none()
                && !self.config.domains.iter().any(is_address);
            if is_free {
                return username;
            }
        }
    }

    fn draw_password(&mut self) -> Secret {
        let letters = self.draw_letters(PASSWORD_LETTERS);
        let mut password = String::with_capacity(PASSWORD_LETTERS + PASSWORD_LETTERS / GROUP_LETTERS);
        for (at, letter) in letters.chars().enumerate() {
            // The last letter stands with the group before it.
            if at > 0 && at % GROUP_LETTERS == 0 && at + 1 < PASSWORD_LETTERS {
                password.push('-');
            }
            password.push(letter);
        }
        Secret(password)
    }

    fn draw_letters(&mut self, count: usize) -> String {
        let mut letter = || char::from(ALPHABET[self.rng.random_range(0..ALPHABET.len())]);
        (0..count).map(|_| letter()).collect()
    }
}

pub(crate) fn app_password_lines(account: &Account) -> Vec<AppPasswordLine> {
    let line = |password: &AppPassword| AppPasswordLine {
        username: password.username.clone(),
        purpose: password.purpose,
        label: password.label.clone(),
        created_unix_ms: password.created_unix_ms,
    };
    let mut lines: Vec<AppPasswordLine> = account.app_passwords.iter().map(line).collect();
    lines.sort_by_key(|line| line.created_unix_ms);
    lines
}

/// Realms in which somebody's app passwords may have been made.
fn realms(account: &Account) -> Vec<&str> {
    let addresses = std::iter::once(&account.user.address).chain(&account.user.aliases);
    let mut realms: Vec<&str> = addresses.map(|address| address.domain()).collect();
    realms.sort_unstable();
    realms.dedup();
    realms
}

/// What Digest is checked against (RFC 7616 §3.4.2).
pub(crate) fn secrets_of(username: &str, realm: &str, password: &str) -> DigestSecrets {
    let of = |algorithm| ha1(algorithm, username, realm, password);
    match (of(Algorithm::Md5), of(Algorithm::Sha256)) {
        (Ha1::Md5(md5), Ha1::Sha256(sha256)) => DigestSecrets { md5, sha256 },
        _ => unreachable!("ha1 gives the variant of its algorithm"),
    }
}
