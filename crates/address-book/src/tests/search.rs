//! Search: what is found, in which order, page by page.

use super::*;
use crate::{Audience, Entry, Query, QueryError};

/// The display names that a query finds, the best first.
fn found(book: &mut Book, text: &str) -> String {
    let query = Query { text, kinds: &[], limit: 20, cursor: None };
    match book.search(Audience::Everyone, &query) {
        Ok(page) => names(&page.lines).join(", "),
        Err(error) => error.to_string(),
    }
}

fn names(lines: &[crate::entry::Line]) -> Vec<String> {
    lines.iter().map(|line| Entry::of_line(line).card.display_name).collect()
}

fn people() -> Book {
    let mut extended = person(7, "Sean", "O'Brien", "+49 30 1234567 ext. 4711");
    extended.card.mail = vec!["sean@elsewhere.example".to_owned()];
    let mut phonetic = person(8, "太郎", "山田", "");
    phonetic.card.phonetic_name = "やまだ たろう".to_owned();
    phonetic.address = None;
    phonetic.card.mail = vec!["taro.yamada@corp.example".to_owned()];
    book([
        person(1, "Anna", "Müller", "030 1234567"),
        person(2, "Hanna", "Mueller", "+49 30 7654321"),
        person(3, "Anna-Lena", "Groß", "+49 89 55555"),
        person(4, "Søren", "Ångström", "+1 212 555 0123"),
        person(5, "Juan José", "Núñez", ""),
        person(6, "Пётр", "Чайковский", "+7 495 1234567"),
        extended,
        phonetic,
        person(9, "Annika", "Anna", ""),
    ])
}

#[test]
fn any_word_is_found_by_its_beginning() {
    let mut book = people();
    for (query, expected) in [
        ("ann", "Anna Müller, Anna-Lena Groß, Annika Anna"),
        ("anna", "Anna Müller, Anna-Lena Groß, Annika Anna"),
        ("annik", "Annika Anna"),
        ("muller", "Anna Müller"),
        ("MÜLLER", "Anna Müller, Hanna Mueller"),
        ("mueller", "Anna Müller, Hanna Mueller"),
        ("ann mül", "Anna Müller"),
        ("mül ann", "Anna Müller"),
        ("lena", "Anna-Lena Groß"),
        ("anna-l", "Anna-Lena Groß"),
        ("gross", "Anna-Lena Groß"),
        ("groß", "Anna-Lena Groß"),
        ("soren ang", "Søren Ångström"),
        ("aangstroem", "Søren Ångström"),
        ("nunez jose", "Juan José Núñez"),
        ("петр", "Пётр Чайковский"),
        ("чай", "Пётр Чайковский"),
        ("o'brien", "Sean O'Brien"),
        ("obrien", "Sean O'Brien"),
        ("brien", "Sean O'Brien"),
        ("山田", "太郎 山田"),
        ("やま", "太郎 山田"),
        ("nobody", ""),
        ("anna nobody", ""),
        ("uller", ""),
        ("", "there is nothing to search for in the query"),
        (" ,;- ", "there is nothing to search for in the query"),
        ("a b c d e f g h i", "a query has at most 8 words and 256 characters"),
    ] {
        assert_eq!(found(&mut book, query), expected, "{query}");
    }
}

#[test]
fn addresses_are_found_by_their_beginning() {
    let mut book = people();
    for (query, expected) in [
        ("anna.m", "Anna Müller"),
        ("anna.müller@corp.example", "Anna Müller"),
        ("sean@else", "Sean O'Brien"),
        ("sip:sean.o'b", "Sean O'Brien"),
        ("<taro.yamada@corp.example>", "太郎 山田"),
        ("taro", "太郎 山田"),
        ("yamada", ""),
        ("corp.example", ""),
    ] {
        assert_eq!(found(&mut book, query), expected, "{query}");
    }
}

#[test]
fn numbers_are_found_as_people_dial_them() {
    let mut book = people();
    for (query, expected) in [
        ("+49 30 123", "Anna Müller, Sean O'Brien"),
        ("+49 (30) 1234-567", "Anna Müller, Sean O'Brien"),
        ("0049 30 123", "Anna Müller, Sean O'Brien"),
        ("030 123", "Anna Müller, Sean O'Brien"),
        ("30123", "Anna Müller, Sean O'Brien"),
        ("123", "Anna Müller, Sean O'Brien"),
        ("4711", "Sean O'Brien"),
        ("sean 4711", "Sean O'Brien"),
        ("089", "Anna-Lena Groß"),
        ("1212555", "Søren Ångström"),
        ("+7495", "Пётр Чайковский"),
        ("0123", ""),
        ("567", ""),
    ] {
        assert_eq!(found(&mut book, query), expected, "{query}");
    }
}

#[test]
fn names_come_before_addresses_and_these_before_numbers() {
    let mut by_mail = person(1, "Aaron", "First", "");
    by_mail.card.mail = vec!["berta@corp.example".to_owned()];
    let mut by_number = person(2, "Aaron", "Second", "");
    by_number.card.phones = vec![work("+49 30 404404")];
    let mut mail_of_number = person(3, "Aaron", "Third", "");
    mail_of_number.card.mail = vec!["404@corp.example".to_owned()];
    let mut book = book([
        by_mail,
        by_number,
        mail_of_number,
        person(4, "Bertani", "Z", ""),
        person(5, "Zoe", "Berta", ""),
    ]);
    assert_eq!(found(&mut book, "berta"), "Zoe Berta, Bertani Z, Aaron First");
    assert_eq!(found(&mut book, "404"), "Aaron Third, Aaron Second");
}

#[test]
fn changes_are_found_at_once() {
    let mut book = people();
    book.apply(&[row(20, NOON, person(1, "Berta", "Müller", "030 1234567")), removal(21, NOON, id(3))]);
    assert_eq!(found(&mut book, "anna"), "Annika Anna");
    assert_eq!(found(&mut book, "berta"), "Berta Müller");
    assert_eq!(found(&mut book, "123"), "Berta Müller, Sean O'Brien");
    assert_eq!(found(&mut book, "groß"), "");
}

/// With so many changes that the index merges several times, all searches find what going through all entries finds.
#[test]
fn the_index_agrees_with_the_entries_through_merges() {
    let mut book = Book::new(BookSettings::default(), berlin());
    let given = ["Anna", "Bob", "Cleo", "Dan", "Änne", "Bo"];
    let mut state = 7u64;
    let mut revision = 0;
    for round in 0..30 {
        let mut rows = Vec::new();
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            revision += 1;
            let number = u8::try_from(state >> 40 & 0xff).expect("eight bits");
            if state >> 60 == 0 {
                rows.push(removal(revision, NOON, id(number)));
            } else {
                let given = given[(state >> 50) as usize % given.len()];
                rows.push(row(revision, NOON, person(number, given, &format!("N{}", state >> 58), "")));
            }
        }
        book.apply(&rows);
        for prefix in ["a", "b", "bo", "bob", "n1", "anne", "x"] {
            let mut lines = Vec::new();
            let mut cursor: Option<String> = None;
            let mut total = 0;
            loop {
                let query = Query { text: prefix, kinds: &[], limit: 7, cursor: cursor.as_deref() };
                let page = book.search(Audience::Everyone, &query).expect("it is a query");
                assert!(page.lines.len() == 7 || page.next.is_none());
                lines.extend(page.lines);
                total = total.max(page.total);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let mut got: Vec<String> = lines.iter().map(ToString::to_string).collect();
            assert_eq!(got.len(), total, "round {round}, {prefix}: every entry is on one page");
            got.sort();
            let whole = ask(&mut book, &format!("GET /v1/address-book?version={revision}"));
            let mut expected: Vec<String> = text(&whole).lines().skip(1).map(str::to_owned).collect();
            expected.retain(|line| {
                let entry = Entry::of_line(line);
                let words = format!("{} {}", entry.card.given_name, entry.card.surname);
                let mail = &entry.card.mail[0];
                let folds =
                    [crate::fold::folded(&words), crate::fold::spelled_out(&words).unwrap_or_default()];
                folds.iter().any(|text| text.split(' ').any(|word| word.starts_with(prefix)))
                    || crate::fold::folded(mail).starts_with(prefix)
            });
            expected.sort();
            assert_eq!(got, expected, "round {round}, {prefix}");
        }
    }
}

#[test]
fn pages_follow_each_other_while_the_book_changes() {
    let mut book = book((1..=50).map(|number| person(number, "Anna", &format!("N{number:02}"), "")));
    let page = |book: &mut Book, cursor: Option<String>| {
        let query = Query { text: "anna", kinds: &[], limit: 20, cursor: cursor.as_deref() };
        book.search(Audience::Everyone, &query).expect("it is a query")
    };
    let first = page(&mut book, None);
    assert_eq!((first.total, first.lines.len()), (50, 20));
    // One that was shown goes, one that was not yet shown goes, one comes before all.
    book.apply(&[
        removal(60, NOON, id(1)),
        removal(61, NOON, id(30)),
        row(62, NOON, person(99, "Anna", "A", "")),
    ]);
    let second = page(&mut book, first.next);
    assert!(second.version > first.version, "the client can tell");
    let third = page(&mut book, second.next.clone());
    let rest: Vec<String> = names(&second.lines).into_iter().chain(names(&third.lines)).collect();
    let expected: Vec<String> =
        (21..=50).filter(|number| *number != 30).map(|number| format!("Anna N{number:02}")).collect();
    assert_eq!((rest, third.next), (expected, None));
}

#[test]
fn a_search_is_limited() {
    let mut book = people();
    let mut search = |text: &str, kinds: &[ObjectKind], cursor: Option<&str>| {
        book.search(Audience::Everyone, &Query { text, kinds, limit: 500, cursor })
    };
    assert_eq!(search("anna", &[ObjectKind::Room], None).map(|page| page.total), Ok(0));
    assert_eq!(search("anna", &[ObjectKind::Person], None).map(|page| page.total), Ok(3));
    assert_eq!(search(&"a".repeat(257), &[], None), Err(QueryError::TooLong));
    for cursor in ["", "x", "AAAA", "%"] {
        assert_eq!(search("anna", &[], Some(cursor)), Err(QueryError::BadCursor), "{cursor}");
    }
}
