//! CardDAV (RFC 6352), read only: the book as an address book collection of WebDAV (RFC 4918), for mail programs and phones.
//!
//! ```text
//!   /.well-known/carddav          leads to /dav/ (RFC 6764 §5)
//!   /dav/                         where clients ask who they are: current-user-principal
//!   /dav/principals/me/           the asker: addressbook-home-set
//!   /dav/addressbooks/            the home set: one collection
//!   /dav/addressbooks/company/    the book: getctag, sync-token; REPORT
//!   …/company/ID.vcf              an entry: getetag; GET gives vCard 3, or 4 to who asks for it
//! ```
//!
//! Everybody sees the same paths and each audience its own book behind them. What would write is refused with 403.

mod filter;
mod properties;
mod report;
#[cfg(test)]
mod tests;
mod xml;

use directory::ObjectId;
use node::http::{HttpRequest, HttpResponse};

use crate::book::Book;
use crate::edition::Coding;
use crate::entry::Entry;
use crate::http::{self, Reply, Viewer, Work, fresh, problem, quoted};
use crate::settings::Audience;
use crate::vcard::{self, CardVersion};

use properties::{Described, Wanted};
pub(crate) use report::Task;
use xml::{DAV, Element, XmlError};

const HOME: &str = "/dav/addressbooks/";
const BOOK: &str = "/dav/addressbooks/company/";
const PRINCIPAL: &str = "/dav/principals/me/";
const PRINCIPALS: &str = "/dav/principals/";
const ROOT: &str = "/dav/";
const XML: &str = "application/xml; charset=utf-8";
const ALLOW: &str = "OPTIONS, GET, HEAD, PROPFIND, REPORT";
/// RFC 4918 §18, RFC 3744 §7.2, RFC 6352 §6.1.
const COMPLIANCE: &str = "1, 3, access-control, addressbook";

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Root,
    Principals,
    Principal,
    Home,
    Book,
    Card(ObjectId),
}

impl Resource {
    fn of(path: &str) -> Option<Resource> {
        let path = http::decoded(path)?;
        // COMPAT: some clients drop the slash at the end of a collection.
        Some(match format!("{}/", path.trim_end_matches('/')).as_str() {
            ROOT => Resource::Root,
            PRINCIPALS => Resource::Principals,
            PRINCIPAL => Resource::Principal,
            HOME => Resource::Home,
            BOOK => Resource::Book,
            _ => Resource::Card(path.strip_prefix(BOOK)?.strip_suffix(".vcf")?.parse().ok()?),
        })
    }

    fn href(self) -> String {
        match self {
            Resource::Root => ROOT.to_owned(),
            Resource::Principals => PRINCIPALS.to_owned(),
            Resource::Principal => PRINCIPAL.to_owned(),
            Resource::Home => HOME.to_owned(),
            Resource::Book => BOOK.to_owned(),
            Resource::Card(id) => format!("{BOOK}{id}.vcf"),
        }
    }

    /// What a PROPFIND of depth 1 shows beside it; the cards of the book are not among them.
    fn children(self) -> &'static [Resource] {
        match self {
            Resource::Root => &[Resource::Principals, Resource::Home],
            Resource::Principals => &[Resource::Principal],
            Resource::Home => &[Resource::Book],
            Resource::Principal | Resource::Book | Resource::Card(_) => &[],
        }
    }
}

/// How a request is to be answered, whatever it asks for.
#[derive(Clone, Debug)]
struct Manner {
    /// What is not there need not be told (RFC 8144 §2.1).
    is_minimal: bool,
    coding: Coding,
    /// Stands before the names of photos.
    photos: String,
}

impl Book {
    pub(crate) fn handle_dav(&mut self, viewer: &Viewer, request: &HttpRequest, now_unix_ms: u64) -> Reply {
        self.dav(viewer, request, now_unix_ms).unwrap_or_else(Reply::Answer)
    }

    fn dav(
        &mut self,
        viewer: &Viewer,
        request: &HttpRequest,
        now_unix_ms: u64,
    ) -> Result<Reply, HttpResponse> {
        let path = request.path();
        if path == "/.well-known/carddav" || path == "/dav" {
            return Err(HttpResponse::empty(301).with("location", ROOT));
        }
        let method = request.method.as_str();
        if method == "OPTIONS" {
            return Err(HttpResponse::empty(200).with("dav", COMPLIANCE).with("allow", ALLOW));
        }
        let resource = Resource::of(path);
        match method {
            "GET" | "HEAD" | "PROPFIND" | "REPORT" => {}
            "PUT" | "DELETE" | "POST" | "PATCH" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK"
            | "UNLOCK" | "ACL" => return Err(condition(403, "<D:need-privileges/>")),
            _ => return Err(problem(405, "the address book is read only").with("allow", ALLOW)),
        }
        let resource = resource.ok_or_else(|| problem(404, "there is nothing here"))?;
        match method {
            "PROPFIND" => self.propfind(viewer, request, resource, now_unix_ms),
            "REPORT" => self.report(viewer, request, resource, now_unix_ms),
            _ => match resource {
                Resource::Card(id) => self.get_card(viewer.audience(), request, id).map(Reply::Answer),
                _ => Err(problem(405, "a collection is read by PROPFIND and REPORT").with("allow", ALLOW)),
            },
        }
    }

    fn get_card(
        &self,
        audience: Audience,
        request: &HttpRequest,
        id: ObjectId,
    ) -> Result<HttpResponse, HttpResponse> {
        let line = self.line(audience, id).ok_or_else(|| problem(404, "there is no such entry"))?;
        let etag = quoted(&properties::card_tag(line));
        if http::is_match(request.header("if-none-match"), &etag) {
            return Ok(fresh(HttpResponse::empty(304)).with("etag", etag));
        }
        let accept = request.header("accept").unwrap_or_default();
        let version = if accept.contains("version=4.0") || accept.contains("version=\"4.0\"") {
            CardVersion::Four
        } else {
            CardVersion::Three
        };
        let card = vcard::card(&Entry::of_line(line), version, &self.photos_url(request));
        Ok(fresh(HttpResponse::new(200, "text/vcard; charset=utf-8", card))
            .with("etag", etag)
            .with("vary", "accept"))
    }

    fn propfind(
        &mut self,
        viewer: &Viewer,
        request: &HttpRequest,
        resource: Resource,
        now_unix_ms: u64,
    ) -> Result<Reply, HttpResponse> {
        let is_deep = match request.header("depth") {
            Some("0") => false,
            Some("1") => true,
            // RFC 4918 §9.1: without the header all levels are meant.
            _ => return Err(condition(403, "<D:propfind-finite-depth/>")),
        };
        let wanted = if request.body.is_empty() {
            Wanted::All
        } else {
            let root = xml::read(&request.body).map_err(refused)?;
            if !root.is(DAV, "propfind") {
                return Err(problem(400, "the content is no propfind"));
            }
            Wanted::of_propfind(&root).ok_or_else(|| problem(400, "the propfind asks for nothing"))?
        };
        let manner = self.manner(request);
        let audience = viewer.audience();
        let mut responses = String::new();
        if let Resource::Card(id) = resource {
            let line = self.line(audience, id).ok_or_else(|| problem(404, "there is no such entry"))?;
            properties::card_response(id, line, &wanted, CardVersion::Three, &manner, &mut responses);
        } else {
            let described = self.described(viewer);
            let children = if is_deep { resource.children() } else { &[] };
            for resource in [resource].iter().chain(children) {
                properties::response(*resource, &described, &wanted, &manner, &mut responses);
            }
        }
        let items = if is_deep && resource == Resource::Book {
            report::Items::Edition(self.latest(audience, now_unix_ms)?)
        } else {
            report::Items::None
        };
        Ok(Reply::Work(Work::new(http::Task::Dav(Task::new(responses, items, wanted, manner)))))
    }

    fn described(&self, viewer: &Viewer) -> Described {
        let audience = viewer.audience();
        let address = viewer.address.as_ref();
        Described {
            asker: address.map_or_else(|| "me".to_owned(), |address| address.as_str().to_owned()),
            sync_token: self.sync_token(audience),
        }
    }

    fn manner(&self, request: &HttpRequest) -> Manner {
        let prefer = request.header("prefer").unwrap_or_default();
        Manner {
            // COMPAT: Apple's clients say Brief, as Microsoft's once did.
            is_minimal: prefer.contains("return=minimal") || request.header("brief") == Some("t"),
            coding: Coding::accepted(request.header("accept-encoding")),
            photos: self.photos_url(request),
        }
    }
}

/// A refusal that names the condition that was not met (RFC 4918 §16).
fn condition(status: u16, condition: &str) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\" xmlns:C=\"{}\">{condition}</D:error>",
        xml::CARDDAV
    );
    HttpResponse::new(status, XML, body)
}

fn refused(error: XmlError) -> HttpResponse {
    let status = match error {
        XmlError::TooLarge => 413,
        XmlError::Malformed => 400,
    };
    problem(status, &error.to_string())
}

/// The text of an element that stands once below another.
fn text_of<'a>(element: &'a Element, namespace: &str, name: &str) -> Option<&'a str> {
    element.child(namespace, name).map(|child| child.text.trim())
}
