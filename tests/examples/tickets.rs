//! Measures what judging Kerberos tickets costs the server: the time of one after the other on one thread, the server's own
//! arithmetic, keytab and replay cache included, the client's not.
//!
//! Nothing is asserted but that tickets are taken: time is the machine's. The work is done by the system's library, so that
//! a build without optimisation shows the same. `cargo run -p system-tests --example tickets`; an argument is the number of
//! tickets.

use std::time::{Duration, Instant};

use gss::{Acceptor, Identity, Initiator, Keys, Library, Mechanism, Progress, Target};
use system_tests::{Realm, in_realm_of_program};

const TICKETS: usize = 5_000;

fn main() {
    in_realm_of_program("the cost of tickets", |realm| {
        let tickets = std::env::args().nth(1).map_or(TICKETS, |text| text.parse().expect("a number"));
        let library = Library::load().expect("the library is installed");
        let person = Initiator::new(library, Identity::Cache(realm.person("alice")));
        let service = Target::new("HTTP", "sip.test.example", Some(Realm::NAME)).expect("a legal name");
        let keytab = realm.keytab("HTTP/sip.test.example");
        let other = realm.keytab("sip/sip.test.example");
        let open = |keytab_file| {
            let replay_cache_file = realm.file("replays");
            let keys = Keys { keytab_file, service: None, replay_cache_file };
            Acceptor::open(library, &keys).expect("the keytab is good").believing_principals()
        };
        let (acceptor, stranger) = (open(keytab), open(other));
        let token = |mechanism| match person.begin(&service, mechanism, None).expect("there is a ticket") {
            Progress::Continue { token, .. } | Progress::Complete { token: Some(token), .. } => token,
            Progress::Complete { token: None, .. } => panic!("it begins with a token"),
        };
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let tokens: Vec<Vec<u8>> = (0..tickets).map(|_| token(mechanism)).collect();
            print(&format!("{mechanism:?}, taken"), &tokens, |token| acceptor.accept(token, None).is_ok());
            print(&format!("{mechanism:?}, replayed"), &tokens, |token| {
                acceptor.accept(token, None).is_err()
            });
            print(&format!("{mechanism:?}, for another key"), &tokens, |token| {
                stranger.accept(token, None).is_err()
            });
        }
        let nonsense = vec![b"NTLMSSP\0".to_vec(); tickets];
        print("NTLM", &nonsense, |token| acceptor.accept(token, None).is_err());
    });
}

fn print(what: &str, tokens: &[Vec<u8>], judge: impl Fn(&[u8]) -> bool) {
    let mut times: Vec<Duration> = tokens
        .iter()
        .map(|token| {
            let start = Instant::now();
            assert!(judge(token), "{what}");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
    println!("{what}: median {:.0} µs, 99 in 100 below {:.0} µs, of {}", at(50), at(99), times.len());
}
