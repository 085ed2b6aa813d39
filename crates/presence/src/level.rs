//! Access levels: the containers that watchers sit in, and what each may see.

#[cfg(test)]
mod tests;

use crate::{Activities, Availability, Capabilities, Class, ContactCard, State};

/// How much a watcher may see; higher sees more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Offline, and cannot tell.
    Blocked,
    /// Available, busy, away, offline; name; capabilities.
    External,
    /// And activities, note, idle, work card.
    Company,
    /// And place; may interrupt do-not-disturb.
    Team,
    /// And all numbers.
    Personal,
}

impl Level {
    /// All of them, lowest first.
    pub const ALL: &[Level] =
        &[Level::Blocked, Level::External, Level::Company, Level::Team, Level::Personal];

    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Level::Blocked => "blocked",
            Level::External => "external",
            Level::Company => "company",
            Level::Team => "team",
            Level::Personal => "personal",
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.iter().copied().find(|level| level.name() == name)
    }

    /// Whether its watchers' calls ring through do-not-disturb.
    pub fn may_interrupt(self) -> bool {
        self >= Level::Team
    }
}

/// Where a watcher stands to the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// A user of ours.
    SameOrganisation,
    /// A user of a partner.
    Federated,
}

/// What a watcher may see of a state, and nothing that it may not: bodies are rendered of this alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// How available.
    pub availability: Availability,
    /// Doing what.
    pub activities: Activities,
    /// Since when idle, in milliseconds since 1970.
    pub idle_since_unix_ms: Option<u64>,
    /// The note.
    pub note: Option<Box<str>>,
    /// The place.
    pub place: Option<Box<str>>,
    /// The devices' capabilities.
    pub capabilities: Option<Capabilities>,
    /// The name.
    pub display_name: Box<str>,
    /// URI of the card.
    pub card: Option<Box<str>>,
    /// URI of the home page.
    pub homepage: Option<Box<str>>,
    /// URI of the picture.
    pub icon: Option<Box<str>>,
}

impl View {
    /// What `level` sees. Whoever is blocked sees what anybody sees of somebody who is offline and wrote no note: a name.
    pub fn of(state: &State, card: &ContactCard, level: Level) -> View {
        let nothing = View {
            availability: Availability::OFFLINE,
            activities: Activities::default(),
            idle_since_unix_ms: None,
            note: None,
            place: None,
            capabilities: None,
            display_name: card.display_name.clone(),
            card: None,
            homepage: None,
            icon: None,
        };
        if level == Level::Blocked {
            return nothing;
        }
        // The card of somebody who is offline would tell that the watcher is not blocked.
        let shown = |uri: &Option<Box<str>>| uri.clone().filter(|_| state.is_open());
        let external = View {
            availability: coarse(state.availability),
            capabilities: state.is_open().then_some(state.capabilities),
            ..nothing
        };
        if level == Level::External {
            return external;
        }
        let company = View {
            availability: state.availability,
            activities: state.activities,
            idle_since_unix_ms: state.idle_since_unix_ms,
            note: state.note.clone(),
            card: shown(&card.card),
            homepage: shown(&card.homepage),
            icon: shown(&card.icon),
            ..external
        };
        if level == Level::Company {
            return company;
        }
        View { place: state.place.clone(), ..company }
    }
}

/// Available, busy, away or offline.
fn coarse(availability: Availability) -> Availability {
    match availability.class() {
        Class::Available | Class::AvailableIdle => Availability::AVAILABLE,
        Class::Busy | Class::BusyIdle | Class::DoNotDisturb => Availability::BUSY,
        Class::BeRightBack | Class::Away => Availability::AWAY,
        Class::Offline => Availability::OFFLINE,
    }
}
