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
        if let [letter] = name {
            return from_compact(*letter);
        }
        let mut slot = hash(name);
        loop {
            let entry = LOOKUP[slot];
            if entry == EMPTY {
                return HeaderId::Other;
            }
            // Nearly all names are written as the RFC writes them, and equality is found faster.
            let known = NAMES[entry as usize].as_bytes();
            if known == name || known.eq_ignore_ascii_case(name) {
                return IDS[entry as usize];
            }
            slot = (slot + 1) % LOOKUP_SLOTS;
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

/// Slots of the lookup table: some four times the names, so that most names are found at the first look.
const LOOKUP_SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;
static LOOKUP: [u8; LOOKUP_SLOTS] = lookup();

const fn lookup() -> [u8; LOOKUP_SLOTS] {
    let mut table = [EMPTY; LOOKUP_SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let mut slot = hash(NAMES[i].as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) % LOOKUP_SLOTS;
        }
        table[slot] = i as u8;
        i += 1;
    }
    table
}

/// Blind to case: of letters only the low five bits enter. Names are public and few, nobody gains by collisions.
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length < 2 {
        return length;
    }
    let first = (name[0] & 0x1f) as usize;
    let middle = (name[length / 2] & 0x1f) as usize;
    let last = (name[length - 2] & 0x1f) as usize;
    (length * 37 + first * 11 + middle * 53 + last * 101) % LOOKUP_SLOTS
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
    fn probing_ends_soon() {
        let longest = (0..LOOKUP_SLOTS)
            .map(|start| (0..).take_while(|i| LOOKUP[(start + i) % LOOKUP_SLOTS] != EMPTY).count())
            .max();
        assert!(longest <= Some(8), "{longest:?}");
    }
}
