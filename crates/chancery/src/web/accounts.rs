//! What the home knows of accounts, asked by calls.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use directory::{CertificateDigest, ClientCertificate, PhotoDigest, Purpose, SipAddress, UserId};
use frontend::FrontEnd;
use frontend::admin::{
    Answer, AppPasswordLine, Call, Holder, IssuedAppPassword, IssuedToken, OBJECTS_MAX, Refusal, Renewed,
    Secret, SignInFacts, TokenHolder, Whom,
};
use net::Handle;
use records::{ObjectRow, Revision};

use super::problem::{Kind, Problem};

/// What a client that comes while the server starts is told to wait.
const STARTING_WAIT: Duration = Duration::from_secs(2);

/// The way to the home. `None` where it does not answer.
pub(super) type Ask =
    Box<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Option<Answer>> + Send>> + Send + Sync + 'static>;

/// The home's accounts.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<Ask>);

impl Accounts {
    /// Those of a running front end.
    pub(crate) fn of(handle: Handle<FrontEnd>) -> Accounts {
        Accounts::asking(Box::new(move |call| {
            let handle = handle.clone();
            Box::pin(async move { handle.call(call).await.ok() })
        }))
    }

    pub(super) fn asking(ask: Ask) -> Accounts {
        Accounts(Arc::new(ask))
    }

    /// Who signs in by a name; the inner error is where there is nobody, or several.
    pub(super) async fn find(&self, name: String) -> Result<Result<SignInFacts, Nobody>, Problem> {
        match self.ask(Call::FindForSignIn(name)).await? {
            Answer::SignInFacts(facts) => Ok(Ok(*facts)),
            Answer::Refused(Refusal::NobodyOfThatName { counts_as }) => Ok(Err(Nobody { counts_as })),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether it is a local account's password.
    pub(super) async fn check_password(
        &self,
        user: UserId,
        password: &str,
        source: IpAddr,
    ) -> Result<LocalPassword, Problem> {
        let call = Call::CheckPassword { user, password: Secret(password.to_owned()), source };
        match self.ask(call).await? {
            Answer::Done => Ok(LocalPassword::Right),
            Answer::Refused(Refusal::WrongPassword) => Ok(LocalPassword::Wrong),
            Answer::Refused(Refusal::Disabled) => Ok(LocalPassword::Disabled),
            other => Err(unexpected(&other)),
        }
    }

    /// `None` where the account is no more, or may not be used any more, or the token to renew was revoked.
    pub(super) async fn issue_token(
        &self,
        user: UserId,
        lifetime: Duration,
        renewed: Option<Renewed>,
    ) -> Result<Option<IssuedToken>, Problem> {
        match self.ask(Call::IssueToken { user, lifetime, renewed }).await? {
            Answer::IssuedToken(token) => Ok(Some(token)),
            Answer::Refused(Refusal::Disabled | Refusal::NoSuchId | Refusal::Token(_)) => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// Whom a token signs in; the error is for its bearer.
    pub(super) async fn judge_token(&self, token: &str) -> Result<Result<TokenHolder, String>, Problem> {
        match self.ask(Call::JudgeToken(Secret(token.to_owned()))).await? {
            Answer::TokenHolder(holder) => Ok(Ok(*holder)),
            Answer::Refused(Refusal::Token(error)) => Ok(Err(error.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn revoke_tokens(&self, user: UserId) -> Result<(), Problem> {
        match self.ask(Call::RevokeTokens(Whom::Id(user))).await? {
            // Whoever is removed has none.
            Answer::Done | Answer::Refused(Refusal::NoSuchId) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets a local account's password; the inner error is why it is not taken.
    pub(super) async fn set_password(
        &self,
        address: SipAddress,
        password: &str,
    ) -> Result<Result<(), String>, Problem> {
        match self.ask(Call::SetPassword(address, password.to_owned())).await? {
            Answer::Done => Ok(Ok(())),
            Answer::Refused(refusal @ Refusal::WeakPassword) => Ok(Err(refusal.to_string())),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn app_passwords(&self, user: UserId) -> Result<Vec<AppPasswordLine>, Problem> {
        match self.ask(Call::ListAppPasswords(Whom::Id(user))).await? {
            Answer::AppPasswords(lines) => Ok(lines),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn add_app_password(
        &self,
        user: UserId,
        label: String,
        purpose: Purpose,
    ) -> Result<IssuedAppPassword, Problem> {
        match self.ask(Call::AddAppPassword { user: Whom::Id(user), label, purpose }).await? {
            Answer::IssuedAppPassword(issued) => Ok(*issued),
            Answer::Refused(Refusal::BadLabel) => Err(Kind::BadLabel.into()),
            // The token was good a moment ago.
            Answer::Refused(Refusal::Disabled) => Err(Kind::AccountDisabled.into()),
            Answer::Refused(refusal @ Refusal::TooManyAppPasswords(_)) => {
                Err(Problem::new(Kind::TooMany).saying(refusal.to_string()))
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn remove_app_password(&self, user: UserId, username: String) -> Result<(), Problem> {
        match self.ask(Call::RemoveAppPassword { user: Whom::Id(user), username }).await? {
            Answer::Done => Ok(()),
            Answer::Refused(Refusal::NoSuchAppPassword) => Err(Kind::NoSuchThing.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Whom an app password signs in, where it opens what it is shown for.
    pub(super) async fn check_app_password(
        &self,
        username: String,
        password: &str,
        purpose: Purpose,
        source: IpAddr,
    ) -> Result<Option<Holder>, Problem> {
        let password = Secret(password.to_owned());
        match self.ask(Call::CheckAppPassword { username, password, purpose, source }).await? {
            Answer::Holder(holder) => Ok(Some(*holder)),
            Answer::Refused(Refusal::WrongPassword | Refusal::NoSuchAppPassword | Refusal::Disabled) => {
                Ok(None)
            }
            Answer::Refused(Refusal::SlowDown { wait_seconds }) => {
                let wait = Duration::from_secs(wait_seconds);
                Err(Problem::new(Kind::TooManyWrongPasswords).retry_after(wait))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Objects behind a revision, as many as the home gives at once.
    pub(super) async fn objects(&self, after: Revision) -> Result<Vec<ObjectRow>, Problem> {
        match self.ask(Call::Objects { after, limit: OBJECTS_MAX }).await? {
            Answer::Objects(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until there may be one, or for a while.
    pub(super) async fn wait_for_objects(&self, after: Revision) -> Result<(), Problem> {
        match self.ask(Call::WaitForObjects { after }).await? {
            Answer::ObjectsBehind(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets what objects were before a time.
    pub(super) async fn prune_objects(&self, before_unix_ms: u64) -> Result<(), Problem> {
        match self.ask(Call::PruneObjects { before_unix_ms }).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn photo(&self, digest: PhotoDigest) -> Result<Option<Vec<u8>>, Problem> {
        match self.ask(Call::Photo(digest)).await? {
            Answer::Photo(octets) => Ok(octets),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn certificates(&self, address: SipAddress) -> Result<Vec<ClientCertificate>, Problem> {
        match self.ask(Call::ShowUser(address)).await? {
            Answer::User(details) => Ok(details.certificates),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn add_certificate(
        &self,
        address: SipAddress,
        certificate: ClientCertificate,
    ) -> Result<(), Problem> {
        match self.ask(Call::AddCertificate(address, certificate)).await? {
            Answer::Done => Ok(()),
            Answer::Refused(refusal @ Refusal::TooManyCertificates(_)) => {
                Err(Problem::new(Kind::TooMany).saying(refusal.to_string()))
            }
            Answer::Refused(Refusal::Disabled) => Err(Kind::AccountDisabled.into()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn remove_certificate(
        &self,
        address: SipAddress,
        digest: CertificateDigest,
    ) -> Result<(), Problem> {
        match self.ask(Call::RemoveCertificate(address, digest)).await? {
            Answer::Done => Ok(()),
            Answer::Refused(Refusal::NoSuchCertificate { .. }) => Err(Kind::NoSuchThing.into()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, call: Call) -> Result<Answer, Problem> {
        match (self.0)(call).await {
            Some(Answer::Refused(Refusal::Starting | Refusal::Busy | Refusal::TooManyWait)) | None => {
                Err(Problem::new(Kind::Busy).retry_after(STARTING_WAIT))
            }
            Some(answer) => Ok(answer),
        }
    }
}

/// A name of nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nobody {
    /// What wrong passwords for it are counted under.
    pub(super) counts_as: String,
}

/// What a local account's password is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalPassword {
    Right,
    Wrong,
    /// It is right, but the account may not be used.
    Disabled,
}

/// An answer that its question does not have: somebody removed the account meanwhile, or storage failed.
fn unexpected(answer: &Answer) -> Problem {
    match answer {
        Answer::Refused(Refusal::NoSuchId | Refusal::NoSuchUser(_)) => {
            Problem::new(Kind::NotSignedIn).challenging(super::bearer::CHALLENGE)
        }
        Answer::Refused(refusal) => {
            tracing::error!(event = "web-refused", %refusal, "the home refused what the web asked of it");
            Kind::Fault.into()
        }
        other => {
            tracing::error!(event = "web-answer", answer = ?other, "the home answered something else");
            Kind::Fault.into()
        }
    }
}
