//! W2: pager-mode MESSAGE between registered users through the proxy.

use crate::core::{App, Core, Pacer, Tx};
use crate::hist::Hist;
use crate::sip::Msg;
use std::time::Duration;

struct Op {
    begun: u64,
    seq: u64,
    sender: usize,
    delivered: bool,
}

pub struct Message {
    pub pacer: Pacer,
    pairs: usize,
    next: usize,
    size: usize,
    /// Slot per pair and lane; a slot is one message in flight.
    ops: Vec<Op>,
    free: Vec<usize>,
    seq: u64,
    body: Vec<u8>,
    pub rtt: Hist,
    pub one_way: Hist,
    pub delivered: u64,
    pub duplicates: u64,
    pub challenged: u64,
    pub bad_status: Vec<u16>,
}

impl Message {
    /// Users 0..pairs send to users pairs..2*pairs.
    pub fn new(pacer: Pacer, pairs: usize, size: usize) -> Message {
        let slots = pacer.window;
        Message {
            pacer,
            pairs,
            next: 0,
            size,
            ops: (0..slots).map(|_| Op { begun: 0, seq: 0, sender: 0, delivered: false }).collect(),
            free: (0..slots).rev().collect(),
            seq: 0,
            body: vec![b'x'; size],
            rtt: Hist::default(),
            one_way: Hist::default(),
            delivered: 0,
            duplicates: 0,
            challenged: 0,
            bad_status: Vec::new(),
        }
    }

    fn send(&self, c: &mut Core, slot: usize, attempt: u8, auth: &str) {
        let op = &self.ops[slot];
        let (from, to) = (&c.users[op.sender].name, &c.users[op.sender + self.pairs].name);
        let d = &c.cfg.domain;
        let uri = format!("sip:{to}@{d}");
        let headers = format!(
            "From: <sip:{from}@{d}>;tag=m{slot}\r\nTo: <{uri}>\r\nCall-ID: m-{:x}-{slot}-{}\r\nCSeq: {attempt} MESSAGE\r\nContent-Type: text/plain\r\n{auth}",
            c.run, op.seq
        );
        let conn = c.users[op.sender].conn;
        c.start(conn, "MESSAGE", attempt, slot as u64, &uri, &headers, &self.body[..self.size]);
    }

    fn finish(&mut self, slot: usize, status: u16) {
        if status / 100 == 2 {
            self.pacer.done += 1;
        } else {
            self.pacer.failed += 1;
            if self.bad_status.len() < 8 {
                self.bad_status.push(status);
            }
        }
        self.free.push(slot);
    }
}

impl App for Message {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while !self.free.is_empty() {
            let Some(at) = self.pacer.next(now) else { break };
            let slot = self.free.pop().expect("checked");
            self.seq += 1;
            self.ops[slot] = Op { begun: at, seq: self.seq, sender: self.next, delivered: false };
            self.next = (self.next + 1) % self.pairs;
            let sender = self.ops[slot].sender;
            let uri = format!("sip:{}@{}", c.users[sender + self.pairs].name, c.cfg.domain);
            // A proxy that challenged this user's MESSAGEs is answered in advance.
            let auth = if self.challenged > 0 {
                c.preauth(sender, "MESSAGE", &uri).unwrap_or_default()
            } else {
                String::new()
            };
            self.send(c, slot, 1, &auth);
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let slot = tx.data as usize;
        match m.status {
            0..=199 => {}
            401 | 407 if tx.kind == 1 => {
                self.challenged += 1;
                let sender = self.ops[slot].sender;
                let uri = format!("sip:{}@{}", c.users[sender + self.pairs].name, c.cfg.domain);
                match c.answer(sender, m, "MESSAGE", &uri) {
                    Some(a) => self.send(c, slot, 2, &a),
                    None => self.finish(slot, m.status),
                }
            }
            s => {
                if s / 100 == 2 {
                    self.rtt.record(c.now() - self.ops[slot].begun);
                }
                self.finish(slot, s);
            }
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "b", "", b"");
        if m.method != b"MESSAGE" {
            return;
        }
        // Call-ID: m-<run>-<slot>-<seq>
        let id = std::str::from_utf8(m.call_id).ok().and_then(|s| {
            let mut p = s.split('-').skip(2);
            Some((p.next()?.parse::<usize>().ok()?, p.next()?.parse::<u64>().ok()?))
        });
        match id.and_then(|(s, q)| self.ops.get_mut(s).filter(|o| o.seq == q)) {
            Some(op) if !op.delivered => {
                op.delivered = true;
                self.delivered += 1;
                let begun = op.begun;
                self.one_way.record(c.now() - begun);
            }
            _ => self.duplicates += 1,
        }
    }

    fn timeout(&mut self, _: &mut Core, tx: &Tx) {
        self.finish(tx.data as usize, 0);
    }
}
