//! Where a request goes next: RFC 3263 selection with failover, and the table of connections (RFC 5923 reuse).
//!
//! A search begins with [`Hops::find`], asks DNS and opens connections through [`Hops::poll_output`], and ends in a
//! [`HopEvent`]. When the request then fails on that hop, [`Hops::find_next`] goes on to the next candidate.
//!
//! # Order of calls
//!
//! Feed with `handle_*`, command with [`Hops::find`], [`Hops::find_next`] and [`Hops::end`]; after each call drain
//! [`Hops::poll_output`] and [`Hops::poll_event`]; call [`Hops::handle_timer`] at [`Hops::next_deadline`]. Every `find` and
//! every `find_next` gives exactly one event, unless `end` comes first. A search whose event was an error is over; one
//! that reached a hop is kept for `find_next` until the caller ends it.
//!
//! # Choices where the RFCs leave one
//!
//! - Without NAPTR records, SRV is asked for TLS, then TCP, then UDP, as far as there is a listener of that transport:
//!   what is safer, then what carries long messages, comes first (RFC 3263 §4.1 leaves the order to the client).
//! - A transport counts as ours if a listener speaks it, an address family if a listener of that transport has it: the
//!   peer must be able to come back (RFC 3261 §18.2.2).
//! - `maddr` (RFC 3261 §19.1.1) is not followed: a stranger could aim us with it.
//! - Addresses that are no single peer (unspecified, multicast, broadcast) and port 0 are refused in every spelling.
//! - A connection that we opened is reused for the same transport, address and, for TLS, name to verify. One that the
//!   peer opened is reused if its remote address is exactly the target (RFC 5923 §5) and, for TLS, its certificate
//!   bears the name.
//! - A candidate that failed is tried after all others for a while, not never: it may be the only one.

mod order;
mod special;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use node::{
    Answers, ConnectError, ConnectTarget, ConnectToken, ConnectionId, Expected, Flow, Instant, Listener,
    ListenerId, Peer, Question, ResolveError, ResolveToken, Side, Srv, Transport,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sip_message::{Host, Scheme, Uri};
use smallvec::SmallVec;

pub use node::{PeerHop, Place};

/// Most addresses that one search tries. Beyond it the caller's transaction would have timed out anyway.
const CANDIDATES_MAX: usize = 16;
/// Most DNS questions of one search: one NAPTR, three SRV, one for each candidate's host. A domain that answers with
/// ever new names must not keep us busy.
const LOOKUPS_MAX: usize = CANDIDATES_MAX + 4;
/// Most searches that wait for DNS or for a connection; what needs neither goes on. At 1 KiB each, 4 MiB.
const SEARCHES_PENDING_MAX: usize = 4096;
/// Most connections that are being opened at once: a fan-out to dead hosts must not eat the descriptors.
const CONNECTS_PENDING_MAX: usize = 1024;
/// How long a failed candidate is tried after all others: timer F at default values (RFC 3263 §4.3 leaves it open).
const MARK_TIME: Duration = Duration::from_secs(32);
/// Most marks; the oldest is forgotten first. At 64 octets each, 64 KiB.
const MARKS_MAX: usize = 1024;
/// Most servers whose connection is remembered: the partners of a large organisation. Beyond it all are looked for once more.
const WAYS_MAX: usize = 16_384;
/// How long a search waits altogether: as long as a transaction would (64*T1).
const SEARCH_TIME_MAX: Duration = Duration::from_secs(32);
/// How long a search waits for one connection while there are other candidates.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Names a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(pub u64);

/// A hop that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where to send.
    pub flow: Flow,
    /// What is spoken there.
    pub transport: Transport,
}

/// Why no hop was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// DNS knows no such host: 404 or 480 for the target, never retried.
    #[error("{0} does not exist")]
    NotFound(String),
    /// DNS failed, or every candidate was tried in vain.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// The URI asks for a transport that we do not open (sctp, ws), or for a family that we do not listen on.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// The end of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopEvent {
    /// Which.
    pub search: SearchId,
    /// How it ended.
    pub result: Result<Reached, HopError>,
}

/// What the table wants of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopOutput {
    /// See [`node::Output::Resolve`].
    Resolve(ResolveToken, Question),
    /// See [`node::Output::Connect`].
    Connect(ConnectToken, ConnectTarget),
}

/// Searches and connections. See the module's text.
pub struct Hops {
    listeners: Vec<Listener>,
    /// What [`Hops::sent_by`] shows, by listener.
    sent_by: Vec<String>,
    rng: ChaCha8Rng,
    searches: HashMap<SearchId, Search, FixedState>,
    /// Searches that wait, by deadline.
    deadlines: BTreeSet<(Instant, SearchId)>,
    lookups: BTreeMap<ResolveToken, Lookup>,
    lookup_by_question: BTreeMap<Question, ResolveToken>,
    connects: BTreeMap<ConnectToken, Connect>,
    connect_by_target: HashMap<ConnectTarget, ConnectToken, FixedState>,
    connections: HashMap<ConnectionId, Connection, FixedState>,
    /// Over which connection a server was reached last that must prove who it is: while that lives, it is not looked for again.
    ways: HashMap<Arc<PeerHop>, ConnectionId, FixedState>,
    connections_by_remote: HashMap<Address, SmallVec<[ConnectionId; 2]>, FixedState>,
    marks: HashMap<Address, Instant, FixedState>,
    /// Marks by age; an entry whose time is not that of `marks` was renewed.
    marks_by_age: VecDeque<(Instant, Address)>,
    /// Last number given to a [`ResolveToken`] or [`ConnectToken`].
    last_token: u64,
    events: VecDeque<HopEvent>,
    outputs: VecDeque<HopOutput>,
}

/// A transport address.
type Address = (Transport, SocketAddr);

/// A question that is being asked, and who waits for the answer.
struct Lookup {
    question: Question,
    waiting: BTreeSet<SearchId>,
}

/// A connection that is being opened, and who waits for it.
struct Connect {
    target: ConnectTarget,
    waiting: BTreeSet<SearchId>,
}

struct Connection {
    peer: Peer,
    /// For TLS that we opened: what was asked of the peer, and proved.
    expected: Option<Box<Expected>>,
}

struct Search {
    /// The host of the URI: the name that errors tell and that TLS verifies (RFC 5922 §7.3: never an SRV target).
    host: Target,
    /// The server that is looked for, where it must prove who it is; it says the network to look in.
    peer: Option<Arc<PeerHop>>,
    /// The URI was `sips:`.
    secure: bool,
    state: State,
    deadline: Option<Instant>,
    give_up: Instant,
    /// What is yet to do; the next step last.
    steps: SmallVec<[Step; 1]>,
    /// Marked candidates, for when there are no others.
    late: VecDeque<Address>,
    /// The address that failed over a connection that was there: not tried again when the way is looked for.
    failed: Option<Address>,
    /// What is tried if no SRV record is found (RFC 3263 §4.2).
    fallback: Option<Step>,
    tried: usize,
    looked_up: usize,
    /// What went wrong so far, for the error in the end.
    saw: Saw,
}

/// The host of a URI. Most requests go to an address that is known already: they need no text.
enum Target {
    Name(String),
    Address(IpAddr),
}

#[derive(Default)]
struct Saw {
    dns_failure: bool,
    refusal: Option<&'static str>,
}

/// What a search has yet to do.
#[derive(Clone, Debug)]
enum Step {
    Naptr,
    Srv { transport: Transport, name: String },
    Host { transport: Transport, name: String, port: u16 },
    Try(Address),
}

enum State {
    Resolving { token: ResolveToken, step: Step },
    Connecting { token: ConnectToken, address: Address },
    Reached { address: Address, reused: Option<ConnectionId> },
}

/// What became of one candidate.
enum Attempt {
    Reached { reached: Reached, reused: Option<ConnectionId> },
    Connecting(ConnectToken),
    Refused(&'static str),
    Full,
}

impl Hops {
    /// An empty table. `seed` draws SRV weights and keys tables.
    pub fn new(listeners: &[Listener], seed: [u8; 32]) -> Hops {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let keyed = FixedState::with_seed(rng.random());
        Hops {
            listeners: listeners.to_vec(),
            sent_by: listeners
                .iter()
                .map(|l| format!("{}:{}", l.advertised_host, l.address.port()))
                .collect(),
            rng,
            searches: HashMap::with_hasher(keyed.clone()),
            deadlines: BTreeSet::new(),
            lookups: BTreeMap::new(),
            lookup_by_question: BTreeMap::new(),
            connects: BTreeMap::new(),
            connect_by_target: HashMap::with_hasher(keyed.clone()),
            connections: HashMap::with_hasher(keyed.clone()),
            ways: HashMap::with_hasher(keyed.clone()),
            connections_by_remote: HashMap::with_hasher(keyed.clone()),
            marks: HashMap::with_hasher(keyed),
            marks_by_age: VecDeque::new(),
            last_token: 0,
            events: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// A connection is up, accepted or ours.
    pub fn handle_connected(
        &mut self,
        _now: Instant,
        connection: ConnectionId,
        peer: &Peer,
        token: Option<ConnectToken>,
    ) {
        let connect = token.and_then(|token| self.take_connect(token));
        let expected = connect.as_ref().and_then(|c| c.target.expected.clone()).map(Box::new);
        let remote = address_of(peer);
        self.connections.insert(connection, Connection { peer: peer.clone(), expected });
        self.connections_by_remote.entry(remote).or_default().push(connection);
        let Some(connect) = connect else { return };
        self.unmark((connect.target.transport, connect.target.address));
        for id in connect.waiting {
            let reached = Reached { flow: Flow::Connection(connection), transport: peer.transport };
            let address = (connect.target.transport, connect.target.address);
            self.finish(id, address, reached);
        }
    }

    /// A connection of ours did not come up: its searches go on to their next candidates.
    pub fn handle_connect_failed(&mut self, now: Instant, token: ConnectToken, _error: &ConnectError) {
        let Some(connect) = self.take_connect(token) else { return };
        self.mark(now, (connect.target.transport, connect.target.address));
        for id in connect.waiting {
            self.advance(now, id);
        }
    }

    /// A connection is gone.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        let Some(gone) = self.connections.remove(&connection) else { return };
        let remote = address_of(&gone.peer);
        if let Some(ids) = self.connections_by_remote.get_mut(&remote) {
            ids.retain(|id| *id != connection);
            if ids.is_empty() {
                self.connections_by_remote.remove(&remote);
            }
        }
    }

    /// DNS answered.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        token: ResolveToken,
        answer: Result<Answers, ResolveError>,
    ) {
        let Some(lookup) = self.lookups.remove(&token) else { return };
        self.lookup_by_question.remove(&lookup.question);
        for id in lookup.waiting {
            self.resolved(now, id, &answer);
        }
    }

    /// Begins a search for the next hop of a URI (RFC 3263 §4). `sips` asks for TLS all the way.
    pub fn find(&mut self, now: Instant, search: SearchId, uri: &Uri<'_>) {
        self.end(search);
        match self.begin(now, uri) {
            Ok(begun) => self.run(now, search, begun),
            Err(reason) => {
                self.events.push_back(HopEvent { search, result: Err(HopError::Unsupported(reason)) });
            }
        }
    }

    /// Begins a search for a server that must prove who it is.
    pub fn find_peer(&mut self, now: Instant, search: SearchId, peer: &Arc<PeerHop>) {
        self.end(search);
        match begin_peer(now, peer) {
            Ok(begun) => match self.way_to(peer) {
                Some(connection) => self.reach(search, begun, connection),
                None => self.run(now, search, begun),
            },
            Err(reason) => {
                self.events.push_back(HopEvent { search, result: Err(HopError::Unsupported(reason)) });
            }
        }
    }

    /// The connection that leads to a server, if one does already.
    fn way_to(&mut self, peer: &Arc<PeerHop>) -> Option<ConnectionId> {
        let connection = *self.ways.get(peer)?;
        if !self.connections.contains_key(&connection) {
            self.ways.remove(peer);
            return None;
        }
        Some(connection)
    }

    /// Ends a search over a connection that is up; what it would have done first is done should the connection fail.
    fn reach(&mut self, id: SearchId, mut search: Search, connection: ConnectionId) {
        let (transport, remote) = address_of(&self.connections[&connection].peer);
        search.tried = 1;
        search.state = State::Reached { address: (transport, remote), reused: Some(connection) };
        self.searches.insert(id, search);
        let reached = Reached { flow: Flow::Connection(connection), transport };
        self.events.push_back(HopEvent { search: id, result: Ok(reached) });
    }

    /// Remembers how the server of a search was reached.
    fn note_way(&mut self, peer: Option<Arc<PeerHop>>, reached: Reached) {
        let (Some(peer), Flow::Connection(connection)) = (peer, reached.flow) else { return };
        if self.ways.len() >= WAYS_MAX {
            self.ways.clear();
        }
        self.ways.insert(peer, connection);
    }

    /// The hop that `search` gave failed: marks it (RFC 3263 §4.3: not tried again for a while) and gives the next candidate.
    ///
    /// A connection that was there before the search and has closed since says nothing about the address: it is tried
    /// once more with a connection of its own.
    pub fn find_next(&mut self, now: Instant, search: SearchId) {
        let Some(mut found) = self.searches.remove(&search) else {
            let gone = HopError::Unreachable("the target of an ended search".to_owned());
            self.events.push_back(HopEvent { search, result: Err(gone) });
            return;
        };
        let State::Reached { address, reused } = found.state else {
            self.searches.insert(search, found);
            return;
        };
        found.give_up = now + SEARCH_TIME_MAX;
        match reused {
            Some(connection) if !self.connections.contains_key(&connection) => {
                found.tried = found.tried.saturating_sub(1);
                found.steps.push(Step::Try(address));
            }
            _ => {
                found.failed = Some(address);
                self.mark(now, address);
            }
        }
        self.run(now, search, found);
    }

    /// Ends a search; its candidates are forgotten.
    pub fn end(&mut self, search: SearchId) {
        self.events.retain(|event| event.search != search);
        let Some(ended) = self.searches.remove(&search) else { return };
        self.stop_waiting(search, &ended);
    }

    /// Takes the next ended search.
    pub fn poll_event(&mut self) -> Option<HopEvent> {
        self.events.pop_front()
    }

    /// Takes the next wish.
    pub fn poll_output(&mut self) -> Option<HopOutput> {
        self.outputs.pop_front()
    }

    /// Lets time pass (marks of failed candidates, stuck searches).
    pub fn handle_timer(&mut self, now: Instant) {
        self.forget_marks(now);
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.out_of_patience(now, id);
        }
    }

    /// When `handle_timer` is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let mark = self.marks_by_age.front().map(|(until, _)| *until);
        let search = self.deadlines.first().map(|(deadline, _)| *deadline);
        mark.into_iter().chain(search).min()
    }

    /// What is known of a connection that is up.
    pub fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.connections.get(&connection).map(|c| &c.peer)
    }

    /// Transport and remote address of a flow; `None` for a connection that is gone or a listener that does not exist.
    pub fn flow_facts(&self, flow: Flow) -> Option<(Transport, SocketAddr)> {
        match flow {
            Flow::Connection(connection) => self.peer(connection).map(|p| (p.transport, p.remote)),
            Flow::Datagram { listener, remote } => {
                let listener = self.listeners.get(usize::from(listener.0))?;
                (listener.transport == Transport::Udp).then_some((listener.transport, remote))
            }
        }
    }

    /// What Via and Record-Route must say when sending on a flow: the listener whose transport and family fit (`advertised_host:port`).
    ///
    /// A connection that was accepted shows its listener. One that we opened shows the first listener of its transport,
    /// of its own address family if there is one: where the peer finds us when the connection is gone.
    pub fn sent_by(&self, flow: Flow) -> Option<&str> {
        let index = match flow {
            Flow::Datagram { listener, .. } => usize::from(listener.0),
            Flow::Connection(connection) => {
                let peer = self.peer(connection)?;
                match peer.listener {
                    Some(listener) => usize::from(listener.0),
                    None => self
                        .listener_for(peer.transport, special::plain(peer.remote.ip()), Some(peer.side))
                        .or_else(|| {
                            let fits = |l: &Listener| l.transport == peer.transport && l.side == peer.side;
                            self.listeners.iter().position(fits)
                        })?,
                }
            }
        };
        self.sent_by.get(index).map(String::as_str)
    }

    /// The searches for servers in a network, by number, each with whether it has reached its hop.
    pub fn searches_in(&self, side: Side) -> Vec<(SearchId, bool)> {
        let there = self
            .searches
            .iter()
            .filter(|(_, search)| search.peer.as_ref().is_some_and(|peer| peer.side == side));
        let mut found: Vec<_> =
            there.map(|(id, search)| (*id, matches!(search.state, State::Reached { .. }))).collect();
        found.sort_unstable();
        found
    }

    /// Connections that are up.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What a URI asks for, or why we cannot (RFC 3263 §4.1, §4.2).
    fn begin(&self, now: Instant, uri: &Uri<'_>) -> Result<Search, &'static str> {
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            _ => return Err("only sip and sips URIs have a next hop"),
        };
        let wanted = uri.params().get("transport").map(|t| transport_of(t, secure)).transpose()?;
        if let Some(transport) = wanted
            && !self.speaks(transport)
        {
            return Err("no listener speaks the transport that the URI asks for");
        }
        let default = wanted.or_else(|| self.default_transport(secure));
        let default = default.ok_or("no listener speaks a transport that fits the URI")?;
        if uri.port() == Some(0) {
            return Err("port 0 is no destination");
        }
        let port = uri.port().unwrap_or(default_port(default));
        let mut search = Search::new(now, default, secure);
        let name = match uri.host() {
            Host::Address(ip) => {
                search.host = Target::Address(special::plain(ip));
                search.steps.push(Step::Try((default, SocketAddr::new(ip, port))));
                return Ok(search);
            }
            Host::Name(name) => special::host_name(name).ok_or("the host is no name that DNS could know")?,
        };
        search.host = Target::Name(name.clone());
        let host = Step::Host { transport: default, name, port };
        match (uri.port(), wanted) {
            (Some(_), _) => search.steps.push(host),
            (None, Some(transport)) => {
                search.steps.push(service(transport, &search.host));
                search.fallback = Some(host);
            }
            (None, None) => {
                search.steps.push(Step::Naptr);
                search.fallback = Some(host);
            }
        }
        Ok(search)
    }

    /// Takes a search's steps until it waits or ends.
    fn run(&mut self, now: Instant, id: SearchId, mut search: Search) {
        let end = loop {
            let address = match search.steps.pop() {
                Some(Step::Try(address)) => {
                    let address =
                        (address.0, SocketAddr::new(special::plain(address.1.ip()), address.1.port()));
                    if search.failed == Some(address) {
                        continue;
                    }
                    if self.is_marked(now, address) {
                        search.late.push_back(address);
                        continue;
                    }
                    address
                }
                Some(step) => match self.look_up(id, &mut search, step) {
                    true => break None,
                    false => continue,
                },
                None => match search.fallback.take() {
                    Some(step) if !search.saw.dns_failure => {
                        search.steps.push(step);
                        continue;
                    }
                    _ => match search.late.pop_front() {
                        Some(address) => address,
                        None => break Some(Err(search.error())),
                    },
                },
            };
            if search.tried >= CANDIDATES_MAX {
                break Some(Err(HopError::Unreachable(search.host.to_string())));
            }
            match self.attempt(id, &search, address) {
                Attempt::Reached { reached, reused } => {
                    search.tried += 1;
                    search.state = State::Reached { address, reused };
                    break Some(Ok(reached));
                }
                Attempt::Connecting(token) => {
                    search.tried += 1;
                    search.state = State::Connecting { token, address };
                    let more = !search.steps.is_empty() || !search.late.is_empty();
                    let patience = if more { now + CONNECT_PATIENCE } else { search.give_up };
                    let deadline = patience.min(search.give_up);
                    self.wait(id, &mut search, deadline);
                    break None;
                }
                Attempt::Refused(reason) => search.saw.refusal = Some(reason),
                Attempt::Full => search.tried += 1,
            }
        };
        match end {
            None => drop(self.searches.insert(id, search)),
            Some(Ok(reached)) => {
                self.note_way(search.peer.clone(), reached);
                self.searches.insert(id, search);
                self.events.push_back(HopEvent { search: id, result: Ok(reached) });
            }
            Some(Err(error)) => self.events.push_back(HopEvent { search: id, result: Err(error) }),
        }
    }

    /// Asks DNS for a step; `false` if the search has asked too often, or too many wait already.
    fn look_up(&mut self, id: SearchId, search: &mut Search, step: Step) -> bool {
        if search.looked_up >= LOOKUPS_MAX || self.deadlines.len() >= SEARCHES_PENDING_MAX {
            search.saw.dns_failure = true;
            return false;
        }
        search.looked_up += 1;
        let question = match &step {
            Step::Naptr => Question::Naptr(search.host.to_string()),
            Step::Srv { name, .. } => Question::Srv(name.clone()),
            Step::Host { name, .. } => Question::Addresses(name.clone()),
            Step::Try(_) => unreachable!("an address needs no lookup"),
        };
        let token = match self.lookup_by_question.get(&question) {
            Some(token) => *token,
            None => {
                let token = ResolveToken(self.next_token());
                self.lookup_by_question.insert(question.clone(), token);
                self.lookups.insert(token, Lookup { question: question.clone(), waiting: BTreeSet::new() });
                self.outputs.push_back(HopOutput::Resolve(token, question));
                token
            }
        };
        self.lookups.get_mut(&token).expect("every question asked has its lookup").waiting.insert(id);
        search.state = State::Resolving { token, step };
        let give_up = search.give_up;
        self.wait(id, search, give_up);
        true
    }

    /// Feeds an answer to one search.
    fn resolved(&mut self, now: Instant, id: SearchId, answer: &Result<Answers, ResolveError>) {
        let Some(mut search) = self.searches.remove(&id) else { return };
        let State::Resolving { step, .. } = &search.state else {
            unreachable!("a lookup is waited for by searches that resolve");
        };
        let step = step.clone();
        self.stop_waiting(id, &search);
        search.deadline = None;
        match (step, answer) {
            (Step::Naptr, answer) => {
                // A resolver that fails on NAPTR alone is common (middle boxes drop unknown types): SRV decides.
                let records = match answer {
                    Ok(Answers::Naptr(records)) => records.clone(),
                    _ => Vec::new(),
                };
                let secure = search.secure;
                let chosen = order::naptr(records, |t| self.speaks(t) && (!secure || t.is_secure()));
                if chosen.is_empty() {
                    search.steps.extend(self.own_order(secure).rev().map(|t| service(t, &search.host)));
                } else {
                    let named = chosen.into_iter().rev().filter_map(|(transport, name)| {
                        Some(Step::Srv { transport, name: special::host_name(&name)? })
                    });
                    search.steps.extend(named);
                }
            }
            (Step::Srv { transport, .. }, Ok(Answers::Srv(records))) => {
                // RFC 2782: a target of "." says that the service is decidedly not there; so there is no fallback.
                if !records.is_empty() {
                    search.fallback = None;
                }
                let ordered = order::srv(records.clone(), &mut self.rng);
                for Srv { port, target, .. } in ordered.into_iter().rev() {
                    match special::host_name(&target) {
                        Some(_) if port == 0 => search.saw.refusal = Some("port 0 is no destination"),
                        Some(name) => search.steps.push(Step::Host { transport, name, port }),
                        None => {}
                    }
                }
            }
            (Step::Host { transport, port, .. }, Ok(Answers::Addresses(ips))) => {
                for ip in ips.iter().take(CANDIDATES_MAX).rev() {
                    search.steps.push(Step::Try((transport, SocketAddr::new(*ip, port))));
                }
            }
            (_, Err(ResolveError::NotFound)) => {}
            // Also an answer that does not fit its question: the driver's fault, and no reason to go elsewhere.
            (_, Err(ResolveError::Failed) | Ok(_)) => search.saw.dns_failure = true,
        }
        self.run(now, id, search);
    }

    /// Tries one candidate.
    fn attempt(&mut self, id: SearchId, search: &Search, (transport, address): Address) -> Attempt {
        if address.port() == 0 {
            return Attempt::Refused("port 0 is no destination");
        }
        if !special::is_one_peer(address.ip()) {
            return Attempt::Refused("the address is no single peer's");
        }
        let Some(listener) =
            self.listener_for(transport, address.ip(), search.peer.as_ref().map(|peer| peer.side))
        else {
            return Attempt::Refused("no listener has the transport and family of the address");
        };
        if transport == Transport::Udp {
            let listener = u16::try_from(listener).expect("listeners are numbered by 16 bits");
            let flow = Flow::Datagram { listener: ListenerId(listener), remote: address };
            return Attempt::Reached { reached: Reached { flow, transport }, reused: None };
        }
        let side = self.listeners[listener].side;
        let expected = (transport == Transport::Tls).then(|| match &search.peer {
            Some(peer) => peer.expected.clone(),
            None => Expected::host(search.host.to_string()),
        });
        if let Some(connection) = self.connection_to((transport, address), side, expected.as_ref()) {
            let reached = Reached { flow: Flow::Connection(connection), transport };
            return Attempt::Reached { reached, reused: Some(connection) };
        }
        if self.deadlines.len() >= SEARCHES_PENDING_MAX {
            return Attempt::Full;
        }
        self.connect(id, ConnectTarget { transport, address, side, expected })
    }

    fn connect(&mut self, id: SearchId, target: ConnectTarget) -> Attempt {
        let token = match self.connect_by_target.get(&target) {
            Some(token) => *token,
            None if self.connects.len() >= CONNECTS_PENDING_MAX => return Attempt::Full,
            None => {
                let token = ConnectToken(self.next_token());
                self.connect_by_target.insert(target.clone(), token);
                self.connects.insert(token, Connect { target: target.clone(), waiting: BTreeSet::new() });
                self.outputs.push_back(HopOutput::Connect(token, target));
                token
            }
        };
        self.connects.get_mut(&token).expect("every target has its connect").waiting.insert(id);
        Attempt::Connecting(token)
    }

    fn take_connect(&mut self, token: ConnectToken) -> Option<Connect> {
        let connect = self.connects.remove(&token)?;
        self.connect_by_target.remove(&connect.target);
        Some(connect)
    }

    /// A search's connection came up.
    fn finish(&mut self, id: SearchId, address: Address, reached: Reached) {
        let Some(search) = self.searches.get_mut(&id) else { return };
        if let Some(deadline) = search.deadline.take() {
            self.deadlines.remove(&(deadline, id));
        }
        search.state = State::Reached { address, reused: None };
        let peer = search.peer.clone();
        self.note_way(peer, reached);
        self.events.push_back(HopEvent { search: id, result: Ok(reached) });
    }

    /// A search's candidate failed before anything was sent to it.
    fn advance(&mut self, now: Instant, id: SearchId) {
        let Some(mut search) = self.searches.remove(&id) else { return };
        self.stop_waiting(id, &search);
        search.deadline = None;
        self.run(now, id, search);
    }

    /// A search has waited long enough for what it waits for.
    fn out_of_patience(&mut self, now: Instant, id: SearchId) {
        let mut search = self.searches.remove(&id).expect("a deadline belongs to a search");
        self.stop_waiting(id, &search);
        search.deadline = None;
        if let State::Connecting { address, .. } = search.state {
            self.mark(now, address);
        }
        if search.give_up <= now {
            let result = Err(HopError::Unreachable(search.host.to_string()));
            self.events.push_back(HopEvent { search: id, result });
        } else {
            self.run(now, id, search);
        }
    }

    fn wait(&mut self, id: SearchId, search: &mut Search, deadline: Instant) {
        search.deadline = Some(deadline);
        self.deadlines.insert((deadline, id));
    }

    fn stop_waiting(&mut self, id: SearchId, search: &Search) {
        if let Some(deadline) = search.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let waiting = match &search.state {
            State::Resolving { token, .. } => self.lookups.get_mut(token).map(|l| &mut l.waiting),
            State::Connecting { token, .. } => self.connects.get_mut(token).map(|c| &mut c.waiting),
            State::Reached { .. } => None,
        };
        if let Some(waiting) = waiting {
            waiting.remove(&id);
        }
    }

    fn mark(&mut self, now: Instant, address: Address) {
        let until = now + MARK_TIME;
        if self.marks.insert(address, until) != Some(until) {
            self.marks_by_age.push_back((until, address));
        }
        if self.marks_by_age.len() > MARKS_MAX {
            self.forget_oldest_mark();
        }
    }

    fn unmark(&mut self, address: Address) {
        self.marks.remove(&address);
    }

    fn forget_marks(&mut self, now: Instant) {
        while self.marks_by_age.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest_mark();
        }
    }

    fn forget_oldest_mark(&mut self) {
        let Some((until, address)) = self.marks_by_age.pop_front() else { return };
        if self.marks.get(&address) == Some(&until) {
            self.marks.remove(&address);
        }
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    fn is_marked(&self, now: Instant, address: Address) -> bool {
        self.marks.get(&address).is_some_and(|until| *until > now)
    }

    /// The newest connection that may be reused: an older one may be half dead.
    fn connection_to(
        &self,
        remote: Address,
        side: Side,
        expected: Option<&Expected>,
    ) -> Option<ConnectionId> {
        let ids = self.connections_by_remote.get(&remote)?;
        ids.iter().rev().copied().find(|id| {
            let connection = &self.connections[id];
            connection.peer.side == side && expected.is_none_or(|expected| connection.proves(expected))
        })
    }

    /// The first listener of a transport and family, and of a side where one is asked for.
    fn listener_for(&self, transport: Transport, ip: IpAddr, side: Option<Side>) -> Option<usize> {
        self.listeners.iter().position(|l| {
            l.transport == transport
                && special::plain(l.address.ip()).is_ipv4() == ip.is_ipv4()
                && side.is_none_or(|side| l.side == side)
        })
    }

    fn speaks(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|l| l.transport == transport)
    }

    /// Transports to ask SRV for where DNS has no order of its own, best first.
    fn own_order(&self, secure: bool) -> impl DoubleEndedIterator<Item = Transport> + use<'_> {
        let all = [Transport::Tls, Transport::Tcp, Transport::Udp];
        all.into_iter().filter(move |t| self.speaks(*t) && (!secure || t.is_secure()))
    }

    /// RFC 3263 §4.1: UDP for sip, TLS for sips; what else we speak where there is no UDP.
    fn default_transport(&self, secure: bool) -> Option<Transport> {
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        all.into_iter().find(|t| self.speaks(*t) && (!secure || t.is_secure()))
    }
}

/// What is to be done to reach a server that must prove who it is.
fn begin_peer(now: Instant, peer: &Arc<PeerHop>) -> Result<Search, &'static str> {
    const NO_NAME: &str = "the host is no name that DNS could know";
    let mut search = Search::new(now, Transport::Tls, true);
    search.peer = Some(Arc::clone(peer));
    let step = match &peer.place {
        Place::Host { port: 0, .. } => return Err("port 0 is no destination"),
        Place::Host { name, port } => match name.parse::<IpAddr>() {
            Ok(ip) => {
                search.host = Target::Address(special::plain(ip));
                Step::Try((Transport::Tls, SocketAddr::new(ip, *port)))
            }
            Err(_) => {
                let name = special::host_name(name).ok_or(NO_NAME)?;
                search.host = Target::Name(name.clone());
                Step::Host { transport: Transport::Tls, name, port: *port }
            }
        },
        Place::Service(name) => {
            let name = special::host_name(name).ok_or(NO_NAME)?;
            search.host = Target::Name(name.clone());
            Step::Srv { transport: Transport::Tls, name }
        }
    };
    search.steps.push(step);
    Ok(search)
}

impl Search {
    fn new(now: Instant, transport: Transport, secure: bool) -> Search {
        Search {
            host: Target::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            peer: None,
            secure,
            state: State::Reached { address: (transport, SocketAddr::from(([0; 4], 0))), reused: None },
            deadline: None,
            give_up: now + SEARCH_TIME_MAX,
            steps: SmallVec::new(),
            late: VecDeque::new(),
            failed: None,
            fallback: None,
            tried: 0,
            looked_up: 0,
            saw: Saw::default(),
        }
    }

    /// Why it ends without a hop.
    fn error(&self) -> HopError {
        if self.tried > 0 || self.saw.dns_failure {
            return HopError::Unreachable(self.host.to_string());
        }
        match self.saw.refusal {
            Some(reason) => HopError::Unsupported(reason),
            None => HopError::NotFound(self.host.to_string()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => f.write_str(name),
            Target::Address(ip) => ip.fmt(f),
        }
    }
}

impl Connection {
    /// Whether TLS proved that the peer is who is expected.
    fn proves(&self, expected: &Expected) -> bool {
        self.expected.as_deref() == Some(expected)
            || expected.is_met_by(self.peer.identity.certificate()).is_ok()
    }
}

fn address_of(peer: &Peer) -> Address {
    (peer.transport, SocketAddr::new(special::plain(peer.remote.ip()), peer.remote.port()))
}

/// RFC 3261 §19.1.1, §26.2.2: `sips` over `tcp` is TLS over TCP.
fn transport_of(parameter: &str, secure: bool) -> Result<Transport, &'static str> {
    let is = |name: &str| parameter.eq_ignore_ascii_case(name);
    if is("tls") || (is("tcp") && secure) {
        Ok(Transport::Tls)
    } else if is("udp") && secure {
        Err("sips never goes over UDP")
    } else if is("udp") {
        Ok(Transport::Udp)
    } else if is("tcp") {
        Ok(Transport::Tcp)
    } else if is("ws") || is("wss") {
        Err("a WebSocket client is reached through its own connection only")
    } else {
        Err("the URI asks for a transport that we do not have")
    }
}

fn default_port(transport: Transport) -> u16 {
    if transport.is_secure() { 5061 } else { 5060 }
}

/// The SRV name of a transport (RFC 3263 §4.1).
fn service(transport: Transport, domain: &Target) -> Step {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        _ => "_sip._tcp",
    };
    Step::Srv { transport, name: format!("{prefix}.{domain}") }
}
