//! Reports on the book: multiget, query (RFC 6352 §8.6, §8.7), and synchronisation (RFC 6578).
//!
//! A sync token is a URI that means something here alone: the policy under which the book is seen, and the version; where a report was cut,
//! also how far it came, so that the next one goes on there.

use std::sync::Arc;

use directory::ObjectId;
use node::http::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

use super::filter::{Filter, FilterError};
use super::properties::{self, Wanted};
use super::xml::{self, CALENDAR_SERVER, CARDDAV, DAV, Element};
use super::{Manner, Resource, XML, condition, refused, text_of};
use crate::book::{Book, Version};
use crate::edition::Edition;
use crate::entry::{Entry, Line};
use crate::http::{self, Reply, Viewer, Work, fresh, problem};
use crate::settings::Audience;
use crate::vcard::CardVersion;

/// Most entries of one multiget; clients ask for tens to hundreds.
pub(super) const MULTIGET_MAX: usize = 5000;
/// Most changes that one synchronisation tells: the rest follows with the next, whose token says where to go on.
const SYNC_MAX: usize = 5000;
/// Most vCards that a query answers with.
const QUERY_CARDS_MAX: usize = 10_000;
const TOKEN_BEGIN: &str = "urn:x-chancery:address-book:";

/// An answer of CardDAV that is yet to be written.
#[derive(Debug)]
pub(crate) struct Task {
    /// Written already.
    responses: String,
    items: Items,
    wanted: Wanted,
    version: CardVersion,
    manner: Manner,
    sync_token: Option<String>,
}

/// The entries of an answer.
#[derive(Debug)]
pub(super) enum Items {
    None,
    /// All of an edition.
    Edition(Arc<Edition>),
    /// Those of an edition that a filter takes, up to a limit.
    Filtered {
        edition: Arc<Edition>,
        filter: Filter,
        limit: usize,
    },
    /// These; `None`: not there, or no more.
    These {
        lines: Vec<(ObjectId, Option<Line>)>,
        is_truncated: bool,
    },
}

impl Task {
    pub(super) fn new(responses: String, items: Items, wanted: Wanted, manner: Manner) -> Task {
        Task { responses, items, wanted, version: CardVersion::Three, manner, sync_token: None }
    }

    pub(crate) fn run(self) -> HttpResponse {
        let mut body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <D:multistatus xmlns:D=\"{DAV}\" xmlns:C=\"{CARDDAV}\" xmlns:S=\"{CALENDAR_SERVER}\">\n"
        );
        body.push_str(&self.responses);
        let card = |id: &ObjectId, line: &str, body: &mut String| {
            properties::card_response(*id, line, &self.wanted, self.version, &self.manner, body);
        };
        match &self.items {
            Items::None => {}
            Items::Edition(edition) => edition.lines.iter().for_each(|(id, line)| card(id, line, &mut body)),
            Items::Filtered { edition, filter, limit } => {
                let mut taken = edition.lines.iter().filter(|(_, line)| filter.takes(&Entry::of_line(line)));
                taken.by_ref().take(*limit).for_each(|(id, line)| card(id, line, &mut body));
                if taken.next().is_some() {
                    properties::truncated_response(&mut body);
                }
            }
            Items::These { lines, is_truncated } => {
                for (id, line) in lines {
                    match line {
                        Some(line) => card(id, line, &mut body),
                        None => properties::missing_response(&Resource::Card(*id).href(), &mut body),
                    }
                }
                if *is_truncated {
                    properties::truncated_response(&mut body);
                }
            }
        }
        if let Some(token) = &self.sync_token {
            body.push_str("<D:sync-token>");
            xml::escape(token, &mut body);
            body.push_str("</D:sync-token>");
        }
        body.push_str("</D:multistatus>\n");
        let (coding, body) = self.manner.coding.coded(body.into_bytes());
        let response =
            fresh(HttpResponse::new(207, XML, body)).with("vary", "accept-encoding, prefer, brief");
        match coding.name() {
            Some(name) => response.with("content-encoding", name),
            None => response,
        }
    }
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyncPoint {
    /// What it has, up to `after` of what changed on the way to `to`.
    from: Version,
    rest: Option<Rest>,
}

/// What is left of a report that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    to: Version,
    after: ObjectId,
}

impl Book {
    pub(super) fn report(
        &mut self,
        viewer: &Viewer,
        request: &HttpRequest,
        resource: Resource,
        now_unix_ms: u64,
    ) -> Result<Reply, HttpResponse> {
        let root = xml::read(&request.body).map_err(refused)?;
        if resource != Resource::Book {
            return Err(condition(403, "<D:supported-report/>"));
        }
        let audience = viewer.audience();
        let prop = root.child(DAV, "prop");
        let wanted = match prop {
            Some(prop) => Wanted::of_prop(prop),
            None => Wanted::All,
        };
        let data = prop.and_then(|prop| prop.child(CARDDAV, "address-data"));
        let version = card_version(data)?;
        let mut task = Task::new(String::new(), Items::None, wanted, self.manner(request));
        task.version = version;
        match (root.namespace.as_str(), root.name.as_str()) {
            (CARDDAV, "addressbook-multiget") => self.multiget(audience, &root, &mut task)?,
            (CARDDAV, "addressbook-query") => {
                let edition = self.latest(audience, now_unix_ms)?;
                let filter =
                    root.child(CARDDAV, "filter").map(Filter::of).transpose().map_err(refused_filter)?;
                let filter = filter.unwrap_or_else(Filter::everything);
                let most = if data.is_some() { QUERY_CARDS_MAX } else { usize::MAX };
                let limit = results(&root, CARDDAV)?.unwrap_or(most).min(most);
                task.items = Items::Filtered { edition, filter, limit };
            }
            (DAV, "sync-collection") => self.sync(audience, &root, now_unix_ms, &mut task)?,
            _ => return Err(condition(403, "<D:supported-report/>")),
        }
        Ok(Reply::Work(Work::new(http::Task::Dav(task))))
    }

    pub(super) fn latest(
        &mut self,
        audience: Audience,
        now_unix_ms: u64,
    ) -> Result<Arc<Edition>, HttpResponse> {
        let version = self.version(audience);
        self.edition(audience, Some(version), now_unix_ms).map_err(|error| problem(500, &error.to_string()))
    }

    /// What a client that has everything remembers.
    pub(super) fn sync_token(&self, audience: Audience) -> String {
        self.token(audience, SyncPoint { from: self.version(audience), rest: None })
    }

    fn multiget(&self, audience: Audience, root: &Element, task: &mut Task) -> Result<(), HttpResponse> {
        let mut lines = Vec::new();
        for href in root.children.iter().filter(|child| child.is(DAV, "href")) {
            if lines.len() == MULTIGET_MAX {
                return Err(problem(413, "a multiget has fewer entries"));
            }
            let href = href.text.trim();
            // COMPAT: hrefs may be whole URIs (RFC 4918 §8.3).
            let path =
                href.split_once("://").map_or(href, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
            match Resource::of(path) {
                Some(Resource::Card(id)) => lines.push((id, self.line(audience, id).cloned())),
                _ => properties::missing_response(href, &mut task.responses),
            }
        }
        task.items = Items::These { lines, is_truncated: false };
        Ok(())
    }

    fn sync(
        &mut self,
        audience: Audience,
        root: &Element,
        now_unix_ms: u64,
        task: &mut Task,
    ) -> Result<(), HttpResponse> {
        let invalid = || condition(403, "<D:valid-sync-token/>");
        let token = text_of(root, DAV, "sync-token").unwrap_or_default();
        let point =
            if token.is_empty() { None } else { Some(self.point(audience, token).ok_or_else(invalid)?) };
        let (from, rest) = point.map_or((None, None), |point| (Some(point.from), point.rest));
        let to = rest.map_or(self.version(audience), |rest| rest.to);
        // Who begins gets the whole book, and hears of nobody who is gone.
        let mut lines = match from.filter(|from| *from > Version(0)) {
            Some(from) => self.delta(audience, from, to).map_err(|_| invalid())?.lines,
            None => {
                let edition = self.edition(audience, Some(to), now_unix_ms).map_err(|_| invalid())?;
                edition.lines.iter().map(|(id, line)| (*id, Some(line.clone()))).collect()
            }
        };
        if let Some(rest) = rest {
            let begin = lines.partition_point(|(id, _)| *id <= rest.after);
            lines.drain(..begin);
        }
        let limit = results(root, DAV)?.unwrap_or(SYNC_MAX).min(SYNC_MAX);
        let is_truncated = lines.len() > limit;
        lines.truncate(limit);
        let next = match lines.last() {
            Some((after, _)) if is_truncated => {
                let rest = Some(Rest { to, after: *after });
                SyncPoint { from: from.unwrap_or_default(), rest }
            }
            _ => SyncPoint { from: to, rest: None },
        };
        task.sync_token = Some(self.token(audience, next));
        task.items = Items::These { lines, is_truncated };
        Ok(())
    }

    fn token(&self, audience: Audience, point: SyncPoint) -> String {
        let mut token = format!("{TOKEN_BEGIN}{}:{}", self.policy(audience), point.from.0);
        if let Some(rest) = point.rest {
            token.push_str(&format!(":{}:{}", rest.to.0, rest.after));
        }
        token
    }

    /// `None`: it is none of ours, or of another policy.
    pub(super) fn point(&self, audience: Audience, token: &str) -> Option<SyncPoint> {
        let mut parts = token.strip_prefix(TOKEN_BEGIN)?.split(':');
        if parts.next()? != self.policy(audience) {
            return None;
        }
        let from = Version(parts.next()?.parse().ok()?);
        let rest = match (parts.next(), parts.next()) {
            (Some(to), Some(after)) => {
                Some(Rest { to: Version(to.parse().ok()?), after: after.parse().ok()? })
            }
            (None, _) => None,
            (Some(_), None) => return None,
        };
        parts.next().is_none().then_some(SyncPoint { from, rest })
    }

    /// Names what is shown to whom: with another policy every entry may be another, though nothing changed in the directory.
    fn policy(&self, audience: Audience) -> String {
        let visible = format!("{audience:?} {:?} {:?}", self.settings.kinds, self.settings.visible);
        hex::encode(&Sha256::digest(visible)[..4])
    }
}

/// Which vCards are asked for (RFC 6352 §10.4).
fn card_version(data: Option<&Element>) -> Result<CardVersion, HttpResponse> {
    let unsupported = || condition(403, "<C:supported-address-data/>");
    let Some(data) = data else { return Ok(CardVersion::Three) };
    if data.attribute("content-type").is_some_and(|name| !name.eq_ignore_ascii_case("text/vcard")) {
        return Err(unsupported());
    }
    match data.attribute("version") {
        None | Some("3.0") => Ok(CardVersion::Three),
        Some("4.0") => Ok(CardVersion::Four),
        Some(_) => Err(unsupported()),
    }
}

/// How many results are wanted at most.
fn results(root: &Element, namespace: &str) -> Result<Option<usize>, HttpResponse> {
    let Some(limit) = root.child(namespace, "limit") else { return Ok(None) };
    match text_of(limit, namespace, "nresults").map(str::parse) {
        Some(Ok(limit @ 1..)) => Ok(Some(limit)),
        _ => Err(problem(400, "nresults is a number above 0")),
    }
}

fn refused_filter(error: FilterError) -> HttpResponse {
    match error {
        FilterError::Malformed => problem(400, "the filter is none"),
        FilterError::Unsupported => condition(403, "<C:supported-filter/>"),
        FilterError::Collation => condition(403, "<C:supported-collation/>"),
    }
}
