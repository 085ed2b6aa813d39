//! What a home keeps of a person.

use std::hash::Hasher;

use bytes::Bytes;
use directory::{SipAddress, UserId};
use presence::{ContactCard, DeviceState, Level, Manual, State, View, pidf, uri_of_address};
use sip_stack::dialog::SubscriptionId;
use sip_stack::publication::PublicationId;
use sip_stack::timer::TimerId;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::frontend::FrontEnd;
use crate::messaging::mailbox::DeviceId;
use crate::people::Someone;
use crate::presence::lists::RowRef;
use crate::registration::device_on_flow;
use crate::users::Account;

/// Devices of a person that are composed without an allocation.
pub(crate) const DEVICES_INLINE: usize = 4;

/// A person as presence knows one.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) manual: Manual,
    /// When the choice or the note ends by itself.
    pub(crate) manual_timer: Option<TimerId>,
    /// When time changes what the access rules say.
    pub(crate) rules_timer: Option<TimerId>,
    /// As composed last; watchers may not know it yet.
    pub(crate) state: State,
    /// What watchers were told; `None` while there is none.
    pub(crate) told: Option<Box<Told>>,
}

/// What a person's watchers were told, and who they are.
#[derive(Debug)]
pub(crate) struct Told {
    state: State,
    card: ContactCard,
    /// The documents, by level, once somebody needed them.
    faces: [Option<Face>; Level::ALL.len()],
    /// Who watches by a subscription of their own, in no order of meaning.
    pub(crate) watching: Vec<Watching>,
    /// Who watches through a list, in no order of meaning.
    pub(crate) rows: Vec<RowRef>,
    /// While it runs, changes are gathered.
    pub(crate) window: Option<TimerId>,
    /// There is something that watchers were not told.
    pub(crate) is_behind: bool,
}

/// A watcher by a subscription of its own.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    pub(crate) id: SubscriptionId,
    pub(crate) watcher: Someone,
    pub(crate) level: Level,
}

/// What one level sees: rendered once, shared by all.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    pub(crate) body: Bytes,
    pub(crate) tag: Tag,
}

/// The entity tag of what is told (RFC 5839): a digest of the document under a key of this start, so that what looks the same has the
/// same tag, whoever is asked about whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag([u8; 16]);

impl Tag {
    fn of(key: u64, body: &[u8]) -> Tag {
        let mut hasher = SipHasher13::new_with_keys(key, 0);
        hasher.write(body);
        let mut tag = [0; 16];
        hex::encode_to_slice(hasher.finish().to_be_bytes(), &mut tag).expect("8 octets are 16 digits");
        Tag(tag)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are a text")
    }
}

/// A set of levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels(u8);

/// A device as it goes into composition.
pub(crate) struct Device<'a> {
    /// `None` for a publication of no device that is registered.
    pub(crate) id: Option<DeviceId>,
    /// Where its state is from; `None` where it published nothing.
    pub(crate) publication: Option<PublicationId>,
    pub(crate) state: &'a DeviceState,
}

/// Of a device that published nothing.
static REGISTERED: DeviceState = DeviceState::registered();

impl Person {
    pub(crate) fn new(manual: Manual) -> Person {
        let nobody = presence::Inputs { devices: &[], manual: &Manual::default(), calls: 0, now_unix_ms: 0 };
        Person {
            manual,
            manual_timer: None,
            rules_timer: None,
            state: presence::compose(&nobody),
            told: None,
        }
    }
}

impl Told {
    pub(crate) fn new(state: State, card: ContactCard) -> Told {
        Told {
            state,
            card,
            faces: Default::default(),
            watching: Vec::new(),
            rows: Vec::new(),
            window: None,
            is_behind: false,
        }
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.watching.len() + self.rows.len()
    }

    /// Watchers are about to be told this; gives who sees a difference.
    pub(crate) fn tell(&mut self, state: &State, card: ContactCard) -> Levels {
        let mut changed = Levels::default();
        for (level, face) in Level::ALL.iter().zip(&mut self.faces) {
            // Nobody was shown a level without a face.
            let (old, new) = (View::of(&self.state, &self.card, *level), View::of(state, &card, *level));
            if face.is_none() && old != new || differ(&old, &new) {
                changed = changed.with(*level);
                *face = None;
            }
        }
        self.state = state.clone();
        self.card = card;
        changed
    }

    /// Whether two levels see the same.
    pub(crate) fn looks_alike(&self, one: Level, other: Level) -> bool {
        let view = |level| View::of(&self.state, &self.card, level);
        one == other || !differ(&view(one), &view(other))
    }

    /// The same in the words of who knows the person by another address; few do.
    pub(crate) fn document_as(&self, level: Level, uri: &str) -> Bytes {
        Bytes::from(pidf::render(&View::of(&self.state, &self.card, level), uri))
    }

    /// The address in the documents is another one.
    pub(crate) fn forget_faces(&mut self) {
        self.faces = Default::default();
    }

    /// What a level sees.
    pub(crate) fn face(&mut self, level: Level, address: &SipAddress, key: u64) -> &Face {
        let (state, card) = (&self.state, &self.card);
        self.faces[level as usize].get_or_insert_with(|| {
            let view = View::of(state, card, level);
            let body = Bytes::from(pidf::render(&view, &uri_of_address(address)));
            Face { tag: Tag::of(key, &body), body }
        })
    }
}

/// Whether a watcher could tell one from the other: a document does not say all that a view holds.
fn differ(one: &View, other: &View) -> bool {
    one != other && pidf::render(one, "") != pidf::render(other, "")
}

impl Levels {
    fn with(self, level: Level) -> Levels {
        Levels(self.0 | 1 << level as u8)
    }

    pub(crate) fn holds(self, level: Level) -> bool {
        self.0 & 1 << level as u8 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FrontEnd {
    /// What a user's watchers were told; from now on there is somebody to be told.
    pub(crate) fn told_mut(&mut self, user: UserId) -> &mut Told {
        let account = self.users.get(user).expect("the caller looked the user up");
        let card = account.person.told.is_none().then(|| self.card_of(account));
        let person = &mut self.users.get_mut(user).expect("it was just found").person;
        let state = &person.state;
        person.told.get_or_insert_with(|| {
            Box::new(Told::new(state.clone(), card.expect("it was made for a person nobody watches")))
        })
    }

    /// A user's devices: those that are registered, in order of registration, each with what it published last; then
    /// publications of no registered device.
    pub(crate) fn devices_at<'a>(&'a self, account: &'a Account) -> SmallVec<[Device<'a>; DEVICES_INLINE]> {
        let mut devices: SmallVec<[Device<'a>; DEVICES_INLINE]> = SmallVec::new();
        for binding in account.bindings.iter() {
            if !devices.iter().any(|device| device.id == Some(binding.device)) {
                devices.push(Device { id: Some(binding.device), publication: None, state: &REGISTERED });
            }
        }
        for (id, publication) in self.publications.of_resource(account.user.address.as_str()) {
            let of = publication.device.or_else(|| device_on_flow(account, publication.flow));
            let known = devices.iter_mut().find(|device| device.id.is_some() && device.id == of);
            let state = &publication.state;
            match known {
                Some(device) => (device.publication, device.state) = (Some(id), state),
                None => devices.push(Device { id: None, publication: Some(id), state }),
            }
        }
        devices
    }

    /// Who a user is: the name that the directory knows, and what devices published besides.
    pub(crate) fn card_of(&self, account: &Account) -> ContactCard {
        let mut card =
            ContactCard { display_name: account.user.display_name.as_str().into(), ..ContactCard::default() };
        for (_, publication) in self.publications.of_resource(account.user.address.as_str()) {
            // Of several the one that began last.
            let published = &publication.card;
            for (field, value) in [
                (&mut card.card, &published.card),
                (&mut card.homepage, &published.homepage),
                (&mut card.icon, &published.icon),
            ] {
                if value.is_some() {
                    field.clone_from(value);
                }
            }
        }
        card
    }
}
