//! Content and fields of requests, read with problems instead of plain refusals.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::problem::{Kind, Problem};

/// Longest name to sign in with, in octets: the longest address of mail, and some.
const NAME_OCTETS_MAX: usize = 320;
/// Longest password, in octets: Active Directory takes 256 characters.
const PASSWORD_OCTETS_MAX: usize = 1024;

/// Content that is JSON.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Json<T>, Problem> {
        if !is_json(request.headers()) {
            return Err(Kind::WrongContentType.into());
        }
        read(&whole(request, state).await?).map(Json)
    }
}

/// JSON of a content.
pub(super) fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, Problem> {
    // The words name fields and places, and hold no value of a password: those are texts of any kind.
    serde_json::from_slice(content).map_err(|error| Problem::new(Kind::Malformed).saying(words(&error)))
}

/// The content, which the listener has read already.
pub(super) async fn whole<S: Send + Sync>(request: Request<Body>, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|_| Problem::new(Kind::Malformed))
}

/// `application/json`, whatever its parameters.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

/// The content type without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    let kind = single(headers, CONTENT_TYPE).ok()??;
    kind.split(';').next().map(str::trim)
}

/// The only field of a name. Two are a client that was tricked, or tries to.
pub(super) fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut fields = headers.get_all(&name).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => {
            let text = field.to_str();
            text.map(Some).map_err(|_| Problem::new(Kind::Malformed).saying(format!("{name} is no text")))
        }
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::Malformed).saying(format!("there are several fields {name}")))
        }
    }
}

/// What stands in a path.
pub(super) type InPath = Path<String>;

/// A name to sign in with.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 320, example = "alice@contoso.example")]
pub(super) struct Name(pub(super) String);

/// A password, forgotten with its owner.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Password, max_length = 1024)]
pub(super) struct Password(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.len() {
            1..=NAME_OCTETS_MAX if !name.chars().any(char::is_control) => Ok(Name(name)),
            _ => Err(serde::de::Error::custom(format!(
                "a name has 1 to {NAME_OCTETS_MAX} octets, none a control"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Password, D::Error> {
        let password = Zeroizing::new(String::deserialize(deserializer)?);
        match password.len() {
            0..=PASSWORD_OCTETS_MAX if !password.contains('\0') => Ok(Password(password)),
            _ => Err(serde::de::Error::custom(format!(
                "a password has at most {PASSWORD_OCTETS_MAX} octets, none NUL"
            ))),
        }
    }
}

/// What is wrong with a text that is no such JSON, without quoting it: it may hold a password.
fn words(error: &serde_json::Error) -> String {
    use serde_json::error::Category;

    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            // serde quotes values of a wrong type in quotes or backticks: only the names of fields stand in backticks alone.
            if text.starts_with("missing field")
                || text.starts_with("duplicate field")
                || text.starts_with("a ")
            {
                text
            } else {
                format!("a value is of the wrong type, at line {} column {}", error.line(), error.column())
            }
        }
        Category::Syntax | Category::Eof | Category::Io => {
            format!("it is no JSON, at line {} column {}", error.line(), error.column())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Asked {
        #[allow(dead_code, reason = "only whether it can be read counts")]
        name: Name,
        #[allow(dead_code, reason = "only whether it can be read counts")]
        password: Password,
    }

    #[test]
    fn what_is_wrong_is_told_and_no_password_is_quoted() {
        let told = |text: &str| match read::<Asked>(text.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(problem) => problem.detail().unwrap_or_default().to_owned(),
        };
        assert_eq!(told(r#"{"name":"a","password":""}"#), "fine");
        assert!(told(r#"{"name":"a"}"#).starts_with("missing field `password`"));
        assert!(told(r#"{"name":"","password":"x"}"#).starts_with("a name has"));
        assert!(told(r#"{"name":"a","name":"b","password":"x"}"#).starts_with("duplicate field `name`"));
        assert!(
            told(&format!(r#"{{"name":"a","password":"{}"}}"#, "x".repeat(1025)))
                .starts_with("a password has")
        );
        for text in [
            r#""hunter2""#,
            r#"{"name":"hunter2""#,
            r#"{"name":["hunter2"]}"#,
            r#"{"name":"a","password":123456}"#,
        ] {
            let told = told(text);
            assert!(!told.contains("hunter2") && !told.contains("123456") && told != "fine", "{told}");
        }
    }

    #[test]
    fn two_fields_are_none() {
        let mut headers = HeaderMap::new();
        assert!(matches!(single(&headers, CONTENT_TYPE), Ok(None)));
        headers.append(CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        assert!(is_json(&headers));
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(single(&headers, CONTENT_TYPE).is_err() && !is_json(&headers));
    }
}
