//! Kerberos as the server uses it: what acceptors take and refuse, who initiators are, and what a browser-like client sends,
//! against MIT's key server and against Active Directory.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gss::negotiate::{CHALLENGE, Negotiate, Outcome, Reason, Refusal, SignedIn, Unbound};
use gss::{
    Acceptor, ChannelBinding, Context, Error, Fault, Identity, Initiator, Keys, Library, Mechanism,
    Negotiation, Progress, Target,
};
use system_tests::{ActiveDirectory, PATIENCE, Realm, again, have, in_realm, skip, this_program};

const HOST: &str = "sip.test.example";

/// The service, and a person who has signed in to the realm.
struct Cast {
    service: Target,
    keytab: PathBuf,
    replays: PathBuf,
    alice: Initiator,
}

impl Cast {
    fn of(realm: &Realm) -> Cast {
        Cast {
            service: target("HTTP", HOST),
            keytab: realm.keytab(&format!("HTTP/{HOST}")),
            replays: realm.file("replays"),
            alice: Initiator::new(library(), Identity::Cache(realm.person("alice"))),
        }
    }

    fn acceptor(&self) -> Acceptor {
        open_plain(&self.keytab, Some("HTTP"), &self.replays).expect("the keytab is good")
    }

    fn negotiate(&self, unbound: Unbound) -> Negotiate {
        Negotiate::new(self.acceptor(), unbound)
    }

    /// A fresh token of alice's.
    fn token(&self, mechanism: Mechanism, binding: Option<&ChannelBinding>) -> Vec<u8> {
        first(&self.alice, &self.service, mechanism, binding).0
    }
}

fn library() -> Library {
    Library::load().expect("libgssapi-krb5-2 is installed with krb5-user")
}

fn target(service: &str, host: &str) -> Target {
    Target::new(service, host, None).expect("a legal name")
}

fn open(keytab: &Path, service: Option<&str>, replays: &Path) -> Result<Acceptor, Error> {
    let keys = Keys {
        keytab_file: keytab.to_owned(),
        service: service.map(str::to_owned),
        replay_cache_file: replays.to_owned(),
    };
    Acceptor::open(library(), &keys)
}

/// The same for a realm that is not Active Directory's.
fn open_plain(keytab: &Path, service: Option<&str>, replays: &Path) -> Result<Acceptor, Error> {
    open(keytab, service, replays).map(Acceptor::believing_principals)
}

fn first(
    initiator: &Initiator,
    target: &Target,
    mechanism: Mechanism,
    binding: Option<&ChannelBinding>,
) -> (Vec<u8>, Negotiation) {
    match initiator.begin(target, mechanism, binding.cloned()).expect("there is a ticket") {
        Progress::Continue { token, negotiation } => (token, negotiation),
        Progress::Complete { .. } => panic!("complete before the service proved itself"),
    }
}

fn finish(negotiation: Negotiation, token: &[u8]) -> Context {
    match negotiation.step(token).expect("the service is who it should be") {
        Progress::Complete { token: None, context } => context,
        _ => panic!("two tokens are enough"),
    }
}

fn fault<T>(result: Result<T, Error>) -> Fault {
    result.map(|_| ()).expect_err("it is refused").fault
}

/// The answer to a request with this header.
fn answer(negotiate: &Negotiate, authorization: Option<&str>, binding: Option<&ChannelBinding>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime is made");
    runtime.block_on(negotiate.accept(authorization, binding.cloned()))
}

fn header(token: &[u8]) -> String {
    format!("Negotiate {}", STANDARD.encode(token))
}

fn certificate() -> ChannelBinding {
    ChannelBinding::tls_server_end_point(&[0xa5; 32])
}

#[test]
fn a_ticket_says_who_it_is() {
    in_realm("kerberos::a_ticket_says_who_it_is", |realm| {
        let cast = Cast::of(realm);
        let acceptor = cast.acceptor();
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let (token, negotiation) = first(&cast.alice, &cast.service, mechanism, None);
            let accepted = acceptor.accept(&token, None).expect("alice has a ticket");
            assert_eq!(accepted.principal, "alice@TEST.EXAMPLE");
            assert_eq!(accepted.account_principal(), "alice@TEST.EXAMPLE");
            assert!(!accepted.is_bound);
            let mut context = finish(negotiation, &accepted.token);
            // What nobody signed is no message.
            assert_eq!(fault(context.unwrap(b"unsigned")), Fault::Token);
        }
        // This key server does not say whose account it is.
        let strict = open(&cast.keytab, None, &cast.replays).expect("the keytab is good");
        assert_eq!(fault(strict.accept(&cast.token(Mechanism::Spnego, None), None)), Fault::Identity);
    });
}

#[test]
fn a_keytab_signs_a_service_in() {
    in_realm("kerberos::a_keytab_signs_a_service_in", |realm| {
        let cast = Cast::of(realm);
        let file = realm.keytab("svc-sync");
        let of = |file: &Path, principal: &str| {
            let identity = Identity::Keytab { file: file.to_owned(), principal: principal.to_owned() };
            Initiator::new(library(), identity)
        };
        let service = of(&file, "svc-sync@TEST.EXAMPLE");
        for _ in 0..2 {
            let (token, _) = first(&service, &cast.service, Mechanism::Kerberos, None);
            let accepted = cast.acceptor().accept(&token, None).expect("it is a ticket");
            assert_eq!(accepted.principal, "svc-sync@TEST.EXAMPLE");
        }
        let begin = |initiator: &Initiator, target: &Target| {
            fault(initiator.begin(target, Mechanism::Kerberos, None))
        };
        assert_eq!(begin(&service, &target("HTTP", "nobody.test.example")), Fault::Refused);
        let absent = of(&realm.file("absent.keytab"), "svc-sync@TEST.EXAMPLE");
        assert_eq!(begin(&absent, &cast.service), Fault::Credentials);
        let stranger = of(&file, "svc-other@TEST.EXAMPLE");
        assert_eq!(begin(&stranger, &cast.service), Fault::Credentials);
        // The key was changed since.
        realm.keytab("svc-sync");
        assert_eq!(begin(&of(&file, "svc-sync@TEST.EXAMPLE"), &cast.service), Fault::Key);
        let gone = Target::new("HTTP", HOST, Some(Realm::UNREACHABLE)).expect("a legal name");
        assert_eq!(begin(&service, &gone), Fault::Refused, "the two realms do not know each other");
        let nobody = Initiator::new(library(), Identity::Cache("FILE:/nonexistent/cache".to_owned()));
        assert_eq!(begin(&nobody, &cast.service), Fault::Credentials);
    });
}

#[test]
fn a_key_server_that_is_not_there_is_said_to_be() {
    in_realm("kerberos::a_key_server_that_is_not_there_is_said_to_be", |realm| {
        let file = realm.file("gone.keytab");
        let mut ktutil =
            realm.command("ktutil").stdin(std::process::Stdio::piped()).spawn().expect("it runs");
        let lines = format!(
            "addent -password -p svc@{} -k 1 -e aes256-cts\nsecret\nwkt {}\nquit\n",
            Realm::UNREACHABLE,
            file.display()
        );
        ktutil.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
        assert!(ktutil.wait().expect("it ends").success());
        let identity = Identity::Keytab { file, principal: format!("svc@{}", Realm::UNREACHABLE) };
        let target = Target::new("HTTP", HOST, Some(Realm::UNREACHABLE)).expect("a legal name");
        let initiator = Initiator::new(library(), identity);
        assert_eq!(fault(initiator.begin(&target, Mechanism::Kerberos, None)), Fault::Unreachable);
    });
}

#[test]
fn a_token_is_good_once() {
    in_realm("kerberos::a_token_is_good_once", |realm| {
        let cast = Cast::of(realm);
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let token = cast.token(mechanism, None);
            cast.acceptor().accept(&token, None).expect("it is fresh");
            // A restart does not forget.
            assert_eq!(fault(cast.acceptor().accept(&token, None)), Fault::Replay);
        }
    });
}

#[test]
fn a_ticket_for_another_key_is_refused() {
    in_realm("kerberos::a_ticket_for_another_key_is_refused", |realm| {
        let cast = Cast::of(realm);
        let token = |mechanism| cast.token(mechanism, None);
        let other = realm.keytab(&format!("sip/{HOST}"));
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let wrong = open(&other, None, &cast.replays).expect("a keytab");
            assert_eq!(fault(wrong.accept(&token(mechanism), None)), Fault::Key);
        }
        assert_eq!(fault(open(&other, Some("HTTP"), &cast.replays)), Fault::Credentials);
        assert_eq!(fault(open(&realm.file("absent"), None, &cast.replays)), Fault::Key);
        // The service's key changes, and a person has a ticket for the new one: the old keytab is of no use.
        realm.keytab(&format!("HTTP/{HOST}"));
        let bob = Initiator::new(library(), Identity::Cache(realm.person("bob")));
        let (new, _) = first(&bob, &cast.service, Mechanism::Kerberos, None);
        assert_eq!(fault(cast.acceptor().accept(&new, None)), Fault::Key);
        // Who has an old ticket still gets in with it.
        cast.acceptor().accept(&token(Mechanism::Kerberos), None).expect("the old key is still there");
    });
}

#[test]
fn a_new_keytab_needs_no_restart() {
    in_realm("kerberos::a_new_keytab_needs_no_restart", |realm| {
        let cast = Cast::of(realm);
        let acceptor = cast.acceptor();
        let renewed = realm.keytab(&format!("HTTP/{HOST}"));
        std::fs::rename(renewed, &cast.keytab).expect("one folder");
        acceptor.accept(&cast.token(Mechanism::Kerberos, None), None).expect("the keytab is read again");
    });
}

#[test]
fn a_binding_ties_a_token_to_its_connection() {
    in_realm("kerberos::a_binding_ties_a_token_to_its_connection", |realm| {
        let cast = Cast::of(realm);
        let (ours, theirs) = (certificate(), ChannelBinding::tls_server_end_point(&[0x5a; 32]));
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let accept = |sent: Option<&ChannelBinding>, known: Option<&ChannelBinding>| {
                cast.acceptor().accept(&cast.token(mechanism, sent), known)
            };
            assert!(accept(Some(&ours), Some(&ours)).expect("they agree").is_bound);
            assert_eq!(fault(accept(Some(&theirs), Some(&ours))), Fault::Binding);
            assert!(!accept(None, Some(&ours)).expect("many clients send none").is_bound);
            assert!(!accept(Some(&ours), None).expect("TLS ended elsewhere").is_bound);
        }
        let strict = cast.negotiate(Unbound::Refused);
        let bound = header(&cast.token(Mechanism::Spnego, Some(&ours)));
        assert!(matches!(answer(&strict, Some(&bound), Some(&ours)), Outcome::SignedIn(_)));
        let unbound = header(&cast.token(Mechanism::Spnego, None));
        let Outcome::Refused(Refusal { reason, detail }) = answer(&strict, Some(&unbound), Some(&ours))
        else {
            panic!("it is not bound")
        };
        assert_eq!((reason, detail.as_str()), (Reason::Unbound, "alice@TEST.EXAMPLE"));
    });
}

#[test]
fn nonsense_is_nobody() {
    in_realm("kerberos::nonsense_is_nobody", |realm| {
        let cast = Cast::of(realm);
        let acceptor = cast.acceptor();
        for nonsense in [&b""[..], b"\0", b"NTLMSSP\0\x01\0\0\0", b"GET / HTTP/1.1\r\n\r\n", &[0x60; 20_000]]
        {
            let error = acceptor.accept(nonsense, None).expect_err("nonsense");
            assert!(matches!(error.fault, Fault::Token | Fault::Mechanism), "{error} of {nonsense:?}");
        }
        for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
            let whole = cast.token(mechanism, None);
            for length in (0..whole.len()).step_by(7) {
                acceptor.accept(&whole[..length], None).expect_err("it is cut short");
            }
            // Each octet in turn is not what it was. Some stand outside of what is protected and say nothing of who it is.
            for place in 0..whole.len() {
                let mut changed = whole.clone();
                changed[place] ^= 0x11;
                if let Ok(accepted) = acceptor.accept(&changed, None) {
                    assert_eq!(accepted.principal, "alice@TEST.EXAMPLE", "octet {place}");
                }
            }
        }
    });
}

#[test]
fn an_acceptor_is_shared_by_threads() {
    in_realm("kerberos::an_acceptor_is_shared_by_threads", |realm| {
        let cast = Cast::of(realm);
        let bob = Initiator::new(library(), Identity::Cache(realm.person("bob")));
        let acceptor = cast.acceptor();
        std::thread::scope(|scope| {
            for (name, initiator) in [("alice", &cast.alice), ("bob", &bob)].repeat(4) {
                let (acceptor, service) = (&acceptor, &cast.service);
                scope.spawn(move || {
                    for _ in 0..25 {
                        let (token, _) = first(initiator, service, Mechanism::Spnego, None);
                        let accepted = acceptor.accept(&token, None).expect("a fresh token");
                        assert_eq!(accepted.principal, format!("{name}@TEST.EXAMPLE"));
                    }
                });
            }
        });
    });
}

#[test]
fn a_request_signs_in_by_its_header() {
    in_realm("kerberos::a_request_signs_in_by_its_header", |realm| {
        let cast = Cast::of(realm);
        let negotiate = cast.negotiate(Unbound::Taken);
        assert_eq!(answer(&negotiate, None, None), Outcome::Challenge);
        assert_eq!(answer(&negotiate, Some("Bearer abc"), None), Outcome::Challenge);
        let (token, negotiation) = first(&cast.alice, &cast.service, Mechanism::Spnego, None);
        let Outcome::SignedIn(SignedIn { principal, answer: Some(proof), is_bound: false, account: None }) =
            answer(&negotiate, Some(&header(&token)), None)
        else {
            panic!("alice has a ticket")
        };
        assert_eq!(principal, "alice@TEST.EXAMPLE");
        let proof = proof.strip_prefix("Negotiate ").and_then(|proof| STANDARD.decode(proof).ok());
        finish(negotiation, &proof.expect("a token"));
        let reason = |authorization: &str| match answer(&negotiate, Some(authorization), None) {
            Outcome::Refused(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&header(&token)), Reason::Kerberos(Fault::Replay));
        assert_eq!(reason("Negotiate TlRMTVNTUAABAAAA"), Reason::Kerberos(Fault::Mechanism));
        assert_eq!(reason("Negotiate YII="), Reason::Kerberos(Fault::Token));
    });
}

#[test]
fn an_acceptor_needs_no_configuration() {
    const NAME: &str = "kerberos::an_acceptor_needs_no_configuration";
    const KEYTAB: &str = "CHANCERY_TEST_KEYTAB";
    const TOKENS: &str = "CHANCERY_TEST_TOKENS";
    if let (Some(keytab), Some(folder)) = (std::env::var_os(KEYTAB), std::env::var_os(TOKENS)) {
        let (keytab, folder) = (PathBuf::from(keytab), PathBuf::from(folder));
        for (file, service) in [("first", None), ("second", Some("HTTP"))] {
            let token = std::fs::read(folder.join(file)).expect("it was written");
            let acceptor = open_plain(&keytab, service, &folder.join("replays")).expect("a keytab is enough");
            assert_eq!(acceptor.accept(&token, None).expect("a ticket").principal, "alice@TEST.EXAMPLE");
        }
        return;
    }
    in_realm(NAME, |realm| {
        let cast = Cast::of(realm);
        for file in ["first", "second"] {
            std::fs::write(realm.file(file), cast.token(Mechanism::Spnego, None))
                .expect("the folder is ours");
        }
        let mut command = Command::new(this_program());
        command.env("KRB5_CONFIG", realm.file("absent.conf"));
        again(NAME, command.env(KEYTAB, &cast.keytab).env(TOKENS, realm.file("")));
    });
}

/// A token is first too old for the allowed skew of the clocks, and then its ticket is over, too.
#[test]
fn a_ticket_comes_to_its_end() {
    const NAME: &str = "kerberos::a_ticket_comes_to_its_end";
    const KEYTAB: &str = "CHANCERY_TEST_KEYTAB";
    const TOKEN: &str = "CHANCERY_TEST_TOKEN";
    if let (Some(keytab), Some(token)) = (std::env::var_os(KEYTAB), std::env::var_os(TOKEN)) {
        let keytab = PathBuf::from(keytab);
        let replays = keytab.with_extension("replays");
        let token = std::fs::read(token).expect("it was written");
        // Each look is the first: this is not about what was shown before.
        let judge = || {
            let acceptor = open_plain(&keytab, Some("HTTP"), &replays).expect("the keytab is good");
            let judged = acceptor.accept(&token, None);
            // It is there if the token was taken.
            drop(std::fs::remove_file(&replays));
            judged
        };
        let deadline = Instant::now() + PATIENCE;
        let mut faults = Vec::new();
        while !faults.contains(&Fault::Expired) {
            assert!(Instant::now() < deadline, "{faults:?}");
            if let Err(error) = judge()
                && !faults.contains(&error.fault)
            {
                faults.push(error.fault);
            }
            std::thread::yield_now();
        }
        // A slow machine looks when it is all over.
        assert!(matches!(faults[..], [Fault::Clock, Fault::Expired] | [Fault::Expired]), "{faults:?}");
        return;
    }
    in_realm(NAME, |realm| {
        let cast = Cast::of(realm);
        let (token, keytab) = (realm.file("token"), realm.keytab("bob"));
        let cache = format!("FILE:{}", realm.file("bob.cache").display());
        let token_of_short_ticket = || {
            let mut kinit = realm.command("kinit");
            let status = kinit.args(["-l", "3s", "-c", &cache, "-k", "-t"]).arg(&keytab).arg("bob").status();
            assert!(status.expect("kinit runs").success());
            let bob = Initiator::new(library(), Identity::Cache(cache.clone()));
            match bob.begin(&cast.service, Mechanism::Spnego, None) {
                Ok(Progress::Continue { token, .. }) => Some(token),
                // It was over before it was used.
                _ => None,
            }
        };
        let made = (0..5).find_map(|_| token_of_short_ticket()).expect("a ticket lasts for three seconds");
        std::fs::write(&token, made).expect("the folder is ours");
        let configuration = std::fs::read_to_string(realm.file("krb5.conf")).expect("the realm has one");
        let hasty = configuration.replacen("[libdefaults]", "[libdefaults]\nclockskew = 1", 1);
        std::fs::write(realm.file("hasty.conf"), hasty).expect("the folder is ours");
        let mut command = Command::new(this_program());
        command.env("KRB5_CONFIG", realm.file("hasty.conf"));
        again(NAME, command.env(KEYTAB, &cast.keytab).env(TOKEN, &token));
    });
}

#[test]
fn curl_signs_in_with_its_ticket() {
    const NAME: &str = "kerberos::curl_signs_in_with_its_ticket";
    if !have("curl") {
        return skip(NAME, "curl is not installed");
    }
    in_realm(NAME, |realm| {
        let cast = Cast::of(realm);
        let negotiate = cast.negotiate(Unbound::Taken);
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it listens").port();
        let mut curl = realm.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--negotiate", "--user", ":"]);
        curl.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1"), &format!("http://{HOST}:{port}/")]);
        let curl = curl
            .env("KRB5CCNAME", format!("FILE:{}", realm.file("alice.cache").display()))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("curl runs");
        let (mut stream, _) = listener.accept().expect("curl comes");
        loop {
            let mut authorization = None;
            let lines = BufReader::new(stream.try_clone().expect("one more handle")).lines();
            for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some((name, value)) = line.split_once(": ")
                    && name.eq_ignore_ascii_case("Authorization")
                {
                    authorization = Some(value.to_owned());
                }
            }
            let (status, proof, body, is_over) = match answer(&negotiate, authorization.as_deref(), None) {
                Outcome::Challenge => ("401 Unauthorized", CHALLENGE.to_owned(), String::new(), false),
                Outcome::SignedIn(signed_in) => {
                    ("200 OK", signed_in.answer.expect("curl asks for it"), signed_in.principal, true)
                }
                Outcome::Refused(refusal) => panic!("{refusal:?}"),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: {proof}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).expect("curl listens");
            if is_over {
                break;
            }
        }
        let output = curl.wait_with_output().expect("curl ends");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "alice@TEST.EXAMPLE");
    });
}

/// Runs the rest in a process that knows the domain's realm; `None` in the process that only started it.
fn in_domain(test: &str) -> Option<ActiveDirectory> {
    let domain = ActiveDirectory::shared(test)?;
    let (name, value) = domain.kerberos();
    if std::env::var(name).is_ok_and(|own| own == value) {
        return Some(domain);
    }
    again(test, &mut domain.command(this_program()));
    None
}

#[test]
fn active_directory_says_whose_ticket_it_is() {
    let Some(domain) = in_domain("kerberos::active_directory_says_whose_ticket_it_is") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let person = domain.person();
    let cache = format!("FILE:{}", folder.path().join("cache").display());
    sign_in(&domain, &cache, &person.login, &person.password);
    let initiator = Initiator::new(library(), Identity::Cache(cache));
    let service = target("http", "sip.corp.example");
    let keytab = PathBuf::from(domain.fact("KEYTAB"));
    let replays = folder.path().join("replays");
    let sid = domain.search(&format!("(sAMAccountName={})", person.login), &["objectSid"]);

    for mechanism in [Mechanism::Kerberos, Mechanism::Spnego] {
        let acceptor = open(&keytab, Some("http"), &replays).expect("the keytab is good");
        let (token, negotiation) = first(&initiator, &service, mechanism, Some(&certificate()));
        let accepted = acceptor.accept(&token, Some(&certificate())).expect("a person of the domain");
        assert!(accepted.is_bound);
        assert_eq!(accepted.principal, format!("{}@CORP.EXAMPLE", person.login));
        let account = accepted.account.as_ref().expect("the domain says whose account it is");
        assert_eq!(account.name, person.login);
        assert_eq!(account.user_principal_name, person.address());
        let spelt = sid_of(&sid);
        assert_eq!(account.sid, spelt);
        finish(negotiation, &accepted.token);
        assert_eq!(fault(acceptor.accept(&token, Some(&certificate()))), Fault::Replay);
    }
    // The domain does not care how a service is spelt, and its keytabs are spelt as somebody liked: here in lower case.
    for service in [None, Some("http"), Some("HTTP")] {
        let acceptor = open(&keytab, service, &replays).expect("the keytab is good");
        for asked in ["http", "HTTP", "Http"] {
            let (token, _) = first(&initiator, &target(asked, "sip.corp.example"), Mechanism::Spnego, None);
            acceptor.accept(&token, None).unwrap_or_else(|error| panic!("{asked} at {service:?}: {error}"));
        }
    }
    assert_eq!(fault(open(&keytab, Some("imap"), &replays)), Fault::Credentials);
}

/// `objectSid` of an answer in LDIF.
fn sid_of(ldif: &str) -> String {
    let encoded = ldif.lines().find_map(|line| line.strip_prefix("objectSid:: ")).expect("everybody has one");
    let octets = STANDARD.decode(encoded).expect("LDIF is base64");
    let parts = octets[8..].as_chunks::<4>().0.iter().map(|part| format!("-{}", u32::from_le_bytes(*part)));
    format!("S-{}-{}{}", octets[0], octets[7], parts.collect::<String>())
}

fn sign_in(domain: &ActiveDirectory, cache: &str, login: &str, password: &str) {
    sign_in_with(domain, cache, login, password, &[]);
}

fn sign_in_with(domain: &ActiveDirectory, cache: &str, login: &str, password: &str, more: &[&str]) {
    let mut kinit: Command = domain.command("kinit");
    let mut kinit = kinit
        .args(["-c", cache])
        .args(more)
        .arg(login)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("kinit runs");
    kinit.stdin.take().expect("a pipe").write_all(format!("{password}\n").as_bytes()).expect("it reads");
    assert!(kinit.wait().expect("it ends").success(), "{login} signs in");
}

#[test]
fn a_ticket_under_a_borrowed_name_says_whose_it_is() {
    let Some(domain) = in_domain("kerberos::a_ticket_under_a_borrowed_name_says_whose_it_is") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keytab = PathBuf::from(domain.fact("KEYTAB"));
    let acceptor = open(&keytab, Some("HTTP"), &folder.path().join("replays")).expect("the keytab is good");
    let cache = format!("FILE:{}", folder.path().join("cache").display());
    let token = |name: &str, password: &str, more: &[&str]| {
        sign_in_with(&domain, &cache, name, password, more);
        let initiator = Initiator::new(library(), Identity::Cache(cache.clone()));
        first(&initiator, &target("HTTP", "sip.corp.example"), Mechanism::Spnego, None).0
    };
    let shown = |name: &str, password: &str| {
        let accepted = acceptor.accept(&token(name, password, &[]), None).expect("a ticket of the domain");
        (accepted.principal.clone(), accepted.account_principal())
    };

    // Everybody has two names, of which one is theirs in the domain for good.
    let person = domain.person();
    let other = format!("other-{}", person.login);
    domain.replace(&person.dn, "userPrincipalName", &format!("{other}@{}", person.domain));
    let (principal, account) = shown(&other, &person.password);
    assert_eq!(principal, format!("{other}@CORP.EXAMPLE"));
    assert_eq!(account, format!("{}@CORP.EXAMPLE", person.login));

    // A computer signs in without its `$`, and its ticket reads like a person's.
    let computer = domain.person();
    domain.replace(&computer.dn, "userAccountControl", "4096");
    domain.replace(&computer.dn, "sAMAccountName", &format!("{}$", computer.login));
    domain.replace(&computer.dn, "userPrincipalName", &format!("host-{}", computer.address()));
    let (principal, account) = shown(&computer.login, &computer.password);
    assert_eq!(principal, format!("{}@CORP.EXAMPLE", computer.login));
    assert_eq!(account, format!("{}$@CORP.EXAMPLE", computer.login));

    // It may ask for a ticket that says nothing of its account.
    let silent = token(&computer.login, &computer.password, &["--no-request-pac"]);
    assert_eq!(fault(acceptor.accept(&silent, None)), Fault::Identity);
}

/// A keytab from a password, as `ktpass` makes it.
fn keytab_of(domain: &ActiveDirectory, login: &str, password: &str, file: &Path) {
    let mut ktutil = domain
        .command("ktutil")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("ktutil runs");
    let lines = format!(
        "addent -password -p {login}@CORP.EXAMPLE -k 1 -e aes256-cts-hmac-sha1-96\n{password}\nwkt {}\nquit\n",
        file.display()
    );
    ktutil.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    assert!(ktutil.wait().expect("it ends").success());
}

#[test]
fn a_keytab_signs_in_to_active_directory() {
    let Some(domain) = in_domain("kerberos::a_keytab_signs_in_to_active_directory") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (person, file) = (domain.person(), folder.path().join("person.keytab"));
    keytab_of(&domain, &person.login, &person.password, &file);
    let account = |file: &Path| {
        ldap::Kerberos::new(library(), file.to_owned(), format!("{}@CORP.EXAMPLE", person.login))
    };
    let authority = ldap::Authority::from_file(&domain.ca()).expect("the domain's CA");
    let open = |security: ldap::Security| {
        let address = (domain.ip(), security.default_port()).into();
        ldap::Connection::open(domain.fact("HOST"), address, security, &authority, ldap::Times::default())
    };
    // What a person may change of themselves, and of nobody else.
    let number = |number: &str| ldap::wire::Modification {
        operation: ldap::wire::ModifyOperation::Replace,
        attribute: "telephoneNumber".to_owned(),
        values: vec![number.as_bytes().to_vec().into()],
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime is made");
    runtime.block_on(async {
        let account = account(&file);
        for (security, digits) in
            [(ldap::Security::Ldaps, "+14255550111"), (ldap::Security::StartTls, "+14255550112")]
        {
            let mut connection = open(security).await.expect("the domain is there");
            let stranger = connection.modify(&person.dn, &[number(digits)]).await.expect("an answer");
            assert!(!stranger.is_success(), "{stranger}");
            account.sign_in(&mut connection).await.expect("the keytab is good");
            let own = connection.modify(&person.dn, &[number(digits)]).await.expect("an answer");
            assert!(own.is_success(), "{own}");
            let other = domain.fact("SYNC_DN");
            let others = connection.modify(other, &[number(digits)]).await.expect("an answer");
            assert!(!others.is_success(), "{others}");
        }
    });
    let found = domain.search(&format!("(sAMAccountName={})", person.login), &["telephoneNumber"]);
    assert!(found.contains("+14255550112"), "{found}");

    let wrong = folder.path().join("wrong.keytab");
    keytab_of(&domain, &person.login, "not the password", &wrong);
    runtime.block_on(async {
        for keytab in [&wrong, &folder.path().join("absent.keytab")] {
            let mut connection = open(ldap::Security::Ldaps).await.expect("the domain is there");
            let error = account(keytab).sign_in(&mut connection).await.expect_err("it proves nothing");
            assert!(matches!(error, ldap::Error::Kerberos(_)), "{error}");
        }
    });
}
