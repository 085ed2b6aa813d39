//! The server under test: `chancery demo`, or `chancery serve` with a [`crate::Configuration`], started for one test on a
//! folder of its own and ended with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Account, Device, Family, PATIENCE, Road};

/// The domain of every test.
const DOMAIN: &str = "example.test";

/// What a server is started with.
pub struct ServerBuilder {
    users: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

/// How a server says that it is ready.
#[derive(Clone, Copy)]
enum Readiness {
    /// `chancery demo --json`: a line on standard output that says where it listens.
    Line,
    /// `chancery serve --log-format json`: in its log.
    Log,
}

/// A running server. It is killed when it is dropped.
pub struct Server {
    child: Child,
    ready: Value,
    folder: PathBuf,
    /// Kept for its drop, which removes the folder.
    temporary: Option<TempDir>,
    readiness: Readiness,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: Arc<Mutex<String>>,
}

impl ServerBuilder {
    /// A user, whose password is the name followed by `-secret`.
    pub fn user(mut self, name: &str) -> ServerBuilder {
        self.users.push(format!("{name}:{name}-secret"));
        self
    }

    /// A further argument of `chancery demo`.
    pub fn argument(mut self, argument: impl Into<String>) -> ServerBuilder {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of the server's environment.
    pub fn environment(mut self, name: &str, value: &str) -> ServerBuilder {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A folder that outlives the server, instead of a temporary one.
    pub fn folder(mut self, folder: &Path) -> ServerBuilder {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Server {
        let temporary =
            self.folder.is_none().then(|| TempDir::with_prefix("chancery-").expect("a temporary folder"));
        let folder = match (&self.folder, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => unreachable!("one of the two is there"),
        };
        let mut arguments =
            vec!["demo".to_owned(), "--json".to_owned(), "--port-base".to_owned(), "0".to_owned()];
        arguments.extend(["--domain".to_owned(), DOMAIN.to_owned()]);
        arguments.extend(["--dir".to_owned(), folder.display().to_string()]);
        for user in self.users {
            arguments.extend(["--user".to_owned(), user]);
        }
        arguments.extend(self.arguments);
        let readiness = Readiness::Line;
        let (child, ready, log) = launch(readiness, &arguments, &self.environment);
        Server { child, ready, folder, temporary, readiness, arguments, environment: self.environment, log }
    }
}

impl Server {
    /// A server with alice, bob and carol.
    pub fn start() -> Server {
        Server::with_users().user("alice").user("bob").user("carol").start()
    }

    /// A server with the users that follow.
    pub fn with_users() -> ServerBuilder {
        ServerBuilder { users: Vec::new(), arguments: Vec::new(), environment: Vec::new(), folder: None }
    }

    /// Starts the server that `chancery.toml` of this folder configures.
    pub(crate) fn serve(temporary: TempDir, environment: Vec<(String, String)>) -> Server {
        let folder = temporary.path().to_owned();
        let file = folder.join("chancery.toml").display().to_string();
        let arguments = ["serve", "--log-format", "json", "--config", &file].map(str::to_owned).to_vec();
        let readiness = Readiness::Log;
        let (child, mut ready, log) = launch(readiness, &arguments, &environment);
        ready["ca"] = json!(folder.join("ca.pem"));
        let temporary = Some(temporary);
        Server { child, ready, folder, temporary, readiness, arguments, environment, log }
    }

    /// Where the server listens on this road.
    pub fn address(&self, road: Road) -> SocketAddr {
        let wanted = |ip: &IpAddr| ip.is_ipv4() == (road.family == Family::V4);
        self.listeners()
            .find(|(name, address)| name == road.transport.name() && wanted(&address.ip()))
            .unwrap_or_else(|| panic!("no listener for {road} in {}", self.ready))
            .1
    }

    /// Where the server speaks HTTP.
    pub fn http(&self) -> SocketAddr {
        let http = &self.ready["http"];
        match http.as_u64() {
            Some(port) => SocketAddr::from(([127, 0, 0, 1], port as u16)),
            None => http.as_str().and_then(|text| text.parse().ok()).expect("an address of HTTP"),
        }
    }

    /// Where the server speaks HTTPS.
    pub fn https(&self) -> SocketAddr {
        self.listeners().find(|(name, _)| name == "https").expect("a listener of HTTPS").1
    }

    /// Where the server speaks HTTPS for the sign-in and the address book.
    pub fn web(&self) -> SocketAddr {
        self.ready["web"].as_str().and_then(|text| text.parse().ok()).expect("an address of the web")
    }

    /// The PEM file of its CA.
    pub fn ca(&self) -> PathBuf {
        self.ready["ca"].as_str().expect("a file of the CA").into()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The account of a user that [`ServerBuilder::user`] or [`Server::add_user`] named, as `alice` or
    /// `alice@example.test`.
    pub fn account(&self, name: &str) -> Account {
        let (user, domain) = name.split_once('@').unwrap_or((name, DOMAIN));
        Account { user: user.to_owned(), password: format!("{user}-secret"), domain: domain.to_owned() }
    }

    /// Adds a user, `alice@example.test`, with `chancery user add`.
    pub fn add_user(&self, address: &str) {
        let output = self.user_command(&["add", address], Some(&self.account(address).password));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Connects a device of a user.
    pub fn device(&self, name: &str, road: Road) -> Device {
        Device::connect(self.account(name), road.transport, self.address(road), &self.ca())
    }

    /// Kills it where it stands, as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        self.child.wait().expect("our own child");
    }

    /// Starts it again on the same folder; its ports are new.
    pub fn restart(&mut self) {
        self.kill();
        let ca = self.ca();
        (self.child, self.ready, self.log) = launch(self.readiness, &self.arguments, &self.environment);
        self.ready["ca"] = json!(ca);
    }

    /// Runs `chancery user` on it with these words and, where given, a password on standard input.
    pub fn user_command(&self, words: &[&str], password: Option<&str>) -> Output {
        let mut command = Command::new(chancery());
        command.arg("user").args(words).arg("--dir").arg(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if password.is_some() {
            command.arg("--password-stdin");
        }
        let mut child = command.spawn().expect("chancery runs");
        let mut input = child.stdin.take().expect("a pipe");
        if let Some(password) = password {
            writeln!(input, "{password}").expect("chancery reads the password");
        }
        drop(input);
        child.wait_with_output().expect("chancery ends")
    }

    /// Sends it SIGHUP.
    pub fn hang_up_signal(&self) {
        let status = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Runs `chancery WORDS --dir FOLDER` on it: exit code, and all that it said.
    pub fn command(&self, words: &[&str]) -> (i32, String) {
        let output = Command::new(chancery()).args(words).arg("--dir").arg(&self.folder).output();
        let output = output.expect("chancery runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it was not killed"), String::from_utf8_lossy(&said).into_owned())
    }

    /// Changes its configuration file, as an editor would.
    pub fn edit_configuration(&self, edit: impl FnOnce(String) -> String) {
        let file = self.folder.join("chancery.toml");
        let text = std::fs::read_to_string(&file).expect("it is configured");
        std::fs::write(&file, edit(text)).expect("the file is ours");
    }

    /// What a page of its HTTP listener says.
    pub fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(self.http()).expect("HTTP is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("HTTP reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("HTTP answers");
        text
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("the thread that reads the log does not panic").clone()
    }

    /// Waits until the log holds this.
    pub fn expect_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "nothing of {text:?} in the log:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// Resident memory, in octets.
    pub fn resident_octets(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
    }

    fn listeners(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        let listeners = self.ready["listeners"].as_array().expect("listeners");
        listeners.iter().map(|listener| {
            let text = |key: &str| listener[key].as_str().unwrap_or_else(|| panic!("{key} in {listener}"));
            (text("transport").to_owned(), text("address").parse().expect("an address"))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
        drop(self.temporary.take());
    }
}

/// The program under test: `CHANCERY_BIN`, else what Cargo built beside the tests.
pub fn chancery() -> PathBuf {
    if let Some(named) = std::env::var_os("CHANCERY_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let built = test.ancestors().nth(2).expect("target/PROFILE/deps/test").join("chancery");
    assert!(built.is_file(), "{} is not there: run `cargo build -p chancery`", built.display());
    built
}

/// Starts the program and waits until it says where it listens.
fn launch(
    readiness: Readiness,
    arguments: &[String],
    environment: &[(String, String)],
) -> (Child, Value, Arc<Mutex<String>>) {
    let mut child = Command::new(chancery())
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chancery starts");
    let log = Arc::new(Mutex::new(String::new()));
    let errors = BufReader::new(child.stderr.take().expect("a pipe"));
    let (said, lines) = mpsc::channel();
    std::thread::spawn({
        let log = log.clone();
        move || {
            for line in errors.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                {
                    let mut log = log.lock().expect("no reader panics with the lock");
                    log.push_str(&line);
                    log.push('\n');
                }
                // Nobody waits for it once the server is ready.
                drop(said.send(line));
            }
        }
    });
    let (sender, ready) = mpsc::channel();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = output.read_line(&mut line);
        // Nobody waits for it once the patience is over.
        drop(sender.send(read.map(|_| line)));
        // Whatever it prints later must not fill the pipe.
        drop(std::io::copy(&mut output, &mut std::io::sink()));
    });
    let ready = match readiness {
        Readiness::Line => {
            let line = ready.recv_timeout(PATIENCE).ok().and_then(Result::ok).unwrap_or_default();
            serde_json::from_str(&line).ok()
        }
        Readiness::Log => ready_by_log(&lines),
    };
    let Some(ready) = ready else {
        drop(child.kill());
        drop(child.wait());
        let log = log.lock().expect("no reader panics with the lock");
        panic!("chancery did not get ready:\n{log}");
    };
    (child, ready, log)
}

/// What the log says of listeners until it says that the server is ready.
fn ready_by_log(lines: &mpsc::Receiver<String>) -> Option<Value> {
    let deadline = Instant::now() + PATIENCE;
    let mut ready = json!({ "listeners": [] });
    loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        let said: Value = serde_json::from_str(&line).ok()?;
        match said["event"].as_str() {
            Some("ready") => return Some(ready),
            Some("listening") if said["role"] == "sip" || said["role"] == "https" => {
                let listener = json!({ "transport": said["transport"], "address": said["address"] });
                ready["listeners"].as_array_mut()?.push(listener);
            }
            Some("listening") if said["role"] == "web" => ready["web"] = said["address"].clone(),
            Some("listening") => ready["http"] = said["address"].clone(),
            _ => {}
        }
    }
}
