//! Session descriptions (RFC 4566, RFC 8866), as far as a server looks into them: connection addresses, media lines,
//! direction, ICE attributes (RFC 8839). Other lines pass; nothing is rewritten here.
//!
//! Strict where a wrong reading would send media elsewhere (`m=`, `c=`, candidates), tolerant in the rest: line ends may
//! be LF alone, other lines may hold any octets, and the order of lines within a section does not matter.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::lex;

/// Most octets of a description. A browser's offer of audio and video with all candidates has some 8 KiB.
pub const SDP_OCTETS_MAX: usize = 48 * 1024;
/// Most lines of a description.
pub const SDP_LINES_MAX: usize = 1024;
/// Most media sections. A conference offer with a section per sender may have dozens.
pub const SDP_MEDIA_MAX: usize = 64;

/// Why octets are no session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SdpError(pub &'static str);

/// A session description, borrowed from its octets.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// What stands before the first media line.
    pub head: Section<'a>,
    /// The media sections in order.
    pub media: SmallVec<[Media<'a>; 2]>,
}

/// One `m=` line and what belongs to it (RFC 8866 §5.14).
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `message`, `application` ...
    pub kind: &'a str,
    /// 0 where the stream is refused or held back.
    pub port: u16,
    /// How many ports; 1 where none is written.
    pub port_count: u16,
    /// `RTP/AVP`, `UDP/TLS/RTP/SAVPF`, `TCP/MSRP` ...
    pub protocol: &'a str,
    /// The formats as written, blanks between them.
    pub formats: &'a str,
    /// The lines behind the `m=` line.
    pub section: Section<'a>,
}

/// Lines of the session or of one medium.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    /// `c=`: where media goes; a medium without one uses the session's (see [`Session::connection`]).
    pub connection: Option<Connection<'a>>,
    /// `sendrecv` and its kin; a medium without one uses the session's (see [`Session::direction`]).
    pub direction: Option<Direction>,
    /// The lines as written.
    pub lines: &'a [u8],
}

/// An address of `c=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// An address; the TTL and the count of a multicast one are cut off.
    Address(IpAddr),
    /// A host name.
    Name(&'a str),
}

/// Which way media flows, seen from who wrote the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the attributes' names")]
pub enum Direction {
    #[default]
    SendReceive,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

/// One `a=candidate` (RFC 8839 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Opaque.
    pub foundation: &'a str,
    /// 1 is RTP, 2 RTCP.
    pub component: u16,
    /// `UDP`, `TCP`; compare without case.
    pub transport: &'a str,
    /// Larger is better.
    pub priority: u32,
    /// Where; browsers also write `something.local`.
    pub address: Connection<'a>,
    /// The port.
    pub port: u16,
    /// `host`, `srflx`, `prflx`, `relay`.
    pub kind: &'a str,
    /// Address and port behind `raddr` and `rport`.
    pub related: Option<(Connection<'a>, u16)>,
}

impl<'a> Session<'a> {
    /// Reads a description.
    pub fn parse(octets: &'a [u8]) -> Result<Session<'a>, SdpError> {
        if octets.len() > SDP_OCTETS_MAX {
            return Err(SdpError("session description too long"));
        }
        if !octets.starts_with(b"v=0\r\n") && !octets.starts_with(b"v=0\n") {
            return Err(SdpError("session description without v=0"));
        }
        let mut session = Session { head: Section::default(), media: SmallVec::new() };
        let mut section = Section::default();
        let mut section_start = 0;
        let mut at = 0;
        let mut line_count = 0;
        while at < octets.len() {
            let line_start = at;
            let line = next_line(octets, &mut at);
            line_count += 1;
            if line_count > SDP_LINES_MAX {
                return Err(SdpError("session description of too many lines"));
            }
            match line {
                [b'm', b'=', value @ ..] => {
                    section.lines = &octets[section_start..line_start];
                    session.close(section);
                    if session.media.len() == SDP_MEDIA_MAX {
                        return Err(SdpError("session description of too many media"));
                    }
                    session.media.push(Media::parse(value).ok_or(SdpError("malformed m="))?);
                    section = Section::default();
                    section_start = at;
                }
                [b'c', b'=', value @ ..] => {
                    let connection = connection(value).ok_or(SdpError("malformed c="))?;
                    // Further ones are the layers of multicast.
                    section.connection = section.connection.or(Some(connection));
                }
                [b'a', b'=', value @ ..] => section.direction = section.direction.or(direction(value)),
                [kind, b'=', ..] if kind.is_ascii_lowercase() => {}
                // An empty line changes no meaning.
                [] => {}
                _ => return Err(SdpError("malformed line in session description")),
            }
        }
        section.lines = &octets[section_start..];
        session.close(section);
        Ok(session)
    }

    /// Where a medium's media goes: its own `c=` or the session's.
    pub fn connection(&self, media: &Media<'a>) -> Option<Connection<'a>> {
        media.section.connection.or(self.head.connection)
    }

    /// A medium's direction: its own, else the session's, else both ways (RFC 8866 §6.7).
    pub fn direction(&self, media: &Media<'a>) -> Direction {
        media.section.direction.or(self.head.direction).unwrap_or_default()
    }

    /// `ice-ufrag` and `ice-pwd` of a medium, else of the session.
    pub fn ice_credentials(&self, media: &Media<'a>) -> Option<(&'a str, &'a str)> {
        let of =
            |section: &Section<'a>| Some((section.attribute("ice-ufrag")?, section.attribute("ice-pwd")?));
        of(&media.section).or_else(|| of(&self.head))
    }

    fn close(&mut self, section: Section<'a>) {
        match self.media.last_mut() {
            Some(media) => media.section = section,
            None => self.head = section,
        }
    }
}

impl<'a> Media<'a> {
    /// The `a=candidate` lines; a malformed one is an error in its place.
    pub fn candidates(&self) -> impl Iterator<Item = Result<Candidate<'a>, SdpError>> + use<'a> {
        self.section
            .attributes()
            .filter(|(name, _)| *name == "candidate")
            .map(|(_, value)| Candidate::parse(value).ok_or(SdpError("malformed candidate")))
    }

    fn parse(value: &'a [u8]) -> Option<Media<'a>> {
        let mut words = lex::text(value)?.splitn(4, ' ');
        let kind = words.next().filter(|kind| !kind.is_empty())?;
        let ports = words.next()?;
        let (port, count) = ports.split_once('/').unwrap_or((ports, "1"));
        let protocol = words.next().filter(|protocol| !protocol.is_empty())?;
        Some(Media {
            kind,
            port: number(port)?,
            port_count: number(count)?,
            protocol,
            formats: words.next()?.trim_matches(' '),
            section: Section::default(),
        })
    }
}

impl<'a> Section<'a> {
    /// The value of the first attribute of this name; `""` where it has none.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All attributes that are UTF-8, in order, with `""` for the value of those without one.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let octets = self.lines;
        let mut at = 0;
        std::iter::from_fn(move || (at < octets.len()).then(|| next_line(octets, &mut at)))
            .filter_map(|line| lex::text(line.strip_prefix(b"a=")?))
            .map(|attribute| attribute.split_once(':').unwrap_or((attribute, "")))
    }
}

impl<'a> Candidate<'a> {
    fn parse(value: &'a str) -> Option<Candidate<'a>> {
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let mut candidate = Candidate {
            foundation: words.next()?,
            component: number(words.next()?)?,
            transport: words.next()?,
            priority: words.next().filter(|word| is_number(word))?.parse().ok()?,
            address: host(words.next()?)?,
            port: number(words.next()?)?,
            kind: words.next().filter(|&word| word == "typ").and_then(|_| words.next())?,
            related: None,
        };
        let mut related_address = None;
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match (name, related_address) {
                ("raddr", _) => related_address = Some(host(value)?),
                ("rport", Some(address)) => candidate.related = Some((address, number(value)?)),
                _ => {}
            }
        }
        Some(candidate)
    }
}

/// The line that begins at `at`, without its end; moves `at` behind it.
fn next_line<'a>(octets: &'a [u8], at: &mut usize) -> &'a [u8] {
    let rest = &octets[*at..];
    let end = memchr::memchr(b'\n', rest);
    *at += end.map_or(rest.len(), |end| end + 1);
    let line = &rest[..end.unwrap_or(rest.len())];
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// `IN IP4 address` or `IN IP6 address`, perhaps with `/ttl/count`.
fn connection(value: &[u8]) -> Option<Connection<'_>> {
    let mut words = lex::text(value)?.trim_end_matches(' ').split(' ');
    let (network, family, address) = (words.next()?, words.next()?, words.next()?);
    if network != "IN" || words.next().is_some() {
        return None;
    }
    let address = host(address.split('/').next()?)?;
    match (family, address) {
        ("IP4", Connection::Address(IpAddr::V6(_))) | ("IP6", Connection::Address(IpAddr::V4(_))) => None,
        ("IP4" | "IP6", address) => Some(address),
        _ => None,
    }
}

fn host(text: &str) -> Option<Connection<'_>> {
    if let Ok(address) = text.parse() {
        return Some(Connection::Address(address));
    }
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name.then_some(Connection::Name(text))
}

fn direction(attribute: &[u8]) -> Option<Direction> {
    match attribute {
        b"sendrecv" => Some(Direction::SendReceive),
        b"sendonly" => Some(Direction::SendOnly),
        b"recvonly" => Some(Direction::ReceiveOnly),
        b"inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn number(text: &str) -> Option<u16> {
    is_number(text).then(|| text.parse().ok()).flatten()
}

/// Digits only: `parse` alone would take a plus sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
