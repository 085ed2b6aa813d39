//! Stream connections: accept, open, read, cut, write, close.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use node::{
    CloseReason, ConnectError, ConnectTarget, ConnectToken, ConnectionId, Expected, Flow, Input, Level,
    ListenerId, Node, Peer, PeerCertificate, PeerIdentity, Report, Side, Transport,
};
use sip_message::framing::{Frame, Scan, next_frame};
use slab::Slab;
use tokio::net::{TcpListener, TcpStream};

use crate::bind::configure_stream;
use crate::connection::{Connection, Farewell, Framing, Phase, Queue, source};
use crate::metrics::{Direction, End, Refusal};
use crate::socket::poll_recv;
use crate::tls::{SEALED_OCTETS_MAX, Tls, Worth};
use crate::websocket::{self, Event, Upgrade};
use crate::world::{Letter, World, spawn, turns};

/// Connections accepted in one turn; then others have theirs.
const ACCEPTS_PER_TURN: usize = 16;
/// Reads of one connection in one turn; then others have theirs.
const READS_PER_TURN: usize = 4;
/// Bits of a [`ConnectionId`] that hold its place in the table; the others are never used twice.
const SLOT_BITS: u32 = 24;
/// Connections being opened at one time; further ones fail. A node opens one for each new destination.
const CONNECTS_MAX: usize = 1024;
/// How long at most until the ends of certificates are held against the clock again, which may have been set meanwhile.
const CERTIFICATES_UNSEEN_MAX: Duration = Duration::from_secs(600);
/// The double CRLF of RFC 5626 §3.5.1, which may come as a WebSocket message of its own.
const PING: &[u8] = b"\r\n\r\n";

type Connections = Slab<Box<Connection>>;

fn find(connections: &mut Connections, id: ConnectionId) -> Option<&mut Connection> {
    let slot = usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).ok()?;
    connections.get_mut(slot).map(Box::as_mut).filter(|connection| connection.id == id)
}

/// A connection before it has a name.
struct Arrival {
    stream: TcpStream,
    transport: Transport,
    side: Side,
    listener: Option<ListenerId>,
    remote: SocketAddr,
    tls: Option<Tls>,
    token: Option<ConnectToken>,
}

/// Accepting.
impl<N: Node + 'static> World<N> {
    /// One turn of a listening socket. An error means that the system is out of something and wants a pause.
    pub(crate) fn poll_accept(
        &mut self,
        listener: ListenerId,
        socket: &TcpListener,
        cx: &mut Context<'_>,
    ) -> Poll<io::Error> {
        self.begin();
        let mut result = Poll::Pending;
        for turn in 0..=ACCEPTS_PER_TURN {
            if turn == ACCEPTS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
            match socket.poll_accept(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok((stream, remote))) => self.accept(listener, stream, remote),
                Poll::Ready(Err(error)) => {
                    // The peer gave up while it waited: no fault of ours.
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
                        continue;
                    }
                    self.metrics.refused(Refusal::System);
                    result = Poll::Ready(error);
                    break;
                }
            }
        }
        self.settle();
        result
    }

    fn accept(&mut self, listener: ListenerId, stream: TcpStream, remote: SocketAddr) {
        let listening = &self.listeners[usize::from(listener.0)];
        let (transport, side) = (listening.transport, listening.side);
        if self.connections.len() >= self.options.connections_max {
            return self.metrics.refused(Refusal::Total);
        }
        if self.sources.get(&source(remote)).is_some_and(|n| *n >= self.options.connections_per_source_max) {
            return self.metrics.refused(Refusal::Source);
        }
        let certificates = listening.client_certificates;
        let tls = match listening.tls.as_ref().map(|tls| tls.accept(certificates)).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(%error, "TLS cannot begin");
                return self.metrics.refused(Refusal::System);
            }
        };
        self.metrics.traffic(transport).accepted += 1;
        *self.sources.entry(source(remote)).or_default() += 1;
        let listener = Some(listener);
        let arrival = Arrival { stream, transport, side, listener, remote, tls, token: None };
        let id = self.insert(arrival);
        let deadline = self.now.monotonic + self.options.first_message_timeout;
        self.set_deadline(id, deadline);
        if transport == Transport::Tcp {
            self.established(id);
        }
    }

    fn insert(&mut self, arrival: Arrival) -> ConnectionId {
        let Arrival { stream, transport, side, listener, remote, tls, token } = arrival;
        let entry = self.connections.vacant_entry();
        self.serial += 1;
        let id = ConnectionId(self.serial << SLOT_BITS | entry.key() as u64);
        entry.insert(Box::new(Connection {
            id,
            stream,
            transport,
            side,
            listener,
            remote,
            heard: listener.is_none(),
            phase: Phase::Opening(token),
            tls: tls.map(Box::new),
            certificate: None,
            certificate_end: None,
            framing: match transport {
                Transport::Ws | Transport::Wss => Framing::Upgrade,
                _ => Framing::Sip(Scan::default()),
            },
            sealed: Vec::new(),
            partial: Vec::new(),
            held: 0,
            queue: Queue::default(),
            deadline: None,
            watched: None,
            waker: None,
        }));
        self.metrics.traffic(transport).connections += 1;
        let world = self.me.upgrade().expect("the world lives while one of its tasks runs");
        spawn(&self.broken, turns(world, move |world, cx| world.poll_connection(id, cx)));
        id
    }
}

/// Opening.
impl<N: Node + 'static> World<N> {
    pub(crate) fn connect(&mut self, token: ConnectToken, target: ConnectTarget) {
        let full = self.connects >= CONNECTS_MAX || self.connections.len() >= self.options.connections_max;
        let local = match target.transport {
            Transport::Tcp | Transport::Tls if full => Err("too many connections".to_owned()),
            Transport::Tcp | Transport::Tls => self.networks.of(target.side).local_for(target.address),
            _ => Err("only TCP and TLS connections are opened".to_owned()),
        };
        let local = match local {
            Ok(local) => local,
            Err(why) => {
                let error = ConnectError::Unreachable(why);
                return self.inputs.push_back(Input::ConnectFailed { token, error });
            }
        };
        self.connects += 1;
        let deadline = self.now.monotonic + self.options.connect_timeout;
        let (world, timeout) = (self.me.clone(), self.options.connect_timeout);
        spawn(&self.broken, async move {
            let result = match tokio::time::timeout(timeout, open(target.address, local)).await {
                Ok(result) => result.map_err(|e| ConnectError::Unreachable(e.to_string())),
                Err(_) => Err(ConnectError::TimedOut),
            };
            let Some(world) = world.upgrade() else {
                return;
            };
            let mut world = world.borrow_mut();
            world.begin();
            world.connects -= 1;
            if let Err(error) = result.and_then(|stream| world.opened(token, target, stream, deadline)) {
                world.inputs.push_back(Input::ConnectFailed { token, error });
            }
            world.settle();
        });
    }

    fn opened(
        &mut self,
        token: ConnectToken,
        target: ConnectTarget,
        stream: TcpStream,
        deadline: node::Instant,
    ) -> Result<(), ConnectError> {
        if self.stopping {
            return Err(ConnectError::Unreachable("the server stops".into()));
        }
        let mut tls = match target.transport {
            Transport::Tls => {
                // Whoever names nothing else expects the address.
                let expected =
                    target.expected.unwrap_or_else(|| Expected::host(target.address.ip().to_string()));
                let tls = self.networks.of(target.side).connect(expected);
                Some(tls.map_err(|e| ConnectError::Tls(e.to_string()))?)
            }
            _ => None,
        };
        let mut hello = Vec::new();
        if let Some(tls) = &mut tls {
            tls.advance(&mut [], &mut Vec::new(), &mut hello)
                .map_err(|e| ConnectError::Tls(e.to_string()))?;
        }
        let plain = tls.is_none();
        let arrival = Arrival {
            stream,
            transport: target.transport,
            side: target.side,
            listener: None,
            remote: target.address,
            tls,
            token: Some(token),
        };
        let id = self.insert(arrival);
        if plain {
            self.established(id);
        } else {
            self.set_deadline(id, deadline);
            self.write(id, &hello);
        }
        Ok(())
    }

    /// The node learns of the connection.
    fn established(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let Phase::Opening(token) = std::mem::replace(&mut connection.phase, Phase::Open) else {
            unreachable!("a connection is established once");
        };
        if token.is_some() {
            connection.deadline = None;
        }
        let identity = self.identity(id);
        let connection = find(&mut self.connections, id).expect("it was just found");
        connection.certificate = identity.shared_certificate().cloned();
        let network = self.networks.of(connection.side);
        let is_outdated = |tls: &Tls| tls.judge().is_some_and(|judge| !judge.is_by(network.trust()));
        if let (Some(tls), Some(certificate)) = (&connection.tls, &connection.certificate)
            && is_outdated(tls)
            && let Some(Worth::Less(why)) = tls.judge_again(certificate, network, self.now.wall)
        {
            connection.phase = Phase::Opening(token);
            return self.end(id, End::Reason(CloseReason::Distrusted), &why);
        }
        let peer = Peer {
            transport: connection.transport,
            listener: connection.listener,
            local: match connection.stream.local_addr() {
                Ok(local) => local,
                Err(_) => return self.end(id, End::Reason(CloseReason::Broken), "the peer is gone already"),
            },
            remote: connection.remote,
            side: connection.side,
            identity,
        };
        self.watch_certificate(id);
        self.feed(Input::Connected { connection: id, peer, token });
    }

    /// What TLS proved. A resumed session is judged like a new one: certificates end and are revoked meanwhile.
    fn identity(&mut self, id: ConnectionId) -> PeerIdentity {
        let connection = find(&mut self.connections, id).expect("the caller has just seen it");
        let Some(tls) = &connection.tls else {
            return PeerIdentity::Anonymous;
        };
        if let Some(judge) = tls.judge() {
            return judge.identity();
        }
        let Some(chain) = tls.client_chain() else {
            return PeerIdentity::Anonymous;
        };
        let side = connection.side;
        let (certificate, distrust) = self.networks.of(side).judge_client(chain, self.now.wall);
        self.metrics.judged(side, distrust.map(|distrust| distrust.class()));
        PeerIdentity::Certificate(certificate)
    }
}

/// Trust that changes.
impl<N: Node + 'static> World<N> {
    /// Whom we believe has changed: connections whose certificate is worth less than when they came up end, in either direction.
    /// So do those of clients that nobody believed and that are somebody now: the node was told once who they are, and they
    /// would be refused for as long as they stay. What was worth something and is worth more stays what it was.
    pub(crate) fn judge_again(&mut self) {
        let shown = self.connections.iter().filter(|(_, connection)| connection.certificate.is_some());
        let ids: Vec<ConnectionId> = shown.map(|(_, connection)| connection.id).collect();
        for id in ids {
            self.judge_one_again(id);
            // CAs that others believe in may end earlier, or later.
            self.watch_certificate(id);
        }
    }

    /// Ends the connections whose certificate, or a CA's of its chain, has ended. A long call would else outlive what its peer proved.
    pub(crate) fn end_certificates(&mut self) {
        if self.certificates_due.is_none_or(|due| due > self.now.monotonic) {
            return;
        }
        let now = self.now.wall;
        while let Some((at, id)) = self.certificate_ends.first().copied().filter(|(at, _)| *at <= now) {
            self.certificate_ends.remove(&(at, id));
            let Some(connection) = find(&mut self.connections, id) else { continue };
            connection.certificate_end = None;
            self.judge_one_again(id);
            self.watch_certificate(id);
        }
        self.look_at_certificates();
    }

    /// Judges one connection again; whoever is worth less, or only now something, loses it.
    fn judge_one_again(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        let (Some(tls), Some(before)) = (&connection.tls, &connection.certificate) else { return };
        let Phase::Open = connection.phase else { return };
        let who = (id, connection.remote, Arc::clone(before));
        match tls.judge_again(before, self.networks.of(connection.side), self.now.wall) {
            Some(Worth::Less(why)) => {
                let reason = format!("a connection ends, its certificate is believed no more: {why}");
                self.close_judged(who, (Level::Warn, "trust-closed"), reason, CloseReason::Distrusted);
            }
            Some(Worth::Something) => {
                let reason =
                    "a connection ends, its certificate is believed only now: who comes again is judged anew";
                self.close_judged(who, (Level::Info, "trust-gained"), reason, CloseReason::Requested);
            }
            Some(Worth::Enough) | None => {}
        }
    }

    /// Sees to it that a connection is judged again when its chain may be worth less for time alone. One that nobody believed has nothing
    /// to lose.
    fn watch_certificate(&mut self, id: ConnectionId) {
        let now = self.now.wall;
        let Some(connection) = find(&mut self.connections, id) else { return };
        if let Some(at) = connection.certificate_end.take() {
            self.certificate_ends.remove(&(at, id));
        }
        let is_believed = connection.certificate.as_ref().is_some_and(|shown| !shown.trusted_by.is_empty());
        let (Phase::Open, Some(tls), true) = (&connection.phase, &connection.tls, is_believed) else {
            return;
        };
        let Some(end) = tls.first_end(self.networks.of(connection.side), now) else { return };
        connection.certificate_end = Some(end);
        self.certificate_ends.insert((end, id));
        if self.certificate_ends.first() == Some(&(end, id)) {
            self.look_at_certificates();
        }
    }

    fn look_at_certificates(&mut self) {
        let first = self.certificate_ends.first().map(|(end, _)| *end);
        let left = first.map(|end| Duration::from_millis(end.0.saturating_sub(self.now.wall.0)));
        self.certificates_due = left.map(|left| self.now.monotonic + left.min(CERTIFICATES_UNSEEN_MAX));
    }

    fn close_judged(
        &mut self,
        (id, remote, certificate): (ConnectionId, SocketAddr, Arc<PeerCertificate>),
        (level, event): (Level, &'static str),
        reason: impl Into<Cow<'static, str>>,
        end: CloseReason,
    ) {
        let names = match certificate.dns_names.is_empty() {
            true => &certificate.sip_domains,
            false => &certificate.dns_names,
        };
        let report = Report {
            level,
            event,
            request: None,
            reason: reason.into(),
            fields: vec![("peer", names.join(" ")), ("source", remote.ip().to_string())],
        };
        if !self.log.write(self.now.monotonic, &report) {
            self.metrics.reports_suppressed += 1;
        }
        self.start_close(id, End::Reason(end), None);
    }
}

async fn open(address: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    configure_stream(&socket)?;
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    tokio::net::TcpSocket::from_std_stream(socket.into()).connect(address).await
}

/// Reading.
impl<N: Node + 'static> World<N> {
    /// One turn of a connection: writes what waits, reads what has come.
    pub(crate) fn poll_connection(&mut self, id: ConnectionId, cx: &mut Context<'_>) -> Poll<()> {
        self.join();
        self.poll_write(id, cx);
        self.poll_read(id, cx);
        self.leave();
        match find(&mut self.connections, id) {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }

    fn poll_read(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = find(&mut self.connections, id) else {
                return;
            };
            let lingers = matches!(connection.phase, Phase::Lingering);
            if !lingers && (self.stopping || !connection.listens()) {
                return;
            }
            let length = match poll_recv(&connection.stream, &mut self.scratch, cx) {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => {
                    return self.end(id, End::Reason(CloseReason::Broken), "the connection broke");
                }
                Poll::Ready(Ok(length)) => length,
            };
            if length == 0 {
                return self.peer_closed(id);
            }
            if lingers {
                continue;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            self.received(id, &mut scratch[..length]);
            self.scratch = scratch;
        }
        cx.waker().wake_by_ref();
    }

    fn received(&mut self, id: ConnectionId, octets: &mut [u8]) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let heard = match connection.tls {
            None => self.plain(id, octets),
            Some(_) => self.sealed(id, octets),
        };
        self.watch_progress(id, heard);
        self.count_held(id);
    }

    /// Keeps the sum of what is incomplete, and its limit.
    fn count_held(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let held = connection.incomplete_octets();
        let grew = held > connection.held;
        self.held = self.held - connection.held + held;
        connection.held = held;
        if grew && self.held > self.options.incomplete_octets_max {
            self.metrics.incomplete_overflows += 1;
            self.end(
                id,
                End::Reason(CloseReason::ProtocolError),
                "too much is incomplete on all connections",
            );
        }
    }

    /// TLS records. Returns whether a message was heard in them.
    fn sealed(&mut self, id: ConnectionId, octets: &mut [u8]) -> bool {
        let connection = find(&mut self.connections, id).expect("the caller has just seen it");
        let tls = connection.tls.as_mut().expect("the caller has just seen it");
        let (mut plain, mut out) = (std::mem::take(&mut self.plain), std::mem::take(&mut self.sealed));
        plain.clear();
        out.clear();
        let mut kept = std::mem::take(&mut connection.sealed);
        let buffer = gather(&mut kept, octets);
        let was_handshaking = tls.is_handshaking();
        let advanced = tls.advance(buffer, &mut plain, &mut out);
        let finished = was_handshaking && !tls.is_handshaking();
        if let Ok(advanced) = &advanced {
            connection.sealed = remainder(kept, octets, advanced.consumed);
        }
        let too_long = connection.sealed.len() > SEALED_OCTETS_MAX;
        if !out.is_empty() {
            self.write(id, &out);
        }
        self.sealed = out;
        let mut heard = false;
        match advanced {
            Err(error) => {
                let why = self.tls_failed(id, &error);
                self.end(id, End::Reason(CloseReason::ProtocolError), &why);
            }
            Ok(_) if too_long => {
                self.end(id, End::Reason(CloseReason::ProtocolError), "a TLS message is too long");
            }
            Ok(advanced) => {
                if finished {
                    self.handshaken(id);
                }
                if !plain.is_empty() {
                    heard = self.plain(id, &mut plain);
                }
                if advanced.closed {
                    self.peer_closed(id);
                }
            }
        }
        self.plain = plain;
        heard
    }

    /// Counts a failed handshake, and says in words why it or a later record failed.
    fn tls_failed(&mut self, id: ConnectionId, error: &rustls::Error) -> String {
        // It is gone already where the alert could not be written.
        let Some((connection, tls)) =
            find(&mut self.connections, id).and_then(|c| c.tls.as_deref().map(|tls| (&*c, tls)))
        else {
            return error.to_string();
        };
        let (reason, why) = tls.refusal(error);
        let (remote, side) = (connection.remote, connection.side);
        tracing::debug!(connection = id.0, %remote, ?side, why, "TLS failed");
        if tls.is_handshaking() {
            let direction = if connection.listener.is_some() { Direction::In } else { Direction::Out };
            self.metrics.tls_refused(direction, reason);
        }
        why
    }

    /// TLS is up. For a secure WebSocket the HTTP handshake comes next.
    fn handshaken(&mut self, id: ConnectionId) {
        self.metrics.handshakes_done += 1;
        let connection = find(&mut self.connections, id);
        if connection.is_some_and(|connection| matches!(connection.framing, Framing::Sip(_))) {
            self.established(id);
        }
    }

    /// Decrypted octets. Returns whether a message was heard in them.
    fn plain(&mut self, id: ConnectionId, octets: &mut [u8]) -> bool {
        let Some(connection) = find(&mut self.connections, id) else {
            return false;
        };
        self.metrics.traffic(connection.transport).octets_in += octets.len() as u64;
        let mut kept = std::mem::take(&mut connection.partial);
        let (consumed, heard) = self.cut(id, gather(&mut kept, octets));
        if let Some(connection) = find(&mut self.connections, id).filter(|c| c.listens()) {
            connection.partial = remainder(kept, octets, consumed);
        }
        heard
    }

    /// Cuts the stream and feeds the node. Returns how much was cut off, and whether a message was among it.
    fn cut(&mut self, id: ConnectionId, buffer: &mut [u8]) -> (usize, bool) {
        let (mut at, mut heard) = (0, false);
        while at < buffer.len() {
            let Some(connection) = find(&mut self.connections, id).filter(|c| c.listens()) else {
                break;
            };
            let rest = &mut buffer[at..];
            let taken = match &mut connection.framing {
                Framing::Sip(scan) => {
                    let frame = next_frame(scan, rest);
                    if !matches!(frame, Frame::Partial { .. }) {
                        *scan = Scan::default();
                    }
                    self.frame(id, frame, rest, &mut heard)
                }
                Framing::Upgrade => self.upgrade(id, rest),
                Framing::WebSocket(_) => self.websocket(id, rest, &mut heard),
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        (at, heard)
    }

    /// Returns how much of `rest` was taken; 0 where more must come, or nothing more is wanted.
    fn frame(&mut self, id: ConnectionId, frame: Frame, rest: &[u8], heard: &mut bool) -> usize {
        match frame {
            Frame::Partial { .. } => 0,
            Frame::Padding { length } => length,
            Frame::Ping { length } => {
                self.feed(Input::Ping { connection: id });
                length
            }
            Frame::Message { length } => {
                *heard = true;
                self.message(id, Bytes::copy_from_slice(&rest[..length]));
                length
            }
            Frame::Lost { status, reason, header_octets } => {
                let bytes = Bytes::copy_from_slice(&rest[..header_octets]);
                self.feed(Input::Unframed { connection: id, bytes, status, reason });
                self.start_close(id, End::Reason(CloseReason::ProtocolError), None);
                0
            }
        }
    }

    fn upgrade(&mut self, id: ConnectionId, rest: &[u8]) -> usize {
        let connection = find(&mut self.connections, id).expect("the caller has just seen it");
        let listener = connection.listener.expect("WebSocket connections are only accepted");
        match websocket::upgrade(rest, &self.listeners[usize::from(listener.0)].origins) {
            Upgrade::Partial => 0,
            Upgrade::Accepted { consumed, response } => {
                connection.framing = Framing::WebSocket(websocket::Reader::default());
                self.write_plain(id, response.as_bytes());
                self.established(id);
                consumed
            }
            Upgrade::Refused { response, why } => {
                tracing::debug!(connection = id.0, why, "WebSocket handshake refused");
                self.metrics.refused(Refusal::Handshake);
                self.write_plain(id, response.as_bytes());
                self.start_close(id, End::Reason(CloseReason::ProtocolError), None);
                0
            }
        }
    }

    fn websocket(&mut self, id: ConnectionId, rest: &mut [u8], heard: &mut bool) -> usize {
        let connection = find(&mut self.connections, id).expect("the caller has just seen it");
        let Framing::WebSocket(reader) = &mut connection.framing else {
            unreachable!("the caller has just seen it");
        };
        let (taken, event) = reader.next(rest);
        let message = match event {
            Event::Partial | Event::Fragment | Event::Pong => return taken,
            Event::Ping(payload) => {
                let mut pong = Vec::with_capacity(payload.len() + websocket::FRAME_HEADER_OCTETS_MAX);
                websocket::write_pong(payload, &mut pong);
                // What the node has sent in this turn goes before it.
                self.flush_letters();
                self.write_plain(id, &pong);
                return taken;
            }
            Event::Close(code) => {
                self.start_close(
                    id,
                    End::Reason(CloseReason::PeerClosed),
                    Some(code.unwrap_or(websocket::CLOSE_NORMAL)),
                );
                return taken;
            }
            Event::Violation(code, why) => {
                tracing::debug!(connection = id.0, code, why, "WebSocket violated");
                self.start_close(id, End::Reason(CloseReason::ProtocolError), Some(code));
                return taken;
            }
            Event::Message(payload) => Bytes::copy_from_slice(payload),
            Event::Assembled(message) => Bytes::from(message),
        };
        match &message[..] {
            PING => self.feed(Input::Ping { connection: id }),
            b"" | b"\r\n" => {}
            _ => {
                *heard = true;
                self.message(id, message);
            }
        }
        taken
    }

    fn message(&mut self, id: ConnectionId, bytes: Bytes) {
        if let Some(connection) = find(&mut self.connections, id) {
            self.metrics.traffic(connection.transport).messages_in += 1;
        }
        self.feed(Input::Received { flow: Flow::Connection(id), bytes });
    }

    /// Keeps the deadlines of the first message and of one that stays incomplete.
    fn watch_progress(&mut self, id: ConnectionId, heard: bool) {
        let deadline = self.now.monotonic + self.options.incomplete_message_timeout;
        let Some(connection) = find(&mut self.connections, id).filter(|c| matches!(c.phase, Phase::Open))
        else {
            return;
        };
        if !connection.heard && !heard {
            return;
        }
        connection.heard = true;
        if !connection.is_incomplete() {
            connection.deadline = None;
        } else if heard || connection.deadline.is_none() {
            self.set_deadline(id, deadline);
        }
    }
}

/// The buffer to look at: what was kept with the new octets behind it, or the new octets alone.
fn gather<'b>(kept: &'b mut Vec<u8>, octets: &'b mut [u8]) -> &'b mut [u8] {
    if kept.is_empty() {
        return octets;
    }
    kept.extend_from_slice(octets);
    kept
}

/// What is kept after `consumed` octets of [`gather`]'s buffer: no memory at all for nothing.
fn remainder(kept: Vec<u8>, octets: &[u8], consumed: usize) -> Vec<u8> {
    let rest = if kept.is_empty() { &octets[consumed..] } else { &kept[consumed..] };
    match (rest.is_empty(), consumed) {
        (true, _) => Vec::new(),
        (false, 0) if !kept.is_empty() => kept,
        _ => rest.to_vec(),
    }
}

/// Writing.
impl<N: Node + 'static> World<N> {
    /// Carries out what the node has sent: all that goes to one connection together.
    pub(crate) fn flush_letters(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        let mut letters = std::mem::take(&mut self.letters);
        // Stable: the order within a connection stays.
        letters.sort_by_key(|letter| letter.connection);
        for group in letters.chunk_by(|a, b| a.connection == b.connection) {
            self.send(group);
        }
        letters.clear();
        self.letters = letters;
    }

    /// Sends messages, all to one connection.
    fn send(&mut self, letters: &[Letter]) {
        let Some(Letter { connection: id, .. }) = letters.first() else {
            return;
        };
        let Some(connection) = find(&mut self.connections, *id) else {
            return;
        };
        if !matches!(connection.phase, Phase::Open | Phase::Closing(Farewell { said: false, .. })) {
            return;
        }
        let traffic = self.metrics.traffic(connection.transport);
        traffic.messages_out += letters.len() as u64;
        traffic.octets_out += letters.iter().map(|letter| letter.bytes.len() as u64).sum::<u64>();
        if connection.transport == Transport::Tcp {
            let written = connection.write_shared(letters);
            return self.written(*id, written);
        }
        let (mut plain, mut sealed) = (Vec::new(), std::mem::take(&mut self.sealed));
        sealed.clear();
        let websocket = matches!(connection.framing, Framing::WebSocket(_));
        let mut result = Ok(());
        for letter in letters {
            let message = if websocket {
                plain.clear();
                websocket::write_message(&letter.bytes, &mut plain);
                &plain[..]
            } else {
                &letter.bytes[..]
            };
            match &mut connection.tls {
                Some(tls) => result = result.and(tls.seal(&mut connection.sealed, message, &mut sealed)),
                None => sealed.extend_from_slice(message),
            }
        }
        self.write(*id, &sealed);
        self.sealed = sealed;
        if let Err(error) = result {
            self.end(*id, End::Reason(CloseReason::ProtocolError), &error.to_string());
        }
    }

    /// Writes decrypted octets that are no message: HTTP, control frames.
    fn write_plain(&mut self, id: ConnectionId, octets: &[u8]) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let Some(tls) = &mut connection.tls else {
            return self.write(id, octets);
        };
        let mut sealed = Vec::new();
        match tls.seal(&mut connection.sealed, octets, &mut sealed) {
            Ok(()) => self.write(id, &sealed),
            Err(error) => self.end(id, End::Reason(CloseReason::ProtocolError), &error.to_string()),
        }
    }

    /// Writes octets as they go on the wire.
    fn write(&mut self, id: ConnectionId, octets: &[u8]) {
        if let Some(connection) = find(&mut self.connections, id) {
            let written = connection.write(octets);
            self.written(id, written);
        }
    }

    fn written(&mut self, id: ConnectionId, result: io::Result<bool>) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        match result {
            Ok(_) if connection.queue.octets() > self.options.send_queue_octets_max => {
                self.metrics.queue_overflows += 1;
                self.end(id, End::Reason(CloseReason::SlowPeer), "the peer reads too slowly");
            }
            // Its task waits for the socket from now on.
            Ok(true) => connection.wake(),
            Ok(false) => {}
            Err(_) => self.end(id, End::Reason(CloseReason::Broken), "the connection broke"),
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn poll_write(&mut self, id: ConnectionId, cx: &mut Context<'_>) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        if connection.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            connection.waker = Some(cx.waker().clone());
        }
        while !connection.queue.is_empty() {
            let written = match connection.stream.poll_write_ready(cx) {
                Poll::Pending => return,
                Poll::Ready(ready) => ready.and_then(|()| connection.queue.write_to(&connection.stream)),
            };
            match written {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                    return self.end(id, End::Reason(CloseReason::Broken), "the connection broke");
                }
                _ => {}
            }
        }
        if matches!(connection.phase, Phase::Closing(_)) {
            self.closing.push(id);
        }
    }
}

/// Ending.
impl<N: Node + 'static> World<N> {
    /// Reads no more; closes when what was sent has left. `code` is what a WebSocket peer is told.
    pub(crate) fn start_close(&mut self, id: ConnectionId, end: End, code: Option<u16>) {
        let Some(connection) = find(&mut self.connections, id).filter(|c| c.listens()) else {
            return;
        };
        if let Phase::Opening(Some(_)) = connection.phase {
            return self.end(id, end, "closed while it was opened");
        }
        // A peer that was never shown to the node ends without the node's knowledge.
        let known = matches!(connection.phase, Phase::Open);
        connection.phase = Phase::Closing(Farewell { end, code, said: false, known });
        connection.partial = Vec::new();
        self.closing.push(id);
        let deadline = self.now.monotonic + self.options.linger_timeout;
        self.set_deadline(id, deadline);
    }

    /// Says the end on closing connections whose queue is empty.
    pub(crate) fn finish_closing(&mut self) {
        while let Some(id) = self.closing.pop() {
            self.say_farewell(id);
            let Some(connection) = find(&mut self.connections, id) else {
                continue;
            };
            let Phase::Closing(farewell) = connection.phase else {
                continue;
            };
            // Else the connection's task comes back here when the queue has drained.
            if connection.queue.is_empty() {
                self.linger(id, farewell);
            }
        }
    }

    /// Close frame and close_notify, once.
    fn say_farewell(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        let Phase::Closing(farewell) = &mut connection.phase else {
            return;
        };
        if std::mem::replace(&mut farewell.said, true) {
            return;
        }
        let mut plain = Vec::new();
        if let Framing::WebSocket(_) = connection.framing {
            websocket::write_close(
                Some(farewell.code.unwrap_or(match farewell.end {
                    End::Reason(CloseReason::Shutdown) => websocket::CLOSE_GOING_AWAY,
                    _ => websocket::CLOSE_NORMAL,
                })),
                &mut plain,
            );
        }
        let mut sealed = Vec::new();
        let octets = match &mut connection.tls {
            None => plain,
            Some(tls) => {
                // Before the end of its handshake TLS has nothing to say in order.
                let kept = &mut connection.sealed;
                let said = tls.seal(kept, &plain, &mut sealed).and_then(|()| tls.close(kept, &mut sealed));
                if let Err(error) = said {
                    tracing::debug!(connection = id.0, %error, "TLS could not be closed in order");
                }
                sealed
            }
        };
        if !octets.is_empty() {
            self.write(id, &octets);
        }
    }

    /// Our half is over; the peer's end is awaited.
    fn linger(&mut self, id: ConnectionId, farewell: Farewell) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        if socket2::SockRef::from(&connection.stream).shutdown(std::net::Shutdown::Write).is_err() {
            return self.end(id, farewell.end, "the connection broke");
        }
        connection.phase = Phase::Lingering;
        connection.wake();
        if farewell.known {
            self.metrics.ended(farewell.end);
            self.inputs.push_back(Input::Closed { connection: id, reason: farewell.end.reason() });
        }
        let deadline = self.now.monotonic + self.options.linger_timeout;
        self.set_deadline(id, deadline);
    }

    fn peer_closed(&mut self, id: ConnectionId) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        if let Phase::Open = connection.phase {
            // What the node has just answered may still be read: a peer may end its half before it reads.
            return self.start_close(id, End::Reason(CloseReason::PeerClosed), None);
        }
        self.end(id, End::Reason(CloseReason::PeerClosed), "the peer closed the connection");
    }

    /// Ends a connection at once.
    pub(crate) fn end(&mut self, id: ConnectionId, end: End, why: &str) {
        if find(&mut self.connections, id).is_none() {
            return;
        }
        let connection = self.connections.remove((id.0 & ((1 << SLOT_BITS) - 1)) as usize);
        self.metrics.traffic(connection.transport).connections -= 1;
        self.held -= connection.held;
        if let Some(at) = connection.watched {
            self.watch.remove(&(at, id));
        }
        if let Some(at) = connection.certificate_end {
            self.certificate_ends.remove(&(at, id));
        }
        if connection.listener.is_some()
            && let Entry::Occupied(mut count) = self.sources.entry(source(connection.remote))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        connection.wake();
        let handshaking = connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
        let end = match connection.phase {
            Phase::Lingering => return,
            Phase::Opening(token) => {
                self.metrics.handshakes_failed += u64::from(handshaking);
                match token {
                    Some(token) => self.inputs.push_back(Input::ConnectFailed {
                        token,
                        error: match end {
                            End::TimedOut => ConnectError::TimedOut,
                            _ => ConnectError::Tls(why.to_owned()),
                        },
                    }),
                    None => self.metrics.refused(Refusal::Handshake),
                }
                return;
            }
            Phase::Closing(farewell) if !farewell.known => return,
            // A close that was under way keeps its reason, whatever cut it short.
            Phase::Closing(farewell) => farewell.end,
            Phase::Open => end,
        };
        tracing::debug!(connection = id.0, end = end.name(), why, "connection ended");
        self.metrics.ended(end);
        self.inputs.push_back(Input::Closed { connection: id, reason: end.reason() });
    }

    /// Ends the connections whose deadline has come.
    pub(crate) fn expire(&mut self) {
        let now = self.now.monotonic;
        while let Some((at, id)) = self.watch.first().copied().filter(|(at, _)| *at <= now) {
            self.watch.remove(&(at, id));
            let Some(connection) = find(&mut self.connections, id) else {
                continue;
            };
            connection.watched = None;
            match connection.deadline {
                Some(deadline) if deadline <= now => {
                    self.end(id, End::TimedOut, "nothing whole came in time")
                }
                Some(deadline) => self.set_deadline(id, deadline),
                None => {}
            }
        }
    }

    fn set_deadline(&mut self, id: ConnectionId, at: node::Instant) {
        let Some(connection) = find(&mut self.connections, id) else {
            return;
        };
        connection.deadline = Some(at);
        // A connection has one entry at most, however often its deadline moves; a later one is found when it comes up.
        match connection.watched {
            Some(watched) if watched <= at => return,
            Some(watched) => drop(self.watch.remove(&(watched, id))),
            None => {}
        }
        connection.watched = Some(at);
        self.watch.insert((at, id));
    }
}
