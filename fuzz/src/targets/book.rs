//! Requests for the address book: a method and a target in the first line, header fields behind it, and a body.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};

use address_book::{Book, BookSettings, Entry, Reply, Viewer};
use bytes::Bytes;
use directory::numbers::{E164_DIGITS_MAX, NumberRules, NumberSettings, RuleSettings};
use directory::{Card, Object, ObjectId, ObjectKind, Phone, PhoneKind, SipAddress};
use node::http::HttpRequest;
use records::{ObjectRow, Revision};
use xcap::Document;

thread_local! {
    static BOOK: RefCell<Book> = RefCell::new(filled());
    static RULES: NumberRules = NumberRules::new(&numbers()).expect("the rules are right");
}

/// Whatever is asked is answered with a status that the book knows, and the body is what its type says.
pub(super) fn book(octets: &[u8]) {
    let head_end = octets.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = head_end.map_or((octets, &[][..]), |end| (&octets[..end], &octets[end + 2..]));
    let Ok(head) = str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), Bytes::copy_from_slice(value.as_bytes())))
    };
    let request = HttpRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        host: "sip.corp.example".to_owned(),
        headers: lines.filter_map(field).collect(),
        body: Bytes::copy_from_slice(body),
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        is_secure: true,
    };
    let viewer = Viewer { is_administrator: octets.len().is_multiple_of(2), address: None };
    let response = match BOOK.with_borrow_mut(|book| book.handle(&viewer, &request, 1_795_000_000_000)) {
        Reply::Answer(response) => response,
        Reply::Work(work) => work.run(),
        Reply::Photo(photo) => photo.answer(Some(octets)),
    };
    let known = [200, 207, 301, 304, 400, 403, 404, 405, 410, 413, 422];
    assert!(known.contains(&response.status), "status {}", response.status);
    let field =
        |name: &str| response.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value);
    let content_type = field("content-type").unwrap_or_default();
    if field("content-encoding").is_none() && !content_type.starts_with("image/") {
        let text = str::from_utf8(&response.body).expect("answers are UTF-8");
        match content_type {
            "application/jsonl" => {
                assert!(text.lines().skip(1).all(|line| serde_json::from_str::<Entry>(line).is_ok()
                    || line.ends_with(r#""removed":true}"#)));
            }
            "application/xml; charset=utf-8" => {
                assert!(Document::parse(text).is_ok(), "{text}");
            }
            _ => {}
        }
    }
}

/// What a text becomes is a number, and stays what it is.
pub(super) fn number(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    RULES.with(|rules| {
        let Ok(number) = rules.normalise(text) else { return };
        let digits = number.e164.strip_prefix('+').expect("it begins with +");
        assert!(digits.len() <= E164_DIGITS_MAX && digits.bytes().all(|octet| octet.is_ascii_digit()));
        assert_eq!(rules.normalise(&number.to_string()), Ok(number));
    });
}

fn numbers() -> NumberSettings {
    let rule = RuleSettings {
        name: String::new(),
        pattern: r"([1-8]\d{3})".to_owned(),
        to: "+4930123400;ext=$1".to_owned(),
    };
    NumberSettings {
        country_code: Some("49".to_owned()),
        area_code: Some("30".to_owned()),
        trunk_prefix: Some("0".to_owned()),
        rules: vec![rule],
        ..NumberSettings::default()
    }
}

fn filled() -> Book {
    let mut book = Book::new(BookSettings::default(), numbers());
    let rows = (1..=5).map(|number: u8| {
        let phone = Phone {
            kind: PhoneKind::Home,
            written: "030 1234567".to_owned(),
            e164: Some("+49301234567".to_owned()),
            extension: Some("12".to_owned()),
        };
        let object = Object {
            address: SipAddress::parse(&format!("anna{number}@corp.example")).ok(),
            card: Card {
                display_name: format!("Änna Schmidt, \"{number}\""),
                company: "Corp; Inc.".to_owned(),
                phones: vec![phone],
                ..Card::default()
            },
            manager: Some(ObjectId([number % 3; 16])),
            members: vec![ObjectId([1; 16])],
            ..Object::new(
                ObjectId([number; 16]),
                if number == 5 { ObjectKind::Group } else { ObjectKind::Person },
            )
        };
        ObjectRow {
            revision: Revision(u64::from(number)),
            at_unix_ms: 1_795_000_000_000,
            id: object.id,
            object: Some(Box::new(object)),
        }
    });
    book.apply(&rows.collect::<Vec<_>>());
    book
}
