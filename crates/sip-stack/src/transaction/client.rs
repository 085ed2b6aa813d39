//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2) and CANCEL (RFC 3261 §9.1).
//!
//! ```text
//!            INVITE                            others
//!           Reserved                          Reserved
//!              | send                            | send
//!            Invite                            Request
//!       2xx /      \ 3xx-6xx, ACK                | final
//!   Accepted      Completed                      |
//!       | M            | D                       |
//!       +---- gone ----+                        gone
//! ```
//!
//! Others end at their final response: what comes after it finds nothing, which is all that Completed and timer K are for.

use std::time::Duration;

use bytes::Bytes;
use node::{ConnectionId, Flow, Instant};
use rand::RngCore;
use sip_message::{Message, Method};

use super::chain::Link;
use super::matching::{Branch, BranchText, MethodKey};
use super::{
    ClientId, Event, Failure, Outgoing, Owner, Side, Transactions, derived, index_u32, name, split_name,
};
use crate::timer::TimerId;

/// RFC 3261 §17.1.1.2: the peer's timer H may run with another T1 than ours.
const TIMER_D_MIN: Duration = Duration::from_secs(32);

/// One client transaction.
pub(super) struct Client {
    birth: u32,
    nonce: u64,
    timer: Option<TimerId>,
    /// Its place in its connection's list while it waits for an answer, among the ended afterwards.
    pub(super) link: Option<Link>,
    state: State,
}

enum State {
    Reserved,
    Invite(Invite),
    Request(Request),
    /// The CANCEL of an INVITE, which lives no longer than the INVITE's own wait and has neither branch nor owner.
    Cancel(Cancel),
    /// INVITE, 3xx-6xx: repeats its ACK until timer D.
    Completed {
        flow: Flow,
        ack: Bytes,
    },
    /// INVITE, 2xx: passes further 2xx until timer M.
    Accepted {
        owner: Owner,
    },
}

/// What all that waits for an answer has.
struct Sent {
    flow: Flow,
    reliable: bool,
    /// The interval after which it is sent again (timers A and E).
    interval: Duration,
    /// When nobody waits any more (timers B and F).
    deadline: Instant,
}

struct Invite {
    sent: Sent,
    bytes: Bytes,
    owner: Option<Owner>,
    phase: Phase,
    cancelling: Cancelling,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Calling,
    Proceeding,
}

enum Cancelling {
    No,
    /// Asked for, waits for a provisional response.
    Asked(Option<Box<str>>),
    /// A CANCEL was due; its transaction, unless that is over.
    Done(Option<u32>),
}

struct Request {
    sent: Sent,
    /// Empty over reliable transports: never sent again.
    bytes: Bytes,
    method: MethodKey,
    owner: Option<Owner>,
    /// A provisional response was seen.
    proceeding: bool,
}

struct Cancel {
    sent: Sent,
    bytes: Bytes,
    invite: u32,
    proceeding: bool,
}

/// A response's client transaction.
#[derive(Clone, Copy, Debug)]
pub struct Matched {
    index: u32,
    owner: Option<Owner>,
}

impl Matched {
    /// Whose it is; `None` for an INVITE and for what nobody waits for.
    pub fn request_owner(&self) -> Option<Owner> {
        self.owner
    }
}

impl Transactions {
    /// Allots a client transaction and its branch (`z9hG4bK...`), so that the request can be written.
    pub fn reserve(&mut self) -> (ClientId, BranchText) {
        let nonce = self.nonces.next_u64();
        let birth = self.next_birth();
        let index = self.insert_client(birth, nonce, State::Reserved);
        (ClientId(name(birth, index)), Branch { index, nonce }.write())
    }

    /// Sends the request of a reserved client transaction.
    pub fn send(&mut self, now: Instant, client: ClientId, outgoing: Outgoing) {
        self.latest = now;
        let Some(index) = self.find_client(client) else { return };
        if !matches!(self.clients[index as usize].state, State::Reserved) {
            return;
        }
        let Outgoing { flow, transport, bytes, invite, owner } = outgoing;
        let sent = self.sent(now, flow, transport.is_reliable());
        let timer = sent.first_timer(now);
        let state = if invite {
            State::Invite(Invite {
                sent,
                bytes: bytes.clone(),
                owner: Some(owner),
                phase: Phase::Calling,
                cancelling: Cancelling::No,
            })
        } else {
            let method = MethodKey::of_request(&bytes);
            let bytes = if sent.reliable { Bytes::new() } else { bytes.clone() };
            State::Request(Request { sent, bytes, method, owner: Some(owner), proceeding: false })
        };
        self.clients[index as usize].state = state;
        self.clients_pending += 1;
        if let Flow::Connection(connection) = flow {
            let chain = self.connections.entry(connection).or_default();
            let link = self.links.push(chain, Side::Client(index));
            self.clients[index as usize].link = Some(link);
        }
        self.set_client_timer(index, timer);
        self.push_send(flow, bytes);
    }

    /// Gives up a reserved client transaction that was not sent, or forgets one whose responses nobody wants any more. A sent INVITE
    /// still acknowledges its failure if that comes within 64*T1; to end the call as well, `cancel` it first.
    pub fn abandon(&mut self, client: ClientId) {
        let Some(index) = self.find_client(client) else { return };
        match &mut self.clients[index as usize].state {
            State::Invite(invite) => {
                let unbounded =
                    invite.phase == Phase::Proceeding && matches!(invite.cancelling, Cancelling::No);
                if invite.owner.take().is_some() && unbounded {
                    self.wait_for_final(self.latest, index);
                }
            }
            State::Completed { .. } => {}
            State::Reserved | State::Request(_) | State::Accepted { .. } => {
                self.remove_client(index);
            }
            State::Cancel(_) => unreachable!("a CANCEL of the layer's own has no name"),
        }
    }

    /// Cancels an INVITE client transaction (RFC 3261 §9.1): once a provisional response was seen, a CANCEL leaves (made from the request's own headers); before, it
    /// waits for one. After a final response nothing happens. If no final response follows within 64*T1 the transaction fails with `TimedOut`.
    /// `reason` is a Reason header value to carry (RFC 3326).
    pub fn cancel(&mut self, now: Instant, client: ClientId, reason: Option<&str>) {
        let Some(index) = self.find_client(client) else { return };
        let State::Invite(invite) = &mut self.clients[index as usize].state else { return };
        if !matches!(invite.cancelling, Cancelling::No) {
            return;
        }
        match invite.phase {
            Phase::Calling => invite.cancelling = Cancelling::Asked(reason.map(Into::into)),
            Phase::Proceeding => self.send_cancel(now, index, reason),
        }
    }

    /// Feeds a response. Gives the client transaction that it belongs to if the user must see it; retransmissions, strays, and late provisional responses give
    /// `None`. 2xx responses to an INVITE are given every time (RFC 6026 §7.2: the proxy forwards each). ACKs to 3xx-6xx leave by themselves.
    pub fn handle_response(&mut self, now: Instant, message: &Message) -> Option<(ClientId, Owner)> {
        let matched = self.match_response(message)?;
        self.handle_matched(now, matched, message)
    }

    /// The client transaction that a response's topmost Via names, whatever else the response says. `None` for a stray.
    pub fn match_response(&self, message: &Message) -> Option<Matched> {
        let branch = Branch::of_response(message)?;
        let client = self.clients.get(branch.index as usize).filter(|client| client.nonce == branch.nonce)?;
        let owner = match &client.state {
            State::Request(request) => request.owner,
            _ => None,
        };
        Some(Matched { index: branch.index, owner })
    }

    /// [`Transactions::handle_response`] for a response that was just matched.
    pub fn handle_matched(
        &mut self,
        now: Instant,
        matched: Matched,
        message: &Message,
    ) -> Option<(ClientId, Owner)> {
        self.latest = now;
        let index = matched.index;
        let status = message.status()?;
        let method = message.cseq().ok()?.method;
        let client = self.clients.get_mut(index as usize)?;
        let id = ClientId(name(client.birth, index));
        let owner = match &mut client.state {
            State::Invite(invite) if method == Method::Cancel => {
                let cancel = invite.cancel()?;
                self.handle_cancel_response(cancel, status);
                None
            }
            State::Request(request) if MethodKey::new(method.as_str().as_bytes()) == request.method => {
                let owner = request.owner;
                if status < 200 {
                    request.proceeding = true;
                } else {
                    self.remove_client(index);
                }
                owner
            }
            State::Invite(_) if method == Method::Invite => {
                self.handle_invite_response(now, index, status, message)
            }
            State::Accepted { owner } if method == Method::Invite && (200..300).contains(&status) => {
                Some(*owner)
            }
            State::Completed { flow, ack } if method == Method::Invite && status >= 300 => {
                let (flow, ack) = (*flow, ack.clone());
                self.push_send(flow, ack);
                None
            }
            _ => None,
        };
        owner.map(|owner| (id, owner))
    }

    fn handle_invite_response(
        &mut self,
        now: Instant,
        index: u32,
        status: u16,
        message: &Message,
    ) -> Option<Owner> {
        let client = &mut self.clients[index as usize];
        let State::Invite(invite) = &mut client.state else { unreachable!("the caller saw an INVITE") };
        let owner = invite.owner;
        match status {
            100..200 if invite.phase == Phase::Calling => {
                invite.phase = Phase::Proceeding;
                let asked = std::mem::replace(&mut invite.cancelling, Cancelling::No);
                let abandoned = owner.is_none();
                let timer = client.timer.take();
                self.stop(timer);
                if let Cancelling::Asked(reason) = asked {
                    self.send_cancel(now, index, reason.as_deref());
                } else if abandoned {
                    self.wait_for_final(now, index);
                }
            }
            100..200 => {}
            200..300 => match owner {
                Some(owner) => {
                    self.end_invite(index, State::Accepted { owner }, now + self.values.patience())
                }
                None => {
                    self.remove_client(index);
                }
            },
            _ => self.acknowledge(now, index, message),
        }
        owner
    }

    /// RFC 3261 §17.1.1.3.
    fn acknowledge(&mut self, now: Instant, index: u32, response: &Message) {
        let State::Invite(invite) = &self.clients[index as usize].state else {
            unreachable!("only an INVITE is acknowledged")
        };
        let (flow, reliable) = (invite.sent.flow, invite.sent.reliable);
        let ack = derived::ack(&invite.bytes, response);
        if let Some(ack) = &ack {
            self.push_send(flow, ack.clone());
        }
        match ack {
            Some(ack) if !reliable => {
                let timer_d = self.values.patience().max(TIMER_D_MIN);
                self.end_invite(index, State::Completed { flow, ack }, now + timer_d);
            }
            // Timer D is zero.
            _ => {
                self.remove_client(index);
            }
        }
    }

    /// A connection is gone: its client transactions without final response fail; server transactions stay (their answer goes nowhere).
    pub fn handle_closed(&mut self, _now: Instant, connection: ConnectionId) {
        while let Some(side) = self.connections.get(&connection).and_then(|chain| self.links.first(chain)) {
            let Side::Client(index) = side else { unreachable!("connections list client transactions only") };
            self.fail_client(index, Failure::FlowFailed);
        }
    }

    pub(super) fn client_timer(&mut self, now: Instant, index: u32) {
        let client = &mut self.clients[index as usize];
        client.timer = None;
        let again = match &mut client.state {
            State::Invite(Invite { sent, bytes, .. }) if now < sent.deadline => {
                Some((sent.flow, bytes.clone(), sent.next_timer(now, Duration::MAX)))
            }
            State::Request(Request { sent, bytes, proceeding, .. })
            | State::Cancel(Cancel { sent, bytes, proceeding, .. })
                if now < sent.deadline =>
            {
                if *proceeding {
                    // RFC 3261 §17.1.2.2: timer E is T2 from now on.
                    sent.interval = self.values.t2;
                }
                Some((sent.flow, bytes.clone(), sent.next_timer(now, self.values.t2)))
            }
            _ => None,
        };
        match again {
            Some((flow, bytes, at)) => {
                self.push_send(flow, bytes);
                self.set_client_timer(index, at);
            }
            None => self.client_expired(index),
        }
    }

    fn client_expired(&mut self, index: u32) {
        match &self.clients[index as usize].state {
            State::Invite(_) | State::Request(_) => self.fail_client(index, Failure::TimedOut),
            State::Cancel(_) => self.end_cancel(index),
            State::Completed { .. } | State::Accepted { .. } => {
                self.remove_client(index);
            }
            State::Reserved => unreachable!("nothing runs before the request is sent"),
        }
    }

    fn fail_client(&mut self, index: u32, failure: Failure) {
        let client = ClientId(name(self.clients[index as usize].birth, index));
        if let Some(owner) = self.remove_client(index) {
            self.events.push_back(Event::Failed { owner, client, failure });
        }
    }

    fn send_cancel(&mut self, now: Instant, index: u32, reason: Option<&str>) {
        let State::Invite(invite) = &self.clients[index as usize].state else {
            unreachable!("only an INVITE is cancelled")
        };
        let (flow, reliable) = (invite.sent.flow, invite.sent.reliable);
        let bytes = derived::cancel(&invite.bytes, reason);
        let cancel = bytes.map(|bytes| {
            let sent = self.sent(now, flow, reliable);
            let timer = sent.first_timer(now);
            self.push_send(flow, bytes.clone());
            let birth = self.next_birth();
            let nonce = self.nonces.next_u64();
            let cancel = self.insert_client(
                birth,
                nonce,
                State::Cancel(Cancel { sent, bytes, invite: index, proceeding: false }),
            );
            self.clients_pending += 1;
            self.set_client_timer(cancel, timer);
            cancel
        });
        let State::Invite(invite) = &mut self.clients[index as usize].state else {
            unreachable!("it was one above")
        };
        invite.cancelling = Cancelling::Done(cancel);
        self.wait_for_final(now, index);
    }

    fn handle_cancel_response(&mut self, cancel: u32, status: u16) {
        if status >= 200 {
            self.end_cancel(cancel);
        } else if let State::Cancel(cancel) = &mut self.clients[cancel as usize].state {
            cancel.proceeding = true;
        }
    }

    fn end_cancel(&mut self, cancel: u32) {
        let State::Cancel(Cancel { invite, .. }) = self.clients[cancel as usize].state else {
            unreachable!("the caller named a CANCEL")
        };
        if let State::Invite(invite) = &mut self.clients[invite as usize].state {
            invite.cancelling = Cancelling::Done(None);
        }
        self.remove_client(cancel);
    }

    /// Bounds the wait of a proceeding INVITE that was cancelled or abandoned.
    fn wait_for_final(&mut self, now: Instant, index: u32) {
        let deadline = now + self.values.patience();
        let State::Invite(invite) = &mut self.clients[index as usize].state else {
            unreachable!("only an INVITE proceeds")
        };
        invite.sent.deadline = deadline;
        self.set_client_timer(index, deadline);
    }

    /// An INVITE got its final response and is remembered; `timer` is D or M. Its CANCEL, if any, has nothing left to do.
    fn end_invite(&mut self, index: u32, state: State, timer: Instant) {
        self.leave_pending(index);
        self.clients[index as usize].state = state;
        self.set_client_timer(index, timer);
        self.remember(Side::Client(index));
    }

    pub(super) fn remove_client(&mut self, index: u32) -> Option<Owner> {
        self.leave_pending(index);
        let client = self.clients.remove(index as usize);
        self.stop(client.timer);
        if let Some(link) = client.link {
            self.links.remove(&mut self.ended, link);
        }
        match client.state {
            State::Invite(invite) => invite.owner,
            State::Request(request) => request.owner,
            _ => None,
        }
    }

    /// What must be undone when an entry no longer waits for an answer: its timer, its place in its connection's list, its CANCEL.
    fn leave_pending(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        let (flow, cancel) = match &client.state {
            State::Invite(invite) => (invite.sent.flow, invite.cancel()),
            State::Request(request) => (request.sent.flow, None),
            State::Cancel(cancel) => (cancel.sent.flow, None),
            State::Reserved | State::Completed { .. } | State::Accepted { .. } => return,
        };
        let (timer, link) = (client.timer.take(), client.link.take());
        self.clients_pending -= 1;
        self.stop(timer);
        if let (Flow::Connection(connection), Some(link)) = (flow, link) {
            let chain =
                self.connections.get_mut(&connection).expect("a linked entry's connection has a list");
            self.links.remove(chain, link);
            if chain.len() == 0 {
                self.connections.remove(&connection);
            }
        }
        if let Some(cancel) = cancel {
            self.remove_client(cancel);
        }
    }

    fn insert_client(&mut self, birth: u32, nonce: u64, state: State) -> u32 {
        index_u32(self.clients.insert(Client { birth, nonce, timer: None, link: None, state }))
    }

    fn set_client_timer(&mut self, index: u32, at: Instant) {
        let timer = self.timers.insert(at, Side::Client(index));
        let old = self.clients[index as usize].timer.replace(timer);
        self.stop(old);
    }

    fn find_client(&self, client: ClientId) -> Option<u32> {
        let (birth, index) = split_name(client.0);
        self.clients.get(index as usize).filter(|client| client.birth == birth).map(|_| index)
    }

    fn sent(&self, now: Instant, flow: Flow, reliable: bool) -> Sent {
        Sent { flow, reliable, interval: self.values.t1, deadline: now + self.values.patience() }
    }
}

impl Sent {
    fn first_timer(&self, now: Instant) -> Instant {
        if self.reliable { self.deadline } else { now + self.interval }
    }

    /// When to send again, or to give up, after it was sent again now.
    fn next_timer(&mut self, now: Instant, interval_max: Duration) -> Instant {
        self.interval = self.interval.saturating_mul(2).min(interval_max);
        (now + self.interval).min(self.deadline)
    }
}

impl Invite {
    fn cancel(&self) -> Option<u32> {
        match self.cancelling {
            Cancelling::Done(cancel) => cancel,
            Cancelling::No | Cancelling::Asked(_) => None,
        }
    }
}
