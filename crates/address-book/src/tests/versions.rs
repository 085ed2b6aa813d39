//! Versions: downloads, deltas, visibility, and that they agree.

use std::collections::BTreeMap;

use directory::ObjectKind;
use expect_test::expect;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::{Attribute, Audience, EntryId, Visibility};

#[test]
fn the_whole_book_is_lines_behind_a_header() {
    let mut anna = person(1, "Anna", "Schmidt", "030 1234567");
    anna.manager = Some(id(2));
    anna.card.department = "Sales \"north\"".to_owned();
    let room = Object {
        card: Card { display_name: "Grüner Saal".to_owned(), ..Card::default() },
        ..Object::new(id(3), ObjectKind::Room)
    };
    let mut book = book([room, anna]);
    expect![[r#"
        200
        cache-control: private, no-cache
        etag: "2-c6a1d326362beb11"
        vary: accept-encoding
        content-type: application/jsonl

        {"format":"chancery-address-book/1","version":2,"sha256":"c6a1d326362beb113aac733b7375e52cf46c324137fd8ba6c0fd26d421f47c0e","count":2,"changed_unix_ms":1795000000000}
        {"id":"040g2081040g2081040g208104","kind":"person","address":"anna.schmidt@corp.example","card":{"display_name":"Anna Schmidt","given_name":"Anna","surname":"Schmidt","department":"Sales \"north\"","mail":["anna.schmidt@corp.example"],"phones":[{"kind":"work","e164":"+49301234567"}]},"manager":"081040g2081040g2081040g208"}
        {"id":"0c1g60o30c1g60o30c1g60o30c","kind":"room","card":{"display_name":"Grüner Saal"}}

    "#]]
    .assert_eq(&shown(&ask(&mut book, "GET /v1/address-book")));
}

#[test]
fn who_has_the_content_gets_none() {
    let mut book = book([person(1, "Anna", "Schmidt", "")]);
    let plain = ask(&mut book, "GET /v1/address-book");
    let etag = header(&plain, "etag").expect("it has one").to_owned();
    let again = ask(&mut book, &format!("GET /v1/address-book\nif-none-match: W/\"other\", {etag}"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    // The same content in another coding is had, too.
    let again =
        ask(&mut book, &format!("GET /v1/address-book\naccept-encoding: zstd\nif-none-match: {etag}"));
    assert_eq!(again.status, 304);
    book.apply(&[row(9, NOON, person(2, "Bob", "Braun", ""))]);
    let mut later = |age| {
        let request = request(&format!("GET /v1/address-book\nif-none-match: {etag}"));
        let Reply::Work(work) = book.handle(&everyone(), &request, NOON + age) else {
            panic!("it takes work")
        };
        work.run().status
    };
    assert_eq!(later(59_999), 304, "an edition of this minute is good enough");
    assert_eq!(later(60_000), 200);
}

#[test]
fn contents_are_compressed_and_are_the_same_again() {
    let mut book = book((1..=200).map(|number| person(number, "Anna", "Schmidt", "")));
    let plain = ask(&mut book, "GET /v1/address-book").body;
    let gzip = ask(&mut book, "GET /v1/address-book\naccept-encoding: gzip");
    assert_eq!(header(&gzip, "content-encoding"), Some("gzip"));
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*gzip.body), &mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
    let zstd = ask(&mut book, "GET /v1/address-book\naccept-encoding: gzip, zstd");
    assert_eq!(header(&zstd, "content-encoding"), Some("zstd"));
    assert_eq!(zstd::decode_all(&*zstd.body).expect("zstd"), plain);
    assert!(zstd.body.len() * 10 < plain.len() && gzip.body.len() * 10 < plain.len());
    let tags: Vec<_> = [&gzip, &zstd].map(|response| header(response, "etag").map(str::to_owned)).into();
    assert_ne!(tags[0], tags[1], "another coding is another representation");
}

#[test]
fn a_delta_says_what_became_of_whom() {
    let mut book = book([
        person(1, "Anna", "Schmidt", ""),
        person(2, "Bob", "Braun", ""),
        person(3, "Cleo", "Cruz", ""),
    ]);
    book.apply(&[
        row(4, NOON, person(2, "Bob", "Schwarz", "")),
        removal(5, NOON, id(1)),
        row(6, NOON, person(4, "Dan", "Dorn", "")),
        // There and back again: no difference.
        row(7, NOON, person(3, "Cleo", "Diaz", "")),
        row(8, NOON, person(3, "Cleo", "Cruz", "")),
    ]);
    expect![[r#"
        {"format":"chancery-address-book-delta/1","from":3,"to":8,"sha256":"a6335813ecc66509a2544b263e45af6ac58697992836727811f602f33ba690a9","count":3}
        {"id":"040g2081040g2081040g208104","removed":true}
        {"id":"081040g2081040g2081040g208","kind":"person","address":"bob.schwarz@corp.example","card":{"display_name":"Bob Schwarz","given_name":"Bob","surname":"Schwarz","mail":["bob.schwarz@corp.example"]}}
        {"id":"0g2081040g2081040g2081040g","kind":"person","address":"dan.dorn@corp.example","card":{"display_name":"Dan Dorn","given_name":"Dan","surname":"Dorn","mail":["dan.dorn@corp.example"]}}
    "#]].assert_eq(text(&ask(&mut book, "GET /v1/address-book?from=3")));
    let names = |target: &str, book: &mut Book| {
        ask(book, &format!("GET {target}")).body.iter().filter(|c| **c == b'\n').count() - 1
    };
    assert_eq!(names("/v1/address-book?from=3&to=4", &mut book), 1);
    assert_eq!(names("/v1/address-book?from=6&to=7", &mut book), 1);
    assert_eq!(names("/v1/address-book?from=8", &mut book), 0);
    assert_eq!(names("/v1/address-book?from=0", &mut book), 3);
    for (target, status) in [
        ("?from=9", 410),
        ("?from=4&to=3", 400),
        ("?from=3&to=99", 410),
        ("?from=x", 400),
        ("?version=99", 410),
        ("?version=3", 200),
        ("?from=3&from=4", 400),
    ] {
        assert_eq!(ask(&mut book, &format!("GET /v1/address-book{target}")).status, status, "{target}");
    }
}

#[test]
fn who_can_prove_what_it_has_is_told_when_that_never_was() {
    let mut book = book([person(1, "Anna", "Schmidt", "")]);
    let sha256 = hash_of(&ask(&mut book, "GET /v1/address-book"));
    book.apply(&[row(2, NOON, person(2, "Bob", "Braun", ""))]);
    assert_eq!(ask(&mut book, &format!("GET /v1/address-book?from=1&sha256={sha256}")).status, 200);
    let other = "0".repeat(64);
    assert_eq!(ask(&mut book, &format!("GET /v1/address-book?from=1&sha256={other}")).status, 410);
}

#[test]
fn attributes_are_for_whom_they_are_meant() {
    let mut anna = person(1, "Anna", "Schmidt", "");
    anna.card.notes = "on probation".to_owned();
    anna.card.department = "Sales".to_owned();
    anna.card.city = "Berlin".to_owned();
    anna.card.phones = vec![
        Phone { kind: PhoneKind::Work, ..work("030 1234567") },
        Phone { kind: PhoneKind::Home, ..work("030 7654321") },
    ];
    let bob = hidden(person(2, "Bob", "Braun", ""));
    let server = Object::new(id(3), ObjectKind::Server);
    let settings = BookSettings {
        visible: BTreeMap::from([
            (Attribute::City, Visibility::Nobody),
            (Attribute::Department, Visibility::Administrators),
        ]),
        ..BookSettings::default()
    };
    let mut book = book_with(settings, [anna, bob, server]);
    let for_everyone = ask(&mut book, "GET /v1/address-book");
    let for_administrators = ask_as(&administrator(), &mut book, "GET /v1/address-book");
    for (secret, is_for_administrators) in [
        ("probation", true),
        ("7654321", true),
        ("Sales", true),
        ("Berlin", false),
        ("Braun", false),
        ("server", false),
    ] {
        assert!(!text(&for_everyone).contains(secret), "{secret}");
        assert_eq!(text(&for_administrators).contains(secret), is_for_administrators, "{secret}");
        let found = |viewer: &Viewer, book: &mut Book| {
            let found = ask_as(viewer, book, &format!("GET /v1/address-book/search?q={secret}"));
            !text(&found).contains("\"total\":0")
        };
        assert!(!found(&everyone(), &mut book), "{secret}");
        assert_eq!(
            found(&administrator(), &mut book),
            secret == "7654321",
            "{secret}: notes are not searched"
        );
    }
    // What changes for administrators alone is no version for everyone.
    let (before, everyone_before) =
        (book.version(Audience::Administrators), book.version(Audience::Everyone));
    let mut changed = person(1, "Anna", "Schmidt", "");
    changed.card.phones = vec![work("030 1234567")];
    book.apply(&[row(4, NOON, changed)]);
    assert!(book.version(Audience::Administrators) > before);
    assert_eq!(book.version(Audience::Everyone), everyone_before);
}

#[test]
fn versions_go_when_they_were_kept_long_enough() {
    let mut book = Book::new(BookSettings { keep_days: 30, ..BookSettings::default() }, berlin());
    let day = |day: u64| NOON + day * DAY;
    book.apply(&[
        row(1, day(0), person(1, "Anna", "Schmidt", "")),
        row(2, day(1), person(2, "Bob", "Braun", "")),
        row(3, day(10), person(1, "Anna", "Krause", "")),
        removal(4, day(11), id(2)),
        row(5, day(40), person(3, "Cleo", "Cruz", "")),
    ]);
    let status = |book: &mut Book, version| {
        let full = ask(book, &format!("GET /v1/address-book?version={version}")).status;
        let delta = ask(book, &format!("GET /v1/address-book?from={version}")).status;
        assert_eq!(full, delta);
        full
    };
    book.prune(day(31));
    assert_eq!([0, 1, 2, 3, 5].map(|version| status(&mut book, version)), [410, 200, 200, 200, 200]);
    book.prune(day(31) + 1);
    assert_eq!([0, 1, 2, 3, 5].map(|version| status(&mut book, version)), [410, 410, 200, 200, 200]);
    let before = text(&ask(&mut book, "GET /v1/address-book?version=2")).to_owned();
    assert!(before.contains("Schmidt") && before.contains("Braun"));
    book.prune(day(42));
    assert_eq!([2, 3, 4, 5].map(|version| status(&mut book, version)), [410, 410, 200, 200]);
    book.prune(day(400));
    assert_eq!([4, 5].map(|version| status(&mut book, version)), [410, 200]);
    assert_eq!(book.count(Audience::Everyone), 2);
    // A place that was freed is used again, and nothing of before shines through.
    book.apply(&[
        row(6, day(400), person(9, "Dan", "Dorn", "")),
        row(7, day(400), person(2, "Bob", "Braun", "")),
    ]);
    assert_eq!(book.count(Audience::Everyone), 4);
    assert_eq!(status(&mut book, 5), 200);
}

/// A store drops history, and a book that is filled from what is left does not know who was removed meanwhile.
#[test]
fn a_book_filled_anew_names_no_version_before_what_was_dropped() {
    let rows = [
        row(1, NOON, person(1, "Anna", "Schmidt", "")),
        row(2, NOON, person(2, "Bob", "Braun", "")),
        row(3, NOON, person(3, "Cleo", "Cruz", "")),
        removal(4, NOON, id(2)),
        row(5, NOON, person(1, "Anna", "Krause", "")),
        row(6, NOON, hidden(person(4, "Dan", "Dorn", ""))),
    ];
    let status = |rows: &[ObjectRow], version: u64| {
        let mut book = Book::new(BookSettings::default(), berlin());
        book.apply(rows);
        let latest = book.version(Audience::Everyone).0;
        let delta = ask(&mut book, &format!("GET /v1/address-book?from={version}")).status;
        (latest, delta)
    };
    assert_eq!([0, 3, 5].map(|version| status(&rows, version)), [(5, 200), (5, 200), (5, 200)]);
    // Without 2 and 4: Bob, who came and went.
    let left = [rows[0].clone(), rows[2].clone(), rows[4].clone(), rows[5].clone()];
    assert_eq!([0, 3, 4, 5].map(|version| status(&left, version)), [(5, 410), (5, 410), (5, 200), (5, 200)]);
    // Only what nobody sees follows what was dropped: the latest version is one that can be named.
    let left = [rows[2].clone(), rows[5].clone()];
    assert_eq!([3, 4, 5].map(|version| status(&left, version)), [(5, 410), (5, 410), (5, 200)]);
}

#[test]
fn who_was_never_shown_leaves_no_place_behind() {
    let mut book = Book::new(BookSettings::default(), berlin());
    for revision in 0..100 {
        book.apply(&[
            row(2 * revision + 1, NOON, hidden(person(1, "Dan", "Dorn", ""))),
            removal(2 * revision + 2, NOON, id(1)),
        ]);
    }
    let octets = book.octets();
    book.apply(&[row(201, NOON, hidden(person(2, "Dora", "Dorn", "")))]);
    assert_eq!(book.octets() - octets, 30, "the place of before, and a name in the index of ids");
}

fn hidden(object: Object) -> Object {
    Object { is_hidden: true, ..object }
}

fn hash_of(whole: &HttpResponse) -> String {
    let (header, lines) = text(whole).split_once('\n').expect("a header");
    let hash = hex::encode(Sha256::digest(lines));
    assert!(header.contains(&hash), "the header tells the hash of the lines");
    hash
}

/// What a client has: lines by id.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Copy(BTreeMap<String, String>);

impl Copy {
    fn of(whole: &HttpResponse) -> Copy {
        let lines = text(whole).lines().skip(1);
        Copy(lines.map(|line| (id_in(line), line.to_owned())).collect())
    }

    fn follow(&mut self, delta: &HttpResponse) -> String {
        let mut lines = text(delta).lines();
        let header = lines.next().expect("a header").to_owned();
        for line in lines {
            if line.ends_with(r#","removed":true}"#) {
                self.0.remove(&id_in(line)).expect("only what is there is removed");
            } else {
                self.0.insert(id_in(line), line.to_owned());
            }
        }
        header
    }

    fn octets(&self) -> String {
        self.0.values().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

fn id_in(line: &str) -> String {
    line.strip_prefix(r#"{"id":""#)
        .and_then(|rest| rest.get(..26))
        .expect("a line begins with its id")
        .to_owned()
}

/// A change that a test makes: of which object, and what it becomes.
#[derive(Clone, Debug)]
enum Step {
    Put {
        object: u8,
        name: u8,
        note: u8,
        is_hidden: bool,
    },
    Remove(u8),
    /// Hours pass.
    Wait(u8),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..8, 0u8..3, 0u8..3, prop::bool::weighted(0.1))
            .prop_map(|(object, name, note, is_hidden)| Step::Put { object, name, note, is_hidden }),
        2 => (0u8..8).prop_map(Step::Remove),
        2 => (0u8..20).prop_map(Step::Wait),
        1 => Just(Step::Prune),
    ]
}

/// A book that kept everything, as plain as can be: the truth.
#[derive(Default)]
struct Truth {
    versions: Vec<(u64, [Copy; 2])>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any chain of deltas leads from any whole book to the octets and the hash of the whole book of its end; pruned versions are
    /// refused, and none that is answered is wrong. Pages of any size, read twice, change nothing.
    #[test]
    fn deltas_lead_from_whole_to_whole(steps in prop::collection::vec(step(), 1..60), page in 1usize..7, picks in prop::collection::vec(any::<prop::sample::Index>(), 3)) {
        let settings = BookSettings { keep_days: 1, ..BookSettings::default() };
        let mut book = Book::new(settings.clone(), berlin());
        let mut truth = Truth { versions: vec![(0, [Copy::default(), Copy::default()])] };
        let (mut now, mut rows) = (NOON, Vec::new());
        for step in steps {
            match step {
                Step::Wait(hours) => now += u64::from(hours) * DAY / 24,
                Step::Prune => {
                    for page in rows.chunks(page) {
                        book.apply(page);
                        book.apply(page);
                    }
                    book.prune(now);
                }
                Step::Put { object, name, note, is_hidden } => {
                    let revision = rows.len() as u64 + 1;
                    let mut object = Object { is_hidden, ..person(object, ["Anna", "Bob", "Cleo"][usize::from(name)], "X", "") };
                    object.card.notes = "n".repeat(usize::from(note));
                    let mut copies = truth.versions.last().expect("there is one").1.clone();
                    for audience in [Audience::Everyone, Audience::Administrators] {
                        let key = EntryId(object.id).to_string();
                        match crate::Entry::of(&object, audience, &settings) {
                            Some(entry) => { copies[audience.index()].0.insert(key, entry.line().to_string()); }
                            None => { copies[audience.index()].0.remove(&key); }
                        }
                    }
                    truth.versions.push((revision, copies));
                    rows.push(row(revision, now, object));
                }
                Step::Remove(object) => {
                    let revision = rows.len() as u64 + 1;
                    let mut copies = truth.versions.last().expect("there is one").1.clone();
                    copies.iter_mut().for_each(|copy| { copy.0.remove(&EntryId(id(object)).to_string()); });
                    truth.versions.push((revision, copies));
                    rows.push(removal(revision, now, id(object)));
                }
            }
        }
        rows.chunks(page).for_each(|page| book.apply(page));
        book.prune(now);

        for viewer in [everyone(), administrator()] {
            let audience = viewer.audience();
            let mut kept = Vec::new();
            for (version, copies) in &truth.versions {
                let whole = ask_as(&viewer, &mut book, &format!("GET /v1/address-book?version={version}"));
                if whole.status == 410 {
                    prop_assert!(kept.is_empty(), "what is older goes first");
                    continue;
                }
                prop_assert_eq!(&Copy::of(&whole), &copies[audience.index()]);
                kept.push((*version, hash_of(&whole)));
            }
            prop_assert!(kept.iter().any(|(version, _)| *version == rows.len() as u64), "the latest is kept");
            // A chain through any versions.
            let mut chain: Vec<&(u64, String)> = picks.iter().map(|pick| pick.get(&kept)).collect();
            chain.sort();
            let (first, _) = chain[0];
            let mut copy = Copy::of(&ask_as(&viewer, &mut book, &format!("GET /v1/address-book?version={first}")));
            for pair in chain.windows(2) {
                let ((from, before), (to, after)) = (pair[0], pair[1]);
                let delta = ask_as(&viewer, &mut book, &format!("GET /v1/address-book?from={from}&to={to}&sha256={before}"));
                prop_assert_eq!(delta.status, 200);
                let differ = Copy::of(&delta).0.len();
                let header = copy.follow(&delta);
                let count = format!("\"count\":{differ}}}");
                prop_assert!(header.contains(after.as_str()) && header.ends_with(&count));
                prop_assert_eq!(&hex::encode(Sha256::digest(copy.octets())), after);
            }
            let (last, _) = chain[chain.len() - 1];
            prop_assert_eq!(&copy, &truth.versions[usize::try_from(*last).expect("few")].1[audience.index()]);
        }

        // A restart from the rows that storage kept answers the same.
        let mut again = Book::new(settings, berlin());
        again.apply(&rows);
        again.prune(now);
        for version in 0..=rows.len() as u64 {
            let target = format!("GET /v1/address-book?version={version}");
            prop_assert_eq!(shown(&ask(&mut book, &target)), shown(&ask(&mut again, &target)));
        }
    }
}
