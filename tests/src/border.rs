//! One Access Edge of `contoso.example`, everything around which is the test: the server inside that it hands requests to,
//! and the partners outside with certificates that the test makes.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use tempfile::TempDir;

use crate::configured::own_addresses;
use crate::{Account, Device, Link, Own, PATIENCE, PrivateCa, Server};

/// Of SIP over TLS.
const TLS_PORT: u16 = 5061;
/// The edge's host outside.
const OUTSIDE_HOST: &str = "access.contoso.example";
/// The edge's host inside.
const INSIDE_HOST: &str = "edge.contoso.example";
/// The host of the server inside, which the test is.
const HOME_HOST: &str = "sip.contoso.example";

/// Where a crowd comes from.
const CROWD_ADDRESS: &str = "127.9.9.9";
/// Connections that the edge takes from one address: few enough for a test to open more.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 64;

/// The edge, and what is needed to talk with it.
pub struct Border {
    server: Server,
    addresses: Addresses,
    home: Own,
    arrivals: Receiver<Device>,
}

/// What an edge is started with.
pub struct BorderBuilder {
    folder: TempDir,
    addresses: Addresses,
    ca: PrivateCa,
    policy: String,
    hosts: Vec<String>,
    revocation_files: Vec<String>,
}

#[derive(Clone, Copy)]
struct Addresses {
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    home: Ipv4Addr,
    /// For a partner that listens.
    partner: Ipv4Addr,
}

impl BorderBuilder {
    /// Where certificates and lists of the test may be written; the policy names files relative to it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A partner with a CA of its own, whose edge is `edge.DOMAIN`; `more` are further lines of its policy.
    pub fn partner(mut self, domain: &str, ca: &PrivateCa, more: &str) -> BorderBuilder {
        std::fs::write(self.folder().join(format!("{domain}-ca.pem")), ca.pem()).expect("the folder is ours");
        self.policy += &format!(
            "[[partner]]\ndomain = \"{domain}\"\nmode = \"direct\"\nnext_hop = \"edge.{domain}:{TLS_PORT}\"\n\
             authority_file = \"{domain}-ca.pem\"\n{more}\n"
        );
        self.hosts.push(format!("{} edge.{domain}", self.addresses.partner));
        self
    }

    /// A list of revoked certificates.
    pub fn revoked(mut self, list: &str) -> BorderBuilder {
        std::fs::write(self.folder().join("revoked.pem"), list).expect("the folder is ours");
        self.revocation_files.push("revoked.pem".to_owned());
        self
    }

    /// Where a partner may listen.
    pub fn partner_address(&self) -> Ipv4Addr {
        self.addresses.partner
    }

    /// Starts the edge, and the test's own server inside.
    pub fn start(self) -> Border {
        let (folder, a) = (self.folder.path(), self.addresses);
        let home = self.ca.issue(folder, "home", &[HOME_HOST]);
        for (stem, host) in [("server", INSIDE_HOST), ("outside", OUTSIDE_HOST)] {
            let own = self.ca.issue(folder, stem, &[host, "sip:contoso.example"]);
            std::fs::set_permissions(&own.key, Permissions::from_mode(0o600)).expect("the key is ours");
        }
        std::fs::write(folder.join("ca.pem"), self.ca.pem()).expect("the folder is ours");
        std::fs::write(folder.join("federation.toml"), &self.policy).expect("the folder is ours");
        let quoted =
            |list: &[String]| list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let mut hosts = self.hosts;
        hosts.push(format!("{} {HOME_HOST}", a.home));
        let text = format!(
            "domains = [\"contoso.example\"]\nrole = \"access-edge\"\n\n[server]\nhost = \"{OUTSIDE_HOST}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{}:{TLS_PORT}\"\nside = \"inside\"\n\
             advertised_host = \"{INSIDE_HOST}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{}:{TLS_PORT}\"\nside = \"outside\"\n\
             advertised_host = \"{OUTSIDE_HOST}\"\n\n\
             [tls]\nauthority_file = \"ca.pem\"\n\n[tls_outside]\nrevocation_files = [{}]\n\n\
             [http]\naddresses = [\"{}:5090\"]\n\n\
             [limits]\nconnections_per_source_max = {CONNECTIONS_PER_SOURCE_MAX}\n\n\
             [[trusted_server]]\nhost = \"{HOME_HOST}\"\nrole = \"front-end\"\n\n\
             [access_edge]\nnext_hops = [\"{HOME_HOST}:{TLS_PORT}\"]\n\n\
             [dns]\nservers = [\"127.0.0.1:9\"]\nhosts = [{}]\n",
            a.inside,
            a.outside,
            quoted(&self.revocation_files),
            a.inside,
            quoted(&hosts)
        );
        std::fs::write(folder.join("chancery.toml"), text).expect("the folder is ours");
        let listener = TcpListener::bind((a.home, TLS_PORT)).expect("the address is ours");
        let arrivals = accept_all(listener, home.clone());
        Border { server: Server::serve(self.folder, Vec::new()), addresses: a, home, arrivals }
    }
}

impl Border {
    /// An edge with the partners that follow.
    pub fn with_partners() -> BorderBuilder {
        let [inside, outside, home, partner] = own_addresses();
        BorderBuilder {
            folder: TempDir::with_prefix("chancery-").expect("a temporary folder"),
            addresses: Addresses { inside, outside, home, partner },
            ca: PrivateCa::new("CA of contoso"),
            policy: String::new(),
            hosts: Vec::new(),
            revocation_files: Vec::new(),
        }
    }

    /// Its process and log.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Kills it and starts it again, where it was.
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// Starts a program that opens `count` connections from an address of its own, sends these octets on each of them,
    /// and holds them. Waits until they are open.
    pub fn crowd(&self, count: usize, octets: &str) -> Crowd {
        const PROGRAM: &str = "import socket, sys\n\
            host, port, source, count, octets = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]\n\
            held = [socket.create_connection((host, port), 10, (source, 0)) for _ in range(count)]\n\
            for one in held:\n    \
                try: one.sendall(octets.encode())\n    \
                except OSError: pass\n\
            print('open', flush=True)\n\
            sys.stdin.read()\n\
            closed = 0\n\
            for one in held:\n    \
                one.setblocking(False)\n    \
                try: closed += not one.recv(1)\n    \
                except BlockingIOError: pass\n    \
                except OSError: closed += 1\n\
            print(closed, flush=True)\n";
        let outside = self.outside();
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM, &outside.ip().to_string(), &outside.port().to_string()])
            .args([CROWD_ADDRESS, &count.to_string(), octets])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it says when they are open");
        assert_eq!(line, "open\n");
        Crowd { child, output }
    }

    /// Where the outside comes in.
    pub fn outside(&self) -> SocketAddr {
        (self.addresses.outside, TLS_PORT).into()
    }

    /// Its host outside.
    pub fn outside_host(&self) -> &'static str {
        OUTSIDE_HOST
    }

    /// The CA of its certificates.
    pub fn ca(&self) -> PathBuf {
        self.server.folder().join("ca.pem")
    }

    /// The next connection that it opens to the server inside: what arrives there, and who answers.
    pub fn inside(&self) -> Device {
        self.arrivals.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("the edge does not connect to the server inside:\n{}", self.server.log())
        })
    }

    /// A connection of the server inside to it, for `user`'s requests to other organisations.
    pub fn from_inside(&self, user: &str) -> Device {
        let address = (self.addresses.inside, TLS_PORT).into();
        let link = Link::open_tls(address, &self.ca(), INSIDE_HOST, Some(&self.home));
        Device::over(account(user, "contoso.example"), link.expect("our own servers are let in"))
    }

    /// A connection from outside that shows this certificate, for requests of `user@domain`.
    pub fn from_outside(&self, own: Option<&Own>, user: &str, domain: &str) -> Device {
        let link = Link::open_tls(self.outside(), &self.ca(), OUTSIDE_HOST, own);
        Device::over(account(user, domain), link.expect("the handshake asks for nothing"))
    }
}

/// Connections that somebody holds open.
pub struct Crowd {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Crowd {
    /// Ends it, and says how many of its connections the edge had closed until then.
    pub fn end(mut self) -> usize {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it says how many are closed");
        self.child.wait().expect("our own child");
        line.trim().parse().expect("a number")
    }
}

/// Somebody whose password nobody here asks for.
fn account(user: &str, domain: &str) -> Account {
    Account { user: user.to_owned(), password: "never-asked".to_owned(), domain: domain.to_owned() }
}

/// Serves until the test ends.
fn accept_all(listener: TcpListener, own: Own) -> Receiver<Device> {
    let (sender, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Whoever goes away in the handshake is none that the test waits for.
            let Ok(link) = Link::accepted_tls(stream, &own) else { continue };
            if sender.send(Device::over(account("anybody", "contoso.example"), link)).is_err() {
                return;
            }
        }
    });
    arrivals
}
