//! `chancery trace` beside a call: what it shows, what it hides, what the log says of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use system_tests::{Configuration, PATIENCE, Road, Server, Transport, chancery};

use crate::calls::{established, hang_up};

/// A running `chancery trace`. It is killed when it is dropped.
struct Trace {
    child: Child,
    lines: Receiver<String>,
}

impl Trace {
    /// Starts it and waits until the server has begun.
    fn start(server: &Server, words: &[&str]) -> (Trace, String) {
        let mut child = Command::new(chancery())
            .arg("trace")
            .args(words)
            .arg("--dir")
            .arg(server.folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chancery runs");
        let mut announced = String::new();
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        errors.read_line(&mut announced).expect("it says what it does");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        (Trace { child, lines }, announced)
    }

    /// All lines up to the one that holds this.
    fn until(&self, text: &str) -> String {
        let mut all = String::new();
        while !all.lines().last().is_some_and(|line| line.contains(text)) {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {text} in:\n{all}"));
            all += &(line + "\n");
        }
        all
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn server() -> Server {
    let server = Configuration::new("example.test").serve();
    for name in ["alice", "bob"] {
        server.add_user(&format!("{name}@example.test"));
    }
    server
}

#[test]
fn a_call_is_seen_as_a_ladder_and_as_lines_without_its_secrets() {
    let server = server();
    let (ladder, announced) = Trace::start(&server, &["alice@example.test"]);
    assert!(announced.contains("the user alice@example.test for 60 seconds, without bodies"), "{announced}");
    let (lines, _) = Trace::start(&server, &["alice@example.test", "--json", "--seconds", "600"]);
    let device = |name: &str, transport| {
        let device = server.device(name, Road::v4(transport));
        device.register("");
        device
    };
    let (alice, bob) = (device("alice", Transport::Tls), device("bob", Transport::Udp));
    let (mut call, _) = established(&alice, &bob);
    hang_up(&alice, &mut call, &bob);

    let drawn = ladder.until("200 (2 BYE)") + &ladder.until("200 (2 BYE)");
    for row in ["REGISTER (1)", "401 (1 REGISTER)", "signed", "INVITE (", "200 (", "BYE (2)", "Chancery"] {
        assert!(drawn.contains(row), "no {row} in:\n{drawn}");
    }
    assert!(drawn.contains("tls 127.") && drawn.contains("udp 127."), "{drawn}");
    assert!(!drawn.contains('\u{1b}'), "no colours where it is no terminal:\n{drawn}");
    let is_bye = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        event["direction"] == "out"
            && event["text"].as_str().is_some_and(|text| text.starts_with("SIP/2.0 200"))
    };
    let text = lines.until("BYE");
    assert!(text.lines().any(is_bye), "{text}");
    for secret in ["nonce=", "response=\\\"", "v=0", "c=IN"] {
        assert!(!text.contains(secret) && !drawn.contains(secret), "{secret} in:\n{text}");
    }
    assert!(text.contains("octets of application/sdp hidden]"), "{text}");
    let log = server.log();
    assert!(log.contains("a trace began") && log.contains("uid ") && log.contains("hidden"), "{log}");
    drop((ladder, lines));
    server.expect_log("a trace was stopped");
}

#[test]
fn bodies_are_shown_only_when_asked_for_and_the_log_says_so() {
    let server = server();
    let (trace, announced) = Trace::start(&server, &["bob@example.test", "--bodies"]);
    assert!(announced.contains("with bodies"), "{announced}");
    server.expect_log("shown");
    let (alice, bob) =
        (server.device("alice", Road::v4(Transport::Wss)), server.device("bob", Road::v4(Transport::Tcp)));
    alice.register("");
    bob.register("");
    let sent = alice.send(alice.message(&bob.uri(), "between us"));
    bob.expect_and_answer("MESSAGE", 200);
    assert_eq!(alice.answer(sent).status(), Some(200));
    trace.until("between us");
    // A refusal has the server's reason beside it.
    let forged = bob.message(&alice.uri(), "forged").from("sip:alice@example.test");
    assert_eq!(bob.ask(forged).status(), Some(403));
    let refused = trace.until("403 (");
    let row = refused.lines().last().expect("a row");
    assert!(row.contains("! refused: From is not the identity that signed in"), "{refused}");
}

#[test]
fn a_trace_ends_with_its_time() {
    let server = server();
    let (mut trace, announced) = Trace::start(&server, &["some-call-id@host", "--seconds", "1"]);
    assert!(announced.contains("the Call-ID some-call-id@host (no user is called so)"), "{announced}");
    assert!(trace.child.wait().expect("it ends").success());
    server.expect_log("a trace's time is over");
    let (code, said) = server.command(&["trace", "alice@example.test", "--seconds", "601"]);
    assert_eq!(code, 2, "{said}");
}
