//! What happens between machines and devices: datagrams, streams, and the cuts in both.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use node::{
    CloseReason, ConnectError, ConnectToken, ConnectionId, Expected, Flow, Input, ListenerId, Peer,
    PeerIdentity, Transport,
};
use rand::Rng;
use sip_message::Message;
use sip_message::framing::{Frame, next_frame};

use super::{Job, World, to_flow};
use crate::device::Happening;
use crate::event::{Crash, Fate, Party, What};
use crate::link::{DIAL_LONGEST, End, EndState, Lane, Piece, STALL_LONGEST, Stream};
use crate::network::Network;

impl World {
    pub(super) fn owner(&self, address: SocketAddr) -> Option<Party> {
        let machine =
            self.machines.iter().position(|m| m.certificate(address.ip()).is_some()).map(Party::Machine);
        machine
            .or_else(|| self.devices.iter().position(|d| d.address.ip() == address.ip()).map(Party::Device))
    }

    pub(super) fn line_cut(&self, party: Party) -> bool {
        matches!(party, Party::Device(d) if self.devices[d].cut)
    }

    pub(super) fn link_cut(&self, one: Party, other: Party) -> bool {
        match (one, other) {
            (Party::Machine(one), Party::Machine(other)) => {
                self.links_cut.contains(&(one.min(other), one.max(other)))
            }
            _ => false,
        }
    }

    pub(super) fn send_datagram(&mut self, sender: Party, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let recipient = self.owner(to);
        let dropped = self.conditions.loss > 0.0 && self.network.random_bool(self.conditions.loss);
        let cut = self.line_cut(sender)
            || recipient.is_some_and(|p| self.line_cut(p) || self.link_cut(sender, p))
            || Network::of(from.ip()) != Network::of(to.ip());
        let lost = dropped || cut || recipient.is_none();
        let fate = if lost { Fate::Lost } else { Fate::Underway };
        self.record_sent(sender, recipient, Transport::Udp, &bytes, fate);
        if lost {
            return;
        }
        let twice =
            self.conditions.duplication > 0.0 && self.network.random_bool(self.conditions.duplication);
        for _ in 0..1 + u8::from(twice) {
            let latency = self.conditions.latency(&mut self.network);
            self.schedule(latency, Job::Datagram { from, sender, to, bytes: bytes.clone() });
        }
    }

    pub(super) fn datagram_arrives(&mut self, from: SocketAddr, sender: Party, to: SocketAddr, bytes: Bytes) {
        let Some(recipient) = self.owner(to).filter(|p| !self.line_cut(*p)) else { return };
        match recipient {
            Party::Machine(machine) => {
                let m = &self.machines[machine];
                let listener =
                    m.listeners.iter().position(|l| l.transport == Transport::Udp && l.address == to);
                let (Some(listener), true) = (listener, m.node.is_some()) else { return };
                let listener = ListenerId(u16::try_from(listener).expect("few listeners"));
                self.record_arrived(sender, recipient, &bytes);
                self.feed(
                    machine,
                    Input::Received { flow: Flow::Datagram { listener, remote: from }, bytes },
                );
            }
            Party::Device(device) => {
                if !self.devices[device].running {
                    return;
                }
                self.record_arrived(sender, recipient, &bytes);
                if let Ok(message) = Message::parse(bytes) {
                    self.tell(device, Happening::Datagram { from, message: Rc::new(message) });
                }
            }
        }
    }

    pub(super) fn dial(
        &mut self,
        party: Party,
        local: SocketAddr,
        remote: SocketAddr,
        transport: Transport,
        handle: u64,
        expected: Option<Expected>,
    ) -> u64 {
        let id = self.next_stream;
        self.next_stream += 1;
        let peer = self.owner(remote).unwrap_or(party);
        let ends = [End::new(party, local, handle), End::new(peer, remote, 0)];
        let lanes = [Lane::default(), Lane::default()];
        self.streams.insert(id, Stream { transport, ends, lanes, expected });
        // TCP's handshake takes half a round trip to reach the peer, TLS 1.3 another whole one.
        let trips = if transport.is_secure() { 3 } else { 1 };
        let latency = self.conditions.latency(&mut self.network) * trips;
        self.schedule(latency, Job::Syn { stream: id });
        id
    }

    pub(super) fn syn(&mut self, id: u64) {
        let cut = self.is_cut(id);
        let latency = self.conditions.latency(&mut self.network);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if cut {
            return self
                .schedule(DIAL_LONGEST, Job::DialFailed { stream: id, error: ConnectError::TimedOut });
        }
        let (transport, local, remote) = (stream.transport, stream.ends[1].address, stream.ends[0].address);
        let (dialler, acceptor) = (stream.ends[0].party, stream.ends[1].party);
        if Network::of(local.ip()) != Network::of(remote.ip()) {
            return self.refuse(id, latency, ConnectError::Unreachable("no route to host".into()));
        }
        let Party::Machine(machine) = acceptor else {
            return self.refuse(id, latency, ConnectError::Unreachable("connection refused".into()));
        };
        let m = &self.machines[machine];
        let listener = m.listeners.iter().position(|l| l.transport == transport && l.address == local);
        let (Some(listener), true) = (listener, m.node.is_some()) else {
            return self.refuse(id, latency, ConnectError::Unreachable("connection refused".into()));
        };
        if let Some(expected) = &stream.expected
            && transport.is_secure()
            && let Err(unmet) = expected.is_met_by(m.certificate(local.ip()).map(Arc::as_ref))
        {
            return self.refuse(id, latency, ConnectError::Tls(unmet.to_string()));
        }
        stream.ends[1].state = EndState::Open;
        stream.lanes[1].clear_at = self.now + latency;
        let identity = self.identity(dialler, remote, transport);
        self.record(What::Connected { from: dialler, to: acceptor, transport });
        self.schedule(latency, Job::SynAck { stream: id });
        let listener = Some(ListenerId(u16::try_from(listener).expect("few listeners")));
        let side = Network::of(local.ip()).side();
        let peer = Peer { transport, listener, local, remote, side, identity };
        self.feed(machine, Input::Connected { connection: ConnectionId(id), peer, token: None });
    }

    /// What TLS proves of a party at an address of its.
    pub(super) fn identity(&self, party: Party, address: SocketAddr, transport: Transport) -> PeerIdentity {
        let certificate = match party {
            Party::Machine(machine) if transport.is_secure() => {
                self.machines[machine].certificate(address.ip())
            }
            Party::Machine(_) | Party::Device(_) => None,
        };
        certificate.map_or(PeerIdentity::Anonymous, |facts| PeerIdentity::Certificate(Arc::clone(facts)))
    }

    pub(super) fn refuse(&mut self, stream: u64, after: Duration, error: ConnectError) {
        self.schedule(after, Job::DialFailed { stream, error });
    }

    pub(super) fn syn_ack(&mut self, id: u64) {
        let cut = self.is_cut(id);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if cut {
            return self
                .schedule(DIAL_LONGEST, Job::DialFailed { stream: id, error: ConnectError::TimedOut });
        }
        if stream.ends[0].state != EndState::Opening {
            // The dialler is gone: its kernel refuses what comes.
            return self.schedule(Duration::ZERO, Job::Reset { stream: id, end: 1 });
        }
        stream.ends[0].state = EndState::Open;
        let (party, handle) = (stream.ends[0].party, stream.ends[0].handle);
        let (local, remote) = (stream.ends[0].address, stream.ends[1].address);
        let (transport, acceptor) = (stream.transport, stream.ends[1].party);
        match party {
            Party::Device(device) => self.tell(device, Happening::Up { flow: to_flow(handle) }),
            Party::Machine(machine) => {
                let identity = self.identity(acceptor, remote, transport);
                let side = Network::of(local.ip()).side();
                let peer = Peer { transport, listener: None, local, remote, side, identity };
                let token = Some(ConnectToken(handle));
                self.feed(machine, Input::Connected { connection: ConnectionId(id), peer, token });
            }
        }
    }

    pub(super) fn dial_failed(&mut self, id: u64, error: ConnectError) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if std::mem::replace(&mut stream.ends[0].state, EndState::Closed) != EndState::Opening {
            return;
        }
        let (party, handle) = (stream.ends[0].party, stream.ends[0].handle);
        match party {
            Party::Device(device) => self.tell(device, Happening::DialFailed { flow: to_flow(handle) }),
            Party::Machine(m) => self.feed(m, Input::ConnectFailed { token: ConnectToken(handle), error }),
        }
    }

    pub(super) fn end_of(&self, stream: u64, party: Party) -> Option<usize> {
        self.streams.get(&stream)?.ends.iter().position(|e| e.party == party && e.is_open())
    }

    pub(super) fn is_cut(&self, stream: u64) -> bool {
        self.streams.get(&stream).is_some_and(|s| {
            s.ends.iter().any(|e| self.line_cut(e.party)) || self.link_cut(s.ends[0].party, s.ends[1].party)
        })
    }

    pub(super) fn write(&mut self, id: u64, end: usize, bytes: Bytes) {
        let Some(stream) = self.streams.get(&id).filter(|s| s.ends[end].is_open()) else { return };
        let (from, to, transport) = (stream.ends[end].party, stream.ends[1 - end].party, stream.transport);
        self.record_sent(from, Some(to), transport, &bytes, Fate::Underway);
        for piece in self.conditions.cut(&mut self.network, bytes) {
            self.put(id, end, Piece::Octets(piece));
        }
    }

    pub(super) fn put(&mut self, id: u64, lane: usize, piece: Piece) {
        let latency = self.conditions.latency(&mut self.network);
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let lane_state = &mut stream.lanes[lane];
        let at = (now + latency).max(lane_state.clear_at);
        lane_state.clear_at = at;
        lane_state.pieces.push_back(piece);
        self.schedule_at(at, Job::Lane { stream: id, lane });
    }

    pub(super) fn lane_ready(&mut self, id: u64, lane: usize) {
        let cut = self.is_cut(id);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let state = &mut stream.lanes[lane];
        if state.pieces.is_empty() {
            return;
        }
        if cut || state.owed > 0 {
            state.owed += 1;
            if state.owed == 1 {
                state.stall += 1;
                let stall = state.stall;
                self.schedule(STALL_LONGEST, Job::StallTimeout { stream: id, lane, stall });
            }
            return;
        }
        let piece = state.pieces.pop_front().expect("looked at above");
        let receiver = 1 - lane;
        if !stream.ends[receiver].is_open() {
            if matches!(piece, Piece::Octets(_)) {
                let latency = self.conditions.latency(&mut self.network);
                self.schedule(latency, Job::Reset { stream: id, end: lane });
            }
            return;
        }
        match piece {
            Piece::Octets(octets) => self.octets_arrive(id, receiver, &octets),
            Piece::Fin => self.end_closed(id, receiver, CloseReason::PeerClosed),
            Piece::Reset => self.end_closed(id, receiver, CloseReason::Broken),
        }
    }

    /// A mended line delivers what piled up.
    pub(super) fn repay(&mut self, id: u64, lane: usize) {
        let latency = self.conditions.latency(&mut self.network);
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let state = &mut stream.lanes[lane];
        let owed = std::mem::take(&mut state.owed);
        state.stall += 1;
        let at = (now + latency).max(state.clear_at);
        state.clear_at = at;
        for _ in 0..owed {
            self.schedule_at(at, Job::Lane { stream: id, lane });
        }
    }

    pub(super) fn octets_arrive(&mut self, id: u64, receiver: usize, octets: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.ends[receiver].state != EndState::Open {
            return;
        }
        stream.ends[receiver].buffer.extend_from_slice(octets);
        loop {
            let Some(stream) = self.streams.get_mut(&id) else { return };
            let sender = stream.ends[1 - receiver].party;
            let end = &mut stream.ends[receiver];
            if end.state != EndState::Open || end.buffer.is_empty() {
                return;
            }
            let (party, flow) = (end.party, to_flow(end.handle));
            match next_frame(&mut end.scan, &end.buffer) {
                Frame::Partial { .. } => {
                    // A device's pong is a lone CRLF, which framing keeps back because it may become a ping.
                    if let (Party::Device(device), b"\r\n") = (party, &end.buffer[..]) {
                        end.buffer.clear();
                        end.scan = Default::default();
                        self.tell(device, Happening::Pong { flow });
                    }
                    return;
                }
                Frame::Message { length } => {
                    let bytes = end.buffer.split_to(length).freeze();
                    end.scan = Default::default();
                    self.record_arrived(sender, party, &bytes);
                    match party {
                        Party::Machine(machine) => {
                            let flow = Flow::Connection(ConnectionId(id));
                            self.feed(machine, Input::Received { flow, bytes });
                        }
                        Party::Device(device) => {
                            if let Ok(message) = Message::parse(bytes) {
                                self.tell(device, Happening::Message { flow, message: Rc::new(message) });
                            }
                        }
                    }
                }
                Frame::Ping { length } => {
                    end.buffer.advance(length);
                    match party {
                        Party::Machine(m) => self.feed(m, Input::Ping { connection: ConnectionId(id) }),
                        // Two pongs in a row.
                        Party::Device(device) => self.tell(device, Happening::Pong { flow }),
                    }
                }
                Frame::Padding { length } => {
                    let pong = length >= 2;
                    end.buffer.advance(length);
                    if let (Party::Device(device), true) = (party, pong) {
                        self.tell(device, Happening::Pong { flow });
                    }
                }
                Frame::Lost { status, reason, header_octets } => {
                    let bytes = end.buffer.split_to(header_octets).freeze();
                    end.buffer.clear();
                    end.state = EndState::Deaf;
                    if let Party::Machine(machine) = party {
                        let connection = ConnectionId(id);
                        self.feed(machine, Input::Unframed { connection, bytes, status, reason });
                    }
                    self.close(id, receiver, CloseReason::ProtocolError);
                }
            }
        }
    }

    /// An end closes in order: what it sent before still arrives.
    pub(super) fn close(&mut self, id: u64, end: usize, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.ends[end].is_open() {
            return;
        }
        stream.ends[end].state = EndState::Closed;
        self.put(id, end, Piece::Fin);
        self.schedule(Duration::ZERO, Job::ClosedByOwner { stream: id, end, reason });
    }

    /// An end learns that its stream is over.
    pub(super) fn end_closed(&mut self, id: u64, end: usize, reason: CloseReason) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.ends[end].is_open() {
            return;
        }
        stream.ends[end].state = EndState::Closed;
        if reason == CloseReason::Broken {
            stream.lanes[end].pieces.clear();
            stream.lanes[end].owed = 0;
            stream.lanes[end].stall += 1;
        }
        self.tell_closed(id, end, reason);
    }

    pub(super) fn tell_closed(&mut self, id: u64, end: usize, reason: CloseReason) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (party, peer) = (stream.ends[end].party, stream.ends[1 - end].party);
        let flow = to_flow(stream.ends[end].handle);
        self.record(What::Closed { party, peer, reason });
        match party {
            Party::Machine(m) => self.feed(m, Input::Closed { connection: ConnectionId(id), reason }),
            Party::Device(device) => {
                if self.devices[device].streams.get(&flow) == Some(&id) {
                    self.tell(device, Happening::Down { flow });
                }
            }
        }
    }

    pub(super) fn drop_streams(&mut self, party: Party, crash: Crash) {
        let mut gone = Vec::new();
        for (id, stream) in &mut self.streams {
            for end in 0..2 {
                if stream.ends[end].party == party && stream.ends[end].state != EndState::Closed {
                    let open = stream.ends[end].is_open();
                    stream.ends[end].state = EndState::Closed;
                    if open && crash == Crash::Killed {
                        gone.push((*id, end));
                    }
                }
            }
        }
        for (id, end) in gone {
            self.put(id, end, Piece::Reset);
        }
    }
}
