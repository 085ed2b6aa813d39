//! W3: many idle connections held open, and the handshake rate.

use crate::core::{App, Core, Meter, Pacer, Tx};
use crate::hist::Hist;
use crate::net::{Proto, State};
use crate::sip::Msg;
use std::time::{Duration, Instant};

/// Opens connections until `total` are up, `window` handshakes at a time.
pub struct Connect {
    total: usize,
    window: usize,
    opened: usize,
    pub up: usize,
    pub failed: u64,
    begun: Vec<u64>,
    base: usize,
    pub hist: Hist,
    pub error: Option<String>,
}

impl Connect {
    pub fn new(c: &Core, total: usize, window: usize) -> Connect {
        Connect {
            total,
            window,
            opened: 0,
            up: 0,
            failed: 0,
            begun: Vec::new(),
            base: c.net.conns.len(),
            hist: Hist::default(),
            error: None,
        }
    }
}

impl App for Connect {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        while self.error.is_none()
            && self.opened < self.total
            && self.opened - self.up - (self.failed as usize) < self.window
        {
            self.begun.push(c.now());
            match c.open() {
                Ok(_) => self.opened += 1,
                Err(e) => self.error = Some(e.to_string()),
            }
            if c.cfg.proto == Proto::Udp {
                self.up += 1;
            }
        }
        if self.up + self.failed as usize >= self.total || self.error.is_some() {
            return None;
        }
        Some(Duration::from_millis(100))
    }
    fn response(&mut self, _: &mut Core, _: &Tx, _: &Msg) {}
    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "i", "", b"");
    }
    fn timeout(&mut self, _: &mut Core, _: &Tx) {}
    fn up(&mut self, c: &mut Core, conn: usize) {
        self.up += 1;
        let now = c.now();
        self.hist.record(now - self.begun[conn - self.base]);
    }
    fn closed(&mut self, c: &mut Core, conn: usize) {
        let _ = c;
        if conn >= self.base {
            self.failed += 1;
        }
    }
}

/// Holds everything open for a while, answering what comes; optional CRLF pings.
pub struct Hold {
    until: Instant,
    ping_every: Option<Duration>,
    next: usize,
    begun: Instant,
    pub pings: u64,
    pub closed: u64,
}

impl Hold {
    pub fn new(d: Duration, ping_every: Option<Duration>) -> Hold {
        Hold { until: Instant::now() + d, ping_every, next: 0, begun: Instant::now(), pings: 0, closed: 0 }
    }
}

impl App for Hold {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let now = Instant::now();
        if now >= self.until {
            return None;
        }
        if let Some(every) = self.ping_every {
            // Pings spread evenly: every connection once per interval.
            let due = (now.duration_since(self.begun).as_secs_f64() / every.as_secs_f64()
                * c.net.conns.len() as f64) as u64;
            while self.pings < due {
                let id = self.next;
                self.next = (self.next + 1) % c.net.conns.len();
                c.net.send(id, b"\r\n\r\n");
                self.pings += 1;
            }
            return Some(Duration::from_millis(5));
        }
        Some((self.until - now).min(Duration::from_millis(100)))
    }
    fn response(&mut self, _: &mut Core, _: &Tx, _: &Msg) {}
    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "i", "", b"");
    }
    fn timeout(&mut self, _: &mut Core, _: &Tx) {}
    fn closed(&mut self, _: &mut Core, _: usize) {
        self.closed += 1;
    }
}

/// Handshake, one OPTIONS answered, close; `window` at a time.
pub struct Handshake {
    pub pacer: Pacer,
    begun: crate::core::IdMap<u64>,
    pub hist: Hist,
}

impl Handshake {
    pub fn new(pacer: Pacer) -> Handshake {
        Handshake { pacer, begun: Default::default(), hist: Hist::default() }
    }
}

impl App for Handshake {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while let Some(at) = self.pacer.next(now) {
            match c.open() {
                Ok(id) => {
                    self.begun.insert(id as u64, at);
                    if c.cfg.proto == Proto::Udp {
                        self.up(c, id);
                    }
                }
                Err(_) => self.pacer.failed += 1,
            }
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()))
    }
    fn up(&mut self, c: &mut Core, conn: usize) {
        let now = c.now();
        if let Some(b) = self.begun.remove(&(conn as u64)) {
            self.hist.record(now - b);
        }
        let d = c.cfg.domain.clone();
        let headers = format!(
            "From: <sip:probe@{d}>;tag=h{conn}\r\nTo: <sip:{d}>\r\nCall-ID: h-{:x}-{conn}\r\nCSeq: 1 OPTIONS\r\n",
            c.run
        );
        c.start(conn, "OPTIONS", 1, conn as u64, &format!("sip:{d}"), &headers, b"");
    }
    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        if m.status >= 200 {
            self.pacer.done += 1;
            c.net.close(tx.conn);
        }
    }
    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "h", "", b"");
    }
    fn timeout(&mut self, c: &mut Core, tx: &Tx) {
        self.pacer.failed += 1;
        c.net.close(tx.conn);
    }
    fn closed(&mut self, _: &mut Core, conn: usize) {
        if self.begun.remove(&(conn as u64)).is_some() {
            self.pacer.failed += 1;
        }
    }
}

pub fn open_count(c: &Core) -> usize {
    c.net.conns.iter().filter(|x| x.state == State::Up).count()
}

pub fn meter(c: &Core) -> Meter {
    Meter::start(&c.cfg.pids)
}
