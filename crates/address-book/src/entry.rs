//! An entry: what an audience sees of an object, and the line that says so.
//!
//! Lines are short: a hundred thousand of them are sent. Names for good are written in base 32 ([`EntryId`]), which compresses to two
//! thirds of what UUIDs do; half of a photo's digest names it; a number is written in one way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use directory::{Card, Object, ObjectId, ObjectKind, PhotoDigest, SipAddress};
use serde::{Deserialize, Serialize};

use crate::settings::{Attribute, Audience, BookSettings};
use crate::vcard;

/// One entry of the book, as in a line of the download: JSON in this order of members, nothing that is empty, UTF-8 without
/// escapes that are not needed. Two entries are the same exactly when their lines are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// For good.
    pub id: EntryId,
    /// What it is.
    pub kind: ObjectKind,
    /// Where it is reached by SIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SipAddress>,
    /// What is read about it.
    pub card: Card,
    /// The person's manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<EntryId>,
    /// Its photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<PhotoName>,
}

/// An object's name for good as lines write it: 26 digits and letters of base 32 in lower case (RFC 4648 §7), whose order is that of the
/// octets. Read as a UUID, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub ObjectId);

/// Names a photo: the first half of its digest, written as an [`EntryId`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhotoName(pub [u8; 16]);

/// The text is no name of an entry or a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 26 digits and letters up to v")]
pub struct NameError;

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
        for phone in card.phones.iter_mut().filter(|phone| phone.e164.is_some()) {
            phone.written.clear();
        }
        Some(Entry {
            id: EntryId(object.id),
            kind: object.kind,
            address: object.address.clone().filter(|_| sees(Attribute::Address)),
            card,
            manager: object.manager.filter(|_| sees(Attribute::Manager)).map(EntryId),
            photo: object.photo.as_ref().filter(|_| sees(Attribute::Photo)).map(PhotoName::of),
        })
    }

    /// The entry as vCard 4 (RFC 6350). Where it has a photo, its address is relative.
    pub fn vcard(&self) -> String {
        vcard::card(self, vcard::CardVersion::Four, "")
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

impl PhotoName {
    /// The name of a photo.
    pub fn of(digest: &PhotoDigest) -> PhotoName {
        PhotoName(*digest.0.first_chunk().expect("a digest has 32 octets"))
    }
}

/// Digits of base 32 (RFC 4648 §7), in lower case.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// 128 bits in digits of five; the last digit has three bits of them.
const DIGITS_OF_NAME: usize = 26;

fn write_name(octets: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bits = u128::from_be_bytes(octets);
    let mut text = [0; DIGITS_OF_NAME];
    for (place, digit) in text.iter_mut().enumerate() {
        let value = if place < 25 { bits >> (123 - 5 * place) } else { bits << 2 };
        *digit = DIGITS[(value & 31) as usize];
    }
    f.write_str(std::str::from_utf8(&text).expect("digits are ASCII"))
}

fn read_name(text: &str) -> Result<[u8; 16], NameError> {
    if text.len() != DIGITS_OF_NAME {
        return Err(NameError);
    }
    let mut bits = 0u128;
    for (place, digit) in text.bytes().enumerate() {
        let value = char::from(digit).to_digit(32).ok_or(NameError)?;
        bits = match place {
            25 if value & 3 == 0 => bits << 3 | u128::from(value >> 2),
            25 => return Err(NameError),
            _ => bits << 5 | u128::from(value),
        };
    }
    Ok(bits.to_be_bytes())
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(self.0.0, f)
    }
}

impl fmt::Display for PhotoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(self.0, f)
    }
}

impl FromStr for EntryId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<EntryId, NameError> {
        let of_uuid = || text.parse().map_err(|_| NameError);
        read_name(text).map(ObjectId).or_else(|_| of_uuid()).map(EntryId)
    }
}

impl FromStr for PhotoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<PhotoName, NameError> {
        read_name(text).map(PhotoName)
    }
}

impl Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PhotoName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PhotoName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PhotoName, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_of_base_32() {
        // RFC 4648 §10: base32hex of "foobar" begins CPNMUOJ1E8.
        let octets = *b"foobar\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(PhotoName(octets).to_string(), "cpnmuoj1e80000000000000000");
        let id = EntryId(ObjectId(octets));
        assert_eq!(id.0.to_string().parse(), Ok(id), "a UUID is read, too");
        for wrong in ["", "cpnmuoj1e8", "cpnmuoj1e80000000000000001", "cpnmuoj1e8000000000000000w"] {
            assert_eq!(wrong.parse::<EntryId>(), Err(NameError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_are_written_and_keep_their_order(one: [u8; 16], other: [u8; 16]) {
            let [a, b] = [one, other].map(|octets| EntryId(ObjectId(octets)));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), one.cmp(&other));
        }
    }
}
