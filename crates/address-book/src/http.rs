//! The book over HTTP: which request asks for what. The caller has signed the asker in.
//!
//! ```text
//!   GET /v1/address-book                       the whole book; ?version=N an older one
//!   GET /v1/address-book?from=N                what changed since; &to=M up to an older one; &sha256=H proves what N was
//!   GET /v1/address-book.vcf                   the whole book as vCards
//!   GET /v1/address-book/search?q=anna         &kind=person,room &limit=20 &cursor=C
//!   GET /v1/address-book/entries/ID            or ID.vcf
//!   GET /v1/address-book/entries/ID/managers   upwards
//!   GET /v1/address-book/entries/ID/reports    &limit &cursor, as do:
//!   GET /v1/address-book/entries/ID/members
//!   GET /v1/address-book/entries/ID/groups
//!   GET /v1/photos/PHOTO/96                    or 240
//!   /.well-known/carddav, /dav/                CardDAV
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use directory::{ObjectKind, SipAddress};
use node::http::{HttpRequest, HttpResponse};

use crate::book::{Book, Version, VersionError};
use crate::edition::{Coding, Delta, Edition};
use crate::entry::{Entry, EntryId, Line, PhotoName};
use crate::organisation::{Listing, ListingError, kind_of};
use crate::photo::{PhotoRequest, PhotoSize};
use crate::search::{PAGE_DEFAULT, PAGE_MAX, Page, Query};
use crate::settings::Audience;
use crate::vcard::{self, CardVersion};

/// Type of downloads: JSON texts, one a line.
const LINES: &str = "application/jsonl";
const JSON: &str = "application/json";
/// Parameters of a query; no path takes half as many.
const PARAMETERS_MAX: usize = 16;

/// Who asks: signed in by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Whether an administrator asks, who sees more.
    pub is_administrator: bool,
    /// Who it is.
    pub address: Option<SipAddress>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// The answer.
    Answer(HttpResponse),
    /// The answer takes up to seconds to make: call [`Work::run`] without a lock, where blocking harms nobody.
    Work(Work),
    /// A photo: fetch it, and call [`PhotoRequest::answer`] with it, likewise.
    Photo(PhotoRequest),
}

/// An answer that is yet to be made; it needs the book no more.
#[derive(Debug)]
pub struct Work(Task);

#[derive(Debug)]
pub(crate) enum Task {
    /// The whole book.
    Edition { edition: Arc<Edition>, coding: Coding, if_none_match: Option<String> },
    /// What changed; what the client says that the first version was, with what it was.
    Delta { delta: Delta, edition: Arc<Edition>, claim: Option<(Arc<Edition>, String)>, coding: Coding },
    /// The whole book as vCards.
    Cards { edition: Arc<Edition>, photos: String, coding: Coding, if_none_match: Option<String> },
    /// An answer of CardDAV.
    Dav(crate::dav::Task),
}

impl Viewer {
    pub(crate) fn audience(&self) -> Audience {
        if self.is_administrator { Audience::Administrators } else { Audience::Everyone }
    }
}

impl Book {
    /// Whether a path is the book's to answer; its methods are judged later.
    pub fn is_for_book(path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        ["/v1/address-book", "/v1/photos", "/.well-known/carddav", "/dav"].iter().any(|root| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
        })
    }

    /// Answers a request of somebody who is signed in. `now_unix_ms` may stand still, but not go back far.
    pub fn handle(&mut self, viewer: &Viewer, request: &HttpRequest, now_unix_ms: u64) -> Reply {
        let path = request.path().to_owned();
        if path == "/.well-known/carddav" || path == "/dav" || path.starts_with("/dav/") {
            if !self.settings.carddav {
                return Reply::Answer(problem(404, "CardDAV is not offered"));
            }
            return self.handle_dav(viewer, request, now_unix_ms);
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Reply::Answer(problem(405, "the address book is read only").with("allow", "GET, HEAD"));
        }
        self.get(viewer.audience(), request, &path, now_unix_ms).unwrap_or_else(Reply::Answer)
    }

    fn get(
        &mut self,
        audience: Audience,
        request: &HttpRequest,
        path: &str,
        now_unix_ms: u64,
    ) -> Result<Reply, HttpResponse> {
        let parameters = Parameters::of(&request.target)?;
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments.as_slice() {
            ["v1", "address-book"] if parameters.has("from") => {
                self.get_delta(audience, request, &parameters, now_unix_ms)
            }
            ["v1", "address-book"] => {
                let version = parameters.version("version")?;
                let edition = self.edition(audience, version, now_unix_ms).map_err(version_problem)?;
                Ok(Reply::Work(Work(Task::Edition {
                    edition,
                    coding: Coding::accepted(request.header("accept-encoding")),
                    if_none_match: request.header("if-none-match").map(str::to_owned),
                })))
            }
            ["v1", "address-book.vcf"] => {
                let edition = self.edition(audience, None, now_unix_ms).map_err(version_problem)?;
                Ok(Reply::Work(Work(Task::Cards {
                    edition,
                    photos: self.photos_url(request),
                    coding: Coding::accepted(request.header("accept-encoding")),
                    if_none_match: request.header("if-none-match").map(str::to_owned),
                })))
            }
            ["v1", "address-book", "search"] => {
                self.get_search(audience, &parameters).map(|answer| compressed(answer, request))
            }
            ["v1", "address-book", "entries", id] => self.get_entry(audience, request, id),
            ["v1", "address-book", "entries", id, what] => {
                let id = id.parse().map_err(|_| problem(404, "there is no such entry"))?;
                self.get_listing(audience, &parameters, id, what).map(|answer| compressed(answer, request))
            }
            ["v1", "photos", name, size] => self.get_photo(audience, request, name, size),
            _ => Err(problem(404, "there is nothing here")),
        }
    }

    fn get_delta(
        &mut self,
        audience: Audience,
        request: &HttpRequest,
        parameters: &Parameters,
        now_unix_ms: u64,
    ) -> Result<Reply, HttpResponse> {
        let from = parameters.version("from")?.unwrap_or_default();
        let to = parameters.version("to")?.unwrap_or(self.version(audience));
        let claimed = parameters.text("sha256").map(str::to_ascii_lowercase);
        let delta = self.delta(audience, from, to).map_err(version_problem)?;
        let claim = match claimed {
            Some(sha256) => {
                Some((self.edition(audience, Some(from), now_unix_ms).map_err(version_problem)?, sha256))
            }
            None => None,
        };
        let edition = self.edition(audience, Some(to), now_unix_ms).map_err(version_problem)?;
        let coding = Coding::accepted(request.header("accept-encoding"));
        Ok(Reply::Work(Work(Task::Delta { delta, edition, claim, coding })))
    }

    fn get_search(
        &mut self,
        audience: Audience,
        parameters: &Parameters,
    ) -> Result<HttpResponse, HttpResponse> {
        let names = parameters.text("kind").unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let kinds: Option<Vec<ObjectKind>> = names.map(kind_of).collect();
        let kinds = kinds.ok_or_else(|| problem(400, "`kind` names kinds of objects"))?;
        let query = Query {
            text: parameters.text("q").ok_or_else(|| problem(400, "`q` says what to search for"))?,
            kinds: &kinds,
            limit: parameters.limit()?,
            cursor: parameters.text("cursor"),
        };
        let page = self.search(audience, &query).map_err(|error| problem(400, &error.to_string()))?;
        Ok(fresh(HttpResponse::new(200, JSON, page_body(&page))))
    }

    fn get_entry(
        &mut self,
        audience: Audience,
        request: &HttpRequest,
        id: &str,
    ) -> Result<Reply, HttpResponse> {
        let (id, is_card) = match id.strip_suffix(".vcf") {
            Some(id) => (id, true),
            None => (id, request.header("accept").is_some_and(|accept| accept.contains("text/vcard"))),
        };
        let missing = || problem(404, "there is no such entry");
        let EntryId(id) = id.parse().map_err(|_| missing())?;
        let line = self.line(audience, id).ok_or_else(missing)?;
        let (content_type, body) = if is_card {
            let card = vcard::card(&Entry::of_line(line), CardVersion::Four, &self.photos_url(request));
            ("text/vcard; charset=utf-8", card)
        } else {
            (JSON, line.to_string())
        };
        let etag = quoted(&etag_of(body.as_bytes()));
        if is_match(request.header("if-none-match"), &etag) {
            return Ok(Reply::Answer(fresh(HttpResponse::empty(304)).with("etag", etag)));
        }
        Ok(Reply::Answer(fresh(HttpResponse::new(200, content_type, body)).with("etag", etag)))
    }

    fn get_listing(
        &self,
        audience: Audience,
        parameters: &Parameters,
        EntryId(id): EntryId,
        what: &str,
    ) -> Result<HttpResponse, HttpResponse> {
        let cursor = parameters.text("cursor").map(str::parse).transpose();
        let after = cursor.map_err(|_| problem(400, "the cursor is none that was given out"))?;
        let after = after.map(|EntryId(id)| id);
        let limit = parameters.limit()?;
        let listing = match what {
            "managers" => {
                self.managers(audience, id).map(|lines| Listing { total: lines.len(), lines, next: None })
            }
            "reports" => self.reports(audience, id, after, limit),
            "members" => self.members(audience, id, after, limit),
            "groups" => self.groups(audience, id, after, limit),
            _ => return Err(problem(404, "there is nothing here")),
        };
        let listing = listing.map_err(|error| {
            let status = match error {
                ListingError::NoEntry => 404,
                ListingError::NotShown | ListingError::TooLarge { .. } => 403,
            };
            problem(status, &error.to_string())
        })?;
        let next = listing.next.map(|id| EntryId(id).to_string());
        let version = self.version(audience);
        Ok(fresh(HttpResponse::new(200, JSON, listing_body(version, listing.total, &listing.lines, next))))
    }

    fn get_photo(
        &self,
        audience: Audience,
        request: &HttpRequest,
        name: &str,
        size: &str,
    ) -> Result<Reply, HttpResponse> {
        let missing = || problem(404, "there is no such photo");
        let name: PhotoName = name.parse().map_err(|_| missing())?;
        let size = PhotoSize::of_pixels(size).ok_or_else(missing)?;
        let photo = self.photo(audience, name).ok_or_else(missing)?;
        let wanted = PhotoRequest { photo, size };
        if is_match(request.header("if-none-match"), &wanted.etag()) {
            return Ok(Reply::Answer(wanted.headers(HttpResponse::empty(304))));
        }
        Ok(Reply::Photo(wanted))
    }

    /// What stands before a photo's name in its address.
    pub(crate) fn photos_url(&self, request: &HttpRequest) -> String {
        match &self.settings.public_url {
            Some(url) => format!("{}/v1/photos/", url.trim_end_matches('/')),
            None => format!("https://{}/v1/photos/", request.host),
        }
    }
}

impl Work {
    pub(crate) fn new(task: Task) -> Work {
        Work(task)
    }

    /// Makes the answer: hashes and compresses megabytes.
    pub fn run(self) -> HttpResponse {
        match self.0 {
            Task::Edition { edition, coding, if_none_match } => {
                let tag = edition.tag();
                let response = |status| {
                    let etag = coding.name().map_or(quoted(&tag), |name| quoted(&format!("{tag}-{name}")));
                    fresh(HttpResponse::empty(status)).with("etag", etag).with("vary", "accept-encoding")
                };
                if is_same(if_none_match.as_deref(), &tag) {
                    return response(304);
                }
                let body = edition.body(coding);
                HttpResponse { body, ..encoded(response(200), coding) }.with("content-type", LINES)
            }
            Task::Delta { delta, edition, claim, coding } => {
                // The database was put back to an older state, or keeps less than it should: the numbers say something else now.
                if claim.is_some_and(|(before, sha256)| hex::encode(before.sha256()) != sha256) {
                    return version_problem(VersionError::Gone);
                }
                let (coding, body) = coding.coded(delta.body(edition.sha256()));
                let response = fresh(HttpResponse::new(200, LINES, body)).with("vary", "accept-encoding");
                encoded(response, coding)
            }
            Task::Cards { edition, photos, coding, if_none_match } => {
                let tag = format!("{}-vcard", edition.tag());
                if is_same(if_none_match.as_deref(), &tag) {
                    return fresh(HttpResponse::empty(304)).with("etag", quoted(&tag));
                }
                let mut body = String::new();
                for (_, line) in &edition.lines {
                    body.push_str(&vcard::card(&Entry::of_line(line), CardVersion::Four, &photos));
                }
                let (coding, body) = coding.coded(body.into_bytes());
                let response = HttpResponse::new(200, "text/vcard; charset=utf-8", body)
                    .with("content-disposition", "attachment; filename=\"address-book.vcf\"")
                    .with("vary", "accept-encoding");
                let etag = coding.name().map_or(quoted(&tag), |name| quoted(&format!("{tag}-{name}")));
                encoded(fresh(response).with("etag", etag), coding)
            }
            Task::Dav(task) => task.run(),
        }
    }
}

/// Parameters of a query, decoded.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn of(target: &str) -> Result<Parameters, HttpResponse> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut found = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |coded: &str| {
                decoded(&coded.replace('+', " ")).ok_or_else(|| problem(400, "the query is not well escaped"))
            };
            let before = found.insert(text(name)?, text(value)?);
            if before.is_some() || found.len() > PARAMETERS_MAX {
                return Err(problem(400, "a parameter stands twice, or there are too many"));
            }
        }
        Ok(Parameters(found))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn version(&self, name: &str) -> Result<Option<Version>, HttpResponse> {
        let wrong = |_| problem(400, &format!("`{name}` is the number of a version"));
        self.text(name).map(|text| text.parse().map(Version).map_err(wrong)).transpose()
    }

    fn limit(&self) -> Result<usize, HttpResponse> {
        match self.text("limit").map(str::parse) {
            None => Ok(PAGE_DEFAULT),
            Some(Ok(limit @ 1..=PAGE_MAX)) => Ok(limit),
            Some(_) => Err(problem(400, &format!("`limit` is from 1 to {PAGE_MAX}"))),
        }
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1); `None`: it is none, or not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        octets.push(u8::try_from(digit()? << 4 | digit()?).expect("two digits fit"));
    }
    String::from_utf8(octets).ok()
}

/// A refusal (RFC 9457 §3).
pub(crate) fn problem(status: u16, detail: &str) -> HttpResponse {
    let title = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => "Error",
    };
    let body =
        serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
    HttpResponse::new(status, "application/problem+json", body.to_string())
}

fn version_problem(error: VersionError) -> HttpResponse {
    let status = match error {
        VersionError::Gone => 410,
        VersionError::Backwards => 400,
    };
    problem(status, &error.to_string())
}

fn page_body(page: &Page) -> String {
    listing_body(page.version, page.total, &page.lines, page.next.clone())
}

fn listing_body(version: Version, total: usize, lines: &[Line], next: Option<String>) -> String {
    let octets = lines.iter().map(|line| line.len() + 1).sum::<usize>();
    let mut body = String::with_capacity(octets + 128);
    write!(body, r#"{{"version":{},"total":{total},"entries":["#, version.0).expect("memory takes all");
    for (place, line) in lines.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        body.push_str(line);
    }
    body.push(']');
    // Cursors are made of letters, digits and hyphens.
    if let Some(next) = next {
        write!(body, r#","next":"{next}""#).expect("memory takes all");
    }
    body.push('}');
    body
}

fn compressed(answer: HttpResponse, request: &HttpRequest) -> Reply {
    let coding = Coding::accepted(request.header("accept-encoding"));
    let (coding, body) = coding.coded(answer.body.to_vec());
    let response = HttpResponse { body, ..answer }.with("vary", "accept-encoding");
    Reply::Answer(encoded(response, coding))
}

fn encoded(response: HttpResponse, coding: Coding) -> HttpResponse {
    match coding.name() {
        Some(name) => response.with("content-encoding", name),
        None => response,
    }
}

/// May be kept by the asker alone, and only to ask again whether it still holds: access may end, and entries change.
pub(crate) fn fresh(response: HttpResponse) -> HttpResponse {
    response.with("cache-control", "private, no-cache")
}

/// Names a content among those of the same address.
pub(crate) fn etag_of(content: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(content)[..16])
}

pub(crate) fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// Whether If-None-Match names the tag, strong or weak (RFC 9110 §13.1.2).
pub(crate) fn is_match(if_none_match: Option<&str>, etag: &str) -> bool {
    let mut tags = if_none_match.unwrap_or_default().split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether If-None-Match names the content in any coding.
fn is_same(if_none_match: Option<&str>, tag: &str) -> bool {
    [tag.to_owned(), format!("{tag}-gzip"), format!("{tag}-zstd")]
        .iter()
        .any(|tag| is_match(if_none_match, &quoted(tag)))
}
