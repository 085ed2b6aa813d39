//! Three organisations that federate, as `chancery demo-federation` makes them: each server a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Account, Device, Link, Own, PATIENCE, Transport, chancery};

/// Nine servers begin at once.
const START_PATIENCE: Duration = PATIENCE.saturating_mul(3);

/// Everybody. Dropping it ends all servers.
pub struct Community {
    child: Child,
    ready: Value,
    /// Taken by whoever stops it and keeps the folder.
    folder: Option<TempDir>,
    network: String,
    /// Kept for its drop, which lets others have the network.
    _network: TcpListener,
}

/// An organisation, or the hub.
pub struct Member<'a> {
    community: &'a Community,
    facts: &'a Value,
}

impl Community {
    /// Starts them all on addresses of this test alone, and waits until they answer.
    pub fn start() -> Community {
        let (mut community, lines) = Community::launch(&["--json"]);
        let line = lines.recv_timeout(START_PATIENCE).expect("all servers answer in time");
        community.ready = serde_json::from_str(&line).expect("the line is JSON");
        community
    }

    /// Starts them as somebody does who tries them out; gives the page that is printed then.
    pub fn start_for_people() -> (Community, String) {
        /// How the page ends.
        const LAST: &str = "Ctrl-C ends all servers";
        let (community, lines) = Community::launch(&[]);
        let mut page = String::new();
        while !page.lines().last().is_some_and(|line| line.starts_with(LAST)) {
            let line = lines.recv_timeout(START_PATIENCE);
            page += &line.unwrap_or_else(|_| panic!("the page does not end:\n{page}"));
            page.push('\n');
        }
        (community, page)
    }

    /// What it prints comes line by line.
    fn launch(more: &[&str]) -> (Community, Receiver<String>) {
        let folder = TempDir::with_prefix("chancery-").expect("a temporary folder");
        let (network, reservation) = free_network();
        let mut child = Command::new(chancery())
            .args(["demo-federation", "--network", &network, "--dir"])
            .arg(folder.path())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chancery runs");
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let (ready, folder) = (Value::Null, Some(folder));
        (Community { child, ready, folder, network, _network: reservation }, lines)
    }

    /// The organisation of this name: the first label of its domain.
    pub fn member(&self, name: &str) -> Member<'_> {
        let all = self.ready["organisations"].as_array().expect("a list");
        let facts = all.iter().find(|o| o["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        Member { community: self, facts }
    }

    /// Ends all servers, and gives the folder that they may be started from again, by others, with the first octets of
    /// their addresses.
    pub fn stop(mut self) -> (TempDir, String) {
        (self.folder.take().expect("it is stopped once"), self.network.clone())
    }

    fn port(&self, name: &str) -> u16 {
        self.ready["ports"][name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
    }
}

/// Two octets of addresses that no other community has for as long as the socket is open.
fn free_network() -> (String, TcpListener) {
    /// Nobody listens here: holding it says that the network is in use.
    const RESERVATION_PORT: u16 = 5999;
    (64..=253)
        .find_map(|octet| {
            let address = (Ipv4Addr::new(127, octet, 255, 254), RESERVATION_PORT);
            Some((format!("127.{octet}"), TcpListener::bind(address).ok()?))
        })
        .expect("fewer communities than networks run at one time")
}

impl Drop for Community {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for organisation in self.ready["organisations"].as_array().into_iter().flatten() {
                for server in organisation["servers"].as_array().into_iter().flatten() {
                    let text = server["log"].as_str().and_then(|log| std::fs::read_to_string(log).ok());
                    eprintln!(
                        "--- {} {}\n{}",
                        organisation["name"],
                        server["name"],
                        text.unwrap_or_default()
                    );
                }
            }
        }
        // In order, so that the servers are gone before their folders are. Whatever fails here, there is nothing left to do.
        let pid = self.child.id().to_string();
        if !Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success()) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

impl Member<'_> {
    /// Its SIP domain.
    pub fn domain(&self) -> &str {
        self.facts["domain"].as_str().expect("a domain")
    }

    /// The CA that its certificates lead to.
    pub fn ca(&self) -> PathBuf {
        PathBuf::from(self.facts["ca"].as_str().expect("a file"))
    }

    /// Everything about a server: `front-end`, `director`, `access-edge`, `clearinghouse`.
    pub fn server(&self, name: &str) -> &Value {
        let servers = self.facts["servers"].as_array().expect("a list");
        servers.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// A server's folder.
    pub fn dir(&self, name: &str) -> PathBuf {
        PathBuf::from(self.server(name)["dir"].as_str().expect("a folder"))
    }

    /// A server's log so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.server(name)["log"].as_str().expect("a file")).expect("the log is there")
    }

    /// What it counts.
    pub fn metrics(&self, server: &str) -> String {
        let mut stream = TcpStream::connect(self.address(server, "address", "http")).expect("it tells");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("HTTP reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("HTTP answers");
        text
    }

    /// What `chancery check` finds wrong with a server, without asking DNS.
    pub fn faults(&self, server: &str) -> String {
        let config = self.dir(server).join("chancery.toml");
        let checked = Command::new(chancery()).args(["check", "--offline", "--config"]).arg(config).output();
        let found = String::from_utf8(checked.expect("chancery runs").stdout).expect("it writes UTF-8");
        assert!(found.lines().count() > 5, "it looks at many things: {found}");
        found.lines().filter(|line| !line.starts_with("ok ")).collect::<Vec<_>>().join("\n")
    }

    /// What `chancery explain` says at a server, and with which code it ends.
    pub fn explained(&self, server: &str, from: &str, to: &str) -> (Option<i32>, String) {
        let config = self.dir(server).join("chancery.toml");
        let explain = Command::new(chancery()).args(["explain", from, to, "--config"]).arg(config).output();
        let explain = explain.expect("chancery runs");
        (explain.status.code(), String::from_utf8(explain.stdout).expect("it writes UTF-8"))
    }

    /// Runs a command of an operator's at a server, which must succeed.
    pub fn command(&self, server: &str, words: &[&str]) {
        let config = self.dir(server).join("chancery.toml");
        let done = Command::new(chancery()).args(words).arg("--config").arg(config).output();
        let done = done.expect("chancery runs");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Has a server read its configuration again, and what it names. Whether all of that is right shows in its log.
    pub fn reload(&self, server: &str) {
        let config = self.dir(server).join("chancery.toml");
        let asked = Command::new(chancery()).args(["reload", "--config"]).arg(config).output();
        asked.expect("chancery runs");
    }

    /// Changes what it writes in a border's policy, as an editor does that replaces files: nobody reads half of one.
    pub fn edit_policy(&self, border: &str, edit: impl FnOnce(&str) -> String) {
        let (file, new) = (self.dir(border).join("federation.toml"), self.dir(border).join("federation.new"));
        let text = std::fs::read_to_string(&file).expect("the policy is there");
        std::fs::write(&new, edit(&text)).expect("the folder is ours");
        std::fs::rename(new, file).expect("the folder is ours");
    }

    /// Runs `chancery user` at its home with these words.
    pub fn user_command(&self, words: &[&str]) -> Output {
        let config = self.dir("front-end").join("chancery.toml");
        let ran = Command::new(chancery()).arg("user").args(words).arg("--config").arg(config).output();
        let ran = ran.expect("chancery runs");
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        ran
    }

    /// Her account.
    pub fn account(&self, user: &str) -> Account {
        Account {
            user: user.to_owned(),
            password: format!("{user}-demo-secret"),
            domain: self.domain().to_owned(),
        }
    }

    /// Her address.
    pub fn uri(&self, user: &str) -> String {
        self.account(user).uri()
    }

    /// A device of hers inside, registered.
    pub fn inside(&self, user: &str) -> Device {
        let address = self.address("front-end", "address", "tcp");
        let device = Device::connect(self.account(user), Transport::Tcp, address, &self.ca());
        device.register("");
        device
    }

    /// A device of hers outside, connected to the edge as remote users are, not registered.
    pub fn outside(&self, user: &str) -> Device {
        self.outside_on("remote", user, None)
    }

    /// The same on the port that asks for a certificate, with this one.
    pub fn outside_with(&self, user: &str, own: &Own) -> Device {
        self.outside_on("tls", user, Some(own))
    }

    fn outside_on(&self, port: &str, user: &str, own: Option<&Own>) -> Device {
        let address = self.address("access-edge", "outside_address", port);
        let host = self.outside_host("access-edge");
        let link = Link::open_tls(address, &self.ca(), host, own).expect("remote users are let in");
        Device::over(self.account(user), link)
    }

    /// The same in a browser: over a secure WebSocket.
    pub fn browser(&self, user: &str, own: Option<&Own>) -> Device {
        let address = self.address("access-edge", "outside_address", "websocket");
        let host = self.outside_host("access-edge");
        let link = Link::open_wss(address, &self.ca(), host, own).expect("remote users are let in");
        Device::over(self.account(user), link)
    }

    /// A connection to its border as `other`'s edge would make, for `account`'s requests.
    pub fn as_partner(&self, border: &str, own: &Own, account: Account) -> Device {
        let address = self.address(border, "outside_address", "tls");
        let link = Link::open_tls(address, &self.ca(), self.outside_host(border), Some(own));
        Device::over(account, link.expect("partners are let in"))
    }

    /// The certificate that its border shows outside.
    pub fn own(&self, border: &str) -> Own {
        let dir = self.dir(border);
        Own { certificate: dir.join("outside.pem"), key: dir.join("outside.key") }
    }

    /// The host name of a border outside.
    pub fn outside_host(&self, border: &str) -> &str {
        self.server(border)["outside_host"].as_str().expect("a border has an outside")
    }

    /// Where a server listens.
    pub fn address(&self, server: &str, side: &str, port: &str) -> SocketAddr {
        let address: IpAddr =
            self.server(server)[side].as_str().and_then(|text| text.parse().ok()).expect("an address");
        SocketAddr::new(address, self.community.port(port))
    }
}
