//! From the attributes of one entry to what it says of itself.

use directory::{Card, Object, ObjectKind, Phone, PhoneKind, PhotoDigest, SipAddress};
use directory_source::{Dn, Entry, NameKind, Named, ServerKind};
use sha2::{Digest, Sha256};

use super::values::{Values, quoted};
use super::{Field, LOCK_STATE, time};
use crate::report::FindingKind;
use crate::settings::Settings;
use crate::view::{Key, Link};

/// Longest name, title or place, in characters. Active Directory bounds most at 64 to 256 itself.
const LINE_CHARACTERS_MAX: usize = 256;
/// Longest text of several lines (street, notes), in characters; `info` of Active Directory has at most 1,024.
const TEXT_CHARACTERS_MAX: usize = 2_048;
/// Longest link, in characters; what browsers take.
const LINK_CHARACTERS_MAX: usize = 2_048;
/// Longest telephone number as it is written, in characters; Active Directory has 64 for most.
const PHONE_CHARACTERS_MAX: usize = 128;
/// Telephone numbers of one entry, and of one attribute.
const PHONES_MAX: usize = 32;
/// Addresses of mail of one entry.
const MAIL_MAX: usize = 16;
/// Longest address of mail, in characters (RFC 5321 §4.5.3.1.3 less the brackets).
const MAIL_CHARACTERS_MAX: usize = 254;
/// Addresses of all kinds of one entry that are looked at; Exchange keeps former ones for good.
const ADDRESSES_MAX: usize = 400;
/// Further SIP addresses of one entry.
const SECONDARY_ADDRESSES_MAX: usize = 16;
/// Members of one group: as many as entries are followed.
const MEMBERS_MAX: usize = crate::view::ENTRIES_MAX;
/// Largest photo, in octets. Active Directory bounds thumbnailPhoto at 100 kB, jpegPhoto at nothing; larger ones are no portraits
/// but originals of cameras, and every client would load them.
pub const PHOTO_OCTETS_MAX: usize = 512 * 1024;

/// What an entry says of itself, before it is known who else is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapped {
    /// All but address, manager and members.
    pub(crate) object: Object,
    pub(crate) photo: Option<Vec<u8>>,
    /// Whether it may have an account here.
    pub(crate) is_account: bool,
    /// The address in one of our domains that makes it a user.
    pub(crate) claim: Option<Claim>,
    /// Further addresses in our domains.
    pub(crate) secondaries: Vec<SipAddress>,
    /// Where somebody elsewhere is reached.
    pub(crate) foreign: Option<SipAddress>,
    pub(crate) manager: Option<Link>,
    pub(crate) members: Vec<Link>,
    /// The last part of a group's SID.
    pub(crate) rid: Option<u32>,
    /// The last part of the SID of the group that somebody is in without being listed there.
    pub(crate) primary_group: Option<u32>,
    pub(crate) account_name: String,
    pub(crate) principal: String,
    pub(crate) gates: Gates,
    pub(crate) findings: Vec<FindingKind>,
}

/// An address that somebody says is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) address: SipAddress,
    /// Whether the attribute for it says so, not one that lists addresses of all kinds.
    pub(crate) is_explicit: bool,
}

/// What may stand between an account and its use, of the entry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Gates {
    pub(crate) is_disabled: bool,
    /// Whether the attribute that says whether the account is disabled cannot be read, though every account has it.
    pub(crate) is_unreadable: bool,
    /// Whether the attribute for it says that the address may not be used.
    pub(crate) is_switched_off: bool,
    /// In milliseconds since 1970.
    pub(crate) expires_unix_ms: Option<u64>,
    /// In milliseconds since 1970.
    pub(crate) locked_unix_ms: Option<u64>,
    /// Whether the lock was on when the entry was read, where the server says so: how long locks last may be another for some
    /// (fine-grained password policies) than the domain says.
    pub(crate) is_locked_now: Option<bool>,
}

/// What an entry is, by its classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    User,
    Contact,
    Group,
    Computer,
}

/// What an entry says of itself; `None` where it is of no kind that matters, or a tombstone.
pub(crate) fn read(settings: &Settings, entry: &Entry) -> Option<Mapped> {
    let mut values = Values::new(entry);
    let class = class(&mut values)?;
    if values.truth("isdeleted") == Some(true) {
        return None;
    }
    let addresses = addresses(settings, &mut values, class);
    let mut object = Object::new(entry.id, kind(settings, &mut values, class, &addresses));
    object.is_hidden = first_truth(settings, &mut values, Field::Hidden) == Some(true)
        || values.truth("iscriticalsystemobject") == Some(true);
    object.card = card(settings, &mut values, class);
    let photo = photo(settings, &mut values, class);
    object.photo = photo.as_deref().map(digest);
    let mut mapped = Mapped {
        object,
        photo,
        is_account: class == Class::User,
        claim: addresses.claim,
        secondaries: addresses.secondaries,
        foreign: addresses.foreign,
        manager: None,
        members: Vec::new(),
        rid: None,
        primary_group: None,
        account_name: values.line(
            settings.mapping.attributes(Field::AccountName),
            LINE_CHARACTERS_MAX,
            false,
        ),
        principal: values.line(settings.mapping.attributes(Field::PrincipalName), LINE_CHARACTERS_MAX, false),
        gates: gates(settings, &mut values, class),
        findings: Vec::new(),
    };
    match class {
        Class::User | Class::Contact => mapped.manager = manager(settings, &mut values),
        Class::Group => mapped.members = members(settings, &mut values),
        Class::Computer => {}
    }
    if settings.kind == ServerKind::ActiveDirectory {
        match class {
            Class::Group => mapped.rid = rid(&mut values),
            Class::User | Class::Computer => {
                mapped.primary_group =
                    values.number("primarygroupid").and_then(|rid| u32::try_from(rid).ok());
            }
            Class::Contact => {}
        }
    }
    if mapped.object.card.display_name.is_empty() {
        let address = mapped.claim.as_ref().map(|claim| claim.address.as_str().to_owned());
        mapped.object.card.display_name = if mapped.account_name.is_empty() {
            address.unwrap_or_default()
        } else {
            mapped.account_name.clone()
        };
    }
    mapped.findings = values.findings;
    Some(mapped)
}

/// Names a photo.
pub(crate) fn digest(photo: &[u8]) -> PhotoDigest {
    PhotoDigest(Sha256::digest(photo).into())
}

/// The photo of an entry that was read again for it alone.
pub(crate) fn read_photo(settings: &Settings, entry: &Entry) -> Option<Vec<u8>> {
    photo(settings, &mut Values::new(entry), Class::User)
}

fn class(values: &mut Values<'_>) -> Option<Class> {
    let classes: Vec<String> =
        values.texts("objectclass", usize::MAX).iter().map(|name| name.to_ascii_lowercase()).collect();
    let is = |names: &[&str]| classes.iter().any(|class| names.contains(&class.as_str()));
    // The order matters: in Active Directory computers are users, and contacts are persons.
    if is(&["computer"]) {
        Some(Class::Computer)
    } else if is(&["group", "groupofnames", "groupofuniquenames", "posixgroup"]) {
        Some(Class::Group)
    } else if is(&["contact"]) {
        Some(Class::Contact)
    } else if is(&["user", "inetorgperson", "posixaccount", "person"]) {
        Some(Class::User)
    } else {
        None
    }
}

fn kind(settings: &Settings, values: &mut Values<'_>, class: Class, addresses: &Addresses) -> ObjectKind {
    match class {
        Class::Group => return ObjectKind::Group,
        Class::Contact => return ObjectKind::Contact,
        Class::Computer => return ObjectKind::Server,
        Class::User => {}
    }
    for attribute in settings.mapping.attributes(Field::RecipientType) {
        match values.number(attribute) {
            // RoomMailbox and EquipmentMailbox of msExchRecipientTypeDetails.
            Some(16) => return ObjectKind::Room,
            Some(32) => return ObjectKind::Equipment,
            _ => {}
        }
    }
    if !settings.rooms.is_empty() || !settings.equipment.is_empty() {
        // A name that cannot be read lies nowhere; the view finds that.
        if let Ok(place) = Dn::parse(&values.entry.dn) {
            if settings.rooms.iter().any(|base| place.is_within(base)) {
                return ObjectKind::Room;
            }
            if settings.equipment.iter().any(|base| place.is_within(base)) {
                return ObjectKind::Equipment;
            }
        }
    }
    match addresses {
        Addresses { claim: None, foreign: Some(_), .. } => ObjectKind::Contact,
        _ => ObjectKind::Person,
    }
}

#[derive(Default)]
struct Addresses {
    claim: Option<Claim>,
    secondaries: Vec<SipAddress>,
    foreign: Option<SipAddress>,
}

fn addresses(settings: &Settings, values: &mut Values<'_>, class: Class) -> Addresses {
    let mut found = Addresses::default();
    if matches!(class, Class::Group | Class::Computer) {
        return found;
    }
    let is_ours =
        |address: &SipAddress| settings.domains.iter().any(|domain| domain.as_str() == address.domain());
    for (place, attribute) in settings.mapping.attributes(Field::SipAddress).iter().enumerate() {
        for text in values.texts(attribute, ADDRESSES_MAX) {
            let Some(text) = sip_text(attribute, text) else { continue };
            let address = match SipAddress::parse(text) {
                Ok(address) => address,
                Err(error) => {
                    let value = quoted(text);
                    let reason = error.to_string();
                    values.found(FindingKind::IllegalAddress { attribute: attribute.clone(), value, reason });
                    continue;
                }
            };
            if class == Class::Contact || !is_ours(&address) {
                found.foreign.get_or_insert(address);
            } else if found.claim.is_none() {
                found.claim = Some(Claim { address, is_explicit: place == 0 });
            } else if found.claim.as_ref().is_some_and(|claim| claim.address != address)
                && !found.secondaries.contains(&address)
            {
                if found.secondaries.len() == SECONDARY_ADDRESSES_MAX {
                    values.found(FindingKind::TooMany {
                        attribute: attribute.clone(),
                        most: SECONDARY_ADDRESSES_MAX,
                    });
                    break;
                }
                found.secondaries.push(address);
            }
        }
    }
    if settings.mail_as_sip && found.claim.is_none() && found.foreign.is_none() {
        for attribute in settings.mapping.attributes(Field::Mail) {
            for text in values.texts(attribute, MAIL_MAX) {
                match SipAddress::parse(text) {
                    Ok(address) if class == Class::Contact || !is_ours(&address) => {}
                    Ok(address) => {
                        found.claim.get_or_insert(Claim { address, is_explicit: false });
                    }
                    Err(error) => {
                        let (value, reason) = (quoted(text), error.to_string());
                        values.found(FindingKind::IllegalAddress {
                            attribute: attribute.clone(),
                            value,
                            reason,
                        });
                    }
                }
            }
        }
    }
    found
}

/// What stands behind `sip:`; `None` for addresses of other kinds, which proxyAddresses writes with their kinds before them.
fn sip_text<'a>(attribute: &str, text: &'a str) -> Option<&'a str> {
    match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => Some(rest.trim()),
        Some((scheme, _)) if scheme.bytes().all(|octet| octet.is_ascii_alphanumeric()) => None,
        _ if attribute == "proxyaddresses" => None,
        _ => Some(text),
    }
}

fn first_truth(settings: &Settings, values: &mut Values<'_>, field: Field) -> Option<bool> {
    settings.mapping.attributes(field).iter().find_map(|attribute| values.truth(attribute))
}

fn card(settings: &Settings, values: &mut Values<'_>, class: Class) -> Card {
    let mut line = |field| values.line(settings.mapping.attributes(field), LINE_CHARACTERS_MAX, false);
    let mut card = Card { display_name: line(Field::DisplayName), ..Card::default() };
    match class {
        Class::Computer => {
            card.host = line(Field::Host).to_ascii_lowercase();
            return card;
        }
        Class::Group => {}
        Class::User | Class::Contact => {
            card.given_name = line(Field::GivenName);
            card.surname = line(Field::Surname);
            card.phonetic_name = line(Field::PhoneticName);
            card.title = line(Field::Title);
            card.department = line(Field::Department);
            card.company = line(Field::Company);
            card.office = line(Field::Office);
            card.city = line(Field::City);
            card.region = line(Field::Region);
            card.postal_code = line(Field::PostalCode);
            card.country = line(Field::Country);
            card.street = values.line(settings.mapping.attributes(Field::Street), TEXT_CHARACTERS_MAX, true);
            card.phones = phones(settings, values);
        }
    }
    card.web_page = values.line(settings.mapping.attributes(Field::WebPage), LINK_CHARACTERS_MAX, false);
    card.notes = values.line(settings.mapping.attributes(Field::Notes), TEXT_CHARACTERS_MAX, true);
    card.mail = mail(settings, values);
    card
}

fn mail(settings: &Settings, values: &mut Values<'_>) -> Vec<String> {
    let mut mail: Vec<String> = Vec::new();
    for attribute in settings.mapping.attributes(Field::Mail) {
        for text in values.texts(attribute, MAIL_MAX) {
            let is_address = text.chars().count() <= MAIL_CHARACTERS_MAX
                && text.split_once('@').is_some_and(|(user, domain)| !user.is_empty() && !domain.is_empty())
                && !text.contains(|c: char| c.is_control() || c.is_whitespace());
            if !is_address {
                values.malformed(attribute, text);
            } else if mail.len() < MAIL_MAX && !mail.iter().any(|other| other.eq_ignore_ascii_case(text)) {
                mail.push(text.to_owned());
            }
        }
    }
    mail
}

const PHONE_FIELDS: [(Field, PhoneKind); 7] = [
    (Field::WorkPhone, PhoneKind::Work),
    (Field::MobilePhone, PhoneKind::Mobile),
    (Field::HomePhone, PhoneKind::Home),
    (Field::IpPhone, PhoneKind::Ip),
    (Field::Fax, PhoneKind::Fax),
    (Field::Pager, PhoneKind::Pager),
    (Field::OtherPhone, PhoneKind::Other),
];

fn phones(settings: &Settings, values: &mut Values<'_>) -> Vec<Phone> {
    let mut phones: Vec<Phone> = Vec::new();
    for (field, kind) in PHONE_FIELDS {
        for attribute in settings.mapping.attributes(field) {
            for written in values.texts(attribute, PHONES_MAX) {
                if written.chars().count() > PHONE_CHARACTERS_MAX {
                    values.found(FindingKind::TooLong {
                        attribute: attribute.clone(),
                        most: PHONE_CHARACTERS_MAX,
                    });
                    continue;
                }
                let phone = phone(settings, values, kind, attribute, written);
                let is_same = |other: &Phone| {
                    other.kind == kind
                        && other.extension == phone.extension
                        && (other.e164 == phone.e164 && other.e164.is_some()
                            || other.written == phone.written)
                };
                if phones.iter().any(is_same) {
                    continue;
                }
                if phones.len() == PHONES_MAX {
                    values.found(FindingKind::TooMany { attribute: attribute.clone(), most: PHONES_MAX });
                    return phones;
                }
                phones.push(phone);
            }
        }
    }
    phones
}

fn phone(
    settings: &Settings,
    values: &mut Values<'_>,
    kind: PhoneKind,
    attribute: &str,
    written: &str,
) -> Phone {
    let phone = Phone { kind, written: written.to_owned(), e164: None, extension: None };
    match settings.numbers.normalise(written) {
        Ok(number) => Phone { e164: Some(number.e164), extension: number.extension, ..phone },
        Err(rejected) => {
            values.found(FindingKind::NumberRejected {
                attribute: attribute.to_owned(),
                value: quoted(written),
                reason: rejected.to_string(),
            });
            phone
        }
    }
}

fn photo(settings: &Settings, values: &mut Values<'_>, class: Class) -> Option<Vec<u8>> {
    if class == Class::Computer {
        return None;
    }
    for attribute in settings.mapping.attributes(Field::Photo) {
        let Some(photo) = values.octets(attribute).first().filter(|photo| !photo.is_empty()) else {
            continue;
        };
        let is_picture = photo.starts_with(&[0xff, 0xd8, 0xff]) || photo.starts_with(b"\x89PNG\r\n\x1a\n");
        if photo.len() > PHOTO_OCTETS_MAX {
            values.found(FindingKind::TooLong { attribute: attribute.clone(), most: PHOTO_OCTETS_MAX });
        } else if !is_picture {
            values.found(FindingKind::NoPhoto { attribute: attribute.clone() });
        } else {
            return Some(photo.clone());
        }
    }
    None
}

fn manager(settings: &Settings, values: &mut Values<'_>) -> Option<Link> {
    for attribute in settings.mapping.attributes(Field::Manager) {
        let Some(text) = values.texts(attribute, usize::MAX).first().copied() else { continue };
        return link(values, attribute, text);
    }
    None
}

fn members(settings: &Settings, values: &mut Values<'_>) -> Vec<Link> {
    let mut members = Vec::new();
    for attribute in settings.mapping.attributes(Field::Members) {
        for text in values.texts(attribute, MEMBERS_MAX) {
            members.extend(link(values, attribute, text));
        }
    }
    for attribute in settings.mapping.attributes(Field::MemberNames) {
        let names = values.texts(attribute, MEMBERS_MAX);
        members.extend(names.into_iter().map(|name| Link::Name(Key::of_name(name))));
    }
    members.sort_unstable();
    members.dedup();
    members
}

fn link(values: &mut Values<'_>, attribute: &str, text: &str) -> Option<Link> {
    match Named::parse(text) {
        Ok(Named { kind: NameKind::Id(id), .. }) => Some(Link::Id(id)),
        Ok(Named { kind: NameKind::Place(dn), .. }) => Some(Link::Place(Key::of_dn(&dn))),
        Err(_) => {
            values.malformed(attribute, text);
            None
        }
    }
}

/// The last part of objectSid ([MS-DTYP] 2.4.2.2): the last four octets, the least first.
fn rid(values: &mut Values<'_>) -> Option<u32> {
    let sid = values.octets("objectsid").first()?;
    let octets = sid.last_chunk::<4>()?;
    Some(u32::from_le_bytes(*octets))
}

/// UF_LOCKOUT of msDS-User-Account-Control-Computed ([MS-ADTS] 3.1.1.4.5.17).
const LOCKED_OUT: i64 = 0x10;
const USER_ACCOUNT_CONTROL: &str = "useraccountcontrol";
/// ACCOUNTDISABLE of userAccountControl ([MS-ADTS] 2.2.16).
const ACCOUNT_DISABLED: i64 = 0x2;
/// What pwdAccountLockedTime has where only an administrator may unlock: what OpenLDAP has instead of disabling.
const LOCKED_FOR_GOOD: &str = "000001010000Z";

fn gates(settings: &Settings, values: &mut Values<'_>, class: Class) -> Gates {
    let is_switched_off = first_truth(settings, values, Field::SipEnabled) == Some(false);
    match settings.kind {
        ServerKind::ActiveDirectory => {
            let flags = values.number(USER_ACCOUNT_CONTROL);
            // Every user has it ([MS-ADTS] 3.1.1.8.10). Where it does not show, the right to read it is missing, and nobody knows who
            // was disabled.
            let is_unreadable = class == Class::User && flags.is_none();
            if is_unreadable {
                values.found(FindingKind::Unreadable { attribute: USER_ACCOUNT_CONTROL.to_owned() });
            }
            Gates {
                is_disabled: flags.is_some_and(|flags| flags & ACCOUNT_DISABLED != 0),
                is_unreadable,
                is_switched_off,
                expires_unix_ms: values.number("accountexpires").and_then(time::of_filetime),
                locked_unix_ms: values.number("lockouttime").and_then(time::of_filetime),
                is_locked_now: values.number(LOCK_STATE).map(|flags| flags & LOCKED_OUT != 0),
            }
        }
        ServerKind::Ldap => {
            let locked = values.texts("pwdaccountlockedtime", 1).first().copied();
            let is_locked_for_good = locked == Some(LOCKED_FOR_GOOD);
            let locked = locked.filter(|_| !is_locked_for_good);
            let locked_unix_ms = locked.and_then(|text| {
                let time = time::of_generalized(text);
                if time.is_none() {
                    values.malformed("pwdaccountlockedtime", text);
                }
                time
            });
            Gates {
                is_disabled: is_locked_for_good || values.truth("nsaccountlock") == Some(true),
                is_unreadable: false,
                is_switched_off,
                expires_unix_ms: values.number("shadowexpire").and_then(time::of_days),
                locked_unix_ms,
                is_locked_now: None,
            }
        }
    }
}
