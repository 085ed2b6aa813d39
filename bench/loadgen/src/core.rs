//! Users, client transactions, timers and the event loop.

use crate::digest::Challenge;
use crate::net::{Event, Net, Proto, State};
use crate::procstat::{self, Cpu};
use crate::sip::{self, Msg};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

const T1: u64 = 500_000_000;
const TIMER_BIT: u64 = 1 << 63;

#[derive(Default, Clone)]
pub struct MulHasher(u64);

impl Hasher for MulHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys")
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = v.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(20);
    }
}

pub type IdMap<V> = HashMap<u64, V, BuildHasherDefault<MulHasher>>;

pub struct Cfg {
    pub proto: Proto,
    pub dst: SocketAddrV4,
    pub sources: Vec<Ipv4Addr>,
    pub domain: String,
    pub outbound: bool,
    pub expires: u32,
    pub timeout: u64,
    pub pids: Vec<u32>,
}

pub struct User {
    pub name: String,
    pass: String,
    pub conn: usize,
    pub call_id: String,
    pub cseq: u32,
    chal: Option<Challenge>,
    ha1: Option<(String, bool, String)>,
    nc: u32,
}

#[derive(Default, Debug)]
pub struct Stats {
    pub retransmits: u64,
    pub timeouts: u64,
    pub stray: u64,
    pub bad: u64,
    pub closed: u64,
}

pub struct Tx {
    pub kind: u8,
    pub data: u64,
    pub conn: usize,
    method: &'static str,
    raw: Vec<u8>,
    sent: u64,
    interval: u64,
    proceeding: bool,
}

/// What a workload does with what comes in.
pub trait App {
    /// Called before every wait. `None`: finished.
    fn tick(&mut self, c: &mut Core) -> Option<Duration>;
    fn response(&mut self, c: &mut Core, tx: &Tx, m: &Msg);
    fn request(&mut self, c: &mut Core, conn: usize, m: &Msg);
    fn timeout(&mut self, c: &mut Core, tx: &Tx);
    fn timer(&mut self, _c: &mut Core, _token: u64) {}
    fn stray(&mut self, _c: &mut Core, _conn: usize, _m: &Msg) {}
    fn up(&mut self, _c: &mut Core, _conn: usize) {}
    fn closed(&mut self, _c: &mut Core, _conn: usize) {}
}

pub struct Core {
    pub net: Net,
    pub cfg: Cfg,
    pub users: Vec<User>,
    pub stats: Stats,
    pub run: u32,
    txs: IdMap<Tx>,
    next_tx: u64,
    fifo: VecDeque<(u64, u64)>,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    t0: Instant,
    scratch: Vec<u8>,
}

impl Core {
    pub fn new(net: Net, cfg: Cfg, creds: Vec<(String, String)>) -> Core {
        let run = std::process::id()
            ^ (std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| d.subsec_nanos())
                << 8);
        let users = creds
            .into_iter()
            .enumerate()
            .map(|(i, (name, pass))| User {
                call_id: format!("reg-{run:x}-{i}@sipload"),
                name,
                pass,
                conn: usize::MAX,
                cseq: 0,
                chal: None,
                ha1: None,
                nc: 0,
            })
            .collect();
        Core {
            net,
            cfg,
            users,
            stats: Stats::default(),
            run,
            txs: IdMap::default(),
            next_tx: 1,
            fifo: VecDeque::new(),
            heap: BinaryHeap::new(),
            t0: Instant::now(),
            scratch: vec![0; 65536],
        }
    }

    pub fn now(&self) -> u64 {
        self.t0.elapsed().as_nanos() as u64
    }

    /// Makes a user a further device of another one.
    pub fn share_account(&mut self, user: usize, of: usize) {
        let (name, pass) = (self.users[of].name.clone(), self.users[of].pass.clone());
        self.users[user].name = name;
        self.users[user].pass = pass;
    }

    /// Opens one connection; the source address rotates over the configured ones.
    pub fn open(&mut self) -> std::io::Result<usize> {
        let src = self.cfg.sources[self.net.conns.len() % self.cfg.sources.len()];
        self.net.open(self.cfg.proto, src, self.cfg.dst)
    }

    /// Opens `n` connections, waits until all are up, and deals users out to them.
    pub fn connect_all(&mut self, n: usize, window: usize) -> Result<(), String> {
        struct Up {
            want: usize,
            opened: usize,
            up: usize,
            window: usize,
            udp: bool,
            failed: Option<String>,
        }
        impl App for Up {
            fn tick(&mut self, c: &mut Core) -> Option<Duration> {
                while self.failed.is_none() && self.opened < self.want && self.opened - self.up < self.window
                {
                    match c.open() {
                        Ok(_) => self.opened += 1,
                        Err(e) => self.failed = Some(format!("connection {}: {e}", self.opened)),
                    }
                    if self.udp {
                        self.up += 1;
                    }
                }
                if self.up == self.want || self.failed.is_some() {
                    return None;
                }
                Some(Duration::from_millis(100))
            }
            fn response(&mut self, _: &mut Core, _: &Tx, _: &Msg) {}
            fn request(&mut self, _: &mut Core, _: usize, _: &Msg) {}
            fn timeout(&mut self, _: &mut Core, _: &Tx) {}
            fn up(&mut self, _: &mut Core, _: usize) {
                self.up += 1;
            }
            fn closed(&mut self, _: &mut Core, conn: usize) {
                self.failed = Some(format!("connection {conn} closed while connecting"));
            }
        }
        let base = self.net.conns.len();
        let mut app =
            Up { want: n, opened: 0, up: 0, window, udp: self.cfg.proto == Proto::Udp, failed: None };
        run(self, &mut app, Some(Duration::from_secs(120)));
        if let Some(f) = app.failed {
            return Err(f);
        }
        if app.up < n {
            return Err(format!("only {} of {n} connections came up", app.up));
        }
        for (i, u) in self.users.iter_mut().enumerate() {
            u.conn = base + i % n;
        }
        Ok(())
    }

    pub fn contact(&self, user: usize) -> String {
        let u = &self.users[user];
        let c = &self.net.conns[u.conn];
        let tp = if c.proto == Proto::Udp {
            ""
        } else if c.proto == Proto::Tcp {
            ";transport=tcp"
        } else {
            ";transport=tls"
        };
        format!("sip:{}@{}{tp}", u.name, c.local)
    }

    /// Sends a request as a new client transaction.
    #[allow(
        clippy::too_many_arguments,
        reason = "all that a client transaction is; each call names them in order"
    )]
    pub fn start(
        &mut self,
        conn: usize,
        method: &'static str,
        kind: u8,
        data: u64,
        uri: &str,
        headers: &str,
        body: &[u8],
    ) {
        use std::io::Write;
        let id = self.next_tx;
        self.next_tx += 1;
        let c = &self.net.conns[conn];
        let mut raw = Vec::with_capacity(512 + body.len());
        let _ = write!(
            raw,
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bKsl{:x}.{id:x};rport\r\nMax-Forwards: 70\r\n{headers}Content-Length: {}\r\n\r\n",
            c.proto.via(),
            c.local,
            self.run,
            body.len()
        );
        raw.extend_from_slice(body);
        let udp = c.proto == Proto::Udp;
        self.net.send(conn, &raw);
        let now = self.now();
        self.fifo.push_back((now + if udp { T1 } else { self.cfg.timeout }, id));
        let keep = udp || method == "INVITE";
        self.txs.insert(
            id,
            Tx {
                kind,
                data,
                conn,
                method,
                raw: if keep { raw } else { Vec::new() },
                sent: now,
                interval: T1,
                proceeding: false,
            },
        );
    }

    /// Sends an ACK (no transaction).
    pub fn ack(&mut self, conn: usize, uri: &str, headers: &str) -> Vec<u8> {
        let id = self.next_tx;
        self.next_tx += 1;
        let c = &self.net.conns[conn];
        let raw = format!(
            "ACK {uri} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bKsl{:x}.{id:x};rport\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n",
            c.proto.via(),
            c.local,
            self.run
        )
        .into_bytes();
        self.net.send(conn, &raw);
        raw
    }

    pub fn reply(&mut self, conn: usize, req: &Msg, status: &str, to_tag: &str, extra: &str, body: &[u8]) {
        let mut out = Vec::with_capacity(512);
        sip::reply(&mut out, req, status, to_tag, extra, body);
        self.net.send(conn, &out);
    }

    /// Calls `App::timer(token)` after `delay`.
    pub fn after(&mut self, delay: Duration, token: u64) {
        let at = self.now() + delay.as_nanos() as u64;
        self.heap.push(Reverse((at, token | TIMER_BIT)));
    }

    /// Takes the challenge out of a 401/407 and makes the header that answers it.
    pub fn answer(&mut self, user: usize, m: &Msg, method: &str, uri: &str) -> Option<String> {
        let ch = Challenge::parse(m.challenge, m.proxy_challenge)?;
        let u = &mut self.users[user];
        u.chal = Some(ch);
        u.nc = 0;
        self.preauth(user, method, uri)
    }

    /// Answers the challenge seen last once more (same nonce, next count).
    pub fn preauth(&mut self, user: usize, method: &str, uri: &str) -> Option<String> {
        let u = &mut self.users[user];
        let ch = u.chal.as_ref()?;
        u.nc += 1;
        match &u.ha1 {
            Some((realm, sha, _)) if *realm == ch.realm && *sha == ch.sha256 => {}
            _ => u.ha1 = Some((ch.realm.clone(), ch.sha256, ch.ha1(&u.name, &u.pass))),
        }
        let ha1 = &u.ha1.as_ref()?.2;
        Some(ch.answer(&u.name, ha1, method, uri, u.nc))
    }

    fn ack_failure(&mut self, tx: &Tx, m: &Msg) {
        let Some(req) = sip::parse(&tx.raw) else { return };
        let mut out = Vec::new();
        out.extend_from_slice(b"ACK ");
        out.extend_from_slice(req.uri);
        out.extend_from_slice(b" SIP/2.0\r\nVia: ");
        out.extend_from_slice(req.vias()[0]);
        out.extend_from_slice(b"\r\nMax-Forwards: 70\r\nFrom: ");
        out.extend_from_slice(req.from);
        out.extend_from_slice(b"\r\nTo: ");
        out.extend_from_slice(m.to);
        out.extend_from_slice(b"\r\nCall-ID: ");
        out.extend_from_slice(req.call_id);
        out.extend_from_slice(format!("\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n", req.cseq).as_bytes());
        self.net.send(tx.conn, &out);
    }

    fn dispatch(&mut self, app: &mut dyn App, conn: usize, raw: &[u8]) {
        let Some(m) = sip::parse(raw) else {
            self.stats.bad += 1;
            return;
        };
        if m.is_request() {
            app.request(self, conn, &m);
            return;
        }
        let id = self.tx_id(m.branch());
        let known = self.txs.get(&id).is_some_and(|t| t.method.as_bytes() == m.cseq_method);
        if !known {
            self.stats.stray += 1;
            app.stray(self, conn, &m);
            return;
        }
        if m.status < 200 {
            let mut tx = self.txs.remove(&id).expect("known");
            tx.proceeding = true;
            app.response(self, &tx, &m);
            self.txs.insert(id, tx);
            return;
        }
        let tx = self.txs.remove(&id).expect("known");
        if m.status >= 300 && tx.method == "INVITE" {
            self.ack_failure(&tx, &m);
        }
        app.response(self, &tx, &m);
    }

    /// `z9hG4bKsl<run>.<id>` of this run, or 0.
    fn tx_id(&self, branch: &[u8]) -> u64 {
        let Some(rest) = branch.strip_prefix(b"z9hG4bKsl") else { return 0 };
        let Ok(s) = std::str::from_utf8(rest) else { return 0 };
        match s.split_once('.') {
            Some((run, id)) if u32::from_str_radix(run, 16) == Ok(self.run) => {
                u64::from_str_radix(id, 16).unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn due(&mut self, app: &mut dyn App, at: u64, id: u64) {
        if id & TIMER_BIT != 0 {
            app.timer(self, id & !TIMER_BIT);
            return;
        }
        let now = self.now();
        let timeout = self.cfg.timeout;
        let Some(tx) = self.txs.get_mut(&id) else { return };
        let udp = self.net.conns[tx.conn].proto == Proto::Udp;
        if now - tx.sent >= timeout {
            let tx = self.txs.remove(&id).expect("present");
            self.stats.timeouts += 1;
            app.timeout(self, &tx);
            return;
        }
        let end = tx.sent + timeout;
        let mut next = end;
        if udp && !(tx.proceeding && tx.method == "INVITE") {
            let (conn, raw) = (tx.conn, std::mem::take(&mut tx.raw));
            tx.interval =
                if tx.method == "INVITE" { tx.interval * 2 } else { (tx.interval * 2).min(4_000_000_000) };
            next = (at + tx.interval).min(end);
            self.net.send(conn, &raw);
            self.stats.retransmits += 1;
            self.txs.get_mut(&id).expect("present").raw = raw;
        }
        self.heap.push(Reverse((next.max(now + 1_000_000), id)));
    }

    fn timers(&mut self, app: &mut dyn App) -> Duration {
        let now = self.now();
        while let Some(&(at, id)) = self.fifo.front() {
            if !self.txs.contains_key(&id) {
                self.fifo.pop_front();
            } else if at <= now {
                self.fifo.pop_front();
                self.due(app, at, id);
            } else {
                break;
            }
        }
        while let Some(&Reverse((at, id))) = self.heap.peek() {
            if at > now {
                break;
            }
            self.heap.pop();
            self.due(app, at, id);
        }
        let next =
            self.fifo.front().map_or(u64::MAX, |x| x.0).min(self.heap.peek().map_or(u64::MAX, |x| x.0.0));
        Duration::from_nanos(next.saturating_sub(now).min(100_000_000))
    }

    fn readable(&mut self, app: &mut dyn App, conn: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for _ in 0..64 {
            let n = match self.net.read(conn, &mut scratch) {
                Ok(0) => break,
                Ok(n) => n,
                Err(()) => {
                    self.net.close(conn);
                    self.stats.closed += 1;
                    app.closed(self, conn);
                    break;
                }
            };
            if self.net.conns[conn].proto == Proto::Udp {
                self.dispatch(app, conn, &scratch[..n]);
                continue;
            }
            // The usual case: a read holds whole messages and nothing was left over.
            let mut left = std::mem::take(&mut self.net.conns[conn].inbuf);
            let data: &[u8] = if left.is_empty() {
                &scratch[..n]
            } else {
                left.extend_from_slice(&scratch[..n]);
                &left
            };
            let mut at = 0;
            while at < data.len() {
                match sip::frame(&data[at..]) {
                    Ok(Some((skip, len))) => {
                        if len > 0 {
                            self.dispatch(app, conn, &data[at + skip..at + skip + len]);
                        }
                        at += skip + len;
                    }
                    Ok(None) => break,
                    Err(()) => {
                        self.stats.bad += 1;
                        at = data.len();
                    }
                }
            }
            let rest = data[at..].to_vec();
            self.net.conns[conn].inbuf = rest;
            if n < scratch.len() && self.net.conns[conn].proto == Proto::Tcp {
                break;
            }
            if self.net.conns[conn].state != State::Up {
                break;
            }
        }
        self.scratch = scratch;
    }
}

/// Runs `app` until it says it is finished, or for `limit`.
pub fn run(core: &mut Core, app: &mut dyn App, limit: Option<Duration>) {
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let begin = Instant::now();
    loop {
        if limit.is_some_and(|l| begin.elapsed() > l) {
            return;
        }
        let t = core.timers(app);
        let Some(w) = app.tick(core) else { return };
        let n = core.net.wait(&mut evs, w.min(t).min(Duration::from_millis(100)));
        for ev in &evs[..n] {
            match core.net.handle(ev) {
                None => {}
                Some((id, Event::Up)) => app.up(core, id),
                Some((id, Event::Closed)) => {
                    core.stats.closed += 1;
                    app.closed(core, id);
                }
                Some((id, Event::Readable)) => core.readable(app, id),
            }
        }
    }
}

/// Starts operations: closed loop (`window` in flight) or open loop (`rate` a second).
pub struct Pacer {
    pub rate: f64,
    pub window: usize,
    pub total: u64,
    pub started: u64,
    pub done: u64,
    pub failed: u64,
    t0: Option<u64>,
    /// Nothing starts later than this many nanoseconds after the first operation.
    span: u64,
}

impl Pacer {
    pub fn new(rate: f64, window: usize, total: u64) -> Pacer {
        Pacer { rate, window, total, started: 0, done: 0, failed: 0, t0: None, span: u64::MAX }
    }

    /// As many operations as start within `secs`.
    pub fn timed(rate: f64, window: usize, secs: f64) -> Pacer {
        Pacer { span: (secs * 1e9) as u64, ..Pacer::new(rate, window, u64::MAX) }
    }

    /// The time at which the next operation is due, if it may start now.
    pub fn next(&mut self, now: u64) -> Option<u64> {
        let t0 = *self.t0.get_or_insert(now);
        if now - t0 > self.span {
            self.total = self.started;
        }
        if self.started >= self.total || self.started - self.done - self.failed >= self.window as u64 {
            return None;
        }
        if self.rate > 0.0 {
            let at = t0 + (self.started as f64 * 1e9 / self.rate) as u64;
            if at > now {
                return None;
            }
            self.started += 1;
            return Some(at);
        }
        self.started += 1;
        Some(now)
    }

    pub fn wait(&self, now: u64) -> Duration {
        if self.rate > 0.0 && self.started < self.total {
            let at = self.t0.unwrap_or(now) + (self.started as f64 * 1e9 / self.rate) as u64;
            return Duration::from_nanos(at.saturating_sub(now));
        }
        Duration::from_millis(20)
    }

    pub fn finished(&self) -> bool {
        self.done + self.failed >= self.total
    }
}

/// Server CPU, client CPU and wall time between two moments.
pub struct Meter {
    cpu0: Cpu,
    client0: f64,
    busy0: f64,
    wall0: Instant,
}

/// Seconds of CPU that the whole machine has used, time stolen from it included.
fn machine_busy() -> f64 {
    let s = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let v: Vec<f64> = s
        .lines()
        .next()
        .unwrap_or("")
        .split_ascii_whitespace()
        .skip(1)
        .filter_map(|x| x.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    if v.len() < 8 {
        return 0.0;
    }
    (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

fn client_cpu() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        s(r.ru_utime) + s(r.ru_stime)
    }
}

impl Meter {
    pub fn start(pids: &[u32]) -> Meter {
        Meter {
            cpu0: procstat::cpu(pids),
            client0: client_cpu(),
            busy0: machine_busy(),
            wall0: Instant::now(),
        }
    }

    /// Seconds of CPU that the server used.
    pub fn used(&self, pids: &[u32]) -> f64 {
        procstat::cpu(pids).since(&self.cpu0)
    }

    /// Cores that neither the server nor we used, but somebody.
    pub fn others(&self, pids: &[u32]) -> f64 {
        let busy = machine_busy() - self.busy0 - self.used(pids) - (client_cpu() - self.client0);
        (busy / self.wall0.elapsed().as_secs_f64()).max(0.0)
    }

    /// JSON members: the rate, server CPU per 1,000 units and both CPU totals.
    pub fn json(&self, pids: &[u32], units: u64) -> String {
        let wall = self.wall0.elapsed().as_secs_f64();
        let cpu = procstat::cpu(pids);
        let client = client_cpu() - self.client0;
        let busy = machine_busy() - self.busy0;
        let mut s = format!(
            "\"units\":{units},\"wall_s\":{wall:.3},\"per_s\":{:.1},\"client_cpu_s\":{client:.3}",
            units as f64 / wall
        );
        if !pids.is_empty() {
            let used = cpu.since(&self.cpu0);
            // What others on the machine took meanwhile: the more, the less a rate means.
            s += &format!(",\"other_cores\":{:.2}", ((busy - used - client) / wall).max(0.0));
            s += &format!(
                ",\"server\":{},\"server_cpu_ms_per_1000\":{:.3},\"server_cores\":{:.2}",
                cpu.json_since(&self.cpu0),
                used * 1e6 / units.max(1) as f64,
                used / wall
            );
        }
        s
    }
}
