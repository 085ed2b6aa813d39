//! Signing in, staying signed in, signing out; another password.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use frontend::admin::Renewed;
use serde::{Deserialize, Serialize};

use super::bearer::{self, Bearer};
use super::content::{Json, Name, Password, single};
use super::metrics::By;
use super::office::{Office, Person};
use super::problem::{Kind, Problem, problems};
use super::{Peer, journal};
use crate::clock;

/// Who wants to sign in.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct SignInRequest {
    /// The SIP address, or any name of the directory: `alice@corp.example`, `CORP\alice`, `alice`.
    name: Name,
    /// The password of the account.
    password: Password,
}

/// Somebody is signed in.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SignedIn {
    /// What is sent in `Authorization: Bearer TOKEN`, here and in SIP. Nobody else may see it.
    token: String,
    /// When the token ends, in UTC (RFC 3339).
    #[schema(format = DateTime)]
    expires: String,
    /// Until when it can be renewed.
    #[schema(format = DateTime)]
    renewable_until: String,
    /// The SIP address of the account.
    #[schema(example = "alice@contoso.example")]
    address: String,
    /// The name that people see; may be empty.
    display_name: String,
}

/// Another password.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct PasswordChange {
    /// As for signing in.
    name: Name,
    /// The one that holds, or has expired.
    old: Password,
    /// The one that is to hold.
    new: Password,
}

problems! {
    /// Of passwords.
    PasswordProblems: [
        Malformed, WrongContentType, EmptyPassword, WrongNameOrPassword, TooManyWrongPasswords, AccountLocked, AccountDisabled,
        AccountExpired, PasswordExpired, PasswordMustChange, SignInRestricted, NotEnabledHere, DirectoryUnreachable, Busy, Fault,
    ];
    /// Of tickets.
    TicketProblems: [
        Malformed, NoTicket, TicketRefused, AccountDisabled, AccountExpired, AccountLocked, NotEnabledHere, NoKerberosHere, Busy, Fault,
    ];
    /// Of changes.
    ChangeProblems: [
        Malformed, WrongContentType, EmptyPassword, WrongNameOrPassword, TooManyWrongPasswords, AccountLocked, AccountDisabled,
        AccountExpired, SignInRestricted, NewPasswordRefused, CannotChangePassword, DirectoryUnreachable, Busy, Fault,
    ];
    /// Of renewals.
    RenewalProblems: [Malformed, NotSignedIn, SignInOver, Busy, Fault];
    /// Of everything that needs a token and nothing else.
    TokenProblems: [Malformed, NotSignedIn, Busy, Fault];
}

/// Sign in with name and password
#[utoipa::path(post, path = "/v1/sign-in", operation_id = "sign_in", tag = "sign-in", request_body = SignInRequest,
    responses((status = 200, description = "Signed in", body = SignedIn), PasswordProblems))]
pub(super) async fn by_password(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Json(asked): Json<SignInRequest>,
) -> Result<Response, Problem> {
    let person = office.prove(peer.source(), &asked.name.0, &asked.password.0).await?;
    let signed_in = office.token_for(&person, By::Password).await?;
    journal::signed_in(&peer, person.address(), By::Password);
    Ok(axum_json(StatusCode::OK, &signed_in))
}

/// Sign in with a Kerberos ticket
///
/// HTTP Negotiate (RFC 4559): without a ticket the answer is 401 with the challenge `Negotiate`. The answer bears what proves the
/// server.
#[utoipa::path(post, path = "/v1/sign-in/negotiate", operation_id = "sign_in_by_ticket", tag = "sign-in", security(("negotiate" = [])),
    responses((status = 200, description = "Signed in", body = SignedIn,
        headers(("WWW-Authenticate" = String, description = "What proves the server"))), TicketProblems))]
pub(super) async fn by_ticket(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let authorization = single(&headers, AUTHORIZATION)?;
    let shown = office.prove_by_ticket(authorization, peer.end_point()).await?;
    let signed_in = office.token_for(&shown.person, By::Ticket).await?;
    journal::signed_in(&peer, shown.person.address(), By::Ticket);
    let mut response = axum_json(StatusCode::OK, &signed_in);
    if let Some(answer) = shown.answer {
        let answer = HeaderValue::try_from(answer).expect("base64 can stand in a field");
        response.headers_mut().insert(WWW_AUTHENTICATE, answer);
    }
    Ok(response)
}

/// Renew a token
///
/// The old one stays good until its end. Eight hours after the sign-in (unless configured otherwise) there is no more renewing.
#[utoipa::path(post, path = "/v1/sign-in/renew", operation_id = "renew_token", tag = "sign-in", security(("token" = [])),
    responses((status = 200, description = "Signed in still", body = SignedIn), RenewalProblems))]
pub(super) async fn renew(
    State(office): State<Arc<Office>>,
    Bearer(bearer): Bearer,
) -> Result<Response, Problem> {
    let settings = office.settings();
    let until = bearer.signed_in_unix_ms.saturating_add(millis(settings.sign_in_age));
    let left = Duration::from_millis(until.saturating_sub(office.wall_unix_ms()));
    if left.is_zero() {
        return Err(Problem::new(Kind::SignInOver).challenging(bearer::CHALLENGE));
    }
    let lifetime = settings.token_lifetime.min(left);
    let renewed =
        Renewed { signed_in_unix_ms: bearer.signed_in_unix_ms, issued_unix_ms: bearer.issued_unix_ms };
    let holder = bearer.holder;
    let issued = office.accounts.issue_token(holder.user, lifetime, Some(renewed)).await?;
    let Some(issued) = issued else {
        return Err(Problem::new(Kind::NotSignedIn).challenging(bearer::CHALLENGE));
    };
    office.meter.signed_in(By::Renewal);
    Ok(axum_json(
        StatusCode::OK,
        &SignedIn {
            token: issued.token.0.clone(),
            expires: moment(issued.expires_unix_ms),
            renewable_until: moment(until),
            address: holder.address.to_string(),
            display_name: holder.display_name,
        },
    ))
}

/// Sign out, everywhere
///
/// All tokens of the account end, with the connections that were made with them.
#[utoipa::path(delete, path = "/v1/sign-in", operation_id = "sign_out", tag = "sign-in", security(("token" = [])),
    responses((status = 204, description = "Signed out"), TokenProblems))]
pub(super) async fn sign_out(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Bearer(bearer): Bearer,
) -> Result<StatusCode, Problem> {
    office.accounts.revoke_tokens(bearer.holder.user).await?;
    journal::happened(&peer, "signed-out", &bearer.holder.address, "all tokens of the account are revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// Change a password
///
/// Also one that has expired. All tokens of the account end.
#[utoipa::path(post, path = "/v1/password", operation_id = "change_password", tag = "sign-in", request_body = PasswordChange,
    responses((status = 204, description = "The new password holds"), ChangeProblems))]
pub(super) async fn change_password(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Json(asked): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    if asked.new.0.is_empty() {
        return Err(Kind::EmptyPassword.into());
    }
    let person = office.prove_to_change(peer.source(), &asked.name.0, &asked.old.0).await?;
    office.change(&person, &asked.old.0, &asked.new.0).await?;
    journal::happened(&peer, "password-changed", person.address(), "by its owner, over the web");
    Ok(StatusCode::NO_CONTENT)
}

impl Office {
    async fn token_for(&self, person: &Person, by: By) -> Result<SignedIn, Problem> {
        let (facts, settings) = (&person.facts, self.settings());
        let lifetime = settings.token_lifetime.min(settings.sign_in_age);
        let issued = self.accounts.issue_token(facts.user, lifetime, None).await?;
        // Disabled since a moment ago.
        let issued = issued.ok_or(Kind::AccountDisabled)?;
        self.meter.signed_in(by);
        let signed_in_unix_ms = issued.expires_unix_ms.saturating_sub(millis(lifetime));
        Ok(SignedIn {
            token: issued.token.0.clone(),
            expires: moment(issued.expires_unix_ms),
            renewable_until: moment(signed_in_unix_ms.saturating_add(millis(settings.sign_in_age))),
            address: facts.address.to_string(),
            display_name: facts.display_name.clone(),
        })
    }
}

/// An answer in JSON.
pub(super) fn axum_json(status: StatusCode, content: &impl Serialize) -> Response {
    let text = serde_json::to_vec(content).expect("texts and numbers are JSON");
    let kind = [(axum::http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, text).into_response()
}

/// A moment as RFC 3339, in UTC.
pub(super) fn moment(unix_ms: u64) -> String {
    clock::timestamp(i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
