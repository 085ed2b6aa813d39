//! W4: watchers SUBSCRIBEd to presentities; each PUBLISH fans out as NOTIFYs.

use crate::core::{App, Core, Pacer, Tx};
use crate::hist::Hist;
use crate::sip::{self, Msg};
use std::time::Duration;

const SUBSCRIBE: u8 = 1;
const PUBLISH: u8 = 2;
const AUTH: u8 = 0x10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Subscribe,
    Publish,
}

#[derive(Default, Clone)]
struct Presentity {
    version: u64,
    begun: u64,
    etag: String,
    published: bool,
    /// Watchers that have yet to see this version.
    missing: usize,
    busy: bool,
}

pub struct Presence {
    pub pacer: Pacer,
    stage: Stage,
    watchers: usize,
    presentities: usize,
    next: usize,
    state: Vec<Presentity>,
    /// Version last seen, per subscription (presentity * watchers + watcher).
    seen: Vec<u64>,
    pub notifies: u64,
    pub stale_notifies: u64,
    pub fanout: Hist,
    pub publish: Hist,
    pub subscribe: Hist,
    sub_begun: Vec<u64>,
    sub_cseq: u32,
    pub bad_status: Vec<u16>,
}

impl Presence {
    /// Watchers are users 0..watchers, presentities the users after them.
    pub fn new(watchers: usize, presentities: usize, window: usize) -> Presence {
        let subs = (watchers * presentities) as u64;
        Presence {
            pacer: Pacer::new(0.0, window, subs),
            stage: Stage::Subscribe,
            watchers,
            presentities,
            next: 0,
            state: vec![Presentity::default(); presentities],
            seen: vec![0; watchers * presentities],
            notifies: 0,
            stale_notifies: 0,
            fanout: Hist::default(),
            publish: Hist::default(),
            subscribe: Hist::default(),
            sub_begun: vec![0; watchers * presentities],
            sub_cseq: 0,
            bad_status: Vec::new(),
        }
    }

    /// Goes on with `total` publications, at most `window` presentities at once.
    pub fn publish_stage(&mut self, pacer: Pacer) {
        self.stage = Stage::Publish;
        self.pacer = pacer;
        self.next = 0;
        self.notifies = 0;
        self.stale_notifies = 0;
        self.fanout = Hist::default();
        self.publish = Hist::default();
    }

    fn send_subscribe(&mut self, c: &mut Core, sub: usize, auth: &str, kind: u8) {
        self.sub_cseq += 1;
        let (p, w) = (sub / self.watchers, sub % self.watchers);
        let d = &c.cfg.domain;
        let uri = format!("sip:{}@{d}", c.users[self.watchers + p].name);
        let contact = c.contact(w);
        let headers = format!(
            "From: <sip:{}@{d}>;tag=s{sub}\r\nTo: <{uri}>\r\nCall-ID: s-{:x}-{sub}\r\nCSeq: {} SUBSCRIBE\r\nContact: <{contact}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 3600\r\n{auth}",
            c.users[w].name, c.run, self.sub_cseq
        );
        let conn = c.users[w].conn;
        c.start(conn, "SUBSCRIBE", kind, sub as u64, &uri, &headers, b"");
    }

    fn send_publish(&mut self, c: &mut Core, p: usize, auth: &str, kind: u8) {
        let user = self.watchers + p;
        c.users[user].cseq += 1;
        let d = &c.cfg.domain;
        let u = &c.users[user];
        let st = &self.state[p];
        let uri = format!("sip:{}@{d}", u.name);
        let if_match =
            if st.etag.is_empty() { String::new() } else { format!("SIP-If-Match: {}\r\n", st.etag) };
        let headers = format!(
            "From: <{uri}>;tag=p{p}\r\nTo: <{uri}>\r\nCall-ID: p-{:x}-{p}\r\nCSeq: {} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{if_match}Content-Type: application/pidf+xml\r\n{auth}",
            c.run, u.cseq
        );
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{uri}\"><tuple id=\"t1\"><status><basic>{}</basic></status><note>v{};</note></tuple></presence>\r\n",
            if st.version.is_multiple_of(2) { "open" } else { "closed" },
            st.version
        );
        let conn = u.conn;
        c.start(conn, "PUBLISH", kind, p as u64, &uri, &headers, body.as_bytes());
    }

    fn fail(&mut self, status: u16) {
        self.pacer.failed += 1;
        if self.bad_status.len() < 8 {
            self.bad_status.push(status);
        }
    }

    fn check(&mut self, p: usize) {
        let st = &mut self.state[p];
        if st.busy && st.published && st.missing == 0 {
            st.busy = false;
            self.pacer.done += 1;
        }
    }
}

impl App for Presence {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        loop {
            if self.stage == Stage::Publish && self.state[self.next].busy {
                break;
            }
            let Some(at) = self.pacer.next(now) else { break };
            let i = self.next;
            match self.stage {
                Stage::Subscribe => {
                    self.next += 1;
                    self.sub_begun[i] = at;
                    self.send_subscribe(c, i, "", SUBSCRIBE);
                }
                Stage::Publish => {
                    self.next = (self.next + 1) % self.presentities;
                    let st = &mut self.state[i];
                    st.version += 1;
                    st.begun = at;
                    st.busy = true;
                    st.published = false;
                    st.missing = self.watchers;
                    let token = (st.version & 0xFFFF_FFFF) << 24 | i as u64;
                    let limit = Duration::from_nanos(c.cfg.timeout);
                    c.after(limit, token);
                    self.send_publish(c, i, "", PUBLISH);
                }
            }
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()).max(Duration::from_micros(50)))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let i = tx.data as usize;
        match (tx.kind, m.status) {
            (_, 0..=199) => {}
            (SUBSCRIBE, 401 | 407) => {
                let (p, w) = (i / self.watchers, i % self.watchers);
                let uri = format!("sip:{}@{}", c.users[self.watchers + p].name, c.cfg.domain);
                match c.answer(w, m, "SUBSCRIBE", &uri) {
                    Some(a) => self.send_subscribe(c, i, &a, SUBSCRIBE | AUTH),
                    None => self.fail(m.status),
                }
            }
            (PUBLISH, 401 | 407) => {
                let user = self.watchers + i;
                let uri = format!("sip:{}@{}", c.users[user].name, c.cfg.domain);
                match c.answer(user, m, "PUBLISH", &uri) {
                    Some(a) => self.send_publish(c, i, &a, PUBLISH | AUTH),
                    None => {
                        self.state[i].busy = false;
                        self.fail(m.status)
                    }
                }
            }
            (k, 200..=299) if k & 0xf == SUBSCRIBE => {
                self.pacer.done += 1;
                let now = c.now();
                self.subscribe.record(now - self.sub_begun[i]);
            }
            (_, 200..=299) => {
                let now = c.now();
                let st = &mut self.state[i];
                st.etag = String::from_utf8_lossy(m.etag).into_owned();
                st.published = true;
                self.publish.record(now - st.begun);
                self.check(i);
            }
            (k, s) => {
                if k & 0xf == PUBLISH {
                    self.state[i].busy = false;
                    if s == 412 {
                        self.state[i].etag.clear();
                    }
                }
                self.fail(s)
            }
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "w", "", b"");
        if m.method != b"NOTIFY" {
            return;
        }
        self.notifies += 1;
        // Call-ID: s-<run>-<subscription>; the note in the body is v<version>;
        let sub =
            std::str::from_utf8(m.call_id).ok().and_then(|s| s.split('-').nth(2)?.parse::<usize>().ok());
        let version = sip::find(m.body, b"note>v").map_or(0, |i| sip::num(&m.body[i + 6..]));
        let Some(sub) = sub.filter(|s| *s < self.seen.len()) else { return };
        let p = sub / self.watchers;
        if self.seen[sub] < version && version == self.state[p].version {
            self.seen[sub] = version;
            let now = c.now();
            self.fanout.record(now - self.state[p].begun);
            if self.state[p].busy {
                self.state[p].missing -= 1;
                self.check(p);
            }
        } else {
            self.stale_notifies += 1;
        }
    }

    fn timer(&mut self, _: &mut Core, token: u64) {
        let (p, version) = ((token & 0xFF_FFFF) as usize, token >> 24);
        if self.state[p].busy && self.state[p].version & 0xFFFF_FFFF == version {
            self.state[p].busy = false;
            self.fail(1);
        }
    }

    fn timeout(&mut self, _: &mut Core, tx: &Tx) {
        if tx.kind & 0xf == PUBLISH {
            let p = tx.data as usize;
            if !self.state[p].busy {
                return;
            }
            self.state[p].busy = false;
        }
        self.fail(0);
    }
}
