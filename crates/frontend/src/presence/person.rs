//! What a home keeps of a person.

use std::borrow::Cow;

use bytes::Bytes;
use directory::UserId;
use presence::{ContactCard, DeviceState, Level, Manual, State, View, pidf};
use sip_stack::dialog::SubscriptionId;
use sip_stack::publication::PublicationId;
use sip_stack::timer::TimerId;
use smallvec::SmallVec;

use crate::frontend::FrontEnd;
use crate::messaging::mailbox::DeviceId;
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
    bodies: [Option<Bytes>; Level::ALL.len()],
    /// Who watches by a subscription of their own, in no order of meaning.
    pub(crate) watching: Vec<Watching>,
    /// While it runs, changes are gathered.
    pub(crate) window: Option<TimerId>,
    /// There is something that watchers were not told.
    pub(crate) is_behind: bool,
}

/// A watcher by a subscription of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watching {
    pub(crate) id: SubscriptionId,
    pub(crate) watcher: UserId,
    pub(crate) level: Level,
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
    pub(crate) state: Cow<'a, DeviceState>,
}

impl Person {
    pub(crate) fn new(manual: Manual) -> Person {
        let nobody = presence::Inputs { devices: &[], manual: &Manual::default(), calls: 0, now_unix_ms: 0 };
        Person { manual, manual_timer: None, state: presence::compose(&nobody), told: None }
    }
}

impl Told {
    pub(crate) fn new(state: State, card: ContactCard) -> Told {
        Told { state, card, bodies: Default::default(), watching: Vec::new(), window: None, is_behind: false }
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> usize {
        self.watching.len()
    }

    /// Watchers are about to be told this; gives who sees a difference.
    pub(crate) fn tell(&mut self, state: &State, card: ContactCard) -> Levels {
        let mut changed = Levels::default();
        for (level, body) in Level::ALL.iter().zip(&mut self.bodies) {
            if View::of(&self.state, &self.card, *level) != View::of(state, &card, *level) {
                changed = changed.with(*level);
                *body = None;
            }
        }
        self.state = state.clone();
        self.card = card;
        changed
    }

    /// Whether two levels see the same.
    pub(crate) fn looks_alike(&self, one: Level, other: Level) -> bool {
        one == other || View::of(&self.state, &self.card, one) == View::of(&self.state, &self.card, other)
    }

    /// The document for a level: rendered once, shared by all.
    pub(crate) fn body(&mut self, level: Level, address: &str) -> Bytes {
        let (state, card) = (&self.state, &self.card);
        let render = || {
            let entity = ["sip:", address].concat();
            Bytes::from(pidf::render(&View::of(state, card, level), &entity))
        };
        self.bodies[level as usize].get_or_insert_with(render).clone()
    }
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
    /// A user's devices: those that are registered, in order of registration, each with what it published last; then
    /// publications of no registered device.
    pub(crate) fn devices_at<'a>(&'a self, account: &'a Account) -> SmallVec<[Device<'a>; DEVICES_INLINE]> {
        let mut devices: SmallVec<[Device<'a>; DEVICES_INLINE]> = SmallVec::new();
        for binding in account.bindings.iter() {
            if !devices.iter().any(|device| device.id == Some(binding.device)) {
                let state = Cow::Owned(DeviceState::registered());
                devices.push(Device { id: Some(binding.device), publication: None, state });
            }
        }
        for (id, publication) in self.publications.of_resource(account.user.address.as_str()) {
            let of = publication.device.or_else(|| device_on_flow(account, publication.flow));
            let known = devices.iter_mut().find(|device| device.id.is_some() && device.id == of);
            let state = Cow::Borrowed(&publication.state);
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
