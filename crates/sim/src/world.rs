//! The world itself: one virtual clock, one queue of what is going to happen, one seed.
//!
//! What happens at the same microsecond happens in the order in which it was planned. Everything random is drawn from
//! streams of the one seed (network, each disk, each device), so that a world is a function of its seed and of the
//! commands that it is given, and a change in one device's behaviour does not reshuffle the draws of all others.

mod pictures;
mod record;
mod wires;

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use directory::{
    AppPassword, DigestSecrets, DirectoryAccount, DomainName, ObjectId, Permissions, Purpose,
    Role as Account, SipAddress, Standing, User, UserId, UserState,
};
use federation::Policy;
use frontend::admin::{Answer, Call, FromDirectory};
use node::{
    Anchors, CallToken, CloseReason, ConnectError, ConnectionId, Flow, Input, Instant, Listener, Now, Output,
    PeerCertificate, ResolveToken, Transport, UnixMillis,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::{Change, DirectoryUser, Replication};
use sip_message::digest::{self, Algorithm, Ha1};

use crate::check::Resident;
use crate::device::{Device, DeviceConfig, Effect, Happening, Posture, SignIn, TransferTo, Watched};
use crate::disk::{Disk, DiskMode, Done};
use crate::dns::Zone;
use crate::event::{Crash, Event, Mark, Party, What};
use crate::link::{Conditions, Stream};
use crate::network::Network;
use crate::role::{Home, Load, Role};

/// Wall-clock time when a world begins: 2026-11-22T01:00:00Z.
const EPOCH: UnixMillis = UnixMillis(1_795_309_200_000);
/// Timers in a row at one instant after which a node is said to spin.
const TIMERS_AT_ONCE_MAX: u32 = 1_000;
/// How long a DNS answer takes.
const DNS_LATENCY: Duration = Duration::from_millis(3);

/// What a node is made of at each start of its machine.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Counts starts, from 0.
    pub number: u32,
    /// Kept over restarts.
    pub secret: [u8; 32],
    /// Fresh at each start.
    pub seed: [u8; 32],
    /// The machine's listeners.
    pub listeners: Vec<Listener>,
    /// The federation policy beside the machine's configuration.
    pub policy: Arc<Policy>,
}

/// One network that a machine is in.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Which.
    pub network: Network,
    /// The host name that leads there; it goes into DNS.
    pub host: String,
    /// The machine's certificate in this network, shown to whoever dials it over TLS, and to whom it dials.
    pub certificate: PeerCertificate,
    /// What it listens on.
    pub ports: Vec<(Transport, u16)>,
}

/// Makes a machine's node at each start.
pub type Factory = Box<dyn Fn(&Boot) -> Box<dyn Role>>;

/// A machine that runs a node.
struct Machine {
    name: String,
    /// By network: its address there, and its certificate.
    interfaces: BTreeMap<Network, (IpAddr, Arc<PeerCertificate>)>,
    listeners: Vec<Listener>,
    policy: Arc<Policy>,
    secret: [u8; 32],
    factory: Factory,
    node: Option<Box<dyn Role>>,
    boots: u32,
    booted_at: Instant,
    disk: Disk,
    /// What the wall clock is ahead by, in milliseconds.
    wall_ahead_ms: i64,
    armed: Option<Instant>,
    timers_at_once: (Instant, u32),
}

impl Machine {
    /// Its certificate at one of its addresses.
    fn certificate(&self, address: IpAddr) -> Option<&Arc<PeerCertificate>> {
        self.interfaces.values().find(|(own, _)| *own == address).map(|(_, certificate)| certificate)
    }
}

/// What the directory says of a user.
pub fn from_directory(user: &str, domain: &str, standing: Standing) -> FromDirectory {
    let domain = DomainName::parse(domain).expect("a domain name");
    let mut object = [0; 16];
    object[..user.len().min(16)].copy_from_slice(&user.as_bytes()[..user.len().min(16)]);
    FromDirectory {
        address: SipAddress::new(user, &domain).expect("a user name"),
        aliases: Vec::new(),
        display_name: String::new(),
        account: DirectoryAccount {
            object: ObjectId(object),
            standing,
            expires_unix_ms: None,
            bind_name: format!("{user}@corp.example"),
            sign_in_names: vec![format!("{user}@corp.example")],
            role: Account::Person,
            permissions: Permissions::default(),
        },
    }
}

/// The name of the app password that a user of the directory begins with.
pub fn app_password_of(user: &str) -> String {
    format!("{user}~device")
}

/// The facts of a certificate that bears these names, host names and SIP domains alike.
pub fn certificate(names: &[&str], trusted_by: Anchors) -> PeerCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    PeerCertificate {
        sip_domains: names.clone(),
        dns_names: names,
        ip_addresses: Vec::new(),
        sha256: [0; 32],
        not_after: UnixMillis(u64::MAX),
        trusted_by: vec![trusted_by],
        distrust: String::new(),
    }
}

struct Attached {
    device: Device,
    running: bool,
    armed: Option<Instant>,
    address: SocketAddr,
    /// The stream of each flow.
    streams: BTreeMap<usize, u64>,
    cut: bool,
}

/// Something that is going to happen.
enum Job {
    Datagram { from: SocketAddr, sender: Party, to: SocketAddr, bytes: Bytes },
    Lane { stream: u64, lane: usize },
    StallTimeout { stream: u64, lane: usize, stall: u32 },
    Reset { stream: u64, end: usize },
    Syn { stream: u64 },
    SynAck { stream: u64 },
    DialFailed { stream: u64, error: ConnectError },
    ClosedByOwner { stream: u64, end: usize, reason: CloseReason },
    Wake { party: Party },
    DiskBegin { machine: usize },
    DiskDone { machine: usize, boot: u32 },
    Promised { machine: usize, boot: u32, done: Done },
    Resolved { machine: usize, boot: u32, token: ResolveToken, question: node::Question },
}

struct Scheduled {
    at: Instant,
    serial: u64,
    job: Job,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// A simulated world. Furnish it with machines, users and devices, command them, let time pass with
/// [`World::run_for`], and look at what happened.
pub struct World {
    /// What the network does.
    pub conditions: Conditions,
    /// What DNS says.
    pub dns: Zone,
    seed: u64,
    now: Instant,
    serial: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    network: ChaCha8Rng,
    machines: Vec<Machine>,
    devices: Vec<Attached>,
    links_cut: BTreeSet<(usize, usize)>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    users: BTreeMap<String, UserId>,
    next_call: u64,
    next_mark: u64,
    events: Vec<Event>,
    trace: DefaultHasher,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, conditions: Conditions) -> World {
        World {
            conditions,
            dns: Zone::default(),
            seed,
            now: Instant(0),
            serial: 0,
            queue: BinaryHeap::new(),
            network: stream_of(seed, "network", 0),
            machines: Vec::new(),
            devices: Vec::new(),
            links_cut: BTreeSet::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            users: BTreeMap::new(),
            next_call: 1,
            next_mark: 1,
            events: Vec::new(),
            trace: DefaultHasher::new(),
        }
    }

    /// Adds a machine that listens on UDP and TCP 5060 and TLS 5061, not started yet. Its certificate bears `domain`.
    pub fn add_machine(&mut self, name: &str, domain: &str, factory: Factory) -> usize {
        let (network, index) = (Network::Inside(0), self.machines.len());
        let mut certificate = certificate(&[domain], Anchors::Servers);
        certificate.ip_addresses.push(network.machine(index));
        let ports = vec![(Transport::Udp, 5060), (Transport::Tcp, 5060), (Transport::Tls, 5061)];
        let host = network.machine(index).to_string();
        self.add_server(name, vec![Interface { network, host, certificate, ports }], factory)
    }

    /// Adds a machine with an interface to each of several networks, not started yet.
    pub fn add_server(&mut self, name: &str, interfaces: Vec<Interface>, factory: Factory) -> usize {
        let index = self.machines.len();
        let mut listeners = Vec::new();
        let mut places = BTreeMap::new();
        let mut rng = stream_of(self.seed, "secret", index as u64);
        for Interface { network, host, mut certificate, ports } in interfaces {
            let address = network.machine(index);
            certificate.sha256 = rng.random();
            listeners.extend(ports.into_iter().map(|(transport, port)| Listener {
                transport,
                address: SocketAddr::new(address, port),
                advertised_host: host.clone(),
                side: network.side(),
            }));
            if host.parse::<IpAddr>().is_err() {
                self.dns.add_address(&host, address);
            }
            places.insert(network, (address, Arc::new(certificate)));
        }
        self.machines.push(Machine {
            name: name.into(),
            interfaces: places,
            listeners,
            policy: Arc::default(),
            secret: rng.random(),
            factory,
            node: None,
            boots: 0,
            booted_at: Instant(0),
            disk: Disk::new(stream_of(self.seed, "disk", index as u64)),
            wall_ahead_ms: 0,
            armed: None,
            timers_at_once: (Instant(0), 0),
        });
        index
    }

    /// Writes a machine's federation policy; a node that runs takes it over at once.
    pub fn set_policy(&mut self, machine: usize, policy: Policy) {
        let policy = Arc::new(policy);
        self.machines[machine].policy = Arc::clone(&policy);
        let name = &self.machines[machine].name;
        self.record(What::Fault(format!("the policy of {name} changes")));
        let now = self.node_now(machine);
        if let Some(node) = &mut self.machines[machine].node {
            node.set_policy(now, policy);
            self.settle_machine(machine);
        }
    }

    /// Cuts or mends the line between two machines.
    pub fn set_link_cut(&mut self, one: usize, other: usize, cut: bool) {
        let link = (one.min(other), one.max(other));
        let changed = if cut { self.links_cut.insert(link) } else { self.links_cut.remove(&link) };
        if !changed {
            return;
        }
        let names = [one, other].map(|machine| self.machines[machine].name.clone()).join(" and ");
        let what = if cut { "is cut" } else { "is mended" };
        self.record(What::Fault(format!("the line between {names} {what}")));
        if !cut {
            let (one, other) = (Party::Machine(one), Party::Machine(other));
            let is_between = |s: &Stream| {
                let parties = [s.ends[0].party, s.ends[1].party];
                parties.contains(&one) && parties.contains(&other)
            };
            let between: Vec<u64> =
                self.streams.iter().filter(|(_, stream)| is_between(stream)).map(|(id, _)| *id).collect();
            for stream in between {
                for lane in 0..2 {
                    self.repay(stream, lane);
                }
            }
        }
    }

    /// The address of a machine's listener for a transport.
    pub fn server_address(&self, machine: usize, transport: Transport) -> SocketAddr {
        let listeners = &self.machines[machine].listeners;
        listeners.iter().find(|l| l.transport == transport).expect("machines listen on it").address
    }

    /// The same in one of the machine's networks.
    pub fn address_in(&self, machine: usize, network: Network, transport: Transport) -> SocketAddr {
        let mut listeners = self.machines[machine].listeners.iter();
        let is_it = |l: &&Listener| l.transport == transport && Network::of(l.address.ip()) == network;
        listeners.find(is_it).expect("it listens there").address
    }

    /// Puts an account onto a machine's disk.
    pub fn provision_user(&mut self, machine: usize, user: &str, domain: &str, password: &str) {
        let domain_name = DomainName::parse(domain).expect("a domain name");
        let ha1 = |algorithm| digest::ha1(algorithm, user, domain, password);
        let (Ha1::Md5(md5), Ha1::Sha256(sha256)) = (ha1(Algorithm::Md5), ha1(Algorithm::Sha256)) else {
            unreachable!("a digest is of the algorithm that was asked for");
        };
        let id = UserId(self.users.len() as u64 + 1);
        self.users.insert(user.to_owned(), id);
        let user = User {
            id,
            address: SipAddress::new(user, &domain_name).expect("a user name"),
            display_name: String::new(),
            state: UserState::Enabled,
            role: Account::Person,
            permissions: Default::default(),
            aliases: Vec::new(),
            account: None,
            tokens_since_unix_ms: 0,
            secrets: Some(DigestSecrets { md5, sha256 }),
        };
        let change = Change::AddUser { user, at_unix_ms: 0 };
        self.machines[machine].disk.provision(&change);
        self.record(What::Durable { machine, change: Rc::new(change), outcome: node::Outcome::Applied });
    }

    /// Puts an account of the directory onto a machine's disk, with an app password for its devices. The machine must not run.
    pub fn provision_directory_user(&mut self, machine: usize, user: &str, domain: &str, password: &str) {
        let id = UserId(self.users.len() as u64 + 1);
        self.users.insert(user.to_owned(), id);
        let FromDirectory { address, aliases, display_name, account } =
            from_directory(user, domain, Standing::Active);
        let users = vec![DirectoryUser { id, address, aliases, display_name, account }];
        let step = Replication { users, ..Replication::default() };
        self.provision(machine, Change::Replicate(Box::new(step)));
        let username = app_password_of(user);
        let ha1 = |algorithm| digest::ha1(algorithm, &username, domain, password);
        let (Ha1::Md5(md5), Ha1::Sha256(sha256)) = (ha1(Algorithm::Md5), ha1(Algorithm::Sha256)) else {
            unreachable!("a digest is of the algorithm that was asked for");
        };
        let secrets = DigestSecrets { md5, sha256 };
        let (purpose, label) = (Purpose::Sip, "device".to_owned());
        let password = AppPassword { username, purpose, label, secrets, created_unix_ms: 0 };
        self.provision(machine, Change::AddAppPassword { user: id, password });
    }

    /// The id of a user who was provisioned.
    pub fn user_id(&self, user: &str) -> UserId {
        *self.users.get(user).expect("a user who was provisioned")
    }

    /// The address of a user.
    pub fn address_of(&self, user: &str, domain: &str) -> SipAddress {
        SipAddress::new(user, &DomainName::parse(domain).expect("a domain name")).expect("a user name")
    }

    /// Adds a device inside the only organisation, which does nothing yet.
    pub fn add_device(&mut self, config: DeviceConfig) -> usize {
        self.add_device_in(Network::Inside(0), config)
    }

    /// Adds a device in a network, which does nothing yet.
    pub fn add_device_in(&mut self, network: Network, config: DeviceConfig) -> usize {
        let index = self.devices.len();
        let address = SocketAddr::new(network.device(index), 5060);
        let device = Device::new(config, address, stream_of(self.seed, "device", index as u64));
        self.devices.push(Attached {
            device,
            running: true,
            armed: None,
            address,
            streams: BTreeMap::new(),
            cut: false,
        });
        index
    }

    /// Starts a machine's process.
    pub fn start(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        assert!(m.node.is_none(), "{} runs already", m.name);
        let mut rng = stream_of(self.seed, "boot", (machine as u64) << 32 | u64::from(m.boots));
        let listeners = m.listeners.clone();
        let policy = Arc::clone(&m.policy);
        let boot = Boot { number: m.boots, secret: m.secret, seed: rng.random(), listeners, policy };
        m.boots += 1;
        m.booted_at = self.now;
        m.armed = None;
        m.node = Some((m.factory)(&boot));
        self.record(What::Started { party: Party::Machine(machine) });
        self.feed(machine, Input::Timer);
    }

    /// Ends a machine's process at this very moment.
    pub fn crash(&mut self, machine: usize, crash: Crash) {
        if self.machines[machine].node.take().is_none() {
            return;
        }
        self.record(What::Stopped { party: Party::Machine(machine), crash });
        let (reached, lost) = self.machines[machine].disk.crash();
        for done in reached {
            if let Done::Durable { change, outcome, .. } = done {
                self.record(What::Durable { machine, change: Rc::new(change), outcome });
            }
        }
        for change in lost {
            self.record(What::LostInCrash { machine, change: Rc::new(change) });
        }
        self.drop_streams(Party::Machine(machine), crash);
    }

    /// Ends a device's process at this very moment.
    pub fn crash_device(&mut self, device: usize, crash: Crash) {
        if !std::mem::replace(&mut self.devices[device].running, false) {
            return;
        }
        self.record(What::Stopped { party: Party::Device(device), crash });
        let now = self.now;
        let attached = &mut self.devices[device];
        attached.device.crash(now);
        attached.streams.clear();
        attached.armed = None;
        self.drop_streams(Party::Device(device), crash);
    }

    /// Starts a device's process again.
    pub fn start_device(&mut self, device: usize) {
        if std::mem::replace(&mut self.devices[device].running, true) {
            return;
        }
        self.record(What::Started { party: Party::Device(device) });
        let now = self.now;
        self.devices[device].device.restart(now);
        self.settle_device(device);
    }

    /// Cuts or mends a device's line.
    pub fn set_cut(&mut self, device: usize, cut: bool) {
        if std::mem::replace(&mut self.devices[device].cut, cut) == cut {
            return;
        }
        let name = self.devices[device].device.config.name.clone();
        let what = if cut { "is cut off" } else { "is back on the network" };
        self.record(What::Fault(format!("{name} {what}")));
        if cut {
            return;
        }
        let party = Party::Device(device);
        let mine: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, s)| s.ends.iter().any(|e| e.party == party))
            .map(|(i, _)| *i)
            .collect();
        for stream in mine {
            for lane in 0..2 {
                self.repay(stream, lane);
            }
        }
    }

    /// Breaks all of a device's streams, as a NAT box that forgets does: both ends notice when they next send.
    pub fn break_streams(&mut self, device: usize) {
        let party = Party::Device(device);
        let name = self.devices[device].device.config.name.clone();
        self.record(What::Fault(format!("the streams of {name} break")));
        let mine = self.streams.iter().filter(|(_, s)| s.ends[0].party == party && s.ends[0].is_open());
        let mine: Vec<u64> = mine.map(|(i, _)| *i).collect();
        for stream in mine {
            for end in 0..2 {
                self.schedule(Duration::ZERO, Job::Reset { stream, end });
            }
        }
    }

    /// Breaks one flow of a device.
    pub fn break_flow(&mut self, device: usize, flow: usize) {
        let name = self.devices[device].device.config.name.clone();
        self.record(What::Fault(format!("flow {flow} of {name} breaks")));
        if let Some(stream) = self.devices[device].streams.get(&flow).copied() {
            for end in 0..2 {
                self.schedule(Duration::ZERO, Job::Reset { stream, end });
            }
        }
    }

    /// Sets what a machine's disk does.
    pub fn set_disk(&mut self, machine: usize, mode: DiskMode) {
        let name = self.machines[machine].name.clone();
        let text = match mode {
            DiskMode::Healthy => "is healthy",
            DiskMode::Full => "is full",
            DiskMode::FailNext { .. } => "will fail",
            DiskMode::Lying => "promises too early",
        };
        self.record(What::Fault(format!("the disk of {name} {text}")));
        self.machines[machine].disk.set_mode(mode);
    }

    /// Steps a machine's wall clock.
    pub fn step_clock(&mut self, machine: usize, by_ms: i64) {
        let name = self.machines[machine].name.clone();
        self.record(What::Fault(format!("the clock of {name} jumps by {by_ms} ms")));
        self.machines[machine].wall_ahead_ms += by_ms;
    }

    /// Lets a device register, and stay registered.
    pub fn register(&mut self, device: usize) {
        self.command(device, |d, now| d.register(now));
    }

    /// Lets a device remove its bindings.
    pub fn unregister(&mut self, device: usize) {
        self.command(device, |d, now| d.unregister(now));
    }

    /// Lets a device send a message to `to` (`user@domain`); returns its mark.
    pub fn send_message(&mut self, device: usize, to: &str, forged_from: Option<&str>) -> Mark {
        let number = self.next_mark;
        self.next_mark += 1;
        let recipient = to.split_once('@').map_or(to, |(user, _)| user).to_owned();
        let from = self.devices[device].device.config.user.clone();
        let mark = Mark { from, to: recipient, number };
        let (sent, to, forged) = (mark.clone(), to.to_owned(), forged_from.map(str::to_owned));
        self.command(device, move |d, now| d.send_message(now, sent, &to, forged.as_deref()));
        mark
    }

    /// Lets a device call `callee`; returns the Call-ID, or nothing where the device has no way to the server.
    pub fn call(
        &mut self,
        device: usize,
        callee: &str,
        cancel_after: Option<Duration>,
        talk_for: Duration,
    ) -> Option<String> {
        self.command(device, |d, now| d.call(now, callee, cancel_after, talk_for))
    }

    /// Lets a device transfer a call that it is in.
    pub fn transfer(&mut self, device: usize, call: &str, to: &TransferTo) {
        self.command(device, |d, now| d.transfer(now, call, to));
    }

    /// Lets a device end a call that it is in.
    pub fn hang_up(&mut self, device: usize, call: &str) {
        self.command(device, |d, now| d.end_call(now, call));
    }

    /// Puts a change onto a machine's disk as if it had always been there. The machine must not run.
    pub fn provision(&mut self, machine: usize, change: Change) {
        assert!(self.machines[machine].node.is_none(), "{} would not see it", self.machines[machine].name);
        self.machines[machine].disk.provision(&change);
        self.record(What::Durable { machine, change: Rc::new(change), outcome: node::Outcome::Applied });
    }

    /// Lets a device say this of its owner from now on, or nothing any more.
    pub fn publish(&mut self, device: usize, posture: Option<Posture>) {
        self.command(device, |d, now| d.publish(now, posture));
    }

    /// Lets a device watch.
    pub fn watch(&mut self, device: usize, watched: Watched) {
        self.command(device, |d, now| d.watch(now, watched));
    }

    /// Lets a device watch no more.
    pub fn unwatch(&mut self, device: usize, watched: &Watched) {
        self.command(device, |d, now| d.unwatch(now, watched));
    }

    /// Lets a device refresh a subscription before its time.
    pub fn poll_watch(&mut self, device: usize, watched: &Watched) {
        self.command(device, |d, now| d.poll_watch(now, watched));
    }

    /// Puts an administrator's call to a machine; its answer is among the events, by the token returned.
    pub fn admin(&mut self, machine: usize, call: Call) -> u64 {
        let token = self.next_call;
        self.next_call += 1;
        self.feed(machine, Input::Called { token: CallToken(token), call });
        token
    }

    /// An administrator's call whose answer is waited for, for at most two seconds.
    pub fn ask(&mut self, machine: usize, call: Call) -> Option<Answer> {
        let seen = self.events.len();
        let wanted = self.admin(machine, call);
        let until = self.now + Duration::from_secs(2);
        loop {
            let answer = self.events[seen..].iter().find_map(|e| match &e.what {
                What::Answered { token, answer, .. } if *token == wanted => Some((**answer).clone()),
                _ => None,
            });
            if answer.is_some() || !self.step(until) {
                return answer;
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// World time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A machine's wall clock, in milliseconds since 1970.
    pub fn wall_unix_ms(&self, machine: usize) -> u64 {
        self.node_now(machine).wall.0
    }

    /// What happened so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// A number that is the same for two worlds exactly when (but for a chance of 2^-64) the same happened in them.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// A device.
    pub fn device(&self, device: usize) -> &Device {
        &self.devices[device].device
    }

    /// A device's script, to be changed.
    pub fn script(&mut self, device: usize) -> &mut crate::device::Script {
        &mut self.devices[device].device.config.script
    }

    /// Lets a device ask for these times from now on, in seconds: for registrations, and for publications and subscriptions. Its
    /// streams are pinged as seldom as RFC 5626 §4.4.1 lets it.
    pub fn set_expires(&mut self, device: usize, registration_seconds: u32, presence_seconds: u32) {
        let config = &mut self.devices[device].device.config;
        config.expires_seconds = registration_seconds;
        config.presence_expires_seconds = presence_seconds;
        config.keep_alive = Duration::from_secs(120);
    }

    /// Gives a device something else to sign in with, or says that what it has is good no more.
    pub fn set_sign_in(&mut self, device: usize, sign_in: Option<SignIn>) {
        let config = &mut self.devices[device].device.config;
        config.may_sign_in = sign_in.is_some();
        if let Some(sign_in) = sign_in {
            config.sign_in = sign_in;
        }
    }

    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// Whether a device's process runs and its line is whole.
    pub fn is_reachable(&self, device: usize) -> bool {
        self.devices[device].running && !self.devices[device].cut
    }

    /// A machine's name.
    pub fn machine_name(&self, machine: usize) -> &str {
        &self.machines[machine].name
    }

    /// What a machine says of itself; `None` where it does not run or does not answer.
    pub fn load(&mut self, machine: usize) -> Option<Load> {
        if let Some(load) = self.machines[machine].node.as_ref()?.load() {
            return Some(load);
        }
        match self.ask(machine, Call::Status) {
            Some(Answer::Status(status)) => Some(status.into()),
            _ => None,
        }
    }

    /// How many machines there are.
    pub fn machine_count(&self) -> usize {
        self.machines.len()
    }

    /// Whether a machine's process runs.
    pub fn is_running(&self, machine: usize) -> bool {
        self.machines[machine].node.is_some()
    }

    /// What is durable on a machine.
    pub fn tables(&self, machine: usize) -> &records::memory::Tables {
        self.machines[machine].disk.tables()
    }

    /// Streams of which this machine's end is open.
    pub fn open_streams(&self, machine: usize) -> usize {
        let party = Party::Machine(machine);
        let ends = self.streams.values().flat_map(|s| &s.ends);
        ends.filter(|e| e.party == party && e.is_open()).count()
    }

    /// The world's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whose device a device is.
    pub fn resident(&self, device: usize) -> Resident {
        let config = &self.devices[device].device.config;
        Resident {
            name: config.name.clone(),
            user: config.user.clone(),
            domain: config.domain.clone(),
            instance: config.instance.clone(),
            by_token: matches!(config.sign_in, SignIn::Token(_)),
        }
    }

    fn command<T>(&mut self, device: usize, act: impl FnOnce(&mut Device, Instant) -> T) -> T
    where
        T: Default,
    {
        if !self.devices[device].running {
            return T::default();
        }
        let now = self.now;
        let result = act(&mut self.devices[device].device, now);
        self.settle_device(device);
        result
    }

    /// Does the next thing, if it is due by `until`.
    fn step(&mut self, until: Instant) -> bool {
        match self.queue.peek() {
            Some(Reverse(next)) if next.at <= until => {}
            _ => return false,
        }
        let Reverse(next) = self.queue.pop().expect("it was there when peeked at");
        self.now = next.at;
        self.run(next.job);
        true
    }

    fn schedule(&mut self, after: Duration, job: Job) {
        let at = self.now + after;
        self.schedule_at(at, job);
    }

    fn schedule_at(&mut self, at: Instant, job: Job) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled { at, serial: self.serial, job }));
    }

    fn run(&mut self, job: Job) {
        match job {
            Job::Datagram { from, sender, to, bytes } => self.datagram_arrives(from, sender, to, bytes),
            Job::Lane { stream, lane } => self.lane_ready(stream, lane),
            Job::StallTimeout { stream, lane, stall } => {
                let over = self.streams.get(&stream).is_none_or(|s| s.lanes[lane].stall != stall);
                if !over {
                    self.end_closed(stream, lane, CloseReason::Broken);
                }
            }
            Job::Reset { stream, end } => {
                if !self.is_cut(stream) {
                    self.end_closed(stream, end, CloseReason::Broken);
                }
            }
            Job::Syn { stream } => self.syn(stream),
            Job::SynAck { stream } => self.syn_ack(stream),
            Job::DialFailed { stream, error } => self.dial_failed(stream, error),
            Job::ClosedByOwner { stream, end, reason } => self.tell_closed(stream, end, reason),
            Job::Wake { party } => self.wake(party),
            Job::DiskBegin { machine } => {
                let now = self.now;
                if let Some(at) = self.machines[machine].disk.begin(now) {
                    let boot = self.machines[machine].boots;
                    self.schedule_at(at, Job::DiskDone { machine, boot });
                }
            }
            Job::DiskDone { machine, boot } => {
                if self.machines[machine].boots == boot && self.machines[machine].node.is_some() {
                    for done in self.machines[machine].disk.finish() {
                        self.disk_done(machine, done);
                    }
                    self.wind_disk(machine);
                }
            }
            Job::Promised { machine, boot, done } => {
                if self.machines[machine].boots == boot {
                    self.disk_done(machine, done);
                }
            }
            Job::Resolved { machine, boot, token, question } => {
                if self.machines[machine].boots == boot {
                    let answer = self.dns.ask(&question);
                    self.feed(machine, Input::Resolved { token, answer });
                }
            }
        }
    }

    fn wake(&mut self, party: Party) {
        match party {
            Party::Machine(machine) => {
                let m = &mut self.machines[machine];
                if m.armed.is_none_or(|at| at > self.now) {
                    return;
                }
                m.armed = None;
                let count = if m.timers_at_once.0 == self.now { m.timers_at_once.1 + 1 } else { 0 };
                m.timers_at_once = (self.now, count);
                assert!(count < TIMERS_AT_ONCE_MAX, "seed {}: {} spins at {:?}", self.seed, m.name, self.now);
                self.feed(machine, Input::Timer);
            }
            Party::Device(device) => {
                let attached = &mut self.devices[device];
                if attached.armed.is_some_and(|at| at <= self.now) {
                    attached.armed = None;
                    self.tell(device, Happening::Wake);
                }
            }
        }
    }

    /// Feeds a node.
    fn feed(&mut self, machine: usize, input: Input<Home>) {
        let now = self.node_now(machine);
        let Some(node) = &mut self.machines[machine].node else { return };
        node.handle(now, input);
        self.settle_machine(machine);
    }

    /// Carries out what a node wants, in order.
    fn settle_machine(&mut self, machine: usize) {
        let Some(node) = &mut self.machines[machine].node else { return };
        let mut outputs = Vec::new();
        while let Some(output) = node.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(machine, output);
        }
        self.arm(machine);
        self.wind_disk(machine);
    }

    fn arm(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        let Some(deadline) = m.node.as_ref().and_then(|n| n.next_deadline()) else { return };
        let at = Instant(m.booted_at.0.saturating_add(deadline.0)).max(self.now);
        if m.armed.is_none_or(|armed| at < armed) {
            m.armed = Some(at);
            self.schedule_at(at, Job::Wake { party: Party::Machine(machine) });
        }
    }

    fn node_now(&self, machine: usize) -> Now {
        let m = &self.machines[machine];
        let wall = EPOCH.0 + self.now.0 / 1000;
        Now {
            monotonic: Instant(self.now.0 - m.booted_at.0),
            wall: UnixMillis(wall.saturating_add_signed(m.wall_ahead_ms)),
        }
    }

    fn carry_out(&mut self, machine: usize, output: Output<Home>) {
        let party = Party::Machine(machine);
        match output {
            Output::Send { flow: Flow::Connection(ConnectionId(stream)), bytes } => {
                let end = self.end_of(stream, party);
                if let Some(end) = end {
                    self.write(stream, end, bytes);
                }
            }
            Output::Send { flow: Flow::Datagram { listener, remote }, bytes } => {
                let from = self.machines[machine].listeners[usize::from(listener.0)].address;
                self.send_datagram(party, from, remote, bytes);
            }
            Output::Connect { token, target } => {
                let port = self.network.random_range(32_768..60_000);
                // From the address in the target's network; without one, from any of that side, which leads nowhere.
                let interfaces = &self.machines[machine].interfaces;
                let near = interfaces.get(&Network::of(target.address.ip()));
                let side = interfaces.iter().find(|(network, _)| network.side() == target.side);
                let from = near.filter(|(address, _)| Network::of(*address).side() == target.side);
                let (address, _) = from.or(side.map(|(_, place)| place)).expect("a machine has the side");
                let local = SocketAddr::new(*address, port);
                self.dial(party, local, target.address, target.transport, token.0, target.expected);
            }
            Output::Close { connection: ConnectionId(stream) } => {
                if let Some(end) = self.end_of(stream, party) {
                    self.close(stream, end, CloseReason::Requested);
                }
            }
            Output::Resolve { token, question } => {
                let boot = self.machines[machine].boots;
                self.schedule(DNS_LATENCY, Job::Resolved { machine, boot, token, question });
            }
            Output::Persist { token, change, urgency } => {
                self.record(What::Submitted { machine, change: Rc::new(change.clone()) });
                let now = self.now;
                let m = &mut self.machines[machine];
                if let Some(done) = m.disk.persist(now, token, change, urgency) {
                    let boot = m.boots;
                    self.schedule(Duration::ZERO, Job::Promised { machine, boot, done });
                }
            }
            Output::Query { token, query } => {
                let now = self.now;
                self.machines[machine].disk.query(now, token, query);
            }
            Output::Answer { token, answer } => {
                self.record(What::Answered { machine, token: token.0, answer: Rc::new(answer) });
            }
            Output::Report(report) => self.record(What::Reported { machine, report: Rc::new(report) }),
        }
    }

    fn wind_disk(&mut self, machine: usize) {
        if let Some(at) = self.machines[machine].disk.begins_at() {
            let at = at.max(self.now);
            self.schedule_at(at, Job::DiskBegin { machine });
        }
    }

    fn disk_done(&mut self, machine: usize, done: Done) {
        match done {
            Done::Durable { token, change, outcome } => {
                self.record(What::Durable { machine, change: Rc::new(change), outcome });
                if let Some(token) = token {
                    self.feed(machine, Input::Persisted { token, outcome });
                }
            }
            Done::Promised(token) => {
                self.feed(machine, Input::Persisted { token, outcome: node::Outcome::Applied });
            }
            Done::Failed { token, change, error } => {
                self.record(What::Refused { machine, change: Rc::new(change) });
                self.feed(machine, Input::PersistFailed { token, error });
            }
            Done::Rows { token, rows } => self.feed(machine, Input::Rows { token, rows: Ok(rows) }),
        }
    }

    fn tell(&mut self, device: usize, happening: Happening) {
        if self.devices[device].running {
            let now = self.now;
            self.devices[device].device.handle(now, happening);
            self.settle_device(device);
        }
    }

    /// Carries out what a device wants and arms its alarm.
    fn settle_device(&mut self, device: usize) {
        let party = Party::Device(device);
        for effect in self.devices[device].device.take_effects() {
            match effect {
                Effect::Datagram { to, bytes } => {
                    let from = self.devices[device].address;
                    self.send_datagram(party, from, to, bytes);
                }
                Effect::Dial { flow, address } => {
                    let local = self.devices[device].address.ip();
                    let local = SocketAddr::new(local, self.network.random_range(32_768..60_000));
                    let transport = self.devices[device].device.config.transport;
                    let stream = self.dial(party, local, address, transport, flow as u64, None);
                    self.devices[device].streams.insert(flow, stream);
                }
                Effect::Write { flow, bytes } => {
                    if let Some(stream) = self.devices[device].streams.get(&flow).copied() {
                        self.write(stream, 0, bytes);
                    }
                }
                Effect::Hang { flow } => {
                    if let Some(stream) = self.devices[device].streams.get(&flow).copied() {
                        self.close(stream, 0, CloseReason::Requested);
                    }
                }
                Effect::Fact(fact) => self.record(What::Fact { device, fact }),
            }
        }
        let attached = &mut self.devices[device];
        if let Some(at) = attached.device.next_deadline() {
            let at = at.max(self.now);
            if attached.armed.is_none_or(|armed| at < armed || armed < self.now) {
                attached.armed = Some(at);
                self.schedule_at(at, Job::Wake { party });
            }
        }
    }
}

fn to_flow(handle: u64) -> usize {
    usize::try_from(handle).expect("flows are few")
}

/// A stream of randomness for one part of the world.
fn stream_of(seed: u64, part: &str, index: u64) -> ChaCha8Rng {
    let mut hasher = DefaultHasher::new();
    (seed, part, index).hash(&mut hasher);
    ChaCha8Rng::seed_from_u64(hasher.finish())
}
