//! Who somebody is, for the sign-in over the web: names, passwords of local accounts, tokens.

use std::time::Duration;

use directory::UserId;
use node::UnixMillis;
use sign_in::token::{Claims, TokenError};

use crate::admin::{Holder, IssuedToken, Refusal, Secret, TokenHolder, Whom};
use crate::frontend::FrontEnd;
use crate::users::Account;

impl FrontEnd {
    pub(crate) fn issue_token(
        &self,
        user: UserId,
        lifetime: Duration,
        signed_in_unix_ms: Option<u64>,
    ) -> Result<IssuedToken, Refusal> {
        let account = self.users.get(user).ok_or(Refusal::NoSuchId)?;
        if !account.user.is_enabled() {
            return Err(Refusal::Disabled);
        }
        // One that is issued within the millisecond of a revocation comes after it.
        let issued_unix_ms = self.now.wall.0.max(account.user.tokens_since_unix_ms);
        let claims = Claims {
            user,
            signed_in_unix_ms: signed_in_unix_ms.unwrap_or(issued_unix_ms),
            issued_unix_ms,
            expires_unix_ms: (self.now.wall + lifetime).0,
        };
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

    /// Since when tokens count that are issued from now on: none that was issued before.
    pub(crate) fn tokens_since_now(&self) -> UnixMillis {
        self.now.wall + Duration::from_millis(1)
    }

    pub(crate) fn tokens_revoked(&mut self, user: UserId, since_unix_ms: u64) {
        if let Some(account) = self.users.get_mut(user) {
            account.user.tokens_since_unix_ms = account.user.tokens_since_unix_ms.max(since_unix_ms);
            self.replica.changed(self.now.monotonic, user);
        }
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

pub(crate) fn holder(account: &Account) -> Holder {
    Holder {
        user: account.user.id,
        address: account.user.address.clone(),
        display_name: account.user.display_name.clone(),
        role: account.user.role(),
    }
}
