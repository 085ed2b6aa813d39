//! Following the homes' accounts: the subscriber's side of the event package `chancery-users` (RFC 6665 §4.1).
//!
//! Each Front End is asked by a SUBSCRIBE over mutual TLS; its NOTIFYs make the dialog and bring the accounts in parts
//! ([`sign_in::replica`]). Whenever something does not fit (a part is missing, a refresh is refused, the connection is gone) the
//! Director begins anew with a dialog of its own: the home then tells everybody again, and until it has, the old copy is good.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use federation::HostPort;
use node::{Flow, Level};
use rand::Rng;
use sign_in::replica::{CONTENT_TYPE, PACKAGE, Part};
use sip_message::{HeaderId, Message, Method};
use sip_stack::hop::PeerHop;
use sip_stack::request::Refusal;
use sip_stack::stack::{Forwarding, NextHop, OwnOutcome, Target};
use sip_stack::timer::TimerId;

use crate::director::{Director, Due};
use crate::homes::HomeId;
use crate::passing::hop_to;
use crate::pipeline::Request;

/// How long a subscription is asked for.
const EXPIRES_SECONDS: u64 = 600;
/// When it is refreshed: in time for several tries.
const REFRESH_AFTER: Duration = Duration::from_secs(EXPIRES_SECONDS / 2);
/// How long after a failure the home is asked again. A home that is back is followed within seconds.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long a home may bring nothing after its SUBSCRIBE was accepted.
const FIRST_PART_WITHIN: Duration = Duration::from_secs(10);

/// The subscription to one home.
pub(crate) struct Feed {
    pub(crate) hop: Arc<PeerHop>,
    pub(crate) host: String,
    call_id: String,
    tag: String,
    cseq: u32,
    /// What the first NOTIFY told of the other end.
    dialog: Option<Peer>,
    /// The next step: a first try, a refresh, or giving up.
    timer: Option<TimerId>,
}

struct Peer {
    tag: String,
    target: String,
    flow: Flow,
}

impl Feed {
    pub(crate) fn new(front_end: &HostPort) -> Feed {
        Feed {
            hop: hop_to(front_end),
            host: front_end.host.clone(),
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            dialog: None,
            timer: None,
        }
    }
}

impl Director {
    /// Asks every home.
    pub(crate) fn follow_homes(&mut self) {
        for home in 0..self.feeds.len() {
            self.follow(HomeId(home));
        }
    }

    /// Begins anew.
    fn follow(&mut self, home: HomeId) {
        let (call_id, tag): (u64, u64) = (self.rng.random(), self.rng.random());
        let feed = &mut self.feeds[home.0];
        feed.call_id = format!("{call_id:016x}");
        feed.tag = format!("{tag:016x}");
        feed.cseq = 0;
        feed.dialog = None;
        self.subscribe(home);
    }

    /// Begins anew, but not at once: whatever is wrong may take a moment.
    fn follow_later(&mut self, home: HomeId, why: &'static str) {
        let fields = vec![("home", self.feeds[home.0].host.clone())];
        self.report(Level::Warn, "replica-interrupted", None, why, fields);
        self.feeds[home.0].dialog = None;
        self.feeds[home.0].call_id.clear();
        self.set_feed_timer(home, AGAIN_AFTER);
    }

    fn set_feed_timer(&mut self, home: HomeId, after: Duration) {
        let timer = self.timers.insert(self.now.monotonic + after, Due::Feed(home));
        if let Some(before) = self.feeds[home.0].timer.replace(timer) {
            self.timers.cancel(before);
        }
    }

    /// The time for the next step has come.
    pub(crate) fn feed_due(&mut self, home: HomeId) {
        self.feeds[home.0].timer = None;
        match self.feeds[home.0].dialog {
            // A refresh.
            Some(_) => self.subscribe(home),
            None => self.follow(home),
        }
    }

    fn subscribe(&mut self, home: HomeId) {
        let entry = self.entry.clone();
        let contact = entry.replace(";lr>", ">");
        let ours = self.name().to_owned();
        let feed = &mut self.feeds[home.0];
        feed.cseq += 1;
        let Feed { host, call_id, tag, cseq, dialog, .. } = &*feed;
        let (uri, to_tag) = match dialog {
            Some(peer) => (peer.target.clone(), format!(";tag={}", peer.tag)),
            None => (format!("sip:{host}"), String::new()),
        };
        let text = format!(
            "SUBSCRIBE {uri} SIP/2.0\r\nMax-Forwards: 70\r\nFrom: <sip:{ours}>;tag={tag}\r\nTo: <sip:{host}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: {contact}\r\nEvent: {PACKAGE}\r\nAccept: {CONTENT_TYPE}\r\n\
             Expires: {EXPIRES_SECONDS}\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text)).expect("what we write is SIP");
        let target = Target {
            uri,
            routes: Vec::new(),
            hop: NextHop::Peer(Arc::clone(&feed.hop)),
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let own = u64::try_from(home.0).expect("an index fits") << 32 | u64::from(*cseq);
        self.stack.send_own(self.now.monotonic, own, &request, target, Forwarding::default());
    }

    /// What became of a SUBSCRIBE.
    pub(crate) fn subscribed(&mut self, own: u64, outcome: OwnOutcome) {
        let home = HomeId(usize::try_from(own >> 32).expect("it was an index"));
        let feed = &self.feeds[home.0];
        if feed.call_id.is_empty() || u64::from(feed.cseq) != own & 0xffff_ffff {
            // Of an attempt that was given up since.
            return;
        }
        match outcome.status {
            200..=299 if feed.dialog.is_some() => self.set_feed_timer(home, REFRESH_AFTER),
            200..=299 => self.set_feed_timer(home, FIRST_PART_WITHIN),
            403 => self.follow_later(home, "the home does not list this Director"),
            _ => self.follow_later(home, "the home did not accept the subscription"),
        }
    }

    /// Whether a request is of a subscription of ours.
    pub(crate) fn feed_of(&self, request: &Request<'_>) -> Option<HomeId> {
        if request.method != Method::Notify {
            return None;
        }
        let (call_id, tag) = (request.message.call_id().ok()?, request.message.to_tag()?);
        let is_ours = |feed: &Feed| {
            feed.host.eq_ignore_ascii_case(&request.server.host) && feed.call_id == call_id && feed.tag == tag
        };
        self.feeds.iter().position(is_ours).map(HomeId)
    }

    /// A NOTIFY with a part, or with the end.
    pub(crate) fn notified(&mut self, home: HomeId, request: &Request<'_>) -> Result<(), Refusal> {
        let message = request.message;
        let state = message.header(HeaderId::SubscriptionState).unwrap_or(b"");
        let is_over = state.trim_ascii_start().to_ascii_lowercase().starts_with(b"terminated");
        let part = match message.body().is_empty() {
            true => None,
            false => match Part::parse(message.body()) {
                Ok(part) => Some(part),
                Err(_) => {
                    self.follow_later(home, "a home tells what cannot be read");
                    return Err(Refusal::new(400, "the body is no part of a copy"));
                }
            },
        };
        let tag = message.from_tag().unwrap_or_default().to_owned();
        let target = message.contacts().ok().and_then(|contacts| match contacts {
            sip_message::Contacts::List(list) => list.first().map(|c| c.addr.uri.as_str().to_owned()),
            sip_message::Contacts::Star => None,
        });
        let Some(target) = target else {
            return Err(Refusal::new(400, "a NOTIFY without a Contact makes no dialog"));
        };
        let flow = request.arrival.flow;
        let is_new = self.feeds[home.0].dialog.replace(Peer { tag, target, flow }).is_none();
        if is_new {
            self.set_feed_timer(home, REFRESH_AFTER);
        }
        let was_complete = self.homes.is_complete();
        if part.is_some_and(|part| !self.homes.take(home, part)) {
            self.follow_later(home, "a part of the copy is missing");
            return Err(Refusal::new(481, "the subscription begins anew"));
        }
        if !was_complete && self.homes.is_complete() {
            let fields = vec![("users", self.homes.len().to_string())];
            self.report(Level::Info, "running", None, "the homes' accounts are known", fields);
        }
        self.answer_ok(request);
        if is_over {
            self.follow_later(home, "the home ended the subscription");
        }
        Ok(())
    }

    /// A connection is gone: what comes over it comes no more.
    pub(crate) fn feeds_closed(&mut self, flow: Flow) {
        let lost: Vec<HomeId> = (0..self.feeds.len())
            .filter(|home| self.feeds[*home].dialog.as_ref().is_some_and(|peer| peer.flow == flow))
            .map(HomeId)
            .collect();
        for home in lost {
            self.follow_later(home, "the connection with the home is gone");
        }
    }
}
