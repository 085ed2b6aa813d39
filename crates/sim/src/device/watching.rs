//! Watching other people: SUBSCRIBE and NOTIFY for `presence` (RFC 6665 §4.1, RFC 3856), one by one or as a list
//! (RFC 4662, RFC 5367).
//!
//! A device that wants to watch goes on until it does: it refreshes, and subscribes anew when its subscription is gone,
//! for whatever reason. What it was shown last of each person it keeps.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use node::Instant;
use rand::Rng;
use sip_message::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use super::dialog::Dialog;
use super::transaction::Purpose;
use super::{Alarm, CHALLENGES_MAX, Device, Effect, TRANSACTION_TIMEOUT};
use crate::event::Fact;
use crate::notice::{CallsShown, Notice, Shown};
use crate::xml::escaped;

/// Pause before a subscription that failed or was ended is made anew.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(3);
/// User part of the list service.
const LIST_SERVICE: &str = "rls";

/// Whom a device watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// One person: `user@domain`.
    Person(String),
    /// The calls of one person: `user@domain` (RFC 4235).
    Calls(String),
    /// The contact list that the server keeps for the device's owner.
    Contacts,
    /// These people, by one subscription.
    People(Vec<String>),
}

/// What a device answers to NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyPlan {
    /// 200.
    Take,
    /// Another final answer.
    Refuse(u16),
    /// Nothing at all.
    Silent,
}

/// What a watcher was shown last of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// What; `None` where the list has the person without any state.
    pub shown: Option<Rc<Shown>>,
}

/// A subscription and how far it has come.
#[derive(Debug)]
pub(super) struct Watch {
    wanted: bool,
    call_id: String,
    local_tag: String,
    dialog: Option<Dialog>,
    remote_cseq: u32,
    in_flight: bool,
    is_active: bool,
    /// There is an alarm that will try again.
    waits: bool,
    challenged: u8,
    expires_seconds: u32,
    serial: u32,
    list_version: Option<u32>,
    pub(super) seen: BTreeMap<String, Seen>,
    /// The same of somebody's calls.
    calls: Option<CallsShown>,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            wanted: true,
            call_id: String::new(),
            local_tag: String::new(),
            dialog: None,
            remote_cseq: 0,
            in_flight: false,
            is_active: false,
            waits: false,
            challenged: 0,
            expires_seconds: 0,
            serial: 0,
            list_version: None,
            seen: BTreeMap::new(),
            calls: None,
        }
    }

    /// Forgets the dialog, but not what was seen.
    fn lose(&mut self) {
        self.dialog = None;
        self.call_id.clear();
        self.is_active = false;
        self.list_version = None;
        self.serial += 1;
    }

    /// The process ended: whom it watches is a setting, and stays.
    pub(super) fn after_crash(&self) -> Option<Watch> {
        self.wanted.then(Watch::new)
    }
}

impl Device {
    /// Watches from now on.
    pub(crate) fn watch(&mut self, now: Instant, watched: Watched) {
        self.now = now;
        let watch = self.watches.entry(watched.clone()).or_insert_with(Watch::new);
        watch.wanted = true;
        self.attempt_subscribe(&watched);
    }

    /// Watches no more.
    pub(crate) fn unwatch(&mut self, now: Instant, watched: &Watched) {
        self.now = now;
        let Some(watch) = self.watches.get_mut(watched) else { return };
        watch.wanted = false;
        if watch.dialog.is_none() && !watch.in_flight {
            self.watches.remove(watched);
        } else {
            self.attempt_subscribe(watched);
        }
    }

    /// Refreshes a subscription before its time, as an impatient user does.
    pub(crate) fn poll_watch(&mut self, now: Instant, watched: &Watched) {
        self.now = now;
        self.attempt_subscribe(watched);
    }

    /// Whom it wants to watch, whether its subscription is active, and what it was shown last.
    pub fn watches(&self) -> impl Iterator<Item = (&Watched, bool, &BTreeMap<String, Seen>)> {
        let wanted = self.watches.iter().filter(|(_, w)| w.wanted);
        wanted.map(|(watched, w)| (watched, w.is_active && w.dialog.is_some(), &w.seen))
    }

    /// What it was shown last of the calls that it watches.
    pub fn calls_seen(&self, watched: &Watched) -> Option<&CallsShown> {
        self.watches.get(watched)?.calls.as_ref()
    }

    /// A way to the server is there again: every subscription is refreshed, and made anew where it is gone.
    pub(super) fn watch_anew(&mut self) {
        let all: Vec<Watched> = self.watches.keys().cloned().collect();
        for watched in all {
            self.attempt_subscribe(&watched);
        }
    }

    pub(super) fn subscribe_again(&mut self, watched: &Watched) {
        if let Some(watch) = self.watches.get_mut(watched) {
            watch.waits = false;
            self.attempt_subscribe(watched);
        }
    }

    pub(super) fn refresh_watch(&mut self, watched: &Watched, serial: u32) {
        if self.watches.get(watched).is_some_and(|w| w.serial == serial && w.wanted) {
            self.attempt_subscribe(watched);
        }
    }

    /// Nobody said that the subscription is over; it is all the same.
    pub(super) fn watch_over(&mut self, watched: &Watched) {
        if self.watches.get(watched).is_some_and(|w| !w.wanted && !w.in_flight) {
            self.watches.remove(watched);
        }
    }

    /// Subscribes, refreshes, or unsubscribes: whatever is wanted now.
    fn attempt_subscribe(&mut self, watched: &Watched) {
        let registered = self.flows.iter().any(|f| f.registered_until.is_some());
        let Some(flow) = self.best_flow().filter(|_| registered) else { return };
        let (branch, call_id, tag) = (self.branch(), self.token("sub-"), self.token("s"));
        let Some(watch) = self.watches.get_mut(watched).filter(|w| !w.in_flight) else { return };
        if !watch.wanted && watch.dialog.is_none() {
            self.watches.remove(watched);
            return;
        }
        watch.in_flight = true;
        let asked = watch.expires_seconds.max(self.config.presence_expires_seconds);
        let expires = if watch.wanted { asked } else { 0 };
        let mut request = match watch.dialog.as_mut() {
            Some(dialog) => {
                dialog.cseq += 1;
                let dialog = dialog.clone();
                let mut request = self.in_dialog_request(&dialog, Method::Subscribe, &branch);
                request.header(HeaderId::Contact, format!("<{}>", self.contact_uri()));
                request
            }
            None => {
                watch.call_id = call_id.clone();
                watch.local_tag = tag.clone();
                watch.remote_cseq = 0;
                let uri = self.target_of(watched);
                let me = self.address_of_record();
                let mut request = RequestBuilder::new(Method::Subscribe, &uri);
                request.header(HeaderId::Via, self.via(&branch));
                for route in &self.flows[flow].service_route {
                    request.header(HeaderId::Route, route);
                }
                request
                    .header(HeaderId::MaxForwards, "70")
                    .header(HeaderId::From, format!("<sip:{me}>;tag={tag}"))
                    .header(HeaderId::To, format!("<{uri}>"))
                    .header(HeaderId::CallId, call_id)
                    .header(HeaderId::CSeq, "1 SUBSCRIBE")
                    .header(HeaderId::Contact, format!("<{}>", self.contact_uri()));
                request
            }
        };
        let is_calls = matches!(watched, Watched::Calls(_));
        let package = if is_calls { "dialog" } else { "presence" };
        request.header(HeaderId::Event, package).header(HeaderId::Expires, expires.to_string());
        let mut body = String::new();
        if is_calls {
            request.header(HeaderId::Accept, "application/dialog-info+xml");
        } else if !matches!(watched, Watched::Person(_)) {
            request.header(HeaderId::Supported, "eventlist");
            request.header(HeaderId::Accept, "application/pidf+xml, application/rlmi+xml, multipart/related");
        } else {
            request.header(HeaderId::Accept, "application/pidf+xml");
        }
        let initial = self.watches.get(watched).is_some_and(|w| w.dialog.is_none());
        if let (Watched::People(people), true) = (watched, initial) {
            request.header(HeaderId::Require, "recipient-list-subscribe");
            request.header(HeaderId::ContentDisposition, "recipient-list");
            body = recipients(people);
        }
        let uri = match self.watches.get(watched).and_then(|w| w.dialog.as_ref()) {
            Some(dialog) => dialog.target.clone(),
            None => self.target_of(watched),
        };
        self.sign(&mut request, "SUBSCRIBE", &uri, body.as_bytes());
        if !body.is_empty() {
            request.body("application/resource-lists+xml", body.as_bytes());
        }
        let purpose = Purpose::Subscribe { watched: watched.clone(), removes: expires == 0 };
        self.begin(flow, &branch, "SUBSCRIBE", request.build(), purpose);
    }

    fn target_of(&self, watched: &Watched) -> String {
        match watched {
            Watched::Person(address) | Watched::Calls(address) => format!("sip:{address}"),
            Watched::Contacts | Watched::People(_) => format!("sip:{LIST_SERVICE}@{}", self.config.domain),
        }
    }

    pub(super) fn subscribe_concluded(
        &mut self,
        watched: &Watched,
        removes: bool,
        response: Option<&Message>,
        status: u16,
    ) {
        let Some(watch) = self.watches.get_mut(watched) else { return };
        watch.in_flight = false;
        match (status, response) {
            (200..=299, Some(response)) => {
                watch.challenged = 0;
                if removes && !watch.wanted {
                    // What is still to come is the last NOTIFY.
                    return self.alarm(TRANSACTION_TIMEOUT, Alarm::WatchOver(watched.clone()));
                }
                if removes {
                    // It was wanted again in the meantime.
                    watch.lose();
                    return self.attempt_subscribe(watched);
                }
                let asked = watch.expires_seconds.max(self.config.presence_expires_seconds);
                let granted = response.number(HeaderId::Expires).ok().flatten().unwrap_or(asked).max(2);
                watch.serial += 1;
                let serial = watch.serial;
                let is_current = response.call_id().is_ok_and(|c| c == watch.call_id);
                let needs_dialog = watch.dialog.is_none() && is_current;
                if let Some(dialog) =
                    Some(()).filter(|()| needs_dialog).and_then(|()| Dialog::of_caller(response))
                {
                    let watch = self.watches.get_mut(watched).expect("it was there above");
                    watch.dialog = Some(dialog);
                }
                let share = self.rng.random_range(0.5..0.9);
                let refresh = Duration::from_secs_f64(f64::from(granted) * share);
                self.alarm(refresh, Alarm::RefreshWatch { watched: watched.clone(), serial });
                if self.watches.get(watched).is_some_and(|w| !w.wanted) {
                    self.attempt_subscribe(watched);
                }
            }
            (401 | 407, Some(_)) if watch.challenged < CHALLENGES_MAX => {
                watch.challenged += 1;
                self.attempt_subscribe(watched);
            }
            (423, Some(response)) => {
                watch.expires_seconds = response.number(HeaderId::MinExpires).ok().flatten().unwrap_or(3600);
                self.attempt_subscribe(watched);
            }
            (481, Some(_)) if watch.wanted && watch.dialog.is_some() => {
                // RFC 6665 §4.1.2.2: it is gone, and a new one is made.
                watch.lose();
                self.attempt_subscribe(watched);
            }
            _ if !watch.wanted => {
                self.watches.remove(watched);
            }
            (_, response) => {
                watch.challenged = 0;
                if response.is_some() || watch.dialog.is_none() {
                    watch.lose();
                }
                self.try_watch_again(watched);
            }
        }
    }

    fn try_watch_again(&mut self, watched: &Watched) {
        let Some(watch) = self.watches.get_mut(watched).filter(|w| !w.waits) else { return };
        watch.waits = true;
        let pause = SUBSCRIBE_AGAIN.mul_f64(self.rng.random_range(0.5..1.5));
        self.alarm(pause, Alarm::SubscribeAgain(watched.clone()));
    }

    pub(super) fn notify_received(&mut self, key: &(String, String), request: &Message) {
        let status = match self.config.script.on_notify {
            NotifyPlan::Silent => return,
            NotifyPlan::Refuse(status) => {
                if let Some(watched) = self.watch_of(request)
                    && status == 481
                {
                    // It said that it knows nothing of it, and will not.
                    self.watches.get_mut(&watched).expect("it was just found").lose();
                    self.try_watch_again(&watched);
                }
                status
            }
            NotifyPlan::Take => self.notified(request),
        };
        self.reply(key, ResponseBuilder::new(request, status).build());
    }

    fn watch_of(&self, request: &Message) -> Option<Watched> {
        let (call_id, to) = (request.call_id().ok()?, request.to().ok()?);
        let tag = to.tag()?;
        let found = self.watches.iter().find(|(_, w)| w.call_id == call_id && w.local_tag == tag);
        found.map(|(watched, _)| watched.clone())
    }

    /// Takes a NOTIFY; returns what it is answered.
    fn notified(&mut self, request: &Message) -> u16 {
        let Some(watched) = self.watch_of(request) else { return 481 };
        let dialog = Dialog::of_callee(request);
        let now = self.now;
        let watch = self.watches.get_mut(&watched).expect("it was just found");
        let number = request.cseq().map_or(0, |c| c.number);
        let from_other_dialog = watch.dialog.as_ref().is_some_and(|d| d.remote_tag() != dialog.remote_tag());
        if from_other_dialog {
            return 481;
        }
        if number <= watch.remote_cseq {
            // RFC 3261 §12.2.2: out of order.
            return 500;
        }
        watch.remote_cseq = number;
        let state =
            request.header(HeaderId::SubscriptionState).map(|s| String::from_utf8_lossy(s).into_owned());
        let state = state.unwrap_or_default();
        let content_type =
            request.header(HeaderId::ContentType).map(|c| String::from_utf8_lossy(c).into_owned());
        let content_type = content_type.filter(|_| !request.body().is_empty());
        let notice = content_type.map(|t| Notice::read(&t, &Bytes::copy_from_slice(request.body())));
        if watch.dialog.is_none() {
            watch.dialog = Some(Dialog { cseq: 1, ..dialog });
        }
        watch.is_active = true;
        let mut missed = false;
        match notice {
            Some(Ok(Notice::Person(shown))) => {
                let address = shown.entity.clone();
                watch.seen.insert(address, Seen { at: now, shown: Some(Rc::new(shown)) });
            }
            Some(Ok(Notice::List { version, is_full, rows })) => {
                missed = !is_full && watch.list_version.is_none_or(|known| known.wrapping_add(1) != version);
                watch.list_version = Some(version);
                if is_full {
                    watch.seen.clear();
                }
                for row in rows {
                    watch.seen.insert(row.address, Seen { at: now, shown: row.shown.map(Rc::new) });
                }
            }
            Some(Ok(Notice::Calls(shown))) => watch.calls = Some(shown),
            Some(Err(reason)) => self.effects.push(Effect::Fact(Fact::Puzzled { reason })),
            None => {}
        }
        if state.trim_start().to_ascii_lowercase().starts_with("terminated") {
            let watch = self.watches.get_mut(&watched).expect("it was found above");
            watch.lose();
            if watch.wanted {
                self.try_watch_again(&watched);
            } else if !watch.in_flight {
                self.watches.remove(&watched);
            }
        } else if missed {
            // RFC 4662 §5.2: a version is missing, so the whole list is asked for again.
            self.attempt_subscribe(&watched);
        }
        200
    }
}

fn recipients(people: &[String]) -> String {
    let entries: String = people.iter().map(|p| format!("<entry uri=\"sip:{}\"/>", escaped(p))).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>\r\n"
    )
}
