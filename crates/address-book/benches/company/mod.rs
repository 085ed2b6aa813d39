//! A made-up company for measurements: the same from the same seed, with names, numbers and addresses distributed as in a real one.

use directory::numbers::NumberSettings;
use directory::{Card, Object, ObjectId, ObjectKind, Phone, PhoneKind, PhotoDigest, SipAddress};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::{ObjectRow, Revision};

const GIVEN: &str = "Anna Maria Peter Michael Thomas Andreas Wolfgang Klaus Jürgen Günter Stefan Christian Uwe Werner Horst Frank \
     Dieter Manfred Gerhard Hans Bernd Torsten Mathias Helmut Walter Heinz Martin Jörg Rolf Jens Sven Alexander Ursula Karin Helga Sabine \
     Ingrid Renate Monika Susanne Gisela Petra Birgit Andrea Anja Claudia Elke Heike Nicole Katrin Jutta Ute Silke Anke Søren Łukasz José \
     Núria Chloé Zoë Oğuz Şebnem Dmitri Наталья Ольга Иван 太郎 花子 Wei Li Fatima Mohammed Aisha Priya Raj Siobhán Seán Giulia Marco Ines João";
const SYLLABLES: &str = "schmi mül mei wag beck hoff schu koch bau rich klei wol neu schwar zim brau krü hart lan schmitt wer krau leh \
     köh her mai wal schul fuch kai lang schol möl wei jun hahn schub vog fried kel gün fran ber win lor böh pet sim lud alb";
const ENDINGS: &str =
    "dt ler er mann ner ke ter der z ert mer rich hammer stein berg bach feld meyer inger hausen sen wald ";
const DEPARTMENTS: &str = "Sales Marketing Finance Procurement Legal Research Development Production Logistics Quality Service Support \
     Security Facilities Audit Compliance Treasury Payroll Recruiting Training";
const TITLES: &str = "Engineer Manager Assistant Director Consultant Analyst Technician Clerk Developer Architect Officer Specialist \
     Coordinator Representative Administrator";
const SITES: [(&str, &str, &str, &str); 6] = [
    ("Berlin", "Friedrichstraße", "10117", "+4930"),
    ("Hamburg", "Speicherstadt", "20457", "+4940"),
    ("München", "Leopoldstraße", "80802", "+4989"),
    ("Wien", "Praterstraße", "1020", "+431"),
    ("Zürich", "Bahnhofstrasse", "8001", "+4144"),
    ("Boston", "Boylston Street", "02116", "+1617"),
];
/// When all of it was read, in milliseconds since 1970.
pub(crate) const BEGIN: u64 = 1_795_000_000_000;

/// How local numbers are searched for.
pub(crate) fn numbers() -> NumberSettings {
    NumberSettings {
        country_code: Some("49".to_owned()),
        area_code: Some("30".to_owned()),
        trunk_prefix: Some("0".to_owned()),
        ..NumberSettings::default()
    }
}

/// Rows of that many objects: of a hundred 93 people, 3 rooms, 2 contacts, 2 groups.
pub(crate) fn rows(count: usize, seed: u64) -> Vec<ObjectRow> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let ids: Vec<ObjectId> = (0..count).map(|_| ObjectId(rng.random())).collect();
    let row = |(place, revision): (usize, u64)| {
        let object = object(&mut rng, &ids, place);
        ObjectRow {
            revision: Revision(revision),
            at_unix_ms: BEGIN,
            id: object.id,
            object: Some(Box::new(object)),
        }
    };
    (0..count).zip(1..).map(row).collect()
}

/// A name as people have it.
pub(crate) fn name(rng: &mut impl Rng) -> (String, String) {
    let mut pick = |words: &'static str| -> &'static str {
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        words.choose(rng).copied().expect("there are words")
    };
    let given = pick(GIVEN).to_owned();
    let surname = format!("{}{}", pick(SYLLABLES), pick(ENDINGS));
    let mut letters = surname.chars();
    let first = letters.next().expect("it has letters");
    (given, first.to_uppercase().chain(letters).collect())
}

fn object(rng: &mut ChaCha8Rng, ids: &[ObjectId], place: usize) -> Object {
    let id = ids[place];
    let kind = match place % 100 {
        0..3 => ObjectKind::Room,
        3..5 => ObjectKind::Contact,
        5..7 => ObjectKind::Group,
        _ => ObjectKind::Person,
    };
    let (given, surname) = name(rng);
    let (city, street, code, prefix) = *SITES.choose(rng).expect("there are sites");
    let word = |rng: &mut ChaCha8Rng, words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        (*words.choose(rng).expect("there are words")).to_owned()
    };
    let building = rng.random_range(1..20);
    let site = Card {
        street: format!("{street} {building}"),
        city: city.to_owned(),
        postal_code: code.to_owned(),
        ..Card::default()
    };
    if kind == ObjectKind::Room || kind == ObjectKind::Group {
        let what = if kind == ObjectKind::Room { "Room" } else { "Team" };
        let address = format!("{what}-{place}@corp.example").to_lowercase();
        let members = if kind == ObjectKind::Group {
            (0..20).map(|_| *ids.choose(rng).expect("there are ids")).collect()
        } else {
            Vec::new()
        };
        return Object {
            address: SipAddress::parse(&address).ok(),
            card: Card { display_name: format!("{what} {surname} {place}"), mail: vec![address], ..site },
            members,
            ..Object::new(id, kind)
        };
    }
    let local: String = format!("{given}.{surname}{place}").to_lowercase();
    let mail = format!("{}@corp.example", local.replace('ü', "ue").replace('ö', "oe").replace(' ', ""));
    let extension = rng.random_range(1000..100_000);
    let phone = |kind, e164: String| Phone { kind, written: e164.clone(), e164: Some(e164), extension: None };
    let mut phones = vec![phone(PhoneKind::Work, format!("{prefix}5550{extension}"))];
    if rng.random_bool(0.6) {
        phones.push(phone(PhoneKind::Mobile, format!("+49151{:08}", rng.random_range(0..100_000_000))));
    }
    let unit = rng.random_range(1..40);
    Object {
        address: SipAddress::parse(&mail).ok(),
        card: Card {
            display_name: format!("{surname}, {given}"),
            given_name: given,
            surname,
            title: format!("{} {}", word(rng, "Senior Junior Lead Chief Deputy"), word(rng, TITLES)),
            department: format!("{} {unit}", word(rng, DEPARTMENTS)),
            company: "Corp Example AG".to_owned(),
            office: format!("{building}.{}", rng.random_range(100..700)),
            mail: vec![mail],
            phones,
            ..site
        },
        manager: Some(ids[place / 12]),
        // Three of ten have one in most directories.
        photo: rng.random_bool(0.3).then(|| PhotoDigest(rng.random())),
        ..Object::new(id, kind)
    }
}

/// What people type: the beginnings of names, one or two words, addresses, numbers.
pub(crate) fn queries(count: usize, seed: u64) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let beginning = |rng: &mut ChaCha8Rng, text: &str| {
        let letters = rng.random_range(1..=text.chars().count().min(8));
        text.chars().take(letters).collect::<String>()
    };
    let query = |_| {
        let (given, surname) = name(&mut rng);
        match rng.random_range(0..10) {
            0..4 => beginning(&mut rng, &surname),
            4..6 => beginning(&mut rng, &given),
            6..8 => format!("{given} {}", beginning(&mut rng, &surname)),
            8 => format!("{}.{}", given, beginning(&mut rng, &surname)),
            _ => format!("030 5550{}", rng.random_range(1..1000)),
        }
    };
    (0..count).map(query).collect()
}
