//! Properties of resources, and the responses that tell them (RFC 4918 §9.1, §14).

use std::fmt::Write;

use directory::ObjectId;

use super::xml::{CALENDAR_SERVER, CARDDAV, DAV, Element, escape};
use super::{BOOK, HOME, Manner, PRINCIPAL, PRINCIPALS, Resource};
use crate::entry::Entry;
use crate::http::{etag_of, quoted};
use crate::vcard::{self, CardVersion};

/// Changes with the form of our vCards, so that clients read those again that they have.
const CARD_FORM: &str = "1";
/// What clients call the collection, if their people do not.
const BOOK_NAME: &str = "Company address book";

/// The properties that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that are cheap.
    All,
    /// Their names alone.
    Names,
    /// These: namespace and name.
    These(Vec<(String, String)>),
}

/// What collections tell that changes.
pub(super) struct Described {
    pub(super) asker: String,
    pub(super) sync_token: String,
}

impl Wanted {
    /// `None`: it asks for nothing.
    pub(super) fn of_propfind(propfind: &Element) -> Option<Wanted> {
        if propfind.child(DAV, "propname").is_some() {
            Some(Wanted::Names)
        } else if propfind.child(DAV, "allprop").is_some() {
            Some(Wanted::All)
        } else {
            propfind.child(DAV, "prop").map(Wanted::of_prop)
        }
    }

    pub(super) fn of_prop(prop: &Element) -> Wanted {
        let named = |child: &Element| (child.namespace.clone(), child.name.clone());
        Wanted::These(prop.children.iter().map(named).collect())
    }
}

/// The response of a collection.
pub(super) fn response(
    resource: Resource,
    described: &Described,
    wanted: &Wanted,
    manner: &Manner,
    out: &mut String,
) {
    let all = match resource {
        Resource::Principal => PRINCIPAL_PROPERTIES,
        Resource::Book => BOOK_PROPERTIES,
        _ => PLAIN_PROPERTIES,
    };
    respond(&resource.href(), all, wanted, manner, out, |namespace, name, out| {
        collection_value(resource, described, namespace, name, out)
    });
}

/// The response of an entry.
pub(super) fn card_response(
    id: ObjectId,
    line: &str,
    wanted: &Wanted,
    version: CardVersion,
    manner: &Manner,
    out: &mut String,
) {
    let href = Resource::Card(id).href();
    respond(&href, CARD_PROPERTIES, wanted, manner, out, |namespace, name, out| {
        match (namespace, name) {
            (DAV, "resourcetype") => {}
            (DAV, "getcontenttype") => out.push_str("text/vcard; charset=utf-8"),
            (DAV, "getetag") => escape(&quoted(&card_tag(line)), out),
            (DAV, "current-user-privilege-set") => out.push_str(PRIVILEGES),
            (DAV, "current-user-principal") => href_value(PRINCIPAL, out),
            (CARDDAV, "address-data") => {
                escape(&vcard::card(&Entry::of_line(line), version, &manner.photos), out);
            }
            _ => return false,
        }
        true
    });
}

/// The response of what is not there, or no more.
pub(super) fn missing_response(href: &str, out: &mut String) {
    out.push_str("<D:response><D:href>");
    escape(href, out);
    out.push_str("</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>\n");
}

/// Names the state of an entry. It is that of the entry, in whichever version of vCard it is read: clients hold the tag of a listing
/// against that of what they have.
pub(super) fn card_tag(line: &str) -> String {
    etag_of(format!("{CARD_FORM} {line}").as_bytes())
}

const PRIVILEGES: &str = "<D:privilege><D:read/></D:privilege>\
     <D:privilege><D:read-current-user-privilege-set/></D:privilege>";

const PLAIN_PROPERTIES: &[(&str, &str)] = &[
    (DAV, "resourcetype"),
    (DAV, "displayname"),
    (DAV, "current-user-principal"),
    (DAV, "current-user-privilege-set"),
    (DAV, "principal-collection-set"),
    (DAV, "supported-report-set"),
];

const PRINCIPAL_PROPERTIES: &[(&str, &str)] = &[
    (DAV, "resourcetype"),
    (DAV, "displayname"),
    (DAV, "current-user-principal"),
    (DAV, "current-user-privilege-set"),
    (DAV, "principal-collection-set"),
    (DAV, "supported-report-set"),
    (DAV, "principal-URL"),
    (CARDDAV, "addressbook-home-set"),
];

const BOOK_PROPERTIES: &[(&str, &str)] = &[
    (DAV, "resourcetype"),
    (DAV, "displayname"),
    (DAV, "current-user-principal"),
    (DAV, "current-user-privilege-set"),
    (DAV, "principal-collection-set"),
    (DAV, "supported-report-set"),
    (DAV, "owner"),
    (DAV, "getetag"),
    (DAV, "sync-token"),
    (CALENDAR_SERVER, "getctag"),
    (CARDDAV, "supported-address-data"),
    (CARDDAV, "supported-collation-set"),
    (CARDDAV, "addressbook-description"),
];

const CARD_PROPERTIES: &[(&str, &str)] = &[
    (DAV, "resourcetype"),
    (DAV, "getcontenttype"),
    (DAV, "getetag"),
    (DAV, "current-user-principal"),
    (DAV, "current-user-privilege-set"),
];

/// Writes a collection's property; `false`: it has none of this name.
fn collection_value(
    resource: Resource,
    described: &Described,
    namespace: &str,
    name: &str,
    out: &mut String,
) -> bool {
    let is_book = resource == Resource::Book;
    match (namespace, name) {
        (DAV, "resourcetype") => {
            out.push_str("<D:collection/>");
            match resource {
                Resource::Principal => out.push_str("<D:principal/>"),
                Resource::Book => out.push_str("<C:addressbook/>"),
                _ => {}
            }
        }
        (DAV, "displayname") => match resource {
            Resource::Principal => escape(&described.asker, out),
            _ => out.push_str(BOOK_NAME),
        },
        (DAV, "current-user-principal") => href_value(PRINCIPAL, out),
        (DAV, "current-user-privilege-set") => out.push_str(PRIVILEGES),
        (DAV, "principal-collection-set") => href_value(PRINCIPALS, out),
        (DAV, "supported-report-set") => {
            let reports: &[&str] = match resource {
                Resource::Book => {
                    &["<C:addressbook-query/>", "<C:addressbook-multiget/>", "<D:sync-collection/>"]
                }
                _ => &[],
            };
            for report in reports {
                write!(out, "<D:supported-report><D:report>{report}</D:report></D:supported-report>")
                    .expect("memory takes all");
            }
        }
        (DAV, "principal-URL") if resource == Resource::Principal => href_value(PRINCIPAL, out),
        (CARDDAV, "addressbook-home-set") if resource == Resource::Principal => href_value(HOME, out),
        // Somebody has to own it for clients that look for the books that they may see.
        (DAV, "owner") if is_book => href_value(PRINCIPAL, out),
        (DAV, "sync-token") if is_book => escape(&described.sync_token, out),
        (DAV, "getetag") | (CALENDAR_SERVER, "getctag") if is_book => {
            escape(&quoted(&etag_of(described.sync_token.as_bytes())), out);
        }
        (CARDDAV, "supported-address-data") if is_book => out.push_str(
            "<C:address-data-type content-type=\"text/vcard\" version=\"3.0\"/>\
             <C:address-data-type content-type=\"text/vcard\" version=\"4.0\"/>",
        ),
        (CARDDAV, "supported-collation-set") if is_book => out.push_str(
            "<C:supported-collation>i;ascii-casemap</C:supported-collation>\
             <C:supported-collation>i;unicode-casemap</C:supported-collation>",
        ),
        (CARDDAV, "addressbook-description") if is_book => {
            out.push_str("People, groups and rooms of the organisation")
        }
        _ => return false,
    }
    true
}

fn href_value(href: &str, out: &mut String) {
    write!(out, "<D:href>{href}</D:href>").expect("memory takes all");
}

/// Writes a response; `value` writes a property's value, or says that there is none.
fn respond(
    href: &str,
    all: &[(&str, &str)],
    wanted: &Wanted,
    manner: &Manner,
    out: &mut String,
    mut value: impl FnMut(&str, &str, &mut String) -> bool,
) {
    write!(out, "<D:response><D:href>{href}</D:href>").expect("memory takes all");
    let listed: Vec<(&str, &str)> = match wanted {
        Wanted::All | Wanted::Names => all.to_vec(),
        Wanted::These(these) => {
            these.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect()
        }
    };
    let mut missing = Vec::new();
    out.push_str("<D:propstat><D:prop>");
    for (namespace, name) in listed {
        let before = out.len();
        open(namespace, name, out);
        out.push('>');
        let is_there = *wanted == Wanted::Names || value(namespace, name, out);
        if is_there {
            close(namespace, name, out);
        } else {
            out.truncate(before);
            missing.push((namespace, name));
        }
    }
    out.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
    if !missing.is_empty() && !manner.is_minimal {
        out.push_str("<D:propstat><D:prop>");
        for (namespace, name) in missing {
            open(namespace, name, out);
            out.push_str("/>");
        }
        out.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
    }
    out.push_str("</D:response>\n");
}

/// `<D:name` with the prefixes of the multistatus; other namespaces are declared where they stand.
fn open(namespace: &str, name: &str, out: &mut String) {
    match prefix(namespace) {
        Some(prefix) => write!(out, "<{prefix}:{name}").expect("memory takes all"),
        None if namespace.is_empty() => write!(out, "<{name} xmlns=\"\"").expect("memory takes all"),
        None => {
            write!(out, "<x:{name} xmlns:x=\"").expect("memory takes all");
            escape(namespace, out);
            out.push('"');
        }
    }
}

fn close(namespace: &str, name: &str, out: &mut String) {
    match prefix(namespace) {
        Some(prefix) => write!(out, "</{prefix}:{name}>").expect("memory takes all"),
        None if namespace.is_empty() => write!(out, "</{name}>").expect("memory takes all"),
        None => write!(out, "</x:{name}>").expect("memory takes all"),
    }
}

fn prefix(namespace: &str) -> Option<&'static str> {
    match namespace {
        DAV => Some("D"),
        CARDDAV => Some("C"),
        CALENDAR_SERVER => Some("S"),
        _ => None,
    }
}

/// Stands for the book where a report ends early (RFC 6578 §3.6, RFC 6352 §8.6.2).
pub(super) fn truncated_response(out: &mut String) {
    writeln!(
        out,
        "<D:response><D:href>{BOOK}</D:href><D:status>HTTP/1.1 507 Insufficient Storage</D:status>\
         <D:error><D:number-of-matches-within-limits/></D:error></D:response>"
    )
    .expect("memory takes all");
}
