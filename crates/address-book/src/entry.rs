//! An entry: what an audience sees of an object, and the line that says so.

use std::sync::Arc;

use directory::{Card, Object, ObjectId, ObjectKind, PhotoDigest, SipAddress};
use serde::{Deserialize, Serialize};

use crate::settings::{Attribute, Audience, BookSettings};

/// One entry of the book, as in a line of the download: JSON in this order of members, nothing that is empty, UTF-8 without
/// escapes that are not needed. Two entries are the same exactly when their lines are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// For good.
    pub id: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Where it is reached by SIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SipAddress>,
    /// What is read about it.
    pub card: Card,
    /// The person's manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<ObjectId>,
    /// Its photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<PhotoDigest>,
}

/// An entry's line without its line end: kept once, shared by all that show it.
pub(crate) type Line = Arc<str>;

impl Entry {
    /// What an audience sees of an object; `None`: not that it exists.
    pub fn of(object: &Object, audience: Audience, settings: &BookSettings) -> Option<Entry> {
        if object.is_hidden || !settings.kinds.contains(&object.kind) {
            return None;
        }
        let sees = |attribute| audience.sees(settings.visibility(attribute));
        let mut card = object.card.clone();
        for (attribute, text) in texts(&mut card) {
            if !sees(attribute) {
                text.clear();
            }
        }
        if !sees(Attribute::Mail) {
            card.mail.clear();
        }
        card.phones.retain(|phone| sees(Attribute::of_phone(phone.kind)));
        Some(Entry {
            id: object.id,
            kind: object.kind,
            address: object.address.clone().filter(|_| sees(Attribute::Address)),
            card,
            manager: object.manager.filter(|_| sees(Attribute::Manager)),
            photo: object.photo.filter(|_| sees(Attribute::Photo)),
        })
    }

    pub(crate) fn line(&self) -> Line {
        serde_json::to_string(self).expect("an entry is made of texts").into()
    }

    /// Reads a line that [`Entry::line`] made.
    pub(crate) fn of_line(line: &str) -> Entry {
        serde_json::from_str(line).expect("lines are ours")
    }

    /// The name that people see, or what comes nearest.
    pub(crate) fn name(&self) -> &str {
        let card = &self.card;
        let texts = [&card.display_name, &card.surname, &card.given_name, &card.company, &card.host];
        match texts.into_iter().find(|text| !text.is_empty()) {
            Some(text) => text,
            None => self.address.as_ref().map_or("", SipAddress::as_str),
        }
    }
}

/// The texts of a card that can be kept back.
fn texts(card: &mut Card) -> [(Attribute, &mut String); 15] {
    [
        (Attribute::GivenName, &mut card.given_name),
        (Attribute::Surname, &mut card.surname),
        (Attribute::PhoneticName, &mut card.phonetic_name),
        (Attribute::Title, &mut card.title),
        (Attribute::Department, &mut card.department),
        (Attribute::Company, &mut card.company),
        (Attribute::Office, &mut card.office),
        (Attribute::Street, &mut card.street),
        (Attribute::City, &mut card.city),
        (Attribute::Region, &mut card.region),
        (Attribute::PostalCode, &mut card.postal_code),
        (Attribute::Country, &mut card.country),
        (Attribute::WebPage, &mut card.web_page),
        (Attribute::Notes, &mut card.notes),
        (Attribute::Host, &mut card.host),
    ]
}
