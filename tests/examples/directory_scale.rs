//! Measures what it costs to follow a large directory: a Samba domain with as many further users as the argument says (20,000).
//!
//! Printed are, of the server alone: processor time and wall time from the start until the first read is committed, the most memory that
//! it had, processor time of a second in which nothing changes, and how long one change takes until it is live, with its
//! processor time. Samba reads and sends on the same machine, so that wall times say more of it than of us.
//!
//! `cargo xtask directory-scale` builds the server for release and runs this; it needs root, as all domains of the tests.

use std::time::{Duration, Instant};

use system_tests::{ActiveDirectory, Configuration, Server, eventually};

/// Further users, unless an argument says otherwise.
const USERS: usize = 20_000;
/// Polls over which the cost of one is taken.
const POLLS: usize = 20;
/// Changes over which the cost of one is taken.
const CHANGES: usize = 5;
/// Processor time is counted in these (`USER_HZ`, which Linux never changed).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    let users = std::env::args().nth(1).map_or(USERS, |text| text.parse().expect("a number of users"));
    let domain = ActiveDirectory::own("a large directory").expect("a domain can be made here");
    let begin = Instant::now();
    domain.bulk(users);
    println!("{users} users made in {:.0} s", begin.elapsed().as_secs_f64());
    let configuration = Configuration::following(&domain).set_in("directory", "poll_seconds", "3600");
    let begin = Instant::now();
    let server = configuration.serve();
    server.replicate();
    println!(
        "first read:   {:.1} s of processor, {:.1} s in all, {} MiB at most",
        processor(&server).as_secs_f64(),
        begin.elapsed().as_secs_f64(),
        most_memory(&server) >> 20
    );
    println!("{}", server.replication_report()["totals"]);
    let before = processor(&server);
    for _ in 0..POLLS {
        server.replicate();
    }
    let each = (processor(&server) - before) / POLLS as u32;
    println!("empty poll:   {:.1} ms of processor (of {POLLS})", each.as_secs_f64() * 1000.0);
    let person = domain.person();
    server.replicate();
    let (before, mut waited) = (processor(&server), Duration::ZERO);
    for change in 0..CHANGES {
        let name = format!("Name {change}");
        domain.replace(&person.dn, "displayName", &name);
        let begin = Instant::now();
        eventually("a change", || {
            server.account_of(&person.address()).filter(|account| account["name"] == name.as_str())
        });
        waited += begin.elapsed();
    }
    let each = (processor(&server) - before) / CHANGES as u32;
    println!(
        "one change:   {:.1} ms of processor, live after {:.1} s (of {CHANGES}, by notification alone)",
        each.as_secs_f64() * 1000.0,
        waited.as_secs_f64() / CHANGES as f64
    );
}

/// Processor time of the server so far, in user and system mode.
fn processor(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("it runs");
    // The name in parentheses may hold blanks; utime and stime are the 12th and 13th field behind it (proc(5)).
    let (_, behind) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

/// In octets.
fn most_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}
