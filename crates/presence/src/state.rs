//! What composition works on.

use std::fmt;

/// Longest note, place or card field that is kept, in octets: a paragraph. More is cut at a character.
pub const TEXT_OCTETS_MAX: usize = 1024;

/// As much of a text as is kept, cut at a character.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_OCTETS_MAX)]
}

/// How available somebody is: a number on the scale of Office Communications Server, where lower is more available.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Availability(u16);

/// The steps of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 3000 to 4499.
    Available,
    /// 4500 to 5999: available, but the device was not touched for a while.
    AvailableIdle,
    /// 6000 to 7499.
    Busy,
    /// 7500 to 8999.
    BusyIdle,
    /// 9000 to 11999.
    DoNotDisturb,
    /// 12000 to 14999.
    BeRightBack,
    /// 15000 to 17999.
    Away,
    /// From 18000.
    Offline,
}

impl Availability {
    /// Available; a device that is registered and published nothing, too.
    pub const AVAILABLE: Availability = Availability(3500);
    /// Available, but idle.
    pub const IDLE: Availability = Availability(5000);
    /// Busy, as in a call.
    pub const BUSY: Availability = Availability(6500);
    /// Busy, but idle.
    pub const BUSY_IDLE: Availability = Availability(7500);
    /// Do not disturb.
    pub const DO_NOT_DISTURB: Availability = Availability(9500);
    /// Back in a moment.
    pub const BE_RIGHT_BACK: Availability = Availability(12_500);
    /// Away.
    pub const AWAY: Availability = Availability(15_500);
    /// Offline.
    pub const OFFLINE: Availability = Availability(18_500);

    /// A number on the scale; below 3000 counts as 3000.
    pub fn new(number: u16) -> Availability {
        Availability(number.max(3000))
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its step.
    pub fn class(self) -> Class {
        match self.0 {
            ..4500 => Class::Available,
            4500..6000 => Class::AvailableIdle,
            6000..7500 => Class::Busy,
            7500..9000 => Class::BusyIdle,
            9000..12_000 => Class::DoNotDisturb,
            12_000..15_000 => Class::BeRightBack,
            15_000..18_000 => Class::Away,
            18_000.. => Class::Offline,
        }
    }
}

impl fmt::Debug for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.0, self.class())
    }
}

macro_rules! activities {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What somebody is doing (RFC 4480 §3.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Activity {
            $($(#[$doc])* $name,)*
        }

        impl Activity {
            /// All of them, in the order of RFC 4480.
            pub const ALL: &[Activity] = &[$(Activity::$name,)*];

            /// The name of its element in RPID.
            pub fn element(self) -> &'static str {
                match self {
                    $(Activity::$name => $text,)*
                }
            }

            /// The activity of this element name.
            pub fn from_element(name: &str) -> Option<Activity> {
                match name {
                    $($text => Some(Activity::$name),)*
                    _ => None,
                }
            }
        }
    };
}

activities! {
    /// A calendar entry.
    Appointment = "appointment",
    /// Physically away.
    Away = "away",
    /// At breakfast.
    Breakfast = "breakfast",
    /// Busy.
    Busy = "busy",
    /// At dinner.
    Dinner = "dinner",
    /// A holiday.
    Holiday = "holiday",
    /// On the way in a vehicle.
    InTransit = "in-transit",
    /// Looking for work.
    LookingForWork = "looking-for-work",
    /// At lunch.
    Lunch = "lunch",
    /// At a meal.
    Meal = "meal",
    /// In a meeting.
    Meeting = "meeting",
    /// On the phone.
    OnThePhone = "on-the-phone",
    /// At a performance.
    Performance = "performance",
    /// Gone for good.
    PermanentAbsence = "permanent-absence",
    /// Playing.
    Playing = "playing",
    /// Giving or hearing a presentation.
    Presentation = "presentation",
    /// Shopping.
    Shopping = "shopping",
    /// Asleep.
    Sleeping = "sleeping",
    /// Watching sports.
    Spectator = "spectator",
    /// Steering a vehicle.
    Steering = "steering",
    /// Travelling.
    Travel = "travel",
    /// Watching television.
    Tv = "tv",
    /// Unknown.
    Unknown = "unknown",
    /// On vacation.
    Vacation = "vacation",
    /// Working.
    Working = "working",
    /// At worship.
    Worship = "worship",
}

/// A set of activities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Activities(u32);

impl Activities {
    /// With one more.
    #[must_use]
    pub fn with(self, activity: Activity) -> Activities {
        Activities(self.0 | 1 << activity as u32)
    }

    /// Whether it holds the activity.
    pub fn has(self, activity: Activity) -> bool {
        self.0 & 1 << activity as u32 != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What either holds.
    #[must_use]
    pub fn union(self, other: Activities) -> Activities {
        Activities(self.0 | other.0)
    }

    /// In the order of RFC 4480.
    pub fn iter(self) -> impl Iterator<Item = Activity> {
        Activity::ALL.iter().copied().filter(move |activity| self.has(*activity))
    }
}

impl FromIterator<Activity> for Activities {
    fn from_iter<I: IntoIterator<Item = Activity>>(activities: I) -> Activities {
        activities.into_iter().fold(Activities::default(), Activities::with)
    }
}

impl fmt::Debug for Activities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a device is known to be able to do (RFC 5196): the media that a caller may offer it. What is false is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// Audio.
    pub audio: bool,
    /// Video.
    pub video: bool,
    /// Instant messages.
    pub message: bool,
    /// Other applications.
    pub application: bool,
}

impl Capabilities {
    /// What either can do.
    #[must_use]
    pub fn union(self, other: Capabilities) -> Capabilities {
        Capabilities {
            audio: self.audio || other.audio,
            video: self.video || other.video,
            message: self.message || other.message,
            application: self.application || other.application,
        }
    }
}

/// What one device published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// How available its owner is there.
    pub availability: Availability,
    /// What its owner does.
    pub activities: Activities,
    /// Since when it was not touched (RFC 4480 §3.13), in milliseconds since 1970.
    pub idle_since_unix_ms: Option<u64>,
    /// What its owner wrote.
    pub note: Option<Box<str>>,
    /// Where its owner is, in words (RFC 4480 §3.5, §3.6).
    pub place: Option<Box<str>>,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl DeviceState {
    /// A device that is registered and published nothing.
    pub const fn registered() -> DeviceState {
        DeviceState {
            availability: Availability::AVAILABLE,
            activities: Activities(0),
            idle_since_unix_ms: None,
            note: None,
            place: None,
            capabilities: Capabilities { audio: false, video: false, message: false, application: false },
        }
    }
}

/// What a person chose by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManualState {
    /// Available; says nothing that devices or calls do not overrule.
    Available,
    /// Busy.
    Busy,
    /// Calls are refused or go elsewhere, messages come quietly.
    DoNotDisturb,
    /// Back in a moment.
    BeRightBack,
    /// Away.
    Away,
    /// Seen as offline, though signed in.
    AppearOffline,
}

impl ManualState {
    /// All of them.
    pub const ALL: &[ManualState] = &[
        ManualState::Available,
        ManualState::Busy,
        ManualState::DoNotDisturb,
        ManualState::BeRightBack,
        ManualState::Away,
        ManualState::AppearOffline,
    ];

    /// The name on the command line, in storage and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ManualState::Available => "available",
            ManualState::Busy => "busy",
            ManualState::DoNotDisturb => "do-not-disturb",
            ManualState::BeRightBack => "be-right-back",
            ManualState::Away => "away",
            ManualState::AppearOffline => "appear-offline",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<ManualState> {
        ManualState::ALL.iter().copied().find(|state| state.name() == name)
    }

    /// Where it stands on the scale.
    pub fn availability(self) -> Availability {
        match self {
            ManualState::Available => Availability::AVAILABLE,
            ManualState::Busy => Availability::BUSY,
            ManualState::DoNotDisturb => Availability::DO_NOT_DISTURB,
            ManualState::BeRightBack => Availability::BE_RIGHT_BACK,
            ManualState::Away => Availability::AWAY,
            ManualState::AppearOffline => Availability::OFFLINE,
        }
    }
}

/// What a person chose and wrote, kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Manual {
    /// The choice; `None` is automatic.
    pub state: Option<ManualState>,
    /// When the choice ends by itself, in milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
    /// The person's own note; wins over those of devices.
    pub note: Option<Note>,
}

impl Manual {
    /// The choice that is in force.
    pub fn state_at(&self, now_unix_ms: u64) -> Option<ManualState> {
        self.state.filter(|_| self.expires_unix_ms.is_none_or(|expires| now_unix_ms < expires))
    }

    /// The note that is in force.
    pub fn note_at(&self, now_unix_ms: u64) -> Option<&str> {
        let note = self.note.as_ref()?;
        note.expires_unix_ms.is_none_or(|expires| now_unix_ms < expires).then_some(&*note.text)
    }

    /// When time alone changes it next, in milliseconds since 1970.
    pub fn next_change(&self, now_unix_ms: u64) -> Option<u64> {
        let state = self.state.and(self.expires_unix_ms);
        let note = self.note.as_ref().and_then(|note| note.expires_unix_ms);
        state.into_iter().chain(note).filter(|expires| *expires > now_unix_ms).min()
    }
}

/// A note of a person's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// At most [`TEXT_OCTETS_MAX`].
    pub text: Box<str>,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
}

/// Who somebody is (RFC 4482).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ContactCard {
    /// The name that people see.
    pub display_name: Box<str>,
    /// A URI of a card (`<card>`).
    pub card: Option<Box<str>>,
    /// A URI of a home page.
    pub homepage: Option<Box<str>>,
    /// A URI of a picture.
    pub icon: Option<Box<str>>,
}
