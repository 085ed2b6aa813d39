//! One Access Edge of `contoso.example`, everything around which is the test: the server inside that it hands requests to,
//! and the partners outside with certificates that the test makes.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
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
/// That of the one beside it.
const OTHER_INSIDE_HOST: &str = "edge-2.contoso.example";
/// The host of the server inside, which the test is.
const HOME_HOST: &str = "sip.contoso.example";

/// A DNS server that is none: everybody is named in the configuration.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Where a crowd comes from.
const CROWD_ADDRESS: &str = "127.9.9.9";
/// Connections that the edge takes from one address: few enough for a test to open more.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 64;

/// The edge, and what is needed to talk with it.
pub struct Border {
    server: Server,
    addresses: Addresses,
    ca: Arc<PrivateCa>,
    terms: Terms,
    home: Own,
    arrivals: Receiver<Device>,
}

/// What an edge is started with.
pub struct BorderBuilder {
    folder: TempDir,
    addresses: Addresses,
    ca: PrivateCa,
    terms: Terms,
}

/// What its configuration says beside addresses.
#[derive(Clone)]
struct Terms {
    inside_host: &'static str,
    policy: String,
    hosts: Vec<String>,
    revocation_files: Vec<String>,
    /// Of partners without a CA of their own.
    authority_file: &'static str,
    /// Keys of sealed routes; empty for the edge's own.
    token_key_file: String,
    dns: SocketAddr,
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
        let authority = format!("authority_file = \"{domain}-ca.pem\"\n{more}");
        self.add_partner(domain, &authority);
        self
    }

    /// A partner without a CA of its own.
    pub fn partner_of_all(mut self, domain: &str) -> BorderBuilder {
        self.add_partner(domain, "");
        self
    }

    fn add_partner(&mut self, domain: &str, more: &str) {
        self.terms.policy += &format!(
            "[[partner]]\ndomain = \"{domain}\"\nmode = \"direct\"\nnext_hop = \"edge.{domain}:{TLS_PORT}\"\n{more}\n"
        );
        self.terms.hosts.push(format!("{} edge.{domain}", self.addresses.partner));
    }

    /// The CA of partners without one of their own: `partners.pem` in the folder.
    pub fn believing(mut self, ca: &PrivateCa) -> BorderBuilder {
        self.terms.authority_file = "partners.pem";
        std::fs::write(self.folder().join(self.terms.authority_file), ca.pem()).expect("the folder is ours");
        self
    }

    /// Partners whom nobody listed are talked with too, and found by this DNS server.
    pub fn discovering(mut self, dns: SocketAddr) -> BorderBuilder {
        self.terms.policy += "[discovery]\nenabled = true\n";
        self.terms.dns = dns;
        self
    }

    /// A list of revoked certificates.
    pub fn revoked(mut self, list: &str) -> BorderBuilder {
        std::fs::write(self.folder().join("revoked.pem"), list).expect("the folder is ours");
        self.terms.revocation_files.push("revoked.pem".to_owned());
        self
    }

    /// Where the server inside listens, and where the edge does on that side.
    pub fn inside_addresses(&self) -> [Ipv4Addr; 2] {
        [self.addresses.home, self.addresses.inside]
    }

    /// Where a partner may listen.
    pub fn partner_address(&self) -> Ipv4Addr {
        self.addresses.partner
    }

    /// Starts the edge, and the test's own server inside.
    pub fn start(self) -> Border {
        Border::serve(self.folder, self.addresses, Arc::new(self.ca), self.terms)
    }
}

impl Terms {
    /// The configuration that says it.
    fn configuration(&self, a: Addresses) -> String {
        let quoted =
            |list: &[String]| list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let Terms { inside_host, authority_file, token_key_file, dns, .. } = self;
        let mut hosts = self.hosts.clone();
        hosts.push(format!("{} {HOME_HOST}", a.home));
        hosts.push(format!("{} {inside_host}", a.inside));
        format!(
            "domains = [\"contoso.example\"]\nrole = \"access-edge\"\n\n[server]\nhost = \"{OUTSIDE_HOST}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{}:{TLS_PORT}\"\nside = \"inside\"\n\
             advertised_host = \"{inside_host}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{}:{TLS_PORT}\"\nside = \"outside\"\n\
             advertised_host = \"{OUTSIDE_HOST}\"\n\n\
             [tls]\nauthority_file = \"ca.pem\"\n\n\
             [tls_outside]\nauthority_file = \"{authority_file}\"\nrevocation_files = [{}]\n\n\
             [http]\naddresses = [\"{}:5090\"]\n\n\
             [limits]\nconnections_per_source_max = {CONNECTIONS_PER_SOURCE_MAX}\n\n\
             [[trusted_server]]\nhost = \"{HOME_HOST}\"\nrole = \"front-end\"\n\n\
             [access_edge]\nnext_hops = [\"{HOME_HOST}:{TLS_PORT}\"]\ntoken_key_file = \"{token_key_file}\"\n\n\
             [dns]\nservers = [\"{dns}\"]\nhosts = [{}]\n",
            a.inside,
            a.outside,
            quoted(&self.revocation_files),
            a.inside,
            quoted(&hosts)
        )
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
            terms: Terms {
                inside_host: INSIDE_HOST,
                policy: String::new(),
                hosts: Vec::new(),
                revocation_files: Vec::new(),
                authority_file: "",
                token_key_file: String::new(),
                dns: NOBODY,
            },
        }
    }

    /// Another edge of the same name outside, with the same policy and the same key of sealed routes. It has an inside of
    /// its own, where the test's server is another connection away.
    pub fn beside(&self) -> Border {
        let folder = TempDir::with_prefix("chancery-").expect("a temporary folder");
        for entry in std::fs::read_dir(self.server.folder()).expect("the folder is ours").flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with("-ca.pem") {
                std::fs::copy(entry.path(), folder.path().join(name)).expect("the folders are ours");
            }
        }
        let [inside, outside, home] = own_addresses();
        let addresses = Addresses { inside, outside, home, ..self.addresses };
        let key = self.server.folder().join("data/edge.key").display().to_string();
        let terms = Terms { inside_host: OTHER_INSIDE_HOST, token_key_file: key, ..self.terms.clone() };
        Border::serve(folder, addresses, Arc::clone(&self.ca), terms)
    }

    fn serve(folder: TempDir, addresses: Addresses, ca: Arc<PrivateCa>, terms: Terms) -> Border {
        let path = folder.path();
        let home = ca.issue(path, "home", &[HOME_HOST]);
        for (stem, host) in [("server", terms.inside_host), ("outside", OUTSIDE_HOST)] {
            issue_for(&ca, path, stem, host);
        }
        let write = |name: &str, text: &str| {
            std::fs::write(path.join(name), text).expect("the folder is ours");
        };
        write("ca.pem", &ca.pem());
        write("federation.toml", &terms.policy);
        write("chancery.toml", &terms.configuration(addresses));
        let listener = TcpListener::bind((addresses.home, TLS_PORT)).expect("the address is ours");
        let arrivals = accept_all(listener, home.clone());
        Border { server: Server::serve(folder, Vec::new()), addresses, ca, terms, home, arrivals }
    }

    /// Exchanges the certificate that it shows outside for a new one of another CA, as whoever renews one does; gives that CA's
    /// file.
    pub fn renew_outside(&self) -> PathBuf {
        let ca = PrivateCa::new("another CA of contoso");
        let (folder, file) = (self.server.folder(), self.server.folder().join("new-ca.pem"));
        std::fs::write(&file, ca.pem()).expect("the folder is ours");
        issue_for(&ca, folder, "renewed", OUTSIDE_HOST);
        for kind in ["key", "pem"] {
            let [from, to] = ["renewed", "outside"].map(|stem| folder.join(format!("{stem}.{kind}")));
            std::fs::rename(from, to).expect("the folder is ours");
        }
        file
    }

    /// Its process and log.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Kills it; it may be started again.
    pub fn stop(&mut self) {
        self.server.kill();
    }

    /// Kills it and starts it again, where it was.
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// Starts a program that opens connections, does on each of them what is said, and holds them. Waits until they are
    /// open, or closed by the edge.
    pub fn crowd(&self, from: CrowdFrom, count: usize, doing: &CrowdDoing<'_>) -> Crowd {
        const PROGRAM: &str = "import resource, socket, ssl, sys\n\
            host, port, source, count, octets, *own = sys.argv[1:]\n\
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n\
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n\
            tls.check_hostname = False\n\
            tls.verify_mode = ssl.CERT_NONE\n\
            if own: tls.load_cert_chain(*own)\n\
            held, closed = [], 0\n\
            for n in range(int(count)):\n    \
                local = source or f'127.9.{n // 250}.{n % 250 + 1}'\n    \
                one = socket.create_connection((host, int(port)), 10, (local, 0))\n    \
                try:\n        \
                    if own: one = tls.wrap_socket(one)\n        \
                    one.sendall(octets.encode())\n        \
                    held.append(one)\n    \
                except OSError: closed += 1\n\
            print('open', flush=True)\n\
            sys.stdin.read()\n\
            for one in held:\n    \
                one.setblocking(False)\n    \
                try: closed += not one.recv(1)\n    \
                except (BlockingIOError, ssl.SSLWantReadError): pass\n    \
                except OSError: closed += 1\n\
            print(closed, flush=True)\n";
        let outside = self.outside();
        let source = match from {
            CrowdFrom::OneAddress => CROWD_ADDRESS,
            CrowdFrom::ManyAddresses => "",
        };
        let (octets, own) = match doing {
            CrowdDoing::Saying(octets) => (*octets, None),
            CrowdDoing::Proving(own) => ("", Some(own)),
        };
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM, &outside.ip().to_string(), &outside.port().to_string()])
            .args([source, &count.to_string(), octets])
            .args(own.into_iter().flat_map(|own| [&own.certificate, &own.key]))
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

    /// Whether no connection to the server inside was opened that nobody has asked for yet.
    pub fn inside_is_quiet(&self) -> bool {
        self.arrivals.try_recv().is_err()
    }

    /// Where its own connections leave from, inside and outside.
    pub fn own_addresses(&self) -> [Ipv4Addr; 2] {
        [self.addresses.inside, self.addresses.outside]
    }

    /// A connection of the server inside to it, for `user`'s requests to other organisations.
    pub fn from_inside(&self, user: &str) -> Device {
        let address = (self.addresses.inside, TLS_PORT).into();
        let link = Link::open_tls(address, &self.ca(), self.terms.inside_host, Some(&self.home));
        Device::over(account(user, "contoso.example"), link.expect("our own servers are let in"))
    }

    /// A connection from outside that shows this certificate, for requests of `user@domain`.
    pub fn from_outside(&self, own: Option<&Own>, user: &str, domain: &str) -> Device {
        self.from_outside_believing(&self.ca(), own, user, domain)
    }

    /// The same of somebody who believes another CA.
    pub fn from_outside_believing(&self, ca: &Path, own: Option<&Own>, user: &str, domain: &str) -> Device {
        let link = Link::open_tls(self.outside(), ca, OUTSIDE_HOST, own);
        Device::over(account(user, domain), link.expect("the handshake asks for nothing"))
    }
}

/// Where a crowd comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrowdFrom {
    /// All from the same, which nobody else has.
    OneAddress,
    /// Each from another.
    ManyAddresses,
}

/// What each of a crowd does.
#[derive(Clone, Copy, Debug)]
pub enum CrowdDoing<'a> {
    /// It sends these octets, and nothing more.
    Saying(&'a str),
    /// It opens TLS with this certificate.
    Proving(&'a Own),
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

/// A certificate that only the edge reads the key of.
fn issue_for(ca: &PrivateCa, folder: &Path, stem: &str, host: &str) {
    let own = ca.issue(folder, stem, &[host, "sip:contoso.example"]);
    std::fs::set_permissions(&own.key, Permissions::from_mode(0o600)).expect("the key is ours");
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
