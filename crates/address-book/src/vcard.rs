//! vCards of entries: version 4 (RFC 6350), and version 3 (RFC 2426) for the address books that read no other.

use directory::{Card, ObjectKind, Phone, PhoneKind};

use crate::entry::Entry;
use crate::photo::PhotoSize;

/// Longest line, in octets without its line end (RFC 6350 §3.2).
const LINE_OCTETS_MAX: usize = 75;

/// The version of a vCard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CardVersion {
    /// RFC 2426.
    Three,
    /// RFC 6350.
    Four,
}

/// An entry as vCard; `photos` stands before a photo's name in its address.
pub(crate) fn card(entry: &Entry, version: CardVersion, photos: &str) -> String {
    let mut writer = Writer { text: String::with_capacity(512), version };
    let is_four = version == CardVersion::Four;
    writer.line("BEGIN", "VCARD");
    writer.line("VERSION", if is_four { "4.0" } else { "3.0" });
    writer.line("PRODID", "-//Chancery//Address Book//EN");
    writer.line("UID", &if is_four { format!("urn:uuid:{}", entry.id.0) } else { entry.id.0.to_string() });
    writer.kind(entry);
    // FN must be there and not be empty.
    let name = if entry.name().is_empty() { entry.id.0.to_string() } else { entry.name().to_owned() };
    writer.texts("FN", &[&name], ';');
    writer.names(&entry.card, &name);
    writer.card(&entry.card);
    if let Some(address) = &entry.address {
        // RFC 4770 brought IMPP to version 3, and clients of that time read X-SIP.
        let uri = format!("sip:{}", escaped_user(address.as_str()));
        writer.line(if is_four { "IMPP;PREF=1" } else { "IMPP;X-SERVICE-TYPE=SIP" }, &uri);
        if !is_four {
            writer.line("X-SIP", &uri);
        }
    }
    if let Some(manager) = entry.manager.filter(|_| is_four) {
        writer.line("RELATED;TYPE=x-manager", &format!("urn:uuid:{}", manager.0));
    }
    if let Some(photo) = entry.photo {
        let url = format!("{photos}{photo}/{}", PhotoSize::Large.pixels());
        writer.line(if is_four { "PHOTO;MEDIATYPE=image/jpeg" } else { "PHOTO;VALUE=uri" }, &url);
    }
    writer.line("END", "VCARD");
    writer.text
}

struct Writer {
    text: String,
    version: CardVersion,
}

impl Writer {
    fn is_four(&self) -> bool {
        self.version == CardVersion::Four
    }

    fn kind(&mut self, entry: &Entry) {
        let card = &entry.card;
        let is_organisation =
            !card.company.is_empty() && card.company == card.display_name && card.surname.is_empty();
        let kind = match entry.kind {
            ObjectKind::Contact if is_organisation => "org",
            ObjectKind::Person | ObjectKind::Contact => "individual",
            ObjectKind::Group => "group",
            ObjectKind::Room => "location",
            // RFC 6869 and RFC 6473.
            ObjectKind::Equipment => "device",
            ObjectKind::Server => "application",
        };
        match self.version {
            CardVersion::Four => self.line("KIND", kind),
            // COMPAT: Apple Contacts knows groups and companies in version 3 by these.
            CardVersion::Three if kind == "group" => self.line("X-ADDRESSBOOKSERVER-KIND", "group"),
            CardVersion::Three if kind == "org" => self.line("X-ABShowAs", "COMPANY"),
            CardVersion::Three => {}
        }
    }

    fn names(&mut self, card: &Card, name: &str) {
        let phonetic = card.phonetic_name.as_str();
        // In version 3 N has to be there, and who sorts by it wants it filled.
        let has_parts = !card.surname.is_empty() || !card.given_name.is_empty();
        let surname = if has_parts || self.is_four() { card.surname.as_str() } else { name };
        if has_parts || !self.is_four() {
            let property = match phonetic {
                "" => "N".to_owned(),
                phonetic if self.is_four() => format!("N;SORT-AS={}", parameter(phonetic)),
                _ => "N".to_owned(),
            };
            self.texts(&property, &[surname, &card.given_name, "", "", ""], ';');
        }
        if !phonetic.is_empty() && !self.is_four() {
            self.texts("SORT-STRING", &[phonetic], ';');
        }
    }

    fn card(&mut self, card: &Card) {
        if !card.company.is_empty() || !card.department.is_empty() {
            let parts: &[&str] = if card.department.is_empty() {
                &[&card.company]
            } else {
                &[&card.company, &card.department]
            };
            self.texts("ORG", parts, ';');
        }
        self.optional("TITLE", &card.title);
        for (place, mail) in card.mail.iter().enumerate() {
            let property = match (self.version, place) {
                (CardVersion::Four, 0) => "EMAIL;PREF=1;TYPE=work",
                (CardVersion::Four, _) => "EMAIL;TYPE=work",
                (CardVersion::Three, 0) => "EMAIL;TYPE=INTERNET,WORK,PREF",
                (CardVersion::Three, _) => "EMAIL;TYPE=INTERNET,WORK",
            };
            self.texts(property, &[mail], ';');
        }
        card.phones.iter().for_each(|phone| self.phone(phone));
        let address =
            [&card.office, &card.street, &card.city, &card.region, &card.postal_code, &card.country];
        if address.iter().any(|part| !part.is_empty()) {
            let [office, street, city, region, code, country] = address.map(String::as_str);
            let property = if self.is_four() { "ADR;TYPE=work" } else { "ADR;TYPE=WORK" };
            self.texts(property, &["", office, street, city, region, code, country], ';');
        }
        if !card.web_page.is_empty() {
            let page = card.web_page.clone();
            self.line("URL", &without_controls(&page));
        }
        self.optional("NOTE", &card.notes);
    }

    fn phone(&mut self, phone: &Phone) {
        let types = match (self.version, phone.kind) {
            (CardVersion::Four, PhoneKind::Work | PhoneKind::Ip) => "\"voice,work\"",
            (CardVersion::Four, PhoneKind::Mobile) => "\"voice,cell\"",
            (CardVersion::Four, PhoneKind::Home) => "\"voice,home\"",
            (CardVersion::Four, PhoneKind::Fax) => "\"fax,work\"",
            (CardVersion::Four, PhoneKind::Pager) => "pager",
            (CardVersion::Four, PhoneKind::Other) => "voice",
            (CardVersion::Three, PhoneKind::Work | PhoneKind::Ip) => "WORK,VOICE",
            (CardVersion::Three, PhoneKind::Mobile) => "CELL",
            (CardVersion::Three, PhoneKind::Home) => "HOME,VOICE",
            (CardVersion::Three, PhoneKind::Fax) => "WORK,FAX",
            (CardVersion::Three, PhoneKind::Pager) => "PAGER",
            (CardVersion::Three, PhoneKind::Other) => "VOICE",
        };
        match (&phone.e164, self.version) {
            (Some(e164), CardVersion::Four) => {
                let extension = phone.extension.as_ref().map(|extension| format!(";ext={extension}"));
                let uri = format!("tel:{e164}{}", extension.unwrap_or_default());
                self.line(&format!("TEL;VALUE=uri;TYPE={types}"), &uri);
            }
            (Some(e164), CardVersion::Three) => {
                // What address books of that time dial: a pause, then the extension.
                let extension = phone.extension.as_ref().map(|extension| format!(",{extension}"));
                let number = format!("{e164}{}", extension.unwrap_or_default());
                self.texts(&format!("TEL;TYPE={types}"), &[&number], ';');
            }
            (None, CardVersion::Four) => {
                self.texts(&format!("TEL;VALUE=text;TYPE={types}"), &[&phone.written], ';');
            }
            (None, CardVersion::Three) => self.texts(&format!("TEL;TYPE={types}"), &[&phone.written], ';'),
        }
    }

    fn optional(&mut self, property: &str, text: &str) {
        if !text.is_empty() {
            self.texts(property, &[text], ';');
        }
    }

    /// A value of texts, escaped (RFC 6350 §3.4).
    fn texts(&mut self, property: &str, texts: &[&str], between: char) {
        let mut value = String::new();
        for (place, text) in texts.iter().enumerate() {
            if place > 0 {
                value.push(between);
            }
            for c in text.replace("\r\n", "\n").chars() {
                match c {
                    '\\' | ',' | ';' => value.extend(['\\', c]),
                    '\n' | '\r' | '\u{2028}' | '\u{2029}' => value.push_str("\\n"),
                    c if c.is_control() => value.push(' '),
                    c => value.push(c),
                }
            }
        }
        self.line(property, &value);
    }

    /// A line, folded between characters (RFC 6350 §3.2).
    fn line(&mut self, property: &str, value: &str) {
        let mut octets = 0;
        for c in property.chars().chain([':']).chain(value.chars()) {
            if octets + c.len_utf8() > LINE_OCTETS_MAX {
                self.text.push_str("\r\n ");
                octets = 1;
            }
            self.text.push(c);
            octets += c.len_utf8();
        }
        self.text.push_str("\r\n");
    }
}

/// A parameter's value in quotes (RFC 6868 §3).
fn parameter(text: &str) -> String {
    let text = without_controls(text).replace('^', "^^").replace('"', "^'");
    format!("\"{text}\"")
}

fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// An address as the rest of a SIP URI: what a user part may not hold is percent-encoded (RFC 3261 §25.1).
fn escaped_user(address: &str) -> String {
    let (user, domain) = address.rsplit_once('@').unwrap_or(("", address));
    let mut escaped = String::new();
    for octet in user.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$".contains(&octet) {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    format!("{escaped}@{domain}")
}
