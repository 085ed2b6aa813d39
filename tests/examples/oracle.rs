//! Measures whether the time that an answer takes tells a stranger who has an account.
//!
//! Over UDP, on loopback, one request at a time, known and unknown users in a new order each round: REGISTER without
//! credentials, then with a wrong password. Half of a set of random names has accounts. Printed are medians and, for
//! each comparison, the chance that the answer for a known user takes longer than that for an unknown one (Mann-Whitney;
//! 0.5 is no difference), its distance from 0.5 in standard deviations, and the largest distance of the two
//! distributions (Kolmogorov-Smirnov). Two controls say what the figures mean: the same users against themselves, which
//! is what chance makes of no difference, and the two kinds of request, whose work differs.
//!
//! Nothing is asserted: time is the machine's. `tests/system/oracle.rs` compares the answers themselves. With a release
//! build of the server: `CHANCERY_BIN=target/release/chancery cargo run --release -p system-tests --example oracle`.
//! An argument is the number of rounds.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use system_tests::{PATIENCE, Road, Server, Transport, unique};

/// Rounds, unless an argument says otherwise.
const ROUNDS: usize = 20_000;
/// Names of either kind. Each gets at most [`FAILURES_PER_ACCOUNT_MAX`] wrong passwords.
const NAMES: usize = 1_000;
/// Addresses that requests come from: a prime, so that one address seldom meets one name.
const SOURCES: usize = 811;
/// More wrong passwords for one account, and it is slowed down: another answer than the one that is measured.
const FAILURES_PER_ACCOUNT_MAX: usize = 49;
/// Rounds before the measurement, without wrong passwords: caches fill.
const WARM_UP_ROUNDS: usize = 2_000;

fn main() {
    let rounds = std::env::args().nth(1).map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    assert!(rounds <= NAMES * FAILURES_PER_ACCOUNT_MAX, "so many wrong passwords would be slowed down");
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut names: Vec<String> = (0..2 * NAMES).map(|_| format!("{:016x}", draw.next())).collect();
    let unknown = names.split_off(NAMES);
    let server = server(&names);
    let clients = Clients::new(&server);

    let [mut without, mut wrong] = [(); 2].map(|()| [Vec::new(), Vec::new()]);
    for round in 0..WARM_UP_ROUNDS + rounds {
        let is_measured = round >= WARM_UP_ROUNDS;
        let mut kinds = [0, 1];
        if draw.next() & 1 == 1 {
            kinds.reverse();
        }
        for kind in kinds {
            let user = &[&names, &unknown][kind][round % NAMES];
            let client = &clients.0[(round + round / NAMES) % SOURCES];
            let (challenge, time) = ask(client, user, None);
            if !is_measured {
                continue;
            }
            without[kind].push(time);
            let (refusal, time) = ask(client, user, Some((nonce(&challenge), &mut draw)));
            assert!(refusal.starts_with("SIP/2.0 401 "), "{refusal}");
            wrong[kind].push(time);
        }
    }
    println!("{rounds} REGISTERs of each kind over UDP; times in microseconds, as the client sees them\n");
    for (what, [known, unknown]) in [("without credentials", &without), ("with a wrong password", &wrong)] {
        println!("{what}: median {:.2} known, {:.2} unknown", median(known), median(unknown));
        compare("known against unknown", known, unknown);
        let (even, odd) = halves(known);
        compare("control: known against themselves", &even, &odd);
        println!();
    }
    compare("control: wrong password against no credentials, unknown users", &wrong[1], &without[1]);
}

fn server(names: &[String]) -> Server {
    let file = std::env::temp_dir().join(format!("chancery-oracle-{}", unique()));
    let lines: String = names.iter().map(|name| format!("{name}:{name}-secret\n")).collect();
    std::fs::write(&file, lines).expect("the users' file");
    let server = Server::with_users()
        .argument("--users-file")
        .argument(file.display().to_string())
        .environment("RUST_LOG", "error")
        .start();
    std::fs::remove_file(&file).expect("our own file");
    server
}

/// Sockets on loopback addresses of their own: who guesses from one address is slowed down.
struct Clients(Vec<UdpSocket>);

impl Clients {
    fn new(server: &Server) -> Clients {
        let address = server.address(Road::v4(Transport::Udp));
        let sockets = (0..SOURCES).map(|n| {
            let own = Ipv4Addr::new(127, 1, (n / 250) as u8, 1 + (n % 250) as u8);
            let socket = UdpSocket::bind((own, 0)).expect("loopback has 16 million addresses");
            socket.connect(address).expect("the server is on loopback");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        });
        Clients(sockets.collect())
    }
}

/// Sends a REGISTER of `user`, with a wrong answer to a challenge where there is one, and gives the answer and the time
/// until it came, in microseconds.
fn ask(socket: &UdpSocket, user: &str, answering: Option<(&str, &mut Draw)>) -> (String, f64) {
    let (id, address) = (unique(), format!("{user}@example.test"));
    let mut request = format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:{address}>;tag={id}\r\nTo: <sip:{address}>\r\nCall-ID: {id}\r\nCSeq: 1 REGISTER\r\n\
         User-Agent: oracle\r\n",
        socket.local_addr().expect("it is bound")
    );
    if let Some((nonce, draw)) = answering {
        let response: String = (0..4).map(|_| format!("{:016x}", draw.next())).collect();
        let _ = write!(
            request,
            "Authorization: Digest username=\"{user}\", realm=\"example.test\", nonce=\"{nonce}\", \
             uri=\"sip:example.test\", response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, \
             cnonce=\"{id}\"\r\n"
        );
    }
    request.push_str("Content-Length: 0\r\n\r\n");
    let mut octets = [0; 2048];
    let start = Instant::now();
    socket.send(request.as_bytes()).expect("the server is there");
    let length = socket.recv(&mut octets).expect("it answers");
    let time = start.elapsed();
    let answer = String::from_utf8_lossy(&octets[..length]).into_owned();
    assert!(answer.contains(&id), "an answer to another request");
    (answer, time.as_nanos() as f64 / 1000.0)
}

fn nonce(challenge: &str) -> &str {
    let (_, rest) = challenge.split_once("nonce=\"").expect("a challenge");
    rest.split('"').next().expect("split gives one part at least")
}

fn halves(times: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (even, odd): (Vec<_>, Vec<_>) = times.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let values = |half: Vec<(usize, &f64)>| half.into_iter().map(|(_, time)| *time).collect();
    (values(even), values(odd))
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Prints the statistics of two samples.
fn compare(what: &str, first: &[f64], second: &[f64]) {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let tagged = |times: &[f64], is_first| times.iter().map(|time| (*time, is_first)).collect::<Vec<_>>();
    let mut all = [tagged(first, true), tagged(second, false)].concat();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Equal times share the mean of their ranks.
    let (mut rank_sum, mut ties, mut ahead, mut distance, mut at) = (0.0, 0.0, 0.0, 0.0_f64, 0);
    while at < all.len() {
        let equal = all[at..].iter().take_while(|(time, _)| *time == all[at].0).count();
        let of_first = all[at..at + equal].iter().filter(|(_, is_first)| *is_first).count();
        rank_sum += of_first as f64 * (at as f64 + (equal as f64 + 1.0) / 2.0);
        ties += (equal as f64).powi(3) - equal as f64;
        ahead += of_first as f64 / n - (equal - of_first) as f64 / m;
        distance = distance.max(f64::abs(ahead));
        at += equal;
    }
    let u = rank_sum - n * (n + 1.0) / 2.0;
    let total = n + m;
    let deviation = (n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)))).sqrt();
    let z = (u - n * m / 2.0) / deviation;
    // Five of a hundred pairs of equal distributions are farther apart.
    let critical = 1.358 * (total / (n * m)).sqrt();
    println!(
        "  {what}: P(first is slower) {:.4}, z {z:+.2}; KS {distance:.4} (5 % beyond {critical:.4})",
        u / (n * m)
    );
}

/// Pseudo-random numbers (SplitMix64): the same in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
