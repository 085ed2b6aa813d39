//! W1: REGISTER with digest (challenge, then authorised). Also the set-up step
//! of the other workloads.

use crate::core::{App, Core, Pacer, Tx};
use crate::hist::Hist;
use crate::sip::Msg;
use std::time::Duration;

pub struct Register {
    pub pacer: Pacer,
    /// First user and how many, used round robin.
    first: usize,
    n: usize,
    next: usize,
    begun: Vec<u64>,
    pub hist: Hist,
    pub preauth: bool,
    pub challenged: u64,
    pub rechallenged: u64,
    pub bad_status: Vec<u16>,
}

impl Register {
    pub fn new(pacer: Pacer, first: usize, n: usize) -> Register {
        Register {
            pacer,
            first,
            n,
            next: 0,
            begun: vec![0; n],
            hist: Hist::default(),
            preauth: false,
            challenged: 0,
            rechallenged: 0,
            bad_status: Vec::new(),
        }
    }

    /// Every user in the range once.
    pub fn each(first: usize, n: usize, window: usize) -> Register {
        Register::new(Pacer::new(0.0, window.min(n), n as u64), first, n)
    }

    fn send(&self, c: &mut Core, user: usize, attempt: u8, auth: &str) {
        c.users[user].cseq += 1;
        let contact = c.contact(user);
        let u = &c.users[user];
        let d = &c.cfg.domain;
        let (ob, supported) = if c.cfg.outbound {
            (
                format!(
                    ";ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-{:08x}{:04x}>\";reg-id=1",
                    c.run,
                    user & 0xffff
                ),
                "Supported: path, outbound\r\n",
            )
        } else {
            (">".to_string(), "")
        };
        let headers = format!(
            "From: <sip:{0}@{d}>;tag=r{1}\r\nTo: <sip:{0}@{d}>\r\nCall-ID: {2}\r\nCSeq: {1} REGISTER\r\nContact: <{contact}{ob}\r\n{supported}Expires: {3}\r\nUser-Agent: sipload\r\n{auth}",
            u.name, u.cseq, u.call_id, c.cfg.expires
        );
        let conn = u.conn;
        let uri = format!("sip:{d}");
        c.start(conn, "REGISTER", attempt, user as u64, &uri, &headers, b"");
    }

    fn fail(&mut self, status: u16) {
        self.pacer.failed += 1;
        if self.bad_status.len() < 8 {
            self.bad_status.push(status);
        }
    }
}

impl App for Register {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while let Some(at) = self.pacer.next(now) {
            let i = self.next;
            self.next = (self.next + 1) % self.n;
            self.begun[i] = at;
            let user = self.first + i;
            let auth = if self.preauth {
                let uri = format!("sip:{}", c.cfg.domain);
                c.preauth(user, "REGISTER", &uri).unwrap_or_default()
            } else {
                String::new()
            };
            self.send(c, user, 1, &auth);
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let user = tx.data as usize;
        match m.status {
            0..=199 => {}
            200..=299 => {
                self.pacer.done += 1;
                let now = c.now();
                self.hist.record(now - self.begun[user - self.first]);
            }
            // A second challenge (a nonce that went stale) is answered too.
            401 | 407 if tx.kind <= 2 => {
                if tx.kind == 1 {
                    self.challenged += 1;
                } else {
                    self.rechallenged += 1;
                }
                let uri = format!("sip:{}", c.cfg.domain);
                match c.answer(user, m, "REGISTER", &uri) {
                    Some(a) => self.send(c, user, tx.kind + 1, &a),
                    None => self.fail(m.status),
                }
            }
            s => self.fail(s),
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        if m.method != b"ACK" {
            c.reply(conn, m, "200 OK", "t", "", b"");
        }
    }

    fn timeout(&mut self, _: &mut Core, _: &Tx) {
        self.fail(0);
    }
}
