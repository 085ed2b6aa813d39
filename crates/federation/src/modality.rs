//! What a message needs to be allowed: presence, messages, audio, video.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use sip_message::{HeaderId, Message, Method, sdp};

/// Something that a relationship allows or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// Who is where.
    Presence,
    /// Messages, typing, receipts.
    Im,
    /// Calls with sound; every call is at least this.
    Audio,
    /// Calls with a picture.
    Video,
}

impl Modality {
    /// Every modality.
    pub const ALL: [Modality; 4] = [Modality::Presence, Modality::Im, Modality::Audio, Modality::Video];

    /// As the policy writes it.
    pub fn name(self) -> &'static str {
        match self {
            Modality::Presence => "presence",
            Modality::Im => "im",
            Modality::Audio => "audio",
            Modality::Video => "video",
        }
    }

    /// The modality of this name.
    pub fn from_name(name: &str) -> Option<Modality> {
        Modality::ALL.into_iter().find(|modality| modality.name() == name)
    }

    /// What it is called when people are spoken to.
    pub fn title(self) -> &'static str {
        match self {
            Modality::Presence => "presence",
            Modality::Im => "instant messages",
            Modality::Audio => "calls",
            Modality::Video => "video",
        }
    }
}

/// A set of modalities. What needs none is signalling that every relationship carries, such as BYE or OPTIONS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Modalities(u8);

impl Modalities {
    /// Signalling alone.
    pub const NONE: Modalities = Modalities(0);
    /// Everything.
    pub const ALL: Modalities = Modalities(0b1111);

    /// Those in the set, in the order of [`Modality::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Modality> {
        Modality::ALL.into_iter().filter(move |modality| self.contains(*modality))
    }

    /// Whether it is in the set.
    pub fn contains(self, modality: Modality) -> bool {
        self.0 & Modalities::from(modality).0 != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both.
    pub fn and(self, other: Modalities) -> Modalities {
        Modalities(self.0 & other.0)
    }

    /// What is in this and not in the other.
    pub fn without(self, other: Modalities) -> Modalities {
        Modalities(self.0 & !other.0)
    }

    /// What the message needs.
    ///
    /// - MESSAGE and message sessions are `im`; every subscription and publication is `presence`, but for the progress
    ///   of a transfer (RFC 3515 §2.4.4).
    /// - INVITE is at least `audio`, also without an offer: the media come later, and cannot be refused any more when they do.
    /// - In everything else that bears a session description its streams decide, so that a call cannot grow a picture that
    ///   it was not allowed to begin with. A stream with port 0 is none (RFC 3264 §6).
    /// - A description that cannot be read may be anything: it needs everything a call can need.
    pub fn of(message: &Message) -> Modalities {
        if !message.is_request() {
            return streams(message);
        }
        match message.method() {
            Method::Message => Modality::Im.into(),
            Method::Subscribe | Method::Notify if is_about_transfer(message) => Modalities::NONE,
            Method::Subscribe | Method::Notify | Method::Publish => Modality::Presence.into(),
            Method::Invite => match streams(message) {
                needed if needed.contains(Modality::Im) => needed,
                needed => needed | Modality::Audio.into(),
            },
            _ => streams(message),
        }
    }
}

fn is_about_transfer(message: &Message) -> bool {
    let event = message.header(HeaderId::Event).unwrap_or_default();
    let package = event.split(|b| *b == b';').next().unwrap_or_default();
    package.trim_ascii().eq_ignore_ascii_case(b"refer")
}

fn streams(message: &Message) -> Modalities {
    let media_type = message.content_type();
    let is_session = media_type.eq_ignore_ascii_case("application/sdp");
    // A description may hide in a multipart body; it then counts as one that cannot be read.
    let may_hold_session = media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    if message.body().is_empty() || !is_session && !may_hold_session {
        return Modalities::NONE;
    }
    let Ok(session) = sdp::Session::parse(message.body()) else {
        return Modalities::from(Modality::Audio) | Modality::Video.into();
    };
    let mut needed = Modalities::NONE;
    for media in session.media.iter().filter(|media| media.port != 0) {
        needed |= match media.kind {
            "audio" => Modality::Audio.into(),
            "video" | "image" => Modality::Video.into(),
            "message" | "text" => Modality::Im.into(),
            _ => Modality::Audio.into(),
        };
    }
    needed
}

impl From<Modality> for Modalities {
    fn from(modality: Modality) -> Modalities {
        Modalities(1 << modality as u8)
    }
}

impl FromIterator<Modality> for Modalities {
    fn from_iter<I: IntoIterator<Item = Modality>>(modalities: I) -> Modalities {
        modalities.into_iter().fold(Modalities::NONE, |set, modality| set | modality.into())
    }
}

impl BitOr for Modalities {
    type Output = Modalities;
    fn bitor(self, other: Modalities) -> Modalities {
        Modalities(self.0 | other.0)
    }
}

impl BitOrAssign for Modalities {
    fn bitor_assign(&mut self, other: Modalities) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Modalities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As people read it: `presence, instant messages`.
impl fmt::Display for Modalities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("signalling");
        }
        for (index, modality) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", modality.title())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
