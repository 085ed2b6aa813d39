//! W9: what a contact list costs. Watchers watch the same contacts, each by one list subscription (RFC 4662, RFC 5367) or by one
//! subscription a contact: subscribe, hear one change of each contact, refresh, unsubscribe.

use crate::core::{App, Core, Pacer, Tx};
use crate::hist::Hist;
use crate::sip::{self, Msg};
use std::fmt::Write as _;
use std::time::Duration;

const SUBSCRIBE: u8 = 1;
const PUBLISH: u8 = 2;
const AUTH: u8 = 0x10;

/// How long the end of a step is waited for once its last request is answered, in nanoseconds.
const SILENCE_MAX: u64 = 5_000_000_000;

/// By what a watcher watches its contacts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    List,
    Single,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Every contact publishes; nobody watches.
    Unwatched,
    /// A step ends when every watcher was told of every contact.
    Subscribe,
    /// Every contact publishes; every watcher is told.
    Change,
    Refresh,
    /// Ends with the last NOTIFY of every dialog.
    Unsubscribe,
}

#[derive(Clone, Default)]
struct Contact {
    version: u64,
    begun: u64,
    etag: String,
    /// Watchers that have yet to be told.
    missing: usize,
    /// Its PUBLISH is not answered yet.
    is_open: bool,
}

#[derive(Clone, Default)]
struct Dialog {
    /// To, with the server's tag, and the server's Contact.
    to: String,
    target: String,
    ended: bool,
}

pub struct Contacts {
    pub pacer: Pacer,
    by: By,
    step: Step,
    watchers: usize,
    next: usize,
    cycle: u32,
    cseq: u32,
    contacts: Vec<Contact>,
    dialogs: Vec<Dialog>,
    /// Whether a watcher has yet to be told of a contact (watcher * contacts + contact).
    due: Vec<bool>,
    missing: usize,
    /// When something last came in.
    heard: u64,
    pub notifies: u64,
    pub octets: u64,
    pub latency: Hist,
    pub bad_status: Vec<u16>,
}

impl Contacts {
    /// Watchers are users 0..watchers, contacts the users after them.
    pub fn new(by: By, watchers: usize, contacts: usize) -> Contacts {
        let dialogs = match by {
            By::List => watchers,
            By::Single => watchers * contacts,
        };
        Contacts {
            pacer: Pacer::new(0.0, 1, 0),
            by,
            step: Step::Unwatched,
            watchers,
            next: 0,
            cycle: 0,
            cseq: 0,
            contacts: vec![Contact::default(); contacts],
            dialogs: vec![Dialog::default(); dialogs],
            due: vec![false; watchers * contacts],
            missing: 0,
            heard: 0,
            notifies: 0,
            octets: 0,
            latency: Hist::default(),
            bad_status: Vec::new(),
        }
    }

    /// Goes on with a step: publications at `rate` a second (0: `window` at once), subscriptions `window` at once.
    pub fn begin(&mut self, step: Step, window: usize, rate: f64) {
        self.step = step;
        self.next = 0;
        (self.notifies, self.octets) = (0, 0);
        self.latency = Hist::default();
        self.pacer = match step {
            Step::Unwatched | Step::Change => {
                let window = if rate > 0.0 { usize::MAX } else { window };
                Pacer::new(rate, window, self.contacts.len() as u64)
            }
            Step::Subscribe | Step::Refresh | Step::Unsubscribe => {
                Pacer::new(0.0, window, self.dialogs.len() as u64)
            }
        };
        match step {
            Step::Subscribe => {
                self.cycle += 1;
                self.dialogs.fill(Dialog::default());
                self.all_due();
            }
            Step::Refresh => self.all_due(),
            Step::Unsubscribe => self.missing = self.dialogs.len(),
            Step::Unwatched | Step::Change => {}
        }
    }

    fn all_due(&mut self) {
        self.due.fill(true);
        self.missing = self.due.len();
        for contact in &mut self.contacts {
            contact.missing = self.watchers;
        }
    }

    /// What a step still waited for when it ended: 0, or something was lost.
    pub fn missing(&self) -> usize {
        self.missing
    }

    fn watcher_of(&self, dialog: usize) -> usize {
        match self.by {
            By::List => dialog,
            By::Single => dialog / self.contacts.len(),
        }
    }

    fn contact_name<'a>(&self, c: &'a Core, contact: usize) -> &'a str {
        &c.users[self.watchers + contact].name
    }

    /// The URI that a dialog's first SUBSCRIBE is for.
    fn watched(&self, c: &Core, dialog: usize) -> String {
        let d = &c.cfg.domain;
        match self.by {
            By::List => format!("sip:rls@{d}"),
            By::Single => format!("sip:{}@{d}", self.contact_name(c, dialog % self.contacts.len())),
        }
    }

    fn request_uri(&self, c: &Core, dialog: usize) -> String {
        match self.dialogs[dialog].target.as_str() {
            "" => self.watched(c, dialog),
            target => target.to_owned(),
        }
    }

    fn subscribe(&mut self, c: &mut Core, dialog: usize, kind: u8, auth: &str) {
        self.cseq += 1;
        let watcher = self.watcher_of(dialog);
        let d = c.cfg.domain.clone();
        let uri = self.request_uri(c, dialog);
        let is_first = self.dialogs[dialog].to.is_empty();
        let to = match is_first {
            true => format!("<{}>", self.watched(c, dialog)),
            false => self.dialogs[dialog].to.clone(),
        };
        let expires = if self.step == Step::Unsubscribe { 0 } else { 3600 };
        let contact = c.contact(watcher);
        let mut headers = format!(
            "From: <sip:{}@{d}>;tag=s{dialog}\r\nTo: {to}\r\nCall-ID: s-{:x}-{dialog}-{}\r\nCSeq: {} SUBSCRIBE\r\nContact: <{contact}>\r\nEvent: presence\r\nExpires: {expires}\r\n{auth}",
            c.users[watcher].name, c.run, self.cycle, self.cseq
        );
        let mut body = String::new();
        match self.by {
            By::Single => headers.push_str("Accept: application/pidf+xml\r\n"),
            By::List => headers.push_str(
                "Accept: application/pidf+xml, application/rlmi+xml, multipart/related\r\nSupported: eventlist\r\n",
            ),
        }
        if self.by == By::List && is_first {
            headers.push_str("Require: recipient-list-subscribe\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n");
            body.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>");
            for contact in 0..self.contacts.len() {
                let _ = write!(body, "<entry uri=\"sip:{}@{d}\"/>", self.contact_name(c, contact));
            }
            body.push_str("</list></resource-lists>\r\n");
        }
        let conn = c.users[watcher].conn;
        c.start(conn, "SUBSCRIBE", kind, dialog as u64, &uri, &headers, body.as_bytes());
    }

    fn publish(&mut self, c: &mut Core, contact: usize, kind: u8, auth: &str) {
        let user = self.watchers + contact;
        c.users[user].cseq += 1;
        let d = &c.cfg.domain;
        let (u, of) = (&c.users[user], &self.contacts[contact]);
        let uri = format!("sip:{}@{d}", u.name);
        let if_match =
            if of.etag.is_empty() { String::new() } else { format!("SIP-If-Match: {}\r\n", of.etag) };
        let headers = format!(
            "From: <{uri}>;tag=p{contact}\r\nTo: <{uri}>\r\nCall-ID: p-{:x}-{contact}\r\nCSeq: {} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{if_match}Content-Type: application/pidf+xml\r\n{auth}",
            c.run, u.cseq
        );
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{uri}\"><tuple id=\"t1\"><status><basic>{}</basic></status><note>c{contact}.{};</note></tuple></presence>\r\n",
            if of.version.is_multiple_of(2) { "open" } else { "closed" },
            of.version
        );
        let conn = u.conn;
        c.start(conn, "PUBLISH", kind, contact as u64, &uri, &headers, body.as_bytes());
    }

    fn change(&mut self, c: &mut Core, contact: usize, at: u64) {
        let is_watched = self.step == Step::Change;
        let of = &mut self.contacts[contact];
        of.version += 1;
        of.begun = at;
        of.is_open = true;
        of.missing = if is_watched { self.watchers } else { 0 };
        if is_watched {
            self.missing += self.watchers;
            let n = self.contacts.len();
            for watcher in 0..self.watchers {
                self.due[watcher * n + contact] = true;
            }
        }
        self.publish(c, contact, PUBLISH, "");
    }

    fn check(&mut self, contact: usize) {
        let of = &self.contacts[contact];
        if matches!(self.step, Step::Unwatched | Step::Change) && !of.is_open && of.missing == 0 {
            self.pacer.done += 1;
        }
    }

    fn fail(&mut self, status: u16) {
        self.pacer.failed += 1;
        if self.bad_status.len() < 8 {
            self.bad_status.push(status);
        }
    }

    fn told(&mut self, watcher: usize, contact: usize, version: u64, now: u64) {
        let pair = watcher * self.contacts.len() + contact;
        let of = &mut self.contacts[contact];
        if of.version != version || !std::mem::take(&mut self.due[pair]) {
            return;
        }
        of.missing -= 1;
        self.missing -= 1;
        if self.step == Step::Change {
            self.latency.record(now - of.begun);
            self.check(contact);
        }
    }
}

impl App for Contacts {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while let Some(at) = self.pacer.next(now) {
            let i = self.next;
            self.next += 1;
            match self.step {
                Step::Unwatched | Step::Change => self.change(c, i, at),
                Step::Subscribe | Step::Refresh | Step::Unsubscribe => self.subscribe(c, i, SUBSCRIBE, ""),
            }
            now = c.now();
            self.heard = now;
        }
        let is_silent = self.pacer.started >= self.pacer.total && now > self.heard + SILENCE_MAX;
        if is_silent || self.pacer.finished() && self.missing == 0 {
            return None;
        }
        Some(self.pacer.wait(now).clamp(Duration::from_micros(50), Duration::from_millis(20)))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let i = tx.data as usize;
        self.heard = c.now();
        match (tx.kind, m.status) {
            (_, 0..=199) => {}
            (SUBSCRIBE, 401 | 407) => {
                let uri = self.request_uri(c, i);
                match c.answer(self.watcher_of(i), m, "SUBSCRIBE", &uri) {
                    Some(a) => self.subscribe(c, i, SUBSCRIBE | AUTH, &a),
                    None => self.fail(m.status),
                }
            }
            (PUBLISH, 401 | 407) => {
                let uri = format!("sip:{}@{}", self.contact_name(c, i), c.cfg.domain);
                match c.answer(self.watchers + i, m, "PUBLISH", &uri) {
                    Some(a) => self.publish(c, i, PUBLISH | AUTH, &a),
                    None => self.fail(m.status),
                }
            }
            (k, 200..=299) if k & 0xf == SUBSCRIBE => {
                let dialog = &mut self.dialogs[i];
                dialog.to = String::from_utf8_lossy(m.to).into_owned();
                dialog.target = String::from_utf8_lossy(sip::uri_of(m.contact)).into_owned();
                self.pacer.done += 1;
            }
            (_, 200..=299) => {
                let of = &mut self.contacts[i];
                of.etag = String::from_utf8_lossy(m.etag).into_owned();
                of.is_open = false;
                self.check(i);
            }
            (_, status) => self.fail(status),
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "w", "", b"");
        if m.method != b"NOTIFY" {
            return;
        }
        let now = c.now();
        self.heard = now;
        self.notifies += 1;
        self.octets += m.body.len() as u64;
        // Call-ID: s-<run>-<dialog>-<cycle>
        let mut id = std::str::from_utf8(m.call_id).unwrap_or_default().split('-').skip(2);
        let dialog = id.next().and_then(|n| n.parse::<usize>().ok());
        let cycle = id.next().and_then(|n| n.parse::<u32>().ok());
        let (Some(dialog), Some(cycle)) = (dialog, cycle) else {
            return;
        };
        if cycle != self.cycle || dialog >= self.dialogs.len() {
            return;
        }
        if m.sub_state.starts_with(b"terminated") {
            if self.step == Step::Unsubscribe && !std::mem::replace(&mut self.dialogs[dialog].ended, true) {
                self.missing -= 1;
            }
            return;
        }
        let watcher = self.watcher_of(dialog);
        // Notes are c<contact>.<version>;
        let mut rest = m.body;
        while let Some(at) = sip::find(rest, b"note>c") {
            rest = &rest[at + 6..];
            let contact = sip::num(rest) as usize;
            let Some(dot) = rest.iter().take(12).position(|b| *b == b'.') else { continue };
            let version = sip::num(&rest[dot + 1..]);
            if contact < self.contacts.len() && self.step != Step::Unsubscribe {
                self.told(watcher, contact, version, now);
            }
        }
    }

    fn timeout(&mut self, _: &mut Core, _: &Tx) {
        self.fail(0);
    }
}
