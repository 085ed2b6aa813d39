//! A subscription at the end that asked for it (RFC 6665 §4.1).
//!
//! A [`Watching`] writes the SUBSCRIBEs and reads the NOTIFYs of one subscription. The dialog is made by the first NOTIFY, not by
//! the 2xx (RFC 6665 §4.4.1): what is needed of it (tag, target, routes) stands there, whichever comes first. A SUBSCRIBE that
//! was forked makes one dialog, the first; the NOTIFYs of others are answered 481 (RFC 6665 §4.4.2).
//!
//! What this is not: it sends nothing and has no clock. When to refresh, and what to do about failures, is its owner's.

use std::fmt::Write as _;

use bytes::Bytes;
use sip_message::{HeaderId, Message, Params};

use super::{Dialog, Refusal, contact, event_of, record_route, unfolded};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The resource: what the first SUBSCRIBE has in its Request-URI and in To.
    pub resource: &'a str,
    /// The watcher's URI.
    pub watcher: &'a str,
    /// The event package.
    pub package: &'static str,
    /// Accept, a whole value.
    pub accept: &'static str,
    /// Our Contact, a whole value.
    pub contact: &'a str,
}

/// One subscription that was asked for.
#[derive(Clone, Debug)]
pub struct Watching {
    dialog: Dialog,
    package: &'static str,
    accept: &'static str,
    contact: Box<str>,
    /// Whether a NOTIFY has made the dialog.
    is_confirmed: bool,
}

/// What a NOTIFY says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How the subscription stands.
    pub state: ToldState,
    /// Content-Type and content; `None` where nothing new is told.
    pub body: Option<(String, Bytes)>,
}

/// How a subscription stands (RFC 6665 §4.1.3). Durations are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToldState {
    /// It delivers.
    Active {
        /// Until it ends.
        expires_seconds: Option<u32>,
    },
    /// Somebody has to allow it.
    Pending {
        /// Until it ends.
        expires_seconds: Option<u32>,
    },
    /// It is over.
    Terminated {
        /// Why, as written.
        reason: Option<String>,
        /// When to come back at the earliest.
        retry_after_seconds: Option<u32>,
    },
}

/// Hops that a SUBSCRIBE of ours may take (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: &str = "70";
/// Octets of a SUBSCRIBE; so that it need not grow.
const ROOM: usize = 1024;

impl Watching {
    /// Nothing was sent yet. `call_id` and `tag` are fresh, and nobody can guess them (RFC 3261 §19.3): whoever could would
    /// tell us what they like.
    pub fn new(ask: &Ask<'_>, call_id: &str, tag: &str) -> Watching {
        let dialog = Dialog {
            call_id: call_id.into(),
            local: format!("<{}>;tag={tag}", ask.watcher).into(),
            remote: format!("<{}>", ask.resource).into(),
            local_tag: tag.into(),
            remote_tag: "".into(),
            remote_target: ask.resource.into(),
            route_set: Box::default(),
            local_cseq: 0,
            remote_cseq: None,
        };
        Watching {
            dialog,
            package: ask.package,
            accept: ask.accept,
            contact: ask.contact.into(),
            is_confirmed: false,
        }
    }

    /// The next SUBSCRIBE, without Via: the first, a refresh, or with 0 the end (RFC 6665 §4.1.2). `asserted` is a whole
    /// P-Asserted-Identity (RFC 3325 §9.1).
    pub fn subscribe(&mut self, expires_seconds: u32, asserted: &str) -> Bytes {
        self.dialog.local_cseq += 1;
        let dialog = &self.dialog;
        let (uri, routes) = dialog.request_uri_and_route();
        let mut text = String::with_capacity(ROOM);
        let _ = write!(text, "SUBSCRIBE {uri} SIP/2.0\r\nMax-Forwards: {MAX_FORWARDS}\r\n");
        for route in routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let _ = write!(
            text,
            "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} SUBSCRIBE\r\nContact: {}\r\nEvent: {}\r\nAccept: {}\r\n\
             Expires: {expires_seconds}\r\nP-Asserted-Identity: {asserted}\r\nContent-Length: 0\r\n\r\n",
            dialog.local,
            dialog.remote,
            dialog.call_id,
            dialog.local_cseq,
            self.contact,
            self.package,
            self.accept,
        );
        Bytes::from(text)
    }

    /// Takes a NOTIFY whose Call-ID is this subscription's, or says how it is refused. What is refused changes nothing.
    pub fn handle_notify(&mut self, notify: &Message) -> Result<Told, Refusal> {
        let unknown = || Refusal::new(481, "the subscription does not exist");
        if notify.call_id().ok() != Some(&self.dialog.call_id)
            || notify.to_tag() != Some(&self.dialog.local_tag)
        {
            return Err(unknown());
        }
        let from = notify.from().map_err(|_| Refusal::new(400, "From is malformed"))?;
        let remote_tag = from.tag().unwrap_or_default();
        if self.is_confirmed && *self.dialog.remote_tag != *remote_tag {
            return Err(unknown());
        }
        let (package, _) = event_of(notify)?;
        if !package.eq_ignore_ascii_case(self.package) {
            return Err(Refusal::new(489, "the NOTIFY is of another event package"));
        }
        let cseq = notify.cseq().map_err(|_| Refusal::new(400, "CSeq is malformed"))?.number;
        if self.dialog.remote_cseq.is_some_and(|last| cseq <= last) {
            // RFC 3261 §12.2.2.
            return Err(Refusal::new(500, "CSeq is out of order"));
        }
        let state = state_of(notify)?;
        let malformed = |_| Refusal::new(400, "the NOTIFY makes no dialog");
        let target = contact(notify).map_err(malformed)?;
        let mut dialog = self.dialog.clone();
        if !self.is_confirmed {
            // RFC 6665 §8.2.1: a NOTIFY that makes a dialog says where its sender is.
            let target = target.ok_or(Refusal::new(400, "Contact is missing"))?;
            dialog.remote_target = target;
            dialog.remote = unfolded(from.text).map_err(malformed)?;
            dialog.remote_tag = remote_tag.into();
            dialog.route_set = record_route(notify).map_err(malformed)?.into();
        } else if let Some(target) = target {
            dialog.remote_target = target;
        }
        dialog.remote_cseq = Some(cseq);
        self.dialog = dialog.bounded().map_err(|_| Refusal::new(400, "the dialog's headers are too long"))?;
        self.is_confirmed = true;
        let body = (!notify.body().is_empty())
            .then(|| (notify.content_type().to_owned(), Bytes::copy_from_slice(notify.body())));
        Ok(Told { state, body })
    }

    /// Call-ID of its dialog.
    pub fn call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// Whether there is a dialog that a SUBSCRIBE could end.
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }
}

/// Subscription-State (RFC 6665 §8.2.3).
fn state_of(notify: &Message) -> Result<ToldState, Refusal> {
    let malformed = || Refusal::new(400, "Subscription-State is missing or malformed");
    let value = notify.header(HeaderId::SubscriptionState).and_then(|value| str::from_utf8(value).ok());
    let value = value.ok_or_else(malformed)?;
    let (state, params) = value.split_at(value.find(';').unwrap_or(value.len()));
    let params = Params { text: params };
    let seconds = |name| params.get(name).and_then(|value| value.parse().ok());
    match state.trim().to_ascii_lowercase().as_str() {
        "active" => Ok(ToldState::Active { expires_seconds: seconds("expires") }),
        "pending" => Ok(ToldState::Pending { expires_seconds: seconds("expires") }),
        "terminated" => Ok(ToldState::Terminated {
            reason: params.get("reason").map(str::to_ascii_lowercase),
            retry_after_seconds: seconds("retry-after"),
        }),
        // RFC 6665 §4.1.3 lets states be added: what is not known is neither of the others.
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests;
