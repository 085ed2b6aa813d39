//! Dialogs of event subscriptions (RFC 3261 §12, RFC 6665): a table for the notifier's side, [`Watching`] for the other.
//!
//! [`Subscriptions`] is the table of a notifier: it knows who watches what, for how long, and which NOTIFY is due. It knows
//! no event package: what a resource is, who may watch it and what a NOTIFY's body says are its caller's.
//!
//! # A subscription's life
//!
//! 1. [`Subscribe::read`] takes the facts out of a SUBSCRIBE. Without a tag in To it begins a dialog: the caller decides on
//!    package and permission and calls [`Subscriptions::accept`]; with one it belongs to a dialog:
//!    [`Subscriptions::handle_subscribe`]. Either gives what the 200 must say, or a [`Refusal`].
//! 2. The 200 leaves. Then [`Subscriptions::poll_due`] names the subscription: the caller takes the envelope with
//!    [`Subscriptions::notify`], renders the body and sends it ([`Notify::build`]): over the watcher's flow
//!    ([`crate::stack::Stack::send_own_over`]), or to [`Notify::next_hop`].
//! 3. The response, or that none came, goes to [`Subscriptions::handle_notify_result`]. One NOTIFY of a subscription is in
//!    flight at a time; changes in the meantime become one NOTIFY afterwards, so that a slow watcher costs one flag.
//! 4. [`Subscriptions::changed`] says that a resource has something new; [`Subscriptions::terminate`] ends a subscription with a
//!    last NOTIFY; so do expiry, unsubscribing, and a fetch (`Expires: 0`). [`Subscriptions::poll_ended`] tells the ends.
//!
//! # What a watcher may ask for
//!
//! How often it is notified (RFC 6446, within the [`Policy`]), and to be told nothing that it knows (RFC 5839): the caller gives the
//! entity tag of the state that would be told, and the table compares.
//!
//! # Cost
//!
//! A NOTIFY copies a text that was written once ([`Notify`]), and moves a timer once a minute. A subscription takes less than a
//! kibibyte in all, of which half is that text.
//!
//! What this module is not: it authenticates nobody and sends nothing. It does not store subscriptions: they live as long as
//! the process, and clients bring them back (RFC 6665 §4.1.2.3: 481 makes a client subscribe anew).

mod envelope;
mod notify;
mod rates;
mod subscribe;
mod subscription;
mod subscriptions;
#[cfg(test)]
mod tests;
mod watching;

use sip_message::{Contacts, HeaderId, Message};

pub use notify::{Notify, NotifyResult};
pub use rates::AskedRates;
pub use subscribe::{Refusal, Subscribe};
pub(crate) use subscribe::{event_of, granted};
pub use subscription::Subscription;
pub use subscriptions::{
    Accepted, Due, EndReason, Ended, Limits, Policy, Standing, SubscriptionId, Subscriptions, Termination,
    Watch,
};
pub use watching::{Ask, Told, ToldState, Watching};

/// A dialog's state as one end keeps it (RFC 3261 §12). Texts are whole header values or elements, unfolded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Box<str>,
    /// What our requests say in From, tag included.
    pub local: Box<str>,
    /// What our requests say in To, tag included if there is one.
    pub remote: Box<str>,
    /// The tag of `local`.
    pub local_tag: Box<str>,
    /// The tag of `remote`; empty for a peer older than RFC 3261 (§12.1.1: then it counts as null).
    pub remote_tag: Box<str>,
    /// The URI of the peer's Contact.
    pub remote_target: Box<str>,
    /// Elements of Route for our requests, in order.
    pub route_set: Box<[Box<str>]>,
    /// CSeq of our last request; 0 before the first.
    pub local_cseq: u32,
    /// CSeq of the peer's last request; `None` before the first.
    pub remote_cseq: Option<u32>,
}

/// Why a message makes no dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialogError(pub &'static str);

/// Longest texts of one dialog together, in octets. Real ones take 500; a watcher must not park whole messages here.
const DIALOG_OCTETS_MAX: usize = 4096;

impl Dialog {
    /// The dialog at the end that answers `request` with `local_tag` (RFC 3261 §12.1.1).
    pub fn answering(request: &Message, local_tag: &str) -> Result<Dialog, DialogError> {
        let from = request.from().map_err(|_| DialogError("From is malformed"))?;
        let to = request.to().map_err(|_| DialogError("To is malformed"))?;
        let cseq = request.cseq().map_err(|_| DialogError("CSeq is malformed"))?;
        let to_text = unfolded(to.text)?;
        let dialog = Dialog {
            call_id: call_id(request)?,
            local: format!("{to_text};tag={local_tag}").into(),
            remote: unfolded(from.text)?,
            local_tag: local_tag.into(),
            remote_tag: from.tag().unwrap_or_default().into(),
            remote_target: contact(request)?.ok_or(DialogError("Contact is missing"))?,
            route_set: record_route(request)?.into(),
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
        };
        dialog.bounded()
    }

    /// The dialog at the end whose `request` was answered with `response` (RFC 3261 §12.1.2).
    pub fn asking(request: &Message, response: &Message) -> Result<Dialog, DialogError> {
        let from = request.from().map_err(|_| DialogError("From is malformed"))?;
        let to = response.to().map_err(|_| DialogError("To is malformed"))?;
        let cseq = request.cseq().map_err(|_| DialogError("CSeq is malformed"))?;
        let mut route_set = record_route(response)?;
        route_set.reverse();
        let dialog = Dialog {
            call_id: call_id(request)?,
            local: unfolded(from.text)?,
            remote: unfolded(to.text)?,
            local_tag: from.tag().unwrap_or_default().into(),
            remote_tag: to.tag().unwrap_or_default().into(),
            remote_target: contact(response)?.ok_or(DialogError("Contact is missing"))?,
            route_set: route_set.into(),
            local_cseq: cseq.number,
            remote_cseq: None,
        };
        dialog.bounded()
    }

    /// Request-URI and Route elements of a request within the dialog (RFC 3261 §12.2.1.1). A first route without `lr` is a
    /// strict router's: it becomes the Request-URI, and the remote target the last route.
    pub fn request_uri_and_route(&self) -> (&str, Vec<String>) {
        let routes = || self.route_set.iter().map(|route| route.to_string());
        let strict = self
            .route_set
            .first()
            .and_then(|first| notify::uri_of(first))
            .filter(|uri| sip_message::Uri::parse(uri).is_ok_and(|uri| !uri.params().has("lr")));
        match strict {
            Some(first) => {
                let target = format!("<{}>", self.remote_target);
                (first, routes().skip(1).chain([target]).collect())
            }
            None => (&self.remote_target, routes().collect()),
        }
    }

    fn bounded(self) -> Result<Dialog, DialogError> {
        let fixed = [&self.call_id, &self.local, &self.remote, &self.remote_target];
        let octets: usize = fixed.into_iter().chain(self.route_set.iter()).map(|text| text.len()).sum();
        if octets <= DIALOG_OCTETS_MAX {
            Ok(self)
        } else {
            Err(DialogError("the dialog's headers are too long"))
        }
    }
}

fn call_id(message: &Message) -> Result<Box<str>, DialogError> {
    message.call_id().map(Box::from).map_err(|_| DialogError("Call-ID is malformed"))
}

/// The URI of the one Contact; `None` where there is none.
fn contact(message: &Message) -> Result<Option<Box<str>>, DialogError> {
    let contacts = message.contacts().map_err(|_| DialogError("Contact is malformed"))?;
    match contacts {
        Contacts::List(list) => match list.as_slice() {
            [] => Ok(None),
            [one] if one.addr.uri.is_sip() => Ok(Some(one.addr.uri.as_str().into())),
            [_] => Err(DialogError("Contact is no sip or sips URI")),
            _ => Err(DialogError("there must be one Contact")),
        },
        Contacts::Star => Err(DialogError("Contact must be a URI")),
    }
}

fn record_route(message: &Message) -> Result<Vec<Box<str>>, DialogError> {
    message
        .name_addrs(HeaderId::RecordRoute)
        .map(|route| unfolded(route.map_err(|_| DialogError("Record-Route is malformed"))?.text))
        .collect()
}

/// A value without the line breaks of RFC 3261 §7.3.1, which our own messages do not have.
fn unfolded(text: &[u8]) -> Result<Box<str>, DialogError> {
    let text = str::from_utf8(text).map_err(|_| DialogError("a header of the dialog is not UTF-8"))?;
    Ok(text.replace("\r\n", " ").replace(['\r', '\n'], " ").into())
}
