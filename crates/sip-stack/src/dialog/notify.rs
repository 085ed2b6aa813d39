//! One NOTIFY.

use bytes::Bytes;
use sip_message::{HeaderId, Method, RequestBuilder};

/// A NOTIFY but for Via and body, which are its sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The Request-URI.
    pub request_uri: String,
    /// The elements of Route, in order.
    pub route_set: Vec<String>,
    /// From, with our tag.
    pub from: String,
    /// To.
    pub to: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq's number: counts the NOTIFYs of the subscription from 1.
    pub cseq: u32,
    /// Event, with the `id` of the subscription if it has one.
    pub event: String,
    /// Subscription-State.
    pub subscription_state: String,
    /// Our Contact, a whole value.
    pub contact: String,
}

/// What became of a NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyResult {
    /// A final response.
    Response {
        /// Its status.
        status: u16,
        /// Its Retry-After, in seconds.
        retry_after_seconds: Option<u32>,
    },
    /// No answer in time.
    TimedOut,
    /// It could not be sent, or its connection broke.
    Unreachable,
}

/// RFC 3261 §8.1.1.6.
const MAX_FORWARDS: &str = "70";

impl Notify {
    /// The URI of where it goes: the first route, else the Request-URI (RFC 3261 §8.1.2).
    pub fn next_hop(&self) -> &str {
        self.route_set.first().and_then(|route| uri_of(route)).unwrap_or(&self.request_uri)
    }

    /// The request. `via` is a whole Via value, `None` where whoever sends it puts its own; `body` is Content-Type and content.
    pub fn build(&self, via: Option<&str>, body: Option<(&str, &[u8])>) -> Bytes {
        let mut request = RequestBuilder::new(Method::Notify, &self.request_uri);
        if let Some(via) = via {
            request.header(HeaderId::Via, via);
        }
        request.header(HeaderId::MaxForwards, MAX_FORWARDS);
        for route in &self.route_set {
            request.header(HeaderId::Route, route);
        }
        request
            .header(HeaderId::From, &self.from)
            .header(HeaderId::To, &self.to)
            .header(HeaderId::CallId, &self.call_id)
            .header(HeaderId::CSeq, format!("{} NOTIFY", self.cseq))
            .header(HeaderId::Contact, &self.contact)
            .header(HeaderId::Event, &self.event)
            .header(HeaderId::SubscriptionState, &self.subscription_state);
        if let Some((content_type, content)) = body {
            request.body(content_type, content);
        }
        request.build()
    }
}

/// The URI of a name-addr element as written.
pub(super) fn uri_of(element: &str) -> Option<&str> {
    sip_message::NameAddr::parse(element.as_bytes()).ok().map(|addr| addr.uri.as_str())
}
