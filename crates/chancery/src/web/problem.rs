//! What is answered instead of what was asked for (RFC 9457), and the table of all of it.
//!
//! A problem's type is a path of this server, `/v1/problems/NAME`: the same on every server, and a page that explains it. The
//! table stands in the manual too ([sign-in.md](../../../../docs/sign-in.md)); a test holds one against the other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use directory::SipAddress;
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

/// The content type of every problem.
pub(super) const CONTENT: &str = "application/problem+json";
/// Where the pages of the types are.
pub(super) const FOLDER: &str = "/v1/problems/";

/// The kinds of problems; [`Kind::entry`] has what there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Malformed,
    WrongContentType,
    NotFound,
    WrongMethod,
    EmptyPassword,
    WrongNameOrPassword,
    TooManyWrongPasswords,
    AccountLocked,
    AccountDisabled,
    AccountExpired,
    PasswordExpired,
    PasswordMustChange,
    SignInRestricted,
    NotEnabledHere,
    DirectoryUnreachable,
    NotSignedIn,
    SignInOver,
    NoTicket,
    TicketRefused,
    NoKerberosHere,
    NewPasswordRefused,
    CannotChangePassword,
    SwitchedOff,
    TooMany,
    BadLabel,
    SigningRequestRefused,
    NoSuchThing,
    Busy,
    Fault,
}

/// What there is to say of a kind.
pub(super) struct Entry {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "its place in the table says it; a test holds both together")
    )]
    pub(super) kind: Kind,
    /// The end of its type.
    pub(super) name: &'static str,
    pub(super) status: StatusCode,
    /// In a few words, for a person.
    pub(super) title: &'static str,
    /// What it means, and what to do.
    pub(super) meaning: &'static str,
}

/// All of them, in the order of [`Kind`].
#[rustfmt::skip]
pub(super) const TABLE: [Entry; 29] = [
    Entry { kind: Kind::Malformed, name: "malformed", status: StatusCode::BAD_REQUEST, title: "The request cannot be read",
        meaning: "It is no JSON, a field is missing, or a value is too long." },
    Entry { kind: Kind::WrongContentType, name: "wrong-content-type", status: StatusCode::UNSUPPORTED_MEDIA_TYPE, title: "The content is of another type",
        meaning: "Content is `application/json`, unless the path takes something else too." },
    Entry { kind: Kind::NotFound, name: "not-found", status: StatusCode::NOT_FOUND, title: "There is nothing here",
        meaning: "No such path." },
    Entry { kind: Kind::WrongMethod, name: "wrong-method", status: StatusCode::METHOD_NOT_ALLOWED, title: "The method is another",
        meaning: "The path is right; the field Allow says which methods it takes." },
    Entry { kind: Kind::EmptyPassword, name: "empty-password", status: StatusCode::BAD_REQUEST, title: "The password is empty",
        meaning: "Nothing was asked of anybody: some directories take an empty password for no sign-in at all, and say yes." },
    Entry { kind: Kind::WrongNameOrPassword, name: "wrong-name-or-password", status: StatusCode::FORBIDDEN, title: "Name or password is wrong",
        meaning: "Which of them is not told." },
    Entry { kind: Kind::TooManyWrongPasswords, name: "too-many-wrong-passwords", status: StatusCode::TOO_MANY_REQUESTS, title: "Too many wrong passwords",
        meaning: "This one was not looked at, right or wrong. Retry-After says when one is again. The account is not locked elsewhere." },
    Entry { kind: Kind::AccountLocked, name: "account-locked", status: StatusCode::FORBIDDEN, title: "The account is locked",
        meaning: "Too many wrong passwords locked it in the organisation's directory. It opens by itself after a while, or the help desk opens it." },
    Entry { kind: Kind::AccountDisabled, name: "account-disabled", status: StatusCode::FORBIDDEN, title: "The account is disabled",
        meaning: "The password is right. An administrator disabled the account, here or in the directory." },
    Entry { kind: Kind::AccountExpired, name: "account-expired", status: StatusCode::FORBIDDEN, title: "The account has expired",
        meaning: "The password is right. The time is over that the directory gave the account." },
    Entry { kind: Kind::PasswordExpired, name: "password-expired", status: StatusCode::FORBIDDEN, title: "The password has expired",
        meaning: "It is right, and has to be changed first: POST /v1/password." },
    Entry { kind: Kind::PasswordMustChange, name: "password-must-change", status: StatusCode::FORBIDDEN, title: "The password must be changed first",
        meaning: "It is right, and was set by somebody else: POST /v1/password." },
    Entry { kind: Kind::SignInRestricted, name: "sign-in-restricted", status: StatusCode::FORBIDDEN, title: "The directory does not allow this sign-in",
        meaning: "The password is right. The account may not sign in at this time, or not at this server." },
    Entry { kind: Kind::NotEnabledHere, name: "not-enabled-here", status: StatusCode::FORBIDDEN, title: "The account is not enabled here",
        meaning: "The password is right. The organisation's policy does not enable the person for this server." },
    Entry { kind: Kind::DirectoryUnreachable, name: "directory-unreachable", status: StatusCode::SERVICE_UNAVAILABLE, title: "The directory cannot be reached",
        meaning: "Nobody can be asked whether the password is right. Tokens, app passwords and certificates go on." },
    Entry { kind: Kind::NotSignedIn, name: "not-signed-in", status: StatusCode::UNAUTHORIZED, title: "Sign in first",
        meaning: "There is no token, or it is over, revoked, or not ours." },
    Entry { kind: Kind::SignInOver, name: "sign-in-over", status: StatusCode::UNAUTHORIZED, title: "Sign in again",
        meaning: "The sign-in is too long ago for its token to be renewed." },
    Entry { kind: Kind::NoTicket, name: "no-ticket", status: StatusCode::UNAUTHORIZED, title: "Show a Kerberos ticket",
        meaning: "The request has no `Authorization: Negotiate`." },
    Entry { kind: Kind::TicketRefused, name: "ticket-refused", status: StatusCode::FORBIDDEN, title: "The Kerberos ticket was not accepted",
        meaning: "The detail says why. The password still works." },
    Entry { kind: Kind::NoKerberosHere, name: "no-kerberos-here", status: StatusCode::NOT_IMPLEMENTED, title: "This server takes no Kerberos tickets",
        meaning: "It is not set up for them; `chancery check` tells its administrator what is missing." },
    Entry { kind: Kind::NewPasswordRefused, name: "new-password-refused", status: StatusCode::UNPROCESSABLE_ENTITY, title: "The new password is not accepted",
        meaning: "It is too short, too simple, or was used before; the old one holds." },
    Entry { kind: Kind::CannotChangePassword, name: "cannot-change-password", status: StatusCode::FORBIDDEN, title: "The password cannot be changed here",
        meaning: "The directory does not let this server, or this person, change it." },
    Entry { kind: Kind::SwitchedOff, name: "switched-off", status: StatusCode::FORBIDDEN, title: "This is switched off",
        meaning: "The server's administrator does not offer it." },
    Entry { kind: Kind::TooMany, name: "too-many", status: StatusCode::CONFLICT, title: "There are too many already",
        meaning: "Remove one that is not used any more." },
    Entry { kind: Kind::BadLabel, name: "bad-label", status: StatusCode::UNPROCESSABLE_ENTITY, title: "The label does not fit",
        meaning: "A label has 1 to 64 characters, none of them a control character." },
    Entry { kind: Kind::SigningRequestRefused, name: "signing-request-refused", status: StatusCode::UNPROCESSABLE_ENTITY, title: "No certificate is made for this request",
        meaning: "The key is too weak, or the request does not prove who holds it; the detail says which." },
    Entry { kind: Kind::NoSuchThing, name: "no-such-thing", status: StatusCode::NOT_FOUND, title: "There is no such thing",
        meaning: "No app password or certificate of the person's has this name." },
    Entry { kind: Kind::Busy, name: "busy", status: StatusCode::SERVICE_UNAVAILABLE, title: "The server is busy",
        meaning: "It starts, stops, or has too much to do. Try again." },
    Entry { kind: Kind::Fault, name: "fault", status: StatusCode::INTERNAL_SERVER_ERROR, title: "The server failed",
        meaning: "Its log says more under the request's id." },
];

impl Kind {
    pub(super) fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// Whether it says something about passwords: such answers leave at times that do not tell which.
    pub(super) fn is_refused_sign_in(self) -> bool {
        matches!(self, Kind::WrongNameOrPassword | Kind::TooManyWrongPasswords | Kind::DirectoryUnreachable)
    }
}

/// A problem, as it is answered.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    challenge: Option<HeaderValue>,
    about: Option<SipAddress>,
}

/// What the log and the counters learn of a problem, with the response.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    /// Whose account it was about, where there is one.
    pub(super) about: Option<SipAddress>,
}

/// The content of a problem (RFC 9457 §3).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// The problem's type: a path of this server, the same everywhere.
    #[serde(rename = "type")]
    #[schema(example = "/v1/problems/wrong-name-or-password")]
    problem_type: String,
    /// What the type means, in a few words.
    title: &'a str,
    /// The status, once more.
    status: u16,
    /// What is particular this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// Seconds until another try has a chance; as Retry-After.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(kind: Kind) -> Problem {
        Problem { kind, detail: None, retry_after: None, challenge: None, about: None }
    }

    /// With what is particular this time, fit for strangers.
    pub(super) fn saying(mut self, detail: impl Into<Cow<'static, str>>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    /// With the scheme that would help (RFC 9110 §11.6.1).
    pub(super) fn challenging(mut self, challenge: &'static str) -> Problem {
        self.challenge = Some(HeaderValue::from_static(challenge));
        self
    }

    /// With whose account it is about. It is not answered.
    pub(super) fn about(mut self, address: SipAddress) -> Problem {
        self.about = Some(address);
        self
    }

    #[cfg(test)]
    pub(super) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Problem {
        Problem::new(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let entry = self.kind.entry();
        // Whole seconds, upwards: who comes back in time is not sent away again.
        let retry_after = self.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0));
        let body = Body {
            problem_type: format!("{FOLDER}{}", entry.name),
            title: entry.title,
            status: entry.status.as_u16(),
            detail: self.detail.as_deref(),
            retry_after,
        };
        let text = serde_json::to_string(&body).expect("texts and numbers are JSON");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        let mut response = (entry.status, headers, text).into_response();
        response.extensions_mut().insert(Told { kind: self.kind, about: self.about });
        response
    }
}

/// The problems of a path, as the OpenAPI document tells them: one answer for each status.
pub(super) fn documented(kinds: &[Kind]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let mut by_status: BTreeMap<u16, Vec<&Entry>> = BTreeMap::new();
    for kind in kinds {
        let entry = kind.entry();
        by_status.entry(entry.status.as_u16()).or_default().push(entry);
    }
    let answer = |(status, entries): (u16, Vec<&Entry>)| {
        let lines = entries.iter().map(|entry| format!("`{}`: {}", entry.name, entry.title));
        let description = lines.collect::<Vec<_>>().join("; ");
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content(CONTENT, content).build();
        (status.to_string(), response.into())
    };
    by_status.into_iter().map(answer).collect()
}

/// Makes a type that stands for a set of problems in `responses(...)`.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: [$($kind:ident),+ $(,)?];)+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                $crate::web::problem::documented(&[$($crate::web::problem::Kind::$kind),+])
            }
        }
    )+};
}
pub(super) use problems;
