//! W6: TURN (RFC 8656) over UDP with long-term credentials.
//!
//! `turn-alloc`: allocate (challenge, then authorised) and delete, in a closed loop.
//! `turn-relay`: allocations with one bound channel each; every packet goes
//! client -> relay -> peer and is echoed peer -> relay -> client.

use crate::core::Meter;
use crate::digest::md5_raw;
use crate::hist::Hist;
use ring::hmac;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const COOKIE: u32 = 0x2112_A442;
const ALLOCATE: u16 = 0x0003;
const REFRESH: u16 = 0x0004;
const CHANNEL_BIND: u16 = 0x0009;
const CREATE_PERMISSION: u16 = 0x0008;

pub struct Opts {
    pub server: SocketAddrV4,
    pub user: String,
    pub pass: String,
    pub allocs: usize,
    pub window: usize,
    pub size: usize,
    pub secs: f64,
    pub warmup: f64,
    pub rate: f64,
    pub count: u64,
    pub pids: Vec<u32>,
    pub timeout: Duration,
    pub send_indication: bool,
}

struct Builder(Vec<u8>);

impl Builder {
    fn new(ty: u16, txid: &[u8; 12]) -> Builder {
        let mut b = Vec::with_capacity(256);
        b.extend_from_slice(&ty.to_be_bytes());
        b.extend_from_slice(&[0, 0]);
        b.extend_from_slice(&COOKIE.to_be_bytes());
        b.extend_from_slice(txid);
        Builder(b)
    }
    fn attr(&mut self, ty: u16, v: &[u8]) -> &mut Builder {
        self.0.extend_from_slice(&ty.to_be_bytes());
        self.0.extend_from_slice(&(v.len() as u16).to_be_bytes());
        self.0.extend_from_slice(v);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }
    fn len(&mut self, extra: usize) {
        let n = (self.0.len() - 20 + extra) as u16;
        self.0[2..4].copy_from_slice(&n.to_be_bytes());
    }
    fn finish(mut self) -> Vec<u8> {
        self.len(0);
        self.0
    }
    fn signed(mut self, auth: &Auth) -> Vec<u8> {
        self.attr(0x0006, auth.user.as_bytes()).attr(0x0014, auth.realm.as_bytes()).attr(0x0015, &auth.nonce);
        self.len(24);
        let tag = hmac::sign(&auth.key, &self.0);
        self.attr(0x0008, tag.as_ref());
        self.finish()
    }
}

struct Auth {
    user: String,
    realm: String,
    nonce: Vec<u8>,
    key: hmac::Key,
}

fn attr(msg: &[u8], want: u16) -> Option<&[u8]> {
    let mut i = 20;
    while i + 4 <= msg.len() {
        let ty = u16::from_be_bytes([msg[i], msg[i + 1]]);
        let len = u16::from_be_bytes([msg[i + 2], msg[i + 3]]) as usize;
        let v = msg.get(i + 4..i + 4 + len)?;
        if ty == want {
            return Some(v);
        }
        i += 4 + len.div_ceil(4) * 4;
    }
    None
}

fn xor_addr(a: SocketAddrV4) -> [u8; 8] {
    let mut v = [0, 1, 0, 0, 0, 0, 0, 0];
    v[2..4].copy_from_slice(&(a.port() ^ 0x2112).to_be_bytes());
    v[4..8].copy_from_slice(&(u32::from(*a.ip()) ^ COOKIE).to_be_bytes());
    v
}

fn parse_xor(v: &[u8]) -> Option<SocketAddrV4> {
    if v.len() != 8 || v[1] != 1 {
        return None;
    }
    let port = u16::from_be_bytes([v[2], v[3]]) ^ 0x2112;
    let ip = u32::from_be_bytes([v[4], v[5], v[6], v[7]]) ^ COOKIE;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip), port))
}

fn allocate(txid: &[u8; 12]) -> Builder {
    let mut b = Builder::new(ALLOCATE, txid);
    b.attr(0x0019, &[17, 0, 0, 0]).attr(0x000D, &600u32.to_be_bytes());
    b
}

/// A client socket on a loopback address that no earlier run used: a server
/// remembers a deleted allocation's 5-tuple for a while (error 437).
fn socket(server: SocketAddrV4, n: u64) -> UdpSocket {
    use std::sync::OnceLock;
    static NET: OnceLock<(u8, u8)> = OnceLock::new();
    let (a, b) = *NET.get_or_init(|| {
        let t = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.subsec_micros());
        ((t % 199 + 1) as u8, (t / 199 % 250) as u8)
    });
    let ip = Ipv4Addr::new(127, a, b, (n % 250 + 1) as u8);
    let port = 33_000 + (n / 250 % 27_000) as u16;
    let s = UdpSocket::bind((ip, port)).expect("bind");
    s.connect(server).expect("connect");
    s
}

fn auth_from(o: &Opts, m: &[u8]) -> Option<Auth> {
    let realm = String::from_utf8(attr(m, 0x0014)?.to_vec()).ok()?;
    let nonce = attr(m, 0x0015)?.to_vec();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &md5_raw(&[&o.user, &realm, &o.pass]));
    Some(Auth { user: o.user.clone(), realm, nonce, key })
}

fn txid(n: u64) -> [u8; 12] {
    let mut t = [0x5a; 12];
    t[..8].copy_from_slice(&n.to_be_bytes());
    t
}

/// One blocking exchange with retransmission; for set-up only.
fn exchange(s: &UdpSocket, msg: &[u8]) -> Result<Vec<u8>, String> {
    let mut buf = [0u8; 2048];
    for _ in 0..5 {
        s.send(msg).map_err(|e| e.to_string())?;
        s.set_read_timeout(Some(Duration::from_millis(500))).ok();
        while let Ok(n) = s.recv(&mut buf) {
            if n >= 20 && buf[8..20] == msg[8..20] {
                return Ok(buf[..n].to_vec());
            }
        }
    }
    Err("no answer".into())
}

fn error_code(m: &[u8]) -> u16 {
    attr(m, 0x0009).filter(|v| v.len() >= 4).map_or(0, |v| v[2] as u16 * 100 + v[3] as u16)
}

struct Epoll(i32);

impl Epoll {
    fn new() -> Epoll {
        Epoll(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
    }
    fn add(&self, s: &UdpSocket, id: u64) {
        s.set_nonblocking(true).expect("nonblocking");
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: id };
        assert_eq!(unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, s.as_raw_fd(), &mut ev) }, 0);
    }
    fn wait(&self, evs: &mut [libc::epoll_event], t: Duration) -> usize {
        let ts = libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos() as i64 };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0,
                evs.as_mut_ptr(),
                evs.len() as i32,
                &ts as *const libc::timespec,
                std::ptr::null::<u8>(),
                8usize,
            )
        };
        n.max(0) as usize
    }
}

/// Allocations (with a challenge each) made and deleted again.
pub fn alloc(o: &Opts) -> Result<String, String> {
    struct Slot {
        s: UdpSocket,
        step: u8,
        auth: Option<Auth>,
        begun: Instant,
        sent: Instant,
        last: Vec<u8>,
    }
    let ep = Epoll::new();
    let mut next_id = 1u64;
    let mut begin = |id: u64| {
        let s = socket(o.server, next_id);
        ep.add(&s, id);
        let m = allocate(&txid(next_id)).finish();
        next_id += 1;
        let _ = s.send(&m);
        Slot { s, step: 0, auth: None, begun: Instant::now(), sent: Instant::now(), last: m }
    };
    let warm = (o.count / 10).max(1);
    let (mut started, mut done, mut failed, mut retrans) = (0u64, 0u64, 0u64, 0u64);
    let mut codes: Vec<u16> = Vec::new();
    let mut hist = Hist::default();
    let mut meter = None;
    let total = o.count + warm;
    let mut slots: Vec<Option<Slot>> = Vec::new();
    for i in 0..o.window.min(total as usize) {
        slots.push(Some(begin(i as u64)));
        started += 1;
    }
    let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buf = [0u8; 2048];
    let mut seq = 1u64 << 32;
    let mut sweep = Instant::now();
    while done + failed < total {
        if meter.is_none() && done + failed >= warm {
            meter = Some(Meter::start(&o.pids));
            hist = Hist::default();
        }
        let n = ep.wait(&mut evs, Duration::from_millis(100));
        for ev in &evs[..n] {
            let i = ev.u64 as usize;
            let mut end = false;
            if let Some(sl) = slots[i].as_mut() {
                while let Ok(n) = sl.s.recv(&mut buf) {
                    let m = &buf[..n];
                    if n < 20 || m[8..20] != sl.last[8..20] {
                        continue;
                    }
                    let ty = u16::from_be_bytes([m[0], m[1]]);
                    seq += 1;
                    match (sl.step, ty) {
                        (0, 0x0113) if error_code(m) == 401 => {
                            sl.auth = auth_from(o, m);
                            let Some(a) = &sl.auth else {
                                failed += 1;
                                end = true;
                                break;
                            };
                            sl.last = allocate(&txid(seq)).signed(a);
                            sl.step = 1;
                        }
                        (1, 0x0103) => {
                            hist.record(sl.begun.elapsed().as_nanos() as u64);
                            let mut b = Builder::new(REFRESH, &txid(seq));
                            b.attr(0x000D, &0u32.to_be_bytes());
                            sl.last = b.signed(sl.auth.as_ref().expect("authorised"));
                            sl.step = 2;
                        }
                        (2, 0x0104) => {
                            done += 1;
                            end = true;
                            break;
                        }
                        _ => {
                            failed += 1;
                            if codes.len() < 8 {
                                codes.push(error_code(m));
                            }
                            end = true;
                            break;
                        }
                    }
                    let _ = sl.s.send(&sl.last);
                    sl.sent = Instant::now();
                }
            }
            if end {
                slots[i] = None;
                if started < total {
                    started += 1;
                    slots[i] = Some(begin(i as u64));
                }
            }
        }
        if sweep.elapsed() > Duration::from_millis(100) {
            sweep = Instant::now();
            #[allow(clippy::needless_range_loop, reason = "the body borrows other fields of the same run")]
            for i in 0..slots.len() {
                let Some(sl) = slots[i].as_mut() else { continue };
                if sl.begun.elapsed() > o.timeout {
                    failed += 1;
                    slots[i] = None;
                    if started < total {
                        started += 1;
                        slots[i] = Some(begin(i as u64));
                    }
                } else if sl.sent.elapsed() > Duration::from_millis(500) {
                    retrans += 1;
                    let _ = sl.s.send(&sl.last);
                    sl.sent = Instant::now();
                }
            }
        }
    }
    let m = meter.unwrap_or_else(|| Meter::start(&o.pids));
    Ok(format!(
        "{},\"failed\":{failed},\"retransmits\":{retrans},\"bad_status\":{codes:?},\"allocate_latency\":{}",
        m.json(&o.pids, done.saturating_sub(warm)),
        hist.json()
    ))
}

struct Alloc {
    client: UdpSocket,
    peer: UdpSocket,
    relayed: SocketAddrV4,
    peer_addr: SocketAddrV4,
    outstanding: u64,
    progress: Instant,
    sent: u64,
    got: u64,
}

fn make(o: &Opts, i: usize) -> Result<Alloc, String> {
    let client = socket(o.server, i as u64);
    let peer = UdpSocket::bind((*o.server.ip(), 0)).map_err(|e| e.to_string())?;
    let peer_addr = match peer.local_addr() {
        Ok(std::net::SocketAddr::V4(a)) => a,
        _ => return Err("peer address".into()),
    };
    let id = |k: u64| txid((i as u64) << 8 | k);
    let m = exchange(&client, &allocate(&id(1)).finish())?;
    let auth = auth_from(o, &m).ok_or_else(|| format!("no challenge: {}", error_code(&m)))?;
    let m = exchange(&client, &allocate(&id(2)).signed(&auth))?;
    let relayed =
        attr(&m, 0x0016).and_then(parse_xor).ok_or_else(|| format!("allocate: error {}", error_code(&m)))?;
    let mut b = if o.send_indication {
        Builder::new(CREATE_PERMISSION, &id(3))
    } else {
        let mut b = Builder::new(CHANNEL_BIND, &id(3));
        b.attr(0x000C, &[0x40, 0x01, 0, 0]);
        b
    };
    b.attr(0x0012, &xor_addr(peer_addr));
    let m = exchange(&client, &b.signed(&auth))?;
    if m[0] != 0x01 || m[1] & 0x10 != 0 {
        return Err(format!("bind/permission: error {}", error_code(&m)));
    }
    peer.connect(relayed).map_err(|e| e.to_string())?;
    for s in [&client, &peer] {
        let v: i32 = 1 << 20;
        unsafe {
            libc::setsockopt(s.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&v as *const i32).cast(), 4)
        };
    }
    Ok(Alloc { client, peer, relayed, peer_addr, outstanding: 0, progress: Instant::now(), sent: 0, got: 0 })
}

const PEER: u64 = 1 << 32;

pub fn relay(o: &Opts) -> Result<String, String> {
    let mut al = Vec::with_capacity(o.allocs);
    for i in 0..o.allocs {
        al.push(make(o, i).map_err(|e| format!("allocation {i}: {e}"))?);
    }
    let ep = Epoll::new();
    for (i, a) in al.iter().enumerate() {
        ep.add(&a.client, i as u64);
        ep.add(&a.peer, i as u64 | PEER);
    }
    let size = o.size.max(8);
    let t0 = Instant::now();
    let mut up = Hist::default();
    let mut round = Hist::default();
    // ChannelData header (4 bytes), or a Send indication up to its DATA value.
    let heads: Vec<Vec<u8>> = al
        .iter()
        .map(|a| {
            if !o.send_indication {
                let mut h = vec![0x40, 0x01];
                h.extend_from_slice(&(size as u16).to_be_bytes());
                return h;
            }
            let mut b = Builder::new(0x0016, &txid(7));
            b.attr(0x0012, &xor_addr(a.peer_addr));
            let pad = size.div_ceil(4) * 4;
            b.0.extend_from_slice(&0x0013u16.to_be_bytes());
            b.0.extend_from_slice(&(size as u16).to_be_bytes());
            b.len(pad);
            b.0
        })
        .collect();
    let pad = if o.send_indication { size.div_ceil(4) * 4 - size } else { 0 };
    let mut pkt = vec![0u8; 2048.max(size + 64)];
    let send = |al: &mut Alloc, head: &[u8], pkt: &mut [u8], now: u64| {
        let n = head.len();
        pkt[..n].copy_from_slice(head);
        pkt[n..n + 8].copy_from_slice(&now.to_be_bytes());
        if al.client.send(&pkt[..n + size + pad]).is_ok() {
            al.outstanding += 1;
            al.sent += 1;
        }
    };
    let (mut ups, mut downs, mut lost) = (0u64, 0u64, 0u64);
    let mut meter: Option<Meter> = None;
    let (mut ups0, mut downs0, mut lost0, mut sent0) = (0, 0, 0, 0);
    let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    let mut buf = [0u8; 4096];
    let mut sweep = Instant::now();
    let mut scheduled = 0u64;
    let end = o.warmup + o.secs;
    if o.rate == 0.0 {
        for (a, h) in al.iter_mut().zip(&heads) {
            for _ in 0..o.window {
                let now = t0.elapsed().as_nanos() as u64;
                send(a, h, &mut pkt, now);
            }
        }
    }
    loop {
        let el = t0.elapsed();
        if meter.is_none() && el.as_secs_f64() >= o.warmup {
            (ups0, downs0, lost0, sent0) = (ups, downs, lost, al.iter().map(|a| a.sent).sum());
            up = Hist::default();
            round = Hist::default();
            meter = Some(Meter::start(&o.pids));
        }
        if el.as_secs_f64() >= end {
            break;
        }
        let mut wait = Duration::from_millis(20);
        if o.rate > 0.0 {
            let due = (el.as_secs_f64() * o.rate) as u64;
            while scheduled < due {
                let i = (scheduled % al.len() as u64) as usize;
                let now = t0.elapsed().as_nanos() as u64;
                send(&mut al[i], &heads[i], &mut pkt, now);
                scheduled += 1;
            }
            wait = Duration::from_micros(500);
        }
        let n = ep.wait(&mut evs, wait);
        for ev in &evs[..n] {
            let id = ev.u64;
            let i = (id & 0xFFFF_FFFF) as usize;
            let a = &mut al[i];
            let now = t0.elapsed().as_nanos() as u64;
            let stamp = |b: &[u8]| u64::from_be_bytes(b[..8].try_into().expect("8 bytes"));
            if id & PEER != 0 {
                while let Ok(n) = a.peer.recv(&mut buf) {
                    if n < 8 {
                        continue;
                    }
                    ups += 1;
                    up.record(now.saturating_sub(stamp(&buf)));
                    let _ = a.peer.send(&buf[..n]);
                }
            } else {
                while let Ok(n) = a.client.recv(&mut buf) {
                    let data = if n >= 12 && buf[0] & 0xC0 == 0x40 {
                        &buf[4..n]
                    } else {
                        match attr(&buf[..n], 0x0013) {
                            Some(d) if d.len() >= 8 => d,
                            _ => continue,
                        }
                    };
                    downs += 1;
                    round.record(now.saturating_sub(stamp(data)));
                    a.got += 1;
                    a.outstanding = a.outstanding.saturating_sub(1);
                    a.progress = Instant::now();
                    if o.rate == 0.0 {
                        send(a, &heads[i], &mut pkt, now);
                    }
                }
            }
        }
        if o.rate == 0.0 && sweep.elapsed() > Duration::from_millis(50) {
            sweep = Instant::now();
            for (a, h) in al.iter_mut().zip(&heads) {
                if a.progress.elapsed() > Duration::from_millis(250) {
                    lost += a.outstanding;
                    a.outstanding = 0;
                    a.progress = Instant::now();
                    for _ in 0..o.window {
                        let now = t0.elapsed().as_nanos() as u64;
                        send(a, h, &mut pkt, now);
                    }
                }
            }
        }
    }
    let m = meter.expect("ran past the warm-up");
    let (ups, downs) = (ups - ups0, downs - downs0);
    let relayed = ups + downs;
    let sent: u64 = al.iter().map(|a| a.sent).sum::<u64>() - sent0;
    let mbit = relayed as f64 * size as f64 * 8.0 / 1e6 / o.secs;
    let first = al.first().map_or(String::new(), |a| a.relayed.to_string());
    Ok(format!(
        "{},\"relayed_up\":{ups},\"relayed_down\":{downs},\"sent\":{sent},\"lost_window\":{},\"payload_mbit_s\":{mbit:.1},\"first_relay\":\"{first}\",\"one_way\":{},\"round\":{}",
        m.json(&o.pids, relayed),
        lost - lost0,
        up.json(),
        round.json()
    ))
}
