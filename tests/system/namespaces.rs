//! Three organisations and a hub in networks that do not know each other: every server and client stands in a network
//! namespace, those inside have no route to the outside, and only the edges have an address on both sides.
//!
//! ```text
//!   inside 1            edge 1                    world               edge 2            inside 2
//!   front end .1 ---- .3      198.51.100.1 ==== bridge ==== 198.51.100.2     .3 ---- front end .1
//!   director .2       10.1.0.0/24                || |                   10.2.0.0/24   director .2
//!   baresip .9                                   || abroad: 198.51.100.9, linphonec
//!                         hub: 198.51.100.4 =====++===== 198.51.100.3     .3 ---- front end .1
//!                                                           edge 3   10.3.0.0/24     inside 3
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use system_tests::{Community, PATIENCE, chancery, client_script, have, may_make_networks, run_tap, skip};
use tempfile::TempDir;

/// Of the inside of an organisation: its number stands in the second octet.
const FRONT_END: u8 = 1;
const DIRECTOR: u8 = 2;
const EDGE_INSIDE: u8 = 3;
const CLIENT_INSIDE: u8 = 9;
/// Where linphonec is.
const ABROAD: &str = "198.51.100.9";
const EDGE_PORT: u16 = 5061;
/// As in the manual: here the edges may have it.
const REMOTE_PORT: u16 = 443;
/// What the community has instead.
const UNPRIVILEGED_REMOTE_PORT: u16 = 4443;
const PLAIN_PORT: u16 = 5060;
const HTTP_PORT: u16 = 5090;
/// Who has an inside.
const ORGANISATIONS: [u8; 3] = [1, 2, 3];
/// Its number, which is that of its address.
const HUB: u8 = 4;
/// How long a listener waits for a message that is on its way.
const LISTEN_SECONDS: &str = "30";

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
    /// Makes them, or says what failed.
    fn new() -> Result<Networks, String> {
        let mut networks = Networks { names: Vec::new() };
        let places = ["inside1", "edge1", "inside2", "edge2", "inside3", "edge3", "hub", "abroad", "world"];
        for place in places {
            let name = networks.name(place);
            ip(&format!("netns add {name}"))?;
            networks.names.push(name);
            networks.within(place, "link set lo up")?;
        }
        networks.within("world", "link add bridge type bridge")?;
        networks.within("world", "link set bridge up")?;
        for organisation in ORGANISATIONS {
            let (home, edge) = (format!("inside{organisation}"), format!("edge{organisation}"));
            networks.wire(&home, "lan", &edge, "lan")?;
            for host in [FRONT_END, DIRECTOR, CLIENT_INSIDE] {
                networks.address(&home, "lan", &inside(organisation, host))?;
            }
            networks.address(&edge, "lan", &inside(organisation, EDGE_INSIDE))?;
            networks.out(&edge, &edge_outside(organisation))?;
            networks.forward_nothing(&edge)?;
        }
        networks.out("hub", &edge_outside(HUB))?;
        networks.out("abroad", ABROAD)?;
        Ok(networks)
    }

    /// A wire from there to the bridge that is the world.
    fn out(&self, place: &str, address: &str) -> Result<(), String> {
        self.wire(place, "wan", "world", place)?;
        self.within("world", &format!("link set {place} master bridge"))?;
        self.address(place, "wan", address)
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

/// Moves the servers from loopback to where they belong, and starts each of them there.
fn start(networks: &Networks, folder: &Path, loopback: &str) -> Servers {
    let mut servers = Servers(Vec::new());
    let mut logs = Vec::new();
    for (name, organisation) in [("contoso", 1), ("fabrikam", 2), ("northwind", 3), ("trade", HUB)] {
        for server in ["front-end", "director", "access-edge", "clearinghouse"] {
            let folder = folder.join(name).join(server);
            let file = folder.join("chancery.toml");
            // Not every organisation has each of them.
            let Ok(mut text) = std::fs::read_to_string(&file) else { continue };
            text = text.replace(&format!(":{UNPRIVILEGED_REMOTE_PORT}\""), &format!(":{REMOTE_PORT}\""));
            for other in [1, 2, 3, HUB] {
                // The longest first: `.11` begins as `.1` does.
                text = text.replace(&format!("{loopback}.{other}.11"), &edge_outside(other));
                text = text.replace(&format!("{loopback}.{other}."), &format!("10.{other}.0."));
            }
            std::fs::write(&file, text).expect("the folder is ours");
            let log = folder.join("log");
            let output = File::create(&log).expect("the folder is ours");
            let place = match server {
                "access-edge" => format!("edge{organisation}"),
                "clearinghouse" => "hub".to_owned(),
                _ => format!("inside{organisation}"),
            };
            let child = networks
                .command(&place, chancery())
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

/// Everybody in networks of their own; dropped in this order.
struct World {
    _servers: Servers,
    folder: TempDir,
    networks: Networks,
}

impl World {
    /// `None` where it cannot be, which is said by name. Where networks may be made, everything that fails with them is a failure.
    fn new(what: &str, programs: &[&str]) -> Option<World> {
        if let Some(missing) = programs.iter().chain(&["ip", "nsenter", "python3"]).find(|p| !have(p)) {
            skip(what, &format!("{missing} is not installed"));
            return None;
        }
        if !may_make_networks() {
            skip(what, "network namespaces need root (`unshare --net --mount`)");
            return None;
        }
        let networks = Networks::new().unwrap_or_else(|why| panic!("{what}: {why}"));
        let (folder, loopback) = Community::start().stop();
        let servers = start(&networks, folder.path(), &loopback);
        Some(World { _servers: servers, folder, networks })
    }

    /// `chancery probe` there, as somebody inside her organisation; `words` come last.
    fn probe(&self, place: &str, what: &str, user: &str, server: &str, words: &[&str]) -> Command {
        let (name, domain) = user.split_once('@').expect("an address");
        let organisation = domain.split('.').next().expect("a domain");
        let mut probe = self.networks.command(place, chancery());
        probe.args(["probe", what, "--server", server, "--as", user, "--password-file"]);
        probe.arg(self.folder.path().join(organisation).join("passwords").join(name)).args(words);
        probe.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        probe
    }

    /// What a server there counts.
    fn metrics(&self, place: &str, address: &str) -> String {
        let read = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())";
        let mut command = self.networks.command(place, "python3");
        let output = command.args(["-c", read, &format!("http://{address}:{HTTP_PORT}/metrics")]).output();
        String::from_utf8_lossy(&output.expect("nsenter runs").stdout).into_owned()
    }

    /// Somebody writes, and somebody who listens gets it. `from` and `to` are (place, user, server).
    fn crosses(&self, from: (&str, &str, &str), more: &[&str], to: (&str, &str, &str), text: &str) {
        let words = ["--seconds", LISTEN_SECONDS];
        let mut listener = self.probe(to.0, "listen", to.1, to.2, &words).spawn().expect("nsenter runs");
        let words = [more, &["--to", to.1, text]].concat();
        let sent = self.probe(from.0, "message", from.1, from.2, &words).output().expect("nsenter runs");
        assert!(sent.status.success(), "{} to {}: {}", from.1, to.1, String::from_utf8_lossy(&sent.stderr));
        let wanted = format!("{}: {text}", from.1);
        // Copies of what she wrote herself come too.
        let mut lines = BufReader::new(listener.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let is_heard = lines.any(|line| line == wanted);
        // It may have ended already.
        drop(listener.kill());
        let ended = listener.wait_with_output().expect("our own child");
        assert!(is_heard, "no {wanted:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Where clients inside find their server.
fn home(organisation: u8) -> String {
    format!("tcp:{}:{PLAIN_PORT}", inside(organisation, FRONT_END))
}

#[test]
fn organisations_whose_insides_have_no_route_outside_talk() {
    let Some(world) = World::new("organisations in network namespaces", &["baresip", "linphonec"]) else {
        return;
    };
    let World { networks, folder, .. } = &world;
    // An inside host reaches its edge's inside address, and nothing behind it, not even when it names the edge as its way.
    for organisation in ORGANISATIONS {
        let home = format!("inside{organisation}");
        let other = organisation % 3 + 1;
        assert!(networks.reaches(&home, &inside(organisation, EDGE_INSIDE), EDGE_PORT));
        for routed in [false, true] {
            if routed {
                let edge = inside(organisation, EDGE_INSIDE);
                networks.within(&home, &format!("route add default via {edge}")).expect("a route is added");
            }
            for address in [&edge_outside(other), &edge_outside(HUB), &inside(other, FRONT_END)] {
                assert!(!networks.reaches(&home, address, EDGE_PORT), "{home} reaches {address}");
            }
        }
        // The route stays: clients give up a call whose media they have no route for, and here it ends at the edge.
        assert!(!networks.reaches("abroad", &inside(organisation, EDGE_INSIDE), EDGE_PORT));
        assert!(networks.reaches("abroad", &edge_outside(organisation), EDGE_PORT));
        assert!(!networks.reaches("hub", &inside(organisation, EDGE_INSIDE), EDGE_PORT));
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

#[test]
fn a_third_member_in_a_network_of_its_own_is_reached_through_the_hub() {
    let Some(world) = World::new("a hub in network namespaces", &[]) else { return };
    let (of_contoso, of_northwind) = (home(1), home(3));
    let anna = ("inside1", "anna@contoso.example", of_contoso.as_str());
    let nina = ("inside3", "nina@northwind.example", of_northwind.as_str());
    world.crosses(anna, &[], nina, "through the hub");
    world.crosses(nina, &[], anna, "and back");
    // From abroad, over the port that every hotel lets through.
    let server = format!("tls:{}:{REMOTE_PORT}", edge_outside(1));
    let ca = world.folder.path().join("contoso/ca.pem");
    let more = ["--server-name", "access.contoso.example", "--ca", ca.to_str().expect("a path in UTF-8")];
    world.crosses(("abroad", anna.1, &server), &more, nina, "from abroad");
    // The edges could reach each other, and all of it went by the hub.
    assert!(world.networks.reaches("edge1", &edge_outside(3), EDGE_PORT));
    let metrics = world.metrics("hub", &edge_outside(HUB));
    assert!(metrics.contains("\nchancery_sip_requests_total{method=\"MESSAGE\"} 3\n"), "{metrics}");
}

#[test]
fn port_443_never_asks_for_a_certificate_and_5061_asks_without_requiring_one() {
    let Some(world) = World::new("certificates asked for in network namespaces", &["openssl"]) else {
        return;
    };
    let ca = world.folder.path().join("contoso/ca.pem");
    let (outside, inside) = (edge_outside(1), inside(1, EDGE_INSIDE));
    let (from_outside, from_inside) = ("access.contoso.example", "edge.contoso.example");
    for (place, address, port, name, is_asked) in [
        ("abroad", &outside, REMOTE_PORT, from_outside, false),
        ("abroad", &outside, EDGE_PORT, from_outside, true),
        ("inside1", &inside, EDGE_PORT, from_inside, true),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let mut client = world
                .networks
                .command(place, "openssl")
                .args(["s_client", "-connect", &format!("{address}:{port}"), "-servername", name, "-CAfile"])
                .arg(&ca)
                .args([version, "-verify_return_error", "-state", "-ign_eof"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("nsenter runs");
            let options = format!(
                "OPTIONS sip:{name} SIP/2.0\r\nVia: SIP/2.0/TLS client.invalid;branch=z9hG4bKone\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:anna@contoso.example>;tag=1\r\nTo: <sip:{name}>\r\n\
                 Call-ID: one\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n\
                 not SIP, which ends the connection\r\n\r\n\r\n"
            );
            let mut input = client.stdin.take().expect("a pipe");
            input.write_all(options.as_bytes()).expect("openssl reads");
            // The edge closes what it cannot read.
            let output = client.wait_with_output().expect("openssl ends");
            drop(input);
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let was_asked = said.contains("read server certificate request");
            assert_eq!(was_asked, is_asked, "{port} {version}:\n{said}");
            // Without a certificate all of them go on. Inside, who shows none is nobody.
            let status = if place == "abroad" { "SIP/2.0 200" } else { "SIP/2.0 403" };
            assert!(said.contains(status), "{port} {version}:\n{said}");
        }
    }
}
