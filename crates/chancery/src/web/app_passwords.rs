//! App passwords: for phones and programs that know no token. Each works for one purpose, under a user name of its own.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use directory::Purpose;
use serde::{Deserialize, Serialize};

use super::bearer::Bearer;
use super::content::{InPath, Json};
use super::office::Office;
use super::problem::{Kind, Problem, problems};
use super::sign_in::{TokenProblems, axum_json, moment};
use super::{Peer, journal};

/// What an app password opens.
#[derive(Clone, Copy, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum For {
    /// SIP: calls, messages, presence; and the documents of SIP programs.
    Sip,
    /// The address book (CardDAV), read only.
    AddressBook,
}

/// A wish for an app password.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct NewAppPassword {
    /// What its owner calls it; read in a list later.
    #[schema(min_length = 1, max_length = 64, example = "desk phone")]
    label: String,
    /// What it opens.
    purpose: For,
}

/// An app password, shown this once.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct MadeAppPassword {
    /// The user name that it works under; for SIP programs, the authentication name beside the address.
    #[schema(example = "alice~k3v9q2")]
    username: String,
    /// The realm (the domain of the address), where a program asks for one.
    realm: String,
    /// The password, with its hyphens.
    password: String,
    /// The SIP address that it signs in.
    address: String,
}

/// App passwords, the oldest first.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AppPasswords {
    app_passwords: Vec<AppPassword>,
}

/// An app password, as it is listed.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AppPassword {
    /// Names it.
    username: String,
    /// What its owner calls it.
    label: String,
    /// What it opens.
    purpose: For,
    /// When it was made.
    #[schema(format = DateTime)]
    created: String,
}

problems! {
    /// Of making one.
    MakingProblems: [
        Malformed, WrongContentType, NotSignedIn, AccountDisabled, SwitchedOff, BadLabel, TooMany, Busy, Fault,
    ];
    /// Of removing one.
    RemovingProblems: [Malformed, NotSignedIn, NoSuchThing, Busy, Fault];
}

/// List app passwords
#[utoipa::path(get, path = "/v1/app-passwords", operation_id = "list_app_passwords", tag = "app passwords", security(("token" = [])),
    responses((status = 200, description = "They are", body = AppPasswords), TokenProblems))]
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    Bearer(bearer): Bearer,
) -> Result<Response, Problem> {
    let lines = office.accounts.app_passwords(bearer.holder.user).await?;
    let app_passwords = lines.into_iter().map(|line| AppPassword {
        username: line.username,
        label: line.label,
        purpose: line.purpose.into(),
        created: moment(line.created_unix_ms),
    });
    Ok(axum_json(StatusCode::OK, &AppPasswords { app_passwords: app_passwords.collect() }))
}

/// Make an app password
#[utoipa::path(post, path = "/v1/app-passwords", operation_id = "make_app_password", tag = "app passwords", security(("token" = [])),
    request_body = NewAppPassword,
    responses((status = 201, description = "Made, and shown this once", body = MadeAppPassword), MakingProblems))]
pub(super) async fn make(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Bearer(bearer): Bearer,
    Json(asked): Json<NewAppPassword>,
) -> Result<Response, Problem> {
    if !office.settings().app_passwords {
        return Err(Kind::SwitchedOff.into());
    }
    let holder = bearer.holder;
    let made = office.accounts.add_app_password(holder.user, asked.label, asked.purpose.into()).await?;
    journal::happened(&peer, "app-password-made", &holder.address, Purpose::from(asked.purpose).name());
    Ok(axum_json(
        StatusCode::CREATED,
        &MadeAppPassword {
            username: made.username,
            realm: made.realm,
            password: made.password.0.clone(),
            address: holder.address.to_string(),
        },
    ))
}

/// Take an app password back
///
/// What was made with it ends.
#[utoipa::path(delete, path = "/v1/app-passwords/{username}", operation_id = "remove_app_password", tag = "app passwords", security(("token" = [])),
    params(("username" = String, Path, description = "Its user name")),
    responses((status = 204, description = "It signs nobody in any more"), RemovingProblems))]
pub(super) async fn remove(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Bearer(bearer): Bearer,
    Path(username): InPath,
) -> Result<StatusCode, Problem> {
    office.accounts.remove_app_password(bearer.holder.user, username).await?;
    journal::happened(&peer, "app-password-removed", &bearer.holder.address, "by its owner");
    Ok(StatusCode::NO_CONTENT)
}

impl From<Purpose> for For {
    fn from(purpose: Purpose) -> For {
        match purpose {
            Purpose::Sip => For::Sip,
            Purpose::AddressBook => For::AddressBook,
        }
    }
}

impl From<For> for Purpose {
    fn from(purpose: For) -> Purpose {
        match purpose {
            For::Sip => Purpose::Sip,
            For::AddressBook => Purpose::AddressBook,
        }
    }
}
