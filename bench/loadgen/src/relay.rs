//! W8: pager-mode MESSAGE across an Access Edge. The load generator is the server inside and the partner's server outside:
//! it calls the edge on both sides, and is called by it on both sides, everywhere with certificates.

use crate::core::{App, Core, Pacer, Tx, run};
use crate::hist::Hist;
use crate::net::{Proto, TlsOptions, tls_config, tls_server_config};
use crate::sip::Msg;
use rustls::ClientConfig;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// A side of the edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Inside,
    Outside,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Inside, Side::Outside];

    fn other(self) -> Side {
        match self {
            Side::Inside => Side::Outside,
            Side::Outside => Side::Inside,
        }
    }
}

/// Whom we are on a side.
pub struct Party {
    /// The edge's listener, which we call.
    pub edge: SocketAddrV4,
    /// Where the edge calls us.
    pub own: SocketAddrV4,
    /// `NAME.pem` and `NAME.key` in the folder of certificates.
    pub certificate: &'static str,
    pub domain: String,
    pub conns: usize,
}

/// What we hold on a side.
pub struct Ends {
    domain: String,
    conns: Vec<usize>,
    listener: usize,
}

/// Listens and calls on both sides; gives what is held when all calls are through.
pub fn connect(c: &mut Core, parties: [Party; 2], certs: &str, window: usize) -> Result<[Ends; 2], String> {
    let [inside, outside] = parties.map(|party| {
        let file = |suffix: &str| format!("{certs}/{}.{suffix}", party.certificate);
        let server = tls_server_config(&file("pem"), &file("key"), &format!("{certs}/ca.pem"));
        let client = tls_config(&TlsOptions {
            resume: false,
            tls12: false,
            cert: Some(file("pem")),
            key: Some(file("key")),
        });
        let listener = c.net.listen(party.own, server).map_err(|e| format!("{}: {e}", party.own))?;
        let mut calls = Calls { party, client, window, conns: Vec::new(), up: 0, error: None };
        run(c, &mut calls, Some(Duration::from_secs(60)));
        match calls.error {
            Some(error) => Err(format!("{}: {error}", calls.party.edge)),
            None if calls.up < calls.party.conns => {
                Err(format!("{}: only {} connections came up", calls.party.edge, calls.up))
            }
            None => Ok(Ends { domain: calls.party.domain, conns: calls.conns, listener }),
        }
    });
    Ok([inside?, outside?])
}

/// Opens a side's connections.
struct Calls {
    party: Party,
    client: Arc<ClientConfig>,
    window: usize,
    conns: Vec<usize>,
    up: usize,
    error: Option<String>,
}

impl App for Calls {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        while self.error.is_none()
            && self.conns.len() < self.party.conns
            && self.conns.len() - self.up < self.window
        {
            let (own, edge) = (*self.party.own.ip(), self.party.edge);
            match c.net.open_as(Proto::Tls, own, edge, Some(self.client.clone())) {
                Ok(conn) => self.conns.push(conn),
                Err(e) => self.error = Some(e.to_string()),
            }
        }
        let is_done = self.up == self.party.conns || self.error.is_some();
        (!is_done).then_some(Duration::from_millis(100))
    }
    fn response(&mut self, _: &mut Core, _: &Tx, _: &Msg) {}
    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "r", "", b"");
    }
    fn timeout(&mut self, _: &mut Core, _: &Tx) {}
    fn up(&mut self, _: &mut Core, conn: usize) {
        self.up += usize::from(self.conns.contains(&conn));
    }
    fn closed(&mut self, _: &mut Core, conn: usize) {
        self.error = Some(format!("connection {conn} was closed while it came up"));
    }
}

struct Op {
    begun: u64,
    seq: u64,
    from: Side,
    delivered: bool,
}

pub struct Relay<'a> {
    pub pacer: Pacer,
    ends: &'a [Ends; 2],
    /// Whose requests are sent, in turn.
    from: &'a [Side],
    /// One for each message in flight.
    ops: Vec<Op>,
    free: Vec<usize>,
    seq: u64,
    body: Vec<u8>,
    pub rtt: Hist,
    pub one_way: Hist,
    pub delivered: [u64; 2],
    pub duplicates: u64,
    /// Came out on the side that they had come in on.
    pub misrouted: u64,
    pub bad_status: Vec<u16>,
}

impl<'a> Relay<'a> {
    pub fn new(pacer: Pacer, ends: &'a [Ends; 2], from: &'a [Side], size: usize) -> Relay<'a> {
        let slots = pacer.window;
        Relay {
            pacer,
            ends,
            from,
            ops: (0..slots).map(|_| Op { begun: 0, seq: 0, from: Side::Inside, delivered: false }).collect(),
            free: (0..slots).rev().collect(),
            seq: 0,
            body: vec![b'x'; size],
            rtt: Hist::default(),
            one_way: Hist::default(),
            delivered: [0; 2],
            duplicates: 0,
            misrouted: 0,
            bad_status: Vec::new(),
        }
    }

    fn send(&self, c: &mut Core, slot: usize) {
        let Op { seq, from, .. } = self.ops[slot];
        let (ends, other) = (&self.ends[from as usize], &self.ends[from.other() as usize]);
        let turn = seq as usize / self.from.len();
        let user = format!("sip:u{}@{}", turn % 1000, ends.domain);
        let uri = format!("sip:u{}@{}", turn % 1000, other.domain);
        // A server inside passes on what a device sent it, and says who the device's user is.
        let inside = match from {
            Side::Inside => format!(
                "Via: SIP/2.0/TLS 192.0.2.7:49152;branch=z9hG4bKdevice{seq:x};rport=49152;received=192.0.2.7\r\n\
                 P-Asserted-Identity: <{user}>\r\n"
            ),
            Side::Outside => String::new(),
        };
        let headers = format!(
            "{inside}From: <{user}>;tag=r{slot}\r\nTo: <{uri}>\r\nCall-ID: r-{:x}-{slot}-{seq}\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: text/plain\r\n",
            c.run
        );
        let conn = ends.conns[turn % ends.conns.len()];
        c.start(conn, "MESSAGE", 1, slot as u64, &uri, &headers, &self.body);
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

    /// The side that a connection is on.
    fn side_of(&self, c: &Core, conn: usize) -> Side {
        let outside = &self.ends[Side::Outside as usize];
        let is_outside = match c.net.conns[conn].listener {
            Some(listener) => listener == outside.listener,
            None => outside.conns.contains(&conn),
        };
        if is_outside { Side::Outside } else { Side::Inside }
    }
}

impl App for Relay<'_> {
    fn tick(&mut self, c: &mut Core) -> Option<Duration> {
        let mut now = c.now();
        while !self.free.is_empty() {
            let Some(at) = self.pacer.next(now) else { break };
            let slot = self.free.pop().expect("checked");
            let from = self.from[self.seq as usize % self.from.len()];
            self.ops[slot] = Op { begun: at, seq: self.seq, from, delivered: false };
            self.seq += 1;
            self.send(c, slot);
            now = c.now();
        }
        if self.pacer.finished() {
            return None;
        }
        Some(self.pacer.wait(c.now()))
    }

    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg) {
        if m.status < 200 {
            return;
        }
        let slot = tx.data as usize;
        if m.status / 100 == 2 {
            self.rtt.record(c.now() - self.ops[slot].begun);
        }
        self.finish(slot, m.status);
    }

    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg) {
        c.reply(conn, m, "200 OK", "r", "", b"");
        if m.method != b"MESSAGE" {
            return;
        }
        let side = self.side_of(c, conn);
        // Call-ID: r-<run>-<slot>-<seq>
        let id = std::str::from_utf8(m.call_id).ok().and_then(|s| {
            let mut p = s.split('-').skip(2);
            Some((p.next()?.parse::<usize>().ok()?, p.next()?.parse::<u64>().ok()?))
        });
        match id.and_then(|(s, q)| self.ops.get_mut(s).filter(|o| o.seq == q)) {
            Some(op) if op.delivered => self.duplicates += 1,
            Some(op) if op.from == side => self.misrouted += 1,
            Some(op) => {
                op.delivered = true;
                self.delivered[side as usize] += 1;
                let begun = op.begun;
                self.one_way.record(c.now() - begun);
            }
            None => self.duplicates += 1,
        }
    }

    fn timeout(&mut self, _: &mut Core, tx: &Tx) {
        self.finish(tx.data as usize, 0);
    }
}
