//! Header names.

use std::fmt;

/// Makes the enum, the list of its members and their names from one list.
macro_rules! header_ids {
    ($($id:ident = $name:literal,)*) => {
        /// A header that somebody here cares about; everything else is [`HeaderId::Other`] and passes through untouched.
        /// Names compare without case, compact forms included (RFC 3261 §7.3.3, §20).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the variants are the headers' names")]
        pub enum HeaderId {
            $($id,)*
            /// A name that nobody here cares about.
            Other,
        }

        const IDS: &[HeaderId] = &[$(HeaderId::$id,)*];
        const NAMES: &[&str] = &[$($name,)*];
    };
}

header_ids! {
    Accept = "Accept",
    AcceptContact = "Accept-Contact",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AlertInfo = "Alert-Info",
    Allow = "Allow",
    AllowEvents = "Allow-Events",
    AuthenticationInfo = "Authentication-Info",
    Authorization = "Authorization",
    CSeq = "CSeq",
    CallId = "Call-ID",
    CallInfo = "Call-Info",
    Contact = "Contact",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLength = "Content-Length",
    ContentType = "Content-Type",
    Date = "Date",
    ErrorInfo = "Error-Info",
    Event = "Event",
    Expires = "Expires",
    FlowTimer = "Flow-Timer",
    From = "From",
    Identity = "Identity",
    IdentityInfo = "Identity-Info",
    InReplyTo = "In-Reply-To",
    MaxBreadth = "Max-Breadth",
    MaxForwards = "Max-Forwards",
    MimeVersion = "MIME-Version",
    MinExpires = "Min-Expires",
    MinSe = "Min-SE",
    Organization = "Organization",
    PAccessNetworkInfo = "P-Access-Network-Info",
    PAssertedIdentity = "P-Asserted-Identity",
    PPreferredIdentity = "P-Preferred-Identity",
    Path = "Path",
    Priority = "Priority",
    Privacy = "Privacy",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyRequire = "Proxy-Require",
    RAck = "RAck",
    RSeq = "RSeq",
    Reason = "Reason",
    RecordRoute = "Record-Route",
    ReferTo = "Refer-To",
    ReferredBy = "Referred-By",
    RejectContact = "Reject-Contact",
    Replaces = "Replaces",
    ReplyTo = "Reply-To",
    RequestDisposition = "Request-Disposition",
    Require = "Require",
    RetryAfter = "Retry-After",
    Route = "Route",
    Server = "Server",
    ServiceRoute = "Service-Route",
    SessionExpires = "Session-Expires",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Subject = "Subject",
    SubscriptionState = "Subscription-State",
    Supported = "Supported",
    SuppressIfMatch = "Suppress-If-Match",
    Timestamp = "Timestamp",
    To = "To",
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    Via = "Via",
    Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

impl HeaderId {
    /// From a name on the wire, in any case, long or compact.
    pub fn from_name(name: &[u8]) -> HeaderId {
        match name {
            [] => HeaderId::Other,
            [letter] => from_compact(*letter),
            _ => find(front(name), name),
        }
    }

    /// From the name of `length` octets at the front of a line; the same as [`HeaderId::from_name`] for less.
    #[inline(always)]
    pub(crate) fn at_front(line: &[u8], length: usize) -> HeaderId {
        let name = &line[..length];
        match line.first_chunk() {
            Some(eight) if length >= 2 => {
                let behind = 8_usize.saturating_sub(length);
                find(u64::from_le_bytes(*eight) & (u64::MAX >> (8 * behind)), name)
            }
            _ => HeaderId::from_name(name),
        }
    }

    /// The long name as we write it; `""` for `Other`.
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or("")
    }
}

impl fmt::Display for HeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// What it is.
    pub id: HeaderId,
    /// The name as it was written.
    pub name: &'a [u8],
    /// The value as it was written, without blanks around it; folds (RFC 3261 §7.3.1) are still in it.
    pub value: &'a [u8],
}

/// The compact forms of the IANA registry (RFC 3261 §7.3.3 and the extensions that brought the rest).
fn from_compact(letter: u8) -> HeaderId {
    match letter.to_ascii_lowercase() {
        b'a' => HeaderId::AcceptContact,
        b'b' => HeaderId::ReferredBy,
        b'c' => HeaderId::ContentType,
        b'd' => HeaderId::RequestDisposition,
        b'e' => HeaderId::ContentEncoding,
        b'f' => HeaderId::From,
        b'i' => HeaderId::CallId,
        b'j' => HeaderId::RejectContact,
        b'k' => HeaderId::Supported,
        b'l' => HeaderId::ContentLength,
        b'm' => HeaderId::Contact,
        b'n' => HeaderId::IdentityInfo,
        b'o' => HeaderId::Event,
        b'r' => HeaderId::ReferTo,
        b's' => HeaderId::Subject,
        b't' => HeaderId::To,
        b'u' => HeaderId::AllowEvents,
        b'v' => HeaderId::Via,
        b'x' => HeaderId::SessionExpires,
        b'y' => HeaderId::Identity,
        _ => HeaderId::Other,
    }
}

/// A name in the table, which has a place of its own for each: one look finds it or shows that it is none.
#[derive(Clone, Copy)]
struct Entry {
    /// See [`front`].
    front: u64,
    /// The last eight octets of a name that has as many, else zeros.
    back: u64,
    length: usize,
    id: HeaderId,
}

const NONE: Entry = Entry { front: 0, back: 0, length: 0, id: HeaderId::Other };
/// Bits of a place in the table.
const PLACE_BITS: u32 = 8;
const PLACES: usize = 1 << PLACE_BITS;
static TABLE: [Entry; PLACES] = table();

const fn table() -> [Entry; PLACES] {
    let mut table = [NONE; PLACES];
    let mut i = 0;
    while i < NAMES.len() {
        let name = NAMES[i].as_bytes();
        let front = front(name);
        let place = place(front, name.len());
        assert!(table[place].length == 0, "two names have one place: choose another SPREAD");
        table[place] = Entry { front, back: back(name), length: name.len(), id: IDS[i] };
        i += 1;
    }
    table
}

/// The first eight octets of a name, zeros behind a shorter one.
const fn front(name: &[u8]) -> u64 {
    let mut front = 0;
    let mut i = 0;
    while i < name.len() && i < 8 {
        front |= (name[i] as u64) << (8 * i);
        i += 1;
    }
    front
}

/// The last eight octets of a name that has as many.
const fn back(name: &[u8]) -> u64 {
    match name.last_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => 0,
    }
}

/// Found by trial, so that no two names have one place.
const SPREAD: u64 = 0x220e_bf02_ced5_6aa5;

/// The place of a name, blind to case. Names are public and few, nobody gains by collisions.
const fn place(front: u64, length: usize) -> usize {
    let folded = front | 0x2020_2020_2020_2020;
    ((folded ^ (length as u64) << 56).wrapping_mul(SPREAD) >> (u64::BITS - PLACE_BITS)) as usize
}

/// Looks for a name whose [`front`] is given.
#[inline]
fn find(front: u64, name: &[u8]) -> HeaderId {
    let entry = &TABLE[place(front, name.len())];
    if entry.length != name.len() {
        return HeaderId::Other;
    }
    // Nearly all names are written as the RFC writes them, and few have more than these octets.
    let has_ends = (entry.front ^ front) | (entry.back ^ back(name)) == 0;
    if (has_ends && name.len() <= 16) || entry.id.name().as_bytes().eq_ignore_ascii_case(name) {
        entry.id
    } else {
        HeaderId::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (&id, name) in IDS.iter().zip(NAMES) {
            assert_eq!(HeaderId::from_name(name.as_bytes()), id);
            assert_eq!(HeaderId::from_name(name.to_ascii_uppercase().as_bytes()), id);
            assert_eq!(HeaderId::from_name(name.to_ascii_lowercase().as_bytes()), id);
            assert_eq!(id.name(), *name);
        }
    }

    #[test]
    fn other_names_are_other() {
        for name in
            ["", "Q", "C%6Fntact", "Call_ID", "Vi", "Viaa", "Content-Lengt\u{d}", "P-Asserted-Identitx"]
        {
            assert_eq!(HeaderId::from_name(name.as_bytes()), HeaderId::Other, "{name}");
        }
        assert_eq!(HeaderId::Other.name(), "");
    }

    #[test]
    fn compact_forms() {
        let compact = [
            ("a", "Accept-Contact"),
            ("b", "Referred-By"),
            ("c", "Content-Type"),
            ("d", "Request-Disposition"),
            ("e", "Content-Encoding"),
            ("f", "From"),
            ("i", "Call-ID"),
            ("j", "Reject-Contact"),
            ("k", "Supported"),
            ("l", "Content-Length"),
            ("m", "Contact"),
            ("n", "Identity-Info"),
            ("o", "Event"),
            ("r", "Refer-To"),
            ("s", "Subject"),
            ("t", "To"),
            ("u", "Allow-Events"),
            ("v", "Via"),
            ("x", "Session-Expires"),
            ("y", "Identity"),
        ];
        for (short, long) in compact {
            assert_eq!(HeaderId::from_name(short.as_bytes()).name(), long);
            assert_eq!(HeaderId::from_name(short.to_uppercase().as_bytes()).name(), long);
        }
    }

    #[test]
    fn the_front_of_a_line_is_read_like_a_name() {
        for name in NAMES.iter().copied().chain([
            "v",
            "V",
            "q",
            "X-Other",
            "Viaa",
            "Content-Lengtx",
            "Accept-Contacx",
        ]) {
            for spelled in [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                for behind in ["", ":", ": a", ": some value"] {
                    let line = format!("{spelled}{behind}");
                    let id = HeaderId::at_front(line.as_bytes(), spelled.len());
                    assert_eq!(id, HeaderId::from_name(spelled.as_bytes()), "{line}");
                }
            }
        }
        assert_eq!(HeaderId::at_front(b": value of nothing", 0), HeaderId::Other);
    }
}
