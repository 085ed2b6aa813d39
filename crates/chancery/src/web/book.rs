//! The address book as it is served: filled from the home, asked by people who are signed in.
//!
//! The role [`Book`] answers; here it is filled (all objects once, then what changes), locked for moments, and its long work done where
//! blocking harms nobody. Who asks shows a token, or an app password for the address book (Basic, RFC 7617): mail programs and
//! phones know nothing else.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use address_book::{Book, BookSettings, Reply, Viewer};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use directory::numbers::NumberSettings;
use directory::{Purpose, Role};
use frontend::admin::Holder;
use node::http::{HttpRequest, HttpResponse};
use tokio::sync::{Notify, Semaphore};

use super::Peer;
use super::accounts::Accounts;
use super::bearer;
use super::content::{self, single};
use super::office::Office;
use super::problem::{Kind, Problem, problems};
use crate::config;

/// Answers that are made at once on threads of their own: each takes a core for up to seconds, and SIP wants one too.
const WORKS_AT_ONCE_MAX: usize = 1;
/// How long a request waits for its turn.
const WORK_WAIT: Duration = Duration::from_secs(20);
/// Pause before a home that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often versions are let go that are kept no longer.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Most octets of a user name and password in Basic, encoded.
const BASIC_CHARACTERS_MAX: usize = 1024;

/// What helps where mail programs and phones come.
const CHALLENGE: &str = "Basic realm=\"chancery\", charset=\"UTF-8\"";

problems! {
    /// Of the address book; it has further ones of its own, without a type.
    BookProblems: [Malformed, NotSignedIn, TooManyWrongPasswords, Busy, Fault];
}

/// The book with what fills it.
pub(super) struct Shelf {
    book: Mutex<Book>,
    wishes: Mutex<Wishes>,
    changed: Notify,
    /// All that was there at the start is in it.
    is_whole: AtomicBool,
    works: Semaphore,
}

/// What the configuration says of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) book: BookSettings,
    pub(crate) numbers: NumberSettings,
}

impl Wishes {
    /// As they are configured.
    pub(crate) fn of(settings: &config::Settings) -> Wishes {
        Wishes { book: settings.address_book.clone(), numbers: settings.numbers.clone() }
    }
}

impl Shelf {
    pub(super) fn new(wishes: Wishes) -> Shelf {
        Shelf {
            book: Mutex::new(Book::new(wishes.book.clone(), wishes.numbers.clone())),
            wishes: Mutex::new(wishes),
            changed: Notify::new(),
            is_whole: AtomicBool::new(false),
            works: Semaphore::new(WORKS_AT_ONCE_MAX),
        }
    }

    /// Other settings: the book is filled anew.
    pub(super) fn configure(&self, wishes: Wishes) {
        let mut before = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == wishes {
            return;
        }
        self.is_whole.store(false, Relaxed);
        *self.book() = Book::new(wishes.book.clone(), wishes.numbers.clone());
        *before = wishes;
        self.changed.notify_one();
    }

    /// Fills the book, and keeps it as the home is. Ends never.
    pub(super) async fn follow(&self, accounts: &Accounts, wall_unix_ms: impl Fn() -> u64) {
        let mut pruned = tokio::time::Instant::now();
        loop {
            let after = self.book().revision();
            let settled = match accounts.objects(after).await {
                Ok(rows) if rows.is_empty() => {
                    if !self.is_whole.load(Relaxed) {
                        // What it is filled with reaches further back than it is kept.
                        self.book().prune(wall_unix_ms());
                        self.is_whole.store(true, Relaxed);
                    }
                    tokio::select! {
                        waited = accounts.wait_for_objects(after) => waited.is_ok(),
                        () = self.changed.notified() => true,
                    }
                }
                Ok(rows) => {
                    let mut book = self.book();
                    // Else the book was emptied meanwhile.
                    if book.revision() == after {
                        book.apply(&rows);
                    }
                    true
                }
                Err(_) => false,
            };
            if !settled {
                tokio::time::sleep(PAUSE).await;
            }
            if pruned.elapsed() >= PRUNE_INTERVAL {
                pruned = tokio::time::Instant::now();
                let now_unix_ms = wall_unix_ms();
                self.book().prune(now_unix_ms);
                let kept =
                    u64::from(self.wishes.lock().unwrap_or_else(PoisonError::into_inner).book.keep_days);
                let before = now_unix_ms.saturating_sub(kept * 24 * 60 * 60 * 1000);
                if accounts.prune_objects(before).await.is_err() {
                    tracing::warn!(event = "objects-not-pruned", "what objects were long ago is kept still");
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what takes long, when its turn comes, on a thread that may block.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let turn = tokio::time::timeout(WORK_WAIT, self.works.acquire()).await;
        let Ok(Ok(_place)) = turn else { return Err(Problem::new(Kind::Busy).retry_after(WORK_WAIT)) };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(event = "web-failed", %error, "an answer of the address book was not made");
            Problem::new(Kind::Fault)
        })
    }
}

/// The whole address book, or what changed since a version
#[utoipa::path(get, path = "/v1/address-book", operation_id = "address_book", tag = "address book", security(("token" = [])),
    params(("version" = Option<u64>, Query, description = "An older version"),
        ("from" = Option<u64>, Query, description = "Only what changed since this version"),
        ("to" = Option<u64>, Query, description = "Up to this version"),
        ("sha256" = Option<String>, Query, description = "What the version `from` was, in hexadecimal digits")),
    responses((status = 200, description = "JSON, one object a line", body = String, content_type = "application/jsonl"),
        (status = 304, description = "As it was"), (status = 410, description = "The version is kept no longer"), BookProblems))]
pub(super) async fn whole(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// The whole address book as vCards
#[utoipa::path(get, path = "/v1/address-book.vcf", operation_id = "address_book_cards", tag = "address book", security(("token" = [])),
    responses((status = 200, description = "vCard 4", body = String, content_type = "text/vcard"), (status = 304, description = "As it was"),
        BookProblems))]
pub(super) async fn cards(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// Search by names, mail, SIP addresses and digits of numbers
#[utoipa::path(get, path = "/v1/address-book/search", operation_id = "search_address_book", tag = "address book", security(("token" = [])),
    params(("q" = String, Query, description = "Beginnings of words"), ("kind" = Option<String>, Query, description = "Kinds, with commas"),
        ("limit" = Option<u32>, Query, description = "Entries of a page"), ("cursor" = Option<String>, Query, description = "The next page")),
    responses((status = 200, description = "The best first", body = serde_json::Value), BookProblems))]
pub(super) async fn search(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// One entry
#[utoipa::path(get, path = "/v1/address-book/entries/{id}", operation_id = "address_book_entry", tag = "address book", security(("token" = [])),
    params(("id" = String, Path, description = "Its id; with `.vcf` behind it as vCard")),
    responses((status = 200, description = "It", body = serde_json::Value), (status = 304, description = "As it was"),
        (status = 404, description = "There is no such entry"), BookProblems))]
pub(super) async fn entry(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// Who is around an entry
#[utoipa::path(get, path = "/v1/address-book/entries/{id}/{what}", operation_id = "address_book_relations", tag = "address book",
    security(("token" = [])),
    params(("id" = String, Path, description = "Its id"), ("what" = String, Path, description = "managers, reports, members or groups"),
        ("limit" = Option<u32>, Query, description = "Entries of a page"), ("cursor" = Option<String>, Query, description = "The next page")),
    responses((status = 200, description = "They", body = serde_json::Value), (status = 404, description = "There is no such entry"),
        BookProblems))]
pub(super) async fn relations(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// A photo
#[utoipa::path(get, path = "/v1/photos/{digest}/{size}", operation_id = "photo", tag = "address book", security(("token" = [])),
    params(("digest" = String, Path, description = "As the entry names it"), ("size" = String, Path, description = "96 or 240 pixels a side")),
    responses((status = 200, description = "It", body = Vec<u8>, content_type = "image/jpeg"), (status = 304, description = "As it was"),
        (status = 404, description = "There is no such photo"), BookProblems))]
pub(super) async fn photo(
    office: State<Arc<Office>>,
    peer: Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    any(office, peer, request).await
}

/// Any request for the book: those above, and CardDAV.
pub(super) async fn any(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    if !Book::is_for_book(request.uri().path()) {
        return Err(Kind::NotFound.into());
    }
    // A browser asks its person for a name and a password where it is challenged so: only where others come.
    let challenge = if request.uri().path().starts_with("/v1/") { bearer::CHALLENGE } else { CHALLENGE };
    let holder = asker(&office, &peer, request.headers(), challenge).await?;
    if !office.shelf.is_whole.load(Relaxed) {
        return Err(Problem::new(Kind::Busy).retry_after(PAUSE));
    }
    let viewer =
        Viewer { is_administrator: holder.role >= Role::Administrator, address: Some(holder.address) };
    let request = plain(&office, &peer, request).await?;
    let reply = office.shelf.book().handle(&viewer, &request, office.wall_unix_ms());
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::Work(work) => office.shelf.work(move || work.run()).await?,
        Reply::Photo(photo) => {
            let octets = office.accounts.photo(photo.photo).await?;
            office.shelf.work(move || photo.answer(octets.as_deref())).await?
        }
    };
    Ok(response(answer))
}

/// Who asks.
async fn asker(
    office: &Arc<Office>,
    peer: &Peer,
    headers: &HeaderMap,
    challenge: &'static str,
) -> Result<Holder, Problem> {
    let field = single(headers, AUTHORIZATION)?;
    let nobody = || Problem::new(Kind::NotSignedIn).challenging(challenge);
    let Some((scheme, rest)) = field.and_then(|field| field.split_once(' ')) else { return Err(nobody()) };
    if scheme.eq_ignore_ascii_case("Bearer") {
        return bearer::holder(office, rest.trim()).await.map(|token| token.holder);
    }
    let credentials = scheme.eq_ignore_ascii_case("Basic").then(|| basic(rest.trim())).flatten();
    let Some((username, password)) = credentials else { return Err(nobody()) };
    let holder =
        office.accounts.check_app_password(username, &password, Purpose::AddressBook, peer.source()).await?;
    holder.ok_or_else(nobody)
}

/// User name and password (RFC 7617 §2).
fn basic(encoded: &str) -> Option<(String, zeroize::Zeroizing<String>)> {
    if encoded.len() > BASIC_CHARACTERS_MAX {
        return None;
    }
    let octets = zeroize::Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (username, password) = std::str::from_utf8(&octets).ok()?.split_once(':')?;
    Some((username.to_owned(), zeroize::Zeroizing::new(password.to_owned())))
}

async fn plain(office: &Arc<Office>, peer: &Peer, request: Request<Body>) -> Result<HttpRequest, Problem> {
    let target = request.uri().path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let headers = request.headers().iter().filter(|(name, _)| **name != AUTHORIZATION);
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), axum::body::Bytes::copy_from_slice(value.as_bytes())))
        .collect();
    Ok(HttpRequest {
        method: request.method().as_str().to_owned(),
        target,
        host: peer.host.clone(),
        headers,
        body: content::whole(request, office).await?,
        remote: peer.remote,
        is_secure: true,
    })
}

fn response(answer: HttpResponse) -> Response {
    let built = (|| {
        let mut response = answer.body.into_response();
        *response.status_mut() = StatusCode::from_u16(answer.status)?;
        response.headers_mut().clear();
        for (name, value) in &answer.headers {
            response
                .headers_mut()
                .append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        Ok::<_, axum::http::Error>(response)
    })();
    built.unwrap_or_else(|error| {
        tracing::error!(event = "web-answer", %error, "an answer of the address book is no HTTP");
        Problem::new(Kind::Fault).into_response()
    })
}
