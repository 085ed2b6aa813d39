//! Bindings: where a user's devices are (RFC 3261 §10, RFC 5626 §6, RFC 5627).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use directory::UserId;
use node::{Flow, Instant, Transport, UnixMillis};
use sign_in::token::Claims;
use sip_message::Uri;
use sip_stack::hop::PeerHop;
use sip_stack::stack::{NextHop, Target};
use sip_stack::timer::TimerId;
use smallvec::SmallVec;

use crate::messaging::mailbox::DeviceId;
use crate::pipeline::Request;
use crate::provenance::RemoteFlow;

/// What part of its time a restart may take from a binding: devices that refresh much more often than they need to, to keep their NATs
/// open, then cost no writing. It is two minutes of an hour, and devices refresh as long before the end.
const FORGOTTEN_DIVISOR: u32 = 32;

/// How much of an instance tells devices apart, in characters: the end of a MAC address in a UUID made of one, as it is printed on
/// the back of a telephone.
const INSTANCE_TAIL: usize = 6;

/// Names a binding within this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BindingId(pub(crate) u64);

/// One contact of one user.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) id: BindingId,
    /// What tells it from the user's others: instance and reg-id, or the contact's URI.
    pub(crate) key: Box<str>,
    /// The contact's URI.
    pub(crate) uri: Box<str>,
    /// Its header parameters without expires, q and GRUUs, as they are shown in answers.
    pub(crate) params: Box<str>,
    pub(crate) q: Option<u16>,
    /// How the REGISTER came in.
    pub(crate) flow: Flow,
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
    pub(crate) reach: Reach,
    /// Route values to the device, topmost first (RFC 3327).
    pub(crate) path: Vec<Box<str>>,
    /// The server of ours that the path begins with.
    pub(crate) through: Option<Arc<PeerHop>>,
    /// The flow at an edge that it was made over; `None` also for one that outlived our last start.
    pub(crate) remote_flow: Option<Arc<RemoteFlow>>,
    /// `+sip.instance` without its brackets.
    pub(crate) instance: Option<Box<str>>,
    /// `reg-id`, where the client does outbound.
    pub(crate) reg_id: Option<u32>,
    pub(crate) call_id: Box<str>,
    pub(crate) cseq: u32,
    pub(crate) user_agent: Box<str>,
    /// What its REGISTER proved its user by.
    pub(crate) proof: Means,
    pub(crate) expires_at: Instant,
    /// The same on the wall clock, for storage.
    pub(crate) expires_wall: UnixMillis,
    pub(crate) timer: TimerId,
    pub(crate) durability: Durability,
    /// The mailbox's name for the device.
    pub(crate) device: DeviceId,
}

/// What somebody proved who it is by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Means {
    /// A server of ours says so, or it outlived our last start.
    #[default]
    Unknown,
    /// The password of a local account.
    Password,
    /// A client certificate.
    Certificate,
    /// The app password of this user name.
    AppPassword(Box<str>),
    /// A token.
    Token { issued_unix_ms: u64, expires_unix_ms: u64 },
}

impl Means {
    pub(crate) fn of_token(claims: &Claims) -> Means {
        let Claims { issued_unix_ms, expires_unix_ms, .. } = *claims;
        Means::Token { issued_unix_ms, expires_unix_ms }
    }
}

/// How a device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Over the flow that it registered on and no other: outbound, WebSocket, TLS, or behind a NAT.
    Flow,
    /// Over that connection while it lives, else at its contact's address.
    FlowElseContact,
    /// At its contact's address, or along its path.
    Contact,
}

/// Whether a binding is written to storage: those die with their connection that cannot be used without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Volatile,
    /// To be written within a second.
    Unwritten,
    Written {
        /// When it ends by what is written.
        until: UnixMillis,
    },
}

/// A user's bindings, in order of registration.
#[derive(Debug, Default)]
pub(crate) struct Bindings(pub(crate) Vec<Binding>);

impl Binding {
    /// How to forward to it. `cookie` carries its user and its own name back.
    pub(crate) fn target(&self) -> Target {
        let hop = match (&self.through, self.reach) {
            (Some(server), _) => NextHop::Peer(Arc::clone(server)),
            (None, Reach::Flow) => NextHop::Flow(self.flow),
            (None, Reach::FlowElseContact) => NextHop::FlowElseUri(self.flow),
            (None, Reach::Contact) => NextHop::Uri,
        };
        Target {
            uri: String::from(&*self.uri),
            routes: self.path.iter().map(|p| String::from(&**p)).collect(),
            hop,
            q: self.q.unwrap_or(1000),
            cookie: self.id.0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Whether a request came over the flow that the binding was made over. Many people share a server's connection.
    pub(crate) fn is_from(&self, request: &Request<'_>) -> bool {
        match request.provenance.remote() {
            Some(remote) => self.remote_flow.as_ref() == Some(remote),
            None => self.remote_flow.is_none() && self.flow == request.arrival.flow,
        }
    }

    /// Whether another binding is a further flow to the same device (RFC 5626 §4.2).
    fn has_flow(&self, other: &Binding) -> bool {
        self.reg_id.is_some() && self.instance.is_some() && self.instance == other.instance
    }

    /// Whether it is of use without the connection that made it.
    pub(crate) fn outlives_connection(&self) -> bool {
        self.reach != Reach::Flow || !self.transport.is_reliable()
    }

    /// Whether what is written of it will do: a restart must not forget it long before it ends.
    pub(crate) fn is_well_written(&self, expires: Duration) -> bool {
        match self.durability {
            Durability::Volatile | Durability::Unwritten => true,
            Durability::Written { until } => {
                until <= self.expires_wall
                    && self.expires_wall.saturating_since(until) <= expires / FORGOTTEN_DIVISOR
            }
        }
    }

    /// What it is in words: its program, and the host where it is.
    fn description(&self) -> String {
        let host = Uri::parse(&self.uri).map(|uri| uri.host_text().to_owned()).unwrap_or_default();
        // RFC 7118 §5: a browser's contact names no host. Where it came from does, unless a server of ours stands between.
        let host = match (host.ends_with(".invalid"), self.path.is_empty()) {
            (false, _) => host,
            (true, true) => self.remote.ip().to_string(),
            (true, false) => String::new(),
        };
        match (&*self.user_agent, &*host) {
            ("", "") => "device".to_owned(),
            ("", host) => host.to_owned(),
            (program, "") => program.to_owned(),
            (program, host) => format!("{program} ({host})"),
        }
    }

    fn instance_tail(&self) -> Option<&str> {
        let instance = self.instance.as_deref()?;
        let (start, _) = instance.char_indices().rev().nth(INSTANCE_TAIL - 1)?;
        Some(&instance[start..])
    }

    /// Its own port, as its contact says, else as it came.
    fn port(&self) -> u16 {
        Uri::parse(&self.uri).ok().and_then(|uri| uri.port()).unwrap_or(self.remote.port())
    }

    /// The record that storage keeps.
    pub(crate) fn record(&self, user: UserId) -> records::Binding {
        let datagram_flow = match self.flow {
            Flow::Datagram { listener, remote } => Some((listener.0, remote)),
            Flow::Connection(_) => None,
        };
        records::Binding {
            user,
            key: self.key.to_string(),
            contact: format!("<{}>{}", self.uri, self.params).into_bytes(),
            path: self.path.iter().map(|p| p.as_bytes().to_vec()).collect(),
            call_id: self.call_id.as_bytes().to_vec(),
            cseq: self.cseq,
            q: self.q.unwrap_or(1000),
            expires_unix_ms: self.expires_wall.0,
            datagram_flow,
            user_agent: self.user_agent.as_bytes().to_vec(),
        }
    }
}

impl Bindings {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Binding> {
        self.0.iter()
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<&Binding> {
        self.0.iter().find(|b| &*b.key == key)
    }

    pub(crate) fn remove(&mut self, id: BindingId) -> Option<Binding> {
        let at = self.0.iter().position(|b| b.id == id)?;
        Some(self.0.remove(at))
    }

    /// One target for each device: of a device with several flows the one registered last, the others behind it (RFC 5626 §7).
    pub(crate) fn targets<'a>(&'a self, wanted: impl Fn(&Binding) -> bool + 'a) -> Vec<Target> {
        let mut devices: SmallVec<[&Binding; 4]> = SmallVec::new();
        let mut targets: Vec<Target> = Vec::new();
        // The one registered last stands last.
        for binding in self.0.iter().rev().filter(|b| wanted(b)) {
            match devices.iter().position(|device| device.has_flow(binding)) {
                Some(at) => targets[at].alternatives.push(binding.target()),
                None => {
                    devices.push(binding);
                    targets.push(binding.target());
                }
            }
        }
        targets
    }

    /// The target of one device: as in [`Bindings::targets`].
    pub(crate) fn target_of(&self, device: DeviceId) -> Option<Target> {
        let mut bindings = self.0.iter().rev().filter(|b| b.device == device);
        let last = bindings.next()?;
        let mut target = last.target();
        target.alternatives.extend(bindings.filter(|b| last.has_flow(b)).map(Binding::target));
        Some(target)
    }

    /// How a device is named to its owner: what it is and where, and where that holds for another of theirs too, by what the two differ.
    pub(crate) fn name_of(&self, binding: &Binding) -> String {
        let description = binding.description();
        let is_other =
            |other: &&Binding| other.device != binding.device && other.description() == description;
        let alike: SmallVec<[&Binding; 4]> = self.0.iter().filter(is_other).collect();
        if alike.is_empty() {
            return description;
        }
        let tail = binding.instance_tail();
        match (tail, binding.instance.as_deref()) {
            (Some(tail), _) if alike.iter().all(|other| other.instance_tail() != Some(tail)) => {
                format!("{description} {tail}")
            }
            (_, Some(instance)) => format!("{description} {instance}"),
            (_, None) => format!("{description} port {}", binding.port()),
        }
    }

    /// The binding whose contact is what a request within a dialog asks for.
    pub(crate) fn by_contact(&self, uri: &Uri<'_>) -> Option<&Binding> {
        self.0.iter().rev().find(|b| Uri::parse(&b.uri).is_ok_and(|u| u.is_equivalent(uri)))
    }
}
