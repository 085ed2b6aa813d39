//! What a device published.

use crate::state::cut;
use crate::xml::{Bounds, Document, Element, Leniency, XmlError};
use crate::{Activities, Activity, Availability, Capabilities, ContactCard, DeviceState, time};

use super::{BE_RIGHT_BACK, DO_NOT_DISTURB, PIDF};

/// How large a publication may be. A telephone's is under one KiB; the longest note, a person, a few devices and a dozen
/// services come to 8. Depth and number of elements are twice what the schemas let such a document have.
pub const BOUNDS: Bounds = Bounds { octets_max: 16 * 1024, depth_max: 16, elements_max: 512 };

/// Contacts and device identifiers that are kept of one publication. They find the device that published it; a
/// document that speaks of more is about something else than one device.
pub(super) const CONTACTS_MAX: usize = 8;
/// Longest URI that is kept.
const URI_OCTETS_MAX: usize = 512;

/// Why a document was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PidfError {
    /// Too large, or no XML that is taken (400, or 413 where it is too large).
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but no PIDF (415).
    #[error("the outermost element is not <presence> of PIDF")]
    NotPresence,
    /// PIDF that says nothing: neither a tuple with a basic status, nor a person, nor a note (400).
    #[error("the document says nothing about anybody")]
    Empty,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Whom it is about, as written; the publisher's word only.
    pub entity: Box<str>,
    /// The device's state. Where the device is idle and did not say since when, that time is missing.
    pub state: DeviceState,
    /// Whether the device said that it is idle (RFC 4480 §3.13).
    pub is_idle: bool,
    /// What it says of the person's name and addresses (RFC 4482).
    pub card: ContactCard,
    /// Contact URIs of its services, in their order.
    pub contacts: Vec<Box<str>>,
    /// Device identifiers (RFC 4479 §3.7), which may be the instance of a registration.
    pub device_ids: Vec<Box<str>>,
}

impl Published {
    /// The device's state as of now: a device that is idle without saying since when is idle since now, and nobody has been idle
    /// since the future.
    pub fn into_state(self, now_unix_ms: u64) -> DeviceState {
        let since = self.state.idle_since_unix_ms.unwrap_or(now_unix_ms).min(now_unix_ms);
        DeviceState { idle_since_unix_ms: self.is_idle.then_some(since), ..self.state }
    }
}

/// Reads a publication.
pub fn read(body: &[u8]) -> Result<Published, PidfError> {
    let document = Document::read(body, &BOUNDS, Leniency::Clients)?;
    let root = document.root();
    // COMPAT: some clients declare the namespace with a prefix and then do not use it.
    if root.local() != "presence" || !(root.namespace() == PIDF || root.namespace().is_empty()) {
        return Err(PidfError::NotPresence);
    }
    let mut reading = Reading::default();
    for child in root.children() {
        match child.local() {
            "tuple" => reading.tuple(child),
            "person" | "device" => reading.part(child),
            // Outside of a tuple, extensions of elder drafts.
            _ => reading.extension(child),
        }
    }
    reading.finish(root.attribute("entity").unwrap_or_default())
}

/// Which of several notes counts: the more personal one. In the order of preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NotePlace {
    Person,
    Activities,
    Tuple,
    Presence,
}

#[derive(Default)]
struct Reading<'d> {
    is_open: bool,
    is_closed: bool,
    is_online: bool,
    is_person: bool,
    activities: Activities,
    convention: Option<Convention>,
    is_idle: bool,
    is_active: bool,
    idle_since_unix_ms: Option<u64>,
    note: Option<(NotePlace, &'d str)>,
    place: Option<&'d str>,
    capabilities: Capabilities,
    card: ContactCard,
    contacts: Vec<Box<str>>,
    device_ids: Vec<Box<str>>,
}

/// What clients say beyond RPID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Convention {
    BeRightBack,
    DoNotDisturb,
}

impl Convention {
    /// Elements of clients' own and words in `<other>` or as the whole note.
    fn of(words: &str) -> Option<Convention> {
        let is = |name: &&str| words.trim().eq_ignore_ascii_case(name);
        let do_not_disturb =
            [DO_NOT_DISTURB, "dnd", "do-not-disturb", "donotdisturb", "do_not_disturb", "not_reachable"];
        let be_right_back = [BE_RIGHT_BACK, "brb", "be-right-back", "berightback"];
        if do_not_disturb.iter().any(is) {
            return Some(Convention::DoNotDisturb);
        }
        be_right_back.iter().any(is).then_some(Convention::BeRightBack)
    }
}

impl<'d> Reading<'d> {
    fn tuple(&mut self, tuple: Element<'d, '_>) {
        for child in tuple.children() {
            match child.local() {
                "status" => self.status(child),
                "contact" => keep(&mut self.contacts, child.characters()),
                "note" => self.note(NotePlace::Tuple, child),
                _ => self.extension(child),
            }
        }
    }

    fn status(&mut self, status: Element<'d, '_>) {
        for child in status.children() {
            match child.local() {
                "basic" if child.characters().eq_ignore_ascii_case("open") => self.is_open = true,
                "basic" if child.characters().eq_ignore_ascii_case("closed") => self.is_closed = true,
                "basic" => {}
                "online" => self.is_online = true,
                _ => self.extension(child),
            }
        }
    }

    /// A person or a device of the data model.
    fn part(&mut self, part: Element<'d, '_>) {
        self.is_person |= part.local() == "person";
        for child in part.children() {
            match child.local() {
                "note" => self.note(NotePlace::Person, child),
                "deviceID" => keep(&mut self.device_ids, child.characters()),
                _ => self.extension(child),
            }
        }
    }

    /// What is known wherever it stands.
    fn extension(&mut self, element: Element<'d, '_>) {
        let words = element.characters();
        match element.local() {
            "activities" => self.activities(element),
            // Of drafts of RPID.
            "activity" => self.activity(words),
            "user-input" | "idle" => self.user_input(element),
            "place-type" | "place-is" => self.place(element),
            "note" => self.note(NotePlace::Presence, element),
            "servcaps" | "devcaps" => self.capabilities(element),
            "card" => keep_first(&mut self.card.card, words),
            "homepage" => keep_first(&mut self.card.homepage, words),
            "icon" => keep_first(&mut self.card.icon, words),
            "display-name" if self.card.display_name.is_empty() => {
                self.card.display_name = cut(words).into();
            }
            _ => {}
        }
    }

    fn activities(&mut self, activities: Element<'d, '_>) {
        for child in activities.children() {
            match child.local() {
                "note" => self.note(NotePlace::Activities, child),
                "other" => self.activity(child.characters()),
                name => self.activity(name),
            }
        }
    }

    fn activity(&mut self, name: &str) {
        self.convention = self.convention.max(Convention::of(name));
        if let Some(activity) = Activity::from_element(name) {
            self.activities = self.activities.with(activity);
        }
    }

    fn user_input(&mut self, element: Element<'d, '_>) {
        if element.local() == "user-input" && !element.characters().eq_ignore_ascii_case("idle") {
            self.is_active = true;
            return;
        }
        self.is_idle = true;
        let since = element.attribute("last-input").or(element.attribute("since")).and_then(time::parse);
        self.idle_since_unix_ms = self.idle_since_unix_ms.max(since);
    }

    fn place(&mut self, element: Element<'d, '_>) {
        let inner = element.children().find_map(|child| match (child.local(), element.local()) {
            ("other" | "note", _) => Some(child.characters()),
            // How loud or bright it is there says nothing of where.
            (_, "place-is") => None,
            (name, _) => Some(name),
        });
        let words = inner.unwrap_or(element.characters());
        if self.place.is_none() && !words.is_empty() {
            self.place = Some(words);
        }
    }

    fn note(&mut self, place: NotePlace, element: Element<'d, '_>) {
        let words = element.characters();
        if !words.is_empty() && self.note.is_none_or(|(known, _)| place < known) {
            self.note = Some((place, words));
        }
    }

    fn capabilities(&mut self, element: Element<'d, '_>) {
        for child in element.children() {
            let is_there = matches!(child.characters(), "true" | "1");
            let capabilities = &mut self.capabilities;
            match child.local() {
                "audio" => capabilities.audio |= is_there,
                "video" => capabilities.video |= is_there,
                "message" | "text" => capabilities.message |= is_there,
                "application" => capabilities.application |= is_there,
                _ => {}
            }
        }
    }

    fn finish(mut self, entity: &str) -> Result<Published, PidfError> {
        // Whoever touches one thing is not idle at another.
        if self.is_active {
            (self.is_idle, self.idle_since_unix_ms) = (false, None);
        }
        if !self.is_open && !self.is_closed && !self.is_person && self.note.is_none() {
            return Err(PidfError::Empty);
        }
        let convention = self.convention.max(self.note.and_then(|(_, note)| Convention::of(note)));
        let state = DeviceState {
            availability: self.availability(convention),
            activities: self.activities,
            idle_since_unix_ms: self.idle_since_unix_ms,
            note: self.note.map(|(_, note)| cut(note).into()),
            place: self.place.map(|place| cut(place).into()),
            capabilities: self.capabilities,
        };
        Ok(Published {
            entity: cut(entity).into(),
            state,
            is_idle: self.is_idle,
            card: self.card,
            contacts: self.contacts,
            device_ids: self.device_ids,
        })
    }

    fn availability(&self, convention: Option<Convention>) -> Availability {
        let activities = self.activities;
        // A document of a person alone is about somebody who is there.
        if !self.is_open && self.is_closed {
            // COMPAT: liblinphone publishes do-not-disturb as a closed service of a busy person.
            let is_do_not_disturb =
                convention == Some(Convention::DoNotDisturb) || activities.has(Activity::Busy);
            return if is_do_not_disturb { Availability::DO_NOT_DISTURB } else { Availability::OFFLINE };
        }
        match convention {
            Some(Convention::DoNotDisturb) => return Availability::DO_NOT_DISTURB,
            Some(Convention::BeRightBack) => return Availability::BE_RIGHT_BACK,
            None => {}
        }
        // COMPAT: liblinphone says <online/> where the person is available, whatever the activities are.
        let is_away = !self.is_online && activities.iter().any(means_away);
        let is_busy = !self.is_online && activities.iter().any(means_busy);
        match (is_away, is_busy, self.is_idle) {
            (true, _, _) => Availability::AWAY,
            (false, true, true) => Availability::BUSY_IDLE,
            (false, true, false) => Availability::BUSY,
            (false, false, true) => Availability::IDLE,
            (false, false, false) => Availability::AVAILABLE,
        }
    }
}

/// Whether somebody who does it is not at the device.
fn means_away(activity: Activity) -> bool {
    use Activity::{
        Away, Breakfast, Dinner, Holiday, InTransit, Lunch, Meal, PermanentAbsence, Shopping, Sleeping,
        Travel, Vacation,
    };
    matches!(
        activity,
        Away | Breakfast
            | Dinner
            | Holiday
            | InTransit
            | Lunch
            | Meal
            | PermanentAbsence
            | Shopping
            | Sleeping
            | Travel
            | Vacation
    )
}

/// Whether somebody who does it is better left alone.
fn means_busy(activity: Activity) -> bool {
    use Activity::{
        Appointment, Busy, Meeting, OnThePhone, Performance, Presentation, Spectator, Steering, Worship,
    };
    matches!(
        activity,
        Appointment
            | Busy
            | Meeting
            | OnThePhone
            | Performance
            | Presentation
            | Spectator
            | Steering
            | Worship
    )
}

fn keep(kept: &mut Vec<Box<str>>, uri: &str) {
    if !uri.is_empty() && uri.len() <= URI_OCTETS_MAX && kept.len() < CONTACTS_MAX {
        kept.push(uri.into());
    }
}

fn keep_first(kept: &mut Option<Box<str>>, uri: &str) {
    if kept.is_none() && !uri.is_empty() && uri.len() <= URI_OCTETS_MAX {
        *kept = Some(uri.into());
    }
}
