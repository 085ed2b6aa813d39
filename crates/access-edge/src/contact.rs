//! Contacts of the inside, as others see them.
//!
//! A Contact (RFC 3261 §8.1.1.8) names the host that a request of the dialog is to reach: a server of ours, or a device with an
//! address that is ours to know. Nothing outside is ever routed by it, since our entry in Route leads; so others see an address of the
//! organisation instead, in the form of a GRUU (RFC 5627 §3): `sip:USER@DOMAIN;gr=TOKEN`. The token is the Contact, sealed.
//!
//! Within its dialog the address comes back as the Request-URI, and is the Contact again. Everywhere else it means the person, as in
//! the Refer-To of a transfer (RFC 5589 §7.5): whoever is sent there asks like anybody, and is judged like anybody. So a token opens
//! no way that is not open without it, and needs to be bound to no dialog.
//!
//! Our own users outside see the Contacts of devices as they are, and no server's.
//!
//! The other way too: a Contact of another organisation that is no address of its domain, but of a device or a server there, is seen inside as such an
//! address of that organisation. Within its dialog it is the Contact again. Everywhere else it means the person at the other end of that dialog, at
//! that very organisation, so that somebody of ours can be sent there (RFC 5589 §6.1); the Contact itself would lead nowhere, and never chooses
//! where a request goes.

use std::borrow::Cow;

use sip_message::{HeaderId, Message, NameAddr, Scheme, Uri};

use crate::border::Entries;
use crate::pipeline::domain_of;
use crate::token::{Party, Purpose, Sealed, Sealer};

/// Whom a Contact is shown to, and as whose.
pub(crate) struct Audience<'a> {
    pub(crate) party: &'a Party,
    /// The address of the end that has the Contact: From of a request, To of a response.
    pub(crate) person: Option<Uri<'a>>,
}

impl Entries {
    /// The Contacts of a message from inside as they are shown; `None` where they show nothing of the inside.
    pub(crate) fn shown_contacts(&self, message: &Message, audience: &Audience<'_>) -> Option<String> {
        let mut shows_other = false;
        let shown = message.elements(HeaderId::Contact).map(|contact| {
            let hidden = self.hide(contact, audience);
            shows_other |= hidden.is_some();
            hidden.map_or_else(|| String::from_utf8_lossy(contact), Cow::Owned)
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        shows_other.then_some(shown)
    }

    fn hide(&self, contact: &[u8], Audience { party, person }: &Audience<'_>) -> Option<String> {
        let contact = str::from_utf8(contact).ok()?.trim();
        let uri = NameAddr::parse(contact.as_bytes()).ok()?.uri;
        let is_hidden = match party {
            Party::User(_) => self.is_server(&uri),
            Party::Partner(_) | Party::Members(..) => !self.is_ours(&uri),
        };
        if !uri.is_sip() || !is_hidden {
            return None;
        }
        let sealed = Sealed {
            purpose: Purpose::Contact,
            party: (*party).clone(),
            dialog: [0; 16],
            called: None,
            routes: vec![uri.as_str().to_owned()],
        };
        let person = person.filter(|person| self.is_ours(person));
        let domain =
            person.and_then(|person| domain_of(&person)).or_else(|| self.domains.first().cloned())?;
        Some(self.in_place_of(contact, &uri, (person, &domain), &sealed))
    }

    /// A Contact with an address of a domain, its person's where there is one, and with what is sealed.
    fn in_place_of(
        &self,
        contact: &str,
        uri: &Uri<'_>,
        (person, domain): (Option<Uri<'_>>, &str),
        sealed: &Sealed,
    ) -> String {
        let token = self.sealer.seal(sealed);
        let scheme = if uri.scheme() == Scheme::Sips { "sips" } else { "sip" };
        let user = person.and_then(|person| person.user().map(|user| format!("{user}@"))).unwrap_or_default();
        with_uri(contact, uri, &format!("{scheme}:{user}{domain};gr={token}"))
    }

    /// The Contact of a message from another organisation as it is shown inside; `None` where it is an address of its domain already, and
    /// where there are several: then none of them is a dialog's (RFC 3261 §8.1.1.8), and each would grow.
    /// `person` is the address of the end that has it.
    pub(crate) fn their_contact(
        &self,
        message: &Message,
        domain: &str,
        person: Option<Uri<'_>>,
    ) -> Option<String> {
        let mut contacts = message.elements(HeaderId::Contact);
        let (Some(contact), None) = (contacts.next(), contacts.next()) else { return None };
        let contact = str::from_utf8(contact).ok()?.trim();
        let uri = NameAddr::parse(contact.as_bytes()).ok()?.uri;
        if !uri.is_sip() || domain_of(&uri).as_deref() == Some(domain) {
            return None;
        }
        let person = person.filter(|person| domain_of(person).as_deref() == Some(domain));
        let sealed = Sealed {
            purpose: Purpose::TheirContact,
            party: Party::Partner(domain.to_owned()),
            dialog: [0; 16],
            called: None,
            routes: vec![uri.as_str().to_owned()],
        };
        Some(self.in_place_of(contact, &uri, (person, domain), &sealed))
    }

    /// What we have shown inside of somebody else's Contact, as it leaves: to that organisation, `within` a dialog with it, the Contact again; else
    /// the person. `None` where the URI is none of these.
    pub(crate) fn their_uri(&self, uri: &Uri<'_>, within: Option<&str>) -> Option<String> {
        let sealed = self.sealer.open(uri.params().get("gr")?).ok()?;
        if sealed.purpose != Purpose::TheirContact {
            return None;
        }
        let is_theirs = matches!((&sealed.party, within), (Party::Partner(of), Some(domain)) if of == domain);
        let meant = match is_theirs {
            true => sealed.routes.into_iter().next()?,
            false => uri.without_params().to_string(),
        };
        let mark = if uri.headers_text().is_empty() { "" } else { "?" };
        Some([&meant, mark, uri.headers_text()].concat())
    }

    /// Refer-To of what goes to another organisation, where it names a Contact that we have shown inside.
    pub(crate) fn refer_to_them(&self, message: &Message, domain: &str) -> Option<String> {
        let value = str::from_utf8(message.header(HeaderId::ReferTo)?).ok()?;
        let uri = NameAddr::parse(value.as_bytes()).ok()?.uri;
        let meant = self.their_uri(&uri, Some(domain))?;
        Some(with_uri(value, &uri, &meant))
    }

    /// A Contact that was shown outside and comes back in its dialog; `None` where the URI is none, or of a key that is gone.
    pub(crate) fn contact_behind(&self, uri: &Uri<'_>) -> Option<String> {
        let sealed = self.sealer.open(uri.params().get("gr")?).ok()?;
        if !self.is_ours(uri) || sealed.purpose != Purpose::Contact {
            return None;
        }
        sealed.routes.into_iter().next()
    }

    /// The person behind a Contact that was shown outside, with what the URI says beside it (RFC 3891 in a Refer-To); `None` where it is none.
    pub(crate) fn person_behind(&self, uri: &Uri<'_>) -> Option<String> {
        let is_shown = self.is_ours(uri) && uri.params().get("gr").is_some_and(Sealer::is_token);
        let mark = if uri.headers_text().is_empty() { "" } else { "?" };
        is_shown.then(|| [uri.without_params(), mark, uri.headers_text()].concat())
    }

    /// Refer-To without what only its dialog means; `None` where it is to stay as it is.
    pub(crate) fn refer_to_person(&self, message: &Message) -> Option<String> {
        let value = str::from_utf8(message.header(HeaderId::ReferTo)?).ok()?;
        let uri = NameAddr::parse(value.as_bytes()).ok()?.uri;
        let person = self.person_behind(&uri)?;
        Some(with_uri(value, &uri, &person))
    }

    fn is_ours(&self, uri: &Uri<'_>) -> bool {
        domain_of(uri).is_some_and(|domain| self.domains.contains(&domain))
    }

    fn is_server(&self, uri: &Uri<'_>) -> bool {
        self.servers.iter().any(|server| server.eq_ignore_ascii_case(uri.host_text()))
    }
}

/// An element of a header with another URI in angle brackets; display name and parameters stay.
fn with_uri(element: &str, uri: &Uri<'_>, other: &str) -> String {
    // The URI is a slice of the element.
    let start = uri.as_str().as_ptr().addr() - element.as_ptr().addr();
    let before = element[..start].trim_end_matches('<');
    let after = element[start + uri.as_str().len()..].trim_start_matches('>');
    format!("{before}<{other}>{after}")
}
