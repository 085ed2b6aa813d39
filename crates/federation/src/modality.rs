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
    ///   it was not allowed to begin with. A stream with port 0 is none (RFC 3264 §6), unless it goes along with another
    ///   (RFC 9143 §6, `bundle-only`).
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
    session.media.iter().filter_map(modality).collect()
}

/// What a stream needs; `None` where it is refused.
fn modality(media: &sdp::Media<'_>) -> Option<Modality> {
    let is_up = media.port != 0 || media.section.attribute("bundle-only").is_some();
    is_up.then_some(match media.kind {
        "video" | "image" => Modality::Video,
        "message" | "text" => Modality::Im,
        _ => Modality::Audio,
    })
}

/// The body of a response without the streams that need more than is allowed; `None` where all may pass.
///
/// A request that asks for too much is refused as a whole. A response comes too late for that: what it offers or accepts beyond what
/// is allowed is refused stream by stream, as whoever receives it could (RFC 3264 §6: port 0, the stream stays in its place), and the
/// call goes on without. A description that cannot be read goes as a whole: the body is empty then.
pub fn with_streams_refused(response: &Message, allowed: Modalities) -> Option<Vec<u8>> {
    if streams(response).without(allowed).is_empty() {
        return None;
    }
    let Ok(session) = sdp::Session::parse(response.body()) else { return Some(Vec::new()) };
    let is_refused =
        |media: &sdp::Media<'_>| modality(media).is_some_and(|modality| !allowed.contains(modality));
    let refused = session.media.iter().filter(|media| is_refused(media));
    let refused: Vec<&str> = refused.filter_map(|media| media.section.attribute("mid")).collect();
    let mut body = Vec::with_capacity(response.body().len());
    for line in session.head.lines.split_inclusive(|octet| *octet == b'\n') {
        // RFC 9143 §7.3.3: what is refused is in no group.
        match str::from_utf8(line).ok().and_then(|line| line.strip_prefix("a=group:")) {
            Some(group) => {
                let kept: Vec<&str> = group.split_whitespace().filter(|mid| !refused.contains(mid)).collect();
                body.extend_from_slice(format!("a=group:{}\r\n", kept.join(" ")).as_bytes());
            }
            None => body.extend_from_slice(line),
        }
    }
    for media in &session.media {
        let is_refused = is_refused(media);
        let port = match (is_refused, media.port_count) {
            (true, _) => "0".to_owned(),
            (false, 1) => media.port.to_string(),
            (false, count) => format!("{}/{count}", media.port),
        };
        let line = format!("m={} {port} {} {}\r\n", media.kind, media.protocol, media.formats);
        body.extend_from_slice(line.as_bytes());
        let lines = media.section.lines.split_inclusive(|octet| *octet == b'\n');
        // Where the stream would go is nobody's business any more; its name stays, and a connection line, which a section may need.
        let stays = |line: &&[u8]| !is_refused || line.starts_with(b"c=") || line.starts_with(b"a=mid:");
        lines.filter(stays).for_each(|line| body.extend_from_slice(line));
    }
    Some(body)
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
