//! One NOTIFY.

use std::sync::Arc;

use bytes::Bytes;

use super::Termination;
use super::envelope::Envelope;
use crate::digits::push_decimal;

/// A NOTIFY but for Via, entity tag and body, which are its sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    pub(super) envelope: Arc<Envelope>,
    pub(super) cseq: u32,
    pub(super) state: State,
    /// Parameters of Subscription-State about rates; mostly none.
    pub(super) rates: Option<Box<str>>,
    pub(super) body_is_known: bool,
}

/// What Subscription-State says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active { seconds: u64 },
    Pending { seconds: u64 },
    Terminated(Termination),
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

/// Octets of what is written beside the envelope, Via and body; so that it need not grow.
const ROOM: usize = 256;

impl Notify {
    /// The Request-URI.
    pub fn request_uri(&self) -> &str {
        self.envelope.request_uri()
    }

    /// The URI of where it goes: the first route, else the Request-URI (RFC 3261 §8.1.2).
    pub fn next_hop(&self) -> &str {
        self.envelope.first_route().and_then(uri_of).unwrap_or(self.request_uri())
    }

    /// CSeq's number: counts the NOTIFYs of the subscription from 1.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// Whether the watcher knows the body already and gets none (RFC 5839 §6.2).
    pub fn body_is_known(&self) -> bool {
        self.body_is_known
    }

    /// Subscription-State (RFC 6665 §4.1.3, §8.2.3).
    pub fn subscription_state(&self) -> String {
        let mut text = Vec::new();
        self.write_state(&mut text);
        String::from_utf8(text).expect("it is written in ASCII")
    }

    /// The request. `via` is a whole Via value, `None` where whoever sends it puts its own; `entity_tag` names the state that is
    /// told (RFC 5839 §6.1); `body` is Content-Type and content, left out if the watcher knows it.
    pub fn build(&self, via: Option<&str>, entity_tag: Option<&str>, body: Option<(&str, &[u8])>) -> Bytes {
        let body = body.filter(|_| !self.body_is_known);
        let (start_line, lines) = self.envelope.parts();
        let content = body.map_or(0, |(content_type, content)| content_type.len() + content.len());
        let size = start_line.len() + lines.len() + via.map_or(0, str::len) + content + ROOM;
        let mut out = Vec::with_capacity(size);
        let push = |out: &mut Vec<u8>, texts: &[&str]| {
            texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        };
        push(&mut out, &[start_line]);
        if let Some(via) = via {
            push(&mut out, &["Via: ", via, "\r\n"]);
        }
        push(&mut out, &[lines, "CSeq: "]);
        push_decimal(&mut out, self.cseq);
        push(&mut out, &[" NOTIFY\r\nSubscription-State: "]);
        self.write_state(&mut out);
        if let Some(tag) = entity_tag {
            push(&mut out, &["\r\nSIP-ETag: ", tag]);
        }
        match body {
            Some((content_type, content)) => {
                push(&mut out, &["\r\nContent-Type: ", content_type, "\r\nContent-Length: "]);
                push_decimal(&mut out, content.len());
                push(&mut out, &["\r\n\r\n"]);
                out.extend_from_slice(content);
            }
            None => push(&mut out, &["\r\nContent-Length: 0\r\n\r\n"]),
        }
        Bytes::from(out)
    }

    fn write_state(&self, out: &mut Vec<u8>) {
        match self.state {
            State::Active { seconds } => {
                out.extend_from_slice(b"active;expires=");
                push_decimal(out, seconds);
            }
            State::Pending { seconds } => {
                out.extend_from_slice(b"pending;expires=");
                push_decimal(out, seconds);
            }
            State::Terminated(Termination::Deactivated) => {
                out.extend_from_slice(b"terminated;reason=deactivated")
            }
            State::Terminated(Termination::Probation(after)) => {
                out.extend_from_slice(b"terminated;reason=probation;retry-after=");
                push_decimal(out, after);
            }
            State::Terminated(Termination::Rejected) => out.extend_from_slice(b"terminated;reason=rejected"),
            State::Terminated(Termination::TimedOut) => out.extend_from_slice(b"terminated;reason=timeout"),
            State::Terminated(Termination::GaveUp) => out.extend_from_slice(b"terminated;reason=giveup"),
            State::Terminated(Termination::NoResource) => {
                out.extend_from_slice(b"terminated;reason=noresource")
            }
        }
        if let Some(rates) = &self.rates {
            out.extend_from_slice(rates.as_bytes());
        }
    }
}

/// The URI of a name-addr element as written.
pub(super) fn uri_of(element: &str) -> Option<&str> {
    sip_message::NameAddr::parse(element.as_bytes()).ok().map(|addr| addr.uri.as_str())
}
