//! W5: INVITE / 180 / 200 / ACK / BYE / 200 through a record-routing proxy.

use crate::core::{App, Core, Pacer, Tx};
use crate::hist::Hist;
use crate::net::Proto;
use crate::sip::{self, Msg};
use std::time::Duration;

const INVITE: u8 = 1;
const INVITE_AUTH: u8 = 2;
const BYE: u8 = 3;

#[derive(Default)]
struct Op {
    begun: u64,
    seq: u64,
    caller: usize,
    /// What the caller learnt from the 200: target, Route lines, To.
    target: String,
    routes: String,
    to: String,
    cseq: u32,
    ack: Vec<u8>,
    /// What the callee keeps: its connection and the 200 until the ACK is in.
    callee_conn: usize,
    ok: Vec<u8>,
    acked: bool,
    bye_seen: bool,
    tries: u32,
}

pub struct Call {
    pub pacer: Pacer,
    pairs: usize,
    next: usize,
    ring: bool,
    ops: Vec<Op>,
    free: Vec<usize>,
    seq: u64,
    pub setup: Hist,
    pub total: Hist,
    pub challenged: u64,
    pub acks: u64,
    pub byes: u64,
    pub bad_status: Vec<u16>,
}

impl Call {
    pub fn new(pacer: Pacer, pairs: usize, ring: bool) -> Call {
        let slots = pacer.window;
        Call {
            pacer,
            pairs,
            next: 0,
            ring,
            ops: (0..slots).map(|_| Op::default()).collect(),
            free: (0..slots).rev().collect(),
            seq: 0,
            setup: Hist::default(),
            total: Hist::default(),
            challenged: 0,
            acks: 0,
            byes: 0,
            bad_status: Vec::new(),
        }
    }

    fn dialog_headers(&self, c: &Core, slot: usize, to: &str, method: &str) -> String {
        let op = &self.ops[slot];
        format!(
            "From: <sip:{}@{}>;tag=c{slot}\r\nTo: {to}\r\nCall-ID: c-{:x}-{slot}-{}\r\nCSeq: {} {method}\r\n",
            c.users[op.caller].name, c.cfg.domain, c.run, op.seq, op.cseq
        )
    }

    fn invite(&mut self, c: &mut Core, slot: usize, kind: u8, auth: &str) {
        self.ops[slot].cseq += 1;
        let caller = self.ops[slot].caller;
        let uri = format!("sip:{}@{}", c.users[caller + self.pairs].name, c.cfg.domain);
        let contact = c.contact(caller);
        let headers = format!(
            "{}Contact: <{contact}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\n{auth}",
            self.dialog_headers(c, slot, &format!("<{uri}>"), "INVITE")
        );
        let conn = c.users[caller].conn;
        c.start(conn, "INVITE", kind, slot as u64, &uri, &headers, SDP);
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
        self.ops[slot].seq = 0;
        self.ops[slot].ok = Vec::new();
        self.free.push(slot);
    }

    /// Call-ID: c-<run>-<slot>-<seq>, of a call still under way.
    fn slot_of(&self, m: &Msg) -> Option<usize> {
        let s = std::str::from_utf8(m.call_id).ok()?;
        let mut p = s.split('-').skip(2);
        let slot: usize = p.next()?.parse().ok()?;
        let seq: u64 = p.next()?.parse().ok()?;
        (self.ops.get(slot)?.seq == seq).then_some(slot)
    }

    fn send_bye(&mut self, c: &mut Core, slot: usize) {
        let op = &mut self.ops[slot];
        op.cseq += 1;
        let (uri, routes, to, conn) =
            (op.target.clone(), op.routes.clone(), op.to.clone(), c.users[op.caller].conn);
        let headers = format!("{}{routes}", self.dialog_headers(c, slot, &to, "BYE"));
        c.start(conn, "BYE", BYE, slot as u64, &uri, &headers, b"");
    }
}

const SDP: &[u8] = b"v=0\r\no=- 3350000000 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

impl App for Call {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while !self.free.is_empty() {
            let Some(at) = self.pacer.next(now) else { break };
            let slot = self.free.pop().expect("checked");
            self.seq += 1;
            self.ops[slot] = Op { begun: at, seq: self.seq, caller: self.next, ..Op::default() };
            self.next = (self.next + 1) % self.pairs;
            let caller = self.ops[slot].caller;
            let uri = format!("sip:{}@{}", c.users[caller + self.pairs].name, c.cfg.domain);
            let auth = if self.challenged > 0 {
                c.preauth(caller, "INVITE", &uri).unwrap_or_default()
            } else {
                String::new()
            };
            self.invite(c, slot, INVITE, &auth);
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        let slot = tx.data as usize;
        match (tx.kind, m.status) {
            (_, 0..=199) => {}
            (INVITE, 401 | 407) => {
                self.challenged += 1;
                let caller = self.ops[slot].caller;
                let uri = format!("sip:{}@{}", c.users[caller + self.pairs].name, c.cfg.domain);
                match c.answer(caller, m, "INVITE", &uri) {
                    Some(a) => self.invite(c, slot, INVITE_AUTH, &a),
                    None => self.finish(slot, m.status),
                }
            }
            (INVITE | INVITE_AUTH, 200..=299) => {
                self.setup.record(c.now() - self.ops[slot].begun);
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                let mut routes = String::new();
                for r in m.record_routes().iter().rev() {
                    routes += &format!("Route: {}\r\n", text(r));
                }
                let op = &mut self.ops[slot];
                op.target = text(sip::uri_of(m.contact));
                op.to = text(m.to);
                op.routes = routes;
                let (uri, to, conn) = (op.target.clone(), op.to.clone(), c.users[op.caller].conn);
                let headers =
                    format!("{}{}", self.dialog_headers(c, slot, &to, "ACK"), self.ops[slot].routes);
                self.ops[slot].ack = c.ack(conn, &uri, &headers);
            }
            (BYE, 200..=299) if self.ops[slot].bye_seen => {
                self.total.record(c.now() - self.ops[slot].begun);
                self.finish(slot, 200);
            }
            (_, s) => self.finish(slot, if s / 100 == 2 { 0 } else { s }),
        }
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        let slot = self.slot_of(m);
        match (m.method, slot) {
            (b"INVITE", Some(slot)) => {
                let callee = self.ops[slot].caller + self.pairs;
                if self.ring {
                    c.reply(conn, m, "180 Ringing", "b", "", b"");
                }
                let contact = c.contact(callee);
                let mut ok = Vec::with_capacity(900);
                sip::reply(
                    &mut ok,
                    m,
                    "200 OK",
                    "b",
                    &format!("Contact: <{contact}>\r\nContent-Type: application/sdp\r\n"),
                    SDP,
                );
                c.net.send(conn, &ok);
                let udp = c.net.conns[conn].proto == Proto::Udp;
                let op = &mut self.ops[slot];
                op.callee_conn = conn;
                op.ok = ok;
                op.acked = false;
                if udp {
                    let token = (op.seq & 0xFFFF_FFFF) << 24 | slot as u64;
                    c.after(Duration::from_millis(500), token);
                }
            }
            (b"ACK", Some(slot)) => {
                let op = &mut self.ops[slot];
                if !op.acked {
                    op.acked = true;
                    self.acks += 1;
                    self.send_bye(c, slot);
                }
            }
            (b"ACK", None) => {}
            (b"BYE", slot) => {
                if let Some(s) = slot {
                    self.ops[s].bye_seen = true;
                    self.byes += 1;
                }
                c.reply(conn, m, "200 OK", "b", "", b"");
            }
            _ => c.reply(conn, m, "200 OK", "b", "", b""),
        }
    }

    /// The 200 is repeated until the ACK is in (UDP only).
    fn timer(&mut self, c: &mut Core, token: u64) {
        let (slot, seq) = ((token & 0xFF_FFFF) as usize, token >> 24);
        let op = &mut self.ops[slot];
        if op.seq & 0xFFFF_FFFF == seq && !op.acked && !op.ok.is_empty() {
            op.tries += 1;
            if op.tries > 6 {
                return self.finish(slot, 0);
            }
            c.stats.retransmits += 1;
            let ok = op.ok.clone();
            c.net.send(op.callee_conn, &ok);
            c.after(Duration::from_millis(500 << op.tries.min(3)), token);
        }
    }

    fn stray(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        if m.cseq_method == b"INVITE"
            && m.status / 100 == 2
            && let Some(slot) = self.slot_of(m)
        {
            let ack = self.ops[slot].ack.clone();
            if !ack.is_empty() {
                c.net.send(conn, &ack);
            }
        }
    }

    fn timeout(&mut self, _: &mut Core, tx: &Tx) {
        let slot = tx.data as usize;
        if self.ops[slot].seq != 0 {
            self.finish(slot, 0);
        }
    }
}
