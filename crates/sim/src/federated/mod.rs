//! Several organisations in one world, each with a home, perhaps a Director, and its edges, and a clearinghouse between them.
//!
//! Inside each organisation is a network of its own; the edges and the hub meet on the internet. Which organisation talks
//! with which, over which [`Road`], is decided while the world runs, and every decision is kept with its time: the
//! checkers ([`check`]) know what was decided from this record, never from the code that they check.

pub mod check;
mod mallory;
pub mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use access_edge::{AccessEdge, Limits, Mode};
use director::Director;
use directory::DomainName;
use federation::origin::MEMBER_HEADER;
use federation::{HostPort, Policy, ServerRole, TrustedServer};
use frontend::{FederationPolicy, FrontEnd};
use node::{Anchors, Input, Instant, Now, Output, Srv, Transport};
use sip_message::digest::Algorithm;
use sip_message::{Edit, Message};

use crate::check::{Violation, conclude};
use crate::device::{CallPlan, DeviceConfig, NotifyPlan, Reaction, Script, SignIn};
use crate::event::{Crash, Party};
use crate::random::password;
use mallory::Mallory;

use crate::{Boot, Conditions, Factory, Home, Interface, Load, Network, Role, World, certificate, config};

/// The hub's host name.
pub const HUB: &str = "hub.trade.example";

/// How an organisation reaches another, and is reached by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Road {
    /// From edge to edge.
    Direct,
    /// Through the hub.
    Hub,
    /// From edge to edge, and nobody listed the other: its domain is looked up and proved.
    Discovered,
    /// Not at all.
    Blocked,
}

/// Who made the clearinghouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubMake {
    /// We did: it says for which member it speaks.
    Ours,
    /// Somebody else did: the lists of members must do.
    Foreign,
}

/// One organisation.
#[derive(Clone, Debug)]
pub struct Organisation {
    /// Its SIP domain.
    pub domain: &'static str,
    /// The machine of its front end.
    pub home: usize,
    /// The machine of its Director, if it has one.
    pub director: Option<usize>,
    /// The machines of its edges.
    pub edges: Vec<usize>,
    /// Whether it keeps the rules; of whom does not, nothing is expected.
    pub is_honest: bool,
}

impl Organisation {
    /// Whether a machine is a server of its own, inside.
    pub fn has_inside(&self, party: Party) -> bool {
        party == Party::Machine(self.home) || self.director.map(Party::Machine) == Some(party)
    }
}

/// Whether an organisation has a Director between its edges and its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Edges pass what comes to the home, which asks for passwords.
    Home,
    /// Edges pass what comes to the Director, which asks for passwords.
    Director,
}

/// Who is who, and who decided what, when.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// In the order in which they were founded.
    pub organisations: Vec<Organisation>,
    /// The hub's machine, if there is one.
    pub hub: Option<usize>,
    /// Whether the hub says for which member it speaks.
    hub_make: Option<HubMake>,
    /// Each organisation's decisions about other domains, in order.
    decisions: Vec<(Instant, usize, &'static str, Road)>,
}

impl Layout {
    /// The organisation of a domain.
    pub fn organisation(&self, domain: &str) -> Option<&Organisation> {
        self.organisations.iter().find(|organisation| organisation.domain == domain)
    }

    /// The organisation whose edge this is.
    pub fn edge_of(&self, party: Party) -> Option<usize> {
        let Party::Machine(machine) = party else { return None };
        self.organisations.iter().position(|organisation| organisation.edges.contains(&machine))
    }

    /// Whether this is the hub.
    pub fn is_hub(&self, party: Party) -> bool {
        self.hub.map(Party::Machine) == Some(party)
    }

    /// Organisations between which nothing passes at a time, by their domains, each pair both ways: one at least has blocked the
    /// other, or they do not mean the same road.
    pub fn apart(&self, at: Instant) -> BTreeSet<(String, String)> {
        let road = |one: usize, other: usize| self.road(at, one, self.organisations[other].domain);
        let by_hub = |road: Road| road == Road::Hub;
        let mut apart = BTreeSet::new();
        for one in 0..self.organisations.len() {
            for other in 0..self.organisations.len() {
                let (ours, theirs) = (road(one, other), road(other, one));
                let fits = ![ours, theirs].contains(&Road::Blocked) && by_hub(ours) == by_hub(theirs);
                if one != other && !fits {
                    let domain = |index: usize| self.organisations[index].domain.to_owned();
                    apart.insert((domain(one), domain(other)));
                }
            }
        }
        apart
    }

    /// What an organisation had decided about a domain at a time.
    pub fn road(&self, at: Instant, organisation: usize, domain: &str) -> Road {
        let of = |d: &&(Instant, usize, &str, Road)| d.0 <= at && d.1 == organisation && d.2 == domain;
        self.decisions.iter().rev().find(of).map_or(Road::Blocked, |decision| decision.3)
    }
}

/// Puts something around a machine's honest node, by the machine's name.
pub type Wrap = fn(&str, Factory) -> Factory;

/// Nothing around anything.
pub fn honest(_: &str, factory: Factory) -> Factory {
    factory
}

/// A federated world.
pub struct Federated {
    /// The world itself.
    pub world: World,
    /// Who is who.
    pub layout: Layout,
    wrap: Wrap,
}

impl Federated {
    /// A world without anybody.
    pub fn new(seed: u64, conditions: Conditions, wrap: Wrap) -> Federated {
        Federated { world: World::new(seed, conditions), layout: Layout::default(), wrap }
    }

    /// Founds an organisation with so many edges and these users; nothing runs yet.
    pub fn found(&mut self, domain: &'static str, edges: usize, behind: Behind, users: &[&str]) -> usize {
        let organisation = self.layout.organisations.len();
        let network = Network::Inside(u8::try_from(organisation + 1).expect("few organisations"));
        let short = domain.split('.').next().expect("a domain has a label");
        let names = Names::of(domain);
        let interface = |network, host: &str, anchors, ports: &[(Transport, u16)]| Interface {
            network,
            host: host.to_owned(),
            certificate: certificate(&[host], anchors),
            ports: ports.to_vec(),
        };
        let tls = [(Transport::Tls, 5061)];
        let ports = [(Transport::Tcp, 5060), (Transport::Tls, 5061)];
        let interfaces = vec![interface(network, &names.home, Anchors::Servers, &ports)];
        let name = format!("{short}-home");
        let factory = (self.wrap)(&name, home_of(domain));
        let home = self.world.add_server(&name, interfaces, factory);
        for user in users {
            self.world.provision_user(home, user, domain, &password(user));
        }
        let director = (behind == Behind::Director).then(|| {
            let interfaces = vec![interface(network, &names.director, Anchors::Servers, &tls)];
            let name = format!("{short}-director");
            let factory = (self.wrap)(&name, director_of(domain));
            self.world.add_server(&name, interfaces, factory)
        });
        assert!(edges <= EDGES_MAX, "{domain} has servers that nobody knows");
        let edges = (1..=edges).map(|number| {
            // One name for all of them, where any will do, and one of its own, for what only it can do.
            let own = names.edge_inside_number(number);
            let interfaces = vec![
                Interface {
                    network,
                    host: own.clone(),
                    certificate: certificate(&[&own, &names.edge_inside], Anchors::Servers),
                    ports: tls.to_vec(),
                },
                Interface {
                    network: Network::Internet,
                    host: names.edge_outside.clone(),
                    certificate: certificate(&[&names.edge_outside, domain], Anchors::Partners),
                    ports: tls.to_vec(),
                },
            ];
            let name = if edges == 1 { format!("{short}-edge") } else { format!("{short}-edge-{number}") };
            let factory = (self.wrap)(&name, edge_of(domain, behind, [organisation as u8 + 1; 32]));
            let machine = self.world.add_server(&name, interfaces, factory);
            self.world.dns.add_address(&names.edge_inside, network.machine(machine));
            machine
        });
        let edges = edges.collect();
        // Who does not list us finds us so.
        let found_by = Srv { priority: 0, weight: 0, port: 5061, target: names.edge_outside.clone() };
        self.world.dns.srv(&format!("_sipfederationtls._tcp.{domain}"), vec![found_by]);
        self.layout.organisations.push(Organisation { domain, home, director, edges, is_honest: true });
        organisation
    }

    /// Founds an organisation that has a good certificate and means ill, once the others are there: each is its partner, and
    /// it forges whatever it can.
    pub fn found_dishonest(&mut self, domain: &'static str) -> usize {
        let organisation = self.layout.organisations.len();
        let edges = self.layout.organisations.iter().flat_map(|other| &other.edges).chain(&self.layout.hub);
        let address = |machine: &usize| self.world.address_in(*machine, Network::Internet, Transport::Tls);
        let targets: Vec<SocketAddr> = edges.map(address).collect();
        let host = format!("edge.{domain}");
        let interfaces = vec![Interface {
            network: Network::Internet,
            certificate: certificate(&[&host, domain], Anchors::Partners),
            host,
            ports: vec![(Transport::Tls, 5061)],
        }];
        let factory: Factory = Box::new(move |boot| Box::new(Mallory::new(targets.clone(), boot)));
        let machine = self.world.add_server("mallory", interfaces, factory);
        let edges = vec![machine];
        let evil = Organisation { domain, home: machine, director: None, edges, is_honest: false };
        self.layout.organisations.push(evil);
        for other in 0..organisation {
            self.decide(other, organisation, Road::Direct);
        }
        organisation
    }

    /// Founds the clearinghouse; every organisation that is there is its member.
    pub fn found_hub(&mut self, make: HubMake) -> usize {
        let interfaces = vec![Interface {
            network: Network::Internet,
            host: HUB.to_owned(),
            certificate: certificate(&[HUB], Anchors::Partners),
            ports: vec![(Transport::Tls, 5061)],
        }];
        let factory: Factory = Box::new(move |boot| {
            let hub = Box::new(AccessEdge::new(hub_config(boot)));
            if make == HubMake::Foreign { Box::new(ForeignHub(hub)) } else { hub }
        });
        let factory = (self.wrap)("hub", factory);
        let machine = self.world.add_server("hub", interfaces, factory);
        let members = self.layout.organisations.iter().map(|organisation| {
            let domain = organisation.domain;
            format!(
                "[[partner]]\ndomain = \"{domain}\"\nmode = \"member\"\nnext_hop = \"edge.{domain}:5061\"\n"
            )
        });
        let policy = Policy::parse(&members.collect::<String>(), &[] as &[&str]).expect("members");
        self.world.set_policy(machine, policy);
        self.layout.hub = Some(machine);
        self.layout.hub_make = Some(make);
        machine
    }

    /// The machine where somebody (`user@domain`) is at home.
    pub fn home_of(&self, address: &str) -> usize {
        let domain = address.split_once('@').map_or("", |(_, domain)| domain);
        self.layout.organisation(domain).expect("the domain of an organisation").home
    }

    /// Starts every machine that does not run.
    pub fn start(&mut self) {
        for machine in 0..self.world.machine_count() {
            if !self.world.is_running(machine) {
                self.world.start(machine);
            }
        }
    }

    /// Decides how an organisation reaches another; in force at all of its edges at once.
    pub fn decide(&mut self, organisation: usize, other: usize, road: Road) {
        let domain = self.layout.organisations[other].domain;
        self.layout.decisions.push((self.world.now(), organisation, domain, road));
        let mut roads = BTreeMap::new();
        for (_, _, domain, road) in self.layout.decisions.iter().filter(|d| d.1 == organisation) {
            roads.insert(*domain, *road);
        }
        let text = policy_text(&roads, self.layout.hub_make.unwrap_or(HubMake::Ours));
        let Organisation { domain, edges, .. } = self.layout.organisations[organisation].clone();
        for edge in edges {
            let policy = Policy::parse(&text, &[domain]).expect("a policy of known domains");
            self.world.set_policy(edge, policy);
        }
    }

    /// Both decide the same about each other.
    pub fn agree(&mut self, one: usize, other: usize, road: Road) {
        self.decide(one, other, road);
        self.decide(other, one, road);
    }

    /// A device of a user's inside the organisation.
    pub fn device(&mut self, organisation: usize, name: &str) -> usize {
        let home = self.layout.organisations[organisation].home;
        let network = Network::Inside(u8::try_from(organisation + 1).expect("few organisations"));
        let servers = vec![self.world.address_in(home, network, Transport::Tcp)];
        self.add_device(organisation, network, name, Transport::Tcp, servers)
    }

    /// A device of a user's on the internet, with a way through each edge, at most two.
    pub fn remote_device(&mut self, organisation: usize, name: &str) -> usize {
        let edges = self.layout.organisations[organisation].edges.clone();
        let address = |edge: &usize| self.world.address_in(*edge, Network::Internet, Transport::Tls);
        let servers = edges.iter().take(2).map(address).collect();
        self.add_device(organisation, Network::Internet, name, Transport::Tls, servers)
    }

    fn add_device(
        &mut self,
        organisation: usize,
        network: Network,
        name: &str,
        transport: Transport,
        servers: Vec<SocketAddr>,
    ) -> usize {
        let domain = self.layout.organisations[organisation].domain;
        let user = name.split('-').next().unwrap_or(name);
        let config = DeviceConfig {
            name: name.into(),
            user: user.into(),
            domain: domain.into(),
            sign_in: SignIn::Password(password(user)),
            may_sign_in: true,
            transport,
            servers,
            instance: Some(format!("urn:uuid:00000000-0000-4000-8000-{name:0>12}")),
            algorithm: Algorithm::Sha256,
            expires_seconds: 600,
            keep_alive: Duration::from_secs(120),
            cpim: true,
            presence_expires_seconds: 180,
            script: Script {
                on_message: Reaction::Take,
                on_invite: CallPlan::Answer(Duration::from_secs(1)),
                on_notify: NotifyPlan::Take,
            },
        };
        self.world.add_device_in(network, config)
    }

    /// Ends whoever means ill.
    pub fn stop_dishonest(&mut self) {
        let evil = self.layout.organisations.iter().filter(|organisation| !organisation.is_honest);
        for machine in evil.map(|organisation| organisation.home).collect::<Vec<_>>() {
            self.world.crash(machine, Crash::Killed);
        }
    }

    /// What all checkers say about all that happened, in a world that has come to rest. Ends it: whoever means ill is gone, and
    /// all devices fall silent for `silence`, see [`conclude`]. Call [`Federated::stop_dishonest`] some minutes before.
    pub fn violations(&mut self, silence: Duration) -> Vec<Violation> {
        let (honest, evil): (Vec<_>, Vec<_>) = self.layout.organisations.iter().partition(|o| o.is_honest);
        let machines = honest
            .iter()
            .flat_map(|o| [Some(o.home), o.director].into_iter().flatten().chain(o.edges.clone()));
        let mut machines: Vec<usize> = machines.chain(self.layout.hub).collect();
        machines.sort_unstable();
        assert!(
            evil.iter().all(|o| !self.world.is_running(o.home)),
            "whoever means ill disturbs to the last"
        );
        let mut violations = check::run(&self.world, &self.layout);
        let apart = self.layout.apart(self.world.now());
        violations.extend(conclude(&mut self.world, &machines, apart, silence));
        violations
    }
}

/// A hub of another make: it knows nothing of the header by which ours says who speaks.
struct ForeignHub(Box<AccessEdge>);

impl Role for ForeignHub {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        Role::handle(&mut *self.0, now, input);
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        Some(match Role::poll_output(&mut *self.0)? {
            Output::Send { flow, bytes } => {
                let message = Message::parse(bytes.clone());
                let bytes =
                    message.map_or(bytes, |message| Edit::new(&message).remove_named(MEMBER_HEADER).write());
                Output::Send { flow, bytes }
            }
            other => other,
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        Role::next_deadline(&*self.0)
    }

    fn set_policy(&mut self, now: Now, policy: std::sync::Arc<Policy>) {
        Role::set_policy(&mut *self.0, now, policy);
    }

    fn load(&self) -> Option<Load> {
        Role::load(&*self.0)
    }
}

/// Most edges of an organisation.
const EDGES_MAX: usize = 2;

/// The host names of an organisation.
struct Names {
    home: String,
    director: String,
    edge_inside: String,
    edge_outside: String,
}

impl Names {
    fn of(domain: &str) -> Names {
        let [home, director, edge_inside, edge_outside] =
            ["fe", "dir", "edge-in", "edge"].map(|name| format!("{name}.{domain}"));
        Names { home, director, edge_inside, edge_outside }
    }

    /// The inside name of one edge alone.
    fn edge_inside_number(&self, number: usize) -> String {
        self.edge_inside.replacen('.', &format!("-{number}."), 1)
    }

    /// Its servers inside, for each to know all others.
    fn servers(&self) -> Vec<TrustedServer> {
        let server = |host: &String, role| TrustedServer { host: host.clone(), role };
        let mut servers =
            vec![server(&self.home, ServerRole::FrontEnd), server(&self.director, ServerRole::Director)];
        let edges = (1..=EDGES_MAX).map(|number| self.edge_inside_number(number));
        servers.extend(edges.map(|host| server(&host, ServerRole::AccessEdge)));
        servers
    }
}

fn tls_port(host: &str) -> HostPort {
    HostPort { host: host.to_owned(), port: 5061 }
}

pub(crate) fn home_of(domain: &'static str) -> Factory {
    let name = DomainName::parse(domain).expect("a domain name");
    let names = Names::of(domain);
    Box::new(move |boot| {
        let route = Some(tls_port(&names.edge_inside));
        let federation = FederationPolicy { route, ..FederationPolicy::default() };
        let config = config(&name, boot);
        Box::new(FrontEnd::new(frontend::Config { federation, servers: names.servers(), ..config }))
    })
}

fn director_of(domain: &'static str) -> Factory {
    let name = DomainName::parse(domain).expect("a domain name");
    let names = Names::of(domain);
    Box::new(move |boot| {
        Box::new(Director::new(director::Config {
            domains: vec![name.clone()],
            listeners: boot.listeners.clone(),
            aliases: Vec::new(),
            mode: director::Mode::Authenticate,
            servers: names.servers(),
            front_ends: vec![tls_port(&names.home)],
            route: Some(tls_port(&names.edge_inside)),
            remote_access: true,
            nonce_lifetime: Duration::from_secs(300),
            transactions_max: frontend::TRANSACTIONS_MAX,
            secret: boot.secret,
            seed: boot.seed,
        }))
    })
}

pub(crate) fn edge_of(domain: &'static str, behind: Behind, token_key: [u8; 32]) -> Factory {
    let names = Names::of(domain);
    Box::new(move |boot| {
        let next_hop = match behind {
            Behind::Home => &names.home,
            Behind::Director => &names.director,
        };
        Box::new(AccessEdge::new(access_edge::Config {
            mode: Mode::Edge,
            domains: vec![domain.to_owned()],
            next_hops: vec![tls_port(next_hop)],
            servers: names.servers(),
            token_keys: vec![token_key],
            ..hub_config(boot)
        }))
    })
}

fn hub_config(boot: &Boot) -> access_edge::Config {
    access_edge::Config {
        mode: Mode::Clearinghouse,
        domains: Vec::new(),
        listeners: boot.listeners.clone(),
        aliases: Vec::new(),
        next_hops: Vec::new(),
        servers: Vec::new(),
        policy: boot.policy.clone(),
        remote_access: true,
        token_keys: vec![[0; 32]],
        limits: Limits::default(),
        secret: boot.secret,
        seed: boot.seed,
    }
}

fn policy_text(roads: &BTreeMap<&str, Road>, hub: HubMake) -> String {
    let mut text = format!("[[clearinghouse]]\nname = \"{HUB}\"\n");
    if hub == HubMake::Foreign {
        let members = roads.iter().filter(|(_, road)| **road == Road::Hub);
        let members: Vec<String> = members.map(|(domain, _)| format!("\"{domain}\"")).collect();
        text += &format!("vouches = \"member-list\"\nmembers = [{}]\n", members.join(", "));
    }
    if roads.values().any(|road| *road == Road::Discovered) {
        text += "[discovery]\nenabled = true\n";
    }
    for (domain, road) in roads {
        let mode = match road {
            Road::Discovered => continue,
            Road::Hub if hub == HubMake::Foreign => continue,
            Road::Direct => "direct",
            Road::Hub => "clearinghouse",
            Road::Blocked => "blocked",
        };
        text += &format!(
            "[[partner]]\ndomain = \"{domain}\"\nmode = \"{mode}\"\nnext_hop = \"edge.{domain}:5061\"\n"
        );
    }
    text
}
