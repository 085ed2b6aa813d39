//! Requests of the web interface but for downloads.

use directory::PhotoDigest;
use expect_test::expect;

use super::*;
use crate::{EntryId, PhotoName, PhotoRequest, PhotoSize};

#[test]
fn a_search_answers_entries() {
    let mut book = book([person(1, "Anna", "Schmidt", "030 1234567"), person(2, "Annika", "Braun", "")]);
    expect![[r#"
        200
        content-type: application/json
        cache-control: private, no-cache
        vary: accept-encoding

        {"version":2,"total":2,"entries":[{"id":"040g2081040g2081040g208104","kind":"person","address":"anna.schmidt@corp.example","card":{"display_name":"Anna Schmidt","given_name":"Anna","surname":"Schmidt","mail":["anna.schmidt@corp.example"],"phones":[{"kind":"work","e164":"+49301234567"}]}}],"next":"AAVhbm5hIHNjaG1pZHQAAAAAAQEBAQEBAQEBAQEBAQEBAQ"}
    "#]]
        .assert_eq(&shown(&ask(&mut book, "GET /v1/address-book/search?q=%41nn&limit=1&kind=person,room")));
    for (query, status) in [
        ("", 400),
        ("?q=", 400),
        ("?q=%", 400),
        ("?q=%ff", 400),
        ("?q=anna+schmidt", 200),
        ("?q=anna&limit=0", 400),
        ("?q=anna&limit=101", 400),
        ("?q=anna&kind=dog", 400),
        ("?q=anna&cursor=x", 400),
        ("?q=anna&q=anna", 400),
    ] {
        assert_eq!(ask(&mut book, &format!("GET /v1/address-book/search{query}")).status, status, "{query}");
    }
}

#[test]
fn an_entry_is_json_or_a_vcard() {
    let mut anna = person(1, "Anna", "Schmidt; \"Ms\", Dr.", "030 1234567 ext. 12");
    anna.card.notes = "line\r\nanother".to_owned();
    anna.card.title =
        "Leiterin der Abteilung für außergewöhnlich lange Berufsbezeichnungen und Ähnliches".to_owned();
    anna.card.company = "Corp, Inc.".to_owned();
    anna.card.department = "R&D; Labs".to_owned();
    anna.card.city = "Berlin".to_owned();
    anna.card.web_page = "https://corp.example/anna\r\nX-EVIL:1".to_owned();
    anna.card.phonetic_name = "an\"na".to_owned();
    anna.manager = Some(id(2));
    anna.photo = Some(PhotoDigest([3; 32]));
    anna.card.phones.push(Phone {
        kind: PhoneKind::Mobile,
        written: "ask; me".to_owned(),
        e164: None,
        extension: None,
    });
    let mut book = book([anna]);
    let target = format!("GET /v1/address-book/entries/{}", id(1));
    expect![[r#"
        200
        content-type: application/json
        cache-control: private, no-cache
        etag: "e63c2251929ac16b11b0ee785ee85e06"

        {"id":"040g2081040g2081040g208104","kind":"person","card":{"display_name":"Anna Schmidt; \"Ms\", Dr.","given_name":"Anna","surname":"Schmidt; \"Ms\", Dr.","phonetic_name":"an\"na","title":"Leiterin der Abteilung für außergewöhnlich lange Berufsbezeichnungen und Ähnliches","department":"R&D; Labs","company":"Corp, Inc.","city":"Berlin","mail":["anna.schmidt; \"ms\", dr.@corp.example"],"phones":[{"kind":"work","e164":"+49301234567","extension":"12"},{"kind":"mobile","written":"ask; me"}],"web_page":"https://corp.example/anna\r\nX-EVIL:1","notes":"line\r\nanother"},"manager":"081040g2081040g2081040g208","photo":"0c1g60o30c1g60o30c1g60o30c"}
    "#]].assert_eq(&shown(&ask_as(&administrator(), &mut book, &target)));
    expect![[r#"
        200
        content-type: text/vcard; charset=utf-8
        cache-control: private, no-cache
        etag: "75e9074e738663a58b554c1b3e972ac8"

        BEGIN:VCARD
        VERSION:4.0
        PRODID:-//Chancery//Address Book//EN
        UID:urn:uuid:01010101-0101-0101-0101-010101010101
        KIND:individual
        FN:Anna Schmidt\; "Ms"\, Dr.
        N;SORT-AS="an^'na":Schmidt\; "Ms"\, Dr.;Anna;;;
        ORG:Corp\, Inc.;R&D\; Labs
        TITLE:Leiterin der Abteilung für außergewöhnlich lange Berufsbezeichnung
         en und Ähnliches
        EMAIL;PREF=1;TYPE=work:anna.schmidt\; "ms"\, dr.@corp.example
        TEL;VALUE=uri;TYPE="voice,work":tel:+49301234567;ext=12
        TEL;VALUE=text;TYPE="voice,cell":ask\; me
        ADR;TYPE=work:;;;Berlin;;;
        URL:https://corp.example/annaX-EVIL:1
        NOTE:line\nanother
        RELATED;TYPE=x-manager:urn:uuid:02020202-0202-0202-0202-020202020202
        PHOTO;MEDIATYPE=image/jpeg:https://sip.corp.example/v1/photos/0c1g60o30c1g6
         0o30c1g60o30c/240
        END:VCARD

    "#]]
    .assert_eq(&shown(&ask_as(&administrator(), &mut book, &format!("{target}.vcf"))));
    let card = ask(&mut book, &format!("{target}\naccept: text/vcard"));
    assert!(text(&card).lines().all(|line| line.len() <= 75) && text(&card).starts_with("BEGIN:VCARD\r\n"));
    let etag = header(&card, "etag").expect("it has one");
    assert_eq!(ask(&mut book, &format!("{target}.vcf\nif-none-match: {etag}")).status, 304);
    assert_eq!(ask(&mut book, &format!("GET /v1/address-book/entries/{}", id(2))).status, 404);
    assert_eq!(ask(&mut book, "GET /v1/address-book/entries/x").status, 404);
}

#[test]
fn kinds_have_their_vcards() {
    let objects = [ObjectKind::Contact, ObjectKind::Group, ObjectKind::Room, ObjectKind::Equipment]
        .into_iter()
        .zip(1..)
        .map(|(kind, number)| Object {
            card: Card { display_name: format!("No. {number}"), ..Card::default() },
            ..Object::new(id(number), kind)
        });
    let company = Object {
        card: Card { display_name: "Corp".to_owned(), company: "Corp".to_owned(), ..Card::default() },
        ..Object::new(id(9), ObjectKind::Contact)
    };
    let mut book = book(objects.chain([company]));
    let cards = ask(&mut book, "GET /v1/address-book.vcf");
    let kinds: Vec<&str> = text(&cards).lines().filter(|line| line.starts_with("KIND")).collect();
    assert_eq!(kinds, ["KIND:individual", "KIND:group", "KIND:location", "KIND:device", "KIND:org"]);
    let etag = header(&cards, "etag").expect("it has one");
    assert_eq!(ask(&mut book, &format!("GET /v1/address-book.vcf\nif-none-match: {etag}")).status, 304);
}

#[test]
fn the_organisation_is_asked_by_entry() {
    let anna = Object { manager: Some(id(2)), ..person(1, "Anna", "Schmidt", "") };
    let group = Object { members: vec![id(1), id(2)], ..Object::new(id(3), ObjectKind::Group) };
    let mut book = book([anna, person(2, "Bob", "Braun", ""), group]);
    let mut entries = |path: &str| {
        let answer = ask(&mut book, &format!("GET /v1/address-book/entries/{path}"));
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let entries = body["entries"]
            .as_array()
            .map(|entries| entries.iter().map(|entry| entry["id"].to_string()).collect::<Vec<_>>());
        (answer.status, body["next"].as_str().map(str::to_owned), entries.unwrap_or_default().join(","))
    };
    let quoted = |number| format!("\"{}\"", EntryId(id(number)));
    assert_eq!(entries(&format!("{}/managers", id(1))), (200, None, quoted(2)));
    assert_eq!(entries(&format!("{}/reports", id(2))), (200, None, quoted(1)));
    let (_, next, first) = entries(&format!("{}/members?limit=1", id(3)));
    assert_eq!(first, quoted(1));
    let cursor = next.expect("there is more");
    assert_eq!(entries(&format!("{}/members?limit=1&cursor={cursor}", id(3))), (200, None, quoted(2)));
    assert_eq!(entries(&format!("{}/groups", id(1))), (200, None, quoted(3)));
    assert_eq!(entries(&format!("{}/dogs", id(1))).0, 404);
    assert_eq!(entries(&format!("{}/groups", id(9))).0, 404);
    assert_eq!(entries(&format!("{}/members?cursor=x", id(3))).0, 400);
}

#[test]
fn photos_are_for_those_who_see_an_entry_with_them() {
    use crate::{Attribute, Visibility};
    let photo = PhotoDigest([3; 32]);
    let with_photo = |number| Object { photo: Some(photo), ..person(number, "Anna", "Schmidt", "") };
    let handle = |book: &mut Book, viewer: &Viewer, text: &str| book.handle(viewer, &request(text), NOON);
    let target = format!("GET /v1/photos/{}/96", PhotoName::of(&photo));

    let mut open = book([with_photo(1), with_photo(2)]);
    let wanted = PhotoRequest { photo, size: PhotoSize::Small };
    assert!(matches!(handle(&mut open, &everyone(), &target), Reply::Photo(request) if request == wanted));
    let same = ask(&mut open, &format!("{target}\nif-none-match: {}", wanted.etag()));
    assert_eq!(
        (same.status, header(&same, "cache-control")),
        (304, Some("private, max-age=31536000, immutable"))
    );
    assert_eq!(ask(&mut open, &format!("GET /v1/photos/{}/97", PhotoName::of(&photo))).status, 404);
    assert_eq!(ask(&mut open, &format!("GET /v1/photos/{}/96", PhotoName([4; 16]))).status, 404);
    open.apply(&[removal(3, NOON, id(1))]);
    assert!(matches!(handle(&mut open, &everyone(), &target), Reply::Photo(_)), "another still shows it");
    open.apply(&[removal(4, NOON, id(2))]);
    assert_eq!(ask(&mut open, &target).status, 404);

    let settings = BookSettings {
        visible: [(Attribute::Photo, Visibility::Administrators)].into(),
        ..BookSettings::default()
    };
    let mut closed = book_with(settings, [with_photo(1)]);
    assert_eq!(ask(&mut closed, &target).status, 404);
    assert!(matches!(handle(&mut closed, &administrator(), &target), Reply::Photo(_)));
}

#[test]
fn the_book_is_read_only_and_knows_its_paths() {
    let mut book = book([]);
    assert_eq!(ask(&mut book, "POST /v1/address-book").status, 405);
    assert_eq!(ask(&mut book, "GET /v1/address-book/").status, 404);
    assert_eq!(ask(&mut book, "GET /v1/address-book").status, 200, "an empty book is one");
    for (path, expected) in [
        ("/v1/address-book", true),
        ("/v1/address-book.vcf?x=1", true),
        ("/v1/address-book?from=1", true),
        ("/v1/address-books", false),
        ("/v1/photos/x/96", true),
        ("/dav/", true),
        ("/.well-known/carddav", true),
        ("/v1/sign-in", false),
    ] {
        assert_eq!(Book::is_for_book(path), expected, "{path}");
    }
}
