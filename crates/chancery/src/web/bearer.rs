//! Who is signed in: the token of a request (RFC 6750 §2.1; in the field alone, never in a query or a form).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use frontend::admin::TokenHolder;

use super::content::single;
use super::office::Office;
use super::problem::{Kind, Problem};

/// What helps where there is no token.
pub(super) const CHALLENGE: &str = "Bearer realm=\"chancery\"";
/// What helps where there is one, but not a good one (RFC 6750 §3.1).
const CHALLENGE_INVALID: &str = "Bearer realm=\"chancery\", error=\"invalid_token\"";

/// Whoever the request's token signs in.
pub(super) struct Bearer(pub(super) TokenHolder);

impl FromRequestParts<Arc<Office>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, office: &Arc<Office>) -> Result<Bearer, Problem> {
        let field = single(&parts.headers, AUTHORIZATION)?;
        let Some(token) = field.and_then(token) else {
            return Err(Problem::new(Kind::NotSignedIn).challenging(CHALLENGE));
        };
        holder(office, token).await.map(Bearer)
    }
}

/// Whom a token signs in.
pub(super) async fn holder(office: &Arc<Office>, token: &str) -> Result<TokenHolder, Problem> {
    let invalid = |why: String| Problem::new(Kind::NotSignedIn).saying(why).challenging(CHALLENGE_INVALID);
    office.accounts.judge_token(token).await?.map_err(invalid)
}

/// What stands behind the scheme, in any case of letters (RFC 9110 §11.1).
fn token(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
