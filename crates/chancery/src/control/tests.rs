use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use directory::{CertificateDigest, ClientCertificate, Permissions, Role, SipAddress, UserState};
use expect_test::{Expect, expect};
use frontend::admin::{Answer, Call, Device, Refusal, Status, UserDetails, UserSummary};

use frontend::admin::{DevicePresence, PresenceDetails};
use presence::{DeviceState, Inputs, Manual, compose};

use super::client::Client;
use super::protocol::{AnswerLine, CallLine, ListenerLine, REQUEST_OCTETS_MAX, ServerFacts};
use super::server::{Backend, ControlServer, HomeClerk};
use crate::backup::Desk;
use crate::files;

fn facts() -> ServerFacts {
    let listener = ListenerLine {
        role: "sip".into(),
        transport: "udp".into(),
        address: "127.0.0.1:5060".into(),
        port: 5060,
    };
    ServerFacts {
        version: "0.0.0".into(),
        pid: 42,
        domains: vec!["contoso.example".into()],
        listeners: vec![listener],
    }
}

/// Runs `client` on a thread against a server that answers each call with the next of `answers`; gives the calls.
fn conversation(
    socket: &Path,
    answers: Vec<Answer>,
    client: impl FnOnce(PathBuf) + Send + 'static,
) -> Vec<Call> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let calls = Rc::new(RefCell::new(Vec::new()));
    local.block_on(&runtime, async {
        let server = ControlServer::bind(socket).unwrap();
        let answers = Rc::new(RefCell::new(answers.into_iter()));
        let seen = Rc::clone(&calls);
        let caller = Rc::new(move |call| {
            seen.borrow_mut().push(call);
            let answer = answers.borrow_mut().next();
            Box::pin(async move { answer }) as _
        });
        let socket = socket.to_owned();
        let backups = Desk::new(socket.with_file_name("data"));
        let client = tokio::task::spawn_blocking(move || client(socket));
        // Nobody reloads here.
        let reload = tokio::sync::mpsc::channel(1).0;
        let backend = Rc::new(Backend {
            clerk: Rc::new(HomeClerk { node: caller, facts: Rc::new(facts()) }),
            reload,
            backups: Some(backups),
            directory: None,
        });
        tokio::select! {
            () = server.run(backend) => unreachable!("a server runs until it is dropped"),
            done = client => done.unwrap(),
        }
    });
    calls.take()
}

/// Lines as they are on the wire, both ways.
fn check(answers: Vec<Answer>, request: &'static str, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    conversation(&dir.path().join("control.sock"), answers, move |socket| {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        sender.send(lines.join("\n")).unwrap();
    });
    expected.assert_eq(&receiver.recv().unwrap());
}

fn alice() -> UserSummary {
    UserSummary {
        address: SipAddress::parse("alice@contoso.example").unwrap(),
        display_name: "Alice".into(),
        state: UserState::Enabled,
        standing: None,
        role: Role::Person,
        devices: 1,
        waiting_messages: 2,
    }
}

#[test]
fn answers_in_json() {
    let status = Status {
        users: 1,
        bindings: 2,
        connections: 3,
        transactions: 4,
        storage_healthy: true,
        uptime_seconds: 5,
    };
    check(
        vec![Answer::Status(status)],
        "{\"version\":1,\"call\":\"status\"}\n",
        expect![[
            r#"{"answer":"status","users":1,"bindings":2,"connections":3,"transactions":4,"storage_healthy":true,"uptime_seconds":5,"server":{"version":"0.0.0","pid":42,"domains":["contoso.example"],"listeners":[{"role":"sip","transport":"udp","address":"127.0.0.1:5060","port":5060}]}}"#
        ]],
    );
    let device = Device {
        contact: "sip:alice@192.0.2.1".into(),
        transport: "udp",
        remote: "192.0.2.1:5060".into(),
        user_agent: "x".into(),
        instance: None,
        expires_seconds: 60,
    };
    let presence = PresenceDetails {
        address: alice().address,
        state: compose(&Inputs {
            devices: &[&DeviceState::registered()],
            manual: &Manual::default(),
            calls: 0,
            now_unix_ms: 0,
        }),
        manual: Manual::default(),
        devices: vec![DevicePresence { contact: None, is_published: true, state: DeviceState::registered() }],
        watchers: 3,
    };
    let details = UserDetails {
        summary: alice(),
        aliases: Vec::new(),
        account: None,
        app_passwords: Vec::new(),
        certificates: vec![ClientCertificate { digest: CertificateDigest([1; 32]), expires_unix_ms: 60_000 }],
        permissions: Permissions { federation: true, remote_access: false, calls: true },
        devices: vec![device],
        presence,
    };
    check(
        vec![Answer::User(Box::new(details))],
        "{\"version\":1,\"call\":\"user-show\",\"address\":\"alice@contoso.example\"}\n",
        expect![[
            r#"{"answer":"user","address":"alice@contoso.example","name":"Alice","state":"enabled","role":"person","devices":1,"waiting_messages":2,"permissions":{"federation":true,"remote_access":false,"calls":true},"certificates":[{"sha256":"0101010101010101010101010101010101010101010101010101010101010101","expires_unix_ms":60000}],"registrations":[{"contact":"sip:alice@192.0.2.1","transport":"udp","remote":"192.0.2.1:5060","user_agent":"x","instance":null,"expires_seconds":60}],"presence":{"address":"alice@contoso.example","presence":"available","availability":3500,"activities":[],"idle_since_unix_ms":null,"note":null,"place":null,"why":"device","calls":0,"chosen":null,"own_note":null,"devices":[{"contact":null,"is_published":true,"decides":true,"presence":"available","availability":3500,"activities":[],"idle_since_unix_ms":null,"note":null,"place":null}],"watchers":3}}"#
        ]],
    );
    check(
        vec![Answer::Users(vec![alice()]), Answer::Users(vec![])],
        "{\"version\":1,\"call\":\"user-list\",\"limit\":1}\n\
         {\"version\":1,\"call\":\"user-list\",\"limit\":1,\"after\":\"alice@contoso.example\"}\n",
        expect![[r#"
            {"answer":"users","users":[{"address":"alice@contoso.example","name":"Alice","state":"enabled","role":"person","devices":1,"waiting_messages":2}],"more":true}
            {"answer":"users","users":[],"more":false}"#]],
    );
}

#[test]
fn refusals_have_a_kind_and_a_message() {
    let exists = Refusal::Exists(alice().address);
    check(
        vec![Answer::Refused(exists)],
        "{\"version\":1,\"call\":\"user-add\",\"address\":\"alice@contoso.example\",\"name\":\"\",\"role\":\"person\",\
         \"password\":\"secretsecret\"}\n",
        expect![[r#"{"answer":"refused","kind":"exists","message":"alice@contoso.example exists already"}"#]],
    );
}

#[test]
fn bad_requests_are_refused_and_never_repeat_a_secret() {
    check(
        vec![],
        "{\"version\":1,\"call\":\"user-set-password\",\"address\":\"alice\",\"password\":\"hunter22\"}\n\
         {\"version\":1,\"call\":\"user-set-password\",\"password\":\"hunter22\"}\n\
         {\"version\":2,\"call\":\"user-befriend\"}\n\
         {\"version\":1,\"call\":\"user-set-password\",\"address\":\"a@b.example\",\"password\":\"hunter\\u000022\"}\n\
         no json\n\
         half a line",
        expect![[r#"
            {"answer":"refused","kind":"bad-request","message":"\"alice\" is no SIP address: an address is written user@domain"}
            {"answer":"refused","kind":"bad-request","message":"the request is not understood (column 62)"}
            {"answer":"refused","kind":"version","message":"the server speaks version 1 of the control protocol, not 2"}
            {"answer":"refused","kind":"bad-request","message":"the password holds a control character"}
            {"answer":"refused","kind":"bad-request","message":"the request is not understood (column 2)"}
            {"answer":"refused","kind":"bad-request","message":"the request is no line, or too long"}"#]],
    );
}

#[test]
fn a_node_that_is_gone_is_said() {
    check(
        vec![],
        "{\"version\":1,\"call\":\"status\"}\n",
        expect![[r#"{"answer":"refused","kind":"unavailable","message":"the server is stopping"}"#]],
    );
}

#[test]
fn requests_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let calls = conversation(&dir.path().join("s"), vec![], |socket| {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(&[b'x'].repeat(REQUEST_OCTETS_MAX)).unwrap();
        let mut answer = String::new();
        let mut stream = BufReader::new(stream);
        stream.read_line(&mut answer).unwrap();
        assert!(answer.contains("bad-request"), "{answer}");
        assert_eq!(stream.read_line(&mut answer).unwrap(), 0, "the connection is closed");
    });
    assert_eq!(calls, []);
}

#[test]
fn a_socket_in_a_deep_folder_is_reached_by_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d".repeat(100)).join("e".repeat(100)).join("control.sock");
    let calls = conversation(&socket, vec![Answer::Done, Answer::Done], |socket| {
        assert_eq!(files::mode(&socket).unwrap(), 0o600);
        let mut client = Client::connect(&socket).unwrap();
        for _ in 0..2 {
            let call = CallLine::UserRemove { address: "Alice@contoso.example".into() };
            assert_eq!(client.ask(call).unwrap(), AnswerLine::Done);
        }
        assert!(ControlServer::bind(&socket).err().unwrap().to_string().contains("another server answers"));
    });
    assert_eq!(calls, [Call::RemoveUser(alice().address), Call::RemoveUser(alice().address)]);
    assert!(!socket.exists(), "a stopped server leaves no socket");
}

#[test]
fn a_left_over_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let failure = Client::connect(&socket).err().unwrap();
    assert!(failure.to_string().contains("no server is running"), "{failure}");
    conversation(&socket, vec![Answer::Done], |socket| {
        let mut client = Client::connect(&socket).unwrap();
        client.ask(CallLine::Status).unwrap();
    });
}
