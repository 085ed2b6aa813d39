//! The user model: a company's people at their desks, after the model that Microsoft published for OCS 2007.
//!
//! Each person has one device or two, watches fifty contacts through one list subscription per device (RFC 4662, RFC 5367),
//! publishes, and talks in conversations with typing signals. Three phases: everybody signs in; a busy hour, compressed in
//! time; and the storm, in which all connections are lost at once and come back within a minute.

use crate::core::{App, Core, IdMap, Tx};
use crate::hist::Hist;
use crate::sip::{self, Msg};
use std::fmt::Write as _;
use std::time::Duration;

const REGISTER: u8 = 1;
const SUBSCRIBE: u8 = 2;
const PUBLISH: u8 = 3;
const MESSAGE: u8 = 4;
const TYPING: u8 = 5;
const AUTH: u8 = 0x10;

/// A device waits so long after a 503 before it tries again, and up to as much more.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// A timer token is a kind above and a device below.
const KIND_SHIFT: u32 = 32;
const TIMER_OPEN: u64 = 1;
const TIMER_REGISTER: u64 = 2;

/// How many people do what, in events a second of the busy hour.
pub struct Model {
    pub people: usize,
    pub devices: usize,
    pub contacts: usize,
    /// PUBLISH of all people together.
    pub publications_per_s: f64,
    /// MESSAGE with text of all people together; each is preceded by two typing signals.
    pub messages_per_s: f64,
}

impl Model {
    /// 4 publications an hour; 6 conversations of 10 messages a day, of which the busy hour has 0.5 / 1.6.
    pub fn new(people: usize, devices: usize, contacts: usize, compress: f64) -> Model {
        let n = people as f64;
        Model {
            people,
            devices,
            contacts,
            publications_per_s: n * 4.0 / 3600.0 * compress,
            messages_per_s: n * 6.0 * 10.0 * 0.5 / 1.6 / 3600.0 * compress,
        }
    }

    fn owner(&self, device: usize) -> usize {
        if device < self.people { device } else { device - self.people }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seat {
    Out,
    Connecting,
    SigningIn,
    In,
}

#[derive(Clone)]
struct Device {
    seat: Seat,
    begun: u64,
    etag: String,
    /// 200s that are still missing before it is in.
    missing: u8,
    cseq: u32,
}

#[derive(Default, Clone, Copy)]
struct Published {
    version: u32,
    at: u64,
}

struct Sent {
    at: u64,
    to: usize,
}

/// Events that are due at a steady rate.
struct Rate {
    per_s: f64,
    begun: u64,
    done: u64,
}

impl Rate {
    fn new(per_s: f64, now: u64) -> Rate {
        Rate { per_s, begun: now, done: 0 }
    }

    fn due(&mut self, now: u64) -> Option<u64> {
        let at = self.begun + (self.done as f64 * 1e9 / self.per_s.max(1e-9)) as u64;
        (at <= now).then(|| {
            self.done += 1;
            at
        })
    }
}

pub struct People {
    model: Model,
    devices: Vec<Device>,
    device_of: Vec<usize>,
    published: Vec<Published>,
    sent: IdMap<Sent>,
    sequence: u64,
    random: u64,
    arrivals: Option<(Rate, usize)>,
    publications: Option<Rate>,
    messages: Option<Rate>,
    until: u64,
    /// What every sign-in of a phase came to.
    pub sign_in: Hist,
    pub message: Hist,
    pub notify: Hist,
    pub notifies: u64,
    pub lists: u64,
    pub publishes: u64,
    pub texts: u64,
    pub typing: u64,
    pub put_off: u64,
    pub failed: u64,
    pub bad_status: Vec<u16>,
}

impl People {
    pub fn new(model: Model) -> People {
        let (people, devices) = (model.people, model.devices);
        let fresh = Device { seat: Seat::Out, begun: 0, etag: String::new(), missing: 0, cseq: 0 };
        People {
            model,
            devices: vec![fresh; devices],
            device_of: Vec::new(),
            published: vec![Published::default(); people],
            sent: IdMap::default(),
            sequence: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            arrivals: None,
            publications: None,
            messages: None,
            until: 0,
            sign_in: Hist::default(),
            message: Hist::default(),
            notify: Hist::default(),
            notifies: 0,
            lists: 0,
            publishes: 0,
            texts: 0,
            typing: 0,
            put_off: 0,
            failed: 0,
            bad_status: Vec::new(),
        }
    }

    /// Everybody who is out comes in within `seconds`; the phase ends when all are in. Nobody works meanwhile.
    pub fn sign_in_phase(&mut self, c: &Core, seconds: f64) {
        self.begin(c, f64::MAX);
        self.arrivals = Some((Rate::new(self.devices.len() as f64 / seconds, c.now()), 0));
    }

    /// People publish and talk for so many seconds.
    pub fn busy_phase(&mut self, c: &Core, seconds: f64) {
        self.begin(c, seconds);
        self.publications = Some(Rate::new(self.model.publications_per_s, c.now()));
        self.messages = Some(Rate::new(self.model.messages_per_s, c.now()));
    }

    /// All connections are lost; everybody comes back within `seconds`, and those who are in talk at `messages_per_s`.
    pub fn storm_phase(&mut self, c: &mut Core, seconds: f64, messages_per_s: f64) {
        for conn in 0..c.net.conns.len() {
            c.net.close(conn);
        }
        for device in &mut self.devices {
            *device =
                Device { seat: Seat::Out, begun: 0, etag: String::new(), missing: 0, cseq: device.cseq };
        }
        self.sign_in_phase(c, seconds);
        self.messages = Some(Rate::new(messages_per_s, c.now()));
    }

    fn begin(&mut self, c: &Core, seconds: f64) {
        self.arrivals = None;
        self.publications = None;
        self.messages = None;
        self.until = c.now().saturating_add((seconds * 1e9) as u64);
        self.sign_in = Hist::default();
        self.message = Hist::default();
        self.notify = Hist::default();
        (self.notifies, self.lists, self.publishes) = (0, 0, 0);
        (self.texts, self.typing, self.put_off, self.failed) = (0, 0, 0, 0);
        self.bad_status.clear();
        self.sent.clear();
    }

    pub fn inside(&self) -> usize {
        self.devices.iter().filter(|d| d.seat == Seat::In).count()
    }

    pub fn undelivered(&self) -> usize {
        self.sent.len()
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// The contacts of a person: the same each time, spread over the company.
    fn contact(&self, person: usize, nth: usize) -> usize {
        let step = 1 + (nth * 7919 + nth * nth * 31) % (self.model.people - 1);
        (person + step) % self.model.people
    }

    fn open(&mut self, c: &mut Core, device: usize) {
        self.devices[device].seat = Seat::Connecting;
        if self.devices[device].begun == 0 {
            self.devices[device].begun = c.now();
        }
        match c.open() {
            Ok(conn) => {
                c.users[device].conn = conn;
                self.device_of.resize(conn + 1, usize::MAX);
                self.device_of[conn] = device;
            }
            Err(_) => self.again(c, device, TIMER_OPEN),
        }
    }

    fn again(&mut self, c: &mut Core, device: usize, kind: u64) {
        self.put_off += 1;
        let jitter = Duration::from_millis(self.draw(TRY_AGAIN.as_millis() as usize) as u64);
        c.after(TRY_AGAIN + jitter, kind << KIND_SHIFT | device as u64);
    }

    fn register(&mut self, c: &mut Core, device: usize, kind: u8, auth: &str) {
        c.users[device].cseq += 1;
        let contact = c.contact(device);
        let (u, d) = (&c.users[device], &c.cfg.domain);
        let headers = format!(
            "From: <sip:{0}@{d}>;tag=r{device}\r\nTo: <sip:{0}@{d}>\r\nCall-ID: {1}\r\nCSeq: {2} REGISTER\r\nContact: <{contact};ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{device:012x}>\";reg-id=1\r\nSupported: path, outbound\r\nExpires: 3600\r\nUser-Agent: sipload\r\n{auth}",
            u.name, u.call_id, u.cseq
        );
        let (conn, uri) = (u.conn, format!("sip:{d}"));
        c.start(conn, "REGISTER", kind, device as u64, &uri, &headers, b"");
    }

    fn subscribe(&mut self, c: &mut Core, device: usize, kind: u8, auth: &str) {
        let d = c.cfg.domain.clone();
        let uri = format!("sip:rls@{d}");
        let me = self.model.owner(device);
        let mut list = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>",
        );
        for nth in 0..self.model.contacts {
            let name = &c.users[self.contact(me, nth)].name;
            let _ = write!(list, "<entry uri=\"sip:{name}@{d}\"/>");
        }
        list.push_str("</list></resource-lists>\r\n");
        let contact = c.contact(device);
        self.devices[device].cseq += 1;
        let headers = format!(
            "From: <sip:{}@{d}>;tag=s{device}\r\nTo: <{uri}>\r\nCall-ID: s-{:x}-{device}-{}\r\nCSeq: {} SUBSCRIBE\r\nContact: <{contact}>\r\nEvent: presence\r\nAccept: application/pidf+xml, application/rlmi+xml, multipart/related\r\nSupported: eventlist\r\nRequire: recipient-list-subscribe\r\nExpires: 3600\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n{auth}",
            c.users[device].name, c.run, c.users[device].conn, self.devices[device].cseq
        );
        let conn = c.users[device].conn;
        c.start(conn, "SUBSCRIBE", kind, device as u64, &uri, &headers, list.as_bytes());
    }

    /// First devices say what their owner does; second ones lie idle beside them.
    fn publish(&mut self, c: &mut Core, device: usize, kind: u8, auth: &str) {
        let person = self.model.owner(device);
        self.devices[device].cseq += 1;
        let Device { cseq, etag, .. } = &self.devices[device];
        let (u, d) = (&c.users[device], &c.cfg.domain);
        let uri = format!("sip:{}@{d}", u.name);
        let if_match = if etag.is_empty() { String::new() } else { format!("SIP-If-Match: {etag}\r\n") };
        let headers = format!(
            "From: <{uri}>;tag=p{device}\r\nTo: <{uri}>\r\nCall-ID: p-{:x}-{device}\r\nCSeq: {cseq} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{if_match}Content-Type: application/pidf+xml\r\n{auth}",
            c.run
        );
        let (activity, note) = if device < self.model.people {
            let version = self.published[person].version;
            let activity = if version.is_multiple_of(2) { "<rpid:busy/>" } else { "<rpid:unknown/>" };
            (activity, format!("<dm:note>p{person}.{version};</dm:note>"))
        } else {
            ("<rpid:away/>", String::new())
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{uri}\"><tuple id=\"t{device}\"><status><basic>open</basic></status></tuple><dm:person id=\"p{device}\"><rpid:activities>{activity}</rpid:activities>{note}</dm:person></presence>\r\n"
        );
        let conn = u.conn;
        c.start(conn, "PUBLISH", kind, device as u64, &uri, &headers, body.as_bytes());
    }

    fn change(&mut self, c: &mut Core, at: u64) {
        let person = self.draw(self.model.people);
        if self.devices[person].seat != Seat::In {
            return;
        }
        let version = self.published[person].version + 1;
        self.published[person] = Published { version, at };
        self.publishes += 1;
        self.publish(c, person, PUBLISH, "");
    }

    /// Two typing signals and a text to one of the sender's contacts.
    fn talk(&mut self, c: &mut Core, at: u64) {
        let device = self.draw(self.model.devices);
        let nth = self.draw(self.model.contacts);
        if self.devices[device].seat != Seat::In {
            return;
        }
        let to = self.contact(self.model.owner(device), nth);
        if self.devices[to].seat != Seat::In {
            return;
        }
        const COMPOSING: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>\r\n";
        for _ in 0..2 {
            self.typing += 1;
            self.text(c, device, to, TYPING, "application/im-iscomposing+xml", COMPOSING);
        }
        self.texts += 1;
        self.sent.insert(self.sequence + 1, Sent { at, to });
        let text = "It is a text of a hundred octets, which is what people write to each other at work, more or less so.";
        self.text(c, device, to, MESSAGE, "text/plain", text);
    }

    fn text(&mut self, c: &mut Core, device: usize, to: usize, kind: u8, content_type: &str, body: &str) {
        self.sequence += 1;
        let d = &c.cfg.domain;
        let uri = format!("sip:{}@{d}", c.users[to].name);
        let headers = format!(
            "From: <sip:{}@{d}>;tag=m{device}\r\nTo: <{uri}>\r\nCall-ID: m-{:x}-{}\r\nCSeq: 1 MESSAGE\r\nContent-Type: {content_type}\r\n",
            c.users[device].name, c.run, self.sequence
        );
        let conn = c.users[device].conn;
        c.start(conn, "MESSAGE", kind, device as u64, &uri, &headers, body.as_bytes());
    }

    fn fail(&mut self, status: u16) {
        self.failed += 1;
        if self.bad_status.len() < 8 {
            self.bad_status.push(status);
        }
    }

    fn done(&mut self, c: &Core, device: usize) {
        let d = &mut self.devices[device];
        if d.seat == Seat::SigningIn {
            d.missing -= 1;
            if d.missing == 0 {
                d.seat = Seat::In;
                let begun = std::mem::take(&mut d.begun);
                self.sign_in.record(c.now() - begun);
            }
        }
    }
}

impl App for People {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let now = c.now();
        if let Some((mut rate, mut next)) = self.arrivals.take() {
            while next < self.devices.len() && rate.due(now).is_some() {
                self.open(c, next);
                next += 1;
            }
            if next == self.devices.len() && self.devices.iter().all(|d| d.seat == Seat::In) {
                return None;
            }
            self.arrivals = Some((rate, next));
        }
        if let Some(mut rate) = self.publications.take() {
            while let Some(at) = rate.due(now) {
                self.change(c, at);
            }
            self.publications = Some(rate);
        }
        if let Some(mut rate) = self.messages.take() {
            while let Some(at) = rate.due(now) {
                self.talk(c, at);
            }
            self.messages = Some(rate);
        }
        (c.now() < self.until).then_some(Duration::from_millis(2))
    }

    fn up(&mut self, c: &mut Core, conn: usize) {
        let device = self.device_of[conn];
        self.devices[device].seat = Seat::SigningIn;
        self.devices[device].missing = 3;
        self.register(c, device, REGISTER, "");
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let device = tx.data as usize;
        if c.users[device].conn != tx.conn {
            return;
        }
        let domain = format!("sip:{}", c.cfg.domain);
        match (tx.kind, m.status) {
            (_, 0..=199) => {}
            (REGISTER, 401 | 407) => match c.answer(device, m, "REGISTER", &domain) {
                Some(a) => self.register(c, device, REGISTER | AUTH, &a),
                None => self.fail(m.status),
            },
            (SUBSCRIBE, 401 | 407) => {
                let uri = format!("sip:rls@{}", c.cfg.domain);
                match c.answer(device, m, "SUBSCRIBE", &uri) {
                    Some(a) => self.subscribe(c, device, SUBSCRIBE | AUTH, &a),
                    None => self.fail(m.status),
                }
            }
            (PUBLISH, 401 | 407) => {
                let uri = format!("sip:{}@{}", c.users[device].name, c.cfg.domain);
                match c.answer(device, m, "PUBLISH", &uri) {
                    Some(a) => self.publish(c, device, PUBLISH | AUTH, &a),
                    None => self.fail(m.status),
                }
            }
            (k, 200..=299) => match k & 0xf {
                REGISTER => {
                    self.done(c, device);
                    self.subscribe(c, device, SUBSCRIBE, "");
                    self.publish(c, device, PUBLISH, "");
                }
                SUBSCRIBE => self.done(c, device),
                PUBLISH => {
                    self.devices[device].etag = String::from_utf8_lossy(m.etag).into_owned();
                    self.done(c, device);
                }
                _ => {}
            },
            (k, 503) if k & 0xf == REGISTER => self.again(c, device, TIMER_REGISTER),
            (k, 412) if k & 0xf == PUBLISH => {
                self.devices[device].etag.clear();
                self.publish(c, device, PUBLISH, "");
            }
            // Whom somebody writes to may have left meanwhile.
            (TYPING, 480) => {}
            (_, status) => self.fail(status),
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "w", "", b"");
        let now = c.now();
        if m.method == b"MESSAGE" {
            let id = std::str::from_utf8(m.call_id).ok().and_then(|s| s.split('-').nth(2)?.parse().ok());
            let Some(id) = id else { return };
            let me = self.model.owner(self.device_of[conn]);
            if self.sent.get(&id).is_some_and(|sent: &Sent| sent.to == me) {
                let sent = self.sent.remove(&id).expect("just seen");
                self.message.record(now - sent.at);
            }
            return;
        }
        if m.method != b"NOTIFY" {
            return;
        }
        self.notifies += 1;
        self.lists += u64::from(sip::find(m.body, b"<list").is_some());
        // Notes are p<person>.<version>;
        let mut rest = m.body;
        while let Some(at) = sip::find(rest, b"note>p") {
            rest = &rest[at + 6..];
            let person = sip::num(rest) as usize;
            let Some(dot) = rest.iter().take(12).position(|b| *b == b'.') else { continue };
            let version = sip::num(&rest[dot + 1..]) as u32;
            // A whole list says old things too: latency is that of the busy hour's partial ones.
            if let (Some(p), true) = (self.published.get(person), self.publications.is_some())
                && p.version == version
                && p.at > 0
            {
                self.notify.record(now - p.at);
            }
        }
    }

    fn timeout(&mut self, _: &mut Core, _: &Tx) {
        self.fail(0);
    }

    fn timer(&mut self, c: &mut Core, token: u64) {
        let device = (token & ((1 << KIND_SHIFT) - 1)) as usize;
        match token >> KIND_SHIFT {
            TIMER_OPEN if self.devices[device].seat == Seat::Connecting => self.open(c, device),
            TIMER_REGISTER if self.devices[device].seat == Seat::SigningIn => {
                self.register(c, device, REGISTER, "")
            }
            _ => {}
        }
    }

    fn closed(&mut self, c: &mut Core, conn: usize) {
        let device = self.device_of[conn];
        if c.users[device].conn == conn {
            self.devices[device].seat = Seat::Connecting;
            self.again(c, device, TIMER_OPEN);
        }
    }
}
