//! Paths, and what is around all of them.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::content::InPath;
use super::office::Office;
use super::problem::{self, Kind, Problem, TABLE, problems};
use super::{app_passwords, book, certificates, sign_in};

/// The head of the document; the paths come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Chancery", description = "Sign-in, app passwords, client certificates and address book of a Chancery server. Problems are \
        those of RFC 9457; each type is explained at its path. Below /dav/, found by /.well-known/carddav, the address book is served \
        read only over CardDAV ([RFC 6352](https://www.rfc-editor.org/rfc/rfc6352)), whose methods PROPFIND and REPORT this document \
        cannot describe: the manual's page on the address book does."),
    components(schemas(problem::Body)),
    tags((name = "sign-in"), (name = "app passwords"), (name = "certificates"), (name = "address book"), (name = "about"))
)]
struct Head;

problems! {
    /// Of an explanation.
    ExplanationProblems: [NotFound];
}

/// The router, and the document of what it takes.
pub(super) fn router(office: &Arc<Office>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(sign_in::by_password, sign_in::sign_out))
        .routes(routes!(sign_in::by_ticket))
        .routes(routes!(sign_in::renew))
        .routes(routes!(sign_in::change_password))
        .routes(routes!(app_passwords::list, app_passwords::make))
        .routes(routes!(app_passwords::remove))
        .routes(routes!(certificates::list, certificates::make))
        .routes(routes!(certificates::remove))
        .routes(routes!(book::whole))
        .routes(routes!(book::cards))
        .routes(routes!(book::search))
        .routes(routes!(book::entry))
        .routes(routes!(book::relations))
        .routes(routes!(book::photo))
        .routes(routes!(document_of_this))
        .routes(routes!(explanation))
        .split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let schemes = &mut document.components.get_or_insert_default().security_schemes;
    let scheme = |scheme, description: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(description)).build()).into()
    };
    schemes.insert("token".to_owned(), scheme(HttpAuthScheme::Bearer, "What a sign-in gave"));
    schemes.insert("negotiate".to_owned(), scheme(HttpAuthScheme::Negotiate, "A Kerberos ticket (RFC 4559)"));
    let text: Arc<str> = document.to_json().expect("the document is JSON").into();
    let router = router
        .fallback(book::any)
        .method_not_allowed_fallback(|| async { Problem::new(Kind::WrongMethod) })
        .layer(axum::Extension(Document(text)))
        .with_state(Arc::clone(office));
    (router, document)
}

#[derive(Clone)]
struct Document(Arc<str>);

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "openapi", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn document_of_this(axum::Extension(Document(text)): axum::Extension<Document>) -> Response {
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (StatusCode::OK, kind, text.to_string()).into_response()
}

/// What a type of problems means
#[utoipa::path(get, path = "/v1/problems/{name}", operation_id = "explain_problem", tag = "about",
    params(("name" = String, Path, description = "The end of the type")),
    responses((status = 200, description = "In words", body = String, content_type = "text/plain"), ExplanationProblems))]
async fn explanation(Path(name): InPath) -> Result<Response, Problem> {
    let entry = TABLE.iter().find(|entry| entry.name == name).ok_or(Kind::NotFound)?;
    let status = entry.status.as_u16();
    let text: Cow<'static, str> = format!("{} ({status})\n\n{}\n", entry.title, entry.meaning).into();
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    Ok((StatusCode::OK, kind, text).into_response())
}
