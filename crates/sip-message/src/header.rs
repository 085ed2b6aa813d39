//! Header names.

/// A header that somebody here cares about; everything else is [`HeaderId::Other`] and passes through untouched.
/// Names compare without case, compact forms included (RFC 3261 §7.3.3, §20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the variants are the headers' names")]
pub enum HeaderId {
    Accept, AcceptEncoding, AcceptLanguage, Allow, AllowEvents, AlertInfo, AuthenticationInfo, Authorization, CSeq, CallId, CallInfo, Contact,
    ContentDisposition, ContentEncoding, ContentLength, ContentType, Date, ErrorInfo, Event, Expires, FlowTimer, From,
    InReplyTo, MaxBreadth, MaxForwards, MinExpires, MinSe, MimeVersion, Organization,
    PAccessNetworkInfo, PAssertedIdentity, PPreferredIdentity, Path, Priority, Privacy, ProxyAuthenticate, ProxyAuthorization, ProxyRequire,
    RAck, RSeq, Reason, RecordRoute, ReferTo, ReferredBy, Replaces, ReplyTo, Require, RetryAfter, Route, Server, ServiceRoute,
    SessionExpires, SipEtag, SipIfMatch, Subject, SubscriptionState, Supported, Timestamp, To, Unsupported, UserAgent, Via,
    Warning, WwwAuthenticate,
    /// A name that nobody here cares about.
    Other,
}

impl HeaderId {
    /// From a name on the wire, in any case, long or compact.
    pub fn from_name(_name: &[u8]) -> HeaderId {
        todo!()
    }

    /// The long name as we write it; `""` for `Other`.
    pub fn name(self) -> &'static str {
        todo!()
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
