//! Tests of the book at its boundary: rows in, answers out.

mod organisation;
mod search;
mod versions;
mod web;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use directory::numbers::{NumberRules, NumberSettings};
use directory::{Card, Object, ObjectId, ObjectKind, Phone, PhoneKind, SipAddress};
use node::http::{HttpRequest, HttpResponse};
use records::{ObjectRow, Revision};

use crate::{Book, BookSettings, Reply, Viewer};

/// A time that tests begin at, in milliseconds since 1970.
pub(crate) const NOON: u64 = 1_795_000_000_000;
pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;

pub(crate) fn id(number: u8) -> ObjectId {
    ObjectId([number; 16])
}

/// A person `Given Surname <given.surname@corp.example>` with a number.
pub(crate) fn person(number: u8, given: &str, surname: &str, phone: &str) -> Object {
    let mail = format!("{given}.{surname}@corp.example").to_lowercase();
    let phones = (!phone.is_empty()).then(|| work(phone)).into_iter().collect();
    Object {
        address: SipAddress::parse(&mail).ok(),
        card: Card {
            display_name: format!("{given} {surname}").trim().to_owned(),
            given_name: given.to_owned(),
            surname: surname.to_owned(),
            mail: vec![mail],
            phones,
            ..Card::default()
        },
        ..Object::new(id(number), ObjectKind::Person)
    }
}

fn work(written: &str) -> Phone {
    let normalised = NumberRules::new(&berlin()).expect("they are right").normalise(written).ok();
    Phone {
        kind: PhoneKind::Work,
        written: written.to_owned(),
        e164: normalised.as_ref().map(|number| number.e164.clone()),
        extension: normalised.and_then(|number| number.extension),
    }
}

fn berlin() -> NumberSettings {
    NumberSettings {
        country_code: Some("49".to_owned()),
        area_code: Some("30".to_owned()),
        trunk_prefix: Some("0".to_owned()),
        ..NumberSettings::default()
    }
}

pub(crate) fn row(revision: u64, at_unix_ms: u64, object: Object) -> ObjectRow {
    ObjectRow { revision: Revision(revision), at_unix_ms, id: object.id, object: Some(Box::new(object)) }
}

pub(crate) fn removal(revision: u64, at_unix_ms: u64, id: ObjectId) -> ObjectRow {
    ObjectRow { revision: Revision(revision), at_unix_ms, id, object: None }
}

/// A book of these objects, one revision each.
pub(crate) fn book(objects: impl IntoIterator<Item = Object>) -> Book {
    book_with(BookSettings::default(), objects)
}

pub(crate) fn book_with(settings: BookSettings, objects: impl IntoIterator<Item = Object>) -> Book {
    let mut book = Book::new(settings, berlin());
    let rows: Vec<ObjectRow> =
        objects.into_iter().zip(1..).map(|(object, revision)| row(revision, NOON, object)).collect();
    book.apply(&rows);
    book
}

pub(crate) fn everyone() -> Viewer {
    Viewer { is_administrator: false, address: SipAddress::parse("anna@corp.example").ok() }
}

pub(crate) fn administrator() -> Viewer {
    Viewer { is_administrator: true, ..everyone() }
}

/// A request as `METHOD TARGET`, header fields one a line, and a body behind an empty line.
pub(crate) fn request(text: &str) -> HttpRequest {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("METHOD TARGET");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("NAME: VALUE");
        (name.to_lowercase(), Bytes::copy_from_slice(value.as_bytes()))
    };
    HttpRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        host: "sip.corp.example".to_owned(),
        headers: lines.map(header).collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        is_secure: true,
    }
}

pub(crate) fn ask_as(viewer: &Viewer, book: &mut Book, text: &str) -> HttpResponse {
    match book.handle(viewer, &request(text), NOON) {
        Reply::Answer(answer) => answer,
        Reply::Work(work) => work.run(),
        Reply::Photo(photo) => panic!("a photo: {photo:?}"),
    }
}

pub(crate) fn ask(book: &mut Book, text: &str) -> HttpResponse {
    ask_as(&everyone(), book, text)
}

pub(crate) fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
}

pub(crate) fn text(response: &HttpResponse) -> &str {
    std::str::from_utf8(&response.body).expect("it is text")
}

/// Status, header fields and content.
pub(crate) fn shown(response: &HttpResponse) -> String {
    let mut shown = format!("{}\n", response.status);
    for (name, value) in &response.headers {
        shown.push_str(&format!("{name}: {value}\n"));
    }
    format!("{shown}\n{}\n", text(response).replace("\r\n", "\n"))
}
