//! Objects of the organisation's directory: what the address book shows of people, contacts, groups, rooms and equipment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{SipAddress, User, UserId};

/// Names an object for good: objectGUID of Active Directory, entryUUID of other directories (RFC 4530), or made of a local account's
/// [`UserId`]. Written as a UUID (RFC 9562 §4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 16]);

/// The text is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UUID has 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12")]
pub struct ObjectIdError;

impl ObjectId {
    /// The object of a local account: a UUID of version 8 (RFC 9562 §5.8), which no directory gives out.
    pub fn of_local(user: UserId) -> ObjectId {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(b"ch");
        octets[6] = 0x80;
        octets[8..].copy_from_slice(&user.0.to_be_bytes());
        // Ids are below 2^62, so that the variant bits are free.
        octets[8] |= 0x80;
        ObjectId(octets)
    }

    /// Whether it is the object of a local account.
    pub fn is_local(self) -> bool {
        let [b'c', b'h', 0, 0, 0, 0, 0x80, 0, variant, ..] = self.0 else { return false };
        variant & 0xc0 == 0x80
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, octet) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<ObjectId, ObjectIdError> {
        let lengths = text.split('-').map(str::len);
        if !lengths.eq([8, 4, 4, 4, 12]) {
            return Err(ObjectIdError);
        }
        let mut digits = text.bytes().filter(|octet| *octet != b'-');
        let mut digit = || {
            let value =
                digits.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(ObjectIdError)?;
            Ok(u8::try_from(value).expect("a digit fits"))
        };
        let mut octets = [0; 16];
        for octet in &mut octets {
            *octet = digit()? << 4 | digit()?;
        }
        Ok(ObjectId(octets))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ObjectId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An object of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// For good.
    pub id: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Its SIP address: of a person of ours, or where a contact is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SipAddress>,
    /// What is read about it.
    #[serde(default)]
    pub card: Card,
    /// The person's manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<ObjectId>,
    /// A group's direct members, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<ObjectId>,
    /// Its photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<PhotoDigest>,
    /// Whether the directory keeps it out of address lists; it can still be a member, a manager, and have a policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

impl Object {
    /// Nothing but what it is and its name for good.
    pub fn new(id: ObjectId, kind: ObjectKind) -> Object {
        Object {
            id,
            kind,
            address: None,
            card: Card::default(),
            manager: None,
            members: Vec::new(),
            photo: None,
            is_hidden: false,
        }
    }

    /// What the address book shows of a local account.
    pub fn of_local(user: &User) -> Object {
        Object {
            address: Some(user.address.clone()),
            card: Card { display_name: user.display_name.clone(), ..Card::default() },
            ..Object::new(ObjectId::of_local(user.id), ObjectKind::Person)
        }
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// Somebody of the organisation.
    Person,
    /// Somebody elsewhere whom the organisation lists.
    Contact,
    /// A group.
    Group,
    /// A room.
    Room,
    /// Equipment.
    Equipment,
    /// A computer that the organisation trusts as one of our servers.
    Server,
}

impl ObjectKind {
    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Person => "person",
            ObjectKind::Contact => "contact",
            ObjectKind::Group => "group",
            ObjectKind::Room => "room",
            ObjectKind::Equipment => "equipment",
            ObjectKind::Server => "server",
        }
    }
}

/// What is read about an object; all of it may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// The name that people see.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Given name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub given_name: String,
    /// Family name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub surname: String,
    /// The name as it is spoken, where it is written otherwise (phonetic display name).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phonetic_name: String,
    /// What the person does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Department.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub department: String,
    /// Company.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub company: String,
    /// Room or desk.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub office: String,
    /// Street and number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub street: String,
    /// City.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub city: String,
    /// State or province.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// Postal code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub postal_code: String,
    /// Country, as people write it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub country: String,
    /// Addresses of electronic mail, the main one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mail: Vec<String>,
    /// Telephone numbers, in the order of [`PhoneKind`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<Phone>,
    /// A page about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub web_page: String,
    /// What else is written about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// For a server: its host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// A telephone number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// What it is for.
    pub kind: PhoneKind,
    /// As the directory has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub written: String,
    /// As `+` and digits (E.164), where the rules could make it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e164: Option<String>,
    /// Digits to dial behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// What a telephone number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhoneKind {
    /// At work.
    Work,
    /// That one is carried along.
    Mobile,
    /// At home.
    Home,
    /// Telephone over IP.
    Ip,
    /// Facsimile.
    Fax,
    /// Pager.
    Pager,
    /// Another.
    Other,
}

/// SHA-256 of a photo as the directory has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhotoDigest(pub [u8; 32]);

impl fmt::Display for PhotoDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::CertificateDigest(self.0).fmt(f)
    }
}

impl fmt::Debug for PhotoDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PhotoDigest {
    type Err = crate::DigestError;

    fn from_str(text: &str) -> Result<PhotoDigest, crate::DigestError> {
        text.parse().map(|crate::CertificateDigest(octets)| PhotoDigest(octets))
    }
}

impl Serialize for PhotoDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PhotoDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PhotoDigest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for id in [ObjectId([0; 16]), ObjectId([0xab; 16]), ObjectId::of_local(UserId((1 << 62) - 1))] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "0", "00000000-0000-0000-0000-00000000000g", "000000000000-0000-0000-0000-00000000"]
        {
            assert_eq!(wrong.parse::<ObjectId>(), Err(ObjectIdError), "{wrong}");
        }
    }

    #[test]
    fn local_accounts_have_objects_of_their_own() {
        assert_eq!(ObjectId::of_local(UserId(1)).to_string(), "63680000-0000-8000-8000-000000000001");
        assert_ne!(ObjectId::of_local(UserId(1)), ObjectId::of_local(UserId(1 << 61)));
        assert!(ObjectId::of_local(UserId((1 << 62) - 1)).is_local());
        assert!(!ObjectId([0x80; 16]).is_local());
    }
}
