//! Networks, servers and attackers that do what they should not, in front of a real directory.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use directory_source::{FailureKind, ServerKind, Watermark};
use ldap::{BindRefusal, Checker, CheckerConfig, Password, Servers, Times};
use system_tests::{ActiveDirectory, Fault, LdapProxy, PrivateCa};

use super::{Plan, find, impatient, run, selection, server};

const KIND: ServerKind = ServerKind::ActiveDirectory;
const HOST: &str = "dc1.corp.example";

struct Bed {
    proxy: LdapProxy,
    ca: PrivateCa,
    plan: Plan,
}

fn bed(domain: &ActiveDirectory) -> Bed {
    let ca = PrivateCa::new("CA of the proxy");
    let upstream = SocketAddr::new(domain.ip(), 636);
    let proxy = LdapProxy::start(upstream, &domain.ca(), domain.fact("HOST"), &ca);
    let name = format!("{}@{}", domain.fact("SYNC_USER"), domain.fact("DNS_DOMAIN"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).expect("the folder is ours");
    let servers = Servers::Listed(vec![server(HOST, proxy.address().port())]);
    let plan = Plan::new(servers, &ca_file, &name, domain.fact("SYNC_PASSWORD"), KIND);
    let plan = Plan { times: impatient(), _ca: Some(folder), ..plan.at(HOST, proxy.address().ip()) };
    Bed { proxy, ca, plan }
}

/// Whatever breaks within a read, nothing of it passes for the whole, and the next one works.
#[test]
fn a_read_that_breaks_fails_and_the_next_one_works() {
    let Some(domain) = ActiveDirectory::shared("a read that breaks") else { return };
    run(async {
        let bed = bed(&domain);
        let mut driver = bed.plan.start();
        let chosen = selection(KIND);
        for (fault, expected) in [
            (Fault::CutAfter(3), FailureKind::Unreachable),
            (Fault::StallAfter(3), FailureKind::Unreachable),
            (Fault::Oversized(1 << 30), FailureKind::Protocol),
            (Fault::Nonsense, FailureKind::Protocol),
            (Fault::RefuseControl("1.2.840.113556.1.4.319", 53), FailureKind::Protocol),
            (Fault::RefuseControl("1.2.840.113556.1.4.319", 50), FailureKind::Denied),
            (Fault::RefuseControl("1.2.840.113556.1.4.319", 51), FailureKind::Unreachable),
        ] {
            bed.proxy.set(Fault::None);
            driver.connect().await.expect("it lets us in");
            bed.proxy.set(fault.clone());
            let failure = driver.read_all(&chosen).await.expect_err("it breaks");
            assert_eq!(failure.kind, expected, "{fault:?}: {failure}");
            assert!(failure.text.contains(HOST), "{failure}");
        }
        bed.proxy.set(Fault::None);
        driver.connect().await.expect("it lets us in");
        let all = driver.read_all(&chosen).await.expect("nothing goes wrong any more");
        assert!(find(&all, "samaccountname", "alice").is_some());
    });
}

#[test]
fn a_slow_server_is_waited_for_as_long_as_something_comes() {
    let Some(domain) = ActiveDirectory::shared("a slow server") else { return };
    run(async {
        let bed = bed(&domain);
        let mut driver = bed.plan.start();
        driver.connect().await.expect("it lets us in");
        let whole = driver.read_all(&selection(KIND)).await.expect("it can be read");
        bed.proxy.set(Fault::Pieces(7));
        let pieces = driver.read_all(&selection(KIND)).await.expect("it can be read in pieces");
        assert!(bed.proxy.faults() > 20);
        let alice = |all| find(all, "samaccountname", "alice").cloned();
        assert_eq!(alice(&pieces), alice(&whole));
    });
}

/// Nobody is told our password because a server says so.
#[test]
fn referrals_are_followed_nowhere() {
    let Some(domain) = ActiveDirectory::shared("referrals") else { return };
    run(async {
        let bed = bed(&domain);
        let trap = TcpListener::bind("127.0.0.1:0").expect("a free port");
        trap.set_nonblocking(true).expect("sockets can be non-blocking");
        let elsewhere = trap.local_addr().expect("a bound socket");
        let mut driver = bed.plan.start();
        driver.connect().await.expect("it lets us in");
        bed.proxy.set(Fault::Mention(elsewhere));
        let all = driver.read_all(&selection(KIND)).await.expect("a mention is read over");
        assert!(find(&all, "samaccountname", "alice").is_some() && bed.proxy.faults() > 0);
        bed.proxy.set(Fault::Refer(elsewhere));
        let failure = driver.read_all(&selection(KIND)).await.expect_err("it is not read");
        assert_eq!(failure.kind, FailureKind::Protocol, "{failure}");
        assert!(trap.accept().is_err(), "nobody came");
    });
}

#[test]
fn a_watermark_that_was_garbled_is_refused_and_a_new_one_works() {
    let Some(domain) = ActiveDirectory::shared("a garbled cookie") else { return };
    run(async {
        let bed = bed(&domain);
        let mut driver = bed.plan.start();
        let chosen = selection(KIND);
        driver.connect().await.expect("it lets us in");
        bed.proxy.set(Fault::WrongCookies);
        let mut garbled = driver.mark(&chosen).await;
        assert_eq!((garbled.way(), bed.proxy.faults() > 0), ("dirsync", true));
        bed.proxy.set(Fault::None);
        if let Err(failure) = driver.try_changes(&mut garbled, &chosen).await {
            assert_eq!(failure.kind, FailureKind::WatermarkRefused, "{failure}");
            driver.connect().await.expect("it lets us in");
        }
        let mut fresh = driver.mark(&chosen).await;
        driver.changes(&mut fresh, &chosen).await;
    });
}

/// An account that loses its right to replicate is followed by numbers.
#[test]
fn without_dirsync_changes_are_read_by_numbers() {
    let Some(domain) = ActiveDirectory::shared("a server that refuses DirSync") else { return };
    run(async {
        let bed = bed(&domain);
        let mut driver = bed.plan.start();
        let chosen = selection(KIND);
        driver.connect().await.expect("it lets us in");
        bed.proxy.set(Fault::RefuseControl("1.2.840.113556.1.4.841", 50));
        let mut since = driver.mark(&chosen).await;
        assert!(matches!(since, Watermark::Usn { .. }), "{since:?}");
        let person = domain.person();
        let changes = driver.changes(&mut since, &chosen).await;
        let read = driver.read(&changes.changed, &chosen).await;
        assert!(find(&read, "samaccountname", &person.login).is_some());
        domain.delete(&person.dn);
    });
}

#[test]
fn another_certificate_is_not_trusted_and_no_password_is_sent() {
    let Some(domain) = ActiveDirectory::shared("another certificate") else { return };
    run(async {
        let bed = bed(&domain);
        let locator = bed.plan.locator();
        let checker = Checker::new(CheckerConfig { locator, kind: KIND, account: bed.plan.account.clone() });
        let right = Password::new(domain.fact("USER_PASSWORD")).expect("a password");
        assert_eq!(checker.check("alice@corp.example", &right).await, Ok(()));
        let mut driver = bed.plan.start();
        driver.connect().await.expect("it lets us in");
        let other = PrivateCa::new("Somebody else's CA");
        for (ca, name) in [(&other, HOST), (&bed.ca, "dc2.corp.example")] {
            bed.proxy.set_certificate(ca, &[name]);
            let failure = driver.connect().await.expect_err("it is not trusted");
            assert_eq!(failure.kind, FailureKind::Untrusted, "{failure}");
            let refusal = checker.check("alice@corp.example", &right).await;
            assert!(matches!(refusal, Err(BindRefusal::Unavailable(_))), "{refusal:?}");
        }
        bed.proxy.set_certificate(&bed.ca, &[HOST]);
        driver.connect().await.expect("the right one is back");
    });
}

#[test]
fn a_dead_server_and_a_silent_one_are_passed_over() {
    let Some(domain) = ActiveDirectory::shared("dead servers") else { return };
    run(async {
        let bed = bed(&domain);
        let dead =
            TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("a bound socket");
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let silent_port = silent.local_addr().expect("a bound socket").port();
        let servers = [dead.port(), silent_port, bed.proxy.address().port()];
        let servers = Servers::Listed(servers.map(|port| server("127.0.0.1", port)).to_vec());
        let plan = Plan { servers, times: Times { ..impatient() }, ..bed.plan };
        let mut driver = plan.start();
        let facts = driver.connect().await.expect("the third is there");
        assert_eq!(facts.host, "127.0.0.1");
        let begun = Instant::now();
        driver.connect().await.expect("it is asked first now");
        assert!(begun.elapsed() < impatient().handshake, "nobody waits for the silent one again");
        drop(silent);
    });
}
