//! Names of domains and hosts, in the one spelling that is compared: lower case, no dot at the end.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use smallvec::SmallVec;

/// Longest name (RFC 1035 §2.3.4, as text without the dot at the end).
pub(crate) const NAME_OCTETS_MAX: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// The port of SIP over TLS (RFC 3261 §19.1.2), where none is written.
pub(crate) const TLS_PORT: u16 = 5061;

/// A SIP domain in the spelling that is compared; `None` where the text is no DNS name (RFC 1035 §2.3.1, with the
/// underscore of real names). Wildcards and addresses are none.
pub fn domain_name(text: &str) -> Option<String> {
    Normal::of(text).map(|normal| normal.as_str().to_owned())
}

/// A host in the spelling that is compared: a DNS name or an address, IPv6 without brackets.
pub fn host_name(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match (bare, text.parse::<IpAddr>()) {
        (Some(bare), _) => bare.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        (None, Ok(address)) => Some(address.to_string()),
        (None, Err(_)) => domain_name(text),
    }
}

/// A domain's name in the spelling that is compared, on the stack: what a stranger wrote is looked up without
/// allocating.
pub(crate) struct Normal(SmallVec<[u8; NAME_OCTETS_MAX + 3]>);

impl Normal {
    pub(crate) fn of(text: &str) -> Option<Normal> {
        let text = text.strip_suffix('.').unwrap_or(text).as_bytes();
        if text.len() > NAME_OCTETS_MAX {
            return None;
        }
        let mut normal = SmallVec::new();
        let mut label = Label::default();
        for octet in text {
            match octet {
                b'.' => std::mem::take(&mut label).end()?,
                b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => label.push(*octet),
                _ => return None,
            }
            normal.push(octet.to_ascii_lowercase());
        }
        let is_numeric = label.is_numeric;
        label.end()?;
        // A last label of digits is the end of an address.
        if is_numeric { None } else { Some(Normal(normal)) }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("labels are ASCII")
    }
}

/// A label as far as it was read.
struct Label {
    octets: usize,
    starts_with_hyphen: bool,
    last: u8,
    is_numeric: bool,
}

impl Default for Label {
    fn default() -> Label {
        Label { octets: 0, starts_with_hyphen: false, last: 0, is_numeric: true }
    }
}

impl Label {
    fn push(&mut self, octet: u8) {
        self.starts_with_hyphen |= self.octets == 0 && octet == b'-';
        self.octets += 1;
        self.last = octet;
        self.is_numeric &= octet.is_ascii_digit();
    }

    /// `None` where it is no label.
    fn end(self) -> Option<()> {
        let fits = (1..=LABEL_OCTETS_MAX).contains(&self.octets);
        (fits && !self.starts_with_hyphen && self.last != b'-').then_some(())
    }
}

/// A host and a port, as the policy names a next hop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// In the spelling that is compared; IPv6 without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<HostPort, NoHost> {
        let (host, port) = match text.rsplit_once(':') {
            // A bare IPv6 address has colons of its own; which of them begins the port is a guess.
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => return Err(NoHost),
            Some((host, port)) if !text.ends_with(']') => {
                let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                (host, is_number.then(|| port.parse().ok()).flatten().ok_or(NoHost)?)
            }
            Some(_) | None => (text, TLS_PORT),
        };
        let host = host_name(host).ok_or(NoHost)?;
        if port == 0 { Err(NoHost) } else { Ok(HostPort { host, port }) }
    }
}

/// The text is no host with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host with a port")]
pub struct NoHost;

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The candidate that `word` was probably meant to be: some letters wrong, by their number, or the same beginning.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// How alike they must be at least (Jaro-Winkler, 1 is the same).
    const SIMILARITY_MIN: f64 = 0.85;
    /// One wrong, missing or swapped letter is forgiven for each so many.
    const LETTERS_PER_SLIP: usize = 3;
    let word = word.to_lowercase();
    let slips = |candidate: &str| strsim::damerau_levenshtein(&word, candidate);
    let is_near = |candidate: &&str| {
        slips(candidate) <= candidate.len() / LETTERS_PER_SLIP
            || strsim::jaro_winkler(&word, candidate) >= SIMILARITY_MIN
    };
    candidates.into_iter().filter(is_near).min_by_key(|candidate| slips(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_is_compared() {
        assert_eq!(domain_name("Fabrikam.Example."), Some("fabrikam.example".into()));
        for wrong in [
            "",
            ".",
            "a..b",
            "*.b.example",
            "192.0.2.1",
            "a.b.1",
            "-a.example",
            "a-.example",
            "a.example-",
            "a b",
            "a\0.example",
            "ä.example",
        ] {
            assert_eq!(domain_name(wrong), None, "{wrong:?}");
        }
        assert!(domain_name(&"a.".repeat(126)).is_some());
        assert_eq!(domain_name(&"a.".repeat(128)), None);
        assert_eq!(domain_name(&"a".repeat(64)), None);
    }

    #[test]
    fn a_next_hop_is_a_host_and_a_port() {
        let read = |text: &str| text.parse::<HostPort>().map(|hop| hop.to_string()).ok();
        assert_eq!(read("Edge.fabrikam.example"), Some("edge.fabrikam.example:5061".into()));
        assert_eq!(read("edge.fabrikam.example:443"), Some("edge.fabrikam.example:443".into()));
        assert_eq!(read("192.0.2.1:1"), Some("192.0.2.1:1".into()));
        assert_eq!(read("[2001:DB8::1]:5061"), Some("[2001:db8::1]:5061".into()));
        assert_eq!(read("[2001:db8::1]"), Some("[2001:db8::1]:5061".into()));
        for wrong in [
            "",
            ":5061",
            "a.example:",
            "a.example:0",
            "a.example:+5",
            "a.example:65536",
            "2001:db8::1",
            "*.example:1",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(nearest("next_hpo", ["domain", "next_hop"]), Some("next_hop"));
        assert_eq!(nearest("colour", ["domain", "next_hop"]), None);
    }
}
