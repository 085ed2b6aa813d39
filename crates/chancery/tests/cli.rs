//! The program as an administrator meets it: commands, their output and their exit codes, on real servers that listen
//! on ports of the kernel's choice.

#[path = "commands/ca.rs"]
mod ca;
#[path = "commands/explain.rs"]
mod explain;
#[path = "commands/federation.rs"]
mod federation;
#[path = "commands/people.rs"]
mod people;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::Value;

/// How long anything may take before a test gives up: far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn chancery(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// Runs to its end; gives exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(chancery(arguments).output().unwrap())
}

fn run_with_input(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = chancery(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finished(child.wait_with_output().unwrap())
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("it was not killed"), text(output.stdout), text(output.stderr))
}

/// Output with what differs between runs replaced.
fn check(output: &(i32, String, String), replaced: &[(&str, &str)], expected: Expect) {
    let (code, out, error) = output;
    let mut text = format!("{out}{error}exit {code}\n");
    for (from, to) in replaced {
        text = text.replace(from, to);
    }
    expected.assert_eq(&text);
}

/// A server in the background; it is killed with the test.
struct Running {
    child: Child,
    out: Receiver<String>,
    error: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let error = lines(child.stderr.take().unwrap());
        Running { child, out, error }
    }

    /// A demo and the JSON that it says when it is ready.
    fn demo(dir: &Path, more: &[&str]) -> (Running, Value) {
        let dir = dir.to_str().unwrap();
        let mut arguments = vec!["demo", "--json", "--port-base", "0", "--listen", "127.0.0.1", "--dir", dir];
        arguments.extend(more);
        let running = Running::start(chancery(&arguments));
        let line = running.out.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{}", running.errors()));
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["pid"], running.child.id());
        (running, ready)
    }

    /// The next line of the JSON log that is about `event`.
    fn event(&self, event: &str) -> Value {
        let mut seen = String::new();
        while let Ok(line) = self.error.recv_timeout(PATIENCE) {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            if value["event"] == event {
                return value;
            }
            seen = seen + &line + "\n";
        }
        panic!("no {event} in the log:\n{seen}");
    }

    fn errors(&self) -> String {
        self.error.iter().collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it in order.
    fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success(), "{}", self.errors());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// `init` in a new folder, with every port of the configuration replaced by one that is free.
fn initialised(dir: &Path) -> PathBuf {
    let text = dir.to_str().unwrap();
    let (code, _, error) =
        run(&["init", "--dir", text, "--domain", "contoso.example", "--host", "127.0.0.1"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let file = dir.join("chancery.toml");
    let mut config = std::fs::read_to_string(&file).unwrap();
    for port in ["5060", "5061", "5443", "8443"] {
        config = config.replace(&format!("\"0.0.0.0:{port}\""), &format!("\"127.0.0.1:{}\"", free_port()));
        config = config.replace(&format!("\"[::]:{port}\""), &format!("\"127.0.0.2:{}\"", free_port()));
    }
    let http = format!("addresses = [\"127.0.0.1:{}\"]", free_port());
    config = config.replace("# addresses = [\"127.0.0.1:5090\"]", &http);
    std::fs::write(&file, config).unwrap();
    file
}

/// Free for TCP and, because the kernel draws from thousands, for UDP.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(file: &Path) -> Running {
    let file = file.to_str().unwrap();
    let running = Running::start(chancery(&["serve", "--config", file, "--log-format", "json"]));
    running.event("ready");
    running
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_writes_what_serve_and_check_need() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let text = new.to_str().unwrap();
    let output = run(&["init", "--dir", text, "--domain", "Contoso.example", "--domain", "fabrikam.example"]);
    let password = output.1.split("password:      ").nth(1).unwrap().split('\n').next().unwrap().to_owned();
    assert_eq!(password.len(), 29);
    check(
        &output,
        &[(text, "DIR"), (&password, "PASSWORD")],
        expect![[r#"
        Wrote DIR/chancery.toml, a private CA, a certificate for sip.contoso.example and the data folder.

        administrator: admin@contoso.example
        password:      PASSWORD
                       (shown once, stored nowhere)

        Next:
          chancery check --config DIR/chancery.toml
          chancery serve --config DIR/chancery.toml
          Clients must trust DIR/ca.pem. Take DIR/ca to a safe place, the server does not need it.
        exit 0
    "#]],
    );

    for secret in ["ca/issuing.key", "ca/root/root.key", "server.key", "data/chancery.db", "data/secret.key"]
    {
        assert_eq!(mode(&new.join(secret)), 0o600, "{secret}");
    }
    for public in ["ca.pem", "server.pem", "chancery.toml"] {
        assert_eq!(mode(&new.join(public)), 0o644, "{public}");
    }
    assert_eq!(mode(&new.join("data")), 0o700);
}

#[test]
fn init_places_data_and_socket_where_the_unit_wants_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (etc, data, socket) = (path("etc"), path("lib"), path("run/control.sock"));
    let init =
        ["init", "--dir", &etc, "--domain", "a.example", "--data-dir", &data, "--control-socket", &socket];
    assert_eq!(run(&init).0, 0);
    let config = std::fs::read_to_string(dir.path().join("etc/chancery.toml")).unwrap();
    assert!(config.contains(&format!("\ndata_dir = \"{data}\"\n")), "{config}");
    assert!(config.contains(&format!("\ncontrol_socket = \"{socket}\"\n")), "{config}");
    assert!(dir.path().join("lib/chancery.db").exists() && !dir.path().join("etc/data").exists());
    let (code, _, error) = run(&["status", "--config", &path("etc/chancery.toml")]);
    assert!(code == 4 && error.contains(&socket), "{error}");
}

#[test]
fn init_overwrites_nothing_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let init = ["init", "--dir", text, "--domain", "contoso.example"];
    assert_eq!(run(&init).0, 0);
    let before = std::fs::read(dir.path().join("ca.pem")).unwrap();
    check(
        &run(&init),
        &[(text, "DIR")],
        expect![[r#"
        chancery: DIR/chancery.toml exists already, nothing was written
          help: choose another --dir, or replace configuration and certificates with --force
                (clients must then trust the new CA; accounts stay)
        exit 1
    "#]],
    );
    assert_eq!(std::fs::read(dir.path().join("ca.pem")).unwrap(), before);

    let forced = run(&[&init[..], &["--force"]].concat());
    assert_eq!(forced.0, 0, "{}", forced.2);
    assert!(forced.1.contains("unchanged: the account was there already"), "{}", forced.1);
    assert_ne!(std::fs::read(dir.path().join("ca.pem")).unwrap(), before);
    // What the CA before issued may still have to be revoked.
    let kept = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ca-"));
    let kept: Vec<PathBuf> = kept.collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(std::fs::read(kept[0].join("ca.pem")).unwrap(), before);
    assert!(kept[0].join("ca/root/root.key").exists());
}

#[test]
fn init_refuses_what_cannot_work() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("x");
    let text = text.to_str().unwrap();
    let init = |more: &[&str]| run(&[&["init", "--dir", text], more].concat());
    check(
        &init(&["--domain", "192.0.2.1"]),
        &[],
        expect![[r#"
        chancery: --domain "192.0.2.1" is no domain name
          help: write it as contoso.example
        exit 1
    "#]],
    );
    check(
        &init(&["--domain", "a.example", "--host", "a b"]),
        &[],
        expect![[r#"
        chancery: --host "a b" is neither a host name nor an address
          help: write it as sip.contoso.example
        exit 1
    "#]],
    );
    check(
        &init(&["--domain", "a.example", "--admin", "root@b.example"]),
        &[],
        expect![[r#"
        chancery: --admin root@b.example is in none of the domains a.example
          help: give --domain b.example too
        exit 1
    "#]],
    );
    assert_eq!(init(&[]).0, 2);
    assert!(!Path::new(text).exists(), "nothing was written");
}

#[test]
fn init_writes_a_directory_that_check_goes_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let etc = path("etc");
    let init = |more: &[&str]| {
        let begin = ["init", "--dir", &etc, "--domain", "contoso.example", "--directory", "active-directory"];
        let mut command = chancery(&[&begin[..], more].concat());
        // Files are found from the shell's folder, and the configuration names them for good.
        finished(command.current_dir(dir.path()).output().unwrap())
    };
    check(
        &init(&["--directory-server", "a b", "--directory-site", "Berlin", "--directory-base", "corp"]),
        &[],
        expect![[r#"
            chancery: nothing was written
            --directory-account: nobody is named who reads the directory
              help: account = "svc-chancery@corp.contoso.example", with password_file or keytab_file
            --directory-authority-file: nothing says whose certificates are believed
              help: authority_file = "directory-ca.pem": the CA that issued the servers' certificates
            --directory-password-file: the account has no password
              help: password_file = "directory.password", or keytab_file = "directory.keytab"
            --directory-server: "a b" is no server
              help: write a host, such as "dc1.corp.contoso.example", with its port behind a colon if need be
            --directory-base: "corp" is no distinguished name
              help: write it whole, such as "CN=Chancery,OU=Groups,DC=corp,DC=contoso,DC=example"
            exit 1
        "#]],
    );
    assert!(!Path::new(&etc).exists(), "nothing was written");
    let of_nothing = run(&["init", "--dir", &etc, "--domain", "a.example", "--directory-account", "svc"]);
    assert!(of_nothing.0 == 2 && of_nothing.2.contains("--directory <KIND>"), "{}", of_nothing.2);

    let authority = rcgen::generate_simple_self_signed(vec!["dc1.corp.contoso.example".into()]).unwrap();
    std::fs::write(path("corp-ca.pem"), authority.cert.pem()).unwrap();
    let whole = [
        "--directory-domain",
        "corp.contoso.example",
        "--directory-site",
        "Berlin",
        "--directory-account",
        "svc-chancery@corp.contoso.example",
        "--directory-password-file",
        "directory.password",
        "--directory-authority-file",
        "corp-ca.pem",
        "--directory-mail-as-sip",
    ];
    assert_eq!(init(&whole).0, 0);
    let file = path("etc/chancery.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let section = written.split("\n[directory]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let said: String = section
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    expect![[r#"
        kind = "active-directory"
        domain = "corp.contoso.example"
        site = "Berlin"
        authority_file = "DIR/corp-ca.pem"
        account = "svc-chancery@corp.contoso.example"
        password_file = "DIR/directory.password"
        mail_as_sip = "yes"
    "#]]
    .assert_eq(&said.replace(dir.path().to_str().unwrap(), "DIR"));
    assert!(section.contains("# poll_seconds = 2\n"), "what is not said is explained: {section}");

    // The password is not there yet; then others can read it; then all is as it should be, as far as is seen without the domain.
    let look = || run(&["check", "--offline", "--config", &file]);
    let (code, out, _) = look();
    assert!(code == 1 && out.contains("directory.password cannot be read"), "{out}");
    std::fs::write(path("directory.password"), "secret\n").unwrap();
    let (code, out, _) = look();
    assert!(code == 1 && out.contains("others can read or change it"), "{out}");
    std::fs::set_permissions(path("directory.password"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_, out, _) = look();
    assert!(
        !out.lines().any(|line| line.to_lowercase().starts_with("fail") && line.contains("directory")),
        "{out}"
    );
}

#[test]
fn check_proves_a_fresh_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    let (code, out, error) = run(&["check", "--offline", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.lines().all(|line| !line.starts_with("FAIL")), "{out}");
    for looked_at in
        ["configuration", "clock", "key", "certificate", "names", "chain", "data", "space", "ports"]
    {
        assert!(out.contains(&format!("  {looked_at} ")), "{looked_at}: {out}");
    }
}

#[test]
fn check_says_what_is_wrong_and_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    initialised(other.path());
    let config = std::fs::read_to_string(&file).unwrap();
    let config = config.replace("host = \"127.0.0.1\"", "host = \"sip.contoso.example\"");
    let config = config.replace("[\"contoso.example\"]", "[\"contoso.example\", \"fabrikam.example\"]");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _held = TcpListener::bind(taken).unwrap();
    let config = config.replace("addresses = [", &format!("addresses = [\"{taken}\", "));
    std::fs::write(&file, config).unwrap();
    std::fs::copy(other.path().join("server.key"), dir.path().join("server.key")).unwrap();
    std::fs::set_permissions(dir.path().join("server.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();

    let (code, out, error) = run(&["check", "--offline", "--json", "--config", file.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, error.as_str(), &report["result"]), (1, "chancery: 5 checks failed\n", &"fail".into()));
    let bad = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] != "ok");
    let bad: Vec<String> = bad
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap().to_owned();
            format!("{} {}: {}\n  {}\n", text("result"), text("subject"), text("message"), text("mend"))
        })
        .collect();
    let bad = bad.concat().replace(dir.path().to_str().unwrap(), "DIR");
    let bad = bad.replace(&taken.to_string(), "HTTP").replace(&taken.port().to_string(), "PORT");
    expect![[r#"
        fail key: DIR/server.key is not the certificate's key
          name the key that the certificate was made with in [tls] key_file
        fail key: DIR/server.key has mode 0644: others can read or change it
          chmod 0600 DIR/server.key; if it was exposed, make a new one
        fail names: DIR/server.pem does not name the host sip.contoso.example
          have sip.contoso.example added to the certificate's subject alternative names
        warn names: DIR/server.pem does not prove the SIP domain fabrikam.example
          have fabrikam.example added to the certificate's subject alternative names
        fail data: the folder DIR/data does not exist
          create it: install -d -m 0700 -o chancery -g chancery DIR/data
        fail ports: http HTTP: Address already in use (os error 98)
          another program has the port: `ss -lntup 'sport = :PORT'` shows it; stop it, or change the port
    "#]]
    .assert_eq(&bad);
}

#[test]
fn a_wrong_configuration_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    let text = file.to_str().unwrap();
    let config = std::fs::read_to_string(&file).unwrap().replace("\n[log]\n", "\n[log]\nlevl = \"info\"\n");
    let line = 1 + config.lines().position(|line| line.starts_with("levl")).unwrap();
    std::fs::write(&file, config).unwrap();
    let at = format!("{text}:{line}");
    check(
        &run(&["serve", "--config", text]),
        &[(&at, "FILE:LINE")],
        expect![[r#"
        chancery: FILE:LINE: log.levl: there is no such key
          help: did you mean `level`?
        exit 3
    "#]],
    );
    check(
        &run(&["check", "--config", text]),
        &[(&at, "FILE:LINE")],
        expect![[r#"
        FAIL  configuration FILE:LINE: log.levl: there is no such key
                            mend: did you mean `level`?
        chancery: the configuration is wrong, the rest was not looked at
        exit 3
    "#]],
    );
    check(
        &run(&["serve", "--config", "/nowhere/chancery.toml"]),
        &[],
        expect![[r#"
        chancery: the configuration /nowhere/chancery.toml cannot be read: No such file or directory (os error 2)
          help: `chancery init` writes one; `--config FILE` names another
        exit 3
    "#]],
    );
}

#[test]
fn without_a_server_user_and_status_say_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    check(
        &run(&["status", "--dir", text]),
        &[(text, "DIR")],
        expect![[r#"
        chancery: no server is running at DIR/data/control.sock: No such file or directory (os error 2)
          help: start it with `chancery serve --config FILE` or `chancery demo`;
                `--config FILE`, `--dir DIR` or `--socket PATH` names another one
        exit 4
    "#]],
    );
    assert_eq!(run(&["user", "list", "--dir", text]).0, 4);
}

#[test]
fn a_demo_says_where_it_listens_and_answers_there() {
    let dir = tempfile::tempdir().unwrap();
    let (running, ready) = Running::demo(dir.path(), &[]);
    assert_eq!(ready["domain"], "contoso.example");
    assert_eq!(ready["udp"], ready["tcp"]);
    assert_eq!(ready["users"][0]["address"], "alice@contoso.example");
    assert!(Path::new(ready["ca"].as_str().unwrap()).exists());
    let listeners = ready["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 7);
    for listener in listeners {
        assert_eq!(ready[listener["transport"].as_str().unwrap()], listener["port"], "{listener}");
    }

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (own, port) = (client.local_addr().unwrap(), ready["udp"].as_u64().unwrap());
    let register = format!(
        "REGISTER sip:contoso.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@contoso.example>;tag=1\r\nTo: <sip:alice@contoso.example>\r\nCall-ID: 1@cli\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:alice@{own}>\r\nContent-Length: 0\r\n\r\n"
    );
    client.send_to(register.as_bytes(), format!("127.0.0.1:{port}")).unwrap();
    let mut answer = [0; 4096];
    let length = client.recv(&mut answer).unwrap();
    let answer = std::str::from_utf8(&answer[..length]).unwrap();
    assert!(answer.starts_with("SIP/2.0 401 ") && answer.contains("realm=\"contoso.example\""), "{answer}");

    let http = format!("127.0.0.1:{}", ready["http"]);
    let mut monitor = std::net::TcpStream::connect(&http).unwrap();
    write!(monitor, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    monitor.read_to_string(&mut metrics).unwrap();
    for name in [
        "chancery_net_messages_total{transport=\"udp\",direction=\"in\"} 1",
        "chancery_storage_healthy 1",
        "chancery_certificate_end_timestamp_seconds 1",
        "chancery_https_connections 0",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    running.stop();
    assert!(!dir.path().join("data/control.sock").exists());
}

#[test]
fn a_probe_does_what_a_client_does() {
    let dir = tempfile::tempdir().unwrap();
    let users = ["--user", "alice:a-secret-of-alice", "--user", "bob:a-secret-of-bob"];
    let (running, ready) = Running::demo(dir.path(), &users);
    let port = |transport: &str| {
        let listeners = ready["listeners"].as_array().unwrap();
        let sip = listeners.iter().find(|l| l["role"] == "sip" && l["transport"] == transport).unwrap();
        sip["port"].as_u64().unwrap()
    };
    let (tls, tcp) = (format!("tls:127.0.0.1:{}", port("tls")), format!("tcp:127.0.0.1:{}", port("tcp")));
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (alice, bob) = (file("alice", "a-secret-of-alice\n"), file("bob", "a-secret-of-bob\n"));
    let wrong = file("wrong", "a-secret-of-nobody\n");
    let ca = ready["ca"].as_str().unwrap().to_owned();
    let as_alice = ["--server", &tls, "--ca", &ca, "--as", "alice@contoso.example"];
    let probe = |command: &str, more: &[&str]| run(&[&["probe", command], &as_alice[..], more].concat());

    assert_eq!(probe("register", &["--password-file", &alice]), (0, String::new(), String::new()));
    check(
        &probe("register", &["--password-file", &wrong]),
        &[],
        expect![[r#"
        chancery: signing in was refused: 401 Unauthorized
        exit 1
    "#]],
    );
    let listener = chancery(&[
        "probe",
        "listen",
        "--server",
        &tcp,
        "--as",
        "bob@contoso.example",
        "--password-file",
        &bob,
        "--count",
        "1",
        "--json",
    ]);
    let listener = Running::start(listener);
    let password = ["--password-file", &alice];
    let sent = probe("message", &[&password[..], &["--to", "bob@contoso.example", "hello bob"]].concat());
    assert_eq!(sent, (0, String::new(), String::new()));
    let heard: Value = serde_json::from_str(&listener.out.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(heard, serde_json::json!({ "from": "alice@contoso.example", "text": "hello bob" }));

    let claim = ["--to", "bob@contoso.example", "--claim", "carol@contoso.example", "hello bob"];
    check(
        &probe("message", &[&password[..], &claim].concat()),
        &[],
        expect![[r#"
        chancery: the message was refused: 403 Forbidden
        exit 1
    "#]],
    );
    check(
        &probe("message", &[&password[..], &["--to", "nobody@contoso.example", "hello"]].concat()),
        &[],
        expect![[r#"
            chancery: the message was refused: 404 Not Found
            exit 1
        "#]],
    );
    running.stop();
}

/// Erin's are all taken back; alice has none.
fn certificates_are_given_and_taken(user: impl Fn(&[&str]) -> (i32, String, String)) {
    let folder = tempfile::tempdir().unwrap();
    initialised(folder.path());
    let file = folder.path().join("server.pem");
    let (file, folder) = (file.to_str().unwrap(), folder.path().to_str().unwrap());
    let certificate =
        pki::CertificateFacts::read(&pki::certificates_in_pem(&std::fs::read(file).unwrap()).unwrap()[0]);
    let digest: String = certificate.unwrap().sha256.iter().map(|octet| format!("{octet:02x}")).collect();
    let (erin, alice) = ("erin@contoso.example", "alice@contoso.example");

    let (code, out, error) = user(&["add-certificate", erin, file]);
    assert_eq!((code, error.as_str()), (0, ""));
    let until = out.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(out, format!("{erin} signs in with {digest} until {until}\n"));
    assert!(until.ends_with('Z') && until.starts_with("20"), "{until}");
    check(
        &user(&["add-certificate", alice, file]),
        &[(&digest, "DIGEST")],
        expect![[r#"
        chancery: the certificate DIGEST is one of erin@contoso.example already
          help: `chancery user show` tells somebody's certificates
        exit 1
    "#]],
    );
    let (_, shown, _) = user(&["show", erin]);
    let told = format!("signs in:  {digest}\n           until {until}\n");
    assert!(shown.contains(&told), "{shown}");
    let (_, shown, _) = user(&["show", erin, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["certificates"][0]["sha256"], digest.as_str());
    assert!(shown["certificates"][0]["expires_unix_ms"].is_u64(), "{shown}");

    let no_file = format!("{folder}/nothing.pem");
    check(
        &user(&["add-certificate", alice, &no_file]),
        &[(folder, "DIR")],
        expect![[r#"
        chancery: DIR/nothing.pem cannot be read: No such file or directory (os error 2)
        exit 1
    "#]],
    );
    let key = format!("{folder}/server.key");
    check(
        &user(&["add-certificate", alice, &key]),
        &[(folder, "DIR")],
        expect![[r#"
        chancery: DIR/server.key holds no certificate that can be read: the PEM file cannot be read: it holds no certificate
        exit 1
    "#]],
    );
    check(
        &user(&["remove-certificate", alice, &digest]),
        &[(&digest, "DIGEST")],
        expect![[r#"
        chancery: alice@contoso.example has no certificate DIGEST
          help: `chancery user show` tells somebody's certificates
        exit 1
    "#]],
    );
    check(
        &user(&["remove-certificate", erin, file]),
        &[(&digest, "DIGEST")],
        expect![[r#"
        erin@contoso.example signs in with DIGEST no more
        exit 0
    "#]],
    );
    assert_eq!(user(&["add-certificate", erin, file]).0, 0);
    let done = user(&["remove-certificate", erin, &digest, "--json"]);
    check(
        &done,
        &[],
        expect![[r#"
        {
          "result": "done"
        }
        exit 0
    "#]],
    );
}

#[test]
fn a_demo_listens_on_every_address_of_both_families() {
    let dir = tempfile::tempdir().unwrap();
    let (running, ready) = Running::demo(dir.path(), &["--listen", "::"]);
    let listeners = ready["listeners"].as_array().unwrap();
    let families: Vec<bool> =
        listeners.iter().map(|l| l["address"].as_str().unwrap().starts_with("[::]")).collect();
    assert_eq!(families.iter().filter(|v6| **v6).count(), 7);
    assert_eq!(families.len(), 14);
    running.stop();
}

#[test]
fn accounts_are_managed_over_the_socket_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let user = |arguments: &[&str]| run(&[&["user"], arguments, &["--dir", text]].concat());
    let (running, _) = Running::demo(dir.path(), &["--user", "alice:a-secret-of-alice"]);

    let added =
        user(&["add", "Erin@contoso.example", "--name", "Erin", "--role", "administrator", "--generate"]);
    assert_eq!(added.0, 0, "{}", added.2);
    let generated = added.1.split("password: ").nth(1).unwrap().split('\n').next().unwrap();
    check(
        &added,
        &[(generated, "PASSWORD")],
        expect![[r#"
        erin@contoso.example is added
        password: PASSWORD
        (shown once, stored nowhere)
        exit 0
    "#]],
    );
    let add_again = ["user", "add", "erin@contoso.example", "--password-stdin", "--dir", text];
    check(
        &run_with_input(&add_again, "another-secret\n"),
        &[],
        expect![[r#"
        chancery: erin@contoso.example exists already
          help: `chancery user set-password` changes its password
        exit 1
    "#]],
    );
    let set_password = ["user", "set-password", "erin@contoso.example", "--password-stdin", "--dir", text];
    check(
        &run_with_input(&set_password, "short\n"),
        &[],
        expect![[r#"
        chancery: a password needs at least 8 characters
          help: --generate makes a good one up
        exit 1
    "#]],
    );
    check(
        &run_with_input(&set_password, "long enough\n"),
        &[],
        expect![[r#"
        erin@contoso.example is given a new password
        exit 0
    "#]],
    );
    check(
        &run_with_input(&set_password, ""),
        &[],
        expect![[r#"
        chancery: standard input holds no password in its first line
        exit 1
    "#]],
    );
    check(
        &user(&["add", "erin@fabrikam.example", "--generate"]),
        &[],
        expect![[r#"
        chancery: fabrikam.example is not a SIP domain of this server (its domains: contoso.example)
          help: give an address of these, or add the domain to `domains` in the configuration and restart
        exit 1
    "#]],
    );
    certificates_are_given_and_taken(user);
    check(
        &user(&["disable", "erin@contoso.example"]),
        &[],
        expect![[r#"
        erin@contoso.example is disabled
        exit 0
    "#]],
    );
    check(
        &user(&["show", "erin@contoso.example"]),
        &[],
        expect![[r#"
            address:   erin@contoso.example
            name:      Erin
            state:     disabled
            role:      administrator
            waiting:   0 messages
            devices:   0
            source:    local
            may:       federation on, remote access on, calls on
            presence:  offline (18500)
            why:       no device is there
            watchers:  0
            exit 0
        "#]],
    );
    let forward = |arguments: &[&str]| run(&[&["forward"], arguments, &["--dir", text]].concat());
    check(
        &forward(&["set", "erin@contoso.example", "--no-answer", "alice@contoso.example", "--after", "15"]),
        &[],
        expect![[r#"
            calls to erin@contoso.example go as asked
            exit 0
        "#]],
    );
    check(
        &forward(&["show", "erin@contoso.example"]),
        &[],
        expect![[r#"
            no answer:      alice@contoso.example (after 15 s)
            exit 0
        "#]],
    );
    check(
        &forward(&["set", "erin@contoso.example", "--always", "erin@contoso.example"]),
        &[],
        expect![[r#"
            chancery: calls cannot be sent on to the one who was called
              help: `chancery forward set --help` says what can be chosen
            exit 1
        "#]],
    );
    check(
        &forward(&["clear", "erin@contoso.example"]),
        &[],
        expect![[r#"
            calls to erin@contoso.example are forwarded no more
            exit 0
        "#]],
    );
    check(
        &forward(&["show", "erin@contoso.example"]),
        &[],
        expect![[r#"
            calls go to the user's devices
            exit 0
        "#]],
    );
    check(
        &run(&["calls", "erin@contoso.example", "--missed", "--json", "--dir", text]),
        &[],
        expect![[r#"
            {
              "calls": [],
              "more": false
            }
            exit 0
        "#]],
    );
    check(
        &user(&["show", "nobody@contoso.example"]),
        &[],
        expect![[r#"
        chancery: there is no user nobody@contoso.example
          help: `chancery user list` shows all accounts
        exit 1
    "#]],
    );
    check(
        &user(&["show", "erin"]),
        &[],
        expect![[r#"
        chancery: "erin" is no SIP address: an address is written user@domain
          help: write it as alice@contoso.example
        exit 1
    "#]],
    );
    check(
        &user(&["list"]),
        &[],
        expect![[r#"
            ADDRESS                NAME   STATE        ROLE           DEVICES  WAITING
            alice@contoso.example  Alice  enabled      person               0        0
            erin@contoso.example   Erin   disabled     administrator        0        0
            2 accounts
            exit 0
        "#]],
    );
    check(
        &user(&["remove", "alice@contoso.example"]),
        &[],
        expect![[r#"
        chancery: removing alice@contoso.example also removes its waiting messages
          help: add --yes to do it
        exit 1
    "#]],
    );
    running.stop();

    let (running, ready) = Running::demo(dir.path(), &["--user", "bob:a-secret-of-bob"]);
    assert_eq!(ready["users_total"], 3);
    check(
        &user(&["enable", "erin@contoso.example"]),
        &[],
        expect![[r#"
        erin@contoso.example is enabled
        exit 0
    "#]],
    );
    check(
        &user(&["remove", "alice@contoso.example", "--yes"]),
        &[],
        expect![[r#"
        alice@contoso.example is removed
        exit 0
    "#]],
    );
    check(
        &user(&["list", "--containing", "o", "--after", "b@contoso.example", "--json"]),
        &[],
        expect![[r#"
        {
          "users": [
            {
              "address": "bob@contoso.example",
              "devices": 0,
              "name": "Bob",
              "role": "person",
              "state": "enabled",
              "waiting_messages": 0
            },
            {
              "address": "erin@contoso.example",
              "devices": 0,
              "name": "Erin",
              "role": "administrator",
              "state": "enabled",
              "waiting_messages": 0
            }
          ]
        }
        exit 0
    "#]],
    );
    running.stop();
}

#[test]
fn a_long_list_is_paged() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let users = dir.path().join("users");
    std::fs::write(&users, (0..2500).map(|n| format!("u{n}:pw{n}\n")).collect::<String>()).unwrap();
    let (running, ready) = Running::demo(&dir.path().join("d"), &["--users-file", users.to_str().unwrap()]);
    assert_eq!((&ready["users_total"], &ready["users"]), (&2500.into(), &Value::Array(Vec::new())));
    let dir = format!("{text}/d");
    let list = |more: &[&str]| {
        let (_, out, _) = run(&[&["user", "list", "--json", "--dir", &dir], more].concat());
        let list: Value = serde_json::from_str(&out).unwrap();
        let users = list["users"].as_array().unwrap();
        users.iter().map(|user| user["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = list(&[]);
    assert_eq!(all.len(), 2500);
    assert!(all.is_sorted_by(|a, b| a < b));
    assert_eq!(list(&["--limit", "1200"]), all[..1200]);
    running.stop();
}

#[test]
fn a_demo_says_what_is_wrong_with_its_users() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let demo = |more: &[&str]| run(&[&["demo", "--port-base", "0", "--dir", text], more].concat());
    check(
        &demo(&["--user", "alice"]),
        &[],
        expect![[r#"
        chancery: --user: there is no colon
          help: write NAME:PASSWORD
        exit 1
    "#]],
    );
    check(
        &demo(&["--user", "alice:short"]),
        &[],
        expect![[r#"
        chancery: --user alice: a password has at least 8 characters
        exit 1
    "#]],
    );
    check(
        &demo(&["--user", "alice@contoso.example:long-enough"]),
        &[],
        expect![[r#"
        chancery: --user: "alice@contoso.example" cannot be a user of contoso.example: the part before @ holds a character that an address may not have
          help: give the part before @ only
        exit 1
    "#]],
    );
    check(
        &demo(&["--user", "alice:long-enough", "--user", "Alice:long-enough"]),
        &[],
        expect![[r#"
        chancery: alice@contoso.example is given twice
        exit 1
    "#]],
    );
    std::fs::write(dir.path().join("users"), "alice:1\n\nbob\n").unwrap();
    let users = format!("{text}/users");
    check(
        &demo(&["--users-file", &users]),
        &[(text, "DIR")],
        expect![[r#"
        chancery: DIR/users:3: there is no colon
          help: write NAME:PASSWORD
        exit 1
    "#]],
    );
    check(
        &demo(&["--domain", "no domain"]),
        &[],
        expect![[r#"
        chancery: --domain "no domain": the part behind @ is not a domain name
          help: write it as contoso.example
        exit 1
    "#]],
    );
}

#[test]
fn one_folder_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let (running, _) = Running::demo(dir.path(), &[]);
    check(
        &run(&["demo", "--port-base", "0", "--dir", text]),
        &[(text, "DIR")],
        expect![[r#"
        chancery: the database DIR/data/chancery.db cannot be used: the database is in use by another process
          help: a server is running on it: stop it, or ask it with `chancery user`
        exit 1
    "#]],
    );
    running.stop();
}

#[test]
fn a_taken_port_is_named_with_a_mend() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let ports = format!("tls={port}");
    let demo = ["demo", "--dir", text, "--listen", "127.0.0.1", "--port-base", "0", "--ports", &ports];
    check(
        &run(&demo),
        &[(&port, "PORT")],
        expect![[r#"
        chancery: cannot listen on tls 127.0.0.1:PORT: Address already in use (os error 98)
          help: another program has the port: `ss -lntup 'sport = :PORT'` shows it; stop it, or change the port
        exit 1
    "#]],
    );
}

#[test]
fn a_server_reloads_takes_over_certificates_and_is_seen_by_check() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    initialised(other.path());
    let running = serve(&file);
    let text = file.to_str().unwrap();

    let (code, out, error) = run(&["check", "--offline", "--config", text]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("is held by the running server"), "{out}");
    let (code, out, error) = run(&["status", "--config", text]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("users:         1"), "{out}");

    // A key without its certificate is refused; the pair is taken over as soon as it is whole.
    std::fs::rename(other.path().join("server.key"), dir.path().join("server.key")).unwrap();
    running.event("certificate-refused");
    std::fs::rename(other.path().join("server.pem"), dir.path().join("server.pem")).unwrap();
    running.event("certificate-reloaded");

    let config = std::fs::read_to_string(&file).unwrap();
    let changed = config
        .replace("# retention_days = 7", "retention_days = 3")
        .replace("# format = \"text\"", "format = \"json\"");
    std::fs::write(&file, &changed).unwrap();
    running.signal("-HUP");
    assert_eq!(running.event("restart-needed")["sections"], "[log] format");
    assert_eq!(running.event("reloaded")["sections"], "[messaging]");

    std::fs::write(&file, config.replace("domains = ", "domain = ")).unwrap();
    running.signal("-HUP");
    let refused = running.event("reload-refused");
    assert!(refused["message"].as_str().unwrap().contains("did you mean `domains`?"), "{refused}");
    running.stop();
}

#[test]
fn a_reload_is_asked_for_tried_first_and_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    initialised(other.path());
    let running = serve(&file);
    let text = file.to_str().unwrap();
    let replaced = [(text, "FILE"), (dir.path().to_str().unwrap(), "DIR")];
    let config = std::fs::read_to_string(&file).unwrap();
    let reload = |more: &[&str]| run(&[&["reload", "--config", text], more].concat());
    check(
        &reload(&[]),
        &replaced,
        expect![[r#"
            FILE: nothing that can change at run time has changed
            exit 0
        "#]],
    );

    let changed = config
        .replace("# level = \"info\"", "level = \"debug\"")
        .replace("# connections_per_source_max = 16384", "connections_per_source_max = 100")
        .replace("# retention_days = 7", "retention_days = 3")
        .replace("# aliases = []", "aliases = [\"sip2.contoso.example\"]");
    std::fs::write(&file, &changed).unwrap();
    let expected = r#"
        FILE WOULD [messaging], [limits], [log] level
        needs a restart: [server]
        exit 0
    "#;
    let expected = |word: &str| {
        expected.replace("WOULD", word).replace("\n        ", "\n")[1..].trim_end().to_owned() + "\n"
    };
    let said = |(code, out, error): (i32, String, String)| {
        format!("{out}{error}exit {code}\n").replace(text, "FILE")
    };
    assert_eq!(said(reload(&["--dry-run"])), expected("would apply:"));
    // A dry run changed nothing.
    assert_eq!(said(reload(&[])), expected("is applied:"));
    let again: Value = serde_json::from_str(&reload(&["--json"]).1).unwrap();
    assert_eq!(again["applied"].as_array().unwrap().len(), 0, "{again}");
    assert_eq!(again["restart_needed"], serde_json::json!(["[server]"]));

    // A limit is right, but what stands beside it is wrong: neither is taken.
    std::fs::rename(dir.path().join("server.key"), dir.path().join("aside.key")).unwrap();
    std::fs::copy(other.path().join("server.key"), dir.path().join("server.key")).unwrap();
    std::fs::write(&file, changed.replace("retention_days = 3", "retention_days = 5")).unwrap();
    let (code, out, error) = reload(&[]);
    assert_eq!((code, out.as_str()), (3, ""), "{error}");
    assert!(error.contains("nothing was changed") && error.contains("server.key"), "{error}");
    std::fs::rename(dir.path().join("aside.key"), dir.path().join("server.key")).unwrap();
    assert!(reload(&["--dry-run"]).1.contains("would apply: [messaging]\n"));

    std::fs::write(&file, changed.replace("domains = ", "domain = ")).unwrap();
    let socket = dir.path().join("data/control.sock");
    let (code, _, error) = run(&["reload", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code, 3);
    assert!(error.contains("nothing was changed") && error.contains("did you mean `domains`?"), "{error}");
    running.stop();

    let (demo, _) = Running::demo(&dir.path().join("demo"), &[]);
    let (code, _, error) = run(&["reload", "--dir", dir.path().join("demo").to_str().unwrap()]);
    assert_eq!(code, 3);
    assert!(error.contains("a demo has no configuration"), "{error}");
    demo.stop();
}

/// A service manager's socket without a path (sd_notify(3)).
#[test]
fn a_manager_with_an_abstract_socket_is_told() {
    use std::os::linux::net::SocketAddrExt;
    let dir = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    let name = format!("chancery-cli-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = chancery(&["serve", "--config", file.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let running = Running::start(command);
    let mut state = [0; 256];
    let length = manager.recv(&mut state).unwrap();
    assert_eq!(std::str::from_utf8(&state[..length]).unwrap(), "READY=1\n");
    running.stop();
}

#[test]
fn systemd_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = initialised(dir.path());
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = chancery(&["serve", "--config", file.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let running = Running::start(command);
    let told = |wanted: &str| {
        let mut state = [0; 256];
        loop {
            let length = manager.recv(&mut state).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if std::str::from_utf8(&state[..length]).unwrap().lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    told("READY=1");
    told("WATCHDOG=1");
    running.signal("-HUP");
    told("RELOADING=1");
    told("READY=1");
    running.signal("-TERM");
    told("STOPPING=1");
    running.stop();
}

#[test]
fn a_password_is_never_an_argument() {
    for command in ["add", "set-password"] {
        let (code, _, error) = run(&["user", command, "alice@contoso.example", "--password", "secret"]);
        assert_eq!(code, 2);
        assert!(error.contains("--password"), "{error}");
    }
}
