//! XCAP over HTTP (RFC 4825 §7 and §8): authenticates the request, and answers it with what the crate `xcap` makes of the
//! user's document.
//!
//! Who asks sees the own documents only. Everything else is answered as what does not exist: another person's documents,
//! a person who is not there, an application that nobody knows.

use std::cell::RefCell;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use node::CallToken;
use node::http::{HttpRequest, HttpResponse};
use presence::address_of_uri;
use sha2::{Digest, Sha256};
use xcap::conditions::{Decision, Intent, State, decide};
use xcap::{Body, Conflict, Document, Failure, PathError, Resource, Tree, caps};

use super::application::{Application, Meaning};
use super::write::{Reply, Waiting, What, Write, quoted};
use super::{Documents, File};
use crate::frontend::FrontEnd;
use crate::http::XCAP_ROOT;

/// What documents and nodes allow, and what can only be read.
const ALLOW: &str = "GET, HEAD, PUT, DELETE";
const ALLOW_READ: &str = "GET, HEAD";

impl FrontEnd {
    pub(crate) fn xcap(&mut self, token: CallToken, request: HttpRequest) {
        let resource = Resource::parse(&request.target[XCAP_ROOT.len()..]);
        // Nobody is told anything before saying who they are.
        let owner = match resource.as_ref().map(|resource| &resource.tree) {
            Ok(Tree::User(xui)) => owner(xui),
            _ => None,
        };
        let realm = match &owner {
            Some(owner) if self.config.domains.iter().any(|d| d.as_str() == owner.domain()) => {
                owner.domain().to_owned()
            }
            _ => self.domain_of_host(&request.host),
        };
        let user = match self.authenticate_http(&request, &realm) {
            Ok(user) => user,
            Err(answer) => return self.answer_http(token, answer),
        };
        match self.own_resource(user, owner, resource) {
            Ok(Own::Capabilities(resource)) => {
                let answer = capabilities(&request, &resource);
                self.answer_http(token, answer);
            }
            Ok(Own::Document(resource, application)) => match request.method.as_str() {
                "GET" | "HEAD" => {
                    let documents = &self.users.get(user).expect("who asks is there").documents;
                    let answer = read(documents, &request, &resource, application);
                    self.answer_http(token, answer);
                }
                "PUT" | "DELETE" => {
                    let waiting = Waiting::Http(token, Box::new(request), Box::new(resource), application);
                    self.change_documents(user, waiting);
                }
                _ => self.answer_http(token, HttpResponse::empty(405).with("allow", ALLOW)),
            },
            Err(status) => self.answer_http(token, HttpResponse::empty(status)),
        }
    }

    /// What of the user's own the path leads to, or the status of an answer.
    fn own_resource(
        &self,
        user: UserId,
        owner: Option<SipAddress>,
        resource: Result<Resource, PathError>,
    ) -> Result<Own, u16> {
        let resource = resource.map_err(|error| match error {
            PathError::Nowhere => 404u16,
            PathError::Selector(_) | PathError::Encoding => 400,
            PathError::TooLong => 414,
        })?;
        if resource.tree == Tree::Global && resource.auid == caps::AUID && resource.document == caps::DOCUMENT
        {
            return Ok(Own::Capabilities(resource));
        }
        // A client that knows a former address finds its documents there.
        let is_owners = |owner: SipAddress| self.users.find_address(&owner) == Some(user);
        if !owner.is_some_and(is_owners) {
            return Err(404);
        }
        let application = Application::from_auid(&resource.auid).ok_or(404u16)?;
        Ok(Own::Document(resource, application))
    }

    /// PUT and DELETE, when it is their turn.
    pub(super) fn xcap_change(
        &mut self,
        token: CallToken,
        user: UserId,
        request: &HttpRequest,
        resource: &Resource,
        application: Application,
    ) {
        match self.judge_change(user, request, resource, application) {
            Ok((what, status)) => {
                let write = Write { application, name: resource.document.clone(), what };
                self.write_document(user, write, Reply::Http { token, status });
            }
            Err(answer) => self.answer_http(token, answer),
        }
    }

    fn judge_change(
        &self,
        user: UserId,
        request: &HttpRequest,
        resource: &Resource,
        application: Application,
    ) -> Result<(What, u16), HttpResponse> {
        let account = self.users.get(user).expect("it was looked for");
        let file = account.documents.find(application, &resource.document);
        let current = file.map(File::text);
        let exists = current
            .is_some_and(|text| xcap::get(text, resource.node.as_ref(), application.namespace()).is_some());
        check_conditions(request, Intent::Write, file.map(|file| &*file.tag), exists)?;
        let meaning = RefCell::new(Meaning::None);
        let validate = |document: &Document<'_>| {
            *meaning.borrow_mut() =
                self.judge_document(user, application, &resource.document, document.text())?;
            Ok(())
        };
        let rules = xcap::Application {
            namespace: application.namespace(),
            media_type: application.media_type(),
            validate: &validate,
        };
        if request.method == "DELETE" {
            let left = xcap::delete(resource, current, &rules).map_err(refuse)?;
            let what = match left {
                Some(body) => What::Put { body, meaning: meaning.into_inner() },
                None => What::Remove,
            };
            return Ok((what, 200));
        }
        let body = Body { media_type: request.header("content-type").unwrap_or(""), octets: &request.body };
        let edited = xcap::put(&root(request), resource, current, body, &rules).map_err(refuse)?;
        let status = if edited.is_new { 201 } else { 200 };
        Ok((What::Put { body: edited.document, meaning: meaning.into_inner() }, status))
    }
}

/// What a path leads to.
enum Own {
    Capabilities(Resource),
    Document(Resource, Application),
}

/// GET of a document or a node in it.
fn read(
    documents: &Documents,
    request: &HttpRequest,
    resource: &Resource,
    application: Application,
) -> HttpResponse {
    let Some(file) = documents.find(application, &resource.document) else {
        return match check_conditions(request, Intent::Read, None, false) {
            Ok(()) => HttpResponse::empty(404),
            Err(answer) => answer,
        };
    };
    let found = xcap::get(file.text(), resource.node.as_ref(), application.namespace());
    if let Err(answer) = check_conditions(request, Intent::Read, Some(&file.tag), found.is_some()) {
        return answer;
    }
    let Some(found) = found else { return HttpResponse::empty(404) };
    let body = match resource.node {
        None => file.body.clone(),
        Some(_) => Bytes::from(found.body.into_owned()),
    };
    content(found.media_type.unwrap_or(application.media_type()), &file.tag, body)
}

/// The global document `xcap-caps` (RFC 4825 §12).
fn capabilities(request: &HttpRequest, resource: &Resource) -> HttpResponse {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return HttpResponse::empty(405).with("allow", ALLOW_READ);
    }
    let auids = [&[caps::AUID][..], &Application::ALL.map(Application::auid)].concat();
    let namespaces = [&[caps::NAMESPACE][..], &Application::ALL.map(Application::namespace)].concat();
    let document = caps::document(&auids, &namespaces);
    let tag = hex::encode(&Sha256::digest(&document)[..8]);
    let found = xcap::get(&document, resource.node.as_ref(), caps::NAMESPACE);
    if let Err(answer) = check_conditions(request, Intent::Read, Some(&tag), found.is_some()) {
        return answer;
    }
    match found {
        Some(found) => {
            content(found.media_type.unwrap_or(caps::MEDIA_TYPE), &tag, found.body.into_owned().into())
        }
        None => HttpResponse::empty(404),
    }
}

fn content(media_type: &'static str, tag: &str, body: Bytes) -> HttpResponse {
    HttpResponse::new(200, media_type, body)
        .with("etag", quoted(tag))
        // Whoever keeps a copy asks whether it still holds, and gives it to nobody else.
        .with("cache-control", "private, no-cache")
}

fn check_conditions(
    request: &HttpRequest,
    intent: Intent,
    tag: Option<&str>,
    exists: bool,
) -> Result<(), HttpResponse> {
    let field = |name: &str| {
        let values: Vec<_> = request.headers.iter().filter(|(field, _)| field == name).collect();
        let texts: Vec<_> = values.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    };
    let (if_match, if_none_match) = (field("if-match"), field("if-none-match"));
    match decide(intent, if_match.as_deref(), if_none_match.as_deref(), State { tag, exists }) {
        Decision::Go => Ok(()),
        Decision::NotModified => Err(HttpResponse::empty(304).with("etag", quoted(tag.unwrap_or_default()))),
        Decision::Failed => Err(HttpResponse::empty(412)),
        Decision::Malformed => Err(HttpResponse::empty(400)),
    }
}

fn refuse(failure: Failure) -> HttpResponse {
    match &failure {
        Failure::Conflict(conflict) => HttpResponse::new(409, Conflict::MEDIA_TYPE, conflict.body()),
        Failure::ReadOnly => HttpResponse::empty(405).with("allow", ALLOW_READ),
        failure => HttpResponse::empty(failure.status()),
    }
}

/// The URI of the XCAP root, as the client sees it.
fn root(request: &HttpRequest) -> String {
    let scheme = if request.is_secure { "https" } else { "http" };
    let host = request.header("host").unwrap_or(&request.host);
    format!("{scheme}://{host}{XCAP_ROOT}")
}

/// Whose documents a user identifier means (RFC 4825 §4): a SIP URI, or an address alone.
pub(super) fn owner(xui: &str) -> Option<SipAddress> {
    address_of_uri(xui).or_else(|| SipAddress::parse(xui).ok())
}
