//! Two organisations in networks that do not know each other: every server and client stands in a network namespace, those
//! inside have no route to the outside, and only the edges have an address on both sides.
//!
//! ```text
//!   inside 1            edge 1                    world               edge 2            inside 2
//!   front end .1 ---- .3      198.51.100.1 ==== bridge ==== 198.51.100.2     .3 ---- front end .1
//!   director .2       10.1.0.0/24                 |                     10.2.0.0/24   director .2
//!   baresip .9                               abroad: 198.51.100.9, linphonec
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use system_tests::{Community, PATIENCE, chancery, client_script, have, run_tap, skip};

/// Of the inside of an organisation: its number stands in the second octet.
const FRONT_END: u8 = 1;
const DIRECTOR: u8 = 2;
const EDGE_INSIDE: u8 = 3;
const CLIENT_INSIDE: u8 = 9;
/// Where linphonec is.
const ABROAD: &str = "198.51.100.9";
const EDGE_PORT: u16 = 5061;
const REMOTE_PORT: u16 = 4443;
const PLAIN_PORT: u16 = 5060;

/// Namespaces with wires between them, which are gone when it is dropped.
struct Networks {
    names: Vec<String>,
}

/// Servers in namespaces, which end when it is dropped.
struct Servers(Vec<Child>);

fn edge_outside(organisation: u8) -> String {
    format!("198.51.100.{organisation}")
}

fn inside(organisation: u8, host: u8) -> String {
    format!("10.{organisation}.0.{host}")
}

fn ip(arguments: &str) -> Result<(), String> {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Networks {
    /// Makes them, or says why this machine does not let us.
    fn new() -> Result<Networks, String> {
        let mut networks = Networks { names: Vec::new() };
        for place in ["inside1", "edge1", "inside2", "edge2", "abroad", "world"] {
            let name = networks.name(place);
            ip(&format!("netns add {name}"))?;
            networks.names.push(name);
            networks.within(place, "link set lo up")?;
        }
        networks.within("world", "link add bridge type bridge")?;
        networks.within("world", "link set bridge up")?;
        for organisation in [1, 2] {
            let (home, edge) = (format!("inside{organisation}"), format!("edge{organisation}"));
            networks.wire(&home, "lan", &edge, "lan")?;
            for host in [FRONT_END, DIRECTOR, CLIENT_INSIDE] {
                networks.address(&home, "lan", &inside(organisation, host))?;
            }
            networks.address(&edge, "lan", &inside(organisation, EDGE_INSIDE))?;
            networks.wire(&edge, "wan", "world", &format!("edge{organisation}"))?;
            networks.within("world", &format!("link set edge{organisation} master bridge"))?;
            networks.address(&edge, "wan", &edge_outside(organisation))?;
            networks.forward_nothing(&edge)?;
        }
        networks.wire("abroad", "wan", "world", "abroad")?;
        networks.within("world", "link set abroad master bridge")?;
        networks.address("abroad", "wan", ABROAD)?;
        Ok(networks)
    }

    fn name(&self, place: &str) -> String {
        format!("chancery-{}-{place}", std::process::id())
    }

    fn file(&self, place: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(place))
    }

    fn within(&self, place: &str, arguments: &str) -> Result<(), String> {
        ip(&format!("-n {} {arguments}", self.name(place)))
    }

    fn address(&self, place: &str, interface: &str, address: &str) -> Result<(), String> {
        self.within(place, &format!("address add {address}/24 dev {interface}"))
    }

    fn wire(&self, one: &str, its: &str, other: &str, others: &str) -> Result<(), String> {
        let peer = self.name(other);
        self.within(one, &format!("link add {its} type veth peer name {others} netns {peer}"))?;
        self.within(one, &format!("link set {its} up"))?;
        self.within(other, &format!("link set {others} up"))
    }

    /// A new namespace may forward because the machine does.
    fn forward_nothing(&self, place: &str) -> Result<(), String> {
        let script = "grep -qx 0 /proc/sys/net/ipv4/ip_forward || echo 0 > /proc/sys/net/ipv4/ip_forward";
        let output = self.command(place, "sh").args(["-c", script]).output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{place} forwards: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// A program there.
    fn command(&self, place: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file(place).display())).arg("--").arg(program);
        command
    }

    /// Whether a TCP connection from there comes up.
    fn reaches(&self, place: &str, address: &str, port: u16) -> bool {
        let probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)";
        let mut command = self.command(place, "python3");
        let status = command.args(["-c", probe, address, &port.to_string()]).stderr(Stdio::null()).status();
        status.expect("python3 runs").success()
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            // Whatever fails here, there is nothing left to do.
            drop(ip(&format!("netns delete {name}")));
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Moves the servers of an organisation from loopback to where they belong, and starts each of them there.
fn start(networks: &Networks, folder: &Path, loopback: &str) -> Servers {
    let mut servers = Servers(Vec::new());
    let mut logs = Vec::new();
    for (name, organisation) in [("contoso", 1), ("fabrikam", 2)] {
        for server in ["front-end", "director", "access-edge"] {
            let folder = folder.join(name).join(server);
            let file = folder.join("chancery.toml");
            // Not every organisation has a director.
            let Ok(mut text) = std::fs::read_to_string(&file) else { continue };
            for other in [1, 2] {
                // The longest first: `.11` begins as `.1` does.
                text = text.replace(&format!("{loopback}.{other}.11"), &edge_outside(other));
                text = text.replace(&format!("{loopback}.{other}."), &format!("10.{other}.0."));
            }
            std::fs::write(&file, text).expect("the folder is ours");
            let log = folder.join("log");
            let output = File::create(&log).expect("the folder is ours");
            let place = if server == "access-edge" { "edge" } else { "inside" };
            let child = networks
                .command(&format!("{place}{organisation}"), chancery())
                .args(["serve", "--config"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a descriptor"))
                .stderr(output)
                .spawn()
                .expect("nsenter runs");
            servers.0.push(child);
            logs.push(log);
        }
    }
    let until = Instant::now() + PATIENCE;
    for log in logs {
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        while !said().contains("event=\"ready\"") {
            assert!(Instant::now() < until, "{} is not ready:\n{}", log.display(), said());
            std::thread::yield_now();
        }
    }
    servers
}

#[test]
fn organisations_whose_insides_have_no_route_outside_talk() {
    const WHAT: &str = "two organisations in network namespaces";
    let needed = ["python3", "baresip", "linphonec", "ip", "nsenter"];
    if let Some(missing) = needed.iter().find(|program| !have(program)) {
        return skip(WHAT, &format!("{missing} is not installed"));
    }
    let networks = match Networks::new() {
        Ok(networks) => networks,
        Err(why) => return skip(WHAT, &format!("no namespaces can be made here: {why}")),
    };
    let community = Community::start();
    let (folder, loopback) = community.stop();
    let _servers = start(&networks, folder.path(), &loopback);
    // An inside host reaches its edge's inside address, and nothing behind it, not even when it names the edge as its way.
    for organisation in [1, 2] {
        let home = format!("inside{organisation}");
        assert!(networks.reaches(&home, &inside(organisation, EDGE_INSIDE), EDGE_PORT));
        for routed in [false, true] {
            if routed {
                let edge = inside(organisation, EDGE_INSIDE);
                networks.within(&home, &format!("route add default via {edge}")).expect("a route is added");
            }
            for address in [&edge_outside(3 - organisation), &inside(3 - organisation, FRONT_END)] {
                assert!(!networks.reaches(&home, address, EDGE_PORT), "{home} reaches {address}");
            }
        }
        // The route stays: clients give up a call whose media they have no route for, and here it ends at the edge.
        assert!(!networks.reaches("abroad", &inside(organisation, EDGE_INSIDE), EDGE_PORT));
        assert!(networks.reaches("abroad", &edge_outside(organisation), EDGE_PORT));
    }
    let mut driver = networks.command("inside1", "python3");
    driver.arg(client_script("federated_pair.py"));
    driver.args(["--inside", &format!("{}:{PLAIN_PORT}", inside(1, FRONT_END))]);
    driver.args(["--local", &inside(1, CLIENT_INSIDE)]);
    driver.args(["--outside", &format!("{}:{REMOTE_PORT}", edge_outside(2))]);
    driver.args(["--inside-name", "sip.contoso.example"]);
    driver.args(["--outside-name", "access.fabrikam.example"]);
    driver.arg("--outside-network").arg(networks.file("abroad"));
    driver.arg("--outside-ca").arg(folder.path().join("fabrikam/ca.pem"));
    driver.args(["--a", "alice@contoso.example:alice-demo-secret"]);
    driver.args(["--b", "bob@fabrikam.example:bob-demo-secret"]);
    run_tap(&mut driver);
}
