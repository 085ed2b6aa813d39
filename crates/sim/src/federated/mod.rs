//! Several organisations in one world, each with a home and its edges, and a clearinghouse between them.
//!
//! Inside each organisation is a network of its own; the edges and the hub meet on the internet. Which organisation talks
//! with which, over which [`Road`], is decided while the world runs, and every decision is kept with its time: the
//! checkers ([`check`]) know what was decided from this record, never from the code that they check.

pub mod check;
mod mallory;
pub mod random;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use access_edge::{AccessEdge, Limits, Mode};
use directory::DomainName;
use federation::{HostPort, Policy, ServerRole, TrustedServer};
use frontend::{FederationPolicy, FrontEnd};
use node::{Anchors, Instant, Transport};
use sip_message::digest::Algorithm;

use crate::check::Violation;
use crate::device::{CallPlan, DeviceConfig, NotifyPlan, Reaction, Script};
use crate::event::Party;
use crate::random::password;
use mallory::Mallory;

use crate::{Boot, Conditions, Factory, Interface, Network, World, certificate, config};

/// The hub's host name.
pub const HUB: &str = "hub.trade.example";

/// How an organisation reaches another, and is reached by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Road {
    /// From edge to edge.
    Direct,
    /// Through the hub.
    Hub,
    /// Not at all.
    Blocked,
}

/// One organisation.
#[derive(Clone, Debug)]
pub struct Organisation {
    /// Its SIP domain.
    pub domain: &'static str,
    /// The machine of its front end.
    pub home: usize,
    /// The machines of its edges.
    pub edges: Vec<usize>,
    /// Whether it keeps the rules; of whom does not, nothing is expected.
    pub is_honest: bool,
}

/// Who is who, and who decided what, when.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// In the order in which they were founded.
    pub organisations: Vec<Organisation>,
    /// The hub's machine, if there is one.
    pub hub: Option<usize>,
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
    pub fn found(&mut self, domain: &'static str, edges: usize, users: &[&str]) -> usize {
        let organisation = self.layout.organisations.len();
        let network = Network::Inside(u8::try_from(organisation + 1).expect("few organisations"));
        let short = domain.split('.').next().expect("a domain has a label");
        let [home, inside, outside] = ["fe", "edge-in", "edge"].map(|name| format!("{name}.{domain}"));
        let interface = |network, host: &str, anchors, ports: &[(Transport, u16)]| Interface {
            network,
            host: host.to_owned(),
            certificate: certificate(&[host], anchors),
            ports: ports.to_vec(),
        };
        let tls = [(Transport::Tls, 5061)];
        let ports = [(Transport::Tcp, 5060), (Transport::Tls, 5061)];
        let interfaces = vec![interface(network, &home, Anchors::Servers, &ports)];
        let name = format!("{short}-home");
        let factory = (self.wrap)(&name, home_of(domain, &inside));
        let machine = self.world.add_server(&name, interfaces, factory);
        for user in users {
            self.world.provision_user(machine, user, domain, &password(user));
        }
        let edges = (1..=edges).map(|number| {
            let interfaces = vec![
                interface(network, &inside, Anchors::Servers, &tls),
                interface(Network::Internet, &outside, Anchors::Partners, &tls),
            ];
            let name = if edges == 1 { format!("{short}-edge") } else { format!("{short}-edge-{number}") };
            let factory = (self.wrap)(&name, edge_of(domain, &home, [organisation as u8 + 1; 32]));
            self.world.add_server(&name, interfaces, factory)
        });
        let edges = edges.collect();
        self.layout.organisations.push(Organisation { domain, home: machine, edges, is_honest: true });
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
        self.layout.organisations.push(Organisation { domain, home: machine, edges, is_honest: false });
        for other in 0..organisation {
            self.decide(other, organisation, Road::Direct);
        }
        organisation
    }

    /// Founds the clearinghouse; every organisation that is there is its member.
    pub fn found_hub(&mut self) -> usize {
        let interfaces = vec![Interface {
            network: Network::Internet,
            host: HUB.to_owned(),
            certificate: certificate(&[HUB], Anchors::Partners),
            ports: vec![(Transport::Tls, 5061)],
        }];
        let factory = (self.wrap)("hub", Box::new(|boot| Box::new(AccessEdge::new(hub_config(boot)))));
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
        machine
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
        let text = policy_text(&roads);
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
            password: password(user),
            transport,
            servers,
            instance: Some(format!("urn:uuid:00000000-0000-4000-8000-{name:0>12}")),
            algorithm: Algorithm::Sha256,
            expires_seconds: 600,
            keep_alive: Duration::from_secs(120),
            cpim: true,
            presence_expires_seconds: 600,
            script: Script {
                on_message: Reaction::Take,
                on_invite: CallPlan::Answer(Duration::from_secs(1)),
                on_notify: NotifyPlan::Take,
            },
        };
        self.world.add_device_in(network, config)
    }

    /// What the checkers say about all that happened.
    pub fn violations(&self) -> Vec<Violation> {
        check::run(&self.world, &self.layout)
    }
}

fn home_of(domain: &'static str, edge: &str) -> Factory {
    let name = DomainName::parse(domain).expect("a domain name");
    let edge = edge.to_owned();
    Box::new(move |boot| {
        let route = Some(HostPort { host: edge.clone(), port: 5061 });
        let servers = vec![TrustedServer { host: edge.clone(), role: ServerRole::AccessEdge }];
        let federation = FederationPolicy { route, ..FederationPolicy::default() };
        Box::new(FrontEnd::new(frontend::Config { federation, servers, ..config(&name, boot) }))
    })
}

fn edge_of(domain: &'static str, home: &str, token_key: [u8; 32]) -> Factory {
    let home = home.to_owned();
    Box::new(move |boot| {
        Box::new(AccessEdge::new(access_edge::Config {
            mode: Mode::Edge,
            domains: vec![domain.to_owned()],
            next_hops: vec![HostPort { host: home.clone(), port: 5061 }],
            servers: vec![TrustedServer { host: home.clone(), role: ServerRole::FrontEnd }],
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

fn policy_text(roads: &BTreeMap<&str, Road>) -> String {
    let mut text = format!("[[clearinghouse]]\nname = \"{HUB}\"\n");
    for (domain, road) in roads {
        let mode = match road {
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
