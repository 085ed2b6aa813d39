//! Managers, reports, members and groups.

use super::*;
use crate::{Audience, Entry, Listing, ListingError};

fn names(lines: &[crate::entry::Line]) -> Vec<String> {
    lines.iter().map(|line| Entry::of_line(line).card.given_name).collect()
}

fn company() -> Book {
    let managed = |number, given, manager: Option<u8>| Object {
        manager: manager.map(id),
        ..person(number, given, "X", "")
    };
    let group = |number, members: &[u8]| Object {
        members: members.iter().copied().map(id).collect(),
        card: Card { given_name: format!("group{number}"), ..Card::default() },
        ..Object::new(id(number), ObjectKind::Group)
    };
    let hidden = Object { is_hidden: true, ..managed(9, "Hidden", Some(1)) };
    let settings = BookSettings { members_max: 4, ..BookSettings::default() };
    book_with(
        settings,
        [
            managed(1, "Chief", None),
            managed(2, "Head", Some(1)),
            managed(3, "Anna", Some(2)),
            managed(4, "Bob", Some(2)),
            managed(5, "Ring", Some(6)),
            managed(6, "Gnir", Some(5)),
            managed(7, "Lost", Some(99)),
            managed(8, "Below", Some(9)),
            hidden,
            group(20, &[3, 4, 9, 21]),
            group(21, &[2]),
            group(22, &[1, 2, 3, 4, 5]),
        ],
    )
}

#[test]
fn managers_are_followed_upwards() {
    let book = company();
    let chain = |number| book.managers(Audience::Everyone, id(number)).map(|lines| names(&lines));
    assert_eq!(chain(3), Ok(vec!["Head".to_owned(), "Chief".to_owned()]));
    assert_eq!(chain(5), Ok(vec!["Gnir".to_owned()]), "a ring ends");
    assert_eq!(chain(7), Ok(vec![]), "one that is not there ends the chain");
    assert_eq!(chain(8), Ok(vec![]), "so does one that is hidden");
    assert_eq!(chain(9), Err(ListingError::NoEntry));
}

#[test]
fn reports_and_members_are_listed_by_pages() {
    let book = company();
    let names = |listing: Result<Listing, ListingError>| {
        listing.map(|listing| (names(&listing.lines), listing.total, listing.next))
    };
    let reports = |number, after, limit| names(book.reports(Audience::Everyone, id(number), after, limit));
    assert_eq!(reports(2, None, 1), Ok((vec!["Anna".to_owned()], 2, Some(id(3)))));
    assert_eq!(reports(2, Some(id(3)), 1), Ok((vec!["Bob".to_owned()], 2, None)));
    assert_eq!(reports(1, None, 9), Ok((vec!["Head".to_owned()], 1, None)), "the hidden one is not told");

    let members = |number| names(book.members(Audience::Everyone, id(number), None, 9));
    let expected = ["Anna", "Bob", "group21"].map(str::to_owned).to_vec();
    assert_eq!(members(20), Ok((expected, 3, None)));
    assert_eq!(members(22), Err(ListingError::TooLarge { members: 5, most: 4 }));
    assert_eq!(members(1), Ok((vec![], 0, None)));

    let groups = |number| names(book.groups(Audience::Everyone, id(number), None, 9));
    assert_eq!(groups(3), Ok((vec!["group20".to_owned()], 1, None)), "the large group does not tell");
    assert_eq!(groups(9), Err(ListingError::NoEntry));
}

#[test]
fn policy_keeps_the_organisation_from_everyone() {
    use crate::{Attribute, Visibility};
    let settings = BookSettings {
        visible: [(Attribute::Manager, Visibility::Administrators), (Attribute::Members, Visibility::Nobody)]
            .into(),
        ..BookSettings::default()
    };
    let anna = Object { manager: Some(id(2)), ..person(1, "Anna", "X", "") };
    let group = Object { members: vec![id(1)], ..Object::new(id(3), ObjectKind::Group) };
    let book = book_with(settings, [anna, person(2, "Bob", "X", ""), group]);
    assert_eq!(book.managers(Audience::Everyone, id(1)), Err(ListingError::NotShown));
    assert_eq!(
        book.managers(Audience::Administrators, id(1)).map(|lines| names(&lines)),
        Ok(vec!["Bob".to_owned()])
    );
    for audience in [Audience::Everyone, Audience::Administrators] {
        assert_eq!(book.members(audience, id(3), None, 9), Err(ListingError::NotShown));
        assert_eq!(book.groups(audience, id(1), None, 9), Err(ListingError::NotShown));
    }
}
