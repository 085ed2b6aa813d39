//! sipload: drives a SIP or TURN server on loopback and prints one JSON line a phase.

mod call;
mod contacts;
mod core;
mod digest;
mod hist;
mod idle;
mod limits;
mod message;
mod net;
mod people;
mod presence;
mod procstat;
mod register;
mod relay;
mod sip;
mod turn;

use crate::core::{Cfg, Core, Meter, Pacer, run};
use net::{Net, Proto, TlsOptions};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const USAGE: &str = "\
usage: sipload COMMAND --port N [options]

commands
  register    W1  REGISTER: challenge, then authorised
  message     W2  MESSAGE from users 0..N/2 to users N/2..N through the proxy
  tls-idle    W3  open and register connections in --steps, hold, report memory
  handshake   W3  connect (+TLS handshake), one OPTIONS, close
  presence    W4  --watchers subscribe to each of --presentities, then PUBLISH
  contacts    W9  --watchers watch --contacts, --by list or single: subscribe, hear a change of each, refresh, unsubscribe
  people      W7  --people with --devices sign in, live through a busy hour, and come back from a storm
  call        W5  INVITE/180/200/ACK/BYE/200
  turn-alloc  W6  TURN allocate and delete
  turn-relay  W6  TURN channel data, echoed by the peer
  relay       W8  MESSAGE across an Access Edge, whose servers on both sides we are
  limits          what system calls and cryptography cost on this machine
  procstat        CPU and memory of --pid and its descendants

where
  --host 127.0.0.1  --port N  --proto udp|tcp|tls  --domain bench.test
  --users N (default 1000)  --user-fmt u%d  --pass-fmt pw%d  or  --users-file F ('name password' lines)
  --conns N (default: one a user)  --sources N (source addresses 127.0.0.1..N)
  --tls12  --resume  --cert F --key F (client certificate)  --tls-name NAME
how much
  --count N or --secs S  --warmup N or --warmup-secs S
  --window N (in flight)  --rate R (a second, open loop)
  --timeout S (an operation, default 10)  --limit S (a phase, default 300)
  --watchers N --contacts N --by list|single --cycles N --rate R (changes a second)
  --people N --devices N --contacts N  --compress X  --sign-in-secs S  --secs S  --storm-secs S
  --size BYTES  --outbound  --preauth  --no-ring  --ping S  --settle S  --hold S
relay
  --inside A:P  --outside A:P (the edge's listeners)  --front A:P  --partner A:P (where we listen)
  --certs DIR (ca.pem, front.pem, partner.pem and their keys)  --partner-domain partner.test
  --from both|inside|outside  --inside-conns N (default 4)  --outside-conns N (default 250)
measured
  --pid P[,P]  the server's root process(es): descendants are included
  --label TEXT  copied into the output
";

struct Args(HashMap<String, String>);

impl Args {
    fn parse(it: impl Iterator<Item = String>) -> Args {
        let mut m = HashMap::new();
        let mut it = it.peekable();
        while let Some(a) = it.next() {
            let Some(k) = a.strip_prefix("--") else { die(&format!("unexpected argument {a}")) };
            let flag = matches!(
                k,
                "outbound"
                    | "preauth"
                    | "no-ring"
                    | "tls12"
                    | "resume"
                    | "no-register"
                    | "send-indication"
                    | "help"
            );
            let v = if flag {
                "1".to_string()
            } else {
                it.next().unwrap_or_else(|| die(&format!("--{k} needs a value")))
            };
            m.insert(k.to_string(), v);
        }
        Args(m)
    }
    fn has(&self, k: &str) -> bool {
        self.0.contains_key(k)
    }
    fn str(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or_else(|| d.to_string())
    }
    fn num<T: std::str::FromStr>(&self, k: &str, d: T) -> T {
        match self.0.get(k) {
            None => d,
            Some(v) => v.parse().unwrap_or_else(|_| die(&format!("--{k}: not a number: {v}"))),
        }
    }
    fn list<T: std::str::FromStr>(&self, k: &str, d: &str) -> Vec<T> {
        self.str(k, d)
            .split(',')
            .filter(|s| !s.is_empty())
            .map(|s| s.parse().unwrap_or_else(|_| die(&format!("--{k}: bad value {s}"))))
            .collect()
    }
}

fn die(msg: &str) -> ! {
    eprintln!("sipload: {msg}");
    std::process::exit(2)
}

fn creds(a: &Args, n: usize) -> Vec<(String, String)> {
    if a.has("users-file") {
        let f = a.str("users-file", "");
        let text = std::fs::read_to_string(&f).unwrap_or_else(|e| die(&format!("{f}: {e}")));
        let all: Vec<_> = text
            .lines()
            .filter_map(|l| l.split_once(' '))
            .map(|(u, p)| (u.to_string(), p.trim().to_string()))
            .collect();
        if all.len() < n {
            die(&format!("{f}: {} users, {n} needed", all.len()));
        }
        return all.into_iter().take(n).collect();
    }
    let (u, p) = (a.str("user-fmt", "u%d"), a.str("pass-fmt", "pw%d"));
    (0..n).map(|i| (u.replace("%d", &i.to_string()), p.replace("%d", &i.to_string()))).collect()
}

fn server(a: &Args, default_port: u16) -> SocketAddrV4 {
    let host: Ipv4Addr = a.num("host", Ipv4Addr::LOCALHOST);
    if !host.is_loopback() {
        die("--host must be a loopback address");
    }
    SocketAddrV4::new(host, a.num("port", default_port))
}

fn core_for(a: &Args, n_users: usize) -> Core {
    let proto = Proto::parse(&a.str("proto", "udp")).unwrap_or_else(|| die("--proto: udp, tcp or tls"));
    let tls = (proto == Proto::Tls).then(|| {
        net::tls_config(&TlsOptions {
            resume: a.has("resume"),
            tls12: a.has("tls12"),
            cert: a.0.get("cert").cloned(),
            key: a.0.get("key").cloned(),
        })
    });
    let nsrc: u8 = a.num("sources", 1);
    let cfg = Cfg {
        proto,
        dst: server(a, 5060),
        sources: (1..=nsrc.max(1)).map(|i| Ipv4Addr::new(127, 0, 0, i)).collect(),
        domain: a.str("domain", "bench.test"),
        outbound: a.has("outbound"),
        expires: a.num("expires", 3600),
        timeout: (a.num("timeout", 10.0f64) * 1e9) as u64,
        pids: a.list("pid", ""),
    };
    Core::new(Net::new(tls, &a.str("tls-name", "bench.test")), cfg, creds(a, n_users))
}

struct Out<'a> {
    cmd: &'a str,
    label: String,
    proto: &'static str,
}

impl Out<'_> {
    fn line(&self, phase: &str, members: &str) {
        println!(
            "{{\"workload\":\"{}\",\"phase\":\"{phase}\",\"proto\":\"{}\",\"label\":\"{}\",{members}}}",
            self.cmd, self.proto, self.label
        );
    }
}

fn stats(c: &Core) -> String {
    format!(
        "\"retransmits\":{},\"timeouts\":{},\"stray\":{},\"bad\":{},\"closed\":{},\"send_drops\":{}",
        c.stats.retransmits, c.stats.timeouts, c.stats.stray, c.stats.bad, c.stats.closed, c.net.send_drops
    )
}

/// Registers users `first..first+n`; a failure here ends the run.
fn register_or_die(c: &mut Core, first: usize, n: usize, limit: Duration) {
    let mut r = register::Register::each(first, n, 50);
    run(c, &mut r, Some(limit));
    if r.pacer.done < n as u64 {
        die(&format!(
            "set-up: {} of {n} users registered, failures {:?}, {}",
            r.pacer.done,
            r.bad_status,
            stats(c)
        ));
    }
    c.stats = Default::default();
}

/// Takes every contact away again, so that the next run finds none of this one's.
fn unregister(c: &mut Core, n: usize) {
    c.cfg.expires = 0;
    let mut r = register::Register::each(0, n, 50);
    run(c, &mut r, Some(Duration::from_secs(60)));
    if r.pacer.done < n as u64 {
        eprintln!("sipload: only {} of {n} users unregistered, failures {:?}", r.pacer.done, r.bad_status);
    }
}

fn main() {
    let mut argv = std::env::args().skip(1);
    let cmd = argv.next().unwrap_or_default();
    let a = Args::parse(argv);
    if cmd.is_empty() || a.has("help") || cmd == "help" {
        print!("{USAGE}");
        return;
    }
    let limit = Duration::from_secs_f64(a.num("limit", 300.0));
    let (window, rate, count) = (a.num("window", 50usize), a.num("rate", 0.0f64), a.num("count", 10_000u64));
    let warmup: u64 = a.num("warmup", (count / 10).max(1));
    let users: usize = a.num("users", 1000);
    // Counted or timed phases; a timed one ends when what it started has ended.
    let pacer = |window: usize, secs: &str, n: u64| {
        if a.has(secs) { Pacer::timed(rate, window, a.num(secs, 0.0)) } else { Pacer::new(rate, window, n) }
    };
    let warm = |window: usize| pacer(window, "warmup-secs", warmup);
    let main = |window: usize| pacer(window, "secs", count);
    let proto = Proto::parse(&a.str("proto", "udp")).unwrap_or_else(|| die("--proto: udp, tcp or tls"));
    let out = Out { cmd: &cmd, label: a.str("label", ""), proto: proto.name() };
    let load = |c: &Core| {
        format!(
            "\"users\":{},\"conns\":{},\"window\":{window},\"rate\":{rate}",
            c.users.len(),
            c.net.conns.len()
        )
    };

    match cmd.as_str() {
        "limits" => limits::run(),
        "procstat" => {
            let pids: Vec<u32> = a.list("pid", "");
            let c = procstat::cpu(&pids);
            let zero = procstat::Cpu::default();
            println!("{{\"cpu\":{},\"mem\":{}}}", c.json_since(&zero), procstat::mem(&pids).json());
        }
        "register" => {
            let mut c = core_for(&a, users);
            let conns = a.num("conns", users);
            c.connect_all(conns, 50).unwrap_or_else(|e| die(&e));
            let mut w = register::Register::new(warm(window.min(users)), 0, users);
            w.preauth = a.has("preauth");
            run(&mut c, &mut w, Some(limit));
            c.stats = Default::default();
            let mut w2 = register::Register::new(main(window.min(users)), 0, users);
            w2.preauth = a.has("preauth");
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w2, Some(limit));
            let body = m.json(&c.cfg.pids, w2.pacer.done);
            out.line("run", &format!("{},{body},\"failed\":{},\"challenged\":{},\"rechallenged\":{},\"bad_status\":{:?},{},\"latency\":{}", load(&c), w2.pacer.failed, w2.challenged, w2.rechallenged, w2.bad_status, stats(&c), w2.hist.json()));
            unregister(&mut c, users);
        }
        "message" => {
            let mut c = core_for(&a, users);
            c.connect_all(a.num("conns", users), 50).unwrap_or_else(|e| die(&e));
            register_or_die(&mut c, 0, users, limit);
            let size = a.num("size", 100usize);
            let pairs = users / 2;
            let mut w = message::Message::new(warm(window), pairs, size);
            run(&mut c, &mut w, Some(limit));
            let challenged = w.challenged;
            c.stats = Default::default();
            let mut w2 = message::Message::new(main(window), pairs, size);
            w2.challenged = challenged;
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w2, Some(limit));
            let body = m.json(&c.cfg.pids, w2.pacer.done);
            out.line(
                "run",
                &format!(
                    "{},\"size\":{size},{body},\"failed\":{},\"delivered\":{},\"duplicates\":{},\"challenged\":{},\"bad_status\":{:?},{},\"latency\":{},\"one_way\":{}",
                    load(&c),
                    w2.pacer.failed,
                    w2.delivered,
                    w2.duplicates,
                    w2.challenged,
                    w2.bad_status,
                    stats(&c),
                    w2.rtt.json(),
                    w2.one_way.json()
                ),
            );
            unregister(&mut c, users);
        }
        "relay" => {
            let mut c = core_for(&a, 0);
            let address = |name: &str| -> SocketAddrV4 {
                let at: SocketAddrV4 = a
                    .str(name, "")
                    .parse()
                    .unwrap_or_else(|_| die(&format!("--{name}: an address and a port are needed")));
                if !at.ip().is_loopback() {
                    die(&format!("--{name} must be a loopback address"));
                }
                at
            };
            let parties = [
                relay::Party {
                    edge: address("inside"),
                    own: address("front"),
                    certificate: "front",
                    domain: c.cfg.domain.clone(),
                    conns: a.num("inside-conns", 4),
                },
                relay::Party {
                    edge: address("outside"),
                    own: address("partner"),
                    certificate: "partner",
                    domain: a.str("partner-domain", "partner.test"),
                    conns: a.num("outside-conns", 250),
                },
            ];
            let from = match a.str("from", "both").as_str() {
                "both" => &relay::Side::BOTH[..],
                "inside" => &[relay::Side::Inside],
                "outside" => &[relay::Side::Outside],
                _ => die("--from: both, inside or outside"),
            };
            let certs = a.str("certs", "");
            let ends = relay::connect(&mut c, parties, &certs, window.min(20)).unwrap_or_else(|e| die(&e));
            let size = a.num("size", 100usize);
            let mut w = relay::Relay::new(warm(window), &ends, from, size);
            run(&mut c, &mut w, Some(limit));
            if w.pacer.done == 0 {
                die(&format!("nothing came through, failures {:?}, {}", w.bad_status, stats(&c)));
            }
            c.stats = Default::default();
            let mut w = relay::Relay::new(main(window), &ends, from, size);
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w, Some(limit));
            let body = m.json(&c.cfg.pids, w.pacer.done);
            out.line(
                "run",
                &format!(
                    "\"conns\":{},\"window\":{window},\"rate\":{rate},\"size\":{size},{body},\"failed\":{},\"to_inside\":{},\"to_outside\":{},\"duplicates\":{},\"misrouted\":{},\"bad_status\":{:?},{},\"latency\":{},\"one_way\":{}",
                    c.net.conns.len(),
                    w.pacer.failed,
                    w.delivered[0],
                    w.delivered[1],
                    w.duplicates,
                    w.misrouted,
                    w.bad_status,
                    stats(&c),
                    w.rtt.json(),
                    w.one_way.json()
                ),
            );
        }
        "call" => {
            let mut c = core_for(&a, users);
            c.connect_all(a.num("conns", users), 50).unwrap_or_else(|e| die(&e));
            register_or_die(&mut c, 0, users, limit);
            let (pairs, ring) = (users / 2, !a.has("no-ring"));
            let mut w = call::Call::new(warm(window), pairs, ring);
            run(&mut c, &mut w, Some(limit));
            let challenged = w.challenged;
            c.stats = Default::default();
            let mut w2 = call::Call::new(main(window), pairs, ring);
            w2.challenged = challenged;
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w2, Some(limit));
            let body = m.json(&c.cfg.pids, w2.pacer.done);
            out.line(
                "run",
                &format!(
                    "{},\"ring\":{ring},{body},\"failed\":{},\"acks\":{},\"byes\":{},\"challenged\":{},\"bad_status\":{:?},{},\"setup\":{},\"total\":{}",
                    load(&c),
                    w2.pacer.failed,
                    w2.acks,
                    w2.byes,
                    w2.challenged,
                    w2.bad_status,
                    stats(&c),
                    w2.setup.json(),
                    w2.total.json()
                ),
            );
            unregister(&mut c, users);
        }
        "presence" => {
            let (nw, np) = (a.num("watchers", 100usize), a.num("presentities", 10usize));
            let mut c = core_for(&a, nw + np);
            c.connect_all(a.num("conns", nw + np), 50).unwrap_or_else(|e| die(&e));
            register_or_die(&mut c, 0, nw + np, limit);
            let mut w = presence::Presence::new(nw, np, 20);
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w, Some(limit));
            let shape =
                format!("\"watchers\":{nw},\"presentities\":{np},\"window\":{window},\"rate\":{rate}");
            out.line(
                "subscribe",
                &format!(
                    "{shape},{},\"failed\":{},\"notifies\":{},\"bad_status\":{:?},{},\"latency\":{}",
                    m.json(&c.cfg.pids, w.pacer.done),
                    w.pacer.failed,
                    w.notifies,
                    w.bad_status,
                    stats(&c),
                    w.subscribe.json()
                ),
            );
            if w.pacer.failed > 0 {
                die("subscriptions failed");
            }
            w.publish_stage(pacer(window.min(np), "warmup-secs", warmup.max(np as u64)));
            run(&mut c, &mut w, Some(limit));
            c.stats = Default::default();
            w.publish_stage(main(window.min(np)));
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w, Some(limit));
            out.line(
                "publish",
                &format!(
                    "{shape},\"publishes\":{},{},\"failed\":{},\"stale_notifies\":{},\"bad_status\":{:?},{},\"publish_latency\":{},\"notify_latency\":{}",
                    w.pacer.done,
                    m.json(&c.cfg.pids, w.notifies),
                    w.pacer.failed,
                    w.stale_notifies,
                    w.bad_status,
                    stats(&c),
                    w.publish.json(),
                    w.fanout.json()
                ),
            );
            unregister(&mut c, nw + np);
        }
        "contacts" => {
            let by = match a.str("by", "list").as_str() {
                "list" => contacts::By::List,
                "single" => contacts::By::Single,
                _ => die("--by: list or single"),
            };
            let (nw, nc) = (a.num("watchers", 100usize), a.num("contacts", 150usize));
            let cycles = a.num("cycles", 3u64);
            let mut c = core_for(&a, nw + nc);
            c.connect_all(nw + nc, 50).unwrap_or_else(|e| die(&e));
            register_or_die(&mut c, 0, nw + nc, limit);
            let mut w = contacts::Contacts::new(by, nw, nc);
            let shape = format!(
                "\"watchers\":{nw},\"contacts\":{nc},\"by\":\"{}\",\"window\":{window},\"rate\":{rate}",
                a.str("by", "list")
            );
            // One step of one cycle; gives the seconds of CPU that the server used.
            let step = |c: &mut Core, w: &mut contacts::Contacts, step: contacts::Step| {
                w.begin(step, window, rate);
                let m = Meter::start(&c.cfg.pids);
                run(c, w, Some(limit));
                if w.pacer.failed > 0 || w.missing() > 0 {
                    die(&format!(
                        "{} failed {:?}, {} were not told, {}",
                        w.pacer.failed,
                        w.bad_status,
                        w.missing(),
                        stats(c)
                    ));
                }
                (m.used(&c.cfg.pids), m.others(&c.cfg.pids), w.notifies, w.octets)
            };
            use contacts::Step;
            step(&mut c, &mut w, Step::Unwatched);
            let unwatched = step(&mut c, &mut w, Step::Unwatched);
            let steps = [
                ("subscribe", Step::Subscribe),
                ("change", Step::Change),
                ("refresh", Step::Refresh),
                ("unsubscribe", Step::Unsubscribe),
            ];
            let before = procstat::mem(&c.cfg.pids);
            let mut pair_octets = 0.0;
            let mut sums = [(0.0, 0.0, 0, 0); 4];
            let mut latency = hist::Hist::default();
            for cycle in 0..=cycles {
                for (n, (_, of)) in steps.iter().enumerate() {
                    let (used, others, notifies, octets) = step(&mut c, &mut w, *of);
                    if cycle == 0 && *of == Step::Subscribe {
                        let now = procstat::mem(&c.cfg.pids);
                        pair_octets = (now.pss_kb as f64 - before.pss_kb as f64) * 1024.0 / (nw * nc) as f64;
                    }
                    // The first cycle is a warm-up.
                    if cycle > 0 {
                        let sum = &mut sums[n];
                        *sum = (sum.0 + used, f64::max(sum.1, others), sum.2 + notifies, sum.3 + octets);
                    }
                    if *of == Step::Change {
                        latency = std::mem::take(&mut w.latency);
                    }
                }
            }
            let units = cycles * nw as u64;
            let line = |phase: &str, (used, others, notifies, octets): (f64, f64, u64, u64), units: u64| {
                let each = |n: f64| n / units as f64;
                out.line(
                    phase,
                    &format!(
                        "{shape},\"units\":{units},\"server_cpu_ms_per_1000\":{:.3},\"other_cores\":{others:.2},\"failed\":0,\"notifies\":{:.2},\"octets\":{:.0}",
                        each(used * 1e6),
                        each(notifies as f64),
                        each(octets as f64)
                    ),
                );
            };
            line("unwatched", unwatched, nc as u64);
            for ((phase, _), sum) in steps.iter().zip(sums) {
                line(phase, sum, units);
            }
            let all = sums[..3]
                .iter()
                .fold((0.0, 0.0, 0, 0), |a, b| (a.0 + b.0, f64::max(a.1, b.1), a.2 + b.2, a.3 + b.3));
            line("cycle", all, units);
            out.line(
                "pairs",
                &format!(
                    "{shape},\"pss_octets_per_pair\":{pair_octets:.0},{},\"latency\":{}",
                    stats(&c),
                    latency.json()
                ),
            );
            unregister(&mut c, nw + nc);
        }
        "people" => {
            let n = a.num("people", 1000usize);
            let devices = a.num("devices", n * 3 / 2).clamp(n, 2 * n);
            let compress = a.num("compress", 10.0f64);
            let model = || people::Model::new(n, devices, a.num("contacts", 50).min(n - 1), compress);
            let mut c = core_for(&a, devices);
            for i in n..devices {
                c.share_account(i, i - n);
            }
            let base = procstat::mem(&c.cfg.pids);
            let shape = format!(
                "\"people\":{n},\"devices\":{devices},\"contacts\":{},\"compress\":{compress},\"base_mem\":{}",
                model().contacts,
                base.json()
            );
            let mut w = people::People::new(model());
            let seen = |w: &people::People, c: &Core| {
                format!(
                    "\"inside\":{},\"publishes\":{},\"notifies\":{},\"lists\":{},\"texts\":{},\"typing\":{},\"undelivered\":{},\"put_off\":{},\"failed\":{},\"bad_status\":{:?},{},\"mem\":{},\"sign_in\":{},\"message_latency\":{},\"notify_latency\":{}",
                    w.inside(),
                    w.publishes,
                    w.notifies,
                    w.lists,
                    w.texts,
                    w.typing,
                    w.undelivered(),
                    w.put_off,
                    w.failed,
                    w.bad_status,
                    stats(c),
                    procstat::mem(&c.cfg.pids).json(),
                    w.sign_in.json(),
                    w.message.json(),
                    w.notify.json()
                )
            };
            // 120 minutes, compressed like the rest.
            let m = Meter::start(&c.cfg.pids);
            w.sign_in_phase(&c, a.num("sign-in-secs", 7200.0 / compress));
            run(&mut c, &mut w, Some(limit));
            out.line("sign-in", &format!("{shape},{},{}", m.json(&c.cfg.pids, devices as u64), seen(&w, &c)));
            if w.inside() < devices {
                die(&format!("only {} of {devices} devices signed in", w.inside()));
            }
            w.busy_phase(&c, a.num("settle", 5.0f64));
            run(&mut c, &mut w, Some(limit));
            c.stats = Default::default();
            w.busy_phase(&c, a.num("secs", 60.0f64));
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w, Some(limit));
            out.line("hour", &format!("{shape},{},{}", m.json(&c.cfg.pids, w.texts), seen(&w, &c)));
            if a.has("storm-secs") {
                c.stats = Default::default();
                let m = Meter::start(&c.cfg.pids);
                w.storm_phase(&mut c, a.num("storm-secs", 60.0f64), model().messages_per_s / compress);
                run(&mut c, &mut w, Some(limit));
                out.line(
                    "storm",
                    &format!("{shape},{},{}", m.json(&c.cfg.pids, devices as u64), seen(&w, &c)),
                );
            }
        }
        "tls-idle" => {
            let steps: Vec<usize> = a.list("steps", "1000,5000,15000");
            let max = steps.iter().copied().max().unwrap_or(0);
            let (settle, hold) = (a.num("settle", 3.0f64), a.num("hold", 10.0f64));
            let ping = a.has("ping").then(|| Duration::from_secs_f64(a.num("ping", 120.0)));
            let mut c = core_for(&a, max);
            let idle = |c: &mut Core, secs: f64, ping| {
                let mut h = idle::Hold::new(Duration::from_secs_f64(secs), ping);
                run(c, &mut h, None);
                h
            };
            let base = procstat::mem(&c.cfg.pids);
            let base_of: Vec<_> = c.cfg.pids.iter().map(|pid| procstat::mem(&[*pid])).collect();
            out.line("base", &format!("\"conns\":0,\"mem\":{}", base.json()));
            let mut have = 0;
            for n in steps {
                let mut w = idle::Connect::new(&c, n - have, window);
                let m = idle::meter(&c);
                run(&mut c, &mut w, Some(limit));
                let body = m.json(&c.cfg.pids, w.up as u64);
                out.line("connect", &format!("\"conns\":{n},\"window\":{window},{body},\"failed\":{},\"resumed\":{},\"error\":\"{}\",\"latency\":{}", w.failed, c.net.resumed, w.error.clone().unwrap_or_default(), w.hist.json()));
                if w.error.is_some() || w.failed > 0 {
                    die("connections failed");
                }
                for i in have..n {
                    c.users[i].conn = i;
                }
                if !a.has("no-register") {
                    let mut r = register::Register::each(have, n - have, 50);
                    let m = idle::meter(&c);
                    run(&mut c, &mut r, Some(limit));
                    out.line(
                        "register",
                        &format!(
                            "\"conns\":{n},{},\"failed\":{},\"bad_status\":{:?},{}",
                            m.json(&c.cfg.pids, r.pacer.done),
                            r.pacer.failed,
                            r.bad_status,
                            stats(&c)
                        ),
                    );
                }
                have = n;
                idle(&mut c, settle, None);
                let m = idle::meter(&c);
                let h = idle(&mut c, hold, ping);
                let mem = procstat::mem(&c.cfg.pids);
                let per = (mem.pss_kb as f64 - base.pss_kb as f64) / n as f64;
                // In the order of --pid.
                let per_server: Vec<f64> = c
                    .cfg
                    .pids
                    .iter()
                    .zip(&base_of)
                    .map(|(pid, base)| (procstat::mem(&[*pid]).pss_kb as f64 - base.pss_kb as f64) / n as f64)
                    .collect();
                out.line(
                    "hold",
                    &format!(
                        "\"conns\":{n},\"open\":{},\"mem\":{},\"pss_kb_per_conn\":{per:.2},\"pss_kb_per_conn_by_server\":{per_server:.2?},\"tcp_mem_kb_both_ends\":{},\"pings\":{},\"closed\":{},{}",
                        idle::open_count(&c),
                        mem.json(),
                        procstat::tcp_mem_kb(),
                        h.pings,
                        h.closed,
                        m.json(&c.cfg.pids, h.pings)
                    ),
                );
            }
            if !a.has("no-register") && a.num("verify", 200u64) > 0 {
                let mut w = message::Message::new(Pacer::new(0.0, 20, a.num("verify", 200)), max / 2, 100);
                run(&mut c, &mut w, Some(limit));
                out.line(
                    "verify",
                    &format!(
                        "\"conns\":{max},\"delivered\":{},\"failed\":{},\"bad_status\":{:?},\"latency\":{}",
                        w.delivered,
                        w.pacer.failed,
                        w.bad_status,
                        w.rtt.json()
                    ),
                );
            }
        }
        "handshake" => {
            let mut c = core_for(&a, 0);
            let mut w = idle::Handshake::new(warm(window));
            run(&mut c, &mut w, Some(limit));
            c.stats = Default::default();
            c.net.resumed = 0;
            let mut w2 = idle::Handshake::new(main(window));
            let m = Meter::start(&c.cfg.pids);
            run(&mut c, &mut w2, Some(limit));
            let body = m.json(&c.cfg.pids, w2.pacer.done);
            out.line("run", &format!("\"window\":{window},\"rate\":{rate},{body},\"failed\":{},\"resumed\":{},{},\"latency\":{}", w2.pacer.failed, c.net.resumed, stats(&c), w2.hist.json()));
        }
        "turn-alloc" | "turn-relay" => {
            let o = turn::Opts {
                server: server(&a, 3478),
                user: a.str("user", "u0"),
                pass: a.str("pass", "pw0"),
                allocs: a.num("allocs", 100),
                window: a.num("window", 4),
                size: a.num("size", 172),
                secs: a.num("secs", 5.0),
                warmup: a.num("warmup-secs", 1.0),
                rate,
                count,
                pids: a.list("pid", ""),
                timeout: Duration::from_secs_f64(a.num("timeout", 10.0)),
                send_indication: a.has("send-indication"),
            };
            let r = if cmd == "turn-alloc" { turn::alloc(&o) } else { turn::relay(&o) };
            match r {
                Ok(m) => out.line(
                    "run",
                    &format!(
                        "\"allocs\":{},\"window\":{},\"size\":{},\"rate\":{rate},{m}",
                        o.allocs, o.window, o.size
                    ),
                ),
                Err(e) => die(&e),
            }
        }
        _ => die(&format!("unknown command {cmd}\n{USAGE}")),
    }
}
