//! Who somebody is, for the sign-in over the web: names, passwords of local accounts, tokens.

use std::net::IpAddr;
use std::time::Duration;

use directory::{SipAddress, Standing, UserId};
use node::UnixMillis;
use records::Change;
use sign_in::token::{Claims, TokenError};
use subtle::ConstantTimeEq;

use crate::admin::{Holder, IssuedToken, Refusal, Renewed, Secret, SignInFacts, TokenHolder, Way, Whom};
use crate::binding::Means;
use crate::frontend::FrontEnd;
use crate::users::{Account, AddressKey};

/// Longest name that anybody signs in by, in octets: a principal name of Active Directory has 1,024 characters at the most, and none in use a
/// quarter of them.
const NAME_OCTETS_MAX: usize = 256;

/// Why somebody with a token is not signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BearerFault {
    /// The token is not good.
    Token(TokenError),
    /// Too much that was made up came before.
    Wait(Duration),
}

impl FrontEnd {
    /// Whom a request's token signs in. `claimed` is who the sender says to be; a token that was made up is counted for `source`, if that is
    /// known for sure.
    pub(crate) fn judge_bearer(
        &mut self,
        token: &str,
        claimed: &str,
        source: Option<IpAddr>,
    ) -> Result<(UserId, Means), BearerFault> {
        let now = self.now.monotonic;
        let judged = self.judge_token(token).map(|(account, claims)| (account.user.id, claims));
        match judged {
            Ok((user, claims)) => {
                self.counters.sign_ins_by_token += 1;
                self.tokens_issued_until = self.tokens_issued_until.max(claims.issued_unix_ms);
                Ok((user, Means::of_token(&claims)))
            }
            Err(error) => {
                // Neither a good token nor news of one that was good is held up by what others made up.
                if let (TokenError::Forged, Some(source)) = (error, source) {
                    if let Some(wait) = self.auth.wait(now, source, claimed, None) {
                        self.counters.sign_ins_slowed += 1;
                        return Err(BearerFault::Wait(wait));
                    }
                    self.auth.failed(now, source, claimed);
                }
                self.counters.sign_ins_refused += 1;
                Err(BearerFault::Token(error))
            }
        }
    }

    /// Who signs in by a name.
    pub(crate) fn find_for_sign_in(&self, name: &str) -> Result<SignInFacts, Refusal> {
        let name = name.trim();
        let nobody = || Refusal::NobodyOfThatName { counts_as: self.counted_name(name) };
        if name.len() > NAME_OCTETS_MAX {
            return Err(nobody());
        }
        let name = without_scheme(name);
        let of_address = || self.users.get(self.users.find_address(&SipAddress::parse(name).ok()?)?);
        let of_name = || self.users.of_sign_in_name(&name.to_lowercase());
        let account = of_address().or_else(of_name).or_else(|| self.of_user_part(name));
        let Account { user, .. } = account.ok_or_else(nobody)?;
        let way = match &user.account {
            None => Way::Local,
            Some(account) => Way::Directory {
                object: account.object,
                bind_name: account.bind_name.clone(),
                sign_in_names: account.sign_in_names.clone(),
            },
        };
        Ok(SignInFacts {
            user: user.id,
            address: user.address.clone(),
            display_name: user.display_name.clone(),
            is_enabled: user.is_enabled(),
            state: user.state,
            standing: user.account.as_ref().map_or(Standing::Active, |account| account.standing),
            role: user.role(),
            way,
        })
    }

    /// What a name of nobody counts as. What stands before `\` or behind `@` is left out where users here are found with it; all forms of a
    /// user's name count as one. Where nobody is found with it, those of a user do not count together either.
    fn counted_name(&self, name: &str) -> String {
        let name = name.to_lowercase();
        let name = without_scheme(&name);
        let is_ours = |domain: &str| self.config.domains.iter().any(|ours| ours.as_str() == domain);
        let user = match (name.split_once('\\'), name.rsplit_once('@')) {
            (Some((place, user)), _) => Some(user).filter(|_| self.users.has_sign_in_place(&[place, "\\"])),
            (None, Some((user, domain))) => {
                Some(user).filter(|_| is_ours(domain) || self.users.has_sign_in_place(&["@", domain]))
            }
            (None, None) => None,
        };
        user.unwrap_or(name).to_owned()
    }

    /// The one whose address begins so, in whichever of our domains.
    fn of_user_part(&self, user: &str) -> Option<&Account> {
        let keys = self.config.domains.iter().map(|domain| AddressKey::new(user, domain.as_str()));
        let mut ids = keys.filter_map(|key| self.users.find(&key));
        let first = ids.next()?;
        if ids.any(|other| other != first) { None } else { self.users.get(first) }
    }

    /// Whether it is a local account's password. The right one of a disabled account is told so: its owner may know. Who asks counts the
    /// wrong ones, those for nobody's names with them: counted here too, a name that is somebody's would be slowed sooner.
    pub(crate) fn check_password(
        &mut self,
        user: UserId,
        password: &str,
        source: IpAddr,
    ) -> Result<(), Refusal> {
        let account = self.users.get(user).ok_or(Refusal::NoSuchId)?;
        let given = crate::secrets(&account.user.address, password);
        let known = account.user.secrets.as_ref();
        let is_right = known.is_some_and(|known| bool::from(given.sha256.ct_eq(&known.sha256)));
        if !is_right {
            self.counters.sign_ins_refused += 1;
            return Err(Refusal::WrongPassword);
        }
        if !account.user.is_enabled() {
            return Err(Refusal::Disabled);
        }
        self.counters.sign_ins += 1;
        let name = account.user.address.user();
        self.auth.succeeded(self.now.monotonic, source, name, user);
        Ok(())
    }

    pub(crate) fn issue_token(
        &mut self,
        user: UserId,
        lifetime: Duration,
        renewed: Option<Renewed>,
    ) -> Result<IssuedToken, Refusal> {
        let account = self.users.get(user).ok_or(Refusal::NoSuchId)?;
        if !account.user.is_enabled() {
            return Err(Refusal::Disabled);
        }
        // It was judged a moment ago. No renewal outruns a revocation.
        if renewed.is_some_and(|renewed| renewed.issued_unix_ms < account.user.tokens_since_unix_ms) {
            return Err(Refusal::Token(TokenError::Revoked));
        }
        // One that is issued within the millisecond of a revocation comes after it.
        let issued_unix_ms = self.now.wall.0.max(account.user.tokens_since_unix_ms);
        let claims = Claims {
            user,
            signed_in_unix_ms: renewed.map_or(issued_unix_ms, |renewed| renewed.signed_in_unix_ms),
            issued_unix_ms,
            expires_unix_ms: (self.now.wall + lifetime).0,
        };
        self.tokens_issued_until = self.tokens_issued_until.max(issued_unix_ms);
        let token = Secret(self.token_key.issue(&claims));
        Ok(IssuedToken { token, expires_unix_ms: claims.expires_unix_ms })
    }

    /// Whom a token signs in.
    pub(crate) fn judge_token(&self, token: &str) -> Result<(&Account, Claims), TokenError> {
        let claims = self.token_key.read(token, self.now.wall)?;
        let account = self.users.get(claims.user).ok_or(TokenError::Disabled)?;
        claims.check(account.user.is_enabled(), account.user.tokens_since_unix_ms)?;
        Ok((account, claims))
    }

    pub(crate) fn token_holder(&self, token: &str) -> Result<TokenHolder, Refusal> {
        let (account, claims) = self.judge_token(token).map_err(Refusal::Token)?;
        Ok(TokenHolder {
            holder: holder(account),
            issued_unix_ms: claims.issued_unix_ms,
            signed_in_unix_ms: claims.signed_in_unix_ms,
            expires_unix_ms: claims.expires_unix_ms,
        })
    }

    /// Since when tokens of a user count that are issued from now on: none that was issued before, also where the clock was set back
    /// since.
    pub(crate) fn tokens_since_now(&self, user: UserId) -> UnixMillis {
        let since = self.users.get(user).map_or(0, |account| account.user.tokens_since_unix_ms);
        let last = self.now.wall.0.max(self.tokens_issued_until).max(since);
        UnixMillis(last) + Duration::from_millis(1)
    }

    /// A change that revokes tokens begins. None is good from now on, durable or not: one that was renewed meanwhile would come after it.
    /// Directors hear of it when it is durable; what they let pass until then is judged here.
    pub(crate) fn end_tokens(&mut self, change: &Change) {
        let (user, since_unix_ms) = match change {
            Change::RevokeTokens { user, since_unix_ms } => (*user, *since_unix_ms),
            Change::SetUserState { user, tokens_since_unix_ms, .. }
            | Change::SetUserSecrets { user, tokens_since_unix_ms, .. } => (*user, *tokens_since_unix_ms),
            _ => return,
        };
        if let Some(account) = self.users.get_mut(user) {
            account.user.tokens_since_unix_ms = account.user.tokens_since_unix_ms.max(since_unix_ms);
        }
    }

    /// The revocation is durable: what was made with tokens ends.
    pub(crate) fn tokens_revoked(&mut self, user: UserId, since_unix_ms: u64) {
        if self.users.get(user).is_none() {
            return;
        }
        self.replica.changed(self.now.monotonic, user);
        let is_over = |means: &Means| match means {
            Means::Token { issued_unix_ms, .. } => *issued_unix_ms < since_unix_ms,
            _ => false,
        };
        self.proof_withdrawn(user, is_over);
    }

    pub(crate) fn whom(&self, whom: &Whom) -> Result<&Account, Refusal> {
        match whom {
            Whom::Id(id) => self.users.get(*id).ok_or(Refusal::NoSuchId),
            Whom::Address(address) => {
                let id = self.known(address)?;
                Ok(self.users.get(id).expect("it was just found"))
            }
        }
    }
}

/// People copy their address from where it is a URI.
fn without_scheme(name: &str) -> &str {
    let is_scheme = |scheme: &str| scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
    name.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).map_or(name, |(_, rest)| rest.trim_start())
}

pub(crate) fn holder(account: &Account) -> Holder {
    Holder {
        user: account.user.id,
        address: account.user.address.clone(),
        display_name: account.user.display_name.clone(),
        role: account.user.role(),
    }
}
